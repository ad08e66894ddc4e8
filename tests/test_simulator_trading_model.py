"""Whatever is done, the clearing house's books equal a slow recount of all trades."""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import OrderEvent, Prevention, Refused, Status, Working
from gateways.simulator.intake import reduces
from gateways.simulator.trading import TradingRules
from tests import naive_accounts
from tests.trading_desk import TradingDesk

VENUES = ("binance_spot", "binance_usdm", "bybit")
TINY = Fraction(1, 10**7)

SIDES = st.sampled_from(list(Side))
OFFSETS = st.integers(-12, 12)
LOTS = st.integers(1, 60)
WHO = st.integers(0, 1)

ORDER = st.fixed_dictionaries(
    {
        "side": SIDES,
        "offset": st.one_of(st.none(), OFFSETS),
        "lots": LOTS,
        "kind": st.sampled_from([TimeInForce.GTC, *TimeInForce]),
        "prevention": st.sampled_from(list(Prevention)),
        "stop": st.one_of(st.none(), st.none(), OFFSETS),
        "reduce_only": st.booleans(),
        "algo": st.booleans(),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), WHO, ORDER),
        st.tuples(st.just("place"), WHO, ORDER),
        st.tuples(st.just("crowd"), SIDES, OFFSETS, LOTS, st.booleans()),
        st.tuples(st.just("crowd"), SIDES, OFFSETS, LOTS, st.booleans()),
        st.tuples(st.just("amend"), WHO, st.integers(0, 9), OFFSETS, LOTS, st.booleans()),
        st.tuples(st.just("cancel"), WHO, st.integers(0, 9)),
        st.tuples(st.just("later"), st.integers(1, 5_000)),
        st.tuples(st.just("funding")),
        st.tuples(st.just("force"), WHO, st.integers(-1, 8)),
    ),
    min_size=15,
    max_size=60,
)
RULES = st.builds(
    TradingRules,
    post_only_refuses=st.booleans(),
    reduce_only=st.sampled_from(["truncate", "refuse"]),
    amend_below_filled=st.sampled_from(["cancel", "fill", "refuse"]),
    amend_post_only=st.sampled_from(["cancel", "refuse"]),
    maker=st.sampled_from([Decimal("0.0002"), Decimal("-0.00005")]),
)


class Player:
    """Does the steps at a desk; what the venue refuses must change nothing."""

    def __init__(self, desk):
        self.desk = desk
        self.accounts = (desk.account, desk.other)

    def play(self, step):
        name, *arguments = step
        try:
            getattr(self, name)(*arguments)
        except Refused:
            return

    def price(self, offset):
        return self.desk.middle + offset

    def place(self, who, wanted):
        desk = self.desk
        limit = wanted["offset"] is not None
        stops = wanted["stop"] is not None
        kinds = {
            (True, False): OrderType.LIMIT,
            (False, False): OrderType.MARKET,
            (True, True): OrderType.STOP_LIMIT,
            (False, True): OrderType.STOP_MARKET,
        }
        closes = wanted["reduce_only"] and desk.market.reference is not None
        terms = desk.terms(
            # The first account begins with a long position, the other with a short one.
            (Side.SELL, Side.BUY)[who] if closes else wanted["side"],
            self.price(wanted["offset"]) if limit else 0,
            wanted["lots"],
            type=kinds[limit, stops],
            time_in_force=wanted["kind"] if limit else TimeInForce.IOC,
            prevention=wanted["prevention"],
            stop_price=self.price(wanted["stop"]) if stops else 0,
            reduce_only=closes,
            algo=wanted["algo"] and stops,
            expire_ms=desk.now_ms + 3_000,
        )
        desk.place(terms, self.accounts[who])

    def crowd(self, side, offset, lots, takes):
        kind = TimeInForce.IOC if takes else TimeInForce.GTC
        self.desk.crowd(side, self.price(offset), lots, kind)

    def chosen(self, who, place):
        orders = list(self.accounts[who].orders.values())
        return orders[place % len(orders)] if orders else None

    def amend(self, who, place, offset, lots, keep):
        order = self.chosen(who, place)
        if order is not None:
            price = self.price(offset) if order.price else None
            self.desk.trading.amend(
                order, self.desk.now_ms, price=price, quantity=lots, keep_priority=keep
            )

    def cancel(self, who, place):
        order = self.chosen(who, place)
        if order is not None:
            self.desk.trading.cancel(order, self.desk.now_ms)

    def later(self, by_ms):
        self.desk.tick(by_ms)

    def funding(self):
        self.desk.trading.pay_funding(self.desk.market.instrument.symbol, self.desk.now_ms)

    def force(self, who, lots):
        symbol, trading = self.desk.market.instrument.symbol, self.desk.trading
        if lots >= 0:
            trading.deleverage(self.accounts[who], symbol, lots, self.desk.now_ms)
        else:
            trading.liquidate(self.accounts[who], symbol, self.desk.now_ms)


class Watch:
    """Hears each trade, and lets none of a reduce-only order turn its position over."""

    def __init__(self, desk):
        self.desk = desk
        self.lots = {desk.account.uid: 40, desk.other.uid: -40}

    def __call__(self, event):
        if not (isinstance(event, OrderEvent) and event.fill):
            return
        account = event.order.account
        before, now = self.lots[account.uid], self.desk.position(account=account).lots
        self.lots[account.uid] = now
        assert now == before + event.fill.quantity * event.order.terms.side
        if reduces(event.order.terms):
            assert abs(now) < abs(before)
            assert now * before >= 0


def check_money(account):
    totals = naive_accounts.balances(account)
    for asset, balance in account.balances.items():
        assert balance.total == totals[asset], asset
        assert balance.free >= 0 or account.positions
        assert balance.locked >= 0
        orders = [o for o in account.orders.values() if o.market.instrument.settle == asset]
        assert balance.reserved == sum(order.locked for order in orders)
    for asset, amount in naive_accounts.locked(account).items():
        assert account.balances[asset].locked == amount


def check_positions(account):
    expected = naive_accounts.positions(account)
    assert {key for key, position in account.positions.items() if position.lots} <= set(expected)
    for key, (lots, entry, realised) in expected.items():
        position = account.positions[key]
        assert position.lots == lots
        assert abs(Fraction(position.entry) - entry) <= TINY
        assert abs(Fraction(position.realised) - realised) <= TINY * (1 + len(account.fills))


def check_orders(desk, account):
    book = desk.market.book
    closing = defaultdict(int)
    for order in account.orders.values():
        assert order.status.live
        assert 0 <= order.filled < order.quantity
        if order.status is Status.UNTRIGGERED:
            assert not order.book_id
            continue
        resting = book.orders[order.book_id]
        assert (resting.owner, resting.remaining) == (order.id, order.left)
        assert (resting.price, resting.side) == (order.price, order.terms.side)
        if desk.market.reference is not None and reduces(order.terms):
            closing[order.terms.side] += order.left
    for side, lots in closing.items():
        held = account.positions[desk.market.instrument.symbol, "net"].lots
        assert lots <= -held * side
    for order in [*account.orders.values(), *account.history]:
        assert sum(fill.quantity for fill in order.fills) == order.filled
        assert (order.status is Status.FILLED) is (order.filled == order.quantity)
        fees = defaultdict(Decimal)
        for fill in order.fills:
            fees[fill.fee_asset] += fill.fee
        assert fees == order.fees


def check_working(desk, account):
    """Compare the running sums with a recount, and what is held with what must be."""
    if desk.market.reference is None:
        assert account.working == {}
        return
    for side in Side:
        orders = [
            order
            for order in account.orders.values()
            if order.terms.side is side and order.status is not Status.UNTRIGGERED
        ]
        working = account.working.get((desk.market.instrument.symbol, side, "net"), Working())
        shrinking = [order for order in orders if reduces(order.terms)]
        assert set(working.orders.values()) == set(orders)
        assert working.lots == sum(order.left for order in orders)
        assert working.ticks_lots == sum(order.left * order.price for order in orders)
        assert working.shrinking == len(shrinking)
        assert working.shrinking_lots == sum(order.left for order in shrinking)
        assert working.held == sum(bool(order.locked) for order in orders)
        closable, lots = -side * desk.position(account=account).lots, 0
        for order in working.orders.values():
            lots += order.left
            opens = lots > max(0, closable) and order not in shrinking
            expected = 0
            if opens:
                value = order.market.units.value(order.price, order.left)
                expected = desk.trading.ledger.margin(account, order.market, value)
            assert order.locked == expected


def check_prevention(account):
    trades = defaultdict(list)
    for fill in account.fills:
        trades[fill.id].append(fill)
    for sides in trades.values():
        if len(sides) == 2:
            (taker,) = [fill.order for fill in sides if not fill.maker]
            assert taker.terms.prevention is Prevention.NONE
    for order in account.history:
        assert order.prevented in (0, order.quantity - order.filled)


def check_crowd(desk):
    book = desk.market.book
    known = {order.book_id for order in desk.trading.ledger.live.values() if order.book_id}
    assert {order.id for order in book.orders.values() if order.owner} == known
    bid, ask = book.bids.best, book.asks.best
    assert bid is None or ask is None or bid.price < ask.price


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=100, deadline=None)
@given(steps=STEPS, rules=RULES)
def test_balances_positions_and_orders_equal_a_recount(venue, steps, rules):
    desk = TradingDesk(venue, rules=rules)
    player = Player(desk)
    # Positions to begin with, so that orders that reduce one are not refused for want of it.
    desk.bids(desk.middle - 13, 10_000)
    desk.asks(desk.middle + 13, 10_000)
    desk.buy(quantity=40)
    desk.sell(quantity=40, account=desk.other)
    if venue != "binance_spot":
        desk.trading.listeners.append(Watch(desk))
    for step in steps:
        player.play(step)
        for account in player.accounts:
            check_money(account)
            check_positions(account)
            check_orders(desk, account)
            check_working(desk, account)
            check_prevention(account)
        check_crowd(desk)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_nothing_is_refused_after_it_has_changed_something(steps):
    desk = TradingDesk("binance_usdm")
    player = Player(desk)
    for step in steps:
        if step[0] != "place":
            player.play(step)
            continue
        count = len(desk.events)
        before = len(desk.account.orders) + len(desk.other.orders), desk.market.book.update_id
        try:
            player.place(*step[1:])
        except Refused:
            now = len(desk.account.orders) + len(desk.other.orders), desk.market.book.update_id
            assert (len(desk.events), now) == (count, before)
        else:
            assert isinstance(desk.events[count], OrderEvent)
