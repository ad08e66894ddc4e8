"""The command: subcommands from entry points, errors, exit codes, and what is not imported."""

import json
import subprocess
import sys

import pytest

from engine import cli
from engine.counters import CountersWriter
from engine.rings import describe
from engine.segment import Kind, Shape, list_segments, open_shared

COMMANDS = """
import argparse
import sys

from engine.errors import SegmentNotFound


def register(subparsers):
    parser = subparsers.add_parser("greet", help="say hello")
    parser.add_argument("what")
    parser.set_defaults(handler=greet)


def greet(args):
    if args.what == "nobody":
        raise SegmentNotFound("nobody is there: look elsewhere")
    if args.what == "interrupt":
        raise KeyboardInterrupt
    for _ in range(int(args.what)):
        print("hello")
    return 3
"""


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """Install a package with the subcommand ``greet`` and a broken one, ``broken``."""
    (tmp_path / "greetings.py").write_text(COMMANDS)
    about = tmp_path / "greetings-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[trade_infra.commands]\ngreet = greetings:register\nbroken = greetings:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    sys.modules.pop("greetings", None)


def python(code, **options):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_subcommand_of_another_package_runs_and_gives_its_exit_code(greet, capsys):
    assert cli.main(["greet", "2"]) == 3
    assert capsys.readouterr().out == "hello\nhello\n"


def test_an_error_is_one_line_with_its_exit_code_and_no_traceback(greet, capsys):
    assert cli.main(["greet", "nobody"]) == 2
    assert capsys.readouterr().err == "error: nobody is there: look elsewhere\n"


def test_an_interrupt_ends_quietly(greet, capsys):
    assert cli.main(["greet", "interrupt"]) == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == ""


def test_a_broken_plug_in_is_reported_and_breaks_nothing_else(greet, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    shown = capsys.readouterr()
    assert caught.value.code == 0
    assert "greet" in shown.out
    assert "warning: command broken (greetings:nothing)" in shown.err


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == cli.EXIT_USAGE
    assert "COMMAND" in capsys.readouterr().err


def test_a_reader_that_leaves_a_pipe_is_no_error(greet):
    code = "import sys; from engine.cli import main; sys.exit(main(['greet', '100000']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize(
    "arguments", [["--help"], ["rings", "ls"], ["config", "-h"], ["up", "-h"], ["run", "-h"]]
)
def test_looking_at_things_does_not_import_numba(arguments):
    code = (
        "import sys; from engine.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'numba', 'aiohttp', 'rich', 'uvloop'} & set(sys.modules)))"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", sorted(cli.commands()))
def test_each_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "-h"])
    assert caught.value.code == 0
    assert "example: trade-infra" in capsys.readouterr().out


def test_rings_ls_shows_a_segment_and_its_live_writer(instance, capsys):
    counters = CountersWriter.open(instance, "p")
    try:
        assert cli.main(["rings", "ls", "--instance", instance, "--json"]) == 0
    finally:
        counters.close()
    row = json.loads(capsys.readouterr().out)
    assert (row["name"], row["kind"], row["writer"]) == ("ctr.p", "counters", "alive")
    assert row["size_bytes"] > 0


def test_rings_ls_prints_a_row_a_segment(instance, capsys):
    CountersWriter.open(instance, "p").close()
    assert cli.main(["rings", "ls", "--instance", instance]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("\t")[0] == "SEGMENT"
    assert row.split("\t")[:2] == [f"/{instance}.ctr.p", "counters"]
    assert "dead" in row


def test_a_segment_that_is_no_segment_is_listed_with_the_reason(instance):
    import posix_ipc

    made = posix_ipc.SharedMemory(f"/{instance}.junk", posix_ipc.O_CREX, size=8192)
    made.close_fd()
    assert "has not finished" in describe(instance, "junk").note


def test_rings_rm_refuses_a_segment_with_a_live_writer(instance, capsys):
    counters = CountersWriter.open(instance, "p")
    try:
        assert cli.main(["rings", "rm", "--instance", instance, "ctr.p"]) == 1
    finally:
        counters.close()
    assert "stop it first" in capsys.readouterr().err
    assert list_segments(instance) == [(instance, "ctr.p")]


def test_rings_rm_removes_what_nobody_writes(instance):
    CountersWriter.open(instance, "p").close()
    CountersWriter.open(instance, "q").close()
    assert cli.main(["rings", "rm", "--instance", instance, "--all"]) == 0
    assert list_segments(instance) == []


def test_rings_rm_removes_all_or_nothing(instance, capsys):
    CountersWriter.open(instance, "dead").close()
    counters = CountersWriter.open(instance, "p")
    command = ["rings", "rm", "--instance", instance]
    try:
        assert cli.main([*command, "ctr.dead", "ctr.p"]) == 1
        assert "nothing was removed" in capsys.readouterr().err
        assert cli.main([*command, "--all"]) == 1
        assert cli.main([*command, "ctr.dead", "nothing"]) == 2
        assert list_segments(instance) == [(instance, "ctr.dead"), (instance, "ctr.p")]
        assert cli.main([*command, "ctr.dead"]) == 0
    finally:
        counters.close()
    assert list_segments(instance) == [(instance, "ctr.p")]


def test_rings_rm_keeps_a_doorbell_while_something_of_its_instance_is_written(instance, capsys):
    open_shared(instance, "md.bell", Shape(Kind.BELL, None, 0)).close()
    counters = CountersWriter.open(instance, "p")
    command = ["rings", "rm", "--instance", instance, "md.bell"]
    try:
        assert cli.main(command) == 1
    finally:
        counters.close()
    assert f"while /{instance}.ctr.p is being written" in capsys.readouterr().err
    assert (instance, "md.bell") in list_segments(instance)
    assert cli.main(command) == 0
    assert list_segments(instance) == [(instance, "ctr.p")]


def test_rings_rm_names_what_is_not_there(instance, capsys):
    assert cli.main(["rings", "rm", "--instance", instance, "nothing"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_rings_rm_wants_to_know_what_to_remove(instance, capsys):
    assert cli.main(["rings", "rm", "--instance", instance]) == 2
    assert "--all" in capsys.readouterr().err
