"""What Bybit says to a refusal and at the end of an order, by our reasons.

Numbers and texts are those of the venue's list of error codes and of its enums (``docs/v5/error``,
``docs/v5/enum``); contracts and spot have codes of their own for the same reason.
"""

from dataclasses import dataclass

from gateways.simulator.account import Order, Refused, Status, Why
from gateways.simulator.rest import ApiError

PARAMETER = 10001
SIGNATURE = 10004
SERVER_TIMEOUT = 10000
"""The venue itself cannot say whether the request has taken effect."""
TOO_MANY = 10006
INTERNAL = 10016
UNKNOWN_OPERATION = 10404
REPEATED_REQUEST = 20006

_CONTRACT: dict[Why, tuple[int, str]] = {
    Why.SYMBOL: (PARAMETER, "params error: symbol invalid"),
    Why.MARKET_CLOSED: (110065, "No trading is allowed at the current time"),
    Why.TICK: (PARAMETER, "Price invalid"),
    Why.PRICE_RANGE: (110003, "Order price is out of permissible range"),
    Why.PRICE_BAND: (110003, "Order price is out of permissible range"),
    Why.LOT: (PARAMETER, "Qty invalid"),
    Why.MIN_QUANTITY: (PARAMETER, "The number of contracts exceeds minimum limit allowed"),
    Why.MAX_QUANTITY: (PARAMETER, "The number of contracts exceeds maximum limit allowed"),
    Why.NOTIONAL: (110094, "Order does not meet minimum order value"),
    Why.BALANCE: (110007, "ab not enough for new order"),
    Why.MARGIN: (110007, "ab not enough for new order"),
    Why.LEVERAGE: (110013, "Cannot set leverage due to risk limit level."),
    Why.DUPLICATE: (110072, "OrderLinkedID is duplicate"),
    Why.TOO_MANY: (110020, "Cannot have more than 500 active orders."),
    Why.REDUCE_ONLY: (110017, "current position is zero, cannot fix reduce-only order qty"),
    Why.UNKNOWN_ORDER: (110001, "order not exists or too late to cancel"),
    Why.CLOSED_ORDER: (110010, "Order already cancelled"),
    Why.FILLED_ORDER: (110008, "Order has been finished or canceled"),
    Why.AMENDED_AWAY: (
        110063,
        "The number of contracts modified cannot be less than or equal to the filled quantity",
    ),
    Why.POSITION_SIDE: (PARAMETER, "position idx not match position mode"),
    Why.OPEN_ORDERS: (110028, "Open orders exist, so you cannot change position mode"),
    Why.OPEN_POSITIONS: (
        110024,
        "You have an existing position, so position mode cannot be switched",
    ),
    Why.NOT_CHANGED: (
        PARAMETER,
        "The order remains unchanged as the parameters entered match the existing ones.",
    ),
}
_SPOT: dict[Why, tuple[int, str]] = {
    Why.SYMBOL: (170121, "Invalid symbol."),
    Why.MARKET_CLOSED: (170151, "The trading pair is not open yet."),
    Why.TICK: (170134, "Order price decimal too long."),
    Why.PRICE_RANGE: (170133, "Order price lower than the minimum."),
    Why.PRICE_BAND: (170193, "Buy order price cannot be higher than the limit."),
    Why.LOT: (170137, "Order volume decimal too long."),
    Why.MIN_QUANTITY: (170136, "Order quantity lower than the minimum."),
    Why.MAX_QUANTITY: (170135, "Order quantity too large."),
    Why.NOTIONAL: (170140, "Transaction amount lower than the minimum."),
    Why.BALANCE: (170131, "Insufficient balance."),
    Why.MARGIN: (170131, "Insufficient balance."),
    Why.DUPLICATE: (170141, "Duplicate clientOrderId."),
    Why.TOO_MANY: (170810, "Cannot exceed maximum of 500 conditional, TP/SL and active orders."),
    Why.UNKNOWN_ORDER: (170213, "Order does not exist."),
    Why.CLOSED_ORDER: (170142, "Order has been canceled."),
    Why.FILLED_ORDER: (170139, "Order has been filled."),
    Why.AMENDED_AWAY: (170136, "Order quantity lower than the minimum."),
}


def refusal(refused: Refused, *, spot: bool, sell: bool = False) -> ApiError:
    """Return the venue's words for a refusal of the clearing house."""
    why = refused.why
    if spot and why is Why.PRICE_BAND and sell:
        return ApiError(170194, "Sell order price cannot be lower than the limit.")
    if why is Why.WOULD_TRIGGER:
        return ApiError(110093 if sell else 110092, str(refused))
    table = _SPOT if spot else _CONTRACT
    number, text = table.get(why) or _CONTRACT.get(why) or (PARAMETER, f"params error: {refused}")
    return ApiError(number, text)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the ``order`` topic describes an end."""

    cancel: str
    reject: str


_ENDINGS = {
    Why.NONE: Ending("UNKNOWN", "EC_NoError"),
    Why.USER: Ending("CancelByUser", "EC_PerCancelRequest"),
    Why.IMMEDIATE: Ending("UNKNOWN", "EC_NoImmediateQtyToFill"),
    Why.NO_LIQUIDITY: Ending("UNKNOWN", "EC_NoImmediateQtyToFill"),
    Why.FILL_OR_KILL: Ending("UNKNOWN", "EC_CancelForNoFullFill"),
    Why.POST_ONLY: Ending("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
    Why.SELF_TRADE: Ending("CancelBySmp", "EC_BySelfMatch"),
    Why.DEAD_MAN: Ending("CancelByDCP", "EC_PerCancelRequest"),
    Why.LIQUIDATION: Ending("CancelByPrepareLiq", "EC_PerCancelRequest"),
    Why.DELEVERAGING: Ending("CancelByPrepareAdl", "EC_PerCancelRequest"),
    Why.REDUCE_ONLY: Ending("CancelByReduceOnly", "EC_PerCancelRequest"),
    Why.AMENDED_AWAY: Ending("CancelByUser", "EC_PerCancelRequest"),
    Why.DELISTED: Ending("CancelBySettle", "EC_PerCancelRequest"),
    Why.BALANCE: Ending("CancelByPrepareOrderMarginCheckFailed", "EC_Others"),
    Why.MARGIN: Ending("CancelByPrepareOrderMarginCheckFailed", "EC_Others"),
}
_OTHER = Ending("CancelByAdmin", "EC_Others")
_LIVE = {
    Status.UNTRIGGERED: "Untriggered",
    Status.NEW: "New",
    Status.PARTIAL: "PartiallyFilled",
    Status.FILLED: "Filled",
    Status.REJECTED: "Rejected",
}


def ending(order: Order) -> Ending:
    """Return cancel type and reject reason of an order, live or not."""
    if order.status.live or order.status is Status.FILLED:
        return _ENDINGS[Why.NONE]
    return _ENDINGS.get(order.ended, _OTHER)


def status(order: Order, *, spot: bool) -> str:
    """Return ``orderStatus``."""
    known = _LIVE.get(order.status)
    if known is not None:
        return known
    if order.terms.stop_price and not order.triggered:
        return "Deactivated"
    return "PartiallyFilledCanceled" if spot and order.filled else "Cancelled"
