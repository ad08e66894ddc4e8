"""What the REST and WebSocket APIs of one Binance market share: who asks, what it costs, what runs.

An ``Operation`` is one thing that a client can ask for, by whichever way. A ``Desk`` finds out
whose request it is (keys, signatures, timestamps), counts orders, and runs it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol, TypeAlias

from gateways.simulator.account import Account, Order, Refused, Why
from gateways.simulator.binance import codes
from gateways.simulator.binance.codes import ApiError, refusal
from gateways.simulator.binance.dialect import Dialect, OrderLimit
from gateways.simulator.binance.parameters import Parameters
from gateways.simulator.private import verify
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

RECV_WINDOW_MS = 5000
RECV_WINDOW_MOST_MS = 60_000
AHEAD_MS = 1000
_WINDOW = re.compile(r"[0-9]{1,20}(\.[0-9]{1,3})?")
_MICROSECONDS = 10**14
"""Timestamps above are in microseconds."""

Result: TypeAlias = Any
"""What an operation answers with, as JSON."""


class Security(Enum):
    """What a request must prove."""

    NONE = 0
    KEY = 1
    """An API key that exists."""
    SIGNED = 2


@dataclass(slots=True)
class Ask:
    """One request that has passed the door."""

    account: Account
    """Of who asks."""
    parameters: Parameters
    now_ms: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for; ``orders`` is how many new orders it counts as."""

    call: Callable[[Ask], Any]
    weight: int | Callable[[Parameters], int] = 1
    security: Security = Security.SIGNED
    orders: int = 0
    changes: bool = False
    """It places, changes or cancels orders: the faults of requests strike it."""
    always_counted: bool = False
    """Its orders count even if it fails."""
    words: Mapping[Why, codes.Words] = field(default_factory=dict)

    def cost(self, parameters: Parameters) -> int:
        """Return the request weight."""
        return self.weight if isinstance(self.weight, int) else self.weight(parameters)


class OrderCounts:
    """The new orders of one account in the present intervals."""

    __slots__ = ("_counts", "_limits", "_windows")

    def __init__(self, limits: tuple[OrderLimit, ...]) -> None:
        self._limits = limits
        self._windows = [0] * len(limits)
        self._counts = [0] * len(limits)

    def now(self, now_ms: int) -> list[int]:
        """Return the counts, in the order of the limits."""
        for place, limit in enumerate(self._limits):
            window = now_ms // limit.period_ms
            if window != self._windows[place]:
                self._windows[place], self._counts[place] = window, 0
        return self._counts

    def check(self, orders: int, now_ms: int) -> None:
        """Refuse so many new orders if they are too many."""
        for limit, count in zip(self._limits, self.now(now_ms), strict=True):
            if count + orders > limit.limit:
                text = f"Too many new orders; current limit is {limit.limit} orders per "
                text += f"{limit.number} {limit.interval}."
                wait_ms = limit.period_ms - now_ms % limit.period_ms
                data = {"serverTime": now_ms, "retryAfter": now_ms + wait_ms}
                raise ApiError(-1015, text, 429, data)

    def add(self, orders: int, now_ms: int) -> None:
        """Count new orders; a negative number takes filled ones out again, but never below 0."""
        counts = self.now(now_ms)
        for place in range(len(counts)):
            counts[place] = max(0, counts[place] + orders)


class Announcer(Protocol):
    """Who tells the clients what an operation did, at its end."""

    def flush(self) -> None:
        """Send what has been collected."""


class Desk:
    """The private half of one Binance market."""

    def __init__(
        self,
        dialect: Dialect,
        trading: Trading,
        markets: Mapping[str, SimulatedBook],
        now_ms: Callable[[], int],
        words: Mapping[Why, codes.Words],
    ) -> None:
        self.dialect = dialect
        self.trading = trading
        self.markets = markets
        self.now_ms = now_ms
        self.words = dict(words)
        self.limits = dialect.order_limits
        self.operations: dict[str, Operation] = {}
        """By the name that the WebSocket API has for it, or would have."""
        self.announcer: Announcer | None = None
        self._counts: dict[int, OrderCounts] = {}

    # Who asks.

    def account_of(self, key: str | None) -> Account:
        """Return the account of an API key; raises ApiError."""
        if not key:
            raise ApiError(*codes.KEY_FORMAT, 401)
        account = self.trading.by_key(key)
        if account is None:
            raise ApiError(*codes.KEY_REJECTED, 401)
        return account

    def check_time(self, parameters: Parameters) -> None:
        """Refuse a request that is too old, or from the future."""
        sent = parameters.number("timestamp")
        if sent > _MICROSECONDS:
            sent //= 1000
        window = parameters.optional("recvWindow")
        if window and not _WINDOW.fullmatch(window):
            raise codes.illegal("recvWindow", "^[0-9]+(\\.[0-9]{1,3})?$")
        most = Decimal(window or RECV_WINDOW_MS)
        if most > RECV_WINDOW_MOST_MS:
            raise ApiError(-1131, "recvWindow must be less than 60000.")
        now_ms = self.now_ms()
        if sent >= now_ms + AHEAD_MS:
            raise ApiError(*codes.AHEAD)
        if now_ms - sent > most:
            raise ApiError(*codes.LATE)

    def check_signature(self, account: Account, payload: bytes, signature: str) -> None:
        """Refuse a payload that the account's key has not signed."""
        if not verify(account, payload, signature):
            raise ApiError(*codes.SIGNATURE)

    # What it costs.

    def counts(self, account: Account) -> OrderCounts:
        """Return the order counts of an account."""
        counts = self._counts.get(account.uid)
        if counts is None:
            counts = self._counts[account.uid] = OrderCounts(self.limits)
        return counts

    def counted(self, account: Account) -> list[dict[str, Any]]:
        """Return the order limits and counts of an account as JSON."""
        counts = self.counts(account).now(self.now_ms())
        return [limit.told(count) for limit, count in zip(self.limits, counts, strict=True)]

    # What runs.

    def run(self, operation: Operation, account: Account, parameters: Parameters) -> Result:
        """Run an operation; raises ApiError."""
        now_ms = self.now_ms()
        counts = self.counts(account) if operation.orders else None
        if counts is not None:
            counts.check(operation.orders, now_ms)
            if operation.always_counted:
                counts.add(operation.orders, now_ms)
        try:
            result = operation.call(Ask(account, parameters, now_ms))
        except Refused as refused:
            raise refusal(refused, self.words, operation.words) from None
        finally:
            if self.announcer is not None:
                self.announcer.flush()
        if counts is not None and not operation.always_counted:
            counts.add(operation.orders, now_ms)
        return result

    def market(self, symbol: str) -> SimulatedBook:
        """Return a market by its symbol; raises ApiError."""
        market = self.markets.get(symbol)
        if market is None:
            raise ApiError(*codes.SYMBOL)
        return market

    def find(
        self, account: Account, symbol: str, order_id: int, client_id: str, *, algo: bool = False
    ) -> Order:
        """Return an order, live or ended; the venue's id counts if both are given.

        Raises Refused if there is none, ApiError if the ids are not of the same order.
        """
        if not order_id and not client_id:
            names = ("algoId", "clientAlgoId") if algo else ("orderId", "origClientOrderId")
            text = f"Param '{names[1]}' or '{names[0]}' must be sent, but both were empty/null!"
            raise ApiError(-1102, text)
        if order_id:
            order = self.trading.find(account, order_id=order_id, symbol=symbol, algo=algo)
        else:
            order = self.trading.find(account, client_id=client_id, symbol=symbol, algo=algo)
        if order is None:
            raise Refused(Why.UNKNOWN_ORDER)
        if order_id and client_id and order.client_id != client_id:
            raise ApiError(*codes.ID_MISMATCH)
        return order
