"""Reports as bytes, and instruments as gateways read them."""

import numpy as np
import pytest

from engine.errors import LayoutMismatch
from engine.layout import Field, Layout
from engine.table import TableWriter
from feeds.types import INSTRUMENT
from gateways.instruments import InstrumentTable
from gateways.message import Update, pack
from gateways.types import REPORT, Reason, ReportKind

TABLE = "feed.binance_spot.instruments"


def test_a_packed_report_has_every_field_in_its_place():
    numbers = {
        name: 3 + place
        for place, name in enumerate(REPORT.dtype.names)
        if REPORT.dtype[name].kind in "iu" and name not in ("sequence", "kind", "reason")
    }
    given = {n: v for n, v in numbers.items() if n not in ("received_ns", "published_ns")}
    update = Update(
        kind=ReportKind.FILL,
        reason=Reason.IMMEDIATE,
        asset="USDT",
        venue_id="8389765519993908929",
        text="of others",
        **given,
    )

    record = np.frombuffer(
        pack(update, numbers["received_ns"], numbers["published_ns"]), REPORT.dtype
    )[0]

    assert {name: int(record[name]) for name in numbers} == numbers
    assert record["sequence"] == 0
    assert record["kind"] == ReportKind.FILL
    assert record["reason"] == Reason.IMMEDIATE
    assert record["asset"] == b"USDT"
    assert record["venue_id"] == b"8389765519993908929"
    assert record["text"] == b"of others"


def test_a_text_that_is_too_long_is_cut_off_behind_a_whole_character():
    update = Update(kind=ReportKind.REJECTED, text="x" * 100, asset="x" + "ä" * 16)

    record = np.frombuffer(pack(update, 0, 0), REPORT.dtype)[0]

    assert record["text"] == b"x" * 48
    assert bytes(record["asset"]).decode() == "x" + "ä" * 7


def _row(number, native, symbol, **changes):
    record = np.zeros(1, INSTRUMENT.dtype)
    for name, value in {
        "instrument": number,
        "native": native,
        "symbol": symbol,
        "base": b"BTC",
        "quote": b"USDT",
        "kind": 1,
        "price_decimals": 2,
        "quantity_decimals": 5,
        "tick": 1,
        "lot": 1,
        "contract_value": 10**8,
        **changes,
    }.items():
        record[name] = value
    return record


def test_instruments_are_found_by_row_and_by_symbol(instance):
    table = TableWriter.open(instance, TABLE, INSTRUMENT, 4)
    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT"))

    instruments = InstrumentTable(instance, TABLE)

    assert len(instruments) == 1
    assert instruments.get(1) is instruments.by_native["BTCUSDT"]
    assert instruments.get(1).symbol == "BTC/USDT"
    assert instruments.get(0) is None
    assert instruments.get(-1) is None
    instruments.close()
    table.close()


def test_a_row_that_is_added_later_is_found(instance, monkeypatch):
    monkeypatch.setattr("gateways.instruments.REFRESH_S", 0.0)
    table = TableWriter.open(instance, TABLE, INSTRUMENT, 4)
    instruments = InstrumentTable(instance, TABLE)
    assert instruments.get(2) is None

    table.write(2, _row(2, b"ETHUSDT", b"ETH/USDT"))

    assert instruments.get(2).native == "ETHUSDT"
    assert [each.row for each in instruments.all()] == [2]
    instruments.close()
    table.close()


def test_a_table_of_something_else_is_refused(instance):
    other = Layout("other", 1, (Field("version", "i8", "v"), Field("rest", "i8", "r", (7,))))
    table = TableWriter.open(instance, TABLE, other, 4)

    with pytest.raises(LayoutMismatch, match="no table of instruments: it has no field native"):
        InstrumentTable(instance, TABLE)
    table.close()


def test_a_row_that_is_rewritten_is_read_again_at_once(instance):
    table = TableWriter.open(instance, TABLE, INSTRUMENT, 4)
    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT"))
    instruments = InstrumentTable(instance, TABLE)
    changes = []
    instruments.on_change = lambda old, new: changes.append((old, new))

    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT", price_decimals=1, tick=5))

    assert instruments.get(1).price_decimals == 1
    assert instruments.by_native["BTCUSDT"] is instruments.get(1)
    assert [(old.price_decimals, new.price_decimals) for old, new in changes] == [(2, 1)]
    instruments.close()
    table.close()


def test_a_change_that_leaves_the_decimals_alone_is_no_alarm(instance):
    table = TableWriter.open(instance, TABLE, INSTRUMENT, 4)
    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT"))
    instruments = InstrumentTable(instance, TABLE)
    changes = []
    instruments.on_change = lambda old, new: changes.append((old, new))

    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT", tick=5))
    instruments.refresh()

    assert instruments.get(1).tick == 5
    assert changes == []
    instruments.close()
    table.close()


def test_a_row_over_which_its_writer_died_stays_as_it_was(instance):
    table = TableWriter.open(instance, TABLE, INSTRUMENT, 4)
    table.write(1, _row(1, b"BTCUSDT", b"BTC/USDT"))
    instruments = InstrumentTable(instance, TABLE)
    known = instruments.get(1)
    table.words[1 * table.stride] += 1
    table.close()

    instruments.refresh()

    assert instruments.get(1) is known
    instruments.close()
