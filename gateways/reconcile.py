"""Reconciliation: what the venue says of the whole account, joined with what we have told.

At the start, after every reconnection, on a period and on request, the venue is asked by REST for
open orders, then for trades, balances and positions, in this order: a trade that an order's state
includes is in the later answer. Nothing is told before all answers are there; then everything
between SYNC_BEGIN and SYNC_END is told at once, without a live event in between.

Live events go on being told while the queries run. What one of them said of an order, a balance or
a position after the queries began is newer than the answers, which are not believed about it; the
sync then tells what is known. So nothing is held up, doubled or lost.

Something that the answers say and no event has told is a difference. Events may still be on their
way, so what differs is looked at again after ``settle_s``. An order that should be open and is not
among the open ones is asked for by itself: only that answer is its end.

Where trades can be asked for one instrument at a time only, those are asked for that had orders or
have a position, and those whose holdings have changed. After a gap in the events the others follow
one by one, when all is up again: the account is not kept waiting for hundreds of questions.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateways.adapter import Call, Query
from gateways.core import Core
from gateways.message import Instrument, Update
from gateways.orders import LIVE_STATUS, Order
from gateways.rest import PAGES_MAX, RestFailed
from gateways.types import OrderStatus, Reason, ReportFlag, ReportKind

OVERLAP_S = 60.0
"""Trades are asked for from so long before the last reconciliation."""
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""After a reconciliation that failed."""
SWEEP_EVERY_S = 1.0
"""Between two instruments that are asked for their trades besides."""
GAP_AT_S = (0.3, 1.0, 3.0, 8.0)
"""When the trades of an order are asked for that was filled by more than they sum up to."""

Key = tuple[int, str, int]
"""Of a balance (-1, asset, 0) or a position (instrument, "", side)."""


def key_of(update: Update) -> Key:
    """Return what a balance or position is about."""
    if update.kind == ReportKind.BALANCE:
        return (-1, update.asset, 0)
    return (update.instrument, "", update.position_side)


class Holdings:
    """The balances and positions as they were told last."""

    def __init__(self) -> None:
        self.known: dict[Key, tuple[Update, int]] = {}
        """By key: what was told, and when (ours, Unix ns)."""

    def note(self, update: Update, now_ns: int) -> None:
        """Take a live balance or position in."""
        self.known[key_of(update)] = (update, now_ns)

    def forget(self, row: int) -> None:
        """Forget the positions of an instrument: their numbers mean something else now."""
        for key in [key for key in self.known if key[0] == row]:
            del self.known[key]

    def differs(self, update: Update) -> bool:
        """Return whether another quantity has been told."""
        known = self.known.get(key_of(update))
        if known is None:
            return False
        ours, shift = known[0], known[0].decimals - update.decimals
        ours_mantissa: int = ours.quantity * 10 ** max(0, -shift)
        theirs_mantissa: int = update.quantity * 10 ** max(0, shift)
        return ours_mantissa != theirs_mantissa


@dataclass(slots=True)
class Snapshot:
    """What the venue said in one round of queries."""

    began_ns: int
    orders: list[Update] = field(default_factory=list)
    fills: list[Update] = field(default_factory=list)
    holdings: list[Update] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)
    """Rows whose trades were asked for by themselves."""


class Reconciler:
    """Reconciles on a period and when asked.

    ``ask`` queries one order (as for ``gateways.inflight.Doubts``); ``suspect`` has it asked for
    until it is known. ``done`` is called after each reconciliation with how many events of orders
    had been missed, and when its queries began (ours, Unix ns).
    """

    def __init__(
        self,
        core: Core,
        ask: Callable[[Order], Awaitable["list[Update] | None"]],
        suspect: Callable[[Order], None],
        done: Callable[[int, int], None],
    ) -> None:
        self._core, self._ask, self._suspect = core, ask, suspect
        self._done = done
        self.holdings = Holdings()
        self.baseline = True
        """Whether nothing has been told ever: then nothing can have been missed."""
        self.since_ns = 0
        """Trades before are known (the venue's clock)."""
        self.history_ns = 0
        """Trades and payments before are history (the venue's clock): told by a predecessor whose
        words are gone, or from before the very first start. They are never told."""
        self.requests: list[int] = []
        """Ids of the requests that the next reconciliation answers."""
        self.rounds = 0
        self.backlog: dict[int, int] = {}
        """Row -> since when its trades are still to be asked for (the venue's clock)."""
        self._began_ns = 0
        """When the queries of the last reconciliation began (ours, Unix ns)."""
        self._gap = False
        """Whether events may have been lost since."""
        self._wanted = asyncio.Event()
        self._gaps: dict[int, tuple[int, float]] = {}

    def want(self, request_id: int = 0, gap: bool = False) -> None:
        """Reconcile as soon as possible; ``gap``: events of any instrument may have been lost."""
        if request_id:
            self.requests.append(request_id)
        self._gap = self._gap or gap
        self._wanted.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        period_s = self._core.settings.reconcile_s
        failures = 0
        while True:
            try:
                async with asyncio.timeout(None if not self.rounds else period_s):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self.once()
                failures = 0
            except (RestFailed, ValueError) as error:
                self._core.count("reconcile_failures")
                self._core.log.warning(f"not reconciled: {error}")
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1
                self._wanted.set()

    async def once(self) -> None:
        """Reconcile now.

        Raises
        ------
        RestFailed, ValueError
            If the venue does not answer, or what it says cannot be read. Nothing was told.

        """
        # Who asks from here on wants newer answers than these.
        answered, self.requests = self.requests, []
        gap, self._gap = self._gap, False
        try:
            await self._once(answered, gap)
        except (RestFailed, ValueError):
            self.requests, self._gap = answered + self.requests, gap or self._gap
            raise

    async def _once(self, answered: list[int], gap: bool) -> None:
        core = self._core
        snapshot = await self._query()
        await self._identify(snapshot.fills)
        if self.baseline:
            self.history_ns = snapshot.began_ns + core.clock.offset_ns
        elif self._differences(snapshot):
            await asyncio.sleep(core.settings.settle_s)
        found: dict[int, list[Update]] = {}
        absent = self._absent(snapshot)
        for order in absent:
            said = await self._ask(order)
            if said:
                found[order.client_id] = said
        # No await from here on: no event comes between what follows.
        self._put_off(snapshot, gap and not self.baseline)
        differences = self._tell(snapshot, found, answered or [0])
        self.since_ns = snapshot.began_ns + core.clock.offset_ns - round(OVERLAP_S * 1e9)
        self._began_ns = snapshot.began_ns
        self.baseline, self.rounds = False, self.rounds + 1
        core.count("reconciliations")
        self._done(differences, snapshot.began_ns)

    # -- queries ----------------------------------------------------------------------------------
    async def _query(self) -> Snapshot:
        core, snapshot = self._core, Snapshot(time.time_ns())
        core.instruments.refresh()
        instruments = core.instruments.all()
        core.orders.natives.update((each.row, each.native) for each in instruments)
        since_ms = self.since_ns // 1_000_000
        await self.pages(Query.INSTRUMENTS, instruments, 0)
        snapshot.orders = await self.pages(Query.OPEN_ORDERS, instruments, 0)
        snapshot.fills = await self.pages(Query.FUNDING, instruments, since_ms)
        some = core.adapter.dialect.trades_by_instrument
        await self._ask_fills(snapshot, self._with_orders(snapshot) if some else instruments)
        for query in (Query.BALANCES, Query.POSITIONS):
            snapshot.holdings += await self.pages(query, instruments, 0)
        if some:
            await self._ask_fills(snapshot, self._with_changes(snapshot))
        return snapshot

    async def _ask_fills(self, snapshot: Snapshot, instruments: Sequence[Instrument]) -> None:
        """Ask for the trades of instruments: of all together, or of each since its own time."""
        if not self._core.adapter.dialect.trades_by_instrument:
            snapshot.fills += await self.pages(Query.FILLS, instruments, self.since_ns // 1_000_000)
            return
        for each in instruments:
            since_ns = min(self.since_ns, self.backlog.get(each.row, self.since_ns))
            snapshot.fills += await self.pages(Query.FILLS, [each], since_ns // 1_000_000)
            snapshot.asked.add(each.row)

    def _with_orders(self, snapshot: Snapshot) -> list[Instrument]:
        """Return the instruments that have, or have had, orders or a position."""
        rows = {update.instrument for update in snapshot.orders}
        rows |= {order.instrument for order in self._core.orders.heard_since(self._began_ns)}
        for (row, _, _), (update, _) in self.holdings.known.items():
            if update.kind == ReportKind.POSITION and update.quantity:
                rows.add(row)
        return [each for each in self._core.instruments.all() if each.row in rows]

    def _with_changes(self, snapshot: Snapshot) -> list[Instrument]:
        """Return the other instruments whose balance or position differs from what was told."""
        changed = [update for update in snapshot.holdings if self.holdings.differs(update)]
        rows = {update.instrument for update in changed}
        assets = {update.asset for update in changed} - {""}
        return [
            each
            for each in self._core.instruments.all()
            if each.row not in snapshot.asked
            and (each.row in rows or (not each.settle and each.base in assets))
        ]

    def _put_off(self, snapshot: Snapshot, gap: bool) -> None:
        """Note of whom trades are still to be asked for."""
        for row in snapshot.asked:
            self.backlog.pop(row, None)
        if gap and self._core.adapter.dialect.trades_by_instrument:
            for each in self._core.instruments.all():
                if each.row not in snapshot.asked:
                    self.backlog.setdefault(each.row, self.since_ns)

    async def sweep(self) -> None:
        """Ask for the trades that were put off, slowly, until cancelled."""
        core = self._core
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            if not self.backlog:
                continue
            row, since_ns = next(iter(self.backlog.items()))
            instrument = core.instruments.get(row)
            try:
                instruments = [instrument] if instrument is not None else []
                fills = await self.pages(Query.FILLS, instruments, since_ns // 1_000_000)
            except (RestFailed, ValueError) as error:
                core.log.info(f"no trades: {error}")
                continue
            await self._identify(fills)
            self.backlog.pop(row, None)
            for update in sorted(fills, key=lambda each: each.exchange_ns):
                self.tell_fill(update)

    async def _identify(self, fills: list[Update]) -> None:
        """Ask for our orders that a trade of an order with an unknown id may be of.

        Not every venue writes our name for an order on its trades; an order of which no answer and
        no event has come is known by that name only.
        """
        orders, asked_ns = self._core.orders, time.time_ns()
        unknown = {
            update.instrument
            for update in fills
            if self._is_new_fill(update) and not update.client_text and orders.peek(update) is None
        }
        for order in orders.active() if unknown else ():
            if order.instrument in unknown and not order.venue_id:
                for update in await self._ask(order) or ():
                    if update.kind != ReportKind.NOT_FOUND:
                        update.flags |= ReportFlag.RECONCILED
                        self._core.keep_newer(update, asked_ns)
                        self._core.tell(update, time.time_ns())

    async def pages(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int
    ) -> list[Update]:
        """Return all that the venue answers to a query; raises RestFailed and ValueError."""
        core = self._core
        adapter, clock, natives = core.adapter, core.clock, core.instruments.by_native
        found: list[Update] = []
        count = len(adapter.query_calls(query, instruments, since_ms, clock.now_ms()))
        for i in range(count):

            def build(i: int = i) -> Call:
                return adapter.query_calls(query, instruments, since_ms, clock.now_ms())[i]

            call, reply = await core.rest.query(build)
            for _ in range(PAGES_MAX):
                for said in adapter.read_page(query, call, reply.body, natives):
                    if isinstance(said, Update):
                        found.append(said)
                    else:
                        core.alert(said.text)
                body, before = reply.body, call
                if adapter.next_page(before, body, clock.now_ms()) is None:
                    break

                def again(before: Call = before, body: bytes = body) -> Call:
                    return adapter.next_page(before, body, clock.now_ms()) or before

                call, reply = await core.rest.query(again)
            else:
                raise RestFailed(f"{query}: no end after {PAGES_MAX} pages")
        return found

    # -- comparing --------------------------------------------------------------------------------
    def _differences(self, snapshot: Snapshot) -> bool:
        """Return whether the answers say anything that has not been told."""
        orders = self._core.orders
        for update in snapshot.orders:
            order = orders.find(update)
            if not order.live or order.filled < update.filled:
                return True
        if any(self._is_new_fill(update) for update in snapshot.fills):
            return True
        if self._absent(snapshot):
            return True
        return any(self.holdings.differs(update) for update in snapshot.holdings)

    def _is_new_fill(self, update: Update) -> bool:
        """Return whether a trade is to be told; asking makes no order of an old one."""
        if update.kind != ReportKind.FILL or update.exchange_ns < self.history_ns:
            return False
        side = self._side_of(update)
        return not self._core.orders.knows_fill(update.instrument, update.trade_id, side)

    def _side_of(self, update: Update) -> int:
        order = None if update.side else self._core.orders.peek(update)
        return order.side if order is not None else update.side

    def _absent(self, snapshot: Snapshot) -> list[Order]:
        """Return the orders that should be among the open ones and are not."""
        orders = self._core.orders
        there = {orders.find(update).client_id for update in snapshot.orders}
        return [
            order
            for order in orders.live()
            if order.client_id not in there
            and order.seen_ns < snapshot.began_ns
            and order.sent_ns < snapshot.began_ns
        ]

    # -- telling ----------------------------------------------------------------------------------
    def _tell(self, snapshot: Snapshot, found: dict[int, list[Update]], answered: list[int]) -> int:
        core = self._core
        # Before trades are told, which may end orders: what became of them is told all the same.
        absent = self._absent(snapshot)
        self._mark(ReportKind.SYNC_BEGIN, answered[0])
        differences = self._tell_fills(snapshot)
        told, missed = self._tell_orders(snapshot)
        differences += missed + self._tell_ends(absent, found, told)
        for order in core.orders.live():
            if order.client_id not in told:
                self._tell_known(order)
        self._tell_holdings(snapshot)
        for request_id in answered:
            self._mark(ReportKind.SYNC_END, request_id)
        return differences

    def _mark(self, kind: ReportKind, request_id: int) -> None:
        self._core.reports.publish(Update(kind=kind, request_id=request_id))

    def _difference(self, update: Update, reason: Reason) -> int:
        """Tell that something had been missed (at the first start nothing has); return how many."""
        if self.baseline:
            return 0
        self._core.count("differences")
        names = {name: getattr(update, name) for name in ("instrument", "client_id", "venue_id")}
        self._core.log.warning("difference", extra={"what": reason.name.lower(), **names})
        self._core.reports.publish(
            Update(
                kind=ReportKind.DIFFERENCE,
                reason=reason,
                instrument=update.instrument,
                client_id=update.client_id,
                venue_id=update.venue_id,
                trade_id=update.trade_id,
                quantity=update.quantity,
                filled=update.filled,
                status=update.status,
                asset=update.asset,
                decimals=update.decimals,
                flags=update.flags | ReportFlag.RECONCILED,
            )
        )
        return 1

    def _tell_fills(self, snapshot: Snapshot) -> int:
        """Tell the trades, and funding payments among them, that have not been."""
        differences = 0
        for update in sorted(snapshot.fills, key=lambda each: each.exchange_ns):
            if update.kind == ReportKind.FUNDING:
                self._tell_funding(update)
            else:
                differences += self.tell_fill(update)
        return differences

    def _tell_funding(self, update: Update) -> None:
        update.flags |= ReportFlag.RECONCILED
        if update.exchange_ns < self.history_ns:
            self._core.orders.admit_funding(update)
        else:
            self._core.tell_funding(update, time.time_ns())

    def tell_fill(self, update: Update) -> int:
        """Tell a trade from a query, if it has not been told; return how many were missed."""
        if not self._is_new_fill(update):
            if update.kind == ReportKind.FILL:
                orders, side = self._core.orders, self._side_of(update)
                orders.remember_fill(update.instrument, update.trade_id, side)
            return 0
        self._core.orders.find(update)
        missed = self._difference(update, Reason.MISSED_FILL)
        update.flags |= ReportFlag.RECONCILED
        self._core.tell(update, time.time_ns())
        return missed

    def _tell_orders(self, snapshot: Snapshot) -> tuple[set[int], int]:
        """Tell the orders that are open; return them, and how many were not known."""
        core, told, differences = self._core, set(), 0
        for update in snapshot.orders:
            order = core.orders.find(update)
            if order.seen_ns > snapshot.began_ns:  # An event has said more since.
                continue
            if order.over:
                # It had ended before we asked: a replica that lags, or a mistake of somebody's.
                self._suspect(order)
                continue
            new = not order.live and not order.sent_ns
            update.flags |= ReportFlag.RECONCILED
            if new:
                differences += self._difference(update, Reason.MISSED_ORDER)
            if new:
                # Its trades were told above as far as they are new; the rest is history.
                core.orders.assume(order, update.filled, update.exchange_ns)
            if core.tell(update, time.time_ns()):
                told.add(order.client_id)
        return told, differences

    def _tell_ends(
        self, absent: list[Order], found: dict[int, list[Update]], told: set[int]
    ) -> int:
        """Tell what became of orders that are not open any more; return how many."""
        core, differences = self._core, 0
        for order in absent:
            said = found.get(order.client_id)
            if not said or all(update.kind == ReportKind.NOT_FOUND for update in said):
                self._suspect(order)
                continue
            for update in said:
                if update.kind == ReportKind.FILL:
                    differences += self.tell_fill(update)
                    continue
                core.orders.find(update)
                update.flags |= ReportFlag.RECONCILED
                if update.status not in LIVE_STATUS and not order.ended:
                    differences += self._difference(update, Reason.MISSED_END)
                core.tell(update, time.time_ns())
                told.add(order.client_id)
        return differences

    def _tell_known(self, order: Order) -> None:
        """Tell an open order from what we know: events have said more than the answers."""
        update = Update(
            kind=ReportKind.STATUS,
            client_id=order.client_id,
            client_text=order.client_text,
            venue_id=order.venue_id,
            instrument=order.instrument,
            status=order.status or OrderStatus.OPEN,
            position_side=order.position_side,
            stop_price=order.stop_price,
            average_price=order.average_price,
            flags=ReportFlag.RECONCILED,
        )
        self._core.tell(update, time.time_ns())

    def _tell_holdings(self, snapshot: Snapshot) -> None:
        """Tell balances and positions; what the venue leaves out is zero."""
        now = time.time_ns()
        known, there = self.holdings.known, set()
        for update in snapshot.holdings:
            key = key_of(update)
            there.add(key)
            if key in known and known[key][1] > snapshot.began_ns:
                update = known[key][0]
            elif self.holdings.differs(update):
                self._differs(update)
            self._publish_holding(update, now)
        for key in [key for key in known if key not in there]:
            update, at_ns = known[key]
            if at_ns <= snapshot.began_ns and update.quantity:
                update.quantity = update.available = update.average_price = 0
                self._differs(update)
                self._publish_holding(update, now)

    def _differs(self, update: Update) -> None:
        balance = update.kind == ReportKind.BALANCE
        self._difference(update, Reason.MISSED_BALANCE if balance else Reason.MISSED_POSITION)

    def _publish_holding(self, update: Update, now: int) -> None:
        update.flags |= ReportFlag.RECONCILED | ReportFlag.ABSOLUTE
        self.holdings.note(update, now)
        self._core.reports.publish(update, now)

    # -- missing trades ---------------------------------------------------------------------------
    def gap(self, order: Order) -> None:
        """Take note that an order was filled by more than its trades sum up to."""
        if order.client_id not in self._gaps:
            now = asyncio.get_running_loop().time()
            self._gaps[order.client_id] = (0, now + GAP_AT_S[0])

    async def close_gaps(self) -> None:
        """Ask for missing trades until cancelled; what the venue does not give is inferred."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05)
            if not self.rounds:  # What is history is not known yet.
                continue
            for client_id, (step, due_s) in [*self._gaps.items()]:
                if due_s > loop.time():
                    continue
                order = self._core.orders.get(client_id)
                if order is None or not order.missing:
                    del self._gaps[client_id]
                    continue
                await self._close_gap(order, step)
                if not order.missing:
                    self._gaps.pop(client_id, None)
                elif step + 1 < len(GAP_AT_S):
                    self._gaps[client_id] = (step + 1, loop.time() + GAP_AT_S[step + 1])
                else:
                    del self._gaps[client_id]
                    self._infer(order)

    async def _close_gap(self, order: Order, step: int) -> None:
        core = self._core
        instrument = core.instrument_of(order)
        if instrument is None:
            return
        since_ns = order.sent_ns or min(self.since_ns, order.seen_ns)
        since_ms = (since_ns + core.clock.offset_ns) // 1_000_000 - 1000
        try:
            fills = await self.pages(Query.FILLS, [instrument], since_ms)
        except (RestFailed, ValueError) as error:
            core.log.warning(f"no trades: {error}")
            return
        for update in fills:
            # The others of that instrument are for reconciliation to compare.
            if core.orders.peek(update) is order:
                self.tell_fill(update)

    def _infer(self, order: Order) -> None:
        """Make the missing trades of an order up: the venue does not give them."""
        self._core.count("inferred")
        quantity = order.missing
        price = order.average_price // 10**6 or order.price
        update = Update(
            kind=ReportKind.FILL,
            client_id=order.client_id,
            client_text=order.client_text,
            venue_id=order.venue_id,
            instrument=order.instrument,
            side=order.side,
            last_price=price,
            last_quantity=quantity,
            filled=order.filled,
            trade_id=self._core.ids.foreign_number(order.venue_id, str(order.filled)),
            flags=ReportFlag.RECONCILED | ReportFlag.INFERRED,
        )
        self._difference(update, Reason.MISSED_FILL)
        self._core.tell(update, time.time_ns())
