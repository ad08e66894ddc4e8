"""The orders of an account as a gateway knows them: who is who, what has been told, what is new.

The venue's messages come twice, late, in another order than they happened, and without our names.
``OrderTable.admit`` turns each into at most one report: it finds the order, knows the trades that
have been told, drops what is stale, and keeps the sums that show a missing trade. It decides
nothing about risk or positions: a trade that has not been told before always passes.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateways.ids import ClientIds
from gateways.message import Request, Update
from gateways.types import Action, OrderStatus, ReportFlag, ReportKind, RequestFlag

FILLS_MAX = 262_144
"""Trades that are remembered, to be told only once."""
FUNDINGS_MAX = 65_536
"""Funding payments that are remembered, for the same reason."""
REPLACED_MAX = 4
"""Venue ids of replaced forms of an order that are remembered."""
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
    assumed: int = 0
    """Of ``traded``: what was filled before we first heard of the order."""
    assumed_ns: int = 0
    """When that was known (the venue's clock): trades until then are part of ``assumed``."""
    average_price: int = 0
    status: int = OrderStatus.NONE
    sent_ns: int = 0
    """When its request left us (ours, Unix ns); 0 for orders of others or of an earlier run."""
    seen_ns: int = 0
    """When the venue said something of it of its own accord (ours, Unix ns)."""
    lost: bool = False
    """The venue said that it does not exist: if it comes back, it is believed."""
    concluded: bool = False
    """Its end is what we made of its trades, or of the refusal of its request."""
    in_quote: bool = False
    """It was asked for by a quantity of the quote currency: its trades do not show its end."""
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
    def over(self) -> bool:
        """Whether it has ended for certain: nothing brings it back."""
        return self.ended and not self.lost and not self.concluded

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
        self._fills: OrderedDict[tuple[int, int, int], None] = OrderedDict()
        self._fundings: OrderedDict[tuple[int, str, int, int, int], None] = OrderedDict()
        self.natives: dict[int, str] = {}
        """Row -> native symbol: the scope of foreign ids."""
        self.open = 0
        """Live orders."""
        self.revived: Callable[[Order], None] = lambda order: None
        """Called with an order that lives although we had concluded that it has ended."""

    def get(self, client_id: int) -> Order | None:
        """Return an order by its number."""
        return self._orders.get(client_id)

    def active(self) -> list[Order]:
        """Return the orders that are live, or may be."""
        return [*self._active.values()]

    def live(self) -> list[Order]:
        """Return the live orders."""
        return [order for order in self._active.values() if order.live]

    def heard_since(self, since_ns: int) -> list[Order]:
        """Return the orders that are live, or may be, and those that ended since then."""
        found = self.active()
        for client_id in reversed(self._ended):
            order = self._orders[client_id]
            if max(order.seen_ns, order.sent_ns) < since_ns:
                break
            found.append(order)
        return found

    def sent(self, request: Request, sent_ns: int) -> Order:
        """Enter an order whose request has left us."""
        order = self._orders.get(request.client_id)
        if order is None:
            assert request.instrument is not None
            order = Order(request.client_id, request.client_text, request.instrument.row)
            self.add(order)
        order.side, order.price = request.side, request.price
        order.in_quote = request.flags & RequestFlag.QUOTE_QUANTITY > 0
        order.quantity = 0 if order.in_quote else request.quantity
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
            fills.popitem(last=False)

    def admit_funding(self, update: Update) -> bool:
        """Take a funding payment in; return whether it is to be told: it has not been."""
        # Without a number: payments of several instruments may come at once, of one asset.
        what = (0, 0) if update.trade_id else (update.exchange_ns, update.fee)
        key = (update.instrument, update.asset, update.trade_id, *what)
        if key in self._fundings:
            return False
        self._fundings[key] = None
        if len(self._fundings) > FUNDINGS_MAX:
            self._fundings.popitem(last=False)
        return True

    def peek(self, update: Update) -> Order | None:
        """Return the order that a message is about, if it is known."""
        number = self._ids.number(update.client_text) if update.client_text else 0
        order = self._orders.get(number or update.client_id)
        if order is None and not number and update.venue_id:
            order = self._by_venue.get((update.instrument, update.venue_id))
        if order is None and not number:
            order = self._orders.get(self._foreign_number(update))
        return order

    def find(self, update: Update) -> Order:
        """Return the order that a message is about, made if it is new; names it in ``update``."""
        order, place = self.peek(update), (update.instrument, update.venue_id)
        if order is None:
            order = self._new(update)
        if update.venue_id and update.venue_id != order.venue_id:
            self._rename(order, place, update.kind)
        update.client_id = order.client_id
        if update.instrument < 0:
            update.instrument = order.instrument
        if order.client_id < 0:
            update.flags |= ReportFlag.EXTERNAL
            update.text = update.text or order.client_text
        return order

    def _foreign_number(self, update: Update) -> int:
        native = self.natives.get(update.instrument, "")
        return self._ids.foreign_number(native, update.venue_id or update.client_text)

    def _new(self, update: Update) -> Order:
        number = self._ids.number(update.client_text) if update.client_text else 0
        number = number or self._foreign_number(update)
        order = Order(number, update.client_text, update.instrument)
        is_fill = update.kind == ReportKind.FILL
        before = update.filled - (update.last_quantity if is_fill else 0)
        # Before a first trade stand those that its cumulative figure counts besides.
        self.assume(order, before, update.exchange_ns - is_fill)
        self.add(order)
        return order

    @staticmethod
    def assume(order: Order, filled: int, at_ns: int) -> None:
        """Take what was filled of an order until then for history, as far as it is not known."""
        if filled > order.traded:
            order.assumed += filled - order.traded
            order.assumed_ns, order.traded = at_ns, filled

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
            order.assumed += other.assumed
            order.assumed_ns = max(order.assumed_ns, other.assumed_ns)
            self._set_status(other, OrderStatus.NONE)
            self.forget(other.client_id)
        if order.venue_id:
            order.replaced = (*order.replaced, order.venue_id)
            for old in order.replaced[:-REPLACED_MAX]:
                self._by_venue.pop((order.instrument, old), None)
            order.replaced = order.replaced[-REPLACED_MAX:]
            # The end of the one that it replaces may have come first.
            order.lost = order.lost or order.status == OrderStatus.CANCELED
        order.venue_id = venue_id
        self._by_venue[place] = order

    def admit(self, update: Update, received_ns: int) -> bool:
        """Take a message about an order in; return whether it is to be told.

        Fills in what the message leaves out and the order knows.
        """
        order = self.find(update)
        if not update.flags & ReportFlag.RECONCILED:
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
                return False
            self.remember_fill(update.instrument, update.trade_id, side)
        made_up = update.flags & ReportFlag.INFERRED
        if not made_up and order.inferred:
            # It takes the place of (part of) what was told without knowing its trades.
            covered = min(order.inferred, update.last_quantity)
            order.inferred, order.traded = order.inferred - covered, order.traded - covered
        early = update.exchange_ns <= order.assumed_ns and update.filled <= order.filled
        if order.assumed and early and not made_up:
            # One of those from before we heard of the order.
            known = min(order.assumed, update.last_quantity)
            order.assumed, order.traded = order.assumed - known, order.traded - known
        order.traded += update.last_quantity
        if made_up:
            order.inferred += update.last_quantity
        order.filled = max(order.filled, order.traded, update.filled)
        update.filled = update.filled or order.traded
        self._stand_after(order, update)
        return True

    def _stand_after(self, order: Order, update: Update) -> None:
        """Conclude from a trade how its order stands."""
        quantity = update.quantity or order.quantity
        if update.flags & ReportFlag.RECONCILED:
            # As it was at the time of the trade: the order may have been amended since.
            quantity = max(update.quantity, order.quantity)
        elif not order.in_quote:
            order.quantity = quantity
        if order.over:
            return
        said = update.status == OrderStatus.FILLED
        lives = update.status in LIVE_STATUS or order.in_quote
        whole = said or (0 < quantity <= order.filled and not lives)
        self._set_status(order, OrderStatus.FILLED if whole else OrderStatus.PARTIALLY_FILLED)
        order.lost, order.concluded = False, whole and not said

    def _state(self, order: Order, update: Update) -> bool:
        """Take another message in: dropped if it is a repetition, or older than what is known."""
        kind = update.kind
        if kind in ENDS and update.venue_id in order.replaced and update.venue_id:
            return False
        if update.request_id == 0 and not update.flags & ReportFlag.RECONCILED:
            # An amendment there and back is no repetition: its times differ.
            at_ns = update.exchange_ns if kind == ReportKind.AMENDED else 0
            what = (int(kind), update.status, int(update.reason), at_ns)
            key = (*what, update.filled, update.price, update.quantity)
            if key in order.recent:
                return False
            order.recent.append(key)
        order.filled = max(order.filled, update.filled)
        if kind in ENDS:
            return self._end(order, update, ENDS[kind])
        if kind in _LIVES or kind in (ReportKind.AMENDED, ReportKind.STATUS):
            return self._live(order, update)
        if kind == ReportKind.NOT_FOUND and not order.over:
            order.lost, order.concluded = True, False
            self._set_status(order, OrderStatus.REJECTED)
        return True

    def _end(self, order: Order, update: Update, status: int) -> bool:
        if order.over:
            return update.request_id != 0
        order.lost = False
        # A refusal of the request is an answer; the venue's own word is an event.
        order.concluded = status == OrderStatus.REJECTED and update.request_id != 0
        self._set_status(order, status)
        return True

    def _live(self, order: Order, update: Update) -> bool:
        """Take a message in that says how the order stands."""
        status = update.status or _STATUS_OF.get(update.kind, OrderStatus.NONE)
        quantity = update.quantity or order.quantity
        done = order.concluded and 0 < quantity <= order.filled
        if status in LIVE_STATUS and (order.over or done):
            # Ends are final everywhere: this was said before, and came after.
            update.status = order.status
            asked = update.kind != ReportKind.STATUS or update.action == Action.QUERY
            return update.request_id != 0 and asked
        for name in ("price", "quantity", "side", "order_type", "stop_price", "average_price"):
            if value := getattr(update, name):
                setattr(order, name, value)
        if status and not order.over:
            if status == OrderStatus.OPEN and order.filled:
                status = update.status = OrderStatus.PARTIALLY_FILLED
            revived = order.concluded and status in LIVE_STATUS
            order.lost = order.concluded = False
            if not (status == OrderStatus.ACCEPTED and order.live):
                self._set_status(order, status)
            if revived:
                self.revived(order)
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

    def rebase(self, row: int, price_shift: int, quantity_shift: int) -> None:
        """Write the numbers of an instrument's orders with so many decimals more.

        What fewer decimals cannot hold is cut; the venue's own figures, asked for next, replace it.
        """
        for order in self._orders.values():
            if order.instrument != row:
                continue
            for name in ("price", "stop_price", "average_price"):
                setattr(order, name, _shifted(getattr(order, name), price_shift))
            for name in ("quantity", "filled", "traded", "inferred", "assumed"):
                setattr(order, name, _shifted(getattr(order, name), quantity_shift))
            order.recent.clear()

    def settle(self) -> None:
        """Take it that all trades so far were told of orders whose first reports are gone."""
        for order in self._orders.values():
            if not order.sent_ns:
                order.traded = max(order.traded, order.filled)

    def _drop(self, client_id: int) -> None:
        order = self._orders.pop(client_id, None)
        if order is not None:
            self._active.pop(client_id, None)
            for venue_id in (order.venue_id, *order.replaced):
                self._by_venue.pop((order.instrument, venue_id), None)


def _shifted(mantissa: int, shift: int) -> int:
    power: int = 10 ** abs(shift)
    return mantissa * power if shift >= 0 else mantissa // power


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
