"""Binance's streams: names, routes, subscription messages, notices, REST paths.

Streams are named in the URL (``/stream?streams=a/b``), so that a connection is subscribed by the
time it is open, and every message says which stream sent it. The server pings (spot every 20 s,
USDⓈ-M every 3 min); the WebSocket client answers by itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from engine.errors import ConfigError
from feeds.adapter import Channel, RestRequest, SessionRules, Stream
from feeds.binance.endpoints import MARKET, PUBLIC

RULES = SessionRules(
    # Longer request lines are refused by the load balancers in front of most servers.
    url_bytes=8000,
    streams_per_message=100,
    ping_s=15.0,
    pong_s=10.0,
    notices=(b'{"stream":"!serverShutdown"', b'{"e":"serverShutdown"'),
)

BOOK_QUIET_S, TOP_QUIET_S = 20.0, 60.0
"""Binance promises nothing for a quiet market; but silence beyond this is worth a question: a
snapshot tells whether a book has missed anything."""

_STREAM_HEAD = b'{"stream":"'


@dataclass(frozen=True, slots=True)
class Market:
    """What differs between Binance's markets, as data."""

    prefix: str
    """Of REST paths."""
    streams: dict[Channel, tuple[str, str, float]]
    """Channel -> route, suffix of the stream's name, cadence in seconds.

    Most streams speak when something happened and promise nothing of a quiet market.
    """
    books: tuple[str, ...]
    """Suffixes of the streams of the whole book, the default first: they differ in how often."""
    depth_limit: int
    depth_weight: int
    information: str
    """Path of the exchange information."""
    information_weight: int
    polled: dict[Channel, tuple[str, int]] = field(default_factory=dict)
    """Channel -> what of it no stream carries: path below ``prefix`` and weight."""


SPOT_MARKET = Market(
    prefix="/api/v3",
    streams={
        Channel.TRADES: (PUBLIC, "trade", 0.0),
        Channel.BOOK: (PUBLIC, "depth@100ms", BOOK_QUIET_S),
        Channel.TOP: (PUBLIC, "bookTicker", TOP_QUIET_S),
        Channel.STATS: (PUBLIC, "ticker", 0.0),
    },
    books=("depth@100ms", "depth"),  # The latter every second.
    depth_limit=5000,
    depth_weight=250,
    information="exchangeInfo?showPermissionSets=false",
    information_weight=20,
)

USDM_MARKET = Market(
    prefix="/fapi/v1",
    streams={
        Channel.TRADES: (PUBLIC, "trade", 0.0),
        Channel.BOOK: (PUBLIC, "depth@100ms", BOOK_QUIET_S),
        Channel.TOP: (PUBLIC, "bookTicker", TOP_QUIET_S),
        Channel.FUNDING: (MARKET, "markPrice@1s", 1.0),
        # At most one a second: the latest of them.
        Channel.LIQUIDATIONS: (MARKET, "forceOrder", 0.0),
        Channel.STATS: (MARKET, "ticker", 0.0),
    },
    # Undocumented but served and recorded: 0 ms. Without a time: every 250 ms.
    books=("depth@100ms", "depth@500ms", "depth", "depth@0ms"),
    depth_limit=1000,
    depth_weight=20,
    information="exchangeInfo",
    information_weight=1,
    polled={Channel.FUNDING: ("openInterest", 1)},
)


def streams_for(
    market: Market, native: str, channels: Iterable[Channel], book: str
) -> list[Stream]:
    """Return the streams of an instrument; channels that the market lacks give none.

    Raises
    ------
    ConfigError
        If ``book`` is neither empty nor one of ``market.books``.

    """
    if book and book not in market.books:
        raise ConfigError(f"no book stream {book!r} - one of {', '.join(market.books)}")
    found = []
    for channel in channels:
        if channel in market.streams:
            route, suffix, cadence_s = market.streams[channel]
            if channel == Channel.BOOK and book:
                suffix = book
            name = f"{native.lower()}@{suffix}"
            found.append(Stream(route, name, channel, native, cadence_s))
    return found


def combined_url(base: str, streams: Sequence[str]) -> str:
    """Return the URL of a combined connection."""
    return f"{base}/stream?streams={'/'.join(streams)}"


def control(method: str, streams: Sequence[str], request_id: int) -> bytes:
    """Return a SUBSCRIBE or UNSUBSCRIBE message."""
    return orjson.dumps({"method": method, "params": list(streams), "id": request_id})


def stream_of(frame: bytes) -> str | None:
    """Return the stream's name of a combined message, else None."""
    if not frame.startswith(_STREAM_HEAD):
        return None
    end = frame.find(b'"', len(_STREAM_HEAD))
    return frame[len(_STREAM_HEAD) : end].decode(errors="replace") if end > 0 else None


def refusal(frame: bytes) -> str | None:
    """Return the message of an error reply (``{"error":{"code":..,"msg":..},"id":..}``)."""
    if frame.startswith(_STREAM_HEAD) or b'"error"' not in frame[:256]:
        return None
    try:
        reply = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        return None
    return f"{error.get('code')}: {error.get('msg')}"


def is_shutdown_notice(frame: bytes) -> bool:
    """Return whether the server says that it is about to close the connection."""
    return frame.startswith(RULES.notices)


def depth_request(market: Market, native: str) -> RestRequest:
    """Return the snapshot request with the largest limit the market has."""
    query = f"symbol={native}&limit={market.depth_limit}"
    return RestRequest(f"{market.prefix}/depth?{query}", market.depth_weight)


def polls_for(market: Market, native: str, channels: Iterable[Channel]) -> list[RestRequest]:
    """Return the requests for what of ``channels`` no stream carries."""
    found = [market.polled[channel] for channel in channels if channel in market.polled]
    return [
        RestRequest(f"{market.prefix}/{path}?symbol={native}", weight) for path, weight in found
    ]


def instruments_requests(market: Market) -> list[RestRequest]:
    """Return the exchange information request: one answer has all instruments."""
    return [RestRequest(f"{market.prefix}/{market.information}", market.information_weight)]


def time_request(market: Market) -> RestRequest:
    """Return the server time request."""
    return RestRequest(f"{market.prefix}/time", 1)


def parse_time(body: bytes) -> int:
    """Return the server's time in Unix ns.

    Raises
    ------
    ValueError
        If the answer has none.

    """
    try:
        return int(orjson.loads(body)["serverTime"]) * 1_000_000
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not a Binance time answer: {error!r}") from error
