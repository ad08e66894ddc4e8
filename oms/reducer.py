"""What a gateway's report means: the one function for live events, reconciliation and replay.

``apply_report`` takes the report in ``State.event``. It is idempotent: a report that was applied
already changes nothing. It never looks at a clock, at a ring or at the market: given the same
records in the same order it makes the same state, which is what a replay of the journal relies on.
"""

from engine.jit import inlined
from engine.table import row_begin, row_commit
from engine.wide import mul_div
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind
from oms.accounts import apply_account
from oms.emit import (
    U_ASSET,
    U_EXCHANGE_NS,
    U_FEE,
    U_LAST_PRICE,
    U_LAST_QUANTITY,
    U_RECEIVED_NS,
    U_TRADE_ID,
    U_VENUE_CODE,
    U_WHAT,
    alarm,
    begin_order_update,
    end_update,
    silent,
)
from oms.events import (
    E_ACCOUNT,
    E_ACTION,
    E_ASSET_WORD,
    E_CLIENT,
    E_DECIMALS,
    E_EXCHANGE_NS,
    E_FEE,
    E_FILLED,
    E_FLAGS,
    E_INSTRUMENT,
    E_KIND,
    E_LAST_PRICE,
    E_LAST_QUANTITY,
    E_LIQUIDITY,
    E_ORDER_TYPE,
    E_POSITION_SIDE,
    E_PRICE,
    E_QUANTITY,
    E_REASON,
    E_RECEIVED_NS,
    E_REQUEST,
    E_SIDE,
    E_STATUS,
    E_STOP,
    E_TIME,
    E_TRADE_ID,
    E_VENUE_CODE,
    fee_asset,
    fee_money,
    to_money,
)
from oms.matrix import LATE, LIVE_AGAIN, MATRIX, STAY, Event
from oms.places import position_row
from oms.seen import first_seen
from oms.slots import (
    add_number,
    clear_slot,
    ended,
    lead,
    slot_of,
    take_foreign,
)
from oms.state import (
    A_SYNC,
    ACCOUNT_WORDS,
    C_NOW,
    I_BASE,
    I_KIND,
    I_QUOTE,
    INSTRUMENT_WORDS,
    N_ADOPTED,
    N_FILLS,
    N_FILLS_REPEATED,
    N_REPEATED,
    N_UNMAPPED,
    NONE,
    O_ACCOUNT,
    O_ACCOUNT_ROW,
    O_AMEND,
    O_CANCEL,
    O_CLIENT,
    O_CREATED_NS,
    O_EXCHANGE_NS,
    O_FILLED,
    O_FILLS,
    O_FLAGS,
    O_INFERRED,
    O_INFERRED_PRICE,
    O_INSTRUMENT,
    O_NUMBER,
    O_PENDING,
    O_POSITION_SIDE,
    O_PRICE,
    O_QUANTITY,
    O_REASON,
    O_REQUEST,
    O_SENT_NS,
    O_SIDE,
    O_STATE,
    O_STOP,
    O_STRATEGY,
    O_STRATEGY_ROW,
    O_SYNC,
    O_TIME,
    O_TRADED,
    O_TYPE,
    O_UPDATED_NS,
    O_VALUE,
    O_VENUE_CODE,
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    P_OWNER_SCOPE,
    P_SCOPE,
    POSITION_WORDS,
    S_FILLS,
    S_REJECTS,
    SCOPE_WORDS,
    State,
)
from oms.types import Alarm, OrderFlag, OrderState, Pending, ScopeKind, UpdateKind
from oms.value import (
    SPOT,
    book_trade,
    change_balance,
    hold,
    scaled_quantity,
    take_back_trade,
    value_of,
)

_SENT, _NOT_SENT = int(ReportKind.SENT), int(ReportKind.NOT_SENT)
_ACCEPTED, _OPEN, _FILL = int(ReportKind.ACCEPTED), int(ReportKind.OPEN), int(ReportKind.FILL)
_CANCELED, _EXPIRED = int(ReportKind.CANCELED), int(ReportKind.EXPIRED)
_REJECTED, _AMENDED = int(ReportKind.REJECTED), int(ReportKind.AMENDED)
_AMEND_REJECTED = int(ReportKind.AMEND_REJECTED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_CANCEL_ACCEPTED = int(ReportKind.CANCEL_ACCEPTED)
_TRIGGERED, _UNKNOWN = int(ReportKind.TRIGGERED), int(ReportKind.UNKNOWN)
_STATUS, _NOT_FOUND = int(ReportKind.STATUS), int(ReportKind.NOT_FOUND)
_NEW, _AMEND, _CANCEL = int(Action.NEW), int(Action.AMEND), int(Action.CANCEL)
_RECONCILED, _IS_EXTERNAL = int(ReportFlag.RECONCILED), int(ReportFlag.EXTERNAL)
_IS_FORCED, _IS_INFERRED = int(ReportFlag.FORCED), int(ReportFlag.INFERRED)
_IS_REDUCING = int(ReportFlag.REDUCE_ONLY)
_ON_REQUEST = int(Reason.EXPIRED_REQUEST)

_E_SENT, _E_NOT_SENT, _E_ACK = int(Event.SENT), int(Event.NOT_SENT), int(Event.ACK)
_E_OPEN, _E_PART, _E_ALL = int(Event.OPEN), int(Event.FILL_PART), int(Event.FILL_ALL)
_E_CANCELED, _E_EXPIRED = int(Event.CANCELED), int(Event.EXPIRED)
_E_REJECT, _E_UNKNOWN = int(Event.REJECT), int(Event.UNKNOWN)
_E_ABSENT, _E_TRIGGERED = int(Event.ABSENT), int(Event.TRIGGERED)
_E_NONE = -1
_S_FILLED, _S_LOST = int(OrderState.FILLED), int(OrderState.LOST)
_S_REJECTED, _S_PARTIAL = int(OrderState.REJECTED), int(OrderState.PARTIAL)
_S_OPEN, _S_ACKED = int(OrderState.OPEN), int(OrderState.ACKED)
_S_TRIGGERED, _S_EXPIRED = int(OrderState.TRIGGERED), int(OrderState.EXPIRED)
_S_CANCELED, _S_NEW = int(OrderState.CANCELED), int(OrderState.NEW)
_P_CANCEL, _P_AMEND = int(Pending.CANCEL), int(Pending.AMEND)
_F_REDUCE, _F_EXTERNAL = int(OrderFlag.REDUCE_ONLY), int(OrderFlag.EXTERNAL)
_F_FORCED = int(OrderFlag.FORCED)
_F_QUERIED = int(OrderFlag.QUERIED)
_K_STATE, _K_FILL = int(UpdateKind.STATE), int(UpdateKind.FILL)
_K_AMENDED, _K_AMEND_REJECTED = int(UpdateKind.AMENDED), int(UpdateKind.AMEND_REJECTED)
_K_CANCEL_REJECTED = int(UpdateKind.CANCEL_REJECTED)
_OVERFILL, _RESURRECTED = int(Alarm.OVERFILL), int(Alarm.RESURRECTED)
_LOST_ORDER, _UNMAPPED = int(Alarm.LOST_ORDER), int(Alarm.UNMAPPED)
_AFTER_END, _NO_RATE = int(Alarm.FILL_AFTER_END), int(Alarm.NO_RATE)
_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)
_ST_ACCEPTED, _ST_FILLED = int(OrderStatus.ACCEPTED), int(OrderStatus.FILLED)
_ST_CANCELED, _ST_EXPIRED = int(OrderStatus.CANCELED), int(OrderStatus.EXPIRED)
_ST_REJECTED, _ST_NONE = int(OrderStatus.REJECTED), int(OrderStatus.NONE)


@inlined
def apply_report(state: State) -> None:
    """Apply the report in ``State.event`` (``oms.events``)."""
    event = state.event
    if event[E_CLIENT] == 0:
        apply_account(state)
        return
    slot = slot_of(state.orders, state.numbers, event[E_CLIENT])
    if slot == NONE:
        if event[E_KIND] == _SENT or event[E_KIND] == _NOT_SENT or event[E_KIND] == _UNKNOWN:
            return  # Of a request whose order we have no place for: nothing can be known of it.
        if event[E_INSTRUMENT] == NONE:
            state.counts[state.counter[N_UNMAPPED]] += 1
            alarm(state, event[E_ACCOUNT], NONE, event[E_CLIENT], _UNMAPPED)
            return
        if event[E_KIND] == _NOT_FOUND or _is_end(event[E_KIND], event[E_STATUS]):
            return  # An order of others that has ended, and of which no trade is to be told.
        slot = _adopt(state)
        if slot == NONE:
            return
    at = row_begin(state.orders, ORDER_WORDS, slot)
    _apply_order(state, slot, at)
    row_commit(state.orders, at)


@inlined
def _is_end(kind: int, status: int) -> bool:
    if kind == _STATUS:
        return status in (_ST_FILLED, _ST_CANCELED, _ST_EXPIRED, _ST_REJECTED)
    if kind in (_CANCEL_REJECTED, _AMEND_REJECTED, _CANCEL_ACCEPTED):
        return True  # It tells of a request, not of the order.
    return kind in (_CANCELED, _EXPIRED, _REJECTED)


@inlined
def _adopt(state: State) -> int:
    """Enter an order that we do not know, as nobody's; return its slot.

    NONE if there is no room for its position.
    """
    orders, event = state.orders, state.event
    account, instrument = event[E_ACCOUNT], event[E_INSTRUMENT]
    side = event[E_POSITION_SIDE]
    row = position_row(state, _OF_ACCOUNT, account, 0, instrument, side)
    if row == NONE:
        state.counts[state.counter[N_UNMAPPED]] += 1
        alarm(state, account, instrument, event[E_CLIENT], _UNMAPPED)
        return NONE
    slot = take_foreign(orders, state.control)
    _give_way(state, slot)
    clear_slot(orders, state.numbers, slot)
    at = row_begin(orders, ORDER_WORDS, slot)
    orders[at + O_CLIENT], orders[at + O_NUMBER] = event[E_CLIENT], event[E_CLIENT]
    orders[at + O_STRATEGY], orders[at + O_ACCOUNT] = 0, account
    orders[at + O_INSTRUMENT], orders[at + O_STATE] = instrument, _S_NEW
    orders[at + O_SIDE] = event[E_SIDE] if event[E_SIDE] else 1
    orders[at + O_TYPE], orders[at + O_TIME] = event[E_ORDER_TYPE], event[E_TIME]
    orders[at + O_POSITION_SIDE] = event[E_POSITION_SIDE]
    orders[at + O_PRICE], orders[at + O_QUANTITY] = event[E_PRICE], event[E_QUANTITY]
    orders[at + O_WORST_PRICE] = max(event[E_PRICE], event[E_LAST_PRICE])
    orders[at + O_WORST_QUANTITY] = event[E_QUANTITY]
    orders[at + O_STOP] = event[E_STOP]
    # What it was filled by before belongs to a position that the venue tells as a whole.
    before = event[E_FILLED]
    if event[E_KIND] == _FILL:
        before = max(0, before - event[E_LAST_QUANTITY])
    orders[at + O_FILLED], orders[at + O_TRADED] = before, before
    flags = _F_EXTERNAL
    if event[E_FLAGS] & _IS_FORCED:
        flags |= _F_FORCED
    if event[E_FLAGS] & _IS_REDUCING:
        flags |= _F_REDUCE
    orders[at + O_FLAGS] = flags
    orders[at + O_CREATED_NS] = state.control[C_NOW]
    orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW] = row, NONE
    add_number(orders, state.numbers, slot)
    row_commit(orders, at)
    state.counts[state.counter[N_ADOPTED]] += 1
    return slot


@inlined
def _give_way(state: State, slot: int) -> None:
    """Take an order out of all ledgers, if one holds the slot, so that it can be forgotten."""
    orders, at = state.orders, slot * ORDER_WORDS
    if orders[at + O_CLIENT] == 0:
        return
    at = row_begin(orders, ORDER_WORDS, slot)
    orders[at + O_STATE], orders[at + O_FILLED] = _S_CANCELED, orders[at + O_TRADED]
    hold(state, slot)
    row_commit(orders, at)


@inlined
def _event_of(state: State, at: int) -> int:
    """Return what a report says of the order at ``at``: an Event, or NONE."""
    event, kind = state.event, state.event[E_KIND]
    action = event[E_ACTION]
    if kind == _SENT:
        return _E_SENT if action == _NEW else _E_NONE
    if kind == _NOT_SENT:
        return _E_NOT_SENT if action == _NEW and _is_own_request(state, at) else _E_NONE
    if kind == _ACCEPTED:
        return _E_ACK if action != _AMEND else _E_NONE
    if kind == _OPEN:
        return _E_OPEN
    if kind == _CANCELED:
        return _E_CANCELED
    if kind == _EXPIRED:
        return _E_EXPIRED
    if kind == _REJECTED:
        return _E_REJECT if _is_own_request(state, at) else _E_NONE
    if kind == _TRIGGERED:
        return _E_TRIGGERED
    if kind == _UNKNOWN:
        return _E_UNKNOWN if action == _NEW else _E_NONE
    if kind == _NOT_FOUND:
        return _E_ABSENT
    if kind == _AMENDED:
        return _E_OPEN
    if kind == _STATUS:
        return _event_of_status(event[E_STATUS])
    return _E_NONE


@inlined
def _is_own_request(state: State, at: int) -> bool:
    """Return whether a refusal is of the order itself, not of a second one under its number."""
    request = state.event[E_REQUEST]
    return bool(request == 0 or request == state.orders[at + O_REQUEST])


@inlined
def _event_of_status(status: int) -> int:
    if status == _ST_NONE:
        return _E_NONE
    if status == _ST_ACCEPTED:
        return _E_ACK
    if status == _ST_CANCELED:
        return _E_CANCELED
    if status == _ST_EXPIRED:
        return _E_EXPIRED
    if status == _ST_REJECTED:
        return _E_REJECT
    if status == _ST_FILLED:
        return _E_ALL
    return _E_OPEN


@inlined
def _apply_order(state: State, slot: int, at: int) -> None:
    """Apply a report about the order at ``at``."""
    orders, event, kind = state.orders, state.event, state.event[E_KIND]
    control = state.control
    before = (orders[at + O_STATE], orders[at + O_PENDING], orders[at + O_FILLED])
    total, fills = orders[at + O_QUANTITY], orders[at + O_FILLS]
    stale = 0 < event[E_EXCHANGE_NS] < orders[at + O_EXCHANGE_NS]
    newer = 0 < orders[at + O_EXCHANGE_NS] < event[E_EXCHANGE_NS]
    orders[at + O_SYNC] = state.accounts[orders[at + O_ACCOUNT] * ACCOUNT_WORDS + A_SYNC]
    orders[at + O_FLAGS] &= ~_F_QUERIED
    if event[E_EXCHANGE_NS] > orders[at + O_EXCHANGE_NS]:
        orders[at + O_EXCHANGE_NS] = event[E_EXCHANGE_NS]
    if kind == _SENT and event[E_ACTION] == _NEW and orders[at + O_SENT_NS] == 0:
        orders[at + O_SENT_NS] = event[E_RECEIVED_NS]
    what = _fill(state, slot, at, stale) if kind == _FILL else _state(state, slot, at, stale)
    if what != _E_NONE:
        _move(state, at, what, newer)
    _reopen(state, at, what, total)
    if kind != _FILL:
        _settle_worst(state, at, False)
    _answer_pending(state, at)
    if ended(orders[at + O_STATE]):
        orders[at + O_PENDING] = 0
    if event[E_REASON]:
        orders[at + O_REASON] = event[E_REASON]
        orders[at + O_VENUE_CODE] = event[E_VENUE_CODE]
    orders[at + O_UPDATED_NS] = control[C_NOW]
    hold(state, slot)
    _count_refusals(state, at, what, before[0] != orders[at + O_STATE], fills)
    if kind != _FILL:
        after = (orders[at + O_STATE], orders[at + O_PENDING], orders[at + O_FILLED])
        _tell(state, slot, before != after)


@inlined
def _state(state: State, slot: int, at: int, stale: bool) -> int:
    """Take in a report that is no trade; return what it says of the order."""
    orders, event = state.orders, state.event
    what = _event_of(state, at)
    more = event[E_FILLED] > orders[at + O_FILLED]
    if more:
        orders[at + O_FILLED] = event[E_FILLED]
        if what in (_E_NONE, _E_OPEN, _E_ACK, _E_TRIGGERED):
            what = _E_PART
    _take_terms(state, slot, at, stale)
    quantity = orders[at + O_QUANTITY]
    if more and 0 < max(quantity, orders[at + O_WORST_QUANTITY]) < orders[at + O_FILLED]:
        _alarm_overfill(state, at)
    if 0 < quantity <= orders[at + O_FILLED] and (
        what in (_E_PART, _E_OPEN, _E_ACK, _E_TRIGGERED, _E_CANCELED, _E_EXPIRED)
    ):
        what = _E_ALL
    return what


@inlined
def _reopen(state: State, at: int, what: int, total: int) -> None:
    """Let a filled order go on that turns out to have been amended to more, before or after."""
    orders = state.orders
    quantity = orders[at + O_QUANTITY]
    if (
        orders[at + O_STATE] == _S_FILLED
        and quantity > max(total, orders[at + O_FILLED])
        and (what in (_E_PART, _E_OPEN, _E_ACK, _E_TRIGGERED))
    ):
        orders[at + O_STATE] = _S_PARTIAL


@inlined
def _take_terms(state: State, slot: int, at: int, stale: bool) -> None:
    """Take over price and quantity where the venue says them, unless newer ones are known.

    A total below what was filled is what was filled: that comes first.
    """
    orders, event, kind = state.orders, state.event, state.event[E_KIND]
    if kind == _AMENDED:
        # Trades that came later were told before it; a later amendment's result is another thing.
        waits = orders[at + O_PENDING] & _P_AMEND
        stale = stale and not waits and event[E_REQUEST] < orders[at + O_AMEND]
    if not stale and kind in (_AMENDED, _STATUS, _OPEN, _TRIGGERED):
        if event[E_PRICE] > 0:
            orders[at + O_PRICE] = event[E_PRICE]
            alone = not orders[at + O_PENDING] & _P_AMEND
            lead(orders, state.links, state.heads, slot, event[E_PRICE], alone)
        if event[E_QUANTITY] > 0:
            filled = orders[at + O_FILLED]
            total = max(event[E_QUANTITY], min(orders[at + O_QUANTITY], filled))
            # What ends an order that is filled does not make it one that is not.
            over = orders[at + O_STATE] == _S_FILLED and _is_end(kind, event[E_STATUS])
            if total <= filled or not over:
                orders[at + O_QUANTITY] = total
        if event[E_STOP] > 0:
            orders[at + O_STOP] = event[E_STOP]


@inlined
def _settle_worst(state: State, at: int, answered: bool) -> None:
    """Take the present terms as the worst ones, unless an amendment may still change them.

    An ended order's stay as they are until its amendments are ``answered``. A sell order that is
    not known to stand in the book may trade above its price.
    """
    orders, price = state.orders, state.orders[at + O_PRICE]
    if ended(orders[at + O_STATE]) and not answered:
        orders[at + O_WORST_QUANTITY] = max(orders[at + O_WORST_QUANTITY], orders[at + O_QUANTITY])
        return
    if orders[at + O_PENDING] & _P_AMEND:
        orders[at + O_WORST_QUANTITY] = max(orders[at + O_WORST_QUANTITY], orders[at + O_QUANTITY])
        orders[at + O_WORST_PRICE] = max(orders[at + O_WORST_PRICE], price)
        return
    orders[at + O_WORST_QUANTITY] = orders[at + O_QUANTITY]
    if price > 0:
        lead(orders, state.links, state.heads, at // ORDER_WORDS, price, True)
        if orders[at + O_SIDE] < 0:
            price = max(price, orders[at + O_STOP])
            if orders[at + O_STATE] < _S_OPEN:
                price = max(price, orders[at + O_WORST_PRICE])
        orders[at + O_WORST_PRICE] = price


@inlined
def _answer_pending(state: State, at: int) -> None:
    """Take note of what a report answers."""
    orders, event, kind = state.orders, state.event, state.event[E_KIND]
    request, action = event[E_REQUEST], event[E_ACTION]
    refused = kind in (_NOT_SENT, _NOT_FOUND)
    newest = request == 0 or request >= orders[at + O_AMEND]
    amended = kind in (_AMENDED, _AMEND_REJECTED) or (refused and action == _AMEND)
    if amended and newest:
        orders[at + O_PENDING] &= ~_P_AMEND
        if kind != _AMENDED:
            orders[at + O_AMEND] = 0  # An earlier one's result, if it comes now, is the last.
        worst, filled = orders[at + O_WORST_QUANTITY], orders[at + O_FILLED]
        _settle_worst(state, at, True)
        if worst >= filled > orders[at + O_WORST_QUANTITY] > 0:
            _alarm_overfill(state, at)  # It would have been all right if amended.
    newest = request == 0 or request >= orders[at + O_CANCEL]
    if newest and (kind == _CANCEL_REJECTED or (refused and action == _CANCEL)):
        orders[at + O_PENDING] &= ~_P_CANCEL
    if kind == _STATUS and event[E_FLAGS] & _RECONCILED:
        # The venue was asked after the request's fate had become unknown: this is its fate.
        if action == _AMEND and request >= orders[at + O_AMEND]:
            orders[at + O_PENDING] &= ~_P_AMEND
            _settle_worst(state, at, True)
        if action == _CANCEL and request >= orders[at + O_CANCEL]:
            orders[at + O_PENDING] &= ~_P_CANCEL


@inlined
def _move(state: State, at: int, what: int, newer: bool) -> None:
    """Change the order's state by the table, and say what should not have happened."""
    orders = state.orders
    before = orders[at + O_STATE]
    if before >= len(MATRIX):
        return
    code = MATRIX[before, what]
    account, instrument = orders[at + O_ACCOUNT], orders[at + O_INSTRUMENT]
    if code == STAY:
        # An end is an end; but the venue says after it that the order is open.
        if newer and what == _E_OPEN and (before in (_S_CANCELED, _S_EXPIRED)):
            alarm(state, account, instrument, orders[at + O_CLIENT], _RESURRECTED)
        return
    after = code & 31
    orders[at + O_STATE] = after
    if code & LIVE_AGAIN:
        alarm(state, account, instrument, orders[at + O_CLIENT], _RESURRECTED)
    elif code & LATE:
        alarm(state, account, instrument, orders[at + O_CLIENT], _AFTER_END)
    if after == _S_LOST and before != _S_LOST:
        alarm(state, account, instrument, orders[at + O_CLIENT], _LOST_ORDER)
    if orders[at + O_FILLED] > 0 and (after in (_S_ACKED, _S_OPEN, _S_TRIGGERED)):
        orders[at + O_STATE] = _S_PARTIAL


# -- trades ----------------------------------------------------------------------------------------
@inlined
def _fill(state: State, slot: int, at: int, stale: bool) -> int:
    """Book a trade unless it was booked before; return what it says of the order."""
    orders, event = state.orders, state.event
    side = event[E_SIDE] if event[E_SIDE] else orders[at + O_SIDE]
    quantity, price = event[E_LAST_QUANTITY], event[E_LAST_PRICE]
    if event[E_TRADE_ID] and not first_seen(
        state.seen, orders[at + O_ACCOUNT], orders[at + O_INSTRUMENT], event[E_TRADE_ID], side
    ):
        state.counts[state.counter[N_FILLS_REPEATED]] += 1
        return _E_NONE
    if quantity <= 0:
        return _E_NONE
    known = orders[at + O_INFERRED]
    if known > 0 and event[E_FLAGS] & _IS_INFERRED:
        # One more of the kind: kept together with the first, at the price of both.
        earlier = orders[at + O_INFERRED_PRICE]
        _take_back(state, slot, at, side, known)
        price = earlier + mul_div(price - earlier, quantity, known + quantity)
        quantity += known
    elif known > 0:
        _take_back(state, slot, at, side, min(quantity, known))
    if event[E_FLAGS] & _IS_INFERRED:
        orders[at + O_INFERRED], orders[at + O_INFERRED_PRICE] = quantity, price
    _book(state, at, side, price, quantity)
    orders[at + O_TRADED] += quantity
    orders[at + O_FILLS] += 1
    before = orders[at + O_FILLED]
    orders[at + O_FILLED] = max(before, max(orders[at + O_TRADED], event[E_FILLED]))
    if event[E_QUANTITY] > orders[at + O_QUANTITY] and not stale:
        orders[at + O_QUANTITY] = event[E_QUANTITY]  # Amended, and its trade came first.
        orders[at + O_WORST_QUANTITY] = max(orders[at + O_WORST_QUANTITY], orders[at + O_QUANTITY])
    state.counts[state.counter[N_FILLS]] += 1
    _tell_fill(state, slot, at, price, quantity)
    total, worst = orders[at + O_QUANTITY], orders[at + O_WORST_QUANTITY]
    if 0 < worst < orders[at + O_TRADED] or 0 < worst < orders[at + O_FILLED] != before:
        _alarm_overfill(state, at)
    return _E_ALL if 0 < total <= orders[at + O_FILLED] else _E_PART


@inlined
def _alarm_overfill(state: State, at: int) -> None:
    orders = state.orders
    client, instrument = orders[at + O_CLIENT], orders[at + O_INSTRUMENT]
    alarm(state, orders[at + O_ACCOUNT], instrument, client, _OVERFILL)


@inlined
def _take_back(state: State, slot: int, at: int, side: int, quantity: int) -> None:
    """Undo (part of) a trade that was made up, now that the real one is here."""
    orders, price = state.orders, state.orders[at + O_INFERRED_PRICE]
    whole = int(quantity == orders[at + O_INFERRED])
    for row in (orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW]):
        if row != NONE:
            take_back_trade(state, row, side, price, quantity, whole)
    _change_balances(state, at, -side, price, quantity)
    orders[at + O_INFERRED] -= quantity
    orders[at + O_TRADED] -= quantity
    orders[at + O_FILLS] -= whole
    _tell_fill(state, slot, at, price, -quantity)


@inlined
def _book(state: State, at: int, side: int, price: int, quantity: int) -> None:
    """Enter the report's trade in the positions and balances, with its fee."""
    orders, now = state.orders, state.control[C_NOW]
    fee = fee_money(state)
    for row in (orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW]):
        if row != NONE:
            book_trade(state, row, side, price, quantity, fee, now)
    _change_balances(state, at, side, price, quantity)
    number = orders[at + O_INSTRUMENT]
    asset = fee_asset(state)
    if state.event[E_FEE] and (asset < 0 or state.assets[3 * asset + 2] == 0):
        alarm(state, orders[at + O_ACCOUNT], number, orders[at + O_CLIENT], _NO_RATE)
    if state.instruments[number * INSTRUMENT_WORDS + I_KIND] == SPOT and asset >= 0:
        paid = to_money(state.event[E_FEE], state.event[E_DECIMALS])
        change_balance(state, orders[at + O_ACCOUNT], asset, -paid)


@inlined
def _change_balances(state: State, at: int, side: int, price: int, quantity: int) -> None:
    """Enter what a trade moved in the order's value, and, of spot, in the balances."""
    orders, number = state.orders, state.orders[at + O_INSTRUMENT]
    account, instrument = orders[at + O_ACCOUNT], number * INSTRUMENT_WORDS
    value = value_of(state.instruments, number, price, quantity)
    orders[at + O_VALUE] += value if side == orders[at + O_SIDE] else -value
    if state.instruments[instrument + I_KIND] == SPOT:
        base = scaled_quantity(state, number, quantity)
        change_balance(state, account, state.instruments[instrument + I_BASE], side * base)
        change_balance(state, account, state.instruments[instrument + I_QUOTE], -side * value)


# -- telling ---------------------------------------------------------------------------------------
@inlined
def _tell_fill(state: State, slot: int, at: int, price: int, quantity: int) -> None:
    """Publish a trade, with the order as it stands before its state is looked up.

    A negative quantity takes a made-up one back.
    """
    if silent(state):
        return
    event, updates, orders = state.event, state.updates, state.orders
    total = orders[at + O_QUANTITY]
    status = orders[at + O_STATE]
    if not ended(status):
        orders[at + O_STATE] = _S_FILLED if 0 < total <= orders[at + O_FILLED] else _S_PARTIAL
    u = begin_order_update(state, slot, _K_FILL, 0, 0)
    orders[at + O_STATE] = status
    _put_venue(state, u)
    updates[u + U_LAST_PRICE], updates[u + U_LAST_QUANTITY] = price, quantity
    if quantity < 0:
        end_update(state, u)
        return
    updates[u + U_TRADE_ID], updates[u + U_FEE] = event[E_TRADE_ID], event[E_FEE]
    updates[u + U_WHAT] |= event[E_LIQUIDITY] << 40 | event[E_DECIMALS] << 48
    updates[u + U_ASSET] = event[E_ASSET_WORD]
    updates[u + U_ASSET + 1] = event[E_ASSET_WORD + 1]
    end_update(state, u)


@inlined
def _put_venue(state: State, u: int) -> None:
    state.updates[u + U_EXCHANGE_NS] = state.event[E_EXCHANGE_NS]
    state.updates[u + U_RECEIVED_NS] = state.event[E_RECEIVED_NS]
    state.updates[u + U_VENUE_CODE] = state.event[E_VENUE_CODE]


@inlined
def _tell(state: State, slot: int, changed: bool) -> None:
    """Publish what a report that is no trade has changed, or has answered."""
    event, kind = state.event, state.event[E_KIND]
    what = _K_STATE
    if kind == _AMENDED:
        what = _K_AMENDED
    elif kind == _AMEND_REJECTED or (kind == _NOT_SENT and event[E_ACTION] == _AMEND):
        what = _K_AMEND_REJECTED
    elif kind == _CANCEL_REJECTED or (kind == _NOT_SENT and event[E_ACTION] == _CANCEL):
        what = _K_CANCEL_REJECTED
    elif not changed:
        state.counts[state.counter[N_REPEATED]] += 1
        return
    if silent(state):
        return
    u = begin_order_update(state, slot, what, event[E_REASON], event[E_ACTION])
    _put_venue(state, u)
    end_update(state, u)


@inlined
def _count_refusals(state: State, at: int, what: int, moved: bool, fills: int) -> None:
    """Count refusals in a row, and trades, in the scopes of the order: what is new only."""
    orders, positions = state.orders, state.positions
    fills = orders[at + O_FILLS] - fills
    good = what in (_E_OPEN, _E_PART, _E_ALL)
    if fills == 0 and not (moved and (good or what == _E_REJECT)):
        return
    _count_in_scope(state, 0, what, fills)
    for row in (orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW]):
        if row != NONE:
            place = row * POSITION_WORDS
            _count_in_scope(state, positions[place + P_SCOPE], what, fills)
            _count_in_scope(state, positions[place + P_OWNER_SCOPE], what, fills)


@inlined
def _count_in_scope(state: State, scope: int, what: int, fills: int) -> None:
    at = row_begin(state.scopes, SCOPE_WORDS, scope)
    if what == _E_REJECT:
        state.scopes[at + S_REJECTS] += 1
    else:
        state.scopes[at + S_REJECTS] = 0
    state.scopes[at + S_FILLS] += fills
    row_commit(state.scopes, at)
