"""What Binance spot says of accounts, orders and trades: REST and WebSocket answers, and events.

Source: binance-spot-api-docs rest-api.md, web-socket-api.md, user-data-stream.md (2026-07).
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import (
    Account,
    AccountFill,
    Change,
    Order,
    OrderEvent,
    Prevention,
    Status,
    Why,
)
from gateways.simulator.instruments import Instrument
from gateways.simulator.margin import to_places

Json = dict[str, Any]

NOTHING = "0.00000000"
PREVENTION = {
    "NONE": Prevention.NONE,
    "EXPIRE_MAKER": Prevention.MAKER,
    "EXPIRE_TAKER": Prevention.TAKER,
    "EXPIRE_BOTH": Prevention.BOTH,
}
"""Self-trade prevention modes that are simulated; DECREMENT and TRANSFER are not."""
PREVENTION_TEXT = {mode: text for text, mode in PREVENTION.items()}
MAKER_PPM = 1000
TAKER_PPM = 1000
_EXPIRED = {
    Why.IMMEDIATE: "UNFILLED_IOC_QUANTITY_EXPIRED",
    Why.FILL_OR_KILL: "UNFILLED_FOK_ORDER_EXPIRED",
    Why.NO_LIQUIDITY: "INSUFFICIENT_LIQUIDITY",
    Why.DELISTED: "EXCHANGE_CANCELED",
}
_EXECUTIONS = {
    Change.NEW: "NEW",
    Change.TRADE: "TRADE",
    Change.CANCELED: "CANCELED",
    Change.EXPIRED: "EXPIRED",
    Change.REJECTED: "REJECTED",
    Change.AMENDED: "REPLACED",
    Change.TRIGGERED: "NEW",
    Change.PREVENTED: "TRADE_PREVENTION",
}


def eight(value: Decimal) -> str:
    """Write a value with eight decimals, as the venue does all."""
    return f"{to_places(value, 8):f}"


def status_of(order: Order) -> str:
    """Return the venue's name of an order's state."""
    if order.status in (Status.NEW, Status.UNTRIGGERED):
        return "NEW"
    if order.status is Status.PARTIAL:
        return "PARTIALLY_FILLED"
    if order.ended is Why.SELF_TRADE:
        return "EXPIRED_IN_MATCH"
    return str(order.status).upper()


def type_of(order: Order) -> str:
    """Return the venue's name of an order's type."""
    known = order.terms.extra.get("type")
    if known:
        return str(known)
    return "MARKET" if order.terms.type is OrderType.MARKET else "LIMIT"


def tif_of(order: Order) -> str:
    """Return the venue's time in force; GTC stands where the type has none."""
    time_in_force = order.terms.time_in_force
    return "GTC" if time_in_force is TimeInForce.POST_ONLY else time_in_force.name


def prevention_of(order: Order) -> str:
    """Return the order's self-trade prevention mode."""
    return PREVENTION_TEXT[order.terms.prevention]


def _terms(order: Order) -> Json:
    instrument = order.market.instrument
    return {
        "price": instrument.price.text(order.price),
        "origQty": instrument.quantity.text(order.quantity),
        "executedQty": instrument.quantity.text(order.filled),
        "origQuoteOrderQty": eight(order.terms.quote_quantity),
        "cummulativeQuoteQty": eight(order.value),
        "status": status_of(order),
        "timeInForce": tif_of(order),
        "type": type_of(order),
        "side": order.terms.side.name,
    }


def _stop(order: Order) -> Json:
    if not order.terms.stop_price:
        return {}
    return {"stopPrice": order.market.instrument.price.text(order.terms.stop_price)}


def placed(order: Order, response: str) -> Json:
    """Return the answer to a new order: ``response`` is ACK, RESULT or FULL."""
    answer: Json = {
        "symbol": order.market.instrument.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms or order.created_ms,
    }
    if response == "ACK":
        return answer
    answer |= _terms(order) | _stop(order)
    answer["workingTime"] = _working_ms(order)
    if response == "FULL":
        answer["fills"] = [_fill(fill) for fill in order.fills]
    answer["selfTradePreventionMode"] = prevention_of(order)
    return answer


def _working_ms(order: Order) -> int:
    return -1 if order.status is Status.UNTRIGGERED else order.created_ms


def _fill(fill: AccountFill) -> Json:
    instrument = fill.order.market.instrument
    return {
        "price": instrument.price.text(fill.price),
        "qty": instrument.quantity.text(fill.quantity),
        "commission": eight(fill.fee),
        "commissionAsset": fill.fee_asset,
        "tradeId": fill.id,
    }


def canceled(order: Order, cancel_id: str, now_ms: int) -> Json:
    """Return the answer to a cancel, which has a client id of its own."""
    return {
        "symbol": order.market.instrument.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": now_ms,
        **_terms(order),
        **_stop(order),
        "selfTradePreventionMode": prevention_of(order),
    }


def amended(order: Order, original_id: str, execution_id: int, now_ms: int) -> Json:
    """Return the answer to an amendment that keeps the place in the queue."""
    instrument = order.market.instrument
    return {
        "transactTime": now_ms,
        "executionId": execution_id,
        "amendedOrder": {
            "symbol": instrument.symbol,
            "orderId": order.id,
            "orderListId": -1,
            "origClientOrderId": original_id,
            "clientOrderId": order.client_id,
            "price": instrument.price.text(order.price),
            "qty": instrument.quantity.text(order.quantity),
            "executedQty": instrument.quantity.text(order.filled),
            "preventedQty": instrument.quantity.text(order.prevented),
            "quoteOrderQty": eight(order.terms.quote_quantity),
            "cumulativeQuoteQty": eight(order.value),
            "status": status_of(order),
            "timeInForce": tif_of(order),
            "type": type_of(order),
            "side": order.terms.side.name,
            "workingTime": _working_ms(order),
            "selfTradePreventionMode": prevention_of(order),
        },
    }


def queried(order: Order) -> Json:
    """Return what the venue knows of an order."""
    price = order.market.instrument.price
    return {
        "symbol": order.market.instrument.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        **_terms(order),
        "stopPrice": price.text(order.terms.stop_price),
        "icebergQty": NOTHING,
        "time": order.created_ms,
        "updateTime": order.updated_ms or order.created_ms,
        "isWorking": order.status is not Status.UNTRIGGERED,
        "workingTime": _working_ms(order),
        "selfTradePreventionMode": prevention_of(order),
    }


def trade(fill: AccountFill) -> Json:
    """Return one of the account's trades."""
    order = fill.order
    instrument = order.market.instrument
    return {
        "symbol": instrument.symbol,
        "id": fill.id,
        "orderId": order.id,
        "orderListId": -1,
        "price": instrument.price.text(fill.price),
        "qty": instrument.quantity.text(fill.quantity),
        "quoteQty": eight(fill_value(fill)),
        "commission": eight(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "isBuyer": order.terms.side is Side.BUY,
        "isMaker": fill.maker,
        "isBestMatch": True,
    }


def fill_value(fill: AccountFill) -> Decimal:
    """Return price times quantity of a fill, exactly."""
    instrument = fill.order.market.instrument
    price, quantity = instrument.price, instrument.quantity
    mantissa = fill.price * price.step * fill.quantity * quantity.step
    return Decimal(mantissa).scaleb(-price.decimals - quantity.decimals)


def account(held: Account, updated_ms: int, *, omit_zero: bool) -> Json:
    """Return the account and its balances."""
    return {
        "makerCommission": MAKER_PPM // 100,
        "takerCommission": TAKER_PPM // 100,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": eight(Decimal(MAKER_PPM).scaleb(-6)),
            "taker": eight(Decimal(TAKER_PPM).scaleb(-6)),
            "buyer": NOTHING,
            "seller": NOTHING,
        },
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": updated_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": name, "free": eight(each.free), "locked": eight(each.locked)}
            for name, each in sorted(held.balances.items())
            if each.total or not omit_zero
        ],
        "permissions": ["SPOT"],
        "uid": held.uid,
    }


def commission(instrument: Instrument) -> Json:
    """Return the fees of a symbol."""
    return {
        "symbol": instrument.symbol,
        "standardCommission": {
            "maker": eight(Decimal(MAKER_PPM).scaleb(-6)),
            "taker": eight(Decimal(TAKER_PPM).scaleb(-6)),
            "buyer": NOTHING,
            "seller": NOTHING,
        },
        "specialCommission": dict.fromkeys(("maker", "taker", "buyer", "seller"), NOTHING),
        "taxCommission": dict.fromkeys(("maker", "taker", "buyer", "seller"), NOTHING),
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": "0.75000000",
        },
    }


def execution_report(
    event: OrderEvent, execution_id: int, cancel_id: str, original_id: str
) -> Json:
    """Return an order's event.

    ``cancel_id`` is the client id of the cancel that caused it: it takes the place of the order's,
    which moves to ``C``. ``original_id`` is the id that an amendment has replaced.
    """
    order, fill = event.order, event.fill
    instrument = order.market.instrument
    price, quantity = instrument.price, instrument.quantity
    report = {
        "e": "executionReport",
        "E": event.time_ms,
        "s": instrument.symbol,
        "c": cancel_id or order.client_id,
        "S": order.terms.side.name,
        "o": type_of(order),
        "f": tif_of(order),
        "q": quantity.text(order.quantity),
        "p": price.text(order.price),
        "P": price.text(order.terms.stop_price),
        "F": NOTHING,
        "g": -1,
        "C": original_id or (order.client_id if cancel_id else ""),
        "x": _EXECUTIONS[event.change],
        "X": status_of(order),
        "r": "NONE",
        "i": order.id,
        "l": quantity.text(fill.quantity) if fill else NOTHING,
        "z": quantity.text(fill.order_filled if fill else order.filled),
        "L": price.text(fill.price) if fill else NOTHING,
        "n": eight(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None,
        "T": event.time_ms,
        "t": fill.id if fill else -1,
        "I": execution_id,
        "w": order.status in (Status.NEW, Status.PARTIAL),
        "m": fill.maker if fill else False,
        "M": fill is not None,
        "O": order.created_ms,
        "Z": eight(order.value),
        "Y": eight(fill_value(fill)) if fill else NOTHING,
        "Q": eight(order.terms.quote_quantity),
        "W": order.created_ms,
        "V": prevention_of(order),
    }
    if event.change is Change.EXPIRED and order.ended in _EXPIRED:
        report["eR"] = _EXPIRED[order.ended]
    if order.prevented:
        report["pl"] = report["A"] = quantity.text(order.prevented)
    return report


def account_position(held: Account, assets: Iterable[str], time_ms: int) -> Json:
    """Return the event that tells the balances that an operation changed."""
    balances = held.balances
    return {
        "e": "outboundAccountPosition",
        "E": time_ms,
        "u": time_ms,
        "B": [
            {"a": name, "f": eight(balances[name].free), "l": eight(balances[name].locked)}
            for name in assets
            if name in balances
        ],
    }


def balance_update(asset: str, delta: Decimal, time_ms: int) -> Json:
    """Return the event of a deposit, a withdrawal or a transfer."""
    return {"e": "balanceUpdate", "E": time_ms, "a": asset, "d": eight(delta), "T": time_ms}
