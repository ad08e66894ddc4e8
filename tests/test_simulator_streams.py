"""The simulated venue's WebSocket streams, seen by a real client."""

import asyncio
import json
from decimal import Decimal
from itertools import pairwise

import aiohttp
import pytest

from gateways.simulator.session import Timing
from tests.simulator_client import (
    LocalBook,
    against,
    answer,
    ask,
    ended,
    message,
    settle,
    simulated,
    text,
    truth,
)

SPOT, USDM = "binance_spot", "binance_usdm"
REST = {SPOT: "/api/v3/depth", USDM: "/fapi/v1/depth"}


def first(name, path, steps=400):
    """Connect, let the market move, and return the first message."""

    async def use(venue, http):
        async with http.ws_connect(venue.base(name, "ws") + path) as socket:
            await asyncio.sleep(0.02)
            venue.step(steps)
            return await message(socket)

    return against(use)


async def connect_deaf(venue):
    """Connect a client that subscribes and never reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", venue.port, limit=1024)
    writer.write(
        b"GET /binance_spot/stream?streams=!bookTicker/btcusdt@trade HTTP/1.1\r\n"
        b"Host: venue\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.parametrize(
    ("name", "stream", "keys"),
    [
        (SPOT, "btcusdt@trade", "e E s t p q T m M"),
        (SPOT, "btcusdt@aggTrade", "e E s a p q f l T m M"),
        (SPOT, "btcusdt@bookTicker", "u s b B a A"),
        (SPOT, "!bookTicker", "u s b B a A"),
        (SPOT, "btcusdt@depth", "e E s U u b a"),
        (SPOT, "btcusdt@depth@100ms", "e E s U u b a"),
        (SPOT, "btcusdt@depth5", "lastUpdateId bids asks"),
        (SPOT, "btcusdt@depth10@100ms", "lastUpdateId bids asks"),
        (USDM, "btcusdt@trade", "e E T s t p q X m"),
        (USDM, "btcusdt@aggTrade", "e E a s p q f l T m"),
        (USDM, "btcusdt@bookTicker", "e u s b B a A T E st ps"),
        (USDM, "!bookTicker", "e u s b B a A T E st ps"),
        (USDM, "btcusdt@depth", "e E T s ps st U u pu b a"),
        (USDM, "btcusdt@depth@0ms", "e E T s ps st U u pu b a"),
        (USDM, "btcusdt@depth@100ms", "e E T s ps st U u pu b a"),
        (USDM, "btcusdt@depth@500ms", "e E T s ps st U u pu b a"),
        (USDM, "btcusdt@depth20@100ms", "e E T s ps st U u pu b a"),
        (USDM, "btcusdt@markPrice@1s", "e E s p P i r T st"),
        (USDM, "btcusdt@markPrice", "e E s p P i r T st"),
    ],
)
def test_each_stream_sends_the_fields_of_the_venue(name, stream, keys):
    event = first(name, f"/ws/{stream}")
    assert list(event) == keys.split()


def test_the_mark_price_of_all_symbols_comes_as_one_list():
    events = first(USDM, "/market/ws/!markPrice@arr@1s")
    assert [event["s"] for event in events] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


def test_partial_depth_holds_the_best_levels():
    event = first(SPOT, "/ws/ethusdt@depth5@100ms")
    assert (len(event["bids"]), len(event["asks"])) == (5, 5)
    bids = [Decimal(price) for price, _ in event["bids"]]
    assert bids == sorted(bids, reverse=True)


def test_a_combined_connection_names_the_stream_of_each_message():
    event = first(SPOT, "/stream?streams=btcusdt@bookTicker/btcusdt@trade")
    assert set(event) == {"stream", "data"}
    assert event["stream"] in ("btcusdt@bookTicker", "btcusdt@trade")


def test_aggregated_trades_join_the_fills_of_one_order_at_one_price():
    async def use(venue, http):
        url = venue.base(SPOT, "ws") + "/stream?streams=solusdt@trade/solusdt@aggTrade"
        trades, aggregates = {}, []
        async with http.ws_connect(url) as socket:
            await asyncio.sleep(0.02)
            venue.step(3000)
            async with asyncio.timeout(10):
                while len(aggregates) < 30:
                    event = await message(socket)
                    if event["stream"].endswith("@trade"):
                        trades[event["data"]["t"]] = event["data"]
                    else:
                        aggregates.append(event["data"])
        return trades, aggregates

    trades, aggregates = against(use)
    for event in aggregates:
        parts = [trades[number] for number in range(event["f"], event["l"] + 1)]
        assert sum(Decimal(part["q"]) for part in parts) == Decimal(event["q"])
        assert {part["p"] for part in parts} == {event["p"]}


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_the_published_procedure_ends_with_exactly_the_true_book(name):
    async def use(venue, http):
        url = venue.base(name, "ws") + "/stream?streams=btcusdt@depth@100ms"
        book = LocalBook(futures=name == USDM)
        async with http.ws_connect(url) as socket:
            buffered = [(await message(socket))["data"]]
            _, _, body = await answer(
                http, venue.base(name) + REST[name], symbol="BTCUSDT", limit=1000
            )
            book.snapshot(body)
            while buffered[-1]["u"] < book.last:
                buffered.append((await message(socket))["data"])
            for event in buffered:
                book.event(event)
            for _ in range(10):
                book.event((await message(socket))["data"])
            venue.pause()
            await settle(venue, socket, book, name, "BTCUSDT")
        last, sides = truth(venue, name, "BTCUSDT")
        assert book.joined
        assert book.last == last
        assert book.levels() == sides

    against(use, rate=3000.0)


def test_the_raw_futures_feed_has_no_gap_and_jumping_ids():
    async def use(venue, http):
        url = venue.base(USDM, "ws") + "/public/stream?streams=ethusdt@depth@0ms"
        async with http.ws_connect(url) as socket:
            return [(await message(socket))["data"] for _ in range(60)]

    events = against(use, rate=3000.0)
    for before, after in pairwise(events):
        assert after["pu"] == before["u"]
    assert any(after["U"] > after["pu"] + 1 for after in events)


def test_the_book_ticker_is_the_top_of_the_book():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/btcusdt@bookTicker") as socket:
            await asyncio.sleep(0.02)
            venue.step(2000)
            state = venue.state()["venues"][SPOT]["symbols"]["BTCUSDT"]
            tickers = []
            while (
                not tickers
                or [tickers[-1]["b"], tickers[-1]["B"]] != state["bid"]
                or ([tickers[-1]["a"], tickers[-1]["A"]] != state["ask"])
            ):
                tickers.append(await message(socket))
        tops = [(t["b"], t["B"], t["a"], t["A"]) for t in tickers]
        assert all(before != after for before, after in pairwise(tops))

    against(use)


def test_futures_routes_carry_their_own_streams_only():
    async def use(venue, http):
        base = venue.base(USDM, "ws")
        streams = "?streams=btcusdt@aggTrade/btcusdt@bookTicker/btcusdt@trade/btcusdt@markPrice@1s"
        seen = {}
        for route in ("public", "market", "private"):
            async with http.ws_connect(f"{base}/{route}/stream{streams}") as socket:
                await asyncio.sleep(0.02)
                venue.step(2000)
                await ask(socket, method="LIST_SUBSCRIPTIONS")
                names = {name for name in venue.venues[USDM].hub.topics}
                seen[route] = {name.partition("@")[2] for name in names}
        return seen

    seen = against(use)
    assert seen["public"] == {"bookTicker", "trade"}
    assert seen["market"] == {"aggTrade", "markPrice@1s"}
    assert seen["private"] == set()


def test_subscriptions_can_be_changed_and_listed():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws") as socket:
            names = ["btcusdt@trade", "ethusdt@depth"]
            assert await ask(socket, 7, method="SUBSCRIBE", params=names) == {
                "result": None,
                "id": 7,
            }
            listed = await ask(socket, "x-1", method="LIST_SUBSCRIPTIONS")
            assert listed == {"result": names, "id": "x-1"}
            await ask(socket, method="UNSUBSCRIBE", params=["btcusdt@trade"])
            assert (await ask(socket, method="LIST_SUBSCRIPTIONS"))["result"] == ["ethusdt@depth"]
            assert sorted(venue.venues[SPOT].hub.topics) == ["ethusdt@depth"]

    against(use)


def test_envelopes_can_be_switched_on_and_off():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/btcusdt@bookTicker") as socket:
            get = {"method": "GET_PROPERTY", "params": ["combined"]}
            assert (await ask(socket, **get))["result"] is False
            await ask(socket, method="SET_PROPERTY", params=["combined", True])
            assert (await ask(socket, **get))["result"] is True
            venue.step(200)
            assert (await message(socket))["stream"] == "btcusdt@bookTicker"

    against(use)


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ("{", 3, "Invalid JSON"),
        ('{"id":1}', 2, "missing field `method`"),
        ('{"method":"NOPE","id":1}', 2, "unknown variant `NOPE`"),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"]}', 2, "request ID"),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":-1}', 2, "request ID"),
        ('{"method":"SUBSCRIBE","params":["nonsense"],"id":1}', 2, "invalid stream"),
        ('{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}', 2, "too many parameters"),
        ('{"method":"SET_PROPERTY","params":["other",true],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
    ],
)
def test_refused_requests_get_the_words_of_the_venue(sent, code, words):
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws") as socket:
            await socket.send_str(sent)
            return await message(socket)

    error = against(use)["error"]
    assert error["code"] == code
    assert words in error["msg"]


def test_invalid_json_ends_a_futures_connection():
    async def use(venue, http):
        async with http.ws_connect(venue.base(USDM, "ws") + "/ws") as socket:
            await socket.send_str("{")
            assert (await message(socket))["error"]["code"] == 3
            await ended(socket)

    against(use)


def test_a_stream_that_does_not_exist_is_taken_and_silent():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/BTCUSDT@trade") as socket:
            reply = await ask(socket, method="SUBSCRIBE", params=["nope@trade"])
            assert reply["result"] is None
            venue.step(500)
            assert (await ask(socket, method="LIST_SUBSCRIPTIONS"))["result"] == [
                "BTCUSDT@trade",
                "nope@trade",
            ]

    against(use)


def test_a_connection_carries_no_more_than_1024_streams():
    async def use(venue, http):
        names = [f"a{number}usdt@trade" for number in range(1025)]
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws") as socket:
            assert (await ask(socket, method="SUBSCRIBE", params=names))["error"]["code"] == 2
            assert (await ask(socket, method="SUBSCRIBE", params=names[:1024]))["result"] is None

    against(use)


@pytest.mark.parametrize(("name", "limit"), [(SPOT, 5), (USDM, 10)])
def test_who_sends_too_many_messages_is_disconnected(name, limit):
    async def use(venue, http):
        async with http.ws_connect(venue.base(name, "ws") + "/ws") as socket:
            for number in range(limit + 1):
                await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            await ended(socket)
            assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION

    against(use)


def test_the_server_pings_and_goes_on_while_it_gets_pongs():
    async def use(venue, http):
        url = venue.base(SPOT, "ws") + "/ws"
        async with http.ws_connect(url, autoping=False) as socket:
            for _ in range(3):
                received = await asyncio.wait_for(socket.receive(), 5)
                assert received.type is aiohttp.WSMsgType.PING
                assert received.data.isdigit()
                await socket.pong(received.data)
            assert venue.venues[SPOT].cuts == {}

    against(use, timing=Timing(ping_interval_s=0.3, pong_timeout_s=2.0))


def test_who_does_not_answer_pings_is_disconnected():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws", autoping=False) as socket:
            assert (await socket.receive()).type is aiohttp.WSMsgType.PING
            closed = await asyncio.wait_for(socket.receive(), 5)
            assert closed.type is aiohttp.WSMsgType.CLOSE
        assert venue.venues[SPOT].cuts == {"no pong": 1}

    against(use, timing=Timing(ping_interval_s=0.1, pong_timeout_s=0.2))


def test_a_connection_is_announced_its_end_and_then_cut():
    async def use(venue, http):
        base = venue.base(SPOT, "ws")
        async with http.ws_connect(base + "/ws") as raw, http.ws_connect(base + "/stream") as both:
            plain = await message(raw)
            wrapped = await message(both)
            await ended(raw)
            await ended(both)
        return plain, wrapped, venue.venues[SPOT].cuts

    plain, wrapped, cuts = against(use, timing=Timing(lifetime_s=0.4, notice_s=0.2))
    assert plain["e"] == "serverShutdown"
    assert wrapped["stream"] == "!serverShutdown"
    assert wrapped["data"]["e"] == "serverShutdown"
    assert cuts == {"lifetime": 2}


def test_a_client_that_does_not_read_is_cut_and_costs_bounded_memory():
    async def use(venue, http):
        _, writer = await connect_deaf(venue)
        spot = venue.venues[SPOT]
        async with asyncio.timeout(20):
            while not spot.cuts:
                venue.step(10_000)
                await asyncio.sleep(0.006)
                # One tick's worth may come on top of the limit.
                assert sum(client.buffered for client in spot.hub.clients) < 8 << 20
        assert spot.cuts == {"slow": 1}
        writer.close()
        await asyncio.sleep(0.05)
        assert not spot.hub.clients
        assert not spot.hub.topics

    against(use, client_buffer_bytes=1 << 20)


def test_the_server_ends_although_a_client_does_not_read():
    async def run():
        async with simulated(client_buffer_bytes=1 << 30) as venue:
            reader, writer = await connect_deaf(venue)
            for _ in range(8):
                venue.step(10_000)
                await asyncio.sleep(0.006)
        writer.close()
        assert reader is not None

    async def bounded():
        await asyncio.wait_for(run(), 60)

    asyncio.run(bounded())


def test_all_receivers_of_a_stream_get_the_same_bytes():
    async def use(venue, http):
        url = venue.base(USDM, "ws") + "/public/ws/btcusdt@bookTicker"
        async with http.ws_connect(url) as one, http.ws_connect(url) as two:
            await asyncio.sleep(0.02)
            venue.step(2000)
            for _ in range(10):
                assert await text(one) == await text(two)

    against(use)


def test_the_market_runs_by_itself_at_the_rate_that_was_asked_for():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/!bookTicker") as socket:
            for _ in range(50):
                json.loads(await text(socket))
        return venue.simulation.steps

    assert against(use, rate=5000.0) > 50
