"""OKX's book checksum: CRC32 over the text of the 25 best levels.

``bid price:bid quantity:ask price:ask quantity`` level by level, best first, joined by colons;
where one side has fewer levels the other goes on alone. Prices and quantities are written as the
venue writes them: no zeros at the end of a fraction. Source: OKX API v5, WebSocket order book
channel, "Checksum" (the field is 0 since 2026-06-23; recordings made before have it).
"""

import zlib

import numpy as np
from numba import types
from numpy.typing import NDArray

from engine.jit import inlined, kernel
from feeds.book import MATRIX, top_levels
from feeds.scan import POWERS

LEVELS = 25
"""Levels a side that count."""

TABLE = np.array([zlib.crc32(bytes([n ^ 0xFF])) ^ 0xFF000000 for n in range(256)], np.int64)
"""The usual table of CRC32, reflected: ``next = TABLE[(register ^ byte) & 0xFF] ^ register >> 8``.
zlib does not show it, but a checksum of one byte is an entry of it with both inversions."""

_COLON, _ZERO, _POINT = 0x3A, 0x30, 0x2E


@inlined
def _feed(register: int, byte: int) -> int:
    return int(TABLE[(register ^ byte) & 0xFF] ^ (register >> 8))


@inlined
def _number(register: int, value: int, decimals: int) -> int:
    """Feed the shortest decimal text of ``value / 10**decimals``."""
    while decimals > 0 and value % 10 == 0:
        value //= 10
        decimals -= 1
    digits = decimals + 1
    while digits < 19 and value >= POWERS[digits]:
        digits += 1
    for place in range(digits - 1, -1, -1):
        register = _feed(register, _ZERO + (value // POWERS[place]) % 10)
        if place == decimals and decimals > 0:
            register = _feed(register, _POINT)
    return register


@inlined
def _level(
    register: int,
    colon: bool,
    levels: NDArray[np.int64],
    row: int,
    price_decimals: int,
    quantity_decimals: int,
) -> int:
    if colon:
        register = _feed(register, _COLON)
    register = _number(register, levels[row, 0], price_decimals)
    register = _feed(register, _COLON)
    return _number(register, levels[row, 1], quantity_decimals)


@kernel(types.int64(MATRIX, types.int64, types.int64, types.int64, MATRIX, MATRIX))
def book_checksum(
    books: NDArray[np.int64],
    book: int,
    price_decimals: int,
    quantity_decimals: int,
    bids: NDArray[np.int64],
    asks: NDArray[np.int64],
) -> int:
    """Return the checksum of a book, 0 to 2**32 - 1.

    Parameters
    ----------
    books, book
        See ``feeds.book``.
    price_decimals, quantity_decimals
        Of the instrument.
    bids, asks
        Scratch of at least ``LEVELS`` rows each.

    """
    bid_count = top_levels(books, book, 1, LEVELS, bids)
    ask_count = top_levels(books, book, -1, LEVELS, asks)
    register = 0xFFFFFFFF
    for i in range(max(bid_count, ask_count)):
        if i < bid_count:
            register = _level(register, i > 0, bids, i, price_decimals, quantity_decimals)
        if i < ask_count:
            colon = i > 0 or bid_count > 0
            register = _level(register, colon, asks, i, price_decimals, quantity_decimals)
    return int(register ^ 0xFFFFFFFF)
