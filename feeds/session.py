"""WebSocket sessions: connections that carry a plan's subscriptions are kept alive and replaced.

A *line* is the one task that keeps one connection with a plan's subscriptions (``feeds.plan``). A
*bundle* is all lines of a plan: one, or several that carry the same independently of each other,
each with connections and a backoff of its own; the worker takes what comes first. What ends a
connection, and what follows:

========== =========================================== ===========================================
CLOSED     the server or the network ended it          reconnect with backoff
SILENT     no data for longer than its streams allow   the same; the old socket is torn down
HALF_OPEN  a ping went unanswered and nothing came     the same
ROTATE     it is about to reach the venue's age limit  make before break
NOTICE     the server announced its end                make before break
REPLACE    a stream stays silent, renewed or not       make before break
========== =========================================== ===========================================

*Make before break*: the new connection is subscribed, and each of its streams has delivered (or a
bounded time is over), before the old one is closed. Both deliver meanwhile, so nothing is missing
from the raw ring and some messages stand in it twice; a worker drops those by the venue's ids. The
lines of a bundle never do this, or connect, at the same moment.

While a bundle has no live connection, its instruments are marked: one STALE frame each, with the
channels concerned as payload. CONNECTED and DISCONNECTED frames carry the URL.
"""

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from engine.common import Endpoints
from engine.frames import FrameKind, FrameWriter
from engine.net import wait
from feeds.adapter import Channel, ExchangeAdapter
from feeds.limits import ConnectBudget, Outbox
from feeds.plan import Plan
from feeds.websocket import (
    DEFAULT_CLIENT,
    Client,
    ConnectFailed,
    Connection,
    Intake,
    connect,
)

Count = Callable[[str], None]
"""Called with the name of what happened, once for each time."""

EVENTS = (
    "connects",
    "connect_failures",
    "disconnects",
    "reconnects",
    "rotations",
    "replacements",
    "resubscribes",
    "subscribe_budget_spent",
    "silences",
    "half_open",
    "notices",
    "stale_marks",
    "refusals",
)
"""What sessions count."""

TICK_S = 0.25
"""How often a line looks at the clock; what happens to its connection wakes it at once."""

GATHER_S = 0.05
"""How long requests to renew subscriptions are gathered: one message serves many streams."""

UNDER_WAY_S = 2.0
"""A subscription that is younger, and has not delivered yet, is not renewed."""

PONG = b"pong"
"""Stands somewhere in every venue's answer to a text ping."""

MARKED = frozenset({Channel.TRADES, Channel.BOOK, Channel.TOP})
"""Channels whose loss is marked; a line of others alone marks nothing: no book depends on it."""


class End(Enum):
    """Why a connection is no longer to be used."""

    CLOSED = auto()
    SILENT = auto()
    HALF_OPEN = auto()
    ROTATE = auto()
    NOTICE = auto()
    REPLACE = auto()


_COUNTED = {End.SILENT: "silences", End.HALF_OPEN: "half_open", End.NOTICE: "notices"}


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How patient sessions are. Times in seconds."""

    client: Client = DEFAULT_CLIENT
    connect_timeout_s: float = 10.0
    backoff_s: float = 0.25
    """Before the first reconnect; doubles with each failure, each time with jitter."""
    backoff_max_s: float = 30.0
    """Also the least time between two replacements of a line's connection."""
    stable_s: float = 30.0
    """A connection that lasted this long, and delivered, resets the backoff."""
    silence_factor: float = 3.0
    """A connection is silent after this many times its streams' cadence; 0 turns this off."""
    rotate_after_s: float = 0.0
    """Age at which a connection is replaced; 0: by the venue's limit, half an hour before it."""
    overlap_s: float = 1.0
    """How long both connections of a rotation deliver at least."""
    handover_s: float = 15.0
    """How long a new connection may take until each stream has delivered, before the old goes."""
    stagger_s: float = 0.5
    """Least time between connection attempts of two lines that carry the same."""


@dataclass(slots=True, eq=False)
class Live:
    """One connection of a line, and what is known of it."""

    intake: Intake
    wanted: set[str]
    attention: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None
    outbox: Outbox | None = None
    url: str = ""
    opened_ns: int = 0
    opened_s: float = 0.0
    rotate_s: float = 0.0
    ping_ns: int = 0
    ping_open: bool = False
    asked: End | None = None
    """NOTICE or REPLACE, once it is to be replaced."""
    given_up: bool = False
    """Its socket may still be there: it is no longer counted on."""
    seen: set[str] = field(default_factory=set)
    refused: bool = False
    """Whether a subscription was refused."""
    subscribed_s: float = 0.0
    """When a subscribe message was sent last."""
    closing: "asyncio.Task[None] | None" = None

    @property
    def closed(self) -> bool:
        """Whether the socket is gone, or as good as gone."""
        return self.given_up or self.connection is None or self.connection.closed.is_set()

    @property
    def complete(self) -> bool:
        """Whether each stream has delivered."""
        return self.seen >= self.wanted

    def ask(self, end: End) -> None:
        """Have it replaced."""
        self.asked = end
        self.attention.set()


@dataclass(slots=True)
class Shared:
    """What the lines of a venue share."""

    adapter: ExchangeAdapter
    endpoints: Endpoints
    writer: FrameWriter
    options: SessionOptions
    budget: ConnectBudget
    count: Count
    log: logging.Logger
    record_ping: Callable[[int], None]
    jitter: random.Random = field(default_factory=random.Random)
    connections: int = 0
    request_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    totals: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Frames, bytes and refused frames of connections that are gone."""


class Bundle:
    """A plan and the lines that carry it."""

    def __init__(self, plan: Plan, shared: Shared, lines: int = 1) -> None:
        self._shared = shared
        self._set_plan(plan)
        self.lines = [Line(self, number, shared) for number in range(lines)]
        self.handing_over: Line | None = None
        """The one line that replaces its connection."""
        self._stale = False
        self._next_s = 0.0

    def _set_plan(self, plan: Plan) -> None:
        self.plan = plan
        self.silence_s = plan.cadence_s * self._shared.options.silence_factor
        self._names: dict[tuple[str, Channel], list[str]] = {}
        for stream in plan.streams:
            self._names.setdefault((stream.native, stream.channel), []).append(stream.name)

    @property
    def connected(self) -> bool:
        """Whether any line has a live connection."""
        return any(line.connected for line in self.lines)

    def names_of(self, native: str, channel: Channel) -> list[str]:
        """Return the streams that carry a channel of an instrument."""
        return self._names.get((native, channel), [])

    def mark_stale(self) -> None:
        """Put one STALE frame for each instrument into the raw ring, once per interruption.

        Does nothing while any line is connected.
        """
        if self._stale or self.connected:
            return
        self._stale = True
        self._mark(self.plan.channels, self.plan.rows)

    def mark_connected(self) -> None:
        """Take note that a line is connected: the next interruption is another one."""
        self._stale = False

    def _mark(self, channels: Sequence[Channel], rows: Sequence[int]) -> None:
        if MARKED.isdisjoint(channels):
            return
        payload = ",".join(channels).encode()
        for row in rows:
            self._shared.writer.publish(payload, time.time_ns(), FrameKind.STALE, 0, row)
            self._shared.count("stale_marks")

    async def wait_turn(self, line: "Line", old: Live | None) -> None:
        """Wait until some time has passed since another line tried to connect."""
        loop = asyncio.get_running_loop()
        while len(self.lines) > 1 and loop.time() < self._next_s:
            if old is not None and old.closed:
                break
            await line.pause(self._next_s - loop.time(), old)
        self._next_s = loop.time() + self._shared.options.stagger_s

    def drop(self, native: str) -> None:
        """End the subscriptions of an instrument, and mark what they carried."""
        dropped = [stream for stream in self.plan.streams if stream.native == native]
        if not dropped:
            return
        row = self.plan.rows[self.plan.natives.index(native)]
        self._set_plan(self.plan.without(native))
        self._mark(list(dict.fromkeys(stream.channel for stream in dropped)), [row])
        kept = set(self.plan.names)
        for line in self.lines:
            line.unsubscribe([stream.name for stream in dropped if stream.name not in kept])


class Line:
    """One line of a bundle: its connection, and the task that keeps it alive."""

    def __init__(self, bundle: Bundle, number: int, shared: Shared) -> None:
        self.bundle, self.number, self._shared = bundle, number, shared
        self.current: Live | None = None
        self._open: set[Live] = set()
        self._failures = 0
        self._rotated = False
        self._replaceable_s = 0.0
        self._wanted: dict[str, None] = {}  # Streams to renew, in the order they were asked for.
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep the line connected until cancelled."""
        try:
            while True:
                if self.current is None:
                    self.current = await self._connect_until(None)
                    continue
                end = await self._guard(self.current)
                await self._react(self.current, end)
        finally:
            for task in self._sending:
                task.cancel()
            for live in self._open:
                live.given_up = True
            self.bundle.mark_stale()
            await asyncio.gather(
                *(self._retire(live) for live in [*self._open]),
                *self._sending,
                return_exceptions=True,
            )

    @property
    def connected(self) -> bool:
        """Whether there is a live connection."""
        return any(not live.closed for live in self._open)

    def totals(self) -> tuple[int, int, int]:
        """Return frames, bytes and refused frames of the open connections."""
        intakes = [live.intake for live in self._open]
        return (
            sum(i.frames for i in intakes),
            sum(i.bytes for i in intakes),
            sum(i.refused for i in intakes),
        )

    def renew(self, names: Sequence[str]) -> None:
        """Subscribe anew to some streams, soon; without a connection the next one does it."""
        live, loop = self.current, asyncio.get_running_loop()
        if live is None or live.closed:
            return
        if loop.time() - live.subscribed_s < UNDER_WAY_S:
            names = [name for name in names if name in live.seen]
        if names and not self._wanted:
            self._spawn(self._renew_gathered())
        self._wanted.update(dict.fromkeys(names))

    def replace(self) -> None:
        """Have the connection replaced, unless that was done a moment ago."""
        live, now = self.current, asyncio.get_running_loop().time()
        if live is None or live.closed or live.asked is not None or now < self._replaceable_s:
            return
        self._replaceable_s = now + self._shared.options.backoff_max_s
        live.ask(End.REPLACE)

    def unsubscribe(self, names: Sequence[str]) -> None:
        """End subscriptions of the open connections."""
        for live in self._open:
            live.wanted.difference_update(names)
            if names and live.outbox is not None and not live.closed:
                self._spawn(live.outbox.send(self._messages(names, end=True)))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _renew_gathered(self) -> None:
        await asyncio.sleep(GATHER_S)
        live, loop = self.current, asyncio.get_running_loop()
        names, self._wanted = [*self._wanted], {}
        if live is None or live.closed or live.outbox is None:
            return
        names = [name for name in names if name in live.wanted]
        messages = [*self._messages(names, end=True), *self._messages(names)]
        if len(messages) > live.outbox.left:
            self._shared.count("subscribe_budget_spent")
            self.replace()
            return
        live.seen.difference_update(names)
        live.subscribed_s = loop.time()
        self._watch(live)
        for _ in names:
            self._shared.count("resubscribes")
        await live.outbox.send(messages)

    async def _subscribe_singly(self, live: Live) -> None:
        """Subscribe once more to what has not delivered: a refusal concerns a whole message."""
        await asyncio.sleep(UNDER_WAY_S)
        names = sorted(live.wanted - live.seen)
        if live.closed or live.outbox is None or 2 * len(names) > live.outbox.left:
            return
        live.subscribed_s = asyncio.get_running_loop().time()
        await live.outbox.send(self._messages(names, size=1))

    def _messages(self, names: Sequence[str], *, end: bool = False, size: int = 0) -> list[bytes]:
        """Return the messages that subscribe, or unsubscribe, streams; ``size`` to a message."""
        adapter = self._shared.adapter
        build = adapter.unsubscribe if end else adapter.subscribe
        size = size or max(1, adapter.rules.streams_per_message)
        parts = [names[start : start + size] for start in range(0, len(names), size)]
        return [build(part, next(self._shared.request_ids)) for part in parts]

    def _publish(self, kind: FrameKind, live: Live) -> None:
        payload, intake = live.url.encode(), live.intake
        self._shared.writer.publish(
            payload, time.time_ns(), kind, intake.connection, -1, self.number
        )

    async def _react(self, live: Live, end: End) -> None:
        """Replace ``live`` in the way that ``end`` asks for."""
        shared = self._shared
        extra = {"route": self.bundle.plan.route, "line": self.number, "why": end.name.lower()}
        if end in _COUNTED:
            shared.count(_COUNTED[end])
        if end in (End.ROTATE, End.NOTICE, End.REPLACE):
            shared.log.info("replacing a connection", extra=extra)
            self.bundle.handing_over = self
            watch = asyncio.create_task(self._keep_watch(live))
            try:
                replacement = await self._make_before_break(live, end)
            finally:
                self.bundle.handing_over = None
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            if replacement is not None:
                self.current = replacement
                shared.count("replacements" if end is End.REPLACE else "rotations")
                await self._retire(live)
                return
            if not live.closed:
                return  # It goes on; _make_before_break has set the time of the next try.
            end = End.CLOSED
        reason = live.connection.reason if live.connection else ""
        shared.log.warning("connection lost", extra=extra | {"reason": reason})
        self.current = None
        live.given_up = True
        self.bundle.mark_stale()
        if end is not End.CLOSED and live.connection is not None:
            live.connection.abort()
        await self._retire(live)
        shared.count("reconnects")

    async def _keep_watch(self, old: Live) -> None:
        """Give a connection up that dies in silence while its replacement is not there yet."""
        while not old.closed:
            await asyncio.sleep(TICK_S)
            if (end := self._health(old)) is not None:
                self._shared.count(_COUNTED[end])
                old.given_up = True
                self.bundle.mark_stale()
                assert old.connection is not None
                old.connection.abort()

    async def _make_before_break(self, old: Live, end: End) -> Live | None:
        """Return a connection that delivers in the place of ``old``, or None if there is none."""
        options = self._shared.options
        old.asked = None
        loop = asyncio.get_running_loop()
        if end is not End.REPLACE:
            old.rotate_s = loop.time() + options.backoff_max_s
        new = await self._connect_until(old)
        if new is None:
            return None
        earliest, latest = loop.time() + options.overlap_s, loop.time() + options.handover_s
        while not new.closed and loop.time() < latest:
            if new.complete and loop.time() >= earliest:
                break
            await asyncio.sleep(0.02)
        # Streams that promise nothing may all be silent by right.
        silent = bool(self.bundle.silence_s) and new.intake.last_ns == 0 and not old.closed
        if new.closed or silent:
            await self._retire(new)
            return None
        if not new.complete:
            missing = sorted(new.wanted - new.seen)
            extra = {"missing": len(missing), "first": missing[0]}
            self._shared.log.info("streams were silent during a rotation", extra=extra)
        return new

    async def _connect_until(self, old: Live | None) -> Live | None:
        """Return an open, subscribed connection; tries for as long as ``old`` (if any) lives."""
        options = self._shared.options
        while old is None or not old.closed:
            if self._failures:
                delay = min(options.backoff_max_s, options.backoff_s * 2.0 ** (self._failures - 1))
                await self.pause(delay * self._shared.jitter.uniform(0.5, 1.5), old)
            await self.bundle.wait_turn(self, old)
            await self._shared.budget.take()
            # Until it is proven stable: a server that accepts and drops must not be hammered.
            self._failures = min(self._failures + 1, 20)
            try:
                return await self._connect()
            except ConnectFailed as error:
                self._shared.count("connect_failures")
                extra = {"status": error.status, "failures": self._failures}
                self._shared.log.warning(f"cannot connect: {error}", extra=extra)
                if error.retry_after_s:
                    await self.pause(error.retry_after_s, old)
        return None

    async def pause(self, seconds: float, old: Live | None) -> None:
        """Sleep, but no longer than ``old`` lives."""
        if old is None or old.connection is None:
            await asyncio.sleep(seconds)
            return
        await wait(old.connection.closed, seconds)

    async def _connect(self) -> Live:
        shared, plan = self._shared, self.bundle.plan
        adapter, options = shared.adapter, shared.options
        shared.connections += 1
        intake = Intake(shared.writer, shared.connections, adapter.rules.notices, line=self.number)
        live = Live(intake, set(plan.names))
        intake.on_notice = lambda frame: self._notice(live, frame)
        self._watch(live)
        live.url = adapter.ws_url(plan.route, plan.names, shared.endpoints)
        live.connection = await connect(
            live.url, intake, client=options.client, timeout_s=options.connect_timeout_s
        )
        live.outbox = Outbox(live.connection.send_text, adapter.exchange.limits)
        live.opened_ns = live.ping_ns = time.time_ns()
        live.opened_s = live.subscribed_s = asyncio.get_running_loop().time()
        live.rotate_s = live.opened_s + self._age_limit_s()
        live.closing = asyncio.create_task(self._on_close(live, live.connection))
        self._open.add(live)
        self.bundle.mark_connected()
        shared.count("connects")
        self._publish(FrameKind.CONNECTED, live)
        try:
            if not adapter.rules.url_bytes:
                await live.outbox.send(self._messages(plan.names))
            # An instrument may have been dropped while we waited.
            if gone := live.wanted - set(self.bundle.plan.names):
                live.wanted -= gone
                await live.outbox.send(self._messages(sorted(gone), end=True))
        except BaseException:
            await self._retire(live)
            raise
        live.subscribed_s = asyncio.get_running_loop().time()
        return live

    def _age_limit_s(self) -> float:
        """Return how old a new connection may become.

        Lines that were opened together must not all rotate together: the limits of a venue's lines
        are jittered, and the first ages of a bundle's lines spread evenly.
        """
        options = self._shared.options
        limit_s = options.rotate_after_s
        if not limit_s:
            venue_s = self._shared.adapter.exchange.limits.connection_hours * 3600
            if not venue_s:
                return math.inf
            limit_s = venue_s - 1800 - self._shared.jitter.uniform(0, 0.05) * venue_s
        part = 1.0 if self._rotated else (self.number + 1) / len(self.bundle.lines)
        self._rotated = True
        return limit_s * part

    def _notice(self, live: Live, frame: bytes) -> None:
        if self._shared.adapter.is_shutdown_notice(frame):
            live.ask(End.NOTICE)

    def _watch(self, live: Live) -> None:
        """See each frame of a connection until each stream has delivered; the guard ends it."""
        live.intake.watch = lambda frame: self._look(live, frame)

    def _look(self, live: Live, frame: bytes) -> bool:
        """See a frame of a connection that is watched; return whether it is data."""
        adapter = self._shared.adapter
        stream = adapter.stream_of(frame)
        if stream is not None:
            live.seen.add(stream)
        elif (text := adapter.refusal(frame)) is not None:
            self._shared.count("refusals")
            self._shared.log.error("subscription refused", extra={"venue_says": text})
            if not live.refused and len(live.wanted) > 1 and not adapter.rules.url_bytes:
                live.refused = True
                self._spawn(self._subscribe_singly(live))
        elif live.ping_open and PONG in frame:
            live.intake.pong()
        if live.complete and not self._awaits_text(live):
            live.intake.watch = None
        return stream is not None

    def _awaits_text(self, live: Live) -> bool:
        """Whether the answer to a text ping is to come."""
        text = self._shared.adapter.rules.ping_text
        return bool(text) and live.ping_open and live.intake.pong_ns < live.ping_ns

    async def _on_close(self, live: Live, connection: Connection) -> None:
        await connection.closed.wait()
        live.attention.set()
        self._shared.count("disconnects")
        self._publish(FrameKind.DISCONNECTED, live)
        self.bundle.mark_stale()

    async def _guard(self, live: Live) -> End:
        """Return when ``live`` is no longer to be used, with the reason."""
        options, intake, bundle = self._shared.options, live.intake, self.bundle
        loop = asyncio.get_running_loop()
        while True:
            await wait(live.attention, TICK_S)
            live.attention.clear()
            if live.closed:
                return End.CLOSED
            if bundle.handing_over is None:
                if live.asked is not None:
                    return live.asked
                if loop.time() >= live.rotate_s:
                    return End.ROTATE
            delivers = intake.last_ns > 0 or not bundle.silence_s
            if delivers and loop.time() - live.opened_s > options.stable_s:
                self._failures = 0
            if (end := self._health(live)) is not None:
                return end
            late = loop.time() - live.subscribed_s > options.handover_s
            if late and not self._awaits_text(live):
                intake.watch = None

    def _health(self, live: Live) -> End | None:
        """Return SILENT or HALF_OPEN if a connection is as good as dead; ping when it is time."""
        data_ns, now = max(live.intake.last_ns, live.opened_ns), time.time_ns()
        silence_s = self.bundle.silence_s
        if silence_s and now - data_ns > silence_s * 1e9:
            return End.SILENT
        return End.HALF_OPEN if self._ping(live, now, data_ns) else None

    def _ping(self, live: Live, now: int, data_ns: int) -> bool:
        """Ping when it is time; return whether the connection is proven dead."""
        rules, intake = self._shared.adapter.rules, live.intake
        assert live.connection is not None
        if live.ping_open and intake.pong_ns >= live.ping_ns:
            live.ping_open = False
            self._shared.record_ping(intake.pong_ns - live.ping_ns)
        if live.ping_open:
            heard_ns = max(data_ns, intake.heard_ns, live.ping_ns)
            return now - heard_ns > rules.pong_s * 1e9
        if now - live.ping_ns > rules.ping_s * 1e9:
            live.ping_ns, live.ping_open = now, True
            if rules.ping_text:
                self._watch(live)  # The answer is a frame like any other.
                live.connection.send_text(rules.ping_text)
            else:
                live.connection.ping()
        return False

    async def _retire(self, live: Live) -> None:
        """Close a connection and keep its totals."""
        if live not in self._open:
            return
        if live.connection is not None:
            await live.connection.close()
        if live.closing is not None:
            await live.closing
        if live in self._open:
            self._open.discard(live)
            intake = live.intake
            for i, value in enumerate((intake.frames, intake.bytes, intake.refused)):
                self._shared.totals[i] += value


class Sessions:
    """All bundles of a venue; more may be added, and instruments dropped, while they run."""

    def __init__(self, plans: Sequence[Plan], shared: Shared, lines: int = 1) -> None:
        self._shared, self._redundant = shared, lines
        self.bundles = [Bundle(plan, shared, lines) for plan in plans]
        self._tasks: dict[Line, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None

    @property
    def lines(self) -> list[Line]:
        """Return the lines of all bundles."""
        return [line for bundle in self.bundles for line in bundle.lines]

    async def run(self) -> None:
        """Keep all lines connected until cancelled."""
        if self._shared.writer.segment.epoch > 1:
            # We follow a feed that may have died at any point: what it said last is no longer so.
            for bundle in self.bundles:
                bundle.mark_stale()
        self._failed = asyncio.get_running_loop().create_future()
        try:
            for line in self.lines:
                self._start(line)
            await self._failed
        finally:
            self._failed.cancel()
            tasks = [*self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, line: Line) -> None:
        task = self._tasks[line] = asyncio.create_task(line.run())
        task.add_done_callback(lambda done: self._ended(line, done))

    def _ended(self, line: Line, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(line, None)
        if task.cancelled() or self._failed is None or self._failed.done():
            return
        if (error := task.exception()) is not None:
            self._failed.set_exception(error)

    def add(self, plans: Sequence[Plan]) -> None:
        """Run lines for more plans."""
        for plan in plans:
            bundle = Bundle(plan, self._shared, self._redundant)
            self.bundles.append(bundle)
            if self._failed is not None and not self._failed.done():
                for line in bundle.lines:
                    self._start(line)

    def drop(self, native: str) -> None:
        """End all subscriptions of an instrument; lines that carry nothing else end."""
        for bundle in [*self.bundles]:
            bundle.drop(native)
            if not bundle.plan.streams:
                self.bundles.remove(bundle)
                for line in bundle.lines:
                    if line in self._tasks:
                        self._tasks[line].cancel()

    def renew(self, native: str, channel: Channel, turn: int | None = None) -> None:
        """Subscribe anew to what carries a channel of an instrument.

        On every line that carries it or, with ``turn``, on one of them, in turns.
        """
        for bundle in self.bundles:
            if names := bundle.names_of(native, channel):
                lines = [line for line in bundle.lines if line.connected]
                if turn is not None and lines:
                    lines = [lines[turn % len(lines)]]
                for line in lines:
                    line.renew(names)

    def replace(self, native: str, channel: Channel) -> None:
        """Replace the connections that carry a channel of an instrument, make before break."""
        for bundle in self.bundles:
            if bundle.names_of(native, channel):
                for line in bundle.lines:
                    line.replace()

    @property
    def names(self) -> set[str]:
        """The names of all streams."""
        return {name for bundle in self.bundles for name in bundle.plan.names}

    @property
    def live(self) -> int:
        """The number of lines with a live connection."""
        return sum(line.current is not None and not line.current.closed for line in self.lines)

    def totals(self) -> tuple[int, int, int]:
        """Return frames, bytes and refused frames of all connections since the start."""
        lines = dict.fromkeys([*self.lines, *self._tasks])  # Those of dropped bundles still end.
        rows = [tuple(self._shared.totals), *(line.totals() for line in lines)]
        frames, size, refused = (sum(column) for column in zip(*rows, strict=True))
        return frames, size, refused
