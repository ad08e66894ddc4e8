"""Reading recordings: both forms, damage, several lines, and what is said of them."""

import gzip
import json
import zlib

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import main
from engine.frames import FrameKind
from engine.records import FRAME
from feeds.capture import (
    HEADER,
    BlockKind,
    CaptureError,
    Gap,
    Message,
    encode_block,
    encode_frames,
    encode_table,
    merge,
    open_capture,
)
from feeds.types import INSTRUMENT
from tests.data import shared
from tests.desk import instrument

VENUE = "binance_usdm"
ABOUT = {
    "format": "trade-infra capture 1",
    "venue": VENUE,
    "instance": "test",
    "ring": 7,
    "frame": f"{FRAME.fingerprint:#x}",
}


def about(**changes):
    return encode_block(BlockKind.ABOUT, orjson.dumps(ABOUT | changes), 1)


def frames(payloads, first=1, row=-1, kind=FrameKind.TEXT):
    """Return a block of frames; they arrive at their sequence, in microseconds."""
    descriptors = np.zeros(len(payloads), FRAME.dtype)
    descriptors["sequence"] = np.arange(first, first + len(payloads))
    descriptors["received_ns"] = descriptors["sequence"] * 1000
    descriptors["length"] = [len(payload) for payload in payloads]
    descriptors["position"] = np.cumsum([0, *descriptors["length"][:-1]])
    descriptors["kind"], descriptors["instrument"] = kind, row
    return encode_frames(descriptors, b"".join(payloads), 1)


def table(*natives):
    records = [instrument(native, 2, 3) for native in natives]
    for row, record in enumerate(records):
        record["instrument"], record["cadence_ds"] = row, range(6)
    return np.concatenate(records)


def written(folder, *blocks, name="binance_usdm-20260101T000000.000000000Z.capture"):
    path = folder / name
    path.write_bytes(b"".join(blocks))
    return path


def payloads(path):
    return [message.payload for message in open_capture(path).messages()]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=50), st.integers(1, 19))
def test_frames_come_back_as_they_were(tmp_path_factory, given_payloads, level):
    path = written(tmp_path_factory.mktemp("capture"), about(), frames(given_payloads, level))
    found = list(open_capture(path).messages())
    assert [message.payload for message in found] == given_payloads
    assert [message.received_ns for message in found] == [
        1000 * (level + place) for place in range(len(given_payloads))
    ]


def test_a_table_comes_back_as_it_was(tmp_path):
    records = table("BTCUSDT", "ETHUSDT")
    path = written(tmp_path, about(), encode_table(records, 3))
    assert open_capture(path).instruments().tobytes() == records.tobytes()


def test_of_a_file_that_ends_anywhere_every_whole_block_is_read(tmp_path):
    head = about() + encode_table(table("BTCUSDT"), 3)
    first, second = frames([b"one", b"two"]), frames([b"three"], 3)
    whole = head + first + second
    for size in range(len(head), len(whole) + 1):
        kept = size >= len(head) + len(first), size == len(whole)
        wanted = [b"one", b"two"] * kept[0] + [b"three"] * kept[1]
        assert payloads(written(tmp_path, whole[:size])) == wanted


def test_a_damaged_block_is_skipped_and_shows_as_a_gap(tmp_path):
    blocks = [frames([b"one"]), frames([b"two", b"three"], 2), frames([b"four"], 4)]
    for place in range(len(blocks[1])):
        bad = bytearray(blocks[1])
        bad[place] ^= 0xFF
        path = written(tmp_path, about(), blocks[0], bytes(bad), blocks[2])
        summary = open_capture(path).summary()
        if place in range(HEADER.size - 4, HEADER.size):
            assert (summary.frames, summary.damaged) == (4, 0)  # Nothing is there.
            continue
        assert payloads(path) == [b"one", b"four"]
        assert (summary.damaged, summary.gaps) == (1, [Gap(2, "damaged", 1000)])


@pytest.mark.parametrize(
    ("blocks", "gap"),
    [
        ([frames([b"one", b"two"]), frames([b"three"], 3)], Gap(2, "damaged", 0)),
        (
            [frames([b"one"]), frames([b"two"], 2), encode_block(BlockKind.END, b"{}", 1)],
            Gap(1, "damaged", 1000),
        ),
    ],
)
def test_a_damaged_block_that_is_first_or_last_is_a_gap_too(tmp_path, blocks, gap):
    bad = len(blocks) - 2
    blocks[bad] = blocks[bad][:-1] + bytes([blocks[bad][-1] ^ 0xFF])
    summary = open_capture(written(tmp_path, about(), *blocks)).summary()
    assert (summary.damaged, summary.gaps) == (1, [gap])


def test_of_a_damaged_header_nobody_knows_how_many_frames_it_had(tmp_path):
    first = bytearray(frames([b"one", b"two"]))
    first[8] ^= 0xFF
    path = written(tmp_path, about(), bytes(first), frames([b"three"], 3))
    assert open_capture(path).summary().gaps == [Gap(0, "damaged", 0)]


def test_missing_sequences_are_a_gap_over_files_too(tmp_path):
    written(tmp_path, about(), frames([b"one"]), name=f"{VENUE}-1.capture")
    written(tmp_path, about(), frames([b"five"], 5), name=f"{VENUE}-2.capture")
    capture = open_capture(tmp_path)
    assert [e for e in capture.events() if isinstance(e, Gap)] == [Gap(3, "not recorded", 1000)]


def test_another_ring_is_a_gap_of_unknown_size(tmp_path):
    written(tmp_path, about(), frames([b"one"]), name=f"{VENUE}-1.capture")
    written(tmp_path, about(ring=8), frames([b"other"]), name=f"{VENUE}-2.capture")
    found = [e.payload if isinstance(e, Message) else e for e in open_capture(tmp_path).events()]
    assert found == [b"one", Gap(0, "another ring", 1000), b"other"]


def test_frames_that_two_files_have_are_read_once(tmp_path):
    written(tmp_path, about(), frames([b"one", b"two"]), name=f"{VENUE}-1.capture")
    written(tmp_path, about(), frames([b"two", b"three"], 2), name=f"{VENUE}-2.capture")
    assert payloads(tmp_path) == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{}\n" * 100, "does not begin as a capture does"),
        (frames([b"one"]), "does not begin as a capture does"),
        (about(format="trade-infra capture 9"), "capture 9"),
        (about(frame="0x1"), "frames 0x1"),
    ],
)
def test_a_file_that_is_no_capture_is_named(tmp_path, content, said):
    path = written(tmp_path, content)
    with pytest.raises(CaptureError, match=said) as error:
        list(open_capture(path).events())
    assert str(path) in str(error.value)


def folder_of(path, messages, index):
    (path / "messages.jsonl.gz").write_bytes(gzip.compress(messages))
    (path / "index.tsv.gz").write_bytes(gzip.compress(b"line\trecv_ns\tchannel\turl\n" + index))
    return path


def test_a_text_folder_gives_what_came_from_the_venue(tmp_path):
    index = b"\t1\tconnect\twss://x\n0\t2\tsent\twss://x\n1\t3\tws\t\n2\t4\trest\thttps://x?a=b\n"
    folder_of(tmp_path, b"subscribe\nupdate\nsnapshot\n", index)
    shown = [
        (m.number, m.received_ns, m.kind, m.payload, m.url)
        for m in open_capture(tmp_path).messages()
    ]
    assert shown == [
        (1, 3, FrameKind.TEXT, b"update", ""),
        (2, 4, FrameKind.REST_DEPTH, b"snapshot", "https://x?a=b"),
    ]
    assert payloads(tmp_path / "messages.jsonl.gz") == [b"update", b"snapshot"]


def test_a_folder_without_a_capture_is_named(tmp_path):
    with pytest.raises(CaptureError, match=r"neither messages\.jsonl\.gz nor a file \*\.capture"):
        open_capture(tmp_path)


def test_a_text_folder_without_its_index_says_so(tmp_path):
    folder_of(tmp_path, b"{}\n", b"")
    (tmp_path / "index.tsv.gz").unlink()
    with pytest.raises(CaptureError, match=r"no index\.tsv\.gz in it"):
        list(open_capture(tmp_path).events())


@pytest.mark.parametrize("row", [b"9\t1\tws\t\n", b"0\tnow\tws\t\n", b"x\t1\tws\t\n"])
def test_a_wrong_line_of_the_index_is_named(tmp_path, row):
    folder_of(tmp_path, b"{}\n", row)
    with pytest.raises(CaptureError, match="line 2"):
        list(open_capture(tmp_path).events())


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (3, "index.tsv.gz has lines for 2 messages, messages.jsonl.gz has 3: 1 would be left out"),
        (1, "messages.jsonl.gz has 1 messages, index.tsv.gz has lines for 2: 1 are missing"),
    ],
)
def test_an_index_of_another_length_is_refused(tmp_path, messages, said):
    folder_of(tmp_path, b"{}\n" * messages, b"0\t1\tws\t\n\t1\tconnect\t\n1\t2\tws\t\n")
    with pytest.raises(CaptureError, match=said):
        list(open_capture(tmp_path).events())


def test_a_damaged_text_folder_is_an_error(tmp_path):
    folder_of(tmp_path, b"{}\n" * 1000, b"0\t1\tws\t\n")
    whole = (tmp_path / "messages.jsonl.gz").read_bytes()
    (tmp_path / "messages.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(CaptureError, match="cannot be read"):
        list(open_capture(tmp_path).events())


def test_the_venue_of_a_recording_is_held_to(tmp_path):
    path = written(tmp_path, about(), frames([b"one"]))
    assert open_capture(path).venue == VENUE
    with pytest.raises(CaptureError, match=f"of {VENUE}, not of okx"):
        open_capture(path, "okx")


def test_of_a_folder_with_several_venues_one_must_be_named(tmp_path):
    for venue in ("okx", "bybit"):
        written(tmp_path, about(venue=venue), frames([venue.encode()]), name=f"{venue}-1.capture")
    with pytest.raises(CaptureError, match="bybit, okx"):
        open_capture(tmp_path)
    assert [m.payload for m in open_capture(tmp_path, "okx").messages()] == [b"okx"]


def at(*times):
    return [Message(number, time, FrameKind.TEXT, b"") for number, time in enumerate(times)]


def order(*streams):
    return [(index, event.number) for index, event in merge(streams)]


def test_lines_are_merged_by_time_of_arrival():
    assert order(at(1, 5), at(2, 3), at(4)) == [(0, 0), (1, 0), (1, 1), (2, 0), (0, 1)]


def test_what_arrives_at_the_same_time_keeps_the_order_of_the_lines():
    assert order(at(1, 1), at(1, 1)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_clock_that_is_set_back_does_not_reorder_a_line():
    assert order(at(5, 2, 6), at(3)) == [(1, 0), (0, 0), (0, 1), (0, 2)]


def info(capsys, path):
    assert main(["capture", "info", str(path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


def test_the_command_says_what_a_recording_holds(tmp_path, capsys):
    gap = encode_block(BlockKind.GAP, orjson.dumps({"lost": 2, "reason": "overrun"}), 1)
    end = encode_block(BlockKind.END, b"{}", 1)
    listed = encode_table(table("BTCUSDT"), 1)
    mark = frames([b""], 2, 0, FrameKind.STALE)
    written(tmp_path, about(), listed, frames([b"one"]), mark, gap, frames([b"five"], 5), end)
    found = info(capsys, tmp_path)
    assert (found["venue"], found["instruments"]) == (VENUE, ["BTCUSDT"])
    assert (found["frames"], found["kinds"]) == (3, {"text": 2, "stale": 1})
    assert (found["first_ns"], found["last_ns"]) == (1000, 5000)
    assert found["gaps"] == [{"lost": 2, "reason": "overrun", "after_ns": 2000}]
    assert (found["complete"], found["torn_bytes"], found["payload_bytes"]) == (True, 0, 7)


def test_the_command_says_that_a_file_lacks_its_end(tmp_path, capsys):
    written(tmp_path, about(), frames([b"one"]), frames([b"two"], 2)[:-3])
    found = info(capsys, tmp_path)
    assert (found["complete"], found["frames"]) == (False, 1)
    assert found["torn_bytes"] == len(frames([b"two"], 2)) - 3


def test_the_command_knows_the_instruments_of_a_text_folder(capsys):
    found = info(capsys, shared("binance_spot/public/captures/cf_4sym_20211012"))
    assert (found["venue"], found["frames"]) == ("binance_spot", 269)
    assert found["instruments"] == ["NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR"]


def test_the_command_shows_text_too(tmp_path, capsys):
    written(tmp_path, about(), encode_table(table("BTCUSDT"), 1), frames([b"one"]))
    assert main(["capture", "info", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "BTCUSDT" in shown
    assert "1970-01-01T00:00:00" in shown


def test_checksums_are_those_that_anyone_can_verify():
    block = about()
    header, data = HEADER.unpack(block[: HEADER.size]), block[HEADER.size :]
    assert header[6] == zlib.crc32(data)
    assert header[11] == zlib.crc32(block[: HEADER.size - 8])
    assert INSTRUMENT.dtype.itemsize == len(table("X").tobytes())
