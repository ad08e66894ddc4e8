"""What a gateway says of the account as a whole: balances, positions, funding, reconciliation."""

from engine.jit import inlined
from engine.table import row_begin, row_commit
from engine.wide import mul_div
from gateways.types import AVERAGE_DECIMALS, ReportKind
from oms.emit import (
    U_EXCHANGE_NS,
    U_RECEIVED_NS,
    alarm,
    begin_update,
    end_update,
    put_owners,
    put_what,
    put_where,
    silent,
)
from oms.events import (
    E_ACCOUNT,
    E_ASSET_WORD,
    E_AVAILABLE,
    E_AVERAGE_PRICE,
    E_DECIMALS,
    E_EXCHANGE_NS,
    E_INSTRUMENT,
    E_KIND,
    E_POSITION_SIDE,
    E_QUANTITY,
    E_REASON,
    E_RECEIVED_NS,
    fee_money,
    find_asset,
    to_money,
)
from oms.places import balance_row, position_row
from oms.state import (
    A_SYNC,
    A_SYNCED,
    A_SYNCING,
    A_UP,
    ACCOUNT_WORDS,
    ASSETS,
    B_AVAILABLE,
    B_CHANGED,
    B_RATE,
    B_TOLD_NS,
    B_TOTAL,
    BALANCE_WORDS,
    C_NOW,
    C_POSITION_COUNT,
    C_STAMP,
    C_SWEEP_COUNT,
    I_KIND,
    INSTRUMENT_WORDS,
    N_UNMAPPED,
    NONE,
    P_ACCOUNT,
    P_COST,
    P_FILL_NS,
    P_FUNDING,
    P_INSTRUMENT,
    P_KIND,
    P_MARK,
    P_QUANTITY,
    P_VENUE_NS,
    P_VENUE_PRICE,
    P_VENUE_QUANTITY,
    POSITION_WORDS,
    SWEEP_WORDS,
    SWEEPS,
    W_ACCOUNT,
    W_BEFORE,
    W_INSTRUMENT,
    W_SCOPE,
    W_SLOT,
    W_STRATEGY,
    W_SYNC,
    State,
)
from oms.types import Alarm, ScopeKind, UpdateKind
from oms.value import SPOT, revalue, value_of

_BALANCE, _POSITION = int(ReportKind.BALANCE), int(ReportKind.POSITION)
_FUNDING = int(ReportKind.FUNDING)
_BEGIN, _END = int(ReportKind.SYNC_BEGIN), int(ReportKind.SYNC_END)
_UP, _DOWN = int(ReportKind.UP), int(ReportKind.DOWN)
_ACCOUNT, _UNMAPPED = int(UpdateKind.ACCOUNT), int(Alarm.UNMAPPED)
AVERAGE_UNIT = 10**AVERAGE_DECIMALS
_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)


@inlined
def apply_account(state: State) -> None:
    """Apply the report in ``State.event``, which concerns no order."""
    event = state.event
    kind, account = event[E_KIND], event[E_ACCOUNT]
    at = account * ACCOUNT_WORDS
    accounts = state.accounts
    if kind == _BALANCE:
        _balance(state)
    elif kind == _POSITION:
        _position(state)
    elif kind == _FUNDING:
        _funding(state)
    elif kind == _BEGIN:
        accounts[at + A_SYNC] += 1
        accounts[at + A_SYNCING] = 1
    elif kind == _END:
        if accounts[at + A_SYNCING]:
            accounts[at + A_SYNCING] = 0
            accounts[at + A_SYNCED] = 1
            _adopt_first(state, account)
            add_sweep(state, NONE, NONE, NONE, account, accounts[at + A_SYNC])
        _tell_account(state)
    elif kind in (_UP, _DOWN):
        accounts[at + A_UP] = int(kind == _UP)
        _tell_account(state)


@inlined
def add_sweep(
    state: State, scope: int, strategy: int, instrument: int, account: int, sync: int
) -> None:
    """Have all open orders looked at, a piece in each cycle.

    To cancel those that were placed until now, or (``sync``) to ask the venue for those that
    reconciliation did not tell of. One that is under way already begins again; if there is no room
    the oldest gives way.
    """
    control, sweeps = state.control, state.sweeps
    count = control[C_SWEEP_COUNT]
    row = count
    for i in range(count):
        at = i * SWEEP_WORDS
        same = sweeps[at + W_SCOPE] == scope and sweeps[at + W_STRATEGY] == strategy
        same = same and sweeps[at + W_INSTRUMENT] == instrument
        same = same and sweeps[at + W_ACCOUNT] == account
        if same and (sweeps[at + W_SYNC] > 0) == (sync > 0):
            row = i
            break
    if row == SWEEPS:
        row = SWEEPS - 1
        for word in range(row * SWEEP_WORDS):
            sweeps[word] = sweeps[word + SWEEP_WORDS]
    control[C_SWEEP_COUNT] = max(count, row + 1)
    at = row * SWEEP_WORDS
    sweeps[at + W_SCOPE], sweeps[at + W_SLOT], sweeps[at + W_SYNC] = scope, 0, sync
    sweeps[at + W_STRATEGY], sweeps[at + W_INSTRUMENT] = strategy, instrument
    sweeps[at + W_ACCOUNT], sweeps[at + W_BEFORE] = account, control[C_STAMP]


@inlined
def asset_number(state: State, first: int, second: int) -> int:
    """Return the number of an asset, entered if it is new; -1 if there is no room, or no name."""
    number = find_asset(state.assets, first, second)
    if number >= 0 or first == 0:
        return number
    for number in range(ASSETS):
        if state.assets[3 * number] == 0:
            state.assets[3 * number], state.assets[3 * number + 1] = first, second
            return number
    return -1


@inlined
def _balance(state: State) -> None:
    event, balances = state.event, state.balances
    asset = asset_number(state, event[E_ASSET_WORD], event[E_ASSET_WORD + 1])
    if asset < 0:
        return
    row = balance_row(state, event[E_ACCOUNT], asset)
    if row == NONE:
        return
    decimals = event[E_DECIMALS]
    at = row_begin(balances, BALANCE_WORDS, row)
    balances[at + B_TOTAL] = to_money(event[E_QUANTITY], decimals)
    balances[at + B_AVAILABLE] = to_money(event[E_AVAILABLE], decimals)
    balances[at + B_CHANGED] = 0
    balances[at + B_TOLD_NS] = state.control[C_NOW]
    balances[at + B_RATE] = state.assets[3 * asset + 2]
    row_commit(balances, at)


@inlined
def _row_of(state: State) -> int:
    """Return the account's position that the report is about; NONE if the worker knows none."""
    event = state.event
    number = event[E_INSTRUMENT]
    if number == NONE:
        state.counts[state.counter[N_UNMAPPED]] += 1
        alarm(state, event[E_ACCOUNT], NONE, 0, _UNMAPPED)
        return NONE
    account, side = event[E_ACCOUNT], event[E_POSITION_SIDE]
    return position_row(state, _OF_ACCOUNT, account, 0, number, side)


@inlined
def _position(state: State) -> None:
    row = _row_of(state)
    if row == NONE:
        return
    positions, event = state.positions, state.event
    at = row_begin(positions, POSITION_WORDS, row)
    positions[at + P_VENUE_QUANTITY] = event[E_QUANTITY]
    positions[at + P_VENUE_NS] = state.control[C_NOW]
    positions[at + P_VENUE_PRICE] = mul_div(event[E_AVERAGE_PRICE], 1, AVERAGE_UNIT)
    row_commit(positions, at)


@inlined
def _adopt_first(state: State, account: int) -> None:
    """Take the venue's positions as ours where we never traded: they were there before us."""
    positions = state.positions
    for row in range(state.control[C_POSITION_COUNT]):
        at = row * POSITION_WORDS
        if (
            positions[at + P_ACCOUNT] == account
            and positions[at + P_KIND] == _OF_ACCOUNT
            and positions[at + P_VENUE_NS]
            and positions[at + P_FILL_NS] == 0
        ):
            adopt_position(
                state, row, positions[at + P_VENUE_QUANTITY], positions[at + P_VENUE_PRICE]
            )


@inlined
def adopt_position(state: State, row: int, quantity: int, price: int) -> None:
    """Make a position another one, at a price; what it had brought stays."""
    at = row_begin(state.positions, POSITION_WORDS, row)
    positions = state.positions
    if positions[at + P_QUANTITY] != quantity:
        number = positions[at + P_INSTRUMENT]
        if price <= 0:
            price = positions[at + P_MARK]
        if positions[at + P_QUANTITY] == 0:
            positions[at + P_MARK] = price
        positions[at + P_QUANTITY] = quantity
        positions[at + P_COST] = value_of(state.instruments, number, price, abs(quantity))
        revalue(state, row)
    row_commit(state.positions, at)


@inlined
def _funding(state: State) -> None:
    """Book a payment to the account's position: whose it is among strategies nobody says."""
    row = _row_of(state)
    if row == NONE:
        return
    at = row_begin(state.positions, POSITION_WORDS, row)
    state.positions[at + P_FUNDING] += fee_money(state)
    revalue(state, row)
    row_commit(state.positions, at)


@inlined
def _tell_account(state: State) -> None:
    if silent(state):
        return
    event, updates = state.event, state.updates
    account = event[E_ACCOUNT]
    at = account * ACCOUNT_WORDS
    takes = state.accounts[at + A_UP] != 0 and state.accounts[at + A_SYNCED] != 0
    u = begin_update(state)
    updates[u + U_EXCHANGE_NS] = event[E_EXCHANGE_NS]
    updates[u + U_RECEIVED_NS] = event[E_RECEIVED_NS]
    put_owners(updates, u, 0, account)
    put_where(updates, u, NONE, event[E_REASON])
    put_what(updates, u, _ACCOUNT, int(takes), 0, 0, 0, 0)
    end_update(state, u)


@inlined
def is_spot(state: State, number: int) -> bool:
    """Return whether an instrument is spot: its position is a balance."""
    return bool(state.instruments[number * INSTRUMENT_WORDS + I_KIND] == SPOT)
