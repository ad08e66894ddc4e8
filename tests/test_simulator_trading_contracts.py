"""Contracts on the simulated venue: positions, margin, funding, liquidation."""

from decimal import Decimal

import pytest

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import (
    Change,
    FundingEvent,
    Order,
    OrderEvent,
    PositionEvent,
    Refused,
    Status,
    Why,
)
from gateways.simulator.trading import TradingRules
from tests.trading_desk import NEW, TRADE, TradingDesk, no_fees

STOP_MARKET = OrderType.STOP_MARKET
HOUR_MS = 3_600_000


def linear(**settings):
    """Return a desk on a linear contract whose book is deep around the middle."""
    desk = TradingDesk("binance_usdm", **({"rules": no_fees()} | settings))
    desk.moves_to(desk.middle)
    return desk


def units(desk, ticks):
    return desk.trading.price_units(desk.market, ticks)


def worth(desk, lots):
    """Return the base currency behind lots of the linear contract."""
    return desk.trading.quantity_units(desk.market, lots)


# Positions.


def test_a_position_averages_its_entry_and_realises_what_is_closed():
    desk = linear()
    desk.buy(quantity=100)
    desk.moves_to(desk.middle + 100)
    desk.buy(quantity=100)
    position = desk.position()
    assert position.entry == units(desk, desk.middle + 51)
    desk.moves_to(desk.middle + 201)
    order = desk.sell(quantity=50)
    gain = worth(desk, 50) * units(desk, 149)
    assert (position.lots, position.realised) == (150, gain)
    assert order.fills[-1].realised == gain
    assert position.entry == units(desk, desk.middle + 51)
    assert desk.free("USDT") == 1_000_000 + gain


def test_a_position_turned_over_begins_anew():
    desk = linear()
    desk.buy(quantity=100)
    desk.moves_to(desk.middle + 100)
    desk.sell(quantity=150)
    position = desk.position()
    assert (position.lots, position.entry) == (-50, units(desk, desk.middle + 99))
    assert position.realised == worth(desk, 100) * units(desk, 98)


def test_a_flat_position_has_no_entry():
    desk = linear()
    desk.sell(quantity=100)
    desk.buy(quantity=100)
    position = desk.position()
    assert (position.lots, position.entry, position.margin) == (0, 0, 0)
    assert desk.trading.available(desk.account, "USDT") == desk.free("USDT")


def test_an_inverse_contract_is_settled_in_the_base_currency():
    desk = TradingDesk("bybit", rules=no_fees())
    start = desk.middle
    desk.moves_to(start)
    desk.buy(quantity=10_000)
    desk.moves_to(start * 2)
    desk.sell(quantity=10_000)
    bought, sold = units(desk, start + 1), units(desk, start * 2 - 1)
    gain = (10_000 / bought - 10_000 / sold).quantize(Decimal("1e-8"))
    assert abs(desk.position().realised - gain) <= Decimal("1e-8")
    assert desk.free("BTC") == 100 + desk.position().realised
    assert desk.free("USDT") == 1_000_000


def test_contract_fees_are_paid_in_the_settlement_asset():
    desk = linear(rules=TradingRules())
    order = desk.buy(quantity=100)
    fee = worth(desk, 100) * units(desk, desk.middle + 1) * Decimal("0.0005")
    assert order.fees == {"USDT": fee}
    assert desk.free("USDT") == 1_000_000 - fee


def test_long_and_short_are_apart_in_hedge_mode():
    desk = linear()
    assert desk.refusal(desk.terms(position_side="long")) is Why.POSITION_SIDE
    desk.trading.set_hedge(desk.account, True, desk.now_ms)
    assert desk.refusal(desk.terms()) is Why.POSITION_SIDE
    desk.buy(quantity=10, position_side="long")
    desk.sell(quantity=4, position_side="short")
    assert (desk.position("long").lots, desk.position("short").lots) == (10, -4)
    desk.sell(quantity=20, position_side="long")
    assert desk.position("long").lots == 0
    assert desk.refusal(desk.terms(Side.SELL, position_side="long")) is Why.REDUCE_ONLY


def test_the_listeners_hear_of_a_position_once_per_operation():
    desk = linear()
    desk.asks(desk.middle, 1)
    desk.events.clear()
    desk.buy(quantity=5)
    (event,) = [event for event in desk.events if isinstance(event, PositionEvent)]
    assert event.position.lots == 5


# Margin.


def test_an_open_order_reserves_margin_but_moves_no_money():
    desk = linear(balances={"USDT": "1000"})
    value = worth(desk, 10) * units(desk, desk.middle - 5)
    order = desk.buy(desk.middle - 5, 10)
    assert desk.trading.available(desk.account, "USDT") == 1000 - value / 20
    assert desk.free("USDT") == 1000
    desk.trading.cancel(order, desk.now_ms)
    assert desk.trading.available(desk.account, "USDT") == 1000


def test_unrealised_profit_and_the_position_count_in_what_is_available():
    desk = linear()
    desk.buy(quantity=100)
    desk.moves_to(desk.middle - 500)
    value = worth(desk, 100) * units(desk, desk.middle + 1)
    loss = worth(desk, 100) * units(desk, 501)
    assert desk.trading.unrealised(desk.position()) == -loss
    available = desk.trading.available(desk.account, "USDT")
    assert available == 1_000_000 - loss - (value / 20).quantize(Decimal("1e-8"))


def test_an_order_beyond_the_margin_is_refused_until_the_leverage_allows_it():
    desk = linear(balances={"USDT": "1000"})
    terms = desk.terms(price=desk.middle - 5, quantity=400)
    assert desk.refusal(terms) is Why.MARGIN
    desk.trading.set_leverage(desk.account, "BTCUSDT", 50, desk.now_ms)
    assert desk.refusal(terms) is None


def test_leverage_is_not_lowered_below_what_the_margin_carries():
    desk = linear(balances={"USDT": "1000"})
    desk.buy(quantity=200)
    with pytest.raises(Refused) as refused:
        desk.trading.set_leverage(desk.account, "BTCUSDT", 5, desk.now_ms)
    assert refused.value.why is Why.MARGIN
    assert desk.position().leverage == 20


def test_an_order_that_closes_a_position_needs_no_margin():
    desk = linear(balances={"USDT": "1000"})
    desk.buy(quantity=300)
    assert desk.refusal(desk.terms(Side.SELL, desk.middle + 5, 300)) is None
    assert desk.refusal(desk.terms(Side.SELL, desk.middle + 5, 300)) is Why.MARGIN


# Reduce-only.


def test_a_reduce_only_order_is_cut_to_the_position_or_refused():
    for rule, expected in (("truncate", None), ("refuse", Why.REDUCE_ONLY)):
        desk = linear(rules=no_fees(reduce_only=rule))
        terms = desk.terms(Side.SELL, quantity=10, reduce_only=True)
        assert desk.refusal(terms) is Why.REDUCE_ONLY
        desk.buy(quantity=4)
        assert desk.refusal(terms) is expected
        assert desk.position().lots == (4 if expected else 0)


def test_reduce_only_orders_shrink_with_the_position():
    desk = linear()
    desk.buy(quantity=10)
    near = desk.sell(desk.middle + 50, 6, reduce_only=True)
    far = desk.sell(desk.middle + 60, 10, reduce_only=True)
    assert (near.left, far.left) == (6, 4)
    desk.sell(quantity=5)
    assert (near.left, far.status, far.ended) == (5, Status.CANCELED, Why.REDUCE_ONLY)
    desk.sell(quantity=5)
    assert (near.status, near.ended) == (Status.CANCELED, Why.REDUCE_ONLY)
    assert desk.changes(near) == [NEW, Change.AMENDED, Change.CANCELED]


def test_a_sweep_does_not_turn_a_position_over_by_a_reduce_only_order():
    desk = linear()
    desk.buy(quantity=10)
    desk.sell(desk.middle + 10, 8)
    reducing = desk.sell(desk.middle + 11, 10, reduce_only=True)
    desk.crowd(Side.BUY, desk.middle + 12, 2_000_000)
    assert desk.position().lots == 0
    assert (reducing.filled, reducing.ended) == (2, Why.REDUCE_ONLY)


def test_a_reduce_only_order_is_not_amended_beyond_the_position():
    desk = linear()
    desk.buy(quantity=10)
    order = desk.sell(desk.middle + 50, 6, reduce_only=True)
    desk.trading.amend(order, desk.now_ms, price=desk.middle - 1, quantity=100)
    assert (desk.position().lots, order.status, order.filled) == (0, Status.FILLED, 10)


def test_a_stop_closes_whatever_the_position_has_become():
    desk = linear()
    desk.buy(quantity=10)
    stop = desk.sell(
        quantity=0, type=STOP_MARKET, stop_price=desk.middle - 50, close_position=True, algo=True
    )
    desk.buy(quantity=7)
    desk.moves_to(desk.middle - 80)
    desk.crowd(Side.SELL, desk.middle - 81, 1)
    assert stop.status is Status.TRIGGERED
    assert desk.trading.find(desk.account, order_id=stop.triggered_id).filled == 17
    assert desk.position().lots == 0


def test_a_stop_that_closes_nothing_is_rejected_when_it_triggers():
    desk = linear()
    stop = desk.sell(quantity=0, type=STOP_MARKET, stop_price=desk.middle - 50, close_position=True)
    desk.moves_to(desk.middle - 80)
    desk.crowd(Side.SELL, desk.middle - 81, 1)
    assert (stop.status, stop.ended) == (Status.REJECTED, Why.REDUCE_ONLY)


# Funding.


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_funding_is_exchanged_at_the_mark_price(side):
    desk = linear()
    desk.place(desk.terms(side, quantity=100))
    desk.market.reference.rate = 10_000
    desk.trading.pay_funding("BTCUSDT", desk.now_ms)
    paid = side * worth(desk, 100) * units(desk, desk.middle) * Decimal("0.0001")
    (payment,) = desk.account.funding
    assert (payment.paid, payment.asset, payment.lots) == (paid, "USDT", 100 * side)
    assert desk.free("USDT") == 1_000_000 - paid
    assert any(isinstance(event, FundingEvent) for event in desk.events)
    assert desk.heard_of_balances()[-1].why == "funding"


def test_funding_of_inverse_contracts_is_paid_in_the_base_currency():
    desk = TradingDesk("bybit", rules=no_fees())
    desk.moves_to(desk.middle)
    desk.buy(quantity=100_000)
    desk.market.reference.rate = 10_000
    desk.trading.pay_funding("BTCUSD", desk.now_ms)
    (payment,) = desk.account.funding
    assert payment.asset == "BTC"
    assert payment.paid == (10 / units(desk, desk.middle)).quantize(Decimal("1e-8"))


def test_funding_comes_at_its_hours():
    desk = linear()
    desk.buy(quantity=100)
    desk.now_ms = 1_700_000_000_000 // (8 * HOUR_MS) * 8 * HOUR_MS + HOUR_MS
    desk.tick()
    desk.tick(7 * HOUR_MS - 1)
    assert len(desk.account.funding) == 0
    desk.tick(1)
    desk.tick(1000)
    assert len(desk.account.funding) == 1


# Liquidation.


def forced(desk):
    return [order for order in desk.account.history if order.forced]


def test_a_position_that_its_margin_does_not_carry_is_closed_by_force():
    desk = linear(balances={"USDT": "1000"}, rules=no_fees(liquidation_id="autoclose-"))
    desk.buy(quantity=300)
    resting = desk.buy(desk.middle - 40_000, 1)
    desk.moves_to(desk.middle - 25_000)
    desk.tick()
    assert desk.position().lots == 300
    desk.moves_to(desk.middle - 35_000)
    desk.tick()
    assert desk.position().lots == 0
    assert (resting.status, resting.ended) == (Status.CANCELED, Why.LIQUIDATION)
    (order,) = forced(desk)
    assert (order.forced, order.status, order.filled) == (Why.LIQUIDATION, Status.FILLED, 300)
    assert order.client_id == f"autoclose-{desk.now_ms}"
    assert [outcome.forced for outcome in desk.published].count(True) == 1
    assert desk.free("USDT") == 0
    (lost,) = [t for t in desk.account.transfers if t.why == "insurance"]
    assert lost.amount == -1000 - desk.position().realised


def test_what_the_book_cannot_close_is_taken_over_at_the_mark_price():
    desk = linear()
    desk.buy(quantity=300)
    for order in list(desk.market.book.orders.values()):
        if order.side is Side.BUY:
            desk.market.book.cancel(order.id)
    desk.bids(desk.middle - 3, 100)
    (order,) = desk.trading.liquidate(desk.account, "BTCUSDT", desk.now_ms)
    assert (order.filled, desk.position().lots, len(order.fills)) == (300, 0, 2)


@pytest.mark.parametrize("left", [100, 0])
def test_a_liquidation_is_told_in_public_once_and_as_filled(left):
    desk = linear()
    desk.buy(quantity=300)
    for order in list(desk.market.book.orders.values()):
        if order.side is Side.BUY:
            desk.market.book.cancel(order.id)
    if left:
        desk.bids(desk.middle - 3, left)
    desk.published.clear()
    desk.trading.liquidate(desk.account, "BTCUSDT", desk.now_ms)
    (outcome,) = desk.published
    assert (outcome.forced, outcome.order.remaining, outcome.order.quantity) == (True, 0, 300)
    assert sum(fill.quantity for fill in outcome.fills) == 300
    numbers = [fill.trade_id for fill in outcome.fills]
    assert numbers == sorted(set(numbers))
    assert desk.market.stats.last_id == desk.market.book.last_trade_id == numbers[-1]


def test_an_isolated_position_is_liquidated_by_its_own_margin():
    desk = linear()
    desk.trading.set_isolated(desk.account, "BTCUSDT", True, desk.now_ms)
    desk.buy(quantity=300)
    desk.moves_to(desk.middle * 94 // 100)
    desk.tick()
    assert desk.position().lots == 0
    assert forced(desk)


def test_an_isolated_position_loses_no_more_than_its_margin():
    desk = linear()
    desk.trading.set_isolated(desk.account, "BTCUSDT", True, desk.now_ms)
    desk.buy(quantity=300)
    margin = desk.position().margin
    desk.moves_to(desk.middle // 2)
    desk.tick()
    assert desk.free("USDT") == 1_000_000 - margin


def test_a_cross_position_is_carried_by_the_whole_account():
    desk = linear()
    desk.buy(quantity=300)
    desk.moves_to(desk.middle * 94 // 100)
    desk.tick()
    assert desk.position().lots == 300


def test_deleveraging_takes_a_part_away_outside_the_book():
    desk = linear(rules=no_fees(deleveraging_id="adl_autoclose"))
    desk.sell(quantity=30)
    before = desk.market.book.depth(Side.SELL)
    (order,) = desk.trading.deleverage(desk.account, "BTCUSDT", 12, desk.now_ms)
    assert (order.forced, order.filled, desk.position().lots) == (Why.DELEVERAGING, 12, -18)
    assert order.client_id.startswith("adl_autoclose")
    assert order.fills[0].price == desk.middle
    assert desk.market.book.depth(Side.SELL) == before
    heard = [
        event.change
        for event in desk.events
        if isinstance(event, OrderEvent) and isinstance(event.order, Order) and event.order.forced
    ]
    assert heard == [NEW, TRADE]


def test_spot_has_no_contract_operations():
    desk = TradingDesk()
    with pytest.raises(Refused) as refused:
        desk.trading.liquidate(desk.account, "BTCUSDT", desk.now_ms)
    assert refused.value.why is Why.SYMBOL


@pytest.mark.parametrize(("lots", "filled"), [(12, 0), (11, 11)])
def test_a_fill_or_kill_order_counts_what_reduce_only_orders_can_still_trade(lots, filled):
    desk = TradingDesk("binance_usdm", rules=no_fees())
    desk.moves_to(desk.middle)
    desk.buy(quantity=10)
    desk.sell(desk.middle + 1, 4, account=desk.account)
    desk.sell(desk.middle + 1, 10, reduce_only=True)
    for order in list(desk.market.book.orders.values()):
        if not order.owner and order.side is Side.SELL:
            desk.trading.observe(desk.market, desk.market.book.cancel(order.id), desk.now_ms)
    desk.asks(desk.middle + 2, 1)
    order = desk.buy(desk.middle + 2, lots, account=desk.other, time_in_force=TimeInForce.FOK)
    assert order.filled == filled
    assert desk.position().lots == (10 if not filled else 0)
