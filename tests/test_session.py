"""Sessions against a real local server: what they do when connections end, age, or go silent."""

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import shutil
import ssl
import subprocess
from collections import Counter
from dataclasses import replace

import pytest
import uvloop
from aiohttp import web

from engine.common import Endpoints, RateLimits
from engine.frames import FrameKind, FrameReader, FrameWriter
from feeds import session as session_module
from feeds.adapter import Channel
from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.limits import ConnectBudget, Outbox
from feeds.plan import plan_lines
from feeds.session import SessionOptions, Sessions, Shared
from feeds.websocket import ConnectFailed, Intake, connect
from tests.local_venue import LocalVenue, Variant, until

RING = "md.raw.test"
CLIENTS = ("wire", "picows", "aiohttp")
QUICK = SessionOptions(
    backoff_s=0.02,
    backoff_max_s=0.1,
    stable_s=0.1,
    silence_factor=0.0,
    overlap_s=0.05,
    handover_s=2.0,
)


class Rig:
    """Sessions on a raw ring of their own."""

    def __init__(
        self, instance, venue, options=QUICK, adapter=BINANCE_USDM, channels=None, lines=1
    ):
        self.writer = FrameWriter.open(instance, RING, frames=16_384, bytes_=8 << 20)
        self.reader = FrameReader.attach(instance, RING, start="oldest")
        self.counts = Counter()
        self.pings = []
        at = adapter.endpoints_at(venue.rest, venue.websocket)
        self.plans = plan_lines(
            adapter, {"BTCUSDT": 0, "ETHUSDT": 1}, channels or (Channel.BOOK,), at
        )
        self.shared = Shared(
            adapter=adapter,
            endpoints=at,
            writer=self.writer,
            options=options,
            budget=ConnectBudget(0),
            count=lambda name: self.counts.update([name]),
            log=logging.getLogger("test"),
            record_ping=self.pings.append,
        )
        self.sessions = Sessions(self.plans, self.shared, lines)
        self.line_of = {}
        """Connection -> line, of the frames that were read."""

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.sessions.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def frames(self):
        """Everything in the ring since the last call: (kind, connection, row, payload)."""
        found = []
        while len(batch := self.reader.poll()):
            pairs = zip(batch["connection"].tolist(), batch["line"].tolist(), strict=True)
            self.line_of.update(pairs)
            found += [
                (
                    FrameKind(int(f["kind"])),
                    int(f["connection"]),
                    int(f["instrument"]),
                    bytes(self.reader.payload(f)),
                )
                for f in batch
            ]
            assert self.reader.intact()
        return found

    def close(self):
        self.reader.close()
        self.writer.close()


def run(instance, scenario, **options):
    async def main():
        async with LocalVenue().serve() as venue:
            rig = Rig(instance, venue, **options)
            try:
                async with rig.running():
                    await scenario(rig, venue)
            finally:
                rig.close()

    asyncio.run(main())


def numbers(frames, stream):
    """The message numbers of a stream, in ring order."""
    messages = [json.loads(p) for kind, _, _, p in frames if kind == FrameKind.TEXT]
    return [m["data"]["i"] for m in messages if m.get("stream") == stream and "i" in m["data"]]


@pytest.mark.parametrize("client", CLIENTS)
def test_messages_arrive_in_order_and_without_a_hole(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 200)
        frames = rig.frames()
        for stream in ("btcusdt@depth@100ms", "ethusdt@depth@100ms"):
            found = numbers(frames, stream)
            assert found == list(range(found[0], found[0] + len(found)))

    run(instance, scenario, options=replace(QUICK, client=client))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_rotation_loses_no_message(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.counts["rotations"] >= 3)
        frames = rig.frames()
        found = sorted(set(numbers(frames, "btcusdt@depth@100ms")))
        assert found == list(range(found[0], found[-1] + 1))
        assert not [f for f in frames if f[0] == FrameKind.STALE]
        assert venue.most_at_once == 2

    run(instance, scenario, options=replace(QUICK, client=client, rotate_after_s=0.4))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_lost_connection_marks_its_instruments_and_is_replaced(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.cut()
        await until(lambda: rig.counts["connects"] == 2)
        await until(lambda: rig.sessions.totals()[0] >= 40)
        frames = rig.frames()
        kinds = [f[0] for f in frames if f[0] not in (FrameKind.TEXT, FrameKind.CONNECTED)]
        assert kinds == [FrameKind.DISCONNECTED, FrameKind.STALE, FrameKind.STALE]
        assert [f[2] for f in frames if f[0] == FrameKind.STALE] == [0, 1]
        assert [f[1] for f in frames if f[0] == FrameKind.CONNECTED] == [1, 2]
        assert rig.counts["reconnects"] == 1

    run(instance, scenario, options=replace(QUICK, client=client))


def test_a_mark_stands_before_the_first_message_of_the_next_connection(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        await venue.drop()
        await until(lambda: rig.counts["connects"] == 2)
        await until(lambda: rig.sessions.totals()[0] >= 40)
        frames = rig.frames()
        stale = max(i for i, f in enumerate(frames) if f[0] == FrameKind.STALE)
        second = min(i for i, f in enumerate(frames) if f[0] == FrameKind.TEXT and f[1] == 2)
        assert stale < second

    run(instance, scenario)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_silent_connection_is_marked_and_replaced(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.muted = True
        await until(lambda: rig.counts["silences"] == 1)
        venue.muted = False
        await until(lambda: rig.counts["connects"] >= 2)
        assert [f[2] for f in rig.frames() if f[0] == FrameKind.STALE][:2] == [0, 1]

    options = replace(QUICK, client=client, silence_factor=0.2)
    run(instance, scenario, options=options, adapter=Variant(cadence_s=2.0))


def test_a_shutdown_notice_is_followed_without_a_gap(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        await venue.say('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')
        await until(lambda: rig.counts["rotations"] == 1)
        await until(lambda: len(venue.sockets) == 1)
        frames = rig.frames()
        found = sorted(set(numbers(frames, "ethusdt@depth@100ms")))
        assert found == list(range(found[0], found[-1] + 1))
        assert not [f for f in frames if f[0] == FrameKind.STALE]
        assert rig.counts["notices"] == 1

    run(instance, scenario)


def test_a_rotation_to_a_server_that_refuses_keeps_the_old_connection(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.refuse = [web.Response(status=503) for _ in range(3)]
        await until(lambda: rig.counts["rotations"] == 1)
        assert rig.counts["connect_failures"] == 3
        assert not [f for f in rig.frames() if f[0] == FrameKind.STALE]

    run(instance, scenario, options=replace(QUICK, rotate_after_s=0.3))


def test_an_old_connection_that_falls_silent_while_it_is_replaced_is_marked(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.muted = True
        venue.refuse = [web.Response(status=503) for _ in range(1000)]
        await until(lambda: rig.counts["silences"] >= 1)
        assert [f[2] for f in rig.frames() if f[0] == FrameKind.STALE] == [0, 1]
        venue.muted, venue.refuse = False, []
        await until(lambda: rig.sessions.live == 1)

    options = replace(QUICK, rotate_after_s=0.3, silence_factor=0.5)
    run(instance, scenario, options=options, adapter=Variant(cadence_s=2.0))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_refused_upgrade_waits_as_long_as_the_server_says(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.counts["connects"] == 1)
        started = asyncio.get_running_loop().time()
        venue.refuse = [web.Response(status=429, headers={"Retry-After": "1"})]
        await venue.drop()
        await until(lambda: rig.counts["connects"] == 2)
        assert asyncio.get_running_loop().time() - started >= 1.0
        assert rig.counts["connect_failures"] == 1

    run(instance, scenario, options=replace(QUICK, client=client))


def test_an_unreachable_server_is_tried_until_it_is_there(instance):
    async def main():
        venue = LocalVenue()
        async with venue.serve():
            pass
        rig = Rig(instance, venue)
        running = rig.running()
        await running.__aenter__()
        await until(lambda: rig.counts["connect_failures"] >= 3)
        async with venue.serve():
            await until(lambda: rig.sessions.live == 1)
            await running.__aexit__(None, None, None)
        rig.close()

    asyncio.run(main())


def test_a_stopped_session_leaves_its_instruments_marked(instance):
    async def main():
        async with LocalVenue().serve() as venue:
            rig = Rig(instance, venue)
            try:
                async with rig.running():
                    await until(lambda: rig.sessions.totals()[0] >= 20)
                await until(lambda: not venue.sockets)
                assert [f[2] for f in rig.frames() if f[0] == FrameKind.STALE] == [0, 1]
            finally:
                rig.close()

    asyncio.run(main())


def test_a_half_open_connection_is_replaced(instance):
    async def main():
        gone = []

        async def swallow(reader, writer):
            """Shake hands by hand, then never say anything again, not even pong."""
            import base64
            import hashlib

            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = next(
                line.split(": ")[1]
                for line in head.split("\r\n")
                if line.lower().startswith("sec-websocket-key")
            )
            guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
            writer.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass
            writer.close()
            gone.append(1)

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        venue = LocalVenue()
        venue.port = server.sockets[0].getsockname()[1]
        adapter = Variant(ping_s=0.1, pong_s=0.2)
        rig = Rig(instance, venue, adapter=adapter)
        try:
            async with rig.running():
                await until(lambda: rig.counts["half_open"] >= 1)
        finally:
            rig.close()
            await until(lambda: bool(gone))
            server.close()
            await server.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize("text", [b"", b"ping"], ids=["ping frames", "text pings"])
def test_pings_are_answered_and_timed(instance, text):
    async def scenario(rig, venue):
        await until(lambda: len(rig.pings) >= 2)
        assert all(ns > 0 for ns in rig.pings)

    run(instance, scenario, adapter=Variant(ping_s=0.05, pong_s=5.0, ping_text=text))


@pytest.mark.parametrize("client", CLIENTS)
def test_answers_to_text_pings_are_no_data(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.muted = True
        await until(lambda: len(rig.pings) >= 2)
        await until(lambda: rig.counts["silences"] >= 1)
        assert rig.counts["half_open"] == 0
        assert (FrameKind.TEXT, b"pong") in [(f[0], f[3]) for f in rig.frames()]

    options = replace(QUICK, client=client, silence_factor=0.5)
    adapter = Variant(cadence_s=2.0, ping_s=0.1, pong_s=5.0, ping_text=b"ping")
    run(instance, scenario, options=options, adapter=adapter)


def test_streams_that_promise_nothing_may_be_silent(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        venue.muted = True
        await until(lambda: len(rig.pings) >= 10)
        assert rig.counts["silences"] == rig.counts["half_open"] == 0
        assert rig.counts["connects"] == 1

    options = replace(QUICK, silence_factor=1e-6)
    run(instance, scenario, options=options, adapter=Variant(ping_s=0.02, pong_s=5.0))


def test_connections_that_never_deliver_are_tried_less_and_less(instance):
    async def scenario(rig, venue):
        venue.muted = True
        await until(lambda: rig.counts["silences"] >= 3, 20)
        gaps = [b - a for a, b in itertools.pairwise(venue.opened_s)]
        assert gaps[1] >= 0.05 + 0.2  # Silence, and at least half of the second backoff.

    options = replace(QUICK, silence_factor=1.0, backoff_s=0.2, backoff_max_s=10, stable_s=0.0)
    run(instance, scenario, options=options, adapter=Variant(cadence_s=0.05))


def by_message(**rules):
    return Variant(url_bytes=0, snapshots="stream", **rules)


def test_a_venue_without_streams_in_its_url_is_subscribed_by_messages(instance):
    async def scenario(rig, venue):
        await until(lambda: len(venue.received) == 2)
        await until(lambda: "ethusdt@depth@100ms" in venue.sent)
        assert [m["params"] for m in venue.received] == [
            ["btcusdt@depth@100ms"],
            ["ethusdt@depth@100ms"],
        ]

    run(instance, scenario, adapter=by_message(streams_per_message=1))


def commands(venue):
    return [(m["method"], m["params"]) for m in venue.received]


def test_a_renewed_subscription_begins_anew_on_the_same_connection(instance):
    stream = "btcusdt@depth@100ms"

    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.renew("BTCUSDT", Channel.BOOK)
        await until(lambda: rig.counts["resubscribes"] == 1 and len(venue.received) == 3)
        assert commands(venue)[1:] == [("UNSUBSCRIBE", [stream]), ("SUBSCRIBE", [stream])]
        rig.frames()
        before = rig.sessions.totals()[0]
        await until(lambda: rig.sessions.totals()[0] >= before + 20)
        assert numbers(rig.frames(), stream)
        assert rig.counts["connects"] == 1
        assert rig.counts["stale_marks"] == 0

    run(instance, scenario, adapter=by_message())


def test_streams_in_the_url_are_renewed_by_messages_too(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.renew("ETHUSDT", Channel.BOOK)
        await until(lambda: len(venue.received) == 2)
        stream = "ethusdt@depth@100ms"
        assert commands(venue) == [("UNSUBSCRIBE", [stream]), ("SUBSCRIBE", [stream])]

    run(instance, scenario)


def test_renewals_of_a_moment_share_their_messages(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        for _ in range(3):
            for native in ("BTCUSDT", "ETHUSDT"):
                rig.sessions.renew(native, Channel.BOOK)
        await until(lambda: rig.counts["resubscribes"] == 2)
        await until(lambda: len(venue.received) == 2)
        both = ["btcusdt@depth@100ms", "ethusdt@depth@100ms"]
        assert commands(venue) == [("UNSUBSCRIBE", both), ("SUBSCRIBE", both)]

    run(instance, scenario)


def test_a_subscription_that_is_under_way_is_not_renewed(instance):
    async def scenario(rig, venue):
        venue.muted = True
        await until(lambda: rig.sessions.live == 1)
        rig.sessions.renew("BTCUSDT", Channel.BOOK)
        venue.muted = False
        await until(lambda: rig.sessions.totals()[0] >= 100)
        assert rig.counts["resubscribes"] == 0

    run(instance, scenario, options=replace(QUICK, stable_s=10.0))


def test_renewals_beyond_the_hour_s_messages_replace_the_connection(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.renew("BTCUSDT", Channel.BOOK)
        await until(lambda: rig.counts["resubscribes"] == 1)
        await until(lambda: len(venue.received) == 3)
        rig.sessions.renew("BTCUSDT", Channel.BOOK)
        await until(lambda: rig.counts["replacements"] == 1)
        assert rig.counts["subscribe_budget_spent"] == 1
        assert rig.counts["connects"] == 2
        assert rig.counts["stale_marks"] == 0

    limits = RateLimits(subscribe_messages_per_hour=4)
    run(instance, scenario, adapter=by_message(limits=limits))


def test_a_replaced_connection_loses_no_message(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.replace("BTCUSDT", Channel.BOOK)
        await until(lambda: rig.counts["replacements"] == 1)
        await until(lambda: len(venue.sockets) == 1)
        frames = rig.frames()
        found = sorted(set(numbers(frames, "btcusdt@depth@100ms")))
        assert found == list(range(found[0], found[-1] + 1))
        assert not [f for f in frames if f[0] == FrameKind.STALE]

    run(instance, scenario)


def test_a_connection_is_not_replaced_twice_in_a_moment(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        for _ in range(3):
            rig.sessions.replace("BTCUSDT", Channel.BOOK)
            rig.sessions.replace("ETHUSDT", Channel.BOOK)
        await until(lambda: rig.counts["replacements"] == 1)
        rig.sessions.replace("BTCUSDT", Channel.BOOK)
        before = rig.sessions.totals()[0]
        await until(lambda: rig.sessions.totals()[0] >= before + 50)
        assert rig.counts["connects"] == 2

    run(instance, scenario, options=replace(QUICK, backoff_max_s=60.0))


def test_redundant_lines_carry_the_same_on_connections_of_their_own(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 3)
        rig.frames()
        before = rig.sessions.totals()[0]
        await until(lambda: rig.sessions.totals()[0] >= before + 100)
        frames = rig.frames()
        assert sorted(rig.line_of.values()) == [0, 1, 2]
        for connection in rig.line_of:
            mine = [f for f in frames if f[1] == connection]
            found = numbers(mine, "btcusdt@depth@100ms")
            assert found == list(range(found[0], found[0] + len(found)))
        assert rig.sessions.live == 3

    run(instance, scenario, options=replace(QUICK, stagger_s=0.01), lines=3)


@pytest.mark.parametrize("client", CLIENTS)
def test_frames_say_which_line_they_came_on(instance, client):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 2)
        before = rig.sessions.totals()[0]
        await until(lambda: rig.sessions.totals()[0] >= before + 50)
        texts = {f[1] for f in rig.frames() if f[0] == FrameKind.TEXT}
        assert {rig.line_of[connection] for connection in texts} == {0, 1}

    run(instance, scenario, options=replace(QUICK, client=client, stagger_s=0.01), lines=2)


def test_instruments_are_marked_only_when_no_line_is_left(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 2)
        venue.refuse = [web.Response(status=503) for _ in range(2)]
        await next(iter(venue.sockets)).close()
        await until(lambda: rig.counts["disconnects"] == 1)
        await until(lambda: rig.sessions.live == 2)
        assert rig.counts["stale_marks"] == 0
        venue.refuse = [web.Response(status=503) for _ in range(4)]
        await venue.drop()
        await until(lambda: rig.counts["stale_marks"] == 2)
        await until(lambda: rig.sessions.live == 2)
        assert [f[2] for f in rig.frames() if f[0] == FrameKind.STALE] == [0, 1]

    run(instance, scenario, options=replace(QUICK, stagger_s=0.01), lines=2)


def test_lines_of_the_same_streams_connect_one_after_the_other(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 3)
        gaps = [b - a for a, b in itertools.pairwise(sorted(venue.opened_s))]
        assert min(gaps) > 0.1

    run(instance, scenario, options=replace(QUICK, stagger_s=0.2), lines=3)


def test_lines_of_the_same_streams_rotate_one_after_the_other(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 2)
        for line in rig.sessions.lines:
            line.current.rotate_s = 0.0  # Both are due.
        await until(lambda: rig.counts["rotations"] == 2)
        await until(lambda: len(venue.sockets) == 2)
        assert venue.most_at_once == 3
        assert rig.counts["connects"] == 4

    run(instance, scenario, options=replace(QUICK, stagger_s=0.01), lines=2)


def test_the_first_rotations_of_redundant_lines_are_spread(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 2)
        ages = [line.current.rotate_s - line.current.opened_s for line in rig.sessions.lines]
        assert ages == pytest.approx([50.0, 100.0])

    run(instance, scenario, options=replace(QUICK, rotate_after_s=100.0, stagger_s=0.01), lines=2)


def test_a_silent_line_is_replaced_while_the_other_goes_on(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.live == 2)
        await until(lambda: rig.sessions.totals()[0] >= 50)
        first = next(iter(venue.sockets))
        venue.sockets[first].clear()  # It forgets its subscriptions.
        await until(lambda: rig.counts["silences"] == 1)
        await until(lambda: rig.counts["connects"] == 3)
        assert rig.counts["stale_marks"] == 0

    options = replace(QUICK, stagger_s=0.01, silence_factor=0.2)
    run(instance, scenario, options=options, adapter=Variant(cadence_s=2.0), lines=2)


def test_a_dropped_instrument_is_unsubscribed_and_marked(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.drop("BTCUSDT")
        await until(lambda: commands(venue) == [("UNSUBSCRIBE", ["btcusdt@depth@100ms"])])
        assert [f[2] for f in rig.frames() if f[0] == FrameKind.STALE] == [0]
        await venue.drop()
        await until(lambda: rig.counts["connects"] == 2)
        await until(lambda: bool(venue.sockets))
        assert list(venue.sockets.values()) == [["ethusdt@depth@100ms"]]

    run(instance, scenario)


def test_a_line_that_carries_nothing_any_more_ends(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.drop("BTCUSDT")
        rig.sessions.drop("ETHUSDT")
        await until(lambda: not venue.sockets)
        assert rig.sessions.lines == []

    run(instance, scenario)


def test_an_added_plan_leaves_the_others_alone(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        at = rig.shared.endpoints
        rig.sessions.add(plan_lines(rig.shared.adapter, {"SOLUSDT": 2}, (Channel.BOOK,), at))
        await until(lambda: "solusdt@depth@100ms" in venue.sent)
        assert rig.sessions.live == 2
        assert rig.counts["connects"] == 2
        assert rig.counts["disconnects"] == 0

    run(instance, scenario)


ANYWHERE = Endpoints("http://x", {"public": "ws://x/public", "market": "ws://x/market"})


def test_routes_never_share_a_connection():
    wanted = (Channel.TRADES, Channel.BOOK, Channel.TOP, Channel.FUNDING)
    plans = plan_lines(BINANCE_USDM, {"BTCUSDT": 0}, wanted, ANYWHERE)
    assert {p.route: p.names for p in plans} == {
        "public": ["btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker"],
        "market": ["btcusdt@markPrice@1s"],
    }


def test_lines_keep_the_venue_s_limit_of_streams():
    adapter = Variant(limits=RateLimits(streams_per_connection=5))
    rows = {f"S{i}USDT": i for i in range(7)}
    plans = plan_lines(adapter, rows, (Channel.BOOK, Channel.TOP), ANYWHERE)
    assert [len(p.streams) for p in plans] == [4, 4, 4, 2]
    assert [p.rows for p in plans] == [(0, 1), (2, 3), (4, 5), (6,)]


def test_lines_keep_the_venue_s_limit_of_bytes():
    rows = {f"S{i}USDT": i for i in range(4)}  # "s0usdt@depth@100ms" has 18 bytes
    adapter = Variant(url_bytes=0, stream_bytes=40)
    plans = plan_lines(adapter, rows, (Channel.BOOK,), ANYWHERE)
    assert [len(p.streams) for p in plans] == [2, 2]


def test_lines_leave_half_of_the_hour_s_messages_for_renewals():
    rows = {f"S{i}USDT": i for i in range(6)}
    limits = RateLimits(subscribe_messages_per_hour=4)
    adapter = Variant(limits=limits, url_bytes=0, streams_per_message=2)
    plans = plan_lines(adapter, rows, (Channel.BOOK,), ANYWHERE)
    assert [len(p.streams) for p in plans] == [4, 2]


class Shares(Variant):
    """All instruments have one stream in common."""

    def streams_for(self, native, channels, book=""):
        streams = super().streams_for(native, channels, book)
        return [*streams, replace(streams[0], name="all@forceOrder", channel=Channel.LIQUIDATIONS)]


def test_a_stream_of_several_instruments_is_on_one_line_only():
    rows = {f"S{i}USDT": i for i in range(4)}
    adapter = Shares(limits=RateLimits(streams_per_connection=3))
    plans = plan_lines(adapter, rows, (Channel.BOOK,), ANYWHERE)
    books = [f"s{i}usdt@depth@100ms" for i in range(4)]
    assert [p.names for p in plans] == [[books[0], "all@forceOrder", books[1]], books[2:]]
    more = plan_lines(
        adapter, {"NEWUSDT": 4}, (Channel.BOOK,), ANYWHERE, carried=["all@forceOrder"]
    )
    assert [p.names for p in more] == [["newusdt@depth@100ms"]]


def test_a_stream_that_another_instrument_needs_stays_subscribed(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 20)
        rig.sessions.drop("BTCUSDT")
        await until(lambda: commands(venue) == [("UNSUBSCRIBE", ["btcusdt@depth@100ms"])])
        assert rig.sessions.names == {"ethusdt@depth@100ms", "all@forceOrder"}

    run(instance, scenario, adapter=Shares())


def test_connections_without_an_age_limit_are_not_rotated(instance):
    async def scenario(rig, venue):
        await until(lambda: rig.sessions.totals()[0] >= 100)
        assert rig.counts["rotations"] == 0
        assert rig.counts["connects"] == 1

    run(instance, scenario, adapter=Variant(limits=RateLimits(connection_hours=0.0)))


def test_what_shared_a_message_with_a_refused_stream_is_subscribed_by_itself(instance, monkeypatch):
    monkeypatch.setattr(session_module, "UNDER_WAY_S", 0.1)

    async def scenario(rig, venue):
        venue.unknown = {"btcusdt@depth@100ms"}
        await until(lambda: "ethusdt@depth@100ms" in venue.sent)
        assert "btcusdt@depth@100ms" not in venue.sent
        await until(lambda: rig.counts["refusals"] == 2)
        assert [len(names) for _, names in commands(venue)] == [2, 1, 1]

    run(instance, scenario, adapter=by_message())


def test_the_book_setting_chooses_the_stream():
    plans = plan_lines(BINANCE_USDM, {"BTCUSDT": 0}, (Channel.BOOK,), ANYWHERE, "depth@500ms")
    assert plans[0].names == ["btcusdt@depth@500ms"]


def test_lines_keep_the_longest_url():
    rows = {f"VERYLONGNAME{i}USDT": i for i in range(1000)}
    plans = plan_lines(BINANCE_SPOT, rows, (Channel.BOOK,), ANYWHERE)
    urls = [BINANCE_SPOT.ws_url(p.route, p.names, ANYWHERE) for p in plans]
    assert max(map(len, urls)) <= BINANCE_SPOT.rules.url_bytes
    assert sorted(row for p in plans for row in p.rows) == list(range(1000))


def test_connection_attempts_wait_for_the_budget():
    async def main():
        budget = ConnectBudget(10)  # nine are ours
        for _ in range(9):
            await budget.take()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(budget.take(), 0.05)

    asyncio.run(main())


def test_connection_attempts_of_a_second_wait_for_each_other():
    async def main():
        budget, loop = ConnectBudget(0, 3), asyncio.get_running_loop()  # two are ours
        started = loop.time()
        for _ in range(5):
            await budget.take()
        assert loop.time() - started >= 2.0

    asyncio.run(main())


def test_subscribe_messages_keep_their_pace_and_their_order():
    async def main():
        sent, loop = [], asyncio.get_running_loop()
        outbox = Outbox(sent.append, RateLimits(messages_per_second=21))
        started = loop.time()
        await asyncio.gather(outbox.send([b"1", b"2", b"3"]), outbox.send([b"4", b"5"]))
        assert sent == [b"1", b"2", b"3", b"4", b"5"]
        assert loop.time() - started >= 4 / 20

    asyncio.run(main())


@pytest.fixture
def certificate(tmp_path):
    """Return (certificate, key) of 127.0.0.1, made by the openssl program."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run([openssl, *request.split(), *names, *files], check=True, capture_output=True)
    return paths


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_messages_come_through_tls(instance, certificate, client, runner):
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(*certificate)
    ours = ssl.create_default_context(cafile=certificate[0])

    async def main():
        venue = LocalVenue()
        writer = FrameWriter.open(instance, RING, frames=1024, bytes_=1 << 20)
        async with venue.serve(theirs):
            intake = Intake(writer, 1)
            url = f"wss://127.0.0.1:{venue.port}/stream?streams=a@trade"
            connection = await connect(url, intake, client=client, ssl_context=ours)
            await until(lambda: intake.frames >= 20)
            await connection.close()
            with pytest.raises(ConnectFailed, match=r"(?i)certificate|ssl"):
                await connect(url, intake, client=client)  # Not signed by anyone known.
        writer.close()

    runner(main())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("end", ["cut", "abort", "abort at once"])
def test_a_connection_that_is_gone_leaves_nothing_open(instance, certificate, client, runner, end):
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(*certificate)
    ours = ssl.create_default_context(cafile=certificate[0])

    async def main():
        venue = LocalVenue()
        writer = FrameWriter.open(instance, RING, frames=1024, bytes_=1 << 20)
        async with venue.serve(theirs):
            intake = Intake(writer, 1)
            url = f"wss://127.0.0.1:{venue.port}/stream?streams=a@trade"
            connection = await connect(url, intake, client=client, ssl_context=ours)
            if end != "abort at once":
                await until(lambda: intake.frames >= 20)
            if end == "cut":
                venue.cut()
            else:
                connection.abort()
            await asyncio.wait_for(connection.closed.wait(), 5)
            await connection.close()
            await until(lambda: not venue.sockets)
        writer.close()

    runner(main())
    gc.collect()  # What was left open says so now.
