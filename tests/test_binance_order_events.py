"""What Binance says: refusals, and the events that no recorded sample shows."""

import json
from typing import Any

import pytest

from gateways.adapter import ROUTE_ORDERS, Call
from gateways.binance.errors import classify
from gateways.binance.requests import Mark
from gateways.message import Answer, Notice, NoticeKind, Update, Verdict
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind
from tests.binance_orders import INSTRUMENTS, NOW_MS, ORDER, refused, spot, usdm


# -- refusals ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "text", "status", "verdict", "reason"),
    [
        (-1000, "An unknown error occurred", 400, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (-1006, "Execution status unknown.", 400, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (-1007, "Timeout waiting for response", 400, Verdict.UNKNOWN, Reason.TIMEOUT),
        (0, "<html>Bad gateway", 502, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (0, "Service Unavailable", 503, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (-1008, "Server is currently overloaded", 503, Verdict.RETRY, Reason.BUSY),
        (0, "", 408, Verdict.UNKNOWN, Reason.TIMEOUT),
        (-1021, "Timestamp for this request", 400, Verdict.RETRY, Reason.TIMESTAMP),
        (-1022, "Signature for this request", 400, Verdict.REFUSED, Reason.AUTHENTICATION),
        (-2015, "Invalid API-key", 401, Verdict.REFUSED, Reason.AUTHENTICATION),
        (-1015, "Too many new orders", 429, Verdict.LIMITED, Reason.RATE_LIMIT),
        (-1003, "Too much request weight used", 429, Verdict.LIMITED, Reason.RATE_LIMIT),
        (-1003, "Way too much; IP banned until", 418, Verdict.LIMITED, Reason.BANNED),
        (0, "<html>blocked", 403, Verdict.LIMITED, Reason.BANNED),
        (-1121, "Invalid symbol.", 400, Verdict.REFUSED, Reason.INSTRUMENT),
        (-1102, "Mandatory parameter", 400, Verdict.REFUSED, Reason.PARAMETER),
        (-1111, "Parameter 'price' has too much", 400, Verdict.REFUSED, Reason.PRICE_TICK),
        (-1111, "Parameter 'quantity' has too", 400, Verdict.REFUSED, Reason.QUANTITY),
        (-1013, "Filter failure: PRICE_FILTER", 400, Verdict.REFUSED, Reason.PRICE_TICK),
        (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", 400, Verdict.REFUSED, Reason.PRICE_BAND),
        (-1013, "Filter failure: MARKET_LOT_SIZE", 400, Verdict.REFUSED, Reason.QUANTITY),
        (-1013, "Filter failure: NOTIONAL", 400, Verdict.REFUSED, Reason.NOTIONAL),
        (-1013, "Filter failure: MAX_NUM_ORDERS", 400, Verdict.REFUSED, Reason.TOO_MANY_ORDERS),
        (-1013, "Filter failure: MAX_POSITION", 400, Verdict.REFUSED, Reason.POSITION_LIMIT),
        (-2010, "Account has insufficient balance", 400, Verdict.REFUSED, Reason.BALANCE),
        (-2010, "Duplicate order sent.", 400, Verdict.EXISTS, Reason.DUPLICATE_ID),
        (-2010, "Order would immediately match", 400, Verdict.REFUSED, Reason.POST_ONLY),
        (-2010, "Order would trigger immediately.", 400, Verdict.REFUSED, Reason.WOULD_TRIGGER),
        (-2010, "Market is closed.", 400, Verdict.REFUSED, Reason.MARKET_CLOSED),
        (
            -2010,
            "This action is disabled on this account.",
            400,
            Verdict.REFUSED,
            Reason.NOT_ALLOWED,
        ),
        (-2038, "would change no state; rejecting.", 400, Verdict.REFUSED, Reason.NOT_CHANGED),
        (-98765, "Something new", 400, Verdict.REFUSED, Reason.OTHER),
        (0, "no JSON", 200, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
    ],
)
def test_spot_refusals_of_orders_mean_what_they_mean(
    code: int, text: str, status: int, verdict: Verdict, reason: Reason
):
    assert classify(code, text, status, Action.NEW, False) == (verdict, reason)


@pytest.mark.parametrize(
    ("code", "text", "status", "verdict", "reason"),
    [
        (-1003, "Unknown error, please check your", 503, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (0, "Service Unavailable.", 503, Verdict.RETRY, Reason.BUSY),
        (-1008, "Request throttled by system-level", 503, Verdict.RETRY, Reason.BUSY),
        (-4116, "ClientOrderId is duplicated.", 400, Verdict.EXISTS, Reason.DUPLICATE_ID),
        (-2019, "Margin is insufficient.", 400, Verdict.REFUSED, Reason.BALANCE),
        (-2021, "Order would immediately trigger.", 400, Verdict.REFUSED, Reason.WOULD_TRIGGER),
        (-2022, "ReduceOnly Order is rejected.", 400, Verdict.REFUSED, Reason.REDUCE_ONLY),
        (-2025, "Reach max open order limit.", 400, Verdict.REFUSED, Reason.TOO_MANY_ORDERS),
        (-2027, "Exceeded the maximum position", 400, Verdict.REFUSED, Reason.POSITION_LIMIT),
        (-4014, "Price not increased by tick", 400, Verdict.REFUSED, Reason.PRICE_TICK),
        (-4131, "best price does not meet", 400, Verdict.REFUSED, Reason.PRICE_BAND),
        (-4164, "notional must be no smaller", 400, Verdict.REFUSED, Reason.NOTIONAL),
        (-4120, "Use the Algo Order API", 400, Verdict.REFUSED, Reason.UNSUPPORTED),
        (-4140, "Invalid symbol status", 400, Verdict.REFUSED, Reason.MARKET_CLOSED),
        (-4192, "cooling-off period", 400, Verdict.REFUSED, Reason.NOT_ALLOWED),
        (-5021, "the FOK order has been rejected", 400, Verdict.REFUSED, Reason.FILL_OR_KILL),
        (-5022, "the Post Only order will be", 400, Verdict.REFUSED, Reason.POST_ONLY),
        (-5028, "outside of the ME recvWindow", 400, Verdict.RETRY, Reason.TIMESTAMP),
    ],
)
def test_refusals_of_contract_orders_mean_what_they_mean(
    code: int, text: str, status: int, verdict: Verdict, reason: Reason
):
    assert classify(code, text, status, Action.NEW, True) == (verdict, reason)


def test_what_is_gone_depends_on_what_was_asked():
    unknown = (-2011, "Unknown order sent.", 400)
    assert classify(*unknown, Action.CANCEL, False)[0] == Verdict.GONE
    assert classify(*unknown, Action.AMEND, True)[0] == Verdict.GONE
    assert classify(*unknown, Action.CANCEL_ALL, False)[0] == Verdict.ACCEPTED
    missing = (-2013, "Order does not exist.", 400)
    assert classify(*missing, Action.QUERY, True) == (Verdict.GONE, Reason.UNKNOWN_ORDER)
    restricted = (-2011, "Order was not canceled due to cancel restrictions.", 400)
    assert classify(*restricted, Action.CANCEL, False)[0] == Verdict.REFUSED


def test_nothing_to_change_is_done():
    same = (-4046, "No need to change margin type.", 400)
    assert classify(*same, Action.MARGIN_MODE, True) == (Verdict.ACCEPTED, Reason.NOT_CHANGED)


def test_quiet_is_kept_as_long_as_the_venue_asks_by_rest():
    call = Call("POST", "/", tag=Mark.NEW, wire_id="w")
    body = b'{"code":-1003,"msg":"Too much request weight used"}'
    answer = refused(spot().read_answer(call, 429, {"Retry-After": "17"}, body, {}))
    assert (answer.verdict, answer.wait_s, answer.limit) == (Verdict.LIMITED, 17.0, "")


def test_quiet_is_kept_as_long_as_the_venue_asks_by_websocket():
    message = {
        "id": "w_n",
        "status": 418,
        "error": {
            "code": -1003,
            "msg": "Way too much request weight used; IP banned until 1700000030000.",
            "data": {"serverTime": NOW_MS, "retryAfter": NOW_MS + 30_000},
        },
    }
    answer = refused(spot().read(ROUTE_ORDERS, json.dumps(message).encode(), {}))
    assert (answer.verdict, answer.reason, answer.wait_s) == (Verdict.LIMITED, Reason.BANNED, 30.0)


@pytest.mark.parametrize(
    ("per", "limit"),
    [("50 orders per 10 SECOND", "orders_10s"), ("160000 orders per DAY", "orders_1d")],
)
def test_too_many_orders_stop_orders_only(per: str, limit: str):
    error = {"code": -1015, "msg": f"Too many new orders; current limit is {per}."}
    message = json.dumps({"id": "w_n", "status": 429, "error": error}).encode()
    answer = refused(spot().read(ROUTE_ORDERS, message, {}))
    assert (answer.verdict, answer.limit) == (Verdict.LIMITED, limit)


def test_an_answer_without_json_is_read():
    call = Call("POST", "/", tag=Mark.NEW, wire_id="w")
    answer = refused(usdm().read_answer(call, 502, {}, b"<html>\xff", {}))
    assert (answer.wire_id, answer.verdict) == ("w", Verdict.UNKNOWN)


def half(result: str, cancel: object, new: object, code: int) -> Answer:
    data = {
        "cancelResult": "FAILURE" if code == -2022 else "SUCCESS",
        "newOrderResult": result,
        "cancelResponse": cancel,
        "newOrderResponse": new,
    }
    error = {"code": code, "msg": "Order cancel-replace failed.", "data": data}
    status = 400 if code == -2022 else 409
    message = json.dumps({"id": "w_r", "status": status, "error": error}).encode()
    return refused(spot().read(ROUTE_ORDERS, message, INSTRUMENTS))


CANCELED = {
    "symbol": "BTCUSDT",
    "origClientOrderId": ORDER.client_text,
    "clientOrderId": f"{ORDER.client_text}_r",
    "orderId": 9,
    "transactTime": NOW_MS,
    "price": "50000.00",
    "origQty": "0.20000",
    "executedQty": "0.00000",
    "cummulativeQuoteQty": "0.00",
    "status": "CANCELED",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "SELL",
}


def test_a_replacement_that_fails_after_the_cancellation_ends_the_order():
    short = {"code": -2010, "msg": "Account has insufficient balance for requested action."}
    answer = half("FAILURE", CANCELED, short, -2021)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.BALANCE)
    (update,) = answer.updates
    assert (update.kind, update.client_text) == (ReportKind.CANCELED, ORDER.client_text)


def test_a_replacement_of_an_order_that_is_gone_changes_nothing():
    gone = {"code": -2011, "msg": "Unknown order sent."}
    answer = half("NOT_ATTEMPTED", gone, None, -2022)
    assert (answer.verdict, answer.updates) == (Verdict.GONE, [])


def test_a_replacement_of_an_order_with_fills_is_refused_by_the_venue():
    text = "Order was not canceled due to cancel restrictions."
    answer = half("NOT_ATTEMPTED", {"code": -2011, "msg": text}, None, -2022)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.NOT_ALLOWED)


def test_a_replacement_whose_new_half_timed_out_is_not_known():
    late = {"code": -1007, "msg": "Timeout waiting for response from backend server."}
    assert half("FAILURE", CANCELED, late, -2021).verdict == Verdict.UNKNOWN


# -- events that no sample shows ---------------------------------------------------------------
def report(**changes: Any) -> bytes:
    usual = {
        "e": "executionReport",
        "E": NOW_MS,
        "s": "BTCUSDT",
        "c": ORDER.client_text,
        "S": "SELL",
        "o": "LIMIT",
        "f": "GTC",
        "q": "0.20000000",
        "p": "50000.00000000",
        "P": "0.00000000",
        "C": "",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 9,
        "l": "0.00000000",
        "z": "0.00000000",
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": NOW_MS,
        "t": -1,
        "w": True,
        "m": False,
        "Z": "0.00000000",
    }
    return json.dumps({"subscriptionId": 0, "event": usual | changes}).encode()


def told(message: bytes, futures: bool = False) -> Update:
    adapter = usdm() if futures else spot()
    (update,) = adapter.read(ROUTE_ORDERS, message, INSTRUMENTS)
    assert isinstance(update, Update)
    return update


def test_a_cancellation_is_of_the_original_client_id():
    update = told(report(x="CANCELED", X="CANCELED", c="random", C=ORDER.client_text))
    assert (update.kind, update.client_text) == (ReportKind.CANCELED, ORDER.client_text)
    assert update.reason == Reason.REQUESTED


def test_the_cancellation_inside_a_replacement_does_not_end_the_order():
    message = report(x="CANCELED", X="CANCELED", c=f"{ORDER.client_text}_r", C=ORDER.client_text)
    (notice,) = spot().read(ROUTE_ORDERS, message, INSTRUMENTS)
    assert isinstance(notice, Notice)
    assert notice.kind == NoticeKind.IGNORED


def test_an_amendment_in_place_is_told_with_the_new_quantity():
    update = told(report(x="REPLACED", C=ORDER.client_text, q="0.10000000"))
    assert (update.kind, update.quantity) == (ReportKind.AMENDED, 10_000)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"f": "IOC"}, Reason.IMMEDIATE),
        ({"o": "MARKET", "p": "0.00"}, Reason.IMMEDIATE),
        ({"f": "FOK"}, Reason.FILL_OR_KILL),
        ({"X": "EXPIRED_IN_MATCH"}, Reason.SELF_TRADE),
        ({"eR": "EXCHANGE_CANCELED"}, Reason.SYSTEM),
        ({"eR": "EXECUTION_RULE_PRICE_RANGE_EXCEEDED"}, Reason.PRICE_BAND),
        ({}, Reason.SYSTEM),
    ],
)
def test_an_expired_order_says_why(changes: dict[str, str], reason: Reason):
    update = told(report(**({"x": "EXPIRED", "X": "EXPIRED"} | changes)))
    assert (update.kind, update.reason) == (ReportKind.EXPIRED, reason)


def test_a_stop_order_waits_until_it_is_triggered():
    stop = {"o": "STOP_LOSS_LIMIT", "P": "49000.00"}
    waits = told(report(**stop, w=False))
    assert (waits.kind, waits.status) == (ReportKind.ACCEPTED, OrderStatus.UNTRIGGERED)
    assert told(report(**stop, w=True)).kind == ReportKind.TRIGGERED


def test_an_average_price_is_the_cost_over_the_quantity():
    update = told(
        report(
            x="TRADE",
            X="PARTIALLY_FILLED",
            l="0.00001",
            z="0.00003",
            L="50000.01",
            Z="1.50000010",
            t=12,
            n="0.00000001",
            N="BTC",
        )
    )
    # 1.5000001 / 0.00003 = 50000.00333…
    assert update.average_price == 50_000_003_333_33
    assert (update.fee, update.decimals, update.asset) == (1, 8, "BTC")


def contract(**changes: Any) -> bytes:
    usual = {
        "s": "BTCUSDT",
        "c": ORDER.client_text,
        "S": "SELL",
        "o": "LIMIT",
        "f": "GTC",
        "q": "0.2",
        "p": "50000",
        "ap": "0",
        "sp": "0",
        "x": "NEW",
        "X": "NEW",
        "i": 9,
        "l": "0",
        "z": "0",
        "L": "0",
        "T": NOW_MS,
        "t": 0,
        "m": False,
        "R": False,
        "ps": "BOTH",
    }
    event = {"e": "ORDER_TRADE_UPDATE", "E": NOW_MS, "T": NOW_MS, "o": usual | changes}
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"er": "1"}, Reason.SELF_TRADE),
        ({"er": "2", "f": "IOC"}, Reason.IMMEDIATE),
        ({"er": "2", "f": "FOK"}, Reason.FILL_OR_KILL),
        ({"er": "4"}, Reason.REDUCE_ONLY),
        ({"er": "5"}, Reason.LIQUIDATION),
        ({"er": "6"}, Reason.SYSTEM),
        ({"er": "7"}, Reason.DELISTED),
        ({"f": "GTX"}, Reason.POST_ONLY),
        ({"f": "GTD"}, Reason.TIME),
        ({"X": "EXPIRED_IN_MATCH"}, Reason.SELF_TRADE),
    ],
)
def test_an_expired_contract_order_says_why(changes: dict[str, str], reason: Reason):
    update = told(contract(**({"x": "EXPIRED", "X": "EXPIRED"} | changes)), True)
    assert (update.kind, update.reason) == (ReportKind.EXPIRED, reason)


def test_a_modified_contract_order_is_amended():
    update = told(contract(x="AMENDMENT", q="0.1", p="51000"), True)
    assert (update.kind, update.quantity, update.price) == (ReportKind.AMENDED, 10_000, 51_000_00)


def test_an_order_of_the_venue_is_forced():
    message = contract(c="autoclose-77", x="TRADE", X="FILLED", l="0.2", z="0.2", L="49000", t=5)
    update = told(message, True)
    assert update.kind == ReportKind.FILL
    assert update.flags & ReportFlag.FORCED
    assert update.reason == Reason.LIQUIDATION


def conditional(state: str, **changes: Any) -> bytes:
    o = {
        "caid": ORDER.client_text,
        "aid": 77,
        "o": "STOP_MARKET",
        "s": "BTCUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "f": "GTC",
        "q": "0.2",
        "X": state,
        "ai": "",
        "tp": "49000",
        "p": "0",
        "R": False,
    }
    event = {"e": "ALGO_UPDATE", "T": NOW_MS, "E": NOW_MS, "o": o | changes}
    return json.dumps(event).encode()


def test_a_conditional_order_becomes_an_order_with_another_id():
    waits = told(conditional("NEW"), True)
    assert (waits.kind, waits.venue_id) == (ReportKind.ACCEPTED, "a77")
    assert waits.status == OrderStatus.UNTRIGGERED
    became = told(conditional("TRIGGERED", ai="123"), True)
    assert (became.kind, became.venue_id) == (ReportKind.TRIGGERED, "123")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("TRIGGERING", ReportKind.TRIGGERED),
        ("CANCELED", ReportKind.CANCELED),
        ("EXPIRED", ReportKind.EXPIRED),
        ("REJECTED", ReportKind.REJECTED),
    ],
)
def test_a_conditional_order_tells_each_of_its_states(state: str, kind: ReportKind):
    assert told(conditional(state), True).kind == kind


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"e": "serverShutdown", "E": 1}, NoticeKind.ENDING),
        ({"e": "eventStreamTerminated", "E": 1}, NoticeKind.ENDING),
        ({"e": "listenKeyExpired", "E": 1, "listenKey": "x"}, NoticeKind.KEY_EXPIRED),
        ({"e": "externalLockUpdate", "E": 1}, NoticeKind.IGNORED),
    ],
)
def test_the_end_of_a_connection_is_announced(event: dict[str, Any], kind: NoticeKind):
    for message in (event, {"subscriptionId": 0, "event": event}):
        (notice,) = spot().read(ROUTE_ORDERS, json.dumps(message).encode(), {})
        assert isinstance(notice, Notice)
        assert notice.kind == kind


def test_an_order_of_an_unknown_instrument_is_an_alert_and_no_wrong_number():
    (notice,) = spot().read(ROUTE_ORDERS, report(s="NEWUSDT"), INSTRUMENTS)
    assert isinstance(notice, Notice)
    assert notice.kind == NoticeKind.ALERT


@pytest.mark.parametrize(
    "message", [b"", b"[]", b"{}", b'{"e":"executionReport"}', b'{"e":"ORDER_TRADE_UPDATE","T":1}']
)
def test_what_cannot_be_read_is_a_value_error(message: bytes):
    for adapter in (spot(), usdm()):
        with pytest.raises(ValueError):
            adapter.read(ROUTE_ORDERS, message, INSTRUMENTS)
