"""``trade-infra demo``: the whole way from a venue's socket to two strategies, on one screen.

It writes the configuration that one would write, runs it with the supervisor that one would use,
and looks at it from outside, like any tool::

    simulator        the simulated venues, generated order flow
    feed-<venue>     sockets -> md.raw.<venue>, one process a venue
    worker           raw frames of all venues -> md.trades md.book md.top md.funding …, tables
    strategy-python  rings -> NumPy
    strategy-jitted  rings -> compiled loop

With ``--environment live`` there is no simulator, and the same processes read the real venue.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

from engine import log as logs
from engine import segment as seg
from engine.compile import ensure_compiled
from engine.config import Config, parse
from engine.errors import SegmentError, TradeInfraError, UsageError
from engine.supervisor import Supervisor
from oms.demo_config import PREFIX, DemoOptions, build_config, fitted, secrets, symbols_of
from oms.observe import Observer, Sample
from oms.summary import summary
from oms.types import TradingState

READY_S = 120.0
"""How long everything may take to be up: a first run on a slow machine compiles for a while."""
LIVE_S = 30.0
"""How long the books may take to be synchronised after that; the real venue is slower than ours."""
SETTLE_S = 5.0
LOOK_S = 0.25
"""Between two looks: the screen changes at most four times a second."""

__all__ = ["clean_stale", "free_port", "run"]

_log = logging.getLogger("demo")


class DemoTimeout(TradeInfraError):
    """The demo's processes, or its books, did not come up in time."""

    exit_code = 5


class DemoGivenUp(TradeInfraError):
    """A process of the demo cannot work as the command line wants it."""

    exit_code = UsageError.exit_code

    def __init__(self, names: list[str], why: str = "") -> None:
        super().__init__(f"{', '.join(names)} cannot run{f': {why}' if why else ''}")
        self.names = names


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_stale() -> list[str]:
    """Remove the segments of demos that were killed; return the names of their instances."""
    cleaned = []
    for instance in sorted({name for name, _ in seg.list_segments() if name.startswith(PREFIX)}):
        number = instance.removeprefix(PREFIX)
        if not number.isdecimal() or seg.process_start_ticks(int(number)):
            continue  # Named by somebody, or its demo still runs.
        names = [name for _, name in seg.list_segments(instance)]
        if any(_is_written(instance, name) for name in names):
            continue  # Its processes are about to end.
        for name in names:
            seg.unlink_segment(instance, name)
        cleaned.append(instance)
    return cleaned


def _is_written(instance: str, name: str) -> bool:
    try:
        segment = seg.attach(instance, name)
    except SegmentError:
        return False
    try:
        return segment.writer_alive
    finally:
        segment.close()


class _Signals:
    """SIGINT and SIGTERM as a wish to stop; a second SIGINT is impatience."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True


class _Interrupted(Exception):
    """The user wants to stop before everything is up."""


def run(options: DemoOptions) -> int:
    """Run the demo; return the exit code.

    Raises
    ------
    DemoTimeout
        If the processes or the books do not come up; the message shows what they logged last.
    DemoGivenUp
        If a process cannot work as configured, say for an unknown symbol; the message says why.
    ConfigError
        If a venue is not installed, or not simulated.

    """
    options, notes = fitted(options)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    ensure_compiled()  # Before signals are taken over: Ctrl-C ends a long first compilation.
    clean_stale()
    port = free_port() if options.environment == "simulator" else None
    with tempfile.TemporaryDirectory(prefix="trade-infra-demo-") as folder:
        config = parse(build_config(options, port, str(Path(folder) / "journal")))
        if options.trade:
            os.environ.update(secrets(options))
        log_path = Path(folder) / "demo.log"
        with _Signals() as signals, log_path.open("ab") as log_file:
            output: IO[bytes] | int = 2 if options.verbose else log_file
            stream = sys.stderr if options.verbose else log_path.open("a")
            stop_logging = logs.configure("info", process="supervisor", stream=stream)
            supervisor = Supervisor(config, output=output)
            try:
                supervisor.start()
                return _watch(options, config, supervisor, signals)
            except _Interrupted:
                return 0
            except DemoGivenUp as error:
                raise DemoGivenUp(error.names, _last_error(log_path, error.names)) from None
            except DemoTimeout as error:
                tail = log_path.read_text(errors="replace").splitlines()[-20:]
                raise DemoTimeout("\n  ".join([str(error), *tail])) from None
            finally:
                supervisor.stop()
                stop_logging()
                if stream is not sys.stderr:
                    stream.close()


def _last_error(log_path: Path, names: list[str]) -> str:
    """Return the last error that one of the processes logged; "" if it went elsewhere."""
    for line in reversed(log_path.read_text(errors="replace").splitlines()):
        _, level, name, message = (*line.split(None, 3), "", "", "", "")[:4]
        if level == "ERROR" and name.partition(":")[0] in names:
            return message
    return ""


def _poll(supervisor: Supervisor) -> None:
    supervisor.poll()
    if supervisor.given_up:
        raise DemoGivenUp(supervisor.given_up)


def _watch(options: DemoOptions, config: Config, supervisor: Supervisor, signals: _Signals) -> int:
    """Wait for live books, show them for as long as wanted, and print the summary."""
    from oms.screen import make_screen

    observer = Observer(config.instance)
    expected = sum(len(symbols_of(venue, options)) for venue in options.venues)
    with contextlib.closing(observer):
        with make_screen(options.json, config.instance) as show:
            started = time.monotonic()
            _wait_ready(supervisor, signals, show)
            baseline = _wait_live(supervisor, observer, signals, expected, show)
            begun = time.monotonic()
            end = None if options.seconds is None else begun + options.seconds
            while not signals.wanted and (end is None or time.monotonic() < end):
                _poll(supervisor)
                show.sample(observer.sample(), supervisor, time.monotonic() - started)
                left = LOOK_S if end is None else min(LOOK_S, end - time.monotonic())
                time.sleep(max(0.0, left))
            duration_s = time.monotonic() - begun
            if options.trade:
                _stop_trading(config.instance, observer, show)
            sample = observer.sample()
        restarts = sum(child.restarts for child in supervisor.children.values())
        show.farewell(sample, restarts, duration_s)
        if options.json:
            result = summary(sample, baseline, restarts, duration_s)
            supervisor.stop()  # First everything ends, then the last line is printed.
            print(json.dumps(result), flush=True)
    return 0


def _stop_trading(instance: str, observer: Observer, show: Any) -> None:  # noqa: ANN401
    """Let no more orders out and cancel what is open, so that ours and the venue's can be compared.

    What the venue says of the last trades is given some seconds to arrive.
    """
    from oms.control import Control

    try:
        control = Control(instance)
        try:
            control.set_state("firm", TradingState.CANCEL_ONLY, b"demo")
            left = control.cancel("firm", b"demo")
            if left:
                show.note(f"{left} orders are still open")
        finally:
            control.close()
    except TradeInfraError as error:
        show.note(f"trading could not be stopped: {error}")
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        view = observer.sample().trading
        if view is None or all(each["ours"] == each["venue"] for each in view.positions):
            break
        time.sleep(0.2)


def _waiting(deadline_s: float, supervisor: Supervisor, signals: _Signals) -> Iterator[None]:
    """Yield about ten times a second, until the deadline."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if signals.wanted:
            raise _Interrupted
        _poll(supervisor)
        yield
        time.sleep(0.1)


def _wait_ready(supervisor: Supervisor, signals: _Signals, show: Any) -> None:  # noqa: ANN401
    show.note("starting " + ", ".join(supervisor.children))
    for _ in _waiting(READY_S, supervisor, signals):
        if supervisor.ready():
            return
    raise DemoTimeout(f"the processes are not up after {READY_S:.0f} s; they logged:")


def _wait_live(
    supervisor: Supervisor,
    observer: Observer,
    signals: _Signals,
    expected: int,
    show: Any,  # noqa: ANN401 - oms.screen.Screen
) -> Sample:
    """Return the first sample in which all books are live: latencies count from there."""
    show.note(f"synchronising {expected} books")
    sample = observer.sample()
    for _ in _waiting(LIVE_S, supervisor, signals):
        sample = observer.sample()
        if sum(book.valid for book in sample.books) >= expected:
            show.note("all books are live")
            show.baseline = sample
            return sample
    states = ", ".join(f"{b.instrument.key} {b.state.name.lower()}" for b in sample.books)
    raise DemoTimeout(
        f"not all {expected} books are live after {LIVE_S:.0f} s ({states or 'none is there'}); "
        "the processes logged:"
    )
