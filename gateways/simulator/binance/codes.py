"""Binance's error codes and texts: refusals, and what the venue says of each reason.

Sources: binance-spot-api-docs errors.md (2026-07), USDⓈ-M "Error Code" page (2026-08).
"""

from collections.abc import Mapping
from typing import Any

from gateways.simulator import rest
from gateways.simulator.account import Refused, Why

Words = tuple[int, str]
"""A code and its text."""


class ApiError(rest.ApiError):
    """A refusal in the venue's words; ``data`` is what some errors carry besides."""

    def __init__(
        self, code: int, message: str, status: int = 400, data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message, status)
        self.data = data

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        body: dict[str, Any] = {"code": self.code, "msg": str(self)}
        return body if self.data is None else body | {"data": self.data}


KEY_FORMAT = (-2014, "API-key format invalid.")
KEY_REJECTED = (-2015, "Invalid API-key, IP, or permissions for action.")
SIGNATURE = (-1022, "Signature for this request is not valid.")
LATE = (-1021, "Timestamp for this request is outside of the recvWindow.")
AHEAD = (-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
NO_ORDER = (-2013, "Order does not exist.")
UNKNOWN_ORDER = (-2011, "Unknown order sent.")
SYMBOL = (-1121, "Invalid symbol.")
LISTEN_KEY = (-1125, "This listenKey does not exist.")
WRONG_ENDPOINT = (
    -4120,
    "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
)
CANCEL_RESTRICTIONS = (-2011, "Order was not canceled due to cancel restrictions.")
ID_MISMATCH = (-2039, "Client order ID is not correct for this order ID.")

_FAILURE = "Filter failure: "
_NOT_RECORDED = " The order will not be recorded in the order history"

SPOT_WORDS: dict[Why, Words] = {
    Why.SYMBOL: SYMBOL,
    Why.MARKET_CLOSED: (-2010, "Market is closed."),
    Why.TICK: (-1013, _FAILURE + "PRICE_FILTER"),
    Why.PRICE_RANGE: (-1013, _FAILURE + "PRICE_FILTER"),
    Why.PRICE_BAND: (-1013, _FAILURE + "PERCENT_PRICE_BY_SIDE"),
    Why.LOT: (-1013, _FAILURE + "LOT_SIZE"),
    Why.MIN_QUANTITY: (-1013, _FAILURE + "LOT_SIZE"),
    Why.MAX_QUANTITY: (-1013, _FAILURE + "LOT_SIZE"),
    Why.NOTIONAL: (-1013, _FAILURE + "NOTIONAL"),
    Why.BALANCE: (-2010, "Account has insufficient balance for requested action."),
    Why.MARGIN: (-2010, "Account has insufficient balance for requested action."),
    Why.DUPLICATE: (-2010, "Duplicate order sent."),
    Why.TOO_MANY: (-1013, _FAILURE + "MAX_NUM_ORDERS"),
    Why.TOO_MANY_STOPS: (-1013, _FAILURE + "MAX_NUM_ALGO_ORDERS"),
    Why.POST_ONLY: (-2010, "Order would immediately match and take."),
    Why.WOULD_TRIGGER: (-2010, "Order would trigger immediately."),
    Why.NO_LIQUIDITY: (
        -2010,
        "Order book liquidity is less than symbol minimum quantity.",
    ),
    Why.UNKNOWN_ORDER: UNKNOWN_ORDER,
    Why.CLOSED_ORDER: UNKNOWN_ORDER,
    Why.FILLED_ORDER: UNKNOWN_ORDER,
    Why.NOT_CHANGED: (-2038, "The requested action would change no state; rejecting."),
    Why.AMENDED_AWAY: (-2038, "The requested action would change no state; rejecting."),
    Why.UNSUPPORTED: (-1014, "Unsupported order combination."),
}
USDM_WORDS: dict[Why, Words] = {
    Why.SYMBOL: SYMBOL,
    Why.MARKET_CLOSED: (-4140, "Invalid symbol status for opening position."),
    Why.TICK: (-4014, "Price not increased by tick size."),
    Why.PRICE_RANGE: (-4002, "Price greater than max price."),
    Why.PRICE_BAND: (-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter"),
    Why.LOT: (-4023, "Quantity not increased by step size."),
    Why.MIN_QUANTITY: (-4003, "Quantity less than or equal to zero."),
    Why.MAX_QUANTITY: (-4005, "Quantity greater than max quantity."),
    Why.NOTIONAL: (
        -4164,
        "Order's notional must be no smaller than 5 (unless you choose reduce only).",
    ),
    Why.BALANCE: (-2018, "Balance is insufficient."),
    Why.MARGIN: (-2019, "Margin is insufficient."),
    Why.LEVERAGE: (-4028, "Leverage is not valid"),
    Why.DUPLICATE: (-4116, "ClientOrderId is duplicated."),
    Why.TOO_MANY: (-2025, "Reach max open order limit."),
    Why.POST_ONLY: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected."
        + _NOT_RECORDED,
    ),
    Why.FILL_OR_KILL: (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected."
        + _NOT_RECORDED,
    ),
    Why.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Why.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    Why.NO_LIQUIDITY: (-2020, "Unable to fill."),
    Why.UNKNOWN_ORDER: UNKNOWN_ORDER,
    Why.CLOSED_ORDER: UNKNOWN_ORDER,
    Why.FILLED_ORDER: UNKNOWN_ORDER,
    Why.NOT_CHANGED: (-5027, "No need to modify the order."),
    Why.POSITION_SIDE: (-4061, "Order's position side does not match user's setting."),
    Why.UNSUPPORTED: (-1128, "Combination of optional parameters invalid."),
}
MODE_WORDS: dict[Why, Words] = {
    Why.OPEN_ORDERS: (-4067, "Position side cannot be changed if there exists open orders."),
    Why.OPEN_POSITIONS: (-4068, "Position side cannot be changed if there exists position."),
    Why.NOT_CHANGED: (-4059, "No need to change position side."),
}
MARGIN_WORDS: dict[Why, Words] = {
    Why.OPEN_ORDERS: (-4047, "Margin type cannot be changed if there exists open orders."),
    Why.OPEN_POSITIONS: (-4048, "Margin type cannot be changed if there exists position."),
    Why.NOT_CHANGED: (-4046, "No need to change margin type."),
}
QUERY_WORDS: dict[Why, Words] = dict.fromkeys(
    (Why.UNKNOWN_ORDER, Why.CLOSED_ORDER, Why.FILLED_ORDER), NO_ORDER
)

FAULT_BODIES: dict[int, Words] = {
    429: (-1003, "Too many requests; please use the websocket for live updates."),
    418: (-1003, "Way too much request weight used; IP banned until {until}."),
    403: (-1002, "You are not authorized to execute this request."),
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1008, "Server is currently overloaded with other requests."),
    504: (-1007, "Timeout waiting for response from backend server."),
}
"""What the venue says with an HTTP status that a fault asks for."""
ORDER_FAULTS: dict[int, Words] = FAULT_BODIES | {
    408: (
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; "
        "execution status unknown.",
    ),
    429: (-1015, "Too many new orders."),
    502: (
        -1006,
        "An unexpected response was received from the message bus. Execution status unknown.",
    ),
    504: (
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; "
        "execution status unknown.",
    ),
}
UNSURE = "Unknown error, please check your request or try again later."
"""USDⓈ-M, with 503: the request was sent on, and no answer came in time."""


def refusal(refused: Refused, words: Mapping[Why, Words], more: Mapping[Why, Words]) -> ApiError:
    """Return what the venue says of a refusal; ``more`` comes before ``words``."""
    found = more.get(refused.why) or words.get(refused.why)
    if refused.why is Why.PARAMETER:
        return ApiError(-1130, f"Data sent for parameter '{refused}' is not valid.")
    if found is None:
        return ApiError(-2010, str(refused))
    return ApiError(*found)


def missing(name: str) -> ApiError:
    """Return the refusal of a request without a parameter that it needs."""
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return ApiError(-1102, text)


def illegal(name: str, pattern: str) -> ApiError:
    """Return the refusal of a parameter with characters that it cannot have."""
    text = f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
    return ApiError(-1100, text)
