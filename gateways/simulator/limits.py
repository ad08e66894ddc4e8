"""Budgets that a venue enforces: request weight a minute, messages a second, connections."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class WeightBudget:
    """Request weight of one address, counted in whole minutes of the venue's clock.

    Who goes on after ``patience`` refusals in a row is banned for ``ban_s`` seconds.
    """

    limit: int
    patience: int = 10
    ban_s: int = 120
    used: int = 0
    banned_until: float = 0.0
    _minute: int = -1
    _refused: int = 0

    def spend(self, weight: int, now: float) -> int:
        """Use ``weight`` at ``now`` (seconds); return 0, or the status 429 or 418."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self.used = minute, 0
        if now < self.banned_until:
            return 418
        self.used += weight
        if self.used <= self.limit:
            self._refused = 0
            return 0
        self._refused += 1
        if self._refused > self.patience:
            self.banned_until = now + self.ban_s
            self._refused = 0
            return 418
        return 429

    def retry_after(self, now: float) -> int:
        """Seconds until a request can succeed."""
        if now < self.banned_until:
            return max(1, round(self.banned_until - now))
        return 60 - int(now % 60)


@dataclass(slots=True)
class SlidingLimit:
    """At most ``limit`` events within any ``period_s`` seconds."""

    limit: int
    period_s: float
    _times: deque[float] = field(default_factory=deque)

    def allow(self, now: float, count: int = 1) -> bool:
        """Count an event, or several at once; False, and none is counted, if they are too many."""
        times = self._times
        while times and times[0] <= now - self.period_s:
            times.popleft()
        if len(times) + count > self.limit:
            return False
        times.extend([now] * count)
        return True
