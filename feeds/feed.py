"""The feed process: a venue's messages, as they come, into ``md.raw.<venue>``.

It decodes nothing. What it writes:

``md.raw.<venue>``
    Every message of every connection with the time it left the socket; depth snapshots
    (REST_DEPTH) and answers to repeated requests (POLLED) where they arrived; marks (STALE,
    CONNECTED, DISCONNECTED).
``feed.<venue>.instruments``
    The configured instruments, from the venue's exchange information. A row never changes its
    instrument: ``instrument`` in a frame or a request is the row.

What it reads: ``md.resync``, the worker's requests for snapshots and renewed subscriptions
(``feeds.resync``), as reader ``feed.<venue>``. The ring may appear after the feed has started, its
writer may die and come back, and it may be removed and made anew.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.errors import ConfigError, ReaderLost, SegmentError
from engine.flow import FlowReader
from engine.frames import FrameWriter
from engine.histogram import record_one
from engine.net import wait
from engine.table import TableWriter
from feeds import polls, resync
from feeds.adapter import (
    CHANNELS,
    Channel,
    InstrumentFields,
    RestRequest,
    Stream,
    choose_instruments,
    endpoints_of,
    find_venue,
    venue_names,
)
from feeds.limits import ConnectBudget
from feeds.plan import Plan, plan_lines
from feeds.polls import Polls
from feeds.rest import RestClient, RestFailed
from feeds.resync import Resyncs, Snapshots
from feeds.session import EVENTS, SessionOptions, Sessions, Shared
from feeds.types import INSTRUMENT, RESYNC, Status
from feeds.websocket import DEFAULT_CLIENT, Client

RESYNC_RING = "md.resync"
RESYNC_POLL_S = 0.005
"""A request for a snapshot waits this long at most; the answer takes the venue tens of ms."""
ATTACH_S = 0.2
"""How often to look whether the ring is there, and still the same."""
HOUSEKEEPING_S = 0.1
TIME_S = 60.0
EARLY_S = 30.0
"""Least time between two looks at the venue's instruments, however much is in doubt."""
PAGES_MAX = 100
"""Of one kind of instrument."""
LINES_MAX = 4
CADENCE_MAX_DS = 65_535

COUNTED = (
    *EVENTS,
    *resync.COUNTED,
    *polls.COUNTED,
    "rest_requests",
    "rest_retries",
    "rest_limited",
    "refused_frames",
    "listed",
    "delisted",
)


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a feed (its table in the configuration)."""

    venue: str
    symbols: tuple[str, ...]
    """Native or unified symbols, or ``["*"]`` for all instruments that trade."""
    channels: tuple[Channel, ...] = (Channel.TRADES, Channel.BOOK, Channel.TOP, Channel.FUNDING)
    book: str = ""
    """Which of the venue's streams carries the book; empty for its default."""
    lines: Annotated[int, msgspec.Meta(ge=1, le=LINES_MAX)] = 1
    """So many connections carry the same, independently: the first to deliver wins."""
    client: Client = DEFAULT_CLIENT
    ring_frames: int = 65_536
    ring_bytes: int = 64 << 20
    instruments_max: int = 2048
    refresh_s: float = 600.0
    """How often the instrument table is brought up to date."""
    snapshots_at_once: int = 4
    poll_s: float = 30.0
    """How often to ask for what no stream carries, if the limits allow; 0 for never."""
    connect_timeout_s: float = 10.0
    backoff_s: float = 0.25
    backoff_max_s: float = 30.0
    stable_s: float = 30.0
    silence_factor: float = 3.0
    rotate_after_s: float = 0.0
    overlap_s: float = 1.0
    handover_s: float = 15.0
    stagger_s: float = 0.5

    def problems(self) -> Iterator[str]:
        """Yield what the types do not tell: a book stream that the venue does not have."""
        if self.book and self.venue in venue_names():
            known = find_venue(self.venue).book_streams
            if self.book not in known:
                allowed = ", ".join(known) or "none"
                yield f"book: found {self.book!r}, {self.venue} has: {allowed}"

    def session_options(self) -> SessionOptions:
        """Return the part that concerns sessions."""
        names = SessionOptions.__slots__
        return SessionOptions(**{name: getattr(self, name) for name in names})


def instrument_record(instrument: InstrumentFields, row: int, venue: str) -> NDArray[Any]:
    """Return a row of the instrument table (one ``feeds.types.INSTRUMENT`` record)."""
    record = np.zeros(1, INSTRUMENT.dtype)
    for name, value in instrument.items():
        record[name] = value.encode() if isinstance(value, str) else value
    record["instrument"], record["venue"] = row, venue.encode()
    record["updated_ns"] = time.time_ns()
    return record


def cadences_ds(streams: Iterable[Stream]) -> list[int]:
    """Return for each channel the longest normal silence of its streams together, in 0.1 s."""
    found = [0] * len(CHANNELS)
    for stream in streams:
        if stream.cadence_s > 0:
            number = CHANNELS.index(stream.channel)
            cadence = min(CADENCE_MAX_DS, math.ceil(10 * stream.cadence_s))
            found[number] = min(cadence, found[number] or cadence)
    return found


class InstrumentTable:
    """``feed.<venue>.instruments``: who has which row, over restarts.

    ``streams_of`` returns what an instrument (native symbol) is subscribed to.
    """

    def __init__(
        self, table: TableWriter, venue: str, streams_of: Callable[[str], Iterable[Stream]]
    ) -> None:
        self._table, self._venue, self._streams_of = table, venue, streams_of
        rows = table.records()
        self.rows = {
            bytes(rows[i]["native"]).decode(): i for i in range(table.rows) if rows[i]["native"]
        }
        """Native symbol -> row."""

    def update(self, instruments: Sequence[InstrumentFields]) -> None:
        """Write the rows that are new or have changed.

        Raises
        ------
        ConfigError
            If the table has no room.

        """
        for instrument in instruments:
            native = instrument["native"]
            row = self.rows.get(native, len(self.rows))
            if row >= self._table.rows:
                raise ConfigError(
                    f"{self._venue}: more than {self._table.rows} instruments - raise "
                    "instruments_max, and remove the old segment with `trade-infra rings rm`"
                )
            record = instrument_record(instrument, row, self._venue)
            record["cadence_ds"] = cadences_ds(self._streams_of(native))
            old, compared = self._table.records()[row], ("instrument", "venue", *instrument)
            changed = any(old[name] != record[0][name] for name in compared)
            if changed or (old["cadence_ds"] != record[0]["cadence_ds"]).any():
                self._table.write(row, record)
            self.rows[native] = row

    def delist(self, native: str) -> None:
        """Say that an instrument is no longer traded; its row stays its own."""
        row = self.rows[native]
        record = self._table.records()[row : row + 1].copy()
        record["status"], record["updated_ns"] = Status.DELISTED, time.time_ns()
        self._table.write(row, record)


class Feed:
    """The feed of one venue: an ``engine.agent.AsyncAgent``."""

    def __init__(self, context: AgentContext) -> None:
        self._context, self._settings = context, settings(FeedSettings, context)
        for problem in self._settings.problems():
            raise ConfigError(f"{context.where}.{problem}")
        self.adapter = find_venue(self._settings.venue)
        override = context.config.endpoints.get(self._settings.venue)
        self.endpoints = endpoints_of(
            self.adapter,
            context.config.environment,
            override.rest if override else None,
            override.websocket if override else None,
        )
        self._log = context.log
        venue = self.adapter.name()
        counters = context.counters
        self._values = counters.values
        self._index = {name: counters.counter(f"{venue}.{name}") for name in COUNTED}
        self._frames = counters.counter(f"{venue}.frames", "frames")
        self._bytes = counters.counter(f"{venue}.bytes", "bytes")
        self._lines = counters.gauge(f"{venue}.lines", "lines")
        self._live = counters.gauge(f"{venue}.lines_live", "lines")
        self._weight = counters.gauge(f"{venue}.rest_weight", "weight")
        self._offset = counters.gauge(f"{venue}.clock_offset", "ns")
        self._ping = counters.cells[counters.histogram(f"{venue}.ping", "ns")]
        self._last = (0, 0, 0)
        self._doubts = asyncio.Event()

    @property
    def name(self) -> str:
        """Return the agent's name."""
        return self._context.name

    def count(self, name: str) -> None:
        """Count an event of ``COUNTED``."""
        self._values[self._index[name]] += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until ``stop``.

        Raises
        ------
        ConfigError
            If a configured symbol does not exist.

        """
        chosen, venue = self._settings, self.adapter.name()
        instance = self._context.instance
        with contextlib.ExitStack() as stack:
            writer = FrameWriter.open(
                instance, f"md.raw.{venue}", chosen.ring_frames, chosen.ring_bytes
            )
            stack.callback(writer.close)
            table = TableWriter.open(
                instance, f"feed.{venue}.instruments", INSTRUMENT, chosen.instruments_max
            )
            stack.callback(table.close)
            beat = asyncio.create_task(self._beat(writer, table))
            try:
                await self._run(stop, writer, table)
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)

    async def _run(self, stop: asyncio.Event, writer: FrameWriter, table: TableWriter) -> None:
        client = RestClient(self.adapter, self.endpoints.rest, self._log, self.count)
        async with client as rest:
            instruments = InstrumentTable(table, self.adapter.name(), self._streams_of)
            stopped = asyncio.create_task(stop.wait())
            work = asyncio.create_task(self._work(rest, writer, instruments))
            try:
                await asyncio.wait({stopped, work}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                work.cancel()
                stopped.cancel()
                await asyncio.gather(work, stopped, return_exceptions=True)

    async def _work(
        self, rest: RestClient, writer: FrameWriter, instruments: InstrumentTable
    ) -> None:
        chosen, venue = self._settings, self.adapter.name()
        selected = await self._select(rest, instruments)
        rows = {each["native"]: instruments.rows[each["native"]] for each in selected}
        snapshots = Snapshots(self.adapter, rest, writer, self.count, self._log)
        natives = snapshots.natives
        natives.update((row, native) for native, row in rows.items())
        limits = self.adapter.exchange.limits
        shared = Shared(
            adapter=self.adapter,
            endpoints=self.endpoints,
            writer=writer,
            options=chosen.session_options(),
            budget=ConnectBudget(limits.connections_per_5_minutes, limits.connections_per_second),
            count=self.count,
            log=self._log,
            record_ping=partial(record_one, self._ping),
        )
        sessions = Sessions(self._plans(rows), shared, chosen.lines)
        extra = {"venue": venue, "instruments": len(rows), "lines": len(sessions.lines)}
        self._log.info("feeding", extra=extra)
        resyncs = Resyncs(
            self.adapter, snapshots, sessions, self.count, self._log, self._doubts.set
        )
        jobs = [
            sessions.run(),
            self._requests(resyncs),
            self._refresh(rest, instruments, sessions, natives),
            self._measure_time(rest),
            self._housekeeping(sessions, rest),
            *(snapshots.run() for _ in range(chosen.snapshots_at_once)),
            Polls(
                self.adapter,
                rest,
                writer,
                natives,
                chosen.channels,
                self.count,
                self._log,
                chosen.poll_s,
            ).run(),
        ]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tally(sessions, rest)

    async def _beat(self, writer: FrameWriter, table: TableWriter) -> None:
        while True:
            writer.segment.heartbeat()
            table.heartbeat()
            await asyncio.sleep(HOUSEKEEPING_S)

    async def _everything(self, rest: RestClient) -> list[InstrumentFields]:
        """Return all instruments of the venue, however many requests that takes."""
        venue, adapter = self.adapter.name(), self.adapter
        found: list[InstrumentFields] = []
        for first in adapter.instruments_requests():
            request: RestRequest | None = first
            for _ in range(PAGES_MAX):
                if request is None:
                    break
                body = await rest.get(request)
                try:
                    found += adapter.parse_instruments(body)
                    request = adapter.next_page(request, body)
                except ValueError as error:
                    raise RestFailed(f"{venue}: {error}") from None
            else:
                raise RestFailed(f"{venue}: {first.path}: no end after {PAGES_MAX} pages")
        if not found:  # No venue lists nothing: it is not believed.
            raise RestFailed(f"{venue}: an answer without instruments")
        return found

    def _chosen(self, everything: list[InstrumentFields]) -> list[InstrumentFields]:
        venue = self.adapter.name()
        return choose_instruments(everything, self._settings.symbols, Status.TRADING, venue)

    async def _select(
        self, rest: RestClient, instruments: InstrumentTable
    ) -> list[InstrumentFields]:
        """Fetch the instruments, however long the venue takes to be there, and write the table."""
        delay = self._settings.backoff_s
        while True:
            try:
                everything = await self._everything(rest)
            except RestFailed as error:
                self._log.warning(f"no instruments yet: {error}")
                await asyncio.sleep(delay)
                delay = min(2 * delay, self._settings.backoff_max_s)
                continue
            chosen = self._chosen(everything)
            instruments.update(chosen)
            return chosen

    async def _refresh(
        self,
        rest: RestClient,
        instruments: InstrumentTable,
        sessions: Sessions,
        natives: dict[int, str],
    ) -> None:
        """Bring the table, and what is subscribed to, up to date from time to time.

        Early if a book cannot be made right: its instrument may have other decimals now.
        """
        while True:
            await asyncio.sleep(min(EARLY_S, self._settings.refresh_s))
            await wait(self._doubts, max(0.0, self._settings.refresh_s - EARLY_S))
            self._doubts.clear()
            try:
                everything = await self._everything(rest)
                self._follow(everything, instruments, sessions, natives)
            except (RestFailed, ConfigError) as error:
                self._log.warning(f"instruments not refreshed: {error}")

    def _follow(
        self,
        everything: list[InstrumentFields],
        instruments: InstrumentTable,
        sessions: Sessions,
        natives: dict[int, str],
    ) -> None:
        """Take note of what the venue lists now; ``natives`` is what is fed, and updated."""
        listed = {i["native"]: i for i in everything if i["status"] != Status.DELISTED}
        for row, native in [*natives.items()]:
            if native not in listed:
                self._log.warning("delisted", extra={"native": native})
                self.count("delisted")
                instruments.delist(native)
                sessions.drop(native)
                del natives[row]
        instruments.update([listed[native] for native in natives.values()])
        # A stream of several instruments may have gone with the one that it was planned for.
        sessions.add(self._plans({name: row for row, name in natives.items()}, sessions.names))
        names = {"*", *listed, *(i["symbol"] for i in listed.values())}
        wanted = tuple(name for name in self._settings.symbols if name in names)
        if not wanted:
            return
        venue, fed = self.adapter.name(), set(natives.values())
        chosen = choose_instruments([*listed.values()], wanted, Status.TRADING, venue)
        new = [each for each in chosen if each["native"] not in fed]
        if not new:
            return
        instruments.update(new)
        rows = {each["native"]: instruments.rows[each["native"]] for each in new}
        natives.update((row, native) for native, row in rows.items())
        sessions.add(self._plans(rows, sessions.names))
        for native in rows:
            self._log.info("listed", extra={"native": native})
            self.count("listed")

    def _streams_of(self, native: str) -> list[Stream]:
        return self.adapter.streams_for(native, self._settings.channels, self._settings.book)

    def _plans(self, rows: Mapping[str, int], carried: Collection[str] = ()) -> list[Plan]:
        """Return the lines for some instruments (native symbol -> row)."""
        chosen, at = self._settings, self.endpoints
        return plan_lines(self.adapter, rows, chosen.channels, at, chosen.book, carried)

    async def _measure_time(self, rest: RestClient) -> None:
        while True:
            try:
                self._values[self._offset] = await rest.time_offset_ns()
            except (RestFailed, ValueError) as error:
                self._log.info(f"venue's time not measured: {error}")
            await asyncio.sleep(TIME_S)

    async def _housekeeping(self, sessions: Sessions, rest: RestClient) -> None:
        while True:
            self._tally(sessions, rest)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _tally(self, sessions: Sessions, rest: RestClient) -> None:
        """Bring the counters up to what has happened since the last time."""
        now = sessions.totals()
        changes = [new - old for new, old in zip(now, self._last, strict=True)]
        self._last = now
        places = (self._frames, self._bytes, self._index["refused_frames"])
        for place, change in zip(places, changes, strict=True):
            self._values[place] += change
        self._values[self._lines] = len(sessions.lines)
        self._values[self._live] = sessions.live
        self._values[self._weight] = rest.budget.used

    async def _requests(self, resyncs: Resyncs) -> None:
        """Pass the worker's requests on, whenever there is a worker."""
        name = f"feed.{self.adapter.name()}"
        while True:
            try:
                reader = FlowReader.attach(self._context.instance, RESYNC_RING, name, RESYNC)
            except SegmentError:  # Not there yet, or its writer does not know us (yet).
                await asyncio.sleep(ATTACH_S)
                continue
            try:
                await self._poll(reader, resyncs)
            except ReaderLost as error:
                self._log.warning(str(error))
            finally:
                reader.close()

    async def _poll(self, reader: FlowReader, resyncs: Resyncs) -> None:
        """Return when the ring has been removed: there may be another of its name.

        Polled, not woken: the bell of this ring is rung by every record of market data.
        """
        venue = self.adapter.name().encode()
        loop = asyncio.get_running_loop()
        look_s = loop.time() + ATTACH_S
        while True:
            for record in reader.poll():
                if record["venue"] == venue:
                    resyncs.handle(record)
            reader.advance()
            if loop.time() >= look_s:  # A system call.
                if reader.segment.removed:
                    return
                look_s = loop.time() + ATTACH_S
            await asyncio.sleep(RESYNC_POLL_S)


@takes(FeedSettings)
def make(context: AgentContext) -> Feed:
    """Return the agent of kind ``feed``: entry point ``trade_infra.agents``."""
    return Feed(context)
