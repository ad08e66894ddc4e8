"""The rules that an intent has to pass before it may leave us: integers, in the loop.

Each returns 0 or the ``Deny`` that says which rule it was. They run in an order in which what is
cheap and certain comes first; what an order would add is judged against the worst case of what is
there: everything open filled, orders of unknown fate and amendments under way included. A limit is
the highest value that is allowed. What makes a position or an exposure smaller is never refused for
a limit on its size, and cancellations pass no rule but their own rate.
"""

from engine.jit import inlined
from engine.wide import mul_div
from oms.decisions import (
    D_ACCOUNT,
    D_ACCOUNT_ROW,
    D_INSTRUMENT,
    D_OWN,
    D_POSITION_SIDE,
    D_PRICE,
    D_QUANTITY,
    D_REQUEST_FLAGS,
    D_SCOPES,
    D_SIDE,
    D_SLOT,
    D_STOP,
    D_STRATEGY_ROW,
    D_TIME,
    D_TYPE,
    D_WORST_PRICE,
    SCOPES_OF,
)
from oms.places import find_position, position_row
from oms.slots import BEST_BUY, BEST_SELL, BUY, LINK_PRICE, LINK_WORDS, SELL
from oms.state import (
    A_OFFSET_NS,
    ACCOUNT_WORDS,
    ASSETS,
    B_CHANGED,
    B_RESERVED,
    B_TOTAL,
    BALANCE_WORDS,
    C_NOW,
    C_PREDICT_POST_ONLY,
    C_SPOT_BALANCE,
    I_ASK,
    I_BASE,
    I_BID,
    I_KIND,
    I_LOT,
    I_MARK,
    I_MARK_NS,
    I_MAXIMUM,
    I_MINIMUM,
    I_MINIMUM_NOTIONAL,
    I_QUOTE,
    I_REFERENCE,
    I_TICK,
    I_TOP_NS,
    INSTRUMENT_WORDS,
    L_AMEND_RATE,
    L_BAND,
    L_CANCEL_RATE,
    L_CLOCK_OFFSET,
    L_COLLAR,
    L_DUPLICATE_WINDOW,
    L_GROSS_NOTIONAL,
    L_LEVERAGE,
    L_MARKET_AGE,
    L_NET_NOTIONAL,
    L_OPEN_NOTIONAL,
    L_OPEN_ORDERS,
    L_ORDER_NOTIONAL,
    L_ORDER_QUANTITY,
    L_ORDER_RATE,
    L_POSITION,
    L_RATE_PERIOD,
    L_SLIPPAGE,
    L_UNKNOWNS,
    NONE,
    O_HELD,
    O_HELD_ASSET,
    O_HELD_MONEY,
    O_TRADED,
    O_WORST_QUANTITY,
    ORDER_WORDS,
    P_LONG_MONEY,
    P_MARK,
    P_OPEN_BUY,
    P_OPEN_SELL,
    P_OWNER_SCOPE,
    P_QUANTITY,
    P_REDUCE_ONLY,
    P_SCOPE,
    P_SHORT_MONEY,
    P_WORST_MONEY,
    POSITION_WORDS,
    RATE_MOST,
    RATES,
    RECENT,
    S_EQUITY_MONEY,
    S_GROSS_MONEY,
    S_LIMITS,
    S_LONG_MONEY,
    S_OPEN_MONEY,
    S_OPEN_ORDERS,
    S_SHORT_MONEY,
    S_STATE,
    S_UNKNOWNS,
    SCOPE_WORDS,
    State,
)
from oms.types import Deny, ScopeKind, TradingState
from oms.value import INVERSE, SPOT, exposure_money, scaled_quantity, value_of, worst_of

PPM = 1_000_000
"""Collar, band and slippage are in hundredths of a basis point: millionths."""
SECOND_NS = 10**9
MARKET, LIMIT, STOP_MARKET, STOP_LIMIT = 1, 2, 3, 4
GTC, IOC, FOK, GTD, POST_ONLY = 1, 2, 3, 4, 5
REDUCE_ONLY_FLAG = 1
QUOTE_FLAG = 16
ORDERS, AMENDS, CANCELS, FILLS = range(RATES)
_OF_ACCOUNT = int(ScopeKind.ACCOUNT_INSTRUMENT)
_OF_STRATEGY = int(ScopeKind.STRATEGY_INSTRUMENT)
_REDUCING, _CANCEL_ONLY = int(TradingState.REDUCE_ONLY), int(TradingState.CANCEL_ONLY)
_RATE_LIMITS = (L_ORDER_RATE, L_AMEND_RATE, L_CANCEL_RATE)
_RATE_DENIALS = (int(Deny.ORDER_RATE), int(Deny.AMEND_RATE), int(Deny.CANCEL_RATE))

_D_STATE, _D_TICK = int(Deny.TRADING_STATE), int(Deny.PRICE_TICK)
_D_LOT, _D_MINIMUM = int(Deny.QUANTITY_LOT), int(Deny.MINIMUM_QUANTITY)
_D_MAXIMUM, _D_MINIMUM_NOTIONAL = int(Deny.MAXIMUM_QUANTITY), int(Deny.MINIMUM_NOTIONAL)
_D_STALE, _D_COLLAR, _D_BAND = int(Deny.MARKET_STALE), int(Deny.COLLAR), int(Deny.BAND)
_D_POST_ONLY, _D_SELF = int(Deny.POST_ONLY), int(Deny.SELF_TRADE)
_D_REDUCE, _D_DUPLICATE = int(Deny.REDUCE_ONLY), int(Deny.DUPLICATE)
_D_QUANTITY, _D_NOTIONAL = int(Deny.ORDER_QUANTITY), int(Deny.ORDER_NOTIONAL)
_D_POSITION, _D_OPEN = int(Deny.POSITION), int(Deny.OPEN_ORDERS)
_D_OPEN_NOTIONAL, _D_GROSS = int(Deny.OPEN_NOTIONAL), int(Deny.GROSS_NOTIONAL)
_D_NET, _D_LEVERAGE = int(Deny.NET_NOTIONAL), int(Deny.LEVERAGE)
_D_BALANCE, _D_UNKNOWNS = int(Deny.BALANCE), int(Deny.UNKNOWNS)
_D_NO_RATE, _D_OVERFLOW = int(Deny.NO_RATE), int(Deny.OVERFLOW)
_D_CLOCK, _D_FULL = int(Deny.CLOCK), int(Deny.ORDERS_FULL)
_MOST = 1 << 62


@inlined
def find_rows(state: State, strategy: int) -> bool:
    """Find or make the decision's position rows, and name its scopes; False if there is no room."""
    decision = state.decision
    account, number = decision[D_ACCOUNT], decision[D_INSTRUMENT]
    side = decision[D_POSITION_SIDE]
    row = position_row(state, _OF_ACCOUNT, account, 0, number, side)
    own = NONE
    if strategy > 0:
        own = position_row(state, _OF_STRATEGY, account, strategy, number, side)
    if row == NONE or (strategy > 0 and own == NONE):
        return False
    decision[D_ACCOUNT_ROW], decision[D_STRATEGY_ROW] = row, own
    name_scopes(state, strategy)
    return True


@inlined
def name_scopes(state: State, strategy: int) -> None:
    """Enter the decision's scopes: firm, account, strategy, and those of its position rows."""
    decision, positions = state.decision, state.positions
    at = decision[D_ACCOUNT_ROW] * POSITION_WORDS
    decision[D_SCOPES] = 0
    decision[D_SCOPES + 1] = positions[at + P_OWNER_SCOPE]
    decision[D_SCOPES + 2] = positions[at + P_SCOPE]
    decision[D_SCOPES + 3] = decision[D_SCOPES + 4] = NONE
    if strategy > 0:
        own = decision[D_STRATEGY_ROW] * POSITION_WORDS
        decision[D_SCOPES + 3] = positions[own + P_OWNER_SCOPE]
        decision[D_SCOPES + 4] = positions[own + P_SCOPE]


@inlined
def tightest(state: State, limit: int) -> int:
    """Return the lowest value of a limit in the decision's scopes; -1 if none has it."""
    found = _MOST
    for i in range(SCOPES_OF):
        scope = state.decision[D_SCOPES + i]
        if scope != NONE:
            value = state.scopes[scope * SCOPE_WORDS + S_LIMITS + limit]
            if 0 <= value < found:
                found = value
    return found if found < _MOST else NONE


@inlined
def trading_state(state: State) -> int:
    """Return the strictest trading state of the decision's scopes."""
    strictest = 0
    for i in range(SCOPES_OF):
        scope = state.decision[D_SCOPES + i]
        if scope != NONE:
            strictest = max(strictest, state.scopes[scope * SCOPE_WORDS + S_STATE])
    return strictest


@inlined
def market_price(state: State, number: int) -> int:
    """Return the middle of a live and fresh book, else a fresh mark price, else 0."""
    at = number * INSTRUMENT_WORDS
    instruments = state.instruments
    if is_fresh(state, instruments[at + I_TOP_NS]):
        return int((instruments[at + I_BID] + instruments[at + I_ASK]) // 2)
    return mark_price(state, number)


@inlined
def mark_price(state: State, number: int) -> int:
    """Return a fresh mark price, else 0."""
    at = number * INSTRUMENT_WORDS
    fresh = is_fresh(state, state.instruments[at + I_MARK_NS])
    return int(state.instruments[at + I_MARK]) if fresh else 0


@inlined
def is_fresh(state: State, then_ns: int) -> bool:
    """Return whether something of the market is there, and no older than the limit."""
    age = tightest(state, L_MARKET_AGE)
    return bool(then_ns != 0 and (age < 0 or state.control[C_NOW] - then_ns <= age))


@inlined
def check_terms(state: State) -> int:
    """Check tick, lot and the venue's bounds of quantity and notional."""
    decision, instruments = state.decision, state.instruments
    at = decision[D_INSTRUMENT] * INSTRUMENT_WORDS
    price, quantity = decision[D_PRICE], decision[D_QUANTITY]
    if price and price % instruments[at + I_TICK]:
        return _D_TICK
    if quantity % instruments[at + I_LOT]:
        return _D_LOT
    if quantity < instruments[at + I_MINIMUM]:
        return _D_MINIMUM
    if 0 < instruments[at + I_MAXIMUM] < quantity:
        return _D_MAXIMUM
    least = instruments[at + I_MINIMUM_NOTIONAL]
    price = price if price else decision[D_WORST_PRICE]
    if least == 0 or price == 0 or instruments[at + I_KIND] >= INVERSE:
        return 0
    value = value_of(instruments, decision[D_INSTRUMENT], price, quantity)
    reducing = decision[D_REQUEST_FLAGS] & REDUCE_ONLY_FLAG
    return _D_MINIMUM_NOTIONAL if value < least and not reducing else 0


@inlined
def set_price(state: State) -> int:
    """Settle at which price the order counts, and turn a market order into one with a bound.

    A market order within ``slippage`` of the market is sent as a limit order at that bound, IOC
    unless it is to be filled as a whole or not at all.
    """
    decision, instruments = state.decision, state.instruments
    number, kind = decision[D_INSTRUMENT], decision[D_TYPE]
    at = number * INSTRUMENT_WORDS
    if decision[D_PRICE] > 0:
        decision[D_WORST_PRICE] = worst_price(state, decision[D_PRICE])
        return 0
    market = market_price(state, number)
    if market <= 0 and decision[D_OWN]:
        # What closes a position goes out whatever is known of the market.
        decision[D_WORST_PRICE] = instruments[at + I_REFERENCE]
        return 0
    if market <= 0:
        return _D_STALE
    slippage = tightest(state, L_SLIPPAGE)
    if slippage < 0 or kind != MARKET:
        decision[D_WORST_PRICE] = max(market, decision[D_STOP])
        return 0
    tick = instruments[at + I_TICK]
    away = market // PPM * slippage + market % PPM * slippage // PPM
    if decision[D_SIDE] > 0:
        bound = (market + away) // tick * tick
    else:
        bound = -(-(market - away) // tick) * tick
    if bound <= 0:
        return _D_STALE
    decision[D_PRICE], decision[D_WORST_PRICE] = bound, max(bound, market)
    decision[D_TYPE], decision[D_TIME] = LIMIT, FOK if decision[D_TIME] == FOK else IOC
    return 0


@inlined
def worst_price(state: State, price: int) -> int:
    """Return the highest price at which a limit order may trade.

    A sell order trades at its price or above: at the market's, or at that which triggers it.
    """
    decision = state.decision
    if decision[D_SIDE] > 0:
        return price
    return int(max(price, decision[D_STOP], market_price(state, decision[D_INSTRUMENT])))


@inlined
def check_prices(state: State) -> int:
    """Check the price against collar and band, and what post-only and own orders forbid."""
    decision = state.decision
    price, side, number = decision[D_PRICE], decision[D_SIDE], decision[D_INSTRUMENT]
    if price <= 0 or decision[D_TYPE] == STOP_LIMIT:
        return 0
    collar = tightest(state, L_COLLAR)
    if collar >= 0:
        market = market_price(state, number)
        if market <= 0:
            return _D_STALE
        beyond = (price - market) * side
        if beyond > market // PPM * collar + market % PPM * collar // PPM:
            return _D_COLLAR
    at = number * INSTRUMENT_WORDS
    band = tightest(state, L_BAND)
    if band >= 0:
        mark = mark_price(state, number)
        if mark <= 0:
            mark = market_price(state, number)
        if mark <= 0:
            return _D_STALE
        if abs(price - mark) > mark // PPM * band + mark % PPM * band // PPM:
            return _D_BAND
    if decision[D_TIME] == POST_ONLY and state.control[C_PREDICT_POST_ONLY]:
        instruments = state.instruments
        if is_fresh(state, instruments[at + I_TOP_NS]):
            other = instruments[at + (I_ASK if side > 0 else I_BID)]
            if other > 0 and (price - other) * side >= 0:
                return _D_POST_ONLY
    return check_self_trade(state)


@inlined
def check_self_trade(state: State) -> int:
    """Refuse an order that would meet an open one of our own account, whatever position it is of.

    The best price of a side's open orders is kept as a bound. Only an order beyond that bound has
    the list looked through, which makes the bound exact again.
    """
    decision = state.decision
    if meets_own(state, decision[D_ACCOUNT_ROW]):
        return _D_SELF
    account, number = decision[D_ACCOUNT], decision[D_INSTRUMENT]
    for side in range(-1, 2):
        if side != decision[D_POSITION_SIDE]:
            row = find_position(state, _OF_ACCOUNT, account, 0, number, side)
            if row != NONE and meets_own(state, row):
                return _D_SELF
    return 0


@inlined
def meets_own(state: State, row: int) -> bool:
    """Return whether the decision's price reaches an open order of a position's other side."""
    decision, heads, links = state.decision, state.heads, state.links
    buy = decision[D_SIDE] > 0
    slot = heads[row * 4 + (SELL if buy else BUY)] - 1
    if slot == NONE:
        return False
    price, bound = decision[D_PRICE], row * 4 + (BEST_SELL if buy else BEST_BUY)
    if (price < heads[bound]) if buy else (price > heads[bound]):
        return False
    best = 0
    while slot != NONE:
        other = links[LINK_WORDS * slot + LINK_PRICE]
        if other > 0 and (best == 0 or (other < best if buy else other > best)):
            best = other
        slot = links[LINK_WORDS * slot]
    if best == 0:
        return False
    heads[bound] = best
    return bool(price >= best if buy else price <= best)


@inlined
def growth(state: State) -> int:
    """Return how much more than now an intent lets its order trade."""
    decision, orders = state.decision, state.orders
    if decision[D_SLOT] == NONE:
        return int(decision[D_QUANTITY])
    at = decision[D_SLOT] * ORDER_WORDS
    most = max(decision[D_QUANTITY], orders[at + O_WORST_QUANTITY])
    return int(max(0, most - orders[at + O_TRADED]) - orders[at + O_HELD])


@inlined
def check_reducing(state: State, row: int, must: bool) -> int:
    """Check that an order only brings a position nearer to zero, if it says so or must."""
    decision, positions = state.decision, state.positions
    flagged = (decision[D_REQUEST_FLAGS] & REDUCE_ONLY_FLAG) != 0
    if not flagged and not must:
        return 0
    at = row * POSITION_WORDS
    quantity, side = positions[at + P_QUANTITY], decision[D_SIDE]
    if quantity * side >= 0:
        return _D_REDUCE
    # Others that close may fill first. A flagged order is cut or refused by the venue then, as far
    # as the account's position goes.
    closing = positions[at + (P_OPEN_BUY if side > 0 else P_OPEN_SELL)]
    if flagged and row == decision[D_ACCOUNT_ROW]:
        closing = positions[at + P_REDUCE_ONLY]
    return _D_REDUCE if growth(state) > abs(quantity) - closing else 0


@inlined
def check_duplicate(state: State) -> int:
    """Refuse an order that equals one of the last few within the window; remember it if not."""
    decision, recent = state.decision, state.recent
    row = decision[D_STRATEGY_ROW]
    if row == NONE:
        return 0
    window, now = tightest(state, L_DUPLICATE_WINDOW), state.control[C_NOW]
    if window < 0:
        return 0
    at = row * RECENT * 4
    for i in range(RECENT):
        place = at + i * 4
        if (
            recent[place] == decision[D_SIDE]
            and recent[place + 1] == decision[D_PRICE]
            and recent[place + 2] == decision[D_QUANTITY]
            and now - recent[place + 3] < window
        ):
            return _D_DUPLICATE
    return 0


@inlined
def remember_order(state: State) -> None:
    """Take note of an order for the duplicate window."""
    decision, recent = state.decision, state.recent
    row = decision[D_STRATEGY_ROW]
    if row == NONE:
        return
    at = row * RECENT * 4
    for place in range(at + RECENT * 4 - 1, at + 3, -1):
        recent[place] = recent[place - 4]
    recent[at], recent[at + 1] = decision[D_SIDE], decision[D_PRICE]
    recent[at + 2], recent[at + 3] = decision[D_QUANTITY], state.control[C_NOW]


@inlined
def check_size(state: State, left: int, price: int, at_order: int) -> int:
    """Check what ``left`` of open quantity at ``price`` would do to each of the scopes.

    ``at_order`` is the order's first word if it is there already (an amendment), else NONE.
    """
    decision, scopes = state.decision, state.scopes
    held = state.orders[at_order + O_HELD] if at_order != NONE else 0
    held_money = state.orders[at_order + O_HELD_MONEY] if at_order != NONE else 0
    held_asset = state.orders[at_order + O_HELD_ASSET] if at_order != NONE else 0
    by, orders_by = left - held, int(at_order == NONE)
    number, side = decision[D_INSTRUMENT], decision[D_SIDE]
    quote = state.instruments[number * INSTRUMENT_WORDS + I_QUOTE]
    if state.assets[3 * quote + 2] == 0:
        return _D_NO_RATE
    quantity = decision[D_QUANTITY]
    money = exposure_money(state, number, price, left) - held_money
    order = exposure_money(state, number, price, quantity)
    if abs(money) >= _MOST or order >= _MOST or quantity >= _MOST:
        return _D_OVERFLOW
    if money > 0 and scopes[S_OPEN_MONEY] + money >= _MOST:
        return _D_OVERFLOW  # The firm's sum is the largest of all.
    for i in range(SCOPES_OF):
        scope = decision[D_SCOPES + i]
        if scope == NONE:
            continue
        at = scope * SCOPE_WORDS
        limits = at + S_LIMITS
        if 0 <= scopes[limits + L_ORDER_QUANTITY] < quantity:
            return _D_QUANTITY
        if 0 <= scopes[limits + L_ORDER_NOTIONAL] < order:
            return _D_NOTIONAL
        if money > 0 or orders_by > 0:
            most = scopes[limits + L_OPEN_ORDERS]
            if 0 <= most < scopes[at + S_OPEN_ORDERS] + orders_by:
                return _D_OPEN
            most = scopes[limits + L_OPEN_NOTIONAL]
            if 0 <= most < scopes[at + S_OPEN_MONEY] + money:
                return _D_OPEN_NOTIONAL
            if 0 <= scopes[limits + L_UNKNOWNS] < scopes[at + S_UNKNOWNS]:
                return _D_UNKNOWNS
    for i in range(2):
        row = decision[D_ACCOUNT_ROW + i]
        if row != NONE:
            reason = check_row(state, row, side, by, price, i == 0)
            if reason:
                return reason
    return check_balance(state, left, price, held_asset)


@inlined
def check_row(state: State, row: int, side: int, by: int, price: int, of_account: bool) -> int:
    """Check what ``by`` more open quantity would do to a position, its scope and its owner."""
    positions, scopes = state.positions, state.scopes
    at = row * POSITION_WORDS
    quantity, number = positions[at + P_QUANTITY], state.decision[D_INSTRUMENT]
    buys, sells = positions[at + P_OPEN_BUY], positions[at + P_OPEN_SELL]
    reach = quantity + buys if side > 0 else sells - quantity
    if side > 0:
        buys += by
    else:
        sells += by
    limits = positions[at + P_SCOPE] * SCOPE_WORDS + S_LIMITS
    most = scopes[limits + L_POSITION]
    if by > 0 and reach + by >= _MOST:
        return _D_OVERFLOW
    if by > 0 and 0 <= most < reach + by:
        return _D_POSITION
    reference = state.instruments[number * INSTRUMENT_WORDS + I_REFERENCE]
    if reference <= 0:
        reference = max(price, positions[at + P_MARK])
    worst = exposure_money(state, number, reference, worst_of(quantity, buys, sells))
    up = exposure_money(state, number, reference, quantity + buys)
    down = exposure_money(state, number, reference, quantity - sells)
    gross_by = worst - positions[at + P_WORST_MONEY]
    if worst >= _MOST and gross_by > 0:
        return _D_OVERFLOW
    up_by, down_by = up - positions[at + P_LONG_MONEY], down - positions[at + P_SHORT_MONEY]
    scope, owner = positions[at + P_SCOPE], positions[at + P_OWNER_SCOPE]
    reason = check_exposure(state, scope, side, gross_by, up_by, down_by)
    if reason == 0:
        reason = check_exposure(state, owner, side, gross_by, up_by, down_by)
    if reason == 0 and of_account:
        reason = check_exposure(state, 0, side, gross_by, up_by, down_by)
    return reason


@inlined
def check_exposure(
    state: State, scope: int, side: int, gross_by: int, up_by: int, down_by: int
) -> int:
    """Check gross and net notional and leverage of a scope."""
    scopes, at = state.scopes, scope * SCOPE_WORDS
    limits = at + S_LIMITS
    gross = scopes[at + S_GROSS_MONEY] + gross_by
    if gross_by > 0:
        if gross >= _MOST:
            return _D_OVERFLOW
        if 0 <= scopes[limits + L_GROSS_NOTIONAL] < gross:
            return _D_GROSS
        most = scopes[limits + L_LEVERAGE]
        if most >= 0 and gross > mul_div(max(scopes[at + S_EQUITY_MONEY], 0), most, 100):
            return _D_LEVERAGE
    most = scopes[limits + L_NET_NOTIONAL]
    if most >= 0:
        if side > 0 and up_by > 0 and scopes[at + S_LONG_MONEY] + up_by > most:
            return _D_NET
        if side < 0 and down_by < 0 and -(scopes[at + S_SHORT_MONEY] + down_by) > most:
            return _D_NET
    return 0


@inlined
def check_balance(state: State, left: int, price: int, held_asset: int) -> int:
    """Check that a spot order can be paid.

    From what the venue told, with our trades since, less what is open. The venue's fee is not in
    it: the venue refuses what lacks only that.
    """
    decision = state.decision
    number = decision[D_INSTRUMENT]
    at = number * INSTRUMENT_WORDS
    if state.instruments[at + I_KIND] != SPOT or not state.control[C_SPOT_BALANCE]:
        return 0
    buy = decision[D_SIDE] > 0
    asset = state.instruments[at + (I_QUOTE if buy else I_BASE)]
    needed = (
        value_of(state.instruments, number, price, left)
        if buy
        else scaled_quantity(state, number, left)
    ) - held_asset
    if needed <= 0:
        return 0
    row = state.held[decision[D_ACCOUNT] * ASSETS + asset]
    if row == NONE:
        return _D_BALANCE
    b = row * BALANCE_WORDS
    balances = state.balances
    free = balances[b + B_TOTAL] + balances[b + B_CHANGED] - balances[b + B_RESERVED]
    return _D_BALANCE if needed > free else 0


# -- rates -----------------------------------------------------------------------------------------
@inlined
def check_rate(state: State, kind: int) -> int:
    """Check that no scope does more of a kind in its period; ``count_rate`` takes note."""
    now = state.control[C_NOW]
    for i in range(SCOPES_OF):
        scope = state.decision[D_SCOPES + i]
        if scope == NONE:
            continue
        limits = scope * SCOPE_WORDS + S_LIMITS
        most = state.scopes[limits + _RATE_LIMITS[kind]]
        if most >= 0 and not has_room(state, scope, kind, most, now, limits):
            return _RATE_DENIALS[kind]
    return 0


@inlined
def has_room(state: State, scope: int, kind: int, most: int, now: int, limits: int) -> bool:
    """Return whether fewer than ``most`` things of a kind have happened within the period."""
    if most == 0:
        return False
    most = min(most, RATE_MOST)
    place = scope * RATES + kind
    happened = state.marks[place]
    if happened < most:
        return True
    period = state.scopes[limits + L_RATE_PERIOD]
    if period <= 0 or kind == FILLS:
        period = SECOND_NS
    at = place * RATE_MOST + (happened - most) % RATE_MOST
    return bool(now - state.times[at] >= period)


@inlined
def count_rate(state: State, scope: int, kind: int) -> None:
    """Take note that something of a kind has happened in a scope."""
    place = scope * RATES + kind
    state.times[place * RATE_MOST + state.marks[place] % RATE_MOST] = state.control[C_NOW]
    state.marks[place] += 1


@inlined
def count_rates(state: State, kind: int) -> None:
    """Take note in all of the decision's scopes."""
    for i in range(SCOPES_OF):
        scope = state.decision[D_SCOPES + i]
        if scope != NONE:
            count_rate(state, scope, kind)


@inlined
def is_reducing(state: State, first: int, end: int) -> bool:
    """Return whether one of some of the decision's scopes is reduce-only."""
    for i in range(first, end):
        scope = state.decision[D_SCOPES + i]
        if scope != NONE and state.scopes[scope * SCOPE_WORDS + S_STATE] == _REDUCING:
            return True
    return False


@inlined
def check_system(state: State) -> int:
    """Check trading state and the venue's clock."""
    decision = state.decision
    strictest = trading_state(state)
    if decision[D_OWN]:
        return 0
    if strictest >= _CANCEL_ONLY:
        return _D_STATE
    if strictest == _REDUCING:
        # What is to be reduced is the position of the scope that says so: the account's, or the
        # strategy's own.
        of_account, own = decision[D_ACCOUNT_ROW], decision[D_STRATEGY_ROW]
        if is_reducing(state, 0, 3) and check_reducing(state, of_account, True):
            return _D_STATE
        if is_reducing(state, 3, SCOPES_OF) and check_reducing(state, own, True):
            return _D_STATE
    most = tightest(state, L_CLOCK_OFFSET)
    if most >= 0:
        offset = state.accounts[decision[D_ACCOUNT] * ACCOUNT_WORDS + A_OFFSET_NS]
        if abs(offset) > most:
            return _D_CLOCK
    return 0
