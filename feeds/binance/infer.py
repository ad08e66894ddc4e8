"""What a frame of Binance's says about instruments: the texts of its prices and quantities."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from feeds.adapter import Texts

_SCALARS = {
    "trade": (("p",), ("q",)),
    "aggTrade": (("p",), ("q",)),
    "bookTicker": (("b", "a"), ("B", "A")),
    "markPriceUpdate": ((), ()),
    "forceOrder": (("p",), ("q",)),
    "24hrTicker": (("c", "o", "h", "l"), ("v",)),
    "24hrMiniTicker": (("c", "o", "h", "l"), ("v",)),
}


def _levels(sides: list[Any]) -> tuple[list[Any], list[Any]]:
    rows = [row for side in sides if isinstance(side, list) for row in side]
    rows = [row for row in rows if isinstance(row, list) and len(row) > 1]
    return [row[0] for row in rows], [row[1] for row in rows]


def texts_of(message: Any, address: str | None = None) -> Iterator[Texts]:  # noqa: ANN401
    """Yield (native symbol, price texts, quantity texts) for each event of a decoded frame.

    ``address`` is the URL that a REST body answers. The symbol is None for a depth body whose
    address does not name one.
    """
    if isinstance(message, dict) and "stream" in message and "data" in message:
        message = message["data"]
    for event in message if isinstance(message, list) else [message]:
        if not isinstance(event, dict):
            continue
        if is_depth_body(event):
            symbol = parse_qs(urlsplit(address or "").query).get("symbol", [None])[0]
            yield symbol, *_levels([event["bids"], event["asks"]])
            continue
        if "e" not in event and "openInterest" in event:
            if isinstance(event.get("symbol"), str):
                yield event["symbol"], [], [event["openInterest"]]
            continue
        name = event.get("e", "bookTicker")
        if name == "forceOrder" and isinstance(event.get("o"), dict):
            event = event["o"]
        native = event.get("s")
        if not isinstance(native, str):
            continue
        if name == "depthUpdate":
            yield native, *_levels([event.get("b"), event.get("a")])
        elif name in _SCALARS:
            prices, quantities = _SCALARS[name]
            yield native, [event.get(k) for k in prices], [event.get(k) for k in quantities]


def is_depth_body(message: Any) -> bool:  # noqa: ANN401
    """Return whether a decoded frame is the body of a depth request."""
    return isinstance(message, dict) and message.keys() >= {"lastUpdateId", "bids", "asks"}
