"""The market-data worker's kernels: raw frames in, records out, no Python object in between.

``drain`` takes frames from one raw ring, has the venue's scanner turn them into items, and for each
item writes records straight into the slots of the output rings: trades, tickers, funding, and book
levels once ``feeds.sync`` has let them through to ``feeds.book``. It knows no venue: the scanner is
an argument, and the rule of synchronisation is data.

Three groups of arrays: ``Feed`` (one raw ring and what decoding its frames takes), ``State`` (the
books, private to the process) and ``Out`` (rings, tables and counters, which others read). They are
unpacked once a call, because a tuple's members are reference-counted each time they are named.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from engine.atomics import realtime_ns
from engine.frames import FRAME, FrameKind, fetch
from engine.histogram import record
from engine.jit import inlined, kernel
from engine.ring import EMPTY as RING_EMPTY
from engine.ring import begin, commit, intact, resume_point
from engine.segment import CLAIM, CURSOR
from engine.table import row_begin, row_commit
from feeds.book import (
    MATRIX,
    NONE,
    TOUCHED,
    apply_levels,
    clear_book,
    crossed,
    depth,
    top_levels,
)
from feeds.checksum import LEVELS as CHECKED_LEVELS
from feeds.checksum import book_checksum
from feeds.message import REJECTS, SCAN, UNLINKED, ItemKind, Items, Reject, Symbols
from feeds.scan import wrapping_add, wrapping_mul
from feeds.symbols import MIX, find_symbol
from feeds.sync import (
    ALIVE_CELLS,
    APPLY,
    BRIDGING,
    CARRIED,
    CHECKSUM,
    CONFIRM,
    CUBE,
    DROP,
    EMPTY,
    EPOCH,
    EXCHANGE_NS,
    FLOOR,
    GAP,
    GAPS,
    HOLDING_NS,
    HOLE,
    IN_BAND,
    LAST_ID,
    LINES_AT,
    LINES_MAX,
    LIVE,
    MESSAGES,
    OLD,
    OWN,
    P_ASKS,
    P_BIDS,
    P_CHECKSUM,
    P_EXCHANGE_NS,
    P_FIRST,
    P_LAST,
    P_PREVIOUS,
    P_RECEIVED_NS,
    P_START,
    PENDING,
    RECEIVED_NS,
    RESET_AT_NS,
    RESET_ID,
    RESET_NS,
    SKIP,
    SNAPSHOT,
    STALE,
    STATE,
    VECTOR,
    WANTED,
    buffer_update,
    decide_snapshot,
    decide_update,
    fall_silent,
    hold_update,
    joined,
    line_of,
    lose,
    next_held,
    others_carry,
    refuse_snapshot,
    restart_buffer,
    revive,
)
from feeds.types import (
    BOOK_DELTA,
    BOOK_IMAGE,
    BOOK_LEVELS,
    BOOK_TOP,
    FUNDING,
    KNOWN_SHIFT,
    LIQUIDATION,
    REJECTS_KEPT,
    RINGS,
    STATS,
    TRADE,
    Flag,
    TopSource,
)

# Columns of ``sync`` that belong to the worker.
(
    IMAGE_BID,
    IMAGE_ASK,
    TOP_BID,
    TOP_BID_QUANTITY,
    TOP_ASK,
    TOP_ASK_QUANTITY,
    TICKER_ID,
    TICKER_SEEN_NS,
    TICKER_BID,
    TICKER_BID_QUANTITY,
    TICKER_ASK,
    TICKER_ASK_QUANTITY,
    BIDS_SHOWN,
    ASKS_SHOWN,
    PRICE_DECIMALS,
    QUANTITY_DECIMALS,
    LAST_CHECKSUM,
) = range(OWN, OWN + 17)
"""Keys of the last level in the book's image (a change below does not touch it; NONE if the image
has room); the best levels as published; id and arrival of the newest ticker; the ticker as
published; levels in the image; the instrument's decimals; the last message's checksum."""
SEEN_AT = OWN + 17
"""From here on, for each of ``feeds.adapter.CHANNELS``: when it delivered last (received, ns)."""
_SEEN_TRADES, _SEEN_BOOK, _SEEN_TOP = SEEN_AT, SEEN_AT + 1, SEEN_AT + 2
_SEEN_FUNDING, _SEEN_LIQUIDATIONS, _SEEN_STATS = SEEN_AT + 3, SEEN_AT + 4, SEEN_AT + 5
FACTS = 11
KNOWN_AT = SEEN_AT + 6
"""The numbers of FUNDING and STATS records as known, in the order of ``feeds.message.Has``; behind
them when the venue said each of them last; behind those the bits of what is known."""
STAMPS_AT = KNOWN_AT + FACTS
KNOWN = STAMPS_AT + FACTS

IDS_WAYS = 4
IDS = 4096
"""Trades remembered for an instrument, so that a second copy from another connection is not
published: by a hash of their id in sets of ``IDS_WAYS``, the oldest of a set goes. Two connections
differ by far less; and unlike a highest id this lets a trade pass that only the slower one has."""
_IDS_SHIFT = 64 - 10

# ``Feed.run``: where the drain stands in the raw ring.
NEXT, LOST, LAPS, FRAME_CLOCK, GRACE, CONNECTION, LINE, STREAMED, VENUE = range(9)
"""Next sequence; frames lost and how often; 1 to stamp records with the frame's time of arrival;
how long a hole may wait for another connection, ns; of the frame at hand: its connection, its line,
1 if it came through a stream and not by a request; three words of the venue's name."""
RUN_CELLS = 16

COUNTERS = (
    ("frames", "frames"),
    ("bytes", "bytes"),
    ("records_trade", "records"),
    ("records_book", "records"),
    ("records_top", "records"),
    ("records_funding", "records"),
    ("records_liquidation", "records"),
    ("records_stats", "records"),
    ("malformed", "frames"),
    ("not_covered", "frames"),
    ("unknown_instruments", "items"),
    ("gaps", "gaps"),
    ("duplicates_book", "items"),
    ("duplicates_trade", "items"),
    ("duplicates_ticker", "items"),
    ("crossed", "books"),
    ("overflows", "books"),
    ("overruns", "frames"),
    ("laps", "laps"),
    ("snapshots", "snapshots"),
    ("snapshots_old", "snapshots"),
    ("snapshots_ignored", "snapshots"),
    ("stale", "books"),
    ("revived", "books"),
    ("buffered", "items"),
    ("buffer_drops", "items"),
    ("resyncs", "requests"),
    ("connects", "connections"),
    ("disconnects", "connections"),
    ("duplicates_other", "items"),
    ("holes_held", "items"),
    ("holes_filled", "holes"),
    ("checksums_ok", "messages"),
    ("checksums_bad", "messages"),
    ("resets", "messages"),
    ("confirmed", "books"),
    ("doubted", "books"),
    *((f"line.{line}.{what}", "items") for line in range(LINES_MAX) for what in ("won", "late")),
)
"""Counters of the worker: name and unit. ``Out.places`` maps this order to ``Out.values``; after
them come the counters of refused frames, by ``-Reject``."""
(
    C_FRAMES,
    C_BYTES,
    C_TRADE,
    C_BOOK,
    C_TOP,
    C_FUNDING,
    C_LIQUIDATION,
    C_STATS,
    C_MALFORMED,
    C_NOT_COVERED,
    C_UNKNOWN,
    C_GAPS,
    C_DUPLICATE_BOOK,
    C_DUPLICATE_TRADE,
    C_DUPLICATE_TICKER,
    C_CROSSED,
    C_OVERFLOWS,
    C_OVERRUNS,
    C_LAPS,
    C_SNAPSHOTS,
    C_SNAPSHOTS_OLD,
    C_SNAPSHOTS_IGNORED,
    C_STALE,
    C_REVIVED,
    C_BUFFERED,
    C_BUFFER_DROPS,
    C_RESYNCS,
    C_CONNECTS,
    C_DISCONNECTS,
    C_DUPLICATE_OTHER,
    C_HELD,
    C_FILLED,
    C_CHECKSUMS_OK,
    C_CHECKSUMS_BAD,
    C_RESETS,
    C_CONFIRMED,
    C_DOUBTED,
    C_LINES,
) = range(38)
C_REJECT = len(COUNTERS)

TRADES, DELTAS, TOPS, FUNDINGS, LIQUIDATIONS, STATISTICS = range(6)
"""Places in ``Out.newest``."""
RING_COUNT = len(RINGS)

_TRADE_WORDS = TRADE.dtype.itemsize // 8
_DELTA_WORDS = BOOK_DELTA.dtype.itemsize // 8
_TOP_WORDS = BOOK_TOP.dtype.itemsize // 8
_FUNDING_WORDS = FUNDING.dtype.itemsize // 8
_LIQUIDATION_WORDS = LIQUIDATION.dtype.itemsize // 8
_STATS_WORDS = STATS.dtype.itemsize // 8
IMAGE_WORDS = BOOK_IMAGE.dtype.itemsize // 8
_REJECT_WORDS = 64
_FRAME_WORDS = FRAME.dtype.itemsize // 8
_IMAGE_BIDS = BOOK_IMAGE.column("bids")[1] // 8
_IMAGE_ASKS = BOOK_IMAGE.column("asks")[1] // 8
_DATA_AT, _DATA_BYTES = 64, 448

_STALE_KIND, _CONNECTED = int(FrameKind.STALE), int(FrameKind.CONNECTED)
_DISCONNECTED, _REST_DEPTH = int(FrameKind.DISCONNECTED), int(FrameKind.REST_DEPTH)
_B, _O, _T, _COMMA = b"bot,"
_NAMES_MAX = 64
_QUOTE, _NAMED_WITHIN = 0x22, 512
_INEXACT, _OVERFLOW = int(Reject.INEXACT), int(Reject.OVERFLOW)
_NOTHING = -int(Reject.NOTHING)
_IS_TRADE, _IS_UPDATE = int(ItemKind.TRADE), int(ItemKind.BOOK_UPDATE)
_IS_SNAPSHOT, _IS_TICKER = int(ItemKind.BOOK_SNAPSHOT), int(ItemKind.TICKER)
_IS_FUNDING, _IS_LIQUIDATION = int(ItemKind.FUNDING), int(ItemKind.LIQUIDATION)
_FUNDING_FACTS, _STATS_FACTS = 0x3F, 0x7C0
_LAST, _SNAPSHOT, _CLEAR = int(Flag.LAST), int(Flag.SNAPSHOT), int(Flag.CLEAR)
_AGGREGATED, _PARTIAL = int(Flag.AGGREGATED), int(Flag.PARTIAL)
_FROM_BOOK, _FROM_TICKER = int(TopSource.BOOK), int(TopSource.TICKER)

_FROZEN = types.Array(types.int64, 1, "C", readonly=True)
_FROZEN_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_BYTES = types.Array(types.uint8, 1, "C")

Words = NDArray[np.int64]


class Feed(NamedTuple):
    """One raw ring, and what it takes to read its frames."""

    cells: Words
    """Header of the frame ring (read-only), int64."""
    words: Words
    """Its descriptors (read-only), int64."""
    area: NDArray[np.uint8]
    """Its payloads (read-only)."""
    scratch: NDArray[np.uint8]
    """A frame's copy: the largest frame and 64 bytes."""
    symbols: NDArray[np.void]
    """Symbol map with the feed's instrument rows."""
    items: NDArray[np.void]
    levels: Words
    """Scanner output, int64[LEVELS_MAX, 2]."""
    rule: Words
    """``SyncRule.cells()``."""
    numbers: Words
    """The feed's instrument row -> row of ``md.instruments``, -1 for none."""
    run: Words
    """int64[RUN_CELLS]."""
    alive: Words
    """``feeds.sync.ALIVE_CELLS``: the feed's open connections."""


class State(NamedTuple):
    """All books of the worker, by instrument number."""

    books: Words
    """``feeds.book``."""
    sync: Words
    """``feeds.sync`` and the columns above."""
    pending: Words
    held: Words
    """``feeds.sync.new_pending``."""
    ids: Words
    """Trades seen, int64[books, IDS]."""
    tops: Words
    asks: Words
    """Scratch for the best levels of a side, int64[SCRATCH_LEVELS, 2]."""
    message: Words
    gap: Words
    """Scratch, int64[PENDING_CELLS]: the book message at hand; what an invalidation publishes."""


class Out(NamedTuple):
    """What the worker writes and others read."""

    trades: Words
    deltas: Words
    top: Words
    funding: Words
    liquidations: Words
    stats: Words
    """Slots of the six rings."""
    images: Words
    """Rows of ``md.books``."""
    rejects: Words
    reject_bytes: NDArray[np.uint8]
    """Rows of ``md.rejects``, twice."""
    newest: Words
    counted: Words
    """int64[RING_COUNT]: newest sequence of each ring, taken over and given back; as counted."""
    values: Words
    places: Words
    """Counters: ``values[places[C_…]] += 1``."""
    to_raw: Words
    to_record: Words
    margin: Words
    """Histogram rows, ns: socket to raw ring, raw ring to record; by how much the first of several
    connections won."""


def numba_tuple(
    members: tuple[types.Type, ...], group: type[tuple[NDArray[Any], ...]]
) -> types.Type:
    """Return the Numba type of a group of arrays."""
    made: types.Type = types.NamedTuple(members, group)  # type: ignore[no-untyped-call]
    return made


FEED = numba_tuple(
    (
        _FROZEN,
        _FROZEN,
        _FROZEN_BYTES,
        _BYTES,
        Symbols,
        Items,
        MATRIX,
        VECTOR,
        VECTOR,
        VECTOR,
        VECTOR,
    ),
    Feed,
)
BOOKS = numba_tuple((MATRIX, MATRIX, CUBE, CUBE, MATRIX, MATRIX, MATRIX, VECTOR, VECTOR), State)
OUT = numba_tuple((VECTOR,) * 8 + (_BYTES,) + (VECTOR,) * 7, Out)
SCRATCH_LEVELS = max(BOOK_LEVELS, CHECKED_LEVELS)


Item = np.void
Scan = Callable[..., int]


@inlined
def _open(words: Words, stride: int, newest: Words, ring: int) -> int:
    """Begin the next record of a ring; return the index of its first word."""
    newest[ring] += 1
    return begin(words, stride, len(words) // stride, newest[ring])


@inlined
def _stamp(words: Words, at: int, exchange_ns: int, received_ns: int, now: int) -> None:
    words[at + 1] = exchange_ns
    words[at + 2] = received_ns
    words[at + 3] = now


@inlined
def _fresh(sync: Words, book: int, column: int, number: int, received_ns: int) -> bool:
    """Note an id that only grows and return whether it is new: see ``feeds.sync.RESET_NS``."""
    if number <= sync[book, column] and received_ns < sync[book, column + 1] + RESET_NS:
        return False
    sync[book, column] = number
    sync[book, column + 1] = received_ns
    return True


@inlined
def _first_seen(ids: Words, book: int, number: int) -> bool:
    """Note the id of an event and return whether it is new: see ``IDS``."""
    number = number if number != 0 else -1  # 0 marks a free place.
    start = ((wrapping_mul(number, MIX) >> _IDS_SHIFT) & (IDS // IDS_WAYS - 1)) * IDS_WAYS
    for i in range(start, start + IDS_WAYS):
        if ids[book, i] == number:
            return False
    for i in range(start + IDS_WAYS - 1, start, -1):
        ids[book, i] = ids[book, i - 1]
    ids[book, start] = number
    return True


@inlined
def _put_event(
    item: Item, book: int, flags: int, received_ns: int, now: int, words: Words, at: int
) -> None:
    """Fill a trade or a liquidation, which share their form."""
    _stamp(words, at, item["exchange_ns"], received_ns, now)
    words[at + 4] = item["price"]
    words[at + 5] = item["quantity"]
    words[at + 6] = item["first_id"]
    words[at + 7] = book | (item["side"] & 0xFF) << 32 | ((item["flags"] | flags) & 0xFF) << 40


@inlined
def _put_trade(
    item: Item, book: int, flags: int, received_ns: int, now: int, trades: Words, newest: Words
) -> None:
    at = _open(trades, _TRADE_WORDS, newest, TRADES)
    _put_event(item, book, flags, received_ns, now, trades, at)
    commit(trades, at, newest[TRADES])


@inlined
def _put_liquidation(
    item: Item, book: int, flags: int, received_ns: int, now: int, words: Words, newest: Words
) -> None:
    at = _open(words, _LIQUIDATION_WORDS, newest, LIQUIDATIONS)
    _put_event(item, book, flags, received_ns, now, words, at)
    commit(words, at, newest[LIQUIDATIONS])


@inlined
def _learn(sync: Words, book: int, fact: int, mask: int, value: int, exchange_ns: int) -> int:
    """Take one number of a FUNDING or STATS item, if ``mask`` has it; return its bit if it is news.

    It is none if the venue has said something later (a slower connection), or just that.
    """
    if not (mask >> fact) & 1:
        return 0
    stamp = sync[book, STAMPS_AT + fact]
    if exchange_ns != 0 and (sync[book, KNOWN] >> fact) & 1:
        same = exchange_ns == stamp and value == sync[book, KNOWN_AT + fact]
        if exchange_ns < stamp or same:
            return 0
    sync[book, KNOWN_AT + fact] = value
    sync[book, STAMPS_AT + fact] = exchange_ns
    sync[book, KNOWN] |= 1 << fact
    return 1 << fact


@inlined
def _put_funding(
    item: Item,
    sync: Words,
    book: int,
    flags: int,
    received_ns: int,
    now: int,
    funding: Words,
    newest: Words,
) -> bool:
    """Publish all that is known of a derivative, if the item says anything new; return if so."""
    mask, exchange_ns = item["mask"], item["exchange_ns"]
    news = _learn(sync, book, 0, mask, item["price"], exchange_ns)
    news |= _learn(sync, book, 1, mask, item["quantity"], exchange_ns)
    news |= _learn(sync, book, 2, mask, item["price_2"], exchange_ns)
    news |= _learn(sync, book, 3, mask, item["quantity_2"], exchange_ns)
    news |= _learn(sync, book, 4, mask, item["next_ns"], exchange_ns)
    news |= _learn(sync, book, 5, mask, item["extra"], exchange_ns)
    if news == 0:
        return False
    at = _open(funding, _FUNDING_WORDS, newest, FUNDINGS)
    _stamp(funding, at, exchange_ns, received_ns, now)
    for fact in range(5):
        funding[at + 4 + fact] = sync[book, KNOWN_AT + fact]
    known = sync[book, KNOWN] & _FUNDING_FACTS
    funding[at + 9] = book | ((item["flags"] | flags | known << KNOWN_SHIFT) & 0xFFFFFFFF) << 32
    funding[at + 10] = sync[book, KNOWN_AT + 5]
    funding[at + 11] = news
    commit(funding, at, newest[FUNDINGS])
    return True


@inlined
def _put_stats(
    item: Item,
    sync: Words,
    book: int,
    flags: int,
    received_ns: int,
    now: int,
    stats: Words,
    newest: Words,
) -> bool:
    """Publish all that is known of a day's statistics, if the item is news; return if so."""
    mask, exchange_ns = item["mask"], item["exchange_ns"]
    news = _learn(sync, book, 6, mask, item["price"], exchange_ns)
    news |= _learn(sync, book, 7, mask, item["price_2"], exchange_ns)
    news |= _learn(sync, book, 8, mask, item["quantity_2"], exchange_ns)
    news |= _learn(sync, book, 9, mask, item["extra"], exchange_ns)
    news |= _learn(sync, book, 10, mask, item["quantity"], exchange_ns)
    if news == 0:
        return False
    at = _open(stats, _STATS_WORDS, newest, STATISTICS)
    _stamp(stats, at, exchange_ns, received_ns, now)
    for i in range(5):
        stats[at + 4 + i] = sync[book, KNOWN_AT + 6 + i]
    known = sync[book, KNOWN] & _STATS_FACTS
    stats[at + 9] = book | ((item["flags"] | flags | known << KNOWN_SHIFT) & 0xFFFFFFFF) << 32
    stats[at + 10] = news
    commit(stats, at, newest[STATISTICS])
    return True


@inlined
def _put_top(
    sync: Words, book: int, column: int, update_id: int, kind: int, top: Words, newest: Words
) -> int:
    """Begin a top record with the four numbers from ``column`` on; return its first word.

    ``kind`` is source, state and flags, packed as in the record.
    """
    at = _open(top, _TOP_WORDS, newest, TOPS)
    for i in range(4):
        top[at + 4 + i] = sync[book, column + i]
    top[at + 8] = update_id
    top[at + 10] = book | kind << 32
    return at


@inlined
def _put_ticker(
    sync: Words,
    book: int,
    state: int,
    exchange_ns: int,
    received_ns: int,
    now: int,
    top: Words,
    newest: Words,
) -> None:
    """Publish the venue's own best bid and offer, as last seen."""
    kind = _FROM_TICKER | state << 8 | _LAST << 16
    at = _put_top(sync, book, TICKER_BID, sync[book, TICKER_ID], kind, top, newest)
    _stamp(top, at, exchange_ns, received_ns, now)
    top[at + 9] = 0
    commit(top, at, newest[TOPS])


@inlined
def _put_book_top(sync: Words, book: int, now: int, out: Out) -> None:
    """Publish the best level and the state of the book."""
    kind = _FROM_BOOK | sync[book, STATE] << 8 | _LAST << 16
    top, newest = out.top, out.newest
    at = _put_top(sync, book, TOP_BID, sync[book, LAST_ID], kind, top, newest)
    _stamp(top, at, sync[book, EXCHANGE_NS], sync[book, RECEIVED_NS], now)
    top[at + 9] = sync[book, EPOCH]
    commit(top, at, newest[TOPS])


@inlined
def _put_level(
    deltas: Words, newest: Words, message: Words, now: int, price: int, quantity: int, about: int
) -> None:
    """Publish one level; ``about`` is instrument, side, flags and epoch as in the record."""
    at = _open(deltas, _DELTA_WORDS, newest, DELTAS)
    _stamp(deltas, at, message[P_EXCHANGE_NS], message[P_RECEIVED_NS], now)
    deltas[at + 4] = price
    deltas[at + 5] = quantity
    deltas[at + 6] = message[P_LAST]
    deltas[at + 7] = about
    commit(deltas, at, newest[DELTAS])


@inlined
def _put_levels(
    message: Words, levels: Words, ask_start: int, now: int, about: int, flags: int, out: Out
) -> None:
    """Publish the levels of a message: one record each, bids first, LAST on the last one.

    ``message`` has the ids, stamps and counts (``feeds.sync.P_…``); its bids begin at P_START.
    ``about`` is instrument and epoch, ``flags`` has SNAPSHOT and PARTIAL. A snapshot's first record
    clears the book; a snapshot without levels is that record alone.
    """
    deltas, newest = out.deltas, out.newest
    bids, start, total = message[P_BIDS], message[P_START], message[P_BIDS] + message[P_ASKS]
    snapshot = flags & _SNAPSHOT != 0
    first = flags | _CLEAR if snapshot else flags
    if snapshot and total == 0:
        _put_level(deltas, newest, message, now, 0, 0, about | (first | _LAST) << 40)
    for i in range(total):
        side, at = (1, start + i) if i < bids else (0xFF, ask_start + i - bids)
        bits = (first if i == 0 else flags) | (_LAST if i == total - 1 else 0)
        what = about | side << 32 | bits << 40
        _put_level(deltas, newest, message, now, levels[at, 0], levels[at, 1], what)


@inlined
def _about(sync: Words, book: int) -> int:
    """Return instrument and epoch as they stand in the last word of a book record."""
    return int(book | (sync[book, EPOCH] & 0xFFFF) << 48)


@inlined
def _show_side(
    books: Words, sync: Words, book: int, side: int, images: Words, at: int, tops: Words
) -> None:
    """Rewrite one side of an image (``at``: its first word) and note its best level."""
    ask = (1 - side) >> 1
    count = top_levels(books, book, side, BOOK_LEVELS, tops)
    for i in range(count, BOOK_LEVELS):
        tops[i, 0] = tops[i, 1] = 0
    for i in range(BOOK_LEVELS):
        images[at + 2 * i] = tops[i, 0]
        images[at + 2 * i + 1] = tops[i, 1]
    sync[book, TOP_BID + 2 * ask] = tops[0, 0]
    sync[book, TOP_BID + 2 * ask + 1] = tops[0, 1]
    sync[book, IMAGE_BID + ask] = side * tops[count - 1, 0] if count == BOOK_LEVELS else NONE
    sync[book, BIDS_SHOWN + ask] = count


@inlined
def _show_head(books: Words, sync: Words, book: int, now: int, images: Words, at: int) -> None:
    images[at + 1] = sync[book, EXCHANGE_NS]
    images[at + 2] = sync[book, RECEIVED_NS]
    images[at + 3] = now
    images[at + 4] = sync[book, LAST_ID]
    images[at + 5] = sync[book, EPOCH]
    images[at + 6] = sync[book, GAPS]
    images[at + 7] = sync[book, MESSAGES]
    images[at + 8] = book | sync[book, STATE] << 32
    images[at + 9] = sync[book, BIDS_SHOWN] | sync[book, ASKS_SHOWN] << 32
    images[at + 10] = depth(books, book, 1)
    images[at + 11] = depth(books, book, -1)


@inlined
def _show(book: int, force: bool, now: int, state: State, out: Out) -> None:
    """Bring the image up to date; publish a top record if it changed, or if ``force``.

    A side's levels are written only if a level changed that is, or will be, among them.
    """
    books, sync, images = state.books, state.sync, out.images
    at = row_begin(images, IMAGE_WORDS, book)
    changed = force
    for ask in range(2):
        row, column = 2 * book + ask, TOP_BID + 2 * ask
        touched = books[row, TOUCHED]
        books[row, TOUCHED] = NONE
        if force or (touched != NONE and touched >= sync[book, IMAGE_BID + ask]):
            price, quantity = sync[book, column], sync[book, column + 1]
            where = at + (_IMAGE_ASKS if ask else _IMAGE_BIDS)
            _show_side(books, sync, book, 1 - 2 * ask, images, where, state.tops)
            if price != sync[book, column] or quantity != sync[book, column + 1]:
                changed = True
    _show_head(books, sync, book, now, images, at)
    row_commit(images, at)
    if changed:
        _put_book_top(sync, book, now, out)


@inlined
def _invalidate(book: int, status: int, now: int, state: State, out: Out) -> None:
    """Empty a book, make it GAP or SYNCING, and say so in every place that shows it."""
    sync, message = state.sync, state.gap
    lose(sync, book, status)
    clear_book(state.books, book)
    message[P_LAST] = sync[book, LAST_ID]
    message[P_EXCHANGE_NS] = sync[book, EXCHANGE_NS]
    message[P_RECEIVED_NS] = sync[book, RECEIVED_NS]
    about = _about(sync, book) | (_CLEAR | _LAST) << 40
    _put_level(out.deltas, out.newest, message, now, 0, 0, about)
    _show(book, True, now, state, out)


@inlined
def _believed(book: int, status: int, checksum: int, rule: Words, state: State, out: Out) -> bool:
    """Return whether a book may be believed after a whole message; count why not.

    ``checksum`` is what the venue says of it, 0 for nothing.
    """
    books, sync, values, places = state.books, state.sync, out.values, out.places
    if status:
        values[places[C_OVERFLOWS]] += 1
        return False
    if crossed(books, book):
        values[places[C_CROSSED]] += 1
        return False
    if checksum == 0 or rule[CHECKSUM] == 0:
        return True
    price_decimals, quantity_decimals = sync[book, PRICE_DECIMALS], sync[book, QUANTITY_DECIMALS]
    ours = book_checksum(books, book, price_decimals, quantity_decimals, state.tops, state.asks)
    if ours == checksum:
        values[places[C_CHECKSUMS_OK]] += 1
        return True
    values[places[C_CHECKSUMS_BAD]] += 1
    values[places[C_GAPS]] += 1  # Something is missing, though no number says what.
    sync[book, GAPS] += 1
    return False


@inlined
def _apply(state: State, book: int, message: Words, levels: Words, ask_start: int) -> int:
    """Apply a message's levels and take over its id and stamps; return the books' status."""
    books, sync = state.books, state.sync
    status = apply_levels(books, book, 1, levels, message[P_START], message[P_BIDS])
    status |= apply_levels(books, book, -1, levels, ask_start, message[P_ASKS])
    sync[book, LAST_ID] = message[P_LAST]
    sync[book, EXCHANGE_NS] = message[P_EXCHANGE_NS]
    sync[book, RECEIVED_NS] = message[P_RECEIVED_NS]
    sync[book, LAST_CHECKSUM] = message[P_CHECKSUM]
    sync[book, MESSAGES] += 1
    return int(status)


@inlined
def _on_applicable(
    book: int, now: int, levels: Words, ask_start: int, rule: Words, state: State, out: Out
) -> None:
    """Apply the update in ``state.message`` and publish it, if the book is good afterwards."""
    sync, message, values, places = state.sync, state.message, out.values, out.places
    if message[P_LAST] < sync[book, LAST_ID] and sync[book, BRIDGING] == 0:
        values[places[C_RESETS]] += 1
        sync[book, RESET_ID] = sync[book, LAST_ID]
        sync[book, RESET_AT_NS] = message[P_RECEIVED_NS]
    status = _apply(state, book, message, levels, ask_start)
    if not _believed(book, status, message[P_CHECKSUM], rule, state, out):
        _invalidate(book, GAP, now, state, out)
        sync[book, FLOOR] = message[P_LAST]
        return
    revived = sync[book, STATE] == STALE
    values[places[C_REVIVED]] += np.int64(revived)
    sync[book, BRIDGING] = 0
    if revived:
        revive(sync, book)
    _put_levels(message, levels, ask_start, now, _about(sync, book), 0, out)
    _show(book, revived, now, state, out)


@inlined
def _apply_held(book: int, now: int, rule: Words, state: State, out: Out) -> None:
    """Apply the held updates that follow on by now."""
    sync, pending, held, message = state.sync, state.pending, state.held, state.message
    place = next_held(sync, pending, book, rule)
    while place >= 0:
        for column in range(len(message)):
            message[column] = pending[book, place, column]
        asks_at = message[P_START] + message[P_BIDS]
        _on_applicable(book, now, held[book], asks_at, rule, state, out)
        place = next_held(sync, pending, book, rule)
    if sync[book, HOLDING_NS] == 0:
        out.values[out.places[C_FILLED]] += 1


@inlined
def _on_hole(book: int, now: int, state: State, out: Out) -> None:
    """Take note that updates are missing for good: count it, believe nothing any longer."""
    sync = state.sync
    out.values[out.places[C_GAPS]] += 1
    sync[book, GAPS] += 1
    if sync[book, STATE] == LIVE or sync[book, STATE] == STALE:
        _invalidate(book, GAP, now, state, out)
    else:
        restart_buffer(sync, book)
        _show(book, False, now, state, out)


@inlined
def _on_update(
    action: int,
    book: int,
    now: int,
    levels: Words,
    ask_start: int,
    feed: Feed,
    state: State,
    out: Out,
) -> None:
    """Carry out ``decide_update``'s action for the update in ``state.message``."""
    sync, message, values, places = state.sync, state.message, out.values, out.places
    line = feed.run[LINE]
    if action == APPLY:
        values[places[C_LINES + 2 * line]] += 1
        _on_applicable(book, now, levels, ask_start, feed.rule, state, out)
        if sync[book, HOLDING_NS] != 0:
            _apply_held(book, now, feed.rule, state, out)
        return
    if action == DROP:
        values[places[C_DUPLICATE_BOOK]] += 1
        values[places[C_LINES + 2 * line + 1]] += 1
        if message[P_LAST] == sync[book, LAST_ID]:
            record(out.margin, message[P_RECEIVED_NS] - sync[book, RECEIVED_NS])
        return
    if action == HOLE:
        _on_hole(book, now, state, out)
    start = message[P_START]
    dropped = buffer_update(
        sync, state.pending, state.held, book, message, levels, start, ask_start
    )
    values[places[C_BUFFERED]] += 1
    values[places[C_BUFFER_DROPS]] += dropped


@inlined
def _may_hold(
    book: int, place: int, levels: Words, ask_start: int, feed: Feed, state: State, out: Out
) -> bool:
    """Hold an update that does not follow on if another connection may fill the hole."""
    sync, message = state.sync, state.message
    live = sync[book, STATE] == LIVE or sync[book, STATE] == STALE
    if not live or sync[book, BRIDGING] != 0:
        return False
    sync[book, LINES_AT + 2 * place + 1] = 1
    if not others_carry(sync, book, place, feed.alive):
        return False
    pending, held, start = state.pending, state.held, message[P_START]
    out.values[out.places[C_HELD]] += 1
    return bool(hold_update(sync, pending, held, book, message, levels, start, ask_start))


@inlined
def _on_snapshot(
    skipped: int,
    flags: int,
    book: int,
    now: int,
    levels: Words,
    ask_start: int,
    feed: Feed,
    state: State,
    out: Out,
) -> None:
    """Join a snapshot with the buffered updates from ``skipped`` on; publish if all is well.

    Nothing is published before the whole is applied and found good: two passes.
    """
    sync, pending, held, message = state.sync, state.pending, state.held, state.message
    values, places = out.values, out.places
    count = sync[book, PENDING]
    if (sync[book, STATE] == LIVE or sync[book, STATE] == STALE) and not flags & _PARTIAL:
        sync[book, EPOCH] += 1
    clear_book(state.books, book)
    status = _apply(state, book, message, levels, ask_start)
    checksum = message[P_CHECKSUM]
    for i in range(skipped, count):
        asks_at = pending[book, i, P_START] + pending[book, i, P_BIDS]
        status |= _apply(state, book, pending[book, i], held[book], asks_at)
        checksum = pending[book, i, P_CHECKSUM]
    last = sync[book, LAST_ID]
    if not _believed(book, status, checksum, feed.rule, state, out):
        _invalidate(book, GAP, now, state, out)
        sync[book, FLOOR] = last
        return
    values[places[C_SNAPSHOTS]] += 1
    about = _about(sync, book)
    _put_levels(message, levels, ask_start, now, about, flags | _SNAPSHOT, out)
    for i in range(skipped, count):
        asks_at = pending[book, i, P_START] + pending[book, i, P_BIDS]
        _put_levels(pending[book, i], held[book], asks_at, now, about, 0, out)
    joined(sync, book, last, feed.run[STREAMED] == 0 and skipped == count)
    _show(book, not flags & _PARTIAL, now, state, out)


@inlined
def _same(sync: Words, book: int, message: Words) -> bool:
    """Return whether an unnumbered message is the last one again, from another connection."""
    checksum = message[P_CHECKSUM]
    same = message[P_LAST] == sync[book, LAST_ID] and checksum == sync[book, LAST_CHECKSUM]
    return bool(checksum != 0 and same)


@inlined
def _newer(sync: Words, book: int, message: Words) -> bool:
    """Return whether a message with an old id is younger than a running book by the venue's time.

    Not right behind a snapshot, which has no time of its own at some venues.
    """
    if sync[book, STATE] != LIVE or sync[book, BRIDGING] != 0:
        return False
    later = message[P_EXCHANGE_NS] > sync[book, EXCHANGE_NS] > 0
    return bool(later and message[P_LAST] != sync[book, LAST_ID])


@inlined
def _is_behind(sync: Words, book: int, last: int, received_ns: int) -> bool:
    """Return whether a live book is as far as this id already: see ``feeds.sync.RESET_NS``."""
    if sync[book, STATE] != LIVE or last > sync[book, LAST_ID]:
        return False
    return bool(received_ns < sync[book, RECEIVED_NS] + RESET_NS)


@inlined
def _needless_snapshot(book: int, place: int, feed: Feed, sync: Words) -> bool:
    """Return whether a snapshot only opens one more connection for a book that others carry well.

    Its updates will follow on, now or, if it leads, as soon as the others have come as far.
    """
    if place < LINES_MAX or sync[book, STATE] != LIVE:
        return False
    return bool(others_carry(sync, book, place - LINES_MAX, feed.alive))


@inlined
def _on_book(
    item: Item, book: int, received_ns: int, now: int, feed: Feed, state: State, out: Out
) -> None:
    """Take a book update or snapshot where the rule says that it belongs."""
    sync, message, rule, levels = state.sync, state.message, feed.rule, feed.levels
    first, last, previous = item["first_id"], item["last_id"], item["previous_id"]
    message[P_FIRST], message[P_LAST], message[P_PREVIOUS] = first, last, previous
    message[P_EXCHANGE_NS], message[P_RECEIVED_NS] = item["exchange_ns"], received_ns
    message[P_START], message[P_BIDS] = item["bid_start"], item["bid_count"]
    message[P_ASKS], ask_start = item["ask_count"], item["ask_start"]
    message[P_CHECKSUM] = item["checksum"]
    place, streamed = 0, feed.run[STREAMED] != 0
    if streamed:
        sync[book, CARRIED] = 1
        sync[book, _SEEN_BOOK] = received_ns
        place = line_of(sync, book, feed.run[CONNECTION], feed.alive)
    if item["kind"] == _IS_UPDATE:
        since = sync[book, HOLDING_NS]
        if since != 0 and received_ns - since > feed.run[GRACE]:
            _on_hole(book, now, state, out)
        action = decide_update(sync, book, rule, first, last, previous, received_ns)
        if previous == UNLINKED and action == APPLY and _same(sync, book, message):
            action = DROP
        alone = not others_carry(sync, book, place % LINES_MAX, feed.alive)
        if action == DROP and alone and _newer(sync, book, message):
            action = HOLE  # Ids went back without a word: it is no other connection's late copy.
        if action == HOLE and _may_hold(
            book, place % LINES_MAX, levels, ask_start, feed, state, out
        ):
            return
        if action != SNAPSHOT:
            _on_update(action, book, now, levels, ask_start, feed, state, out)
            return
    streamed = streamed and rule[IN_BAND] != 0
    if item["flags"] & _PARTIAL and _is_behind(sync, book, last, received_ns):
        out.values[out.places[C_DUPLICATE_BOOK]] += 1
        out.values[out.places[C_LINES + 2 * feed.run[LINE] + 1]] += 1
        return
    action = decide_snapshot(sync, state.pending, book, rule, last, streamed)
    if action == DROP or (streamed and _needless_snapshot(book, place, feed, sync)):
        out.values[out.places[C_SNAPSHOTS_IGNORED]] += 1
    elif action == OLD:
        out.values[out.places[C_SNAPSHOTS_OLD]] += 1
        refuse_snapshot(sync, book, now)
    elif action == CONFIRM:
        out.values[out.places[C_CONFIRMED]] += 1
        revive(sync, book)
        _show(book, True, now, state, out)
    else:
        flags = item["flags"] & _PARTIAL
        _on_snapshot(action // SKIP, flags, book, now, levels, ask_start, feed, state, out)


@inlined
def _names(scratch: NDArray[np.uint8], first: int, second: int) -> bool:
    """Return whether the list of channels in a STALE mark has one that begins with two bytes.

    An empty list stands for every channel.
    """
    if scratch[0] == 0:
        return True
    starts = True
    for i in range(_NAMES_MAX):
        if scratch[i] == 0:
            break
        if starts and scratch[i] == first and scratch[i + 1] == second:
            return True
        starts = scratch[i] == _COMMA
    return False


@inlined
def _stale(
    book: int, books: bool, tickers: bool, received_ns: int, now: int, state: State, out: Out
) -> None:
    """Mark a live book, or the venue's ticker, STALE: no connection carries it."""
    sync = state.sync
    if books:
        sync[book, CARRIED] = 0
    if books and sync[book, STATE] == LIVE:
        sync[book, STATE] = STALE
        out.values[out.places[C_STALE]] += 1
        _show(book, True, now, state, out)
    if tickers and sync[book, TICKER_SEEN_NS] != 0:
        _put_ticker(sync, book, STALE, 0, received_ns, now, out.top, out.newest)


@inlined
def _on_reject(
    reason: int,
    length: int,
    received_ns: int,
    kind: int,
    scratch: NDArray[np.uint8],
    run: Words,
    out: Out,
) -> None:
    """Count a refused frame and keep its beginning for inspection."""
    rejects, reject_bytes, values, places = out.rejects, out.reject_bytes, out.values, out.places
    if reason < 1 or reason >= REJECTS:
        reason = REJECTS - 1
    values[places[C_REJECT + reason]] += 1
    if reason == 1:
        values[places[C_NOT_COVERED]] += 1
    elif reason != _NOTHING:
        values[places[C_MALFORMED]] += 1
    count = values[places[C_REJECT + reason]]
    row = reason * REJECTS_KEPT + count % REJECTS_KEPT
    at = row_begin(rejects, _REJECT_WORDS, row)
    rejects[at + 1] = received_ns
    rejects[at + 2] = count
    rejects[at + 3] = length
    rejects[at + 4] = (-reason & 0xFFFFFFFF) | kind << 32
    for i in range(3):
        rejects[at + 5 + i] = run[VENUE + i]
    start = row * _REJECT_WORDS * 8 + _DATA_AT
    for i in range(_DATA_BYTES):
        reject_bytes[start + i] = scratch[i] if i < length else 0
    row_commit(rejects, at)


@inlined
def _instrument_named(symbols: NDArray[np.void], data: NDArray[np.uint8], length: int) -> int:
    """Return the row of the first instrument that a frame names between two quotes, or -1."""
    start = -1
    for pos in range(min(length, _NAMED_WITHIN)):
        if data[pos] == _QUOTE:
            if start >= 0:
                entry = find_symbol(symbols, data, start, pos - start)
                if entry >= 0:
                    return int(symbols[entry]["instrument"])
            start = pos + 1
    return -1


@inlined
def _doubt(row: int, now: int, feed: Feed, state: State, out: Out) -> None:
    """Believe a book no longer whose venue sends numbers that its decimals cannot hold.

    No later message may be readable either, so that no hole would ever show.
    """
    numbers, sync = feed.numbers, state.sync
    book = numbers[row] if 0 <= row < len(numbers) else -1
    if book >= 0 and (sync[book, STATE] == LIVE or sync[book, STATE] == STALE):
        out.values[out.places[C_DOUBTED]] += 1
        _invalidate(book, GAP, now, state, out)


@inlined
def _on_ticker(item: Item, book: int, received_ns: int, now: int, state: State, out: Out) -> bool:
    """Publish a venue's best bid and offer, unless it is old; return if so."""
    sync, values, places = state.sync, out.values, out.places
    update_id = item["first_id"]
    if update_id != 0 and not _fresh(sync, book, TICKER_ID, update_id, received_ns):
        values[places[C_DUPLICATE_TICKER]] += 1
        return False
    sync[book, TICKER_SEEN_NS] = received_ns
    sync[book, TICKER_BID], sync[book, TICKER_BID_QUANTITY] = item["price"], item["quantity"]
    sync[book, TICKER_ASK] = item["price_2"]
    sync[book, TICKER_ASK_QUANTITY] = item["quantity_2"]
    exchange_ns, status = item["exchange_ns"], LIVE
    if item["price"] == 0 and item["price_2"] == 0:
        status = EMPTY
    elif item["price"] >= item["price_2"] > 0:  # The venue's own, but not to be believed.
        values[places[C_CROSSED]] += 1
        status = GAP
    _put_ticker(sync, book, status, exchange_ns, received_ns, now, out.top, out.newest)
    return True


@inlined
def _on_item(
    item: Item,
    flags: int,
    received_ns: int,
    now: int,
    feed: Feed,
    state: State,
    out: Out,
) -> None:
    """Publish one item, or apply it to its book. ``flags``: LAST, if it is its frame's last."""
    place, kind, numbers = item["instrument"], item["kind"], feed.numbers
    values, places, sync, line = out.values, out.places, state.sync, feed.run[LINE]
    newest = out.newest
    book = numbers[place] if 0 <= place < len(numbers) else -1
    if book < 0:
        values[places[C_UNKNOWN]] += 1
        return
    if kind in (_IS_UPDATE, _IS_SNAPSHOT):
        _on_book(item, book, received_ns, now, feed, state, out)
        return
    fresh = True
    if kind == _IS_TRADE:
        sync[book, _SEEN_TRADES] = received_ns
        # Two kinds of trade are counted apart by the venue: their ids must not meet.
        fresh = _first_seen(state.ids, book, item["first_id"] ^ (item["flags"] & _AGGREGATED) << 57)
        if fresh:
            _put_trade(item, book, flags, received_ns, now, out.trades, newest)
        else:
            values[places[C_DUPLICATE_TRADE]] += 1
    elif kind == _IS_TICKER:
        sync[book, _SEEN_TOP] = received_ns
        fresh = _on_ticker(item, book, received_ns, now, state, out)
    elif kind == _IS_FUNDING:
        if feed.run[STREAMED] != 0:  # The answer to a request says nothing of a stream.
            sync[book, _SEEN_FUNDING] = received_ns
        fresh = _put_funding(item, sync, book, flags, received_ns, now, out.funding, newest)
    elif kind == _IS_LIQUIDATION:
        sync[book, _SEEN_LIQUIDATIONS] = received_ns
        # They have no ids: one that agrees in all is the copy of another connection.
        key = wrapping_mul(wrapping_add(wrapping_mul(item["price"], 31), item["quantity"]), 31)
        key = wrapping_add(key, item["exchange_ns"] ^ item["side"])
        fresh = _first_seen(state.ids, book, key)
        if fresh:
            _put_liquidation(item, book, flags, received_ns, now, out.liquidations, newest)
    else:
        sync[book, _SEEN_STATS] = received_ns
        fresh = _put_stats(item, sync, book, flags, received_ns, now, out.stats, newest)
    values[places[C_LINES + 2 * line + (0 if fresh else 1)]] += 1
    if not fresh and kind != _IS_TRADE and kind != _IS_TICKER:
        values[places[C_DUPLICATE_OTHER]] += 1


@inlined
def _on_lap(feed: Feed, state: State, out: Out) -> None:
    """Skip what was overwritten: count it, and believe no live book of this feed any longer."""
    run, numbers, sync = feed.run, feed.numbers, state.sync
    capacity = len(feed.words) // _FRAME_WORDS
    target = resume_point(feed.words, feed.cells, _FRAME_WORDS, capacity, run[NEXT])
    # Large frames overwrite the area sooner than the descriptors: half of it ahead, too.
    newest, room = feed.cells[CURSOR], len(feed.area) // 2
    while target < newest:
        at = (target & (capacity - 1)) * _FRAME_WORDS
        if feed.cells[CLAIM] - feed.words[at + 3] <= room:
            break
        target += 1
    lost = target - run[NEXT]
    run[LOST] += lost
    run[LAPS] += 1
    run[NEXT] = target
    feed.alive[:] = 0  # Marks of connections may be among what was lost.
    out.values[out.places[C_OVERRUNS]] += lost
    out.values[out.places[C_LAPS]] += 1
    now = realtime_ns()
    for i in range(len(numbers)):
        book = numbers[i]
        if book >= 0:
            sync[book, CARRIED] = 0
            if sync[book, STATE] == LIVE or sync[book, STATE] == STALE:
                _invalidate(book, GAP, now, state, out)


@inlined
def _on_mark(
    kind: int, place: int, received_ns: int, now: int, feed: Feed, state: State, out: Out
) -> bool:
    """Take a mark of the feed's; return False if the frame is none."""
    values, places, numbers = out.values, out.places, feed.numbers
    number, alive = feed.run[CONNECTION] + 1, feed.alive
    if kind == _STALE_KIND:
        if 0 <= place < len(numbers) and numbers[place] >= 0:
            books, tickers = _names(feed.scratch, _B, _O), _names(feed.scratch, _T, _O)
            _stale(numbers[place], books, tickers, received_ns, now, state, out)
    elif kind == _CONNECTED:
        values[places[C_CONNECTS]] += 1
        alive[(number - 1) % ALIVE_CELLS] = number
    elif kind == _DISCONNECTED:
        values[places[C_DISCONNECTS]] += 1
        if alive[(number - 1) % ALIVE_CELLS] == number:
            alive[(number - 1) % ALIVE_CELLS] = 0
    else:
        return False
    return True


@inlined
def _tally(values: Words, places: Words, newest: Words, before: Words) -> None:
    """Count the records published since ``before`` was copied from ``newest``."""
    for ring in range(RING_COUNT):
        values[places[C_TRADE + ring]] += newest[ring] - before[ring]
        before[ring] = newest[ring]


@kernel(types.int64(FEED, BOOKS, OUT, types.FunctionType(SCAN), types.int64))
def drain(feed: Feed, state: State, out: Out, scan: Scan, limit: int) -> int:
    """Take up to ``limit`` frames from a raw ring and publish what is in them.

    Returns
    -------
    int
        Frames taken, those included that were refused. ``feed.run`` and ``out.newest`` say where
        the rings stand afterwards. If the writer has lapped this reader, the frames lost are
        counted, every live book of the feed is invalidated, and the drain goes on half a ring
        behind the writer.

    """
    words, scratch, run, newest = feed.words, feed.scratch, feed.run, out.newest
    values, places = out.values, out.places
    symbols, items, levels = feed.symbols, feed.items, feed.levels
    capacity = len(words) // _FRAME_WORDS
    frame_clock = run[FRAME_CLOCK] != 0
    taken = 0
    while taken < limit:
        sequence = run[NEXT]
        length = fetch(feed.cells, words, feed.area, sequence, scratch) - 1
        if length == RING_EMPTY - 1:
            break
        at = (sequence & (capacity - 1)) * _FRAME_WORDS
        received_ns, published_ns = words[at + 1], words[at + 2]
        kind, place = words[at + 5] & 0xFFFFFFFF, words[at + 6] & 0xFFFFFFFF
        run[CONNECTION], run[LINE] = words[at + 5] >> 32, (words[at + 6] >> 32) & (LINES_MAX - 1)
        run[STREAMED] = kind < _REST_DEPTH
        taken += 1
        if length < 0 or not intact(words, _FRAME_WORDS, capacity, sequence):
            _on_lap(feed, state, out)
            continue
        run[NEXT] = sequence + 1
        values[places[C_FRAMES]] += 1
        values[places[C_BYTES]] += length
        if _STALE_KIND <= kind <= _DISCONNECTED:
            now = received_ns if frame_clock else realtime_ns()
            _on_mark(kind, place, received_ns, now, feed, state, out)
            continue
        row = place
        if run[STREAMED] != 0:
            row = -1
            feed.alive[run[CONNECTION] % ALIVE_CELLS] = run[CONNECTION] + 1
        count = scan(scratch, length, kind, row, symbols, items, levels)
        now = received_ns if frame_clock else realtime_ns()
        if count <= 0:
            _on_reject(-count, length, received_ns, kind, scratch, run, out)
            if count in (_INEXACT, _OVERFLOW):
                row = row if row >= 0 else _instrument_named(symbols, scratch, length)
                _doubt(row, now, feed, state, out)
            continue
        before = newest.sum()
        for i in range(count):
            flags = _LAST if i == count - 1 else 0
            _on_item(items[i], flags, received_ns, now, feed, state, out)
        if not frame_clock:
            record(out.to_raw, published_ns - received_ns)
            if newest.sum() > before:
                record(out.to_record, now - published_ns)
    _tally(values, places, newest, out.counted)
    return taken


@kernel(types.void(types.int64, types.int64, BOOKS, OUT))
def mark_stale(book: int, now: int, state: State, out: Out) -> None:
    """Make a live book, and the venue's ticker, STALE: its feed is not running."""
    _stale(book, True, True, 0, now, state, out)


@kernel(types.void(types.int64, types.int64, types.int64, BOOKS, OUT))
def silence(book: int, tickers: int, now: int, state: State, out: Out) -> None:
    """Make a live book (or, if ``tickers``, the venue's ticker) STALE: its stream fell silent."""
    sync = state.sync
    if tickers:
        _stale(book, False, True, 0, now, state, out)
    elif sync[book, STATE] == LIVE:
        fall_silent(sync, book)
        out.values[out.places[C_STALE]] += 1
        _show(book, True, now, state, out)


@kernel(types.void(types.int64, types.int64, BOOKS, OUT))
def give_up_hole(book: int, now: int, state: State, out: Out) -> None:
    """Make a book GAP that has waited too long for what is missing, though nothing more comes."""
    _on_hole(book, now, state, out)


@kernel(types.void(types.int64, BOOKS))
def forget_facts(book: int, state: State) -> None:
    """Forget all numbers that are held in an instrument's decimals, apart from its book."""
    sync = state.sync
    for column in range(KNOWN_AT, KNOWN + 1):
        sync[book, column] = 0
    for column in range(TICKER_ID, TICKER_ASK_QUANTITY + 1):
        sync[book, column] = 0


@kernel(types.void(types.int64, types.int64, BOOKS, OUT))
def end_instrument(book: int, now: int, state: State, out: Out) -> None:
    """Empty the book of an instrument that is no longer listed; no snapshot is wanted."""
    _invalidate(book, EMPTY, now, state, out)
    state.sync[book, WANTED] = 0


@kernel(types.void(types.int64, types.int64, types.int64, BOOKS, OUT))
def start_instrument(book: int, status: int, now: int, state: State, out: Out) -> None:
    """Make a book SYNCING (or GAP) and publish that: its feed, or this worker, has just begun."""
    _invalidate(book, status, now, state, out)
