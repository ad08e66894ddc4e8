"""OKX's instruments: decimals, contract values, unified symbols.

Prices and quantities are kept in the decimals of the tick and the lot. Quantities of swaps and
futures are contracts. ``contract_value`` is what one contract stands for, a mantissa of 1e-8: base
units for linear contracts (0.01 BTC), quote units for inverse ones (100 USD).
"""

from datetime import UTC, datetime
from typing import Any

from feeds.adapter import VALUE_DECIMALS, InstrumentFields
from feeds.listing import decimals_of, mantissa, read_listing, unified_symbol
from feeds.types import Kind, Status

SPOT_VALUE = 10**VALUE_DECIMALS
"""Spot quantities are base units: a "contract" is worth one."""

KINDS = {
    ("SPOT", ""): Kind.SPOT,
    ("SWAP", "linear"): Kind.LINEAR_PERPETUAL,
    ("SWAP", "inverse"): Kind.INVERSE_PERPETUAL,
    ("FUTURES", "linear"): Kind.LINEAR_FUTURE,
    ("FUTURES", "inverse"): Kind.INVERSE_FUTURE,
}
"""(``instType``, ``ctType``) of what can be listed; options are not."""

STATUS = {
    "live": Status.TRADING,
    "preopen": Status.HALTED,
    "suspend": Status.HALTED,
    "rebase": Status.HALTED,
    "post_only": Status.HALTED,
    "settlement": Status.HALTED,
    "expired": Status.DELISTED,
}


def _delivery(instrument: dict[str, Any]) -> str:
    """Return a future's day of delivery, ``YYMMDD`` (UTC): of its time, else of its symbol."""
    expiry = instrument.get("expTime") or ""
    if not expiry:
        return str(instrument["instId"]).rpartition("-")[2]
    return datetime.fromtimestamp(int(expiry) // 1000, UTC).strftime("%y%m%d")


def _instrument(instrument: dict[str, Any], kind: Kind) -> InstrumentFields:
    tick, lot = instrument["tickSz"] or "0", instrument["lotSz"] or "0"
    price_decimals, quantity_decimals = decimals_of(tick), decimals_of(lot)
    delivery = ""
    if kind == Kind.SPOT:
        base, quote, settle = instrument["baseCcy"], instrument["quoteCcy"], ""
        value = SPOT_VALUE
    else:
        base, _, quote = instrument["uly"].partition("-")
        settle = instrument["settleCcy"]
        times = mantissa(instrument.get("ctMult") or "1", VALUE_DECIMALS)
        value = mantissa(instrument["ctVal"], VALUE_DECIMALS) * times // 10**VALUE_DECIMALS
        if kind in (Kind.LINEAR_FUTURE, Kind.INVERSE_FUTURE):
            delivery = _delivery(instrument)
    return InstrumentFields(
        native=instrument["instId"],
        symbol=unified_symbol(base, quote, settle, delivery),
        base=base,
        quote=quote,
        settle=settle,
        kind=int(kind),
        status=int(STATUS.get(instrument.get("state", ""), Status.UNKNOWN)),
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        tick=mantissa(tick, price_decimals),
        lot=mantissa(lot, quantity_decimals),
        contract_value=value,
        minimum_quantity=mantissa(instrument.get("minSz") or "0", quantity_decimals),
        maximum_quantity=mantissa(instrument.get("maxLmtSz") or "0", quantity_decimals),
        minimum_notional=0,
    )


def parse_exchange_info(body: bytes) -> list[InstrumentFields]:
    """Return the instruments of an answer in their order; options are left out.

    Raises
    ------
    ValueError
        If ``body`` is not a list of instruments.

    """
    return read_listing(body, "OKX", _listed)


def _listed(answer: dict[str, Any]) -> list[InstrumentFields]:
    if str(answer["code"]) != "0":  # An error without instruments must not look like an empty list.
        raise ValueError(f"OKX answers {answer['code']}: {answer.get('msg')}")
    kinds = [(each, KINDS.get((each["instType"], each["ctType"]))) for each in answer["data"]]
    return [_instrument(each, kind) for each, kind in kinds if kind is not None]
