"""What a strategy process needs of market data: rings from now on, tables, and its own accounts.

A strategy attaches to the worker's rings, which it maps read-only and reads at its own pace: the
worker does not know of it and cannot be held up by it. ``MarketData`` attaches and keeps the
accounts that everybody wants of a reader; what to do with the records is the strategy's business::

    data = MarketData(context)
    data.start()                          # waits for the worker
    for stream in data.streams.values():
        batch = stream.poll()             # zero-copy: a view of the shared memory
        ...                               # compute; nothing irrevocable yet
        if stream.accept(batch):          # still what it was: act on it
            ...

A worker that dies and comes back continues the same rings, so nobody attaches again; the counter
``<ring>.epoch`` shows that it happened.

Counters, for each ring: ``records``, ``lost`` and ``overruns`` (records overwritten before they
were read, and how often), ``torn`` (batches given up because they were overwritten while they were
read), ``lag`` (records published and not yet read), ``epoch`` (which writer of the ring this is).
Histograms: ``record_to_strategy`` and ``socket_to_strategy``.
"""

import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.clock import now_ns
from engine.counters import CountersWriter
from engine.doorbell import Doorbell
from engine.histogram import record_many
from engine.ring import RingReader
from engine.segment import CURSOR
from engine.table import TableReader
from feeds.types import BOOK_IMAGE, INSTRUMENT, RINGS

INSTRUMENTS_TABLE, BOOKS_TABLE = "md.instruments", "md.books"
WAIT_S = 60.0
"""How long a start waits for the worker: long enough for its first compilation."""
BATCH = 4096
"""Records a poll: a bound on the work between two looks at the other rings."""

__all__ = [
    "BOOKS_TABLE",
    "INSTRUMENTS_TABLE",
    "Accounts",
    "MarketData",
    "StrategySettings",
    "Stream",
]


class StrategySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that all strategies have."""

    rings: tuple[str, ...] = tuple(RINGS)
    """Which rings to read; each of them costs a look per duty cycle."""
    batch: int = BATCH
    """Records that one poll takes at most."""


class Accounts:
    """A reader's counters for one ring, as indices into ``CountersWriter.values``."""

    def __init__(self, counters: CountersWriter, ring: str) -> None:
        self.values = counters.values
        self.records = counters.counter(f"{ring}.records", "records")
        self.lost = counters.counter(f"{ring}.lost", "records")
        self.overruns = counters.counter(f"{ring}.overruns")
        self.torn = counters.counter(f"{ring}.torn", "batches")
        self.lag = counters.gauge(f"{ring}.lag", "records")
        self.epoch = counters.gauge(f"{ring}.epoch")


class Stream:
    """One ring of market data and the accounts of reading it.

    Attributes
    ----------
    reader : engine.ring.RingReader
    accounts : Accounts

    """

    def __init__(self, reader: RingReader, accounts: Accounts, latency: "Latency") -> None:
        self.reader, self.accounts, self._latency = reader, accounts, latency
        self._lost = self._laps = 0
        self._polled_ns = 0

    def poll(self, limit: int = BATCH) -> NDArray[Any]:
        """Return the next records as a read-only view of the ring: structured[0..limit]."""
        batch = self.reader.poll(limit)
        self._polled_ns = now_ns()
        return batch

    def accept(self, batch: NDArray[Any]) -> bool:
        """Return whether a polled batch is still what was published, and account for it.

        What was computed from a batch that is not may be nonsense and must be thrown away; its
        records count as lost.
        """
        if not len(batch):
            return True
        published = self._polled_ns - batch["published_ns"]
        received = batch["received_ns"]
        received = self._polled_ns - received[received > 0]  # 0: no frame is behind the record.
        accounts = self.accounts
        if not self.reader.intact():
            accounts.values[accounts.torn] += 1
            accounts.values[accounts.lost] += len(batch)
            return False
        self._latency.add(published, received)
        accounts.values[accounts.records] += len(batch)
        return True

    def account(self) -> None:
        """Bring the counters up to what the reader knows; called at the heartbeat."""
        reader, accounts = self.reader, self.accounts
        values = accounts.values
        values[accounts.lost] += reader.lost - self._lost
        values[accounts.overruns] += reader.laps - self._laps
        self._lost, self._laps = reader.lost, reader.laps
        values[accounts.lag] = max(0, int(reader.cells[CURSOR]) - reader.position + 1)
        values[accounts.epoch] = reader.segment.epoch


class Latency:
    """The two histograms that every strategy records."""

    def __init__(self, counters: CountersWriter) -> None:
        self.record = counters.cells[counters.histogram("record_to_strategy", "ns")]
        self.socket = counters.cells[counters.histogram("socket_to_strategy", "ns")]

    def add(self, since_published: NDArray[np.int64], since_received: NDArray[np.int64]) -> None:
        """Record ages in ns, int64[n] and int64[m]."""
        record_many(self.record, np.ascontiguousarray(since_published))
        record_many(self.socket, np.ascontiguousarray(since_received))


class MarketData:
    """The worker's output as one strategy sees it.

    Attributes
    ----------
    streams : dict[str, Stream]
        By ring name; after ``start``.
    instruments, books : engine.table.TableReader
        The newest state of each instrument and of its book; after ``start``.
    bell : engine.doorbell.Doorbell
        Rung by the worker; an agent that shows it as its own lets its process park on it.

    """

    instruments: TableReader
    books: TableReader
    bell: Doorbell

    def __init__(self, context: AgentContext, rings: tuple[str, ...] = tuple(RINGS)) -> None:
        self._instance = context.instance
        self._rings = rings
        self.latency = Latency(context.counters)
        self._accounts = {ring: Accounts(context.counters, ring) for ring in rings}
        self.streams: dict[str, Stream] = {}

    def start(self, wait_s: float = WAIT_S) -> None:
        """Attach to everything, waiting for the worker; reading begins with what comes next.

        Raises
        ------
        SegmentNotFound, SegmentNotReady, LayoutMismatch
            As ``engine.segment.attach`` does.

        """
        deadline = time.monotonic() + wait_s

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        self.instruments = TableReader.attach(
            self._instance, INSTRUMENTS_TABLE, INSTRUMENT, wait_s=left()
        )
        self.books = TableReader.attach(self._instance, BOOKS_TABLE, BOOK_IMAGE, wait_s=left())
        for ring in self._rings:
            reader = RingReader.attach(self._instance, ring, RINGS[ring], wait_s=left())
            self.streams[ring] = Stream(reader, self._accounts[ring], self.latency)
        self.bell = Doorbell.open(self._instance, self._rings[0])

    @property
    def worker_alive(self) -> bool:
        """Whether anybody keeps the books up: the images of a dead worker still say LIVE."""
        return self.books.segment.writer_alive

    def account(self) -> None:
        """Bring all readers' counters up to date; called at the heartbeat."""
        for stream in self.streams.values():
            stream.account()

    def close(self) -> None:
        """Let go of everything that ``start`` came to attach."""
        for stream in self.streams.values():
            stream.reader.close()
        self.streams.clear()
        for name in ("instruments", "books", "bell"):
            attached = self.__dict__.pop(name, None)
            if attached is not None:
                attached.close()
