"""The one place that sets Numba options.

Modules write ``@kernel(signature)`` (called from Python, compiled at import) or ``@inlined``
(compiled into the kernels that call it) and never name a Numba option, so a change of policy is a
change of this file, and ``tests/test_source.py`` can hold every kernel to it.

Numba's disk cache checks only the file a kernel is written in, not the files of the kernels it
calls, so an edited callee can leave an old copy of itself inside a cached caller; nor does it
notice ``NUMBA_BOUNDSCHECK``. Here each module has a cache folder that is named after the contents
of every file that it imports, directly or not, and the settings that change code: an edit starts a
new folder for whatever it can reach, and a stale kernel cannot be loaded.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numba.extending

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "feeds", "gateways", "oms")
CACHES_KEPT = 400
"""Folders, one a module: the least recently used go, so that a rollback finds the last versions."""

F = TypeVar("F", bound=Callable[..., Any])

_IMPORT = re.compile(r"^(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)|import\s+([^\n]*))", re.M)
_WORD = re.compile(r"[\w.]+")


def _settings() -> str:
    shaping = {name: os.environ.get(name) for name in ("NUMBA_BOUNDSCHECK", "NUMBA_OPT")}
    return f"{numba.__version__} {llvmlite.__version__} {shaping}"


@cache
def _source(path: Path, mtime_ns: int) -> bytes:
    """Return what identifies a file: where it stands, when it was written, and what is in it.

    Numba keeps its own record of the first two and would compile again, without a word, in a cache
    that is said to be complete.
    """
    return f"{path} {mtime_ns}\n".encode() + path.read_bytes()


def _stamped(path: Path) -> bytes:
    return _source(path, path.stat().st_mtime_ns)


def imports(path: Path, module: str) -> Iterator[str]:
    """Yield what a module imports at its top level: modules, and names that may be modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for found in _IMPORT.finditer(_stamped(path).decode("utf-8", "replace")):
        origin, names, plain = found.groups()
        if plain is not None:
            yield from (part.split()[0] for part in plain.split(",") if part.strip())
            continue
        dots = len(origin) - len(origin.lstrip("."))
        if dots:
            base = package.rsplit(".", dots - 1)[0] if dots > 1 else package
            origin = f"{base}.{origin.lstrip('.')}".rstrip(".")
        yield origin
        yield from (f"{origin}.{name}" for name in _WORD.findall(names))


def file_of(root: Path, module: str) -> Path | None:
    """Return the file of a module under ``root``, or None if it has none there."""
    path = root.joinpath(*module.split("."))
    for each in (path.with_suffix(".py"), path / "__init__.py"):
        if each.is_file():
            return each
    return None


@cache
def sources(root: Path, module: str) -> dict[str, Path]:
    """Return a module of ``root`` and all modules there that it imports, with their files."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = file_of(root, name) if name not in found else None
        if path is None and root != ROOT and name not in found:
            path = file_of(ROOT, name)  # A venue from another package calls our kernels.
        if path is not None:
            found[name] = path
            waiting += imports(path, name)
    return found


def module_digest(path: Path, module: str) -> str:
    """Return a short hash of all that the kernels of a module, in file ``path``, can be made of."""
    depth = module.count(".") + (path.name == "__init__.py")
    files = {module: path} | sources(path.resolve().parents[depth], module)
    for name in imports(path, module):  # Of a script too, which nobody imports by its name.
        files |= sources(ROOT, name)
    digest = blake2b(_settings().encode(), digest_size=8)
    for _, path in sorted(files.items()):
        digest.update(_stamped(path))
    return digest.hexdigest()


def source_digest(root: Path = ROOT) -> str:
    """Return a short hash of every Python file of the packages and of Numba's settings."""
    digest = blake2b(_settings().encode(), digest_size=8)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(_stamped(path))
    return digest.hexdigest()


def caches_root() -> Path:
    """Return the folder that holds the kernel caches."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "trade-infra" / "kernels"


@cache
def _folder(module: str, path: str) -> str:
    """Return the cache folder of a module; marks it as used."""
    folder = caches_root() / module_digest(Path(path), module)
    if folder.is_dir():
        os.utime(folder)
    return str(folder)


def _cached(function: F) -> F:
    """Point Numba, which reads its setting when a function is decorated, to the right folder."""
    folder = _folder(function.__module__, function.__code__.co_filename)
    numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
    return function


_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": False,
    "_nrt": False,
}
"""No kernel makes arrays. Without Numba's memory manager an array is passed without counting
references to it: two locked instructions for each array of each call that was not inlined, which
made the scanner of small messages twice as slow."""

on_kernel: Callable[[str], None] | None = None
"""Called with the name of each kernel before it is compiled or loaded (the progress bar)."""


def prune_caches(keep: int = CACHES_KEPT) -> None:
    """Remove all but the ``keep`` most recently used cache folders; markers likewise."""
    entries = sorted(caches_root().iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for stale in [each for each in entries if each.is_dir()][keep:]:
        shutil.rmtree(stale, ignore_errors=True)
    for stale in [each for each in entries if each.is_file()][keep:]:
        stale.unlink(missing_ok=True)


def kernel(*signatures: Any) -> Callable[[F], F]:  # noqa: ANN401
    """Compile for a worker loop: cached on disk, GIL released, Python's integer semantics.

    Parameters
    ----------
    *signatures
        Every call the kernel accepts, as Numba signature strings or types. They are compiled at
        import, so the first record of the day never waits for LLVM, and any other call is a
        ``TypeError`` instead of a compilation.

    """

    def compile_now(function: F) -> F:
        if on_kernel is not None:
            on_kernel(f"{function.__module__}.{function.__name__}")
        compiled: Any = numba.njit(list(signatures), **_OPTIONS)(_cached(function))
        return cast("F", compiled)

    return compile_now


def inlined(function: F) -> F:
    """Compile into the kernels that call it; not meant to be called from Python in production."""
    return cast("F", numba.njit(**_OPTIONS)(_cached(function)))


def inlined_always(function: F) -> F:
    """Compile into the kernels that call it, whatever the compiler thinks of its size.

    For the few small functions that a scanner calls for every byte or field: their arguments, of
    which an array is seven, cost more to pass than the work itself.
    """
    return cast("F", numba.njit(**_OPTIONS, forceinline=True)(_cached(function)))


def overloads(function: Callable[..., Any]) -> Callable[[F], F]:
    """Say what a Python function means in kernels: decorates a function that returns a lambda.

    Inlined by LLVM. Not by Numba (``inline="always"``): what it makes of a caller in which the
    inlined code stands in one branch of several can be wrong (seen in 0.68: the code behind the
    branches was lost).
    """
    overload: Any = numba.extending.overload
    return cast("Callable[[F], F]", overload(function, jit_options={"forceinline": True}))
