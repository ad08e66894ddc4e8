"""Bybit's limits on private requests, and what each request takes from them.

Source, read 2026-11: bybit-exchange.github.io/docs/v5, "Rate Limit Rules", "Websocket Trade
Guideline". Limits of requests count per user in any second; REST and WebSocket share them. Spot has
limits of its own. 600 REST requests in 5 s from an address: more is answered by HTTP 403 for ten
minutes. Each of the two venues that share an address takes half of that.
"""

from gateways.adapter import Cost, Limit
from gateways.message import Request
from gateways.types import Action

CREATE, AMEND, CANCEL, CANCEL_ALL = "create", "amend", "cancel", "cancel-all"
REALTIME, HISTORY, EXECUTIONS = "realtime", "history", "executions"
POSITIONS, WALLET = "positions", "wallet"
LEVERAGE, ISOLATED, DEAD_MAN = "set-leverage", "switch-isolated", "dcp"
ADDRESS, MESSAGES = "address", "trade-messages"


def _per_second(name: str, most: int) -> Limit:
    return Limit(name, most, 1.0, aligned=False, per="account")


_COMMON = (
    _per_second(REALTIME, 50),
    _per_second(HISTORY, 50),
    _per_second(EXECUTIONS, 50),
    _per_second(POSITIONS, 50),
    _per_second(WALLET, 50),
    _per_second(LEVERAGE, 10),
    _per_second(ISOLATED, 10),
    _per_second(DEAD_MAN, 5),
    Limit(ADDRESS, 300, 5.0, aligned=False, per="address"),
    # Code 10403 on the trade connection.
    Limit(MESSAGES, 3000, 1.0, aligned=False, per="address"),
)
CONTRACT_LIMITS = (
    _per_second(CREATE, 10),
    _per_second(AMEND, 10),
    _per_second(CANCEL, 10),
    _per_second(CANCEL_ALL, 10),
    *_COMMON,
)
SPOT_LIMITS = (
    _per_second(CREATE, 20),
    _per_second(AMEND, 10),
    _per_second(CANCEL, 20),
    _per_second(CANCEL_ALL, 20),
    *_COMMON,
)

_ACTIONS = {
    Action.NEW: (Cost(CREATE), Cost(MESSAGES)),
    Action.AMEND: (Cost(AMEND), Cost(MESSAGES)),
    Action.CANCEL: (Cost(CANCEL), Cost(MESSAGES)),
    Action.CANCEL_ALL: (Cost(CANCEL_ALL), Cost(ADDRESS)),
    Action.QUERY: (Cost(REALTIME), Cost(ADDRESS)),
    Action.RECONCILE: (Cost(REALTIME), Cost(ADDRESS)),
    Action.LEVERAGE: (Cost(LEVERAGE), Cost(ADDRESS)),
    Action.MARGIN_MODE: (Cost(ISOLATED), Cost(ADDRESS)),
}
_CALLS = {
    name: (Cost(name), Cost(ADDRESS))
    for name in (limit.name for limit in CONTRACT_LIMITS)
    if name not in (ADDRESS, MESSAGES)
}


def costs(name: str) -> tuple[Cost, ...]:
    """Return what a REST request of a kind costs."""
    return _CALLS[name]


def request_costs(request: Request) -> tuple[Cost, ...]:
    """Return the cost of a request."""
    return _ACTIONS[request.action]


OPERATIONS = {
    "order.create": Cost(CREATE),
    "order.amend": Cost(AMEND),
    "order.cancel": Cost(CANCEL),
}
"""What an operation of the trade connection takes: its answers tell how much is left."""
