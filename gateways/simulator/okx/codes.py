"""The venue's codes and words: for each reason why something is refused, or why an order ended.

Source: the venue's error code page (REST and WebSocket) and its order channel (``cancelSource``).
"""

from gateways.simulator.account import Order, Refused, Why
from gateways.simulator.instruments import Market
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

ALL_FAILED, PARTLY_FAILED = "All operations failed", "Bulk operation partially succeeded."

_GONE_AMEND = "Order modification failed as the order has been filled, canceled or does not exist."
_GONE_CANCEL = "Cancellation failed as the order has been filled, canceled or does not exist."
_NO_INSTRUMENT = "Instrument ID, Instrument ID code, or Spread ID doesn't exist."

_PLACE: dict[Why, tuple[int, str]] = {
    Why.PARAMETER: (51000, "Parameter error"),
    Why.SYMBOL: (51001, _NO_INSTRUMENT),
    Why.MARKET_CLOSED: (51022, "Contract suspended"),
    Why.TICK: (51000, "Parameter px error"),
    Why.PRICE_RANGE: (51006, "Order price is not within the price limit"),
    Why.LOT: (51121, "Order quantity must be a multiple of the lot size."),
    Why.MIN_QUANTITY: (51020, "Your order should meet or exceed the minimum order amount."),
    Why.NOTIONAL: (51020, "Your order should meet or exceed the minimum order amount."),
    Why.BALANCE: (51008, "Order failed. Insufficient {} balance in account."),
    Why.MARGIN: (51008, "Order failed. Insufficient {} margin in account."),
    Why.LEVERAGE: (59102, "Leverage exceeds the maximum leverage. Please lower the leverage."),
    Why.DUPLICATE: (51016, "Client order ID already exists."),
    Why.TOO_MANY: (51174, "The number of {} pending orders reached the upper limit (orders)."),
    Why.WOULD_TRIGGER: (51280, "SL trigger price cannot be higher than the last price."),
    Why.UNKNOWN_ORDER: (51603, "Order does not exist"),
    Why.POSITION_SIDE: (51000, "Parameter posSide error"),
    Why.OPEN_ORDERS: (59000, "Setting failed. Cancel any open orders or positions first."),
    Why.OPEN_POSITIONS: (59000, "Setting failed. Cancel any open orders or positions first."),
    Why.UNSUPPORTED: (51010, "Operation isn't supported under the current account mode."),
    Why.NO_LIQUIDITY: (51109, "There are no best bid or best ask in the order book"),
    Why.POST_ONLY: (51511, "The price doesn't meet the requirement for post only"),
    Why.DEAD_MAN: (51071, "You have reached the maximum number of tags."),
}
_AMEND: dict[Why, tuple[int, str]] = {
    Why.UNKNOWN_ORDER: (51503, _GONE_AMEND),
    Why.CLOSED_ORDER: (51509, "Modification failed as the order has been canceled."),
    Why.FILLED_ORDER: (51510, "Modification failed as the order has been completed."),
    Why.UNSUPPORTED: (51506, "Order modification unavailable for the order type"),
    Why.POST_ONLY: (51511, "Operation failed as the order price doesn't meet Post Only."),
    Why.BALANCE: (51502, "Order failed. Insufficient {} balance in account."),
    Why.MARGIN: (51502, "Order failed. Insufficient {} margin in account."),
    Why.REDUCE_ONLY: (
        51171,
        "Modification failed: if it succeeded, reduce-only orders would reverse the position.",
    ),
}
_CANCEL: dict[Why, tuple[int, str]] = {
    Why.UNKNOWN_ORDER: (51400, _GONE_CANCEL),
    Why.CLOSED_ORDER: (51400, _GONE_CANCEL),
    Why.FILLED_ORDER: (51400, _GONE_CANCEL),
}

CANCEL_SOURCE: dict[Why, str] = {
    Why.NONE: "0",
    Why.USER: "1",
    Why.LIQUIDATION: "3",
    Why.DELEVERAGING: "6",
    Why.FILL_OR_KILL: "13",
    Why.IMMEDIATE: "14",
    Why.NO_LIQUIDITY: "14",
    Why.PRICE_BAND: "15",
    Why.DEAD_MAN: "20",
    Why.REDUCE_ONLY: "23",
    Why.POST_ONLY: "31",
    Why.SELF_TRADE: "32",
}
"""``cancelSource`` of an order that ended so; 0 (by the venue) for the others."""

LATE_AMENDMENTS = frozenset({Why.BALANCE, Why.MARGIN})
"""Found out only after the amendment was acknowledged: the order channel tells (amendResult)."""


def place_error(refused: Refused, market: SimulatedBook | None, *, buys: bool) -> ApiError:
    """Return what the venue says to a new order that it refuses."""
    why = refused.why
    contract = market is not None and market.instrument.market is not Market.SPOT
    if why is Why.REDUCE_ONLY:
        return reduce_only_error("")
    if why is Why.PRICE_BAND:
        if contract:
            return ApiError(51006, "Order price is not within the price limit")
        if buys:
            return ApiError(51137, "The highest price limit for buy orders is exceeded.")
        return ApiError(51138, "The lowest price limit for sell orders is exceeded.")
    if why is Why.MAX_QUANTITY:
        if contract:
            return ApiError(51101, "Order size exceeds the maximum of a single order (contracts).")
        return ApiError(51005, "Your order amount exceeds the max order amount.")
    code, text = _PLACE.get(why, (51000, "Parameter error"))
    return ApiError(code, text.format(_paid_with(market, buys)))


def amend_error(refused: Refused, order: Order) -> ApiError:
    """Return what the venue says to an amendment that it refuses."""
    buys = order.terms.side > 0
    known = _AMEND.get(refused.why)
    if known is None:
        return place_error(refused, order.market, buys=buys)
    code, text = known
    return ApiError(code, text.format(_paid_with(order.market, buys)))


def cancel_error(refused: Refused) -> ApiError:
    """Return what the venue says to a cancellation that it refuses."""
    return ApiError(*_CANCEL.get(refused.why, (51400, _GONE_CANCEL)))


def reduce_only_error(case: str) -> ApiError:
    """Return the refusal of a reduce-only order: nothing to close, wrong side, or too much."""
    if case == "same side":
        return ApiError(
            51170, "Order failed: a reduce-only order cannot be in the direction of the position."
        )
    if case == "too much":
        return ApiError(
            51148, "Order failed: it would make the reduce-only orders reverse the position."
        )
    return ApiError(
        51169, "Order failed because you don't have any positions in this direction to reduce."
    )


def parameter(name: str) -> ApiError:
    """Return the refusal of a parameter's value."""
    return ApiError(51000, f"Parameter {name} error", 400)


def missing(name: str) -> ApiError:
    """Return the refusal of a request that lacks a parameter."""
    return ApiError(50014, f"Parameter {name} can not be empty.", 400)


def either(first: str, second: str) -> ApiError:
    """Return the refusal of a request that has neither of two parameters."""
    return ApiError(50015, f"Either parameter {first} or {second} is required.", 400)


def no_instrument() -> ApiError:
    """Return the answer to an instrument that the venue does not have."""
    return ApiError(51001, _NO_INSTRUMENT)


def no_order() -> ApiError:
    """Return the answer to a query for an order that the venue does not know."""
    return ApiError(51603, "Order does not exist")


def gone_to_amend() -> ApiError:
    """Return the refusal to amend an order that the venue does not know."""
    return ApiError(51503, _GONE_AMEND)


def gone_to_cancel() -> ApiError:
    """Return the refusal to cancel an order that the venue does not know."""
    return ApiError(51400, _GONE_CANCEL)


def _paid_with(market: SimulatedBook | None, buys: bool) -> str:
    if market is None:
        return ""
    instrument = market.instrument
    if instrument.market is Market.SPOT:
        return instrument.quote if buys else instrument.base
    return instrument.settle
