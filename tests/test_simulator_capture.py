"""The simulated venue serving recorded captures."""

import asyncio
import gzip
import json

import orjson
import pytest

from engine.errors import ConfigError
from gateways.simulator.capture import load
from tests.data import shared
from tests.simulator_client import LocalBook, against, answer, message, simulated, text, truth

SPOT, USDM = "binance_spot", "binance_usdm"
CAPTURES = {
    SPOT: ("cf_4sym_20211012", "NKNUSDT"),
    USDM: ("cf_4sym_20210417", "KSMUSDT"),
}
REST = {SPOT: "/api/v3/depth", USDM: "/fapi/v1/depth"}


def folder(name):
    return shared(f"{name}/public/captures/{CAPTURES[name][0]}")


def play(use, name, **changes):
    settings = {"capture": str(folder(name)), "speed": 0.0, "start_delay_s": 0.05}
    return against(use, **(settings | changes))


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_a_subscriber_gets_every_recorded_message_of_its_streams(name):
    symbol = CAPTURES[name][1].lower()
    streams = [f"{symbol}@depth@100ms", f"{symbol}@bookTicker"]
    recorded = [
        orjson.loads(message.payload)
        for message in load(folder(name)).messages
        if message.channel == "ws"
    ]
    expected = [event for event in recorded if event["stream"] in streams]

    async def use(venue, http):
        url = venue.base(name, "ws") + f"/stream?streams={'/'.join(streams)}"
        async with http.ws_connect(url) as socket:
            return [await message(socket) for _ in expected]

    assert play(use, name) == expected


def test_a_raw_connection_gets_the_recorded_bytes_of_the_data():
    symbol = CAPTURES[SPOT][1].lower()
    prefix = f'{{"stream":"{symbol}@bookTicker","data":'
    expected = [
        message.payload.decode()[len(prefix) : -1]
        for message in load(folder(SPOT)).messages
        if message.payload.startswith(prefix.encode())
    ]

    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + f"/ws/{symbol}@bookTicker") as socket:
            return [await text(socket) for _ in expected]

    assert play(use, SPOT) == expected


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_the_published_procedure_joins_the_recorded_snapshot(name):
    symbol = CAPTURES[name][1]

    async def use(venue, http):
        replay = venue.venues[name].replay
        book = LocalBook(futures=name == USDM)
        url = venue.base(name, "ws") + f"/stream?streams={symbol.lower()}@depth"
        async with http.ws_connect(url) as socket:
            url = venue.base(name) + REST[name]
            _, _, body = await answer(http, url, symbol=symbol, limit=1000)
            book.snapshot(body)
            await replay.finished.wait()
            last, _ = truth(venue, name, symbol)
            while book.last < last:
                book.event((await message(socket))["data"])
        assert book.joined
        assert (book.last, book.levels()) == truth(venue, name, symbol)
        best = json.loads((folder(name) / "meta.json").read_bytes())["validation"][symbol]
        bids, asks = book.levels()
        assert (float(bids[0][0]), float(asks[0][0])) == (best["final_bid"], best["final_ask"])

    play(use, name)


@pytest.mark.parametrize("name", [SPOT, USDM])
def test_a_client_can_join_again_after_the_snapshot_has_passed(name):
    symbol = CAPTURES[name][1]

    async def use(venue, http):
        replay = venue.venues[name].replay
        url = venue.base(name, "ws") + f"/stream?streams={symbol.lower()}@depth@100ms"
        async with http.ws_connect(url) as socket:
            while replay.position <= 200:
                await message(socket)
            venue.pause()
            book = LocalBook(futures=name == USDM)
            url = venue.base(name) + REST[name]
            book.snapshot((await answer(http, url, symbol=symbol, limit=1000))[2])
            venue.resume()
            await replay.finished.wait()
            last, sides = truth(venue, name, symbol)
            while book.last < last:
                book.event((await message(socket))["data"])
        # The answer was cut off at its limit; what lies deeper than that is not known.
        assert [side[:100] for side in book.levels()] == [side[:100] for side in sides]

    play(use, name, speed=40.0)


def test_the_exchange_information_is_inferred_from_the_capture():
    async def use(venue, http):
        return (await answer(http, venue.base(SPOT) + "/api/v3/exchangeInfo"))[2]

    info = play(use, SPOT)
    symbols = {entry["symbol"]: entry for entry in info["symbols"]}
    assert set(symbols) == {"NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR"}
    assert (symbols["BLZETH"]["baseAsset"], symbols["BLZETH"]["quoteAsset"]) == ("BLZ", "ETH")
    filters = {entry["filterType"]: entry for entry in symbols["NKNUSDT"]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.00001000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.10000000"


def test_the_exchange_information_can_come_from_a_file(tmp_path):
    entry = {"symbol": "NKNUSDT", "status": "TRADING", "filters": []}
    info = {"timezone": "UTC", "symbols": [entry, entry | {"symbol": "OTHER"}]}
    file = tmp_path / "info.json"
    file.write_text(json.dumps(info))

    async def use(venue, http):
        return (await answer(http, venue.base(SPOT) + "/api/v3/exchangeInfo"))[2]

    assert play(use, SPOT, exchange_info=str(file))["symbols"] == [entry]


def test_a_capture_waits_for_its_first_subscriber():
    async def use(venue, http):
        replay = venue.venues[SPOT].replay
        await asyncio.sleep(0.1)
        assert replay.position == 0
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/nknusdt@bookTicker"):
            await replay.finished.wait()

    play(use, SPOT)


def test_a_captures_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"meta\.json"):
        load(tmp_path)
    (tmp_path / "meta.json").write_text('{"venue": "binance_spot"}')
    (tmp_path / "messages.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_capture_of_another_venue_is_refused(tmp_path):
    (tmp_path / "meta.json").write_text('{"venue": "okx"}')
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(b'{"a":1}\n'))
    (tmp_path / "index.tsv.gz").write_bytes(
        gzip.compress(b"line\trecv_ns\tchannel\turl\n0\t1\tws\t\n")
    )
    with pytest.raises(ConfigError, match="okx"):
        simulated(capture=str(tmp_path))
