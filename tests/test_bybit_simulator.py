"""The adapters of Bybit against the simulated venue: lists, topics and every message."""

import asyncio
import itertools

import aiohttp
import pytest

from feeds.adapter import CHANNELS, Channel
from feeds.bybit import BYBIT, BYBIT_SPOT
from feeds.bybit.parse import scan
from feeds.message import ItemKind, Reject
from feeds.types import Status
from tests.naive_bybit import naive_bybit
from tests.scanning import expected, scanned, symbols_of
from tests.simulator_client import against

FRAMES = 400

ITEMS = {
    Channel.TRADES: {ItemKind.TRADE},
    Channel.BOOK: {ItemKind.BOOK_SNAPSHOT, ItemKind.BOOK_UPDATE},
    Channel.TOP: {ItemKind.TICKER},
    Channel.FUNDING: {ItemKind.FUNDING, ItemKind.STATS},
    Channel.LIQUIDATIONS: {ItemKind.LIQUIDATION},
    Channel.STATS: {ItemKind.STATS},
}


async def listed(http, adapter, at):
    """Return what the venue lists, all pages of all categories."""
    found = []
    for request in adapter.instruments_requests():
        page = request
        while page is not None:
            async with http.get(at.rest + page.path) as answer:
                body = await answer.read()
            found += adapter.parse_instruments(body)
            page = adapter.next_page(page, body)
    return found


async def received(http, adapter, at, route, streams):
    """Return the first frames of a connection that subscribes to ``streams``."""
    names = [stream.name for stream in streams]
    async with http.ws_connect(adapter.ws_url(route, names, at)) as socket:
        size = adapter.rules.streams_per_message
        for start in range(0, len(names), size):
            await socket.send_str(adapter.subscribe(names[start : start + size], start).decode())
        await socket.send_str(adapter.rules.ping_text.decode())
        frames = []
        while len(frames) < FRAMES:
            message = await asyncio.wait_for(socket.receive(), 10.0)
            assert message.type is aiohttp.WSMsgType.TEXT
            frames.append(message.data.encode())
    return frames


@pytest.mark.parametrize("adapter", [BYBIT, BYBIT_SPOT], ids=["bybit", "bybit_spot"])
def test_every_message_of_the_simulated_venue_reads_as_in_the_reference(adapter):
    async def use(venue, http):
        at = adapter.endpoints_at(venue.base(adapter.name()), venue.base(adapter.name(), "ws"))
        instruments = await listed(http, adapter, at)
        assert {each["status"] for each in instruments} == {Status.TRADING}
        streams = [s for each in instruments for s in adapter.streams_for(each["native"], CHANNELS)]
        by_route = {}
        for stream in streams:
            by_route.setdefault(stream.route, []).append(stream)
        assert by_route.keys() == at.websocket.keys()
        lines = [received(http, adapter, at, route, each) for route, each in by_route.items()]
        return instruments, streams, list(itertools.chain(*await asyncio.gather(*lines)))

    instruments, streams, frames = against(use, venues=[adapter.name()], rate=4000.0)
    listing = {
        each["native"]: (row, each["price_decimals"], each["quantity_decimals"])
        for row, each in enumerate(instruments)
    }
    symbols = symbols_of(listing)
    channels = {stream.name: stream.channel for stream in streams}
    seen = set()
    for frame in frames:
        found = scanned(frame, 1, -1, symbols, scanner=scan)
        assert found == expected(frame, 1, -1, listing, naive=naive_bybit), frame
        assert adapter.refusal(frame) is None, frame
        topic = adapter.stream_of(frame)
        if topic is None:
            assert found == Reject.NOT_COVERED
        elif not isinstance(found, Reject):
            assert {item["kind"] for item in found} <= ITEMS[channels[topic]]
            seen.add(channels[topic])
    assert {Channel.TRADES, Channel.BOOK, Channel.TOP} <= seen
