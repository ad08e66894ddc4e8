"""The clients of others in ``bench.orders``: ccxt.pro and python-binance, with marks.

The marks are set where bytes go to, and come from, the transport of the WebSocket library below
each client; a read counts as the order's event if the event stands in it.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection as Pipe
from typing import Any

from bench.orders import (
    AWAY,
    PASSPHRASE,
    PAUSE_S,
    QUANTITY,
    SECRET,
    STAGES,
    UNIFIED,
    Samples,
    awake,
    best_bid,
    cores,
)

CCXT = {
    "binance_spot": ("binance", "spot"),
    "binance_usdm": ("binanceusdm", "swap"),
    "okx": ("okx", "swap"),
    "bybit": ("bybit", "swap"),
    "bybit_spot": ("bybit", "spot"),
}
OPENED = {
    "binance_spot": b'"X":"NEW"',
    "binance_usdm": b'"X":"NEW"',
    "okx": b'"state":"live"',
    "bybit": b'"orderStatus":"New"',
    "bybit_spot": b'"orderStatus":"New"',
}
"""What stands in the event of an order that has come to rest, and in no answer."""


class Marks:
    """When something was written to a socket last, and the order's event read (Unix ns)."""

    sent = 0
    event = 0
    sign = b""


def _received(data: bytes) -> None:
    if Marks.sign in data:
        Marks.event = time.time_ns()


def _mark_aiohttp() -> None:
    import aiohttp
    from aiohttp import client_proto

    send = aiohttp.ClientWebSocketResponse.send_str
    received = client_proto.ResponseHandler.data_received

    async def send_str(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a wrapper
        await send(self, *args, **kwargs)
        Marks.sent = time.time_ns()

    def data_received(self: Any, data: bytes) -> None:  # noqa: ANN401 - a wrapper
        _received(data)
        received(self, data)

    aiohttp.ClientWebSocketResponse.send_str = send_str  # type: ignore[method-assign]
    client_proto.ResponseHandler.data_received = data_received  # type: ignore[method-assign]


def _enter(samples: Samples, asked: int, done: int) -> None:
    """Enter the times of one order."""
    if not asked < Marks.sent < done or not asked < Marks.event < done:
        raise SystemExit(f"the marks are wrong: {asked}, {Marks.sent}, {Marks.event}, {done}")
    samples["request_to_socket"].append(Marks.sent - asked)
    samples["event_to_user"].append(done - Marks.event)
    samples["round_trip"].append(done - asked)


def _local(urls: Any, base: str) -> Any:  # noqa: ANN401 - ccxt's own nesting
    """Return ccxt's addresses with the host replaced."""
    if isinstance(urls, dict):
        return {name: _local(url, base) for name, url in urls.items()}
    found = re.match(r"(https|wss|http|ws)://[^/]+(/.*)?$", urls) if isinstance(urls, str) else None
    if found is None:
        return urls
    scheme = "http" if found[1].startswith("http") else "ws"
    return f"{scheme}://{base}{found[2] or ''}"


async def _ccxt(pipe: Pipe, venue: str, port: int, key: str) -> None:
    import ccxt.pro

    name, kind = CCXT[venue]
    keys = {"apiKey": key, "secret": SECRET, "password": PASSPHRASE}
    exchange = getattr(ccxt.pro, name)(keys | {"options": {"defaultType": kind}})
    exchange.has["fetchCurrencies"] = False
    exchange.enableRateLimit = False
    types = {"spot": "spot", "swap": "swap" if name == "okx" else "linear"}
    exchange.options["fetchMarkets"] = {"types": [types[kind]]}
    exchange.urls["api"] = _local(exchange.urls["api"], f"127.0.0.1:{port}/{venue}")
    symbol, price = UNIFIED[venue], round(best_bid(venue, port) * AWAY)
    quantity = QUANTITY.get(venue, 0.01)
    try:
        await exchange.load_markets()
        watch = asyncio.ensure_future(exchange.watch_orders(symbol))
        await asyncio.sleep(1.0)
        pipe.send("ready")
        while (count := await asyncio.to_thread(pipe.recv)) is not None:
            samples: Samples = {stage: [] for stage in STAGES}
            for _ in range(count):
                asked = awake()
                placing = asyncio.ensure_future(
                    exchange.create_order_ws(symbol, "limit", "buy", quantity, price)
                )
                orders = await watch
                done = time.time_ns()
                order = await placing
                assert orders, "ccxt told of no order"
                _enter(samples, asked, done)
                watch = asyncio.ensure_future(exchange.watch_orders(symbol))
                await exchange.cancel_order_ws(order["id"], symbol)
                orders = await watch
                watch = asyncio.ensure_future(exchange.watch_orders(symbol))
                await asyncio.sleep(PAUSE_S)
            pipe.send(samples)
        watch.cancel()
    finally:
        await exchange.close()


def ccxt_side(pipe: Pipe, venue: str, port: int, key: str) -> None:
    """Place and cancel orders with ccxt.pro."""
    import uvloop

    os.sched_setaffinity(0, cores()[0])
    Marks.sign = OPENED[venue]
    _mark_aiohttp()
    uvloop.run(_ccxt(pipe, venue, port, key))


def _mark_websockets() -> None:
    from websockets.asyncio import connection

    send, received = connection.Connection.send, connection.Connection.data_received

    async def marked_send(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a wrapper
        await send(self, *args, **kwargs)
        Marks.sent = time.time_ns()

    def data_received(self: Any, data: bytes) -> None:  # noqa: ANN401 - a wrapper
        _received(data)
        received(self, data)

    patched: Any = connection.Connection
    patched.send, patched.data_received = marked_send, data_received


@contextlib.asynccontextmanager
async def _binance_client(port: int, key: str) -> AsyncIterator[tuple[Any, Any]]:
    from binance import AsyncClient, BinanceSocketManager

    http, ws = f"http://127.0.0.1:{port}/binance", f"ws://127.0.0.1:{port}/binance"

    class Client(AsyncClient):  # type: ignore[misc]  # untyped
        API_URL = f"{http}_spot/api"
        FUTURES_URL = f"{http}_usdm/fapi"
        WS_API_URL = f"{ws}_spot/ws-api/v3"
        WS_FUTURES_URL = f"{ws}_usdm/ws-fapi/v1"

    class Manager(BinanceSocketManager):  # type: ignore[misc]  # untyped
        STREAM_URL = f"{ws}_spot/"
        FSTREAM_URL = f"{ws}_usdm/"

    client = await Client.create(key, SECRET)
    try:
        yield client, Manager(client)
    finally:
        await client.close_connection()


async def _binance(pipe: Pipe, venue: str, port: int, key: str) -> None:
    futures = venue == "binance_usdm"
    async with _binance_client(port, key) as (client, manager):
        place = client.ws_futures_create_order if futures else client.ws_create_order
        cancel = client.ws_futures_cancel_order if futures else client.ws_cancel_order
        price = str(round(best_bid(venue, port) * AWAY))
        terms = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        terms |= {"quantity": "0.01", "price": price}
        async with manager.futures_user_socket() if futures else manager.user_socket() as events:
            pipe.send("ready")
            while (count := await asyncio.to_thread(pipe.recv)) is not None:
                samples: Samples = {stage: [] for stage in STAGES}
                for _ in range(count):
                    asked = awake()
                    placing = asyncio.ensure_future(place(**terms))
                    await _event(events, "NEW")
                    done = time.time_ns()
                    order = await placing
                    _enter(samples, asked, done)
                    await cancel(symbol="BTCUSDT", orderId=order["orderId"])
                    await _event(events, "CANCELED")
                    await asyncio.sleep(PAUSE_S)
                pipe.send(samples)


async def _event(events: Any, status: str) -> None:  # noqa: ANN401 - python-binance has no types
    """Wait for the event of an order with that status."""
    while True:
        message = await asyncio.wait_for(events.recv(), 10.0)
        event = message.get("event", message)
        if (
            event.get("o", {}).get("X") == status
            if isinstance(event.get("o"), dict)
            else (event.get("X") == status)
        ):
            return


def binance_side(pipe: Pipe, venue: str, port: int, key: str) -> None:
    """Place and cancel orders with python-binance."""
    import uvloop

    os.sched_setaffinity(0, cores()[0])
    Marks.sign = OPENED[venue]
    _mark_websockets()
    uvloop.run(_binance(pipe, venue, port, key))
