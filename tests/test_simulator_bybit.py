"""The simulated Bybit, contracts and spot, seen by a real client."""

import asyncio
import json
from collections import deque
from decimal import Decimal

import pytest

from gateways.simulator.session import Timing
from tests.data import shared
from tests.simulator_client import (
    BybitBook,
    Gap,
    against,
    answer,
    ended,
    message,
    shape,
    truth,
    until,
)

BYBIT, SPOT = "bybit", "bybit_spot"
CATEGORIES = [(BYBIT, "linear", "BTCUSDT"), (BYBIT, "inverse", "BTCUSD"), (SPOT, "spot", "BTCUSDT")]
SINCE = {".cts", ".data[].RPI", ".data[].seq", ".data.fundingIntervalHour", ".data.fundingCap"}
"""What the venue has added to its messages since the samples were recorded."""


def with_bybit(use, **changes):
    return against(use, **({"venues": [BYBIT, SPOT], "liquidations": 0.0} | changes))


def connect(venue, http, name=BYBIT, category="linear"):
    return http.ws_connect(f"{venue.base(name, 'ws')}/v5/public/{category}")


async def request(socket, operation, *topics, **more):
    await socket.send_json({"op": operation, "args": list(topics), **more})
    return await until(socket, lambda m: "success" in m)


async def subscribe(socket, *topics):
    assert (await request(socket, "subscribe", *topics))["success"] is True


def of(topic):
    return lambda m: m.get("topic") == topic


def recorded(kind):
    """Return the fields that all recorded messages have, and those that any has."""
    with shared(f"bybit/public/{kind}.jsonl").open() as lines:
        shapes = [shape(json.loads(line)) for line in lines]
    return set.intersection(*shapes), set.union(*shapes)


@pytest.mark.parametrize(
    ("topic", "kind", "sample"),
    [
        ("orderbook.1", "snapshot", "orderbook.1_snapshot"),
        ("orderbook.50", "snapshot", "orderbook.50_snapshot"),
        ("orderbook.50", "delta", "orderbook.50_delta"),
        ("publicTrade", "snapshot", "publicTrade"),
        ("tickers", "delta", "tickers_delta"),
        ("allLiquidation", "snapshot", "allLiquidation"),
    ],
)
def test_each_topic_of_contracts_sends_the_fields_of_recorded_messages(topic, kind, sample):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, f"{topic}.BTCUSDT")
            venue.step(1000)
            wanted = of(f"{topic}.BTCUSDT")
            return await until(socket, lambda m: wanted(m) and m["type"] == kind)

    event, (always, ever) = with_bybit(use, liquidations=0.1), recorded(sample)
    ticker = {f".data.{name}" for name in ticker_fields()} if topic == "tickers" else set()
    assert always - ticker <= shape(event) <= ever | SINCE | ticker


def ticker_fields():
    with shared("bybit/public/sequences/tickers_linear_snapshot_delta.jsonl").open() as lines:
        return set(json.loads(lines.readline())["data"])


@pytest.mark.parametrize(("category", "symbol"), [("linear", "BTCUSDT"), ("inverse", "BTCUSD")])
def test_a_ticker_begins_with_all_fields_and_goes_on_with_the_changed_ones(category, symbol):
    async def use(venue, http):
        topic = f"tickers.{symbol}"
        async with connect(venue, http, category=category) as socket:
            await subscribe(socket, topic)
            events = [await until(socket, of(topic)) for _ in range(6)]
        assert [event["type"] for event in events] == ["snapshot"] + ["delta"] * 5
        known = dict(events[0]["data"])
        assert set(known) == ticker_fields() | {"fundingIntervalHour", "fundingCap"}
        for event in events[1:]:
            changes = {name: text for name, text in event["data"].items() if name != "symbol"}
            assert changes
            assert all(known[name] != text for name, text in changes.items())
            known |= changes
        # One that joins now gets what the others know.
        async with connect(venue, http, category=category) as other:
            venue.pause()
            await asyncio.sleep(0.25)
            await subscribe(other, topic)
            snapshot = await until(other, of(topic))
            assert snapshot["type"] == "snapshot"

    with_bybit(use, rate=4000.0)


def test_the_spot_ticker_is_always_whole_and_has_no_best_prices():
    async def use(venue, http):
        async with connect(venue, http, SPOT, "spot") as socket:
            await subscribe(socket, "tickers.BTCUSDT")
            return [await until(socket, of("tickers.BTCUSDT")) for _ in range(3)]

    events = with_bybit(use, rate=4000.0)
    fields = "symbol lastPrice highPrice24h lowPrice24h prevPrice24h volume24h turnover24h "
    fields += "price24hPcnt usdIndexPrice"
    for event in events:
        assert event["type"] == "snapshot"
        assert set(event["data"]) == set(fields.split())


@pytest.mark.parametrize(
    ("name", "category", "symbol", "levels", "keys"),
    [
        (BYBIT, "linear", "BTCUSDT", 1, "topic ts type data cts"),
        (BYBIT, "linear", "BTCUSDT", 200, "topic type ts data cts"),
        (BYBIT, "inverse", "BTCUSD", 50, "topic type ts data cts"),
        (SPOT, "spot", "BTCUSDT", 50, "topic ts type data cts"),
    ],
)
def test_the_keys_stand_in_the_order_of_the_venue(name, category, symbol, levels, keys):
    async def use(venue, http):
        topic = f"orderbook.{levels}.{symbol}"
        async with connect(venue, http, name, category) as socket:
            await subscribe(socket, topic)
            return await until(socket, of(topic))

    assert list(with_bybit(use)) == keys.split()


@pytest.mark.parametrize(("name", "category", "symbol"), CATEGORIES)
@pytest.mark.parametrize("levels", [50, 200, 1000])
def test_the_chain_of_update_ids_ends_with_exactly_the_true_book(name, category, symbol, levels):
    async def use(venue, http):
        book, topic = BybitBook(), f"orderbook.{levels}.{symbol}"
        async with connect(venue, http, name, category) as socket:
            await subscribe(socket, topic)
            for _ in range(5):
                book.event(await until(socket, of(topic)))
            venue.pause()
            best = tuple(side[:levels] for side in truth(venue, name, symbol)[1])
            while book.levels() != best:
                book.event(await until(socket, of(topic)))

    with_bybit(use, rate=4000.0)


def test_the_best_level_comes_as_snapshots_with_consecutive_ids():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, "orderbook.1.BTCUSDT")
            return [await until(socket, of("orderbook.1.BTCUSDT")) for _ in range(5)]

    events = with_bybit(use, rate=4000.0)
    first = events[0]["data"]["u"]
    assert [event["data"]["u"] for event in events] == list(range(first, first + 5))
    assert {event["type"] for event in events} == {"snapshot"}
    assert all(len(event["data"][side]) == 1 for event in events for side in "ba")


@pytest.mark.slow
def test_a_quiet_best_level_is_repeated_under_its_old_id():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, "orderbook.1.BTCUSDT")
            return [(await until(socket, of("orderbook.1.BTCUSDT")))["data"] for _ in range(2)]

    first, second = with_bybit(use)
    assert first == second


def test_two_connections_get_the_same_chain_whenever_they_joined():
    async def use(venue, http):
        topic = "orderbook.50.BTCUSDT"
        async with connect(venue, http) as one, connect(venue, http) as two:
            await subscribe(one, topic)
            early = [(await until(one, of(topic)))["data"] for _ in range(5)]
            await subscribe(two, topic)
            late = [(await until(two, of(topic)))["data"] for _ in range(5)]
            while early[-1]["u"] < late[-1]["u"]:
                early.append((await until(one, of(topic)))["data"])
        assert all(data in early for data in late[1:])

    with_bybit(use, rate=4000.0)


def test_a_restart_of_the_service_sends_snapshots_with_id_one():
    async def use(venue, http):
        book, topic = BybitBook(), "orderbook.200.BTCUSDT"
        async with connect(venue, http) as socket:
            await subscribe(socket, topic)
            book.event(await until(socket, of(topic)))
            venue.step(200)
            venue.set_faults(sequence_reset=True)
            event = await until(socket, lambda m: of(topic)(m) and m["data"]["u"] == 1)
            assert event["type"] == "snapshot"
            book.event(event)
            venue.step(200)
            book.event(await until(socket, of(topic)))
            assert book.u == 2

    with_bybit(use)


def test_a_lost_frame_is_seen_in_the_update_ids():
    async def use(venue, http):
        book, topic = BybitBook(), "orderbook.50.BTCUSDT"
        async with connect(venue, http) as socket:
            await subscribe(socket, topic)
            book.event(await until(socket, of(topic)))
            venue.set_faults(hole_next=1)
            events = [await until(socket, of(topic)) for _ in range(5)]
            with pytest.raises(Gap):
                deque(map(book.event, events))

    with_bybit(use, rate=4000.0)


@pytest.mark.parametrize(("name", "category", "symbol"), CATEGORIES)
def test_trades_of_one_order_share_a_message_and_their_ids_never_repeat(name, category, symbol):
    async def use(venue, http):
        topic = f"publicTrade.{symbol}"
        async with connect(venue, http, name, category) as socket:
            await subscribe(socket, topic)
            venue.step(6000)
            events = [await until(socket, of(topic)) for _ in range(30)]
        trades = [trade for event in events for trade in event["data"]]
        assert len({trade["i"] for trade in trades}) == len(trades) > len(events)
        assert all(len({trade["seq"] for trade in event["data"]}) == 1 for event in events)
        assert all(("L" in trade) is (category != "spot") for trade in trades)
        assert all(trade["i"].isdecimal() is (category == "spot") for trade in trades)

    with_bybit(use)


def test_a_liquidation_names_the_side_of_the_position():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, "allLiquidation.BTCUSDT", "publicTrade.BTCUSDT")
            venue.step(10)
            event = await until(socket, of("allLiquidation.BTCUSDT"))
        best = Decimal(venue.state()["venues"][BYBIT]["symbols"]["BTCUSDT"]["bid"][0])
        for row in event["data"]:
            # Who was short is bought out above the market, who was long sold out below it.
            assert (Decimal(row["p"]) > best) is (row["S"] == "Sell")

    with_bybit(use, liquidations=1.0)


@pytest.mark.parametrize(
    ("name", "category", "topics", "words"),
    [
        (BYBIT, "linear", ["orderbook.500.BTCUSDT"], "error:handler not found,topic:"),
        (BYBIT, "linear", ["orderbook.50.NOSUCH"], "Invalid symbol :[orderbook.50.NOSUCH]"),
        (BYBIT, "linear", ["orderbook.50.BTCUSD"], "Invalid symbol"),
        (BYBIT, "inverse", ["orderbook.50.BTCUSDT"], "Invalid symbol"),
        (SPOT, "spot", ["allLiquidation.BTCUSDT"], "error:handler not found"),
        (SPOT, "spot", ["publicTrade.BTCUSDT"] * 11, "args size >10"),
        (BYBIT, "linear", ["x" * 21_001], "error:args length"),
    ],
)
def test_a_request_with_a_wrong_topic_is_refused_as_a_whole(name, category, topics, words):
    async def use(venue, http):
        async with connect(venue, http, name, category) as socket:
            reply = await request(socket, "subscribe", "tickers.ETHUSDT", *topics)
            assert reply["success"] is False
            assert reply["ret_msg"].startswith(words)
            assert not venue.venues[name].hub.topics

    with_bybit(use)


def test_a_topic_cannot_be_subscribed_twice():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, "publicTrade.BTCUSDT")
            reply = await request(socket, "subscribe", "publicTrade.BTCUSDT")
            assert reply["ret_msg"] == "error:already subscribed,topic:publicTrade.BTCUSDT"
            assert (await request(socket, "unsubscribe", "publicTrade.BTCUSDT"))["success"]
            await subscribe(socket, "publicTrade.BTCUSDT")

    with_bybit(use)


def test_the_reply_to_a_subscription_has_the_recorded_fields():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            return await request(socket, "subscribe", "tickers.BTCUSDT", req_id="a7")

    reply = with_bybit(use)
    with shared("bybit/public/op_subscribe.jsonl").open() as lines:
        assert list(json.loads(lines.readline())) == list(reply)
    assert (reply["req_id"], reply["op"], reply["ret_msg"]) == ("a7", "subscribe", "")


@pytest.mark.parametrize(("name", "category", "symbol"), CATEGORIES)
def test_a_ping_is_answered(name, category, symbol):
    async def use(venue, http):
        async with connect(venue, http, name, category) as socket:
            await socket.send_json({"op": "ping"})
            reply = await message(socket)
            assert (reply["success"], reply["ret_msg"], reply["op"]) == (True, "pong", "ping")
            assert ("req_id" in reply) is (category != "spot")

    with_bybit(use)


def test_a_silent_connection_is_cut():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await ended(socket)

    with_bybit(use, timing=Timing(silence_s=0.2))


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"op":"buy"}', '{"op":"subscribe","args":7}'])
def test_a_malformed_request_is_refused(text):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await socket.send_str(text)
            assert (await message(socket))["success"] is False

    with_bybit(use)


@pytest.mark.parametrize(("name", "category", "symbol"), CATEGORIES)
def test_the_instrument_list_has_the_fields_of_a_recorded_one(name, category, symbol):
    async def use(venue, http):
        url = venue.base(name) + "/v5/market/instruments-info"
        return (await answer(http, url, category=category))[2]

    body = with_bybit(use)
    with shared(f"bybit/meta/rest_instruments_{category}.jsonl").open() as lines:
        old = json.loads(lines.readline())
    assert set(old) == set(body)
    assert shape(old["result"]["list"]) <= shape(body["result"]["list"])
    assert symbol in [entry["symbol"] for entry in body["result"]["list"]]


def test_the_instrument_list_comes_in_pages():
    async def use(venue, http):
        url, parameters = venue.base(BYBIT) + "/v5/market/instruments-info", ""
        found, pages = [], 0
        while pages == 0 or parameters:
            async with http.get(f"{url}?category=linear&limit=2{parameters}") as response:
                result = (await response.json())["result"]
            found += [entry["symbol"] for entry in result["list"]]
            pages += 1
            # The cursor is percent-encoded already; the client takes it as text.
            cursor = result["nextPageCursor"]
            parameters = f"&cursor={cursor}" if cursor else ""
        return pages, found

    assert with_bybit(use) == (2, ["BTCUSDT", "ETHUSDT", "SOLUSDT"])


@pytest.mark.parametrize(("name", "category", "symbol"), CATEGORIES)
def test_the_rest_book_has_the_fields_and_levels_of_the_venue(name, category, symbol):
    async def use(venue, http):
        url = venue.base(name) + "/v5/market/orderbook"
        _, _, body = await answer(http, url, category=category, symbol=symbol, limit=3)
        with shared("bybit/rest/rest_orderbook.jsonl").open() as lines:
            old = json.loads(lines.readline())
        assert set(old["result"]) == set(body["result"])
        rows = [[Decimal(text) for text in row] for row in body["result"]["b"]]
        assert list(map(tuple, rows)) == truth(venue, name, symbol)[1][0][:3]

    with_bybit(use)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("instruments-info", {}),
        ("instruments-info", {"category": "nonsense"}),
        ("instruments-info", {"category": "linear", "symbol": "NOSUCH"}),
        ("instruments-info", {"category": "linear", "limit": "x"}),
        ("instruments-info", {"category": "linear", "cursor": "x"}),
        ("orderbook", {"category": "linear"}),
        ("orderbook", {"category": "inverse", "symbol": "BTCUSDT"}),
    ],
)
def test_rest_errors_come_with_code_10001(path, parameters):
    async def use(venue, http):
        return await answer(http, f"{venue.base(BYBIT)}/v5/market/{path}", **parameters)

    status, _, body = with_bybit(use)
    assert (status, body["retCode"], body["result"]) == (200, 10001, {})


def test_the_time_is_told_in_nanoseconds():
    async def use(venue, http):
        return (await answer(http, venue.base(BYBIT) + "/v5/market/time"))[2]

    result = with_bybit(use)["result"]
    assert int(result["timeNano"]) // 1_000_000_000 == int(result["timeSecond"])
