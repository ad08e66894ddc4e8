"""The parameters of a request as the venue reads them, and what it says of wrong ones."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from gateways.simulator.binance.codes import ApiError, illegal, missing
from gateways.simulator.binance.dialect import SYMBOL_PATTERN
from gateways.simulator.instruments import Scale

PARAMETERS_MOST = 100
"""Of one request: they are read before it is known who sends them."""
NUMBER_PATTERN = r"^[0-9]{1,20}$"
DECIMAL_PATTERN = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
SPOT_ID_PATTERN = r"^[a-zA-Z0-9-_]{1,36}$"
USDM_ID_PATTERN = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_NUMBER = re.compile(NUMBER_PATTERN)
_DECIMAL = re.compile(DECIMAL_PATTERN)
_SYMBOL = re.compile(SYMBOL_PATTERN)


class Parameters:
    """The parameters of one request; it notes which of them have been read."""

    __slots__ = ("read", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def optional(self, name: str) -> str:
        """Return a parameter, empty if it was not sent."""
        value = self.values.get(name)
        if value is None:
            return ""
        self.read.add(name)
        return value

    def text(self, name: str) -> str:
        """Return a parameter that must be there."""
        value = self.optional(name)
        if not value:
            raise missing(name)
        return value

    def skip(self, *names: str) -> None:
        """Note parameters that are taken and change nothing here."""
        for name in names:
            if name in self.values:
                self.read.add(name)

    def symbol(self) -> str:
        """Return the symbol, which must be there."""
        text = self.values.get("symbol")
        if text is None:
            raise missing("symbol")
        self.read.add("symbol")
        if not text:
            raise ApiError(-1105, "Parameter 'symbol' was empty.")
        if not _SYMBOL.match(text):
            raise illegal("symbol", SYMBOL_PATTERN)
        return text

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number; it must be there if it has no default."""
        text = self.optional(name)
        if not text:
            if default is None:
                raise missing(name)
            return default
        if not _NUMBER.match(text):
            raise illegal(name, NUMBER_PATTERN)
        return int(text)

    def decimal(self, name: str) -> Decimal | None:
        """Return a decimal number, None if it was not sent."""
        text = self.optional(name)
        if not text:
            return None
        if not _DECIMAL.match(text):
            raise illegal(name, DECIMAL_PATTERN)
        return Decimal(text)

    def flag(self, name: str) -> bool:
        """Return a boolean, false if it was not sent."""
        text = self.optional(name).lower()
        if text not in ("", "true", "false"):
            raise illegal(name, "^(?i)(true|false)$")
        return text == "true"

    def choice(self, name: str, known: Mapping[str, object], error: tuple[int, str]) -> str:
        """Return a parameter that is one of ``known``; empty if it was not sent."""
        text = self.optional(name)
        if text and text not in known:
            raise ApiError(*error)
        return text

    def client_id(self, name: str, pattern: str) -> str:
        """Return a client's own id, empty if it was not sent."""
        text = self.optional(name)
        if name in self.values and not text:
            raise ApiError(-1105, f"Parameter '{name}' was empty.")
        if text and not re.match(pattern, text):
            raise illegal(name, pattern)
        return text

    def finish(self) -> None:
        """Refuse parameters that the endpoint does not have (USDⓈ-M ignores them)."""
        if len(self.read) != len(self.values):
            text = "Not all sent parameters were read; "
            text += f"read '{len(self.read)}' parameter(s) but was sent '{len(self.values)}'."
            raise ApiError(-1104, text)


def single(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return parameters by name; raises ApiError if one was sent twice."""
    values: dict[str, str] = {}
    for name, value in found:
        if name in values:
            raise ApiError(-1101, f"Duplicate values for parameter '{name}' detected.")
        values[name] = value
    return values


def too_many() -> ApiError:
    """Return the refusal of a request with more than ``PARAMETERS_MOST``."""
    return ApiError(-1101, "Too many parameters sent for this endpoint.")


def steps(value: Decimal, scale: Scale, decimals: int) -> int | None:
    """Return how many steps of a scale a value is; None if it is not a whole number of them.

    Raises ApiError for more than ``decimals`` places.
    """
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > decimals and value % Decimal(1).scaleb(-decimals):
        raise ApiError(-1111, "Precision is over the maximum defined for this asset.")
    count = value.scaleb(scale.decimals) / scale.step
    return int(count) if count == count.to_integral_value() else None
