"""The simulated venue as a server: sockets, pacing, and the control interface for tests.

Addresses (``PORT`` is the real one after the start)::

    http://HOST:PORT/<venue>           REST and ws://… base of each venue (``registry.VENUES``)
    /control/state?levels=10           GET: the true books and what has been counted
    /control/faults                    GET, POST {"drop": 0.01, "disconnect": true, …}, DELETE
    /control/pause /control/resume     POST: stop and go on generating
    /control/instrument                POST {"venue": …, "symbol": …, "tick": 10, "listing": …}
    /control/step                      POST {"events": n}: n events while paused
    /control/accounts                  GET: orders, fills, balances, positions (?venue= &key= and
                                       &past=n ended ones); POST {"account": {…}, "venue": …}
    /control/liquidate                 POST {"venue": …, "symbol": …, "key": …}: by force
    /control/deleverage                POST {"venue": …, "symbol": …, "lots": n, "key": …}
    /control/funding                   POST {"venue": …, "symbol": …}: exchange it now
    /control/deposit                   POST {"venue": …, "asset": …, "amount": "…", "key": …}

Without a prefix, ``/api/…``, ``/ws`` and ``/stream`` are Binance spot's, and ``/fapi/…``,
``/public``, ``/market`` and ``/private`` are USDⓈ-M's; ``/v5/…`` is Bybit's. The control interface
answers to loopback only.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiohttp import WSCloseCode, web

from engine.config import settings, takes
from engine.errors import ConfigError, TradeInfraError
from gateways.simulator.account import HISTORY, AccountSettings
from gateways.simulator.capture import load
from gateways.simulator.control import Control
from gateways.simulator.faults import FaultPlan, Faults
from gateways.simulator.instruments import Listing
from gateways.simulator.matching import Outcome
from gateways.simulator.registry import VENUES
from gateways.simulator.session import Session, Timing
from gateways.simulator.simulation import LIQUIDATION_SHARE, SimulatedBook, Simulation
from gateways.simulator.venue import Venue, VenueOptions

if TYPE_CHECKING:
    from engine.agent import AgentContext

TICK_S = 0.005
DEBT_S = 0.25
"""A server that fell behind by more forgets the rest instead of stalling everything."""
BATCH_S = 0.02
"""The longest that the generator holds the loop."""

COMPLAIN_S = 1.0
"""A defect that comes back with every tick is logged so often."""
DEFAULT_PORT = 9101


def demo_account() -> AccountSettings:
    """Return the account that every venue has unless the settings name others."""
    return AccountSettings(
        key="demo-key",
        secret="demo-secret",
        passphrase="demo-pass",
        balances={
            "USDT": "1000000",
            "BTC": "100",
            "ETH": "1000",
            "SOL": "10000",
            "BNB": "1000",
        },
    )


class SimulatorSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How the venue is run; the defaults are a pleasant market on two cores."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 takes a free one."""
    seed: int = 1
    rate: float = 2000.0
    """Events a second over all books; 0 generates only on request (``step``)."""
    venues: list[str] = msgspec.field(default_factory=lambda: list(VENUES))
    symbols: list[str] = msgspec.field(default_factory=list)
    """A venue's symbols, pairs (``BTCUSDT``) or unified symbols; empty for all."""
    resting: int = 800
    """Orders that a generated book usually holds."""
    liquidations: float = LIQUIDATION_SHARE
    """Share of the events in contracts that are forced orders."""
    continue_ids: bool = False
    """Update and trade ids go on rising over restarts, as a venue's do: begin them by the clock."""
    capture: str = ""
    """Folder of a recorded capture to serve instead of generated books."""
    speed: float = 1.0
    """Of the capture: 1 as recorded, 0 as fast as its clients read."""
    start_delay_s: float = 0.5
    """From the first subscription to the capture's first message."""
    exchange_info: str = ""
    """File with the venue's answer to ``exchangeInfo`` for a capture; inferred without it."""
    faults: Faults = msgspec.field(default_factory=Faults)
    timing: Timing = msgspec.field(default_factory=Timing)
    weight_per_minute: int = 0
    """REST budget instead of the venue's own."""
    limit_factor: float = 1.0
    """All limits of requests and orders are so many times the venue's own, as for large clients."""
    instrument_codes: bool = False
    """OKX's WebSocket orders must name their instrument by ``instIdCode``, as the venue wants it
    since 2026; without this, clients from before may go on with ``instId``."""
    history: int = HISTORY
    """Ended orders, and fills, that an account remembers; older ones are forgotten."""
    client_buffer_bytes: int = 8 << 20
    """What a client may leave unread before it is cut."""
    accounts: list[AccountSettings] = msgspec.field(default_factory=lambda: [demo_account()])
    """On every venue; none of them knows of the same account elsewhere, except that the two of
    Bybit share one wallet."""
    tls_certificate: str = ""
    """File with a PEM certificate (chain): then everything is served by TLS only."""
    tls_key: str = ""
    """File with its private key; empty if that stands in the certificate's file."""


IDS_PER_MS = 1000
"""More than the generator can take: by the clock, ids never meet those of an earlier run."""
_CLOCK_START_MS = 1_700_000_000_000


def _tls_context(config: SimulatorSettings) -> ssl.SSLContext | None:
    """Return what TLS is served with, None without it; raises ConfigError for files that fail."""
    if not config.tls_certificate:
        if config.tls_key:
            raise ConfigError("tls_key is set without tls_certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key or None)
    except OSError as error:  # ssl.SSLError is one
        where = config.tls_certificate
        raise ConfigError(f"tls_certificate: {where} cannot be used: {error}") from None
    return context


def _ids_used_by_now() -> int:
    return (time.time_ns() // 1_000_000 - _CLOCK_START_MS) * IDS_PER_MS


class SimulatedVenue:
    """The server; ``async with`` starts and ends it.

    Raises ConfigError for settings that cannot be served, TradeInfraError if the port is taken.
    """

    def __init__(
        self, config: SimulatorSettings | None = None, log: logging.Logger | None = None
    ) -> None:
        self.config = config = config or SimulatorSettings()
        self.log = log or logging.getLogger(__name__)
        self.port = config.port
        self.plan = FaultPlan(config.faults, config.seed)
        self.venues: dict[str, Venue] = {}
        self.simulation: Simulation | None = None
        self.paused = False
        self.after_tick: Callable[[], None] = lambda: None
        """Called when all that is due has been said: for tools that keep the true books."""
        self.forgotten = 0
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._silent_until = 0.0
        self._now_ms = 0
        self._complain_at = 0.0
        self._tls = _tls_context(config)
        if config.rate < 0.0 or config.speed < 0.0:
            raise ConfigError(f"rate and speed cannot be negative: {config.rate}, {config.speed}")
        if config.capture:
            self._play(Path(config.capture))
        else:
            self._generate()

    def _venue(self, name: str) -> Venue:
        make = VENUES.get(name)
        if make is None:
            raise ConfigError(f"the simulator has no venue {name!r}; it has {', '.join(VENUES)}")
        config = self.config
        options = VenueOptions(
            self.plan,
            config.timing,
            config.client_buffer_bytes,
            config.weight_per_minute,
            tuple(config.accounts),
            _ids_used_by_now() if config.continue_ids else 0,
            config.limit_factor,
            config.instrument_codes,
            config.history,
        )
        venue = self.venues[name] = make(name, options)
        return venue

    def _generate(self) -> None:
        config = self.config
        self.simulation = Simulation(
            config.seed,
            config.venues,
            config.symbols,
            resting=config.resting,
            liquidations=config.liquidations,
            ids_used=_ids_used_by_now() if config.continue_ids else 0,
        )
        for name in config.venues:
            books = [book for book in self.simulation.books if book.venue == name]
            self._venue(name).generate(books, config.seed)
        for venue in self.venues.values():
            venue.meet(self.venues)

    def _play(self, folder: Path) -> None:
        capture = load(folder)
        info = Path(self.config.exchange_info) if self.config.exchange_info else None
        venue = self._venue(capture.venue)
        replay = venue.play(capture, self.config.speed, info)
        # The delay lets a client with several connections open them all before it begins.
        venue.on_subscribe = lambda: replay.start(self.config.start_delay_s)

    async def __aenter__(self) -> Self:
        app = web.Application()
        for venue in self.venues.values():
            app.add_routes(venue.routes(f"/{venue.name}"))
        taken: set[str] = set()
        for name in VENUES:
            if name in self.venues and self.venues[name].at_root:
                routes = [r for r in self.venues[name].routes("") if r.path not in taken]
                taken |= {route.path for route in routes}
                app.add_routes(routes)
        app.add_routes(Control(self).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self.config.host}:{self.config.port}"
            raise TradeInfraError(
                f"the simulated venue cannot listen on {where}: {error}"
            ) from None
        self.port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self._run())]
        self._tasks[0].add_done_callback(self._note_end)
        for venue in self.venues.values():
            if venue.replay is not None:
                self._tasks.append(asyncio.create_task(venue.replay.run()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        sessions = self._sessions()
        for session in sessions:
            session.close(WSCloseCode.GOING_AWAY)
        for session in sessions:
            await session.closed()
        if self._runner is not None:
            await self._runner.cleanup()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        # Said at once: until the end, clients would only see that nothing moves any more.
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("the simulated venue has stopped", exc_info=error)

    def base(self, venue: str, scheme: str = "http") -> str:
        """Return a venue's base URL (``http`` for REST, ``ws`` for streams); TLS if served so."""
        scheme += "s" if self._tls is not None else ""
        return f"{scheme}://{self.config.host}:{self.port}/{venue}"

    def pause(self) -> None:
        """Stop generating (or playing); connections, depth intervals and pings go on."""
        self._set_paused(True)

    def resume(self) -> None:
        """Go on generating."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        self.paused = paused
        for venue in self.venues.values():
            if venue.replay is not None:
                venue.replay.paused = paused

    def step(self, events: int) -> None:
        """Generate so many events now; they leave with the next tick."""
        self._now_ms = time.time_ns() // 1_000_000
        if self.simulation is not None:
            self.simulation.advance(events, self._observe)

    def _sessions(self) -> list[Session]:
        return [session for venue in self.venues.values() for session in venue.sessions]

    def disconnect(self, *, politely: bool = False) -> int:
        """End the WebSocket connections that the faults are for; return how many."""
        sessions = [session for session in self._sessions() if session.chosen]
        for session in sessions:
            self.plan.counts["disconnect"] += 1
            if politely:
                session.close(WSCloseCode.GOING_AWAY)
            else:
                session.cut("fault")
        return len(sessions)

    def end_soon(self) -> int:
        """End connections as for a service upgrade: announced, where the venue does, then closed.

        Returns how many; the end comes ``Timing.notice_s`` later.
        """
        sessions = [session for session in self._sessions() if session.chosen]
        for session in sessions:
            session.end_soon()
        return len(sessions)

    def reset_sequences(self) -> None:
        """Restart the numbers of books: OKX lowers seqId, Bybit begins at u = 1."""
        for venue in self.venues.values():
            if fnmatchcase(venue.name, self.plan.faults.venue):
                venue.reset_sequences()

    def silence(self, seconds: float) -> None:
        """Send nothing at all on the connections that the faults are for; they stay open."""
        until = time.monotonic() + seconds
        for session in self._sessions():
            if session.client is not None and session.chosen:
                session.client.silent_until = until

    def set_faults(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of Faults
        """Change faults: fields of ``Faults``, and what is done once.

        ``disconnect`` (true or ``"politely"``), ``silence`` (seconds), ``end_soon``,
        ``sequence_reset`` and ``expire_keys`` (true). Raises ConfigError, and then nothing has
        changed.
        """
        known = dict(changes)
        disconnect, silence = known.pop("disconnect", None), known.pop("silence", None)
        if silence is not None and not (isinstance(silence, int | float) and silence >= 0):
            raise ConfigError(f"faults: silence is a number of seconds, got {silence!r}")
        if disconnect not in (None, True, False, "politely"):
            raise ConfigError(f"faults: disconnect is true or 'politely', got {disconnect!r}")
        names = ("end_soon", "sequence_reset", "expire_keys")
        once = {name: known.pop(name, False) for name in names}
        for name, wanted in once.items():
            if not isinstance(wanted, bool):
                raise ConfigError(f"faults: {name} is true or false, got {wanted!r}")
        for name, count in (("rest_error", "rest_count"), ("order_error", "order_count")):
            if name in known:
                known.setdefault(count, 1)
        self.plan.update(known)
        if silence is not None:
            self.silence(silence)
        if once["sequence_reset"]:
            self.reset_sequences()
        if once["expire_keys"]:
            for venue in self.venues.values():
                if fnmatchcase(venue.name, self.plan.faults.venue):
                    venue.expire_keys()
        if once["end_soon"]:
            self.end_soon()
        if disconnect:
            self.disconnect(politely=disconnect == "politely")

    def change_instrument(
        self, venue: str, symbol: str, *, tick: int | None = None, listing: str | None = None
    ) -> None:
        """Change an instrument while it is served, as venues do.

        ``tick`` is in steps of the finest tick (1 is where it begins; orders that do not stand on
        it are cancelled); ``listing`` is trading, halted (listed, but nothing happens) or delisted.
        Raises ConfigError for what there is not.
        """
        if self.simulation is None:
            raise ConfigError("instruments of a capture do not change")
        market = self.simulation.find(venue, symbol)
        self._now_ms = time.time_ns() // 1_000_000
        try:
            wanted = None if listing is None else Listing(listing)
        except ValueError:
            known = ", ".join(Listing)
            raise ConfigError(f"listing is one of {known}, got {listing!r}") from None
        self.simulation.change(market, grid=tick, listing=wanted, observer=self._observe)

    def state(self, levels: int | None = 10) -> dict[str, Any]:
        """Return the true books, best levels first as decimal strings, and all counts."""
        return {
            "steps": self.simulation.steps if self.simulation is not None else 0,
            "paused": self.paused,
            "forgotten": self.forgotten,
            "faults": msgspec.to_builtins(self.plan.faults),
            "fault_counts": dict(self.plan.counts),
            "venues": {name: venue.state(levels) for name, venue in self.venues.items()},
        }

    def _observe(self, market: SimulatedBook, outcome: Outcome) -> None:
        venue = self.venues[market.venue]
        now_ms = self._now_ms + self.plan.clock_skew_ms(venue.name)
        self._guard(venue, venue.observe, market, outcome, now_ms)
        if venue.trading is not None:
            self._guard(venue, venue.trading.observe, market, outcome, now_ms)

    def _guard(self, venue: Venue, call: Callable[..., None], *arguments: object) -> None:
        """Call something of one venue; a defect in it is counted, and all others go on."""
        try:
            call(*arguments)
        except Exception as error:
            self._complain(venue, error)

    def _complain(self, venue: Venue, error: Exception) -> None:
        """Count a defect of ours in one venue, and log it unless one was logged just now."""
        venue.defects += 1
        now = time.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_S
            self.log.error("%s: a defect of the simulated venue", venue.name, exc_info=error)

    async def _run(self) -> None:
        owed, last = 0.0, time.monotonic()
        keep_every_s = self._keep_interval()
        keep_at = last
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if self.simulation is not None and not self.paused:
                owed += (now - last) * self.config.rate
                owed = self._generate_owed(owed)
            last = now
            for venue in self.venues.values():
                now_ms = venue.now_ms()
                self._guard(venue, venue.tick, now_ms)
                if venue.trading is not None:
                    self._guard(venue, venue.trading.tick, now_ms)
                venue.hub.flush(now)
            self.after_tick()
            if now >= keep_at:
                keep_at = now + keep_every_s
                for venue in self.venues.values():
                    for session in list(venue.sessions):
                        session.keep(now)

    def _generate_owed(self, owed: float) -> float:
        """Generate what is due in small parts; return what is left for the next tick."""
        most = DEBT_S * self.config.rate
        if owed > most:
            self.forgotten += int(owed - most)
            owed = most
        until = time.monotonic() + BATCH_S
        while owed >= 1.0 and time.monotonic() < until:
            events = min(int(owed), 64)
            self.step(events)
            owed -= events
        return owed

    def _keep_interval(self) -> float:
        times = [self.config.timing.notice_s or 1.0]
        times += [venue.rules.shortest_s for venue in self.venues.values()]
        return min(0.5, min(times) / 4)


class SimulatorAgent:
    """The venue as an asynchronous agent (kind ``simulator``).

    In another environment than ``simulator`` it serves nothing, so that a configuration points at
    the real venue by that one key.
    """

    def __init__(
        self, name: str, config: SimulatorSettings, log: logging.Logger, wanted: bool = True
    ) -> None:
        self.name = name
        self._wanted = wanted
        self._config = config
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        if not self._wanted:
            self._log.info("not serving: the environment is not the simulator")
            await stop.wait()
            return
        async with SimulatedVenue(self._config, self._log) as venue:
            for name in venue.venues:
                self._log.info("serving %s at %s", name, venue.base(name))
            await stop.wait()


@takes(SimulatorSettings)
def agent(context: "AgentContext") -> SimulatorAgent:
    """Make the agent of kind ``simulator``; its settings are ``SimulatorSettings``."""
    wanted = context.config.environment == "simulator"
    return SimulatorAgent(context.name, settings(SimulatorSettings, context), context.log, wanted)
