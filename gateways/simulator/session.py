"""One WebSocket connection, whatever the venue: its clock, its limits, its end."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from gateways.simulator.faults import FaultLine
from gateways.simulator.hub import Client
from gateways.simulator.limits import SlidingLimit

if TYPE_CHECKING:
    from gateways.simulator.venue import Venue

_INBOUND_BYTES_MAX = 1 << 16
_LOG = logging.getLogger(__name__)
CLOSE_S = 0.5
"""How long the server waits for the client's half of the close handshake."""


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A connection's clock, in seconds; 0 stands for the venue's own value."""

    ping_interval_s: float = 0.0
    pong_timeout_s: float = 0.0
    lifetime_s: float = 0.0
    """The venue cuts a connection after this long."""
    notice_s: float = 5.0
    """How long before it says so, where the venue does."""
    silence_s: float = 0.0
    """The venue cuts a connection that is silent for this long, where it does."""
    keep_alive_s: float = 0.0
    """After so long without a change, OKX repeats the state of a book."""


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """How a venue treats a connection; 0 where it has no such rule."""

    messages_per_second: int = 0
    ping_interval_s: float = 0.0
    """The server's ping frames."""
    pong_timeout_s: float = 0.0
    lifetime_s: float = 0.0
    announces_end: bool = False
    silence_s: float = 0.0
    """Without a message from the client (or to it, if ``pushes_count``)."""
    pushes_count: bool = False
    silence_code: int = WSCloseCode.POLICY_VIOLATION
    silence_reason: bytes = b""

    def timed(self, timing: Timing) -> "ConnectionRules":
        """Return the rules with the times that a configuration sets."""
        names = ("ping_interval_s", "pong_timeout_s", "lifetime_s", "silence_s")
        # A venue without such a rule keeps none.
        times = {name: getattr(timing, name) or getattr(self, name) for name in names}
        return replace(self, **{name: s for name, s in times.items() if getattr(self, name)})

    @property
    def shortest_s(self) -> float:
        """The shortest time that must be kept."""
        times = (self.ping_interval_s, self.pong_timeout_s, self.lifetime_s, self.silence_s)
        return min((time_s for time_s in times if time_s), default=60.0)


class Session(ABC):
    """The server's end of one connection; a venue's own says what is answered."""

    def __init__(self, venue: "Venue", number: int, *, wrapped: bool = False) -> None:
        self.venue = venue
        self.number = number
        self.place = venue.free_place()
        self.client: Client | None = None
        self._wrapped = wrapped
        self._rules = rules = venue.rules
        self._notice_s = venue.timing.notice_s
        self._announced = False
        self._inbound = SlidingLimit(rules.messages_per_second, 1.0)
        self._socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=CLOSE_S, max_msg_size=_INBOUND_BYTES_MAX
        )
        self._closing: asyncio.Task[Any] | None = None
        self._ends = float("inf")
        self._pinged = self._ponged = self._heard = 0.0

    @property
    def chosen(self) -> bool:
        """Whether the faults in force concern this connection."""
        return self.venue.plan.chooses(self.venue.name, self.place)

    @property
    def identity(self) -> str:
        """The connection's name, as venues write it into their answers."""
        return f"{(self.number * 2_654_435_761) % (1 << 32):08x}"

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold the connection until one side ends it."""
        await self._socket.prepare(request)
        transport = request.transport
        if transport is None:
            return self._socket
        venue = self.venue
        client = self.client = Client(
            transport,
            wrapped=self._wrapped,
            plan=venue.plan,
            line=FaultLine(venue.plan, venue.name, self.number, self.place),
            buffer_bytes=venue.buffer_bytes,
            cut=self.cut,
        )
        now = time.monotonic()
        self._pinged = self._ponged = self._heard = client.sent_at = now
        if self._rules.lifetime_s:
            self._ends = now + self._rules.lifetime_s
        venue.hub.clients[client] = None
        try:
            self.opened(client)
            async for message in self._socket:
                now = time.monotonic()
                if self._rules.messages_per_second and not self._inbound.allow(now):
                    self.close(WSCloseCode.POLICY_VIOLATION, b"Too many requests")
                elif self._closing is None:
                    self._heard = now
                    await self._receive(client, message)
        finally:
            venue.hub.remove(client)
            if self._closing is not None:
                await asyncio.wait([self._closing])
        return self._socket

    def close(self, code: int, reason: bytes = b"") -> None:
        """End the connection politely, with a close frame."""
        if self._closing is None:
            if self.client is not None:
                self.client.flush(time.monotonic())
            # Not drained: a client that does not read must not hold the server.
            closing = self._socket.close(code=code, message=reason, drain=False)
            self._closing = asyncio.ensure_future(closing)

    async def closed(self) -> None:
        """Wait until the close handshake is over, but not for a client that does not read."""
        if self._closing is not None:
            await asyncio.wait([self._closing], timeout=2 * CLOSE_S)
        if self.client is not None and not self.client.transport.is_closing():
            self.client.transport.abort()

    def cut(self, reason: str) -> None:
        """End the connection at once, as a network does: no close frame, buffers thrown away."""
        if self.client is not None and not self.client.transport.is_closing():
            self.venue.count_cut(reason)
            self.client.transport.abort()

    def end_soon(self) -> None:
        """End the connection as for a service upgrade, announced where the venue does that."""
        self._ends = min(self._ends, time.monotonic() + self._notice_s)
        self.keep(time.monotonic())

    def keep(self, now: float) -> None:
        """Ping, look for the pong, and end the connection at its time."""
        client = self.client
        if client is None or self._closing is not None or client.silent_until > now:
            return
        rules = self._rules
        if rules.announces_end and not self._announced and now >= self._ends - self._notice_s:
            self._announced = True
            self.announce(client)
        heard = max(self._heard, client.sent_at) if rules.pushes_count else self._heard
        if now >= self._ends:
            self.venue.count_cut("lifetime")
            self.close(WSCloseCode.GOING_AWAY)
        elif rules.silence_s and now - heard >= rules.silence_s:
            self.venue.count_cut("silence")
            self.close(rules.silence_code, rules.silence_reason)
        elif rules.ping_interval_s:
            self._ping(client, now)

    def opened(self, client: Client) -> None:  # noqa: B027 - need not do anything
        """Do what the connection's address asks for."""

    def announce(self, client: Client) -> None:  # noqa: B027 - need not do anything
        """Say that the connection is about to end."""

    @abstractmethod
    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a message of the client."""

    @abstractmethod
    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""

    def _ping(self, client: Client, now: float) -> None:
        if self._ponged < self._pinged:
            if now - self._pinged >= self._rules.pong_timeout_s:
                self.venue.count_cut("no pong")
                self.close(WSCloseCode.POLICY_VIOLATION, b"Pong timeout")
        elif now - self._pinged >= self._rules.ping_interval_s:
            self._pinged = now
            stamp = str(time.time_ns() // 1_000_000).encode()
            client.pending.append(bytes((0x89, len(stamp))) + stamp)

    async def _receive(self, client: Client, message: WSMessage) -> None:
        if message.type is WSMsgType.PONG:
            self._ponged = time.monotonic()
        elif message.type is WSMsgType.PING:
            await self._socket.pong(message.data)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            try:
                self.answer(client, message.data)
            except Exception:
                # A defect of ours: the connection, and what others do on it, goes on.
                _LOG.exception("%s cannot answer %.200r", self.venue.name, message.data)
                self.refuse_broken(client)
