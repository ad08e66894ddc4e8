"""The scanner and the reference agree on every recorded frame of Binance."""

import json
from itertools import islice

import pytest

from feeds.message import Reject
from tests.data import shared
from tests.scanning import (
    capture_folders,
    capture_frames,
    expected,
    inferred,
    scanned,
    symbols_of,
)

VENUES = ("binance_spot", "binance_usdm")
FRAMES = 2500
"""Frames of each recording: all of them agree, but the reference is slow."""

COVERED = ("trade", "aggTrade", "depthUpdate", "bookTicker", "markPriceUpdate")
COVERED += ("forceOrder", "24hrTicker", "24hrMiniTicker")


def _samples(venue):
    for path in sorted(shared(f"{venue}/public").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield path.stem, line, False, ""
    for path in sorted(shared(f"{venue}/rest").glob("*openInterest.jsonl")):
        for line in path.read_bytes().splitlines():
            yield path.stem, line, False, ""
    for path in sorted(shared(f"{venue}/rest").glob("*epth.jsonl")):
        for line in path.read_bytes().splitlines():
            yield path.stem, line, True, "https://x/depth?symbol=REST"


@pytest.mark.parametrize("venue", VENUES)
def test_every_sample_of_a_public_message_reads_as_in_the_reference(venue):
    samples = list(_samples(venue))
    instruments = inferred((line, rest, address) for _, line, rest, address in samples)
    symbols = symbols_of(instruments)
    for name, line, rest, _ in samples:
        row = instruments["REST"][0] if rest else -1
        found = scanned(line, 3 if rest else 1, row, symbols)
        assert found == expected(line, 3 if rest else 1, row, instruments), (name, line)


@pytest.mark.parametrize("venue", VENUES)
def test_every_recorded_frame_reads_as_in_the_reference(venue):
    for folder in capture_folders(venue):
        frames = list(islice(capture_frames(folder), FRAMES))
        instruments = inferred(frames)
        symbols = symbols_of(instruments)
        covered = 0
        for frame, rest, address in frames:
            native = address.rpartition("symbol=")[2].partition("&")[0] or next(iter(instruments))
            row = instruments[native][0] if rest else -1
            kind = 3 if rest else 1
            found = scanned(frame, kind, row, symbols)
            assert found == expected(frame, kind, row, instruments), frame
            event = json.loads(frame).get("data", {}).get("e", "bookTicker")
            if rest or event in COVERED:
                assert not isinstance(found, Reject), frame
                covered += 1
        assert covered > len(frames) // 2
