"""Segments: made whole or not at all, and never misread, whatever is in them."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import segment as seg
from engine.errors import (
    LayoutMismatch,
    SegmentError,
    SegmentNotFound,
    SegmentNotReady,
    WriterExists,
)
from engine.flow import FlowReader, FlowWriter
from engine.frames import FrameReader, FrameWriter
from engine.ring import RingReader, RingWriter
from engine.segment import Kind, Shape, attach, open_shared, open_writer
from engine.table import TableReader, TableWriter
from tests.records import LARGE, ROW, SMALL, records

pytestmark = pytest.mark.kernels

NAME = "test.segment"
SHAPE = Shape(Kind.RING, SMALL, 8)
SHM = Path("/dev/shm")


def file_of(instance, name=NAME):
    return SHM / f"{instance}.{name}"


@pytest.fixture
def made(instance):
    """Return the file of a good segment whose writer has gone."""
    open_writer(instance, NAME, SHAPE).close()
    return file_of(instance)


def poke(path, cell, value):
    cells = np.memmap(path, np.int64, "r+")
    cells[cell] = value
    cells.flush()


def run(code, *args, **options):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, **options
    )


def test_header_says_what_is_in_it(instance):
    segment = open_writer(instance, NAME, Shape(Kind.FRAMES, SMALL, 8, 128))
    cells = segment.cells
    assert bytes(cells[:1].view(np.uint8)) == b"TRADEINF"
    assert cells[1:8].tolist() == [1, 2, 64, 8, 4096, 4096 + 512 + 128, SMALL.fingerprint]
    assert cells[9:11].tolist() == [4096 + 512, 128]
    assert cells[seg.WRITER_PID] == os.getpid()
    assert cells[seg.WRITER_START] == seg.process_start_ticks(os.getpid()) > 0
    assert segment.epoch == 1
    assert segment.dtype == SMALL.dtype
    segment.close()


def test_segment_is_private(instance, made):
    assert made.stat().st_mode & 0o777 == 0o600


def test_group_may_be_let_in(instance, monkeypatch):
    monkeypatch.setenv("TRADE_INFRA_SEGMENT_MODE", "0640")
    open_writer(instance, NAME, SHAPE).close()
    assert file_of(instance).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", ["", "0644", "0777", "rw", "0200"])
def test_mode_that_lets_in_others_or_not_us_is_refused(instance, monkeypatch, mode):
    monkeypatch.setenv("TRADE_INFRA_SEGMENT_MODE", mode)
    with pytest.raises(SegmentError, match="TRADE_INFRA_SEGMENT_MODE: found"):
        open_writer(instance, NAME, SHAPE)


@pytest.fixture
def locking():
    """Have the segments of this process locked in memory."""
    seg.lock_memory(True)
    yield
    seg.lock_memory(False)


def locked_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmLck:\s+(\d+) kB", status)[1])


def test_segments_are_locked_in_memory_on_demand(instance, made, locking):
    before = locked_bytes()
    segment = attach(instance, NAME)
    assert locked_bytes() >= before + segment.size
    segment.close()
    assert locked_bytes() == before


def test_too_low_a_limit_of_locked_memory_is_a_clear_error(instance, locking):
    user, limit = os.geteuid(), resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, limit[1]))
        if user == 0:  # Root may lock as much as it likes.
            os.seteuid(65_534)
        with pytest.raises(SegmentError, match=r"cannot be locked .* set memory\.lock = false"):
            open_writer(instance, NAME, SHAPE)
    finally:
        os.seteuid(user)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)
    assert seg.list_segments(instance) == []


def test_segment_outlives_its_writer_and_is_taken_over(instance, made):
    segment = open_writer(instance, NAME, SHAPE)
    assert segment.epoch == 2
    segment.close()


def test_lock_of_a_living_writer_is_respected(instance):
    first = open_writer(instance, NAME, SHAPE)
    with pytest.raises(WriterExists, match=f"process {os.getpid()}"):
        open_writer(instance, NAME, SHAPE)
    assert first.writer_alive
    first.close()


def test_reader_sees_whether_the_writer_lives(instance):
    writer = open_writer(instance, NAME, SHAPE)
    reader = attach(instance, NAME, SHAPE)
    assert reader.writer_alive
    writer.close()
    assert not reader.writer_alive
    reader.close()


def test_closing_twice_is_harmless(instance):
    segment = open_writer(instance, NAME, SHAPE)
    segment.close()
    segment.close()


def test_segments_of_an_instance_are_listed(instance):
    open_writer(instance, "b.two", SHAPE).close()
    open_writer(instance, "a", SHAPE).close()
    assert seg.list_segments(instance) == [(instance, "a"), (instance, "b.two")]
    assert set(seg.list_segments(instance)) <= set(seg.list_segments())


def test_removing_says_whether_there_was_one(instance, made):
    assert seg.unlink_segment(instance, NAME)
    assert not seg.unlink_segment(instance, NAME)


def test_removed_segment_stays_usable_and_knows_it(instance):
    segment = open_writer(instance, NAME, SHAPE)
    assert not segment.removed
    seg.unlink_segment(instance, NAME)
    assert segment.removed
    segment.words[3] = 5
    segment.close()


@pytest.mark.parametrize("instance_", ["", "A", "a/b", "../x", "-a", "a" * 33, "a.b", "a\n"])
def test_instance_that_could_be_a_path_is_refused(instance_):
    with pytest.raises(SegmentError, match="instance"):
        seg.shm_name(instance_, "x")


@pytest.mark.parametrize("name", ["", "/", "../x", "a/b", ".x", "a b", "x" * 161, "a\0"])
def test_name_that_could_be_a_path_is_refused(name):
    with pytest.raises(SegmentError, match="segment"):
        seg.shm_name("ti", name)


def test_more_than_the_file_system_has_is_a_clear_error_and_leaves_nothing(instance):
    space = os.statvfs(SHM)
    records_ = 2 ** (space.f_blocks * space.f_frsize // 64).bit_length()
    with pytest.raises(SegmentError, match="/dev/shm has no room: make it larger"):
        RingWriter.open(instance, NAME, SMALL, records_)
    assert seg.list_segments(instance) == []


def test_description_that_does_not_fit_leaves_nothing(instance, monkeypatch):
    monkeypatch.setattr(type(SMALL), "describe", lambda self: "x" * 4000)
    with pytest.raises(SegmentError, match="room for"):
        open_writer(instance, NAME, SHAPE)
    assert seg.list_segments(instance) == []


def test_attach_waits_for_a_segment_that_is_being_made(instance):
    with pytest.raises(SegmentNotFound, match="is its writer running"):
        attach(instance, NAME, wait_s=0.03)


@pytest.mark.parametrize("size", [0, 100, 4095])
def test_segment_without_a_header_is_not_ready_and_its_dead_makers_work_is_done_anew(
    instance, size
):
    file_of(instance).write_bytes(b"\0" * size)
    with pytest.raises(SegmentNotReady):
        attach(instance, NAME, SHAPE)
    segment = open_writer(instance, NAME, SHAPE)
    assert segment.epoch == 1
    segment.close()
    attach(instance, NAME, SHAPE).close()


def test_half_made_segment_is_not_ready_and_is_made_anew(instance, made):
    poke(made, seg.VERSION, 0)
    with pytest.raises(SegmentNotReady, match="has not finished making it"):
        attach(instance, NAME, SHAPE)
    segment = open_writer(instance, NAME, SHAPE)
    assert segment.cells[seg.VERSION] == 1
    segment.close()


def test_half_made_segment_of_a_living_maker_is_left_alone(instance):
    maker = open_writer(instance, NAME, SHAPE)
    maker.cells[seg.VERSION] = 0
    with pytest.raises(WriterExists):
        open_writer(instance, NAME, SHAPE)
    assert not maker.removed
    maker.close()


def test_half_made_bell_is_made_anew(instance):
    shape = Shape(Kind.BELL, None, 0)
    file_of(instance, "bell").write_bytes(b"")
    bell = open_shared(instance, "bell", shape)
    other = open_shared(instance, "bell", shape)
    bell.cells[40] = 77
    assert other.cells[40] == 77
    bell.close()
    other.close()


@pytest.mark.parametrize(
    "content",
    [b"not a segment".ljust(8192, b"."), b"\x7fELF".ljust(4096, b"\0"), os.urandom(1 << 16)],
)
def test_foreign_file_is_refused_and_left_alone(instance, content):
    path = file_of(instance)
    path.write_bytes(content)
    with pytest.raises(LayoutMismatch, match="is not a trade-infra segment"):
        attach(instance, NAME)
    with pytest.raises(LayoutMismatch, match="is not a trade-infra segment"):
        open_writer(instance, NAME, SHAPE)
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [2, 99, -1])
def test_other_header_version_is_refused_with_a_remedy(instance, made, version):
    poke(made, seg.VERSION, version)
    with pytest.raises(LayoutMismatch, match=rf"header version {version}.*restart its writer"):
        attach(instance, NAME, SHAPE)


@pytest.mark.parametrize("size", [4096, 4097, 4096 + 511, 4096 + 513, 1 << 20])
def test_file_of_another_size_is_refused(instance, made, size):
    os.truncate(made, size)
    with pytest.raises(LayoutMismatch, match="it is damaged"):
        attach(instance, NAME)


def test_layout_that_differs_is_named(instance, made):
    with pytest.raises(LayoutMismatch, match=r"test_small.*this program expects test_large v1"):
        attach(instance, NAME, Shape(Kind.RING, LARGE, 8))


def test_kind_that_differs_is_named(instance, made):
    with pytest.raises(LayoutMismatch, match="is a RING, not a TABLE"):
        attach(instance, NAME, Shape(Kind.TABLE, SMALL, 8))


def test_capacity_that_differs_is_named(instance, made):
    with pytest.raises(LayoutMismatch, match=r"has 8 records.*configured are 16"):
        open_writer(instance, NAME, Shape(Kind.RING, SMALL, 16))


@pytest.mark.parametrize("text", ["", "[]", '{"fields":1}', "\udcff", "[" * 2000, "x"])
def test_damaged_description_is_refused(instance, made, text):
    with open(made, "r+b") as file:
        file.seek(seg.DESCRIPTION_AT)
        file.write(text.encode(errors="surrogateescape") + b"\0")
    with pytest.raises(LayoutMismatch, match="description of its records is damaged"):
        attach(instance, NAME)


def test_damaged_names_of_readers_are_refused(instance):
    writer = FlowWriter.open(instance, NAME, SMALL, 4, ("a",), bell=False)
    writer.segment.write_text(seg.READERS_AT, "{not json")
    with pytest.raises(LayoutMismatch, match="names of its readers are damaged"):
        FlowReader.attach(instance, NAME, "a")
    writer.close()


INTERESTING = st.sampled_from(
    [0, 1, -1, 2, 3, 7, 8, 63, 64, 4096, 2**31, 2**62, 2**63 - 1, -(2**63)]
)
CELL = st.sampled_from([*range(11), seg.CURSOR, seg.CLAIM]) | st.integers(0, 511)
DAMAGE = st.lists(st.tuples(CELL, INTERESTING | st.integers(-(2**63), 2**63 - 1)), max_size=3)
MAKERS = {
    "ring": (
        lambda i: RingWriter.open(i, NAME, SMALL, 8, bell=False),
        lambda i: RingReader.attach(i, NAME, start="oldest"),
    ),
    "frames": (
        lambda i: FrameWriter.open(i, NAME, 8, 1 << 18, bell=False),
        lambda i: FrameReader.attach(i, NAME, start="oldest"),
    ),
    "flow": (
        lambda i: FlowWriter.open(i, NAME, SMALL, 8, ("a",), bell=False),
        lambda i: FlowReader.attach(i, NAME, "a"),
    ),
}


def fill(kind, writer):
    if kind == "frames":
        for n in range(5):
            writer.publish(bytes([n]) * 50, n)
    else:
        writer.publish_many(records(SMALL, range(1, 6)))


def look(kind, reader):
    """Read everything; what is accepted must be a true record."""
    batch = reader.poll()
    for record in batch:
        sequence = int(record["sequence"])
        if kind == "frames":
            assert bytes(reader.payload(record)) == bytes([sequence - 1]) * 50
        else:
            assert set(record["body"].tolist()) == {sequence}


@given(st.sampled_from(sorted(MAKERS)), DAMAGE)
def test_damaged_header_is_refused_or_harmless(kind, damage):
    instance = f"fuzz{os.getpid()}"
    make, attach_ = MAKERS[kind]
    try:
        writer = make(instance)
        fill(kind, writer)
        for cell, value in damage:
            writer.cells[cell] = value
        writer.close()
        for opened in (attach_, make):
            try:
                either = opened(instance)
            except SegmentError:
                continue
            if opened is attach_:
                look(kind, either)
            either.close()
    finally:
        for _, name in seg.list_segments(instance):
            seg.unlink_segment(instance, name)


@pytest.mark.parametrize("offset", range(0, 4096, 512))
def test_segment_is_never_misread_after_a_page_of_noise(instance, offset):
    table = TableWriter.open(instance, NAME, ROW, 4)
    table.close()
    path = file_of(instance)
    content = bytearray(path.read_bytes())
    content[offset : offset + 512] = np.random.default_rng(offset).bytes(512)
    path.write_bytes(content)
    try:
        reader = TableReader.attach(instance, NAME, ROW)
    except SegmentError:
        return
    assert not reader.snapshot()["body"].any()
    reader.close()


TWO_MAKERS = """
import sys
from engine.segment import Kind, Shape, open_writer
from engine.errors import WriterExists
from tests.records import SMALL
sys.stdin.readline()
try:
    segment = open_writer(sys.argv[1], "test.segment", Shape(Kind.RING, SMALL, 65536))
    print("writer", segment.removed, flush=True)
except WriterExists:
    print("refused", flush=True)
sys.stdin.readline()
"""


@pytest.mark.processes
def test_of_two_that_open_at_once_exactly_one_becomes_the_writer(instance):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_MAKERS, instance],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    answers = sorted(process.stdout.readline() for process in processes)
    for process in processes:
        process.communicate(b"\n")
    assert answers == [b"refused\n", b"refused\n", b"writer False\n"]


WRITES_INTO_A_READER = """
import ctypes, sys
from engine.ring import RingReader
reader = RingReader.attach(sys.argv[1], "test.segment", start="oldest")
print(len(reader.poll()), flush=True)
ctypes.memset(reader.words.ctypes.data, 0xFF, 64)
print("survived", flush=True)
"""


@pytest.mark.processes
def test_reader_that_writes_all_the_same_dies_and_the_ring_is_unharmed(instance):
    ring = RingWriter.open(instance, NAME, SMALL, 8, bell=False)
    ring.publish_many(records(SMALL, range(8)))
    before = ring.words.tobytes()
    done = run(WRITES_INTO_A_READER, instance, timeout=60)
    assert done.returncode == -11
    assert done.stdout == "7\n"
    assert ring.words.tobytes() == before
    ring.close()


def test_reader_cannot_write_through_any_array(instance, made):
    segment = attach(instance, NAME, SHAPE)
    for array in (segment.cells, segment.words, segment.area, segment.records()):
        assert not array.flags.writeable
    with pytest.raises(TypeError):
        segment.map[0] = 1
    segment.close()


def test_looking_at_a_segment_does_not_import_numba():
    code = "import sys, engine.segment; sys.exit('numba' in sys.modules)"
    assert run(code).returncode == 0
