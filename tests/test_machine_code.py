"""The orderings that x86 forgives, read from the optimized code of kernels that use them.

Take any fence away, or weaken any atomic, and every run-time test still passes on x86: a test here
does not. ``load`` and ``store`` without a word are plain accesses, which may move between others.
"""

import os
import re

import numba
import pytest

from engine import doorbell, flow, frames, ring, table

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="reads code"),
]

UNCHECKED = pytest.mark.skipif(
    os.environ.get("NUMBA_BOUNDSCHECK") == "1",
    reason="with its checks put_frame is too large to be inlined, and its accesses are not seen",
)

_ATOMIC = r"(load|store) atomic .*?(acquire|release|seq_cst|monotonic)"
_ACCESS = re.compile(_ATOMIC + r"|(fence) (\w+)|(cmpxchg)|\b(store) (?:i|<)|= (load) (?:i|<)")
CELLS = numba.types.Array(numba.int64, 1, "C")
BYTES = numba.types.Array(numba.uint8, 1, "C")


def accesses(function, *types):
    """Return the memory accesses of a function's optimized code, in program order."""
    fresh = numba.njit(types, error_model="numpy", nogil=True)(function)
    (text,) = fresh.inspect_llvm().values()
    body = re.split(r"\ndefine ", text)[1].partition("\n}")[0]
    lines = (line for line in body.splitlines() if "%retptr" not in line)
    found = (each for line in lines for each in _ACCESS.findall(line))
    return [" ".join(filter(None, each)) for each in found]


def orderings(function, *types):
    """Return the same without the plain accesses."""
    return [each for each in accesses(function, *types) if " " in each]


def test_record_is_marked_then_written_then_published():
    def publish(words):
        at = ring.begin(words, 2, 8, 5)
        words[at + 1] = 7
        ring.commit(words, at, 5)

    assert accesses(publish, CELLS)[:4] == [
        "store release",
        "fence release",
        "store",
        "store release",
    ]


def test_record_is_acquired_before_it_is_read_and_checked_after_a_fence():
    def read(words):
        if ring.available(words, 2, 8, 5, 1) < 1:
            return -1
        value = words[(5 & 7) * 2 + 1]
        return value if ring.intact(words, 2, 8, 5) else -1

    assert accesses(read, CELLS) == ["load acquire", "load", "fence acquire", "load acquire"]


def test_batch_is_acquired_record_by_record():
    def batch(words):
        return ring.available(words, 2, 8, 5, 3)

    assert set(accesses(batch, CELLS)) == {"load acquire"}


def test_cursor_is_published_after_the_records():
    assert orderings(ring.write_many.py_func, *ring.write_many.signatures[0])[-1] == "store release"
    assert "fence release" in orderings(ring.write_many.py_func, *ring.write_many.signatures[0])


def test_lapped_reader_acquires_the_cursor():
    def resume(words, cells):
        return ring.resume_point(words, cells, 2, 8, 5)

    assert accesses(resume, CELLS, CELLS) == ["load acquire", "load acquire"]


def test_tail_is_searched_with_acquires():
    kernel = ring.find_tail
    assert set(accesses(kernel.py_func, *kernel.signatures[0])) == {"load acquire"}


def test_area_is_claimed_before_it_is_written():
    kernel = frames.claim
    assert accesses(kernel.py_func, *kernel.signatures[0]) == ["store release", "fence release"]


@UNCHECKED
def test_frame_is_claimed_and_copied_before_its_descriptor_is_published():
    def put(cells, words, area, tail, data):
        frames.put_frame(cells, words, area, tail, data, 0, 9, 1, 1, 1, 1, 1)

    assert orderings(put, CELLS, CELLS, BYTES, CELLS, BYTES) == [
        "store release",  # The claim, where one is needed.
        "fence release",
        "store release",  # The mark.
        "fence release",
        "store release",  # The descriptor.
        "store release",  # The cursor.
    ]


@UNCHECKED
def test_frame_is_published_before_its_writer_looks_for_waiters():
    kernel = frames.publish_frame
    assert orderings(kernel.py_func, *kernel.signatures[0]) == [
        "store release",
        "fence release",
        "store release",
        "store release",
        "load acquire",
    ]


def test_payload_is_read_between_the_descriptor_and_both_checks():
    types = (CELLS, CELLS, BYTES, numba.int64, BYTES)
    assert orderings(frames.fetch.py_func, *types) == [
        "load acquire",
        "fence acquire",
        "load acquire",
        "load acquire",
    ]


def test_row_is_odd_before_it_is_written_and_even_after():
    def write(words):
        at = table.row_begin(words, 4, 1)
        words[at + 1] = 7
        table.row_commit(words, at)

    assert accesses(write, CELLS)[:5] in (
        ["load", "store release", "fence release", "store", "load"],
        ["load", "store release", "fence release", "store", "store release"],
    )
    assert orderings(write, CELLS) == ["store release", "fence release", "store release"]


def test_row_is_copied_between_two_acquires():
    def read(words, out):
        return table.copy_row(words, 2, 1, out, 1)

    assert orderings(read, CELLS, CELLS) == ["load acquire", "fence acquire", "load acquire"]


def test_waiter_announces_before_it_looks_and_writer_looks_after_it_published():
    announce, take = doorbell.announce, doorbell.take_waiters
    assert accesses(announce.py_func, *announce.signatures[0]) == [
        "load acquire",
        "store release",
        "fence seq_cst",
    ]
    assert orderings(take.py_func, *take.signatures[0]) == [
        "fence seq_cst",
        "load acquire",
        "store release",
        "load acquire",
        "store release",
    ]


def test_position_of_a_reader_is_released_and_acquired():
    read, write = flow.read_position, flow.write_position
    assert orderings(read.py_func, *read.signatures[0]) == ["load acquire"]
    assert orderings(write.py_func, *write.signatures[0]) == ["store release"]


@pytest.mark.parametrize("name", ["fence_acquire", "fence_release"])
def test_missing_fence_is_noticed(name, monkeypatch):
    """The tests above would fail: the same code without the fence has other accesses."""
    module = ring
    source = (ring.intact if name == "fence_acquire" else ring.begin).py_func
    fenceless = numba.njit(lambda: None)
    monkeypatch.setitem(module.__dict__, name, fenceless)
    naked = numba.njit(source)

    def use(words):
        return naked(words, 2, 8, 5)

    assert not any("fence" in each for each in accesses(use, CELLS))
