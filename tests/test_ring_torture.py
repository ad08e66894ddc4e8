"""Real threads and real processes at full speed, and writers killed at any instant.

Every word of a record is its sequence, so that a torn record cannot look whole.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from engine.frames import FrameReader, FrameWriter, fetch
from engine.jit import kernel
from engine.ring import (
    EMPTY,
    LAPPED,
    RingReader,
    RingWriter,
    available,
    begin,
    commit,
    intact,
    resume_point,
)
from engine.table import TableReader, TableWriter, copy_row, write_row
from tests.records import LARGE, ROW, SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kernels,
    pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="needs threads at once"),
]

NAME = "test.torture"
RECORDS = 400_000
ROUNDS = 18
_READ_ONLY = "Array(int64, 1, 'C', readonly=True)"


@kernel("void(int64[::1], int64, int64, int64, int64)")
def write_numbers(words, stride, capacity, first, last):
    """Publish records ``first`` to ``last`` whose words are all the record's own number."""
    for n in range(first, last + 1):
        at = begin(words, stride, capacity, n)
        for word in range(1, stride):
            words[at + word] = n
        commit(words, at, n)


@kernel(f"void({_READ_ONLY}, {_READ_ONLY}, int64, int64, int64[::1])")
def read_numbers(words, cells, stride, last, state):
    """Read to ``last``; ``state`` is accepted, lost, torn, position and gave up (1)."""
    capacity = len(words) // stride
    position, idle = state[3], 0
    while position <= last and idle < 2_000_000_000:
        count = available(words, stride, capacity, position, 64)
        if count == EMPTY:
            idle += 1
            continue
        idle = 0
        if count == LAPPED:
            target = min(resume_point(words, cells, stride, capacity, position), last + 1)
            state[1] += target - position
            position = target
            continue
        torn = 0
        for n in range(position, position + count):
            at = (n & (capacity - 1)) * stride
            for word in range(1, stride):
                torn += words[at + word] != n
        if intact(words, stride, capacity, position):
            state[0] += count
            state[2] += torn
        else:
            state[1] += count
        position += count
    state[3] = position
    state[4] = position <= last


@pytest.mark.parametrize("layout", [SMALL, LARGE], ids=["64 bytes", "128 bytes"])
@pytest.mark.parametrize("capacity", [2, 64, 4096])
def test_no_torn_record_is_accepted_between_threads(layout, capacity):
    stride = layout.dtype.itemsize // 8
    words, cells = np.zeros(capacity * stride, np.int64), np.zeros(512, np.int64)
    state = np.array([0, 0, 0, 1, 0], np.int64)
    writer = threading.Thread(
        target=write_numbers, args=(words, stride, capacity, 1, RECORDS), daemon=True
    )
    writer.start()
    read_numbers(words, cells, stride, RECORDS, state)
    writer.join()
    accepted, lost, torn, _, gave_up = state.tolist()
    assert (torn, gave_up) == (0, 0)
    assert accepted + lost == RECORDS


def spawn(code, *args):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process):
    process.stdin.close()
    process.wait(20)
    process.stdout.close()
    assert process.returncode == 0


RING_WRITER = """
import sys
import numpy as np
from engine.ring import RingWriter
from tests import records
layout, lane, total = getattr(records, sys.argv[2]), sys.argv[3], int(sys.argv[4])
ring = RingWriter.open(sys.argv[1], "test.torture", layout, 256)
print("ready", flush=True)
sys.stdin.readline()
batch = np.zeros(64, layout.dtype)
while ring.newest < total:
    if lane == "bytes":
        ring.publish((ring.newest + 1).to_bytes(8, "little") * (layout.dtype.itemsize // 8))
    else:
        count = min(64, total - ring.newest)
        batch["body"][:] = np.arange(ring.newest + 1, ring.newest + 65)[:, None]
        ring.publish_many(batch[:count])
sys.stdin.read()
"""


@pytest.mark.processes
@pytest.mark.parametrize("layout", ["SMALL", "LARGE"])
@pytest.mark.parametrize(("lane", "total"), [("bytes", 150_000), ("many", 1_000_000)])
def test_no_torn_record_is_accepted_between_processes(instance, layout, lane, total):
    process = spawn(RING_WRITER, instance, layout, lane, str(total))
    reader = RingReader.attach(instance, NAME, start="oldest")
    process.stdin.write("go\n")
    process.stdin.flush()
    accepted = rejected = 0
    limit = time.monotonic() + 60
    while reader.position <= total and time.monotonic() < limit:
        batch = reader.poll()
        whole = bool((batch["body"] == batch["sequence"][:, None]).all())
        if len(batch) == 0:
            continue
        if reader.intact():
            assert whole
            accepted += len(batch)
        else:
            rejected += len(batch)
    assert accepted + rejected + reader.lost == total
    reader.close()
    end(process)


@kernel(
    f"void({_READ_ONLY}, {_READ_ONLY}, Array(uint8, 1, 'C', readonly=True), int64, int64[::1],"
    "uint8[::1])"
)
def read_frames(cells, words, area, last, state, scratch):
    """Fetch to ``last``; ``state`` is accepted, lost, torn, position and gave up (1)."""
    position, idle = state[3], 0
    while position <= last and idle < 2_000_000_000:
        code = fetch(cells, words, area, position, scratch)
        if code == EMPTY:
            idle += 1
            continue
        idle = 0
        if code == LAPPED:
            state[1] += 1
        else:
            state[0] += 1
            for i in range(code - 1):
                state[2] += scratch[i] != position % 251
        position += 1
    state[3] = position
    state[4] = position <= last


FRAME_WRITER = """
import sys
from engine.frames import FrameWriter
total = int(sys.argv[2])
ring = FrameWriter.open(sys.argv[1], "test.torture", 1024, 1 << 18)
print("ready", flush=True)
sys.stdin.readline()
payloads = [bytes([n]) * 1500 for n in range(251)]
while ring.newest < total:
    n = ring.newest + 1
    ring.publish(payloads[n % 251][: 1 + n * 7 % 1500], n)
sys.stdin.read()
"""


@pytest.mark.processes
def test_no_torn_frame_is_accepted(instance):
    total = 120_000
    process = spawn(FRAME_WRITER, instance, str(total))
    reader = FrameReader.attach(instance, NAME)
    state = np.array([0, 0, 0, 1, 0], np.int64)
    process.stdin.write("go\n")
    process.stdin.flush()
    scratch = np.zeros((1 << 18) + 64, np.uint8)
    read_frames(reader.cells, reader.words, reader.segment.area, total, state, scratch)
    accepted, lost, torn, _, gave_up = state.tolist()
    assert (torn, gave_up) == (0, 0)
    assert accepted + lost == total
    reader.close()
    end(process)


@kernel("void(int64[::1], int64, int64, int64[::1])")
def write_rows(words, stride, count, source):
    """Write rows of one number each, in turn."""
    for n in range(1, count + 1):
        source[:] = n
        write_row(words, stride, n % (len(words) // stride), source)


@kernel("Tuple((int64, int64, int64))(int64[::1], int64, int64, int64[::1])")
def read_rows(words, stride, last, out):
    """Read row 0 until ``last`` stands in it; return (reads, torn, went back)."""
    reads = torn = back = seen = idle = 0
    while seen < last and idle < 1_000_000_000:
        idle += 1
        if not copy_row(words, stride, 0, out, 100):
            continue
        reads += 1
        for word in range(2, stride):
            torn += out[word] != out[1]
        back += out[1] < seen
        seen = out[1]
    return reads, torn, back


def test_no_torn_row_is_accepted_between_threads():
    words = np.zeros(4 * 16, np.int64)
    count = 400_000
    writer = threading.Thread(
        target=write_rows, args=(words, 16, count, np.zeros(16, np.int64)), daemon=True
    )
    writer.start()
    reads, torn, back = read_rows(words, 16, count, np.zeros(16, np.int64))
    writer.join()
    assert reads > 0
    assert (torn, back) == (0, 0)


VICTIM = """
import sys
import numpy as np
from engine import ring as rings
from engine.frames import FrameWriter
from engine.table import TableWriter
from tests.records import LARGE, ROW
instance, what = sys.argv[1:3]
if what == "kernel":
    from tests.test_ring_torture import write_numbers
if what == "table":
    table = TableWriter.open(instance, "test.torture", ROW, 4)
    source = np.zeros(1, ROW.dtype)
elif what == "frames":
    ring = FrameWriter.open(instance, "test.torture", 64, 1 << 18, bell=False)
else:
    ring = rings.RingWriter.open(instance, "test.torture", LARGE, 64, bell=False)
    batch = np.zeros(16, LARGE.dtype)
print("ready", flush=True)
n = 0
while True:
    n += 1
    if what == "table":
        source["body"] = n
        table.write(n % 4, source)
    elif what == "frames":
        m = ring.newest + 1
        ring.publish(bytes([m % 251]) * (1 + m * 7919 % 9000), m)
    elif what == "bytes":
        ring.publish((ring.newest + 1).to_bytes(8, "little") * 16)
    elif what == "many":
        batch["body"][:] = np.arange(ring.newest + 1, ring.newest + 17)[:, None]
        ring.publish_many(batch)
    else:  # A kernel that tells the cursor nothing for many laps.
        write_numbers(ring.words, ring.stride, ring.capacity, ring.newest + 1, ring.newest + 5000)
        ring.finish(ring.newest + 5000)
"""


def kill_at_random(instance, what, delay):
    process = spawn(VICTIM, instance, what)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def check_ring(slots, newest):
    """Whatever stands in the slots with a positive number is whole, and none is above newest."""
    for slot in slots:
        if slot["sequence"] > 0:
            assert set(slot["body"].tolist()) == {int(slot["sequence"])}
            assert slot["sequence"] <= newest
    marks = [int(-slot["sequence"]) for slot in slots if slot["sequence"] < 0]
    assert marks in ([], [newest + 1])


@pytest.mark.processes
@pytest.mark.parametrize("what", ["bytes", "many", "kernel"])
def test_killed_ring_writer_leaves_nothing_torn_and_no_sequence_is_used_twice(instance, what):
    rng, newest = random.Random(what), 0
    for _ in range(ROUNDS // (6 if what == "kernel" else 3)):
        kill_at_random(instance, what, rng.random() / 50)
        ring = RingWriter.open(instance, NAME, LARGE, 64, bell=False)
        reader = RingReader.attach(instance, NAME, start="oldest")
        assert ring.newest > newest or newest == 0
        newest = ring.newest
        check_ring(ring.slots, newest)
        assert reader.newest == newest
        assert ring.publish((newest + 1).to_bytes(8, "little") * 16) == newest + 1
        while len(batch := reader.poll()):
            assert (batch["body"] == batch["sequence"][:, None]).all()
        assert reader.position == newest + 2
        reader.close()
        ring.close()


@pytest.mark.processes
def test_killed_frame_writer_leaves_nothing_torn(instance):
    rng, ours = random.Random(1), set()
    for _ in range(ROUNDS // 4):
        kill_at_random(instance, "frames", rng.random() / 50)
        ring = FrameWriter.open(instance, NAME, 64, 1 << 18, bell=False)
        reader = FrameReader.attach(instance, NAME, start="oldest")
        ours.add(ring.publish(b"ours", 1))
        while len(batch := reader.poll()):
            for frame in batch:
                payload, n = bytes(reader.payload(frame)), int(frame["sequence"])
                expected = bytes([n % 251]) * (1 + n * 7919 % 9000)
                # Ours of an earlier round too: a victim may come to publish next to nothing.
                assert payload == (b"ours" if n in ours else expected)
            assert reader.intact()
        reader.close()
        ring.close()


@pytest.mark.processes
def test_killed_table_writer_leaves_whole_rows(instance):
    rng = random.Random(2)
    for _ in range(ROUNDS // 4):
        kill_at_random(instance, "table", rng.random() / 50)
        table = TableWriter.open(instance, NAME, ROW, 4)
        reader = TableReader.attach(instance, NAME, ROW)
        for row in reader.snapshot():
            assert len(set(row["body"].tolist())) == 1
        reader.close()
        table.close()
