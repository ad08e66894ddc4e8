"""What a start does between the replay of the journal and the first intent.

The journal says what was decided; the rings, which outlive the process, say what of it was passed
on. A request is written after its decision is in the journal, with a number that rises: what the
ring does not have was never asked of the gateway, and is told as not sent. If the ring is another
one (the machine was started anew, or somebody has removed it), nothing is certain, and the venue is
asked. Nothing is ever sent a second time.
"""

from numba import types

from engine.atomics import realtime_ns
from engine.jit import inlined, kernel
from gateways.types import Action, Reason, ReportKind
from oms.decide import aim_cancel, put_query
from oms.decisions import clear_decision
from oms.emit import JOURNAL_ROOM, Record, append
from oms.events import (
    E_ACCOUNT,
    E_ACTION,
    E_CLIENT,
    E_EXCHANGE_NS,
    E_INSTRUMENT,
    E_KIND,
    E_POSITION_SIDE,
    E_RECEIVED_NS,
    E_REQUEST,
    E_ROW_THERE,
    E_SIDE,
    EVENT_WORDS,
)
from oms.loop import REQUEST_RINGS, Rings, settle
from oms.reducer import apply_report
from oms.state import (
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    ACCOUNT_WORDS,
    ALL_SLOTS,
    C_FREE_HEAD,
    C_FREE_TAIL,
    C_FRESH,
    C_HIGH_SLOT,
    C_JOURNAL_AT,
    C_NOW,
    C_SWEEP_COUNT,
    I_ROW_THERE,
    INSTRUMENT_WORDS,
    O_ACCOUNT,
    O_AMEND,
    O_CANCEL,
    O_CLIENT,
    O_FLAGS,
    O_INSTRUMENT,
    O_PENDING,
    O_POSITION_SIDE,
    O_REQUEST,
    O_SIDE,
    O_STATE,
    ORDER_WORDS,
    REPORT_WORDS,
    STATE,
    SWEEP_WORDS,
    W_SYNC,
    WORDS,
    State,
    Words,
)
from oms.types import OrderFlag, OrderState, Pending
from oms.value import LISTED

_REPORT = int(Record.REPORT)
_NOT_SENT = int(ReportKind.NOT_SENT)
_NEW, _AMEND = int(Action.NEW), int(Action.AMEND)
_DISCONNECTED = int(Reason.DISCONNECTED)
_S_NEW, _S_FREE = int(OrderState.NEW), int(OrderState.FREE)
_P_CANCEL, _P_AMEND = int(Pending.CANCEL), int(Pending.AMEND)
_FREED = int(OrderFlag.FREED)
_WHERE, _FLAGS = 16, 17


@inlined
def not_sent(state: State, slot: int, action: int, request: int) -> None:
    """Tell of a request that it never left us, as a gateway would."""
    event, orders, at = state.event, state.orders, slot * ORDER_WORDS
    for word in range(EVENT_WORDS):
        event[word] = 0
    number = orders[at + O_INSTRUMENT]
    there = state.instruments[number * INSTRUMENT_WORDS + I_ROW_THERE]
    now = realtime_ns()
    state.control[C_NOW] = now
    event[E_EXCHANGE_NS], event[E_RECEIVED_NS] = 0, now
    event[E_REQUEST], event[E_CLIENT] = request, orders[at + O_CLIENT]
    event[_WHERE] = there & 0xFFFFFFFF
    event[_FLAGS] = _DISCONNECTED << 32 | _NOT_SENT << 48 | action << 56
    append(state, _REPORT, orders[at + O_ACCOUNT], 0, event, REPORT_WORDS)
    event[E_KIND], event[E_ACTION] = _NOT_SENT, action
    event[E_SIDE], event[E_POSITION_SIDE] = orders[at + O_SIDE], orders[at + O_POSITION_SIDE]
    event[E_ACCOUNT], event[E_INSTRUMENT] = orders[at + O_ACCOUNT], number
    event[E_ROW_THERE] = there
    apply_report(state)


@inlined
def recover_order(state: State, slot: int, last: int, same_ring: bool, requests: Rings) -> None:
    """Settle what of an order's requests was never passed on, or ask where that is not certain."""
    orders, at = state.orders, slot * ORDER_WORDS
    account = orders[at + O_ACCOUNT]
    pending = orders[at + O_PENDING]
    waits = orders[at + O_STATE] == _S_NEW
    if not same_ring:
        if waits or pending:
            put_query(state, requests[account], slot)
        return
    if waits and orders[at + O_REQUEST] > last:
        not_sent(state, slot, _NEW, orders[at + O_REQUEST])
        return
    if pending & _P_AMEND and orders[at + O_AMEND] > last:
        not_sent(state, slot, _AMEND, orders[at + O_AMEND])
    if pending & _P_CANCEL and orders[at + O_CANCEL] > last:
        clear_decision(state)
        aim_cancel(state, slot)
        settle(state, 0, requests)


@kernel(types.int64(STATE, REQUEST_RINGS, types.int64, types.int64, types.boolean, types.int64))
def recover_account(
    state: State, requests: Rings, account: int, last: int, same_ring: bool, slot: int
) -> int:
    """Settle an account's orders from ``slot`` on; ``last`` is the newest request in its ring.

    Returns the slot to go on with when there is room in journal and ring again; ALL_SLOTS if done.
    """
    state.control[C_NOW] = realtime_ns()
    at = account * ACCOUNT_WORDS
    while slot < ALL_SLOTS:
        if state.control[C_JOURNAL_AT] + JOURNAL_ROOM > len(state.journal):
            return slot
        if state.accounts[at + A_REQUESTS_NEWEST] >= state.accounts[at + A_REQUESTS_ROOM]:
            return slot
        order = slot * ORDER_WORDS
        listed = state.orders[order + O_FLAGS] & LISTED
        if listed and state.orders[order + O_ACCOUNT] == account:
            recover_order(state, slot, last, same_ring, requests)
        slot += 1
    return slot


@kernel(types.void(STATE))
def rebuild(state: State) -> None:
    """Put in order after a replay what does not follow from the records: slots, sweeps.

    Ended orders' slots are to be used again, the longest ended first as far as their numbers tell;
    a reconciliation's sweep is dropped, because another one follows.
    """
    control, orders = state.control, state.orders
    control[C_FRESH] = control[C_HIGH_SLOT]
    control[C_FREE_HEAD] = control[C_FREE_TAIL] = 0
    for slot in range(control[C_HIGH_SLOT]):
        at = slot * ORDER_WORDS
        if orders[at + O_STATE] == _S_FREE:
            orders[at + O_FLAGS] = _FREED
        if orders[at + O_FLAGS] & _FREED:
            state.free[control[C_FREE_TAIL]] = slot
            control[C_FREE_TAIL] += 1
    kept = 0
    for i in range(control[C_SWEEP_COUNT]):
        at = i * SWEEP_WORDS
        if state.sweeps[at + W_SYNC] == 0:
            for word in range(SWEEP_WORDS):
                state.sweeps[kept * SWEEP_WORDS + word] = state.sweeps[at + word]
            kept += 1
    control[C_SWEEP_COUNT] = kept


@kernel(types.int64(STATE, types.int64, types.int64, WORDS, types.int64))
def note(state: State, kind: int, owner: int, body: Words, count: int) -> int:
    """Write a journal record that changes nothing in the loop; return its sequence."""
    state.control[C_NOW] = realtime_ns()
    return append(state, kind, owner, 0, body, count)
