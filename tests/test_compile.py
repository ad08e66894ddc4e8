"""The kernel cache: found kernels, one compilation per version, the marker, the lock."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from engine import compile as compiling
from engine import jit
from engine.cli import main

KERNELS = '''
"""Two kernels."""
from engine.jit import inlined, kernel

@kernel("int64(int64)")
def twice(x):
    """Return the double."""
    return 2 * x

@inlined
def helper(x):
    return x

class Inside:
    """Not a kernel: @kernel( in a text."""

@kernel("int64(int64)", "int64(int64[::1])")
def other(x):
    """Return one."""
    return 1
'''


def test_kernels_are_counted_without_importing_their_modules(tmp_path):
    (tmp_path / "shop" / "deep").mkdir(parents=True)
    (tmp_path / "shop" / "deep" / "kernels.py").write_text(KERNELS)
    (tmp_path / "shop" / "__init__.py").write_text(KERNELS)
    (tmp_path / "shop" / "plain.py").write_text('"""Says @kernel( and defines none."""\n')
    found = compiling.kernel_modules(tmp_path, ("shop", "nothing"))
    assert found == {"shop": 2, "shop.deep.kernels": 2}
    assert "shop" not in sys.modules


def test_a_module_depends_on_what_it_imports_through_others(tmp_path):
    (tmp_path / "shop").mkdir()
    for name, text in {
        "__init__": "",
        "base": "",
        "plain": "import shop.base",
        "top": "from shop.plain import x\nimport numpy",
        "also": "from shop import base",
        "left": "import shop.right",
        "right": "import shop.left",
    }.items():
        (tmp_path / "shop" / f"{name}.py").write_text(text)
    modules = ["shop.base", "shop.top", "shop.also", "shop.left", "shop.right"]
    assert compiling.dependencies(tmp_path, modules) == {
        "shop.base": set(),
        "shop.top": {"shop.base"},
        "shop.also": {"shop.base"},
        "shop.left": {"shop.right"},
        "shop.right": {"shop.left"},
    }


def test_modules_are_handed_out_after_what_they_import_and_circles_do_not_hang():
    queue = compiling._Queue({"top": {"base"}, "base": set(), "a": {"b"}, "b": {"a"}})
    order = []
    while (module := queue.take()) is not None:
        order.append(module)
        queue.finish(module)
    assert order == ["base", "top", "a", "b"]


def test_our_own_kernels_are_found():
    assert "engine.ring" in compiling.kernel_modules(jit.ROOT, jit.PACKAGES)


# The real packages are large; a process with packages of its own shows the same in a second.
PROGRAM = """
import json, pathlib, sys
from engine import compile as compiling
from engine import jit
jit.ROOT, jit.PACKAGES = pathlib.Path({root!r}), ("shop",)
sys.path.insert(0, {root!r})
count = compiling.ensure_compiled()
print(json.dumps([count, any(jit.caches_root().glob("complete-*"))]))
"""


@pytest.fixture
def shop(tmp_path):
    """Start processes that compile the kernels of a package of the test's own."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "shop").mkdir()
    (root / "shop" / "__init__.py").write_text(KERNELS)
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def start(**extra):
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM).format(root=str(root))],
            env=environment | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    start.source = root / "shop" / "__init__.py"
    return start


def finish(process):
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out), errors


def test_the_first_run_compiles_says_so_and_leaves_the_marker(shop):
    result, errors = finish(shop())
    assert result == [2, True]
    assert "first run: compiling 2 kernels, once per version" in errors


def test_the_second_run_is_silent(shop):
    finish(shop())
    assert finish(shop()) == ([0, True], "")


def test_processes_that_start_together_compile_once(shop):
    both = [finish(each)[0][0] for each in (shop(), shop())]
    assert sorted(both) == [0, 2]


def test_a_module_that_cannot_be_imported_is_reported_and_leaves_no_marker(shop):
    shop.source.write_text(KERNELS + "\nnothing\n")
    result, errors = finish(shop())
    assert result[1] is False
    assert "shop: NameError" in errors


def test_without_the_jit_nothing_is_compiled(shop):
    assert finish(shop(NUMBA_DISABLE_JIT="1")) == ([0, False], "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_a_warning(shop, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    result, errors = finish(shop())
    assert result[0] == 0
    assert "warning: kernel cache" in errors


def test_the_command_says_what_it_did(capsys, monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert main(["compile"]) == 0
    assert "up to date" in capsys.readouterr().out
