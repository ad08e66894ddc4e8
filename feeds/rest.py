"""REST for feeds: GET requests within the venue's weight budget, with bounded, jittered retries."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable

import aiohttp

from engine.errors import TradeInfraError
from engine.net import is_loopback, seconds
from feeds.adapter import ExchangeAdapter, RestRequest

BUDGET_SHARE = 0.8
"""Of the venue's weight per minute: the rest is for whoever else uses this address."""
WINDOW_S = 60.0
BAN_S = 120.0
"""How long to be quiet after a ban (418) that does not say how long it lasts."""
RETRIES = 4
TIME_SAMPLES = 3
"""Of the venue's clock; the one with the quickest answer counts."""
_RETRY_STATUS = frozenset({408, 429, 418, 500, 502, 503, 504})


class RestFailed(TradeInfraError):
    """A request that failed for good, after retries where they make sense.

    ``status`` is that of the answer; 0 if there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class WeightBudget:
    """The weight that may be spent in any 60 seconds; requests wait their turn.

    The venue's own count (a response header) is believed where it is higher: others may share the
    address.
    """

    def __init__(self, per_minute: int) -> None:
        self.most = int(per_minute * BUDGET_SHARE)
        self._spent: deque[tuple[float, int]] = deque()
        self._blocked_until = 0.0

    @property
    def used(self) -> int:
        """The weight spent in the last 60 seconds."""
        self._forget()
        return sum(weight for _, weight in self._spent)

    def _forget(self) -> None:
        now = time.monotonic()
        while self._spent and self._spent[0][0] <= now - WINDOW_S:
            self._spent.popleft()

    async def take(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, and spend it."""
        while True:
            now = time.monotonic()
            if now < self._blocked_until:
                await asyncio.sleep(self._blocked_until - now)
            elif self.most == 0 or not self._spent or self.used + weight <= self.most:
                self._spent.append((now, weight))
                return
            else:
                await asyncio.sleep(max(0.01, self._spent[0][0] + WINDOW_S - now))

    def observe(self, used: int) -> None:
        """Take note of the venue's own count."""
        missing = used - self.used
        if missing > 0 and self.most:
            self._spent.append((time.monotonic(), missing))

    def block(self, seconds: float) -> None:
        """Send nothing for a while: the venue said so."""
        self._blocked_until = max(self._blocked_until, time.monotonic() + seconds)


class RestClient:
    """GET requests to one venue. Use as an async context manager.

    ``count`` is called with ``rest_requests``, ``rest_retries`` or ``rest_limited`` (429, 418).
    """

    def __init__(
        self,
        adapter: ExchangeAdapter,
        base: str,
        log: logging.Logger,
        count: Callable[[str], None] = lambda name: None,
        *,
        timeout_s: float = 10.0,
        backoff_s: float = 0.25,
    ) -> None:
        self._adapter, self._base, self._log, self._count = adapter, base, log, count
        self.budget = WeightBudget(adapter.exchange.limits.rest_weight_per_minute)
        self._timeout, self._backoff_s = aiohttp.ClientTimeout(total=timeout_s), backoff_s
        self._session: aiohttp.ClientSession | None = None
        self._random = random.Random()

    async def __aenter__(self) -> "RestClient":
        """Open the session; proxies of the environment are used."""
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, trust_env=not is_loopback(self._base)
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the session."""
        assert self._session is not None
        await self._session.close()

    async def get(self, request: RestRequest, retries: int = RETRIES) -> bytes:
        """Return the body of a successful answer.

        Raises
        ------
        RestFailed
            If the venue refuses the request, or does not answer it ``retries`` times over.

        """
        attempt = 0
        while True:
            await self.budget.take(request.weight)
            self._count("rest_requests")
            try:
                return await self._get(request)
            except RestFailed as error:
                if attempt >= retries or (error.status and error.status not in _RETRY_STATUS):
                    raise
                delay = self._backoff_s * 2.0**attempt * self._random.uniform(0.5, 1.5)
                attempt += 1
                self._count("rest_retries")
                self._log.info("retrying", extra={"why": str(error), "attempt": attempt})
                await asyncio.sleep(delay)

    async def _get(self, request: RestRequest) -> bytes:
        assert self._session is not None, "use `async with`"
        url = self._base + request.path
        try:
            async with self._session.get(url) as response:
                self._heed(response)
                body = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise RestFailed(f"GET {url}: {error or type(error).__name__}") from None
        if response.status != 200:
            words = body[:200].decode(errors="replace")
            raise RestFailed(f"GET {url}: status {response.status}: {words}", response.status)
        return body

    def _heed(self, response: aiohttp.ClientResponse) -> None:
        """Take note of what the answer says about limits."""
        header = self._adapter.weight_header
        used = response.headers.get(header, "") if header else ""
        if used.isdigit():
            self.budget.observe(int(used))
        if response.status in (429, 418):
            self._count("rest_limited")
            wait_s = seconds(response.headers.get("Retry-After"))
            # A 429 that is not heeded becomes a ban; without a figure, the window is the answer.
            self.budget.block(wait_s or (BAN_S if response.status == 418 else WINDOW_S))
            self._log.warning(
                "rate limited", extra={"status": response.status, "wait_s": wait_s or "unsaid"}
            )

    async def time_offset_ns(self) -> int:
        """Return the venue's clock minus ours; wrong by at most half the quickest round trip."""
        best = (1 << 62, 0)
        for _ in range(TIME_SAMPLES):
            before = time.time_ns()
            body = await self.get(self._adapter.time_request(), retries=0)
            after = time.time_ns()
            offset = self._adapter.parse_time(body) - (before + after) // 2
            best = min(best, (after - before, offset))
        return best[1]
