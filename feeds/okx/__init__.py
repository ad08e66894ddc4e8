"""OKX's public side: spot, swaps and futures in one namespace."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine.common import Endpoints
from feeds.adapter import (
    Channel,
    InstrumentFields,
    RestRequest,
    Stream,
    Texts,
    Venue,
)
from feeds.okx import endpoints, infer, session, symbols

if TYPE_CHECKING:
    from feeds.sync import SyncRule

__all__ = ["OKX", "OkxAdapter"]


class OkxAdapter(Venue):
    """``feeds.adapter.ExchangeAdapter`` for OKX."""

    @property
    def scan(self) -> Callable[..., int]:
        """Return the jitted scanner (imported on first use: a feed never needs it)."""
        from feeds.okx.parse import scan

        return scan

    @property
    def sync_rule(self) -> "SyncRule":
        """Return the book synchronisation rule (imported on first use, like ``scan``).

        ``prevSeqId`` links messages, the snapshot comes in the stream, and an id smaller than its
        link is the venue's maintenance reset. A REST snapshot S is joined at the first update with
        ``prevSeqId <= S < seqId``. Recordings from before 2023 have no ids but a checksum, which is
        0 since 2026-06-23.
        """
        from feeds.sync import Bridge, Chain, SyncRule

        return SyncRule(
            Chain.PREVIOUS,
            1,
            Bridge.PREVIOUS_BELOW,
            0,
            reset=1,
            in_band=1,
            unlinked=1,
            checksum=1,
        )

    def endpoints_at(self, rest: str, websocket: str) -> Endpoints:
        """Return endpoints at other base URLs."""
        return endpoints.okx_endpoints(rest, websocket)

    @property
    def book_streams(self) -> tuple[str, ...]:
        """Return the book channels, the default first."""
        return session.BOOKS

    def streams_for(self, native: str, channels: Iterable[Channel], book: str = "") -> list[Stream]:
        """Return the streams of an instrument."""
        return session.streams_for(native, channels, book)

    def subscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return a subscribe message."""
        return session.control("subscribe", streams, request_id)

    def unsubscribe(self, streams: Sequence[str], request_id: int) -> bytes:
        """Return an unsubscribe message."""
        return session.control("unsubscribe", streams, request_id)

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
        """Return the instruments requests, one for each kind."""
        return session.instruments_requests()

    def parse_instruments(self, body: bytes) -> list[InstrumentFields]:
        """Return the instruments of an answer."""
        return symbols.parse_exchange_info(body)

    def is_depth_body(self, message: Any) -> bool:  # noqa: ANN401 - any JSON
        """Return whether a decoded frame is a depth snapshot."""
        return infer.is_depth_body(message)

    def texts_of(self, message: Any, address: str | None) -> Iterator[Texts]:  # noqa: ANN401
        """Yield symbol, price texts and quantity texts of a decoded frame's events."""
        return infer.texts_of(message, address)

    def numbered(self, lines: Iterable[Iterable[bytes]]) -> Callable[[bytes], bytes] | None:
        """Return what gives recorded lines from before 2023 their ids; None if they have them."""
        return infer.numbered(lines)

    def depth_request(self, native: str) -> RestRequest | None:
        """Return the snapshot request."""
        return session.depth_request(native)

    def time_request(self) -> RestRequest:
        """Return the server time request."""
        return session.time_request()

    def parse_time(self, body: bytes) -> int:
        """Return the server's time, Unix ns."""
        return session.parse_time(body)


OKX = OkxAdapter(endpoints.OKX, session.RULES)
