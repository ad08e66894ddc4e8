"""Products that do not fit 64 bits: ``a * b / divisor`` through 128 bits, for kernels.

Prices times quantities overflow int64 silently in jitted code (``2**62 * 4 == 0``), so everything
that multiplies two mantissas goes through ``mul_div``. It is exact up to the one rounding at its
end; a result beyond int64 becomes ``SATURATED`` (with its sign), which no limit admits.
"""

import numpy as np

from engine.atomics import leading_zeros
from engine.jit import inlined, overloads

SATURATED = 2**63 - 1

__all__ = ["SATURATED", "mul_div"]


def mul_div(a: int, b: int, divisor: int) -> int:
    """Return ``a * b / divisor``, rounded to the nearest, halves away from zero.

    ``divisor`` is above 0. Results outside of int64 are ``SATURATED`` or ``-SATURATED``.
    """
    product = int(a) * int(b)
    quotient = min((abs(product) + int(divisor) // 2) // int(divisor), SATURATED)
    return -quotient if product < 0 else quotient


@inlined
def _magnitude(value: int) -> np.uint64:
    """Return the absolute value as uint64; that of the lowest int64 fits too."""
    return np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)


@inlined
def _high_product(x: np.uint64, y: np.uint64) -> np.uint64:
    """Return the upper 64 bits of the product of two uint64."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x_low, x_high, y_low, y_high = x & mask, x >> half, y & mask, y >> half
    low = x_low * y_low
    middle = x_high * y_low + (low >> half)
    other = x_low * y_high + (middle & mask)
    return x_high * y_high + (middle >> half) + (other >> half)


@inlined
def _digit(high: np.uint64, next_digit: np.uint64, divisor: np.uint64) -> np.uint64:
    """Return one digit (base 2**32) of a long division by a normalized divisor.

    Knuth, The Art of Computer Programming, volume 2, 4.3.1, algorithm D, step D3.
    """
    half, base = np.uint64(32), np.uint64(1) << np.uint64(32)
    first, second = divisor >> half, divisor & np.uint64(0xFFFFFFFF)
    digit = high // first
    rest = high - digit * first
    while digit >= base or digit * second > (rest << half | next_digit):
        digit -= np.uint64(1)
        rest += first
        if rest >= base:
            break
    return digit


@inlined
def _divide(high: np.uint64, low: np.uint64, divisor: np.uint64) -> np.uint64:
    """Return ``(high * 2**64 + low) // divisor`` as uint64; ``high`` is below ``divisor``."""
    if high == np.uint64(0):
        return low // divisor
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    shift = np.uint64(leading_zeros(int(np.int64(divisor))))
    if shift:
        high = high << shift | low >> (np.uint64(64) - shift)
        low, divisor = low << shift, divisor << shift
    first = _digit(high, low >> half, divisor)
    rest = (high << half | low >> half) - first * divisor
    return first << half | _digit(rest, low & mask, divisor)


@inlined
def _mul_div(a: int, b: int, divisor: int) -> int:
    x, y, unsigned = _magnitude(a), _magnitude(b), np.uint64(divisor)
    high, low = _high_product(x, y), x * y
    rounded = low + (unsigned >> np.uint64(1))
    if rounded < low:
        high += np.uint64(1)
    if high >= unsigned:
        quotient = np.uint64(SATURATED)
    else:
        quotient = min(_divide(high, rounded, unsigned), np.uint64(SATURATED))
    return int(-np.int64(quotient) if (a < 0) != (b < 0) else np.int64(quotient))


@overloads(mul_div)
def _(a, b, divisor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - Numba's types
    return lambda a, b, divisor: _mul_div(a, b, divisor)
