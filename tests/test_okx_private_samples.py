"""Every private message of OKX in the shared data is read right, or named as not covered."""

import json
import random

import orjson
import pytest

from gateways.adapter import Call, Query
from gateways.message import Answer, Notice, NoticeKind, Update, Verdict
from gateways.okx import events
from gateways.types import ReportKind
from tests import naive_okx_orders as naive
from tests.data import shared
from tests.spoiling import spoiled

NOT_COVERED = {
    "private": {
        "account-greeks": "options",
        "algo-advance": "iceberg, time-weighted and trailing orders",
        "balance_and_position": "only its funding fees count: see test_okx_orders.py",
        "deposit-info": "funding account",
        "withdrawal-info": "funding account",
        "liquidation-warning": "the positions channel tells the margin that is left",
        "fills": "for VIP accounts, and without fees: the orders channel has the same trades",
    },
    "rest": {
        "GET_api_v5_account_account-position-risk": "risk figures",
        "GET_api_v5_account_adjust-leverage-info": "risk figures",
        "GET_api_v5_account_config": "settings of the account",
        "GET_api_v5_account_greeks": "options",
        "GET_api_v5_account_interest-accrued": "loans",
        "GET_api_v5_account_interest-limits": "loans",
        "GET_api_v5_account_interest-rate": "loans",
        "GET_api_v5_account_leverage-info": "leverage is set, and asked for nowhere",
        "GET_api_v5_account_max-avail-size": "risk figures",
        "GET_api_v5_account_max-size": "risk figures",
        "GET_api_v5_account_max-withdrawal": "funding account",
        "GET_api_v5_account_positions-history": "the past",
        "GET_api_v5_account_set-account-switch-precheck": "settings of the account",
        "GET_api_v5_account_spot-borrow-repay-history": "loans",
        "GET_api_v5_trade_account-rate-limit": "the local model of the limits",
        "GET_api_v5_trade_one-click-repay-history": "loans",
        "POST_api_v5_account_position_margin-balance": "margin is not moved by hand",
        "POST_api_v5_account_set-position-mode": "settings of the account",
        "POST_api_v5_trade_close-position": "positions are closed by orders",
        "POST_api_v5_trade_order-precheck": "risk figures",
    },
}
PUBLIC = ("GET_api_v5_market_", "GET_api_v5_public_", "GET_api_v5_rubik_", "rest_candlesticks")
PUBLIC += ("rest_funding_rate_history", "rest_index_price", "rest_order_book")

TRADE = "/api/v5/trade/"
STATUS = (f"{TRADE}order?", naive.expected_status)
ANSWERED = {
    "GET_api_v5_trade_order": STATUS,
    "GET_api_v5_trade_orders-history": STATUS,
    "GET_api_v5_trade_orders-history-archive": STATUS,
    "rest_orders_history": STATUS,
    "rest_orders_algo_history": (
        f"{TRADE}order-algo?",
        lambda row: naive.expected_algo(row, "STATUS"),
    ),
}
PAGES = {
    "GET_api_v5_account_balance": (Query.BALANCES, naive.expected_account),
    "GET_api_v5_account_positions": (Query.POSITIONS, naive.expected_positions),
    "rest_positions": (Query.POSITIONS, naive.expected_positions),
    "GET_api_v5_trade_fills": (Query.FILLS, naive.expected_trade),
    "rest_transaction_detail": (Query.FILLS, naive.expected_trade),
    "rest_transaction_detail_empty_fee": (Query.FILLS, naive.expected_trade),
    "GET_api_v5_trade_orders-pending": (Query.OPEN_ORDERS, naive.expected_status),
    "rest_orders_pending": (Query.OPEN_ORDERS, naive.expected_status),
    "rest_orders_pending_with_attached_tp_sl": (Query.OPEN_ORDERS, naive.expected_status),
}
DONE = {
    "POST_api_v5_account_set-leverage": "/api/v5/account/set-leverage",
    "POST_api_v5_trade_amend-algos": f"{TRADE}amend-algos",
    "POST_api_v5_trade_amend-batch-orders": f"{TRADE}amend-batch-orders",
    "POST_api_v5_trade_amend-order": f"{TRADE}amend-order",
    "POST_api_v5_trade_batch-orders": f"{TRADE}order",
    "POST_api_v5_trade_cancel-advance-algos": f"{TRADE}cancel-algos",
    "POST_api_v5_trade_cancel-all-after": f"{TRADE}cancel-all-after",
    "POST_api_v5_trade_cancel-batch-orders": f"{TRADE}cancel-order",
    "POST_api_v5_trade_cancel-order": f"{TRADE}cancel-order",
    "POST_api_v5_trade_order": f"{TRADE}order",
    "POST_api_v5_trade_order-algo": f"{TRADE}order-algo",
    "rest_cancel_algo_order": f"{TRADE}cancel-algos",
    "rest_place_algo_order": f"{TRADE}order-algo",
    "rest_place_order": f"{TRADE}order",
}
FAILED = {
    "error_body": Verdict.RETRY,
    "rest_place_algo_order_rejected": Verdict.REFUSED,
}
CHANNELS = {
    "orders": naive.expected_orders,
    "account": naive.expected_account,
    "positions": naive.expected_positions,
    "orders-algo": lambda row: naive.expected_algo(row, "OPEN"),
}
NOTICES = {
    "login": NoticeKind.LOGGED_IN,
    "subscribe": NoticeKind.SUBSCRIBED,
    "channel-conn-count": NoticeKind.IGNORED,
}


def lines(folder):
    for path in sorted(shared(f"okx/{folder}").rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            if line.strip():
                yield path.stem, line


def enveloped(line):
    """Return an answer whole: some samples are a row without its envelope."""
    frame = json.loads(line)
    return frame if "data" in frame else {"code": "0", "msg": "", "data": [frame]}


def tidy(expected):
    return [naive.tidy(each) for each in expected]


def views(updates):
    return [naive.view(update) for update in updates]


def test_every_kind_of_private_sample_is_covered_or_named():
    for name, _ in lines("rest"):
        known = {**ANSWERED, **PAGES, **DONE, **FAILED, **NOT_COVERED["rest"]}
        assert name in known or name.startswith(PUBLIC), name


def test_every_message_of_a_private_channel_says_what_a_slow_reader_says():
    count = 0
    for name, line in lines("private"):
        frame = json.loads(line)
        said = naive.adapter().read("orders", line, naive.INSTRUMENTS)
        if "event" in frame:
            assert [notice.kind for notice in said] == [NOTICES[frame["event"]]]
            continue
        channel = frame["arg"]["channel"]
        if channel not in CHANNELS:
            assert name in NOT_COVERED["private"], name
            assert [notice.kind for notice in said] == [NoticeKind.IGNORED]
            continue
        expected = [each for row in frame["data"] for each in CHANNELS[channel](row)]
        assert views(said) == tidy(expected), line
        count += 1
    assert count >= 75


def test_answers_of_the_order_connection_are_read():
    for name, line in lines("ws_api"):
        frame = json.loads(line)
        said = naive.adapter().read("orders", line, naive.INSTRUMENTS)
        assert len(said) == len(frame["data"]), name
        for answer, row in zip(said, frame["data"], strict=True):
            assert isinstance(answer, Answer)
            assert (answer.wire_id, answer.verdict) == (frame["id"], Verdict.ACCEPTED)
            assert all(update.venue_id == row["ordId"] for update in answer.updates)


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answer_to_a_query_of_an_order_is_read(name):
    path, expect = ANSWERED[name]
    for _, line in (each for each in lines("rest") if each[0] == name):
        call = Call("GET", path, wire_id="w")
        [answer] = naive.adapter().read_answer(call, 200, {}, line, naive.INSTRUMENTS)
        expected = [each for row in json.loads(line)["data"] for each in expect(row)]
        assert views(answer.updates) == tidy(expected)
        assert answer.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_a_query_is_read(name):
    query, expect = PAGES[name]
    for _, line in (each for each in lines("rest") if each[0] == name):
        frame = enveloped(line)
        call = Call("GET", f"{TRADE}orders-pending")
        body = orjson.dumps(frame)
        found = naive.adapter().read_page(query, call, body, naive.INSTRUMENTS)
        expected = [each for row in frame["data"] for each in expect(row)]
        assert views(found) == tidy(expected)
        assert all(isinstance(update, Update) and update.flags & 1 for update in found)


@pytest.mark.parametrize("name", DONE)
def test_an_answer_to_a_request_is_read(name):
    for _, line in (each for each in lines("rest") if each[0] == name):
        frame = enveloped(line)
        call = Call("POST", DONE[name], wire_id="w7")
        said = naive.adapter().read_answer(call, 200, {}, orjson.dumps(frame), naive.INSTRUMENTS)
        assert len(said) == len(frame["data"])
        for answer, row in zip(said, frame["data"], strict=True):
            assert (answer.wire_id, answer.verdict) == ("w7", Verdict.ACCEPTED)
            for update in answer.updates:
                assert update.venue_id.removeprefix("algo-") == row.get("ordId", row.get("algoId"))


@pytest.mark.parametrize("name", FAILED)
def test_an_error_is_read(name):
    for _, line in (each for each in lines("rest") if each[0] == name):
        call = Call("POST", f"{TRADE}order-algo", wire_id="w")
        [answer] = naive.adapter().read_answer(call, 200, {}, line, naive.INSTRUMENTS)
        assert answer.verdict is FAILED[name]
        assert answer.text


def test_trades_of_a_recorded_session_add_up_to_the_orders_filled_quantities():
    totals: dict[str, int] = {}
    filled: dict[str, int] = {}
    for name, line in lines("private"):
        if name != "okx_orders":
            continue
        for update in events.read(line, naive.INSTRUMENTS):
            if isinstance(update, Notice):
                continue
            if update.kind is ReportKind.FILL:
                totals[update.venue_id] = totals.get(update.venue_id, 0) + update.last_quantity
            filled[update.venue_id] = update.filled
    assert {venue for venue, total in totals.items() if total == filled[venue]} >= {
        "1852080340275494912",
        "1883432187116322816",
    }


def test_a_spoiled_message_is_read_or_refused_and_never_breaks_the_reader():
    rng, adapter, refused = random.Random(3), naive.adapter(), 0
    for _, line in lines("private"):
        for _ in range(40):
            message = orjson.dumps(spoiled(json.loads(line), rng))
            try:
                adapter.read("orders", message, naive.INSTRUMENTS)
            except ValueError:
                refused += 1
    assert refused > 100
