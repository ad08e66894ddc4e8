"""Client order ids: one text that fits every venue, and the number of the order it stands for.

An order is known by a positive int64 that whoever asks for it chooses, once and for ever. On the
wire it is a prefix and thirteen characters of Crockford's base 32: letters and digits only, at
most 32 of them, which OKX (alphanumeric, 1 to 32), Binance (at most 36) and Bybit (at most 36)
accept. The text leads back to the number by arithmetic: no table to keep, none to lose.

Prefixes tell several askers apart who use one account; a text with another prefix, or of another
form, is somebody else's.
"""

import re

from engine.errors import ConfigError
from gateways.numbers import hashed

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {symbol: value for value, symbol in enumerate(_ALPHABET)}
_WIDTH = 13
"""Five bits each: 65 bits."""
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}")
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


class ClientIds:
    """Texts for order numbers and back.

    Raises ConfigError for a prefix that is not a letter and up to fifteen letters or digits.
    """

    __slots__ = ("_length", "prefix")

    def __init__(self, prefix: str = "ti") -> None:
        if _PREFIX.fullmatch(prefix) is None:
            raise ConfigError(
                f"prefix {prefix!r}: a letter and up to 15 letters or digits; venues take no more"
            )
        self.prefix = prefix
        self._length = len(prefix) + _WIDTH

    def text(self, number: int) -> str:
        """Return the text of an order; ValueError unless it is a positive int64."""
        if not 0 < number < 1 << 63:
            raise ValueError(f"an order's number is a positive int64, got {number}")
        pairs = _PAIRS
        return (
            f"{self.prefix}{_ALPHABET[number >> 60]}{pairs[number >> 50 & 1023]}"
            f"{pairs[number >> 40 & 1023]}{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}"
            f"{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
        )

    def number(self, text: str) -> int:
        """Return the order that a text stands for; 0 if it is not one of ours."""
        if len(text) != self._length or not text.startswith(self.prefix):
            return 0
        number = 0
        for symbol in text[-_WIDTH:]:
            value = _VALUES.get(symbol)
            if value is None:
                return 0
            number = number << 5 | value
        return number if number < 1 << 63 else 0

    @staticmethod
    def foreign_number(scope: str, venue_id: str) -> int:
        """Return the number of an order that we never sent: negative, and always the same.

        ``scope`` is the native symbol where the venue counts orders per symbol, else empty.
        """
        return -hashed(f"{scope}\n{venue_id}")
