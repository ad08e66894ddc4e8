"""A venue without a server for the tests of its trading half: one market, and a crowd on demand."""

from decimal import Decimal

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import (
    AccountSettings,
    BalanceEvent,
    Change,
    OrderEvent,
    OrderTerms,
    Prevention,
    Refused,
)
from gateways.simulator.simulation import Simulation
from gateways.simulator.trading import Trading, TradingRules

SYMBOLS = {
    "binance_spot": "BTCUSDT",
    "binance_usdm": "BTCUSDT",
    "okx": "BTC-USD-SWAP",
    "bybit": "BTCUSD",
}
RICH = {"USDT": "1000000", "BTC": "100"}


class TradingDesk:
    """One empty book of one venue, its clearing house with two accounts, and what was heard."""

    def __init__(self, venue="binance_spot", *, rules=None, balances=None, seed=1, resting=0):
        symbol = SYMBOLS[venue]
        self.simulation = Simulation(seed, [venue], [symbol], resting=resting)
        self.market = self.simulation.find(venue, symbol)
        self.published = []
        self.trading = Trading(
            venue,
            self.simulation.books,
            rules or TradingRules(),
            lambda market, outcome: self.published.append(outcome),
            seed,
        )
        balances = RICH if balances is None else balances
        self.account = self.trading.add_account(
            AccountSettings(key="first", secret="s", balances=balances)
        )
        self.other = self.trading.add_account(
            AccountSettings(key="second", secret="s", balances=RICH)
        )
        self.events = []
        self.trading.listeners.append(self.events.append)
        self.now_ms = 1_700_000_000_000
        self.middle = self.market.instrument.start

    def terms(self, side=Side.BUY, price=0, quantity=10, **fields):
        usual = {
            "type": OrderType.LIMIT if price else OrderType.MARKET,
            "time_in_force": TimeInForce.GTC,
            "prevention": Prevention.MAKER,
        }
        return OrderTerms(self.market, side, price=price, quantity=quantity, **(usual | fields))

    def buy(self, price=0, quantity=10, account=None, **fields):
        return self.place(self.terms(Side.BUY, price, quantity, **fields), account)

    def sell(self, price=0, quantity=10, account=None, **fields):
        return self.place(self.terms(Side.SELL, price, quantity, **fields), account)

    def place(self, terms, account=None):
        return self.trading.place(account or self.account, terms, self.now_ms)

    def refusal(self, terms, account=None):
        """Return why the terms are refused; None if they are not."""
        try:
            self.place(terms, account)
        except Refused as refused:
            return refused.why
        return None

    def crowd(self, side, price, quantity, kind=TimeInForce.GTC):
        """Let the crowd send an order."""
        outcome = self.market.book.submit(side, price, quantity, kind)
        if outcome.fills:
            self.market.stats.observe(outcome)
        self.trading.observe(self.market, outcome, self.now_ms)
        return outcome

    def bids(self, price, quantity):
        return self.crowd(Side.BUY, price, quantity)

    def asks(self, price, quantity):
        return self.crowd(Side.SELL, price, quantity)

    def trades_at(self, price):
        """Let the crowd trade with itself at a price."""
        self.crowd(Side.SELL, price, 1)
        self.crowd(Side.BUY, price, 1)

    def moves_to(self, price):
        """Empty the crowd's book and quote around another price, which the mark price follows."""
        for order in list(self.market.book.orders.values()):
            if not order.owner:
                self.trading.observe(self.market, self.market.book.cancel(order.id), self.now_ms)
        self.bids(price - 1, 1_000_000)
        self.asks(price + 1, 1_000_000)

    def tick(self, later_ms=0):
        self.now_ms += later_ms
        self.trading.tick(self.now_ms)

    def changes(self, order):
        """Return what the listeners heard of an order."""
        return [
            event.change
            for event in self.events
            if isinstance(event, OrderEvent) and event.order is order
        ]

    def heard_of_balances(self):
        return [event for event in self.events if isinstance(event, BalanceEvent)]

    def free(self, asset, account=None):
        return (account or self.account).balances[asset].free

    def locked(self, asset, account=None):
        return (account or self.account).balances[asset].locked

    def position(self, side="net", account=None):
        symbol = self.market.instrument.symbol
        return (account or self.account).positions[symbol, side]

    def units(self, ticks, lots):
        """Return the value of lots at a price, in the quote currency."""
        trading, market = self.trading, self.market
        return trading.price_units(market, ticks) * trading.quantity_units(market, lots)


def no_fees(**changes):
    zero = Decimal(0)
    fees = {"spot_maker": zero, "spot_taker": zero, "maker": zero, "taker": zero}
    return TradingRules(**(fees | changes))


TRADE, NEW, EXPIRED, CANCELED = Change.TRADE, Change.NEW, Change.EXPIRED, Change.CANCELED
