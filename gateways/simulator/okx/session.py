"""One WebSocket connection of an OKX client: subscriptions, login, orders, pings, the notice."""

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateways.simulator.account import Account
from gateways.simulator.faults import NO_FAULT, RequestFate
from gateways.simulator.hub import Client, text_frame
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.okx.access import log_in
from gateways.simulator.okx.dialect import PRIVATE_ROUTES, REQUESTS_PER_HOUR, ROUTES, topic_of
from gateways.simulator.okx.orders import OPERATIONS, Operation
from gateways.simulator.okx.rest import broken
from gateways.simulator.rest import ApiError
from gateways.simulator.session import Session

if TYPE_CHECKING:
    from gateways.simulator.okx.venue import OkxVenue

_ID = re.compile(r"^[A-Za-z0-9]{1,32}$")
_NOTICE = "The connection will soon be closed for a service upgrade. Please reconnect."
_NO_CHANNEL = (
    "Wrong URL or {} doesn't exist. "
    "Please use the correct URL, channel and parameters referring to API document."
)
_CHANNEL_REQUESTS = ("subscribe", "unsubscribe")


class OkxSession(Session):
    """The server's end of one connection; ``route`` is the last part of its address."""

    def __init__(self, venue: "OkxVenue", number: int, *, route: str) -> None:
        super().__init__(venue, number)
        self._venue = venue
        self._route = route
        self._requests = SlidingLimit(REQUESTS_PER_HOUR, 3600.0)
        self._account: Account | None = None

    def announce(self, client: Client) -> None:
        """Send the notice of a service upgrade."""
        notice = {"event": "notice", "code": "64008", "msg": _NOTICE, "connId": self.identity}
        client.pending.append(text_frame(orjson.dumps(notice)))

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold the connection until one side ends it, and forget its private channels then."""
        try:
            return await super().serve(request)
        finally:
            if self.client is not None:
                self._venue.private.remove(self.client)

    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a ping or a request."""
        text = data if isinstance(data, str) else data.decode(errors="replace")
        if text == "ping":
            client.control(b"pong")
            return
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        number = request.get("id") if isinstance(request, dict) else None
        if number is not None and not _ID.match(str(number)):
            number = request = None
        operation = request.get("op") if isinstance(request, dict) else None
        if isinstance(operation, str) and operation in OPERATIONS:
            self._order(client, number, request)
            return
        if not _is_request(request):
            self._refuse(client, number, "60012", f"Invalid request: {text}")
            return
        if not self._requests.allow(time.monotonic()):
            self._refuse(client, number, "60014", "Requests too frequent")
            return
        if operation == "login":
            self._log_in(client, number, request["args"])
            return
        for argument in request["args"]:
            if operation == "subscribe":
                self._subscribe(client, number, argument)
            else:
                self._unsubscribe(client, number, argument)

    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""
        self._refuse(client, None, "60012", "Invalid request")

    # Login and orders.

    def _log_in(self, client: Client, number: object, arguments: list[Any]) -> None:
        try:
            if self._account is not None or len(arguments) != 1:
                text = "The WebSocket endpoint does not allow multiple or repeated logins."
                raise ApiError(60031, text)
            if self._route == "public":
                raise ApiError(60028, "The current service doesn't support this feature.")
            self._account = log_in(self._venue.clearing, arguments[0], self._venue.now_ms())
        except ApiError as error:
            self._refuse(client, number, str(error.code), str(error))
            return
        self._reply(client, number, {"event": "login", "msg": "", "code": "0"})

    def _order(self, client: Client, number: object, request: dict[str, Any]) -> None:
        name, account = request["op"], self._account
        begun = time.time_ns() // 1000
        if account is None or self._route != "private":
            code, text = ("60011", "Please log in")
            if account is not None:
                code, text = "60028", "The current service doesn't support this feature."
            self._refuse(client, number, code, text)
            return
        operation, items = OPERATIONS[name], request.get("args")
        head = {"id": "" if number is None else str(number), "op": name}
        if not isinstance(items, list) or (not operation.batch and len(items) != 1):
            self._answer_order(client, head, {"code": "60013", "msg": "Invalid args"}, begun, 0)
            return
        desk, fate = self._venue.desk, NO_FAULT
        result: dict[str, Any]
        try:
            desk.check(account, operation, items, str(request.get("expTime") or ""))
            fate = self._venue.plan.request_fate(self._venue.name)
            result = self._act(account, operation, items, fate)
            if fate.status:
                raise broken(fate.status)
        except ApiError as error:
            result = {"code": str(error.code), "msg": str(error)}
        self._venue.private.flush(account)
        if not fate.answer:
            return
        held = 0 if fate.events_first else account.uid
        if fate.delay_ms > 0.0:
            later = asyncio.get_running_loop().call_later
            later(fate.delay_ms / 1e3, self._answer_order, client, head, result, begun, held)
        else:
            self._answer_order(client, head, result, begun, held)

    def _act(
        self, account: Account, operation: Operation, items: list[Any], fate: RequestFate
    ) -> dict[str, Any]:
        """Do an order request, unless it got lost; keep its events back if they shall be late."""
        feed = self._venue.private.feed
        if not fate.events_first:
            feed.hold(account.uid)
        if not fate.act:
            return {}
        try:
            return self._venue.desk.act(account, operation, items, codes=self._venue.wants_codes)
        except Exception:
            if not fate.events_first:
                feed.release(account.uid)
            raise

    def _answer_order(
        self,
        client: Client,
        head: dict[str, str],
        result: dict[str, Any],
        begun: int,
        held: int,
    ) -> None:
        """Answer an order request; then let go what is held of an account, if any."""
        times = {"inTime": str(begun), "outTime": str(time.time_ns() // 1000)}
        payload = orjson.dumps(head | {"code": "", "msg": "", "data": []} | result | times)
        client.control(payload)
        if held:
            self._venue.private.feed.release(held)

    # Channels.

    def _subscribe(self, client: Client, number: object, argument: dict[str, str]) -> None:
        channel, subject = argument["channel"], _subject(argument)
        if channel in PRIVATE_ROUTES[self._route]:
            self._subscribe_private(client, number, argument)
            return
        markets = self._venue.streams.find(channel, subject)
        if channel not in ROUTES[self._route] or not markets:
            self._refuse_channel(client, number, argument)
            return
        self._confirm(client, number, "subscribe", argument)
        name = topic_of(channel, subject)
        hub = self.venue.hub
        hub.subscribe(client, name)
        markets[0].greet(client, hub.topics[name], channel, self._venue.now_ms())
        self.venue.on_subscribe()

    def _subscribe_private(self, client: Client, number: object, argument: dict[str, str]) -> None:
        account, private = self._account, self._venue.private
        if account is None:
            self._refuse(client, number, "60011", "Please log in")
            return
        channel = argument["channel"]
        try:
            count = private.subscribe(client, account, argument, _repeats(argument))
        except ApiError as error:
            if error.code:
                self._refuse_channel(client, number, argument)
            else:
                count = int(str(error))
                self._tell_count(client, "channel-conn-count-error", channel, count)
            return
        self._confirm(client, number, "subscribe", argument)
        self._tell_count(client, "channel-conn-count", channel, count)
        private.greet(client, account, argument, self._venue.now_ms())

    def _tell_count(self, client: Client, event: str, channel: str, count: int) -> None:
        self._reply(client, None, {"event": event, "channel": channel, "connCount": str(count)})

    def _unsubscribe(self, client: Client, number: object, argument: dict[str, str]) -> None:
        if argument["channel"] in PRIVATE_ROUTES[self._route]:
            if self._account is not None:
                self._venue.private.unsubscribe(client, self._account, argument)
        else:
            self.venue.hub.unsubscribe(client, [topic_of(argument["channel"], _subject(argument))])
        self._confirm(client, number, "unsubscribe", argument)

    def _confirm(
        self, client: Client, number: object, event: str, argument: dict[str, str]
    ) -> None:
        self._reply(client, number, {"event": event, "arg": argument})

    def _refuse_channel(self, client: Client, number: object, argument: dict[str, str]) -> None:
        named = ",".join(f"{name}:{value}" for name, value in argument.items())
        self._refuse(client, number, "60018", _NO_CHANNEL.format(named))

    def _refuse(self, client: Client, number: object, code: str, message: str) -> None:
        self._reply(client, number, {"event": "error", "code": code, "msg": message})

    def _reply(self, client: Client, number: object, reply: dict[str, Any]) -> None:
        head = {} if number is None else {"id": str(number)}
        client.control(orjson.dumps(head | reply | {"connId": self.identity}))


def _subject(argument: dict[str, str]) -> str:
    """Return what a subscription is about: an instrument, an index, or an instrument type."""
    if argument["channel"] == "liquidation-orders":
        return argument.get("instType", "")
    return argument.get("instId", "")


def _repeats(argument: dict[str, str]) -> bool:
    """Whether a subscription wants its state repeated: not with ``updateInterval`` 0."""
    try:
        extra = orjson.loads(argument.get("extraParams") or "{}")
    except orjson.JSONDecodeError:
        return True
    return not isinstance(extra, dict) or str(extra.get("updateInterval", "")) != "0"


def _is_request(request: object) -> bool:
    if not isinstance(request, dict):
        return False
    operation, arguments = request.get("op"), request.get("args")
    if not isinstance(arguments, list) or not arguments:
        return False
    if operation == "login":
        return True
    return operation in _CHANNEL_REQUESTS and all(
        isinstance(argument, dict)
        and "channel" in argument
        and all(isinstance(value, str) for value in argument.values())
        for argument in arguments
    )
