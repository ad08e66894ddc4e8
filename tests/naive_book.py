"""The slow reference: one order book of a Binance market from dicts and ``Decimal``.

It follows the venue's documented steps word for word and shares no code with ``feeds``: events are
decoded JSON, a book is two dicts, nothing is clever.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

SYNCING, LIVE, GAP, STALE = "syncing", "live", "gap", "stale"


@dataclass
class NaiveBook:
    """``futures``: by the rules of USDⓈ-M (``pu``), else by those of spot.

    ``check_every``: look for a crossed book after every so many messages, as it takes long.
    """

    futures: bool
    check_every: int = 1
    state: str = SYNCING
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)
    last: int = 0
    first_after_snapshot: bool = False
    carried: bool = False
    buffer: list[dict[str, Any]] = field(default_factory=list)
    gaps: int = 0
    crossed: int = 0
    checks: int = 0

    def event(self, event: dict[str, Any]) -> None:
        """Take a depth update."""
        self.carried = True
        if self.state not in (LIVE, STALE):
            self._collect(event)
        elif self._too_old(event, self.last):
            pass
        elif self._continues(event):
            self._apply(event)
            self.state = LIVE
            self._check()
        else:
            self._lose()
            self.gaps += 1
            self.buffer = [event]

    def snapshot(self, body: dict[str, Any]) -> None:
        """Take the body of a depth request."""
        if self.state in (LIVE, STALE):
            return
        at = body["lastUpdateId"]
        kept = [e for e in self.buffer if not self._before_snapshot(e, at)]
        if kept and not self._bridges(kept[0], at):
            return  # Older than the buffer: fetch another.
        self.bids = {Decimal(p): Decimal(q) for p, q in body["bids"] if Decimal(q)}
        self.asks = {Decimal(p): Decimal(q) for p, q in body["asks"] if Decimal(q)}
        self.last, self.first_after_snapshot = at, True
        # Nobody knows what has happened since the snapshot if no connection carries the book.
        self.state = LIVE if self.carried else STALE
        for event in kept:
            self._apply(event)
        self.buffer = []
        self._check()

    def stale(self) -> None:
        """Take the mark that no connection carries the book."""
        self.carried = False
        if self.state == LIVE:
            self.state = STALE

    def _collect(self, event: dict[str, Any]) -> None:
        if self.buffer:
            newest = self.buffer[-1]
            follows = event["pu"] == newest["u"] if self.futures else event["U"] <= newest["u"] + 1
            if event["u"] <= newest["u"]:
                return
            if not follows:
                self.gaps += 1
                self.buffer = []
        self.buffer.append(event)

    def _too_old(self, event: dict[str, Any], last: int) -> bool:
        if self.first_after_snapshot:
            return self._before_snapshot(event, last)
        return bool(event["u"] <= last)

    def _before_snapshot(self, event: dict[str, Any], at: int) -> bool:
        # Spot: "discard any event where u is <= lastUpdateId". Futures: "drop any event where u is
        # < lastUpdateId".
        return bool(event["u"] < at if self.futures else event["u"] <= at)

    def _bridges(self, event: dict[str, Any], at: int) -> bool:
        # Spot: U <= lastUpdateId + 1 (what is kept ends after it). Futures: "U <= lastUpdateId and
        # u >= lastUpdateId"; seen live as well: pu == lastUpdateId.
        if self.futures:
            return bool(event["U"] <= at <= event["u"] or event["pu"] == at)
        return bool(event["U"] <= at + 1 <= event["u"])

    def _continues(self, event: dict[str, Any]) -> bool:
        if self.first_after_snapshot:
            return self._bridges(event, self.last)
        # Futures: "each new event's pu should be equal to the previous event's u". Spot: "if U is
        # greater than the update id of your book plus one, something went wrong".
        return bool(event["pu"] == self.last if self.futures else event["U"] <= self.last + 1)

    def _apply(self, event: dict[str, Any]) -> None:
        for side, levels in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, quantity in levels:
                side[Decimal(price)] = Decimal(quantity)
                if not side[Decimal(price)]:
                    del side[Decimal(price)]
        self.last, self.first_after_snapshot = event["u"], False

    def _check(self) -> None:
        self.checks += 1
        if self.checks % self.check_every:
            return
        if self.bids and self.asks and max(self.bids) >= min(self.asks):
            self._lose()
            self.crossed += 1

    def _lose(self) -> None:
        self.state, self.first_after_snapshot = GAP, False
        self.bids, self.asks, self.buffer = {}, {}, []

    def best(self, count: int) -> tuple[list[Any], list[Any]]:
        """Return the best levels, bids and asks, as (price, quantity)."""
        bids = sorted(self.bids.items(), reverse=True)[:count]
        return bids, sorted(self.asks.items())[:count]
