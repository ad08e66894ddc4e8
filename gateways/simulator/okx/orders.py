"""Placing, amending and canceling orders: what REST and WebSocket both do.

A request of several orders is done one after the other; each has its own result (``sCode``).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import ZERO, Account, Order, OrderTerms, Refused, Why
from gateways.simulator.digits import whole
from gateways.simulator.instruments import Market
from gateways.simulator.matching import Prevention
from gateways.simulator.okx.codes import (
    ALL_FAILED,
    LATE_AMENDMENTS,
    PARTLY_FAILED,
    amend_error,
    cancel_error,
    either,
    gone_to_amend,
    gone_to_cancel,
    parameter,
    place_error,
    reduce_only_error,
)
from gateways.simulator.okx.parameters import CLIENT_ID, TAG, Parameters
from gateways.simulator.okx.private_streams import PrivateStreams
from gateways.simulator.okx.rules import BATCH_MOST, OrderBudget, check_band
from gateways.simulator.okx.shapes import Json
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

_ORDER_TYPES = {
    "limit": (OrderType.LIMIT, TimeInForce.GTC),
    "market": (OrderType.MARKET, TimeInForce.IOC),
    "post_only": (OrderType.LIMIT, TimeInForce.POST_ONLY),
    "fok": (OrderType.LIMIT, TimeInForce.FOK),
    "ioc": (OrderType.LIMIT, TimeInForce.IOC),
    "optimal_limit_ioc": (OrderType.MARKET, TimeInForce.IOC),
}
_PREVENTIONS = {
    "cancel_maker": Prevention.MAKER,
    "cancel_taker": Prevention.TAKER,
    "cancel_both": Prevention.BOTH,
}
SIDES = {"buy": Side.BUY, "sell": Side.SELL}


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of order request."""

    kind: str
    """place, amend or cancel: what the request counts as."""
    batch: bool = False


OPERATIONS = {
    "order": Operation("place"),
    "batch-orders": Operation("place", batch=True),
    "amend-order": Operation("amend"),
    "batch-amend-orders": Operation("amend", batch=True),
    "cancel-order": Operation("cancel"),
    "batch-cancel-orders": Operation("cancel", batch=True),
}
"""By the name that WebSocket requests have for it."""


class OrderDesk:
    """Takes the order requests of all accounts; ``now_ms`` is the venue's clock."""

    def __init__(
        self,
        trading: Trading,
        streams: PrivateStreams,
        now_ms: Callable[[], int],
        limit_factor: float = 1.0,
    ) -> None:
        self.trading = trading
        self.now_ms = now_ms
        self.streams = streams
        self._budget = OrderBudget(time.monotonic, limit_factor)
        self._act = {"place": self._place, "amend": self._amend, "cancel": self._cancel}

    def check(
        self, account: Account, operation: Operation, requests: Sequence[Any], expires: str
    ) -> None:
        """Refuse a whole request: too many orders, too often, or too late; raises ApiError."""
        if not requests or not all(isinstance(request, dict) for request in requests):
            raise parameter("args")
        if len(requests) > BATCH_MOST:
            raise ApiError(51111, f"Maximum {BATCH_MOST} orders can be placed in bulk.")
        # One instrument has one budget, however it is named; all that there is not share one.
        names = [Parameters(request).symbol(self.trading) for request in requests]
        self._budget.spend(account.uid, operation.kind, names)
        if expires and operation.kind != "cancel":
            until = whole(expires)
            if until is None:
                raise parameter("expTime")
            if until < self.now_ms():
                raise ApiError(
                    50036,
                    "The expTime can't be earlier than the current system time. "
                    "Please adjust the expTime and try again.",
                )

    def act(
        self,
        account: Account,
        operation: Operation,
        requests: Sequence[Json],
        *,
        codes: bool = False,
    ) -> Json:
        """Do a request that has passed ``check``; return code, message and results.

        ``codes``: the instrument must be named by its code.
        """
        results = [self._result(account, operation, request, codes=codes) for request in requests]
        failed = sum(result["sCode"] != "0" for result in results)
        code, text = "0", ""
        if failed:
            whole = failed == len(results)
            code, text = ("1", ALL_FAILED) if whole else ("2", PARTLY_FAILED)
        return {"code": code, "msg": text, "data": results}

    def _result(
        self, account: Account, operation: Operation, request: Json, *, codes: bool
    ) -> Json:
        fields = Parameters(request)
        result: Json = {
            "ordId": _echo(request, "ordId"),
            "clOrdId": _echo(request, "clOrdId"),
            "ts": str(self.now_ms()),
        }
        if operation.kind == "place":
            result |= {"ordId": "", "tag": _echo(request, "tag")}
        elif operation.kind == "amend":
            result["reqId"] = _echo(request, "reqId")
        try:
            if codes:
                fields.needed("instIdCode")
            order = self._act[operation.kind](account, fields)
        except ApiError as error:
            return result | {"sCode": str(error.code), "sMsg": str(error), "subCode": ""}
        result |= {"ordId": str(order.id), "clOrdId": order.client_id}
        sentence = "Order placed" if operation.kind == "place" else ""
        return result | {"sCode": "0", "sMsg": sentence, "subCode": ""}

    def _place(self, account: Account, fields: Parameters) -> Order:
        market = fields.market(self.trading)
        terms = self.terms(account, market, fields)
        now_ms = self.now_ms()
        try:
            if market.reference is not None:
                self.set_mode(account, market, fields.text("tdMode"))
            check_band(self.trading, terms, terms.price)
            return self.trading.place(account, terms, now_ms)
        except Refused as refused:
            if refused.why is Why.REDUCE_ONLY:
                raise reduce_only_error(_reduce_only_case(account, terms)) from None
            raise place_error(refused, market, buys=terms.side is Side.BUY) from None

    def terms(self, account: Account, market: SimulatedBook, fields: Parameters) -> OrderTerms:
        """Return what a new order asks for."""
        instrument = market.instrument
        spot = instrument.market is Market.SPOT
        kinds = tuple(_ORDER_TYPES)
        kind = fields.one_of("ordType", kinds[:-1] if spot else kinds)
        order_type, time_in_force = _ORDER_TYPES[kind]
        mode = check_mode(fields, spot=spot)
        prevention = fields.one_of("stpMode", tuple(_PREVENTIONS), "cancel_maker")
        if prevention == "cancel_both" and kind == "fok":
            raise ApiError(50016, "Parameter stpMode does not match parameter ordType.", 400)
        if fields.has("attachAlgoOrds"):
            raise parameter("attachAlgoOrds")
        price = 0
        if order_type is OrderType.LIMIT:
            price = fields.steps("px", instrument.price) or 0
            if not price:
                raise parameter("px")
        side = SIDES[fields.one_of("side", tuple(SIDES))]
        currency = self._target(fields, order_type, side, spot=spot)
        quantity, value = 0, ZERO
        if currency == "quote_ccy":
            value = fields.amount("sz")
        else:
            quantity = size(market, fields, "sz")
        if spot and fields.flag("reduceOnly"):
            raise ApiError(51205, "Reduce Only is not available.")
        return OrderTerms(
            market=market,
            side=side,
            type=order_type,
            time_in_force=time_in_force,
            price=price,
            quantity=quantity,
            quote_quantity=value,
            # Long and short apart: the position's side says what is closed.
            reduce_only=fields.flag("reduceOnly") and not account.hedge,
            position_side=position_side(account, fields, spot=spot),
            prevention=_PREVENTIONS[prevention],
            client_id=fields.matching("clOrdId", CLIENT_ID),
            tag=fields.matching("tag", TAG),
            extra={
                "ordType": kind,
                "tdMode": mode,
                "tgtCcy": currency,
                "ccy": fields.text("ccy"),
                "stpMode": prevention,
            },
        )

    def _target(self, fields: Parameters, order_type: OrderType, side: Side, *, spot: bool) -> str:
        """Return the currency that ``sz`` counts, where that is a question: spot market orders."""
        if not spot or order_type is not OrderType.MARKET:
            return ""
        usual = "quote_ccy" if side is Side.BUY else "base_ccy"
        return fields.one_of("tgtCcy", ("base_ccy", "quote_ccy"), usual)

    def set_mode(self, account: Account, market: SimulatedBook, mode: str) -> None:
        """Take the margin mode that an order names; one instrument has one mode at a time."""
        symbol = market.instrument.symbol
        self.trading.set_isolated(account, symbol, mode == "isolated", self.now_ms())

    def find(self, account: Account, fields: Parameters, gone: ApiError) -> Order:
        """Return the order that a request is about; raises ``gone`` if there is none."""
        symbol = fields.market(self.trading).instrument.symbol
        number, name = fields.text("ordId"), fields.text("clOrdId")
        if not number and not name:
            raise either("ordId", "clOrdId")
        order_id = whole(number or "0")
        if order_id is None:
            raise parameter("ordId")
        order = self.trading.find(
            account,
            order_id=order_id,
            client_id="" if number else name,
            symbol=symbol,
            algo=False,
        )
        if order is None:
            raise gone
        return order

    def _cancel(self, account: Account, fields: Parameters) -> Order:
        order = self.find(account, fields, gone_to_cancel())
        try:
            return self.trading.cancel(order, self.now_ms())
        except Refused as refused:
            raise cancel_error(refused) from None

    def _amend(self, account: Account, fields: Parameters) -> Order:
        order = self.find(account, fields, gone_to_amend())
        request = fields.matching("reqId", CLIENT_ID)
        if not fields.text("newSz") and not fields.text("newPx"):
            raise ApiError(51500, "You must enter a price, quantity, or TP/SL.")
        price = quantity = None
        if fields.text("newPx"):
            price = fields.steps("newPx", order.market.instrument.price)
            if price is None:
                raise parameter("newPx")
        if fields.text("newSz"):
            quantity = size(order.market, fields, "newSz")
        now_ms = self.now_ms()
        try:
            if price is not None and order.status.live:
                check_band(self.trading, order.terms, price)
            with self.streams.amending(order, request):
                return self.trading.amend(order, now_ms, price=price, quantity=quantity)
        except Refused as refused:
            error = amend_error(refused, order)
            if refused.why not in LATE_AMENDMENTS:
                raise error from None
        # Acknowledged before the matching engine has found that it cannot be done.
        result = "1" if fields.flag("cxlOnFail") else "-1"
        self.streams.amendment_failed(order, request, result, error)
        if result == "1":
            self.trading.cancel(order, now_ms)
        return order


def size(market: SimulatedBook, fields: Parameters, name: str) -> int:
    """Return a quantity in lots; raises ApiError."""
    quantity = fields.steps(name, market.instrument.quantity)
    if quantity is None:
        scale = market.instrument.quantity
        least = Decimal(scale.step).scaleb(-scale.decimals)
        if fields.amount(name) < least:
            raise ApiError(51020, "Your order should meet or exceed the minimum order amount.")
        raise ApiError(51121, "Order quantity must be a multiple of the lot size.")
    return quantity


def check_mode(fields: Parameters, *, spot: bool) -> str:
    """Return ``tdMode``; raises ApiError for one that the account or the instrument has not."""
    mode = fields.one_of("tdMode", ("cash", "cross", "isolated", "spot_isolated"))
    if spot and mode != "cash":
        raise ApiError(51010, "Request unsupported under current account mode")
    if not spot and mode not in ("cross", "isolated"):
        raise parameter("tdMode")
    return mode


def position_side(account: Account, fields: Parameters, *, spot: bool) -> str:
    """Return the position that an order is for; raises ApiError if the mode has no such one."""
    if spot:
        return "net"
    if account.hedge:
        return fields.one_of("posSide", ("long", "short"))
    return fields.one_of("posSide", ("net",), "net")


def _echo(request: Json, name: str) -> str:
    value = request.get(name)
    return str(value) if isinstance(value, str | int) else ""


def _reduce_only_case(account: Account, terms: OrderTerms) -> str:
    position = account.positions.get((terms.market.instrument.symbol, terms.position_side))
    if position is None or not position.lots:
        return ""
    return "same side" if position.lots * terms.side > 0 else "too much"
