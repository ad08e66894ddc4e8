"""OKX on the server: its streams, REST and WebSocket addresses."""

from typing import Any

from aiohttp import web

from engine.common import Side
from gateways.simulator.matching import Outcome
from gateways.simulator.okx.dialect import CONNECTIONS, KEEP_ALIVE_S, ROUTES, RULES, describe
from gateways.simulator.okx.orders import OrderDesk
from gateways.simulator.okx.private_rest import PrivateRest
from gateways.simulator.okx.private_streams import PrivateStreams
from gateways.simulator.okx.rest import Rest
from gateways.simulator.okx.rules import trading_rules
from gateways.simulator.okx.session import OkxSession
from gateways.simulator.okx.streams import VenueStreams
from gateways.simulator.session import Session
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading, TradingRules
from gateways.simulator.venue import Handler, Venue, VenueOptions


class OkxVenue(Venue):
    """Spot and swaps of OKX over generated books."""

    def __init__(self, name: str, options: VenueOptions) -> None:
        super().__init__(name, options, rules=RULES, connections=CONNECTIONS, describe=describe)
        self.wants_codes = options.instrument_codes
        self.streams: VenueStreams
        self.rest: Rest
        self.clearing: Trading
        self.private: PrivateStreams
        self.desk: OrderDesk
        self.private_rest: PrivateRest

    def trading_rules(self) -> TradingRules:
        """Return the venue's rules for orders."""
        return trading_rules()

    def private_addresses(self, base: str) -> dict[str, str]:
        """Return where orders and private events go by WebSocket, under the venue's ``base``."""
        return {"orders and private": f"{base}/ws/v5/private"}

    def generate(self, markets: list[SimulatedBook], seed: int) -> None:
        """Serve generated books."""
        keep_alive_s = self.timing.keep_alive_s or KEEP_ALIVE_S
        self.streams = VenueStreams(self.hub, self.plan, markets, keep_alive_s)
        self.rest = Rest(self.streams, self.plan, self.name, self.now_ms)
        self.clearing = self.make_trading(markets, seed)
        self.private = PrivateStreams(self.clearing)
        self.desk = OrderDesk(self.clearing, self.private, self.now_ms, self.limit_factor)
        self.private_rest = PrivateRest(self, self.desk, self.private)

    def observe(self, market: SimulatedBook, outcome: Outcome, now_ms: int) -> None:
        """Publish what an operation in one of the books did."""
        self.streams.markets[market.instrument.symbol].observe(outcome, now_ms)

    def tick(self, now_ms: int) -> None:
        """Publish what is due by the clock."""
        self.streams.tick(now_ms)
        self.private.tick(now_ms)

    def reset_sequences(self) -> None:
        """Go on with lower numbers (``seqId`` below ``prevSeqId``, once for each book)."""
        for market in self.streams.markets.values():
            market.reset_sequence()

    @property
    def rest_requests(self) -> int:
        """How many REST requests have come."""
        return self.rest.requests + self.private_rest.requests

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return all addresses under a prefix of the host's path."""
        sockets = [web.get(f"{prefix}/ws/v5/{route}", self._connect(route)) for route in ROUTES]
        return self.rest.routes(prefix) + self.private_rest.routes(prefix) + sockets

    def _connect(self, route: str) -> Handler:
        def make(request: web.Request, number: int) -> Session:
            return OkxSession(self, number, route=route)

        return self.connect(make)

    def books(self, levels: int | None) -> dict[str, dict[str, Any]]:
        """Return the true books."""
        return {
            symbol: {
                "update_id": market.seq(),
                "bids": [row[:2] for row in market.rows(Side.BUY, levels)],
                "asks": [row[:2] for row in market.rows(Side.SELL, levels)],
                "trades": market.market.stats.last_id - market.market.stats.first_id + 1,
            }
            for symbol, market in self.streams.markets.items()
        }
