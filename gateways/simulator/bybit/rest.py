"""The public REST endpoints of Bybit v5: parameters, limits, errors and answers as the venue's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from engine.common import Side
from gateways.simulator.bybit.filters import describe_instrument
from gateways.simulator.bybit.limits import ADDRESS
from gateways.simulator.bybit.streams import REST_LEVELS, MarketStreams, VenueStreams
from gateways.simulator.digits import whole
from gateways.simulator.faults import FaultPlan
from gateways.simulator.rest import ApiError, Call, PublicRest

CATEGORIES = ("linear", "inverse", "spot", "option")
PAGE, PAGE_MOST = 500, 1000
_DEPTHS = {"spot": (1, 200), "linear": (25, 1000), "inverse": (25, 1000)}
"""Category -> levels without the parameter ``limit``, and the most that it may ask for."""
_CURSOR = "place="


class Rest(PublicRest):
    """The REST endpoints over the generated books."""

    def __init__(
        self, plan: FaultPlan, venue: str, now_ms: Callable[[], int], factor: float = 1.0
    ) -> None:
        super().__init__(plan, venue)
        requests, period_s = ADDRESS
        self._limit = (max(1, int(requests * factor)), period_s)
        self._now_ms = now_ms
        self._streams: list[VenueStreams] = []

    def serve(self, streams: VenueStreams) -> None:
        """Answer for the markets of a venue, too."""
        self._streams.append(streams)

    def endpoints(self) -> dict[str, tuple[Call, tuple[int, float]]]:
        """Return what answers at each path, and its limit."""
        return {
            "/v5/market/time": (self._time, self._limit),
            "/v5/market/instruments-info": (self._instruments, self._limit),
            "/v5/market/orderbook": (self._orderbook, self._limit),
            "/v5/market/tickers": (self._tickers, self._limit),
            "/v5/market/recent-trade": (self._trades, self._limit),
        }

    def envelope(self, result: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the body of a good answer."""
        return envelope(0, "OK", result, self._now_ms())

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the body of a refusal."""
        return envelope(error.code, str(error), {}, self._now_ms())

    def broken(self, status: int) -> ApiError:
        """Return what the venue says with a status that a fault asks for."""
        if status in (403, 429):
            return ApiError(10006, "Too many visits. Exceeded the API Rate Limit.", status)
        return ApiError(10016, "Internal server error.", status)

    def too_many(self) -> ApiError:
        """Return what the venue says to a client beyond its limit."""
        return self.broken(403)

    def _time(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        now_ms = self._now_ms()
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def _instruments(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        category = _category(parameters)
        markets = [
            market for market in self._markets() if market.category == category and market.listed
        ]
        symbol = parameters.get("symbol")
        if symbol:
            markets = [market for market in markets if market.symbol == symbol]
            if not markets:
                raise ApiError(10001, f"params error: symbol invalid {symbol}")
        entries = [describe_instrument(market.market.instrument) for market in markets]
        if category == "spot":  # Not paged.
            return {"category": category, "list": entries, "nextPageCursor": ""}
        limit = _number(parameters, "limit", PAGE, PAGE_MOST)
        start = _place(parameters, len(entries))
        end = start + limit
        # Percent-encoded already, as the venue's cursors are.
        cursor = quote(f"{_CURSOR}{end}", safe="") if end < len(entries) else ""
        return {"category": category, "list": entries[start:end], "nextPageCursor": cursor}

    def _orderbook(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        category = _category(parameters)
        market = self._market(category, parameters.get("symbol", ""))
        usual, most = _DEPTHS.get(category, (25, 25))
        limit = _number(parameters, "limit", usual, most)
        now_ms = self._now_ms()
        stream = market.books[REST_LEVELS]
        market.revive(stream, now_ms)
        return {
            "s": market.symbol,
            "b": market.levels(stream.view.rows(Side.BUY, limit)),
            "a": market.levels(stream.view.rows(Side.SELL, limit)),
            "ts": now_ms,
            "u": stream.u,
            "seq": stream.seq,
            "cts": now_ms,
        }

    def _tickers(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        category, symbol = _category(parameters), parameters.get("symbol", "")
        if symbol:
            markets = [self._market(category, symbol)]
        else:
            base = parameters.get("baseCoin", "")
            markets = [
                market
                for market in self._markets()
                if market.category == category
                and market.listed
                and base in ("", market.market.instrument.base)
            ]
        now_ms = self._now_ms()
        return {"category": category, "list": [market.ticker(now_ms) for market in markets]}

    def _trades(self, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        category = _category(parameters)
        market = self._market(category, parameters.get("symbol", ""))
        usual, most = (60, 60) if category == "spot" else (500, 1000)
        limit = _number(parameters, "limit", usual, most)
        return {"category": category, "list": market.recent(limit)}

    def _markets(self) -> Iterator[MarketStreams]:
        return (market for streams in self._streams for market in streams.markets.values())

    def _market(self, category: str, symbol: str) -> MarketStreams:
        for market in self._markets():
            if market.symbol == symbol and market.category == category:
                return market
        raise ApiError(10001, f"params error: symbol invalid {symbol}".rstrip())


def _category(parameters: Mapping[str, str]) -> str:
    category = parameters.get("category", "")
    if category not in CATEGORIES:
        raise ApiError(10001, "params error: Category is invalid")
    return category


def _place(parameters: Mapping[str, str], most: int) -> int:
    cursor = unquote(parameters.get("cursor", ""))
    if not cursor:
        return 0
    place = whole(cursor.removeprefix(_CURSOR))
    if not cursor.startswith(_CURSOR) or place is None:
        raise ApiError(10001, "params error: cursor invalid")
    return min(place, most)


def _number(parameters: Mapping[str, str], name: str, usual: int, most: int) -> int:
    text = parameters.get(name)
    if not text:
        return usual
    number = whole(text)
    if number is None:
        raise ApiError(10001, f"params error: {name} invalid")
    return min(number, most)


def envelope(
    code: int,
    message: str,
    result: Any,  # noqa: ANN401 - JSON
    now_ms: int,
    extra: Any = None,  # noqa: ANN401 - JSON
) -> dict[str, Any]:
    """Return the body of an answer."""
    return {
        "retCode": code,
        "retMsg": message,
        "result": result,
        "retExtInfo": extra or {},
        "time": now_ms,
    }
