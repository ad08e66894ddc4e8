"""What quantities are worth, and the ledgers: positions, results, what open orders may still do.

Money is a mantissa of 1e-8. The value of a linear or spot quantity is in the quote currency,
``price * quantity * contract_value``; of an inverse one, whose contracts are worth an amount of the
quote currency, it is that amount over the price, in the base currency. Each product is exact in 128
bits and rounded once.

An order counts for what it may still trade (``hold``): its largest total, amendments under way
included, less its trades, as long as it has not ended; and what it was filled by without the trades
being known, even then. Orders of unknown fate count like open ones. The ledgers of positions and
scopes are sums over orders and positions, changed by the difference each time.
"""

from engine.jit import inlined
from engine.table import row_begin, row_commit
from engine.wide import SATURATED, mul_div
from oms.places import balance_row
from oms.slots import ended, enlist, release, unlist
from oms.state import (
    A_SCOPE,
    ACCOUNT_WORDS,
    B_CHANGED,
    B_RESERVED,
    BALANCE_WORDS,
    C_LIVE,
    I_BASE,
    I_DENOMINATOR,
    I_FIRST,
    I_KIND,
    I_NUMERATOR,
    I_PRICE_UNIT,
    I_QUANTITY_DECIMALS,
    I_QUOTE,
    I_REFERENCE,
    I_SETTLE,
    INSTRUMENT_WORDS,
    NONE,
    O_ACCOUNT,
    O_ACCOUNT_ROW,
    O_FILLED,
    O_FLAGS,
    O_HELD,
    O_HELD_ASSET,
    O_HELD_MONEY,
    O_INSTRUMENT,
    O_SIDE,
    O_STATE,
    O_STRATEGY_ROW,
    O_TRADED,
    O_WORST_PRICE,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    P_BOUGHT,
    P_COST,
    P_FEES,
    P_FILL_NS,
    P_FILLS,
    P_FUNDING,
    P_INSTRUMENT,
    P_KIND,
    P_LONG_MONEY,
    P_MARK,
    P_NEXT,
    P_OPEN_BUY,
    P_OPEN_SELL,
    P_ORDERS,
    P_OWNER_SCOPE,
    P_QUANTITY,
    P_REALIZED,
    P_REDUCE_ONLY,
    P_RESULT_MONEY,
    P_SCOPE,
    P_SHORT_MONEY,
    P_SOLD,
    P_UNREALIZED,
    P_WORST_MONEY,
    POSITION_WORDS,
    S_GROSS_MONEY,
    S_LONG_MONEY,
    S_OPEN_MONEY,
    S_OPEN_ORDERS,
    S_PEAK_MONEY,
    S_RESULT_MONEY,
    S_SHORT_MONEY,
    S_UNKNOWNS,
    SCOPE_WORDS,
    State,
    Words,
)
from oms.types import MONEY_DECIMALS, OrderFlag, OrderState, ScopeKind

UNIT = 10**MONEY_DECIMALS
SPOT, INVERSE = 1, 4
"""``feeds.types.Kind``: spot is 1, inverse kinds are 4 and above."""
LISTED, COUNTED_UNKNOWN = 128, 256
"""Bits of an order's flags behind those of OrderFlag: it is counted as open; as of unknown fate."""
_REDUCE_ONLY, _FREED = int(OrderFlag.REDUCE_ONLY), int(OrderFlag.FREED)
_UNKNOWN, _LOST = int(OrderState.UNKNOWN), int(OrderState.LOST)
_FREE = int(OrderState.FREE)
_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)

__all__ = [
    "book_trade",
    "exposure_money",
    "hold",
    "revalue",
    "settle_money",
    "take_back_trade",
    "to_reporting",
    "value_of",
]


@inlined
def value_of(instruments: Words, row: int, price: int, quantity: int) -> int:
    """Return what a quantity (signed) is worth at a price, in the settlement or quote currency."""
    at = row * INSTRUMENT_WORDS
    numerator, denominator = instruments[at + I_NUMERATOR], instruments[at + I_DENOMINATOR]
    if instruments[at + I_KIND] >= INVERSE:
        if price <= 0:
            return 0
        quote = mul_div(quantity, numerator, denominator)
        return mul_div(quote, instruments[at + I_PRICE_UNIT], price)
    if numerator > 1:
        if abs(quantity) > SATURATED // numerator:
            return SATURATED if quantity > 0 else -SATURATED
        quantity *= numerator
    return mul_div(price, quantity, denominator)


@inlined
def to_reporting(assets: Words, asset: int, money: int) -> int:
    """Return an amount of a currency in the reporting currency; 0 if its worth is not known.

    What could not be counted before cannot be afterwards.
    """
    rate = assets[3 * asset + 2]
    beyond = money >= SATURATED or money <= -SATURATED
    return money if rate == UNIT or beyond else mul_div(money, rate, UNIT)


@inlined
def exposure_money(state: State, row: int, price: int, quantity: int) -> int:
    """Return the notional of a quantity (signed) at a price, in the reporting currency."""
    instruments = state.instruments
    at = row * INSTRUMENT_WORDS
    if instruments[at + I_KIND] >= INVERSE:
        quote = mul_div(quantity, instruments[at + I_NUMERATOR], instruments[at + I_DENOMINATOR])
    else:
        quote = value_of(instruments, row, price, quantity)
    return to_reporting(state.assets, instruments[at + I_QUOTE], quote)


@inlined
def settle_money(state: State, row: int, money: int) -> int:
    """Return a result of an instrument, in its settlement currency, in the reporting currency."""
    return to_reporting(state.assets, state.instruments[row * INSTRUMENT_WORDS + I_SETTLE], money)


@inlined
def _add_to_scope(scopes: Words, scope: int, gross: int, up: int, down: int, result: int) -> None:
    at = row_begin(scopes, SCOPE_WORDS, scope)
    scopes[at + S_GROSS_MONEY] += gross
    scopes[at + S_LONG_MONEY] += up
    scopes[at + S_SHORT_MONEY] += down
    scopes[at + S_RESULT_MONEY] += result
    if scopes[at + S_RESULT_MONEY] > scopes[at + S_PEAK_MONEY]:
        scopes[at + S_PEAK_MONEY] = scopes[at + S_RESULT_MONEY]
    row_commit(scopes, at)


@inlined
def worst_of(quantity: int, open_buy: int, open_sell: int) -> int:
    """Return the largest position, long or short, that fills can lead to."""
    return max(abs(quantity + open_buy), abs(quantity - open_sell))


@inlined
def unrealized(state: State, at: int, price: int) -> int:
    """Return the result of closing position ``at`` at a price, in the settlement currency."""
    positions, instruments = state.positions, state.instruments
    quantity, row = positions[at + P_QUANTITY], positions[at + P_INSTRUMENT]
    if quantity == 0 or price <= 0:
        return 0
    value = value_of(instruments, row, price, abs(quantity))
    gain = value - positions[at + P_COST]
    inverse = instruments[row * INSTRUMENT_WORDS + I_KIND] >= INVERSE
    return int(gain if (quantity > 0) != inverse else -gain)


@inlined
def revalue(state: State, row: int) -> None:
    """Bring the worth of a position, and of the scopes it belongs to, up to the market's price."""
    positions = state.positions
    at = row * POSITION_WORDS
    number = positions[at + P_INSTRUMENT]
    price = state.instruments[number * INSTRUMENT_WORDS + I_REFERENCE]
    if price <= 0:
        price = positions[at + P_MARK]
    quantity = positions[at + P_QUANTITY]
    buys, sells = positions[at + P_OPEN_BUY], positions[at + P_OPEN_SELL]
    gain = unrealized(state, at, price)
    worst = exposure_money(state, number, price, worst_of(quantity, buys, sells))
    up = exposure_money(state, number, price, quantity + buys)
    down = exposure_money(state, number, price, quantity - sells)
    result = settle_money(state, number, positions[at + P_REALIZED] + gain)
    result -= positions[at + P_FEES] + positions[at + P_FUNDING]
    gross_by, up_by = worst - positions[at + P_WORST_MONEY], up - positions[at + P_LONG_MONEY]
    down_by = down - positions[at + P_SHORT_MONEY]
    result_by = result - positions[at + P_RESULT_MONEY]
    positions[at + P_MARK], positions[at + P_UNREALIZED] = price, gain
    positions[at + P_WORST_MONEY], positions[at + P_LONG_MONEY] = worst, up
    positions[at + P_SHORT_MONEY], positions[at + P_RESULT_MONEY] = down, result
    if gross_by == 0 and up_by == 0 and down_by == 0 and result_by == 0:
        return
    scopes = state.scopes
    _add_to_scope(scopes, positions[at + P_SCOPE], gross_by, up_by, down_by, result_by)
    _add_to_scope(scopes, positions[at + P_OWNER_SCOPE], gross_by, up_by, down_by, result_by)
    if positions[at + P_KIND] == _OF_ACCOUNT:
        _add_to_scope(scopes, 0, gross_by, up_by, down_by, result_by)


@inlined
def revalue_instrument(state: State, number: int) -> None:
    """Revalue all positions of an instrument."""
    row = state.instruments[number * INSTRUMENT_WORDS + I_FIRST] - 1
    while row >= 0:
        at = row_begin(state.positions, POSITION_WORDS, row)
        revalue(state, row)
        row_commit(state.positions, at)
        row = state.positions[at + P_NEXT]


@inlined
def _count_open(state: State, scope: int, orders_by: int, money_by: int, unknowns_by: int) -> None:
    scopes = state.scopes
    at = row_begin(scopes, SCOPE_WORDS, scope)
    scopes[at + S_OPEN_ORDERS] += orders_by
    scopes[at + S_OPEN_MONEY] += money_by
    scopes[at + S_UNKNOWNS] += unknowns_by
    row_commit(scopes, at)


@inlined
def _hold_row(
    state: State, row: int, buy: bool, by: int, price: int, orders_by: int, reducing_by: int
) -> None:
    """Change what open orders may do to a position."""
    positions = state.positions
    at = row_begin(positions, POSITION_WORDS, row)
    if positions[at + P_QUANTITY] == 0 and by > 0:
        # Until the market has a price, orders count at their own.
        positions[at + P_MARK] = max(positions[at + P_MARK], price)
    positions[at + (P_OPEN_BUY if buy else P_OPEN_SELL)] += by
    positions[at + P_ORDERS] += orders_by
    positions[at + P_REDUCE_ONLY] += reducing_by
    revalue(state, row)
    row_commit(positions, at)


@inlined
def scaled_quantity(state: State, number: int, quantity: int) -> int:
    """Return a quantity of the base currency as a mantissa of 1e-8."""
    decimals = state.instruments[number * INSTRUMENT_WORDS + I_QUANTITY_DECIMALS]
    if decimals <= MONEY_DECIMALS:
        return mul_div(quantity, 10 ** (MONEY_DECIMALS - decimals), 1)
    return mul_div(quantity, 1, 10 ** (decimals - MONEY_DECIMALS))


@inlined
def _hold_balance(state: State, at: int, left: int, price: int) -> None:
    """Reserve what a spot order takes from the balance."""
    orders, number = state.orders, state.orders[at + O_INSTRUMENT]
    instrument = number * INSTRUMENT_WORDS
    if state.instruments[instrument + I_KIND] != SPOT:
        return
    buy = orders[at + O_SIDE] > 0
    asset = state.instruments[instrument + (I_QUOTE if buy else I_BASE)]
    amount = (
        value_of(state.instruments, number, price, left)
        if buy
        else scaled_quantity(state, number, left)
    )
    by = amount - orders[at + O_HELD_ASSET]
    orders[at + O_HELD_ASSET] = amount
    row = balance_row(state, orders[at + O_ACCOUNT], asset) if by else NONE
    if row != NONE:
        place = row_begin(state.balances, BALANCE_WORDS, row)
        state.balances[place + B_RESERVED] += by
        row_commit(state.balances, place)


@inlined
def hold(state: State, slot: int) -> None:
    """Bring all ledgers up to what an order may still trade; call it after each change of one."""
    orders = state.orders
    at = slot * ORDER_WORDS
    status, traded = orders[at + O_STATE], orders[at + O_TRADED]
    over = ended(status)
    left = max(0, (orders[at + O_FILLED] if over else orders[at + O_WORST_QUANTITY]) - traded)
    number = orders[at + O_INSTRUMENT]
    price = orders[at + O_WORST_PRICE]
    if price <= 0:
        price = state.instruments[number * INSTRUMENT_WORDS + I_REFERENCE]
    listed = status != _FREE and not over
    flags = orders[at + O_FLAGS]
    orders_by = int(listed) - int((flags & LISTED) != 0)
    unknown = status in (_UNKNOWN, _LOST)
    unknowns_by = int(unknown) - int((flags & COUNTED_UNKNOWN) != 0)
    flags = flags & ~(LISTED | COUNTED_UNKNOWN)
    orders[at + O_FLAGS] = flags | int(listed) * LISTED | int(unknown) * COUNTED_UNKNOWN
    money = exposure_money(state, number, price, left)
    by, money_by = left - orders[at + O_HELD], money - orders[at + O_HELD_MONEY]
    orders[at + O_HELD], orders[at + O_HELD_MONEY] = left, money
    _hold_balance(state, at, left, price)
    buy, reducing = orders[at + O_SIDE] > 0, int((flags & _REDUCE_ONLY) != 0)
    account_row, strategy_row = orders[at + O_ACCOUNT_ROW], orders[at + O_STRATEGY_ROW]
    if by or orders_by:
        _hold_row(state, account_row, buy, by, price, orders_by, by * reducing)
        if strategy_row != NONE:
            _hold_row(state, strategy_row, buy, by, price, orders_by, by * reducing)
    if orders_by or money_by or unknowns_by:
        _count_scopes(state, account_row, strategy_row, orders_by, money_by, unknowns_by)
    if orders_by:
        state.control[C_LIVE] += orders_by
        if orders_by > 0:
            enlist(orders, state.links, state.heads, slot)
        else:
            unlist(orders, state.links, state.heads, slot)
    if over and left == 0:
        release(orders, state.free, state.control, slot)
    else:
        orders[at + O_FLAGS] &= ~_FREED  # It had ended, and something of it has come back.


@inlined
def _count_scopes(
    state: State,
    account_row: int,
    strategy_row: int,
    orders_by: int,
    money_by: int,
    unknowns_by: int,
) -> None:
    positions = state.positions
    _count_open(state, 0, orders_by, money_by, unknowns_by)
    for row in (account_row, strategy_row):
        if row != NONE:
            at = row * POSITION_WORDS
            _count_open(state, positions[at + P_SCOPE], orders_by, money_by, unknowns_by)
            _count_open(state, positions[at + P_OWNER_SCOPE], orders_by, money_by, unknowns_by)


@inlined
def trade_position(state: State, row: int, side: int, price: int, quantity: int) -> None:
    """Change a position by a trade: average cost, and a result for what it closes.

    Cost leaves in proportion to the quantity that is closed; what rounding leaves stays in the
    cost, so that the sum of results is that of the trades.
    """
    positions = state.positions
    at = row * POSITION_WORDS
    number = positions[at + P_INSTRUMENT]
    before = positions[at + P_QUANTITY]
    value = value_of(state.instruments, number, price, quantity)
    if before == 0 or (before > 0) == (side > 0):
        positions[at + P_COST] += value
        positions[at + P_QUANTITY] = before + side * quantity
        return
    closing = min(quantity, abs(before))
    cost = mul_div(positions[at + P_COST], closing, abs(before))
    closed = mul_div(value, closing, quantity)
    inverse = state.instruments[number * INSTRUMENT_WORDS + I_KIND] >= INVERSE
    gain = closed - cost
    positions[at + P_REALIZED] += gain if (before > 0) != inverse else -gain
    positions[at + P_COST] -= cost
    if quantity > closing:
        positions[at + P_COST] = value - closed
    positions[at + P_QUANTITY] = before + side * quantity


@inlined
def book_trade(
    state: State, row: int, side: int, price: int, quantity: int, fee_money: int, now_ns: int
) -> None:
    """Enter a trade of a position's owner: quantity, cost, result, fee."""
    positions = state.positions
    at = row_begin(positions, POSITION_WORDS, row)
    if positions[at + P_QUANTITY] == 0:
        positions[at + P_MARK] = price  # Until the market has one.
    trade_position(state, row, side, price, quantity)
    positions[at + P_FEES] += fee_money
    positions[at + P_FILLS] += 1
    positions[at + (P_BOUGHT if side > 0 else P_SOLD)] += quantity
    positions[at + P_FILL_NS] = now_ns
    revalue(state, row)
    row_commit(positions, at)


@inlined
def take_back_trade(
    state: State, row: int, side: int, price: int, quantity: int, trades: int
) -> None:
    """Undo ``quantity`` of a trade of a position's owner, and ``trades`` of their number."""
    positions = state.positions
    at = row_begin(positions, POSITION_WORDS, row)
    trade_position(state, row, -side, price, quantity)
    positions[at + P_FILLS] -= trades
    positions[at + (P_BOUGHT if side > 0 else P_SOLD)] -= quantity
    revalue(state, row)
    row_commit(positions, at)


@inlined
def change_balance(state: State, account: int, asset: int, by: int) -> None:
    """Change what an account has of an asset, until the venue says it."""
    row = balance_row(state, account, asset) if by else NONE
    if row != NONE:
        at = row_begin(state.balances, BALANCE_WORDS, row)
        state.balances[at + B_CHANGED] += by
        row_commit(state.balances, at)


@inlined
def scope_of_account(state: State, account: int) -> int:
    """Return the row of an account's scope."""
    return int(state.accounts[account * ACCOUNT_WORDS + A_SCOPE])
