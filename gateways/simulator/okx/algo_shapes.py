"""Algo orders (``trigger`` and ``conditional``) as OKX writes them."""

from engine.common import Side
from gateways.simulator.account import Order, Status
from gateways.simulator.okx.dialect import type_of
from gateways.simulator.okx.shapes import Json, leverage_of, position_side, size_of

_STATES = {
    Status.UNTRIGGERED: "live",
    Status.TRIGGERED: "effective",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "canceled",
    Status.REJECTED: "order_failed",
}
_EMPTY = (
    "activePx",
    "actualPx",
    "actualSide",
    "amendPxOnTriggerType",
    "amendResult",
    "callbackRatio",
    "callbackSpread",
    "ccy",
    "chaseType",
    "chaseVal",
    "failCode",
    "limitOrderFailed",
    "maxChaseType",
    "maxChaseVal",
    "moveTriggerPx",
    "ordId",
    "ordPx",
    "pxLimit",
    "pxSpread",
    "pxVar",
    "quickMgnType",
    "reqId",
    "slOrdPx",
    "slTriggerPx",
    "slTriggerPxType",
    "szLimit",
    "timeInterval",
    "tpOrdPx",
    "tpTriggerPx",
    "tpTriggerPxType",
    "triggerPx",
    "triggerPxType",
    "triggerTime",
)


def algo_state(order: Order) -> str:
    """Return the venue's ``state`` of an algo order."""
    return _STATES.get(order.status, "live")


def describe_algo(order: Order) -> Json:
    """Return what REST and the channel ``orders-algo`` both say of an algo order."""
    market, terms, extra = order.market, order.terms, order.terms.extra
    price = market.instrument.price
    spot = type_of(market.instrument) == "SPOT"
    at = price.text(order.price) if order.price else "-1"
    entry: Json = dict.fromkeys(_EMPTY, "")
    kind = extra.get("trigger", "")
    if kind:  # "sl" or "tp": a conditional order
        prefix = kind
        entry[f"{prefix}OrdPx"] = at
    else:
        prefix = ""
        entry["ordPx"] = at
    name = f"{prefix}TriggerPx" if prefix else "triggerPx"
    entry |= {name: price.text(terms.stop_price), f"{name}Type": terms.trigger}
    entry |= {
        "actualSz": "0",
        "algoClOrdId": terms.client_id,
        "algoId": str(order.id),
        "attachAlgoOrds": [],
        "cTime": str(order.created_ms),
        "clOrdId": "",
        "closeFraction": "1" if terms.close_position else "",
        "instId": market.instrument.symbol,
        "instType": type_of(market.instrument),
        "isTradeBorrowMode": "",
        "last": price.text(market.stats.last),
        "lever": "" if spot else str(leverage_of(order.account, market)),
        "linkedOrd": {"ordId": ""},
        "notionalUsd": "",
        "ordIdList": [],
        "ordType": extra.get("ordType", ""),
        "posSide": position_side(terms.position_side, market),
        "reduceOnly": "true" if terms.reduce_only else "false",
        "side": "buy" if terms.side is Side.BUY else "sell",
        "state": algo_state(order),
        "sz": size_of(order),
        "tag": terms.tag,
        "tdMode": extra.get("tdMode", "cross"),
        "tgtCcy": extra.get("tgtCcy", ""),
        "uTime": str(order.updated_ms),
    }
    if order.triggered_id:
        entry |= {
            "actualSide": kind,
            "ordId": str(order.triggered_id),
            "ordIdList": [str(order.triggered_id)],
            "triggerTime": str(order.updated_ms),
        }
    if entry["state"] == "order_failed":
        entry["failCode"] = "51008"
    return entry
