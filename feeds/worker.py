"""The market-data worker: kind ``market-data``, a duty-cycle agent around ``feeds.drain``.

It reads ``md.raw.<venue>`` and ``feed.<venue>.instruments`` of each configured venue, and is the
only writer of

=================== =============================================================================
``md.trades``       ring of TRADE
``md.book``         ring of BOOK_DELTA, levels of books that are live
``md.top``          ring of BOOK_TOP, from the books and from the venues' own tickers
``md.funding``      ring of FUNDING
``md.liquidations`` ring of LIQUIDATION
``md.stats``        ring of STATS
``md.instruments``  table of INSTRUMENT, row = instrument number
``md.books``        table of BOOK_IMAGE, row = instrument number
``md.rejects``      table of REJECT, the last refused frames by reason
``md.resync``       flow-controlled ring of RESYNC, to the feeds: please see to a subscription
=================== =============================================================================

A feed that is not there yet is waited for while the others are served. New instruments are taken
up as their feed announces them. After a crash the next worker takes over the segments, keeps the
instruments' numbers, and resynchronises every book in a new epoch.
"""

import contextlib
import time
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.counters import CountersWriter
from engine.doorbell import Doorbell
from engine.errors import ConfigError, SegmentNotFound, SegmentNotReady
from engine.flow import FlowWriter
from engine.frames import FrameReader
from engine.records import PADDING
from engine.ring import RingWriter, check_capacity
from engine.segment import HEARTBEAT_NS
from engine.table import TableReader, TableWriter
from feeds import direct
from feeds.adapter import CHANNELS, Channel, ExchangeAdapter, find_venue
from feeds.book import OVERFLOW, WINDOW, new_books, start_book
from feeds.drain import (
    COUNTERS,
    FRAME_CLOCK,
    GRACE,
    IDS,
    NEXT,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    RUN_CELLS,
    SCRATCH_LEVELS,
    SEEN_AT,
    VENUE,
    Feed,
    Out,
    State,
    drain,
    end_instrument,
    forget_facts,
    give_up_hole,
    mark_stale,
    silence,
    start_instrument,
)
from feeds.instruments import Directory, FeedInstruments, InstrumentsFull, symbols_of
from feeds.message import ITEM, ITEMS_MAX, LEVELS_MAX, REJECTS, SCAN, Reject
from feeds.sync import (
    ALIVE_CELLS,
    ATTEMPTS,
    EPOCH,
    GRACE_NS,
    HOLDING_NS,
    LIVE,
    PENDING_CELLS,
    PENDING_LEVELS,
    PENDING_MESSAGES,
    STATE,
    SYNCING,
    WANTED,
    due_requests,
    new_pending,
    new_sync,
    requested,
)
from feeds.types import (
    BOOK_IMAGE,
    INSTRUMENT,
    REJECT,
    REJECTS_KEPT,
    RESYNC,
    RINGS,
    BookState,
    Status,
)

RESYNC_RECORDS = 4096
RESYNC_EVICT_S = 30.0
"""A feed that is dead for so long no longer holds back requests to the others."""
HUNG_NS = 3 * 10**9
"""A feed beats ten times a second; one that has not for so long is as good as dead."""
BOOKS_MIN = 16
"""Books are allocated for so many instruments at first, then for twice as many, and so on."""
INSTRUMENTS_MAX = 2048
RENEW_NS = 5 * 10**9
"""A subscription that stays silent is asked for again after this, doubling."""
RENEW_DOUBLINGS = 6
YOUNG_FRAMES = 4096
"""A raw ring with no more frames than this has just begun."""
ONCE_CHANNELS = (CHANNELS.index(Channel.FUNDING), CHANNELS.index(Channel.STATS))
BOOK_CHANNEL, TOP_CHANNEL = CHANNELS.index(Channel.BOOK), CHANNELS.index(Channel.TOP)


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a market-data worker (its table in the configuration)."""

    venues: tuple[str, ...]
    clock: Literal["real", "frame"] = "real"
    """What ``published_ns`` is: the present time, or (replays) the frame's time of arrival."""
    ring_records: int = 65_536
    instruments_max: int = INSTRUMENTS_MAX
    window: int = WINDOW
    """Ticks a side in a book's fast part; a power of two."""
    overflow: int = OVERFLOW
    """Levels a side outside of it."""
    pending_messages: int = PENDING_MESSAGES
    pending_levels: int = PENDING_LEVELS
    """Updates that a book keeps while it waits for a snapshot."""
    frames_per_cycle: int = 256
    grace_ms: float = GRACE_NS / 1e6
    """How long a hole in a book's updates waits for another connection to fill it."""
    silence_factor: float = 3.0
    """A subscription is stale after so many times the silence that its venue calls normal; 0: never
    (replays do not watch)."""


class Outputs:
    """The segments that the worker writes; made, or taken over from a dead predecessor."""

    def __init__(self, instance: str, chosen: WorkerSettings, counters: CountersWriter) -> None:
        records = chosen.ring_records
        with contextlib.ExitStack() as stack:

            def ring(name: str, layout: Any) -> RingWriter:  # noqa: ANN401 - a Layout
                opened = RingWriter.open(instance, name, layout, records)
                stack.callback(opened.close)
                return opened

            def table(name: str, layout: Any, rows: int) -> TableWriter:  # noqa: ANN401
                opened = TableWriter.open(instance, name, layout, rows)
                stack.callback(opened.close)
                return opened

            self.rings = [ring(name, layout) for name, layout in RINGS.items()]
            self.instruments = table("md.instruments", INSTRUMENT, chosen.instruments_max)
            self.images = table("md.books", BOOK_IMAGE, chosen.instruments_max)
            self.rejects = table("md.rejects", REJECT, REJECTS * REJECTS_KEPT)
            names = tuple(f"feed.{venue}" for venue in chosen.venues)
            self.resync = FlowWriter.open(
                instance, "md.resync", RESYNC, RESYNC_RECORDS, names, RESYNC_EVICT_S
            )
            stack.callback(self.resync.close)
            self._stack = stack.pop_all()
        self._mark_unused()
        self.out = self._arrays(counters)

    def _mark_unused(self) -> None:
        """Give the rows of ``md.books`` that stand for no instrument the number -1."""
        unused = np.zeros(1, BOOK_IMAGE.dtype)
        unused["instrument"] = -1
        named = self.instruments.records()["native"] != b""
        images = self.images.records()
        for row in np.flatnonzero(~named & (images["instrument"] != -1)).tolist():
            self.images.write(row, unused)

    def _arrays(self, counters: CountersWriter) -> Out:
        index = [counters.counter(name, unit) for name, unit in COUNTERS]
        index.append(counters.counter("rejects.unknown", "frames"))
        index += [counters.counter(f"rejects.{r.name.lower()}", "frames") for r in Reject]
        newest = np.array([ring.newest for ring in self.rings], np.int64)
        trades, book, top, funding, liquidations, stats = (ring.words for ring in self.rings)
        return Out(
            trades,
            book,
            top,
            funding,
            liquidations,
            stats,
            self.images.words,
            self.rejects.words,
            self.rejects.words.view(np.uint8),
            newest,
            newest.copy(),
            counters.values,
            np.array(index, np.int64),
            counters.cells[counters.histogram("socket_to_raw")],
            counters.cells[counters.histogram("raw_to_record")],
            counters.cells[counters.histogram("line_margin")],
        )

    def finish(self) -> None:
        """Move the rings' cursors to what kernels have published; wake parked readers."""
        for ring, newest in zip(self.rings, self.out.newest.tolist(), strict=True):
            if newest != ring.newest:
                ring.finish(newest)

    def heartbeat(self) -> None:
        """Say in each segment that its writer is well."""
        for ring in (*self.rings, self.resync):
            ring.heartbeat()
        for table in (self.instruments, self.images, self.rejects):
            table.heartbeat()

    def close(self) -> None:
        """Let go of the segments; they stay."""
        del self.out  # Its views would keep the memory mapped.
        self._stack.close()


class Source:
    """One venue: its raw ring, its instruments, its scanner and rule."""

    def __init__(self, adapter: ExchangeAdapter, reader: FrameReader, table: TableReader) -> None:
        self.venue = adapter.name()
        self.scan = direct.argument(adapter.scan, SCAN)
        self.reader = reader
        self.alive = True
        self.in_stream = adapter.rules.snapshots == "stream"
        self.late = self.in_stream and reader.position > 1
        """Whether the venue's streams had begun before we listened."""
        self.instruments = FeedInstruments(table)
        area = reader.segment.area
        run = np.zeros(RUN_CELLS, np.int64)
        run[NEXT] = reader.position
        run[VENUE : VENUE + 3] = np.frombuffer(self.venue.encode().ljust(24, b"\0")[:24], np.int64)
        self._words, self._mask = reader.words, reader.capacity - 1
        self.feed = Feed(
            reader.cells,
            reader.words,
            area,
            np.zeros(len(area) // 4 + PADDING, np.uint8),
            symbols_of([])[0],
            np.zeros(ITEMS_MAX, ITEM),
            np.zeros((LEVELS_MAX, 2), np.int64),
            adapter.sync_rule.cells(),
            np.full(table.rows, -1, np.int64),
            run,
            np.zeros(ALIVE_CELLS, np.int64),
        )

    def take_symbols(self) -> list[str]:
        """Bring the symbol map up to the feed's table; return what had to be left out, and why."""
        symbols, problems = symbols_of(self.instruments.rows.items())
        self.feed = self.feed._replace(symbols=symbols)
        return problems

    def writes(self, beats: bool) -> bool:
        """Return whether the feed lives and, if it ``beats``, was well a moment ago."""
        segment = self.reader.segment
        age_ns = time.time_ns() - int(segment.cells[HEARTBEAT_NS])
        return segment.writer_alive and (not beats or age_ns < HUNG_NS)

    @property
    def removed(self) -> bool:
        """Whether somebody has removed the feed's segments: what is written now is elsewhere."""
        return self.reader.segment.removed

    @property
    def idle(self) -> bool:
        """Whether the next frame is not there yet: the usual case, without entering a kernel."""
        position = int(self.feed.run[NEXT])
        found = int(self._words[(position & self._mask) * self.reader.stride])
        return -position <= found < position

    def close(self) -> None:
        """Let go of the segments."""
        nothing = np.zeros(0, np.int64)
        self._words = nothing
        self.feed = self.feed._replace(cells=nothing, words=nothing, area=np.zeros(0, np.uint8))
        self.reader.close()
        self.instruments.close()


def new_state(count: int, chosen: WorkerSettings) -> State:
    """Return the books of ``count`` instruments, all empty."""
    pending, held = new_pending(count, chosen.pending_messages, chosen.pending_levels)
    return State(
        new_books(count, chosen.window, chosen.overflow),
        new_sync(count),
        pending,
        held,
        np.zeros((count, IDS), np.int64),
        np.zeros((SCRATCH_LEVELS, 2), np.int64),
        np.zeros((SCRATCH_LEVELS, 2), np.int64),
        np.zeros(PENDING_CELLS, np.int64),
        np.zeros(PENDING_CELLS, np.int64),
    )


class Worker:
    """``engine.agent.Agent``; see the module."""

    def __init__(self, context: AgentContext) -> None:
        chosen = settings(WorkerSettings, context)
        if not chosen.venues or len(set(chosen.venues)) < len(chosen.venues):
            raise ConfigError(f"{context.where}.venues: found {chosen.venues}: name each once")
        check_capacity(chosen.ring_records)
        self.name = context.name
        self.adapters = {venue: find_venue(venue) for venue in chosen.venues}
        self.bell: Doorbell | None = None
        self.sources: dict[str, Source] = {}
        self._context, self._settings, self._log = context, chosen, context.log
        self._owners: dict[int, tuple[str, int]] = {}
        self._grids: dict[int, tuple[int, ...]] = {}
        self._state = new_state(BOOKS_MIN, chosen)
        counters = context.counters
        self._values = counters.values
        self._live = counters.gauge("books_live", "books")
        self._books = counters.gauge("books", "books")
        self._lag = {v: counters.gauge(f"lag.{v}", "frames") for v in chosen.venues}
        self._resyncs = counters.counter("resyncs", "requests")
        self._renewals = counters.counter("renewals", "requests")
        self._silences = counters.counter("silences", "subscriptions")
        self._tick_changes = counters.counter("tick_changes", "instruments")
        self._delisted = counters.counter("delisted", "instruments")
        self._cadences_ns = np.zeros((chosen.instruments_max, len(CHANNELS)), np.int64)
        self._renewed: dict[tuple[int, int], tuple[int, int]] = {}
        self._buffered = counters.counter("buffered", "items")
        self._seen = -1
        self._drain = direct.entry(drain)

    @property
    def state(self) -> State:
        """The books, for tests and tools of the same process."""
        return self._state

    def start(self) -> None:
        """Make or take over the segments; attach to the feeds that are there."""
        context = self._context
        self.outputs = Outputs(context.instance, self._settings, context.counters)
        self._directory = Directory(self.outputs.instruments)
        self.bell = Doorbell.open(context.instance, f"md.raw.{self._settings.venues[0]}")
        self._attach()
        self._disown()
        self.heartbeat()

    def do_work(self) -> int:
        """Take a bounded number of frames from each feed; return how many."""
        taken = 0
        for source in self.sources.values():
            if not source.idle:
                if not source.instruments.rows:  # The first frames must not be of strangers.
                    self._take_instruments(source)
                limit = self._settings.frames_per_cycle
                taken += self._drain(source.feed, self._state, self.outputs.out, source.scan, limit)
        if taken:
            self.outputs.finish()
            if self._values[self._buffered] != self._seen:  # Else no request has become due.
                self._seen = int(self._values[self._buffered])
                self._request()
        return taken

    def heartbeat(self) -> None:
        """Beat; look for new feeds and instruments; ask again for snapshots that did not come."""
        if len(self.sources) < len(self.adapters):
            self._attach()
        for source in [*self.sources.values()]:
            if source.removed:
                self._let_go(source)
                continue
            self._take_instruments(source)
            self._watch(source)
            self._values[self._lag[source.venue]] = max(
                0, source.reader.newest + 1 - int(source.feed.run[NEXT])
            )
        if self._settings.clock == "real":
            self._watch_subscriptions()
        self._request()
        states = self._state.sync[: len(self._directory), STATE]
        self._values[self._live] = int(np.count_nonzero(states == LIVE))
        self._values[self._books] = len(self._owners)
        self.outputs.heartbeat()

    def close(self) -> None:
        """Let go of everything; the segments stay, for readers and for a successor."""
        for source in self.sources.values():
            source.close()
        self.sources.clear()
        if hasattr(self, "outputs"):
            self.outputs.close()
        if self.bell is not None:
            self.bell.close()

    def _attach(self) -> None:
        """Attach to the feeds that have appeared."""
        instance = self._context.instance
        for venue, adapter in self.adapters.items():
            if venue in self.sources:
                continue
            try:
                table = TableReader.attach(instance, f"feed.{venue}.instruments", INSTRUMENT)
            except (SegmentNotFound, SegmentNotReady):
                continue
            try:
                reader = self._attach_frames(f"md.raw.{venue}")
            except (SegmentNotFound, SegmentNotReady):
                table.close()
                continue
            source = Source(adapter, reader, table)
            source.feed.run[FRAME_CLOCK] = self._settings.clock == "frame"
            source.feed.run[GRACE] = int(self._settings.grace_ms * 1e6)
            self.sources[venue] = source
            drain(source.feed, self._state, self.outputs.out, source.scan, 0)  # Checks the types.
            self._take_instruments(source)
            self._log.info("attached", extra={"venue": venue, "at": reader.position})

    def _attach_frames(self, name: str) -> FrameReader:
        """Attach to a raw ring: at its beginning if it and we have just begun, else at its end.

        What a venue says once, at a subscription, is then not missed. A worker that follows another
        one starts at the end, because the other one may have published the rest.
        """
        reader = FrameReader.attach(self._context.instance, name)
        first = self.outputs.rings[0].segment.epoch == 1 and self._settings.clock == "real"
        if first and reader.newest <= YOUNG_FRAMES:
            reader.close()
            reader = FrameReader.attach(self._context.instance, name, start="oldest")
        return reader

    def _take_instruments(self, source: Source) -> None:
        """Give a feed's new instruments numbers and begin their books."""
        changed = source.instruments.changes()
        if not changed:
            return
        for problem in source.take_symbols():
            self._log.warning(f"{source.venue}: {problem}")
        for row in changed:
            record = source.instruments.rows[row]
            try:
                number = self._directory.add(record)
            except InstrumentsFull as error:
                self._log.error(str(error))
                continue
            self._grow(number + 1)
            self._take_instrument(source, row, number, record)
        self.outputs.finish()
        self._log.info("instruments", extra={"venue": source.venue, "count": len(changed)})

    def _take_instrument(self, source: Source, row: int, number: int, record: np.void) -> None:
        """Begin, go on with, or end the book of an instrument whose row has changed."""
        self._cadences_ns[number] = record["cadence_ds"].astype(np.int64) * 100_000_000
        if record["status"] == Status.DELISTED:
            if self._grids.pop(number, None) is not None:
                self._values[self._delisted] += 1
                end_instrument(number, self._now(), self._state, self.outputs.out)
            return
        grid = tuple(int(record[f]) for f in ("tick", "price_decimals", "quantity_decimals"))
        if source.feed.numbers[row] == number and self._grids.get(number) == grid:
            return
        late = source.late
        # With another tick or other decimals every mantissa that is held means another price.
        if number in self._grids and self._grids[number] != grid:
            self._values[self._tick_changes] += 1
            forget_facts(number, self._state)
            late = source.in_stream
        source.feed.numbers[row] = number
        self._owners[number] = (source.venue, row)
        self._grids[number] = grid
        self._state.sync[number, PRICE_DECIMALS] = grid[1]
        self._state.sync[number, QUANTITY_DECIMALS] = grid[2]
        self._begin(number, max(1, grid[0]))
        if late:
            # What the streams said at their beginning, and say again only when it changes.
            for channel in ONCE_CHANNELS:
                self._ask(number, channel, BookState.SYNCING, 0, time.time_ns())

    def _now(self) -> int:
        """Return the time for records that no frame causes; replays must not see the clock."""
        return time.time_ns() if self._settings.clock == "real" else 0

    def _let_go(self, source: Source) -> None:
        """Detach from a feed whose segments somebody has removed; what replaces them is awaited."""
        self._log.warning("the feed's segments were removed", extra={"venue": source.venue})
        self._mark(source)
        del self.sources[source.venue]
        source.close()

    def _watch_subscriptions(self) -> None:
        """Find what has fallen silent, and holes that nothing has come to fill."""
        sync, now, out = self._state.sync, time.time_ns(), self.outputs.out
        count = len(self._directory)
        since = sync[:count, HOLDING_NS]
        grace_ns = int(self._settings.grace_ms * 1e6)
        for number in np.flatnonzero((since != 0) & (now - since > grace_ns)).tolist():
            give_up_hole(number, now, self._state, out)
        if not self._settings.silence_factor:
            return
        cadences = self._cadences_ns[:count]
        seen = sync[:count, SEEN_AT : SEEN_AT + len(CHANNELS)]
        late = now - seen > cadences * self._settings.silence_factor
        for number, channel in np.argwhere((cadences != 0) & (seen != 0) & late).tolist():
            self._on_silence(number, channel, int(seen[number, channel]), now)
        self.outputs.finish()

    def _on_silence(self, number: int, channel: int, seen: int, now: int) -> None:
        """Mark what a silent subscription carried; ask for a new one, ever more seldom."""
        source = self.sources.get(self._owners[number][0])
        if source is None or not source.alive or self._grids.get(number) is None:
            return  # The feed itself is gone, or the instrument: others see to that.
        asked, attempt = self._renewed.get((number, channel), (0, 0))
        if asked < seen:
            attempt = 0  # It has delivered since.
            self._values[self._silences] += 1
        elif now - asked < RENEW_NS << min(attempt, RENEW_DOUBLINGS):
            return
        if channel in (BOOK_CHANNEL, TOP_CHANNEL):
            # Each time: what a snapshot has confirmed meanwhile is in doubt again.
            silence(number, int(channel == TOP_CHANNEL), now, self._state, self.outputs.out)
        self._renewed[number, channel] = (now, attempt + 1)
        self._ask(number, channel, BookState.STALE, attempt, now)

    def _ask(self, number: int, channel: int, reason: BookState, attempt: int, now: int) -> None:
        """Ask a feed to renew a subscription."""
        record = self._request_record(number, now)
        record["reason"], record["channel"], record["attempt"] = int(reason), channel, attempt
        if self.outputs.resync.try_publish(record):
            self._values[self._renewals] += 1

    def _disown(self) -> None:
        """Say of the books that no feed of ours carries any longer that they are not live."""
        records = self.outputs.instruments.records()
        for number in range(len(self._directory)):
            if number not in self._owners and records[number]["native"]:
                self._grow(number + 1)
                self._begin(number, int(records[number]["tick"]))
        self.outputs.finish()

    def _watch(self, source: Source) -> None:
        """Mark what a dead, or hung, feed has left behind: nobody else will.

        Its life is looked at before its ring: what it published last must not come after the mark
        and revive what the mark made stale. So a dead feed is only noted once its ring is empty.
        """
        alive = source.writes(self._settings.clock == "real")
        if alive or not source.idle:
            source.alive = source.alive or alive
            return
        if not source.alive:
            return
        source.alive = False
        self._log.warning("the feed is gone", extra={"venue": source.venue})
        self._mark(source)

    def _mark(self, source: Source) -> None:
        """Mark the books and tickers of a feed: nobody carries them, no connection is left."""
        source.feed.alive[:] = 0
        now = time.time_ns()
        for number, (venue, _) in self._owners.items():
            if venue == source.venue:
                mark_stale(number, now, self._state, self.outputs.out)
        self.outputs.finish()

    def _begin(self, number: int, tick: int) -> None:
        """Begin a book, in a new epoch: SYNCING, and a snapshot wanted."""
        state, out = self._state, self.outputs.out
        start_book(state.books, number, tick)
        epoch = int(self.outputs.images.records()[number]["epoch"])
        state.sync[number, EPOCH] = max(int(state.sync[number, EPOCH]), epoch)
        start_instrument(number, SYNCING, self._now(), state, out)

    def _grow(self, count: int) -> None:
        """Have books for at least ``count`` instruments."""
        old = self._state
        have = len(old.sync)
        if count <= have:
            return
        new = new_state(max(count, 2 * have), self._settings)
        new.books[: 2 * have] = old.books
        new.sync[:have] = old.sync
        new.pending[:have] = old.pending
        new.held[:have] = old.held
        new.ids[:have] = old.ids
        self._state = new

    def _request(self) -> None:
        """Ask the feeds for the snapshots that are due."""
        sync = self._state.sync
        now = time.time_ns()
        for number in due_requests(sync, now).tolist():
            if number not in self._owners:
                continue
            if self.outputs.resync.try_publish(self._request_record(number, now)):
                requested(sync, number, now)
                self._values[self._resyncs] += 1

    def _request_record(self, number: int, now: int) -> NDArray[Any]:
        venue, row = self._owners[number]
        record = np.zeros(1, RESYNC.dtype)
        record["requested_ns"], record["epoch"] = now, self._state.sync[number, EPOCH]
        record["instrument"], record["reason"] = row, self._state.sync[number, WANTED]
        record["channel"], record["attempt"] = BOOK_CHANNEL, self._state.sync[number, ATTEMPTS]
        record["venue"] = venue.encode()
        return record


@takes(WorkerSettings)
def make(context: AgentContext) -> Worker:
    """Return the agent of kind ``market-data``: entry point ``trade_infra.agents``."""
    return Worker(context)
