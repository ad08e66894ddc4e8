"""``trade-infra decode`` on a few frames of each venue, written by hand, in ``tests/golden``.

They stand for the recorded messages where those are missing. A line of a file is a frame, what it
is about, and the lines that the command prints for it.
"""

import json
from pathlib import Path

import pytest

from feeds.adapter import venue_names
from tests.decoding import command

GOLDEN = Path(__file__).parent / "golden"


def cases(venue):
    """Return the frames of a venue with what they give."""
    return [json.loads(line) for line in (GOLDEN / f"{venue}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("venue", sorted(path.stem for path in GOLDEN.glob("*.jsonl")))
def test_frames_give_the_records_that_were_written_down_for_them(venue, tmp_path, capsysbinary):
    expected = cases(venue)
    path = tmp_path / "frames.jsonl"
    path.write_text("".join(f"{each['frame']}\n" for each in expected))
    assert command("--venue", venue, path) == 0
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    for number, each in enumerate(expected, 1):
        found = [line for line in lines if line["line"] == number]
        assert found == [line | {"line": number} for line in each["gives"]], each["about"]


def test_every_venue_of_this_package_has_frames():
    ours = {"binance_spot", "binance_usdm", "bybit", "bybit_spot", "okx"}
    assert {path.stem for path in GOLDEN.glob("*.jsonl")} == ours <= set(venue_names())
