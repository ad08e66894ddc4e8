"""The symbol map finds every symbol it was built from, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types

from engine.jit import kernel
from feeds.message import Bytes, Symbols
from feeds.scan import PADDING
from feeds.symbols import SymbolError, build_symbols, entry_of_instrument, find_symbol

pytestmark = pytest.mark.kernels

NATIVE = st.text(
    st.characters(min_codepoint=0x21, exclude_characters='"\\', exclude_categories=("Cs",)),
    min_size=1,
    max_size=32,
).filter(lambda text: len(text.encode()) <= 32)


@kernel(types.int64(Symbols, Bytes, types.int64))
def entry_of(symbols, data, length):
    """Return the entry of the symbol ``data[:length]``, or -1."""
    return find_symbol(symbols, data, 0, length)


@kernel(types.int64(Symbols, types.int64))
def entry_of_row(symbols, instrument):
    """Return the entry of an instrument row, or -1."""
    return entry_of_instrument(symbols, instrument)


def found(symbols, native):
    raw = native.encode()
    # What follows the symbol in a message must not matter.
    entry = entry_of(symbols, np.frombuffer(raw + b'"' * PADDING, np.uint8), len(raw))
    return None if entry < 0 else int(symbols[entry]["instrument"])


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(NATIVE, unique=True, max_size=60), NATIVE)
def test_each_listed_symbol_is_found_and_no_other(listed, other):
    symbols = build_symbols((native, row, 2, 3) for row, native in enumerate(listed))
    assert [found(symbols, native) for native in listed] == list(range(len(listed)))
    assert (found(symbols, other) is None) == (other not in listed)


def test_the_map_is_at_most_half_full():
    symbols = build_symbols((f"S{row}", row, 0, 0) for row in range(1000))
    assert len(symbols) == 2048


def test_an_instrument_row_leads_to_its_entry():
    symbols = build_symbols([("BTCUSDT", 7, 2, 3), ("ETHUSDT", 9, 2, 3)])
    assert symbols[entry_of_row(symbols, 9)]["instrument"] == 9
    assert entry_of_row(symbols, 8) == -1


@pytest.mark.parametrize(
    ("native", "decimals", "words"),
    [("", 2, "0 bytes"), ("币" * 11, 2, "33 bytes"), ('A"B', 2, "escapes"), ("A", 19, "19 price")],
)
def test_what_the_map_cannot_hold_is_refused_by_name(native, decimals, words):
    with pytest.raises(SymbolError, match=words):
        build_symbols([(native, 0, decimals, 0)])


def test_a_symbol_listed_twice_is_refused():
    with pytest.raises(SymbolError, match="listed twice"):
        build_symbols([("A", 0, 0, 0), ("A", 1, 0, 0)])
