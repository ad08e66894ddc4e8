"""Binance's words as ours: sides, types, states, reasons; and amounts as integers.

Sources: developers.binance.com, spot "Enums", "User data streams" (expiry reasons); USDⓈ-M "Common
definition", "Event: order update" (expiry reasons), "Event: algo order update" (states).
"""

from collections.abc import Mapping
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.message import Instrument, Update
from gateways.numbers import LARGEST, amount
from gateways.types import AVERAGE_DECIMALS, OrderStatus, PositionSide, Reason, ReportKind

Json = dict[str, Any]
Instruments = Mapping[str, Instrument]
Amount = tuple[int, int]
"""Mantissa and decimals (``gateways.numbers.amount``)."""

SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "STOP": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "STOP_LOSS": OrderType.STOP_MARKET,
    "STOP_LOSS_LIMIT": OrderType.STOP_LIMIT,
    "TRAILING_STOP_MARKET": OrderType.STOP_MARKET,
    "LIQUIDATION": OrderType.MARKET,
}
"""TAKE_PROFIT is a market order on spot and a limit order on USDⓈ-M: see ``order_type_of``."""
_TAKE_PROFIT = {
    "TAKE_PROFIT_LIMIT": (OrderType.STOP_LIMIT, OrderType.STOP_LIMIT),
    "TAKE_PROFIT_MARKET": (OrderType.STOP_MARKET, OrderType.STOP_MARKET),
    "TAKE_PROFIT": (OrderType.STOP_MARKET, OrderType.STOP_LIMIT),
}
TIMES = {
    "GTC": TimeInForce.GTC,
    "GTE_GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "GTD": TimeInForce.GTD,
    "GTX": TimeInForce.POST_ONLY,
    "RPI": TimeInForce.POST_ONLY,
}
STATUS = {
    "NEW": OrderStatus.OPEN,
    "PENDING_NEW": OrderStatus.ACCEPTED,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "PENDING_CANCEL": OrderStatus.OPEN,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
ENDS: dict[int, ReportKind] = {
    OrderStatus.CANCELED: ReportKind.CANCELED,
    OrderStatus.EXPIRED: ReportKind.EXPIRED,
    OrderStatus.REJECTED: ReportKind.REJECTED,
}
STANDS: dict[int, ReportKind] = {
    OrderStatus.OPEN: ReportKind.OPEN,
    OrderStatus.PARTIALLY_FILLED: ReportKind.OPEN,
    OrderStatus.ACCEPTED: ReportKind.ACCEPTED,
    OrderStatus.UNTRIGGERED: ReportKind.ACCEPTED,
    OrderStatus.FILLED: ReportKind.ACCEPTED,
    **ENDS,
}
"""What an answer's status is told as: FILLED is told by its trades, so here only as ACCEPTED."""
STOPS = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
POSITION_SIDES = {"LONG": PositionSide.LONG, "SHORT": PositionSide.SHORT}
_EXPIRY = {
    "REJECTED": Reason.OTHER,
    "EXCHANGE_CANCELED": Reason.SYSTEM,
    "UNFILLED_IOC_QUANTITY_EXPIRED": Reason.IMMEDIATE,
    "UNFILLED_FOK_ORDER_EXPIRED": Reason.FILL_OR_KILL,
    "INSUFFICIENT_LIQUIDITY": Reason.IMMEDIATE,
    "EXECUTION_RULE_PRICE_RANGE_EXCEEDED": Reason.PRICE_BAND,
    "1": Reason.SELF_TRADE,
    "3": Reason.SELF_TRADE,
    "4": Reason.REDUCE_ONLY,
    "5": Reason.LIQUIDATION,
    "7": Reason.DELISTED,
}
"""Expiry reasons that say more than the order's own terms: words on spot, numbers on USDⓈ-M."""
_EXPIRES_BY_TERMS: dict[int, Reason] = {
    TimeInForce.IOC: Reason.IMMEDIATE,
    TimeInForce.FOK: Reason.FILL_OR_KILL,
    TimeInForce.GTD: Reason.TIME,
    TimeInForce.POST_ONLY: Reason.POST_ONLY,
}
_ALGO_STATES = {
    "NEW": (ReportKind.ACCEPTED, OrderStatus.UNTRIGGERED, Reason.NONE),
    "TRIGGERING": (ReportKind.TRIGGERED, OrderStatus.UNTRIGGERED, Reason.NONE),
    "TRIGGERED": (ReportKind.TRIGGERED, OrderStatus.ACCEPTED, Reason.NONE),
    # What became of it is told by the order that it turned into.
    "FINISHED": (ReportKind.TRIGGERED, OrderStatus.ACCEPTED, Reason.NONE),
    "CANCELED": (ReportKind.CANCELED, OrderStatus.CANCELED, Reason.REQUESTED),
    "EXPIRED": (ReportKind.EXPIRED, OrderStatus.EXPIRED, Reason.SYSTEM),
    "REJECTED": (ReportKind.REJECTED, OrderStatus.REJECTED, Reason.OTHER),
}


def order_type_of(text: str, futures: bool) -> int:
    """Return the ``OrderType`` of a venue's order type; 0 for one that we have no word for."""
    found = TYPES.get(text)
    if found is None:
        pair = _TAKE_PROFIT.get(text)
        return pair[futures] if pair else 0
    return found


def time_in_force_of(text: str, order_type: str) -> int:
    """Return the ``TimeInForce`` of an order; spot says post-only by the order's type."""
    return TimeInForce.POST_ONLY if order_type == "LIMIT_MAKER" else TIMES.get(text, 0)


def status_of(filled: int, quantity: int) -> OrderStatus:
    """Return the status of an order that has not been canceled, from its quantities."""
    if filled >= quantity:
        return OrderStatus.FILLED
    return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.OPEN


def algo_state(state: str) -> tuple[ReportKind, OrderStatus, Reason]:
    """Return what a conditional order's state is told as; ValueError for an unknown one."""
    found = _ALGO_STATES.get(state)
    if found is None:
        raise ValueError(f"a conditional order in an unknown state, {str(state)[:40]!r}")
    return found


def end_reason(o: Json, update: Update) -> Reason:
    """Return why an order expired: what the venue says, else what its terms say."""
    if o["X"] == "EXPIRED_IN_MATCH":
        return Reason.SELF_TRADE
    if update.status == OrderStatus.CANCELED:
        return Reason.NONE
    told = _EXPIRY.get(str(o.get("eR") or o.get("er") or ""))
    if told is not None:
        return told
    if update.order_type == OrderType.MARKET:
        return Reason.IMMEDIATE
    return _EXPIRES_BY_TERMS.get(update.time_in_force, Reason.SYSTEM)


def mean(cost: str, filled: int, decimals: int, price_decimals: int) -> int:
    """Return the average price of ``filled`` for ``cost``, rounded half even; 0 if too large."""
    value, value_decimals = amount(cost)
    divisor = filled * 10**value_decimals
    whole, rest = divmod(value * 10 ** (price_decimals + AVERAGE_DECIMALS + decimals), divisor)
    if 2 * rest > divisor or (2 * rest == divisor and whole & 1):
        whole += 1
    return whole if whole <= LARGEST else 0


def _common(one: Amount, other: Amount) -> tuple[int, int, int]:
    """Return two mantissas of the same decimals, and those decimals."""
    decimals = max(one[1], other[1])
    return (
        one[0] * 10 ** (decimals - one[1]),
        other[0] * 10 ** (decimals - other[1]),
        decimals,
    )


def balance(asset: str, whole: Amount, free: Amount, time_ms: int) -> Update:
    """Return a balance, in as many decimals as both amounts need."""
    quantity, available, decimals = _common(whole, free)
    return Update(
        kind=ReportKind.BALANCE,
        exchange_ns=time_ms * 1_000_000,
        quantity=quantity,
        available=available,
        decimals=decimals,
        asset=asset,
    )


def add(one: Amount, other: Amount) -> Amount:
    """Return the sum of two amounts."""
    first, second, decimals = _common(one, other)
    return first + second, decimals
