"""Which of a venue's intervals are due, by the clock's whole multiples."""

from collections.abc import Iterable


class Timetable:
    """Intervals in milliseconds; an interval of 0 is always due."""

    def __init__(self, intervals_ms: Iterable[int]) -> None:
        self._next_ms = dict.fromkeys(intervals_ms, 0)

    def due(self, now_ms: int) -> list[int]:
        """Return the intervals that have come round since the last call, in their order."""
        found = []
        for interval_ms, due_ms in self._next_ms.items():
            # Further away than the interval: the clock has been put back.
            if now_ms >= due_ms or due_ms - now_ms > interval_ms:
                found.append(interval_ms)
                if interval_ms:
                    self._next_ms[interval_ms] = (now_ms // interval_ms + 1) * interval_ms
        return found
