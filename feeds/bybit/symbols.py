"""Bybit's instrument lists: instruments, decimals, unified symbols.

Prices and quantities are kept in the decimals of the tick and the lot; the price scale that
contracts state may be finer than the tick, then it counts. Quantities of linear contracts are base
units (a contract is worth one); those of inverse contracts are US dollars: a contract is worth one
unit of the quote currency, which is what ``contract_value`` says of them. Options are left out.
"""

from datetime import UTC, datetime
from typing import Any

from feeds.adapter import VALUE_DECIMALS, InstrumentFields
from feeds.listing import decimals_of, mantissa, read_listing, unified_symbol
from feeds.types import Kind, Status

CONTRACT_VALUE_ONE = 10**VALUE_DECIMALS
"""One base unit (spot, linear) or one US dollar (inverse)."""

KINDS = {
    "LinearPerpetual": Kind.LINEAR_PERPETUAL,
    "LinearFutures": Kind.LINEAR_FUTURE,
    "InversePerpetual": Kind.INVERSE_PERPETUAL,
    "InverseFutures": Kind.INVERSE_FUTURE,
}
"""Of ``contractType``; spot has none."""

FUTURES = (Kind.LINEAR_FUTURE, Kind.INVERSE_FUTURE)
INVERSE = (Kind.INVERSE_PERPETUAL, Kind.INVERSE_FUTURE)

STATUS = {
    "Trading": Status.TRADING,
    "PreLaunch": Status.HALTED,
    "Settling": Status.HALTED,
    "Delivering": Status.HALTED,
    "Closed": Status.DELISTED,
}
"""``PreLaunch`` has auctions and no feed until its market opens; until then it is no market."""


def _covered(symbol: dict[str, Any]) -> bool:
    """Return whether an instrument is of a kind that a record stands for."""
    return "optionsType" not in symbol and symbol.get("contractType", "LinearFutures") in KINDS


def _delivery(symbol: dict[str, Any]) -> str:
    """Return the day of delivery, UTC, ``YYMMDD``."""
    when = datetime.fromtimestamp(int(symbol["deliveryTime"]) / 1000, UTC)
    return when.strftime("%y%m%d")


def _instrument(symbol: dict[str, Any]) -> InstrumentFields:
    lot = symbol["lotSizeFilter"]
    tick_size = str(symbol["priceFilter"]["tickSize"])
    base, quote = symbol["baseCoin"], symbol["quoteCoin"]
    price_decimals, kind, settle, delivery = decimals_of(tick_size), Kind.SPOT, "", ""
    if "contractType" in symbol:
        kind = KINDS[symbol["contractType"]]
        settle = symbol.get("settleCoin") or (base if kind in INVERSE else quote)
        delivery = _delivery(symbol) if kind in FUTURES else ""
        price_decimals = max(price_decimals, int(symbol.get("priceScale") or 0))
    step_size = str(lot.get("qtyStep") or lot["basePrecision"])
    quantity_decimals = decimals_of(step_size)
    most = lot.get("maxLimitOrderQty") or lot.get("maxOrderQty") or "0"
    least = lot.get("minNotionalValue") or lot.get("minOrderAmt") or "0"
    return InstrumentFields(
        native=symbol["symbol"],
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
        minimum_quantity=mantissa(str(lot.get("minOrderQty", "0")), quantity_decimals),
        maximum_quantity=mantissa(str(most), quantity_decimals),
        minimum_notional=mantissa(str(least), VALUE_DECIMALS),
    )


def parse_instruments(body: bytes) -> list[InstrumentFields]:
    """Return the instruments of a page of ``instruments-info``, of any category, in their order.

    Raises
    ------
    ValueError
        If ``body`` is not an instrument list, or an error's answer.

    """
    return read_listing(body, "Bybit", _listed)


def _listed(answer: dict[str, Any]) -> list[InstrumentFields]:
    if answer["retCode"] != 0:
        raise ValueError(f"Bybit refuses: {answer['retCode']} {answer.get('retMsg')}")
    return [_instrument(each) for each in answer["result"]["list"] if _covered(each)]
