"""Bybit's orders: contracts (linear and inverse) and spot, one adapter each.

Two venues, because their native symbols collide: ``BTCUSDT`` is a perpetual and a spot pair. They
share an account: each adapter tells only of its own categories, and both of the balances.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from engine.common import Endpoints, Exchange, OrderType
from engine.secrets import Secret
from gateways.adapter import Call, Cost, Dialect, Identity, Limit, Query
from gateways.bybit import answers, endpoints, events, limits, requests, session
from gateways.dialects import SPOT, check_new
from gateways.message import Event, Instrument, Notice, Request, Update
from gateways.signing import Sign, hmac_hex, rsa_base64
from gateways.types import Action, MarginMode, RequestFlag, Trigger

__all__ = ["Bybit", "BybitSpot"]


class Bybit:
    """``gateways.adapter.OrderAdapter`` for Bybit's linear and inverse contracts."""

    signers: ClassVar[Mapping[str, Callable[[Secret], Sign]]] = {
        "hmac": hmac_hex,
        "rsa": rsa_base64,
    }
    _spot: ClassVar[bool] = False

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._rest = requests.Rest(identity, self._spot)
        self._reader = events.Reader(self._spot)
        self._reader.leverages = self._rest.leverages

    @property
    def exchange(self) -> Exchange:
        """Return the venue's constants."""
        return endpoints.BYBIT_SPOT if self._spot else endpoints.BYBIT

    @property
    def dialect(self) -> Dialect:
        """Return how the venue's orders behave."""
        return endpoints.DIALECT

    @property
    def limits(self) -> Sequence[Limit]:
        """Return every limit that our requests run into."""
        return limits.SPOT_LIMITS if self._spot else limits.CONTRACT_LIMITS

    def check(self, request: Request) -> str:
        """Return why Bybit has no such order or operation; empty if it does."""
        instrument, action = request.instrument, request.action
        if action in (Action.CANCEL_ALL, Action.RECONCILE):
            return ""
        if instrument is None:
            return "no instrument"
        if (instrument.kind == SPOT) is not self._spot:
            return f"{instrument.native} is not of this market"
        if action in (Action.LEVERAGE, Action.MARGIN_MODE) and self._spot:
            return "leverage of spot pairs is not supported"
        if action == Action.MARGIN_MODE and not self._rest.leverage_of(request):
            return "Bybit sets the leverage with the margin mode: set the leverage first"
        if action == Action.AMEND and request.flags & RequestFlag.CANCEL_IF_AMEND_FAILS:
            return "Bybit cannot cancel an order whose amendment fails"
        return _check_new(request, self._spot) if action == Action.NEW else ""

    # -- requests ---------------------------------------------------------------------------
    def costs(self, request: Request) -> Sequence[Cost]:
        """Return what a request takes from the limits."""
        return limits.request_costs(request)

    def order_message(self, request: Request, wire_id: str, now_ms: int) -> bytes | None:
        """Return NEW, AMEND or CANCEL as a message of the trade connection."""
        if request.action == Action.AMEND:
            self._reader.amends.ask(request, wire_id)
        return requests.order_message(request, wire_id, now_ms)

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        """Return a request as REST calls."""
        if request.action == Action.AMEND:
            self._reader.amends.ask(request, wire_id)
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
        """Return the call that sets the window of the disconnection protect; 0: none."""
        return self._rest.dead_man_calls(timeout_s, now_ms)

    def time_call(self) -> Call:
        """Return the call for the venue's clock."""
        return Call("GET", "/v5/market/time", costs=(Cost(limits.ADDRESS),))

    def parse_time(self, body: bytes) -> int:
        """Return the venue's clock, Unix ms."""
        return answers.parse_time(body)

    # -- sessions ---------------------------------------------------------------------------
    def ws_url(self, route: str, environment: Endpoints, stream_key: str) -> str:
        """Return the URL of a route."""
        return environment.websocket[route]

    def login(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return the login."""
        return [session.login(self._identity, now_ms)]

    def subscriptions(self, route: str, now_ms: int) -> Sequence[bytes]:
        """Return the subscriptions; none on the route of orders."""
        return session.subscriptions(route, self._spot)

    def ping(self, now_ms: int) -> tuple[bytes, float]:
        """Return the keep-alive message and how often it is due (s)."""
        return session.PING, session.PING_S

    def stream_key_calls(self, stream_key: str, now_ms: int) -> tuple[Sequence[Call], float]:
        """Return nothing: Bybit has no stream keys."""
        return (), 0.0

    def parse_stream_key(self, body: bytes) -> str:
        """Return nothing: Bybit has no stream keys."""
        return ""

    # -- what the venue says -------------------------------------------------------------------
    def read(
        self, route: str, message: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Event]:
        """Return what a WebSocket message says; ValueError for what cannot be read."""
        return self._reader.read(message, instruments)

    def read_answer(
        self,
        call: Call,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        instruments: Mapping[str, Instrument],
    ) -> Sequence[Event]:
        """Return what the answer to a call says."""
        answer = answers.read_answer(call, status, headers, body, instruments)
        self._reader.amends.answered(answer)
        return (answer,)

    def read_page(
        self, query: Query, call: Call, body: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Update | Notice]:
        """Return what an answer to a query says."""
        return answers.read_page(query, body, instruments)

    def usage(
        self, headers: Mapping[str, str], message: bytes | None = None
    ) -> Sequence[tuple[Cost, int]]:
        """Return what an answer of the trade connection says is used of its limit.

        The headers of REST do not name the limit that they are of.
        """
        return self._reader.usage(message) if message is not None else ()


class BybitSpot(Bybit):
    """``gateways.adapter.OrderAdapter`` for Bybit spot."""

    _spot: ClassVar[bool] = True


def _check_new(request: Request, spot: bool) -> str:
    if common := check_new(request, "Bybit", endpoints.DIALECT.times_in_force):
        return common
    stop = request.order_type >= OrderType.STOP_MARKET
    if stop and spot and request.trigger != Trigger.LAST:
        return "stop orders of spot pairs look at the last price"
    if spot and request.margin_mode == MarginMode.ISOLATED:
        return "spot orders cannot be isolated"
    return ""
