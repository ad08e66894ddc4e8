"""The demo: its configuration, its command, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from rich.console import Console

from engine.config import load, parse
from engine.errors import ConfigError, SegmentNotFound
from engine.layout import Field, Layout
from engine.ring import RingWriter
from engine.segment import attach, list_segments
from engine.table import TableWriter
from feeds.message import Has
from feeds.types import INSTRUMENT, KNOWN_SHIFT, RINGS, BookState
from oms import demo
from oms.demo import clean_stale
from oms.demo_config import DemoOptions, build_config, check_venues, fitted, symbols_of, to_toml
from oms.observe import (
    BookView,
    FundingView,
    Instrument,
    Observer,
    Sample,
    StatsView,
    TradeView,
)
from oms.screen import ALL, Lines, Rates, Terminal, human_ns

pytestmark = pytest.mark.slow

TRADING = [sys.executable, "-m", "engine.cli", "demo"]
DEMO = [*TRADING, "--watch-only"]
ONE_MARKET = ["--venues", "binance_usdm,binance_spot", "--symbols", "BTC/USDT,BTC/USDT:USDT"]
TROUBLES = ("gaps", "overruns", "malformed", "restarts")
TWO_LINES = ["--lines", "2", "--rate", "500"]
CELL = Layout("cell", 1, (Field("sequence", "i8", "place"), Field("value", "i8", "", (7,))))
STAGES = {"socket_to_raw", "raw_to_record", "record_to_strategy", "socket_to_strategy"}
BTC = Instrument(0, "binance_usdm", "BTCUSDT", 2, 3)
VENUES = {"binance_spot": 2, "binance_usdm": 2, "bybit": 2, "okx": 4}
"""Venue -> books of the demo of all venues."""


class Process:
    pid, restarts = 12345, 0


class NoProcesses:
    children = {}  # noqa: RUF012 - a stand-in


class AllProcesses:
    children = dict.fromkeys(
        ("simulator", *(f"feed-{venue}" for venue in VENUES), "worker", "strategy-python"),
        Process,
    )


def sample(time_ns=10**9, **changes):
    full = Sample(
        time_ns,
        counters={
            "worker": {"lag.binance_usdm": 7, "overruns": 0, "laps": 0, "ready": 1},
            "strategy-python": {"md.top.lag": 3, "md.top.lost": 0, "md.top.overruns": 0},
        },
        newest={"md.raw.binance_usdm": 100, "md.trades": 40},
        books=[
            BookView(BTC, BookState.LIVE, 1, 0, 5, 9, [("1.25", "0.5")], [("1.50", "0.7")]),
        ],
        trades=[TradeView(BTC, 10**18, -1, "1.25", "0.001")],
        funding=[FundingView(BTC, "1.30000000", "1.31000000", "0.0001", 10**18)],
    )
    for name, value in changes.items():
        setattr(full, name, value)
    return full


def sample_of_all_venues():
    keys = [
        Instrument(row, venue, f"{'BTC-USDT-SWAP' if venue == 'okx' else 'BTCUSDT'}{row}", 2, 3)
        for venue, count in VENUES.items()
        for row in range(count)
    ]
    level = [("112345.25", "0.512")]
    return sample(
        counters={"worker": {"ready": 1, "line.0.won": 9, "line.0.late": 1, "line.1.won": 4}},
        newest={f"md.raw.{venue}": 10**6 for venue in VENUES},
        books=[BookView(key, BookState.LIVE, 1, 0, 5, 9, level, level) for key in keys],
        funding=[FundingView(k, "112345.25000000", "", "-0.000100", 0, "12.5") for k in keys],
        liquidations=[TradeView(keys[0], 10**18, 1, "7.25", "0.001")],
        stats=[StatsView(keys[0], "7.25", "", "", "98765.000", -123)],
        by_venue={venue: {"trade": 7} for venue in VENUES},
    )


def rendered(width, height, shown, processes=NoProcesses):
    """Return the lines of the screen, which must fit the terminal."""
    with open(os.devnull, "w") as nowhere:
        console = Console(width=width, height=height, record=True, file=nowhere)
        console.print(Terminal("demo-1", console).render(shown, processes, 5.0))
        lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    return [line.rstrip() for line in lines]


@pytest.fixture
def rings(instance):
    """Return a function that publishes records on one of the worker's rings."""
    writers = {name: RingWriter.open(instance, name, RINGS[name], 64) for name in RINGS}
    raw = [RingWriter.open(instance, f"md.raw.{v}", CELL, 16, bell=False) for v in ("one", "two")]
    table = TableWriter.open(instance, "md.instruments", INSTRUMENT, 4)
    for row, venue in enumerate((b"one", b"two")):
        record = np.zeros(1, INSTRUMENT.dtype)
        record["venue"], record["native"], record["instrument"] = venue, b"X", row
        record["price_decimals"] = 2
        table.write(row, record)

    def publish(ring, *records):
        made = np.zeros(len(records), RINGS[ring].dtype)
        for each, fields in zip(made, records, strict=True):
            for name, value in fields.items():
                each[name] = value
        writers[ring].publish_many(made)

    yield publish
    for writer in (*writers.values(), *raw, table):
        writer.close()


@pytest.fixture
def observer(instance, rings):
    observer = Observer(instance)
    yield observer
    observer.close()


def test_records_are_counted_by_venue(rings, observer):
    rings("md.trades", {"instrument": 0}, {"instrument": 1}, {"instrument": 1})
    rings("md.stats", {"instrument": 1})
    observer.sample()
    rings("md.trades", {"instrument": 0})
    counts = observer.sample().by_venue
    assert counts["one"] == dict.fromkeys(counts["one"], 0) | {"trade": 2}
    assert counts["two"] == dict.fromkeys(counts["two"], 0) | {"trade": 2, "stats": 1}


def test_a_derivative_shows_only_what_its_venue_has_said(rings, observer):
    known = int(Has.MARK | Has.RATE) << KNOWN_SHIFT
    rings("md.funding", {"flags": known, "mark_price": 10**13, "rate": -(10**14)})
    (view,) = observer.sample().funding
    assert (view.mark, view.rate) == ("10.000000000000", "-0.000100000000000000")
    assert (view.index, view.open_interest) == ("", "")


def test_the_last_ticker_and_its_change_are_shown(rings, observer):
    known = int(Has.LAST | Has.OPEN) << KNOWN_SHIFT
    for last in (100, 150):
        rings("md.stats", {"flags": known, "last_price": last, "open_price": 200})
    (view,) = observer.sample().stats
    assert (view.last, view.change_bp, view.high) == ("1.50", -2500, "")


def test_liquidations_are_kept_newest_first(rings, observer):
    rings("md.liquidations", *({"price": n, "side": -1} for n in range(100, 120)))
    assert [v.price for v in observer.sample().liquidations][:2] == ["1.19", "1.18"]


def test_a_venue_is_asked_for_its_own_markets():
    live = DemoOptions(environment="live", symbols=(*DemoOptions().symbols, "BTC/USD:BTC"))
    assert symbols_of("binance_spot", live) == ["BTC/USDT", "ETH/USDT"]
    assert symbols_of("binance_usdm", live) == ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert symbols_of("bybit", live) == ["BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USD:BTC"]
    assert symbols_of("okx", live) == symbols_of("elsewhere", live) == list(live.symbols)


def test_a_simulated_venue_is_asked_for_what_it_simulates():
    options = DemoOptions(symbols=("BTC/USDT", "FOO/USDT", "BTC-USDT", "BTCUSDT"))
    assert symbols_of("okx", options) == ["BTC/USDT", "BTC-USDT"]
    assert symbols_of("binance_spot", options) == ["BTC/USDT", "BTCUSDT"]


def test_venues_and_symbols_that_do_not_meet_are_left_out_and_named():
    options, notes = fitted(DemoOptions(symbols=("BTC/USDT", "FOO/USDT")))
    assert (options.venues, options.symbols) == (("binance_spot", "okx"), ("BTC/USDT",))
    assert notes == [
        "no venue has FOO/USDT: left out",
        "binance_usdm has none of the symbols: left out",
        "bybit has none of the symbols: left out",
    ]


def test_symbols_that_no_venue_has_are_refused():
    with pytest.raises(ConfigError, match="FOO/USDT is on none of binance_usdm, binance_spot"):
        fitted(DemoOptions(symbols=("FOO/USDT",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"venues": ("okx", "binance_usd")}, "did you mean 'binance_usdm'"),
        ({"venues": ("okx", "okx")}, "named twice"),
        ({"venues": ()}, "at least one"),
    ],
)
def test_venues_that_cannot_run_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_venues(DemoOptions(**changes))


def test_a_venue_that_is_not_simulated_is_refused_unless_it_is_live(monkeypatch):
    class Settings:
        venues = ("binance_spot",)

    monkeypatch.setattr("gateways.simulator.SimulatorSettings", Settings)
    with pytest.raises(ConfigError, match="does not serve 'okx', only binance_spot"):
        check_venues(DemoOptions(venues=("okx",)))
    check_venues(DemoOptions(venues=("okx",), environment="live"))


def test_the_configuration_of_all_venues_feeds_one_worker():
    config = parse(build_config(DemoOptions(venues=tuple(VENUES), lines=2), 1234))
    assert set(config.endpoints) == set(VENUES)
    agents = [agent for process in config.processes for agent in process.agents]
    (worker,) = (agent for agent in agents if agent["kind"] == "market-data")
    assert worker["venues"] == list(VENUES)
    feeds = {agent["venue"]: agent for agent in agents if agent["kind"] == "feed"}
    assert {venue: len(feed["symbols"]) for venue, feed in feeds.items()} == VENUES
    assert {feed["lines"] for feed in feeds.values()} == {2}


def test_the_configuration_is_one_that_the_supervisor_takes():
    config = parse(build_config(DemoOptions(), 1234))
    names = [process.name for process in config.processes]
    assert names[0] == "simulator"
    assert {"worker", "strategy-python", "strategy-jitted"} < set(names)


def test_the_real_venue_needs_no_simulator():
    config = parse(build_config(DemoOptions(environment="live")))
    assert "simulator" not in [process.name for process in config.processes]
    assert not config.endpoints


def test_the_written_configuration_is_the_same():
    data = build_config(DemoOptions(instance="x"), 1234)
    assert tomllib.loads(to_toml(data)) == data


def test_the_command_writes_a_configuration_that_loads(tmp_path):
    path = tmp_path / "demo.toml"
    subprocess.run([*DEMO, "--write-config", str(path)], check=True, timeout=60)
    config = load(path, {})
    assert (config.instance, config.environment, config.endpoints) == ("ti", "simulator", {})


def test_segments_of_a_dead_demo_are_removed():
    done = subprocess.Popen(["true"])
    done.wait()
    instance = f"demo-{done.pid}"
    RingWriter.open(instance, "md.trades", CELL, 16, bell=False).close()
    clean_stale()  # Its answer may lack ours: a demo that another run starts may be quicker.
    with pytest.raises(SegmentNotFound):
        attach(instance, "md.trades")


def test_segments_of_a_living_demo_are_not_removed():
    instance = f"demo-{os.getpid()}"
    writer = RingWriter.open(instance, "md.trades", CELL, 16, bell=False)
    try:
        assert instance not in clean_stale()
        attach(instance, "md.trades").close()
    finally:
        writer.close()
        subprocess.run(
            [sys.executable, "-m", "engine.cli", "rings", "rm", "--all", "--instance", instance],
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1500, "1.50 µs"), (45_000_000, "45.0 ms"), (10**9, "1.00 s")],
)
def test_a_duration_is_printed_with_a_unit(value, text):
    assert human_ns(value) == text


def test_rates_are_events_a_second():
    rates = Rates()
    rates.add(sample(10**9))
    later = sample(3 * 10**9, newest={"md.raw.binance_usdm": 300, "md.trades": 50})
    found = rates.add(later)[ALL]
    assert found == dict.fromkeys(found, 0.0) | {"frames": 100.0, "trade": 5.0}


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((80, 24), ["live e1", "1.25", "1.50", "0.0100%"]),
        ((80, 70), ["live e1", "1.25", "0.7", "0.0100%", "md.top"]),
        ((140, 24), ["live e1", "1.25", "0.0100%"]),
        ((140, 50), ["live e1", "1.25", "0.7", "0.0100%", "md.top"]),
    ],
)
def test_the_screen_shows_what_there_is_room_for(size, shown):
    text = "\n".join(rendered(*size, sample()))
    for each in ("demo-1", "binance_usdm:BTCUSDT", *shown):
        assert each in text


@pytest.mark.parametrize("size", [(80, 24), (130, 24)])
def test_a_small_screen_shows_every_book_of_all_venues(size):
    shown = sample_of_all_venues()
    text = "\n".join(rendered(*size, shown, AllProcesses))
    for book in shown.books:
        assert book.instrument.key in text
    assert "first/late by line: 9/1, 4/0" in text
    assert "-0.0100%" in text


def test_a_large_screen_shows_all_kinds_of_records():
    text = "\n".join(rendered(200, 60, sample_of_all_venues(), AllProcesses))
    for each in ("liquidations", "24 hours", "-1.23%", "98765", "open interest", "12.5", "line"):
        assert each in text


def test_a_plain_line_has_no_control_characters(capsys):
    Lines(sys.stdout).sample(sample(), NoProcesses, 5.0)
    line = capsys.readouterr().out
    assert "live=1/1" in line
    assert "\x1b" not in line


def leftovers(instance):
    return [name for _, name in list_segments(instance)]


@pytest.mark.processes
def test_the_demo_prints_one_json_object_and_leaves_nothing(instance):
    done = subprocess.run(
        [*DEMO, "--seconds", "3", "--json", "--instance", instance, "--rate", "500"],
        capture_output=True,
        timeout=200,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["frames"] > 0
    assert all(result["records"][kind] > 0 for kind in ("trade", "book_delta", "book_top"))
    assert {name: result[name] for name in TROUBLES} == dict.fromkeys(TROUBLES, 0)
    assert len(result["books"]) == 10
    for book in result["books"].values():
        assert book["valid"]
        assert float(book["bid"]) < float(book["ask"])
    assert set(result["latency_ns"]) == STAGES
    for stage in result["latency_ns"].values():
        assert 0 < stage["p50"] <= stage["p99"] <= stage["p999"] <= stage["max"]
    assert not leftovers(instance)


@pytest.mark.processes
def test_the_demo_of_four_venues_counts_records_by_venue_and_who_won_by_line(instance):
    done = subprocess.run(
        [*DEMO, *TWO_LINES, "--seconds", "4", "--json", "--instance", instance],
        capture_output=True,
        timeout=200,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["venues"]) == set(VENUES)
    for name, venue in result["venues"].items():
        assert venue["frames"] > 0
        assert venue["books"] == venue["books_live"] == VENUES[name]
        assert all(venue["records"][kind] > 0 for kind in ("trade", "book_delta", "book_top"))
        assert venue["records"]["stats"] > 0
        assert (venue["records"]["funding"] > 0) == (name != "binance_spot")
    for kind, total in result["records"].items():
        assert total == sum(venue["records"][kind] for venue in result["venues"].values())
    assert {name: result[name] for name in TROUBLES} == dict.fromkeys(TROUBLES, 0)
    won = [line["won"] for line in result["lines"].values()]
    assert len(won) == 2
    assert sum(won) > 0
    assert not leftovers(instance)


@pytest.mark.processes
def test_the_demo_trades_within_its_limits_and_ends_with_the_venues_positions(instance):
    done = subprocess.run(
        [*TRADING, *ONE_MARKET, "--seconds", "10", "--json", "--instance", instance],
        capture_output=True,
        timeout=250,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    orders = result["orders"]
    assert orders["sent"] > 0
    assert orders["trades"] > 0
    assert result["unknown"] == 0
    assert result["positions"]
    for position in result["positions"]:
        assert position["ours"] == position["venue"]
    assert result["positions_equal"]
    for name in ("tick_to_trade_ns", "intent_to_decision_ns"):
        assert 0 < result[name]["p50"] <= result[name]["p99"]
    assert not leftovers(instance)


@pytest.mark.processes
def test_a_process_that_cannot_work_ends_the_demo_with_its_reason(instance, monkeypatch):
    def with_another_symbol(*arguments):
        data = build_config(*arguments)
        for process in data["process"]:
            if process["name"].startswith("feed-"):
                process["agents"][0]["symbols"] = ["FOO/USDT:USDT"]
        return data

    monkeypatch.setattr(demo, "build_config", with_another_symbol)
    options = DemoOptions(seconds=3, json=True, instance=instance, venues=("binance_usdm",))
    with pytest.raises(demo.DemoGivenUp, match="no instrument 'FOO/USDT:USDT'") as failure:
        demo.run(options)
    assert failure.value.names == ["feed-binance_usdm"]
    assert failure.value.exit_code == 2
    assert not leftovers(instance)


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_clean(instance, number):
    demo = subprocess.Popen(
        [*DEMO, "--instance", instance, *ONE_MARKET, "--rate", "200"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in demo.stdout:
            if "live=2/2" in line:
                break
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0
    assert "socket_to_strategy" in rest
    assert "sent=" not in rest  # It only watches.
    assert not leftovers(instance)


@pytest.mark.processes
def test_processes_of_a_killed_demo_end_by_themselves(instance):
    demo = subprocess.Popen(
        [*DEMO, "--instance", instance, *ONE_MARKET], stdout=subprocess.PIPE, text=True
    )
    for line in demo.stdout:
        if "live" in line:
            break
    demo.kill()
    demo.communicate()
    deadline = time.monotonic() + 20
    alive = True
    while alive and time.monotonic() < deadline:
        time.sleep(0.1)
        alive = any(attach(instance, name).writer_alive for _, name in list_segments(instance))
    assert not alive
