"""The recorder: raw rings to capture files, and what happens when something goes wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.frames import FrameKind, FrameReader, FrameWriter
from engine.records import FRAME
from engine.segment import list_segments
from feeds.capture import CaptureError, Gap, Listing, Message, captures_at, open_capture
from feeds.pump import gather
from tests.raw_ring import START_NS, VENUE, RawRing, Recording

WAIT_S = 60.0


@pytest.fixture
def ring(instance):
    ring = RawRing(instance, ("BTCUSDT", "ETHUSDT"))
    yield ring
    ring.close()


@pytest.fixture
def recording(ring, tmp_path):
    """Return a function that starts a recorder with settings; all of them are closed afterwards."""
    begun = []

    def begin(**settings):
        begun.append(Recording(ring.instance, tmp_path, **settings))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


def events(path, kind=Message):
    return [event for event in open_capture(path).events() if isinstance(event, kind)]


def payloads(path):
    return [message.payload for message in events(path)]


def files(path):
    return sorted(each.name for each in path.iterdir())


def test_every_frame_is_kept_with_all_that_is_known_of_it(ring, recording, tmp_path):
    ring.publish(b"", FrameKind.CONNECTED, connection=3)
    ring.publish(b'{"a": 1}', connection=3, line=1)
    ring.publish(b"depth of ETHUSDT", FrameKind.REST_DEPTH, row=1)
    ring.publish(b"book", FrameKind.STALE, row=0)
    recording().close()
    found = events(tmp_path)
    shown = [(m.number, m.kind, m.payload, m.native, m.connection, m.line) for m in found]
    assert shown == [
        (0, FrameKind.CONNECTED, b"", "", 3, 0),
        (1, FrameKind.TEXT, b'{"a": 1}', "", 3, 1),
        (2, FrameKind.REST_DEPTH, b"depth of ETHUSDT", "ETHUSDT", 1, 0),
        (3, FrameKind.STALE, b"book", "BTCUSDT", 1, 0),
    ]
    assert [m.received_ns - START_NS for m in found] == [10**6 * i for i in (1, 2, 3, 4)]


def test_a_file_begins_with_the_instruments_and_says_where_they_change(ring, recording, tmp_path):
    recorder = recording()
    ring.publish(b"before")
    recorder.take()
    ring.list(2, "XRPUSDT")
    ring.list(0, "BTCUSDT", tick=10)
    ring.publish(b"after", FrameKind.REST_DEPTH, row=2)
    recorder.close()
    shown = [
        [(r["native"].decode(), int(r["tick"])) for r in event.records]
        if isinstance(event, Listing)
        else (event.payload, event.native)
        for event in open_capture(tmp_path).events()
    ]
    assert shown == [
        [("BTCUSDT", 1), ("ETHUSDT", 1)],
        (b"before", ""),
        [("BTCUSDT", 10), ("ETHUSDT", 1), ("XRPUSDT", 1)],
        (b"after", "XRPUSDT"),
    ]


def test_frames_of_any_size_are_kept(ring, recording, tmp_path):
    wanted = [os.urandom(size) for size in (0, 1, 63, 64, 65, 5000, 200_000, 7, 100_000)]
    recorder = recording(block_kb=4)
    for payload in wanted:
        ring.publish(payload)
        recorder.take()
    recorder.close()
    assert payloads(tmp_path) == wanted


def test_a_file_of_the_size_asked_for_is_followed_by_another(ring, recording, tmp_path):
    recorder = recording(rotate_mb=0.02, block_kb=4)
    wanted = [os.urandom(1000) for _ in range(100)]
    for payload in wanted:
        ring.publish(payload)
        recorder.take()
    recorder.close()
    assert len(files(tmp_path)) == 5
    assert payloads(tmp_path) == wanted
    assert captures_at(tmp_path)[VENUE].summary().complete


def test_every_file_is_complete_in_itself(ring, recording, tmp_path):
    recorder = recording(rotate_mb=0.0)
    for number in range(3):
        ring.publish(b"%d" % number, FrameKind.REST_DEPTH, row=1)
        recorder.take()
        recorder.recorder.taps[VENUE].flush()
    recorder.close()
    alone = [events(tmp_path / name) for name in files(tmp_path)]
    assert [[(m.payload, m.native) for m in each] for each in alone] == [
        [(b"0", "ETHUSDT")],
        [(b"1", "ETHUSDT")],
        [(b"2", "ETHUSDT")],
    ]


def test_a_file_that_is_old_enough_is_ended_in_silence_too(ring, recording, tmp_path):
    recorder = recording(rotate_s=0.0, flush_s=0.0)
    ring.publish(b"only")
    recorder.take()
    assert files(tmp_path)[0].endswith(".part")
    recorder.recorder.heartbeat()
    assert not files(tmp_path)[0].endswith(".part")


def test_a_file_can_be_read_while_it_is_written(ring, recording, tmp_path):
    recorder = recording(flush_s=0.0)
    ring.publish(b"first")
    recorder.take()
    assert payloads(tmp_path) == [b"first"]
    ring.publish(b"second")
    recorder.take()
    assert payloads(tmp_path) == [b"first", b"second"]


def test_frames_that_the_recorder_was_too_slow_for_are_a_gap(ring, recording, tmp_path):
    recorder = recording()
    ring.publish(b"first")
    recorder.take()
    for number in range(10_000):
        ring.publish(b"%d" % number)
    recorder.close()
    (gap,) = events(tmp_path, Gap)
    kept = payloads(tmp_path)
    assert gap.reason == "overrun"
    assert gap.after_ns == START_NS + 10**6
    assert gap.lost == recorder.lost > 0
    assert kept[-1] == b"9999"
    assert len(kept) + gap.lost == 10_001


@contextmanager
def file_size_limit(size):
    """Have the system refuse to let a file grow beyond ``size``: as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_frames_and_the_recorder_goes_on(ring, recording, tmp_path, caplog):
    recorder = recording(flush_s=0.0)
    ring.publish(b"before")
    recorder.take()
    with file_size_limit(2000):
        for _ in range(3):
            ring.publish(os.urandom(3000))
            recorder.take()
    ring.publish(b"after")
    recorder.take()
    assert payloads(tmp_path) == [b"before", b"after"]
    assert [(gap.lost, gap.reason) for gap in events(tmp_path, Gap)] == [(3, "disk")]
    assert (recorder.count("write_errors"), recorder.count("dropped")) == (3, 3)
    assert [r.message for r in caplog.records if "make room" in r.message]


def test_a_disk_that_is_full_from_the_start_leaves_no_file(ring, recording, tmp_path):
    recorder = recording(flush_s=0.0)
    with file_size_limit(10):
        ring.publish(b"lost")
        recorder.take()
        assert files(tmp_path) == []
    ring.publish(b"kept")
    recorder.take()
    assert payloads(tmp_path) == [b"kept"]


def test_a_venue_that_appears_later_is_recorded(instance, tmp_path):
    recorder = Recording(instance, tmp_path)
    ring = RawRing(instance)
    ring.publish(b"early")
    recorder.recorder.heartbeat()
    recorder.take()
    recorder.close()
    ring.close()
    assert payloads(tmp_path) == [b"early"]


def test_venues_are_kept_apart(instance, tmp_path):
    rings = [RawRing(instance, ("BTCUSDT",), venue) for venue in ("binance_usdm", "binance_spot")]
    recorder = Recording(instance, tmp_path, ("binance_usdm", "binance_spot"))
    for ring in rings:
        ring.publish(ring.venue.encode())
    recorder.take()
    recorder.close()
    for ring in rings:
        ring.close()
    found = {venue: [m.payload for m in c.messages()] for venue, c in captures_at(tmp_path).items()}
    assert found == {"binance_usdm": [b"binance_usdm"], "binance_spot": [b"binance_spot"]}


def test_a_successor_goes_on_behind_the_last_frame_on_disk(ring, recording, tmp_path):
    first = recording()
    ring.publish(b"one")
    first.take()
    first.close()
    ring.publish(b"two")
    recording().close()
    assert payloads(tmp_path) == [b"one", b"two"]
    assert events(tmp_path, Gap) == []


def test_the_file_of_a_living_recorder_is_left_alone(ring, recording, tmp_path):
    ring.publish(b"one")
    first = recording(flush_s=0.0)
    first.take()
    (name,) = files(tmp_path)
    second = Recording(ring.instance, tmp_path, process="other", start="latest")
    second.close()
    assert name in files(tmp_path)
    assert second.tally["recovered"] == 0


def test_a_folder_that_cannot_be_made_is_an_error(ring, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="cannot be made"):
        Recording(ring.instance, tmp_path / "file" / "captures")


@pytest.mark.parametrize(
    "settings", [{"level": 40}, {"venues": ()}, {"venues": ["nowhere"]}, {"fsync": "often"}]
)
def test_a_setting_that_cannot_work_is_refused(ring, tmp_path, settings):
    with pytest.raises(ConfigError):
        Recording(ring.instance, tmp_path, **({"venues": (VENUE,)} | settings))


def record_command(ring, folder, *more):
    command = [sys.executable, "-m", "engine.cli", "record", "--instance", ring.instance]
    return [*command, "--venue", VENUE, "--out", str(folder), *more]


def until(true, what):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S} s"
        time.sleep(0.02)


@pytest.mark.processes
def test_after_a_kill_the_file_is_read_and_the_successor_misses_nothing(ring, recording, tmp_path):
    process = subprocess.Popen(record_command(ring, tmp_path))
    sent = 0

    def something_is_on_disk():
        nonlocal sent
        for _ in range(20):
            ring.publish(b"%d" % sent)
            sent += 1
        return bool(files(tmp_path) and payloads(tmp_path))

    try:
        until(something_is_on_disk, "frames on disk")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (name,) = files(tmp_path)
    assert name.endswith(".capture.part")
    kept = payloads(tmp_path)
    first = int(kept[0])  # The ring is small: much may have been published before it attached.
    assert kept == [b"%d" % number for number in range(first, first + len(kept))]
    successor = recording()
    ring.publish(b"last")
    successor.close()
    assert successor.tally["recovered"] == 1
    assert not [each for each in files(tmp_path) if each.endswith(".part")]
    assert payloads(tmp_path) == [*(b"%d" % number for number in range(first, sent)), b"last"]
    assert events(tmp_path, Gap) == []


@pytest.mark.processes
def test_the_command_records_for_some_seconds_and_says_how_much(ring, tmp_path):
    for number in range(10):
        ring.publish(b"%d" % number)
    command = record_command(ring, tmp_path, "--seconds", "0.3", "--json")
    done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=True)
    assert json.loads(done.stdout.splitlines()[-1])[f"{VENUE}.frames"] == 10
    assert len(payloads(tmp_path)) == 10
    assert not [name for _, name in list_segments(ring.instance) if name.startswith("ctr.record")]


@pytest.mark.kernels
@pytest.mark.parametrize("seed", range(5))
def test_frames_are_copied_out_of_the_ring_byte_for_byte(instance, seed):
    random = np.random.default_rng(seed)
    writer = FrameWriter.open(instance, "md.raw.copy", frames=64, bytes_=1 << 18)
    reader = FrameReader.attach(instance, "md.raw.copy", start="oldest")
    for _ in range(20):
        sent = [random.bytes(int(size)) for size in random.integers(0, 5000, 9)]
        for payload in sent:
            writer.publish(payload, 5, FrameKind.TEXT, 1, 2, 3)
        copied = []
        while len(batch := reader.poll()):
            data, about = np.zeros(50_000, np.uint8), np.zeros(len(batch), FRAME.dtype)
            area, words = reader.segment.area, batch.view(np.int64)
            used = gather(area, words, len(batch), data, about.view(np.int64), 100)
            assert used == 100 + about["length"].sum()
            for frame, ours in zip(batch, about, strict=True):
                start = int(ours["position"])
                copied.append(data[start : start + int(ours["length"])].tobytes())
                ours["position"] = frame["position"]
                assert ours == frame
        assert copied == sent
    reader.close()
    writer.close()


@pytest.mark.kernels
def test_a_descriptor_that_is_being_overwritten_harms_nothing():
    area, data = np.zeros(4096, np.uint8), np.zeros(100, np.uint8)
    area.flags.writeable = False
    for position, length in ((0, 101), (4000, 97), (0, -1), (2**62, 5000)):
        words, about = np.zeros(8, np.int64), np.zeros(8, np.int64)
        words[3], words[4] = position, length
        words.flags.writeable = False
        assert gather(area, words, 1, data, about, 50) == 50


@pytest.mark.processes
@pytest.mark.parametrize(("change", "why"), [("nowhere", "no md.raw"), ("venue", "md.raw.okx")])
def test_the_command_says_at_once_that_there_is_nothing_to_record(ring, tmp_path, change, why):
    command = record_command(ring, tmp_path, "--seconds", "30")
    if change == "nowhere":
        command[command.index("--instance") + 1] = f"{ring.instance}x"
    else:
        command[command.index("--venue") + 1] = "okx"
    done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False, text=True)
    assert done.returncode == 2
    assert why in done.stderr
    assert ring.instance in done.stderr
    assert list_segments(f"{ring.instance}x") == []
