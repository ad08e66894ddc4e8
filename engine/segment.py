"""Named pieces of POSIX shared memory that say what they are.

The first page of every segment is its header, an array of int64 cells and one text::

    cell    0  MAGIC          "TRADEINF"
    cell    1  VERSION        version of this header; written last, so 0 means half-made
    cell    2  KIND           a Kind
    cell    3  RECORD_BYTES   size of a record
    cell    4  CAPACITY       records (a power of two for rings)
    cell    5  DATA_OFFSET    byte at which the records start
    cell    6  SEGMENT_BYTES  size of the whole segment
    cell    7  FINGERPRINT    of the records' layout
    cell    8  CREATED_NS     Unix ns
    cell    9  AREA_OFFSET    frames: byte at which the payloads start; counters: the values
    cell   10  AREA_BYTES     size of that area
    cell   16  WRITER_PID     \
    cell   17  WRITER_START   | of the present or last writer; its start time in clock ticks since
    cell   18  EPOCH          | boot makes a reused pid visible; EPOCH rises with each takeover
    cell   19  HEARTBEAT_NS   /
    cell   32  CURSOR         rings: newest sequence, written lazily; cursors: position read
    cell   48  CLAIM          frames: payload bytes that may be overwritten, monotonic
    cell   64  GATES          flow-controlled rings: 16 readers of 4 cells (engine.flow)
    byte 1024  the records' layout as JSON (engine.layout), zero-terminated
    byte 3584  the names of a flow-controlled ring's readers as JSON, zero-terminated

A writer holds an exclusive open-file-description lock on its segment: the kernel drops it when the
process dies, whatever the way, so that liveness needs no timeout. Readers only ask whether it is
held. Nothing here imports Numba: looking at a segment must be cheap.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import re
import resource
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import posix_ipc
from numpy.typing import NDArray

from engine.errors import (
    LayoutMismatch,
    SegmentError,
    SegmentExists,
    SegmentForbidden,
    SegmentNotFound,
    SegmentNotReady,
    WriterExists,
)
from engine.layout import Layout, dtype_of, fingerprint_of

HEADER_BYTES = 4096
HEADER_VERSION = 1
MAGIC_VALUE = int.from_bytes(b"TRADEINF", "little")

MAGIC, VERSION, KIND, RECORD_BYTES, CAPACITY, DATA_OFFSET, SEGMENT_BYTES, FINGERPRINT = range(8)
CREATED_NS, AREA_OFFSET, AREA_BYTES = 8, 9, 10
WRITER_PID, WRITER_START, EPOCH, HEARTBEAT_NS = 16, 17, 18, 19
CURSOR = 32
CLAIM = 48
GATES = 64
DESCRIPTION_AT, READERS_AT = 1024, 3584
POSITION_MAX = 1 << 62
"""No sequence or byte count comes near it: a larger one in a header is damage."""

SEGMENT_MODE = "TRADE_INFRA_SEGMENT_MODE"
"""Environment variable: the permissions of new segments, octal."""

_SHM = Path("/dev/shm")
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,159}")
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid

Cells = NDArray[np.int64]


class Kind(IntEnum):
    """What a segment holds."""

    RING = 1
    FRAMES = 2
    FLOW = 3
    CURSOR = 4
    TABLE = 5
    COUNTERS = 6
    BELL = 7
    SHARED = 8
    """Rows that several processes change, by atomics: no single writer."""


_locked_memory = False
_libc = ctypes.CDLL(None, use_errno=True)
_MAKING_MAX_S = 10.0
_RINGS = (Kind.RING, Kind.FRAMES, Kind.FLOW)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a segment is made to hold; an attach compares it with what is there.

    ``area_bytes`` is a second data area behind the records (payloads, counter values).
    """

    kind: Kind
    layout: Layout | None
    capacity: int
    area_bytes: int = 0

    @property
    def record_bytes(self) -> int:
        return self.layout.dtype.itemsize if self.layout else 0

    @property
    def area_offset(self) -> int:
        return HEADER_BYTES + self.record_bytes * self.capacity

    @property
    def total_bytes(self) -> int:
        return self.area_offset + self.area_bytes


def lock_memory(locked: bool) -> None:
    """Have the segments that this process maps from now on locked in memory: never swapped out."""
    global _locked_memory
    _locked_memory = locked


def shm_name(instance: str, name: str) -> str:
    """Return the POSIX name of a segment.

    Raises
    ------
    SegmentError
        If the instance or the name has characters that a segment name cannot have.

    """
    if not _INSTANCE.fullmatch(instance):
        raise SegmentError(
            f"instance {instance!r}: use 1 to 32 of a-z 0-9 _ -, starting with a letter or digit"
        )
    if not _NAME.fullmatch(name):
        raise SegmentError(f"segment {name!r}: use 1 to 160 of A-Z a-z 0-9 _ . @ -")
    return f"/{instance}.{name}"


def list_segments(instance: str | None = None) -> list[tuple[str, str]]:
    """Return (instance, segment) of every segment whose name has our form, sorted."""
    names = (path.name.partition(".") for path in _SHM.iterdir())
    return sorted(
        (head, tail)
        for head, dot, tail in names
        if dot and _INSTANCE.fullmatch(head) and (instance is None or head == instance)
    )


def unlink_segment(instance: str, name: str) -> bool:
    """Remove a segment's name; processes that have mapped it keep their memory."""
    try:
        posix_ipc.unlink_shared_memory(shm_name(instance, name))
    except posix_ipc.ExistentialError:
        return False
    return True


def is_written(instance: str, name: str) -> bool:
    """Return whether a segment has a living writer; False of one that is gone or damaged."""
    try:
        segment = attach(instance, name)
    except SegmentError:
        return False
    try:
        return segment.writer_alive
    finally:
        segment.close()


def process_start_ticks(pid: int) -> int:
    """Return when the process started, in clock ticks since boot; 0 if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


class Segment:
    """A mapped segment. Use ``open_writer`` or ``attach``; not made directly.

    Attributes
    ----------
    cells : int64[512]
        The header.
    words : int64[...]
        The records as words. Read-only unless this process is the writer.
    area : uint8[...]
        The second data area (payloads or counter values); may be empty.

    """

    def __init__(self, instance: str, name: str, descriptor: int, writable: bool) -> None:
        self.instance, self.name, self.writable = instance, name, writable
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        # Populated: no page is touched for the first time in a hot path.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self._map = mmap.mmap(descriptor, self.size, flags=flags, prot=protection)
        self.cells: Cells = np.frombuffer(self._map, np.int64, HEADER_BYTES // 8)
        if _locked_memory:
            self._keep_in_memory()
        self.words: Cells = np.zeros(0, np.int64)
        self.area: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def _keep_in_memory(self) -> None:
        if _libc.mlock(ctypes.c_void_p(self.cells.ctypes.data), ctypes.c_size_t(self.size)) == 0:
            return
        reason, limit = os.strerror(ctypes.get_errno()), resource.getrlimit(resource.RLIMIT_MEMLOCK)
        self.close()
        raise SegmentError(
            f"{shm_name(self.instance, self.name)}: {self.size:,} bytes cannot be locked in memory "
            f"({reason}; all of a process' may be {limit[0]:,}): raise the limit (ulimit -l, "
            "LimitMEMLOCK=, docker run --ulimit memlock=-1), or set memory.lock = false"
        )

    def _bind(self) -> None:
        """Make the arrays, once the header has been checked: they trust its numbers."""
        words = self.capacity * self.record_bytes // 8
        self.words = np.frombuffer(self._map, np.int64, words, HEADER_BYTES)
        at, size = int(self.cells[AREA_OFFSET]), int(self.cells[AREA_BYTES])
        self.area = np.frombuffer(self._map, np.uint8, size, at)

    @property
    def capacity(self) -> int:
        return int(self.cells[CAPACITY])

    @property
    def record_bytes(self) -> int:
        return int(self.cells[RECORD_BYTES])

    @property
    def epoch(self) -> int:
        """How many writers the segment has had."""
        return int(self.cells[EPOCH])

    @property
    def map(self) -> mmap.mmap:
        """The whole mapping; for ``memoryview``."""
        return self._map

    def text(self, at: int) -> str:
        """Return a zero-terminated text of the header."""
        end = READERS_AT if at < READERS_AT else HEADER_BYTES
        return self._map[at:end].partition(b"\0")[0].decode(errors="replace")

    def write_text(self, at: int, text: str) -> None:
        """Store a zero-terminated text in the header; ``SegmentError`` if it does not fit."""
        room = (READERS_AT if at < READERS_AT else HEADER_BYTES) - at
        data = text.encode()
        if len(data) >= room:
            raise SegmentError(f"{self.name}: {len(data)} bytes of description, room for {room}")
        self._map[at : at + room] = data.ljust(room, b"\0")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The records' type, from the header alone."""
        try:
            return dtype_of(self.text(DESCRIPTION_AT))
        except ValueError as error:
            raise LayoutMismatch(f"{self.name}: {error}") from None

    @property
    def readers(self) -> list[str]:
        """The names of a flow-controlled ring's readers."""
        text = self.text(READERS_AT)
        try:
            names = json.loads(text) if text else []
        except ValueError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise LayoutMismatch(
                f"{self.name}: the names of its readers are damaged: {text[:60]!r}"
            )
        return names

    def records(self) -> NDArray[Any]:
        """Return the records as a structured array over the shared memory."""
        return self.words.view(self.dtype)

    def heartbeat(self) -> None:
        """Say that the writer is well; called a few times a second by its agent."""
        self.cells[HEARTBEAT_NS] = time.time_ns()

    @property
    def removed(self) -> bool:
        """Whether the name is gone, or stands for another segment now."""
        return os.fstat(self._descriptor).st_nlink == 0

    @property
    def writer_alive(self) -> bool:
        """Whether some process holds the writer's lock."""
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, query)
        # Our own lock does not conflict with itself, so the writer would see none.
        return self._locked or struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK

    _locked = False

    def lock(self) -> None:
        """Become the segment's writer.

        Raises
        ------
        WriterExists
            If another process is.

        """
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise WriterExists(
                f"{shm_name(self.instance, self.name)} is being written by process "
                f"{int(self.cells[WRITER_PID])}: stop that one first, or use another instance name"
            ) from None
        self._locked = True

    def sign(self) -> None:
        """Enter this process as the writer and raise the epoch."""
        self.cells[WRITER_PID] = os.getpid()
        self.cells[WRITER_START] = process_start_ticks(os.getpid())
        self.cells[EPOCH] += 1
        self.heartbeat()

    def close(self) -> None:
        """Unlock and unmap; memory that views still refer to stays mapped until they are gone."""
        if self._descriptor < 0:
            return
        if self._locked:  # Python's map has a descriptor of its own, which would keep the lock.
            request = struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)
        empty: Cells = np.zeros(0, np.int64)
        self.cells, self.words, self.area = empty, empty, empty.view(np.uint8)
        os.close(self._descriptor)
        self._descriptor, self._locked = -1, False
        with contextlib.suppress(BufferError):  # A view outlives us: the map goes with the last.
            self._map.close()


def _open(instance: str, name: str, writable: bool) -> int:
    try:
        shared = posix_ipc.SharedMemory(shm_name(instance, name), read_only=not writable)
    except posix_ipc.ExistentialError:
        raise SegmentNotFound(
            f"{shm_name(instance, name)} does not exist: is its writer running, and is "
            f"{instance!r} the right instance?"
        ) from None
    except posix_ipc.PermissionsError:
        aim = "written" if writable else "read"
        raise SegmentForbidden(
            f"{shm_name(instance, name)} may not be {aim} by this user: run as the user that made "
            f"it, or let the group read it with {SEGMENT_MODE}=0640"
        ) from None
    return int(shared.fd)


def _segment_mode() -> int:
    text = os.environ.get(SEGMENT_MODE, "0600")
    if not re.fullmatch(r"(0o?)?[46][046]0", text):
        raise SegmentError(
            f"{SEGMENT_MODE}: found {text!r}, allowed: octal, for the user and the group, such as "
            "0600 (the default) or 0640 (the group may read)"
        )
    return int(text, 8)


def _lock_of(descriptor: int) -> bool:
    """Take the writer's lock on a descriptor; False if another one has it."""
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _create(instance: str, name: str, shape: Shape) -> Segment:
    """Make a segment: name it, lock it, size it, write the header, and its version last.

    Locked before anything else: whoever finds it half-made and unlocked knows that its maker is
    dead. ``SegmentExists`` if the name is taken, or somebody removed it before the lock was had.
    """
    path = shm_name(instance, name)
    try:
        shared = posix_ipc.SharedMemory(path, posix_ipc.O_CREX, mode=_segment_mode())
    except posix_ipc.ExistentialError:
        raise SegmentExists(f"{path} exists") from None
    descriptor = int(shared.fd)
    if not _lock_of(descriptor) or os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        raise SegmentExists(f"{path} was taken over while it was being made")
    try:
        # Real pages now: a full /dev/shm must be an error here and not a SIGBUS in a kernel later.
        os.posix_fallocate(descriptor, 0, shape.total_bytes)
    except (OSError, OverflowError) as error:
        unlink_segment(instance, name)
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EFBIG):
            raise
        raise SegmentError(
            f"{path} needs {shape.total_bytes:,} bytes and /dev/shm has no room: make it larger "
            "(mount -o remount,size=…, docker run --shm-size=…), or lower the capacity"
        ) from None
    segment = None
    try:
        segment = Segment(instance, name, descriptor, writable=True)
        segment.lock()
        _write_header(segment, shape)
    except BaseException:
        unlink_segment(instance, name)
        if segment is not None:
            segment.close()
        raise
    segment._bind()
    return segment


def _write_header(segment: Segment, shape: Shape) -> None:
    cells = segment.cells
    cells[MAGIC] = MAGIC_VALUE
    cells[KIND], cells[CAPACITY] = shape.kind, shape.capacity
    cells[RECORD_BYTES] = shape.record_bytes
    cells[DATA_OFFSET], cells[SEGMENT_BYTES] = HEADER_BYTES, shape.total_bytes
    cells[AREA_OFFSET], cells[AREA_BYTES] = shape.area_offset, shape.area_bytes
    cells[CREATED_NS] = time.time_ns()
    if shape.layout:
        cells[FINGERPRINT] = shape.layout.fingerprint
        segment.write_text(DESCRIPTION_AT, shape.layout.describe())
    segment.sign()  # Reads a file and so takes the interpreter's lock anew: a barrier, on ARM too.
    cells[VERSION] = HEADER_VERSION  # Last: a reader that sees it may trust the rest.


def _check_consistent(segment: Segment) -> None:
    """Refuse a header whose parts do not fit together: its numbers are used as indices."""
    cells, path = segment.cells, shm_name(segment.instance, segment.name)
    record, capacity = int(cells[RECORD_BYTES]), int(cells[CAPACITY])
    offset, area, extra = (int(cells[i]) for i in (DATA_OFFSET, AREA_OFFSET, AREA_BYTES))
    advice = "it is damaged; remove it with `trade-infra rings rm`"
    if (
        cells[SEGMENT_BYTES] != segment.size
        or min(record, capacity, extra) < 0
        or record % 8
        or offset != HEADER_BYTES
        or area != offset + record * capacity
        or area + extra != segment.size
    ):
        raise LayoutMismatch(
            f"{path} is {segment.size:,} bytes and its header says {cells[SEGMENT_BYTES]:,}, "
            f"{capacity:,} records of {record} at {offset} and {extra:,} at {area:,}: {advice}"
        )
    kind = int(cells[KIND])
    if kind not in set(Kind):
        raise LayoutMismatch(f"{path} is of an unknown kind, {kind}: {advice}")
    if kind in _RINGS and (capacity < 2 or capacity & (capacity - 1) or not record):
        raise LayoutMismatch(f"{path} is a ring of {capacity:,} slots of {record} bytes: {advice}")
    if kind == Kind.FRAMES and (extra < 1 or extra & (extra - 1)):
        raise LayoutMismatch(f"{path} has an area of {extra:,} bytes: {advice}")
    if min(cells[CURSOR], cells[CLAIM]) < 0 or max(cells[CURSOR], cells[CLAIM]) > POSITION_MAX:
        raise LayoutMismatch(
            f"{path} has its cursor at {cells[CURSOR]} and its claim at {cells[CLAIM]}: {advice}"
        )
    if kind in _RINGS:
        # The cursor follows the slots, and the index depends on it: no order but the processor's.
        cursor = int(cells[CURSOR])
        at = HEADER_BYTES + (cursor & (capacity - 1)) * record
        if abs(int(np.frombuffer(segment.map, np.int64, 1, at)[0])) < cursor:
            raise LayoutMismatch(
                f"{path} has its cursor at {cursor:,} and no such record: {advice}"
            )
    if record and (
        fingerprint_of(segment.text(DESCRIPTION_AT)) != cells[FINGERPRINT]
        or segment.dtype.itemsize != record
    ):
        raise LayoutMismatch(f"{path}: the description of its records is damaged: {advice}")


def _check(segment: Segment, shape: Shape | None) -> None:
    """Compare the header with what is expected; ``SegmentError`` names the first difference."""
    cells, path = segment.cells, shm_name(segment.instance, segment.name)
    if cells[VERSION] == 0 and cells[MAGIC] in (0, MAGIC_VALUE):
        raise SegmentNotReady(f"{path} exists but its writer has not finished making it")
    if cells[MAGIC] != MAGIC_VALUE:
        raise LayoutMismatch(f"{path} is not a trade-infra segment")
    if cells[VERSION] != HEADER_VERSION:
        raise LayoutMismatch(
            f"{path} has header version {cells[VERSION]}, this program reads {HEADER_VERSION}: "
            "restart its writer with this version, or remove it with `trade-infra rings rm`"
        )
    _check_consistent(segment)
    if shape is None:
        return
    if cells[KIND] != shape.kind:
        found = Kind(int(cells[KIND])).name
        raise LayoutMismatch(f"{path} is a {found}, not a {shape.kind.name}")
    if shape.layout and cells[FINGERPRINT] != shape.layout.fingerprint:
        raise LayoutMismatch(
            f"{path} holds {segment.text(DESCRIPTION_AT)[:60]}…, this program expects "
            f"{shape.layout.name} v{shape.layout.version}: restart its writer with this version"
        )
    capacity, extra = segment.capacity, int(cells[AREA_BYTES])
    if shape.capacity and (capacity, extra) != (shape.capacity, shape.area_bytes):
        raise LayoutMismatch(
            f"{path} has {capacity:,} records and {extra:,} bytes behind them, configured are "
            f"{shape.capacity:,} and {shape.area_bytes:,}: remove it with `trade-infra rings rm`, "
            "or configure what is there"
        )


def open_writer(instance: str, name: str, shape: Shape) -> Segment:
    """Make a segment, or take over one whose writer is gone (``epoch`` is then above 1).

    Raises
    ------
    WriterExists
        If its writer lives.
    LayoutMismatch
        If it holds something else.
    SegmentError
        If there is no room for it.

    """
    while True:
        with contextlib.suppress(SegmentExists):
            return _create(instance, name, shape)
        with contextlib.suppress(SegmentNotFound):  # Removed between the two: make it again.
            taken = _take_over(instance, name, shape)
            if taken is not None:
                return taken


def _take_over(instance: str, name: str, shape: Shape) -> Segment | None:
    """Become the writer of an existing segment; None if it was half-made or has been removed.

    Everything is decided under the lock and about the file that still has the name: of two
    processes that find a dead maker's half-made segment, one removes it and makes a new one.
    """
    descriptor = _open(instance, name, writable=True)
    if os.fstat(descriptor).st_size < HEADER_BYTES:
        try:
            if not _lock_of(descriptor):
                raise WriterExists(f"{shm_name(instance, name)} is being made by another process")
            if os.fstat(descriptor).st_nlink:
                unlink_segment(instance, name)  # Its maker died before the first page.
        finally:
            os.close(descriptor)
        return None
    segment = Segment(instance, name, descriptor, writable=True)
    try:
        segment.lock()
        if os.fstat(descriptor).st_nlink == 0:
            segment.close()
            return None
        if segment.cells[VERSION] == 0 and segment.cells[MAGIC] in (0, MAGIC_VALUE):
            unlink_segment(instance, name)  # Its maker died half-way, or we would not be here.
            segment.close()
            return None
        _check(segment, shape)
        segment._bind()
    except SegmentError:
        segment.close()
        raise
    segment.sign()
    return segment


def open_shared(instance: str, name: str, shape: Shape) -> Segment:
    """Make or attach a segment that has no single writer: writable, never locked.

    Raises
    ------
    SegmentForbidden
        If it may not be written by this user.
    SegmentNotReady
        If some process has begun to make it and does not get on with it.

    """
    deadline = time.monotonic() + _MAKING_MAX_S
    while True:
        try:
            return attach(instance, name, shape, writable=True)
        except (SegmentNotReady, SegmentNotFound):
            if time.monotonic() >= deadline:
                raise
            # Whoever gets the lock makes it, or makes it anew if its maker died half-way.
            with contextlib.suppress(WriterExists):
                open_writer(instance, name, shape).close()
            time.sleep(0.001)


def attach(
    instance: str,
    name: str,
    shape: Shape | None = None,
    *,
    wait_s: float = 0.0,
    writable: bool = False,
) -> Segment:
    """Map an existing segment, read-only unless ``writable`` (``open_shared``).

    ``shape`` is what the caller expects: its layout, and its capacity where that is not 0; None
    takes any. Waits up to ``wait_s`` for a segment that is not there yet.

    Raises
    ------
    SegmentNotFound, SegmentNotReady
        If it is not there, or half-made, after ``wait_s``.
    LayoutMismatch
        If it holds something else; the message says what differs.

    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _attach_now(instance, name, shape, writable)
        except (SegmentNotFound, SegmentNotReady):
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def _attach_now(instance: str, name: str, shape: Shape | None, writable: bool) -> Segment:
    descriptor = _open(instance, name, writable)
    if os.fstat(descriptor).st_size < HEADER_BYTES:
        os.close(descriptor)
        raise SegmentNotReady(f"{shm_name(instance, name)} has no header yet")
    segment = Segment(instance, name, descriptor, writable)
    try:
        _check(segment, shape)
    except SegmentError:
        segment.close()
        raise
    segment._bind()
    return segment
