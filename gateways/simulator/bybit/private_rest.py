"""The private REST endpoints of Bybit v5: signatures, clock, limits, faults, and what answers.

Sources: the venue's pages ``guide`` (signatures), ``rate-limit`` and those of the endpoints.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateways.simulator.account import Refused, Why
from gateways.simulator.bybit.codes import (
    INTERNAL,
    PARAMETER,
    SERVER_TIMEOUT,
    SIGNATURE,
    TOO_MANY,
    refusal,
)
from gateways.simulator.bybit.desk import CATEGORIES_OF, Desk, Member
from gateways.simulator.bybit.limits import ADDRESS, SHUT_OUT_S, RollingLimit, headers
from gateways.simulator.bybit.orders import Orders
from gateways.simulator.bybit.queries import Queries
from gateways.simulator.bybit.rest import envelope
from gateways.simulator.bybit.shapes import Row
from gateways.simulator.bybit.terms import Request, chosen, parameter, text_of
from gateways.simulator.digits import whole
from gateways.simulator.faults import NO_FAULT, RequestFate
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.private import verify
from gateways.simulator.rest import ApiError
from gateways.simulator.venue import Handler

if TYPE_CHECKING:
    from gateways.simulator.bybit.venue import BybitVenue

Answer = tuple[Row, Row]
"""``result`` and ``retExtInfo``."""
Call = Callable[[Member, Request], Row]

WINDOW_MS = 5000
AHEAD_MS = 1000
TIMEOUTS = (408, 504)
"""Statuses that a fault asks for -> the venue's own "server timeout", with HTTP 200."""
BATCHES = ("create", "amend", "cancel")
_GET, _POST = "GET", "POST"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers at a path; ``limited`` is its name among the limits, empty for none."""

    method: str
    path: str
    call: Call
    limited: str
    orders: bool = False
    """Whether the faults of order requests strike it."""


def check_clock(stamp: str, window: str, now_ms: int) -> None:
    """Refuse a request that is too old or ahead of the venue's clock."""
    sent, recv_window = whole(stamp), whole(window or str(WINDOW_MS))
    if sent is None or recv_window is None:
        raise ApiError(PARAMETER, "params error: timestamp or recv_window invalid")
    if not now_ms - recv_window <= sent < now_ms + AHEAD_MS:
        text = "invalid request, please check your server timestamp or recv_window param. "
        raise ApiError(
            10002,
            f"{text}req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{recv_window}]",
        )


def spend(limit: RollingLimit, now_ms: int) -> None:
    """Count a request; raises ApiError beyond the limit."""
    if not limit.spend(1, now_ms):
        raise ApiError(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.")


def broken(status: int) -> ApiError:
    """Return what the venue says with an HTTP status that a fault asks for."""
    if status in TIMEOUTS:
        return ApiError(SERVER_TIMEOUT, "Server Timeout")
    if status in (418, 429):
        return ApiError(TOO_MANY, "Too many visits. Exceeded the API Rate Limit.", 200)
    if status == 403:
        return ApiError(TOO_MANY, "Access too frequent", 403)
    return ApiError(INTERNAL, "Internal server error.", status)


class PrivateRest:
    """The private endpoints of one base address."""

    def __init__(self, venue: "BybitVenue", desk: Desk) -> None:
        self.desk = desk
        self.requests = 0
        self._venue = venue
        self._orders = Orders(desk)
        self._queries = Queries(desk)
        self._settings = Settings(desk)
        self._factor = venue.limit_factor
        self._addresses: dict[str, SlidingLimit] = {}
        self._shut_out: dict[str, float] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes under a prefix of the host's path."""
        return [
            web.route(endpoint.method, prefix + endpoint.path, self._serve(endpoint))
            for endpoint in self._endpoints()
        ] + [
            web.post(f"{prefix}/v5/order/{kind}-batch", self._serve_batch(kind)) for kind in BATCHES
        ]

    def _endpoints(self) -> list[Endpoint]:
        queries, settings = self._queries, self._settings
        orders = [
            Endpoint(_POST, f"/v5/order/{name}", call, name, True)
            for name, call in self._orders.operations.items()
        ]
        return [
            *orders,
            Endpoint(_GET, "/v5/order/realtime", queries.realtime, "realtime"),
            Endpoint(_GET, "/v5/order/history", queries.history, "history"),
            Endpoint(_GET, "/v5/execution/list", queries.executions, "executions"),
            Endpoint(_GET, "/v5/position/list", queries.positions, "positions"),
            Endpoint(_GET, "/v5/account/wallet-balance", queries.wallet, "wallet"),
            Endpoint(_GET, "/v5/account/info", queries.info, "info"),
            Endpoint(_GET, "/v5/account/fee-rate", queries.fee_rate, "fee-rate"),
            Endpoint(_GET, "/v5/account/transaction-log", queries.transactions, "transaction-log"),
            Endpoint(_GET, "/v5/account/query-dcp-info", queries.windows, "query-dcp-info"),
            Endpoint(_GET, "/v5/user/query-api", queries.api_key, "query-api"),
            Endpoint(_GET, "/v5/asset/coin/query-info", queries.coins, "query-info"),
            Endpoint(
                _GET,
                "/v5/asset/transfer/query-account-coins-balance",
                queries.coin_balances,
                "query-info",
            ),
            Endpoint(
                _POST,
                "/v5/order/disconnected-cancel-all",
                settings.set_window,
                "disconnected-cancel-all",
            ),
            Endpoint(_POST, "/v5/position/set-leverage", settings.leverage, "set-leverage"),
            Endpoint(_POST, "/v5/position/switch-isolated", settings.isolated, "switch-isolated"),
            Endpoint(_POST, "/v5/position/switch-mode", settings.hedge, "switch-mode"),
            Endpoint(_POST, "/v5/position/trading-stop", settings.trading_stop, "trading-stop"),
            Endpoint(_POST, "/v5/account/set-margin-mode", settings.margin_mode, "switch-isolated"),
        ]

    def _serve(self, endpoint: Endpoint) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests += 1

            def work(member: Member, parameters: Request) -> Answer:
                return endpoint.call(member, parameters), {}

            return await self._handle(request, endpoint.limited, endpoint.orders, work)

        return serve

    def _serve_batch(self, kind: str) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests += 1

            def work(member: Member, parameters: Request) -> Answer:
                return self._orders.batch(member, kind, parameters)

            return await self._handle(request, f"{kind}-batch", True, work)

        return serve

    async def _handle(
        self,
        request: web.Request,
        limited: str,
        is_order: bool,
        work: Callable[[Member, Request], Answer],
    ) -> web.StreamResponse:
        plan, venue = self._venue.plan, self._venue
        await plan.rest_wait(venue.name)
        body = await request.read()
        now_ms = venue.now_ms()
        extra: dict[str, str] = {}
        member: Member | None = None
        fate = NO_FAULT
        error: ApiError | None = None
        answer: Answer = {}, {}
        try:
            try:
                self._check_address(request.remote or "")
                if status := plan.rest_status(venue.name):
                    raise broken(status)
                member = self._authenticate(request, body, now_ms)
                parameters = _parameters(request, body)
                category = text_of(parameters, "category")
                limit = member.limits.of(limited, category)
                try:
                    if not limited.endswith("-batch"):
                        spend(limit, now_ms)
                    if is_order:
                        fate = plan.request_fate(self._at(category))
                    if not fate.events_first:
                        member.feed.hold()
                    if fate.act:
                        answer = work(member, parameters)
                finally:
                    extra = headers(limit, now_ms)
                if fate.status:
                    raise broken(fate.status)
            except ApiError as refused:
                error = refused
            return await self._reply(request, member, fate, answer, error, extra)
        finally:
            if member is not None and not fate.events_first:
                member.feed.release_later()

    async def _reply(
        self,
        request: web.Request,
        member: Member | None,
        fate: RequestFate,
        answer: Answer,
        error: ApiError | None,
        extra: dict[str, str],
    ) -> web.StreamResponse:
        if member is not None:
            member.feed.flush()
        if fate.delay_ms > 0.0:
            await asyncio.sleep(fate.delay_ms / 1e3)
        if not fate.answer and request.transport is not None:
            # The client learns nothing but that the connection is gone.
            request.transport.abort()
        now_ms = self._venue.now_ms()
        if error is not None:
            body = envelope(error.code, str(error), {}, now_ms)
            return _response(error.status, body, extra)
        body = envelope(0, "OK", answer[0], now_ms, answer[1])
        return _response(200, body, extra)

    def _at(self, category: str) -> str:
        venue = self.desk.venues.get(category)
        return venue.name if venue is not None else self._venue.name

    def _check_address(self, address: str) -> None:
        """Shut an address out that sends too much; raises ApiError."""
        now = time.monotonic()
        limit = self._addresses.get(address)
        if limit is None:
            most, period_s = ADDRESS
            limit = self._addresses[address] = SlidingLimit(
                max(1, int(most * self._factor)), period_s
            )
        if now < self._shut_out.get(address, 0.0):
            raise broken(403)
        if not limit.allow(now):
            self._shut_out[address] = now + SHUT_OUT_S
            raise broken(403)

    def _authenticate(self, request: web.Request, body: bytes, now_ms: int) -> Member:
        """Return whose request it is; raises ApiError."""
        given = request.headers
        key, stamp = given.get("X-BAPI-API-KEY", ""), given.get("X-BAPI-TIMESTAMP", "")
        sign, window = given.get("X-BAPI-SIGN", ""), given.get("X-BAPI-RECV-WINDOW", "")
        if not (key and stamp and sign):
            text = f"empty value: apiTimestamp[{stamp}] apiKey[] apiSignature[]"
            raise ApiError(PARAMETER, text, 401)
        member = self.desk.member(key)
        if member is None:
            raise ApiError(10003, "API key is invalid.", 401)
        check_clock(stamp, window, now_ms)
        # Exactly what was sent: clients differ in how they write JSON and escape queries.
        query = request.raw_path.partition("?")[2].encode()
        payload = f"{stamp}{key}{window}".encode() + (query if request.method == _GET else body)
        account = next(iter(member.accounts.values()))
        if not verify(account, payload, sign):
            raise ApiError(
                SIGNATURE, "Error sign, please check your signature generation algorithm."
            )
        return member


class Settings:
    """Endpoints that change how an account trades."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def set_window(self, member: Member, request: Request) -> Row:
        """Set the dead-man window of a product, in seconds."""
        known = {name: name for name in (*CATEGORIES_OF, "OPTIONS")}
        product = chosen(request, "product", known | {"": "OPTIONS"})
        seconds = whole(text_of(request, "timeWindow"))
        if seconds is None or not 3 <= seconds <= 300:
            raise parameter("timeWindow invalid")
        member.windows[product] = seconds
        return {}

    def leverage(self, member: Member, request: Request) -> Row:
        """Set the leverage of a symbol."""
        category, symbol = text_of(request, "category"), text_of(request, "symbol")
        account = self.desk.account(member, category)
        buy, sell = text_of(request, "buyLeverage"), text_of(request, "sellLeverage")
        venue = self.desk.venue(category)
        try:
            number = float(buy)
        except ValueError:
            raise parameter("buyLeverage invalid") from None
        if buy != sell:
            raise parameter("buy leverage not equal sell leverage")
        if not number.is_integer():
            raise parameter("the simulated venue takes whole numbers as leverage")
        self._contract(category, symbol)
        try:
            changed = venue.clearing.set_leverage(account, symbol, int(number), venue.now_ms())
        except Refused as refused:
            raise refusal(refused, spot=False) from None
        if not changed:
            raise ApiError(110043, "Set leverage has not been modified.")
        return {}

    def isolated(self, member: Member, request: Request) -> Row:
        """Switch a symbol between cross and isolated margin."""
        category, symbol = text_of(request, "category"), text_of(request, "symbol")
        wanted = chosen(request, "tradeMode", {"0": False, "1": True})
        self._contract(category, symbol)
        if not self._isolate(member, category, symbol, wanted):
            raise ApiError(110026, "Cross/isolated margin mode is not modified")
        return {}

    def margin_mode(self, member: Member, request: Request) -> Row:
        """Set the margin mode of the account: of all contracts."""
        known = {"REGULAR_MARGIN": False, "ISOLATED_MARGIN": True}
        wanted = chosen(request, "setMarginMode", known)
        for category in ("linear", "inverse"):
            if category in self.desk.venues:
                for market in self.desk.venue(category).clearing.ledger.markets.values():
                    if market.instrument.market == category:
                        self._isolate(member, category, market.instrument.symbol, wanted)
        return {"reasons": []}

    def hedge(self, member: Member, request: Request) -> Row:
        """Keep long and short positions apart (mode 3), or not (0): of the whole account."""
        category = text_of(request, "category")
        account = self.desk.account(member, category)
        wanted = chosen(request, "mode", {"0": False, "3": True})
        venue = self.desk.venue(category)
        try:
            changed = venue.clearing.set_hedge(account, wanted, venue.now_ms())
        except Refused as refused:
            raise refusal(refused, spot=False) from None
        if not changed:
            raise ApiError(110025, "Position mode is not modified")
        return {}

    def trading_stop(self, member: Member, request: Request) -> Row:
        """Refuse: orders attached to a position are not simulated."""
        raise parameter("trading-stop is not supported by the simulated venue")

    def _isolate(self, member: Member, category: str, symbol: str, wanted: bool) -> bool:
        account, venue = self.desk.account(member, category), self.desk.venue(category)
        try:
            return venue.clearing.set_isolated(account, symbol, wanted, venue.now_ms())
        except Refused as refused:
            raise refusal(refused, spot=False) from None

    def _contract(self, category: str, symbol: str) -> None:
        if category == "spot" or self.desk.market(category, symbol) is None:
            raise refusal(Refused(Why.SYMBOL), spot=False)


def _parameters(request: web.Request, body: bytes) -> Mapping[str, Any]:
    if request.method == _GET:
        return dict(request.query)
    try:
        parameters = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        parameters = None
    if not isinstance(parameters, dict):
        raise ApiError(PARAMETER, "params error: the body is not a JSON object")
    return parameters


def _response(status: int, body: Row, extra: dict[str, str]) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body), headers=extra, content_type="application/json"
    )
