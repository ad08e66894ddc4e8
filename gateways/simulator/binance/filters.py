"""The exchange information of both Binance markets, in the venue's full shape."""

from typing import Any

from gateways.simulator.binance.dialect import Dialect
from gateways.simulator.binance.limits import SPOT, USDM
from gateways.simulator.binance.source import Source
from gateways.simulator.instruments import Instrument, Listing, Scale, decimal_text

_SPOT_ORDER_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
_SPOT_ALLOWED = (
    "icebergAllowed",
    "ocoAllowed",
    "otoAllowed",
    "opoAllowed",
    "quoteOrderQtyMarketAllowed",
    "allowTrailingStop",
    "cancelReplaceAllowed",
    "amendAllowed",
    "pegInstructionsAllowed",
    "isSpotTradingAllowed",
    "isMarginTradingAllowed",
)
_SPOT_PREVENTION = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "NONE")
_ONBOARDED_MS = 1_569_398_400_000
_NEVER_MS = 4_133_404_800_000


def exchange_info(dialect: Dialect, source: Source, now_ms: int) -> dict[str, Any]:
    """Return the body of ``exchangeInfo`` for all instruments of a source."""
    recorded: dict[str, Any] | None = getattr(source, "exchange_info", None)
    if recorded is not None:
        served = [entry for entry in recorded["symbols"] if entry["symbol"] in source.instruments]
        return recorded | {"serverTime": now_ms, "symbols": served}
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, dialect.weight_per_minute)]
    limits += [("ORDERS", each.interval, each.number, each.limit) for each in dialect.order_limits]
    if not dialect.futures:
        limits.append(("RAW_REQUESTS", "MINUTE", 5, 61_000))
    describe = _futures if dialect.futures else _spot
    info: dict[str, Any] = {"timezone": "UTC", "serverTime": now_ms}
    if dialect.futures:
        info["futuresType"] = "U_MARGINED"
    info["rateLimits"] = [
        {"rateLimitType": kind, "interval": unit, "intervalNum": count, "limit": limit}
        for kind, unit, count, limit in limits
    ]
    info["exchangeFilters"] = []
    if dialect.futures:
        quotes = sorted({instrument.quote for instrument in source.instruments.values()})
        info["assets"] = [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"}
            for asset in quotes
        ]
    info["symbols"] = [describe(instrument) for instrument in source.instruments.values()]
    return info


def _step(scale: Scale) -> str:
    return decimal_text(scale.step, scale.decimals)


def _whole(value: int, scale: Scale) -> str:
    return decimal_text(value * 10**scale.decimals, scale.decimals)


def _spot(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "status": "TRADING" if instrument.listing is Listing.TRADING else "BREAK",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(_SPOT_ORDER_TYPES),
        **dict.fromkeys(_SPOT_ALLOWED, True),
        "filters": _spot_filters(instrument.tick, instrument.quantity),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": list(_SPOT_PREVENTION),
    }


def _spot_filters(price: Scale, quantity: Scale) -> list[dict[str, Any]]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": _step(price),
            "maxPrice": _whole(SPOT.max_price, price),
            "tickSize": _step(price),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": _step(quantity),
            "maxQty": _whole(SPOT.max_quantity, quantity),
            "stepSize": _step(quantity),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": _whole(SPOT.max_market_quantity, quantity),
            "stepSize": "0.00000000",
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": str(SPOT.band_up),
            "bidMultiplierDown": str(SPOT.band_down),
            "askMultiplierUp": str(SPOT.band_up),
            "askMultiplierDown": str(SPOT.band_down),
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": f"{SPOT.min_notional:.8f}",
            "applyMinToMarket": True,
            "maxNotional": f"{SPOT.max_notional:.8f}",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": SPOT.orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": SPOT.stops},
    ]


def _futures(instrument: Instrument) -> dict[str, Any]:
    price, quantity = instrument.price, instrument.quantity
    lots = {"minQty": _step(quantity), "stepSize": _step(quantity)}
    return {
        "symbol": instrument.symbol,
        "pair": instrument.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER_MS,
        "onboardDate": _ONBOARDED_MS,
        "status": "TRADING" if instrument.listing is Listing.TRADING else "SETTLING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": instrument.quote,
        "pricePrecision": price.decimals,
        "quantityPrecision": quantity.decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10_000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _step(price),
                "maxPrice": _whole(USDM.max_price, price),
                "tickSize": _step(instrument.tick),
            },
            {"filterType": "LOT_SIZE", "maxQty": str(USDM.max_quantity), **lots},
            {
                "filterType": "MARKET_LOT_SIZE",
                "maxQty": str(USDM.max_market_quantity),
                **lots,
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": USDM.orders},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": USDM.stops},
            {"filterType": "MIN_NOTIONAL", "notional": str(USDM.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": f"{USDM.band_up:.4f}",
                "multiplierDown": f"{USDM.band_down:.4f}",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }
