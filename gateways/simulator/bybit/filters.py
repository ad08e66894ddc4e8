"""The instrument lists of Bybit, in the venue's full shape."""

from decimal import Decimal
from typing import Any

from gateways.simulator.instruments import (
    Instrument,
    Listing,
    Market,
    Scale,
    decimal_text,
)
from gateways.simulator.margin import units_of
from gateways.simulator.rules import MarketLimits

_LAUNCHED_MS = "1585526400000"
SPOT_MOST, SPOT_MARKET_MOST = 1700, 850
CONTRACT_MOST, CONTRACT_MARKET_MOST = 1_000_000, 500_000
NOTIONAL_LEAST = 5
"""In the quote currency."""
QUOTE_DECIMALS = 7


_limits: dict[tuple[Market, str], MarketLimits] = {}


def limits_of(instrument: Instrument) -> MarketLimits:
    """Return what the clearing house enforces: what the instrument lists say."""
    key = (instrument.market, instrument.symbol)
    limits = _limits.get(key)
    if limits is None:
        limits = _limits[key] = _make_limits(instrument)
    return limits


def _make_limits(instrument: Instrument) -> MarketLimits:
    lot = units_of(instrument).lot
    spot = instrument.market is Market.SPOT
    most = SPOT_MOST if spot else CONTRACT_MOST
    market_most = SPOT_MARKET_MOST if spot else CONTRACT_MARKET_MOST
    return MarketLimits(
        min_lots=1,
        max_lots=int(most / lot),
        max_market_lots=int(market_most / lot),
        min_notional=Decimal(NOTIONAL_LEAST),
        min_price=1,
        max_price=0 if spot else _highest(instrument) // instrument.price.step,
    )


def _highest(instrument: Instrument) -> int:
    """Return the highest price of a contract, as a mantissa."""
    unit: int = 10**instrument.price.decimals
    return 2_000_000 * unit - 2


def describe_instrument(instrument: Instrument) -> dict[str, Any]:
    """Return one entry of ``/v5/market/instruments-info``."""
    return _spot(instrument) if instrument.market is Market.SPOT else _contract(instrument)


def _step(scale: Scale) -> str:
    return decimal_text(scale.step, scale.decimals)


def _status(instrument: Instrument) -> str:
    return "Trading" if instrument.listing is Listing.TRADING else "Closed"


def _spot(instrument: Instrument) -> dict[str, Any]:
    lot = _step(instrument.quantity)
    return {
        "symbol": instrument.symbol,
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "innovation": "0",
        "status": _status(instrument),
        "marginTrading": "utaOnly",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": lot,
            "quotePrecision": decimal_text(1, QUOTE_DECIMALS),
            "minOrderQty": lot,
            "maxOrderQty": str(SPOT_MOST),
            "minOrderAmt": str(NOTIONAL_LEAST),
            "maxOrderAmt": "8000000",
            "maxLimitOrderQty": str(SPOT_MOST),
            "maxMarketOrderQty": str(SPOT_MARKET_MOST),
        },
        "priceFilter": {"tickSize": _step(instrument.tick)},
        "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        "symbolType": "",
    }


def _contract(instrument: Instrument) -> dict[str, Any]:
    price, lot = instrument.price, _step(instrument.quantity)
    inverse = instrument.market is Market.INVERSE
    return {
        "symbol": instrument.symbol,
        "contractType": "InversePerpetual" if inverse else "LinearPerpetual",
        "status": _status(instrument),
        "baseCoin": instrument.base,
        "quoteCoin": instrument.quote,
        "launchTime": _LAUNCHED_MS,
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(price.decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": _step(price),
            "maxPrice": decimal_text(_highest(instrument), price.decimals),
            "tickSize": _step(instrument.tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": str(CONTRACT_MOST),
            "minOrderQty": lot,
            "qtyStep": lot,
            "postOnlyMaxOrderQty": str(CONTRACT_MOST),
            "maxMktOrderQty": str(CONTRACT_MARKET_MOST),
            "minNotionalValue": str(NOTIONAL_LEAST),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": instrument.settle,
        "copyTrading": "none" if inverse else "both",
        "upperFundingRate": "0.003",
        "lowerFundingRate": "-0.003",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        "displayName": "",
        "symbolType": "",
    }
