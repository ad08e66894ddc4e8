"""The socket-to-ring path: ``python -m bench.websocket [--kind trade|depth] [--json]``.

A server process sends recorded (or, without ``--frames``, made-up) frames as fast as one client
process takes them. Clients: ``wire``, ``picows``, ``aiohttp`` (``feeds.websocket``), each *alone*
(frames are counted and dropped) and *into the ring* (stamped and published); as the floor a
blocking ``recv`` that looks at nothing, and picows with a listener that only counts. All of them
take turns within each round, so that what the machine does hits them alike; the figures are medians
over rounds, and the ratios are taken within a round.

CPU time is the client process' own, so it holds also where the server is the bottleneck.
"""

import argparse
import asyncio
import gzip
import json
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import time
from collections import defaultdict
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import picows
import uvloop

from engine.frames import FrameWriter
from engine.segment import list_segments, unlink_segment
from feeds.websocket import Client, Intake, connect

Result = tuple[int, float, float]
"""Frames, seconds, CPU seconds."""

RING = "md.raw.bench"
BLOCK_BYTES = 1 << 20
LIMITS = {"trade": 300, "depth": 1 << 20}


def frames_of(path: Path | None, kind: str) -> list[bytes]:
    """Return the messages to send: from a capture (one a line, may be gzipped), or made up."""
    if path is None:
        if kind == "trade":
            text = (
                '{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{0},"T":{0},"s":"BTCUSDT",'
                '"t":{1},"p":"61800.20","q":"0.{2:03d}","X":"MARKET","m":true}}}}'
            )
            return [
                text.format(1723161256403 + i, 4217896584 + i, i % 1000).encode()
                for i in range(10_000)
            ]
        level = '["618{0:02d}.10","{1}.658"]'
        rows = [",".join(level.format(j, i % 50 + j) for j in range(40)) for i in range(500)]
        return [f'{{"stream":"btcusdt@depth@0ms","data":{{"b":[{r}]}}}}'.encode() for r in rows]
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    wanted = b"@depth" if kind == "depth" else b"@"
    return [x for x in lines if wanted in x[:60] and len(x) <= LIMITS[kind]][:20_000]


def framed(payload: bytes) -> bytes:
    """Return one unmasked text frame."""
    length = len(payload)
    if length < 126:
        return struct.pack(">BB", 0x81, length) + payload
    if length < 65_536:
        return struct.pack(">BBH", 0x81, 126, length) + payload
    return struct.pack(">BBQ", 0x81, 127, length) + payload


def serve(messages: list[bytes], pipe: Pipe) -> None:
    """Answer upgrade requests by hand and send until the client goes."""
    import base64
    import hashlib

    blocks, block = [], bytearray()
    for message in messages:
        block += framed(message)
        if len(block) >= BLOCK_BYTES:
            blocks.append(bytes(block))
            block.clear()
    blocks.append(bytes(block))
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    while True:
        client, _ = listener.accept()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(65_536)
        lines = head.decode().split("\r\n")
        key = next(x.split(": ")[1] for x in lines if x.lower().startswith("sec-websocket-key"))
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        try:
            while True:
                for each in blocks:
                    client.sendall(each)
        except OSError:
            client.close()


class Dropping:
    """A ``FrameWriter`` that keeps nothing: what a client costs by itself."""

    def __init__(self, writer: FrameWriter) -> None:
        self.segment, self.bell = writer.segment, writer.bell

    def publish(self, *frame: object) -> int:
        return 0


async def measure(port: int, client: Client, into_ring: bool, seconds: float) -> Result:
    """Receive for a while with one client."""
    writer = FrameWriter.open(f"bench{os.getpid()}", RING)
    sink: Any = writer if into_ring else Dropping(writer)
    intake = Intake(sink, 1, (b'{"stream":"!serverShutdown"', b'{"e":"serverShutdown"'))
    connection = await connect(f"ws://127.0.0.1:{port}/stream", intake, client=client)
    await asyncio.sleep(0.05)
    frames, started, cpu = intake.frames, time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    result = (
        intake.frames - frames,
        time.perf_counter() - started,
        time.process_time() - cpu,
    )
    connection.abort()
    await connection.closed.wait()
    writer.close()
    return result


class Counting(picows.WSListener):
    """The least that a picows client can do."""

    def __init__(self) -> None:
        self.frames = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self.frames += 1


async def measure_bare(port: int, seconds: float) -> Result:
    """Receive with picows and only count."""
    transport, listener = await picows.ws_connect(Counting, f"ws://127.0.0.1:{port}/stream")
    assert isinstance(listener, Counting)
    await asyncio.sleep(0.05)
    frames, started, cpu = listener.frames, time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    result = listener.frames - frames, elapsed, time.process_time() - cpu
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()
    return result


def floor(port: int, seconds: float, frame_bytes: float) -> Result:
    """Receive with bare blocking reads; frames are counted by their mean size."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    buffer, size = bytearray(256 << 10), 0
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        size += client.recv_into(buffer)
    elapsed = time.perf_counter() - started
    used = time.process_time() - cpu
    client.close()
    return int(size / frame_bytes), elapsed, used


REFERENCE = "picows, counting only"
CASES: tuple[tuple[str, Client | None, bool], ...] = (
    ("recv, nothing else", None, False),
    (REFERENCE, None, False),
    ("picows alone", "picows", False),
    ("picows into the ring", "picows", True),
    ("wire into the ring", "wire", True),
    ("aiohttp alone", "aiohttp", False),
    ("aiohttp into the ring", "aiohttp", True),
)


def client_role(port: int, rounds: int, seconds: float, frame_bytes: float, pipe: Pipe) -> None:
    """Take all measurements in one process: same core, same caches, in turn."""
    results: list[dict[str, Result]] = []
    for _ in range(rounds):
        round_: dict[str, Result] = {}
        for name, client, into_ring in CASES:
            if name == REFERENCE:
                round_[name] = uvloop.run(measure_bare(port, seconds))
            elif client is None:
                round_[name] = floor(port, seconds, frame_bytes)
            else:
                round_[name] = uvloop.run(measure(port, client, into_ring, seconds))
        results.append(round_)
    instance = f"bench{os.getpid()}"
    for _, name in list_segments(instance):
        unlink_segment(instance, name)
    pipe.send(results)


def summary(rounds: list[dict[str, Result]]) -> dict[str, dict[str, float]]:
    """Return, by case: frames a second, CPU µs a frame, and the ratios to bare picows."""
    columns: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for round_ in rounds:
        frames, elapsed, cpu = round_[REFERENCE]
        reference, cost = frames / elapsed, cpu / frames
        for name, (frames, elapsed, cpu) in round_.items():
            columns[name]["frames_per_s"].append(frames / elapsed)
            columns[name]["cpu_us"].append(cpu / frames * 1e6)
            columns[name]["rate_to_picows"].append(frames / elapsed / reference)
            columns[name]["cpu_to_picows"].append(cpu / frames / cost)
    return {
        name: {column: statistics.median(values) for column, values in each.items()}
        for name, each in columns.items()
    }


def main() -> int:
    """Run and print the table (or JSON)."""
    parser = argparse.ArgumentParser(description="the socket-to-ring path, client by client")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=("trade", "depth"), default="trade")
    parser.add_argument("--frames", type=Path, help="a capture: one message a line, may be .gz")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    messages = frames_of(args.frames, args.kind)
    frame_bytes = statistics.fmean(len(framed(m)) for m in messages)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(messages, theirs), daemon=True)
    server.start()
    port = ours.recv()
    ours, theirs = spawn.Pipe()
    numbers = (port, args.rounds, args.seconds, frame_bytes, theirs)
    client = spawn.Process(target=client_role, args=numbers)
    client.start()
    result = summary(ours.recv())
    client.join()
    server.terminate()
    server.join()
    if args.json:
        print(json.dumps({"kind": args.kind, "frame_bytes": frame_bytes, "clients": result}))
        return 0
    print(f"{args.kind} frames of {frame_bytes:.0f} bytes on average, {args.rounds} rounds")
    print(f"{'':24s}{'frames/s':>12s}{'CPU µs':>9s}{'rate/picows':>13s}{'CPU/picows':>12s}")
    for name, row in result.items():
        print(
            f"{name:24s}{row['frames_per_s']:12,.0f}{row['cpu_us']:9.3f}"
            f"{row['rate_to_picows']:13.2f}{row['cpu_to_picows']:12.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
