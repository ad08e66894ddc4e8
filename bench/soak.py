"""A soak with faults: ``python -m bench.soak --venue okx|all --disconnects 100 [--lines 2]``.

For each venue the real processes run, one feed and the worker under their supervisor, against the
simulated venue, which is served from here. Round by round messages are lost, doubled and swapped,
and then every connection is cut. All the while this process reads ``md.book``, ``md.top`` and
``md.books`` like a strategy does, and holds every state of a book that is published as LIVE against
what the venue's book really was at that update id: a book that is LIVE and wrong ends in
``wrong``, the exit code is 1, and so it is if a book is not LIVE again within ``--bound``.

Times are those of the records: from the moment in which the connections are cut, or in which the
worker notes a hole, to the first record that calls the book LIVE again.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.config import parse
from engine.counters import CountersReader
from engine.errors import SegmentError
from engine.histogram import ROW, Histogram, record_one
from engine.ring import RingReader
from engine.segment import list_segments, unlink_segment
from engine.supervisor import Supervisor
from engine.table import TableReader
from feeds.adapter import find_venue
from feeds.types import (
    BOOK_DELTA,
    BOOK_IMAGE,
    BOOK_LEVELS,
    BOOK_TOP,
    INSTRUMENT,
    BookState,
    Flag,
    TopSource,
)
from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.simulator.bybit.venue import BybitVenue
from gateways.simulator.matching import BookSide
from gateways.simulator.venue import Venue as SimulatedExchange
from oms.demo_config import (
    MARKETS,
    SIMULATOR,
    STRATEGIES,
    WORKER,
    DemoOptions,
    build_config,
    feed_name,
    symbols_of,
)

DECIMALS = 12
"""Prices and quantities are compared as mantissas of so many decimals."""
REMEMBERED = 20_000
"""States of each book that are kept: minutes."""
LATE_S = 5.0
"""How long a published state may wait for the venue's word on it."""
UP_S = 120.0
CARRIED_NS = 10**9
"""A book that goes on for so long after a cut had a connection that outlived it."""
FAULTS_S = 0.4
"""How long messages suffer in each round."""
SUFFERING = {"drop": 0.02, "hole": 0.15, "duplicate": 0.02, "reorder": 0.02}
PROMPT = {"backoff_s": 0.1, "stable_s": 0.1}
"""A feed that is cut once a second would wait ever longer, as it should."""

COUNTED = (
    "gaps",
    "resyncs",
    "renewals",
    "duplicates_book",
    "duplicates_trade",
    "holes_held",
    "holes_filled",
    "checksums_ok",
    "checksums_bad",
    "crossed",
    "malformed",
    "overruns",
)
FEED_COUNTED = ("snapshots_requested", "snapshots_fetched", "snapshots_failed", "rest_limited")
"""Counters of worker and feed that the result shows."""

Levels = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
"""Bids and asks, best first: price and quantity mantissas."""


Truth = dict[tuple[str, str], OrderedDict[int, Levels]]
"""Venue and native symbol -> update id -> the book as it was then."""


class Venue:
    """The simulated venue in a thread, and the states of its books by update id."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.server = SimulatedVenue(settings, logging.getLogger("venue"))
        self.states: Truth = {}
        self._last: dict[tuple[str, str], tuple[int, Levels]] = {}
        """What was noted last, and under which id of the matching engine."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(UP_S):
            raise TimeoutError("the simulated venue does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        self.server.after_tick = self._remember
        async with self.server:
            self._remember()
            self._up.set()
            await self._stop.wait()

    def _remember(self) -> None:
        """Note the books' best levels; called whenever the venue has said what there is to say.

        Books change only before that; what a new subscriber is told in between is what was noted
        the last time, under the number that counts up for it at Bybit.
        """
        assert self.server.simulation is not None
        for market in self.server.simulation.books:
            instrument, book = market.instrument, market.book
            key = market.venue, instrument.symbol
            scales = [
                scale.step * 10 ** (DECIMALS - scale.decimals)
                for scale in (instrument.price, instrument.quantity)
            ]
            before = self._last.get(key)
            if before is None or before[0] != book.update_id:
                sides = (_first_levels(side, *scales) for side in (book.bids, book.asks))
                self._last[key] = book.update_id, (next(sides), next(sides))
            now = self._last[key]
            known = self.states.setdefault(key, OrderedDict())
            number, engine_id = _number(self.server.venues[market.venue], instrument.symbol)
            if number in known:
                continue
            before = before or now
            if engine_id and number - 1 not in known:
                known[number - 1] = before[1]
            known[number] = now[1] if engine_id in (0, book.update_id) else before[1]
            if len(known) > REMEMBERED:
                known.popitem(last=False)

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:  # noqa: ANN401
        """Have the venue's own thread do something; return the result."""

        async def do() -> Any:  # noqa: ANN401
            return function(**arguments)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(30.0)


def _number(venue: SimulatedExchange, symbol: str) -> tuple[int, int]:
    """Return the id of a book in the venue's last message, and the matching engine's if told."""
    if isinstance(venue, BybitVenue):  # It counts the messages of each depth.
        levels = int(find_venue(venue.name).book_streams[0].rpartition(".")[2])
        stream = venue.streams.markets[symbol].books[levels]
        return stream.u, stream.seq
    return int(venue.books(1)[symbol]["update_id"]), 0


def _first_levels(side: BookSide, price: int, quantity: int) -> tuple[tuple[int, int], ...]:
    """Return the best levels of a simulated book's side; both steps are in ``DECIMALS``."""
    levels = []
    for level in side:
        levels.append((level.price * price, level.quantity * quantity))
        if len(levels) == BOOK_LEVELS:
            break
    return tuple(levels)


@dataclass(slots=True)
class Book:
    """One instrument as its records tell of it."""

    venue: str
    native: str
    price: int
    quantity: int
    """What a mantissa is multiplied by to have ``DECIMALS``."""
    sides: dict[int, dict[int, int]] = field(default_factory=lambda: {1: {}, -1: {}})
    begun: bool = False
    state: int = BookState.EMPTY
    since_ns: int = 0
    """When it took the state, by the record."""

    def apply(self, side: int, price: int, quantity: int, clear: bool) -> None:
        """Apply one BOOK_DELTA."""
        if clear:
            self.sides = {1: {}, -1: {}}
            self.begun = True
        if quantity:
            self.sides[side][price] = quantity
        elif side:
            self.sides[side].pop(price, None)

    def best(self) -> Levels:
        """Return the best levels."""
        bids = sorted(self.sides[1].items(), reverse=True)[:BOOK_LEVELS]
        return self.scaled(bids), self.scaled(sorted(self.sides[-1].items())[:BOOK_LEVELS])

    def scaled(self, levels: Any) -> tuple[tuple[int, int], ...]:  # noqa: ANN401
        """Return (price, quantity) pairs as mantissas of ``DECIMALS``."""
        return tuple((p * self.price, q * self.quantity) for p, q in levels)


class Checker:
    """Reads what the worker publishes, and believes nothing."""

    def __init__(
        self, instance: str, truth: dict[tuple[str, str], OrderedDict[int, Levels]]
    ) -> None:
        self._truth = truth
        self._deltas = RingReader.attach(instance, "md.book", BOOK_DELTA, wait_s=UP_S)
        self._tops = RingReader.attach(instance, "md.top", BOOK_TOP, wait_s=UP_S)
        self._images = TableReader.attach(instance, "md.books", BOOK_IMAGE, wait_s=UP_S)
        self._instruments = TableReader.attach(instance, "md.instruments", INSTRUMENT, wait_s=UP_S)
        self.books: dict[int, Book] = {}
        self.checked: Counter[str] = Counter()
        self.wrong: list[dict[str, Any]] = []
        self.repaired: dict[int, NDArray[np.int64]] = {}
        """Book state that ended in LIVE -> histogram row of how long that took, ns."""
        self._late: deque[tuple[float, str, Book, int, Levels]] = deque()

    @property
    def lost(self) -> int:
        """Records that were overwritten before they were checked."""
        return self._deltas.lost + self._tops.lost

    @property
    def gaps(self) -> int:
        """Holes that the worker has found."""
        return sum(int(self._images.read(number)["gaps"]) for number in self.books)

    def received_ns(self, number: int) -> int:
        """Return when the newest message of a book came."""
        return int(self._images.read(number)["received_ns"])

    def close(self) -> None:
        """Detach."""
        for reader in (self._deltas, self._tops, self._images, self._instruments):
            reader.close()

    def work(self) -> None:
        """Check everything that is new."""
        self._find_books()
        for record in _read(self._deltas):
            self._on_delta(record)
        for record in _read(self._tops):
            self._on_top(record)
        for number, book in self.books.items():
            image = self._images.read(number)
            if image["state"] == BookState.LIVE:
                sides = (image["bids"][: image["bid_count"]], image["asks"][: image["ask_count"]])
                bids, asks = (book.scaled(side.tolist()) for side in sides)
                self._compare("images", book, int(image["update_id"]), (bids, asks))
        for _ in range(len(self._late)):
            waiting = self._late.popleft()
            deadline, kind, book, number, levels = waiting
            if not self._judge(kind, book, number, levels, time.monotonic() > deadline):
                self._late.append(waiting)

    def _find_books(self) -> None:
        natives = self._instruments.segment.records()["native"]
        for number in np.flatnonzero(natives != b"").tolist():
            if number not in self.books:
                row = self._instruments.read(number)
                price, quantity = (
                    10 ** (DECIMALS - int(row[f"{each}_decimals"]))
                    for each in ("price", "quantity")
                )
                native = row["native"].decode()
                self.books[number] = Book(row["venue"].decode(), native, price, quantity)

    def _on_delta(self, record: np.void) -> None:
        book, flags = self.books.get(int(record["instrument"])), int(record["flags"])
        if book is None:
            return
        clear = bool(flags & Flag.CLEAR)
        book.apply(int(record["side"]), int(record["price"]), int(record["quantity"]), clear)
        empty = not book.sides[1] and not book.sides[-1]  # The book is lost: nothing is claimed.
        if flags & Flag.LAST and book.begun and not empty:
            self._compare("messages", book, int(record["update_id"]), book.best())

    def _on_top(self, record: np.void) -> None:
        book = self.books.get(int(record["instrument"]))
        if book is None or record["source"] != TopSource.BOOK:
            return
        state, now = int(record["state"]), int(record["published_ns"])
        if state == BookState.LIVE:
            top = [int(record[name]) for name in ("bid_price", "bid_quantity")]
            low = [int(record[name]) for name in ("ask_price", "ask_quantity")]
            levels = book.scaled([top]), book.scaled([low])
            self._compare("tops", book, int(record["update_id"]), levels)
        if state != book.state:
            if state == BookState.LIVE and book.state not in (BookState.EMPTY, BookState.LIVE):
                row = self.repaired.setdefault(book.state, np.zeros(ROW, np.int64))
                record_one(row, now - book.since_ns)
            book.state, book.since_ns = state, now

    def _compare(self, kind: str, book: Book, number: int, levels: Levels) -> None:
        """Hold a published state against the venue's own of that id, now or once it is known."""
        if not self._judge(kind, book, number, levels):
            self._late.append((time.monotonic() + LATE_S, kind, book, number, levels))

    def _judge(
        self, kind: str, book: Book, number: int, levels: Levels, final: bool = False
    ) -> bool:
        """Return whether a state could be judged; one that is ``final`` is wrong if unknown."""
        known = self._truth.get((book.venue, book.native))
        truth = known.get(number) if known else None
        if truth is None and not final:
            return False
        self.checked[kind] += 1
        depth = 1 if kind == "tops" else BOOK_LEVELS
        if truth is None or tuple(side[:depth] for side in truth) != levels:
            self.wrong.append(
                {
                    "kind": kind,
                    "book": f"{book.venue}:{book.native}",
                    "update_id": number,
                    "published": [side[:3] for side in levels],
                    "true": [side[:3] for side in truth] if truth else None,
                    "true_at": [] if known is None else _ids_of(known, levels),
                }
            )
        return True


def _ids_of(known: OrderedDict[int, Levels], levels: Levels) -> list[int]:
    """Return the update ids at which the venue's book was so: how wrong a book came about."""
    depths = [len(side) for side in levels]
    states = list(known.items())
    found = [n for n, (b, a) in states if (b[: depths[0]], a[: depths[1]]) == levels]
    return found[-3:]


def _read(reader: RingReader) -> Iterator[np.void]:
    """Yield copies of all new records."""
    while len(batch := reader.poll()):
        copy = batch.copy()
        if reader.intact():
            yield from copy


class Soak:
    """One venue's processes, its server, its checker."""

    def __init__(
        self,
        venue: Venue,
        supervisor: Supervisor,
        checker: Checker,
        options: argparse.Namespace,
    ) -> None:
        self.venue, self.supervisor, self.checker = venue, supervisor, checker
        self.bound_s, self.lines = options.bound, options.lines
        (name,) = venue.server.venues
        self.adapter = find_venue(name)
        self.to_valid = np.zeros(ROW, np.int64)
        self.overdue: list[str] = []

    def run(self, until: Callable[[], bool], seconds: float) -> bool:
        """Supervise and check until something holds; return whether it did in time."""
        deadline = time.monotonic() + seconds
        polled = 0.0
        while not (done := until()) and time.monotonic() < deadline:
            if time.monotonic() > polled + 0.1:
                polled = time.monotonic()
                self.supervisor.poll()
            self.checker.work()
            time.sleep(0.005)
        return done

    def live(self, since_ns: int = 0) -> bool:
        """Return whether all books are LIVE, each after something happened at ``since_ns``.

        A connection that was just being opened outlives a cut. With redundant lines it may carry
        on where the others broke off: a book that lacks nothing then need not notice.
        """
        books = self.checker.books
        return bool(books) and all(
            book.state == BookState.LIVE
            and (
                book.since_ns > since_ns
                or (self.lines > 1 and self.checker.received_ns(number) > since_ns + CARRIED_NS)
            )
            for number, book in books.items()
        )

    def counters(self, process: str, *endings: str) -> dict[str, int]:
        """Return the counters of a process whose last part is one of ``endings``."""
        try:
            reader = CountersReader.attach(self.supervisor.config.instance, process)
        except SegmentError:  # Not there yet.
            return {}
        try:
            counts = reader.counters()
        finally:
            reader.close()
        parts = {name: name.rpartition(".")[2] for name in counts}
        return {parts[name]: n for name, n in counts.items() if parts[name] in endings}

    def wait_for_budget(self) -> None:
        """Wait until half the requests are free that the venue allows a minute, if it is needed.

        Snapshots at this pace take more than it allows, and what is measured is not the wait.
        """
        limit = self.adapter.exchange.limits.rest_weight_per_minute
        feed = feed_name(self.adapter.name())
        if limit:
            self.run(lambda: sum(self.counters(feed, "rest_weight").values()) <= limit // 2, 90.0)

    def suffer(self) -> None:
        """Let messages be lost, doubled and swapped for a while, then see the books repaired."""
        self.venue.call(self.venue.server.set_faults, checksum="real", **SUFFERING)
        self.run(lambda: False, FAULTS_S)
        self.venue.call(self.venue.server.set_faults, **dict.fromkeys(SUFFERING, 0.0))
        self._must("after lost messages", self.live)

    def cut(self) -> None:
        """Cut all connections, and see every book LIVE again."""
        begun_ns = time.time_ns()
        self.venue.call(self.venue.server.disconnect)
        self._must("after a disconnect", lambda: self.live(begun_ns))
        for book in self.checker.books.values():
            if book.since_ns > begun_ns:
                record_one(self.to_valid, book.since_ns - begun_ns)

    def _must(self, when: str, until: Callable[[], bool]) -> None:
        if not self.run(until, self.bound_s):
            self.overdue += [
                f"{when}: {book.venue}:{book.native} is {BookState(book.state).name}"
                for book in self.checker.books.values()
                if book.state != BookState.LIVE
            ] or [f"{when}: no book noticed"]
            self.run(self.live, UP_S)


@contextmanager
def running(name: str, options: argparse.Namespace) -> Iterator[Soak]:
    """Run a venue, its feed, the worker and a checker."""
    instance = f"soak{os.getpid()}"
    demo = DemoOptions(instance=instance, venues=(name,), lines=options.lines)
    symbols = symbols_of(name, demo)
    settings = SimulatorSettings(
        port=0, seed=options.seed, rate=options.rate, venues=[name], symbols=symbols
    )
    with Venue(settings) as venue, open(os.devnull, "wb") as nowhere:
        config = build_config(demo, venue.server.port)
        kept = [p for p in config["process"] if p["name"] not in (SIMULATOR, *STRATEGIES)]
        kept[0]["agents"][0] |= PROMPT
        output = 2 if options.verbose else nowhere
        supervisor = Supervisor(parse(config | {"process": kept}), output=output)
        try:
            supervisor.start()
            checker = Checker(instance, venue.states)
            try:
                soak = Soak(venue, supervisor, checker, options)
                soak.run(lambda: len(checker.books) == len(symbols) and soak.live(), UP_S)
                yield soak
            finally:
                checker.close()
        finally:
            supervisor.stop()
            for _, segment in list_segments(instance):
                unlink_segment(instance, segment)


def soak(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a venue's soak came to."""
    with running(name, options) as soaked:
        for number in range(options.disconnects):
            soaked.wait_for_budget()
            soaked.suffer()
            soaked.cut()
            if options.verbose or not (number + 1) % 10:
                print(f"{name}: {number + 1}/{options.disconnects}", file=sys.stderr, flush=True)
        soaked.run(lambda: False, LATE_S)
        checker, counts = soaked.checker, soaked.venue.server.plan.counts
        repaired = {
            BookState(state).name.lower(): _milliseconds(row)
            for state, row in sorted(checker.repaired.items())
        }
        return {
            "disconnects": options.disconnects,
            "connections_cut": counts["disconnect"],
            "faults": {each: counts[each] for each in SUFFERING},
            "books": len(checker.books),
            "checked": dict(checker.checked),
            "gaps": checker.gaps,
            "worker": soaked.counters(WORKER, *COUNTED),
            "feed": soaked.counters(feed_name(name), *FEED_COUNTED),
            "lost": checker.lost,
            "wrong": len(checker.wrong),
            "examples": checker.wrong[:5],
            "overdue": soaked.overdue,
            "disconnect_to_valid_ms": _milliseconds(soaked.to_valid),
            "state_to_valid_ms": repaired,
            "restarts": sum(child.restarts for child in soaked.supervisor.children.values()),
            "ok": not checker.wrong and not soaked.overdue and checker.lost == 0,
        }


def _milliseconds(row: NDArray[np.int64]) -> dict[str, float]:
    histogram = Histogram.of(row)
    values = {"p50": histogram.percentile(50.0), "p99": histogram.percentile(99.0)}
    values["max"] = histogram.maximum
    return {"count": histogram.count} | {name: round(ns / 1e6, 1) for name, ns in values.items()}


def arguments(texts: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="a soak with faults, venue by venue")
    parser.add_argument("--venue", default="all", choices=("all", *MARKETS))
    parser.add_argument("--disconnects", type=int, default=100)
    parser.add_argument("--bound", type=float, default=10.0, help="seconds to be LIVE again")
    parser.add_argument("--rate", type=float, default=500.0, help="of the venue, events a second")
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="also the processes' logs")
    return parser.parse_args(texts)


def main() -> int:
    """Run and print one JSON object."""
    options = arguments()
    names = list(MARKETS) if options.venue == "all" else [options.venue]
    result = {name: soak(name, options) for name in names}
    print(json.dumps(result))
    return 0 if all(each["ok"] for each in result.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
