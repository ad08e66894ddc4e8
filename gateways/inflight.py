"""Requests that have left us: waiting for their answer, for an event, or of unknown fate.

A request goes through at most three tables::

    Flights.waiting    by wire id, in the order of sending: no answer yet
    Flights.expected   by request: answered, but the answer only announces an event
    Doubts             by order, its requests by themselves: nobody knows; the venue is asked
                       until it is known

No answer in time, a lost connection, an answer that says nothing certain, an event that does not
come: each of these makes a doubt. A doubt is never resolved by sending again. The venue is asked
for the order by REST at 0.3, 1, 2, 4, 8 … s; what it says, or an event that comes meanwhile,
resolves it. "No such order" is believed only when the request can no longer take effect
(``Dialect.not_found_after_s`` after it was sent).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateways.core import Core
from gateways.message import Request, Update
from gateways.orders import Order
from gateways.reports import of_request, refusal
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind

ASK_AT_S = (0.3, 1.0, 2.0, 4.0, 8.0)
ASK_EVERY_S = 8.0
SWEEP_S = 0.02
GIVEN_UP_MAX = 4096
ASKERS = 8
"""Queries at once."""


Key = tuple[int, int, int]
"""Of a request: its number, its order, its action."""


def key_of(request: Request) -> Key:
    """Return what tells a request apart; one that is sent again is the same one."""
    return (request.request_id, request.client_id, request.action)


def is_answered(request: Request, update: Update) -> bool:
    """Return whether an AMENDED or AMEND_REJECTED of its order is the result of an amendment."""
    if request.action != Action.AMEND:
        return False
    if update.request_id:
        return update.request_id == request.request_id
    if update.kind != ReportKind.AMENDED:
        return True
    # Not every venue says whose amendment it is.
    return request.price in (0, update.price) and request.quantity in (0, update.quantity)


_RESULTS = (ReportKind.AMENDED, ReportKind.AMEND_REJECTED)


@dataclass(slots=True, eq=False)
class Flight:
    """A request on its way."""

    request: Request
    wire_id: str
    sent_ns: int
    route: object
    """The connection that carries it; None for REST."""
    attempts: int = 1
    heard: bool = False
    """The event that its answer would announce has come already."""
    placed: int = 0
    """``Core.placed`` when it was sent."""


class Flights:
    """Requests whose answer or event has not come yet."""

    def __init__(self) -> None:
        self.waiting: dict[str, Flight] = {}
        self.given_up: OrderedDict[str, Flight] = OrderedDict()
        """Requests of unknown fate: an answer may yet come."""
        self.expected: dict[Key, tuple[Request, int]] = {}

    def add(self, flight: Flight) -> None:
        """Wait for the answer to a message that has left."""
        self.waiting[flight.wire_id] = flight

    def answered(self, wire_id: str) -> Flight | None:
        """Return the request that an answer is for; None if there is none."""
        return self.waiting.pop(wire_id, None) or self.given_up.pop(wire_id, None)

    def give_up(self, flight: Flight) -> None:
        """Wait no longer for an answer, but know it if it comes."""
        self.given_up[flight.wire_id] = flight
        if len(self.given_up) > GIVEN_UP_MAX:
            self.given_up.popitem(last=False)

    def overdue(self, before_ns: int) -> list[Flight]:
        """Remove and return the requests that were sent before, by WebSocket."""
        late = []
        for flight in self.waiting.values():
            if flight.sent_ns >= before_ns:
                break
            late.append(flight)
        for flight in late:
            del self.waiting[flight.wire_id]
        return late

    def of_route(self, route: object) -> list[Flight]:
        """Remove and return the requests that a lost connection carried."""
        lost = [flight for flight in self.waiting.values() if flight.route is route]
        for flight in lost:
            del self.waiting[flight.wire_id]
        return lost

    def expect(self, request: Request, now_ns: int) -> None:
        """Wait for the event that an answer announced."""
        self.expected[key_of(request)] = (request, now_ns)

    def unheard(self, before_ns: int) -> list[tuple[Request, int]]:
        """Remove and return what was announced before, with when."""
        late = [key for key, (_, since_ns) in self.expected.items() if since_ns < before_ns]
        return [self.expected.pop(key) for key in late]

    def heard(self, update: Update, ended: bool) -> None:
        """Take note of an event of an order, which may have ended."""
        kind, client_id = update.kind, update.client_id
        if kind in _RESULTS:
            for flight in self.waiting.values():
                request = flight.request
                if request.client_id == client_id and is_answered(request, update):
                    flight.heard = True
        if not self.expected:
            return
        canceled = kind in (ReportKind.CANCEL_REJECTED, ReportKind.NOT_FOUND)
        for key, (request, _) in [*self.expected.items()]:
            if request.client_id == client_id and (
                ended
                or request.action == Action.NEW
                or (canceled and request.action == Action.CANCEL)
                or (kind in _RESULTS and is_answered(request, update))
            ):
                del self.expected[key]


@dataclass(slots=True, eq=False)
class Doubt:
    """An order of which something is not known."""

    order: Order
    since_s: float
    due_s: float
    step: int = 0
    requests: dict[Key, tuple[Request, int]] = field(default_factory=dict)
    """Of unknown fate, with when each was sent (ours, Unix ns)."""
    asking: bool = False
    suspect: bool = False
    """The order was missing where it should have been: being absent is an end."""


class Doubts:
    """Orders of unknown state, and the questions about them.

    ``ask`` queries one order and returns what the venue said: STATUS updates, a NOT_FOUND, or
    None for no usable answer.
    """

    def __init__(
        self, core: Core, ask: Callable[[Order], Awaitable["list[Update] | None"]]
    ) -> None:
        self._core, self._ask = core, ask
        self.table: dict[int, Doubt] = {}
        self._places = asyncio.Semaphore(ASKERS)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self.table)

    def add(self, request: Request, sent_ns: int) -> None:
        """Begin to ask about a request's order."""
        order = self._core.orders.get(request.client_id)
        if order is not None:
            doubt = self._doubt(order)
            doubt.requests.setdefault(key_of(request), (request, sent_ns))

    def suspect(self, order: Order) -> None:
        """Begin to ask about an order that is not where it should be."""
        self._doubt(order).suspect = True

    def look(self, order: Order) -> None:
        """Ask for an order once, because something about it is unclear."""
        self._doubt(order)

    def _doubt(self, order: Order) -> Doubt:
        doubt = self.table.get(order.client_id)
        if doubt is None:
            now = asyncio.get_running_loop().time()
            doubt = Doubt(order, now, now + ASK_AT_S[0])
            self.table[order.client_id] = doubt
            self._core.count("doubts")
        return doubt

    def heard(self, client_id: int, update: Update) -> None:
        """Take note of an event of an order: it may be all that was not known."""
        doubt = self.table.get(client_id)
        if doubt is None:
            return
        if doubt.order.over:
            self._settle(doubt)
            return
        kind, requests = update.kind, doubt.requests
        known = kind not in (ReportKind.NOT_FOUND, ReportKind.UNKNOWN)
        for key, (request, _) in [*requests.items()]:
            if (
                (known and request.action == Action.NEW)
                or (kind in _RESULTS and is_answered(request, update))
                or (kind == ReportKind.CANCEL_REJECTED and request.action == Action.CANCEL)
            ):
                del requests[key]
        if not requests and not doubt.suspect and not doubt.asking:
            del self.table[client_id]

    def _settle(self, doubt: Doubt) -> None:
        """Forget a doubt of an order that has ended; an open amendment has failed."""
        self.table.pop(doubt.order.client_id, None)
        for request, _ in doubt.requests.values():
            if request.action == Action.AMEND:
                self._core.tell(refusal(request, Reason.ALREADY_CLOSED), time.time_ns())

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(SWEEP_S)
                now = loop.time()
                for doubt in [*self.table.values()]:
                    if doubt.due_s <= now and not doubt.asking:
                        doubt.asking = True
                        task = asyncio.create_task(self._question(doubt))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
        finally:
            for task in [*self._tasks]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _question(self, doubt: Doubt) -> None:
        try:
            async with self._places:
                asked_ns = time.time_ns()
                said = await self._ask(doubt.order)
            if self.table.get(doubt.order.client_id) is doubt and said is not None:
                self._consider(doubt, said, asked_ns)
        except Exception:
            self._core.log.exception("a query failed")
        finally:
            doubt.asking = False
            doubt.step += 1
            at = ASK_AT_S[min(doubt.step, len(ASK_AT_S) - 1)]
            at += ASK_EVERY_S * max(0, doubt.step - len(ASK_AT_S) + 1)
            now = asyncio.get_running_loop().time()
            doubt.due_s = max(doubt.since_s + at, now + 0.1)
            self._core.count("queries")

    def _consider(self, doubt: Doubt, said: list[Update], asked_ns: int) -> None:
        """Take an answer in: it settles what it can settle."""
        core, order = self._core, doubt.order
        found = [update for update in said if update.kind != ReportKind.NOT_FOUND]
        if not found:
            self._absent(doubt, asked_ns)
            return
        now = time.time_ns()
        for update in found:
            update.flags |= ReportFlag.RECONCILED
            core.keep_newer(update, asked_ns)
            core.tell(update, now)
        if self.table.get(order.client_id) is not doubt:
            return
        doubt.suspect = False
        for key, (request, sent_ns) in [*doubt.requests.items()]:
            if self._decides(order, request, sent_ns, asked_ns):
                doubt.requests.pop(key, None)
        if not doubt.requests:
            self.table.pop(order.client_id, None)

    def _decides(self, order: Order, request: Request, sent_ns: int, asked_ns: int) -> bool:
        """Return whether the order's state, as it is known now, decides a request."""
        core = self._core
        final = asked_ns - sent_ns > core.adapter.dialect.not_found_after_s * 1e9
        if request.action == Action.NEW:
            return True
        if request.action == Action.CANCEL:
            if order.ended:
                return True
            if final:
                core.tell(refusal(request, Reason.TIMEOUT), time.time_ns())
            return final
        price, quantity = request.price or order.price, request.quantity or order.quantity
        if order.live and (order.price, order.quantity) == (price, quantity):
            update = of_request(request, ReportKind.AMENDED)
            update.flags |= ReportFlag.RECONCILED
            core.tell(update, time.time_ns())
            return True
        if order.ended or final:
            reason = Reason.ALREADY_CLOSED if order.ended else Reason.TIMEOUT
            core.tell(refusal(request, reason), time.time_ns())
            return True
        return False

    def _absent(self, doubt: Doubt, asked_ns: int) -> None:
        """Take in that the venue knows no such order: believed once enough time has passed."""
        core, order = self._core, doubt.order
        sent_ns = max([order.sent_ns, *(sent for _, sent in doubt.requests.values())])
        if asked_ns - sent_ns <= core.adapter.dialect.not_found_after_s * 1e9:
            return
        self.table.pop(order.client_id, None)
        requests = [request for request, _ in doubt.requests.values()]
        if order.ended:
            for request in requests:
                if request.action != Action.NEW:
                    core.tell(refusal(request, Reason.UNKNOWN_ORDER), time.time_ns())
            return
        known = requests[0] if requests else core.query_of(order)
        update = of_request(known, ReportKind.NOT_FOUND, Reason.UNKNOWN_ORDER)
        update.flags |= ReportFlag.RECONCILED
        update.status = OrderStatus.NONE
        core.count("not_found")
        core.tell(update, time.time_ns())
        for request in requests[1:]:
            core.tell(refusal(request, Reason.UNKNOWN_ORDER), time.time_ns())
