"""The public REST endpoints of Binance: parameters, weights, errors and answers as the venue's."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateways.simulator.binance.codes import FAULT_BODIES, ApiError, illegal, missing
from gateways.simulator.binance.dialect import SYMBOL_PATTERN, Dialect
from gateways.simulator.binance.filters import exchange_info
from gateways.simulator.binance.parameters import PARAMETERS_MOST, single, too_many
from gateways.simulator.binance.source import Source
from gateways.simulator.faults import FaultPlan
from gateways.simulator.limits import WeightBudget
from gateways.simulator.market import next_funding_ms

_SYMBOLS_PATTERN = r'^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$'
_NUMBER_PATTERN = r"^[0-9]{1,20}$"
Call = Callable[[Mapping[str, str]], tuple[int, Any]]
"""What a public endpoint does: parameters to request weight and answer."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """The REST endpoints of one dialect over one source."""

    def __init__(
        self,
        dialect: Dialect,
        source: Source,
        plan: FaultPlan,
        weight_per_minute: int = 0,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.dialect = dialect
        self.source = source
        self.requests = 0
        self.plan = plan
        self.limit = weight_per_minute or dialect.weight_per_minute
        self._budgets: dict[str, WeightBudget] = {}
        self._now_ms = now_ms or _now_ms
        self.public: dict[str, Call] = {
            "ping": self._ping,
            "time": self._time,
            "exchangeInfo": self._exchange_info,
            "depth": self._depth,
        }
        if dialect.futures:
            self.public |= {
                "fundingInfo": self._funding_info,
                "premiumIndex": self._premium_index,
                "openInterest": self._open_interest,
            }

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes under a prefix of the host's path."""
        base = prefix + self.dialect.path
        return [web.get(f"{base}/{name}", self._serve(call)) for name, call in self.public.items()]

    def _serve(self, call: Call) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            await self.plan.rest_wait(self.dialect.name)
            status = self.plan.rest_status(self.dialect.name)
            now = time.time()
            budget = self.budget(request.remote)
            if status:
                return self.fault(status, budget, now)
            weight, body = 1, None
            error: ApiError | None = None
            try:
                weight, body = call(self._parameters(request))
            except ApiError as refusal:
                error = refusal
            status = budget.spend(weight, now)
            if status:
                return self.refuse(status, budget, now)
            if error is not None:
                return self.answer(error.status, _error(error.code, str(error)), budget)
            return self.answer(200, orjson.dumps(body), budget)

        return serve

    def _parameters(self, request: web.Request) -> dict[str, str]:
        if len(request.query) > PARAMETERS_MOST:
            raise too_many()
        return single(request.query.items())

    def budget(self, remote: str | None) -> WeightBudget:
        """Return the budget of an address, for REST and WebSocket API together."""
        return self._budgets.setdefault(remote or "", WeightBudget(self.limit))

    def answer(
        self,
        status: int,
        body: bytes,
        budget: WeightBudget,
        retry_after: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Return an answer with the headers that tell what has been used."""
        headers = dict(more or {}) | {"X-MBX-USED-WEIGHT-1M": str(budget.used)}
        if not self.dialect.futures:
            headers["X-MBX-USED-WEIGHT"] = str(budget.used)
        if retry_after:
            headers["Retry-After"] = str(retry_after)
        return web.Response(
            status=status, body=body, headers=headers, content_type="application/json"
        )

    def refuse(self, status: int, budget: WeightBudget, now: float) -> web.Response:
        """Return the answer to a request beyond the budget."""
        wait = budget.retry_after(now)
        return self.answer(status, _error(-1003, self.refusal(status, wait, now)), budget, wait)

    def refusal(self, status: int, wait: int, now: float) -> str:
        """Return what the venue says of a request beyond the budget."""
        if status == 418:
            until = int((now + wait) * 1000)
            text = f"Way too much request weight used; IP banned until {until}. "
            text += "Please use WebSocket Streams for live updates to avoid bans."
        else:
            text = f"Too much request weight used; current limit is {self.limit} request weight "
            text += "per 1 MINUTE. Please use WebSocket Streams for live updates to avoid "
            text += "polling the API."
        return text

    def fault(self, status: int, budget: WeightBudget, now: float) -> web.Response:
        """Return the answer that a fault asks for."""
        code, text = FAULT_BODIES.get(status, (-1000, "An unknown error occurred."))
        wait = budget.retry_after(now) if status in (418, 429) else 0
        text = text.replace("{until}", str(int((now + wait) * 1000)))
        return self.answer(status, _error(code, text), budget, wait)

    def _ping(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        self.only(parameters, ())
        return 1, {}

    def _time(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        self.only(parameters, ())
        return 1, {"serverTime": self._now_ms()}

    def _exchange_info(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        weight = 1 if self.dialect.futures else 20
        wanted: list[str] | None = None
        if not self.dialect.futures:  # futures ignore parameters here
            self.only(
                parameters,
                ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"),
            )
            if "symbol" in parameters and "symbols" in parameters:
                raise ApiError(-1128, "Combination of optional parameters invalid.")
            if "symbol" in parameters:
                wanted = [self.symbol(parameters)]
            elif "symbols" in parameters:
                wanted = self.symbols(parameters["symbols"])
        info = exchange_info(self.dialect, self.source, self._now_ms())
        if wanted is not None:
            by_symbol = {entry["symbol"]: entry for entry in info["symbols"]}
            info["symbols"] = [by_symbol[symbol] for symbol in wanted]
        return weight, info

    def _depth(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        self.only(parameters, ("symbol", "limit", "symbolStatus"))
        symbol = self.symbol(parameters)
        limit = self._limit_of(parameters)
        weights = self.dialect.depth_weights
        weight = next(weight for highest, weight in weights if limit <= highest)
        book = self.source.depth(symbol, limit)
        if self.dialect.futures:
            now_ms = self._now_ms()
            times = {"lastUpdateId": book.pop("lastUpdateId"), "E": now_ms, "T": now_ms}
            return weight, times | book
        return weight, book

    def _limit_of(self, parameters: Mapping[str, str]) -> int:
        text = parameters.get("limit")
        if text is None:
            return self.dialect.depth_default
        if not re.match(_NUMBER_PATTERN, text):
            raise illegal("limit", _NUMBER_PATTERN)
        limit = int(text)
        if self.dialect.depth_limits:
            if limit not in self.dialect.depth_limits:
                raise ApiError(-4021, f"{limit} is not valid depth limit.")
            return limit
        if limit < 1:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, self.dialect.depth_weights[-1][0])

    def _funding_info(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        return 0, [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": 8,
                "disclaimer": False,
            }
            for symbol in self.source.instruments
        ]

    def _premium_index(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        if "symbol" in parameters:
            return 1, self._premium(self.symbol(parameters))
        return 10, [self._premium(symbol) for symbol in self.source.instruments]

    def _premium(self, symbol: str) -> dict[str, Any]:
        now_ms = self._now_ms()
        mark, index, settle, rate = self.source.funding(symbol) or ("0", "0", "0", "0")
        return {
            "symbol": symbol,
            "markPrice": mark,
            "indexPrice": index,
            "estimatedSettlePrice": settle,
            "lastFundingRate": rate,
            "interestRate": "0.00010000",
            "nextFundingTime": next_funding_ms(now_ms),
            "time": now_ms,
        }

    def _open_interest(self, parameters: Mapping[str, str]) -> tuple[int, Any]:
        symbol = self.symbol(parameters)
        interest = self.source.open_interest(symbol)
        return 1, {"openInterest": interest, "symbol": symbol, "time": self._now_ms()}

    def only(self, parameters: Mapping[str, str], known: tuple[str, ...]) -> None:
        """Refuse parameters that the endpoint does not have (futures ignore them)."""
        read = sum(name in known for name in parameters)
        if read != len(parameters) and not self.dialect.futures:
            text = "Not all sent parameters were read; "
            text += f"read '{read}' parameter(s) but was sent '{len(parameters)}'."
            raise ApiError(-1104, text)

    def symbol(self, parameters: Mapping[str, str]) -> str:
        """Return the symbol that a request names; raises ApiError unless there is one."""
        symbol = parameters.get("symbol")
        if symbol is None:
            raise missing("symbol")
        if not symbol:
            raise ApiError(-1105, "Parameter 'symbol' was empty.")
        if not re.match(SYMBOL_PATTERN, symbol):
            raise illegal("symbol", SYMBOL_PATTERN)
        if symbol not in self.source.instruments:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def symbols(self, text: str) -> list[str]:
        """Return the symbols of a parameter that lists some; raises ApiError."""
        if not re.match(_SYMBOLS_PATTERN, text):
            raise illegal("symbols", _SYMBOLS_PATTERN)
        symbols = [str(symbol) for symbol in orjson.loads(text)]
        if any(symbol not in self.source.instruments for symbol in symbols):
            raise ApiError(-1121, "Invalid symbol.")
        return symbols


def _error(code: int, message: str) -> bytes:
    return orjson.dumps({"code": code, "msg": message})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
