"""The ring of reports: the one way in which a gateway says anything."""

import time
from collections import deque

from engine.flow import FlowWriter
from gateways.message import Request, Update, pack
from gateways.types import (
    REPORT,
    Action,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
)

REFUSAL = {
    Action.NEW: ReportKind.REJECTED,
    Action.AMEND: ReportKind.AMEND_REJECTED,
    Action.CANCEL: ReportKind.CANCEL_REJECTED,
}
"""How the refusal of a request is told; of all others as FAILED."""
FULL_RECORDS = 4096
"""So many reports may wait for room before new orders are refused."""


class ReportWriter:
    """Writes reports; what a full ring does not take waits here, in order."""

    def __init__(self, ring: FlowWriter) -> None:
        self.ring = ring
        self.waiting: deque[bytes] = deque()
        self.published = 0

    def publish(self, update: Update, received_ns: int = 0) -> None:
        """Write a report; never waits."""
        now = time.time_ns()
        record = pack(update, received_ns or now, now)
        self.published += 1
        if self.waiting or not self.ring.try_publish(record):
            self.waiting.append(record)

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        waiting = self.waiting
        while waiting and self.ring.try_publish(waiting[0]):
            waiting.popleft()

    @property
    def congested(self) -> bool:
        """Whether nobody reads the reports: then no new orders should be sent."""
        return len(self.waiting) > FULL_RECORDS


def of_request(request: Request, kind: ReportKind, reason: Reason = Reason.NONE) -> Update:
    """Return a report about a request."""
    instrument = request.instrument
    return Update(
        kind=kind,
        client_text=request.client_text,
        venue_id=request.venue_id,
        instrument=instrument.row if instrument is not None else -1,
        request_id=request.request_id,
        client_id=request.client_id,
        price=request.price,
        quantity=request.quantity,
        stop_price=request.stop_price,
        reason=reason,
        action=request.action,
        side=request.side if request.action == Action.NEW else 0,
        order_type=request.order_type if request.action == Action.NEW else 0,
        time_in_force=request.time_in_force if request.action == Action.NEW else 0,
        position_side=request.position_side,
        flags=ReportFlag.EXTERNAL if request.client_id < 0 else 0,
    )


def refusal(request: Request, reason: Reason, code: int = 0, text: str = "") -> Update:
    """Return the report that a request was refused: certain, and without effect."""
    update = of_request(request, REFUSAL.get(request.action, ReportKind.FAILED), reason)
    if request.action == Action.NEW:
        update.status = OrderStatus.REJECTED
    else:
        update.price = update.quantity = 0  # Not the order's.
    update.venue_code, update.text = code, text
    return update


def open_ring(instance: str, name: str, records: int, readers: tuple[str, ...]) -> FlowWriter:
    """Return the ring of reports, made or taken over; see ``FlowWriter.open`` for its errors."""
    return FlowWriter.open(instance, name, REPORT, records, readers)
