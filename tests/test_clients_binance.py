"""Clients that we did not write trade on the simulated Binance: ccxt and python-binance.

They are used as they are; only addresses are changed. Each test ends with the client's view of
orders, fills, balances and positions against the simulator's own books.
"""

import asyncio
import contextlib
import re
import warnings
from decimal import Decimal

import pytest

from tests.simulator_binance import KEY, SECRET, SPOT, USDM, account_of, best
from tests.simulator_client import simulated

PAIR, CONTRACT, SYMBOL = "BTC/USDT", "BTC/USDT:USDT", "BTCUSDT"
WAIT_S = 20.0

pytestmark = pytest.mark.filterwarnings(
    # They are the clients' own affair.
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def local(addresses, port):
    """Return a client's addresses with the host of the simulated venue."""
    if isinstance(addresses, dict):
        return {name: local(each, port) for name, each in addresses.items()}
    found = re.match(r"(https|wss|http|ws)://[^/]+(/.*)?$", addresses)
    if found is None:
        return addresses
    scheme = "http" if found[1].startswith("http") else "ws"
    return f"{scheme}://127.0.0.1:{port}{found[2] or ''}"


def ccxt_client(make, venue):
    """Return a ccxt client that is pointed at the venue."""
    client = make({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
    types = ["linear"] if client.id == "binanceusdm" else ["spot"]
    client.options["fetchMarkets"] = {"types": types}
    client.urls["api"] = local(client.urls["api"], venue.port)
    return client


def run(use, **changes):
    """Run ``use(venue)`` against a fresh venue."""

    async def serve():
        async with simulated(**changes) as venue:
            return await asyncio.wait_for(use(venue), 60.0)

    return asyncio.run(serve())


def own_fills(venue, name):
    """Return (trade id, quantity, fee) of the account's fills in the simulator's own books."""
    quantity = venue.venues[name].trading.quantity_units
    return [
        (str(fill.id), quantity(fill.order.market, fill.quantity), fill.fee)
        for fill in account_of(venue, name).fills
    ]


def exact(number):
    """Return a client's float as the decimal that it stands for."""
    return Decimal(repr(number))


def check_ccxt(venue, name, orders, opened, trades, balance):
    """Compare what a ccxt client was told with the simulator's own books."""
    account = account_of(venue, name)
    assert {order["id"] for order in opened} == {str(number) for number in account.orders}
    everything = (*account.history, *account.orders.values())
    known = {order.id: order for order in everything if not order.terms.algo}
    assert {order["id"] for order in orders} == {str(number) for number in known}
    amount = venue.venues[name].trading.quantity_units
    for order in orders:
        own = known[int(order["id"])]
        assert exact(order["filled"]) == amount(own.market, own.filled)
        assert (order["status"] == "open") is own.status.live
    told = [(each["id"], exact(each["amount"]), exact(each["fee"]["cost"])) for each in trades]
    assert told == own_fills(venue, name)
    for asset, held in account.balances.items():
        if name == SPOT:
            assert exact(balance[asset]["free"]) == held.free, asset
            assert exact(balance[asset]["used"]) == held.locked, asset


def test_ccxt_trades_spot_by_rest():
    ccxt = pytest.importorskip("ccxt")

    def trade(venue):
        client = ccxt_client(ccxt.binance, venue)
        client.load_markets()
        bid, ask = (client.fetch_order_book(PAIR)[side][0][0] for side in ("bids", "asks"))
        first = client.create_order(PAIR, "limit", "buy", 0.01, round(bid * 0.9, 2))
        edited = client.edit_order(first["id"], PAIR, "limit", "buy", 0.02, round(bid * 0.91, 2))
        assert edited["id"] != first["id"]
        client.create_order(PAIR, "market", "buy", 0.5)
        client.create_market_buy_order_with_cost(PAIR, 1000)
        maker = client.create_order(
            PAIR, "limit", "sell", 0.1, round(ask * 1.1, 2), {"postOnly": True}
        )
        client.create_order(
            PAIR, "limit", "sell", 0.1, round(bid * 0.9, 2), {"triggerPrice": round(bid * 0.95, 2)}
        )
        with pytest.raises(ccxt.OrderImmediatelyFillable):
            client.create_order(PAIR, "limit", "buy", 0.1, round(ask, 2), {"postOnly": True})
        with pytest.raises(ccxt.InsufficientFunds):
            client.create_order(PAIR, "limit", "buy", 100, round(bid, 2))
        with pytest.raises(ccxt.OrderNotFound):
            client.fetch_order("1", PAIR)
        assert client.fetch_order(maker["id"], PAIR)["status"] == "open"
        assert client.cancel_order(maker["id"], PAIR)["status"] == "canceled"
        assert client.fetch_trading_fee(PAIR)["maker"] == 0.001
        check_ccxt(
            venue,
            SPOT,
            client.fetch_orders(PAIR),
            client.fetch_open_orders(PAIR),
            client.fetch_my_trades(PAIR),
            client.fetch_balance(),
        )
        assert len(client.cancel_all_orders(PAIR)) == 2
        assert account_of(venue).orders == {}

    run(lambda venue: asyncio.to_thread(trade, venue))


def test_ccxt_trades_contracts_by_rest():
    ccxt = pytest.importorskip("ccxt")

    def trade(venue):
        client = ccxt_client(ccxt.binanceusdm, venue)
        client.load_markets()
        bid, ask = (client.fetch_order_book(CONTRACT)[side][0][0] for side in ("bids", "asks"))
        client.set_leverage(10, CONTRACT)
        client.set_margin_mode("isolated", CONTRACT)
        with pytest.raises(ccxt.OperationRejected):
            client.set_position_mode(hedged=False)
        first = client.create_order(CONTRACT, "limit", "buy", 0.01, round(bid * 0.96, 1))
        edited = client.edit_order(
            first["id"], CONTRACT, "limit", "buy", 0.02, round(bid * 0.97, 1)
        )
        assert (edited["id"], edited["amount"]) == (first["id"], 0.02)
        bought = client.create_order(CONTRACT, "market", "buy", 0.5)
        assert bought["status"] == "closed"
        client.create_order(CONTRACT, "market", "sell", 0.2, params={"reduceOnly": True})
        with pytest.raises(ccxt.InvalidOrder):
            client.create_order(CONTRACT, "limit", "buy", 0.1, ask, {"postOnly": True})
        stop = client.create_order(
            CONTRACT, "stop_market", "sell", 0.1, None, {"stopPrice": round(bid * 0.95, 1)}
        )
        (waiting,) = client.fetch_open_orders(CONTRACT, params={"trigger": True})
        assert waiting["id"] == stop["id"]
        client.cancel_order(stop["id"], CONTRACT, {"trigger": True})
        batch = client.create_orders(
            [
                {"symbol": CONTRACT, "type": "limit", "side": "buy", "amount": 0.01, "price": price}
                for price in (round(bid * 0.98, 1), round(bid * 0.97, 1))
            ]
        )
        client.cancel_orders([batch[0]["id"]], CONTRACT)
        check_ccxt(
            venue,
            USDM,
            client.fetch_orders(CONTRACT),
            client.fetch_open_orders(CONTRACT),
            client.fetch_my_trades(CONTRACT),
            client.fetch_balance(),
        )
        check_contract(venue, client.fetch_positions([CONTRACT]), client.fetch_balance())
        client.cancel_all_orders(CONTRACT)
        assert client.fetch_open_orders(CONTRACT) == []
        kinds = {entry["type"] for entry in client.fetch_ledger("USDT")}
        assert {"transfer", "commission"} <= kinds

    def check_contract(venue, positions, balance):
        (position,) = positions
        own = account_of(venue, USDM).positions[SYMBOL, "net"]
        trading = venue.venues[USDM].trading
        assert exact(position["contracts"]) == trading.quantity_units(own.market, own.lots)
        assert (position["side"], position["marginMode"]) == ("long", "isolated")
        assert Decimal(position["info"]["entryPrice"]) == own.entry
        margin = account_of(venue, USDM).balances["USDT"].total + trading.unrealised(own)
        assert exact(balance["USDT"]["total"]) == margin

    run(lambda venue: asyncio.to_thread(trade, venue))


def test_ccxt_pro_trades_spot_and_hears_of_it_by_socket():
    ccxt = pytest.importorskip("ccxt.pro")

    async def trade(venue):
        client = ccxt_client(ccxt.binance, venue)
        try:
            await client.load_markets()
            bid, _ = best(venue)
            orders = Watcher(client.watch_orders, PAIR)
            trades = Watcher(client.watch_my_trades, PAIR)
            await wait_for_listener(venue, SPOT)
            placed = await client.create_order_ws(PAIR, "limit", "buy", 0.01, round(bid * 0.9, 2))
            edited = await client.edit_order_ws(
                placed["id"], PAIR, "limit", "buy", 0.02, round(bid * 0.91, 2)
            )
            taken = await client.create_order_ws(PAIR, "market", "buy", 1.0)
            asked = await client.fetch_order_ws(edited["id"], PAIR)
            assert asked["status"] == "open"
            await client.cancel_order_ws(edited["id"], PAIR)
            await orders.until(lambda seen: seen.get(edited["id"]) == "canceled")
            await trades.until(lambda seen: len(seen) == len(own_fills(venue, SPOT)))
            assert orders.seen == {
                placed["id"]: "canceled",
                edited["id"]: "canceled",
                taken["id"]: "closed",
            }
            assert sorted(trades.seen) == sorted(each[0] for each in own_fills(venue, SPOT))
            check_ccxt(
                venue,
                SPOT,
                await client.fetch_orders_ws(PAIR),
                await client.fetch_open_orders_ws(PAIR),
                await client.fetch_my_trades_ws(PAIR),
                await client.fetch_balance(),
            )
            for asset in ("BTC", "USDT"):
                held = account_of(venue).balances[asset]
                assert exact(client.balance["spot"][asset]["free"]) == held.free
            await orders.end()
            await trades.end()
        finally:
            await client.close()

    run(trade)


def test_ccxt_pro_trades_contracts_and_hears_of_it_by_socket():
    ccxt = pytest.importorskip("ccxt.pro")

    async def trade(venue):
        client = ccxt_client(ccxt.binanceusdm, venue)
        try:
            await client.load_markets()
            _, ask = best(venue, USDM)
            orders = Watcher(client.watch_orders, CONTRACT)
            trades = Watcher(client.watch_my_trades, CONTRACT)
            positions = Watcher(client.watch_positions, [CONTRACT])
            await wait_for_listener(venue, USDM)
            placed = await client.create_order_ws(
                CONTRACT, "limit", "sell", 0.01, round(ask * 1.01, 1)
            )
            edited = await client.edit_order_ws(
                placed["id"], CONTRACT, "limit", "sell", 0.02, round(ask * 1.02, 1)
            )
            assert edited["id"] == placed["id"]
            taken = await client.create_order_ws(CONTRACT, "market", "buy", 1.0)
            await client.cancel_order_ws(edited["id"], CONTRACT)
            await orders.until(lambda seen: seen.get(edited["id"]) == "canceled")
            await orders.until(lambda seen: seen.get(taken["id"]) == "closed")
            await trades.until(lambda seen: len(seen) == len(own_fills(venue, USDM)))
            assert sorted(trades.seen) == sorted(each[0] for each in own_fills(venue, USDM))
            await positions.until(lambda seen: bool(client.positions["linear"]))
            (held,) = [each for each in client.positions["linear"] if each["contracts"]]
            own = account_of(venue, USDM).positions[SYMBOL, "net"]
            assert (exact(held["contracts"]), held["side"]) == (Decimal(own.lots) / 1000, "long")
            (told,) = await client.fetch_positions_ws([CONTRACT])
            assert told["contracts"] == held["contracts"]
            wallet = client.balance["linear"]["USDT"]
            assert exact(wallet["total"]) == account_of(venue, USDM).balances["USDT"].total
            check_ccxt(
                venue,
                USDM,
                await client.fetch_orders(CONTRACT),
                await client.fetch_open_orders(CONTRACT),
                await client.fetch_my_trades(CONTRACT),
                await client.fetch_balance_ws(),
            )
            for watcher in (orders, trades, positions):
                await watcher.end()
        finally:
            await client.close()

    run(trade)


class Watcher:
    """Calls a ccxt ``watch`` method again and again and keeps what it tells, by id."""

    def __init__(self, watch, symbol):
        self.seen = {}
        self._watch, self._symbol = watch, symbol
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            for each in await self._watch(self._symbol):
                self.seen[each["id"]] = each.get("status")
            self._news.set()

    async def until(self, wanted):
        """Wait for what is told until ``wanted(seen)``."""
        async with asyncio.timeout(WAIT_S):
            while not wanted(self.seen):
                await self._news.wait()
                self._news.clear()

    async def end(self):
        """Stop watching."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def wait_for_listener(venue, name):
    """Wait until somebody listens to the account."""
    stream = venue.venues[name].user_stream
    async with asyncio.timeout(WAIT_S):
        while not stream.listened(account_of(venue, name)):  # noqa: ASYNC110 - another's socket
            await asyncio.sleep(0.005)


def python_binance(venue, monkeypatch):
    """Return an asynchronous client and a socket manager class that are pointed at the venue."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        binance = pytest.importorskip("binance")
    host = f"127.0.0.1:{venue.port}"

    class Client(binance.AsyncClient):
        API_URL = f"http://{host}/api"
        MARGIN_API_URL = f"http://{host}/sapi"
        FUTURES_URL = f"http://{host}/fapi"
        WS_API_URL = f"ws://{host}/ws-api/v3"
        WS_FUTURES_URL = f"ws://{host}/ws-fapi/v1"

    class Sockets(binance.BinanceSocketManager):
        STREAM_URL = f"ws://{host}/"
        FSTREAM_URL = f"ws://{host}/"

    # It waits so long for one more message before it closes a socket.
    monkeypatch.setattr(binance.ws.reconnecting_websocket.ReconnectingWebsocket, "TIMEOUT", 2)
    return Client, Sockets, binance.exceptions.BinanceAPIException


async def heard(socket, wanted):
    """Return the events until ``wanted`` is true of one."""
    events = []
    async with asyncio.timeout(WAIT_S):
        while not events or not wanted(events[-1]):
            events.append(await socket.recv())
    return events


def test_python_binance_trades_spot(monkeypatch):
    async def trade(venue):
        make, sockets, refusal = python_binance(venue, monkeypatch)
        client = await make.create(KEY, SECRET)
        try:
            gtc = {"symbol": SYMBOL, "type": "LIMIT", "timeInForce": "GTC"}
            async with sockets(client).user_socket() as socket:
                first = await client.create_order(**gtc, side="BUY", quantity="0.01", price="55000")
                replaced = await client.cancel_replace_order(
                    **gtc,
                    side="BUY",
                    quantity="0.02",
                    price="56000",
                    cancelReplaceMode="STOP_ON_FAILURE",
                    cancelOrderId=first["orderId"],
                )
                second = replaced["newOrderResponse"]
                taken = await client.order_market_buy(symbol=SYMBOL, quantity="1")
                asked = await client.ws_create_order(
                    **gtc, side="SELL", quantity="0.01", price="65000"
                )
                await client.ws_cancel_order(symbol=SYMBOL, orderId=asked["orderId"])
                with pytest.raises(refusal, match="Unknown order sent"):
                    await client.cancel_order(symbol=SYMBOL, orderId=asked["orderId"])
                events = await heard(
                    socket,
                    lambda event: event.get("x") == "CANCELED" and event["i"] == asked["orderId"],
                )
            assert taken["status"] == "FILLED"
            told = [event for event in events if event.get("x") == "TRADE"]
            trades = await client.get_my_trades(symbol=SYMBOL)
            assert [str(each["t"]) for each in told] == [each[0] for each in own_fills(venue, SPOT)]
            assert [each["id"] for each in trades] == [each["t"] for each in told]
            (opened,) = await client.get_open_orders(symbol=SYMBOL)
            assert [opened["orderId"]] == list(account_of(venue).orders) == [second["orderId"]]
            account = await client.get_account()
            for row in account["balances"]:
                held = account_of(venue).balances[row["asset"]]
                assert (Decimal(row["free"]), Decimal(row["locked"])) == (held.free, held.locked)
            assert len(await client.get_all_orders(symbol=SYMBOL)) == 4
        finally:
            await client.close_connection()

    run(trade)


def test_python_binance_trades_contracts(monkeypatch):
    async def trade(venue):
        make, sockets, refusal = python_binance(venue, monkeypatch)
        client = await make.create(KEY, SECRET)
        try:
            gtc = {"symbol": SYMBOL, "type": "LIMIT", "timeInForce": "GTC", "side": "BUY"}
            async with sockets(client).futures_user_socket() as socket:
                await client.futures_change_leverage(symbol=SYMBOL, leverage=5)
                first = await client.futures_create_order(**gtc, quantity="0.01", price="60000")
                change = {"symbol": SYMBOL, "orderId": first["orderId"], "side": "BUY"}
                changed = await client.futures_modify_order(
                    **change, quantity="0.02", price="60100"
                )
                assert changed["origQty"] == "0.020"
                batch = await client.futures_place_batch_order(
                    batchOrders=[gtc | {"quantity": "0.01", "price": p} for p in ("60000", "90000")]
                )
                assert batch[1]["code"] == -4016
                await client.futures_countdown_cancel_all(symbol=SYMBOL, countdownTime=100_000)
                await client.futures_create_order(
                    symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.5"
                )
                asked = await client.ws_futures_create_order(**gtc, quantity="0.01", price="59900")
                await client.ws_futures_cancel_order(symbol=SYMBOL, orderId=asked["orderId"])
                with pytest.raises(refusal, match="Unknown order sent"):
                    await client.futures_cancel_order(symbol=SYMBOL, orderId=asked["orderId"])
                events = await heard(
                    socket,
                    lambda event: (
                        event.get("o", {}).get("x") == "CANCELED"
                        and event["o"]["i"] == asked["orderId"]
                    ),
                )
            told = [str(e["o"]["t"]) for e in events if e.get("o", {}).get("x") == "TRADE"]
            assert told == [each[0] for each in own_fills(venue, USDM)]
            trades = await client.futures_account_trades(symbol=SYMBOL)
            assert [str(each["id"]) for each in trades] == told
            own = account_of(venue, USDM)
            opened = await client.futures_get_open_orders(symbol=SYMBOL)
            assert {order["orderId"] for order in opened} == set(own.orders)
            (risk,) = await client.futures_position_information(symbol=SYMBOL)
            assert Decimal(risk["positionAmt"]) == Decimal(own.positions[SYMBOL, "net"].lots) / 1000
            assert Decimal(risk["entryPrice"]) == own.positions[SYMBOL, "net"].entry
            balances = {row["asset"]: row for row in await client.futures_account_balance()}
            assert Decimal(balances["USDT"]["balance"]) == own.balances["USDT"].total
            await client.futures_cancel_all_open_orders(symbol=SYMBOL)
            assert own.orders == {}
        finally:
            await client.close_connection()

    run(trade)
