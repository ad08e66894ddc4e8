"""What a venue lists: exact units from its texts, and unified symbols in both directions.

Free of Numba, so that a feed and an order gateway need no compiler to know their instruments.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import TradeInfraError

if TYPE_CHECKING:
    from feeds.adapter import InstrumentFields

NATIVE_BYTES, SYMBOL_BYTES, CURRENCY_BYTES = 32, 48, 16
"""What the instrument table holds of each name (``feeds.types.INSTRUMENT``), in UTF-8."""

INT64_MAX = 2**63 - 1


class SymbolError(TradeInfraError):
    """An instrument that cannot be found, told apart or held."""


def decimals_of(step: str) -> int:
    """Return the decimals that a step needs: 2 for ``0.01000000`` and ``1E-2``, 0 for ``1.00``.

    Raises
    ------
    ValueError
        If ``step`` is not a number.

    """
    exponent = _decimal(step).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def mantissa(number: str, decimals: int) -> int:
    """Return ``number`` in units of ``10**-decimals``, cut; beyond int64 it becomes its maximum.

    Raises
    ------
    ValueError
        If ``number`` is not a number.

    """
    return min(int(_decimal(number).scaleb(decimals)), INT64_MAX)


def _decimal(number: str) -> Decimal:
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError(f"not a number: {number!r}") from None
    if not value.is_finite():
        raise ValueError(f"not a number: {number!r}")
    return value


def unified_symbol(base: str, quote: str, settle: str = "", delivery: str = "") -> str:
    """Return the unified symbol of an instrument.

    ``BTC/USDT`` is spot, ``BTC/USDT:USDT`` a perpetual settled in USDT, ``BTC/USD:BTC`` an inverse
    one, ``BTC/USDT:USDT-261225`` the future that is delivered on that day.

    Parameters
    ----------
    base, quote, settle
        Currencies; no ``settle`` for spot.
    delivery
        The day of delivery, UTC, ``YYMMDD``; empty for spot and perpetuals.

    """
    pair = f"{base}/{quote}:{settle}" if settle else f"{base}/{quote}"
    return f"{pair}-{delivery}" if delivery else pair


def fits_table(instrument: "InstrumentFields") -> bool:
    """Return whether the instrument table can hold the names without cutting them."""
    limits = (
        (instrument["native"], NATIVE_BYTES),
        (instrument["symbol"], SYMBOL_BYTES),
        (instrument["base"], CURRENCY_BYTES),
        (instrument["quote"], CURRENCY_BYTES),
        (instrument["settle"], CURRENCY_BYTES),
    )
    return all(len(text.encode()) <= limit for text, limit in limits)


def read_listing(
    body: bytes, title: str, read: Callable[[Any], "list[InstrumentFields]"]
) -> "list[InstrumentFields]":
    """Return the instruments that ``read`` finds in an answer, without those that the table cuts.

    Parameters
    ----------
    body
        The answer of a venue.
    title
        The venue's name, for the message.
    read
        Takes the decoded answer; a key or a type that is not as it expects is an error here.

    Raises
    ------
    ValueError
        If the answer is something else; says what, in words.

    """
    try:
        found = read(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise ValueError(f"not {title} exchange information: not JSON") from None
    except KeyError as error:
        raise ValueError(f"not {title} exchange information: no {error.args[0]!r}") from None
    except (TypeError, AttributeError, IndexError):
        raise ValueError(f"not {title} exchange information: of another form") from None
    return [each for each in found if fits_table(each)]


class UnifiedSymbols:
    """A venue's instruments by native and by unified symbol."""

    def __init__(self, instruments: Iterable["InstrumentFields"]) -> None:
        self._by_native: dict[str, InstrumentFields] = {}
        self._by_symbol: dict[str, list[InstrumentFields]] = {}
        for each in instruments:
            if each["native"] in self._by_native:
                raise SymbolError(
                    f"instrument {each['native']!r} is listed twice - pass each of a venue once"
                )
            self._by_native[each["native"]] = each
            self._by_symbol.setdefault(each["symbol"], []).append(each)

    def native(self, symbol: str) -> str:
        """Return the venue's symbol for a unified one.

        Raises
        ------
        SymbolError
            If no instrument has it (names near ones), or more than one.

        """
        if symbol not in self._by_symbol:
            raise self._unknown(symbol, self._by_symbol)
        natives = [each["native"] for each in self._by_symbol[symbol]]
        if len(natives) > 1:
            raise SymbolError(
                f"symbol {symbol!r} stands for several instruments - "
                f"use a native symbol: {', '.join(natives)}"
            )
        return natives[0]

    def symbol(self, native: str) -> str:
        """Return the unified symbol for the venue's own.

        Raises
        ------
        SymbolError
            If the venue does not list it; names near ones.

        """
        if native not in self._by_native:
            raise self._unknown(native, self._by_native)
        return self._by_native[native]["symbol"]

    def find(self, name: str) -> "InstrumentFields":
        """Return the instrument that a native or a unified symbol names.

        Raises
        ------
        SymbolError
            If there is none (names near ones), or more than one.

        """
        if name in self._by_native:
            return self._by_native[name]
        if name in self._by_symbol:
            return self._by_native[self.native(name)]
        raise self._unknown(name, [*self._by_native, *self._by_symbol])

    @staticmethod
    def _unknown(name: str, known: Iterable[str]) -> SymbolError:
        near = get_close_matches(name.upper(), list(known), 3)
        hint = f"near matches: {', '.join(near)}" if near else "no similar symbol exists"
        return SymbolError(f"no instrument {name!r} - {hint}")
