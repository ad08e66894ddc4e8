"""Keeping a WebSocket route up: login, subscriptions, keep-alive, silence, rotation, reconnection.

A route has one connection in use. It is replaced before it ends where the end is known before
(the venue's longest life, its notice, a stream key that is gone): the new connection is up before
the old one goes, and for a while both deliver; what comes twice is told once (``gateways.orders``).
A connection that dies leaves a gap, which reconciliation closes.
"""

import asyncio
import random
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol

from engine.common import Endpoints
from engine.errors import TradeInfraError
from engine.net import wait
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Call
from gateways.core import Core
from gateways.message import Answer, Notice, NoticeKind, Update
from gateways.rest import RestFailed
from gateways.socket import ConnectFailed, Socket, connect

TICK_S = 0.1
ROTATE_EARLY_S = 1800.0
STABLE_S = 30.0
"""A connection that lived so long is proven: the next failure starts the backoff anew."""
LEFT_S = 5.0
"""How long a replaced connection may wait for the answers that it owes."""


class End(StrEnum):
    """Why a connection is no longer to be used."""

    CLOSED = "closed"
    SILENT = "silent"
    ROTATE = "rotated"
    NOTICE = "the venue ends it"
    KEY = "the stream's key has expired"
    REPLACE = "replaced"


_COUNTED = {
    End.SILENT: "silences",
    End.ROTATE: "rotations",
    End.NOTICE: "rotations",
    End.REPLACE: "rotations",
    End.KEY: "keys_expired",
}


class Refused(TradeInfraError):
    """The venue refuses the login or a subscription."""


class Handler(Protocol):
    """Who is told what a route says."""

    def on_update(self, update: Update, received_ns: int) -> None:
        """Take an event."""

    def on_answer(self, answer: Answer, received_ns: int) -> int:
        """Take an answer; return when its request was sent (ours, Unix ns), 0 if unknown."""

    def on_up(self, route: "Route", gap: bool) -> None:
        """Learn that the route works; ``gap``: events may have been lost before."""

    def on_lost(self, route: "Route", line: "Line") -> None:
        """Learn that a connection is gone, with what it owed."""

    def owes(self, line: "Line") -> bool:
        """Return whether answers are to come on a connection."""

    def on_clock(self) -> None:
        """Learn that the clock may be wrong."""

    def on_changed(self) -> None:
        """Learn that the account has changed in a way that must be asked for."""


class Line:
    """One connection of a route."""

    def __init__(self) -> None:
        self.socket: Socket
        self.opened_s = 0.0
        self.rotate_s = float("inf")
        self.changed = asyncio.Event()
        """Set when a notice came, when an end is asked for, and at the close."""
        self.logged_in = False
        self.subscribed = 0
        self.refused = ""
        self.asked: End | None = None
        self.ping_ns = 0
        self.pinged = False
        self.reason = ""

    def ask(self, end: End) -> None:
        """Have the connection replaced."""
        self.asked = self.asked or end
        self.changed.set()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self.socket.closed.is_set()


class Route:
    """One of a venue's WebSocket routes, kept up; ``current`` is its connection, if it has one.

    ``private`` says whether events of the account come on it.
    """

    def __init__(
        self, core: Core, name: str, endpoints: Endpoints, handler: Handler, private: bool
    ) -> None:
        self._core, self.name, self._endpoints, self._handler = core, name, endpoints, handler
        self.private = private
        self.current: Line | None = None
        self.down_reason = "not connected yet"
        self._failures = 0
        self._stream_key = ""
        self._jitter = random.Random()
        self._leaving: set[asyncio.Task[None]] = set()
        self._read = core.adapter.read
        self._natives = core.instruments.by_native

    @property
    def up(self) -> bool:
        """Whether the route works."""
        return self.current is not None

    def socket(self) -> Socket | None:
        """Return the connection's socket if something can be sent on it now."""
        line = self.current
        return line.socket if line is not None and line.socket.is_open else None

    def replace(self) -> None:
        """Have the connection replaced, make before break."""
        if self.current is not None:
            self.current.ask(End.REPLACE)

    async def run(self) -> None:
        """Keep the route up until cancelled."""
        line: Line | None = None
        keys = asyncio.create_task(self._keep_key())
        try:
            while True:
                line = self.current = await self._connect_until(None)
                self._handler.on_up(self, True)
                while (end := await self._guard(line)) not in (End.CLOSED, End.SILENT):
                    line = await self._make_before_break(line, end)
                if self.current is line:
                    self._lost(line, end)
                await line.socket.close()
        finally:
            keys.cancel()
            for task in self._leaving:
                task.cancel()
            await asyncio.gather(keys, *self._leaving, return_exceptions=True)
            if self.current is not None:
                line, self.current = self.current, None
                await line.socket.close()

    def _lost(self, line: Line, end: End) -> None:
        reason = line.socket.reason if end is End.CLOSED else str(end)
        self.current, self.down_reason = None, reason
        if end is End.SILENT:
            line.socket.abort(reason)
        if asyncio.get_running_loop().time() - line.opened_s > STABLE_S:
            self._failures = 0
        self._core.count("disconnects")
        self._core.log.warning("connection lost", extra={"route": self.name, "reason": reason})
        self._handler.on_lost(self, line)

    async def _make_before_break(self, old: Line, end: End) -> Line:
        """Return the connection to go on with: a new one, or the old one if there is none yet."""
        self._core.count(_COUNTED[end])
        old.asked = None
        if end is End.KEY:
            self._stream_key = ""
        dies = asyncio.create_task(self._watch(old))
        try:
            new = await self._connect_until(old)
        finally:
            dies.cancel()
        if old.closed and self.current is old:
            self._lost(old, End.CLOSED)
        if new is old:
            return old
        broken = self.current is None
        self.current = new
        self._core.log.info("connection replaced", extra={"route": self.name, "why": str(end)})
        task = asyncio.create_task(self._leave(old))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self._handler.on_up(self, broken or end in (End.KEY, End.REPLACE))
        return new

    async def _watch(self, line: Line) -> None:
        """Say at once that a connection is gone while its replacement is being made."""
        await line.socket.closed.wait()
        if self.current is line:
            self._lost(line, End.CLOSED)

    async def _leave(self, line: Line) -> None:
        """Close a replaced connection when it has delivered what it owes."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._core.settings.overlap_s)
        until = loop.time() + LEFT_S
        while self._handler.owes(line) and not line.closed and loop.time() < until:
            await wait(line.changed, TICK_S)
            line.changed.clear()
        self._handler.on_lost(self, line)
        await line.socket.close()

    async def _connect_until(self, old: Line | None) -> Line:
        """Return a new connection that works; ``old`` (if any) if that dies before."""
        settings, log = self._core.settings, self._core.log
        while old is None or not old.closed:
            if self._failures:
                delay = min(settings.backoff_max_s, settings.backoff_s * 2 ** (self._failures - 1))
                await asyncio.sleep(delay * self._jitter.uniform(0.5, 1.5))
            # Until it is proven stable: a server that accepts and drops must not be hammered.
            self._failures = min(self._failures + 1, 16)
            try:
                line = await self._connect()
            except (ConnectFailed, RestFailed, Refused) as error:
                self._core.count("connect_failures")
                self.down_reason = str(error)
                log.warning(f"cannot connect: {error}", extra={"route": self.name})
                await asyncio.sleep(getattr(error, "retry_after_s", 0.0))
                if isinstance(error, Refused):
                    self._handler.on_clock()
                    log.error("the venue refuses us", extra={"venue_says": str(error)})
                continue
            self._core.count("connects")
            return line
        return old

    async def _connect(self) -> Line:
        core = self._core
        costs = core.adapter.dialect.connection_costs
        while wait_ns := core.limits.take(costs, True, core.clock.now_ns()):  # noqa: ASYNC110
            await asyncio.sleep(wait_ns / 1e9)
        key = await self._key() if self.private else ""
        line = Line()
        url = core.adapter.ws_url(self.name, self._endpoints, key)
        line.socket = await connect(
            url,
            partial(self._message, line),
            core.log,
            timeout_s=core.settings.connect_timeout_s,
        )
        line.socket.on_close = line.changed.set
        try:
            async with asyncio.timeout(core.settings.connect_timeout_s):
                await self._introduce(line)
        except TimeoutError:
            await line.socket.close()
            raise ConnectFailed(f"{self.name}: no answer to the login or subscriptions") from None
        except BaseException:
            line.socket.abort("not used")
            await line.socket.close()
            raise
        line.opened_s = asyncio.get_running_loop().time()
        line.rotate_s = line.opened_s + self._age_limit_s()
        line.ping_ns = time.time_ns()
        return line

    async def _introduce(self, line: Line) -> None:
        """Log in, subscribe, and wait for the venue's consent to both."""
        adapter, clock, socket = self._core.adapter, self._core.clock, line.socket
        if login := adapter.login(self.name, clock.now_ms()):
            for message in login:
                _send(socket, message)
            await self._until(line, lambda: line.logged_in)
        wanted = adapter.subscriptions(self.name, clock.now_ms())
        for message in wanted:
            _send(socket, message)
        await self._until(line, lambda: line.subscribed >= len(wanted))

    async def _until(self, line: Line, done: Callable[[], bool]) -> None:
        while not done():
            if line.refused:
                raise Refused(f"{self.name}: {line.refused}")
            if line.closed:
                raise ConnectFailed(f"{self.name}: {line.socket.reason}")
            await wait(line.changed, TICK_S)
            line.changed.clear()

    def _age_limit_s(self) -> float:
        settings = self._core.settings
        if settings.rotate_after_s:
            return settings.rotate_after_s
        hours = self._core.adapter.exchange.limits.connection_hours
        return hours * 3600 - ROTATE_EARLY_S * self._jitter.uniform(1.0, 2.0) if hours else 1e9

    # -- stream keys ---------------------------------------------------------------------------
    async def _key(self) -> str:
        """Return the stream's key, asked for at each connection.

        The venue extends the one that there is, or gives another: it may have let it go, or
        somebody has closed it.
        """
        core = self._core
        calls, _ = core.adapter.stream_key_calls("", core.clock.now_ms())
        if not calls:
            return ""
        for i in range(len(calls)):

            def build(i: int = i) -> Call:
                return core.adapter.stream_key_calls("", core.clock.now_ms())[0][i]

            reply = await core.rest.fetch(build, urgent=True)
            self._stream_key = core.adapter.parse_stream_key(reply.body)
        return self._stream_key

    async def _keep_key(self) -> None:
        """Extend the stream's key from time to time; one that is refused is replaced."""
        core = self._core
        _, every_s = core.adapter.stream_key_calls("", core.clock.now_ms())
        if not self.private or not every_s:
            return
        while True:
            await asyncio.sleep(every_s)
            key = self._stream_key
            if not key:
                continue
            calls, _ = core.adapter.stream_key_calls(key, core.clock.now_ms())
            try:
                for call in calls:
                    await core.rest.fetch(partial(_same, call), urgent=True)
            except RestFailed as error:
                core.log.warning(f"stream key not extended: {error}")
                if 400 <= error.status < 500 and error.status != 429 and self.current is not None:
                    self.current.ask(End.KEY)

    # -- the life of a connection --------------------------------------------------------------
    async def _guard(self, line: Line) -> End:
        """Return when ``line`` is no longer to be used, with the reason."""
        loop = asyncio.get_running_loop()
        while True:
            await wait(line.changed, TICK_S)
            line.changed.clear()
            if line.closed:
                return End.CLOSED
            if line.asked is not None:
                return line.asked
            now_s = loop.time()
            if now_s >= line.rotate_s:
                line.rotate_s = now_s + self._core.settings.backoff_max_s
                return End.ROTATE
            if now_s - line.opened_s > STABLE_S:
                self._failures = 0
            if self._silent(line):
                return End.SILENT

    def _silent(self, line: Line) -> bool:
        """Return whether a connection is proven dead; ping when it is time."""
        now, socket, silence_s = time.time_ns(), line.socket, self._core.settings.silence_s
        message, every_s = self._core.adapter.ping(self._core.clock.now_ms())
        if line.pinged and socket.last_ns > line.ping_ns:
            line.pinged = False
        if line.pinged:
            return now - line.ping_ns > silence_s * 1e9
        quiet = now - socket.last_ns > silence_s * 1e9
        due = bool(message) and now - line.ping_ns > every_s * 1e9
        if quiet or due:
            line.ping_ns, line.pinged = now, quiet
            if message and socket.is_open:
                socket.send(message)
            else:
                socket.ping()
        return False

    def _message(self, line: Line, message: bytes, received_ns: int) -> None:
        """Take a message of a connection; the hot path of everything that comes."""
        try:
            events = self._read(self.name, message, self._natives)
        except ValueError as error:
            self._core.count("unreadable")
            self._core.log.error(f"unreadable message: {error}", extra={"route": self.name})
            return
        handler, sent_ns = self._handler, 0
        for event in events:
            if type(event) is Update:
                handler.on_update(event, received_ns)
            elif type(event) is Answer:
                sent_ns = handler.on_answer(event, received_ns)
            elif type(event) is Notice:
                self._notice(line, event)
        if sent_ns and self.name == ROUTE_ORDERS:
            clock = self._core.clock
            now_ns, sent_ns = clock.now_ns(), sent_ns + clock.offset_ns
            for cost, used in self._core.adapter.usage({}, message):
                self._core.limits.observe(cost, used, now_ns, sent_ns)

    def _notice(self, line: Line, notice: Notice) -> None:
        kind = notice.kind
        if kind is NoticeKind.LOGGED_IN:
            line.logged_in = True
        elif kind is NoticeKind.SUBSCRIBED:
            line.subscribed += 1
        elif kind in (NoticeKind.LOGIN_REFUSED, NoticeKind.SUBSCRIPTION_REFUSED):
            line.refused = f"{kind.name.lower().replace('_', ' ')}: {notice.code} {notice.text}"
        elif kind is NoticeKind.ALERT:
            self._core.alert(notice.text)
        elif kind is NoticeKind.ENDING:
            line.ask(End.NOTICE)
        elif kind is NoticeKind.CHANGED:
            self._handler.on_changed()
        elif kind is NoticeKind.KEY_EXPIRED:
            self._stream_key = ""
            line.ask(End.KEY)
        line.changed.set()


def _same(call: Call) -> Call:
    return call


def _send(socket: Socket, message: bytes) -> None:
    if not socket.is_open:
        raise ConnectFailed(socket.reason)
    socket.send(message)


def routes_of(core: Core, endpoints: Endpoints, handler: Handler) -> list[Route]:
    """Return the venue's routes: orders and private events, on one connection or on several."""
    dialect = core.adapter.dialect
    together = dialect.private_on_orders_route
    routes = [Route(core, ROUTE_ORDERS, endpoints, handler, private=together)]
    names = (
        dialect.more_private_routes if together else (ROUTE_PRIVATE, *dialect.more_private_routes)
    )
    return routes + [Route(core, name, endpoints, handler, private=True) for name in names]
