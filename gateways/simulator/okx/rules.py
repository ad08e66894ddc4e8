"""The venue's trading rules as data: fees, limits of orders and of requests, the price band.

Sources: the venue's pages on placing and amending orders, request limits and fees.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from gateways.simulator.account import OrderTerms, Refused, Why
from gateways.simulator.instruments import Instrument, Market
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.okx.dialect import DEFAULT_LEVERAGE
from gateways.simulator.rest import ApiError
from gateways.simulator.rules import MarketLimits, TradingRules
from gateways.simulator.trading import Trading

BATCH_MOST = 20
BAND = Decimal("0.05")
"""A buy may not be priced so much above the mark price, a sell not so much below."""
LEVERAGE_MOST = 100
_PERIOD_S = 2.0
_SINGLE, _BATCH = 60, 300
"""Requests, and orders of batches, per instrument, user and two seconds."""
_ACCOUNT = 1000
"""New orders and amendments of a sub-account in two seconds."""
_CONTRACT_LIMITS = MarketLimits(max_lots=10**10, max_market_lots=3_000_000)
_INVERSE_LIMITS = MarketLimits(max_lots=10**8, max_market_lots=30_000)
_SPOT_LIMITS = MarketLimits()


def trading_rules() -> TradingRules:
    """Return what the clearing house must know of the venue."""
    return TradingRules(
        spot_maker=Decimal("0.0008"),
        spot_taker=Decimal("0.001"),
        maker=Decimal("0.0002"),
        taker=Decimal("0.0005"),
        post_only_refuses=False,
        duplicate_ids="live",
        amend_below_filled="fill",
        amend_post_only="refuse",
        amend_unchanged="accept",
        reduce_only="refuse",
        would_trigger="refuse",
        orders_per_symbol=500,
        orders_total=4000,
        algo_orders_per_symbol=100,
        limits=_limits,
        leverage=DEFAULT_LEVERAGE,
        leverage_max=LEVERAGE_MOST,
        maintenance=Decimal("0.004"),
    )


def _limits(instrument: Instrument) -> MarketLimits:
    if instrument.market is Market.SPOT:
        return _SPOT_LIMITS
    return _INVERSE_LIMITS if instrument.market is Market.INVERSE else _CONTRACT_LIMITS


def check_band(trading: Trading, terms: OrderTerms, price: int) -> None:
    """Refuse a limit price (ticks) that is too bad for the one who asks for it."""
    # How much worse than the mark price: above it for a buy, below it for a sell.
    mark = trading.mark(terms.market)
    worse = (trading.price_units(terms.market, price) - mark) * terms.side
    if price and worse > mark * BAND:
        raise Refused(Why.PRICE_BAND)


@dataclass(slots=True)
class OrderBudget:
    """How many orders a user may still send: per kind of request and instrument, and altogether.

    REST and WebSocket count together; a batch of one counts as a single request. ``factor``
    multiplies the limits.
    """

    clock: Callable[[], float]
    factor: float = 1.0
    _limits: dict[tuple[int, str, bool, str], SlidingLimit] = field(default_factory=dict)
    _accounts: dict[int, SlidingLimit] = field(default_factory=dict)

    def spend(self, user: int, kind: str, instruments: Iterable[str]) -> None:
        """Count the orders of one request, by their instruments; raises ApiError.

        ``kind`` is place, amend or cancel.
        """
        counts = Counter(instruments)
        batch = counts.total() > 1
        now = self.clock()
        for name, count in counts.items():
            most = int((_BATCH if batch else _SINGLE) * self.factor)
            key = (user, kind, batch, name)
            limit = self._limits.get(key)
            if limit is None:
                limit = self._limits[key] = SlidingLimit(most, _PERIOD_S)
            if not limit.allow(now, count):
                raise too_frequent()
        if kind != "cancel":
            limit = self._accounts.get(user)
            if limit is None:
                most = int(_ACCOUNT * self.factor)
                limit = self._accounts[user] = SlidingLimit(most, _PERIOD_S)
            if not limit.allow(now, counts.total()):
                raise ApiError(
                    50061, "You've reached the maximum order rate limit for this account."
                )


def too_frequent() -> ApiError:
    """Return the refusal of a request beyond its limit."""
    return ApiError(
        50011,
        "Rate limit reached. Please refer to API documentation and throttle requests accordingly",
        429,
    )
