"""What a gateway's predecessor left in the rings: orders, trades, unanswered requests."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine import segment as seg
from engine.common import OrderType, Side, TimeInForce
from engine.errors import SegmentError
from engine.flow import cursor_name, read_position
from engine.ring import RingReader
from engine.segment import Kind, Shape
from gateways.answers import ORDER_ACTIONS
from gateways.client import GATEWAY_READER
from gateways.core import Core
from gateways.message import Request, Update
from gateways.orders import ENDS, ORDER_KINDS, Order
from gateways.types import (
    REPORT,
    REQUEST,
    Action,
    MarginMode,
    OrderStatus,
    PositionSide,
    Reason,
    ReportFlag,
    ReportKind,
    SelfTrade,
    Trigger,
)

FINAL = frozenset(
    {
        ReportKind.NOT_SENT,
        ReportKind.OPEN,
        ReportKind.CANCELED,
        ReportKind.EXPIRED,
        ReportKind.REJECTED,
        ReportKind.AMENDED,
        ReportKind.AMEND_REJECTED,
        ReportKind.CANCEL_REJECTED,
        ReportKind.NOT_FOUND,
        ReportKind.STATUS,
        ReportKind.DONE,
        ReportKind.FAILED,
        ReportKind.SYNC_BEGIN,
        ReportKind.SYNC_END,
    }
)
"""Reports that answer a request, one way or another; ACCEPTED answers new orders only."""
OVERLAP_NS = 60 * 10**9
"""Trades are asked for from so long before the last reconciliation."""


class Asked(NamedTuple):
    """A request that a predecessor took."""

    request: Request
    sequence: int
    asked_ns: int


@dataclass(slots=True)
class Left:
    """What was found."""

    is_first: bool = True
    """Nothing has ever been reported."""
    first_ns: int = 0
    """Of what was told before, the words are gone (ours, Unix ns)."""
    since_ns: int = 0
    """Trades before need not be asked for (ours, Unix ns)."""
    unanswered: list[tuple[Request, int]] = field(default_factory=list)
    """Requests whose fate nobody was told, with when they were sent, at the latest."""
    overtaken: set[int] = field(default_factory=set)
    """Of them, those that cancel everything and after which new orders were asked for."""


class _Answered:
    """Which requests have had their final word."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self._amends: dict[int, dict[int, tuple[int, int]]] = {}
        """By order: its amendments, with the price and quantity that each asked for."""

    def hear(self, record: np.void) -> None:
        """Take a report in."""
        kind, action = ReportKind(int(record["kind"])), int(record["action"])
        request_id, client_id = int(record["request_id"]), int(record["client_id"])
        if kind is ReportKind.SENT and action == Action.AMEND:
            wish = (int(record["price"]), int(record["quantity"]))
            self._amends.setdefault(client_id, {})[request_id] = wish
        final = kind in FINAL or (kind is ReportKind.ACCEPTED and action == Action.NEW)
        if final or (kind is ReportKind.UNKNOWN and action == Action.QUERY):
            self.ids.add(request_id)
        if kind is ReportKind.AMENDED:
            # Not every venue says whose amendment its event is the result of.
            terms = (int(record["price"]), int(record["quantity"]))
            for request_id, wish in self._amends.get(client_id, {}).items():
                if all(asked in (0, told) for asked, told in zip(wish, terms, strict=True)):
                    self.ids.add(request_id)
        elif kind in ENDS or kind is ReportKind.NOT_FOUND:
            self.ids |= set(self._amends.pop(client_id, {}))


def recover(instance: str, core: Core) -> Left:
    """Enter into ``core.orders`` what the reports tell; return what else there is to know."""
    left, answered = Left(), _Answered()
    taken = _asked(instance, core)
    terms = {each.request.request_id: each.request for each in taken}
    reader = RingReader.attach(instance, core.settings.reports, REPORT, "oldest")
    try:
        while len(batch := reader.poll()):
            for record in batch.copy():
                left.is_first = False
                left.first_ns = left.first_ns or int(record["published_ns"])
                answered.hear(record)
                _enter(core, record, terms)
                if record["kind"] == ReportKind.SYNC_END:
                    left.since_ns = int(record["published_ns"])
    finally:
        reader.close()
    if left.is_first:
        return left
    # The oldest reports of an order may be gone; a trade that was not told is found by its id.
    core.orders.settle()
    left.since_ns = (left.since_ns or left.first_ns) - OVERLAP_NS
    _find_unanswered(core, left, taken, answered.ids)
    return left


def _enter(core: Core, record: np.void, terms: Mapping[int, Request]) -> None:
    """Enter what one report told; ``terms`` are the requests, as far as they are still there."""
    kind, orders = ReportKind(int(record["kind"])), core.orders
    if kind is ReportKind.SENT and record["action"] == Action.NEW:
        request = terms.get(int(record["request_id"])) or _request(core, record, is_report=True)
        if request is not None and request.instrument is not None:
            orders.sent(request, int(record["published_ns"]))
        return
    if kind is ReportKind.NOT_SENT and record["action"] == Action.NEW:
        if record["reason"] != Reason.DUPLICATE_ID:
            orders.forget(int(record["client_id"]))
        return
    if kind is ReportKind.FUNDING:
        orders.admit_funding(_update(record, kind))
    if kind not in ORDER_KINDS or not record["client_id"]:
        return
    client_id = int(record["client_id"])
    foreign = client_id < 0
    update = _update(record, kind)
    update.client_text = bytes(record["text"]).decode(errors="replace") if foreign else ""
    if orders.get(client_id) is None:
        text = update.client_text if foreign else core.ids.text(client_id)
        orders.add(Order(client_id, text, update.instrument))
    update.client_text = ""
    if kind is ReportKind.FILL:
        update.status = OrderStatus.NONE  # It may be what we had concluded.
    update.flags &= ~ReportFlag.RECONCILED
    orders.admit(update, int(record["received_ns"]))


def _update(record: np.void, kind: ReportKind) -> Update:
    """Return what a report told, but for its text."""
    update = Update(
        kind=kind,
        venue_id=bytes(record["venue_id"]).decode(errors="replace"),
        asset=bytes(record["asset"]).decode(errors="replace"),
    )
    for name in _COPIED:
        setattr(update, name, int(record[name]))
    return update


_COPIED = (
    "client_id",
    "instrument",
    "request_id",
    "exchange_ns",
    "price",
    "quantity",
    "filled",
    "last_price",
    "last_quantity",
    "trade_id",
    "fee",
    "average_price",
    "stop_price",
    "flags",
    "status",
    "side",
    "order_type",
    "time_in_force",
    "position_side",
)


def _request(core: Core, record: np.void, is_report: bool = False) -> Request | None:
    """Return the request that a record (of either ring) is or tells of; None if it is none."""
    row, client_id = int(record["instrument"]), int(record["client_id"])
    instrument = core.instruments.get(row) if row >= 0 else None
    side, order_type, time_in_force = (
        int(record[name]) for name in ("side", "order_type", "time_in_force")
    )
    try:
        request = Request(
            Action(int(record["action"])),
            int(record["request_id"]),
            client_id,
            instrument,
            Side(side) if side else Side.BUY,
            OrderType(order_type) if order_type else OrderType.LIMIT,
            TimeInForce(time_in_force) if time_in_force else TimeInForce.GTC,
            int(record["price"]),
            int(record["quantity"]),
            int(record["stop_price"]),
            position_side=PositionSide(int(record["position_side"])),
            margin_mode=MarginMode(int(record["margin_mode"])),
            client_text=core.ids.text(client_id) if client_id > 0 else "",
        )
        if is_report:  # Its flags are others.
            return request
        return request._replace(
            flags=int(record["flags"]),
            expire_ns=int(record["expire_ns"]),
            trigger=Trigger(int(record["trigger"])),
            self_trade=SelfTrade(int(record["self_trade"])),
        )
    except ValueError:  # It has been refused as what it is.
        return None


def _asked(instance: str, core: Core) -> list[Asked]:
    """Return the requests that predecessors took, as far as they are still there, in order."""
    try:
        reader = RingReader.attach(instance, core.settings.requests, REQUEST, "oldest")
    except SegmentError:
        return []
    found: list[Asked] = []
    try:
        taken = _taken(instance, core.settings.requests)
        while len(batch := reader.poll()):
            for record in batch.copy():
                sequence, asked_ns = int(record["sequence"]), int(record["requested_ns"])
                if sequence <= taken and (request := _request(core, record)) is not None:
                    found.append(Asked(request, sequence, asked_ns))
    finally:
        reader.close()
    return found


def _find_unanswered(core: Core, left: Left, taken: list[Asked], answered: set[int]) -> None:
    """Find the requests that predecessors took and told nothing final of."""
    now, last_new = time.time_ns(), 0
    for request, sequence, asked_ns in taken:
        action = request.action
        if action is Action.NEW:
            last_new = sequence
        if asked_ns < left.first_ns or request.request_id in answered:
            continue
        if action in ORDER_ACTIONS and (request.instrument is None or not request.client_id):
            continue
        left.unanswered.append((request, now))
        order = core.orders.get(request.client_id)
        if action is Action.NEW and (order is None or order.status == OrderStatus.NONE):
            core.orders.sent(request, now)
    left.overtaken = {
        request.request_id
        for request, sequence, _ in taken
        if request.action is Action.CANCEL_ALL and sequence < last_new
    }


def _taken(instance: str, ring: str) -> int:
    """Return the sequence up to which requests were taken."""
    try:
        cursor = seg.attach(
            instance, cursor_name(ring, GATEWAY_READER), Shape(Kind.CURSOR, None, 0)
        )
    except SegmentError:
        return 0
    try:
        return int(read_position(cursor.cells))
    finally:
        cursor.close()
