"""The scanner of Binance's public messages, spot and USDⓈ-M: frame bytes to neutral items.

Read by key, in any order. ``walk`` goes over an object and notes, for each key it knows, where the
value begins (its "cell"); the levels of a depth message are converted on the way when its event and
symbol came first, as they do. Then the event's name says which cells mean what.

Channels: ``trade``, ``aggTrade``, ``depthUpdate``, ``bookTicker`` (with and without ``e``),
``markPriceUpdate``, ``forceOrder``, ``24hrTicker``, ``24hrMiniTicker``, arrays of them
(``!markPrice@arr``), raw or in ``{"stream":…,"data":…}``, and the bodies of depth and open interest
requests. The two markets differ by ``pu``, which spot does not have.

What the venue computes (mark, index, bankruptcy prices, 24-hour figures) is rounded to the
decimals of its field; what is traded or quoted must fit them exactly.

What is refused although a lenient reader could take it (no venue sends any of it):

- a key twice in an object whose key has one letter or a meaning here; an escape in a key, an
  event, a symbol, an execution type or a stream's name;
- a stream's name in a depth envelope that is not ``…@depth`` or ``…@depth@…``: partial books and
  the RPI book look the same inside;
- times of a year beyond 2262 (milliseconds; from 10**15 on they are taken for microseconds);
- what ``feeds.scan`` refuses.

In an array, an element of another channel or of an instrument that the map does not list is passed
over; the frame is refused if nothing is left.
"""

from typing import Final

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
    NO,
    NO_ENTRY,
    NOT_COVERED,
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
    YES,
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
    optional_rounded_at,
    rounded_at,
    side_member,
    signed_at,
    skip_member,
    time_at,
    whole_at,
    word_of,
)
from feeds.scan import (
    ARRAY,
    ARRAY_END,
    COLON,
    COMMA,
    OBJECT,
    OBJECT_END,
    QUOTE,
    SPACE,
    Bytes,
    fault,
    sealed,
    skip_space,
    skip_string,
    skip_value,
    word,
)
from feeds.symbols import entry_of_instrument
from feeds.types import Flag

STREAM_NAME: Final = fixed(len('{"stream":"'))

# Cells: one for each letter (its code less that of A), and six for longer keys in the gap between
# the cases. They live in the last rows of the level array: value's begin, end.
FIRST: Final = 65
PU: Final = fixed(26)
LAST_UPDATE_ID: Final = fixed(27)
BIDS: Final = fixed(28)
ASKS: Final = fixed(29)
STREAM: Final = fixed(30)
DATA: Final = fixed(31)


def _cell(letter: str) -> int:
    return fixed(ord(letter) - FIRST)


ASK: Final = _cell("a")
ASK_QUANTITY: Final = _cell("A")
BID: Final = _cell("b")
BID_QUANTITY: Final = _cell("B")
CLOSE: Final = _cell("c")
EVENT: Final = _cell("e")
TIME: Final = _cell("E")
HIGH: Final = _cell("h")
INDEX: Final = _cell("i")
INTEREST: Final = _cell("I")
"""Of the answer to a request, whose keys are words; so are its ``symbol`` and ``time``."""
LOW: Final = _cell("l")
MAKER: Final = _cell("m")
OPEN: Final = _cell("o")
"""The opening price, or a liquidation's order."""
PRICE: Final = _cell("p")
SETTLE: Final = _cell("P")
QUANTITY: Final = _cell("q")
RATE: Final = _cell("r")
NATIVE: Final = _cell("s")
SIDE: Final = _cell("S")
TRADE_ID: Final = _cell("t")
NEXT: Final = _cell("T")
LAST: Final = _cell("u")
FIRST_ID: Final = _cell("U")
VOLUME: Final = _cell("v")
EXECUTION: Final = _cell("X")

TICKER_KEYS: Final = sum(1 << n for n in (ASK, ASK_QUANTITY, BID, BID_QUANTITY, NATIVE, LAST))

KEY_STREAM: Final = word_of(b'"stream"')
KEY_DATA: Final = word_of(b',"data":')
KEY_PU: Final = word_of(b'"pu":')
NAME_PU: Final = word_of(b"pu")
NAME_BIDS: Final = word_of(b"bids")
NAME_ASKS: Final = word_of(b"asks")
NAME_DATA: Final = word_of(b"data")
NAME_STREAM: Final = word_of(b"stream")
NAME_LAST: Final = word_of(b"lastUpda")
NAME_LAST_END: Final = word_of(b"teId")
NAME_INTEREST: Final = word_of(b"openInte")
NAME_INTEREST_END: Final = word_of(b"rest")
NAME_SYMBOL: Final = word_of(b"symbol")
NAME_TIME: Final = word_of(b"time")
TEXT_TRADE: Final = word_of(b'trade"')
TEXT_AGGREGATE: Final = word_of(b"aggTrade")
TEXT_DEPTH: Final = word_of(b"depthUpd")
TEXT_DEPTH_END: Final = word_of(b'ate"')
TEXT_TICKER: Final = word_of(b"bookTick")
TEXT_TICKER_END: Final = word_of(b'er"')
TEXT_MARK: Final = word_of(b"markPric")
TEXT_MARK_END: Final = word_of(b'eUpdate"')
TEXT_FORCE: Final = word_of(b"forceOrd")
TEXT_FORCE_END: Final = word_of(b'er"')
TEXT_STATS: Final = word_of(b"24hrTick")
TEXT_STATS_END: Final = word_of(b'er"')
TEXT_MINI: Final = word_of(b"24hrMini")
TEXT_MINI_END: Final = word_of(b'Ticker"')
TEXT_BUY: Final = word_of(b'BUY"')
TEXT_SELL: Final = word_of(b'SELL"')
TEXT_MARKET: Final = word_of(b'MARKET"')
STREAM_DEPTH: Final = word_of(b"depth")

EVENT_NONE: Final = fixed(0)
EVENT_TRADE: Final = fixed(1)
EVENT_AGGREGATE: Final = fixed(2)
EVENT_DEPTH: Final = fixed(3)
EVENT_TICKER: Final = fixed(4)
EVENT_MARK: Final = fixed(5)
EVENT_FORCE: Final = fixed(6)
EVENT_STATS: Final = fixed(7)

FLAG_AGGREGATED: Final = int(Flag.AGGREGATED)
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


@inlined
def long_key(data: Bytes, pos: int) -> tuple[int, int]:
    """Read any key: its cell (-1 if it has none) and where the value begins, or a ``Reject``."""
    if word(data, pos) & 0xFFFFFFFFFF == KEY_PU:
        return PU, skip_space(data, pos + 5)
    pos = skip_space(data, pos)
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
    return key_cell(data, start, end - start), skip_space(data, pos + 1)


@inlined_always
def key_cell(data: Bytes, start: int, length: int) -> int:
    """Return the cell of the key ``data[start:start + length]``, or -1."""
    chars = word(data, start)
    if length == 1:
        letter = byte_at(data, start)
        return letter - FIRST if 0x61 <= letter | 0x20 <= 0x7A else -1
    if length == 2:
        return PU if chars & 0xFFFF == NAME_PU else -1
    if length == 4:
        text = chars & 0xFFFFFFFF
        if text == NAME_BIDS:
            return BIDS
        if text == NAME_ASKS:
            return ASKS
        return DATA if text == NAME_DATA else -1
    if length == 6:
        return STREAM if chars & 0xFFFFFFFFFFFF == NAME_STREAM else -1
    if length == 12 and chars == NAME_LAST:
        end = word(data, start + 8) & 0xFFFFFFFF
        return LAST_UPDATE_ID if end == NAME_LAST_END else -1
    return -1


@inlined
def seldom_event(data: Bytes, pos: int) -> int:
    """Return which event of a slow channel the name at ``pos`` is, ``NOT_COVERED`` or ``TYPE``."""
    chars = word(data, pos)
    end = word(data, pos + 8) if chars in (TEXT_FORCE, TEXT_STATS, TEXT_MINI) else 0
    if chars == TEXT_FORCE and end & 0xFFFFFF == TEXT_FORCE_END:
        return EVENT_FORCE
    if chars == TEXT_STATS and end & 0xFFFFFF == TEXT_STATS_END:
        return EVENT_STATS
    if chars == TEXT_MINI and end & 0xFFFFFFFFFFFFFF == TEXT_MINI_END:
        return EVENT_STATS
    return TYPE if has_escape(data, pos) else NOT_COVERED


@inlined_always
def event_of(data: Bytes, seen: int, levels: Levels) -> int:
    """Return which event an object is: ``EVENT_…``, ``NOT_COVERED`` or ``TYPE``."""
    if not seen & (1 << EVENT):
        return EVENT_TICKER if seen & TICKER_KEYS == TICKER_KEYS else NOT_COVERED
    pos = int(levels[len(levels) - CELLS + EVENT, 0])
    if byte_at(data, pos) != QUOTE:
        return TYPE
    chars = word(data, pos + 1)
    if chars == TEXT_DEPTH:
        if word(data, pos + 9) & 0xFFFFFFFF == TEXT_DEPTH_END:
            return EVENT_DEPTH
    elif chars == TEXT_AGGREGATE:
        if byte_at(data, pos + 9) == QUOTE:
            return EVENT_AGGREGATE
    elif chars == TEXT_TICKER:
        if word(data, pos + 9) & 0xFFFFFF == TEXT_TICKER_END:
            return EVENT_TICKER
    elif chars == TEXT_MARK:
        if word(data, pos + 9) == TEXT_MARK_END:
            return EVENT_MARK
    elif chars & 0xFFFFFFFFFFFF == TEXT_TRADE:
        return EVENT_TRADE
    else:
        return seldom_event(data, pos + 1)
    return TYPE if has_escape(data, pos + 1) else NOT_COVERED


@inlined_always
def walk(
    data: Bytes, pos: int, entry: int, full_book: int, symbols: Records, levels: Levels, used: int
) -> int:
    """Go over an object from after its brace; note the cells; return where it ends, or a Reject.

    ``entry`` is the symbol map's entry whose decimals convert levels, -1 if it must be found.
    Level rows are taken from ``used`` on. A converted side's cell holds ``-1 - first row`` and the
    number of its rows.
    """
    base = len(levels) - CELLS
    seen = START
    pos = skip_space(data, pos)
    while byte_at(data, pos) != OBJECT_END:
        chars = word(data, pos)
        letter = (chars >> 8) & 0xFF
        if chars & 0xFFFF00FF == 0x3A220022 and 0x61 <= letter | 0x20 <= 0x7A:
            cell = letter - FIRST
            pos += 4
            if byte_at(data, pos) <= SPACE:
                pos = skip_space(data, pos)
        else:
            cell, pos = long_key(data, pos)
            if pos < 0:
                return pos
        start = pos
        if byte_at(data, pos) == ARRAY and cell in (BID, ASK, BIDS, ASKS):
            if entry < 0 and full_book and event_of(data, seen, levels) == EVENT_DEPTH:
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
def execution_flags(data: Bytes, pos: int) -> int:
    """Return the flags that a trade's ``X`` at ``pos`` (-1: none) asks for, or a ``Reject``."""
    if pos < 0:
        return 0
    if byte_at(data, pos) != QUOTE:
        return TYPE
    if word(data, pos + 1) & 0xFFFFFFFFFFFFFF == TEXT_MARKET:
        return 0
    return TYPE if has_escape(data, pos + 1) else FLAG_NOT_MARKET


@inlined_always
def maker_side(data: Bytes, pos: int) -> int:
    """Return 2 if the buyer is the maker (``m`` at ``pos``), 1 if not, or a ``Reject``."""
    if pos < 0:
        return MISSING
    c = byte_at(data, pos)
    if c == 0x74:
        return 2
    return 1 if c == 0x66 else TYPE


@inlined_always
def put_trade(
    data: Bytes, event: int, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a trade item; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    price = decimal_at(data, cell_at(seen, PRICE, levels), price_decimals)
    quantity = decimal_at(data, cell_at(seen, QUANTITY, levels), quantity_decimals)
    trade_id = whole_at(data, cell_at(seen, ASK if event == EVENT_AGGREGATE else TRADE_ID, levels))
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    maker = maker_side(data, cell_at(seen, MAKER, levels))
    flags = execution_flags(data, cell_at(seen, EXECUTION, levels))
    worst = min(price, quantity, trade_id, exchange_ns, maker, flags)
    if worst < 0:
        return worst
    fill(items, n, KIND_TRADE, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = trade_id
    items[n]["price"] = price
    items[n]["quantity"] = quantity
    items[n]["side"] = -1 if maker == 2 else 1
    items[n]["flags"] = flags | FLAG_AGGREGATED if event == EVENT_AGGREGATE else flags
    return 1


@inlined_always
def put_ticker(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a best bid and offer; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    bid = decimal_at(data, cell_at(seen, BID, levels), price_decimals)
    bid_quantity = decimal_at(data, cell_at(seen, BID_QUANTITY, levels), quantity_decimals)
    ask = decimal_at(data, cell_at(seen, ASK, levels), price_decimals)
    ask_quantity = decimal_at(data, cell_at(seen, ASK_QUANTITY, levels), quantity_decimals)
    update_id = whole_at(data, cell_at(seen, LAST, levels))
    exchange_ns = time_at(data, cell_at(seen, TIME, levels))
    worst = min(bid, bid_quantity, ask, ask_quantity, update_id, exchange_ns)
    if worst < 0:
        return worst
    fill(items, n, KIND_TICKER, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = update_id
    items[n]["price"] = bid
    items[n]["quantity"] = bid_quantity
    items[n]["price_2"] = ask
    items[n]["quantity_2"] = ask_quantity
    return 1


@inlined_always
def funding_mask(data: Bytes, seen: int, levels: Levels) -> int:
    """Return which numbers (``Has``) a funding report carries besides the mark price."""
    mask = HAS_MARK
    if not empty_at(data, cell_at(seen, INDEX, levels)):
        mask |= HAS_INDEX
    if not empty_at(data, cell_at(seen, SETTLE, levels)):
        mask |= HAS_SETTLE
    if not empty_at(data, cell_at(seen, RATE, levels)):
        mask |= HAS_RATE
    if seen & (1 << NEXT):
        mask |= HAS_NEXT
    return mask


@inlined
def put_funding(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a funding report; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    mark = rounded_at(data, cell_at(seen, PRICE, levels), INDEX_PLACES)
    index = optional_rounded_at(data, cell_at(seen, INDEX, levels), INDEX_PLACES)
    settle = optional_rounded_at(data, cell_at(seen, SETTLE, levels), INDEX_PLACES)
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    next_ns = time_at(data, cell_at(seen, NEXT, levels))
    rate, end = signed_at(data, cell_at(seen, RATE, levels), RATE_PLACES)
    worst = min(mark, index, settle, exchange_ns, next_ns, end)
    if worst < 0:
        return worst
    fill(items, n, KIND_FUNDING, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = mark
    items[n]["quantity"] = index
    items[n]["price_2"] = settle
    items[n]["quantity_2"] = rate
    items[n]["next_ns"] = next_ns
    items[n]["mask"] = funding_mask(data, seen, levels)
    return 1


@inlined
def put_stats(
    data: Bytes, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a day's statistics; return 1 or a ``Reject``."""
    seen = int(levels[len(levels) - CELLS + SEEN, 0])
    price_decimals = int(symbols[entry]["price_decimals"])
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    last = optional_rounded_at(data, cell_at(seen, CLOSE, levels), price_decimals)
    opened = optional_rounded_at(data, cell_at(seen, OPEN, levels), price_decimals)
    high = optional_rounded_at(data, cell_at(seen, HIGH, levels), price_decimals)
    low = optional_rounded_at(data, cell_at(seen, LOW, levels), price_decimals)
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    volume = optional_rounded_at(data, cell_at(seen, VOLUME, levels), quantity_decimals)
    mask = stats_mask(data, seen, levels)
    worst = min(exchange_ns, last, opened, high, low, volume, 0 if mask else MISSING)
    if worst < 0:
        return worst
    fill(items, n, KIND_STATS, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = last
    items[n]["quantity"] = volume
    items[n]["price_2"] = opened
    items[n]["quantity_2"] = high
    items[n]["extra"] = low
    items[n]["mask"] = mask
    return 1


@inlined_always
def stats_mask(data: Bytes, seen: int, levels: Levels) -> int:
    """Return which numbers (``Has``) a day's statistics carry."""
    mask = 0
    if not empty_at(data, cell_at(seen, CLOSE, levels)):
        mask |= HAS_LAST
    if not empty_at(data, cell_at(seen, OPEN, levels)):
        mask |= HAS_OPEN
    if not empty_at(data, cell_at(seen, HIGH, levels)):
        mask |= HAS_HIGH
    if not empty_at(data, cell_at(seen, LOW, levels)):
        mask |= HAS_LOW
    if not empty_at(data, cell_at(seen, VOLUME, levels)):
        mask |= HAS_VOLUME
    return mask


@inlined_always
def order_side(data: Bytes, pos: int) -> int:
    """Return 2 if the side at ``pos`` (-1: none) is ``SELL``, 1 if ``BUY``, or a ``Reject``."""
    if pos < 0:
        return MISSING
    chars = word(data, pos + 1) if byte_at(data, pos) == QUOTE else 0
    if chars & 0xFFFFFFFFFF == TEXT_SELL:
        return 2
    return 1 if chars & 0xFFFFFFFF == TEXT_BUY else TYPE


@inlined
def put_liquidation(data: Bytes, symbols: Records, items: Records, levels: Levels, n: int) -> int:
    """Write a liquidation from the order ``o`` of the object walked last; return 1 or a ``Reject``.

    Its price is the order's limit, where the position would be bankrupt, as other venues report it,
    and not ``ap``, what its fills cost on average.
    """
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    pos = cell_at(seen, OPEN, levels)
    if exchange_ns < 0:
        return exchange_ns
    if pos < 0 or byte_at(data, pos) != OBJECT:
        return MISSING if pos < 0 else TYPE
    pos = walk(data, pos + 1, NO_ENTRY, NO, symbols, levels, int(levels[base + USED, 0]))
    if pos < 0:
        return pos
    seen = int(levels[base + SEEN, 0])
    entry = native_at(data, seen, NATIVE, symbols, levels)
    if entry < 0 or n >= len(items):
        return min(entry, SIZE) if n >= len(items) else entry
    price_decimals = int(symbols[entry]["price_decimals"])
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    price = rounded_at(data, cell_at(seen, PRICE, levels), price_decimals)
    quantity = decimal_at(data, cell_at(seen, QUANTITY, levels), quantity_decimals)
    side = order_side(data, cell_at(seen, SIDE, levels))
    worst = min(price, quantity, side)
    if worst < 0:
        return worst
    fill(items, n, KIND_LIQUIDATION, symbols[entry]["instrument"], exchange_ns)
    items[n]["price"] = price
    items[n]["quantity"] = quantity
    items[n]["side"] = -1 if side == 2 else 1
    return 1


@inlined_always
def put_book(
    data: Bytes, rest: int, entry: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write a book update, or the snapshot of a depth request; return 1 or a ``Reject``."""
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    bids = BIDS if rest else BID
    asks = ASKS if rest else ASK
    if not seen & (1 << bids) or not seen & (1 << asks):
        return MISSING
    last_id = whole_at(data, cell_at(seen, LAST_UPDATE_ID if rest else LAST, levels))
    first_id = last_id if rest else whole_at(data, cell_at(seen, FIRST_ID, levels))
    previous_id = whole_at(data, cell_at(seen, PU, levels))
    if rest or not seen & (1 << PU):
        previous_id = 0
    exchange_ns = time_at(data, cell_at(seen, TIME, levels))
    if not rest and not seen & (1 << TIME):
        return MISSING
    bid_end = late_levels(data, bids, entry, symbols, levels)
    ask_end = late_levels(data, asks, entry, symbols, levels)
    worst = min(last_id, first_id, previous_id, exchange_ns, bid_end, ask_end)
    if worst < 0:
        return worst
    kind = KIND_SNAPSHOT if rest else KIND_UPDATE
    fill(items, n, kind, symbols[entry]["instrument"], exchange_ns)
    items[n]["first_id"] = first_id
    items[n]["last_id"] = last_id
    items[n]["previous_id"] = -1 if rest or not seen & (1 << PU) else previous_id
    fill_sides(items, n, bids, asks, levels)
    return 1


@inlined_always
def put_event(
    data: Bytes, full_book: int, symbols: Records, items: Records, levels: Levels, n: int
) -> int:
    """Write the item of the object that was walked last; return 1 or a ``Reject``."""
    base = len(levels) - CELLS
    seen = int(levels[base + SEEN, 0])
    event = event_of(data, seen, levels)
    if event < 0 or (event == EVENT_DEPTH and not full_book):
        return min(event, NOT_COVERED)
    entry = int(levels[base + ENTRY, 0])
    if entry < 0:
        if event == EVENT_FORCE:
            return put_liquidation(data, symbols, items, levels, n)
        entry = native_at(data, seen, NATIVE, symbols, levels)
        if entry < 0:
            return entry
    if n >= len(items):
        return SIZE
    if event == EVENT_DEPTH:
        return put_book(data, NO, entry, symbols, items, levels, n)
    if event == EVENT_TICKER:
        return put_ticker(data, entry, symbols, items, levels, n)
    if event == EVENT_MARK:
        return put_funding(data, entry, symbols, items, levels, n)
    if event == EVENT_STATS:
        return put_stats(data, entry, symbols, items, levels, n)
    return put_trade(data, event, entry, symbols, items, levels, n)


@inlined_always
def payload(
    data: Bytes, pos: int, full_book: int, symbols: Records, items: Records, levels: Levels
) -> tuple[int, int]:
    """Read an event or an array of events: where it ends, and the items or a ``Reject``."""
    c = byte_at(data, pos)
    if c != OBJECT and c != ARRAY:
        pos = skip_value(data, pos)
        return pos, NOT_COVERED
    several = c == ARRAY
    if several:
        pos = skip_space(data, pos + 1)
        if byte_at(data, pos) == ARRAY_END:
            return pos + 1, NOT_COVERED
    count = START
    used = START
    none = NOT_COVERED
    while True:
        if byte_at(data, pos) == OBJECT:
            pos = walk(data, pos + 1, NO_ENTRY, full_book, symbols, levels, used)
            if pos < 0:
                return pos, pos
            result = put_event(data, full_book, symbols, items, levels, count)
            if result > 0:
                count += 1
                used = int(levels[len(levels) - CELLS + USED, 0])
            elif not several or (result != NOT_COVERED and result != SYMBOL):
                return pos, result
            else:
                none = min(none, result)
        else:
            pos = skip_value(data, pos)
            if pos < 0:
                return pos, pos
        if not several:
            return pos, count
        pos = skip_space(data, pos)
        if byte_at(data, pos) == ARRAY_END:
            return pos + 1, count if count > 0 else none
        if byte_at(data, pos) != COMMA:
            pos = fault(byte_at(data, pos))
            return pos, pos
        pos = skip_space(data, pos + 1)


@inlined
def book_stream(data: Bytes, pos: int) -> int:
    """Return 1 if a depth event of this stream is of the whole book, 0 if not, or a ``Reject``.

    ``pos`` is after the opening quote of the (valid) stream's name.
    """
    if has_escape(data, pos):
        return TYPE
    c = byte_at(data, pos)
    while c != QUOTE and c != 0x40:
        pos += 1
        c = byte_at(data, pos)
    if c == QUOTE or word(data, pos + 1) & 0xFFFFFFFFFF != STREAM_DEPTH:
        return 0
    c = byte_at(data, pos + 6)
    return 1 if c == QUOTE or c == 0x40 else 0


@inlined
def put_interest(data: Bytes, symbols: Records, items: Records, levels: Levels) -> int:
    """Write the open interest that a frame answers with; return 1 or a ``Reject``.

    The frame is an object that ``walk`` went over: ``{"openInterest":"1","symbol":…,"time":…}``.
    """
    seen = START
    pos = skip_space(data, skip_space(data, START) + 1)
    while byte_at(data, pos) != OBJECT_END:
        start = pos + 1
        end = skip_string(data, start)
        if end < 0:
            return end
        value = skip_space(data, skip_space(data, end + 1) + 1)
        pos = skip_member(data, value)
        if pos < 0:
            return pos
        seen = note_member(levels, interest_cell(data, start, end - start), value, pos, seen)
        if seen < 0:
            return seen
        pos = next_member(data, pos)
        if pos < 0:
            return pos
    if not seen & (1 << INTEREST):
        return NOT_COVERED
    entry = native_at(data, seen, NATIVE, symbols, levels)
    if entry < 0:
        return entry
    quantity_decimals = int(symbols[entry]["quantity_decimals"])
    interest = rounded_at(data, cell_at(seen, INTEREST, levels), quantity_decimals)
    exchange_ns = nanoseconds(whole_at(data, cell_at(seen, TIME, levels)))
    worst = min(interest, exchange_ns)
    if worst < 0:
        return worst
    fill(items, START, KIND_FUNDING, symbols[entry]["instrument"], exchange_ns)
    items[0]["extra"] = interest
    items[0]["mask"] = HAS_INTEREST
    return 1


@inlined
def interest_cell(data: Bytes, start: int, length: int) -> int:
    """Return the cell of a key of an open interest, or -1."""
    chars = word(data, start)
    if length == 12 and chars == NAME_INTEREST:
        return INTEREST if word(data, start + 8) & 0xFFFFFFFF == NAME_INTEREST_END else -1
    if length == 6 and chars & 0xFFFFFFFFFFFF == NAME_SYMBOL:
        return NATIVE
    return TIME if length == 4 and chars & 0xFFFFFFFF == NAME_TIME else -1


@inlined
def scan_rest(
    data: Bytes, length: int, instrument: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Scan the body of a depth request."""
    pos = skip_space(data, START)
    if byte_at(data, pos) != OBJECT:
        return ended(data, skip_value(data, pos), length, TYPE)
    entry = entry_of_instrument(symbols, instrument)
    if entry < 0:
        return SYMBOL
    pos = walk(data, pos + 1, entry, NO, symbols, levels, START)
    if pos < 0:
        return pos
    return ended(data, pos, length, put_book(data, YES, entry, symbols, items, levels, START))


@inlined
def scan_any_order(
    data: Bytes, length: int, symbols: Records, items: Records, levels: Levels
) -> int:
    """Scan a frame that does not begin with its stream's name: raw, or in another order."""
    pos = skip_space(data, START)
    if byte_at(data, pos) != OBJECT:
        pos, result = payload(data, pos, YES, symbols, items, levels)
        return ended(data, pos, length, result)
    base = len(levels) - CELLS
    pos = walk(data, pos + 1, NO_ENTRY, YES, symbols, levels, START)
    if pos < 0:
        return pos
    seen = int(levels[base + SEEN, 0])
    if not seen & (1 << STREAM) or not seen & (1 << DATA):
        result = put_event(data, YES, symbols, items, levels, START)
        if result == NOT_COVERED and not seen & (1 << EVENT):
            result = put_interest(data, symbols, items, levels)
        return ended(data, pos, length, result)
    stream = int(levels[base + STREAM, 0])
    if byte_at(data, stream) != QUOTE:
        return TYPE
    full_book = book_stream(data, stream + 1)
    if full_book < 0:
        return full_book
    start = int(levels[base + DATA, 0])
    _, result = payload(data, start, full_book, symbols, items, levels)
    return ended(data, pos, length, result)


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
    if byte_at(data, 0) == OBJECT and word(data, 1) == KEY_STREAM:
        stream = STREAM_NAME
        if word(data, 9) & 0xFFFF == 0x223A:
            end = skip_string(data, stream)
            if end < 0:
                return end
            if word(data, end + 1) == KEY_DATA:
                start = skip_space(data, end + 9)
                full_book = book_stream(data, stream)
                if full_book < 0:
                    return full_book
                pos, result = payload(data, start, full_book, symbols, items, levels)
                if pos >= 0 and byte_at(data, pos) == OBJECT_END and pos + 1 == length:
                    return result
                if pos < 0:
                    return pos
    return scan_any_order(data, length, symbols, items, levels)


scan_spot = scan
scan_usdm = scan
