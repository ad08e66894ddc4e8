"""Rows of positions, balances, scopes: found by what they are of, made when first needed."""

from engine.jit import inlined
from engine.table import row_begin, row_commit
from oms.slots import mix
from oms.state import (
    A_SCOPE,
    ACCOUNT_WORDS,
    ASSETS,
    B_ACCOUNT,
    B_ASSET,
    BALANCE_WORDS,
    BALANCES,
    C_BALANCE_COUNT,
    C_POSITION_COUNT,
    C_SCOPE_COUNT,
    I_FIRST,
    INSTRUMENT_WORDS,
    NONE,
    P_ACCOUNT,
    P_INSTRUMENT,
    P_KIND,
    P_NEXT,
    P_OWNER_SCOPE,
    P_SCOPE,
    P_SIDE,
    P_STRATEGY,
    POSITION_CELLS,
    POSITION_WORDS,
    POSITIONS,
    S_ACCOUNT,
    S_INSTRUMENT,
    S_KIND,
    S_LIMITS,
    S_STRATEGY,
    SCOPE_WORDS,
    SCOPES,
    STRATEGY_WORDS,
    T_SCOPE,
    State,
)
from oms.types import LIMITS, ScopeKind

_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)
_LIMIT_COUNT = len(LIMITS)


@inlined
def find_position(
    state: State, kind: int, account: int, strategy: int, instrument: int, side: int
) -> int:
    """Return a position's row, NONE if there is none yet."""
    positions, places = state.positions, state.places
    cell = mix(instrument << 16 | account << 8 | strategy << 3 | (side + 1)) & (POSITION_CELLS - 1)
    while places[cell]:
        row = places[cell] - 1
        at = row * POSITION_WORDS
        if (
            positions[at + P_INSTRUMENT] == instrument
            and positions[at + P_KIND] == kind
            and positions[at + P_ACCOUNT] == account
            and positions[at + P_STRATEGY] == strategy
            and positions[at + P_SIDE] == side
        ):
            return int(row)
        cell = (cell + 1) & (POSITION_CELLS - 1)
    return NONE


@inlined
def position_row(
    state: State, kind: int, account: int, strategy: int, instrument: int, side: int
) -> int:
    """Return a position's row, made with its scope if it is new; NONE if there is no room."""
    row = find_position(state, kind, account, strategy, instrument, side)
    if row != NONE:
        return row
    control, positions, places = state.control, state.positions, state.places
    row = control[C_POSITION_COUNT]
    scope = scope_row(state, kind, account, strategy, instrument) if row < POSITIONS else NONE
    if scope == NONE:
        return NONE
    control[C_POSITION_COUNT] += 1
    at = row_begin(positions, POSITION_WORDS, row)
    positions[at + P_KIND], positions[at + P_ACCOUNT] = kind, account
    positions[at + P_STRATEGY], positions[at + P_INSTRUMENT] = strategy, instrument
    positions[at + P_SIDE] = side
    owner = (
        state.accounts[account * ACCOUNT_WORDS + A_SCOPE]
        if kind == _OF_ACCOUNT
        else state.strategies[strategy * STRATEGY_WORDS + T_SCOPE]
    )
    positions[at + P_OWNER_SCOPE] = owner
    positions[at + P_SCOPE] = scope
    head = instrument * INSTRUMENT_WORDS + I_FIRST
    positions[at + P_NEXT] = state.instruments[head] - 1
    state.instruments[head] = row + 1
    row_commit(positions, at)
    cell = mix(instrument << 16 | account << 8 | strategy << 3 | (side + 1)) & (POSITION_CELLS - 1)
    while places[cell]:
        cell = (cell + 1) & (POSITION_CELLS - 1)
    places[cell] = row + 1
    return int(row)


@inlined
def scope_row(state: State, kind: int, account: int, strategy: int, instrument: int) -> int:
    """Return the row of an instrument's scope, made without limits if new; NONE if no room.

    Both position sides of an instrument share it; there are few, so they are searched.
    """
    scopes, control = state.scopes, state.control
    strategy = NONE if kind == _OF_ACCOUNT else strategy
    for row in range(1, control[C_SCOPE_COUNT]):
        at = row * SCOPE_WORDS
        if (
            scopes[at + S_INSTRUMENT] == instrument
            and scopes[at + S_KIND] == kind
            and scopes[at + S_ACCOUNT] == account
            and scopes[at + S_STRATEGY] == strategy
        ):
            return row
    row = control[C_SCOPE_COUNT]
    if row >= SCOPES:
        return NONE
    control[C_SCOPE_COUNT] += 1
    at = row_begin(scopes, SCOPE_WORDS, row)
    scopes[at + S_KIND], scopes[at + S_ACCOUNT] = kind, account
    scopes[at + S_STRATEGY], scopes[at + S_INSTRUMENT] = strategy, instrument
    for i in range(_LIMIT_COUNT):
        scopes[at + S_LIMITS + i] = NONE
    row_commit(scopes, at)
    return int(row)


@inlined
def balance_row(state: State, account: int, asset: int) -> int:
    """Return the row of a balance, made if it is new; NONE if there is no room."""
    place = account * ASSETS + asset
    if state.held[place] != NONE:
        return int(state.held[place])
    control = state.control
    row = control[C_BALANCE_COUNT]
    if row >= BALANCES:
        return NONE
    control[C_BALANCE_COUNT] += 1
    at = row_begin(state.balances, BALANCE_WORDS, row)
    state.balances[at + B_ACCOUNT] = account
    state.balances[at + B_ASSET] = state.assets[3 * asset]
    state.balances[at + B_ASSET + 1] = state.assets[3 * asset + 1]
    row_commit(state.balances, at)
    state.held[place] = row
    return int(row)
