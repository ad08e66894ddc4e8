"""The memory of the OMS loop: which arrays there are, and what stands where in them.

All of it is int64. Orders, positions, balances and scopes are the published tables themselves
(``oms.types``; the constants below are word numbers in their rows): there is no second copy, and
the loop, their one writer, reads them without a lock. The rest is private to the process.

``State`` is passed to the kernels whole; those called for every event unpack what they need.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from engine.layout import Layout
from oms.types import BALANCE, COMMAND, INTENT, LIMITS, ORDER, POSITION, SCOPE, UPDATE

Words = NDArray[np.int64]
FROZEN = types.Array(types.int64, 1, "C", readonly=True)
WORDS = types.Array(types.int64, 1, "C")

SLOT_BITS = 17
SLOTS = 1 << SLOT_BITS
"""Orders of our own that can be told apart; an ended one's slot is used again as late as can be."""
FOREIGN = 1 << 13
"""Slots behind them, for orders that we never sent."""
ALL_SLOTS = SLOTS + FOREIGN
ACCOUNTS_MAX = 8
STRATEGIES_MAX = 16
"""Of one OMS; number 0 is nobody."""
POSITIONS = 4096
SCOPES = 1 + ACCOUNTS_MAX + STRATEGIES_MAX + POSITIONS
BALANCES = 1024
ASSETS = 512
NUMBERS = 1 << 19
"""Cells of the map from a strategy's number to a slot: at most a third is used."""
POSITION_CELLS = 1 << 14
SEEN_SETS, SEEN_WAYS = 1 << 16, 4
"""Trades that are remembered, so that none is booked twice: the oldest of a set goes."""
RATE_MOST = 1024
"""The highest rate limit that can be counted exactly: so many events in a period."""
RATES = 4
"""Kinds of rates: orders, amendments, cancellations, fills."""
RECENT = 8
"""Orders of a strategy in an instrument that the duplicate window looks at."""
SWEEPS = 64
NONE = -1

# Words of an ORDER.
(
    O_VERSION,
    O_CLIENT,
    O_NUMBER,
    O_STRATEGY,
    O_ACCOUNT,
    O_INSTRUMENT,
    O_STATE,
    O_PENDING,
    O_FLAGS,
    O_SIDE,
    O_TYPE,
    O_TIME,
    O_POSITION_SIDE,
    O_PRICE,
    O_QUANTITY,
    O_STOP,
    O_FILLED,
    O_TRADED,
    O_INFERRED,
    O_VALUE,
    O_FILLS,
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    O_HELD,
    O_HELD_MONEY,
    O_HELD_ASSET,
    O_REASON,
    O_VENUE_CODE,
    O_REQUEST,
    O_AMEND,
    O_CANCEL,
    O_CREATED_NS,
    O_SENT_NS,
    O_UPDATED_NS,
    O_EXCHANGE_NS,
    O_CAUSE_NS,
    O_SYNC,
    O_ACCOUNT_ROW,
    O_STRATEGY_ROW,
    O_INFERRED_PRICE,
) = range(40)
ORDER_WORDS = 40

# Words of a POSITION.
(
    P_VERSION,
    P_KIND,
    P_ACCOUNT,
    P_STRATEGY,
    P_INSTRUMENT,
    P_SIDE,
    P_QUANTITY,
    P_COST,
    P_REALIZED,
    P_FEES,
    P_FUNDING,
    P_UNREALIZED,
    P_MARK,
    P_OPEN_BUY,
    P_OPEN_SELL,
    P_WORST_MONEY,
    P_LONG_MONEY,
    P_SHORT_MONEY,
    P_RESULT_MONEY,
    P_VENUE_QUANTITY,
    P_VENUE_NS,
    P_FILL_NS,
    P_SCOPE,
    P_OWNER_SCOPE,
    P_NEXT,
    P_FILLS,
    P_BOUGHT,
    P_SOLD,
    P_REDUCE_ONLY,
    P_ORDERS,
    P_VENUE_PRICE,
) = range(31)
POSITION_WORDS = 32

# Words of a BALANCE.
B_VERSION, B_ACCOUNT, B_ASSET, _, B_TOTAL, B_AVAILABLE, B_CHANGED, B_RESERVED = range(8)
B_TOLD_NS, B_RATE = 8, 9
BALANCE_WORDS = 16

# Words of a SCOPE.
S_VERSION, S_KIND, S_ACCOUNT, S_STRATEGY, S_INSTRUMENT, S_STATE, S_LIMITS_VERSION = range(7)
S_LIMITS = 7
(
    S_OPEN_ORDERS,
    S_OPEN_MONEY,
    S_GROSS_MONEY,
    S_LONG_MONEY,
    S_SHORT_MONEY,
    S_RESULT_MONEY,
    S_DAY_MONEY,
    S_PEAK_MONEY,
    S_REJECTS,
    S_UNKNOWNS,
    S_SENT,
    S_DENIED,
    S_FILLS,
    S_STATE_REASON,
    S_STATE_NS,
    S_EQUITY_MONEY,
) = range(S_LIMITS + len(LIMITS), S_LIMITS + len(LIMITS) + 16)
SCOPE_WORDS = 48

# Places in a scope's limits, in the order of oms.types.LIMITS.
(
    L_ORDER_QUANTITY,
    L_ORDER_NOTIONAL,
    L_POSITION,
    L_OPEN_ORDERS,
    L_OPEN_NOTIONAL,
    L_GROSS_NOTIONAL,
    L_NET_NOTIONAL,
    L_LEVERAGE,
    L_ORDER_RATE,
    L_AMEND_RATE,
    L_CANCEL_RATE,
    L_RATE_PERIOD,
    L_DAILY_LOSS,
    L_DRAWDOWN,
    L_REJECTS,
    L_FILL_RATE,
    L_COLLAR,
    L_BAND,
    L_SLIPPAGE,
    L_DUPLICATE_WINDOW,
    L_INTENT_AGE,
    L_MARKET_AGE,
    L_UNKNOWNS,
    L_CLOCK_OFFSET,
) = range(24)

# ``instruments``: what the loop knows of a row of md.instruments.
(
    I_STATUS,
    I_TICK,
    I_LOT,
    I_MINIMUM,
    I_MAXIMUM,
    I_MINIMUM_NOTIONAL,
    I_KIND,
    I_NUMERATOR,
    I_DENOMINATOR,
    I_PRICE_UNIT,
    I_QUANTITY_DECIMALS,
    I_BASE,
    I_QUOTE,
    I_SETTLE,
    I_ACCOUNT,
    I_ROW_THERE,
    I_BID,
    I_ASK,
    I_TOP_NS,
    I_TOP_PUBLISHED_NS,
    I_MARK,
    I_MARK_NS,
    I_REFERENCE,
    I_FIRST,
    I_KNOWN,
    I_PRICE_DECIMALS,
) = range(26)
"""Status; steps and bounds; kind; the value of price times quantity is the product times NUMERATOR
over DENOMINATOR (money of the quote currency; inverse: see ``oms.value``); 10**price_decimals;
numbers of its currencies; the account that trades it by default; its row in that venue's own table;
best bid and ask, when they came (received, published); mark price in price_decimals; the price that
positions are valued at; first row of its positions; 1 if the row is in use."""
INSTRUMENT_WORDS = 32

# ``accounts``: a row each.
(
    A_SCOPE,
    A_UP,
    A_SYNCED,
    A_SYNC,
    A_SYNCING,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    A_REPORTS_NEXT,
    A_ALIVE,
    A_OFFSET_NS,
    A_EVENT_NS,
    A_DONE_REPORT,
) = range(12)
"""Row of its scope; whether the gateway is up, and reconciled since we started; number of the
present or last reconciliation, and whether one is under way; the request ring's newest sequence and
room; next report to read; whether the gateway lives; the venue's clock less ours; when the venue
said something last; the last report that is in the journal."""
ACCOUNT_WORDS = 16

# ``strategies``: a row each.
T_SCOPE, T_NEXT, T_DONE, T_ALIVE = range(4)
"""Row of its scope; next intent to read; the last intent in the journal; whether it lives."""
STRATEGY_WORDS = 8

# ``control``: what there is one of.
(
    C_NOW,
    C_JOURNAL,
    C_JOURNAL_AT,
    C_UPDATES,
    C_STAMP,
    C_FREE_HEAD,
    C_FREE_TAIL,
    C_FRESH,
    C_FOREIGN,
    C_POSITION_COUNT,
    C_SCOPE_COUNT,
    C_REPLAY,
    C_PUBLISHED_JOURNAL,
    C_SWEEP_COUNT,
    C_LIVE,
    C_TOPS_NEXT,
    C_FUNDING_NEXT,
    C_TOPS_LOST,
    C_FUNDING_LOST,
    C_BALANCE_COUNT,
    C_DEADLINE_NS,
    C_PREDICT_POST_ONLY,
    C_HIGH_SLOT,
    C_REQUEST_BASE,
    C_SPOT_BALANCE,
    C_DAY,
    C_CLOCK,
    C_SWEPT_NS,
) = range(28)
"""The event's time; newest journal record and next free word of the chunk; newest update; newest
client id's stamp; free list's head and tail; slots never used; next foreign slot; rows in use; 1
while the journal is replayed; the journal record of the newest update before we started; sweeps;
orders that have not ended; next records of market data and how many were lost; balances in use; how
long a request may wait to be sent; whether post-only orders are checked; highest slot used, plus 1;
what time it is, if the machine's clock is not to be asked (tests), else 0; when halted scopes were
swept by the clock.
"""
CONTROL_WORDS = 64

COUNTERS = (
    ("intents", "intents"),
    ("denied", "intents"),
    ("routed", "requests"),
    ("reports", "reports"),
    ("repeated", "reports"),
    ("fills", "trades"),
    ("fills_repeated", "trades"),
    ("alarms", "alarms"),
    ("updates", "updates"),
    ("tops", "records"),
    ("marks", "records"),
    ("adopted", "orders"),
    ("unmapped", "reports"),
    ("commands", "commands"),
    ("malformed", "records"),
)
(
    N_INTENTS,
    N_DENIED,
    N_ROUTED,
    N_REPORTS,
    N_REPEATED,
    N_FILLS,
    N_FILLS_REPEATED,
    N_ALARMS,
    N_UPDATES,
    N_TOPS,
    N_MARKS,
    N_ADOPTED,
    N_UNMAPPED,
    N_COMMANDS,
    N_MALFORMED,
) = range(15)

# ``sweeps``: work on many orders, a piece in each cycle.
W_SCOPE, W_SLOT, W_SYNC, W_STRATEGY, W_INSTRUMENT, W_ACCOUNT, W_BEFORE, W_LEFT = range(8)
SWEEP_WORDS = 8

INTENT_WORDS = INTENT.dtype.itemsize // 8
UPDATE_WORDS = UPDATE.dtype.itemsize // 8
COMMAND_WORDS = COMMAND.dtype.itemsize // 8
REPORT_WORDS = 32
REQUEST_WORDS = 16

for _layout, _words in (
    (ORDER, ORDER_WORDS),
    (POSITION, POSITION_WORDS),
    (BALANCE, BALANCE_WORDS),
    (SCOPE, SCOPE_WORDS),
):
    assert _layout.dtype.itemsize == 8 * _words


class State(NamedTuple):
    """Everything that the loop knows."""

    orders: Words
    """Table ``oms.orders``, ORDER_WORDS a slot."""
    positions: Words
    balances: Words
    scopes: Words
    links: Words
    """Three words a slot: next and previous open order of the same account row and side; its price
    nearest to the other side, amendments under way included."""
    heads: Words
    """Four words a position row: first open buy and sell; bounds of their best prices."""
    recent: Words
    """RECENT * 4 words a position row: side, price, quantity, time of the newest orders."""
    instruments: Words
    """INSTRUMENT_WORDS a row of md.instruments."""
    remap: Words
    """What a row of md.instruments is now that had another number in the journal; itself, else."""
    there: Words
    """For each account and row of its venue's own table: the row of md.instruments; -1 if none."""
    assets: Words
    """Three words an asset: its name (two words), its rate (mantissa of 1e-8; 0: not known)."""
    held: Words
    """For each account and asset: row of the balance; -1 if none."""
    numbers: Words
    """Map from (strategy, number) to slot + 1."""
    places: Words
    """Map from (kind, owner, instrument, side) to position row + 1."""
    free: Words
    """Slots to be used again, oldest first."""
    seen: Words
    """Trades booked."""
    times: Words
    """For each scope, rate and place: when something of that kind happened."""
    marks: Words
    """For each scope and rate: how many have happened."""
    accounts: Words
    strategies: Words
    control: Words
    sweeps: Words
    counts: Words
    """Counters of the process."""
    counter: Words
    """Place in COUNTERS -> place in ``counts``."""
    event: Words
    """Scratch: a report (REPORT_WORDS), then its small fields, unpacked."""
    decision: Words
    """Scratch: an intent, then what was decided."""
    command: Words
    """Scratch: a command."""
    journal: Words
    """The present chunk."""
    updates: Words
    """Slots of the ring ``oms.updates``."""


STATE: Any = types.NamedUniTuple(WORDS, len(State._fields), State)  # type: ignore[no-untyped-call]


def word_names(layout: Layout) -> list[str]:
    """Return the name of the field at each word of a record; those of arrays repeat."""
    names: list[str] = []
    for field in layout.fields:
        column, offset = layout.column(field.name)
        names[len(names) :] = [field.name] * (
            offset // 8 + max(1, column.itemsize // 8) - len(names)
        )
    return names
