"""Logging: what a line looks like, and what is held back."""

import io
import json
import logging

import pytest

from engine import log as logs


@pytest.fixture
def capture():
    """Configure logging into a string; call the result to end it and to get the lines."""
    stops = []

    def configure(format_="text", level="info"):
        stream = io.StringIO()
        stop = logs.configure(level, format_, "proc", stream)
        stops.append(stop)

        def lines():
            stops.remove(stop)
            stop()
            return stream.getvalue().splitlines()

        return lines

    yield configure
    for stop in stops:
        stop()


def test_text_has_time_level_process_event_and_fields(capture):
    lines = capture()
    logging.getLogger("feed").warning("gap", extra={"symbol": "BTCUSDT", "missing": 3})
    (line,) = lines()
    stamp, rest = line.split(" ", 1)
    assert rest == "WARNING proc:feed gap symbol=BTCUSDT missing=3"
    assert len(stamp) == len("2026-11-22T17:18:41.123456789Z")


def test_json_is_one_object_a_line_with_the_event_and_the_fields(capture):
    lines = capture("json")
    logging.getLogger("feed").info("a %s", "b", extra={"missing": 3, "odd": {1, 2}.__class__})
    (line,) = lines()
    found = json.loads(line)
    assert found.pop("time_ns") > 10**18
    assert found == {
        "level": "info",
        "process": "proc",
        "logger": "feed",
        "event": "a b",
        "missing": 3,
        "odd": "<class 'set'>",
    }


def test_a_field_cannot_take_the_place_of_a_standard_one(capture):
    lines = capture("json")
    logging.getLogger("feed").info("event", extra={"level": "mine", "event": "mine"})
    found = json.loads(lines()[0])
    assert (found["level"], found["event"]) == ("info", "event")


def test_an_event_stays_on_one_line(capture):
    lines = capture()
    logging.getLogger("feed").info("a\nb", extra={"text": "c d"})
    assert lines()[0].endswith("a\\nb text='c d'")


@pytest.mark.parametrize("format_", ["text", "json"])
def test_an_exception_is_logged_with_its_traceback(capture, format_):
    lines = capture(format_)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("feed").exception("failed")
    text = "\n".join(lines())
    assert "Traceback" in text
    assert "ValueError: broken" in text


def test_lower_levels_are_not_logged(capture):
    lines = capture(level="warning")
    logging.getLogger("feed").info("quiet")
    assert lines() == []


def test_what_changes_after_the_call_is_logged_as_it_was(capture):
    lines, value = capture(), [1]
    logging.getLogger("feed").info("value %s", value)
    value.append(2)
    assert lines()[0].endswith("value [1]")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def record(message="gap", level=logging.WARNING, name="feed"):
    return logging.LogRecord(name, level, "file", 1, message, (), None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def repeats(clock):
    return logs.RepeatFilter(limit=2, window_s=10.0, clock=clock)


def test_repeated_warnings_are_held_back_within_a_window(repeats):
    assert [repeats.filter(record()) for _ in range(4)] == [True, True, False, False]


def test_the_next_window_says_how_many_were_held_back(repeats, clock):
    for _ in range(5):
        repeats.filter(record())
    clock.now = 10.0
    late = record()
    assert repeats.filter(late)
    assert late.suppressed == 3


def test_a_warning_that_was_never_held_back_does_not_say_so(repeats, clock):
    repeats.filter(record())
    clock.now = 10.0
    late = record()
    assert repeats.filter(late)
    assert not hasattr(late, "suppressed")


def test_different_warnings_do_not_hold_each_other_back(repeats):
    for _ in range(3):
        repeats.filter(record())
    assert repeats.filter(record("other"))
    assert repeats.filter(record(name="worker"))


def test_information_is_never_held_back(repeats):
    assert all(repeats.filter(record(level=logging.INFO)) for _ in range(10))


def test_the_filter_remembers_a_bounded_number_of_warnings(repeats):
    for number in range(3000):
        repeats.filter(record(f"warning {number}"))
    assert len(repeats._seen) == logs._KEYS_MAX
