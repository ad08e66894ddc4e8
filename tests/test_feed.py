"""The feed agent against a local server: table, raw ring, snapshots on request, limits, restart."""

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal

import numpy as np
import pytest
from aiohttp import web

from engine.agent import AgentContext
from engine.config import parse
from engine.counters import CountersReader, CountersWriter
from engine.errors import ConfigError
from engine.flow import FlowWriter
from engine.frames import FrameKind, FrameReader
from engine.segment import unlink_segment
from engine.table import TableReader
from feeds import feed as feed_module
from feeds import polls
from feeds import rest as rest_module
from feeds import resync as resync_module
from feeds.adapter import CHANNELS, Channel, RestRequest, Stream
from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.bybit import BYBIT, BYBIT_SPOT
from feeds.feed import Feed
from feeds.okx import OKX
from feeds.rest import RestClient, RestFailed, WeightBudget
from feeds.types import INSTRUMENT, RESYNC, BookState, Kind, Status
from tests.local_venue import LocalVenue, Variant, exchange_info, until

VENUE = "binance_usdm"
RING = f"md.raw.{VENUE}"
ADAPTERS = {"binance_spot": BINANCE_SPOT, "binance_usdm": BINANCE_USDM}


@pytest.fixture(autouse=True)
def venues(monkeypatch):
    """Find Binance even where the project is not installed."""
    monkeypatch.setattr(feed_module, "find_venue", ADAPTERS.__getitem__)


@pytest.fixture
def adapter(monkeypatch, request):
    """Give the feed another adapter for its venue."""
    monkeypatch.setitem(ADAPTERS, VENUE, request.param)
    return request.param


def context(instance, venue, counters, **settings):
    config = parse(
        {
            "instance": instance,
            "endpoints": {VENUE: {"rest": venue.rest, "websocket": venue.websocket}},
        }
    )
    wanted = {"venue": VENUE, "symbols": ["BTCUSDT"], "backoff_s": 0.02, "ring_frames": 16_384}
    log = logging.getLogger("test-feed")
    return AgentContext(instance, "feed", wanted | settings, config, counters, log, "agents[0]")


class Running:
    def __init__(self, instance, venue, task, stop):
        self.instance, self.venue, self.task, self.stop = instance, venue, task, stop
        self.raw = FrameReader.attach(instance, RING, start="oldest", wait_s=5)

    def frames(self, kind):
        """The frames of a kind that have come since the last call: (row, payload)."""
        found = []
        while len(batch := self.raw.poll()):
            found += [
                (int(f["instrument"]), bytes(self.raw.payload(f)))
                for f in batch
                if f["kind"] == kind
            ]
        return found

    def counters(self):
        reader = CountersReader.attach(self.instance, "feed")
        try:
            return {k.removeprefix(f"{VENUE}."): v for k, v in reader.counters().items()}
        finally:
            reader.close()

    async def until(self, condition, seconds=10.0):
        await until(lambda: self.task.done() or condition(), seconds)
        if self.task.done():
            self.task.result()


@contextlib.asynccontextmanager
async def feeding(instance, venue, **settings):
    counters = CountersWriter.open(instance, "feed")
    stop = asyncio.Event()
    task = asyncio.create_task(Feed(context(instance, venue, counters, **settings)).run(stop))
    running = None
    try:
        await asyncio.sleep(0)
        while not task.done() and running is None:
            with contextlib.suppress(Exception):
                running = Running(instance, venue, task, stop)
            await asyncio.sleep(0.01)
        if running is None:
            task.result()
        yield running
    finally:
        stop.set()
        try:
            await asyncio.wait_for(task, 10)
        finally:
            if running is not None:
                running.raw.close()
            counters.close()


def run(instance, scenario, **settings):
    async def main():
        async with LocalVenue().serve() as venue, feeding(instance, venue, **settings) as feed:
            await scenario(feed)

    asyncio.run(main())


def resync(row, venue=VENUE, reason=BookState.GAP, channel=Channel.BOOK, attempt=0):
    record = np.zeros(1, RESYNC.dtype)
    record["channel"], record["attempt"] = CHANNELS.index(channel), attempt
    record["instrument"], record["venue"], record["reason"] = row, venue.encode(), reason
    record["requested_ns"] = 1
    return record


def requests(instance):
    return FlowWriter.open(instance, "md.resync", RESYNC, 64, readers=(f"feed.{VENUE}",))


def done(writer):
    """Whether the feed has done with all requests."""
    writer.refresh()
    return not writer.lagging()[f"feed.{VENUE}"]


def test_the_configured_instruments_stand_in_the_table(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
        row = table.read(0)
        assert (row["native"], row["symbol"], row["venue"]) == (
            b"ETHUSDT",
            b"ETH/USDT:USDT",
            b"binance_usdm",
        )
        assert (row["kind"], row["status"]) == (Kind.LINEAR_PERPETUAL, Status.TRADING)
        assert (row["price_decimals"], row["tick"]) == (2, 10)
        assert (row["quantity_decimals"], row["lot"]) == (3, 1)
        assert table.read(1)["native"] == b"BTCUSDT"
        assert table.read(2)["native"] == b""
        table.close()

    run(instance, scenario, symbols=["ETH/USDT:USDT", "BTCUSDT"])


@pytest.mark.parametrize("adapter", [Variant(cadence_s=2.04)], indirect=True)
def test_the_table_says_what_silence_is_normal(instance, adapter):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 1)
        table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
        expected = [21 * (c in (Channel.BOOK, Channel.TOP)) for c in CHANNELS]
        assert table.read(0)["cadence_ds"].tolist() == expected
        table.close()

    run(instance, scenario, channels=["book", "top"])


def test_the_quickest_stream_of_a_channel_says_what_silence_is_normal():
    def stream(channel, cadence_s):
        return Stream("", "", channel, "", cadence_s)

    streams = [stream(Channel.FUNDING, s) for s in (90.0, 10.0, 0.0)]
    streams.append(stream(Channel.TOP, 1e6))
    by_channel = dict(zip(CHANNELS, feed_module.cadences_ds(streams), strict=True))
    assert (by_channel[Channel.FUNDING], by_channel[Channel.TOP]) == (100, 65_535)
    assert by_channel[Channel.BOOK] == 0


def test_a_star_selects_everything_that_trades(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        streams = [s for names in feed.venue.sockets.values() for s in names]
        assert {s.partition("@")[0] for s in streams} == {"btcusdt", "ethusdt"}

    run(instance, scenario, symbols=["*"])


def test_an_unknown_symbol_is_an_error_that_names_near_ones(instance):
    async def main():
        async with LocalVenue().serve() as venue:
            with pytest.raises(ConfigError, match=r"'BTCUSD'.*BTCUSDT"):
                async with feeding(instance, venue, symbols=["BTCUSD"]) as feed:
                    await feed.until(lambda: False)

    asyncio.run(main())


def test_messages_of_all_channels_come_through(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 100)
        frames = [json.loads(payload) for _, payload in feed.frames(FrameKind.TEXT)]
        assert {f["stream"] for f in frames} == {
            "btcusdt@trade",
            "btcusdt@depth@100ms",
            "btcusdt@bookTicker",
            "btcusdt@markPrice@1s",
        }

    run(instance, scenario)


def test_a_snapshot_is_fetched_on_request(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        writer = requests(instance)  # The worker starts later than the feed.
        writer.publish(resync(1))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        assert feed.venue.depth_requests == ["ETHUSDT"]
        ((row, body),) = feed.frames(FrameKind.REST_DEPTH)
        assert row == 1
        assert json.loads(body)["lastUpdateId"] == 1
        await feed.until(lambda: done(writer))
        writer.close()

    run(instance, scenario, symbols=["BTCUSDT", "ETHUSDT"])


def test_what_no_stream_carries_is_asked_for_again_and_again(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["polls"] >= 5)
        assert feed.venue.interest_requests[:4] == ["BTCUSDT", "ETHUSDT"] * 2
        (first, body), (second, _), *_ = feed.frames(FrameKind.POLLED)
        assert (first, second) == (0, 1)
        assert json.loads(body)["openInterest"] == "1.5"
        assert feed.counters()["polls_failed"] == 0

    run(instance, scenario, symbols=["BTCUSDT", "ETHUSDT"], poll_s=0.02)


@pytest.mark.parametrize("settings", [{"channels": ["book"]}, {"poll_s": 0.0}])
def test_nothing_is_asked_for_that_nobody_wants(instance, settings):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 20)
        assert feed.counters()["polls"] == 0
        assert not feed.venue.interest_requests

    run(instance, scenario, **({"poll_s": 0.001} | settings))


def test_an_answer_that_fails_is_counted_and_the_next_round_comes(instance, monkeypatch):
    monkeypatch.setattr(polls.Polls, "requests", lambda self: [(0, RestRequest("/none", 1))])

    async def scenario(feed):
        await feed.until(lambda: feed.counters()["polls_failed"] >= 2)
        assert not feed.frames(FrameKind.POLLED)

    run(instance, scenario, poll_s=0.02)


def test_a_round_takes_longer_where_it_would_eat_the_limits():
    def round_s(adapter, count):
        asked = polls.Polls(adapter, None, None, {}, (), None, None, every_s=30.0)
        return asked.round_s([RestRequest("", 1)] * count)

    assert round_s(BINANCE_USDM, 2) == 30.0
    assert round_s(BINANCE_USDM, 480) == 120.0  # 240 a minute: a tenth of 2,400.


def test_only_binance_futures_are_polled():
    channels = tuple(Channel)
    (request,) = BINANCE_USDM.polls_for("BTCUSDT", channels)
    assert request == RestRequest("/fapi/v1/openInterest?symbol=BTCUSDT", 1)
    assert BINANCE_USDM.polls_for("BTCUSDT", [Channel.BOOK]) == []
    for adapter in (BINANCE_SPOT, OKX, BYBIT, BYBIT_SPOT):
        assert adapter.polls_for("BTCUSDT", channels) == []


def test_requests_of_other_venues_are_not_ours(instance):
    async def scenario(feed):
        writer = requests(instance)
        writer.publish(resync(0, venue="binance_spot"))
        await feed.until(lambda: done(writer))
        assert feed.counters()["snapshots_requested"] == 0
        writer.close()

    run(instance, scenario)


def test_the_worker_may_die_and_come_back(instance):
    async def scenario(feed):
        for i in range(2):
            writer = requests(instance)
            writer.publish(resync(0))
            await feed.until(lambda i=i: feed.counters()["snapshots_fetched"] == i + 1)
            writer.close()

    run(instance, scenario)


def test_a_snapshot_asked_for_twice_is_fetched_once(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        writer = requests(instance)
        for _ in range(5):
            writer.publish(resync(0))
        await feed.until(lambda: feed.counters()["snapshots_requested"] == 5)
        await feed.until(lambda: feed.counters()["snapshots_fetched"] >= 1)
        assert feed.venue.depth_requests == ["BTCUSDT"]
        writer.close()

    run(instance, scenario)


def commands(feed):
    return [(m["method"], m["params"]) for m in feed.venue.received]


STREAM = "btcusdt@depth@100ms"
RENEWAL = [("UNSUBSCRIBE", [STREAM]), ("SUBSCRIBE", [STREAM])]
ONE_BOOK = {"channels": ["book"], "overlap_s": 0.05, "handover_s": 2.0}


async def asked(feed, *records):
    """Publish requests one after the other, each answered before the next."""
    await feed.until(lambda: feed.counters()["frames"] >= 20)
    writer = requests(feed.instance)
    for record in records:
        writer.publish(record)
        await feed.until(lambda: done(writer))
    return writer


@pytest.mark.parametrize("adapter", [Variant(snapshots="stream", depth=False)], indirect=True)
def test_a_venue_with_snapshots_in_its_streams_is_subscribed_anew(instance, adapter):
    async def scenario(feed):
        writer = await asked(feed, resync(0))
        await feed.until(lambda: commands(feed) == RENEWAL)
        assert feed.counters()["snapshots_requested"] == 0
        assert feed.venue.depth_requests == []
        writer.close()

    run(instance, scenario, **ONE_BOOK)


@pytest.mark.parametrize("adapter", [Variant(snapshots="stream")], indirect=True)
def test_every_second_attempt_asks_for_the_snapshot_by_rest(instance, adapter):
    async def scenario(feed):
        writer = await asked(feed, resync(0, attempt=1))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        assert commands(feed) == []
        writer.publish(resync(0, attempt=2))
        await feed.until(lambda: commands(feed) == RENEWAL)
        assert feed.venue.depth_requests == ["BTCUSDT"]
        writer.close()

    run(instance, scenario, **ONE_BOOK)


@pytest.mark.parametrize("adapter", [Variant(snapshots="stream", depth=False)], indirect=True)
def test_every_attempt_subscribes_anew_where_rest_has_no_snapshot(instance, adapter):
    async def scenario(feed):
        writer = await asked(feed, resync(0, attempt=1))
        await feed.until(lambda: commands(feed) == RENEWAL)
        writer.close()

    run(instance, scenario, **ONE_BOOK)


@pytest.mark.parametrize("channel", [Channel.TRADES, Channel.TOP, Channel.FUNDING])
def test_the_subscription_of_another_channel_is_renewed(instance, channel):
    async def scenario(feed):
        writer = await asked(feed, resync(0, channel=channel, reason=BookState.STALE))
        (stream,) = BINANCE_USDM.streams_for("BTCUSDT", [channel])
        await feed.until(lambda: len(feed.venue.received) == 2)
        assert commands(feed) == [("UNSUBSCRIBE", [stream.name]), ("SUBSCRIBE", [stream.name])]
        assert feed.counters()["resubscribes"] == 1
        assert feed.counters()["snapshots_requested"] == 0
        writer.close()

    run(instance, scenario)


def test_a_stream_that_stays_silent_has_its_connection_replaced(instance):
    async def scenario(feed):
        record = resync(0, channel=Channel.TOP, reason=BookState.STALE, attempt=2)
        writer = await asked(feed, record)
        await feed.until(lambda: feed.counters()["replacements"] == 1)
        assert feed.counters()["stale_marks"] == 0
        assert feed.counters()["connects"] == 3  # Two routes, one of them twice.
        writer.close()

    run(instance, scenario, overlap_s=0.05, handover_s=2.0)


def test_a_book_that_stays_silent_has_its_subscription_renewed_too(instance):
    async def scenario(feed):
        writer = await asked(feed, resync(0, reason=BookState.STALE))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        assert commands(feed) == []
        writer.publish(resync(0, reason=BookState.STALE, attempt=1))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 2)
        await feed.until(lambda: commands(feed) == RENEWAL)
        writer.close()

    run(instance, scenario, **ONE_BOOK)


@pytest.mark.parametrize("adapter", [Variant(snapshots="stream", depth=False)], indirect=True)
def test_a_hole_is_closed_by_the_snapshot_of_one_line(instance, adapter):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        writer = await asked(feed, resync(0))
        await feed.until(lambda: commands(feed) == RENEWAL)
        writer.publish(resync(0, reason=BookState.STALE))
        await feed.until(lambda: len(feed.venue.received) == 6)
        assert feed.counters()["resubscribes"] == 3
        writer.close()

    run(instance, scenario, lines=2, stagger_s=0.01, **ONE_BOOK)


def test_requests_for_what_is_not_fed_are_passed_over(instance):
    async def scenario(feed):
        other = resync(0)
        other["channel"] = 99
        writer = await asked(feed, resync(7), other, resync(-1))
        assert feed.counters()["resyncs_received"] == 3
        assert commands(feed) == feed.venue.depth_requests == []
        writer.close()

    run(instance, scenario)


def test_a_request_ring_that_was_removed_and_made_anew_is_found(instance):
    async def scenario(feed):
        writer = await asked(feed, resync(0))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        writer.close()
        for name in ("md.resync", f"md.resync@feed.{VENUE}"):
            unlink_segment(instance, name)
        writer = requests(instance)
        writer.publish(resync(0))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 2)
        writer.close()

    run(instance, scenario)


def test_new_listings_are_subscribed_to_without_touching_the_others(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 1)
        feed.venue.symbols.append("SOLUSDT")
        await feed.until(lambda: "solusdt@depth@100ms" in feed.venue.sent)
        await feed.until(lambda: feed.counters()["lines_live"] == 2)
        assert feed.counters()["listed"] == 1
        assert feed.counters()["disconnects"] == 0
        table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
        assert table.read(2)["native"] == b"SOLUSDT"
        table.close()
        writer = await asked(feed, resync(2))
        await feed.until(lambda: feed.venue.depth_requests == ["SOLUSDT"])
        writer.close()

    run(instance, scenario, symbols=["*"], refresh_s=0.05, channels=["book"])


@pytest.mark.parametrize("symbols", [["*"], ["BTCUSDT", "ETHUSDT"]], ids=["star", "names"])
def test_a_vanished_instrument_is_delisted_and_dropped(instance, symbols):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 20)
        table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
        feed.venue.symbols.remove("BTCUSDT")
        await feed.until(lambda: feed.counters()["delisted"] == 1)
        await feed.until(lambda: list(feed.venue.sockets.values()) == [["ethusdt@depth@100ms"]])
        row = next(i for i in range(2) if table.read(i)["native"] == b"BTCUSDT")
        assert table.read(row)["status"] == Status.DELISTED
        assert table.read(1 - row)["status"] == Status.TRADING
        assert [found for found, _ in feed.frames(FrameKind.STALE)] == [row]
        feed.venue.symbols.append("BTCUSDT")  # It comes back, in the same row.
        await feed.until(lambda: feed.counters()["listed"] == 1)
        await feed.until(lambda: table.read(row)["status"] == Status.TRADING)
        assert table.read(row)["native"] == b"BTCUSDT"
        table.close()

    run(instance, scenario, symbols=symbols, refresh_s=0.05, channels=["book"])


def test_a_changed_tick_is_written_to_the_table(instance, monkeypatch):
    ticks = ["0.10"]

    async def information(self, request):
        found = exchange_info(["BTCUSDT"])
        found["symbols"][0]["filters"][0]["tickSize"] = ticks[-1]
        return web.json_response(found)

    monkeypatch.setattr(LocalVenue, "_info", information)

    async def scenario(feed):
        await feed.until(lambda: feed.counters()["lines_live"] == 1)
        table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
        assert table.read(0)["tick"] == 10
        ticks.append("0.50")
        await feed.until(lambda: table.read(0)["tick"] == 50)
        table.close()

    run(instance, scenario, refresh_s=0.05, channels=["book"])


def test_an_answer_without_instruments_is_not_believed(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 20)
        feed.venue.symbols.clear()
        before = feed.counters()["rest_requests"]
        await feed.until(lambda: feed.counters()["rest_requests"] >= before + 5)
        assert feed.counters()["delisted"] == 0

    run(instance, scenario, refresh_s=0.05)


def test_instruments_that_take_several_requests_are_all_found(instance, monkeypatch):
    class Paged(Variant):
        def instruments_requests(self):
            return [RestRequest(f"/fapi/v1/exchangeInfo?part={part}", 1) for part in "ab"]

        def next_page(self, request, body):
            more = "BTCUSDT" in body.decode()
            return RestRequest(f"{request.path}&page=2", 1) if more else None

    async def one_each(self, request):
        pages = {"a": ("BTCUSDT", "ETHUSDT"), "b": ("SOLUSDT",)}
        page = pages[request.query["part"]]["page" in request.query]
        return web.json_response(exchange_info([page]))

    monkeypatch.setitem(ADAPTERS, VENUE, Paged())
    monkeypatch.setattr(LocalVenue, "_info", one_each)

    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 20)
        streams = [s for names in feed.venue.sockets.values() for s in names]
        assert {s.partition("@")[0] for s in streams} == {"btcusdt", "ethusdt", "solusdt"}

    run(instance, scenario, symbols=["*"])


def test_the_book_s_stream_can_be_chosen(instance):
    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 10)
        assert list(feed.venue.sockets.values()) == [["btcusdt@depth@500ms"]]

    run(instance, scenario, channels=["book"], book="depth@500ms")


def test_an_unknown_book_stream_is_an_error_that_names_the_known_ones(instance):
    async def main():
        async with LocalVenue().serve() as venue:
            with pytest.raises(ConfigError, match="book: found 'books', binance_usdm has: "):
                async with feeding(instance, venue, book="books"):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize("lines", [0, 5])
def test_a_number_of_lines_that_makes_no_sense_is_an_error(instance, lines):
    async def main():
        async with LocalVenue().serve() as venue:
            with pytest.raises(ConfigError, match="lines"):
                async with feeding(instance, venue, lines=lines):
                    pass

    asyncio.run(main())


def test_a_429_is_waited_out(instance):
    async def scenario(feed):
        feed.venue.depth_answers = [web.Response(status=429, headers={"Retry-After": "1"})]
        writer = requests(instance)
        writer.publish(resync(0))
        await feed.until(lambda: len(feed.venue.depth_requests) == 1)
        first = asyncio.get_running_loop().time()
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        assert asyncio.get_running_loop().time() - first >= 0.9
        assert feed.counters()["rest_limited"] == 1
        writer.close()

    run(instance, scenario)


def test_a_snapshot_that_fails_for_good_is_tried_again_later(instance, monkeypatch):
    monkeypatch.setattr(resync_module, "AGAIN_S", 0.05)

    async def scenario(feed):
        feed.venue.depth_answers = [web.Response(status=400)]
        writer = requests(instance)
        writer.publish(resync(0))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1)
        assert feed.counters()["snapshots_failed"] == 1
        writer.close()

    run(instance, scenario)


def test_a_refused_snapshot_does_not_hold_up_those_of_others(instance):
    async def scenario(feed):
        feed.venue.depth_answers = [web.Response(status=400)]
        writer = requests(instance)
        writer.publish(resync(0))
        await feed.until(lambda: feed.counters()["snapshots_failed"] == 1)
        writer.publish(resync(1))
        await feed.until(lambda: feed.counters()["snapshots_fetched"] == 1, 3)
        assert feed.venue.depth_requests == ["BTCUSDT", "ETHUSDT"]
        writer.close()

    run(instance, scenario, symbols=["BTCUSDT", "ETHUSDT"], snapshots_at_once=1)


def test_a_feed_waits_for_a_venue_that_is_not_there_yet(instance):
    async def main():
        venue = LocalVenue()
        async with venue.serve():
            pass
        async with contextlib.AsyncExitStack() as stack:
            feed = await stack.enter_async_context(feeding(instance, venue))
            await feed.until(lambda: feed.counters()["rest_retries"] >= 1)
            await stack.enter_async_context(venue.serve())
            await feed.until(lambda: feed.counters()["frames"] >= 10, 20)
            feed.stop.set()
            await feed.task

    asyncio.run(main())


def test_rows_are_kept_over_a_restart_with_other_symbols(instance):
    async def main():
        async with LocalVenue().serve() as venue:
            async with feeding(instance, venue, symbols=["BTCUSDT"]) as feed:
                await feed.until(lambda: feed.counters()["lines_live"] == 2)
            async with feeding(instance, venue, symbols=["ETHUSDT", "BTCUSDT"]) as feed:
                await feed.until(lambda: feed.counters()["lines_live"] == 2)
                table = TableReader.attach(instance, f"feed.{VENUE}.instruments", INSTRUMENT)
                assert [bytes(table.read(i)["native"]) for i in (0, 1)] == [b"BTCUSDT", b"ETHUSDT"]
                table.close()

    asyncio.run(main())


def _feed_process(instance, rest, websocket):
    class At:
        pass

    feed_module.find_venue = ADAPTERS.__getitem__
    at = At()
    at.rest, at.websocket = rest, websocket
    counters = CountersWriter.open(instance, "feed")
    asyncio.run(Feed(context(instance, at, counters)).run(asyncio.Event()))


@pytest.mark.processes
def test_a_killed_feed_s_successor_goes_on_in_the_same_ring(instance):
    async def main():
        async with LocalVenue().serve() as venue:
            spawn = multiprocessing.get_context("spawn")
            args = (instance, venue.rest, venue.websocket)
            process = spawn.Process(target=_feed_process, args=args)
            process.start()
            await until(lambda: venue.sent.get("btcusdt@trade", 0) > 50, 60)
            raw = FrameReader.attach(instance, RING, start="oldest")
            before = raw.newest
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            async with feeding(instance, venue) as feed:
                await feed.until(lambda: raw.newest > before + 100)
                assert raw.segment.epoch == 2
                sequences, kinds = [], []
                while len(batch := raw.poll()):
                    sequences += batch["sequence"].tolist()
                    kinds += batch["kind"].tolist()
                assert sequences == list(range(1, len(sequences) + 1))
                assert FrameKind.STALE in kinds
            raw.close()

    asyncio.run(main())


def test_weights_are_spent_within_the_budget(monkeypatch):
    monkeypatch.setattr(rest_module, "WINDOW_S", 0.2)

    async def main():
        budget = WeightBudget(100)  # 80 are ours
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(5):
            await budget.take(20)
        assert loop.time() - started >= 0.2
        assert budget.used <= 80

    asyncio.run(main())


def test_the_venue_s_own_count_is_believed():
    budget = WeightBudget(100)
    budget.observe(75)
    assert budget.used == 75
    budget.observe(10)
    assert budget.used == 75


def test_the_clock_is_compared_with_the_venue_s():
    async def main():
        async with LocalVenue().serve() as venue:
            log = logging.getLogger("test")
            async with RestClient(BINANCE_USDM, venue.rest, log) as rest:
                offset = await rest.time_offset_ns()
        assert abs(offset) > 0

    asyncio.run(main())


def test_a_refused_request_is_not_repeated():
    async def main():
        async with LocalVenue().serve() as venue:
            venue.depth_answers = [web.json_response({"code": -1121}, status=400)]
            log = logging.getLogger("test")
            async with RestClient(BINANCE_USDM, venue.rest, log) as rest:
                with pytest.raises(RestFailed, match="-1121") as failure:
                    await rest.get(RestRequest("/fapi/v1/depth?symbol=X", 1))
            assert failure.value.status == 400
            assert len(venue.depth_requests) == 1

    asyncio.run(main())


def test_a_book_that_does_not_come_right_brings_the_instruments_up_to_date_early(
    instance, monkeypatch
):
    monkeypatch.setattr(feed_module, "EARLY_S", 0.05)

    async def scenario(feed):
        await feed.until(lambda: feed.counters()["frames"] >= 20)
        feed.venue.symbols.append("NEWUSDT")
        writer = await asked(feed, resync(0, attempt=1))
        await feed.until(lambda: feed.counters()["listed"] == 1)
        writer.close()

    run(instance, scenario, symbols=["*"], channels=["book"])
