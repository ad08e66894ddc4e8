"""The private side of the simulated Bybit: topics, questions, orders by WebSocket, limits."""

import asyncio
import json
import time
from collections import deque
from decimal import Decimal

import aiohttp
import pytest

from tests.bybit_client import (
    CONTRACT,
    KEY,
    LINEAR,
    SPOT,
    SPOTS,
    ask,
    books,
    price,
    private,
    recorded,
    rows,
    sign,
    with_rest,
)
from tests.simulator_client import ended, message, shape

# What is told.


def test_the_messages_have_the_fields_of_recorded_ones():
    async def use(venue, rest):
        topics = ("order", "execution", "execution.fast", "position", "wallet")
        async with private(venue, *topics) as socket:
            await rest.create(orderType="Market")
            found = {}
            while set(found) != set(topics):
                received = await message(socket)
                found[received["topic"]] = received
            return found

    for topic, received in with_rest(use).items():
        old = {".data[].coin[].coin", ".data[].tpslMode"} if topic == "wallet" else set()
        missing = recorded(f"private/{topic}") - shape(received) - old - {".id"}
        assert missing <= {".data[].feeCurrency", ".data[].CreatedTime"}, topic


def test_a_categorised_topic_hears_of_its_category_only():
    async def use(venue, rest):
        async with private(venue, "order.spot") as socket:
            await rest.create(price=price(venue, 0.99))
            await rest.create(**SPOTS, price=price(venue, 0.99))
            received = await message(socket)
            return received["topic"], received["data"][0]["category"]

    assert with_rest(use) == ("order.spot", "spot")


@pytest.mark.parametrize(
    "topics", [["order", "order.linear"], ["orders"], ["order.swap"], [7], "order"]
)
def test_a_request_with_a_wrong_topic_is_refused_as_a_whole(topics):
    async def use(venue, rest):
        async with private(venue) as socket:
            await socket.send_json({"op": "subscribe", "args": topics, "req_id": "1"})
            reply = await message(socket)
            assert (reply["success"], reply["req_id"]) == (False, "1")

    with_rest(use)


def test_topics_need_a_signature():
    async def use(venue, rest):
        async with rest.http.ws_connect(f"{venue.base(CONTRACT, 'ws')}/v5/private") as socket:
            await socket.send_json({"op": "subscribe", "args": ["order"]})
            assert (await message(socket))["success"] is False
            expires = time.time_ns() // 1_000_000 + 5000
            await socket.send_json({"op": "auth", "args": [KEY, expires, "0" * 64]})
            assert (await message(socket))["success"] is False
            stale = expires - 10_000
            args = [KEY, stale, sign(f"GET/realtime{stale}")]
            await socket.send_json({"op": "auth", "args": args})
            return (await message(socket))["ret_msg"]

    assert with_rest(use) == "Params Error"


def test_both_addresses_answer_json_pings_each_its_way():
    async def use(venue, rest):
        async with private(venue) as events, private(venue, path="trade") as orders:
            await events.send_json({"op": "ping", "req_id": "7"})
            await orders.send_json({"op": "ping"})
            return await message(events), await message(orders)

    event, order = with_rest(use)
    assert (event["op"], event["req_id"], len(event["args"])) == ("pong", "7", 1)
    assert (order["op"], order["retCode"], len(order["data"])) == ("pong", 0, 1)


def test_a_silent_connection_is_cut_after_the_time_that_it_asks_for():
    async def use(venue, rest):
        async with private(venue, query="?max_active_time=30s") as socket:
            (session,) = venue.venues[CONTRACT].sessions
            assert session._rules.silence_s == 30.0
            session.keep(time.monotonic() + 31.0)
            await ended(socket)

    with_rest(use)


def test_funding_is_an_execution_that_changes_the_wallet():
    async def use(venue, rest):
        trading, account = books(venue)
        await rest.create(orderType="Market")
        before = account.balances["USDT"].total
        async with private(venue, "execution", "execution.fast", "wallet") as socket:
            trading.pay_funding("BTCUSDT", venue.venues[CONTRACT].now_ms())
            execution = await message(socket)
            wallet = await message(socket)
        _, listed = await rest.get("/v5/execution/list", **LINEAR)
        return execution, wallet, listed["list"], account.balances["USDT"].total - before

    execution, wallet, listed, change = with_rest(use)
    (row,) = execution["data"]
    assert (execution["topic"], row["execType"], row["orderType"]) == (
        "execution",
        "Funding",
        "UNKNOWN",
    )
    assert Decimal(row["execFee"]) == -change != 0
    assert wallet["topic"] == "wallet"
    assert [entry["execType"] for entry in listed] == ["Funding", "Trade"]


def test_a_liquidation_is_an_order_that_nobody_sent():
    async def use(venue, rest):
        trading, account = books(venue)
        await rest.create(orderType="Market")
        async with private(venue, "order", "execution") as socket:
            trading.liquidate(account, "BTCUSDT", venue.venues[CONTRACT].now_ms())
            seen = await rows(socket, 2)
            while not any("execType" in row for row in seen):
                seen += await rows(socket, 1)
            return seen

    seen = with_rest(use)
    assert {row["createType"] for row in seen} == {"CreateByLiq"}
    assert {row["execType"] for row in seen if "execType" in row} == {"BustTrade"}


# Questions.


def test_realtime_knows_ended_orders_by_id_and_on_request():
    async def use(venue, rest):
        _, first = await rest.create(price=price(venue, 0.99), orderLinkId="gone")
        await rest.post("/v5/order/cancel", **LINEAR, **first)
        await rest.create(price=price(venue, 0.99), orderLinkId="here")
        found = []
        for more in ({}, {"openOnly": "1"}, {"orderLinkId": "gone"}):
            _, result = await rest.get("/v5/order/realtime", **LINEAR, **more)
            found.append([row["orderLinkId"] for row in result["list"]])
        return found

    assert with_rest(use) == [["here"], ["gone"], ["gone"]]


def test_lists_come_in_pages_that_join():
    async def use(venue, rest):
        links = [f"n{number}" for number in range(5)]
        for link in links:
            await rest.create(price=price(venue, 0.99), orderLinkId=link)
        found, cursor = [], ""
        while cursor or not found:
            _, result = await rest.get("/v5/order/realtime", **LINEAR, limit=2, cursor=cursor)
            found += [row["orderLinkId"] for row in result["list"]]
            cursor = result["nextPageCursor"]
        return found

    assert with_rest(use) == ["n4", "n3", "n2", "n1", "n0"]


def test_a_span_of_more_than_seven_days_is_refused():
    async def use(venue, rest):
        now_ms = time.time_ns() // 1_000_000
        span = {"startTime": now_ms - 8 * 86_400_000, "endTime": now_ms}
        return (await rest.get("/v5/execution/list", category="linear", **span))[0]

    assert with_rest(use) == 10001


def test_positions_of_a_symbol_come_even_if_flat():
    async def use(venue, rest):
        _, one = await rest.get("/v5/position/list", **LINEAR)
        _, none = await rest.get("/v5/position/list", category="linear", settleCoin="USDT")
        assert (await rest.get("/v5/position/list", category="linear"))[0] == 10001
        return one["list"], none["list"]

    (flat,), none = with_rest(use)
    assert (flat["side"], Decimal(flat["size"]), flat["seq"]) == ("", 0, -1)
    assert none == []


@pytest.mark.parametrize(
    ("path", "parameters", "sample"),
    [
        ("/v5/order/realtime", LINEAR, "GET_v5_order_realtime"),
        ("/v5/order/history", {"category": "linear"}, "GET_v5_order_history"),
        ("/v5/execution/list", {"category": "linear"}, "GET_v5_execution_list"),
        ("/v5/position/list", LINEAR, "GET_v5_position_list"),
        ("/v5/account/wallet-balance", {"accountType": "UNIFIED"}, "GET_v5_account_wallet-balance"),
        ("/v5/account/info", {}, "GET_v5_account_info"),
        ("/v5/account/transaction-log", {}, "GET_v5_account_transaction-log"),
    ],
)
def test_answers_have_the_fields_of_recorded_ones(path, parameters, sample):
    async def use(venue, rest):
        await rest.create(orderType="Market")
        await rest.create(price=price(venue, 0.99))
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return (await rest.whole("GET", path, query=query))[2]

    missing = recorded(f"rest/{sample}") - shape(with_rest(use))
    assert missing <= {".result.list[].mmrSysUpdateTime"}  # the venue's own slip of the pen


def test_the_newest_public_trades_include_ours():
    async def use(venue, rest):
        await rest.create(orderType="Market")
        _, own = await rest.get("/v5/execution/list", **LINEAR)
        _, public = await rest.get("/v5/market/recent-trade", **LINEAR, limit=1)
        return own["list"][0], public["list"]

    own, (public,) = with_rest(use)
    assert public["execId"] == own["execId"]
    assert (public["side"], public["price"]) == ("Buy", own["execPrice"])


def test_one_wallet_stands_behind_contracts_and_spot():
    async def use(venue, rest):
        await rest.create(orderType="Market")
        await rest.create(**SPOTS, price=price(venue, 0.99), qty="1")
        _, wallet = await rest.get("/v5/account/wallet-balance", accountType="UNIFIED", coin="USDT")
        (coin,) = wallet["list"][0]["coin"]
        return coin, books(venue)[1].balances["USDT"], books(venue, SPOT)[1].balances["USDT"]

    coin, contract, spot = with_rest(use)
    assert contract is spot
    assert Decimal(coin["walletBalance"]) == spot.total
    assert Decimal(coin["locked"]) == spot.locked > 60_000
    assert Decimal(coin["totalPositionIM"]) > 60


@pytest.mark.parametrize("name", [CONTRACT, SPOT])
def test_either_address_serves_all_categories(name):
    async def use(venue, rest):
        codes = []
        for market, size in ((LINEAR, "0.01"), (SPOTS, "0.01")):
            codes.append((await rest.create(**market, price=price(venue, 0.99), qty=size))[0])
            path = "/v5/market/instruments-info"
            codes.append((await rest.get(path, **market))[0])
        return codes

    assert with_rest(use, name) == [0] * 4


def test_a_venue_alone_has_its_own_categories_only():
    async def use(venue, rest):
        return [(await rest.create(**market, price="60000"))[0] for market in (LINEAR, SPOTS)]

    assert with_rest(use, venues=[CONTRACT]) == [0, 10001]


def test_leverage_and_modes_are_set_once():
    async def use(venue, rest):
        leverage = LINEAR | {"buyLeverage": "5", "sellLeverage": "5"}
        codes = [(await rest.post("/v5/position/set-leverage", **leverage))[0] for _ in "ab"]
        hedge = {"category": "linear", "coin": "USDT", "mode": 3}
        codes += [(await rest.post("/v5/position/switch-mode", **hedge))[0] for _ in "ab"]
        isolated = LINEAR | {"tradeMode": 1, "buyLeverage": "5", "sellLeverage": "5"}
        codes += [(await rest.post("/v5/position/switch-isolated", **isolated))[0] for _ in "ab"]
        codes.append((await rest.post("/v5/position/trading-stop", **LINEAR))[0])
        return codes

    assert with_rest(use) == [0, 110043, 0, 110025, 0, 110026, 10001]


def test_open_orders_stand_in_the_way_of_another_position_mode():
    async def use(venue, rest):
        await rest.create(price=price(venue, 0.99))
        return (await rest.post("/v5/position/switch-mode", category="linear", mode=3))[0]

    assert with_rest(use) == 110028


# Orders by WebSocket.


def test_an_order_lives_by_websocket():
    async def use(venue, rest):
        order = LINEAR | {"side": "Buy", "orderType": "Limit", "qty": "0.01"}
        async with private(venue, path="trade") as socket:
            placed = await ask(socket, "order.create", "1", **order, price=price(venue, 0.99))
            number = placed["data"]["orderId"]
            amended = await ask(
                socket, "order.amend", "2", **LINEAR, orderId=number, price=price(venue, 0.98)
            )
            canceled = await ask(socket, "order.cancel", "3", **LINEAR, orderId=number)
            late = await ask(socket, "order.cancel", "4", **LINEAR, orderId=number)
        return placed, amended, canceled, late

    replies = with_rest(use)
    assert [reply["retCode"] for reply in replies] == [0, 0, 0, 110010]
    assert [reply["reqId"] for reply in replies] == ["1", "2", "3", "4"]
    assert recorded("ws_api/op_order.cancel") <= shape(replies[2])
    assert replies[0]["header"]["X-Bapi-Limit-Status"] == "9"


def test_a_batch_by_websocket_has_two_lists():
    async def use(venue, rest):
        good = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01"}
        orders = [good | {"price": price(venue, 0.99)}, good | {"price": "0.01"}]
        async with private(venue, path="trade") as socket:
            return await ask(socket, "order.create-batch", category="linear", request=orders)

    reply = with_rest(use)
    assert (reply["retCode"], reply["op"]) == (0, "order.create-batch")
    assert len(reply["data"]["list"]) == len(reply["retExtInfo"]["list"]) == 2


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"op": "order.create"}, 10001),
        ({"op": "order.place", "args": [{}]}, 10404),
        ({"op": "order.create", "args": [{"category": "swap"}]}, 10404),
        ({"op": "order.create", "args": [{"category": "linear"}], "header": {}}, 10001),
        (
            {
                "op": "order.create",
                "args": [{"category": "linear"}],
                "header": {"X-BAPI-TIMESTAMP": "1"},
            },
            10002,
        ),
        ({"op": "order.create", "args": [LINEAR], "reqId": "x" * 37}, 10001),
        ({"op": "auth", "args": [KEY, 1, ""]}, 10001),
    ],
)
def test_a_wrong_order_request_is_refused_with_its_code(request_, code):
    async def use(venue, rest):
        async with private(venue, path="trade") as socket:
            stamp = {"header": {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)}}
            await socket.send_json(stamp | request_)
            return (await message(socket))["retCode"]

    assert with_rest(use) == code


def test_a_request_id_is_used_once_and_nobody_signs_in_twice():
    async def use(venue, rest):
        async with private(venue, path="trade") as socket:
            codes = [
                (await ask(socket, "order.cancel", "7", **LINEAR, orderLinkId="x"))["retCode"]
                for _ in "ab"
            ]
            expires = time.time_ns() // 1_000_000 + 5000
            args = [KEY, expires, sign(f"GET/realtime{expires}")]
            await socket.send_json({"op": "auth", "args": args})
            return [*codes, (await message(socket))["retCode"]]

    assert with_rest(use) == [110001, 20006, 20001]


def test_orders_by_websocket_need_a_signature():
    async def use(venue, rest):
        async with rest.http.ws_connect(f"{venue.base(CONTRACT, 'ws')}/v5/trade") as socket:
            return (await ask(socket, "order.create", **LINEAR))["retCode"]

    assert with_rest(use) == 10003


# Limits.


@pytest.mark.parametrize(("market", "most"), [(LINEAR, 10), (SPOTS, 20)])
def test_a_user_has_so_many_requests_a_second(market, most):
    async def use(venue, rest):
        venue.venues[CONTRACT].now_ms = venue.venues[SPOT].now_ms = lambda: at_ms
        codes, left = [], deque(maxlen=most)
        for _ in range(most + 1):
            code, _ = await rest.post("/v5/order/cancel", **market, orderLinkId="x")
            codes.append(code)
            left.append(rest.headers["X-Bapi-Limit-Status"])
        assert rest.headers["X-Bapi-Limit"] == str(most)
        assert int(rest.headers["X-Bapi-Limit-Reset-Timestamp"]) == at_ms + 1000
        return codes, left[-1]

    # One second for all of them, and one that takes what is stamped within the next four.
    at_ms = time.time_ns() // 1_000_000 + 3000
    codes, left = with_rest(use)
    assert codes[-1] == 10006
    assert 10006 not in codes[:-1]
    assert left == "0"


def test_rest_and_websocket_share_a_limit():
    async def use(venue, rest):
        # One second for all of them, and one that takes what is stamped within the next four.
        at_ms = time.time_ns() // 1_000_000 + 3000
        venue.venues[CONTRACT].now_ms = lambda: at_ms
        for _ in range(10):
            await rest.post("/v5/order/cancel", **LINEAR, orderLinkId="x")
        async with private(venue, path="trade") as socket:
            return (await ask(socket, "order.cancel", **LINEAR, orderLinkId="x"))["retCode"]

    assert with_rest(use) == 10006


def test_what_a_batch_has_beyond_the_limit_fails():
    async def use(venue, rest):
        order = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001"}
        orders = [order | {"price": price(venue, 0.99)}] * 12
        body = json.dumps({"category": "linear", "request": orders})
        _, _, answer = await rest.whole("POST", "/v5/order/create-batch", body)
        return [note["code"] for note in answer["retExtInfo"]["list"]]

    assert with_rest(use) == [0] * 10 + [10006] * 2


def test_an_address_that_sends_too_much_is_shut_out():
    async def use(venue, rest):
        statuses = deque(maxlen=2)
        while 403 not in statuses:
            status, _, _ = await rest.whole("GET", "/v5/account/info", stamp="1")
            statuses.append(status)
        return list(statuses)

    assert with_rest(use, limit_factor=1 / 30) == [200, 403]


# Dead-man switch.


@pytest.mark.parametrize(("comes_back", "left"), [(False, 0), (True, 1)])
def test_orders_end_when_no_guarded_connection_comes_back_in_time(comes_back, left):
    async def use(venue, rest):
        await rest.create(price=price(venue, 0.99))
        assert (
            await rest.post(
                "/v5/order/disconnected-cancel-all", product="DERIVATIVES", timeWindow=3
            )
        )[0] == 0
        trading, account = books(venue)
        counting = asyncio.Event()

        def look():
            if trading.dead_man.deadline(account, ""):
                counting.set()

        async with private(venue, "dcp.future"), private(venue, "dcp.future"):
            pass
        venue.after_tick = look
        await counting.wait()
        if comes_back:
            async with private(venue, "dcp.future"):
                trading.tick(venue.venues[CONTRACT].now_ms() + 4000)
                return len(account.orders), ""
        trading.tick(venue.venues[CONTRACT].now_ms() + 4000)
        _, result = await rest.get("/v5/order/history", category="linear")
        return len(account.orders), result["list"][0]["cancelType"]

    count, cancel_type = with_rest(use)
    assert count == left
    assert cancel_type == ("" if comes_back else "CancelByDCP")


def test_a_window_outside_the_venues_bounds_is_refused():
    async def use(venue, rest):
        path = "/v5/order/disconnected-cancel-all"
        return [(await rest.post(path, timeWindow=seconds))[0] for seconds in (2, 3, 300, 301)]

    assert with_rest(use) == [10001, 0, 0, 10001]


# Faults.


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize(("status", "code"), [(504, 10000), (503, 10016), (429, 10006)])
def test_an_error_on_request_comes_with_and_without_effect(status, code, effect):
    async def use(venue, rest):
        venue.set_faults(order_error=status, order_effect=effect)
        first, _ = await rest.create(price=price(venue, 0.99))
        found = len(books(venue)[1].orders)
        second, _ = await rest.create(price=price(venue, 0.99))
        return first, found, second

    assert with_rest(use) == (code, int(effect), 0)


@pytest.mark.parametrize(("fault", "orders"), [("request_drop", 0), ("ack_drop", 1)])
def test_a_lost_request_or_answer_leaves_the_client_without_one(fault, orders):
    async def use(venue, rest):
        venue.set_faults(**{fault: 1.0})
        with pytest.raises(aiohttp.ClientError):
            await rest.create(price=price(venue, 0.99))
        async with private(venue, path="trade") as socket:
            order = LINEAR | {"side": "Buy", "orderType": "Limit", "qty": "0.01"}
            request = {
                "header": {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)},
                "op": "order.create",
                "args": [order | {"price": price(venue, 0.99)}],
            }
            await socket.send_json(request)
            await socket.send_json({"op": "ping"})
            assert (await message(socket))["op"] == "pong"
        return len(books(venue)[1].orders)

    assert with_rest(use) == 2 * orders


@pytest.mark.parametrize(("late", "first"), [(True, "order"), (False, "answer")])
def test_private_events_leave_before_or_after_the_answer(late, first):
    async def use(venue, rest):
        venue.set_faults(ack_late=late)
        (member,) = [venue.venues[CONTRACT].desk.member(KEY)]
        async with private(venue, "order") as events, private(venue, path="trade") as orders:
            seen = []
            (event_client,) = member.feed.listeners("order")
            trade = next(
                s.client for s in venue.venues[CONTRACT].sessions if s.client is not event_client
            )
            for name, client in (("order", event_client), ("answer", trade)):
                _note(client, name, seen)
            order = LINEAR | {"side": "Buy", "orderType": "Limit", "qty": "0.01"}
            await ask(orders, "order.create", **order, price=price(venue, 0.99))
            await rows(events, 1)
            return seen[0]

    assert with_rest(use) == first


def _note(client, name, seen):
    flush = client.flush

    def noted(now):
        if client.pending:
            seen.append(name)
        flush(now)

    client.flush = noted


def test_private_messages_can_be_lost_on_request():
    async def use(venue, rest):
        async with private(venue, "order", "execution") as socket:
            venue.set_faults(drop=1.0, streams="private.order")
            await rest.create(orderType="Market")
            return (await message(socket))["topic"]

    assert with_rest(use) == "execution"


@pytest.mark.parametrize("names", [(CONTRACT, SPOT), (SPOT, CONTRACT)])
def test_an_account_that_is_opened_while_running_has_all_categories_and_one_wallet(names):
    async def use(venue, rest):
        for name in names:
            body = {"account": {"key": "new", "balances": {"USDT": "5"}}, "venue": name}
            await rest.http.post(venue.base("control") + "/accounts", data=json.dumps(body))
            venue.venues[CONTRACT].desk.member("new")
        member = venue.venues[CONTRACT].desk.member("new")
        contract, spot = (venue.venues[name].trading.by_key("new") for name in names)
        return set(member.accounts), contract.balances is spot.balances

    assert with_rest(use) == ({CONTRACT, SPOT}, True)


def test_spot_orders_cannot_spend_what_carries_a_contract():
    async def use(venue, rest):
        trading, account = books(venue)
        spot, same = books(venue, SPOT)
        await rest.create(orderType="Market", qty="10")
        free = account.balances["USDT"].free
        code, _ = await rest.create(**SPOTS, price=price(venue, 0.99), qty=f"{free / 60000:.3f}")
        available = trading.available(account, "USDT")
        return code, available < free, spot.available(same, "USDT") == available

    assert with_rest(use) == (170131, True, True)


def test_a_spot_trade_is_not_the_last_one_of_the_contract_of_the_same_name():
    async def use(venue, rest):
        await rest.create(orderType="Market")
        for _ in range(len(books(venue)[1].fills) + 1):
            await rest.create(**SPOTS, orderType="Market", qty="100")
        _, result = await rest.get("/v5/position/list", **LINEAR)
        (position,) = result["list"]
        return position["seq"], books(venue)[1].fills[-1].sequence

    sequence, expected = with_rest(use)
    assert sequence == expected
