"""Logging: one line an event, on standard error, written by a thread of its own.

The standard library's logging, with three additions. A ``QueueHandler`` keeps formatting and
writing out of the thread that logs. One formatter writes text for people or JSON for machines. A
filter lets only a few equal warnings through in a while and then says how many it held back.

Context goes into ``extra`` and comes out as fields::

    log.warning("gap", extra={"instrument": "BTCUSDT", "expected": 12, "found": 15})

    2026-11-22T17:18:41.123456789Z WARNING worker gap instrument=BTCUSDT expected=12 found=15
    {"time_ns":…,"level":"warning","process":"worker","logger":"worker","event":"gap",…}

Kernels log nothing: they count, and the shell around them logs the change of a counter.
"""

import logging
import logging.handlers
import queue
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, TextIO

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "time_ns"}
_NS_PER_S = 1_000_000_000
REPEATS_MAX = 5
REPEATS_WINDOW_S = 10.0
_KEYS_MAX = 1024
"""Different warnings that are remembered; beyond that the oldest is forgotten."""

__all__ = ["JsonFormatter", "RepeatFilter", "TextFormatter", "configure"]


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller passed as ``extra``."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time_ns(record: logging.LogRecord) -> int:
    return int(getattr(record, "time_ns", 0)) or int(record.created * _NS_PER_S)


class TextFormatter(logging.Formatter):
    """``time LEVEL logger event key=value …``; a traceback follows on lines of its own."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        seconds, ns = divmod(_time_ns(record), _NS_PER_S)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        name = self._process
        if record.name not in (name, "root"):
            name = f"{name}:{record.name}" if name else record.name
        parts = [f"{moment}.{ns:09d}Z", f"{record.levelname:7s}", name, record.getMessage()]
        parts += [f"{key}={_text(value)}" for key, value in fields(record).items()]
        line = " ".join(part for part in parts if part).replace("\n", "\\n")
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _text(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time_ns level process logger event``, the fields, ``traceback``."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, Any] = {
            "time_ns": _time_ns(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        for key, value in fields(record).items():
            line.setdefault(key, value)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["traceback"] = record.exc_text
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(line, default=str, option=options).decode()


class RepeatFilter(logging.Filter):
    """Let ``limit`` equal warnings through per window; the next one says how many were held back.

    Warnings are equal if logger, level and unformatted message are. Information is never held
    back: who logs it too often should not log it.
    """

    def __init__(
        self,
        limit: int = REPEATS_MAX,
        window_s: float = REPEATS_WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._limit, self._window_s, self._clock = limit, window_s, clock
        self._seen: OrderedDict[tuple[str, int, str], list[float]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record may pass."""
        if record.levelno < logging.WARNING:
            return True
        now, key = self._clock(), (record.name, record.levelno, str(record.msg))
        start, count = self._seen.get(key, (now, 0))
        if now - start >= self._window_s:
            if count > self._limit:
                record.suppressed = int(count) - self._limit
            start, count = now, 0
        self._seen[key] = [start, count + 1]
        self._seen.move_to_end(key)
        if len(self._seen) > _KEYS_MAX:
            self._seen.popitem(last=False)
        return count < self._limit


class _Handler(logging.handlers.QueueHandler):
    """Hands records over with an exact time, and with everything that may change resolved."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.time_ns = time.time_ns()
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:  # A traceback keeps every frame's variables alive; its text does not.
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record


def configure(
    level: str = "info",
    format_: Literal["text", "json"] = "text",
    process: str = "",
    stream: TextIO | None = None,
) -> Callable[[], None]:
    """Set up the root logger and return the function that writes what is queued and ends it.

    Parameters
    ----------
    level
        The lowest level that is logged.
    format_
        ``text`` or ``json``.
    process
        The process' name, on every line.
    stream
        Where to; standard error if ``None``.

    """
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handler = _Handler(lines)
    handler.addFilter(RepeatFilter())
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonFormatter(process) if format_ == "json" else TextFormatter(process))
    listener = logging.handlers.QueueListener(lines, output)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    listener.start()

    def stop() -> None:
        root.removeHandler(handler)
        root.setLevel(before)
        listener.stop()
        output.flush()

    return stop
