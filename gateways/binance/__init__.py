"""Binance's order dialects: spot, and USDⓈ-M futures.

``events`` says what is told of an order, ``requests`` what is sent, ``errors`` what a refusal
means. What a caller must know:

- CANCEL_ALL and the dead-man's switch are for one symbol at a time.
- An AMEND must say side, type and so on of the order, as NEW did. On spot it keeps the order's
  place if only the quantity decreases (``Request.order_price`` and ``order_quantity`` tell); else
  the order is replaced, under the same client id and a new venue id. Orders that have been
  filled in part cannot be replaced: the venue is told to refuse that, so that no race lets more
  be filled than was asked for.
- Conditional orders of USDⓈ-M have venue ids that begin with "a" until they are triggered; then
  they are orders like others, with another venue id.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.common import Endpoints, Exchange, OrderType, TimeInForce
from gateways.adapter import ROUTE_ORDERS, Call, Cost, Dialect, Identity, Limit, Query
from gateways.binance import answers, endpoints, events, limits, requests, session
from gateways.dialects import NEVER_RESTS
from gateways.message import Event, Instrument, Notice, Request, Update
from gateways.types import Action, MarginMode, PositionSide, SelfTrade, Trigger

__all__ = ["BinanceSpot", "BinanceUsdm"]

_AS_FORM = frozenset({Action.NEW, Action.AMEND, Action.CANCEL, Action.CANCEL_ALL, Action.QUERY})


class _Binance:
    """What both markets have in common; see ``gateways.adapter.OrderAdapter``."""

    _exchange: Exchange
    _dialect: Dialect
    _limits: Sequence[Limit]
    _futures: bool
    _form: Callable[[Request, requests.Signer], requests.Form]

    def __init__(self, identity: Identity, window_ms: int = endpoints.RECV_WINDOW_MS) -> None:
        self._signer = requests.Signer(identity, window_ms)
        self._forms: dict[tuple[object, ...], requests.Form] = {}
        self._now_ms = 0
        """When the last request was written: as near as a message without a time gets."""

    @property
    def exchange(self) -> Exchange:
        """Return the venue's constants."""
        return self._exchange

    @property
    def dialect(self) -> Dialect:
        """Return how the venue's orders behave."""
        return self._dialect

    @property
    def limits(self) -> Sequence[Limit]:
        """Return every limit that our requests run into."""
        return self._limits

    # -- requests ----------------------------------------------------------------------------
    def form_of(self, request: Request) -> requests.Form:
        """Return the form of a request: written at the first of its kind, then remembered."""
        instrument = request.instrument
        if instrument is None:
            raise ValueError(f"{Action(request.action).name} needs an instrument on Binance")
        action = request.action
        key: tuple[object, ...] = (
            action,
            instrument.row,
            request.side,
            request.order_type,
            request.time_in_force,
            request.flags,
            request.position_side,
            request.trigger,
            request.self_trade,
        )
        if action != Action.NEW:
            key += (
                not request.client_text,
                request.venue_id[:1] == requests.ALGO,
                not request.venue_id,
                action == Action.AMEND and requests.keeps_priority(request),
            )
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = type(self)._form(request, self._signer)
        return form

    def order_message(self, request: Request, wire_id: str, now_ms: int) -> bytes | None:
        """Return a request as a message of the WebSocket API; None if only REST takes it."""
        self._now_ms = now_ms
        if request.action not in _AS_FORM:
            return None
        form = self.form_of(request)
        if not form.route.method:
            return None
        return requests.form_message(request, form, wire_id, now_ms, self._signer)

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        """Return any request as REST calls."""
        self._now_ms = now_ms
        costs = self.costs(request)
        if request.action not in _AS_FORM:
            call = requests.setting_call(request, wire_id, now_ms, self._signer, costs)
            return (call,)
        form = self.form_of(request)
        return (requests.form_call(request, form, wire_id, now_ms, self._signer, costs),)

    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits."""
        raise NotImplementedError

    def check(self, request: Request) -> str:
        """Return why Binance has no such request; empty if it has."""
        if request.instrument is None:
            return "Binance takes requests for one symbol only"
        if request.action in (Action.NEW, Action.AMEND):
            return _check_terms(request) or self._check_terms(request)
        if request.action in (Action.LEVERAGE, Action.MARGIN_MODE) and not self._futures:
            return "spot has no leverage and no margin mode"
        if request.action == Action.MARGIN_MODE and request.margin_mode not in (
            MarginMode.CROSS,
            MarginMode.ISOLATED,
        ):
            return "the margin mode of a symbol is CROSS or ISOLATED"
        return ""

    def _check_terms(self, request: Request) -> str:
        raise NotImplementedError

    def query_calls(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int, now_ms: int
    ) -> Sequence[Call]:
        """Return the calls whose answers together tell all of ``query``."""
        self._now_ms = now_ms
        return requests.query_calls(
            query, instruments, since_ms, now_ms, self._signer, self._futures
        )

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the call for the trades that ``body`` left out; None if there are none."""
        return requests.next_page(call, body, now_ms, self._signer, self._futures)

    def dead_man_calls(
        self, timeout_s: float, instruments: Sequence[Instrument], now_ms: int
    ) -> Sequence[Call]:
        """Return the calls that arm the countdown of each symbol; spot has none."""
        if not self._futures:
            return ()
        return requests.dead_man_calls(timeout_s, instruments, now_ms, self._signer)

    def time_call(self) -> Call:
        """Return the call for the venue's clock."""
        path = "/fapi/v1/time" if self._futures else "/api/v3/time"
        return Call("GET", path, costs=limits.weight(1))

    def parse_time(self, body: bytes) -> int:
        """Return the venue's clock, Unix ms."""
        return session.server_time(body)

    # -- sessions ----------------------------------------------------------------------------
    def ws_url(self, route: str, environment: Endpoints, stream_key: str) -> str:
        """Return the URL of a route."""
        return session.url(route, environment, stream_key)

    def login(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return ``session.logon`` on the route of orders, for keys that can."""
        return session.logon(self._signer, now_ms) if route == ROUTE_ORDERS else ()

    def subscriptions(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return the subscription to spot's events; the listenKey's connection needs none."""
        if self._futures or route != ROUTE_ORDERS:
            return ()
        return session.subscribe(self._signer, now_ms)

    def ping(self, now_ms: int) -> tuple[bytes, float]:
        """Return nothing: the venue pings by frames, and answers ours."""
        return b"", 0.0

    def stream_key_calls(self, stream_key: str, now_ms: int) -> tuple[Sequence[Call], float]:
        """Return the calls for USDⓈ-M's listenKey; spot needs none."""
        if not self._futures:
            return (), 0.0
        return session.stream_key_calls(self._signer, "/fapi/v1/listenKey", stream_key)

    def parse_stream_key(self, body: bytes) -> str:
        """Return the listenKey; empty if the venue no longer knows it."""
        return session.stream_key(body)

    # -- what the venue says -----------------------------------------------------------------
    def read(
        self, route: str, message: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Event]:
        """Return what a WebSocket message says; ValueError if it cannot be read."""
        return events.read(message, instruments, self._futures, self._now_ms)

    def read_answer(
        self,
        call: Call,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        instruments: Mapping[str, Instrument],
    ) -> Sequence[Event]:
        """Return what the answer to ``order_call`` says."""
        return answers.read_answer(
            call, status, headers, body, instruments, self._futures, self._now_ms
        )

    def read_page(
        self, query: Query, call: Call, body: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Update | Notice]:
        """Return what an answer to ``query_calls`` says; ValueError for a refusal."""
        return answers.read_page(query, body, instruments, self._futures)

    def usage(
        self, headers: Mapping[str, str], message: bytes | None = None
    ) -> Sequence[tuple[Cost, int]]:
        """Return what the venue says is used of its limits."""
        return limits.usage(headers, message)


def _check_terms(request: Request) -> str:
    """Return what neither market has."""
    order_type, time = request.order_type, request.time_in_force
    if request.action == Action.NEW and not request.client_text:
        return "an order needs a client id"
    if request.quantity <= 0 and not (request.action == Action.AMEND and request.order_quantity):
        return f"quantity {request.quantity}: above 0"
    if request.price < 0 or (
        order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        and not (request.price or request.order_price)
    ):
        return f"price {request.price}: above 0"
    if order_type in requests.STOPS and request.stop_price <= 0:
        return f"stop price {request.stop_price}: above 0"
    if time in NEVER_RESTS and order_type in (OrderType.MARKET, OrderType.STOP_MARKET):
        return f"a market order cannot be {time.name}"
    if request.trigger == Trigger.INDEX:
        return "Binance has no stop orders on the index price"
    return ""


class BinanceSpot(_Binance):
    """Orders on Binance spot: the venue ``binance_spot``."""

    _exchange, _dialect = endpoints.SPOT, endpoints.SPOT_DIALECT
    _limits = limits.SPOT_LIMITS
    _futures = False
    _form = staticmethod(requests.spot_form)

    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits."""
        return limits.spot_costs(request, requests.keeps_priority(request))

    def _check_terms(self, request: Request) -> str:
        if request.time_in_force == TimeInForce.GTD:
            return "spot has no good-till-date orders"
        if request.flags & requests.REDUCE_ONLY or request.position_side != PositionSide.NET:
            return "spot has no positions to reduce"
        if request.margin_mode not in (MarginMode.NONE, MarginMode.CASH):
            return "margin orders are not spot's"
        if request.trigger != Trigger.LAST:
            return "spot's stop orders look at the last price"
        if request.order_type in requests.STOPS and request.time_in_force == TimeInForce.POST_ONLY:
            return "spot has no post-only stop orders"
        quote = bool(request.flags & requests.QUOTE_QUANTITY)
        if quote and (request.order_type != OrderType.MARKET or request.action != Action.NEW):
            return "only market orders have their quantity in the quote currency"
        if request.action == Action.AMEND and not requests.keeps_priority(request):
            if not request.client_text or request.client_id <= 0:
                return "of an order of others, only the quantity can be decreased"
            if request.order_type in (OrderType.MARKET, OrderType.STOP_MARKET):
                return "a market order cannot be amended"
        return ""


class BinanceUsdm(_Binance):
    """Orders on Binance USDⓈ-M futures: the venue ``binance_usdm``."""

    _exchange, _dialect = endpoints.USDM, endpoints.USDM_DIALECT
    _limits = limits.USDM_LIMITS
    _futures = True
    _form = staticmethod(requests.usdm_form)

    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits."""
        return limits.usdm_costs(request)

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        """Return any request as REST calls; all orders of a symbol are of two kinds."""
        calls = super().order_call(request, wire_id, now_ms)
        if request.action != Action.CANCEL_ALL:
            return calls
        return (*calls, requests.cancel_all_algo(request, wire_id, now_ms, self._signer))

    def _check_terms(self, request: Request) -> str:
        closing = (request.side, request.position_side) in ((-1, 1), (1, -1))
        hedged = request.position_side != PositionSide.NET
        if request.flags & requests.REDUCE_ONLY and hedged and not closing:
            return "this side only adds to that side's position"
        if request.flags & requests.QUOTE_QUANTITY:
            return "contracts have their quantity in the base currency"
        if request.time_in_force == TimeInForce.GTD and request.expire_ns <= 0:
            return "a good-till-date order needs a date"
        if request.trigger != Trigger.LAST and request.order_type not in requests.STOPS:
            return "only stop orders have a trigger"
        if request.self_trade == SelfTrade.NONE and request.action == Action.NEW:
            return "contracts always have self-trade prevention"
        if request.action == Action.AMEND:
            if request.flags & requests.CANCEL_IF_AMEND_FAILS:
                return "the venue does not cancel an order that cannot be amended"
            if request.order_type != OrderType.LIMIT or requests.is_algo(request):
                return "only limit orders can be amended"
        return ""
