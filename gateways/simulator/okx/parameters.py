"""A private request's parameters: texts, numbers of JSON or booleans, as clients send them."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from gateways.simulator.instruments import Scale
from gateways.simulator.okx.codes import missing, no_instrument, parameter
from gateways.simulator.okx.filters import code_of
from gateways.simulator.rest import ApiError
from gateways.simulator.simulation import SimulatedBook
from gateways.simulator.trading import Trading

CLIENT_ID = re.compile(r"^[A-Za-z0-9]{1,32}$")
TAG = re.compile(r"^[A-Za-z0-9]{1,16}$")
_LEAST, _MOST = Decimal("1e-18"), Decimal("1e18")
"""Numbers of a request are within these, so that exact arithmetic can be done with them."""
_WHOLE = re.compile(r"^[0-9]{1,19}$")


class Parameters:
    """One order, amendment, cancellation or query; all methods raise ApiError."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str, default: str = "") -> str:
        """Return a value as text, ``default`` if it is missing or empty."""
        value = self._fields.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise parameter(name)

    def has(self, name: str) -> bool:
        """Whether there is a value that is not empty, whatever it is."""
        return bool(self._fields.get(name))

    def needed(self, name: str) -> str:
        """Return a value that must be there."""
        text = self.text(name)
        if not text:
            raise missing(name)
        return text

    def one_of(self, name: str, values: tuple[str, ...], default: str = "") -> str:
        """Return a value that must be one of some, or ``default`` if it is missing."""
        text = self.text(name, default)
        if not text:
            raise missing(name)
        if text not in values:
            raise parameter(name)
        return text

    def flag(self, name: str) -> bool:
        """Return a boolean, which may be written as text."""
        return self.one_of(name, ("true", "false"), "false") == "true"

    def amount(self, name: str) -> Decimal:
        """Return a decimal number above 0."""
        try:
            value = Decimal(self.needed(name))
        except InvalidOperation:
            raise parameter(name) from None
        if not value.is_finite() or not _LEAST <= value <= _MOST:
            raise parameter(name)
        return value

    def steps(self, name: str, scale: Scale) -> int | None:
        """Return a price or quantity as ticks or lots; None if it is between two of them."""
        steps, rest = divmod(self.amount(name).scaleb(scale.decimals), scale.step)
        return None if rest else int(steps)

    def whole(self, name: str, default: int = 0) -> int:
        """Return a whole number that is not negative."""
        text = self.text(name)
        if not text:
            return default
        if not _WHOLE.match(text):
            raise parameter(name)
        return int(text)

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return an id that fits the venue's rule; empty if there is none."""
        text = self.text(name)
        if text and not pattern.match(text):
            raise parameter(name)
        return text

    def items(self, name: str) -> list[dict[str, Any]]:
        """Return the objects of a list; raises ApiError if there is anything else."""
        value = self._fields.get(name)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise parameter(name)
        return value

    def listed(self, name: str) -> list[str]:
        """Return the values of a comma-separated list."""
        return [part for part in self.text(name).split(",") if part]

    def symbol(self, trading: Trading) -> str:
        """Return the instrument's symbol; empty if there is none."""
        try:
            return self.market(trading).instrument.symbol
        except ApiError:
            return ""

    def market(self, trading: Trading) -> SimulatedBook:
        """Return the instrument, which is named by ``instId`` or by ``instIdCode``."""
        code = self.text("instIdCode")
        if not code:
            market = trading.market(self.needed("instId"))
        else:
            markets = trading.ledger.markets.values()
            market = next((m for m in markets if str(code_of(m.instrument.symbol)) == code), None)
        if market is None:
            raise no_instrument()
        return market
