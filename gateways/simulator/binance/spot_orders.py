"""The private operations of Binance spot: orders, trades, the account.

Source: binance-spot-api-docs rest-api.md, web-socket-api.md, filters.md (2026-07).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

from engine.common import OrderType, Side, TimeInForce
from gateways.simulator.account import (
    ZERO,
    Account,
    AccountFill,
    Order,
    OrderTerms,
    Refused,
    Status,
    Why,
)
from gateways.simulator.binance import spot_shapes as shapes
from gateways.simulator.binance.codes import (
    CANCEL_RESTRICTIONS,
    QUERY_WORDS,
    SPOT_WORDS,
    ApiError,
    missing,
    refusal,
)
from gateways.simulator.binance.desk import Ask, Desk, Operation
from gateways.simulator.binance.limits import SPOT, limits_of
from gateways.simulator.binance.parameters import SPOT_ID_PATTERN, Parameters, steps
from gateways.simulator.rules import TradingRules
from gateways.simulator.simulation import SimulatedBook

DECIMALS = 8
"""Of all prices and quantities on the wire."""
MOST_ROWS = 1000

_TIFS = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_TYPES = {
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP_LOSS": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.STOP_MARKET,
    "STOP_LOSS_LIMIT": OrderType.STOP_LIMIT,
    "TAKE_PROFIT_LIMIT": OrderType.STOP_LIMIT,
}
_TIMED = ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
_FILTERS = (
    Why.MARKET_CLOSED,
    Why.TICK,
    Why.PRICE_RANGE,
    Why.LOT,
    Why.MIN_QUANTITY,
    Why.MAX_QUANTITY,
    Why.NOTIONAL,
)
_RESPONSES = {"ACK": 0, "RESULT": 0, "FULL": 0}
_RESTRICTIONS = {"ONLY_NEW": Status.NEW, "ONLY_PARTIALLY_FILLED": Status.PARTIAL}
_Row = TypeVar("_Row")
_UNPRICED = (OrderType.MARKET, OrderType.STOP_MARKET)


def rules() -> TradingRules:
    """Return the venue's rules."""
    return TradingRules(
        post_only_refuses=True,
        duplicate_ids="live",
        amend_below_filled="refuse",
        orders_per_symbol=SPOT.orders,
        stops_per_symbol=SPOT.stops,
        limits=limits_of,
    )


def read_terms(desk: Desk, parameters: Parameters) -> OrderTerms:
    """Return what a new order asks for; raises ApiError or Refused."""
    market = desk.market(parameters.symbol())
    side = parameters.choice("side", Side.__members__, (-1117, "Invalid side."))
    kind = parameters.choice("type", _TYPES, (-1116, "Invalid orderType."))
    for name, value in (("side", side), ("type", kind)):
        if not value:
            raise missing(name)
    tif = parameters.choice("timeInForce", _TIFS, (-1115, "Invalid timeInForce."))
    if kind in _TIMED and not tif:
        raise missing("timeInForce")
    if tif and kind not in _TIMED:
        raise ApiError(-1106, "Parameter 'timeInForce' sent when not required.")
    unpriced = _TYPES[kind] in _UNPRICED
    stops = _TYPES[kind] in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
    _unwanted(parameters, "price", unwanted=unpriced)
    _unwanted(parameters, "stopPrice", unwanted=not stops)
    quantity, quote = _quantity(market, parameters, kind)
    time_in_force = TimeInForce.POST_ONLY if kind == "LIMIT_MAKER" else _TIFS.get(tif or "GTC")
    above = (Side[side] is Side.BUY) is kind.startswith("STOP_LOSS")
    parameters.skip("strategyId", "strategyType", "icebergQty")
    terms = OrderTerms(
        market,
        Side[side],
        _TYPES[kind],
        time_in_force or TimeInForce.GTC,
        price=0 if unpriced else _ticks(market, parameters, "price"),
        quantity=quantity,
        quote_quantity=quote,
        stop_price=_ticks(market, parameters, "stopPrice") if stops else 0,
        stop_above=above if stops else None,
        prevention=shapes.PREVENTION[_prevention(parameters)],
        client_id=parameters.client_id("newClientOrderId", SPOT_ID_PATTERN),
        extra={"type": kind},
    )
    _check_value(desk, terms)
    return terms


def _unwanted(parameters: Parameters, name: str, *, unwanted: bool) -> None:
    if unwanted and parameters.values.get(name):
        raise ApiError(-1106, f"Parameter '{name}' sent when not required.")


def _prevention(parameters: Parameters) -> str:
    name = "selfTradePreventionMode"
    text = f"Data sent for parameter '{name}' is not valid."
    return parameters.choice(name, shapes.PREVENTION, (-1130, text)) or "EXPIRE_MAKER"


def _ticks(market: SimulatedBook, parameters: Parameters, name: str) -> int:
    value = parameters.decimal(name)
    if value is None:
        raise missing(name)
    ticks = steps(value, market.instrument.price, DECIMALS)
    if ticks is None:
        raise Refused(Why.TICK)
    if ticks < 1:
        raise Refused(Why.PRICE_RANGE)
    return ticks


def _lots(market: SimulatedBook, value: Decimal) -> int:
    lots = steps(value, market.instrument.quantity, DECIMALS)
    if lots is None:
        raise Refused(Why.LOT)
    if lots < 1:
        raise Refused(Why.MIN_QUANTITY)
    return lots


def _quantity(market: SimulatedBook, parameters: Parameters, kind: str) -> tuple[int, Decimal]:
    quantity, quote = parameters.decimal("quantity"), parameters.decimal("quoteOrderQty")
    if kind == "MARKET":
        if quantity is not None and quote is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if quantity is None and quote is None:
            raise missing("quantity")
        if quote is not None:
            if quote > SPOT.max_notional:
                raise Refused(Why.NOTIONAL)
            return 0, quote
    elif quote is not None:
        raise ApiError(-1106, "Parameter 'quoteOrderQty' sent when not required.")
    if quantity is None:
        raise missing("quantity")
    return _lots(market, quantity), ZERO


def _check_value(desk: Desk, terms: OrderTerms) -> None:
    if not terms.price:
        return
    last = desk.trading.mark(terms.market)
    price = desk.trading.price_units(terms.market, terms.price)
    if last and not SPOT.band_down * last <= price <= SPOT.band_up * last:
        raise Refused(Why.PRICE_BAND)
    quantity = desk.trading.quantity_units(terms.market, terms.quantity)
    if quantity <= SPOT.max_quantity and price * quantity > SPOT.max_notional:
        raise Refused(Why.NOTIONAL)


class SpotOrders:
    """The operations; ``install`` hands them to a desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.trading = desk.trading
        self.cancel_id = ""
        """The client id of the cancel that is running: its event carries it."""
        self.original_id = ""
        """The client id that the amendment that is running replaces."""
        self.executions = 1_000_000
        """The newest execution id."""
        self._ids = 0

    def install(self) -> None:
        """Give the desk all operations."""
        query: dict[str, Any] = {"words": QUERY_WORDS}
        placing: dict[str, Any] = {"orders": 1, "changes": True}
        self.desk.operations |= {
            "order.place": Operation(self._place, **placing),
            "order.test": Operation(self._test, _test_weight),
            "order.cancel": Operation(self._cancel, changes=True),
            "order.cancelReplace": Operation(self._replace, always_counted=True, **placing),
            "order.amend.keepPriority": Operation(self._amend, 4, changes=True),
            "order.status": Operation(self._status, 4, **query),
            "order.amendments": Operation(self._amended, 4, **query),
            "openOrders.status": Operation(self._open, _open_weight),
            "openOrders.cancelAll": Operation(self._cancel_all, changes=True),
            "allOrders": Operation(self._all, 20, **query),
            "myTrades": Operation(self._trades, _row_weight, **query),
            "myPreventedMatches": Operation(self._nothing, 20),
            "openOrderLists.status": Operation(self._nothing, 6),
            "allOrderLists": Operation(self._nothing, 20),
            "account.status": Operation(self._account, 20),
            "account.commission": Operation(self._commission, 20),
            "account.rateLimits.orders": Operation(self._counts, 40),
        }

    def new_id(self, prefix: str) -> str:
        """Return a client id of the venue's own making, as long as the venue's are."""
        self._ids += 1
        return f"{prefix}{(self._ids * 2_654_435_761) % (1 << 64):x}".ljust(22, "x")

    # New orders.

    def _response(self, ask: Ask, kind: str) -> str:
        text = "Invalid newOrderRespType."
        wanted = ask.parameters.choice("newOrderRespType", _RESPONSES, (-1130, text))
        return wanted or ("FULL" if kind in ("LIMIT", "MARKET") else "ACK")

    def _terms(self, ask: Ask) -> tuple[OrderTerms, str]:
        terms = read_terms(self.desk, ask.parameters)
        if not terms.client_id:
            terms.client_id = self.new_id("s")
        return terms, self._response(ask, terms.extra["type"])

    def _place(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        terms, response = self._terms(ask)
        ask.parameters.finish()
        order = self.trading.place(ask.account, terms, ask.now_ms)
        return shapes.placed(order, response)

    def _test(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        terms, _ = self._terms(ask)
        rates = ask.parameters.flag("computeCommissionRates")
        ask.parameters.finish()
        self.trading.check(ask.account, terms, ask.now_ms)
        if not rates:
            return {}
        told = shapes.commission(terms.market.instrument)
        return {
            "standardCommissionForOrder": told["standardCommission"],
            "specialCommissionForOrder": told["specialCommission"],
            "taxCommissionForOrder": told["taxCommission"],
            "discount": told["discount"],
        }

    # Cancels and changes.

    def _restricted(self, ask: Ask, order: Order) -> None:
        text = "Invalid cancelRestrictions: `ONLY_NEW` or `ONLY_PARTIALLY_FILLED`."
        wanted = ask.parameters.choice("cancelRestrictions", _RESTRICTIONS, (-1145, text))
        if wanted and order.status.live and order.status is not _RESTRICTIONS[wanted]:
            raise ApiError(*CANCEL_RESTRICTIONS)

    def _end(self, order: Order, cancel_id: str, now_ms: int) -> Any:  # noqa: ANN401 - JSON
        self.cancel_id = cancel_id
        try:
            self.trading.cancel(order, now_ms)
        finally:
            self.cancel_id = ""
        return shapes.canceled(order, cancel_id, now_ms)

    def _cancel(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        order = self._live(ask, "orderId", "origClientOrderId")
        self._restricted(ask, order)
        cancel_id = ask.parameters.client_id("newClientOrderId", SPOT_ID_PATTERN)
        ask.parameters.finish()
        return self._end(order, cancel_id or self.new_id("c"), ask.now_ms)

    def _live(self, ask: Ask, number: str, client: str) -> Order:
        parameters = ask.parameters
        symbol = parameters.symbol()
        self.desk.market(symbol)
        order_id = parameters.number(number, 0)
        client_id = parameters.client_id(client, SPOT_ID_PATTERN)
        order = self.desk.find(ask.account, symbol, order_id, client_id)
        if not order.status.live:
            raise Refused(Why.CLOSED_ORDER)
        return order

    def _cancel_all(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        ask.parameters.finish()
        cancel_id = self.cancel_id = self.new_id("c")
        try:
            ended = self.trading.cancel_all(ask.account, ask.now_ms, symbol=symbol)
        finally:
            self.cancel_id = ""
        if not ended:
            raise Refused(Why.UNKNOWN_ORDER)
        return [shapes.canceled(order, cancel_id, ask.now_ms) for order in ended]

    def _replace(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        modes = {"STOP_ON_FAILURE": 0, "ALLOW_FAILURE": 0}
        text = "Invalid cancelReplaceMode."
        mode = parameters.choice("cancelReplaceMode", modes, (-1130, text))
        if not mode:
            raise missing("cancelReplaceMode")
        terms, response = self._terms(ask)
        cancel_id = parameters.client_id("cancelNewClientOrderId", SPOT_ID_PATTERN)
        parameters.skip("orderRateLimitExceededMode")
        self._check_filters(ask, terms)
        cancel_error: ApiError | None = None
        cancel_answer: Any = None
        try:
            order = self._live(ask, "cancelOrderId", "cancelOrigClientOrderId")
            self._restricted(ask, order)
            parameters.finish()
            cancel_answer = self._end(order, cancel_id or self.new_id("c"), ask.now_ms)
        except Refused as refused:
            cancel_error = refusal(refused, SPOT_WORDS, {})
        except ApiError as error:
            if error.code not in (-2011, -2039):
                raise
            cancel_error = error
        new_answer: Any = None
        new_error: ApiError | None = None
        attempted = cancel_error is None or mode == "ALLOW_FAILURE"
        if attempted:
            try:
                placed = self.trading.place(ask.account, terms, ask.now_ms)
                new_answer = shapes.placed(placed, response)
            except Refused as refused:
                new_error = refusal(refused, SPOT_WORDS, {})
        return _replaced(cancel_answer, cancel_error, new_answer, new_error, attempted=attempted)

    def _check_filters(self, ask: Ask, terms: OrderTerms) -> None:
        """Refuse what no cancel can make good; a balance can be freed by it."""
        try:
            self.trading.check(ask.account, terms, ask.now_ms)
        except Refused as refused:
            if refused.why in _FILTERS:
                raise

    def _amend(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        order = self._live(ask, "orderId", "origClientOrderId")
        wanted = parameters.decimal("newQty")
        if wanted is None:
            raise missing("newQty")
        new_id = parameters.client_id("newClientOrderId", SPOT_ID_PATTERN)
        parameters.finish()
        quantity = _lots(order.market, wanted)
        if quantity > order.quantity:
            raise ApiError(-2038, "Order amend (quantity increase) is not supported.")
        original, before = order.client_id, order.quantity
        new_id = new_id or self.new_id("a")
        same = ask.account.clients.get(new_id)
        if same is not None and same is not order and same.status.live:
            raise Refused(Why.DUPLICATE)
        self.original_id = original
        try:
            self.trading.amend(
                order, ask.now_ms, quantity=quantity, client_id=new_id, keep_priority=True
            )
        finally:
            self.original_id = ""
        if new_id != original and ask.account.clients.get(original) is order:
            del ask.account.clients[original]  # It is known under its new id only.
        order.terms.extra.setdefault("amendments", []).append(
            {
                "symbol": order.market.instrument.symbol,
                "orderId": order.id,
                "executionId": self.executions,
                "origClientOrderId": original,
                "newClientOrderId": new_id,
                "origQty": order.market.instrument.quantity.text(before),
                "newQty": order.market.instrument.quantity.text(quantity),
                "time": ask.now_ms,
            }
        )
        return shapes.amended(order, original, self.executions, ask.now_ms)

    # Questions.

    def _status(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        parameters = ask.parameters
        symbol = parameters.symbol()
        self.desk.market(symbol)
        order_id = parameters.number("orderId", 0)
        client_id = parameters.client_id("origClientOrderId", SPOT_ID_PATTERN)
        parameters.finish()
        return shapes.queried(self.desk.find(ask.account, symbol, order_id, client_id))

    def _amended(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        number = ask.parameters.number("orderId")
        order = self.trading.find(ask.account, order_id=number, symbol=symbol)
        return order.terms.extra.get("amendments", []) if order is not None else []

    def _open(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.optional("symbol")
        if symbol:
            self.desk.market(symbol)
        ask.parameters.finish()
        return [shapes.queried(o) for o in self.trading.open_orders(ask.account, symbol)]

    def _all(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        first, begin, end, most = _window(ask.parameters, "orderId")
        ask.parameters.finish()
        orders = orders_of(ask.account, symbol, first)
        chosen = (order for order in orders if begin <= order.created_ms <= end)
        return [shapes.queried(order) for order in rows(chosen, most, newest=not (first or begin))]

    def _trades(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        symbol = ask.parameters.symbol()
        self.desk.market(symbol)
        order_id = ask.parameters.number("orderId", 0)
        first, begin, end, most = _window(ask.parameters, "fromId")
        ask.parameters.finish()
        fills = fills_of(ask.account, symbol, first, order_id)
        chosen = (fill for fill in fills if begin <= fill.time_ms <= end)
        newest = not (first or begin)
        return [shapes.trade(fill) for fill in rows(chosen, most, newest=newest)]

    def _account(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        omit_zero = ask.parameters.flag("omitZeroBalances")
        ask.parameters.finish()
        return shapes.account(ask.account, ask.now_ms, omit_zero=omit_zero)

    def _commission(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        market = self.desk.market(ask.parameters.symbol())
        ask.parameters.finish()
        return shapes.commission(market.instrument)

    def _counts(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        ask.parameters.finish()
        return self.desk.counted(ask.account)

    def _nothing(self, ask: Ask) -> Any:  # noqa: ANN401 - JSON
        return []


def _replaced(
    cancel_answer: Any,  # noqa: ANN401 - JSON
    cancel_error: ApiError | None,
    new_answer: Any,  # noqa: ANN401 - JSON
    new_error: ApiError | None,
    *,
    attempted: bool,
) -> Any:  # noqa: ANN401 - JSON
    """Return the answer of a cancel-replace; raises ApiError unless both halves went well."""
    result = {
        "cancelResult": "SUCCESS" if cancel_error is None else "FAILURE",
        "newOrderResult": "SUCCESS" if new_error is None else "FAILURE",
        "cancelResponse": cancel_answer if cancel_error is None else cancel_error.body,
        "newOrderResponse": new_answer if new_error is None else new_error.body,
    }
    if not attempted:
        result |= {"newOrderResult": "NOT_ATTEMPTED", "newOrderResponse": None}
    if cancel_error is None and new_error is None:
        return result
    if cancel_error is not None and (new_error is not None or not attempted):
        raise ApiError(-2022, "Order cancel-replace failed.", 400, result)
    raise ApiError(-2021, "Order cancel-replace partially failed.", 409, result)


def orders_of(account: Account, symbol: str, first: int) -> Iterator[Order]:
    """Go through an account's orders in one market, the newest first, down to an id."""
    for order in reversed(account.known.values()):
        if order.id < first:
            return
        if order.market.instrument.symbol == symbol:
            yield order


def fills_of(account: Account, symbol: str, first: int, order_id: int = 0) -> Iterator[AccountFill]:
    """Go through fills in one market, the newest first, down to a trade id; of one order if any."""
    fills: Sequence[AccountFill] = account.fills
    if order_id:
        order = account.known.get(order_id)
        fills = order.fills if order is not None else ()
    for fill in reversed(fills):
        if fill.order.market.instrument.symbol == symbol:
            if fill.id < first:
                return
            yield fill


def rows(found: Iterable[_Row], most: int, *, newest: bool) -> list[_Row]:
    """Return at most so many, the newest or the oldest; ``found`` has the newest first."""
    chosen = list(islice(found, most) if newest else deque(found, maxlen=most))
    chosen.reverse()
    return chosen


def _window(parameters: Parameters, first: str) -> tuple[int, int, int, int]:
    """Return the lowest id, the times, and how many rows are wanted."""
    number = parameters.number(first, 0)
    begin, end = parameters.number("startTime", 0), parameters.number("endTime", 10**15)
    return number, begin, end, min(parameters.number("limit", 500) or 500, MOST_ROWS)


def _open_weight(parameters: Parameters) -> int:
    return 6 if "symbol" in parameters else 80


def _test_weight(parameters: Parameters) -> int:
    return 20 if parameters.values.get("computeCommissionRates") == "true" else 1


def _row_weight(parameters: Parameters) -> int:
    return 5 if "orderId" in parameters else 20
