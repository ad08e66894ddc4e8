"""Bybit's request limits: per user, operation and category, in a rolling second; per address.

Sources: the venue's pages ``rate-limit`` (July 2026). A batch is counted by its orders, apart from
single orders; what goes beyond the limit fails, what comes before it succeeds.
"""

from collections import deque
from dataclasses import dataclass, field

PERIOD_MS = 1000
ADDRESS = (600, 5.0)
"""Requests of one address, in how many seconds; then it is shut out."""
SHUT_OUT_S = 600.0
SPOT = {
    "create": 20,
    "amend": 10,
    "cancel": 20,
    "cancel-all": 20,
    "create-batch": 20,
    "amend-batch": 20,
    "cancel-batch": 20,
}
CONTRACT = dict.fromkeys(SPOT, 10)
QUERY = 50
OTHERS = {
    "disconnected-cancel-all": 5,
    "transaction-log": 25,
    "fee-rate": 5,
    "set-leverage": 10,
    "switch-isolated": 10,
    "switch-mode": 10,
    "trading-stop": 10,
    "query-dcp-info": 5,
    "query-api": 10,
    "query-info": 5,
}


@dataclass(slots=True)
class RollingLimit:
    """At most ``limit`` units within any second of the venue's clock."""

    limit: int
    _times: deque[int] = field(default_factory=deque)

    def spend(self, units: int, now_ms: int) -> int:
        """Use up to ``units``; return how many were left to use."""
        times = self._times
        while times and times[0] <= now_ms - PERIOD_MS:
            times.popleft()
        granted = min(units, self.limit - len(times))
        times.extend([now_ms] * granted)
        return granted

    @property
    def left(self) -> int:
        """Units that can be used now."""
        return self.limit - len(self._times)

    def reset_ms(self, now_ms: int) -> int:
        """Return when more can be used: now, unless all is used."""
        return self._times[0] + PERIOD_MS if self._times and not self.left else now_ms


class UserLimits:
    """All limits of one user; all are ``factor`` times those of an ordinary account."""

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor
        self._limits: dict[tuple[str, str], RollingLimit] = {}

    def of(self, operation: str, category: str) -> RollingLimit:
        """Return the limit of an operation; linear and inverse share theirs."""
        group = "spot" if category == "spot" else "contract" if category else ""
        limit = self._limits.get((operation, group))
        if limit is None:
            table = SPOT if group == "spot" else CONTRACT
            most = table.get(operation) or OTHERS.get(operation, QUERY)
            limit = RollingLimit(max(1, int(most * self._factor)))
            self._limits[operation, group] = limit
        return limit


def headers(limit: RollingLimit, now_ms: int) -> dict[str, str]:
    """Return what an answer tells of the limit that its request was counted against."""
    return {
        "X-Bapi-Limit": str(limit.limit),
        "X-Bapi-Limit-Status": str(max(0, limit.left)),
        "X-Bapi-Limit-Reset-Timestamp": str(limit.reset_ms(now_ms)),
    }
