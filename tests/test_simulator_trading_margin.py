"""Margin on the simulated venue: what carries which position, and what open orders must hold."""

from decimal import Decimal

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import AccountSettings, OrderTerms, Prevention, Status
from gateways.simulator.simulation import Simulation
from gateways.simulator.trading import Trading
from tests.trading_desk import TradingDesk, no_fees


class SeveralMarkets:
    """One account on several books of a venue; each book is deep around a price of our choice."""

    def __init__(self, venue, symbols, balances):
        self.simulation = Simulation(1, [venue], symbols, resting=0)
        self.markets = {book.instrument.symbol: book for book in self.simulation.books}
        self.trading = Trading(venue, self.simulation.books, no_fees(), lambda *_: None, 1)
        self.account = self.trading.add_account(AccountSettings(key="first", balances=balances))
        self.now_ms = 1_700_000_000_000
        for symbol, market in self.markets.items():
            self.moves_to(symbol, market.instrument.start)

    def moves_to(self, symbol, price):
        market = self.markets[symbol]
        for order in list(market.book.orders.values()):
            outcome = market.book.cancel(order.id)
            self.trading.observe(market, outcome, self.now_ms)
        for side in Side:
            outcome = market.book.submit(side, price - side, 10**9)
            self.trading.observe(market, outcome, self.now_ms)

    def takes(self, symbol, side, lots, **fields):
        terms = OrderTerms(
            self.markets[symbol],
            side,
            OrderType.MARKET,
            TimeInForce.IOC,
            quantity=lots,
            prevention=Prevention.NONE,
            **fields,
        )
        return self.trading.place(self.account, terms, self.now_ms)

    def lots(self, symbol, side="net"):
        return self.account.positions[symbol, side].lots


def linear(**settings):
    """Return a desk on a linear contract whose book is deep around the middle."""
    desk = TradingDesk("binance_usdm", **({"rules": no_fees()} | settings))
    desk.moves_to(desk.middle)
    return desk


# What carries which position.


def test_an_isolated_position_takes_nothing_from_cross_positions_in_another_asset():
    balances = {"USDT": "100000", "BTC": "0.1"}
    several = SeveralMarkets("okx", ["BTC-USDT-SWAP", "BTC-USD-SWAP"], balances)
    several.trading.set_isolated(several.account, "BTC-USDT-SWAP", True, several.now_ms)
    several.takes("BTC-USDT-SWAP", Side.BUY, 100)
    several.takes("BTC-USD-SWAP", Side.BUY, 10)
    several.trading.tick(several.now_ms)
    assert several.lots("BTC-USD-SWAP") == 10
    assert several.lots("BTC-USDT-SWAP") == 100


def test_only_the_side_of_an_isolated_contract_that_is_bankrupt_is_closed():
    desk = linear()
    desk.trading.set_hedge(desk.account, True, desk.now_ms)
    desk.trading.set_isolated(desk.account, "BTCUSDT", True, desk.now_ms)
    desk.buy(quantity=300, position_side="long")
    desk.sell(quantity=300, position_side="short")
    closing = desk.buy(desk.middle // 2, 300, position_side="short")
    desk.moves_to(desk.middle * 94 // 100)
    desk.tick()
    assert (desk.position("long").lots, desk.position("short").lots) == (0, -300)
    assert closing.status is Status.NEW


def test_the_margin_is_looked_at_again_only_after_something_has_moved(monkeypatch):
    desk = linear()
    looked = []
    monkeypatch.setattr(
        "gateways.simulator.trading.liquidate_all",
        lambda trading, account, marks, now_ms: looked.append(account.key),
    )
    desk.tick()
    assert looked == []
    desk.buy(quantity=10)
    desk.tick()
    desk.tick()
    assert looked == ["first"]
    desk.moves_to(desk.middle + 5)
    desk.tick()
    desk.trading.deposit(desk.account, "USDT", Decimal(1), desk.now_ms)
    desk.tick()
    desk.trading.set_leverage(desk.account, "BTCUSDT", 5, desk.now_ms)
    desk.tick()
    assert looked == ["first"] * 4
    desk.sell(quantity=10)
    desk.moves_to(desk.middle)
    desk.tick()
    assert looked == ["first"] * 4


# What open orders must hold.


def test_a_closing_order_needs_margin_once_the_position_has_gone():
    desk = linear()
    desk.buy(quantity=3000)
    resting = desk.sell(desk.middle + 50, 3000)
    assert resting.locked == 0
    desk.sell(quantity=3000, reduce_only=True)
    value = resting.market.units.value(resting.price, 3000)
    assert resting.locked == desk.account.balances["USDT"].reserved == value / 20
    assert desk.trading.available(desk.account, "USDT") == desk.free("USDT") - value / 20


def test_an_order_that_has_come_to_close_a_position_needs_no_margin_any_more():
    desk = linear()
    first = desk.sell(desk.middle + 50, 20)
    second = desk.sell(desk.middle + 60, 20)
    desk.buy(quantity=30)
    assert first.locked == 0
    assert second.locked > 0
    desk.trading.cancel(first, desk.now_ms)
    assert second.locked == desk.account.balances["USDT"].reserved == 0


class Unread(dict):
    """Orders that nobody may go through."""

    def __iter__(self):
        raise AssertionError("all orders are read")

    values = items = keys = __iter__


def test_an_order_and_its_fills_do_not_go_through_all_other_orders():
    desk = linear()
    desk.buy(quantity=30)
    for _ in range(5):
        desk.sell(desk.middle + 50, 10)
        desk.sell(desk.middle + 60, 2, reduce_only=True)
    for account in (desk.account, desk.other):
        account.orders = Unread(account.orders)
    desk.sell(desk.middle + 70, 10)
    desk.buy(quantity=10)
    desk.crowd(Side.BUY, desk.middle + 2, 10)
    desk.tick()


def test_margin_that_was_added_stays_until_the_position_is_closed():
    desk = linear()
    desk.trading.set_isolated(desk.account, "BTCUSDT", True, desk.now_ms)
    desk.buy(quantity=100)
    position, ledger = desk.position(), desk.trading.ledger
    ledger.add_margin(desk.account, position, Decimal(1000))
    needed = position.margin - 1000
    desk.trading.set_leverage(desk.account, "BTCUSDT", 10, desk.now_ms)
    assert position.margin == 2 * needed + 1000
    desk.buy(quantity=100)
    desk.sell(quantity=100)
    assert position.margin == 2 * needed + 1000
    desk.sell(quantity=100)
    assert (position.margin, position.added) == (0, 0)
    desk.buy(quantity=100)
    assert position.margin == 2 * needed
