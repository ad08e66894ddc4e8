"""One Bybit namespace of the server: its streams, REST and WebSocket addresses."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from engine.common import Side
from gateways.simulator.account import Event
from gateways.simulator.bybit.desk import Desk
from gateways.simulator.bybit.dialect import CONNECTIONS, DIALECTS, RULES, describe
from gateways.simulator.bybit.filters import limits_of
from gateways.simulator.bybit.private_rest import PrivateRest
from gateways.simulator.bybit.private_session import PrivateSession, TradeSession, active_time
from gateways.simulator.bybit.rest import Rest
from gateways.simulator.bybit.session import BybitSession
from gateways.simulator.bybit.streams import VenueStreams
from gateways.simulator.matching import Outcome, Prevention
from gateways.simulator.session import Session
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading, TradingRules
from gateways.simulator.venue import Handler, Venue, VenueOptions

OPEN_ORDERS_MOST = 500


class BybitVenue(Venue):
    """Contracts, or spot, of Bybit over generated books.

    Where both are served, the addresses of either have both, as the real venue's one host does.
    """

    at_root = True

    def __init__(self, name: str, options: VenueOptions) -> None:
        super().__init__(name, options, rules=RULES, connections=CONNECTIONS, describe=describe)
        self.dialect = DIALECTS[name]
        self.streams: VenueStreams
        self.rest: Rest
        self.private: PrivateRest
        self.desk = Desk()

    def private_addresses(self, base: str) -> dict[str, str]:
        """Return where orders and private events go by WebSocket, under the venue's ``base``."""
        return {"orders": f"{base}/v5/trade", "private": f"{base}/v5/private"}

    def generate(self, markets: list[SimulatedBook], seed: int) -> None:
        """Serve generated books."""
        self.streams = VenueStreams(self.dialect, self.hub, markets)
        self.rest = Rest(self.plan, self.name, self.now_ms, self.limit_factor)
        self.rest.serve(self.streams)
        self.make_trading(markets, seed)
        self.clearing.listeners.append(self._hear)
        self.clearing.opened = lambda account: self.desk.welcome(self, account)
        self.desk.join(self)
        self.private = PrivateRest(self, self.desk)

    def meet(self, venues: Mapping[str, Venue]) -> None:
        """Share users, wallets and addresses with the other namespace."""
        for other in venues.values():
            if isinstance(other, BybitVenue) and other is not self:
                self.rest.serve(other.streams)
                if self not in other.desk.venues.values():
                    other.desk.join(self)
                    self.desk = other.desk
                    self.private = PrivateRest(self, self.desk)

    def trading_rules(self) -> TradingRules:
        """Return the venue's rules; its fees are those of an account without a tier."""
        spot = self.name == "bybit_spot"
        return TradingRules(
            maker=Decimal("0.0002"),
            taker=Decimal("0.00055"),
            post_only_refuses=False,
            duplicate_ids="forever",
            amend_below_filled="refuse",
            amend_post_only="cancel",
            reduce_only="truncate",
            orders_per_symbol=0 if spot else OPEN_ORDERS_MOST,
            orders_total=OPEN_ORDERS_MOST if spot else 0,
            limits=limits_of,
            prevention=Prevention.NONE,
            leverage=10,
            leverage_max=100,
        )

    @property
    def clearing(self) -> Trading:
        """The clearing house, once books are served."""
        assert self.trading is not None
        return self.trading

    def _hear(self, event: Event) -> None:
        self.desk.hear(self.clearing, event)

    def observe(self, market: SimulatedBook, outcome: Outcome, now_ms: int) -> None:
        """Publish what an operation in one of the books did."""
        self.streams.markets[market.instrument.symbol].observe(outcome, now_ms)

    def tick(self, now_ms: int) -> None:
        """Publish what is due by the clock."""
        self.streams.tick(now_ms)

    def handles(self, topic: str) -> bool:
        """Whether there is such a topic for some symbol of this namespace."""
        head = topic.rpartition(".")[0]
        return any(
            f"{head}.{symbol}" in market.topics for symbol, market in self.streams.markets.items()
        )

    def reset_sequences(self) -> None:
        """Send all books anew with ``u`` 1, as after a restart of the venue's service."""
        now_ms = self.now_ms()
        for market in self.streams.markets.values():
            market.restart(now_ms)

    @property
    def rest_requests(self) -> int:
        """How many REST requests have come."""
        return self.rest.requests + self.private.requests

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return all addresses under a prefix of the host's path."""
        return [
            *self.rest.routes(prefix),
            *self.private.routes(prefix),
            *(
                web.get(f"{prefix}/v5/public/{category}", venue.public_address(category))
                for category, venue in self.desk.venues.items()
            ),
            web.get(f"{prefix}/v5/private", self._signed_address(PrivateSession)),
            web.get(f"{prefix}/v5/trade", self._signed_address(TradeSession)),
        ]

    def public_address(self, category: str) -> Handler:
        """Return what answers at the address of a category's public topics."""

        def make(request: web.Request, number: int) -> Session:
            return BybitSession(self, number, category=category)

        return self.connect(make)

    def _signed_address(self, kind: type[PrivateSession] | type[TradeSession]) -> Handler:
        def make(request: web.Request, number: int) -> Session:
            return kind(self, number, self.desk, active_time(request))

        return self.connect(make)

    def books(self, levels: int | None) -> dict[str, dict[str, Any]]:
        """Return the true books."""
        found = {}
        for symbol, market in self.streams.markets.items():
            price = market.market.instrument.price
            quantity = market.market.instrument.quantity
            book, stats = market.market.book, market.market.stats
            sides = [
                [
                    [price.text(ticks), quantity.text(lots)]
                    for ticks, lots in book.depth(side, levels)
                ]
                for side in (Side.BUY, Side.SELL)
            ]
            found[symbol] = {
                "update_id": book.update_id,
                "bids": sides[0],
                "asks": sides[1],
                "trades": stats.last_id - stats.first_id + 1,
            }
        return found
