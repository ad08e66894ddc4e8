"""What waits for a price or for a time: stop orders, good-till-date orders, dead-man switches."""

import heapq
from decimal import Decimal

from gateways.simulator.account import Account, Order
from gateways.simulator.margin import Units
from gateways.simulator.simulation import SimulatedBook

_INDEX_DECIMALS = 8
_EXPIRIES_LEAST = 64
"""Dates that are kept without a look at whose they are."""


def price_for(market: SimulatedBook, units: Units, trigger: str) -> Decimal:
    """Return the price that triggers orders: "last", "mark" or "index" (spot has only the last)."""
    reference = market.reference
    if trigger == "last" or reference is None:
        return units.tick * market.stats.last
    price = reference.mark if trigger == "mark" else reference.index
    return Decimal(price).scaleb(-_INDEX_DECIMALS)


Kind = tuple[str, bool]
"""What triggers, and whether at or above the stop price (else at or below)."""


def _mantissa(market: SimulatedBook, trigger: str) -> int:
    """Return the price that triggers orders as a whole number, to compare with ``_threshold``."""
    reference = market.reference
    if trigger == "last" or reference is None:
        return market.stats.last
    return reference.mark if trigger == "mark" else reference.index


def _threshold(market: SimulatedBook, trigger: str, stop_price: int, *, above: bool) -> int:
    """Return the first price, as ``_mantissa`` has it, at which a stop is triggered."""
    if trigger == "last" or market.reference is None:
        return stop_price
    scale = market.instrument.price
    whole: int = 10**_INDEX_DECIMALS
    unit: int = 10**scale.decimals
    exact = stop_price * scale.step * whole
    return -(-exact // unit) if above else exact // unit


class Triggers:
    """Untriggered orders by market, the nearest ones on top of heaps.

    An order that waits no longer stays in its heap until it comes to the top, or until half of
    the heap is of that kind.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, dict[Kind, list[tuple[int, int, Order]]]] = {}
        self._live: dict[int, tuple[int, str, Kind]] = {}
        """By order: the number of its entry, and where that is."""
        self._gone: dict[tuple[str, Kind], int] = {}
        self._entries = 0

    def __len__(self) -> int:
        return sum(len(heap) for heaps in self._heaps.values() for heap in heaps.values())

    def add(self, order: Order) -> None:
        """Let an order wait."""
        market, terms = order.market, order.terms
        above = terms.stop_above
        if above is None:
            threshold = _threshold(market, terms.trigger, terms.stop_price, above=False)
            above = threshold > _mantissa(market, terms.trigger)
        threshold = _threshold(market, terms.trigger, terms.stop_price, above=above)
        self._entries += 1
        symbol, kind = market.instrument.symbol, (terms.trigger, above)
        heap = self._heaps.setdefault(symbol, {}).setdefault(kind, [])
        heapq.heappush(heap, (threshold if above else -threshold, self._entries, order))
        self._live[order.id] = (self._entries, symbol, kind)

    def remove(self, order: Order) -> None:
        """Let an order wait no longer."""
        entry = self._live.pop(order.id, None)
        if entry is None:
            return
        _, symbol, kind = entry
        gone = self._gone[symbol, kind] = self._gone.get((symbol, kind), 0) + 1
        heap = self._heaps[symbol][kind]
        if 2 * gone >= len(heap):
            heap[:] = [each for each in heap if self._waits(each)]
            heapq.heapify(heap)
            self._gone[symbol, kind] = 0
            if not heap:
                self._forget(symbol, kind)

    def reached(self, market: SimulatedBook) -> bool:
        """Whether the condition of any order holds."""
        heaps = self._heaps.get(market.instrument.symbol)
        if not heaps:
            return False
        for (trigger, above), heap in heaps.items():
            price = _mantissa(market, trigger)
            # One that has gone may stand on top: then ``due`` finds nothing.
            if heap[0][0] <= (price if above else -price):
                return True
        return False

    def due(self, market: SimulatedBook) -> list[Order]:
        """Return the orders whose condition holds, oldest first; they wait no longer."""
        symbol = market.instrument.symbol
        found: list[tuple[int, Order]] = []
        for kind, heap in list(self._heaps.get(symbol, {}).items()):
            trigger, above = kind
            price = _mantissa(market, trigger)
            limit = price if above else -price
            while heap and heap[0][0] <= limit:
                entry = heapq.heappop(heap)
                if self._waits(entry):
                    found.append(entry[1:])
                    del self._live[entry[2].id]
                else:
                    self._gone[symbol, kind] -= 1
            if not heap:
                self._forget(symbol, kind)
        return [order for _, order in sorted(found, key=lambda each: each[0])]

    def _waits(self, entry: tuple[int, int, Order]) -> bool:
        live = self._live.get(entry[2].id)
        return live is not None and live[0] == entry[1]

    def _forget(self, symbol: str, kind: Kind) -> None:
        del self._heaps[symbol][kind]
        self._gone.pop((symbol, kind), None)
        if not self._heaps[symbol]:
            del self._heaps[symbol]


def is_met(units: Units, stop_price: int, above: bool, price: Decimal) -> bool:
    """Whether a stop at ``stop_price`` ticks is triggered at ``price``."""
    stop = units.tick * stop_price
    return price >= stop if above else price <= stop


class Expiries:
    """Good-till-date orders by their time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Order]] = []
        self._most = _EXPIRIES_LEAST

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, order: Order) -> None:
        """Watch an order's date."""
        if len(self._heap) >= self._most:
            # Most orders end long before their date.
            self._heap = [entry for entry in self._heap if entry[2].status.live]
            heapq.heapify(self._heap)
            self._most = max(_EXPIRIES_LEAST, 2 * len(self._heap))
        heapq.heappush(self._heap, (order.terms.expire_ms, order.id, order))

    def due(self, now_ms: int) -> list[Order]:
        """Return the orders whose date has come, and forget them; some may have ended."""
        found = []
        while self._heap and self._heap[0][0] <= now_ms:
            found.append(heapq.heappop(self._heap)[2])
        return found


class DeadMan:
    """Switches that cancel orders unless they are armed again in time.

    A scope is "" (the account), a symbol, or "tag:x".
    """

    def __init__(self) -> None:
        self._armed: dict[tuple[int, str], tuple[int, Account]] = {}

    def arm(self, account: Account, scope: str, timeout_ms: int, now_ms: int) -> None:
        """Start a switch anew; 0 disarms it."""
        self._armed.pop((account.uid, scope), None)
        if timeout_ms > 0:
            self._armed[account.uid, scope] = (now_ms + timeout_ms, account)

    def deadline(self, account: Account, scope: str) -> int:
        """Return when a switch fires, Unix ms; 0 if it is not armed."""
        return self._armed.get((account.uid, scope), (0, account))[0]

    def due(self, now_ms: int) -> list[tuple[Account, str]]:
        """Return the account and scope of the switches that fire now, and disarm them."""
        due = [key for key, (deadline, _) in self._armed.items() if deadline <= now_ms]
        return [(self._armed.pop(key)[1], key[1]) for key in due]
