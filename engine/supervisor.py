"""Starting the processes of a configuration, keeping them alive, stopping them in order.

Every process runs ``trade-infra run`` in a session of its own, so that Ctrl-C in the terminal
reaches only the supervisor, which then stops them one by one, last first. A process that ends
without being told to is started again, nearly at once the first time, then after a delay that
doubles up to half a minute, with jitter; the delay is short again once the process has stayed up.
One that says that its configuration cannot work (exit code 4) is given up; the others go on.
Restarts are counted in the segment ``ctr.supervisor``, whose writer's lock also keeps a second
supervisor of the same instance away.

Processes do not wait for each other to start; agents wait for what they need, as they must after
any restart. If the supervisor itself is killed, the kernel sends its processes SIGTERM.
"""

import argparse
import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from engine import log as logs
from engine import segment as seg
from engine.agent import SUPERVISOR_PID
from engine.cli import add_command
from engine.config import Config, Process, load, overrides, save
from engine.errors import (
    ConfigError,
    SegmentError,
    SegmentNotFound,
    TradeInfraError,
    WriterExists,
)
from engine.rings import use_of

if TYPE_CHECKING:
    from engine.cli import Subparsers

NAME = "supervisor"
BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 30.0
STAYED_UP_S = 10.0
"""A process that has run this long starts its next backoff from the beginning."""
STOP_GRACE_S = 5.0
KILL_WAIT_S = 5.0
POLL_S = 0.1
WATCH_S = 1.0
STALE_NS = 5_000_000_000
"""A live process whose heartbeat is older is reported: it hangs, or is stopped in a debugger."""

__all__ = ["Child", "Supervisor"]

_log = logging.getLogger(NAME)


@dataclass(slots=True)
class Child:
    """One supervised process and its history.

    ``due`` is the moment of its next start on the monotonic clock, in seconds; ``None`` if none is
    planned.
    """

    process: Process
    restarts_index: int
    pid_index: int
    running: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    due: float | None = None
    backoff_s: float = BACKOFF_MIN_S
    restarts: int = 0
    exit_code: int | None = None
    given_up: bool = False
    """It ended because its configuration cannot work: starting it again would not help."""

    @property
    def pid(self) -> int:
        """The process' id; 0 if it is not running."""
        return self.running.pid if self.running else 0


class Supervisor:
    """The processes of one configuration: ``start``, then ``poll`` a few times a second, ``stop``.

    Use it from the main thread: the kernel takes the end of the thread that started a process for
    the death of the supervisor.

    Parameters
    ----------
    config
        What to run.
    path
        The file that ``config`` was read from, for the processes to read. Without one the
        configuration is saved in a temporary file.
    output
        Where the processes' standard error and output go; to ours if ``None``.

    """

    def __init__(
        self, config: Config, path: str | Path | None = None, output: IO[bytes] | int | None = None
    ) -> None:
        self.config = config
        self.children: dict[str, Child] = {}
        self._path, self._output = path, output
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._random = random.Random()
        self._stale: set[str] = set()
        self._watch_due = 0.0
        self._open = False

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Fill the kernel cache and start every process, in order.

        Raises
        ------
        TradeInfraError
            If another supervisor runs this instance.

        """
        from engine.compile import ensure_compiled
        from engine.counters import CountersWriter

        try:
            self.counters = CountersWriter.open(self.config.instance, NAME)
        except WriterExists as error:
            raise TradeInfraError(
                f"instance {self.config.instance!r} is already supervised ({error})"
            ) from None
        self._open = True
        try:
            ensure_compiled()
            if self._path is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="trade-infra-")
                self._path = Path(self._temporary.name) / "config.json"
                save(self.config, self._path)
            for process in self.config.processes:
                restarts = self.counters.counter(f"{process.name}.restarts")
                pid = self.counters.gauge(f"{process.name}.pid")
                self.children[process.name] = child = Child(process, restarts, pid)
                self._spawn(child)
        except BaseException:
            self.stop()
            raise

    def _spawn(self, child: Child) -> None:
        name = child.process.name
        # -P: a folder named engine where the user happens to stand is not ours.
        command = [sys.executable, "-P", "-m", "engine.cli", "run", str(self._path), name]
        child.running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=os.environ | {SUPERVISOR_PID: str(os.getpid())},
            start_new_session=True,
        )
        child.started, child.due = time.monotonic(), None
        self.counters.values[child.pid_index] = child.pid
        _log.info("process started", extra={"child": name, "pid": child.pid})

    def poll(self) -> list[Child]:
        """Beat, reap the dead, start again what is due; return the children that have died."""
        self.counters.heartbeat()
        died = []
        for child in self.children.values():
            if child.running is not None and child.running.poll() is not None:
                self._bury(child)
                died.append(child)
            if child.due is not None and time.monotonic() >= child.due:
                child.restarts += 1
                self.counters.values[child.restarts_index] += 1
                self._spawn(child)
        if time.monotonic() >= self._watch_due:
            self._watch_due = time.monotonic() + WATCH_S
            for child in self.children.values():
                self._watch(child)
        return died

    def _bury(self, child: Child) -> None:
        """Note that a process has ended, and plan its next start."""
        assert child.running is not None
        code, pid = child.running.returncode, child.pid
        child.exit_code, child.running = code, None
        self.counters.values[child.pid_index] = 0
        up_s = time.monotonic() - child.started
        how = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
        about = {"child": child.process.name, "pid": pid, **how, "up_s": round(up_s, 1)}
        if code == ConfigError.exit_code:
            child.given_up = True
            why = f"{child.process.name} given up: its configuration cannot work"
            _log.error(why, extra=about)
            return
        if not child.process.restart:
            _log.log(logging.ERROR if code else logging.INFO, "process ended", extra=about)
            return
        if up_s >= STAYED_UP_S:
            child.backoff_s = BACKOFF_MIN_S
        delay_s = child.backoff_s * self._random.uniform(0.5, 1.5)
        child.backoff_s = min(2 * child.backoff_s, BACKOFF_MAX_S)
        child.due = time.monotonic() + delay_s
        about |= {"restart_in_s": round(delay_s, 2), "restarts": child.restarts}
        _log.warning("process died", extra=about)

    def _watch(self, child: Child) -> None:
        """Report a live process without a heartbeat once, and its recovery."""
        name = child.process.name
        age_ns = self._heartbeat_age_ns(child) if child.running else None
        if age_ns is not None and age_ns > STALE_NS:
            if name not in self._stale:
                self._stale.add(name)
                _log.warning("no heartbeat", extra={"child": name, "age_s": age_ns / 1e9})
        elif name in self._stale:
            self._stale.discard(name)
            _log.info("heartbeat is back", extra={"child": name})

    def _heartbeat_age_ns(self, child: Child) -> int | None:
        try:
            segment = seg.attach(self.config.instance, f"ctr.{child.process.name}")
        except SegmentError:
            return None
        try:
            if segment.cells[seg.WRITER_PID] != child.pid:
                return None
            return time.time_ns() - int(segment.cells[seg.HEARTBEAT_NS])
        finally:
            segment.close()

    @property
    def alive(self) -> bool:
        """Whether some process runs or will be started again."""
        return any(c.running is not None or c.due is not None for c in self.children.values())

    @property
    def given_up(self) -> list[str]:
        """The names of the processes whose configuration cannot work."""
        return [name for name, child in self.children.items() if child.given_up]

    def ready(self, timeout_s: float = 0.0) -> bool:
        """Return whether all processes' agents have started, waiting up to ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not all(self._is_ready(child) for child in self.children.values()):
            if time.monotonic() >= deadline:
                return False
            self.poll()
            time.sleep(POLL_S / 4)
        return True

    def _is_ready(self, child: Child) -> bool:
        from engine.counters import CountersReader

        if child.running is None:
            return child.due is None and child.exit_code == 0
        try:
            reader = CountersReader.attach(self.config.instance, child.process.name)
        except SegmentError:
            return False
        try:
            ours = reader.segment.cells[seg.WRITER_PID] == child.pid
            return bool(ours) and reader.counters().get("ready") == 1
        finally:
            reader.close()

    def stop(self) -> None:
        """Stop every process, last first, and remove the instance's segments (unless kept)."""
        if not self._open:
            return
        self._open = False
        clean = True
        for child in reversed(self.children.values()):
            child.due = None
            clean &= self._end(child)
        self.counters.close()
        if self._temporary is not None:
            self._temporary.cleanup()
        if not self.config.keep_segments:
            self._unlink()
        _log.info("all stopped", extra={"clean": clean})

    def _end(self, child: Child) -> bool:
        """End one process, kindly at first; return whether that was enough."""
        if child.running is None:
            return True
        child.running.terminate()
        kind = True
        try:
            child.running.wait(STOP_GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            kind = False
            _log.warning("process killed: did not stop", extra={"child": child.process.name})
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.running.wait(KILL_WAIT_S)
        child.exit_code, child.running = child.running.returncode, None
        self.counters.values[child.pid_index] = 0
        return kind

    def _unlink(self) -> None:
        instance = self.config.instance
        for _, name in seg.list_segments(instance):
            with contextlib.suppress(SegmentNotFound):
                if reason := use_of(instance, name):  # By a process that was started by hand.
                    _log.warning("segment kept", extra={"segment": name, "reason": reason})
                else:
                    seg.unlink_segment(instance, name)


def notify(state: str) -> None:
    """Tell systemd, if it asked to be told (``Type=notify``)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.sendto(state.encode(), address)


def run(config: Config, path: str | Path) -> int:
    """Run ``trade-infra up``: supervise until SIGTERM or SIGINT, or until nothing is left to run.

    Returns
    -------
    int
        0; or 1 if the processes have all ended by themselves and one of them failed.

    """
    stop_logging = logs.configure(config.logging.level, config.logging.format, NAME)
    wanted: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if wanted and number == signal.SIGINT:
            raise KeyboardInterrupt  # Impatience: the process that is being waited for is killed.
        wanted.append(number)

    before = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    supervisor = Supervisor(config, path)
    try:
        for variable, value in overrides().items():
            _log.info("override", extra={"variable": variable, "value": value})
        supervisor.start()
        told = False
        while not wanted and supervisor.alive:
            supervisor.poll()
            if not told and supervisor.ready():
                told = True
                notify("READY=1")
                _log.info("all ready", extra={"processes": len(supervisor.children)})
            notify("WATCHDOG=1")
            time.sleep(POLL_S)
        if wanted:
            _log.info("stopping", extra={"signal": signal.Signals(wanted[0]).name})
            return 0
        return int(any(child.exit_code for child in supervisor.children.values()))
    finally:
        notify("STOPPING=1")
        supervisor.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
        stop_logging()


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra up``."""
    parser = add_command(
        subparsers,
        "up",
        "start all processes of a configuration and keep them alive",
        example="trade-infra up my.toml",
    )
    parser.add_argument("file", metavar="FILE", help="the TOML file")
    parser.set_defaults(handler=_command, configured=True)


def _command(args: argparse.Namespace) -> int:
    from engine.config import require_runnable

    config = load(args.file)
    require_runnable(config, args.file)
    return run(config, args.file)
