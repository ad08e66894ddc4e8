"""One venue of the server, whatever its dialect: connections, limits, what is counted."""

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from engine.errors import ConfigError
from gateways.simulator.account import HISTORY, AccountSettings
from gateways.simulator.faults import FaultPlan
from gateways.simulator.hub import Hub
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.matching import Outcome
from gateways.simulator.session import ConnectionRules, Session, Timing
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading, TradingRules

if TYPE_CHECKING:
    from gateways.simulator.capture import Capture

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class VenueOptions:
    """What the server's settings say about every venue."""

    plan: FaultPlan
    timing: Timing
    buffer_bytes: int
    """What a client may leave unread before it is cut."""
    weight_per_minute: int = 0
    """REST budget instead of the venue's own; 0 for its own."""
    accounts: tuple[AccountSettings, ...] = ()
    ids_used: int = 0
    """Order ids begin so much higher."""
    limit_factor: float = 1.0
    """All limits of requests and orders are so many times the venue's own."""
    instrument_codes: bool = False
    """Whether OKX's WebSocket orders must name instruments by their codes."""
    history: int = HISTORY
    """Ended orders, and fills, that an account remembers."""


class Playing(ABC):
    """A recorded capture that a venue plays."""

    paused: bool

    @abstractmethod
    async def run(self) -> None:
        """Play it once, from the moment in which it is started."""

    @abstractmethod
    def start(self, delay_s: float) -> None:
        """Begin after a while; at the first call only."""


class Venue(ABC):
    """A venue that speaks one dialect.

    ``rules`` and ``connections`` (how many new connections of one address in how many seconds) are
    the dialect's; ``describe`` tells a hub the head of a stream's envelope and whether it carries
    depth.
    """

    at_root = False
    """Whether it is also served without its name in front of the path."""

    def __init__(
        self,
        name: str,
        options: VenueOptions,
        *,
        rules: ConnectionRules,
        connections: tuple[int, float],
        describe: Callable[[str], tuple[bytes, bool]],
    ) -> None:
        self.name = name
        self.plan = options.plan
        self.timing = options.timing
        self.buffer_bytes = options.buffer_bytes
        self.trading: Trading | None = None
        self._accounts = options.accounts
        self._ids_used = options.ids_used
        self._history = options.history
        self.limit_factor = options.limit_factor
        self.rules = rules.timed(options.timing)
        self.hub = Hub(name, describe)
        self.sessions: dict[Session, None] = {}
        self.cuts: dict[str, int] = {}
        self.opened = 0
        self.defects = 0
        self.replay: Playing | None = None
        self.on_subscribe: Callable[[], None] = lambda: None
        self._connections = connections
        self._attempts: dict[str, SlidingLimit] = {}

    def now_ms(self) -> int:
        """Return the venue's time, Unix ms: ours and the skew that the faults ask for."""
        return time.time_ns() // 1_000_000 + self.plan.clock_skew_ms(self.name)

    def trading_rules(self) -> TradingRules:
        """Return the venue's rules; a dialect has its own."""
        return TradingRules()

    def make_trading(self, markets: list[SimulatedBook], seed: int) -> Trading:
        """Open the venue's clearing house over ``markets``, with the accounts of the settings."""

        def publish(market: SimulatedBook, outcome: Outcome) -> None:
            self.observe(market, outcome, self.now_ms())

        rules = self.trading_rules()
        trading = Trading(
            self.name,
            markets,
            rules,
            publish,
            seed,
            ids_used=self._ids_used,
            history=self._history,
        )
        for settings in self._accounts:
            trading.add_account(settings)
        self.trading = trading
        return trading

    def private_addresses(self, base: str) -> dict[str, str]:
        """Return where orders and private events go by WebSocket, under the venue's ``base``."""
        return {}

    def expire_keys(self) -> int:
        """End the keys of private streams as if their time were over; return how many."""
        return 0

    @abstractmethod
    def generate(self, markets: list[SimulatedBook], seed: int) -> None:
        """Serve generated books."""

    def meet(self, venues: Mapping[str, "Venue"]) -> None:  # noqa: B027 - need not do anything
        """Get to know the other venues of the server, when all are there."""

    def play(self, capture: "Capture", speed: float, exchange_info: Path | None) -> Playing:
        """Serve a capture, which begins with the first subscription; raises ConfigError."""
        raise ConfigError(f"the simulator serves no captures of {self.name}, only generated books")

    @abstractmethod
    def observe(self, market: SimulatedBook, outcome: Outcome, now_ms: int) -> None:
        """Publish what an operation in one of the books did."""

    @abstractmethod
    def tick(self, now_ms: int) -> None:
        """Publish what is due by the clock."""

    @abstractmethod
    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return all addresses under a prefix of the host's path."""

    @abstractmethod
    def books(self, levels: int | None) -> dict[str, dict[str, Any]]:
        """Return by symbol ``update_id``, ``bids``, ``asks`` (as decimal strings), ``trades``."""

    @property
    @abstractmethod
    def rest_requests(self) -> int:
        """How many REST requests have come."""

    def reset_sequences(self) -> None:  # noqa: B027 - need not do anything
        """Restart the numbers of books, as after maintenance, where the venue does that."""

    def connect(self, make: Callable[[web.Request, int], Session]) -> Handler:
        """Return the handler of a WebSocket address; ``make`` gets request and number."""

        async def connect(request: web.Request) -> web.StreamResponse:
            limit = SlidingLimit(*self._connections)
            attempts = self._attempts.setdefault(request.remote or "", limit)
            if not attempts.allow(time.monotonic()):
                return web.Response(status=429, headers={"Retry-After": str(int(limit.period_s))})
            self.opened += 1
            session = make(request, self.opened)
            self.sessions[session] = None
            try:
                return await session.serve(request)
            finally:
                self.sessions.pop(session, None)

        return connect

    def free_place(self) -> int:
        """Return the lowest number from 1 up that no connection has as its place."""
        taken = {session.place for session in self.sessions}
        return next(place for place in range(1, len(taken) + 2) if place not in taken)

    def count_cut(self, reason: str) -> None:
        """Count a connection that the venue ended."""
        self.cuts[reason] = self.cuts.get(reason, 0) + 1

    def state(self, levels: int | None) -> dict[str, Any]:
        """Return the true books and what has been counted."""
        symbols = self.books(levels)
        for book in symbols.values():
            book["bid"] = book["bids"][0] if book["bids"] else None
            book["ask"] = book["asks"][0] if book["asks"] else None
        clients = list(self.hub.clients)
        return {
            "symbols": symbols,
            "connections": len(clients),
            "connections_opened": self.opened,
            "cuts": dict(self.cuts),
            "defects": self.defects,
            "rest_requests": self.rest_requests,
            "topics": sorted(self.hub.topics),
            "frames_sent": sum(client.frames_sent for client in clients),
            "bytes_buffered": sum(client.buffered for client in clients),
        }
