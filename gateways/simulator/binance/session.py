"""One WebSocket connection of a Binance client: subscriptions, limits, the shutdown notice."""

import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import WSCloseCode, web

from gateways.simulator.binance.dialect import envelope_head, is_stream_name
from gateways.simulator.binance.user_stream import ACCOUNT, Subscription
from gateways.simulator.hub import Client, text_frame
from gateways.simulator.session import Session

if TYPE_CHECKING:
    from gateways.simulator.binance.venue import BinanceVenue

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_KEY = re.compile(r"^[A-Za-z0-9]{40,80}$")
_ID_TEXT = re.compile(r"^[A-Za-z0-9_-]{1,36}$")


class RequestError(Exception):
    """A control message that the venue refuses, in its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BinanceSession(Session):
    """The server's end of one connection.

    ``route`` is the part of the address that limits what is carried (USDⓈ-M), or empty; ``streams``
    are those that the address names, listen keys among them; ``events`` the only private events
    that are wanted, empty for all.
    """

    def __init__(
        self,
        venue: "BinanceVenue",
        number: int,
        *,
        route: str,
        streams: list[str],
        wrapped: bool,
        events: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(venue, number, wrapped=wrapped)
        self.venue: BinanceVenue = venue
        self._events = events
        self._listening: dict[str, Subscription] = {}
        self.dialect = venue.dialect
        self.route = route
        self.streams: dict[str, None] = {}
        self._wanted = streams

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold the connection until one side ends it."""
        try:
            return await super().serve(request)
        finally:
            for key in list(self._listening):
                self._stop_listening(key)

    def key_expired(self, key: str) -> None:
        """Say that a listen key is no longer valid; nothing comes under it any more."""
        subscription = self._listening.get(key)
        stream = self.venue.user_stream
        if subscription is None or stream is None:
            return
        event = {"e": "listenKeyExpired", "E": self.venue.now_ms(), "listenKey": key}
        stream.send(subscription, ACCOUNT, orjson.dumps(event))
        stream.leave()
        self._stop_listening(key)

    def _listen(self, client: Client, key: str) -> bool:
        """Hear of the account of a listen key; return whether it is one."""
        keys, stream = self.venue.keys, self.venue.user_stream
        account = keys.owner(key) if keys is not None else None
        if account is None or stream is None:
            return False
        head = envelope_head(key) if client.wrapped else b""
        tail = b"}" if client.wrapped else b""
        subscription = Subscription(account, client, head, tail, self._events)
        self._listening[key] = subscription
        stream.attach(subscription)
        return True

    def _stop_listening(self, key: str) -> None:
        subscription, stream = self._listening.pop(key, None), self.venue.user_stream
        if subscription is not None and stream is not None:
            stream.detach(subscription)

    def opened(self, client: Client) -> None:
        """Subscribe to what the address names."""
        if len(self._wanted) > self.dialect.streams_per_connection:
            self.close(WSCloseCode.POLICY_VIOLATION, b"too many streams")
        else:
            self._subscribe(client, self._wanted)

    def announce(self, client: Client) -> None:
        """Send the shutdown event."""
        event = b'{"e":"serverShutdown","E":%d}' % self.venue.now_ms()
        if client.wrapped:
            event = b"%b%b}" % (envelope_head("!serverShutdown"), event)
        client.pending.append(text_frame(event))

    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a control message."""
        try:
            request = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            text = f"Invalid JSON: expected value at line {error.lineno} column {error.colno}"
            client.control(orjson.dumps({"error": {"code": 3, "msg": text}}))
            if self.dialect.futures:
                self.close(WSCloseCode.POLICY_VIOLATION, b"Invalid JSON")
            return
        number = request.get("id") if isinstance(request, dict) else None
        try:
            result = self._result(client, request)
        except RequestError as error:
            reply = {"error": {"code": error.code, "msg": str(error)}, "id": number}
            client.control(orjson.dumps(reply))
        else:
            client.control(orjson.dumps({"result": result, "id": number}))

    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""
        reply = {"error": {"code": 2, "msg": "Invalid request"}, "id": None}
        client.control(orjson.dumps(reply))

    def _result(self, client: Client, request: Any) -> Any:  # noqa: ANN401 - JSON
        if not isinstance(request, dict) or "method" not in request:
            raise RequestError(2, "Invalid request: missing field `method` at line 1 column 1")
        method, number = request["method"], request.get("id")
        if method not in _METHODS:
            known = ", ".join(f"`{name}`" for name in _METHODS)
            text = f"unknown variant `{method}`, expected one of {known} at line 1 column 28"
            raise RequestError(2, f"Invalid request: {text}")
        if "id" not in request or not _is_id(number):
            raise RequestError(2, "Invalid request: request ID must be an unsigned integer")
        parameters = request.get("params", [])
        if not isinstance(parameters, list):
            raise RequestError(2, "Invalid request: params must be an array")
        if method == "LIST_SUBSCRIPTIONS":
            if parameters:
                raise RequestError(2, "Invalid request: too many parameters")
            return list(self.streams)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(client, method, parameters)
        if not all(isinstance(name, str) and _is_name(name) for name in parameters):
            raise RequestError(2, "Invalid request: invalid stream")
        if method == "SUBSCRIBE":
            together = len(self.streams.keys() | set(parameters))
            if together > self.dialect.streams_per_connection:
                raise RequestError(2, "Invalid request: too many streams")
            self._subscribe(client, parameters)
        else:
            self.venue.hub.unsubscribe(client, parameters)
            for name in parameters:
                self.streams.pop(name, None)
                self._stop_listening(name)
        return None

    def _property(self, client: Client, method: str, parameters: list[Any]) -> bool | None:
        if not parameters or not isinstance(parameters[0], str):
            raise RequestError(2, "Invalid request: property name must be a string")
        if parameters[0] != "combined":
            raise RequestError(0, "Unknown property")
        if len(parameters) > (2 if method == "SET_PROPERTY" else 1):
            raise RequestError(2, "Invalid request: too many parameters")
        if method == "GET_PROPERTY":
            return client.wrapped
        if len(parameters) < 2 or not isinstance(parameters[1], bool):
            raise RequestError(1, "Invalid value type: expected Boolean")
        client.wrapped = parameters[1]
        return None

    def _subscribe(self, client: Client, names: list[str]) -> None:
        for name in names:
            self.streams[name] = None
            if name in self._listening or self._listen(client, name):
                continue
            # A stream that does not exist, or not on this route, is taken and stays silent.
            if self.dialect.carries(self.route, name):
                self.venue.hub.subscribe(client, name)
        if names:
            self.venue.on_subscribe()


def _is_name(name: str) -> bool:
    """Whether it can be subscribed to: a stream, or a listen key."""
    return is_stream_name(name) or _KEY.match(name) is not None


def _is_id(number: object) -> bool:
    if number is None:
        return True
    if isinstance(number, str):
        return _ID_TEXT.match(number) is not None
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
