"""Filling the kernel cache: once per version of the sources, with a progress bar.

Kernels are compiled when their module is imported, and Numba keeps the machine code on disk
(``engine.jit``). The first process of a new version would be slow to start, and several at once
slower still, each compiling the same. So whoever comes first has worker processes import every
module that defines kernels, under a lock, and leaves the marker ``complete-…`` in the cache; later
starts only look for the marker. ``trade-infra compile`` does the same at deploy time.
"""

import argparse
import ast
import contextlib
import fcntl
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli import add_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.cli import Subparsers

# Numba keeps the code of several Pythons side by side: complete for one is not complete for all.
_MARKER = f"complete-{sys.implementation.cache_tag}"
_LOCK = f"lock-{sys.implementation.cache_tag}"
WORKERS_MAX = 4
"""Compilers at once; two kernels take most of the time, more would not help."""

__all__ = ["ensure_compiled", "kernel_modules"]


def kernel_modules(root: Path, packages: tuple[str, ...]) -> dict[str, int]:
    """Return the modules under ``root`` that define kernels, with how many; imports nothing."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "@kernel(" not in text:
                continue
            count = sum(
                isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "kernel"
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef)
                for decorator in node.decorator_list
            )
            if count:
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = count
    return found


def ensure_compiled() -> int:
    """Fill this version's kernel cache unless it is full; return how many kernels were compiled.

    Does nothing without the JIT. A cache folder that cannot be written to is reported and is no
    error: every start then compiles.
    """
    from numba import config

    from engine import jit

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return 0
    root, version = jit.caches_root(), jit.source_digest(jit.ROOT)
    marker = root / f"{_MARKER}-{version}"
    try:
        if marker.exists():
            return 0
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{_LOCK}-{version}"):
            if marker.exists():
                return 0
            count, failed = _compile_all()
            if failed:  # Whoever needs that module will say so; the others shall run.
                print(f"warning: {'; '.join(failed)}", file=sys.stderr)
            else:
                marker.touch()
            jit.prune_caches()
            return count
    except OSError as error:
        print(f"warning: kernel cache {root}: {error}", file=sys.stderr)
        return 0


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another process that compiles the kernels …", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile_all() -> tuple[int, list[str]]:
    """Import all modules with kernels; return the number of kernels, and what went wrong."""
    from engine import jit

    modules = kernel_modules(jit.ROOT, jit.PACKAGES)
    total = sum(modules.values())
    title = f"compiling {total} kernels, once per version"
    workers = min(WORKERS_MAX, len(os.sched_getaffinity(0)), len(modules))
    queue = _Queue(dependencies(jit.ROOT, modules))
    with _progress(title, total) as advance:
        threads = [threading.Thread(target=_work, args=(queue, advance)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return total, queue.failed


def dependencies(root: Path, modules: Iterable[str]) -> dict[str, set[str]]:
    """Return for each of ``modules`` those of the others that it imports, directly or not."""
    from engine import jit

    listed = set(modules)
    return {each: (jit.sources(root, each).keys() & listed) - {each} for each in listed}


class _Queue:
    """The modules still to compile; a module is ready when those it imports are done.

    Two workers that compiled the same dependency at once would only do the work twice.
    """

    def __init__(self, needs: dict[str, set[str]]) -> None:
        self._needs, self._todo, self._done = needs, list(needs), set[str]()
        self._changed = threading.Condition()
        self.failed: list[str] = []

    def take(self) -> str | None:
        """Return the next module, or None at the end; waits for one to become ready."""
        with self._changed:
            while self._todo:
                ready = [m for m in self._todo if self._needs[m] <= self._done]
                running = set(self._needs) - self._done - set(self._todo)
                if not ready and not running:  # A circle of imports: somebody has to begin.
                    ready = self._todo[:1]
                if ready:
                    self._todo.remove(ready[0])
                    return ready[0]
                self._changed.wait()
            return None

    def finish(self, module: str, failure: str = "") -> None:
        """Note that a module is done, however that went."""
        with self._changed:
            self._done.add(module)
            if failure:
                self.failed.append(f"{module}: {failure}")
            self._changed.notify_all()


def _work(queue: _Queue, advance: "Callable[[str], None]") -> None:
    """Have a process of its own compile modules of the queue until there are none left."""
    command = [sys.executable, "-P", "-m", "engine.compile"]
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    worker = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker:
        while (module := queue.take()) is not None:
            failure = "its compiler died"
            with contextlib.suppress(OSError):
                print(module, file=worker.stdin, flush=True)
                for line in worker.stdout:
                    word, _, rest = line.rstrip("\n").partition(" ")
                    if word != "kernel":
                        failure = rest
                        break
                    if rest.rpartition(".")[0] == module:  # The others only come from the cache.
                        advance(rest)
            queue.finish(module, failure)


def _serve() -> None:
    """Be a worker: import the modules named on standard input, report on standard output."""
    from engine import jit

    jit.on_kernel = lambda name: print("kernel", name, flush=True)
    for line in sys.stdin:
        try:
            importlib.import_module(line.strip())
        except Exception as error:
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            print("done", text, flush=True)
        else:
            print("done", flush=True)


@contextlib.contextmanager
def _progress(title: str, total: int) -> "Iterator[Callable[[str], None]]":
    """Yield a function to call with each kernel's name; a bar on a terminal, else two lines."""
    if not sys.stderr.isatty():
        print(f"first run: {title} …", file=sys.stderr, flush=True)
        yield lambda name: None
        print("compiled.", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("first run: {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn("{task.fields[kernel]}"), console=Console(stderr=True)
    ) as bar:
        task = bar.add_task(title, total=total, kernel="")
        yield lambda name: bar.update(task, advance=1, kernel=name)
        bar.update(task, completed=total, kernel="")


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra compile``."""
    parser = add_command(
        subparsers,
        "compile",
        "fill the kernel cache (at deploy time; otherwise the first run does it)",
        example="trade-infra compile",
    )
    parser.set_defaults(handler=_command)


def _command(args: argparse.Namespace) -> None:
    from engine import jit

    count = ensure_compiled()
    print(f"{count} kernels compiled" if count else "up to date", f"in {jit.caches_root()}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches all of us; one says so.
        _serve()
