"""Orders, side by side: ``python -m bench.orders [--venues okx,bybit] [--orders 200] [--json]``.

One simulated venue is served from a process of its own, with quiet markets. Clients place orders
that rest far from the market and cancel them, one at a time, and take turns within each round, so
that what the machine does hits them alike:

``gateway``
    A feed (for the instruments) and a gateway, each a process, as ``trade-infra up`` runs them; the
    driver writes request records and reads reports. ``gateway, parked`` sleeps between requests,
    ``gateway`` spins.
``ccxt``
    ccxt.pro in one process: ``create_order_ws``, ``watch_orders``.
``python-binance``
    ``ws_create_order`` and ``ws_futures_create_order``; the user's socket.

Measured, in microseconds: *request → socket* from the moment in which the user asks to the return
of the write on the socket; *event → user* from the read of the socket that brings the order's event
to the moment in which the report record is written (or the client's call returns it); *round trip*
from asking to the event in the user's hands. Clients that are not installed are left out, and said
to be (extra ``clients``).
"""

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from engine.common import Side
from engine.segment import list_segments, unlink_segment

KEY, SECRET, PASSPHRASE = "demo-key", "demo-secret", "demo-pass"
INSTANCE = "bench-orders"
VENUES = ("binance_spot", "binance_usdm", "okx", "bybit", "bybit_spot")
NATIVE = {"okx": "BTC-USDT-SWAP"}
UNIFIED = {
    "binance_spot": "BTC/USDT",
    "binance_usdm": "BTC/USDT:USDT",
    "okx": "BTC/USDT:USDT",
    "bybit": "BTC/USDT:USDT",
    "bybit_spot": "BTC/USDT",
}
CCXT = {
    "binance_spot": ("binance", "spot"),
    "binance_usdm": ("binanceusdm", "swap"),
    "okx": ("okx", "swap"),
    "bybit": ("bybit", "swap"),
    "bybit_spot": ("bybit", "spot"),
}
QUANTITY = {"okx": 1.0}
"""In the venue's own units; 0.01 coins elsewhere."""
AWAY = 0.8
"""Of the best bid: where the orders rest."""
PAUSE_S = 0.11
"""Between orders: Binance spot takes 100 in 10 s, Bybit 10 a second."""
STAGES = ("request_to_socket", "event_to_user", "round_trip")
Samples = dict[str, list[int]]


# -- the venue -------------------------------------------------------------------------------------
async def _serve(pipe: Pipe, settings: dict[str, Any]) -> None:
    from gateways.simulator import SimulatedVenue, SimulatorSettings

    async with SimulatedVenue(SimulatorSettings(port=0, **settings)) as venue:
        pipe.send(venue.port)
        while not pipe.poll():  # noqa: ASYNC110 - a pipe has no event
            await asyncio.sleep(0.1)


def serve(pipe: Pipe, settings: dict[str, Any]) -> None:
    """Serve the simulated venue, and say its port, until something comes through the pipe."""
    import uvloop

    uvloop.run(_serve(pipe, settings))


# -- our side --------------------------------------------------------------------------------------
def gateway_config(venue: str, port: int, instance: str, terms: str) -> str:
    """Return a configuration with a feed and a gateway of one venue."""
    symbol = UNIFIED[venue]
    return f"""
instance = "{instance}"
environment = "simulator"

[endpoints.{venue}]
rest = "http://127.0.0.1:{port}/{venue}"
websocket = "ws://127.0.0.1:{port}/{venue}"

[[process]]
name = "feed"
agents = [{{ kind = "feed", venue = "{venue}", symbols = ["{symbol}"], channels = ["top"] }}]

[[process]]
name = "gateway"
agents = [{{ kind = "gateway", account = "bench", venue = "{venue}", {terms} }}]
"""


@contextlib.contextmanager
def running(venue: str, port: int, instance: str, terms: str) -> Iterator[None]:
    """Run a feed and a gateway with the settings ``terms``; remove their segments in the end."""
    secrets = {"KEY": KEY, "SECRET": SECRET, "PASSPHRASE": PASSPHRASE}
    variables = {f"TRADE_INFRA_SECRET_BENCH_{name}": value for name, value in secrets.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.toml"
        path.write_text(gateway_config(venue, port, instance, terms))
        command = [sys.executable, "-c", "from engine.cli import main; main()", "up", str(path)]
        quiet = None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL
        process = subprocess.Popen(command, env=os.environ | variables, stderr=quiet, stdout=quiet)
        try:
            yield
        finally:
            process.terminate()
            process.wait()
            for _, segment in list_segments(instance):
                unlink_segment(instance, segment)


def gateway_side(pipe: Pipe, venue: str, port: int, spin: bool) -> None:
    """Place and cancel orders through a gateway."""
    from engine.table import TableReader
    from feeds.types import INSTRUMENT
    from gateways.client import OrderClient
    from gateways.types import ReportKind

    instance = f"{INSTANCE}-{os.getpid()}"
    with running(venue, port, instance, f"spin = {str(spin).lower()}"):
        client = OrderClient.open(instance, "bench", wait_s=60.0)
        client.wait_for(ReportKind.UP, timeout_s=60.0)
        table = TableReader.attach(instance, f"feed.{venue}.instruments", INSTRUMENT)
        row = table.read(0)
        price = _rounded(_bid(venue, port) * AWAY, int(row["price_decimals"]), int(row["tick"]))
        units = QUANTITY.get(venue, 0.01) * 10 ** int(row["quantity_decimals"])
        quantity = max(int(row["lot"]), round(units))
        number = time.time_ns()
        pipe.send("ready")
        while (count := pipe.recv()) is not None:
            samples: Samples = {stage: [] for stage in STAGES}
            for _ in range(count):
                number += 1
                asked = time.time_ns()
                client.new(number, 0, Side.BUY, quantity, price)
                sent = client.wait_for(ReportKind.SENT, ReportKind.NOT_SENT, client_id=number)
                opened = client.wait_for(ReportKind.OPEN, ReportKind.REJECTED, client_id=number)
                done = time.time_ns()
                if opened["kind"] != ReportKind.OPEN:
                    raise SystemExit(f"{venue}: an order was refused: {opened}")
                samples["request_to_socket"].append(int(sent["received_ns"]) - asked)
                told = int(opened["published_ns"]) - int(opened["received_ns"])
                samples["event_to_user"].append(told)
                samples["round_trip"].append(done - asked)
                client.cancel(number, 0)
                client.wait_for(ReportKind.CANCELED, client_id=number)
                time.sleep(PAUSE_S)
            pipe.send(samples)
        table.close()
        client.close()


def _rounded(price: float, decimals: int, tick: int) -> int:
    return int(round(price * 10**decimals) // tick * tick)


def _bid(venue: str, port: int) -> float:
    """Return the venue's best bid."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/control/state?levels=1") as answer:
        symbols = json.load(answer)["venues"][venue]["symbols"]
    native = NATIVE.get(venue, "BTCUSDT")
    return float(symbols[native]["bid"][0])


# -- the clients of others -------------------------------------------------------------------------
class Marks:
    """When something was written to, and read from, a socket last (Unix ns)."""

    sent = 0
    read = 0


def _mark_aiohttp() -> None:
    import aiohttp
    from aiohttp import client_proto

    send = aiohttp.ClientWebSocketResponse.send_str
    received = client_proto.ResponseHandler.data_received

    async def send_str(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a wrapper
        await send(self, *args, **kwargs)
        Marks.sent = time.time_ns()

    def data_received(self: Any, data: bytes) -> None:  # noqa: ANN401 - a wrapper
        Marks.read = time.time_ns()
        received(self, data)

    aiohttp.ClientWebSocketResponse.send_str = send_str  # type: ignore[method-assign]
    client_proto.ResponseHandler.data_received = data_received  # type: ignore[method-assign]


def _local(urls: Any, base: str) -> Any:  # noqa: ANN401 - ccxt's own nesting
    """Return ccxt's addresses with the host replaced."""
    if isinstance(urls, dict):
        return {name: _local(url, base) for name, url in urls.items()}
    found = re.match(r"(https|wss|http|ws)://[^/]+(/.*)?$", urls) if isinstance(urls, str) else None
    if found is None:
        return urls
    scheme = "http" if found[1].startswith("http") else "ws"
    return f"{scheme}://{base}{found[2] or ''}"


async def _ccxt(pipe: Pipe, venue: str, port: int) -> None:
    import ccxt.pro

    name, kind = CCXT[venue]
    keys = {"apiKey": KEY, "secret": SECRET, "password": PASSPHRASE}
    exchange = getattr(ccxt.pro, name)(keys | {"options": {"defaultType": kind}})
    exchange.has["fetchCurrencies"] = False
    exchange.enableRateLimit = False
    types = {"spot": "spot", "swap": "swap" if name == "okx" else "linear"}
    exchange.options["fetchMarkets"] = {"types": [types[kind]]}
    exchange.urls["api"] = _local(exchange.urls["api"], f"127.0.0.1:{port}/{venue}")
    symbol, price = UNIFIED[venue], round(_bid(venue, port) * AWAY)
    quantity = QUANTITY.get(venue, 0.01)
    try:
        await exchange.load_markets()
        watch = asyncio.ensure_future(exchange.watch_orders(symbol))
        await asyncio.sleep(1.0)
        pipe.send("ready")
        while (count := await asyncio.to_thread(pipe.recv)) is not None:
            samples: Samples = {stage: [] for stage in STAGES}
            for _ in range(count):
                asked = time.time_ns()
                placing = asyncio.ensure_future(
                    exchange.create_order_ws(symbol, "limit", "buy", quantity, price)
                )
                orders = await watch
                done = time.time_ns()
                order = await placing
                assert orders, "ccxt told of no order"
                samples["request_to_socket"].append(Marks.sent - asked)
                samples["event_to_user"].append(done - Marks.read)
                samples["round_trip"].append(done - asked)
                watch = asyncio.ensure_future(exchange.watch_orders(symbol))
                await exchange.cancel_order_ws(order["id"], symbol)
                orders = await watch
                watch = asyncio.ensure_future(exchange.watch_orders(symbol))
                await asyncio.sleep(PAUSE_S)
            pipe.send(samples)
        watch.cancel()
    finally:
        await exchange.close()


def ccxt_side(pipe: Pipe, venue: str, port: int) -> None:
    """Place and cancel orders with ccxt.pro."""
    _mark_aiohttp()
    asyncio.run(_ccxt(pipe, venue, port))


def _mark_websockets() -> None:
    from websockets.asyncio import connection

    send, received = connection.Connection.send, connection.Connection.data_received

    async def marked_send(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a wrapper
        await send(self, *args, **kwargs)
        Marks.sent = time.time_ns()

    def data_received(self: Any, data: bytes) -> None:  # noqa: ANN401 - a wrapper
        Marks.read = time.time_ns()
        received(self, data)

    patched: Any = connection.Connection
    patched.send, patched.data_received = marked_send, data_received


@contextlib.asynccontextmanager
async def _binance_client(venue: str, port: int) -> AsyncIterator[tuple[Any, Any]]:
    from binance import AsyncClient, BinanceSocketManager

    http, ws = f"http://127.0.0.1:{port}/{venue}", f"ws://127.0.0.1:{port}/{venue}"

    class Client(AsyncClient):  # type: ignore[misc]  # untyped
        API_URL = http + "/api"
        FUTURES_URL = http + "/fapi"
        WS_API_URL = ws + "/ws-api/v3"
        WS_FUTURES_URL = ws + "/ws-fapi/v1"

    class Manager(BinanceSocketManager):  # type: ignore[misc]  # untyped
        STREAM_URL = ws + "/"
        FSTREAM_URL = ws + "/"

    client = await Client.create(KEY, SECRET)
    try:
        yield client, Manager(client)
    finally:
        await client.close_connection()


async def _binance(pipe: Pipe, venue: str, port: int) -> None:
    futures = venue == "binance_usdm"
    async with _binance_client(venue, port) as (client, manager):
        place = client.ws_futures_create_order if futures else client.ws_create_order
        cancel = client.ws_futures_cancel_order if futures else client.ws_cancel_order
        price = str(round(_bid(venue, port) * AWAY))
        terms = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        terms |= {"quantity": "0.01", "price": price}
        async with manager.futures_user_socket() if futures else manager.user_socket() as events:
            pipe.send("ready")
            while (count := await asyncio.to_thread(pipe.recv)) is not None:
                samples: Samples = {stage: [] for stage in STAGES}
                for _ in range(count):
                    asked = time.time_ns()
                    placing = asyncio.ensure_future(place(**terms))
                    await _event(events, "NEW")
                    done = time.time_ns()
                    order = await placing
                    samples["request_to_socket"].append(Marks.sent - asked)
                    samples["event_to_user"].append(done - Marks.read)
                    samples["round_trip"].append(done - asked)
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


def binance_side(pipe: Pipe, venue: str, port: int) -> None:
    """Place and cancel orders with python-binance."""
    _mark_websockets()
    asyncio.run(_binance(pipe, venue, port))


# -- the comparison --------------------------------------------------------------------------------
def sides_of(venue: str) -> dict[str, tuple[Callable[..., None], tuple[Any, ...]]]:
    """Return what can be compared on a venue: name -> (function, arguments behind the port)."""
    sides: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
        "gateway": (gateway_side, (True,)),
        "gateway, parked": (gateway_side, (False,)),
    }
    if find_spec("ccxt"):
        sides["ccxt"] = (ccxt_side, ())
    if venue.startswith("binance") and find_spec("binance"):
        sides["python-binance"] = (binance_side, ())
    return sides


def _quiet(function: Callable[..., None], pipe: Pipe, *arguments: Any) -> None:  # noqa: ANN401
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    function(pipe, *arguments)


def compare(
    venue: str, port: int, orders: int, rounds: int, wanted: list[str]
) -> dict[str, Samples]:
    """Let all sides (those ``wanted``, if any are named) take turns; return their samples."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, Samples] = {}
    ends: dict[str, tuple[Any, Pipe]] = {}
    try:
        for name, (function, arguments) in sides_of(venue).items():
            if wanted and name not in wanted:
                continue
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_quiet, args=(function, theirs, venue, port, *arguments)
            )
            process.start()
            theirs.close()
            if not ours.poll(90.0) or ours.recv() != "ready":
                raise SystemExit(f"{venue}: {name} did not start")
            ends[name] = process, ours
            found[name] = defaultdict(list)
        for turn in range(rounds + 1):
            for name, (_, pipe) in ends.items():
                pipe.send(max(10, orders // 10) if turn == 0 else orders // rounds)
                samples = pipe.recv()
                if turn:  # The first turn warms up.
                    for stage, values in samples.items():
                        found[name][stage] += values
    finally:
        for process, pipe in ends.values():
            with contextlib.suppress(OSError):
                pipe.send(None)
            process.join(20.0)
            if process.is_alive():
                process.terminate()
    return found


def percentiles(values: list[int]) -> dict[str, float]:
    """Return p50, p99 and p99.9 in microseconds."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000, 1)

    return {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999)}


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venues", default=",".join(VENUES))
    parser.add_argument("--orders", type=int, default=200, help="of each side and venue")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sides", nargs="*", default=[], help="default: all")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    quiet = {"rate": 0.0, "symbols": ["BTC/USDT", "BTC/USDT:USDT"]}
    server = context.Process(target=serve, args=(theirs, quiet))
    server.start()
    port = ours.recv()
    results: dict[str, Any] = {}
    try:
        for venue in chosen.venues.split(","):
            samples = compare(venue, port, chosen.orders, chosen.rounds, chosen.sides)
            results[venue] = {
                side: {stage: percentiles(values) for stage, values in each.items()}
                for side, each in samples.items()
            }
            if not chosen.json:
                _print(venue, results[venue])
    finally:
        ours.send("stop")
        server.join(5.0)
        server.terminate()
    if chosen.json:
        print(json.dumps(results))


def _print(venue: str, sides: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"\n{venue}: microseconds, p50 / p99 / p99.9")
    base = next(iter(sides.values()))
    for side, stages in sides.items():
        cells = []
        for stage in STAGES:
            found = stages[stage]
            ratio = found["p50"] / base[stage]["p50"]
            cells.append(
                f"{stage.replace('_', ' ')} {found['p50']:8.1f} / {found['p99']:8.1f} / "
                f"{found['p999']:8.1f} ({ratio:5.1f})"
            )
        print(f"  {side:16s} " + "   ".join(cells))


if __name__ == "__main__":
    main()
