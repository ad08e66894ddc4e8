"""Trading through kill -9: ``python -m bench.oms_soak --venue okx --kills 1000``.

A feed, the worker, a gateway and an OMS run under their supervisor against the simulated venue,
which is a process of its own. This process is a strategy: it wants random orders near the market,
amends and cancels them, while at random moments the OMS or the gateway is killed with SIGKILL, or
the strategy itself forgets everything and attaches anew.

Afterwards everything is cancelled, and what the OMS holds must equal the venue's own books: every
order at the venue once and wanted by us, nothing open, nothing unknown, the same trades, the same
position; and every intent must have got an answer. A difference ends in the exit code 1.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from bench.orders import KEY, PASSPHRASE, SECRET, UNIFIED, VENUES, serve
from engine.common import OrderType, Side, TimeInForce
from engine.counters import CountersReader
from engine.errors import RingFull, SegmentError, TradeInfraError
from engine.segment import WRITER_PID, list_segments, unlink_segment
from engine.table import TableReader
from feeds.types import BOOK_IMAGE, BookState
from gateways.ids import ClientIds
from oms.client import Trader
from oms.control import Control
from oms.types import Deny, IntentAction, OrderState, UpdateKind

ACCOUNT, STRATEGY = "soak", "soak"
FACTOR = 100.0
"""Of the venue's limits."""
UP_S = 180.0
SETTLE_S = 60.0
VICTIMS = ("oms", "oms", "gateway", "strategy")


def config(venue: str, port: int, instance: str, journal: str) -> str:
    """Return the configuration of the processes."""
    symbol = UNIFIED[venue]
    gateway = f'account = "{ACCOUNT}", venue = "{venue}", limit_factor = {FACTOR}'
    gateway += ", request_timeout_s = 0.5, backoff_max_s = 0.5"
    oms = f'accounts = {{ {ACCOUNT} = "{venue}" }}, strategies = ["{STRATEGY}"]'
    oms += f', journal = "{journal}", sync_ms = 0, chunk_mb = 8'
    return f"""
instance = "{instance}"
environment = "simulator"

[endpoints.{venue}]
rest = "http://127.0.0.1:{port}/{venue}"
websocket = "ws://127.0.0.1:{port}/{venue}"

[[process]]
name = "feed"
agents = [{{ kind = "feed", venue = "{venue}", symbols = ["{symbol}"] }}]

[[process]]
name = "worker"
agents = [{{ kind = "market-data", venues = ["{venue}"] }}]

[[process]]
name = "gateway"
agents = [{{ kind = "gateway", {gateway} }}]

[[process]]
name = "oms"
agents = [{{ kind = "oms", {oms} }}]
"""


class Soak:
    """One venue's processes, and the strategy."""

    def __init__(self, venue: str, port: int, instance: str, seed: int) -> None:
        self.venue, self.port, self.instance = venue, port, instance
        self.rng = random.Random(f"{seed}/{venue}")
        self.trader: Trader
        self.wanted: dict[int, str] = {}
        """Order number -> what the OMS said of it first; empty: nothing yet."""
        self.fills: dict[tuple[int, int], int] = {}
        """Trade id and side -> signed quantity."""
        self.live: dict[int, int] = {}
        """Order number -> price."""
        self.counts: Counter[str] = Counter()
        self.client_ids: dict[int, int] = {}
        self.position: int | Literal["latest"] = "latest"

    def attach(self) -> None:
        """Become the strategy, with what the tables say."""
        deadline = time.monotonic() + UP_S
        while True:
            try:
                self.trader = Trader.open(self.instance, STRATEGY, UP_S, self.position)
                break
            except SegmentError:  # The OMS is on its way back.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.instrument = self.trader.instrument(UNIFIED[self.venue], self.venue)
        self.books = TableReader.attach(self.instance, "md.books", BOOK_IMAGE, wait_s=UP_S)
        self.live = {int(o["number"]): int(o["price"]) for o in self.trader.open_orders()}

    def detach(self) -> None:
        """Let go, but for where we stopped reading."""
        self.position = self.trader.stream.position
        self.trader.close()
        self.books.close()

    def drain(self) -> None:
        """Take in what the OMS says."""
        for update in self.trader.updates():
            kind, number = UpdateKind(int(update["kind"])), int(update["number"])
            self.counts[kind.name.lower()] += 1
            if update["action"] == IntentAction.NEW and kind in (
                UpdateKind.ROUTED,
                UpdateKind.DENIED,
            ):
                self.wanted[number] = kind.name
                self.client_ids[number] = int(update["client_id"])
                if kind is UpdateKind.DENIED:
                    self.counts[f"denied: {Deny(int(update['reason'])).name.lower()}"] += 1
            if kind is UpdateKind.FILL:
                side = int(update["side"])
                key = int(update["trade_id"]), side
                self.fills[key] = side * int(update["last_quantity"])
            if kind is UpdateKind.DENIED or update["state"] >= OrderState.FILLED:
                self.live.pop(number, None)

    def act(self) -> None:
        """Want one random thing."""
        rng, trader = self.rng, self.trader
        draw = rng.random()
        if self.live and (draw < 0.35 or len(self.live) > 60):
            number = rng.choice(list(self.live))
            del self.live[number]
            trader.cancel(number)
            return
        if self.live and draw < 0.42:
            number = rng.choice(list(self.live))
            price = self.live[number] + rng.choice((-1, 1)) * self.tick
            trader.intent(
                IntentAction.AMEND, number, instrument=self.instrument.number, price=price
            )
            return
        self._new()

    def _new(self) -> None:
        rng = self.rng
        image = self.books.read(self.instrument.number)
        if image["state"] != BookState.LIVE:
            return
        side = rng.choice((Side.BUY, Side.SELL))
        best = int((image["bids"] if side is Side.BUY else image["asks"])[0][0])
        time_in_force = rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC))
        price = best - side * rng.randrange(-3, 30) * self.tick
        number = self.trader.intent(
            IntentAction.NEW,
            instrument=self.instrument.number,
            side=side,
            price=price,
            quantity=self.least + rng.randrange(5) * self.lot,
            order_type=OrderType.LIMIT,
            time_in_force=time_in_force,
        )
        self.wanted[number] = ""
        self.live[number] = price

    def go(self, kills: int, every_s: float) -> None:
        """Trade until so many processes have been killed."""
        terms = self.instrument
        self.tick = terms.price(terms.tick)
        self.lot = terms.quantity(terms.lot)
        image = self.books.read(terms.number)
        worth = (
            terms.lot
            * terms.contract_value
            * Decimal(int(image["bids"][0][0])).scaleb(-terms.price_decimals)
        )
        self.least = self.lot * (1 + int(Decimal(120) / worth))
        due = time.monotonic() + every_s
        while kills:
            self.drain()
            with contextlib.suppress(RingFull):
                self.act()
            time.sleep(0.002)
            if time.monotonic() >= due:
                due = time.monotonic() + every_s * self.rng.uniform(0.3, 1.7)
                kills -= self.kill(self.rng.choice(VICTIMS))

    def kill(self, victim: str) -> int:
        """Kill a process, or forget ourselves; return 1 if it could be done."""
        if victim == "strategy":
            self.detach()
            self.attach()
            self.counts["strategy forgot"] += 1
            return 1
        try:
            reader = CountersReader.attach(self.instance, victim)
        except SegmentError:
            return 0
        pid, alive = int(reader.segment.cells[WRITER_PID]), reader.segment.writer_alive
        reader.close()
        if not alive:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.counts[f"killed {victim}"] += 1
        return 1

    def settle(self) -> None:
        """Cancel everything, and wait until nothing is open or uncertain."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            self.drain()
            with contextlib.suppress(TradeInfraError):
                control = Control(self.instance)
                try:
                    left = control.cancel("firm", b"soak") if control.alive else -1
                    unknown = sum(1 for _ in control.orders(only_unknown=True))
                finally:
                    control.close()
                if left == 0 and unknown == 0:
                    break
            time.sleep(0.2)
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            self.drain()
            time.sleep(0.01)

    def differences(self) -> list[str]:
        """Return what does not agree with the venue's own books."""
        url = f"http://127.0.0.1:{self.port}/control/accounts?venue={self.venue}"
        with urllib.request.urlopen(url) as answer:
            (books,) = json.load(answer)[self.venue].values()
        found, ids = [], ClientIds()
        there: Counter[int] = Counter()
        for order in books["orders"] + books["history"]:
            there[ids.number(order["client_id"])] += 1
            if order["status"] in ("new", "partial", "untriggered"):
                found.append(f"order {order['client_id']} is open at the venue")
        known = {client for client in self.client_ids.values() if client}
        for client, times in there.items():
            if client not in known:
                found.append(f"order {client} at the venue was never wanted")
            if times > 1 and self.venue != "binance_spot":  # It replaces to amend.
                found.append(f"order {client} is {times} times at the venue")
        found += [f"intent {n} got no answer" for n, said in self.wanted.items() if not said]
        control = Control(self.instance)
        try:
            found += [f"order {o['client_id']} is {o['state']}" for o in control.orders()]
            found += self._money(books, list(control.positions()))
        finally:
            control.close()
        return found

    def _money(self, books: dict[str, Any], positions: list[dict[str, Any]]) -> list[str]:
        """Compare the position with the venue's trades, and with our own of the updates."""
        signs = {"buy": 1, "sell": -1}
        venue = sum((signs[f["side"]] * Decimal(f["quantity"]) for f in books["fills"]), Decimal(0))
        told = Decimal(sum(self.fills.values())).scaleb(-self.instrument.quantity_decimals)
        found = []
        if told != venue:
            found.append(f"trades of the venue make {venue}, those told {told}")
        for position in positions:
            if Decimal(position["quantity"]) != venue:
                owner = position["strategy"] or position["account"]
                found.append(f"position of {owner}: {position['quantity']}, the venue {venue}")
        if len(books["fills"]) != len(self.fills):
            found.append(f"{len(books['fills'])} trades there, {len(self.fills)} told")
        return found


@contextlib.contextmanager
def running(venue: str, port: int, instance: str) -> Iterator[None]:
    """Run the processes, and remove their segments in the end."""
    secrets = {"KEY": KEY, "SECRET": SECRET, "PASSPHRASE": PASSPHRASE}
    variables = {
        f"TRADE_INFRA_SECRET_{ACCOUNT.upper()}_{name}": value for name, value in secrets.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "oms.toml"
        path.write_text(config(venue, port, instance, str(Path(folder) / "journal")))
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


def soak(venue: str, kills: int, every_s: float, seed: int) -> dict[str, Any]:
    """Return what a venue's soak came to."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    settings = {"rate": 200.0, "limit_factor": FACTOR, "symbols": [UNIFIED[venue]]}
    settings |= {"seed": seed, "venues": [venue], "history": 1_000_000}
    server = context.Process(target=serve, args=(theirs, settings))
    server.start()
    try:
        port = ours.recv()
        instance = f"omssoak-{os.getpid()}"
        with running(venue, port, instance):
            run = Soak(venue, port, instance, seed)
            run.attach()
            began = time.monotonic()
            run.go(kills, every_s)
            seconds = time.monotonic() - began
            run.settle()
            wrong = run.differences()
            run.detach()
    finally:
        ours.send("stop")
        server.join(5.0)
        server.terminate()
    return {
        "orders": len(run.wanted),
        "trades": len(run.fills),
        "seconds": round(seconds, 1),
        "counts": dict(run.counts),
        "differences": len(wrong),
        "examples": wrong[:20],
    }


def main() -> None:
    """Run and print one JSON line a venue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venue", choices=("all", *VENUES), default="okx")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between kills, about")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    failed = False
    for venue in VENUES if chosen.venue == "all" else (chosen.venue,):
        result = soak(venue, chosen.kills, chosen.every, chosen.seed)
        failed |= result["differences"] > 0
        print(json.dumps({venue: result}), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
