"""Named counters and histograms of a process."""

import pytest

from engine.counters import COUNTERS_MAX, HISTOGRAMS_MAX, CountersReader, CountersWriter
from engine.errors import SegmentError, SegmentNotFound, WriterExists
from engine.histogram import record_one

pytestmark = pytest.mark.kernels


@pytest.fixture
def counters(instance):
    writer = CountersWriter.open(instance, "feed")
    yield writer
    writer.close()


@pytest.fixture
def reader(instance, counters):
    reader = CountersReader.attach(instance, "feed")
    yield reader
    reader.close()


def test_counter_is_seen_by_readers(counters, reader):
    frames = counters.counter("frames", unit="frames")
    counters.values[frames] += 3
    assert reader.counters() == {"frames": 3}


def test_gauges_and_counters_do_not_share_values(counters, reader):
    names = ["a", "b", "c", "d"]
    rows = [counters.counter(n) if n in "ac" else counters.gauge(n) for n in names]
    histogram = counters.histogram("h")
    for value, row in enumerate(rows):
        counters.values[row] = value
    assert reader.counters() == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert histogram == 0


def test_histogram_is_seen_by_readers(counters, reader):
    row = counters.histogram("latency", "ns")
    other = counters.histogram("other", "ns")
    record_one(counters.cells[row], 100)
    assert {k: h.count for k, h in reader.histograms().items()} == {"latency": 1, "other": 0}
    assert other == row + 1


def test_same_name_is_the_same_counter(counters):
    assert counters.counter("frames") == counters.counter("frames")
    assert counters.histogram("latency") == counters.histogram("latency")


def test_counts_go_on_after_a_restart(instance, counters, reader):
    counters.values[counters.counter("frames")] = 5
    counters.close()
    again = CountersWriter.open(instance, "feed")
    again.values[again.counter("frames")] += 1
    assert reader.counters() == {"frames": 6}
    again.close()


def test_reader_cannot_write(counters, reader):
    with pytest.raises(ValueError, match="read-only"):
        reader.values[0] = 1


def test_two_processes_cannot_have_one_name(instance, counters):
    with pytest.raises(WriterExists):
        CountersWriter.open(instance, "feed")


def test_counters_of_no_process(instance):
    with pytest.raises(SegmentNotFound):
        CountersReader.attach(instance, "feed")


def test_room_ends_with_a_clear_error(counters):
    for n in range(HISTOGRAMS_MAX):
        counters.histogram(f"h{n}")
    with pytest.raises(SegmentError, match="no room for histogram 'one more'"):
        counters.histogram("one more")
    for n in range(COUNTERS_MAX - HISTOGRAMS_MAX):
        counters.counter(f"c{n}")
    with pytest.raises(SegmentError, match="no room for counter 'one more'"):
        counters.counter("one more")


@pytest.mark.parametrize(("name", "unit"), [("x" * 81, ""), ("é" * 41, ""), ("x", "u" * 17)])
def test_name_that_does_not_fit_is_refused(counters, name, unit):
    with pytest.raises(SegmentError, match="at most 80 and 16 bytes"):
        counters.counter(name, unit)


def test_longest_name_is_kept_whole(counters, reader):
    counters.counter("é" * 40, "u" * 16)
    assert list(reader.counters()) == ["é" * 40]
