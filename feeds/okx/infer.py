"""What a frame of OKX's says about instruments: the texts of its prices and quantities.

Texts that the scanner rounds (mark prices, open interest, volumes) do not count.

And what several recordings of one stream say about its order, where the messages do not
(``numbered``).
"""

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from feeds.adapter import Texts

_BOOKS = ("books", "books5", "books50-l2-tbt", "books-l2-tbt", "bbo-tbt")
_SCALARS = {
    "trades": (("px",), ("sz",)),
    "trades-all": (("px",), ("sz",)),
    "tickers": (("last", "askPx", "bidPx"), ("lastSz", "askSz", "bidSz")),
    "funding-rate": ((), ()),
    "mark-price": ((), ()),
    "open-interest": ((), ()),
}


def _levels(element: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    sides = [element.get("bids"), element.get("asks")]
    rows = [row for side in sides if isinstance(side, list) for row in side]
    rows = [row for row in rows if isinstance(row, list) and len(row) > 1]
    return [row[0] for row in rows], [row[1] for row in rows]


def texts_of(message: Any, address: str | None = None) -> Iterator[Texts]:  # noqa: ANN401
    """Yield (native symbol, price texts, quantity texts) for each event of a decoded frame.

    ``address`` is the URL that a REST body answers. The symbol is None for a depth body whose
    address does not name one.
    """
    if is_depth_body(message):
        symbol = parse_qs(urlsplit(address or "").query).get("instId", [None])[0]
        for element in message["data"]:
            yield symbol, *_levels(element)
        return
    argument = message.get("arg") if isinstance(message, dict) else None
    if not isinstance(argument, dict) or not isinstance(message.get("data"), list):
        return
    channel = argument.get("channel")
    for element in message["data"]:
        if not isinstance(element, dict):
            continue
        native = argument.get("instId")
        if channel in _BOOKS:
            if isinstance(native, str):
                yield native, *_levels(element)
            continue
        native = element.get("instId", native)
        if not isinstance(native, str):
            continue
        if channel == "index-tickers":
            yield f"{native}-SWAP", [], []
        elif channel == "liquidation-orders" and isinstance(element.get("details"), list):
            details = [each for each in element["details"] if isinstance(each, dict)]
            yield (
                native,
                [each.get("bkPx") for each in details],
                [each.get("sz") for each in details],
            )
        elif channel in _SCALARS:
            prices, quantities = _SCALARS[channel]
            yield native, [element.get(k) for k in prices], [element.get(k) for k in quantities]


def is_depth_body(message: Any) -> bool:  # noqa: ANN401
    """Return whether a decoded frame is the body of a depth request."""
    if not isinstance(message, dict) or not message.keys() >= {"code", "data"}:
        return False
    data = message["data"]
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(each, dict) and each.keys() >= {"asks", "bids"} for each in data)
    )


_Book = tuple[str, str]
"""Channel and instrument."""
_Key = tuple[int, int]
"""An update among those of its book and millisecond: its checksum, and the CRC-32 of its data."""


def _book_message(payload: bytes) -> dict[str, Any] | None:
    """Return a decoded book message that has times and checksums, None for anything else."""
    if b'"action"' not in payload:
        return None
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or body.get("action") not in ("update", "snapshot"):
        return None
    argument, data = body.get("arg"), body.get("data")
    if not isinstance(argument, dict) or not isinstance(data, list):
        return None
    good = all(
        isinstance(each, dict)
        and isinstance(each.get("checksum"), int)
        and str(each.get("ts", "")).isdecimal()
        for each in data
    )
    return body if good else None


def _book_of(body: dict[str, Any]) -> _Book:
    return str(body["arg"].get("channel")), str(body["arg"].get("instId"))


def _key(data: dict[str, Any]) -> _Key:
    return data["checksum"], zlib.crc32(orjson.dumps(data))


class _Order:
    """The updates of one book, as all lines together have them."""

    def __init__(self) -> None:
        self._moments: dict[int, list[_Key]] = {}
        self._times: list[int] = []
        self._checksums: list[int] = []
        self._numbers: dict[tuple[int, _Key], int] = {}

    def add(self, time: int, key: _Key, at: int) -> int:
        """Note an update whose predecessor on its line stands before ``at``; return the next one's.

        Places count within a millisecond of the venue's; other lines' updates make room.
        """
        keys = self._moments.setdefault(time, [])
        if key not in keys:
            keys.insert(at, key)
            return at + 1
        return keys.index(key) + 1

    def close(self) -> None:
        """Give what was noted its numbers, from 2."""
        for time in sorted(self._moments):
            for key in self._moments[time]:
                self._numbers[time, key] = len(self._times) + 2
                self._times.append(time)
                self._checksums.append(key[0])

    def update(self, time: int, key: _Key) -> int:
        """Return the number of an update."""
        return self._numbers[time, key]

    def snapshot(self, time: int, checksum: int) -> int:
        """Return the number of the newest update that a snapshot contains, 1 if it has none.

        That is the last one until its time, or an earlier one of the same millisecond if the
        checksum says so.
        """
        end = bisect_right(self._times, time)
        for at in range(end - 1, max(0, bisect_left(self._times, time) - 1) - 1, -1):
            if self._checksums[at] == checksum:
                return at + 2
        return end + 1


def numbered(lines: Iterable[Iterable[bytes]]) -> Callable[[bytes], bytes] | None:
    """Return what puts ``seqId`` and ``prevSeqId`` into book messages that have none.

    The venue did not number them before 2023. A hole then shows only in a wrong checksum, when it
    is too late to wait for the copy on another line. An update's number is its place among those
    of its book on all ``lines``: by the venue's time, then in the order of the lines. A snapshot
    has that of the newest update that it contains. The checksums stay, so that an update that no
    line has is noticed as before.

    Parameters
    ----------
    lines
        All frames of each recording.

    Returns
    -------
    Callable or None
        From a frame of these lines to the same with numbers; None if one of them has numbers, or
        there are no books.

    """
    orders: dict[_Book, _Order] = {}
    for line in lines:
        places: dict[_Book, tuple[int, int]] = {}
        for body in filter(None, map(_book_message, line)):
            book = _book_of(body)
            order = orders.setdefault(book, _Order())
            for data in body["data"]:
                if "seqId" in data:
                    return None
                if body["action"] == "update":
                    time, (before, at) = int(data["ts"]), places.get(book, (0, 0))
                    at = order.add(time, _key(data), at if time == before else 0)
                    places[book] = time, at
    for order in orders.values():
        order.close()

    def number(payload: bytes) -> bytes:
        body = _book_message(payload)
        if body is None:
            return payload
        order, updates = orders[_book_of(body)], body["action"] == "update"
        for data in body["data"]:
            time = int(data["ts"])
            if updates:
                data["seqId"] = order.update(time, _key(data))
                data["prevSeqId"] = data["seqId"] - 1
            else:
                data["seqId"] = order.snapshot(time, data["checksum"])
                data["prevSeqId"] = -1
        return orjson.dumps(body)

    return number if orders else None
