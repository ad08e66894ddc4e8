"""The supervisor: starts, restarts, stops and cleans up real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import config
from engine import supervisor as supervision
from engine.agent import run_process
from engine.counters import CountersReader, CountersWriter
from engine.errors import TradeInfraError
from engine.segment import list_segments
from engine.supervisor import Supervisor

pytestmark = pytest.mark.processes
WAIT_S = 60


def until(true):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def runs(pid):
    """Return whether a process runs: a zombie of another parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


@pytest.fixture
def make(instance, notes, plugin, monkeypatch):
    """Make a configuration of toy processes; the environment has their package."""
    monkeypatch.setenv("PYTHONPATH", plugin["PYTHONPATH"])
    monkeypatch.setenv("NUMBA_DISABLE_JIT", plugin["NUMBA_DISABLE_JIT"])
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)

    def make(*processes, **top):
        tables = []
        for process in processes:
            name, kind, settings = process
            agent = {"kind": kind, "notes": str(notes)} | settings
            restart = agent.pop("restart", True)
            tables.append({"name": name, "restart": restart, "agents": [agent]})
        return config.parse({"instance": instance, "process": tables} | top)

    return make


@pytest.fixture
def supervise():
    """Start a supervisor that is stopped at the end, whatever happens."""
    started = []

    def supervise(parsed):
        supervisor = Supervisor(parsed)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield supervise
    for supervisor in started:
        supervisor.stop()


def restarts(instance, name):
    reader = CountersReader.attach(instance, "supervisor")
    try:
        return reader.counters()[f"{name}.restarts"]
    finally:
        reader.close()


def test_processes_start_and_stop_in_reverse_and_leave_nothing(make, supervise, instance, notes):
    supervisor = supervise(make(("one", "ticker", {}), ("two", "sleeper", {})))
    assert supervisor.ready(WAIT_S)
    supervisor.stop()
    assert notes.read_text().splitlines()[2:] == ["two close", "one close"]
    assert list_segments(instance) == []
    assert [child.exit_code for child in supervisor.children.values()] == [0, 0]


def test_segments_are_kept_on_request(make, supervise, instance):
    supervisor = supervise(make(("one", "ticker", {}), keep_segments=True))
    assert supervisor.ready(WAIT_S)
    supervisor.stop()
    assert (instance, "ctr.one") in list_segments(instance)


def test_a_killed_process_comes_back_and_is_counted_while_others_go_on(make, supervise, instance):
    supervisor = supervise(make(("one", "ticker", {}), ("two", "ticker", {})))
    assert supervisor.ready(WAIT_S)
    one, two = (supervisor.children[name].pid for name in ("one", "two"))
    os.kill(one, signal.SIGKILL)
    until(lambda: supervisor.poll())
    assert supervisor.ready(WAIT_S)
    assert supervisor.children["one"].pid not in (0, one)
    assert supervisor.children["two"].pid == two
    assert restarts(instance, "one") == 1
    assert restarts(instance, "two") == 0


def test_a_process_that_keeps_failing_is_restarted_ever_later(make, supervise):
    supervisor = supervise(make(("one", "ticker", {"fail": True})))
    child = supervisor.children["one"]
    until(lambda: supervisor.poll() and child.restarts >= 1)
    assert child.exit_code == 1
    assert child.backoff_s == 4 * supervision.BACKOFF_MIN_S
    assert supervisor.alive


def test_a_process_that_cannot_work_is_given_up_while_others_go_on(make, supervise, caplog):
    supervisor = supervise(make(("one", "sleeper", {"impossible": True}), ("two", "ticker", {})))
    child = supervisor.children["one"]
    until(lambda: child in supervisor.poll())
    assert supervisor.given_up == ["one"]
    assert (child.exit_code, child.due, child.restarts) == (4, None, 0)
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        "one given up: its configuration cannot work"
    ]
    supervisor.poll()
    assert child.pid == 0
    assert supervisor.alive
    assert supervisor.children["two"].running is not None


def test_a_process_without_restart_stays_dead(make, supervise):
    supervisor = supervise(make(("one", "sleeper", {"brief": True, "restart": False})))
    until(lambda: supervisor.poll())
    assert not supervisor.alive
    assert supervisor.ready()
    assert supervisor.children["one"].exit_code == 0


def test_a_second_supervisor_of_the_instance_is_refused(make, supervise):
    parsed = make(("one", "ticker", {}))
    supervise(parsed)
    with pytest.raises(TradeInfraError, match="already supervised"):
        Supervisor(parsed).start()


def test_a_stopped_process_is_killed_after_its_grace(make, supervise, monkeypatch):
    monkeypatch.setattr(supervision, "STOP_GRACE_S", 0.2)
    supervisor = supervise(make(("one", "ticker", {})))
    assert supervisor.ready(WAIT_S)
    os.kill(supervisor.children["one"].pid, signal.SIGSTOP)
    supervisor.stop()
    assert supervisor.children["one"].exit_code == -signal.SIGKILL


def test_a_segment_with_a_live_writer_survives_the_cleaning(make, supervise, instance):
    outsider = CountersWriter.open(instance, "outsider")
    supervisor = supervise(make(("one", "ticker", {})))
    supervisor.stop()
    assert list_segments(instance) == [(instance, "ctr.outsider")]
    outsider.close()


def test_a_process_that_is_not_configured_is_named(make):
    with pytest.raises(TradeInfraError, match=r"'two' is not in the configuration.*one"):
        run_process(make(("one", "ticker", {})), "two")


class Up:
    """``trade-infra up`` in a process of its own."""

    def __init__(self, parsed, folder):
        path = folder / "up.json"
        config.save(parsed, path)
        command = [sys.executable, "-m", "engine.cli", "up", str(path)]
        environment = os.environ | {"TRADE_INFRA__LOGGING__FORMAT": "json"}
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(
            command, env=environment, stderr=self.errors, start_new_session=True
        )

    def events(self):
        self.errors.seek(0)
        return [json.loads(line) for line in self.errors.read().splitlines() if line[:1] == "{"]

    def event(self, name):
        until(lambda: any(e["event"] == name for e in self.events()))
        return [e for e in self.events() if e["event"] == name]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


@pytest.fixture
def up(make, tmp_path):
    made = Up(make(("one", "ticker", {}), ("two", "sleeper", {})), tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_ends_clean_on_a_signal(up, number, instance):
    up.event("all ready")
    up.process.send_signal(number)
    assert up.process.wait(WAIT_S) == 0
    stopped = [e["process"] for e in up.events() if e["event"] == "stopped"]
    assert stopped == ["two", "one"]
    assert list_segments(instance) == []


def test_processes_stop_when_their_supervisor_is_killed(up, notes):
    up.event("all ready")
    pids = [e["pid"] for e in up.event("process started")]
    up.process.kill()
    up.process.wait()
    until(lambda: not any(runs(pid) for pid in pids))
    assert sorted(notes.read_text().splitlines()[2:]) == ["one close", "two close"]


def test_up_refuses_what_it_cannot_run(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[[process]]\nname = "a"\nagents = [{ kind = "nothing" }]')
    command = [sys.executable, "-m", "engine.cli", "up", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "process[0].agents[0].kind: found 'nothing'" in done.stderr
