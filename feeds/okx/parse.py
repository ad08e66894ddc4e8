"""The scanner of OKX's public messages (API v5): frame bytes to neutral items.

Read by key, in any order. ``walk`` goes over an object and notes, for each key it knows, where the
value begins (its "cell"); the levels of a book message are converted on the way. A message is
``{"arg":{"channel":…,"instId":…},"action":…,"data":[…]}``; if it begins like that, with the keys in
this order, the payload is read at once, otherwise the whole frame is walked over first.

Channels: ``trades``, ``trades-all``, ``books``, ``books-l2-tbt``, ``books50-l2-tbt``, ``books5``
(a partial snapshot), ``bbo-tbt``, ``tickers``, ``funding-rate``, ``mark-price``, ``index-tickers``,
``open-interest``, ``liquidation-orders``, and the body of a depth request. Events (answers,
notices) and the text ``pong`` are well-formed and not covered.

- Book ids are ``seqId`` and ``prevSeqId``. Recordings from before OKX had them give the message's
  time in milliseconds and no link.
- Quantities of derivatives are contracts, as the venue sends them.
- An index belongs to no instrument: ``BTC-USDT`` is reported for ``BTC-USDT-SWAP`` alone.
- Messages of indices and liquidations of instruments that the map does not list say nothing
  (nobody asked for them: a subscription is for a whole kind of instruments); those of other
  channels are refused.
- What the venue computes (mark and index price, open interest, 24-hour figures, bankruptcy prices)
  is rounded to the instrument's decimals; what is traded or quoted must fit them exactly.
- A book channel is of one instrument, that of ``arg``; elsewhere an element's ``instId`` counts.

What is refused although a lenient reader could take it (the venue sends none of it): a key twice in
an object whose key has a meaning here; an escape in a key, a channel or a symbol; times of a year
beyond 2262; a link without an id or, in an update, an id without a link; what ``feeds.scan``
refuses.
"""

from typing import Final

import numpy as np

from engine.atomics import byte_at
from engine.jit import inlined, inlined_always, kernel
from feeds.message import SCAN, Has
from feeds.parsing import (
    CELLS,
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
    OVERFLOW,
    RATE_PLACES,
    REST_DEPTH,
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
    nanoseconds,
    next_member,
    note_member,
    optional_rounded_at,
    rounded_at,
    side_member,
    signed_at,
    skip_member,
    text_whole_at,
    whole_at,
    word_of,
)
from feeds.scan import (
    ARRAY,
    ARRAY_END,
    COLON,
    COMMA,
    MINUS,
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
    string_stops,
    trailing_zeros,
    word,
)
from feeds.symbols import entry_of_instrument, find_suffixed, find_symbol, head
from feeds.types import Flag

KEYS: Final = (
    "arg",
    "action",
    "data",
    "event",
    "channel",
    "instId",
    "ts",
    "px",
    "sz",
    "side",
    "count",
    "tradeId",
    "asks",
    "bids",
    "seqId",
    "prevSeqId",
    "checksum",
    "last",
    "open24h",
    "high24h",
    "low24h",
    "vol24h",
    "fundingRate",
    "fundingTime",
    "markPx",
    "idxPx",
    "oi",
    "details",
    "bkPx",
)
"""The keys with a meaning; a key's place is its cell."""

SLOTS: Final = 256
SLOT_SHIFT: Final = 56
"""A slot is the highest byte of a product: every byte of the key has a part in it."""


def _slots(multiplier: int) -> list[int]:
    return [((word_of(key.encode()[:8]) * multiplier) >> SLOT_SHIFT) & (SLOTS - 1) for key in KEYS]


def _perfect_multiplier() -> int:
    """Return the first odd multiple of the golden ratio's that sends every key to its own slot."""
    multiplier = 0x1E3779B97F4A7C15
    while len(set(_slots(multiplier))) < len(KEYS):
        multiplier = (multiplier * 5 + 2) & 0x1FFFFFFFFFFFFFFF
    return multiplier


MULTIPLIER: Final = _perfect_multiplier()
KEY_CELL = np.full(SLOTS, -1, np.int64)
KEY_WORD = np.zeros(SLOTS, np.int64)
"""The first eight bytes of the key in a slot."""
KEY_TAIL = np.zeros(SLOTS, np.int64)
KEY_LENGTH = np.zeros(SLOTS, np.int64)
for _cell, (_key, _slot) in enumerate(zip(KEYS, _slots(MULTIPLIER), strict=True)):
    KEY_CELL[_slot] = _cell
    KEY_WORD[_slot] = word_of(_key.encode()[:8])
    KEY_TAIL[_slot] = word_of(_key.encode()[8:])
    KEY_LENGTH[_slot] = len(_key)

ARG: Final = fixed(KEYS.index("arg"))
ACTION: Final = fixed(KEYS.index("action"))
DATA: Final = fixed(KEYS.index("data"))
EVENT: Final = fixed(KEYS.index("event"))
CHANNEL: Final = fixed(KEYS.index("channel"))
NATIVE: Final = fixed(KEYS.index("instId"))
TIME: Final = fixed(KEYS.index("ts"))
PRICE: Final = fixed(KEYS.index("px"))
QUANTITY: Final = fixed(KEYS.index("sz"))
SIDE: Final = fixed(KEYS.index("side"))
COUNT: Final = fixed(KEYS.index("count"))
TRADE_ID: Final = fixed(KEYS.index("tradeId"))
ASKS: Final = fixed(KEYS.index("asks"))
BIDS: Final = fixed(KEYS.index("bids"))
ID: Final = fixed(KEYS.index("seqId"))
LINK: Final = fixed(KEYS.index("prevSeqId"))
CHECKSUM: Final = fixed(KEYS.index("checksum"))
LAST: Final = fixed(KEYS.index("last"))
OPEN: Final = fixed(KEYS.index("open24h"))
HIGH: Final = fixed(KEYS.index("high24h"))
LOW: Final = fixed(KEYS.index("low24h"))
VOLUME: Final = fixed(KEYS.index("vol24h"))
RATE: Final = fixed(KEYS.index("fundingRate"))
NEXT: Final = fixed(KEYS.index("fundingTime"))
MARK: Final = fixed(KEYS.index("markPx"))
INDEX: Final = fixed(KEYS.index("idxPx"))
INTEREST: Final = fixed(KEYS.index("oi"))
DETAILS: Final = fixed(KEYS.index("details"))
BANKRUPTCY: Final = fixed(KEYS.index("bkPx"))

# What a message is. Those up to QUOTES are of one instrument and have levels.
BOOK: Final = fixed(0)
PARTIAL_BOOK: Final = fixed(1)
REST_BOOK: Final = fixed(2)
QUOTES: Final = fixed(3)
TRADES: Final = fixed(4)
STATS: Final = fixed(5)
FUNDING: Final = fixed(6)
MARK_PRICE: Final = fixed(7)
INDEX_PRICE: Final = fixed(8)
OPEN_INTEREST: Final = fixed(9)
LIQUIDATIONS: Final = fixed(10)

NO_ACTION: Final = fixed(0)
ACTION_UPDATE: Final = fixed(1)
ACTION_SNAPSHOT: Final = fixed(2)

NATIVE_START: Final = 12
"""Bytes from the closing quote of a channel to the symbol in ``","instId":"``."""
CHANNEL_START: Final = fixed(len('{"arg":{"channel":"'))

HEAD_ARG: Final = word_of(b'{"arg":{')
HEAD_CHANNEL: Final = word_of(b'"channel')
HEAD_COLON: Final = word_of(b'":"')
HEAD_NATIVE: Final = word_of(b'","instI')
HEAD_NATIVE_END: Final = word_of(b'd":"')
HEAD_DATA: Final = word_of(b'"},"data')
HEAD_DATA_END: Final = word_of(b'":')
HEAD_ACTION: Final = word_of(b'"},"acti')
HEAD_UPDATE: Final = word_of(b'on":"upd')
HEAD_UPDATE_2: Final = word_of(b'ate","da')
HEAD_UPDATE_3: Final = word_of(b'ta":')
HEAD_SNAPSHOT: Final = word_of(b'on":"sna')
HEAD_SNAPSHOT_2: Final = word_of(b'pshot","')
HEAD_SNAPSHOT_3: Final = word_of(b'data":')

TEXT_BOOKS: Final = word_of(b"books")
TEXT_BOOKS5: Final = word_of(b"books5")
TEXT_BOOKS_L2: Final = word_of(b"books-l2")
TEXT_BOOKS50: Final = word_of(b"books50-")
TEXT_L2_TBT: Final = word_of(b"l2-tbt")
TEXT_TBT: Final = word_of(b"-tbt")
TEXT_BBO: Final = word_of(b"bbo-tbt")
TEXT_TRADES: Final = word_of(b"trades")
TEXT_TRADES_ALL: Final = word_of(b"trades-a")
TEXT_LL: Final = word_of(b"ll")
TEXT_TICKERS: Final = word_of(b"tickers")
TEXT_FUNDING: Final = word_of(b"funding-")
TEXT_RATE: Final = word_of(b"rate")
TEXT_MARK: Final = word_of(b"mark-pri")
TEXT_CE: Final = word_of(b"ce")
TEXT_INDEX: Final = word_of(b"index-ti")
TEXT_CKERS: Final = word_of(b"ckers")
TEXT_OPEN: Final = word_of(b"open-int")
TEXT_EREST: Final = word_of(b"erest")
TEXT_LIQUIDATION: Final = word_of(b"liquidat")
TEXT_LIQUIDATION_2: Final = word_of(b"ion-orde")
TEXT_RS: Final = word_of(b"rs")
TEXT_UPDATE: Final = word_of(b'update"')
TEXT_SNAPSHOT: Final = word_of(b"snapshot")
TEXT_BUY: Final = word_of(b'buy"')
TEXT_SELL: Final = word_of(b'sell"')
TEXT_PONG: Final = word_of(b"pong")
MINUS_ONE: Final = word_of(b"-1")
SUFFIX_SWAP: Final = fixed(word_of(b"-SWAP"))
SUFFIX_SWAP_LENGTH: Final = fixed(len("-SWAP"))

FLAG_AGGREGATED: Final = int(Flag.AGGREGATED)
FLAG_PARTIAL: Final = int(Flag.PARTIAL)
HAS_MARK: Final = int(Has.MARK)
HAS_INDEX: Final = int(Has.INDEX)
HAS_RATE: Final = int(Has.RATE)
HAS_NEXT: Final = int(Has.NEXT)
HAS_INTEREST: Final = int(Has.INTEREST)
HAS_LAST: Final = int(Has.LAST)
HAS_OPEN: Final = int(Has.OPEN)
HAS_HIGH: Final = int(Has.HIGH)
HAS_LOW: Final = int(Has.LOW)
HAS_VOLUME: Final = int(Has.VOLUME)

CHECKSUM_BITS: Final = 32


@inlined_always
def key_slot(chars: int) -> int:
    """Return the slot of a key whose first eight bytes (zero-padded) are ``chars``."""
    return ((chars * MULTIPLIER) >> SLOT_SHIFT) & (SLOTS - 1)


@inlined
def long_key(data: Bytes, pos: int) -> tuple[int, int]:
    """Read any key: its cell (-1 if it has none) and where the value begins, or a ``Reject``."""
    if byte_at(data, pos) != QUOTE:
        return -1, fault(byte_at(data, pos))
    start = pos + 1
    end = skip_string(data, start)
    if end < 0:
        return -1, end
    if has_escape(data, start):
        return -1, SYNTAX
    pos = skip_space(data, end + 1)
    if byte_at(data, pos) != COLON:
        return -1, fault(byte_at(data, pos))
    length = end - start
    cell = -1
    if length > 0:
        chars = head(word(data, start), length)
        slot = key_slot(chars)
        tail = head(word(data, start + 8), length - 8) if length > 8 else 0
        known = KEY_WORD[slot] == chars and KEY_TAIL[slot] == tail
        if known and KEY_LENGTH[slot] == length:
            cell = int(KEY_CELL[slot])
    return cell, skip_space(data, pos + 1)


@inlined_always
def walk(data: Bytes, pos: int, entry: int, symbols: Records, levels: Levels, used: int) -> int:
    """Go over an object from after its brace; note the cells; return where it ends, or a Reject.

    ``entry`` is the symbol map's entry whose decimals convert levels, -1 if there are none to
    convert. Level rows are taken from ``used`` on. A converted side's cell holds ``-1 - first row``
    and the number of its rows.
    """
    base = len(levels) - CELLS
    seen = START
    pos = skip_space(data, pos)
    while byte_at(data, pos) != OBJECT_END:
        chars = word(data, pos + 1)
        length = trailing_zeros(string_stops(chars)) >> 3
        end = pos + 1 + length
        if byte_at(data, pos) == QUOTE and length < 8 and word(data, end) & 0xFFFF == 0x3A22:
            chars &= (1 << (8 * length)) - 1
            slot = key_slot(chars)
            cell = int(KEY_CELL[slot]) if KEY_WORD[slot] == chars else -1
            pos = end + 2
            if byte_at(data, pos) <= SPACE:
                pos = skip_space(data, pos)
        else:
            cell, pos = long_key(data, pos)
            if pos < 0:
                return pos
        start = pos
        if byte_at(data, pos) == ARRAY and entry >= 0 and cell in (ASKS, BIDS):
            start = -1 - used
            pos, used = side_member(data, pos, cell, entry, symbols, levels, used)
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
    return pos + 1


@inlined
def channel_of(data: Bytes, start: int, end: int) -> int:
    """Return what the (valid) channel name ``data[start:end]`` stands for, or a ``Reject``."""
    length = end - start
    chars = word(data, start)
    if length < 8:
        chars = head(chars, length) if length > 0 else 0
        if chars == TEXT_BOOKS:
            return BOOK
        if chars == TEXT_TRADES:
            return TRADES
        if chars == TEXT_BBO:
            return QUOTES
        if chars == TEXT_BOOKS5:
            return PARTIAL_BOOK
        if chars == TEXT_TICKERS:
            return STATS
    else:
        more = word(data, start + 8)
        tail = head(more, length - 8) if length > 8 else 0
        if chars == TEXT_BOOKS_L2 and length == 12 and tail == TEXT_TBT:
            return BOOK
        if chars == TEXT_BOOKS50 and length == 14 and tail == TEXT_L2_TBT:
            return BOOK
        if chars == TEXT_TRADES_ALL and length == 10 and tail == TEXT_LL:
            return TRADES
        if chars == TEXT_FUNDING and length == 12 and tail == TEXT_RATE:
            return FUNDING
        if chars == TEXT_MARK and length == 10 and tail == TEXT_CE:
            return MARK_PRICE
        if chars == TEXT_INDEX and length == 13 and tail == TEXT_CKERS:
            return INDEX_PRICE
        if chars == TEXT_OPEN and length == 13 and tail == TEXT_EREST:
            return OPEN_INTEREST
        if chars == TEXT_LIQUIDATION and length == 18 and more == TEXT_LIQUIDATION_2:
            return LIQUIDATIONS if word(data, start + 16) & 0xFFFF == TEXT_RS else NOT_COVERED
    return TYPE if has_escape(data, start) else NOT_COVERED


@inlined_always
def action_of(data: Bytes, pos: int) -> int:
    """Return what the action at ``pos`` (-1: none) is, or a ``Reject``."""
    if pos < 0:
        return NO_ACTION
    if byte_at(data, pos) != QUOTE:
        return TYPE
    chars = word(data, pos + 1)
    if chars & 0xFFFFFFFFFFFFFF == TEXT_UPDATE:
        return ACTION_UPDATE
    return ACTION_SNAPSHOT if chars == TEXT_SNAPSHOT and byte_at(data, pos + 9) == QUOTE else TYPE


@inlined_always
def text_time_at(data: Bytes, pos: int) -> int:
    """Return the time (milliseconds in quotes) at ``pos``, Unix ns, or a ``Reject``."""
    return nanoseconds(text_whole_at(data, pos))


@inlined_always
def optional_time_at(data: Bytes, pos: int) -> int:
    """Return the time at ``pos``, Unix ns, 0 if it is absent or empty, or a ``Reject``."""
    return 0 if empty_at(data, pos) else text_time_at(data, pos)


@inlined_always
def side_at(data: Bytes, pos: int) -> int:
    """Return 1 if the text at ``pos`` is ``buy``, 2 if ``sell``, or a ``Reject``."""
    if pos < 0:
        return MISSING
    chars = word(data, pos + 1)
    if byte_at(data, pos) == QUOTE and chars & 0xFFFFFFFF == TEXT_BUY:
        return 1
    return 2 if byte_at(data, pos) == QUOTE and chars & 0xFFFFFFFFFF == TEXT_SELL else TYPE


@inlined_always
def checksum_at(data: Bytes, pos: int) -> int:
    """Return the checksum at ``pos`` (-1: none) as 32 unsigned bits, or a ``Reject``."""
    if pos < 0:
        return 0
    negative = byte_at(data, pos) == MINUS
    value = whole_at(data, pos + 1 if negative else pos)
    if value < 0:
        return value
    if value > (1 << (CHECKSUM_BITS - 1)) - (0 if negative else 1):
        return OVERFLOW
    return ((1 << CHECKSUM_BITS) - value) & ((1 << CHECKSUM_BITS) - 1) if negative else value


@inlined_always
def no_link_at(data: Bytes, pos: int) -> bool:
    """Return whether the number at ``pos`` is ``-1``: a snapshot has no message before it."""
    if pos < 0 or word(data, pos) & 0xFFFF != MINUS_ONE:
        return False
    c = byte_at(data, pos + 2)
    return not (ZERO <= c <= NINE or c == POINT or c | 0x20 == 0x65)


@inlined_always
def native_of(data: Bytes, levels: Levels, arg_start: int, arg_end: int) -> tuple[int, int]:
    """Return where an element's symbol begins and ends, its own or that of ``arg``.

    The start is a ``Reject`` if it has none.
    """
    base = len(levels) - CELLS
    if int(levels[base + SEEN, 0]) & (1 << NATIVE):
        pos = int(levels[base + NATIVE, 0])
        if byte_at(data, pos) != QUOTE:
            return TYPE, 0
        return pos + 1, int(levels[base + NATIVE, 1]) - 1
    return (arg_start, arg_end) if arg_start >= 0 else (MISSING, 0)


@inlined_always
def entry_of(data: Bytes, start: int, end: int, symbols: Records) -> int:
    """Return the symbol map's entry of the symbol ``data[start:end]``, or a ``Reject``."""
    if start < 0:
        return start
    entry = find_symbol(symbols, data, start, end - start)
    if entry >= 0:
        return entry
    return TYPE if has_escape(data, start) else SYMBOL


@inlined_always
def put_trade(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a trade item; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    price = decimal_at(data, cell_at(seen, PRICE, levels), price_decimals)
    quantity = decimal_at(data, cell_at(seen, QUANTITY, levels), quantity_decimals)
    trade_id = text_whole_at(data, cell_at(seen, TRADE_ID, levels))
    exchange_ns = text_time_at(data, cell_at(seen, TIME, levels))
    side = side_at(data, cell_at(seen, SIDE, levels))
    fills = text_whole_at(data, cell_at(seen, COUNT, levels)) if seen & (1 << COUNT) else 1
    worst = min(price, quantity, trade_id, exchange_ns, side, fills)
    if worst < 0:
        return worst
    fill(items, n, KIND_TRADE, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = trade_id
    items[n]["price"] = price
    items[n]["quantity"] = quantity
    items[n]["side"] = 1 if side == 1 else -1
    items[n]["flags"] = FLAG_AGGREGATED if fills > 1 else 0
    return 1


@inlined_always
def put_quotes(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a best bid and offer, 0 for an empty side; return 1 or a ``Reject``."""
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    exchange_ns = text_time_at(data, cell_at(seen, TIME, levels))
    update_id = whole_at(data, cell_at(seen, ID, levels)) if seen & (1 << ID) else 0
    worst = min(exchange_ns, update_id)
    if worst < 0:
        return worst
    fill(items, n, KIND_TICKER, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = update_id
    if levels[base + BIDS, 1] > 0:
        row = -1 - int(levels[base + BIDS, 0])
        items[n]["price"] = levels[row, 0]
        items[n]["quantity"] = levels[row, 1]
    if levels[base + ASKS, 1] > 0:
        row = -1 - int(levels[base + ASKS, 0])
        items[n]["price_2"] = levels[row, 0]
        items[n]["quantity_2"] = levels[row, 1]
    return 1


@inlined_always
def update_link(data: Bytes, seen: int, levels: Levels) -> int:
    """Return the link of a book update: 0 if it has neither id nor link, or a ``Reject``."""
    if not seen & (1 << ID) and not seen & (1 << LINK):
        return 0
    if not seen & (1 << ID):
        return MISSING
    return whole_at(data, cell_at(seen, LINK, levels))


@inlined_always
def put_book(
    data: Bytes,
    channel: int,
    action: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
    n: int,
) -> int:
    """Write a book update or snapshot; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    link = cell_at(seen, LINK, levels)
    first = no_link_at(data, link)
    update = False
    if channel == BOOK:
        if action < 0:
            return action
        if action == NO_ACTION and link < 0:
            return MISSING
        update = action == ACTION_UPDATE or (action == NO_ACTION and not first)
    if update:
        previous_id = update_link(data, seen, levels)
    else:
        previous_id = whole_at(data, link) if link >= 0 and not first else 0
    exchange_ns = text_time_at(data, cell_at(seen, TIME, levels))
    # Before OKX numbered its messages their order was that of their times.
    last_id = text_whole_at(data, cell_at(seen, TIME, levels))
    if seen & (1 << ID):
        last_id = whole_at(data, cell_at(seen, ID, levels))
    elif channel == REST_BOOK:
        return MISSING  # Nothing says where in the stream it belongs.
    checksum = checksum_at(data, cell_at(seen, CHECKSUM, levels))
    worst = min(last_id, previous_id, exchange_ns, checksum)
    if worst < 0:
        return worst
    kind = KIND_UPDATE if update else KIND_SNAPSHOT
    fill(items, n, kind, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = last_id
    items[n]["last_id"] = last_id
    if update and seen & (1 << LINK):
        items[n]["previous_id"] = previous_id
    items[n]["checksum"] = checksum
    items[n]["flags"] = FLAG_PARTIAL if channel == PARTIAL_BOOK else 0
    fill_sides(items, n, BIDS, ASKS, levels)
    return 1


@inlined
def put_stats(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a 24-hour ticker; what is empty is left out of its mask; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    last_pos = cell_at(seen, LAST, levels)
    open_pos = cell_at(seen, OPEN, levels)
    high_pos = cell_at(seen, HIGH, levels)
    low_pos = cell_at(seen, LOW, levels)
    volume_pos = cell_at(seen, VOLUME, levels)
    mask = 0 if empty_at(data, last_pos) else HAS_LAST
    mask |= 0 if empty_at(data, open_pos) else HAS_OPEN
    mask |= 0 if empty_at(data, high_pos) else HAS_HIGH
    mask |= 0 if empty_at(data, low_pos) else HAS_LOW
    mask |= 0 if empty_at(data, volume_pos) else HAS_VOLUME
    last = optional_rounded_at(data, last_pos, price_decimals)
    opened = optional_rounded_at(data, open_pos, price_decimals)
    high = optional_rounded_at(data, high_pos, price_decimals)
    low = optional_rounded_at(data, low_pos, price_decimals)
    volume = optional_rounded_at(data, volume_pos, quantity_decimals)
    exchange_ns = text_time_at(data, cell_at(seen, TIME, levels))
    worst = min(last, opened, high, low, volume, exchange_ns, 0 if mask else MISSING)
    if worst < 0:
        return worst
    fill(items, n, KIND_STATS, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = last
    items[n]["price_2"] = opened
    items[n]["quantity_2"] = high
    items[n]["extra"] = low
    items[n]["quantity"] = volume
    items[n]["mask"] = mask
    return 1


@inlined
def put_funding(
    data: Bytes,
    channel: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
    n: int,
) -> int:
    """Write a mark or index price, a funding rate or an open interest; return 1 or a ``Reject``.

    ``fundingTime`` is when the present ``fundingRate`` is exchanged. Messages about it had no time
    of their own before 2023.
    """
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    time = cell_at(seen, TIME, levels)
    mark = 0
    index = 0
    interest = 0
    rate = 0
    bad = 0
    next_ns = 0
    if channel == FUNDING:
        exchange_ns = optional_time_at(data, time)
        rate_pos = cell_at(seen, RATE, levels)
        next_pos = cell_at(seen, NEXT, levels)
        rate, bad = signed_at(data, rate_pos, RATE_PLACES)
        next_ns = optional_time_at(data, next_pos)
        mask = 0 if empty_at(data, rate_pos) else HAS_RATE
        mask |= 0 if empty_at(data, next_pos) else HAS_NEXT
        if mask == 0:
            return MISSING
    else:
        exchange_ns = text_time_at(data, time)
        if channel == MARK_PRICE:
            mark = rounded_at(data, cell_at(seen, MARK, levels), INDEX_PLACES)
            mask = HAS_MARK
        elif channel == INDEX_PRICE:
            index = rounded_at(data, cell_at(seen, INDEX, levels), INDEX_PLACES)
            mask = HAS_INDEX
        else:
            decimals = int(symbols[entry]["quantity_decimals"])
            interest = rounded_at(data, cell_at(seen, INTEREST, levels), decimals)
            mask = HAS_INTEREST
    worst = min(mark, index, interest, bad, next_ns, exchange_ns)
    if worst < 0:
        return worst
    fill(items, n, KIND_FUNDING, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = mark
    items[n]["quantity"] = index
    items[n]["quantity_2"] = rate
    items[n]["extra"] = interest
    items[n]["next_ns"] = next_ns
    items[n]["mask"] = mask
    return 1


@inlined
def put_liquidations(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write an item for each liquidation of an element; return how many, or a ``Reject``.

    ``side`` is that of the order that closes the position, ``bkPx`` the bankruptcy price.
    """
    base = len(levels) - CELLS
    pos = cell_at(int(levels[base + SEEN, 0]), DETAILS, levels)
    if pos < 0:
        return MISSING
    if byte_at(data, pos) != ARRAY:
        return TYPE
    count = START
    pos = skip_space(data, pos + 1)
    while byte_at(data, pos) != ARRAY_END:
        if byte_at(data, pos) != OBJECT:
            return TYPE
        pos = walk(data, pos + 1, NO_ENTRY, symbols, levels, START)
        if pos < 0:
            return pos
        seen = int(levels[base + SEEN, 0])
        price_decimals = int(symbols[entry]["price_decimals"])
        quantity_decimals = int(symbols[entry]["quantity_decimals"])
        price = rounded_at(data, cell_at(seen, BANKRUPTCY, levels), price_decimals)
        quantity = decimal_at(data, cell_at(seen, QUANTITY, levels), quantity_decimals)
        side = side_at(data, cell_at(seen, SIDE, levels))
        exchange_ns = text_time_at(data, cell_at(seen, TIME, levels))
        worst = min(price, quantity, side, exchange_ns)
        if worst < 0:
            return worst
        if n + count >= len(items):
            return SIZE
        fill(items, n + count, KIND_LIQUIDATION, symbols[entry]["instrument"], exchange_ns)
        items[n + count]["price"] = price
        items[n + count]["quantity"] = quantity
        items[n + count]["side"] = 1 if side == 1 else -1
        count += 1
        # The array was found well-formed when its element was walked over.
        pos = skip_space(data, pos)
        if byte_at(data, pos) == COMMA:
            pos = skip_space(data, pos + 1)
    return count


@inlined_always
def put_levels(
    data: Bytes,
    channel: int,
    action: int,
    entry: int,
    symbols: Records,
    items: Records,
    levels: Levels,
    n: int,
) -> int:
    """Write the item of an element with levels; return 1 or a ``Reject``."""
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    if not seen & (1 << ASKS) or not seen & (1 << BIDS):
        return MISSING
    if levels[base + ASKS, 0] >= 0 or levels[base + BIDS, 0] >= 0:
        return TYPE
    if channel == QUOTES:
        return put_quotes(data, entry, symbols, items, levels, n)
    return put_book(data, channel, action, entry, symbols, items, levels, n)


@inlined_always
def put_element(
    data: Bytes,
    channel: int,
    arg_start: int,
    arg_end: int,
    symbols: Records,
    items: Records,
    levels: Levels,
    n: int,
) -> int:
    """Write the items of an element without levels; return how many, or a ``Reject``."""
    start, end = native_of(data, levels, arg_start, arg_end)
    if channel == INDEX_PRICE:
        if start < 0:
            return start
        entry = find_suffixed(symbols, data, start, end - start, SUFFIX_SWAP, SUFFIX_SWAP_LENGTH)
        if entry < 0:
            entry = TYPE if has_escape(data, start) else NOTHING
    else:
        entry = entry_of(data, start, end, symbols)
        if entry == SYMBOL and channel == LIQUIDATIONS:
            entry = NOTHING
    if entry < 0:
        return entry
    if channel == TRADES:
        return put_trade(data, entry, symbols, items, levels, n)
    if channel == STATS:
        return put_stats(data, entry, symbols, items, levels, n)
    if channel == LIQUIDATIONS:
        return put_liquidations(data, entry, symbols, items, levels, n)
    return put_funding(data, channel, entry, symbols, items, levels, n)


@inlined_always
def payload(
    data: Bytes,
    pos: int,
    channel: int,
    action: int,
    entry: int,
    arg_start: int,
    arg_end: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> tuple[int, int]:
    """Read the elements of ``data``: where it ends, and the number of items or a ``Reject``.

    ``entry`` converts levels (channels up to ``QUOTES``); ``arg_start`` and ``arg_end`` are where
    the symbol of ``arg`` stands.
    """
    if byte_at(data, pos) != ARRAY:
        return skip_value(data, pos), TYPE
    pos = skip_space(data, pos + 1)
    if byte_at(data, pos) == ARRAY_END:
        return pos + 1, NOTHING
    count = START
    used = START
    none = NOTHING
    while True:
        if byte_at(data, pos) != OBJECT:
            pos = skip_value(data, pos)
            return pos, TYPE if pos >= 0 else pos
        pos = walk(data, pos + 1, entry, symbols, levels, used)
        if pos < 0:
            return pos, pos
        if count >= len(items):
            return SIZE, SIZE
        if channel <= QUOTES:
            result = put_levels(data, channel, action, entry, symbols, items, levels, count)
            used = int(levels[len(levels) - CELLS + USED, 0])
        else:
            result = put_element(data, channel, arg_start, arg_end, symbols, items, levels, count)
        if result >= 0:
            count += result
        elif result == SYMBOL:
            none = SYMBOL
        elif result != NOTHING:
            return result, result
        pos = skip_space(data, pos)
        if byte_at(data, pos) == ARRAY_END:
            return pos + 1, count if count > 0 else none
        if byte_at(data, pos) != COMMA:
            pos = fault(byte_at(data, pos))
            return pos, pos
        pos = skip_space(data, pos + 1)


@inlined_always
def covered(
    data: Bytes,
    pos: int,
    channel: int,
    action: int,
    arg_start: int,
    arg_end: int,
    symbols: Records,
    items: Records,
    levels: Levels,
) -> tuple[int, int]:
    """Read the value of ``data`` at ``pos``, whatever the channel (or its ``Reject``) is."""
    entry = NO_ENTRY
    if channel < 0:
        return skip_value(data, pos), channel
    if channel <= QUOTES:
        entry = entry_of(data, arg_start, arg_end, symbols) if arg_start >= 0 else MISSING
        if entry < 0:
            return skip_value(data, pos), entry
    return payload(data, pos, channel, action, entry, arg_start, arg_end, symbols, items, levels)


@inlined
def scan_rest(
    data: Bytes, length: int, instrument: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Scan the body of a depth request: ``{"code":"0","msg":"","data":[{…}]}``."""
    pos = skip_space(data, START)
    if byte_at(data, pos) != OBJECT:
        return ended(data, skip_value(data, pos), length, TYPE)
    entry = entry_of_instrument(symbols, instrument)
    if entry < 0:
        return SYMBOL
    pos = ended(data, walk(data, pos + 1, NO_ENTRY, symbols, levels, START), length, START)
    if pos < 0:
        return pos
    start = cell_at(int(levels[len(levels) - CELLS + SEEN, 0]), DATA, levels)
    if start < 0:
        return MISSING
    _, result = payload(
        data, start, REST_BOOK, NO_ACTION, entry, NO_ENTRY, NO_ENTRY, symbols, items, levels
    )
    return MISSING if result == NOTHING else result


@inlined
def scan_any_order(
    data: Bytes, length: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Scan a frame that does not begin as data does: an event, or keys in another order."""
    if length == 4 and word(data, START) & 0xFFFFFFFF == TEXT_PONG:
        return NOT_COVERED
    pos = skip_space(data, START)
    if byte_at(data, pos) != OBJECT:
        return ended(data, skip_value(data, pos), length, NOT_COVERED)
    pos = ended(data, walk(data, pos + 1, NO_ENTRY, symbols, levels, START), length, START)
    if pos < 0:
        return pos
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    pos = cell_at(seen, DATA, levels)
    arg = cell_at(seen, ARG, levels)
    if seen & (1 << EVENT) or arg < 0 or pos < 0:
        return NOT_COVERED
    if byte_at(data, arg) != OBJECT:
        return TYPE
    action = action_of(data, cell_at(seen, ACTION, levels))
    end = walk(data, arg + 1, NO_ENTRY, symbols, levels, START)
    if end < 0:
        return end
    seen = int(levels[base + SEEN, 0])
    start = cell_at(seen, CHANNEL, levels)
    if start < 0:
        return MISSING
    if byte_at(data, start) != QUOTE:
        return TYPE
    channel = channel_of(data, start + 1, int(levels[base + CHANNEL, 1]) - 1)
    start = cell_at(seen, NATIVE, levels)
    end = int(levels[base + NATIVE, 1]) - 1
    if start >= 0 and byte_at(data, start) != QUOTE:
        return TYPE if channel >= 0 else channel
    start = start + 1 if start >= 0 else NO_ENTRY
    _, result = covered(data, pos, channel, action, start, end, symbols, items, levels)
    return result


@inlined_always
def data_start(data: Bytes, end: int) -> tuple[int, int]:
    """Return where the value of ``data`` begins and the action; -1 if the keys are not as usual.

    ``end`` is the closing quote of the last string of ``arg``.
    """
    chars = word(data, end)
    if chars == HEAD_DATA and word(data, end + 8) & 0xFFFF == HEAD_DATA_END:
        return end + 10, NO_ACTION
    if chars == HEAD_ACTION and word(data, end + 8) == HEAD_UPDATE:
        usual = word(data, end + 16) == HEAD_UPDATE_2
        if usual and word(data, end + 24) & 0xFFFFFFFF == HEAD_UPDATE_3:
            return end + 28, ACTION_UPDATE
    elif chars == HEAD_ACTION and word(data, end + 8) == HEAD_SNAPSHOT:
        usual = word(data, end + 16) == HEAD_SNAPSHOT_2
        if usual and word(data, end + 24) & 0xFFFFFFFFFFFF == HEAD_SNAPSHOT_3:
            return end + 30, ACTION_SNAPSHOT
    return -1, NO_ACTION


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
    if frame_kind == REST_DEPTH:
        return scan_rest(data, length, instrument, symbols, items, levels)
    usual = word(data, 0) == HEAD_ARG and word(data, 8) == HEAD_CHANNEL
    if usual and word(data, 16) & 0xFFFFFF == HEAD_COLON:
        end = skip_string(data, CHANNEL_START)
        if end < 0:
            return end
        if word(data, end) == HEAD_NATIVE and word(data, end + 8) & 0xFFFFFFFF == HEAD_NATIVE_END:
            arg_start = end + NATIVE_START
            arg_end = skip_string(data, arg_start)
            if arg_end < 0:
                return arg_end
            pos, action = data_start(data, arg_end)
            if pos >= 0:
                channel = channel_of(data, CHANNEL_START, end)
                pos = skip_space(data, pos)
                pos, result = covered(
                    data, pos, channel, action, arg_start, arg_end, symbols, items, levels
                )
                if pos < 0 and result != MISSING:
                    return pos
                # What is missing (an action) may stand behind the data.
                if pos >= 0 and byte_at(data, pos) == OBJECT_END and pos + 1 == length:
                    return result
    return scan_any_order(data, length, symbols, items, levels)
