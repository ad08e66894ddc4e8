"""Book synchronisation: which updates may be applied, and when a snapshot joins them.

A venue's rule is data (``SyncRule``, a row of int64), not code, and one state machine serves all of
them. A book's state is a row of ``sync`` (int64[books, SYNC_CELLS])::

    SYNCING -- snapshot --> LIVE <-- mark, next update --> STALE
    LIVE or STALE -- an update that does not follow on, a crossed book, lost frames --> GAP
    GAP -- snapshot --> LIVE

While a book is not LIVE or STALE its updates are buffered, levels and all, so that an update that
arrived before the snapshot still bridges it. The buffer is a chain without holes: an update that
does not follow on the one before empties it and begins a new one. When it is full the oldest go,
and FLOOR, the id that a snapshot must have reached, rises.

Several connections may carry a book: redundant lines, or the two of a rotation. The first arrival
of an id wins, the others are duplicates. An update that does not follow on is *held* (in the same
buffer, which a live book does not need) while another connection has not come as far: it may bring
what is missing. It is a gap as soon as none can, or when the time of grace is over.

The functions here decide and keep the buffer; they neither see levels' meaning nor publish.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from engine.jit import inlined, kernel
from feeds.book import MATRIX
from feeds.message import UNLINKED
from feeds.types import BookState

PENDING_MESSAGES = 1024
PENDING_LEVELS = 16_384
"""Defaults for the buffer of a book: some tens of seconds of a busy book."""

RETRY_NS = 5_000_000_000
RETRY_MAX_NS = 60_000_000_000
"""A snapshot that does not come is asked for again after this, doubling up to the bound."""

QUIET_NS = 3_000_000_000
"""A snapshot is wanted once an update has shown that the stream flows: only then is it sure to join
it. An instrument without updates gets its snapshot after this long."""

OLD_RETRY_NS = 250_000_000
"""A snapshot older than the buffer is asked for again after this, doubling likewise."""

RESET_NS = 10_000_000_000
"""An id at or below the last one is a duplicate from a second connection, unless nothing else has
come for this long: then the venue has begun to count anew."""

FLOOR_ATTEMPTS = 4
"""A venue that has begun to count anew never reaches the old FLOOR: after so many requests it is
forgotten. The first update after the snapshot has to bridge it in any case."""

_SHIFT_MAX = 8


class Chain(IntEnum):
    """How an update says that it follows on the one before."""

    FIRST = 0
    """``first <= last + 1``: ids count the book's changes."""
    PREVIOUS = 1
    """``previous == last``: the update names its predecessor."""


class Bridge(IntEnum):
    """How the first update after a snapshot with id S says that it follows on it; a bit mask."""

    FIRST = 1
    """``first <= S + bridge_offset`` (and it is not dropped)."""
    PREVIOUS_EQUAL = 2
    """``previous == S``."""
    PREVIOUS_BELOW = 4
    """``previous <= S`` (and it is not dropped)."""


class SyncRule(NamedTuple):
    """A venue's rule. ``feeds/<venue>`` holds the values; an update has first, last, previous id.

    Examples
    --------
    Binance spot: ``SyncRule(Chain.FIRST, 1, Bridge.FIRST, 1)``; USDⓈ-M: ``SyncRule(Chain.PREVIOUS,
    0, Bridge.FIRST | Bridge.PREVIOUS_EQUAL, 0)``.

    """

    chain: int
    """A ``Chain``."""
    keep_offset: int
    """After a snapshot S, updates with ``last < S + keep_offset`` are dropped."""
    bridge: int
    """Bits of ``Bridge``; one that holds is enough."""
    bridge_offset: int
    reset: int = 0
    """1: an update whose ``previous`` is the last id may have a lower ``last`` (maintenance)."""
    in_band: int = 0
    """1: snapshots come in the stream, in order, and replace whatever is there."""
    snapshot_id: int = 0
    """An update with this ``last`` is a snapshot; 0: there is no such id."""
    unlinked: int = 0
    """1: an update without a link (recordings of a time when the venue had none) follows on any
    that is not younger by its id."""
    checksum: int = 0
    """1: messages may carry the CRC32 of the 25 best levels (``feeds.checksum``)."""

    def cells(self) -> NDArray[np.int64]:
        """Return the rule as the kernels take it, one int64 a field."""
        return np.array(self, np.int64)


(
    CHAIN,
    KEEP_OFFSET,
    BRIDGE,
    BRIDGE_OFFSET,
    RESET,
    IN_BAND,
    SNAPSHOT_ID,
    LINKLESS,
    CHECKSUM,
) = range(9)

(
    STATE,
    EPOCH,
    LAST_ID,
    GAPS,
    MESSAGES,
    BRIDGING,
    FLOOR,
    WANTED,
    NEXT_NS,
    ATTEMPTS,
    PENDING,
    HELD_ROWS,
    EXCHANGE_NS,
    RECEIVED_NS,
    CARRIED,
    SILENT,
    HOLDING_NS,
    RESET_ID,
    RESET_AT_NS,
) = range(19)
"""Columns of ``sync``: BookState; epoch; last id applied (LIVE, STALE) or buffered; holes found;
messages applied; 1 until an update has followed the snapshot; id that a snapshot must have reached;
BookState for which a snapshot is wanted, or 0; when to ask (again); requests so far; messages and
level rows in the buffer; stamps of the last message applied; 1 while a connection is known to carry
the book: since an update came, until the feed says that none does; 1 while the book is STALE for
its stream's silence; since when updates are held, or 0; the id that a legal reset went back from,
and when."""
LINES_AT = 19
LINES_MAX = 4
"""From this column on, for each of so many connections that carry the book: its number plus 1, and
1 if it has shown an id beyond a hole that is still open."""
OWN = LINES_AT + 2 * LINES_MAX
"""First column that this module does not use: the worker's."""
SYNC_CELLS = 96

ALIVE_CELLS = 64
"""Length of ``alive``: cell ``n % ALIVE_CELLS`` is n + 1 while connection n of a feed is open."""

GRACE_NS = 250_000_000
"""How long a hole may wait for another connection to fill it, by default."""

(
    P_FIRST,
    P_LAST,
    P_PREVIOUS,
    P_EXCHANGE_NS,
    P_RECEIVED_NS,
    P_START,
    P_BIDS,
    P_ASKS,
    P_CHECKSUM,
) = range(9)
"""Columns of a buffered message: ids, stamps, first row of its levels, number of bids and asks, the
venue's checksum of the book after it (0: none)."""
PENDING_CELLS = 9

EMPTY, SYNCING, LIVE, GAP, STALE = (int(state) for state in BookState)

CUBE = types.Array(types.int64, 3, "C")
VECTOR = types.Array(types.int64, 1, "C")


class Action(IntEnum):
    """What to do with an update or a snapshot."""

    DROP = 0
    """A duplicate, or older than the snapshot: nothing."""
    APPLY = 1
    """Apply it; the book is LIVE afterwards."""
    BUFFER = 2
    """Keep it until a snapshot comes."""
    HOLE = 3
    """Updates are missing before it: invalidate the book, keep it as the first of a new buffer."""
    SNAPSHOT = 4
    """It is a snapshot."""
    JOIN = 5
    """The snapshot replaces the book, and the buffer from its ``SKIP`` on follows."""
    OLD = 6
    """The snapshot is older than the buffer: another one is needed."""
    CONFIRM = 7
    """The snapshot says that a book whose stream fell silent has missed nothing."""


DROP, APPLY, BUFFER, HOLE, SNAPSHOT, JOIN, OLD, CONFIRM = (int(action) for action in Action)
SKIP = 8
"""``decide_snapshot`` returns ``JOIN + SKIP * n``: the first ``n`` buffered messages go."""


def new_sync(count: int) -> NDArray[np.int64]:
    """Return the state of ``count`` books, all EMPTY: int64[count, SYNC_CELLS]."""
    return np.zeros((count, SYNC_CELLS), np.int64)


def new_pending(
    count: int, messages: int = PENDING_MESSAGES, levels: int = PENDING_LEVELS
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the buffers of ``count`` books: messages and their levels."""
    return (
        np.zeros((count, messages, PENDING_CELLS), np.int64),
        np.zeros((count, levels, 2), np.int64),
    )


@inlined
def _follows(rule: Any, last_id: Any, first: Any, last: Any, previous: Any) -> Any:  # noqa: ANN401
    if rule[CHAIN] == 1:
        if previous == UNLINKED and rule[LINKLESS] != 0:
            return last >= last_id
        return previous == last_id and (last >= last_id or rule[RESET] != 0)
    return first <= last_id + 1 and last > last_id


@inlined
def _bridges(rule: Any, snapshot: Any, first: Any, previous: Any) -> Any:  # noqa: ANN401
    how = rule[BRIDGE]
    return (
        (how & 1 != 0 and first <= snapshot + rule[BRIDGE_OFFSET])
        or (how & 2 != 0 and previous == snapshot)
        or (how & 4 != 0 and previous <= snapshot)
    )


@kernel(
    types.int64(
        MATRIX,
        types.int64,
        VECTOR,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
    )
)
def decide_update(
    sync: NDArray[np.int64],
    book: int,
    rule: NDArray[np.int64],
    first: int,
    last: int,
    previous: int,
    received_ns: int,
) -> int:
    """Return the ``Action`` for an update with these ids; changes nothing.

    ``rule`` is ``SyncRule.cells()``; ``previous`` is -1 where the venue has no such link.
    """
    if rule[SNAPSHOT_ID] != 0 and last == rule[SNAPSHOT_ID]:
        return SNAPSHOT
    last_id = sync[book, LAST_ID]
    live = sync[book, STATE] == LIVE or sync[book, STATE] == STALE
    if live and sync[book, BRIDGING] != 0:
        if last < last_id + rule[KEEP_OFFSET]:
            # Older than the snapshot, for a while; later than that the venue counts anew.
            return DROP if received_ns < sync[book, RECEIVED_NS] + RESET_NS else HOLE
        return APPLY if _bridges(rule, last_id, first, previous) else HOLE
    if not live and sync[book, PENDING] == 0:
        return BUFFER
    if _follows(rule, last_id, first, last, previous):
        return APPLY if live else BUFFER
    if last <= last_id and received_ns < sync[book, RECEIVED_NS] + RESET_NS:
        return DROP
    if last <= sync[book, RESET_ID] and received_ns < sync[book, RESET_AT_NS] + RESET_NS:
        return DROP  # From before a reset, on a slower connection.
    return HOLE


@inlined
def _store(
    sync: Any,  # noqa: ANN401
    pending: Any,  # noqa: ANN401
    held: Any,  # noqa: ANN401
    book: Any,  # noqa: ANN401
    message: Any,  # noqa: ANN401
    levels: Any,  # noqa: ANN401
    bid_start: Any,  # noqa: ANN401
    ask_start: Any,  # noqa: ANN401
) -> None:
    """Copy a message and its levels behind the others; there is room."""
    bids, asks = message[P_BIDS], message[P_ASKS]
    place, at = sync[book, PENDING], sync[book, HELD_ROWS]
    for column in range(PENDING_CELLS):
        pending[book, place, column] = message[column]
    pending[book, place, P_START] = at
    for i in range(bids):
        held[book, at + i, 0] = levels[bid_start + i, 0]
        held[book, at + i, 1] = levels[bid_start + i, 1]
    at += bids
    for i in range(asks):
        held[book, at + i, 0] = levels[ask_start + i, 0]
        held[book, at + i, 1] = levels[ask_start + i, 1]
    sync[book, PENDING] = place + 1
    sync[book, HELD_ROWS] = at + asks


@inlined
def line_of(sync: Any, book: Any, connection: Any, alive: Any) -> Any:  # noqa: ANN401
    """Return which of the connections of a book this is: its place, plus LINES_MAX if it is new."""
    free = LINES_MAX - 1
    for place in range(LINES_MAX):
        number = sync[book, LINES_AT + 2 * place]
        if number == connection + 1:
            return place
        if number == 0 or alive[(number - 1) % ALIVE_CELLS] != number:
            free = min(free, place)
    sync[book, LINES_AT + 2 * free] = connection + 1
    sync[book, LINES_AT + 2 * free + 1] = 0
    return free + LINES_MAX


@inlined
def others_carry(sync: Any, book: Any, place: Any, alive: Any) -> Any:  # noqa: ANN401
    """Return whether another open connection carries the book and has not passed an open hole."""
    for other in range(LINES_MAX):
        number, ahead = sync[book, LINES_AT + 2 * other], sync[book, LINES_AT + 2 * other + 1]
        is_open = number != 0 and alive[(number - 1) % ALIVE_CELLS] == number
        if other != place and is_open and ahead == 0:
            return True
    return False


@inlined
def _stop_holding(sync: Any, book: Any) -> None:  # noqa: ANN401
    sync[book, PENDING] = sync[book, HELD_ROWS] = sync[book, HOLDING_NS] = 0
    for place in range(LINES_MAX):
        sync[book, LINES_AT + 2 * place + 1] = 0


@kernel(types.int64(MATRIX, CUBE, CUBE, types.int64, VECTOR, MATRIX, types.int64, types.int64))
def hold_update(
    sync: NDArray[np.int64],
    pending: NDArray[np.int64],
    held: NDArray[np.int64],
    book: int,
    message: NDArray[np.int64],
    levels: NDArray[np.int64],
    bid_start: int,
    ask_start: int,
) -> int:
    """Hold an update of a live book that does not follow on; return 0 if there is no room for it.

    The arguments are those of ``buffer_update``. A second copy, from another connection, is fine.
    """
    count, rows = sync[book, PENDING], message[P_BIDS] + message[P_ASKS]
    for i in range(count):
        if pending[book, i, P_LAST] == message[P_LAST]:
            return 1
    if count == pending.shape[1] or sync[book, HELD_ROWS] + rows > held.shape[1]:
        return 0
    _store(sync, pending, held, book, message, levels, bid_start, ask_start)
    if sync[book, HOLDING_NS] == 0:
        sync[book, HOLDING_NS] = message[P_RECEIVED_NS]
    return 1


@kernel(types.int64(MATRIX, CUBE, types.int64, VECTOR))
def next_held(
    sync: NDArray[np.int64], pending: NDArray[np.int64], book: int, rule: NDArray[np.int64]
) -> int:
    """Return which held update follows on now; -1 if none does. Forgets them all if none can."""
    last_id, rest = sync[book, LAST_ID], 0
    for i in range(sync[book, PENDING]):
        first, last = pending[book, i, P_FIRST], pending[book, i, P_LAST]
        if last > last_id:
            if _follows(rule, last_id, first, last, pending[book, i, P_PREVIOUS]):
                return i
            rest += 1
    if rest == 0:
        _stop_holding(sync, book)
    return -1


@kernel(types.int64(MATRIX, CUBE, types.int64, VECTOR, types.int64, types.boolean))
def decide_snapshot(
    sync: NDArray[np.int64],
    pending: NDArray[np.int64],
    book: int,
    rule: NDArray[np.int64],
    snapshot: int,
    streamed: bool,
) -> int:
    """Return the ``Action`` for a snapshot with this id: ``JOIN + SKIP * n``, DROP, OLD or CONFIRM.

    ``streamed``: it came in the stream, in its place among the updates, and not by a request.
    """
    count = sync[book, PENDING]
    skipped = 0
    while skipped < count and pending[book, skipped, P_LAST] < snapshot + rule[KEEP_OFFSET]:
        skipped += 1
    bridged = True
    if skipped < count:
        first, previous = pending[book, skipped, P_FIRST], pending[book, skipped, P_PREVIOUS]
        bridged = _bridges(rule, snapshot, first, previous)
    if streamed:  # What a faster connection has brought may continue it; else it begins anew.
        running = sync[book, STATE] == LIVE or sync[book, STATE] == STALE
        return int(JOIN + SKIP * (skipped if bridged and not running else count))
    if sync[book, STATE] == STALE and sync[book, SILENT] != 0 and snapshot >= sync[book, LAST_ID]:
        return int(CONFIRM if snapshot == sync[book, LAST_ID] else JOIN + SKIP * count)
    if sync[book, STATE] == LIVE or sync[book, STATE] == STALE:
        return DROP
    if snapshot < sync[book, FLOOR] and sync[book, ATTEMPTS] < FLOOR_ATTEMPTS:
        return OLD
    return JOIN + SKIP * skipped if bridged else OLD


@inlined
def _forget(sync: Any, pending: Any, held: Any, book: Any, count: Any) -> None:  # noqa: ANN401
    """Drop the oldest ``count`` buffered messages; a snapshot must have reached them now."""
    total = sync[book, PENDING]
    if count == 0:
        return
    sync[book, FLOOR] = max(sync[book, FLOOR], pending[book, count - 1, P_LAST])
    rows = sync[book, HELD_ROWS]
    start = pending[book, count, P_START] if count < total else rows
    for i in range(count, total):
        for column in range(PENDING_CELLS):
            pending[book, i - count, column] = pending[book, i, column]
        pending[book, i - count, P_START] -= start
    for i in range(start, rows):
        held[book, i - start, 0] = held[book, i, 0]
        held[book, i - start, 1] = held[book, i, 1]
    sync[book, PENDING] = total - count
    sync[book, HELD_ROWS] = rows - start


@inlined
def _make_room(sync: Any, pending: Any, held: Any, book: Any, rows: Any) -> Any:  # noqa: ANN401
    """Drop messages, a quarter at a time, until one more with ``rows`` levels fits."""
    dropped = 0
    while sync[book, PENDING] > 0 and (
        sync[book, PENDING] == pending.shape[1] or sync[book, HELD_ROWS] + rows > held.shape[1]
    ):
        count = (sync[book, PENDING] + 3) // 4
        _forget(sync, pending, held, book, count)
        dropped += count
    return int(dropped)


@kernel(types.int64(MATRIX, CUBE, CUBE, types.int64, VECTOR, MATRIX, types.int64, types.int64))
def buffer_update(
    sync: NDArray[np.int64],
    pending: NDArray[np.int64],
    held: NDArray[np.int64],
    book: int,
    message: NDArray[np.int64],
    levels: NDArray[np.int64],
    bid_start: int,
    ask_start: int,
) -> int:
    """Keep an update until a snapshot comes; return how many messages had to go for it.

    Parameters
    ----------
    sync, pending, held, book
        The book.
    message
        int64[PENDING_CELLS]: its ids, stamps and numbers of bids and asks (P_START is ignored).
    levels, bid_start, ask_start
        Its levels.

    """
    bids, asks = message[P_BIDS], message[P_ASKS]
    last = message[P_LAST]
    sync[book, LAST_ID] = last
    sync[book, RECEIVED_NS] = message[P_RECEIVED_NS]
    dropped = _make_room(sync, pending, held, book, bids + asks)
    if bids + asks > held.shape[1]:  # It will never fit: the snapshot has to have seen it.
        sync[book, FLOOR] = max(sync[book, FLOOR], last)
        return int(dropped + 1)
    _store(sync, pending, held, book, message, levels, bid_start, ask_start)
    return int(dropped)


@kernel(types.void(MATRIX, types.int64, types.int64))
def lose(sync: NDArray[np.int64], book: int, state: int) -> None:
    """Make a book GAP or SYNCING: a new epoch, an empty buffer, a snapshot wanted at once."""
    sync[book, STATE] = state
    sync[book, EPOCH] += 1
    _stop_holding(sync, book)
    sync[book, BRIDGING] = sync[book, SILENT] = sync[book, RESET_ID] = 0
    sync[book, FLOOR] = 0
    sync[book, WANTED] = state
    if sync[book, ATTEMPTS] == 0:  # Else a snapshot was no good: the next one keeps its time.
        sync[book, NEXT_NS] = 0


@kernel(types.void(MATRIX, types.int64))
def fall_silent(sync: NDArray[np.int64], book: int) -> None:
    """Make a LIVE book STALE because its stream is silent, and want a snapshot that says more."""
    sync[book, STATE] = sync[book, WANTED] = STALE
    sync[book, SILENT] = 1
    sync[book, NEXT_NS] = 1  # At once.


@kernel(types.void(MATRIX, types.int64))
def revive(sync: NDArray[np.int64], book: int) -> None:
    """Make a STALE book LIVE: an update has followed, or a snapshot says that it missed nothing."""
    sync[book, STATE] = LIVE
    sync[book, SILENT] = sync[book, WANTED] = sync[book, ATTEMPTS] = 0


@kernel(types.void(MATRIX, types.int64))
def restart_buffer(sync: NDArray[np.int64], book: int) -> None:
    """Empty the buffer of a book that is not LIVE, because updates are missing behind it."""
    sync[book, PENDING] = sync[book, HELD_ROWS] = 0


@kernel(types.void(MATRIX, types.int64, types.int64, types.boolean))
def joined(sync: NDArray[np.int64], book: int, last: int, bridging: bool) -> None:
    """Make a book LIVE at id ``last``; ``bridging`` if no update has followed its snapshot.

    A snapshot is of the moment when it was made. Without a connection that carries what happens
    afterwards, or if updates beyond it are known, the book is STALE, and the first update that
    follows makes it LIVE.
    """
    good = sync[book, CARRIED] != 0 and last >= sync[book, FLOOR]
    sync[book, STATE] = LIVE if good else STALE
    sync[book, LAST_ID] = last
    sync[book, BRIDGING] = bridging
    _stop_holding(sync, book)
    sync[book, WANTED] = sync[book, ATTEMPTS] = sync[book, FLOOR] = 0
    sync[book, SILENT] = sync[book, RESET_ID] = 0


@kernel(types.void(MATRIX, types.int64, types.int64))
def refuse_snapshot(sync: NDArray[np.int64], book: int, now_ns: int) -> None:
    """Ask for another snapshot, soon: this one is older than the buffer."""
    wait_ns = OLD_RETRY_NS << min(sync[book, ATTEMPTS], _SHIFT_MAX)
    sync[book, NEXT_NS] = now_ns + min(wait_ns, RETRY_MAX_NS)
    if sync[book, WANTED] == 0:
        sync[book, WANTED] = sync[book, STATE]


def due_requests(sync: NDArray[np.int64], now_ns: int) -> NDArray[np.int64]:
    """Return the numbers of the books that need a snapshot request now."""
    wanted, fresh = sync[:, WANTED] != 0, sync[:, NEXT_NS] == 0
    flowing = (sync[:, ATTEMPTS] == 0) & (sync[:, PENDING] != 0)
    sync[wanted & fresh & ~flowing, NEXT_NS] = now_ns + QUIET_NS
    return np.flatnonzero(wanted & (flowing | (sync[:, NEXT_NS] <= now_ns)))


def requested(sync: NDArray[np.int64], book: int, now_ns: int) -> None:
    """Note that a snapshot was asked for: when to ask again if none comes."""
    wait_ns = RETRY_NS << min(int(sync[book, ATTEMPTS]), _SHIFT_MAX)
    sync[book, ATTEMPTS] += 1
    sync[book, NEXT_NS] = now_ns + min(wait_ns, RETRY_MAX_NS)
