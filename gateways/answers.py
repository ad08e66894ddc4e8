"""What the venue's answers mean for the requests that they are for.

A dialect has put each answer down to a ``Verdict``; nothing else decides here. Every request gets
exactly one final word: the order's event, a refusal, or, after UNKNOWN, what asking brought.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateways.core import Core
from gateways.inflight import Doubts, Flight, Flights
from gateways.message import Answer, Request, Update, Verdict
from gateways.orders import Order
from gateways.reports import of_request, refusal
from gateways.types import Action, OrderStatus, Reason, ReportKind

ORDER_ACTIONS = frozenset({Action.NEW, Action.AMEND, Action.CANCEL})
RETRIES = 3
RETRY_S = 0.1
QUIET_S = 1.0
"""After LIMITED without a figure, where the limit's period is not known either."""
_ACCEPTED = {
    Action.NEW: ReportKind.ACCEPTED,
    Action.AMEND: ReportKind.ACCEPTED,
    Action.CANCEL: ReportKind.CANCEL_ACCEPTED,
}

TIMES = frozenset({Reason.TIMESTAMP, Reason.TIME})
"""Refusals that a wrong clock may have caused: of the signature's time, or as sent too late."""

Again = Callable[[Flight, float], None]
"""Sends a request once more after so many seconds."""


@dataclass(slots=True)
class Parts:
    """A request that was sent as several."""

    left: int
    failed: Update | None = None
    """The report of a part that was refused."""


class Answers:
    """Resolves requests. ``again`` is used for what certainly had no effect and may be repeated.

    ``clock_wrong`` is called for refusals because of the time.
    """

    def __init__(
        self,
        core: Core,
        flights: Flights,
        doubts: Doubts,
        again: Again,
        clock_wrong: Callable[[], None],
    ) -> None:
        self._core, self._flights, self._doubts = core, flights, doubts
        self._again, self._clock_wrong = again, clock_wrong
        self.parts: dict[int, Parts] = {}
        """By request: what it was divided into."""

    def resolve(self, flight: Flight, answer: Answer, received_ns: int) -> None:
        """Act on an answer to a request."""
        request, verdict = flight.request, answer.verdict
        if answer.reason in TIMES:
            self._clock_wrong()
        if verdict is Verdict.LIMITED:
            self.limit(answer, flight.route is None)
        for update in answer.updates:
            self._of_answer(request, update)
        if request.action in ORDER_ACTIONS:
            self._order(flight, answer, received_ns)
        else:
            self._other(flight, answer, received_ns)

    def _of_answer(self, request: Request, update: Update) -> None:
        """Enter in an update what its request knows."""
        if request.action not in ORDER_ACTIONS:
            return
        update.request_id, update.action = request.request_id, request.action
        if not update.client_text:
            update.client_text, update.client_id = request.client_text, request.client_id
        if update.instrument < 0 and request.instrument is not None:
            update.instrument = request.instrument.row

    # -- orders -----------------------------------------------------------------------------------
    def _order(self, flight: Flight, answer: Answer, received_ns: int) -> None:
        request, verdict = flight.request, answer.verdict
        if verdict is Verdict.ACCEPTED:
            self._accepted(flight, answer, received_ns)
        elif verdict is Verdict.UNKNOWN:
            self.unknown(flight, Reason.VENUE_UNSURE, answer.venue_code, answer.text)
        elif verdict is Verdict.EXISTS and request.action == Action.NEW:
            # Proof that it is there: sent by us before, or by whoever uses our prefix.
            self.unknown(flight, Reason.DUPLICATE_ID, answer.venue_code, answer.text)
        elif verdict in (Verdict.RETRY, Verdict.LIMITED) and self._may_repeat(flight):
            wait_s = answer.wait_s if verdict is Verdict.LIMITED else 0.0
            self._again(flight, wait_s or RETRY_S * 2 ** (flight.attempts - 1))
        else:
            self._refused(flight, answer, received_ns)

    def _may_repeat(self, flight: Flight) -> bool:
        """Return whether a request without effect is repeated by us: cancels are."""
        return flight.request.action == Action.CANCEL and flight.attempts < RETRIES

    def _accepted(self, flight: Flight, answer: Answer, received_ns: int) -> None:
        request = flight.request
        updates = answer.updates
        if not updates:
            updates = [of_request(request, _ACCEPTED[request.action])]
            if request.action != Action.NEW:
                updates[0].price = updates[0].quantity = 0
        for update in updates:
            self._core.tell(update, received_ns)
        order = self._core.orders.get(request.client_id)
        if order is None or order.ended:
            return
        told = {update.kind for update in updates}
        if request.action == Action.NEW:
            known = order.live and order.status != OrderStatus.ACCEPTED
        elif request.action == Action.AMEND:
            known = flight.heard or ReportKind.AMENDED in told
        else:
            known = False
        if not known:
            self._flights.expect(request, received_ns)

    def _refused(self, flight: Flight, answer: Answer, received_ns: int) -> None:
        request, core = flight.request, self._core
        order = core.orders.get(request.client_id)
        for update in answer.updates:
            self._core.tell(update, received_ns)
        if request.action == Action.NEW and order is not None and (order.live or order.traded):
            # An event says that it exists, an answer that it does not: ask.
            self._doubts.look(order)
            return
        reason = answer.reason
        if reason is Reason.NONE:
            limited = answer.verdict is Verdict.LIMITED
            busy = answer.verdict is Verdict.RETRY
            reason = Reason.RATE_LIMIT if limited else Reason.BUSY if busy else Reason.OTHER
        self._core.tell(refusal(request, reason, answer.venue_code, answer.text), received_ns)
        if answer.verdict is Verdict.GONE:
            order = core.orders.get(request.client_id)
            if order is not None and not order.ended:
                self._doubts.look(order)

    def unknown(self, flight: Flight, reason: Reason, code: int = 0, text: str = "") -> None:
        """Tell that a request's fate is not known, and begin to ask; unless events have told it."""
        request = flight.request
        if request.action not in ORDER_ACTIONS:
            self._repeat_other(flight, reason)
            return
        order = self._core.orders.get(request.client_id)
        if order is not None:
            known = order.live or (order.concluded and order.traded > 0)
            proven = known if request.action == Action.NEW else flight.heard
            filled = request.action == Action.CANCEL and order.status == OrderStatus.FILLED
            if order.over or filled:
                self._overtaken(flight, order)
                return
            if proven:
                return
        update = of_request(request, ReportKind.UNKNOWN, reason)
        update.venue_code, update.text = code, text
        self._core.count("unknowns")
        self._core.tell(update, time.time_ns())
        self._doubts.add(request, flight.sent_ns)

    def _overtaken(self, flight: Flight, order: Order) -> None:
        """Answer a request of unknown fate whose order has ended: it changes nothing any more.

        The end is a cancel's own answer if it is of that kind and was told after it was sent.
        """
        request, filled = flight.request, order.status == OrderStatus.FILLED
        vain = order.status != OrderStatus.CANCELED or order.seen_ns <= flight.sent_ns
        if request.action == Action.AMEND or (request.action == Action.CANCEL and vain):
            reason = Reason.ALREADY_FILLED if filled else Reason.ALREADY_CLOSED
            self._core.tell(refusal(request, reason), time.time_ns())

    def recovered(self, request: Request, sent_ns: int) -> None:
        """Ask what became of a request that a predecessor took and told nothing final of."""
        self.unknown(Flight(request, "", sent_ns, None), Reason.DISCONNECTED)

    def doubt(self, order: Order) -> None:
        """Begin to ask for an order."""
        self._doubts.look(order)

    # -- requests that concern no single order ----------------------------------------------------
    def _other(self, flight: Flight, answer: Answer, received_ns: int) -> None:
        request, verdict = flight.request, answer.verdict
        for update in answer.updates:
            self._core.tell(update, received_ns)
        gone = verdict is Verdict.GONE and request.action == Action.CANCEL_ALL
        if verdict is Verdict.ACCEPTED or gone or answer.reason is Reason.NOT_CHANGED:
            self.finish(of_request(request, ReportKind.DONE), received_ns)
        elif verdict in (Verdict.UNKNOWN, Verdict.RETRY, Verdict.LIMITED):
            self._repeat_other(flight, answer.reason or Reason.VENUE_UNSURE, answer.wait_s)
        else:
            update = refusal(request, answer.reason, answer.venue_code, answer.text)
            self.finish(update, received_ns)

    def finish(self, update: Update, received_ns: int = 0) -> None:
        """Tell how a request that concerns no single order has ended, once for all its parts."""
        parts = self.parts.get(update.request_id)
        if parts is not None:
            parts.left -= 1
            if update.kind != ReportKind.DONE:
                parts.failed = update
            if parts.left:
                return
            del self.parts[update.request_id]
            update = parts.failed or update
        self._core.reports.publish(update, received_ns)

    def _repeat_other(self, flight: Flight, reason: Reason, wait_s: float = 0.0) -> None:
        """Send a request again that does the same if it is done twice."""
        if flight.attempts < RETRIES:
            self._again(flight, wait_s or RETRY_S * 2**flight.attempts)
        else:
            self.finish(refusal(flight.request, reason))

    def limit(self, answer: Answer, by_rest: bool) -> None:
        """Stop what the venue wants stopped, for as long as it wants."""
        core = self._core
        if by_rest and answer.reason is Reason.BANNED and not answer.limit:
            return  # ``gateways.rest`` has seen to it; the socket of orders may be well.
        periods = [each.period_s for each in core.adapter.limits if each.name == answer.limit]
        wait_s = answer.wait_s or min([*periods, 10.0] if answer.limit else [QUIET_S])
        core.limits.block(answer.limit or None, core.clock.now_ns() + round(wait_s * 1e9))
        core.count("limited")
        core.log.warning(
            "the venue limits us", extra={"limit": answer.limit or "all", "wait_s": wait_s}
        )
