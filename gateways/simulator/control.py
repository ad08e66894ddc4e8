"""The control interface of the server: tests and people look inside and make things happen.

It answers to loopback only. What each address does stands in ``server``.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from aiohttp import web

from engine.errors import ConfigError
from gateways.simulator.account import Account, AccountSettings, Refused
from gateways.simulator.digits import whole
from gateways.simulator.statement import statement
from gateways.simulator.trading import Trading

if TYPE_CHECKING:
    from gateways.simulator.server import SimulatedVenue

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_EVENTS_MAX = 1_000_000


class _Change(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of ``/control/instrument``."""

    venue: str
    symbol: str
    tick: int | None = None
    listing: str | None = None


class _Forced(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of ``/control/liquidate``, ``deleverage``, ``funding`` and ``deposit``."""

    venue: str
    symbol: str = ""
    key: str = ""
    """Of the account; empty for the first one."""
    lots: int = 0
    asset: str = ""
    amount: str = ""


class _Opened(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of ``/control/accounts``."""

    account: AccountSettings
    venue: str = ""
    """Empty for all of them."""


class Control:
    """The addresses under ``/control`` of one server."""

    def __init__(self, server: "SimulatedVenue") -> None:
        self._server = server

    def routes(self) -> list[web.RouteDef]:
        """Return all of them."""
        return [
            web.get("/control/state", _guarded(self._state)),
            web.get("/control/faults", _guarded(self._faults)),
            web.post("/control/faults", _guarded(self._change_faults)),
            web.delete("/control/faults", _guarded(self._clear_faults)),
            web.post("/control/instrument", _guarded(self._instrument)),
            web.post("/control/pause", _guarded(self._pause)),
            web.post("/control/resume", _guarded(self._resume)),
            web.post("/control/step", _guarded(self._step)),
            web.get("/control/accounts", _guarded(self._accounts)),
            web.post("/control/accounts", _guarded(self._open_account)),
            web.post("/control/liquidate", _guarded(self._liquidate)),
            web.post("/control/deleverage", _guarded(self._deleverage)),
            web.post("/control/funding", _guarded(self._funding)),
            web.post("/control/deposit", _guarded(self._deposit)),
        ]

    async def _state(self, request: web.Request) -> web.Response:
        text = request.query.get("levels", "10")
        levels = whole(text)
        if levels is None:
            raise ConfigError(f"levels is a number, 0 for all, got {text!r}")
        return _json(self._server.state(levels or None))

    async def _faults(self, request: web.Request) -> web.Response:
        return _json(msgspec.to_builtins(self._server.plan.faults))

    async def _change_faults(self, request: web.Request) -> web.Response:
        self._server.set_faults(**await _body(request))
        return await self._faults(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._server.plan.clear()
        return await self._faults(request)

    async def _instrument(self, request: web.Request) -> web.Response:
        wanted = await _body(request)
        self._server.change_instrument(**msgspec.to_builtins(msgspec.convert(wanted, _Change)))
        return _json(wanted)

    async def _pause(self, request: web.Request) -> web.Response:
        self._server.pause()
        return _json({"paused": True})

    async def _resume(self, request: web.Request) -> web.Response:
        self._server.resume()
        return _json({"paused": False})

    async def _step(self, request: web.Request) -> web.Response:
        server = self._server
        events = (await _body(request)).get("events")
        if not isinstance(events, int) or not 0 < events <= _EVENTS_MAX:
            raise ConfigError(f"events is a number up to {_EVENTS_MAX}, got {events!r}")
        server.step(events)
        return _json({"steps": server.simulation.steps if server.simulation is not None else 0})

    async def _accounts(self, request: web.Request) -> web.Response:
        """Answer with the books of the accounts that ``venue``, ``key`` and ``past`` ask for."""
        text = request.query.get("past", "")
        past = whole(text) if text else None
        if text and past is None:
            raise ConfigError(f"past is a number of orders and fills, got {text!r}")
        venue, key = request.query.get("venue", ""), request.query.get("key", "")
        found: dict[str, dict[str, Any]] = {}
        for name, each in self._server.venues.items():
            if each.trading is not None and venue in ("", name):
                accounts = [a for a in each.trading.accounts if key in ("", a.key)]
                found[name] = {a.key: statement(each.trading, a, past) for a in accounts}
        return _json(found)

    async def _open_account(self, request: web.Request) -> web.Response:
        wanted = msgspec.convert(await _body(request), _Opened)
        names = [wanted.venue] if wanted.venue else list(self._server.venues)
        venues = [name for name in names if wanted.venue or self._has_trading(name)]
        uids = {name: self._trading(name).add_account(wanted.account).uid for name in venues}
        return _json({"key": wanted.account.key, "uid": uids})

    async def _liquidate(self, request: web.Request) -> web.Response:
        trading, account, wanted, now_ms = await self._forced(request)
        orders = trading.liquidate(account, wanted.symbol, now_ms)
        return _json({"orders": [str(order.id) for order in orders]})

    async def _deleverage(self, request: web.Request) -> web.Response:
        trading, account, wanted, now_ms = await self._forced(request)
        if wanted.lots < 1:
            raise ConfigError(f"lots is a number above 0, got {wanted.lots}")
        orders = trading.deleverage(account, wanted.symbol, wanted.lots, now_ms)
        return _json({"orders": [str(order.id) for order in orders]})

    async def _funding(self, request: web.Request) -> web.Response:
        trading, _, wanted, now_ms = await self._forced(request)
        trading.pay_funding(wanted.symbol, now_ms)
        return _json({"symbol": wanted.symbol})

    async def _deposit(self, request: web.Request) -> web.Response:
        trading, account, wanted, now_ms = await self._forced(request)
        try:
            amount = Decimal(wanted.amount)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not (wanted.asset and amount.is_finite()):
            raise ConfigError(f"asset and amount: got {wanted.asset!r} and {wanted.amount!r}")
        trading.deposit(account, wanted.asset, amount, now_ms)
        return _json({"asset": wanted.asset})

    async def _forced(self, request: web.Request) -> tuple[Trading, Account, _Forced, int]:
        wanted = msgspec.convert(await _body(request), _Forced)
        trading = self._trading(wanted.venue)
        account = trading.by_key(wanted.key)
        if account is None and not wanted.key and trading.accounts:
            account = trading.accounts[0]
        if account is None:
            raise ConfigError(f"{wanted.venue} has no account with the key {wanted.key!r}")
        return trading, account, wanted, self._server.venues[wanted.venue].now_ms()

    def _has_trading(self, name: str) -> bool:
        return self._server.venues[name].trading is not None

    def _trading(self, name: str) -> Trading:
        venue = self._server.venues.get(name)
        if venue is None or venue.trading is None:
            raise ConfigError(f"the simulator trades on no venue {name!r} now")
        return venue.trading


def _guarded(answer: Callable[[web.Request], Awaitable[web.Response]]) -> Answer:
    """Let only this machine in, and turn what cannot be done into a 400 that says why."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            local = ip_address(request.remote or "").is_loopback
        except ValueError:
            local = False
        if not local:
            raise web.HTTPForbidden(text="the control interface answers to loopback only")
        try:
            return await answer(request)
        except (ConfigError, msgspec.ValidationError, Refused) as error:
            return _json({"error": str(error)}, 400)

    return guarded


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ConfigError("the body is not a JSON object")
    return body


def _json(body: Any, status: int = 200) -> web.Response:  # noqa: ANN401 - JSON
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
