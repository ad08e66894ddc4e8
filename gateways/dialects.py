"""What the dialects of several venues share: codes as verdicts, statuses as reports, common checks.

Nothing here knows a venue; ``gateways/<venue>`` says what is its own.
"""

from collections.abc import Collection, Iterable

from engine.common import OrderType, TimeInForce
from gateways.message import Answer, Request, Verdict
from gateways.types import OrderStatus, Reason, ReportKind, RequestFlag

SIMULATOR = "127.0.0.1:9101"
"""Where the simulated venue listens unless configured otherwise."""
SPOT = 1
"""The instrument table's kind of spot pairs."""
BY_USER = frozenset({Reason.REQUESTED, Reason.DEAD_MAN})
"""What ends an order as CANCELED where the venue has one word for all ends; else it EXPIRED."""
KINDS = {
    OrderStatus.ACCEPTED: ReportKind.ACCEPTED,
    OrderStatus.OPEN: ReportKind.OPEN,
    OrderStatus.PARTIALLY_FILLED: ReportKind.OPEN,
    OrderStatus.UNTRIGGERED: ReportKind.OPEN,
    OrderStatus.FILLED: ReportKind.STATUS,
    OrderStatus.CANCELED: ReportKind.CANCELED,
    OrderStatus.EXPIRED: ReportKind.EXPIRED,
    OrderStatus.REJECTED: ReportKind.REJECTED,
    OrderStatus.NONE: ReportKind.STATUS,
}
"""What an order's event is told as where trades are told apart from it."""
NEVER_RESTS = frozenset({TimeInForce.POST_ONLY, TimeInForce.FOK, TimeInForce.GTD})
"""What a market order cannot be: it takes what there is and ends."""

Classified = tuple[Verdict, Reason]


def by_code(groups: Iterable[tuple[Verdict, Reason, str]]) -> dict[int, Classified]:
    """Return what each code means, from groups of codes that mean the same."""
    return {
        int(code): (verdict, reason) for verdict, reason, codes in groups for code in codes.split()
    }


def classify_status(status: int) -> Classified:
    """Return what an HTTP status means if there is no code in the body.

    4xx were not taken; 5xx are neither success nor failure.
    """
    if status == 429:
        return Verdict.LIMITED, Reason.RATE_LIMIT
    if status in (403, 418):
        return Verdict.LIMITED, Reason.BANNED
    if status == 401:
        return Verdict.REFUSED, Reason.AUTHENTICATION
    if 400 <= status < 500 and status not in (408, 499):
        return Verdict.REFUSED, Reason.OTHER
    return Verdict.UNKNOWN, Reason.VENUE_UNSURE


def unreadable(wire_id: str, body: bytes) -> Answer:
    """Return the answer that came, and nobody knows what it says."""
    text = body[:100].decode(errors="replace")
    unsure = Answer(wire_id=wire_id, verdict=Verdict.UNKNOWN, text=text)
    unsure.reason = Reason.VENUE_UNSURE
    return unsure


def check_new(request: Request, venue: str, times: Collection[TimeInForce]) -> str:
    """Return what no order of these venues can be; empty if it can."""
    assert request.instrument is not None
    order_type, time = request.order_type, request.time_in_force
    market = order_type in (OrderType.MARKET, OrderType.STOP_MARKET)
    if time not in times:
        return f"{venue} has no time in force {time.name}"
    if market and time in NEVER_RESTS:
        return f"market orders cannot be {time.name}"
    if order_type >= OrderType.STOP_MARKET and request.stop_price <= 0:
        return "a stop order needs a stop price"
    spot = request.instrument.kind == SPOT
    if request.flags & RequestFlag.QUOTE_QUANTITY and not (spot and market):
        return "only spot market orders can have a quantity in the quote currency"
    if spot and request.flags & RequestFlag.REDUCE_ONLY:
        return "spot orders cannot be reduce-only"
    if spot and request.position_side:
        return "spot has no position sides"
    return ""
