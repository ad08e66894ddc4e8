"""The signed REST endpoints of both Binance markets: who asks, limits, faults, answers.

A request's payload is its raw query string and its raw body, one after the other with nothing
between, without the signature. Source: binance-spot-api-docs rest-api.md (2026-07).
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from gateways.simulator.account import Account
from gateways.simulator.binance.codes import ORDER_FAULTS, UNSURE, ApiError, missing
from gateways.simulator.binance.desk import Desk, Operation, Security
from gateways.simulator.binance.parameters import (
    PARAMETERS_MOST,
    Parameters,
    single,
    too_many,
)
from gateways.simulator.binance.rest import Handler, Rest
from gateways.simulator.binance.user_stream import UserStream
from gateways.simulator.faults import NO_FAULT, RequestFate

if TYPE_CHECKING:
    from gateways.simulator.limits import WeightBudget

Route = tuple[str, str, str]
"""Method, path, name of the operation."""

SPOT_ROUTES: tuple[Route, ...] = (
    ("POST", "/api/v3/order", "order.place"),
    ("GET", "/api/v3/order", "order.status"),
    ("DELETE", "/api/v3/order", "order.cancel"),
    ("POST", "/api/v3/order/test", "order.test"),
    ("POST", "/api/v3/order/cancelReplace", "order.cancelReplace"),
    ("PUT", "/api/v3/order/amend/keepPriority", "order.amend.keepPriority"),
    ("GET", "/api/v3/order/amendments", "order.amendments"),
    ("GET", "/api/v3/openOrders", "openOrders.status"),
    ("DELETE", "/api/v3/openOrders", "openOrders.cancelAll"),
    ("GET", "/api/v3/allOrders", "allOrders"),
    ("GET", "/api/v3/openOrderList", "openOrderLists.status"),
    ("GET", "/api/v3/allOrderList", "allOrderLists"),
    ("GET", "/api/v3/myTrades", "myTrades"),
    ("GET", "/api/v3/myPreventedMatches", "myPreventedMatches"),
    ("GET", "/api/v3/account", "account.status"),
    ("GET", "/api/v3/account/commission", "account.commission"),
    ("GET", "/api/v3/rateLimit/order", "account.rateLimits.orders"),
    ("GET", "/sapi/v1/system/status", "sapi.system"),
    ("GET", "/sapi/v1/capital/config/getall", "sapi.currencies"),
    ("GET", "/sapi/v1/margin/allPairs", "sapi.nothing"),
    ("GET", "/sapi/v1/margin/isolated/allPairs", "sapi.nothing"),
    ("GET", "/sapi/v1/margin/allAssets", "sapi.nothing"),
    ("GET", "/sapi/v1/asset/tradeFee", "sapi.fees"),
    ("GET", "/sapi/v1/account/status", "sapi.account"),
    ("GET", "/sapi/v1/account/apiRestrictions", "sapi.restrictions"),
)
USDM_ROUTES: tuple[Route, ...] = (
    ("POST", "/fapi/v1/order", "order.place"),
    ("PUT", "/fapi/v1/order", "order.modify"),
    ("GET", "/fapi/v1/order", "order.status"),
    ("DELETE", "/fapi/v1/order", "order.cancel"),
    ("POST", "/fapi/v1/order/test", "order.test"),
    ("POST", "/fapi/v1/batchOrders", "batchOrders.place"),
    ("PUT", "/fapi/v1/batchOrders", "batchOrders.modify"),
    ("DELETE", "/fapi/v1/batchOrders", "batchOrders.cancel"),
    ("GET", "/fapi/v1/openOrder", "openOrder.status"),
    ("GET", "/fapi/v1/openOrders", "openOrders.status"),
    ("DELETE", "/fapi/v1/allOpenOrders", "openOrders.cancelAll"),
    ("GET", "/fapi/v1/allOrders", "allOrders"),
    ("GET", "/fapi/v1/userTrades", "myTrades"),
    ("GET", "/fapi/v1/forceOrders", "forceOrders"),
    ("POST", "/fapi/v1/countdownCancelAll", "countdownCancelAll"),
    ("POST", "/fapi/v1/algoOrder", "algoOrder.place"),
    ("GET", "/fapi/v1/algoOrder", "algoOrder.status"),
    ("DELETE", "/fapi/v1/algoOrder", "algoOrder.cancel"),
    ("GET", "/fapi/v1/openAlgoOrders", "openAlgoOrders"),
    ("GET", "/fapi/v1/allAlgoOrders", "allAlgoOrders"),
    ("DELETE", "/fapi/v1/algoOpenOrders", "algoOpenOrders.cancelAll"),
    ("GET", "/fapi/v2/account", "account.status"),
    ("GET", "/fapi/v3/account", "v2/account.status"),
    ("GET", "/fapi/v2/balance", "account.balance"),
    ("GET", "/fapi/v3/balance", "v2/account.balance"),
    ("GET", "/fapi/v2/positionRisk", "account.position"),
    ("GET", "/fapi/v3/positionRisk", "v2/account.position"),
    ("POST", "/fapi/v1/leverage", "leverage"),
    ("POST", "/fapi/v1/marginType", "marginType"),
    ("POST", "/fapi/v1/positionMargin", "positionMargin"),
    ("GET", "/fapi/v1/positionSide/dual", "positionSide.get"),
    ("POST", "/fapi/v1/positionSide/dual", "positionSide.set"),
    ("GET", "/fapi/v1/multiAssetsMargin", "multiAssetsMargin.get"),
    ("POST", "/fapi/v1/multiAssetsMargin", "multiAssetsMargin.set"),
    ("GET", "/fapi/v1/commissionRate", "commissionRate"),
    ("GET", "/fapi/v1/leverageBracket", "leverageBracket"),
    ("GET", "/fapi/v1/symbolConfig", "symbolConfig"),
    ("GET", "/fapi/v1/accountConfig", "accountConfig"),
    ("GET", "/fapi/v1/rateLimit/order", "rateLimit.order"),
    ("GET", "/fapi/v1/income", "income"),
    ("GET", "/fapi/v1/feeBurn", "feeBurn"),
    ("GET", "/fapi/v1/adlQuantile", "adlQuantile"),
    ("POST", "/fapi/v1/listenKey", "userDataStream.start"),
    ("PUT", "/fapi/v1/listenKey", "userDataStream.ping"),
    ("DELETE", "/fapi/v1/listenKey", "userDataStream.stop"),
)
NOBODY = Account(0, "", "")
"""Who asks without a key."""
FAULT_WAIT_MS = 1000
"""How long a client shall be quiet when a fault has limited it."""


class Parts:
    """A request's parameters, and what of it is signed."""

    __slots__ = ("payload", "signature", "values")

    def __init__(self, query: str, body: str) -> None:
        self.signature = ""
        self.values: dict[str, str] = {}
        signed = []
        for text in (query, body):
            kept = []
            for part in text.split("&"):
                if part.startswith("signature="):
                    self.signature = self.signature or unquote(part[10:])
                else:
                    kept.append(part)
            signed.append("&".join(kept))
        self.payload = "".join(signed).encode()
        for text in signed:
            if text.count("&") >= PARAMETERS_MOST:
                raise too_many()
            # What stands in the query wins over the body.
            self.values = single(parse_qsl(text, keep_blank_values=True)) | self.values


class PrivateRest:
    """The signed endpoints of one market, beside its public ones."""

    def __init__(self, rest: Rest, desk: Desk, stream: UserStream) -> None:
        self._rest = rest
        self._desk = desk
        self._stream = stream
        self._routes = USDM_ROUTES if desk.dialect.futures else SPOT_ROUTES
        assert all(name in desk.operations for _, _, name in self._routes)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes under a prefix of the host's path."""
        return [
            web.route(method, prefix + path, self._serve(self._desk.operations[name]))
            for method, path, name in self._routes
        ]

    def _serve(self, operation: Operation) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            rest = self._rest
            rest.requests += 1
            await rest.plan.rest_wait(rest.dialect.name)
            body = (await request.read()).decode("utf-8", "replace")
            query = request.raw_path.partition("?")[2]
            now = time.time()
            budget = rest.budget(request.remote)
            broken = rest.plan.rest_status(rest.dialect.name)
            if broken:
                return rest.fault(broken, budget, now)
            account: Account | None = None
            try:
                parts = Parts(query, body)
                parameters = Parameters(parts.values)
                status = budget.spend(operation.cost(parameters), now)
                if status:
                    return rest.refuse(status, budget, now)
                account = self._admit(operation, request.headers.get("X-MBX-APIKEY"), parts)
                return await self._act(request, operation, account, parameters, budget)
            except ApiError as error:
                return self._told(error, budget, account if operation.orders else None)

        return serve

    def _admit(self, operation: Operation, key: str | None, parts: Parts) -> Account:
        desk = self._desk
        if operation.security is Security.NONE:
            return NOBODY
        account = desk.account_of(key)
        if operation.security is Security.SIGNED:
            if not parts.signature:
                raise missing("signature")
            reader = Parameters(parts.values)
            desk.check_time(reader)
            desk.check_signature(account, parts.payload, parts.signature)
            for name in ("timestamp", "recvWindow"):
                parts.values.pop(name, None)
        return account

    async def _act(
        self,
        request: web.Request,
        operation: Operation,
        account: Account,
        parameters: Parameters,
        budget: "WeightBudget",
    ) -> web.StreamResponse:
        desk, stream = self._desk, self._stream
        plan = self._rest.plan
        fate = plan.request_fate(desk.dialect.name) if operation.changes else NO_FAULT
        counted = account if operation.orders else None
        result: Any = None
        error: ApiError | None = None
        if not fate.events_first:
            stream.feed.hold(account.uid)
        try:
            if fate.act:
                try:
                    result = desk.run(operation, account, parameters)
                except ApiError as refused:
                    error = refused
            stream.leave()
            if fate.delay_ms > 0.0:
                await asyncio.sleep(fate.delay_ms / 1e3)
        finally:
            if not fate.events_first:
                stream.feed.release_later(account.uid)
        if not fate.answer:
            # What a client cannot tell from a lost answer: the connection ends without one.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fate.status:
            error = fault_error(fate, futures=desk.dialect.futures)
        if error is not None:
            return self._told(error, budget, counted)
        return self._rest.answer(200, orjson.dumps(result), budget, more=self._counts(counted))

    def _told(
        self, error: ApiError, budget: "WeightBudget", account: Account | None
    ) -> web.Response:
        body, wait = error.body, 0
        if error.status in (418, 429):
            data = body.pop("data", None) or {}
            wait_ms = data.get("retryAfter", 0) - data.get("serverTime", 0)
            wait = max(1, -(-wait_ms // 1000))
        more = self._counts(account)
        return self._rest.answer(error.status, orjson.dumps(body), budget, wait, more=more)

    def _counts(self, account: Account | None) -> dict[str, str]:
        if account is None:
            return {}
        desk = self._desk
        counts = desk.counts(account).now(desk.now_ms())
        return {limit.header: str(n) for limit, n in zip(desk.limits, counts, strict=True)}


def fault_error(fate: RequestFate, *, futures: bool) -> ApiError:
    """Return what the venue says of an order request that a fault has struck."""
    code, text = ORDER_FAULTS.get(fate.status, (-1000, "An unknown error occurred."))
    if futures and fate.status == 503:
        # The text alone tells whether the order may be in the book.
        code, text = (-1000, UNSURE) if fate.act else (-1008, "Service Unavailable.")
    now_ms = time.time_ns() // 1_000_000
    text = text.replace("{until}", str(now_ms + FAULT_WAIT_MS))
    data = {"serverTime": now_ms, "retryAfter": now_ms + FAULT_WAIT_MS}
    return ApiError(code, text, fate.status, data if fate.status in (418, 429) else None)
