"""A gateway in the test's own loop: an instrument table, a local venue, rings, and who asks."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import aiohttp
import numpy as np

from engine.agent import AgentContext
from engine.common import Side, TimeInForce
from engine.config import parse
from engine.counters import CountersWriter
from engine.segment import unlink_segment
from engine.table import TableWriter
from feeds.adapter import find_venue
from feeds.feed import instrument_record
from feeds.types import INSTRUMENT
from gateways.client import OrderClient
from gateways.gateway import Gateway
from gateways.message import Instrument
from gateways.settings import Factory
from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.types import Action, ReportKind
from tests import toy_venue
from tests.desk import instrument

ACCOUNT = "main"
_TEXTS = ("asset", "venue_id", "text")


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until ``condition()`` holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


class Report(dict[str, Any]):
    """A report as a dict, its kind as ``ReportKind``."""

    @property
    def kind(self) -> ReportKind:
        return ReportKind(self["kind"])


def report_of(record: np.void) -> Report:
    names = record.dtype.names or ()
    report = Report({name: record[name].item() for name in names})
    return Report(report | {name: report[name].decode() for name in _TEXTS})


class GatewayDesk:
    """A gateway of account ``main`` at a venue; ``reports`` is all that it has said."""

    def __init__(self, instance: str, venue: str, instruments: list[Any]) -> None:
        self.instance, self.venue = instance, venue
        self.table = TableWriter.open(instance, f"feed.{venue}.instruments", INSTRUMENT, 64)
        for row, record in enumerate(instruments):
            record = record.copy()
            record["instrument"], record["venue"] = row, venue.encode()
            self.table.write(row, record)
        self.reports: list[Report] = []
        self.gateway: Gateway
        self.client: OrderClient
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self, factory: Factory | None, endpoints: Any = None, **settings: Any) -> None:
        """Start the gateway, and attach to its rings."""
        config = parse({"endpoints": endpoints or {}})
        self.counters = CountersWriter.open(self.instance, "gateway")
        context = AgentContext(
            self.instance,
            "gateway",
            {"account": ACCOUNT, "venue": self.venue, "event_timeout_s": 0.5} | settings,
            config,
            self.counters,
            logging.getLogger("gateway"),
        )
        self.gateway = Gateway(context, factory)
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.gateway.run(self._stop))
        await asyncio.sleep(0.01)
        if self._reader is None:
            self.client = OrderClient.open(self.instance, ACCOUNT)
            self._reader = asyncio.create_task(self._read())

    async def up(self) -> None:
        """Wait until the gateway is up."""
        await until(lambda: self._failed() or getattr(self.gateway, "up", False))
        self.take()

    def _failed(self) -> bool:
        assert self._task is not None
        if self._task.done():
            self._task.result()
        return False

    async def stop(self) -> None:
        """Stop the gateway cleanly."""
        assert self._task is not None
        self._stop.set()
        async with asyncio.timeout(10):
            await self._task
        self.take()
        self.counters.close()
        self._task = None

    async def kill(self) -> None:
        """End the gateway without any of its last words: its rings stay as they are."""
        assert self._task is not None
        self.gateway._say_down = lambda *why: None  # type: ignore[method-assign]
        for call in [*self.gateway.sender._tasks]:
            call.cancel()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.take()
        self.counters.close()
        self._task = None

    async def close(self) -> None:
        if self._task is not None:
            await self.stop()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self.client.close()
        self.table.close()

    async def forget(self) -> None:
        """Remove what the gateway, which has ended, has said: its successor is the first."""
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._reader = None
        self.client.close()
        for name in ("reports", "reports@oms"):
            unlink_segment(self.instance, f"gw.{ACCOUNT}.{name}")

    async def _read(self) -> None:
        while True:
            self.take()
            await asyncio.sleep(0.001)

    def take(self) -> None:
        """Take what has been reported."""
        self.reports += [report_of(record) for record in self.client.poll()]

    # What a test asks for and looks at.
    def of(self, *kinds: ReportKind, **fields: Any) -> list[Report]:
        """Return the reports of these kinds with these fields so far."""
        return [
            report
            for report in self.reports
            if (not kinds or report.kind in kinds)
            and all(report[name] == value for name, value in fields.items())
        ]

    async def got(
        self, kind: ReportKind, count: int = 1, seconds: float = 10.0, **fields: Any
    ) -> Report:
        """Wait for the n-th report of this kind with these fields, and return it."""
        try:
            await until(lambda: self._failed() or len(self.of(kind, **fields)) >= count, seconds)
        except TimeoutError:
            said = [f"{each.kind.name} {each['client_id']}" for each in self.reports]
            raise AssertionError(f"no {kind.name} {fields}; there is {said}") from None
        return self.of(kind, **fields)[count - 1]

    async def quiet(self, seconds: float = 0.1) -> None:
        """Let some time pass in which nothing should come."""
        await asyncio.sleep(seconds)
        self.take()

    def kinds(self, client_id: int) -> list[ReportKind]:
        """Return the kinds of an order's reports so far, in order."""
        return [report.kind for report in self.of(client_id=client_id)]

    def buy(self, client_id: int, *, price: int = 10, quantity: int = 5, **terms: Any) -> int:
        return self.client.new(client_id, 0, Side.BUY, quantity, price, **terms)

    def text(self, client_id: int) -> str:
        """Return an order's client id as the venue knows it."""
        return self.gateway.core.ids.text(client_id)

    def counted(self, name: str) -> int:
        return int(self.gateway._values[self.gateway._index[name]])

    def ask_raw(self, action: Action, **fields: Any) -> int:
        """Ask for something with a record's fields as they are."""
        terms = fields.pop("terms", (0, 0, 0, 0, 0, 0, 0))
        client_id, row = fields.pop("client_id", 0), fields.pop("instrument", -1)
        return self.client._ask(action, client_id, row, terms=terms, **fields)


@asynccontextmanager
async def toy_desk(instance: str, monkeypatch: Any, venue: Any = None, **settings: Any) -> Any:
    """Yield (desk, toy venue), the gateway up."""
    set_secrets(monkeypatch, toy_venue.KEY, toy_venue.SECRET)
    async with venue or toy_venue.ToyVenue() as venue:
        records = [instrument(name, 0, 0) for name in toy_venue.SYMBOLS]
        desk = GatewayDesk(instance, "toy", records)
        try:
            await desk.start(toy_venue.Toy, **(toy_settings(venue) | settings))
            await desk.up()
            yield desk, venue
        finally:
            await desk.close()


async def restart_toy(desk: GatewayDesk, **changes: Any) -> None:
    """Let a successor start at the toy venue where the gateway has ended."""
    names = ("rest_url", "orders_url", "private_url", "settle_s", "request_timeout_s", "dead_man_s")
    names += ("ring",)
    settings = {name: getattr(desk.gateway.settings, name) for name in names} | changes
    desk.reports.clear()
    await desk.start(toy_venue.Toy, **settings)
    await desk.up()


def toy_settings(venue: Any) -> dict[str, Any]:
    """Return where the toy venue is, and times for tests."""
    return {
        "rest_url": venue.url(),
        "orders_url": venue.url("ws", "/orders"),
        "private_url": venue.url("ws", "/private"),
        "request_timeout_s": 0.3,
        "backoff_s": 0.02,
        "settle_s": 0.05,
        "dead_man_s": 0.0,
    }


def set_secrets(monkeypatch: Any, key: str, secret: str, passphrase: str = "") -> None:
    """Put the account's secrets where gateways look for them."""
    for name, value in (("KEY", key), ("SECRET", secret), ("PASSPHRASE", passphrase)):
        if value:
            monkeypatch.setenv(f"TRADE_INFRA_SECRET_{ACCOUNT.upper()}_{name}", value)


def order_id() -> int:
    """Return an order number that no other has."""
    return time.time_ns()


# -- the simulated venue --------------------------------------------------------------------------
SYMBOLS = {
    "binance_spot": ("BTCUSDT", "ETHUSDT"),
    "binance_usdm": ("BTCUSDT", "ETHUSDT"),
    "okx": ("BTC-USDT-SWAP", "BTC-USDT"),
    "bybit": ("BTCUSDT", "ETHUSDT"),
    "bybit_spot": ("BTCUSDT", "ETHUSDT"),
}
"""By venue: the first is the one that tests trade."""
FACTORIES = {
    "binance_spot": "gateways.binance:BinanceSpot",
    "binance_usdm": "gateways.binance:BinanceUsdm",
    "okx": "gateways.okx:Okx",
    "bybit": "gateways.bybit:Bybit",
    "bybit_spot": "gateways.bybit:BybitSpot",
}
DEMO = ("demo-key", "demo-secret", "demo-pass")


def factory_of(venue: str, **dialect: Any) -> Factory:
    """Return what makes a venue's adapter, with some facts of its dialect changed."""
    module, _, name = FACTORIES[venue].partition(":")
    base = getattr(import_module(module), name)

    class Changed(base):  # type: ignore[misc, valid-type]
        @property
        def dialect(self) -> Any:
            return replace(super().dialect, **dialect)

    return Changed


async def instruments_of(venue: str, base: str, symbols: tuple[str, ...]) -> list[Any]:
    """Return the records that a feed would write for these symbols."""
    adapter = find_venue(venue)
    found = {}
    async with aiohttp.ClientSession() as session:
        for request in adapter.instruments_requests():
            async with session.get(base + request.path) as response:
                for each in adapter.parse_instruments(await response.read()):
                    found[each["native"]] = each
    return [instrument_record(found[name], row, venue) for row, name in enumerate(symbols)]


class SimulatedDesk(GatewayDesk):
    """A gateway at the simulated venue, whose books are empty but for what a test puts there.

    The crowd (``sells``, ``buys``) trades with whoever stands in the book.
    """

    server: SimulatedVenue
    started: tuple[Any, ...]
    settings: dict[str, Any]

    def prepare(self, server: SimulatedVenue) -> None:
        assert server.simulation is not None
        self.server, self.native = server, SYMBOLS[self.venue][0]
        self.market = server.simulation.find(self.venue, self.native)
        trading = server.venues[self.venue].trading
        assert trading is not None
        self.trading, self.account = trading, trading.accounts[0]
        self.middle = self.market.instrument.start
        """In ticks: near it, all prices are allowed."""
        self.lots = 4 * self.market.instrument.typical_lots
        """An ordinary quantity, in lots."""

    @property
    def row(self) -> Instrument:
        found = self.gateway.core.instruments.get(0)
        assert found is not None
        return found

    def price(self, ticks: int) -> int:
        """Return ticks as the gateway writes prices."""
        units = self.trading.price_units(self.market, ticks)
        return int(units.scaleb(self.row.price_decimals))

    def quantity(self, lots: int) -> int:
        """Return lots as the gateway writes quantities."""
        units = self.trading.quantity_units(self.market, lots)
        return int(units.scaleb(self.row.quantity_decimals))

    def bid(self, client_id: int, *, below: int = 10, lots: int = 0, **terms: Any) -> int:
        """Ask for a buy order so many ticks below the middle."""
        price = self.price(self.middle - below)
        return self.buy(client_id, price=price, quantity=self.quantity(lots or self.lots), **terms)

    def amend(self, client_id: int, *, below: int, lots: int = 0) -> int:
        price = self.price(self.middle - below)
        return self.client.amend(
            client_id, 0, price=price, quantity=self.quantity(lots or self.lots)
        )

    def cancel(self, client_id: int) -> int:
        return self.client.cancel(client_id, 0)

    def sells(self, lots: int, *, below: int = 10, rest: bool = False) -> None:
        """Let the crowd sell down to so many ticks below the middle."""
        self._crowd(Side.SELL, below, lots, rest)

    def buys(self, lots: int, *, below: int = 10, rest: bool = False) -> None:
        self._crowd(Side.BUY, below, lots, rest)

    def _crowd(self, side: Side, below: int, lots: int, rest: bool) -> None:
        kind = TimeInForce.GTC if rest else TimeInForce.IOC
        outcome = self.market.book.submit(side, self.middle - below, lots, kind)
        if outcome.fills:
            self.market.stats.observe(outcome)
        self.server._now_ms = time.time_ns() // 1_000_000
        self.server._observe(self.market, outcome)

    def now_ms(self) -> int:
        return int(self.server.venues[self.venue].now_ms())

    def fault(self, **faults: Any) -> None:
        self.server.set_faults(**faults)

    def well(self) -> None:
        """End all faults."""
        self.server.plan.clear()

    def orders_there(self, client_id: int) -> list[Any]:
        """Return the venue's own orders under a client id, ended ones too."""
        text = self.text(client_id)
        everything = [*self.account.orders.values(), *self.account.history]
        return [order for order in everything if order.client_id == text]

    async def open(self, client_id: int, **terms: Any) -> None:
        """Ask for an order and wait until it is told to be open."""
        self.bid(client_id, **terms)
        await self.got(ReportKind.OPEN, client_id=client_id)

    async def settled(self, seconds: float = 10.0) -> None:
        """Wait until nothing is on its way or in doubt, and compare with the venue's own state."""
        gateway = self.gateway
        await until(
            lambda: (
                not (gateway.flights.waiting or gateway.flights.expected or len(gateway.doubts))
            ),
            seconds,
        )
        await self.quiet(0.05)
        ours = {order.client_text: order.filled for order in gateway.core.orders.live()}
        theirs = {
            order.client_id: self.quantity(order.filled) for order in self.account.orders.values()
        }
        assert ours == theirs
        fills = [each["last_quantity"] for each in self.of(ReportKind.FILL)]
        assert sum(fills) == sum(self.quantity(fill.quantity) for fill in self.account.fills)

    async def restart(self) -> None:
        """Let a successor start where the gateway has ended."""
        self.reports.clear()
        await self.start(*self.started, **self.settings)
        await self.up()


@asynccontextmanager
async def simulated_desk(
    instance: str,
    monkeypatch: Any,
    venue: str,
    dialect: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """Yield a ``SimulatedDesk``, its gateway up."""
    set_secrets(monkeypatch, *DEMO)
    config = SimulatorSettings(port=0, rate=0, venues=[venue], resting=0, instrument_codes=True)
    async with SimulatedVenue(config) as server:
        base = server.base(venue)
        records = await instruments_of(venue, base, SYMBOLS[venue])
        desk = SimulatedDesk(instance, venue, records)
        changed = {"not_found_after_s": 1.0} | (dialect or {})
        where = {venue: {"rest": base, "websocket": server.base(venue, "ws")}}
        desk.prepare(server)
        desk.started, desk.settings = (factory_of(venue, **changed), where), QUICK | settings
        try:
            await desk.start(*desk.started, **desk.settings)
            await desk.up()
            yield desk
        finally:
            server.plan.clear()
            await desk.close()


QUICK = {"request_timeout_s": 0.4, "backoff_s": 0.02, "settle_s": 0.2, "dead_man_s": 0.0}
"""Times for tests."""
