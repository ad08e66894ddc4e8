"""The exit codes of the commands: the same mistake gives the same code, whichever the command."""

import gzip
import subprocess
import sys

import pytest

from engine import cli

WRONG = 'instanc = "x"'
UNKNOWN_VENUE = """
[[process]]
name = "feed"
agents = [{ kind = "feed", venue = "moon", symbols = ["BTCUSDT"] }]
"""


def code(*arguments):
    """Return the exit code of a command that runs in this process."""
    try:
        return cli.main([str(each) for each in arguments])
    except SystemExit as usage:
        return usage.code


@pytest.fixture
def frames(tmp_path):
    path = tmp_path / "frames.jsonl"
    path.write_bytes(b"{}\n")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "none"),
        ("run", "none", "feed"),
        ("config", "check", "none"),
        ("config", "show", "none"),
        ("decode", "--venue", "okx", "none"),
        ("replay", "none"),
        ("replay", "--venue", "okx", "none"),
        ("capture", "info", "none"),
    ],
)
def test_a_file_that_is_not_there_is_not_found(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert code(*arguments) == 2
    assert "none: " in capsys.readouterr().err


def test_a_frame_to_drop_that_is_not_there_makes_no_sense(tmp_path, capsys):
    index = b"line\trecv_ns\tchannel\turl\n0\t1\tws\t\n"
    frame = b'{"e":"trade","s":"BTCUSDT","p":"1.5","q":"2"}\n'
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(frame))
    (tmp_path / "index.tsv.gz").write_bytes(gzip.compress(index))
    assert code("replay", "--venue", "binance_spot", "--drop", "99999", tmp_path) == 2
    assert "has frames 0 to 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["decode", "replay"])
def test_exchange_information_that_is_not_there_is_not_found(command, tmp_path, capsys):
    index = b"line\trecv_ns\tchannel\turl\n0\t1\tws\t\n"
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    (tmp_path / "index.tsv.gz").write_bytes(gzip.compress(index))
    assert code(command, "--venue", "okx", "--instruments", tmp_path / "none", tmp_path) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("decode", "--venue", "moon"), ("replay", "--venue", "moon")]
)
def test_a_venue_that_is_not_installed_is_not_found(arguments, frames, capsys):
    assert code(*arguments, frames) == 2
    assert "venue 'moon' is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demo", "--venues", "moon"), "venue 'moon' is not installed"),
        (("demo", "--symbols", "FOO/USDT"), "FOO/USDT is on none of"),
        (("demo", "--lines", "9"), "found 9, allowed: 1 to 4"),
        (("demo", "--seconds", "-1"), "found -1.0, allowed: 0 or more"),
        (("venue", "--venues", "moon"), "no venue 'moon'"),
        (("venue", "--symbols", "FOO"), "no symbol 'FOO'"),
        (("rings", "rm"), "name the segments to remove"),
        (("layout", "moon"), "no layout 'moon'"),
        (("compile", "moon"), "unrecognized arguments: moon"),
        (("moon",), "invalid choice: 'moon'"),
    ],
)
def test_what_the_command_line_cannot_mean_is_a_usage_error(arguments, words, capsys):
    assert code(*arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("record", "--venue", "okx", "--out", "x"),
        ("parquet", "--out", "x"),
        ("rings", "rm", "md.trades"),
    ],
)
def test_an_instance_that_is_not_there_is_not_found(arguments, instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert code(*arguments, "--instance", instance) == 2


def test_a_process_that_the_configuration_lacks_is_not_found(tmp_path):
    path = tmp_path / "ti.toml"
    path.write_text(UNKNOWN_VENUE)
    assert code("run", path, "worker") == 2


@pytest.mark.parametrize(
    "arguments", [("up",), ("run", "feed"), ("config", "check"), ("config", "show")]
)
def test_a_file_that_cannot_be_run_is_a_configuration_error(arguments, tmp_path, capsys):
    path = tmp_path / "ti.toml"
    path.write_text(WRONG)
    command, *rest = arguments
    named = (command, path, *rest) if command == "run" else (command, *rest, path)
    assert code(*named) == 4
    assert "instanc: unknown key; did you mean instance?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("up",), ("config", "check")])
def test_an_unknown_venue_in_a_file_is_a_configuration_error(command, tmp_path, capsys):
    path = tmp_path / "ti.toml"
    path.write_text(UNKNOWN_VENUE)
    assert code(*command, path) == 4
    assert "process[0].agents[0].venue: found 'moon'" in capsys.readouterr().err


@pytest.mark.processes
def test_a_process_of_an_unknown_venue_ends_with_a_configuration_error(tmp_path, instance):
    path = tmp_path / "ti.toml"
    path.write_text(f'instance = "{instance}"\n{UNKNOWN_VENUE}')
    command = [sys.executable, "-m", "engine.cli", "run", str(path), "feed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 4
    assert "venue 'moon' is not installed" in done.stderr


@pytest.mark.parametrize("command", [("decode", "--venue", "okx"), ("capture", "info")])
def test_a_file_that_cannot_be_read_is_an_error(command, tmp_path, capsys):
    path = tmp_path / "messages.jsonl.gz"
    path.write_bytes(b"not packed")
    assert code(*command, path) == 1
    assert "error: " in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_an_error(tmp_path, capsys):
    assert code("demo", "--write-config", tmp_path / "none" / "ti.toml") == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
