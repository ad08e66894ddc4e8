"""What a gateway's predecessor left in the rings: orders, trades, unanswered requests."""

import time
from dataclasses import dataclass, field

import numpy as np

from engine import segment as seg
from engine.common import OrderType, Side, TimeInForce
from engine.errors import SegmentError
from engine.flow import cursor_name, read_position
from engine.ring import RingReader
from engine.segment import Kind, Shape
from gateways.client import GATEWAY_READER
from gateways.core import Core
from gateways.message import Request, Update
from gateways.orders import ORDER_KINDS, Order
from gateways.types import REPORT, REQUEST, Action, OrderStatus, Reason, ReportFlag, ReportKind

FINAL = frozenset(
    {
        ReportKind.NOT_SENT,
        ReportKind.ACCEPTED,
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
    }
)
"""Reports that answer a request, one way or another."""
OVERLAP_NS = 60 * 10**9
"""Trades are asked for from so long before the last reconciliation."""
_ORDER_REQUESTS = (Action.NEW, Action.AMEND, Action.CANCEL)


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


def recover(instance: str, core: Core) -> Left:
    """Enter into ``core.orders`` what the reports tell; return what else there is to know."""
    left = Left()
    reader = RingReader.attach(instance, core.settings.reports, REPORT, "oldest")
    answered: set[int] = set()
    try:
        while len(batch := reader.poll()):
            for record in batch.copy():
                left.is_first = False
                left.first_ns = left.first_ns or int(record["published_ns"])
                if record["request_id"] and record["kind"] in FINAL:
                    answered.add(int(record["request_id"]))
                _enter(core, record)
                if record["kind"] == ReportKind.SYNC_END:
                    left.since_ns = int(record["published_ns"])
    finally:
        reader.close()
    if left.is_first:
        return left
    # The oldest reports of an order may be gone; a trade that was not told is found by its id.
    core.orders.settle()
    left.since_ns = (left.since_ns or left.first_ns) - OVERLAP_NS
    left.unanswered = _unanswered(instance, core, answered, left.first_ns)
    return left


def _enter(core: Core, record: np.void) -> None:
    """Enter what one report told."""
    kind, orders = ReportKind(int(record["kind"])), core.orders
    if kind is ReportKind.SENT and record["action"] == Action.NEW:
        request = _request(core, record, Action.NEW)
        if request is not None:
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
    "average_price",
    "stop_price",
    "flags",
    "status",
    "side",
    "order_type",
    "time_in_force",
    "position_side",
)


def _request(core: Core, record: np.void, action: Action) -> Request | None:
    """Return the request that a record (of either ring) is or tells of."""
    instrument = core.instruments.get(int(record["instrument"]))
    client_id = int(record["client_id"])
    if instrument is None or not client_id:
        return None
    side, order_type, time_in_force = (
        int(record[name]) for name in ("side", "order_type", "time_in_force")
    )
    return Request(
        action,
        int(record["request_id"]),
        client_id,
        instrument,
        Side(side) if side else Side.BUY,
        OrderType(order_type) if order_type else OrderType.LIMIT,
        TimeInForce(time_in_force) if time_in_force else TimeInForce.GTC,
        int(record["price"]),
        int(record["quantity"]),
        client_text=core.ids.text(client_id) if client_id > 0 else "",
    )


def _unanswered(
    instance: str, core: Core, answered: set[int], first_ns: int
) -> list[tuple[Request, int]]:
    """Return the requests that a predecessor took and told nothing final of."""
    try:
        reader = RingReader.attach(instance, core.settings.requests, REQUEST, "oldest")
    except SegmentError:
        return []
    found: list[tuple[Request, int]] = []
    try:
        taken = _taken(instance, core.settings.requests)
        while len(batch := reader.poll()):
            for record in batch.copy():
                action = int(record["action"])
                if record["sequence"] > taken or record["requested_ns"] < first_ns:
                    continue
                if action not in _ORDER_REQUESTS or int(record["request_id"]) in answered:
                    continue
                request = _request(core, record, Action(action))
                if request is not None:
                    found.append((request, time.time_ns()))
    finally:
        reader.close()
    for request, _ in found:
        order = core.orders.get(request.client_id)
        if request.action == Action.NEW and (order is None or order.status == OrderStatus.NONE):
            core.orders.sent(request, time.time_ns())
    return found


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
