"""Tables: the latest state, one fixed row a thing, each row with a sequence lock.

The first field of a row is its ``version``: odd while the row is being written, and different after
every write. There is one writer. A reader copies and then checks that the version is what it was;
its tries are bounded, because a writer that died in the middle leaves the version odd.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.atomics import fence_acquire, fence_release, load_acquire, store_release
from engine.errors import SegmentError
from engine.jit import inlined, kernel
from engine.layout import Layout
from engine.segment import Cells, Kind, Segment, Shape

TRIES = 10_000
"""Tries of a read in one go: far longer than a write takes, unless its writer was descheduled."""

PATIENCE_S = 1.0
"""How long a reader waits for a living writer that is descheduled in the middle of a row."""


@inlined
def row_begin(words: Cells, stride: int, row: int) -> int:
    """Mark a row as being written; return the index of its first word (the version)."""
    at = row * stride
    store_release(words, at, words[at] | 1)
    fence_release()  # Pairs with fence_acquire in copy_row: odd before anything changes.
    return at


@inlined
def row_commit(words: Cells, at: int) -> None:
    """Publish the row that ``row_begin`` returned ``at`` for."""
    store_release(words, at, words[at] + 1)  # Pairs with load_acquire in copy_row.


@kernel("void(int64[::1], int64, int64, Array(int64, 1, 'C', readonly=True))")
def write_row(words: Cells, stride: int, row: int, source: Cells) -> None:
    """Replace a row by ``source`` (int64[stride]; its word 0 is ignored)."""
    at = row_begin(words, stride, row)
    for word in range(1, stride):
        words[at + word] = source[word]
    row_commit(words, at)


@inlined
def copy_row(words: Cells, stride: int, row: int, out: Cells, tries: int) -> bool:
    """Copy a row into ``out`` (int64[stride]); False if no whole copy was had in ``tries``."""
    at = row * stride
    for _ in range(tries):
        version = load_acquire(words, at)  # Pairs with store_release in row_commit.
        if version & 1:
            continue
        out[0] = version
        for word in range(1, stride):
            out[word] = words[at + word]
        fence_acquire()  # Pairs with fence_release in row_begin.
        if load_acquire(words, at) == version:
            return True
    return False


@kernel("boolean(Array(int64, 1, 'C', readonly=True), int64, int64, int64[::1], int64)")
def read_row(words: Cells, stride: int, row: int, out: Cells, tries: int) -> bool:
    """Return ``copy_row`` for the Python face."""
    return copy_row(words, stride, row, out, tries)


class _Table:
    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.rows, self.stride = segment.capacity, segment.record_bytes // 8
        self.words, self.dtype = segment.words, segment.dtype

    def _row(self, row: int) -> int:
        if not 0 <= row < self.rows:
            raise IndexError(f"{self.segment.name}: row {row} of {self.rows}")
        return row

    def close(self) -> None:
        """Let go of the segment; it stays."""
        self.words = np.zeros(0, np.int64)
        self.segment.close()


class TableWriter(_Table):
    """The one writer of a table.

    Attributes
    ----------
    torn : list[int]
        Rows that a dead predecessor left half-written; they are zero now and want a new value.

    """

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        self.torn = [row for row in range(self.rows) if self.words[row * self.stride] & 1]
        for row in self.torn:
            self.write(row, np.zeros(1, self.dtype))

    @classmethod
    def open(cls, instance: str, name: str, layout: Layout, rows: int) -> "TableWriter":
        """Make the table (rows of zeros), or take it over with what it holds."""
        if layout.fields[0].name != "version":
            raise SegmentError(f"{name}: the first field of a row is its version")
        return cls(seg.open_writer(instance, name, Shape(Kind.TABLE, layout, rows)))

    def write(self, row: int, record: NDArray[Any] | np.void) -> None:
        """Replace a row; its version is the table's business."""
        source = np.frombuffer(record.tobytes(), np.int64)
        if len(source) != self.stride:
            raise ValueError(f"{self.segment.name}: a row has {self.stride * 8} bytes")
        write_row(self.words, self.stride, self._row(row), source)

    def records(self) -> NDArray[Any]:
        """Return the rows themselves: the writer may look without a lock."""
        return self.segment.records()

    def heartbeat(self) -> None:
        """Say that the writer is well."""
        self.segment.heartbeat()


class TableReader(_Table):
    """A reader: copies of rows, each one whole."""

    @classmethod
    def attach(
        cls, instance: str, name: str, layout: Layout | None = None, wait_s: float = 0.0
    ) -> "TableReader":
        """Attach by name; raises as ``engine.segment.attach`` does."""
        return cls(seg.attach(instance, name, Shape(Kind.TABLE, layout, 0), wait_s=wait_s))

    def read(self, row: int) -> np.void:
        """Return a whole copy of a row.

        Raises
        ------
        SegmentError
            If its writer died while writing it, or does not get on with it.

        """
        out = np.empty(self.stride, np.int64)
        self._row(row)
        deadline, alive = time.monotonic() + PATIENCE_S, True
        while not read_row(self.words, self.stride, row, out, TRIES):
            if not alive or time.monotonic() > deadline:
                state = f"stuck for {PATIENCE_S} s" if alive else "gone: start it again"
                raise SegmentError(
                    f"{self.segment.name}: row {row} is half-written and its writer is {state}"
                )
            alive = self.segment.writer_alive  # If not: one more look, it may have finished first.
            time.sleep(0.0001 * alive)
        record: np.void = out.view(self.dtype)[0]
        return record

    def snapshot(self) -> NDArray[Any]:
        """Return whole copies of all rows (each at its own moment) as a structured array."""
        out = np.empty(self.rows, self.dtype)
        for row in range(self.rows):
            out[row] = self.read(row)
        return out
