"""OKX's streams: names, routes, subscription messages, notices, REST paths.

A stream is named ``channel:instId`` (``books:BTC-USDT-SWAP``), or ``channel:instType`` where the
venue subscribes to a whole kind of instruments (``liquidation-orders:SWAP``). Streams are
subscribed by messages; one message may hold many and counts once. The server answers the text
``ping`` with the text ``pong`` and cuts a connection that was silent for 30 s.

Cadences are what the API v5 guide promises (read 2026-11): a book says every 60 s that nothing
changed, a mark price comes every 10 s at the latest, an index every 60 s, a funding rate within
90 s. The other streams speak only when something happened.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from engine.errors import ConfigError
from feeds.adapter import Channel, RestRequest, SessionRules, Stream
from feeds.okx.endpoints import PUBLIC

RULES = SessionRules(
    url_bytes=0,
    # All subscriptions of a connection may have 64 KB. An argument is a name and 26 bytes more, and
    # no name is shorter than nine: at most four times its bytes.
    stream_bytes=16_000,
    streams_per_message=200,
    ping_s=20.0,
    pong_s=8.0,
    ping_text=b"ping",
    snapshots="stream",
    notices=(b'{"event":"notice"',),
)

BOOKS = ("books", "books50-l2-tbt", "books-l2-tbt", "books5")
"""Book channels, the default first. The two ``-tbt`` need a login of VIP level; ``books5`` shows
the five best levels whole in each message."""
BOOK_CADENCE_S = {"books": 60.0, "books50-l2-tbt": 60.0, "books-l2-tbt": 60.0, "books5": 20.0}

SPOT, SWAP, FUTURES = "SPOT", "SWAP", "FUTURES"
KINDS = (SPOT, SWAP, FUTURES)
"""``instType`` of the instruments that the adapter lists."""

SIMPLE = {
    Channel.TRADES: "trades",
    Channel.TOP: "bbo-tbt",
    Channel.STATS: "tickers",
}
KIND_CHANNELS = ("liquidation-orders",)
"""Channels that are subscribed for a whole ``instType``."""

SHUTDOWN_CODE = "64008"
"""Of the notice that comes 60 s before a service upgrade ends the connection."""
REFUSALS = ("error", "channel-conn-count-error")

DEPTH_LIMIT = 400
DEPTH_WEIGHT, INSTRUMENTS_WEIGHT, TIME_WEIGHT = 1, 2, 4
"""In units of 40 requests in 2 s, which is the limit of books."""

_DATA_HEAD = b'{"arg":{"channel":"'


def kind_of(native: str) -> str:
    """Return the ``instType`` of a native symbol: ``BTC-USDT``, ``BTC-USDT-SWAP``, ``…-261225``."""
    if native.endswith("-SWAP"):
        return SWAP
    return SPOT if native.count("-") < 2 else FUTURES


def _funding_streams(native: str) -> list[tuple[str, float]]:
    """Return names and cadences of what belongs to ``Channel.FUNDING``.

    An index is reported for the swap alone (``feeds.okx.parse``), so a future does not ask for it.
    """
    kind = kind_of(native)
    if kind == SPOT:
        return []
    found = [(f"mark-price:{native}", 10.0), (f"open-interest:{native}", 0.0)]
    if kind == SWAP:
        index = native.removesuffix("-SWAP")
        found += [(f"funding-rate:{native}", 90.0), (f"index-tickers:{index}", 60.0)]
    return found


def streams_for(native: str, channels: Iterable[Channel], book: str) -> list[Stream]:
    """Return the streams of an instrument; channels that its kind lacks give none.

    Raises
    ------
    ConfigError
        If ``book`` is neither empty nor one of ``BOOKS``.

    """
    if book and book not in BOOKS:
        raise ConfigError(f"no book stream {book!r} - one of {', '.join(BOOKS)}")
    book = book or BOOKS[0]
    found: list[Stream] = []
    for channel in channels:
        if channel == Channel.BOOK:
            names = [(f"{book}:{native}", BOOK_CADENCE_S.get(book, 0.0))]
        elif channel == Channel.FUNDING:
            names = _funding_streams(native)
        elif channel == Channel.LIQUIDATIONS:
            kind = kind_of(native)
            names = [] if kind == SPOT else [(f"liquidation-orders:{kind}", 0.0)]
        else:
            names = [(f"{SIMPLE[channel]}:{native}", 0.0)]
        found += [Stream(PUBLIC, name, channel, native, cadence_s) for name, cadence_s in names]
    return found


def argument(stream: str) -> dict[str, str]:
    """Return what a subscription message says for a stream."""
    channel, _, target = stream.partition(":")
    return {"channel": channel, "instType" if channel in KIND_CHANNELS else "instId": target}


def control(operation: str, streams: Sequence[str], request_id: int) -> bytes:
    """Return a ``subscribe`` or ``unsubscribe`` message; a stream named twice is asked for once."""
    arguments = [argument(stream) for stream in dict.fromkeys(streams)]
    return orjson.dumps({"id": str(request_id), "op": operation, "args": arguments})


def stream_of(frame: bytes) -> str | None:
    """Return the name of the stream that sent a message, else None."""
    if not frame.startswith(_DATA_HEAD):
        return None
    parts = frame[:256].split(b'"')
    if len(parts) < 11 or parts[7] not in (b"instId", b"instType"):
        return None
    return f"{parts[5].decode(errors='replace')}:{parts[9].decode(errors='replace')}"


def _event(frame: bytes) -> dict[str, Any]:
    """Return an answer or notice as a dictionary; empty for anything else."""
    if frame.startswith(_DATA_HEAD) or b'"event"' not in frame:
        return {}
    try:
        event = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def refusal(frame: bytes) -> str | None:
    """Return the message of a refusal (``{"event":"error","code":"60018","msg":…}``)."""
    event = _event(frame)
    if event.get("event") not in REFUSALS:
        return None
    if event["event"] == "error":
        return f"{event.get('code')}: {event.get('msg')}"
    return f"{event['event']}: {event.get('channel')} has {event.get('connCount')} connections"


def is_shutdown_notice(frame: bytes) -> bool:
    """Return whether the server says that it is about to close the connection."""
    event = _event(frame)
    return event.get("event") == "notice" and event.get("code") == SHUTDOWN_CODE


def depth_request(native: str) -> RestRequest:
    """Return the snapshot request with the most levels that a book stream keeps."""
    return RestRequest(f"/api/v5/market/books?instId={native}&sz={DEPTH_LIMIT}", DEPTH_WEIGHT)


def instruments_requests() -> list[RestRequest]:
    """Return the instruments requests, one for each kind."""
    path = "/api/v5/public/instruments?instType="
    return [RestRequest(f"{path}{kind}", INSTRUMENTS_WEIGHT) for kind in KINDS]


def time_request() -> RestRequest:
    """Return the server time request."""
    return RestRequest("/api/v5/public/time", TIME_WEIGHT)


def parse_time(body: bytes) -> int:
    """Return the server's time in Unix ns.

    Raises
    ------
    ValueError
        If the answer has none.

    """
    try:
        return int(orjson.loads(body)["data"][0]["ts"]) * 1_000_000
    except (KeyError, IndexError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"not an OKX time answer: {error!r}") from error
