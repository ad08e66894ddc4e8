"""The private REST endpoints of OKX v5: authentication, limits, faults and envelopes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateways.simulator.account import Account
from gateways.simulator.faults import NO_FAULT, RequestFate
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.okx.access import authenticate
from gateways.simulator.okx.account_rest import AccountRest
from gateways.simulator.okx.algo import AlgoDesk
from gateways.simulator.okx.orders import OPERATIONS, Operation, OrderDesk
from gateways.simulator.okx.parameters import Parameters
from gateways.simulator.okx.private_streams import PrivateStreams
from gateways.simulator.okx.rest import broken
from gateways.simulator.okx.rules import too_frequent
from gateways.simulator.okx.shapes import Json
from gateways.simulator.okx.trade_rest import TradeRest
from gateways.simulator.rest import ApiError
from gateways.simulator.venue import Handler

if TYPE_CHECKING:
    from gateways.simulator.okx.venue import OkxVenue

Call = Callable[[Account, Parameters], list[Json]]

_ORDER_PATHS = {
    "/api/v5/trade/order": "order",
    "/api/v5/trade/batch-orders": "batch-orders",
    "/api/v5/trade/amend-order": "amend-order",
    "/api/v5/trade/amend-batch-orders": "batch-amend-orders",
    "/api/v5/trade/cancel-order": "cancel-order",
    "/api/v5/trade/cancel-batch-orders": "batch-cancel-orders",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers at a path, and how many requests of a user in how many seconds it takes."""

    method: str
    path: str
    call: Call
    limit: tuple[int, float]
    orders: bool = False
    """Whether it is an order request: the faults of those strike it."""
    per_instrument: bool = False


class PrivateRest:
    """The private endpoints over the venue's clearing house."""

    def __init__(self, venue: "OkxVenue", desk: OrderDesk, streams: PrivateStreams) -> None:
        self.requests = 0
        self._venue = venue
        self._desk = desk
        self._streams = streams
        trade, algo, account = TradeRest(desk), AlgoDesk(desk), AccountRest(desk)
        self._endpoints = [
            *(Endpoint(*row) for row in trade.endpoints()),
            *(Endpoint(*row) for row in algo.endpoints()),
            *(Endpoint(*row) for row in account.endpoints()),
        ]
        self._limits: dict[tuple[int, str, str], SlidingLimit] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes under a prefix of the host's path."""
        orders = [
            web.post(prefix + path, self._serve_orders(prefix, OPERATIONS[name]))
            for path, name in _ORDER_PATHS.items()
        ]
        return orders + [
            web.route(each.method, prefix + each.path, self._serve(prefix, each))
            for each in self._endpoints
        ]

    def _serve(self, prefix: str, endpoint: Endpoint) -> Handler:
        def act(account: Account, request: web.Request, body: Any) -> Json:  # noqa: ANN401 - JSON
            fields = dict(request.query) if endpoint.method == "GET" else body
            if not isinstance(fields, dict):
                if not isinstance(fields, list):
                    raise ApiError(50002, "JSON syntax error", 400)
                fields = {"list": fields}
            parameters = Parameters(fields)
            return {"code": "0", "msg": "", "data": endpoint.call(account, parameters)}

        def check(account: Account, request: web.Request, body: Any) -> None:  # noqa: ANN401
            fields = dict(request.query) if endpoint.method == "GET" else body
            name = ""
            if endpoint.per_instrument and isinstance(fields, dict):
                name = Parameters(fields).symbol(self._desk.trading)
            key = (account.uid, endpoint.method + endpoint.path, name)
            limit = self._limits.get(key)
            if limit is None:
                most, period_s = endpoint.limit
                most = max(1, int(most * self._venue.limit_factor))
                limit = self._limits[key] = SlidingLimit(most, period_s)
            if not limit.allow(time.monotonic()):
                raise too_frequent()

        return self._handler(prefix, check, act, orders=endpoint.orders)

    def _serve_orders(self, prefix: str, operation: Operation) -> Handler:
        def items(body: Any) -> list[Json]:  # noqa: ANN401 - JSON
            if operation.batch is not isinstance(body, list):
                raise ApiError(50002, "JSON syntax error", 400)
            return body if operation.batch else [body]

        def act(account: Account, request: web.Request, body: Any) -> Json:  # noqa: ANN401 - JSON
            begun = time.time_ns() // 1000
            result = self._desk.act(account, operation, items(body))
            return result | {"inTime": str(begun), "outTime": str(time.time_ns() // 1000)}

        def check(account: Account, request: web.Request, body: Any) -> None:  # noqa: ANN401
            expires = request.headers.get("expTime", "")
            self._desk.check(account, operation, items(body), expires)

        return self._handler(prefix, check, act, orders=True)

    def _handler(
        self,
        prefix: str,
        check: Callable[[Account, web.Request, Any], None],
        act: Callable[[Account, web.Request, Any], Json],
        *,
        orders: bool,
    ) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            plan = self._venue.plan
            await plan.rest_wait(self._venue.name)
            raw = await request.read()
            fate, account = NO_FAULT, None
            try:
                try:
                    if status := plan.rest_status(self._venue.name):
                        raise broken(status)
                    account = self._authenticate(request, prefix, raw)
                    body = _json(request, raw)
                    check(account, request, body)
                    if orders:
                        fate = plan.request_fate(self._venue.name)
                    if not fate.events_first:
                        self._streams.feed.hold(account.uid)
                    answer: Json = act(account, request, body) if fate.act else {}
                    if fate.status:
                        raise broken(fate.status)
                    status = 200
                except ApiError as error:
                    status = error.status
                    answer = {"code": str(error.code), "msg": str(error), "data": []}
                return await self._reply(request, account, fate, status, answer)
            finally:
                if account is not None and not fate.events_first:
                    self._streams.feed.release_later(account.uid)

        return serve

    async def _reply(
        self,
        request: web.Request,
        account: Account | None,
        fate: RequestFate,
        status: int,
        answer: Json,
    ) -> web.StreamResponse:
        if account is not None:
            self._streams.flush(account)
        if fate.delay_ms > 0.0:
            await asyncio.sleep(fate.delay_ms / 1e3)
        if not fate.answer and request.transport is not None:
            # The client learns nothing but that the connection is gone.
            request.transport.abort()
        return web.Response(
            status=status, body=orjson.dumps(answer), content_type="application/json"
        )

    def _authenticate(self, request: web.Request, prefix: str, raw: bytes) -> Account:
        target = request.raw_path.removeprefix(prefix)
        return authenticate(
            self._desk.trading,
            request.headers,
            request.method,
            target,
            raw,
            self._venue.now_ms(),
        )


def _json(request: web.Request, raw: bytes) -> Any:  # noqa: ANN401 - JSON
    if request.method == "GET":
        return None
    if not raw:
        raise ApiError(50000, "Body for POST request cannot be empty.", 400)
    if request.content_type != "application/json":
        raise ApiError(50006, "Invalid Content-Type, please use the application/JSON format", 400)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(50002, "JSON syntax error", 400) from None
