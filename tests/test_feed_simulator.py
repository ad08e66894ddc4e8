"""The feed's sessions against the simulated venue: real streams, real faults."""

import asyncio
import contextlib
import itertools
import json
import logging
from collections import Counter
from dataclasses import replace

import pytest

from engine.frames import FrameKind, FrameReader, FrameWriter
from feeds.adapter import Channel
from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.binance.parse import scan
from feeds.bybit import BYBIT, BYBIT_SPOT
from feeds.decode import Decoder
from feeds.limits import ConnectBudget
from feeds.okx import OKX
from feeds.plan import plan_lines
from feeds.rest import RestClient
from feeds.session import SessionOptions, Sessions, Shared
from gateways.simulator.server import SimulatedVenue, SimulatorSettings
from gateways.simulator.session import Timing
from tests.local_venue import Variant, until

ADAPTERS = [BINANCE_SPOT, BINANCE_USDM]
IN_STREAM = [OKX, BYBIT, BYBIT_SPOT]
"""Venues whose book snapshots come in the stream."""
CHANNELS = tuple(c for c in Channel if c is not Channel.LIQUIDATIONS)
"""Nobody promises a liquidation."""
LOG = logging.getLogger("test")
QUICK = SessionOptions(
    backoff_s=0.02, backoff_max_s=0.1, stable_s=0.1, silence_factor=0.0, overlap_s=0.3
)


def native_of(adapter):
    return "BTC-USDT-SWAP" if adapter is OKX else "BTCUSDT"


def with_rules(adapter, **rules):
    """Return the adapter with other rules."""
    kind, changed = type(adapter), replace(adapter.rules, **rules)
    made = object.__new__(type("Changed", (kind,), {"rules": property(lambda self: changed)}))
    made.__dict__.update(adapter.__dict__)
    return made


@contextlib.asynccontextmanager
async def sessions_at(instance, adapter, server, options, channels=CHANNELS):
    """Run sessions for one instrument; yields (counts, read) where read() gives messages."""
    writer = FrameWriter.open(instance, "md.raw.test", frames=65_536, bytes_=16 << 20)
    reader = FrameReader.attach(instance, "md.raw.test", start="oldest")
    at = adapter.endpoints_at(server.base(adapter.name()), server.base(adapter.name(), "ws"))
    counts, kinds = Counter(), Counter()
    shared = Shared(
        adapter=adapter,
        endpoints=at,
        writer=writer,
        options=options,
        budget=ConnectBudget(0),
        count=lambda name: counts.update([name]),
        log=LOG,
        record_ping=lambda ns: counts.update(["pings"]),
    )
    native = native_of(adapter)
    sessions = Sessions(plan_lines(adapter, {native: 0}, channels, at), shared)

    def read():
        found = []
        while len(batch := reader.poll()):
            for frame in batch:
                kinds[FrameKind(int(frame["kind"]))] += 1
                text = bytes(reader.payload(frame))
                if frame["kind"] == FrameKind.TEXT and text != b"pong":
                    found.append(json.loads(text))
            assert reader.intact()
        return found

    task = asyncio.create_task(sessions.run())
    try:
        yield counts, read, kinds, sessions
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        reader.close()
        writer.close()


def depth_updates(messages):
    return [m["data"] for m in messages if "@depth" in m.get("stream", "")]


def unbroken(updates, futures):
    """Whether the updates, each taken once, follow on each other by the venue's ids."""
    once = list({u["u"]: u for u in updates}.values())
    pairs = list(itertools.pairwise(once))
    if futures:
        return pairs and all(b["pu"] == a["u"] for a, b in pairs)
    return pairs and all(b["U"] == a["u"] + 1 for a, b in pairs)


def run(scenario, **settings):
    async def main():
        config = SimulatorSettings(port=0, symbols=["BTCUSDT"], rate=500.0, **settings)
        async with SimulatedVenue(config) as server:
            await scenario(server)

    asyncio.run(main())


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: a.name())
@pytest.mark.parametrize("client", ["wire", "picows", "aiohttp"])
def test_every_stream_of_the_simulated_venue_delivers(instance, adapter, client):
    async def scenario(server):
        options = replace(QUICK, client=client)
        async with sessions_at(instance, adapter, server, options) as (counts, read, *_):
            names = {s.name for s in adapter.streams_for("BTCUSDT", CHANNELS)}
            messages = []

            def complete():
                messages.extend(read())
                return {m.get("stream") for m in messages} >= names

            await until(complete)
            assert counts["refusals"] == 0

    run(scenario)


@pytest.mark.parametrize("adapter", IN_STREAM, ids=lambda a: a.name())
def test_every_stream_delivers_that_is_subscribed_by_message(instance, adapter):
    async def scenario(server):
        async with sessions_at(instance, adapter, server, QUICK) as (counts, read, _, sessions):
            names, seen = set(sessions.names), set()

            def complete():
                packed = [json.dumps(m, separators=(",", ":")).encode() for m in read()]
                seen.update(map(adapter.stream_of, packed))
                return seen >= names

            await until(complete)
            assert counts["refusals"] == 0

    run(scenario)


def book_snapshots(messages):
    return [m for m in messages if "snapshot" in (m.get("action"), m.get("type"))]


@pytest.mark.parametrize("adapter", IN_STREAM, ids=lambda a: a.name())
def test_a_renewed_book_begins_with_a_snapshot(instance, adapter):
    async def scenario(server):
        rig = sessions_at(instance, adapter, server, QUICK, (Channel.BOOK,))
        async with rig as (counts, read, _, sessions):
            found = []

            def snapshots():
                found.extend(book_snapshots(read()))
                return len(found)

            await until(lambda: snapshots() == 1)
            sessions.renew(native_of(adapter), Channel.BOOK)
            await until(lambda: snapshots() == 2)
            assert (counts["connects"], counts["refusals"]) == (1, 0)

    run(scenario)


@pytest.mark.parametrize("adapter", IN_STREAM, ids=lambda a: a.name())
def test_text_pings_are_answered_and_timed(instance, adapter):
    async def scenario(server):
        changed = with_rules(adapter, ping_s=0.1)
        async with sessions_at(instance, changed, server, QUICK, (Channel.BOOK,)) as (counts, *_):
            await until(lambda: counts["pings"] >= 2)
            assert counts["half_open"] == 0

    run(scenario)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: a.name())
def test_books_stay_unbroken_over_rotations(instance, adapter):
    async def scenario(server):
        options = replace(QUICK, rotate_after_s=0.5)
        async with sessions_at(instance, adapter, server, options) as (counts, read, kinds, _):
            await until(lambda: counts["rotations"] >= 3, 20)
            assert unbroken(depth_updates(read()), adapter is BINANCE_USDM)
            assert kinds[FrameKind.STALE] == 0

    run(scenario)


@pytest.mark.parametrize("adapter", [BINANCE_SPOT, OKX], ids=lambda a: a.name())
def test_an_announced_end_is_met_before_it_comes(instance, adapter):
    async def scenario(server):
        rig = sessions_at(instance, adapter, server, QUICK, (Channel.BOOK,))
        async with rig as (counts, read, kinds, sessions):
            await until(lambda: sessions.totals()[0] >= 20)
            server.end_soon()
            await until(lambda: counts["rotations"] == 1)
            read()
            assert counts["notices"] == 1
            assert kinds[FrameKind.STALE] == 0

    run(scenario, timing=Timing(notice_s=10.0))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: a.name())
def test_a_disconnect_is_marked_and_healed(instance, adapter):
    async def scenario(server):
        async with sessions_at(instance, adapter, server, QUICK) as (counts, read, kinds, sessions):
            lines = len(sessions.lines)
            await until(lambda: sessions.totals()[0] >= 20)
            server.disconnect()
            await until(lambda: counts["connects"] == 2 * lines)
            await until(lambda: sessions.live == lines)
            read()
            assert kinds[FrameKind.STALE] == 1
            assert kinds[FrameKind.DISCONNECTED] == lines

    run(scenario)


def test_silence_on_an_open_connection_is_noticed(instance):
    async def scenario(server):
        options, adapter = replace(QUICK, silence_factor=0.2), Variant(cadence_s=2.0)
        rig = sessions_at(instance, adapter, server, options, (Channel.BOOK,))
        async with rig as (counts, _, _, sessions):
            await until(lambda: sessions.totals()[0] >= 20)
            server.silence(5.0)
            await until(lambda: counts["silences"] == 1 and counts["connects"] == 2)

    run(scenario)


@pytest.mark.parametrize("adapter", [*ADAPTERS, *IN_STREAM], ids=lambda a: a.name())
def test_instruments_and_time_come_from_the_simulated_venue(adapter):
    async def scenario(server):
        async with RestClient(adapter, server.base(adapter.name()), LOG) as rest:
            bodies = [await rest.get(request) for request in adapter.instruments_requests()]
            info = [each for body in bodies for each in adapter.parse_instruments(body)]
            assert native_of(adapter) in {each["native"] for each in info}
            assert abs(await rest.time_offset_ns()) < 60 * 10**9

    run(scenario)


def test_open_interest_comes_from_the_simulated_venue():
    async def scenario(server):
        async with RestClient(BINANCE_USDM, server.base("binance_usdm"), LOG) as rest:
            (request,) = BINANCE_USDM.polls_for("BTCUSDT", CHANNELS)
            ((record,),) = [Decoder(scan, [("BTCUSDT", 2, 3)]).records(await rest.get(request))]
            assert record.type == "funding"
            assert record.fields["open_interest"] > 0
            assert record.fields["mark_price"] is None

    run(scenario)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: a.name())
def test_snapshots_come_from_the_simulated_venue(adapter):
    async def scenario(server):
        async with RestClient(adapter, server.base(adapter.name()), LOG) as rest:
            depth = json.loads(await rest.get(adapter.depth_request("BTCUSDT")))
            assert depth["lastUpdateId"] > 0
            assert rest.budget.used > 0

    run(scenario)
