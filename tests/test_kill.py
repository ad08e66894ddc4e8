"""Processes killed with SIGKILL while everything runs: the others go on, the dead come back."""

import json
import os
import signal
import time
import urllib.request
from contextlib import contextmanager

import pytest

from engine.config import parse
from engine.segment import list_segments, unlink_segment
from engine.supervisor import Supervisor
from oms.demo import free_port
from oms.demo_config import STRATEGIES, DemoOptions, build_config, feed_name
from oms.observe import Observer

pytestmark = [pytest.mark.processes]

VENUES = ("binance_usdm", "binance_spot", "okx", "bybit")
BOOKS = 10
WAIT_S = 60.0


class System:
    """The demo's processes, a supervisor in this one, and an outside look at them."""

    def __init__(self, supervisor, port):
        self.supervisor, self.port = supervisor, port
        self.observer = Observer(supervisor.config.instance)

    def wait(self, true, what):
        """Supervise until ``true(sample)``; return the sample."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.supervisor.poll()
            sample = self.observer.sample()
            if true(sample):
                return sample
            time.sleep(0.05)
        states = {book.instrument.key: book.state.name for book in sample.books}
        raise AssertionError(f"{what}: not within {WAIT_S} s; {states}")

    def wait_up(self):
        """Wait until all processes are ready and all books live."""
        self.wait(lambda _: self.supervisor.ready(), "all processes ready")
        return self.wait(lambda s: sum(b.valid for b in s.books) == BOOKS, "all books live")

    def pids(self):
        return {name: child.pid for name, child in self.supervisor.children.items()}

    def kill(self, name):
        """Kill a process, wait for its successor, and return the samples before and after."""
        before, pids = self.wait_up(), self.pids()
        os.kill(pids[name], signal.SIGKILL)
        self.wait(lambda _: self.pids()[name] not in (0, pids[name]), f"{name} back")
        after = self.wait_up()
        now = self.pids()
        assert {n: p for n, p in now.items() if n != name} == {
            n: p for n, p in pids.items() if n != name
        }
        restarts = [s.counters["supervisor"][f"{name}.restarts"] for s in (before, after)]
        assert restarts[1] == restarts[0] + 1
        return before, after

    def control(self, method, path):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/control/{path}", method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def assert_books_are_the_venues(self):
        """Hold every book against the simulator's own, while nothing moves."""
        self.control("POST", "pause")
        try:
            self.wait(self._agree, "books equal to the venue's")
        finally:
            self.control("POST", "resume")

    def _agree(self, sample):
        venues = self.control("GET", "state?levels=5")["venues"]
        for book in sample.books:
            truth = venues[book.instrument.venue]["symbols"][book.instrument.native]
            ours = [[float(p), float(q)] for p, q in book.bids[:5] + book.asks[:5]]
            theirs = [[float(p), float(q)] for p, q in truth["bids"] + truth["asks"]]
            if not book.valid or ours != theirs:
                return False
        return True

    def assert_flowing(self, *names):
        """Check that records go on reaching these strategies."""
        start = self.observer.sample()
        for name in names:
            before = start.counters[name]["md.top.records"]
            self.wait(lambda s, n=name, b=before: s.counters[n]["md.top.records"] > b, name)


@contextmanager
def running(instance):
    options = DemoOptions(instance=instance, venues=VENUES, rate=400.0)
    port = free_port()
    with open(os.devnull, "wb") as nowhere:
        supervisor = Supervisor(parse(build_config(options, port)), output=nowhere)
        try:
            supervisor.start()
            yield System(supervisor, port)
        finally:
            supervisor.stop()
            for _, name in list_segments(instance):
                unlink_segment(instance, name)


@pytest.fixture(scope="module")
def system():
    with running(f"kill{os.getpid()}") as system:
        yield system
        system.observer.close()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_killed_strategy_comes_back_and_nobody_else_notices(system, name):
    before, after = system.kill(name)
    system.assert_flowing(*STRATEGIES)
    assert [b.epoch for b in after.books] == [b.epoch for b in before.books]
    assert sum(b.gaps for b in after.books) == sum(b.gaps for b in before.books)


def test_after_the_worker_was_killed_books_are_the_venues_again(system):
    before, after = system.kill("worker")
    system.assert_books_are_the_venues()
    system.assert_flowing(*STRATEGIES)
    for book, old in zip(after.books, before.books, strict=True):
        assert book.instrument == old.instrument
        assert book.epoch > old.epoch


def test_strategies_see_the_new_writer_without_attaching_again(system):
    before, _ = system.kill("worker")
    for name in STRATEGIES:
        old = before.counters[name]["md.top.epoch"]
        system.wait(
            lambda s, n=name, o=old: s.counters[n]["md.top.epoch"] == o + 1, "new epoch seen"
        )


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit"])
def test_after_a_feed_was_killed_its_books_are_the_venues_again_and_the_others_untouched(
    system, venue
):
    before, after = system.kill(feed_name(venue))
    system.wait(
        lambda s: all(
            book.epoch > old.epoch
            for book, old in zip(s.books, before.books, strict=True)
            if book.instrument.venue == venue
        ),
        "new epochs",
    )
    system.assert_books_are_the_venues()
    for book, old in zip(after.books, before.books, strict=True):
        if book.instrument.venue != venue:
            assert (book.epoch, book.gaps) == (old.epoch, old.gaps)


def test_a_killed_venue_is_waited_for(system):
    before, _ = system.kill("simulator")
    system.wait(
        lambda s: all(b.epoch > o.epoch for b, o in zip(s.books, before.books, strict=True)),
        "new epochs",
    )
    system.wait_up()
    system.assert_books_are_the_venues()


def test_nothing_crossed_was_ever_called_live_and_nobody_was_overrun(system):
    sample = system.wait_up()
    assert sample.counters["strategy-jitted"]["crossed_live_tops"] == 0
    assert sample.counters["strategy-python"]["own_book.mismatches"] == 0
    assert sample.total("overruns", "lost", "torn") == 0
