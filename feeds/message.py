"""The neutral form of a decoded message: what every venue's scanner fills and the worker reads.

A scanner turns one frame into any number of items. An item is one public event: a trade, a book
update or snapshot, a best bid and offer, a funding report, a liquidation, a day's statistics. The
levels of book items stand in a separate int64[LEVELS_MAX, 2] array (price and quantity mantissas),
each side contiguous.

These arrays are private to a process: they never cross a process boundary.
"""

from enum import IntEnum, IntFlag

import numpy as np
from numba import from_dtype, types

ITEMS_MAX = 2048
LEVELS_MAX = 40_000
"""Both sides of the largest snapshot that a venue sends, with room."""


class ItemKind(IntEnum):
    """What an item is."""

    TRADE = 1
    BOOK_UPDATE = 2
    BOOK_SNAPSHOT = 3
    TICKER = 4
    FUNDING = 5
    """Mark, index, funding rate, open interest: whichever of them the message has (``mask``)."""
    LIQUIDATION = 6
    STATS = 7
    """Last price and the 24 hours behind it: whichever of them the message has (``mask``)."""


class Has(IntFlag):
    """Bits of an item's ``mask``: which of its numbers the message carries.

    Venues spread them over several channels, or send only what changed; the worker keeps the rest.
    """

    MARK = 1
    INDEX = 2
    SETTLE = 4
    RATE = 8
    NEXT = 16
    INTEREST = 32
    LAST = 64
    OPEN = 128
    HIGH = 256
    LOW = 512
    VOLUME = 1024


class Reject(IntEnum):
    """Why a frame gave no item: the negative result of a scanner."""

    NOT_COVERED = -1
    """Well-formed, but of a channel that no record stands for (klines, acknowledgements…)."""
    TRUNCATED = -2
    SYNTAX = -3
    """Not JSON, or something after it."""
    UTF8 = -4
    TYPE = -5
    """A known field holds another type than it should."""
    NUMBER = -6
    """A price, quantity or id is not a plain decimal number."""
    INEXACT = -7
    """More decimals than the instrument has."""
    OVERFLOW = -8
    """A number that int64 cannot hold."""
    MISSING = -9
    """A field without which the event means nothing is absent."""
    SYMBOL = -10
    """An instrument that the table does not list."""
    DEPTH = -11
    """Nested deeper than any message of a venue."""
    SIZE = -12
    """More items or levels than a message can have."""
    NOTHING = -13
    """Well-formed and of a covered channel, but without anything that a record would say."""


REJECTS = 14
"""Length of an array indexed by ``-Reject``."""

ITEM = np.dtype(
    [
        ("kind", "i8"),  # ItemKind
        ("instrument", "i8"),  # row of the symbol map
        ("exchange_ns", "i8"),
        ("first_id", "i8"),  # book: first update id; trade: id; ticker: update id or 0
        ("last_id", "i8"),  # book: last update id
        ("previous_id", "i8"),  # book: the venue's link to the message before; UNLINKED
        # Funding: in INDEX_DECIMALS, the rate in RATE_DECIMALS, open interest in the quantity's.
        ("price", "i8"),  # trade; liquidation; ticker: bid; stats: last; funding: mark
        ("quantity", "i8"),  # trade; liquidation; ticker: bid; stats: volume; funding: index
        ("price_2", "i8"),  # ticker: ask; stats: open; funding: settlement
        ("quantity_2", "i8"),  # ticker: ask; stats: high; funding: rate
        ("extra", "i8"),  # stats: low; funding: open interest
        ("next_ns", "i8"),  # funding: next funding time
        ("side", "i8"),  # trade: aggressor; liquidation: side of the order that closes
        ("flags", "i8"),  # feeds.types.Flag
        ("mask", "i8"),  # funding, stats: Has
        ("checksum", "i8"),  # book: the venue's checksum, 32 bits unsigned; 0 if it sends none
        ("bid_start", "i8"),  # rows of the level array
        ("bid_count", "i8"),
        ("ask_start", "i8"),
        ("ask_count", "i8"),
    ]
)

UNLINKED = -1
"""``previous_id`` of a book message that does not name its predecessor."""

SYMBOL = np.dtype(
    [
        ("key", "i8", (4,)),  # the native symbol, 32 bytes, zero-padded
        ("length", "i8"),  # bytes of it; 0 marks a free entry
        ("instrument", "i8"),  # row of the instrument table
        ("price_decimals", "i8"),
        ("quantity_decimals", "i8"),
    ]
)
"""An entry of the symbol map: open addressing, a power of two of entries (feeds.symbols)."""

Bytes = types.Array(types.uint8, 1, "C", readonly=True)
Items = types.Array(from_dtype(ITEM), 1, "C")
Levels = types.Array(types.int64, 2, "C")
Symbols = types.Array(from_dtype(SYMBOL), 1, "C")

SCAN = types.int64(Bytes, types.int64, types.int64, types.int64, Symbols, Items, Levels)
"""``scan(data, length, frame_kind, instrument, symbols, items, levels) -> items or Reject``.

``data[:length]`` is the frame; at least 64 zero bytes follow it. ``frame_kind`` is an
``engine.frames.FrameKind``; ``instrument`` is the instrument row of a REST answer, else -1.
``symbols`` maps native symbols to instrument rows and decimals. Nothing but ``items`` and
``levels`` is written. The result is the number of items, or a negative ``Reject``.
"""
