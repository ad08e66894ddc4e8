"""What a venue allows of connections and messages, and who waits for it: all within one feed.

The weight of REST requests is in ``feeds.rest``.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from engine.common import RateLimits

HOUR_S = 3600.0
UNLIMITED = 1 << 30


class ConnectBudget:
    """The venue's limits of connection attempts, shared by all lines.

    Parameters
    ----------
    per_5_minutes, per_second
        Attempts; 0 if the venue names no limit.

    """

    def __init__(self, per_5_minutes: int, per_second: int = 0) -> None:
        # One tenth stays free for whoever else connects from this address.
        limits = ((300.0, per_5_minutes), (1.0, per_second))
        self._windows = [(span_s, max(1, most * 9 // 10)) for span_s, most in limits if most]
        self._times: deque[float] = deque(maxlen=max((m for _, m in self._windows), default=0))

    async def take(self) -> None:
        """Wait until one more attempt is allowed, and count it."""
        loop = asyncio.get_running_loop()
        while wait_s := self._wait_s(loop.time()):  # noqa: ASYNC110 - time is what it waits for
            await asyncio.sleep(wait_s)
        self._times.append(loop.time())

    def _wait_s(self, now: float) -> float:
        """Return how long it takes until each window has room again."""
        times = self._times
        full = [(span_s, most) for span_s, most in self._windows if len(times) >= most]
        return max(0.0, *(times[-most] + span_s - now for span_s, most in full), 0.0)


class Outbox:
    """The subscribe and unsubscribe messages of one connection, at the pace that is allowed.

    ``send`` puts one message on the wire.
    """

    def __init__(self, send: Callable[[bytes], None], limits: RateLimits) -> None:
        # One message a second stays free for pings and pongs.
        per_second = limits.messages_per_second
        self._pause_s = 1 / max(1, per_second - 1) if per_second else 0.0
        self._per_hour = limits.subscribe_messages_per_hour
        self._send = send
        self._sent_s: deque[float] = deque()
        self._next_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def left(self) -> int:
        """How many messages may still be sent within this hour."""
        if not self._per_hour:
            return UNLIMITED
        since_s = asyncio.get_running_loop().time() - HOUR_S
        while self._sent_s and self._sent_s[0] <= since_s:
            self._sent_s.popleft()
        return max(0, self._per_hour - len(self._sent_s))

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send the messages in this order, and none of another call's between them."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            for message in messages:
                if loop.time() < self._next_s:
                    await asyncio.sleep(self._next_s - loop.time())
                self._next_s = loop.time() + self._pause_s
                if self._per_hour:
                    self._sent_s.append(loop.time())
                self._send(message)
