"""The WebSocket APIs of Binance, ``/ws-api/v3`` and ``/ws-fapi/v1``: orders by socket.

A request's payload is all of its parameters but the signature, sorted by name, their values as on
the wire and not percent-encoded. Source: binance-spot-api-docs web-socket-api.md (2026-07).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateways.simulator.account import Account
from gateways.simulator.binance import codes, wire
from gateways.simulator.binance.codes import ApiError
from gateways.simulator.binance.desk import Desk, Operation, Result, Security
from gateways.simulator.binance.parameters import Parameters
from gateways.simulator.binance.private_rest import fault_error
from gateways.simulator.binance.user_stream import ACCOUNT, Subscription
from gateways.simulator.faults import NO_FAULT, RequestFate
from gateways.simulator.hub import Client
from gateways.simulator.private import load_public_key
from gateways.simulator.session import Session

if TYPE_CHECKING:
    from gateways.simulator.binance.venue import BinanceVenue

CONNECT_WEIGHT = 2
SUBSCRIPTIONS_MOST = 1000
_NO_REQUEST = (-1135, "Invalid JSON Request")
_MINE = ("apiKey", "signature", "timestamp", "recvWindow", "returnRateLimits")
"""Parameters that the API reads, not the operation."""
_PUBLIC = {
    "ping": "ping",
    "time": "time",
    "exchangeInfo": "exchangeInfo",
    "depth": "depth",
    "ticker.price": "ticker/price",
    "ticker.book": "ticker/bookTicker",
    "ticker.24hr": "ticker/24hr",
}
"""Methods that have a public REST endpoint of the same meaning."""


class ApiSession(Session):
    """The server's end of one connection to the WebSocket API."""

    def __init__(self, venue: "BinanceVenue", number: int, *, tells_limits: bool) -> None:
        super().__init__(venue, number)
        self.venue: BinanceVenue = venue
        # Requests cost weight here; their number is not limited.
        self._rules = replace(venue.rules, messages_per_second=0)
        self._tells_limits = tells_limits
        self._remote = ""
        self._account: Account | None = None
        self._since_ms = 0
        self._opened_ms = venue.now_ms()
        self._subscriptions: dict[int, Subscription] = {}
        self._last_subscription = -1
        desk = venue.desk
        assert desk is not None
        self._desk: Desk = desk
        self._own: dict[str, Callable[[Parameters, Account | None], Any]] = {
            "session.logon": self._log_on,
            "session.status": self._status,
            "session.logout": self._log_out,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe,
            "userDataStream.unsubscribe": self._unsubscribe,
            "session.subscriptions": self._subscribed,
        }

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold the connection until one side ends it."""
        self._remote = request.remote or ""
        self.venue.rest.budget(self._remote).spend(CONNECT_WEIGHT, time.time())
        try:
            return await super().serve(request)
        finally:
            self._forget_all()

    def announce(self, client: Client) -> None:
        """Send the shutdown event."""
        event = {"event": {"e": "serverShutdown", "E": self.venue.now_ms()}}
        client.control(orjson.dumps(event))

    def _forget_all(self) -> None:
        stream = self.venue.user_stream
        for subscription in self._subscriptions.values():
            assert stream is not None
            stream.detach(subscription)
        self._subscriptions.clear()

    # Requests.

    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a request."""
        try:
            request = wire.parse(data)
        except ValueError:
            request = None
        number: int | str | None = None
        parameters: dict[str, str] = {}
        tells = self._tells_limits
        operation: Operation | None = None
        account: Account | None = None
        fate = NO_FAULT
        status, body = 200, None
        try:
            if not isinstance(request, dict):
                raise ApiError(*_NO_REQUEST)
            number = wire.number(request.get("id"))
            method, sent = request.get("method"), request.get("params")
            if not isinstance(method, str):
                raise ApiError(*_NO_REQUEST)
            if "id" not in request:
                raise ApiError(*wire.ID_ERROR)
            if isinstance(sent, dict):
                parameters = {name: wire.text(value) for name, value in sent.items()}
            tells = tells and parameters.get("returnRateLimits", "true") == "true"
            operation = self._desk.operations.get(method)
            if operation is None or operation.security is Security.NONE:
                operation = None
                body = self._call(method, parameters)
            else:
                self._spend(operation.cost(Parameters(parameters)))
                account = self._admit(parameters, operation.security)
                fate, body = self._act(operation, account, parameters)
        except ApiError as error:
            status, body = error.status, error
        if isinstance(body, ApiError):
            status = body.status
        if fate.answer:
            counted = account if operation is not None and operation.orders else None
            reply = self._reply(number, status, body, counted, tells=tells)
            self._send(client, reply, fate, account)

    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""
        client.control(self._reply(None, 400, ApiError(*_NO_REQUEST), None, tells=False))

    def _reply(
        self,
        number: int | str | None,
        status: int,
        body: Any,  # noqa: ANN401 - JSON
        account: Account | None,
        *,
        tells: bool,
    ) -> bytes:
        reply: dict[str, Any] = {"id": number, "status": status}
        if isinstance(body, ApiError):
            reply["error"] = body.body
        else:
            reply["result"] = body
        if tells:
            rest = self.venue.rest
            limits = self._desk.counted(account) if account is not None else []
            weight = {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": rest.limit,
                "count": rest.budget(self._remote).used,
            }
            reply["rateLimits"] = [*limits, weight]
        return orjson.dumps(reply)

    def _send(
        self, client: Client, reply: bytes, fate: RequestFate, account: Account | None
    ) -> None:
        """Send the reply; events come before it or after it, as the fault says."""
        held = 0 if fate.events_first or account is None else account.uid
        if fate.delay_ms > 0.0:
            later = asyncio.get_running_loop().call_later
            later(fate.delay_ms / 1e3, self._send_now, client, reply, held)
        else:
            self._send_now(client, reply, held)

    def _send_now(self, client: Client, reply: bytes, held: int) -> None:
        client.control(reply)
        if held and self.venue.user_stream is not None:
            self.venue.user_stream.feed.release(held)

    def _spend(self, weight: int) -> None:
        now = time.time()
        rest = self.venue.rest
        budget = rest.budget(self._remote)
        status = budget.spend(weight, now)
        if status:
            wait = budget.retry_after(now)
            now_ms = self.venue.now_ms()
            data = {"serverTime": now_ms, "retryAfter": now_ms + wait * 1000}
            raise ApiError(-1003, rest.refusal(status, wait, now), status, data)

    def _admit(self, parameters: dict[str, str], security: Security) -> Account:
        """Return whose request it is; take out what the operation does not read."""
        desk = self._desk
        key = parameters.get("apiKey")
        signed = security is Security.SIGNED
        if key is None and self._account is not None:
            account = self._account
            if signed:
                desk.check_time(Parameters(parameters))
        else:
            if key is None:
                raise codes.missing("apiKey")
            account = desk.account_of(key)
            if signed:
                self._check_signature(account, parameters)
        for name in _MINE:
            parameters.pop(name, None)
        return account

    def _check_signature(self, account: Account, parameters: dict[str, str]) -> None:
        signature = parameters.get("signature")
        if not signature:
            raise codes.missing("signature")
        self._desk.check_time(Parameters(parameters))
        names = sorted(name for name in parameters if name != "signature")
        payload = "&".join(f"{name}={parameters[name]}" for name in names)
        self._desk.check_signature(account, payload.encode(), signature)

    def _act(
        self, operation: Operation, account: Account, parameters: dict[str, str]
    ) -> tuple[RequestFate, Any]:
        desk, stream = self._desk, self.venue.user_stream
        assert stream is not None
        venue = self.venue
        fate = venue.plan.request_fate(venue.name) if operation.changes else NO_FAULT
        if not fate.events_first:
            stream.feed.hold(account.uid)
        body: Any = None
        if fate.act:
            try:
                body = desk.run(operation, account, Parameters(parameters))
            except ApiError as error:
                body = error
            except Exception:
                if not fate.events_first:
                    stream.feed.release(account.uid)
                raise
        stream.leave()
        if fate.status:
            body = fault_error(fate, futures=desk.dialect.futures)
        return fate, body

    # What is not an operation.

    def _call(self, method: str, parameters: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
        if method in _PUBLIC:
            parameters.pop("returnRateLimits", None)
            weight, body = self.venue.rest.public[_PUBLIC[method]](parameters)
            self._spend(weight)
            return body
        own = self._own.get(method)
        if own is None:
            raise ApiError(-1020, "This operation is not supported.")
        self._spend(2)
        account = None
        if method in ("session.logon", "userDataStream.subscribe.signature"):
            key = parameters.get("apiKey")
            if key is None:
                raise codes.missing("apiKey")
            account = self._desk.account_of(key)
            if method == "session.logon" and not _has_ed25519(account):
                raise ApiError(-4056, "HMAC_SHA256 API key is not supported.")
            self._check_signature(account, parameters)
        return own(Parameters(parameters), account)

    def _session(self) -> dict[str, Any]:
        return {
            "apiKey": self._account.key if self._account is not None else None,
            "authorizedSince": self._since_ms or None,
            "connectedSince": self._opened_ms,
            "returnRateLimits": self._tells_limits,
            "serverTime": self.venue.now_ms(),
            "userDataStream": bool(self._subscriptions),
        }

    def _log_on(self, parameters: Parameters, account: Account | None) -> Result:
        self._account, self._since_ms = account, self.venue.now_ms()
        return self._session()

    def _status(self, parameters: Parameters, account: Account | None) -> Result:
        return self._session()

    def _log_out(self, parameters: Parameters, account: Account | None) -> Result:
        left, self._account, self._since_ms = self._account, None, 0
        ended = [n for n, each in self._subscriptions.items() if each.account is left]
        for number in ended:
            self._end(number)
        return self._session()

    def _subscribe(self, parameters: Parameters, account: Account | None) -> Result:
        holder = account or self._account
        if holder is None:
            raise ApiError(*codes.KEY_REJECTED, 401)
        if len(self._subscriptions) >= SUBSCRIPTIONS_MOST:
            raise ApiError(-1191, "Too many subscriptions.")
        if any(each.account is holder for each in self._subscriptions.values()):
            raise ApiError(-2035, "User Data Stream subscription already active.")
        client, stream = self.client, self.venue.user_stream
        assert client is not None
        assert stream is not None
        self._last_subscription += 1
        number = self._last_subscription
        head = b'{"subscriptionId":%d,"event":' % number
        subscription = self._subscriptions[number] = Subscription(holder, client, head, b"}")
        stream.attach(subscription)
        return {"subscriptionId": number}

    def _unsubscribe(self, parameters: Parameters, account: Account | None) -> Result:
        if "subscriptionId" in parameters:
            numbers = [parameters.number("subscriptionId")]
        else:
            numbers = list(self._subscriptions)
        for number in numbers:
            if number in self._subscriptions:
                self._end(number)
        return {}

    def _subscribed(self, parameters: Parameters, account: Account | None) -> Result:
        return [{"subscriptionId": number} for number in self._subscriptions]

    def _end(self, number: int) -> None:
        """End a subscription; its last event says so."""
        stream = self.venue.user_stream
        assert stream is not None
        subscription = self._subscriptions.pop(number)
        event = {"e": "eventStreamTerminated", "E": self.venue.now_ms()}
        stream.send(subscription, ACCOUNT, orjson.dumps(event))
        stream.leave()
        stream.detach(subscription)


def _has_ed25519(account: Account) -> bool:
    if not account.public_key:
        return False
    return isinstance(load_public_key(account.public_key), Ed25519PublicKey)
