"""Orders under faults: ``python -m bench.order_soak --venue okx|all --orders 100000``.

For each venue a feed and a gateway run under their supervisor against the simulated venue, which is
a process of its own, with moving markets and limits so high that they do not slow the run down.
This process asks for random orders (all types and times in force, near and far from the market),
amends and cancels them, while requests, answers and events are dropped, delayed, doubled, swapped
and refused, and connections are cut.

Afterwards, with the faults over and one reconciliation, what the reports have said must equal the
venue's own books: every order's end and filled quantity, every trade once and no other, open
orders, balances, positions; no order may stand at the venue twice or without having been asked for,
nothing may be unknown, and no request without an answer. A difference ends in the exit code 1.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from bench.orders import START_S, UNIFIED, VENUES, running, serve
from engine.common import OrderType, Side, TimeInForce
from engine.table import TableReader
from feeds.types import INSTRUMENT
from gateways.client import OrderClient, ReportTimeout
from gateways.ids import ClientIds
from gateways.numbers import trade_number
from gateways.simulator.bybit.ids import trade_text
from gateways.types import (
    Action,
    OrderStatus,
    PositionSide,
    Reason,
    ReportFlag,
    ReportKind,
)

FACTOR = 150.0
"""Of the venue's limits: 1,500 orders a second where the venue takes the fewest."""
IN_FLIGHT = 40
OPEN_MOST = 80
FAULT_ORDERS = 400
"""For so many orders each fault lasts."""
SETTLE_S = 90.0
HISTORY_ORDERS = 4
"""For each order asked for, so many ended orders and fills are remembered by the venue."""
QUIET: dict[str, Any] = {
    "drop": 0.0,
    "duplicate": 0.0,
    "reorder": 0.0,
    "delay_ms": 0.0,
    "request_drop": 0.0,
    "ack_drop": 0.0,
    "ack_delay_ms": 0.0,
    "ack_late": True,
    "order_error": 0,
    "rest_delay_ms": 0.0,
}
FAULTS: list[dict[str, Any]] = [
    {},
    {"drop": 0.05, "streams": "private.*"},
    {"duplicate": 0.2, "streams": "private.*"},
    {"reorder": 0.2, "streams": "private.*"},
    {"delay_ms": 40.0, "streams": "private.*"},
    {"request_drop": 0.05},
    {"ack_drop": 0.05},
    {"ack_delay_ms": 30.0},
    {"ack_late": False},
    {"order_error": 503, "order_effect": True, "order_count": 3},
    {"order_error": 503, "order_effect": False, "order_count": 3},
    {"rest_error": 500, "rest_count": 2},
    {"rest_delay_ms": 100.0},
    {"disconnect": True},
    {"disconnect": True, "drop": 0.1, "streams": "private.*"},
    {
        "request_drop": 0.03,
        "ack_drop": 0.03,
        "drop": 0.03,
        "duplicate": 0.1,
        "streams": "private.*",
    },
]
ENDED = {
    ReportKind.REJECTED: "rejected",
    ReportKind.CANCELED: "canceled",
    ReportKind.EXPIRED: "expired",
    ReportKind.NOT_SENT: "never",
    ReportKind.NOT_FOUND: "never",
}
REQUEST_ENDS = {
    ReportKind.SENT,
    ReportKind.NOT_SENT,
    ReportKind.REJECTED,
}


@dataclass(slots=True)
class Known:
    """One order as the reports tell of it."""

    quantity: int
    price: int
    state: str = "asked"
    filled: int = 0
    inferred: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def may_be_open(self) -> bool:
        """Whether the venue may have it in its book."""
        return self.state in ("asked", "open") and self.filled < self.quantity


@dataclass
class Mirror:
    """All that the reports have said, in the plainest way."""

    orders: dict[int, Known] = field(default_factory=dict)
    fills: dict[tuple[int, int], tuple[int, int, int, Decimal, str]] = field(default_factory=dict)
    balances: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    flights: dict[int, int] = field(default_factory=dict)
    """Requests that nothing has answered yet, and their orders."""
    counts: Counter[str] = field(default_factory=Counter)
    doubled: list[str] = field(default_factory=list)
    unknown: set[int] = field(default_factory=set)
    live: dict[int, None] = field(default_factory=dict)
    """The orders that may be open, in a fixed order."""
    synced: int = 0
    up: bool = True

    def ask(self, number: int, quantity: int, price: int) -> None:
        """Take note of an order that is asked for."""
        self.orders[number] = Known(quantity, price)
        self.live[number] = None

    def take(self, report: np.void) -> None:
        """Take in one report."""
        kind = ReportKind(int(report["kind"]))
        self.counts[kind.name.lower()] += 1
        if kind in (ReportKind.NOT_SENT, ReportKind.REJECTED, ReportKind.UNKNOWN):
            self.counts[f"{kind.name.lower()}: {Reason(int(report['reason'])).name.lower()}"] += 1
        number = int(report["client_id"])
        if kind is not ReportKind.SENT:
            # An event may settle a request whose answer is lost: then it has no request's number.
            asked = int(report["request_id"])
            for request in [r for r, n in self.flights.items() if r == asked or n == number]:
                del self.flights[request]
        if kind is ReportKind.BALANCE:
            unit = Decimal(1).scaleb(-int(report["decimals"]))
            amounts = int(report["quantity"]) * unit, int(report["available"]) * unit
            self.balances[bytes(report["asset"]).decode()] = amounts
        elif kind is ReportKind.POSITION:
            self.positions[int(report["position_side"])] = int(report["quantity"])
        elif kind is ReportKind.SYNC_END:
            self.synced += 1
        elif kind in (ReportKind.UP, ReportKind.DOWN):
            self.up = kind is ReportKind.UP
        elif number and (order := self.orders.get(number)) is not None:
            self._order(order, number, kind, report)
            if order.may_be_open:
                self.live[number] = None
            else:
                self.live.pop(number, None)
        elif number:
            self.counts["foreign"] += 1

    def _order(self, order: Known, number: int, kind: ReportKind, report: np.void) -> None:
        action, status = Action(int(report["action"] or Action.QUERY)), int(report["status"])
        by = f" to {action.name}" if report["action"] else ""
        order.told.append(f"{kind.name}{by} {OrderStatus(status).name} {report['filled']}")
        if kind is ReportKind.UNKNOWN and report["action"] == Action.NEW:
            self.unknown.add(number)
            return
        if kind is ReportKind.FILL:
            self._fill(order, number, report)
        if kind in ENDED and not (kind is ReportKind.NOT_SENT and report["action"] != Action.NEW):
            order.state = ENDED[kind]
        elif kind is ReportKind.STATUS:
            status = OrderStatus(int(report["status"]))
            names = {OrderStatus.CANCELED: "canceled", OrderStatus.EXPIRED: "expired"}
            names |= {OrderStatus.REJECTED: "rejected", OrderStatus.FILLED: "filled"}
            order.state = names.get(status, "open")
        elif kind in (ReportKind.OPEN, ReportKind.TRIGGERED, ReportKind.FILL) and (
            order.state in ("asked", "open", "never")  # An end is final: this was said before.
        ):
            order.state = "open"
        if kind is not ReportKind.SENT:
            self.unknown.discard(number)
        if kind in (ReportKind.AMENDED, ReportKind.STATUS) and report["quantity"]:
            order.quantity, order.price = int(report["quantity"]), int(report["price"])

    def _fill(self, order: Known, number: int, report: np.void) -> None:
        quantity = int(report["last_quantity"])
        order.filled += quantity
        if report["flags"] & ReportFlag.INFERRED:
            order.inferred += quantity
            return
        covered = min(order.inferred, quantity)  # It takes the place of what was made up.
        order.inferred, order.filled = order.inferred - covered, order.filled - covered
        key = int(report["trade_id"]), int(report["side"])
        if key in self.fills:
            self.doubled.append(f"trade {key} of order {number}")
        fee = Decimal(int(report["fee"])).scaleb(-int(report["decimals"]))
        asset = bytes(report["asset"]).decode()
        self.fills[key] = (number, int(report["last_price"]), quantity, fee, asset)


class Control:
    """The simulated venue's control interface."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/control"

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a GET."""
        with urllib.request.urlopen(self._base + path) as answer:
            return json.load(answer)

    def faults(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Faults
        """Change the faults."""
        data = json.dumps(changes).encode()
        request = urllib.request.Request(self._base + "/faults", data, method="POST")
        urllib.request.urlopen(request).close()


class Run:
    """One venue's soak."""

    def __init__(self, venue: str, port: int, seed: int, client: OrderClient, row: np.void) -> None:
        self.venue, self.client, self.control = venue, client, Control(port)
        self.rng, self.mirror, self.row = random.Random(f"{seed}/{venue}"), Mirror(), row
        self.native = bytes(row["native"]).decode()
        self.tick, self.lot = int(row["tick"]), int(row["lot"])
        self.number = time.time_ns() // 1000 * 1000
        self.asked = 0
        self._middle_at, self._fault_at = 0.0, 0
        self.faults: Counter[str] = Counter()
        self._look()

    def _look(self) -> None:
        book = self.control.get("/state?levels=1")["venues"][self.venue]["symbols"][self.native]
        unit = 10 ** int(self.row["price_decimals"])
        self.bid, self.ask = (int(Decimal(book[side][0]) * unit) for side in ("bid", "ask"))
        self._middle_at = time.monotonic() + 0.5

    def drain(self) -> None:
        """Take in all reports that are there."""
        for report in self.client.poll():
            self.mirror.take(report)

    def act(self) -> None:
        """Ask for one random thing."""
        rng, live = self.rng, self._live
        draw = rng.random()
        if live and (draw < 0.25 or len(live) >= OPEN_MOST):
            number = live.pop(rng.randrange(len(live)))
            self.mirror.flights[self.client.cancel(number, 0)] = number
        elif live and draw < 0.32:
            number = rng.choice(live)
            order = self.mirror.orders[number]
            price = order.price + rng.choice((-1, 0, 1)) * self.tick
            quantity = max(self.lot, order.quantity + rng.choice((-1, 0, 1)) * self.lot)
            request = self.client.amend(number, 0, price=price, quantity=quantity)
            self.mirror.flights[request] = number
        else:
            self._new()

    def _new(self) -> None:
        rng = self.rng
        side = rng.choice((Side.BUY, Side.SELL))
        kind, how = rng.choices(
            (
                (OrderType.LIMIT, TimeInForce.GTC),
                (OrderType.LIMIT, TimeInForce.IOC),
                (OrderType.LIMIT, TimeInForce.FOK),
                (OrderType.LIMIT, TimeInForce.POST_ONLY),
                (OrderType.MARKET, TimeInForce.IOC),
            ),
            (60, 12, 6, 12, 10),
        )[0]
        away = rng.randrange(-6, 40) * self.tick
        price = self.bid - away if side is Side.BUY else self.ask + away
        units = self._least + rng.randrange(10) * self.lot
        self.number += 1
        self.mirror.ask(self.number, units, price)
        self._live.append(self.number)
        request = self.client.new(
            self.number,
            0,
            side,
            units,
            0 if kind is OrderType.MARKET else price,
            order_type=kind,
            time_in_force=how,
        )
        self.mirror.flights[request] = self.number
        self.asked += 1

    def go(self, orders: int) -> None:
        """Ask for so many orders under faults."""
        self._live: list[int] = []
        value = Decimal(self.bid).scaleb(-int(self.row["price_decimals"]))
        lots = Decimal(self.lot).scaleb(-int(self.row["quantity_decimals"]))
        contract = Decimal(int(self.row["contract_value"])).scaleb(-8)
        self._least = self.lot * (1 + int(Decimal(120) / (value * lots * contract)))
        began = time.monotonic()
        while self.asked < orders:
            self.drain()
            now = time.monotonic()
            if self.asked >= self._fault_at:
                self._fault()
            if now >= self._middle_at:
                self._look()
                self._live = [*self.mirror.live]
            if self.mirror.up and len(self.mirror.flights) < IN_FLIGHT:
                self.act()
            else:
                time.sleep(0.0005)
        self.seconds = time.monotonic() - began

    def _fault(self) -> None:
        self._fault_at = self.asked + FAULT_ORDERS
        chosen = self.rng.choice(FAULTS)
        self.faults[" ".join(sorted(chosen))] += 1
        self.control.faults(**QUIET | {"venue": self.venue, "streams": "*"} | chosen)

    def settle(self) -> None:
        """End the faults, cancel everything and wait until nothing is uncertain."""
        self.control.faults(**QUIET)
        deadline, again = time.monotonic() + SETTLE_S, 0.0
        while time.monotonic() < deadline:
            self.drain()
            live = [*self.mirror.live]
            if not live and not self.mirror.unknown:
                break
            if time.monotonic() >= again:
                self.client.cancel_all(0)
                for number in live[:50]:
                    self.client.cancel(number, 0)
                again = time.monotonic() + 3.0
            time.sleep(0.01)
        before = self.mirror.synced
        self.client.reconcile()
        while self.mirror.synced == before and time.monotonic() < deadline + SETTLE_S:
            self.drain()
            time.sleep(0.01)
        time.sleep(1.0)
        self.drain()

    def differences(self) -> list[str]:
        """Return what the reports and the venue's own books do not agree on."""
        (books,) = self.control.get(f"/accounts?venue={self.venue}")[self.venue].values()
        found = [*self.mirror.doubled]
        found += [f"order {number} is unknown" for number in self.mirror.unknown]
        waiting = self.mirror.flights.items()
        found += [f"request {request} of order {n} has no answer" for request, n in waiting]
        found += self._compare_orders(books["orders"] + books["history"])
        found += self._compare_fills(books["fills"])
        found += self._compare_money(books)
        return found

    def _compare_orders(self, theirs: Iterable[dict[str, Any]]) -> list[str]:
        ids, found = ClientIds(), []
        venue: dict[int, list[dict[str, Any]]] = {}
        for each in theirs:
            venue.setdefault(ids.number(each["client_id"]), []).append(each)
        for number, order in self.mirror.orders.items():
            there = venue.pop(number, [])
            if len(there) > 1 and self.venue != "binance_spot":  # It replaces to amend.
                found.append(f"order {number} is {len(there)} times at the venue")
            filled = sum(self._units(each["filled"]) for each in there)
            if filled != order.filled:
                found.append(f"order {number}: filled {filled} there, {order.filled} told")
            live = any(e["status"] in ("new", "partial", "untriggered") for e in there)
            if live != order.may_be_open:
                states = [each["status"] for each in there]
                told = ", ".join(order.told)
                found.append(f"order {number}: {states} there, {order.state} told: {told}")
            if there and order.state == "never":
                found.append(f"order {number}: {there[-1]['status']} there, never sent told")
        found += [f"order {o[0]['client_id']} was never asked for" for o in venue.values()]
        return found

    def _compare_fills(self, theirs: Iterable[dict[str, Any]]) -> list[str]:
        found, told = [], dict(self.mirror.fills)
        sides = {"buy": 1, "sell": -1}
        for fill in theirs:
            # Bybit's contracts have textual ids on the wire.
            number = trade_number(trade_text(int(fill["id"]), spot=self.venue != "bybit"))
            ours = told.pop((number, sides[fill["side"]]), None)
            if ours is None:
                found.append(f"trade {fill['id']} of {fill['client_id']} was never told")
                continue
            price = int(Decimal(fill["price"]).scaleb(int(self.row["price_decimals"])))
            wanted = price, self._units(fill["quantity"]), Decimal(fill["fee"]), fill["fee_asset"]
            if ours[1:] != wanted:
                found.append(f"trade {fill['id']}: {wanted} there, {ours[1:]} told")
        found += [f"trade {key} is not the venue's" for key in told]
        return found

    def _compare_money(self, books: dict[str, Any]) -> list[str]:
        found = []
        for asset, balance in books["balances"].items():
            amount = self.mirror.balances.get(asset, (Decimal(0), Decimal(0)))[0]
            if abs(amount - Decimal(balance["total"])) > Decimal("1e-8"):
                found.append(f"balance of {asset}: {balance['total']} there, {amount} told")
        for position in books["positions"]:
            if position["symbol"] == self.native:
                side = PositionSide[position["side"].upper()]
                there, told_units = (
                    self._units(position["quantity"]),
                    self.mirror.positions.get(side),
                )
                if there != (told_units or 0):
                    found.append(f"position {side.name}: {there} there, {told_units} told")
        return found

    def _units(self, text: str) -> int:
        return int(Decimal(text).scaleb(int(self.row["quantity_decimals"])))


def soak(venue: str, port: int, orders: int, seed: int) -> dict[str, Any]:
    """Run one venue's soak and return its findings."""
    instance = f"soak-{venue.replace('_', '-')}-{os.getpid()}"
    terms = f"limit_factor = {FACTOR}, request_timeout_s = 0.5, backoff_max_s = 0.5"
    with running(venue, port, instance, terms):
        client = OrderClient.open(instance, "bench", wait_s=START_S)
        client.wait_for(ReportKind.UP, timeout_s=60.0)
        table = TableReader.attach(instance, f"feed.{venue}.instruments", INSTRUMENT)
        run = Run(venue, port, seed, client, table.read(0))
        try:
            run.go(orders)
            run.settle()
        except ReportTimeout as error:
            print(f"{venue}: {error}", file=sys.stderr)
        wrong = run.differences()
        table.close()
        client.close()
    return {
        "orders": run.asked,
        "orders_per_s": round(run.asked / run.seconds),
        "trades": len(run.mirror.fills),
        "inferred": sum(order.inferred > 0 for order in run.mirror.orders.values()),
        "faults": dict(run.faults),
        "reports": dict(run.mirror.counts),
        "ends": dict(Counter(order.state for order in run.mirror.orders.values())),
        "differences": len(wrong),
        "examples": wrong[:20],
    }


def main() -> None:
    """Run the soak and print what it found, one JSON line a venue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venue", choices=("all", *VENUES), default="all")
    parser.add_argument("--orders", type=int, default=100_000, help="of each venue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=300.0, help="of the markets, events a second")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # With the processes that it runs.
    failed = False
    for venue in VENUES if chosen.venue == "all" else (chosen.venue,):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        settings = {"rate": chosen.rate, "limit_factor": FACTOR, "symbols": [UNIFIED[venue]]}
        settings |= {"seed": chosen.seed, "venues": [venue]}
        settings["history"] = HISTORY_ORDERS * chosen.orders
        server = context.Process(target=serve, args=(theirs, settings))
        server.start()
        try:
            result = soak(venue, ours.recv(), chosen.orders, chosen.seed)
        finally:
            ours.send("stop")
            server.join(5.0)
            server.terminate()
        failed |= result["differences"] > 0
        print(json.dumps({venue: result}), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
