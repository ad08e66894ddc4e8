"""The venues that the simulator knows, by name, in the order in which they are served."""

from collections.abc import Callable

from gateways.simulator.binance.venue import BinanceVenue
from gateways.simulator.bybit.venue import BybitVenue
from gateways.simulator.okx.venue import OkxVenue
from gateways.simulator.venue import Venue, VenueOptions

VENUES: dict[str, Callable[[str, VenueOptions], Venue]] = {
    "binance_spot": BinanceVenue,
    "binance_usdm": BinanceVenue,
    "okx": OkxVenue,
    "bybit": BybitVenue,
    "bybit_spot": BybitVenue,
}
"""Name -> what makes the venue; the name is also the base of its addresses."""
