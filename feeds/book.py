"""Order books as rows of one flat array: a tick-indexed window a side, and what is beside it.

``books`` is int64[2 * count, columns]. Row ``2 * book`` is the bid side of a book, row
``2 * book + 1`` the ask side. Asks are held by their negated price, so that on both sides *a higher
key is a better price* and one piece of code serves both. A row holds, one after the other::

    cells        the numbers below (BASE .. TOUCHED), 16 columns
    summary      one bit a word of ``bits``: the next level after a removal is a few steps away
    bits         one bit a window slot, 32 a word
    window       quantities: column ``key & (W - 1)`` is the tick ``key`` (price / tick, negated for
                 asks) while BASE <= key < BASE + W. The window is circular: moving it touches only
                 the levels that leave or enter
    over keys    signed prices, ascending, of the levels outside of the window or off the tick grid
    over values  their quantities

The overflow's entries lie in the middle of their columns and grow to both sides, so that an
insertion moves the shorter part. The best level is kept between the window's middle and its last
sixteenth, with the larger part of the window on the worse side, where the levels are.

All of it is one array because Numba counts references to each array that a tuple or a view hands
out, which costs more than a level does. Everything is allocated by ``new_books``; an overflow that
is full is reported (``FULL``), and the caller must not believe the book any longer.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from engine.jit import inlined, kernel

WINDOW = 65_536
"""Default slots of a window: covers 95 % of the levels of BTC books with a tick of 0.01."""

OVERFLOW = 16_384
"""Default levels a side outside of the window."""

(
    BASE,
    BEST,
    HELD,
    OVER_FIRST,
    OVER_COUNT,
    TICK,
    TOUCHED,
    WIDTH,
    CAPACITY,
    BITS_AT,
    WINDOW_AT,
    KEYS_AT,
    VALUES_AT,
) = range(13)
"""Columns: first tick, best tick and levels of the window; first column and levels of the overflow;
price step; best key changed since the caller reset it; sizes and places of the parts."""

SUMMARY_AT = 16

NONE = -(2**63)
"""No level: below every key."""

OK, FULL = 0, 1

WORD = 5
"""A word of ``bits`` has ``2**WORD`` bits: the sign bit of an int64 is never needed."""
WORD_MASK = 31

Books = NDArray[np.int64]
MATRIX = types.Array(types.int64, 2, "C")


def new_books(count: int, window: int = WINDOW, overflow: int = OVERFLOW) -> Books:
    """Return ``count`` empty books with a tick of 1 (see ``start_book``).

    Raises
    ------
    ValueError
        If ``window`` is not a power of two of at least 64, or ``overflow`` is less than 2.

    """
    if window < 64 or window & (window - 1):
        raise ValueError(f"window must be a power of two of at least 64, was {window}")
    if overflow < 2:
        raise ValueError(f"overflow must be at least 2, was {overflow}")
    words = window >> WORD
    bits_at = SUMMARY_AT + max(1, words >> WORD)
    window_at = bits_at + words
    keys_at = window_at + window
    values_at = keys_at + overflow
    books = np.zeros((2 * count, values_at + overflow), np.int64)  # untouched pages cost nothing
    cells = (0, NONE, 0, keys_at + overflow // 2, 0, 1, NONE, window, overflow)
    books[:, : VALUES_AT + 1] = (*cells, bits_at, window_at, keys_at, values_at)
    return books


@inlined
def _high(word: Any) -> Any:  # noqa: ANN401 - inlined: int64
    """Return the place of the highest set bit of a word in 1..2**32 - 1."""
    place = 0
    if word >= 1 << 16:
        word >>= 16
        place += 16
    if word >= 1 << 8:
        word >>= 8
        place += 8
    if word >= 1 << 4:
        word >>= 4
        place += 4
    if word >= 1 << 2:
        word >>= 2
        place += 2
    return place + (word >> 1)


@inlined
def _below(books: Any, row: Any, slot: Any) -> Any:  # noqa: ANN401
    """Return the nearest set slot at or (circularly) below ``slot``; -1 if no bit is set."""
    bits_at = books[row, BITS_AT]
    word = slot >> WORD
    rest = books[row, bits_at + word] & ((2 << (slot & WORD_MASK)) - 1)
    if rest:
        return (word << WORD) + _high(rest)
    groups = bits_at - SUMMARY_AT
    group = word >> WORD
    rest = books[row, SUMMARY_AT + group] & ((1 << (word & WORD_MASK)) - 1)
    for _ in range(groups + 1):  # the last round meets the upper part of the first group
        if rest:
            word = (group << WORD) + _high(rest)
            return (word << WORD) + _high(books[row, bits_at + word])
        group = (group - 1) & (groups - 1)
        rest = books[row, SUMMARY_AT + group]
    return -1


@inlined
def _put(books: Any, row: Any, slot: Any, quantity: Any) -> None:  # noqa: ANN401
    """Set a window slot and its bits.

    No branch on what the venue sends: whether a level appears, changes or goes is a coin toss.
    """
    bits_at = books[row, BITS_AT]
    books[row, books[row, WINDOW_AT] + slot] = quantity
    word, bit = slot >> WORD, slot & WORD_MASK
    rest = books[row, bits_at + word] & ~(1 << bit) | (np.int64(quantity != 0) << bit)
    books[row, bits_at + word] = rest
    group, bit = SUMMARY_AT + (word >> WORD), word & WORD_MASK
    books[row, group] = books[row, group] & ~(1 << bit) | (np.int64(rest != 0) << bit)


@inlined
def _over_find(books: Any, row: Any, key: Any) -> Any:  # noqa: ANN401
    """Return the column of the first overflow key that is not below ``key``."""
    low = books[row, OVER_FIRST]
    high = low + books[row, OVER_COUNT]
    while low < high:
        middle = (low + high) >> 1
        if books[row, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _over_move(books: Any, row: Any, first: Any, last: Any, by: Any) -> None:  # noqa: ANN401
    """Move the overflow entries of the columns ``first..last - 1`` by ``by`` columns."""
    values = books[row, CAPACITY]
    if by < 0:
        for i in range(first, last):
            books[row, i + by] = books[row, i]
        for i in range(first + values, last + values):
            books[row, i + by] = books[row, i]
    else:
        for i in range(last - 1, first - 1, -1):
            books[row, i + by] = books[row, i]
        for i in range(last + values - 1, first + values - 1, -1):
            books[row, i + by] = books[row, i]


@inlined
def _over_insert(books: Any, row: Any, at: Any, key: Any, quantity: Any) -> Any:  # noqa: ANN401
    capacity, begin = books[row, CAPACITY], books[row, KEYS_AT]
    first, count = books[row, OVER_FIRST], books[row, OVER_COUNT]
    if count == capacity:
        return FULL
    upward = 2 * (at - first) >= count
    if first + count == begin + capacity if upward else first == begin:
        middle = begin + ((capacity - count) >> 1)
        _over_move(books, row, first, first + count, middle - first)
        at += middle - first
        first = middle
        upward = first == begin or (upward and first + count < begin + capacity)
    if upward:
        _over_move(books, row, at, first + count, 1)
    else:
        _over_move(books, row, first, at, -1)
        first -= 1
        at -= 1
    books[row, at] = key
    books[row, at + capacity] = quantity
    books[row, OVER_FIRST] = first
    books[row, OVER_COUNT] = count + 1
    return OK


@inlined
def _over_remove(books: Any, row: Any, at: Any) -> None:  # noqa: ANN401
    first, count = books[row, OVER_FIRST], books[row, OVER_COUNT]
    if 2 * (at - first) >= count:
        _over_move(books, row, at + 1, first + count, -1)
    else:
        _over_move(books, row, first, at, 1)
        books[row, OVER_FIRST] = first + 1
    books[row, OVER_COUNT] = count - 1


@inlined
def _over_set(books: Any, row: Any, key: Any, quantity: Any) -> Any:  # noqa: ANN401
    at = _over_find(books, row, key)
    known = at < books[row, OVER_FIRST] + books[row, OVER_COUNT] and books[row, at] == key
    if quantity == 0:
        if known:
            _over_remove(books, row, at)
        return OK
    if known:
        books[row, at + books[row, CAPACITY]] = quantity
        return OK
    return _over_insert(books, row, at, key, quantity)


@inlined
def _evict(books: Any, row: Any, top: Any, length: Any) -> Any:  # noqa: ANN401
    """Move the levels at the ticks ``top - length + 1..top`` from the window to the overflow."""
    mask = books[row, WIDTH] - 1
    status = OK
    while length > 0 and books[row, HELD] > 0:
        slot = _below(books, row, top & mask)
        down = (top - slot) & mask
        if down >= length:
            break
        top -= down
        length -= down
        quantity = books[row, books[row, WINDOW_AT] + slot]
        status |= _over_set(books, row, top * books[row, TICK], quantity)
        _put(books, row, slot, 0)
        books[row, HELD] -= 1
    return status


@inlined
def _admit(books: Any, row: Any, low: Any, high: Any) -> None:  # noqa: ANN401
    """Move the overflow's levels at the ticks ``low..high - 1`` into the window."""
    mask, tick, values = books[row, WIDTH] - 1, books[row, TICK], books[row, CAPACITY]
    first = _over_find(books, row, low * tick)
    last = _over_find(books, row, high * tick)
    kept = first
    for i in range(first, last):
        key, quantity = books[row, i], books[row, i + values]
        ticks = key // tick
        if ticks * tick == key:
            _put(books, row, ticks & mask, quantity)
            books[row, HELD] += 1
            books[row, BEST] = max(books[row, BEST], ticks)
        else:
            books[row, kept] = key
            books[row, kept + values] = quantity
            kept += 1
    if kept < last:
        _over_move(books, row, last, books[row, OVER_FIRST] + books[row, OVER_COUNT], kept - last)
        books[row, OVER_COUNT] -= last - kept


@inlined
def _best_key(books: Any, row: Any) -> Any:  # noqa: ANN401
    """Return the signed price of the best level of a side, ``NONE`` if it is empty."""
    key = NONE
    if books[row, HELD] > 0:
        key = books[row, BEST] * books[row, TICK]
    count = books[row, OVER_COUNT]
    if count > 0:
        key = max(key, books[row, books[row, OVER_FIRST] + count - 1])
    return key


@inlined
def _find_best(books: Any, row: Any, top: Any) -> Any:  # noqa: ANN401
    """Return the best tick of the window, which is not above ``top``."""
    if books[row, HELD] == 0:
        return NONE
    mask = books[row, WIDTH] - 1
    return top - ((top - _below(books, row, top & mask)) & mask)


@inlined
def _recentre(books: Any, row: Any, best: Any) -> Any:  # noqa: ANN401
    """Move the window so that the tick ``best`` is where the best level should be."""
    width, base = books[row, WIDTH], books[row, BASE]
    target = best - 3 * width // 4
    up = target - base
    step = min(abs(up), width)
    if up > 0:
        status = _evict(books, row, base + step - 1, step)
    else:
        status = _evict(books, row, base + width - 1, step)
    books[row, BASE] = target
    books[row, BEST] = NONE
    if step == width:
        _admit(books, row, target, target + width)
    elif up > 0:
        books[row, BEST] = _find_best(books, row, base + width - 1)
        _admit(books, row, base + width, target + width)
    else:
        books[row, BEST] = _find_best(books, row, target + width - 1)
        _admit(books, row, target, base)
    return status


@inlined
def _settle(books: Any, row: Any) -> Any:  # noqa: ANN401
    """Move the window if the best level has left its place."""
    key = _best_key(books, row)
    if key == NONE:
        return OK
    width = books[row, WIDTH]
    best = books[row, BEST]  # Spares a division where it is the best level, as it nearly always is.
    if books[row, HELD] == 0 or key != best * books[row, TICK]:
        best = key // books[row, TICK]
    if width // 2 <= best - books[row, BASE] < width - width // 16:
        return OK
    return _recentre(books, row, best)


@kernel(types.int64(MATRIX, types.int64, types.int64, MATRIX, types.int64, types.int64))
def apply_levels(
    books: Books, book: int, side: int, levels: NDArray[np.int64], start: int, count: int
) -> int:
    """Set ``count`` levels of one side of a book.

    Parameters
    ----------
    books, book
        The array and the number of the book.
    side
        +1 bids, -1 asks.
    levels
        int64[:, 2]: price and quantity mantissas; a quantity of 0 removes the level.
    start, count
        Rows of ``levels``.

    Returns
    -------
    int
        ``OK``, or ``FULL`` if a level was lost because the overflow has no room.
        Column ``TOUCHED`` is raised to the best key among the levels that changed.

    """
    row = 2 * book + ((1 - side) >> 1)
    width, tick, window_at = books[row, WIDTH], books[row, TICK], books[row, WINDOW_AT]
    if count > 0 and books[row, HELD] == 0 and books[row, OVER_COUNT] == 0:
        books[row, BASE] = side * levels[start, 0] // tick - 3 * width // 4
    base, best, held = books[row, BASE], books[row, BEST], books[row, HELD]
    touched = books[row, TOUCHED]
    status = OK
    for i in range(start, start + count):
        signed, quantity = side * levels[i, 0], levels[i, 1]
        key = signed if tick == 1 else signed // tick
        offset = key - base
        if offset < 0 or offset >= width or key * tick != signed:
            status |= _over_set(books, row, signed, quantity)
            touched = max(touched, signed)
            continue
        slot = key & (width - 1)
        old = books[row, window_at + slot]
        _put(books, row, slot, quantity)
        held += np.int64(quantity != 0) - np.int64(old != 0)
        touched = max(touched, signed if quantity != old else NONE)
        best = max(best, key if quantity != 0 else NONE)
        if quantity == 0 and key == best:
            books[row, HELD] = held
            best = _find_best(books, row, key)
    books[row, BEST], books[row, HELD], books[row, TOUCHED] = best, held, touched
    return int(status | _settle(books, row))


@kernel(types.int64(MATRIX, types.int64, types.int64, types.int64, MATRIX))
def top_levels(books: Books, book: int, side: int, limit: int, out: NDArray[np.int64]) -> int:
    """Write the best ``limit`` levels of a side into ``out[:, 2]``, best first; return how many.

    ``out`` has at least ``limit`` rows of price and quantity mantissas.
    """
    row = 2 * book + ((1 - side) >> 1)
    mask, tick, window_at = books[row, WIDTH] - 1, books[row, TICK], books[row, WINDOW_AT]
    key, left = books[row, BEST], books[row, HELD]
    first = books[row, OVER_FIRST]
    over = first + books[row, OVER_COUNT] - 1
    count = 0
    while count < limit and (left > 0 or over >= first):
        if over >= first and (left == 0 or books[row, over] > key * tick):
            out[count, 0] = side * books[row, over]
            out[count, 1] = books[row, over + books[row, CAPACITY]]
            over -= 1
        else:
            out[count, 0] = side * key * tick
            out[count, 1] = books[row, window_at + (key & mask)]
            left -= 1
            if left > 0:
                key -= 1
                key -= (key - _below(books, row, key & mask)) & mask
        count += 1
    return count


@kernel(types.int64(MATRIX, types.int64, types.int64))
def depth(books: Books, book: int, side: int) -> int:
    """Return the number of levels of a side."""
    row = 2 * book + ((1 - side) >> 1)
    return int(books[row, HELD] + books[row, OVER_COUNT])


@kernel(types.boolean(MATRIX, types.int64))
def crossed(books: Books, book: int) -> bool:
    """Return whether the best bid is not below the best ask (an empty side never crosses)."""
    bid, ask = _best_key(books, 2 * book), _best_key(books, 2 * book + 1)
    return bool(bid != NONE and ask != NONE and bid >= -ask)


@kernel(types.void(MATRIX, types.int64))
def clear_book(books: Books, book: int) -> None:
    """Remove every level of a book; its tick stays."""
    for row in range(2 * book, 2 * book + 2):
        mask = books[row, WIDTH] - 1
        key = books[row, BEST]
        while books[row, HELD] > 0:
            slot = _below(books, row, key & mask)
            key -= (key - slot) & mask
            _put(books, row, slot, 0)
            books[row, HELD] -= 1
        books[row, BEST] = NONE
        books[row, OVER_COUNT] = 0
        books[row, OVER_FIRST] = books[row, KEYS_AT] + (books[row, CAPACITY] >> 1)


@kernel(types.void(MATRIX, types.int64, types.int64))
def start_book(books: Books, book: int, tick: int) -> None:
    """Empty a book and set its tick (mantissa; 1 if it is not positive)."""
    clear_book(books, book)
    for row in range(2 * book, 2 * book + 2):
        books[row, TICK] = max(1, tick)
        books[row, TOUCHED] = NONE
