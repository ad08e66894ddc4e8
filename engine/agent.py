"""Agents, and the process that runs them: duty cycle or event loop, heartbeat, signals.

A *duty-cycle agent* does a bounded piece of work per call and never waits; the loop around it
beats the heartbeat, sees signals and idles (``engine.idle``). Several of them in a process share
one duty cycle, in the order of the configuration. An *asynchronous agent* is a coroutine; several
share one uvloop loop. The two kinds do not mix in a process: one of them would wait for the other.

An agent is found by its kind: an entry point of the group ``trade_infra.agents`` maps the kind to
a factory ``make(context: AgentContext) -> Agent | AsyncAgent``. The factory only reads settings
(``engine.config.takes`` says which); what takes long or may fail belongs into ``start`` or ``run``.

A duty-cycle agent may also have

``heartbeat() -> None``
    called about every 100 ms, for the segments it writes and for work that is due by the clock;
``bell``
    an ``engine.doorbell.Doorbell`` on which the process may park, if all its agents share one.
"""

import argparse
import asyncio
import ctypes
import gc
import inspect
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine import log as logs
from engine.cli import add_command
from engine.config import Config, Process, agent_names, agent_settings, load, overrides
from engine.errors import ConfigError, TradeInfraError
from engine.idle import Bell, Idle, strategy
from engine.segment import lock_memory

if TYPE_CHECKING:
    from engine.cli import Subparsers
    from engine.counters import CountersWriter

AGENTS = "trade_infra.agents"
HEARTBEAT_NS = 100_000_000
STOP_GRACE_S = 4.0
"""How long asynchronous agents may take to end; below the supervisor's grace of 5 s."""
SUPERVISOR_PID = "TRADE_INFRA_SUPERVISOR_PID"
"""Environment variable by which a process knows that it is supervised, and by whom."""
EXIT_AGENT_FAILED = 1
_PR_SET_PDEATHSIG = 1

__all__ = ["Agent", "AgentContext", "AsyncAgent", "run_process"]


class Agent(Protocol):
    """An agent of a duty cycle: worker, strategy."""

    @property
    def name(self) -> str:
        """Return the agent's name, for logs."""

    def start(self) -> None:
        """Open what is needed; may wait, and is interrupted by a signal to stop."""

    def do_work(self) -> int:
        """Do a bounded piece of work (well under 10 ms); return the number of things done."""

    def close(self) -> None:
        """Let go of everything; called once, after ``start`` has been called, whatever happened."""


class AsyncAgent(Protocol):
    """An agent of an event loop: feed, simulator."""

    @property
    def name(self) -> str:
        """Return the agent's name, for logs."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; returning earlier means that the work is done."""


@dataclass(slots=True)
class AgentContext:
    """What a factory gets.

    ``settings`` are the agent's own keys, for ``engine.config.settings``; ``where`` is their place
    in the configuration, for its errors; ``counters`` is shared by the agents of the process.
    """

    instance: str
    name: str
    settings: dict[str, Any]
    config: Config
    counters: "CountersWriter"
    log: logging.Logger
    where: str = ""


class Interrupted(BaseException):
    """A signal to stop came while agents were starting; not an ``Exception``: nobody eats it."""


class Stop:
    """The wish to stop, from SIGTERM or SIGINT.

    While ``starting``, agents may wait for each other in Python code, so the signal raises;
    afterwards it is a flag that the duty cycle reads. A second SIGINT raises in any case.
    """

    def __init__(self) -> None:
        self.requested = False
        self.starting = True

    def install(self) -> None:
        """Take over both signals; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if self.starting:
            raise Interrupted
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt


def make_agents(
    config: Config, process: Process, counters: "CountersWriter"
) -> list[Agent | AsyncAgent]:
    """Return a process' agents, not started.

    Raises
    ------
    ConfigError
        If a kind is unknown, a setting is wrong, or the two sorts of agents are mixed.

    """
    factories = {point.name: point for point in entry_points(group=AGENTS)}
    agents: list[Agent | AsyncAgent] = []
    for i, (table, name) in enumerate(zip(process.agents, agent_names(process), strict=True)):
        where, kind = f"process.{process.name}.agents[{i}]", table["kind"]
        if kind not in factories:
            known = ", ".join(sorted(factories)) or "none"
            raise ConfigError(f"{where}.kind: found {kind!r}, known: {known}")
        settings = agent_settings(table)
        log = logging.getLogger(name)
        context = AgentContext(config.instance, name, settings, config, counters, log, where)
        agents.append(cast("Agent | AsyncAgent", factories[kind].load()(context)))
    sorts = {is_async(agent) for agent in agents}
    if len(sorts) > 1:
        mixed = ", ".join(f"{a.name} ({'async' if is_async(a) else 'duty cycle'})" for a in agents)
        raise ConfigError(
            f"process.{process.name}.agents: {mixed} cannot share a process, because a duty cycle "
            "never returns to an event loop; put them into processes of their own"
        )
    return agents


def is_async(agent: Agent | AsyncAgent) -> bool:
    """Return whether the agent is a coroutine on a loop and not part of a duty cycle."""
    return inspect.iscoroutinefunction(getattr(agent, "run", None))


def run_process(config: Config, name: str) -> int:
    """Run one process of the configuration until a signal stops it or its agents are done.

    Returns
    -------
    int
        The exit code: 0 after a clean end, 1 after an agent failed (logged with its traceback),
        or that of a ``TradeInfraError`` (logged without).

    Raises
    ------
    ConfigError
        If the configuration has no such process.

    """
    process = config.process(name)
    stop_logging = logs.configure(config.logging.level, config.logging.format, name)
    log = logging.getLogger(name)
    stop = Stop()
    try:
        stop.install()
        return _run(config, process, stop)
    except TradeInfraError as error:
        log.error(str(error))
        # Whatever the configuration names and is not there: another start would not find it.
        return ConfigError.exit_code if isinstance(error, ConfigError) else error.exit_code
    except Interrupted:
        return 0
    except Exception:
        log.exception("process failed")
        return EXIT_AGENT_FAILED
    finally:
        log.info("stopped")
        stop_logging()


def _run(config: Config, process: Process, stop: Stop) -> int:
    from engine.compile import ensure_compiled
    from engine.counters import CountersWriter

    log = logging.getLogger(process.name)
    for variable, value in overrides().items():
        log.info("override", extra={"variable": variable, "value": value})
    _pin(process)
    lock_memory(config.memory.lock)
    ensure_compiled()
    counters = CountersWriter.open(config.instance, process.name)
    try:
        ready = counters.gauge("ready")
        counters.values[ready] = 0
        agents = make_agents(config, process, counters)

        def started() -> None:
            counters.values[ready] = 1
            log.info("started", extra={"pid": os.getpid(), "epoch": counters.segment.epoch})

        if is_async(agents[0]):
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                stop.starting = False
                return runner.run(_run_async(cast("list[AsyncAgent]", agents), counters, started))
        cycle = DutyCycle(cast("list[Agent]", agents), counters)
        return cycle.run(stop, process.wait, started)
    finally:
        counters.close()


def _pin(process: Process) -> None:
    if not process.cpus:
        return
    try:
        os.sched_setaffinity(0, process.cpus)
    except OSError as error:
        raise ConfigError(
            f"process.{process.name}.cpus: found {list(process.cpus)}: {error.strerror}"
        ) from None


class DutyCycle:
    """The loop around the duty-cycle agents of a process."""

    def __init__(self, agents: Sequence[Agent], counters: "CountersWriter") -> None:
        self._agents, self._counters = agents, counters
        self._cycles, self._busy = counters.counter("cycles"), counters.counter("cycles_busy")

    def run(self, stop: Stop, wait: Any, started: Callable[[], None]) -> int:  # noqa: ANN401
        """Start the agents, cycle until ``stop``, close them in reverse; return the exit code."""
        begun: list[Agent] = []
        agent: Agent | None = None
        try:
            for agent in self._agents:
                begun.append(agent)
                agent.start()
            agent = None
            stop.starting = False
            gc.collect()
            gc.freeze()  # What lives now lives for ever; collections need not look at it again.
            started()
            self._cycle(stop, strategy(wait, self._bell()))
            return 0
        except TradeInfraError:
            raise
        except Exception:
            name = agent.name if agent else self._failing
            logging.getLogger(name).exception("agent failed")
            return EXIT_AGENT_FAILED
        finally:
            stop.starting = False
            for agent in reversed(begun):
                try:
                    agent.close()
                except Exception:
                    logging.getLogger(agent.name).exception("agent failed to close")

    _failing = ""

    def _cycle(self, stop: Stop, idle: Idle) -> None:
        cycles = busy = 0
        works = [agent.do_work for agent in self._agents]
        due = time.monotonic_ns()
        position = 0
        try:
            while not stop.requested:
                done = 0
                for position, work in enumerate(works):  # noqa: B007 - read after a failure
                    done += work()
                cycles += 1
                busy += done > 0
                now = time.monotonic_ns()
                if now >= due:
                    due = now + HEARTBEAT_NS
                    self._beat(cycles, busy)
                    cycles = busy = 0
                idle.idle(done)
        except Exception:
            self._failing = self._agents[position].name
            raise

    def _beat(self, cycles: int, busy: int) -> None:
        self._counters.values[self._cycles] += cycles
        self._counters.values[self._busy] += busy
        self._counters.heartbeat()
        for agent in self._agents:
            beat = getattr(agent, "heartbeat", None)
            if beat is not None:
                beat()

    def _bell(self) -> Bell | None:
        """Return the agents' common doorbell: a process can sleep on one only."""
        bells = [getattr(agent, "bell", None) for agent in self._agents]
        names = {bell.segment.name if bell is not None else None for bell in bells}
        return bells[0] if len(names) == 1 else None


async def _run_async(
    agents: Sequence[AsyncAgent], counters: "CountersWriter", started: Callable[[], None]
) -> int:
    """Run all agents until a signal, until one fails, or until all are done."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(agent.run(stop), name=agent.name) for agent in agents]
    stopped = asyncio.create_task(stop.wait(), name="stop")
    beat = asyncio.create_task(_beat_async(counters), name="heartbeat")
    started()
    running = set(tasks)
    while running and not stop.is_set():
        done, _ = await asyncio.wait({*running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        running -= done
        if any(_failed(task) for task in done):
            stop.set()
    stop.set()
    if running:
        await asyncio.wait(running, timeout=STOP_GRACE_S)
    for task in (*tasks, stopped, beat):
        if not task.done():
            if task in running:
                logging.getLogger(task.get_name()).warning("cancelled: did not stop by itself")
            task.cancel()
    await asyncio.gather(*tasks, stopped, beat, return_exceptions=True)
    return _report(tasks)


def _failed(task: "asyncio.Task[Any]") -> bool:
    return not task.cancelled() and task.exception() is not None


def _report(tasks: "Sequence[asyncio.Task[None]]") -> int:
    """Log what failed; a lone error that a user can mend is passed on."""
    failed = [task for task in tasks if _failed(task)]
    for task in failed:
        error = task.exception()
        if isinstance(error, TradeInfraError):
            raise error
        logging.getLogger(task.get_name()).error("agent failed", exc_info=error)
    return EXIT_AGENT_FAILED if failed else 0


async def _beat_async(counters: "CountersWriter") -> None:
    while True:
        counters.heartbeat()
        await asyncio.sleep(HEARTBEAT_NS / 1e9)


def die_with_supervisor() -> None:
    """Have the kernel send SIGTERM when the supervisor that started this process dies."""
    supervisor = os.environ.get(SUPERVISOR_PID)
    if supervisor is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):  # It died before the line above.
        raise TradeInfraError(f"the supervisor (process {supervisor}) is gone")


def register(subparsers: "Subparsers") -> None:
    """Add ``trade-infra run``."""
    parser = add_command(
        subparsers,
        "run",
        "run one process of a configuration, in the foreground",
        example="trade-infra run my.toml worker",
    )
    parser.add_argument("file", metavar="FILE", help="the TOML file")
    parser.add_argument("process", metavar="PROCESS", help="the name of one of its processes")
    parser.set_defaults(handler=_command, configured=True)


def _command(args: argparse.Namespace) -> int:
    die_with_supervisor()
    return run_process(load(args.file), args.process)
