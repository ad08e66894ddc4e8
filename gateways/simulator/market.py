"""What every venue tells of a market besides its orders: the day's figures, and contract prices."""

from random import Random

from gateways.simulator.flow import FairValue
from gateways.simulator.instruments import Instrument, Market, rounded
from gateways.simulator.matching import OrderBook, Outcome

VALUE_DECIMALS = 8
"""Of mark and index prices, and of the funding rate."""
FUNDING_INTERVAL_MS = 8 * 3_600_000
HIGHEST_RATE = 300_000
"""Funding rates stay within so many 1e-8 either way, as the venues' caps have it."""

_STEPS_MOST = 60
"""A clock that was put forward, or a server that stood still, moves the figures so often."""

Top = tuple[int, int, int, int]


def now_top(book: OrderBook) -> Top:
    """Return bid, its quantity, ask, its quantity; zeros for an empty side."""
    bid, ask = book.bids.best, book.asks.best
    return (
        bid.price if bid else 0,
        bid.quantity if bid else 0,
        ask.price if ask else 0,
        ask.quantity if ask else 0,
    )


def next_funding_ms(now_ms: int) -> int:
    """Return when funding is exchanged next: at 00, 08 and 16 o'clock UTC."""
    return (now_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS


class Statistics:
    """The figures of a day that began with the simulation; prices in ticks, volume in lots."""

    __slots__ = (
        "first",
        "first_id",
        "high",
        "last",
        "last_id",
        "last_lots",
        "low",
        "trades",
        "turnover",
        "volume",
    )

    def __init__(self, book: OrderBook, start: int) -> None:
        bid, _, ask, _ = now_top(book)
        middle = (bid + ask) // 2 if bid and ask else start
        self.first = self.last = self.high = self.low = middle
        self.last_lots = 1
        self.volume = 0
        self.turnover = 0  # ticks times lots
        self.trades = 0
        self.first_id = book.last_trade_id + 1
        self.last_id = book.last_trade_id

    def observe(self, outcome: Outcome) -> None:
        """Take in what was traded."""
        for fill in outcome.fills:
            price, lots = fill.price, fill.quantity
            self.last, self.last_lots, self.last_id = price, lots, fill.trade_id
            self.high = max(self.high, price)
            self.low = min(self.low, price)
            self.volume += lots
            self.turnover += price * lots
            self.trades += 1


def moved_ppm(first: int, last: int) -> int:
    """Return the change from ``first`` to ``last`` in millionths of ``first``."""
    return (last - first) * 1_000_000 // first


def traded_value(instrument: Instrument, ticks_lots: int) -> tuple[int, int]:
    """Return what ticks times lots are worth in the quote currency: mantissa and decimals."""
    price, quantity, contract = instrument.price, instrument.quantity, instrument.contract
    mantissa = ticks_lots * price.step * quantity.step * contract.step
    return mantissa, price.decimals + quantity.decimals + contract.decimals


def held_value(instrument: Instrument, lots: int) -> tuple[int, int]:
    """Return the currency behind lots, as ``Instrument.contract`` says: mantissa and decimals."""
    quantity, contract = instrument.quantity, instrument.contract
    return lots * quantity.step * contract.step, quantity.decimals + contract.decimals


class Reference:
    """Funding rate, mark and index price and open interest of one contract.

    Moves once in each second of the venue's clock. ``rate`` is in 1e-8, ``open_interest`` in lots.
    """

    def __init__(
        self, instrument: Instrument, book: OrderBook, fair: FairValue, rng: Random
    ) -> None:
        self.rate = rng.randint(-5_000, 15_000)
        self.open_interest = instrument.typical_lots * 400_000
        self._instrument = instrument
        self._book = book
        self._fair = fair
        self._rng = rng
        self._second = 0

    def advance(self, now_ms: int) -> None:
        """Move once for each second that has begun; a clock that was put back moves nothing."""
        second = now_ms // 1000
        steps = min(second - self._second, _STEPS_MOST) if self._second else 1
        self._second = second
        for _ in range(steps):
            self._move()

    def _move(self) -> None:
        rng = self._rng
        self.rate = max(-HIGHEST_RATE, min(HIGHEST_RATE, self.rate + rng.randint(-20, 20)))
        self.open_interest += rng.randint(-5, 5) * self._instrument.typical_lots

    @property
    def index(self) -> int:
        """The index price in 1e-8: what the crowd believes in, the same on all venues."""
        return int(self._fair.price * 10**VALUE_DECIMALS)

    @property
    def mark(self) -> int:
        """The mark price in 1e-8: the middle of the venue's own book."""
        bid, _, ask, _ = now_top(self._book)
        if not bid or not ask:
            return self.index
        price = self._instrument.price
        return rounded((bid + ask) * price.step, price.decimals, VALUE_DECIMALS) // 2

    @property
    def settle(self) -> int:
        """The estimated settlement price in 1e-8."""
        return (self.mark + self.index) // 2

    def interest_in_base(self) -> tuple[int, int]:
        """Return the open interest in the base currency: mantissa and decimals."""
        mantissa, decimals = held_value(self._instrument, self.open_interest)
        if self._instrument.market is Market.INVERSE:
            return mantissa * 10 ** (2 * VALUE_DECIMALS) // self.index, decimals + VALUE_DECIMALS
        return mantissa, decimals

    def interest_in_quote(self) -> tuple[int, int]:
        """Return the open interest in the quote currency: mantissa and decimals."""
        mantissa, decimals = held_value(self._instrument, self.open_interest)
        if self._instrument.market is Market.INVERSE:
            return mantissa, decimals
        return mantissa * self.mark, decimals + VALUE_DECIMALS
