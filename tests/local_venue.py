"""A tiny Binance-like server for the feed's tests: numbered messages, faults on request."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from aiohttp import WSCloseCode, web

from feeds.binance import BinanceAdapter
from feeds.binance import endpoints as binance_endpoints
from feeds.binance import session as binance_session

SYMBOLS = ("BTCUSDT", "ETHUSDT")


async def until(condition, seconds=20.0):
    """Wait until ``condition()`` holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def exchange_info(symbols=SYMBOLS) -> dict[str, Any]:
    return {
        "symbols": [
            {
                "symbol": name,
                "status": "TRADING",
                "contractType": "PERPETUAL",
                "baseAsset": name[:-4],
                "quoteAsset": "USDT",
                "marginAsset": "USDT",
                "pricePrecision": 2,
                "quantityPrecision": 3,
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
                    {
                        "filterType": "LOT_SIZE",
                        "stepSize": "0.001",
                        "minQty": "0.001",
                        "maxQty": "1000",
                    },
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
            for name in symbols
        ]
    }


class Variant(BinanceAdapter):
    """Binance USDⓈ-M with other rules, limits or cadences.

    With ``url_bytes=0`` it is subscribed to by messages; with ``depth=False`` it has no snapshot
    by REST that could be joined.
    """

    def __init__(self, *, cadence_s=0.0, limits=None, depth=True, **rules):
        super().__init__(
            replace(binance_endpoints.USDM, **({"limits": limits} if limits else {})),
            binance_session.USDM_MARKET,
            futures=True,
        )
        self._cadence_s, self._depth = cadence_s, depth
        self._rules = replace(binance_session.RULES, **rules)

    @property
    def rules(self):
        return self._rules

    def streams_for(self, native, channels, book=""):
        streams = super().streams_for(native, channels, book)
        return [replace(s, cadence_s=self._cadence_s) for s in streams]

    def ws_url(self, route, streams, environment):
        if self._rules.url_bytes:
            return super().ws_url(route, streams, environment)
        return f"{environment.websocket[route]}/stream"

    def depth_request(self, native):
        return super().depth_request(native) if self._depth else None


class LocalVenue:
    """Sends ``{"stream": s, "data": {"i": n}}`` on each stream; ``n`` counts per stream from 1.

    What is sent can be changed (``message``, ``snapshot``), and how it comes through: connections,
    numbered from 1, may lag behind by so many messages (``lag``), or lose some (``loses``).
    """

    def __init__(self) -> None:
        self.symbols = list(SYMBOLS)
        self.sockets: dict[web.WebSocketResponse, list[str]] = {}
        self.sent: dict[str, int] = {}
        self.connections = 0
        self.most_at_once = 0
        self.interval_s = 0.002
        self.opened_s: list[float] = []
        self.lag: dict[int, int] = {}
        self._numbers: dict[web.WebSocketResponse, int] = {}
        self._waiting: dict[web.WebSocketResponse, deque[str]] = {}
        self.muted = False
        self.silent: set[str] = set()
        """Streams that say nothing."""
        self.unknown: set[str] = set()
        """Streams that make the whole message that names them refused."""
        self.refuse: list[web.Response] = []
        self.depth_answers: list[web.Response] = []
        self.depth_requests: list[str] = []
        self.interest_requests: list[str] = []
        self.received: list[Any] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def serve(self, tls=None) -> AsyncIterator["LocalVenue"]:
        app = web.Application()
        for route in ("", "/public", "/market"):
            app.router.add_get(f"{route}/stream", self._stream)
        for prefix in ("/fapi/v1", "/api/v3"):
            app.router.add_get(f"{prefix}/exchangeInfo", self._info)
            app.router.add_get(f"{prefix}/depth", self._depth)
            app.router.add_get(f"{prefix}/time", self._time)
            app.router.add_get(f"{prefix}/openInterest", self._interest)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=tls)
        await site.start()
        self.port = runner.addresses[0][1]
        pump = asyncio.create_task(self._pump())
        try:
            yield self
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await self.drop()
            await runner.cleanup()

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def drop(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Close every connection."""
        for socket in list(self.sockets):
            with contextlib.suppress(Exception):
                await socket.close(code=code)

    def cut(self) -> None:
        """Cut every connection without a goodbye."""
        for socket in list(self.sockets):
            transport = socket._req.transport
            if transport is not None:
                transport.abort()

    async def say(self, text: str) -> None:
        """Send one text to every connection."""
        for socket in list(self.sockets):
            await socket.send_str(text)

    async def _pump(self) -> None:
        while True:
            if not self.muted:
                wanted = {s for streams in self.sockets.values() for s in streams}
                for stream in sorted(wanted - self.silent):
                    number = self.sent[stream] = self.sent.get(stream, 0) + 1
                    text = f'{{"stream":"{stream}","data":{self.message(stream, number)}}}'
                    for socket, streams in list(self.sockets.items()):
                        if stream in streams:
                            await self._pass_on(socket, text, number)
            await asyncio.sleep(self.interval_s)

    def message(self, stream: str, number: int) -> str:
        """Return the next message of a stream."""
        return f'{{"i":{number}}}'

    def loses(self, connection: int, stream_number: int) -> bool:
        """Whether a connection loses its stream's message of that number."""
        return False

    def snapshot(self, symbol: str) -> Any:
        """Return the body of a depth request."""
        return {"lastUpdateId": len(self.depth_requests), "bids": [], "asks": []}

    async def _pass_on(self, socket: web.WebSocketResponse, text: str, number: int) -> None:
        """Send a message, or the one whose turn it is on a connection that lags."""
        connection, waiting = self._numbers[socket], self._waiting[socket]
        if not self.loses(connection, number):
            waiting.append(text)
        while len(waiting) > self.lag.get(connection, 0):
            with contextlib.suppress(ConnectionError):
                await socket.send_str(waiting.popleft())

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self.refuse:
            return self.refuse.pop(0)
        socket = web.WebSocketResponse()
        self._numbers[socket], self._waiting[socket] = len(self._numbers) + 1, deque()
        await socket.prepare(request)
        names = request.query.get("streams", "")
        self.opened_s.append(asyncio.get_running_loop().time())
        self.sockets[socket] = names.split("/") if names else []
        self.most_at_once = max(self.most_at_once, len(self.sockets))
        try:
            async for message in socket:
                if message.data == "ping":
                    await socket.send_str("pong")
                    continue
                command = json.loads(message.data)
                self.received.append(command)
                await self._subscribed(socket, command)
        finally:
            self.sockets.pop(socket, None)
        return socket

    async def _subscribed(self, socket: web.WebSocketResponse, command: Any) -> None:
        """Answer, and let each new subscription begin with a snapshot."""
        streams, names = self.sockets[socket], command["params"]
        if self.unknown & {*names}:
            error = {"code": 2, "msg": "Invalid request"}
            await socket.send_str(json.dumps({"error": error, "id": command["id"]}))
            return
        await socket.send_str(json.dumps({"result": None, "id": command["id"]}))
        if command["method"] == "UNSUBSCRIBE":
            streams[:] = [stream for stream in streams if stream not in names]
            return
        for stream in names:
            text = f'{{"stream":"{stream}","data":{{"snapshot":{self.sent.get(stream, 0)}}}}}'
            await socket.send_str(text)
        streams.extend(names)

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response(exchange_info(self.symbols))

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"serverTime": 1_700_000_000_000})

    async def _interest(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        self.interest_requests.append(symbol)
        return web.json_response({"symbol": symbol, "openInterest": "1.5", "time": 1})

    async def _depth(self, request: web.Request) -> web.Response:
        self.depth_requests.append(request.query["symbol"])
        if self.depth_answers:
            return self.depth_answers.pop(0)
        body = self.snapshot(request.query["symbol"])
        return web.json_response(body, headers={"X-MBX-USED-WEIGHT-1M": "20"})
