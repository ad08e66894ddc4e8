"""Bybit's public side: contracts (linear and inverse) and spot, one adapter each.

Two venues, because their native symbols collide: ``BTCUSDT`` is a perpetual and a spot pair.
"""

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
from feeds.bybit import endpoints, infer, session, symbols

if TYPE_CHECKING:
    from feeds.sync import SyncRule

__all__ = ["BYBIT", "BYBIT_SPOT", "BybitAdapter"]


class BybitAdapter(Venue):
    """``feeds.adapter.ExchangeAdapter`` for one of Bybit's markets."""

    def __init__(self, exchange: Exchange, market: session.Market) -> None:
        super().__init__(exchange, session.RULES)
        self._market = market

    @property
    def scan(self) -> Callable[..., int]:
        """Return the jitted scanner (imported on first use: a feed never needs it)."""
        from feeds.bybit.parse import scan

        return scan

    @property
    def sync_rule(self) -> "SyncRule":
        """Return the book synchronisation rule (imported on first use, like ``scan``).

        ``u`` rises by one a message within a topic. Snapshots come in the stream and replace what
        is there; a message with ``u`` 1 is one, after a restart of the venue's service.
        """
        from feeds.sync import Bridge, Chain, SyncRule

        return SyncRule(Chain.FIRST, 1, Bridge.FIRST, 1, in_band=1, snapshot_id=1)

    def endpoints_at(self, rest: str, websocket: str) -> Endpoints:
        """Return endpoints at other base URLs."""
        spot = self._market is session.SPOT_MARKET
        build = endpoints.spot_endpoints if spot else endpoints.contract_endpoints
        return build(rest, websocket)

    @property
    def book_streams(self) -> tuple[str, ...]:
        """Return the topics of books, the default first."""
        return self._market.books

    def streams_for(self, native: str, channels: Iterable[Channel], book: str = "") -> list[Stream]:
        """Return the streams of an instrument."""
        return session.streams_for(self._market, native, channels, book)

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return a subscribe message."""
        return session.control("subscribe", streams, request_id)

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return an unsubscribe message."""
        return session.control("unsubscribe", streams, request_id)

    def stream_of(self, frame: bytes) -> str | None:
        """Return the topic of ``frame``."""
        return session.stream_of(frame)

    def refusal(self, frame: bytes) -> str | None:
        """Return why a subscription was refused."""
        return session.refusal(frame)

    def instruments_requests(self) -> list[RestRequest]:
        """Return a request for each category's instruments."""
        return session.instruments_requests(self._market)

    def next_page(self, request: RestRequest, body: bytes) -> RestRequest | None:
        """Return the request for the page after ``body``, or None."""
        return session.next_page(request, body)

    def parse_instruments(self, body: bytes) -> list[InstrumentFields]:
        """Return the instruments of a page."""
        return symbols.parse_instruments(body)

    def is_depth_body(self, message: Any) -> bool:  # noqa: ANN401 - any JSON
        """Return False: there are no depth requests."""
        return infer.is_depth_body(message)

    def texts_of(self, message: Any, address: str | None) -> Iterator[Texts]:  # noqa: ANN401
        """Yield symbol, price texts and quantity texts of a decoded frame's events."""
        return infer.texts_of(message, address)

    def depth_request(self, native: str) -> RestRequest | None:
        """Return None: the ids of a REST snapshot are not those of any topic."""
        return None

    def time_request(self) -> RestRequest:
        """Return the server time request."""
        return session.time_request()

    def parse_time(self, body: bytes) -> int:
        """Return the server's time, Unix ns."""
        return session.parse_time(body)


BYBIT = BybitAdapter(endpoints.BYBIT, session.CONTRACT_MARKET)
BYBIT_SPOT = BybitAdapter(endpoints.BYBIT_SPOT, session.SPOT_MARKET)
