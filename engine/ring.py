"""The broadcast ring: one writer, any number of readers, the newest records always win.

Records are numbered from 1. Record ``n`` stands in slot ``n & (capacity - 1)``, and the first word
of the slot says what is in it::

    n    record n, whole               written by the writer last, release
    -n   record n is being written     written by the writer first, before the body
    0    nothing yet

The writer never waits and never looks at readers. A reader polls the slot of the record that it
wants and not a shared cursor, reads, and then checks that the word has not changed; if it has, what
it read may be torn and is not to be used. A number above the wanted one says for certain that the
reader was lapped, and by how much. A writer that died leaves at worst one ``-n``, which no reader
accepts and the next writer overwrites. The header's CURSOR, written once a batch, is for late
joiners and tools.
"""

import platform
import struct
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.atomics import copy_cells, fence_acquire, fence_release, load_acquire, store_release
from engine.doorbell import WAITERS, Doorbell
from engine.errors import SegmentError
from engine.jit import inlined, kernel
from engine.layout import Layout
from engine.segment import CURSOR, Cells, Kind, Segment, Shape

DEFAULT_CAPACITY = 65_536
"""Slots: 4 MiB of 64-byte records stay inside a shared L3 and are six times as fast as 1 Ki."""

EMPTY = 0
LAPPED = -1

_READ_ONLY = "Array(int64, 1, 'C', readonly=True)"

TSO = platform.machine() in ("x86_64", "AMD64")
"""Total store order: plain loads and stores, Python's too, are seen in program order."""

_FIRST_QUAD = seg.HEADER_BYTES // 8
_FIRST_BODY = seg.HEADER_BYTES + 8
_NO_BELL = memoryview(bytes(seg.HEADER_BYTES)).cast("q")
"""A bell's header in which nobody ever waits."""
_SKIPS_MAX = 8
"""Laps in one poll before it gives up for now: a bound, whatever the writer does."""

Start = Literal["latest", "oldest"] | int


@inlined
def begin(words: Cells, stride: int, capacity: int, sequence: int) -> int:
    """Mark the slot of ``sequence`` as being written; return the index of its first word.

    ``stride`` is the record size in words. The caller then writes words 1 to ``stride - 1``.
    """
    at = (sequence & (capacity - 1)) * stride
    store_release(words, at, -sequence)
    fence_release()  # Pairs with fence_acquire in intact: the mark is seen before new words are.
    return at


@inlined
def commit(words: Cells, at: int, sequence: int) -> None:
    """Publish the record that ``begin`` returned ``at`` for."""
    store_release(words, at, sequence)  # Pairs with load_acquire in available.


@inlined
def available(words: Cells, stride: int, capacity: int, sequence: int, limit: int) -> int:
    """Return how many records from ``sequence`` on stand whole and contiguous, at most ``limit``.

    0 (``EMPTY``) if the first is not there yet, ``LAPPED`` if it has been overwritten.
    """
    slot = sequence & (capacity - 1)
    most = min(limit, capacity - slot)
    if most < 1:
        return EMPTY
    at = slot * stride
    found = load_acquire(words, at)  # Pairs with store_release in commit.
    if found != sequence:
        return LAPPED if found > sequence or -found > sequence else EMPTY
    count = 1
    while count < most and load_acquire(words, at + count * stride) == sequence + count:
        count += 1
    return count


@inlined
def intact(words: Cells, stride: int, capacity: int, sequence: int) -> bool:
    """Return whether record ``sequence`` and those after it are still what was read.

    The writer overwrites in order, so the oldest record of a batch answers for all of it.
    """
    fence_acquire()  # Pairs with fence_release in begin.
    at = (sequence & (capacity - 1)) * stride
    return load_acquire(words, at) == sequence


@inlined
def resume_point(words: Cells, cells: Cells, stride: int, capacity: int, sequence: int) -> int:
    """Return where a lapped reader of ``sequence`` goes on: half a ring behind the writer.

    Not at the oldest slot: that one would be overwritten before it is read.
    """
    newest = load_acquire(cells, CURSOR)
    found = load_acquire(words, (sequence & (capacity - 1)) * stride)
    newest = max(newest, found, -found)
    return max(newest - capacity // 2 + 1, sequence + 1)


@kernel(f"int64({_READ_ONLY}, int64, int64, int64)")
def find_tail(words: Cells, stride: int, capacity: int, cursor: int) -> int:
    """Return the newest whole sequence at or after the lazily written ``cursor``.

    A kernel that died may have written more than the whole ring since: numbers above the wanted
    one, marks included, say so, and must not be given out again.
    """
    for _ in range(2 * capacity):
        found = load_acquire(words, ((cursor + 1) & (capacity - 1)) * stride)
        newest = max(found, -found - 1)  # What ``-n`` says for certain is that n - 1 is whole.
        if newest <= cursor:
            break
        cursor = newest
    return cursor


@kernel(
    "int64(int64[::1], int64[::1], int64, int64, int64, int64[::1], int64)",
    f"int64(int64[::1], int64[::1], int64, int64, int64, {_READ_ONLY}, int64)",
)
def write_many(
    cells: Cells, words: Cells, stride: int, capacity: int, newest: int, source: Cells, count: int
) -> int:
    """Publish ``count`` records from ``source`` (int64[count * stride]); return the new newest.

    Word 0 of each source record is ignored: the ring numbers its records.
    """
    for i in range(count):
        newest += 1
        at = begin(words, stride, capacity, newest)
        start = i * stride + 1
        if stride == 8:  # Constants, for the two usual sizes.
            copy_cells(words, at + 1, source, start, 7)
        elif stride == 16:
            copy_cells(words, at + 1, source, start, 15)
        else:
            copy_cells(words, at + 1, source, start, stride - 1)
        commit(words, at, newest)
    store_release(cells, CURSOR, newest)  # Pairs with load_acquire in resume_point.
    return newest


@kernel(f"int64({_READ_ONLY}, int64, int64, int64, int64)")
def count_available(words: Cells, stride: int, capacity: int, sequence: int, limit: int) -> int:
    """Return ``available`` for the Python face."""
    return available(words, stride, capacity, sequence, limit)


@kernel(f"boolean({_READ_ONLY}, int64, int64, int64)")
def still_intact(words: Cells, stride: int, capacity: int, sequence: int) -> bool:
    """Return ``intact`` for the Python face."""
    return intact(words, stride, capacity, sequence)


@kernel(f"int64({_READ_ONLY}, {_READ_ONLY}, int64, int64, int64)")
def find_resume_point(words: Cells, cells: Cells, stride: int, capacity: int, sequence: int) -> int:
    """Return ``resume_point`` for the Python face."""
    return resume_point(words, cells, stride, capacity, sequence)


def check_capacity(capacity: int) -> None:
    """Raise ``SegmentError`` unless ``capacity`` is a power of two of at least 2."""
    if capacity < 2 or capacity & (capacity - 1):
        raise SegmentError(f"a ring's capacity must be a power of two, was {capacity}")


class RingWriter:
    """The one writer of a broadcast ring.

    Attributes
    ----------
    words : int64[capacity * stride]
        The slots, for kernels that write records in place with ``begin`` and ``commit``.
    slots : structured[capacity]
        The same memory as records.
    newest : int
        The sequence of the last published record. A kernel that publishes takes it and gives it
        back, and calls ``finish`` afterwards.

    """

    kind = Kind.RING

    def __init__(self, segment: Segment, bell: Doorbell | None) -> None:
        self.segment, self.bell = segment, bell
        self.capacity, self.stride = segment.capacity, segment.record_bytes // 8
        self.words, self.cells = segment.words, segment.cells
        self.slots: NDArray[Any] = segment.records()
        self.newest = find_tail(self.words, self.stride, self.capacity, int(self.cells[CURSOR]))
        self.cells[CURSOR] = self.newest
        self._bytes = memoryview(segment.map)
        self._quads = self._bytes.cast("q")
        self._bell_quads = bell.quads if bell is not None else _NO_BELL
        self._size, self._mask = segment.record_bytes, self.capacity - 1
        self._put_body = struct.Struct(f"{self._size - 8}s").pack_into

    @classmethod
    def open(
        cls,
        instance: str,
        name: str,
        layout: Layout,
        capacity: int = DEFAULT_CAPACITY,
        bell: bool = True,
    ) -> "RingWriter":
        """Make the ring, or take it over from a dead writer and go on at its tail.

        ``bell`` lets readers park: every publication then looks whether one does.

        Raises
        ------
        WriterExists, LayoutMismatch, SegmentError
            See ``engine.segment.open_writer``.

        """
        check_capacity(capacity)
        segment = seg.open_writer(instance, name, Shape(cls.kind, layout, capacity))
        return cls(segment, Doorbell.open(instance, name, rings=True) if bell else None)

    def publish(self, record: bytes | NDArray[Any] | np.void) -> int:
        """Publish one record and return its sequence; its first eight bytes are ignored.

        The order of plain stores is the order of publication on x86 (total store order), where
        this lane is a copy and two stores; elsewhere it goes through the kernel.
        """
        data = record if isinstance(record, bytes) else record.tobytes()
        size = self._size
        if len(data) != size:
            raise ValueError(f"{self.segment.name}: a record has {size} bytes, got {len(data)}")
        if not TSO:
            return self.publish_many(np.frombuffer(data, self.slots.dtype))
        sequence = self.newest + 1
        at = _FIRST_BODY + (sequence & self._mask) * size
        quads, slot = self._quads, at >> 3
        quads[slot - 1] = -sequence
        self._put_body(self._bytes, at, data[8:])
        quads[slot - 1] = quads[CURSOR] = self.newest = sequence
        if self._bell_quads[WAITERS] and self.bell is not None:
            self.bell.ring()
        return sequence

    def publish_many(self, records: NDArray[Any]) -> int:
        """Publish a structured array in order; return the last sequence."""
        if records.itemsize != self._size:
            raise ValueError(
                f"{self.segment.name}: a record has {self._size} bytes, got {records.itemsize}"
            )
        source = np.ascontiguousarray(records).view(np.int64)
        self.newest = write_many(
            self.cells, self.words, self.stride, self.capacity, self.newest, source, len(records)
        )
        if self.bell is not None:
            self.bell.ring()
        return self.newest

    def finish(self, newest: int) -> None:
        """Take over what a kernel published in place, move the cursor, wake parked readers."""
        if newest != self.newest:
            self.newest = newest
            self.cells[CURSOR] = newest
            if self.bell is not None:
                self.bell.ring()

    def heartbeat(self) -> None:
        """Say that the writer is well; called a few times a second by its agent."""
        self.segment.heartbeat()

    def close(self) -> None:
        """Let go of the segment. It stays, with its records, for readers and for a successor."""
        self._bytes.release()
        self._quads.release()
        self.words = self.cells = np.zeros(0, np.int64)
        self.slots = self.slots[:0].copy()
        self.segment.close()
        if self.bell is not None:
            self.bell.close()


class RingReader:
    """A reader of a broadcast ring, with a position of its own; the mapping is read-only.

    Attributes
    ----------
    position : int
        The next sequence to read.
    lost : int
        Records that were overwritten before this reader came to them.
    laps : int
        How often that happened.

    """

    kinds: tuple[Kind, ...] = (Kind.RING, Kind.FLOW, Kind.FRAMES)

    def __init__(self, segment: Segment, start: Start = "latest") -> None:
        if segment.cells[seg.KIND] not in self.kinds:
            raise SegmentError(f"{segment.name} is a {Kind(int(segment.cells[seg.KIND])).name}")
        self.segment = segment
        self.capacity, self.stride = segment.capacity, segment.record_bytes // 8
        self.words, self.cells = segment.words, segment.cells
        self.slots: NDArray[Any] = segment.records()
        self._quads = memoryview(segment.map).cast("q")
        self._mask, self._none = self.capacity - 1, self.slots[:0]
        self.lost = self.laps = 0
        self._first = 0
        self.position = self._start(start)

    @classmethod
    def attach(
        cls,
        instance: str,
        name: str,
        layout: Layout | None = None,
        start: Start = "latest",
        wait_s: float = 0.0,
    ) -> "RingReader":
        """Attach to a ring by name; ``layout`` None takes whatever the header describes.

        ``start``: ``"latest"`` (what comes from now on), ``"oldest"`` (all that is still there) or
        a sequence.

        Raises
        ------
        SegmentNotFound, SegmentNotReady, LayoutMismatch
            See ``engine.segment.attach``.

        """
        segment = seg.attach(instance, name, wait_s=wait_s)
        if layout is not None and segment.cells[seg.FINGERPRINT] != layout.fingerprint:
            kind = Kind(int(segment.cells[seg.KIND]))
            segment.close()
            segment = seg.attach(instance, name, Shape(kind, layout, 0))  # Says what differs.
        return cls(segment, start)

    def _start(self, start: Start) -> int:
        newest = self.newest
        if start == "latest":
            return newest + 1
        if start == "oldest":
            return max(1, newest - self.capacity + 1)
        if not isinstance(start, int) or start < 1:
            raise ValueError(f"start at 'latest', 'oldest' or a sequence from 1, not {start!r}")
        return start

    @property
    def newest(self) -> int:
        """The newest published sequence."""
        return find_tail(self.words, self.stride, self.capacity, int(self.cells[CURSOR]))

    @property
    def lag(self) -> int:
        """How many published records this reader has not read."""
        return max(0, self.newest - self.position + 1)

    def poll(self, limit: int | None = None) -> NDArray[Any]:
        """Return the next records as a read-only view of the ring, without a copy.

        The view is contiguous, has 0 to ``limit`` records, and stops at the end of the ring (the
        next poll goes on from its start). The writer may overwrite it at any time: use ``intact``
        after the work on it, or copy first. A reader that was lapped goes on half a ring behind
        the writer; ``lost`` has risen by what it missed.
        """
        position, quads = self.position, self._quads
        slot = position & self._mask
        at = _FIRST_QUAD + slot * self.stride
        found = quads[at]
        # The two usual cases without entering a kernel: nothing, and (x86: loads stay in order)
        # one record.
        if found != position:
            if -position <= found < position:
                return self._none
        elif (
            TSO
            and (slot == self._mask or quads[at + self.stride] != position + 1)
            and (limit is None or limit > 0)
        ):
            self._first, self.position = position, position + 1
            return self.slots[slot : slot + 1]
        return self._poll_many(self.capacity if limit is None else limit)

    def _poll_many(self, most: int) -> NDArray[Any]:
        for _ in range(_SKIPS_MAX):
            position = self.position
            count = count_available(self.words, self.stride, self.capacity, position, most)
            if count != LAPPED:
                if count:
                    self._first = position
                self.position = position + count
                slot = position & self._mask
                return self.slots[slot : slot + count]
            self._skip()
        return self._none

    def _skip(self) -> None:
        target = find_resume_point(
            self.words, self.cells, self.stride, self.capacity, self.position
        )
        self.lost += target - self.position
        self.laps += 1
        self.position = target

    def intact(self) -> bool:
        """Return whether the last batch is unchanged; a poll without records changes nothing."""
        first = self._first
        if TSO:
            found = self._quads[_FIRST_QUAD + (first & self._mask) * self.stride]
            return first == 0 or found == first
        return first == 0 or bool(still_intact(self.words, self.stride, self.capacity, first))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield batches for ever, yielding the processor while there is nothing new."""
        while True:
            batch = self.poll()
            if len(batch):
                yield batch
            else:
                time.sleep(0)

    def close(self) -> None:
        """Let go of the segment; views that were handed out stay usable."""
        self._quads.release()
        self.words = self.cells = np.zeros(0, np.int64)
        self.slots = self._none = self.slots[:0].copy()
        self.segment.close()
