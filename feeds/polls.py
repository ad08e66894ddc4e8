"""What a venue tells only when asked: requests in turn, their answers as frames of the raw ring.

Binance's open interest is such a number. The frames (``FrameKind.POLLED``) are the bodies as they
came; the venue's scanner reads them like messages, since they name their instrument.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from engine.frames import FrameKind, FrameWriter
from feeds.adapter import Channel, ExchangeAdapter, RestRequest
from feeds.rest import RestClient, RestFailed

SHARE = 0.1
"""Of the venue's weight per minute: with many instruments a round takes longer."""
FIRST_GAP_S = 1.0
"""Between two requests of the first round, at most: nobody wants to wait for a first number."""

COUNTED = ("polls", "polls_failed")


class Polls:
    """Asks for each instrument's numbers about every ``every_s`` seconds, evenly spread.

    ``natives`` (row -> native symbol) is looked at anew in each round.
    """

    def __init__(
        self,
        adapter: ExchangeAdapter,
        rest: RestClient,
        writer: FrameWriter,
        natives: Mapping[int, str],
        channels: Iterable[Channel],
        count: Callable[[str], None],
        log: logging.Logger,
        every_s: float,
    ) -> None:
        self._adapter, self._rest, self._writer = adapter, rest, writer
        self._natives, self._channels = natives, tuple(channels)
        self._count, self._log, self._every_s = count, log, every_s

    async def run(self) -> None:
        """Ask until cancelled; return at once if the settings say never."""
        most_s = FIRST_GAP_S
        while self._every_s > 0:
            wanted = self.requests()
            round_s = self.round_s(request for _, request in wanted)
            for row, request in wanted:
                await self._ask(row, request)
                await asyncio.sleep(min(round_s / len(wanted), most_s))
            if not wanted:
                await asyncio.sleep(round_s)
            most_s = round_s

    def requests(self) -> list[tuple[int, RestRequest]]:
        """Return what is to be asked for now, with the instrument's row."""
        return [
            (row, request)
            for row, native in self._natives.items()
            for request in self._adapter.polls_for(native, self._channels)
        ]

    def round_s(self, requests: Iterable[RestRequest]) -> float:
        """Return how long a round of these requests takes."""
        budget = SHARE * self._adapter.exchange.limits.rest_weight_per_minute
        weight = sum(request.weight for request in requests)
        return max(self._every_s, 60.0 * weight / budget if budget else 0.0)

    async def _ask(self, row: int, request: RestRequest) -> None:
        """Fetch and publish one answer; a failure is not repeated, the next round comes soon."""
        self._count("polls")
        try:
            body = await self._rest.get(request, retries=0)
            self._writer.publish(body, time.time_ns(), FrameKind.POLLED, 0, row)
        except (RestFailed, ValueError) as error:
            self._count("polls_failed")
            self._log.info(f"not polled: {error}")
