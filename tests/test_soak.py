"""The soak: what it checks is checked, and every venue's books survive its faults."""

from collections import OrderedDict

import numpy as np
import pytest

from bench import soak
from engine.histogram import MAXIMUM
from engine.ring import RingWriter
from engine.table import TableWriter
from feeds.types import BOOK_DELTA, BOOK_IMAGE, BOOK_TOP, INSTRUMENT, BookState, Flag, TopSource

UNIT = 10**soak.DECIMALS
BEFORE = (((9 * UNIT, UNIT),), ((11 * UNIT, 2 * UNIT),))
AFTER = (((9 * UNIT, UNIT), (8 * UNIT, 5 * UNIT)), ((11 * UNIT, 2 * UNIT),))
TRUTH = {("here", "X"): OrderedDict({1: BEFORE, 2: AFTER})}


class Worker:
    """The worker's segments, written by the test: one instrument without decimals."""

    def __init__(self, instance):
        self.deltas = RingWriter.open(instance, "md.book", BOOK_DELTA, 64)
        self.tops = RingWriter.open(instance, "md.top", BOOK_TOP, 64)
        self.images = TableWriter.open(instance, "md.books", BOOK_IMAGE, 1)
        self.instruments = TableWriter.open(instance, "md.instruments", INSTRUMENT, 1)
        record = np.zeros(1, INSTRUMENT.dtype)
        record["venue"], record["native"] = b"here", b"X"
        self.instruments.write(0, record)

    def delta(self, number, side, price, quantity, flags):
        record = np.zeros(1, BOOK_DELTA.dtype)
        record["side"], record["price"], record["quantity"] = side, price, quantity
        record["update_id"], record["flags"] = number, flags
        self.deltas.publish_many(record)

    def snapshot(self):
        self.delta(1, 1, 9, 1, Flag.SNAPSHOT | Flag.CLEAR)
        self.delta(1, -1, 11, 2, Flag.SNAPSHOT | Flag.LAST)

    def top(self, number, state, published_ns, bid=9):
        record = np.zeros(1, BOOK_TOP.dtype)
        record["source"], record["state"], record["update_id"] = TopSource.BOOK, state, number
        record["bid_price"], record["bid_quantity"] = bid, 1
        record["ask_price"], record["ask_quantity"] = 11, 2
        record["published_ns"] = published_ns
        self.tops.publish_many(record)

    def image(self, number, state, quantity):
        record = np.zeros(1, BOOK_IMAGE.dtype)
        record["state"], record["update_id"] = state, number
        record["bid_count"] = record["ask_count"] = 1
        record["bids"][0, 0], record["asks"][0, 0] = (9, 1), (11, quantity)
        self.images.write(0, record)

    def close(self):
        for each in (self.deltas, self.tops, self.images, self.instruments):
            each.close()


@pytest.fixture
def worker(instance):
    worker = Worker(instance)
    yield worker
    worker.close()


@pytest.fixture
def checker(instance, worker):
    checker = soak.Checker(instance, TRUTH)
    yield checker
    checker.close()


def test_messages_that_make_the_venues_book_are_right(worker, checker):
    worker.snapshot()
    worker.delta(2, 1, 8, 5, Flag.LAST)
    checker.work()
    assert checker.checked == {"messages": 2}
    assert not checker.wrong


def test_a_message_that_makes_another_book_is_wrong(worker, checker):
    worker.snapshot()
    worker.delta(2, 1, 8, 4, Flag.LAST)
    checker.work()
    (wrong,) = checker.wrong
    assert (wrong["kind"], wrong["book"], wrong["update_id"]) == ("messages", "here:X", 2)


def test_a_live_top_at_another_price_is_wrong_and_one_that_is_not_live_is_not(worker, checker):
    worker.top(1, BookState.LIVE, 10)
    worker.top(1, BookState.GAP, 20, bid=7)
    worker.top(1, BookState.LIVE, 30, bid=7)
    checker.work()
    assert [wrong["kind"] for wrong in checker.wrong] == ["tops"]
    assert checker.checked["tops"] == 2


def test_a_live_image_with_another_quantity_is_wrong(worker, checker):
    worker.image(1, BookState.STALE, quantity=3)
    checker.work()
    assert not checker.wrong
    worker.image(1, BookState.LIVE, quantity=3)
    checker.work()
    assert [wrong["kind"] for wrong in checker.wrong] == ["images"]


def test_a_live_state_that_the_venue_never_had_is_wrong(worker, checker, monkeypatch):
    monkeypatch.setattr(soak, "LATE_S", 0.0)
    worker.top(3, BookState.LIVE, 10)
    checker.work()
    assert [wrong["true"] for wrong in checker.wrong] == [None]


def test_the_time_to_valid_is_taken_from_the_records(worker, checker):
    for state, published_ns in ((BookState.GAP, 1000), (BookState.LIVE, 1100)):
        worker.top(1, state, published_ns)
    checker.work()
    row = checker.repaired[BookState.GAP]
    assert soak._milliseconds(row)["count"] == 1
    assert row[MAXIMUM] == 100


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("venue", "lines"), [*((venue, 1) for venue in soak.MARKETS), ("binance_usdm", 2), ("okx", 2)]
)
def test_no_book_is_live_and_wrong_and_all_are_live_again_after_faults(venue, lines):
    options = soak.arguments(["--venue", venue, "--disconnects", "3", "--lines", str(lines)])
    result = soak.soak(venue, options)
    assert result["wrong"] == 0, result["examples"]
    assert not result["overdue"]
    assert result["checked"]["messages"] > 0
    assert result["disconnect_to_valid_ms"]["count"] >= (result["books"] if lines == 1 else 1)
    assert result["ok"]
