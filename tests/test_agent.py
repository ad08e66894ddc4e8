"""Processes and their agents: duty cycle, event loop, signals, failures. Real processes."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from engine import agent as agents
from engine import config
from engine.counters import CountersReader, CountersWriter
from engine.errors import ConfigError

WAIT_S = 60


class Runner:
    """``trade-infra run`` on a configuration of one process, with the toy agents."""

    def __init__(self, folder, environment, instance):
        self.notes, self.file = folder / "notes", folder / "config.json"
        self.environment, self.instance = environment, instance
        self.started = []

    def start(self, *tables, environment=None, **process):
        tables = [table | {"notes": str(self.notes)} for table in tables]
        each = {"name": "p", "agents": tables} | process
        logging_ = {"format": "json"}
        data = {"instance": self.instance, "process": [each], "logging": logging_}
        self.file.write_text(json.dumps(data))
        command = [sys.executable, "-m", "engine.cli", "run", str(self.file), "p"]
        started = subprocess.Popen(
            command,
            env=self.environment | (environment or {}),
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self.started.append(started)
        return started

    def lines(self):
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def wait_ready(self, process):
        CountersReader.attach(self.instance, "p", wait_s=WAIT_S).close()
        until(lambda: self.counters().get("ready") == 1, process)

    def counters(self):
        reader = CountersReader.attach(self.instance, "p")
        try:
            return reader.counters()
        finally:
            reader.close()


def until(true, process=None):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture
def runner(tmp_path, plugin, instance):
    runner = Runner(tmp_path, plugin, instance)
    yield runner
    for process in runner.started:
        process.kill()
        process.communicate()


def end(process, number=signal.SIGTERM):
    process.send_signal(number)
    return finish(process)


def finish(process):
    errors = process.communicate(timeout=WAIT_S)[1]
    events = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    return process.returncode, events


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_duty_cycle_stops_clean_on_a_signal(runner, number):
    process = runner.start({"kind": "ticker"})
    runner.wait_ready(process)
    until(lambda: runner.counters()["ticks"] > 0, process)
    code, events = end(process, number)
    assert code == 0
    assert runner.lines() == [f"p start {process.pid}", "p close"]
    assert [e["event"] for e in events][-1] == "stopped"


@pytest.mark.processes
def test_agents_share_a_duty_cycle_in_one_process_and_close_in_reverse(runner):
    process = runner.start({"kind": "ticker", "name": "a"}, {"kind": "ticker", "name": "b"})
    runner.wait_ready(process)
    code, _ = end(process)
    assert code == 0
    pid = process.pid
    assert runner.lines() == [f"a start {pid}", f"b start {pid}", "b close", "a close"]


@pytest.mark.processes
def test_a_failing_agent_is_logged_with_its_traceback_and_ends_the_process(runner):
    process = runner.start({"kind": "ticker", "name": "a"}, {"kind": "ticker", "fail": True})
    code, events = finish(process)
    assert code == agents.EXIT_AGENT_FAILED
    failure = next(e for e in events if e["event"] == "agent failed")
    assert failure["logger"] == "p-ticker"
    assert "ValueError: the agent is broken" in failure["traceback"]
    assert runner.lines()[-2:] == ["p-ticker close", "a close"]


@pytest.mark.processes
def test_a_signal_interrupts_agents_that_wait_while_starting(runner):
    process = runner.start({"kind": "ticker", "start_s": 1000})
    until(runner.lines, process)
    code, _ = end(process)
    assert code == 0
    assert runner.lines()[-1] == "p close"


@pytest.mark.processes
def test_asynchronous_agents_share_a_loop_and_stop_clean(runner):
    process = runner.start({"kind": "sleeper", "name": "a"}, {"kind": "sleeper", "name": "b"})
    runner.wait_ready(process)
    until(lambda: len(runner.lines()) == 2, process)
    code, _ = end(process)
    assert code == 0
    assert sorted(runner.lines()[2:]) == ["a close", "b close"]


@pytest.mark.processes
def test_a_failing_asynchronous_agent_stops_the_others(runner):
    process = runner.start({"kind": "sleeper", "name": "a"}, {"kind": "sleeper", "fail": True})
    code, events = finish(process)
    assert code == agents.EXIT_AGENT_FAILED
    assert "ValueError" in next(e for e in events if e["event"] == "agent failed")["traceback"]
    assert runner.lines()[-1] == "a close"


@pytest.mark.processes
def test_a_process_ends_when_its_asynchronous_agents_are_done(runner):
    assert finish(runner.start({"kind": "sleeper", "brief": True}))[0] == 0


@pytest.mark.processes
def test_a_process_whose_supervisor_is_gone_does_not_start(runner):
    process = runner.start({"kind": "ticker"}, environment={agents.SUPERVISOR_PID: "1"})
    code = process.wait(WAIT_S)
    assert code == 1
    assert "the supervisor (process 1) is gone" in process.stderr.read()


@pytest.mark.processes
def test_the_second_process_of_a_name_is_refused(runner):
    first = runner.start({"kind": "ticker"})
    runner.wait_ready(first)
    code, events = finish(runner.start({"kind": "ticker"}))
    assert code == 1
    assert any("is being written by process" in e["event"] for e in events)
    assert end(first)[0] == 0


@pytest.fixture
def toys(plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin["PYTHONPATH"].split(os.pathsep)[0])
    yield
    sys.modules.pop("toys", None)


@pytest.fixture
def make(instance, toys):
    """Make the agents of a process' tables in this process."""
    writer = CountersWriter.open(instance, "p")

    def make(*tables):
        parsed = config.parse({"process": [{"name": "p", "agents": list(tables)}]})
        return agents.make_agents(parsed, parsed.processes[0], writer)

    yield make
    writer.close()


def test_the_two_sorts_of_agents_do_not_mix(make):
    with pytest.raises(ConfigError, match=r"process\.p\.agents.*cannot share a process"):
        make({"kind": "ticker"}, {"kind": "sleeper"})


def test_an_unknown_kind_is_named_with_the_known_ones(make):
    with pytest.raises(ConfigError, match=r"agents\[0\]\.kind: found 'tikcer'.*ticker"):
        make({"kind": "tikcer"})


def test_an_agent_gets_its_own_settings_name_and_place(make):
    made = make({"kind": "ticker", "name": "x", "size": 5}, {"kind": "ticker"})
    first, second = (agent.context for agent in made)
    assert (first.name, first.settings, first.where) == ("x", {"size": 5}, "process.p.agents[0]")
    assert (second.name, second.settings) == ("p-ticker", {})
    assert first.log is logging.getLogger("x")


class Counting:
    """Counts what a duty cycle does with it, and asks it to stop after some cycles."""

    name = "counting"

    def __init__(self, stop, cycles):
        self.stop, self.cycles, self.beats, self.ended = stop, cycles, 0, threading.Event()

    def start(self):
        assert self.stop.starting

    def do_work(self):
        assert not self.stop.starting
        self.cycles -= 1
        self.stop.requested = self.cycles == 0
        return 1

    def heartbeat(self):
        self.beats += 1

    def close(self):
        self.ended.set()


def test_a_duty_cycle_beats_its_agents_and_the_counters_segment(instance):
    counters = CountersWriter.open(instance, "p")
    stop = agents.Stop()
    agent = Counting(stop, 10)
    before = counters.segment.cells[19]
    assert agents.DutyCycle([agent], counters).run(stop, "spin", lambda: None) == 0
    assert agent.beats >= 1
    assert agent.ended.is_set()
    assert counters.segment.cells[19] > before
    counters.close()
