"""Many frames at once, jitted: recorded ones into a raw ring, and those of a ring into memory."""

import numpy as np
from numpy.typing import NDArray

from engine.atomics import copy_cells
from engine.frames import CLAIMED, END, NEWEST, FrameWriter, put_frame
from engine.jit import kernel
from engine.records import FRAME
from engine.segment import Cells

RECEIVED, KIND, ROW, CONNECTION, LINE = range(5)
"""Columns of ``about``: receive time, ``FrameKind``, row of the feed's instrument table or -1, and
on which connection and which of several redundant lines the frame came."""
ABOUT = 5

_FROZEN = "Array({}, 1, 'C', readonly=True)"
_WORDS = FRAME.dtype.itemsize // 8
_POSITION, _LENGTH = 3, 4


@kernel(
    "void(int64[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64[::1], int64[:, ::1],"
    " int64, int64)"
)
def publish_span(
    cells: Cells,
    words: Cells,
    area: NDArray[np.uint8],
    tail: Cells,
    data: NDArray[np.uint8],
    starts: Cells,
    about: NDArray[np.int64],
    first: int,
    last: int,
) -> None:
    """Publish the payloads ``first`` to ``last - 1`` of ``data``.

    ``starts`` is int64[n + 1], ``about`` int64[n, ABOUT], ``tail`` that of ``put_frame``.
    """
    for i in range(first, last):
        put_frame(
            cells,
            words,
            area,
            tail,
            data,
            starts[i],
            starts[i + 1] - starts[i],
            about[i, RECEIVED],
            about[i, KIND],
            about[i, CONNECTION],
            about[i, ROW],
            about[i, LINE],
        )


@kernel(
    f"int64({_FROZEN.format('uint8')}, {_FROZEN.format('int64')}, int64, uint8[::1], int64[::1],"
    " int64)"
)
def gather(
    area: NDArray[np.uint8],
    frames: Cells,
    count: int,
    data: NDArray[np.uint8],
    about: Cells,
    used: int,
) -> int:
    """Copy ``count`` frames out of a ring: payloads to ``data`` from ``used`` on, one by one.

    ``frames`` are their descriptors and ``about`` takes a copy of these, int64[8 * count] both; a
    ``position`` in the copy is an index of ``data``. Whoever calls answers for the room, and sees
    afterwards whether the frames were still intact.

    Returns
    -------
    int
        How much of ``data`` is used then.

    """
    for i in range(count):
        at = i * _WORDS
        for word in range(_WORDS):
            about[at + word] = frames[at + word]
        length = frames[at + _LENGTH]
        start = frames[at + _POSITION] & (len(area) - 1)
        if length < 0 or start + length > len(area) or used + length > len(data):
            return used  # Overwritten meanwhile: nothing of this will be taken for good.
        copy_cells(data, used, area, start, length)
        about[at + _POSITION] = used
        used += length
    return used


class Pump:
    """Recorded frames in one piece of memory, and the ring that they go into.

    Raises ValueError if one of them is too long for the ring.
    """

    def __init__(
        self, writer: FrameWriter, payloads: list[bytes], about: NDArray[np.int64]
    ) -> None:
        sizes = np.fromiter((len(p) for p in payloads), np.int64, len(payloads))
        if len(sizes) and sizes.max() > writer.frame_bytes_max:
            raise ValueError(f"a frame of {sizes.max():,} bytes, {writer.frame_bytes_max:,} fit")
        self.writer, self._about = writer, np.ascontiguousarray(about)
        self._data = np.frombuffer(bytearray(b"".join(payloads)), np.uint8)
        self.starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        self._tail = np.zeros(3, np.int64)

    def publish(self, first: int, last: int) -> None:
        """Publish the frames ``first`` to ``last - 1``, and wake the reader if it is parked."""
        writer, tail = self.writer, self._tail
        tail[NEWEST] = writer.newest
        tail[END], tail[CLAIMED] = writer.tail
        publish_span(
            writer.cells,
            writer.words,
            writer.segment.area,
            tail,
            self._data,
            self.starts,
            self._about,
            first,
            last,
        )
        writer.resume(int(tail[NEWEST]), int(tail[END]), int(tail[CLAIMED]))
        if writer.bell is not None:
            writer.bell.ring()
