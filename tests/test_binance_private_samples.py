"""Every private sample of Binance becomes the right updates, or is named as not covered."""

import contextlib
import json
import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from engine.common import Side
from engine.secrets import Secret
from gateways.adapter import Call, Identity, Query
from gateways.binance import BinanceSpot, BinanceUsdm
from gateways.binance.requests import Mark
from gateways.message import Answer, Instrument, Notice, NoticeKind, Update, Verdict
from gateways.numbers import LARGEST
from gateways.types import AVERAGE_DECIMALS, Liquidity, MarginMode, OrderStatus, ReportKind
from tests import naive_binance_orders as naive
from tests.data import shared

DECIMALS = 8
"""Of prices and quantities: enough for all samples."""
VENUES = {"binance_spot": False, "binance_usdm": True}
_SYMBOL = re.compile(rb'"(?:s|symbol)": ?"([A-Z0-9_]{5,20})"')


def adapter_of(venue: str) -> BinanceSpot | BinanceUsdm:
    cls = BinanceUsdm if VENUES[venue] else BinanceSpot
    return cls(Identity(Secret("key"), lambda payload: ""))


def instruments_in(message: bytes) -> dict[str, Instrument]:
    symbols = sorted({symbol.decode() for symbol in _SYMBOL.findall(message)})
    return {
        symbol: Instrument(row, symbol, symbol, "", "", "", 1, DECIMALS, DECIMALS, 1, 1)
        for row, symbol in enumerate(symbols)
    }


def lines(path: str) -> list[bytes]:
    return [line for line in shared(path).read_bytes().splitlines() if line.strip()]


def plain(update: Update, instruments: dict[str, Instrument]) -> dict[str, Any]:
    """Return an update's fields as the naive decoder writes them."""
    names = {instrument.row: name for name, instrument in instruments.items()}
    scale, money = Decimal(1).scaleb(-DECIMALS), Decimal(1).scaleb(-update.decimals)
    of_asset = update.kind == ReportKind.BALANCE
    return {
        "kind": update.kind,
        "symbol": names.get(update.instrument, ""),
        "client_text": update.client_text,
        "venue_id": update.venue_id,
        "exchange_ns": update.exchange_ns,
        "price": update.price * scale,
        "quantity": update.quantity * (money if of_asset else scale),
        "filled": update.filled * scale,
        "available": update.available * money,
        "last_price": update.last_price * scale,
        "last_quantity": update.last_quantity * scale,
        "trade_id": update.trade_id,
        "fee": update.fee * money,
        "average": update.average_price * scale.scaleb(-AVERAGE_DECIMALS),
        "stop_price": update.stop_price * scale,
        "status": update.status,
        "reason": update.reason,
        "flags": update.flags,
        "side": update.side,
        "order_type": update.order_type,
        "time_in_force": update.time_in_force,
        "position_side": update.position_side,
        "liquidity": update.liquidity,
        "margin_mode": update.margin_mode,
        "asset": update.asset,
        "text": update.text,
    }


EMPTY = plain(Update(kind=ReportKind.OPEN), {})
REPEATED = ("price", "quantity", "status", "side", "order_type", "time_in_force")
"""What the trades in an answer repeat from their order: that is compared with the order's."""


def compare(updates: list[Update], wanted: list[naive.Told], message: bytes) -> None:
    instruments = instruments_in(message)
    ours = [plain(update, instruments) for update in updates]
    assert [each["kind"] for each in ours] == [each["kind"] for each in wanted]
    for mine, theirs in zip(ours, wanted, strict=True):
        for name, value in (EMPTY | theirs).items():
            if name in REPEATED and name not in theirs and theirs["kind"] == ReportKind.FILL:
                continue
            if name == "average":
                value = round(value, DECIMALS + AVERAGE_DECIMALS)
                if value.scaleb(DECIMALS + AVERAGE_DECIMALS) > LARGEST:
                    # Eight decimals of BTC/USD and six more: not told.
                    value = Decimal(0)
            assert mine[name] == value, (name, message)


# -- live events -------------------------------------------------------------------------------
EVENTS = [
    ("binance_spot", "executionReport"),
    ("binance_spot", "sequences/executionReport"),
    ("binance_spot", "outboundAccountPosition"),
    ("binance_spot", "sequences/outboundAccountPosition"),
    ("binance_usdm", "ORDER_TRADE_UPDATE"),
    ("binance_usdm", "sequences/ORDER_TRADE_UPDATE"),
    ("binance_usdm", "ACCOUNT_UPDATE"),
    ("binance_usdm", "sequences/ACCOUNT_UPDATE"),
    ("binance_usdm", "ALGO_UPDATE"),
    ("binance_usdm", "CONDITIONAL_ORDER_TRIGGER_REJECT"),
]
NOTICES = {
    ("binance_spot", "listStatus"): NoticeKind.IGNORED,
    ("binance_spot", "balanceUpdate"): NoticeKind.IGNORED,
    ("binance_spot", "sequences/balanceUpdate"): NoticeKind.IGNORED,
    ("binance_usdm", "TRADE_LITE"): NoticeKind.IGNORED,
    ("binance_usdm", "STRATEGY_UPDATE"): NoticeKind.IGNORED,
    ("binance_usdm", "GRID_UPDATE"): NoticeKind.IGNORED,
    ("binance_usdm", "ACCOUNT_CONFIG_UPDATE"): NoticeKind.IGNORED,
    ("binance_usdm", "sequences/ACCOUNT_CONFIG_UPDATE"): NoticeKind.IGNORED,
    ("binance_usdm", "MARGIN_CALL"): NoticeKind.ALERT,
    ("binance_usdm", "listenKeyExpired"): NoticeKind.KEY_EXPIRED,
}
NOT_COVERED_EVENTS = {
    ("binance_spot", "MARGIN_LEVEL_STATUS_CHANGE"): "of margin accounts, which we do not trade",
    ("binance_spot", "USER_LIABILITY_CHANGE"): "of margin accounts, which we do not trade",
}


@pytest.mark.parametrize(("venue", "name"), EVENTS)
def test_private_events_become_the_updates_of_the_naive_decoder(venue: str, name: str):
    adapter = adapter_of(venue)
    for message in lines(f"{venue}/private/{name}.jsonl"):
        told = adapter.read("private", message, instruments_in(message))
        updates = [each for each in told if isinstance(each, Update)]
        assert len(updates) == len(told)
        compare(updates, naive.event(message, VENUES[venue]), message)


@pytest.mark.parametrize(("place", "kind"), NOTICES.items())
def test_events_about_no_order_become_notices(place: tuple[str, str], kind: NoticeKind):
    venue, name = place
    for message in lines(f"{venue}/private/{name}.jsonl"):
        (notice,) = adapter_of(venue).read("private", message, instruments_in(message))
        assert isinstance(notice, Notice)
        assert notice.kind == kind


@pytest.mark.parametrize(("venue", "name"), NOT_COVERED_EVENTS)
def test_events_that_are_not_covered_are_refused_and_not_misread(venue: str, name: str):
    for message in lines(f"{venue}/private/{name}.jsonl"):
        with pytest.raises(ValueError, match="unknown kind"):
            adapter_of(venue).read("private", message, instruments_in(message))


@pytest.mark.parametrize("venue", VENUES)
def test_every_kind_of_private_event_is_covered_or_named(venue: str):
    folder = shared(f"{venue}/private")
    names = {str(path.relative_to(folder))[: -len(".jsonl")] for path in folder.rglob("*.jsonl")}
    listed = [*EVENTS, *NOTICES, *NOT_COVERED_EVENTS]
    assert names == {name for its_venue, name in listed if its_venue == venue}


# -- REST --------------------------------------------------------------------------------------
Naive = Callable[[Any, bool], list[naive.Told]]


def each(decode: Callable[[dict[str, Any]], naive.Told]) -> Naive:
    return lambda body, futures: [decode(one) for one in body]


def algo_list(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.algo(one, ReportKind.STATUS) for one in body]


def order_list(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.order(one, futures) | {"kind": ReportKind.STATUS} for one in body]


def trade_list(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.trade(one, futures) for one in body]


def one_status(body: Any, futures: bool) -> list[naive.Told]:
    return order_list([body], futures)


def one_canceled(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.canceled(body, futures)]


def all_canceled(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.canceled(one, futures) for one in body]


def one_amended(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.order(body.get("amendedOrder", body), futures) | {"kind": ReportKind.AMENDED}]


def one_replaced(body: Any, futures: bool) -> list[naive.Told]:
    return naive.replaced(body.get("data", body))


def one_algo(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.algo(body, ReportKind.ACCEPTED)]


def queried_algo(body: Any, futures: bool) -> list[naive.Told]:
    return algo_list([body], futures)


def algo_canceled(body: Any, futures: bool) -> list[naive.Told]:
    return [
        {
            "kind": ReportKind.CANCEL_ACCEPTED,
            "client_text": body["clientAlgoId"],
            "venue_id": f"a{body['algoId']}",
        }
    ]


def nothing(body: Any, futures: bool) -> list[naive.Told]:
    return []


def balances(body: Any, futures: bool) -> list[naive.Told]:
    return [naive.balance(one) for one in (body if futures else body["balances"])]


SPOT_ANSWERS: dict[str, tuple[Mark, Naive]] = {
    **dict.fromkeys(
        (
            "rest_CreateOrder",
            "rest_CreateOrderId",
            "rest_new_order_full",
            "POST_api_v3_order",
            "rest_account_limit_buy",
            "rest_account_limit_sell",
            "rest_account_market_buy",
            "rest_account_market_sell",
            "rest_account_stop_limit_buy",
            "rest_account_stop_limit_sell",
        ),
        (Mark.NEW, naive.placed),
    ),
    "POST_api_v3_order_cancelReplace": (Mark.REPLACE, one_replaced),
    "PUT_api_v3_order_amend_keepPriority": (Mark.KEEP_PRIORITY, one_amended),
    "DELETE_api_v3_order": (Mark.CANCEL, one_canceled),
    "rest_CancelOrder": (Mark.CANCEL, one_canceled),
    "DELETE_api_v3_openOrders": (Mark.CANCEL_ALL, all_canceled),
    "GET_api_v3_order": (Mark.QUERY, one_status),
    "rest_GetOrder": (Mark.QUERY, one_status),
    "rest_account_order_status": (Mark.QUERY, one_status),
}
SPOT_PAGES: dict[str, tuple[Query, Naive]] = {
    "GET_api_v3_openOrders": (Query.OPEN_ORDERS, order_list),
    "rest_open-orders": (Query.OPEN_ORDERS, order_list),
    "rest_ListOpenOrders": (Query.OPEN_ORDERS, order_list),
    "GET_api_v3_allOrders": (Query.OPEN_ORDERS, order_list),
    "rest_ListOrders": (Query.OPEN_ORDERS, order_list),
    "GET_api_v3_myTrades": (Query.FILLS, trade_list),
    "rest_ListTrades": (Query.FILLS, trade_list),
    "GET_api_v3_account": (Query.BALANCES, balances),
    "rest_GetAccount": (Query.BALANCES, balances),
}
USDM_ANSWERS: dict[str, tuple[Mark, Naive]] = {
    **dict.fromkeys(
        (
            "rest_CreateOrder",
            "rest_CreateOrderId",
            "POST_fapi_v1_order",
            "rest_account_stop_market_close_position_buy",
            "rest_account_stop_market_close_position_sell",
        ),
        (Mark.NEW, naive.placed),
    ),
    "PUT_fapi_v1_order": (Mark.MODIFY, one_amended),
    "DELETE_fapi_v1_order": (Mark.CANCEL, one_canceled),
    "rest_CancelOrder": (Mark.CANCEL, one_canceled),
    **dict.fromkeys(
        ("GET_fapi_v1_order", "GET_fapi_v1_openOrder", "rest_GetOrder", "rest_order"),
        (Mark.QUERY, one_status),
    ),
    "POST_fapi_v1_algoOrder": (Mark.NEW_ALGO, one_algo),
    "GET_fapi_v1_algoOrder": (Mark.QUERY_ALGO, queried_algo),
    "DELETE_fapi_v1_algoOrder": (Mark.CANCEL_ALGO, algo_canceled),
    "rest_CancelAllOpenOrders": (Mark.CANCEL_ALL, nothing),
    **dict.fromkeys(
        (
            "POST_fapi_v1_leverage",
            "rest_account_change_initial_leverage",
            "POST_fapi_v1_marginType",
        ),
        (Mark.SETTING, nothing),
    ),
    "POST_fapi_v1_countdownCancelAll": (Mark.DEAD_MAN, nothing),
}
USDM_PAGES: dict[str, tuple[Query, Naive]] = {
    **dict.fromkeys(
        (
            "GET_fapi_v1_openOrders",
            "GET_fapi_v1_allOrders",
            "rest_ListOrders",
            "rest_futures_account_orders",
        ),
        (Query.OPEN_ORDERS, order_list),
    ),
    "GET_fapi_v1_openAlgoOrders": (Query.OPEN_ORDERS, algo_list),
    "GET_fapi_v1_allAlgoOrders": (Query.OPEN_ORDERS, algo_list),
    "GET_fapi_v1_userTrades": (Query.FILLS, trade_list),
    "rest_futures_account_trades": (Query.FILLS, trade_list),
    **dict.fromkeys(
        ("GET_fapi_v3_balance", "rest_GetBalance", "rest_balance"), (Query.BALANCES, balances)
    ),
    **dict.fromkeys(
        (
            "GET_fapi_v2_positionRisk",
            "GET_fapi_v3_positionRisk",
            "rest_GetPositionRisk",
            "rest_position_risk",
            "rest_futures_account_positions_one_way",
        ),
        (Query.POSITIONS, each(naive.position)),
    ),
}
ANSWERS = {"binance_spot": SPOT_ANSWERS, "binance_usdm": USDM_ANSWERS}
PAGES = {"binance_spot": SPOT_PAGES, "binance_usdm": USDM_PAGES}
STREAM_KEYS = {
    "binance_spot": ("POST_api_v3_userDataStream", "rest_StartUserStream"),
    "binance_usdm": ("POST_fapi_v1_listenKey", "PUT_fapi_v1_listenKey"),
}
TOO_FINE = (
    "rest_account_market_buy_using_quote_quantity",
    "rest_account_market_sell_using_quote_quantity",
)
"""Made-up samples with quantities of 15 decimals, which no symbol has."""
BATCH = "orders go one by one"
LISTS = "there are no order lists among our types"
PUBLIC = "market data: the feed's"
OTHER = "we do not ask for it"
NOT_COVERED = {
    r".*[bB]atchOrders": BATCH,
    r"order_test|.*_order_test": "we send no test orders",
    r".*(orderList|OrderList|_oco|OCO|orderList_\w+)": LISTS,
    r".*(klines|Klines|depth|Depth|ticker|ticker_\w+|Ticker|[tT]rades|avgPrice)": PUBLIC,
    r".*([pP]rice\w*|24hr\w*|historicalBlockTrades|executionRules|tradingSchedule)": PUBLIC,
    r".*([oO]penInterest|[lL]ongShort|longshort|long_short|[bB]asis|[bB]ookTicker)\w*": PUBLIC,
    r".*(TakerLong|takerlong|takerBuySell|[iI]ndex|[cC]onstituents|insuranceBalance)\w*": PUBLIC,
    r".*([pP]remiumIndex|[fF]undingRate|funding_rate|fundingInfo|LvtKlines)\w*": PUBLIC,
    r".*sapi.*": "of margin accounts and wallets",
    r".*(sor_order|order_amendments|myAllocations|myPreventedMatches|myFilters)": OTHER,
    r".*rateLimit_order": "each answer tells what is used",
    r".*(GetAccountSnapshot|GetAPIKeyPermission|apiTradingStatus|feeBurn)": OTHER,
    r".*(income|get_income_history|order_asyn|order_asyn_id|adlQuantile)": OTHER,
    r".*(symbolConfig|symbol_config|accountConfig|position_side_dual|positionMargin)": OTHER,
    r".*(LiquidationOrders|LeverageBracket)": OTHER,
    r"(GET_fapi_v[23]_account|rest_GetAccount)": "balances and positions have their own calls",
}


def of_names(table: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(venue, name) for venue, names in table.items() for name in names]


@pytest.mark.parametrize(("venue", "name"), of_names(ANSWERS))
def test_rest_answers_become_the_updates_of_the_naive_decoder(venue: str, name: str):
    mark, decode = ANSWERS[venue][name]
    for body in lines(f"{venue}/rest/{name}.jsonl"):
        parsed = json.loads(body)
        if isinstance(parsed, dict) and set(parsed) == {"data"}:
            # One source keeps the result below a key of its own.
            parsed = parsed["data"]
            body = json.dumps(parsed).encode()
        call = Call("POST", "/", tag=mark, wire_id="w")
        told = adapter_of(venue).read_answer(call, 200, {}, body, instruments_in(body))
        (answer,) = told
        assert isinstance(answer, Answer)
        assert (answer.wire_id, answer.verdict) == ("w", Verdict.ACCEPTED)
        compare(answer.updates, decode(parsed, VENUES[venue]), body)


@pytest.mark.parametrize(("venue", "name"), of_names(PAGES))
def test_results_of_queries_become_the_updates_of_the_naive_decoder(venue: str, name: str):
    query, decode = PAGES[venue][name]
    for body in lines(f"{venue}/rest/{name}.jsonl"):
        call = Call("GET", "/", tag=query)
        updates = adapter_of(venue).read_page(query, call, body, instruments_in(body))
        compare(list(updates), decode(json.loads(body), VENUES[venue]), body)


@pytest.mark.parametrize("name", TOO_FINE)
def test_an_answer_that_cannot_be_read_still_says_that_the_order_was_taken(name: str):
    for body in lines(f"binance_spot/rest/{name}.jsonl"):
        call = Call("POST", "/", tag=Mark.NEW, wire_id="w")
        adapter = adapter_of("binance_spot")
        (answer,) = adapter.read_answer(call, 200, {}, body, instruments_in(body))
        assert isinstance(answer, Answer)
        assert (answer.verdict, answer.updates) == (Verdict.ACCEPTED, [])
        assert "more than 8 decimals" in answer.text


@pytest.mark.parametrize(("venue", "names"), STREAM_KEYS.items())
def test_stream_keys_are_read(venue: str, names: tuple[str, ...]):
    for name in names:
        for body in lines(f"{venue}/rest/{name}.jsonl"):
            assert adapter_of(venue).parse_stream_key(body) == json.loads(body)["listenKey"]


@pytest.mark.parametrize("venue", VENUES)
def test_every_error_body_is_a_verdict_other_than_accepted(venue: str):
    for body in lines(f"{venue}/rest/error_body.jsonl"):
        call = Call("POST", "/", tag=Mark.NEW, wire_id="w")
        (answer,) = adapter_of(venue).read_answer(call, 400, {}, body, {})
        assert isinstance(answer, Answer)
        if answer.venue_code != -4059:
            # -4059: there was nothing to change, which is what was wanted.
            assert answer.verdict != Verdict.ACCEPTED
        assert answer.venue_code == json.loads(body)["code"]


@pytest.mark.parametrize("venue", VENUES)
def test_every_kind_of_rest_sample_is_covered_or_named(venue: str):
    names = {path.name.split(".jsonl")[0] for path in shared(f"{venue}/rest").iterdir()}
    names -= {*ANSWERS[venue], *PAGES[venue], *STREAM_KEYS[venue], *TOO_FINE, "error_body"}
    left = {name for name in names if not any(re.fullmatch(p, name) for p in NOT_COVERED)}
    assert left == set()


# -- the WebSocket API -------------------------------------------------------------------------
WEBSOCKET: dict[tuple[str, str], tuple[Mark, Naive]] = {
    ("binance_spot", "order.place"): (Mark.NEW, naive.placed),
    ("binance_spot", "order.cancel"): (Mark.CANCEL, one_canceled),
    ("binance_spot", "order.cancelReplace"): (Mark.REPLACE, one_replaced),
    ("binance_spot", "order.amend.keepPriority"): (Mark.KEEP_PRIORITY, one_amended),
    ("binance_spot", "order.status"): (Mark.QUERY, one_status),
    ("binance_usdm", "order.place"): (Mark.NEW, naive.placed),
    ("binance_usdm", "order.cancel"): (Mark.CANCEL, one_canceled),
    ("binance_usdm", "order.modify"): (Mark.MODIFY, one_amended),
    ("binance_usdm", "order.status"): (Mark.QUERY, one_status),
    ("binance_usdm", "algoOrder.place"): (Mark.NEW_ALGO, one_algo),
    ("binance_usdm", "algoOrder.cancel"): (Mark.CANCEL_ALGO, algo_canceled),
}
WEBSOCKET_NOTICES = {
    "session.logon": (Mark.LOGON, NoticeKind.LOGGED_IN),
    "userDataStream.subscribe": (Mark.SUBSCRIBE, NoticeKind.SUBSCRIBED),
    "userDataStream.subscribe.signature": (Mark.SUBSCRIBE, NoticeKind.SUBSCRIBED),
}
CANCEL_ALL = "openOrders.cancelAll"
NOT_COVERED_WEBSOCKET = {
    r"order\.test|sor\.order\.test": "we send no test orders",
    r"orderList\..*": LISTS,
    r"(ticker.*|uiKlines|klines|depth|avgPrice|trades\..*|blockTrades\..*)": PUBLIC,
    r"(exchangeInfo|time|ping)": "asked by REST, if at all",
    r"(my(Filters|Trades|PreventedMatches|Allocations)|account\..*|v2_account\..*)": "by REST",
    r"(allOrders|openOrders\.status|order\.amendments)": "by REST",
    r"(session\.(logout|status)|userDataStream\.(unsubscribe|start|stop|ping))": OTHER,
}


@pytest.mark.parametrize(("venue", "name"), WEBSOCKET)
def test_answers_by_websocket_become_the_updates_of_the_naive_decoder(venue: str, name: str):
    mark, decode = WEBSOCKET[venue, name]
    for line in lines(f"{venue}/ws_api/{name}.jsonl"):
        (told,) = adapter_of(venue).read("orders", marked(line, mark), instruments_in(line))
        assert isinstance(told, Answer)
        assert (told.wire_id, told.verdict) == ("w17", Verdict.ACCEPTED)
        compare(told.updates, decode(json.loads(line)["result"], VENUES[venue]), line)


def test_an_answer_to_a_request_of_others_tells_no_more_than_that_it_took_effect():
    for line in lines("binance_spot/ws_api/order.place.jsonl"):
        (told,) = adapter_of("binance_spot").read("orders", line, instruments_in(line))
        assert isinstance(told, Answer)
        assert (told.verdict, told.updates) == (Verdict.ACCEPTED, [])


def marked(line: bytes, mark: Mark) -> bytes:
    """Return an answer as it comes for a request of ours: with its id."""
    return json.dumps(json.loads(line) | {"id": f"w17_{mark}"}).encode()


@pytest.mark.parametrize("name", WEBSOCKET_NOTICES)
def test_answers_about_the_session_become_notices(name: str):
    mark, kind = WEBSOCKET_NOTICES[name]
    for message in lines(f"binance_spot/ws_api/{name}.jsonl"):
        (notice,) = adapter_of("binance_spot").read("orders", marked(message, mark), {})
        assert isinstance(notice, Notice)
        assert notice.kind == kind


def test_canceling_all_tells_of_each_order_also_of_those_in_lists():
    for message in lines(f"binance_spot/ws_api/{CANCEL_ALL}.jsonl"):
        told = marked(message, Mark.CANCEL_ALL)
        (answer,) = adapter_of("binance_spot").read("orders", told, instruments_in(message))
        assert isinstance(answer, Answer)
        reports = [
            report
            for entry in json.loads(message)["result"]
            for report in ([entry] if "orderId" in entry else entry["orderReports"])
        ]
        compare(answer.updates, [naive.canceled(each, False) for each in reports], message)


@pytest.mark.parametrize("venue", VENUES)
def test_every_kind_of_websocket_answer_is_covered_or_named(venue: str):
    names = {path.stem for path in shared(f"{venue}/ws_api").glob("*.jsonl")}
    names -= {name for its_venue, name in WEBSOCKET if its_venue == venue}
    names -= {*WEBSOCKET_NOTICES, CANCEL_ALL}
    left = {n for n in names if not any(re.fullmatch(p, n) for p in NOT_COVERED_WEBSOCKET)}
    assert left == set()


@pytest.mark.parametrize("venue", VENUES)
def test_the_used_share_of_the_limits_is_read_from_every_websocket_answer(venue: str):
    adapter = adapter_of(venue)
    names = {limit.name for limit in adapter.limits}
    for path in sorted(shared(f"{venue}/ws_api").glob("*.jsonl")):
        for message in path.read_bytes().splitlines():
            # Two sources keep the limits inside the result: those are samples of the limits.
            limits = json.loads(message).get("rateLimits", [])
            used = adapter.usage({}, message)
            if limits:
                assert [units for _, units in used] == [entry["count"] for entry in limits]
            assert {cost.limit for cost, _ in used} <= names


# -- damaged messages --------------------------------------------------------------------------
def damaged(rng: random.Random, value: Any) -> Any:
    """Return a JSON value with one thing in it taken away, or of another type."""
    if isinstance(value, dict) and value:
        name = rng.choice(sorted(value))
        rest = {key: each for key, each in value.items() if key != name}
        return rest if rng.random() < 0.3 else rest | {name: damaged(rng, value[name])}
    if isinstance(value, list) and value:
        return [damaged(rng, value[0]), *value[1:]]
    return rng.choice([None, [], {}, "", "x", "1e999", -1, True, 2**70, {"a": 1}])


@pytest.mark.parametrize("venue", VENUES)
def test_a_damaged_message_is_read_or_refused_with_a_value_error(venue: str):
    rng, adapter = random.Random(5), adapter_of(venue)
    paths = [path for kind in ("private", "ws_api") for path in shared(f"{venue}/{kind}").iterdir()]
    for path in sorted(path for path in paths if path.suffix == ".jsonl"):
        for line in path.read_bytes().splitlines():
            for _ in range(40):
                message = json.dumps(damaged(rng, json.loads(line))).encode()
                with contextlib.suppress(ValueError):
                    adapter.read("orders", message, instruments_in(line))


@pytest.mark.parametrize("venue", VENUES)
def test_a_damaged_answer_by_rest_is_always_an_answer(venue: str):
    rng, adapter = random.Random(6), adapter_of(venue)
    for name, (mark, _) in ANSWERS[venue].items():
        call = Call("POST", "/", tag=mark, wire_id="w")
        for line in lines(f"{venue}/rest/{name}.jsonl"):
            for status in (200, 400, 503):
                body = json.dumps(damaged(rng, json.loads(line))).encode()
                (answer,) = adapter.read_answer(call, status, {}, body, instruments_in(line))
                assert isinstance(answer, Answer)
                assert (answer.verdict == Verdict.ACCEPTED) == (status == 200)


# -- the same answers, as ccxt reads them ------------------------------------------------------
CCXT_NOT_COVERED = {
    **dict.fromkeys(
        (
            "fetchTrades",
            "fetchOrderBook",
            "fetchOHLCV",
            "fetchTicker",
            "fetchFundingRateHistory",
            "fetchOpenInterest",
            "fetchFundingRate",
        ),
        PUBLIC,
    ),
    "fetchBalance binance_usdm": "ccxt reads the whole account, we ask for the balances",
}
CCXT_MARKS = {
    "createOrder": Mark.NEW,
    "cancelOrder": Mark.CANCEL,
    "fetchOrder": Mark.QUERY,
    "setLeverage": Mark.SETTING,
}
CCXT_QUERIES = {
    "fetchOrders": Query.OPEN_ORDERS,
    "fetchOpenOrders": Query.OPEN_ORDERS,
    "fetchMyTrades": Query.FILLS,
    "fetchBalance": Query.BALANCES,
    "fetchPositionsRisk": Query.POSITIONS,
}
CCXT_STATES = {
    "open": (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED, OrderStatus.UNTRIGGERED),
    "closed": (OrderStatus.FILLED,),
    "canceled": (OrderStatus.CANCELED,),
}


def close(ours: Decimal, theirs: float | None) -> None:
    """Compare with a float; ccxt does not know what is None, nor do we know what is 0."""
    if theirs is not None and ours:
        assert abs(ours - Decimal(str(theirs))) <= abs(ours) * Decimal("1e-9")


def as_order(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine["venue_id"] == theirs["id"]
    # ccxt calls a canceled order by the cancellation's id.
    original = theirs["info"].get("origClientOrderId")
    assert mine["client_text"] == (original or theirs["clientOrderId"] or "")
    assert mine["status"] in CCXT_STATES[theirs["status"]]
    assert Side[theirs["side"].upper()] == mine["side"]
    for field, name in (("price", "price"), ("quantity", "amount"), ("filled", "filled")):
        close(mine[field], theirs[name])
    close(mine["average"], theirs["average"])


def as_trade(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert (str(mine["trade_id"]), mine["venue_id"]) == (theirs["id"], theirs["order"])
    assert Side[theirs["side"].upper()] == mine["side"]
    assert Liquidity[theirs["takerOrMaker"].upper()] == mine["liquidity"]
    assert mine["asset"] == theirs["fee"]["currency"]
    for field, value in (
        ("last_price", theirs["price"]),
        ("last_quantity", theirs["amount"]),
        ("fee", theirs["fee"]["cost"]),
    ):
        close(mine[field], value)


def as_position(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    close(abs(mine["quantity"]), theirs["contracts"])
    close(mine["average"], theirs["entryPrice"])
    if theirs["marginMode"] and "marginType" in theirs["info"]:
        assert MarginMode[theirs["marginMode"].upper()] == mine["margin_mode"]


def told_of(case: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """Return what we read from a case's answer."""
    adapter, instruments = adapter_of(case["venue"]), instruments_in(body)
    updates: list[Update]
    if (mark := CCXT_MARKS.get(case["method"])) is not None:
        call = Call("POST", "/", tag=mark, wire_id="w")
        (answer,) = adapter.read_answer(call, 200, {}, body, instruments)
        assert isinstance(answer, Answer)
        assert answer.verdict == Verdict.ACCEPTED
        updates = answer.updates
    else:
        query = CCXT_QUERIES[case["method"]]
        updates = list(adapter.read_page(query, Call("GET", "/"), body, instruments))
    return [plain(update, instruments) for update in updates]


def compare_with_ccxt(case: dict[str, Any]) -> None:
    method, parsed = case["method"], case["parsedResponse"]
    mine = told_of(case, json.dumps(case["httpResponse"]).encode())
    if method == "setLeverage":
        assert mine == []
    elif method == "fetchBalance":
        for each in mine:
            close(each["quantity"], parsed[each["asset"]]["total"])
            close(each["available"], parsed[each["asset"]]["free"])
    elif method == "fetchMyTrades":
        for each, theirs in zip(mine, parsed, strict=True):
            as_trade(each, theirs)
    elif method == "fetchPositionsRisk":
        # ccxt leaves positions out that are closed.
        held = [each for each in mine if each["quantity"]]
        for each, theirs in zip(held, [p for p in parsed if p["contracts"]], strict=True):
            as_position(each, theirs)
    else:
        orders = [each for each in mine if each["kind"] != ReportKind.FILL]
        theirs = parsed if isinstance(parsed, list) else [parsed]
        for each, one in zip(orders, theirs, strict=True):
            as_order(each, one)


def test_the_response_cases_of_ccxt_hold_or_are_named():
    cases = json.loads(shared("ccxt_generated/response/binance.json").read_text())["methods"]
    held = 0
    for method, listed in cases.items():
        for case in listed:
            if method in CCXT_NOT_COVERED or f"{method} {case['venue']}" in CCXT_NOT_COVERED:
                continue
            if any(name in case["raw_ref"]["file"] for name in TOO_FINE):
                continue
            compare_with_ccxt(case)
            held += 1
    assert held >= 45
