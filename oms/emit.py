"""What the loop writes: journal records, requests to gateways, updates to strategies.

A journal record is ``JOURNAL_HEAD`` words, the body, and a checksum over both::

    word 0   MAGIC << 48 | kind << 40 | owner << 32 | words, this one and the checksum included
    word 1   sequence, from 1, without a gap
    word 2   Unix ns
    word 3   the sequence of what it records in its own ring; 0 if it comes from none
    last     checksum of all words before it

``owner`` is the account of a REPORT, the strategy of a DECISION. Nothing else marks the end: a
record whose checksum is wrong, or whose sequence is not the next one, was never finished. What the
process has written into the mapped file survives its death.
"""

from enum import IntEnum

from engine.atomics import realtime_ns
from engine.jit import inlined
from engine.ring import begin, commit
from feeds.scan import wrapping_mul
from oms.state import (
    C_JOURNAL,
    C_JOURNAL_AT,
    C_NOW,
    C_PUBLISHED_JOURNAL,
    C_REPLAY,
    C_UPDATES,
    N_ALARMS,
    N_UPDATES,
    NONE,
    O_ACCOUNT,
    O_CLIENT,
    O_FILLED,
    O_FLAGS,
    O_INSTRUMENT,
    O_NUMBER,
    O_PENDING,
    O_PRICE,
    O_QUANTITY,
    O_SIDE,
    O_STATE,
    O_STRATEGY,
    O_STRATEGY_ROW,
    ORDER_WORDS,
    P_QUANTITY,
    POSITION_WORDS,
    UPDATE_WORDS,
    State,
    Words,
)
from oms.types import UpdateKind

MAGIC = 0x5449  # "TI"
JOURNAL_HEAD = 4
JOURNAL_ROOM = 1024
"""Words that an event may take at most, with all that it sets off: less, and nothing is begun."""
_SEED, _PRIME = 0x27D4EB2F165667C5, 0x9E3779B97F4A7C15 - (1 << 64)
_ALARM, _STATE = int(UpdateKind.ALARM), int(UpdateKind.STATE)

# Words of an UPDATE behind its numbers: see ``pack_update``.
(
    U_EXCHANGE_NS,
    U_RECEIVED_NS,
    U_PUBLISHED_NS,
    U_JOURNAL,
    U_NUMBER,
    U_CLIENT,
    U_PRICE,
    U_QUANTITY,
    U_FILLED,
    U_LAST_PRICE,
    U_LAST_QUANTITY,
    U_TRADE_ID,
    U_FEE,
    U_POSITION,
    U_VENUE_CODE,
    U_OWNERS,
    U_WHERE,
    U_WHAT,
    U_ASSET,
) = range(1, 20)
_LOW = 0xFFFFFFFF


class Record(IntEnum):
    """Kinds of journal records."""

    DECISION = 1
    """An intent (INTENT_WORDS) and what was decided (``oms.decide``)."""
    REPORT = 2
    """A gateway's report, as it came."""
    COMMAND = 3
    """A COMMAND, as it came or as the OMS made it."""
    START = 4
    """An OMS has started, on these rings (``oms.identity``)."""
    INSTRUMENT = 5
    """What a row of md.instruments was at the time (``oms.identity``)."""
    NAME = 6
    """The name of an account or a strategy, and its number."""
    CONFIGURED = 7
    """A limit of the configuration: four words of scope, its place, its value."""


@inlined
def checksum(words: Words, start: int, count: int) -> int:
    """Return a 64-bit checksum of ``count`` words."""
    total = _SEED ^ count
    for i in range(count):
        total = wrapping_mul(total ^ words[start + i], _PRIME)
        total ^= (total >> 31) & 0x1FFFFFFFF
    return total


@inlined
def append(state: State, kind: int, owner: int, source: int, body: Words, count: int) -> int:
    """Write a journal record with ``body[:count]``; return its sequence.

    In a replay it only returns the sequence of the record that is being replayed.
    """
    control = state.control
    if control[C_REPLAY]:
        return int(control[C_JOURNAL])
    journal, at = state.journal, control[C_JOURNAL_AT]
    sequence = control[C_JOURNAL] + 1
    words = JOURNAL_HEAD + count + 1
    journal[at] = MAGIC << 48 | kind << 40 | owner << 32 | words
    journal[at + 1], journal[at + 2], journal[at + 3] = sequence, control[C_NOW], source
    for i in range(count):
        journal[at + JOURNAL_HEAD + i] = body[i]
    journal[at + words - 1] = checksum(journal, at, words - 1)
    control[C_JOURNAL], control[C_JOURNAL_AT] = sequence, at + words
    return int(sequence)


@inlined
def silent(state: State) -> bool:
    """Return whether updates of the record at hand were told before we started.

    Those of the last record that was told of may have been cut short: they are told again.
    """
    control = state.control
    return bool(control[C_REPLAY] != 0 and control[C_JOURNAL] < control[C_PUBLISHED_JOURNAL])


@inlined
def begin_update(state: State) -> int:
    """Begin the next update; return the index of its first word. Its other words are zero."""
    control, updates = state.control, state.updates
    sequence = control[C_UPDATES] + 1
    at = begin(updates, UPDATE_WORDS, len(updates) // UPDATE_WORDS, sequence)
    for word in range(1, UPDATE_WORDS):
        updates[at + word] = 0
    updates[at + U_JOURNAL] = control[C_JOURNAL]
    return at


@inlined
def end_update(state: State, at: int) -> None:
    """Publish the update that was begun."""
    control, updates = state.control, state.updates
    updates[at + U_PUBLISHED_NS] = control[C_NOW] if control[C_REPLAY] else realtime_ns()
    control[C_UPDATES] += 1
    commit(updates, at, control[C_UPDATES])
    state.counts[state.counter[N_UPDATES]] += 1


@inlined
def put_owners(updates: Words, at: int, strategy: int, account: int) -> None:
    """Enter whose update it is."""
    updates[at + U_OWNERS] = (account << 32) | (strategy & _LOW)


@inlined
def put_where(updates: Words, at: int, instrument: int, reason: int) -> None:
    """Enter the instrument and the reason."""
    updates[at + U_WHERE] = (reason << 32) | (instrument & _LOW)


@inlined
def put_what(
    updates: Words,
    at: int,
    kind: int,
    status: int,
    pending: int,
    side: int,
    action: int,
    flags: int,
) -> None:
    """Enter the small numbers: see UPDATE from ``kind`` to ``flags``; liquidity and decimals 0."""
    small = kind | status << 8 | pending << 16 | (side & 0xFF) << 24 | action << 32
    updates[at + U_WHAT] = small | (flags & 0x7F) << 56


@inlined
def begin_order_update(state: State, slot: int, kind: int, reason: int, action: int) -> int:
    """Begin an update about an order, with all that its row says; return where."""
    orders, updates = state.orders, state.updates
    o = slot * ORDER_WORDS
    at = begin_update(state)
    updates[at + U_NUMBER], updates[at + U_CLIENT] = orders[o + O_NUMBER], orders[o + O_CLIENT]
    updates[at + U_PRICE], updates[at + U_QUANTITY] = orders[o + O_PRICE], orders[o + O_QUANTITY]
    updates[at + U_FILLED] = orders[o + O_FILLED]
    row = orders[o + O_STRATEGY_ROW]
    if row != NONE:
        updates[at + U_POSITION] = state.positions[row * POSITION_WORDS + P_QUANTITY]
    put_owners(updates, at, orders[o + O_STRATEGY], orders[o + O_ACCOUNT])
    put_where(updates, at, orders[o + O_INSTRUMENT], reason)
    put_what(
        updates,
        at,
        kind,
        orders[o + O_STATE],
        orders[o + O_PENDING],
        orders[o + O_SIDE],
        action,
        orders[o + O_FLAGS],
    )
    return at


@inlined
def tell_order(state: State, slot: int, kind: int, reason: int, action: int) -> None:
    """Publish an update about an order."""
    if not silent(state):
        end_update(state, begin_order_update(state, slot, kind, reason, action))


@inlined
def alarm(state: State, account: int, instrument: int, client_id: int, reason: int) -> None:
    """Publish that something happened that should not."""
    state.counts[state.counter[N_ALARMS]] += 1
    if silent(state):
        return
    at = begin_update(state)
    state.updates[at + U_CLIENT] = client_id
    put_owners(state.updates, at, 0, account)
    put_where(state.updates, at, instrument, reason)
    put_what(state.updates, at, _ALARM, 0, 0, 0, 0, 0)
    end_update(state, at)
