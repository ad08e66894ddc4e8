"""The broadcast ring against a list that remembers everything, and its crash rules."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import LayoutMismatch, SegmentError, SegmentNotFound, WriterExists
from engine.ring import RingReader, RingWriter, begin, commit, write_many
from engine.segment import CURSOR, list_segments, unlink_segment
from engine.table import TableWriter
from tests.naive_ring import NaiveReader, NaiveRing
from tests.records import LARGE, ROW, SMALL, records, values

pytestmark = pytest.mark.kernels

NAME = "test.ring"
_names = (f"hypring{os.getpid()}-{n}" for n in itertools.count())

# Weighed: a reader is only lapped by bursts larger than the ring, and those must be common.
PUBLISH = st.integers(1, 3).map(lambda n: ("publish", n))
BURST = st.integers(4, 40).map(lambda n: ("publish", n))
ONE = st.just(("one", 1))
POLL = st.integers(1, 20).map(lambda n: ("poll", n))
RESTART = st.just(("restart", 0))


@pytest.fixture
def ring(instance):
    writer = RingWriter.open(instance, NAME, SMALL, 8, bell=False)
    yield writer
    writer.close()


@pytest.fixture
def reader(instance, ring):
    reader = RingReader.attach(instance, NAME, SMALL)
    yield reader
    reader.close()


@pytest.fixture
def tail(instance, ring):
    """Return a function that lets the writer die and its successor open the ring."""

    def restart():
        ring.segment.close()
        writer = RingWriter.open(instance, NAME, SMALL, 8, bell=False)
        opened.append(writer)
        return writer

    opened = []
    yield restart
    for writer in opened:
        writer.close()


@given(
    st.sampled_from([2, 4, 8]),
    st.lists(PUBLISH | BURST | ONE | POLL | POLL | RESTART, max_size=40),
    st.sampled_from(["latest", "oldest", 1, 5]),
)
def test_ring_agrees_with_the_list(capacity, steps, start):
    instance = next(_names)
    writer = RingWriter.open(instance, NAME, SMALL, capacity, bell=False)
    naive = NaiveRing(capacity)
    reader, twin = RingReader.attach(instance, NAME, SMALL, start), NaiveReader(naive, start)
    try:
        for step, count in steps:
            if step == "publish":
                numbers = [naive.publish(7 * naive.newest) * 7 - 7 for _ in range(count)]
                assert writer.publish_many(records(SMALL, numbers)) == naive.newest
            elif step == "one":
                record = records(SMALL, [7 * naive.newest])
                assert writer.publish(record.tobytes()) == naive.publish(7 * naive.newest)
            elif step == "poll":
                assert values(reader.poll(count)) == twin.poll(count)
                assert (reader.lost, reader.laps) == (twin.lost, twin.laps)
                assert reader.position == twin.position
            else:
                writer.close()
                writer = RingWriter.open(instance, NAME, SMALL, capacity, bell=False)
                assert writer.newest == naive.newest
            assert reader.newest == naive.newest
            assert reader.lag == max(0, naive.newest - reader.position + 1)
    finally:
        reader.close()
        writer.close()
        for _, name in list_segments(instance):
            unlink_segment(instance, name)


@pytest.mark.parametrize(
    "form", [lambda a: a, lambda a: a[0], lambda a: a.tobytes()], ids=["array", "void", "bytes"]
)
def test_single_record_is_taken_in_every_form(ring, reader, form):
    assert ring.publish(form(records(SMALL, [42]))) == 1
    assert values(reader.poll()) == [(1, 42)]


def test_record_of_another_size_is_refused(ring):
    with pytest.raises(ValueError, match="a record has 64 bytes, got 128"):
        ring.publish_many(records(LARGE, [1]))
    with pytest.raises(ValueError, match="a record has 64 bytes, got 3"):
        ring.publish(b"abc")


def test_polled_view_may_be_published_into_another_ring(instance, ring, reader):
    ring.publish_many(records(SMALL, [1, 2]))
    copy = RingWriter.open(instance, "copy.ring", SMALL, 8, bell=False)
    copy.publish_many(reader.poll())
    copied = RingReader.attach(instance, "copy.ring", start="oldest")
    assert values(copied.poll()) == [(1, 1), (2, 2)]
    copied.close()
    copy.close()


def test_view_is_read_only(ring, reader):
    ring.publish_many(records(SMALL, [1]))
    batch = reader.poll()
    with pytest.raises(ValueError, match="read-only"):
        batch["body"] = 0


def test_view_is_the_shared_memory_itself(ring, reader):
    ring.publish_many(records(SMALL, [1]))
    batch = reader.poll()
    ring.slots["body"][1] = 9
    assert values(batch) == [(1, 9)]


def test_batch_is_intact_until_its_first_slot_is_marked(ring, reader):
    ring.publish_many(records(SMALL, range(8)))
    assert values(reader.poll(3)) == [(1, 0), (2, 1), (3, 2)]
    assert reader.intact()
    begin(ring.words, ring.stride, ring.capacity, 9)
    assert not reader.intact()


@pytest.mark.parametrize("limit", [None, 0])
def test_intact_speaks_of_the_last_batch_that_had_records(ring, reader, limit):
    ring.publish_many(records(SMALL, range(3)))
    assert len(reader.poll()) == 3
    if limit == 0:
        ring.publish_many(records(SMALL, [3]))
    assert len(reader.poll(limit)) == 0
    assert reader.intact()
    begin(ring.words, ring.stride, ring.capacity, 9)
    assert not reader.intact()


def test_limit_of_zero_gives_nothing(ring, reader):
    ring.publish_many(records(SMALL, [1]))
    assert len(reader.poll(0)) == 0
    assert len(reader.poll(1)) == 1


def test_lapped_reader_goes_on_half_a_ring_back(ring, reader):
    ring.publish_many(records(SMALL, range(100)))
    assert reader.poll()[0]["sequence"] == 97
    assert (reader.lost, reader.laps) == (96, 1)


def test_lost_and_read_add_up_to_published(ring, reader):
    read = 0
    for burst in (3, 20, 1, 9, 8, 100, 5):
        ring.publish_many(records(SMALL, range(burst)))
        read += len(reader.poll(4))
    while len(batch := reader.poll()):
        read += len(batch)
    assert read + reader.lost == ring.newest


@pytest.mark.parametrize(("start", "first"), [("oldest", 5), ("latest", 13), (7, 7)])
def test_start(instance, ring, start, first):
    ring.publish_many(records(SMALL, range(12)))
    reader = RingReader.attach(instance, NAME, SMALL, start)
    ring.publish_many(records(SMALL, [0])) if start == "latest" else None
    assert reader.poll(1)["sequence"].tolist() == [first]
    reader.close()


@pytest.mark.parametrize("start", [0, -1, "newest", 1.5])
def test_start_that_makes_no_sense_is_refused(instance, ring, start):
    with pytest.raises(ValueError, match="start at 'latest', 'oldest' or a sequence"):
        RingReader.attach(instance, NAME, SMALL, start)


def test_iteration_yields_batches(ring, reader):
    ring.publish_many(records(SMALL, range(10)))
    batches = iter(reader)
    assert values(next(batches)) == [(7, 6)]
    assert values(next(batches)) == [(8, 7), (9, 8), (10, 9)]


def test_layout_comes_from_the_header(instance, ring):
    ring.publish_many(records(SMALL, [3]))
    reader = RingReader.attach(instance, NAME, start="oldest")
    assert reader.poll().dtype == SMALL.dtype
    reader.close()


def test_reader_of_another_layout_is_refused(instance, ring):
    with pytest.raises(LayoutMismatch, match="expects test_large v1"):
        RingReader.attach(instance, NAME, LARGE)


def test_reader_of_nothing_is_refused(instance):
    with pytest.raises(SegmentNotFound, match="does not exist"):
        RingReader.attach(instance, NAME)


def test_second_writer_is_refused(instance, ring):
    with pytest.raises(WriterExists, match="is being written by process"):
        RingWriter.open(instance, NAME, SMALL, 8)


@pytest.mark.parametrize("capacity", [0, 1, 3, 1000])
def test_capacity_must_be_a_power_of_two(instance, capacity):
    with pytest.raises(SegmentError, match=f"power of two, was {capacity}"):
        RingWriter.open(instance, NAME, SMALL, capacity)


def test_views_outlive_the_reader_and_do_not_hold_the_lock(instance, ring, tail):
    ring.publish_many(records(SMALL, [5]))
    reader = RingReader.attach(instance, NAME, start="oldest")
    batch, slots = reader.poll(), ring.slots
    reader.close()
    successor = tail()
    assert values(batch) == [(1, 5)]
    assert len(slots) == 8
    assert successor.newest == 1


def test_record_of_a_writer_that_died_in_the_middle_is_never_read(ring, reader, tail):
    ring.publish_many(records(SMALL, range(11)))
    at = begin(ring.words, ring.stride, ring.capacity, 12)
    ring.words[at + 1] = 666
    successor = tail()
    assert successor.newest == 11
    assert successor.segment.epoch == 2
    assert reader.newest == 11
    seen = values(reader.poll()) + values(reader.poll())
    assert seen[-1] == (11, 10)
    successor.publish_many(records(SMALL, [77]))
    assert values(reader.poll()) == [(12, 77)]


@pytest.mark.parametrize("unreported", [1, 7, 8, 9, 16, 37])
@pytest.mark.parametrize("dies_in_the_middle", [False, True])
def test_cursor_that_lags_does_not_let_a_sequence_be_used_twice(
    ring, tail, unreported, dies_in_the_middle
):
    ring.publish_many(records(SMALL, range(3)))
    for sequence in range(4, 4 + unreported):
        commit(ring.words, begin(ring.words, ring.stride, ring.capacity, sequence), sequence)
    if dies_in_the_middle:
        begin(ring.words, ring.stride, ring.capacity, 4 + unreported)
    assert tail().newest == 3 + unreported


def test_reader_survives_its_writer(ring, reader, tail):
    ring.publish_many(records(SMALL, [1]))
    assert values(reader.poll()) == [(1, 1)]
    tail().publish_many(records(SMALL, [2]))
    assert values(reader.poll()) == [(2, 2)]


def test_finish_moves_the_cursor_to_what_a_kernel_published(ring, reader):
    source = records(SMALL, [8, 9]).view(np.int64)
    cells = np.zeros(512, np.int64)
    ring.finish(write_many(cells, ring.words, ring.stride, ring.capacity, 0, source, 2))
    assert ring.cells[CURSOR] == 2
    assert values(reader.poll()) == [(1, 8), (2, 9)]


def test_flow_and_frame_rings_may_be_watched_but_a_table_may_not(instance):
    table = TableWriter.open(instance, "test.table", ROW, 4)
    with pytest.raises(SegmentError, match="is a TABLE"):
        RingReader.attach(instance, "test.table")
    table.close()
