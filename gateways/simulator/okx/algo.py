"""Algo orders: ``trigger`` and ``conditional`` (a stop loss or a take profit), by REST."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import ZERO, Account, Order, OrderTerms, Refused, Why
from gateways.simulator.instruments import Market
from gateways.simulator.okx.algo_shapes import algo_state, describe_algo
from gateways.simulator.okx.codes import amend_error, either, no_order, parameter, place_error
from gateways.simulator.okx.orders import SIDES, OrderDesk, position_side, size
from gateways.simulator.okx.parameters import CLIENT_ID, TAG, Parameters
from gateways.simulator.okx.shapes import Json
from gateways.simulator.okx.trade_rest import fitting, page_size
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook

_TRIGGERS = ("last", "index", "mark")
_MARKET_PRICE = "-1"
_WOULD_TRIGGER = {
    ("tp", Side.BUY): (51277, "TP trigger price can't be higher than the last price."),
    ("sl", Side.BUY): (51278, "SL trigger price can't be lower than the last price."),
    ("tp", Side.SELL): (51279, "TP trigger price can't be lower than the last price."),
    ("sl", Side.SELL): (51280, "SL trigger price can't be higher than the last price."),
}
STATES = ("effective", "canceled", "order_failed")


class AlgoDesk:
    """Endpoints of algo orders."""

    def __init__(self, desk: OrderDesk) -> None:
        self._desk = desk

    def endpoints(self) -> list[tuple[Any, ...]]:
        """Return method, path, call, limit, whether orders, whether per instrument."""
        trade = "/api/v5/trade"
        return [
            ("POST", f"{trade}/order-algo", self._place, (20, 2.0), True, True),
            ("POST", f"{trade}/cancel-algos", self._cancel, (20, 2.0), True),
            ("POST", f"{trade}/amend-algos", self._amend, (20, 2.0), True),
            ("GET", f"{trade}/order-algo", self._order, (20, 2.0)),
            ("GET", f"{trade}/orders-algo-pending", self._pending, (20, 2.0)),
            ("GET", f"{trade}/orders-algo-history", self._history, (20, 2.0)),
        ]

    def _place(self, account: Account, fields: Parameters) -> list[Json]:
        result: Json = {
            "algoId": "",
            "clOrdId": "",
            "algoClOrdId": fields.text("algoClOrdId"),
            "tag": fields.text("tag"),
        }
        try:
            order = self._accept(account, fields)
        except ApiError as error:
            return [result | {"sCode": str(error.code), "sMsg": str(error)}]
        return [result | {"algoId": str(order.id), "sCode": "0", "sMsg": ""}]

    def _accept(self, account: Account, fields: Parameters) -> Order:
        trading, now_ms = self._desk.trading, self._desk.now_ms()
        market = fields.market(trading)
        terms = self._terms(account, market, fields)
        try:
            if market.reference is not None:
                self._desk.set_mode(account, market, terms.extra["tdMode"])
            return trading.place(account, terms, now_ms)
        except Refused as refused:
            if refused.why is Why.WOULD_TRIGGER:
                key = (str(terms.extra["trigger"]), terms.side)
                raise ApiError(*_WOULD_TRIGGER[key]) from None
            if refused.why is Why.DUPLICATE:
                raise ApiError(51065, "algoClOrdId already exists.") from None
            raise place_error(refused, market, buys=terms.side is Side.BUY) from None

    def _terms(self, account: Account, market: SimulatedBook, fields: Parameters) -> OrderTerms:
        spot = market.instrument.market is Market.SPOT
        kind = fields.one_of("ordType", ("conditional", "trigger"))
        side = SIDES[fields.one_of("side", tuple(SIDES))]
        mode = fields.one_of("tdMode", ("cash", "cross", "isolated"))
        if not spot and mode == "cash":
            raise parameter("tdMode")
        which, prefix = "", ""
        price_name = "orderPx" if fields.text("orderPx") else "ordPx"
        if kind == "conditional":
            # The venue lets the stop loss win if both are given.
            which = prefix = "sl" if fields.text("slTriggerPx") else "tp"
            price_name = f"{which}OrdPx"
        name = f"{prefix}TriggerPx" if prefix else "triggerPx"
        stop = fields.steps(name, market.instrument.price)
        price = 0
        if fields.needed(price_name) != _MARKET_PRICE:
            price = fields.steps(price_name, market.instrument.price) or 0
            if not price:
                raise parameter(price_name)
        if not stop:
            raise parameter(name)
        above = None
        if which:
            above = (which == "tp") is (side is Side.SELL)
        whole = fields.text("closeFraction") == "1"
        currency = ""
        if spot and not price:
            usual = "quote_ccy" if side is Side.BUY else "base_ccy"
            currency = fields.one_of("tgtCcy", ("base_ccy", "quote_ccy"), usual)
        value = fields.amount("sz") if currency == "quote_ccy" else ZERO
        return OrderTerms(
            market=market,
            side=side,
            type=OrderType.STOP_LIMIT if price else OrderType.STOP_MARKET,
            time_in_force=TimeInForce.GTC if price else TimeInForce.IOC,
            price=price,
            quantity=0 if whole or value else size(market, fields, "sz"),
            quote_quantity=value,
            stop_price=stop,
            stop_above=above,
            trigger=fields.one_of(f"{name}Type", _TRIGGERS, "last"),
            reduce_only=not spot and not account.hedge and (whole or fields.flag("reduceOnly")),
            close_position=whole,
            position_side=position_side(account, fields, spot=spot),
            client_id=fields.matching("algoClOrdId", CLIENT_ID),
            tag=fields.matching("tag", TAG),
            algo=True,
            extra={
                "ordType": kind,
                "tdMode": mode,
                "tgtCcy": currency,
                "trigger": which,
                "source": "7" if which else "6",
            },
        )

    def _find(self, account: Account, fields: Parameters) -> Order | None:
        number, name = fields.text("algoId"), fields.text("algoClOrdId")
        if not number and not name:
            raise either("algoId", "algoClOrdId")
        return self._desk.trading.find(
            account, order_id=fields.whole("algoId"), client_id="" if number else name, algo=True
        )

    def _cancel(self, account: Account, fields: Parameters) -> list[Json]:
        results = []
        for each in fields.items("list"):
            one = Parameters(each)
            result: Json = {"algoId": one.text("algoId"), "algoClOrdId": one.text("algoClOrdId")}
            code, text = "0", ""
            try:
                order = self._find(account, one)
                if order is None:
                    raise Refused(Why.UNKNOWN_ORDER)
                self._desk.trading.cancel(order, self._desk.now_ms())
            except Refused:
                code = "51400"
                text = "Cancellation failed as the order has been filled, canceled or doesn't exist"
            except ApiError as error:
                code, text = str(error.code), str(error)
            results.append(result | {"clOrdId": "", "tag": "", "sCode": code, "sMsg": text})
        return results

    def _amend(self, account: Account, fields: Parameters) -> list[Json]:
        result: Json = {
            "algoId": fields.text("algoId"),
            "algoClOrdId": fields.text("algoClOrdId"),
            "reqId": fields.text("reqId"),
        }
        try:
            order = self._find(account, fields)
            if order is None:
                raise ApiError(51503, "Order modification failed as the order doesn't exist.")
            self._change(order, fields)
        except ApiError as error:
            return [result | {"sCode": str(error.code), "sMsg": str(error)}]
        return [result | {"sCode": "0", "sMsg": ""}]

    def _change(self, order: Order, fields: Parameters) -> None:
        scale = order.market.instrument.price
        which = str(order.terms.extra["trigger"]).capitalize()
        quantity = size(order.market, fields, "newSz") if fields.text("newSz") else None
        stop = price = None
        if fields.text(name := f"new{which}TriggerPx"):
            stop = fields.steps(name, scale)
        if fields.text(name := f"new{which}OrdPx") and fields.text(name) != _MARKET_PRICE:
            price = fields.steps(name, scale)
        if (quantity, stop, price) == (None, None, None):
            raise ApiError(51500, "You must enter a price, quantity, or TP/SL.")
        request = fields.matching("reqId", CLIENT_ID)
        try:
            with self._desk.streams.amending(order, request):
                self._desk.trading.amend(
                    order, self._desk.now_ms(), price=price, quantity=quantity, stop_price=stop
                )
        except Refused as refused:
            raise amend_error(refused, order) from None

    def _order(self, account: Account, fields: Parameters) -> list[Json]:
        order = self._find(account, fields)
        if order is None:
            raise no_order()
        return [describe_algo(order)]

    def _pending(self, account: Account, fields: Parameters) -> list[Json]:
        live = self._desk.trading.open_orders(account, fields.text("instId"), algo=True)
        live.reverse()
        return self._page(live, fields)

    def _history(self, account: Account, fields: Parameters) -> list[Json]:
        if not fields.text("state") and not fields.text("algoId"):
            raise either("state", "algoId")
        wanted = fields.one_of("state", (*STATES, "any"), "any")
        ended = (
            order
            for order in reversed(account.history)
            if order.terms.algo and wanted in ("any", algo_state(order))
        )
        return self._page(ended, fields)

    def _page(self, orders: Iterable[Order], fields: Parameters) -> list[Json]:
        kinds = fields.needed("ordType").split(",")
        fits = fitting(fields)
        number = fields.whole("algoId")
        after, before = fields.whole("after", 1 << 62), fields.whole("before")
        found = (
            describe_algo(order)
            for order in orders
            if order.terms.extra["ordType"] in kinds
            and fits(order.market)
            and before < order.id < after
            and (not number or order.id == number)
        )
        return list(islice(found, page_size(fields)))
