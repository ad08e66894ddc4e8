"""What Binance USDⓈ-M says of orders and trades: REST and WebSocket answers, and events.

Source: the venue's OpenAPI description (binance-connector-python, 2026-08), recorded messages.
"""

from decimal import Decimal
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import AccountFill, Change, Order, OrderEvent, Status, Why
from gateways.simulator.binance.spot_shapes import eight, fill_value, prevention_of
from gateways.simulator.instruments import decimal_text
from gateways.simulator.margin import plain, to_places

Json = dict[str, Any]

_TIF = {TimeInForce.POST_ONLY: "GTX"}
_AVERAGE_PLACES = 3
"""Average prices have so many decimals more than the instrument's prices."""
_EXPIRED = {
    Why.SELF_TRADE: "1",
    Why.IMMEDIATE: "2",
    Why.FILL_OR_KILL: "2",
    Why.NO_LIQUIDITY: "2",
    Why.REDUCE_ONLY: "4",
    Why.LIQUIDATION: "5",
    Why.POST_ONLY: "6",
    Why.DELISTED: "7",
    Why.TIME: "0",
}
_EXECUTIONS = {
    Change.NEW: "NEW",
    Change.TRADE: "TRADE",
    Change.CANCELED: "CANCELED",
    Change.EXPIRED: "EXPIRED",
    Change.REJECTED: "EXPIRED",
    Change.AMENDED: "AMENDMENT",
    Change.TRIGGERED: "NEW",
    Change.PREVENTED: "AMENDMENT",
}
_ALGO_STATUS = {
    Status.UNTRIGGERED: "NEW",
    Status.NEW: "NEW",
    Status.PARTIAL: "TRIGGERED",
    Status.TRIGGERED: "TRIGGERED",
    Status.FILLED: "FINISHED",
    Status.CANCELED: "CANCELED",
    Status.EXPIRED: "EXPIRED",
    Status.REJECTED: "REJECTED",
}


def side_of(position_side: str) -> str:
    """Return the venue's name of a position's side."""
    return "BOTH" if position_side == "net" else position_side.upper()


def status_of(order: Order) -> str:
    """Return the venue's name of an order's state."""
    if order.status in (Status.NEW, Status.UNTRIGGERED):
        return "NEW"
    if order.status is Status.PARTIAL:
        return "PARTIALLY_FILLED"
    if order.status is Status.FILLED:
        return "FILLED"
    if order.ended is Why.SELF_TRADE:
        return "EXPIRED_IN_MATCH"
    if order.status is Status.REJECTED or order.ended is Why.LIQUIDATION:
        return "EXPIRED"
    return str(order.status).upper()


def type_of(order: Order) -> str:
    """Return the type of an order in the book: what is triggered becomes LIMIT or MARKET."""
    limit = order.terms.type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    return "LIMIT" if limit else "MARKET"


def original_type_of(order: Order) -> str:
    """Return the type with which the order came to the venue."""
    return str(order.terms.extra.get("type") or type_of(order))


def tif_of(order: Order) -> str:
    """Return the venue's time in force."""
    time_in_force = order.terms.time_in_force
    return _TIF.get(time_in_force, time_in_force.name)


def average_text(order: Order) -> str:
    """Write the average price of an order's fills."""
    places = order.market.instrument.price.decimals + _AVERAGE_PLACES
    return f"{to_places(order.average, places):f}"


def _value_text(value: Decimal) -> str:
    return f"{to_places(value, 5):f}"


def _flags(order: Order) -> Json:
    terms = order.terms
    return {
        "timeInForce": tif_of(order),
        "type": type_of(order),
        "reduceOnly": terms.reduce_only,
        "closePosition": terms.close_position,
        "side": terms.side.name,
        "positionSide": side_of(terms.position_side),
        "stopPrice": order.market.instrument.price.text(terms.stop_price),
        "workingType": _working_type(order),
        "priceProtect": False,
        "origType": original_type_of(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": prevention_of(order),
        "goodTillDate": terms.expire_ms,
    }


def _working_type(order: Order) -> str:
    return "MARK_PRICE" if order.terms.trigger == "mark" else "CONTRACT_PRICE"


def placed(order: Order) -> Json:
    """Return the answer to a new, changed or canceled order."""
    price, quantity = order.market.instrument.price, order.market.instrument.quantity
    filled = quantity.text(order.filled)
    return {
        "orderId": order.id,
        "symbol": order.market.instrument.symbol,
        "status": status_of(order),
        "clientOrderId": order.client_id,
        "price": price.text(order.price),
        "avgPrice": average_text(order),
        "origQty": quantity.text(order.quantity),
        "executedQty": filled,
        "cumQty": filled,
        "cumQuote": _value_text(order.value),
        **_flags(order),
        "updateTime": order.updated_ms or order.created_ms,
    }


def queried(order: Order) -> Json:
    """Return what the venue knows of an order."""
    answer = placed(order)
    del answer["cumQty"]
    return answer | {"time": order.created_ms}


def trade(fill: AccountFill) -> Json:
    """Return one of the account's trades."""
    order = fill.order
    instrument = order.market.instrument
    return {
        "symbol": instrument.symbol,
        "id": fill.id,
        "orderId": order.id,
        "side": order.terms.side.name,
        "price": instrument.price.text(fill.price),
        "qty": instrument.quantity.text(fill.quantity),
        "realizedPnl": eight(fill.realised),
        "marginAsset": instrument.settle,
        "quoteQty": eight(fill_value(fill)),
        "commission": eight(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "positionSide": side_of(order.terms.position_side),
        "buyer": order.terms.side is Side.BUY,
        "maker": fill.maker,
    }


def algo_status(order: Order) -> str:
    """Return the state of a conditional order."""
    return _ALGO_STATUS[order.status]


def algo(order: Order) -> Json:
    """Return a conditional order; its id and client id are those of the algo endpoints."""
    instrument, terms = order.market.instrument, order.terms
    return {
        "algoId": order.id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": original_type_of(order),
        "symbol": instrument.symbol,
        "side": terms.side.name,
        "positionSide": side_of(terms.position_side),
        "timeInForce": tif_of(order),
        "quantity": instrument.quantity.text(order.quantity),
        "algoStatus": algo_status(order),
        "actualOrderId": str(order.triggered_id or ""),
        "actualPrice": average_text(order),
        "triggerPrice": instrument.price.text(terms.stop_price),
        "price": instrument.price.text(order.price),
        "icebergQuantity": None,
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
        "selfTradePreventionMode": prevention_of(order),
        "workingType": _working_type(order),
        "priceMatch": "NONE",
        "closePosition": terms.close_position,
        "priceProtect": False,
        "reduceOnly": terms.reduce_only,
        "createTime": order.created_ms,
        "updateTime": order.updated_ms or order.created_ms,
        "triggerTime": order.updated_ms if order.triggered else 0,
        "goodTillDate": terms.expire_ms,
    }


def order_update(event: OrderEvent, bids: Decimal, asks: Decimal) -> Json:
    """Return an order's event; ``bids`` and ``asks`` are the notional of the open orders."""
    order, fill = event.order, event.fill
    instrument, terms = order.market.instrument, order.terms
    price, quantity = instrument.price, instrument.quantity
    execution = _EXECUTIONS[event.change]
    status = status_of(order)
    if order.forced is not Why.NONE and execution == "TRADE":
        execution = "CALCULATED"
    elif status == "EXPIRED" and execution == "CANCELED":
        execution = status
    told: Json = {
        "s": instrument.symbol,
        "c": order.client_id,
        "S": terms.side.name,
        "o": type_of(order),
        "f": tif_of(order),
        "q": quantity.text(order.quantity),
        "p": price.text(order.price),
        "ap": average_text(order),
        "sp": price.text(terms.stop_price),
        "x": execution,
        "X": status,
        "i": order.id,
        "l": quantity.text(fill.quantity if fill else 0),
        "z": quantity.text(fill.order_filled if fill else order.filled),
        "L": price.text(fill.price if fill else 0),
        "n": eight(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else instrument.settle,
        "T": event.time_ms,
        "t": fill.id if fill else 0,
        "b": plain(bids),
        "a": plain(asks),
        "m": fill.maker if fill else False,
        "R": terms.reduce_only,
        "wt": _working_type(order),
        "ot": original_type_of(order),
        "ps": side_of(terms.position_side),
        "cp": terms.close_position,
        "rp": eight(fill.realised) if fill else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": prevention_of(order),
        "pm": "NONE",
        "gtd": terms.expire_ms,
        "er": _EXPIRED.get(order.ended, "0") if not order.status.live else "0",
    }
    return {"e": "ORDER_TRADE_UPDATE", "T": event.time_ms, "E": event.time_ms, "o": told}


def trade_lite(fill: AccountFill) -> Json:
    """Return the short event that comes before the order's."""
    order = fill.order
    price, quantity = order.market.instrument.price, order.market.instrument.quantity
    return {
        "e": "TRADE_LITE",
        "E": fill.time_ms,
        "T": fill.time_ms,
        "s": order.market.instrument.symbol,
        "q": quantity.text(order.quantity),
        "p": price.text(order.price),
        "m": fill.maker,
        "c": order.client_id,
        "S": order.terms.side.name,
        "L": price.text(fill.price),
        "l": quantity.text(fill.quantity),
        "t": fill.id,
        "i": order.id,
    }


def algo_update(event: OrderEvent) -> Json:
    """Return a conditional order's event."""
    order, terms = event.order, event.order.terms
    instrument = order.market.instrument
    told: Json = {
        "caid": order.client_id,
        "aid": order.id,
        "at": "CONDITIONAL",
        "o": original_type_of(order),
        "s": instrument.symbol,
        "S": terms.side.name,
        "ps": side_of(terms.position_side),
        "f": tif_of(order),
        "q": instrument.quantity.text(order.quantity),
        "X": algo_status(order),
        "ai": str(order.triggered_id or ""),
        "ap": average_text(order),
        "aq": decimal_text(order.filled * instrument.quantity.step, instrument.quantity.decimals),
        "act": type_of(order) if order.triggered else "0",
        "tp": instrument.price.text(terms.stop_price),
        "p": instrument.price.text(order.price),
        "V": prevention_of(order),
        "wt": _working_type(order),
        "pm": "NONE",
        "cp": terms.close_position,
        "pP": False,
        "R": terms.reduce_only,
        "tt": event.time_ms if order.triggered else 0,
        "gtd": terms.expire_ms,
    }
    if order.status is Status.REJECTED:
        told["rm"] = str(order.ended)
    return {"e": "ALGO_UPDATE", "T": event.time_ms, "E": event.time_ms, "o": told}
