"""What is traded on the simulated venues, and how ticks and lots become decimal strings."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from engine.errors import ConfigError

_CACHE_MAX = 1 << 16


def decimal_text(mantissa: int, decimals: int) -> str:
    """Write ``mantissa * 10**-decimals`` with exactly ``decimals`` places."""
    if not decimals:
        return str(mantissa)
    sign = "-" if mantissa < 0 else ""
    whole, part = divmod(abs(mantissa), 10**decimals)
    return f"{sign}{whole}.{part:0{decimals}d}"


def short_text(mantissa: int, decimals: int) -> str:
    """Write ``mantissa * 10**-decimals`` without zeros at the end."""
    text = decimal_text(mantissa, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def rounded(mantissa: int, decimals: int, wanted: int) -> int:
    """Return a mantissa of ``decimals`` places in ``wanted`` places, cut off."""
    shift = wanted - decimals
    factor: int = 10 ** abs(shift)
    return mantissa * factor if shift >= 0 else mantissa // factor


@dataclass(slots=True)
class Scale:
    """Writes integer steps as decimals: ``steps * step * 10**-decimals``.

    ``short`` leaves zeros at the end away.
    """

    step: int
    decimals: int
    short: bool = False
    _known: dict[int, str] = field(default_factory=dict, repr=False)

    def text(self, steps: int) -> str:
        """Return the decimal string; the usual ones come from a table."""
        text = self._known.get(steps)
        if text is None:
            if len(self._known) >= _CACHE_MAX:
                self._known.clear()
            write = short_text if self.short else decimal_text
            text = self._known[steps] = write(steps * self.step, self.decimals)
        return text


class Market(StrEnum):
    """What kind of instrument it is."""

    SPOT = "spot"
    LINEAR = "linear"
    """A perpetual in the quote currency."""
    INVERSE = "inverse"
    """A perpetual whose contract is worth an amount of the quote currency, settled in the base."""


class Listing(StrEnum):
    """Whether an instrument trades, and whether the venue still lists it."""

    TRADING = "trading"
    HALTED = "halted"
    DELISTED = "delisted"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A traded instrument: ``price`` writes ticks, ``quantity`` writes lots, as on the wire.

    ``contract`` is what one unit of quantity is worth: in the base currency, for inverse ones in
    the quote currency. ``start`` and ``typical_lots`` are only the generator's: the first fair
    price in ticks, and the size of an ordinary order.
    """

    symbol: str
    base: str
    quote: str
    price: Scale
    quantity: Scale
    start: int = 10_000
    typical_lots: int = 100
    market: Market = Market.SPOT
    contract: Scale = field(default_factory=lambda: Scale(1, 0))
    grid: int = 1
    """New orders stand at multiples of so many steps of ``price``: the tick may change."""
    listing: Listing = Listing.TRADING

    @property
    def settle(self) -> str:
        """The currency of profit and loss; empty on spot."""
        if self.market is Market.SPOT:
            return ""
        return self.base if self.market is Market.INVERSE else self.quote

    @property
    def tick(self) -> Scale:
        """The tick that the venue publishes now; ``price`` is the finest that it may have."""
        return Scale(self.price.step * self.grid, self.price.decimals, self.price.short)

    @property
    def names(self) -> tuple[str, ...]:
        """Under which it can be chosen: the venue's symbol, the bare pair, the unified symbol."""
        pair, settle = f"{self.base}/{self.quote}", self.settle
        unified = f"{pair}:{settle}" if settle else pair
        return (self.symbol, f"{self.base}{self.quote}", unified)


_STARTS = {"BTC": (6_183_763, 2), "ETH": (262_408, 2), "SOL": (15_642, 2)}
"""The first fair prices: mantissa and decimals."""


def _made(
    symbol: str,
    base: str,
    price: Scale,
    quantity: Scale,
    typical: int,
    market: Market = Market.SPOT,
    contract: Scale | None = None,
) -> Instrument:
    mantissa, decimals = _STARTS[base]
    start = rounded(mantissa, decimals, price.decimals) // price.step
    quote, unit = "USD" if market is Market.INVERSE else "USDT", contract or Scale(1, 0)
    return Instrument(symbol, base, quote, price, quantity, start, typical, market, unit)


def _binance_spot(base: str, tick: int, lot: int, typical: int) -> Instrument:
    # Binance spot writes eight decimals whatever the tick is.
    return _made(f"{base}USDT", base, Scale(tick, 8), Scale(lot, 8), typical)


def _linear(base: str, price: Scale, quantity: Scale, typical: int) -> Instrument:
    return _made(f"{base}USDT", base, price, quantity, typical, Market.LINEAR)


def _okx_spot(base: str, tick_decimals: int, lot_decimals: int, typical: int) -> Instrument:
    price, quantity = Scale(1, tick_decimals, True), Scale(1, lot_decimals, True)
    return _made(f"{base}-USDT", base, price, quantity, typical)


def _okx_swap(base: str, tick_decimals: int, contract: Scale, typical: int) -> Instrument:
    price, quantity = Scale(1, tick_decimals, True), Scale(1, 2, True)
    return _made(f"{base}-USDT-SWAP", base, price, quantity, typical, Market.LINEAR, contract)


def _okx_inverse(base: str, tick_decimals: int, dollars: int, typical: int) -> Instrument:
    price, contract = Scale(1, tick_decimals, True), Scale(dollars, 0)
    return _made(f"{base}-USD-SWAP", base, price, Scale(1, 0), typical, Market.INVERSE, contract)


def _bybit_spot(base: str, lot_decimals: int, typical: int) -> Instrument:
    return _made(f"{base}USDT", base, Scale(1, 2), Scale(1, lot_decimals, True), typical)


def _bybit_inverse(base: str, price: Scale, typical: int) -> Instrument:
    return _made(f"{base}USD", base, price, Scale(1, 0), typical, Market.INVERSE)


_LISTS: dict[str, list[Instrument]] = {
    "binance_spot": [
        _binance_spot("BTC", 1_000_000, 1_000, 2_500),
        _binance_spot("ETH", 1_000_000, 10_000, 4_000),
        _binance_spot("SOL", 1_000_000, 100_000, 6_000),
    ],
    "binance_usdm": [
        _linear("BTC", Scale(10, 2), Scale(1, 3), 30),
        _linear("ETH", Scale(1, 2), Scale(1, 3), 500),
        _linear("SOL", Scale(100, 4), Scale(1, 2), 800),
    ],
    "okx": [
        _okx_spot("BTC", 1, 8, 2_500_000),
        _okx_spot("ETH", 2, 6, 400_000),
        _okx_spot("SOL", 2, 6, 6_000_000),
        _okx_swap("BTC", 1, Scale(1, 2), 300),
        _okx_swap("ETH", 2, Scale(1, 1), 500),
        _okx_swap("SOL", 2, Scale(1, 0), 800),
        _okx_inverse("BTC", 1, 100, 20),
        _okx_inverse("ETH", 2, 10, 100),
    ],
    "bybit": [
        _linear("BTC", Scale(10, 2), Scale(1, 3), 30),
        _linear("ETH", Scale(1, 2), Scale(1, 2), 50),
        _linear("SOL", Scale(10, 3), Scale(1, 1), 80),
        _bybit_inverse("BTC", Scale(10, 2), 2_000),
        _bybit_inverse("ETH", Scale(1, 2), 1_000),
    ],
    "bybit_spot": [
        _bybit_spot("BTC", 6, 25_000),
        _bybit_spot("ETH", 5, 40_000),
        _bybit_spot("SOL", 3, 6_000),
    ],
}

GENERATED: dict[str, dict[str, Instrument]] = {
    venue: {instrument.symbol: instrument for instrument in instruments}
    for venue, instruments in _LISTS.items()
}
"""The generated instruments by venue; the steps are those of the real venues in 2026."""


def choose(venues: Iterable[str], names: Iterable[str]) -> dict[str, list[Instrument]]:
    """Return the instruments of each venue that one of ``names`` stands for; all if there is none.

    A name is a venue's symbol, a bare pair (``BTCUSDT``) or a unified symbol (``BTC/USDT:USDT``).
    Raises ConfigError for a venue that does not exist, and for a name that no venue knows.
    """
    chosen: dict[str, dict[str, Instrument]] = {}
    for venue in venues:
        if venue not in GENERATED:
            known = ", ".join(sorted(GENERATED))
            raise ConfigError(f"the simulator has no venue {venue!r}; it has {known}")
        chosen[venue] = {}
    names = list(names)
    for name in names:
        found = False
        for venue, instruments in chosen.items():
            for instrument in GENERATED[venue].values():
                if name in instrument.names:
                    instruments[instrument.symbol] = instrument
                    found = True
        if not found:
            known = ", ".join(sorted({s for venue in chosen for s in GENERATED[venue]}))
            where = ", ".join(chosen)
            raise ConfigError(f"the simulator's {where} have no symbol {name!r}; known: {known}")
    if not names:
        return {venue: list(GENERATED[venue].values()) for venue in chosen}
    return {venue: list(instruments.values()) for venue, instruments in chosen.items()}
