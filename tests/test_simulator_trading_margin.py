"""Margin on the simulated venue: what carries which position, and what open orders must hold."""

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
