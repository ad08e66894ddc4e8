"""An event loop that sleeps until a ring has something: a thread on the doorbell wakes it.

The bell is a futex, which a loop cannot watch. A thread parks on it, looks whether it is the ring
in question that has something (other rings of the family ring the same bell), and only then wakes
the loop. It sleeps outside the interpreter's lock and touches nothing but the bell and one word.
"""

import asyncio
import threading
from collections.abc import Callable

from engine.doorbell import Doorbell
from engine.errors import SegmentError

WAIT_S = 0.05
"""A wait ends by itself after this: so long takes the end of the thread."""


class BellWatch:
    """Calls ``wake`` on the loop whenever ``has_news()`` (called in the thread) is true.

    The loop answers each call with ``rearm`` once it has looked at the ring.
    """

    def __init__(
        self, bell: Doorbell, has_news: Callable[[], bool], wake: Callable[[], None]
    ) -> None:
        self._bell, self._has_news, self._wake = bell, has_news, wake
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._ready = threading.Event()
        self._ready.set()
        self._thread = threading.Thread(target=self._watch, name="doorbell", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls, instance: str, ring: str, has_news: Callable[[], bool], wake: Callable[[], None]
    ) -> "BellWatch | None":
        """Watch the bell of a ring; None if there is none that we may use."""
        try:
            return cls(Doorbell.open(instance, ring), has_news, wake)
        except SegmentError:
            return None

    def rearm(self) -> None:
        """Wake the loop again for what comes from now on."""
        self._ready.set()

    def _watch(self) -> None:
        while not self._ended:
            if not self._ready.wait(WAIT_S):
                continue
            token = self._bell.prepare()
            if not self._has_news():
                self._bell.wait(token, WAIT_S)
                if self._ended or not self._has_news():
                    continue
            self._ready.clear()
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # The loop is closed.
                return

    def close(self) -> None:
        """End the thread, and let go of the bell."""
        self._ended = True
        self._ready.set()
        self._bell.ring()
        self._thread.join()
        self._bell.close()
