"""One Binance market of the server: its streams, REST and WebSocket addresses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from engine.errors import ConfigError
from gateways.simulator.binance import spot_orders, usdm_orders
from gateways.simulator.binance.codes import SPOT_WORDS, USDM_WORDS
from gateways.simulator.binance.desk import Desk
from gateways.simulator.binance.dialect import DIALECTS, Dialect, describe
from gateways.simulator.binance.listen_keys import ListenKeys
from gateways.simulator.binance.private_rest import PrivateRest
from gateways.simulator.binance.replay import Replay
from gateways.simulator.binance.rest import Rest
from gateways.simulator.binance.sapi import Sapi
from gateways.simulator.binance.session import BinanceSession
from gateways.simulator.binance.source import GeneratedSource, Source
from gateways.simulator.binance.spot_orders import SpotOrders
from gateways.simulator.binance.streams import VenueStreams
from gateways.simulator.binance.tickers import Tickers
from gateways.simulator.binance.usdm_account import UsdmAccount
from gateways.simulator.binance.usdm_orders import UsdmOrders
from gateways.simulator.binance.user_stream import SpotUserStream, UsdmUserStream, UserStream
from gateways.simulator.binance.ws_api import ApiSession
from gateways.simulator.capture import Capture
from gateways.simulator.matching import Outcome
from gateways.simulator.session import Session
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import TradingRules
from gateways.simulator.venue import Handler, Venue, VenueOptions


def _scaled(dialect: Dialect, factor: float) -> Dialect:
    """Return a dialect whose limits of weight and orders are so many times the venue's own."""
    limits = tuple(
        replace(each, limit=max(1, int(each.limit * factor))) for each in dialect.order_limits
    )
    weight = max(1, int(dialect.weight_per_minute * factor))
    return replace(dialect, order_limits=limits, weight_per_minute=weight)


class BinanceVenue(Venue):
    """A market that speaks one dialect, over generated books or a replay."""

    at_root = True

    def __init__(self, name: str, options: VenueOptions) -> None:
        self.dialect = dialect = _scaled(DIALECTS[name], options.limit_factor)
        super().__init__(
            name,
            options,
            rules=dialect.rules,
            connections=(dialect.connections_per_5_minutes, 300.0),
            describe=describe,
        )
        self.streams: VenueStreams | None = None
        self.desk: Desk | None = None
        """The private half, if the books are generated."""
        self.user_stream: UserStream | None = None
        self.keys: ListenKeys | None = None
        """Of USDⓈ-M; spot has none any more."""
        self._private: PrivateRest | None = None
        self.rest: Rest
        self._source: Source
        self._weight = options.weight_per_minute

    def generate(self, markets: list[SimulatedBook], seed: int) -> None:
        """Serve generated books."""
        self.streams = VenueStreams(self.dialect, self.hub, markets)
        self._serve(GeneratedSource(self.dialect, self.streams))
        trading = self.make_trading(markets, seed)
        by_symbol = {market.instrument.symbol: market for market in markets}
        Tickers(self.rest, by_symbol, self.now_ms).install()
        words = USDM_WORDS if self.dialect.futures else SPOT_WORDS
        desk = self.desk = Desk(self.dialect, trading, by_symbol, self.now_ms, words)
        if self.dialect.futures:
            contracts = UsdmOrders(desk, seed)
            contracts.install()
            self.keys = ListenKeys(seed, self._expired)
            UsdmAccount(desk, self.keys).install()
            self.user_stream = UsdmUserStream(desk, contracts)
        else:
            orders = SpotOrders(desk)
            orders.install()
            Sapi(desk).install()
            self.user_stream = SpotUserStream(desk, orders)
        self._private = PrivateRest(self.rest, desk, self.user_stream)

    def trading_rules(self) -> TradingRules:
        """Return the venue's rules."""
        return usdm_orders.rules() if self.dialect.futures else spot_orders.rules()

    def private_addresses(self, base: str) -> dict[str, str]:
        """Return where orders and private events go by WebSocket, under the venue's ``base``."""
        found = {"orders": base + self.dialect.api_path}
        if self.dialect.futures:
            found["private"] = f"{base}/private"
        return found

    def expire_keys(self) -> int:
        """End all listen keys as if their time were over; return how many."""
        return self.keys.expire() if self.keys is not None else 0

    def _expired(self, key: str) -> None:
        for session in list(self.sessions):
            if isinstance(session, BinanceSession):
                session.key_expired(key)

    def play(self, capture: Capture, speed: float, exchange_info: Path | None) -> Replay:
        """Serve a capture, which begins with the first subscription."""
        info: dict[str, Any] | None = None
        if exchange_info is not None:
            try:
                info = orjson.loads(exchange_info.read_bytes())
            except (OSError, ValueError) as error:
                where = exchange_info
                raise ConfigError(f"exchange_info: {where} cannot be read: {error}") from None
        self.replay = replay = Replay(
            self.dialect, self.hub, capture, speed=speed, exchange_info=info
        )
        self._serve(replay)
        return replay

    def _serve(self, source: Source) -> None:
        self._source = source
        self.rest = Rest(self.dialect, source, self.plan, self._weight, self.now_ms)

    def observe(self, market: SimulatedBook, outcome: Outcome, now_ms: int) -> None:
        """Publish what an operation in one of the books did."""
        assert self.streams is not None
        self.streams.markets[market.instrument.symbol].observe(outcome, now_ms)

    def tick(self, now_ms: int) -> None:
        """Publish what is due by the clock."""
        if self.streams is not None:
            self.streams.tick(now_ms)
        if self.keys is not None:
            self.keys.tick(now_ms)
        if self.user_stream is not None:
            self.user_stream.flush()

    @property
    def rest_requests(self) -> int:
        """How many REST requests have come."""
        return self.rest.requests

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return all addresses under a prefix of the host's path."""
        found = self.rest.routes(prefix)
        if self._private is not None:
            found += self._private.routes(prefix)
            found.append(web.get(prefix + self.dialect.api_path, self.connect(self._api)))
        for route in ("", *self.dialect.routes):
            base = f"{prefix}/{route}" if route else prefix
            found += [
                web.get(f"{base}/ws", self._connect(route, wrapped=False)),
                web.get(base + "/ws/{streams:.*}", self._connect(route, wrapped=False)),
                web.get(f"{base}/stream", self._connect(route, wrapped=True)),
            ]
        return found

    def _connect(self, route: str, *, wrapped: bool) -> Handler:
        def make(request: web.Request, number: int) -> Session:
            text = request.match_info.get("streams", "") or request.query.get("streams", "")
            streams = [name for name in text.split("/") if name]
            key = request.query.get("listenKey", "")
            if key:
                streams.append(key)
            events = frozenset(filter(None, request.query.get("events", "").split("/")))
            return BinanceSession(
                self, number, route=route, streams=streams, wrapped=wrapped, events=events
            )

        return self.connect(make)

    def _api(self, request: web.Request, number: int) -> Session:
        tells = request.query.get("returnRateLimits", "true") != "false"
        return ApiSession(self, number, tells_limits=tells)

    def books(self, levels: int | None) -> dict[str, dict[str, Any]]:
        """Return the true books."""
        found = {}
        for symbol in self._source.instruments:
            book = self._source.depth(symbol, levels)
            found[symbol] = {
                "update_id": book["lastUpdateId"],
                "bids": book["bids"],
                "asks": book["asks"],
                "trades": self._source.trades(symbol),
            }
        return found
