"""Reading JSON inside kernels: strings, numbers and exact decimals of any venue's messages.

Every function takes the bytes and a position and returns the position after what it read, or a
negative ``Reject``. None of them knows the frame's length: the caller makes sure, once, that a zero
byte follows the frame with at least ``PADDING`` readable bytes in all (``sealed``). JSON has no
place where a zero byte is legal, so every one of these functions stops at it, and none reads more
than 32 bytes beyond the position that it stands on.

Eight bytes are read at a time (``word``, little-endian: the first character is the lowest byte) and
kept as int64: Numba compares int64 with uint64 as doubles, which drops the low bits. Without the
JIT they are Python integers, so every sum or product that may overflow is followed by a mask, and
so is every right shift.

What is stricter than JSON: numbers outside strings have at most ``NUMBER_DIGITS`` digits and an
exponent of at most two digits (so that no number that overflows a double, which ``orjson``
refuses, passes), and values nest at most ``DEPTH_MAX`` deep.
"""

from typing import Final

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros as _count
from numpy.typing import NDArray

from engine.atomics import byte_at, word_at
from engine.jit import inlined, inlined_always, overloads
from engine.records import PADDING as PADDING
from feeds.message import Reject

Bytes = NDArray[np.uint8]

DEPTH_MAX = 48
NUMBER_DIGITS = 64
DECIMALS_MAX = 18
INT64_MAX = (1 << 63) - 1

QUOTE: Final = 0x22
COMMA: Final = 0x2C
MINUS: Final = 0x2D
POINT: Final = 0x2E
ZERO: Final = 0x30
NINE: Final = 0x39
COLON: Final = 0x3A
ARRAY: Final = 0x5B
BACKSLASH: Final = 0x5C
ARRAY_END: Final = 0x5D
OBJECT: Final = 0x7B
OBJECT_END: Final = 0x7D
SPACE: Final = 0x20

_TRUNCATED: Final = int(Reject.TRUNCATED)
_SYNTAX: Final = int(Reject.SYNTAX)
_UTF8: Final = int(Reject.UTF8)
_TYPE: Final = int(Reject.TYPE)
_NUMBER: Final = int(Reject.NUMBER)
_INEXACT: Final = int(Reject.INEXACT)
_OVERFLOW: Final = int(Reject.OVERFLOW)
_DEPTH: Final = int(Reject.DEPTH)
_SIZE: Final = int(Reject.SIZE)

ONES: Final = 0x0101010101010101
HIGHS: Final = 0x8080808080808080
LOW_NIBBLES: Final = 0x0F0F0F0F0F0F0F0F
_ALL: Final = (1 << 64) - 1
POWERS = np.array([10**n for n in range(19)], dtype=np.int64)
"""Powers of ten that int64 holds."""


def trailing_zeros(word: int) -> int:
    """Return the number of zero bits below the lowest one bit of a word: 64 if it is zero."""
    return (word & -word).bit_length() - 1 if word else 64


@overloads(trailing_zeros)
def _trailing_zeros(word):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda word: np.int64(_count(np.uint64(word)))  # type: ignore[call-arg]


def signed(word: int) -> int:
    """Return the int64 with the same bits as a word."""
    return word - (1 << 64) if word >> 63 else word


@overloads(signed)
def _signed(word):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda word: np.int64(word)


def wrapping_add(a: int, b: int) -> int:
    """Return ``a + b`` modulo 2**64, as int64.

    Numba marks signed sums, differences and products as never overflowing, and LLVM may build on
    it: where an overflow is meant it has to be said, in unsigned arithmetic.
    """
    return signed((int(a) + int(b)) & _ALL)


def wrapping_sub(a: int, b: int) -> int:
    """Return ``a - b`` modulo 2**64, as int64."""
    return signed((int(a) - int(b)) & _ALL)


def wrapping_mul(a: int, b: int) -> int:
    """Return ``a * b`` modulo 2**64, as int64."""
    return signed((int(a) * int(b)) & _ALL)


@overloads(wrapping_add)
def _wrapping_add(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda a, b: np.int64(np.uint64(a) + np.uint64(b))


@overloads(wrapping_sub)
def _wrapping_sub(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda a, b: np.int64(np.uint64(a) - np.uint64(b))


@overloads(wrapping_mul)
def _wrapping_mul(a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return lambda a, b: np.int64(np.uint64(a) * np.uint64(b))


@inlined_always
def word(data: Bytes, pos: int) -> int:
    """Return the eight bytes from ``pos`` as a little-endian int64."""
    return signed(word_at(data, pos))


@inlined_always
def fault(byte: int) -> int:
    """Return why ``byte`` cannot stand where it does: the end of the frame or a wrong character."""
    return _TRUNCATED if byte == 0 else _SYNTAX


@inlined_always
def sealed(data: Bytes, length: int) -> bool:
    """Return whether ``data[:length]`` can be scanned: room for the padding, a zero after it."""
    return length >= 0 and length + PADDING <= len(data) and byte_at(data, length) == 0


@inlined_always
def skip_space(data: Bytes, pos: int) -> int:
    """Return the first position from ``pos`` that is not JSON whitespace."""
    c = byte_at(data, pos)
    while c == 32 or c == 10 or c == 13 or c == 9:
        pos += 1
        c = byte_at(data, pos)
    return pos


@inlined_always
def nondigits(chars: int) -> int:
    """Return a chars whose lowest set bit is the high bit of the first byte that is no digit."""
    x = chars ^ 0x3030303030303030
    return (wrapping_add(x, 0x7676767676767676) | x) & HIGHS


@inlined_always
def digits_value(digits: int) -> int:
    """Return the number that eight digits (0..9, one a byte, first one lowest) stand for."""
    digits = (wrapping_mul(digits, 2561) >> 8) & 0x00FF00FF00FF00FF
    digits = (wrapping_mul(digits, 6553601) >> 16) & 0x0000FFFF0000FFFF
    return (wrapping_mul(digits, 42949672960001) >> 32) & 0xFFFFFFFF


@inlined_always
def skip_digits(data: Bytes, pos: int) -> int:
    """Return the first position from ``pos`` that holds no digit."""
    while True:
        stop = nondigits(word(data, pos))
        if stop != 0:
            return pos + (trailing_zeros(stop) >> 3)
        pos += 8


@inlined_always
def skip_fraction(data: Bytes, pos: int) -> int:
    """Skip the fraction and exponent of a number; ``pos`` is at its first non-digit."""
    if byte_at(data, pos) == POINT:
        start = pos + 1
        pos = skip_digits(data, start)
        if pos == start:
            return fault(byte_at(data, pos))
        if pos - start > NUMBER_DIGITS:
            return _NUMBER
    if byte_at(data, pos) | 0x20 == 0x65:
        start = pos + 1
        sign = byte_at(data, start)
        if sign == MINUS or sign == 0x2B:
            start += 1
        pos = skip_digits(data, start)
        if pos == start:
            return fault(byte_at(data, pos))
        if pos - start > 2:
            return _NUMBER
    return pos


@inlined_always
def skip_number(data: Bytes, pos: int) -> int:
    """Skip a number; ``pos`` is at its first character."""
    if byte_at(data, pos) == MINUS:
        pos += 1
    start = pos
    pos = skip_digits(data, start)
    if pos == start:
        return fault(byte_at(data, pos))
    if pos - start > 1 and byte_at(data, start) == ZERO:
        return _SYNTAX
    if pos - start > NUMBER_DIGITS:
        return _NUMBER
    c = byte_at(data, pos)
    return skip_fraction(data, pos) if c == POINT or c | 0x20 == 0x65 else pos


@inlined_always
def skip_whole(data: Bytes, pos: int) -> int:
    """Skip a number that is most likely a short run of digits; ``pos`` is at the first one."""
    end = skip_digits(data, pos)
    c = byte_at(data, end)
    if c in (COMMA, OBJECT_END):
        length = end - pos
        if length == 1 or (length <= NUMBER_DIGITS and byte_at(data, pos) != ZERO):
            return end
    return skip_number(data, pos)


@inlined
def hexadecimal(data: Bytes, pos: int) -> int:
    """Return the value of four hexadecimal digits, or a ``Reject``."""
    value = 0
    for i in range(4):
        c = byte_at(data, pos + i)
        if ZERO <= c <= NINE:
            value = value * 16 + c - ZERO
        elif 0x61 <= c | 0x20 <= 0x66:
            value = value * 16 + (c | 0x20) - 0x57
        else:
            return fault(c)
    return value


@inlined
def skip_escape(data: Bytes, pos: int) -> int:
    """Skip an escape sequence; ``pos`` is at its backslash. Lone surrogates are refused."""
    c = byte_at(data, pos + 1)
    if c == 0x75:
        unit = hexadecimal(data, pos + 2)
        if unit < 0:
            return unit
        if unit < 0xD800 or unit > 0xDFFF:
            return pos + 6
        if unit > 0xDBFF:
            return _UTF8
        if byte_at(data, pos + 6) != BACKSLASH or byte_at(data, pos + 7) != 0x75:
            return _UTF8
        unit = hexadecimal(data, pos + 8)
        if unit < 0:
            return unit
        return pos + 12 if 0xDC00 <= unit <= 0xDFFF else _UTF8
    if c in (QUOTE, BACKSLASH, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74):
        return pos + 2
    return fault(c)


@inlined
def skip_utf8(data: Bytes, pos: int) -> int:
    """Skip one character of two to four bytes: no overlong form, no surrogate, none too high."""
    c = byte_at(data, pos)
    if c < 0xC2 or c > 0xF4:
        return _UTF8
    low = 0x80
    high = 0xBF
    if c < 0xE0:
        more = 1
    elif c < 0xF0:
        more = 2
        if c == 0xE0:
            low = 0xA0
        elif c == 0xED:
            high = 0x9F
    else:
        more = 3
        if c == 0xF0:
            low = 0x90
        elif c == 0xF4:
            high = 0x8F
    second = byte_at(data, pos + 1)
    if second < low or second > high:
        return _UTF8
    for i in range(2, more + 1):
        if byte_at(data, pos + i) & 0xC0 != 0x80:
            return _UTF8
    return pos + 1 + more


@inlined
def skip_odd(data: Bytes, pos: int) -> int:
    """Skip what is not plain ASCII in a string: an escape or a longer character."""
    c = byte_at(data, pos)
    if c == BACKSLASH:
        return skip_escape(data, pos)
    if c >= 0x80:
        return skip_utf8(data, pos)
    return fault(c)


@inlined_always
def string_stops(chars: int) -> int:
    """Return a chars whose lowest set bit marks the first byte that is not plain text of a string.

    That is a quote, a backslash, a control character or a byte above 0x7F. The classic tests for a
    zero byte also mark bytes above a true hit, never below: only the lowest bit is good.
    """
    quote = chars ^ 0x2222222222222222
    slash = chars ^ 0x5C5C5C5C5C5C5C5C
    hits = (wrapping_sub(quote, ONES) & ~quote) | (wrapping_sub(slash, ONES) & ~slash)
    return (hits | (wrapping_sub(chars, 0x2020202020202020) & ~chars) | chars) & HIGHS


@inlined
def string_rest(data: Bytes, pos: int) -> int:
    """Go on with a string from a character that is not plain ASCII: seldom, so kept apart.

    What is large here is not inlined by LLVM, and ``skip_string`` stays small enough to be.
    """
    while True:
        pos = skip_odd(data, pos)
        if pos < 0:
            return pos
        stops = string_stops(word(data, pos))
        while stops == 0:
            pos += 8
            stops = string_stops(word(data, pos))
        pos += trailing_zeros(stops) >> 3
        if byte_at(data, pos) == QUOTE:
            return pos


@inlined_always
def skip_string(data: Bytes, pos: int) -> int:
    """Return the position of a string's closing quote; ``pos`` is after the opening one."""
    stops = string_stops(word(data, pos))
    while stops == 0:
        pos += 8
        stops = string_stops(word(data, pos))
    pos += trailing_zeros(stops) >> 3
    return pos if byte_at(data, pos) == QUOTE else string_rest(data, pos)


@inlined_always
def skip_literal(data: Bytes, pos: int) -> int:
    """Skip ``true``, ``false`` or ``null``."""
    chars = word(data, pos)
    text = chars & 0xFFFFFFFF
    if text == 0x65757274 or text == 0x6C6C756E:
        return pos + 4
    if chars & 0xFFFFFFFFFF == 0x65736C6166:
        return pos + 5
    return fault(byte_at(data, pos))


@inlined_always
def skip_scalar(data: Bytes, pos: int) -> int:
    """Skip a string, a number or a literal."""
    c = byte_at(data, pos)
    if c == QUOTE:
        end = skip_string(data, pos + 1)
        return end + 1 if end >= 0 else end
    if ZERO <= c <= NINE or c == MINUS:
        return skip_number(data, pos)
    return skip_literal(data, pos)


@inlined_always
def skip_key(data: Bytes, pos: int) -> int:
    """Skip a key and its colon, with the whitespace around; return where the value begins."""
    pos = skip_space(data, pos)
    if byte_at(data, pos) != QUOTE:
        return fault(byte_at(data, pos))
    pos = skip_string(data, pos + 1)
    if pos < 0:
        return pos
    pos = skip_space(data, pos + 1)
    if byte_at(data, pos) != COLON:
        return fault(byte_at(data, pos))
    return skip_space(data, pos + 1)


@inlined
def skip_nested(data: Bytes, pos: int) -> int:
    """Skip an array or object; ``pos`` is at its bracket. Bit ``n`` of ``kinds``: level n object.

    The loop stands before a value at its top; below it a value has just ended.
    """
    kinds = 0
    depth = 0
    while True:
        c = byte_at(data, pos)
        if c in (ARRAY, OBJECT):
            depth += 1
            if depth > DEPTH_MAX:
                return _DEPTH
            pos = skip_space(data, pos + 1)
            kinds = (kinds << 1) | (1 if c == OBJECT else 0)
            if byte_at(data, pos) != c + 2:
                if c == OBJECT:
                    pos = skip_key(data, pos)
                    if pos < 0:
                        return pos
                continue
        else:
            pos = skip_scalar(data, pos)
            if pos < 0:
                return pos
            pos = skip_space(data, pos)
        while byte_at(data, pos) == (OBJECT_END if kinds & 1 else ARRAY_END):
            kinds >>= 1
            depth -= 1
            if depth == 0:
                return pos + 1
            pos = skip_space(data, pos + 1)
        if byte_at(data, pos) != COMMA:
            return fault(byte_at(data, pos))
        pos = skip_space(data, pos + 1)
        if kinds & 1:
            pos = skip_key(data, pos)
            if pos < 0:
                return pos


@inlined
def skip_value(data: Bytes, pos: int) -> int:
    """Skip any value; ``pos`` is at its first character."""
    c = byte_at(data, pos)
    if c in (ARRAY, OBJECT):
        return skip_nested(data, pos)
    return skip_scalar(data, pos)


@inlined_always
def integer(data: Bytes, pos: int) -> tuple[int, int]:
    """Read a run of digits: its value and the position after it, or 0 and a ``Reject``.

    The caller looks at the character after it: a sign, a fraction or an exponent is not read.
    """
    chars = word(data, pos)
    stop = nondigits(chars)
    if stop != 0:
        count = trailing_zeros(stop) >> 3
        if count == 0:
            return 0, _NUMBER
        return digits_value((chars << (64 - 8 * count)) & LOW_NIBBLES), pos + count
    value = digits_value(chars & LOW_NIBBLES)
    pos += 8
    chars = word(data, pos)
    stop = nondigits(chars)
    if stop != 0:
        count = trailing_zeros(stop) >> 3
        if count == 0:
            return value, pos
        low = digits_value((chars << (64 - 8 * count)) & LOW_NIBBLES)
        return value * POWERS[count] + low, pos + count
    return integer_rest(data, pos + 8, value * 100_000_000 + digits_value(chars & LOW_NIBBLES))


@inlined
def integer_rest(data: Bytes, pos: int, value: int) -> tuple[int, int]:
    """Go on with an integer of sixteen digits or more."""
    c = byte_at(data, pos)
    while ZERO <= c <= NINE:
        if value > (INT64_MAX - (c - ZERO)) // 10:
            return 0, _OVERFLOW
        value = value * 10 + (c - ZERO)
        pos += 1
        c = byte_at(data, pos)
    return value, pos


@inlined
def decimal_rest(data: Bytes, pos: int, decimals: int) -> tuple[int, int]:
    """Read a decimal text character by character: every case, and the exact reason of a refusal."""
    mantissa = 0
    whole = 0
    fraction = -1
    reason = 0
    while True:
        c = byte_at(data, pos)
        if ZERO <= c <= NINE:
            if fraction < 0:
                whole += 1
            else:
                fraction += 1
            if fraction > decimals:
                if c != ZERO:
                    reason = min(reason, _INEXACT)
            elif mantissa > (INT64_MAX - (c - ZERO)) // 10:
                reason = _OVERFLOW
            else:
                mantissa = mantissa * 10 + (c - ZERO)
        elif c == POINT and fraction < 0:
            fraction = 0
        else:
            break
        pos += 1
    if c != QUOTE or whole == 0 or fraction == 0:
        return 0, _TRUNCATED if c == 0 else _NUMBER
    for _ in range(max(fraction, 0), decimals):
        if mantissa > INT64_MAX // 10:
            reason = _OVERFLOW
            break
        mantissa *= 10
    return (0, reason) if reason < 0 else (mantissa, pos)


@inlined_always
def decimal(data: Bytes, pos: int, decimals: int) -> tuple[int, int]:
    """Read decimal text up to its closing quote: exact mantissa and the quote's position.

    ``pos`` is after the opening quote; ``decimals`` is 0 to ``DECIMALS_MAX``. Zeros beyond
    ``decimals`` are legal. On refusal: 0 and ``NUMBER`` (not digits with at most one point between
    them), ``INEXACT``, ``OVERFLOW`` or ``TRUNCATED``.
    """
    chars = word(data, pos)
    count = trailing_zeros(nondigits(chars)) >> 3
    if 0 < count < 8 and decimals <= 8:
        whole = digits_value((chars << (64 - 8 * count)) & LOW_NIBBLES) * POWERS[decimals]
        after = (chars >> (8 * count)) & 0xFF
        if after == QUOTE:
            return whole, pos + count
        start = pos + count + 1
        chars = word(data, start)
        stop = (nondigits(chars) >> 7) & ONES
        count = trailing_zeros(stop) >> 3
        if after == POINT and count > 0 and byte_at(data, start + count) == QUOTE:
            digits = chars & ((stop - 1) & ~stop) & LOW_NIBBLES
            # Two shifts, because one by 64 (no decimals) is undefined.
            kept = ((digits << (32 - 4 * decimals)) << (32 - 4 * decimals)) & LOW_NIBBLES
            if decimals == 0:
                kept = 0
            if ((kept >> (32 - 4 * decimals)) >> (32 - 4 * decimals)) == digits:
                return whole + digits_value(kept), start + count
    return decimal_rest(data, pos, decimals)


@inlined_always
def signed_decimal(data: Bytes, pos: int, decimals: int) -> tuple[int, int]:
    """Read decimal text that may begin with a minus."""
    if byte_at(data, pos) == MINUS:
        value, end = decimal(data, pos + 1, decimals)
        return -value, end
    return decimal(data, pos, decimals)


@inlined_always
def level_break(data: Bytes, pos: int, closing: int) -> int:
    """Skip ``closing`` and whitespace around it at ``pos``."""
    pos = skip_space(data, pos)
    if byte_at(data, pos) != closing:
        return fault(byte_at(data, pos))
    return skip_space(data, pos + 1)


@inlined_always
def level_open(data: Bytes, pos: int) -> int:
    """Go from before a level's bracket to after its first quote, with whitespace."""
    pos = skip_space(data, pos)
    if byte_at(data, pos) != ARRAY:
        return _TYPE if byte_at(data, pos) else _TRUNCATED
    pos = skip_space(data, pos + 1)
    if byte_at(data, pos) != QUOTE:
        return _TYPE if byte_at(data, pos) else _TRUNCATED
    return pos + 1


@inlined_always
def level_between(data: Bytes, pos: int) -> int:
    """Go from a price's closing quote to after the quantity's opening quote, with whitespace."""
    pos = level_break(data, pos + 1, COMMA)
    if pos < 0:
        return _TYPE if pos == _SYNTAX else pos
    if byte_at(data, pos) != QUOTE:
        return _TYPE if byte_at(data, pos) else _TRUNCATED
    return pos + 1


@inlined_always
def level_close(data: Bytes, pos: int) -> int:
    """Go from a quantity's closing quote over further elements to after the level's bracket."""
    pos = skip_space(data, pos + 1)
    while byte_at(data, pos) == COMMA:
        pos = skip_value(data, skip_space(data, pos + 1))
        if pos < 0:
            return pos
        pos = skip_space(data, pos)
    if byte_at(data, pos) != ARRAY_END:
        return fault(byte_at(data, pos))
    return skip_space(data, pos + 1)


@inlined_always
def read_levels(
    data: Bytes,
    pos: int,
    price_decimals: int,
    quantity_decimals: int,
    levels: NDArray[np.int64],
    row: int,
    limit: int,
) -> tuple[int, int]:
    """Read ``[["price","quantity", ...], ...]`` into ``levels`` from ``row``.

    ``pos`` is after the outer bracket. Returns the position after the closing one, or a ``Reject``
    (``SIZE`` at row ``limit``), and the row after the last one written.
    """
    pos = skip_space(data, pos)
    if byte_at(data, pos) == ARRAY_END:
        return pos + 1, row
    while True:
        if word(data, pos) & 0xFFFF == 0x225B:
            pos += 2
        else:
            pos = level_open(data, pos)
            if pos < 0:
                return pos, row
        if row >= limit:
            return _SIZE, row
        price, pos = decimal(data, pos, price_decimals)
        if pos < 0:
            return pos, row
        if word(data, pos) & 0xFFFFFF == 0x222C22:
            pos += 3
        else:
            pos = level_between(data, pos)
            if pos < 0:
                return pos, row
        quantity, pos = decimal(data, pos, quantity_decimals)
        if pos < 0:
            return pos, row
        levels[row, 0] = price
        levels[row, 1] = quantity
        row += 1
        chars = word(data, pos)
        if chars & 0xFFFFFF == 0x2C5D22:
            pos += 3
            continue
        if chars & 0xFFFFFF == 0x5D5D22:
            return pos + 3, row
        pos = level_close(data, pos)
        if pos < 0:
            return pos, row
        c = byte_at(data, pos)
        if c == ARRAY_END:
            return pos + 1, row
        if c != COMMA:
            return fault(c), row
        pos += 1
