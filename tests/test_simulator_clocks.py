"""Each simulated venue has one clock, and writes nothing that nobody hears."""

import asyncio
import time

import pytest

from gateways.simulator.bybit.shapes import order_row
from gateways.simulator.okx.shapes import describe_order
from gateways.simulator.timetable import Timetable
from tests import okx_client as okx
from tests.simulator_binance import SPOT, SYMBOL, USDM, Rest, market
from tests.simulator_client import against, message
from tests.trading_desk import TradingDesk

HOUR_MS = 3_600_000


def now_ms():
    return time.time_ns() // 1_000_000


def test_funding_moves_with_the_clock_however_often_it_is_looked_at():
    often, seldom = TradingDesk("binance_usdm"), TradingDesk("binance_usdm")
    begin = often.market.reference.rate
    for desk in (often, seldom):
        desk.tick()
    for _ in range(40):
        often.tick(250)
    seldom.tick(10_000)
    assert often.market.reference.rate == seldom.market.reference.rate != begin
    assert often.market.reference.open_interest == seldom.market.reference.open_interest
    before = often.market.reference.rate
    often.tick(-HOUR_MS)
    assert often.market.reference.rate == before


def test_the_crowd_and_we_trade_by_the_same_skewed_clock():
    async def use(venue, http):
        stamps, last = [], 0
        async with http.ws_connect(venue.base(USDM, "ws") + "/ws/btcusdt@trade") as socket:
            venue.set_faults(clock_skew_ms=HOUR_MS)
            venue.step(3000)
            stamps.append((await message(socket))["E"])
            rest = Rest(http, venue.base(USDM), clock=lambda: now_ms() + HOUR_MS)
            await rest("POST", "/fapi/v1/order", **market())
            newest = venue.venues[USDM].trading.market(SYMBOL).book.last_trade_id
            while last < newest:
                trade = await message(socket)
                last = trade["t"]
                stamps.append(trade["E"])
        return [stamp - now_ms() for stamp in stamps]

    stamps = against(use, venues=[USDM], symbols=[SYMBOL])
    assert all(HOUR_MS - 30_000 < ahead <= HOUR_MS for ahead in stamps)


def test_streams_go_on_after_the_clock_was_put_back():
    table = Timetable((100, 1000))
    assert table.due(HOUR_MS) == [100, 1000]
    assert table.due(HOUR_MS + 50) == []
    assert table.due(500) == [100, 1000]
    assert table.due(550) == []
    assert table.due(600) == [100]


def silent(*arguments, **more):
    raise AssertionError("somebody is told what nobody hears")


@pytest.mark.parametrize("name", ["_ticker_text", "_mini_text", "mark_price"])
def test_binance_writes_no_figures_that_nobody_hears(name, monkeypatch):
    monkeypatch.setattr(f"gateways.simulator.binance.streams.MarketStreams.{name}", silent)

    async def use(venue, http):
        venue.step(2000)
        await asyncio.sleep(1.1)
        return [each["defects"] for each in venue.state(1)["venues"].values()]

    assert against(use, venues=[SPOT, USDM]) == [0, 0]


@pytest.mark.parametrize("name", ["pushed_fill", "describe_algo"])
def test_okx_writes_no_pushes_that_nobody_hears(name, monkeypatch):
    async def use(venue, http):
        monkeypatch.setattr(f"gateways.simulator.okx.private_streams.{name}", silent)
        trading, account = okx.clearing(venue), okx.own(venue)
        await okx.placed(venue, http, ordType="market")
        price = trading.market(okx.SPOT).stats.last
        stop = {"triggerPx": str(price // 10 * 2), "orderPx": "-1", "ordType": "trigger"}
        terms = okx.ORDER | stop
        _, placed = await okx.post(venue, http, "trade/order-algo", terms)
        return len(account.fills), placed["code"]

    fills, code = okx.with_okx(use)
    assert fills > 0
    assert code == "0"


class Unread(list):
    """Fills that nobody may go through: an order can have very many."""

    def __iter__(self):
        raise AssertionError("all fills are read")


@pytest.mark.parametrize(("venue", "shape"), [("okx", describe_order), ("bybit", order_row)])
def test_an_order_is_told_without_a_sum_over_its_fills(venue, shape):
    desk = TradingDesk(venue)
    for price in (desk.middle, desk.middle + 1, desk.middle + 2):
        desk.asks(price, 4)
    opened = desk.buy(quantity=10)
    desk.bids(desk.middle - 1, 6)
    desk.bids(desk.middle - 2, 6)
    closed = desk.sell(quantity=10)
    for order in (opened, closed):
        units = order.market.units
        realised = sum(fill.realised for fill in order.fills)
        value = sum(units.value(fill.price, fill.quantity) for fill in order.fills)
        assert (order.realised, order.settled) == (realised, value)
        usual = shape(order)
        order.fills = Unread(order.fills)
        assert shape(order) == usual
