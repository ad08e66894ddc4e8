"""Clients that others wrote trade on the simulated OKX, unmodified; only hosts are rewritten.

What they see in the end is compared with the venue's own books.
"""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from gateways.simulator import SimulatedVenue, SimulatorSettings
from gateways.simulator.okx.shapes import state_of

KEY, SECRET, PASSPHRASE = "demo-key", "demo-secret", "demo-pass"
SPOT, SWAP = "BTC-USDT", "BTC-USDT-SWAP"
UNIFIED_SPOT, UNIFIED_SWAP = "BTC/USDT", "BTC/USDT:USDT"
WAIT_S = 20.0


def simulated(**changes):
    usual = {"port": 0, "rate": 0.0, "venues": ["okx"], "symbols": [SPOT, SWAP]}
    return SimulatedVenue(SimulatorSettings(**(usual | changes)))


def moved(node, base):
    """Return addresses on the simulated venue's host, their paths as they were."""
    if isinstance(node, dict):
        return {name: moved(value, base) for name, value in node.items()}
    found = re.match(r"(https|wss|http|ws)://[^/]+(/.*)?$", node)
    if found is None:
        return node
    scheme = "http" if found[1].startswith("http") else "ws"
    return f"{scheme}://{base}{found[2] or ''}"


@asynccontextmanager
async def ccxt_client(venue, **changes):
    ccxt_pro = pytest.importorskip("ccxt.pro")
    credentials = {"apiKey": KEY, "secret": SECRET, "password": PASSPHRASE}
    client = ccxt_pro.okx(credentials | changes)
    client.urls["api"] = moved(client.urls["api"], f"127.0.0.1:{venue.port}/okx")
    try:
        yield client
    finally:
        await client.close()


def with_ccxt(use, **changes):
    """Run ``use(client, venue, account)`` with ccxt on a fresh venue."""
    pytest.importorskip("ccxt.pro")

    async def run():
        async with simulated(**changes) as venue, ccxt_client(venue) as client:
            await client.load_markets()
            account = trading(venue).accounts[0]
            return await asyncio.wait_for(use(client, venue, account), WAIT_S)

    return asyncio.run(run())


def trading(venue):
    return venue.venues["okx"].trading


def top(venue, symbol=SPOT):
    book = venue.state(1)["venues"]["okx"]["symbols"][symbol]
    return float(book["bid"][0]), float(book["ask"][0])


async def eventually(holds):
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


def number(value):
    return Decimal(str(value))


def own_fills(account):
    """Return the account's fills as trade id, order id, price, quantity and fee."""
    return [
        (
            str(fill.id),
            str(fill.order.id),
            Decimal(fill.order.market.instrument.price.text(fill.price)),
            Decimal(fill.order.market.instrument.quantity.text(fill.quantity)),
            fill.fee,
        )
        for fill in account.fills
    ]


async def same_in_the_end(client, venue, account):
    """Compare all that ccxt can ask for with the venue's own books."""
    clearing = trading(venue)
    balance = await client.fetch_balance()
    for asset in account.balances:
        assert number(balance["free"][asset]) == clearing.available(account, asset), asset
    positions = {p["symbol"]: p for p in await client.fetch_positions()}
    held = {name: each.lots for (name, _), each in account.positions.items() if each.lots}
    if not held:
        assert positions == {}
    else:
        signed = positions[UNIFIED_SWAP]["contracts"] * (
            1 if positions[UNIFIED_SWAP]["side"] == "long" else -1
        )
        assert number(signed) * 100 == held[SWAP]
    opened = await client.fetch_open_orders()
    assert {each["id"] for each in opened} == {
        str(order.id) for order in account.orders.values() if not order.terms.algo
    }
    closed = [
        each
        for kind in ("spot", "swap")
        for each in (
            *await client.fetch_closed_orders(params={"type": kind}),
            *await client.fetch_canceled_orders(params={"type": kind}),
        )
    ]
    assert {(each["id"], each["info"]["state"]) for each in closed} == {
        (str(order.id), state_of(order)) for order in account.history if not order.terms.algo
    }
    trades = [
        each
        for kind in ("spot", "swap")
        for each in await client.fetch_my_trades(params={"type": kind})
    ]
    seen = [
        (
            each["id"],
            each["order"],
            number(each["price"]),
            number(each["amount"]),
            number(each["fee"]["cost"]),
        )
        for each in trades
    ]
    assert sorted(seen) == sorted(own_fills(account))


def test_ccxt_places_amends_and_cancels_by_rest_and_sees_the_venues_own_books():
    async def use(client, venue, account):
        bid, ask = top(venue)
        order = await client.create_order(UNIFIED_SPOT, "limit", "buy", 0.01, bid - 1000)
        await client.edit_order(order["id"], UNIFIED_SPOT, "limit", "buy", 0.02, bid - 900)
        seen = await client.fetch_order(order["id"], UNIFIED_SPOT)
        assert (seen["amount"], seen["price"], seen["status"]) == (0.02, bid - 900, "open")
        await client.create_order(UNIFIED_SPOT, "market", "buy", 0.05)
        await client.create_order(UNIFIED_SWAP, "market", "sell", 3)
        await client.create_order(
            UNIFIED_SWAP, "limit", "sell", 2, ask + 500, {"postOnly": True, "marginMode": "cross"}
        )
        await client.create_order(UNIFIED_SPOT, "limit", "buy", 0.01, bid - 500)
        await client.cancel_order(order["id"], UNIFIED_SPOT)
        await same_in_the_end(client, venue, account)
        await client.close_position(UNIFIED_SWAP)
        await same_in_the_end(client, venue, account)

    with_ccxt(use)


def test_ccxt_places_and_cancels_batches():
    async def use(client, venue, account):
        bid, _ = top(venue)
        wanted = [
            {
                "symbol": UNIFIED_SPOT,
                "type": "limit",
                "side": "buy",
                "amount": 0.01,
                "price": bid - 100 * place,
            }
            for place in range(1, 6)
        ]
        orders = await client.create_orders(wanted)
        assert len(account.orders) == 5
        await client.cancel_orders([order["id"] for order in orders[:3]], UNIFIED_SPOT)
        assert [str(number) for number in account.orders] == [order["id"] for order in orders[3:]]
        await same_in_the_end(client, venue, account)

    with_ccxt(use)


def test_ccxt_pro_streams_orders_trades_balances_and_positions():
    async def use(client, venue, account):
        ask = top(venue)[1]
        balance, positions = {}, []

        async def watch_orders():
            while True:
                await client.watch_orders()

        async def watch_trades():
            while True:
                await client.watch_my_trades()

        async def watch_balance():
            while True:
                balance.update((await client.watch_balance())["total"])

        async def watch_positions():
            while True:
                positions.extend(await client.watch_positions())

        watchers = [
            asyncio.ensure_future(watch())
            for watch in (watch_orders, watch_trades, watch_balance, watch_positions)
        ]
        private = venue.venues["okx"].private
        await eventually(lambda: private.channels(account) == {"orders", "account", "positions"})
        await eventually(lambda: balance.get("BTC") == 100.0)
        await client.create_order(UNIFIED_SWAP, "market", "buy", 2)
        await client.create_order(UNIFIED_SPOT, "market", "buy", 0.02)
        resting = await client.create_order(UNIFIED_SPOT, "limit", "sell", 0.01, ask + 0.1)
        await client.cancel_order(resting["id"], UNIFIED_SPOT)
        expected = {
            str(order.id): (
                {"filled": "closed", "canceled": "canceled"}[state_of(order)],
                float(order.market.instrument.quantity.text(order.filled)),
            )
            for order in account.history
        }

        def orders():
            return {each["id"]: (each["status"], each["filled"]) for each in client.orders}

        def trades():
            return sorted(each["id"] for each in client.myTrades)

        await eventually(lambda: orders() == expected)
        await eventually(lambda: trades() == sorted(str(fill.id) for fill in account.fills))
        await eventually(lambda: positions and positions[-1]["contracts"] == 2)
        await eventually(lambda: number(balance["BTC"]) == account.balances["BTC"].total)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await same_in_the_end(client, venue, account)

    with_ccxt(use)


def test_ccxt_pro_trades_over_the_websocket():
    async def use(client, venue, account):
        bid, ask = top(venue)
        order = await client.create_order_ws(UNIFIED_SWAP, "limit", "buy", 2, bid - 1000)
        await client.edit_order_ws(order["id"], UNIFIED_SWAP, "limit", "buy", 1, bid - 900)
        (live,) = account.orders.values()
        assert (live.quantity, str(live.id)) == (100, order["id"])
        await client.cancel_order_ws(order["id"], UNIFIED_SWAP)
        await client.create_order_ws(UNIFIED_SPOT, "limit", "buy", 0.03, ask)
        await same_in_the_end(client, venue, account)

    with_ccxt(use, instrument_codes=True)


def test_ccxt_understands_the_venues_refusals():
    ccxt = pytest.importorskip("ccxt")

    async def use(client, venue, account):
        bid, _ = top(venue)
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order(UNIFIED_SPOT, "limit", "buy", 1000, bid)
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order("123", UNIFIED_SPOT)
        name = {"clOrdId": "twice"}
        await client.create_order(UNIFIED_SPOT, "limit", "buy", 0.01, bid - 100, name)
        with pytest.raises(ccxt.InvalidOrder, match="51016"):
            await client.create_order(UNIFIED_SPOT, "limit", "buy", 0.01, bid - 100, name)
        client.password = "wrong"
        with pytest.raises(ccxt.AuthenticationError):
            await client.fetch_balance()

    with_ccxt(use)


def test_ccxt_sets_leverage_stop_orders_and_the_dead_man_switch():
    async def use(client, venue, account):
        bid, _ = top(venue)
        await client.set_leverage(5, UNIFIED_SWAP, {"mgnMode": "cross"})
        assert (await client.fetch_leverage(UNIFIED_SWAP))["longLeverage"] == 5
        await client.create_order(UNIFIED_SWAP, "market", "buy", 2)
        await client.create_order(
            UNIFIED_SWAP,
            "market",
            "sell",
            2,
            None,
            {"stopLossPrice": bid - 900, "reduceOnly": True},
        )
        (stop,) = await client.fetch_open_orders(
            UNIFIED_SWAP, params={"trigger": True, "ordType": "conditional"}
        )
        assert stop["stopLossPrice"] == bid - 900
        await client.cancel_order(stop["id"], UNIFIED_SWAP, {"trigger": True})
        await client.cancel_all_orders_after(20_000)
        assert trading(venue).dead_man.deadline(account, "")
        await same_in_the_end(client, venue, account)

    with_ccxt(use)


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A self-signed certificate of this machine that Python trusts: its file."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "venue.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return str(file)


# The client's own use of its HTTP library.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_python_okx_trades_by_rest_and_sees_the_venues_own_books(certificate):
    trade_module = pytest.importorskip("okx.Trade")
    account_module = pytest.importorskip("okx.Account")

    def use(base, venue, account):
        arguments = (KEY, SECRET, PASSPHRASE)
        settings = {"flag": "1", "domain": base}
        with (
            trade_module.TradeAPI(*arguments, **settings) as trade,
            account_module.AccountAPI(*arguments, **settings) as info,
        ):
            bid, _ = top(venue)
            order = {"instId": SPOT, "tdMode": "cash", "side": "buy"}
            placed = trade.place_order(
                **order, ordType="limit", px=str(bid - 100), sz="0.01", clOrdId="mine1"
            )
            assert placed["data"][0]["sCode"] == "0"
            amended = trade.amend_order(SPOT, clOrdId="mine1", newSz="0.02")
            assert amended["data"][0]["sCode"] == "0"
            (pending,) = trade.get_order_list(instType="SPOT")["data"]
            assert (pending["sz"], pending["clOrdId"]) == ("0.02", "mine1")
            bought = trade.place_order(**order, ordType="market", sz="500")
            assert bought["data"][0]["sCode"] == "0"
            trade.cancel_order(SPOT, clOrdId="mine1")
            trade.place_order(instId=SWAP, tdMode="cross", side="sell", ordType="market", sz="1.5")
            balance = info.get_account_balance(ccy="BTC,USDT")["data"][0]["details"]
            assert {each["ccy"]: Decimal(each["cashBal"]) for each in balance} == {
                asset: account.balances[asset].total for asset in ("BTC", "USDT")
            }
            (position,) = info.get_positions(instType="SWAP")["data"]
            assert (position["pos"], account.positions[SWAP, "net"].lots) == ("-1.5", -150)
            fills = trade.get_fills()["data"]
            assert [each["tradeId"] for each in fills] == [
                str(fill.id) for fill in reversed(account.fills)
            ]
            history = [
                each for kind in ("SPOT", "SWAP") for each in trade.get_orders_history(kind)["data"]
            ]
            assert sorted((each["ordId"], each["state"]) for each in history) == sorted(
                (str(order.id), state_of(order)) for order in account.history
            )
            assert trade.get_order_list()["data"] == []
            return len(fills)

    async def run():
        async with simulated(tls_certificate=certificate) as venue:
            account = trading(venue).accounts[0]
            return await asyncio.to_thread(use, venue.base("okx"), venue, account)

    assert asyncio.run(run())


def test_python_okx_trades_and_streams_over_a_tls_websocket(certificate):
    module = pytest.importorskip("okx.websocket.WsPrivateAsync")

    async def run():
        async with simulated(tls_certificate=certificate) as venue:
            received = []
            client = module.WsPrivateAsync(
                apiKey=KEY,
                passphrase=PASSPHRASE,
                secretKey=SECRET,
                url=f"wss://localhost:{venue.port}/okx/ws/v5/private",
            )
            consumer = await client.start()
            client.callback = lambda text: received.append(json.loads(text))

            async def until(wanted):
                await eventually(lambda: any(map(wanted, received)))
                return next(filter(wanted, received))

            await client.login()
            await until(lambda m: m.get("event") == "login")
            await client.send("subscribe", [{"channel": "orders", "instType": "ANY"}])
            await until(lambda m: m.get("event") == "channel-conn-count")
            order = {"instId": SPOT, "tdMode": "cash", "side": "buy", "ordType": "market"}
            await client.place_order([order | {"sz": "500", "clOrdId": "ws1"}], id="7")
            answer = await until(lambda m: m.get("op") == "order")
            push = await until(lambda m: "data" in m and m["data"][0].get("state") == "filled")
            await client.stop()
            await asyncio.gather(consumer, return_exceptions=True)
            return answer, push["data"][0], trading(venue).accounts[0]

    answer, push, account = asyncio.run(run())
    (order,) = account.history
    assert (answer["id"], answer["data"][0]["ordId"]) == ("7", str(order.id))
    assert (push["clOrdId"], push["accFillSz"]) == (
        "ws1",
        order.market.instrument.quantity.text(order.filled),
    )
