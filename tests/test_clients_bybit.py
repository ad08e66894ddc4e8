"""Clients that we did not write, unmodified, on the simulated Bybit: ccxt, ccxt.pro and pybit.

All are pointed at one host, as at the real venue; what they believe at the end is compared with the
simulator's own books.
"""

import asyncio
import re
import threading
from decimal import Decimal

import pytest

from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.simulator.account import Status
from gateways.simulator.bybit.ids import order_text

KEYS = {"apiKey": "demo-key", "secret": "demo-secret"}
CONTRACT, SPOT = "bybit", "bybit_spot"
MARKETS = [
    ("BTC/USDT:USDT", CONTRACT, "BTCUSDT", 0.01),
    ("BTC/USD:BTC", CONTRACT, "BTCUSD", 100),
    ("BTC/USDT", SPOT, "BTCUSDT", 0.01),
]
WAIT_S = 20.0


def on_venue(use, **changes):
    """Run ``use(venue)`` against a quiet venue with both namespaces of Bybit."""

    async def run():
        settings = {"port": 0, "rate": 0.0, "venues": [CONTRACT, SPOT], "liquidations": 0.0}
        async with SimulatedVenue(SimulatorSettings(**(settings | changes))) as venue:
            return await asyncio.wait_for(use(venue), 60.0)

    return asyncio.run(run())


def local(urls, port):
    """Return addresses with the same paths on this machine."""
    if isinstance(urls, dict):
        return {name: local(part, port) for name, part in urls.items()}
    found = re.match(r"(https|wss|http|ws)://[^/]+(/.*)?$", urls)
    if not found:
        return urls
    scheme = "http" if found[1].startswith("http") else "ws"
    return f"{scheme}://127.0.0.1:{port}{found[2] or ''}"


class Ccxt:
    """``async with``: an exchange of a ccxt module on the venue, with its markets loaded."""

    def __init__(self, module, venue):
        self.exchange = module.bybit(dict(KEYS))
        self.exchange.urls["api"] = local(self.exchange.urls["api"], venue.port)

    async def __aenter__(self):
        await self.exchange.load_markets()
        return self.exchange

    async def __aexit__(self, *_):
        await self.exchange.close()


def best(venue, name, symbol):
    """Return the best bid and ask as numbers."""
    book = venue.state(1)["venues"][name]["symbols"][symbol]
    return float(book["bid"][0]), float(book["ask"][0])


def books(venue, name):
    """Return the clearing house and the only account of a venue name."""
    trading = venue.venues[name].trading
    return trading, trading.accounts[0]


def ours(trading, account, symbol):
    """Return trades of a symbol as the clearing house has them: price, quantity, fee."""
    return [
        (
            trading.price_units(fill.order.market, fill.price),
            trading.quantity_units(fill.order.market, fill.quantity),
            fill.fee,
        )
        for fill in account.fills
        if fill.order.market.instrument.symbol == symbol
    ]


def theirs(trades):
    """Return ccxt trades in the same form, oldest first."""
    rows = [trade["info"] for trade in sorted(trades, key=lambda trade: trade["timestamp"])]
    return [
        tuple(Decimal(row[name]) for name in ("execPrice", "execQty", "execFee")) for row in rows
    ]


@pytest.fixture(scope="module")
def ccxt():
    return pytest.importorskip("ccxt.async_support", reason="ccxt is not installed")


@pytest.fixture(scope="module")
def ccxt_pro():
    return pytest.importorskip("ccxt.pro", reason="ccxt is not installed")


@pytest.mark.parametrize(("unified", "name", "symbol", "amount"), MARKETS)
def test_ccxt_places_amends_and_cancels(ccxt, unified, name, symbol, amount):
    async def use(venue):
        bid, _ = best(venue, name, symbol)
        trading, account = books(venue, name)
        async with Ccxt(ccxt, venue) as exchange:
            placed = await exchange.create_order(
                unified, "limit", "buy", amount, bid * 0.99, {"clientOrderId": "mine-1"}
            )
            (order,) = await exchange.fetch_open_orders(unified)
            assert (order["id"], order["clientOrderId"]) == (placed["id"], "mine-1")
            assert order["status"] == "open"
            assert order["symbol"] == unified
            price = float(exchange.price_to_precision(unified, bid * 0.98))
            await exchange.edit_order(order["id"], unified, "limit", "buy", 2 * amount, price)
            (order,) = await exchange.fetch_open_orders(unified)
            (live,) = account.orders.values()
            assert order["price"] == price == float(trading.price_units(live.market, live.price))
            assert order["amount"] == 2 * amount
            await exchange.cancel_order(order["id"], unified)
            assert await exchange.fetch_open_orders(unified) == []
            (ended,) = await exchange.fetch_canceled_and_closed_orders(unified)
            assert ended["status"] == "canceled"
        assert not account.orders
        assert [order.status for order in account.history] == [Status.CANCELED]

    on_venue(use)


@pytest.mark.parametrize(("unified", "name", "symbol", "amount"), MARKETS)
def test_ccxt_sees_the_fills_balances_and_positions_of_the_books(
    ccxt, unified, name, symbol, amount
):
    async def use(venue):
        trading, account = books(venue, name)
        async with Ccxt(ccxt, venue) as exchange:
            await exchange.create_order(unified, "market", "buy", amount)
            await exchange.create_order(unified, "market", "sell", amount / 2)
            trades = await exchange.fetch_my_trades(unified)
            balance = await exchange.fetch_balance()
            positions = [] if name == SPOT else await exchange.fetch_positions([unified])
        assert theirs(trades) == ours(trading, account, symbol)
        assert len(trades) >= 2
        for asset, own in account.balances.items():
            assert balance[asset]["total"] == pytest.approx(float(own.total), abs=1e-9), asset
        if name == SPOT:
            return
        (position,) = positions
        own = account.positions[symbol, "net"]
        assert position["side"] == "long"
        assert position["contracts"] == float(trading.quantity_units(own.market, own.lots))
        assert position["entryPrice"] == pytest.approx(float(own.entry), rel=1e-9)

    on_venue(use)


def test_ccxt_spends_an_amount_of_the_quote_currency_on_spot(ccxt):
    async def use(venue):
        _, account = books(venue, SPOT)
        async with Ccxt(ccxt, venue) as exchange:
            await exchange.create_market_buy_order_with_cost("BTC/USDT", 1000)
        spent = Decimal(1_000_000) - account.balances["USDT"].total
        assert Decimal(990) < spent <= Decimal(1000)

    on_venue(use)


def test_ccxt_works_in_batches_and_cancels_all(ccxt):
    async def use(venue):
        bid, _ = best(venue, CONTRACT, "BTCUSDT")
        _, account = books(venue, CONTRACT)
        async with Ccxt(ccxt, venue) as exchange:
            wanted = [
                {
                    "symbol": "BTC/USDT:USDT",
                    "type": "limit",
                    "side": "buy",
                    "amount": 0.001 * size,
                    "price": bid * 0.98,
                }
                for size in (1, 2, 3)
            ]
            orders = await exchange.create_orders(wanted)
            assert {order["id"] for order in orders} == {
                order_text(number, spot=False) for number in account.orders
            }
            await exchange.cancel_orders([orders[0]["id"]], "BTC/USDT:USDT")
            assert len(account.orders) == 2
            await exchange.cancel_all_orders("BTC/USDT:USDT")
        assert not account.orders
        assert len(account.history) == 3

    on_venue(use)


def test_ccxt_sets_leverage_and_position_mode(ccxt):
    async def use(venue):
        _, account = books(venue, CONTRACT)
        async with Ccxt(ccxt, venue) as exchange:
            await exchange.set_leverage(25, "BTC/USDT:USDT")
            await exchange.set_position_mode(True, "BTC/USDT:USDT")
            await exchange.create_order(
                "BTC/USDT:USDT", "market", "buy", 0.01, None, {"positionIdx": 1}
            )
            position, other = await exchange.fetch_positions(["BTC/USDT:USDT"])
        assert (position["side"], position["contracts"]) == ("long", 0.01)
        assert (other["side"], other["contracts"]) == ("short", 0.0)
        assert position["hedged"] is True
        assert position["leverage"] == account.leverage["BTCUSDT"] == 25
        assert account.hedge

    on_venue(use)


def test_ccxt_names_what_the_venue_refuses(ccxt):
    async def use(venue):
        bid, _ = best(venue, CONTRACT, "BTCUSDT")
        async with Ccxt(ccxt, venue) as exchange:
            with pytest.raises(ccxt.InsufficientFunds):
                await exchange.create_order("BTC/USDT", "limit", "sell", 200, bid)
            with pytest.raises(ccxt.InsufficientFunds):
                await exchange.create_order("BTC/USDT:USDT", "limit", "buy", 1000, bid)
            with pytest.raises(ccxt.OrderNotFound):
                await exchange.cancel_order(order_text(7, spot=False), "BTC/USDT:USDT")
            exchange.secret = "another"
            with pytest.raises(ccxt.AuthenticationError):
                await exchange.fetch_balance()

    on_venue(use)


@pytest.mark.parametrize(("unified", "name", "symbol", "amount"), MARKETS)
def test_ccxt_pro_streams_orders_and_fills(ccxt_pro, unified, name, symbol, amount):
    async def use(venue):
        bid, _ = best(venue, name, symbol)
        trading, account = books(venue, name)
        async with Ccxt(ccxt_pro, venue) as exchange:
            watching = asyncio.ensure_future(_watch(exchange.watch_orders, "canceled"))
            trading_fills = asyncio.ensure_future(_trades(exchange))
            await _listens(venue, "order", "execution")
            placed = await exchange.create_order_ws(unified, "limit", "buy", amount, bid * 0.99)
            await exchange.edit_order_ws(placed["id"], unified, "limit", "buy", amount, bid * 0.98)
            await exchange.cancel_order_ws(placed["id"], unified)
            seen = await watching
            assert {order["id"] for order in seen} == {placed["id"]}
            assert [order["status"] for order in seen] == ["open", "open", "canceled"]
            await exchange.create_order_ws(unified, "market", "sell", amount)
            trades = await trading_fills
        own = ours(trading, account, symbol)
        assert theirs(trades) == own[: len(trades)]
        assert all(trade["symbol"] == unified for trade in trades)

    on_venue(use)


async def _watch(watch, last_status):
    """Return all orders that are streamed, up to the first one with ``last_status``."""
    seen = []
    while not seen or seen[-1]["status"] != last_status:
        seen += [dict(order) for order in await asyncio.wait_for(watch(), WAIT_S)]
    return seen


async def _trades(exchange):
    return list(await asyncio.wait_for(exchange.watch_my_trades(), WAIT_S))


async def _listens(venue, *topics):
    """Wait until a client receives these topics."""
    member = venue.venues[CONTRACT].desk.member(KEYS["apiKey"])
    heard = asyncio.Event()

    def look():
        if all(member.feed.listeners(topic) for topic in topics):
            heard.set()

    venue.after_tick = look
    await asyncio.wait_for(heard.wait(), WAIT_S)


def test_ccxt_pro_streams_balances_and_positions(ccxt_pro):
    async def use(venue):
        _, account = books(venue, CONTRACT)
        async with Ccxt(ccxt_pro, venue) as exchange:
            assert list(await exchange.watch_positions()) == []  # what there is at first
            balances = asyncio.ensure_future(exchange.watch_balance())
            positions = asyncio.ensure_future(exchange.watch_positions())
            await _listens(venue, "wallet", "position")
            await exchange.create_order("BTC/USDT:USDT", "market", "sell", 0.02)
            balance = await asyncio.wait_for(balances, WAIT_S)
            held = await asyncio.wait_for(positions, WAIT_S)
        own = account.positions["BTCUSDT", "net"]
        assert own.lots == -20
        assert any(p["side"] == "short" and p["contracts"] == 0.02 for p in held)
        assert balance["USDT"]["total"] == pytest.approx(
            float(account.balances["USDT"].total), abs=1.0
        )

    on_venue(use)


# pybit


def pybit_http(venue):
    unified_trading = pytest.importorskip("pybit.unified_trading", reason="pybit is not installed")
    session = unified_trading.HTTP(api_key=KEYS["apiKey"], api_secret=KEYS["secret"])
    session.endpoint = f"http://127.0.0.1:{venue.port}"
    return session


def in_thread(use, **changes):
    """Run the blocking ``use(venue)`` in a thread beside the venue."""

    async def run(venue):
        return await asyncio.to_thread(use, venue)

    return on_venue(run, **changes)


def test_pybit_trades_by_rest():
    def use(venue):
        bid, _ = best(venue, CONTRACT, "BTCUSDT")
        trading, account = books(venue, CONTRACT)
        session = pybit_http(venue)
        order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit"}
        price = f"{bid * 0.99:.1f}"
        placed = session.place_order(**order, qty="0.01", price=price, orderLinkId="p-1")["result"]
        session.amend_order(
            category="linear", symbol="BTCUSDT", orderId=placed["orderId"], qty="0.02"
        )
        listed = session.get_open_orders(category="linear", symbol="BTCUSDT")["result"]["list"]
        assert [(row["orderLinkId"], row["qty"]) for row in listed] == [("p-1", "0.020")]
        session.cancel_order(category="linear", symbol="BTCUSDT", orderLinkId="p-1")
        session.place_order(**(order | {"orderType": "Market"}), qty="0.01")
        executions = session.get_executions(category="linear")["result"]["list"]
        position = session.get_positions(category="linear", symbol="BTCUSDT")["result"]["list"][0]
        wallet = session.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]
        history = session.get_order_history(category="linear")["result"]["list"]
        session.set_dcp(product="DERIVATIVES", timeWindow=40)
        session.client.close()
        rows = [
            tuple(Decimal(row[name]) for name in ("execPrice", "execQty", "execFee"))
            for row in reversed(executions)
        ]
        assert rows == ours(trading, account, "BTCUSDT")
        assert Decimal(position["size"]) == Decimal("0.01")
        coins = {coin["coin"]: Decimal(coin["walletBalance"]) for coin in wallet["coin"]}
        assert coins == {asset: own.total for asset, own in account.balances.items()}
        assert [row["orderStatus"] for row in history] == ["Filled", "Cancelled"]

    in_thread(use)


def test_pybit_raises_the_venues_codes():
    exceptions = pytest.importorskip("pybit.exceptions", reason="pybit is not installed")

    def use(venue):
        session = pybit_http(venue)
        try:
            with pytest.raises(exceptions.InvalidRequestError) as caught:
                session.cancel_order(category="spot", symbol="BTCUSDT", orderId="77")
            assert caught.value.status_code == 170213
        finally:
            session.client.close()

    in_thread(use)


def test_pybit_orders_by_websocket_and_hears_of_them(monkeypatch):
    unified_trading = pytest.importorskip("pybit.unified_trading", reason="pybit is not installed")
    websocket_trading = pytest.importorskip("pybit._websocket_trading")

    def use(venue):
        host = f"ws://127.0.0.1:{venue.port}/v5"
        monkeypatch.setattr(unified_trading, "PRIVATE_WSS", f"{host}/private")
        monkeypatch.setattr(websocket_trading, "TRADE_WSS", f"{host}/trade")
        bid, _ = best(venue, SPOT, "BTCUSDT")
        _, account = books(venue, SPOT)
        keys = {"api_key": KEYS["apiKey"], "api_secret": KEYS["secret"]}
        told, acknowledged, ended = [], [], threading.Event()

        def hear(message):
            told.extend(row["orderStatus"] for row in message["data"])
            if told[-1] == "Cancelled":
                ended.set()

        private = unified_trading.WebSocket(
            testnet=False, channel_type="private", private_auth_expire=5, **keys
        )
        trade = unified_trading.WebSocketTrading(testnet=False, private_auth_expire=5, **keys)
        try:
            private.order_stream(hear)
            trade.place_order(
                lambda message: _cancel(trade, message, acknowledged),
                category="spot",
                symbol="BTCUSDT",
                side="Buy",
                orderType="Limit",
                qty="0.01",
                price=f"{bid * 0.99:.2f}",
            )
            assert ended.wait(WAIT_S)
        finally:
            trade.exit()
            private.exit()
        assert told == ["New", "Cancelled"]
        assert acknowledged == [str(order.id) for order in account.history]

    in_thread(use)


def _cancel(trade, message, acknowledged):
    number = message["data"]["orderId"]
    acknowledged.append(number)
    trade.cancel_order(lambda answer: None, category="spot", symbol="BTCUSDT", orderId=number)
