"""REST of a gateway: calls within the venue's limits, and the venue's clock."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
import yarl

from engine.errors import TradeInfraError
from engine.net import is_loopback, seconds
from gateways.adapter import Call, OrderAdapter
from gateways.limits import RateLimits

PAGES_MAX = 200
TIME_SAMPLES = 3
"""Of the venue's clock; the one with the quickest answer counts."""
WAIT_MAX_S = 120.0
"""A query that would have to wait longer for its limit fails."""
LIMITED = frozenset({429, 418, 403})
_BAN_S = {429: 10.0, 418: 120.0, 403: 600.0}
"""How long to be quiet where the venue does not say: Binance bans 2 minutes and more, Bybit's 403
lasts 10 minutes."""


class RestFailed(TradeInfraError):
    """A call without a usable answer.

    ``sent`` is False if nothing of it was written; ``status`` is the answer's, 0 without one.
    """

    def __init__(self, text: str, status: int = 0, sent: bool = True) -> None:
        super().__init__(text)
        self.status, self.sent = status, sent


class Reply(NamedTuple):
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_ns: int


class VenueClock:
    """The venue's clock: ours and a measured offset."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def now_ns(self) -> int:
        """Return the venue's time, Unix ns."""
        return time.time_ns() + self.offset_ns

    def now_ms(self) -> int:
        """Return the venue's time, Unix ms."""
        return (time.time_ns() + self.offset_ns) // 1_000_000


async def _tell_written(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    told: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    """Pass on that a request is put on a connection; called by the session."""
    context.trace_request_ctx["leaves"]()


class RestClient:
    """Calls to one venue. Use as an async context manager.

    ``count`` is called with ``rest_requests``, ``rest_failed`` or ``rest_limited``.
    """

    def __init__(
        self,
        adapter: OrderAdapter,
        base: str,
        limits: RateLimits,
        clock: VenueClock,
        log: logging.Logger,
        count: Callable[[str], None] = lambda name: None,
        *,
        timeout_s: float = 10.0,
    ) -> None:
        self._adapter, self._base, self._limits, self._clock = adapter, base, limits, clock
        self._log, self._count = log, count
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s / 2)
        self._session: aiohttp.ClientSession | None = None
        self._banned_ns = 0
        """Until when the venue wants to hear nothing by REST (its clock)."""

    async def __aenter__(self) -> "RestClient":
        """Open the session; proxies of the environment are used."""
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_tell_written)
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, trust_env=not is_loopback(self._base), trace_configs=[trace]
        )
        # Over a connection that drops, the session would send PUT and DELETE a second time: an
        # amendment or a cancel may have had its effect. It has no public setting for that.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the session."""
        assert self._session is not None
        await self._session.close()

    async def send(self, call: Call, on_written: Callable[[], None] = lambda: None) -> Reply:
        """Make a call whose costs have been taken; return the answer, whatever its status.

        ``on_written`` is called when the call is put on a connection: from then on the venue may
        get it, whatever is raised.

        Raises
        ------
        RestFailed
            If there is no answer; ``sent`` says whether the venue may have got the call.

        """
        assert self._session is not None, "use `async with`"
        where = f"{call.method} {call.path.partition('?')[0]}"
        sent_ns = self._clock.now_ns()
        if sent_ns < self._banned_ns:
            raise RestFailed(f"{where}: the venue has banned us", sent=False)
        self._count("rest_requests")
        # The path goes out exactly as it was signed.
        url = yarl.URL(self._base + call.path, encoded=True)
        written = False

        def leaves() -> None:
            nonlocal written
            written = True
            on_written()

        try:
            async with self._session.request(
                call.method,
                url,
                headers=call.headers,
                data=call.body or None,
                allow_redirects=False,
                skip_auto_headers=None if call.body else ("Content-Type",),
                trace_request_ctx={"leaves": leaves},
            ) as response:
                body = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._count("rest_failed")
            raise RestFailed(f"{where}: {type(error).__name__}", sent=written) from None
        self._heed(response.status, response.headers, sent_ns)
        return Reply(response.status, response.headers, body, time.time_ns())

    async def fetch(self, build: Callable[[], Call], urgent: bool = False) -> Reply:
        """Make a query within the limits and return its answer, of status 200.

        ``build`` signs the call anew after each wait: signatures have a time.

        Raises
        ------
        RestFailed
            If the venue does not answer, refuses, or the limits leave no room for very long.

        """
        return (await self.query(build, urgent))[1]

    async def query(self, build: Callable[[], Call], urgent: bool = False) -> tuple[Call, Reply]:
        """Return the call that was made, with its answer, as ``fetch``."""
        call, reply = await self._call(build, urgent)
        if reply.status != 200:
            words = reply.body[:200].decode(errors="replace")
            path = call.path.partition("?")[0]
            if reply.status == 429:
                self.quiet(call, reply.headers)
            raise RestFailed(f"{path}: status {reply.status}: {words}", reply.status)
        return call, reply

    async def call(self, build: Callable[[], Call], urgent: bool = False) -> Reply:
        """Make a call within the limits; return the answer, whatever its status, as ``fetch``."""
        return (await self._call(build, urgent))[1]

    async def _call(self, build: Callable[[], Call], urgent: bool) -> tuple[Call, Reply]:
        waited_s = 0.0
        while True:
            call = build()
            wait_ns = self._limits.take(call.costs, urgent, self._clock.now_ns())
            if not wait_ns:
                break
            wait_s = wait_ns / 1e9 + 0.001
            waited_s += wait_s
            if waited_s > WAIT_MAX_S:
                path = call.path.partition("?")[0]
                raise RestFailed(f"{path}: no room in the rate limits", sent=False)
            await asyncio.sleep(wait_s)
        return call, await self.send(call)

    def _heed(self, status: int, headers: Mapping[str, str], sent_ns: int) -> None:
        """Take note of what an answer says about limits."""
        now_ns = self._clock.now_ns()
        for cost, used in self._adapter.usage(headers):
            self._limits.observe(cost, used, now_ns, sent_ns)
        if status in LIMITED:
            self._count("rest_limited")
            wait_s = seconds(headers.get("Retry-After"))
            self._log.warning("the venue limits us", extra={"status": status, "wait_s": wait_s})
            if status != 429:  # A ban of the address. An order's 429 is the dialect's to interpret.
                self._ban(now_ns + round((wait_s or _BAN_S[status]) * 1e9))

    def _ban(self, until_ns: int) -> None:
        """Be silent by REST, and where else a ban of it counts; orders may go by their socket."""
        self._banned_ns = max(self._banned_ns, until_ns)
        named, limits = self._adapter.dialect.ban_limits, self._limits
        if named is None:
            named = tuple(name for name, each in limits.limits.items() if each.per == "address")
        for name in named:
            limits.block(name, until_ns)

    def quiet(self, call: Call, headers: Mapping[str, str]) -> None:
        """Stop the limits that a refused query counts for."""
        wait_s = seconds(headers.get("Retry-After")) or _BAN_S[429]
        for cost in call.costs:
            self._limits.block(cost.limit, self._clock.now_ns() + round(wait_s * 1e9))

    async def measure_clock(self) -> None:
        """Measure the venue's clock; wrong by at most half the quickest round trip.

        Raises
        ------
        RestFailed
            As ``fetch``.

        """
        best = (1 << 62, 0)
        for _ in range(TIME_SAMPLES):
            before = 0

            def build() -> Call:
                nonlocal before
                before = time.time_ns()
                return self._adapter.time_call()

            reply = await self.fetch(build, urgent=True)
            try:
                venue_ns = self._adapter.parse_time(reply.body) * 1_000_000
            except ValueError as error:
                raise RestFailed(f"the venue's time: {error}") from None
            middle = (before + reply.received_ns) // 2
            best = min(best, (reply.received_ns - before, venue_ns - middle))
        self._clock.offset_ns = best[1]
