"""The scanners of all venues, channel by channel: ``python -m bench.channels [--json]``.

Against orjson (dictionaries, then numbers from the texts that a record needs) and msgspec (typed
structs that convert while they decode), in turns, in one process, on the same distinct frames. The
frames are recorded ones where the shared captures have enough, else they come from the simulated
venue, which writes what the venues write; the table says which.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import orjson

from bench.scanner import CAPTURES, Corpus, frames_of
from feeds.adapter import find_venue
from gateways.simulator import SimulatedVenue, SimulatorSettings

FRAMES = 10_000
ROUNDS = 5
COLLECT_S = 45.0
Level = tuple[float, float, str, str]


class OkxTrade(msgspec.Struct):
    """What a trade record needs of OKX's."""

    px: float
    sz: float
    ts: int
    tradeId: int
    side: str


class OkxBook(msgspec.Struct):
    """What a book needs of OKX's."""

    bids: list[Level]
    asks: list[Level]
    ts: int
    seqId: int = 0
    prevSeqId: int = -1


class OkxMark(msgspec.Struct):
    """What a funding record needs of OKX's mark price."""

    markPx: float
    ts: int


class BybitTrade(msgspec.Struct):
    """What a trade record needs of Bybit's."""

    p: float
    v: float
    T: int
    i: str
    S: str


class BybitBook(msgspec.Struct):
    """What a book needs of Bybit's."""

    b: list[tuple[float, float]]
    a: list[tuple[float, float]]
    u: int
    s: str


class BybitTicker(msgspec.Struct):
    """What funding and statistics records need of Bybit's ticker; a delta has few of them."""

    symbol: str
    lastPrice: float | None = None
    highPrice24h: float | None = None
    lowPrice24h: float | None = None
    prevPrice24h: float | None = None
    volume24h: float | None = None
    markPrice: float | None = None
    indexPrice: float | None = None
    openInterest: float | None = None
    fundingRate: float | None = None
    nextFundingTime: int | None = None


class OkxTrades(msgspec.Struct):
    """An OKX message."""

    data: list[OkxTrade]


class OkxBooks(msgspec.Struct):
    """An OKX message."""

    data: list[OkxBook]


class OkxMarks(msgspec.Struct):
    """An OKX message."""

    data: list[OkxMark]


class BybitTrades(msgspec.Struct):
    """A Bybit message."""

    data: list[BybitTrade]
    ts: int


class BybitBooks(msgspec.Struct):
    """A Bybit message."""

    data: BybitBook
    ts: int


class BybitTickers(msgspec.Struct):
    """A Bybit message."""

    data: BybitTicker
    ts: int


def okx_trades(message: Any) -> None:  # noqa: ANN401 - decoded JSON, here and below
    """Convert what a record needs."""
    for d in message["data"]:
        float(d["px"]), float(d["sz"]), int(d["ts"]), int(d["tradeId"]), d["side"]


def okx_books(message: Any) -> None:  # noqa: ANN401
    """Convert what a book needs."""
    for d in message["data"]:
        [(float(r[0]), float(r[1])) for r in d["bids"]]
        [(float(r[0]), float(r[1])) for r in d["asks"]]
        int(d["ts"]), d.get("seqId"), d.get("prevSeqId")


def okx_marks(message: Any) -> None:  # noqa: ANN401
    """Convert what a record needs."""
    for d in message["data"]:
        float(d["markPx"]), int(d["ts"])


def bybit_trades(message: Any) -> None:  # noqa: ANN401
    """Convert what a record needs."""
    for d in message["data"]:
        float(d["p"]), float(d["v"]), d["T"], d["i"], d["S"]


def bybit_books(message: Any) -> None:  # noqa: ANN401
    """Convert what a book needs."""
    d = message["data"]
    [(float(r[0]), float(r[1])) for r in d["b"]]
    [(float(r[0]), float(r[1])) for r in d["a"]]
    d["u"], message["ts"]


NUMBERS = BybitTicker.__struct_fields__[1:]


def bybit_tickers(message: Any) -> None:  # noqa: ANN401
    """Convert what is there of what records need."""
    d = message["data"]
    for name in NUMBERS:
        if name in d:
            float(d[name])


@dataclass(frozen=True, slots=True)
class Row:
    """One channel: where its frames come from, and how the others read them."""

    venue: str
    channel: str
    mark: bytes
    streams: tuple[str, ...]
    struct: type[msgspec.Struct]
    convert: Callable[[Any], None]
    captures: tuple[str, ...] = ()


TBT = tuple(f"cf_tbt_20210722_conn{n}" for n in (1, 2, 3))
SWAPS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP", "SOL-USDT-SWAP")
LINEAR = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def _okx(channel: str) -> tuple[str, ...]:
    return tuple(f"{channel}:{native}" for native in SWAPS)


def _bybit(topic: str) -> tuple[str, ...]:
    return tuple(f"{topic}.{native}" for native in LINEAR)


ROWS = (
    Row("okx", "books-l2-tbt", b'"action":"update"', (), OkxBooks, okx_books, TBT),
    Row("okx", "trades", b'"channel":"trades"', _okx("trades"), OkxTrades, okx_trades),
    Row("okx", "books", b'"action":"update"', _okx("books"), OkxBooks, okx_books),
    Row("okx", "bbo-tbt", b'"bbo-tbt"', _okx("bbo-tbt"), OkxBooks, okx_books),
    Row("okx", "mark-price", b'"mark-price"', _okx("mark-price"), OkxMarks, okx_marks),
    Row("bybit", "publicTrade", b'"publicTrade', _bybit("publicTrade"), BybitTrades, bybit_trades),
    Row("bybit", "orderbook.50", b'"delta"', _bybit("orderbook.50"), BybitBooks, bybit_books),
    Row("bybit", "orderbook.1", b'"orderbook.1.', _bybit("orderbook.1"), BybitBooks, bybit_books),
    Row("bybit", "tickers", b'"delta"', _bybit("tickers"), BybitTickers, bybit_tickers),
)


async def collect(rows: list[Row]) -> dict[Row, list[bytes]]:
    """Return frames of the simulated venue, up to ``FRAMES`` distinct ones a row."""
    found: dict[Row, dict[bytes, None]] = {row: {} for row in rows}
    venues = sorted({row.venue for row in rows})
    settings = SimulatorSettings(port=0, rate=20_000.0, venues=venues)
    async with SimulatedVenue(settings) as venue, aiohttp.ClientSession() as http:

        async def read(row: Row) -> None:
            adapter = find_venue(row.venue)
            base = f"127.0.0.1:{venue.port}/{row.venue}"
            at = adapter.endpoints_at(f"http://{base}", f"ws://{base}")
            route = "linear" if row.venue == "bybit" else "public"
            async with http.ws_connect(adapter.ws_url(route, row.streams, at)) as socket:
                await socket.send_str(adapter.subscribe(row.streams, 1).decode())
                async for message in socket:
                    frame = message.data.encode()
                    if row.mark in frame and b'"data"' in frame:
                        found[row][frame] = None
                        if len(found[row]) >= FRAMES:
                            return

        tasks = []
        for row in rows:
            tasks.append(asyncio.create_task(read(row)))
            await asyncio.sleep(0.5)  # OKX takes three connections a second.
        await asyncio.wait(tasks, timeout=COLLECT_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {row: list(frames) for row, frames in found.items()}


def measure(row: Row, frames: list[bytes]) -> dict[str, Any]:
    """Return ns a frame of each contender: best of ``ROUNDS`` rounds, taking turns."""
    corpus = Corpus(frames, find_venue(row.venue))
    if corpus.jitted() < len(frames):
        raise AssertionError(f"{row.venue} {row.channel}: frames that the scanner does not take")
    decode, loads = msgspec.json.Decoder(row.struct, strict=False).decode, orjson.loads

    def with_orjson() -> None:
        for frame in frames:
            row.convert(loads(frame))

    def with_msgspec() -> None:
        for frame in frames:
            decode(frame)

    contenders = {"jitted": corpus.jitted, "orjson": with_orjson, "msgspec": with_msgspec}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for contender, run in contenders.items():
            started = time.perf_counter_ns()
            run()
            took = (time.perf_counter_ns() - started) / len(frames)
            best[contender] = min(best[contender], took)
    size = sum(map(len, frames)) / len(frames)
    source = "recorded" if row.captures else "simulated"
    about = {"venue": row.venue, "channel": row.channel, "source": source}
    return about | {"frames": len(frames), "bytes": round(size)} | best


def main() -> None:
    """Measure every channel and print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if not CAPTURES.exists():
        raise SystemExit(f"error: the recorded frames are missing: {CAPTURES}")
    frames = {row: frames_of(row.venue, row.captures, row.mark) for row in ROWS if row.captures}
    frames |= asyncio.run(collect([row for row in ROWS if not row.captures]))
    rows = [measure(row, frames[row]) for row in ROWS if frames[row]]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    head = f"{'venue':<7}{'channel':<15}{'source':<11}{'frames':>7}{'bytes':>7}{'jitted':>9}"
    print(f"{head}{'orjson':>9}{'msgspec':>9}{'orjson/':>9}{'msgspec/':>10}   (ns a frame)")
    for row in rows:
        print(
            f"{row['venue']:<7}{row['channel']:<15}{row['source']:<11}{row['frames']:>7}"
            f"{row['bytes']:>7}{row['jitted']:>9.0f}{row['orjson']:>9.0f}{row['msgspec']:>9.0f}"
            f"{row['orjson'] / row['jitted']:>9.1f}{row['msgspec'] / row['jitted']:>10.1f}"
        )


if __name__ == "__main__":
    main()
