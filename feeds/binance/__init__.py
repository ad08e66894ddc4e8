"""Binance's public side: spot and USDⓈ-M futures, one adapter each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.common import Endpoints, Exchange
from feeds.adapter import (
    Channel,
    InstrumentFields,
    RestRequest,
    Stream,
    Texts,
    Venue,
)
from feeds.binance import endpoints, infer, session, symbols

if TYPE_CHECKING:
    from feeds.sync import SyncRule

__all__ = ["BINANCE_SPOT", "BINANCE_USDM", "BinanceAdapter"]


class BinanceAdapter(Venue):
    """``feeds.adapter.ExchangeAdapter`` for one of Binance's markets."""

    def __init__(self, exchange: Exchange, market: session.Market, *, futures: bool) -> None:
        super().__init__(exchange, session.RULES)
        self._market, self._futures = market, futures

    @property
    def weight_header(self) -> str:
        """Return the header with the weight used this minute."""
        return "X-MBX-USED-WEIGHT-1M"

    @property
    def scan(self) -> Callable[..., int]:
        """Return the jitted scanner (imported on first use: a feed never needs it)."""
        from feeds.binance.parse import scan

        return scan

    @property
    def sync_rule(self) -> "SyncRule":
        """Return the market's book synchronisation rule (imported on first use, like ``scan``).

        Spot: ids count the book's changes, the first update after snapshot S contains S + 1.
        USDⓈ-M: ids are global; ``pu`` links updates; the first one contains S (or links to it).
        """
        from feeds.sync import Bridge, Chain, SyncRule

        if self._futures:
            return SyncRule(Chain.PREVIOUS, 0, Bridge.FIRST | Bridge.PREVIOUS_EQUAL, 0)
        return SyncRule(Chain.FIRST, 1, Bridge.FIRST, 1)

    def endpoints_at(self, rest: str, websocket: str) -> Endpoints:
        """Return endpoints at other base URLs."""
        build = endpoints.usdm_endpoints if self._futures else endpoints.spot_endpoints
        return build(rest, websocket)

    @property
    def book_streams(self) -> tuple[str, ...]:
        """Return the suffixes of the depth streams, the default first."""
        return self._market.books

    def streams_for(self, native: str, channels: Iterable[Channel], book: str = "") -> list[Stream]:
        """Return the streams of an instrument."""
        return session.streams_for(self._market, native, channels, book)

    def ws_url(self, route: str, streams: Sequence[str], environment: Endpoints) -> str:
        """Return the URL of a combined connection."""
        return session.combined_url(environment.websocket[route], streams)

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return a SUBSCRIBE message."""
        return session.control("SUBSCRIBE", streams, request_id)

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return an UNSUBSCRIBE message."""
        return session.control("UNSUBSCRIBE", streams, request_id)

    def stream_of(self, frame: bytes) -> str | None:
        """Return the stream that sent ``frame``."""
        return session.stream_of(frame)

    def refusal(self, frame: bytes) -> str | None:
        """Return why a subscription was refused."""
        return session.refusal(frame)

    def is_shutdown_notice(self, frame: bytes) -> bool:
        """Return whether the server announces its end."""
        return session.is_shutdown_notice(frame)

    def instruments_requests(self) -> list[RestRequest]:
        """Return the exchange information request."""
        return session.instruments_requests(self._market)

    def parse_instruments(self, body: bytes) -> list[InstrumentFields]:
        """Return the instruments of an exchange information answer."""
        return symbols.parse_exchange_info(body, futures=self._futures)

    def is_depth_body(self, message: Any) -> bool:  # noqa: ANN401 - any JSON
        """Return whether a decoded frame is a depth snapshot."""
        return infer.is_depth_body(message)

    def texts_of(self, message: Any, address: str | None) -> Iterator[Texts]:  # noqa: ANN401
        """Yield symbol, price texts and quantity texts of a decoded frame's events."""
        return infer.texts_of(message, address)

    def depth_request(self, native: str) -> RestRequest:
        """Return the snapshot request."""
        return session.depth_request(self._market, native)

    def polls_for(self, native: str, channels: Iterable[Channel]) -> list[RestRequest]:
        """Return the request for open interest, where there is any."""
        return session.polls_for(self._market, native, channels)

    def time_request(self) -> RestRequest:
        """Return the server time request."""
        return session.time_request(self._market)

    def parse_time(self, body: bytes) -> int:
        """Return the server's time, Unix ns."""
        return session.parse_time(body)


BINANCE_SPOT = BinanceAdapter(endpoints.SPOT, session.SPOT_MARKET, futures=False)
BINANCE_USDM = BinanceAdapter(endpoints.USDM, session.USDM_MARKET, futures=True)
