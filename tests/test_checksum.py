"""The CRC32 over a book's best levels, against zlib over the text written out."""

import zlib
from decimal import Decimal
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.book import apply_levels, new_books, start_book
from feeds.checksum import LEVELS, book_checksum

pytestmark = pytest.mark.kernels

PRICES = st.lists(st.integers(1, 10**9), unique=True, max_size=40)
QUANTITIES = st.lists(st.integers(1, 10**15), min_size=40, max_size=40)


def text(mantissa, decimals):
    """Return the shortest decimal text of a mantissa."""
    return f"{Decimal(mantissa).scaleb(-decimals).normalize():f}"


def naive(bids, asks, price_decimals, quantity_decimals):
    """Return the checksum as the venue describes it: (price, quantity) mantissas, best first."""
    parts = []
    for pair in zip_longest(bids[:LEVELS], asks[:LEVELS]):
        for level in pair:
            if level is not None:
                parts += [text(level[0], price_decimals), text(level[1], quantity_decimals)]
    return zlib.crc32(":".join(parts).encode())


def ours(bids, asks, price_decimals, quantity_decimals):
    books = new_books(1, 64, 256)
    start_book(books, 0, 1)
    for side, levels in ((1, bids), (-1, asks)):
        rows = np.array(levels, np.int64).reshape(-1, 2)
        apply_levels(books, 0, side, rows, 0, len(rows))
    scratch = np.zeros((2, LEVELS, 2), np.int64)
    return book_checksum(books, 0, price_decimals, quantity_decimals, scratch[0], scratch[1])


@given(PRICES, PRICES, QUANTITIES, st.integers(0, 8), st.integers(0, 8))
def test_the_checksum_is_that_of_the_text(bid_prices, ask_prices, quantities, price, quantity):
    bids = list(zip(sorted(bid_prices, reverse=True), quantities, strict=False))
    asks = list(zip(sorted(ask_prices), quantities, strict=False))
    assert ours(bids, asks, price, quantity) == naive(bids, asks, price, quantity)


def test_the_example_of_the_venue_has_its_checksum():
    # OKX API v5, "Checksum": more levels on one side than on the other.
    bids, asks = [(33661, 7)], [(33662, 8), (33663, 6)]
    assert ours(bids, asks, 1, 0) == zlib.crc32(b"3366.1:7:3366.2:8:3366.3:6")


def test_a_book_without_levels_has_the_checksum_of_nothing():
    assert ours([], [], 1, 1) == 0
