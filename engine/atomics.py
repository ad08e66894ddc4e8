"""Ordered and raw memory access for kernels: the only module that builds LLVM instructions.

The ordered functions take a C-contiguous int64 array and an index, never an address. Under
``NUMBA_DISABLE_JIT=1`` the plain Python bodies run, which is enough for single-threaded tests.

====================  ======================================================================
``load_acquire``      later reads of this thread stay after it
``store_release``     earlier reads and writes of this thread stay before it
``fence_acquire``     reads before it stay before the atomic loads after it
``fence_release``     writes before it stay before the writes after it
``fence_full``        everything before it stays before everything after it (store to load too)
``compare_exchange``  acquire and release in one step, on success
====================  ======================================================================

A plain ``cells[i]`` in a wait loop is not a substitute: LLVM hoists it and the loop never ends
(``tests/test_atomics.py`` keeps that on record).

``byte_at`` and ``word_at`` read a byte and eight unaligned bytes of a ``uint8`` array without the
wrap-around test that Numba adds to signed indices: two to four times the speed in a scanner. They
trust the caller's index. Under ``NUMBA_BOUNDSCHECK=1`` and without the JIT they check it, and so
does ``copy_cells``.
"""

import platform
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from engine.jit import overloads

_INT64_BYTES = 8
_ARM = platform.machine() in ("aarch64", "arm64")
_ARM_YIELD_HINT = 1


def load_acquire(cells: NDArray[np.int64], index: int) -> int:
    """Return ``cells[index]``; nothing after the call is read before it."""
    return int(cells[index])


def store_release(cells: NDArray[np.int64], index: int, value: int) -> None:
    """Set ``cells[index]``; everything before the call is visible to whoever sees it."""
    cells[index] = value


def compare_exchange(cells: NDArray[np.int64], index: int, expected: int, value: int) -> bool:
    """Set ``cells[index]`` to ``value`` if it is ``expected``; return whether it was."""
    if cells[index] != expected:
        return False
    cells[index] = value
    return True


def fence_acquire() -> None:
    """Keep earlier reads before later atomic loads."""


def fence_release() -> None:
    """Keep earlier writes before later writes."""


def fence_full() -> None:
    """Keep everything earlier before everything later, stores before loads included."""


def pause() -> None:
    """Tell the core that this is a wait loop (x86 ``pause``, ARM ``yield``)."""


def byte_at(data: NDArray[np.uint8], index: int) -> int:
    """Return ``data[index]`` as int64; the caller answers for ``0 <= index < len(data)``."""
    if index < 0:
        raise IndexError(index)
    return int(data[index])


def word_at(data: NDArray[np.uint8], index: int) -> int:
    """Return the eight bytes at ``index`` as a little-endian uint64; unaligned is fine."""
    if index < 0 or index + 8 > len(data):
        raise IndexError(index)
    return int(data[index : index + 8].view(np.uint64)[0])


def copy_cells(target: NDArray[Any], at: int, source: NDArray[Any], start: int, count: int) -> None:
    """Copy ``count`` int64 cells, or bytes; a few vector moves where ``count`` is a constant.

    The caller answers for both ranges and for their not overlapping: a loop over cells would be
    tested for wrap-around and overlap at each, five times the time for a record.
    """
    if min(at, start, count) < 0 or at + count > len(target) or start + count > len(source):
        raise IndexError(at, start, count)
    target[at : at + count] = source[start : start + count]


def leading_zeros(value: int) -> int:
    """Return the number of zero bits above the highest set bit of an int64; 64 for zero."""
    return 64 - (int(value) & (2**64 - 1)).bit_length()


def trailing_zeros(value: int) -> int:
    """Return the number of zero bits below the lowest set bit of an int64; 64 for zero."""
    bits = int(value) & (2**64 - 1)
    return (bits & -bits).bit_length() - 1 if bits else 64


def realtime_ns() -> int:
    """Return the system's real-time clock, Unix ns."""
    return time.time_ns()


def _cell_pointer(context, builder, array_type, array, index):
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [index], wraparound=False)


@intrinsic
def _load_acquire(typing_context, cells, index):
    def emit(context, builder, signature, args):
        pointer = _cell_pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(pointer, ordering="acquire", align=_INT64_BYTES)

    return types.int64(cells, types.intp), emit


@intrinsic
def _store_release(typing_context, cells, index, value):
    def emit(context, builder, signature, args):
        pointer = _cell_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, ordering="release", align=_INT64_BYTES)
        return context.get_dummy_value()

    return types.void(cells, types.intp, types.int64), emit


@intrinsic
def _compare_exchange(typing_context, cells, index, expected, value):
    def emit(context, builder, signature, args):
        pointer = _cell_pointer(context, builder, signature.args[0], args[0], args[1])
        result = builder.cmpxchg(pointer, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(cells, types.intp, types.int64, types.int64), emit


def _fence(ordering):
    @intrinsic
    def fence(typing_context):
        def emit(context, builder, signature, args):
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), emit

    return fence


_fence_acquire = _fence("acquire")
_fence_release = _fence("release")
_fence_full = _fence("seq_cst")


@intrinsic
def _pause(typing_context):
    def emit(context, builder, signature, args):
        if _ARM:
            name, args = "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), _ARM_YIELD_HINT)]
        else:
            name, args = "llvm.x86.sse2.pause", []
        hint = ir.FunctionType(ir.VoidType(), [each.type for each in args])
        builder.call(cgutils.get_or_insert_function(builder.module, hint, name), args)
        return context.get_dummy_value()

    return types.void(), emit


def _raw_pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


@intrinsic
def _byte_at(typing_context, data, index):
    def emit(context, builder, signature, args):
        pointer = _raw_pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.zext(builder.load(pointer), ir.IntType(64))

    return types.int64(data, types.intp), emit


@intrinsic
def _word_at(typing_context, data, index):
    def emit(context, builder, signature, args):
        pointer = _raw_pointer(context, builder, signature.args[0], args[0], args[1])
        wide = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        return builder.load(wide, align=1)

    return types.uint64(data, types.intp), emit


@intrinsic
def _copy_cells(typing_context, target, at, source, start, count):
    def emit(context, builder, signature, args):
        into = _raw_pointer(context, builder, signature.args[0], args[0], args[1])
        out_of = _raw_pointer(context, builder, signature.args[2], args[2], args[3])
        size = signature.args[0].dtype.bitwidth // 8
        cgutils.raw_memcpy(builder, into, out_of, args[4], size, align=size)
        return context.get_dummy_value()

    if target.dtype != source.dtype:
        raise TypingError(f"copy_cells from {source.dtype} to {target.dtype}")
    return types.void(target, types.intp, source, types.intp, types.intp), emit


def _count_zeros(instruction):
    @intrinsic
    def count(typing_context, value):
        def emit(context, builder, signature, args):
            return getattr(builder, instruction)(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.int64), emit

    return count


_leading_zeros = _count_zeros("ctlz")
_trailing_zeros = _count_zeros("cttz")


@intrinsic
def _realtime_ns(typing_context):
    def emit(context, builder, signature, args):
        int32, int64 = ir.IntType(32), ir.IntType(64)
        timespec = cgutils.alloca_once(builder, ir.ArrayType(int64, 2))
        first = builder.bitcast(timespec, int64.as_pointer())
        get = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(int32, [int32, int64.as_pointer()]), "clock_gettime"
        )
        builder.call(get, [ir.Constant(int32, time.CLOCK_REALTIME), first])
        second = builder.gep(first, [ir.Constant(int64, 1)])
        seconds = builder.mul(builder.load(first), ir.Constant(int64, 10**9))
        return builder.add(seconds, builder.load(second))

    return types.int64(), emit


@overload(leading_zeros)
def _(value):
    return lambda value: _leading_zeros(value)


@overload(trailing_zeros)
def _(value):
    return lambda value: _trailing_zeros(value)


@overload(realtime_ns)
def _():
    return lambda: _realtime_ns()


@overload(load_acquire)
def _(cells, index):
    return lambda cells, index: _load_acquire(cells, index)


@overload(store_release)
def _(cells, index, value):
    return lambda cells, index, value: _store_release(cells, index, value)


@overload(compare_exchange)
def _(cells, index, expected, value):
    return lambda cells, index, expected, value: _compare_exchange(cells, index, expected, value)


@overload(fence_acquire)
def _():
    return lambda: _fence_acquire()


@overload(fence_release)
def _():
    return lambda: _fence_release()


@overload(fence_full)
def _():
    return lambda: _fence_full()


@overload(pause)
def _():
    return lambda: _pause()


@overloads(byte_at)
def _(data, index):
    if config.BOUNDSCHECK:
        return lambda data, index: np.int64(data[index])
    return lambda data, index: _byte_at(data, index)


def _word_checked(data, index):
    return (
        np.uint64(data[index])
        | np.uint64(data[index + 1]) << np.uint64(8)
        | np.uint64(data[index + 2]) << np.uint64(16)
        | np.uint64(data[index + 3]) << np.uint64(24)
        | np.uint64(data[index + 4]) << np.uint64(32)
        | np.uint64(data[index + 5]) << np.uint64(40)
        | np.uint64(data[index + 6]) << np.uint64(48)
        | np.uint64(data[index + 7]) << np.uint64(56)
    )


@overloads(word_at)
def _(data, index):
    if config.BOUNDSCHECK:
        return _word_checked
    return lambda data, index: _word_at(data, index)


def _copy_checked(target, at, source, start, count):
    for i in range(count):
        target[at + i] = source[start + i]


@overload(copy_cells)
def _(target, at, source, start, count):
    if config.BOUNDSCHECK:
        return _copy_checked
    return lambda target, at, source, start, count: _copy_cells(target, at, source, start, count)
