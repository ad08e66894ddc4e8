"""The rules of risk: each exactly at its limit, above it and below it."""

import random
from pathlib import Path

import pytest

from engine.common import OrderType, Side, TimeInForce
from feeds.types import BookState, Kind, Status
from gateways.types import Action, ReportFlag, ReportKind, RequestFlag
from oms.memory import put_instrument, rate_of
from oms.state import (
    A_ALIVE,
    A_OFFSET_NS,
    A_REQUESTS_NEWEST,
    A_REQUESTS_ROOM,
    ACCOUNT_WORDS,
    C_JOURNAL,
    C_POSITION_COUNT,
    C_SCOPE_COUNT,
    I_ACCOUNT,
    I_REFERENCE,
    I_ROW_THERE,
    I_TOP_NS,
    INSTRUMENT_WORDS,
    POSITIONS,
)
from oms.state import SCOPES as SCOPES_MOST
from oms.types import (
    Alarm,
    CommandKind,
    Deny,
    IntentAction,
    OrderState,
    Pending,
    ScopeKind,
    TradingState,
    UpdateKind,
)
from tests.oms_desk import INVERSE, PERPETUAL, SPOT, UNIT, Desk, instrument_row, state_of

START = 1_800_000_000 * 10**9
BUY, SELL = Side.BUY, Side.SELL
PASSES = None
OTHER = 3
"""An instrument of a test's own."""
PRICE = 50_000_00
STEP = 5 * 10**8
"""Money of the smallest quantity at PRICE."""
MIDDLE_STEP = 500_000_500
"""The same in the middle of the desk's books, by which positions are valued."""
SCOPES = {
    ScopeKind.FIRM: {},
    ScopeKind.ACCOUNT: {"account": 0},
    ScopeKind.STRATEGY: {"strategy": 1},
    ScopeKind.ACCOUNT_INSTRUMENT: {"account": 0, "instrument": PERPETUAL},
    ScopeKind.STRATEGY_INSTRUMENT: {"account": 0, "strategy": 1, "instrument": PERPETUAL},
}
IN_EACH_SCOPE = pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name.lower())
AROUND = pytest.mark.parametrize("beyond", [-1, 0, 1], ids=["below", "at", "above"])


@pytest.fixture
def desk():
    return Desk(clock=START)


def verdict(updates):
    """Return why the last intent was refused, PASSES if it was not."""
    kinds = (UpdateKind.DENIED, UpdateKind.ROUTED)
    last = [update for update in updates if update["kind"] in kinds][-1]
    return Deny(int(last["reason"])) if last["kind"] == UpdateKind.DENIED else PASSES


def set_limit(desk, name, value, scope=ScopeKind.FIRM):
    desk.limit(name, value, scope, **SCOPES[scope])


def set_state(desk, state, scope=ScopeKind.FIRM, **key):
    key = key or SCOPES[scope]
    return desk.command(CommandKind.STATE, scope, value=state, **key)


def state_in(desk, scope=ScopeKind.FIRM):
    return TradingState(int(desk.scope(scope, **SCOPES[scope])["state"]))


def add_instrument(desk, number=OTHER, account=0, there=None, kind=Kind.LINEAR_PERPETUAL, **terms):
    row = instrument_row(kind, b"OTHER", **terms)
    put_instrument(desk.state, number, row, account, number if there is None else there)
    desk.top(number, 50_000_00, 50_000_10)


def trade(desk, number, side, quantity, price=PRICE, **terms):
    """Have an order filled at once."""
    assert verdict(desk.new(number, side, quantity=quantity, price=price, **terms)) is PASSES
    desk.open(number)
    return desk.fill(number, quantity, trade_id=number, price=price)


# -- what an order is of ---------------------------------------------------------------------------
def test_nothing_is_sent_before_the_account_was_reconciled():
    desk = Desk(ready=False, clock=START)
    desk.report(ReportKind.UP)
    assert verdict(desk.new(1)) is Deny.NOT_READY
    desk.ready()
    assert verdict(desk.new(2)) is PASSES


def test_nothing_is_sent_while_the_account_is_down(desk):
    desk.report(ReportKind.DOWN)
    assert verdict(desk.new(1)) is Deny.ACCOUNT_DOWN
    desk.report(ReportKind.UP)
    assert verdict(desk.new(2)) is PASSES


def test_nothing_is_sent_to_a_dead_gateway(desk):
    desk.state.accounts[A_ALIVE] = 0
    assert verdict(desk.new(1)) is Deny.ACCOUNT_DOWN


@pytest.mark.parametrize("account", [-1, 0])
def test_the_account_may_be_named_or_left_open(desk, account):
    assert verdict(desk.new(1, account=account)) is PASSES


@pytest.mark.parametrize("account", [1, 7, 8, 2**31 - 1, -2])
def test_an_account_that_does_not_trade_the_instrument_is_refused(desk, account):
    assert verdict(desk.new(1, account=account)) is Deny.ACCOUNT


@pytest.mark.parametrize("word", [I_ROW_THERE, I_ACCOUNT])
def test_an_instrument_that_nobody_trades_is_refused(desk, word):
    desk.state.instruments[PERPETUAL * INSTRUMENT_WORDS + word] = -1
    assert verdict(desk.new(1)) is Deny.ACCOUNT


@pytest.mark.parametrize("instrument", [-1, 5, 8, 2**31 - 1, -(2**31)])
def test_an_unknown_instrument_is_refused(desk, instrument):
    assert verdict(desk.new(1, instrument=instrument)) is Deny.INSTRUMENT


@pytest.mark.parametrize("status", [each for each in Status if each != Status.TRADING])
def test_an_instrument_that_does_not_trade_is_refused(desk, status):
    add_instrument(desk, status=status)
    assert verdict(desk.new(1, instrument=OTHER)) is Deny.NOT_TRADING


@pytest.mark.parametrize(
    "terms",
    [
        {"side": 0},
        {"side": 2},
        {"quantity": 0},
        {"quantity": -1},
        {"number": 0},
        {"number": -1},
        {"price": -10},
        {"order_type": 0},
        {"order_type": 5},
        {"time_in_force": 0},
        {"time_in_force": 6},
        {"price": 0, "order_type": OrderType.LIMIT},
        {"order_type": OrderType.MARKET, "time_in_force": TimeInForce.IOC},
        {"price": 0, "time_in_force": TimeInForce.POST_ONLY},
        {"price": 0, "time_in_force": TimeInForce.GTD, "expire_ns": START + 1},
        {"stop_price": 10},
        {"stop_price": -10},
        {"order_type": OrderType.STOP_LIMIT},
        {"order_type": OrderType.STOP_MARKET, "stop_price": 10},
        {"price": 0, "order_type": OrderType.STOP_MARKET},
        {"position_side": 2},
        {"position_side": -2},
        {"flags": RequestFlag.QUOTE_QUANTITY},
    ],
    ids=str,
)
def test_a_combination_that_does_not_exist_is_refused(desk, terms):
    terms = {"number": 1} | terms
    assert verdict(desk.new(**terms)) is Deny.PARAMETER


def test_an_action_that_does_not_exist_is_refused(desk):
    assert verdict(desk.intent(9, 1)) is Deny.PARAMETER


def test_a_number_is_used_once(desk):
    desk.new(1)
    assert verdict(desk.new(1, price=PRICE + 10)) is Deny.DUPLICATE_NUMBER


def test_another_strategy_may_use_the_same_number(desk):
    desk.new(1)
    assert verdict(desk.new(1, strategy=2)) is PASSES


@pytest.mark.parametrize("change", ["cancel", "amend"])
def test_an_order_that_is_not_there_cannot_be_changed(desk, change):
    desk.new(1)
    assert verdict(getattr(desk, change)(2, quantity=5)) is Deny.UNKNOWN_ORDER


@pytest.mark.parametrize("change", ["cancel", "amend"])
def test_an_order_of_another_strategy_cannot_be_changed(desk, change):
    desk.new(1)
    assert verdict(getattr(desk, change)(1, quantity=5, strategy=2)) is Deny.UNKNOWN_ORDER


@pytest.mark.parametrize("change", ["cancel", "amend"])
def test_an_order_that_has_ended_cannot_be_changed(desk, change):
    trade(desk, 1, BUY, 10)
    assert verdict(getattr(desk, change)(1, quantity=20)) is Deny.ORDER_ENDED


def test_a_lost_order_cannot_be_amended_but_cancelled(desk):
    desk.new(1)
    desk.open(1)
    desk.report(ReportKind.NOT_FOUND, 1)
    assert state_of(desk.order(1)) is OrderState.LOST
    assert verdict(desk.amend(1, quantity=5)) is Deny.PARAMETER
    assert verdict(desk.cancel(1)) is PASSES


def test_an_amendment_changes_something(desk):
    desk.new(1)
    assert verdict(desk.amend(1, price=PRICE, quantity=10)) is Deny.NOT_CHANGED
    assert verdict(desk.amend(1)) is Deny.NOT_CHANGED
    assert verdict(desk.amend(1, quantity=11)) is PASSES


def test_a_second_amendment_may_take_the_first_back(desk):
    desk.new(1)
    desk.amend(1, quantity=11)
    assert verdict(desk.amend(1, quantity=10)) is PASSES


def test_no_more_positions_than_there_is_room_for(desk):
    desk.state.control[C_POSITION_COUNT] = POSITIONS - 1
    assert verdict(desk.new(1)) is Deny.ORDERS_FULL


@pytest.mark.parametrize("change", ["new", "cancel", "amend"])
def test_a_gateway_that_takes_no_more_requests_is_not_written_over(desk, change):
    desk.new(1)
    desk.state.accounts[A_REQUESTS_ROOM] = desk.state.accounts[A_REQUESTS_NEWEST] + 1
    assert verdict(desk.new(2, price=PRICE - 10)) is PASSES
    number = 3 if change == "new" else 1
    assert verdict(getattr(desk, change)(number, quantity=5)) is Deny.REQUESTS_FULL


# -- times -----------------------------------------------------------------------------------------
@IN_EACH_SCOPE
@AROUND
def test_an_intent_may_be_so_old(desk, scope, beyond):
    set_limit(desk, "intent_age", 1000, scope)
    reason = verdict(desk.new(1, created_ns=START - 1000 - beyond))
    assert reason is (Deny.INTENT_AGE if beyond > 0 else PASSES)


@AROUND
def test_an_amendment_may_be_so_old(desk, beyond):
    set_limit(desk, "intent_age", 1000)
    desk.new(1)
    reason = verdict(desk.amend(1, quantity=5, created_ns=START - 1000 - beyond))
    assert reason is (Deny.INTENT_AGE if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("change", ["new", "amend"])
def test_an_intent_is_not_decided_after_its_deadline(desk, beyond, change):
    desk.new(1)
    number = 2 if change == "new" else 1
    reason = verdict(getattr(desk, change)(number, quantity=5, deadline_ns=START - beyond))
    assert reason is (Deny.DEADLINE if beyond > 0 else PASSES)


@AROUND
def test_an_order_does_not_expire_before_it_is_sent(desk, beyond):
    terms = {"time_in_force": TimeInForce.GTD, "expire_ns": START - beyond}
    assert verdict(desk.new(1, **terms)) is (PASSES if beyond < 0 else Deny.EXPIRE_TIME)


@pytest.mark.parametrize(
    "terms", [{"time_in_force": TimeInForce.GTD}, {"expire_ns": START + 10**9}], ids=str
)
def test_only_what_is_good_till_a_date_has_one(desk, terms):
    assert verdict(desk.new(1, **terms)) is Deny.EXPIRE_TIME


@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("sign", [1, -1])
def test_the_clocks_may_differ_by_so_much(desk, scope, beyond, sign):
    set_limit(desk, "clock_offset", 1000, scope)
    desk.state.accounts[A_OFFSET_NS] = sign * (1000 + beyond)
    assert verdict(desk.new(1)) is (Deny.CLOCK if beyond > 0 else PASSES)


# -- terms of the venue ----------------------------------------------------------------------------
@AROUND
def test_a_price_is_on_its_tick(desk, beyond):
    assert verdict(desk.new(1, price=PRICE + beyond)) is (Deny.PRICE_TICK if beyond else PASSES)


@AROUND
def test_an_amended_price_is_on_its_tick(desk, beyond):
    desk.new(1)
    reason = verdict(desk.amend(1, price=PRICE - 10 + beyond))
    assert reason is (Deny.PRICE_TICK if beyond else PASSES)


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        (10, PASSES),
        (15, PASSES),
        (14, Deny.QUANTITY_LOT),
        (16, Deny.QUANTITY_LOT),
        (5, Deny.MINIMUM_QUANTITY),
        (100, PASSES),
        (95, PASSES),
        (105, Deny.MAXIMUM_QUANTITY),
    ],
)
def test_a_quantity_is_in_whole_lots_and_within_the_venues_bounds(desk, quantity, reason):
    add_instrument(desk, lot=5, minimum_quantity=10, maximum_quantity=100)
    assert verdict(desk.new(1, instrument=OTHER, quantity=quantity)) is reason
    desk.new(2, instrument=OTHER, quantity=20)
    assert verdict(desk.amend(2, quantity=quantity)) is reason


@AROUND
@pytest.mark.parametrize("price", [PRICE, 0], ids=["limit", "market"])
def test_a_value_is_at_least_the_venues_minimum(desk, beyond, price):
    step = STEP if price else MIDDLE_STEP
    add_instrument(desk, kind=Kind.SPOT, minimum_notional=20 * step)
    reason = verdict(desk.new(1, instrument=OTHER, quantity=20 + beyond, price=price))
    assert reason is (Deny.MINIMUM_NOTIONAL if beyond < 0 else PASSES)


def test_a_sell_order_below_the_market_is_measured_by_its_own_price(desk):
    add_instrument(desk, minimum_notional=20 * STEP)
    assert verdict(desk.new(1, SELL, PRICE - 10, 20, OTHER)) is Deny.MINIMUM_NOTIONAL


def test_what_only_reduces_may_be_worth_less_than_the_venues_minimum(desk):
    add_instrument(desk, minimum_notional=20 * STEP)
    trade(desk, 1, BUY, 21, instrument=OTHER)
    terms = {"instrument": OTHER, "quantity": 1, "flags": RequestFlag.REDUCE_ONLY}
    assert verdict(desk.new(2, SELL, **terms)) is PASSES


# -- the market ------------------------------------------------------------------------------------
@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("source", ["top", "mark"])
def test_the_market_may_be_so_old(scope, beyond, source):
    desk = Desk(clock=START)
    desk.top(PERPETUAL, 0, 0, BookState.EMPTY)
    set_limit(desk, "market_age", 1000, scope)
    set_limit(desk, "collar", 0, scope)
    if source == "top":
        desk.top(PERPETUAL, PRICE - 10, PRICE + 10, age_ns=1000 + beyond)
    else:
        desk.mark(PERPETUAL, PRICE, age_ns=1000 + beyond)
    assert verdict(desk.new(1)) is (Deny.MARKET_STALE if beyond > 0 else PASSES)


def test_a_market_order_needs_a_market(desk):
    desk.top(PERPETUAL, PRICE, PRICE + 10, BookState.EMPTY)
    assert verdict(desk.new(1, price=0)) is Deny.MARKET_STALE


@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_price_may_be_so_far_beyond_the_market(desk, scope, beyond, side):
    desk.top(PERPETUAL, PRICE - 10, PRICE + 10)
    set_limit(desk, "collar", 1000, scope)  # 10 basis points: 50.00.
    reason = verdict(desk.new(1, side, PRICE + side * (5000 + 10 * beyond)))
    assert reason is (Deny.COLLAR if beyond > 0 else PASSES)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_price_away_from_the_market_meets_no_collar(desk, side):
    set_limit(desk, "collar", 1000)
    assert verdict(desk.new(1, side, PRICE - side * 2_000_000)) is PASSES


@AROUND
def test_an_amended_price_may_be_so_far_beyond_the_market(desk, beyond):
    desk.top(PERPETUAL, PRICE - 10, PRICE + 10)
    set_limit(desk, "collar", 1000)
    desk.new(1, price=PRICE - 10)
    reason = verdict(desk.amend(1, price=PRICE + 5000 + 10 * beyond))
    assert reason is (Deny.COLLAR if beyond > 0 else PASSES)


@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("away", [1, -1], ids=["up", "down"])
def test_a_price_may_be_so_far_from_the_mark(desk, scope, beyond, side, away):
    desk.mark(PERPETUAL, PRICE + 1000)
    set_limit(desk, "band", 1_000_000 // 5001, scope)
    most = (PRICE + 1000) * (1_000_000 // 5001) // 1_000_000 // 10 * 10
    reason = verdict(desk.new(1, side, PRICE + 1000 + away * (most + 10 * beyond)))
    assert reason is (Deny.BAND if beyond > 0 else PASSES)


def test_a_mark_price_that_is_too_old_is_none(desk):
    desk.mark(PERPETUAL, 2 * PRICE)
    set_limit(desk, "band", 1000)
    assert verdict(desk.new(1)) is Deny.BAND
    set_limit(desk, "market_age", 1000)
    desk.wait(1001)
    assert verdict(desk.new(2)) is Deny.MARKET_STALE
    desk.top(PERPETUAL, PRICE - 10, PRICE + 10)
    assert verdict(desk.new(3)) is PASSES


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
def test_what_is_to_rest_does_not_reach_the_other_side(desk, beyond, side):
    desk.top(PERPETUAL, PRICE - 100, PRICE + 100)
    reason = verdict(
        desk.new(1, side, PRICE + side * (100 + 10 * beyond), time_in_force=TimeInForce.POST_ONLY)
    )
    assert reason is (PASSES if beyond < 0 else Deny.POST_ONLY)


def test_a_book_that_is_too_old_says_nothing_of_what_is_to_rest(desk):
    set_limit(desk, "market_age", 1000)
    desk.wait(1001)
    reason = verdict(desk.new(1, price=PRICE + 100, time_in_force=TimeInForce.POST_ONLY))
    assert reason is PASSES


# -- market orders ---------------------------------------------------------------------------------
@IN_EACH_SCOPE
@pytest.mark.parametrize(
    ("side", "slippage", "bound"),
    [
        (BUY, 1000, 50_055_00),
        (SELL, 1000, 49_955_10),
        (BUY, 0, 50_005_00),
        (SELL, 0, 50_005_10),
        (BUY, 1, 50_005_10),
        (SELL, 1, 50_005_00),
    ],
)
def test_a_market_order_becomes_a_limit_order_within_the_bound_rounded_inward(
    desk, scope, side, slippage, bound
):
    desk.top(PERPETUAL, 50_005_00, 50_005_11)
    set_limit(desk, "slippage", slippage, scope)
    desk.asked()
    assert verdict(desk.new(1, side, price=0)) is PASSES
    request = desk.asked()[0]
    assert request["price"] == bound
    assert request["order_type"] == OrderType.LIMIT
    assert request["time_in_force"] == TimeInForce.IOC
    assert desk.order(1)["price"] == bound


def test_a_market_order_to_be_filled_as_a_whole_stays_so(desk):
    set_limit(desk, "slippage", 1000)
    desk.asked()
    desk.new(1, price=0, time_in_force=TimeInForce.FOK)
    assert desk.asked()[0]["time_in_force"] == TimeInForce.FOK


def test_a_market_order_without_a_bound_stays_one(desk):
    desk.asked()
    desk.new(1, price=0)
    request = desk.asked()[0]
    assert (request["price"], request["order_type"]) == (0, OrderType.MARKET)


def test_the_narrowest_of_the_bounds_counts(desk):
    for scope, slippage in zip(SCOPES, (5000, 4000, 1000, 2000, 3000), strict=True):
        set_limit(desk, "slippage", slippage, scope)
    desk.top(PERPETUAL, PRICE - 10, PRICE + 10)
    desk.asked()
    desk.new(1, price=0)
    assert desk.asked()[0]["price"] == PRICE + 5000


def test_a_bound_below_any_price_is_no_price(desk):
    set_limit(desk, "slippage", 1_000_000)
    assert verdict(desk.new(1, SELL, price=0)) is Deny.MARKET_STALE
    assert verdict(desk.new(2, BUY, price=0)) is PASSES


# -- our own orders --------------------------------------------------------------------------------
@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_order_does_not_meet_one_of_our_own(desk, beyond, side):
    desk.new(1, side, PRICE)
    desk.new(2, side, PRICE - side * 1000)
    reason = verdict(desk.new(3, -side, PRICE + side * -10 * beyond))
    assert reason is (PASSES if beyond < 0 else Deny.SELF_TRADE)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_order_does_not_meet_one_of_another_strategy(desk, side):
    desk.new(1, side, strategy=2)
    assert verdict(desk.new(1, -side)) is Deny.SELF_TRADE


@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_order_does_not_meet_one_of_another_position_side(desk, side):
    desk.new(1, side, position_side=side)
    assert verdict(desk.new(2, -side, position_side=-side)) is Deny.SELF_TRADE


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("done", [False, True], ids=["pending", "done"])
def test_an_order_does_not_meet_an_amended_one(desk, beyond, side, done):
    desk.new(1, side, PRICE - side * 1000)
    desk.open(1)
    assert verdict(desk.amend(1, price=PRICE)) is PASSES
    if done:
        desk.report(ReportKind.AMENDED, 1, price=PRICE, quantity=10, action=Action.AMEND)
    reason = verdict(desk.new(2, -side, PRICE + side * -10 * beyond))
    assert reason is (PASSES if beyond < 0 else Deny.SELF_TRADE)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_amendment_that_was_refused_stands_in_nobodys_way(desk, side):
    desk.new(1, side, PRICE - side * 1000)
    desk.open(1)
    desk.amend(1, price=PRICE)
    request = desk.order(1)["amend_request"]
    desk.report(ReportKind.AMEND_REJECTED, 1, action=Action.AMEND, request_id=request)
    assert verdict(desk.new(2, -side)) is PASSES


@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_amendment_does_not_meet_an_order_of_our_own(desk, side):
    desk.new(1, side)
    desk.new(2, -side, PRICE + side * 1000)
    assert verdict(desk.amend(2, price=PRICE)) is Deny.SELF_TRADE
    assert verdict(desk.amend(2, price=PRICE + side * 10)) is PASSES


@pytest.mark.parametrize("side", [BUY, SELL])
def test_an_order_that_has_ended_stands_in_nobodys_way(desk, side):
    desk.new(1, side)
    desk.report(ReportKind.CANCELED, 1)
    assert verdict(desk.new(2, -side)) is PASSES


def test_a_market_order_does_not_meet_one_of_our_own(desk):
    set_limit(desk, "slippage", 1000)
    desk.new(1, SELL, PRICE + 100)
    assert verdict(desk.new(2, BUY, price=0)) is Deny.SELF_TRADE


@AROUND
def test_an_equal_order_waits_for_the_window(desk, beyond):
    set_limit(desk, "duplicate_window", 1000)
    desk.new(1)
    desk.wait(1000 + beyond)
    assert verdict(desk.new(2)) is (Deny.DUPLICATE if beyond < 0 else PASSES)


@pytest.mark.parametrize(
    "terms",
    [
        {"price": PRICE - 10},
        {"quantity": 11},
        {"instrument": INVERSE},
        {"strategy": 2},
        {"side": SELL, "price": PRICE + 10},
    ],
    ids=str,
)
def test_another_order_is_no_duplicate(desk, terms):
    set_limit(desk, "duplicate_window", 1000)
    desk.new(1)
    assert verdict(desk.new(2, **terms)) is PASSES


def test_what_was_refused_is_not_taken_for_the_first_of_two(desk):
    set_limit(desk, "duplicate_window", 1000)
    set_limit(desk, "order_quantity", 5)
    assert verdict(desk.new(1)) is Deny.ORDER_QUANTITY
    set_limit(desk, "order_quantity", -1)
    assert verdict(desk.new(2)) is PASSES


# -- reduce-only -----------------------------------------------------------------------------------
def reduce_only(desk, number, side, quantity, **terms):
    return verdict(
        desk.new(number, side, quantity=quantity, flags=RequestFlag.REDUCE_ONLY, **terms)
    )


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
def test_what_only_reduces_is_no_larger_than_the_position(desk, beyond, side):
    trade(desk, 1, side, 100)
    reason = reduce_only(desk, 2, -side, 100 + beyond)
    assert reason is (Deny.REDUCE_ONLY if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("fate", ["open", "unknown", "lost"])
def test_others_that_only_reduce_count_whatever_became_of_them(desk, beyond, fate):
    trade(desk, 1, BUY, 100)
    assert reduce_only(desk, 2, SELL, 40, price=PRICE + 100) is PASSES
    let_be(desk, 2, fate)
    reason = reduce_only(desk, 3, SELL, 60 + beyond)
    assert reason is (Deny.REDUCE_ONLY if beyond > 0 else PASSES)


@AROUND
def test_an_amendment_of_what_only_reduces_is_no_larger_than_the_position(desk, beyond):
    trade(desk, 1, BUY, 100)
    assert reduce_only(desk, 2, SELL, 40) is PASSES
    reason = verdict(desk.amend(2, quantity=100 + beyond))
    assert reason is (Deny.REDUCE_ONLY if beyond > 0 else PASSES)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_what_only_reduces_does_not_open(desk, side):
    assert reduce_only(desk, 1, side, 1) is Deny.REDUCE_ONLY
    trade(desk, 2, side, 100)
    assert reduce_only(desk, 3, side, 1) is Deny.REDUCE_ONLY


# -- sizes -----------------------------------------------------------------------------------------
def let_be(desk, number, fate):
    """Have an order come to be open, of unknown fate, or lost."""
    request = desk.order(number)["request_id"]
    if fate == "unknown":
        desk.report(ReportKind.UNKNOWN, number, action=Action.NEW, request_id=request)
        assert state_of(desk.order(number)) is OrderState.UNKNOWN
        return
    desk.open(number)
    if fate == "lost":
        desk.report(ReportKind.NOT_FOUND, number)
        assert state_of(desk.order(number)) is OrderState.LOST


def with_open(fate):
    def prepare(desk, side):
        desk.new(1, side, quantity=40)
        let_be(desk, 1, fate)

    return prepare


def with_amendment(desk, side):
    desk.new(1, side, quantity=20)
    desk.open(1)
    assert verdict(desk.amend(1, quantity=40)) is PASSES
    assert desk.order(1)["pending"] == Pending.AMEND


def with_lesser_amendment(desk, side):
    desk.new(1, side, quantity=40)
    desk.open(1)
    assert verdict(desk.amend(1, quantity=20)) is PASSES


def with_two_amendments(desk, side):
    with_amendment(desk, side)
    assert verdict(desk.amend(1, quantity=30)) is PASSES


def with_refused_amendment(desk, side):
    with_open("open")(desk, side)
    desk.amend(1, quantity=45)
    request = desk.order(1)["amend_request"]
    desk.report(ReportKind.AMEND_REJECTED, 1, action=Action.AMEND, request_id=request)


def with_amendment_done(desk, side):
    with_amendment(desk, side)
    desk.report(ReportKind.AMENDED, 1, quantity=40, price=PRICE, action=Action.AMEND)
    assert desk.order(1)["pending"] == 0


def with_cancel_pending(desk, side):
    with_open("open")(desk, side)
    desk.cancel(1)


def with_trades_missing(desk, side):
    desk.new(1, side, quantity=50)
    desk.report(ReportKind.CANCELED, 1, filled=40)
    assert state_of(desk.order(1)) is OrderState.CANCELED


def with_part_filled(desk, side):
    desk.new(1, side, quantity=40)
    desk.fill(1, 15, trade_id=1)


def with_position(desk, side):
    trade(desk, 1, side, 40)


OPEN = [
    with_open("sent"),
    with_open("unknown"),
    with_open("lost"),
    with_amendment,
    with_lesser_amendment,
    with_two_amendments,
    with_refused_amendment,
    with_amendment_done,
    with_cancel_pending,
    with_trades_missing,
]
OPEN_NAMES = ["open", "unknown", "lost", *(each.__name__[5:] for each in OPEN[3:])]
BEFORE = [*OPEN, with_part_filled, with_position]
BEFORE_NAMES = [*OPEN_NAMES, "part_filled", "position"]
"""Each has the strategy trade 40, or leaves it open that it will."""


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("prepare", BEFORE, ids=BEFORE_NAMES)
@pytest.mark.parametrize("scope", [ScopeKind.ACCOUNT_INSTRUMENT, ScopeKind.STRATEGY_INSTRUMENT])
def test_the_worst_position_is_within_its_limit(desk, scope, prepare, side, beyond):
    prepare(desk, side)
    set_limit(desk, "position", 100, scope)
    reason = verdict(desk.new(2, side, quantity=60 + beyond))
    assert reason is (Deny.POSITION if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("prepare", OPEN, ids=OPEN_NAMES)
def test_the_notional_of_open_orders_is_within_its_limit(desk, prepare, side, beyond):
    prepare(desk, side)
    # What is not known to stand in the book may be sold at the market's price.
    step = STEP if side is BUY else MIDDLE_STEP
    set_limit(desk, "open_notional", desk.order(1)["reserved_money"] + 60 * step)
    assert desk.order(1)["reserved_money"] in (40 * STEP, 40 * step)
    reason = verdict(desk.new(2, side, quantity=60 + beyond))
    assert reason is (Deny.OPEN_NOTIONAL if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("prepare", BEFORE, ids=BEFORE_NAMES)
@pytest.mark.parametrize("name", ["gross_notional", "net_notional"])
def test_the_worst_notional_is_within_its_limit(desk, name, prepare, side, beyond):
    prepare(desk, side)
    set_limit(desk, name, 100 * MIDDLE_STEP)
    reason = verdict(desk.new(2, side, quantity=60 + beyond))
    assert reason is (Deny[name.upper()] if beyond > 0 else PASSES)


@AROUND
@IN_EACH_SCOPE
@pytest.mark.parametrize("name", ["gross_notional", "net_notional", "open_notional"])
def test_each_scope_has_its_own_notionals(desk, scope, name, beyond):
    set_limit(desk, name, 100 * (STEP if name == "open_notional" else MIDDLE_STEP), scope)
    reason = verdict(desk.new(2, quantity=100 + beyond))
    assert reason is (Deny[name.upper()] if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("prepare", BEFORE, ids=BEFORE_NAMES)
@pytest.mark.parametrize("scope", [ScopeKind.FIRM, ScopeKind.ACCOUNT])
def test_the_leverage_is_within_its_limit(scope, prepare, beyond):
    desk = Desk(clock=START)
    prepare(desk, BUY)
    desk.report(ReportKind.BALANCE, asset=b"BTC", decimals=8)
    marked = desk.position(strategy=0)["unrealized"]
    equity = 20 * MIDDLE_STEP
    desk.report(ReportKind.BALANCE, asset=b"USDT", decimals=8, quantity=equity - marked)
    desk.keep_up()
    assert desk.scope(scope, **SCOPES[scope])["equity_money"] == equity
    set_limit(desk, "leverage", 500, scope)
    reason = verdict(desk.new(2, quantity=60 + beyond))
    assert reason is (Deny.LEVERAGE if beyond > 0 else PASSES)


def test_leverage_is_not_rounded_in_anybodys_favor(desk):
    desk.report(ReportKind.BALANCE, asset=b"BTC", decimals=8)
    desk.report(ReportKind.BALANCE, asset=b"USDT", decimals=8, quantity=100 * MIDDLE_STEP - 1)
    desk.keep_up()
    set_limit(desk, "leverage", 100)
    assert verdict(desk.new(1, quantity=100)) is Deny.LEVERAGE


def test_without_equity_nothing_is_within_a_leverage(desk):
    for asset in (b"BTC", b"USDT"):
        desk.report(ReportKind.BALANCE, asset=asset, decimals=8)
    desk.keep_up()
    set_limit(desk, "leverage", 10_000)
    assert verdict(desk.new(1, quantity=1)) is Deny.LEVERAGE


@AROUND
@IN_EACH_SCOPE
@pytest.mark.parametrize("fate", ["sent", "open", "unknown", "lost"])
def test_so_many_orders_are_open(desk, scope, fate, beyond):
    desk.new(1)
    if fate != "sent":
        let_be(desk, 1, fate)
    set_limit(desk, "open_orders", 2 - beyond, scope)
    assert verdict(desk.new(2)) is (Deny.OPEN_ORDERS if beyond > 0 else PASSES)


def test_an_order_that_has_ended_is_not_open(desk):
    set_limit(desk, "open_orders", 1)
    desk.new(1)
    assert verdict(desk.new(2)) is Deny.OPEN_ORDERS
    desk.report(ReportKind.CANCELED, 1)
    assert verdict(desk.new(3)) is PASSES


def test_an_amendment_opens_no_order(desk):
    set_limit(desk, "open_orders", 1)
    desk.new(1)
    assert verdict(desk.amend(1, quantity=50)) is PASSES


@AROUND
@IN_EACH_SCOPE
@pytest.mark.parametrize("change", ["new", "amend"])
def test_an_order_may_have_such_a_quantity(desk, scope, change, beyond):
    desk.new(1)
    set_limit(desk, "order_quantity", 100, scope)
    number = 2 if change == "new" else 1
    reason = verdict(getattr(desk, change)(number, quantity=100 + beyond))
    assert reason is (Deny.ORDER_QUANTITY if beyond > 0 else PASSES)


@AROUND
@IN_EACH_SCOPE
@pytest.mark.parametrize("change", ["new", "amend"])
def test_an_order_may_have_such_a_notional(desk, scope, change, beyond):
    desk.new(1)
    set_limit(desk, "order_notional", 100 * STEP, scope)
    number = 2 if change == "new" else 1
    reason = verdict(getattr(desk, change)(number, quantity=100 + beyond))
    assert reason is (Deny.ORDER_NOTIONAL if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("price", [10, 0, PRICE], ids=["low", "market", "near"])
def test_a_sell_order_counts_at_the_markets_price(desk, price, beyond):
    set_limit(desk, "order_notional", 100 * MIDDLE_STEP)
    reason = verdict(desk.new(1, SELL, price, 100 + beyond))
    assert reason is (Deny.ORDER_NOTIONAL if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize(
    ("order_type", "price"), [(OrderType.STOP_MARKET, 0), (OrderType.STOP_LIMIT, PRICE)]
)
def test_a_stop_order_counts_at_the_price_that_triggers_it(desk, order_type, price, beyond):
    side = SELL if price else BUY
    set_limit(desk, "order_notional", 100 * 2 * STEP)
    terms = {"order_type": order_type, "stop_price": 2 * PRICE, "time_in_force": TimeInForce.GTC}
    reason = verdict(desk.new(1, side, price, 100 + beyond, **terms))
    assert reason is (Deny.ORDER_NOTIONAL if beyond > 0 else PASSES)


@pytest.mark.parametrize("name", ["position", "gross_notional", "net_notional"])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_what_makes_a_position_smaller_is_not_refused_for_its_size(desk, name, side):
    trade(desk, 1, side, 100)
    scope = ScopeKind.STRATEGY_INSTRUMENT
    set_limit(desk, name, 1, scope)
    assert verdict(desk.new(2, side, quantity=1)) is Deny[name.upper()]
    assert verdict(desk.new(3, -side, quantity=60, price=PRICE - side * -100)) is PASSES


@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("prepare", ["nothing", "open", "unknown", "amendment"])
def test_spot_orders_are_paid_from_the_balance(desk, prepare, side, beyond):
    asset, step = (b"USDT", STEP) if side is BUY else (b"BTC", 10_000)
    desk.report(ReportKind.BALANCE, asset=asset, decimals=8, quantity=100 * step)
    used = 0 if prepare == "nothing" else 40
    if used:
        desk.new(1, side, instrument=SPOT, quantity=20 if prepare == "amendment" else 40)
        let_be(desk, 1, "unknown" if prepare == "unknown" else "open")
    if prepare == "amendment":
        assert verdict(desk.amend(1, quantity=40)) is PASSES
    assert desk.held_balance(asset)["reserved"] == used * step
    reason = verdict(desk.new(2, side, instrument=SPOT, quantity=100 - used + beyond))
    assert reason is (Deny.BALANCE if beyond > 0 else PASSES)


@AROUND
def test_what_was_bought_can_be_sold(desk, beyond):
    desk.report(ReportKind.BALANCE, asset=b"BTC", decimals=8, quantity=0)
    trade(desk, 1, BUY, 100, instrument=SPOT)
    reason = verdict(desk.new(2, SELL, instrument=SPOT, quantity=100 + beyond))
    assert reason is (Deny.BALANCE if beyond > 0 else PASSES)


def test_what_was_bought_can_be_sold_before_the_venue_told_of_any():
    desk = Desk(ready=False, clock=START)
    desk.balance(b"USDT", 1000)
    desk.ready()
    desk.top(SPOT, PRICE, PRICE + 10)
    trade(desk, 1, BUY, 100, instrument=SPOT)
    assert verdict(desk.new(2, SELL, instrument=SPOT, quantity=101)) is Deny.BALANCE
    assert verdict(desk.new(3, SELL, instrument=SPOT, quantity=100)) is PASSES


def test_a_balance_that_was_never_told_pays_for_nothing(desk):
    add_instrument(desk, kind=Kind.SPOT, base=b"ETH")
    assert verdict(desk.new(1, SELL, instrument=OTHER)) is Deny.BALANCE


def test_orders_told_before_their_balance_are_reserved_from_it():
    desk = Desk(ready=False, clock=START)
    desk.report(
        ReportKind.OPEN,
        client_id=-5,
        instrument=SPOT,
        side=BUY,
        price=PRICE,
        quantity=40,
        flags=ReportFlag.EXTERNAL,
    )
    desk.report(ReportKind.BALANCE, asset=b"USDT", decimals=8, quantity=100 * STEP)
    assert desk.held_balance(b"USDT")["reserved"] == 40 * STEP
    desk.report(ReportKind.CANCELED, client_id=-5, instrument=SPOT)
    assert desk.held_balance(b"USDT")["reserved"] == 0


@AROUND
@pytest.mark.parametrize("scope", [ScopeKind.FIRM, ScopeKind.ACCOUNT])
@pytest.mark.parametrize("fate", ["unknown", "lost"])
def test_the_fate_of_so_many_orders_may_be_unknown(desk, scope, fate, beyond):
    for number in (1, 2, 3):
        desk.new(number)
        let_be(desk, number, fate)
    set_limit(desk, "unknowns", 3 - beyond, scope)
    assert verdict(desk.new(4)) is (Deny.UNKNOWNS if beyond > 0 else PASSES)
    desk.report(ReportKind.CANCELED, 1)
    assert verdict(desk.new(5)) is PASSES


def test_a_currency_whose_worth_is_not_known_is_not_traded(desk):
    add_instrument(desk, quote=b"XYZ", settle=b"XYZ")
    assert verdict(desk.new(1, instrument=OTHER)) is Deny.NO_RATE
    rate_of(desk.state, b"XYZ", UNIT)
    assert verdict(desk.new(2, instrument=OTHER)) is PASSES


def test_orders_count_where_the_market_has_no_price_yet():
    desk = Desk(ready=False, clock=START)
    desk.ready()
    set_limit(desk, "gross_notional", 100 * STEP)
    assert verdict(desk.new(1, quantity=60)) is PASSES
    add_instrument(desk)
    for word in (I_TOP_NS, I_REFERENCE):
        desk.state.instruments[OTHER * INSTRUMENT_WORDS + word] = 0
    assert verdict(desk.new(2, quantity=41)) is Deny.GROSS_NOTIONAL
    assert verdict(desk.new(5, quantity=41, price=PRICE // 2)) is Deny.GROSS_NOTIONAL
    assert verdict(desk.new(3, quantity=41, instrument=OTHER)) is Deny.GROSS_NOTIONAL
    assert verdict(desk.new(4, quantity=40, instrument=OTHER)) is PASSES


# -- numbers beyond counting -----------------------------------------------------------------------
MOST = 2**63 - 1
EVERY_SIZE = ("order_notional", "open_notional", "gross_notional", "net_notional", "position")


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    ("price", "quantity"),
    [
        (MOST // 10 * 10, MOST),
        (MOST // 10 * 10, 1),
        (PRICE, MOST),
        (PRICE, 2**62),
        (PRICE, 2**55),
        (10, MOST),
        (10, 2**62),
        (10, 2**61 + 1),
        (2**62 // 10 * 10, 2**62),
        (2**32 * 10, 2**32),
        (0, MOST),
        (0, 2**58),
    ],
)
def test_no_number_is_so_large_that_it_passes(desk, side, price, quantity):
    trade(desk, 1, BUY, 10)
    desk.new(2, quantity=10)
    desk.new(3, SELL, quantity=10, price=PRICE + 100)
    for scope in SCOPES:
        for name in EVERY_SIZE:
            set_limit(desk, name, 2**61, scope)
    set_limit(desk, "leverage", 2**61)
    assert verdict(desk.new(4, side, price, quantity)) not in (PASSES, Deny.PARAMETER)
    if price:
        number = 2 if side is BUY else 3
        assert verdict(desk.amend(number, price=price, quantity=quantity)) is not PASSES


@pytest.mark.parametrize("name", ["gross_notional", "net_notional", "leverage"])
def test_a_low_price_does_not_make_a_large_quantity_pass(desk, name):
    trade(desk, 1, BUY, 10)
    trade(desk, 2, BUY, 10, instrument=INVERSE)
    set_limit(desk, name, 10**15)
    assert verdict(desk.new(3, BUY, 10, 4 * 10**15)) in (Deny.OVERFLOW, Deny[name.upper()])


def test_the_sum_of_worst_cases_does_not_wrap(desk):
    verdicts = []
    for number in (3, 4, 5):
        add_instrument(desk, number)
        verdicts.append(verdict(desk.new(number, BUY, 10, 8 * 10**9, number)))
    assert verdicts == [PASSES, Deny.OVERFLOW, Deny.OVERFLOW]
    assert 0 < desk.scope()["gross_money"] < 2**62


def test_the_sum_of_orders_beyond_the_market_does_not_wrap(desk):
    verdicts = [verdict(desk.new(n, BUY, 10 * PRICE, 6 * 10**8)) for n in range(1, 6)]
    assert verdicts == [PASSES, *[Deny.OVERFLOW] * 4]
    assert 0 < desk.scope()["open_money"] < 2**62


def test_the_sum_of_open_orders_does_not_wrap(desk):
    passed = [verdict(desk.new(n, BUY, 10, 3 * 10**11 + n)) for n in range(1, 40)]
    assert set(passed) <= {PASSES, Deny.OVERFLOW}
    huge = [verdict(desk.new(n, BUY, PRICE, 2**32 + n)) for n in range(50, 60)]
    assert Deny.OVERFLOW in huge
    scope = desk.scope()
    assert all(0 <= scope[name] < 2**62 for name in ("open_money", "gross_money", "long_money"))
    set_limit(desk, "open_notional", 10**12)
    assert verdict(desk.new(99)) is Deny.OPEN_NOTIONAL


def test_quantities_without_worth_do_not_wrap(desk):
    add_instrument(desk, price_decimals=8, quantity_decimals=8, tick=1)
    desk.top(OTHER, 1, 3)
    verdicts = [verdict(desk.new(n, BUY, 1, 2**60 + n, OTHER)) for n in range(1, 12)]
    assert verdicts[:3] == [PASSES] * 3
    assert verdicts[3:] == [Deny.OVERFLOW] * 8
    assert 0 < desk.position(OTHER)["open_buy"] < 2**62


def test_what_a_weak_currency_cannot_count_is_not_worth_less(desk):
    add_instrument(desk, quote=b"IDR", settle=b"IDR")
    rate_of(desk.state, b"IDR", 6000)
    set_limit(desk, "order_notional", 10**18)
    assert verdict(desk.new(1, BUY, PRICE, 2**45, OTHER)) is Deny.OVERFLOW


def test_the_worth_of_many_decimals_is_exact(desk):
    add_instrument(desk, price_decimals=12, quantity_decimals=8, tick=1)
    desk.top(OTHER, 10**12, 10**12)
    assert verdict(desk.new(1, BUY, 10**12, 10**8, OTHER)) is PASSES
    assert desk.order(1)["reserved_money"] == UNIT


# -- rates -----------------------------------------------------------------------------------------
def again(desk, kind, number):
    """Ask for one thing of a kind of rate; orders 1 to 999 are there."""
    if kind == "order":
        return verdict(desk.new(1000 + number, quantity=number))
    if kind == "amend":
        return verdict(desk.amend(1, quantity=10 + number))
    return verdict(desk.cancel(1))


@IN_EACH_SCOPE
@pytest.mark.parametrize("kind", ["order", "amend", "cancel"])
def test_in_no_period_more_than_so_many(desk, scope, kind):
    desk.new(1)
    desk.wait(10**9)
    set_limit(desk, f"{kind}_rate", 3, scope)
    set_limit(desk, "rate_period", 1000, scope)
    denied = Deny[f"{kind}_rate".upper()]
    told = {}
    for number, at in enumerate((0, 400, 700, 999, 1000, 1399, 1400, 1401, 1699, 1700), 1):
        desk.wait(START + 10**9 + at - desk.now())
        told[at] = again(desk, kind, number)
    expected = dict.fromkeys((0, 400, 700, 1000, 1400, 1700), PASSES)
    assert told == expected | dict.fromkeys((999, 1399, 1401, 1699), denied)


@pytest.mark.parametrize("kind", ["order", "amend", "cancel"])
@pytest.mark.parametrize("most", [0, 1, 2, 7, 50])
def test_a_rate_is_exact_at_random_times(desk, kind, most):
    seeded, passed = random.Random(most), []
    desk.new(1)
    desk.wait(10**9)
    set_limit(desk, f"{kind}_rate", most)
    set_limit(desk, "rate_period", 1000)
    for number in range(1, 301):
        desk.wait(seeded.choice((0, 0, 1, 5, 20, 300)))
        room = sum(at > desk.now() - 1000 for at in passed) < most
        assert (again(desk, kind, number) is PASSES) == room
        if room:
            passed.append(desk.now())


def test_the_period_is_a_second_unless_it_is_said(desk):
    set_limit(desk, "order_rate", 1)
    desk.new(1)
    desk.wait(10**9 - 1)
    assert verdict(desk.new(2)) is Deny.ORDER_RATE
    desk.wait(1)
    assert verdict(desk.new(3)) is PASSES


def test_what_was_refused_takes_no_place_in_a_rate(desk):
    set_limit(desk, "order_rate", 1)
    assert verdict(desk.new(1, price=PRICE + 1)) is Deny.PRICE_TICK
    assert verdict(desk.new(2)) is PASSES


def test_each_kind_has_a_lane_of_its_own(desk):
    for kind in ("order", "amend", "cancel"):
        set_limit(desk, f"{kind}_rate", 1)
    assert verdict(desk.new(1)) is PASSES
    assert verdict(desk.amend(1, quantity=11)) is PASSES
    assert verdict(desk.cancel(1)) is PASSES


def test_the_rates_of_a_strategy_are_its_own(desk):
    set_limit(desk, "order_rate", 1, ScopeKind.STRATEGY)
    assert verdict(desk.new(1)) is PASSES
    assert verdict(desk.new(1, strategy=2)) is PASSES
    assert verdict(desk.new(2)) is Deny.ORDER_RATE


@pytest.mark.parametrize("kind", ["order", "amend", "cancel"])
def test_rates_are_remembered_by_a_replay(desk, kind):
    desk.new(1)
    desk.amend(1, quantity=11)
    desk.cancel(1)
    other = desk.replayed()
    set_limit(other, f"{kind}_rate", 1)
    other.top(PERPETUAL, PRICE, PRICE + 10)
    assert again(other, kind, 2) is Deny[f"{kind}_rate".upper()]


# -- trading states --------------------------------------------------------------------------------
@IN_EACH_SCOPE
@pytest.mark.parametrize("state", [TradingState.CANCEL_ONLY, TradingState.HALT])
@pytest.mark.parametrize("change", ["new", "amend"])
def test_nothing_is_placed_or_amended_where_only_cancels_are_allowed(desk, scope, state, change):
    trade(desk, 1, BUY, 100)
    desk.new(2, SELL)
    set_state(desk, state, scope)
    if change == "new":
        assert reduce_only(desk, 3, SELL, 10) is Deny.TRADING_STATE
    else:
        assert verdict(desk.amend(2, quantity=5)) is Deny.TRADING_STATE


@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("side", [BUY, SELL])
def test_reduce_only_lets_pass_what_brings_a_position_nearer_to_zero(desk, scope, side, beyond):
    trade(desk, 1, side, 100)
    set_state(desk, TradingState.REDUCE_ONLY, scope)
    assert verdict(desk.new(2, side, quantity=1)) is Deny.TRADING_STATE
    reason = verdict(desk.new(3, -side, quantity=100 + beyond))
    assert reason is (Deny.TRADING_STATE if beyond > 0 else PASSES)


@AROUND
@pytest.mark.parametrize("fate", ["open", "unknown", "lost"])
def test_reduce_only_counts_what_closes_already(desk, fate, beyond):
    trade(desk, 1, BUY, 100)
    desk.new(2, SELL, quantity=40)
    let_be(desk, 2, fate)
    set_state(desk, TradingState.REDUCE_ONLY)
    reason = verdict(desk.new(3, SELL, quantity=60 + beyond))
    assert reason is (Deny.TRADING_STATE if beyond > 0 else PASSES)


@AROUND
def test_reduce_only_lets_an_order_that_closes_be_amended(desk, beyond):
    trade(desk, 1, BUY, 100)
    desk.new(2, SELL, PRICE + 100, quantity=60)
    desk.new(3, BUY, PRICE - 100, quantity=60)
    set_state(desk, TradingState.REDUCE_ONLY)
    assert verdict(desk.amend(3, price=PRICE - 200)) is Deny.TRADING_STATE
    reason = verdict(desk.amend(2, price=PRICE, quantity=100 + beyond))
    assert reason is (Deny.TRADING_STATE if beyond > 0 else PASSES)


def test_a_reduce_only_strategy_reduces_its_own_position_not_the_accounts(desk):
    trade(desk, 1, BUY, 10)
    trade_of_another(desk, SELL, 30)
    set_state(desk, TradingState.REDUCE_ONLY, ScopeKind.STRATEGY)
    assert verdict(desk.new(3, BUY, quantity=1)) is Deny.TRADING_STATE
    assert verdict(desk.new(4, SELL, quantity=11)) is Deny.TRADING_STATE
    assert verdict(desk.new(5, SELL, quantity=10)) is PASSES
    assert verdict(desk.new(8, BUY, quantity=5, strategy=2, price=PRICE - 100)) is PASSES


@IN_EACH_SCOPE
@pytest.mark.parametrize("state", [TradingState.HALT, TradingState.FLATTEN])
def test_a_halt_cancels_what_is_open_in_its_scope_and_only_there(desk, scope, state):
    orders = {1: (PERPETUAL, 1), 2: (INVERSE, 1), 3: (PERPETUAL, 2), 4: (INVERSE, 2)}
    for number, (instrument, strategy) in orders.items():
        desk.new(number, instrument=instrument, strategy=strategy)
    desk.asked()
    set_state(desk, state, scope)
    clients = {
        int(desk.order(number, strategy)["client_id"]): number
        for number, (_, strategy) in orders.items()
    }
    asked = desk.asked()
    assert {int(request["action"]) for request in asked} == {Action.CANCEL}
    key = SCOPES[scope]
    expected = {
        number
        for number, (instrument, strategy) in orders.items()
        if key.get("instrument", instrument) == instrument
        and key.get("strategy", strategy) == strategy
    }
    assert sorted(clients[int(request["client_id"])] for request in asked) == sorted(expected)


@pytest.mark.parametrize("fate", ["sent", "open", "unknown", "lost"])
def test_a_halt_cancels_orders_whatever_became_of_them(desk, fate):
    desk.new(1)
    if fate != "sent":
        let_be(desk, 1, fate)
    desk.asked()
    set_state(desk, TradingState.HALT)
    assert [int(request["action"]) for request in desk.asked()] == [Action.CANCEL]


def test_a_halt_cancels_orders_of_others_too(desk):
    desk.report(
        ReportKind.OPEN, client_id=-5, instrument=PERPETUAL, side=BUY, price=PRICE, quantity=4
    )
    desk.asked()
    set_state(desk, TradingState.HALT)
    assert [int(request["client_id"]) for request in desk.asked()] == [-5]


def test_a_halted_scope_asks_again_for_a_cancel_that_was_refused(desk):
    desk.new(1)
    desk.open(1)
    set_state(desk, TradingState.HALT)
    request = desk.order(1)["cancel_request"]
    desk.report(ReportKind.CANCEL_REJECTED, 1, action=Action.CANCEL, request_id=request)
    desk.asked()
    desk.wait(3 * 10**9)
    desk.keep_up()
    desk.run()
    assert [int(request["action"]) for request in desk.asked()] == [Action.CANCEL]


def test_a_gateway_that_takes_no_requests_does_not_keep_others_from_being_halted(desk):
    put_instrument(desk.state, OTHER, instrument_row(Kind.LINEAR_PERPETUAL, b"THERE"), 1, 0)
    desk.ready(account=1)
    assert verdict(desk.new(1, instrument=OTHER)) is PASSES
    assert verdict(desk.new(2)) is PASSES
    place = ACCOUNT_WORDS + A_REQUESTS_ROOM
    room = int(desk.state.accounts[place])
    desk.state.accounts[place] = desk.state.accounts[ACCOUNT_WORDS + A_REQUESTS_NEWEST]
    desk.asked()
    set_state(desk, TradingState.HALT)
    assert [int(request["action"]) for request in desk.asked()] == [Action.CANCEL]
    desk.state.accounts[place] = room
    desk.run()
    assert desk.order(1)["pending"] == Pending.CANCEL


@pytest.mark.parametrize("state", list(TradingState))
def test_a_state_stays_until_an_operator_takes_it_back(desk, state):
    set_state(desk, state)
    desk.wait(10**12)
    desk.keep_up()
    assert state_in(desk) is state
    set_state(desk, TradingState.NORMAL)
    assert state_in(desk) is TradingState.NORMAL
    assert verdict(desk.new(1)) is PASSES


@pytest.mark.parametrize("before", list(TradingState))
@pytest.mark.parametrize("after", list(TradingState))
def test_an_automatic_state_is_never_a_milder_one(desk, before, after):
    set_state(desk, before)
    desk.command(CommandKind.STATE, value=after, automatic=1)
    assert state_in(desk) is max(before, after)


def test_the_strictest_of_all_scopes_counts(desk):
    set_state(desk, TradingState.CANCEL_ONLY, ScopeKind.STRATEGY_INSTRUMENT)
    set_state(desk, TradingState.NORMAL)
    assert verdict(desk.new(1)) is Deny.TRADING_STATE
    assert verdict(desk.new(2, instrument=INVERSE)) is PASSES


# -- flat ------------------------------------------------------------------------------------------
def close_all(desk, limit=20):
    """Play a venue that fills every closing order at once, until nothing more is asked for."""
    trade_id, closed = 1000, []
    for _ in range(limit):
        desk.wait(3 * 10**9)
        desk.keep_up()
        desk.run()
        asked = desk.asked()
        if not asked:
            return closed
        for request in asked:
            client, where = request["client_id"], request["instrument"]
            if request["action"] == Action.CANCEL:
                desk.report(ReportKind.CANCELED, client_id=client, instrument=where)
                continue
            trade_id += 1
            closed.append(request)
            fill_by_client(desk, client, request["quantity"], trade_id, where)
    raise AssertionError("never flat")


def fill_by_client(desk, client_id, quantity, trade_id, instrument=PERPETUAL):
    fields = {"client_id": client_id, "instrument": instrument, "trade_id": trade_id}
    desk.report(ReportKind.FILL, last_quantity=quantity, last_price=PRICE, **fields)


def trade_of_another(desk, side, quantity):
    """Have strategy 2 trade."""
    assert verdict(desk.new(1, side, quantity=quantity, strategy=2)) is PASSES
    fill_by_client(desk, desk.order(1, strategy=2)["client_id"], quantity, 77)


@IN_EACH_SCOPE
@pytest.mark.parametrize("side", [BUY, SELL])
def test_flatten_cancels_then_closes_until_flat(desk, scope, side):
    trade(desk, 1, side, 100)
    desk.new(2, side, PRICE - side * 100)
    desk.open(2)
    desk.asked()
    set_state(desk, TradingState.FLATTEN, scope)
    assert [int(request["action"]) for request in desk.asked()] == [Action.CANCEL]
    assert desk.keep_up() == 0, "closed while something is open"
    desk.report(ReportKind.CANCELED, 2)
    closed = close_all(desk)
    assert [(int(r["side"]), int(r["quantity"])) for r in closed] == [(-side, 100)]
    assert closed[0]["flags"] & RequestFlag.REDUCE_ONLY
    assert desk.position()["quantity"] == desk.position(strategy=0)["quantity"] == 0


@pytest.mark.parametrize("scope", [ScopeKind.FIRM, ScopeKind.ACCOUNT, ScopeKind.ACCOUNT_INSTRUMENT])
def test_flatten_closes_strategies_positions_in_their_names(desk, scope):
    trade(desk, 1, BUY, 100)
    trade_of_another(desk, SELL, 40)
    desk.asked()
    set_state(desk, TradingState.FLATTEN, scope)
    close_all(desk)
    assert [int(desk.position(strategy=s)["quantity"]) for s in (0, 1, 2)] == [0, 0, 0]


def test_flatten_closes_what_is_nobodys(desk):
    desk.report(
        ReportKind.FILL,
        client_id=-5,
        instrument=PERPETUAL,
        side=BUY,
        quantity=30,
        last_quantity=30,
        last_price=PRICE,
        trade_id=5,
    )
    set_state(desk, TradingState.FLATTEN)
    desk.asked()
    closed = close_all(desk)
    assert [(int(r["side"]), int(r["quantity"])) for r in closed] == [(SELL, 30)]
    assert desk.position(strategy=0)["quantity"] == 0


def test_flatten_closes_a_strategy_that_stands_against_the_others(desk):
    trade(desk, 1, BUY, 100)
    trade_of_another(desk, SELL, 100)
    set_state(desk, TradingState.FLATTEN, ScopeKind.STRATEGY)
    desk.asked()
    closed = close_all(desk)
    assert [int(request["flags"]) & RequestFlag.REDUCE_ONLY for request in closed] == [0]
    assert desk.position()["quantity"] == 0
    assert desk.position(strategy=2)["quantity"] == -100


def test_flatten_closes_in_pieces_that_the_venue_takes(desk):
    add_instrument(desk, lot=5, minimum_quantity=5, maximum_quantity=40)
    for number in (1, 2, 3):
        trade(desk, number, BUY, 40 if number < 3 else 20, instrument=OTHER)
    set_state(desk, TradingState.FLATTEN)
    desk.asked()
    assert [int(request["quantity"]) for request in close_all(desk)] == [40, 40, 20]
    assert desk.position(OTHER)["quantity"] == 0


def test_flatten_leaves_alone_what_is_too_little_for_an_order(desk):
    add_instrument(desk, minimum_quantity=10)
    trade(desk, 1, BUY, 12, instrument=OTHER)
    desk.new(2, SELL, instrument=OTHER, quantity=10)
    desk.fill(2, 8, trade_id=9)
    desk.report(ReportKind.CANCELED, 2)
    set_state(desk, TradingState.FLATTEN)
    desk.asked()
    journal = int(desk.state.control[C_JOURNAL])
    assert desk.keep_up() == 0
    assert desk.asked() == []
    assert desk.state.control[C_JOURNAL] == journal


def test_flatten_closes_whatever_is_known_of_market_clock_and_limits(desk):
    trade(desk, 1, BUY, 100)
    for name in ("order_rate", "position", "order_quantity", "gross_notional", "clock_offset"):
        set_limit(desk, name, 0, ScopeKind.ACCOUNT_INSTRUMENT)
    desk.state.accounts[A_OFFSET_NS] = 10**9
    set_limit(desk, "market_age", 1)
    desk.wait(10**9)
    desk.asked()
    set_state(desk, TradingState.FLATTEN)
    close_all(desk)
    assert desk.position()["quantity"] == 0


def test_spot_is_closed_without_reduce_only(desk):
    trade(desk, 1, BUY, 100, instrument=SPOT)
    set_state(desk, TradingState.FLATTEN)
    desk.asked()
    closed = close_all(desk)
    assert [(int(r["side"]), int(r["flags"]) & 1) for r in closed] == [(SELL, 0)]


# -- automatic states ------------------------------------------------------------------------------
@IN_EACH_SCOPE
@AROUND
@pytest.mark.parametrize("by", ["report", "clock"])
def test_a_daily_loss_beyond_its_limit_makes_the_scope_reduce_only(desk, scope, beyond, by):
    desk.mark(PERPETUAL, PRICE)
    trade(desk, 1, BUY, 100)
    set_limit(desk, "daily_loss", 10**6 - beyond, scope)
    desk.mark(PERPETUAL, PRICE - 100)  # 1.00 less, for 0.0100.
    if by == "clock":
        desk.keep_up()
    else:
        desk.new(2, price=PRICE - 1000)
        desk.open(2)
    tripped = beyond > 0
    expected = TradingState.REDUCE_ONLY if tripped else TradingState.NORMAL
    assert state_in(desk, scope) is expected
    if tripped:
        row = desk.scope(scope, **SCOPES[scope])
        assert row["state_reason"] == Alarm.DAILY_LOSS


@AROUND
def test_a_drawdown_from_the_days_peak_makes_the_scope_reduce_only(desk, beyond):
    desk.mark(PERPETUAL, PRICE)
    trade(desk, 1, BUY, 100)
    set_limit(desk, "drawdown", 3 * 10**6 - beyond)
    desk.mark(PERPETUAL, PRICE + 200)
    desk.mark(PERPETUAL, PRICE - 100)
    desk.keep_up()
    assert state_in(desk) is (TradingState.REDUCE_ONLY if beyond > 0 else TradingState.NORMAL)


def test_a_new_day_forgets_losses_and_peaks(desk):
    desk.mark(PERPETUAL, PRICE)
    trade(desk, 1, BUY, 100)
    desk.mark(PERPETUAL, PRICE - 1000)
    desk.command(CommandKind.DAY)
    set_limit(desk, "daily_loss", 0)
    set_limit(desk, "drawdown", 0)
    desk.keep_up()
    assert state_in(desk) is TradingState.NORMAL
    desk.mark(PERPETUAL, PRICE - 1001)
    desk.keep_up()
    assert state_in(desk) is TradingState.REDUCE_ONLY


def test_fees_count_as_losses(desk):
    set_limit(desk, "daily_loss", 100)
    desk.mark(PERPETUAL, PRICE)
    desk.new(1)
    desk.fill(1, 1, trade_id=1, fee=100, decimals=8, asset=b"USDT")
    assert state_in(desk) is TradingState.NORMAL
    desk.fill(1, 1, trade_id=2, fee=1, decimals=8, asset=b"USDT")
    assert state_in(desk) is TradingState.REDUCE_ONLY


def refuse(desk, number):
    desk.new(number, price=PRICE - 10 * number)
    request = desk.order(number)["request_id"]
    desk.report(ReportKind.REJECTED, number, action=Action.NEW, request_id=request)


@IN_EACH_SCOPE
@AROUND
def test_refusals_in_a_row_beyond_their_limit_make_the_scope_cancel_only(desk, scope, beyond):
    set_limit(desk, "rejects", 3, scope)
    for number in range(1, 4 + beyond):
        refuse(desk, number)
    expected = TradingState.CANCEL_ONLY if beyond > 0 else TradingState.NORMAL
    assert state_in(desk, scope) is expected


def test_an_order_that_is_accepted_ends_the_row_of_refusals(desk):
    set_limit(desk, "rejects", 3)
    for number in (1, 2, 3):
        refuse(desk, number)
    desk.new(9)
    desk.open(9)
    for number in (4, 5, 6):
        refuse(desk, number)
    assert state_in(desk) is TradingState.NORMAL


def test_what_is_told_again_neither_counts_as_a_refusal_nor_ends_the_row(desk):
    desk.new(9)
    desk.open(9)
    set_limit(desk, "rejects", 3)
    for number in (1, 2, 3):
        refuse(desk, number)
        desk.report(ReportKind.REJECTED, number, action=Action.NEW)
        desk.open(9)
        desk.report(ReportKind.STATUS, 9, status=2, flags=ReportFlag.RECONCILED)
    assert desk.scope()["rejects"] == 3
    refuse(desk, 4)
    assert state_in(desk) is TradingState.CANCEL_ONLY


@IN_EACH_SCOPE
@AROUND
def test_fills_beyond_their_rate_make_the_scope_cancel_only(desk, scope, beyond):
    set_limit(desk, "fill_rate", 3, scope)
    desk.new(1, quantity=100)
    for trade_id in (1, 2, 3):
        desk.fill(1, 1, trade_id=trade_id)
    assert state_in(desk, scope) is TradingState.NORMAL
    desk.wait(10**9 - beyond)
    desk.fill(1, 1, trade_id=4)
    expected = TradingState.CANCEL_ONLY if beyond > 0 else TradingState.NORMAL
    assert state_in(desk, scope) is expected


def test_a_fill_that_is_told_again_is_none(desk):
    set_limit(desk, "fill_rate", 3)
    desk.new(1, quantity=100)
    for _ in range(5):
        for trade_id in (1, 2, 3):
            desk.fill(1, 1, trade_id=trade_id)
    assert state_in(desk) is TradingState.NORMAL


def lose(desk):
    set_limit(desk, "daily_loss", 0)
    desk.mark(PERPETUAL, PRICE)
    trade(desk, 1, BUY, 100)
    desk.mark(PERPETUAL, PRICE - 100)
    desk.keep_up()


def fall(desk):
    set_limit(desk, "drawdown", 0)
    desk.mark(PERPETUAL, PRICE)
    trade(desk, 1, BUY, 100)
    desk.mark(PERPETUAL, PRICE + 100)
    desk.mark(PERPETUAL, PRICE)
    desk.keep_up()


def be_refused(desk):
    set_limit(desk, "rejects", 0)
    refuse(desk, 1)


def be_filled(desk):
    set_limit(desk, "fill_rate", 0)
    trade(desk, 1, BUY, 100)


AUTOMATIC = pytest.mark.parametrize("trip", [lose, fall, be_refused, be_filled])


@AUTOMATIC
def test_what_happens_by_itself_does_not_end_by_itself(desk, trip):
    trip(desk)
    state = state_in(desk)
    assert state is not TradingState.NORMAL
    for name in ("daily_loss", "drawdown", "rejects", "fill_rate"):
        set_limit(desk, name, -1)
    desk.mark(PERPETUAL, 2 * PRICE)
    desk.command(CommandKind.DAY)
    desk.wait(10**12)
    desk.keep_up()
    desk.report(ReportKind.OPEN, 1)
    assert state_in(desk) is state


@AUTOMATIC
def test_what_happens_by_itself_never_makes_a_state_milder(desk, trip):
    set_state(desk, TradingState.HALT, ScopeKind.ACCOUNT)
    set_state(desk, TradingState.NORMAL, ScopeKind.ACCOUNT)
    trip(desk)
    set_state(desk, TradingState.HALT)
    desk.keep_up()
    assert state_in(desk) is TradingState.HALT


@pytest.mark.parametrize("trip", [be_refused, be_filled])
def test_an_operator_takes_back_what_happened_by_itself(desk, trip):
    trip(desk)
    set_state(desk, TradingState.NORMAL)
    desk.keep_up()
    assert state_in(desk) is TradingState.NORMAL
    assert verdict(desk.new(2)) is PASSES


@pytest.mark.parametrize(("trip", "name"), [(lose, "daily_loss"), (fall, "drawdown")])
def test_a_loss_that_lasts_is_accepted_by_a_new_day_or_another_limit(desk, trip, name):
    trip(desk)
    set_state(desk, TradingState.NORMAL)
    desk.keep_up()
    assert state_in(desk) is TradingState.REDUCE_ONLY
    set_limit(desk, name, 10**12)
    set_state(desk, TradingState.NORMAL)
    desk.keep_up()
    assert state_in(desk) is TradingState.NORMAL


@AUTOMATIC
def test_what_happened_by_itself_is_in_the_journal(desk, trip):
    trip(desk)
    assert state_in(desk.replayed()) is state_in(desk)


# -- cancels ---------------------------------------------------------------------------------------
def no_market(desk):
    desk.top(PERPETUAL, PRICE, PRICE + 10, BookState.EMPTY)
    set_limit(desk, "market_age", 0)
    set_limit(desk, "collar", 0)


def no_size(desk):
    for name in EVERY_SIZE:
        set_limit(desk, name, 0, ScopeKind.STRATEGY_INSTRUMENT)


def no_trading(desk):
    add_instrument(desk, PERPETUAL, status=Status.HALTED)


def other_clock(desk):
    set_limit(desk, "clock_offset", 0)
    desk.state.accounts[A_OFFSET_NS] = 10**9


def no_currency(desk):
    desk.state.assets[2::3] = 0


@pytest.mark.parametrize(
    "forbid",
    [
        no_market,
        no_size,
        no_trading,
        other_clock,
        no_currency,
        lambda desk: set_state(desk, TradingState.CANCEL_ONLY),
        lambda desk: set_limit(desk, "order_rate", 0),
        lambda desk: set_limit(desk, "open_orders", 0),
        lambda desk: set_limit(desk, "intent_age", 0) or desk.wait(10),
        lambda desk: desk.report(ReportKind.DOWN),
        lambda desk: desk.state.accounts.__setitem__(A_ALIVE, 0),
        lose,
    ],
    ids=[
        "market",
        "size",
        "trading",
        "clock",
        "currency",
        "state",
        "rate",
        "open orders",
        "age",
        "down",
        "dead",
        "loss",
    ],
)
def test_cancels_pass_when_nothing_else_does(desk, forbid):
    desk.new(50, price=PRICE - 100)
    desk.open(50)
    forbid(desk)
    created = desk.now() - 10
    assert verdict(desk.new(51, price=PRICE - 200, created_ns=created)) is not PASSES
    desk.asked()
    assert verdict(desk.cancel(50, created_ns=created)) is PASSES
    asked = desk.asked()
    assert [int(request["action"]) for request in asked] == [Action.CANCEL]
    assert asked[0]["flags"] & RequestFlag.URGENT


def test_cancelling_all_passes_whatever_the_rates(desk):
    for number in (1, 2, 3):
        desk.new(number)
    desk.new(4, instrument=INVERSE)
    desk.new(1, strategy=2)
    set_limit(desk, "cancel_rate", 0)
    desk.asked()
    desk.intent(IntentAction.CANCEL_ALL, 0, instrument=PERPETUAL)
    assert len(desk.asked()) == 3
    desk.intent(IntentAction.CANCEL_ALL, 0, instrument=-1)
    assert len(desk.asked()) == 1


# -- scopes ----------------------------------------------------------------------------------------
def test_commands_for_more_instruments_than_there_is_room_for_are_dropped(desk):
    desk.state.control[C_SCOPE_COUNT] = SCOPES_MOST
    desk.limit("position", 5, ScopeKind.ACCOUNT_INSTRUMENT, account=0, instrument=77)
    assert desk.state.control[C_SCOPE_COUNT] == SCOPES_MOST


def test_a_lower_limit_of_an_inner_scope_counts(desk):
    for scope, most in zip(SCOPES, (50, 40, 30, 20, 10), strict=True):
        set_limit(desk, "order_quantity", most, scope)
    assert verdict(desk.new(1, quantity=11)) is Deny.ORDER_QUANTITY
    assert verdict(desk.new(2, quantity=10)) is PASSES
    assert verdict(desk.new(3, quantity=20, strategy=2)) is PASSES
    assert verdict(desk.new(4, quantity=21, strategy=2)) is Deny.ORDER_QUANTITY
    assert verdict(desk.new(5, quantity=30, instrument=INVERSE)) is PASSES
    assert verdict(desk.new(6, quantity=31, instrument=INVERSE)) is Deny.ORDER_QUANTITY


def test_a_limit_can_be_taken_away(desk):
    set_limit(desk, "order_quantity", 5)
    set_limit(desk, "order_quantity", -1)
    assert verdict(desk.new(1)) is PASSES
    assert desk.scope()["limits_version"] == 2


def test_no_test_leaves_a_rule_out():
    text = Path(__file__).read_text()
    named = {deny for deny in Deny if f"Deny.{deny.name}" in text}
    named |= {Deny[f"{kind}_RATE"] for kind in ("ORDER", "AMEND", "CANCEL")}
    named |= {Deny.GROSS_NOTIONAL, Deny.NET_NOTIONAL, Deny.OPEN_NOTIONAL}
    assert named == set(Deny)


def test_what_was_refused_is_counted_where_it_was_refused(desk):
    set_limit(desk, "order_quantity", 5)
    desk.new(1)
    for scope, key in SCOPES.items():
        assert desk.scope(scope, **key)["denied"] == 1
    assert desk.asked() == []
