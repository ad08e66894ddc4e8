"""What a frame of Bybit's says about instruments: the texts of its prices and quantities.

Figures that the scanner rounds count too, so that they come out exact where int64 allows it.
"""

from collections.abc import Iterator
from typing import Any

from feeds.adapter import Texts

_TICKER_PRICES = ("lastPrice", "prevPrice24h", "highPrice24h", "lowPrice24h")
_SCALARS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "publicTrade": ("s", ("p",), ("v",)),
    "allLiquidation": ("s", ("p",), ("v",)),
    "liquidation": ("symbol", ("price",), ("size",)),
    "tickers": ("symbol", _TICKER_PRICES, ("volume24h", "openInterest")),
}
"""Topic -> key of the symbol, keys of prices, keys of quantities."""


def _levels(sides: list[Any]) -> tuple[list[Any], list[Any]]:
    rows = [row for side in sides if isinstance(side, list) for row in side]
    rows = [row for row in rows if isinstance(row, list) and len(row) > 1]
    return [row[0] for row in rows], [row[1] for row in rows]


def texts_of(message: Any, address: str | None = None) -> Iterator[Texts]:  # noqa: ANN401
    """Yield (native symbol, price texts, quantity texts) for each event of a decoded frame.

    ``address`` is not used: REST bodies are not read.
    """
    if not isinstance(message, dict) or not isinstance(message.get("topic"), str):
        return
    topic, data = message["topic"].partition(".")[0], message.get("data")
    for event in data if isinstance(data, list) else [data]:
        if not isinstance(event, dict):
            continue
        key, prices, quantities = _SCALARS.get(topic, ("s", (), ()))
        native = event.get(key)
        if not isinstance(native, str):
            continue
        if topic == "orderbook":
            yield native, *_levels([event.get("b"), event.get("a")])
        elif topic in _SCALARS:
            yield native, [event.get(k) for k in prices], [event.get(k) for k in quantities]


def is_depth_body(message: Any) -> bool:  # noqa: ANN401
    """Return False: no topic joins the body of a depth request."""
    return False
