"""The orders of an account as a gateway knows them: who is who, what has been told, what is new.

The venue's messages come twice, late, in another order than they happened, and without our names.
``OrderTable.admit`` turns each into at most one report: it finds the order, knows the trades that
have been told, drops what is stale, and keeps the sums that show a missing trade. It decides
nothing about risk or positions: a trade that has not been told before always passes.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from gateways.ids import ClientIds
from gateways.message import Request, Update
from gateways.types import OrderStatus, ReportFlag, ReportKind

FILLS_MAX = 262_144
"""Trades that are remembered, to be told only once."""
ENDED_MAX = 65_536
"""Ended orders that are remembered: what comes late is known to be late."""
RECENT = 6
"""Last messages of an order that are remembered, so that a repetition is one."""

LIVE_STATUS = frozenset(
    {
        OrderStatus.ACCEPTED,
        OrderStatus.OPEN,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.UNTRIGGERED,
    }
)
ENDS = {
    ReportKind.CANCELED: OrderStatus.CANCELED,
    ReportKind.EXPIRED: OrderStatus.EXPIRED,
    ReportKind.REJECTED: OrderStatus.REJECTED,
}
_LIVES = frozenset({ReportKind.OPEN, ReportKind.ACCEPTED, ReportKind.TRIGGERED})
ORDER_KINDS = frozenset(
    {
        ReportKind.ACCEPTED,
        ReportKind.OPEN,
        ReportKind.FILL,
        ReportKind.CANCELED,
        ReportKind.EXPIRED,
        ReportKind.REJECTED,
        ReportKind.AMENDED,
        ReportKind.AMEND_REJECTED,
        ReportKind.CANCEL_REJECTED,
        ReportKind.CANCEL_ACCEPTED,
        ReportKind.TRIGGERED,
        ReportKind.STATUS,
        ReportKind.NOT_FOUND,
    }
)
"""Kinds that are about an order."""


@dataclass(slots=True, eq=False)
class Order:
    """One order. ``filled`` is the venue's cumulative figure, ``traded`` the sum of its trades."""

    client_id: int
    client_text: str
    instrument: int
    venue_id: str = ""
    side: int = 0
    order_type: int = 0
    time_in_force: int = 0
    position_side: int = 0
    price: int = 0
    quantity: int = 0
    stop_price: int = 0
    filled: int = 0
    traded: int = 0
    inferred: int = 0
    """Of ``traded``: what was made up, until its trades come."""
    average_price: int = 0
    status: int = OrderStatus.NONE
    sent_ns: int = 0
    """When its request left us (ours, Unix ns); 0 for orders of others or of an earlier run."""
    seen_ns: int = 0
    """When the venue said something of it last (ours, Unix ns)."""
    lost: bool = False
    """The venue said that it does not exist: if it comes back, it is believed."""
    terms: Request | None = None
    """As it was asked for; None for orders of others or of an earlier run."""
    replaced: tuple[str, ...] = ()
    """Venue ids that it had before (amended by replacement)."""
    recent: deque[tuple[int, ...]] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def live(self) -> bool:
        """Whether the venue has said that it is open, and not that it has ended."""
        return self.status in LIVE_STATUS

    @property
    def ended(self) -> bool:
        """Whether the venue has said that it has ended."""
        return self.status > OrderStatus.PARTIALLY_FILLED and not self.live

    @property
    def missing(self) -> int:
        """What was filled by trades that have not been told."""
        return max(0, self.filled - self.traded)


class OrderTable:
    """All orders that are live, and the last ones that have ended."""

    def __init__(self, ids: ClientIds) -> None:
        self._ids = ids
        self._orders: dict[int, Order] = {}
        self._active: dict[int, Order] = {}
        """Those that have not ended, as far as is known."""
        self._by_venue: dict[tuple[int, str], Order] = {}
        self._ended: OrderedDict[int, None] = OrderedDict()
        self._fills: dict[tuple[int, int, int], None] = {}
        self.natives: dict[int, str] = {}
        """Row -> native symbol: the scope of foreign ids."""
        self.stale = self.repeated = 0
        """Messages that were dropped, by cause."""
        self.open = 0
        """Live orders."""

    def get(self, client_id: int) -> Order | None:
        """Return an order by its number."""
        return self._orders.get(client_id)

    def active(self) -> list[Order]:
        """Return the orders that are live, or may be."""
        return [*self._active.values()]

    def live(self) -> list[Order]:
        """Return the live orders."""
        return [order for order in self._active.values() if order.live]

    def sent(self, request: Request, sent_ns: int) -> Order:
        """Enter an order whose request has left us."""
        order = self._orders.get(request.client_id)
        if order is None:
            assert request.instrument is not None
            order = Order(request.client_id, request.client_text, request.instrument.row)
            self.add(order)
        order.side, order.price, order.quantity = request.side, request.price, request.quantity
        order.order_type, order.time_in_force = request.order_type, request.time_in_force
        order.position_side, order.stop_price = request.position_side, request.stop_price
        order.sent_ns, order.terms = sent_ns, request
        return order

    def add(self, order: Order) -> None:
        """Enter an order."""
        self._orders[order.client_id] = self._active[order.client_id] = order

    def forget(self, client_id: int) -> None:
        """Remove an order that certainly never left us."""
        self._orders.pop(client_id, None)
        self._active.pop(client_id, None)

    def knows_fill(self, instrument: int, trade_id: int, side: int) -> bool:
        """Return whether a trade has been told; the side tells halves of a self-trade apart."""
        return (instrument, trade_id, side) in self._fills

    def remember_fill(self, instrument: int, trade_id: int, side: int) -> None:
        """Take note of a trade that has been told, or must not be."""
        fills = self._fills
        fills[instrument, trade_id, side] = None
        if len(fills) > FILLS_MAX:
            del fills[next(iter(fills))]

    def find(self, update: Update) -> Order:
        """Return the order that a message is about, made if it is new; names it in ``update``."""
        number = self._ids.number(update.client_text) if update.client_text else 0
        order = self._orders.get(number or update.client_id)
        place = (update.instrument, update.venue_id)
        if order is None and not number and update.venue_id:
            order = self._by_venue.get(place)
        if order is None:
            order = self._new(number, update)
        if update.venue_id and update.venue_id != order.venue_id:
            self._rename(order, place, update.kind)
        update.client_id = order.client_id
        if update.instrument < 0:
            update.instrument = order.instrument
        if order.client_id < 0:
            update.flags |= ReportFlag.EXTERNAL
            update.text = update.text or order.client_text
        return order

    def _new(self, number: int, update: Update) -> Order:
        if not number:
            native = self.natives.get(update.instrument, "")
            number = self._ids.foreign_number(native, update.venue_id or update.client_text)
            if (known := self._orders.get(number)) is not None:
                return known
        order = Order(number, update.client_text, update.instrument)
        self.add(order)
        return order

    def _rename(self, order: Order, place: tuple[int, str], kind: int) -> None:
        """Give an order the venue's (new) id, unless the message is about a replaced one."""
        venue_id = place[1]
        if venue_id in order.replaced or (order.venue_id and kind in ENDS):
            return
        other = self._by_venue.get(place)
        if other is not None and other is not order and other.client_id < 0:
            # It was taken for somebody else's before our name for it was known.
            order.traded += other.traded
            order.filled = max(order.filled, other.filled)
            self._set_status(other, OrderStatus.NONE)
            self.forget(other.client_id)
        if order.venue_id:
            order.replaced = (*order.replaced[-3:], order.venue_id)
            # The end of the one that it replaces may have come first.
            order.lost = order.lost or order.status == OrderStatus.CANCELED
        order.venue_id = venue_id
        self._by_venue[place] = order

    def admit(self, update: Update, received_ns: int) -> bool:
        """Take a message about an order in; return whether it is to be told.

        Fills in what the message leaves out and the order knows.
        """
        order = self.find(update)
        order.seen_ns = received_ns
        if update.kind == ReportKind.FILL:
            told = self._fill(order, update)
        else:
            told = self._state(order, update)
        if told:
            _complete(order, update)
        return told

    def _fill(self, order: Order, update: Update) -> bool:
        """Take a trade in: told if it is new, whatever state the order is in."""
        side = update.side or order.side
        if update.trade_id:
            if self.knows_fill(update.instrument, update.trade_id, side):
                self.repeated += 1
                return False
            self.remember_fill(update.instrument, update.trade_id, side)
        made_up = update.flags & ReportFlag.INFERRED
        if not made_up and order.inferred:
            # This is (part of) what was told without knowing its trades.
            covered = min(order.inferred, update.last_quantity)
            order.inferred -= covered
            if covered == update.last_quantity:
                return False
            update.last_quantity -= covered
        order.traded += update.last_quantity
        if made_up:
            order.inferred += update.last_quantity
        order.filled = max(order.filled, order.traded, update.filled)
        update.filled = update.filled or order.traded
        if order.lost or not order.ended:
            order.lost = False
            whole = 0 < order.quantity <= order.filled
            state = OrderStatus.FILLED if whole else OrderStatus.PARTIALLY_FILLED
            self._set_status(order, state)
        return True

    def _state(self, order: Order, update: Update) -> bool:
        """Take another message in: dropped if it is a repetition, or older than what is known."""
        kind = update.kind
        if kind in ENDS and update.venue_id in order.replaced and update.venue_id:
            self.stale += 1
            return False
        if update.request_id == 0 and not update.flags & ReportFlag.RECONCILED:
            # An amendment there and back is no repetition: its times differ.
            at_ns = update.exchange_ns if kind == ReportKind.AMENDED else 0
            what = (int(kind), update.status, int(update.reason), at_ns)
            key = (*what, update.filled, update.price, update.quantity)
            if key in order.recent:
                self.repeated += 1
                return False
            order.recent.append(key)
        order.filled = max(order.filled, update.filled)
        late = order.ended and not order.lost
        if kind in ENDS:
            return self._end(order, update, ENDS[kind], late)
        if kind in _LIVES or kind in (ReportKind.AMENDED, ReportKind.STATUS):
            return self._live(order, update, late)
        if kind == ReportKind.NOT_FOUND and not late:
            order.lost = True
            self._set_status(order, OrderStatus.REJECTED)
        return True

    def _end(self, order: Order, update: Update, status: int, late: bool) -> bool:
        if late:
            self.stale += 1
            return update.request_id != 0
        order.lost = False
        self._set_status(order, status)
        return True

    def _live(self, order: Order, update: Update, late: bool) -> bool:
        """Take a message in that says how the order stands."""
        status = update.status or _STATUS_OF.get(update.kind, OrderStatus.NONE)
        if late and status in LIVE_STATUS:
            # Ends are final everywhere: this was said before, and came after.
            self.stale += 1
            update.status = order.status
            return update.request_id != 0 and update.kind != ReportKind.STATUS
        for name in ("price", "quantity", "side", "order_type", "stop_price", "average_price"):
            if value := getattr(update, name):
                setattr(order, name, value)
        if status and not late:
            order.lost = False
            if status == OrderStatus.OPEN and order.filled:
                status = OrderStatus.PARTIALLY_FILLED
            if not (status == OrderStatus.ACCEPTED and order.live):
                self._set_status(order, status)
        return True

    def _set_status(self, order: Order, status: int) -> None:
        before = order.live
        order.status = status
        self.open += order.live - before
        if order.ended:
            self._active.pop(order.client_id, None)
            ended = self._ended
            ended[order.client_id] = None
            ended.move_to_end(order.client_id)
            while len(ended) > ENDED_MAX:
                self._drop(ended.popitem(last=False)[0])
        else:
            self._active[order.client_id] = order
            self._ended.pop(order.client_id, None)

    def settle(self) -> None:
        """Take it that all trades so far were told: what is known is from an incomplete record."""
        for order in self._orders.values():
            order.traded = max(order.traded, order.filled)

    def _drop(self, client_id: int) -> None:
        order = self._orders.pop(client_id, None)
        if order is not None:
            for venue_id in (order.venue_id, *order.replaced):
                self._by_venue.pop((order.instrument, venue_id), None)


_STATUS_OF = {
    ReportKind.OPEN: OrderStatus.OPEN,
    ReportKind.TRIGGERED: OrderStatus.OPEN,
    ReportKind.ACCEPTED: OrderStatus.ACCEPTED,
}


def _complete(order: Order, update: Update) -> None:
    """Fill in what a message leaves out."""
    update.status = update.status or order.status
    update.side = update.side or order.side
    update.price = update.price or order.price
    update.quantity = update.quantity or order.quantity
    update.filled = update.filled or order.filled
    update.venue_id = update.venue_id or order.venue_id
    update.order_type = update.order_type or order.order_type
    update.time_in_force = update.time_in_force or order.time_in_force
