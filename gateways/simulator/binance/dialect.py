"""How Binance spot and USDⓈ-M differ, as data."""

import re
from dataclasses import dataclass, field
from typing import Any

from gateways.simulator.session import ConnectionRules

SYMBOL_PATTERN = r"^[A-Z0-9-_.]{1,20}$"
LIFETIME_S = 86_400.0
_STREAM = re.compile(r"^(?P<symbol>[a-z0-9_]{1,32})@(?P<channel>[A-Za-z0-9_@]+)$")


@dataclass(frozen=True, slots=True)
class OrderLimit:
    """So many new orders of an account in an interval that begins at its multiples."""

    interval: str
    """SECOND, MINUTE or DAY."""
    number: int
    limit: int

    @property
    def period_ms(self) -> int:
        """The interval's length."""
        return self.number * {"SECOND": 1000, "MINUTE": 60_000, "DAY": 86_400_000}[self.interval]

    @property
    def header(self) -> str:
        """The name of the header that tells the count."""
        return f"X-MBX-ORDER-COUNT-{self.number}{self.interval[0]}"

    def told(self, count: int) -> dict[str, Any]:
        """Return the limit and its count as JSON."""
        return {
            "rateLimitType": "ORDERS",
            "interval": self.interval,
            "intervalNum": self.number,
            "limit": self.limit,
            "count": count,
        }


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two Binance markets; times in the unit that the name says."""

    name: str
    path: str
    """Of REST endpoints, with their version."""
    futures: bool
    weight_per_minute: int
    depth_weights: tuple[tuple[int, int], ...]
    """Highest limit and its weight, ascending."""
    depth_limits: tuple[int, ...]
    """The limits that may be asked for; empty for any up to the highest."""
    depth_default: int
    ping_interval_s: float
    pong_timeout_s: float
    messages_per_second: int
    depth_intervals_ms: tuple[int, ...]
    """0 is the raw feed; the first is what ``@depth`` alone means."""
    announces_shutdown: bool
    order_limits: tuple[OrderLimit, ...]
    api_path: str
    """Of the WebSocket API."""
    streams_per_connection: int = 1024
    connections_per_5_minutes: int = 300
    routes: dict[str, frozenset[str]] = field(default_factory=dict)
    """Route to the channels that it carries; a route without an entry carries all."""

    @property
    def rules(self) -> ConnectionRules:
        """How a connection is treated."""
        return ConnectionRules(
            messages_per_second=self.messages_per_second,
            ping_interval_s=self.ping_interval_s,
            pong_timeout_s=self.pong_timeout_s,
            lifetime_s=LIFETIME_S,
            announces_end=self.announces_shutdown,
        )

    def carries(self, route: str, stream: str) -> bool:
        """Whether a connection on ``route`` gets data of ``stream``."""
        channels = self.routes.get(route)
        return channels is None or channel_of(stream) in channels


SPOT = Dialect(
    name="binance_spot",
    path="/api/v3",
    futures=False,
    weight_per_minute=6000,
    depth_weights=((100, 5), (500, 25), (1000, 50), (5000, 250)),
    depth_limits=(),
    depth_default=100,
    ping_interval_s=20.0,
    pong_timeout_s=60.0,
    messages_per_second=5,
    depth_intervals_ms=(1000, 100),
    announces_shutdown=True,
    order_limits=(OrderLimit("SECOND", 10, 100), OrderLimit("DAY", 1, 200_000)),
    api_path="/ws-api/v3",
)
USDM = Dialect(
    name="binance_usdm",
    path="/fapi/v1",
    futures=True,
    weight_per_minute=2400,
    depth_weights=((50, 2), (100, 5), (500, 10), (1000, 20)),
    depth_limits=(5, 10, 20, 50, 100, 500, 1000),
    depth_default=500,
    ping_interval_s=180.0,
    pong_timeout_s=600.0,
    messages_per_second=10,
    depth_intervals_ms=(250, 100, 500, 0),
    announces_shutdown=False,
    order_limits=(OrderLimit("MINUTE", 1, 1200), OrderLimit("SECOND", 10, 300)),
    api_path="/ws-fapi/v1",
    routes={
        "public": frozenset({"depth", "bookTicker", "trade"}),
        "market": frozenset(
            {
                "aggTrade",
                "markPrice",
                "forceOrder",
                "ticker",
                "miniTicker",
                "contractInfo",
                "kline",
            }
        ),
        "private": frozenset(),
    },
)
DIALECTS = {SPOT.name: SPOT, USDM.name: USDM}


def channel_of(stream: str) -> str:
    """Return ``depth`` for ``btcusdt@depth20@100ms``, ``markPrice`` for ``!markPrice@arr``."""
    name = stream[1:] if stream.startswith("!") else stream.partition("@")[2]
    channel = name.partition("@")[0]
    if channel.startswith("kline_"):
        return "kline"
    return channel.rstrip("0123456789") if channel.startswith("depth") else channel


def is_stream_name(stream: str) -> bool:
    """Whether the venue takes this for the name of a stream (that may not exist)."""
    return stream.startswith("!") or _STREAM.match(stream) is not None


def is_depth_diff(stream: str) -> bool:
    """Whether the stream carries differences of a book (not its best levels)."""
    return stream.partition("@")[2].partition("@")[0] == "depth"


def envelope_head(stream: str) -> bytes:
    """Return what a combined connection sends before a payload of ``stream``."""
    return b'{"stream":"%b","data":' % stream.encode()


def describe(stream: str) -> tuple[bytes, bool]:
    """Describe a stream to a hub: the head of its envelope, and whether it carries depth."""
    return envelope_head(stream), is_depth_diff(stream)
