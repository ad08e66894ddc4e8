"""The configuration file: what is accepted, and what its errors say."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import pytest

from engine import config
from engine.errors import ConfigError

GOOD = """
instance = "ti"
environment = "simulator"
[logging]
level = "debug"
[endpoints.binance_usdm]
rest = "http://127.0.0.1:9101"
websocket = { public = "ws://127.0.0.1:9101" }
[[process]]
name = "feed-usdm"
wait = "yield"
cpus = [0]
agents = [{ kind = "feed", venue = "binance_usdm", symbols = ["BTCUSDT"] }]
[[process]]
name = "worker"
agents = [{ kind = "worker" }, { kind = "strategy", name = "mine" }]
"""


@pytest.fixture
def load(tmp_path):
    def load(text, environment=None):
        path = tmp_path / "ti.toml"
        path.write_text(text)
        return config.load(path, environment or {})

    return load


def refuse(load, text, *words, environment=None):
    with pytest.raises(ConfigError) as caught:
        load(text, environment)
    for word in ("ti.toml", *words):
        assert word in str(caught.value)


def test_a_file_becomes_typed_values_and_defaults(load):
    loaded = load(GOOD)
    assert loaded.logging.level == "debug"
    assert loaded.endpoints["binance_usdm"].websocket == {"public": "ws://127.0.0.1:9101"}
    feed, worker = loaded.processes
    assert (feed.wait, feed.cpus, worker.wait, worker.restart) == ("yield", (0,), "park", True)
    assert feed.agents[0]["symbols"] == ["BTCUSDT"]


def test_an_empty_file_is_the_default_configuration(load):
    assert load("") == config.Config()


def test_an_agent_is_named_after_its_process_or_with_its_kind(load):
    feed, worker = load(GOOD).processes
    assert config.agent_names(feed) == ["feed-usdm"]
    assert config.agent_names(worker) == ["worker-worker", "mine"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("instanc = 'x'", ["instanc: unknown key", "did you mean instance?", "environment"]),
        ("logging.levle = 'x'", ["logging.levle: unknown key", "did you mean level?"]),
        ("logging.level = 'loud'", ["logging.level", "'loud'", "debug, info, warning, error"]),
        ("keep_segments = 1", ["keep_segments", "Expected `bool`", "found 1"]),
        ("environment = 'liev'", ["environment", "'liev'", "live"]),
        ("instance = 'Ti'", ["instance", "'Ti'", "lower-case"]),
        ("instance = 'a.b'", ["instance", "'a.b'"]),
        ("[[process]]\nname = 'a'", ["process[0].agents: missing"]),
        ("[[process]]\nname = 'a'\nagents = []", ["process[0].agents", "none"]),
        ("[[process]]\nname = 'a'\nagents = [{}]", ["process[0].agents[0].kind: missing"]),
        ("endpoints.x.rset = 1", ["endpoints.*.rset: unknown key", "did you mean rest?"]),
        ("a = ]", ["not valid toml", "line 1"]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(load, text, words):
    refuse(load, text, *words)


def test_a_wrong_value_inside_a_process_is_found_by_its_path(load):
    refuse(load, GOOD.replace('"yield"', '"sleep"'), "process[0].wait", "'sleep'", "park")
    refuse(load, GOOD.replace("cpus = [0]", "cpus = ['x']"), "process[0].cpus[0]", "'x'")


def test_process_names_are_unique(load):
    refuse(load, GOOD.replace('"worker"\nagents', '"feed-usdm"\nagents'), "used twice")


def test_the_supervisor_keeps_its_name_for_itself(load):
    refuse(load, GOOD.replace('"worker"\nagents', '"supervisor"\nagents'), "reserved")


def test_agent_names_are_unique_in_a_process(load):
    text = GOOD.replace('kind = "strategy", name = "mine"', 'kind = "worker"')
    refuse(load, text, "process[1].agents[1].name", "worker-worker", "used twice")


def test_a_missing_file_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "none.toml")


def test_the_environment_overrides_a_key(load):
    assert load(GOOD, {"TRADE_INFRA__LOGGING__LEVEL": "error"}).logging.level == "error"


def test_an_override_makes_the_table_it_needs(load):
    assert load("", {"TRADE_INFRA__LOGGING__FORMAT": "json"}).logging.format == "json"


def test_an_override_is_read_as_toml(load):
    changed = load(GOOD, {"TRADE_INFRA__PROCESS__0__CPUS": "[1, 2]"})
    assert changed.processes[0].cpus == (1, 2)


def test_an_override_finds_processes_and_agents_by_name(load):
    environment = {
        "TRADE_INFRA__PROCESS__FEED_USDM__WAIT": "spin",
        "TRADE_INFRA__PROCESS__WORKER__AGENTS__MINE__SIZE": "5",
    }
    changed = load(GOOD, environment)
    assert changed.processes[0].wait == "spin"
    assert changed.processes[1].agents[1]["size"] == 5


@pytest.mark.parametrize(
    "name", ["PROCESS__NOBODY__WAIT", "PROCESS__9__WAIT", "INSTANCE__X", "", "LOGGING____X"]
)
def test_an_override_that_leads_nowhere_is_refused_by_name(load, name):
    refuse(load, GOOD, f"TRADE_INFRA__{name}", environment={f"TRADE_INFRA__{name}": "1"})


def test_a_bad_override_is_named_in_the_error(load):
    environment = {"TRADE_INFRA__LOGGING__LEVEL": "loud"}
    refuse(load, GOOD, "logging.level", "TRADE_INFRA__LOGGING__LEVEL", environment=environment)


def test_a_saved_configuration_loads_as_itself(load, tmp_path):
    loaded = load(GOOD)
    config.save(loaded, tmp_path / "saved.json")
    assert config.load(tmp_path / "saved.json", {}) == loaded


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    venue: str
    depth: int = 20


@dataclass
class Context:
    settings: dict = field(default_factory=dict)
    where: str = "process.feed.agents[0]"


def test_agent_settings_become_the_agents_own_type():
    assert config.settings(Settings, Context({"venue": "x"})) == Settings("x", 20)


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Painted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    colors: tuple[Color, ...]


def test_a_value_that_an_enumeration_lacks_is_named_with_those_that_it_has():
    with pytest.raises(ConfigError, match=r"colors\[1\]: found 'rde', allowed: red, blue$"):
        config.settings(Painted, Context({"colors": ["red", "rde"]}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"venue": "x", "dpeth": 5}, r"agents\[0\].dpeth: unknown key; did you mean depth"),
        ({}, r"process.feed.agents\[0\].venue: missing"),
        ({"venue": "x", "depth": "5"}, r"agents\[0\].depth: Expected `int`.*found '5'"),
    ],
)
def test_a_wrong_agent_setting_is_named_with_its_place(given, message):
    with pytest.raises(ConfigError, match=message):
        config.settings(Settings, Context(given))


def test_check_names_what_this_machine_or_installation_lacks(load):
    text = GOOD.replace("[0]\n", "[9999]\n").replace(
        '"feed", venue = "binance_usdm"', '"feeed", venue = "x"'
    )
    problems = "\n".join(config.check(load(text)))
    assert "process[0].cpus: found 9999" in problems
    assert "process[0].agents[0].kind: found 'feeed'" in problems
    assert "process[0].agents[0].venue: found 'x'" in problems


def test_check_asks_for_a_process(load):
    assert list(config.check(load(""))) == ["process: none is configured; add a [[process]] table"]


def test_show_prints_the_final_configuration(tmp_path, capsys, monkeypatch):
    from engine.cli import main

    path = tmp_path / "ti.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("TRADE_INFRA__INSTANCE", "other")
    assert main(["config", "show", str(path)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["instance"] == "other"
    assert "TRADE_INFRA__INSTANCE=other" in shown.err


def test_the_check_command_exits_with_the_code_of_configuration_errors(tmp_path, capsys):
    from engine.cli import main

    path = tmp_path / "ti.toml"
    path.write_text("instance = 5")
    assert main(["config", "check", str(path)]) == ConfigError.exit_code
    assert "error: " in capsys.readouterr().err
    path.write_text("")
    assert main(["config", "check", str(path)]) == ConfigError.exit_code


def checked(text, tmp_path, environment=None):
    """Return the status and the errors of ``config check`` of a file."""
    path = tmp_path / "ti.toml"
    path.write_text(text)
    command = [sys.executable, "-m", "engine.cli", "config", "check", str(path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr.replace(f"error: {path}: ", "").splitlines()


SOME_AGENTS = """
[[process]]
name = "feed"
agents = [{ kind = "feed", venue = "binance_usdm", symbols = "BTCUSDT" }]
[[process]]
name = "worker"
agents = [{ kind = "market-data", venues = ["binance_usdm"], dpeth = 5 }]
[[process]]
name = "clock"
agents = [{ kind = "ticker", anything = "goes" }]
"""


@pytest.mark.processes
def test_the_check_command_looks_at_the_settings_of_each_agent(tmp_path, plugin):
    status, errors = checked(SOME_AGENTS, tmp_path, plugin)
    assert status == ConfigError.exit_code
    assert [error.partition(": ")[0] for error in errors] == [
        "process[0].agents[0].symbols",
        "process[1].agents[0].dpeth",
    ]


@pytest.mark.processes
def test_the_check_command_names_an_agent_that_cannot_be_imported(tmp_path, plugin):
    (tmp_path / "plugin" / "toys.py").write_text("import does_not_exist")
    text = '[[process]]\nname = "clock"\nagents = [{ kind = "ticker" }]'
    status, errors = checked(text, tmp_path, plugin)
    assert status == ConfigError.exit_code
    assert errors == [
        "process[0].agents[0].kind: 'ticker' cannot be imported: No module named 'does_not_exist'"
    ]


WRONG_VALUES = """
[[process]]
name = "usdm"
agents = [{ kind = "feed", venue = "binance_usdm", symbols = ["*"], channels = ["book", "boook"] }]
[[process]]
name = "okx"
agents = [{ kind = "feed", venue = "okx", symbols = ["*"], book = "depth" }]
[[process]]
name = "bybit"
agents = [{ kind = "feed", venue = "bybit", symbols = ["*"], book = "orderbook.50" }]
"""


@pytest.mark.processes
def test_the_check_command_knows_the_channels_and_the_books_of_a_venue(tmp_path):
    status, errors = checked(WRONG_VALUES, tmp_path)
    assert status == ConfigError.exit_code
    assert errors == [
        "process[0].agents[0].channels[1]: found 'boook', "
        "allowed: trades, book, top, funding, liquidations, stats",
        "process[1].agents[0].book: found 'depth', "
        "okx has: books, books50-l2-tbt, books-l2-tbt, books5",
    ]
