"""A limit order book with price-time priority, over integers: ticks and lots.

Nothing here knows a venue, a clock or a socket. Each change of a level takes one number from an
``UpdateIds``; venues that number each book by itself give each book its own, venues that number
all of them together share one.

An operation returns an ``Outcome``: the order, its fills in the order in which they happened, and
the levels that changed. The same sequence of calls gives the same outcomes, always.

Orders of one account (a number above 0) can be kept from matching each other: ``Prevention``.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from engine.common import Side, TimeInForce


class UpdateIds:
    """A source of increasing update ids.

    With ``spread`` above 1 the ids skip like those of a venue on which other books, which we do
    not see, take numbers from the same counter.
    """

    __slots__ = ("_spread", "value")

    def __init__(self, start: int = 0, spread: int = 1) -> None:
        self.value = start
        self._spread = spread

    def take(self) -> int:
        """Return the next id."""
        # A hash of the last id: irregular like a busy venue, and still the same on each run.
        self.value += 1 + (self.value * 2_654_435_761 >> 7) % self._spread
        return self.value


class Prevention(StrEnum):
    """What happens when an order would match one of the same account."""

    NONE = "none"
    MAKER = "maker"
    """The resting order ends."""
    TAKER = "taker"
    BOTH = "both"


@dataclass(slots=True, eq=False)
class Order:
    """An order and what is left of it; ``price`` is 0 for a market order.

    ``owner`` is whatever its owner calls it, ``account`` whose it is; both 0 for the crowd.
    """

    id: int
    side: Side
    price: int
    quantity: int
    remaining: int
    owner: int = 0
    account: int = 0
    reduces: bool = False
    """It must not match more than ``OrderBook.room`` says."""


class Fill(NamedTuple):
    """One match: the maker's price, and both orders as they are afterwards."""

    trade_id: int
    price: int
    quantity: int
    maker: Order
    taker: Order


class Change(NamedTuple):
    """A level whose quantity changed, and the update id of the change."""

    side: Side
    price: int
    update_id: int


@dataclass(slots=True)
class Outcome:
    """What one operation did; ``rested`` tells whether the order stands in the book now."""

    order: Order
    fills: list[Fill] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    accepted: bool = True
    rested: bool = False
    forced: bool = False
    """The order closes a position by force: a liquidation."""
    prevented: list[Order] = field(default_factory=list)
    """Resting orders that self-trade prevention took out, with what was left of them."""
    stopped: bool = False
    """Self-trade prevention took the rest of the order itself."""
    outgrown: list[Order] = field(default_factory=list)
    """Resting orders that were taken out because ``OrderBook.room`` had none left for them."""


Room = Callable[[Order, Outcome], int]


class Level:
    """The orders at one price, oldest first."""

    __slots__ = ("orders", "price", "quantity")

    def __init__(self, price: int) -> None:
        self.price = price
        self.quantity = 0
        # Not a plain dict: taking its first key again and again is quadratic in CPython.
        self.orders: OrderedDict[int, Order] = OrderedDict()


class BookSide:
    """One side: its levels by price, and the prices from worst to best."""

    __slots__ = ("_ranks", "_sign", "levels", "side")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.levels: dict[int, Level] = {}
        self._sign = int(side)
        self._ranks: list[int] = []  # price * sign, ascending: the best is the last

    def __len__(self) -> int:
        return len(self._ranks)

    @property
    def best(self) -> Level | None:
        """The level at the best price."""
        return self.levels[self._ranks[-1] * self._sign] if self._ranks else None

    def __iter__(self) -> Iterator[Level]:
        """Go from the best level to the worst; the side must not change meanwhile."""
        sign, levels = self._sign, self.levels
        return (levels[rank * sign] for rank in reversed(self._ranks))

    def crosses(self, price: int) -> bool:
        """Whether an order of the other side at ``price`` would match now."""
        return bool(self._ranks) and self._ranks[-1] >= price * self._sign

    def open(self, price: int) -> Level:
        """Return the level at ``price``, made if there is none."""
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level(price)
            insort(self._ranks, price * self._sign)
        return level

    def close(self, level: Level) -> None:
        """Remove a level that holds no order any more."""
        del self.levels[level.price]
        del self._ranks[bisect_left(self._ranks, level.price * self._sign)]


class OrderBook:
    """One instrument's book and its matching."""

    def __init__(self, ids: UpdateIds | None = None) -> None:
        self.ids = ids or UpdateIds()
        self.update_id = self.ids.take()
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)
        self.orders: dict[int, Order] = {}
        self.last_order_id = 0
        self.last_trade_id = 0
        self.room: Room = lambda maker, outcome: maker.remaining
        """How many lots an order that ``reduces`` may match now, after the outcome so far."""

    def side(self, side: Side) -> BookSide:
        """Return the resting orders of ``side``."""
        return self.bids if side is Side.BUY else self.asks

    def submit(
        self,
        side: Side,
        price: int | None,
        quantity: int,
        time_in_force: TimeInForce = TimeInForce.GTC,
        owner: int = 0,
        account: int = 0,
        prevention: Prevention = Prevention.NONE,
        *,
        reduces: bool = False,
    ) -> Outcome:
        """Match an order and let the rest stand, if its time in force says so.

        ``price`` in ticks, None for a market order (its rest is cancelled); ``quantity`` in lots.
        A post-only order that would match, and a fill-or-kill order that cannot be filled, are
        not accepted and change nothing. ``prevention`` is the taker's: it decides what happens
        when the order meets one of the same ``account``. Raises ValueError for a price or quantity
        below 1.
        """
        if quantity < 1 or (price is not None and price < 1):
            raise ValueError(f"an order needs positive ticks and lots, got {price} and {quantity}")
        self.last_order_id += 1
        order = Order(
            self.last_order_id, side, price or 0, quantity, quantity, owner, account, reduces
        )
        outcome = Outcome(order)
        other = self.asks if side is Side.BUY else self.bids
        if price is not None and time_in_force is TimeInForce.POST_ONLY and other.crosses(price):
            outcome.accepted = False
            return outcome
        if prevention is Prevention.NONE:
            account = 0  # matches anybody
        whole = time_in_force is TimeInForce.FOK
        if whole and not self._fillable(order, price, account, prevention):
            outcome.accepted = False
            return outcome
        while (
            order.remaining
            and not outcome.stopped
            and (other.crosses(price) if price is not None else other.best is not None)
        ):
            self._match_best(order, other, outcome, account, prevention)
        if outcome.stopped or not order.remaining:
            return outcome
        if price is not None and time_in_force not in _IMMEDIATE:
            self._rest(order, outcome)
        return outcome

    def _fillable(
        self, taker: Order, price: int | None, account: int, prevention: Prevention
    ) -> bool:
        """Whether an order would be filled wholly; what it would match, only seems to happen."""
        trial, left = Outcome(taker), taker.remaining
        for level in self.side(Side(-taker.side)):
            if price is not None and (level.price - price) * taker.side > 0:
                return False
            for maker in level.orders.values():
                if account and maker.account == account:
                    if prevention is Prevention.MAKER:
                        continue
                    return False
                lots = min(left, maker.remaining)
                if maker.reduces:
                    lots = max(0, min(lots, self.room(maker, trial)))
                if lots:
                    trial.fills.append(Fill(0, level.price, lots, maker, taker))
                    left -= lots
                if not left:
                    return True
        return False

    def fills_whole(
        self, side: Side, price: int, quantity: int, account: int, prevention: Prevention
    ) -> bool:
        """Whether a fill-or-kill order would be filled if it came now."""
        if prevention is Prevention.NONE:
            account = 0  # matches anybody
        taker = Order(0, side, price, quantity, quantity, 0, account)
        return self._fillable(taker, price, account, prevention)

    def reachable(
        self,
        side: Side,
        price: int | None,
        quantity: int,
        account: int = 0,
        prevention: Prevention = Prevention.NONE,
    ) -> tuple[int, int]:
        """Return how many of ``quantity`` lots an order would get, and their ticks times lots."""
        found = value = 0
        for level_price, available in self.ladder(side, account, prevention):
            if found >= quantity or (price is not None and (level_price - price) * side > 0):
                break
            lots = min(available, quantity - found)
            found += lots
            value += lots * level_price
        return found, value

    def ladder(
        self, side: Side, account: int = 0, prevention: Prevention = Prevention.NONE
    ) -> Iterator[tuple[int, int]]:
        """Go through (price, lots) that an order of ``side`` could take, best first."""
        other = self.asks if side is Side.BUY else self.bids
        if not account or prevention is Prevention.NONE:
            yield from ((level.price, level.quantity) for level in other)
            return
        for level in other:
            lots, stopped = _foreign(level, account, prevention)
            yield level.price, lots
            if stopped:
                return

    def cancel(self, order_id: int) -> Outcome | None:
        """Take an order out of the book; None if it is not there (any more)."""
        order = self.orders.pop(order_id, None)
        if order is None:
            return None
        outcome = Outcome(order)
        own = self.side(order.side)
        level = own.levels[order.price]
        del level.orders[order_id]
        self._shrink(own, level, order.remaining, outcome)
        return outcome

    def reduce(self, order_id: int, remaining: int) -> Outcome | None:
        """Lower what is left of an order, which keeps its place in the queue.

        None if the order is not in the book; ValueError unless 0 < remaining < what is left.
        """
        order = self.orders.get(order_id)
        if order is None:
            return None
        if not 0 < remaining < order.remaining:
            raise ValueError(f"cannot reduce {order.remaining} lots to {remaining}")
        outcome = Outcome(order, rested=True)
        own = self.side(order.side)
        removed = order.remaining - remaining
        order.remaining = remaining
        order.quantity -= removed
        self._shrink(own, own.levels[order.price], removed, outcome)
        return outcome

    def depth(self, side: Side, limit: int | None = None) -> list[tuple[int, int]]:
        """Return (price, quantity) of the best ``limit`` levels, best first."""
        levels: list[tuple[int, int]] = []
        for level in self.side(side):
            if len(levels) == limit:
                break
            levels.append((level.price, level.quantity))
        return levels

    def _match_best(
        self, taker: Order, other: BookSide, outcome: Outcome, account: int, prevention: Prevention
    ) -> None:
        level = other.best
        assert level is not None
        gone = 0
        while taker.remaining and level.orders:
            maker = next(iter(level.orders.values()))
            if account and maker.account == account:
                outcome.stopped = prevention is not Prevention.MAKER
                if prevention is not Prevention.TAKER:
                    gone += maker.remaining
                    outcome.prevented.append(maker)
                    del level.orders[maker.id]
                    del self.orders[maker.id]
                if outcome.stopped:
                    break
                continue
            quantity = min(taker.remaining, maker.remaining)
            if maker.reduces and (room := self.room(maker, outcome)) < quantity:
                quantity = room
                if room < 1:
                    gone += maker.remaining
                    outcome.outgrown.append(maker)
                    del level.orders[maker.id]
                    del self.orders[maker.id]
                    continue
            taker.remaining -= quantity
            maker.remaining -= quantity
            gone += quantity
            self.last_trade_id += 1
            outcome.fills.append(Fill(self.last_trade_id, level.price, quantity, maker, taker))
            if not maker.remaining:
                del level.orders[maker.id]
                del self.orders[maker.id]
        if gone:
            self._shrink(other, level, gone, outcome)

    def _rest(self, order: Order, outcome: Outcome) -> None:
        level = self.side(order.side).open(order.price)
        level.orders[order.id] = order
        level.quantity += order.remaining
        self.orders[order.id] = order
        outcome.rested = True
        self._changed(order.side, order.price, outcome)

    def _shrink(self, own: BookSide, level: Level, quantity: int, outcome: Outcome) -> None:
        level.quantity -= quantity
        if not level.orders:
            own.close(level)
        self._changed(own.side, level.price, outcome)

    def _changed(self, side: Side, price: int, outcome: Outcome) -> None:
        self.update_id = self.ids.take()
        outcome.changes.append(Change(side, price, self.update_id))


def by_price(fills: list[Fill]) -> list[tuple[Fill, Fill, int, int]]:
    """Join the fills of one taker at one price: first, last, lots together, how many."""
    joined: list[tuple[Fill, Fill, int, int]] = []
    for fill in fills:
        if joined and joined[-1][0].price == fill.price:
            first, _, lots, count = joined[-1]
            joined[-1] = (first, fill, lots + fill.quantity, count + 1)
        else:
            joined.append((fill, fill, fill.quantity, 1))
    return joined


def _foreign(level: Level, account: int, prevention: Prevention) -> tuple[int, bool]:
    """Return what a taker of ``account`` gets at a level, and whether it is stopped there."""
    lots = 0
    for order in level.orders.values():
        if order.account != account:
            lots += order.remaining
        elif prevention is not Prevention.MAKER:
            return lots, True
    return lots, False


_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
