"""The jitted side of ``bench.ring``: one pinned process that runs a command a line.

Commands, arguments and answers are those of ``bench/ring.c``; the loops are the ones that an agent
would write on the jitted face of ``engine.ring``. It runs on the engine of ``PYTHONPATH``, so that
one benchmark can compare two source trees.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from engine import segment as seg
from engine.atomics import load_acquire, realtime_ns, store_release
from engine.flow import FlowReader, FlowWriter
from engine.frames import FrameWriter
from engine.jit import inlined, kernel
from engine.layout import Field, Layout
from engine.ring import (
    EMPTY,
    LAPPED,
    RingReader,
    RingWriter,
    available,
    begin,
    commit,
    intact,
    resume_point,
    write_many,
)
from engine.segment import CURSOR, Cells, Segment

SEGMENTS = ("control", "lossy", "flow", "flow@bench", "ping", "pong")
LOSSY, FLOW, GATE, PING, PONG = range(5)
CAPACITY = 65_536
STRIDE = 8
SPINS_PER_LOOK = 1 << 20
TIMEOUT_NS = 5_000_000_000
PYTHON_CALLS = (
    "publish bytes",
    "publish record",
    "publish_many(1)",
    "publish_many(64), a record",
    "publish_many(1024), a record",
    "poll empty",
    "poll 64 and intact",
    "frame of 180 bytes",
    "frame of 1400 bytes",
)
"""What the command ``python`` answers, in ps a call or a record."""

RECORD = Layout("bench", 1, (Field("sequence", "i8", "place"), Field("body", "i8", "words", (7,))))
_READ_ONLY = "Array(int64, 1, 'C', readonly=True)"


def make_segments(instance: str) -> None:
    """Make all rings of the benchmark; their content outlives this process."""
    for name, capacity in (("control", 64), ("lossy", CAPACITY), ("ping", 1024), ("pong", 1024)):
        RingWriter.open(instance, name, RECORD, capacity, bell=False).close()
    FlowWriter.open(instance, "flow", RECORD, CAPACITY, ("bench",), bell=False).close()
    FlowReader.attach(instance, "flow", "bench", RECORD).close()


def unlink_all(instance: str) -> None:
    """Remove the benchmark's segments."""
    for _, name in seg.list_segments(instance):
        seg.unlink_segment(instance, name)


@kernel("int64(int64[::1], int64, int64)")
def meet(control: Cells, generation: int, me: int) -> int:
    """Wait until the other side says ``generation`` too; 0 if it does not come.

    Generation 0 is a run without a partner.
    """
    if generation == 0:
        return 1
    deadline = realtime_ns() + TIMEOUT_NS
    store_release(control, me * 16, generation)
    while load_acquire(control, (1 - me) * 16) != generation:
        if realtime_ns() > deadline:
            return 0
    return 1


@kernel("int64(int64[::1], int64, int64, int64)")
def write_records(words: Cells, capacity: int, newest: int, count: int) -> int:
    """Publish ``count`` records one at a time, every word its sequence; return the new newest."""
    for _ in range(count):
        newest += 1
        at = begin(words, STRIDE, capacity, newest)
        for word in range(1, STRIDE):
            words[at + word] = newest
        commit(words, at, newest)
    return newest


@kernel("void(int64[::1], int64[::1], int64, int64, int64, int64[::1], int64)")
def write_batches(
    cells: Cells, words: Cells, capacity: int, newest: int, count: int, source: Cells, size: int
) -> None:
    """Publish ``count`` records in batches of ``size`` with ``write_many``."""
    last = newest + count
    while newest < last:
        newest = write_many(cells, words, STRIDE, capacity, newest, source, size)


@inlined
def differing(words: Cells, capacity: int, position: int, count: int) -> int:
    """Return how many records have a word that is not their sequence."""
    bad = 0
    for sequence in range(position, position + count):
        at = (sequence & (capacity - 1)) * STRIDE
        wrong = 0
        for word in range(1, STRIDE):
            wrong |= words[at + word] ^ sequence
        bad += wrong != 0
    return bad


@kernel("void(int64[::1], int64[::1], int64, int64, int64, int64, int64, int64[::1])")
def read_records(
    words: Cells,
    cells: Cells,
    capacity: int,
    position: int,
    last: int,
    limit: int,
    check: int,
    out: Cells,
) -> None:
    """Read until ``last``; ``out`` is delivered, lost, torn."""
    idle, deadline = 0, realtime_ns() + TIMEOUT_NS
    delivered, lost, torn = 0, 0, 0
    while position <= last:
        count = available(words, STRIDE, capacity, position, limit)
        if count == EMPTY:
            idle += 1
            if idle % SPINS_PER_LOOK == 0 and realtime_ns() > deadline:
                break
            continue
        if count != LAPPED:
            bad = differing(words, capacity, position, count) if check else 0
            if intact(words, STRIDE, capacity, position):
                torn += bad
                delivered += count
                position += count
                continue
        target = resume_point(words, cells, STRIDE, capacity, position)
        lost += target - position
        position = target
    out[0], out[1], out[2] = delivered, lost, torn


@kernel(f"int64({_READ_ONLY}, int64[::1], int64, int64, int64, int64)")
def flow_drain(
    words: Cells, gate: Cells, capacity: int, position: int, last: int, limit: int
) -> int:
    """Read until ``last``, saying after each batch that it is done with; return torn records."""
    idle, torn, deadline = 0, 0, realtime_ns() + TIMEOUT_NS
    while position <= last:
        count = available(words, STRIDE, capacity, position, limit)
        if count <= 0:
            idle += 1
            if idle % SPINS_PER_LOOK == 0 and realtime_ns() > deadline:
                return -1
            continue
        torn += differing(words, capacity, position, count)
        position += count
        store_release(gate, CURSOR, position - 1)
    return torn


@inlined
def answer(words: Cells, capacity: int, sequence: int) -> None:
    """Publish one record."""
    at = begin(words, STRIDE, capacity, sequence)
    for word in range(1, STRIDE):
        words[at + word] = sequence
    commit(words, at, sequence)


@kernel("int64(int64[::1], int64[::1], int64, int64, int64, int64[::1])")
def ping(out: Cells, back: Cells, capacity: int, sent: int, seen: int, times: Cells) -> int:
    """Send a record and wait for one, again and again; ``times`` are the ends."""
    times[0] = realtime_ns()
    for i in range(1, len(times)):
        idle = 0
        sent += 1
        answer(out, capacity, sent)
        seen += 1
        while available(back, STRIDE, capacity, seen, 1) != 1:
            idle += 1
            if idle % SPINS_PER_LOOK == 0 and realtime_ns() > times[0] + TIMEOUT_NS:
                return 0
        if differing(back, capacity, seen, 1) or not intact(back, STRIDE, capacity, seen):
            return 0
        times[i] = realtime_ns()
    return 1


@kernel("int64(int64[::1], int64[::1], int64, int64, int64, int64)")
def pong(come: Cells, out: Cells, capacity: int, seen: int, sent: int, rounds: int) -> int:
    """Answer ``rounds`` records."""
    done, idle, deadline = 0, 0, realtime_ns() + TIMEOUT_NS
    while done < rounds:
        if available(come, STRIDE, capacity, seen + 1, 1) != 1:
            idle += 1
            if idle % SPINS_PER_LOOK == 0 and realtime_ns() > deadline:
                break
            continue
        seen += 1
        if differing(come, capacity, seen, 1) or not intact(come, STRIDE, capacity, seen):
            break
        sent += 1
        answer(out, capacity, sent)
        done += 1
    return done


class Commands:
    """The commands by name; each takes the integers of its line and returns those to answer."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        control, *rings = (seg.attach(instance, name, writable=True) for name in SEGMENTS)
        self.control = control.words
        self._segments = [control, *rings]
        self.rings: list[Segment] = rings

    def _newest(self, ring: Segment) -> int:
        return int(ring.cells[CURSOR])

    def hello(self) -> list[int]:
        """Answer when everything is compiled."""
        return [1]

    def write(self, generation: int, index: int, records: int) -> list[int]:
        """As in C."""
        ring = self.rings[index]
        newest, capacity = self._newest(ring), ring.capacity
        if not meet(self.control, generation, 0):
            return [0, 0]
        start = time.time_ns()
        newest = write_records(ring.words, capacity, newest, records)
        ring.cells[CURSOR] = newest
        return [start, time.time_ns()]

    def batch(self, generation: int, index: int, records: int, size: int) -> list[int]:
        """As in C."""
        ring, source = self.rings[index], np.zeros(size * STRIDE, np.int64)
        newest, capacity = self._newest(ring), ring.capacity
        if not meet(self.control, generation, 0):
            return [0, 0]
        start = time.time_ns()
        write_batches(ring.cells, ring.words, capacity, newest, records, source, size)
        return [start, time.time_ns()]

    def read(self, generation: int, index: int, records: int, limit: int, check: int) -> list[int]:
        """As in C."""
        ring, out = self.rings[index], np.zeros(3, np.int64)
        first, capacity = self._newest(ring) + 1, ring.capacity
        first -= 0 if generation else records
        if not meet(self.control, generation, 1):
            return [0, 0, 0, 0, 0]
        last, start = first + records - 1, time.time_ns()
        read_records(ring.words, ring.cells, capacity, first, last, limit, check, out)
        return [start, *map(int, out), time.time_ns()]

    def flow_write(self, generation: int, index: int, records: int, gate: int) -> list[int]:
        """Write in place up to ``room``, as an agent does, and ask again when that is reached."""
        with contextlib.closing(
            FlowWriter.open(self.instance, "flow", RECORD, CAPACITY, ("bench",), bell=False)
        ) as writer:
            last, words, capacity = writer.newest + records, writer.words, writer.capacity
            if not meet(self.control, generation, 0):
                return [0, 0]
            start = time.time_ns()
            while writer.newest < last and time.time_ns() < start + TIMEOUT_NS:
                room = min(writer.refresh(), last)
                count = room - writer.newest
                writer.finish(write_records(words, capacity, writer.newest, count))
            return [start, time.time_ns()]

    def flow_read(
        self, generation: int, index: int, records: int, gate: int, limit: int
    ) -> list[int]:
        """As in C, as the named reader."""
        with contextlib.closing(
            FlowReader.attach(self.instance, "flow", "bench", RECORD)
        ) as reader:
            first, last = reader.position, reader.position + records - 1
            if not meet(self.control, generation, 1):
                return [0, 0, 0, 0, 0]
            cells, start = reader.cursor.cells, time.time_ns()
            torn = flow_drain(reader.words, cells, reader.capacity, first, last, limit)
            return [start, records, 0, torn, time.time_ns()]

    def ping(self, generation: int, out: int, back: int, rounds: int) -> list[int]:
        """As in C."""
        there, here, times = self.rings[out], self.rings[back], np.zeros(rounds + 1, np.int64)
        sent, seen, capacity = self._newest(there), self._newest(here), here.capacity
        if not meet(self.control, generation, 0):
            return [0, 0, 0]
        if not ping(there.words, here.words, capacity, sent, seen, times):
            return [0, 0, 0]
        there.cells[CURSOR] = sent + rounds
        return percentiles(times)

    def pong(self, generation: int, come: int, out: int, rounds: int) -> list[int]:
        """As in C."""
        here, there = self.rings[come], self.rings[out]
        seen, sent, capacity = self._newest(here), self._newest(there), here.capacity
        if not meet(self.control, generation, 1):
            return [0]
        done = pong(here.words, there.words, capacity, seen, sent, rounds)
        there.cells[CURSOR] = sent + done
        return [done]

    def python_ping(self, generation: int, out: int, back: int, rounds: int) -> list[int]:
        """Measure the round trip with ``publish`` and ``poll``, without a kernel of one's own."""
        names = SEGMENTS[1:]
        with (
            contextlib.closing(RingReader.attach(self.instance, names[back], RECORD)) as reader,
            contextlib.closing(
                RingWriter.open(self.instance, names[out], RECORD, 1024, bell=False)
            ) as writer,
        ):
            record, times = bytes(STRIDE * 8), np.zeros(rounds + 1, np.int64)
            if not meet(self.control, generation, 0):
                return [0, 0, 0]
            times[0] = start = time.time_ns()
            for i in range(1, rounds + 1):
                writer.publish(record)
                while not len(reader.poll()):
                    if time.time_ns() > start + TIMEOUT_NS:
                        return [0, 0, 0]
                times[i] = time.time_ns()
            return percentiles(times)

    def python_pong(self, generation: int, come: int, out: int, rounds: int) -> list[int]:
        """Answer to ``python_ping``."""
        names = SEGMENTS[1:]
        with (
            contextlib.closing(RingReader.attach(self.instance, names[come], RECORD)) as reader,
            contextlib.closing(
                RingWriter.open(self.instance, names[out], RECORD, 1024, bell=False)
            ) as writer,
        ):
            record = bytes(STRIDE * 8)
            if not meet(self.control, generation, 1):
                return [0]
            start, done = time.time_ns(), 0
            while done < rounds:
                if len(reader.poll()):
                    writer.publish(record)
                    done += 1
                elif time.time_ns() > start + TIMEOUT_NS:
                    break
            return [done]

    def python(self, loops: int) -> list[int]:
        """Time the calls of ``PYTHON_CALLS``, alone on this CPU, with a bell that nobody hears."""
        instance = self.instance
        writer = RingWriter.open(instance, "md.python", RECORD)
        frames = FrameWriter.open(instance, "md.frames")
        reader = RingReader.attach(instance, "md.python", RECORD)
        one, many = np.zeros(1, RECORD.dtype), np.zeros(1024, RECORD.dtype)
        data, short, long = one.tobytes(), bytes(180), bytes(1400)
        now = time.time_ns()

        def poll_64() -> None:
            reader.position = writer.newest - 64
            reader.poll(64)
            reader.intact()

        writer.publish_many(many)
        try:
            return [
                best_ps(lambda: writer.publish(data), loops),
                best_ps(lambda: writer.publish(one), loops),
                best_ps(lambda: writer.publish_many(one), loops),
                best_ps(lambda: writer.publish_many(many[:64]), loops) // 64,
                best_ps(lambda: writer.publish_many(many), loops // 10) // 1024,
                best_ps(lambda: RingReader.poll(reader), loops, before=reader_to_end(reader)),
                best_ps(poll_64, loops),
                best_ps(lambda: frames.publish(short, now), loops),
                best_ps(lambda: frames.publish(long, now), loops),
            ]
        finally:
            for each in (reader, frames, writer):
                each.close()


def reader_to_end(reader: RingReader) -> Callable[[], None]:
    """Return a call that lets the reader find nothing."""

    def move() -> None:
        reader.position = reader.newest + 1

    return move


def best_ps(
    call: Callable[[], object], loops: int, before: Callable[[], None] | None = None
) -> int:
    """Return the ps of a call: the best of eleven loops, less an empty call."""
    best = {}
    if before is not None:
        before()
    for name, each in (("empty", lambda: None), ("call", call)):
        times = []
        for _ in range(11):
            start = time.perf_counter_ns()
            for _ in range(loops):
                each()
            times.append(time.perf_counter_ns() - start)
        best[name] = min(times)
    return (best["call"] - best["empty"]) * 1000 // loops


def percentiles(times: Cells) -> list[int]:
    """Return p50, p99 and p99.9 of the differences."""
    steps = np.sort(np.diff(times))
    return [int(steps[len(steps) * q // 1000]) for q in (500, 990, 999)]


def main(instance: str, cpu: int) -> None:
    """Answer commands until the standard input ends."""
    os.sched_setaffinity(0, {cpu})
    commands = Commands(instance)
    for line in sys.stdin:
        name, *numbers = line.split()
        found = getattr(commands, name)(*map(int, numbers))
        print(*found, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
