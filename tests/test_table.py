"""Tables: rows are read whole or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import table as module
from engine.errors import LayoutMismatch, SegmentError
from engine.table import TableReader, TableWriter, copy_row, read_row, row_begin, row_commit
from tests.records import ROW, SMALL, records

pytestmark = pytest.mark.kernels

NAME = "test.table"


@pytest.fixture
def table(instance):
    writer = TableWriter.open(instance, NAME, ROW, 4)
    yield writer
    writer.close()


@pytest.fixture
def reader(instance, table):
    reader = TableReader.attach(instance, NAME, ROW)
    yield reader
    reader.close()


def body(row):
    (value,) = set(row["body"].tolist())
    return value


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**63), 2**63 - 1)), max_size=30))
def test_row_is_what_was_written_last(writes):
    words, stride, expected = np.zeros(4 * 16, np.int64), 16, {}
    for row, value in writes:
        module.write_row(words, stride, row, records(ROW, [value]).view(np.int64))
        expected[row] = value
    for row, value in expected.items():
        out = np.empty(16, np.int64)
        assert read_row(words, stride, row, out, 1)
        assert set(out[1:].tolist()) == {value}


def test_new_table_has_rows_of_zeros(reader):
    assert not reader.snapshot()["body"].any()


def test_version_differs_after_every_write(table, reader):
    seen = set()
    for _ in range(3):
        table.write(2, records(ROW, [1])[0])
        seen.add(int(reader.read(2)["version"]))
    assert seen == {2, 4, 6}


def test_read_is_a_copy(table, reader):
    table.write(0, records(ROW, [1]))
    row = reader.read(0)
    table.write(0, records(ROW, [2]))
    assert body(row) == 1
    assert body(reader.read(0)) == 2


def test_snapshot_has_every_row(table, reader):
    for row in range(4):
        table.write(row, records(ROW, [row * 10]))
    assert [body(row) for row in reader.snapshot()] == [0, 10, 20, 30]


@pytest.mark.parametrize("row", [-1, 4])
def test_row_that_does_not_exist_is_refused(table, reader, row):
    with pytest.raises(IndexError, match=f"row {row} of 4"):
        reader.read(row)
    with pytest.raises(IndexError, match=f"row {row} of 4"):
        table.write(row, records(ROW, [1]))


def test_row_that_is_being_written_is_not_read(table):
    row_begin(table.words, table.stride, 1)
    assert not read_row(table.words, table.stride, 1, np.empty(16, np.int64), 3)
    row_commit(table.words, 16)
    assert read_row(table.words, table.stride, 1, np.empty(16, np.int64), 3)


def test_row_of_a_dead_writer_is_an_error_and_not_a_hang(table, reader):
    table.write(1, records(ROW, [5]))
    row_begin(table.words, table.stride, 1)
    table.segment.close()
    with pytest.raises(SegmentError, match="its writer is gone"):
        reader.read(1)
    assert body(reader.read(0)) == 0


def test_row_of_a_living_writer_is_waited_for(table, reader, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    row_begin(table.words, table.stride, 1)
    with pytest.raises(SegmentError, match=r"stuck for 0\.05 s"):
        reader.read(1)


def test_successor_repairs_a_torn_row(instance, table, reader):
    table.write(1, records(ROW, [5]))
    table.write(2, records(ROW, [6]))
    version = int(reader.read(1)["version"])
    table.words[row_begin(table.words, table.stride, 1) + 3] = 666
    table.segment.close()
    successor = TableWriter.open(instance, NAME, ROW, 4)
    assert successor.torn == [1]
    assert body(reader.read(1)) == 0
    assert body(reader.read(2)) == 6
    assert reader.read(1)["version"] > version
    successor.close()


def test_table_of_records_without_a_version_is_refused(instance):
    with pytest.raises(SegmentError, match="the first field of a row is its version"):
        TableWriter.open(instance, NAME, SMALL, 4)


def test_table_of_another_size_is_refused(instance, table):
    table.segment.close()
    with pytest.raises(LayoutMismatch, match="has 4 records and 0 bytes"):
        TableWriter.open(instance, NAME, ROW, 8)


def test_row_of_another_size_is_refused(table):
    with pytest.raises(ValueError, match="a row has 128 bytes"):
        table.write(0, records(SMALL, [1]))


def test_copy_is_bounded(table):
    row_begin(table.words, table.stride, 0)
    assert not copy_row(table.words, table.stride, 0, np.empty(16, np.int64), 10)
