"""Requests to Binance as bytes: orders by WebSocket or REST, and the queries of reconciliation.

A request is a list of parameters in the order in which REST sends them. The WebSocket API signs
the same parameters sorted by name, not percent-encoded, with the values as they stand in the JSON.
Everything that does not change from order to order is written once, in a ``Form``: one for each
instrument, side, type and so on. An order only fills the gaps of its form and signs.

The id of a WebSocket request is the gateway's with two characters more, from which ``events`` knows
what an answer is about: a new order and an amendment are answered alike.

Sources: developers.binance.com, spot "Request security", "Trading requests" (WebSocket API) and
"Trading endpoints" (REST); USDⓈ-M "New order", "Modify order", "Cancel order", "New algo order",
"Cancel algo order" and their WebSocket forms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import overload
from urllib.parse import quote, unquote

import orjson

from engine.common import OrderType, Side, TimeInForce
from gateways.adapter import Call, Cost, Identity, Query
from gateways.binance.endpoints import RECV_WINDOW_MS
from gateways.binance.limits import RAW, weight
from gateways.message import Instrument, Request
from gateways.numbers import to_text
from gateways.types import Action, MarginMode, PositionSide, RequestFlag, SelfTrade, Trigger

API_KEY = "X-MBX-APIKEY"
FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
REPLACED = "_r"
"""Ends the client id of the cancellation inside a cancel-replace: such an end is none."""
ALGO = "a"
"""Begins the venue id of a conditional order of USDⓈ-M: those are numbered apart from orders."""


class Mark(StrEnum):
    """What a request is; the end of its WebSocket id, and its REST ``Call.tag``."""

    NEW = "n"
    MODIFY = "m"
    KEEP_PRIORITY = "k"
    REPLACE = "r"
    CANCEL = "c"
    CANCEL_ALL = "x"
    QUERY = "q"
    NEW_ALGO = "A"
    CANCEL_ALGO = "C"
    CANCEL_ALL_ALGO = "X"
    QUERY_ALGO = "Q"
    LOGON = "l"
    SUBSCRIBE = "s"
    SETTING = "t"
    DEAD_MAN = "d"


ACTION = {
    Mark.NEW: Action.NEW,
    Mark.NEW_ALGO: Action.NEW,
    Mark.MODIFY: Action.AMEND,
    Mark.KEEP_PRIORITY: Action.AMEND,
    Mark.REPLACE: Action.AMEND,
    Mark.CANCEL: Action.CANCEL,
    Mark.CANCEL_ALGO: Action.CANCEL,
    Mark.CANCEL_ALL: Action.CANCEL_ALL,
    Mark.CANCEL_ALL_ALGO: Action.CANCEL_ALL,
    Mark.QUERY: Action.QUERY,
    Mark.QUERY_ALGO: Action.QUERY,
}


class Signer:
    """The account's key, and what signs for it; signs REST requests."""

    __slots__ = ("key", "logon", "sign", "window_ms")

    def __init__(self, identity: Identity, window_ms: int = RECV_WINDOW_MS) -> None:
        self.key = identity.key.reveal()
        self.sign = identity.sign
        self.logon = identity.session_logon
        self.window_ms = window_ms

    def call(
        self,
        method: str,
        path: str,
        query: str,
        now_ms: int,
        *,
        costs: Sequence[Cost] = (),
        wire_id: str = "",
        tag: str = "",
    ) -> Call:
        """Return a signed REST request; ``query`` is percent-encoded, without the timestamp."""
        between = f"&{query}&" if query else "&"
        whole = f"timestamp={now_ms}{between}recvWindow={self.window_ms}"
        # Base 64 has characters that mean something else in a query.
        whole = f"{whole}&signature={quote(self.sign(whole.encode()), safe='')}"
        taken = (*costs, Cost(RAW)) if path.startswith("/api/") else tuple(costs)
        if method in ("GET", "DELETE"):
            headers = {API_KEY: self.key}
            return Call(method, f"{path}?{whole}", headers, costs=taken, wire_id=wire_id, tag=tag)
        headers = {API_KEY: self.key, **FORM_HEADERS}
        return Call(method, path, headers, whole.encode(), taken, wire_id, tag)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request; ``text`` may be a gap, ``%(price)s``."""

    name: str
    text: str
    number: bool = False
    """A number in JSON; everything else is a string."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: the WebSocket method ("" if there is none), and the REST call."""

    mark: Mark
    method: str
    http: str
    path: str


@dataclass(frozen=True, slots=True)
class Form:
    """A request with gaps: what is signed, and what is sent."""

    route: Route
    # They hold the key.
    payload: str = field(repr=False)
    message: str = field(repr=False)
    query: str
    quote_quantity: bool = False


def make_form(
    route: Route, parameters: Sequence[Parameter], signer: Signer, quote_quantity: bool = False
) -> Form:
    """Return the form of a request with these parameters, in REST's order."""
    query = "&".join(f"{each.name}={each.text}" for each in parameters)
    if not route.method:
        return Form(route, "", "", query, quote_quantity)
    timed = [
        *parameters,
        Parameter("timestamp", "%(now)d", number=True),
        Parameter("recvWindow", str(signer.window_ms), number=True),
    ]
    if not signer.logon:
        timed.append(Parameter("apiKey", _literal(signer.key)))
    timed.sort(key=lambda each: each.name)
    payload = "&".join(f"{each.name}={_unquoted(each.text)}" for each in timed)
    fields = [_json(each) for each in timed]
    if not signer.logon:
        fields.append('"signature":"%(signature)s"')
    message = (
        f'{{"id":"%(wire_id)s_{route.mark}","method":"{route.method}",'
        f'"params":{{{",".join(fields)}}}}}'
    )
    return Form(route, payload, message, query, quote_quantity)


def _literal(text: str) -> str:
    """Return a text for a form, percent-encoded for REST."""
    return quote(text, safe="").replace("%", "%%")


def _unquoted(text: str) -> str:
    """Return a form's text as the WebSocket API takes it: not percent-encoded."""
    if text.startswith("%("):
        return text
    return unquote(text.replace("%%", "%")).replace("%", "%%")


def _json(parameter: Parameter) -> str:
    text = _unquoted(parameter.text)
    if parameter.number:
        return f'"{parameter.name}":{text}'
    if not text.startswith("%("):
        return f'"{parameter.name}":{orjson.dumps(text).decode()}'
    return f'"{parameter.name}":"{text}"'


# -- the parameters of each request ------------------------------------------------------------
SIDES = {Side.BUY: "BUY", Side.SELL: "SELL"}
_TIMES = {
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.GTD: "GTD",
    TimeInForce.POST_ONLY: "GTX",
}
_SPOT_TYPES = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_MARKET: "STOP_LOSS",
    OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT",
}
_USDM_TYPES = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
}
_SELF_TRADE = {
    SelfTrade.NONE: "NONE",
    SelfTrade.CANCEL_MAKER: "EXPIRE_MAKER",
    SelfTrade.CANCEL_TAKER: "EXPIRE_TAKER",
    SelfTrade.CANCEL_BOTH: "EXPIRE_BOTH",
}
_POSITION_SIDES = {PositionSide.LONG: "LONG", PositionSide.SHORT: "SHORT"}
# Plain numbers: an operation on flags makes an object.
QUOTE_QUANTITY = int(RequestFlag.QUOTE_QUANTITY)
REDUCE_ONLY = int(RequestFlag.REDUCE_ONLY)
CANCEL_IF_AMEND_FAILS = int(RequestFlag.CANCEL_IF_AMEND_FAILS)
STOPS = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
_PRICED = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})

_PRICE = Parameter("price", "%(price)s")
_QUANTITY = Parameter("quantity", "%(quantity)s")

SPOT_NEW = Route(Mark.NEW, "order.place", "POST", "/api/v3/order")
SPOT_CANCEL = Route(Mark.CANCEL, "order.cancel", "DELETE", "/api/v3/order")
SPOT_CANCEL_ALL = Route(Mark.CANCEL_ALL, "openOrders.cancelAll", "DELETE", "/api/v3/openOrders")
SPOT_KEEP = Route(
    Mark.KEEP_PRIORITY, "order.amend.keepPriority", "PUT", "/api/v3/order/amend/keepPriority"
)
SPOT_REPLACE = Route(Mark.REPLACE, "order.cancelReplace", "POST", "/api/v3/order/cancelReplace")
SPOT_QUERY = Route(Mark.QUERY, "", "GET", "/api/v3/order")
USDM_NEW = Route(Mark.NEW, "order.place", "POST", "/fapi/v1/order")
USDM_NEW_ALGO = Route(Mark.NEW_ALGO, "algoOrder.place", "POST", "/fapi/v1/algoOrder")
USDM_MODIFY = Route(Mark.MODIFY, "order.modify", "PUT", "/fapi/v1/order")
USDM_CANCEL = Route(Mark.CANCEL, "order.cancel", "DELETE", "/fapi/v1/order")
USDM_CANCEL_ALGO = Route(Mark.CANCEL_ALGO, "algoOrder.cancel", "DELETE", "/fapi/v1/algoOrder")
USDM_CANCEL_ALL = Route(Mark.CANCEL_ALL, "", "DELETE", "/fapi/v1/allOpenOrders")
USDM_CANCEL_ALL_ALGO = Route(Mark.CANCEL_ALL_ALGO, "", "DELETE", "/fapi/v1/algoOpenOrders")
USDM_QUERY = Route(Mark.QUERY, "", "GET", "/fapi/v1/order")
USDM_QUERY_ALGO = Route(Mark.QUERY_ALGO, "", "GET", "/fapi/v1/algoOrder")
USDM_LEVERAGE = Route(Mark.SETTING, "", "POST", "/fapi/v1/leverage")
USDM_MARGIN = Route(Mark.SETTING, "", "POST", "/fapi/v1/marginType")


def keeps_priority(request: Request) -> bool:
    """Return whether a spot AMEND is a decrease of the quantity alone, as far as is known."""
    return (
        0 < request.quantity < request.order_quantity
        and request.price in (0, request.order_price)
        and not request.flags & CANCEL_IF_AMEND_FAILS
    )


def is_algo(request: Request) -> bool:
    """Return whether a USDⓈ-M request is about a conditional order that waits for its price."""
    if request.action != Action.NEW and request.venue_id:
        return request.venue_id.startswith(ALGO)
    return request.order_type in STOPS


def symbol(request: Request) -> Parameter:
    """Return the symbol of a request, which must have one."""
    assert request.instrument is not None
    return Parameter("symbol", _literal(request.instrument.native))


def _identified(request: Request, name: str, original: str) -> Parameter:
    """Return what names the order: its client id where it has one, for that never changes."""
    if request.client_text:
        return Parameter(original, "%(client)s")
    return Parameter(name, "%(venue)s", number=True)


def _spot_terms(request: Request) -> list[Parameter]:
    """Return the parameters of a spot order, up to what a cancel-replace adds."""
    order_type = _SPOT_TYPES[request.order_type]
    post_only = request.time_in_force == TimeInForce.POST_ONLY
    if post_only and request.order_type == OrderType.LIMIT:
        order_type = "LIMIT_MAKER"
    terms = [
        symbol(request),
        Parameter("side", SIDES[request.side]),
    ]
    replaces = request.action == Action.AMEND
    if replaces:
        terms.append(Parameter("type", order_type))
    terms += [
        Parameter("newClientOrderId", "%(client)s"),
        Parameter("newOrderRespType", "FULL"),
    ]
    if not replaces:
        terms.append(Parameter("type", order_type))
    if request.flags & QUOTE_QUANTITY:
        terms.append(Parameter("quoteOrderQty", "%(quantity)s"))
    else:
        terms.append(_QUANTITY)
    priced = request.order_type in _PRICED
    if priced:
        terms.append(_PRICE)
    stop = Parameter("stopPrice", "%(stop)s")
    time = Parameter("timeInForce", _TIMES[request.time_in_force])
    tail = [stop] if request.order_type in STOPS else []
    if priced and not post_only:
        tail.insert(0 if replaces else len(tail), time)
    terms += tail
    if request.self_trade:
        terms.append(Parameter("selfTradePreventionMode", _SELF_TRADE[request.self_trade]))
    return terms


def spot_form(request: Request, signer: Signer) -> Form:
    """Return the form of a spot request: NEW, AMEND, CANCEL, CANCEL_ALL or QUERY."""
    match request.action:
        case Action.NEW:
            quote_quantity = bool(request.flags & QUOTE_QUANTITY)
            return make_form(SPOT_NEW, _spot_terms(request), signer, quote_quantity)
        case Action.AMEND if keeps_priority(request):
            parameters = [
                symbol(request),
                _identified(request, "orderId", "origClientOrderId"),
                Parameter("newQty", "%(quantity)s"),
            ]
            if request.client_text:
                # Otherwise the venue gives the order a random new one.
                parameters.append(Parameter("newClientOrderId", "%(client)s"))
            return make_form(SPOT_KEEP, parameters, signer)
        case Action.AMEND:
            parameters = [
                *_spot_terms(request),
                Parameter("cancelReplaceMode", "STOP_ON_FAILURE"),
                _identified(request, "cancelOrderId", "cancelOrigClientOrderId"),
                Parameter("cancelNewClientOrderId", f"%(client)s{REPLACED}"),
                # The new order counts its fills from 0: it must not stand in for one with fills.
                Parameter("cancelRestrictions", "ONLY_NEW"),
            ]
            return make_form(SPOT_REPLACE, parameters, signer)
        case Action.CANCEL_ALL:
            return make_form(SPOT_CANCEL_ALL, [symbol(request)], signer)
        case _:
            route = SPOT_CANCEL if request.action == Action.CANCEL else SPOT_QUERY
            named = _identified(request, "orderId", "origClientOrderId")
            return make_form(route, [symbol(request), named], signer)


def _usdm_terms(request: Request, algo: bool) -> list[Parameter]:
    """Return the parameters of a new USDⓈ-M order."""
    terms = [
        symbol(request),
        Parameter("side", SIDES[request.side]),
        Parameter("clientAlgoId" if algo else "newClientOrderId", "%(client)s"),
        Parameter("newOrderRespType", "RESULT"),
        Parameter("type", _USDM_TYPES[request.order_type]),
        _QUANTITY,
    ]
    if request.order_type in _PRICED:
        terms.append(_PRICE)
    if algo:
        terms.append(Parameter("triggerPrice", "%(stop)s"))
    good_till_canceled = request.time_in_force == TimeInForce.GTC
    if request.order_type in _PRICED and not (algo and good_till_canceled):
        terms.append(Parameter("timeInForce", _TIMES[request.time_in_force]))
    if request.time_in_force == TimeInForce.GTD:
        terms.append(Parameter("goodTillDate", "%(expire)d", number=True))
    if request.position_side:
        terms.append(Parameter("positionSide", _POSITION_SIDES[request.position_side]))
    elif request.flags & REDUCE_ONLY:
        # Not taken in hedge mode, where the side of the position says as much.
        terms.append(Parameter("reduceOnly", "true"))
    if request.self_trade:
        terms.append(Parameter("selfTradePreventionMode", _SELF_TRADE[request.self_trade]))
    if algo:
        if request.trigger == Trigger.MARK:
            terms.append(Parameter("workingType", "MARK_PRICE"))
        terms.append(Parameter("algoType", "CONDITIONAL"))
    return terms


def usdm_form(request: Request, signer: Signer) -> Form:
    """Return the form of a USDⓈ-M request: NEW, AMEND, CANCEL, CANCEL_ALL or QUERY."""
    algo = is_algo(request)
    match request.action:
        case Action.NEW:
            route = USDM_NEW_ALGO if algo else USDM_NEW
            return make_form(route, _usdm_terms(request, algo), signer)
        case Action.AMEND:
            named = _identified(request, "orderId", "origClientOrderId")
            side = Parameter("side", SIDES[request.side])
            parameters = [symbol(request), side, _QUANTITY, _PRICE]
            parameters.insert(4 if request.client_text else 2, named)
            return make_form(USDM_MODIFY, parameters, signer)
        case Action.CANCEL_ALL:
            return make_form(USDM_CANCEL_ALL, [symbol(request)], signer)
        case _ if algo:
            route = USDM_CANCEL_ALGO if request.action == Action.CANCEL else USDM_QUERY_ALGO
            return make_form(route, [_identified(request, "algoId", "clientAlgoId")], signer)
        case _:
            route = USDM_CANCEL if request.action == Action.CANCEL else USDM_QUERY
            named = _identified(request, "orderId", "origClientOrderId")
            return make_form(route, [symbol(request), named], signer)


def setting_call(
    request: Request, wire_id: str, now_ms: int, signer: Signer, costs: Sequence[Cost]
) -> Call:
    """Return the call that sets leverage or margin mode of a USDⓈ-M symbol."""
    assert request.instrument is not None
    query = _symbol_query(request.instrument)
    if request.action == Action.LEVERAGE:
        route, query = USDM_LEVERAGE, f"{query}&leverage={request.quantity}"
    else:
        mode = "ISOLATED" if request.margin_mode == MarginMode.ISOLATED else "CROSSED"
        route, query = USDM_MARGIN, f"{query}&marginType={mode}"
    return signer.call(
        route.http, route.path, query, now_ms, costs=costs, wire_id=wire_id, tag=route.mark
    )


# -- filling the gaps --------------------------------------------------------------------------
Values = dict[str, str | int]


def fill(request: Request, form: Form, now_ms: int) -> Values:
    """Return what goes into a form's gaps."""
    instrument = request.instrument
    assert instrument is not None
    price_decimals = instrument.price_decimals
    decimals = price_decimals if form.quote_quantity else instrument.quantity_decimals
    values: Values = {
        "client": request.client_text,
        "quantity": to_text(request.quantity or request.order_quantity, decimals),
        "now": now_ms,
    }
    if request.price:
        values["price"] = to_text(request.price, price_decimals)
    elif request.order_price:
        values["price"] = to_text(request.order_price, price_decimals)
    if request.stop_price:
        values["stop"] = to_text(request.stop_price, price_decimals)
    if request.expire_ns:
        values["expire"] = request.expire_ns // 1_000_000
    if request.venue_id:
        values["venue"] = request.venue_id.removeprefix(ALGO)
    return values


def form_message(request: Request, form: Form, wire_id: str, now_ms: int, signer: Signer) -> bytes:
    """Return a request as a message of the WebSocket API."""
    values = fill(request, form, now_ms)
    values["wire_id"] = wire_id
    if not signer.logon:
        values["signature"] = signer.sign((form.payload % values).encode())
    return (form.message % values).encode()


def form_call(
    request: Request,
    form: Form,
    wire_id: str,
    now_ms: int,
    signer: Signer,
    costs: Sequence[Cost],
) -> Call:
    """Return a request as a REST call."""
    values = fill(request, form, now_ms)
    values["client"] = quote(request.client_text, safe="")
    route = form.route
    return signer.call(
        route.http,
        route.path,
        form.query % values,
        now_ms,
        costs=costs,
        wire_id=wire_id,
        tag=route.mark,
    )


def _symbol_query(instrument: Instrument) -> str:
    return f"symbol={quote(instrument.native, safe='')}"


# -- queries of reconciliation -----------------------------------------------------------------
PAGE = 1000
"""Trades in one answer, at most."""
_TRADES_SPAN_MS = 7 * 86_400_000
"""USDⓈ-M tells the trades of one week in one answer."""
_TRADES = ("/api/v3/myTrades", "/fapi/v1/userTrades")
_TRADES_WEIGHT = (20, 5)


class LazyCalls(Sequence[Call]):
    """Calls of which each is written and signed when it is asked for: there may be hundreds."""

    def __init__(self, count: int, make: Callable[[int], Call]) -> None:
        self._places, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Call: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Call]: ...
    def __getitem__(self, place: int | slice) -> Call | Sequence[Call]:
        if isinstance(place, slice):
            return [self._make(i) for i in self._places[place]]
        return self._make(self._places[place])


def query_calls(
    query: Query,
    instruments: Sequence[Instrument],
    since_ms: int,
    now_ms: int,
    signer: Signer,
    futures: bool,
) -> Sequence[Call]:
    """Return the calls whose answers together tell all of ``query``.

    Orders, balances and positions are asked for all symbols at once: one that nobody thought of
    would be missed otherwise. Trades can be asked for one symbol at a time only.
    """
    if query == Query.FILLS:

        def trades(i: int) -> Call:
            symbol = _symbol_query(instruments[i])
            return _trades_since(symbol, since_ms, now_ms, signer, futures)

        return LazyCalls(len(instruments), trades)
    paths = _PATHS[futures].get(query, ())
    return [
        signer.call("GET", path, "", now_ms, costs=weight(units), tag=query)
        for path, units in paths
    ]


_PATHS: tuple[dict[Query, tuple[tuple[str, int], ...]], ...] = (
    {
        Query.OPEN_ORDERS: (("/api/v3/openOrders", 80),),
        Query.BALANCES: (("/api/v3/account", 20),),
        Query.POSITIONS: (),
    },
    {
        Query.OPEN_ORDERS: (("/fapi/v1/openOrders", 40), ("/fapi/v1/openAlgoOrders", 40)),
        Query.BALANCES: (("/fapi/v3/balance", 5),),
        Query.POSITIONS: (("/fapi/v3/positionRisk", 5),),
    },
)


def _trades_since(
    symbol_query: str, since_ms: int, now_ms: int, signer: Signer, futures: bool
) -> Call:
    """Return the call for a symbol's trades; its tag says where the next page begins."""
    bounds, until_ms = f"startTime={since_ms}", 0
    if futures and now_ms - since_ms >= _TRADES_SPAN_MS:
        until_ms = since_ms + _TRADES_SPAN_MS - 1
        bounds = f"{bounds}&endTime={until_ms}"
    return _trades(symbol_query, bounds, until_ms, now_ms, signer, futures)


def _trades(
    symbol_query: str, bounds: str, until_ms: int, now_ms: int, signer: Signer, futures: bool
) -> Call:
    return signer.call(
        "GET",
        _TRADES[futures],
        f"{symbol_query}&{bounds}&limit={PAGE}",
        now_ms,
        costs=weight(_TRADES_WEIGHT[futures]),
        tag=f"{Query.FILLS} {symbol_query} {until_ms}",
    )


def next_page(call: Call, body: bytes, now_ms: int, signer: Signer, futures: bool) -> Call | None:
    """Return the call for the trades that an answer left out; None if there are none."""
    kind, _, rest = call.tag.partition(" ")
    if kind != Query.FILLS:
        return None
    symbol_query, _, until = rest.partition(" ")
    trades = orjson.loads(body)
    if not isinstance(trades, list):
        return None
    if len(trades) >= PAGE:
        last = max(int(trade["id"]) for trade in trades)
        return _trades(symbol_query, f"fromId={last + 1}", 0, now_ms, signer, futures)
    if until_ms := int(until):
        return _trades_since(symbol_query, until_ms + 1, now_ms, signer, futures)
    return None


def dead_man_calls(
    timeout_s: float, instruments: Sequence[Instrument], now_ms: int, signer: Signer
) -> list[Call]:
    """Return the calls that arm (0: disarm) the countdown of each symbol."""
    return [
        signer.call(
            "POST",
            "/fapi/v1/countdownCancelAll",
            f"{_symbol_query(instrument)}&countdownTime={round(timeout_s * 1000)}",
            now_ms,
            costs=weight(10),
            tag=Mark.DEAD_MAN,
        )
        for instrument in instruments
    ]


def cancel_all_algo(request: Request, wire_id: str, now_ms: int, signer: Signer) -> Call:
    """Return the call that cancels all conditional orders of a symbol (USDⓈ-M)."""
    assert request.instrument is not None
    route = USDM_CANCEL_ALL_ALGO
    query = _symbol_query(request.instrument)
    return signer.call(
        route.http, route.path, query, now_ms, costs=weight(1), wire_id=wire_id, tag=route.mark
    )
