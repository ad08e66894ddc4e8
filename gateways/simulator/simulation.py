"""All generated books behind one ``advance``: deterministic from the seed and the steps taken."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

from engine.errors import ConfigError
from gateways.simulator.flow import FairValue, OrderFlow
from gateways.simulator.instruments import Instrument, Listing, Market, choose
from gateways.simulator.margin import Units, units_of
from gateways.simulator.market import Reference, Statistics
from gateways.simulator.matching import OrderBook, Outcome, UpdateIds

_FIRST_UPDATE_ID = {
    "binance_spot": 50_093_239_000,
    "binance_usdm": 5_123_107_832_000,
    "okx": 1_850_413_000,
    "bybit": 7_961_638_000,
    "bybit_spot": 4_281_281_000,
}
_FIRST_TRADE_ID = {
    "binance_spot": 3_735_683_000,
    "binance_usdm": 5_266_583_000,
    "okx": 314_161_000,
    "bybit": 50_703_000,
    "bybit_spot": 2_290_000_000_050_703_000,
}
_SHARED_IDS = {"binance_usdm": 9, "bybit": 4, "bybit_spot": 4}
"""Venues whose books share one counter of update ids, and how far its steps are spread."""
LIQUIDATION_SHARE = 0.0005


@dataclass(slots=True)
class SimulatedBook:
    """One instrument on one venue; ``reference`` is None on spot."""

    venue: str
    instrument: Instrument
    book: OrderBook
    flow: OrderFlow
    fair: FairValue
    stats: Statistics
    reference: Reference | None
    units: Units = field(init=False)
    """What its ticks and lots are worth; a change of the instrument changes them never."""

    def __post_init__(self) -> None:
        self.units = units_of(self.instrument)


Observer = Callable[[SimulatedBook, Outcome], None]


class Simulation:
    """The generated markets of all venues; ``observer`` sees each outcome as it happens.

    ``symbols`` chooses instruments as ``instruments.choose`` does. ``liquidations`` is the share
    of steps in contracts that are forced orders. All ids are ``ids_used`` higher than they would
    be.
    """

    def __init__(
        self,
        seed: int,
        venues: Iterable[str],
        symbols: Iterable[str],
        *,
        resting: int = 800,
        liquidations: float = LIQUIDATION_SHARE,
        ids_used: int = 0,
    ) -> None:
        self.steps = 0
        self._seed = seed
        self._ids_used = ids_used
        self._resting = resting
        self._liquidations = liquidations
        self.books: list[SimulatedBook] = []
        self._rng = Random(f"{seed}/order of events")
        self._liquidation_rng = Random(f"{seed}/liquidations")
        self._fair: dict[str, FairValue] = {}
        for venue, instruments in choose(venues, symbols).items():
            first_id = _FIRST_UPDATE_ID[venue] + ids_used
            shared = UpdateIds(first_id, _SHARED_IDS.get(venue, 1))
            for instrument in instruments:
                ids = shared if venue in _SHARED_IDS else UpdateIds(first_id)
                self.books.append(self._book(venue, instrument, ids))

    def _book(self, venue: str, instrument: Instrument, ids: UpdateIds) -> SimulatedBook:
        seed, name = self._seed, f"{venue}/{instrument.symbol}"
        tick = instrument.price.step / 10**instrument.price.decimals
        fair = self._fair.get(instrument.base)
        if fair is None:
            rng = Random(f"{seed}/fair/{instrument.base}")
            fair = self._fair[instrument.base] = FairValue(instrument.start * tick, rng)
        book = OrderBook(ids)
        book.last_trade_id = _FIRST_TRADE_ID[venue] + self._ids_used
        flow = OrderFlow(
            book,
            fair,
            Random(f"{seed}/{name}"),
            tick=tick,
            typical_lots=instrument.typical_lots,
            resting=self._resting,
        )
        flow.prime()
        reference = None
        if instrument.market is not Market.SPOT:
            reference = Reference(instrument, book, fair, Random(f"{seed}/funding/{name}"))
        stats = Statistics(book, instrument.start)
        return SimulatedBook(venue, instrument, book, flow, fair, stats, reference)

    def find(self, venue: str, symbol: str) -> SimulatedBook:
        """Return a market; raises ConfigError if there is none."""
        for market in self.books:
            if (market.venue, market.instrument.symbol) == (venue, symbol):
                return market
        raise ConfigError(f"the simulator has no {symbol!r} on {venue!r} now")

    def change(
        self,
        market: SimulatedBook,
        *,
        grid: int | None = None,
        listing: Listing | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Change the tick (in steps of the finest one) or the listing of an instrument."""
        if listing is not None:
            market.instrument = replace(market.instrument, listing=listing)
        if grid is None:
            return
        if not 1 <= grid <= market.instrument.start // 100:
            raise ConfigError(f"a tick is 1 to {market.instrument.start // 100} steps, got {grid}")
        market.instrument = replace(market.instrument, grid=grid)
        for outcome in market.flow.regrid(grid):
            if observer is not None:
                observer(market, outcome)

    def advance(self, events: int, observer: Observer | None = None) -> None:
        """Do ``events`` steps, each in a book drawn at random."""
        rng, books = self._rng, self.books
        for _ in range(events):
            chosen = books[int(rng.random() * len(books))]
            self.steps += 1
            if chosen.instrument.listing is not Listing.TRADING:
                continue
            if chosen.reference is not None and self._liquidation_rng.random() < self._liquidations:
                outcome = chosen.flow.liquidate()
            else:
                outcome = chosen.flow.step()
            if outcome.fills:
                chosen.stats.observe(outcome)
            if observer is not None:
                observer(chosen, outcome)
