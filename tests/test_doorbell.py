"""The doorbell: whoever parks is woken, and ringing for nobody costs no system call."""

import os
import threading
from pathlib import Path

import pytest

from engine.doorbell import BELL, WAITERS, Doorbell, bell_name
from engine.errors import SegmentForbidden
from engine.ring import RingReader, RingWriter
from tests.records import SMALL, records

FOREVER_S = 30.0
NOBODY = 65_534
SHM = Path("/dev/shm")


@pytest.fixture
def bell(instance):
    bell = Doorbell.open(instance, "md.trades")
    yield bell
    bell.close()


def parked(bell):
    """Start a thread that parks on the bell; return it and its announcement's event."""
    announced = threading.Event()

    def park():
        token = bell.prepare()
        announced.set()
        bell.wait(token, FOREVER_S)

    thread = threading.Thread(target=park, daemon=True)
    thread.start()
    assert announced.wait(5)
    return thread


@pytest.mark.parametrize(
    ("ring", "name"),
    [("md.trades", "md.bell"), ("md.raw.okx", "md.raw.bell"), ("alone", "bell")],
)
def test_rings_of_a_family_share_a_bell(ring, name):
    assert bell_name(ring) == name


def test_parked_thread_is_woken(instance, bell):
    thread = parked(bell)
    other = Doorbell.open(instance, "md.top")
    other.ring()
    thread.join(5)
    assert not thread.is_alive()
    other.close()


def test_all_who_are_parked_are_woken(bell):
    threads = [parked(bell) for _ in range(3)]
    bell.ring()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_ring_after_the_announcement_is_not_slept_through(bell):
    token = bell.prepare()
    bell.ring()
    bell.wait(token, FOREVER_S)


def test_wait_ends_by_itself(bell):
    bell.wait(bell.prepare(), 0.001)


def test_nobody_waiting_means_nothing_is_done(bell):
    before = int(bell.cells[BELL])
    bell.ring()
    assert bell.cells[BELL] == before


def test_waiting_is_taken_note_of_once(bell):
    bell.prepare()
    assert bell.cells[WAITERS] == 1
    bell.ring()
    assert bell.cells[WAITERS] == 0


@pytest.fixture
def forbidden(instance, bell):
    """Return the instance of a bell that this process may read and not write."""
    (SHM / f"{instance}.{bell.segment.name}").chmod(0o444)
    user = os.geteuid()
    if user == 0:  # Nothing is forbidden to root.
        os.seteuid(NOBODY)
    yield instance
    os.seteuid(user)


def test_who_may_only_read_the_bell_polls(forbidden, bell):
    reader = Doorbell.open(forbidden, "md.trades")
    reader.wait(reader.prepare(), FOREVER_S)  # Returns by itself.
    reader.ring()
    assert bell.cells[WAITERS] == bell.cells[BELL] == 0
    reader.close()


def test_who_is_to_ring_and_may_not_is_told(forbidden):
    with pytest.raises(SegmentForbidden, match="may not be written by this user"):
        Doorbell.open(forbidden, "md.trades", rings=True)


@pytest.mark.parametrize("lane", ["single", "many"])
def test_publication_wakes_a_reader_that_parks(instance, lane):
    ring = RingWriter.open(instance, "md.trades", SMALL, 8)
    reader = RingReader.attach(instance, "md.trades")
    bell = Doorbell.open(instance, "md.trades")
    thread = parked(bell)
    if lane == "single":
        ring.publish(records(SMALL, [1]))
    else:
        ring.publish_many(records(SMALL, [1]))
    thread.join(5)
    assert not thread.is_alive()
    assert len(reader.poll()) == 1
    for each in (reader, ring, bell):
        each.close()
