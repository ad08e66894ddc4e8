"""The book kernels against two dicts."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.book import (
    BASE,
    BITS_AT,
    FULL,
    HELD,
    NONE,
    OK,
    OVER_COUNT,
    SUMMARY_AT,
    TOUCHED,
    WINDOW_AT,
    WORD,
    apply_levels,
    clear_book,
    crossed,
    depth,
    new_books,
    start_book,
    top_levels,
)

WINDOW = 64
TICK = 5
SIDES = (1, -1)


def rows(levels):
    return np.array(levels, np.int64).reshape(-1, 2)


def put(books, side, *levels, book=0):
    return apply_levels(books, book, side, rows(levels), 0, len(levels))


def everything(books, side, book=0):
    out = np.zeros((depth(books, book, side) + 1, 2), np.int64)
    count = top_levels(books, book, side, len(out), out)
    return [tuple(each) for each in out[:count].tolist()]


def best_price(books, side):
    out = np.zeros((1, 2), np.int64)
    return int(out[0, 0]) if top_levels(books, 0, side, 1, out) else NONE


def one_book(window=WINDOW, overflow=256, tick=TICK):
    books = new_books(2, window, overflow)
    start_book(books, 0, tick)
    start_book(books, 1, tick)
    return books


class Twin:
    """A book of the kernels and two dicts, fed the same messages."""

    def __init__(self, window=WINDOW, overflow=256):
        self.books = one_book(window, overflow)
        self.sides = {1: {}, -1: {}}

    def message(self, side, levels):
        status = put(self.books, side, *levels)
        for price, quantity in levels:
            self.sides[side][price] = quantity
            if not quantity:
                del self.sides[side][price]  # A zero for an unknown level leaves nothing either.
        return status

    def clear(self):
        clear_book(self.books, 0)
        self.sides = {1: {}, -1: {}}

    def check(self):
        for side, levels in self.sides.items():
            wanted = sorted(levels.items(), reverse=side > 0)
            assert everything(self.books, side) == wanted
            assert best_price(self.books, side) == (wanted[0][0] if wanted else NONE)
            assert depth(self.books, 0, side) == len(wanted)
        self.check_bits()

    def check_bits(self):
        for row in range(2):
            cells = self.books[row]
            window = cells[cells[WINDOW_AT] : cells[WINDOW_AT] + WINDOW]
            bits = cells[cells[BITS_AT] : cells[WINDOW_AT]]
            assert np.count_nonzero(window) == cells[HELD]
            for slot, quantity in enumerate(window.tolist()):
                assert bool(bits[slot >> WORD] >> (slot & 31) & 1) == (quantity != 0)
            for word, value in enumerate(bits.tolist()):
                assert bool(cells[SUMMARY_AT + (word >> WORD)] >> (word & 31) & 1) == (value != 0)


def messages(centres):
    """Levels near a centre that wanders: some far away, some off the grid, many removals."""
    offsets = st.one_of(
        st.integers(-30, 30).map(lambda n: n * TICK),
        st.integers(-30, 30).map(lambda n: n * TICK),
        st.integers(-400, 400).map(lambda n: n * TICK),
        st.integers(-100, 100),
    )
    level = st.tuples(offsets, st.sampled_from([0, 0, 1, 7, 10**15]))
    levels = st.lists(level, max_size=12)
    near = st.tuples(st.just("levels"), st.sampled_from(SIDES), centres, levels)
    return st.lists(st.one_of(near, near, near, near, st.just(("clear",))), max_size=30)


@given(messages(st.integers(2, 60).map(lambda n: n * 500)))
@settings(max_examples=150, deadline=None)
def test_a_book_holds_what_two_dicts_hold(steps):
    twin = Twin(overflow=1024)
    for step in steps:
        if step[0] == "clear":
            twin.clear()
        else:
            _, side, centre, offsets = step
            levels = [(max(1, centre + offset), quantity) for offset, quantity in offsets]
            assert twin.message(side, levels) == OK
        twin.check()


def test_a_wandering_market_reaches_every_part_of_the_book():
    rng = random.Random(5)
    twin = Twin(overflow=2048)
    centre, moves, most_outside, off_grid = 5000, 0, 0, 0
    for _ in range(400):
        centre += rng.choice((-60, -10, 0, 10, 60, 400 if rng.random() < 0.05 else 0))
        side = rng.choice(SIDES)
        base = int(twin.books[(1 - side) >> 1, BASE])
        levels = {}
        for _ in range(rng.randrange(1, 10)):
            away = rng.choice((5, 5, 50, 300)) * rng.randrange(0, 20)
            price = max(1, centre - side * away + (rng.random() < 0.1) * 2)
            off_grid += price % TICK != 0
            levels[price] = rng.randrange(1, 100)
        held = sorted(twin.sides[side], reverse=side > 0)
        gone = held[:6] if rng.random() < 0.3 else rng.sample(held, min(len(held), 2))
        levels |= dict.fromkeys(gone, 0)
        assert twin.message(side, list(levels.items())) == OK
        twin.check()
        moves += int(twin.books[(1 - side) >> 1, BASE]) != base
        most_outside = max(most_outside, int(twin.books[:2, OVER_COUNT].max()))
    assert moves > 20
    assert most_outside > 30
    assert off_grid > 50


@pytest.mark.parametrize("side", SIDES)
def test_removing_the_best_level_finds_the_next_one_however_far(side):
    books = one_book(window=4096, tick=1)
    put(books, side, (10_000, 1), (10_000 - side * 3000, 2), (10_000 - side * 900_000, 3))
    put(books, side, (10_000, 0))
    assert best_price(books, side) == 10_000 - side * 3000
    put(books, side, (10_000 - side * 3000, 0))
    assert best_price(books, side) == 10_000 - side * 900_000


@pytest.mark.parametrize("side", SIDES)
def test_a_price_off_the_tick_grid_is_kept_in_its_place(side):
    books = one_book()
    put(books, side, (100, 1), (102, 2), (105, 3))
    assert everything(books, side) == sorted([(100, 1), (102, 2), (105, 3)], reverse=side > 0)


def test_removing_an_unknown_level_changes_nothing():
    books = one_book()
    put(books, 1, (100, 1))
    for price in (95, 98, 5000):
        assert put(books, 1, (price, 0)) == OK
    assert everything(books, 1) == [(100, 1)]


def test_a_level_beyond_the_overflow_is_reported():
    books = one_book(overflow=4)
    far = [(10_000 * i, 1) for i in range(1, 6)]
    put(books, 1, (1_000_000, 1))
    assert [put(books, 1, level) for level in far] == [OK, OK, OK, OK, FULL]
    assert depth(books, 0, 1) == 5


def test_a_full_overflow_still_takes_changes_and_removals():
    books = one_book(overflow=2)
    put(books, 1, (1_000_000, 1), (10_000, 1), (20_000, 1))
    assert put(books, 1, (10_000, 5), (20_000, 0), (30_000, 6)) == OK
    assert everything(books, 1) == [(1_000_000, 1), (30_000, 6), (10_000, 5)]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("side", SIDES)
def test_the_overflow_can_be_filled_from_either_end(side, order):
    books = one_book(overflow=300)
    levels = [(10**6 - side * (10_000 + 100 * i), i + 1) for i in range(300)][::order]
    assert put(books, side, (10**6, 1)) == OK
    assert put(books, side, *levels) == OK
    assert everything(books, side)[1:] == sorted(levels, reverse=side > 0)


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [(99, 100, False), (100, 100, True), (101, 100, True), (None, 100, False), (99, None, False)],
)
def test_a_book_is_crossed_when_the_bid_reaches_the_ask(bid, ask, expected):
    books = one_book(tick=1)
    if bid:
        put(books, 1, (bid, 1))
    if ask:
        put(books, -1, (ask, 1))
    assert crossed(books, 0) == expected


def test_top_levels_stop_at_the_limit():
    books = one_book(tick=1)
    put(books, -1, *[(100 + i, i + 1) for i in range(10)])
    out = np.zeros((3, 2), np.int64)
    assert top_levels(books, 0, -1, 3, out) == 3
    assert out.tolist() == [[100, 1], [101, 2], [102, 3]]


def test_the_best_changed_key_is_noted_until_it_is_reset():
    books = one_book(tick=1)
    put(books, 1, (100, 1), (90, 1))
    books[0, TOUCHED] = NONE
    put(books, 1, (90, 2), (100, 1))
    assert books[0, TOUCHED] == 90
    put(books, 1, (90, 2))
    books[0, TOUCHED] = NONE
    put(books, 1, (90, 2))
    assert books[0, TOUCHED] == NONE


def test_books_do_not_touch_each_other():
    books = one_book()
    put(books, 1, (100, 1), book=0)
    put(books, 1, (200, 2), book=1)
    clear_book(books, 0)
    assert everything(books, 1, book=0) == []
    assert everything(books, 1, book=1) == [(200, 2)]


def test_prices_up_to_the_end_of_int64_are_held():
    books = one_book(tick=1)
    top = 2**62
    put(books, 1, (top, 1), (1, 2))
    put(books, -1, (top + 1, 3), (2, 4))
    assert everything(books, 1) == [(top, 1), (1, 2)]
    assert everything(books, -1) == [(2, 4), (top + 1, 3)]


@pytest.mark.parametrize(("window", "overflow"), [(63, 16), (32, 16), (100, 16), (64, 1)])
def test_sizes_that_cannot_work_are_refused(window, overflow):
    with pytest.raises(ValueError, match="must be"):
        new_books(1, window, overflow)
