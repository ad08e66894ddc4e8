"""OKX's words and rows as ours: orders, algo orders, trades, balances, positions.

Sources, read 2026-11: the API v5 guide, "Order book trading" (order and fill details, algo orders),
"Trading account" (balance, positions). The rows of channels and of queries are the same. What
counts:

* ``fillFee`` and ``fee`` are negative where we pay; ``fee`` is the order's sum.
* An order that a trigger made carries its algo order's ids beside its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.common import OrderType, TimeInForce
from gateways.dialects import BY_USER
from gateways.message import Instrument, Update
from gateways.numbers import amount, average, balance, to_mantissa, trade_number
from gateways.okx.errors import cancel_reason, classify
from gateways.okx.requests import ALGO
from gateways.types import (
    Liquidity,
    MarginMode,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
)

Json = dict[str, Any]
Instruments = Mapping[str, Instrument]

MS = 1_000_000
SIDES = {"buy": 1, "sell": -1}
POSITIONS = {"long": 1, "short": -1}
MODES = {"cash": MarginMode.CASH, "cross": MarginMode.CROSS, "isolated": MarginMode.ISOLATED}
TYPES = {
    "market": (OrderType.MARKET, 0),
    "limit": (OrderType.LIMIT, TimeInForce.GTC),
    "post_only": (OrderType.LIMIT, TimeInForce.POST_ONLY),
    "mmp": (OrderType.LIMIT, TimeInForce.GTC),
    "mmp_and_post_only": (OrderType.LIMIT, TimeInForce.POST_ONLY),
    "elp": (OrderType.LIMIT, TimeInForce.POST_ONLY),
    "ioc": (OrderType.LIMIT, TimeInForce.IOC),
    "fok": (OrderType.LIMIT, TimeInForce.FOK),
    "optimal_limit_ioc": (OrderType.MARKET, TimeInForce.IOC),
}
STATES = {
    "live": OrderStatus.OPEN,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "mmp_canceled": OrderStatus.CANCELED,
}
FORCED = {
    "full_liquidation": Reason.LIQUIDATION,
    "partial_liquidation": Reason.LIQUIDATION,
    "adl": Reason.DELEVERAGING,
    "delivery": Reason.SETTLEMENT,
}
LIQUIDITY = {"T": Liquidity.TAKER, "M": Liquidity.MAKER}
ALGO_STATES = {
    "live": OrderStatus.UNTRIGGERED,
    "pause": OrderStatus.UNTRIGGERED,
    "partially_effective": OrderStatus.OPEN,
    "effective": OrderStatus.OPEN,
    "canceled": OrderStatus.CANCELED,
    "order_failed": OrderStatus.REJECTED,
    "partially_failed": OrderStatus.REJECTED,
}


def order(row: Json, instrument: Instrument, kind: ReportKind) -> Update:
    """Return what a row of the orders channel or of an order query says of the order."""
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals
    order_type, tif = TYPES.get(row["ordType"], (0, 0))
    state = row["state"]
    update = Update(
        kind=kind,
        client_text=row.get("clOrdId") or row.get("algoClOrdId") or "",
        venue_id=row["ordId"],
        instrument=instrument.row,
        exchange_ns=int(row["uTime"]) * MS,
        price=to_mantissa(row.get("px") or "", prices),
        filled=to_mantissa(row.get("accFillSz") or "", quantities),
        average_price=average(row.get("avgPx") or "", prices),
        status=STATES.get(state, OrderStatus.NONE),
        side=SIDES[row["side"]],
        order_type=order_type,
        time_in_force=tif,
        position_side=POSITIONS.get(row.get("posSide") or "", 0),
        margin_mode=MODES.get(row.get("tdMode") or "", MarginMode.NONE),
    )
    if not _in_quote(row, row["ordType"] == "market"):
        update.quantity = to_mantissa(row["sz"], quantities)
    if row.get("reduceOnly") in ("true", True):
        update.flags |= ReportFlag.REDUCE_ONLY
    category = row.get("category")
    if category != "normal" and category in FORCED:
        update.flags |= ReportFlag.FORCED
        update.reason = FORCED[category]
    if update.status == OrderStatus.CANCELED:
        _end(update, row)
    return update


def _in_quote(row: Json, market: bool) -> bool:
    """Return whether an order's size is an amount of the quote currency.

    Spot market buys are by default; what was sold, and limit orders, are in the base currency.
    """
    target = row.get("tgtCcy") or ""
    if target or not market or row.get("instType") != "SPOT":
        return target == "quote_ccy"
    return bool(row["side"] == "buy")


def _end(update: Update, row: Json) -> None:
    """Say why an order was canceled: by us, or else it expired."""
    reason = cancel_reason(row.get("cancelSource") or "", row["ordType"])
    if update.reason is Reason.NONE:
        update.reason = reason
    if update.reason not in BY_USER:
        update.status = OrderStatus.EXPIRED


def fill(row: Json, instrument: Instrument) -> Update:
    update = order(row, instrument, ReportKind.FILL)
    if update.status in (OrderStatus.CANCELED, OrderStatus.EXPIRED):
        # Its end is an event of its own, which follows.
        update.status, update.reason = OrderStatus.PARTIALLY_FILLED, Reason.NONE
    update.last_price = to_mantissa(row["fillPx"], instrument.price_decimals)
    update.last_quantity = to_mantissa(row["fillSz"], instrument.quantity_decimals)
    update.trade_id = trade_number(row["tradeId"])
    update.liquidity = LIQUIDITY.get(row.get("execType") or "", Liquidity.NONE)
    if filled_ms := row.get("fillTime"):
        update.exchange_ns = int(filled_ms) * MS
    fee = row.get("fillFee")
    if fee is not None:
        update.asset = row.get("fillFeeCcy") or row.get("feeCcy") or ""
    elif row["fillSz"] == row.get("accFillSz"):
        # Without a fee of the trade: the order's, where this is its only trade.
        fee, update.asset = row.get("fee"), row.get("feeCcy") or ""
    paid, update.decimals = amount(fee or "")
    update.fee = -paid
    return update


def algo_order(row: Json, instrument: Instrument) -> Update:
    """Return what is said of an order that waits for its trigger (or has triggered)."""
    prices = instrument.price_decimals
    trigger = row.get("triggerPx") or row.get("slTriggerPx") or row.get("tpTriggerPx") or ""
    price = row.get("ordPx") or row.get("orderPx") or row.get("slOrdPx") or row.get("tpOrdPx") or ""
    market = not price or price.startswith("-")
    update = Update(
        kind=ReportKind.STATUS,
        client_text=row.get("algoClOrdId") or row.get("clOrdId") or "",
        venue_id=ALGO + row["algoId"],
        instrument=instrument.row,
        exchange_ns=int(row.get("uTime") or row["cTime"]) * MS,
        price=0 if market else to_mantissa(price, prices),
        stop_price=to_mantissa(trigger, prices),
        status=ALGO_STATES.get(row["state"], OrderStatus.NONE),
        side=SIDES[row["side"]],
        order_type=OrderType.STOP_MARKET if market else OrderType.STOP_LIMIT,
        position_side=POSITIONS.get(row.get("posSide") or "", 0),
        margin_mode=MODES.get(row.get("tdMode") or "", MarginMode.NONE),
    )
    if not _in_quote(row, market):
        update.quantity = to_mantissa(row.get("sz") or "", instrument.quantity_decimals)
    if row.get("reduceOnly") in ("true", True):
        update.flags |= ReportFlag.REDUCE_ONLY
    if update.status == OrderStatus.CANCELED:
        update.reason = Reason.REQUESTED
    elif update.status == OrderStatus.REJECTED:
        update.venue_code = int(row.get("failCode") or 0)
        update.reason = classify(update.venue_code)[1] if update.venue_code else Reason.OTHER
    elif update.status == OrderStatus.OPEN and row.get("ordId"):
        update.venue_id = row["ordId"]
    return update


def balances(data: Sequence[Json], instruments: Instruments) -> list[Update]:
    """Return the account's balances: cash, and what of it is not locked."""
    events: list[Update] = []
    for account in data:
        for row in account.get("details") or ():
            available = row.get("availBal") or row.get("availEq") or ""
            total, free, decimals = balance(row["cashBal"], available)
            update = Update(kind=ReportKind.BALANCE, asset=row["ccy"], quantity=total)
            update.available, update.decimals = free, decimals
            update.exchange_ns = int(row.get("uTime") or account.get("uTime") or 0) * MS
            events.append(update)
    return events


def positions(data: Sequence[Json], instruments: Instruments) -> list[Update]:
    """Return positions, signed; margin positions of spot pairs are loans and left out."""
    events: list[Update] = []
    for row in data:
        instrument = instruments.get(row["instId"])
        if instrument is None or row.get("instType") == "MARGIN":
            continue
        quantity = to_mantissa(row.get("pos") or "", instrument.quantity_decimals)
        side = POSITIONS.get(row.get("posSide") or "", 0)
        update = Update(kind=ReportKind.POSITION, instrument=instrument.row)
        # In hedge mode both sides are told as positive numbers.
        update.quantity = side * abs(quantity) if side else quantity
        update.position_side = side
        update.average_price = average(row.get("avgPx") or "", instrument.price_decimals)
        update.margin_mode = MODES.get(row.get("mgnMode") or "", MarginMode.NONE)
        update.exchange_ns = int(row.get("uTime") or 0) * MS
        events.append(update)
    return events
