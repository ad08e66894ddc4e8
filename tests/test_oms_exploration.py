"""Every sequence of events of one order, up to a length, through the reducer itself.

A kernel walks the tree of sequences depth first: it applies a report, checks what has to hold,
applies it once more (a repeated report changes nothing), and goes on from there. Where two
sequences lead to the same state, what follows is walked once: that leaves nothing out, because
what follows depends on nothing else. What has to hold is written here a second time, in integers
of the desk's perpetual, whose notional is ``price * quantity * 100``.
"""

from typing import NamedTuple

import numpy as np
import pytest
from numba import types

from engine.common import Side
from engine.jit import inlined, kernel
from feeds.scan import wrapping_mul
from feeds.symbols import MIX
from gateways.types import REPORT, Action, OrderStatus, Reason, ReportFlag, ReportKind
from oms.events import E_KIND, E_LAST_QUANTITY, E_TRADE_ID, EVENT_WORDS, unpack_report
from oms.reducer import apply_report
from oms.seen import first_seen
from oms.slots import LINK_WORDS, SLOT_MASK, ended
from oms.state import (
    C_LIVE,
    C_PUBLISHED_JOURNAL,
    C_REPLAY,
    CONTROL_WORDS,
    COUNTERS,
    N_ALARMS,
    O_ACCOUNT_ROW,
    O_AMEND,
    O_CANCEL,
    O_EXCHANGE_NS,
    O_FILLED,
    O_FILLS,
    O_FLAGS,
    O_HELD,
    O_HELD_MONEY,
    O_INFERRED,
    O_PENDING,
    O_PRICE,
    O_QUANTITY,
    O_SIDE,
    O_STATE,
    O_STRATEGY_ROW,
    O_TRADED,
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    P_FILLS,
    P_LONG_MONEY,
    P_MARK,
    P_OPEN_BUY,
    P_OPEN_SELL,
    P_ORDERS,
    P_OWNER_SCOPE,
    P_QUANTITY,
    P_SCOPE,
    P_SHORT_MONEY,
    POSITION_WORDS,
    S_FILLS,
    S_OPEN_MONEY,
    S_OPEN_ORDERS,
    S_UNKNOWNS,
    SCOPE_WORDS,
    SEEN_WAYS,
    STATE,
    WORDS,
)
from oms.types import OrderFlag, OrderState
from oms.value import COUNTED_UNKNOWN, LISTED
from tests.oms_invariants import PERPETUAL, CheckedDesk, plain

K, S = ReportKind, OrderState
LONGEST = 12
VISITED = 1 << 22
"""Cells for states that have been walked from."""
SCOPES = 5
MASK_BITS = 8
_FILLED, _LOST, _UNKNOWN = int(S.FILLED), int(S.LOST), int(S.UNKNOWN)
_PARTIAL, _FREED = int(S.PARTIAL), int(OrderFlag.FREED)
_OTHER = 0xC2B2AE3D27D4EB4F - (1 << 64)
_IDENTITY = (
    O_STATE,
    O_PENDING,
    O_FLAGS,
    O_PRICE,
    O_QUANTITY,
    O_FILLED,
    O_TRADED,
    O_INFERRED,
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    O_HELD,
    O_AMEND,
    O_CANCEL,
    O_EXCHANGE_NS,
)
"""What of an order decides what reports make of it."""

# ``places``: where in the state's arrays the order's things are.
SLOT, ORDER, ROW, OWN_ROW, SCOPE = 0, 1, 2, 3, 4
SEEN = SCOPE + SCOPES
TRADES = 8

# ``result``.
APPLIED, STATES, DEPTH, WHAT, PATH = 0, 1, 2, 3, 4

(
    FINE,
    SUMS,
    TRADED,
    POSITION,
    END,
    LIVE,
    LEDGER,
    MONEY,
    LISTS,
    FREED,
    FILLS,
    OVERFILL,
    REPEATED,
    NO_ROOM,
) = range(14)
"""What was wrong."""
FAULTS = (
    "fine",
    "traded, filled and made up do not fit",
    "traded is not the sum of the trades",
    "a position is not the sum of the trades",
    "an ended order's numbers",
    "a living order's numbers",
    "what positions and scopes count",
    "what the order holds in money",
    "the list of open orders",
    "the mark of a free slot",
    "the number of trades",
    "more filled than ordered, without an alarm",
    "a repeated report changed something",
    "no room for more states",
)


# -- copies of what one order can change -----------------------------------------------------------
@inlined
def _copy(words, at, count, kept, to, back):
    for i in range(count):
        if back:
            words[at + i] = kept[to + i]
        else:
            kept[to + i] = words[at + i]
    return to + count


@inlined
def _copy_all(state, places, kept, to, back):
    """Copy everything that reports of the order change to ``kept``, or back."""
    slot = places[SLOT]
    to = _copy(state.orders, places[ORDER], ORDER_WORDS, kept, to, back)
    for i in range(2):
        row = places[ROW + i]
        to = _copy(state.positions, row * POSITION_WORDS, POSITION_WORDS, kept, to, back)
        to = _copy(state.heads, row * 4, 4, kept, to, back)
    for i in range(SCOPES):
        scope = places[SCOPE + i]
        to = _copy(state.scopes, scope * SCOPE_WORDS, SCOPE_WORDS, kept, to, back)
    to = _copy(state.links, LINK_WORDS * slot, LINK_WORDS, kept, to, back)
    to = _copy(state.control, 0, CONTROL_WORDS, kept, to, back)
    to = _copy(state.counts, 0, len(COUNTERS), kept, to, back)
    for i in range(TRADES):
        to = _copy(state.seen, places[SEEN + i], SEEN_WAYS, kept, to, back)
    return to


KEPT_WORDS = (
    ORDER_WORDS
    + 2 * (POSITION_WORDS + 4)
    + SCOPES * SCOPE_WORDS
    + LINK_WORDS
    + CONTROL_WORDS
    + len(COUNTERS)
    + TRADES * SEEN_WAYS
)


# -- what has to hold ------------------------------------------------------------------------------
@inlined
def _identity(state, places, trades):
    """Return a hash of all that decides what reports make of the order."""
    orders, at, key = state.orders, places[ORDER], trades + 1
    for word in _IDENTITY:
        key = wrapping_mul(key ^ orders[at + word], MIX)
        key ^= (key >> 29) & 0x7FFFFFFFF
    key = wrapping_mul(key, _OTHER)
    return key if key else 1


@inlined
def _fault_of_order(state, places, traded, fills):
    """Return what is wrong with the order itself."""
    orders, at = state.orders, places[ORDER]
    status, filled = orders[at + O_STATE], orders[at + O_FILLED]
    quantity, worst = orders[at + O_QUANTITY], orders[at + O_WORST_QUANTITY]
    held, flags = orders[at + O_HELD], orders[at + O_FLAGS]
    inferred = orders[at + O_INFERRED]
    if not 0 <= inferred <= orders[at + O_TRADED] <= filled:
        return SUMS
    if orders[at + O_TRADED] != traded:
        return TRADED
    if orders[at + O_FILLS] != fills:
        return FILLS
    over = ended(status)
    if over:
        if orders[at + O_PENDING] or held != filled - traded:
            return END
        if (status == _FILLED) != (filled >= quantity):
            return END
    else:
        if filled >= quantity or worst < quantity or held != worst - traded:
            return LIVE
        if filled and status != _PARTIAL and status != _UNKNOWN and status != _LOST:
            return LIVE
    if ((flags & LISTED) != 0) == over:
        return LEDGER
    if ((flags & COUNTED_UNKNOWN) != 0) != (status in (_UNKNOWN, _LOST)):
        return LEDGER
    if ((flags & _FREED) != 0) != (over and held == 0):
        return FREED
    if orders[at + O_HELD_MONEY] != orders[at + O_WORST_PRICE] * held * 100:
        return MONEY
    if filled > max(quantity, worst) and state.counts[state.counter[N_ALARMS]] == 0:
        return OVERFILL
    return FINE


@inlined
def _fault_of_ledgers(state, places, traded, fills):
    """Return what is wrong with what positions, scopes and lists say of the order."""
    orders, positions, scopes = state.orders, state.positions, state.scopes
    at, slot = places[ORDER], places[SLOT]
    side, held = orders[at + O_SIDE], orders[at + O_HELD]
    live = int((orders[at + O_FLAGS] & LISTED) != 0)
    unknown = int((orders[at + O_FLAGS] & COUNTED_UNKNOWN) != 0)
    buys, sells = (held, 0) if side > 0 else (0, held)
    for i in range(2):
        row = places[ROW + i] * POSITION_WORDS
        quantity, mark = positions[row + P_QUANTITY], positions[row + P_MARK]
        if quantity != side * traded or positions[row + P_FILLS] != fills:
            return POSITION
        if positions[row + P_OPEN_BUY] != buys or positions[row + P_OPEN_SELL] != sells:
            return LEDGER
        if positions[row + P_ORDERS] != live:
            return LEDGER
        if positions[row + P_LONG_MONEY] != mark * (quantity + buys) * 100:
            return MONEY
        if positions[row + P_SHORT_MONEY] != mark * (quantity - sells) * 100:
            return MONEY
    for i in range(SCOPES):
        scope = places[SCOPE + i] * SCOPE_WORDS
        if scopes[scope + S_OPEN_ORDERS] != live or scopes[scope + S_UNKNOWNS] != unknown:
            return LEDGER
        if scopes[scope + S_OPEN_MONEY] != orders[at + O_HELD_MONEY]:
            return MONEY
        if scopes[scope + S_FILLS] != fills:
            return FILLS
    head = places[ROW] * 4
    if state.heads[head + (0 if side > 0 else 1)] != live * (slot + 1):
        return LISTS
    if state.heads[head + (1 if side > 0 else 0)] or state.control[C_LIVE] != live:
        return LISTS
    return FINE


# -- the walk --------------------------------------------------------------------------------------
@inlined
def _is_new(visited, left, key, remaining):
    """Return whether a state has not been walked from for so many more events; note that it is.

    Returns 2 if there is no room for it.
    """
    cell = (key >> 20) & (VISITED - 1)
    for _ in range(1 << 12):
        if visited[cell] == 0:
            visited[cell], left[cell] = key, remaining
            return 1
        if visited[cell] == key:
            if left[cell] >= remaining:
                return 0
            left[cell] = remaining
            return 1
        cell = (cell + 1) & (VISITED - 1)
    return 2


@inlined
def _apply(state, events, number):
    for word in range(EVENT_WORDS):
        state.event[word] = events[number * EVENT_WORDS + word]
    apply_report(state)


@kernel(types.int64(STATE, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, types.int64))
def explore(state, events, trades, places, kept, sums, after, visited, left, longest):
    """Walk all sequences up to a length; return what is wrong, FINE if nothing is.

    ``trades`` has three words an event: bit of the trade (0: none), quantity, whether it is made
    up. ``sums`` has five words a depth: bits told, quantity, trades, what is made up and not yet
    covered, and whether anything was made up. ``after`` is the number of the next event at each
    depth, and, behind that, the result.
    """
    count, depth = len(events) // EVENT_WORDS, 0
    result = LONGEST + 1
    _copy_all(state, places, kept, 0, False)
    after[0] = 0
    while depth >= 0:
        number = after[depth]
        if number == count or depth == longest:
            depth -= 1
            continue
        after[depth] += 1
        _copy_all(state, places, kept, depth * KEPT_WORDS, True)
        now, then = depth * 5, depth * 5 + 5
        for word in range(5):
            sums[then + word] = sums[now + word]
        bit, quantity = trades[3 * number], trades[3 * number + 1]
        if bit and not sums[then] & bit:
            sums[then] |= bit
            if trades[3 * number + 2]:
                sums[then + 3] += quantity
            else:
                covered = min(quantity, sums[then + 3])
                sums[then + 3] -= covered
                sums[then + 1] += quantity
                sums[then + 2] += 1
        _apply(state, events, number)
        after[result + APPLIED] += 1
        traded = sums[then + 1] + sums[then + 3]
        fills = sums[then + 2] + int(sums[then + 3] > 0)
        fault = _fault_of_order(state, places, traded, fills)
        if fault == FINE:
            fault = _fault_of_ledgers(state, places, traded, fills)
        key = _identity(state, places, sums[then])
        new = _is_new(visited, left, key, longest - depth - 1) if fault == FINE else 0
        if new == 2:
            fault = NO_ROOM
        if new == 1 and fault == FINE:
            after[result + STATES] += 1
            _copy_all(state, places, kept, (depth + 1) * KEPT_WORDS, False)
            _apply(state, events, number)
            if _identity(state, places, sums[then]) != key:
                fault = REPEATED
            if fault == FINE:
                fault = _fault_of_ledgers(state, places, traded, fills)
                fault = REPEATED if fault != FINE else FINE
        if fault != FINE:
            after[result + DEPTH] = depth + 1
            return fault
        if new == 1:
            depth += 1
            after[depth] = 0
    return FINE


class Walk(NamedTuple):
    """What a walk came to."""

    fault: str
    path: list
    applied: int
    states: int


def report_words(desk, kind, at=0, of=None, **fields):
    """Return a report of order 1 as the reducer sees it."""
    order = desk.order(1)
    record = np.zeros(1, REPORT.dtype)
    record["kind"], record["client_id"] = kind, order["client_id"]
    record["instrument"] = order["instrument"]
    record["exchange_ns"] = CheckedDesk.START + at * 1_000_000 if at else 0
    if of is not None:
        asked = desk.requests_of(1, of)
        record["action"], record["request_id"] = of, asked[-1] if asked else 0
    for name, value in fields.items():
        record[name] = value
    event = np.zeros(EVENT_WORDS, np.int64)
    words = record.view(np.int64)
    event[: len(words)] = words
    there = desk.state.there
    plain(unpack_report)(event, there, len(there) // 8, 0)
    return event


def trade_of(event):
    """Return bit, quantity and whether it is made up of the trade that a report tells."""
    if event[E_KIND] != K.FILL:
        return 0, 0, 0
    record = event[: REPORT.dtype.itemsize // 8].view(REPORT.dtype)[0]
    made_up = bool(record["flags"] & ReportFlag.INFERRED)
    return 1 << (int(record["trade_id"]) - 1), int(record["last_quantity"]), int(made_up)


def places_of(desk, events):
    """Return where the things of order 1 are."""
    state, order = desk.state, desk.order(1)
    slot = int(order["client_id"]) & SLOT_MASK
    places = np.zeros(SEEN + TRADES, np.int64)
    places[SLOT], places[ORDER] = slot, slot * ORDER_WORDS
    rows = state.orders[slot * ORDER_WORDS :][[O_ACCOUNT_ROW, O_STRATEGY_ROW]]
    places[ROW : ROW + 2] = rows
    scopes = [0]
    for row in rows:
        at = int(row) * POSITION_WORDS
        scopes += [state.positions[at + P_SCOPE], state.positions[at + P_OWNER_SCOPE]]
    places[SCOPE : SCOPE + SCOPES] = scopes
    seen = np.zeros_like(state.seen)
    for event in events:
        if event[E_KIND] == K.FILL:
            first_seen(seen, 0, PERPETUAL, int(event[E_TRADE_ID]), int(order["side"]))
    sets = np.flatnonzero(seen) // SEEN_WAYS * SEEN_WAYS
    assert len(sets) <= TRADES
    places[SEEN : SEEN + len(sets)] = sets
    places[SEEN + len(sets) :] = sets[0]
    return places


def walk(desk, events, longest):
    """Walk all sequences of some events (by name) of the desk's order 1."""
    state, names = desk.state, list(events)
    reports = list(events.values())
    places = places_of(desk, reports)
    state.control[C_REPLAY], state.control[C_PUBLISHED_JOURNAL] = 1, 1 << 62
    state.counts[:] = 0
    trades = np.array([trade_of(each) for each in reports], np.int64).ravel()
    kept = np.zeros((LONGEST + 2) * KEPT_WORDS, np.int64)
    sums, after = np.zeros(5 * (LONGEST + 2), np.int64), np.zeros(LONGEST + 1 + PATH, np.int64)
    visited, left = np.zeros(VISITED, np.int64), np.zeros(VISITED, np.int64)
    fault = explore(
        state,
        np.concatenate(reports),
        trades,
        places,
        kept,
        sums,
        after,
        visited,
        left,
        longest,
    )
    result = after[LONGEST + 1 :]
    path = [names[after[i] - 1] for i in range(result[DEPTH])]
    return Walk(FAULTS[fault], path, int(result[APPLIED]), int(result[STATES]))


# -- what can come ---------------------------------------------------------------------------------
ASKED = ReportFlag.RECONCILED
STATUS = OrderStatus


def basics(desk):
    """Return what can be said of order 1, which has not been amended."""
    new, cancel, price = Action.NEW, Action.CANCEL, int(desk.order(1)["price"])
    told = {"quantity": 10, "price": price}
    first = {"last_quantity": 3, "last_price": price, "trade_id": 1, "filled": 3}
    rest = {"last_quantity": 7, "last_price": price + 10, "trade_id": 2, "filled": 10}
    more = {"last_quantity": 2, "last_price": price, "trade_id": 3}
    guess = {"last_quantity": 4, "last_price": price, "trade_id": 4, "filled": 4}
    return {
        "sent": (K.SENT, 0, new, {}),
        "not sent": (K.NOT_SENT, 0, new, {}),
        "accepted": (K.ACCEPTED, 1, new, {}),
        "open": (K.OPEN, 1, None, told),
        "triggered": (K.TRIGGERED, 1, None, {}),
        "first fill": (K.FILL, 2, None, {"quantity": 10} | first),
        "the rest": (K.FILL, 3, None, {"quantity": 10} | rest),
        "one fill more": (K.FILL, 4, None, more),
        "made up": (K.FILL, 4, None, {"flags": ReportFlag.INFERRED | ASKED} | guess),
        "canceled": (K.CANCELED, 5, None, told),
        "canceled after a fill": (K.CANCELED, 5, None, {"filled": 3} | told),
        "expired": (K.EXPIRED, 5, None, {"filled": 3} | told),
        "rejected": (K.REJECTED, 1, new, {"reason": Reason.OTHER} | told),
        "unknown": (K.UNKNOWN, 0, new, {}),
        "cancel unknown": (K.UNKNOWN, 0, cancel, {}),
        "not found": (K.NOT_FOUND, 0, new, {"flags": ASKED}),
        "cancel accepted": (K.CANCEL_ACCEPTED, 0, cancel, {}),
        "cancel rejected": (K.CANCEL_REJECTED, 0, cancel, {}),
        "status open": (K.STATUS, 2, None, {"status": STATUS.OPEN} | told),
        "status partial": (
            K.STATUS,
            3,
            None,
            {"status": STATUS.PARTIALLY_FILLED, "filled": 3} | told,
        ),
        "status filled": (K.STATUS, 6, None, {"status": STATUS.FILLED, "filled": 10} | told),
        "status canceled": (K.STATUS, 6, None, {"status": STATUS.CANCELED, "filled": 3} | told),
    }


def amended(desk, total):
    """Return what can be said of order 1 if it is amended to a total."""
    amend, price = Action.AMEND, int(desk.order(1)["price"])
    told = {"quantity": total, "price": price + 20}
    fill = {"last_quantity": 1, "last_price": price + 20, "trade_id": 5, "quantity": total}
    return {
        "amended": (K.AMENDED, 4, amend, told),
        "amended, nobody knows by whom": (K.AMENDED, 4, None, told),
        "amend accepted": (K.ACCEPTED, 0, amend, {}),
        "amend rejected": (K.AMEND_REJECTED, 0, amend, {}),
        "amend unknown": (K.UNKNOWN, 0, amend, {}),
        "amend not sent": (K.NOT_SENT, 0, amend, {}),
        "fill after the amendment": (K.FILL, 5, None, fill),
        "status amended": (K.STATUS, 5, None, {"status": STATUS.OPEN, "flags": ASKED} | told),
    }


def explored(asked, side, longest, *, more=False):
    """Walk the sequences of an order of which something has been asked."""
    desk = CheckedDesk()
    desk.new(1, side=side)
    totals = {"amend up": 20, "amend down": 5}
    total = next((totals[what] for what in asked if what in totals), 10)
    if total != 10:
        desk.amend(1, quantity=total)
    if "cancel" in asked:
        desk.cancel(1)
    desk.checking = False
    said = basics(desk)
    if total != 10 or more:
        said |= amended(desk, total)
    if more:
        said |= {f"{name}, to 12": each for name, each in amended(desk, 12).items()}
    events = {
        name: report_words(desk, kind, at, of, **fields)
        for name, (kind, at, of, fields) in said.items()
    }
    return walk(desk, events, longest)


ASKED_FOR = [(), ("cancel",), ("amend up",), ("amend down",), ("amend up", "cancel")]


@pytest.mark.parametrize("asked", ASKED_FOR, ids=lambda asked: " and ".join(asked) or "nothing")
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL], ids=("buy", "sell"))
def test_every_short_sequence_of_events_keeps_all_ledgers(asked, side):
    found = explored(asked, side, 7)
    assert (found.fault, found.path) == (FAULTS[FINE], [])
    assert found.states > 500


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKED_FOR, ids=lambda asked: " and ".join(asked) or "nothing")
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL], ids=("buy", "sell"))
def test_every_long_sequence_of_events_keeps_all_ledgers(asked, side):
    found = explored(asked, side, LONGEST, more=True)
    assert (found.fault, found.path) == (FAULTS[FINE], [])


def test_the_walk_finds_what_is_wrong():
    """A trade of less than nothing is not booked, but counts here."""
    desk = CheckedDesk()
    desk.new(1)
    desk.checking = False
    kind, at, of, fields = basics(desk)["the rest"]
    events = {"the rest": report_words(desk, kind, at, of, **fields)}
    events["the rest"][E_LAST_QUANTITY] = -7
    found = walk(desk, events, 3)
    assert (found.fault, found.path) == (FAULTS[FILLS], ["the rest"])
