"""The private WebSocket addresses of Bybit v5: ``/v5/private`` (topics) and ``/v5/trade`` (orders).

Sources: the venue's pages ``ws/connect``, ``websocket/private`` and ``websocket/trade/guideline``.
"""

import asyncio
import time
from abc import abstractmethod
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateways.simulator.bybit.codes import (
    PARAMETER,
    REPEATED_REQUEST,
    SIGNATURE,
    UNKNOWN_OPERATION,
)
from gateways.simulator.bybit.desk import PRODUCTS, Desk, Member
from gateways.simulator.bybit.limits import headers
from gateways.simulator.bybit.orders import Orders
from gateways.simulator.bybit.private_rest import Answer, broken, check_clock, spend
from gateways.simulator.bybit.shapes import Row
from gateways.simulator.bybit.terms import text_of
from gateways.simulator.digits import whole
from gateways.simulator.faults import RequestFate
from gateways.simulator.hub import Client
from gateways.simulator.private import PrivateFeed, verify
from gateways.simulator.rest import ApiError
from gateways.simulator.session import Session

if TYPE_CHECKING:
    from gateways.simulator.bybit.venue import BybitVenue

ACTIVE_S = (30.0, 600.0)
"""Bounds of ``max_active_time``."""
REQUEST_ID_MOST = 36
REQUEST_IDS_KEPT = 100_000
_UNITS = {"s": 1.0, "m": 60.0}
_WHOLE = ("order", "execution", "execution.fast", "position", "wallet", "greeks", *PRODUCTS)
_BY_CATEGORY = {
    "order": ("linear", "inverse", "spot", "option"),
    "execution": ("linear", "inverse", "spot", "option"),
    "execution.fast": ("linear", "inverse"),
    "position": ("linear", "inverse", "option"),
}
TOPICS = {
    *_WHOLE,
    "dcp.option",
    *(f"{topic}.{category}" for topic, some in _BY_CATEGORY.items() for category in some),
}


def active_time(request: web.Request) -> float:
    """Return after how many silent seconds the client wants to be cut; 0 if it does not say."""
    text = request.query.get("max_active_time", "")
    number, unit = text[:-1], text[-1:]
    count = whole(number)
    if unit not in _UNITS or count is None:
        return 0.0
    wanted = count * _UNITS[unit]
    return wanted if ACTIVE_S[0] <= wanted <= ACTIVE_S[1] else 0.0


class SignedSession(Session):
    """A connection that must prove whose it is: ``op`` is ``auth``."""

    def __init__(self, venue: "BybitVenue", number: int, desk: Desk, active_s: float) -> None:
        super().__init__(venue, number)
        self.desk = desk
        self.member: Member | None = None
        if active_s:
            self._rules = replace(self._rules, silence_s=active_s)

    @property
    def identity(self) -> str:
        """The connection's name in answers."""
        plain = super().identity
        return f"c{plain}{plain[::-1]}-{self.number:x}"

    def answer(self, client: Client, data: str | bytes) -> None:
        """Answer a request."""
        try:
            request = orjson.loads(data)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self.refuse(client, {}, ApiError(PARAMETER, "Params Error"))
            return
        operation = request.get("op")
        try:
            if operation == "ping":
                self.pong(client, request)
            elif operation == "auth":
                self.authenticate(request)
                self.welcome(client, request)
            else:
                self.serve_request(client, request)
        except ApiError as error:
            self.refuse(client, request, error)

    def authenticate(self, request: Row) -> None:
        """Find out whose connection it is; raises ApiError."""
        given = request.get("args")
        if not isinstance(given, list) or len(given) != 3:
            raise ApiError(PARAMETER, "Params Error")
        key, expires, sign = (str(part) for part in given)
        if (whole(expires) or 0) <= self.venue.now_ms():
            raise ApiError(PARAMETER, "Params Error")
        if self.member is not None:
            raise ApiError(20001, "Repeat auth")
        member = self.desk.member(key)
        if member is None:
            raise ApiError(10003, "Invalid apikey")
        account = next(iter(member.accounts.values()))
        if not verify(account, f"GET/realtime{expires}".encode(), sign):
            raise ApiError(SIGNATURE, "Invalid sign")
        self.member = member

    @abstractmethod
    def welcome(self, client: Client, request: Row) -> None:
        """Say that the connection is known."""

    @abstractmethod
    def refuse(self, client: Client, request: Row, error: ApiError) -> None:
        """Say that a request is refused."""

    def refuse_broken(self, client: Client) -> None:
        """Refuse a message that could not be answered."""
        self.refuse(client, {}, ApiError(PARAMETER, "Params Error"))

    @abstractmethod
    def pong(self, client: Client, request: Row) -> None:
        """Answer a ping."""

    @abstractmethod
    def serve_request(self, client: Client, request: Row) -> None:
        """Answer anything else; raises ApiError."""


class PrivateSession(SignedSession):
    """A connection to ``/v5/private``."""

    def welcome(self, client: Client, request: Row) -> None:
        """Say that the connection is known."""
        self._reply(client, request, "")

    def refuse(self, client: Client, request: Row, error: ApiError) -> None:
        """Say that a request is refused."""
        self._reply(client, request, str(error), good=False)

    def pong(self, client: Client, request: Row) -> None:
        """Answer a ping."""
        reply: Row = {"op": "pong", "args": [str(self.venue.now_ms())], "conn_id": self.identity}
        if "req_id" in request:
            reply = {"req_id": request["req_id"]} | reply
        client.control(orjson.dumps(reply))

    def serve_request(self, client: Client, request: Row) -> None:
        """Answer a request for topics; nothing of a wrong one is done. Raises ApiError."""
        operation, topics = request.get("op"), request.get("args")
        if operation not in ("subscribe", "unsubscribe"):
            raise ApiError(PARAMETER, f"error:unknown op {operation}")
        if self.member is None:
            raise ApiError(PARAMETER, "Request not authorized")
        if not isinstance(topics, list) or not all(isinstance(name, str) for name in topics):
            raise ApiError(PARAMETER, "Params Error")
        for name in topics:
            if name not in TOPICS:
                raise ApiError(PARAMETER, f"error:handler not found,topic:{name}")
        wholes = {name for name in topics if name in _BY_CATEGORY}
        if any(name.rpartition(".")[0] in wholes and name not in _WHOLE for name in topics):
            raise ApiError(PARAMETER, "error:all-in-one and categorised topics in one request")
        self._reply(client, request, "")
        for name in topics:
            if operation == "unsubscribe":
                self.member.feed.unsubscribe(client, name)
                continue
            self.member.feed.subscribe(client, name)
            self.desk.guard(self.member, client, name)
        self.venue.on_subscribe()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold the connection until one side ends it."""
        try:
            return await super().serve(request)
        finally:
            if self.member is not None and self.client is not None:
                self.member.feed.remove(self.client)
                self.desk.unguard(self.member, self.client)

    def _reply(self, client: Client, request: Row, message: str, *, good: bool = True) -> None:
        reply: Row = {"success": good, "ret_msg": message, "op": request.get("op", "")}
        if "req_id" in request:
            reply["req_id"] = request["req_id"]
        client.control(orjson.dumps(reply | {"conn_id": self.identity}))


class TradeSession(SignedSession):
    """A connection to ``/v5/trade``."""

    def __init__(self, venue: "BybitVenue", number: int, desk: Desk, active_s: float) -> None:
        super().__init__(venue, number, desk, active_s)
        self._orders = Orders(desk)
        self._ids: set[str] = set()
        self._order_of_ids: deque[str] = deque()

    def welcome(self, client: Client, request: Row) -> None:
        """Say that the connection is known."""
        self._send(client, self._reply(request, 0, "OK"))

    def refuse(self, client: Client, request: Row, error: ApiError) -> None:
        """Say that a request is refused."""
        reply = self._reply(request, error.code, str(error))
        if request.get("op") != "auth":
            reply |= {"data": {}, "retExtInfo": {}, "header": self._header({})}
        self._send(client, reply)

    def pong(self, client: Client, request: Row) -> None:
        """Answer a ping."""
        reply = self._reply(request, 0, "OK") | {"op": "pong", "data": [str(self.venue.now_ms())]}
        self._send(client, reply)

    def serve_request(self, client: Client, request: Row) -> None:
        """Answer an order request; raises ApiError."""
        if self.member is None:
            raise ApiError(10003, "Request not authorized, please auth first")
        kind = str(request.get("op", "")).removeprefix("order.")
        batch = kind.endswith("-batch")
        name = kind.removesuffix("-batch")
        if f"order.{kind}" != request.get("op") or name not in ("create", "amend", "cancel"):
            raise ApiError(UNKNOWN_OPERATION, "op type is not found")
        self._check_id(request)
        header = request.get("header")
        if not isinstance(header, dict):
            raise ApiError(PARAMETER, "Params Error")
        now_ms = self.venue.now_ms()
        window = str(header.get("X-BAPI-RECV-WINDOW", ""))
        check_clock(str(header.get("X-BAPI-TIMESTAMP", "")), window, now_ms)
        given = request.get("args")
        if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
            raise ApiError(PARAMETER, "Params Error")
        category = text_of(given[0], "category")
        venue = self.desk.venues.get(category)
        if venue is None:
            raise ApiError(UNKNOWN_OPERATION, "category is not correct")
        self._perform(client, request, kind, name, batch, given[0], category, venue.name)

    def _perform(
        self,
        client: Client,
        request: Row,
        kind: str,
        name: str,
        batch: bool,
        parameters: Row,
        category: str,
        at: str,
    ) -> None:
        assert self.member is not None
        now_ms = self.venue.now_ms()
        limit = self.member.limits.of(kind, category)
        fate = RequestFate()
        answer: Answer = {}, {}
        code, message = 0, "OK"
        try:
            if not batch:
                spend(limit, now_ms)
            fate = self.venue.plan.request_fate(at)
            if not fate.events_first:
                self.member.feed.hold()
            if fate.act and batch:
                answer = self._orders.batch(self.member, name, parameters)
            elif fate.act:
                answer = self._orders.operations[name](self.member, parameters), {}
            if fate.status:
                raise broken(fate.status)
        except ApiError as error:
            code, message, answer = error.code, str(error), ({}, {})
        except Exception:
            if not fate.events_first:
                self.member.feed.release()
            raise
        reply = self._reply(request, code, message)
        reply |= {"data": answer[0], "retExtInfo": answer[1]}
        reply["header"] = self._header(headers(limit, now_ms))
        self.member.feed.flush()
        if not fate.answer:
            return
        held = None if fate.events_first else self.member.feed
        if fate.delay_ms > 0.0:
            later = asyncio.get_running_loop().call_later
            later(fate.delay_ms / 1e3, self._send, client, reply, held)
        else:
            self._send(client, reply, held)

    def _check_id(self, request: Row) -> None:
        """Refuse a ``reqId`` that is too long or has been used on this connection."""
        number = request.get("reqId")
        if number is None or number == "":
            return
        if not isinstance(number, str) or len(number) > REQUEST_ID_MOST:
            raise ApiError(PARAMETER, "Params Error")
        if number in self._ids:
            raise ApiError(REPEATED_REQUEST, "reqId is duplicated")
        if len(self._order_of_ids) >= REQUEST_IDS_KEPT:
            self._ids.discard(self._order_of_ids.popleft())
        self._ids.add(number)
        self._order_of_ids.append(number)

    def _header(self, known: dict[str, str]) -> Row:
        now_ms = self.venue.now_ms()
        return known | {"Traceid": f"{time.monotonic_ns():032x}", "Timenow": str(now_ms)}

    def _reply(self, request: Row, code: int, message: str) -> Row:
        reply: Row = {"reqId": request["reqId"]} if "reqId" in request else {}
        reply |= {"retCode": code, "retMsg": message, "op": request.get("op", "")}
        return reply

    def _send(self, client: Client, reply: dict[str, Any], held: PrivateFeed | None = None) -> None:
        """Send an answer; then let go what a feed holds for it, if one does."""
        client.control(orjson.dumps(reply | {"connId": self.identity}))
        if held is not None:
            held.release()
