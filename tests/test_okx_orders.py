"""OKX's order dialect: messages, algo orders, cancel-all, errors, and what pushes mean."""

import json

import pytest

from engine.common import Endpoints, OrderType, Side, TimeInForce
from gateways.adapter import Call, Query
from gateways.message import Answer, NoticeKind, Request, Verdict
from gateways.okx import endpoints, errors, limits, requests
from gateways.types import (
    Action,
    Liquidity,
    MarginMode,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
    RequestFlag,
    SelfTrade,
    Trigger,
)
from tests import naive_okx_orders as naive
from tests.data import shared

NOW = naive.NOW_MS
SWAP = naive.instrument("BTC-USDT-SWAP", 3, 1, 2)
SPOT = naive.instrument("BTC-USDT", 0, 1, 8)
TABLE = {"BTC-USDT-SWAP": SWAP, "BTC-USDT": SPOT}
SWAP_CODE = naive.CODES["BTC-USDT-SWAP"]


def new(instrument=SWAP, **more):
    base = Request(
        Action.NEW, 11, 5, instrument, Side.BUY, price=612345, quantity=150, client_text="ti5"
    )
    return base._replace(**more)


def message(request):
    return json.loads(naive.adapter().order_message(request, "w1", NOW))


def push(**fields):
    row = {
        "instId": "BTC-USDT-SWAP",
        "ordId": "77",
        "clOrdId": "ti5",
        "algoClOrdId": "",
        "algoId": "",
        "ordType": "limit",
        "side": "buy",
        "posSide": "net",
        "tdMode": "cross",
        "px": "61234.5",
        "sz": "1.5",
        "state": "live",
        "accFillSz": "0",
        "avgPx": "0",
        "tradeId": "",
        "fillPx": "",
        "fillSz": "0",
        "category": "normal",
        "cancelSource": "",
        "amendResult": "",
        "reqId": "",
        "code": "0",
        "uTime": "1700000000123",
    }
    frame = {"arg": {"channel": "orders"}, "data": [row | fields]}
    return naive.adapter().read("orders", json.dumps(frame).encode(), TABLE)


TRADE = {
    "state": "partially_filled",
    "tradeId": "900",
    "fillPx": "61234.4",
    "fillSz": "0.5",
    "accFillSz": "0.5",
    "fillFee": "-0.0125",
    "fillFeeCcy": "USDT",
    "execType": "M",
    "fillTime": "1700000000100",
}


# -- requests -------------------------------------------------------------------------------------
def test_an_order_goes_out_with_its_id_and_an_expiry():
    assert message(new()) == {
        "id": "w1",
        "op": "order",
        "args": [
            {
                "instIdCode": SWAP_CODE,
                "side": "buy",
                "ordType": "limit",
                "sz": "1.5",
                "tdMode": "cross",
                "px": "61234.5",
                "clOrdId": "ti5",
            }
        ],
        "expTime": str(NOW + endpoints.EXPIRE_MS),
    }


def codes_calls(adapter, instruments):
    return adapter.query_calls(Query.INSTRUMENTS, instruments, 0, NOW)


def test_an_instrument_whose_code_is_not_known_is_traded_by_rest():
    adapter = naive.adapter(codes={})
    for action in (Action.NEW, Action.AMEND, Action.CANCEL):
        assert adapter.order_message(new(action=action), "w1", NOW) is None
        [call] = adapter.order_call(new(action=action), "w1", NOW)
        assert json.loads(call.body)["instId"] == "BTC-USDT-SWAP"


def test_codes_are_read_from_the_venues_lists_of_the_kinds_that_lack_one():
    future = naive.instrument("BTC-USD-210430")
    adapter = naive.adapter(codes={"BTC-USD-210430": 7})
    [call] = codes_calls(adapter, [SWAP, SPOT, future])
    asked = []
    while call is not None:
        kind = call.path.removeprefix("/api/v5/public/instruments?instType=")
        asked.append(kind)
        body = shared(f"okx/meta/rest_instruments_{kind.lower()}.jsonl").read_bytes()
        assert not adapter.read_page(Query.INSTRUMENTS, call, body, TABLE)
        call = adapter.next_page(call, body, NOW)
    assert asked == ["SPOT", "SWAP"]
    sent = json.loads(adapter.order_message(new(), "w1", NOW))
    assert sent["args"][0]["instIdCode"] == 10459
    # The recorded list of spot pairs has no codes.
    assert adapter.order_message(new(SPOT), "w1", NOW) is None
    assert [each.path for each in codes_calls(adapter, [SWAP, SPOT, future])] == [
        "/api/v5/public/instruments?instType=SPOT"
    ]


def test_a_list_of_instruments_that_is_an_error_is_no_list():
    call = Call("GET", "/api/v5/public/instruments")
    with pytest.raises(ValueError, match="50011"):
        naive.adapter().read_page(Query.INSTRUMENTS, call, b'{"code":"50011","data":[]}', {})


def test_a_deadline_shortens_the_expiry():
    soon = new(deadline_ns=(NOW + 200) * 1_000_000)
    assert message(soon)["expTime"] == str(NOW + 200)
    [call] = naive.adapter().order_call(soon, "w1", NOW)
    assert call.headers["expTime"] == str(NOW + 200)
    late = new(deadline_ns=(NOW + 60_000) * 1_000_000)
    assert message(late)["expTime"] == str(NOW + endpoints.EXPIRE_MS)


@pytest.mark.parametrize(
    ("instrument", "mode", "text"),
    [
        (SPOT, MarginMode.NONE, "cash"),
        (SPOT, MarginMode.CROSS, "cross"),
        (SWAP, MarginMode.NONE, "cross"),
        (SWAP, MarginMode.ISOLATED, "isolated"),
    ],
)
def test_the_margin_mode_goes_with_the_order(instrument, mode, text):
    [order] = message(new(instrument, margin_mode=mode))["args"]
    assert order["tdMode"] == text


def test_a_market_buy_can_name_an_amount_of_the_quote_currency():
    request = new(SPOT, order_type=OrderType.MARKET, quantity=1005, price=0)
    [order] = message(request._replace(flags=RequestFlag.QUOTE_QUANTITY))["args"]
    assert (order["sz"], order["tgtCcy"]) == ("100.5", "quote_ccy")
    assert "px" not in order


def test_an_amendment_carries_our_number_and_the_total():
    amend = new(action=Action.AMEND, venue_id="77", flags=RequestFlag.CANCEL_IF_AMEND_FAILS)
    sent = message(amend)
    assert sent["op"] == "amend-order"
    assert sent["args"] == [
        {
            "instIdCode": SWAP_CODE,
            "ordId": "77",
            "newSz": "1.5",
            "newPx": "61234.5",
            "reqId": "r11",
            "cxlOnFail": True,
        }
    ]
    assert message(amend._replace(price=0))["args"][0].get("newPx") is None


def test_an_order_without_a_venue_id_is_canceled_by_its_client_id():
    sent = message(new(action=Action.CANCEL))
    assert sent["args"] == [{"instIdCode": SWAP_CODE, "clOrdId": "ti5"}]
    assert "expTime" not in sent


def test_a_stop_order_is_an_algo_order_by_rest():
    stop = new(order_type=OrderType.STOP_MARKET, stop_price=700000, price=0)
    adapter = naive.adapter()
    assert adapter.order_message(stop, "w1", NOW) is None
    [call] = adapter.order_call(stop, "w1", NOW)
    assert call.path == "/api/v5/trade/order-algo"
    assert json.loads(call.body) == {
        "instId": "BTC-USDT-SWAP",
        "side": "buy",
        "ordType": "trigger",
        "sz": "1.5",
        "tdMode": "cross",
        "triggerPx": "70000",
        "orderPx": "-1",
        "triggerPxType": "last",
        "algoClOrdId": "ti5",
    }
    assert [cost.limit for cost in call.costs] == [limits.ALGO_PLACE]


@pytest.mark.parametrize("side", list(Side))
def test_a_stop_order_of_a_spot_pair_says_that_its_size_is_in_the_base_currency(side):
    stop = new(SPOT, side=side, order_type=OrderType.STOP_MARKET, stop_price=700000, price=0)
    [call] = naive.adapter().order_call(stop, "w1", NOW)
    body = json.loads(call.body)
    assert (body["tgtCcy"], body["sz"]) == ("base_ccy", "0.0000015")


def algo_push(**fields):
    row = {"instId": "BTC-USDT-SWAP", "algoId": "12", "algoClOrdId": "ti5", "side": "buy"}
    row |= {"state": "live", "sz": "2", "triggerPx": "71000", "ordPx": "-1", "cTime": "1"}
    frame = {"arg": {"channel": "orders-algo"}, "data": [row | fields]}
    return naive.adapter().read("business", json.dumps(frame).encode(), TABLE)


def test_an_amendment_of_a_stop_order_is_told_with_our_number():
    amend = new(action=Action.AMEND, order_type=OrderType.STOP_MARKET, venue_id="algo-12", price=0)
    [call] = naive.adapter().order_call(amend._replace(stop_price=710000), "w1", NOW)
    assert json.loads(call.body) == {
        "instId": "BTC-USDT-SWAP",
        "algoId": "12",
        "newSz": "1.5",
        "newTriggerPx": "71000",
        "reqId": "r11",
    }
    [done] = algo_push(amendResult="0", reqId="r11")
    assert (done.kind, done.request_id, done.stop_price) == (ReportKind.AMENDED, 11, 710000)
    assert done.status == OrderStatus.UNTRIGGERED
    [failed] = algo_push(amendResult="-1", reqId="r11")
    assert (failed.kind, failed.reason) == (ReportKind.AMEND_REJECTED, Reason.OTHER)
    [plain] = algo_push(amendResult="", reqId="")
    assert plain.kind is ReportKind.OPEN


def test_a_stop_order_is_canceled_by_its_algo_id_until_it_has_triggered():
    adapter = naive.adapter()
    waiting = new(action=Action.CANCEL, venue_id="algo-12", order_type=OrderType.STOP_LIMIT)
    assert adapter.order_message(waiting, "w1", NOW) is None
    [call] = adapter.order_call(waiting, "w1", NOW)
    assert call.path.endswith("/cancel-algos")
    assert json.loads(call.body) == [{"instId": "BTC-USDT-SWAP", "algoId": "12"}]
    assert adapter.order_message(waiting._replace(venue_id="77"), "w1", NOW) is not None


def test_secrets_do_not_show_in_a_call():
    [call] = naive.adapter(key="K3Y", passphrase="PHR4SE").order_call(new(), "w1", NOW)
    assert call.headers["OK-ACCESS-PASSPHRASE"] == "PHR4SE"
    assert "PHR4SE" not in repr(call)
    assert "K3Y" not in repr(call)


def test_demo_trading_has_its_header():
    [call] = naive.adapter(test=True).order_call(new(), "w1", NOW)
    assert call.headers["x-simulated-trading"] == "1"
    assert "x-simulated-trading" not in naive.adapter().order_call(new(), "w1", NOW)[0].headers


def orders_page(ids):
    rows = [{"ordId": str(each), "instId": "BTC-USDT"} for each in ids]
    return json.dumps({"code": "0", "data": rows}).encode()


def test_cancel_all_asks_for_the_open_orders_and_cancels_them_in_batches():
    adapter = naive.adapter()
    first, *_ = adapter.order_call(Request(Action.CANCEL_ALL, 1, 0, None), "w1", NOW)
    assert first.path == "/api/v5/trade/orders-pending?limit=100"
    canceled, call = [], first
    pages = {"": range(100), "99": range(100, 130)}
    for _ in range(20):
        after = call.path.partition("after=")[2]
        if call.method == "GET":
            body = orders_page(pages[after])
        else:
            assert call.path.endswith("/cancel-batch-orders")
            batch = json.loads(call.body)
            assert len(batch) <= 20
            assert [(cost.units, cost.scope) for cost in call.costs] == [(len(batch), "BTC-USDT")]
            canceled += [int(each["ordId"]) for each in batch]
            body = b'{"code":"2","data":[]}'
        following = adapter.next_page(call, body, NOW)
        if following is None:
            break
        call = following
    assert canceled == list(range(130))


def answer_to_batch(*rows, code="1"):
    """Return the answer to a batch of a cancel-all with these results (``sCode``)."""
    adapter = naive.adapter()
    first, *_ = adapter.order_call(Request(Action.CANCEL_ALL, 1, 0, None), "w1", NOW)
    batch = adapter.next_page(first, orders_page(range(len(rows) or 1)), NOW)
    data = [{"ordId": str(i), "sCode": row, "sMsg": row} for i, row in enumerate(rows)]
    body = json.dumps({"code": code, "msg": "", "data": data}).encode()
    [answer] = adapter.read_answer(batch, 200, {}, body, TABLE)
    return answer


@pytest.mark.parametrize("rows", [("0", "0"), ("0", "51400"), ("51400", "51401", "51410")])
def test_a_batch_of_cancels_is_done_if_each_order_is_canceled_or_ended_by_itself(rows):
    assert answer_to_batch(*rows).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (("0", "50004"), Verdict.UNKNOWN),
        (("50026", "0"), Verdict.UNKNOWN),
        (("51412", "51400"), Verdict.UNKNOWN),
        (("0", "51404"), Verdict.UNKNOWN),
        (("50001",), Verdict.UNKNOWN),
        (("50004", "50011"), Verdict.LIMITED),
        ((), Verdict.UNKNOWN),
    ],
)
def test_a_batch_of_cancels_is_not_done_while_one_of_its_orders_may_be_open(rows, verdict):
    answer = answer_to_batch(*rows)
    assert answer.verdict is verdict
    if verdict is Verdict.LIMITED:
        assert (answer.limit, answer.wait_s) == (limits.BATCH_CANCEL, errors.WAIT_S)


def test_a_refused_batch_of_cancels_is_not_done():
    assert answer_to_batch(code="50011").verdict is Verdict.LIMITED


def test_cancel_all_of_an_instrument_names_it():
    calls = naive.adapter().order_call(Request(Action.CANCEL_ALL, 1, 0, SWAP), "w1", NOW)
    assert all("instId=BTC-USDT-SWAP" in call.path for call in calls)
    assert len(calls) == 3


def test_an_order_that_ended_meanwhile_does_not_fail_a_cancel_all():
    call = Call("POST", "/api/v5/trade/cancel-batch-orders", wire_id="w", tag="cancel_all:::::")
    body = b'{"code":"1","msg":"","data":[{"ordId":"5","sCode":"51400","sMsg":"gone"}]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert answer.verdict is Verdict.ACCEPTED


def test_the_countdown_is_whole_seconds_within_the_venues_bounds():
    adapter = naive.adapter()

    def body(timeout_s):
        [call] = adapter.dead_man_calls(timeout_s, [], NOW)
        return json.loads(call.body)

    assert body(0) == {"timeOut": "0"}
    assert body(3) == {"timeOut": "10"}
    assert body(60.7) == {"timeOut": "60"}
    assert body(600) == {"timeOut": "120"}


def test_pages_go_on_until_one_is_not_full():
    adapter = naive.adapter()
    call, *_ = adapter.query_calls(Query.OPEN_ORDERS, [], 0, NOW)
    following = adapter.next_page(call, orders_page(range(100)), NOW)
    assert following.path == "/api/v5/trade/orders-pending?limit=100&after=99"
    third = adapter.next_page(following, orders_page(range(100, 200)), NOW)
    assert third.path == "/api/v5/trade/orders-pending?limit=100&after=199"
    assert adapter.next_page(third, orders_page(range(3)), NOW) is None


def test_old_trades_are_asked_for_by_instrument_type():
    adapter = naive.adapter()
    [call] = adapter.query_calls(Query.FILLS, [SPOT, SWAP], NOW - 1000, NOW)
    assert call.path.startswith("/api/v5/trade/fills?begin=")
    old = adapter.query_calls(Query.FILLS, [SPOT, SWAP], NOW - 10 * 86_400_000, NOW)
    assert [call.path[-4:] for call in old] == ["SPOT", "SWAP"]
    assert all("/fills-history?" in call.path for call in old)


def test_funding_payments_are_told_from_the_bills():
    adapter = naive.adapter()
    [call] = adapter.query_calls(Query.FUNDING, [SWAP], NOW - 1000, NOW)
    assert call.path == f"/api/v5/account/bills?type=8&begin={NOW - 1000}&limit=100"
    [old] = adapter.query_calls(Query.FUNDING, [SWAP], NOW - 8 * 86_400_000, NOW)
    assert old.path.startswith("/api/v5/account/bills-archive?type=8&")
    bill = {"ccy": "USDT", "ts": "1700000000123", "type": "8", "subType": "173"}
    # As documented: of an isolated position, the account's balance does not change.
    bill |= {"balChg": "0", "posBalChg": "-0.0125", "pnl": "-0.0125"}
    rows = [
        bill | {"billId": "900", "instId": "BTC-USDT-SWAP"},
        bill | {"billId": "899", "instId": "SOL-USDT-SWAP"},
    ]
    body = json.dumps({"code": "0", "data": rows}).encode()
    [paid] = adapter.read_page(Query.FUNDING, call, body, TABLE)
    assert (paid.kind, paid.instrument, paid.trade_id) == (ReportKind.FUNDING, SWAP.row, 900)
    assert (paid.fee, paid.decimals, paid.asset) == (125, 4, "USDT")
    assert paid.exchange_ns == 1_700_000_000_123_000_000
    whole = json.dumps({"code": "0", "data": rows * 50}).encode()
    assert adapter.next_page(call, whole, NOW).path == f"{call.path}&after=899"


def test_a_funding_fee_is_noticed_and_has_to_be_asked_for():
    for kind, notice in (("funding_fee", NoticeKind.CHANGED), ("filled", NoticeKind.IGNORED)):
        row = {"pTime": "1", "eventType": kind, "balData": [], "posData": [], "trades": []}
        frame = {"arg": {"channel": "balance_and_position"}, "data": [row]}
        [told] = naive.adapter().read("orders", json.dumps(frame).encode(), TABLE)
        assert told.kind is notice


def test_a_query_of_a_triggered_order_goes_on_with_the_order_it_became():
    adapter = naive.adapter()
    query = new(action=Action.QUERY, order_type=OrderType.STOP_MARKET)
    [call] = adapter.order_call(query, "w1", NOW)
    assert call.path == "/api/v5/trade/order-algo?algoClOrdId=ti5"
    body = b'{"code":"0","data":[{"instId":"BTC-USDT-SWAP","ordId":"77","state":"effective"}]}'
    following = adapter.next_page(call, body, NOW)
    assert following.path == "/api/v5/trade/order?instId=BTC-USDT-SWAP&ordId=77"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (new(time_in_force=TimeInForce.GTD), "time in force"),
        (new(order_type=OrderType.MARKET, time_in_force=TimeInForce.POST_ONLY), "market orders"),
        (new(order_type=OrderType.STOP_LIMIT), "stop price"),
        (new(flags=RequestFlag.QUOTE_QUANTITY), "quote"),
        (new(SPOT, flags=RequestFlag.REDUCE_ONLY), "reduce-only"),
        (new(SPOT, position_side=1), "position"),
        (new(self_trade=SelfTrade.NONE), "trade with each other"),
        (
            new(order_type=OrderType.STOP_MARKET, stop_price=5, self_trade=SelfTrade.CANCEL_BOTH),
            "stop order",
        ),
        (new(SPOT, order_type=OrderType.STOP_LIMIT, stop_price=5, trigger=Trigger.MARK), "last"),
        (new(SPOT, order_type=OrderType.STOP_LIMIT, stop_price=5, trigger=Trigger.INDEX), "last"),
        (new(self_trade=SelfTrade.CANCEL_BOTH, time_in_force=TimeInForce.FOK), "FOK"),
        (Request(Action.NEW, 1, 1, None), "no instrument"),
        (Request(Action.MARGIN_MODE, 1, 0, SWAP), "margin mode"),
        (Request(Action.LEVERAGE, 1, 0, SPOT, quantity=5), "leverage"),
    ],
)
def test_what_the_venue_does_not_have_is_said(request_, words):
    assert words in naive.adapter().check(request_)


def test_what_the_venue_has_is_let_through():
    adapter = naive.adapter()
    for order_type in OrderType:
        assert adapter.check(new(order_type=order_type, stop_price=5)) == ""
    for tif in endpoints.DIALECT.times_in_force:
        assert adapter.check(new(time_in_force=tif)) == ""


def test_every_cost_is_of_a_limit_that_exists():
    adapter, names = naive.adapter(), {limit.name for limit in limits.LIMITS}
    scoped = {limit.name for limit in limits.LIMITS if limit.scoped}
    for action in Action:
        for order_type in OrderType:
            request = new(action=action, order_type=order_type, quantity=5)
            costs = [*adapter.costs(request)]
            costs += [c for call in adapter.order_call(request, "w", NOW) for c in call.costs]
            assert {cost.limit for cost in costs} <= names
            assert all(bool(cost.scope) == (cost.limit in scoped) for cost in costs)


# -- sessions -------------------------------------------------------------------------------------
def test_the_login_is_signed_over_seconds():
    [login] = naive.adapter("k" * 64, "s" * 64, "pp").login("orders", NOW)
    [fields] = json.loads(login)["args"]
    assert fields["timestamp"] == "1700000000"
    adapter = naive.adapter("k" * 64, "s" * 64, "pp")
    assert fields["sign"] == adapter._identity.sign(b"1700000000GET/users/self/verify")


def test_each_channel_is_subscribed_by_itself():
    sent = [json.loads(each) for each in naive.adapter().subscriptions("orders", NOW)]
    assert [each["args"][0]["channel"] for each in sent] == [
        "orders",
        "account",
        "positions",
        "balance_and_position",
    ]
    [stops] = naive.adapter().subscriptions("business", NOW)
    assert json.loads(stops)["args"] == [{"channel": "orders-algo", "instType": "ANY"}]


def test_stop_orders_are_heard_beside_the_address_of_orders():
    adapter = naive.adapter()
    assert adapter.dialect.more_private_routes == ("business",)
    for base in ("wss://ws.okx.com:8443/ws/v5", "ws://127.0.0.1:9101/okx/ws/v5"):
        where = Endpoints("https://elsewhere", {"orders": f"{base}/private"})
        assert adapter.ws_url("orders", where, "") == f"{base}/private"
        assert adapter.ws_url("business", where, "") == f"{base}/business"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"pong", NoticeKind.PONG),
        (b'{"event":"login","code":"0","msg":""}', NoticeKind.LOGGED_IN),
        (b'{"event":"error","code":"60009","msg":"Login failed."}', NoticeKind.LOGIN_REFUSED),
        (b'{"event":"error","code":"60018","msg":"wrong"}', NoticeKind.SUBSCRIPTION_REFUSED),
        (b'{"event":"notice","code":"64008","msg":"soon"}', NoticeKind.ENDING),
        (
            b'{"event":"channel-conn-count-error","channel":"orders","connCount":"30"}',
            NoticeKind.SUBSCRIPTION_REFUSED,
        ),
    ],
)
def test_messages_about_the_connection_are_notices(message, kind):
    [notice] = naive.adapter().read("orders", message, TABLE)
    assert notice.kind is kind


@pytest.mark.parametrize("message", [b"{", b"[]", b'{"arg":{"channel":"orders"}}', b"{}"])
def test_what_cannot_be_read_is_an_error(message):
    with pytest.raises(ValueError):
        naive.adapter().read("orders", message, TABLE)


# -- pushes ---------------------------------------------------------------------------------------
def test_a_trade_is_told_with_what_it_cost():
    [fill] = push(**TRADE)
    assert fill.kind is ReportKind.FILL
    assert (fill.last_price, fill.last_quantity, fill.filled) == (612344, 50, 50)
    assert (fill.fee, fill.decimals, fill.asset) == (125, 4, "USDT")
    assert (fill.trade_id, fill.liquidity) == (900, Liquidity.MAKER)
    assert fill.exchange_ns == 1_700_000_000_100_000_000


def test_a_rebate_is_a_negative_fee():
    [fill] = push(**TRADE | {"fillFee": "0.01"})
    assert (fill.fee, fill.decimals) == (-1, 2)


@pytest.mark.parametrize(
    ("fields", "quantity"),
    [
        ({"tgtCcy": "quote_ccy", "sz": "100"}, 0),
        ({"tgtCcy": "", "sz": "100"}, 0),
        ({"tgtCcy": "base_ccy", "sz": "0.5"}, 50_000_000),
        ({"tgtCcy": "", "side": "sell", "sz": "0.5"}, 50_000_000),
        ({"tgtCcy": "", "ordType": "limit", "sz": "0.5"}, 50_000_000),
    ],
)
def test_an_amount_of_the_quote_currency_is_no_quantity(fields, quantity):
    spot = {"instId": "BTC-USDT", "instType": "SPOT", "ordType": "market", "side": "buy"}
    [update] = push(**spot | fields)
    assert update.quantity == quantity


def test_a_filled_push_without_a_trade_tells_the_end_alone():
    [update] = push(state="filled", accFillSz="1.5")
    assert (update.kind, update.status) == (ReportKind.STATUS, OrderStatus.FILLED)
    assert update.filled == 150


@pytest.mark.parametrize(
    ("source", "reason", "kind"),
    [
        ("1", Reason.REQUESTED, ReportKind.CANCELED),
        ("20", Reason.DEAD_MAN, ReportKind.CANCELED),
        ("14", Reason.IMMEDIATE, ReportKind.EXPIRED),
        ("13", Reason.FILL_OR_KILL, ReportKind.EXPIRED),
        ("31", Reason.POST_ONLY, ReportKind.EXPIRED),
        ("32", Reason.SELF_TRADE, ReportKind.EXPIRED),
        ("3", Reason.LIQUIDATION, ReportKind.EXPIRED),
        ("6", Reason.DELEVERAGING, ReportKind.EXPIRED),
        ("22", Reason.REDUCE_ONLY, ReportKind.EXPIRED),
        ("15", Reason.PRICE_BAND, ReportKind.EXPIRED),
        ("99", Reason.SYSTEM, ReportKind.EXPIRED),
    ],
)
def test_the_source_of_a_cancel_says_why(source, reason, kind):
    [update] = push(state="canceled", cancelSource=source)
    assert (update.kind, update.reason) == (kind, reason)


def test_a_cancel_without_a_source_is_explained_by_the_orders_type():
    assert push(state="canceled", ordType="ioc")[0].reason is Reason.IMMEDIATE
    assert push(state="canceled", ordType="fok")[0].reason is Reason.FILL_OR_KILL
    assert push(state="canceled")[0].reason is Reason.REQUESTED


def test_a_trade_and_a_cancel_in_one_push_are_two_events():
    fill, end = push(**TRADE | {"state": "canceled", "cancelSource": "14", "ordType": "ioc"})
    assert (fill.kind, end.kind) == (ReportKind.FILL, ReportKind.EXPIRED)
    assert end.filled == 50


def test_the_result_of_an_amendment_names_its_request():
    [done] = push(amendResult="0", reqId="r11", px="61000")
    assert (done.kind, done.request_id, done.price) == (ReportKind.AMENDED, 11, 610000)
    [failed] = push(amendResult="-1", reqId="r11", code="51511")
    assert (failed.kind, failed.reason) == (ReportKind.AMEND_REJECTED, Reason.POST_ONLY)
    assert failed.venue_code == 51511
    [foreign] = push(amendResult="0", reqId="b12344")
    assert foreign.request_id == 0


def test_a_failed_amendment_that_cancels_is_told_as_both():
    rejected, end = push(amendResult="1", reqId="r11", state="canceled", cancelSource="1")
    assert (rejected.kind, end.kind) == (ReportKind.AMEND_REJECTED, ReportKind.CANCELED)


def test_an_amendment_to_the_filled_quantity_fills_the_order():
    amended, end = push(amendResult="0", reqId="r11", state="filled", sz="0.5", accFillSz="0.5")
    assert amended.kind is ReportKind.AMENDED
    assert (end.kind, end.status) == (ReportKind.STATUS, OrderStatus.FILLED)


def test_liquidations_and_deleveraging_are_forced():
    for category, reason in (
        ("full_liquidation", Reason.LIQUIDATION),
        ("adl", Reason.DELEVERAGING),
    ):
        [fill] = push(**TRADE | {"category": category, "clOrdId": ""})
        assert fill.flags & ReportFlag.FORCED
        assert fill.reason is reason


def test_an_order_that_a_trigger_made_is_told_as_triggered_first():
    first, second = push(clOrdId="", algoClOrdId="ti5", algoId="12")
    assert (first.kind, second.kind) == (ReportKind.TRIGGERED, ReportKind.OPEN)
    assert first.client_text == "ti5"
    assert first.venue_id == "77"


def test_an_order_of_an_unknown_instrument_is_an_alert():
    [notice] = push(instId="DOGE-USDT")
    assert notice.kind is NoticeKind.ALERT


# -- answers and errors ---------------------------------------------------------------------------
def reply(operation="order", code="0", **row):
    frame = {"id": "w1", "op": operation, "code": code, "msg": "m", "data": [row] if row else []}
    [answer] = naive.adapter().read("orders", json.dumps(frame).encode(), TABLE)
    assert isinstance(answer, Answer)
    return answer


def test_the_orders_own_code_goes_before_the_messages():
    answer = reply(code="1", ordId="", clOrdId="ti5", sCode="51008", sMsg="no money")
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.BALANCE)
    assert (answer.venue_code, answer.text) == (51008, "no money")


def test_an_accepted_order_is_not_open_yet():
    answer = reply(ordId="77", clOrdId="ti5", sCode="0", ts="1700000000005")
    [update] = answer.updates
    assert (update.kind, update.status) == (ReportKind.ACCEPTED, OrderStatus.ACCEPTED)
    assert (update.venue_id, update.client_text) == ("77", "ti5")


def test_an_accepted_cancel_is_not_the_end():
    [update] = reply("cancel-order", ordId="77", clOrdId="", sCode="0").updates
    assert update.kind is ReportKind.CANCEL_ACCEPTED


def test_a_limit_that_is_used_up_is_named():
    answer = reply("amend-order", code="50011")
    assert (answer.verdict, answer.limit) == (Verdict.LIMITED, limits.AMEND)
    assert answer.wait_s > 0
    assert reply(code="50061").limit == limits.NEW_AND_AMEND


@pytest.mark.parametrize(
    ("codes", "verdict", "reason"),
    [
        ("50004 50026 51054 51149 51412", Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        ("50001 50013 50040", Verdict.RETRY, Reason.BUSY),
        ("50011 50061", Verdict.LIMITED, Reason.RATE_LIMIT),
        ("50102 60006", Verdict.RETRY, Reason.TIMESTAMP),
        ("50113 50111 50105 60005 60009 60024", Verdict.REFUSED, Reason.AUTHENTICATION),
        ("51000", Verdict.REFUSED, Reason.PARAMETER),
        ("51001", Verdict.REFUSED, Reason.INSTRUMENT),
        ("51005 51020 51101 51120 51121 51202 51203", Verdict.REFUSED, Reason.QUANTITY),
        ("51006 51137 51138", Verdict.REFUSED, Reason.PRICE_BAND),
        ("51008", Verdict.REFUSED, Reason.BALANCE),
        ("51016 51065", Verdict.EXISTS, Reason.DUPLICATE_ID),
        ("51021 51022 51027 51028", Verdict.REFUSED, Reason.MARKET_CLOSED),
        ("51024 51155", Verdict.REFUSED, Reason.NOT_ALLOWED),
        ("51025 51102 51103", Verdict.REFUSED, Reason.TOO_MANY_ORDERS),
        ("51148 51169", Verdict.REFUSED, Reason.REDUCE_ONLY),
        ("51400 51405 51416 51503 51603", Verdict.GONE, Reason.UNKNOWN_ORDER),
        ("64007", Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        ("51401 51410 51509", Verdict.GONE, Reason.ALREADY_CLOSED),
        ("51402 51510", Verdict.GONE, Reason.ALREADY_FILLED),
        ("51511", Verdict.REFUSED, Reason.POST_ONLY),
        ("51512 59000 59101 59102 59107", Verdict.REFUSED, Reason.PARAMETER),
        ("59108", Verdict.REFUSED, Reason.BALANCE),
        ("50036", Verdict.REFUSED, Reason.TIMESTAMP),
        ("50037", Verdict.REFUSED, Reason.TIME),
        ("51999 58123", Verdict.REFUSED, Reason.OTHER),
        ("50999 7", Verdict.UNKNOWN, Reason.OTHER),
    ],
)
def test_each_class_of_codes_means_one_thing(codes, verdict, reason):
    for code in codes.split():
        assert errors.classify(int(code)) == (verdict, reason), code


def test_no_code_is_classified_twice():
    codes = [code for _, _, text in errors._GROUPS for code in text.split()]
    assert len(codes) == len(set(codes)) == len(errors.known())


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (500, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (503, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (408, Verdict.UNKNOWN, Reason.VENUE_UNSURE),
        (429, Verdict.LIMITED, Reason.RATE_LIMIT),
        (403, Verdict.LIMITED, Reason.BANNED),
        (401, Verdict.REFUSED, Reason.AUTHENTICATION),
        (404, Verdict.REFUSED, Reason.OTHER),
    ],
)
def test_an_answer_that_is_no_json_is_judged_by_its_status(status, verdict, reason):
    [call] = naive.adapter().order_call(new(), "w9", NOW)
    [answer] = naive.adapter().read_answer(call, status, {}, b"<html>", TABLE)
    assert (answer.wire_id, answer.verdict, answer.reason) == ("w9", verdict, reason)


def test_an_answer_that_cannot_be_read_leaves_the_fate_unknown():
    [call] = naive.adapter().order_call(new(), "w9", NOW)
    body = b'{"code":"0","data":[5]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert (answer.verdict, answer.reason) == (Verdict.UNKNOWN, Reason.VENUE_UNSURE)


def test_a_query_that_finds_nothing_says_so():
    [call] = naive.adapter().order_call(new(action=Action.QUERY), "w9", NOW)
    body = b'{"code":"51603","msg":"Order does not exist","data":[]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    assert (answer.verdict, answer.reason) == (Verdict.GONE, Reason.UNKNOWN_ORDER)


def test_a_stop_order_that_was_taken_waits_for_its_trigger():
    stop = new(order_type=OrderType.STOP_MARKET, stop_price=700000)
    [call] = naive.adapter().order_call(stop, "w9", NOW)
    body = b'{"code":"0","data":[{"algoId":"12","algoClOrdId":"ti5","sCode":"0","sMsg":""}]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    [update] = answer.updates
    assert (update.kind, update.status) == (ReportKind.OPEN, OrderStatus.UNTRIGGERED)
    assert (update.client_text, update.venue_id) == ("ti5", "algo-12")


def test_a_canceled_stop_order_has_ended():
    waiting = new(action=Action.CANCEL, venue_id="algo-12")
    [call] = naive.adapter().order_call(waiting, "w9", NOW)
    body = b'{"code":"0","data":[{"algoId":"12","sCode":"0","sMsg":""}]}'
    [answer] = naive.adapter().read_answer(call, 200, {}, body, TABLE)
    [update] = answer.updates
    assert (update.kind, update.venue_id) == (ReportKind.CANCELED, "algo-12")
    assert update.status == OrderStatus.CANCELED


def test_a_page_that_is_an_error_raises():
    adapter = naive.adapter()
    call, *_ = adapter.query_calls(Query.OPEN_ORDERS, [], 0, NOW)
    with pytest.raises(ValueError, match="50011"):
        adapter.read_page(Query.OPEN_ORDERS, call, b'{"code":"50011","msg":"x","data":[]}', TABLE)


def test_the_algo_prefix_keeps_ids_of_both_kinds_apart():
    assert requests.is_algo(new(venue_id="algo-1"))
    assert not requests.is_algo(new(venue_id="1", order_type=OrderType.STOP_MARKET))
    assert requests.is_algo(new(order_type=OrderType.STOP_MARKET))


def test_the_venues_clock_is_in_milliseconds():
    assert naive.adapter().parse_time(b'{"code":"0","data":[{"ts":"1700000000123"}]}') == (
        1_700_000_000_123
    )
    with pytest.raises(ValueError):
        naive.adapter().parse_time(b'{"code":"1","data":[]}')
