"""A trivial venue with a dialect of its own: the example of a gateway for another venue.

``ToyVenue`` is a JSON server over aiohttp: one WebSocket for orders, one for private events, REST
for both and for queries. ``Toy`` is its ``gateways.adapter.OrderAdapter``: what a package must
have, announced by an entry point of the group ``trade_infra.gateways``, so that
``kind = "gateway", venue = "toy"`` finds it.

The venue matches nothing: a test says what happens (``fill``, ``end``), and what goes wrong
(the attributes below ``# Faults``).
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from engine.common import Endpoints, Exchange, OrderType, RateLimits, TimeInForce
from gateways.adapter import (
    ROUTE_ORDERS,
    ROUTE_PRIVATE,
    Amend,
    Call,
    Cost,
    Dialect,
    Identity,
    Limit,
    Query,
)
from gateways.message import (
    Answer,
    Event,
    Instrument,
    Notice,
    NoticeKind,
    Request,
    Update,
    Verdict,
)
from gateways.numbers import amount, to_mantissa, to_text, trade_number
from gateways.types import Action, OrderStatus, Reason, ReportKind

KEY, SECRET = "toy-key", "toy-secret"
SYMBOLS = ("AAA", "BBB")

_STATUS = {
    "open": OrderStatus.OPEN,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "rejected": OrderStatus.REJECTED,
}
_ERRORS = {
    1: (Verdict.REFUSED, Reason.BALANCE),
    2: (Verdict.EXISTS, Reason.DUPLICATE_ID),
    3: (Verdict.GONE, Reason.UNKNOWN_ORDER),
    4: (Verdict.LIMITED, Reason.RATE_LIMIT),
    5: (Verdict.UNKNOWN, Reason.VENUE_UNSURE),
    6: (Verdict.RETRY, Reason.BUSY),
    7: (Verdict.REFUSED, Reason.TIMESTAMP),
}
"""The venue's codes: what each means for the request, and why."""


# -- the dialect ----------------------------------------------------------------------------------
class Toy:
    """``gateways.adapter.OrderAdapter`` for the toy venue."""

    exchange = Exchange(
        "toy",
        "Toy",
        {"live": Endpoints("http://toy", {"orders": "ws://toy/orders", "private": "ws://toy/p"})},
        RateLimits(connection_hours=24),
    )
    dialect = Dialect(
        times_in_force=frozenset({TimeInForce.GTC, TimeInForce.IOC}),
        amend_needs_both=True,
        amend_below_filled=Amend.REFUSED,
        not_found_after_s=1.5,
        dead_man="account",
        dead_man_s=(1.0, 60.0),
    )
    limits: Sequence[Limit] = (Limit("orders", 1000, 1.0, aligned=False, per="account"),)

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def _signed(self, body: dict[str, Any], now_ms: int) -> bytes:
        text = json.dumps(body | {"time": now_ms, "key": self._identity.key.reveal()})
        return json.dumps({"body": text, "sign": self._identity.sign(text.encode())}).encode()

    def _call(self, op: str, body: dict[str, Any], now_ms: int, wire_id: str = "") -> Call:
        payload = self._signed({"op": op, "id": wire_id} | body, now_ms)
        return Call("POST", f"/{op}", body=payload, wire_id=wire_id, tag=op)

    def check(self, request: Request) -> str:
        if request.action == Action.NEW and request.order_type >= OrderType.STOP_MARKET:
            return "no such order type"
        return ""

    def costs(self, request: Request) -> Sequence[Cost]:
        return (Cost("orders"),)

    def _terms(self, request: Request) -> dict[str, Any]:
        terms: dict[str, Any] = {"client": request.client_text, "order": request.venue_id}
        if (instrument := request.instrument) is not None:
            terms["symbol"] = instrument.native
            terms["price"] = to_text(request.price, instrument.price_decimals)
            terms["quantity"] = to_text(request.quantity, instrument.quantity_decimals)
        return terms | {"side": "buy" if request.side > 0 else "sell"}

    def order_message(self, request: Request, wire_id: str, now_ms: int) -> bytes | None:
        if request.action not in (Action.NEW, Action.AMEND, Action.CANCEL):
            return None
        op = request.action.name.lower()
        return self._signed({"op": op, "id": wire_id} | self._terms(request), now_ms)

    def order_call(self, request: Request, wire_id: str, now_ms: int) -> Sequence[Call]:
        return (self._call(request.action.name.lower(), self._terms(request), now_ms, wire_id),)

    def query_calls(
        self, query: Query, instruments: Sequence[Instrument], since_ms: int, now_ms: int
    ) -> Sequence[Call]:
        if query in (Query.INSTRUMENTS, Query.FUNDING):
            return ()
        return (self._call(str(query), {"since": since_ms, "page": 0}, now_ms),)

    def next_page(self, call: Call, body: bytes, now_ms: int) -> Call | None:
        page = json.loads(body).get("next")
        if page is None:
            return None
        since_ms = json.loads(json.loads(call.body)["body"])["since"]
        return self._call(call.tag, {"since": since_ms, "page": page}, now_ms)

    def dead_man_calls(
        self, timeout_s: float, instruments: Sequence[Instrument], now_ms: int
    ) -> Sequence[Call]:
        return (self._call("countdown", {"seconds": timeout_s}, now_ms),)

    def time_call(self) -> Call:
        return Call("GET", "/time")

    def parse_time(self, body: bytes) -> int:
        return int(json.loads(body)["time"])

    def ws_url(self, route: str, environment: Endpoints, stream_key: str) -> str:
        return environment.websocket[route]

    def login(self, route: str, now_ms: int) -> Sequence[bytes]:
        return (self._signed({"op": "login"}, now_ms),)

    def subscriptions(self, route: str, now_ms: int) -> Sequence[bytes]:
        return (self._signed({"op": "subscribe"}, now_ms),) if route == ROUTE_PRIVATE else ()

    def ping(self, now_ms: int) -> tuple[bytes, float]:
        return b"", 0.0

    def stream_key_calls(self, stream_key: str, now_ms: int) -> tuple[Sequence[Call], float]:
        return (), 0.0

    def parse_stream_key(self, body: bytes) -> str:
        return ""

    def read(
        self, route: str, message: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Event]:
        said = json.loads(message)
        if "notice" in said:
            return (Notice(kind=NoticeKind[said["notice"].upper()], text=said.get("text", "")),)
        if "id" in said:
            return (_answer(said, said["id"]),)
        return (_update(said, instruments),)

    def read_answer(
        self,
        call: Call,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        instruments: Mapping[str, Instrument],
    ) -> Sequence[Event]:
        if status != 200:
            return (Answer(wire_id=call.wire_id, verdict=Verdict.UNKNOWN, venue_code=status),)
        said = json.loads(body)
        answer = _answer(said, call.wire_id)
        answer.updates = [_update(each, instruments) for each in said.get("said", ())]
        return (answer,)

    def read_page(
        self, query: Query, call: Call, body: bytes, instruments: Mapping[str, Instrument]
    ) -> Sequence[Update]:
        return [_update(each, instruments) for each in json.loads(body)["said"]]

    def usage(
        self, headers: Mapping[str, str], message: bytes | None = None
    ) -> Sequence[tuple[Cost, int]]:
        return ()


def _answer(said: dict[str, Any], wire_id: str) -> Answer:
    code = said["code"]
    verdict, reason = _ERRORS[code] if code else (Verdict.ACCEPTED, Reason.NONE)
    wait_s = said.get("wait", 0.0)
    limit = "orders" if verdict is Verdict.LIMITED else ""
    return Answer(
        wire_id=wire_id,
        verdict=verdict,
        reason=reason,
        venue_code=code,
        wait_s=wait_s,
        limit=limit,
    )


def _update(said: dict[str, Any], instruments: Mapping[str, Instrument]) -> Update:
    if said["kind"] == "balance":
        total, decimals = amount(said["total"])
        return Update(
            kind=ReportKind.BALANCE,
            asset=said["asset"],
            quantity=total,
            available=total,
            decimals=decimals,
        )
    instrument = instruments[said["symbol"]]
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals
    if said["kind"] == "funding":
        paid, decimals = amount(said["fee"])
        return Update(
            kind=ReportKind.FUNDING,
            instrument=instrument.row,
            exchange_ns=said["time"] * 1_000_000,
            trade_id=trade_number(said["trade"]),
            asset="USD",
            fee=paid,
            decimals=decimals,
        )
    if said["kind"] == "position":
        return Update(
            kind=ReportKind.POSITION,
            instrument=instrument.row,
            quantity=to_mantissa(said["quantity"], quantities),
        )
    update = Update(
        kind=ReportKind[said["kind"].upper()],
        instrument=instrument.row,
        client_text=said["client"],
        venue_id=said["order"],
        exchange_ns=said["time"] * 1_000_000,
        side=1 if said["side"] == "buy" else -1,
    )
    if said["kind"] == "fill":
        update.trade_id = trade_number(said["trade"])
        update.last_price = to_mantissa(said["price"], prices)
        update.last_quantity = to_mantissa(said["quantity"], quantities)
        update.filled = to_mantissa(said.get("filled", ""), quantities)
        return update
    update.price = to_mantissa(said["price"], prices)
    update.quantity = to_mantissa(said["quantity"], quantities)
    update.filled = to_mantissa(said["filled"], quantities)
    update.status = _STATUS[said["status"]]
    return update


# -- the venue ------------------------------------------------------------------------------------
@dataclass
class ToyOrder:
    """An order; prices and quantities are whole numbers written as text."""

    id: str
    client: str
    symbol: str
    side: str
    price: int
    quantity: int
    filled: int = 0
    status: str = "open"
    hidden_until: float = 0.0


@dataclass
class ToyVenue:
    """The server; ``async with`` starts and ends it."""

    orders: dict[str, ToyOrder] = field(default_factory=dict)
    """By the venue's id."""
    trades: list[dict[str, Any]] = field(default_factory=list)
    balances: dict[str, str] = field(default_factory=lambda: {"USD": "1000.5"})
    positions: dict[str, int] = field(default_factory=dict)
    placed: list[str] = field(default_factory=list)
    """Client ids of all NEW requests that arrived, in order."""
    log: list[str] = field(default_factory=list)
    """What was asked for, by whichever way."""
    countdown: float = 0.0
    # Faults.
    skew_ms: int = 0
    swallow: int = 0
    """So many next order requests vanish without effect."""
    no_answer: int = 0
    """So many next order requests take effect, and are not answered."""
    late_s: float = 0.0
    """Answers come so much later."""
    no_events: bool = False
    no_trades: bool = False
    """Queries of trades find none."""
    twice: bool = False
    """Events come twice."""
    lag_s: float = 0.0
    """New orders are not found by queries for so long."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Operation -> the code that its next request is refused with."""
    refuse_login: bool = False
    logins_refused: int = 0
    page_size: int = 100
    delay_queries_s: float = 0.0
    strict_time: bool = False
    port: int = 0
    sockets: dict[str, list[web.WebSocketResponse]] = field(
        default_factory=lambda: {"orders": [], "private": []}
    )
    _numbers: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> "ToyVenue":
        app = web.Application()
        app.add_routes(
            [
                web.get("/time", self._time),
                web.get("/orders", self._socket_of("orders")),
                web.get("/private", self._socket_of("private")),
                web.post("/{op}", self._post),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.disconnect()
        await self._runner.cleanup()

    def url(self, scheme: str = "http", path: str = "") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def disconnect(self, *routes: str) -> None:
        """Cut the connections of some routes, or all."""
        for route in routes or ("orders", "private"):
            for socket in [*self.sockets[route]]:
                if (transport := socket._req.transport) is not None:
                    transport.abort()

    # What a test makes happen.
    def by_client(self, client: str) -> ToyOrder:
        return next(order for order in self.orders.values() if order.client == client)

    def place(self, client: str, symbol: str = "AAA", price: int = 10, quantity: int = 5) -> str:
        """Place an order as somebody else would, without the gateway."""
        order = self._new(client, symbol, "buy", price, quantity)
        self.tell(order, "open")
        return order.id

    def fill(self, order_id: str, quantity: int, *, silent: bool = False) -> None:
        order = self.orders[order_id]
        order.filled += quantity
        self._numbers += 1
        trade = {
            "kind": "fill",
            "trade": str(self._numbers),
            "price": str(order.price),
            "symbol": order.symbol,
            "quantity": str(quantity),
            "client": order.client,
            "order": order.id,
            "side": order.side,
            "time": self.now_ms(),
        }
        self.trades.append(trade)
        signed = quantity if order.side == "buy" else -quantity
        self.positions[order.symbol] = self.positions.get(order.symbol, 0) + signed
        if order.filled >= order.quantity:
            order.status = "filled"
        if not silent:
            self.say(trade | {"filled": str(order.filled)})
            self.say(self._position(order.symbol))

    def pay(self, fee: str, *, silent: bool = False) -> None:
        """Have a funding payment made; queries tell it among the trades."""
        self._numbers += 1
        payment = {
            "kind": "funding",
            "trade": str(self._numbers),
            "symbol": "AAA",
            "fee": fee,
            "time": self.now_ms(),
        }
        self.trades.append(payment)
        if not silent:
            self.say(payment)

    def end(self, order_id: str, *, silent: bool = False) -> None:
        order = self.orders[order_id]
        order.status = "canceled"
        if not silent:
            self.tell(order, "canceled")

    def tell(self, order: ToyOrder, kind: str) -> None:
        """Send an event of an order."""
        self.say(self._state(order, kind))

    def say(self, event: dict[str, Any]) -> None:
        """Send a private event."""
        if not self.no_events:
            for _ in range(1 + self.twice):
                self._send("private", event)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.skew_ms

    # The protocol.
    def _send(self, route: str, message: dict[str, Any]) -> None:
        for socket in self.sockets[route]:
            if not socket.closed:
                self._spawn(socket.send_str(json.dumps(message)))

    def _spawn(self, work: Any) -> None:
        async def safely() -> None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await work

        task = asyncio.create_task(safely())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _state(self, order: ToyOrder, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "symbol": order.symbol,
            "client": order.client,
            "order": order.id,
            "side": order.side,
            "price": str(order.price),
            "quantity": str(order.quantity),
            "filled": str(order.filled),
            "status": order.status,
            "time": self.now_ms(),
        }

    def _position(self, symbol: str) -> dict[str, Any]:
        quantity = str(self.positions.get(symbol, 0))
        return {"kind": "position", "symbol": symbol, "quantity": quantity}

    def _new(self, client: str, symbol: str, side: str, price: int, quantity: int) -> ToyOrder:
        self._numbers += 1
        order = ToyOrder(str(self._numbers), client, symbol, side, price, quantity)
        order.hidden_until = time.monotonic() + self.lag_s
        self.orders[order.id] = order
        return order

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response({"time": self.now_ms()})

    def _verified(self, payload: bytes | str) -> dict[str, Any] | None:
        outer = json.loads(payload)
        sign = hmac.new(SECRET.encode(), outer["body"].encode(), hashlib.sha256).hexdigest()
        body = json.loads(outer["body"])
        return body if hmac.compare_digest(sign, outer["sign"]) and body["key"] == KEY else None

    def _socket_of(self, route: str) -> Any:
        async def serve(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            self.sockets[route].append(socket)
            try:
                async for message in socket:
                    if message.type is WSMsgType.TEXT:
                        self._hear(socket, message.data)
            finally:
                self.sockets[route].remove(socket)
            return socket

        return serve

    def _hear(self, socket: web.WebSocketResponse, data: str) -> None:
        body = self._verified(data)
        if body is None or (body["op"] == "login" and self.refuse_login):
            self.logins_refused += 1
            self._spawn(socket.send_str('{"notice": "login_refused", "text": "no"}'))
        elif body["op"] in ("login", "subscribe"):
            notice = {"login": "logged_in", "subscribe": "subscribed"}[body["op"]]
            self._spawn(socket.send_str(json.dumps({"notice": notice})))
        elif (answer := self._order_request(body)) is not None:
            self._spawn(self._later(socket, answer | {"id": body["id"]}))

    async def _later(self, socket: web.WebSocketResponse, answer: dict[str, Any]) -> None:
        await asyncio.sleep(self.late_s)
        await socket.send_str(json.dumps(answer))

    async def _post(self, request: web.Request) -> web.Response:
        body = self._verified(await request.read())
        op = request.match_info["op"]
        if body is None:
            return web.json_response({"code": 1})
        if op in ("new", "amend", "cancel"):
            answer = self._order_request(body)
            if answer is None:
                await asyncio.sleep(60)
            return web.json_response(answer)
        self.log.append(op)
        if op in self.refuse:
            return web.json_response({"code": self.refuse.pop(op)}, status=200)
        if self.strict_time and abs(body["time"] - self.now_ms()) > 1000:
            return web.json_response({"code": 7, "said": []})
        said = self._queries(op, body)
        await asyncio.sleep(self.delay_queries_s)
        return web.json_response(said)

    def _queries(self, op: str, body: dict[str, Any]) -> dict[str, Any]:
        if op == "query":
            now = time.monotonic()
            found = [
                order
                for order in self.orders.values()
                if (order.client == body["client"] or order.id == body["order"])
                and now >= order.hidden_until
            ]
            said = [self._state(order, "status") for order in found[-1:]]
            return {"code": 0 if said else 3, "said": said}
        if op == "cancel_all":
            for order in self.orders.values():
                if order.status == "open" and body.get("symbol") in (None, order.symbol):
                    self.end(order.id)
            return {"code": 0}
        if op == "countdown":
            self.countdown = body["seconds"]
            return {"code": 0}
        if op in ("leverage", "margin_mode"):
            return {"code": 0}
        return self._page(self._all(op, body), body["page"])

    def _all(self, op: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        if op == "open_orders":
            live = [order for order in self.orders.values() if order.status == "open"]
            return [self._state(order, "status") for order in live]
        if op == "fills":
            trades = [] if self.no_trades else self.trades
            return [trade for trade in trades if trade["time"] >= body["since"]]
        if op == "balances":
            return [
                {"kind": "balance", "asset": asset, "total": total}
                for asset, total in self.balances.items()
            ]
        return [self._position(symbol) for symbol in self.positions]

    def _page(self, everything: list[dict[str, Any]], page: int) -> dict[str, Any]:
        start = page * self.page_size
        said: dict[str, Any] = {"code": 0, "said": everything[start : start + self.page_size]}
        if len(everything) > start + self.page_size:
            said["next"] = page + 1
        return said

    def _order_request(self, body: dict[str, Any]) -> dict[str, Any] | None:
        op = body["op"]
        self.log.append(op)
        if op == "new":
            self.placed.append(body["client"])
        if self.swallow:
            self.swallow -= 1
            return None
        if self.strict_time and abs(body["time"] - self.now_ms()) > 1000:
            return {"code": 7}
        if op in self.refuse:
            return {"code": self.refuse.pop(op), "wait": 0.2}
        answer = getattr(self, f"_op_{op}")(body)
        if self.no_answer:
            self.no_answer -= 1
            return None
        return answer

    def _op_new(self, body: dict[str, Any]) -> dict[str, Any]:
        if any(order.client == body["client"] for order in self.orders.values()):
            return {"code": 2}
        order = self._new(
            body["client"],
            body["symbol"],
            body["side"],
            int(body["price"]),
            int(body["quantity"]),
        )
        self.tell(order, "open")
        return {"code": 0}

    def _target(self, body: dict[str, Any]) -> ToyOrder | None:
        for order in self.orders.values():
            same = order.id == body["order"] if body["order"] else order.client == body["client"]
            if same and order.status == "open":
                return order
        return None

    def _op_amend(self, body: dict[str, Any]) -> dict[str, Any]:
        order = self._target(body)
        if order is None:
            return {"code": 3}
        order.price, order.quantity = int(body["price"]), int(body["quantity"])
        self.tell(order, "amended")
        return {"code": 0}

    def _op_cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        order = self._target(body)
        if order is None:
            return {"code": 3}
        self.end(order.id)
        return {"code": 0}


assert ROUTE_ORDERS == "orders"
assert ROUTE_PRIVATE == "private"
