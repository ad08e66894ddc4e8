"""Looking at a running instance from outside: counters, tables and rings, read like any tool does.

An ``Observer`` knows nothing but the name of the instance. It attaches to whatever is there, each
time it looks, maps everything read-only, and cannot disturb anybody.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.counters import CountersReader, segment_name
from engine.errors import SegmentError
from engine.histogram import Histogram
from engine.ring import RingReader
from engine.segment import CURSOR, EPOCH, HEARTBEAT_NS, WRITER_PID, list_segments
from engine.table import TableReader
from feeds.decode import exact
from feeds.message import Has
from feeds.types import (
    BOOK_IMAGE,
    INDEX_DECIMALS,
    INSTRUMENT,
    KNOWN_SHIFT,
    RATE_DECIMALS,
    RINGS,
    BookState,
)
from oms.strategy import BOOKS_TABLE, INSTRUMENTS_TABLE
from oms.trading_view import TradingObserver, TradingView

RECORD_RINGS = {layout.name: ring for ring, layout in RINGS.items()}
"""Record type -> ring."""
RAW_PREFIX = "md.raw."
LAST_SHOWN = 12
"""Trades and liquidations that are kept."""
LAPS_MAX = 4
"""Times round a ring in one look: a bound, should a writer be as fast as we are."""

T = TypeVar("T")

__all__ = [
    "BookView",
    "FundingView",
    "Instrument",
    "Observer",
    "Sample",
    "StatsView",
    "TradeView",
]


@dataclass(frozen=True, slots=True)
class Instrument:
    """A row of the instrument table."""

    row: int
    venue: str
    native: str
    price_decimals: int
    quantity_decimals: int
    symbol: str = ""
    """The unified symbol."""

    @property
    def key(self) -> str:
        """``venue:symbol``."""
        return f"{self.venue}:{self.native}"


@dataclass(frozen=True, slots=True)
class BookView:
    """A book image; levels are (price, quantity) decimal strings, best first.

    ``state`` is STALE if the image says LIVE and its writer is dead.
    """

    instrument: Instrument
    state: BookState
    epoch: int
    gaps: int
    messages: int
    update_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]

    @property
    def valid(self) -> bool:
        """Whether the levels can be believed."""
        return self.state == BookState.LIVE


@dataclass(frozen=True, slots=True)
class TradeView:
    """A public trade, or a liquidation: ``side`` is the taker's, or that of the closing order."""

    instrument: Instrument
    exchange_ns: int
    side: int
    price: str
    quantity: str


@dataclass(frozen=True, slots=True)
class FundingView:
    """What the venue has said of a derivative; what it has not said is an empty text, or 0."""

    instrument: Instrument
    mark: str
    index: str
    rate: str
    next_ns: int
    open_interest: str = ""


@dataclass(frozen=True, slots=True)
class StatsView:
    """The last 24-hour ticker of an instrument; what is not known is an empty text."""

    instrument: Instrument
    last: str
    high: str
    low: str
    volume: str
    change_bp: int | None
    """Of the last price, since 24 hours ago, in hundredths of a percent, rounded down."""


@dataclass(slots=True)
class Sample:
    """What was there at one moment."""

    time_ns: int
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    """Process -> counter -> value."""
    histograms: dict[str, dict[str, Histogram]] = field(default_factory=dict)
    """Process -> histogram."""
    writers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Process -> pid, epoch, heartbeat (Unix ns) of its counters."""
    newest: dict[str, int] = field(default_factory=dict)
    """Ring -> newest sequence: the number of records ever published."""
    books: list[BookView] = field(default_factory=list)
    trades: list[TradeView] = field(default_factory=list)
    """The last ones, newest first."""
    funding: list[FundingView] = field(default_factory=list)
    liquidations: list[TradeView] = field(default_factory=list)
    """The last ones, newest first."""
    stats: list[StatsView] = field(default_factory=list)
    trading: TradingView | None = None
    """Orders and positions, if there is an OMS."""
    by_venue: dict[str, dict[str, int]] = field(default_factory=dict)
    """Venue -> record type -> records published, as the observer has counted them."""

    @property
    def venues(self) -> list[str]:
        """The venues that have a raw ring."""
        return sorted(
            ring[len(RAW_PREFIX) :] for ring in self.newest if ring.startswith(RAW_PREFIX)
        )

    @property
    def frames(self) -> int:
        """Frames in all raw rings, ever."""
        return sum(n for ring, n in self.newest.items() if ring.startswith(RAW_PREFIX))

    @property
    def records(self) -> dict[str, int]:
        """Records published, by type."""
        return {kind: self.newest.get(ring, 0) for kind, ring in RECORD_RINGS.items()}

    def of_venue(self, venue: str, name: str) -> int:
        """Return the sum of all processes' counters ``<name>.<venue>`` and ``<venue>.<name>``."""
        wanted = (f"{name}.{venue}", f"{venue}.{name}")
        return sum(c.get(each, 0) for c in self.counters.values() for each in wanted)

    def total(self, *endings: str) -> int:
        """Return the sum of all processes' counters whose last part is one of ``endings``."""
        return sum(
            value
            for counters in self.counters.values()
            for name, value in counters.items()
            if name.rpartition(".")[2] in endings
        )


class Observer:
    """Attaches to an instance's segments as they appear, and samples them."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._counters: dict[str, CountersReader] = {}
        self._rings: dict[str, RingReader] = {}
        self._instruments: TableReader | None = None
        self._books: TableReader | None = None
        self._known: dict[int, Instrument] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._trades: deque[TradeView] = deque(maxlen=LAST_SHOWN)
        self._liquidations: deque[TradeView] = deque(maxlen=LAST_SHOWN)
        self._funding: dict[int, FundingView] = {}
        self._stats: dict[int, StatsView] = {}
        self._trading = TradingObserver(instance)

    def sample(self) -> Sample:
        """Look at everything that is there."""
        self._attach()
        sample = Sample(time.time_ns())
        for process, reader in self._counters.items():
            cells = reader.segment.cells
            sample.counters[process] = reader.counters()
            sample.histograms[process] = reader.histograms()
            sample.writers[process] = (
                int(cells[WRITER_PID]),
                int(cells[EPOCH]),
                int(cells[HEARTBEAT_NS]),
            )
        self._read_rings()
        for name, ring in self._rings.items():
            read = name in RECORD_RINGS.values()  # Totals are those that are counted by venue.
            sample.newest[name] = ring.position - 1 if read else int(ring.cells[CURSOR])
        sample.books = self.books()
        sample.by_venue = self._by_venue(sample.venues)
        sample.trades, sample.liquidations = list(self._trades), list(self._liquidations)
        sample.funding = [self._funding[row] for row in sorted(self._funding)]
        sample.stats = [self._stats[row] for row in sorted(self._stats)]
        sample.trading = self._trading.look()
        return sample

    def instruments(self) -> dict[int, Instrument]:
        """Return the used rows of the instrument table."""
        if self._instruments is None:
            self._instruments = self._try(
                lambda: TableReader.attach(self.instance, INSTRUMENTS_TABLE, INSTRUMENT)
            )
        if self._instruments is None:
            return {}
        natives = self._instruments.segment.records()["native"]
        for row in np.flatnonzero(natives != b"").tolist():
            if row not in self._known and (read := self._row(self._instruments, row)) is not None:
                self._known[row] = Instrument(
                    row,
                    read["venue"].decode(),
                    read["native"].decode(),
                    int(read["price_decimals"]),
                    int(read["quantity_decimals"]),
                    read["symbol"].decode(),
                )
        return self._known

    def books(self, levels: int = 20) -> list[BookView]:
        """Return the image of every instrument's book that has one."""
        if self._books is None:
            self._books = self._try(
                lambda: TableReader.attach(self.instance, BOOKS_TABLE, BOOK_IMAGE)
            )
        if self._books is None:
            return []
        views = []
        # Images of a dead worker say what was true when it died.
        written = self._books.segment.writer_alive
        for row, instrument in self.instruments().items():
            image = self._row(self._books, row)
            if image is not None and image["instrument"] == row and image["version"]:
                views.append(_book(instrument, image, levels, written))
        return views

    def close(self) -> None:
        """Detach from everything."""
        self._trading.close()
        readers: Iterable[Any] = (
            *self._counters.values(),
            *self._rings.values(),
            self._instruments,
            self._books,
        )
        for reader in readers:
            if reader is not None:
                reader.close()
        self._counters.clear()
        self._rings.clear()
        self._instruments = self._books = None

    def _attach(self) -> None:
        prefix = segment_name("")
        for _, name in list_segments(self.instance):
            process = name.removeprefix(prefix)
            if name.startswith(prefix) and process not in self._counters:
                counters = self._try(partial(CountersReader.attach, self.instance, process))
                if counters is not None:
                    self._counters[process] = counters
            ring_like = name in RECORD_RINGS.values() or name.startswith(RAW_PREFIX)
            if ring_like and name not in self._rings and not name.endswith(".bell"):
                ring = self._try(partial(RingReader.attach, self.instance, name, start="oldest"))
                if ring is not None:
                    self._rings[name] = ring

    @staticmethod
    def _try(attach: Callable[[], T]) -> T | None:
        try:
            return attach()
        except SegmentError:  # Not there yet.
            return None

    @staticmethod
    def _row(table: TableReader, row: int) -> Any:  # noqa: ANN401 - np.void or None
        try:
            return table.read(row)
        except SegmentError:  # Its writer died in the middle; a successor will write it anew.
            return None

    def _read_rings(self) -> None:
        """Read all records since the last look: count them, and keep what is shown of them."""
        for kind, ring in RECORD_RINGS.items():
            reader = self._rings.get(ring)
            if reader is None:
                continue
            counts = self._counts.setdefault(ring, np.zeros(0, np.int64))
            for _ in range(2 * LAPS_MAX):
                batch = reader.poll()
                if not len(batch):
                    break
                rows = np.array(batch["instrument"])
                newest = self._newest_of(kind, batch, rows)
                if not reader.intact():
                    continue
                counts = _added(counts, np.bincount(rows[rows >= 0]))
                for record in newest:
                    self._show(kind, record)
            self._counts[ring] = counts

    @staticmethod
    def _newest_of(kind: str, batch: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """Return copies of the records of a batch that a screen may show, oldest first."""
        if kind in ("trade", "liquidation"):
            return batch[-LAST_SHOWN:].copy()
        if kind not in ("funding", "stats"):
            return batch[:0]
        _, from_end = np.unique(rows[::-1], return_index=True)  # The last one of each instrument.
        return batch[len(batch) - 1 - from_end]

    def _show(self, kind: str, record: np.void) -> None:
        instrument = self.instruments().get(int(record["instrument"]))
        if instrument is None:
            return
        if kind == "trade":
            self._trades.appendleft(_trade(instrument, record))
        elif kind == "liquidation":
            self._liquidations.appendleft(_trade(instrument, record))
        elif kind == "funding":
            self._funding[instrument.row] = _funding(instrument, record)
        else:
            self._stats[instrument.row] = _stats(instrument, record)

    def _by_venue(self, venues: Iterable[str]) -> dict[str, dict[str, int]]:
        result = {venue: dict.fromkeys(RECORD_RINGS, 0) for venue in venues}
        for row, instrument in self.instruments().items():
            for kind, ring in RECORD_RINGS.items():
                counts = self._counts.get(ring, ())
                if row < len(counts) and instrument.venue in result:
                    result[instrument.venue][kind] += int(counts[row])
        return result


def _added(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of two rows of counts, the shorter one filled up with zeros."""
    total = np.zeros(max(len(one), len(other)), np.int64)
    total[: len(one)] = one
    total[: len(other)] += other
    return total


def _trade(instrument: Instrument, record: np.void) -> TradeView:
    return TradeView(
        instrument,
        int(record["exchange_ns"]),
        int(record["side"]),
        exact(int(record["price"]), instrument.price_decimals),
        exact(int(record["quantity"]), instrument.quantity_decimals),
    )


def _funding(instrument: Instrument, record: np.void) -> FundingView:
    known = int(record["flags"]) >> KNOWN_SHIFT

    def text(field_name: str, bit: Has, decimals: int) -> str:
        return exact(int(record[field_name]), decimals) if known & bit else ""

    return FundingView(
        instrument,
        text("mark_price", Has.MARK, INDEX_DECIMALS),
        text("index_price", Has.INDEX, INDEX_DECIMALS),
        text("rate", Has.RATE, RATE_DECIMALS),
        int(record["next_funding_ns"]),
        text("open_interest", Has.INTEREST, instrument.quantity_decimals),
    )


def _stats(instrument: Instrument, record: np.void) -> StatsView:
    known = int(record["flags"]) >> KNOWN_SHIFT

    def text(field_name: str, bit: Has, decimals: int) -> str:
        return exact(int(record[field_name]), decimals) if known & bit else ""

    last, before = int(record["last_price"]), int(record["open_price"])
    both = known & Has.LAST and known & Has.OPEN and before > 0
    return StatsView(
        instrument,
        text("last_price", Has.LAST, instrument.price_decimals),
        text("high_price", Has.HIGH, instrument.price_decimals),
        text("low_price", Has.LOW, instrument.price_decimals),
        text("volume", Has.VOLUME, instrument.quantity_decimals),
        (last - before) * 10_000 // before if both else None,
    )


def _book(instrument: Instrument, image: np.void, levels: int, written: bool) -> BookView:
    state = BookState(int(image["state"]))
    if state == BookState.LIVE and not written:
        state = BookState.STALE

    def texts(side: str, count: str) -> list[tuple[str, str]]:
        shown = min(levels, int(image[count]))
        return [
            (
                exact(price, instrument.price_decimals),
                exact(quantity, instrument.quantity_decimals),
            )
            for price, quantity in image[side][:shown].tolist()
        ]

    return BookView(
        instrument,
        state,
        int(image["epoch"]),
        int(image["gaps"]),
        int(image["messages"]),
        int(image["update_id"]),
        texts("bids", "bid_count"),
        texts("asks", "ask_count"),
    )
