"""Recorded captures through the real rings and the real worker process."""

import gzip
import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import orjson
import pytest

from engine.cli import main
from engine.frames import FrameKind
from engine.segment import list_segments
from feeds.adapter import find_venue
from feeds.capture import HEADER, CaptureError, open_capture, read_blocks
from feeds.playback import Instruments, Playlist, ReplayError, replay
from tests.data import shared
from tests.naive_book import NaiveBook
from tests.raw_ring import RawRing, Recording

pytestmark = pytest.mark.slow

CAPTURES = [
    ("binance_usdm", "cf_4sym_20210417"),
    ("binance_usdm", "cf_5sym_20210405"),
    ("binance_usdm", "hft_btcusdt_20230404"),
    ("binance_usdm", "hft_btcusdt_20240808"),
    ("binance_usdm", "hft_ethusdt_20240718"),
    ("binance_spot", "cf_10sym_20210405"),
    ("binance_spot", "cf_10sym_20210417"),
    ("binance_spot", "cf_4sym_20211012"),
    ("binance_spot", "cf_btc_eth_dot_20210404"),
    ("binance_spot", "hft_btcusdt_20240808"),
]
KINDS = ("trade", "book_delta", "book_top", "funding")


def folder(venue, name):
    return shared(f"{venue}/public/captures/{name}")


def naive_books(venue, name, drop=()):
    """Return the slow reference's books after the capture, by symbol."""
    books, only = {}, None
    messages = open_capture(folder(venue, name)).messages()
    decoded = [(m, orjson.loads(m.payload)) for m in messages if m.number not in drop]
    for message, body in decoded:
        event = body.get("data", body)
        symbol = event.get("s")
        if message.kind == FrameKind.REST_DEPTH:
            symbol = next(find_venue(venue).texts_of(body, message.url or None))[0] or only
        elif only is None:
            only = symbol
        if symbol is None:
            continue
        book = books.setdefault(symbol, NaiveBook(futures=venue == "binance_usdm"))
        if message.kind == FrameKind.REST_DEPTH:
            book.snapshot(body)
        elif event.get("e") == "depthUpdate":
            book.event(event)
    return books


def levels(side):
    return [(Decimal(price), Decimal(quantity)) for price, quantity in side]


@pytest.mark.processes
@pytest.mark.parametrize(("venue", "name"), CAPTURES)
def test_every_final_book_is_that_of_the_slow_reference(venue, name):
    result = replay(folder(venue, name), venue)
    books = naive_books(venue, name)
    assert result["gaps"] == result["overruns"] == result["malformed"] == 0
    assert result["crossed_live"] == 0
    assert set(result["rejects"]) <= {"not_covered", "nothing"}
    synchronised = {symbol for symbol, book in books.items() if book.state == "live"}
    assert synchronised == {s for s, each in result["instruments"].items() if each["valid"]}
    for symbol in synchronised:
        bids, asks = books[symbol].best(10)
        each = result["instruments"][symbol]
        assert (levels(each["bids"]), levels(each["asks"])) == (bids, asks)


@pytest.fixture(scope="module")
def small():
    """Return a small capture's result, and the lines of one symbol's depth updates."""
    venue, name = "binance_usdm", "cf_4sym_20210417"
    result = replay(folder(venue, name), venue)
    updates = [
        message.number
        for message in open_capture(folder(venue, name)).messages()
        if b'"depthUpdate"' in message.payload and b'"KSMUSDT"' in message.payload
    ]
    return result, updates


@pytest.mark.processes
def test_the_counts_by_instrument_add_up_to_the_records(small):
    result, _ = small
    for kind in KINDS:
        assert sum(each[kind] for each in result["instruments"].values()) == result["records"][kind]


@pytest.mark.processes
def test_the_same_capture_gives_the_same_bytes(small):
    result, _ = small
    again = replay(folder("binance_usdm", "cf_4sym_20210417"), "binance_usdm")
    assert again["hashes"] == result["hashes"]


@pytest.mark.processes
def test_a_missing_update_is_a_gap_and_the_book_is_not_valid(small):
    _, updates = small
    venue, name = "binance_usdm", "cf_4sym_20210417"
    drop = [updates[len(updates) // 2]]
    result = replay(folder(venue, name), venue, drop=drop)
    broken = result["instruments"].pop("KSMUSDT")
    assert (broken["valid"], broken["state"], broken["gaps"]) == (False, "gap", 1)
    assert all(each["valid"] and not each["gaps"] for each in result["instruments"].values())
    assert result["crossed_live"] == 0


@pytest.mark.processes
def test_every_second_update_missing_never_makes_a_valid_crossed_book(small):
    _, updates = small
    result = replay(folder("binance_usdm", "cf_4sym_20210417"), "binance_usdm", drop=updates[::2])
    assert result["crossed_live"] == 0
    assert not result["instruments"]["KSMUSDT"]["valid"]
    assert result["instruments"]["KSMUSDT"]["gaps"] > 1


@pytest.mark.processes
def test_a_gap_before_a_snapshot_is_healed_by_it(tmp_path):
    # The second snapshot is the first one's body again with the id of a later update: the reference
    # does the same with it, so that the books must agree.
    lines, index, updates = [], ["line\trecv_ns\tchannel\turl"], []
    for i in range(1, 60):
        price = f"{100 + i % 7}.5"
        update = {"e": "depthUpdate", "E": i, "s": "AUSDT", "U": i * 10, "u": i * 10 + 9}
        update |= {"b": [[price, "1.25"]], "a": [["200.0", str(i)]]}
        updates.append(update)
    body = {"lastUpdateId": 25, "bids": [["99.5", "3"]], "asks": [["201.0", "4"]]}
    for i, update in enumerate(updates):
        if i == 5:
            lines.append((body, "rest"))
        if i == 40:
            lines.append((body | {"lastUpdateId": 395}, "rest"))
        if i != 20:  # The hole.
            lines.append((update, "ws"))
    for number, (_, channel) in enumerate(lines):
        index.append(f"{number}\t{number + 1}\t{channel}\t")
    text = "\n".join(json.dumps(each) for each, _ in lines)
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "index.tsv.gz").write_bytes(gzip.compress("\n".join(index).encode()))
    result = replay(tmp_path, "binance_spot")
    book = result["instruments"]["AUSDT"]
    reference = NaiveBook(futures=False)
    for each, channel in lines:
        (reference.snapshot if channel == "rest" else reference.event)(each)
    assert (book["gaps"], book["valid"], reference.state) == (1, True, "live")
    assert (levels(book["bids"]), levels(book["asks"])) == reference.best(10)


@pytest.mark.processes
def test_the_command_prints_one_json_object_and_leaves_nothing(small):
    command = [sys.executable, "-m", "engine.cli", "replay", "--venue", "binance_usdm", "--json"]
    capture = folder("binance_usdm", "cf_4sym_20210417")
    with subprocess.Popen([*command, str(capture)], stdout=subprocess.PIPE) as running:
        try:
            output, _ = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == 0
    result = json.loads(output.splitlines()[-1])
    assert result["hashes"] == small[0]["hashes"]
    assert result["frames_per_s"] > 0
    assert list_segments(f"replay-{running.pid}") == []


def recorded(instance, source, venue, target, marks=()):
    """Have a recorder record a capture's frames; ``marks``: place -> (kind, row)."""
    captures, adapter = [open_capture(source)], find_venue(venue)
    listed = Instruments(captures, adapter, None)
    ring = RawRing(instance, (), venue, frames=1024, bytes_=4 << 20)
    for row in range(len(listed.records)):
        ring.table.write(row, listed.records[row : row + 1])
    recording = Recording(instance, target, [venue], block_kb=64)
    try:
        (frames,) = Playlist(captures, adapter, listed, ()).chunks()
        for place, frame in enumerate(frames):
            if place in marks:
                kind, row = marks[place]
                ring.writer.publish(b"", frame.received_ns, kind, 1, row)
            payload, received_ns, kind, row, connection, line = frame
            ring.writer.publish(payload, received_ns, kind, connection, row, line)
            recording.take()
    finally:
        recording.close()
        ring.close()
    return target


@pytest.mark.processes
def test_a_recording_of_our_own_gives_the_records_of_the_frames_themselves(instance, tmp_path):
    source = folder("binance_spot", "cf_4sym_20211012")
    ours = recorded(instance, source, "binance_spot", tmp_path)
    assert replay(ours)["hashes"] == replay(source)["hashes"]


@pytest.mark.processes
def test_a_recording_with_marks_gives_the_same_bytes_each_time(instance, tmp_path):
    marks = {
        0: (FrameKind.CONNECTED, -1),
        100: (FrameKind.STALE, 0),
        150: (FrameKind.DISCONNECTED, -1),
        200: (FrameKind.STALE, 1),
    }
    source = folder("binance_spot", "cf_4sym_20211012")
    ours = recorded(instance, source, "binance_spot", tmp_path, marks)
    once, again = replay(ours), replay(ours)
    assert once["hashes"] == again["hashes"]
    assert once["hashes"]["md.top"] != replay(source)["hashes"]["md.top"]


@pytest.mark.processes
def test_a_line_that_repeats_another_changes_no_record():
    source = folder("binance_spot", "cf_4sym_20211012")
    both = replay([source, source], "binance_spot")
    assert both["hashes"] == replay(source)["hashes"]
    assert [line["frames"] for line in both["lines"]] == [269, 269]


@pytest.mark.processes
def test_what_is_missing_on_one_line_comes_from_the_other():
    source = folder("binance_spot", "cf_4sym_20211012")
    updates = [
        message.number
        for message in open_capture(source).messages()
        if b'"depthUpdate"' in message.payload
    ]
    drop = [(place % 2, number) for place, number in enumerate(updates)]
    result = replay([source, source], drop=drop)
    assert result["gaps"] == 0
    assert all(each["valid"] for each in result["instruments"].values())
    assert result["hashes"]["md.book"] == replay(source)["hashes"]["md.book"]


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ([(0, 10**6)], "has frames 0 to"),
        ([(2, 1)], "there are captures 0 to 1"),
        ([17], "of which of the 2 captures"),
    ],
)
def test_a_frame_to_drop_that_is_not_there_is_an_error(drop, said):
    source = folder("binance_spot", "cf_4sym_20211012")
    with pytest.raises(ReplayError, match=said):
        replay([source, source], drop=drop)


def test_a_capture_of_another_venue_is_refused():
    with pytest.raises(CaptureError, match="of binance_spot, not of binance_usdm"):
        replay(folder("binance_spot", "cf_4sym_20211012"), "binance_usdm")


def test_frames_that_name_no_instrument_of_the_venue_are_refused(tmp_path):
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(b'{"topic": "trade"}\n'))
    (tmp_path / "index.tsv.gz").write_bytes(gzip.compress(b"line\n0\t1\tws\t\n"))
    with pytest.raises(ReplayError, match="names an instrument of binance_spot"):
        replay(tmp_path, "binance_spot")


@pytest.mark.processes
def test_frames_of_which_none_is_understood_are_an_error(instance, tmp_path):
    ring = RawRing(instance)
    recording = Recording(instance, tmp_path)
    for _ in range(3):
        ring.publish(b'{"topic": "orderbook.50.BTCUSDT"}')
    recording.take()
    recording.close()
    ring.close()
    with pytest.raises(ReplayError, match="none of 3 frames"):
        replay(tmp_path)


@pytest.mark.processes
def test_a_replay_at_a_multiple_of_the_recorded_speed_gives_the_same_bytes():
    source = folder("binance_spot", "cf_4sym_20211012")
    assert replay(source, speed=50.0)["hashes"] == replay(source)["hashes"]


def test_decoding_a_recording_gives_what_decoding_its_frames_gives(instance, tmp_path, capsys):
    source = folder("binance_spot", "cf_4sym_20211012")
    ours = recorded(instance, source, "binance_spot", tmp_path)
    shown = []
    for path in (source, source / "messages.jsonl.gz", ours, next(ours.iterdir())):
        assert main(["decode", "--venue", "binance_spot", str(path)]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0].count("\n") > 5000
    assert shown == [shown[0]] * 4


@pytest.mark.processes
def test_a_replay_can_keep_its_records_as_parquet(tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    source = folder("binance_spot", "cf_4sym_20211012")
    assert main(["replay", str(source), "--parquet", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    tables = {each.name.split("-")[0]: parquet.read_table(each) for each in tmp_path.iterdir()}
    names = {"trade": "md.trades", "book_delta": "md.book", "book_top": "md.top"}
    for kind, ring in names.items():
        assert tables[ring].num_rows == result["records"][kind]
    book = result["instruments"]["NKNUSDT"]
    tops = tables["md.top"].select(["native", "bid_price", "source"]).to_pylist()
    last = [top for top in tops if top["native"] == "NKNUSDT" and top["source"] == 1][-1]
    assert last["bid_price"] == Decimal(book["bids"][0][0])


@pytest.mark.parametrize("drop", ["x", "1:2:3", "a:1"])
def test_a_frame_to_drop_must_be_a_number(drop, capsys):
    with pytest.raises(SystemExit):
        main(["replay", ".", "--drop", drop])
    assert "N or LINE:N" in capsys.readouterr().err


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_must_be_a_factor(speed, capsys):
    with pytest.raises(SystemExit):
        main(["replay", ".", "--speed", speed])
    assert "a factor above 0" in capsys.readouterr().err


def trade(number, price):
    event = {"e": "trade", "E": number, "T": number, "s": "BTCUSDT", "t": number}
    return json.dumps(event | {"p": price, "q": "1.000", "X": "MARKET", "m": True}).encode()


@pytest.mark.processes
def test_other_decimals_take_effect_at_their_place_in_the_recording(instance, tmp_path):
    ring = RawRing(instance)
    recording = Recording(instance, tmp_path)
    for number in range(1, 41):
        if number == 21:
            recording.take()
            ring.list(0, "BTCUSDT", price_decimals=4)
        ring.publish(trade(number, "1.50"))
    recording.close()
    ring.close()
    prices = []

    def keep(_, name, records):
        if name == "md.trades":
            prices.extend(records["price"].tolist())

    once, again = replay(tmp_path, keep=keep), replay(tmp_path)
    assert prices == [150] * 20 + [15_000] * 20
    assert once["hashes"] == again["hashes"]


@pytest.mark.processes
def test_over_a_gap_in_a_recording_no_book_stays_live(instance, tmp_path):
    source = folder("binance_spot", "cf_4sym_20211012")
    whole = replay(source)
    ours = recorded(instance, source, "binance_spot", tmp_path)
    (file,) = ours.iterdir()
    with read_blocks(file) as blocks:
        places = [(b.first, b.stored_bytes + HEADER.size) for b in blocks]
    content, start = file.read_bytes(), sum(size for _, size in places[:3])
    file.write_bytes(content[:start] + content[start + places[3][1] :])
    result = replay(ours)
    assert result["missing"] == {"gaps": 1, "frames": places[4][0] - places[3][0]}
    assert result["damaged"] == 0
    assert result["crossed_live"] == 0
    assert sum(each["valid"] for each in result["instruments"].values()) < len(whole["instruments"])


@pytest.mark.processes
def test_the_command_warns_of_damage_and_counts_what_it_lost(instance, tmp_path, capsys):
    source = folder("binance_spot", "cf_4sym_20211012")
    (file,) = recorded(instance, source, "binance_spot", tmp_path).iterdir()
    with read_blocks(file) as blocks:
        sizes = [(b.frames, b.stored_bytes + HEADER.size) for b in blocks]
    content, end = bytearray(file.read_bytes()), sum(size for _, size in sizes[:4])
    content[end - 40 : end] = bytes(40)
    file.write_bytes(content)
    assert main(["replay", str(file), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result["damaged"] == 1
    assert result["missing"] == {"gaps": 1, "frames": sizes[3][0]}
    assert "damaged stretches in the recording: 1; gaps in all: 1" in printed.err


OKX = [
    "cf_books_20220513",
    "cf_tbt_20210722_conn1",
    "cf_tbt_20210722_conn2",
    "cf_tbt_20210722_conn3",
]
OKX_LINES = OKX[1:]
BOOK_CHANNELS = ("books", "books-l2-tbt", "books50-l2-tbt")


def okx_books(name):
    """Return the slow reference's books by instrument, and the number of book messages."""
    books, messages = {}, 0
    for message in open_capture(folder("okx", name)).messages():
        body = orjson.loads(message.payload)
        if body.get("arg", {}).get("channel") not in BOOK_CHANNELS or "data" not in body:
            continue
        book = books.setdefault(body["arg"]["instId"], ({}, {}))
        for data in body["data"]:
            messages += 1
            for side, levels in zip(book, (data["bids"], data["asks"]), strict=True):
                if body["action"] == "snapshot":
                    side.clear()
                for price, quantity, *_ in levels:
                    side[Decimal(price)] = Decimal(quantity)
    for book in books.values():
        for side in book:
            for price in [price for price, quantity in side.items() if not quantity]:
                del side[price]
    return books, messages


@pytest.mark.processes
@pytest.mark.parametrize("name", OKX)
def test_every_okx_book_is_that_of_the_slow_reference_and_every_checksum_good(name):
    result = replay(folder("okx", name), "okx")
    books, messages = okx_books(name)
    assert result["checksums"] == {"ok": messages, "bad": 0}
    assert result["gaps"] == result["overruns"] == result["malformed"] == 0
    for native, (bids, asks) in books.items():
        each = result["instruments"][native]
        assert each["valid"]
        best = sorted(bids.items(), reverse=True)[:10], sorted(asks.items())[:10]
        assert (levels(each["bids"]), levels(each["asks"])) == best


def holders(paths):
    """Return where each message is, by payload: line and number."""
    found = {}
    for line, path in enumerate(paths):
        for message in open_capture(path).messages():
            found.setdefault(message.payload, []).append((line, message.number))
    return found


def losses(paths, count, seed):
    """Return ``count`` frames of each line to drop, none of them on all lines that have it."""
    random = np.random.default_rng(seed)
    kept = [places[int(random.integers(len(places)))] for places in holders(paths).values()]
    drop = []
    for line, path in enumerate(paths):
        places = {(line, message.number) for message in open_capture(path).messages()}
        spare = sorted(places - set(kept))
        drop += [spare[n] for n in random.choice(len(spare), count, replace=False)]
    return drop


@pytest.mark.processes
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [20, 150, 300])
def test_okx_lines_that_each_lost_frames_are_one_without_a_gap(count, seed):
    paths = [folder("okx", name) for name in OKX_LINES]
    result = replay(paths, "okx", drop=losses(paths, count, seed))
    assert (result["gaps"], result["checksums"]["bad"], result["malformed"]) == (0, 0, 0)
    assert [each["line"] for each in result["lines"]] == [0, 1, 2]
    whole = replay(paths, "okx")
    for native, each in whole["instruments"].items():
        assert result["instruments"][native]["bids"] == each["bids"]
        assert result["instruments"][native]["valid"]


@pytest.mark.processes
def test_an_okx_update_that_no_line_has_is_a_gap():
    paths = [folder("okx", name) for name in OKX_LINES]
    common = [
        places
        for payload, places in holders(paths).items()
        if b'"action":"update"' in payload and b"XMR-USDT-SWAP" in payload and len(places) == 3
    ]
    assert replay(paths, "okx", drop=common[len(common) // 2])["gaps"] == 1


@pytest.mark.processes
def test_three_okx_lines_without_sequence_numbers_are_one_too():
    paths = [folder("okx", name) for name in OKX_LINES]
    result = replay(paths, "okx")
    assert (result["gaps"], result["checksums"]["bad"]) == (0, 0)
