"""The flow-controlled ring: one writer, named readers, nothing is lost.

The slots are those of a broadcast ring, so that anyone may watch one with a ``RingReader``. The
difference is the gate: each *named* reader publishes its position (the last sequence that it has
done with) in a small segment of its own, ``<ring>@<reader>``, and the writer never writes a record
over one that a named reader has not done with. The names are the writer's decision, made when the
ring is opened; a reader that is not there yet holds its place, at the position where it stopped.

A reader that is dead (its lock is free) can be evicted: by call, or by the writer's own policy
after ``evict_after_s``. Eviction is never silent: it is in the ring's header (GATES) and in the
exception that the reader gets when it comes back.
"""

import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.atomics import load_acquire, store_release
from engine.doorbell import Doorbell
from engine.errors import ReaderLost, RingFull, SegmentError
from engine.jit import kernel
from engine.layout import Layout
from engine.ring import (
    LAPPED,
    RingReader,
    RingWriter,
    check_capacity,
    count_available,
    still_intact,
)
from engine.segment import CURSOR, GATES, READERS_AT, Cells, Kind, Segment, Shape

READERS_MAX = 16
_GATE_CELLS = 4
_STATE, _POSITION, _EVICTED_AT = 0, 1, 2
_WAITING, _GATING, _EVICTED = 1, 2, 3

_CURSOR_SHAPE = Shape(Kind.CURSOR, None, 0)


@kernel("int64(Array(int64, 1, 'C', readonly=True))")
def read_position(cells: Cells) -> int:
    """Return how far a reader is done, from its own segment's header."""
    return load_acquire(cells, CURSOR)  # Pairs with store_release in write_position.


@kernel("void(int64[::1], int64)")
def write_position(cells: Cells, position: int) -> None:
    """Say that this reader has done with everything up to ``position``."""
    store_release(cells, CURSOR, position)  # Pairs with load_acquire in read_position.


def cursor_name(ring: str, reader: str) -> str:
    """Return the name of a reader's own segment."""
    return f"{ring}@{reader}"


class FlowWriter(RingWriter):
    """The one writer of a flow-controlled ring.

    Attributes
    ----------
    room : int
        The highest sequence that may be written now without asking the readers again. A kernel
        that publishes in place stays at or below it.

    """

    kind = Kind.FLOW

    def __init__(
        self,
        segment: Segment,
        bell: Doorbell | None,
        readers: tuple[str, ...],
        evict_after_s: float | None,
    ) -> None:
        super().__init__(segment, bell)
        self.readers, self._evict_after_s = readers, evict_after_s
        self._cursors: dict[str, Segment] = {}
        self._dead_since: dict[str, float] = {}
        if tuple(segment.readers) != readers:
            self._name_readers(segment)
        self.room = 0
        self.refresh()

    @classmethod
    def open(  # type: ignore[override]
        cls,
        instance: str,
        name: str,
        layout: Layout,
        capacity: int,
        readers: tuple[str, ...],
        evict_after_s: float | None = None,
        bell: bool = True,
    ) -> "FlowWriter":
        """Make the ring, or take it over from a dead writer and go on at its tail.

        ``readers`` are the names that hold the writer back. ``evict_after_s`` lets the writer go
        on without a reader whose process has been dead for so long; None never does.

        Raises
        ------
        WriterExists, LayoutMismatch, SegmentError
            See ``engine.segment.open_writer``.

        """
        check_capacity(capacity)
        if not readers or len(readers) > READERS_MAX or len(set(readers)) < len(readers):
            raise SegmentError(f"{name}: name 1 to {READERS_MAX} different readers, not {readers}")
        segment = seg.open_writer(instance, name, Shape(cls.kind, layout, capacity))
        doorbell = Doorbell.open(instance, name, rings=True) if bell else None
        return cls(segment, doorbell, readers, evict_after_s)

    def _name_readers(self, segment: Segment) -> None:
        """Enter the readers and their gates; one that was known already keeps its position."""
        known = {name: i for i, name in enumerate(segment.readers)}
        stop = GATES + READERS_MAX * _GATE_CELLS
        gates = np.array(segment.cells[GATES:stop]).reshape(-1, _GATE_CELLS)
        # Should we die before the end, readers are refused, not mixed up.
        segment.write_text(READERS_AT, "")
        for i, name in enumerate(self.readers):
            # A reader new to the ring starts at its present end: what came before was not for it.
            cursor = self._cursor(name)
            end = self.newest
            if not known and cursor is not None:  # Or a predecessor died while it did this.
                end = min(end, read_position(cursor.cells))
            old = gates[known[name]] if name in known else (_WAITING, end, 0, 0)
            at = GATES + i * _GATE_CELLS
            segment.cells[at : at + _GATE_CELLS] = old
        segment.write_text(READERS_AT, json.dumps(self.readers, separators=(",", ":")))

    def _cursor(self, name: str) -> Segment | None:
        found = self._cursors.get(name)
        if found is not None and found.removed:
            self._cursors.pop(name).close()  # Made anew since, or to be: ask by name.
            found = None
        if found is None:
            ring = cursor_name(self.segment.name, name)
            try:
                found = seg.attach(self.segment.instance, ring, _CURSOR_SHAPE)
            except SegmentError:
                return None
            self._cursors[name] = found
        return found

    def refresh(self) -> int:
        """Look at every reader's position and return ``room``; evict by policy if it is full."""
        if not self._dead_since and self._progress():
            return self.room
        slowest = self.newest
        for i, name in enumerate(self.readers):
            at = GATES + i * _GATE_CELLS
            cursor = self._cursor(name)
            alive = cursor is not None and cursor.writer_alive
            position = read_position(cursor.cells) if cursor is not None else 0
            if position > self.newest:  # Of an earlier ring of that name.
                position = 0
            if self.cells[at + _STATE] == _EVICTED:
                if not alive or position < self.cells[at + _EVICTED_AT]:
                    continue  # Gone, or it has not taken note of its eviction yet.
                self.cells[at + _POSITION] = position
            elif not alive and self._dead_too_long(name) and self._evicted(name):
                continue
            self.cells[at + _POSITION] = max(position, int(self.cells[at + _POSITION]))
            if cursor is not None:
                self.cells[at + _STATE] = _GATING
            slowest = min(slowest, int(self.cells[at + _POSITION]))
            if alive:
                self._dead_since.pop(name, None)
        self.room = slowest + self.capacity
        return self.room

    def _progress(self) -> bool:
        """Set ``room`` from positions alone; False if there is none, or a reader needs a look.

        Whether a reader lives matters only once the ring is full, and asking costs system calls.
        """
        quads, slowest, newest = self._quads, self.newest, self.newest
        at = GATES
        for name in self.readers:
            cursor = self._cursors.get(name)
            if cursor is None or quads[at + _STATE] != _GATING:
                return False
            position = read_position(cursor.cells)
            if position > newest:  # Of an earlier ring of that name.
                return False
            if position > quads[at + _POSITION]:
                quads[at + _POSITION] = position
            slowest = min(slowest, quads[at + _POSITION])
            at += _GATE_CELLS
        room = slowest + self.capacity
        if room <= newest:
            return False
        self.room = room
        return True

    def _evicted(self, name: str) -> bool:
        try:
            self.evict(name)
        except SegmentError:  # It has come back just now.
            return False
        return True

    def _dead_too_long(self, name: str) -> bool:
        if self._evict_after_s is None:
            return False
        since = self._dead_since.setdefault(name, time.monotonic())
        return time.monotonic() - since >= self._evict_after_s

    def lagging(self) -> dict[str, int]:
        """Return how many records each reader that holds the writer back has not done with."""
        gates = {name: GATES + i * _GATE_CELLS for i, name in enumerate(self.readers)}
        return {
            name: self.newest - int(self.cells[at + _POSITION])
            for name, at in gates.items()
            if self.cells[at + _STATE] != _EVICTED
        }

    def evict(self, name: str) -> None:
        """Go on without a dead reader; it learns of it when it comes back.

        Raises
        ------
        SegmentError
            If it lives: what it polled is promised to stay until it has advanced. Stop it first.

        """
        if name not in self.readers:
            raise SegmentError(f"{self.segment.name} has no reader {name!r}")
        at = GATES + self.readers.index(name) * _GATE_CELLS
        before = int(self.cells[at + _STATE])
        self.cells[at + _EVICTED_AT] = self.newest
        self.cells[at + _STATE] = _EVICTED
        # Only now: a reader that comes back first takes its lock and then looks at its gate, so
        # that either it sees this or we see it.
        cursor = self._cursor(name)
        if cursor is not None and cursor.writer_alive:
            self.cells[at + _STATE] = before
            raise SegmentError(f"{self.segment.name}: reader {name!r} lives: stop it first")
        self._dead_since.pop(name, None)

    def try_publish_many(self, records: NDArray[Any]) -> int:
        """Publish as many of the records, from the first on, as there is room for; return that."""
        if self.newest + len(records) > self.room:
            self.refresh()
        count = max(0, min(len(records), self.room - self.newest))
        if count:
            super().publish_many(records[:count])
        return count

    def try_publish(self, record: bytes | NDArray[Any] | np.void) -> bool:
        """Publish one record, unless the ring is full."""
        if self.newest >= self.room and self.newest >= self.refresh():
            return False
        super().publish(record)
        return True

    def publish(self, record: bytes | NDArray[Any] | np.void, timeout_s: float = 1.0) -> int:
        """Publish one record, waiting for room up to ``timeout_s``.

        Raises
        ------
        RingFull
            If there was none; the message names the slowest reader. Nothing was written.

        """
        deadline = time.monotonic() + timeout_s
        while not self.try_publish(record):
            if time.monotonic() >= deadline:
                name, lag = max(self.lagging().items(), key=lambda item: item[1], default=("", 0))
                cursor = self._cursor(name)
                state = "alive" if cursor is not None and cursor.writer_alive else "not running"
                raise RingFull(
                    f"{self.segment.name}: full for {timeout_s} s; reader {name!r} ({state}) is "
                    f"{lag:,} records behind: restart it, or evict it"
                )
            time.sleep(0.0001)
        return self.newest

    def publish_many(self, records: NDArray[Any], timeout_s: float = 1.0) -> int:
        """Publish all records, waiting for room up to ``timeout_s`` for each part.

        Raises
        ------
        RingFull
            As ``publish``; what was published before stays published, see ``newest``.

        """
        done = 0
        while done < len(records):
            count = self.try_publish_many(records[done:])
            done += count
            if not count:
                self.publish(records[done : done + 1], timeout_s)
                done += 1
        return self.newest

    def close(self) -> None:
        """Let go of the segment; it stays."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()
        super().close()


class FlowReader(RingReader):
    """A named reader of a flow-controlled ring. ``poll``, do the work, ``advance``.

    What was polled is protected from being overwritten until ``advance``. After a crash the next
    reader of the same name goes on behind the last ``advance``: it sees again what was polled and
    not done with, so that work must be repeatable.
    """

    kinds = (Kind.FLOW,)

    def __init__(self, segment: Segment, cursor: Segment, gate: int) -> None:
        super().__init__(segment)
        self.cursor, self._gate = cursor, gate
        self._rejoin()

    @classmethod
    def attach(  # type: ignore[override]
        cls,
        instance: str,
        name: str,
        reader: str,
        layout: Layout | None = None,
        wait_s: float = 0.0,
    ) -> "FlowReader":
        """Become reader ``reader`` of a ring; it must be one of the names its writer knows.

        Raises
        ------
        SegmentError
            If the writer does not know the name.
        WriterExists
            If a live process reads under that name.
        ReaderLost
            If this reader was evicted while it was away; the next attach starts at the ring's end.
        SegmentNotFound, SegmentNotReady, LayoutMismatch
            See ``engine.segment.attach``.

        """
        deadline = time.monotonic() + wait_s
        segment = seg.attach(instance, name, Shape(Kind.FLOW, layout, 0), wait_s=wait_s)
        # A writer that has just made the ring enters the names next.
        while not segment.readers and time.monotonic() < deadline:
            time.sleep(0.001)
        if reader not in segment.readers:
            known = ", ".join(segment.readers) or "none"
            segment.close()
            raise SegmentError(
                f"{name} has no reader {reader!r} (it has: {known}): name it where the ring is "
                "opened, or watch with a RingReader"
            )
        gate = GATES + segment.readers.index(reader) * _GATE_CELLS
        cursor = seg.open_writer(instance, cursor_name(name, reader), _CURSOR_SHAPE)
        return cls(segment, cursor, gate)

    def _rejoin(self) -> None:
        gate = self.cells[self._gate : self._gate + _GATE_CELLS]
        done = read_position(self.cursor.cells)
        # Beyond the ring's end: the position is of an earlier ring of that name.
        done = max(done if done <= self.newest else 0, int(gate[_POSITION]))
        if gate[_STATE] == _EVICTED and done < gate[_EVICTED_AT]:
            self._give_up(done)
        write_position(self.cursor.cells, done)
        self.position = done + 1

    def _give_up(self, done: int) -> None:
        """Move to the ring's end, so that the next attach goes on there, and say what is lost."""
        newest, name = self.newest, self.segment.name
        write_position(self.cursor.cells, newest)
        self.close()
        raise ReaderLost(
            f"{name}: this reader was evicted while it was dead at {done:,}; "
            f"{newest - done:,} records are lost to it. Attach again to go on"
        )

    def poll(self, limit: int | None = None) -> NDArray[Any]:
        """Return the next records as a read-only view; they stay until ``advance``.

        Raises
        ------
        ReaderLost
            If the writer evicted this reader and overwrote what it had not read.

        """
        most = self.capacity if limit is None else limit
        # Before the look for records: what is found after the gate held is protected by it.
        evicted = self._quads[self._gate] == _EVICTED
        count = count_available(self.words, self.stride, self.capacity, self.position, most)
        if count == LAPPED:
            self._give_up(self.position - 1)
        slot = self.position & (self.capacity - 1)
        batch = self.slots[slot : slot + count]
        if count and evicted:
            # Back from an eviction and the writer has not noticed: nothing protects the slots yet.
            batch = batch.copy()
            if not still_intact(self.words, self.stride, self.capacity, self.position):
                self._give_up(self.position - 1)
            batch.flags.writeable = False
        if count:
            self._first = self.position
        self.position += count
        return batch

    def advance(self) -> None:
        """Say that everything that was polled is done with: the writer may reuse its slots."""
        write_position(self.cursor.cells, self.position - 1)

    def close(self) -> None:
        """Let go of both segments; the position stays for a successor."""
        super().close()
        self.cursor.close()
