"""What waits for a price or for a time: stop orders, good-till-date orders, dead-man switches."""

import heapq
from decimal import Decimal

from gateways.simulator.account import Account, Order
from gateways.simulator.margin import Units
from gateways.simulator.simulation import SimulatedBook

_INDEX_DECIMALS = 8


def price_for(market: SimulatedBook, units: Units, trigger: str) -> Decimal:
    """Return the price that triggers orders: "last", "mark" or "index" (spot has only the last)."""
    reference = market.reference
    if trigger == "last" or reference is None:
        return units.tick * market.stats.last
    price = reference.mark if trigger == "mark" else reference.index
    return Decimal(price).scaleb(-_INDEX_DECIMALS)


class Triggers:
    """Untriggered orders by market."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[int, tuple[Order, bool]]] = {}

    def add(self, order: Order, price: Decimal, units: Units) -> None:
        """Let an order wait; ``price`` is what the trigger's price is now."""
        above = order.terms.stop_above
        if above is None:
            above = units.tick * order.terms.stop_price > price
        symbol = order.market.instrument.symbol
        self._waiting.setdefault(symbol, {})[order.id] = (order, above)

    def remove(self, order: Order) -> None:
        """Let an order wait no longer."""
        symbol = order.market.instrument.symbol
        waiting = self._waiting.get(symbol)
        if waiting is not None:
            waiting.pop(order.id, None)
            if not waiting:
                del self._waiting[symbol]

    def waits(self, symbol: str) -> bool:
        """Whether any order waits for this market's price."""
        return symbol in self._waiting

    def due(self, market: SimulatedBook, units: Units) -> list[Order]:
        """Return the orders whose condition holds, oldest first; they go on waiting."""
        waiting = self._waiting.get(market.instrument.symbol)
        if not waiting:
            return []
        prices = {kind: price_for(market, units, kind) for kind in ("last", "mark", "index")}
        return [
            order
            for order, above in waiting.values()
            if is_met(units, order.terms.stop_price, above, prices[order.terms.trigger])
        ]


def is_met(units: Units, stop_price: int, above: bool, price: Decimal) -> bool:
    """Whether a stop at ``stop_price`` ticks is triggered at ``price``."""
    stop = units.tick * stop_price
    return price >= stop if above else price <= stop


class Expiries:
    """Good-till-date orders by their time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Order]] = []

    def add(self, order: Order) -> None:
        """Watch an order's date."""
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
