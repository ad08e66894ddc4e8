"""What a feed does for a worker that misses something: snapshots by REST, subscriptions renewed.

========== ================================ =====================================================
channel    venue's snapshots come           answer to attempt 0, 1, 2 …
========== ================================ =====================================================
book       by REST                          snapshot; if the stream is silent, from attempt 1 on
                                            also as any other channel
book       in the stream                    subscribe anew; at odd attempts a snapshot by REST
                                            where the venue has one that can be joined
any other                                   subscribe anew (0, 1), replace the connection (2 …)
========== ================================ =====================================================

A silent stream is renewed on every line that carries it. A hole is closed by one snapshot: lines
take turns.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from engine.frames import FrameKind, FrameWriter
from feeds.adapter import CHANNELS, Channel, ExchangeAdapter, RestRequest
from feeds.rest import RestClient, RestFailed
from feeds.session import Sessions
from feeds.types import BookState

AGAIN_S = 5.0
"""A snapshot that could not be had for passing reasons is tried again after this."""
REFUSED_FACTOR = 12
"""So many times later if the venue refused it."""
REPLACE_FROM = 2
"""The attempt from which on a silent stream's connection is replaced."""

COUNTED = (
    "resyncs_received",
    "snapshots_requested",
    "snapshots_fetched",
    "snapshots_failed",
)

_PRIORITY = {BookState.GAP: 0, BookState.STALE: 1}
"""A book that was live and broke comes before one that has never been live."""
_STATES = frozenset(int(state) for state in BookState)


@dataclass(order=True, slots=True)
class _Wanted:
    priority: int
    requested_ns: int
    row: int = field(compare=False)


class Snapshots:
    """Depth snapshots on request: one at a time for an instrument, the most urgent first."""

    def __init__(
        self,
        adapter: ExchangeAdapter,
        rest: RestClient,
        writer: FrameWriter,
        count: Callable[[str], None],
        log: logging.Logger,
    ) -> None:
        self._adapter, self._rest, self._writer = adapter, rest, writer
        self._count, self._log = count, log
        self._queue: asyncio.PriorityQueue[_Wanted] = asyncio.PriorityQueue()
        self._pending: set[int] = set()
        self.natives: dict[int, str] = {}
        """Row -> native symbol, of what is fed."""

    def possible(self, row: int) -> bool:
        """Return whether the venue has a snapshot of an instrument that can be joined."""
        return self._request_of(row) is not None

    def _request_of(self, row: int) -> RestRequest | None:
        native = self.natives.get(row)
        return None if native is None else self._adapter.depth_request(native)

    def request(self, row: int, reason: int, requested_ns: int) -> None:
        """Ask for a snapshot; one that is asked for already is not asked for twice."""
        self._count("snapshots_requested")
        if row in self._pending or not self.possible(row):
            return
        self._pending.add(row)
        priority = _PRIORITY.get(BookState(reason), 2) if reason in _STATES else 2
        self._queue.put_nowait(_Wanted(priority, requested_ns, row))

    async def run(self) -> None:
        """Fetch until cancelled; any number of these may run side by side."""
        while True:
            wanted = await self._queue.get()
            request = self._request_of(wanted.row)
            if request is None:  # Delisted meanwhile.
                self._pending.discard(wanted.row)
                continue
            try:
                body = await self._rest.get(request)
            except RestFailed as error:
                self._count("snapshots_failed")
                self._log.warning(f"no snapshot: {error}")
                self._later(wanted.row, error.status)
                continue
            self._pending.discard(wanted.row)
            self._publish(body, wanted.row)

    def _later(self, row: int, status: int) -> None:
        """Put a failed request back; one that the venue refuses must not eat the budget.

        Nobody sleeps over it: the fetchers are few, and other instruments want their snapshots.
        """
        refused = 400 <= status < 500 and status not in (418, 429)
        delay_s = AGAIN_S * (REFUSED_FACTOR if refused else 1)
        asyncio.get_running_loop().call_later(delay_s, self._again, row)

    def _again(self, row: int) -> None:
        self._queue.put_nowait(_Wanted(2, time.time_ns(), row))

    def _publish(self, body: bytes, row: int) -> None:
        try:
            self._writer.publish(body, time.time_ns(), FrameKind.REST_DEPTH, 0, row)
        except ValueError as error:
            self._count("refused_frames")
            self._log.error(str(error))
            return
        self._count("snapshots_fetched")


class Resyncs:
    """Answers requests (``feeds.types.RESYNC``) by snapshots and renewed subscriptions.

    ``doubt`` is called when a book does not come right at once: its instrument may have changed.
    """

    def __init__(
        self,
        adapter: ExchangeAdapter,
        snapshots: Snapshots,
        sessions: Sessions,
        count: Callable[[str], None],
        log: logging.Logger,
        doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self._doubt = doubt
        self._in_stream = adapter.rules.snapshots == "stream"
        self._snapshots, self._sessions = snapshots, sessions
        self._count, self._log = count, log

    def handle(self, request: np.void) -> None:
        """Do what one request asks for."""
        self._count("resyncs_received")
        row, attempt = int(request["instrument"]), max(0, int(request["attempt"]))
        reason, number = int(request["reason"]), int(request["channel"])
        native = self._snapshots.natives.get(row)
        if native is None or not 0 <= number < len(CHANNELS):
            extra = {"row": row, "channel": number}
            self._log.warning("request for what is not fed", extra=extra)
            return
        channel, silent = CHANNELS[number], reason == BookState.STALE
        if channel is not Channel.BOOK:
            self._renew(native, channel, attempt)
            return
        if attempt:
            self._doubt()
        if not self._in_stream:
            self._snapshots.request(row, reason, int(request["requested_ns"]))
            if silent and attempt:
                self._renew(native, channel, attempt)
        elif attempt % 2 and self._snapshots.possible(row):
            self._snapshots.request(row, reason, int(request["requested_ns"]))
        elif silent and attempt:
            self._renew(native, channel, attempt)
        else:
            self._sessions.renew(native, channel, None if silent else attempt // 2)

    def _renew(self, native: str, channel: Channel, attempt: int) -> None:
        if attempt < REPLACE_FROM:
            self._sessions.renew(native, channel)
        else:
            self._sessions.replace(native, channel)
