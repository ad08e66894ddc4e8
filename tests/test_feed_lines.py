"""Feed and worker together: connections that lead, lag and lose, and books that do not notice."""

import asyncio
import contextlib
import logging

import pytest

from engine.agent import AgentContext
from engine.config import parse
from engine.counters import CountersReader, CountersWriter
from engine.ring import RingReader
from engine.table import TableReader
from feeds import feed as feed_module
from feeds import worker as worker_module
from feeds.binance import BINANCE_USDM
from feeds.feed import Feed
from feeds.types import BOOK_IMAGE, TRADE, BookState
from feeds.worker import Worker
from tests.local_venue import LocalVenue, until
from tests.market import Market, frame

VENUE = BINANCE_USDM.name()
CENTS, THOUSANDTHS = 100, 1000


@pytest.fixture(autouse=True)
def venues(monkeypatch):
    """Find Binance even where the project is not installed."""
    for module in (feed_module, worker_module):
        monkeypatch.setattr(module, "find_venue", {VENUE: BINANCE_USDM}.__getitem__)


class TrueVenue(LocalVenue):
    """Sends the depth messages and trades of a made-up market."""

    def __init__(self):
        super().__init__()
        self.market = Market(7, futures=True)
        self.trades = 0

    def message(self, stream, number):
        if "@depth" in stream:
            return frame(self.market.update()).decode()
        self.trades = number
        trade = {"e": "trade", "E": number, "T": number, "s": "BTCUSDT", "t": number}
        return frame(trade | {"p": "1.00", "q": "1", "X": "MARKET", "m": True}).decode()

    def snapshot(self, symbol):
        return self.market.snapshot()


class Desk:
    """A feed and a worker in this process."""

    def __init__(self, instance, venue):
        self.instance, self.venue = instance, venue
        self.trades = RingReader.attach(instance, "md.trades", TRADE, start="oldest")
        self.images = TableReader.attach(instance, "md.books", BOOK_IMAGE)
        self.seen = []

    @property
    def book(self):
        return self.images.read(0)

    def counters(self):
        reader = CountersReader.attach(self.instance, "feed")
        try:
            return {k.removeprefix(f"{VENUE}."): v for k, v in reader.counters().items()}
        finally:
            reader.close()

    def trade_ids(self):
        while len(batch := self.trades.poll()):
            self.seen += batch["trade_id"].tolist()
        return self.seen

    async def settled(self):
        """Stop the market and wait until all of it has come through."""
        self.venue.muted = True
        self.venue.lag.clear()
        for socket, waiting in self.venue._waiting.items():
            while waiting and not socket.closed:
                await socket.send_str(waiting.popleft())
        market = self.venue.market
        await until(lambda: self.book["update_id"] == market.last)
        await until(lambda: len(self.trade_ids()) and max(self.seen) == self.venue.trades)

    def shown(self):
        """The best levels of both sides, in the market's units."""
        book = self.book
        sides = (("bids", "bid_count"), ("asks", "ask_count"))
        return tuple(
            [(p // CENTS, q // THOUSANDTHS) for p, q in book[side][: book[count]].tolist()]
            for side, count in sides
        )

    def close(self):
        self.trades.close()
        self.images.close()


@contextlib.asynccontextmanager
async def desk(instance, venue, **settings):
    addresses = {"rest": venue.rest, "websocket": venue.websocket}
    config = parse({"instance": instance, "endpoints": {VENUE: addresses}})
    log, stop = logging.getLogger("test-lines"), asyncio.Event()
    feed_counters = CountersWriter.open(instance, "feed")
    worker_counters = CountersWriter.open(instance, "worker")
    wanted = {"venue": VENUE, "symbols": ["BTCUSDT"], "channels": ["trades", "book"]}
    wanted |= {"backoff_s": 0.02, "stagger_s": 0.01, "ring_frames": 16_384} | settings
    feed = Feed(AgentContext(instance, "feed", wanted, config, feed_counters, log, "agents[0]"))
    worker = Worker(
        AgentContext(
            instance, "worker", {"venues": [VENUE]}, config, worker_counters, log, "agents[1]"
        )
    )
    worker.start()

    async def work():
        while True:
            worker.heartbeat()
            for _ in range(50):
                worker.do_work()
                await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(feed.run(stop)), asyncio.create_task(work())]
    made = Desk(instance, venue)
    try:
        await until(lambda: made.book["state"] == BookState.LIVE)
        yield made
    finally:
        made.close()
        stop.set()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        worker.close()
        feed_counters.close()
        worker_counters.close()


def run(instance, venue, scenario, **settings):
    async def main():
        async with venue.serve(), desk(instance, venue, **settings) as made:
            epoch = int(made.book["epoch"])
            await scenario(made)
            await made.settled()
            assert (made.book["state"], made.book["gaps"]) == (BookState.LIVE, 0)
            assert made.book["epoch"] == epoch
            truth = venue.market.truth()
            assert made.shown() == tuple(side[:20] for side in truth)
            ids = made.trade_ids()
            assert sorted(ids) == list(range(min(ids), venue.trades + 1))

    asyncio.run(main())


def test_a_rotation_to_a_connection_that_leads_the_old_one_leaves_no_gap(instance):
    venue = TrueVenue()
    venue.lag = {1: 30, 3: 30}  # The second leads the first; the third lags behind it.

    async def scenario(made):
        await until(lambda: made.counters()["rotations"] >= 2, 20)

    run(instance, venue, scenario, rotate_after_s=0.6, overlap_s=0.3)


def test_two_lines_that_lose_different_messages_make_one_whole(instance):
    class Lossy(TrueVenue):
        def loses(self, connection, stream_number):
            return stream_number > 50 and stream_number % 7 == connection % 2

    async def scenario(made):
        await until(lambda: made.counters()["lines_live"] == 2)
        sent = made.venue.trades
        await until(lambda: made.venue.trades >= sent + 300)

    run(instance, Lossy(), scenario, lines=2)


def test_a_line_that_is_cut_is_not_missed(instance):
    async def scenario(made):
        await until(lambda: made.counters()["lines_live"] == 2)
        for cut in range(4):
            await until(lambda: len(made.venue.sockets) == 2)
            await list(made.venue.sockets)[cut % 2].close()
            await until(lambda cut=cut: made.counters()["reconnects"] == cut + 1)
            await until(lambda: made.counters()["lines_live"] == 2)
        assert made.counters()["stale_marks"] == 0

    run(instance, TrueVenue(), scenario, lines=2)
