"""Deciding about an intent, and doing what was decided.

``decide`` judges the intent in ``State.decision`` and writes the verdict behind it; it changes
nothing else but rows that are made on the way. The decision then goes into the journal, and
``apply_decision`` makes it true. A replay of the journal does only the latter: what was decided
stays decided, whatever the market says by then.
"""

from engine.jit import inlined
from engine.ring import begin, commit
from engine.table import row_begin, row_commit
from feeds.types import Status
from gateways.types import REQUEST, Action
from oms.accounts import add_sweep
from oms.decisions import (
    D_ACCOUNT,
    D_ACCOUNT_ROW,
    D_ACTION,
    D_CAUSE_NS,
    D_CLIENT,
    D_CREATED_NS,
    D_DEADLINE_NS,
    D_EXPIRE_NS,
    D_INSTRUMENT,
    D_MARGIN_MODE,
    D_NUMBER,
    D_OWN,
    D_POSITION_SIDE,
    D_PRICE,
    D_QUANTITY,
    D_REASON,
    D_REQUEST,
    D_REQUEST_FLAGS,
    D_ROWS,
    D_SCOPES,
    D_SELF_TRADE,
    D_SIDE,
    D_SLOT,
    D_STOP,
    D_STRATEGY,
    D_STRATEGY_ROW,
    D_TIME,
    D_TRIGGER,
    D_TYPE,
    D_WORST_PRICE,
    SCOPES_OF,
)
from oms.emit import (
    U_CLIENT,
    U_FILLED,
    U_NUMBER,
    U_PRICE,
    U_QUANTITY,
    begin_update,
    end_update,
    put_owners,
    put_what,
    put_where,
    silent,
    tell_order,
)
from oms.risk import (
    AMENDS,
    CANCELS,
    FOK,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    ORDERS,
    POST_ONLY,
    QUOTE_FLAG,
    REDUCE_ONLY_FLAG,
    STOP_LIMIT,
    STOP_MARKET,
    check_duplicate,
    check_prices,
    check_rate,
    check_reducing,
    check_size,
    check_system,
    check_terms,
    count_rates,
    find_rows,
    name_scopes,
    remember_order,
    set_price,
    tightest,
    worst_price,
)
from oms.slots import add_number, client_stamp, ended, find_number, lead, take_slot
from oms.state import (
    A_ALIVE,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    A_SYNC,
    A_SYNCED,
    A_UP,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    C_DEADLINE_NS,
    C_JOURNAL,
    C_NOW,
    C_REQUEST_BASE,
    I_ACCOUNT,
    I_KNOWN,
    I_ROW_THERE,
    I_STATUS,
    INSTRUMENT_WORDS,
    L_INTENT_AGE,
    N_DENIED,
    N_ROUTED,
    NONE,
    O_ACCOUNT,
    O_ACCOUNT_ROW,
    O_AMEND,
    O_CANCEL,
    O_CAUSE_NS,
    O_CLIENT,
    O_CREATED_NS,
    O_FLAGS,
    O_HELD,
    O_INSTRUMENT,
    O_NUMBER,
    O_PENDING,
    O_POSITION_SIDE,
    O_PRICE,
    O_QUANTITY,
    O_REQUEST,
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
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    REQUEST_WORDS,
    S_DENIED,
    S_SENT,
    SCOPE_WORDS,
    SLOT_BITS,
    State,
    Words,
)
from oms.types import Deny, IntentAction, OrderFlag, OrderState, Pending, UpdateKind
from oms.value import hold

NEW, AMEND = int(IntentAction.NEW), int(IntentAction.AMEND)
CANCEL, CANCEL_ALL = int(IntentAction.CANCEL), int(IntentAction.CANCEL_ALL)
_ASK = (0, int(Action.NEW), int(Action.AMEND), int(Action.CANCEL), 0)
"""IntentAction -> the gateway's Action."""
_QUERY, _URGENT = int(Action.QUERY), 2
_TRADING = int(Status.TRADING)
_S_NEW, _S_LOST = int(OrderState.NEW), int(OrderState.LOST)
_S_DENIED = int(OrderState.DENIED)
_P_CANCEL, _P_AMEND = int(Pending.CANCEL), int(Pending.AMEND)
_F_REDUCE, _F_CLOSING = int(OrderFlag.REDUCE_ONLY), int(OrderFlag.CLOSING)
_K_DENIED, _K_ROUTED = int(UpdateKind.DENIED), int(UpdateKind.ROUTED)
_NOT_READY, _DOWN = int(Deny.NOT_READY), int(Deny.ACCOUNT_DOWN)
_ACCOUNT, _INSTRUMENT = int(Deny.ACCOUNT), int(Deny.INSTRUMENT)
_NOT_TRADING, _PARAMETER = int(Deny.NOT_TRADING), int(Deny.PARAMETER)
_DUPLICATE_NUMBER = int(Deny.DUPLICATE_NUMBER)
_UNKNOWN_ORDER, _ENDED = int(Deny.UNKNOWN_ORDER), int(Deny.ORDER_ENDED)
_AGE, _DEADLINE = int(Deny.INTENT_AGE), int(Deny.DEADLINE)
_ORDERS_FULL, _REQUESTS_FULL = int(Deny.ORDERS_FULL), int(Deny.REQUESTS_FULL)
_NOT_CHANGED, _EXPIRE = int(Deny.NOT_CHANGED), int(Deny.EXPIRE_TIME)
_POST_REDUCE = REDUCE_ONLY_FLAG

_R_WHERE, _R_SMALL = REQUEST.column("instrument")[1] // 8, REQUEST.column("action")[1] // 8
assert REQUEST.dtype.itemsize == 8 * REQUEST_WORDS


# -- deciding --------------------------------------------------------------------------------------
@inlined
def decide(state: State) -> None:
    """Judge the intent in ``State.decision``: its reason stays 0 if it passes."""
    decision = state.decision
    action = decision[D_ACTION]
    if action == NEW:
        reason = _judge_new(state)
    elif action == AMEND:
        reason = _judge_amend(state)
    elif action == CANCEL:
        reason = _judge_cancel(state)
    else:
        reason = 0 if action == CANCEL_ALL else _PARAMETER
    decision[D_REASON] = reason
    if reason == 0:
        decision[D_REQUEST] = state.control[C_REQUEST_BASE] + state.control[C_JOURNAL] + 1


@inlined
def _judge_new(state: State) -> int:
    decision = state.decision
    reason = _place(state)
    if reason == 0:
        reason = _form(state)
    if reason == 0:
        reason = _times(state)
    if reason == 0 and not find_rows(state, decision[D_STRATEGY]):
        reason = _ORDERS_FULL
    if reason:
        return reason
    decision[D_ROWS] = 1
    reason = _age(state)
    if reason == 0:
        reason = set_price(state)
    if reason == 0:
        reason = check_terms(state)
    if reason == 0:
        reason = check_system(state)
    if reason == 0 and not decision[D_OWN]:
        reason = _rules(state)
    if reason == 0:
        reason = _slot(state)
    return reason


@inlined
def _rules(state: State) -> int:
    """Check what does not hold for orders of the OMS' own."""
    decision = state.decision
    reason = check_prices(state)
    if reason == 0:
        reason = check_reducing(state, decision[D_ACCOUNT_ROW], False)
    if reason == 0:
        reason = check_duplicate(state)
    if reason == 0:
        reason = check_size(state, decision[D_QUANTITY], decision[D_WORST_PRICE], NONE)
    if reason == 0:
        reason = check_rate(state, ORDERS)
    return reason


@inlined
def _place(state: State) -> int:
    """Check that instrument and account are there and take orders."""
    decision, instruments = state.decision, state.instruments
    number = decision[D_INSTRUMENT]
    if number < 0 or (number + 1) * INSTRUMENT_WORDS > len(instruments):
        return _INSTRUMENT
    at = number * INSTRUMENT_WORDS
    if not instruments[at + I_KNOWN]:
        return _INSTRUMENT
    if decision[D_ACCOUNT] == NONE:
        decision[D_ACCOUNT] = instruments[at + I_ACCOUNT]
    account = decision[D_ACCOUNT]
    if account < 0 or account >= ACCOUNTS_MAX or instruments[at + I_ROW_THERE] < 0:
        return _ACCOUNT
    if instruments[at + I_ACCOUNT] != account:
        return _ACCOUNT
    if instruments[at + I_STATUS] != _TRADING:
        return _NOT_TRADING
    a = account * ACCOUNT_WORDS
    if not state.accounts[a + A_SYNCED]:
        return _NOT_READY
    if not state.accounts[a + A_UP] or not state.accounts[a + A_ALIVE]:
        return _DOWN
    if state.accounts[a + A_REQUESTS_NEWEST] >= state.accounts[a + A_REQUESTS_ROOM]:
        return _REQUESTS_FULL
    return 0


@inlined
def _form(state: State) -> int:
    """Check side, type, time in force and what they need."""
    decision = state.decision
    side, kind, time = decision[D_SIDE], decision[D_TYPE], decision[D_TIME]
    price, stop = decision[D_PRICE], decision[D_STOP]
    if (side != 1 and side != -1) or decision[D_QUANTITY] <= 0 or decision[D_NUMBER] <= 0:
        return _PARAMETER
    if kind < MARKET or kind > STOP_LIMIT or time < 1 or time > POST_ONLY or price < 0 or stop < 0:
        return _PARAMETER
    limited = kind in (LIMIT, STOP_LIMIT)
    if limited != (price > 0) or (kind >= STOP_MARKET) != (stop > 0):
        return _PARAMETER
    if not limited and time == POST_ONLY:
        return _PARAMETER
    if kind == MARKET and time != IOC and time != FOK and time != 1:
        return _PARAMETER
    if decision[D_POSITION_SIDE] < -1 or decision[D_POSITION_SIDE] > 1:
        return _PARAMETER
    if decision[D_REQUEST_FLAGS] & QUOTE_FLAG:
        return _PARAMETER  # What it may take of a position could not be bounded.
    if find_number(state.orders, state.numbers, decision[D_STRATEGY], decision[D_NUMBER]) != NONE:
        return _DUPLICATE_NUMBER
    return 0


@inlined
def _times(state: State) -> int:
    decision, now = state.decision, state.control[C_NOW]
    if 0 < decision[D_DEADLINE_NS] < now:
        return _DEADLINE
    if (decision[D_TIME] == GTD) != (decision[D_EXPIRE_NS] != 0):
        return _EXPIRE
    return _EXPIRE if decision[D_TIME] == GTD and decision[D_EXPIRE_NS] <= now else 0


@inlined
def _age(state: State) -> int:
    decision = state.decision
    most = tightest(state, L_INTENT_AGE)
    old = most >= 0 and state.control[C_NOW] - decision[D_CREATED_NS] > most
    return _AGE if old and not decision[D_OWN] else 0


@inlined
def _slot(state: State) -> int:
    """Give the order a slot and a client id."""
    decision = state.decision
    slot = take_slot(state.orders, state.numbers, state.free, state.control)
    if slot == NONE:
        return _ORDERS_FULL
    stamp = client_stamp(state.control, state.control[C_NOW])
    decision[D_SLOT], decision[D_CLIENT] = slot, stamp << SLOT_BITS | slot
    return 0


@inlined
def _find_order(state: State) -> int:
    """Find the order that an intent is about, and enter what it is of; return a reason or 0."""
    decision, orders = state.decision, state.orders
    if decision[D_SLOT] == NONE:
        slot = find_number(orders, state.numbers, decision[D_STRATEGY], decision[D_NUMBER])
        if slot == NONE:
            return _UNKNOWN_ORDER
        decision[D_SLOT] = slot
    at = decision[D_SLOT] * ORDER_WORDS
    decision[D_CLIENT] = orders[at + O_CLIENT]
    decision[D_INSTRUMENT], decision[D_ACCOUNT] = orders[at + O_INSTRUMENT], orders[at + O_ACCOUNT]
    decision[D_SIDE], decision[D_TYPE] = orders[at + O_SIDE], orders[at + O_TYPE]
    decision[D_TIME] = orders[at + O_TIME]
    decision[D_POSITION_SIDE] = orders[at + O_POSITION_SIDE]
    decision[D_ACCOUNT_ROW] = orders[at + O_ACCOUNT_ROW]
    decision[D_STRATEGY_ROW] = orders[at + O_STRATEGY_ROW]
    name_scopes(state, decision[D_STRATEGY] if orders[at + O_STRATEGY_ROW] != NONE else 0)
    return _ENDED if ended(orders[at + O_STATE]) else 0


@inlined
def _room(state: State) -> int:
    at = state.decision[D_ACCOUNT] * ACCOUNT_WORDS
    full = state.accounts[at + A_REQUESTS_NEWEST] >= state.accounts[at + A_REQUESTS_ROOM]
    return _REQUESTS_FULL if full else 0


@inlined
def _judge_cancel(state: State) -> int:
    decision = state.decision
    reason = _find_order(state)
    if reason == 0:
        reason = _room(state)
    if reason == 0 and not decision[D_OWN]:
        reason = check_rate(state, CANCELS)
    return reason


@inlined
def _judge_amend(state: State) -> int:
    decision, orders = state.decision, state.orders
    reason = _find_order(state)
    if reason:
        return reason
    at = decision[D_SLOT] * ORDER_WORDS
    price, quantity = decision[D_PRICE], decision[D_QUANTITY]
    if price < 0 or quantity < 0 or orders[at + O_STATE] == _S_LOST:
        return _PARAMETER
    decision[D_PRICE] = price if price else orders[at + O_PRICE]
    decision[D_QUANTITY] = quantity if quantity else orders[at + O_QUANTITY]
    decision[D_STOP] = 0
    same = decision[D_PRICE] == orders[at + O_PRICE]
    same = same and decision[D_QUANTITY] == orders[at + O_QUANTITY]
    if same and not orders[at + O_PENDING] & _P_AMEND:
        return _NOT_CHANGED
    decision[D_REQUEST_FLAGS] &= ~REDUCE_ONLY_FLAG
    if orders[at + O_FLAGS] & _F_REDUCE:
        decision[D_REQUEST_FLAGS] |= REDUCE_ONLY_FLAG
    reason = _place(state)
    if reason == 0:
        reason = _times_of_amend(state)
    if reason == 0:
        reason = _age(state)
    if reason == 0:
        worst = worst_price(state, decision[D_PRICE])
        decision[D_WORST_PRICE] = max(worst, orders[at + O_WORST_PRICE])
        reason = check_terms(state)
    if reason == 0:
        reason = check_system(state)
    if reason == 0:
        reason = check_prices(state)
    if reason == 0:
        reason = check_reducing(state, decision[D_ACCOUNT_ROW], False)
    if reason == 0:
        worst = max(decision[D_QUANTITY], orders[at + O_WORST_QUANTITY])
        left = max(0, worst - orders[at + O_TRADED])
        reason = check_size(state, left, decision[D_WORST_PRICE], at)
    if reason == 0:
        reason = check_rate(state, AMENDS)
    return reason


@inlined
def _times_of_amend(state: State) -> int:
    deadline = state.decision[D_DEADLINE_NS]
    return _DEADLINE if 0 < deadline < state.control[C_NOW] else 0


# -- doing -----------------------------------------------------------------------------------------
@inlined
def apply_decision(state: State) -> None:
    """Make the decision true, and tell it: the same live and in a replay."""
    decision = state.decision
    if decision[D_REASON]:
        _denied(state)
        return
    action = decision[D_ACTION]
    if action == CANCEL_ALL:
        strategy, number = decision[D_STRATEGY], decision[D_INSTRUMENT]
        add_sweep(state, NONE, strategy, number, decision[D_ACCOUNT], 0)
        _tell_decision(state, _K_ROUTED)
        return
    if action == NEW:
        _create(state)
    else:
        _change(state)
    state.counts[state.counter[N_ROUTED]] += 1
    tell_order(state, decision[D_SLOT], _K_ROUTED, 0, action)


@inlined
def _denied(state: State) -> None:
    decision = state.decision
    state.counts[state.counter[N_DENIED]] += 1
    if decision[D_ROWS]:
        for i in range(SCOPES_OF):
            scope = decision[D_SCOPES + i]
            if scope != NONE:
                at = row_begin(state.scopes, SCOPE_WORDS, scope)
                state.scopes[at + S_DENIED] += 1
                row_commit(state.scopes, at)
    _tell_decision(state, _K_DENIED)


@inlined
def _tell_decision(state: State, kind: int) -> None:
    """Publish an update about an intent that made no order."""
    if silent(state):
        return
    decision, updates = state.decision, state.updates
    at = begin_update(state)
    updates[at + U_NUMBER], updates[at + U_CLIENT] = decision[D_NUMBER], decision[D_CLIENT]
    updates[at + U_PRICE], updates[at + U_QUANTITY] = decision[D_PRICE], decision[D_QUANTITY]
    updates[at + U_FILLED] = 0
    put_owners(updates, at, decision[D_STRATEGY], decision[D_ACCOUNT])
    put_where(updates, at, decision[D_INSTRUMENT], decision[D_REASON])
    status = 0
    if decision[D_SLOT] != NONE and decision[D_CLIENT]:
        status = state.orders[decision[D_SLOT] * ORDER_WORDS + O_STATE]
    elif kind == _K_DENIED and decision[D_ACTION] == NEW:
        status = _S_DENIED
    put_what(updates, at, kind, status, 0, decision[D_SIDE], decision[D_ACTION], 0)
    end_update(state, at)


@inlined
def _create(state: State) -> None:
    """Enter a new order."""
    decision, orders, now = state.decision, state.orders, state.control[C_NOW]
    slot = decision[D_SLOT]
    at = row_begin(orders, ORDER_WORDS, slot)
    orders[at + O_CLIENT], orders[at + O_NUMBER] = decision[D_CLIENT], decision[D_NUMBER]
    orders[at + O_STRATEGY], orders[at + O_ACCOUNT] = decision[D_STRATEGY], decision[D_ACCOUNT]
    orders[at + O_INSTRUMENT], orders[at + O_STATE] = decision[D_INSTRUMENT], _S_NEW
    orders[at + O_SIDE], orders[at + O_TYPE] = decision[D_SIDE], decision[D_TYPE]
    orders[at + O_TIME] = decision[D_TIME]
    orders[at + O_POSITION_SIDE] = decision[D_POSITION_SIDE]
    orders[at + O_PRICE], orders[at + O_STOP] = decision[D_PRICE], decision[D_STOP]
    orders[at + O_QUANTITY] = decision[D_QUANTITY]
    orders[at + O_WORST_PRICE] = decision[D_WORST_PRICE]
    orders[at + O_WORST_QUANTITY] = orders[at + O_QUANTITY]
    flags = _F_REDUCE if decision[D_REQUEST_FLAGS] & REDUCE_ONLY_FLAG else 0
    orders[at + O_FLAGS] = flags | (_F_CLOSING if decision[D_OWN] else 0)
    orders[at + O_REQUEST] = decision[D_REQUEST]
    orders[at + O_CREATED_NS] = orders[at + O_UPDATED_NS] = now
    orders[at + O_CAUSE_NS] = decision[D_CAUSE_NS]
    orders[at + O_SYNC] = state.accounts[decision[D_ACCOUNT] * ACCOUNT_WORDS + A_SYNC]
    orders[at + O_ACCOUNT_ROW] = decision[D_ACCOUNT_ROW]
    orders[at + O_STRATEGY_ROW] = decision[D_STRATEGY_ROW]
    add_number(orders, state.numbers, slot)
    hold(state, slot)
    row_commit(orders, at)
    for i in range(SCOPES_OF):
        scope = decision[D_SCOPES + i]
        if scope != NONE:
            s = row_begin(state.scopes, SCOPE_WORDS, scope)
            state.scopes[s + S_SENT] += 1
            row_commit(state.scopes, s)
    remember_order(state)
    count_rates(state, ORDERS)


@inlined
def _change(state: State) -> None:
    """Take note of an amendment or a cancellation that is asked for."""
    decision, orders, slot = state.decision, state.orders, state.decision[D_SLOT]
    at = row_begin(orders, ORDER_WORDS, slot)
    if decision[D_ACTION] == AMEND:
        orders[at + O_PENDING] |= _P_AMEND
        orders[at + O_AMEND] = decision[D_REQUEST]
        orders[at + O_WORST_PRICE] = max(orders[at + O_WORST_PRICE], decision[D_WORST_PRICE])
        orders[at + O_WORST_QUANTITY] = max(orders[at + O_WORST_QUANTITY], decision[D_QUANTITY])
        if decision[D_CAUSE_NS]:
            orders[at + O_CAUSE_NS] = decision[D_CAUSE_NS]
        lead(orders, state.links, state.heads, slot, decision[D_PRICE], False)
        count_rates(state, AMENDS)
    else:
        orders[at + O_PENDING] |= _P_CANCEL
        orders[at + O_CANCEL] = decision[D_REQUEST]
        count_rates(state, CANCELS)
    orders[at + O_UPDATED_NS] = state.control[C_NOW]
    hold(state, slot)
    row_commit(orders, at)


@inlined
def put_request(state: State, words: Words) -> None:
    """Write the request of the decision into its account's ring; the caller has seen to room."""
    decision, now = state.decision, state.control[C_NOW]
    at_account = decision[D_ACCOUNT] * ACCOUNT_WORDS
    sequence = state.accounts[at_account + A_REQUESTS_NEWEST] + 1
    at = begin(words, REQUEST_WORDS, len(words) // REQUEST_WORDS, sequence)
    action = decision[D_ACTION]
    deadline = decision[D_DEADLINE_NS]
    if action != CANCEL:
        bound = now + state.control[C_DEADLINE_NS]
        deadline = min(deadline, bound) if deadline else bound
    else:
        deadline = 0
    words[at + 1], words[at + 2], words[at + 3] = now, deadline, decision[D_REQUEST]
    words[at + 4], words[at + 5] = decision[D_CLIENT], decision[D_PRICE]
    words[at + 6], words[at + 7] = decision[D_QUANTITY], decision[D_STOP]
    words[at + 8] = decision[D_EXPIRE_NS]
    there = state.instruments[decision[D_INSTRUMENT] * INSTRUMENT_WORDS + I_ROW_THERE]
    flags = decision[D_REQUEST_FLAGS] | (_URGENT if action == CANCEL or decision[D_OWN] else 0)
    words[at + _R_WHERE] = flags << 32 | (there & 0xFFFFFFFF)
    small = _ASK[action] | (decision[D_SIDE] & 0xFF) << 8 | decision[D_TYPE] << 16
    small |= decision[D_TIME] << 24 | (decision[D_POSITION_SIDE] & 0xFF) << 32
    small |= decision[D_MARGIN_MODE] << 40 | decision[D_TRIGGER] << 48
    words[at + _R_SMALL] = small | decision[D_SELF_TRADE] << 56
    for word in range(11, REQUEST_WORDS):
        words[at + word] = 0
    commit(words, at, sequence)
    state.accounts[at_account + A_REQUESTS_NEWEST] = sequence


@inlined
def put_query(state: State, words: Words, slot: int) -> None:
    """Ask the venue what it knows of an order."""
    o, orders = slot * ORDER_WORDS, state.orders
    at_account = orders[o + O_ACCOUNT] * ACCOUNT_WORDS
    sequence = state.accounts[at_account + A_REQUESTS_NEWEST] + 1
    at = begin(words, REQUEST_WORDS, len(words) // REQUEST_WORDS, sequence)
    for word in range(1, REQUEST_WORDS):
        words[at + word] = 0
    words[at + 1], words[at + 4] = state.control[C_NOW], orders[o + O_CLIENT]
    there = state.instruments[orders[o + O_INSTRUMENT] * INSTRUMENT_WORDS + I_ROW_THERE]
    words[at + _R_WHERE] = there & 0xFFFFFFFF
    words[at + _R_SMALL] = _QUERY
    commit(words, at, sequence)
    state.accounts[at_account + A_REQUESTS_NEWEST] = sequence


@inlined
def aim_cancel(state: State, slot: int) -> None:
    """Make the decision that of cancelling an order, by the OMS itself."""
    decision, orders = state.decision, state.orders
    decision[D_ACTION], decision[D_SLOT] = CANCEL, slot
    decision[D_STRATEGY] = orders[slot * ORDER_WORDS + O_STRATEGY]
    decision[D_NUMBER] = orders[slot * ORDER_WORDS + O_NUMBER]
    decision[D_CREATED_NS] = state.control[C_NOW]


@inlined
def held_of(state: State, slot: int) -> int:
    """Return what an order may still trade."""
    return int(state.orders[slot * ORDER_WORDS + O_HELD])
