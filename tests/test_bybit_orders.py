"""Bybit's order dialect: messages, amendments, executions, errors, and what topics mean."""

import json

import pytest

from engine.common import OrderType, Side, TimeInForce
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Call, Cost, Query
from gateways.bybit import endpoints, errors, limits
from gateways.message import NoticeKind, Request, Verdict
from gateways.types import (
    Action,
    Liquidity,
    MarginMode,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
    RequestFlag,
    Trigger,
)
from tests import naive_bybit_orders as naive

NOW = naive.NOW_MS
LINEAR = naive.instrument("BTCUSDT", 3, 1, 3)
INVERSE = naive.instrument("BTCUSD", 4, 1, 0)
SPOT = naive.instrument("BTCUSDT", 0, 2, 6, spot=True)
TABLE = {"BTCUSDT": LINEAR, "BTCUSD": INVERSE}
SPOT_TABLE = {"BTCUSDT": SPOT}


def new(instrument=LINEAR, **more):
    base = Request(
        Action.NEW, 11, 5, instrument, Side.BUY, price=612345, quantity=1500, client_text="ti5"
    )
    return base._replace(**more)


def message(request, spot=False):
    return json.loads(naive.adapter(spot).order_message(request, "w1", NOW))


def order_row(**fields):
    row = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderId": "77",
        "orderLinkId": "ti5",
        "side": "Buy",
        "orderType": "Limit",
        "price": "61234.5",
        "qty": "1.5",
        "timeInForce": "GTC",
        "orderStatus": "New",
        "cumExecQty": "0",
        "leavesQty": "1.5",
        "avgPrice": "",
        "triggerPrice": "",
        "cancelType": "UNKNOWN",
        "rejectReason": "EC_NoError",
        "positionIdx": 0,
        "reduceOnly": False,
        "createdTime": "1700000000000",
        "updatedTime": "1700000000123",
    }
    return row | fields


def topic(name, row, adapter=None, table=TABLE):
    frame = {"topic": name, "creationTime": 1_700_000_000_200, "data": [row]}
    adapter = adapter or naive.adapter()
    return adapter.read(ROUTE_PRIVATE, json.dumps(frame).encode(), table)


def pushed(adapter=None, **fields):
    return topic("order", order_row(**fields), adapter)


def execution(table=TABLE, spot=False, **fields):
    row = {
        "category": "spot" if spot else "linear",
        "symbol": "BTCUSDT",
        "execFee": "0.0125",
        "execId": "0ab1bdf7-4219-438b-b30a-32ec863018f7",
        "execPrice": "61234.4",
        "execQty": "0.5",
        "execType": "Trade",
        "feeRate": "0.00055",
        "leavesQty": "1",
        "orderId": "77",
        "orderLinkId": "ti5",
        "orderQty": "1.5",
        "orderType": "Limit",
        "side": "Buy",
        "execTime": "1700000000100",
        "isMaker": True,
    }
    return topic("execution", row | fields, naive.adapter(spot), table)


# -- requests -------------------------------------------------------------------------------------
def test_an_order_goes_out_with_its_id_and_a_receive_window():
    assert message(new()) == {
        "reqId": "w1",
        "header": {"X-BAPI-TIMESTAMP": str(NOW), "X-BAPI-RECV-WINDOW": "5000"},
        "op": "order.create",
        "args": [
            {
                "symbol": "BTCUSDT",
                "side": "Buy",
                "orderType": "Limit",
                "timeInForce": "GTC",
                "orderLinkId": "ti5",
                "price": "61234.5",
                "category": "linear",
                "qty": "1.5",
            }
        ],
    }


def test_a_deadline_shortens_the_receive_window():
    soon = new(deadline_ns=(NOW + 200) * 1_000_000)
    assert message(soon)["header"]["X-BAPI-RECV-WINDOW"] == "200"
    [call] = naive.adapter().order_call(soon, "w1", NOW)
    assert call.headers["X-BAPI-RECV-WINDOW"] == "200"


@pytest.mark.parametrize(
    ("instrument", "category"), [(LINEAR, "linear"), (INVERSE, "inverse"), (SPOT, "spot")]
)
def test_the_category_is_the_instruments(instrument, category):
    [order] = message(new(instrument))["args"]
    assert order["category"] == category


def test_a_spot_market_order_says_the_unit_of_its_quantity():
    market = new(SPOT, order_type=OrderType.MARKET, price=0, quantity=20_000)
    [order] = message(market)["args"]
    assert (order["marketUnit"], order["qty"]) == ("baseCoin", "0.02")
    [order] = message(market._replace(flags=RequestFlag.QUOTE_QUANTITY))["args"]
    assert (order["marketUnit"], order["qty"]) == ("quoteCoin", "200")


@pytest.mark.parametrize(("side", "direction"), [(Side.BUY, 1), (Side.SELL, 2)])
def test_a_stop_order_triggers_in_the_direction_of_its_side(side, direction):
    [order] = message(new(side=side, order_type=OrderType.STOP_MARKET, stop_price=700000))["args"]
    assert order["triggerDirection"] == direction
    assert order["triggerPrice"] == "70000"
    assert order["orderType"] == "Market"
    assert "price" not in order


def test_an_amendment_carries_the_total_and_leaves_out_what_stays():
    [amend] = message(new(action=Action.AMEND, venue_id="77", price=0))["args"]
    assert amend == {"symbol": "BTCUSDT", "orderId": "77", "category": "linear", "qty": "1.5"}


def test_an_order_without_a_venue_id_is_canceled_by_its_client_id():
    [cancel] = message(new(action=Action.CANCEL))["args"]
    assert cancel == {"symbol": "BTCUSDT", "category": "linear", "orderLinkId": "ti5"}


def test_a_cancel_of_a_spot_stop_order_says_so():
    stop = new(SPOT, action=Action.CANCEL, order_type=OrderType.STOP_LIMIT, venue_id="77")
    assert message(stop)["args"][0]["orderFilter"] == "StopOrder"
    assert message(stop._replace(order_type=OrderType.LIMIT))["args"][0]["orderFilter"] == "Order"


def bodies(calls):
    return [json.loads(call.body) for call in calls]


def test_cancel_all_covers_every_settlement_currency_that_is_known():
    adapter = naive.adapter()
    adapter.query_calls(Query.BALANCES, [LINEAR, INVERSE], 0, NOW)
    calls = adapter.order_call(Request(Action.CANCEL_ALL, 1, 0, None), "w1", NOW)
    assert bodies(calls) == [
        {"category": "linear", "settleCoin": "USDT"},
        {"category": "inverse", "settleCoin": "BTC"},
    ]


def test_cancel_all_of_spot_includes_orders_that_wait_for_a_trigger():
    calls = naive.adapter(spot=True).order_call(Request(Action.CANCEL_ALL, 1, 0, SPOT), "w", NOW)
    assert bodies(calls) == [
        {"symbol": "BTCUSDT", "category": "spot"},
        {"symbol": "BTCUSDT", "category": "spot", "orderFilter": "StopOrder"},
    ]


def cancel_all(adapter, ids, success="1"):
    """Return the calls of a cancel-all and the body of an answer to the first."""
    calls = adapter.order_call(Request(Action.CANCEL_ALL, 1, 0, None), "w1", NOW)
    rows = [{"orderId": str(each), "orderLinkId": ""} for each in ids]
    result = {"list": rows, "success": success}
    return calls, json.dumps({"retCode": 0, "retMsg": "OK", "result": result}).encode()


def test_a_cancel_all_that_was_taken_and_failed_is_not_done():
    adapter = naive.adapter()
    for success, verdict in (("1", Verdict.ACCEPTED), ("0", Verdict.UNKNOWN)):
        [call], body = cancel_all(adapter, [], success)
        [answer] = adapter.read_answer(call, 200, {}, body, TABLE)
        assert answer.verdict is verdict


def test_a_cancel_all_that_reached_its_most_is_made_again():
    adapter = naive.adapter()
    [call], whole = cancel_all(adapter, range(500))
    following = adapter.next_page(call, whole, NOW + 1)
    assert (following.path, following.body) == (call.path, call.body)
    assert following.costs == call.costs
    assert following.headers["X-BAPI-TIMESTAMP"] == str(NOW + 1)
    _, rest = cancel_all(adapter, range(499))
    assert adapter.next_page(following, rest, NOW) is None
    rounds = 1
    while call is not None:
        call, rounds = adapter.next_page(call, whole, NOW), rounds + 1
        assert rounds < 100, "a venue that always says 500 must not hold us for ever"


def test_a_margin_mode_goes_with_the_leverage_that_is_known():
    adapter = naive.adapter()
    isolated = Request(Action.MARGIN_MODE, 1, 0, LINEAR, margin_mode=MarginMode.ISOLATED)
    assert "leverage" in adapter.check(isolated)
    position = {"symbol": "BTCUSDT", "side": "", "size": "0", "positionIdx": 0, "leverage": "7"}
    topic("position", position | {"category": "linear", "updatedTime": "1"}, adapter)
    assert adapter.check(isolated) == ""
    [call] = adapter.order_call(isolated, "w1", NOW)
    assert json.loads(call.body) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "tradeMode": 1,
        "buyLeverage": "7",
        "sellLeverage": "7",
    }


def test_the_disconnection_protect_has_a_window_per_product():
    [call] = naive.adapter().dead_man_calls(60, [], NOW)
    assert json.loads(call.body) == {"product": "DERIVATIVES", "timeWindow": 60}
    [call] = naive.adapter(spot=True).dead_man_calls(1, [], NOW)
    assert json.loads(call.body) == {"product": "SPOT", "timeWindow": 3}
    assert naive.adapter().dead_man_calls(0, [], NOW) == []


def test_an_order_is_asked_for_among_the_recent_ones_and_then_in_the_history():
    calls = naive.adapter().order_call(new(action=Action.QUERY), "w1", NOW)
    assert [call.path for call in calls] == [
        "/v5/order/realtime?symbol=BTCUSDT&category=linear&orderLinkId=ti5",
        "/v5/order/history?symbol=BTCUSDT&category=linear&orderLinkId=ti5",
    ]


def test_open_orders_are_asked_for_by_settlement_currency():
    calls = naive.adapter().query_calls(Query.OPEN_ORDERS, [LINEAR, INVERSE], 0, NOW)
    assert [call.path.partition("?")[2] for call in calls] == [
        "category=linear&settleCoin=USDT&openOnly=0&limit=50",
        "category=inverse&settleCoin=BTC&openOnly=0&limit=50",
    ]


def test_trades_are_asked_for_week_by_week():
    calls = naive.adapter(spot=True).query_calls(Query.FILLS, [], NOW - 15 * 86_400_000, NOW)
    assert len(calls) == 3
    assert "endTime" in calls[0].path
    assert "endTime" not in calls[-1].path


def test_a_cursor_leads_to_the_next_page_as_it_came():
    adapter = naive.adapter()
    call, *_ = adapter.query_calls(Query.OPEN_ORDERS, [LINEAR], 0, NOW)
    body = b'{"retCode":0,"result":{"list":[{}],"nextPageCursor":"page%3D39%26"}}'
    following = adapter.next_page(call, body, NOW)
    assert following.path == call.path + "&cursor=page%3D39%26"
    assert adapter.next_page(following, body, NOW) is None
    last = b'{"retCode":0,"result":{"list":[{}],"nextPageCursor":""}}'
    assert adapter.next_page(following, last, NOW) is None


@pytest.mark.parametrize(
    ("request_", "spot", "words"),
    [
        (new(time_in_force=TimeInForce.GTD), False, "time in force"),
        (new(order_type=OrderType.MARKET, time_in_force=TimeInForce.FOK), False, "market orders"),
        (new(order_type=OrderType.STOP_LIMIT), False, "stop price"),
        (new(flags=RequestFlag.QUOTE_QUANTITY), False, "quote"),
        (new(SPOT, flags=RequestFlag.REDUCE_ONLY), True, "reduce-only"),
        (new(SPOT, position_side=1), True, "position"),
        (
            new(SPOT, order_type=OrderType.STOP_LIMIT, stop_price=5, trigger=Trigger.MARK),
            True,
            "last",
        ),
        (new(SPOT), False, "not of this market"),
        (new(), True, "not of this market"),
        (new(action=Action.AMEND, flags=RequestFlag.CANCEL_IF_AMEND_FAILS), False, "fails"),
        (Request(Action.NEW, 1, 1, None), False, "no instrument"),
        (Request(Action.LEVERAGE, 1, 0, SPOT, quantity=5), True, "leverage"),
    ],
)
def test_what_the_venue_does_not_have_is_said(request_, spot, words):
    assert words in naive.adapter(spot).check(request_)


@pytest.mark.parametrize("spot", [False, True])
def test_every_cost_is_of_a_limit_that_exists(spot):
    adapter, instrument = naive.adapter(spot), SPOT if spot else LINEAR
    names = {limit.name for limit in adapter.limits}
    for action in Action:
        request = new(instrument, action=action)
        costs = [*adapter.costs(request)]
        costs += [cost for call in adapter.order_call(request, "w", NOW) for cost in call.costs]
        assert {cost.limit for cost in costs} <= names


def test_secrets_do_not_show_in_a_call():
    [call] = naive.adapter(key="K3Y").order_call(new(), "w1", NOW)
    assert call.headers["X-BAPI-API-KEY"] == "K3Y"
    assert "K3Y" not in repr(call)


# -- sessions -------------------------------------------------------------------------------------
def test_both_connections_log_in_with_an_expiry():
    adapter = naive.adapter()
    for route in (ROUTE_ORDERS, ROUTE_PRIVATE):
        [login] = adapter.login(route, NOW)
        key, expires, sign = json.loads(login)["args"]
        assert (key, expires) == ("key", NOW + 10_000)
        assert sign == adapter._identity.sign(f"GET/realtime{NOW + 10_000}".encode())


def test_events_are_subscribed_on_the_private_connection_only():
    adapter = naive.adapter()
    assert adapter.subscriptions(ROUTE_ORDERS, NOW) == []
    events, protect = map(json.loads, adapter.subscriptions(ROUTE_PRIVATE, NOW))
    assert events["args"] == ["order", "execution", "position", "wallet"]
    assert protect["args"] == ["dcp.future"]
    spot = json.loads(naive.adapter(spot=True).subscriptions(ROUTE_PRIVATE, NOW)[0])
    assert spot["args"] == ["order", "execution", "wallet"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b'{"success":true,"ret_msg":"","op":"auth","conn_id":"x"}', NoticeKind.LOGGED_IN),
        (b'{"retCode":0,"retMsg":"OK","op":"auth","connId":"x"}', NoticeKind.LOGGED_IN),
        (b'{"retCode":20001,"retMsg":"Repeat auth","op":"auth"}', NoticeKind.LOGGED_IN),
        (b'{"retCode":10004,"retMsg":"Invalid sign","op":"auth"}', NoticeKind.LOGIN_REFUSED),
        (b'{"success":true,"op":"subscribe","req_id":"events"}', NoticeKind.SUBSCRIBED),
        (b'{"success":false,"op":"subscribe","req_id":"e"}', NoticeKind.SUBSCRIPTION_REFUSED),
        (b'{"success":false,"op":"subscribe","req_id":"dcp"}', NoticeKind.SUBSCRIBED),
        (b'{"success":true,"ret_msg":"pong","op":"ping"}', NoticeKind.PONG),
        (b'{"retCode":0,"op":"pong","data":["1711002002529"]}', NoticeKind.PONG),
    ],
)
def test_messages_about_the_connection_are_notices(message, kind):
    [notice] = naive.adapter().read(ROUTE_ORDERS, message, TABLE)
    assert notice.kind is kind


@pytest.mark.parametrize("message", [b"{", b"[]", b"{}", b'{"topic":"order"}'])
def test_what_cannot_be_read_is_an_error(message):
    with pytest.raises(ValueError):
        naive.adapter().read(ROUTE_PRIVATE, message, TABLE)


# -- orders ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "reason", "kind"),
    [
        ({"cancelType": "CancelByUser"}, Reason.REQUESTED, ReportKind.CANCELED),
        ({"cancelType": "CancelByDCP"}, Reason.DEAD_MAN, ReportKind.CANCELED),
        ({"cancelType": "CancelBySmp"}, Reason.SELF_TRADE, ReportKind.EXPIRED),
        ({"cancelType": "CancelByReduceOnly"}, Reason.REDUCE_ONLY, ReportKind.EXPIRED),
        ({"cancelType": "CancelByPrepareLiq"}, Reason.LIQUIDATION, ReportKind.EXPIRED),
        ({"cancelType": "CancelAllBeforeAdl"}, Reason.DELEVERAGING, ReportKind.EXPIRED),
        ({"rejectReason": "EC_PerCancelRequest"}, Reason.REQUESTED, ReportKind.CANCELED),
        ({"rejectReason": "EC_PostOnlyWillTakeLiquidity"}, Reason.POST_ONLY, ReportKind.EXPIRED),
        (
            {"rejectReason": "EC_NoImmediateQtyToFill", "timeInForce": "IOC"},
            Reason.IMMEDIATE,
            ReportKind.EXPIRED,
        ),
        (
            {"rejectReason": "EC_CancelForNoFullFill", "timeInForce": "FOK"},
            Reason.FILL_OR_KILL,
            ReportKind.EXPIRED,
        ),
        ({"timeInForce": "IOC"}, Reason.IMMEDIATE, ReportKind.EXPIRED),
        ({}, Reason.REQUESTED, ReportKind.CANCELED),
    ],
)
def test_a_canceled_order_says_why(fields, reason, kind):
    [update] = pushed(orderStatus="Cancelled", **fields)
    assert (update.kind, update.reason) == (kind, reason)


def test_a_refused_order_says_why():
    [update] = pushed(orderStatus="Rejected", rejectReason="EC_DuplicatedClOrdID")
    assert (update.kind, update.status) == (ReportKind.REJECTED, OrderStatus.REJECTED)
    assert update.reason is Reason.DUPLICATE_ID


def test_a_refused_order_that_has_traded_has_expired():
    [update] = pushed(orderStatus="Rejected", cumExecQty="0.5")
    assert (update.kind, update.filled) == (ReportKind.EXPIRED, 500)


def test_an_order_that_waits_for_its_trigger_is_a_stop_order():
    [update] = pushed(orderStatus="Untriggered", triggerPrice="70000", orderType="Market")
    assert (update.kind, update.status) == (ReportKind.OPEN, OrderStatus.UNTRIGGERED)
    assert (update.order_type, update.stop_price) == (OrderType.STOP_MARKET, 700000)
    [update] = pushed(orderStatus="Triggered", triggerPrice="70000")
    assert (update.kind, update.order_type) == (ReportKind.TRIGGERED, OrderType.LIMIT)


def test_a_filled_order_tells_its_sum_and_no_trade():
    [update] = pushed(orderStatus="Filled", cumExecQty="1.5", avgPrice="61234.45")
    assert (update.kind, update.filled) == (ReportKind.STATUS, 1500)
    assert update.average_price == 612344_500000


def test_an_amendment_is_recognized_by_what_was_asked_for():
    adapter = naive.adapter()
    amend = new(action=Action.AMEND, venue_id="77", price=610000, quantity=1000)
    adapter.order_message(amend, "w1", NOW)
    [before] = pushed(adapter)
    assert before.kind is ReportKind.OPEN
    [done] = pushed(adapter, price="61000", qty="1", leavesQty="1")
    assert (done.kind, done.request_id, done.price) == (ReportKind.AMENDED, 11, 610000)
    [again] = pushed(adapter, price="61000", qty="1", leavesQty="1")
    assert again.kind is ReportKind.OPEN


def test_of_two_amendments_the_later_result_ends_both():
    adapter = naive.adapter()
    first = new(action=Action.AMEND, venue_id="77", price=610000)
    adapter.order_message(first, "w1", NOW)
    adapter.order_message(first._replace(price=620000, request_id=12), "w2", NOW)
    [done] = pushed(adapter, price="62000")
    assert (done.kind, done.request_id) == (ReportKind.AMENDED, 12)
    [late] = pushed(adapter, price="61000")
    assert late.kind is ReportKind.OPEN


def refused(adapter, wire_id, code, by_rest):
    """Answer an amendment by a refusal, on either way."""
    frame = {"retCode": code, "retMsg": "no"}
    if by_rest:
        call = Call("POST", "/v5/order/amend", wire_id=wire_id)
        body = json.dumps(frame).encode()
        return adapter.read_answer(call, 200, {}, body, TABLE)
    frame |= {"reqId": wire_id, "op": "order.amend"}
    return adapter.read("orders", json.dumps(frame).encode(), TABLE)


@pytest.mark.parametrize("by_rest", [False, True])
def test_what_a_refused_amendment_asked_for_is_no_amendment_when_it_comes(by_rest):
    adapter = naive.adapter()
    amend = new(action=Action.AMEND, venue_id="77", price=610000)
    adapter.order_message(amend, "w1", NOW)
    adapter.order_message(amend._replace(price=620000, request_id=12), "w2", NOW)
    [answer] = refused(adapter, "w1", 110079, by_rest)
    assert answer.verdict is Verdict.RETRY
    [other] = pushed(adapter, price="61000")
    assert other.kind is ReportKind.OPEN
    [done] = pushed(adapter, price="62000")
    assert (done.kind, done.request_id) == (ReportKind.AMENDED, 12)


def test_an_amendment_of_unknown_fate_is_still_recognized():
    adapter = naive.adapter()
    adapter.order_message(new(action=Action.AMEND, price=610000), "w1", NOW)
    [answer] = refused(adapter, "w1", 10016, False)
    assert answer.verdict is Verdict.UNKNOWN
    [done] = pushed(adapter, price="61000")
    assert (done.kind, done.request_id) == (ReportKind.AMENDED, 11)


def test_the_end_of_an_order_is_no_amendment():
    adapter = naive.adapter()
    adapter.order_message(new(action=Action.AMEND, venue_id="77"), "w1", NOW)
    [end] = pushed(adapter, orderStatus="Cancelled", cancelType="CancelByUser")
    assert end.kind is ReportKind.CANCELED
    assert not adapter._reader.amends._asked


def test_orders_of_other_categories_are_not_told():
    [notice] = pushed(category="spot")
    assert notice.kind is NoticeKind.IGNORED
    [notice] = topic("order", order_row(), naive.adapter(spot=True), SPOT_TABLE)
    assert notice.kind is NoticeKind.IGNORED


# -- executions -----------------------------------------------------------------------------------
def test_a_trade_is_told_with_what_it_cost():
    [fill] = execution()
    assert (fill.kind, fill.liquidity) == (ReportKind.FILL, Liquidity.MAKER)
    assert (fill.last_price, fill.last_quantity, fill.filled) == (612344, 500, 500)
    assert (fill.fee, fill.decimals, fill.asset) == (125, 4, "USDT")
    assert fill.trade_id > 0


def test_a_trade_number_is_the_same_each_time_and_another_for_another_trade():
    first, again = execution()[0].trade_id, execution()[0].trade_id
    assert first == again
    assert execution(execId="0ab1bdf7-4219-438b-b30a-32ec863018f8")[0].trade_id != first


@pytest.mark.parametrize(
    ("fields", "asset"),
    [
        ({"side": "Buy"}, "BTC"),
        ({"side": "Sell"}, "USDT"),
        ({"side": "Buy", "feeRate": "-0.0001"}, "USDT"),
        ({"side": "Sell", "feeRate": "-0.0001"}, "BTC"),
        ({"side": "Sell", "feeRate": "-0.0001", "isMaker": False}, "USDT"),
        ({"feeCurrency": "MNT"}, "MNT"),
    ],
)
def test_the_currency_of_a_spot_fee_follows_the_side(fields, asset):
    [fill] = execution(SPOT_TABLE, True, **fields)
    assert fill.asset == asset


def test_funding_is_no_trade():
    [update] = execution(execType="Funding", execFee="-0.5", orderType="UNKNOWN")
    assert (update.kind, update.fee, update.decimals) == (ReportKind.FUNDING, -5, 1)
    assert update.asset == "USDT"
    assert update.last_quantity == 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("AdlTrade", Reason.DELEVERAGING),
        ("BustTrade", Reason.LIQUIDATION),
        ("Delivery", Reason.SETTLEMENT),
    ],
)
def test_trades_that_we_did_not_ask_for_are_forced(kind, reason):
    [fill] = execution(execType=kind, orderLinkId="")
    assert fill.flags & ReportFlag.FORCED
    assert (fill.kind, fill.reason) == (ReportKind.FILL, reason)


def test_a_short_position_is_negative():
    row = {"category": "linear", "symbol": "BTCUSDT", "side": "Sell", "size": "0.5"}
    row |= {"positionIdx": 2, "entryPrice": "61000.12345678", "tradeMode": 1, "updatedTime": "5"}
    [update] = topic("position", row)
    assert (update.quantity, update.position_side) == (-500, -1)
    assert update.average_price == 610001_234568
    assert update.margin_mode is MarginMode.ISOLATED


def test_what_is_locked_is_not_available():
    row = {"coin": [{"coin": "USDT", "walletBalance": "10.5", "locked": "0.25"}]}
    [update] = topic("wallet", row)
    assert (update.quantity, update.available, update.decimals) == (1050, 1025, 2)


# -- answers and errors ---------------------------------------------------------------------------
def reply(operation="order.create", code=0, text="", adapter=None, **header):
    frame = {"reqId": "w1", "retCode": code, "retMsg": text, "op": operation}
    frame |= {"data": {} if code else {"orderId": "77", "orderLinkId": "ti5"}, "header": header}
    body = json.dumps(frame).encode()
    adapter = adapter or naive.adapter()
    [answer] = adapter.read(ROUTE_ORDERS, body, TABLE)
    return answer, adapter.usage({}, body), body


def test_an_accepted_order_is_not_open_yet():
    answer, _, _ = reply(Timenow="1700000000005")
    [update] = answer.updates
    assert (update.kind, update.status) == (ReportKind.ACCEPTED, OrderStatus.ACCEPTED)
    assert (update.venue_id, update.client_text) == ("77", "ti5")


def test_an_accepted_cancel_is_not_the_end():
    [update] = reply("order.cancel")[0].updates
    assert update.kind is ReportKind.CANCEL_ACCEPTED


def test_an_answer_tells_what_is_left_of_its_limit():
    adapter = naive.adapter()
    header = {"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "7"}
    frame = {"reqId": "w", "retCode": 0, "op": "order.cancel", "data": {}, "header": header}
    body = json.dumps(frame).encode()
    adapter.read(ROUTE_ORDERS, body, TABLE)
    assert adapter.usage({}, body) == ((Cost(limits.CANCEL), 3),)
    assert adapter.usage({}, b"another") == ()


def test_a_limit_that_is_used_up_is_named_with_its_end():
    header = {"X-Bapi-Limit-Reset-Timestamp": "1700000000500", "Timenow": "1700000000100"}
    frame = {"reqId": "w", "retCode": 10006, "retMsg": "Too many visits!", "op": "order.amend"}
    body = json.dumps(frame | {"data": {}, "header": header}).encode()
    [answer] = naive.adapter().read(ROUTE_ORDERS, body, TABLE)
    assert (answer.verdict, answer.limit) == (Verdict.LIMITED, limits.AMEND)
    assert answer.wait_s == pytest.approx(0.4)


@pytest.mark.parametrize("code", [10018, 10403])
def test_a_limit_of_the_address_stops_everything(code):
    frame = {"reqId": "w", "retCode": code, "retMsg": "IP limit", "op": "order.create"}
    [answer] = naive.adapter().read(ROUTE_ORDERS, json.dumps(frame).encode(), TABLE)
    assert (answer.verdict, answer.limit) == (Verdict.LIMITED, "")
    [call] = naive.adapter().order_call(new(), "w", NOW)
    [answer] = naive.adapter().read_answer(call, 200, {}, json.dumps(frame).encode(), TABLE)
    assert (answer.verdict, answer.limit) == (Verdict.LIMITED, "")


@pytest.mark.parametrize(
    ("codes", "verdict", "reason"),
    [
        ("10000 10016 170007 170146 170147", Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        ("10019 110079", Verdict.RETRY, Reason.BUSY),
        ("10006 10018 20003 10429 10403", Verdict.LIMITED, Reason.RATE_LIMIT),
        ("10009", Verdict.LIMITED, Reason.BANNED),
        ("10002", Verdict.RETRY, Reason.TIMESTAMP),
        ("10003 10004 10005 10007 10010 33004", Verdict.REFUSED, Reason.AUTHENTICATION),
        ("10014 20006 110072 170141", Verdict.EXISTS, Reason.DUPLICATE_ID),
        ("10001", Verdict.REFUSED, Reason.PARAMETER),
        ("10029 170121", Verdict.REFUSED, Reason.INSTRUMENT),
        ("110001 170213", Verdict.GONE, Reason.UNKNOWN_ORDER),
        ("110008 110010 170142 170190", Verdict.GONE, Reason.ALREADY_CLOSED),
        ("170139", Verdict.GONE, Reason.ALREADY_FILLED),
        ("110003 170132 170133 170193 170194", Verdict.REFUSED, Reason.PRICE_BAND),
        ("110004 110007 110012 110044 110045 170131", Verdict.REFUSED, Reason.BALANCE),
        ("110017 110023", Verdict.REFUSED, Reason.REDUCE_ONLY),
        ("110020", Verdict.REFUSED, Reason.TOO_MANY_ORDERS),
        ("110021 110090", Verdict.REFUSED, Reason.POSITION_LIMIT),
        ("110025 110026 110043", Verdict.REFUSED, Reason.NOT_CHANGED),
        ("110028 170210", Verdict.REFUSED, Reason.NOT_ALLOWED),
        ("110065 110066 170151", Verdict.REFUSED, Reason.MARKET_CLOSED),
        ("110094 170140", Verdict.REFUSED, Reason.NOTIONAL),
        ("110063 170136 170137", Verdict.REFUSED, Reason.QUANTITY),
        ("170134", Verdict.REFUSED, Reason.PRICE_TICK),
        ("170218", Verdict.REFUSED, Reason.POST_ONLY),
        ("110999 170999", Verdict.REFUSED, Reason.OTHER),
        ("10999 5", Verdict.UNKNOWN, Reason.OTHER),
    ],
)
def test_each_class_of_codes_means_one_thing(codes, verdict, reason):
    for code in codes.split():
        assert errors.classify(int(code)) == (verdict, reason), code


def test_the_words_beside_the_code_for_everything_tell_more():
    words = "The order remains unchanged as the parameters entered match the existing ones."
    assert errors.classify(10001, words) == (Verdict.REFUSED, Reason.NOT_CHANGED)
    assert errors.classify(10001, "Qty invalid") == (Verdict.REFUSED, Reason.QUANTITY)
    words = "Unified account is not supported"
    assert errors.classify(110066, words) == (Verdict.REFUSED, Reason.NOT_ALLOWED)


def test_no_code_is_classified_twice():
    codes = [code for _, _, text in errors._GROUPS for code in text.split()]
    assert len(codes) == len(set(codes)) == len(errors.known())


def test_a_refusal_carries_the_venues_words():
    answer, _, _ = reply(code=110007, text="ab not enough")
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.BALANCE)
    assert (answer.venue_code, answer.text, answer.updates) == (110007, "ab not enough", [])


@pytest.mark.parametrize(
    ("status", "verdict", "reason", "wait_s"),
    [
        (500, Verdict.UNKNOWN, Reason.VENUE_UNSURE, 0),
        (504, Verdict.UNKNOWN, Reason.VENUE_UNSURE, 0),
        (429, Verdict.LIMITED, Reason.RATE_LIMIT, errors.WAIT_S),
        (403, Verdict.LIMITED, Reason.BANNED, errors.BAN_S),
        (401, Verdict.REFUSED, Reason.AUTHENTICATION, 0),
        (404, Verdict.REFUSED, Reason.OTHER, 0),
    ],
)
def test_an_answer_that_is_no_json_is_judged_by_its_status(status, verdict, reason, wait_s):
    [call] = naive.adapter().order_call(new(), "w9", NOW)
    [answer] = naive.adapter().read_answer(call, status, {}, b"<html>", TABLE)
    assert (answer.wire_id, answer.verdict, answer.reason) == ("w9", verdict, reason)
    assert answer.wait_s == wait_s


def test_a_forbidden_address_is_banned_whatever_the_body_says():
    [call] = naive.adapter().order_call(new(), "w9", NOW)
    body = b'{"retCode":10006,"retMsg":"Access too frequent"}'
    [answer] = naive.adapter().read_answer(call, 403, {}, body, TABLE)
    assert (answer.reason, answer.wait_s, answer.limit) == (Reason.BANNED, errors.BAN_S, "")
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert (answer.reason, answer.limit) == (Reason.RATE_LIMIT, limits.CREATE)


def test_leverage_that_was_set_before_is_set():
    call = Call("POST", "/v5/position/set-leverage", wire_id="w")
    body = b'{"retCode":110043,"retMsg":"Set leverage not modified","result":{}}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert answer.verdict is Verdict.ACCEPTED


def test_an_answer_that_cannot_be_read_leaves_the_fate_unknown():
    [call] = naive.adapter().order_call(new(), "w9", NOW)
    body = b'{"retCode":0,"result":[5]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert (answer.verdict, answer.reason) == (Verdict.UNKNOWN, Reason.VENUE_UNSURE)


def test_a_query_that_finds_nothing_says_so():
    call, _ = naive.adapter().order_call(new(action=Action.QUERY), "w9", NOW)
    body = b'{"retCode":0,"retMsg":"OK","result":{"list":[]},"time":1}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert (answer.verdict, answer.reason) == (Verdict.GONE, Reason.UNKNOWN_ORDER)


def test_a_page_that_is_an_error_raises():
    adapter = naive.adapter()
    call, *_ = adapter.query_calls(Query.BALANCES, [], 0, NOW)
    with pytest.raises(ValueError, match="10006"):
        adapter.read_page(Query.BALANCES, call, b'{"retCode":10006,"retMsg":"x"}', TABLE)


def test_each_adapter_has_its_own_name_and_addresses():
    for spot, name in ((False, "bybit"), (True, "bybit_spot")):
        adapter = naive.adapter(spot)
        assert adapter.exchange.name == name
        environment = adapter.exchange.endpoints["simulator"]
        for route, path in ((ROUTE_ORDERS, "trade"), (ROUTE_PRIVATE, "private")):
            url = adapter.ws_url(route, environment, "")
            assert url == f"ws://{endpoints.SIMULATOR}/{name}/v5/{path}"


def test_the_venues_clock_is_in_milliseconds():
    body = b'{"retCode":0,"result":{"timeSecond":"1694667737","timeNano":"1694667737126471019"}}'
    assert naive.adapter().parse_time(body) == 1_694_667_737_126
    with pytest.raises(ValueError):
        naive.adapter().parse_time(b'{"retCode":10001}')
