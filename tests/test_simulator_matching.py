"""The simulated venue's matching engine against a slow, obvious one; its flow's determinism."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common import Side, TimeInForce
from gateways.simulator.matching import OrderBook, UpdateIds
from gateways.simulator.simulation import Simulation

PRICES = st.integers(95, 105)
LOTS = st.integers(1, 20)
SIDES = st.sampled_from(list(Side))
KINDS = st.sampled_from(
    [TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.POST_ONLY]
)
SUBMIT = st.tuples(st.just("submit"), SIDES, st.none() | PRICES, LOTS, KINDS)
CANCEL = st.tuples(st.just("cancel"), st.integers(1, 60))
REDUCE = st.tuples(st.just("reduce"), st.integers(1, 60), st.integers(1, 19))
OPERATIONS = st.lists(st.one_of(SUBMIT, SUBMIT, SUBMIT, CANCEL, REDUCE), max_size=60)


@dataclass
class Resting:
    id: int
    side: Side
    price: int
    remaining: int


class NaiveBook:
    """A list of orders, sorted anew for each match."""

    def __init__(self):
        self.orders = []
        self.count = 0

    def matches(self, side, price):
        against = [order for order in self.orders if order.side is not side]
        if price is not None:
            against = [order for order in against if (price - order.price) * int(side) >= 0]
        # sorted() is stable, and the list is in the order of arrival.
        return sorted(against, key=lambda order: order.price * int(side))

    def submit(self, side, price, lots, kind):
        self.count += 1
        against = self.matches(side, price)
        if kind is TimeInForce.POST_ONLY and price is not None and against:
            return None
        if kind is TimeInForce.FOK and sum(order.remaining for order in against) < lots:
            return None
        fills = []
        for order in against:
            taken = min(lots, order.remaining)
            if taken:
                fills.append((order.price, taken, order.id, self.count))
            order.remaining -= taken
            lots -= taken
        self.orders = [order for order in self.orders if order.remaining]
        if lots and price is not None and kind in (TimeInForce.GTC, TimeInForce.POST_ONLY):
            self.orders.append(Resting(self.count, side, price, lots))
        return fills

    def find(self, order_id):
        return next((order for order in self.orders if order.id == order_id), None)

    def depth(self, side):
        totals = {}
        for order in self.orders:
            if order.side is side:
                totals[order.price] = totals.get(order.price, 0) + order.remaining
        return sorted(totals.items(), key=lambda level: -level[0] * int(side))


def apply(operation, book, naive):
    """Do one operation in both books; return the outcome and the fills that both agree on."""
    if operation[0] == "submit":
        _, side, price, lots, kind = operation
        outcome = book.submit(side, price, lots, kind)
        expected = naive.submit(side, price, lots, kind)
        assert outcome.accepted is (expected is not None)
        fills = [(f.price, f.quantity, f.maker.id, f.taker.id) for f in outcome.fills]
        assert fills == (expected or [])
        return outcome
    order = naive.find(operation[1])
    if operation[0] == "cancel":
        outcome = book.cancel(operation[1])
        assert (outcome is None) is (order is None)
        if order is not None:
            naive.orders.remove(order)
        return outcome
    if order is None:
        assert book.reduce(operation[1], 1) is None
    elif operation[2] < order.remaining:
        order.remaining = operation[2]
        return book.reduce(operation[1], operation[2])
    return None


@given(OPERATIONS)
@settings(max_examples=300, deadline=None)
def test_matching_agrees_with_a_naive_book(operations):
    book, naive = OrderBook(), NaiveBook()
    for operation in operations:
        apply(operation, book, naive)
        for side in Side:
            assert book.depth(side) == naive.depth(side)
        assert (
            book.bids.best is None
            or book.asks.best is None
            or (book.bids.best.price < book.asks.best.price)
        )


@given(OPERATIONS)
@settings(max_examples=200, deadline=None)
def test_changes_replayed_into_a_dictionary_give_the_book(operations):
    book, naive = OrderBook(), NaiveBook()
    copy = {}
    last = book.update_id
    for operation in operations:
        outcome = apply(operation, book, naive)
        for change in outcome.changes if outcome else []:
            assert change.update_id == last + 1
            last = change.update_id
            level = book.side(change.side).levels.get(change.price)
            copy[change.side, change.price] = level.quantity if level else 0
        assert book.update_id == last
    for side in Side:
        levels = {p: lots for (own, p), lots in copy.items() if own is side and lots}
        assert levels == dict(book.depth(side))


def test_an_order_keeps_its_place_when_it_is_reduced():
    book = OrderBook()
    first = book.submit(Side.BUY, 100, 10).order
    book.submit(Side.BUY, 100, 10)
    book.reduce(first.id, 4)
    fill = book.submit(Side.SELL, 100, 1).fills[0]
    assert fill.maker is first
    assert (first.quantity, first.remaining) == (4, 3)


def test_orders_without_price_or_quantity_are_refused():
    with pytest.raises(ValueError, match="positive ticks and lots"):
        OrderBook().submit(Side.BUY, 0, 1)
    with pytest.raises(ValueError, match="positive ticks and lots"):
        OrderBook().submit(Side.BUY, 1, 0)


def test_shared_update_ids_jump_for_a_single_book():
    ids = UpdateIds(1000, spread=9)
    taken = [ids.take() for _ in range(100)]
    steps = {after - before for before, after in pairwise(taken)}
    assert min(steps) >= 1
    assert max(steps) > 1


def fingerprint(seed, steps):
    simulation = Simulation(seed, ["binance_spot", "binance_usdm"], ["BTCUSDT", "ETHUSDT"])
    seen = []
    for part in steps:
        simulation.advance(
            part,
            lambda market, outcome: seen.append(
                (market.venue, market.instrument.symbol, outcome.changes, len(outcome.fills))
            ),
        )
    return seen


def test_the_same_seed_gives_the_same_market_however_it_is_stepped():
    assert fingerprint(7, [3000]) == fingerprint(7, [1, 999, 2000])


def test_another_seed_gives_another_market():
    assert fingerprint(7, [200]) != fingerprint(8, [200])


def test_generated_books_stay_deep_and_uncrossed():
    simulation = Simulation(3, ["binance_spot", "binance_usdm"], ["BTCUSDT", "SOLUSDT"])
    trades = []
    simulation.advance(20_000, lambda _, outcome: trades.extend(outcome.fills))
    assert len(trades) > 1000
    for market in simulation.books:
        book = market.book
        assert book.bids.best.price < book.asks.best.price
        assert 200 < len(book.orders) < 2000
