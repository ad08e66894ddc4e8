"""One agent in the foreground, beside an instance that runs: what ``record`` and ``parquet`` do."""

import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from engine import log as logs
from engine.agent import Agent, AgentContext, DutyCycle, Stop
from engine.config import Config
from engine.counters import CountersWriter, segment_name
from engine.doorbell import Doorbell
from engine.errors import SegmentNotFound, TradeInfraError
from engine.segment import list_segments, unlink_segment


class _Clock:
    """The agent that ends the duty cycle in time; it shares the other one's doorbell."""

    name = "clock"

    def __init__(self, stop: Stop, seconds: float, bell: Callable[[], Doorbell | None]) -> None:
        self._stop, self._seconds, self._bell = stop, seconds, bell

    @property
    def bell(self) -> Doorbell | None:
        return self._bell()

    def start(self) -> None:
        self._end = time.monotonic() + self._seconds

    def do_work(self) -> int:
        if time.monotonic() >= self._end:
            self._stop.requested = True
        return 0

    def close(self) -> None:
        pass


def _expect(instance: str, needs: Iterable[str]) -> None:
    there = list_segments()
    missing = [name for name in needs if (instance, name) not in there]
    if missing:
        others = sorted({each for each, name in there if name.startswith("md.")} - {instance})
        hint = "start it, or use an agent of this kind, which waits"
        if others:
            hint = f"instances with market data: {', '.join(others)} (--instance)"
        raise SegmentNotFound(f"instance {instance!r} has no {', '.join(missing)} - {hint}")


def run_agent(
    instance: str,
    kind: str,
    make: Callable[[AgentContext], Agent],
    settings: dict[str, Any],
    seconds: float | None,
    needs: Iterable[str],
) -> dict[str, int]:
    """Run an agent until SIGINT or SIGTERM, or for some seconds; return its counters.

    ``needs`` are the segments without which it would have nothing to do. As an agent of ``up`` it
    waits for them; somebody who typed a command wants to know.

    Raises
    ------
    SegmentNotFound
        If one of ``needs`` is not there.
    TradeInfraError
        If its settings are wrong, or it fails.

    """
    _expect(instance, needs)
    name = f"{kind}-{os.getpid()}"
    stop_logging = logs.configure("info", "text", name)
    counters = CountersWriter.open(instance, name)
    try:
        stop = Stop()
        stop.install()
        log = logging.getLogger(name)
        context = AgentContext(instance, name, settings, Config(), counters, log, kind)
        agent = make(context)
        agents = [agent]
        if seconds is not None:
            agents.append(_Clock(stop, seconds, lambda: getattr(agent, "bell", None)))
        stop.starting = False  # Nothing here waits: a signal may wait for the duty cycle.
        if DutyCycle(agents, counters).run(stop, "park", lambda: None):
            raise TradeInfraError(f"{kind}: failed, see above")
        labels = [each for each in counters.labels if each["kind"] in (1, 2)]
        return {each["name"].decode(): int(counters.values[each["row"]]) for each in labels}
    finally:
        counters.close()
        unlink_segment(instance, segment_name(name))
        stop_logging()
