"""Orders, side by side: ``python -m bench.orders [--venues okx,bybit] [--orders 1000] [--json]``.

One simulated venue is served from a process of its own, with quiet markets. Clients place orders
that rest far from the market and cancel them, one at a time, and take turns within each round, so
that what the machine does hits them alike:

``gateway``
    A feed (for the instruments) and a gateway, each a process, as ``trade-infra up`` runs them; the
    driver writes request records and reads reports. ``gateway, parked`` sleeps between requests,
    ``gateway`` spins.
``ccxt``, ``python-binance``
    ``bench.order_clients``: one process each, on uvloop as ours.
``bare send``
    What no client can be below: ``send`` of 300 bytes on a connection to the same process, which
    sends them back; the sender spins between its messages.

Each side has the machine to itself in its turn: the processes of all others are stopped (SIGSTOP),
feed and supervisor of the gateway too. The side under test has one core, the venue (and what drives
the gateway) the other one, which a process of idle priority keeps from falling asleep: a real venue
is another machine, and ``send`` need not wake it. Before each order the user is awake for a
moment, as one is who decides; the driver sleeps while the order is on its way. The first orders
of each turn, and the whole first turn, only warm up.

Measured, in microseconds: *request → socket* from the moment in which the user asks (hands the
request's record to the ring, calls the client's method) to the return of the write on the socket;
*event → user* from the read of the socket that brings the order's event to the moment in which the
report record is written (or the client's call returns it); *round trip* from asking to that moment.
Ratios are of the medians, to the first side. Clients that are not installed are left out (extra
``clients``).
"""

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from engine.common import OrderType, Side, TimeInForce
from engine.segment import list_segments, unlink_segment
from gateways.simulator.account import AccountSettings
from gateways.simulator.server import demo_account

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
QUANTITY = {"okx": 1.0}
"""In the venue's own units; 0.01 coins elsewhere."""
AWAY = 0.8
"""Of the best bid: where the orders rest."""
PAUSE_S = 0.01
"""Between orders."""
AWAKE_NS = 300_000
"""So long does the user spin before each order."""
ON_ITS_WAY_S = 0.004
"""The gateway's driver sleeps so long after each request, so that nothing runs beside it."""
FACTOR = 50.0
"""Of the venue's limits, for everybody."""
TURN = 30
"""Orders in a turn. A turn is shorter than a second: real-time processes may spin so long."""
WARM = 5
"""Orders at the beginning of each turn that do not count."""
START_S = 600.0
"""For a side to be ready: it may have to compile."""
SETTLE_S = 0.15
"""Before a turn, for what has been waiting for the side; and after it."""
BARE_BYTES = 300
STAGES = ("request_to_socket", "event_to_user", "round_trip")
Samples = dict[str, list[int]]


def cores() -> tuple[set[int], set[int]]:
    """Return the cores of the side under test, and of the venue and what drives the gateway."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, {others[0] if others else first}


# -- the venue -------------------------------------------------------------------------------------
class _Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        self._write(data)


async def _serve(pipe: Pipe, settings: dict[str, Any], echo: bool) -> None:
    from gateways.simulator import SimulatedVenue, SimulatorSettings

    async with SimulatedVenue(SimulatorSettings(port=0, **settings)) as venue:
        pipe.send(venue.port)
        if echo:
            loop = asyncio.get_running_loop()
            server = await loop.create_server(_Echo, "127.0.0.1", 0)
            pipe.send(server.sockets[0].getsockname()[1])
        while not pipe.poll():  # noqa: ASYNC110 - a pipe has no event
            await asyncio.sleep(0.1)


def serve(pipe: Pipe, settings: dict[str, Any], echo: bool = False) -> None:
    """Serve the simulated venue, and say its port, until something comes through the pipe.

    With ``echo``, a second port sends back what comes.
    """
    import uvloop

    uvloop.run(_serve(pipe, settings, echo))


# -- our side --------------------------------------------------------------------------------------
def gateway_config(venue: str, port: int, instance: str, terms: str, process: str = "") -> str:
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
{process}
agents = [{{ kind = "gateway", account = "bench", venue = "{venue}", {terms} }}]
"""


@contextlib.contextmanager
def running(
    venue: str, port: int, instance: str, terms: str, process: str = "", key: str = KEY
) -> Iterator[None]:
    """Run a feed and a gateway with the settings ``terms``; remove their segments in the end."""
    secrets = {"KEY": key, "SECRET": SECRET, "PASSPHRASE": PASSPHRASE}
    variables = {f"TRADE_INFRA_SECRET_BENCH_{name}": value for name, value in secrets.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.toml"
        path.write_text(gateway_config(venue, port, instance, terms, process))
        command = [sys.executable, "-c", "from engine.cli import main; main()", "up", str(path)]
        quiet = None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL
        supervisor = subprocess.Popen(
            command, env=os.environ | variables, stderr=quiet, stdout=quiet
        )
        try:
            yield
        finally:
            supervisor.terminate()
            supervisor.wait()
            for _, segment in list_segments(instance):
                unlink_segment(instance, segment)


def gateway_side(pipe: Pipe, venue: str, port: int, key: str, spin: bool) -> None:
    """Place and cancel orders through a gateway."""
    from engine.flow import FlowReader, FlowWriter
    from engine.table import TableReader
    from feeds.types import INSTRUMENT
    from gateways.client import GATEWAY_READER, OrderClient, reports_ring, requests_ring
    from gateways.types import REPORT, REQUEST, ReportKind

    instance = f"{INSTANCE}-{os.getpid()}"
    tested, others = cores()
    terms = f"spin = {str(spin).lower()}, limit_factor = {FACTOR}"
    with running(venue, port, instance, terms, f"cpus = {sorted(tested)}", key):
        os.sched_setaffinity(0, others)
        ring = requests_ring("bench")
        requests = FlowWriter.open(instance, ring, REQUEST, 1024, (GATEWAY_READER,))
        reports = FlowReader.attach(instance, reports_ring("bench"), "oms", REPORT, START_S)
        client = OrderClient(requests, reports)
        client.wait_for(ReportKind.UP, timeout_s=60.0)
        table = TableReader.attach(instance, f"feed.{venue}.instruments", INSTRUMENT)
        row = table.read(0)
        price = _rounded(best_bid(venue, port) * AWAY, int(row["price_decimals"]), int(row["tick"]))
        units = QUANTITY.get(venue, 0.01) * 10 ** int(row["quantity_decimals"])
        quantity = max(int(row["lot"]), round(units))
        number = time.time_ns()
        pipe.send("ready")
        while (count := pipe.recv()) is not None:
            samples: Samples = {stage: [] for stage in STAGES}
            for _ in range(count):
                number += 1
                record = _new(number, quantity, price)
                asked = awake()
                requests.publish(record)
                time.sleep(ON_ITS_WAY_S)
                sent = client.wait_for(ReportKind.SENT, ReportKind.NOT_SENT, client_id=number)
                opened = client.wait_for(ReportKind.OPEN, ReportKind.REJECTED, client_id=number)
                if opened["kind"] != ReportKind.OPEN:
                    raise SystemExit(f"{venue}: an order was refused: {opened}")
                samples["request_to_socket"].append(int(sent["received_ns"]) - asked)
                told = int(opened["published_ns"])
                samples["event_to_user"].append(told - int(opened["received_ns"]))
                samples["round_trip"].append(told - asked)
                client.cancel(number, 0)
                time.sleep(PAUSE_S)
                client.wait_for(ReportKind.CANCELED, client_id=number)
            pipe.send(samples)
        table.close()
        client.close()


def _new(number: int, quantity: int, price: int) -> bytes:
    """Return the record that asks for an order."""
    from gateways.types import REQUEST, Action

    record = np.zeros(1, REQUEST.dtype)
    record["requested_ns"], record["request_id"] = time.time_ns(), number
    record["client_id"], record["quantity"], record["price"] = number, quantity, price
    record["action"], record["side"] = Action.NEW, Side.BUY
    record["order_type"], record["time_in_force"] = OrderType.LIMIT, TimeInForce.GTC
    return record.tobytes()


def awake() -> int:
    """Return the time (Unix ns), after having been awake for a moment."""
    until = (now := time.time_ns()) + AWAKE_NS
    while now < until:
        now = time.time_ns()
    return now


def keep_awake() -> None:
    """Spin with idle priority on the venue's core until the end."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, cores()[1])
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


def _rounded(price: float, decimals: int, tick: int) -> int:
    return int(round(price * 10**decimals) // tick * tick)


def best_bid(venue: str, port: int) -> float:
    """Return the venue's best bid."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/control/state?levels=1") as answer:
        symbols = json.load(answer)["venues"][venue]["symbols"]
    native = NATIVE.get(venue, "BTCUSDT")
    return float(symbols[native]["bid"][0])


def bare_side(pipe: Pipe, venue: str, port: int, key: str, echo: int) -> None:
    """Send bytes and wait until they are back."""
    os.sched_setaffinity(0, cores()[0])
    data = b"x" * BARE_BYTES
    with socket.create_connection(("127.0.0.1", echo)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setblocking(False)
        pipe.send("ready")
        while (count := pipe.recv()) is not None:
            samples: Samples = {stage: [] for stage in STAGES}
            for _ in range(count):
                until = time.time_ns() + round((ON_ITS_WAY_S + PAUSE_S) * 1e9)
                while (asked := time.time_ns()) < until:
                    pass
                line.send(data)
                sent, left = time.time_ns(), BARE_BYTES
                while left and time.time_ns() < until + 10**9:
                    with contextlib.suppress(BlockingIOError):
                        read = time.time_ns()
                        left -= len(line.recv(left))
                done = time.time_ns()
                samples["request_to_socket"].append(sent - asked)
                samples["event_to_user"].append(done - read)
                samples["round_trip"].append(done - asked)
            pipe.send(samples)


# -- the comparison --------------------------------------------------------------------------------
Sides = dict[str, tuple[Callable[..., None], tuple[Any, ...]]]


def key_of(side: str) -> str:
    """Return the key of a side's account: each has its own, and hears of its own orders only."""
    return side.replace(", ", "-").replace(" ", "-")


def accounts() -> list[AccountSettings]:
    """Return the accounts of all sides."""
    sides = [side for venue in VENUES for side in sides_of(venue, 0)]
    known = {key_of(side): demo_account() for side in sides}
    return [msgspec.structs.replace(account, key=key) for key, account in known.items()]


def sides_of(venue: str, echo: int) -> Sides:
    """Return what can be compared on a venue: name -> (function, arguments behind the port)."""
    from bench.order_clients import binance_side, ccxt_side

    sides: Sides = {
        "gateway": (gateway_side, (True,)),
        "gateway, parked": (gateway_side, (False,)),
        "bare send": (bare_side, (echo,)),
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


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _works(pid: int) -> bool:
    """Return whether a process is needed in a turn: not the gateway's feed and supervisor."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"up" not in words and b"feed" not in words


class Contestant:
    """A side: its processes, which run in its turns only."""

    def __init__(self, name: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.name, self.samples = name, defaultdict[str, list[int]](list)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_quiet, args=(target, theirs, *arguments))
        self._process.start()
        theirs.close()
        try:
            ready = self._pipe.poll(START_S) and self._pipe.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            self.close()
            raise SystemExit(f"{name} did not start")
        self._signal(signal.SIGSTOP)

    def turn(self, orders: int, *, counts: bool) -> None:
        """Let it place so many orders, and some before that do not count."""
        self._signal(signal.SIGCONT, _works)
        time.sleep(SETTLE_S)
        self._pipe.send(WARM + orders)
        samples = self._pipe.recv()
        self._signal(signal.SIGSTOP)
        time.sleep(SETTLE_S)
        for stage, values in samples.items() if counts else ():
            self.samples[stage] += values[WARM:]

    def close(self) -> None:
        """End it."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(20.0)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _signal(self, number: int, wanted: Callable[[int], bool] = lambda pid: True) -> None:
        assert self._process.pid is not None
        for pid in _family(self._process.pid):
            if wanted(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def compare(
    venue: str, ports: tuple[int, int], orders: int, wanted: list[str]
) -> dict[str, Samples]:
    """Let all sides (those ``wanted``, if any are named) take turns; return their samples."""
    sides: list[Contestant] = []
    try:
        for name, (function, arguments) in sides_of(venue, ports[1]).items():
            if not wanted or name in wanted:
                arguments = (venue, ports[0], key_of(name), *arguments)
                sides.append(Contestant(name, function, arguments))
        for turn in range(1 + -(-orders // TURN)):
            for side in sides:
                side.turn(TURN, counts=turn > 0)
            sides = sides[1:] + sides[:1]
        return {side.name: dict(side.samples) for side in sides}
    finally:
        for side in sides:
            side.close()


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
    parser.add_argument("--orders", type=int, default=1000, help="of each side and venue")
    parser.add_argument("--sides", nargs="*", default=[], help="default: all")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    # A side that is stopped must not be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    quiet: dict[str, Any] = {"rate": 0.0, "limit_factor": FACTOR, "accounts": accounts()}
    quiet["symbols"] = ["BTC/USDT", "BTC/USDT:USDT"]
    server = context.Process(target=serve, args=(theirs, quiet, True))
    server.start()
    idler = context.Process(target=keep_awake, daemon=True)
    idler.start()
    assert server.pid is not None
    os.sched_setaffinity(server.pid, cores()[1])
    ports = ours.recv(), ours.recv()
    results: dict[str, Any] = {}
    try:
        for venue in chosen.venues.split(","):
            samples = compare(venue, ports, chosen.orders, chosen.sides)
            results[venue] = {
                side: {stage: percentiles(samples[side][stage]) for stage in STAGES}
                for side in sides_of(venue, 0)
                if side in samples
            }
            if not chosen.json:
                _print(venue, results[venue])
    finally:
        idler.terminate()
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
                f"{stage.replace('_', ' ')} {found['p50']:7.1f} / {found['p99']:8.1f} / "
                f"{found['p999']:8.1f} ({ratio:5.1f})"
            )
        print(f"  {side:16s} " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
