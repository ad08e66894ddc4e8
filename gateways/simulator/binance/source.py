"""Where the answers of a Binance venue come from: generated markets, or a replayed capture."""

from collections.abc import Mapping
from typing import Any, Protocol

from engine.common import Side
from gateways.simulator.binance.dialect import Dialect
from gateways.simulator.binance.streams import VenueStreams
from gateways.simulator.instruments import Instrument, Listing


class Source(Protocol):
    """What REST answers are made of."""

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The instruments by symbol."""

    def depth(self, symbol: str, limit: int | None) -> dict[str, Any]:
        """Return ``lastUpdateId``, ``bids`` and ``asks`` (all levels if ``limit`` is None)."""

    def trades(self, symbol: str) -> int:
        """Return how many trades there have been."""

    def funding(self, symbol: str) -> tuple[str, str, str, str] | None:
        """Return mark, index, settlement price and rate, if the source knows them."""

    def open_interest(self, symbol: str) -> str:
        """Return the open interest in the base currency, ``"0"`` if the source does not know it."""


class GeneratedSource:
    """Answers from the matching engine."""

    def __init__(self, dialect: Dialect, streams: VenueStreams) -> None:
        self.dialect = dialect
        self.streams = streams
        self._first_trade = {
            symbol: streams.market.book.last_trade_id for symbol, streams in streams.markets.items()
        }

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments that are listed now, by symbol."""
        found = {name: each.market.instrument for name, each in self.streams.markets.items()}
        return {name: one for name, one in found.items() if one.listing is not Listing.DELISTED}

    def depth(self, symbol: str, limit: int | None) -> dict[str, Any]:
        """Return the book as it is now."""
        streams = self.streams.markets[symbol]
        return {
            "lastUpdateId": streams.market.book.update_id,
            "bids": streams.levels(Side.BUY, limit),
            "asks": streams.levels(Side.SELL, limit),
        }

    def trades(self, symbol: str) -> int:
        """Return the number of matches since the start."""
        streams = self.streams.markets[symbol]
        return streams.market.book.last_trade_id - self._first_trade[symbol]

    def funding(self, symbol: str) -> tuple[str, str, str, str] | None:
        """Return the present mark, index and settlement price, and the rate."""
        if not self.dialect.futures:
            return None
        streams = self.streams.markets[symbol]
        return (*streams.prices(), streams.rate())

    def open_interest(self, symbol: str) -> str:
        """Return the present open interest in the base currency."""
        market = self.streams.markets[symbol].market
        assert market.reference is not None
        return market.instrument.quantity.text(market.reference.open_interest)
