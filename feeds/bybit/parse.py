"""The scanner of Bybit's public messages (API v5): frame bytes to neutral items.

Read by key, in any order. A message is ``{"topic":…,"type":…,"ts":…,"data":…,"cts":…}``; where
``type``, ``ts`` and ``cts`` stand differs by product and depth. ``walk`` goes over an object of
``data`` and notes, for each key it knows, where the value begins (its "cell"); the levels of a book
are converted on the way when the topic and the symbol came first, as they do. What ``data`` means
is decided when the whole message was read.

Topics: ``orderbook.1`` (a best bid and offer), ``orderbook.<depth>`` of every other depth,
``publicTrade``, ``tickers``, ``allLiquidation`` and ``liquidation``. Answers to operations, pongs
of every shape, REST bodies and other topics (klines, price limits, system status, the books
``full`` and ``rpi``) are well-formed and not covered.

- ``u`` is the id of a book message; a message with ``u`` 1 is a snapshot whatever its type.
  ``orderbook.1`` has been all snapshots since 2025; the deltas of older recordings leave one side
  out, which no best bid and offer can say, and are not covered.
- A book's time is the matching engine's, ``cts``, where the message has it, else ``ts``; that of
  trades and liquidations is their own, ``T``.
- Block trades are marked as prints that are not market trades. A trade's id is a number on spot and
  a UUID elsewhere: ``feeds.parsing.text_id_at``.
- A ticker of a contract gives one item of funding and one of statistics, each with what the message
  carries; ``tickers`` of spot have statistics only. A predicted delivery price of zero is none: the
  venue has one only half an hour before the delivery. A message that carries none of all that
  (``{"tickDirection":…}``) is not covered.
- The side of a liquidation is that of the position at Bybit: ``Buy`` is a long, closed by selling.
- What the venue computes (mark and index price, open interest, 24-hour figures, bankruptcy prices)
  is rounded to the instrument's decimals; what is traded or quoted must fit them exactly.

What is refused although a lenient reader could take it (the venue sends none of it): a key twice in
an object whose key has a meaning here, or two names of one thing (``s`` and ``symbol``); an escape
in a key, a topic, a type, a side, an id or a symbol; times of a year beyond 2262; more than one
level a side in ``orderbook.1``; what ``feeds.scan`` refuses.

In an array, an element of an instrument that the map does not list is passed over; the frame is
refused if nothing is left.
"""

from typing import Final

import numpy as np

from engine.atomics import byte_at
from engine.jit import inlined, inlined_always, kernel
from feeds.message import SCAN, Has
from feeds.parsing import (
    CELLS,
    ENTRY,
    INDEX_PLACES,
    KIND_FUNDING,
    KIND_LIQUIDATION,
    KIND_SNAPSHOT,
    KIND_STATS,
    KIND_TICKER,
    KIND_TRADE,
    KIND_UPDATE,
    MISSING,
    NO_ENTRY,
    NOT_COVERED,
    NOTHING,
    RATE_PLACES,
    SEEN,
    SIZE,
    START,
    SYMBOL,
    SYNTAX,
    TRUNCATED,
    TYPE,
    USED,
    Levels,
    Records,
    cell_at,
    decimal_at,
    empty_at,
    ended,
    fill,
    fill_sides,
    fixed,
    has_escape,
    late_levels,
    nanoseconds,
    native_at,
    next_member,
    note_member,
    optional_at,
    optional_rounded_at,
    rounded_at,
    side_member,
    signed_at,
    skip_member,
    text_id_at,
    text_whole_at,
    whole_at,
    word_of,
)
from feeds.scan import (
    ARRAY,
    ARRAY_END,
    COLON,
    COMMA,
    NINE,
    OBJECT,
    OBJECT_END,
    POINT,
    QUOTE,
    SPACE,
    ZERO,
    Bytes,
    fault,
    sealed,
    skip_space,
    skip_string,
    skip_value,
    word,
)
from feeds.types import Flag

# Cells of an object of ``data``; one thing has one cell, whichever of its names a topic uses.
NATIVE: Final = fixed(0)
SIDE: Final = fixed(1)
TIME: Final = fixed(2)
PRICE: Final = fixed(3)
QUANTITY: Final = fixed(4)
TRADE_ID: Final = fixed(5)
BLOCK: Final = fixed(6)
BIDS: Final = fixed(7)
ASKS: Final = fixed(8)
LAST_ID: Final = fixed(9)
LAST_PRICE: Final = fixed(10)
OPEN_PRICE: Final = fixed(11)
HIGH_PRICE: Final = fixed(12)
LOW_PRICE: Final = fixed(13)
VOLUME: Final = fixed(14)
MARK: Final = fixed(15)
INDEX: Final = fixed(16)
SETTLE: Final = fixed(17)
RATE: Final = fixed(18)
NEXT: Final = fixed(19)
INTEREST: Final = fixed(20)

FUNDING_KEYS: Final = sum(1 << n for n in (MARK, INDEX, SETTLE, RATE, NEXT, INTEREST))
STATS_KEYS: Final = sum(1 << n for n in (LAST_PRICE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, VOLUME))

# Cells of the message around it: beyond those of ``data``, which may be written in between.
TOPIC: Final = fixed(32)
KIND: Final = fixed(33)
STAMP: Final = fixed(34)
ENGINE_STAMP: Final = fixed(35)
DATA: Final = fixed(36)

_LETTERS = {b"s": NATIVE, b"S": SIDE, b"T": TIME, b"p": PRICE, b"v": QUANTITY, b"i": TRADE_ID}
_LETTERS |= {b"b": BIDS, b"a": ASKS, b"u": LAST_ID}
LETTER_CELLS = np.array([_LETTERS.get(bytes([64 + n]), -1) for n in range(64)], np.int64)
"""The cell of a key of one letter, by the letter's code less 64; -1 if it has no meaning here."""

KEY_TOPIC: Final = word_of(b'"topic":')
KEY_TYPE: Final = word_of(b'"type":')
KEY_STAMP: Final = word_of(b'"ts":')
KEY_ENGINE_STAMP: Final = word_of(b'"cts":')
KEY_DATA: Final = word_of(b'"data":')
NAME_TOPIC: Final = word_of(b"topic")
NAME_TYPE: Final = word_of(b"type")
NAME_STAMP: Final = word_of(b"ts")
NAME_ENGINE_STAMP: Final = word_of(b"cts")
NAME_DATA: Final = word_of(b"data")

NAME_BLOCK: Final = word_of(b"BT")
NAME_SIDE: Final = word_of(b"side")
NAME_SIZE: Final = word_of(b"size")
NAME_PRICE: Final = word_of(b"price")
NAME_NATIVE: Final = word_of(b"symbol")
# Longer names by their first and last eight bytes, which overlap or meet.
LAST_PRICE_HEAD: Final = word_of(b"lastPric")
LAST_PRICE_TAIL: Final = word_of(b"astPrice")
OPEN_PRICE_HEAD: Final = word_of(b"prevPric")
HIGH_PRICE_HEAD: Final = word_of(b"highPric")
PRICE_24H_TAIL: Final = word_of(b"Price24h")
LOW_PRICE_HEAD: Final = word_of(b"lowPrice")
VOLUME_HEAD: Final = word_of(b"volume24")
VOLUME_TAIL: Final = word_of(b"olume24h")
MARK_HEAD: Final = word_of(b"markPric")
MARK_TAIL: Final = word_of(b"arkPrice")
INDEX_HEAD: Final = word_of(b"indexPri")
INDEX_TAIL: Final = word_of(b"dexPrice")
RATE_HEAD: Final = word_of(b"fundingR")
RATE_TAIL: Final = word_of(b"dingRate")
TIME_HEAD: Final = word_of(b"updatedT")
TIME_TAIL: Final = word_of(b"atedTime")
INTEREST_HEAD: Final = word_of(b"openInte")
INTEREST_TAIL: Final = word_of(b"Interest")
NEXT_HEAD: Final = word_of(b"nextFund")
NEXT_TAIL: Final = word_of(b"dingTime")
SETTLE_HEAD: Final = word_of(b"predicte")
SETTLE_MIDDLE: Final = word_of(b"dDeliver")
SETTLE_TAIL: Final = word_of(b"eryPrice")

TEXT_BOOK: Final = word_of(b"orderboo")
TEXT_BOOK_END: Final = word_of(b"k.")
TEXT_TRADE: Final = word_of(b"publicTr")
TEXT_TRADE_END: Final = word_of(b"ade.")
TEXT_TICKERS: Final = word_of(b"tickers.")
TEXT_ALL: Final = word_of(b"allLiqui")
TEXT_ALL_END: Final = word_of(b"dation.")
TEXT_LIQUIDATION: Final = word_of(b"liquidat")
TEXT_LIQUIDATION_END: Final = word_of(b"ion.")
TEXT_SNAPSHOT: Final = word_of(b"snapshot")
TEXT_DELTA: Final = word_of(b'delta"')
TEXT_BUY: Final = word_of(b'Buy"')
TEXT_SELL: Final = word_of(b'Sell"')
TEXT_TRUE: Final = word_of(b"true")

TOPIC_UNKNOWN: Final = fixed(0)
TOPIC_TOP: Final = fixed(1)
TOPIC_BOOK: Final = fixed(2)
TOPIC_TRADE: Final = fixed(3)
TOPIC_TICKERS: Final = fixed(4)
TOPIC_LIQUIDATION: Final = fixed(5)

WALKED: Final = fixed(0)
"""Result of a payload that is one object: its item needs the rest of the message."""

FIVE_BYTES: Final = 0xFFFFFFFFFF
SIX_BYTES: Final = 0xFFFFFFFFFFFF
SEVEN_BYTES: Final = 0xFFFFFFFFFFFFFF

FLAG_NOT_MARKET: Final = int(Flag.NOT_MARKET)
HAS_MARK: Final = int(Has.MARK)
HAS_INDEX: Final = int(Has.INDEX)
HAS_SETTLE: Final = int(Has.SETTLE)
HAS_RATE: Final = int(Has.RATE)
HAS_NEXT: Final = int(Has.NEXT)
HAS_INTEREST: Final = int(Has.INTEREST)
HAS_LAST: Final = int(Has.LAST)
HAS_OPEN: Final = int(Has.OPEN)
HAS_HIGH: Final = int(Has.HIGH)
HAS_LOW: Final = int(Has.LOW)
HAS_VOLUME: Final = int(Has.VOLUME)


@inlined_always
def key_text(data: Bytes, pos: int) -> tuple[int, int, int]:
    """Read any key: where its name begins, the name's length, and where the value begins.

    The last is a ``Reject`` if there is no key. Space may stand anywhere.
    """
    pos = skip_space(data, pos)
    if byte_at(data, pos) != QUOTE:
        return 0, 0, fault(byte_at(data, pos))
    start = pos + 1
    end = skip_string(data, start)
    if end < 0:
        return 0, 0, end
    if has_escape(data, start):
        return 0, 0, SYNTAX
    pos = skip_space(data, end + 1)
    if byte_at(data, pos) != COLON:
        return 0, 0, fault(byte_at(data, pos))
    return start, end - start, skip_space(data, pos + 1)


@inlined_always
def short_cell(data: Bytes, start: int, length: int) -> int:
    """Return the cell of a key of ``data`` with less than eight letters, or -1."""
    chars = word(data, start)
    if length == 1:
        return int(LETTER_CELLS[(chars & 0xFF) - 64]) if chars & 0xC0 == 0x40 else -1
    if length == 2:
        return BLOCK if chars & 0xFFFF == NAME_BLOCK else -1
    if length == 4:
        text = chars & 0xFFFFFFFF
        if text == NAME_SIDE:
            return SIDE
        return QUANTITY if text == NAME_SIZE else -1
    if length == 5:
        return PRICE if chars & FIVE_BYTES == NAME_PRICE else -1
    return NATIVE if length == 6 and chars & SIX_BYTES == NAME_NATIVE else -1


@inlined_always
def long_cell(data: Bytes, start: int, length: int) -> int:
    """Return the cell of a key of ``data`` with eight letters or more, or -1."""
    head = word(data, start)
    tail = word(data, start + length - 8)
    if length == 9:
        if head == LAST_PRICE_HEAD and tail == LAST_PRICE_TAIL:
            return LAST_PRICE
        if head == VOLUME_HEAD and tail == VOLUME_TAIL:
            return VOLUME
        return MARK if head == MARK_HEAD and tail == MARK_TAIL else -1
    if length == 10:
        return INDEX if head == INDEX_HEAD and tail == INDEX_TAIL else -1
    if length == 11:
        if head == LOW_PRICE_HEAD and tail == PRICE_24H_TAIL:
            return LOW_PRICE
        if head == RATE_HEAD and tail == RATE_TAIL:
            return RATE
        return TIME if head == TIME_HEAD and tail == TIME_TAIL else -1
    if length == 12:
        if head == OPEN_PRICE_HEAD and tail == PRICE_24H_TAIL:
            return OPEN_PRICE
        if head == HIGH_PRICE_HEAD and tail == PRICE_24H_TAIL:
            return HIGH_PRICE
        return INTEREST if head == INTEREST_HEAD and tail == INTEREST_TAIL else -1
    if length == 15:
        return NEXT if head == NEXT_HEAD and tail == NEXT_TAIL else -1
    if length == 22 and head == SETTLE_HEAD and tail == SETTLE_TAIL:
        return SETTLE if word(data, start + 8) == SETTLE_MIDDLE else -1
    return -1


@inlined
def long_key(data: Bytes, pos: int) -> tuple[int, int]:
    """Read any key of ``data``: its cell (-1 if it has none), the value's place or a ``Reject``."""
    start, length, pos = key_text(data, pos)
    if pos < 0:
        return -1, pos
    cell = short_cell(data, start, length) if length < 8 else long_cell(data, start, length)
    return cell, pos


@inlined
def message_key(data: Bytes, pos: int) -> tuple[int, int]:
    """Read any key of the message: its cell (-1 if none), the value's place or a ``Reject``."""
    start, length, pos = key_text(data, pos)
    if pos < 0:
        return -1, pos
    chars = word(data, start)
    if length == 2:
        return (STAMP if chars & 0xFFFF == NAME_STAMP else -1), pos
    if length == 3:
        return (ENGINE_STAMP if chars & 0xFFFFFF == NAME_ENGINE_STAMP else -1), pos
    if length == 4:
        text = chars & 0xFFFFFFFF
        if text == NAME_TYPE:
            return KIND, pos
        return (DATA if text == NAME_DATA else -1), pos
    return (TOPIC if length == 5 and chars & FIVE_BYTES == NAME_TOPIC else -1), pos


@inlined
def topic_of(data: Bytes, pos: int) -> int:
    """Return which topic the string at ``pos`` names: ``TOPIC_…``, ``NOT_COVERED`` or ``TYPE``."""
    if byte_at(data, pos) != QUOTE:
        return TYPE
    chars = word(data, pos + 1)
    more = word(data, pos + 9)
    if chars == TEXT_BOOK:
        if more & 0xFFFF == TEXT_BOOK_END:
            start = pos + 11
            end = start
            while ZERO <= byte_at(data, end) <= NINE:
                end += 1
            if end > start and byte_at(data, end) == POINT:
                one = end == start + 1 and byte_at(data, start) == ZERO + 1
                return TOPIC_TOP if one else TOPIC_BOOK
    elif chars == TEXT_TRADE:
        if more & 0xFFFFFFFF == TEXT_TRADE_END:
            return TOPIC_TRADE
    elif chars == TEXT_TICKERS:
        return TOPIC_TICKERS
    elif chars == TEXT_ALL:
        if more & SEVEN_BYTES == TEXT_ALL_END:
            return TOPIC_LIQUIDATION
    elif chars == TEXT_LIQUIDATION and more & 0xFFFFFFFF == TEXT_LIQUIDATION_END:
        return TOPIC_LIQUIDATION
    return TYPE if has_escape(data, pos + 1) else NOT_COVERED


@inlined_always
def walk(data: Bytes, pos: int, book: bool, symbols: Records, levels: Levels) -> int:
    """Go over an object from after its brace; note the cells; return where it ends, or a Reject.

    With ``book``, sides that come after the symbol are converted: such a side's cell holds
    ``-1 - first row`` and the number of its rows.
    """
    base = len(levels) - CELLS
    seen = START
    entry = NO_ENTRY
    used = START
    pos = skip_space(data, pos)
    while byte_at(data, pos) != OBJECT_END:
        chars = word(data, pos)
        letter = (chars >> 8) & 0xFF
        if chars & 0xFFFF00FF == 0x3A220022 and 0x61 <= letter | 0x20 <= 0x7A:
            cell = int(LETTER_CELLS[letter - 64])
            pos += 4
            if byte_at(data, pos) <= SPACE:
                pos = skip_space(data, pos)
        else:
            cell, pos = long_key(data, pos)
            if pos < 0:
                return pos
        start = pos
        if byte_at(data, pos) == ARRAY and book and cell in (BIDS, ASKS):
            if entry < 0:
                entry = native_at(data, seen, NATIVE, symbols, levels)
            if entry >= 0:
                start = -1 - used
                pos, used = side_member(data, pos, cell, entry, symbols, levels, used)
            else:
                pos = skip_value(data, pos)
        else:
            pos = skip_member(data, pos)
        if pos < 0:
            return pos
        seen = note_member(levels, cell, start, pos, seen)
        if seen < 0:
            return seen
        pos = next_member(data, pos)
        if pos < 0:
            return pos
    levels[base + SEEN, 0] = seen
    levels[base + USED, 0] = used
    levels[base + ENTRY, 0] = entry
    return pos + 1


@inlined_always
def side_at(data: Bytes, pos: int) -> int:
    """Return 1 for ``Buy`` and 2 for ``Sell`` at ``pos`` (-1: none), or a ``Reject``."""
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != QUOTE:
        return TYPE
    chars = word(data, pos + 1)
    if chars & 0xFFFFFFFF == TEXT_BUY:
        return 1
    return 2 if chars & FIVE_BYTES == TEXT_SELL else TYPE


@inlined_always
def block_flags(data: Bytes, pos: int) -> int:
    """Return the flags that ``BT`` at ``pos`` (-1: none) asks for, or a ``Reject``."""
    if pos < 0:
        return 0
    c = byte_at(data, pos)
    if c == 0x66:
        return 0
    return FLAG_NOT_MARKET if c == 0x74 else TYPE


@inlined_always
def put_trade(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a trade item; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price = decimal_at(data, cell_at(seen, PRICE, levels), int(symbols[entry]["price_decimals"]))
    quantity = decimal_at(
        data, cell_at(seen, QUANTITY, levels), int(symbols[entry]["quantity_decimals"])
    )
    trade_id = text_id_at(data, cell_at(seen, TRADE_ID, levels))
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    side = side_at(data, cell_at(seen, SIDE, levels))
    flags = block_flags(data, cell_at(seen, BLOCK, levels))
    worst = min(price, quantity, trade_id, exchange_ns, side, flags)
    if worst < 0:
        return worst
    fill(items, n, KIND_TRADE, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = trade_id
    items[n]["price"] = price
    items[n]["quantity"] = quantity
    items[n]["side"] = 1 if side == 1 else -1
    items[n]["flags"] = flags
    return 1


@inlined_always
def put_liquidation(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a liquidation item; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price = rounded_at(data, cell_at(seen, PRICE, levels), int(symbols[entry]["price_decimals"]))
    quantity = decimal_at(
        data, cell_at(seen, QUANTITY, levels), int(symbols[entry]["quantity_decimals"])
    )
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    side = side_at(data, cell_at(seen, SIDE, levels))
    worst = min(price, quantity, exchange_ns, side)
    if worst < 0:
        return worst
    fill(items, n, KIND_LIQUIDATION, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = price
    items[n]["quantity"] = quantity
    items[n]["side"] = -1 if side == 1 else 1  # A long (Buy) is closed by selling.
    return 1


@inlined_always
def is_snapshot(data: Bytes, pos: int, update_id: int) -> int:
    """Return 1 for a snapshot, 0 for a delta (``type`` at ``pos``, -1: none), or a ``Reject``."""
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != QUOTE:
        return TYPE
    chars = word(data, pos + 1)
    if chars == TEXT_SNAPSHOT and byte_at(data, pos + 9) == QUOTE:
        return 1
    if chars & SIX_BYTES != TEXT_DELTA:
        return TYPE
    return 1 if update_id == 1 else 0


@inlined_always
def book_time(data: Bytes, head: int, levels: Levels) -> int:
    """Return the time of a book message, Unix ns, or a ``Reject``."""
    stamp = cell_at(head, ENGINE_STAMP, levels)
    return nanoseconds(whole_at(data, stamp if stamp >= 0 else cell_at(head, STAMP, levels)))


@inlined_always
def put_book(
    data: Bytes,
    head: int,
    topic: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> int:
    """Write a book update or snapshot, or a best bid and offer; return 1 or a ``Reject``.

    ``head`` has a bit for each cell of the message.
    """
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    if not seen & (1 << BIDS) or not seen & (1 << ASKS):
        return MISSING
    update_id = whole_at(data, cell_at(seen, LAST_ID, levels))
    snapshot = is_snapshot(data, cell_at(head, KIND, levels), update_id)
    exchange_ns = book_time(data, head, levels)
    bid_end = late_levels(data, BIDS, entry, symbols, levels)
    ask_end = late_levels(data, ASKS, entry, symbols, levels)
    worst = min(update_id, snapshot, exchange_ns, bid_end, ask_end)
    if worst < 0:
        return worst
    instrument = symbols[entry]["instrument"]
    if topic == TOPIC_TOP:
        return put_top(instrument, snapshot, update_id, exchange_ns, items, levels)
    fill(items, START, KIND_SNAPSHOT if snapshot else KIND_UPDATE, instrument, exchange_ns)
    items[0]["first_id"] = update_id
    items[0]["last_id"] = update_id
    fill_sides(items, START, BIDS, ASKS, levels)
    return 1


@inlined_always
def put_top(
    instrument: int,
    snapshot: int,
    update_id: int,
    exchange_ns: int,
    items: Records,
    levels: Levels,
) -> int:
    """Write the best bid and offer of two converted sides; return 1 or a ``Reject``."""
    base = len(levels) - CELLS
    bids = levels[base + BIDS, 1]
    asks = levels[base + ASKS, 1]
    if not snapshot:
        return NOTHING
    if bids > 1 or asks > 1:
        return SIZE
    fill(items, START, KIND_TICKER, instrument, exchange_ns)
    items[0]["first_id"] = update_id
    if bids:
        row = -1 - levels[base + BIDS, 0]
        items[0]["price"] = levels[row, 0]
        items[0]["quantity"] = levels[row, 1]
    if asks:
        row = -1 - levels[base + ASKS, 0]
        items[0]["price_2"] = levels[row, 0]
        items[0]["quantity_2"] = levels[row, 1]
    return 1


@inlined_always
def held(data: Bytes, seen: int, cell: int, bit: int, levels: Levels) -> int:
    """Return ``bit`` if a cell holds a value that is not an empty text, else 0."""
    return 0 if empty_at(data, cell_at(seen, cell, levels)) else bit


@inlined
def put_funding(
    data: Bytes,
    exchange_ns: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> int:
    """Write what a ticker says of funding; return 1, 0 if that is nothing, or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    mark = optional_rounded_at(data, cell_at(seen, MARK, levels), INDEX_PLACES)
    index = optional_rounded_at(data, cell_at(seen, INDEX, levels), INDEX_PLACES)
    settle = optional_rounded_at(data, cell_at(seen, SETTLE, levels), INDEX_PLACES)
    rate, end = signed_at(data, cell_at(seen, RATE, levels), RATE_PLACES)
    has_next = held(data, seen, NEXT, HAS_NEXT, levels)
    next_ns = nanoseconds(text_whole_at(data, cell_at(seen, NEXT, levels))) if has_next else 0
    interest = optional_rounded_at(
        data, cell_at(seen, INTEREST, levels), int(symbols[entry]["quantity_decimals"])
    )
    worst = min(mark, index, settle, end, next_ns, interest)
    if worst < 0:
        return worst
    mask = has_next | held(data, seen, MARK, HAS_MARK, levels)
    mask |= held(data, seen, INDEX, HAS_INDEX, levels) | held(data, seen, RATE, HAS_RATE, levels)
    mask |= held(data, seen, INTEREST, HAS_INTEREST, levels)
    if settle > 0:
        mask |= HAS_SETTLE
    if mask == 0:
        return 0
    fill(items, START, KIND_FUNDING, symbols[entry]["instrument"], exchange_ns)
    items[0]["price"] = mark
    items[0]["quantity"] = index
    items[0]["price_2"] = settle
    items[0]["quantity_2"] = rate
    items[0]["next_ns"] = next_ns
    items[0]["extra"] = interest
    items[0]["mask"] = mask
    return 1


@inlined
def put_stats(
    data: Bytes,
    exchange_ns: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
    n: int,
) -> int:
    """Write what a ticker says of the last day; return 1, 0 if that is nothing, or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    last_price = optional_at(data, cell_at(seen, LAST_PRICE, levels), price_decimals)
    open_price = optional_rounded_at(data, cell_at(seen, OPEN_PRICE, levels), price_decimals)
    high_price = optional_rounded_at(data, cell_at(seen, HIGH_PRICE, levels), price_decimals)
    low_price = optional_rounded_at(data, cell_at(seen, LOW_PRICE, levels), price_decimals)
    volume = optional_rounded_at(
        data, cell_at(seen, VOLUME, levels), int(symbols[entry]["quantity_decimals"])
    )
    worst = min(last_price, open_price, high_price, low_price, volume)
    if worst < 0:
        return worst
    mask = held(data, seen, LAST_PRICE, HAS_LAST, levels)
    mask |= held(data, seen, OPEN_PRICE, HAS_OPEN, levels)
    mask |= held(data, seen, HIGH_PRICE, HAS_HIGH, levels)
    mask |= held(data, seen, LOW_PRICE, HAS_LOW, levels)
    mask |= held(data, seen, VOLUME, HAS_VOLUME, levels)
    if mask == 0:
        return 0
    fill(items, n, KIND_STATS, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = last_price
    items[n]["price_2"] = open_price
    items[n]["quantity_2"] = high_price
    items[n]["extra"] = low_price
    items[n]["quantity"] = volume
    items[n]["mask"] = mask
    return 1


@inlined_always
def put_tickers(
    data: Bytes, head: int, entry: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Write what a ticker says; return the number of items or a ``Reject``."""
    exchange_ns = nanoseconds(whole_at(data, cell_at(head, STAMP, levels)))
    if exchange_ns < 0:
        return exchange_ns
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    funding = START
    if seen & FUNDING_KEYS:
        funding = put_funding(data, exchange_ns, entry, symbols, items, levels)
        if funding < 0:
            return funding
    stats = START
    if seen & STATS_KEYS:
        stats = put_stats(data, exchange_ns, entry, symbols, items, levels, funding)
        if stats < 0:
            return stats
    return funding + stats if funding + stats > 0 else NOTHING


@inlined
def payload(
    data: Bytes, pos: int, topic: int, symbols: Records, items: Records, levels: Levels
) -> tuple[int, int]:
    """Read the value of ``data``: where it ends, and the items, ``WALKED`` or a ``Reject``.

    Trades and liquidations of an array need nothing of the message and are written here.
    """
    several = byte_at(data, pos) == ARRAY
    if several:
        if topic != TOPIC_TRADE and topic != TOPIC_LIQUIDATION:
            return skip_value(data, pos), TYPE
        pos = skip_space(data, pos + 1)
        if byte_at(data, pos) == ARRAY_END:
            return pos + 1, NOTHING
    elif byte_at(data, pos) != OBJECT or topic == TOPIC_TRADE:
        return skip_value(data, pos), TYPE
    count = START
    while True:
        if byte_at(data, pos) != OBJECT:
            pos = skip_value(data, pos)
            result = pos if pos < 0 else TYPE
            return result, result
        book = topic in (TOPIC_BOOK, TOPIC_TOP)
        pos = walk(data, pos + 1, book, symbols, levels)
        if pos < 0 or not several:
            return pos, WALKED
        seen = int(levels[len(levels) - CELLS + SEEN, 0])
        result = native_at(data, seen, NATIVE, symbols, levels)
        if result >= 0:
            if count >= len(items):
                return SIZE, SIZE
            if topic == TOPIC_TRADE:
                result = put_trade(data, result, symbols, items, levels, count)
            else:
                result = put_liquidation(data, result, symbols, items, levels, count)
            count += 1
        if result < 0 and result != SYMBOL:
            return result, result
        pos = skip_space(data, pos)
        if byte_at(data, pos) == ARRAY_END:
            return pos + 1, count if count > 0 else SYMBOL
        if byte_at(data, pos) != COMMA:
            pos = fault(byte_at(data, pos))
            return pos, pos
        pos = skip_space(data, pos + 1)


@inlined
def finish(
    data: Bytes, head: int, topic: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Write the items of the one object that was walked; return their number or a ``Reject``."""
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    if topic == TOPIC_TICKERS and not seen & (FUNDING_KEYS | STATS_KEYS):
        return NOTHING
    entry = int(levels[base + ENTRY, 0])
    if entry < 0:
        entry = native_at(data, seen, NATIVE, symbols, levels)
        if entry < 0:
            return entry
    if topic == TOPIC_TICKERS:
        return put_tickers(data, head, entry, symbols, items, levels)
    if topic == TOPIC_LIQUIDATION:
        return put_liquidation(data, entry, symbols, items, levels, START)
    return put_book(data, head, topic, entry, symbols, items, levels)


@inlined_always
def known_key(data: Bytes, pos: int) -> tuple[int, int]:
    """Read a key of the message as the venue writes it; any other way is ``message_key``'s."""
    chars = word(data, pos)
    if chars == KEY_TOPIC:
        return TOPIC, pos + 8
    if chars & SEVEN_BYTES == KEY_TYPE:
        return KIND, pos + 7
    if chars & SEVEN_BYTES == KEY_DATA:
        return DATA, pos + 7
    if chars & FIVE_BYTES == KEY_STAMP:
        return STAMP, pos + 5
    if chars & SIX_BYTES == KEY_ENGINE_STAMP:
        return ENGINE_STAMP, pos + 6
    return message_key(data, pos)


@inlined_always
def after_value(data: Bytes, pos: int) -> int:
    """Return where the next key or the object's end is, after a value; or a ``Reject``."""
    pos = skip_space(data, pos)
    c = byte_at(data, pos)
    if c == COMMA:
        pos = skip_space(data, pos + 1)
        return pos if byte_at(data, pos) == QUOTE else fault(byte_at(data, pos))
    return pos if c == OBJECT_END else fault(c)


@inlined
def conclude(
    data: Bytes,
    head: int,
    topic: int,
    unread: int,
    result: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> int:
    """Return the result of a message that was read to its end: the items, or a ``Reject``.

    ``unread`` is the place of a ``data`` that came before the topic, else -1; ``result`` is that of
    the payload.
    """
    if topic <= TOPIC_UNKNOWN:
        return topic if topic < 0 else NOT_COVERED
    if not head & (1 << DATA):
        return MISSING
    if unread >= 0:
        pos, result = payload(data, unread, topic, symbols, items, levels)
        if pos < 0:
            return pos
    return result if result != WALKED else finish(data, head, topic, symbols, items, levels)


@kernel(SCAN)
def scan(
    data: Bytes,
    length: int,
    frame_kind: int,
    instrument: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> int:
    """Scan one frame: see ``feeds.message.SCAN``. The last rows of ``levels`` are scratch."""
    if not sealed(data, length):
        return TRUNCATED
    pos = skip_space(data, START)
    if byte_at(data, pos) != OBJECT:
        return ended(data, skip_value(data, pos), length, NOT_COVERED)
    base = len(levels) - CELLS
    head = START
    topic = TOPIC_UNKNOWN
    result = WALKED
    unread = NO_ENTRY
    pos = skip_space(data, pos + 1)
    while byte_at(data, pos) != OBJECT_END:
        cell, pos = known_key(data, pos)
        if pos < 0:
            return pos
        pos = skip_space(data, pos)
        start = pos
        if cell == DATA and topic > TOPIC_UNKNOWN:
            pos, result = payload(data, pos, topic, symbols, items, levels)
        else:
            pos = skip_value(data, pos)
            if cell == DATA:
                unread = start
        if pos < 0:
            return pos
        if cell >= 0:
            if head & (1 << cell):
                return SYNTAX
            head |= 1 << cell
            levels[base + cell, 0] = start
            if cell == TOPIC:
                topic = topic_of(data, start)
        pos = after_value(data, pos)
        if pos < 0:
            return pos
    end = ended(data, pos + 1, length, START)
    if end < 0:
        return end
    return conclude(data, head, topic, unread, result, symbols, items, levels)
