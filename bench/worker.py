"""How many frames a second the market-data worker takes: ``python -m bench.worker CAPTURE``.

A recorded capture's frames are put into a raw ring, and the worker's kernel is timed while it
empties it: small frames (trades, tickers) as frames a second, depth updates as nanoseconds a level.
Publication is not timed; all of it happens in one thread. Small frames are repeated with new ids
until there are enough of them, so that each one gives a record.
"""

import argparse
import gzip
import logging
import os
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import orjson

from engine.agent import AgentContext
from engine.config import Config
from engine.counters import CountersWriter
from engine.frames import FrameKind, FrameWriter
from engine.segment import list_segments, unlink_segment
from engine.table import TableWriter
from feeds.binance import BINANCE_USDM
from feeds.capture import INDEX, MESSAGES
from feeds.infer import Inference
from feeds.types import INSTRUMENT
from feeds.worker import Worker

FRAMES = 65_536
AREA_BYTES = 256 << 20
ROUNDS = 8
_ID = re.compile(rb'"(a|u|t)":(\d+)')

Frame = tuple[bytes, int, int]
"""Payload, frame kind, instrument row."""


class Bench:
    """A raw ring and a worker in this process."""

    def __init__(self, venue: str, instruments: Inference) -> None:
        self.instance, self.venue = f"bench-{os.getpid()}", venue
        self.writer = FrameWriter.open(self.instance, f"md.raw.{venue}", FRAMES, AREA_BYTES)
        self.table = TableWriter.open(self.instance, f"feed.{venue}.instruments", INSTRUMENT, 64)
        for row, each in enumerate(instruments.instruments()):
            record = np.zeros(1, INSTRUMENT.dtype)
            record["instrument"], record["venue"] = row, venue.encode()
            record["native"], record["tick"] = each.native.encode(), 1
            record["price_decimals"] = each.price_decimals
            record["quantity_decimals"] = each.quantity_decimals
            self.table.write(row, record)
        self.counters = CountersWriter.open(self.instance, "worker")
        settings = {"venues": [venue], "frames_per_cycle": 1024}
        self.worker = Worker(
            AgentContext(
                self.instance,
                "worker",
                settings,
                Config(),
                self.counters,
                logging.getLogger("worker"),
            )
        )
        self.worker.start()

    def run(self, frames: list[Frame]) -> float:
        """Publish the frames and return the seconds that the worker took for them."""
        now = time.time_ns()
        for payload, kind, row in frames:
            self.writer.publish(payload, now, kind, 0, row)
        started = time.perf_counter()
        while self.worker.do_work():
            pass
        return time.perf_counter() - started

    def count(self, name: str) -> int:
        """Return a counter."""
        return int(self.counters.values[self.counters.counter(name)])

    def close(self) -> None:
        """Remove everything."""
        self.worker.close()
        self.counters.close()
        self.writer.close()
        self.table.close()
        for instance, name in list_segments(self.instance):
            unlink_segment(instance, name)


def read(folder: Path) -> tuple[list[Frame], Inference]:
    """Return a capture's frames, with the instruments that they need."""
    inference = Inference(BINANCE_USDM)
    found = []
    with (
        gzip.open(folder / INDEX, "rt") as index,
        gzip.open(folder / MESSAGES, "rb") as messages,
    ):
        next(index)
        for line in index:
            _, _, channel, address = line.rstrip("\n").split("\t")
            if channel == "connect":
                continue
            payload = next(messages).rstrip(b"\n")
            inference.add(payload, address if channel == "rest" else None)
            found.append((payload, channel == "rest", address))
    rows = {each.native: row for row, each in enumerate(inference.instruments())}
    frames = []
    for payload, rest, address in found:
        native = parse_qs(urlsplit(address).query).get("symbol", [next(iter(rows))])[0]
        kind = FrameKind.REST_DEPTH if rest else FrameKind.TEXT
        frames.append((payload, int(kind), rows[native] if rest else -1))
    return frames, inference


def renumbered(payload: bytes, step: int) -> bytes:
    """Return a frame with its ids raised, so that it is no duplicate."""

    def later(match: re.Match[bytes]) -> bytes:
        return b'"%s":%d' % (match[1], int(match[2]) + step)

    return _ID.sub(later, payload)


def measure_small(bench: Bench, frames: list[Frame]) -> tuple[float, float, float]:
    """Return frames a second (best and median round) and bytes a frame."""
    small = [f for f in frames if re.search(rb'"e":"(aggTrade|trade|bookTicker)"', f[0])]
    small = small or [f for f in frames if b"bookTicker" in f[0] or b"rade" in f[0]]
    rates = []
    for round_ in range(1, ROUNDS + 1):
        batch: list[Frame] = []
        step = round_ * 10**13
        while len(batch) < FRAMES // 2:
            step += 10**11
            batch += [(renumbered(p, step), kind, row) for p, kind, row in small]
        del batch[FRAMES // 2 :]
        rates.append(len(batch) / bench.run(batch))
    size = sum(len(f[0]) for f in small) / len(small)
    return max(rates), sorted(rates)[len(rates) // 2], size


def measure_depth(bench: Bench, frames: list[Frame]) -> tuple[float, float, int]:
    """Return ns a level, frames a second, and the levels published."""
    depth = [f for f in frames if b"depthUpdate" in f[0] or f[1] == FrameKind.REST_DEPTH]
    before, spent = bench.count("records_book"), 0.0
    for start in range(0, len(depth), 512):
        spent += bench.run(depth[start : start + 512])
    levels = bench.count("records_book") - before
    return spent / max(1, levels) * 1e9, len(depth) / spent, levels


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "capture", type=Path, help="a folder with messages.jsonl.gz and index.tsv.gz"
    )
    parser.add_argument("--venue", default="binance_usdm")
    args = parser.parse_args()
    missing = [each for each in (INDEX, MESSAGES) if not (args.capture / each).is_file()]
    if missing:
        parser.error(f"{args.capture}: no {' and no '.join(missing)} in it")
    frames, inference = read(args.capture)
    bench = Bench(args.venue, inference)
    try:
        per_level, depth_rate, levels = measure_depth(bench, frames)
        best, median, size = measure_small(bench, frames)
        result = {
            "small_frames_per_s": round(best),
            "small_frames_per_s_median": round(median),
            "small_frame_bytes": round(size),
            "depth_ns_per_level": round(per_level, 1),
            "depth_frames_per_s": round(depth_rate),
            "levels": levels,
            "records_top": bench.count("records_top"),
            "records_trade": bench.count("records_trade"),
            "rejected": bench.count("malformed"),
            "gaps": bench.count("gaps"),
        }
        print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    finally:
        bench.close()


if __name__ == "__main__":
    main()
