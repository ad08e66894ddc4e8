"""Parts that the venues' scanners have in common: noted values, fields of items, the frame's end.

A scanner goes over an object once and notes, for each key that it knows, where the value begins
and ends: the value's "cell". Cells live in the last ``CELLS`` rows of the level array, and a word
with a bit for each of them says which the object has. ``feeds.scan`` reads JSON; here its values
get a meaning: decimals, times, levels, items. The readers of single values take the position of the
value (-1: the object does not have it) instead of the arrays that it was found with: Numba passes
an array as seven to nine words.
"""

from typing import Final

import numpy as np
from numba import config
from numpy.typing import NDArray

from engine.atomics import byte_at
from engine.jit import inlined, inlined_always
from feeds.message import ItemKind, Reject
from feeds.scan import (
    ARRAY,
    BACKSLASH,
    COMMA,
    INT64_MAX,
    MINUS,
    NINE,
    OBJECT_END,
    POINT,
    QUOTE,
    SPACE,
    ZERO,
    Bytes,
    decimal,
    fault,
    integer,
    read_levels,
    signed_decimal,
    skip_space,
    skip_string,
    skip_value,
    skip_whole,
    string_stops,
    trailing_zeros,
    word,
)
from feeds.symbols import find_symbol
from feeds.types import INDEX_DECIMALS, RATE_DECIMALS

_NO_JIT = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]

Levels = NDArray[np.int64]
Records = NDArray[np.void]


def fixed(number: int) -> int:
    """Return a constant that Numba does not take for a literal.

    It compiles a helper anew for every literal that it is called with; an np.int64 is none. Half
    the time to compile. Without the JIT all numbers are Python's, which do not overflow.
    """
    return number if _NO_JIT else np.int64(number)  # type: ignore[return-value]


def word_of(text: bytes) -> int:
    """Return what ``feeds.scan.word`` reads where ``text`` (at most eight bytes) stands."""
    return int.from_bytes(text, "little")


REST_DEPTH: Final = 3
"""``engine.frames.FrameKind.REST_DEPTH``."""

START: Final = fixed(0)
NO_ENTRY: Final = fixed(-1)
NO: Final = fixed(0)
YES: Final = fixed(1)
INDEX_PLACES: Final = fixed(INDEX_DECIMALS)
RATE_PLACES: Final = fixed(RATE_DECIMALS)

CELLS: Final = 64
"""Rows at the end of the level array that hold the cells: begin and end of a value."""
SEEN: Final = 58
"""Row with the bits of the cells that the object has."""
USED: Final = 59
"""Row with the number of level rows used."""
ENTRY: Final = 60
"""Row with the symbol map's entry whose decimals converted the levels; -1 if none did."""

NOT_COVERED: Final = fixed(Reject.NOT_COVERED)
SYNTAX: Final = fixed(Reject.SYNTAX)
TRUNCATED: Final = fixed(Reject.TRUNCATED)
TYPE: Final = fixed(Reject.TYPE)
NUMBER: Final = fixed(Reject.NUMBER)
INEXACT: Final = fixed(Reject.INEXACT)
OVERFLOW: Final = fixed(Reject.OVERFLOW)
MISSING: Final = fixed(Reject.MISSING)
SYMBOL: Final = fixed(Reject.SYMBOL)
SIZE: Final = fixed(Reject.SIZE)
NOTHING: Final = fixed(Reject.NOTHING)

KIND_TRADE: Final = fixed(ItemKind.TRADE)
KIND_UPDATE: Final = fixed(ItemKind.BOOK_UPDATE)
KIND_SNAPSHOT: Final = fixed(ItemKind.BOOK_SNAPSHOT)
KIND_TICKER: Final = fixed(ItemKind.TICKER)
KIND_FUNDING: Final = fixed(ItemKind.FUNDING)
KIND_LIQUIDATION: Final = fixed(ItemKind.LIQUIDATION)
KIND_STATS: Final = fixed(ItemKind.STATS)

ID_FACTOR: Final = 2_111_111_111
"""A multiplier of Marsaglia's for multiplying with carry; below 2**31."""

MICROSECONDS_FROM: Final = 10**15
MILLISECONDS_MAX: Final = (2**63 - 1) // 10**6
MICROSECONDS_MAX: Final = (2**63 - 1) // 10**3


@inlined_always
def has_escape(data: Bytes, pos: int) -> bool:
    """Return whether the string that begins at ``pos`` (valid, after its quote) has an escape."""
    c = byte_at(data, pos)
    while c != QUOTE and c != BACKSLASH:
        pos += 1
        c = byte_at(data, pos)
    return c == BACKSLASH


@inlined_always
def cell_at(seen: int, cell: int, levels: Levels) -> int:
    """Return where the value of a cell begins, or -1 if the object does not have it."""
    return int(levels[len(levels) - CELLS + cell, 0]) if seen & (1 << cell) else -1


@inlined_always
def native_at(data: Bytes, seen: int, cell: int, symbols: Records, levels: Levels) -> int:
    """Return the symbol map's entry of the symbol noted in a cell, or a ``Reject``."""
    if not seen & (1 << cell):
        return MISSING
    row = len(levels) - CELLS + cell
    pos = int(levels[row, 0])
    if byte_at(data, pos) != QUOTE:
        return TYPE
    entry = find_symbol(symbols, data, pos + 1, int(levels[row, 1]) - pos - 2)
    if entry >= 0:
        return entry
    return TYPE if has_escape(data, pos + 1) else SYMBOL


@inlined_always
def skip_member(data: Bytes, pos: int) -> int:
    """Skip the value of an object's member: most likely a string or a whole number."""
    c = byte_at(data, pos)
    if c == QUOTE:
        end = skip_string(data, pos + 1)
        return end + 1 if end >= 0 else end
    return skip_whole(data, pos) if ZERO <= c <= NINE else skip_value(data, pos)


@inlined_always
def next_member(data: Bytes, pos: int) -> int:
    """Return where, behind a value, the next key's quote or the object's brace stands."""
    c = byte_at(data, pos)
    if c <= SPACE:
        pos = skip_space(data, pos)
        c = byte_at(data, pos)
    if c == OBJECT_END:
        return pos
    if c != COMMA:
        return fault(c)
    pos += 1
    if byte_at(data, pos) != QUOTE:
        pos = skip_space(data, pos)
        if byte_at(data, pos) != QUOTE:
            return fault(byte_at(data, pos))
    return pos


@inlined_always
def note_member(levels: Levels, cell: int, start: int, end: int, seen: int) -> int:
    """Note where the value of a known key (``cell`` not -1) stands; return ``seen`` with its bit.

    A key that comes twice is ``SYNTAX``. A negative ``start`` stands for levels that have been
    converted: ``-1 - first row``, and the number of rows is noted already (``side_member``).
    """
    if cell < 0:
        return seen
    if seen & (1 << cell):
        return SYNTAX
    row = len(levels) - CELLS + cell
    levels[row, 0] = start
    if start >= 0:
        levels[row, 1] = end
    return seen | (1 << cell)


@inlined_always
def whole_at(data: Bytes, pos: int) -> int:
    """Return the non-negative integer at ``pos`` (-1: none), or a ``Reject``."""
    if pos < 0:
        return MISSING
    c = byte_at(data, pos)
    if c < ZERO or c > NINE:
        return NUMBER if c == MINUS else TYPE
    value, end = integer(data, pos)
    if end < 0:
        return end
    c = byte_at(data, end)
    if c == POINT or c | 0x20 == 0x65:
        return NUMBER
    return value


@inlined_always
def decimal_at(data: Bytes, pos: int, decimals: int) -> int:
    """Return the mantissa of the decimal text at ``pos`` (-1: none), or a ``Reject``."""
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != QUOTE:
        return TYPE
    value, end = decimal(data, pos + 1, decimals)
    return value if end >= 0 else end


@inlined_always
def empty_at(data: Bytes, pos: int) -> bool:
    """Return whether there is no value at ``pos``: none at all (-1) or an empty string."""
    return pos < 0 or (byte_at(data, pos) == QUOTE and byte_at(data, pos + 1) == QUOTE)


@inlined_always
def optional_at(data: Bytes, pos: int, decimals: int) -> int:
    """Return the mantissa at ``pos``, 0 if it is absent or empty, or a ``Reject``."""
    return 0 if empty_at(data, pos) else decimal_at(data, pos, decimals)


@inlined_always
def signed_at(data: Bytes, pos: int, decimals: int) -> tuple[int, int]:
    """Return the signed mantissa at ``pos`` and 0 or a ``Reject``; 0 if it is absent or empty."""
    if empty_at(data, pos):
        return 0, 0
    if byte_at(data, pos) != QUOTE:
        return 0, TYPE
    value, end = signed_decimal(data, pos + 1, decimals)
    return value, min(end, 0)


@inlined
def round_half_up(data: Bytes, pos: int, decimals: int) -> int:
    """Return the rounded mantissa of a decimal text that ``decimal`` found to be ``INEXACT``."""
    mantissa = 0
    fraction = -1
    up = 0
    c = byte_at(data, pos)
    while c != QUOTE:
        if c == POINT:
            fraction = 0
        elif fraction < decimals:
            mantissa = mantissa * 10 + (c - ZERO)
            fraction = fraction + 1 if fraction >= 0 else -1
        elif fraction == decimals:
            up = 1 if c >= ZERO + 5 else 0
            fraction += 1
        pos += 1
        c = byte_at(data, pos)
    return mantissa + up if mantissa <= INT64_MAX - up else OVERFLOW


@inlined_always
def rounded_at(data: Bytes, pos: int, decimals: int) -> int:
    """Return the mantissa of the text at ``pos`` (-1: none) rounded half up, or a ``Reject``.

    For what venues compute (mark prices, sums, averages) and print with the noise of their own
    floating point: ``"2216113.01000000309"`` contracts.
    """
    value = decimal_at(data, pos, decimals)
    return round_half_up(data, pos + 1, decimals) if value == INEXACT else value


@inlined_always
def optional_rounded_at(data: Bytes, pos: int, decimals: int) -> int:
    """Return the rounded mantissa at ``pos``, 0 if it is absent or empty, or a ``Reject``."""
    return 0 if empty_at(data, pos) else rounded_at(data, pos, decimals)


@inlined_always
def text_whole_at(data: Bytes, pos: int) -> int:
    """Return the non-negative integer in quotes at ``pos`` (-1: none), or a ``Reject``."""
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != QUOTE:
        return TYPE
    value, end = integer(data, pos + 1)
    if end < 0:
        return end
    return value if byte_at(data, end) == QUOTE else NUMBER


@inlined
def text_id_at(data: Bytes, pos: int) -> int:
    """Return the id that the text at ``pos`` (-1: none) is or folds to, or a ``Reject``.

    Digits that int64 holds are that number. Any other text (a UUID), padded with zeros to a
    multiple of eight bytes, is folded to 63 bits, four bytes ``w`` (little-endian) at a time:
    from ``x = 0``, ``x = ((x ^ w) mod 2**32) * ID_FACTOR + (x >> 32)``. No step overflows: Numba
    leaves the overflow of a signed product undefined. Text with an escape, a control character or
    one beyond ASCII is refused.
    """
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != QUOTE:
        return TYPE
    pos += 1
    value, end = integer(data, pos)
    if end > 0 and byte_at(data, end) == QUOTE:
        return value
    if byte_at(data, pos) == QUOTE:
        return NUMBER
    mixed = 0
    while True:
        chars = word(data, pos)
        count = trailing_zeros(string_stops(chars)) >> 3
        if count > 0:
            kept = chars & ((1 << (8 * count)) - 1) if count < 8 else chars
            mixed = ((mixed ^ kept) & 0xFFFFFFFF) * ID_FACTOR + (mixed >> 32)
            mixed = ((mixed ^ (kept >> 32)) & 0xFFFFFFFF) * ID_FACTOR + (mixed >> 32)
        if count < 8:
            return mixed if byte_at(data, pos + count) == QUOTE else TYPE
        pos += 8


@inlined_always
def nanoseconds(time: int) -> int:
    """Return a venue's time in Unix ns, from ms or (from 10**15 on) us; a ``Reject`` stays."""
    if time < 0:
        return time
    if time >= MICROSECONDS_FROM:
        return time * 1000 if time <= MICROSECONDS_MAX else OVERFLOW
    return time * 1_000_000 if time <= MILLISECONDS_MAX else OVERFLOW


@inlined_always
def time_at(data: Bytes, pos: int) -> int:
    """Return the time at ``pos``, Unix ns, 0 if there is none, or a ``Reject``."""
    return nanoseconds(whole_at(data, pos)) if pos >= 0 else 0


@inlined_always
def fill(items: Records, count: int, kind: int, instrument: int, exchange_ns: int) -> None:
    """Begin an item: every field that its kind does not use has its neutral value."""
    items[count]["kind"] = kind
    items[count]["instrument"] = instrument
    items[count]["exchange_ns"] = exchange_ns
    items[count]["first_id"] = 0
    items[count]["last_id"] = 0
    items[count]["previous_id"] = -1
    items[count]["price"] = 0
    items[count]["quantity"] = 0
    items[count]["price_2"] = 0
    items[count]["quantity_2"] = 0
    items[count]["extra"] = 0
    items[count]["next_ns"] = 0
    items[count]["side"] = 0
    items[count]["flags"] = 0
    items[count]["mask"] = 0
    items[count]["checksum"] = 0
    items[count]["bid_start"] = 0
    items[count]["bid_count"] = 0
    items[count]["ask_start"] = 0
    items[count]["ask_count"] = 0


@inlined_always
def fill_sides(items: Records, count: int, bids: int, asks: int, levels: Levels) -> None:
    """Write where a book item's levels stand; both cells hold converted sides."""
    base = len(levels) - CELLS
    items[count]["bid_start"] = -1 - levels[base + bids, 0]
    items[count]["bid_count"] = levels[base + bids, 1]
    items[count]["ask_start"] = -1 - levels[base + asks, 0]
    items[count]["ask_count"] = levels[base + asks, 1]


@inlined_always
def side_levels(
    data: Bytes, pos: int, entry: int, symbols: Records, levels: Levels, row: int
) -> tuple[int, int]:
    """Convert the levels whose outer bracket is at ``pos`` with an entry's decimals."""
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    limit = len(levels) - CELLS
    return read_levels(data, pos + 1, price_decimals, quantity_decimals, levels, row, limit)


@inlined_always
def side_member(
    data: Bytes, pos: int, cell: int, entry: int, symbols: Records, levels: Levels, row: int
) -> tuple[int, int]:
    """Convert the side whose bracket is at ``pos``; note its number of rows.

    Returns where it ends (or a ``Reject``) and the next free row.
    """
    pos, used = side_levels(data, pos, entry, symbols, levels, row)
    levels[len(levels) - CELLS + cell, 1] = used - row
    return pos, used


@inlined
def late_levels(data: Bytes, cell: int, entry: int, symbols: Records, levels: Levels) -> int:
    """Convert a side of which only the place was noted; return 0 or a ``Reject``.

    The cell of a converted side holds ``-1 - first row`` and the number of its rows.
    """
    base = len(levels) - CELLS
    pos = int(levels[base + cell, 0])
    if pos < 0:
        return 0
    if byte_at(data, pos) != ARRAY:
        return TYPE
    row = int(levels[base + USED, 0])
    pos, used = side_levels(data, pos, entry, symbols, levels, row)
    levels[base + cell, 0] = -1 - row
    levels[base + cell, 1] = used - row
    levels[base + USED, 0] = used
    return min(pos, 0)


@inlined_always
def ended(data: Bytes, pos: int, length: int, result: int) -> int:
    """Return ``result`` if nothing but whitespace follows ``pos``, else why the frame is bad."""
    if pos < 0:
        return pos
    pos = skip_space(data, pos)
    return result if pos == length else fault(byte_at(data, pos))
