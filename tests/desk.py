"""A market-data worker in the test's own process, fed frame by frame through real segments."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersReader, CountersWriter
from engine.flow import FlowReader
from engine.frames import FrameKind, FrameWriter
from engine.ring import RingReader
from engine.segment import list_segments, unlink_segment
from engine.table import TableReader, TableWriter
from feeds import types
from feeds.types import BOOK_IMAGE, INSTRUMENT, REJECT, RESYNC, BookState, Flag
from feeds.worker import Worker

RINGS = {name.removeprefix("md."): layout for name, layout in types.RINGS.items()}


def instrument(native: str, price_decimals: int, quantity_decimals: int, tick: int = 1) -> Any:
    """Return a record of a feed's instrument table."""
    record = np.zeros(1, INSTRUMENT.dtype)
    record["native"], record["symbol"] = native.encode(), native.encode()
    record["price_decimals"], record["quantity_decimals"] = price_decimals, quantity_decimals
    record["tick"] = record["lot"] = tick
    return record


class Desk:
    """``instruments``: records by venue; row = place in the list."""

    def __init__(self, instance: str, instruments: dict[str, list[Any]], **settings: Any) -> None:
        self.instance, self.settings = instance, settings
        frames, bytes_ = settings.pop("frames", 4096), settings.pop("bytes_", 16 << 20)
        self.writers: dict[str, FrameWriter] = {}
        self.tables: dict[str, TableWriter] = {}
        for venue, records in instruments.items():
            self.writers[venue] = FrameWriter.open(instance, f"md.raw.{venue}", frames, bytes_)
            table = TableWriter.open(instance, f"feed.{venue}.instruments", INSTRUMENT, 64)
            self.tables[venue] = table
            for row, record in enumerate(records):
                table.write(row, self.own(venue, row, record))
        self.clock = 1_000_000
        self.start()
        self.readers = {
            name: RingReader.attach(instance, f"md.{name}", layout, start="oldest")
            for name, layout in RINGS.items()
        }
        self.images = TableReader.attach(instance, "md.books", BOOK_IMAGE)
        self.rejects = TableReader.attach(instance, "md.rejects", REJECT)
        self.resyncs = {
            venue: FlowReader.attach(instance, "md.resync", f"feed.{venue}", RESYNC)
            for venue in instruments
        }

    @staticmethod
    def own(venue: str, row: int, record: Any) -> Any:
        record = record.copy()
        record["instrument"], record["venue"] = row, venue.encode()
        return record

    def start(self) -> None:
        """Start the worker (again)."""
        self.counters = CountersWriter.open(self.instance, "worker")
        context = AgentContext(
            self.instance,
            "worker",
            {"venues": list(self.writers), "clock": "frame"} | self.settings,
            Config(),
            self.counters,
            logging.getLogger("worker"),
        )
        self.worker = Worker(context)
        self.worker.start()

    def stop(self) -> None:
        """Stop the worker; a crash leaves the segments as they are, and so does this."""
        self.worker.close()
        self.counters.close()

    def close(self) -> None:
        self.stop()
        for each in (
            *self.writers.values(),
            *self.tables.values(),
            *self.readers.values(),
            *self.resyncs.values(),
        ):
            each.close()
        self.images.close()
        self.rejects.close()

    def publish(
        self,
        venue: str,
        payload: bytes,
        kind: int = FrameKind.TEXT,
        row: int = -1,
        after_ns: int = 1000,
        line: int = 0,
    ) -> None:
        """Publish a frame that arrives ``after_ns`` after the one before.

        Each line has one connection, of its own number plus 1.
        """
        self.clock += after_ns
        self.writers[venue].publish(payload, self.clock, kind, line + 1, row, line)

    def feed(
        self,
        venue: str,
        payload: bytes,
        kind: int = FrameKind.TEXT,
        row: int = -1,
        after_ns: int = 1000,
        line: int = 0,
    ) -> None:
        """Publish a frame and have the worker take it."""
        self.publish(venue, payload, kind, row, after_ns, line)
        self.work()

    def work(self) -> None:
        while self.worker.do_work():
            pass

    def poll(self, name: str) -> Any:
        """Return a copy of what has come on a ring since the last call."""
        parts = []
        while len(batch := self.readers[name].poll()):
            parts.append(batch.copy())
        assert self.readers[name].lost == 0
        return np.concatenate(parts) if parts else np.zeros(0, RINGS[name].dtype)

    def requests(self, venue: str) -> Any:
        """Return the requests for snapshots that have come since the last call."""
        batch = self.resyncs[venue].poll().copy()
        self.resyncs[venue].advance()
        return batch

    def image(self, number: int = 0) -> Any:
        return self.images.read(number)

    def state(self, number: int = 0) -> BookState:
        return BookState(int(self.image(number)["state"]))

    def count(self, name: str) -> int:
        reader = CountersReader.attach(self.instance, "worker")
        try:
            return reader.counters()[name]
        finally:
            reader.close()


@contextmanager
def desk(instance: str, instruments: dict[str, list[Any]], **settings: Any) -> Iterator[Desk]:
    """Run a worker on raw rings of the test's own."""
    made = Desk(instance, instruments, **settings)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def segments_of(name: str) -> Iterator[str]:
    """Remove the segments of an instance afterwards (Hypothesis does not reset fixtures)."""
    try:
        yield name
    finally:
        for _, segment in list_segments(name):
            unlink_segment(name, segment)


class DeltaBook:
    """What a strategy holds that applies the records of ``md.book`` from a CLEAR on."""

    def __init__(self) -> None:
        self.sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.begun = False

    def apply(self, records: Iterable[Any]) -> None:
        for record in records:
            if record["flags"] & Flag.CLEAR:
                self.sides = {1: {}, -1: {}}
                self.begun = True
            side, price = int(record["side"]), int(record["price"])
            if side == 0:
                continue
            self.sides[side][price] = int(record["quantity"])
            if not self.sides[side][price]:
                del self.sides[side][price]

    def best(self, count: int) -> tuple[list[Any], list[Any]]:
        bids = sorted(self.sides[1].items(), reverse=True)[:count]
        return bids, sorted(self.sides[-1].items())[:count]
