"""What strategies read and compute: the samples' kernels, the own book, the accounts."""

import logging
import time

import numpy as np
import pytest

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersWriter
from engine.histogram import COUNT, MINIMUM, ROW
from engine.ring import RingReader, RingWriter
from engine.table import TableWriter
from feeds.types import (
    BOOK_DELTA,
    BOOK_IMAGE,
    BOOK_TOP,
    FUNDING,
    INSTRUMENT,
    LIQUIDATION,
    RINGS,
    STATS,
    TRADE,
    BookState,
    Flag,
)
from oms.samples import jitted_strategy as jitted
from oms.samples.jitted_strategy import LAPS, LOST, POSITION, JittedStrategy
from oms.samples.python_strategy import OwnBook, PythonStrategy

INSTRUMENTS = 4


class Worker:
    """The worker's segments, written by the test."""

    def __init__(self, instance, capacity=64):
        self.rings = {
            name: RingWriter.open(instance, name, layout, capacity)
            for name, layout in RINGS.items()
        }
        self.instruments = TableWriter.open(instance, "md.instruments", INSTRUMENT, INSTRUMENTS)
        self.books = TableWriter.open(instance, "md.books", BOOK_IMAGE, INSTRUMENTS)

    def publish(self, ring, count=1, **fields):
        records = np.zeros(count, RINGS[ring].dtype)
        records["published_ns"] = records["received_ns"] = time.time_ns() - 1000
        for name, value in fields.items():
            records[name] = value
        self.rings[ring].publish_many(records)

    def close(self):
        for writer in (*self.rings.values(), self.instruments, self.books):
            writer.close()


@pytest.fixture
def worker(instance):
    worker = Worker(instance)
    yield worker
    worker.close()


@pytest.fixture
def strategy(instance, worker):
    """Return a function that starts a strategy and returns it with its counters."""
    started, counters = [], CountersWriter.open(instance, "strategy")

    def start(make):
        context = AgentContext(instance, "s", {}, Config(), counters, logging.getLogger("s"))
        agent = make(context)
        started.append(agent)
        agent.start()
        return agent, lambda name: int(counters.values[counters.counter(name)])

    start.counters = counters
    yield start
    for agent in started:
        agent.close()
    counters.close()


def image(instrument=0, update_id=10, state=BookState.LIVE, levels=20):
    record = np.zeros(1, BOOK_IMAGE.dtype)[0]
    record["instrument"], record["state"], record["update_id"] = instrument, state, update_id
    record["epoch"], record["bid_count"], record["ask_count"] = 1, levels, levels
    for i in range(levels):
        record["bids"][i] = (1000 - i, 5 + i)
        record["asks"][i] = (1001 + i, 6 + i)
    return record


def deltas(*levels, update_id=11, epoch=1, flags=0):
    records = np.zeros(len(levels), BOOK_DELTA.dtype)
    for record, (side, price, quantity) in zip(records, levels, strict=True):
        record["side"], record["price"], record["quantity"] = side, price, quantity
    records["update_id"], records["epoch"], records["flags"] = update_id, epoch, flags
    return records


def kernel_arguments(reader, layout, state):
    cursor = np.zeros(4, np.int64)
    cursor[POSITION] = reader.position
    rows = np.zeros((2, ROW), np.int64)
    slots = reader.slots.view(layout.dtype)
    return cursor, rows, (slots, reader.words, reader.cells, cursor, 64, rows[0], rows[1], state)


@pytest.fixture
def state():
    return np.zeros((INSTRUMENTS, jitted.COLUMNS), np.int64)


@pytest.mark.kernels
def test_the_trades_kernel_counts_and_times_what_is_there(instance, worker, state):
    reader = RingReader.attach(instance, "md.trades", TRADE)
    cursor, rows, arguments = kernel_arguments(reader, TRADE, state)
    worker.publish("md.trades", 5, instrument=1, side=1, quantity=32)
    assert jitted.on_trades(*arguments) == 5
    assert jitted.on_trades(*arguments) == 0
    assert state[1, jitted.TRADES] == 5
    assert state[1, jitted.FLOW] == 153
    assert rows[0][COUNT] == rows[1][COUNT] == 5
    assert rows[0][MINIMUM] >= 1000
    assert cursor[LOST] == 0
    reader.close()


@pytest.mark.kernels
def test_a_kernel_that_was_lapped_counts_what_it_lost_and_goes_on(instance, worker, state):
    reader = RingReader.attach(instance, "md.trades", TRADE)
    cursor, _, arguments = kernel_arguments(reader, TRADE, state)
    worker.publish("md.trades", 200, instrument=1)
    assert jitted.on_trades(*arguments) == 0
    read = jitted.on_trades(*arguments)
    assert read > 0
    assert cursor[LAPS] == 1
    assert cursor[POSITION] == 1 + cursor[LOST] + read
    reader.close()


@pytest.mark.kernels
def test_records_of_unknown_instruments_change_nothing(instance, worker, state):
    reader = RingReader.attach(instance, "md.funding", FUNDING)
    _, _, arguments = kernel_arguments(reader, FUNDING, state)
    worker.publish("md.funding", 2, instrument=INSTRUMENTS)
    assert jitted.on_funding(*arguments) == 2
    assert not state.any()
    reader.close()


@pytest.mark.kernels
def test_trades_and_top_that_agree_make_one_signal(instance, worker, state):
    trades = RingReader.attach(instance, "md.trades", TRADE)
    tops = RingReader.attach(instance, "md.top", BOOK_TOP)
    top = {"bid_price": 100, "ask_price": 101, "bid_quantity": 90, "ask_quantity": 10}
    worker.publish("md.trades", 3, instrument=2, side=1, quantity=1000)
    worker.publish("md.top", 2, instrument=2, state=int(BookState.LIVE), **top)
    for reader, layout, kernel in (
        (trades, TRADE, jitted.on_trades),
        (tops, BOOK_TOP, jitted.on_top),
    ):
        _, _, arguments = kernel_arguments(reader, layout, state)
        arguments[3][POSITION] = 1
        kernel(*arguments)
    assert (state[2, jitted.SIGNAL], state[2, jitted.SIGNALS]) == (1, 1)
    assert state[2, jitted.CROSSED] == 0
    trades.close()
    tops.close()


@pytest.mark.kernels
def test_liquidations_are_added_up_by_side(instance, worker, state):
    reader = RingReader.attach(instance, "md.liquidations", LIQUIDATION)
    _, _, arguments = kernel_arguments(reader, LIQUIDATION, state)
    worker.publish("md.liquidations", 3, instrument=1, side=-1, quantity=5)
    worker.publish("md.liquidations", instrument=1, side=1, quantity=2)
    assert jitted.on_liquidations(*arguments) == 4
    assert (state[1, jitted.LIQUIDATIONS], state[1, jitted.FORCED]) == (4, -13)
    reader.close()


@pytest.mark.kernels
def test_the_last_ticker_counts(instance, worker, state):
    reader = RingReader.attach(instance, "md.stats", STATS)
    _, _, arguments = kernel_arguments(reader, STATS, state)
    for last in (7, 8):
        worker.publish("md.stats", instrument=1, last_price=last, volume=10 * last)
    assert jitted.on_stats(*arguments) == 2
    assert (state[1, jitted.LAST], state[1, jitted.VOLUME]) == (8, 80)
    reader.close()


def test_the_own_book_follows_deltas():
    book = OwnBook(0)
    assert book.seed(image())
    book.apply(deltas((1, 1000, 0), (-1, 1001, 99), (1, 999, 7)))
    assert book.best(1, 2) == [(999, 7), (998, 7)]
    assert book.best(-1, 1) == [(1001, 99)]


def test_deltas_that_the_image_has_already_are_skipped():
    book = OwnBook(0)
    book.seed(image(update_id=10))
    book.apply(deltas((1, 1000, 0), update_id=10))
    assert book.best(1, 1) == [(1000, 5)]


def test_an_image_older_than_the_deltas_seen_is_no_seed():
    book = OwnBook(0)
    book.apply(deltas((1, 1000, 1), update_id=12))
    assert not book.seed(image(update_id=11))


@pytest.mark.parametrize("state", [BookState.GAP, BookState.STALE, BookState.SYNCING])
def test_an_image_that_is_not_live_is_no_seed(state):
    assert not OwnBook(0).seed(image(state=state))


@pytest.mark.parametrize("change", [{"epoch": 2}, {"flags": int(Flag.SNAPSHOT | Flag.CLEAR)}])
def test_a_resynchronised_book_is_begun_anew(change):
    book = OwnBook(0)
    book.seed(image())
    book.apply(deltas((1, 1000, 1), **change))
    assert not book.seeded


def test_a_book_whose_ids_begin_anew_is_begun_anew():
    book = OwnBook(0)
    book.seed(image())
    book.apply(deltas((1, 1000, 1), update_id=12))
    book.apply(deltas((1, 1000, 2), update_id=3))
    assert not book.seeded
    assert book.seed(image(update_id=3))


def test_a_book_near_its_horizon_is_begun_anew():
    book = OwnBook(0)
    book.seed(image(levels=8))
    book.apply(deltas((1, 1000, 0), (1, 999, 0), (1, 998, 0)))
    assert not book.seeded


def test_agreement_is_only_judged_at_the_same_update():
    book = OwnBook(0)
    book.seed(image(update_id=10))
    assert book.agrees(image(update_id=10)) is True
    assert book.agrees(image(update_id=11)) is None
    book.apply(deltas((1, 1000, 77)))
    assert book.agrees(image(update_id=11)) is False


@pytest.mark.parametrize("make", [PythonStrategy, JittedStrategy])
def test_a_strategy_accounts_for_every_record(worker, strategy, make):
    agent, value = strategy(make)
    for ring in RINGS:
        worker.publish(ring, 3)
    assert agent.do_work() == 3 * len(RINGS)
    agent.heartbeat()
    for ring in RINGS:
        assert (value(f"{ring}.records"), value(f"{ring}.lost")) == (3, 0)
    rows = strategy.counters.cells[:2, COUNT]
    assert rows.tolist() == [3 * len(RINGS)] * 2


@pytest.mark.parametrize("make", [PythonStrategy, JittedStrategy])
def test_a_strategy_starts_with_what_comes_next(worker, strategy, make):
    worker.publish("md.trades", 3)
    agent, _ = strategy(make)
    assert agent.do_work() == 0


@pytest.mark.parametrize("make", [PythonStrategy, JittedStrategy])
def test_a_lapped_strategy_says_so(worker, strategy, make):
    agent, value = strategy(make)
    worker.publish("md.top", 1000)
    while agent.do_work():
        pass
    agent.heartbeat()
    agent.do_work()
    agent.heartbeat()
    assert value("md.top.overruns") == 1
    assert value("md.top.lost") + value("md.top.records") == 1000


@pytest.mark.parametrize("make", [PythonStrategy, JittedStrategy])
def test_a_record_without_a_frame_has_no_age_since_the_socket(worker, strategy, make):
    agent, _ = strategy(make)
    worker.publish("md.top", 2, received_ns=0)
    agent.do_work()
    counters = strategy.counters
    rows = [counters.histogram(f"{name}_to_strategy") for name in ("record", "socket")]
    assert [int(counters.cells[row, COUNT]) for row in rows] == [2, 0]


def test_the_python_strategy_averages_the_imbalance_of_live_tops(worker, strategy):
    agent, value = strategy(PythonStrategy)
    live = {"bid_price": 100, "ask_price": 102, "state": int(BookState.LIVE)}
    worker.publish("md.top", 64, instrument=0, bid_quantity=3 << 41, ask_quantity=1 << 41, **live)
    while agent.do_work():
        pass
    worker.publish("md.top", 8, instrument=0, state=int(BookState.GAP))
    while agent.do_work():
        pass
    agent.heartbeat()
    assert value("tops_live") == 64
    names = [label["name"] for label in strategy.counters.labels]
    place = strategy.counters.labels[names.index(b"imbalance")]["row"]
    assert 740_000 < strategy.counters.values[place] <= 750_000
