"""From the simulated venue to disk and back: the recorder as an agent beside the worker."""

import json
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from engine.config import parse
from engine.counters import CountersReader
from engine.frames import FrameKind
from engine.ring import RingReader
from engine.segment import list_segments, unlink_segment
from engine.supervisor import Supervisor
from feeds.adapter import find_venue
from feeds.capture import Gap, addressed, open_capture
from feeds.decode import decode_frames
from feeds.playback import replay
from feeds.types import BOOK_DELTA, TRADE
from oms.demo import free_port

pytestmark = [pytest.mark.processes, pytest.mark.slow]

WAIT_S = 90.0
VENUE = "binance_usdm"
SAME = {"md.trades": ["trade_id", "side"], "md.book": ["update_id", "side", "flags"]}
"""Beside prices, quantities and stamps: what a live record and its replay have in common."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Return the folder of a recording with a disconnect in it, and the live worker's records."""
    folder, port = tmp_path_factory.mktemp("captures"), free_port()
    instance = f"test-record-{port}"
    config = parse(
        {
            "instance": instance,
            "keep_segments": True,
            "logging": {"level": "warning"},
            "endpoints": {
                VENUE: {
                    "rest": f"http://127.0.0.1:{port}/{VENUE}",
                    "websocket": f"ws://127.0.0.1:{port}/{VENUE}",
                }
            },
            "process": [
                process("simulator", kind="simulator", port=port, venues=[VENUE], rate=500.0),
                process("feed", kind="feed", venue=VENUE, symbols=["BTCUSDT", "ETHUSDT"]),
                process("worker", kind="market-data", venues=[VENUE]),
                process("recorder", kind="recorder", folder=str(folder), venues=[VENUE]),
            ],
        }
    )
    try:
        with Supervisor(config) as supervisor:
            run(supervisor, instance, port)
            live = {ring: read(instance, ring) for ring in SAME}
        yield folder, live
    finally:
        for _, name in list_segments(instance):
            unlink_segment(instance, name)


def process(name, **agent):
    return {"name": name, "restart": False, "agents": [agent]}


def run(supervisor, instance, port):
    """Run until books are live, cut all connections, run until they are again, and stand still."""
    wait(supervisor, supervisor.ready, "all processes ready")
    with counters(instance, "worker") as worker, counters(instance, "recorder") as recorder:
        wait(supervisor, lambda: worker()["books_live"] == 2, "books live")
        before = worker()["frames"]
        wait(supervisor, lambda: worker()["frames"] > before + 500, "frames")
        control(port, "faults", {"disconnect": True})
        wait(supervisor, lambda: worker()["stale"] >= 1, "a stale book")
        wait(supervisor, lambda: worker()["books_live"] == 2, "books live again")
        before = worker()["frames"]
        wait(supervisor, lambda: worker()["frames"] > before + 500, "frames")
        control(port, "pause")

        def still():
            frames = worker()["frames"]
            time.sleep(0.3)
            return worker()["frames"] == frames and recorder()[f"{VENUE}.lag"] == 0

        wait(supervisor, still, "nothing moves")


@contextmanager
def counters(instance, name):
    reader = CountersReader.attach(instance, name)
    yield reader.counters
    reader.close()


def wait(supervisor, true, what):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S} s"
        assert not supervisor.poll()
        time.sleep(0.05)


def control(port, path, body=None):
    data = json.dumps(body or {}).encode()
    address = f"http://127.0.0.1:{port}/control/{path}"
    request = urllib.request.Request(address, data=data, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def read(instance, ring):
    layout = {"md.trades": TRADE, "md.book": BOOK_DELTA}[ring]
    reader = RingReader.attach(instance, ring, layout, start="oldest")
    parts = []
    while len(batch := reader.poll()):
        parts.append(batch.copy())
    reader.close()
    return np.concatenate(parts)


def keys(ring, records):
    columns = ["instrument", "exchange_ns", "received_ns", "price", "quantity", *SAME[ring]]
    return list(zip(*(records[name].tolist() for name in columns), strict=True))


def test_the_recording_has_the_marks_and_the_answers_to_requests(recording):
    folder, _ = recording
    events = list(open_capture(folder).events())
    kinds = {event.kind for event in events if hasattr(event, "kind")}
    assert kinds >= {
        FrameKind.TEXT,
        FrameKind.REST_DEPTH,
        FrameKind.STALE,
        FrameKind.CONNECTED,
        FrameKind.DISCONNECTED,
        FrameKind.POLLED,
    }
    assert not [event for event in events if isinstance(event, Gap)]


def test_the_replay_gives_the_same_bytes_each_time_and_whole_books(recording):
    folder, _ = recording
    once, again = replay(folder), replay(folder)
    assert once["hashes"] == again["hashes"]
    assert all(each["valid"] for each in once["instruments"].values())
    assert (once["crossed_live"], once["malformed"], once["missing"]["gaps"]) == (0, 0, 0)


def test_the_replay_and_the_decoder_know_the_open_interest(recording):
    folder, _ = recording
    kept = []
    replay(folder, keep=lambda _, name, each: kept.append(each) if name == "md.funding" else None)
    assert set(np.concatenate(kept)["open_interest"].tolist()) - {0}
    adapter, capture = find_venue(VENUE), open_capture(folder)
    listed = [
        (row["native"].decode(), int(row["price_decimals"]), int(row["quantity_decimals"]))
        for row in capture.instruments()
    ]
    lines = decode_frames(adapter, addressed(capture, adapter), listed)
    assert {each["symbol"] for each in lines if each.get("open_interest")} == {
        "BTCUSDT",
        "ETHUSDT",
    }


@pytest.mark.parametrize("ring", SAME)
def test_the_replay_gives_the_records_of_the_live_worker(recording, ring):
    folder, live = recording
    kept = []
    replay(folder, keep=lambda _, name, records: kept.append(records) if name == ring else None)
    replayed = keys(ring, np.concatenate(kept))
    # The worker may have come to the ring a little after the feed's first frame.
    wanted = [key for key in keys(ring, live[ring]) if key[2]]
    assert len(wanted) > 100
    assert replayed[-len(wanted) :] == wanted
