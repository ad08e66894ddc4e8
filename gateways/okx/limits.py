"""OKX's limits on private requests, and what each request takes from them.

Source, read 2026-11: the API v5 guide, "Order book trading" and "Trading account" (the rate limit
of each request), "Overview" (sub-account limit). Limits of orders count per user and instrument,
in any two seconds; REST and WebSocket share them; place, amend and cancel are independent. OKX
tells no usage in its headers.
"""

from gateways.adapter import Cost, Limit
from gateways.message import Request
from gateways.types import Action

PLACE, AMEND, CANCEL = "place", "amend", "cancel"
BATCH_CANCEL = "batch-cancel"
ALGO_PLACE, ALGO_AMEND, ALGO_CANCEL = "algo-place", "algo-amend", "algo-cancel"
ORDER, PENDING, FILLS, FILLS_HISTORY = "order", "pending", "fills", "fills-history"
ALGO_ORDER, ALGO_PENDING = "algo-order", "algo-pending"
BALANCE, POSITIONS, LEVERAGE = "balance", "positions", "leverage"
INSTRUMENTS, BILLS, BILLS_ARCHIVE = "instruments", "bills", "bills-archive"
DEAD_MAN, TIME = "cancel-all-after", "time"
NEW_AND_AMEND = "sub-account"
CONNECT = "connect"

WINDOW_S = 2.0


def _limit(name: str, most: int, *, scoped: bool = False, per: str = "account") -> Limit:
    return Limit(name, most, WINDOW_S, aligned=False, per=per, scoped=scoped)


LIMITS = (
    _limit(PLACE, 60, scoped=True),
    _limit(AMEND, 60, scoped=True),
    _limit(CANCEL, 60, scoped=True),
    _limit(BATCH_CANCEL, 300, scoped=True),
    # New orders and amendments of all instruments together: code 50061.
    _limit(NEW_AND_AMEND, 1000),
    _limit(ALGO_PLACE, 20, scoped=True),
    _limit(ALGO_AMEND, 20),
    _limit(ALGO_CANCEL, 20, scoped=True),
    _limit(ORDER, 60, scoped=True),
    _limit(PENDING, 60),
    _limit(ALGO_ORDER, 20),
    _limit(ALGO_PENDING, 20),
    _limit(FILLS, 60),
    _limit(FILLS_HISTORY, 10),
    Limit(BILLS, 5, 1.0, aligned=False, per="account"),
    _limit(BILLS_ARCHIVE, 5),
    _limit(BALANCE, 10),
    _limit(POSITIONS, 10),
    _limit(LEVERAGE, 20),
    _limit(INSTRUMENTS, 20, scoped=True, per="address"),
    Limit(DEAD_MAN, 1, 1.0, aligned=False, per="account", reserve=0.0),
    _limit(TIME, 10, per="address"),
    Limit(CONNECT, 3, 1.0, aligned=False, per="address", reserve=0.0),
)

_SUB_ACCOUNT = Cost(NEW_AND_AMEND)
_KNOWN: dict[tuple[str, str], tuple[Cost, ...]] = {}
_KNOWN_MAX = 1 << 14


def costs(name: str, scope: str = "") -> tuple[Cost, ...]:
    """Return what one request of a kind costs; the same tuple each time."""
    key = (name, scope)
    found = _KNOWN.get(key)
    if found is None:
        if len(_KNOWN) >= _KNOWN_MAX:
            _KNOWN.clear()
        first = Cost(name, 1, scope)
        found = (first, _SUB_ACCOUNT) if name in (PLACE, AMEND) else (first,)
        _KNOWN[key] = found
    return found


_ACTIONS = {
    Action.NEW: (PLACE, ALGO_PLACE),
    Action.AMEND: (AMEND, ALGO_AMEND),
    Action.CANCEL: (CANCEL, ALGO_CANCEL),
    Action.QUERY: (ORDER, ALGO_ORDER),
}
_UNSCOPED = frozenset(limit.name for limit in LIMITS if not limit.scoped)
_OTHERS = {
    Action.CANCEL_ALL: PENDING,
    Action.RECONCILE: PENDING,
    Action.LEVERAGE: LEVERAGE,
    Action.MARGIN_MODE: LEVERAGE,
}


def request_costs(request: Request, algo: bool) -> tuple[Cost, ...]:
    """Return the cost of a request; ``algo``: it concerns an order that has not triggered."""
    names = _ACTIONS.get(request.action)
    if names is None:
        return costs(_OTHERS[request.action])
    name = names[algo]
    if request.instrument is None or name in _UNSCOPED:
        return costs(name)
    return costs(name, request.instrument.native)
