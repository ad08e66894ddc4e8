"""Orders on the simulated Binance spot: answers, events, filters, limits, faults, in its words."""

from collections import deque
from decimal import Decimal

import aiohttp
import orjson
import pytest

from gateways.simulator.binance.spot_orders import fills_of, orders_of, rows
from tests.data import shared
from tests.simulator_binance import (
    SPOT,
    SYMBOL,
    Rest,
    account_of,
    api,
    best,
    limit,
    listening,
    market,
)
from tests.simulator_client import against, message, shape
from tests.trading_desk import TradingDesk

ORDER = "/api/v3/order"


def trade(use, **changes):
    """Run ``use(venue, http, rest)`` against a fresh spot venue."""

    async def run(venue, http):
        return await use(venue, http, Rest(http, venue.base(SPOT)))

    return against(run, **changes)


def place(**parameters):
    """Return status and answer of one order on a fresh venue."""

    async def use(venue, http, rest):
        return await rest("POST", ORDER, **parameters)

    return trade(use)


# Answers.


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("ACK", set()),
        ("RESULT", {"status", "executedQty", "cummulativeQuoteQty", "type"}),
        ("FULL", {"status", "fills"}),
    ],
)
def test_a_new_order_is_answered_as_the_client_wants(kind, more):
    status, answer = place(**market(newOrderRespType=kind))
    assert status == 200
    assert more <= set(answer)
    assert ("fills" in answer) is (kind == "FULL")


def test_an_order_that_nobody_named_a_response_for_is_answered_in_full():
    _, answer = place(**market("0.5", newClientOrderId="mine"))
    filled = sum(Decimal(fill["qty"]) for fill in answer["fills"])
    assert (answer["status"], answer["clientOrderId"]) == ("FILLED", "mine")
    assert filled == Decimal(answer["executedQty"]) == Decimal("0.5")


def test_the_answer_has_the_shape_of_the_venue_s():
    _, answer = place(**limit("50000"))
    del answer["fills"]
    (sample,) = samples("rest/POST_api_v3_order.jsonl")[:1]
    assert shape(answer) >= {path for path in shape(sample) if not path.startswith(".fills")}


def samples(name):
    """Return the shared samples of the venue."""
    lines = shared(f"{SPOT}/{name}").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def test_orders_trades_and_account_have_the_shape_of_the_venue_s():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **market())
        _, (order,) = await rest("GET", "/api/v3/allOrders", symbol=SYMBOL)
        _, (fill,) = await rest("GET", "/api/v3/myTrades", symbol=SYMBOL)
        _, account = await rest("GET", "/api/v3/account")
        _, limits = await rest("GET", "/api/v3/rateLimit/order")
        return order, fill, account, limits

    order, fill, account, limits = trade(use)
    rare = {".stopPrice", ".icebergQty", ".preventedMatchId"}
    assert shape(order) >= shape(samples("rest/GET_api_v3_order.jsonl")[1]) - rare
    assert shape(fill) == shape(samples("rest/GET_api_v3_myTrades.jsonl")[0][0])
    assert shape(account) == shape(samples("rest/GET_api_v3_account.jsonl")[0])
    assert shape(limits) == shape(samples("rest/GET_api_v3_rateLimit_order.jsonl")[0])


def test_an_order_is_found_by_either_id_and_open_until_it_is_canceled():
    async def use(venue, http, rest):
        _, placed = await rest("POST", ORDER, **limit("50000", newClientOrderId="a"))
        _, by_id = await rest("GET", ORDER, symbol=SYMBOL, orderId=placed["orderId"])
        _, by_client = await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="a")
        _, opened = await rest("GET", "/api/v3/openOrders", symbol=SYMBOL)
        status, canceled = await rest("DELETE", ORDER, symbol=SYMBOL, origClientOrderId="a")
        _, left = await rest("GET", "/api/v3/openOrders", symbol=SYMBOL)
        assert by_id == by_client == opened[0]
        assert (status, canceled["status"], canceled["origClientOrderId"]) == (200, "CANCELED", "a")
        assert canceled["clientOrderId"] != "a"
        assert left == []
        assert account_of(venue).orders == {}

    trade(use)


def test_a_market_order_can_say_what_to_spend():
    _, answer = place(symbol=SYMBOL, side="BUY", type="MARKET", quoteOrderQty="1000")
    spent = Decimal(answer["cummulativeQuoteQty"])
    assert answer["status"] == "FILLED"
    assert Decimal(999) < spent <= Decimal(1000)


def test_what_an_immediate_order_cannot_fill_expires():
    async def use(venue, http, rest):
        bid, _ = best(venue)
        large = limit(f"{bid:.2f}", "50", side="SELL")
        _, fok = await rest("POST", ORDER, **large | {"timeInForce": "FOK"})
        _, ioc = await rest("POST", ORDER, **large | {"timeInForce": "IOC"})
        return ioc, fok

    ioc, fok = trade(use)
    assert ioc["status"] == fok["status"] == "EXPIRED"
    assert Decimal(ioc["executedQty"]) > 0
    assert Decimal(fok["executedQty"]) == 0


def test_own_orders_do_not_trade_with_each_other():
    async def use(venue, http, rest):
        bid, _ = best(venue)
        price = f"{bid:.2f}"
        _, maker = await rest("POST", ORDER, **limit(price, newClientOrderId="m"))
        _, taker = await rest("POST", ORDER, **limit(price, "50", side="SELL", timeInForce="IOC"))
        _, after = await rest("GET", ORDER, symbol=SYMBOL, orderId=maker["orderId"])
        return after, taker

    after, taker = trade(use)
    assert (after["status"], after["executedQty"]) == ("EXPIRED_IN_MATCH", "0.00000000")
    assert taker["status"] == "EXPIRED"


def test_a_stop_order_waits_and_then_trades():
    async def use(venue, http, rest):
        _, ask = best(venue)
        stop = limit(f"{ask + 100:.2f}", type="STOP_LOSS_LIMIT", stopPrice=f"{ask + 0.05:.2f}")
        _, placed = await rest("POST", ORDER, **stop)
        _, before = await rest("GET", ORDER, symbol=SYMBOL, orderId=placed["orderId"])
        await rest("POST", ORDER, **limit(f"{ask + 20:.2f}", "10", timeInForce="IOC"))
        _, after = await rest("GET", ORDER, symbol=SYMBOL, orderId=placed["orderId"])
        return placed, before, after

    placed, before, after = trade(use)
    assert set(placed) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert (before["status"], before["isWorking"], before["type"]) == (
        "NEW",
        False,
        "STOP_LOSS_LIMIT",
    )
    assert after["status"] == "FILLED"


# Refusals.


@pytest.mark.parametrize(
    ("parameters", "code", "text"),
    [
        (limit("50000.001"), -1013, "Filter failure: PRICE_FILTER"),
        (limit("0"), -1013, "Filter failure: PRICE_FILTER"),
        (limit("2000000"), -1013, "Filter failure: P"),
        (limit("10"), -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (limit("50000", "0.000001"), -1013, "Filter failure: LOT_SIZE"),
        (limit("50000", "0"), -1013, "Filter failure: LOT_SIZE"),
        (limit("50000", "9500"), -1013, "Filter failure: LOT_SIZE"),
        (limit("50000", "0.00001"), -1013, "Filter failure: NOTIONAL"),
        (limit("50000", "0.000000001"), -1111, "Precision is over the maximum"),
        (limit("50000", "1e-2"), -1100, "Illegal characters found in parameter 'quantity'"),
        (limit("50000", "1000"), -1013, "Filter failure: NOTIONAL"),
        (limit("50000", "100"), -2010, "Account has insufficient balance"),
        (limit("90000", type="LIMIT_MAKER", timeInForce=""), -2010, "Order would immediately"),
        (limit("50000", timeInForce=""), -1102, "Mandatory parameter 'timeInForce'"),
        (limit("50000", side="HOLD"), -1117, "Invalid side."),
        (limit("50000", type="ICEBERG"), -1116, "Invalid orderType."),
        (limit("50000", timeInForce="GTX"), -1115, "Invalid timeInForce."),
        (limit("50000", symbol="NOSUCH"), -1121, "Invalid symbol."),
        (limit("50000", symbol="btc"), -1100, "Illegal characters found in parameter 'symbol'"),
        (limit("50000", newClientOrderId="a b"), -1100, "Illegal characters"),
        (limit("50000", nonsense="1"), -1104, "Not all sent parameters were read; read '6'"),
        (market(price="1"), -1106, "Parameter 'price' sent when not required."),
        (market(timeInForce="GTC"), -1106, "Parameter 'timeInForce' sent when not required."),
        (
            limit("70000", type="STOP_LOSS_LIMIT", stopPrice="50000"),
            -2010,
            "Order would trigger immediately.",
        ),
    ],
)
def test_a_wrong_order_is_refused_in_the_venue_s_words(parameters, code, text):
    sent = {name: value for name, value in parameters.items() if value}
    if parameters.get("timeInForce") == "" and parameters["type"] == "LIMIT_MAKER":
        sent.pop("timeInForce", None)
    status, answer = place(**sent)
    assert (status, answer["code"]) == (400, code)
    assert answer["msg"].startswith(text)


def test_a_client_id_is_taken_only_while_its_order_is_open():
    async def use(venue, http, rest):
        first = await rest("POST", ORDER, **limit("50000", newClientOrderId="same"))
        second = await rest("POST", ORDER, **limit("50000", newClientOrderId="same"))
        await rest("DELETE", ORDER, symbol=SYMBOL, origClientOrderId="same")
        third = await rest("POST", ORDER, **limit("50000", newClientOrderId="same"))
        _, found = await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="same")
        return first, second, third, found

    first, second, third, found = trade(use)
    assert (first[0], third[0]) == (200, 200)
    assert second == (400, {"code": -2010, "msg": "Duplicate order sent."})
    assert found["orderId"] == third[1]["orderId"]


def test_a_halted_market_takes_no_orders():
    async def use(venue, http, rest):
        venue.change_instrument(SPOT, SYMBOL, listing="halted")
        return await rest("POST", ORDER, **limit("50000"))

    assert trade(use) == (400, {"code": -2010, "msg": "Market is closed."})


def test_unknown_orders_are_refused_with_the_code_of_the_request():
    async def use(venue, http, rest):
        asked = await rest("GET", ORDER, symbol=SYMBOL, orderId=1)
        canceled = await rest("DELETE", ORDER, symbol=SYMBOL, orderId=1)
        none = await rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)
        neither = await rest("GET", ORDER, symbol=SYMBOL)
        return asked, canceled, none, neither

    asked, canceled, none, neither = trade(use)
    assert asked == (400, {"code": -2013, "msg": "Order does not exist."})
    assert canceled == none == (400, {"code": -2011, "msg": "Unknown order sent."})
    assert neither[1]["code"] == -1102


def test_a_cancel_can_be_restricted_and_needs_ids_of_one_order():
    async def use(venue, http, rest):
        _, order = await rest("POST", ORDER, **limit("50000", newClientOrderId="a"))
        await rest("POST", ORDER, **limit("50000", newClientOrderId="b"))
        ids = {"symbol": SYMBOL, "orderId": order["orderId"]}
        wrong = await rest("DELETE", ORDER, **ids, origClientOrderId="b")
        only = await rest("DELETE", ORDER, **ids, cancelRestrictions="ONLY_PARTIALLY_FILLED")
        nonsense = await rest("DELETE", ORDER, **ids, cancelRestrictions="NEVER")
        done = await rest("DELETE", ORDER, **ids, cancelRestrictions="ONLY_NEW")
        return wrong, only, nonsense, done

    wrong, only, nonsense, done = trade(use)
    assert wrong[1]["code"] == -2039
    assert only[1]["msg"] == "Order was not canceled due to cancel restrictions."
    assert nonsense[1]["code"] == -1145
    assert done[0] == 200


# Changes.


@pytest.mark.parametrize(
    ("cancel", "price", "mode", "status", "results"),
    [
        ("first", "49000", "STOP_ON_FAILURE", 200, ("SUCCESS", "SUCCESS")),
        ("first", "10", "STOP_ON_FAILURE", 400, None),
        ("gone", "49000", "STOP_ON_FAILURE", 400, ("FAILURE", "NOT_ATTEMPTED")),
        ("gone", "49000", "ALLOW_FAILURE", 409, ("FAILURE", "SUCCESS")),
    ],
)
def test_cancel_replace_tells_what_became_of_both_halves(cancel, price, mode, status, results):
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("50000", newClientOrderId="first"))
        replace = {"cancelOrigClientOrderId": cancel, "cancelReplaceMode": mode}
        answer = await rest("POST", f"{ORDER}/cancelReplace", **limit(price), **replace)
        return answer, len(account_of(venue).orders)

    (given, answer), left = trade(use)
    assert given == status
    if results is None:
        assert answer == {"code": -1013, "msg": "Filter failure: PERCENT_PRICE_BY_SIDE"}
        return
    data = answer if status == 200 else answer["data"]
    assert (data["cancelResult"], data["newOrderResult"]) == results
    assert answer.get("code") == {200: None, 400: -2022, 409: -2021}[status]
    assert left == {200: 1, 400: 1, 409: 2}[status]


def test_the_new_half_of_a_cancel_replace_can_fail_alone():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("50000", newClientOrderId="first"))
        replace = {"cancelOrigClientOrderId": "first", "cancelReplaceMode": "STOP_ON_FAILURE"}
        poor = limit("50000", "100")
        return await rest("POST", f"{ORDER}/cancelReplace", **poor, **replace)

    status, answer = trade(use)
    assert (status, answer["code"]) == (409, -2021)
    assert answer["data"]["cancelResponse"]["status"] == "CANCELED"
    assert answer["data"]["newOrderResponse"]["code"] == -2010


def test_an_amendment_keeps_the_order_and_changes_its_client_id():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            await rest("POST", ORDER, **limit("50000", "0.02", newClientOrderId="old"))
            path = f"{ORDER}/amend/keepPriority"
            ids = {"symbol": SYMBOL, "origClientOrderId": "old"}
            status, answer = await rest("PUT", path, **ids, newQty="0.01", newClientOrderId="new")
            event = await user.until(lambda event: event.get("x") == "REPLACED")
            more = await rest("PUT", path, symbol=SYMBOL, origClientOrderId="new", newQty="0.03")
            same = await rest("PUT", path, symbol=SYMBOL, origClientOrderId="new", newQty="0.01")
            gone = await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="old")
            return status, answer["amendedOrder"], event, more, same, gone

    status, order, event, more, same, gone = trade(use)
    assert (status, order["qty"], order["clientOrderId"]) == (200, "0.01000000", "new")
    assert (event["c"], event["C"], event["q"]) == ("new", "old", "0.01000000")
    assert more[1] == {"code": -2038, "msg": "Order amend (quantity increase) is not supported."}
    assert same[1]["code"] == -2038
    assert gone[1]["code"] == -2013


# Events.


def test_events_tell_of_an_order_s_whole_life():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            await rest("POST", ORDER, **limit("50000", newClientOrderId="mine"))
            await rest("DELETE", ORDER, symbol=SYMBOL, origClientOrderId="mine")
            return [await user.event() for _ in range(4)]

    events = trade(use)
    assert {event["subscriptionId"] for event in events} == {0}
    new, held, canceled, freed = [event["event"] for event in events]
    assert (new["x"], new["X"], new["c"], new["C"], new["t"]) == ("NEW", "NEW", "mine", "", -1)
    assert (held["e"], held["B"][0]["l"]) == ("outboundAccountPosition", "500.00000000")
    assert (canceled["x"], canceled["X"], canceled["C"]) == ("CANCELED", "CANCELED", "mine")
    assert canceled["c"] != "mine"
    assert freed["B"] == [{"a": "USDT", "f": "1000000.00000000", "l": "0.00000000"}]


def test_the_events_of_fills_equal_the_account_s_trades():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            await rest("POST", ORDER, **market("2"))
            fills, last = [], None
            while last is None or last["X"] != "FILLED":
                last = await user.until(lambda event: event["e"] == "executionReport")
                if last["x"] == "TRADE":
                    fills.append(last)
            position = await user.until(lambda event: event["e"] == "outboundAccountPosition")
            return fills, last, position, list(account_of(venue).fills), account_of(venue)

    fills, last, position, own, account = trade(use)
    assert [fill["t"] for fill in fills] == [fill.id for fill in own]
    assert sum(Decimal(fill["l"]) for fill in fills) == Decimal(last["z"]) == 2
    assert Decimal(last["Z"]) == sum(Decimal(fill["Y"]) for fill in fills)
    told = {row["a"]: Decimal(row["f"]) for row in position["B"]}
    assert told["BTC"] == account.balances["BTC"].free
    assert told["USDT"] == account.balances["USDT"].free


def test_events_have_the_fields_of_recorded_ones():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            await rest("POST", ORDER, **market())
            return [(await user.event())["event"] for _ in range(3)]

    events = trade(use)
    recorded = samples("private/executionReport.jsonl")[0]["data"]
    assert set(events[0]) >= set(recorded)
    position = samples("private/outboundAccountPosition.jsonl")[0]["data"]
    assert shape(events[2]) == shape(position)


def test_deposits_are_told_with_their_amount():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            own = venue.venues[SPOT].trading
            own.deposit(own.accounts[0], "BTC", Decimal("0.5"), 1)
            update = await user.event()
            return update["event"], (await user.event())["event"]

    update, position = trade(use)
    assert (update["e"], update["a"], update["d"]) == ("balanceUpdate", "BTC", "0.50000000")
    assert position["B"][0]["f"] == "100.50000000"


def test_prevented_orders_are_told_of():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            price = f"{best(venue)[0]:.2f}"
            await rest("POST", ORDER, **limit(price, newClientOrderId="maker"))
            await rest("POST", ORDER, **limit(price, "50", side="SELL", timeInForce="IOC"))
            return await user.until(lambda event: event.get("x") == "TRADE_PREVENTION")

    event = trade(use)
    assert (event["c"], event["X"], event["V"]) == ("maker", "EXPIRED_IN_MATCH", "EXPIRE_MAKER")


# Limits.


def test_orders_are_counted_until_their_first_fill():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("50000"))
        await rest("POST", ORDER, **market())
        counted = rest.headers["X-MBX-ORDER-COUNT-1D"]
        await rest("POST", ORDER, **limit("50000"))
        return counted, rest.headers["X-MBX-ORDER-COUNT-1D"], rest.headers

    first, second, headers = trade(use)
    assert (int(first), int(second)) == (1, 2)
    assert int(headers["X-MBX-USED-WEIGHT-1M"]) == 3


def test_too_many_new_orders_are_refused_but_cancels_are_not():
    async def use(venue, http, rest):
        await rest("POST", ORDER, **limit("50000", newClientOrderId="open"))
        refused = (200, None)
        while refused[0] == 200:
            refused = await rest("POST", ORDER, **limit("50000", timeInForce="IOC"))
        retry = rest.headers["Retry-After"]
        cancel = await rest("DELETE", ORDER, symbol=SYMBOL, origClientOrderId="open")
        return refused, retry, cancel

    refused, retry, cancel = trade(use)
    text = "Too many new orders; current limit is 100 orders per 10 SECOND."
    assert refused == (429, {"code": -1015, "msg": text})
    assert 1 <= int(retry) <= 10
    assert cancel[0] == 200


def test_request_weight_ends_in_a_ban_that_tells_when_it_is_over():
    async def use(venue, http, rest):
        async with api(venue, http) as connection:
            return [await connection("account.status") for _ in range(20)]

    seen = against(lambda venue, http: use(venue, http, None), weight_per_minute=60)
    statuses = [reply["status"] for reply in seen]
    assert statuses[:2] == [200, 200]
    assert 429 in statuses
    assert statuses[-1] == 418
    error = seen[-1]["error"]
    assert (error["code"], error["msg"][:40]) == (-1003, "Way too much request weight used; IP ban")
    assert error["data"]["retryAfter"] > error["data"]["serverTime"]


# The WebSocket API.


def test_the_socket_places_changes_and_cancels_orders():
    async def use(venue, http):
        async with api(venue, http) as connection:
            placed = await connection("order.place", **limit("50000", newClientOrderId="w"))
            asked = await connection("order.status", symbol=SYMBOL, origClientOrderId="w")
            opened = await connection("openOrders.status")
            changed = await connection(
                "order.cancelReplace",
                **limit("49000", newClientOrderId="v"),
                cancelReplaceMode="STOP_ON_FAILURE",
                cancelOrigClientOrderId="w",
            )
            less = await connection(
                "order.amend.keepPriority", symbol=SYMBOL, origClientOrderId="v", newQty="0.005"
            )
            tested = await connection("order.test", **limit("50000"))
            number = placed["result"]["orderId"] + 1
            canceled = await connection("order.cancel", symbol=SYMBOL, orderId=number)
            none = await connection("openOrders.cancelAll", symbol=SYMBOL)
            return placed, asked, opened, changed, less, tested, canceled, none

    placed, asked, opened, changed, less, tested, canceled, none = against(use)
    assert [limit["rateLimitType"] for limit in placed["rateLimits"]] == [
        "ORDERS",
        "ORDERS",
        "REQUEST_WEIGHT",
    ]
    assert asked["result"] == opened["result"][0]
    assert changed["result"]["newOrderResult"] == "SUCCESS"
    assert less["result"]["amendedOrder"]["qty"] == "0.00500000"
    assert tested["result"] == {}
    assert canceled["result"]["status"] == "CANCELED"
    assert (none["status"], none["error"]["code"]) == (400, -2011)


def test_the_socket_answers_public_questions_and_refuses_unknown_ones():
    async def use(venue, http):
        async with api(venue, http) as connection:
            now = await connection.plain("time")
            pong = await connection.plain("ping")
            depth = await connection.plain("depth", symbol=SYMBOL, limit=5)
            info = await connection.plain("exchangeInfo", symbol=SYMBOL)
            unknown = await connection.plain("order.explode")
            await connection.socket.send_str("{")
            broken = await message(connection.socket)
            return now, pong, depth, info, unknown, broken

    now, pong, depth, info, unknown, broken = against(use)
    assert now["result"]["serverTime"] > 1_600_000_000_000
    assert pong["result"] == {}
    assert len(depth["result"]["bids"]) == 5
    assert info["result"]["symbols"][0]["symbol"] == SYMBOL
    assert unknown["status"] == 400
    assert (broken["id"], broken["error"]["code"]) == (None, -1135)


def test_rate_limits_are_left_out_on_request():
    async def use(venue, http):
        async with api(venue, http) as connection:
            hidden = await connection("order.place", **limit("50000"), returnRateLimits=False)
        async with http.ws_connect(
            venue.base(SPOT, "ws") + "/ws-api/v3?returnRateLimits=false"
        ) as socket:
            await socket.send_json({"id": "x", "method": "time"})
            return hidden, await message(socket)

    hidden, all_hidden = against(use)
    assert hidden["status"] == 200
    assert "rateLimits" not in hidden
    assert "rateLimits" not in all_hidden


def test_a_subscription_ends_with_a_last_event():
    async def use(venue, http):
        async with api(venue, http) as connection:
            await connection("userDataStream.subscribe.signature")
            again = await connection("userDataStream.subscribe.signature")
            ended = await connection.plain("userDataStream.unsubscribe", subscriptionId=0)
            await connection("order.place", **limit("50000"))
            return again, ended, connection.events

    again, ended, events = against(use)
    assert again["status"] == 400
    assert ended["result"] == {}
    assert [event["event"]["e"] for event in events] == ["eventStreamTerminated"]


def test_the_end_of_a_connection_is_announced():
    async def use(venue, http):
        async with api(venue, http) as connection:
            await connection.plain("ping")
            venue.end_soon()
            return await connection.event()

    assert against(use)["event"]["e"] == "serverShutdown"


# Faults.


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize(("status", "code"), [(500, -1000), (504, -1007), (429, -1015)])
def test_an_order_can_fail_with_and_without_effect(effect, status, code):
    async def use(venue, http, rest):
        venue.set_faults(order_error=status, order_effect=effect)
        failed = await rest("POST", ORDER, **limit("50000", newClientOrderId="f"))
        asked = await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="f")
        return failed, asked

    (given, answer), asked = trade(use)
    assert (given, answer["code"]) == (status, code)
    assert asked[0] == (200 if effect else 400)


@pytest.mark.parametrize(("fault", "found"), [("request_drop", 400), ("ack_drop", 200)])
def test_a_lost_request_and_a_lost_answer_look_the_same_to_the_client(fault, found):
    async def use(venue, http, rest):
        venue.set_faults(**{fault: 1.0})
        with pytest.raises(aiohttp.ClientError):
            await rest("POST", ORDER, **limit("50000", newClientOrderId="f"))
        async with api(venue, http) as connection:
            await connection.send("order.place", **connection.signed(limit("50000")))
            # Answers come in order: this one would be the second.
            await connection.plain("ping")
            assert connection.events == []
        venue.set_faults(**{fault: 0.0})
        return await rest("GET", ORDER, symbol=SYMBOL, origClientOrderId="f")

    assert trade(use)[0] == found


@pytest.mark.parametrize("late", [True, False])
def test_events_come_before_or_after_the_answer(late):
    async def use(venue, http):
        async with listening(venue, http) as user:
            venue.set_faults(ack_late=late)
            await user("order.place", **limit("50000"))
            before = len(user.events)
            await user.until(lambda event: event["e"] == "outboundAccountPosition")
            return before

    assert against(use) == (2 if late else 0)


def test_private_events_can_be_lost():
    async def use(venue, http):
        async with listening(venue, http) as user:
            venue.set_faults(drop=1.0, streams="private.orders")
            await user("order.place", **limit("50000"))
            return [event["event"]["e"] for event in user.events]

    assert against(use) == ["outboundAccountPosition"]


# Prices, and the crowd.


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        ("ticker/24hr", "GET_api_v3_ticker_24hr"),
        ("ticker/bookTicker", "GET_api_v3_ticker_bookTicker"),
        ("ticker/price", "GET_api_v3_ticker_price"),
    ],
)
def test_tickers_have_the_shape_of_the_venue_s(path, sample):
    async def use(venue, http):
        venue.step(500)
        async with http.get(f"{venue.base(SPOT)}/api/v3/{path}?symbol={SYMBOL}") as response:
            return await response.json()

    (first, *_) = samples(f"rest/{sample}.jsonl")
    assert shape(against(use)) == shape(first)


def test_the_crowd_fills_resting_orders_as_makers():
    async def use(venue, http, rest):
        async with listening(venue, http) as user:
            price = f"{best(venue)[0]:.2f}"
            await rest("POST", ORDER, **limit(price, newClientOrderId="maker"))
            while account_of(venue).orders:
                venue.step(200)
            last = await user.until(lambda event: event.get("X") == "FILLED")
            await user.until(lambda event: event["e"] == "outboundAccountPosition")
            _, trades = await rest("GET", "/api/v3/myTrades", symbol=SYMBOL)
            return last, trades, account_of(venue)

    last, trades, account = trade(use)
    assert (last["c"], last["m"], last["z"]) == ("maker", True, "0.01000000")
    assert [row["id"] for row in trades] == [fill.id for fill in account.fills]
    assert all(row["isMaker"] for row in trades)


def test_so_many_stop_orders_may_wait_as_the_filters_say():
    async def use(venue, http, rest):
        _, ask = best(venue)
        stop = limit(f"{ask + 100:.2f}", type="STOP_LOSS_LIMIT", stopPrice=f"{ask + 90:.2f}")
        placed = [(await rest("POST", ORDER, **stop))[1] for _ in range(6)]
        _, plain = await rest("POST", ORDER, **limit(f"{ask - 900:.2f}"))
        await rest("DELETE", ORDER, symbol=SYMBOL, orderId=placed[0]["orderId"])
        _, again = await rest("POST", ORDER, **stop)
        return placed[-1], plain, again

    refused, plain, again = trade(use)
    assert refused == {"code": -1013, "msg": "Filter failure: MAX_NUM_ALGO_ORDERS"}
    assert "orderId" in plain
    assert "orderId" in again


def test_amendments_are_told_as_long_as_their_order_is_known():
    async def use(venue, http, rest):
        bid, _ = best(venue)
        account = account_of(venue)
        account.history = deque(maxlen=1)
        amended = []
        for _ in range(2):
            _, placed = await rest("POST", ORDER, **limit(f"{bid - 900:.2f}"))
            number = {"symbol": SYMBOL, "orderId": placed["orderId"]}
            await rest("PUT", f"{ORDER}/amend/keepPriority", **number, newQty="0.005")
            await rest("DELETE", ORDER, **number)
            amended.append(number)
        return [(await rest("GET", "/api/v3/order/amendments", **number))[1] for number in amended]

    forgotten, (known,) = trade(use)
    assert forgotten == []
    assert (known["origQty"], known["newQty"]) == ("0.01000000", "0.00500000")


# Questions about a long history.


class Counted:
    """Rows of an account that may only be read from the end; counts how many are."""

    def __init__(self, found):
        self.found, self.read = found, 0

    def values(self):
        return self

    def __reversed__(self):
        for row in reversed(self.found):
            self.read += 1
            yield row


def test_the_newest_rows_are_found_without_a_look_at_the_others():
    desk = TradingDesk()
    desk.asks(desk.middle, 1000)
    orders = [desk.buy(quantity=1) for _ in range(50)]
    account = desk.account
    known, fills = Counted(orders), Counted(list(account.fills))
    account.known, account.fills = known, fills
    assert rows(orders_of(account, SYMBOL, 0), 3, newest=True) == orders[-3:]
    assert rows(fills_of(account, SYMBOL, 0), 3, newest=True) == fills.found[-3:]
    assert (known.read, fills.read) == (3, 3)
    assert rows(orders_of(account, SYMBOL, orders[-4].id), 2, newest=False) == orders[-4:-2]
    assert (
        rows(fills_of(account, SYMBOL, fills.found[-4].id), 2, newest=False) == (fills.found[-4:-2])
    )
    assert max(known.read, fills.read) < 10


def test_the_trades_of_an_order_are_its_own_fills():
    async def use(venue, http, rest):
        trading, account = venue.venues[SPOT].trading, account_of(venue)
        numbers = []
        for _ in range(3):
            _, placed = await rest("POST", ORDER, **market("0.01"))
            numbers.append(placed["orderId"])
        account.fills = None
        _, found = await rest("GET", "/api/v3/myTrades", symbol=SYMBOL, orderId=numbers[1])
        _, other = await rest("GET", "/api/v3/myTrades", symbol=SYMBOL, orderId=1)
        order = trading.find(account, order_id=numbers[1])
        return [row["id"] for row in found], [fill.id for fill in order.fills], other

    found, expected, other = trade(use)
    assert found == expected
    assert other == []
