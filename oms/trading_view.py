"""What an observer sees of trading: orders by what became of them, positions, risk use, latency."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from engine.errors import SegmentError, TradeInfraError
from engine.ring import RingReader
from feeds.types import Kind
from gateways.client import reports_ring
from gateways.types import REPORT, Reason, ReportKind
from oms.control import Control
from oms.types import (
    BALANCE,
    UPDATE,
    Alarm,
    Deny,
    IntentAction,
    OrderState,
    UpdateKind,
)

UPDATES_RING = "oms.updates"
ENDED = {
    OrderState.FILLED: "filled",
    OrderState.CANCELED: "canceled",
    OrderState.EXPIRED: "expired",
    OrderState.REJECTED: "rejected",
}

__all__ = ["TradingObserver", "TradingView"]


@dataclass(slots=True)
class TradingView:
    """Trading at one moment. Money is in the reporting currency, as decimal texts."""

    orders: dict[str, Any] = field(default_factory=dict)
    """Sent, filled, canceled, expired, rejected, trades; denied and refused by reason."""
    positions: list[dict[str, Any]] = field(default_factory=list)
    """Of accounts: instrument, ours, the venue's (spot: the balance's change), result, fees."""
    scopes: list[dict[str, Any]] = field(default_factory=list)
    open_orders: int = 0
    unknown: int = 0
    alarms: dict[str, int] = field(default_factory=dict)


class TradingObserver:
    """Follows ``oms.updates`` and the OMS' tables."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._ring: RingReader | None = None
        self._control: Control | None = None
        self._counts: Counter[str] = Counter()
        self._denied: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._alarms: Counter[str] = Counter()
        self._ended: set[int] = set()
        self._began: dict[tuple[int, bytes], Decimal] = {}
        self._begun: set[int] = set()
        """Accounts whose first balances are known."""
        self._trades: set[tuple[int, int, int]] = set()
        self._moved: Counter[tuple[int, int]] = Counter()
        self._paid: dict[tuple[int, bytes], Decimal] = {}

    def close(self) -> None:
        """Detach."""
        for each in (self._ring, self._control):
            if each is not None:
                each.close()
        self._ring = self._control = None

    def look(self) -> TradingView | None:
        """Return how trading stands; None if there is no OMS."""
        if self._ring is None:
            try:
                self._ring = RingReader.attach(self._instance, UPDATES_RING, UPDATE, "oldest")
            except SegmentError:
                return None
        self._read()
        try:
            # Names and instruments that have appeared since are wanted too.
            control = Control(self._instance)
        except TradeInfraError:
            return None
        try:
            return self._view(control)
        finally:
            control.close()

    def _read(self) -> None:
        assert self._ring is not None
        while len(batch := self._ring.poll()):
            copy = batch.copy()
            if self._ring.intact():
                for update in copy:
                    self._count(update)

    def _count(self, update: np.void) -> None:
        kind, state = UpdateKind(int(update["kind"])), int(update["state"])
        reason, number = int(update["reason"]), int(update["client_id"])
        if kind is UpdateKind.ROUTED and update["action"] == IntentAction.NEW:
            self._counts["sent"] += 1
        elif kind is UpdateKind.DENIED:
            self._denied[Deny(reason).name.lower()] += 1
        elif kind is UpdateKind.FILL:
            self._trade(update)
        elif kind is UpdateKind.ALARM:
            self._alarms[Alarm(reason).name.lower()] += 1
        if kind in (UpdateKind.STATE, UpdateKind.FILL) and number > 0 and number not in self._ended:
            name = ENDED.get(OrderState(state)) if state in ENDED else None
            if name:
                self._ended.add(number)
                self._counts[name] += 1
                if name == "rejected":
                    self._rejected[_reason(reason)] += 1

    def _trade(self, update: np.void) -> None:
        """Count a trade, once, and add it up: what it moved, and what was paid for it."""
        instrument, side = int(update["instrument"]), int(update["side"])
        key = instrument, int(update["trade_id"]), side
        if key in self._trades:
            return
        self._trades.add(key)
        self._counts["trades"] += 1
        account = int(update["account"])
        self._moved[account, instrument] += side * int(update["last_quantity"])
        fee = Decimal(int(update["fee"])).scaleb(-int(update["decimals"]))
        asset = account, bytes(update["asset"])
        self._paid[asset] = self._paid.get(asset, Decimal(0)) + fee

    def _ours(self, control: Control, account: int, base: bytes) -> str:
        """Return what our trades have made of an account's balance of a currency."""
        moved = -self._paid.get((account, base), Decimal(0))
        for (owner, number), quantity in self._moved.items():
            row = control.instruments.get(number)
            if owner != account or row is None or row["kind"] != Kind.SPOT:
                continue
            if bytes(row["base"]) == base:
                moved += Decimal(quantity).scaleb(-int(row["quantity_decimals"]))
        return f"{moved:f}"

    def _view(self, control: Control) -> TradingView:
        view = TradingView()
        names = ("sent", "filled", "canceled", "expired", "rejected", "trades")
        view.orders = {name: self._counts[name] for name in names}
        view.orders |= {"denied": dict(self._denied), "refused": dict(self._rejected)}
        view.scopes = list(control.scopes())
        firm = view.scopes[0]["use"] if view.scopes else {}
        view.open_orders, view.unknown = firm.get("open_orders", 0), firm.get("unknowns", 0)
        view.alarms = dict(self._alarms)
        spot = {
            f"{bytes(row['venue']).decode()}:{bytes(row['native']).decode()}": bytes(row["base"])
            for row in control.instruments.values()
            if row["kind"] == Kind.SPOT
        }
        balances = self._balances(control)
        for position in control.positions():
            if position["strategy"]:
                continue
            ours, venue = position["quantity"], position["venue_quantity"]
            base = spot.get(position["instrument"])
            if base is not None:
                account = control.accounts[position["account"]]
                ours, venue = self._ours(control, account, base), balances.get((account, base), "")
            view.positions.append(
                {
                    "instrument": position["instrument"],
                    "ours": str(Decimal(ours).normalize() + 0),
                    "venue": str(Decimal(venue).normalize() + 0) if venue else "",
                    "result": position["result"],
                    "fees": position["fees"],
                }
            )
        return view

    def _begin(self, control: Control) -> None:
        """Find what each account had before anything was traded: what its gateway told first."""
        for name, number in control.accounts.items():
            if number in self._begun:
                continue
            try:
                reports = RingReader.attach(self._instance, reports_ring(name), REPORT, "oldest")
            except SegmentError:
                continue
            while len(batch := reports.poll()):
                for report in batch[batch["kind"] == ReportKind.BALANCE]:
                    total = Decimal(int(report["quantity"])).scaleb(-int(report["decimals"]))
                    self._began.setdefault((number, bytes(report["asset"])), total)
                    self._begun.add(number)
            reports.close()

    def _balances(self, control: Control) -> dict[tuple[int, bytes], str]:
        """Return by how much each balance has changed since the start, as decimals."""
        self._begin(control)
        table = control.table("oms.balances", BALANCE)
        if table is None:
            return {}
        changed = {}
        try:
            for row in np.flatnonzero(table.segment.records()["told_ns"] != 0).tolist():
                each = table.read(row)
                key = int(each["account"]), bytes(each["asset"])
                total = Decimal(int(each["total"])).scaleb(-8)
                changed[key] = f"{total - self._began.get(key, Decimal(0)):f}"
        finally:
            table.close()
        return changed


def _reason(reason: int) -> str:
    try:
        return Reason(reason).name.lower()
    except ValueError:
        return str(reason)
