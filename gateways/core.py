"""What all parts of a gateway share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.common import OrderType, Side, TimeInForce
from gateways.adapter import OrderAdapter
from gateways.ids import ClientIds
from gateways.instruments import InstrumentTable
from gateways.limits import RateLimits
from gateways.message import Instrument, Request, Update
from gateways.orders import LIVE_STATUS, Order, OrderTable
from gateways.reports import ReportWriter
from gateways.rest import RestClient, VenueClock
from gateways.settings import GatewaySettings
from gateways.types import Action, PositionSide

_SIDES = {int(each): each for each in Side}
_TYPES = {int(each): each for each in OrderType}
_TIMES = {int(each): each for each in TimeInForce}
_POSITION_SIDES = {int(each): each for each in PositionSide}


@dataclass(slots=True)
class Core:
    """The account's state and the ways in and out; every part of a gateway has it.

    ``count`` counts an event by name (``gateways.gateway.COUNTED``).
    """

    settings: GatewaySettings
    adapter: OrderAdapter
    instruments: InstrumentTable
    ids: ClientIds
    limits: RateLimits
    clock: VenueClock
    rest: RestClient
    orders: OrderTable
    reports: ReportWriter
    log: logging.Logger
    count: Callable[[str], None]
    wire_prefix: str = ""
    placed: int = 0
    """New orders that have left us."""
    heard: Callable[[Update], None] = lambda update: None
    """Is told of each report about an order: somebody may have waited for it."""
    barred: dict[int, int] = field(default_factory=dict)
    """Rows whose decimals have changed, and when (ours, Unix ns): who asks for an order may mean
    the old ones until everything has been told in the new ones."""
    _wires: int = field(default=0)

    def wire_id(self) -> str:
        """Return an id for a message to the venue: letters and digits, never used before."""
        self._wires += 1
        return f"{self.wire_prefix}{self._wires:x}"

    def instrument_of(self, order: Order) -> Instrument | None:
        """Return an order's instrument."""
        return self.instruments.get(order.instrument)

    def query_of(self, order: Order, request_id: int = 0) -> Request:
        """Return the request that asks the venue for an order."""
        return self.request_of(Action.QUERY, order, request_id)

    def request_of(self, action: Action, order: Order, request_id: int = 0) -> Request:
        """Return a request of our own that concerns a known order."""
        return self.aim(Request(action, request_id, order.client_id, None), order)

    def aim(self, request: Request, order: Order) -> Request:
        """Return a request with what is known of the order that it is about.

        Its type too: orders that wait for a trigger are elsewhere at some venues.
        """
        instrument, terms = request.instrument, order.terms or request
        return request._replace(
            instrument=self.instrument_of(order) if instrument is None else instrument,
            side=_SIDES.get(order.side, terms.side),
            order_type=_TYPES.get(order.order_type, terms.order_type),
            time_in_force=_TIMES.get(order.time_in_force, terms.time_in_force),
            stop_price=request.stop_price or order.stop_price,
            position_side=_POSITION_SIDES.get(order.position_side, terms.position_side),
            margin_mode=terms.margin_mode,
            trigger=terms.trigger,
            self_trade=terms.self_trade,
            venue_id=order.venue_id,
            client_text=order.client_text or request.client_text,
            order_price=order.price,
            order_quantity=order.quantity,
        )

    def alert(self, text: str) -> None:
        """Say what a person should know."""
        self.count("alerts")
        self.log.error(f"the venue's words: {text}")

    def tell_funding(self, update: Update, received_ns: int) -> None:
        """Report a funding payment, unless it has been: several ways tell of the same one."""
        if self.orders.admit_funding(update):
            self.reports.publish(update, received_ns)

    def tell(self, update: Update, received_ns: int) -> bool:
        """Report a message about an order, unless it is nothing new; return whether it was."""
        if not self.orders.admit(update, received_ns):
            return False
        self.reports.publish(update, received_ns)
        self.heard(update)
        return True

    def keep_newer(self, update: Update, asked_ns: int) -> None:
        """Put what events have said since into the answer to a query of an order.

        Of an answer that is older than an event, an end and a higher filled quantity are news.
        """
        order = self.orders.peek(update)
        if order is None or order.seen_ns <= asked_ns or update.status not in LIVE_STATUS:
            return
        update.price, update.quantity = order.price, order.quantity
        update.stop_price, update.average_price = order.stop_price, order.average_price
        update.filled = max(update.filled, order.filled)
        update.status = order.status or update.status
