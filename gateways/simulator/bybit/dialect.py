"""Topics, routes and rules of Bybit v5, as data."""

from dataclasses import dataclass

from gateways.simulator.instruments import Instrument
from gateways.simulator.session import ConnectionRules

RULES = ConnectionRules(silence_s=600.0, pushes_count=True)
"""The venue drops a connection after ten minutes with neither data nor a message to it."""
CONNECTIONS = (500, 300.0)
ARGUMENTS_MOST = {"spot": 10}
"""Category -> arguments of one request, where the venue limits them."""
ARGUMENT_CHARACTERS = 21_000
"""Of one connection."""
REPEAT_MS = 3_000
"""The best level is sent again after so long without a change, under its old number."""
TRADES_MOST = 1024
"""Trades in one message."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two namespaces of symbols."""

    name: str
    categories: tuple[str, ...]
    """In the addresses and in REST parameters."""
    book_intervals_ms: dict[int, int]
    """Levels of ``orderbook.N`` -> how often it is sent."""
    ticker_ms: int

    def category(self, instrument: Instrument) -> str:
        """Return the category of an instrument: the venue calls them as we do."""
        return str(instrument.market)


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("bybit", ("linear", "inverse"), {1: 10, 50: 20, 200: 100, 1000: 200}, 100),
        Dialect("bybit_spot", ("spot",), {1: 10, 50: 20, 200: 200, 1000: 200}, 50),
    )
}


def describe(topic: str) -> tuple[bytes, bool]:
    """Describe a topic to a hub: no envelope, and whether it carries depth."""
    return b"", topic.startswith("orderbook.")
