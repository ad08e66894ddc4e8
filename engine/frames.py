"""The frame ring: byte strings of any length, described by the records of a broadcast ring.

A frame ring is a broadcast ring of 64-byte descriptors and, behind it in the same segment, an area
of payload bytes. Everything that holds for a broadcast ring (polling, loss, start positions, take
over) holds for the descriptors, with one protocol and one proof; a descriptor says where in the
area its payload stands, in one piece.

Positions in the area are monotonic byte counts; a payload never wraps. CLAIM (header) is how far
the writer may already have written: the bytes at ``position`` are intact while
``CLAIM - position <= area size``. The writer claims before it writes, and each time ``CLAIM_AHEAD``
more than the frame at hand needs, so that most frames find their bytes claimed.
"""

import struct
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.atomics import (
    copy_cells,
    fence_acquire,
    fence_release,
    load_acquire,
    realtime_ns,
    store_release,
)
from engine.doorbell import WAITERS, Doorbell
from engine.errors import SegmentError
from engine.jit import inlined, kernel
from engine.records import FRAME as FRAME
from engine.records import PADDING
from engine.records import FrameKind as FrameKind
from engine.ring import (
    EMPTY,
    LAPPED,
    TSO,
    RingReader,
    RingWriter,
    begin,
    check_capacity,
    commit,
)
from engine.segment import CLAIM, CURSOR, Cells, Kind, Segment, Shape

CLAIM_AHEAD = 65_536
"""Bytes claimed beyond the frame that needs a claim: one claim serves many small frames."""

PAYLOAD_ALIGNMENT = 64


_STRIDE = FRAME.dtype.itemsize // 8
_put_descriptor = struct.Struct("qqqqiiii8x").pack_into
_FIRST_QUAD = seg.HEADER_BYTES // 8
_RECEIVED, _PUBLISHED, _POSITION, _LENGTH, _KIND_CONNECTION, _INSTRUMENT_LINE = range(1, 7)
_LOW_HALF = 0xFFFFFFFF

NEWEST, END, CLAIMED = range(3)
"""Cells of a publishing kernel's ``tail``: the newest sequence, the end of its payload, and how far
the area is claimed. ``FrameWriter.tail`` gives them, ``FrameWriter.resume`` takes them back."""


@kernel("void(int64[::1], int64)")
def claim(cells: Cells, position: int) -> None:
    """Say that the area up to ``position`` may be overwritten from now on."""
    store_release(cells, CLAIM, position)
    fence_release()  # Pairs with fence_acquire in payload_intact: claimed before written.


@inlined
def put_descriptor(
    cells: Cells,
    words: Cells,
    sequence: int,
    received_ns: int,
    position: int,
    length: int,
    kind: int,
    connection: int,
    instrument: int,
    line: int,
) -> None:
    """Publish the descriptor of a payload that stands in the area; the numbers are ``FRAME``'s."""
    at = begin(words, _STRIDE, len(words) // _STRIDE, sequence)
    words[at + _RECEIVED] = received_ns
    words[at + _POSITION] = position
    words[at + _LENGTH] = length
    words[at + _KIND_CONNECTION] = kind & _LOW_HALF | connection << 32
    words[at + _INSTRUMENT_LINE] = instrument & _LOW_HALF | line << 32
    words[at + 7] = 0
    words[at + _PUBLISHED] = realtime_ns()
    commit(words, at, sequence)
    store_release(cells, CURSOR, sequence)  # Pairs with load_acquire in resume_point.


@inlined
def put_frame(
    cells: Cells,
    words: Cells,
    area: NDArray[np.uint8],
    tail: Cells,
    data: NDArray[np.uint8],
    at: int,
    length: int,
    received_ns: int,
    kind: int,
    connection: int,
    instrument: int,
    line: int,
) -> None:
    """Publish ``data[at : at + length]`` as one frame: ``FrameWriter.publish`` for kernels.

    ``tail`` is int64[3] or more (``NEWEST``, ``END``, ``CLAIMED``) and updated. The caller answers
    for ``length`` being at most ``FrameWriter.frame_bytes_max``, and rings the bell.
    """
    position = (tail[END] + PAYLOAD_ALIGNMENT - 1) & -PAYLOAD_ALIGNMENT
    start = position & (len(area) - 1)
    if start + length > len(area):
        position += len(area) - start
        start = 0
    end = position + length
    if end > tail[CLAIMED]:
        tail[CLAIMED] = end + CLAIM_AHEAD
        store_release(cells, CLAIM, end + CLAIM_AHEAD)
        fence_release()  # Pairs with fence_acquire in payload_intact.
    copy_cells(area, start, data, at, length)
    sequence = tail[NEWEST] + 1
    put_descriptor(
        cells, words, sequence, received_ns, position, length, kind, connection, instrument, line
    )
    tail[NEWEST], tail[END] = sequence, end


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], int64, int64, int64, int64, int64, int64, int64,"
    " int64)"
)
def publish_frame(
    cells: Cells,
    words: Cells,
    bell: Cells,
    sequence: int,
    received_ns: int,
    position: int,
    length: int,
    kind: int,
    connection: int,
    instrument: int,
    line: int,
) -> int:
    """Publish the descriptor of a payload that stands in the area; return whether to wake readers.

    For machines where Python's plain stores are not seen in program order.
    """
    put_descriptor(
        cells, words, sequence, received_ns, position, length, kind, connection, instrument, line
    )
    # No full fence here: a wake-up that is missed in the race costs one bounded wait, and the
    # fence would cost every frame.
    return load_acquire(bell, WAITERS)


@inlined
def payload_intact(cells: Cells, area_bytes: int, position: int) -> bool:
    """Return whether bytes read from ``position`` on before this call are what was written."""
    fence_acquire()  # Pairs with fence_release in claim and put_frame.
    return load_acquire(cells, CLAIM) - position <= area_bytes


@inlined
def fetch(
    cells: Cells, words: Cells, area: NDArray[np.uint8], sequence: int, scratch: NDArray[np.uint8]
) -> int:
    """Copy the payload of frame ``sequence`` into ``scratch``, and ``PADDING`` zero bytes after it.

    Returns
    -------
    int
        The payload's length plus 1; ``EMPTY`` if the frame is not there yet; ``LAPPED`` if it, or
        its payload, has been overwritten. ``scratch`` must hold the area's largest frame and
        ``PADDING``.

    """
    capacity = len(words) // _STRIDE
    at = (sequence & (capacity - 1)) * _STRIDE
    found = load_acquire(words, at)  # Pairs with store_release in commit.
    if found != sequence:
        return LAPPED if found > sequence or -found > sequence else EMPTY
    position, length = words[at + _POSITION], words[at + _LENGTH]
    start = position & (len(area) - 1)
    if length < 0 or length > len(scratch) - PADDING or length > len(area) - start:
        return LAPPED  # Only a descriptor that is being overwritten looks like that.
    copy_cells(scratch, 0, area, start, length)
    for i in range(length, length + PADDING):
        scratch[i] = 0
    if not payload_intact(cells, len(area), position) or load_acquire(words, at) != sequence:
        return LAPPED
    return int(length) + 1


class FrameWriter(RingWriter):
    """The one writer of a frame ring: a feed's connections, all in one process."""

    kind = Kind.FRAMES

    def __init__(self, segment: Segment, bell: Doorbell | None) -> None:
        super().__init__(segment, bell)
        self._area_bytes = len(segment.area)
        self._area_offset = int(segment.cells[seg.AREA_OFFSET])
        self._bell_cells = bell.cells if bell is not None else np.zeros(64, np.int64)
        self.frame_bytes_max = self._area_bytes // 4
        last = self.slots[self.newest & (self.capacity - 1)]
        end = int(last["position"] + last["length"]) if self.newest else 0
        # What a predecessor claimed it may have scribbled on: readers know, and so do we.
        self._claimed = max(int(self.cells[CLAIM]), end + CLAIM_AHEAD)
        claim(self.cells, self._claimed)
        # Where the next frame stands, in the area's own count and as a byte of the segment.
        self._position = (end + PAYLOAD_ALIGNMENT - 1) & -PAYLOAD_ALIGNMENT
        self._at = self._area_offset + (self._position & (self._area_bytes - 1))
        self._area_stop = self._area_offset + self._area_bytes

    @classmethod
    def open(  # type: ignore[override]
        cls,
        instance: str,
        name: str,
        frames: int = 65_536,
        bytes_: int = 64 << 20,
        bell: bool = True,
    ) -> "FrameWriter":
        """Make the ring, or take it over from a dead writer and go on at its tail.

        ``frames`` and ``bytes_`` (the payload area) are powers of two; a frame may have at most a
        quarter of ``bytes_``.

        Raises
        ------
        WriterExists, LayoutMismatch, SegmentError
            See ``engine.segment.open_writer``.

        """
        check_capacity(frames)
        check_capacity(bytes_)
        if bytes_ < 4 * CLAIM_AHEAD:
            raise SegmentError(
                f"{name}: at least {4 * CLAIM_AHEAD:,} bytes of area, not {bytes_:,}"
            )
        segment = seg.open_writer(instance, name, Shape(cls.kind, FRAME, frames, bytes_))
        return cls(segment, Doorbell.open(instance, name, rings=True) if bell else None)

    def publish(  # type: ignore[override]
        self,
        payload: bytes | bytearray | memoryview,
        received_ns: int,
        kind: int = FrameKind.TEXT,
        connection: int = 0,
        instrument: int = -1,
        line: int = 0,
    ) -> int:
        """Publish one frame and return its sequence; the numbers are the fields of ``FRAME``.

        Raises
        ------
        ValueError
            If it is longer than ``frame_bytes_max``.
        TypeError
            If a number is none, or does not fit its field.

        """
        length = len(payload)
        at, position = self._at, self._position
        end = position + length
        if at + length > self._area_stop or end > self._claimed:
            at, position = self._make_room(length)
            end = position + length
        self._bytes[at : at + length] = payload
        sequence = self.newest + 1
        if TSO:  # The stores of publish_frame in the same order, at half the cost of its call.
            quads, slot = self._quads, _FIRST_QUAD + ((sequence & self._mask) << 3)
            quads[slot] = -sequence
            try:
                _put_descriptor(
                    self._bytes,
                    (slot << 3) + 8,
                    received_ns,
                    time.time_ns(),
                    position,
                    length,
                    kind,
                    connection,
                    instrument,
                    line,
                )
            except struct.error as error:  # The slot stays marked; the next frame takes it.
                raise TypeError(f"{self.segment.name}: a frame's numbers: {error}") from None
            quads[slot] = quads[CURSOR] = sequence
            waiting = self._bell_quads[WAITERS]
        else:
            waiting = publish_frame(
                self.cells,
                self.words,
                self._bell_cells,
                sequence,
                received_ns,
                position,
                length,
                kind,
                connection,
                instrument,
                line,
            )
        self.newest = sequence
        step = (length + 63) & -64  # PAYLOAD_ALIGNMENT, folded by hand.
        self._at, self._position = at + step, position + step
        if waiting and self.bell is not None:
            self.bell.ring()
        return sequence

    @property
    def tail(self) -> tuple[int, int]:
        """Where the next payload may stand and what is claimed; for a kernel that publishes."""
        return self._position, self._claimed

    def resume(self, newest: int, end: int, claimed: int) -> None:
        """Go on behind what a kernel published: its last sequence, payload end and claim."""
        self.newest, self._claimed = newest, claimed
        self._position = (end + PAYLOAD_ALIGNMENT - 1) & -PAYLOAD_ALIGNMENT
        self._at = self._area_offset + (self._position & (self._area_bytes - 1))

    def _make_room(self, length: int) -> tuple[int, int]:
        """Go round the area's end, or claim more of it; return where the frame stands."""
        if length > self.frame_bytes_max:
            raise ValueError(
                f"{self.segment.name}: a frame of {length:,} bytes, at most "
                f"{self.frame_bytes_max:,} fit: raise the ring's bytes"
            )
        at, position = self._at, self._position
        if at + length > self._area_stop:
            position += self._area_stop - at
            at = self._area_offset
        if position + length > self._claimed:
            # Remembered at once: a call that fails after this must not let the claim sink again.
            self._claimed = position + length + CLAIM_AHEAD
            claim(self.cells, self._claimed)
        return at, position


class FrameReader(RingReader):
    """A reader of a frame ring: ``poll`` gives descriptors, ``payload`` their bytes."""

    kinds = (Kind.FRAMES,)

    @classmethod
    def attach(  # type: ignore[override]
        cls,
        instance: str,
        name: str,
        start: Any = "latest",  # noqa: ANN401 - engine.ring.Start
        wait_s: float = 0.0,
    ) -> "FrameReader":
        """Attach by name; see ``RingReader.attach``."""
        return cls(seg.attach(instance, name, Shape(Kind.FRAMES, FRAME, 0), wait_s=wait_s), start)

    def poll(self, limit: int | None = None) -> NDArray[Any]:
        """Return the next descriptors whose payloads stand; as ``RingReader.poll``.

        The area may be overwritten sooner than the descriptors (large frames): a reader that is
        behind it goes on half an area behind the writer, and ``lost`` has risen.
        """
        before = self._first
        batch = super().poll(limit)
        size = len(self.segment.area)
        if not len(batch) or int(self.cells[CLAIM]) - int(batch[0]["position"]) <= size:
            return batch
        wanted = int(self.cells[CLAIM]) - size // 2
        gone = int(np.searchsorted(batch["position"], wanted))
        self.lost += gone
        self.laps += 1
        self._first = self._first + gone if gone < len(batch) else before
        return batch[gone:]

    def payload(self, frame: np.void) -> memoryview:
        """Return the payload of a descriptor from ``poll``: read-only, without a copy.

        Look at ``intact`` after using it, as with ``poll``.
        """
        start = int(frame["position"]) & (len(self.segment.area) - 1)
        return self.segment.area[start : start + int(frame["length"])].data

    def intact(self) -> bool:
        """Return whether the last poll's descriptors, and their payloads, are unchanged."""
        if self._first == 0:
            return True
        position = int(self.slots[self._first & (self.capacity - 1)]["position"])
        # In this order: super's fence keeps the look at CLAIM behind the use of the payloads.
        area = len(self.segment.area)
        return super().intact() and int(self.segment.cells[CLAIM]) - position <= area
