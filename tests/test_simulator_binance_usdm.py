"""Orders and positions on the simulated USDⓈ-M market: answers, events, rules, in its words."""

import asyncio
from decimal import Decimal

import orjson
import pytest

from tests.data import shared
from tests.simulator_binance import (
    SYMBOL,
    USDM,
    Rest,
    account_of,
    api,
    best,
    limit,
    market,
    private_stream,
)
from tests.simulator_client import against, ask, message, shape, until

ORDER = "/fapi/v1/order"
ALGO = "/fapi/v1/algoOrder"


def trade(use, **changes):
    """Run ``use(venue, http, rest)`` against a fresh venue."""

    async def run(venue, http):
        return await use(venue, http, Rest(http, venue.base(USDM)))

    return against(run, **changes)


def place(**parameters):
    """Return status and answer of one order on a fresh venue."""

    async def use(venue, http, rest):
        return await rest("POST", ORDER, **parameters)

    return trade(use)


def samples(name):
    """Return the shared samples of the venue."""
    lines = shared(f"{USDM}/{name}").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


async def kinds(socket, count):
    """Return the next events."""
    return [await message(socket) for _ in range(count)]


# Answers.


def test_an_acknowledgement_tells_nothing_and_a_result_tells_all():
    _, acknowledged = place(**market())
    _, result = place(**market(newOrderRespType="RESULT"))
    assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0.000")
    assert (result["status"], result["executedQty"]) == ("FILLED", "0.010")
    assert Decimal(result["avgPrice"]) > 0


def test_orders_have_the_shape_of_the_venue_s():
    async def use(venue, http, rest):
        _, placed = await rest("POST", ORDER, **limit("60000"))
        _, asked = await rest("GET", ORDER, symbol=SYMBOL, orderId=placed["orderId"])
        await rest("POST", ORDER, **market())
        _, (fill,) = await rest("GET", "/fapi/v1/userTrades", symbol=SYMBOL)
        _, account = await rest("GET", "/fapi/v2/account")
        _, newer = await rest("GET", "/fapi/v3/account")
        _, balance = await rest("GET", "/fapi/v3/balance")
        _, risk = await rest("GET", "/fapi/v2/positionRisk")
        _, config = await rest("GET", "/fapi/v1/symbolConfig")
        return placed, asked, fill, account, newer, balance, risk, config

    placed, asked, fill, account, newer, balance, risk, config = trade(use)
    trailing = {".activatePrice", ".priceRate"}
    assert shape(placed) >= shape(samples("rest/POST_fapi_v1_order.jsonl")[0]) - trailing
    assert shape(asked) >= shape(samples("rest/GET_fapi_v1_order.jsonl")[0]) - trailing
    assert shape(fill) >= shape(samples("rest/GET_fapi_v1_userTrades.jsonl")[0][0])
    assert shape(account) >= shape(samples("rest/GET_fapi_v2_account.jsonl")[0])
    assert shape(newer) >= shape(samples("rest/GET_fapi_v3_account.jsonl")[0])
    assert shape(balance) == shape(samples("rest/GET_fapi_v3_balance.jsonl")[0])
    assert shape(risk) >= shape(samples("rest/GET_fapi_v2_positionRisk.jsonl")[0])
    assert shape(config) == shape(samples("rest/GET_fapi_v1_symbolConfig.jsonl")[0])


def test_settings_have_the_shape_of_the_venue_s():
    async def use(venue, http, rest):
        return {
            path: (await rest("GET", f"/fapi/v1/{path}", symbol=SYMBOL))[1]
            for path in ("commissionRate", "accountConfig", "feeBurn")
        } | {"leverageBracket": (await rest("GET", "/fapi/v1/leverageBracket"))[1]}

    found = trade(use)
    names = {"commissionRate": "meta", "leverageBracket": "meta"}
    for path, answer in found.items():
        sample = samples(f"{names.get(path, 'rest')}/GET_fapi_v1_{path}.jsonl")[0]
        assert shape(answer) >= shape(sample), path


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (limit("60000.05"), -4014),
        (limit("60000.001"), -1111),
        (limit("90000"), -4016),
        (limit("30000", side="SELL"), -4024),
        (limit("60000", "0.0001"), -1111),
        (limit("60000", "0"), -4003),
        (limit("60000", "1001"), -4005),
        (market("121"), -4005),
        (limit("1000", "0.001"), -4164),
        (limit("60000", "900"), -2019),
        (limit("70000", timeInForce="GTX"), -4016),
        (limit("63000", timeInForce="GTX"), -5022),
        (limit("61000", timeInForce="FOK"), -5021),
        (limit("61000", timeInForce="GTD", goodTillDate="1"), -1102),
        (market(reduceOnly="true"), -2022),
        (market(positionSide="LONG"), -4061),
        (limit("60000", symbol="NOSUCH"), -1121),
        ({"symbol": SYMBOL, "side": "BUY", "type": "STOP_MARKET", "stopPrice": "1"}, -4120),
    ],
)
def test_a_wrong_order_is_refused_with_the_venue_s_code(parameters, code):
    status, answer = place(**parameters)
    assert (status, answer["code"]) == (400, code)


def test_a_client_id_is_taken_while_its_order_is_open():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000", newClientOrderId="same"))
        return await rest("POST", ORDER, **limit("60000", newClientOrderId="same"))

    assert trade(use) == (400, {"code": -4116, "msg": "ClientOrderId is duplicated."})


# Changes.


def test_a_modified_order_keeps_its_id():
    async def use(venue, http, rest):
        _, placed = await rest("POST", ORDER, **limit("60000", newClientOrderId="m"))
        change = {"symbol": SYMBOL, "side": "BUY", "origClientOrderId": "m"}
        _, changed = await rest("PUT", ORDER, **change, price="60100", quantity="0.02")
        same = await rest("PUT", ORDER, **change, price="60100", quantity="0.02")
        unpriced = await rest("PUT", ORDER, **change, quantity="0.02")
        far = await rest("PUT", ORDER, **change, price="90000", quantity="0.02")
        return placed, changed, same, unpriced, far, account_of(venue, USDM).orders

    placed, changed, same, unpriced, far, left = trade(use)
    assert changed["orderId"] == placed["orderId"]
    assert (changed["price"], changed["origQty"]) == ("60100.00", "0.020")
    assert [each[1]["code"] for each in (same, unpriced, far)] == [-5027, -1102, -4016]
    assert list(left) == [placed["orderId"]]


def test_a_modification_to_what_is_filled_already_cancels():
    async def filled(venue, http, rest):
        _, ask = best(venue, USDM)
        await rest("POST", ORDER, **limit(f"{ask:.1f}", "100", newClientOrderId="m"))
        change = {"symbol": SYMBOL, "side": "BUY", "origClientOrderId": "m"}
        _, before = await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="m")
        quantity = before["executedQty"]
        _, after = await rest("PUT", ORDER, **change, price=before["price"], quantity=quantity)
        return before, after

    before, after = trade(filled)
    assert before["status"] == "PARTIALLY_FILLED"
    assert (after["status"], after["executedQty"]) == ("CANCELED", before["executedQty"])


def test_a_batch_answers_in_the_order_of_the_request():
    async def use(venue, http, rest):
        orders = [limit(price, newClientOrderId=f"b{price}") for price in ("60000", "90000")]
        orders += [limit("60100", "0.01", newClientOrderId="b60100")]
        batch = orjson.dumps(orders).decode()
        status, placed = await rest("POST", "/fapi/v1/batchOrders", batchOrders=batch)
        ids = orjson.dumps([placed[0]["orderId"], 1, placed[2]["orderId"]]).decode()
        gone = await rest("DELETE", "/fapi/v1/batchOrders", symbol=SYMBOL, orderIdList=ids)
        many = orjson.dumps([limit("60000")] * 6).decode()
        return status, placed, gone[1], await rest("POST", "/fapi/v1/batchOrders", batchOrders=many)

    status, placed, gone, many = trade(use)
    assert status == 200
    assert [each.get("clientOrderId") for each in placed] == ["b60000", None, "b60100"]
    assert placed[1]["code"] == -4016
    assert [each.get("status", each.get("code")) for each in gone] == [
        "CANCELED",
        -2011,
        "CANCELED",
    ]
    assert many[1]["code"] == -4082


def test_a_batch_of_modifications_changes_each_order():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000", newClientOrderId="a"))
        change = {"symbol": SYMBOL, "side": "BUY", "price": "60100", "quantity": "0.02"}
        wanted = [change | {"origClientOrderId": name} for name in ("nobody", "a")]
        batch = orjson.dumps(wanted).decode()
        return (await rest("PUT", "/fapi/v1/batchOrders", batchOrders=batch))[1]

    refused, changed = trade(use)
    assert refused["code"] == -2011
    assert changed["price"] == "60100.00"


def test_the_countdown_cancels_all_orders_of_its_symbol():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000"))
        await rest("POST", ORDER, **limit("2500", "0.1", symbol="ETHUSDT"))
        path = "/fapi/v1/countdownCancelAll"
        _, answer = await rest("POST", path, symbol=SYMBOL, countdownTime=20)
        async with asyncio.timeout(5.0):
            while len(account_of(venue, USDM).orders) > 1:  # noqa: ASYNC110 - a venue's own clock
                await asyncio.sleep(0.005)
        _, left = await rest("GET", "/fapi/v1/openOrders")
        return answer, left

    answer, left = trade(use)
    assert answer == {"symbol": SYMBOL, "countdownTime": "20"}
    assert [order["symbol"] for order in left] == ["ETHUSDT"]


def test_all_orders_of_a_symbol_are_canceled_at_once():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000"))
        await rest("POST", ORDER, **limit("60000"))
        answer = await rest("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
        return answer, account_of(venue, USDM).orders

    answer, left = trade(use)
    assert answer[1]["code"] == 200
    assert left == {}


# Conditional orders.


def stop(**more):
    usual = {"algoType": "CONDITIONAL", "symbol": SYMBOL, "side": "BUY", "type": "STOP_MARKET"}
    return usual | {"quantity": "0.01", "triggerPrice": "63000"} | more


def test_conditional_orders_live_apart():
    async def use(venue, http, rest):
        _, placed = await rest("POST", ALGO, **stop(clientAlgoId="s"))
        _, opened = await rest("GET", "/fapi/v1/openAlgoOrders", symbol=SYMBOL)
        plain = await rest("GET", "/fapi/v1/openOrders", symbol=SYMBOL)
        other = await rest("GET", ORDER, symbol=SYMBOL, orderId=placed["algoId"])
        _, canceled = await rest("DELETE", ALGO, clientAlgoId="s")
        _, after = await rest("GET", ALGO, algoId=placed["algoId"])
        return placed, opened, plain, other, canceled, after

    placed, opened, plain, other, canceled, after = trade(use)
    assert opened == [placed]
    assert plain == (200, [])
    assert other[1]["code"] == -2013
    assert (canceled["code"], after["algoStatus"]) == ("200", "CANCELED")


def test_conditional_orders_have_the_shape_of_the_venue_s():
    async def use(venue, http, rest):
        _, placed = await rest("POST", ALGO, **stop())
        return placed

    rare = {".activatePrice", ".callbackRate"}
    assert shape(trade(use)) >= shape(samples("rest/POST_fapi_v1_algoOrder.jsonl")[0]) - rare


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"triggerPrice": "50000"}, -2021),
        ({"type": "LIMIT"}, -1116),
        ({"algoType": "VP"}, -1130),
        ({"triggerPrice": "63000.05"}, -4014),
    ],
)
def test_a_wrong_conditional_order_is_refused(more, code):
    async def use(venue, http, rest):
        return await rest("POST", ALGO, **stop(**more))

    assert trade(use)[1]["code"] == code


def test_a_triggered_order_becomes_a_plain_one():
    async def use(venue, http, rest):
        _, ask_price = best(venue, USDM)
        async with private_stream(venue, http, rest) as socket:
            trigger = f"{ask_price + 0.2:.1f}"
            _, placed = await rest("POST", ALGO, **stop(triggerPrice=trigger, clientAlgoId="s"))
            new = await message(socket)
            await rest("POST", ORDER, **market("10"))
            told = await until(
                socket, lambda event: event["e"] == "ALGO_UPDATE" and event["o"]["X"] != "NEW"
            )
            filled = await until(
                socket, lambda event: event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["c"] == "s"
            )
            _, after = await rest("GET", ALGO, algoId=placed["algoId"])
            _, actual = await rest("GET", ORDER, symbol=SYMBOL, orderId=after["actualOrderId"])
            return new, told, filled, after, actual

    new, told, filled, after, actual = trade(use)
    assert (new["e"], new["o"]["X"]) == ("ALGO_UPDATE", "NEW")
    assert (told["o"]["X"], after["algoStatus"]) == ("TRIGGERED", "TRIGGERED")
    assert str(filled["o"]["i"]) == after["actualOrderId"] == told["o"]["ai"]
    assert (actual["status"], actual["origType"], actual["type"]) == (
        "FILLED",
        "STOP_MARKET",
        "MARKET",
    )


# Private streams.


def test_a_listen_key_is_shared_extended_and_ended():
    async def use(venue, http, rest):
        path = "/fapi/v1/listenKey"
        first, second = await rest("POST", path), await rest("POST", path)
        extended = await rest("PUT", path)
        ended = await rest("DELETE", path)
        gone = await rest("PUT", path)
        third = await rest("POST", path)
        return first, second, extended, ended, gone, third

    first, second, extended, ended, gone, third = trade(use)
    assert first == second == extended
    assert ended == (200, {})
    assert gone == (400, {"code": -1125, "msg": "This listenKey does not exist."})
    assert third[1] != first[1]


@pytest.mark.parametrize(
    ("path", "wrapped"),
    [
        ("/private/ws?listenKey={}", False),
        ("/private/ws/{}", False),
        ("/private/stream?listenKey={}", True),
        ("/ws?listenKey={}", False),
        ("/ws/{}", False),
        ("/stream?streams={}", True),
    ],
)
def test_private_events_come_under_every_address_that_clients_use(path, wrapped):
    async def use(venue, http, rest):
        async with private_stream(venue, http, rest, path) as socket:
            await rest("POST", ORDER, **limit("60000"))
            return await message(socket)

    event = trade(use)
    assert ("stream" in event) is wrapped
    told = event["data"] if wrapped else event
    assert (told["e"], told["o"]["x"]) == ("ORDER_TRADE_UPDATE", "NEW")


def test_a_listen_key_can_be_subscribed_to_and_left_again():
    async def use(venue, http, rest):
        _, answer = await rest("POST", "/fapi/v1/listenKey")
        async with http.ws_connect(venue.base(USDM, "ws") + "/ws") as socket:
            key = answer["listenKey"]
            reply = await ask(socket, method="SUBSCRIBE", params=[key])
            await rest("POST", ORDER, **limit("60000"))
            event = await message(socket)
            await ask(socket, 2, method="UNSUBSCRIBE", params=[key])
            await rest("POST", ORDER, **limit("60000"))
            return reply, event, await ask(socket, 3, method="LIST_SUBSCRIPTIONS")

    reply, event, listed = trade(use)
    assert reply == {"result": None, "id": 1}
    assert event["e"] == "ORDER_TRADE_UPDATE"
    assert listed == {"result": [], "id": 3}


def test_only_the_events_that_are_asked_for_come():
    async def use(venue, http, rest):
        path = "/private/ws?listenKey={}&events=ACCOUNT_UPDATE"
        async with private_stream(venue, http, rest, path) as socket:
            await rest("POST", ORDER, **market())
            return await message(socket)

    assert trade(use)["e"] == "ACCOUNT_UPDATE"


def test_an_expired_key_says_so_and_falls_silent():
    async def use(venue, http, rest):
        async with private_stream(venue, http, rest) as socket:
            venue.set_faults(expire_keys=True)
            event = await message(socket)
            await rest("POST", ORDER, **limit("60000"))
            await socket.send_json({"method": "GET_PROPERTY", "params": ["combined"], "id": 1})
            return event, await message(socket)

    event, answer = trade(use)
    assert answer == {"result": False, "id": 1}
    assert event["e"] == "listenKeyExpired"
    assert shape(event) >= shape(samples("private/listenKeyExpired.jsonl")[0])


def test_a_fill_is_told_in_the_venue_s_order_and_shape():
    async def use(venue, http, rest):
        async with private_stream(venue, http, rest) as socket:
            await rest("POST", ORDER, **market(newClientOrderId="t"))
            return await kinds(socket, 4), account_of(venue, USDM)

    (new, lite, filled, update), account = trade(use)
    assert [new["e"], lite["e"], filled["e"], update["e"]] == [
        "ORDER_TRADE_UPDATE",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
    ]
    assert (filled["o"]["x"], filled["o"]["X"]) == ("TRADE", "FILLED")
    assert lite["t"] == filled["o"]["t"] == account.fills[0].id
    assert Decimal(filled["o"]["n"]) == account.fills[0].fee
    (balance,), (position,) = update["a"]["B"], update["a"]["P"]
    assert Decimal(balance["wb"]) == account.balances["USDT"].total
    assert (position["s"], position["pa"], position["ps"]) == (SYMBOL, "0.010", "BOTH")
    trailing = {".o.AP", ".o.cr"}
    recorded = samples("private/ORDER_TRADE_UPDATE.jsonl")[0]["data"]
    assert shape(filled) >= shape(recorded) - trailing
    assert shape(lite) == shape(samples("private/TRADE_LITE.jsonl")[0]["data"])


def test_settings_are_told():
    async def use(venue, http, rest):
        async with private_stream(venue, http, rest) as socket:
            _, answer = await rest("POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=7)
            return answer, await message(socket)

    answer, event = trade(use)
    assert (answer["leverage"], event["ac"]) == (7, {"s": SYMBOL, "l": 7})
    assert shape(event) == shape(samples("private/ACCOUNT_CONFIG_UPDATE.jsonl")[2])


def test_a_liquidation_is_told_as_orders_that_nobody_sent():
    async def use(venue, http, rest):
        async with private_stream(venue, http, rest) as socket:
            await rest("POST", ORDER, **market())
            await kinds(socket, 4)
            trading = venue.venues[USDM].trading
            trading.liquidate(trading.accounts[0], SYMBOL, venue.venues[USDM].now_ms())
            call, new = await kinds(socket, 2)
            filled = await until(socket, lambda event: event.get("o", {}).get("X") == "FILLED")
            update = await message(socket)
            _, forced = await rest("GET", "/fapi/v1/forceOrders")
            return call, new, filled, update, forced

    call, new, filled, update, forced = trade(use)
    assert shape(call) == shape(samples("private/MARGIN_CALL.jsonl")[1])
    assert new["o"]["c"].startswith("autoclose-")
    assert (filled["o"]["x"], filled["o"]["X"], filled["o"]["R"]) == ("CALCULATED", "FILLED", True)
    assert update["a"]["P"][0]["pa"] == "0.000"
    assert [order["clientOrderId"] for order in forced] == [new["o"]["c"]]


def test_funding_is_told_and_is_income():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **market())
        async with private_stream(venue, http, rest) as socket:
            trading = venue.venues[USDM].trading
            trading.pay_funding(SYMBOL, venue.venues[USDM].now_ms())
            event = await message(socket)
        query = {"incomeType": "FUNDING_FEE"}
        return event, await rest("GET", "/fapi/v1/income", **query), account_of(venue, USDM)

    event, (_, income), account = trade(use)
    assert event["a"]["m"] == "FUNDING_FEE"
    paid = -account.funding[0].paid
    assert Decimal(event["a"]["B"][0]["bc"]) == Decimal(income[0]["income"]) == paid
    assert shape(income) == shape(samples("rest/GET_fapi_v1_income.jsonl")[0])


# Settings.


def test_position_mode_changes_only_without_orders_and_positions():
    path = "/fapi/v1/positionSide/dual"

    async def use(venue, http, rest):
        same = await rest("POST", path, dualSidePosition="false")
        await rest("POST", ORDER, **limit("60000"))
        orders = await rest("POST", path, dualSidePosition="true")
        await rest("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
        await rest("POST", ORDER, **market())
        held = await rest("POST", path, dualSidePosition="true")
        await rest("POST", ORDER, **market(side="SELL", reduceOnly="true"))
        changed = await rest("POST", path, dualSidePosition="true")
        both = await rest("POST", ORDER, **market())
        long = await rest("POST", ORDER, **market(positionSide="LONG"))
        short = await rest("POST", ORDER, **market(positionSide="SHORT", side="SELL"))
        _, risk = await rest("GET", "/fapi/v3/positionRisk")
        return same, orders, held, changed, both, long, short, risk

    same, orders, held, changed, both, long, short, risk = trade(use)
    assert [each[1]["code"] for each in (same, orders, held)] == [-4059, -4067, -4068]
    assert changed[1] == {"code": 200, "msg": "success"}
    assert both[1]["code"] == -4061
    assert (long[0], short[0]) == (200, 200)
    amounts = {row["positionSide"]: row["positionAmt"] for row in risk}
    assert amounts == {"LONG": "0.010", "SHORT": "-0.010"}


def test_margin_type_and_leverage_are_checked():
    async def use(venue, http, rest):
        same = await rest("POST", "/fapi/v1/marginType", symbol=SYMBOL, marginType="CROSSED")
        changed = await rest("POST", "/fapi/v1/marginType", symbol=SYMBOL, marginType="ISOLATED")
        leverage = await rest("POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=126)
        _, config = await rest("GET", "/fapi/v1/symbolConfig", symbol=SYMBOL)
        return same[1], changed[1], leverage[1], config[0]

    same, changed, leverage, config = trade(use)
    assert same == {"code": -4046, "msg": "No need to change margin type."}
    assert changed["code"] == 200
    assert leverage == {"code": -4028, "msg": "Leverage 126 is not valid"}
    assert config["marginType"] == "ISOLATED"


def test_the_socket_trades_and_tells_of_the_account():
    async def use(venue, http):
        async with api(venue, http, USDM) as connection:
            placed = await connection("order.place", **limit("60000", newClientOrderId="w"))
            change = {"symbol": SYMBOL, "side": "BUY", "origClientOrderId": "w"}
            changed = await connection("order.modify", **change, price="60100", quantity="0.02")
            asked = await connection("order.status", symbol=SYMBOL, origClientOrderId="w")
            canceled = await connection("order.cancel", symbol=SYMBOL, origClientOrderId="w")
            again = await connection("order.cancel", symbol=SYMBOL, origClientOrderId="w")
            algo = await connection("algoOrder.place", **stop(clientAlgoId="s"))
            dropped = await connection("algoOrder.cancel", clientAlgoId="s")
            await connection("order.place", **market())
            found = {}
            for method in ("account.position", "account.balance", "account.status"):
                found[method] = await connection(method)
                found[f"v2/{method}"] = await connection(f"v2/{method}")
            start = await connection.plain("userDataStream.start", apiKey="demo-key")
            return placed, changed, asked, canceled, again, algo, dropped, found, start

    placed, changed, asked, canceled, again, algo, dropped, found, start = against(use)
    limits = [row["interval"] for row in placed["rateLimits"]]
    assert limits == ["MINUTE", "SECOND", "MINUTE"]
    assert changed["result"]["modifyId"] == 1
    assert asked["result"]["price"] == "60100.00"
    assert canceled["result"]["status"] == "CANCELED"
    assert (again["status"], again["error"]["code"]) == (400, -2011)
    assert (algo["result"]["algoStatus"], dropped["result"]["code"]) == ("NEW", "200")
    assert all(reply["status"] == 200 for reply in found.values())
    assert found["v2/account.position"]["result"][0]["positionAmt"] == "0.010"
    assert len(start["result"]["listenKey"]) == 64


# Limits and faults.


def test_orders_and_weight_are_counted_in_the_headers():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000"))
        counted = dict(rest.headers)
        await rest("GET", "/fapi/v1/rateLimit/order")
        return counted

    headers = trade(use)
    assert headers["X-MBX-ORDER-COUNT-10S"] == headers["X-MBX-ORDER-COUNT-1M"] == "1"
    assert headers["X-MBX-USED-WEIGHT-1M"] == "0"


@pytest.mark.parametrize(
    ("effect", "code", "text"),
    [
        (True, -1000, "Unknown error, please check your request or try again later."),
        (False, -1008, "Service Unavailable."),
    ],
)
def test_the_text_of_a_503_tells_whether_the_order_may_be_in_the_book(effect, code, text):
    async def use(venue, http, rest):
        venue.set_faults(order_error=503, order_effect=effect)
        failed = await rest("POST", ORDER, **limit("60000"))
        return failed, len(account_of(venue, USDM).orders)

    failed, orders = trade(use)
    assert failed == (503, {"code": code, "msg": text})
    assert orders == effect


def test_a_limit_factor_raises_weight_and_order_limits():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("60000"))
        async with http.get(venue.base(USDM) + "/fapi/v1/exchangeInfo") as response:
            return (await response.json())["rateLimits"]

    limits = trade(use, limit_factor=10)
    assert {row["rateLimitType"]: row["limit"] for row in limits[:2]} == {
        "REQUEST_WEIGHT": 24_000,
        "ORDERS": 12_000,
    }


def test_a_limited_order_tells_the_socket_when_to_come_back():
    async def use(venue, http):
        async with api(venue, http, USDM) as connection:
            venue.set_faults(order_error=429)
            return await connection("order.place", **limit("60000"))

    reply = against(use)
    assert (reply["status"], reply["error"]["code"]) == (429, -1015)
    assert reply["error"]["data"]["retryAfter"] > reply["error"]["data"]["serverTime"]


def test_an_answer_can_be_late():
    async def use(venue, http):
        rest = Rest(http, venue.base(USDM))
        async with (
            private_stream(venue, http, rest) as socket,
            api(venue, http, USDM) as connection,
        ):
            venue.set_faults(ack_delay_ms=200.0)
            asked = asyncio.create_task(connection("order.place", **limit("60000")))
            event = await message(socket)
            answered = asked.done()
            return event, answered, await asked

    event, answered, reply = against(use)
    assert (event["o"]["x"], answered, reply["status"]) == ("NEW", False, 200)


def test_income_comes_in_the_order_in_which_it_was_made():
    async def use(venue, http, rest):
        trading, account = venue.venues[USDM].trading, account_of(venue, USDM)
        account.transfers.clear()
        trading.deposit(account, "USDT", Decimal(1), 1)
        for side in ("BUY", "SELL"):
            await rest("POST", "/fapi/v1/order", **market("0.01", side))
            trading.pay_funding(SYMBOL, venue.venues[USDM].now_ms())
        _, all_of_it = await rest("GET", "/fapi/v1/income")
        _, newest = await rest("GET", "/fapi/v1/income", limit=2)
        _, oldest = await rest("GET", "/fapi/v1/income", limit=2, startTime=1)
        return all_of_it, newest, oldest

    all_of_it, newest, oldest = trade(use)
    times = [row["time"] for row in all_of_it]
    assert times == sorted(times)
    kinds = [row["incomeType"] for row in all_of_it]
    assert kinds[:2] == ["TRANSFER", "COMMISSION"]
    assert {"FUNDING_FEE", "REALIZED_PNL"} <= set(kinds)
    assert (newest, oldest) == (all_of_it[-2:], all_of_it[:2])


def test_a_fill_or_kill_order_that_would_meet_ones_own_is_not_taken():
    async def use(venue, http, rest):
        _, ask_price = best(venue, USDM)
        inside = f"{ask_price - 0.1:.1f}"
        bid, _ = best(venue, USDM)
        if ask_price - 0.1 <= bid:
            inside = f"{ask_price:.1f}"
        await rest("POST", ORDER, **limit(inside, "0.5", side="SELL"))
        book = venue.venues[USDM].trading.market(SYMBOL).book
        level = book.asks.best
        foreign = sum(order.remaining for order in level.orders.values() if not order.owner)
        quantity = f"{(foreign + 1) / 1000:.3f}"
        _, answer = await rest("POST", ORDER, **limit(inside, quantity, timeInForce="FOK"))
        return answer, list(account_of(venue, USDM).history)

    answer, history = trade(use)
    assert (answer["code"], history) == (-5021, [])
