"""What the REST sides of OKX and Bybit share: faults, request limits, JSON answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateways.simulator.faults import FaultPlan
from gateways.simulator.limits import SlidingLimit
from gateways.simulator.venue import Handler

Call = Callable[[Mapping[str, str]], Any]


class ApiError(Exception):
    """A refusal in the venue's words."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class PublicRest(ABC):
    """GET endpoints that answer with one JSON object each."""

    def __init__(self, plan: FaultPlan, venue: str) -> None:
        self.requests = 0
        self._venue = venue
        self._plan = plan
        self._limits: dict[tuple[str, str], SlidingLimit] = {}

    @abstractmethod
    def endpoints(self) -> dict[str, tuple[Call, tuple[int, float]]]:
        """Return by path what answers, and how many requests in how many seconds are allowed."""

    @abstractmethod
    def envelope(self, result: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the body of a good answer."""

    @abstractmethod
    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the body of a refusal."""

    @abstractmethod
    def broken(self, status: int) -> ApiError:
        """Return what the venue says with an HTTP status that a fault asks for."""

    @abstractmethod
    def too_many(self) -> ApiError:
        """Return what the venue says to a client beyond its limit."""

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes under a prefix of the host's path."""
        return [
            web.get(prefix + path, self._serve(path, call, limit))
            for path, (call, limit) in self.endpoints().items()
        ]

    def _serve(self, path: str, call: Call, limit: tuple[int, float]) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            await self._plan.rest_wait(self._venue)
            status = self._plan.rest_status(self._venue)
            key = (request.remote or "", path)
            allowed = self._limits.setdefault(key, SlidingLimit(*limit)).allow(time.monotonic())
            try:
                if status:
                    raise self.broken(status)
                if not allowed:
                    raise self.too_many()
                return _answer(200, self.envelope(call(dict(request.query))))
            except ApiError as error:
                return _answer(error.status, self.refusal(error))

        return serve


def _answer(status: int, body: Any) -> web.Response:  # noqa: ANN401 - JSON
    headers = {"Retry-After": "1"} if status in (418, 429) else {}
    return web.Response(
        status=status, body=orjson.dumps(body), headers=headers, content_type="application/json"
    )
