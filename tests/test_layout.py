"""Golden sizes and offsets: a change here is a change of wire format and needs a new version."""

from typing import NamedTuple

import numpy as np
import pytest

from engine.counters import LABEL
from engine.frames import FRAME
from engine.layout import Field, Layout, dtype_of, fingerprint_of
from engine.segment import DESCRIPTION_AT, READERS_AT
from feeds import types

pytestmark = pytest.mark.kernels


class Golden(NamedTuple):
    version: int
    size: int
    fingerprint: int
    offsets: dict


GOLDEN = {
    "reject": Golden(
        1,
        512,
        5887283270399540217,
        {
            "version": 0,
            "received_ns": 8,
            "count": 16,
            "length": 24,
            "reason": 32,
            "kind": 36,
            "venue": 40,
            "data": 64,
        },
    ),
    "trade": Golden(
        1,
        64,
        3150154175549964914,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "price": 32,
            "quantity": 40,
            "trade_id": 48,
            "instrument": 56,
            "side": 60,
            "flags": 61,
            "reserved": 62,
        },
    ),
    "book_delta": Golden(
        1,
        64,
        8506003665811338264,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "price": 32,
            "quantity": 40,
            "update_id": 48,
            "instrument": 56,
            "side": 60,
            "flags": 61,
            "epoch": 62,
        },
    ),
    "book_top": Golden(
        1,
        128,
        6918983918945382133,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "bid_price": 32,
            "bid_quantity": 40,
            "ask_price": 48,
            "ask_quantity": 56,
            "update_id": 64,
            "epoch": 72,
            "instrument": 80,
            "source": 84,
            "state": 85,
            "flags": 86,
            "reserved": 88,
        },
    ),
    "funding": Golden(
        1,
        128,
        4931333114413882290,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "mark_price": 32,
            "index_price": 40,
            "settle_price": 48,
            "rate": 56,
            "next_funding_ns": 64,
            "instrument": 72,
            "flags": 76,
            "open_interest": 80,
            "updated": 88,
            "reserved": 96,
        },
    ),
    "instrument": Golden(
        1,
        256,
        708412602248364043,
        {
            "version": 0,
            "tick": 8,
            "lot": 16,
            "contract_value": 24,
            "minimum_quantity": 32,
            "maximum_quantity": 40,
            "minimum_notional": 48,
            "instrument": 56,
            "price_decimals": 60,
            "quantity_decimals": 64,
            "kind": 68,
            "status": 72,
            "flags": 76,
            "updated_ns": 80,
            "venue": 88,
            "native": 112,
            "symbol": 144,
            "base": 192,
            "quote": 208,
            "settle": 224,
            "cadence_ds": 240,
            "reserved": 252,
        },
    ),
    "book_image": Golden(
        1,
        768,
        3895819807878234098,
        {
            "version": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "update_id": 32,
            "epoch": 40,
            "gaps": 48,
            "messages": 56,
            "instrument": 64,
            "state": 68,
            "bid_count": 72,
            "ask_count": 76,
            "bid_depth": 80,
            "ask_depth": 88,
            "reserved": 96,
            "bids": 128,
            "asks": 448,
        },
    ),
    "resync": Golden(
        1,
        64,
        958956516138135858,
        {
            "sequence": 0,
            "requested_ns": 8,
            "epoch": 16,
            "instrument": 24,
            "reason": 28,
            "venue": 32,
            "channel": 56,
            "attempt": 60,
        },
    ),
    "frame": Golden(
        1,
        64,
        2728004585243510877,
        {
            "sequence": 0,
            "received_ns": 8,
            "published_ns": 16,
            "position": 24,
            "length": 32,
            "kind": 40,
            "connection": 44,
            "instrument": 48,
            "line": 52,
            "reserved": 56,
        },
    ),
    "counter_label": Golden(
        1,
        128,
        7067572389852568126,
        {
            "kind": 0,
            "row": 4,
            "name": 8,
            "unit": 88,
            "reserved": 104,
        },
    ),
    "liquidation": Golden(
        1,
        64,
        2664391340820187831,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "price": 32,
            "quantity": 40,
            "reserved": 48,
            "instrument": 56,
            "side": 60,
            "flags": 61,
            "reserved2": 62,
        },
    ),
    "stats": Golden(
        1,
        128,
        5399684957523190277,
        {
            "sequence": 0,
            "exchange_ns": 8,
            "received_ns": 16,
            "published_ns": 24,
            "last_price": 32,
            "open_price": 40,
            "high_price": 48,
            "low_price": 56,
            "volume": 64,
            "instrument": 72,
            "flags": 76,
            "updated": 80,
            "reserved": 88,
        },
    ),
}
LAYOUTS = {
    layout.name: layout
    for layout in (FRAME, LABEL, *vars(types).values())
    if isinstance(layout, Layout)
}


def test_every_layout_has_a_golden_copy():
    assert set(LAYOUTS) == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_wire_format_has_not_changed(name):
    layout, golden = LAYOUTS[name], GOLDEN[name]
    assert {f.name: layout.column(f.name)[1] for f in layout.fields} == golden.offsets
    assert (layout.version, layout.dtype.itemsize) == (golden.version, golden.size)
    assert layout.fingerprint == golden.fingerprint


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_layout_can_be_read_back_from_its_description(layout):
    assert dtype_of(layout.describe()) == layout.dtype
    assert fingerprint_of(layout.describe()) == layout.fingerprint


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_description_fits_into_the_header(layout):
    assert len(layout.describe()) < READERS_AT - DESCRIPTION_AT


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_layout_has_no_byte_without_a_field(layout):
    assert sum(layout.column(f.name)[0].itemsize for f in layout.fields) == layout.dtype.itemsize


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_every_field_says_what_it_means(layout):
    assert all(f.doc for f in layout.fields)


PAD = Field("pad", "i8", "", (7,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((Field("a", "i1", ""), Field("b", "i8", ""), PAD), r"x\.b: 7 bytes of padding at 1"),
        ((Field("a", "i8", ""),), r"8 bytes of fields in 8, not whole lines"),
        ((Field("a", "f8", ""), PAD), r"x\.a: type 'f8'"),
        ((Field("a", "O", ""), PAD), r"x\.a: type 'O'"),
        ((Field("a", ">i8", ""), PAD), r"x\.a: type '>i8'"),
        ((Field("a", "i8", ""), Field("a", "i8", ""), Field("b", "i8", "", (6,))), "a"),
    ],
)
def test_layout_that_is_not_portable_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Layout("x", 1, fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"bytes":64}',
        '{"bytes":64,"fields":[["a",0,"O",[]]]}',
        '{"bytes":8,"fields":[["a",4,"i8",[]]]}',
        '{"bytes":-8,"fields":[["a",0,"i8",[]]]}',
        '{"bytes":8,"fields":[["a",0,"i8",[1e9]]]}',
        '{"bytes":8,"fields":[["a",0,7,[]]]}',
        "[" * 2000,
    ],
)
def test_description_that_is_not_one_is_refused(text):
    with pytest.raises(ValueError, match="not a layout description"):
        dtype_of(text)


def test_fingerprint_depends_on_every_part():
    base = ("x", 1, (Field("a", "i8", "one"), PAD))
    others = [
        ("y", 1, base[2]),
        ("x", 2, base[2]),
        ("x", 1, (Field("b", "i8", "one"), PAD)),
        ("x", 1, (Field("a", "u8", "one"), PAD)),
    ]
    prints = {Layout(*each).fingerprint for each in [base, *others]}
    assert len(prints) == 5
    assert Layout("x", 1, (Field("a", "i8", "two"), PAD)).fingerprint in prints


def test_table_shows_offset_size_type_and_meaning():
    text = types.BOOK_IMAGE.table()
    assert text.startswith("book_image v1: 768 bytes\n")
    assert "   128  320 i8[20][2]  bids               price and quantity mantissas" in text


def test_record_sizes_are_whole_cache_lines():
    assert all(layout.dtype.itemsize % 64 == 0 for layout in LAYOUTS.values())
    assert np.dtype(np.int64).itemsize == 8
