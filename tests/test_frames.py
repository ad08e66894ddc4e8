"""The frame ring: byte strings of any length, whole or not at all."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import frames as module
from engine.errors import SegmentError
from engine.frames import CLAIM_AHEAD, FrameKind, FrameReader, FrameWriter, claim, fetch, put_frame
from engine.jit import kernel
from engine.ring import EMPTY, LAPPED, begin
from engine.segment import CLAIM, list_segments, unlink_segment

pytestmark = pytest.mark.kernels

NAME = "md.raw.test"
AREA = 4 * CLAIM_AHEAD
_names = (f"hypframes{os.getpid()}-{n}" for n in itertools.count())


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True),"
    "Array(uint8, 1, 'C', readonly=True), int64, uint8[::1])"
)
def fetch_one(cells, words, area, sequence, scratch):
    """Return ``fetch`` for the tests."""
    return fetch(cells, words, area, sequence, scratch)


def fetched(reader, sequence):
    scratch = np.full(AREA + 64, 0xEE, np.uint8)
    code = fetch_one(reader.cells, reader.words, reader.segment.area, sequence, scratch)
    if code < 1:
        return code
    assert not scratch[code - 1 : code + 63].any()
    return scratch[: code - 1].tobytes()


@pytest.fixture
def ring(instance):
    writer = FrameWriter.open(instance, NAME, 16, AREA, bell=False)
    yield writer
    writer.close()


@pytest.fixture
def reader(instance, ring):
    reader = FrameReader.attach(instance, NAME)
    yield reader
    reader.close()


def payload(n, length):
    return (n.to_bytes(4, "little") * (length // 4 + 1))[:length]


LENGTH = st.integers(0, 300) | st.sampled_from([CLAIM_AHEAD - 1, CLAIM_AHEAD, AREA // 4])


@given(st.lists(st.lists(LENGTH, max_size=10) | st.none(), max_size=20))
def test_every_frame_is_read_as_it_was_written_or_counted_as_lost(steps):
    instance, n, read = next(_names), 0, 0
    writer = FrameWriter.open(instance, NAME, 16, AREA, bell=False)
    reader = FrameReader.attach(instance, NAME)
    sent = {}
    try:
        for step in steps:
            if step is None:
                writer.close()
                writer = FrameWriter.open(instance, NAME, 16, AREA, bell=False)
                continue
            for length in step:
                n += 1
                sent[n] = payload(n, length)
                assert writer.publish(sent[n], n) == n
            batch = reader.poll()
            for frame in batch:
                assert bytes(reader.payload(frame)) == sent[int(frame["sequence"])]
                assert fetched(reader, int(frame["sequence"])) == sent[int(frame["sequence"])]
            assert reader.intact() or not len(batch)
            read += len(batch)
            assert reader.position == read + reader.lost + 1
    finally:
        reader.close()
        writer.close()
        for _, name in list_segments(instance):
            unlink_segment(instance, name)


def test_descriptor_says_where_a_frame_comes_from(ring, reader):
    ring.publish(b"x" * 70, 123, FrameKind.REST_DEPTH, connection=3, instrument=17, line=1)
    ring.publish(memoryview(b"y"), 124)
    first, second = reader.poll()
    assert (first["received_ns"], first["length"], first["kind"]) == (123, 70, 3)
    assert (first["connection"], first["instrument"], first["line"]) == (3, 17, 1)
    assert first["published_ns"] > 1_600_000_000_000_000_000
    assert (second["position"], second["instrument"], second["line"]) == (128, -1, 0)
    assert second["kind"] == FrameKind.TEXT


def test_payload_is_read_only(ring, reader):
    ring.publish(b"abc", 1)
    assert reader.payload(reader.poll()[0]).readonly


def test_frame_that_would_wrap_starts_at_the_beginning_of_the_area(ring, reader):
    for n in range(5):
        ring.publish(payload(n, AREA // 4 - 100), n)
    frames = ring.slots[1:6]
    starts = frames["position"] % AREA
    assert (starts + frames["length"] <= AREA).all()
    assert starts[4] == 0


def test_frame_that_is_too_long_is_refused_and_leaves_no_hole(ring, reader):
    with pytest.raises(ValueError, match="raise the ring's bytes"):
        ring.publish(b"x" * (AREA // 4 + 1), 1)
    assert ring.publish(b"ok", 2) == 1
    assert bytes(reader.payload(reader.poll()[0])) == b"ok"


def test_call_that_fails_leaves_no_hole(ring, reader):
    with pytest.raises(TypeError):
        ring.publish(b"x", "not a time")
    assert ring.publish(b"ok", 2) == 1
    assert bytes(reader.payload(reader.poll()[0])) == b"ok"


def test_claim_never_sinks_though_a_call_failed(instance):
    writer = FrameWriter.open(instance, "md.raw.large", 16, 8 * CLAIM_AHEAD, bell=False)
    with pytest.raises(TypeError):
        writer.publish(payload(1, 2 * CLAIM_AHEAD), "not a time")
    claimed = writer.cells[CLAIM]
    assert claimed > 2 * CLAIM_AHEAD
    writer.publish(b"x", 1)
    assert writer.cells[CLAIM] >= claimed
    writer.close()


def test_overwritten_payload_is_noticed_though_its_descriptor_stands(ring, reader):
    ring.publish(b"first", 1)
    frame = reader.poll()[0]
    assert reader.intact()
    for n in range(4):
        ring.publish(payload(n, AREA // 4), n)
    assert frame["sequence"] == 1
    assert not reader.intact()
    assert fetched(reader, 1) == LAPPED


def test_payload_is_not_trusted_from_the_claim_on_not_from_the_overwriting(ring, reader):
    ring.publish(b"first", 1)
    reader.poll()
    claim(ring.cells, AREA)
    assert reader.intact()
    claim(ring.cells, AREA + 1)
    assert not reader.intact()


def test_reader_behind_the_area_goes_on_half_an_area_back(ring, reader):
    for n in range(12):
        ring.publish(payload(n, AREA // 8), n)
    batch = reader.poll()
    assert reader.intact()
    assert reader.lost + len(batch) == 12
    assert 0 < len(batch) <= 4
    assert reader.laps == 1


def test_fetch_says_when_there_is_nothing_yet(ring, reader):
    assert fetched(reader, 1) == EMPTY
    begin(ring.words, ring.stride, ring.capacity, 1)
    assert fetched(reader, 1) == EMPTY


def test_fetch_says_when_a_descriptor_is_gone(ring, reader):
    for n in range(20):
        ring.publish(b"x", n)
    assert fetched(reader, 4) == LAPPED
    assert fetched(reader, 5) == b"x"


@pytest.mark.parametrize(
    ("field", "value"), [("length", -1), ("length", AREA + 1), ("length", 2**62), ("position", -1)]
)
def test_fetch_never_reads_outside_the_area(ring, reader, field, value):
    ring.publish(b"x" * 100, 1)
    ring.slots[field][1] = value
    assert fetched(reader, 1) == LAPPED


def test_successor_claims_at_least_what_its_predecessor_did(instance, ring):
    ring.publish(b"x", 1)
    claim(ring.cells, AREA // 2)
    begin(ring.words, ring.stride, ring.capacity, 2)
    ring.segment.close()
    successor = FrameWriter.open(instance, NAME, 16, AREA, bell=False)
    assert successor.newest == 1
    assert successor.cells[CLAIM] == AREA // 2
    assert successor.publish(b"y", 2) == 2
    assert successor.cells[CLAIM] == AREA // 2
    successor.close()


def test_area_must_hold_some_frames(instance):
    with pytest.raises(SegmentError, match="at least"):
        FrameWriter.open(instance, NAME, 16, CLAIM_AHEAD)


def test_payloads_start_on_cache_lines(ring, reader):
    for n in range(5):
        ring.publish(payload(n, 10 + n), n)
    assert not (reader.poll()["position"] % module.PAYLOAD_ALIGNMENT).any()


@kernel("void(int64[::1], int64[::1], uint8[::1], int64[::1], uint8[::1], int64, int64)")
def put_one(cells, words, area, tail, data, at, length):
    """Return ``put_frame`` for the tests."""
    put_frame(cells, words, area, tail, data, at, length, 7, FrameKind.BINARY, 3, 5, 1)


def put(ring, data):
    """Publish as a kernel does."""
    tail = np.array([ring.newest, *ring.tail], np.int64)
    source = np.frombuffer(bytearray(b"__" + data), np.uint8)
    put_one(ring.cells, ring.words, ring.segment.area, tail, source, 2, len(data))
    ring.resume(*map(int, tail))


FIELDS = ("received_ns", "length", "kind", "connection", "instrument", "line", "reserved")


def test_every_lane_publishes_the_same(instance, reader, ring, monkeypatch):
    for instrument in (5, -1):
        ring.publish(b"a frame", 7, FrameKind.BINARY, 3, instrument, 1)
        monkeypatch.setattr(module, "TSO", False)
        ring.publish(b"a frame", 7, FrameKind.BINARY, 3, instrument, 1)
        monkeypatch.setattr(module, "TSO", True)
        plain, ordered = reader.poll()
        assert [plain[field] for field in FIELDS] == [ordered[field] for field in FIELDS]
        assert bytes(reader.payload(plain)) == bytes(reader.payload(ordered)) == b"a frame"
    put(ring, b"a frame")
    made = reader.poll()[0]
    assert [made[field] for field in FIELDS] == [7, 7, FrameKind.BINARY, 3, 5, 1, 0]
    assert bytes(reader.payload(made)) == b"a frame"


@given(st.lists(st.tuples(LENGTH, st.booleans()), max_size=30))
def test_lanes_take_turns_at_the_same_places_of_the_area(frames):
    instance = next(_names)
    mixed = FrameWriter.open(instance, "mixed", 16, AREA, bell=False)
    plain = FrameWriter.open(instance, "plain", 16, AREA, bell=False)
    try:
        for n, (length, jitted) in enumerate(frames):
            data = payload(n, length)
            plain.publish(data, 7)
            put(mixed, data) if jitted else mixed.publish(data, 7)
            assert mixed.cells[CLAIM] == plain.cells[CLAIM]
        assert (mixed.slots["position"] == plain.slots["position"]).all()
        assert (mixed.segment.area == plain.segment.area).all()
    finally:
        for writer in (mixed, plain):
            writer.close()
            unlink_segment(instance, writer.segment.name)
