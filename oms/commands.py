"""What operators order, and what the OMS orders itself: limits, trading states, orders resolved.

``apply_command`` takes the command in ``State.command``; it is in the journal by then, and does the
same in a replay. An automatic command makes a trading state only stricter.
"""

from engine.jit import inlined
from engine.table import row_begin, row_commit
from oms.accounts import add_sweep, adopt_position
from oms.emit import (
    U_CLIENT,
    alarm,
    begin_update,
    end_update,
    put_owners,
    put_what,
    put_where,
    silent,
    tell_order,
)
from oms.places import find_position, scope_row
from oms.slots import ended, slot_of
from oms.state import (
    A_SCOPE,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    C_DAY,
    C_NOW,
    C_SCOPE_COUNT,
    N_COMMANDS,
    NONE,
    O_PENDING,
    O_QUANTITY,
    O_STATE,
    O_TRADED,
    O_UPDATED_NS,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    S_ACCOUNT,
    S_DAY_MONEY,
    S_INSTRUMENT,
    S_LIMITS,
    S_LIMITS_VERSION,
    S_PEAK_MONEY,
    S_REJECTS,
    S_RESULT_MONEY,
    S_STATE,
    S_STATE_NS,
    S_STATE_REASON,
    S_STRATEGY,
    SCOPE_WORDS,
    STRATEGIES_MAX,
    STRATEGY_WORDS,
    T_SCOPE,
    State,
)
from oms.types import (
    LIMITS,
    Alarm,
    CommandKind,
    OrderState,
    ScopeKind,
    TradingState,
    UpdateKind,
)
from oms.value import hold

(
    K_CREATED_NS,
    K_KIND,
    K_SCOPE_KIND,
    K_ACCOUNT,
    K_STRATEGY,
    K_INSTRUMENT,
    K_NAME,
    K_VALUE,
    K_SECOND,
    K_CLIENT,
    K_AUTOMATIC,
    K_BY,
) = range(1, 13)
_LIMIT, _STATE = int(CommandKind.LIMIT), int(CommandKind.STATE)
_RESOLVE, _DAY = int(CommandKind.RESOLVE), int(CommandKind.DAY)
_ADOPT, _CANCEL = int(CommandKind.ADOPT), int(CommandKind.CANCEL)
_FIRM, _ACCOUNT = int(ScopeKind.FIRM), int(ScopeKind.ACCOUNT)
_STRATEGY = int(ScopeKind.STRATEGY)
_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)
_OF_STRATEGY = int(ScopeKind.STRATEGY_INSTRUMENT)
_HALT, _FLATTEN = int(TradingState.HALT), int(TradingState.FLATTEN)
_CANCELED, _UNKNOWN = int(OrderState.CANCELED), int(OrderState.UNKNOWN)
_LOST = int(OrderState.LOST)
_K_STATE, _K_TRADING = int(UpdateKind.STATE), int(UpdateKind.TRADING_STATE)
_DRIFT = int(Alarm.POSITION_DRIFT)
_LIMIT_COUNT = len(LIMITS)


@inlined
def scope_of_command(state: State) -> int:
    """Return the row of the command's scope, NONE if there is no such scope."""
    command = state.command
    kind, account, strategy = command[K_SCOPE_KIND], command[K_ACCOUNT], command[K_STRATEGY]
    if kind == _FIRM:
        return 0
    if kind != _STRATEGY and (account < 0 or account >= ACCOUNTS_MAX):
        return NONE
    if kind in (_STRATEGY, _OF_STRATEGY) and (strategy < 1 or strategy >= STRATEGIES_MAX):
        return NONE
    if kind == _ACCOUNT:
        return int(state.accounts[account * ACCOUNT_WORDS + A_SCOPE])
    if kind == _STRATEGY:
        return int(state.strategies[strategy * STRATEGY_WORDS + T_SCOPE])
    if (kind in (_OF_ACCOUNT, _OF_STRATEGY)) and command[K_INSTRUMENT] >= 0:
        return scope_row(state, kind, account, strategy, command[K_INSTRUMENT])
    return NONE


@inlined
def apply_command(state: State) -> None:
    """Do what the command in ``State.command`` says."""
    command = state.command
    kind = command[K_KIND]
    state.counts[state.counter[N_COMMANDS]] += 1
    if kind == _DAY:
        _begin_day(state)
    elif kind == _RESOLVE:
        _resolve(state)
    elif kind == _ADOPT:
        _adopt(state)
    elif kind in (_LIMIT, _STATE, _CANCEL):
        scope = scope_of_command(state)
        if scope == NONE:
            return
        if kind == _LIMIT:
            _set_limit(state, scope)
        elif kind == _STATE:
            set_trading_state(
                state, scope, command[K_VALUE], command[K_NAME], command[K_AUTOMATIC] != 0
            )
        else:
            add_sweep(state, scope, NONE, NONE, NONE, 0)


@inlined
def _set_limit(state: State, scope: int) -> None:
    name, value = state.command[K_NAME], state.command[K_VALUE]
    if name < 0 or name >= _LIMIT_COUNT:
        return
    at = row_begin(state.scopes, SCOPE_WORDS, scope)
    state.scopes[at + S_LIMITS + name] = max(value, NONE)
    state.scopes[at + S_LIMITS_VERSION] += 1
    row_commit(state.scopes, at)


@inlined
def set_trading_state(state: State, scope: int, value: int, reason: int, automatic: bool) -> None:
    """Set a scope's trading state, and begin what it demands."""
    scopes = state.scopes
    at = scope * SCOPE_WORDS
    before = scopes[at + S_STATE]
    if value < 0 or value > _FLATTEN or value == before or (automatic and value < before):
        return
    at = row_begin(scopes, SCOPE_WORDS, scope)
    scopes[at + S_STATE], scopes[at + S_STATE_REASON] = value, reason
    scopes[at + S_STATE_NS] = state.control[C_NOW]
    if not automatic and value < before:
        scopes[at + S_REJECTS] = 0  # Else the next look at them would undo what was ordered.
    row_commit(scopes, at)
    if value >= _HALT:
        add_sweep(state, scope, NONE, NONE, NONE, 0)
    if silent(state):
        return
    u = begin_update(state)
    state.updates[u + U_CLIENT] = scope
    strategy, account = max(scopes[at + S_STRATEGY], 0), scopes[at + S_ACCOUNT]
    put_owners(state.updates, u, strategy, account)
    put_where(state.updates, u, scopes[at + S_INSTRUMENT], reason)
    put_what(state.updates, u, _K_TRADING, value, 0, 0, 0, 0)
    end_update(state, u)


@inlined
def _begin_day(state: State) -> None:
    scopes = state.scopes
    state.control[C_DAY] = state.command[K_VALUE]
    for scope in range(state.control[C_SCOPE_COUNT]):
        at = row_begin(scopes, SCOPE_WORDS, scope)
        scopes[at + S_DAY_MONEY] = scopes[at + S_PEAK_MONEY] = scopes[at + S_RESULT_MONEY]
        row_commit(scopes, at)


@inlined
def _resolve(state: State) -> None:
    """Take an order of unknown fate as ended: an operator knows that it is."""
    slot = slot_of(state.orders, state.numbers, state.command[K_CLIENT])
    if slot == NONE:
        return
    orders = state.orders
    status = orders[slot * ORDER_WORDS + O_STATE]
    if ended(status) or (status != _LOST and status != _UNKNOWN):
        return
    at = row_begin(orders, ORDER_WORDS, slot)
    orders[at + O_STATE], orders[at + O_PENDING] = _CANCELED, 0
    orders[at + O_WORST_QUANTITY] = max(orders[at + O_TRADED], orders[at + O_QUANTITY])
    orders[at + O_UPDATED_NS] = state.control[C_NOW]
    hold(state, slot)
    row_commit(orders, at)
    tell_order(state, slot, _K_STATE, 0, 0)


@inlined
def _adopt(state: State) -> None:
    """Take the venue's position: it has not been ours for longer than events take."""
    command = state.command
    account, number = command[K_ACCOUNT], command[K_INSTRUMENT]
    row = find_position(state, _OF_ACCOUNT, account, 0, number, command[K_SECOND])
    if row != NONE:
        adopt_position(state, row, command[K_VALUE], command[K_CLIENT])
        alarm(state, account, number, 0, _DRIFT)
