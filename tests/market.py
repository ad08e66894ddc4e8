"""A made-up venue that writes Binance's depth messages, for tests of synchronisation."""

import random
from typing import Any

import orjson


class Market:
    """One instrument's true book, in ticks, and the messages that tell of it.

    ``futures``: messages have ``pu`` and ids have holes between them, as other symbols use them up.
    """

    def __init__(self, seed: int, futures: bool, symbol: str = "BTCUSDT") -> None:
        self.rng = random.Random(seed)
        self.futures, self.symbol = futures, symbol
        self.bids = {9990 - i: i + 1 for i in range(8)}
        self.asks = {10010 + i: i + 1 for i in range(8)}
        self.last = 1000

    def update(self) -> dict[str, Any]:
        """Let the book change; return the message, decoded."""
        rng = self.rng
        before = self.last
        first = before + 1 + (rng.randrange(0, 50) if self.futures else 0)
        self.last = first + rng.randrange(0, 5)
        middle = (max(self.bids) + min(self.asks)) // 2 + rng.randrange(-4, 5)
        changes: dict[str, list[list[str]]] = {"b": [], "a": []}
        for name, side, sign in (("b", self.bids, -1), ("a", self.asks, 1)):
            changed: dict[int, int] = {}
            for price in [p for p in side if sign * (p - middle) <= 0]:
                changed[price] = 0
            for _ in range(rng.randrange(0, 4)):
                changed[middle + sign * rng.choice((1, 1, 2, 5, 40, 3000))] = rng.randrange(0, 9)
            changed.setdefault(middle + sign * 1, rng.randrange(1, 9))
            if not changed[middle + sign]:
                changed[middle + sign] = 1
            side.update(changed)
            for price in [p for p, quantity in side.items() if not quantity]:
                del side[price]
            changes[name] = [[str(p), str(q)] for p, q in changed.items()]
        event = {"e": "depthUpdate", "E": self.last, "s": self.symbol, "U": first, "u": self.last}
        return event | ({"pu": before} if self.futures else {}) | changes

    def snapshot(self) -> dict[str, Any]:
        """Return the body of a depth request."""
        return {
            "lastUpdateId": self.last,
            "bids": [[str(p), str(q)] for p, q in sorted(self.bids.items(), reverse=True)],
            "asks": [[str(p), str(q)] for p, q in sorted(self.asks.items())],
        }

    def truth(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return the whole book, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def frame(message: dict[str, Any]) -> bytes:
    """Return a message as it is on the wire."""
    return orjson.dumps(message)
