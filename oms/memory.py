"""Making the memory of the loop (``oms.state``), and telling it of instruments and accounts."""

import math
from typing import Any

import numpy as np

from feeds.types import Kind
from oms.decisions import SCRATCH_WORDS
from oms.events import EVENT_WORDS
from oms.slots import LINK_WORDS
from oms.state import (
    A_ALIVE,
    A_REPORTS_NEXT,
    A_SCOPE,
    ACCOUNT_WORDS,
    ACCOUNTS_MAX,
    ALL_SLOTS,
    ASSETS,
    BALANCE_WORDS,
    BALANCES,
    C_DEADLINE_NS,
    C_PREDICT_POST_ONLY,
    C_SCOPE_COUNT,
    C_SPOT_BALANCE,
    COMMAND_WORDS,
    CONTROL_WORDS,
    COUNTERS,
    I_ACCOUNT,
    I_BASE,
    I_DENOMINATOR,
    I_KIND,
    I_KNOWN,
    I_LOT,
    I_MAXIMUM,
    I_MINIMUM,
    I_MINIMUM_NOTIONAL,
    I_NUMERATOR,
    I_PRICE_DECIMALS,
    I_PRICE_UNIT,
    I_QUANTITY_DECIMALS,
    I_QUOTE,
    I_ROW_THERE,
    I_SETTLE,
    I_STATUS,
    I_TICK,
    INSTRUMENT_WORDS,
    NONE,
    NUMBERS,
    ORDER_WORDS,
    POSITION_CELLS,
    POSITION_WORDS,
    POSITIONS,
    RATE_MOST,
    RATES,
    RECENT,
    S_ACCOUNT,
    S_INSTRUMENT,
    S_KIND,
    S_LIMITS,
    S_STRATEGY,
    SCOPE_WORDS,
    SCOPES,
    SEEN_SETS,
    SEEN_WAYS,
    SLOTS,
    STRATEGIES_MAX,
    STRATEGY_WORDS,
    SWEEP_WORDS,
    SWEEPS,
    T_NEXT,
    T_SCOPE,
    State,
    Words,
)
from oms.types import LIMITS, ScopeKind

REQUEST_DEADLINE_NS = 10**9
"""A request that the gateway has not sent by then is not sent any more."""

__all__ = ["account_scope", "asset_of", "new_state", "put_instrument", "rate_of", "strategy_scope"]


def account_scope(account: int) -> int:
    """Return the row of an account's scope."""
    return 1 + account


def strategy_scope(strategy: int) -> int:
    """Return the row of a strategy's scope; strategies count from 1."""
    return ACCOUNTS_MAX + strategy


def _words(count: int) -> Words:
    return np.zeros(count, np.int64)


def new_state(
    instruments: int,
    *,
    orders: Words | None = None,
    positions: Words | None = None,
    balances: Words | None = None,
    scopes: Words | None = None,
    journal: Words | None = None,
    updates: Words | None = None,
    counts: Words | None = None,
    counter: Words | None = None,
) -> State:
    """Return the memory of an OMS that knows nothing, for ``instruments`` rows of md.instruments.

    The published tables and rings are passed in; without them the arrays are private (tests).
    """
    state = State(
        orders=_words(ALL_SLOTS * ORDER_WORDS) if orders is None else orders,
        positions=_words(POSITIONS * POSITION_WORDS) if positions is None else positions,
        balances=_words(BALANCES * BALANCE_WORDS) if balances is None else balances,
        scopes=_words(SCOPES * SCOPE_WORDS) if scopes is None else scopes,
        links=np.full(LINK_WORDS * ALL_SLOTS, NONE, np.int64),
        heads=_words(POSITIONS * 4),
        recent=_words(POSITIONS * RECENT * 4),
        instruments=_words(instruments * INSTRUMENT_WORDS),
        remap=np.arange(instruments, dtype=np.int64),
        there=np.full(ACCOUNTS_MAX * instruments, NONE, np.int64),
        assets=_words(3 * ASSETS),
        held=np.full(ACCOUNTS_MAX * ASSETS, NONE, np.int64),
        numbers=_words(NUMBERS),
        places=_words(POSITION_CELLS),
        free=_words(2 * SLOTS),
        seen=_words(SEEN_SETS * SEEN_WAYS),
        times=_words(SCOPES * RATES * RATE_MOST),
        marks=_words(SCOPES * RATES),
        accounts=_words(ACCOUNTS_MAX * ACCOUNT_WORDS),
        strategies=_words(STRATEGIES_MAX * STRATEGY_WORDS),
        control=_words(CONTROL_WORDS),
        sweeps=_words(SWEEPS * SWEEP_WORDS),
        counts=_words(len(COUNTERS)) if counts is None else counts,
        counter=np.arange(len(COUNTERS)) if counter is None else counter,
        event=_words(EVENT_WORDS),
        decision=_words(SCRATCH_WORDS),
        command=_words(COMMAND_WORDS),
        journal=_words(0) if journal is None else journal,
        updates=_words(0) if updates is None else updates,
    )
    state.instruments.reshape(-1, INSTRUMENT_WORDS)[:, [I_ROW_THERE, I_ACCOUNT]] = NONE
    _make_scopes(state)
    control = state.control
    control[C_DEADLINE_NS] = REQUEST_DEADLINE_NS
    control[C_PREDICT_POST_ONLY] = control[C_SPOT_BALANCE] = 1
    state.accounts.reshape(-1, ACCOUNT_WORDS)[:, [A_REPORTS_NEXT, A_ALIVE]] = 1
    state.strategies.reshape(-1, STRATEGY_WORDS)[:, T_NEXT] = 1
    return state


def _make_scopes(state: State) -> None:
    """Make the scopes of the firm, of all accounts and of all strategies, without limits."""
    rows = state.scopes.reshape(-1, SCOPE_WORDS)
    rows[:] = 0
    rows[:, S_LIMITS : S_LIMITS + len(LIMITS)] = NONE
    rows[:, [S_ACCOUNT, S_STRATEGY, S_INSTRUMENT]] = NONE
    rows[0, S_KIND] = ScopeKind.FIRM
    for account in range(ACCOUNTS_MAX):
        row = account_scope(account)
        rows[row, S_KIND], rows[row, S_ACCOUNT] = ScopeKind.ACCOUNT, account
        state.accounts[account * ACCOUNT_WORDS + A_SCOPE] = row
    for strategy in range(1, STRATEGIES_MAX):
        row = strategy_scope(strategy)
        rows[row, S_KIND], rows[row, S_STRATEGY] = ScopeKind.STRATEGY, strategy
        state.strategies[strategy * STRATEGY_WORDS + T_SCOPE] = row
    state.control[C_SCOPE_COUNT] = ACCOUNTS_MAX + STRATEGIES_MAX


def _name_words(name: bytes) -> tuple[int, int]:
    words = np.frombuffer(name.ljust(16, b"\0")[:16], np.int64)
    return int(words[0]), int(words[1])


def asset_of(state: State, name: bytes) -> int:
    """Return the number of a currency, entered if it is new."""
    first, second = _name_words(name)
    for number in range(ASSETS):
        at = 3 * number
        if state.assets[at] == 0:
            state.assets[at], state.assets[at + 1] = first, second
            return number
        if state.assets[at] == first and state.assets[at + 1] == second:
            return number
    raise ValueError(f"more than {ASSETS} currencies")


def rate_of(state: State, name: bytes, rate: int) -> None:
    """Set what a unit of a currency is worth in the reporting currency, mantissa of 1e-8."""
    state.assets[3 * asset_of(state, name) + 2] = rate


def put_instrument(state: State, number: int, row: np.void, account: int, there: int) -> None:
    """Enter the terms of a row of md.instruments (``feeds.types.INSTRUMENT``).

    ``account`` trades it, and ``there`` is its row in that venue's own table; NONE if none does.
    """
    at = number * INSTRUMENT_WORDS
    cells, kind = state.instruments, int(row["kind"])
    price, quantity = int(row["price_decimals"]), int(row["quantity_decimals"])
    inverse = kind in (Kind.INVERSE_PERPETUAL, Kind.INVERSE_FUTURE)
    value = 10**8 if kind == Kind.SPOT else int(row["contract_value"])
    scale = 10**quantity if inverse else 10 ** (price + quantity)
    common = math.gcd(value, scale)
    terms: dict[int, Any] = {
        I_STATUS: row["status"],
        I_TICK: max(1, int(row["tick"])),
        I_LOT: max(1, int(row["lot"])),
        I_MINIMUM: row["minimum_quantity"],
        I_MAXIMUM: row["maximum_quantity"],
        I_MINIMUM_NOTIONAL: row["minimum_notional"],
        I_KIND: kind,
        I_NUMERATOR: value // common,
        I_DENOMINATOR: min(scale // common, 2**63 - 1),
        I_PRICE_UNIT: 10**price,
        I_PRICE_DECIMALS: price,
        I_QUANTITY_DECIMALS: quantity,
        I_BASE: asset_of(state, bytes(row["base"])),
        I_QUOTE: asset_of(state, bytes(row["quote"])),
        I_SETTLE: asset_of(state, bytes(row["settle"]) or bytes(row["quote"])),
        I_ACCOUNT: account,
        I_ROW_THERE: there,
        I_KNOWN: 1,
    }
    for word, term in terms.items():
        cells[at + word] = term
    if account != NONE and there != NONE:
        rows = len(state.there) // ACCOUNTS_MAX
        state.there[account * rows + there] = number
