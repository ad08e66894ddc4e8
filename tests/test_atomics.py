"""Ordered accesses do what their plain forms do, and the optimizer leaves them alone."""

import os
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from engine import atomics
from engine.atomics import (
    byte_at,
    compare_exchange,
    copy_cells,
    load_acquire,
    store_release,
    word_at,
)
from engine.clock import now_ns
from engine.jit import kernel

pytestmark = pytest.mark.kernels

reads_code = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="reads code")
CHECKED = "1" in (os.environ.get("NUMBA_DISABLE_JIT"), os.environ.get("NUMBA_BOUNDSCHECK"))
INT64 = st.integers(-(2**63), 2**63 - 1)


@kernel("int64(int64[::1], int64, int64)")
def swap(cells, index, value):
    """Store a value; return the old one."""
    old = load_acquire(cells, index)
    store_release(cells, index, value)
    return old


@kernel("void(int64[::1], int64, int64[::1], int64, int64)")
def copy(target, at, source, start, count):
    """Copy cells."""
    copy_cells(target, at, source, start, count)


@kernel("boolean(int64[::1], int64, int64)")
def exchange(cells, expected, value):
    """Exchange cell 1."""
    return compare_exchange(cells, 1, expected, value)


@kernel("int64(int64)")
def leading(value):
    """Return leading_zeros."""
    return atomics.leading_zeros(value)


@kernel("int64(int64)")
def trailing(value):
    """Return trailing_zeros."""
    return atomics.trailing_zeros(value)


@kernel("int64(uint8[::1], int64)")
def byte(data, index):
    """Return byte_at."""
    return byte_at(data, index)


@kernel("uint64(uint8[::1], int64)")
def word(data, index):
    """Return word_at."""
    return word_at(data, index)


@kernel("int64()")
def fences():
    """Run everything that has no result."""
    atomics.fence_acquire()
    atomics.fence_release()
    atomics.fence_full()
    atomics.pause()
    return 1


@given(st.integers(0, 7), INT64, INT64)
def test_load_and_store(index, old, new):
    cells = np.full(8, 5, np.int64)
    cells[index] = old
    assert swap(cells, index, new) == old
    assert cells[index] == new
    assert (np.delete(cells, index) == 5).all()


def test_compare_exchange_changes_only_what_was_expected():
    cells = np.array([0, 7, 0], np.int64)
    assert not exchange(cells, 6, 9)
    assert cells.tolist() == [0, 7, 0]
    assert exchange(cells, 7, 9)
    assert cells.tolist() == [0, 9, 0]


@given(INT64)
def test_zeros_are_counted(value):
    bits = f"{value & (2**64 - 1):064b}"
    assert leading(value) == len(bits) - len(bits.lstrip("0"))
    assert trailing(value) == len(bits) - len(bits.rstrip("0"))


@given(st.binary(min_size=8, max_size=40), st.data())
def test_bytes_and_words_at_any_alignment(data, draw):
    array = np.frombuffer(bytearray(data), np.uint8)
    index = draw.draw(st.integers(0, len(data) - 8))
    assert byte(array, index) == data[index]
    assert int(word(array, index)) == int.from_bytes(data[index : index + 8], "little")


@pytest.mark.skipif(not CHECKED, reason="only the checked forms check")
@pytest.mark.parametrize(("read", "index"), [(byte, 8), (word, 1), (word, 100)])
def test_checked_forms_refuse_what_is_outside(read, index):
    with pytest.raises(IndexError):
        read(np.zeros(8, np.uint8), index)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_cells_are_copied_and_nothing_else_is_touched(at, start, count):
    target, source = np.full(16, -1), np.arange(16)
    copy(target, at, source, start, count)
    assert target.tolist() == [-1] * at + list(range(start, start + count)) + [-1] * (
        16 - at - count
    )


@pytest.mark.skipif(not CHECKED, reason="only the checked forms check")
@pytest.mark.parametrize(("at", "start"), [(10, 0), (0, 10)])
def test_checked_copy_refuses_what_is_outside(at, start):
    with pytest.raises(IndexError):
        copy(np.zeros(16, np.int64), at, np.zeros(16, np.int64), start, 7)


def test_fences_and_pause_run():
    assert fences() == 1


def test_clock_is_the_systems():
    before = time.time_ns()
    now = now_ns()
    assert before <= now <= time.time_ns()


@reads_code
@pytest.mark.skipif(os.environ.get("NUMBA_BOUNDSCHECK") == "1", reason="adds branches")
def test_plain_load_in_a_wait_loop_is_hoisted():
    @njit("int64(int64[::1])")
    def wait(cells):
        spins = 0
        while cells[0] == 0 and spins < 1000:
            spins += 1
        return spins

    (text,) = wait.inspect_llvm().values()
    assert "br i1" not in re.split(r"\ndefine ", text)[1]


@reads_code
def test_acquire_load_stays_in_the_wait_loop():
    @njit("int64(int64[::1])")
    def wait(cells):
        spins = 0
        while load_acquire(cells, 0) == 0 and spins < 1000:
            spins += 1
        return spins

    (text,) = wait.inspect_llvm().values()
    body = re.split(r"\ndefine ", text)[1]
    assert "load atomic i64" in body
    assert "br i1" in body
