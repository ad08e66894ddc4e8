"""Bybit's topics: names, routes, operations, answers, REST paths.

Topics are subscribed to by messages; each subscription to a book, and a renewed one, begins with a
snapshot. A connection is cut when ten minutes pass with neither data nor a ping, so a ping is due
only in silence. Nothing announces the end of a connection.

Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Connect", "Orderbook", "Ticker",
"All Liquidation", "Get Instruments Info", "Get Bybit Server Time".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from engine.errors import ConfigError
from feeds.adapter import Channel, RestRequest, SessionRules, Stream
from feeds.bybit.endpoints import INVERSE, LINEAR, SPOT_ROUTE

RULES = SessionRules(
    url_bytes=0,
    # The rule of spot; contracts allow more, but one bad topic refuses its whole message.
    streams_per_message=10,
    ping_s=20.0,
    pong_s=10.0,
    # 21,000 characters, with the quotes and commas between the topics.
    stream_bytes=17_000,
    ping_text=b'{"op":"ping"}',
    snapshots="stream",
)

BOOK_QUIET_S = 20.0
"""Bybit promises nothing for a quiet book; silence beyond this is worth a new snapshot."""

MONTHS = ("H", "M", "U", "Z")
"""Letters of the quarters' last months in the names of inverse futures."""

_TOPIC = b'"topic":"'

_CONTRACT_TOPICS: dict[Channel, tuple[str, float]] = {
    Channel.TRADES: ("publicTrade", 0.0),
    Channel.BOOK: ("orderbook.200", BOOK_QUIET_S),
    # Without a change it is sent again after 3 s.
    Channel.TOP: ("orderbook.1", 3.0),
    # Every 100 ms if something changed; the mark price of what trades changes every second or so.
    Channel.FUNDING: ("tickers", 10.0),
    Channel.LIQUIDATIONS: ("allLiquidation", 0.0),
    Channel.STATS: ("tickers", 0.0),
}


@dataclass(frozen=True, slots=True)
class Market:
    """What differs between Bybit's markets, as data."""

    categories: tuple[str, ...]
    """Routes, and the instrument lists that make up the market."""
    streams: dict[Channel, tuple[str, float]]
    """Channel -> topic without the symbol, cadence in seconds (0: nothing is promised)."""
    books: tuple[str, ...]
    """Topics of books that updates keep, the default first: they differ in depth and pace."""


CONTRACT_MARKET = Market(
    categories=(LINEAR, INVERSE),
    streams=_CONTRACT_TOPICS,
    # Every 100, 20 and 200 ms (spot: 200, 20 and 200).
    books=("orderbook.200", "orderbook.50", "orderbook.1000"),
)

SPOT_MARKET = Market(
    categories=(SPOT_ROUTE,),
    streams={
        channel: topic
        for channel, topic in _CONTRACT_TOPICS.items()
        if channel not in (Channel.FUNDING, Channel.LIQUIDATIONS)
    },
    books=CONTRACT_MARKET.books,
)


def route_of(market: Market, native: str) -> str:
    """Return the route of an instrument, told by its name.

    ``BTCUSD`` and ``BTCUSDZ26`` (a month's letter and the year) are inverse; ``BTCUSDT``,
    ``BTCPERP`` (USDC), ``BTCUSDT-25DEC26`` and ``BTC-25DEC26`` (USDC) are linear.
    """
    if len(market.categories) == 1:
        return market.categories[0]
    dated = native[-2:].isdecimal() and native[-3:-2] in MONTHS
    undated = native[:-3] if dated else native
    return INVERSE if "-" not in native and undated.endswith("USD") else LINEAR


def streams_for(
    market: Market, native: str, channels: Iterable[Channel], book: str
) -> list[Stream]:
    """Return the streams of an instrument; channels that the market lacks give none.

    A topic that carries two of the channels (``tickers``) is there once: the venue refuses to send
    a topic twice. It stands for the channel that promises more.

    Raises
    ------
    ConfigError
        If ``book`` is neither empty nor one of ``market.books``.

    """
    if book and book not in market.books:
        raise ConfigError(f"no book stream {book!r} - one of {', '.join(market.books)}")
    route = route_of(market, native)
    found: dict[str, Stream] = {}
    for channel in channels:
        if channel in market.streams:
            topic, cadence_s = market.streams[channel]
            if channel == Channel.BOOK and book:
                topic = book
            stream = Stream(route, f"{topic}.{native}", channel, native, cadence_s)
            known = found.get(stream.name)
            if known is None or known.cadence_s < cadence_s:
                found[stream.name] = stream
    return list(found.values())


def control(operation: str, streams: Sequence[str], request_id: int) -> bytes:
    """Return a subscribe or unsubscribe message."""
    return orjson.dumps({"op": operation, "req_id": str(request_id), "args": list(streams)})


def stream_of(frame: bytes) -> str | None:
    """Return the topic of a message, else None."""
    at = frame.find(_TOPIC)
    if at < 0:
        return None
    end = frame.find(b'"', at + len(_TOPIC))
    return frame[at + len(_TOPIC) : end].decode(errors="replace") if end > 0 else None


def refusal(frame: bytes) -> str | None:
    """Return the words of an answer with ``"success":false``."""
    if b'"success"' not in frame[:256]:
        return None
    try:
        answer = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict) or answer.get("success") is not False:
        return None
    return str(answer.get("ret_msg") or f"{answer.get('op', 'operation')} refused")


def instruments_requests(market: Market) -> list[RestRequest]:
    """Return the first page of each category's instruments."""
    path = "/v5/market/instruments-info?category={}&limit=1000"
    return [RestRequest(path.format(category), 1) for category in market.categories]


def next_page(request: RestRequest, body: bytes) -> RestRequest | None:
    """Return the request for the page that ``body`` points to, or None after the last one.

    The venue's cursors come percent-encoded and go back as they are.
    """
    try:
        cursor = orjson.loads(body)["result"].get("nextPageCursor")
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        return None
    if not isinstance(cursor, str) or not cursor:
        return None
    first = request.path.partition("&cursor=")[0]
    path = f"{first}&cursor={quote(cursor, safe='%')}"
    return RestRequest(path, request.weight) if path != request.path else None


def time_request() -> RestRequest:
    """Return the server time request."""
    return RestRequest("/v5/market/time", 1)


def parse_time(body: bytes) -> int:
    """Return the server's time in Unix ns.

    Raises
    ------
    ValueError
        If the answer has none.

    """
    try:
        return int(orjson.loads(body)["result"]["timeNano"])
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not a Bybit time answer: {error!r}") from error
