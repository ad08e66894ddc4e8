"""Bybit's words and rows as ours: orders, executions, balances, positions.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Order", "Execution", "Position", "Wallet"
(private WebSocket), "Get Open & Closed Orders", "Get Trade History", "Enums Definitions". The rows
of topics and of queries are the same. Trades come as executions, never as orders; funding and
settlements are executions too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.common import OrderType, TimeInForce
from gateways.bybit.errors import end_reason
from gateways.dialects import BY_USER, SPOT
from gateways.message import Instrument, Update
from gateways.numbers import amount, average, balance, to_mantissa, trade_number
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
SIDES = {"Buy": 1, "Sell": -1}
POSITIONS = {0: 0, 1: 1, 2: -1}
TIFS = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
    "RPI": TimeInForce.POST_ONLY,
}
STATES = {
    "Created": OrderStatus.ACCEPTED,
    "New": OrderStatus.OPEN,
    "Triggered": OrderStatus.OPEN,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "PartiallyFilledCanceled": OrderStatus.CANCELED,
    "Deactivated": OrderStatus.CANCELED,
    "Rejected": OrderStatus.REJECTED,
    "Untriggered": OrderStatus.UNTRIGGERED,
}
FORCED = {
    "AdlTrade": Reason.DELEVERAGING,
    "BustTrade": Reason.LIQUIDATION,
    "Delivery": Reason.SETTLEMENT,
    "Settle": Reason.SETTLEMENT,
}
TRADES = frozenset({"Trade", "BlockTrade", "MovePosition", "FutureSpread", *FORCED})
LIQUIDITY: dict[bool | None, Liquidity] = {True: Liquidity.MAKER, False: Liquidity.TAKER}
FORCED_ORDERS = {
    "CreateByLiq": Reason.LIQUIDATION,
    "CreateByTakeOver_PassThrough": Reason.LIQUIDATION,
    "CreateByAdl_PassThrough": Reason.DELEVERAGING,
    "CreateBySettle": Reason.SETTLEMENT,
}


def order(row: Json, instrument: Instrument) -> Update:
    """Return what a row of the order topic or of an order query says, as STATUS."""
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals
    market = row["orderType"] == "Market"
    tif = row.get("timeInForce") or ""
    update = Update(
        kind=ReportKind.STATUS,
        client_text=row.get("orderLinkId") or "",
        venue_id=row["orderId"],
        instrument=instrument.row,
        exchange_ns=int(row.get("updatedTime") or row["createdTime"]) * MS,
        # A market order's is the bound of its slippage.
        price=0 if market else to_mantissa(row.get("price") or "", prices),
        filled=to_mantissa(row.get("cumExecQty") or "", quantities),
        average_price=average(row.get("avgPrice") or "", prices),
        stop_price=to_mantissa(row.get("triggerPrice") or "", prices),
        status=STATES.get(row["orderStatus"], OrderStatus.NONE),
        side=SIDES[row["side"]],
        order_type=OrderType.MARKET if market else OrderType.LIMIT,
        time_in_force=TIFS.get(tif, 0),
        position_side=POSITIONS.get(row.get("positionIdx") or 0, 0),
    )
    if update.status == OrderStatus.UNTRIGGERED:
        update.order_type = OrderType.STOP_MARKET if market else OrderType.STOP_LIMIT
    if not _in_quote(row, instrument, market):
        update.quantity = to_mantissa(row["qty"], quantities)
    if row.get("reduceOnly") is True:
        update.flags |= ReportFlag.REDUCE_ONLY
    if forced := FORCED_ORDERS.get(row.get("createType") or ""):
        update.flags |= ReportFlag.FORCED
        update.reason = forced
    _end(update, row, tif)
    return update


def _in_quote(row: Json, instrument: Instrument, market: bool) -> bool:
    """Return whether an order's quantity is an amount of the quote currency."""
    if not market or instrument.kind != SPOT:
        return False
    unit = row.get("marketUnit") or ""
    return unit == "quoteCoin" or (not unit and row["side"] == "Buy")


def _end(update: Update, row: Json, tif: str) -> None:
    """Say why an order ended: by us, refused, or else it expired."""
    status = update.status
    if status != OrderStatus.CANCELED and status != OrderStatus.REJECTED:
        return
    cancel, reject = row.get("cancelType") or "", row.get("rejectReason") or ""
    reason = end_reason(cancel, reject, tif)
    if status == OrderStatus.REJECTED:
        update.text = reject
        update.reason = Reason.OTHER if reason is Reason.REQUESTED else reason
        if update.filled:
            # What was filled stays: refused is only the rest.
            update.status = OrderStatus.EXPIRED
        return
    if update.reason is Reason.NONE:
        update.reason = reason
    if update.reason not in BY_USER:
        update.status = OrderStatus.EXPIRED


# -- trades, funding, balances, positions ---------------------------------------------------------
def fill(row: Json, instrument: Instrument, kind: str) -> Update:
    quantities = instrument.quantity_decimals
    paid, decimals = amount(row.get("execFee") or "")
    update = Update(
        kind=ReportKind.FILL,
        client_text=row.get("orderLinkId") or "",
        venue_id=row["orderId"],
        instrument=instrument.row,
        exchange_ns=int(row["execTime"]) * MS,
        last_price=to_mantissa(row["execPrice"], instrument.price_decimals),
        last_quantity=to_mantissa(row["execQty"], quantities),
        trade_id=trade_number(row["execId"]),
        fee=paid,
        decimals=decimals,
        asset=row.get("feeCurrency") or _fee_asset(row, instrument),
        side=SIDES[row["side"]],
        liquidity=LIQUIDITY.get(row.get("isMaker"), Liquidity.NONE),
    )
    total, left = row.get("orderQty") or "", row.get("leavesQty") or ""
    market = row.get("orderType") == "Market"
    if total and left and not (market and instrument.kind == SPOT):
        update.quantity = to_mantissa(total, quantities)
        update.filled = max(0, update.quantity - to_mantissa(left, quantities))
    if kind in FORCED:
        update.flags |= ReportFlag.FORCED
        update.reason = FORCED[kind]
    return update


def _fee_asset(row: Json, instrument: Instrument) -> str:
    """Return the currency of a fee that the venue does not name.

    Contracts: what they settle in. Spot: what the trade brings in; a maker's rebate is paid in
    the other ("Spot Fee Currency Instruction").
    """
    if instrument.kind != SPOT:
        return instrument.settle
    rebate = bool(row.get("isMaker")) and str(row.get("feeRate") or "").startswith("-")
    bought = row["side"] == "Buy"
    return instrument.base if bought != rebate else instrument.quote


def funding(row: Json, instrument: Instrument) -> Update:
    paid, decimals = amount(row.get("execFee") or "")
    return Update(
        kind=ReportKind.FUNDING,
        instrument=instrument.row,
        exchange_ns=int(row["execTime"]) * MS,
        fee=paid,
        decimals=decimals,
        asset=row.get("feeCurrency") or instrument.settle,
        trade_id=trade_number(row["execId"]),
    )


def balances(data: Sequence[Json], time_ms: int) -> list[Update]:
    """Return the account's balances: what is there, and what of it is not locked."""
    updates = []
    for account in data:
        for row in account.get("coin") or ():
            free = row.get("availableToWithdraw") or row.get("free") or ""
            update = Update(kind=ReportKind.BALANCE, asset=row["coin"])
            if free:
                total, free, update.decimals = balance(row["walletBalance"], free)
            else:
                total, locked, update.decimals = balance(
                    row["walletBalance"], row.get("locked") or ""
                )
                free = total - locked
            update.quantity, update.available = total, free
            update.exchange_ns = time_ms * MS
            updates.append(update)
    return updates


def position(row: Json, instrument: Instrument) -> Update:
    side = SIDES.get(row.get("side") or "", 0)
    quantity = to_mantissa(row.get("size") or "", instrument.quantity_decimals)
    price = row.get("entryPrice") or row.get("avgPrice")
    return Update(
        kind=ReportKind.POSITION,
        instrument=instrument.row,
        exchange_ns=int(row.get("updatedTime") or 0) * MS,
        quantity=side * quantity,
        average_price=average(price or "", instrument.price_decimals),
        position_side=POSITIONS.get(row.get("positionIdx") or 0, 0),
        margin_mode=MarginMode.ISOLATED if row.get("tradeMode") else MarginMode.CROSS,
    )


def execution(row: Json, instrument: Instrument) -> Update | None:
    """Return a trade or a funding payment; None for executions of other kinds."""
    kind = row.get("execType") or "Trade"
    if kind == "Funding":
        return funding(row, instrument)
    return fill(row, instrument, kind) if kind in TRADES else None
