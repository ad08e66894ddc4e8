"""The simulated OKX, seen by a real client."""

import asyncio
import json
import zlib
from collections import deque
from decimal import Decimal

import aiohttp
import pytest

from gateways.simulator.session import Timing
from tests.data import shared
from tests.simulator_client import (
    Gap,
    OkxBook,
    against,
    answer,
    ended,
    message,
    shape,
    text,
    truth,
    until,
)

OKX, SWAP, SPOT = "okx", "BTC-USDT-SWAP", "BTC-USDT"
SINCE = {
    "trades": {".data[].count", ".data[].source", ".data[].seqId"},
    "trades-all": {".data[].source"},
    "bbo-tbt": {".data[].seqId"},
    "books5": {".data[].seqId"},
    "books-l2-tbt": {".data[].seqId", ".data[].prevSeqId"},
    "funding-rate": {".data[].formulaType", ".data[].impactValue", ".data[].interestRate"},
    "open-interest": {".data[].oiUsd"},
}
"""What the venue has added to its messages since the samples were recorded."""


def with_okx(use, **changes):
    return against(use, **({"venues": [OKX], "liquidations": 0.0} | changes))


def connect(venue, http, route="public"):
    return http.ws_connect(f"{venue.base(OKX, 'ws')}/ws/v5/{route}")


def argument(channel, name=SWAP):
    key = "instType" if channel == "liquidation-orders" else "instId"
    return {"channel": channel, key: name}


async def subscribe(socket, *arguments, operation="subscribe"):
    await socket.send_json({"op": operation, "args": list(arguments)})
    for each in arguments:
        reply = await until(socket, lambda m: "event" in m)
        assert (reply["event"], reply["arg"]) == (operation, each)


def of(channel):
    return lambda m: m.get("arg", {}).get("channel") == channel and "data" in m


def recorded(kind):
    """Return the fields that all recorded messages have, and those that any has."""
    with shared(f"okx/public/{kind}.jsonl").open() as lines:
        shapes = [shape(json.loads(line)) for line in lines]
    return set.intersection(*shapes), set.union(*shapes)


@pytest.mark.parametrize(
    ("channel", "name", "sample"),
    [
        ("trades", SPOT, "trades"),
        ("books", SWAP, "books_snapshot"),
        ("books-l2-tbt", SWAP, "books-l2-tbt_snapshot"),
        ("books5", SPOT, "books5"),
        ("bbo-tbt", SPOT, "bbo-tbt"),
        ("tickers", SWAP, "tickers"),
        ("tickers", SPOT, "tickers"),
        ("funding-rate", SWAP, "funding-rate"),
        ("mark-price", SWAP, "mark-price"),
        ("index-tickers", SPOT, "index-tickers"),
        ("open-interest", SWAP, "open-interest"),
        ("liquidation-orders", "SWAP", "liquidation-orders"),
    ],
)
def test_each_channel_sends_the_fields_of_recorded_messages(channel, name, sample):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument(channel, name))
            venue.step(1000)
            return await until(socket, of(channel))

    event, (always, ever) = with_okx(use, liquidations=0.01), recorded(sample)
    assert event["arg"] == argument(channel, name)
    assert always <= shape(event) <= ever | SINCE.get(channel, set())


def test_an_update_of_a_book_has_the_fields_of_recorded_ones():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books"))
            venue.step(1000)
            return await until(socket, lambda m: m.get("action") == "update")

    assert (shape(with_okx(use)),) * 2 == recorded("books_update")


def test_all_trades_are_on_the_business_address_only():
    async def use(venue, http):
        async with connect(venue, http, "business") as socket:
            await subscribe(socket, argument("trades-all"))
            venue.step(1000)
            event = await until(socket, of("trades-all"))
        assert (shape(event) - SINCE["trades-all"],) * 2 == recorded("trades-all")
        async with connect(venue, http) as socket:
            await socket.send_json({"op": "subscribe", "args": [argument("trades-all")]})
            assert (await message(socket))["code"] == "60018"

    with_okx(use)


@pytest.mark.parametrize(
    ("channel", "levels"), [("books", 400), ("books-l2-tbt", 400), ("books50-l2-tbt", 50)]
)
def test_the_chain_of_sequence_ids_ends_with_exactly_the_true_book(channel, levels):
    async def use(venue, http):
        book = OkxBook()
        async with connect(venue, http) as socket:
            await subscribe(socket, argument(channel))
            for _ in range(8):
                book.event(await until(socket, of(channel)))
            venue.pause()
            last, sides = truth(venue, OKX, SWAP)
            best = [side[:levels] for side in sides]
            while list(book.levels()) != best:
                book.event(await until(socket, of(channel)))
            assert book.seq <= last

    with_okx(use, rate=3000.0)


def test_two_connections_get_the_same_chain_whenever_they_joined():
    async def use(venue, http):
        async with connect(venue, http) as one, connect(venue, http) as two:
            await subscribe(one, argument("books"))
            early = [await until(one, of("books")) for _ in range(4)]
            await subscribe(two, argument("books"))
            late = [await until(two, of("books")) for _ in range(5)]
            while early[-1]["data"][0]["seqId"] < late[-1]["data"][0]["seqId"]:
                early.append(await until(one, of("books")))
            updates = [event["data"] for event in early if event["action"] == "update"]
            assert late[0]["data"][0]["prevSeqId"] == -1
            for event in late[1:]:
                assert event["data"] in updates

    with_okx(use, rate=3000.0)


def test_all_channels_number_a_book_alike():
    async def use(venue, http):
        channels = {"books", "books5", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt"}
        url = venue.base(OKX) + "/api/v5/market/books"
        async with connect(venue, http) as socket:
            venue.step(300)
            _, _, body = await answer(http, url, instId=SWAP)
            await socket.send_json({"op": "subscribe", "args": list(map(argument, channels))})
            first = {}
            while first.keys() != channels:
                event = await until(socket, lambda m: "data" in m)
                first.setdefault(event["arg"]["channel"], event["data"][0]["seqId"])
        assert set(first.values()) == {body["data"][0]["seqId"]}

    with_okx(use)


def test_the_small_channels_hold_the_best_levels():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books5"))
            five = await until(socket, of("books5"))
            await subscribe(socket, argument("bbo-tbt"))
            top = await until(socket, of("bbo-tbt"))
            _, sides = truth(venue, OKX, SWAP)
            for side, key in zip(sides, ("bids", "asks"), strict=True):
                rows = [(Decimal(row[0]), Decimal(row[1])) for row in five["data"][0][key]]
                assert rows == side[:5]
                (row,) = top["data"][0][key]
                assert (Decimal(row[0]), Decimal(row[1])) == side[0]

    with_okx(use)


def test_a_rest_snapshot_joins_the_stream():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books"))
            events = [await until(socket, of("books"))]
            url = venue.base(OKX) + "/api/v5/market/books"
            _, _, body = await answer(http, url, instId=SWAP, sz=400)
            (snapshot,) = body["data"]
            while events[-1]["data"][0]["seqId"] <= snapshot["seqId"]:
                events.append(await until(socket, of("books")))
            (first,) = events[-1]["data"]
            assert first["prevSeqId"] <= snapshot["seqId"] < first["seqId"]
            book = OkxBook()
            book.apply(snapshot["bids"], snapshot["asks"], anew=True)
            venue.pause()
            for rows, own in ((first["bids"], book.bids), (first["asks"], book.asks)):
                for row in rows:
                    own[Decimal(row[0])] = Decimal(row[1])
            book.seq = first["seqId"]
            best = [side[:400] for side in truth(venue, OKX, SWAP)[1]]
            for own in (book.bids, book.asks):
                for price in [price for price, lots in own.items() if not lots]:
                    del own[price]
            while list(book.levels()) != best:
                book.event(await until(socket, of("books")))

    with_okx(use, rate=3000.0)


def test_after_a_new_subscription_the_book_begins_with_a_snapshot_again():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books"))
            first = await until(socket, of("books"))
            await subscribe(socket, argument("books"), operation="unsubscribe")
            venue.step(500)
            await asyncio.sleep(0.15)
            await subscribe(socket, argument("books"))
            second = await until(socket, of("books"))
            assert second["action"] == "snapshot"
            assert second["data"][0]["seqId"] > first["data"][0]["seqId"]

    with_okx(use)


def test_a_quiet_book_is_confirmed_by_an_empty_update_with_equal_ids():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books"))
            snapshot = await until(socket, of("books"))
            event = await until(socket, of("books"))
        (data,) = event["data"]
        assert (data["bids"], data["asks"]) == ([], [])
        assert data["seqId"] == data["prevSeqId"] == snapshot["data"][0]["seqId"]

    with_okx(use, timing=Timing(keep_alive_s=0.2))


def test_a_maintenance_reset_lowers_the_id_and_keeps_the_chain():
    async def use(venue, http):
        book = OkxBook()
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("books"))
            book.event(await until(socket, of("books")))
            before = book.seq
            venue.set_faults(sequence_reset=True)
            venue.step(300)
            event = await until(socket, of("books"))
            assert event["data"][0]["prevSeqId"] == before > event["data"][0]["seqId"]
            book.event(event)
            venue.step(300)
            book.event(await until(socket, of("books")))
            assert book.levels() == tuple(s[:400] for s in truth(venue, OKX, SWAP)[1])

    with_okx(use)


def checksum(book):
    """The venue's checksum, from the texts that were sent."""
    texts = []
    bids = sorted(book["bids"].values(), key=lambda row: -Decimal(row[0]))
    asks = sorted(book["asks"].values(), key=lambda row: Decimal(row[0]))
    for place in range(25):
        for side in (bids, asks):
            texts += [":".join(row[:2]) for row in side[place : place + 1]]
    value = zlib.crc32(":".join(texts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


@pytest.mark.parametrize("kind", ["zero", "real", "wrong"])
@pytest.mark.parametrize("channel", ["books", "books50-l2-tbt"])
def test_checksums_are_zero_right_or_wrong_on_request(kind, channel):
    async def use(venue, http):
        venue.set_faults(checksum=kind)
        rows = {"bids": {}, "asks": {}}
        async with connect(venue, http) as socket:
            await subscribe(socket, argument(channel))
            for _ in range(5):
                (data,) = (await until(socket, of(channel)))["data"]
                for side, own in rows.items():
                    for row in data[side]:
                        own[row[0]] = row
                        if row[1] == "0":
                            del own[row[0]]
                if kind == "zero":
                    assert data["checksum"] == 0
                else:
                    assert (data["checksum"] == checksum(rows)) is (kind == "real")

    with_okx(use, rate=2000.0)


def test_trades_join_the_fills_of_one_order_at_one_price():
    async def use(venue, http):
        async with connect(venue, http) as joined, connect(venue, http, "business") as single:
            await subscribe(joined, argument("trades"))
            await subscribe(single, argument("trades-all"))
            venue.step(3000)
            trades, parts = [], {}
            while len(trades) < 20:
                trades += (await until(joined, of("trades")))["data"]
            while int(trades[-1]["tradeId"]) not in parts:
                (part,) = (await until(single, of("trades-all")))["data"]
                parts[int(part["tradeId"])] = part
        assert any(int(trade["count"]) > 1 for trade in trades)
        for trade in trades:
            last = int(trade["tradeId"])
            own = [parts[n] for n in range(last - int(trade["count"]) + 1, last + 1)]
            assert sum(Decimal(part["sz"]) for part in own) == Decimal(trade["sz"])
            assert {part["px"] for part in own} == {trade["px"]}

    with_okx(use)


def test_a_ping_is_answered_by_the_text_pong():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await socket.send_str("ping")
            assert await text(socket) == "pong"

    with_okx(use)


def test_a_connection_without_data_and_pings_is_cut():
    async def use(venue, http):
        async with connect(venue, http) as silent, connect(venue, http) as pinging:

            async def ping():
                for _ in range(5):
                    await asyncio.sleep(0.1)
                    await pinging.send_str("ping")
                    assert await text(pinging) == "pong"

            await asyncio.gather(ping(), ended(silent))
            assert silent.close_code == 4004
            assert not pinging.closed

    with_okx(use, timing=Timing(silence_s=0.3))


def test_what_does_not_exist_is_refused_and_the_rest_of_the_request_is_done():
    async def use(venue, http):
        wanted = [argument("books", "NO-SUCH"), argument("trades"), argument("nothing")]
        wanted.append(argument("funding-rate", SPOT))
        async with connect(venue, http) as socket:
            await socket.send_json({"id": "7", "op": "subscribe", "args": wanted})
            replies = [await message(socket) for _ in wanted]
        assert [reply.get("code") for reply in replies] == ["60018", None, "60018", "60018"]
        assert {reply["id"] for reply in replies} == {"7"}
        assert "channel:books,instId:NO-SUCH doesn't exist" in replies[0]["msg"]

    with_okx(use)


@pytest.mark.parametrize(
    "request_text",
    ["nonsense", "[]", '{"op":"subscribe"}', '{"op":"buy","args":[{"channel":"x"}]}'],
)
def test_a_malformed_request_is_refused(request_text):
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await socket.send_str(request_text)
            reply = await message(socket)
            assert (reply["event"], reply["code"]) == ("error", "60012")

    with_okx(use)


def test_more_than_480_requests_an_hour_are_refused():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            for _ in range(481):
                await socket.send_json({"op": "unsubscribe", "args": [argument("books")]})
            replies = [await message(socket) for _ in range(481)]
        assert [reply.get("code") for reply in replies] == [None] * 480 + ["60014"]

    with_okx(use)


def test_more_than_three_connections_a_second_are_refused():
    async def use(venue, http):
        for _ in range(3):
            async with connect(venue, http):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(venue, http):
                pass
        assert refused.value.status == 429

    with_okx(use)


def test_a_service_upgrade_is_announced_before_the_connection_ends():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("trades"))
            venue.set_faults(end_soon=True)
            notice = await message(socket)
            assert (notice["event"], notice["code"]) == ("notice", "64008")
            await ended(socket)
            assert socket.close_code == 1001

    with_okx(use, timing=Timing(notice_s=0.2))


def test_frames_are_lost_on_every_second_connection_only():
    async def use(venue, http):
        async with connect(venue, http) as one, connect(venue, http) as two:
            books = {one: OkxBook(), two: OkxBook()}
            for socket, book in books.items():
                await subscribe(socket, argument("books"))
                book.event(await until(socket, of("books")))
            venue.set_faults(venue=OKX, hole=0.5, connections=(2, 0))
            for _ in range(10):
                books[one].event(await until(one, of("books")))
            events = [await until(two, of("books")) for _ in range(10)]
            with pytest.raises(Gap):
                deque(map(books[two].event, events))

    with_okx(use, rate=3000.0)


def test_a_connection_that_comes_back_takes_its_old_place():
    async def use(venue, http):
        async with connect(venue, http):
            async with connect(venue, http) as two:
                await two.close()
            while len(venue.venues[OKX].sessions) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            async with connect(venue, http):
                return [session.place for session in venue.venues[OKX].sessions]

    assert with_okx(use) == [1, 2]


def test_a_disconnect_can_strike_one_line_only():
    async def use(venue, http):
        async with connect(venue, http) as one, connect(venue, http) as two:
            venue.set_faults(venue=OKX, connections=(2, 0), disconnect=True)
            await ended(two)
            await one.send_str("ping")
            assert await text(one) == "pong"

    with_okx(use)


def test_the_instrument_list_has_the_fields_of_a_recorded_one():
    async def use(venue, http):
        url = venue.base(OKX) + "/api/v5/public/instruments"
        return [(await answer(http, url, instType=kind))[2] for kind in ("SPOT", "SWAP", "FUTURES")]

    spot, swap, futures = with_okx(use)
    for body, kind in ((spot, "spot"), (swap, "swap")):
        with shared(f"okx/meta/rest_instruments_{kind}.jsonl").open() as lines:
            old = json.loads(lines.readline())
        assert set(old) == set(body)
        assert set(old["data"][0]) <= set(body["data"][0])
    assert "BTC-USDT" in [entry["instId"] for entry in spot["data"]]
    contract = next(entry for entry in swap["data"] if entry["instId"] == SWAP)
    assert (contract["ctVal"], contract["ctValCcy"], contract["ctType"]) == (
        "0.01",
        "BTC",
        "linear",
    )
    inverse = next(entry for entry in swap["data"] if entry["instId"] == "BTC-USD-SWAP")
    assert (inverse["ctVal"], inverse["settleCcy"], inverse["ctType"]) == ("100", "BTC", "inverse")
    assert futures == {"code": "0", "msg": "", "data": []}


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        ("public/instruments", {}, 400, "50014"),
        ("public/instruments", {"instType": "NONE"}, 400, "51000"),
        ("public/instruments", {"instType": "SPOT", "instId": "NO-SUCH"}, 200, "51001"),
        ("market/books", {}, 400, "50014"),
        ("market/books", {"instId": "NO-SUCH"}, 200, "51001"),
        ("market/books", {"instId": SPOT, "sz": "x"}, 400, "51000"),
    ],
)
def test_rest_errors_have_the_codes_of_the_venue(path, parameters, status, code):
    async def use(venue, http):
        return await answer(http, f"{venue.base(OKX)}/api/v5/{path}", **parameters)

    found, _, body = with_okx(use)
    assert (found, body["code"], body["data"]) == (status, code, [])


def test_rest_requests_beyond_the_limit_are_refused():
    async def use(venue, http):
        url = venue.base(OKX) + "/api/v5/public/time"
        answers = [await answer(http, url) for _ in range(11)]
        assert [status for status, _, _ in answers] == [200] * 10 + [429]
        assert answers[-1][2]["code"] == "50011"
        assert answers[0][2]["data"][0]["ts"].isdecimal()

    with_okx(use)


def test_ticker_and_book_tell_the_same_best_prices():
    async def use(venue, http):
        async with connect(venue, http) as socket:
            await subscribe(socket, argument("tickers"))
            (ticker,) = (await until(socket, of("tickers")))["data"]
        _, (bids, asks) = truth(venue, OKX, SWAP)
        assert (Decimal(ticker["bidPx"]), Decimal(ticker["bidSz"])) == bids[0]
        assert (Decimal(ticker["askPx"]), Decimal(ticker["askSz"])) == asks[0]

    with_okx(use)
