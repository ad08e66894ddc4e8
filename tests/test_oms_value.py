"""Value, cost and results of positions against exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.common import Side
from feeds.types import Kind
from gateways.types import ReportFlag, ReportKind
from oms.memory import put_instrument, rate_of
from oms.types import Alarm, CommandKind, ScopeKind, UpdateKind
from tests.naive_oms import Instrument, NaivePosition, rounded
from tests.oms_desk import UNIT, Desk, instrument_row

pytestmark = pytest.mark.slow

START = 1_800_000_000 * 10**9
NUMBER = 3
KINDS = {
    "spot": (Kind.SPOT, {}),
    "linear": (Kind.LINEAR_PERPETUAL, {"settle": b"USDT"}),
    "linear of 0.001": (
        Kind.LINEAR_PERPETUAL,
        {"settle": b"USDT", "contract_value": UNIT // 1000, "quantity_decimals": 0},
    ),
    "linear of 1000": (
        Kind.LINEAR_FUTURE,
        {"settle": b"USDT", "contract_value": 1000 * UNIT, "price_decimals": 7},
    ),
    "fine": (
        Kind.LINEAR_PERPETUAL,
        {"settle": b"USDT", "price_decimals": 9, "quantity_decimals": 8},
    ),
    "finest": (
        Kind.LINEAR_PERPETUAL,
        {"settle": b"USDT", "price_decimals": 12, "quantity_decimals": 8},
    ),
    "inverse": (
        Kind.INVERSE_PERPETUAL,
        {
            "quote": b"USD",
            "settle": b"BTC",
            "quantity_decimals": 0,
            "contract_value": 100 * UNIT,
        },
    ),
    "inverse in parts": (
        Kind.INVERSE_FUTURE,
        {"quote": b"USD", "settle": b"BTC", "quantity_decimals": 1, "contract_value": UNIT},
    ),
}
OF_EACH_KIND = pytest.mark.parametrize("kind", KINDS)
TRADES = st.lists(
    st.tuples(
        st.sampled_from((1, -1)),
        st.integers(1, 10**7),
        st.one_of(st.integers(1, 50), st.integers(1, 10**6)),
    ),
    min_size=1,
    max_size=25,
)
"""Side, price, quantity."""


def terms_of(kind):
    kind, terms = KINDS[kind]
    row = instrument_row(kind, b"OTHER", **{"tick": 1, "lot": 1} | terms)
    return row, Instrument.of(row)


def desk_with(kind, strategies=(1,)):
    """Return a desk with two endless orders of each strategy in an instrument of a kind."""
    desk = Desk(clock=START)
    row, _ = terms_of(kind)
    put_instrument(desk.state, NUMBER, row, 0, NUMBER)
    desk.balance(b"BTC", 10**7)
    desk.balance(b"USDT", 10**10)
    for strategy in strategies:
        terms = {"instrument": NUMBER, "quantity": 3 * 10**7, "strategy": strategy}
        for number, side, price in ((1, Side.BUY, 1), (2, Side.SELL, 2 * 10**7)):
            updates = desk.new(number, side, price, **terms)
            assert updates[-1]["kind"] == UpdateKind.ROUTED, updates[-1]["reason"]
    desk.clients = {
        (strategy, side): int(desk.order(1 if side > 0 else 2, strategy)["client_id"])
        for strategy in strategies
        for side in (1, -1)
    }
    return desk


def fill(desk, side, price, quantity, trade_id, strategy=1, **fields):
    return desk.report(
        ReportKind.FILL,
        client_id=desk.clients[strategy, side],
        instrument=NUMBER,
        last_price=price,
        last_quantity=quantity,
        trade_id=trade_id,
        **fields,
    )


def play(desk, trades, strategy=1):
    for trade_id, (side, price, quantity) in enumerate(trades, 1):
        fill(desk, side, price, quantity, strategy << 32 | trade_id, strategy)


def set_mark(desk, price):
    """Have the book stand at a price: the desk has no mark of the instrument."""
    desk.top(NUMBER, price, price)


@OF_EACH_KIND
@settings(max_examples=60)
@given(trades=TRADES, mark=st.integers(1, 10**7))
@example(trades=[(1, 100, 5), (-1, 110, 5)], mark=100)
@example(trades=[(1, 100, 5), (-1, 110, 12), (1, 90, 7)], mark=100)
@example(trades=[(-1, 3, 1), (1, 7, 3), (-1, 5, 1), (-1, 11, 1)], mark=1)
def test_cost_and_results_are_those_of_exact_arithmetic(kind, trades, mark):
    desk = desk_with(kind)
    _, instrument = terms_of(kind)
    naive = NaivePosition(instrument)
    play(desk, trades)
    set_mark(desk, mark)
    for trade in trades:
        naive.trade(*trade)
    for strategy in (0, 1):
        found = desk.position(NUMBER, strategy)
        assert found["quantity"] == naive.quantity
        assert found["cost"] == naive.cost
        assert found["realized"] == naive.realized
        assert found["unrealized"] == naive.unrealized(mark)
        assert found["fills"] == len(trades)
        assert found["bought"] - found["sold"] == naive.quantity


@OF_EACH_KIND
@settings(max_examples=60)
@given(trades=TRADES, mark=st.integers(1, 10**7))
def test_results_add_up_to_the_cash_flows_to_the_last_unit(kind, trades, mark):
    desk = desk_with(kind)
    _, instrument = terms_of(kind)
    play(desk, trades)
    set_mark(desk, mark)
    found = desk.position(NUMBER)
    sign = -1 if instrument.inverse else 1
    paid = sum(side * instrument.value(price, quantity) for side, price, quantity in trades)
    quantity = int(found["quantity"])
    worth = instrument.value(mark, abs(quantity)) * (1 if quantity >= 0 else -1)
    assert found["realized"] + found["unrealized"] == sign * (worth - paid)


@OF_EACH_KIND
@settings(max_examples=60)
@given(trades=TRADES, mark=st.integers(1, 10**7))
def test_results_are_off_by_half_a_unit_a_trade_at_most(kind, trades, mark):
    desk = desk_with(kind)
    _, instrument = terms_of(kind)
    play(desk, trades)
    set_mark(desk, mark)
    found = desk.position(NUMBER)
    sign = -1 if instrument.inverse else 1
    exact = sum(side * instrument.exact(price, quantity) for side, price, quantity in trades)
    total = sum(side * quantity for side, _, quantity in trades)
    exact = sign * (instrument.exact(mark, total) - exact)
    result = int(found["realized"] + found["unrealized"])
    # An inverse contract's value is rounded twice: to the quote currency, then over the price.
    most = Fraction(len(trades) + 1, 2) * (1 + (2 if instrument.inverse else 0))
    assert abs(result - exact) <= most


@OF_EACH_KIND
@given(trades=TRADES)
def test_a_flat_position_cost_nothing_and_its_result_is_all_realized(kind, trades):
    desk = desk_with(kind)
    play(desk, trades)
    left = int(desk.position(NUMBER)["quantity"])
    if left:
        side = -1 if left > 0 else 1
        fill(desk, side, 777, abs(left), 99)
    found = desk.position(NUMBER)
    assert (found["quantity"], found["cost"], found["unrealized"]) == (0, 0, 0)


@OF_EACH_KIND
@settings(max_examples=30)
@given(first=TRADES, second=TRADES, mark=st.integers(1, 10**7))
def test_strategies_results_add_up_to_their_accounts(kind, first, second, mark):
    desk = desk_with(kind, (1, 2))
    _, instrument = terms_of(kind)
    play(desk, first, 1)
    play(desk, second, 2)
    set_mark(desk, mark)
    of_account, *own = (desk.position(NUMBER, strategy) for strategy in (0, 1, 2))
    assert of_account["quantity"] == sum(int(each["quantity"]) for each in own)
    whole, parts = (
        sum(int(each["realized"] + each["unrealized"]) for each in rows)
        for rows in ([of_account], own)
    )
    assert abs(whole - parts) <= (4 if instrument.inverse else 2)


@pytest.mark.parametrize(
    ("kind", "trades", "realized", "cost"),
    [
        # Bought 2 at 100.00 and 1 at 130.00: 110.00 on the average; two sold at 120.00.
        ("linear", [(1, 10000, 20000), (1, 13000, 10000), (-1, 12000, 20000)], 20, 110),
        # Through zero: 1 bought at 100.00, 3 sold at 90.00.
        ("linear", [(1, 10000, 10000), (-1, 9000, 30000)], -10, 180),
        ("spot", [(1, 10000, 10000), (-1, 9000, 10000)], -10, 0),
        # Short first.
        ("linear", [(-1, 10000, 10000), (1, 9000, 5000)], 5, 50),
        # 100 contracts of 100 USD: 1 BTC at 10,000, 0.5 BTC at 20,000.
        ("inverse", [(1, 1000000, 100), (-1, 2000000, 100)], Fraction(1, 2), 0),
        ("inverse", [(-1, 1000000, 100), (1, 2000000, 200)], Fraction(-1, 2), Fraction(1, 2)),
    ],
)
def test_an_example_by_hand(kind, trades, realized, cost):
    desk = desk_with(kind)
    play(desk, trades)
    found = desk.position(NUMBER)
    assert found["realized"] == realized * UNIT
    assert found["cost"] == cost * UNIT


# -- fees and currencies ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asset", "amount", "decimals", "money"),
    [
        (b"USDT", 250, 2, 250 * 10**6),
        (b"USDT", -250, 2, -250 * 10**6),
        (b"BTC", 3, 8, 150_000),
        (b"USDT", 15, 9, 2),
        (b"USDT", 14, 9, 1),
        (b"USDT", -15, 9, -2),
        (b"BNB", 1, 0, 300 * UNIT),
        (b"NONE", 1, 0, 0),
        (b"", 1, 0, 0),
    ],
)
def test_fees_are_taken_in_the_reporting_currency(asset, amount, decimals, money):
    desk = desk_with("linear")
    rate_of(desk.state, b"BNB", 300 * UNIT)
    fill(desk, 1, 100, 10, 1, fee=amount, decimals=decimals, asset=asset)
    for strategy in (0, 1):
        found = desk.position(NUMBER, strategy)
        assert found["fees"] == money
        assert found["result_money"] == -money
    assert desk.scope()["result_money"] == -money


@pytest.mark.parametrize("asset", [b"NONE", b"ZERO", b""])
def test_a_fee_whose_worth_is_not_known_raises_an_alarm(asset):
    desk = desk_with("linear")
    rate_of(desk.state, b"ZERO", 0)
    updates = fill(desk, 1, 100, 10, 1, fee=5, decimals=0, asset=asset)
    alarms = [int(each["reason"]) for each in updates if each["kind"] == UpdateKind.ALARM]
    assert alarms == [Alarm.NO_RATE]


def test_funding_is_the_accounts():
    desk = desk_with("linear")
    fill(desk, 1, 100, 10, 1)
    desk.report(ReportKind.FUNDING, instrument=NUMBER, fee=5 * UNIT, decimals=8, asset=b"USDT")
    assert desk.position(NUMBER, 0)["funding"] == 5 * UNIT
    assert desk.position(NUMBER, 1)["funding"] == 0
    assert desk.scope()["result_money"] == -5 * UNIT


def test_a_result_in_another_currency_counts_at_its_worth():
    desk = desk_with("inverse")
    play(desk, [(1, 1000000, 100), (-1, 2000000, 100)])
    found = desk.position(NUMBER)
    assert found["realized"] == UNIT // 2
    assert found["result_money"] == 25_000 * UNIT
    assert desk.scope(ScopeKind.STRATEGY, strategy=1)["result_money"] == 25_000 * UNIT


@settings(max_examples=40)
@given(trades=TRADES, fees=st.lists(st.integers(-(10**9), 10**9), min_size=25, max_size=25))
def test_spot_balances_change_by_what_was_traded_and_paid(trades, fees):
    desk = desk_with("spot")
    _, instrument = terms_of("spot")
    for trade_id, (side, price, quantity) in enumerate(trades, 1):
        fill(desk, side, price, quantity, trade_id, fee=fees[trade_id], decimals=8, asset=b"BTC")
    base = sum(side * quantity for side, _, quantity in trades) * 10**4
    paid = sum(side * instrument.value(price, quantity) for side, price, quantity in trades)
    assert desk.held_balance(b"BTC")["changed"] == base - sum(fees[1 : len(trades) + 1])
    assert desk.held_balance(b"USDT")["changed"] == -paid


# -- what was made up ------------------------------------------------------------------------------
@OF_EACH_KIND
@settings(max_examples=40)
@given(
    trades=TRADES,
    guessed=st.integers(1, 10**7),
    parts=st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 1000)), min_size=1, max_size=5),
)
def test_a_trade_that_was_made_up_leaves_nothing_when_its_trades_come(kind, trades, guessed, parts):
    desk, plain = desk_with(kind), desk_with(kind)
    play(desk, trades)
    total = sum(quantity for _, quantity in parts)
    fill(desk, 1, guessed, total, 0, flags=ReportFlag.INFERRED)
    for trade_id, (price, quantity) in enumerate(parts, 100):
        fill(desk, 1, price, quantity, trade_id, fee=7, decimals=8, asset=b"USDT")
    play(plain, trades)
    for trade_id, (price, quantity) in enumerate(parts, 100):
        fill(plain, 1, price, quantity, trade_id, fee=7, decimals=8, asset=b"USDT")
    for each in (desk, plain):
        set_mark(each, 1000)
    names = ("quantity", "fees", "fills", "bought", "sold")
    found, expected = desk.position(NUMBER), plain.position(NUMBER)
    assert [found[name] for name in names] == [expected[name] for name in names]
    # Average cost depends on the order of trades: only the sum of both results does not.
    results = [int(each["realized"] + each["unrealized"]) for each in (found, expected)]
    assert abs(results[0] - results[1]) <= len(parts) + 1
    if kind == "spot":
        for asset in (b"BTC", b"USDT"):
            changed = [int(each.held_balance(asset)["changed"]) for each in (desk, plain)]
            assert abs(changed[0] - changed[1]) <= len(parts) + 1


def test_an_adopted_position_costs_what_it_is_said_to():
    desk = desk_with("linear")
    play(desk, [(1, 10000, 10000), (-1, 11000, 10000)])
    desk.command(
        CommandKind.ADOPT,
        ScopeKind.ACCOUNT_INSTRUMENT,
        account=0,
        instrument=NUMBER,
        value=-20000,
        client_id=12000,
    )
    found = desk.position(NUMBER, 0)
    assert (found["quantity"], found["cost"]) == (-20000, 240 * UNIT)
    assert found["realized"] == 10 * UNIT


# -- rounding --------------------------------------------------------------------------------------
@given(st.integers(-(10**18), 10**18), st.integers(1, 10**12))
def test_the_reference_rounds_halves_away_from_zero(numerator, denominator):
    exact = Fraction(numerator, denominator)
    found = rounded(exact)
    assert abs(found - exact) <= Fraction(1, 2)
    if abs(found - exact) == Fraction(1, 2):
        assert abs(found) > abs(exact)


def test_an_order_of_others_first_heard_of_by_a_trade_counts_at_its_price():
    desk = Desk(clock=START)
    order = {"client_id": -5, "instrument": 1, "side": Side.BUY, "quantity": 10}
    desk.report(ReportKind.FILL, last_price=100, last_quantity=4, trade_id=1, **order)
    _, instrument = terms_of("linear")
    assert desk.order(-5, strategy=0)["reserved_money"] == instrument.value(100, 6)
    assert desk.replayed().order(-5, strategy=0) == desk.order(-5, strategy=0)
