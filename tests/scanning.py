"""Running a scanner and the reference side by side: shared by the tests of the scanners."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from feeds.binance import BINANCE_USDM
from feeds.binance.parse import CELLS, scan
from feeds.infer import Inference
from feeds.message import ITEM, ITEMS_MAX, LEVELS_MAX, Reject
from feeds.scan import PADDING
from feeds.symbols import build_symbols
from tests.data import shared
from tests.naive_scan import Instruments, naive_scan

ITEMS = np.zeros(ITEMS_MAX, ITEM)
LEVELS = np.zeros((LEVELS_MAX, 2), np.int64)
NEUTRAL = {name: 0 for name in ITEM.names or ()} | {"previous_id": -1}
SIDES = ("bid_start", "bid_count", "ask_start", "ask_count")


def sealed(frame: bytes) -> Any:
    """Return the frame at the very end of a buffer, with the least padding that is legal."""
    return np.frombuffer(frame + bytes(PADDING), np.uint8)


def symbols_of(instruments: Instruments) -> Any:
    return build_symbols((native, *each) for native, each in instruments.items())


def scanned(
    frame: bytes,
    kind: int,
    instrument: int,
    symbols: Any,
    items: Any = ITEMS,
    levels: Any = LEVELS,
    scanner: Any = scan,
) -> list[dict[str, Any]] | Reject:
    """Return what the scanner makes of a frame in the reference's form."""
    count = int(scanner(sealed(frame), len(frame), kind, instrument, symbols, items, levels))
    if count < 0:
        return Reject(count)
    found = []
    for item in items[:count]:
        fields = {name: int(item[name]) for name in ITEM.names or () if name not in SIDES}
        for side in ("bid", "ask"):
            start, size = int(item[f"{side}_start"]), int(item[f"{side}_count"])
            assert 0 <= start <= start + size <= len(levels) - CELLS
            fields[f"{side}s"] = [tuple(row) for row in levels[start : start + size].tolist()]
        found.append(fields)
    return found


def expected(
    frame: bytes,
    kind: int,
    instrument: int,
    instruments: Instruments,
    naive: Any = naive_scan,
) -> list[dict[str, Any]] | Reject:
    """Return what the reference makes of a frame, every field filled."""
    result = naive(frame, kind, instrument, instruments)
    if isinstance(result, Reject):
        return result
    neutral = {name: each for name, each in NEUTRAL.items() if name not in SIDES}
    return [neutral | {"bids": [], "asks": []} | item for item in result]


def capture_folders(venue: str) -> list[Path]:
    """Return the folders of a venue's recordings."""
    return sorted((shared(f"{venue}/public/captures")).iterdir())


def capture_frames(folder: Path) -> Iterator[tuple[bytes, bool, str]]:
    """Yield each frame of a recording: its bytes, whether it is a REST body, its address."""
    with (
        gzip.open(folder / "index.tsv.gz", "rt") as index,
        gzip.open(folder / "messages.jsonl.gz", "rb") as messages,
    ):
        next(index)
        for line in index:
            _, _, channel, address = line.rstrip("\n").split("\t")
            if channel == "connect":
                continue
            yield next(messages).rstrip(b"\n"), channel == "rest", address


def inferred(frames: Any, adapter: Any = BINANCE_USDM) -> Instruments:
    """Return the instruments that (frame, rest, address) triples need."""
    inference = Inference(adapter)
    for frame, rest, address in frames:
        inference.add(frame, address if rest else None)
    return {
        each.native: (row, each.price_decimals, each.quantity_decimals)
        for row, each in enumerate(inference.instruments())
    }
