"""What a duty cycle does when it found nothing to do: spin, yield or park.

``spin`` never gives the core away and is for a core of its own. ``yield`` lets others run and
comes back at once. ``park`` is the default and pleasant on a laptop: it yields a few times, then
sleeps on a doorbell until a writer rings it, or, without a doorbell, for a short while that doubles
up to a bound. Every wait is bounded, so that signals and heartbeats have their turn.
"""

import os
import time
from typing import Literal, Protocol

SLEEP_MIN_S = 0.000_050
SLEEP_MAX_S = 0.001
"""Without a doorbell: the most that parking adds to a latency, for 1 % of a core when idle."""
BELL_WAIT_S = 0.05
"""With a doorbell: a wait ends by itself after this; the heartbeat is due every 100 ms."""
YIELDS = 4
"""Looks at the rings before sleeping; more would take the core that the writer needs."""

__all__ = ["Bell", "Idle", "Park", "Spin", "Yield", "strategy"]


class Bell(Protocol):
    """What ``Park`` needs of an ``engine.doorbell.Doorbell``."""

    def prepare(self) -> int:
        """Announce a wait and return its token."""

    def wait(self, token: int, timeout_s: float) -> None:
        """Sleep until the bell rings after ``prepare``, or until the time is over."""


class Idle(Protocol):
    """Called once a duty cycle with the number of things done in it."""

    def idle(self, work_count: int) -> None:
        """Wait a little if ``work_count`` is 0."""


class Spin:
    """Never wait."""

    def idle(self, work_count: int) -> None:
        """Return at once."""


class Yield:
    """Let other threads and processes run, and come back as soon as the kernel allows."""

    def idle(self, work_count: int) -> None:
        """Give up the rest of the time slice if there was nothing to do."""
        if work_count == 0:
            os.sched_yield()


class Park:
    """Yield a few times, then sleep: on ``bell`` if there is one, else by the clock."""

    def __init__(self, bell: Bell | None = None) -> None:
        self._bell = bell
        self._empty = 0
        self._sleep_s = SLEEP_MIN_S
        self._token: int | None = None

    def idle(self, work_count: int) -> None:
        """Wait the longer the longer there was nothing to do, within the bounds above."""
        if work_count:
            self._empty, self._sleep_s, self._token = 0, SLEEP_MIN_S, None
            return
        self._empty += 1
        if self._empty <= YIELDS:
            os.sched_yield()
        elif self._bell is None:
            time.sleep(self._sleep_s)
            self._sleep_s = min(2 * self._sleep_s, SLEEP_MAX_S)
        elif self._token is None:
            # The caller looks at its rings once more before the wait: what was published before
            # the announcement did not ring.
            self._token = self._bell.prepare()
        else:
            self._bell.wait(self._token, BELL_WAIT_S)
            self._token = None


def strategy(wait: Literal["spin", "yield", "park"], bell: Bell | None = None) -> Idle:
    """Return the idle strategy of that name; ``bell`` serves ``park`` only."""
    if wait == "spin":
        return Spin()
    return Yield() if wait == "yield" else Park(bell)
