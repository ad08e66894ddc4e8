"""Every private message of Bybit in the shared data is read right, or named as not covered."""

import json
import random

import orjson
import pytest

from gateways.adapter import Call, Query
from gateways.message import NoticeKind, Verdict
from tests import naive_bybit_orders as naive
from tests.data import shared
from tests.spoiling import spoiled

NOT_COVERED = {
    "private": {
        "execution.fast": "without fees and most of the ids: the execution topic has the same",
        "greeks": "options",
        "spread": "spread trading",
    },
    "rest": {
        "GET_v5_account_borrow-history": "loans",
        "GET_v5_account_collateral-info": "loans",
        "GET_v5_account_info": "settings of the account",
        "GET_v5_account_trade-info-for-analysis": "the past",
        "GET_v5_account_transaction-log": "the past",
        "GET_v5_order_spot-borrow-check": "loans",
        "GET_v5_position_closed-pnl": "the past",
        "POST_v5_account_quick-repayment": "loans",
        "POST_v5_account_set-collateral-switch": "loans",
        "POST_v5_account_set-collateral-switch-batch": "loans",
        "POST_v5_account_set-hedging-mode": "settings of the account",
        "POST_v5_account_set-limit-px-action": "settings of the account",
        "POST_v5_account_set-margin-mode": "of the whole account: we switch instruments",
        "POST_v5_order_amend-batch": "options in the sample; amendments go one by one",
        "POST_v5_order_cancel-batch": "cancels go one by one, or all at once",
        "POST_v5_order_create-batch": "orders go one by one",
        "POST_v5_position_set-auto-add-margin": "margin is not moved by hand",
        "POST_v5_position_switch-mode": "settings of the account",
        "POST_v5_position_trading-stop": "stops are orders of their own",
        "RESULT_ONLY_account-get-account-info": "settings of the account",
        "RESULT_ONLY_account-get-collateral-info": "loans",
        "RESULT_ONLY_asset-get-all-coins-balance": "funding account",
        "RESULT_ONLY_asset-get-withdrawal-records": "funding account",
        "RESULT_ONLY_cancel-all-orders": "an answer of the former version of the interface",
        "RESULT_ONLY_market-get-historical-volatility": "public data",
        "RESULT_ONLY_market-get-public-trading-history": "public data",
        "RESULT_ONLY_market-get-tickers-inverse": "public data",
        "RESULT_ONLY_market-get-tickers-option": "public data",
        "RESULT_ONLY_position-get-closed-pnl": "the past",
        "RESULT_ONLY_user-get-api-key": "settings of the account",
        "rest_funding_history": "public data",
        "rest_linear_klines_btc": "public data",
        "rest_orderbook": "public data",
        "rest_trades_recent": "public data",
    },
}
OTHERS = ("GET_v5_market_", "GET_v5_spot-margin-trade_", "GET_v5_spread_")
OTHERS += ("POST_v5_spot-margin-trade_", "POST_v5_spread_")

SPOT_SAMPLES = {"rest_getOrderDetailsSpot", "RESULT_ONLY_get-history-orders"}
QUERIED = {
    "GET_v5_order_history",
    "GET_v5_order_realtime",
    "rest_order_partially_filled_rejected",
    "rest_orders_realtime_tp_sl",
    *SPOT_SAMPLES,
}
PAGES = {
    "GET_v5_account_wallet-balance": Query.BALANCES,
    "RESULT_ONLY_account-get-wallet-balance": Query.BALANCES,
    "rest_getWalletBalance": Query.BALANCES,
    "rest_wallet_balance": Query.BALANCES,
    "GET_v5_execution_list": Query.FILLS,
    "RESULT_ONLY_execution-get-execution-list": Query.FILLS,
    "GET_v5_position_list": Query.POSITIONS,
    "RESULT_ONLY_position-get-position-info": Query.POSITIONS,
    "rest_positions_with_open_time": Query.POSITIONS,
}
DONE = {
    "POST_v5_order_amend": "/v5/order/amend",
    "POST_v5_order_cancel": "/v5/order/cancel",
    "POST_v5_order_cancel-all": "/v5/order/cancel-all",
    "POST_v5_order_create": "/v5/order/create",
    "POST_v5_order_disconnected-cancel-all": "/v5/order/disconnected-cancel-all",
    "POST_v5_position_set-leverage": "/v5/position/set-leverage",
    "RESULT_ONLY_amend-order": "/v5/order/amend",
    "RESULT_ONLY_cancel-order": "/v5/order/cancel",
}
FAILED = {
    "error_body": Verdict.REFUSED,
    "rest_getOrderError": Verdict.REFUSED,
}
SETTLES = {"BTCUSDT": "USDT", "ETHPERP": "USDC"}


def lines(folder):
    for path in sorted(shared(f"bybit/{folder}").rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            if line.strip():
                yield path.stem, line


def samples(name):
    return [line for stem, line in lines("rest") if stem == name]


def enveloped(name, line):
    """Return an answer whole: some samples are a result without its envelope."""
    frame = json.loads(line)
    if name.startswith("RESULT_ONLY"):
        return {"retCode": 0, "retMsg": "OK", "result": frame, "time": naive.NOW_MS}
    return frame


def tidy(expected):
    return [naive.tidy(each) for each in expected]


def expected_topic(frame):
    """Return what a message says to the contracts' adapter."""
    topic, found = frame["topic"], []
    for row in frame["data"]:
        if topic == "wallet":
            found += naive.expected_wallet(row, frame["creationTime"])
        elif topic == "position":
            found.append(naive.expected_position(row))
        elif row["category"] != "linear":
            continue
        elif topic == "order":
            found.append(naive.expected_order(row))
        else:
            found.append(naive.expected_fill(row, SETTLES[row["symbol"]]))
    return found


def test_every_kind_of_private_sample_is_covered_or_named():
    for name, _ in lines("rest"):
        known = QUERIED | {*PAGES, *DONE, *FAILED, *NOT_COVERED["rest"]}
        assert name in known or name.startswith(OTHERS), name


def test_every_message_of_a_private_topic_says_what_a_slow_reader_says():
    adapter, count = naive.adapter(), 0
    for name, line in lines("private"):
        frame = json.loads(line)
        said = adapter.read("private", line, naive.CONTRACT_TABLE)
        if "topic" not in frame:
            wanted = {"auth": NoticeKind.LOGGED_IN, "subscribe": NoticeKind.SUBSCRIBED}
            kind = wanted[frame["op"]] if frame["success"] else NoticeKind.LOGIN_REFUSED
            assert [notice.kind for notice in said] == [kind]
            continue
        expected = [] if name in NOT_COVERED["private"] else expected_topic(frame)
        if not expected:
            # Of a topic or a category (options, spot) that is not ours.
            assert [event.kind for event in said] == [NoticeKind.IGNORED]
            continue
        assert [naive.view(each, naive.CONTRACTS) for each in said] == tidy(expected), line
        count += 1
    assert count >= 35


def test_the_spot_adapter_tells_of_spot_orders_and_of_balances_only():
    adapter, kinds = naive.adapter(spot=True), set()
    for _, line in lines("private"):
        frame = json.loads(line)
        for event in adapter.read("private", line, naive.SPOT_TABLE):
            if getattr(event, "instrument", -1) >= 0:
                assert frame["data"][0]["category"] == "spot"
                [row] = frame["data"]
                expected = naive.expected_order(row, spot=True)
                assert naive.view(event, naive.SPOT) == naive.tidy(expected)
            kinds.add((frame.get("topic"), type(event).__name__))
    assert ("order", "Update") in kinds
    assert ("wallet", "Update") in kinds
    assert ("position", "Update") not in kinds


def test_answers_of_the_trade_connection_are_read():
    for _, line in lines("ws_api"):
        frame = json.loads(line)
        [answer] = naive.adapter().read("orders", line, naive.CONTRACT_TABLE)
        assert (answer.wire_id, answer.verdict) == (frame["reqId"], Verdict.ACCEPTED)
        [update] = answer.updates
        assert update.venue_id == frame["data"]["orderId"]
        assert update.client_text == frame["data"]["orderLinkId"]


@pytest.mark.parametrize("name", sorted(QUERIED))
def test_an_answer_to_a_query_of_an_order_is_read(name):
    spot = name in SPOT_SAMPLES
    natives, table = (
        (naive.SPOT, naive.SPOT_TABLE) if spot else (naive.CONTRACTS, naive.CONTRACT_TABLE)
    )
    for line in samples(name):
        frame = enveloped(name, line)
        call = Call("GET", "/v5/order/realtime?", wire_id="w")
        [answer] = naive.adapter(spot).read_answer(call, 200, {}, orjson.dumps(frame), table)
        rows = frame["result"]["list"]
        expected = [naive.expected_order(row, "STATUS", spot) for row in rows]
        assert [naive.view(each, natives) for each in answer.updates] == tidy(expected)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_a_query_is_read(name):
    for line in samples(name):
        frame, query = enveloped(name, line), PAGES[name]
        body = orjson.dumps(frame)
        call = Call("GET", "/v5/x")
        found = naive.adapter().read_page(query, call, body, naive.CONTRACT_TABLE)
        expected = []
        for row in frame["result"]["list"]:
            if query is Query.BALANCES:
                expected += naive.expected_wallet(row, frame["time"])
            elif query is Query.POSITIONS:
                expected.append(naive.expected_position(row))
            else:
                expected.append(naive.expected_fill(row, SETTLES[row["symbol"]]))
        assert [naive.view(each, naive.CONTRACTS) for each in found] == tidy(expected)
        assert all(update.flags & 1 for update in found)


@pytest.mark.parametrize("name", DONE)
def test_an_answer_to_a_request_is_read(name):
    for line in samples(name):
        frame = enveloped(name, line)
        call = Call("POST", DONE[name], wire_id="w7")
        [answer] = naive.adapter().read_answer(call, 200, {}, orjson.dumps(frame), {})
        assert (answer.wire_id, answer.verdict) == ("w7", Verdict.ACCEPTED)
        for update in answer.updates:
            assert update.venue_id == frame["result"]["orderId"]


@pytest.mark.parametrize("name", FAILED)
def test_an_error_is_read(name):
    for line in samples(name):
        call = Call("POST", "/v5/order/create", wire_id="w")
        [answer] = naive.adapter().read_answer(call, 200, {}, line, {})
        assert answer.verdict is FAILED[name]
        assert answer.venue_code == json.loads(line)["retCode"]


def test_a_spoiled_message_is_read_or_refused_and_never_breaks_the_reader():
    rng, adapter, refused = random.Random(3), naive.adapter(), 0
    for _, line in lines("private"):
        for _ in range(40):
            message = orjson.dumps(spoiled(json.loads(line), rng))
            try:
                adapter.read("private", message, naive.CONTRACT_TABLE)
            except ValueError:
                refused += 1
    assert refused > 100
