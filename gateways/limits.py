"""A venue's rate limits as one table that all processes of the machine spend from.

``gw.limits.<venue>`` has a row for each limit and each thing that it counts for: this machine's
address, an account, an instrument of an account. Whoever sends a request takes its cost from all
rows concerned first; what the venue then says in its headers corrects them.

Two ways of counting, as the venues have them:

*aligned*
    Whole periods of the clock (Binance). One word holds the period and the units used in it, and is
    changed by compare-and-exchange. A request sent near the end of a period may arrive in the next
    one, so within ``guard_ns`` of the end it is counted in both.
*rolling*
    Any period of that length (OKX, Bybit). The times of the last ``most`` units stand in a ring: a
    unit may be taken if the one ``most`` places before it is older than a period. That is exact,
    and needs no lock: the places are claimed by compare-and-exchange on the count of units. The
    venue counts arrivals, and one request may be held up on its way and the next not: so the period
    is taken to be ``guard_ns`` longer.

Each process has a share of a limit, by its own settings: what is used is counted together, how much
of it one takes is its own affair.

Part of each limit, its reserve, is for urgent requests alone (cancels, reduce-only orders): others
see a limit that is so much lower, and can never use it up.

A process that dies between claiming places in a ring and writing its times leaves old times there:
the worst is one burst too many once the ring has come round.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine import segment as seg
from engine.atomics import compare_exchange, load_acquire, store_release
from engine.errors import SegmentError
from engine.jit import inlined, kernel
from engine.segment import Cells, Kind, Shape
from gateways.adapter import Cost, Limit
from gateways.numbers import hashed
from gateways.types import RATE_LIMIT

ROWS = 4096
TIMES = 1 << 18
"""Cells for the times of rolling limits."""
ROLLING_MOST = 1 << 14
"""Units of a rolling limit whose times are kept: one that is larger counts as this large."""
GUARD_SHARE = 0.02
GUARD_MOST_NS = 100_000_000

_WORDS = RATE_LIMIT.dtype.itemsize // 8
_KEY, _READY, _MOST, _PERIOD, _RESERVE, _GUARD, _BLOCKED, _RING, _CLAIMED, _EVEN = range(10)
_REFUSED = 11
_USED_BITS = 24
_USED_MASK = (1 << _USED_BITS) - 1
_ALLOCATED = 0
"""Cell of the area that counts the cells given away; cell 0 itself is given."""
_WAIT_MAX_NS = 1 << 62


@inlined
def _used(word: int, period: int) -> int:
    """Return the units used in ``period``, from the word of its parity."""
    return word & _USED_MASK if word >> _USED_BITS == period else 0


@inlined
def _wait_aligned(rows: Cells, at: int, units: int, most: int, now: int) -> int:
    """Return how long until an aligned limit of ``most`` has ``units``, 0 for now (ns)."""
    length = int(rows[at + _PERIOD])
    period = now // length
    left = (period + 1) * length - now
    if _used(load_acquire(rows, at + _EVEN + (period & 1)), period) + units > most:
        return left
    if left <= rows[at + _GUARD]:
        later = period + 1
        if _used(load_acquire(rows, at + _EVEN + (later & 1)), later) + units > most:
            return left + length
    return 0


@inlined
def _wait_rolling(rows: Cells, times: Cells, at: int, units: int, most: int, now: int) -> int:
    """Return how long until a rolling limit of ``most`` has ``units``, 0 for now (ns)."""
    # The unit that must be a period old before the last of ours may be taken.
    before = load_acquire(rows, at + _CLAIMED) + units - 1 - most
    if units > most:
        return _WAIT_MAX_NS
    if before < 0:
        return 0
    taken = int(times[rows[at + _RING] + before % rows[at + _MOST]])
    return max(0, taken + int(rows[at + _PERIOD] + rows[at + _GUARD]) - now)


@inlined
def _add_aligned(rows: Cells, at: int, period: int, units: int) -> None:
    cell = at + _EVEN + (period & 1)
    while True:
        word = load_acquire(rows, cell)
        used = max(0, _used(word, period) + units)
        # A word of a later period stays: a slow process must not take it back.
        if word >> _USED_BITS > period:
            return
        if compare_exchange(rows, cell, word, period << _USED_BITS | min(used, _USED_MASK)):
            return


@inlined
def _take_rolling(rows: Cells, times: Cells, at: int, units: int, most: int, now: int) -> bool:
    size, ring = rows[at + _MOST], rows[at + _RING]
    period = rows[at + _PERIOD] + rows[at + _GUARD]
    while True:
        claimed = load_acquire(rows, at + _CLAIMED)
        before = claimed + units - 1 - most
        if before >= 0 and times[ring + before % size] + period > now:
            return False
        if compare_exchange(rows, at + _CLAIMED, claimed, claimed + units):
            # Never older than the one before it: a process that looked at its clock and was then
            # held up must not make room earlier than there is.
            taken = now
            if claimed > 0:
                taken = max(now, times[ring + (claimed - 1) % size])
            for n in range(units):
                times[ring + (claimed + n) % size] = taken
            return True


@kernel("int64(int64[::1], int64[::1], int64[:, ::1], boolean, int64)")
def take_units(rows: Cells, times: Cells, plan: NDArray[np.int64], urgent: bool, now: int) -> int:
    """Take what each row of ``plan`` says, or nothing; return the wait in ns.

    A row: first cell of the limit, units, how many there may be in a period, how many of them are
    for urgent requests alone.
    """
    wait = 0
    for i in range(len(plan)):
        at, units = plan[i, 0], plan[i, 1]
        most = plan[i, 2] if urgent else plan[i, 2] - plan[i, 3]
        blocked = load_acquire(rows, at + _BLOCKED)
        each = blocked - now
        if rows[at + _RING] < 0:
            each = max(each, _wait_aligned(rows, at, units, most, now))
        else:
            each = max(each, _wait_rolling(rows, times, at, units, most, now))
        if each > 0:
            rows[at + _REFUSED] += 1  # A statistic: a lost count does no harm.
        wait = max(wait, each)
    if wait > 0:
        return wait
    for i in range(len(plan)):
        at, units = plan[i, 0], plan[i, 1]
        most = plan[i, 2] if urgent else plan[i, 2] - plan[i, 3]
        if rows[at + _RING] >= 0:
            if not _take_rolling(rows, times, at, units, most, now):
                # Another process was quicker. What we took before stays taken: too careful by
                # one request, once in a blue moon.
                return max(1, _wait_rolling(rows, times, at, units, most, now))
            continue
        period = now // rows[at + _PERIOD]
        _add_aligned(rows, at, period, units)
        if (period + 1) * rows[at + _PERIOD] - now <= rows[at + _GUARD]:
            _add_aligned(rows, at, period + 1, units)
    return 0


@kernel("void(int64[::1], int64[::1], int64, int64, int64)")
def raise_used(rows: Cells, times: Cells, at: int, used: int, now: int) -> None:
    """Believe the venue where it has counted more in the present period than we have."""
    if rows[at + _RING] < 0:
        period = now // rows[at + _PERIOD]
        missing = used - _used(load_acquire(rows, at + _EVEN + (period & 1)), period)
        if missing > 0:
            _add_aligned(rows, at, period, missing)
        return
    most, ring = rows[at + _MOST], rows[at + _RING]
    claimed = load_acquire(rows, at + _CLAIMED)
    known = 0
    while known < min(most, claimed):
        if times[ring + (claimed - 1 - known) % most] + rows[at + _PERIOD] <= now:
            break
        known += 1
    missing = min(used, most) - known
    if missing > 0 and compare_exchange(rows, at + _CLAIMED, claimed, claimed + missing):
        for n in range(missing):
            times[ring + (claimed + n) % most] = now


@kernel("void(int64[::1], int64, int64)")
def raise_block(rows: Cells, at: int, until: int) -> None:
    """Let nothing through before ``until``."""
    while True:
        old = load_acquire(rows, at + _BLOCKED)
        if old >= until or compare_exchange(rows, at + _BLOCKED, old, until):
            return


@kernel("int64(int64[::1], int64, int64)")
def claim_row(rows: Cells, first: int, key: int) -> int:
    """Return the first cell of the row with ``key``, taking a free one; -1 if the table is full."""
    for n in range(ROWS):
        at = (first + n) % ROWS * _WORDS
        found = load_acquire(rows, at + _KEY)
        if found == 0 and compare_exchange(rows, at + _KEY, 0, key):
            return at
        if load_acquire(rows, at + _KEY) == key:
            return at
    return -1


@kernel("int64(int64[::1], int64)")
def claim_times(times: Cells, count: int) -> int:
    """Return the first of ``count`` cells that nobody else has; -1 if there are not so many."""
    while True:
        taken = load_acquire(times, _ALLOCATED)
        first = max(taken, 1)
        if first + count > len(times):
            return -1
        if compare_exchange(times, _ALLOCATED, taken, first + count):
            return first


@kernel("boolean(int64[::1], int64, int64)")
def publish_row(rows: Cells, at: int, ring: int) -> bool:
    """Give a row its ring, unless another process has been quicker, and say that it is whole."""
    if load_acquire(rows, at + _READY) == 0:
        rows[at + _RING] = ring
        store_release(rows, at + _READY, 1)  # Pairs with load_acquire in is_ready.
        return True
    return False


@kernel("boolean(int64[::1], int64)")
def is_ready(rows: Cells, at: int) -> bool:
    """Return whether a row is whole."""
    return load_acquire(rows, at + _READY) == 1


def _share_of(limit: Limit, factor: float) -> int:
    most = max(1, math.floor(limit.most * factor))
    return most if limit.aligned else min(most, ROLLING_MOST)


class RateLimits:
    """One account's view of a venue's limits; any number of processes may have one.

    Each limit is ``factor`` times the venue's: below 1 it leaves the rest to others; above 1 it is
    the venue's where another process has made the rows for that. All ``now_ns`` are of the venue's
    clock.
    """

    def __init__(
        self, instance: str, venue: str, account: str, limits: Iterable[Limit], factor: float = 1.0
    ) -> None:
        self.limits = {limit.name: limit for limit in limits}
        self._account, self._factor = account, factor
        shape = Shape(Kind.SHARED, RATE_LIMIT, ROWS, TIMES * 8)
        self._segment = seg.open_shared(instance, f"gw.limits.{venue}", shape)
        self._rows = self._segment.words
        self._times: Cells = self._segment.area.view(np.int64)
        self._known: dict[Cost, int] = {}
        self._plans: dict[tuple[Cost, ...], NDArray[np.int64]] = {}

    def take(self, costs: Sequence[Cost], urgent: bool, now_ns: int) -> int:
        """Take all costs and return 0, or take none and return how long to wait (ns).

        Raises
        ------
        SegmentError
            If the table has no row left.

        """
        wanted = tuple(costs)
        plan = self._plans.get(wanted)
        if plan is None:
            plan = self._plan(wanted)
        return int(take_units(self._rows, self._times, plan, urgent, now_ns))

    def observe(self, cost: Cost, used: int, now_ns: int, sent_ns: int | None = None) -> None:
        """Take note of what the venue says is used of a limit.

        The request that it answers was sent at ``sent_ns`` (None: now). Where a period has ended
        meanwhile, nobody knows of which one it speaks.
        """
        limit = self.limits.get(cost.limit)
        if limit is None:
            return
        period_ns = round(limit.period_s * 1e9)
        sent_ns = now_ns if sent_ns is None else sent_ns
        if not limit.aligned or sent_ns // period_ns == now_ns // period_ns:
            raise_used(self._rows, self._times, self._row(cost), used, now_ns)

    def block(self, limit: str | None, until_ns: int) -> None:
        """Let nothing through before ``until_ns``: of one limit, or of all (None)."""
        for name, each in self.limits.items():
            if limit is None or name == limit:
                if not each.scoped:
                    raise_block(self._rows, self._row(Cost(name)), until_ns)
                    continue
                for cost in [cost for cost in self._known if cost.limit == name]:
                    raise_block(self._rows, self._row(cost), until_ns)

    def used(self, cost: Cost, now_ns: int) -> int:
        """Return the units used in the present period, for tools and tests."""
        at = self._row(cost)
        period_ns, ring = int(self._rows[at + _PERIOD]), int(self._rows[at + _RING])
        if ring < 0:
            period = now_ns // period_ns
            word = int(self._rows[at + _EVEN + (period & 1)])
            return word & _USED_MASK if word >> _USED_BITS == period else 0
        most = int(self._rows[at + _MOST])
        count = min(most, int(self._rows[at + _CLAIMED]))
        times = self._times[ring : ring + most]
        return int(np.count_nonzero(times[:count] + period_ns > now_ns))

    def close(self) -> None:
        """Let go of the segment; it stays, with what was spent."""
        self._rows = self._times = np.zeros(0, np.int64)
        self._segment.close()

    def _plan(self, costs: tuple[Cost, ...]) -> NDArray[np.int64]:
        rows = [self._share(cost) for cost in costs if cost.limit in self.limits]
        plan = self._plans[costs] = np.array(rows, np.int64).reshape(-1, 4)
        return plan

    def _share(self, cost: Cost) -> tuple[int, int, int, int]:
        """Return a row of a plan: what a cost takes, and our share of its limit."""
        at, limit = self._row(cost), self.limits[cost.limit]
        # There is no room for the times of more than the row was made for.
        most = min(_share_of(limit, self._factor), int(self._rows[at + _MOST]))
        return at, cost.units, most, min(most - 1, math.ceil(most * limit.reserve))

    def _row(self, cost: Cost) -> int:
        known = Cost(cost.limit, 0, cost.scope)
        at = self._known.get(known)
        if at is None:
            at = self._known[known] = self._open_row(known)
        return at

    def _open_row(self, cost: Cost) -> int:
        limit = self.limits[cost.limit]
        # A row is as large as the largest share that is foreseen when it is made.
        most, account = max(_share_of(limit, 1.0), _share_of(limit, self._factor)), ""
        if limit.per != "address":
            account = self._account
        name = f"{cost.limit} {cost.scope}".strip()
        key = hashed(f"{account}\n{name}\n{limit.most}\n{limit.period_s}")
        at = int(claim_row(self._rows, key % ROWS, key))
        if at < 0:
            raise SegmentError(
                f"{self._segment.name}: all {ROWS} rows are taken; remove the segment while "
                "nothing runs"
            )
        if is_ready(self._rows, at):
            return at
        # Several processes may do this at once: they write the same.
        period_ns = round(limit.period_s * 1e9)
        self._rows[at + _MOST], self._rows[at + _PERIOD] = most, period_ns
        self._rows[at + _RESERVE] = min(most - 1, math.ceil(most * limit.reserve))
        self._rows[at + _GUARD] = min(GUARD_MOST_NS, round(period_ns * GUARD_SHARE))
        record = self._segment.records()[at // _WORDS]
        record["account"], record["name"] = account.encode()[:32], name.encode()[:64]
        ring = -1
        if not limit.aligned:
            ring = int(claim_times(self._times, most))
            if ring < 0:
                raise SegmentError(f"{self._segment.name}: no room for the times of {name}")
        publish_row(self._rows, at, ring)
        return at
