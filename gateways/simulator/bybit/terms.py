"""A Bybit order request as the clearing house's terms; refuses what the venue would refuse.

Source: the venue's page ``order/create-order``. Attached take-profit and stop-loss orders, margin
borrowing and implied volatility are not simulated and are refused by name.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import ZERO, OrderTerms, Prevention, Refused, Why
from gateways.simulator.bybit.codes import PARAMETER
from gateways.simulator.bybit.filters import QUOTE_DECIMALS
from gateways.simulator.bybit.shapes import is_spot
from gateways.simulator.instruments import Scale
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

Request = Mapping[str, Any]

_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_TIMES = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
_INDEXES = {"": "net", "0": "net", "1": "long", "2": "short"}
_TRIGGERS = {"": "last", "LastPrice": "last", "MarkPrice": "mark", "IndexPrice": "index"}
_PREVENTION = {
    "": Prevention.NONE,
    "None": Prevention.NONE,
    "CancelMaker": Prevention.MAKER,
    "CancelTaker": Prevention.TAKER,
    "CancelBoth": Prevention.BOTH,
}
_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
NUMBER_CHARACTERS = 24
NUMBER_MOST = 10**15
"""Numbers beyond are refused before anything is calculated with them."""
_ABSENT = ("takeProfit", "stopLoss", "tpLimitPrice", "slLimitPrice", "orderIv")


def parameter(text: str) -> ApiError:
    """Return the refusal of a parameter."""
    return ApiError(PARAMETER, f"params error: {text}")


def text_of(request: Request, name: str) -> str:
    """Return a parameter as text, empty if it is not given."""
    value = request.get(name)
    return "" if value is None else str(value)


def number_of(request: Request, name: str) -> Decimal:
    """Return a parameter as a decimal, 0 if it is not given; raises ApiError."""
    text = text_of(request, name)
    if not text:
        return ZERO
    if len(text) > NUMBER_CHARACTERS:
        raise parameter(f"{name} invalid")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise parameter(f"{name} invalid") from None
    if not value.is_finite() or not 0 <= value < NUMBER_MOST:
        raise parameter(f"{name} invalid")
    return value


def chosen(request: Request, name: str, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - values
    """Return what one of a parameter's words stands for; raises ApiError."""
    text = text_of(request, name)
    if text not in known:
        raise parameter(f"{name} invalid")
    return known[text]


def flag(request: Request, name: str) -> bool:
    """Return a true or false parameter."""
    return request.get(name) in (True, "true", 1, "1")


def steps(value: Decimal, scale: Scale, why: Why) -> int:
    """Return a price as ticks or a quantity as lots; raises Refused off the grid."""
    exact = value.scaleb(scale.decimals) / scale.step
    if exact != exact.to_integral_value():
        raise Refused(why)
    return int(exact)


def link_id(request: Request) -> str:
    """Return ``orderLinkId``; raises ApiError for what cannot be one."""
    text = text_of(request, "orderLinkId")
    if text and not _LINK_ID.fullmatch(text):
        raise parameter("orderLinkId invalid")
    return text


def order_terms(request: Request, market: SimulatedBook) -> OrderTerms:
    """Return what a request for a new order asks for; raises ApiError and Refused."""
    instrument = market.instrument
    spot = is_spot(instrument)
    for name in _ABSENT:
        if number_of(request, name):
            raise parameter(f"{name} is not supported here")
    if flag(request, "isLeverage"):
        raise parameter("isLeverage is not supported here")
    kind = text_of(request, "orderType")
    if kind not in ("Market", "Limit"):
        raise ApiError(170116, "Invalid orderType.") if spot else parameter("orderType invalid")
    side = chosen(request, "side", _SIDES)
    stop = number_of(request, "triggerPrice")
    trigger_price = steps(stop, instrument.price, Why.TICK)
    terms = OrderTerms(
        market=market,
        side=side,
        type=_type(kind, stop),
        time_in_force=_time_in_force(request, kind),
        stop_price=trigger_price,
        stop_above=chosen(request, "triggerDirection", {"": None, "0": None, "1": True, "2": False})
        if stop and not spot
        else None,
        trigger="last" if spot else chosen(request, "triggerBy", _TRIGGERS),
        reduce_only=flag(request, "reduceOnly") and not spot,
        position_side="net" if spot else chosen(request, "positionIdx", _INDEXES),
        prevention=chosen(request, "smpType", _PREVENTION),
        client_id=link_id(request),
        extra={"last": instrument.price.text(market.stats.last)},
    )
    if kind == "Limit":
        terms.price = _price(request, market)
    _set_quantity(terms, request, spot=spot)
    return terms


def _type(kind: str, stop: Decimal) -> OrderType:
    if stop:
        return OrderType.STOP_MARKET if kind == "Market" else OrderType.STOP_LIMIT
    return OrderType.MARKET if kind == "Market" else OrderType.LIMIT


def _time_in_force(request: Request, kind: str) -> TimeInForce:
    if kind == "Market":
        return TimeInForce.IOC  # whatever is asked for
    time_in_force: TimeInForce = chosen(request, "timeInForce", {"": TimeInForce.GTC} | _TIMES)
    return time_in_force


def _price(request: Request, market: SimulatedBook) -> int:
    price = number_of(request, "price")
    if not price:
        raise parameter("price invalid")
    return steps(price, market.instrument.price, Why.TICK)


def _set_quantity(terms: OrderTerms, request: Request, *, spot: bool) -> None:
    quantity = number_of(request, "qty")
    market_order = terms.type in (OrderType.MARKET, OrderType.STOP_MARKET)
    if spot and market_order:
        usual = "quoteCoin" if terms.side is Side.BUY else "baseCoin"
        units = {"": usual, "quoteCoin": "quoteCoin", "baseCoin": "baseCoin"}
        terms.extra["unit"] = unit = chosen(request, "marketUnit", units)
        if unit == "quoteCoin":
            if not quantity:
                raise Refused(Why.MIN_QUANTITY)
            if quantity != round(quantity, QUOTE_DECIMALS):
                raise ApiError(170148, "Market order amount decimal too long.")
            terms.quote_quantity = quantity
            return
    if not quantity and terms.reduce_only and flag(request, "closeOnTrigger"):
        terms.close_position = True
        return
    if not quantity:
        raise Refused(Why.MIN_QUANTITY)
    terms.quantity = steps(quantity, terms.market.instrument.quantity, Why.LOT)
