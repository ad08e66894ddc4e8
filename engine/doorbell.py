"""Waking parked processes: a futex word in shared memory, shared by the rings of one family.

The rings ``md.trades`` and ``md.top`` ring the bell ``md.bell``: the family is the name up to its
last dot. A writer pays a system call only while somebody is parked. The handshake is Dekker's: the
waiter says that it waits and then looks at the ring; the writer publishes and then looks for
waiters; the full fence on both sides makes at least one of them see the other. Waits are bounded,
so that a lost wake-up costs milliseconds and never a hang.

Everybody who parks may write to the bell: the worst that a broken process can do through it is to
wake others, or to let them sleep for one bounded wait. Who may only read it (another user of the
group) cannot announce a wait and sleeps for ``POLL_S`` at most.
"""

import ctypes
import platform

import numpy as np

from engine import segment as seg
from engine.atomics import fence_full, load_acquire, store_release
from engine.errors import SegmentForbidden
from engine.jit import kernel
from engine.segment import Cells, Kind, Shape

BELL = 32
"""Header cell: the futex word (its low half), changed by every ring."""
WAITERS = 48
"""Header cell: not 0 if somebody is, or may be, parked."""

POLL_S = 0.001
"""The most that a wait takes of somebody who may not write to the bell."""

_SYS_FUTEX = 202 if platform.machine() == "x86_64" else 98  # The table that ARM and others share.
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_ALL = 2**31 - 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


@kernel("int64(int64[::1])")
def take_waiters(cells: Cells) -> int:
    """Change the word and return 1 if somebody waits, else 0; the caller then wakes them."""
    fence_full()  # Pairs with the one in announce: publication before this look.
    if load_acquire(cells, WAITERS) == 0:
        return 0
    store_release(cells, WAITERS, 0)
    store_release(cells, BELL, load_acquire(cells, BELL) + 1)
    return 1


@kernel("int64(int64[::1])")
def announce(cells: Cells) -> int:
    """Say that somebody is about to wait; return the word to wait on."""
    word = load_acquire(cells, BELL)
    store_release(cells, WAITERS, 1)
    fence_full()  # Pairs with the one in take_waiters: the announcement before the caller's look.
    return word


def bell_name(ring: str) -> str:
    """Return the name of the bell that a ring's writer rings."""
    family = ring.rpartition(".")[0]
    return f"{family}.bell" if family else "bell"


class Doorbell:
    """One family's bell, mapped by writers and by whoever parks.

    ``cells`` are the header, ``quads`` the same memory for quick looks from Python.
    """

    def __init__(self, segment: seg.Segment) -> None:
        self.segment, self.cells = segment, segment.cells
        self.quads = memoryview(segment.map).cast("q")
        self._address = segment.cells.ctypes.data + BELL * 8

    @classmethod
    def open(cls, instance: str, ring: str, *, rings: bool = False) -> "Doorbell":
        """Make or attach the bell of the family that ``ring`` belongs to.

        Raises
        ------
        SegmentForbidden
            If the caller ``rings`` and is not allowed to. Who only parks polls instead.

        """
        name, shape = bell_name(ring), Shape(Kind.BELL, None, 0)
        try:
            return cls(seg.open_shared(instance, name, shape))
        except SegmentForbidden:
            if rings:
                raise
            return cls(seg.attach(instance, name, shape))

    def ring(self) -> None:
        """Wake everybody who is parked; almost free if nobody is."""
        if self.segment.writable and take_waiters(self.cells):
            _libc.syscall(
                _SYS_FUTEX, ctypes.c_void_p(self._address), _FUTEX_WAKE, _ALL, None, None, 0
            )

    def prepare(self) -> int:
        """Announce a wait. Look at the rings once more, then pass the result to ``wait``."""
        return announce(self.cells) if self.segment.writable else self.quads[BELL]

    def wait(self, token: int, timeout_s: float) -> None:
        """Sleep until the bell rings after ``prepare``, a signal comes, or the time is over."""
        if not self.segment.writable:
            timeout_s = min(timeout_s, POLL_S)
        seconds = int(timeout_s)
        limit = _Timespec(seconds, int((timeout_s - seconds) * 1e9))
        _libc.syscall(
            _SYS_FUTEX,
            ctypes.c_void_p(self._address),
            _FUTEX_WAIT,
            ctypes.c_uint32(token & 0xFFFFFFFF),
            ctypes.byref(limit),
            None,
            0,
        )

    def close(self) -> None:
        """Unmap the bell."""
        self.quads.release()
        self.cells = np.zeros(0, np.int64)
        self.segment.close()
