"""What ticks and lots are worth, and what a position costs, gains and needs: exact decimals.

Money has at most ``MONEY_DECIMALS`` places wherever a product or a quotient would have more (fees,
profit and loss, margin, funding), rounded half even; the value of a spot trade is exact.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING

from gateways.simulator.instruments import Instrument, Market

if TYPE_CHECKING:
    from gateways.simulator.account import Position

MONEY_DECIMALS = 8
ENTRY_DECIMALS = 12
"""Of average entry prices."""
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_ZERO = Decimal(0)
_STEPS = tuple(Decimal(1).scaleb(-places) for places in range(20))
AMOUNT_MOST, AMOUNT_DECIMALS = Decimal(10**15), 12
"""Of what is put into an account: sums of such amounts are exact in any context."""
_ENTRY = Decimal(1).scaleb(-ENTRY_DECIMALS)


def money(amount: Decimal) -> Decimal:
    """Round to the places that money has."""
    return _CONTEXT.quantize(amount, _STEPS[MONEY_DECIMALS])


def to_places(amount: Decimal, places: int) -> Decimal:
    """Round to so many places, half even, also what has more digits than usual."""
    return _CONTEXT.quantize(amount, _STEPS[places])


def is_amount(amount: Decimal) -> bool:
    """Whether an amount is one that an account can have."""
    if not amount.is_finite() or abs(amount) > AMOUNT_MOST:
        return False
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -AMOUNT_DECIMALS


def plain(amount: Decimal) -> str:
    """Write an amount as venues do: without an exponent, and without zeros at the end."""
    text = f"{amount:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@dataclass(frozen=True, slots=True)
class Units:
    """What one tick and one lot of an instrument are."""

    tick: Decimal
    """In units of the quote currency."""
    lot: Decimal
    """In units of quantity: the base currency, or contracts."""
    worth: Decimal
    """Of a lot: in the base currency, for inverse contracts in the quote currency."""
    spot: bool
    inverse: bool
    base: str
    quote: str
    settle: str

    def value(self, ticks: int, lots: int) -> Decimal:
        """Return what lots are worth: in the quote currency, of inverse ones in the base's."""
        return self.value_at(self.tick * ticks, lots)

    def value_at(self, price: Decimal, lots: int) -> Decimal:
        """Return what lots are worth at a price in units of the quote currency."""
        if self.inverse:
            return money(_CONTEXT.divide(self.worth * lots, price))
        return price * lots * self.worth

    def notional(self, ticks: int, lots: int) -> Decimal:
        """Return what lots are worth in the quote currency, whatever they settle in."""
        return self.worth * lots if self.inverse else self.tick * ticks * lots * self.worth


def units_of(instrument: Instrument) -> Units:
    """Return the units of an instrument; they never change."""
    # Without zeros at the end: products keep few places, and sums stay exact.
    tick, lot, contract = (
        Decimal(scale.step).scaleb(-scale.decimals).normalize()
        for scale in (instrument.price, instrument.quantity, instrument.contract)
    )
    return Units(
        tick=tick,
        lot=lot,
        worth=(lot * contract).normalize(),
        spot=instrument.market is Market.SPOT,
        inverse=instrument.market is Market.INVERSE,
        base=instrument.base,
        quote=instrument.quote,
        settle=instrument.settle,
    )


def profit(units: Units, lots: int, entry: Decimal, price: Decimal) -> Decimal:
    """Return what lots (negative: short) gain between two prices, in the settlement currency."""
    if units.inverse:
        difference = _CONTEXT.divide(price - entry, _CONTEXT.multiply(entry, price))
    else:
        difference = price - entry
    return money(_CONTEXT.multiply(difference, units.worth * lots))


def change_position(units: Units, position: "Position", lots: int, price: Decimal) -> Decimal:
    """Add lots (negative: sold) at a price; return the profit of what that closed."""
    held = position.lots
    closed = 0
    if held * lots < 0:
        closed = min(abs(held), abs(lots)) * (1 if held > 0 else -1)
    realised = profit(units, closed, position.entry, price) if closed else _ZERO
    position.lots = held + lots
    if held * position.lots <= 0:
        position.added = _ZERO
        position.entry = price if position.lots else _ZERO  # closed, opened, or turned over
    elif not closed:
        position.entry = _average(units, held, position.entry, lots, price)
    position.realised += realised
    return realised


def _average(units: Units, held: int, entry: Decimal, lots: int, price: Decimal) -> Decimal:
    total = Decimal(held + lots)
    if units.inverse:
        # Contracts worth a fixed amount of the quote currency: the harmonic mean.
        parts = _CONTEXT.divide(Decimal(held), entry) + _CONTEXT.divide(Decimal(lots), price)
        return _CONTEXT.quantize(_CONTEXT.divide(total, parts), _ENTRY)
    return _CONTEXT.quantize(_CONTEXT.divide(entry * held + price * lots, total), _ENTRY)


def initial_margin(value: Decimal, leverage: int) -> Decimal:
    """Return the margin that a value needs."""
    return money(_CONTEXT.divide(value, Decimal(leverage)))


def position_margin(units: Units, position: "Position") -> Decimal:
    """Return the margin of a position: the initial one at its entry price, and what was added."""
    if not position.lots:
        return _ZERO
    value = units.value_at(position.entry, abs(position.lots))
    return initial_margin(value, position.leverage) + position.added
