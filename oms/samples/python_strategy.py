"""A strategy in plain Python: statistics of every book's top, and a book of its own.

It works in batches: one poll, a few NumPy operations over the whole view, one check that the view
was not overwritten meanwhile. Record by record it only goes through the one instrument whose book
it keeps, to show how that is done.

Its signal is the imbalance of the best quantities, the share of the bid in both, averaged with a
half-life of a few hundred changes, in parts per million: nothing here is a float.
"""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.agent import AgentContext
from engine.config import settings, takes
from engine.errors import SegmentError
from feeds.types import BookState, Flag
from oms.strategy import MarketData, StrategySettings, Stream

PPM = 1_000_000
WEIGHT = 64
"""One new value weighs a 64th in the averages."""
CHECKED_LEVELS = 5
SEED_BELOW = CHECKED_LEVELS + 1
"""With fewer levels known on a side, the own book starts anew from the image."""

_RESTART = Flag.CLEAR | Flag.SNAPSHOT


class PythonStrategySettings(StrategySettings, frozen=True, kw_only=True):
    """The settings of the sample."""

    own_book: int = 0
    """The instrument (row of the instrument table) whose book is kept from its deltas; -1: none."""


class OwnBook:
    """The best levels of one instrument, seeded from its image and continued by its deltas.

    It knows each side down to the worst level of the image that it began with (its horizon), and
    ignores what happens beyond. When the market has eaten its way close to the horizon, it begins
    again.
    """

    def __init__(self, instrument: int) -> None:
        self.instrument = instrument
        self.sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
        """Side (+1 bids, -1 asks) -> price mantissa -> quantity mantissa."""
        self.update_id = self.epoch = 0
        self.seeded = False
        self._seen_id = 0
        self._horizon = {1: 0, -1: 0}

    def seed(self, image: np.void) -> bool:
        """Begin from a book image, unless it is unfit: not live, or older than what was seen."""
        if image["state"] != BookState.LIVE or image["update_id"] < self._seen_id:
            return False
        for side, levels, count in (
            (1, image["bids"], int(image["bid_count"])),
            (-1, image["asks"], int(image["ask_count"])),
        ):
            self.sides[side] = dict(levels[:count].tolist())
            self._horizon[side] = min((side * p for p in self.sides[side]), default=0)
        self.update_id, self.epoch = int(image["update_id"]), int(image["epoch"]) & 0xFFFF
        self.seeded = True
        return True

    def apply(self, deltas: NDArray[Any]) -> None:
        """Continue with deltas of the instrument (``feeds.types.BOOK_DELTA``), in order."""
        if not len(deltas):
            return
        before, self._seen_id = self._seen_id, int(deltas["update_id"][-1])
        if not self.seeded:
            return
        anew = np.any(deltas["flags"] & _RESTART) or np.any(deltas["epoch"] != self.epoch)
        # A venue may begin to count anew within an epoch (OKX, after maintenance).
        if anew or deltas["update_id"].min() < before:
            self.seeded = False  # What we have is of the old book.
            return
        new = deltas[deltas["update_id"] > self.update_id]
        for side, price, quantity in new[["side", "price", "quantity"]].tolist():
            levels = self.sides[side]
            if quantity == 0:
                levels.pop(price, None)
            elif side * price >= self._horizon[side]:
                levels[price] = quantity
        self.update_id = max(self.update_id, self._seen_id)
        self.seeded = all(len(levels) >= SEED_BELOW for levels in self.sides.values())

    def best(self, side: int, count: int = CHECKED_LEVELS) -> list[tuple[int, int]]:
        """Return the best levels of a side, best first, as (price, quantity) mantissas."""
        levels = self.sides[side]
        return [(price, levels[price]) for price in sorted(levels, reverse=side > 0)[:count]]

    def agrees(self, image: np.void) -> bool | None:
        """Return whether the image has the same best levels; None if it is of another moment."""
        if not self.seeded or image["update_id"] != self.update_id:
            return None
        bids, asks = (
            [tuple(level) for level in image[name][:CHECKED_LEVELS].tolist()]
            for name in ("bids", "asks")
        )
        return self.best(1) == bids and self.best(-1) == asks


class PythonStrategy:
    """An ``engine.agent.Agent`` (kind ``strategy-python``)."""

    def __init__(self, context: AgentContext) -> None:
        self._settings = settings(PythonStrategySettings, context)
        self.name, self._log = context.name, context.log
        self._data = MarketData(context, self._settings.rings)
        counters = context.counters
        self._values = counters.values
        self._tops = counters.counter("tops_live", "records")
        self._seeds = counters.counter("own_book.seeds")
        self._checks = counters.counter("own_book.checks")
        self._wrong = counters.counter("own_book.mismatches")
        self._imbalance_gauge = counters.gauge("imbalance", "ppm")
        self._spread_gauge = counters.gauge("spread", "ppm")
        self._buys = counters.counter("trades.buy", "records")
        self._sells = counters.counter("trades.sell", "records")
        self._own = OwnBook(self._settings.own_book)
        self._lost_before = 0
        self._imbalance = np.zeros(0, np.int64)
        self._spread = np.zeros(0, np.int64)

    def start(self) -> None:
        """Attach, and make room for every instrument that there can be."""
        self._data.start()
        self._imbalance = np.full(self._data.instruments.rows, PPM // 2, np.int64)
        self._spread = np.zeros(self._data.instruments.rows, np.int64)
        self.bell = self._data.bell
        self._work = [
            (stream, getattr(self, f"_on_{name.removeprefix('md.')}", self._on_other))
            for name, stream in self._data.streams.items()
        ]

    def do_work(self) -> int:
        """Read a batch of every ring; return the number of records."""
        done = 0
        for stream, handle in self._work:
            batch = stream.poll(self._settings.batch)
            if len(batch):
                done += len(batch)
                handle(stream, batch)
        return done

    def _on_top(self, stream: Stream, batch: NDArray[Any]) -> None:
        live = batch[batch["state"] == BookState.LIVE]  # A copy: it stays what it is.
        if not stream.accept(batch):
            return
        self._values[self._tops] += len(live)
        bid, ask = live["bid_quantity"], live["ask_quantity"]
        # Large mantissas lose their last bits, so that their product with PPM fits 64 bits.
        down = np.where(np.maximum(bid, ask) >> 40 == 0, 0, 23)
        share = (bid >> down) * PPM // np.maximum((bid >> down) + (ask >> down), 1)
        middle = np.maximum((live["bid_price"] + live["ask_price"]) // 2, 1)
        spread = np.minimum(live["ask_price"] - live["bid_price"], 1 << 42) * PPM // middle
        for row in np.unique(live["instrument"]).tolist():
            mine = live["instrument"] == row
            self._average(self._imbalance, row, share[mine])
            self._average(self._spread, row, spread[mine])

    def _average(self, averages: NDArray[np.int64], row: int, values: NDArray[np.int64]) -> None:
        """Move an average towards the mean of new values, the further the more of them."""
        weight = min(len(values), WEIGHT)
        averages[row] += (int(values.mean()) - averages[row]) * weight // WEIGHT

    def _on_trades(self, stream: Stream, batch: NDArray[Any]) -> None:
        buys = int(np.count_nonzero(batch["side"] > 0))
        sells = int(np.count_nonzero(batch["side"] < 0))
        if stream.accept(batch):
            self._values[self._buys] += buys
            self._values[self._sells] += sells

    def _on_book(self, stream: Stream, batch: NDArray[Any]) -> None:
        mine = batch[batch["instrument"] == self._own.instrument]
        lost = stream.reader.lost
        if lost != self._lost_before or not stream.accept(batch):
            self._lost_before, self._own.seeded = lost, False  # Deltas are missing.
            return
        self._own.apply(mine)

    def _on_other(self, stream: Stream, batch: NDArray[Any]) -> None:
        stream.accept(batch)

    def heartbeat(self) -> None:
        """Account, and hold the own book against the worker's image of it."""
        self._data.account()
        row = self._own.instrument
        if not 0 <= row < len(self._imbalance):
            return
        self._values[self._imbalance_gauge] = self._imbalance[row]
        self._values[self._spread_gauge] = self._spread[row]
        if not self._data.worker_alive:
            self._own.seeded = False
            return
        with contextlib.suppress(SegmentError):  # The worker died in the middle of the row.
            image = self._data.books.read(row)
            if image["instrument"] != row:
                return
            if not self._own.seeded:
                self._values[self._seeds] += self._own.seed(image)
                return
            agrees = self._own.agrees(image)
            self._values[self._checks] += agrees is not None
            if agrees is False:
                self._values[self._wrong] += 1
                self._own.seeded = False
                self._log.warning("own book differs", extra={"update_id": self._own.update_id})

    def close(self) -> None:
        """Detach."""
        self._data.close()


@takes(PythonStrategySettings)
def make(context: AgentContext) -> PythonStrategy:
    """Return the agent of kind ``strategy-python``: entry point ``trade_infra.agents``."""
    return PythonStrategy(context)
