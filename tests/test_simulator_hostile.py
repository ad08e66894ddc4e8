"""Messages that no honest client sends: each is refused, and the connection goes on."""

import json
import time
from decimal import Decimal

import pytest

from engine.common import OrderType, Side, TimeInForce
from engine.errors import ConfigError
from gateways.simulator.account import OrderTerms, Refused, Status
from gateways.simulator.session import Session
from tests import bybit_client, okx_client
from tests.simulator_binance import (
    SPOT,
    USDM,
    Rest,
    account_of,
    api,
    listening,
    market,
    private_stream,
)
from tests.simulator_client import against, message, simulated
from tests.trading_desk import TradingDesk

LONG = "7" * 5000


def now_ms():
    return time.time_ns() // 1_000_000


def framed(number="1", parameters="{}", method="time"):
    return f'{{"id":{number},"method":"{method}","params":{parameters}}}'


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (framed(str(1 << 70)), 400),
        (framed(LONG), 400),
        (framed("-" + LONG), 400),
        (framed('"\\ud800"'), 400),
        (framed("1.5"), 400),
        (framed(parameters='{"symbol": "\\udc00"}'), 400),
        (framed(parameters='{"limit": NaN}'), 400),
        (framed(parameters='{"limit": -Infinity}'), 400),
        (framed(parameters=f'{{"limit": {LONG}}}', method="depth"), 400),
        (framed(parameters="[" * 30_000 + "]" * 30_000), 400),
        (framed(parameters='{"a": ' + "[" * 3000 + "]" * 3000 + "}"), 400),
        (framed(parameters='{"a":' * 8000 + "1" + "}" * 8000), 400),
        ("[" * 60_000, 400),
        (framed(f'"{"é" * 36}"'), 200),
        (framed("-9"), 200),
    ],
)
def test_binance_refuses_a_malformed_request_and_goes_on(frame, status):
    async def use(venue, http):
        async with api(venue, http) as connection:
            await connection.socket.send_str(frame)
            first = await message(connection.socket)
            return first["status"], (await connection.plain("time"))["status"]

    assert against(use, venues=[SPOT]) == (status, 200)


@pytest.mark.parametrize("window", ["NaN", "sNaN", "Infinity", "-1", LONG, "1e3"])
def test_binance_refuses_a_window_that_is_no_number(window):
    async def use(venue, http):
        _, answer = await Rest(http, venue.base(SPOT))("GET", "/api/v3/account", recvWindow=window)
        async with api(venue, http) as connection:
            reply = await connection("account.status", recvWindow=window)
            return answer["code"], reply["error"]["code"]

    assert against(use, venues=[SPOT]) == (-1100, -1100)


@pytest.mark.parametrize(
    "frame",
    [
        '{"op": []}',
        '{"op": {}}',
        '{"op": {}, "args": [{"channel": "orders"}]}',
        '{"op": "subscribe", "args": [{"channel": []}]}',
        '{"op": "login", "args": [[]]}',
        "[" * 60_000,
        json.dumps({"op": "order", "args": [okx_client.ORDER], "expTime": LONG}),
        json.dumps({"op": "cancel-order", "args": [{"instId": "BTC-USDT", "ordId": LONG}]}),
    ],
)
def test_okx_refuses_a_malformed_request_and_goes_on(frame):
    async def use(venue, http):
        async with okx_client.connect(venue, http) as socket:
            await okx_client.log_in(socket)
            await socket.send_str(frame)
            answer = await message(socket)
            await socket.send_str("ping")
            return answer.get("code"), (await socket.receive()).data

    code, pong = okx_client.with_okx(use)
    assert code not in (None, "0")
    assert pong == "pong"


def test_okx_refuses_numbers_without_end_by_rest():
    async def use(venue, http):
        codes = []
        for path, content, more in (
            ("trade/order", okx_client.ORDER | {"px": "50000"}, {"expTime": LONG}),
            ("trade/cancel-order", {"instId": "BTC-USDT", "ordId": LONG}, {}),
        ):
            status, body = await okx_client.post(venue, http, path, content, more)
            codes.append((status < 500, body["code"] != "0"))
        return codes

    assert okx_client.with_okx(use) == [(True, True)] * 2


def test_bybit_refuses_a_malformed_request_and_goes_on():
    frames = [
        {"op": "auth", "args": [bybit_client.KEY, LONG, "x"]},
        {"op": [], "args": []},
        {"op": {}, "args": {}},
        {"op": "order.create", "header": {"X-BAPI-TIMESTAMP": LONG}, "args": [{}]},
        {
            "op": "order.cancel",
            "header": {"X-BAPI-TIMESTAMP": str(now_ms() + 500)},
            "args": [bybit_client.SPOTS | {"orderId": LONG}],
        },
    ]

    async def use(venue, rest):
        refused = []
        async with bybit_client.private(venue, path="trade") as socket:
            for frame in frames:
                await socket.send_json(frame)
                refused.append((await message(socket))["retCode"] != 0)
            await socket.send_json({"op": "ping"})
            return refused, (await message(socket))["op"]

    assert bybit_client.with_rest(use) == ([True] * len(frames), "pong")


def test_bybit_refuses_numbers_without_end_by_rest():
    async def use(venue, rest):
        status, _, stale = await rest.whole("GET", "/v5/order/realtime", stamp=LONG)
        cancel, _ = await rest.post("/v5/order/cancel", **bybit_client.SPOTS, orderId=LONG)
        listed, _ = await rest.get("/v5/order/history", category="linear", limit=LONG)
        spanned, _ = await rest.get("/v5/order/history", category="linear", startTime=LONG)
        return status, stale["retCode"], cancel, listed, spanned

    assert bybit_client.with_rest(use) == (200, 10001, 170213, 10001, 10001)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (SPOT, "/ws-api/v3"),
        (SPOT, "/ws"),
        ("okx", "/ws/v5/public"),
        ("bybit", "/v5/public/linear"),
        ("bybit", "/v5/private"),
        ("bybit", "/v5/trade"),
    ],
)
def test_a_defect_of_ours_refuses_one_message_and_is_logged(name, path, monkeypatch, caplog):
    async def use(venue, http):
        async with http.ws_connect(venue.base(name, "ws") + path) as socket:
            await socket.send_str("{}")
            usual = await message(socket)
            (session,) = venue.venues[name].sessions
            kind = type(session)
            whole = kind.answer

            def broken(self, client, data):
                raise KeyError(data)

            monkeypatch.setattr(kind, "answer", broken)
            await socket.send_str('{"op": "a"}')
            refused = await message(socket)
            monkeypatch.setattr(kind, "answer", whole)
            await socket.send_str("{}")
            assert (await message(socket)).keys() == usual.keys()
            assert isinstance(session, Session)
            return refused

    refused = against(use, venues=[name])
    assert any(word in json.dumps(refused).lower() for word in ("error", "invalid", "param"))
    assert "cannot answer" in caplog.text


def test_binance_reads_a_long_query_in_one_pass_and_refuses_one_without_end():
    async def use(venue, http):
        rest = Rest(http, venue.base(SPOT))
        query = "&".join(f"a{number}=1" for number in range(101)) + "&a0=1"
        _, many = await rest.raw("GET", "/api/v3/account", query)
        query = f"timestamp={now_ms()}&a=1&a=2"
        _, twice = await rest.raw("GET", "/api/v3/account", query)
        return many["code"], twice["code"], twice["msg"]

    many, twice, text = against(use, venues=[SPOT])
    assert (many, twice) == (-1101, -1101)
    assert text == "Duplicate values for parameter 'a' detected."


# Amounts beyond what exact arithmetic carries.


def test_an_amount_beyond_the_largest_order_is_refused_and_leaves_no_order():
    async def use(venue, http):
        rest = Rest(http, venue.base(SPOT))
        order = market(quoteOrderQty="99999999999999999999.999999999999")
        del order["quantity"]
        async with listening(venue, http):
            _, answer = await rest("POST", "/api/v3/order", **order)
        account = account_of(venue)
        return answer["code"], account.orders, account.balances["USDT"].locked

    assert against(use, venues=[SPOT]) == (-1013, {}, 0)


@pytest.mark.parametrize("amount", ["1e17", "1e21", "-1e30", "0.0000000000001", "NaN"])
def test_a_deposit_beyond_exact_amounts_is_refused(amount):
    async def use(venue, http):
        body = {"venue": SPOT, "asset": "USDT", "amount": amount}
        async with http.post(venue.base("control") + "/deposit", json=body) as response:
            return response.status, account_of(venue).balances["USDT"].total

    assert against(use, venues=[SPOT]) == (400, 1_000_000)


def test_deposits_do_not_add_up_beyond_exact_amounts():
    desk = TradingDesk()
    desk.trading.deposit(desk.account, "USDT", Decimal("9e14"), desk.now_ms)
    with pytest.raises(Refused):
        desk.trading.deposit(desk.account, "USDT", Decimal("9e14"), desk.now_ms)


def test_configured_balances_are_exact_amounts():
    with pytest.raises(ConfigError, match="balance of USDT"):
        TradingDesk(balances={"USDT": "1e16"})


def test_the_largest_amount_is_told_to_all_who_listen():
    most = "999999999000000"

    async def use(venue, http):
        rest = Rest(http, venue.base(USDM))
        async with (
            private_stream(venue, http, rest) as binance,
            okx_client.connect(venue, http) as okx,
            bybit_client.private(venue, "wallet") as bybit,
        ):
            await okx_client.log_in(okx)
            await okx_client.subscribe(okx, {"channel": "account"})
            for name in (USDM, "okx", "bybit"):
                body = {"venue": name, "asset": "USDT", "amount": most}
                async with http.post(venue.base("control") + "/deposit", json=body) as response:
                    assert response.status == 200
            told = [json.dumps(await message(socket)) for socket in (binance, bybit)]
            told.append(json.dumps((await okx_client.pushes(okx, "account", lambda _: True))[-1]))
            told.append(json.dumps(await okx_client.pushes(okx, "account", lambda _: True)))
            return told, venue.state(1)["venues"]

    told, venues = against(use, venues=[USDM, "okx", "bybit"])
    assert ["1000000000000000" in text for text in told] == [True, True, False, True]
    assert [venue["defects"] for venue in venues.values()] == [0, 0, 0]


@pytest.mark.parametrize("name", ["tick", "observe"])
def test_a_defect_in_one_venue_is_counted_and_does_not_stop_the_others(name, monkeypatch, caplog):
    async def use(venue, http):
        def broken(*arguments):
            raise ZeroDivisionError

        monkeypatch.setattr(venue.venues["okx"], name, broken)
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/btcusdt@depth@100ms") as socket:
            venue.step(2000)
            await message(socket)
            return {key: each["defects"] for key, each in venue.state(1)["venues"].items()}

    defects = against(use, venues=[SPOT, "okx"])
    assert defects["okx"] > 0
    assert defects[SPOT] == 0
    assert caplog.text.count("a defect of the simulated venue") == 1


def test_a_defect_in_what_is_told_keeps_no_trade_from_our_orders(monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError

    server = simulated(venues=[SPOT], symbols=["BTCUSDT"])
    venue = server.venues[SPOT]
    trading, account = venue.trading, account_of(server)
    book = trading.market("BTCUSDT")
    price = book.book.bids.best.price
    terms = OrderTerms(book, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, price=price, quantity=100)
    order = trading.place(account, terms, now_ms())
    monkeypatch.setattr(venue, "observe", broken)
    while order.status is not Status.FILLED and server.simulation.steps < 50_000:
        server.step(100)
    assert order.status is Status.FILLED
    assert venue.defects > 0
