"""Binance's limits, and what each request takes from them.

Weights are counted per address, orders per account, both in whole periods of the clock. WebSocket
and REST requests share them. The venue corrects our model: REST by headers, the WebSocket API by
``rateLimits`` of each answer. Spot counts *unfilled* orders: each first fill gives one back, so
that the model without corrections is on the safe side.

Sources: developers.binance.com, spot "Limits", "Unfilled order count" and each request's weight;
USDⓈ-M "General info" and each request's weight.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateways.adapter import Cost, Limit
from gateways.message import Request
from gateways.types import Action

WEIGHT = "weight"
RAW = "raw_requests"
ORDERS_10S, ORDERS_1M, ORDERS_1D = "orders_10s", "orders_1m", "orders_1d"
CONNECTIONS = "connections"

_CONNECTIONS = Limit(CONNECTIONS, 300, 300.0, aligned=True)

SPOT_LIMITS = (
    Limit(WEIGHT, 6000, 60.0, aligned=True),
    Limit(RAW, 61_000, 300.0, aligned=True),
    Limit(ORDERS_10S, 100, 10.0, aligned=True, per="account"),
    Limit(ORDERS_1D, 200_000, 86_400.0, aligned=True, per="account"),
    _CONNECTIONS,
)
USDM_LIMITS = (
    Limit(WEIGHT, 2400, 60.0, aligned=True),
    Limit(ORDERS_10S, 300, 10.0, aligned=True, per="account"),
    Limit(ORDERS_1M, 1200, 60.0, aligned=True, per="account"),
    _CONNECTIONS,
)

_SPOT_ORDERS = (Cost(ORDERS_10S), Cost(ORDERS_1D))
_USDM_ORDERS = (Cost(ORDERS_10S), Cost(ORDERS_1M))


def weight(units: int) -> tuple[Cost, ...]:
    """Return the cost of a request that takes nothing but weight."""
    return (Cost(WEIGHT, units),)


_NEW_SPOT = weight(1) + _SPOT_ORDERS
_KEEP_PRIORITY = weight(4)
"""Amending takes nothing from the unfilled orders."""
_SPOT = {
    Action.NEW: _NEW_SPOT,
    Action.CANCEL: weight(1),
    Action.CANCEL_ALL: weight(1),
    Action.QUERY: weight(4),
}
_USDM = {
    # Documented with 0 on the address's weight; the documented answer counts 1.
    Action.NEW: weight(1) + _USDM_ORDERS,
    Action.AMEND: weight(1) + _USDM_ORDERS,
    Action.CANCEL: weight(1),
    Action.CANCEL_ALL: weight(1),
    Action.QUERY: weight(1),
    Action.LEVERAGE: weight(1),
    Action.MARGIN_MODE: weight(1),
}


def spot_costs(request: Request, keeps_priority: bool) -> Sequence[Cost]:
    """Return what a spot request takes; ``keeps_priority``: an AMEND in place."""
    if request.action == Action.AMEND:
        return _KEEP_PRIORITY if keeps_priority else _NEW_SPOT
    return _SPOT.get(request.action, ())


def usdm_costs(request: Request) -> Sequence[Cost]:
    """Return what a USDⓈ-M request takes."""
    return _USDM.get(request.action, ())


_HEADERS = {
    "x-mbx-used-weight-1m": Cost(WEIGHT),
    "x-mbx-order-count-10s": Cost(ORDERS_10S),
    "x-mbx-order-count-1m": Cost(ORDERS_1M),
    "x-mbx-order-count-1d": Cost(ORDERS_1D),
}
_FIELDS = {
    ("REQUEST_WEIGHT", "MINUTE", 1): Cost(WEIGHT),
    ("RAW_REQUESTS", "MINUTE", 5): Cost(RAW),
    ("ORDERS", "SECOND", 10): Cost(ORDERS_10S),
    ("ORDERS", "MINUTE", 1): Cost(ORDERS_1M),
    ("ORDERS", "DAY", 1): Cost(ORDERS_1D),
}
_MARK = b'"rateLimits":['


def usage(headers: Mapping[str, str], message: bytes | None = None) -> list[tuple[Cost, int]]:
    """Return what the venue says is used: from REST headers, or from a WebSocket answer."""
    found = []
    for name, value in headers.items():
        cost = _HEADERS.get(name.lower())
        if cost is not None and value.isdecimal():
            found.append((cost, int(value)))
    if message is not None:
        for entry in _rate_limits(message):
            kind = (
                entry.get("rateLimitType", ""),
                entry.get("interval", ""),
                entry.get("intervalNum", 0),
            )
            cost = _FIELDS.get(kind)
            if cost is not None and isinstance(entry.get("count"), int):
                found.append((cost, entry["count"]))
    return found


def _rate_limits(message: bytes) -> list[dict[str, Any]]:
    """Return ``rateLimits`` of an answer without reading the rest: it stands last."""
    start = message.rfind(_MARK)
    if start < 0:
        return []
    end = message.find(b"]", start)
    try:
        entries = orjson.loads(message[start + len(_MARK) - 1 : end + 1])
    except orjson.JSONDecodeError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)]
