"""Decimal text to integers and back, exactly; and text ids to integers.

Venues write prices, quantities and amounts as decimal strings. Nothing here rounds, except
``average``; and amounts of more digits than an int64 has are cut. Both say so.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from hashlib import blake2b

from gateways.types import AVERAGE_DECIMALS

LARGEST = (1 << 63) - 1
_PLAIN = re.compile(r"-?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_DIGITS_MAX = 18
"""Decimal digits of any int64."""


def to_mantissa(text: str, decimals: int) -> int:
    """Return ``text`` times ``10**decimals``, exactly; an empty text is 0.

    Raises
    ------
    ValueError
        If it is no number, has more decimals than that, or does not fit into an int64.

    """
    whole, _, part = text.partition(".")
    # The usual form first: digits, and no more decimals than there may be.
    if len(part) <= decimals and len(whole) + decimals <= _DIGITS_MAX:
        digits = whole + part
        if digits.isdecimal() and digits.isascii() and whole:
            return int(digits) * _TENS[decimals - len(part)]
    return _exact(text, decimals)


_TENS: tuple[int, ...] = tuple(10**n for n in range(40))


def _exact(text: str, decimals: int) -> int:
    if not text:
        return 0
    value = _number(text)
    scaled = value.scaleb(decimals)
    mantissa = int(scaled)
    if mantissa != scaled:
        raise ValueError(f"{text!r} has more than {decimals} decimals")
    return _fitting(mantissa, text)


def _number(text: str) -> Decimal:
    """Return a number as venues write them: plain, or with an exponent."""
    if len(text) > 64:
        raise ValueError(f"{text[:64]!r}… is too long for a number")
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite() or "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a decimal number")
    if abs(value.adjusted()) > 40:
        raise ValueError(f"{text!r} is beyond any price or quantity")
    return value


def _fitting(mantissa: int, text: str) -> int:
    if abs(mantissa) > LARGEST:
        raise ValueError(f"{text!r} does not fit into 64 bits")
    return mantissa


def to_text(mantissa: int, decimals: int) -> str:
    """Return the shortest plain decimal of ``mantissa / 10**decimals``: "0.001", "5", "-1.5"."""
    if not decimals:
        return str(mantissa)
    if mantissa < 0:
        return "-" + to_text(-mantissa, decimals)
    whole, part = divmod(mantissa, _TENS[decimals])
    if not part:
        return str(whole)
    return f"{whole}.{part:0{decimals}d}".rstrip("0")


def amount(text: str) -> tuple[int, int]:
    """Return a fee or a balance as (mantissa, decimals), as few decimals as are needed.

    Decimals that do not fit into an int64 are cut off, as ``balance`` does.

    Raises
    ------
    ValueError
        If it is no number, or its whole part does not fit.

    """
    if _PLAIN.fullmatch(text) is None:
        if not text:
            return 0, 0
        text = f"{_number(text):f}"
    whole, _, part = text.partition(".")
    digits = len(whole.lstrip("-0"))
    if digits + len(part) > _DIGITS_MAX:
        part = part[: max(0, _DIGITS_MAX - digits)]
    part = part.rstrip("0")
    return _fitting(int((whole + part) or "0"), text), len(part)


def balance(total: str, available: str) -> tuple[int, int, int]:
    """Return a balance as (total, available, decimals): two texts in the same decimals.

    Decimals that do not fit into an int64 are cut off: more than 18 digits of an amount are more
    than it needs.

    Raises
    ------
    ValueError
        If a text is no number.

    """
    numbers = [_number(text or "0") for text in (total, available)]
    digits = max(number.adjusted() for number in numbers) + 1
    decimals = max(0, *(-int(number.normalize().as_tuple().exponent) for number in numbers))
    decimals = max(0, min(decimals, _DIGITS_MAX - max(digits, 1)))
    first, second = (_fitting(int(number.scaleb(decimals)), str(number)) for number in numbers)
    return first, second, decimals


def average(text: str, price_decimals: int) -> int:
    """Return an average price with ``AVERAGE_DECIMALS`` more than prices, rounded half even.

    0 if it is too large for that, or empty.
    """
    try:
        # Exact in most cases, and quick.
        return to_mantissa(text, price_decimals + AVERAGE_DECIMALS)
    except ValueError:
        pass
    scaled = _number(text).scaleb(price_decimals + AVERAGE_DECIMALS)
    mantissa = int(scaled.to_integral_value(ROUND_HALF_EVEN))
    return mantissa if abs(mantissa) <= LARGEST else 0


def trade_number(text: str) -> int:
    """Return a trade id as an integer: its digits, or for any other text 63 bits of a hash."""
    if len(text) <= _DIGITS_MAX and text.isdecimal() and text.isascii():
        return int(text)
    return hashed(text)


def hashed(text: str) -> int:
    """Return 63 bits that stand for a text: the same in every process, on every machine."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 1) or 1
