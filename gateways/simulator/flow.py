"""Generated orders: a crowd that quotes around a fair price, takes, cancels, and has bursts.

Deterministic: the same seed and the same number of steps give the same orders, on any machine.
The random draws are floats; what reaches the book are ticks and lots.
"""

import math
from random import Random

from engine.common import Side, TimeInForce
from gateways.simulator.matching import OrderBook, Outcome

CANCEL_SHARE = 0.45
MARKET_SHARE = 0.06
AGGRESSIVE_SHARE = 0.10
TOUCH_SHARE = 0.30
FAR_SHARE = 0.02
BURST_SHARE = 0.002
REVERSION = 1e-7
LIQUIDATION_DISTANCE = 0.003


class FairValue:
    """The price that the crowd believes in: a random walk, pulled gently to where it began."""

    def __init__(self, price: float, rng: Random, volatility: float = 1e-6) -> None:
        self.start = price
        self.price = price
        self._rng = rng
        self._volatility = volatility

    def advance(self) -> float:
        """Walk one step, now and then a long one."""
        stride = self._volatility * (25.0 if self._rng.random() < 0.001 else 1.0)
        pull = REVERSION * math.log(self.start / self.price)
        self.price *= math.exp(stride * self._rng.gauss(0.0, 1.0) + pull)
        return self.price


class OrderFlow:
    """The crowd in one book.

    ``fair`` is in the unit in which one tick is ``tick``; ``typical_lots`` is the size of an
    ordinary order; the book is kept near ``resting`` orders.
    """

    def __init__(
        self,
        book: OrderBook,
        fair: FairValue,
        rng: Random,
        *,
        tick: float,
        typical_lots: int,
        resting: int,
    ) -> None:
        self.book = book
        self._fair = fair
        self._rng = rng
        self._tick = tick
        self._typical_lots = typical_lots
        self._resting = resting
        self._own: list[int] = []
        self.grid = 1
        """Ticks between two prices at which new orders may stand."""
        self._burst_left = 0
        self._burst_side = Side.BUY
        # One basis point, but never so few ticks that the book is a single level.
        self._width = max(4.0, fair.start * 1e-4 / tick)

    def prime(self) -> None:
        """Fill the empty book with its usual number of orders."""
        while len(self.book.orders) < self._resting:
            self._quote(self._rng.choice((Side.BUY, Side.SELL)), aggressive=False)

    def step(self) -> Outcome:
        """Do one thing, as one participant would: quote, cancel or take."""
        rng = self._rng
        self._fair.advance()
        draw = rng.random()
        if self._burst_left:
            self._burst_left -= 1
            if draw < 0.5:
                return self._take(self._burst_side)
        elif rng.random() < BURST_SHARE:
            self._burst_left = rng.randint(5, 40)
            self._burst_side = Side.BUY if self._gap() > 0 else Side.SELL
        live = len(self.book.orders)
        if draw < min(0.9, CANCEL_SHARE * live / self._resting) and live > 20:
            return self._cancel()
        if draw > 1.0 - MARKET_SHARE and live > 20:
            toward = Side.BUY if self._gap() > 0 else Side.SELL
            away = Side.SELL if toward is Side.BUY else Side.BUY
            return self._take(toward if rng.random() < 0.7 else away)
        side = Side.BUY if rng.random() < 0.5 else Side.SELL
        return self._quote(side, aggressive=rng.random() < AGGRESSIVE_SHARE)

    def liquidate(self) -> Outcome:
        """Close some position by force, on the side against which the market has moved."""
        side = Side.BUY if self._gap() > 0 else Side.SELL
        bankrupt = self._fair.price / self._tick * (1.0 + LIQUIDATION_DISTANCE * side)
        price = self._on_grid(side, max(1, int(bankrupt)))
        outcome = self.book.submit(side, price, self._lots(), TimeInForce.IOC)
        outcome.forced = True
        return outcome

    def _gap(self) -> float:
        """Ticks from the middle of the book up to the fair price."""
        bid, ask = self.book.bids.best, self.book.asks.best
        if bid is None or ask is None:
            return self._rng.random() - 0.5
        return self._fair.price / self._tick - (bid.price + ask.price) / 2

    def _lots(self) -> int:
        lots = self._rng.expovariate(1.0 / self._typical_lots)
        return 1 + int(lots * 10 if self._rng.random() < 0.05 else lots)

    def _quote(self, side: Side, *, aggressive: bool) -> Outcome:
        rng = self._rng
        width = self._width
        draw = rng.random()
        if draw < TOUCH_SHARE:
            away = int(rng.random() * 3)
        elif draw < TOUCH_SHARE + FAR_SHARE:
            away = int(rng.expovariate(1.0 / (width * 100)))
        else:
            away = int(rng.expovariate(1.0 / width))
        fair = self._fair.price / self._tick
        price = math.floor(fair) - away if side is Side.BUY else math.ceil(fair) + away
        if not aggressive:
            price = self._behind(side, price)
        # Far orders stay within what the venue's price filter would allow.
        price = self._on_grid(side, min(max(price, int(fair * 0.5), 1), int(fair * 1.5) + 1))
        outcome = self.book.submit(side, price, self._lots())
        if outcome.rested:
            self._own.append(outcome.order.id)
        return outcome

    def _on_grid(self, side: Side, price: int) -> int:
        """Return the nearest price of the grid that does not demand more than ``price``."""
        rest = price % self.grid
        if not rest:
            return price
        return max(self.grid, price - rest) if side is Side.BUY else price - rest + self.grid

    def regrid(self, grid: int) -> list[Outcome]:
        """Change the grid; orders that do not stand on the new one are cancelled."""
        self.grid = grid
        off = [order.id for order in self.book.orders.values() if order.price % grid]
        outcomes = [self.book.cancel(order) for order in off]
        return [outcome for outcome in outcomes if outcome is not None]

    def _behind(self, side: Side, price: int) -> int:
        best = self.book.asks.best if side is Side.BUY else self.book.bids.best
        if best is None:
            return price
        return min(price, best.price - 1) if side is Side.BUY else max(price, best.price + 1)

    def _cancel(self) -> Outcome:
        own = self._own
        while own:
            place = int(self._rng.random() * len(own))
            own[place], own[-1] = own[-1], own[place]
            outcome = self.book.cancel(own.pop())
            if outcome is not None:  # else it was filled meanwhile
                return outcome
        return self._quote(Side.BUY, aggressive=False)

    def _take(self, side: Side) -> Outcome:
        return self.book.submit(side, None, self._lots())
