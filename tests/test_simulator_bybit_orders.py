"""Orders on the simulated Bybit: signatures, codes, the life of an order."""

import base64
import json
import time
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateways.simulator.account import AccountSettings, Status
from gateways.simulator.bybit.ids import order_number, order_text
from tests.bybit_client import (
    CONTRACT,
    KEY,
    LINEAR,
    SPOT,
    SPOTS,
    WINDOW,
    books,
    price,
    private,
    rows,
    with_rest,
)
from tests.simulator_client import against

# Who asks.

GOLDEN = AccountSettings(key="k" * 64, secret="s" * 64, balances={"USDT": "1000"})
GOLDEN_MS = 1_700_000_000_000
GOLDEN_BODY = (
    '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit",'
    '"qty":"1","price":"2"}'
)


def at_golden_time(use):
    async def run(venue, rest):
        venue.set_faults(clock_skew_ms=GOLDEN_MS - time.time_ns() // 1_000_000)
        return await use(rest, {"X-BAPI-API-KEY": GOLDEN.key, "stamp": str(GOLDEN_MS)})

    return with_rest(run, accounts=[GOLDEN])


@pytest.mark.parametrize(
    ("signature", "code"),
    [("6e25cd3d0f463f8e92965b170c120f2ed28b97facd4e4999c9e49ced19559289", 110094), ("6e", 10004)],
)
def test_a_body_is_signed_as_ccxt_signs_it(signature, code):
    async def use(rest, known):
        known["X-BAPI-SIGN"] = signature
        return await rest.whole("POST", "/v5/order/create", GOLDEN_BODY, **known)

    assert at_golden_time(use)[2]["retCode"] == code


def test_a_query_is_signed_as_ccxt_signs_it():
    async def use(rest, known):
        known["X-BAPI-SIGN"] = "bf9fe61856471ff3654190988d175340c33a08a2b5ad13e312218af165dc9ce5"
        query = "category=linear&symbol=BTCUSDT"
        return await rest.whole("GET", "/v5/order/realtime", query=query, **known)

    assert at_golden_time(use)[2]["retCode"] == 0


def test_what_is_signed_is_the_body_as_it_was_sent():
    async def use(venue, rest):
        body = json.dumps(LINEAR | {"orderLinkId": "x"}, indent=2)
        return await rest.whole("POST", "/v5/order/cancel", body)

    assert with_rest(use)[2]["retCode"] == 110001


def test_an_rsa_key_signs_in_base64():
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    account = AccountSettings(key=KEY, public_key=pem.decode(), balances={"USDT": "1000"})

    async def use(venue, rest):
        stamp = str(time.time_ns() // 1_000_000)
        payload = f"{stamp}{KEY}{WINDOW}accountType=UNIFIED".encode()
        made = private_key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
        given = {"X-BAPI-SIGN": base64.b64encode(made).decode(), "stamp": stamp}
        path = "/v5/account/wallet-balance"
        return await rest.whole("GET", path, query="accountType=UNIFIED", **given)

    assert with_rest(use, accounts=[account])[2]["retCode"] == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"X-BAPI-API-KEY": "nobody"}, 10003),
        ({"X-BAPI-SIGN": "0" * 64}, 10004),
        ({"X-BAPI-SIGN": ""}, 10001),
        ({"stamp": "1"}, 10002),
        ({"stamp": "99999999999999"}, 10002),
    ],
)
def test_a_request_that_proves_nothing_is_refused(change, code):
    async def use(venue, rest):
        return await rest.whole("GET", "/v5/account/info", **change)

    assert with_rest(use)[2]["retCode"] == code


def test_a_clock_that_is_ahead_of_the_venue_is_refused():
    async def use(venue, rest):
        venue.set_faults(clock_skew_ms=-3000)
        return (await rest.get("/v5/account/info"))[0]

    assert with_rest(use) == 10002


def test_the_server_time_has_the_skew_of_the_venues_clock():
    async def use(venue, http):
        venue.set_faults(clock_skew_ms=60_000)
        async with http.get(f"{venue.base(CONTRACT)}/v5/market/time") as response:
            return int((await response.json())["result"]["timeSecond"]) - time.time()

    assert 50 < against(use, venues=[CONTRACT]) < 70


# What is refused.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOBTC"}, 10001),
        ({"category": "swap"}, 10001),
        ({"side": "buy"}, 10001),
        ({"orderType": "Stop"}, 10001),
        ({"timeInForce": "GTX"}, 10001),
        ({"price": "60000.05"}, 10001),
        ({"price": "0"}, 10001),
        ({"price": "nan"}, 10001),
        ({"qty": "0.0001"}, 10001),
        ({"qty": "0"}, 10001),
        ({"qty": "2000000"}, 10001),
        ({"qty": "10000"}, 110007),
        ({"price": "1900000"}, 110003),
        ({"price": "90000"}, 110003),
        ({"price": "100", "qty": "0.001"}, 110094),
        ({"reduceOnly": True}, 110017),
        ({"positionIdx": 1}, 10001),
        ({"orderLinkId": "a b"}, 10001),
        ({"orderLinkId": "x" * 37}, 10001),
        ({"takeProfit": "70000"}, 10001),
        ({"triggerPrice": "60000", "triggerDirection": 1}, 110092),
        ({"triggerPrice": "70000", "triggerDirection": 2}, 110093),
    ],
)
def test_a_contract_order_is_refused_with_the_venues_code(change, code):
    async def use(venue, rest):
        return (await rest.create(**({"price": "60000"} | change)))[0], books(venue)[1]

    got, account = with_rest(use)
    assert got == code
    assert not account.orders


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOBTC"}, 170121),
        ({"orderType": "Stop"}, 170116),
        ({"price": "60000.001"}, 170134),
        ({"qty": "0.0000001"}, 170137),
        ({"qty": "5000"}, 170135),
        ({"qty": "0"}, 170136),
        ({"qty": "100"}, 170131),
        ({"price": "90000"}, 170193),
        ({"price": "10000", "side": "Sell"}, 170194),
        ({"qty": "0.00001"}, 170140),
        ({"orderType": "Market", "qty": "20.123456789"}, 170148),
    ],
)
def test_a_spot_order_is_refused_with_the_venues_code(change, code):
    async def use(venue, rest):
        return (await rest.create(**(SPOTS | {"price": "60000"} | change)))[0]

    assert with_rest(use) == code


@pytest.mark.parametrize(("market", "code"), [(LINEAR, 110072), (SPOTS, 170141)])
def test_an_order_link_id_is_taken_for_ever(market, code):
    async def use(venue, rest):
        order = market | {"price": price(venue, 0.99), "orderLinkId": "once"}
        assert (await rest.create(**order))[0] == 0
        live = (await rest.create(**order))[0]
        await rest.post("/v5/order/cancel", **market, orderLinkId="once")
        return live, (await rest.create(**order))[0]

    assert with_rest(use) == (code, code)


@pytest.mark.parametrize(
    ("market", "name", "codes"),
    [(LINEAR, CONTRACT, (110001, 110010, 110008)), (SPOTS, SPOT, (170213, 170142, 170139))],
)
def test_a_cancel_says_why_it_comes_too_late(market, name, codes):
    async def use(venue, rest):
        absent = order_text(7, spot=name == SPOT)
        unknown = await rest.post("/v5/order/cancel", **market, orderId=absent)
        _, placed = await rest.create(**market, price=price(venue, 0.99))
        await rest.post("/v5/order/cancel", **market, **placed)
        canceled = await rest.post("/v5/order/cancel", **market, **placed)
        _, taken = await rest.create(**market, orderType="Market", marketUnit="baseCoin")
        filled = await rest.post("/v5/order/cancel", **market, **taken)
        return unknown[0], canceled[0], filled[0]

    assert with_rest(use) == codes


def test_the_order_id_comes_before_the_link_id():
    async def use(venue, rest):
        _, first = await rest.create(price=price(venue, 0.99), orderLinkId="first")
        await rest.create(price=price(venue, 0.99), orderLinkId="second")
        both = {"orderId": first["orderId"], "orderLinkId": "second"}
        await rest.post("/v5/order/cancel", **LINEAR, **both)
        return [order.client_id for order in books(venue)[1].orders.values()]

    assert with_rest(use) == ["second"]


def test_five_hundred_open_orders_are_the_most():
    async def use(venue, rest):
        for number in range(500):
            code, _ = await rest.create(price=price(venue, 0.9 + number / 10_000), qty="0.001")
            assert code == 0
        return (await rest.create(price=price(venue, 0.9), qty="0.001"))[0]

    assert with_rest(use, limit_factor=1000.0) == 110020


def test_ten_waiting_stop_orders_of_a_contract_are_the_most():
    async def use(venue, rest):
        stop = {"orderType": "Market", "triggerPrice": price(venue, 1.05), "triggerDirection": 1}
        codes = [(await rest.create(**stop))[0] for _ in range(11)]
        return codes

    assert with_rest(use, limit_factor=100.0) == [0] * 10 + [110009]


# The life of an order.


def test_an_order_id_of_a_contract_is_a_uuid_that_leads_back():
    numbers = [1, 1_000_000_001, 1 << 62]
    texts = [order_text(number, spot=False) for number in numbers]
    assert [order_number(text, spot=False) for text in texts] == numbers
    assert order_number(texts[0][:-1] + "0", spot=False) == 0
    assert order_number("nonsense", spot=False) == 0


def test_a_resting_order_is_new_and_then_canceled():
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            _, placed = await rest.create(price=price(venue, 0.99), orderLinkId="mine")
            await rest.post("/v5/order/cancel", **LINEAR, orderLinkId="mine")
            return placed, await rows(socket, 2)

    placed, (new, canceled) = with_rest(use)
    assert new["orderStatus"] == "New"
    assert (canceled["orderStatus"], canceled["cancelType"]) == ("Cancelled", "CancelByUser")
    assert canceled["rejectReason"] == "EC_PerCancelRequest"
    assert {row["orderId"] for row in (new, canceled)} == {placed["orderId"]}


def test_a_post_only_order_that_would_take_is_accepted_and_then_canceled():
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            code, _ = await rest.create(price=price(venue, 1.01), timeInForce="PostOnly")
            return code, await rows(socket, 1)

    code, (row,) = with_rest(use)
    assert code == 0
    assert row["orderStatus"] == "Cancelled"
    assert row["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"timeInForce": "IOC"}, "EC_NoImmediateQtyToFill"),
        ({"timeInForce": "FOK"}, "EC_CancelForNoFullFill"),
    ],
)
def test_an_immediate_order_without_a_counterpart_is_canceled_at_once(terms, reason):
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            await rest.create(price=price(venue, 0.99), **terms)
            return await rows(socket, 1)

    (row,) = with_rest(use)
    assert (row["orderStatus"], row["rejectReason"]) == ("Cancelled", reason)


def test_a_market_order_is_an_immediate_one_and_fills():
    async def use(venue, rest):
        async with private(venue, "execution", "order") as socket:
            await rest.create(orderType="Market", timeInForce="GTC")
            return await rows(socket, 2)

    execution, order = with_rest(use)
    assert (order["orderStatus"], order["timeInForce"]) == ("Filled", "IOC")
    assert execution["execType"] == "Trade"
    assert execution["isMaker"] is False
    assert Decimal(execution["execFee"]) == Decimal(execution["execValue"]) * Decimal("0.00055")
    assert order["cumFeeDetail"] == {"USDT": execution["execFee"]}


@pytest.mark.parametrize(
    ("change", "side", "least", "most"),
    [
        ({}, "Buy", 995, 1000),
        ({"marketUnit": "quoteCoin"}, "Sell", 990, 1000),
        ({"marketUnit": "baseCoin", "qty": "0.1"}, "Buy", 6000, 6300),
        ({"qty": "0.1"}, "Sell", 6000, 6300),
    ],
)
def test_a_spot_market_order_counts_in_the_currency_that_the_venue_means(change, side, least, most):
    async def use(venue, rest):
        before = books(venue, SPOT)[1].balances["USDT"].total
        order = SPOTS | {"orderType": "Market", "side": side, "qty": "1000"} | change
        assert (await rest.create(**order))[0] == 0
        return abs(books(venue, SPOT)[1].balances["USDT"].total - before)

    assert least <= with_rest(use) <= most


def test_spot_orders_have_no_mode_of_take_profit_orders():
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            await rest.create(**SPOTS, price=price(venue, 0.99))
            await rest.create(price=price(venue, 0.99))
            return await rows(socket, 2)

    spot, contract = with_rest(use)
    assert (spot["category"], "tpslMode" in spot) == ("spot", False)
    assert (contract["category"], "tpslMode" in contract) == ("linear", True)


def test_an_amendment_sets_the_total_quantity_and_the_price():
    async def use(venue, rest):
        wanted = price(venue, 0.98)
        async with private(venue, "order") as socket:
            _, placed = await rest.create(price=price(venue, 0.99))
            code, _ = await rest.post(
                "/v5/order/amend", **LINEAR, **placed, qty="0.02", price=wanted
            )
            return code, wanted, await rows(socket, 2)

    code, wanted, (_, amended) = with_rest(use)
    assert code == 0
    assert amended["orderStatus"] == "New"
    assert (Decimal(amended["price"]), amended["qty"]) == (Decimal(wanted), "0.020")


async def half_filled(venue, rest):
    """Return an order of which a part has been filled."""
    trading, account = books(venue)
    market = trading.market("BTCUSDT")
    lots = market.book.asks.best.quantity
    ask = market.instrument.price.text(market.book.asks.best.price)
    size = market.instrument.quantity.text(lots + 10)
    _, placed = await rest.create(price=ask, qty=size)
    (order,) = account.orders.values()
    assert order.filled == lots
    return placed, order


@pytest.mark.parametrize(
    ("rule", "code", "status"),
    [
        ("refuse", 110063, Status.PARTIAL),
        ("cancel", 0, Status.CANCELED),
        ("fill", 0, Status.FILLED),
    ],
)
def test_amending_to_what_is_filled_does_what_the_rules_say(rule, code, status):
    async def use(venue, rest):
        trading, _ = books(venue)
        trading.rules.amend_below_filled = rule
        placed, order = await half_filled(venue, rest)
        filled = order.market.instrument.quantity.text(order.filled)
        got, _ = await rest.post("/v5/order/amend", **LINEAR, **placed, qty=filled)
        return got, order.status

    assert with_rest(use) == (code, status)


def test_a_partly_filled_order_that_is_canceled_is_named_otherwise_on_spot():
    async def use(venue, rest):
        trading, _ = books(venue, SPOT)
        best = trading.market("BTCUSDT").book.asks.best
        instrument = trading.market("BTCUSDT").instrument
        order = SPOTS | {"price": instrument.price.text(best.price), "timeInForce": "IOC"}
        size = instrument.quantity.text(best.quantity + 10)
        async with private(venue, "order") as socket:
            await rest.create(**order, qty=size)
            found = await rows(socket, 2)
            while found[-1]["orderStatus"] == "PartiallyFilled":
                found += await rows(socket, 1)
            return found[-1]["orderStatus"]

    assert with_rest(use) == "PartiallyFilledCanceled"


def test_a_stop_order_is_triggered_and_becomes_new():
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            await rest.create(
                price=price(venue, 0.95),
                triggerPrice=price(venue, 1.0005),
                triggerDirection=1,
                triggerBy="LastPrice",
                orderLinkId="stop",
            )
            # Somebody buys through the trigger.
            above = price(venue, 1.001)
            await rest.create(price=above, qty="100", timeInForce="IOC", orderLinkId="push")
            seen = [(await rows(socket, 1))[0]]
            while (seen[-1]["orderLinkId"], seen[-1]["orderStatus"]) != ("stop", "New"):
                seen += await rows(socket, 1)
            return [row["orderStatus"] for row in seen if row["orderLinkId"] == "stop"]

    assert with_rest(use) == ["Untriggered", "Triggered", "New"]


def test_a_stop_order_that_is_canceled_while_it_waits_is_deactivated():
    async def use(venue, rest):
        async with private(venue, "order") as socket:
            stop = {"orderType": "Market", "triggerPrice": price(venue, 0.9), "triggerDirection": 2}
            _, placed = await rest.create(side="Sell", **stop)
            await rest.post("/v5/order/cancel", **LINEAR, **placed)
            return [row["orderStatus"] for row in await rows(socket, 2)]

    assert with_rest(use) == ["Untriggered", "Deactivated"]


def test_self_trade_prevention_does_what_the_order_says():
    async def use(venue, rest):
        ask = venue.state(1)["venues"][CONTRACT]["symbols"]["BTCUSDT"]["ask"][0]
        async with private(venue, "order") as socket:
            await rest.create(side="Sell", price=ask, orderLinkId="resting")
            await rest.create(
                price=ask, qty="100", smpType="CancelMaker", timeInForce="IOC", orderLinkId="taking"
            )
            seen = await rows(socket, 2)
            while seen[-1]["orderLinkId"] != "resting":
                seen += await rows(socket, 1)
            return seen[-1]

    row = with_rest(use)
    assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelBySmp")
    assert row["rejectReason"] == "EC_BySelfMatch"


def test_cancel_all_ends_the_orders_of_its_category_only():
    async def use(venue, rest):
        await rest.create(price=price(venue, 0.99))
        await rest.create(category="inverse", symbol="BTCUSD", price=price(venue, 0.99), qty="100")
        await rest.create(**SPOTS, price=price(venue, 0.99))
        assert (await rest.post("/v5/order/cancel-all", category="linear"))[0] == 10001
        code, result = await rest.post("/v5/order/cancel-all", category="linear", settleCoin="USDT")
        assert (code, len(result["list"]), result["success"]) == (0, 1, "1")
        left = [*books(venue)[1].orders.values(), *books(venue, SPOT)[1].orders.values()]
        return sorted(str(order.market.instrument.market) for order in left)

    assert with_rest(use) == ["inverse", "spot"]


def test_a_batch_answers_order_by_order():
    async def use(venue, rest):
        good = {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": price(venue, 0.99)}
        orders = [
            {"symbol": "BTCUSDT", **good, "orderLinkId": "b1"},
            {"symbol": "NOBTC", **good},
            {"symbol": "BTCUSDT", **good, "orderLinkId": "b1"},
        ]
        body = json.dumps({"category": "linear", "request": orders})
        _, _, answer = await rest.whole("POST", "/v5/order/create-batch", body)
        return answer

    answer = with_rest(use)
    assert answer["retCode"] == 0
    assert [note["code"] for note in answer["retExtInfo"]["list"]] == [0, 10001, 110072]
    listed = answer["result"]["list"]
    assert [bool(row["orderId"]) for row in listed] == [True, False, False]
    assert set(listed[0]) == {"category", "symbol", "orderId", "orderLinkId", "createAt"}
