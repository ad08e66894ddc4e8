"""The public questions about prices that trading clients ask.

Source: binance-spot-api-docs rest-api.md "Market data" (2026-07), USDⓈ-M "Market data" (2026-08).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from gateways.simulator.binance.rest import Call, Rest
from gateways.simulator.market import moved_ppm, now_top, traded_value
from gateways.simulator.simulation import SimulatedBook

DAY_MS = 86_400_000

Json = dict[str, Any]


class Tickers:
    """Prices of the generated markets; ``install`` hands the endpoints to the public REST half."""

    def __init__(
        self, rest: Rest, markets: Mapping[str, SimulatedBook], now_ms: Callable[[], int]
    ) -> None:
        self._rest = rest
        self._markets = markets
        self._now_ms = now_ms
        self._futures = rest.dialect.futures

    def install(self) -> None:
        """Serve the endpoints."""
        self._rest.public |= {
            "ticker/price": self._of(self._price, 2, 4),
            "ticker/bookTicker": self._of(self._book, 2, 4),
            "ticker/24hr": self._of(self._day, 2, 80),
        }

    def _of(self, tell: Callable[[SimulatedBook], Json], one: int, all_of_them: int) -> Call:
        def call(parameters: Mapping[str, str]) -> tuple[int, Any]:
            if "symbol" in parameters:
                return one, tell(self._markets[self._rest.symbol(parameters)])
            names = list(self._rest.source.instruments)
            if "symbols" in parameters and not self._futures:
                names = self._rest.symbols(parameters["symbols"])
            return all_of_them, [tell(self._markets[name]) for name in names]

        return call

    def _timed(self, told: Json) -> Json:
        return told | {"time": self._now_ms()} if self._futures else told

    def _price(self, market: SimulatedBook) -> Json:
        instrument = market.instrument
        price = instrument.price.text(market.stats.last)
        return self._timed({"symbol": instrument.symbol, "price": price})

    def _best(self, market: SimulatedBook) -> Json:
        bid, bid_lots, ask, ask_lots = now_top(market.book)
        price, quantity = market.instrument.price, market.instrument.quantity
        return {
            "bidPrice": price.text(bid),
            "bidQty": quantity.text(bid_lots),
            "askPrice": price.text(ask),
            "askQty": quantity.text(ask_lots),
        }

    def _book(self, market: SimulatedBook) -> Json:
        return self._timed({"symbol": market.instrument.symbol, **self._best(market)})

    def _day(self, market: SimulatedBook) -> Json:
        instrument, stats = market.instrument, market.stats
        price, quantity = instrument.price, instrument.quantity
        mantissa, decimals = traded_value(instrument, stats.turnover)
        average = stats.turnover // stats.volume if stats.volume else stats.last
        percent = Decimal(moved_ppm(stats.first, stats.last)).scaleb(-4)
        now_ms = self._now_ms()
        told = {
            "symbol": instrument.symbol,
            "priceChange": price.text(stats.last - stats.first),
            "priceChangePercent": f"{percent:.3f}",
            "weightedAvgPrice": price.text(average),
            "lastPrice": price.text(stats.last),
            "lastQty": quantity.text(stats.last_lots),
            "openPrice": price.text(stats.first),
            "highPrice": price.text(stats.high),
            "lowPrice": price.text(stats.low),
            "volume": quantity.text(stats.volume),
            "quoteVolume": f"{Decimal(mantissa).scaleb(-decimals):.8f}",
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": stats.first_id,
            "lastId": stats.last_id,
            "count": stats.trades,
        }
        if not self._futures:
            told |= {"prevClosePrice": price.text(stats.first), **self._best(market)}
        return told
