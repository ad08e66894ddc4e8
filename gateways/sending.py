"""The way of a request: from the ring's record to the venue's socket.

The order route's path is plain Python from the record's bytes to ``send``: nothing is awaited, no
task is made. Everything that can keep a request from being sent is told as NOT_SENT (it certainly
did not go) or as a refusal (it could never go).
"""

import asyncio
import struct
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from engine.common import OrderType, Side, TimeInForce
from gateways.adapter import Call, answers
from gateways.answers import ORDER_ACTIONS, Answers, Parts
from gateways.core import Core
from gateways.deadman import DeadMan
from gateways.inflight import Flight, Flights
from gateways.message import Answer, Instrument, Request, Update, Verdict, pack
from gateways.orders import Order
from gateways.reports import of_request, refusal
from gateways.rest import Reply, RestFailed
from gateways.sessions import Route
from gateways.types import (
    REQUEST,
    Action,
    MarginMode,
    OrderStatus,
    PositionSide,
    Reason,
    ReportFlag,
    ReportKind,
    RequestFlag,
    SelfTrade,
    Trigger,
)

_READ = struct.Struct("<9qiIBbBBbBBB5q")
assert _READ.size == REQUEST.dtype.itemsize
_unpack = _READ.unpack
_make = tuple.__new__
assert Request._fields[-3:] == ("client_text", "order_price", "order_quantity")
assert len(Request._fields) == 21

_ACTIONS = {int(each): each for each in Action}
_SIDES = {0: Side.BUY} | {int(each): each for each in Side}
_TYPES = {0: OrderType.LIMIT} | {int(each): each for each in OrderType}
_TIMES = {0: TimeInForce.GTC} | {int(each): each for each in TimeInForce}
_POSITION_SIDES = {int(each): each for each in PositionSide}
_MODES = {int(each): each for each in MarginMode}
_TRIGGERS = {int(each): each for each in Trigger}
_SELF_TRADES = {int(each): each for each in SelfTrade}
_URGENT = int(RequestFlag.URGENT | RequestFlag.REDUCE_ONLY)
_REST = int(RequestFlag.REST)
_NEW, _AMEND, _CANCEL = Action.NEW, Action.AMEND, Action.CANCEL
_NONE = b""
UNSENT_MOST = 4096
"""Bytes that may wait on a connection before orders are not given to it: the venue does not read,
and what waits would reach it much later, told as sent."""
_UNCHECKED = frozenset({Action.RECONCILE, Action.QUERY})
"""Requests that every venue takes."""


class Cancellable(Protocol):
    """What will send a request: a timer, or a task."""

    def cancel(self) -> object:
        """Give it up."""


class Sender:
    """Sends requests. ``orders_route`` carries them; ``ready`` says whether new ones may go.

    ``sent_in`` is called with the time from the request's record to the socket (ns).
    """

    def __init__(
        self,
        core: Core,
        flights: Flights,
        dead_man: DeadMan,
        orders_route: Route,
        ready: Callable[[], bool],
        sent_in: Callable[[int], None],
    ) -> None:
        self._core, self._flights, self._dead_man = core, flights, dead_man
        self._route, self._ready, self._sent_in = orders_route, ready, sent_in
        self.answers: Answers
        self.reconcile: Callable[[int], None] = lambda request_id: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._rehearsed: bytes | None = None
        self._orders, self._text = core.orders, core.ids.text
        self._encode, self._check = core.adapter.order_message, core.adapter.check
        self._costs, self._take = core.adapter.costs, core.limits.take
        self._instrument, self._barred = core.instruments.get, core.barred
        self._both = core.adapter.dialect.amend_needs_both
        self._claimed: dict[int, tuple[Request, Cancellable]] = {}
        """New orders that wait for a limit or a connection for REST, and what will send each."""
        self._left = False
        """Whether a request is on the socket and not entered yet: it counts as sent."""
        self.sent = 0

    def handle(self, record: bytes) -> None:
        """Send what a record asks for, or say why not, whatever happens."""
        fields = _unpack(record)
        try:
            request = self._request(fields)
        except (KeyError, ValueError) as error:
            self._malformed(fields, str(error))
            return
        sent = self.sent
        try:
            self._handle(request, fields[1])
        except Exception:
            # A mistake of ours, or no room in the table of limits: those after it go on.
            self._core.log.exception("a request could not be handled")
            if sent == self.sent and not self._left:
                self.not_sent(request, Reason.OTHER)
            self._left = False

    def _handle(self, request: Request, asked_ns: int) -> None:
        action = request.action
        if action is _NEW:
            number = request.client_id
            if number in self._claimed or self._orders.get(number) is not None:
                # The order of that number goes on; this request never leaves us.
                self._core.count("refused")
                update = of_request(request, ReportKind.NOT_SENT, Reason.DUPLICATE_ID)
                self._core.reports.publish(update)
                return
        elif action is _AMEND or action is _CANCEL:
            if action is _CANCEL and request.client_id in self._claimed:
                self._cancel_claimed(request)
                return
            request = self._aim(request)
        elif action is Action.CANCEL_ALL:
            self._drop_claimed(request.instrument)
        if action is Action.CANCEL_ALL and request.instrument is None and self._check(request):
            self._cancel_by_instrument(request)
            return
        if action not in _UNCHECKED and (text := self._check(request)):
            self._refuse(request, Reason.UNSUPPORTED, text)
            return
        if self._barred and self._is_barred(request):
            self._refuse(request, Reason.INSTRUMENT, "its decimals have changed")
            return
        self.send(request, asked_ns)

    def resume(self, request: Request) -> None:
        """Do what a predecessor had been asked for."""
        self._handle(request, time.time_ns())

    def _cancel_claimed(self, request: Request) -> None:
        """Cancel an order that has not left us yet: the venue would not know it, and then get it.

        The answer makes no order of it: it is told as it is.
        """
        self._drop(request.client_id)
        self._core.reports.publish(refusal(request, Reason.ALREADY_CLOSED))

    def _drop_claimed(self, instrument: Instrument | None) -> None:
        """Give back the orders (of an instrument) that have not left us yet."""
        for number, (waiting, _) in [*self._claimed.items()]:
            if instrument is None or waiting.instrument == instrument:
                self._drop(number)

    def _drop(self, number: int) -> None:
        waiting, sends = self._claimed.pop(number)
        sends.cancel()
        self.not_sent(waiting, Reason.REQUESTED)

    def _is_barred(self, request: Request) -> bool:
        """Return whether the numbers of a request may be of decimals that are not any more."""
        instrument, action = request.instrument, request.action
        return (
            (action is _NEW or action is _AMEND)
            and instrument is not None
            and instrument.row in self._barred
        )

    def rehearse(self) -> None:
        """Go the way of a new order up to the socket, and throw the message away.

        A path that has not been gone for a while is slow: other work has taken its place in the
        processor's caches and branch tables (ten times the time after 100 ms, measured).
        """
        if self._rehearsed is _NONE:
            return
        if self._rehearsed is None:
            instruments = self._core.instruments.all()[:1]
            if not instruments:
                return
            row = instruments[0].row
            terms = (_NEW, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 0, 0, 0, 0, 0, 0, 0, 0, 0)
            price, quantity = instruments[0].tick, instruments[0].lot
            self._rehearsed = _READ.pack(0, 0, 0, 1, 1, price, quantity, 0, 0, row, 0, *terms)
        try:
            self._go_through(self._rehearsed)
        except Exception:
            # A rehearsal that fails must not end the loop that it is part of.
            self._core.log.exception("the path of orders is not rehearsed any more")
            self._rehearsed = _NONE

    def _go_through(self, record: bytes) -> None:
        request = self._request(_unpack(record))
        if self._check(request):
            self._rehearsed = _NONE
            return
        route = self._route
        if (socket := route.socket()) is not None and socket.unsent:
            return
        self._is_barred(request)
        self._costs(request)
        now = time.time_ns()
        self._take((), False, now)
        self._encode(request, "rehearsal", now // 1_000_000)
        pack(of_request(request, ReportKind.SENT), now, now)

    def _request(self, fields: tuple[int, ...]) -> Request:
        (
            _,
            _,
            deadline_ns,
            request_id,
            client_id,
            price,
            quantity,
            stop_price,
            expire_ns,
            row,
            flags,
            action,
            side,
            order_type,
            time_in_force,
            position_side,
            margin_mode,
            trigger,
            self_trade,
        ) = fields[:19]
        what = _ACTIONS[action]
        instrument = self._instrument(row) if row >= 0 else None
        if instrument is None and (row >= 0 or what is _NEW):
            raise ValueError(f"no instrument {row}")
        if what is _NEW and client_id <= 0:
            raise ValueError("an order's number is above 0")
        # Without the constructor, which takes twice as long for so many fields.
        return _make(
            Request,
            (
                what,
                request_id,
                client_id,
                instrument,
                _SIDES[side],
                _TYPES[order_type],
                _TIMES[time_in_force],
                price,
                quantity,
                stop_price,
                expire_ns,
                flags,
                _POSITION_SIDES[position_side],
                _MODES[margin_mode],
                _TRIGGERS[trigger],
                _SELF_TRADES[self_trade],
                deadline_ns,
                "",
                self._text(client_id) if client_id > 0 else "",
                0,
                0,
            ),
        )

    def _malformed(self, fields: tuple[int, ...], text: str) -> None:
        """Refuse a record that cannot be read."""
        action = _ACTIONS.get(fields[11], Action.QUERY)
        request = Request(action, fields[3], fields[4], None)
        update = refusal(request, Reason.PARAMETER, text=text)
        update.instrument = fields[9]
        self._core.count("malformed")
        self._core.reports.publish(update)

    def _aim(self, request: Request) -> Request:
        """Enter what is known of the order that a request is about."""
        order = self._orders.get(request.client_id)
        if order is None:
            return request
        aimed = self._core.aim(request, order)
        if self._both and request.action is _AMEND:
            price, quantity = request.price or order.price, request.quantity or order.quantity
            return aimed._replace(price=price, quantity=quantity)
        return aimed

    # -- sending ----------------------------------------------------------------------------------
    def send(self, request: Request, asked_ns: int, attempts: int = 1, until_ns: int = 0) -> None:
        """Send a request that has been checked."""
        action = request.action
        if action not in ORDER_ACTIONS:
            self._send_other(request, asked_ns, attempts)
            return
        core = self._core
        if request.instrument is None or (request.client_id < 0 and not request.venue_id):
            self._refuse(request, Reason.UNKNOWN_ORDER)
            return
        now = time.time_ns()
        if 0 < request.deadline_ns < now:
            self.not_sent(request, Reason.EXPIRED_REQUEST)
            return
        urgent = action is _CANCEL or request.flags & _URGENT > 0
        socket = None if request.flags & _REST else self._route.socket()
        if socket is not None and (unsent := socket.unsent):
            if action is not _CANCEL and unsent > UNSENT_MOST:
                self.not_sent(request, Reason.BUSY)
                return
            if action is _CANCEL and self._is_there(request):
                socket = None  # Not behind what the venue does not read.
        if socket is None and not urgent and not request.flags & _REST:
            self.not_sent(request, Reason.DISCONNECTED)
            return
        if action is _NEW and not urgent and (not self._ready() or core.reports.congested):
            reason = Reason.BUSY if core.reports.congested else Reason.DISCONNECTED
            self.not_sent(request, reason)
            return
        clock_ns = now + core.clock.offset_ns
        if wait_ns := self._take(self._costs(request), urgent, clock_ns):
            self._held_back(request, asked_ns, attempts, urgent, wait_ns, until_ns)
            return
        if socket is not None:
            wire_id = core.wire_id()
            message = self._encode(self._timed(request), wire_id, clock_ns // 1_000_000)
            if message is not None:
                self._left = True
                socket.send(message)
                sent_ns = time.time_ns()
                flight = Flight(request, wire_id, sent_ns, self._route.current, attempts)
                flight.placed = core.placed
                self._flights.waiting[wire_id] = flight
                self._gone(request, asked_ns, sent_ns)
                self._left = False
                return
        self._claim(request, self._spawn(self._by_rest(request, asked_ns, attempts)))

    def _is_there(self, request: Request) -> bool:
        """Return whether the venue has an order already, as far as is known."""
        order = self._orders.get(request.client_id)
        return order is None or order.status != OrderStatus.NONE

    def _claim(self, request: Request, sends: Cancellable) -> None:
        """Take note of an order that will be sent later: it must not be sent again meanwhile."""
        if request.action is _NEW:
            self._claimed[request.client_id] = (request, sends)

    def _gone(self, request: Request, asked_ns: int, sent_ns: int) -> None:
        """Take note of a request that has left, and tell it."""
        update = of_request(request, ReportKind.SENT)
        if request.action is _NEW:
            self._claimed.pop(request.client_id, None)
            self._core.placed += 1
            self._orders.sent(request, sent_ns)
            assert request.instrument is not None
            self._dead_man.order_sent(request.instrument.row)
        self._core.reports.publish(update, sent_ns)
        self.sent += 1
        self._sent_in(sent_ns - asked_ns)

    def not_sent(self, request: Request, reason: Reason) -> None:
        """Tell that a request certainly never left us."""
        self._core.count("not_sent")
        if request.action is _NEW:
            self._claimed.pop(request.client_id, None)
            self._orders.forget(request.client_id)
        if request.request_id in self.answers.parts:
            self.answers.finish(refusal(request, reason))
            return
        self._core.reports.publish(of_request(request, ReportKind.NOT_SENT, reason))

    def _refuse(self, request: Request, reason: Reason, text: str = "") -> None:
        self._core.count("refused")
        if request.request_id in self.answers.parts:
            self.answers.finish(refusal(request, reason, text=text))
            return
        self._core.reports.publish(refusal(request, reason, text=text))

    def _held_back(
        self,
        request: Request,
        asked_ns: int,
        attempts: int,
        urgent: bool,
        wait_ns: int,
        until_ns: int,
    ) -> None:
        """Wait for a limit, if the request is urgent and the wait is short; else give it back."""
        now = time.time_ns()
        until_ns = until_ns or now + round(self._core.settings.urgent_wait_s * 1e9)
        self._core.count("held_back")
        if not urgent or now + wait_ns > until_ns:
            self.not_sent(request, Reason.LOCAL_LIMIT)
            return
        later = asyncio.get_running_loop().call_later(
            wait_ns / 1e9, self.send, request, asked_ns, attempts, until_ns
        )
        self._claim(request, later)

    def again(self, flight: Flight, after_s: float) -> None:
        """Send a request once more that certainly had no effect, or does the same twice."""
        request = flight.request
        if after_s > self._core.settings.urgent_wait_s:
            self._refuse(request, Reason.RATE_LIMIT)
            return
        self._core.count("repeated")
        asyncio.get_running_loop().call_later(after_s, self._repeat, flight, time.time_ns())

    def _repeat(self, flight: Flight, asked_ns: int) -> None:
        request = flight.request
        if request.action is Action.CANCEL_ALL and self._core.placed != flight.placed:
            # It would end orders that were placed after it was asked for.
            self.answers.finish(refusal(request, Reason.VENUE_UNSURE))
            return
        self.send(request, asked_ns, flight.attempts + 1)

    # -- by REST ----------------------------------------------------------------------------------
    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._core.log.error("a request failed in an unforeseen way", exc_info=error)

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._core.settings.request_timeout_s)
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _by_rest(self, request: Request, asked_ns: int, attempts: int) -> None:
        """Send an order request by REST; its costs have been taken."""
        wire_id = self._core.wire_id()
        flight = Flight(request, wire_id, time.time_ns(), None, attempts)
        await self._safely(flight, asked_ns, lambda: self._calls_of(request, wire_id))

    def _calls_of(self, request: Request, wire_id: str) -> Sequence[Call]:
        now_ms = self._core.clock.now_ms()
        return self._core.adapter.order_call(self._timed(request), wire_id, now_ms)

    def _timed(self, request: Request) -> Request:
        """Return a request whose deadline is of the venue's clock, as a dialect wants it."""
        if not request.deadline_ns:
            return request
        return request._replace(deadline_ns=request.deadline_ns + self._core.clock.offset_ns)

    async def _safely(
        self, flight: Flight, asked_ns: int, calls_of: Callable[[], Sequence[Call]]
    ) -> None:
        """Make a request's calls, and tell its fate whatever happens."""
        left = False

        def leaves() -> None:
            nonlocal left
            if not left:
                left, flight.sent_ns = True, time.time_ns()
                self._gone(flight.request, asked_ns, flight.sent_ns)

        try:
            await self._make(flight, calls_of(), leaves)
        except Exception:
            # A mistake of ours, or an answer that cannot be read.
            self._core.log.exception("a request could not be handled")
            if left:
                self.answers.unknown(flight, Reason.OTHER)
            else:
                self.not_sent(flight.request, Reason.OTHER)

    async def _make(
        self, flight: Flight, calls: Sequence[Call], leaves: Callable[[], None]
    ) -> None:
        """Make a request's calls in order, up to the first that is not accepted.

        Of CANCEL_ALL, all are made unless the venue wants quiet.
        """
        core, request = self._core, flight.request
        written = False

        def on_written() -> None:
            nonlocal written
            written = True
            leaves()

        last: Answer | None = None
        failed: Answer | None = None
        updates: list[Update] = []
        received_ns = 0
        queue, urgent = [*calls], request.action in (Action.CANCEL_ALL, _CANCEL)
        while queue:
            call = queue.pop(0)
            if last is not None and not await self._room(call, urgent):
                self.answers.unknown(flight, Reason.LOCAL_LIMIT)
                return
            try:
                async with asyncio.timeout(core.settings.request_timeout_s):
                    reply = await core.rest.send(call, on_written)
            except (RestFailed, TimeoutError):
                again = flight.attempts > 1 and request.action not in ORDER_ACTIONS
                if not written and not again:
                    self.not_sent(request, Reason.DISCONNECTED)
                else:
                    self.answers.unknown(flight, Reason.TIMEOUT)
                return
            received_ns = reply.received_ns
            said = answers(
                core.adapter.read_answer(
                    call, reply.status, reply.headers, reply.body, core.instruments.by_native
                )
            )
            if not said:
                self.answers.unknown(flight, Reason.VENUE_UNSURE)
                return
            last = said[-1]
            updates += [update for each in said for update in each.updates]
            if request.action is Action.CANCEL_ALL:
                following = core.adapter.next_page(call, reply.body, core.clock.now_ms())
                queue[:0] = [following] if following is not None else []
            if last.verdict is not Verdict.ACCEPTED and not _harmless(request, last):
                failed = failed or last
                if request.action is not Action.CANCEL_ALL or last.verdict is Verdict.LIMITED:
                    break
        # One order that cannot be canceled must not save the others.
        if (said_last := failed or last) is not None:
            said_last.updates = updates
            self.answers.resolve(flight, said_last, received_ns)

    async def _room(self, call: Call, urgent: bool) -> bool:
        """Take the costs of a further call; return whether there was room for it, in good time."""
        core = self._core
        until_s = time.monotonic() + core.settings.urgent_wait_s
        while wait_ns := self._take(call.costs, urgent, core.clock.now_ns()):
            if time.monotonic() + wait_ns / 1e9 > until_s:
                return False
            await asyncio.sleep(wait_ns / 1e9)
        return True

    # -- requests that concern no single order -----------------------------------------------------
    def _send_other(self, request: Request, asked_ns: int, attempts: int) -> None:
        if request.action is Action.RECONCILE:
            self.reconcile(request.request_id)
        elif request.action is Action.QUERY:
            self._query(request)
        else:
            self._spawn(self._other(request, asked_ns, attempts))

    async def _other(self, request: Request, asked_ns: int, attempts: int) -> None:
        """Send CANCEL_ALL, LEVERAGE or MARGIN_MODE; each part of it as its own request."""
        core = self._core
        if 0 < request.deadline_ns < time.time_ns():
            self.not_sent(request, Reason.EXPIRED_REQUEST)
            return
        urgent = request.action is Action.CANCEL_ALL
        until_s = time.monotonic() + core.settings.urgent_wait_s
        while wait_ns := self._take(self._costs(request), urgent, core.clock.now_ns()):
            if not urgent or time.monotonic() + wait_ns / 1e9 > until_s:
                self.not_sent(request, Reason.LOCAL_LIMIT)
                return
            await asyncio.sleep(wait_ns / 1e9)
        wire_id, now_ms = core.wire_id(), core.clock.now_ms()
        flight = Flight(request, wire_id, time.time_ns(), None, attempts)
        flight.placed = core.placed
        socket = None if request.flags & _REST else self._route.socket()
        timed = self._timed(request)
        message = self._encode(timed, wire_id, now_ms) if socket is not None else None
        if socket is not None and message is not None:
            socket.send(message)
            flight.route = self._route.current
            self._flights.add(flight)
            self._gone(request, asked_ns, flight.sent_ns)
            return
        calls = self._calls_of(request, wire_id)
        if calls:
            await self._safely(flight, asked_ns, lambda: calls)
        else:
            self._refuse(request, Reason.UNSUPPORTED)

    def _cancel_by_instrument(self, request: Request) -> None:
        """Cancel all orders of the account where the venue wants an instrument."""
        rows = {order.instrument for order in self._orders.active()}
        parts = [each for row in sorted(rows) if (each := self._instrument(row)) is not None]
        if not parts:
            self._core.reports.publish(of_request(request, ReportKind.DONE))
            return
        self.answers.parts[request.request_id] = Parts(len(parts))
        for part in parts:
            self.send(request._replace(instrument=part), time.time_ns())

    # -- queries ----------------------------------------------------------------------------------
    def _query(self, request: Request) -> None:
        order = self._orders.get(request.client_id)
        if order is None and (request.client_id <= 0 or request.instrument is None):
            self._refuse(request, Reason.UNKNOWN_ORDER)
            return
        if order is None:
            assert request.instrument is not None
            order = Order(request.client_id, request.client_text, request.instrument.row)
        self._spawn(self._answer_query(request, order))

    async def _answer_query(self, request: Request, order: Order) -> None:
        """Answer a QUERY by STATUS or NOT_FOUND; FAILED if the venue does not say."""
        core = self._core
        asked_ns = time.time_ns()
        try:
            said = await self.ask(order)
        except Exception:
            core.log.exception("a query failed")
            self._refuse(request, Reason.OTHER)
            return
        if said is None:
            self._refuse(request, Reason.TIMEOUT)
            return
        final_ns = order.sent_ns + round(core.adapter.dialect.not_found_after_s * 1e9)
        for update in said:
            if update.kind == ReportKind.NOT_FOUND and asked_ns <= final_ns:
                # Too early to be believed: it stays unknown, and is asked for again.
                update.kind, update.reason = ReportKind.UNKNOWN, Reason.VENUE_UNSURE
                self.answers.doubt(order)
            update.request_id, update.action = request.request_id, request.action
            update.flags |= ReportFlag.RECONCILED
            core.keep_newer(update, asked_ns)
            core.tell(update, time.time_ns())

    async def ask(self, order: Order) -> list[Update] | None:
        """Return what the venue knows of an order; None if it gives no usable answer."""
        core = self._core
        request = core.query_of(order)
        if request.instrument is None:
            return None
        try:
            calls = core.adapter.order_call(request, core.wire_id(), core.clock.now_ms())
            found: list[Update] = []
            for i in range(len(calls)):
                said = await self._ask(request, i)
                if said is None:
                    return None
                found += said
                if any(update.kind != ReportKind.NOT_FOUND for update in said):
                    break
        except (RestFailed, TimeoutError, ValueError) as error:
            core.log.info(f"no answer to a query: {error}")
            return None
        known = [update for update in found if update.kind != ReportKind.NOT_FOUND]
        for update in known or found[:1]:
            if not update.client_text and not update.client_id:
                update.client_text, update.client_id = order.client_text, order.client_id
            if update.instrument < 0:
                update.instrument = order.instrument
        return known or found[:1]

    async def _ask(self, request: Request, i: int) -> list[Update] | None:
        """Make one of the calls of a query; NOT_FOUND if the venue has no such order."""
        core = self._core

        def build() -> Call:
            return core.adapter.order_call(request, core.wire_id(), core.clock.now_ms())[i]

        call = build()
        # Not urgent, however much it matters: many questions must not hold up a cancel.
        if self._take(call.costs or self._costs(request), False, core.clock.now_ns()):
            return None
        found: list[Update] = []
        following: Call | None = call
        while following is not None:
            call = following
            async with asyncio.timeout(core.settings.rest_timeout_s):
                reply = await core.rest.send(call)
            said = self._read_query(call, reply)
            if said is None:
                return None
            found += said
            # What the order has become since, where that is another one.
            following = core.adapter.next_page(call, reply.body, core.clock.now_ms())
            if following is not None and not await self._room(following, False):
                return None
        return found or None

    def _read_query(self, call: Call, reply: Reply) -> list[Update] | None:
        """Return what an answer to a query says; None if that is of no use."""
        core = self._core
        events = core.adapter.read_answer(
            call, reply.status, reply.headers, reply.body, core.instruments.by_native
        )
        found = [event for event in events if isinstance(event, Update)]
        for answer in answers(events):
            found += answer.updates
            if answer.verdict is Verdict.LIMITED:
                self.answers.limit(answer, True)
            gone = answer.verdict is Verdict.GONE or answer.reason is Reason.UNKNOWN_ORDER
            if gone and not answer.updates:
                found.append(Update(kind=ReportKind.NOT_FOUND, reason=Reason.UNKNOWN_ORDER))
            elif answer.verdict is not Verdict.ACCEPTED and not answer.updates:
                return None
        return found


def _harmless(request: Request, answer: Answer) -> bool:
    """Return whether a part of a request for several instruments found nothing to do."""
    return request.action is Action.CANCEL_ALL and answer.verdict is Verdict.GONE
