"""Channels, routes and rules of OKX v5, as data."""

from dataclasses import dataclass

from gateways.simulator.instruments import Instrument, Market
from gateways.simulator.session import ConnectionRules

RULES = ConnectionRules(
    announces_end=True,
    silence_s=30.0,
    pushes_count=True,
    silence_code=4004,
    silence_reason=b"No data received in 30s.",
)
CONNECTIONS = (3, 0.9)
"""Three a second from one address; the window is a little shorter, as the network's jitter is."""
REQUESTS_PER_HOUR = 480
"""Subscribe and unsubscribe requests of one connection."""
KEEP_ALIVE_S = 60.0
DEFAULT_LEVERAGE = 10
CONNECTIONS_PER_CHANNEL = 30
"""Of one user, on a private channel."""
LOGIN_WINDOW_S = 30.0
"""How old, or how far ahead, the time of a login or of a REST request may be."""


@dataclass(frozen=True, slots=True)
class BookChannel:
    """A channel that carries books; ``whole`` ones send all their levels each time."""

    name: str
    levels: int
    interval_ms: int
    whole: bool = False


BOOK_CHANNELS = (
    BookChannel("bbo-tbt", 1, 10, whole=True),
    BookChannel("books-l2-tbt", 400, 10),
    BookChannel("books50-l2-tbt", 50, 10),
    BookChannel("books", 400, 100),
    BookChannel("books5", 5, 100, whole=True),
)
"""In the order in which the venue delivers them for one instrument."""
_INSTRUMENT_CHANNELS = frozenset(channel.name for channel in BOOK_CHANNELS) | {"trades", "tickers"}
_CONTRACT_CHANNELS = frozenset({"funding-rate", "open-interest"})
_PUBLIC_CHANNELS = (
    _INSTRUMENT_CHANNELS
    | _CONTRACT_CHANNELS
    | {"mark-price", "index-tickers", "liquidation-orders"}
)
ROUTES = {
    "public": _PUBLIC_CHANNELS,
    "private": frozenset[str](),
    "business": frozenset({"trades-all"}),
}
"""Last part of the address -> the public channels that it carries."""
PRIVATE_ROUTES = {
    "public": frozenset[str](),
    "private": frozenset({"orders", "fills", "account", "positions", "balance_and_position"}),
    "business": frozenset({"orders-algo"}),
}
"""Last part of the address -> the channels that want a login."""
TYPES = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")


def type_of(instrument: Instrument) -> str:
    """Return the venue's ``instType``."""
    return "SPOT" if instrument.market is Market.SPOT else "SWAP"


def index_of(instrument: Instrument) -> str:
    """Return the name of the index behind an instrument."""
    return f"{instrument.base}-{instrument.quote}"


def topic_of(channel: str, subject: str) -> str:
    """Return the hub's name for a channel of an instrument, an index or an instrument type."""
    return f"{channel}:{subject}"


def describe(topic: str) -> tuple[bytes, bool]:
    """Describe a topic to a hub: no envelope, and whether it carries depth."""
    return b"", topic.startswith("books")
