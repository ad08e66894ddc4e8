"""What a venue accepts: its fees and limits, and what it does where venues differ."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from engine.common import OrderType, TimeInForce
from gateways.simulator.account import ZERO, OrderTerms, Refused, Why
from gateways.simulator.instruments import Instrument, Listing
from gateways.simulator.margin import Units
from gateways.simulator.matching import Prevention


@dataclass(frozen=True, slots=True)
class MarketLimits:
    """Filters of one instrument; 0 where there is none."""

    min_lots: int = 1
    max_lots: int = 0
    max_market_lots: int = 0
    min_notional: Decimal = ZERO
    """In the quote currency."""
    min_price: int = 0
    """Ticks."""
    max_price: int = 0


_NO_LIMITS = MarketLimits()


@dataclass(slots=True)
class TradingRules:
    """One venue's rules; fees are shares of the value, negative ones rebates."""

    spot_maker: Decimal = Decimal("0.001")
    spot_taker: Decimal = Decimal("0.001")
    maker: Decimal = Decimal("0.0002")
    """Of contracts."""
    taker: Decimal = Decimal("0.0005")
    post_only_refuses: bool = True
    """A post-only order that would take is refused; else it is accepted and expires."""
    duplicate_ids: Literal["live", "forever"] = "live"
    """A client id can be used again when its order has ended, or never."""
    amend_below_filled: Literal["cancel", "fill", "refuse"] = "cancel"
    """What an amendment to the filled quantity or below does."""
    amend_post_only: Literal["cancel", "refuse"] = "refuse"
    """What an amendment does that would make a post-only order take."""
    amend_unchanged: Literal["refuse", "accept"] = "refuse"
    reduce_only: Literal["truncate", "refuse"] = "truncate"
    """What becomes of a reduce-only order larger than the position."""
    would_trigger: Literal["refuse", "trigger"] = "refuse"
    """What becomes of a stop order, with its direction told, whose condition holds already."""
    orders_per_symbol: int = 200
    """Open plain orders; 0 for no limit."""
    orders_total: int = 0
    algo_orders_per_symbol: int = 10
    """Open algo orders."""
    stops_per_symbol: int = 0
    """Plain orders that wait for a trigger; 0 for no limit of their own."""
    price_band: Decimal = ZERO
    """Limit prices stay within so large a share of the reference price, either way."""
    limits: Callable[[Instrument], MarketLimits] = lambda instrument: _NO_LIMITS
    prevention: Prevention = Prevention.MAKER
    """Where an order does not say; the dialect writes it into the terms."""
    leverage: int = 20
    """Where the account has set none."""
    leverage_max: int = 125
    maintenance: Decimal = Decimal("0.005")
    """Share of a position's value below which its margin must not fall."""
    liquidation_id: str = ""
    """Client id of forced orders, with the time in ms after it; empty for none."""
    deleveraging_id: str = ""

    def fee(self, *, spot: bool, maker: bool) -> Decimal:
        """Return the share of the value that a trade costs."""
        if spot:
            return self.spot_maker if maker else self.spot_taker
        return self.maker if maker else self.taker


_PRICED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)


def check_terms(terms: OrderTerms, now_ms: int) -> None:
    """Refuse terms that contradict themselves or that the instrument's grid does not have."""
    instrument = terms.market.instrument
    if instrument.listing is Listing.DELISTED:
        raise Refused(Why.SYMBOL)
    if instrument.listing is not Listing.TRADING:
        raise Refused(Why.MARKET_CLOSED)
    if (terms.price > 0) is not (terms.type in _PRICED) or terms.price < 0:
        raise Refused(Why.PARAMETER, "price")
    if (terms.stop_price > 0) is not (terms.type in _STOPS) or terms.stop_price < 0:
        raise Refused(Why.PARAMETER, "stop price")
    if terms.time_in_force is TimeInForce.POST_ONLY and terms.type not in _PRICED:
        raise Refused(Why.PARAMETER, "time in force")
    if terms.time_in_force is TimeInForce.GTD and terms.expire_ms <= now_ms:
        raise Refused(Why.PARAMETER, "expiry")
    if terms.price % instrument.grid or terms.stop_price % instrument.grid:
        raise Refused(Why.TICK)


def check_price(
    rules: TradingRules, instrument: Instrument, units: Units, price: int, reference: Decimal
) -> None:
    """Refuse a limit price (ticks) out of range or too far from the reference price."""
    limits = rules.limits(instrument)
    if price < limits.min_price or (limits.max_price and price > limits.max_price):
        raise Refused(Why.PRICE_RANGE)
    if rules.price_band and reference:
        distance = abs(units.tick * price - reference)
        if distance > rules.price_band * reference:
            raise Refused(Why.PRICE_BAND)


def check_amount(rules: TradingRules, instrument: Instrument, amount: Decimal) -> None:
    """Refuse an amount of the quote currency that is too small, or none."""
    if amount <= 0:
        raise Refused(Why.MIN_QUANTITY)
    if amount < rules.limits(instrument).min_notional:
        raise Refused(Why.NOTIONAL)


def check_quantity(
    rules: TradingRules,
    instrument: Instrument,
    quantity: int,
    notional: Decimal,
    *,
    market: bool,
    reduces: bool = False,
) -> None:
    """Refuse a quantity (lots) that the instrument's filters do not let in."""
    limits = rules.limits(instrument)
    if quantity < max(1, limits.min_lots):
        raise Refused(Why.MIN_QUANTITY)
    most = (limits.max_market_lots if market else 0) or limits.max_lots
    if most and quantity > most:
        raise Refused(Why.MAX_QUANTITY)
    if notional < limits.min_notional and not reduces:
        raise Refused(Why.NOTIONAL)
