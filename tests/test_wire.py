"""The jitted WebSocket framing against a naive twin, on every way that bytes can arrive."""

import asyncio
import base64
import contextlib
import hashlib
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.websocket import framed
from engine.frames import FrameKind, FrameReader, FrameWriter
from engine.segment import list_segments, unlink_segment
from feeds import wire
from feeds.websocket import Intake, connect

NOTICE = b'{"e":"serverShutdown"'
INSTANCE = f"wire{os.getpid()}"


class Transport:
    """What a connection writes, and whether it is still open."""

    def __init__(self):
        self.written, self.closed, self.reads = [], False, True

    def write(self, data):
        self.written.append(data)

    def get_write_buffer_size(self):
        """The other side reads, or it does not."""
        return 0 if self.reads else sum(map(len, self.written))

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed


class Rig:
    """An upgraded connection without a socket."""

    def __init__(self):
        self.writer = FrameWriter.open(INSTANCE, "md.raw.wire", frames=1024, bytes_=1 << 20)
        self.reader = FrameReader.attach(INSTANCE, "md.raw.wire")
        self.noticed = []
        self.intake = Intake(self.writer, 5, (NOTICE, b"bye"), self.noticed.append)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.protocol = self.loop.run_until_complete(self._make())
        self.transport = self.protocol.transport = Transport()
        self.protocol._upgraded = True

    async def _make(self):
        return wire._Protocol(self.intake, b"", b"")

    def receive(self, data, sizes=()):
        """Give the bytes to the connection in pieces of the given sizes, then the rest."""
        at = 0
        for size in (*sizes, len(data)):
            piece = data[at : at + size]
            at += len(piece)
            while piece and not self.transport.closed:
                buffer = self.protocol.get_buffer(-1)
                count = min(len(buffer), len(piece))
                buffer[:count] = piece[:count]
                self.protocol.buffer_updated(count)
                piece = piece[count:]

    def messages(self):
        found = []
        while len(batch := self.reader.poll()):
            for frame in batch:
                assert (frame["connection"], frame["instrument"]) == (5, -1)
                assert 0 < frame["received_ns"] <= frame["published_ns"]
                found.append((FrameKind(int(frame["kind"])), bytes(self.reader.payload(frame))))
            assert self.reader.intact()
        return found

    def close(self):
        self.reader.close()
        self.writer.close()
        asyncio.set_event_loop(None)
        self.loop.close()
        for _, name in list_segments(INSTANCE):
            unlink_segment(INSTANCE, name)


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.close()


def control(opcode, payload=b""):
    return bytes([0x80 | opcode, len(payload)]) + payload


def test_messages_of_every_length_class_come_through(rig):
    sent = [b"", b"a", b"b" * 125, b"c" * 126, b"d" * 65_535, b"e" * 65_536, b"f" * 262_144]
    rig.receive(b"".join(map(framed, sent)))
    assert rig.messages() == [(FrameKind.TEXT, payload) for payload in sent]
    assert (rig.intake.frames, rig.intake.bytes) == (len(sent), sum(map(len, sent)))


def test_a_binary_message_is_binary(rig):
    payload = bytes(range(256)) * 2
    rig.receive(b"\x82\x7e\x02\x00" + payload)
    assert rig.messages() == [(FrameKind.BINARY, payload)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 131])
def test_it_does_not_matter_how_the_bytes_are_cut(rig, size):
    sent = [b"x" * n for n in (0, 1, 124, 125, 126, 127, 200, 1000)]
    data = b"".join(map(framed, sent))
    rig.receive(data, [size] * (len(data) // size))
    assert [payload for _, payload in rig.messages()] == sent


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=400), max_size=30),
    sizes=st.lists(st.integers(1, 700), max_size=30),
    watched=st.booleans(),
)
def test_what_is_sent_is_what_stands_in_the_ring(payloads, sizes, watched):
    rig = Rig()
    try:
        seen = []
        rig.intake.watch = seen.append if watched else None
        rig.receive(b"".join(map(framed, payloads)), sizes)
        assert [payload for _, payload in rig.messages()] == payloads
        assert seen == (payloads if watched else [])
    finally:
        rig.close()


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=600), sizes=st.lists(st.integers(1, 100), max_size=10))
def test_hostile_bytes_never_break_anything(data, sizes):
    rig = Rig()
    try:
        rig.receive(framed(b"before"))
        rig.receive(data, sizes)
        assert rig.messages()[0] == (FrameKind.TEXT, b"before")
    finally:
        rig.close()


def test_fragments_become_one_message(rig):
    rig.receive(b"\x01\x03abc" + control(wire.PING, b"!") + b"\x00\x02de" + b"\x80\x01f")
    assert rig.messages() == [(FrameKind.TEXT, b"abcdef")]
    rig.receive(framed(b"next"))
    assert rig.messages() == [(FrameKind.TEXT, b"next")]


def test_a_ping_is_answered_with_its_payload_masked(rig):
    rig.receive(control(wire.PING, b"1700000000000"))
    (answer,) = rig.transport.written
    assert answer[:2] == bytes([0x80 | wire.PONG, 0x80 | 13])
    mask, body = answer[2:6], answer[6:]
    assert bytes(b ^ mask[i % 4] for i, b in enumerate(body)) == b"1700000000000"
    assert rig.intake.heard_ns > 0
    assert rig.intake.last_ns == 0


def test_a_pong_is_noted(rig):
    rig.receive(control(wire.PONG))
    assert rig.intake.pong_ns > 0


def test_a_close_is_answered_and_its_words_are_kept(rig):
    rig.receive(framed(b"last") + control(wire.CLOSE, b"\x03\xe9going away") + framed(b"never"))
    assert [payload for _, payload in rig.messages()] == [b"last"]
    assert rig.transport.closed
    assert rig.protocol.reason == "closed by the server: 1001 going away"


def test_a_server_that_pings_and_never_reads_is_given_up(rig):
    rig.transport.reads = False
    rig.receive(framed(b"before") + control(wire.PING, b"x" * 125) * 20_000)
    assert [payload for _, payload in rig.messages()] == [b"before"]
    assert rig.transport.closed
    assert rig.protocol.reason == "the server does not read what we send"
    assert sum(map(len, rig.transport.written)) < 2 * wire.UNREAD_BYTES_MAX


def test_a_server_that_says_goodbye_and_stays_is_cut_off(instance, monkeypatch):
    monkeypatch.setattr(wire, "CLOSE_TIMEOUT_S", 0.05)

    async def stubborn(reader, writer):
        """Shake hands, say goodbye, and never read again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = re.search(r"(?i)sec-websocket-key: (\S+)", head)[1].encode()
        accept = base64.b64encode(hashlib.sha1(key + wire._GUID).digest())
        writer.write(SWITCH + accept + b"\r\n\r\n" + framed(b"x") + control(wire.PING))
        await asyncio.sleep(0.1)
        writer.write(control(wire.CLOSE, b"\x03\xe8"))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await forever.wait()
        writer.transport.abort()

    async def main():
        nonlocal forever
        forever = asyncio.Event()
        server = await asyncio.start_server(stubborn, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        writer = FrameWriter.open(instance, "md.raw.wire", frames=1024, bytes_=1 << 20)
        connection = await connect(f"ws://127.0.0.1:{port}/", Intake(writer, 1))
        # So much that it cannot all be sent: a polite end would wait for it.
        transport = connection._protocol.transport
        transport.write(bytes(64 << 20))
        await asyncio.wait_for(connection.closed.wait(), 10)
        assert transport.is_closing()
        forever.set()
        writer.close()
        server.close()
        await server.wait_closed()

    forever = None
    asyncio.run(main())


def test_a_notice_is_published_and_seen(rig):
    notice = NOTICE + b',"E":1}'
    rig.receive(framed(b"a") + framed(notice) + framed(b"by") + framed(b"bye"))
    assert [payload for _, payload in rig.messages()] == [b"a", notice, b"by", b"bye"]
    assert rig.noticed == [notice, b"bye"]


def test_a_message_larger_than_the_ring_takes_is_counted_and_passed_over(rig):
    rig.receive(framed(b"a") + framed(b"x" * 262_145) + framed(b"b"))
    assert [payload for _, payload in rig.messages()] == [b"a", b"b"]
    assert rig.intake.refused == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x81mask1",  # masked
        b"\xc1\x01a",  # a reserved bit
        b"\x83\x01a",  # an unknown opcode
        b"\x8b\x01a",
        b"\x09\x01a",  # a ping in fragments
        b"\x89\x7e\x00\x80" + b"a" * 128,  # a long ping
        b"\x80\x01a",  # a continuation of nothing
        b"\x01\x01a\x81\x01b",  # a message inside of another
        b"\x81\x7f" + (1 << 40).to_bytes(8, "big"),  # too long for anything
        b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(rig, data):
    rig.receive(framed(b"good") + data)
    assert [payload for _, payload in rig.messages()] == [b"good"]
    assert rig.transport.closed


def test_the_ring_goes_on_where_others_left_it(rig):
    rig.receive(framed(b"one"))
    rig.writer.publish(b"two", 1, FrameKind.REST_DEPTH, 5, -1)
    rig.receive(framed(b"three"))
    assert [payload for _, payload in rig.messages()] == [b"one", b"two", b"three"]


def test_the_ring_wraps_without_a_torn_message(rig):
    sent = [bytes([i % 251]) * (i * 37 % 5000) for i in range(900)]
    for payload in sent:
        rig.receive(framed(payload))
        assert rig.messages() == [(FrameKind.TEXT, payload)]


def upgraded(answer):
    async def main():
        writer = FrameWriter.open(INSTANCE, "md.raw.wire", frames=1024, bytes_=1 << 20)
        protocol = wire._Protocol(Intake(writer, 1), b"", b"right")
        protocol.transport = Transport()
        protocol.get_buffer(-1)[: len(answer)] = answer
        protocol.buffer_updated(len(answer))
        frames = protocol.intake.frames
        writer.close()
        await asyncio.wait_for(protocol.opened, 1)
        return frames

    try:
        return asyncio.run(main())
    finally:
        for _, name in list_segments(INSTANCE):
            unlink_segment(INSTANCE, name)


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "


def test_frames_in_the_packet_of_the_upgrade_are_not_lost():
    assert upgraded(SWITCH + b"right\r\n\r\n" + framed(b"at once")) == 1


@pytest.mark.parametrize(
    ("answer", "status", "retry_after_s"),
    [
        (SWITCH + b"wrong\r\n\r\n", 0, 0.0),
        (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n", 429, 7.0),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, 0.0),
        (b"nonsense\r\n\r\n", 0, 0.0),
    ],
)
def test_a_refused_upgrade_says_why(answer, status, retry_after_s):
    with pytest.raises(wire.ConnectFailed) as failure:
        upgraded(answer)
    assert (failure.value.status, failure.value.retry_after_s) == (status, retry_after_s)


def test_prefixes_are_compared_whole():
    prefixes = np.frombuffer(b"\x03bye\x01x", np.uint8)
    cases = {b"bye": True, b"by": False, b"bye!": True, b"x": True, b"": False, b"aye": False}
    for payload, expected in cases.items():
        data = np.zeros(64, np.uint8)
        data[: len(payload)] = np.frombuffer(payload, np.uint8)
        found = wire._begins_with(data, 0, len(payload), prefixes)
        assert bool(found) is expected, payload
