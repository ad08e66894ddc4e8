"""The primitives that every package shares: small, immutable, without logic."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

Symbol = NewType("Symbol", str)
"""A unified symbol: ``BTC/USDT`` (spot) or ``BTC/USDT:USDT`` (linear perpetual)."""


class Side(IntEnum):
    """The side of an order, of a book level, or of a trade's aggressor."""

    BUY = 1
    SELL = -1


class OrderType(IntEnum):
    """How an order's price is set."""

    MARKET = 1
    LIMIT = 2
    STOP_MARKET = 3
    STOP_LIMIT = 4


class TimeInForce(IntEnum):
    """How long an order stays open."""

    GTC = 1
    IOC = 2
    FOK = 3
    GTD = 4
    POST_ONLY = 5


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where one environment of a venue (live, testnet, simulator) is reached.

    ``websocket`` maps the venue's own route names (``public``, ``market``, …) to base URLs.
    """

    rest: str
    websocket: dict[str, str]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """A venue's public limits; 0 means that the venue states none."""

    rest_weight_per_minute: int = 0
    connections_per_5_minutes: int = 0
    messages_per_second: int = 0
    streams_per_connection: int = 0
    connections_per_second: int = 0
    subscribe_messages_per_hour: int = 0
    """Of one connection: subscribe and unsubscribe requests together."""
    connection_hours: float = 24.0


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """Default fees of an account without discounts, in parts per million of the notional."""

    maker_ppm: int
    taker_ppm: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A venue and what is the same for all its users."""

    name: str
    title: str
    endpoints: dict[str, Endpoints] = field(default_factory=dict)
    limits: RateLimits = RateLimits()
    fees: FeeSchedule = FeeSchedule(0, 0)
