"""What the simulated venues share: instruments, depth views, the timetable, several at once."""

import asyncio
import json
from decimal import Decimal
from random import Random

import pytest

from engine.common import Side
from engine.errors import ConfigError
from gateways.simulator.depth import DepthView
from gateways.simulator.instruments import (
    GENERATED,
    Market,
    Scale,
    choose,
    decimal_text,
    short_text,
)
from gateways.simulator.market import Statistics
from gateways.simulator.matching import OrderBook
from gateways.simulator.registry import VENUES
from gateways.simulator.session import Timing
from gateways.simulator.simulation import Simulation
from gateways.simulator.timetable import Timetable
from tests.data import shared
from tests.simulator_client import against, answer, message, shape, simulated, until

SPOT, USDM = "binance_spot", "binance_usdm"


def test_every_venue_has_instruments():
    assert set(VENUES) == set(GENERATED)
    assert all(GENERATED.values())


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("BTCUSDT", {"okx": ["BTC-USDT", "BTC-USDT-SWAP"], "bybit": ["BTCUSDT"]}),
        ("BTC/USDT", {"okx": ["BTC-USDT"], "bybit": []}),
        ("BTC/USDT:USDT", {"okx": ["BTC-USDT-SWAP"], "bybit": ["BTCUSDT"]}),
        ("BTC/USD:BTC", {"okx": ["BTC-USD-SWAP"], "bybit": ["BTCUSD"]}),
        ("ETH-USDT-SWAP", {"okx": ["ETH-USDT-SWAP"], "bybit": []}),
    ],
)
def test_an_instrument_is_chosen_by_its_symbol_its_pair_or_its_unified_symbol(name, chosen):
    found = choose(["okx", "bybit"], [name])
    assert {venue: [one.symbol for one in ones] for venue, ones in found.items()} == chosen


def test_without_names_all_instruments_are_chosen():
    assert [one.symbol for one in choose(["okx"], [])["okx"]] == list(GENERATED["okx"])


def test_a_symbol_that_no_venue_has_is_refused_by_name():
    with pytest.raises(ConfigError, match="NOSUCH"):
        choose(["okx", "bybit"], ["BTCUSDT", "NOSUCH"])
    with pytest.raises(ConfigError, match="nowhere"):
        choose(["nowhere"], [])


def test_decimals_are_written_in_full_or_short():
    assert (decimal_text(-150, 2), decimal_text(7, 0), decimal_text(5, 3)) == (
        "-1.50",
        "7",
        "0.005",
    )
    assert (short_text(1500, 3), short_text(1000, 3), short_text(100, 0)) == ("1.5", "1", "100")
    assert (Scale(10, 2).text(15), Scale(10, 2, True).text(15)) == ("1.50", "1.5")


@pytest.mark.parametrize("limit", [1, 5, 20, 1000])
def test_differences_of_a_view_applied_one_after_the_other_give_the_best_levels(limit):
    rng, book = Random(limit), OrderBook()
    view = DepthView(book, limit)
    own = {Side.BUY: {}, Side.SELL: {}}
    for _ in range(2000):
        if rng.random() < 0.45 and book.orders:
            outcome = book.cancel(rng.choice(list(book.orders)))
        else:
            side = rng.choice((Side.BUY, Side.SELL))
            outcome = book.submit(side, 100 - 8 * side + rng.randint(-12, 12), rng.randint(1, 9))
        view.touch(outcome.changes)
        if rng.random() < 0.3:
            for side, rows in zip(own, view.difference(), strict=True):
                for price, lots, orders in rows:
                    if lots:
                        own[side][price] = (lots, orders)
                    else:
                        del own[side][price]
                best = [(price, lots) for price, (lots, _) in own[side].items()]
                best.sort(reverse=side is Side.BUY)
                assert best == book.depth(side, limit)
                assert [row[:2] for row in view.rows(side)] == best


def test_a_view_without_changes_has_no_difference():
    book = OrderBook()
    view = DepthView(book, 5)
    view.touch(book.submit(Side.BUY, 10, 3).changes)
    assert view.changed
    assert view.difference() == ([(10, 3, 1)], [])
    assert not view.changed
    assert view.difference() == ([], [])


def test_intervals_are_due_at_their_whole_multiples():
    table = Timetable((10, 100, 0))
    assert table.due(1_000_001) == [10, 100, 0]
    assert table.due(1_000_009) == [0]
    assert table.due(1_000_012) == [10, 0]
    assert table.due(1_000_100) == [10, 100, 0]


def test_the_figures_of_the_day_are_those_of_the_trades():
    book = OrderBook()
    for price in (101, 102, 103):
        book.submit(Side.SELL, price, 5)
    book.submit(Side.BUY, 99, 5)
    stats = Statistics(book, 50)
    assert stats.first == 100
    stats.observe(book.submit(Side.BUY, None, 12))
    stats.observe(book.submit(Side.SELL, None, 1))
    assert (stats.high, stats.low, stats.last, stats.last_lots) == (103, 99, 99, 1)
    assert stats.volume == 13
    assert stats.turnover == 5 * 101 + 5 * 102 + 2 * 103 + 99
    assert (stats.trades, stats.first_id, stats.last_id) == (4, 1, 4)


def test_the_same_seed_gives_the_same_markets_of_all_venues():
    def outcomes(seed):
        found = []
        simulation = Simulation(seed, VENUES, [], resting=50, liquidations=0.01)
        simulation.advance(
            1500, lambda market, outcome: found.append((market.venue, outcome.changes))
        )
        return found, [market.stats.last for market in simulation.books]

    assert outcomes(3) == outcomes(3)
    assert outcomes(3) != outcomes(4)


def test_the_index_price_of_a_coin_is_the_same_everywhere():
    simulation = Simulation(1, VENUES, ["BTC/USDT:USDT", "BTC/USD:BTC"], resting=50)
    simulation.advance(3000)
    indices = {market.reference.index for market in simulation.books}
    assert len(simulation.books) == 5
    assert len(indices) == 1
    for market in simulation.books:
        assert abs(market.reference.mark - indices.copy().pop()) < indices.copy().pop() // 500


def test_forced_orders_are_seldom_and_in_contracts_only():
    forced = []
    simulation = Simulation(1, VENUES, [], resting=50, liquidations=0.05)
    simulation.advance(
        2000, lambda market, outcome: forced.append(market) if outcome.forced else None
    )
    assert 20 < len(forced) < 110
    assert all(market.instrument.market is not Market.SPOT for market in forced)


def test_all_venues_are_served_by_one_server():
    streams = {
        "binance_spot": ("/ws/btcusdt@trade", None),
        "binance_usdm": ("/market/ws/btcusdt@aggTrade", None),
        "okx": (
            "/ws/v5/public",
            {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]},
        ),
        "bybit": ("/v5/public/linear", {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}),
        "bybit_spot": ("/v5/public/spot", {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}),
    }

    async def first(venue, http, name):
        path, request = streams[name]
        async with http.ws_connect(venue.base(name, "ws") + path) as socket:
            if request is not None:
                await socket.send_json(request)
            return await until(socket, lambda m: "data" in m or "e" in m)

    async def use(venue, http):
        assert list(venue.venues) == list(VENUES)
        return await asyncio.gather(*[first(venue, http, name) for name in VENUES])

    assert len(against(use, venues=list(VENUES), rate=8000.0)) == 5


def test_an_unknown_venue_is_refused():
    with pytest.raises(ConfigError, match="nowhere"):
        simulated(venues=["nowhere"])


@pytest.mark.parametrize("connections", [(0, 0), (2, 2), (2, -1)])
def test_a_choice_of_connections_that_cannot_be_is_refused(connections):
    async def use(venue, http):
        with pytest.raises(ConfigError, match="connections"):
            venue.set_faults(connections=connections)

    against(use)


def test_what_is_done_once_can_be_asked_for_over_the_control_interface():
    async def use(venue, http):
        url = f"http://127.0.0.1:{venue.port}/control/faults"
        async with http.ws_connect(venue.base("okx", "ws") + "/ws/v5/public") as socket:
            changes = {"venue": "okx", "connections": [1, 0], "end_soon": True}
            async with http.post(url, json=changes) as response:
                assert (await response.json())["connections"] == [1, 0]
            assert (await message(socket))["code"] == "64008"
        async with http.post(url, json={"sequence_reset": 7}) as response:
            assert response.status == 400

    against(use, venues=["okx"], timing=Timing(notice_s=0.1))


LISTS = {
    "binance_spot": ("BTCUSDT", "/api/v3/exchangeInfo", "status"),
    "binance_usdm": ("BTCUSDT", "/fapi/v1/exchangeInfo", "status"),
    "okx": ("BTC-USDT-SWAP", "/api/v5/public/instruments?instType=SWAP", "state"),
    "bybit": ("BTCUSDT", "/v5/market/instruments-info?category=linear", "status"),
    "bybit_spot": ("BTCUSDT", "/v5/market/instruments-info?category=spot", "status"),
}


async def listed(venue, http, name):
    """Return the entry of an instrument in the venue's list, None if it is not there."""
    symbol, path, _ = LISTS[name]
    _, _, body = await answer(http, venue.base(name) + path)
    entries = body.get("symbols") or body.get("data") or body.get("result", {}).get("list")
    return next((e for e in entries if symbol in (e.get("symbol"), e.get("instId"))), None)


def tick_of(entry):
    if "tickSz" in entry:
        return Decimal(entry["tickSz"])
    filters = entry.get("priceFilter") or entry["filters"][0]
    return Decimal(filters["tickSize"])


@pytest.mark.parametrize("name", LISTS)
def test_a_tick_changes_while_running_and_orders_off_it_go(name):
    async def use(venue, http):
        symbol = LISTS[name][0]
        before = tick_of(await listed(venue, http, name))
        venue.step(500)
        venue.change_instrument(name, symbol, tick=5)
        venue.step(500)
        after = tick_of(await listed(venue, http, name))
        assert after == 5 * before
        book = venue.state(None)["venues"][name]["symbols"][symbol]
        for row in book["bids"] + book["asks"]:
            assert Decimal(row[0]) % after == 0

    against(use, venues=[name])


@pytest.mark.parametrize("name", LISTS)
def test_an_instrument_is_halted_and_delisted_while_running(name):
    async def use(venue, http):
        symbol, _, key = LISTS[name]
        trading = (await listed(venue, http, name))[key]
        venue.change_instrument(name, symbol, listing="halted")
        before = venue.state(1)["venues"][name]["symbols"][symbol]["update_id"]
        venue.step(500)
        assert (await listed(venue, http, name))[key] != trading
        after = venue.state(1)["venues"][name]["symbols"][symbol]["update_id"]
        assert after == before
        venue.change_instrument(name, symbol, listing="delisted")
        assert await listed(venue, http, name) is None
        venue.change_instrument(name, symbol, listing="trading")
        assert (await listed(venue, http, name))[key] == trading

    against(use, venues=[name])


@pytest.mark.parametrize(
    "change",
    [
        {"venue": "okx", "symbol": "NOSUCH"},
        {"venue": "okx", "symbol": "BTC-USDT", "tick": 0},
        {"venue": "okx", "symbol": "BTC-USDT", "listing": "gone"},
        {"venue": "okx"},
    ],
)
def test_a_change_of_an_instrument_that_makes_no_sense_is_refused(change):
    async def use(venue, http):
        url = f"http://127.0.0.1:{venue.port}/control/instrument"
        async with http.post(url, json=change) as response:
            assert response.status == 400
            assert (await response.json())["error"]
        async with http.post(url, json={"venue": "okx", "symbol": "BTC-USDT", "tick": 2}) as good:
            assert good.status == 200

    against(use, venues=["okx"])


BINANCE = [
    (SPOT, "btcusdt@ticker", "binance_spot/public/24hrTicker"),
    (SPOT, "btcusdt@miniTicker", "binance_spot/public/arr_24hrMiniTicker"),
    (USDM, "btcusdt@ticker", "binance_usdm/public/24hrTicker"),
    (USDM, "btcusdt@miniTicker", "binance_usdm/public/24hrMiniTicker"),
    (USDM, "btcusdt@forceOrder", "binance_usdm/public/forceOrder"),
]


@pytest.mark.parametrize(("name", "stream", "sample"), BINANCE)
def test_the_slow_streams_of_binance_send_the_fields_of_recorded_messages(name, stream, sample):
    async def use(venue, http):
        async with http.ws_connect(venue.base(name, "ws") + f"/ws/{stream}") as socket:
            venue.step(500)
            return await message(socket)

    with shared(f"{sample}.jsonl").open() as lines:
        old = json.loads(lines.readline())
    old = old[0] if isinstance(old, list) else old
    event = against(use, liquidations=0.2)
    assert shape(event) - {".ps", ".st"} == shape(old.get("data", old))


@pytest.mark.parametrize("kind", ["ticker", "miniTicker"])
def test_the_day_of_all_symbols_comes_as_one_list(kind):
    async def use(venue, http):
        async with http.ws_connect(venue.base(USDM, "ws") + f"/market/ws/!{kind}@arr") as socket:
            venue.step(3000)
            return await message(socket)

    assert {event["s"] for event in against(use)} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}


def test_the_open_interest_of_binance_is_a_request():
    async def use(venue, http):
        url = venue.base(USDM) + "/fapi/v1/openInterest"
        return await answer(http, url, symbol="BTCUSDT")

    status, _, body = against(use)
    assert (status, body["symbol"]) == (200, "BTCUSDT")
    assert Decimal(body["openInterest"]) > 0


def test_a_third_party_client_of_bybit_reads_the_public_side():
    """``pybit`` is the venue's own client; it is used only where it is installed."""
    pybit = pytest.importorskip("pybit.unified_trading")

    async def use(venue, http):
        session = pybit.HTTP()
        session.endpoint = venue.base("bybit")
        book = await asyncio.to_thread(
            session.get_orderbook, category="linear", symbol="BTCUSDT", limit=5
        )
        info = await asyncio.to_thread(session.get_instruments_info, category="linear")
        return book, info

    book, info = against(use, venues=["bybit"])
    assert len(book["result"]["b"]) == 5
    assert info["result"]["list"][0]["symbol"] == "BTCUSDT"


def moved(urls, rest, websocket):
    """Return the addresses of a client with other hosts; the paths stay."""
    if isinstance(urls, dict):
        return {key: moved(value, rest, websocket) for key, value in urls.items()}
    scheme, _, address = urls.partition("://")
    path = address.partition("/")[2]
    return "/".join([websocket if scheme == "wss" else rest, path]).rstrip("/")


@pytest.mark.parametrize("name", ["okx", "bybit"])
def test_a_third_party_client_keeps_a_book(name):
    """``ccxt`` checks the sequence itself; it is used only where it is installed."""
    ccxt = pytest.importorskip("ccxt.pro")
    kind = {"okx": "swap", "bybit": "linear"}[name]

    async def use(venue, http):
        options = {"fetchMarkets": {"types": [kind]}, "defaultType": "swap"}
        exchange = getattr(ccxt, name)({"options": options})
        bases = venue.base(name), venue.base(name, "ws")
        exchange.urls["api"] = moved(exchange.urls["api"], *bases)
        exchange.has["fetchCurrencies"] = False
        try:
            for _ in range(20):
                book = await asyncio.wait_for(exchange.watch_order_book("BTC/USDT:USDT"), 10)
            trades = await asyncio.wait_for(exchange.watch_trades("BTC/USDT:USDT"), 10)
        finally:
            await exchange.close()
        return book, trades

    book, trades = against(use, venues=[name], rate=3000.0)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert trades
