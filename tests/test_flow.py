"""The flow-controlled ring: nothing is lost, and whoever is left behind is told."""

import itertools
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ReaderLost, RingFull, SegmentError, WriterExists
from engine.flow import FlowReader, FlowWriter, cursor_name
from engine.ring import RingReader
from engine.segment import list_segments, unlink_segment
from tests.naive_ring import NaiveFlow
from tests.records import SMALL, records, values

pytestmark = pytest.mark.kernels

NAME = "test.flow"
_names = (f"hypflow{os.getpid()}-{n}" for n in itertools.count())


def opened(instance, readers=("a",), capacity=4, **options):
    return FlowWriter.open(instance, NAME, SMALL, capacity, readers, bell=False, **options)


def attached(instance, name="a"):
    return FlowReader.attach(instance, NAME, name, SMALL)


@pytest.fixture
def ring(instance):
    writer = opened(instance)
    yield writer
    writer.close()


WHO = st.sampled_from(["a", "b"])
STEPS = (
    st.just(("publish", "", 1))
    | st.tuples(st.just("batch"), st.just(""), st.integers(1, 6))
    | st.tuples(st.sampled_from(["poll", "poll", "advance", "die"]), WHO, st.integers(1, 5))
    | st.just(("writer dies", "", 0))
)


@given(st.lists(STEPS, max_size=50))
def test_every_reader_sees_everything_whatever_dies(steps):
    instance, naive = next(_names), NaiveFlow(4, "ab")
    writer = opened(instance, ("a", "b"))
    readers = {name: attached(instance, name) for name in "ab"}
    try:
        for step, name, count in steps:
            if step == "publish":
                accepted = writer.try_publish(records(SMALL, [len(naive.records)]))
                assert accepted == naive.try_publish(len(naive.records))
            elif step == "batch":
                first = len(naive.records)
                accepted = writer.try_publish_many(records(SMALL, range(first, first + count)))
                assert [naive.try_publish(first + i) for i in range(count)] == [True] * accepted + [
                    False
                ] * (count - accepted)
            elif step == "poll":
                position = readers[name].position
                got = values(readers[name].poll(count))
                assert got == [(n, n - 1) for n in range(position, position + len(got))]
                assert got or position == len(naive.records) + 1
            elif step == "advance":
                readers[name].advance()
                naive.done[name] = readers[name].position - 1
            elif step == "die":
                readers[name].close()
                readers[name] = attached(instance, name)
                assert readers[name].position == naive.done[name] + 1
            else:
                writer.close()
                writer = opened(instance, ("a", "b"))
    finally:
        for each in (*readers.values(), writer):
            each.close()
        for _, segment in list_segments(instance):
            unlink_segment(instance, segment)


def test_full_ring_names_the_slowest_reader(instance):
    ring = opened(instance, ("fast", "slow"))
    fast = attached(instance, "fast")
    ring.publish_many(records(SMALL, range(4)))
    fast.poll()
    fast.advance()
    with pytest.raises(RingFull, match=r"reader 'slow' \(not running\) is 4 records behind"):
        ring.publish(records(SMALL, [9]), timeout_s=0.01)
    assert ring.newest == 4
    assert ring.lagging() == {"fast": 1, "slow": 4}
    fast.close()
    ring.close()


def test_full_ring_says_what_it_took(ring):
    with pytest.raises(RingFull):
        ring.publish_many(records(SMALL, range(6)), timeout_s=0.01)
    assert ring.newest == 4


def test_reader_that_never_came_holds_its_place(instance, ring):
    assert ring.try_publish_many(records(SMALL, range(9))) == 4
    late = attached(instance)
    assert values(late.poll()) == [(1, 0), (2, 1), (3, 2)]
    assert not ring.try_publish(records(SMALL, [4]))
    late.advance()
    assert ring.try_publish_many(records(SMALL, range(4, 9))) == 3
    late.close()


def test_what_was_polled_stays_until_advance(instance, ring):
    reader = attached(instance)
    ring.try_publish_many(records(SMALL, range(4)))
    batch = reader.poll()
    assert ring.try_publish_many(records(SMALL, range(4))) == 0
    assert values(batch) == [(1, 0), (2, 1), (3, 2)]
    reader.close()


def test_reader_sees_again_what_it_had_not_done_with(instance, ring):
    ring.try_publish_many(records(SMALL, range(3)))
    reader = attached(instance)
    reader.poll(1)
    reader.advance()
    reader.poll()
    reader.close()
    again = attached(instance)
    assert values(again.poll()) == [(2, 1), (3, 2)]
    again.close()


def test_two_processes_cannot_be_the_same_reader(instance, ring):
    reader = attached(instance)
    with pytest.raises(WriterExists):
        attached(instance)
    reader.close()


def test_unknown_reader_is_refused(instance, ring):
    with pytest.raises(SegmentError, match=r"no reader 'x' \(it has: a\)"):
        attached(instance, "x")


@pytest.mark.parametrize("readers", [(), ("a", "a"), tuple(str(n) for n in range(17))])
def test_readers_must_be_a_few_different_names(instance, readers):
    with pytest.raises(SegmentError, match="different readers"):
        opened(instance, readers)


def test_living_reader_cannot_be_evicted(instance, ring):
    reader = attached(instance)
    with pytest.raises(SegmentError, match="lives: stop it first"):
        ring.evict("a")
    ring.try_publish_many(records(SMALL, range(9)))
    assert ring.newest == 4
    reader.close()


def test_evicted_reader_is_told_what_it_lost_and_goes_on_at_the_end(instance, ring):
    attached(instance).close()
    ring.try_publish_many(records(SMALL, range(4)))
    ring.evict("a")
    assert ring.try_publish_many(records(SMALL, range(4, 8))) == 4
    with pytest.raises(ReaderLost, match="8 records are lost to it"):
        attached(instance)
    back = attached(instance)
    ring.publish(records(SMALL, [8]))
    assert values(back.poll()) == [(9, 8)]
    back.close()


def test_evicted_reader_that_had_missed_nothing_is_not_told(instance, ring):
    attached(instance).close()
    ring.evict("a")
    back = attached(instance)
    ring.publish(records(SMALL, [0]))
    assert values(back.poll()) == [(1, 0)]
    back.close()


def test_reader_that_returns_holds_the_writer_back_again(instance, ring):
    attached(instance).close()
    ring.evict("a")
    for _ in range(3):
        ring.try_publish_many(records(SMALL, range(4)))
    with pytest.raises(ReaderLost):
        attached(instance).poll()
    back = attached(instance)
    published = ring.newest
    for _ in range(3):
        ring.try_publish_many(records(SMALL, range(4)))
    assert ring.newest - published <= 4
    assert len(back.poll()) > 0
    back.close()


def test_reader_that_is_lapped_before_it_is_noticed_is_told_once(instance, ring):
    attached(instance).close()
    ring.evict("a")
    back = attached(instance)
    ring.segment.cells[64] = 3  # Evicted, whatever the writer saw since.
    ring.room = 100
    ring.try_publish_many(records(SMALL, range(9)))
    with pytest.raises(ReaderLost):
        back.poll()
    again = attached(instance)
    ring.publish(records(SMALL, [1]))
    assert values(again.poll()) == [(10, 1)]
    again.close()


def test_writer_goes_on_without_a_dead_reader_if_that_is_its_policy(instance):
    ring = opened(instance, evict_after_s=0.0)
    ring.publish_many(records(SMALL, range(12)))
    assert ring.newest == 12
    with pytest.raises(ReaderLost):
        attached(instance).poll()
    ring.close()


def test_successor_keeps_the_readers_places(instance, ring):
    reader = attached(instance)
    ring.try_publish_many(records(SMALL, range(3)))
    reader.poll(1)
    reader.advance()
    ring.close()
    successor = opened(instance)
    assert successor.try_publish_many(records(SMALL, range(3, 9))) == 2
    assert values(reader.poll()) == [(2, 1), (3, 2)]
    reader.close()
    successor.close()


def test_successor_with_other_readers_keeps_those_that_it_knows(instance):
    first = opened(instance, ("a", "b"))
    first.try_publish_many(records(SMALL, range(3)))
    first.close()
    second = opened(instance, ("c", "b"))
    assert second.lagging() == {"c": 0, "b": 3}
    second.close()


def test_crash_while_readers_are_renamed_loses_none(instance):
    first = opened(instance, ("a", "b"))
    first.try_publish_many(records(SMALL, range(3)))
    attached(instance, "b").close()
    first.segment.write_text(3584, "")
    first.close()
    second = opened(instance, ("c", "b"))
    assert second.lagging()["b"] == 3
    second.close()


def test_cursor_that_was_made_anew_is_found(instance, ring):
    attached(instance).close()
    ring.refresh()
    unlink_segment(instance, cursor_name(NAME, "a"))
    reader = attached(instance)
    ring.try_publish_many(records(SMALL, range(4)))
    reader.poll()
    reader.advance()
    assert ring.refresh() == 3 + 4
    reader.close()


def test_position_of_an_earlier_ring_is_not_believed(instance, ring):
    reader = attached(instance)
    for _ in range(3):
        ring.publish_many(records(SMALL, range(3)))
        while len(reader.poll()):
            reader.advance()
    reader.close()
    ring.close()
    unlink_segment(instance, NAME)
    remade = opened(instance)
    assert remade.try_publish_many(records(SMALL, range(9))) == 4
    again = attached(instance)
    assert values(again.poll(2)) == [(1, 0), (2, 1)]
    again.close()
    remade.close()


def test_anyone_may_watch(instance, ring):
    watcher = RingReader.attach(instance, NAME)
    ring.publish(records(SMALL, [1]))
    assert values(watcher.poll()) == [(1, 1)]
    watcher.close()


DYING_READER = """
import sys
from engine.flow import FlowReader
reader = FlowReader.attach(sys.argv[1], "test.flow", "a")
print(len(reader.poll(2)), flush=True)
reader.advance()
reader.poll(1)
print("polled", flush=True)
sys.stdin.read()
"""


@pytest.mark.processes
def test_reader_that_is_killed_resumes_behind_what_it_had_done(instance, ring):
    ring.try_publish_many(records(SMALL, range(4)))
    with subprocess.Popen(
        [sys.executable, "-c", DYING_READER, instance],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        assert process.stdout.readline() == b"2\n"
        assert process.stdout.readline() == b"polled\n"
        with pytest.raises(SegmentError, match="lives"):
            ring.evict("a")
        process.send_signal(signal.SIGKILL)
    again = attached(instance)
    assert values(again.poll()) == [(3, 2)]
    again.close()
