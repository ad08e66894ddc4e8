"""The order limits of both Binance markets: what the exchange information says, and no other."""

from dataclasses import dataclass
from decimal import Decimal

from gateways.simulator.account import ZERO
from gateways.simulator.instruments import Instrument, Market, Scale
from gateways.simulator.rules import MarketLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """One market's limits, in units of the base and quote currencies."""

    max_price: int
    max_quantity: int
    max_market_quantity: int
    min_notional: Decimal
    max_notional: Decimal
    """0 for none."""
    orders: int
    """Open ones of a symbol."""
    stops: int
    """Those of them, or besides them, that wait for a trigger."""
    band_up: Decimal
    """Prices stay below so many times the reference price."""
    band_down: Decimal


SPOT = Limits(
    max_price=1_000_000,
    max_quantity=9000,
    max_market_quantity=100,
    min_notional=Decimal(5),
    max_notional=Decimal(9_000_000),
    orders=200,
    stops=5,
    band_up=Decimal(5),
    band_down=Decimal("0.2"),
)
USDM = Limits(
    max_price=1_000_000,
    max_quantity=1000,
    max_market_quantity=120,
    min_notional=Decimal(5),
    max_notional=ZERO,
    orders=200,
    stops=10,
    band_up=Decimal("1.05"),
    band_down=Decimal("0.95"),
)
_made: dict[tuple[Market, str], MarketLimits] = {}


def limits_of(instrument: Instrument) -> MarketLimits:
    """Return what the clearing house enforces of an instrument's limits; they never change."""
    key = (instrument.market, instrument.symbol)
    made = _made.get(key)
    if made is None:
        limits = SPOT if instrument.market is Market.SPOT else USDM
        made = _made[key] = MarketLimits(
            max_lots=_steps(limits.max_quantity, instrument.quantity),
            max_market_lots=_steps(limits.max_market_quantity, instrument.quantity),
            min_notional=limits.min_notional,
            min_price=1,
            max_price=_steps(limits.max_price, instrument.price),
        )
    return made


def _steps(units: int, scale: Scale) -> int:
    one: int = 10**scale.decimals
    return units * one // scale.step
