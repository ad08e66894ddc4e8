"""What waits on the simulated venue: stop orders by their prices."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common import OrderType, Side
from gateways.simulator.account import Status
from gateways.simulator.triggers import Triggers, is_met, price_for
from tests.trading_desk import TradingDesk, no_fees

STOP_MARKET = OrderType.STOP_MARKET
KINDS = st.sampled_from(["last", "mark", "index"])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), KINDS, st.integers(-30, 30), st.sampled_from([None, True, False])
        ),
        st.tuples(st.just("remove"), st.integers(0, 20)),
        st.tuples(st.just("move"), st.integers(-30, 30)),
    ),
    max_size=60,
)


def stops(**rules):
    desk = TradingDesk("binance_usdm", rules=no_fees(would_trigger="trigger", **rules))
    desk.moves_to(desk.middle)
    return desk


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_the_orders_that_are_due_equal_those_of_a_scan(steps):
    desk = stops(algo_orders_per_symbol=0)
    trading, market, waiting = desk.trading, desk.market, {}
    triggers, fair = Triggers(), market.fair.price
    for step in steps:
        if step[0] == "add":
            _, kind, offset, above = step
            stop_price = desk.middle + offset
            order = trading._register(
                desk.account,
                desk.terms(type=STOP_MARKET, stop_price=stop_price, stop_above=above, trigger=kind),
                10,
                desk.now_ms,
            )
            if above is None:
                above = market.units.tick * stop_price > price_for(market, market.units, kind)
            triggers.add(order)
            waiting[order.id] = (order, above)
        elif step[0] == "remove" and waiting:
            order, _ = waiting.pop(list(waiting)[step[1] % len(waiting)])
            triggers.remove(order)
        elif step[0] == "move":
            desk.moves_to(desk.middle + step[1])
            market.fair.price = fair * (1 + step[1] / 1e6)
            market.stats.last = desk.middle - step[1]
        expected = [
            order
            for order, above in waiting.values()
            if is_met(
                market.units,
                order.terms.stop_price,
                above,
                price_for(market, market.units, order.terms.trigger),
            )
        ]
        assert not expected or triggers.reached(market)
        assert triggers.due(market) == expected
        assert not triggers.reached(market)
        for order in expected:
            del waiting[order.id]
        assert len(triggers) <= 2 * len(waiting)


def test_an_event_that_reaches_no_stop_looks_at_none_of_them():
    desk = stops(orders_per_symbol=0)
    orders = [
        desk.sell(quantity=1, type=STOP_MARKET, stop_price=desk.middle - 50 - n, trigger=kind)
        for n in range(20)
        for kind in ("last", "mark")
    ]
    terms = [order.terms for order in orders]
    for order in orders:
        order.terms = None
    desk.crowd(Side.SELL, desk.middle - 1, 1)
    desk.tick()
    for order, known in zip(orders, terms, strict=True):
        order.terms = known
    assert {order.status for order in orders} == {Status.UNTRIGGERED}
    desk.moves_to(desk.middle - 60)
    assert [order.status for order in orders[:20]] == [Status.FILLED] * 20
