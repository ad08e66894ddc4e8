"""Order operations of Bybit v5, the same by REST and by WebSocket: parameters in, ``result`` out.

An answer says only that a request has been accepted; what became of it is told by the topics.
Sources: the venue's pages ``order/create-order``, ``amend-order``, ``cancel-order``,
``cancel-all``, ``batch-place``, ``batch-amend``, ``batch-cancel``.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.common import Side
from gateways.simulator.account import Account, Order, OrderTerms, Refused, Status, Why
from gateways.simulator.bybit.codes import TOO_MANY, refusal
from gateways.simulator.bybit.desk import Desk, Member
from gateways.simulator.bybit.ids import order_number
from gateways.simulator.bybit.shapes import Row, is_spot, order_id
from gateways.simulator.bybit.terms import (
    Request,
    link_id,
    number_of,
    order_terms,
    parameter,
    steps,
    text_of,
)
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

if TYPE_CHECKING:
    from gateways.simulator.trading import Trading

Operation = Callable[[Member, Request], Row]

BATCH_MOST = {"spot": 10, "linear": 20, "inverse": 20}
STOPS_MOST = {"spot": 30, "linear": 10, "inverse": 10}
"""Untriggered orders of one symbol."""
BAND = {"spot": Decimal("0.02"), "linear": Decimal("0.1"), "inverse": Decimal("0.1")}
"""A buy may not be priced so much above the mark price (spot: last), a sale so much below."""
CANCELED_MOST = 500
"""Contract orders that one cancel-all ends."""


class Orders:
    """What users can do with orders."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.operations: dict[str, Operation] = {
            "create": self.create,
            "amend": self.amend,
            "cancel": self.cancel,
            "cancel-all": self.cancel_all,
        }

    def create(self, member: Member, request: Request) -> Row:
        """Place an order; raises ApiError."""
        category = text_of(request, "category")
        venue = self.desk.venue(category)
        account = self.desk.account(member, category)
        market = self._market(request, category)
        trading = venue.clearing
        sell = text_of(request, "side") == "Sell"
        try:
            terms = order_terms(request, market)
            _check_band(terms, trading, category)
            if terms.stop_price:
                sell = terms.stop_above is False  # the code for a trigger below
                _check_stops(account, market, category)
            order = trading.place(account, terms, venue.now_ms())
        except Refused as refused:
            raise refusal(refused, spot=is_spot(market.instrument), sell=sell) from None
        return {"orderId": order_id(order), "orderLinkId": terms.client_id}

    def amend(self, member: Member, request: Request) -> Row:
        """Change price or total quantity of an order; raises ApiError."""
        order, market = self._find(member, request)
        venue = self.desk.venue(text_of(request, "category"))
        instrument = market.instrument
        spot, sell = is_spot(instrument), order is not None and order.terms.side is Side.SELL
        try:
            if order is None:
                raise Refused(Why.UNKNOWN_ORDER)
            price = stop_price = quantity = None
            if number_of(request, "price"):
                price = steps(number_of(request, "price"), instrument.price, Why.TICK)
            if number_of(request, "triggerPrice"):
                stop_price = steps(number_of(request, "triggerPrice"), instrument.price, Why.TICK)
            if text_of(request, "qty"):
                quantity = steps(number_of(request, "qty"), instrument.quantity, Why.LOT)
            if price is None and quantity is None and stop_price is None:
                raise parameter("nothing to amend")
            if order.status.live and price is not None:
                _check_price(order.terms, price, venue.clearing, text_of(request, "category"))
            venue.clearing.amend(
                order, venue.now_ms(), price=price, quantity=quantity, stop_price=stop_price
            )
        except Refused as refused:
            if refused.why is Why.UNKNOWN_ORDER and not spot:
                raise ApiError(110001, "order not exists or too late to replace") from None
            raise refusal(refused, spot=spot, sell=sell) from None
        return _result(order, request)

    def cancel(self, member: Member, request: Request) -> Row:
        """End an order; raises ApiError."""
        order, market = self._find(member, request)
        venue = self.desk.venue(text_of(request, "category"))
        try:
            if order is None:
                raise Refused(Why.UNKNOWN_ORDER)
            venue.clearing.cancel(order, venue.now_ms())
        except Refused as refused:
            raise refusal(refused, spot=is_spot(market.instrument)) from None
        return _result(order, request)

    def cancel_all(self, member: Member, request: Request) -> Row:
        """End all orders that fit; raises ApiError."""
        category = text_of(request, "category")
        venue = self.desk.venue(category)
        account = self.desk.account(member, category)
        symbol, base = text_of(request, "symbol"), text_of(request, "baseCoin")
        settle = text_of(request, "settleCoin")
        if category != "spot" and not (symbol or base or settle):
            raise parameter("symbol or baseCoin or settleCoin is required")
        if symbol:
            self._market(request, category)
        kind = text_of(request, "orderFilter") or ("Order" if category == "spot" else "")
        canceled: list[Order] = []
        for order in venue.clearing.open_orders(account, symbol):
            instrument = order.market.instrument
            other = not symbol and (
                (base and instrument.base != base)
                or (not base and settle and instrument.settle != settle)
            )
            stop = order.status is Status.UNTRIGGERED
            if instrument.market != category or other or (kind and (kind != "Order") is not stop):
                continue
            if order.status.live and len(canceled) < CANCELED_MOST:
                canceled.append(venue.clearing.cancel(order, venue.now_ms()))
        rows = [{"orderId": order_id(o), "orderLinkId": o.client_id} for o in canceled]
        return {"list": rows, "success": "1"}

    def batch(self, member: Member, kind: str, request: Request) -> tuple[Row, Row]:
        """Do a batch of ``kind`` (create, amend, cancel); return result and ``retExtInfo``.

        What goes beyond the rate limit fails order by order. Raises ApiError for the whole.
        """
        category = text_of(request, "category")
        orders = request.get("request")
        if not isinstance(orders, list) or not all(isinstance(part, dict) for part in orders):
            raise parameter("request invalid")
        venue = self.desk.venue(category)
        if not 1 <= len(orders) <= BATCH_MOST[category]:
            raise parameter(f"request has 1 to {BATCH_MOST[category]} orders")
        limit = member.limits.of(f"{kind}-batch", category)
        allowed = limit.spend(len(orders), venue.now_ms())
        results, notes = [], []
        for place, part in enumerate(orders):
            row = {
                "category": category,
                "symbol": text_of(part, "symbol"),
                "orderId": text_of(part, "orderId"),
                "orderLinkId": text_of(part, "orderLinkId"),
            }
            note: Row = {"code": 0, "msg": "OK"}
            try:
                if place >= allowed:
                    raise ApiError(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.")
                row |= self.operations[kind](member, {**part, "category": category})
            except ApiError as error:
                note = {"code": error.code, "msg": str(error)}
            if kind == "create":
                row["createAt"] = "" if note["code"] else str(venue.now_ms())
            results.append(row)
            notes.append(note)
        return {"list": results}, {"list": notes}

    def _market(self, request: Request, category: str) -> SimulatedBook:
        symbol = text_of(request, "symbol")
        market = self.desk.market(category, symbol)
        if market is None:
            raise refusal(Refused(Why.SYMBOL), spot=category == "spot")
        return market

    def _find(self, member: Member, request: Request) -> tuple[Order | None, SimulatedBook]:
        """Return the order that is meant, if there is one: ``orderId`` comes first."""
        category = text_of(request, "category")
        account = self.desk.account(member, category)
        market = self._market(request, category)
        number, client = text_of(request, "orderId"), link_id(request)
        if not number and not client:
            raise parameter("orderId or orderLinkId is required")
        known = order_number(number, spot=category == "spot") if number else 0
        if number and not known:
            return None, market
        order = self.desk.venue(category).clearing.find(
            account, order_id=known, client_id=client, symbol=market.instrument.symbol
        )
        return order, market


def _result(order: Order, request: Request) -> Row:
    return {
        "orderId": order_id(order),
        "orderLinkId": order.client_id or text_of(request, "orderLinkId"),
    }


def _check_band(terms: OrderTerms, trading: "Trading", category: str) -> None:
    if terms.price:
        _check_price(terms, terms.price, trading, category)


def _check_price(terms: OrderTerms, ticks: int, trading: "Trading", category: str) -> None:
    """Refuse a price that would buy far above, or sell far below, the market."""
    price, mark = trading.price_units(terms.market, ticks), trading.mark(terms.market)
    if terms.stop_price:
        mark = trading.price_units(terms.market, terms.stop_price)
    if (price - mark) * terms.side > BAND[category] * mark:
        raise Refused(Why.PRICE_BAND)


def _check_stops(account: Account, market: SimulatedBook, category: str) -> None:
    waiting = sum(
        order.status is Status.UNTRIGGERED and order.market is market
        for order in account.orders.values()
    )
    if waiting >= STOPS_MOST[category]:
        raise ApiError(110009, "The number of stop orders exceeds maximum limit allowed")
