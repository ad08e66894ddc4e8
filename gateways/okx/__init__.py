"""OKX's orders: spot, perpetuals and futures over one connection, REST as the other path.

A second connection tells what becomes of stop orders.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from engine.common import Endpoints, Exchange, OrderType, TimeInForce
from engine.secrets import Secret
from gateways.adapter import ROUTE_ORDERS, Call, Cost, Dialect, Identity, Limit, Query
from gateways.dialects import SPOT, check_new
from gateways.message import Event, Instrument, Notice, Request, Update
from gateways.okx import answers, endpoints, events, limits, requests, session
from gateways.signing import Sign, hmac_base64
from gateways.types import Action, RequestFlag, SelfTrade, Trigger

__all__ = ["Okx"]


class Okx:
    """``gateways.adapter.OrderAdapter`` for OKX."""

    signers: ClassVar[Mapping[str, Callable[[Secret], Sign]]] = {"hmac": hmac_base64}
    needs_passphrase: ClassVar[bool] = True

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._rest = requests.Rest(identity)

    @property
    def exchange(self) -> Exchange:
        """Return the venue's constants."""
        return endpoints.OKX

    @property
    def dialect(self) -> Dialect:
        """Return how the venue's orders behave."""
        return endpoints.DIALECT

    @property
    def limits(self) -> Sequence[Limit]:
        """Return every limit that our requests run into."""
        return limits.LIMITS

    def check(self, request: Request) -> str:
        """Return why OKX has no such order or operation; empty if it does."""
        instrument, action = request.instrument, request.action
        if action == Action.MARGIN_MODE and not request.quantity:
            return "OKX sets the margin mode with a leverage, or takes it with each order"
        if action in (Action.CANCEL_ALL, Action.RECONCILE):
            return ""
        if instrument is None:
            return "no instrument"
        spot = instrument.kind == SPOT
        if action in (Action.LEVERAGE, Action.MARGIN_MODE) and spot:
            return "leverage of spot pairs is not supported"
        return _check_new(request, spot) if action == Action.NEW else ""

    # -- requests ---------------------------------------------------------------------------
    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits."""
        return limits.request_costs(request, requests.is_algo(request))

    def order_message(self, request: Request, wire_id: str, now_ms: int) -> bytes | None:
        """Return NEW, AMEND or CANCEL as a message; None for stop orders and all else."""
        return requests.order_message(request, wire_id, now_ms, self._rest.codes)

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        """Return a request as REST calls; those of CANCEL_ALL go on with ``next_page``."""
        return self._rest.order_call(request, wire_id, now_ms)

    def query_calls(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int, now_ms: int
    ) -> Sequence[Call]:
        """Return the calls whose answers together tell all of ``query``."""
        return self._rest.query_calls(query, instruments, since_ms, now_ms)

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        """Return the call for what ``body`` left out; None if it was the last page."""
        return self._rest.next_page(call, body, now_ms)

    def dead_man_calls(
        self, timeout_s: float, instruments: Sequence[Instrument], now_ms: int
    ) -> Sequence[Call]:
        """Return the call that arms the account's countdown anew; 0 disarms it."""
        return self._rest.dead_man_calls(timeout_s, now_ms)

    def time_call(self) -> Call:
        """Return the call for the venue's clock."""
        return Call("GET", "/api/v5/public/time", costs=limits.costs(limits.TIME))

    def parse_time(self, body: bytes) -> int:
        """Return the venue's clock, Unix ms."""
        return answers.parse_time(body)

    # -- sessions ---------------------------------------------------------------------------
    def ws_url(self, route: str, environment: Endpoints, stream_key: str) -> str:
        """Return the URL of a route."""
        orders = environment.websocket[ROUTE_ORDERS]
        if route == ROUTE_ORDERS:
            return orders
        return f"{orders.rpartition('/')[0]}/{endpoints.ROUTE_BUSINESS}"

    def login(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return the login."""
        return [session.login(self._identity, now_ms)]

    def subscriptions(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return a subscription for each channel of a route."""
        return session.subscriptions(route)

    def ping(self, now_ms: int) -> tuple[bytes, float]:
        """Return the keep-alive, a text of its own, and how often it is due (s)."""
        return b"ping", session.PING_S

    def stream_key_calls(self, stream_key: str, now_ms: int) -> tuple[Sequence[Call], float]:
        """Return nothing: OKX has no stream keys."""
        return (), 0.0

    def parse_stream_key(self, body: bytes) -> str:
        """Return nothing: OKX has no stream keys."""
        return ""

    # -- what the venue says -------------------------------------------------------------------
    def read(
        self, route: str, message: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Event]:
        """Return what a WebSocket message says; ValueError for what cannot be read."""
        return events.read(message, instruments)

    def read_answer(
        self,
        call: Call,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        instruments: Mapping[str, Instrument],
    ) -> Sequence[Event]:
        """Return what the answer to a call says."""
        return answers.read_answer(call, status, body, instruments)

    def read_page(
        self, query: Query, call: Call, body: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Update | Notice]:
        """Return what an answer to a query says."""
        if query == Query.INSTRUMENTS:
            self._rest.codes |= answers.read_codes(body)
            return ()
        return answers.read_page(query, call, body, instruments)

    def usage(
        self, headers: Mapping[str, str], message: bytes | None = None
    ) -> Sequence[tuple[Cost, int]]:
        """Return nothing: OKX does not tell what is used."""
        return ()


def _check_new(request: Request, spot: bool) -> str:
    stop = request.order_type >= OrderType.STOP_MARKET
    tif = request.time_in_force
    if common := check_new(request, "OKX", endpoints.DIALECT.times_in_force):
        return common
    if stop and tif != TimeInForce.GTC:
        return f"stop orders cannot be {tif.name}"
    if stop and request.flags & RequestFlag.QUOTE_QUANTITY:
        return "stop orders have their quantity in the base currency"
    if stop and spot and request.trigger != Trigger.LAST:
        return "stop orders of spot pairs look at the last price"
    if stop and request.self_trade:
        return "OKX takes no self-trade prevention with a stop order: the account's is in force"
    if request.self_trade == SelfTrade.NONE:
        return "OKX does not let orders of one account trade with each other"
    if request.self_trade == SelfTrade.CANCEL_BOTH and tif == TimeInForce.FOK:
        return "FOK orders cannot cancel both sides of a self-trade"
    return ""
