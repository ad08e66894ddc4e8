"""The best levels of a book as the subscribers of one channel know them, and what is new to them.

All subscribers of a channel see the same chain of messages. One that joins gets the view as it was
with the last message, so that the next one follows it; a redundant connection sees the same.
"""

from engine.common import Side
from gateways.simulator.matching import Change, OrderBook

Row = tuple[int, int, int]
"""Price in ticks, quantity in lots, number of orders; both 0 where the level has gone."""


class _ViewSide:
    __slots__ = ("levels", "touched", "whole")

    def __init__(self) -> None:
        self.levels: dict[int, tuple[int, int]] = {}
        self.touched: dict[int, None] = {}
        self.whole = True  # Whether no level of the book stands behind the view.


class DepthView:
    """The best ``limit`` levels of each side of ``book``."""

    __slots__ = ("_book", "_sides", "limit")

    def __init__(self, book: OrderBook, limit: int) -> None:
        self._book = book
        self.limit = limit
        self._sides = {Side.BUY: _ViewSide(), Side.SELL: _ViewSide()}

    @property
    def changed(self) -> bool:
        """Whether the book has changed since the last ``reset`` or ``difference``."""
        return any(side.touched for side in self._sides.values())

    def touch(self, changes: list[Change]) -> None:
        """Note that levels of the book have changed."""
        for change in changes:
            self._sides[change.side].touched[change.price] = None

    def reset(self) -> None:
        """Take the book as it is."""
        for side in self._sides:
            self._take(side)

    def rows(self, side: Side, limit: int | None = None) -> list[Row]:
        """Return the levels of the view, best first."""
        levels = sorted(self._sides[side].levels.items(), reverse=side is Side.BUY)
        return [(price, lots, orders) for price, (lots, orders) in levels[:limit]]

    def difference(self) -> tuple[list[Row], list[Row]]:
        """Return what is new on the bid and on the ask side, best first, and take it over."""
        return self._new(Side.BUY), self._new(Side.SELL)

    def _new(self, side: Side) -> list[Row]:
        view = self._sides[side]
        if not view.touched:
            return []
        book_side = self._book.side(side)
        if not view.whole or len(book_side) > self.limit:
            return self._compared(side)
        rows = []
        for price in sorted(view.touched, reverse=side is Side.BUY):
            level = book_side.levels.get(price)
            if level is None:
                if view.levels.pop(price, None) is not None:
                    rows.append((price, 0, 0))
            else:
                now = (level.quantity, len(level.orders))
                if view.levels.get(price) != now:
                    view.levels[price] = now
                    rows.append((price, *now))
        view.touched.clear()
        return rows

    def _compared(self, side: Side) -> list[Row]:
        """Compare level by level: others may have come into reach, or out of it."""
        view = self._sides[side]
        before = view.levels
        now = self._take(side)
        rows = [(price, *state) for price, state in now.items() if before.get(price) != state]
        rows += [(price, 0, 0) for price in before if price not in now]
        rows.sort(reverse=side is Side.BUY)
        return rows

    def _take(self, side: Side) -> dict[int, tuple[int, int]]:
        view, book_side = self._sides[side], self._book.side(side)
        levels: dict[int, tuple[int, int]] = {}
        for level in book_side:
            if len(levels) == self.limit:
                break
            levels[level.price] = (level.quantity, len(level.orders))
        view.levels = levels
        view.touched.clear()
        view.whole = len(book_side) <= self.limit
        return levels
