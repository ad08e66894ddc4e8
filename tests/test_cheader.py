"""The generated C header: a C program reads what Python writes, while it is being written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engine.cheader as module
from engine.cheader import UnknownLayout, c_header, known_layouts
from engine.frames import FrameWriter
from engine.layout import Field, Layout
from engine.records import FRAME, LABEL
from engine.ring import RingWriter
from engine.segment import VERSION
from engine.table import TableWriter
from feeds import types
from tests.records import LARGE, ROW, SMALL, records

PROGRAM = Path(__file__).parent / "c" / "reader.c"
LAYOUTS = [FRAME, LABEL, SMALL, LARGE, ROW] + [
    value for value in vars(types).values() if isinstance(value, Layout)
]
STRICT = ["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def compiler(name):
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name}")
    return found


def compile_(folder, command, *options):
    (folder / "trade_infra.h").write_text(c_header(LAYOUTS))
    program = folder / "reader"
    subprocess.run(
        [compiler(command), *STRICT, *options, "-I", folder, "-o", program, "-lrt"],
        check=True,
        timeout=60,
    )
    return program


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return compile_(tmp_path_factory.mktemp("c"), "gcc", "-std=gnu11", PROGRAM)


def test_header_is_good_cpp_too(tmp_path):
    compile_(tmp_path, "g++", "-std=gnu++11", "-x", "c++", PROGRAM)


def started(reader, *args):
    process = subprocess.Popen([reader, *map(str, args)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def result(process):
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return [int(word) for word in output.split()]


@pytest.mark.processes
def test_c_reads_every_record_of_a_large_ring(instance, reader):
    ring = RingWriter.open(instance, "test.c", SMALL, 65536)
    process = started(reader, "ring", instance, 50_000)
    for first in range(1, 50_001, 100):
        ring.publish_many(records(SMALL, np.arange(first, first + 100) * 3))
    total = 3 * 50_000 * 50_001 // 2
    assert result(process) == [50_000, 0, 0, total, 50_001]
    ring.close()


@pytest.mark.processes
def test_c_reader_that_is_lapped_counts_what_it_lost_and_accepts_nothing_torn(instance, reader):
    ring = RingWriter.open(instance, "test.c", SMALL, 64)
    process = started(reader, "ring", instance, 300_000)
    for first in range(1, 300_001, 1000):
        ring.publish_many(records(SMALL, np.arange(first, first + 1000) * 3))
    accepted, lost, torn, _, position = result(process)
    assert torn == 0
    assert accepted + lost == position - 1 == 300_000
    ring.close()


@pytest.mark.processes
def test_c_reads_frames(instance, reader):
    ring = FrameWriter.open(instance, "test.c", 256, 1 << 18)
    process = started(reader, "frames", instance, 20_000)
    for n in range(1, 20_001):
        ring.publish(bytes([n % 251]) * (n * 31 % 3000), n)
    accepted, lost, torn = result(process)
    assert torn == 0
    assert accepted + lost == 20_000
    ring.close()


@pytest.mark.processes
def test_c_reads_rows(instance, reader):
    table = TableWriter.open(instance, "test.c", ROW, 4)
    process = started(reader, "table", instance, 20_000)
    row = np.zeros(1, ROW.dtype)
    for n in range(1, 20_001):
        row["body"] = n
        table.write(1, row)
    assert result(process) == [0, 20_000]
    table.close()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda i: None, -1),
        (lambda i: RingWriter.open(i, "test.c", SMALL, 8), 0),
        (lambda i: RingWriter.open(i, "test.c", LARGE, 8), -7),
        (lambda i: Path(f"/dev/shm/{i}.test.c").write_bytes(b""), -2),
        (lambda i: Path(f"/dev/shm/{i}.test.c").write_bytes(b"x" * 9000), -3),
    ],
    ids=["missing", "good", "other layout", "half-made", "foreign"],
)
def test_c_attach_says_what_is_wrong(instance, reader, make, code):
    made = make(instance)
    done = subprocess.run([reader, "attach", instance, "test.c"], capture_output=True, text=True)
    assert int(done.stdout) == code
    if isinstance(made, RingWriter):
        made.close()


@pytest.mark.parametrize(("value", "code"), [(0, -2), (2, -4)])
def test_c_attach_checks_the_version(instance, reader, value, code):
    ring = RingWriter.open(instance, "test.c", SMALL, 8)
    ring.cells[VERSION] = value
    done = subprocess.run([reader, "attach", instance, "test.c"], capture_output=True, text=True)
    assert int(done.stdout) == code
    ring.close()


@pytest.mark.parametrize("cell", [2, 3, 4, 5, 6, 7, 9, 10])
@pytest.mark.parametrize("value", [-1, 0, 3, 2**62, -(2**63)])
def test_c_attach_survives_a_damaged_header(instance, reader, cell, value):
    ring = RingWriter.open(instance, "test.c", SMALL, 8)
    ring.cells[cell] = value
    done = subprocess.run([reader, "attach", instance, "test.c"], capture_output=True, text=True)
    assert done.returncode == 0
    if cell != 2 and (cell, value) != (10, 0):
        assert int(done.stdout) in (-5, -7)
    ring.close()


def test_layouts_of_the_engine_are_known():
    assert {"frame", "counter_label"} <= set(known_layouts())


def test_names_that_c_does_not_allow_are_changed():
    odd = Layout("9-odd", 1, (Field("class", "i8", "a */ b"), Field("x", "i8", "", (7,))))
    text = c_header([odd])
    assert "struct ti_9_odd_ {" in text or "struct ti__9_odd {" in text or "ti_9_odd" in text
    assert "int64_t class_; /* a * / b */" in text


def test_header_has_no_placeholder_left():
    assert not re.search(r"@[A-Z]+@", c_header(LAYOUTS))


def run(*args):
    code = (
        "import sys, argparse\n"
        "from engine.cheader import register\n"
        "parser = argparse.ArgumentParser()\n"
        "register(parser.add_subparsers())\n"
        "args = parser.parse_args(sys.argv[1:])\n"
        "args.handler(args)\n"
        "sys.exit('numba' in sys.modules)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "layout", *args],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def test_command_prints_tables_without_importing_numba():
    done = run("frame")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("frame v1: 64 bytes\n     0    8        i8  sequence ")


def test_command_prints_the_header():
    assert "struct ti_frame {" in run("--c-header", "frame").stdout


def test_unknown_layout_is_named(monkeypatch):
    monkeypatch.setattr(module, "known_layouts", lambda: {"a": FRAME})
    with pytest.raises(UnknownLayout, match="no layout 'b': there are a"):
        module._show(type("Args", (), {"names": ["b"], "c_header": False}))
