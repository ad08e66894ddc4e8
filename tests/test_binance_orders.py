"""Binance's order dialects: requests, limits, sessions, queries."""

import json

import pytest

from engine.common import OrderType, Side, TimeInForce
from engine.secrets import Secret
from gateways.adapter import ROUTE_ORDERS, ROUTE_PRIVATE, Call, Cost, Identity, Query
from gateways.binance import BinanceSpot, BinanceUsdm
from gateways.message import Instrument, Notice, NoticeKind, Request
from gateways.types import Action, MarginMode, PositionSide, RequestFlag, SelfTrade, Trigger
from tests.binance_orders import (
    AMENDMENT,
    BTC,
    INSTRUMENTS,
    LOGON,
    NOW_MS,
    ORDER,
    REPLACEMENT,
    STOP,
    sent,
    spot,
    usdm,
)


# -- requests ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("request_", "method"),
    [
        (ORDER, "order.place"),
        (STOP, "order.place"),
        (AMENDMENT, "order.amend.keepPriority"),
        (REPLACEMENT, "order.cancelReplace"),
        (AMENDMENT._replace(quantity=40_000), "order.cancelReplace"),
        (AMENDMENT._replace(flags=RequestFlag.CANCEL_IF_AMEND_FAILS), "order.cancelReplace"),
        (ORDER._replace(action=Action.CANCEL), "order.cancel"),
        (ORDER._replace(action=Action.CANCEL_ALL), "openOrders.cancelAll"),
    ],
)
def test_spot_requests_go_to_their_methods(request_: Request, method: str):
    assert spot().check(request_) == ""
    assert sent(spot(), request_)["method"] == method


@pytest.mark.parametrize(
    ("request_", "method"),
    [
        (ORDER, "order.place"),
        (STOP, "algoOrder.place"),
        (AMENDMENT, "order.modify"),
        (ORDER._replace(action=Action.CANCEL), "order.cancel"),
        (STOP._replace(action=Action.CANCEL), "algoOrder.cancel"),
        (STOP._replace(action=Action.CANCEL, venue_id="a77"), "algoOrder.cancel"),
        # It has been triggered: an order like others.
        (STOP._replace(action=Action.CANCEL, venue_id="78"), "order.cancel"),
    ],
)
def test_contract_requests_go_to_their_methods(request_: Request, method: str):
    assert usdm().check(request_) == ""
    assert sent(usdm(), request_)["method"] == method


def test_a_replacement_forbids_the_venue_to_replace_what_has_fills():
    parameters = sent(spot(), REPLACEMENT)["params"]
    assert parameters["cancelRestrictions"] == "ONLY_NEW"
    assert parameters["cancelReplaceMode"] == "STOP_ON_FAILURE"
    assert parameters["newClientOrderId"] == parameters["cancelOrigClientOrderId"]
    assert parameters["price"] == "51000"


def test_an_amendment_in_place_keeps_the_client_id():
    parameters = sent(spot(), AMENDMENT)["params"]
    assert parameters["newQty"] == "0.2"
    assert parameters["newClientOrderId"] == parameters["origClientOrderId"] == ORDER.client_text


def test_a_logged_on_session_sends_neither_key_nor_signature():
    parameters = sent(spot(LOGON), ORDER)["params"]
    assert "signature" not in parameters
    assert "apiKey" not in parameters
    assert parameters["timestamp"] == NOW_MS


def test_a_hedged_order_names_its_side_and_does_not_say_reduce_only():
    flags = RequestFlag.REDUCE_ONLY
    hedged = ORDER._replace(position_side=PositionSide.LONG, flags=flags)
    parameters = sent(usdm(), hedged)["params"]
    assert parameters["positionSide"] == "LONG"
    assert "reduceOnly" not in parameters
    assert sent(usdm(), ORDER._replace(flags=flags))["params"]["reduceOnly"] == "true"


def test_what_only_rest_takes_is_no_message():
    for action in (Action.LEVERAGE, Action.MARGIN_MODE, Action.QUERY, Action.CANCEL_ALL):
        assert usdm().order_message(ORDER._replace(action=action), "w", NOW_MS) is None
    assert spot().order_message(ORDER._replace(action=Action.QUERY), "w", NOW_MS) is None


def test_canceling_all_of_a_contract_cancels_conditional_orders_too():
    calls = usdm().order_call(ORDER._replace(action=Action.CANCEL_ALL), "w", NOW_MS)
    paths = [call.path.partition("?")[0] for call in calls]
    assert paths == ["/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"]
    assert [call.costs for call in calls] == [(Cost("weight"),)] * 2


class CountingKey:
    """A key that counts its signatures."""

    def __init__(self):
        self.signed = 0

    def sign(self, payload):
        self.signed += 1
        return "0"


@pytest.mark.parametrize("make", [BinanceSpot, BinanceUsdm])
def test_of_the_queries_for_trades_only_what_is_asked_for_is_signed(make):
    key = CountingKey()
    adapter = make(Identity(Secret("k"), key.sign))
    many = [Instrument(i, f"C{i}USDT", "", "", "", "", 1, 2, 5, 1, 1) for i in range(300)]
    calls = adapter.query_calls(Query.FILLS, many, NOW_MS - 1000, NOW_MS)
    assert (len(calls), key.signed) == (300, 0)
    assert "symbol=C17USDT&" in calls[17].path
    assert "symbol=C299USDT&" in calls[-1].path
    assert key.signed == 2
    assert [call.path.partition("symbol=")[2][:3] for call in calls[:2]] == ["C0U", "C1U"]
    with pytest.raises(IndexError):
        calls[300]


def test_a_query_is_no_message_of_the_websocket_api():
    for adapter in (spot(), usdm()):
        form = adapter.form_of(ORDER._replace(action=Action.QUERY))
        assert (form.message, form.payload) == ("", "")


def test_a_form_is_not_used_for_another_kind_of_order():
    adapter = usdm()
    first = sent(adapter, ORDER)["params"]
    for changed in (
        ORDER._replace(side=Side.BUY),
        ORDER._replace(time_in_force=TimeInForce.IOC),
        ORDER._replace(self_trade=SelfTrade.CANCEL_TAKER),
        ORDER._replace(flags=RequestFlag.REDUCE_ONLY),
        ORDER._replace(position_side=PositionSide.SHORT),
        ORDER._replace(instrument=Instrument(4, "ETHUSDT", "", "", "", "", 2, 2, 3, 1, 1)),
    ):
        assert sent(adapter, changed)["params"] != first
    assert sent(adapter, ORDER)["params"] == first


@pytest.mark.parametrize(
    "request_",
    [
        ORDER._replace(time_in_force=TimeInForce.GTD),
        ORDER._replace(flags=RequestFlag.REDUCE_ONLY),
        ORDER._replace(position_side=PositionSide.LONG),
        ORDER._replace(margin_mode=MarginMode.CROSS),
        ORDER._replace(flags=RequestFlag.QUOTE_QUANTITY),
        STOP._replace(trigger=Trigger.MARK),
        ORDER._replace(action=Action.LEVERAGE),
        ORDER._replace(quantity=0),
        ORDER._replace(price=0),
        ORDER._replace(client_text=""),
        ORDER._replace(instrument=None),
        STOP._replace(stop_price=0),
        ORDER._replace(order_type=OrderType.MARKET, time_in_force=TimeInForce.POST_ONLY),
        ORDER._replace(order_type=OrderType.MARKET, time_in_force=TimeInForce.FOK),
        STOP._replace(time_in_force=TimeInForce.FOK),
        REPLACEMENT._replace(client_text="", client_id=-5, venue_id="12"),
    ],
)
def test_spot_says_what_it_does_not_have(request_: Request):
    assert spot().check(request_)


@pytest.mark.parametrize(
    "request_",
    [
        ORDER._replace(time_in_force=TimeInForce.GTD),
        ORDER._replace(flags=RequestFlag.QUOTE_QUANTITY, order_type=OrderType.MARKET),
        ORDER._replace(trigger=Trigger.MARK),
        STOP._replace(trigger=Trigger.INDEX),
        STOP._replace(action=Action.AMEND),
        ORDER._replace(self_trade=SelfTrade.NONE),
        AMENDMENT._replace(flags=RequestFlag.CANCEL_IF_AMEND_FAILS),
        ORDER._replace(position_side=PositionSide.SHORT, flags=RequestFlag.REDUCE_ONLY),
        ORDER._replace(action=Action.MARGIN_MODE),
        ORDER._replace(order_type=OrderType.MARKET, time_in_force=TimeInForce.FOK),
        ORDER._replace(order_type=OrderType.MARKET, time_in_force=TimeInForce.GTD, expire_ns=1),
        STOP._replace(time_in_force=TimeInForce.FOK),
    ],
)
def test_contracts_say_what_they_do_not_have(request_: Request):
    assert usdm().check(request_)


def test_the_key_and_the_signature_show_in_no_representation():
    for adapter in (spot(), usdm()):
        call = adapter.order_call(ORDER, "w", NOW_MS)[0]
        shown = f"{call!r} {adapter!r} {adapter.form_of(ORDER)!r}"
        assert "the-secret" not in shown
        assert "the-key" not in shown
        assert "signature=" not in shown


# -- limits ------------------------------------------------------------------------------------
def test_requests_take_what_the_venue_counts():
    assert {cost.limit: cost.units for cost in spot().costs(ORDER)} == {
        "weight": 1,
        "orders_10s": 1,
        "orders_1d": 1,
    }
    assert list(spot().costs(AMENDMENT)) == [Cost("weight", 4)]
    assert spot().costs(REPLACEMENT) == spot().costs(ORDER)
    assert list(spot().costs(ORDER._replace(action=Action.CANCEL))) == [Cost("weight", 1)]
    assert {cost.limit for cost in usdm().costs(ORDER)} == {"weight", "orders_10s", "orders_1m"}


@pytest.mark.parametrize("adapter", [spot(), usdm()])
def test_every_cost_is_of_a_limit_that_is_listed(adapter: BinanceSpot | BinanceUsdm):
    known = {limit.name for limit in adapter.limits}
    for request in (ORDER, STOP, AMENDMENT, REPLACEMENT):
        for action in Action:
            assert {cost.limit for cost in adapter.costs(request._replace(action=action))} <= known
        assert {cost.limit for cost in adapter.order_call(request, "", NOW_MS)[0].costs} <= known
    for query in Query:
        for call in adapter.query_calls(query, [BTC], 0, NOW_MS):
            assert call.costs
            assert {cost.limit for cost in call.costs} <= known


def test_headers_tell_what_is_used():
    headers = {"X-MBX-USED-WEIGHT-1M": "37", "x-mbx-order-count-10s": "4", "Date": "today"}
    used = {cost.limit: units for cost, units in spot().usage(headers)}
    assert used == {"weight": 37, "orders_10s": 4}


def test_an_event_without_limits_tells_of_none():
    assert list(spot().usage({}, b'{"e":"executionReport"}')) == []
    assert list(spot().usage({}, b'{"id":1,"rateLimits":[{"x":')) == []


# -- sessions ----------------------------------------------------------------------------------
def test_only_keys_that_can_log_a_session_on():
    assert list(spot().login(ROUTE_ORDERS, NOW_MS)) == []
    (message,) = spot(LOGON).login(ROUTE_ORDERS, NOW_MS)
    parsed = json.loads(message)
    assert parsed["method"] == "session.logon"
    payload = f"apiKey=the-key&recvWindow=5000&timestamp={NOW_MS}"
    assert parsed["params"]["signature"] == LOGON.sign(payload.encode())
    assert list(usdm(LOGON).login(ROUTE_PRIVATE, NOW_MS)) == []


def test_spot_subscribes_on_the_connection_of_its_orders():
    (with_session,) = spot(LOGON).subscriptions(ROUTE_ORDERS, NOW_MS)
    assert json.loads(with_session)["method"] == "userDataStream.subscribe"
    (signed,) = spot().subscriptions(ROUTE_ORDERS, NOW_MS)
    assert json.loads(signed)["method"] == "userDataStream.subscribe.signature"
    assert "signature" in json.loads(signed)["params"]
    assert list(usdm().subscriptions(ROUTE_ORDERS, NOW_MS)) == []
    assert spot().dialect.private_on_orders_route
    assert not usdm().dialect.private_on_orders_route


def test_a_stream_key_is_fetched_then_extended_and_is_part_of_the_url():
    adapter = usdm()
    (first,), every_s = adapter.stream_key_calls("", NOW_MS)
    (again,), _ = adapter.stream_key_calls("abc", NOW_MS)
    assert (first.method, again.method) == ("POST", "PUT")
    assert first.path == again.path == "/fapi/v1/listenKey"
    assert every_s < 3600
    endpoints = adapter.exchange.endpoints["live"]
    url = adapter.ws_url(ROUTE_PRIVATE, endpoints, "abc")
    assert url == "wss://fstream.binance.com/private/ws?listenKey=abc"
    assert spot().stream_key_calls("", NOW_MS) == ((), 0.0)


def test_a_stream_key_that_the_venue_no_longer_knows_is_empty():
    gone = b'{"code":-1125,"msg":"This listenKey does not exist."}'
    assert usdm().parse_stream_key(gone) == ""
    with pytest.raises(ValueError, match="-2015"):
        usdm().parse_stream_key(b'{"code":-2015,"msg":"Invalid API-key"}')


def test_the_clock_is_read():
    assert spot().parse_time(b'{"serverTime":1700000000123}') == 1_700_000_000_123
    with pytest.raises(ValueError, match="serverTime"):
        spot().parse_time(b"{}")


def test_a_refused_login_and_subscription_say_why():
    error = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    for wire_id, kind in (
        ("logon_l", NoticeKind.LOGIN_REFUSED),
        ("subscribe_s", NoticeKind.SUBSCRIPTION_REFUSED),
    ):
        message = json.dumps({"id": wire_id, "status": 401, "error": error}).encode()
        (notice,) = spot().read(ROUTE_ORDERS, message, {})
        assert isinstance(notice, Notice)
        assert (notice.kind, notice.code) == (kind, -2015)


# -- queries -----------------------------------------------------------------------------------
def page(count: int, first_id: int) -> bytes:
    return json.dumps([{"id": first_id + i} for i in range(count)]).encode()


def test_a_full_page_of_trades_is_followed_by_the_next_ids():
    adapter = spot()
    (call,) = adapter.query_calls(Query.FILLS, [BTC], NOW_MS - 1000, NOW_MS)
    following = adapter.next_page(call, page(1000, 500), NOW_MS)
    assert following is not None
    assert "&fromId=1500&" in following.path
    assert "startTime" not in following.path
    assert adapter.next_page(following, page(999, 1500), NOW_MS) is None


def test_trades_of_contracts_are_asked_for_week_by_week():
    adapter, week = usdm(), 7 * 86_400_000
    (call,) = adapter.query_calls(Query.FILLS, [BTC], NOW_MS - week - 5, NOW_MS)
    assert f"startTime={NOW_MS - week - 5}&endTime={NOW_MS - 6}&" in call.path
    following = adapter.next_page(call, page(3, 1), NOW_MS)
    assert following is not None
    assert f"startTime={NOW_MS - 5}&limit" in following.path
    assert adapter.next_page(following, page(3, 1), NOW_MS) is None


def test_a_refused_query_is_an_error_and_not_an_empty_page():
    body = b'{"code":-1003,"msg":"Too many requests"}'
    for query in Query:
        with pytest.raises(ValueError, match="-1003"):
            usdm().read_page(query, Call("GET", "/"), body, INSTRUMENTS)
