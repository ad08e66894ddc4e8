"""The gateway: one process an account, between two rings and a venue.

It reads ``gw.<account>.requests`` (``gateways.types.REQUEST``) as the reader ``gateway``, and
writes ``gw.<account>.reports`` (``gateways.types.REPORT``). The ring of requests may appear after
the gateway has started, its writer may die and come back, and it may be removed and made anew.

A request is marked as done with *before* it is sent: a gateway that dies in the middle never sends
an order twice. Its successor reads both rings from their ends backwards, finds the requests that no
report answers, and asks the venue what became of them; the trades and orders that the reports tell
of are what it knows already.

================  =================================================================
``settings``      the settings, and what they lead to
``socket``        a WebSocket connection
``sessions``      a route kept up: login, keep-alive, rotation, reconnection
``rest``          calls within the limits, the venue's clock
``sending``       the way of a request, from the ring to the socket
``answers``       what answers mean for requests
``inflight``      requests without an answer, and of unknown fate
``orders``        the orders as they are known: who is who, what is new
``reconcile``     what the venue says of the whole account, joined with what was told
``deadman``       the venue's countdown
``history``       what a predecessor left in the rings
``reports``       the ring of reports
================  =================================================================
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.errors import ReaderLost, SegmentError
from engine.flow import FlowReader, write_position
from engine.histogram import record_one
from gateways.adapter import ROUTE_ORDERS
from gateways.answers import ORDER_ACTIONS, Answers
from gateways.client import GATEWAY_READER
from gateways.core import Core
from gateways.deadman import DeadMan
from gateways.history import Left, recover
from gateways.ids import ClientIds
from gateways.inflight import SWEEP_S, Doubts, Flights
from gateways.instruments import InstrumentTable
from gateways.limits import RateLimits
from gateways.message import Answer, Instrument, Request, Update
from gateways.orders import ORDER_KINDS, OrderTable
from gateways.park import BellWatch
from gateways.reconcile import Reconciler
from gateways.reports import ReportWriter, open_ring, refusal
from gateways.rest import RestClient, RestFailed, VenueClock
from gateways.sending import Sender
from gateways.sessions import Line, Route, routes_of
from gateways.settings import (
    Factory,
    GatewaySettings,
    endpoints_of,
    find_factory,
    identity,
)
from gateways.types import REQUEST, Action, Reason, ReportKind, RequestFlag

ATTACH_S = 0.05
"""How often to look whether the ring of requests is there, and still the same."""
IDLE_S = 0.001
"""Without a bell: how often to look at it."""
REHEARSE_S = 0.001
"""While it spins without requests: how often to go their way all the same."""
BURST = 64
"""Requests in one turn of the loop: then the venue's messages have their turn."""
HOUSEKEEPING_S = 0.1
CLOCK_AGAIN_S = 1.0
"""Least time between two measurements of the clock that refusals have asked for."""
STOP_S = 2.0
"""How long a clean stop waits for answers that are to come."""
CANCEL_STOP_S, CANCEL_AGAIN_S = 5.0, 1.0
"""How long it tries to cancel what is open where that is wished, and how often."""
_URGENT = int(RequestFlag.URGENT)

COUNTED = (
    "requests",
    "not_sent",
    "refused",
    "malformed",
    "held_back",
    "repeated",
    "answers",
    "late_answers",
    "events",
    "unreadable",
    "alerts",
    "unknowns",
    "unheard",
    "doubts",
    "queries",
    "not_found",
    "reconciliations",
    "reconcile_failures",
    "differences",
    "inferred",
    "connects",
    "connect_failures",
    "disconnects",
    "silences",
    "rotations",
    "keys_expired",
    "limited",
    "rest_requests",
    "rest_failed",
    "rest_limited",
    "orphaned",
    "dead_man_set",
    "dead_man_failures",
)


class Gateway:
    """The gateway of one account: an ``engine.agent.AsyncAgent``.

    ``factory`` makes the adapter; without it, the installed one of the venue.
    """

    def __init__(self, context: AgentContext, factory: Factory | None = None) -> None:
        self._context = context
        self.settings = chosen = settings(GatewaySettings, context)
        environment = chosen.environment or context.config.environment
        factory = factory or find_factory(chosen.venue)
        self.adapter = factory(identity(chosen, environment, factory))
        self.endpoints = endpoints_of(
            self.adapter, chosen, environment, context.config.endpoints.get(chosen.venue)
        )
        ClientIds(chosen.prefix)  # A wrong prefix is an error of the configuration.
        self._log, self._counters = context.log, context.counters
        account, counters = chosen.account, context.counters
        self._values = counters.values
        self._index = {name: counters.counter(f"{account}.{name}") for name in COUNTED}
        gauges = ("up", "open_orders", "in_flight", "in_doubt", "waiting_reports", "clock_offset")
        self._gauges = {name: counters.gauge(f"{account}.{name}") for name in gauges}
        self._sent_in = partial(
            record_one, counters.cells[counters.histogram(f"{account}.request_to_socket", "ns")]
        )
        self._told_in = partial(
            record_one, counters.cells[counters.histogram(f"{account}.event_to_report", "ns")]
        )
        self._answered_in = partial(
            record_one, counters.cells[counters.histogram(f"{account}.request_to_answer", "ns")]
        )
        self.up = False
        self._replaced_s = float("-inf")
        self._clock_wrong = asyncio.Event()

    @property
    def name(self) -> str:
        """Return the agent's name."""
        return self._context.name

    def count(self, name: str) -> None:
        """Count an event of ``COUNTED``."""
        self._values[self._index[name]] += 1

    # -- life -------------------------------------------------------------------------------------
    async def run(self, stop: asyncio.Event) -> None:
        """Serve the account until ``stop``."""
        instance, chosen = self._context.instance, self.settings
        with contextlib.ExitStack() as stack:
            ring = open_ring(instance, chosen.reports, chosen.ring, chosen.readers)
            stack.callback(ring.close)
            reports = ReportWriter(ring)
            beat = asyncio.create_task(self._beat(reports))
            try:
                table = await self._instruments(stop)
                if table is None:
                    return
                stack.callback(table.close)
                limits = RateLimits(
                    instance, chosen.venue, chosen.account, self.adapter.limits, chosen.limit_factor
                )
                stack.callback(limits.close)
                await self._serve(stop, reports, table, limits)
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)

    async def _instruments(self, stop: asyncio.Event) -> InstrumentTable | None:
        """Return the venue's instruments, once there is a table of them."""
        said = False
        while not stop.is_set():
            try:
                table = InstrumentTable(self._context.instance, self.settings.table)
                if len(table):
                    return table
                table.close()
            except SegmentError as error:
                if not said:
                    self._log.info(f"waiting for instruments: {error}")
                    said = True
            await asyncio.sleep(ATTACH_S)
        return None

    async def _beat(self, reports: ReportWriter) -> None:
        while True:
            reports.ring.heartbeat()
            await asyncio.sleep(HOUSEKEEPING_S)

    async def _serve(
        self,
        stop: asyncio.Event,
        reports: ReportWriter,
        table: InstrumentTable,
        limits: RateLimits,
    ) -> None:
        chosen, clock, ids = self.settings, VenueClock(), ClientIds(self.settings.prefix)
        client = RestClient(
            self.adapter,
            self.endpoints.rest,
            limits,
            clock,
            self._log,
            self.count,
            timeout_s=chosen.rest_timeout_s,
        )
        async with client as rest:
            self.core = Core(
                chosen,
                self.adapter,
                table,
                ids,
                limits,
                clock,
                rest,
                OrderTable(ids),
                reports,
                self._log,
                self.count,
                wire_prefix=f"{time.time_ns() // 1_000_000:x}x",
            )
            self._wire()
            await self._work(stop)

    def _wire(self) -> None:
        """Make the parts and connect them."""
        core = self.core
        self.flights, self.dead_man = Flights(), DeadMan(core)
        self.routes = routes_of(core, self.endpoints, self)
        orders_route = next(route for route in self.routes if route.name == ROUTE_ORDERS)
        self._privates = [route for route in self.routes if route.private]
        self.sender = Sender(
            core, self.flights, self.dead_man, orders_route, lambda: self.up, self._sent_in
        )
        self.doubts = Doubts(core, self.sender.ask)
        core.orders.revived = self.doubts.look
        self.answers = Answers(core, self.flights, self.doubts, self.sender.again, self.on_clock)
        core.heard = self._heard
        self.sender.answers = self.answers
        self.reconciler = Reconciler(core, self.sender.ask, self.doubts.suspect, self._reconciled)
        self.sender.reconcile = self.reconciler.want
        core.instruments.on_change = self._decimals_changed
        instruments: list[Instrument] = core.instruments.all()
        core.orders.natives.update((each.row, each.native) for each in instruments)

    def _decimals_changed(self, old: Instrument, new: Instrument) -> None:
        """Write what is known in an instrument's new decimals; take orders when all know them."""
        core, row = self.core, new.row
        self._log.error("the decimals of an instrument have changed", extra={"native": new.native})
        core.barred[row] = time.time_ns()
        core.orders.rebase(
            row,
            new.price_decimals - old.price_decimals,
            new.quantity_decimals - old.quantity_decimals,
        )
        self.reconciler.holdings.forget(row)
        self.reconciler.want()

    async def _work(self, stop: asyncio.Event) -> None:
        """Recover, then run all parts until ``stop``."""
        core = self.core
        await self._first_clock(stop)
        core.instruments.refresh()
        left = recover(self._context.instance, core)
        reconciler, offset_ns = self.reconciler, core.clock.offset_ns
        reconciler.baseline = left.is_first
        if left.is_first:
            reconciler.since_ns = core.clock.now_ns() - round(self.settings.lookback_s * 1e9)
        else:
            reconciler.since_ns = left.since_ns + offset_ns
            reconciler.history_ns = left.first_ns + offset_ns
        jobs: list[Coroutine[Any, Any, None]] = [
            *(route.run() for route in self.routes),
            self.doubts.run(),
            self.reconciler.run(),
            self.reconciler.close_gaps(),
            self.reconciler.sweep(),
            self.dead_man.run(),
            self._measure_clock(),
            self._sweep(),
            self._housekeeping(),
            self._requests(left),
        ]
        tasks = [asyncio.create_task(job) for job in jobs]
        stopped = asyncio.create_task(stop.wait())
        if self.settings.spin:
            gc.collect()
            gc.freeze()  # What lives now lives for ever; collections need not look at it again.
        try:
            await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await self._leave(tasks[-1])
        finally:
            stopped.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)
            await self.sender.close()
            self._say_down(Reason.REQUESTED, "stopped")
            core.reports.flush()
            self._tally()

    async def _leave(self, requests: "asyncio.Task[None]") -> None:
        """Take no more requests, and wait a little for the answers that are to come."""
        requests.cancel()
        await asyncio.gather(requests, return_exceptions=True)
        if self.settings.cancel_on_stop:
            await self._cancel_everything()
        until = time.monotonic() + STOP_S
        while self._busy() and time.monotonic() < until:  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(SWEEP_S)

    async def _cancel_everything(self) -> None:
        """Cancel all orders, again and again until none is left or it has taken too long."""
        orders, until = self.core.orders, time.monotonic() + CANCEL_STOP_S
        asked_s = float("-inf")
        while (orders.open or self.flights.waiting) and time.monotonic() < until:
            if orders.open and time.monotonic() - asked_s > CANCEL_AGAIN_S:
                asked_s = time.monotonic()
                self.sender.resume(Request(Action.CANCEL_ALL, 0, 0, None, flags=_URGENT))
            await asyncio.sleep(SWEEP_S)
        for order in orders.live():
            names = {"client_id": order.client_id, "venue_id": order.venue_id}
            self._log.error("an order is left open", extra=names)

    def _busy(self) -> bool:
        """Return whether something is still to come before a clean stop."""
        return bool(self.flights.waiting) or bool(self.core.reports.waiting)

    # -- requests ---------------------------------------------------------------------------------
    def _resume(self, left: Left) -> None:
        """Give the requests that a predecessor took their final word, or begin to look for it."""
        for request, sent_ns in left.unanswered:
            again = request.request_id not in left.overtaken
            if request.action in ORDER_ACTIONS:
                self.answers.recovered(request, sent_ns)
            elif request.action is Action.RECONCILE:
                self.reconciler.want(request.request_id)
            elif request.action is Action.CANCEL_ALL and again:
                # Whatever came of it: once more does no harm, as no order was asked for since.
                self.sender.resume(request)
            else:
                self.core.reports.publish(refusal(request, Reason.DISCONNECTED))

    async def _requests(self, left: Left) -> None:
        """Pass requests on, whenever there is somebody who asks."""
        self._resume(left)
        while True:
            try:
                reader = FlowReader.attach(
                    self._context.instance, self.settings.requests, GATEWAY_READER, REQUEST
                )
            except SegmentError:  # Not there yet, or its writer does not know us (yet).
                await asyncio.sleep(ATTACH_S)
                continue
            except ReaderLost as error:
                self._log.error(str(error))
                continue
            watch = asyncio.create_task(self._watch_asker(reader))
            try:
                await (self._spin(reader) if self.settings.spin else self._park(reader))
            except ReaderLost as error:
                self._log.error(str(error))
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                reader.close()

    async def _watch_asker(self, reader: FlowReader) -> None:
        """Cancel everything when whoever asks has been dead for too long: nobody else would."""
        orphan_s = self.settings.orphan_s
        alive_s, done = time.monotonic(), False
        while orphan_s:
            await asyncio.sleep(HOUSEKEEPING_S)
            if reader.segment.writer_alive:
                alive_s, done = time.monotonic(), False
            elif not done and self.core.orders.open and time.monotonic() - alive_s > orphan_s:
                self._log.error("nobody asks any more: cancelling all orders")
                self.count("orphaned")
                await self._cancel_everything()
                done = not self.core.orders.open

    def _drain(self, reader: FlowReader) -> int:
        """Handle what has been asked for, at most ``BURST`` requests; return how many."""
        handled = 0
        while handled < BURST:
            batch = reader.poll(1)
            if not len(batch):
                break
            record = batch.tobytes()
            # Before it is sent: whoever comes after us must not send it again.
            reader.advance()
            handled += 1
            self.sender.handle(record)
        if handled:
            self._values[self._index["requests"]] += handled
        return handled

    async def _spin(self, reader: FlowReader) -> None:
        """Look in every turn of the loop; return when the ring has been removed."""
        loop, monotonic = asyncio.get_running_loop(), time.monotonic
        ended: asyncio.Future[None] = loop.create_future()
        stride, mask = reader.stride, reader.capacity - 1
        rehearse_at = 0.0

        def turn() -> None:
            nonlocal rehearse_at
            if ended.done():
                return
            now, next_one = monotonic(), reader.position
            # A look at one word costs a fraction of a poll, which says for certain.
            there = reader.words.item((next_one & mask) * stride) >= next_one
            if there or now >= rehearse_at:
                try:
                    if not self._drain(reader):
                        self.sender.rehearse()
                except Exception as error:
                    # Whatever it is: nobody would take requests any more, and seem to be well.
                    ended.set_exception(error)
                    return
                rehearse_at = now + REHEARSE_S
            loop.call_soon(turn)

        turn()
        try:
            while not ended.done() and not reader.segment.removed:
                await asyncio.wait([ended], timeout=ATTACH_S)
            if ended.done():
                ended.result()
            write_position(reader.cursor.cells, 0)  # There is nothing behind us any more.
        finally:
            ended.cancel()

    async def _park(self, reader: FlowReader) -> None:
        """Sleep until the bell rings; return when the ring has been removed."""
        news = asyncio.Event()
        watch = BellWatch.open(
            self._context.instance, self.settings.requests, lambda: reader.lag > 0, news.set
        )
        try:
            while not reader.segment.removed:
                news.clear()
                while self._drain(reader):  # noqa: ASYNC110 - the ring is what it waits for
                    await asyncio.sleep(0)
                if watch is None:
                    await asyncio.sleep(IDLE_S)
                    continue
                watch.rearm()
                try:
                    async with asyncio.timeout(ATTACH_S):
                        await news.wait()
                except TimeoutError:
                    pass
            write_position(reader.cursor.cells, 0)  # As in _spin.
        finally:
            if watch is not None:
                watch.close()

    # -- what the venue says (gateways.sessions.Handler) ---------------------------------------
    def on_update(self, update: Update, received_ns: int) -> None:
        """Take a live event."""
        self._values[self._index["events"]] += 1
        if update.kind in ORDER_KINDS:
            self.core.tell(update, received_ns)
        elif update.kind == ReportKind.FUNDING:
            self.core.tell_funding(update, received_ns)
        else:
            if update.kind in (ReportKind.BALANCE, ReportKind.POSITION):
                self.reconciler.holdings.note(update, received_ns)
            self.core.reports.publish(update, received_ns)
        self._told_in(time.time_ns() - received_ns)

    def _heard(self, update: Update) -> None:
        """Let those know who wait for a report about an order."""
        order = self.core.orders.get(update.client_id)
        self.flights.heard(update, order is not None and order.ended)
        self.doubts.heard(update.client_id, update)
        if order is not None and order.filled > order.traded:
            self.reconciler.gap(order)

    def on_answer(self, answer: Answer, received_ns: int) -> int:
        """Take an answer; return when its request was sent, 0 if it is not known."""
        self._values[self._index["answers"]] += 1
        flight = self.flights.answered(answer.wire_id)
        if flight is None:
            self.count("late_answers")
            for update in answer.updates:
                self.core.tell(update, received_ns)
            return 0
        self._answered_in(received_ns - flight.sent_ns)
        sent_ns = flight.sent_ns
        self.answers.resolve(flight, answer, received_ns)
        return sent_ns

    def on_up(self, route: Route, gap: bool) -> None:
        """Learn that a route works."""
        self._log.info("route up", extra={"route": route.name})
        if gap and route.private:
            self._listens_ns = time.time_ns()
            if all(each.up for each in self._privates):
                self.reconciler.want(gap=True)
        self._say_up()

    _synced = False
    """Whether the account has been reconciled since the private events began to come."""
    _listens_ns = 0
    """Since when they come without a gap (ours, Unix ns)."""

    def _reconciled(self, missed: int, began_ns: int) -> None:
        # Answers from before are not joined with the events: some may be in neither.
        if all(route.up for route in self._privates) and began_ns >= self._listens_ns:
            self._synced = True
        self._say_up()
        for row, since_ns in [*self.core.barred.items()]:
            if since_ns < began_ns:
                del self.core.barred[row]
        now = time.monotonic()
        if missed and self.up and now - self._replaced_s > self.settings.mute_s:
            # Events have been lost on a connection that seems to be well.
            self._replaced_s = now
            self._log.warning("the private stream lacks events: replacing its connection")
            for route in self._privates:
                route.replace()

    def on_lost(self, route: Route, line: Line) -> None:
        """Learn that a connection is gone: what it carried may or may not have arrived."""
        if route.current is None:
            if route.private:
                self._synced = False
            self._say_down(Reason.DISCONNECTED, f"{route.name}: {route.down_reason}")
        for flight in self.flights.of_route(line):
            self.flights.give_up(flight)
            self.answers.unknown(flight, Reason.DISCONNECTED)

    def owes(self, line: Line) -> bool:
        """Return whether answers are to come on a connection."""
        return any(flight.route is line for flight in self.flights.waiting.values())

    def on_clock(self) -> None:
        """Learn that the clock may be wrong."""
        self._clock_wrong.set()

    def on_changed(self) -> None:
        """Learn that the account has changed in a way that must be asked for."""
        self.reconciler.want()

    def _say_up(self) -> None:
        if self.up or not self._synced or not all(route.up for route in self.routes):
            return
        self.up = True
        self._log.info("up")
        self.core.reports.publish(Update(kind=ReportKind.UP))

    def _say_down(self, reason: Reason, text: str) -> None:
        if not self.up:
            return
        self.up = False
        self._log.warning("down", extra={"why": text})
        self.core.reports.publish(Update(kind=ReportKind.DOWN, reason=reason, text=text[:48]))

    # -- by the clock -----------------------------------------------------------------------------
    async def _first_clock(self, stop: asyncio.Event) -> None:
        """Measure the venue's clock before anything is signed."""
        delay = self.settings.backoff_s
        while not stop.is_set():
            try:
                await self.core.rest.measure_clock()
                return
            except RestFailed as error:
                self._log.warning(f"no time from the venue yet: {error}")
                await asyncio.sleep(delay)
                delay = min(2 * delay, self.settings.backoff_max_s)

    async def _measure_clock(self) -> None:
        """Measure the venue's clock from time to time, and when it refuses us for the time."""
        while True:
            await asyncio.sleep(CLOCK_AGAIN_S)
            try:
                async with asyncio.timeout(self.settings.clock_s):
                    await self._clock_wrong.wait()
            except TimeoutError:
                pass
            self._clock_wrong.clear()
            try:
                await self.core.rest.measure_clock()
            except RestFailed as error:
                self._log.info(f"venue's time not measured: {error}")

    async def _sweep(self) -> None:
        """Give up waiting for what does not come."""
        timeout_ns = round(self.settings.request_timeout_s * 1e9)
        event_ns = round(self.settings.event_timeout_s * 1e9)
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.time_ns()
            for flight in self.flights.overdue(now - timeout_ns):
                self.flights.give_up(flight)
                self.answers.unknown(flight, Reason.TIMEOUT)
            for request, since_ns in self.flights.unheard(now - event_ns):
                self.count("unheard")
                self.doubts.add(request, since_ns)
            if self.core.reports.waiting:
                self.core.reports.flush()

    async def _housekeeping(self) -> None:
        while True:
            self._tally()
            self.core.instruments.refresh()
            await asyncio.sleep(HOUSEKEEPING_S)

    def _tally(self) -> None:
        """Bring the gauges up to date."""
        core, values, gauges = self.core, self._values, self._gauges
        values[gauges["up"]] = self.up
        values[gauges["open_orders"]] = core.orders.open
        values[gauges["in_flight"]] = len(self.flights.waiting)
        values[gauges["in_doubt"]] = len(self.doubts)
        values[gauges["waiting_reports"]] = len(core.reports.waiting)
        values[gauges["clock_offset"]] = core.clock.offset_ns


@takes(GatewaySettings)
def make(context: AgentContext) -> Gateway:
    """Return the agent of kind ``gateway``: entry point ``trade_infra.agents``."""
    return Gateway(context)
