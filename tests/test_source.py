"""House rules that a linter cannot know, checked by reading the source."""

import ast
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "feeds", "gateways", "oms")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
EVERYTHING = sorted([*SOURCES, *(ROOT / "bench").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
NUMBA_ONLY_IN = ("engine/jit.py", "engine/atomics.py")
NUMBA_BANNED = {"njit", "jit", "intrinsic", "jitclass", "vectorize", "guvectorize", "cfunc"}
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "time_ns"}


def name(path):
    return path.relative_to(ROOT).as_posix()


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def kernels(tree):
    for function in functions(tree):
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "kernel":
                yield function, decorator


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_a_module_is_tidy(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if tree.body:
        assert ast.get_docstring(tree), "a module says what it is for"
    assert max(map(len, text.splitlines()), default=0) <= COLUMNS_MAX
    for function in functions(tree):
        assert function.end_lineno - function.lineno < FUNCTION_LINES_MAX, function.name


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_numba_options_are_set_in_one_place(path):
    if name(path) in NUMBA_ONLY_IN:
        pytest.skip("this is the place")
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
            assert not {alias.name for alias in node.names} & NUMBA_BANNED, "use engine.jit"
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("numba", "nb"):
            assert node.attr not in NUMBA_BANNED, "use engine.jit"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_kernel_has_a_signature_and_a_docstring(path):
    for function, decorator in kernels(parse(path)):
        assert decorator.args, f"{function.name} has no signature"
        assert ast.get_docstring(function), f"{function.name} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_log_fields_have_names_that_logging_accepts(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LOG_CALLS:
            for keyword in node.keywords:
                if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                    keys = {getattr(key, "value", None) for key in keyword.value.keys}
                    assert not keys & RESERVED, f"line {node.lineno}: KeyError at run time"


def test_venues_have_the_same_files():
    for package in ("feeds", "gateways"):
        folders = [path.parent for path in (ROOT / package).glob("*/endpoints.py")]
        files = {name(d): sorted(p.name for p in d.glob("*.py")) for d in folders}
        assert len(set(map(tuple, files.values()))) <= 1, files


def test_imports_only_go_down():
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("import-linter is not installed: pip install -e '.[test]'")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
