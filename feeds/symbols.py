"""The symbol map: from a venue's symbol, as its bytes stand in a message, to an instrument row.

Open addressing over ``feeds.message.SYMBOL`` entries, a power of two of them, at most half full.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engine.jit import inlined, inlined_always
from feeds.listing import SymbolError
from feeds.message import SYMBOL
from feeds.scan import DECIMALS_MAX, Bytes, word, wrapping_add, wrapping_mul

SYMBOL_BYTES = 32
_WORDS = SYMBOL_BYTES // 8
_ENTRIES_MIN = 16
MIX = 0x9E3779B97F4A7C15 - (1 << 64)
"""2**64 over the golden ratio, as int64: multiplying by it spreads neighbors over the high bits."""


@inlined_always
def head(chars: int, count: int) -> int:
    """Return a word with only its first ``count`` (1 or more) bytes kept."""
    return chars & ((1 << (8 * count)) - 1) if count < 8 else chars


@inlined_always
def bucket(first: int, second: int, length: int, entries: int) -> int:
    """Return the entry at which the search for a symbol begins."""
    mixed = wrapping_add(first ^ wrapping_mul(second, 0x2545F491), length)
    return (wrapping_mul(mixed, MIX) >> 40) & (entries - 1)


@inlined_always
def find_key(
    symbols: NDArray[np.void], first: int, second: int, third: int, fourth: int, length: int
) -> int:
    """Return the entry whose key is these four words, or -1."""
    entries = len(symbols)
    entry = bucket(first, second, length, entries)
    while True:
        here = symbols[entry]["length"]
        if here == 0:
            return -1
        if here == length:
            key = symbols[entry]["key"]
            if key[0] == first and key[1] == second and key[2] == third and key[3] == fourth:
                return entry
        entry = (entry + 1) & (entries - 1)


@inlined_always
def find_symbol(symbols: NDArray[np.void], data: Bytes, pos: int, length: int) -> int:
    """Return the entry that holds the symbol ``data[pos:pos + length]``, or -1.

    32 bytes from ``pos`` must be readable.
    """
    if length <= 0 or length > SYMBOL_BYTES:
        return -1
    first = head(word(data, pos), length)
    second = 0
    third = 0
    fourth = 0
    if length > 8:
        second = head(word(data, pos + 8), length - 8)
        if length > 16:
            third = head(word(data, pos + 16), length - 16)
            if length > 24:
                fourth = head(word(data, pos + 24), length - 24)
    return find_key(symbols, first, second, third, fourth, length)


@inlined
def find_suffixed(
    symbols: NDArray[np.void], data: Bytes, pos: int, length: int, suffix: int, count: int
) -> int:
    """Return the entry of a symbol that is not in the message as a whole, or -1.

    It is ``data[pos:pos + length]`` followed by the ``count`` (at most 7) ASCII characters of
    ``suffix``, the first one lowest.
    """
    if length <= 0 or length + count > SYMBOL_BYTES:
        return -1
    first = head(word(data, pos), length)
    second = head(word(data, pos + 8), length - 8) if length > 8 else 0
    third = head(word(data, pos + 16), length - 16) if length > 16 else 0
    fourth = head(word(data, pos + 24), length - 24) if length > 24 else 0
    for place in range(length, length + count):
        shifted = (suffix & 0x7F) << (8 * (place & 7))
        suffix >>= 8
        if place < 8:
            first |= shifted
        elif place < 16:
            second |= shifted
        elif place < 24:
            third |= shifted
        else:
            fourth |= shifted
    return find_key(symbols, first, second, third, fourth, length + count)


@inlined
def entry_of_instrument(symbols: NDArray[np.void], instrument: int) -> int:
    """Return an entry of an instrument row, or -1: a search through the whole map."""
    for entry in range(len(symbols)):
        if symbols[entry]["length"] != 0 and symbols[entry]["instrument"] == instrument:
            return entry
    return -1


def _key(native: str) -> bytes:
    """Return a symbol's bytes, checked: what stands between the quotes of a message."""
    raw = native.encode()
    if not 0 < len(raw) <= SYMBOL_BYTES:
        raise SymbolError(
            f"symbol {native!r} has {len(raw)} bytes of UTF-8; the symbol map holds 1 to "
            f"{SYMBOL_BYTES}: leave this instrument out"
        )
    if any(byte < 0x20 or byte in b'"\\' for byte in raw):
        raise SymbolError(f"symbol {native!r} holds a character that JSON escapes: leave it out")
    return raw


def build_symbols(instruments: Iterable[tuple[str, int, int, int]]) -> NDArray[np.void]:
    """Return the symbol map of ``(native symbol, instrument row, price and quantity decimals)``.

    The map has dtype ``SYMBOL`` and at least twice as many entries as symbols.

    Raises
    ------
    SymbolError
        If a symbol is empty, too long, listed twice, or its decimals are not 0 to 18.

    """
    listed = list(instruments)
    entries = _ENTRIES_MIN
    while entries < 2 * len(listed):
        entries *= 2
    symbols = np.zeros(entries, dtype=SYMBOL)
    for native, row, price_decimals, quantity_decimals in listed:
        raw = _key(native)
        for name, decimals in (("price", price_decimals), ("quantity", quantity_decimals)):
            if not 0 <= decimals <= DECIMALS_MAX:
                raise SymbolError(
                    f"{native} has {decimals} {name} decimals; 0 to {DECIMALS_MAX} can be held"
                )
        words = np.frombuffer(raw.ljust(SYMBOL_BYTES, b"\0"), dtype="<i8")
        mixed = ((int(words[0]) ^ (int(words[1]) * 0x2545F491)) + len(raw)) * MIX
        entry = (mixed >> 40) & (entries - 1)
        while symbols[entry]["length"]:
            if symbols[entry]["length"] == len(raw) and (symbols[entry]["key"] == words).all():
                raise SymbolError(f"symbol {native!r} is listed twice: remove one")
            entry = (entry + 1) & (entries - 1)
        symbols[entry] = (words, len(raw), row, price_decimals, quantity_decimals)
    return symbols
