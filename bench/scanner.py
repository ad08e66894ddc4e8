"""The jitted scanner against C by hand, orjson and msgspec, on recorded frames of Binance.

Every contender reads the same distinct frames in the same process, taking turns, and ends with
integers or floats for every field that a record has: C fills the same arrays as the jitted scanner
(first compared, item by item), orjson and msgspec convert to Python numbers. Run it as
``python -m bench.scanner [--json]``; it needs a C compiler and the shared captures.
"""

import argparse
import ctypes
import gzip
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from numba import types
from numpy.typing import NDArray

from engine.jit import kernel
from feeds.adapter import ExchangeAdapter
from feeds.binance import BINANCE_USDM
from feeds.infer import Inference
from feeds.message import ITEM, ITEMS_MAX, LEVELS_MAX, SCAN, Bytes, Items, Levels, Symbols
from feeds.scan import PADDING
from feeds.symbols import build_symbols

CAPTURES = Path(__file__).parents[1].parent / "shared" / "data"
FRAMES = 12_000
"""Distinct frames of each kind: on fewer the branch predictor learns them by heart."""
ROUNDS = 7
TEXT = 1

SOURCES = {
    "usdm trade": ("binance_usdm", ("hft_btcusdt_20240808",), b'"e":"trade"'),
    "usdm aggTrade": ("binance_usdm", ("cf_5sym_20210405", "cf_4sym_20210417"), b'"e":"aggTrade"'),
    "usdm bookTicker": ("binance_usdm", ("hft_btcusdt_20240808",), b'"e":"bookTicker"'),
    "usdm depth": (
        "binance_usdm",
        ("hft_btcusdt_20240808", "hft_ethusdt_20240718"),
        b'"e":"depthUpdate"',
    ),
    "spot trade": ("binance_spot", ("hft_btcusdt_20240808",), b'"e":"trade"'),
    "spot bookTicker": ("binance_spot", ("hft_btcusdt_20240808",), b'@bookTicker"'),
    "spot depth": (
        "binance_spot",
        ("hft_btcusdt_20240808", "cf_btc_eth_dot_20210404", "cf_10sym_20210405"),
        b'"e":"depthUpdate"',
    ),
}
BANDS = {"usdm depth, about 80": (65, 95), "usdm depth, wide": (95, 10_000)}
"""Rows of the USDⓈ-M depth updates with that many levels."""


class Event(msgspec.Struct):
    """Every field of every channel, typed: msgspec converts while it decodes."""

    s: str
    e: str = ""
    E: int = 0
    T: int = 0
    t: int = 0
    p: float = 0.0
    q: float = 0.0
    m: bool = False
    X: str = ""
    u: int = 0
    U: int = 0
    pu: int = -1
    B: float = 0.0
    A: float = 0.0


class Quote(Event):
    """A best bid and offer, or a trade (whose a and b are ids)."""

    b: float = 0.0
    a: float = 0.0


class Depth(Event):
    """A book update."""

    b: list[tuple[float, float]] = []
    a: list[tuple[float, float]] = []


class QuoteFrame(msgspec.Struct):
    """A combined stream's envelope."""

    data: Quote


class DepthFrame(msgspec.Struct):
    """A combined stream's envelope."""

    data: Depth


def with_orjson(frames: list[bytes], depth: bool) -> None:
    """Decode to dictionaries and convert what a record holds to numbers."""
    loads = orjson.loads
    for frame in frames:
        d = loads(frame)["data"]
        if depth:
            [(float(p), float(q)) for p, q in d["b"]]
            [(float(p), float(q)) for p, q in d["a"]]
            d["E"], d["U"], d["u"], d.get("pu")
        elif "p" in d:
            float(d["p"]), float(d["q"]), d["E"], d["m"]
        else:
            float(d["b"]), float(d["B"]), float(d["a"]), float(d["A"]), d["u"]


def with_msgspec(frames: list[bytes], depth: bool) -> None:
    """Decode into typed structs, decimal text to floats."""
    decode = msgspec.json.Decoder(DepthFrame if depth else QuoteFrame, strict=False).decode
    for frame in frames:
        decode(frame)


@kernel(
    types.int64(
        types.FunctionType(SCAN), Bytes, types.int64[::1], types.int64[::1], Symbols, Items, Levels
    )
)
def scan_all(
    scanner: Callable[..., int],
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    symbols: NDArray[np.void],
    items: NDArray[np.void],
    levels: NDArray[np.int64],
) -> int:
    """Scan frame after frame, as a worker does; return the sum of the results."""
    total = 0
    for n in range(len(starts)):
        start = starts[n]
        length = lengths[n]
        frame = data[start : start + length + PADDING]
        total += scanner(frame, length, TEXT, -1, symbols, items, levels)
    return total


class Corpus:
    """Frames of one kind: as bytes for Python, and padded one after the other for the scanners."""

    def __init__(self, frames: list[bytes], adapter: ExchangeAdapter = BINANCE_USDM) -> None:
        inference = Inference(adapter)
        for frame in frames:
            inference.add(frame)
        self.frames, self.scan = frames, adapter.scan
        self.symbols = build_symbols(
            (each.native, row, each.price_decimals, each.quantity_decimals)
            for row, each in enumerate(inference.instruments())
        )
        self.lengths = np.array([len(frame) for frame in frames], np.int64)
        self.starts = np.zeros(len(frames), np.int64)
        self.starts[1:] = np.cumsum(self.lengths + PADDING)[:-1]
        self.data = np.frombuffer(b"".join(frame + bytes(PADDING) for frame in frames), np.uint8)
        self.items = np.zeros(ITEMS_MAX, ITEM)
        self.levels = np.zeros((LEVELS_MAX, 2), np.int64)

    def jitted(self) -> int:
        """Run the jitted scanner over all frames."""
        return int(
            scan_all(
                self.scan,
                self.data,
                self.starts,
                self.lengths,
                self.symbols,
                self.items,
                self.levels,
            )
        )

    def by_hand(self, library: ctypes.CDLL) -> int:
        """Run the C scanner over all frames."""
        return int(
            library.scan_all(
                self.data.ctypes.data_as(ctypes.c_void_p),
                self.starts.ctypes.data_as(ctypes.c_void_p),
                self.lengths.ctypes.data_as(ctypes.c_void_p),
                len(self.frames),
                self.symbols.ctypes.data_as(ctypes.c_void_p),
                len(self.symbols),
                self.items.ctypes.data_as(ctypes.c_void_p),
                len(self.items),
                self.levels.ctypes.data_as(ctypes.c_void_p),
                len(self.levels),
            )
        )

    def check(self, library: ctypes.CDLL) -> float:
        """Compare both scanners frame by frame; return the mean number of levels."""
        count = 0
        for n, frame in enumerate(self.frames):
            one = Corpus.__new__(Corpus)
            one.__dict__ |= self.__dict__ | {"frames": [frame]}
            one.starts, one.lengths = self.starts[n : n + 1], self.lengths[n : n + 1]
            results = []
            for run in (self.jitted_one, lambda c: c.by_hand(library)):
                self.items[0] = 0
                result = run(one)
                levels = int(self.items[0]["bid_count"] + self.items[0]["ask_count"])
                results.append((result, self.items[0].tobytes(), self.levels[:levels].tobytes()))
            if results[0] != results[1] or results[0][0] != 1:
                raise AssertionError(f"the scanners differ on {frame!r}: {results}")
            count += levels
        return count / len(self.frames)

    @staticmethod
    def jitted_one(corpus: "Corpus") -> int:
        """Run the jitted scanner over one frame's corpus."""
        return corpus.jitted()


def frames_of(venue: str, captures: Iterable[str], mark: bytes) -> list[bytes]:
    """Return up to ``FRAMES`` distinct frames that contain ``mark``."""
    found: dict[bytes, None] = {}
    for name in captures:
        path = CAPTURES / venue / "public" / "captures" / name / "messages.jsonl.gz"
        with gzip.open(path, "rb") as lines:
            some = (line.rstrip(b"\r\n") for line in lines if mark in line)
            found |= dict.fromkeys(islice(some, FRAMES - len(found)))
    return list(found)


def compiled() -> ctypes.CDLL:
    """Build and load ``bench/scan.c``."""
    compiler = os.environ.get("CC", "cc")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "scan.so"
        source = Path(__file__).with_name("scan.c")
        options = ["-O3", "-march=native", "-shared", "-fPIC", "-o", str(target), str(source)]
        subprocess.run([compiler, *options], check=True)
        library = ctypes.CDLL(str(target))
    library.scan_all.restype = ctypes.c_int64
    library.scan_all.argtypes = [
        ctypes.c_void_p if n not in (3, 5, 7, 9) else ctypes.c_int64 for n in range(10)
    ]
    return library


def measure(name: str, frames: list[bytes], library: ctypes.CDLL) -> dict[str, Any]:
    """Return ns a frame of each contender: best of ``ROUNDS`` rounds, taking turns."""
    corpus = Corpus(frames)
    levels = corpus.check(library)
    depth = "depth" in name
    contenders: dict[str, Callable[[], Any]] = {
        "jitted": corpus.jitted,
        "c": lambda: corpus.by_hand(library),
        "orjson": lambda: with_orjson(frames, depth),
        "msgspec": lambda: with_msgspec(frames, depth),
    }
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for contender, run in contenders.items():
            started = time.perf_counter_ns()
            run()
            took = (time.perf_counter_ns() - started) / len(frames)
            best[contender] = min(best[contender], took)
    return {"message": name, "frames": len(frames), "levels": round(levels, 1)} | best


def main() -> None:
    """Measure every kind of message and print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if not CAPTURES.exists():
        raise SystemExit(f"error: the recorded frames are missing: {CAPTURES}")
    library = compiled()
    rows = []
    for name, source in SOURCES.items():
        frames = frames_of(*source)
        rows.append(measure(name, frames, library))
        if name == "usdm depth":
            for band, (least, most) in BANDS.items():
                some = [frame for frame in frames if least <= frame.count(b'["') < most]
                rows.append(measure(band, some, library))
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'message':<22}{'frames':>7}{'levels':>8}{'jitted':>9}{'C':>9}{'orjson':>9}", end="")
    print(f"{'msgspec':>9}{'/C':>7}{'orjson/':>9}{'msgspec/':>10}   (ns a frame)")
    for row in rows:
        print(
            f"{row['message']:<22}{row['frames']:>7}{row['levels']:>8}{row['jitted']:>9.1f}"
            f"{row['c']:>9.1f}{row['orjson']:>9.0f}{row['msgspec']:>9.0f}"
            f"{row['jitted'] / row['c']:>7.2f}{row['orjson'] / row['jitted']:>9.1f}"
            f"{row['msgspec'] / row['jitted']:>10.1f}"
        )


if __name__ == "__main__":
    main()
