"""``trade-infra decode`` on every public sample of every venue: records, or a named channel."""

import gzip
import json
import re

import pytest

from feeds.adapter import find_venue
from feeds.decode import SKIPPED, inferred, read_frames
from feeds.message import Reject
from tests.data import SHARED, shared
from tests.decoding import command, lines_of
from tests.naive_bybit import naive_bybit
from tests.naive_okx import naive_okx
from tests.naive_scan import naive_scan
from tests.scanning import expected

FOLDERS = {
    "binance_spot": "binance_spot",
    "binance_usdm": "binance_usdm",
    "okx": "okx",
    "bybit": "bybit",
    "bybit_spot": "bybit",
}
"""Venue -> folder of its samples; Bybit's two markets send the same messages."""

REFERENCES = {
    "binance_spot": naive_scan,
    "binance_usdm": naive_scan,
    "okx": naive_okx,
    "bybit": naive_bybit,
    "bybit_spot": naive_bybit,
}

CUT = "documentation shows the message without the fields that say something"
ROWS = "documentation shows levels without their quantities"
BAD = {
    ("binance_spot", "24hrMiniTicker.jsonl", 1): ("missing", CUT),
    ("binance_spot", "24hrTicker.jsonl", 4): ("missing", CUT),
    ("binance_spot", "aggTrade.jsonl", 3): ("missing", CUT),
    ("binance_spot", "depthUpdate.jsonl", 5): ("missing", CUT),
    ("binance_spot", "trade.jsonl", 5): ("missing", CUT),
    ("binance_usdm", "depthUpdate.jsonl", 10): ("type", ROWS),
}
"""Samples that are no whole messages: what the command says of them, and why."""

NOT_COVERED = re.compile(
    r"subscribe|status|system\.status|(.*@)?kline(_\w+|\..*)?|(.*@)?continuous_?[kK]line(_\w+)?"
    r"|1hTicker|avgPrice|blockTrade|EquityUpdate|(.*@)?compositeIndex|!?contractInfo"
    r"|.*@depth(5|10|20)(@\d+ms)?|snapshot of an unnamed instrument"
    r"|(index-|mark-price-)?candle\w+:.*|estimated-price:.*|instruments:.*|liquidations:.*"
    r"|opt-summary|price-limit:.*|priceLimit\..*"
)
"""All channels of the samples that no record stands for, and what answers call themselves."""

QUIET = re.compile(r"books-l2-tbt:.*|orderbook\.1\..*|tickers\..*")
"""Covered channels with messages that say nothing new: a book update without levels, a change of
one side of the best prices, a ticker without any of the numbers that records have."""

FRAMES = 1000
"""Frames of each recording: ``replay`` reads them all."""


def samples():
    """Yield (venue, path below its public folder) of every file of samples."""
    for venue, folder in FOLDERS.items():
        for path in sorted((SHARED / folder / "public").rglob("*.jsonl*")):
            yield venue, path.relative_to(SHARED / folder / "public").as_posix()


def decoded(venue, path, capsysbinary):
    """Return what the command prints, by the number of the frame."""
    assert command("--venue", venue, path) == 0
    found = {}
    for line in capsysbinary.readouterr().out.splitlines():
        each = json.loads(line)
        found.setdefault(each.pop("line"), []).append(each)
    return found


def shortened(path, folder):
    """Return a file with at most ``FRAMES`` lines of another, and their number."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        lines = [line for line, _ in zip(file, range(FRAMES), strict=False)]
    short = folder / path.name.removesuffix(".gz")
    short.write_bytes(b"".join(lines))
    index = path.parent / "index.tsv.gz"
    if index.exists():
        (folder / index.name).write_bytes(index.read_bytes())
    return short, len(lines)


@pytest.mark.parametrize(("venue", "name"), list(samples()))
def test_every_public_sample_gives_records_or_is_named(venue, name, tmp_path, capsysbinary):
    path, count = shortened(shared(f"{FOLDERS[venue]}/public") / name, tmp_path)
    found = decoded(venue, path, capsysbinary)
    for number in range(1, count + 1):
        lines = found.get(number, [])
        assert lines, (name, number)
        if (venue, name, number) in BAD:
            assert lines == [{"error": BAD[venue, name, number][0]}]
        elif skipped := lines[0].get("skipped"):
            channels = {"not covered": NOT_COVERED, "nothing of interest": QUIET}[skipped["why"]]
            assert channels.fullmatch(skipped["channel"]), (name, number, lines)
        else:
            assert all("type" in line for line in lines), (name, number, lines)


@pytest.mark.parametrize(("venue", "name"), list(samples()))
def test_every_line_equals_an_independent_decoding(venue, name, tmp_path, capsysbinary):
    path, count = shortened(shared(f"{FOLDERS[venue]}/public") / name, tmp_path)
    found, frames = decoded(venue, path, capsysbinary), read_frames(str(path))
    listed = inferred(find_venue(venue), frames)
    instruments = {
        each.native: (row, each.price_decimals, each.quantity_decimals)
        for row, each in enumerate(listed)
    }
    for number, (frame, address) in enumerate(frames, 1):
        if address is not None:
            continue  # The body of a request: its instrument stands in the address.
        items = expected(frame, 1, -1, instruments, naive=REFERENCES[venue])
        lines = []
        for item in items if not isinstance(items, Reject) else ():
            each = listed[item["instrument"]]
            lines += lines_of(item, each.native, each.price_decimals, each.quantity_decimals)
        if lines:
            assert found[number] == lines, (name, number)
            continue
        reject = items if isinstance(items, Reject) else Reject.NOTHING
        (line,) = found[number]
        if reject in SKIPPED:
            assert line["skipped"]["why"] == SKIPPED[reject], (name, number)
        else:
            assert line == {"error": reject.name.lower()}, (name, number)
    assert len(frames) == count


def test_the_list_of_bad_samples_names_samples():
    for venue, name, number in BAD:
        path = shared(f"{FOLDERS[venue]}/public") / name
        assert len(path.read_bytes().splitlines()) >= number
