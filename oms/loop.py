"""The OMS loop: intents, reports, commands and market data in; decisions, requests, updates out.

``cycle`` looks at every ring in turn and returns as soon as it has done something that others may
be parked for, or when its time is up: then Python moves cursors, rings bells, beats hearts and sees
signals. Reports come before intents, so that a decision knows all that the venue has said; market
data comes before both. Everything that changes the state is in the journal before it takes effect.

``replay`` applies the journal's records to an empty state, in the same order, with the same code.
"""

from typing import Any

from numba import types

from engine.atomics import load_acquire, realtime_ns
from engine.histogram import record
from engine.jit import inlined, kernel
from engine.ring import LAPPED, available, intact, resume_point
from engine.table import row_begin, row_commit
from engine.wide import mul_div
from feeds.types import BookState, TopSource
from gateways.types import Action, ReportKind
from oms.accounts import add_sweep
from oms.commands import (
    K_ACCOUNT,
    K_AUTOMATIC,
    K_CREATED_NS,
    K_INSTRUMENT,
    K_KIND,
    K_NAME,
    K_SCOPE_KIND,
    K_STRATEGY,
    K_VALUE,
    apply_command,
)
from oms.decide import (
    AMEND,
    CANCEL,
    CANCEL_ALL,
    NEW,
    aim_cancel,
    apply_decision,
    decide,
    put_query,
    put_request,
)
from oms.decisions import (
    D_ACCOUNT,
    D_ACCOUNT_ROW,
    D_ACTION,
    D_CLIENT,
    D_CREATED_NS,
    D_INSTRUMENT,
    D_NUMBER,
    D_POSITION_SIDE,
    D_QUANTITY,
    D_REASON,
    D_REQUEST_FLAGS,
    D_ROWS,
    D_SIDE,
    D_SLOT,
    D_STRATEGY,
    D_STRATEGY_ROW,
    D_TIME,
    D_TYPE,
    DECISION_WORDS,
    SCRATCH_WORDS,
    clear_decision,
    unpack_intent,
)
from oms.emit import (
    JOURNAL_HEAD,
    JOURNAL_ROOM,
    MAGIC,
    Record,
    append,
    checksum,
)
from oms.events import E_ACTION, E_CLIENT, E_KIND, E_RECEIVED_NS, unpack_report
from oms.places import find_position
from oms.reducer import apply_report
from oms.risk import (
    FILLS,
    IOC,
    MARKET,
    REDUCE_ONLY_FLAG,
    count_rate,
    find_rows,
    has_room,
    name_scopes,
)
from oms.slots import clear_slot, slot_of
from oms.state import (
    A_DONE_REPORT,
    A_EVENT_NS,
    A_REPORTS_NEXT,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    ALL_SLOTS,
    B_ACCOUNT,
    B_CHANGED,
    B_TOTAL,
    BALANCE_WORDS,
    C_BALANCE_COUNT,
    C_CLOCK,
    C_FUNDING_LOST,
    C_FUNDING_NEXT,
    C_HIGH_SLOT,
    C_JOURNAL,
    C_JOURNAL_AT,
    C_NOW,
    C_POSITION_COUNT,
    C_REPLAY,
    C_SCOPE_COUNT,
    C_STAMP,
    C_SWEEP_COUNT,
    C_SWEPT_NS,
    C_TOPS_LOST,
    C_TOPS_NEXT,
    COMMAND_WORDS,
    FROZEN,
    I_ASK,
    I_BID,
    I_FIRST,
    I_KIND,
    I_LOT,
    I_MARK,
    I_MARK_NS,
    I_MAXIMUM,
    I_MINIMUM,
    I_PRICE_UNIT,
    I_REFERENCE,
    I_TOP_NS,
    I_TOP_PUBLISHED_NS,
    INSTRUMENT_WORDS,
    INTENT_WORDS,
    L_DAILY_LOSS,
    L_DRAWDOWN,
    L_FILL_RATE,
    L_REJECTS,
    N_FILLS,
    N_INTENTS,
    N_MARKS,
    N_REPORTS,
    N_TOPS,
    NONE,
    O_ACCOUNT,
    O_ACCOUNT_ROW,
    O_CAUSE_NS,
    O_CLIENT,
    O_FLAGS,
    O_INSTRUMENT,
    O_PENDING,
    O_STATE,
    O_STRATEGY,
    O_STRATEGY_ROW,
    O_SYNC,
    O_UPDATED_NS,
    ORDER_WORDS,
    P_ACCOUNT,
    P_INSTRUMENT,
    P_KIND,
    P_NEXT,
    P_ORDERS,
    P_OWNER_SCOPE,
    P_QUANTITY,
    P_SCOPE,
    P_SIDE,
    P_STRATEGY,
    P_UNREALIZED,
    POSITION_WORDS,
    REPORT_WORDS,
    S_ACCOUNT,
    S_DAY_MONEY,
    S_EQUITY_MONEY,
    S_INSTRUMENT,
    S_KIND,
    S_LIMITS,
    S_OPEN_ORDERS,
    S_PEAK_MONEY,
    S_REJECTS,
    S_RESULT_MONEY,
    S_STATE,
    S_STRATEGY,
    SCOPE_WORDS,
    SLOT_BITS,
    SLOTS,
    STATE,
    STRATEGIES_MAX,
    STRATEGY_WORDS,
    SWEEP_WORDS,
    T_DONE,
    T_NEXT,
    W_ACCOUNT,
    W_BEFORE,
    W_INSTRUMENT,
    W_LEFT,
    W_SCOPE,
    W_SLOT,
    W_STRATEGY,
    W_SYNC,
    WORDS,
    State,
    Words,
)
from oms.types import Alarm, CommandKind, OrderFlag, OrderState, Pending, ScopeKind, TradingState
from oms.value import LISTED, SPOT, revalue, revalue_instrument, settle_money, to_reporting

INTENT_RINGS: Any = types.UniTuple(FROZEN, STRATEGIES_MAX)  # type: ignore[no-untyped-call]
REPORT_RINGS: Any = types.UniTuple(FROZEN, ACCOUNTS_MAX)  # type: ignore[no-untyped-call]
REQUEST_RINGS: Any = types.UniTuple(WORDS, ACCOUNTS_MAX)  # type: ignore[no-untyped-call]
Rings = tuple[Words, ...]

# What ``cycle`` returns beside the number of things done.
DONE, FULL = range(2)
"""``result``: things done; 1 if the journal's chunk is full."""
RESULT_WORDS = 4

BATCH = 64
"""Records of one ring in a turn."""
SWEEP_SLOTS = 2048
"""Slots that a sweep looks at in a turn."""
TOP_WORDS = FUNDING_WORDS = 16
INDEX_UNIT = 10**12
CANCEL_AGAIN_NS = 2 * 10**9
"""A cancellation that nothing has answered for so long is asked for again by a sweep."""

_TOP_SMALL = 10
_FUNDING_WHERE = 9
_LIVE, _BOOK = int(BookState.LIVE), int(TopSource.BOOK)
_DECISION, _REPORT = int(Record.DECISION), int(Record.REPORT)
_COMMAND = int(Record.COMMAND)
_SENT, _ASK_NEW = int(ReportKind.SENT), int(Action.NEW)
_K_STATE = int(CommandKind.STATE)
_REDUCE, _CANCEL_ONLY = int(TradingState.REDUCE_ONLY), int(TradingState.CANCEL_ONLY)
_HALT, _FLATTEN = int(TradingState.HALT), int(TradingState.FLATTEN)
_ACKED, _TRIGGERED = int(OrderState.ACKED), int(OrderState.TRIGGERED)
_OF_ACCOUNT, _FIRM = int(ScopeKind.ACCOUNT_INSTRUMENT), int(ScopeKind.FIRM)
_OF_STRATEGY = int(ScopeKind.STRATEGY_INSTRUMENT)
_P_CANCEL, _QUERIED = int(Pending.CANCEL), int(OrderFlag.QUERIED)
_LOSS, _DRAWDOWN = int(Alarm.DAILY_LOSS), int(Alarm.DRAWDOWN)
_REJECTS, _FILL_RATE = int(Alarm.REJECTS), int(Alarm.FILL_RATE)
_OWN_NUMBERS = 1 << 62
"""Numbers of the OMS' own orders begin here: strategies stay below."""


@inlined
def now_ns(state: State) -> int:
    """Return what time it is."""
    clock = state.control[C_CLOCK]
    return int(clock) if clock else realtime_ns()


# -- market data -----------------------------------------------------------------------------------
@inlined
def take_top(state: State, words: Words, at: int) -> None:
    """Take in a top of book."""
    instruments = state.instruments
    small = words[at + _TOP_SMALL]
    number = small & 0xFFFFFFFF
    place = number * INSTRUMENT_WORDS
    if place + INSTRUMENT_WORDS > len(instruments):
        return
    state.counts[state.counter[N_TOPS]] += 1
    source, live = (small >> 32) & 0xFF, ((small >> 40) & 0xFF) == _LIVE
    bid, ask = words[at + 4], words[at + 6]
    if not live or bid <= 0 or ask <= 0:
        if source == _BOOK:
            instruments[place + I_TOP_NS] = 0
        return
    instruments[place + I_BID], instruments[place + I_ASK] = bid, ask
    instruments[place + I_TOP_NS] = words[at + 3]
    instruments[place + I_TOP_PUBLISHED_NS] = words[at + 3]
    if instruments[place + I_MARK] == 0 or instruments[place + I_KIND] == SPOT:
        instruments[place + I_REFERENCE] = (bid + ask) // 2
        if instruments[place + I_FIRST]:
            revalue_instrument(state, number)


@inlined
def take_mark(state: State, words: Words, at: int) -> None:
    """Take in a mark price."""
    instruments, mark = state.instruments, words[at + 4]
    number = words[at + _FUNDING_WHERE] & 0xFFFFFFFF
    place = number * INSTRUMENT_WORDS
    if place + INSTRUMENT_WORDS > len(instruments) or mark <= 0:
        return
    state.counts[state.counter[N_MARKS]] += 1
    price = mul_div(mark, instruments[place + I_PRICE_UNIT], INDEX_UNIT)
    instruments[place + I_MARK], instruments[place + I_MARK_NS] = price, words[at + 3]
    instruments[place + I_REFERENCE] = price
    if instruments[place + I_FIRST]:
        revalue_instrument(state, number)


@inlined
def read_market(
    state: State, words: Words, cells: Words, stride: int, place: int, lost: int, tops: bool
) -> int:
    """Read a batch of one ring of market data; return how many records.

    A record that is overwritten while it is read may have been read torn: what it said is replaced
    by the next one of its instrument, and until then it counts as it would if it were right.
    """
    control = state.control
    capacity, position = len(words) // stride, control[place]
    count = available(words, stride, capacity, position, BATCH)
    if count == LAPPED:
        found = resume_point(words, cells, stride, capacity, position)
        control[lost] += found - position
        control[place] = found
        return 1
    for i in range(count):
        at = ((position + i) & (capacity - 1)) * stride
        if tops:
            take_top(state, words, at)
        else:
            take_mark(state, words, at)
    if count:
        if not intact(words, stride, capacity, position):
            control[lost] += count
        control[place] = position + count
    return count


# -- reports ---------------------------------------------------------------------------------------
@inlined
def take_report(state: State, words: Words, at: int, account: int, trades: Words) -> None:
    """Take in a report: into the journal, then into the state."""
    event = state.event
    for word in range(REPORT_WORDS):
        event[word] = words[at + word]
    state.control[C_NOW] = now_ns(state)
    state.counts[state.counter[N_REPORTS]] += 1
    append(state, _REPORT, account, event[0], event, REPORT_WORDS)
    rows = len(state.there) // ACCOUNTS_MAX
    unpack_report(event, state.there, rows, account)
    fills = state.counts[state.counter[N_FILLS]]
    apply_report(state)
    filled = state.counts[state.counter[N_FILLS]] != fills
    state.accounts[account * ACCOUNT_WORDS + A_EVENT_NS] = state.control[C_NOW]
    state.accounts[account * ACCOUNT_WORDS + A_DONE_REPORT] = event[0]
    if event[E_CLIENT]:
        after_report(state, trades, filled)


@inlined
def after_report(state: State, trades: Words, filled: bool) -> None:
    """Look at what a report about an order may have set off, and at how long its way was."""
    event, orders = state.event, state.orders
    slot = slot_of(orders, state.numbers, event[E_CLIENT])
    if slot == NONE:
        return
    at = slot * ORDER_WORDS
    if event[E_KIND] == _SENT and event[E_ACTION] == _ASK_NEW and orders[at + O_CAUSE_NS] > 0:
        record(trades, event[E_RECEIVED_NS] - orders[at + O_CAUSE_NS])
    positions = state.positions
    for row in (orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW]):
        if row != NONE:
            place = row * POSITION_WORDS
            watch(state, positions[place + P_SCOPE], filled)
            watch(state, positions[place + P_OWNER_SCOPE], filled)
    watch(state, 0, filled)


@inlined
def watch(state: State, scope: int, filled: bool) -> None:
    """Make a scope stricter if its losses, refusals or trades are beyond its limits."""
    scopes, at = state.scopes, scope * SCOPE_WORDS
    limits = at + S_LIMITS
    if filled:
        most = scopes[limits + L_FILL_RATE]
        if most >= 0:
            room = has_room(state, scope, FILLS, most, state.control[C_NOW], limits)
            count_rate(state, scope, FILLS)
            if not room:
                order_state(state, scope, _CANCEL_ONLY, _FILL_RATE)
    result = scopes[at + S_RESULT_MONEY]
    most = scopes[limits + L_DAILY_LOSS]
    if most >= 0 and scopes[at + S_DAY_MONEY] - result > most:
        order_state(state, scope, _REDUCE, _LOSS)
    most = scopes[limits + L_DRAWDOWN]
    if most >= 0 and scopes[at + S_PEAK_MONEY] - result > most:
        order_state(state, scope, _REDUCE, _DRAWDOWN)
    most = scopes[limits + L_REJECTS]
    if most >= 0 and scopes[at + S_REJECTS] > most:
        order_state(state, scope, _CANCEL_ONLY, _REJECTS)


@inlined
def order_state(state: State, scope: int, value: int, reason: int) -> None:
    """Have the OMS itself make a scope's trading state stricter."""
    scopes, command = state.scopes, state.command
    at = scope * SCOPE_WORDS
    if scopes[at + S_STATE] >= value or state.control[C_REPLAY]:
        return
    for word in range(COMMAND_WORDS):
        command[word] = 0
    command[K_CREATED_NS], command[K_KIND] = state.control[C_NOW], _K_STATE
    command[K_SCOPE_KIND], command[K_ACCOUNT] = scopes[at + S_KIND], scopes[at + S_ACCOUNT]
    command[K_STRATEGY], command[K_INSTRUMENT] = scopes[at + S_STRATEGY], scopes[at + S_INSTRUMENT]
    command[K_NAME], command[K_VALUE], command[K_AUTOMATIC] = reason, value, 1
    append(state, _COMMAND, 0, 0, command, COMMAND_WORDS)
    apply_command(state)


# -- intents ---------------------------------------------------------------------------------------
@inlined
def settle(state: State, source: int, requests: Rings) -> None:
    """Decide, journal, ask the gateway, and tell."""
    decision = state.decision
    decide(state)
    append(state, _DECISION, decision[D_STRATEGY], source, decision, DECISION_WORDS)
    action = decision[D_ACTION]
    if decision[D_REASON] == 0 and (action in (NEW, AMEND, CANCEL)):
        put_request(state, requests[decision[D_ACCOUNT]])
    apply_decision(state)


@inlined
def take_intent(state: State, words: Words, at: int, strategy: int, requests: Rings) -> None:
    """Take in an intent."""
    decision = state.decision
    for word in range(INTENT_WORDS):
        decision[word] = words[at + word]
    unpack_intent(decision, strategy)
    state.counts[state.counter[N_INTENTS]] += 1
    settle(state, decision[0], requests)


@inlined
def has_journal_room(state: State) -> bool:
    """Return whether an event, with all that it sets off, fits into the chunk."""
    return bool(state.control[C_JOURNAL_AT] + JOURNAL_ROOM <= len(state.journal))


@inlined
def read_reports(state: State, reports: Rings, trades: Words) -> int:
    """Read a batch of each account's reports; return how many there were."""
    done = 0
    for account in range(ACCOUNTS_MAX):
        words = reports[account]
        capacity = len(words) // REPORT_WORDS
        if capacity < 2:
            continue
        place = account * ACCOUNT_WORDS + A_REPORTS_NEXT
        for _ in range(BATCH):
            position = state.accounts[place]
            at = (position & (capacity - 1)) * REPORT_WORDS
            # Pairs with store_release in engine.ring.commit. A flow-controlled ring does not
            # overwrite what its readers have not done with.
            if load_acquire(words, at) != position or not has_journal_room(state):
                break
            if position > state.accounts[account * ACCOUNT_WORDS + A_DONE_REPORT]:
                take_report(state, words, at, account, trades)
            state.accounts[place] = position + 1
            done += 1
    return done


@inlined
def read_intents(state: State, intents: Rings, requests: Rings, decisions: Words) -> int:
    """Read a batch of each strategy's intents; return how many there were."""
    done = 0
    for strategy in range(1, STRATEGIES_MAX):
        words = intents[strategy]
        capacity = len(words) // INTENT_WORDS
        if capacity < 2:
            continue
        place = strategy * STRATEGY_WORDS
        for _ in range(BATCH):
            position = state.strategies[place + T_NEXT]
            at = (position & (capacity - 1)) * INTENT_WORDS
            if load_acquire(words, at) != position or not has_journal_room(state):
                break
            seen_ns = realtime_ns()
            clock = state.control[C_CLOCK]
            state.control[C_NOW] = clock if clock else seen_ns
            if position > state.strategies[place + T_DONE]:
                take_intent(state, words, at, strategy, requests)
                state.strategies[place + T_DONE] = position
            state.strategies[place + T_NEXT] = position + 1
            record(decisions, realtime_ns() - seen_ns)
            done += 1
    return done


# -- sweeps ----------------------------------------------------------------------------------------
@inlined
def sweep(state: State, requests: Rings) -> int:
    """Go on with the first sweep, a number of slots; return 1 if there was anything to do."""
    control, sweeps = state.control, state.sweeps
    if control[C_SWEEP_COUNT] == 0:
        return 0
    slot = sweeps[W_SLOT]
    stop = slot + SWEEP_SLOTS
    while slot < ALL_SLOTS and slot < stop:
        if slot == control[C_HIGH_SLOT] and slot < SLOTS:
            slot = SLOTS
            stop = slot + SWEEP_SLOTS
        if state.orders[slot * ORDER_WORDS + O_FLAGS] & LISTED:
            if not has_journal_room(state):
                sweeps[W_SLOT] = slot
                return 1
            if sweeps[W_SYNC]:
                if is_untold(state, slot, sweeps[W_ACCOUNT], sweeps[W_SYNC]):
                    if has_request_room(state, slot):
                        state.orders[slot * ORDER_WORDS + O_FLAGS] |= _QUERIED
                        put_query(state, requests[sweeps[W_ACCOUNT]], slot)
                    else:
                        sweeps[W_LEFT] = 1
            elif is_swept(state, slot):
                if has_request_room(state, slot):
                    state.control[C_NOW] = now_ns(state)
                    clear_decision(state)
                    aim_cancel(state, slot)
                    settle(state, 0, requests)
                else:
                    sweeps[W_LEFT] = 1
        slot += 1
    sweeps[W_SLOT] = slot
    if slot >= ALL_SLOTS:
        end_sweep(state)
    return 1


@inlined
def end_sweep(state: State) -> None:
    """Take the first sweep away, or to the end of the line if it had to leave something out.

    One account whose gateway takes no requests does not keep the others' orders from being
    cancelled.
    """
    control, sweeps = state.control, state.sweeps
    last = (control[C_SWEEP_COUNT] - 1) * SWEEP_WORDS
    again = sweeps[W_LEFT]
    sweeps[W_SLOT] = sweeps[W_LEFT] = 0
    for word in range(SWEEP_WORDS):
        first = sweeps[word]
        for at in range(word, last + word, SWEEP_WORDS):
            sweeps[at] = sweeps[at + SWEEP_WORDS]
        sweeps[last + word] = first
    if not again:
        control[C_SWEEP_COUNT] -= 1


@inlined
def has_request_room(state: State, slot: int) -> bool:
    """Return whether the gateway of an order's account takes another request."""
    at = state.orders[slot * ORDER_WORDS + O_ACCOUNT] * ACCOUNT_WORDS
    return bool(state.accounts[at + A_REQUESTS_NEWEST] < state.accounts[at + A_REQUESTS_ROOM])


@inlined
def is_untold(state: State, slot: int, account: int, sync: int) -> bool:
    """Return whether reconciliation did not tell of an open order, and nobody has asked for it."""
    orders, at = state.orders, slot * ORDER_WORDS
    status = orders[at + O_STATE]
    if orders[at + O_ACCOUNT] != account or orders[at + O_SYNC] >= sync:
        return False
    return bool(_ACKED <= status <= _TRIGGERED and not orders[at + O_FLAGS] & _QUERIED)


@inlined
def is_swept(state: State, slot: int) -> bool:
    """Return whether the present sweep is about an order that is not being cancelled."""
    orders, sweeps, at = state.orders, state.sweeps, slot * ORDER_WORDS
    waited_ns = now_ns(state) - orders[at + O_UPDATED_NS]
    if orders[at + O_PENDING] & _P_CANCEL and waited_ns < CANCEL_AGAIN_NS:
        return False
    strategy, number = sweeps[W_STRATEGY], sweeps[W_INSTRUMENT]
    account, scope = sweeps[W_ACCOUNT], sweeps[W_SCOPE]
    if strategy != NONE and orders[at + O_STRATEGY] != strategy:
        return False
    if number != NONE and orders[at + O_INSTRUMENT] != number:
        return False
    if account != NONE and orders[at + O_ACCOUNT] != account:
        return False
    if scope != NONE and not is_in_scope(state, at, scope):
        return False
    client = orders[at + O_CLIENT]
    return not (client > 0 and client >> SLOT_BITS > sweeps[W_BEFORE])  # Else placed since.


@inlined
def is_in_scope(state: State, at: int, scope: int) -> bool:
    """Return whether the order at ``at`` belongs to a scope."""
    if scope == 0:
        return True
    positions = state.positions
    for row in (state.orders[at + O_ACCOUNT_ROW], state.orders[at + O_STRATEGY_ROW]):
        if row != NONE:
            place = row * POSITION_WORDS
            if positions[place + P_SCOPE] == scope or positions[place + P_OWNER_SCOPE] == scope:
                return True
    return False


# -- by the clock ----------------------------------------------------------------------------------
@inlined
def measure_equity(state: State) -> None:
    """Bring the equity of accounts and of the firm up to balances, trades and results."""
    scopes, balances = state.scopes, state.balances
    for scope in range(1 + ACCOUNTS_MAX):
        at = row_begin(scopes, SCOPE_WORDS, scope)
        scopes[at + S_EQUITY_MONEY] = 0
    for row in range(state.control[C_BALANCE_COUNT]):
        at = row * BALANCE_WORDS
        account = balances[at + B_ACCOUNT]
        asset = NONE
        for number in range(len(state.held) // ACCOUNTS_MAX):
            if state.held[account * (len(state.held) // ACCOUNTS_MAX) + number] == row:
                asset = number
                break
        if asset != NONE:
            money = to_reporting(
                state.assets, asset, balances[at + B_TOTAL] + balances[at + B_CHANGED]
            )
            scopes[S_EQUITY_MONEY] += money
            scopes[(1 + account) * SCOPE_WORDS + S_EQUITY_MONEY] += money
    positions = state.positions
    for row in range(state.control[C_POSITION_COUNT]):
        at = row * POSITION_WORDS
        number = positions[at + P_INSTRUMENT]
        spot = state.instruments[number * INSTRUMENT_WORDS + I_KIND] == SPOT
        if positions[at + P_KIND] == _OF_ACCOUNT and not spot:
            money = settle_money(state, number, positions[at + P_UNREALIZED])
            scopes[S_EQUITY_MONEY] += money
            scopes[(1 + positions[at + P_ACCOUNT]) * SCOPE_WORDS + S_EQUITY_MONEY] += money
    for scope in range(1 + ACCOUNTS_MAX):
        row_commit(scopes, scope * SCOPE_WORDS)


@inlined
def sweep_halted(state: State) -> None:
    """Have what is open in halted scopes cancelled again: a cancellation may have been refused."""
    control, scopes = state.control, state.scopes
    if control[C_SWEEP_COUNT] or control[C_NOW] - control[C_SWEPT_NS] < CANCEL_AGAIN_NS:
        return
    for scope in range(control[C_SCOPE_COUNT]):
        at = scope * SCOPE_WORDS
        if scopes[at + S_STATE] >= _HALT and scopes[at + S_OPEN_ORDERS]:
            add_sweep(state, scope, NONE, NONE, NONE, 0)
            control[C_SWEPT_NS] = control[C_NOW]


@inlined
def row_state(state: State, at: int) -> int:
    """Return the strictest trading state of the scopes of position ``at``."""
    positions, scopes = state.positions, state.scopes
    own = scopes[positions[at + P_SCOPE] * SCOPE_WORDS + S_STATE]
    return int(max(own, scopes[positions[at + P_OWNER_SCOPE] * SCOPE_WORDS + S_STATE]))


@inlined
def close_positions(state: State, requests: Rings) -> int:
    """Send a closing order for each position of a scope that is to be flat, once nothing is open.

    What strategies have is closed in their names, whoever is to be flat: they, the account, the
    instrument or the firm. What is left of an account's position then is closed in nobody's.
    """
    positions, sent = state.positions, 0
    firm = state.scopes[S_STATE]
    for row in range(state.control[C_POSITION_COUNT]):
        at = row * POSITION_WORDS
        if positions[at + P_QUANTITY] == 0 or positions[at + P_ORDERS]:
            continue
        strictest = max(firm, row_state(state, at))
        whole = find_position(
            state,
            _OF_ACCOUNT,
            positions[at + P_ACCOUNT],
            0,
            positions[at + P_INSTRUMENT],
            positions[at + P_SIDE],
        )
        if whole == row:
            if has_owners(state, at):
                continue
        elif whole != NONE:
            strictest = max(strictest, row_state(state, whole * POSITION_WORDS))
        if strictest == _FLATTEN and has_journal_room(state):
            sent += close_position(state, at, whole, requests)
    return sent


@inlined
def has_owners(state: State, at: int) -> bool:
    """Return whether strategies have something to close of the account's position ``at``."""
    positions, number = state.positions, state.positions[at + P_INSTRUMENT]
    row = state.instruments[number * INSTRUMENT_WORDS + I_FIRST] - 1
    while row >= 0:
        other = row * POSITION_WORDS
        if (
            positions[other + P_KIND] != _OF_ACCOUNT
            and positions[other + P_ACCOUNT] == positions[at + P_ACCOUNT]
            and positions[other + P_SIDE] == positions[at + P_SIDE]
            and closable(state, other)
        ):
            return True
        row = positions[other + P_NEXT]
    return False


@inlined
def closable(state: State, at: int) -> int:
    """Return how much of position ``at`` one order can close; 0 if it is too small for one."""
    place = state.positions[at + P_INSTRUMENT] * INSTRUMENT_WORDS
    lot, most = state.instruments[place + I_LOT], state.instruments[place + I_MAXIMUM]
    whole = abs(state.positions[at + P_QUANTITY]) // lot * lot
    if 0 < most < whole:
        whole = most // lot * lot
    return int(whole) if whole >= state.instruments[place + I_MINIMUM] else 0


@inlined
def close_position(state: State, at: int, account_row: int, requests: Rings) -> int:
    """Send a market order that closes a position; reduce-only if the account's own allows it."""
    positions, decision = state.positions, state.decision
    number, quantity = positions[at + P_INSTRUMENT], positions[at + P_QUANTITY]
    place = number * INSTRUMENT_WORDS
    whole = closable(state, at)
    if whole == 0:
        return 0
    clear_decision(state)
    decision[D_ACTION], decision[D_INSTRUMENT] = NEW, number
    decision[D_ACCOUNT], decision[D_STRATEGY] = (
        positions[at + P_ACCOUNT],
        positions[at + P_STRATEGY],
    )
    decision[D_NUMBER] = _OWN_NUMBERS + state.control[C_JOURNAL]
    decision[D_SIDE] = -1 if quantity > 0 else 1
    decision[D_TYPE], decision[D_TIME] = MARKET, IOC
    decision[D_QUANTITY] = whole
    decision[D_POSITION_SIDE] = positions[at + P_SIDE]
    held = positions[account_row * POSITION_WORDS + P_QUANTITY] if account_row != NONE else 0
    covers = held >= whole if quantity > 0 else -held >= whole
    if covers and state.instruments[place + I_KIND] != SPOT:
        decision[D_REQUEST_FLAGS] = REDUCE_ONLY_FLAG
    decision[D_CREATED_NS] = state.control[C_NOW]
    settle(state, 0, requests)
    return int(decision[D_REASON] == 0)


# -- kernels ---------------------------------------------------------------------------------------
@kernel(
    types.int64(
        STATE,
        INTENT_RINGS,
        REPORT_RINGS,
        REQUEST_RINGS,
        FROZEN,
        FROZEN,
        FROZEN,
        FROZEN,
        WORDS,
        WORDS,
        types.int64,
    )
)
def cycle(
    state: State,
    intents: Rings,
    reports: Rings,
    requests: Rings,
    tops: Words,
    tops_cells: Words,
    marks: Words,
    marks_cells: Words,
    decisions: Words,
    trades: Words,
    until_ns: int,
) -> int:
    """Look at every ring until something was done, or until ``until_ns``; return how much.

    ``decisions`` and ``trades`` are histogram rows: intent seen to decision told, and top of book
    published to request on the socket.
    """
    while True:
        done = 0
        if len(tops) > TOP_WORDS:
            done += read_market(state, tops, tops_cells, TOP_WORDS, C_TOPS_NEXT, C_TOPS_LOST, True)
        if len(marks) > FUNDING_WORDS:
            done += read_market(
                state, marks, marks_cells, FUNDING_WORDS, C_FUNDING_NEXT, C_FUNDING_LOST, False
            )
        told = read_reports(state, reports, trades)
        asked = read_intents(state, intents, requests, decisions)
        told += sweep(state, requests)
        if told or asked or not has_journal_room(state):
            return done + told + asked
        if realtime_ns() >= until_ns:
            return done


@kernel(types.int64(STATE, REQUEST_RINGS))
def do_command(state: State, requests: Rings) -> int:
    """Journal the command in ``State.command`` and do it; return its journal sequence."""
    state.control[C_NOW] = now_ns(state)
    sequence = append(state, _COMMAND, 0, state.command[0], state.command, COMMAND_WORDS)
    apply_command(state)
    return sequence


@kernel(types.int64(STATE, REQUEST_RINGS))
def keep_up(state: State, requests: Rings) -> int:
    """Do what is due by the clock: worth, equity, limits on losses, halted scopes, closing.

    Returns the number of closing orders that went out.
    """
    state.control[C_NOW] = now_ns(state)
    for row in range(state.control[C_POSITION_COUNT]):
        at = row_begin(state.positions, POSITION_WORDS, row)
        revalue(state, row)
        row_commit(state.positions, at)
    measure_equity(state)
    for scope in range(state.control[C_SCOPE_COUNT]):
        if state.scopes[scope * SCOPE_WORDS + S_KIND] and has_journal_room(state):
            watch(state, scope, False)
    sweep_halted(state)
    return close_positions(state, requests)


# -- replay ----------------------------------------------------------------------------------------
@inlined
def record_words(journal: Words, at: int, sequence: int) -> int:
    """Return the length of the whole record at word ``at``, 0 if there is none of that number."""
    if at + JOURNAL_HEAD + 1 > len(journal):
        return 0
    head = journal[at]
    count = head & 0xFFFFFFFF
    if head >> 48 != MAGIC or count < JOURNAL_HEAD + 1 or at + count > len(journal):
        return 0
    if journal[at + 1] != sequence:
        return 0
    return count if checksum(journal, at, count - 1) == journal[at + count - 1] else 0


@inlined
def replay_command(state: State, journal: Words, body: int) -> None:
    """Do a command again."""
    command = state.command
    for word in range(COMMAND_WORDS):
        command[word] = journal[body + word]
    number = command[K_INSTRUMENT]
    if 0 <= number < len(state.remap):
        command[K_INSTRUMENT] = state.remap[number]
    apply_command(state)


@inlined
def replay_decision(state: State, journal: Words, body: int, owner: int, source: int) -> None:
    """Make a decision true that was made before."""
    decision = state.decision
    for word in range(DECISION_WORDS):
        decision[word] = journal[body + word]
    for word in range(DECISION_WORDS, SCRATCH_WORDS):
        decision[word] = NONE
    strategy, number = decision[D_STRATEGY], decision[D_INSTRUMENT]
    if 0 <= number < len(state.remap):
        decision[D_INSTRUMENT] = state.remap[number]
    if source:
        state.strategies[owner * STRATEGY_WORDS + T_DONE] = source
    if decision[D_CLIENT]:
        decision[D_SLOT] = slot_of(state.orders, state.numbers, decision[D_CLIENT])
    if decision[D_ROWS]:
        find_rows(state, strategy)
    if decision[D_REASON] == 0 and decision[D_ACTION] == NEW:
        slot = decision[D_CLIENT] & (SLOTS - 1)
        state.control[C_STAMP] = max(state.control[C_STAMP], decision[D_CLIENT] >> SLOT_BITS)
        decision[D_SLOT] = slot
        clear_slot(state.orders, state.numbers, slot)
        state.control[C_HIGH_SLOT] = max(state.control[C_HIGH_SLOT], slot + 1)
    elif decision[D_REASON] == 0 and decision[D_SLOT] == NONE and decision[D_ACTION] != CANCEL_ALL:
        return  # Of an order that the journal does not have.
    if decision[D_SLOT] != NONE and decision[D_ROWS] == 0:
        at = decision[D_SLOT] * ORDER_WORDS
        decision[D_ACCOUNT_ROW] = state.orders[at + O_ACCOUNT_ROW]
        decision[D_STRATEGY_ROW] = state.orders[at + O_STRATEGY_ROW]
        name_scopes(state, strategy if decision[D_STRATEGY_ROW] != NONE else 0)
    apply_decision(state)


@kernel(types.int64(FROZEN, types.int64, types.int64))
def find_record(journal: Words, at: int, sequence: int) -> int:
    """Return ``record_words`` for the Python face."""
    return record_words(journal, at, sequence)


@kernel(types.int64(STATE, FROZEN, types.int64, types.int64))
def replay(state: State, journal: Words, at: int, sequence: int) -> int:
    """Apply journal records from word ``at`` on, ``sequence`` being the last that was applied.

    Returns the word at which it stopped: behind the last whole record, or before one of another
    kind, which Python applies.
    """
    control = state.control
    while True:
        count = record_words(journal, at, control[C_JOURNAL] + 1)
        if count == 0:
            return at
        head = journal[at]
        kind, owner = (head >> 40) & 0xFF, (head >> 32) & 0xFF
        if kind != _DECISION and kind != _REPORT and kind != _COMMAND:
            return at
        control[C_JOURNAL], control[C_NOW] = journal[at + 1], journal[at + 2]
        source, body = journal[at + 3], at + JOURNAL_HEAD
        if kind == _DECISION:
            replay_decision(state, journal, body, owner, source)
        elif kind == _REPORT:
            for word in range(REPORT_WORDS):
                state.event[word] = journal[body + word]
            unpack_report(state.event, state.there, len(state.there) // ACCOUNTS_MAX, owner)
            apply_report(state)
            if source:
                state.accounts[owner * ACCOUNT_WORDS + A_DONE_REPORT] = source
        else:
            replay_command(state, journal, body)
        at += count
