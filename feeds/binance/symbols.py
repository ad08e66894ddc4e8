"""Binance's exchange information: instruments, decimals, unified symbols.

Prices and quantities are kept in the decimals of the tick and the lot. USDⓈ-M also states a
precision that may be finer than the tick (orders placed before a tick was made coarser stay in the
book at their old prices): the larger of the two counts.
"""

from typing import Any

from feeds.adapter import VALUE_DECIMALS, InstrumentFields
from feeds.listing import decimals_of, mantissa, read_listing, unified_symbol
from feeds.types import Kind, Status

CONTRACT_VALUE_ONE = 10**VALUE_DECIMALS
"""Spot and USDⓈ-M quantities are base units: a contract is worth one."""

STATUS = {
    "TRADING": Status.TRADING,
    "BREAK": Status.HALTED,
    "HALT": Status.HALTED,
    "END_OF_DAY": Status.HALTED,
    "PRE_TRADING": Status.HALTED,
    "POST_TRADING": Status.HALTED,
    "AUCTION_MATCH": Status.HALTED,
    "PENDING_TRADING": Status.HALTED,
    "PRE_SETTLE": Status.HALTED,
    "SETTLING": Status.HALTED,
    "PRE_DELIVERING": Status.HALTED,
    "DELIVERING": Status.HALTED,
    "DELIVERED": Status.DELISTED,
    "CLOSE": Status.DELISTED,
}


def _filters(symbol: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["filterType"]: each for each in symbol.get("filters", [])}


def _instrument(symbol: dict[str, Any], futures: bool) -> InstrumentFields:
    filters = _filters(symbol)
    price, lot = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    tick_size, step_size = str(price.get("tickSize", "0")), str(lot.get("stepSize", "0"))
    price_decimals, quantity_decimals = decimals_of(tick_size), decimals_of(step_size)
    if futures:
        price_decimals = max(price_decimals, int(symbol.get("pricePrecision", 0)))
        quantity_decimals = max(quantity_decimals, int(symbol.get("quantityPrecision", 0)))
    kind, settle = Kind.SPOT, ""
    if futures:
        perpetual = "PERPETUAL" in symbol.get("contractType", "")
        kind = Kind.LINEAR_PERPETUAL if perpetual else Kind.LINEAR_FUTURE
        settle = symbol.get("marginAsset", symbol["quoteAsset"])
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    least = str(notional.get("minNotional", notional.get("notional", "0")))
    base, quote, native = symbol["baseAsset"], symbol["quoteAsset"], symbol["symbol"]
    delivery = native.rpartition("_")[2] if kind == Kind.LINEAR_FUTURE and "_" in native else ""
    return InstrumentFields(
        native=native,
        symbol=unified_symbol(base, quote, settle, delivery),
        base=base,
        quote=quote,
        settle=settle,
        kind=int(kind),
        status=int(STATUS.get(symbol.get("status", ""), Status.UNKNOWN)),
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        tick=mantissa(tick_size, price_decimals),
        lot=mantissa(step_size, quantity_decimals),
        contract_value=CONTRACT_VALUE_ONE,
        minimum_quantity=mantissa(str(lot.get("minQty", "0")), quantity_decimals),
        maximum_quantity=mantissa(str(lot.get("maxQty", "0")), quantity_decimals),
        minimum_notional=mantissa(least, VALUE_DECIMALS),
    )


def parse_exchange_info(body: bytes, *, futures: bool) -> list[InstrumentFields]:
    """Return the instruments of ``exchangeInfo`` in their order.

    Raises
    ------
    ValueError
        If ``body`` is not exchange information.

    """
    return read_listing(
        body, "Binance", lambda answer: [_instrument(each, futures) for each in answer["symbols"]]
    )
