"""Faults on request: each does what it says, and a client that follows the rules notices."""

import asyncio
import time
from collections import deque

import aiohttp
import pytest

from engine.errors import ConfigError
from gateways.simulator.faults import FaultLine, FaultPlan, Faults
from tests.simulator_client import Gap, LocalBook, against, answer, ended, message, settle, text

SPOT, USDM = "binance_spot", "binance_usdm"
DEPTH = "btcusdt@depth@100ms"


def pass_through(faults, count, seed=1, number=1):
    """Send ``count`` numbered frames through the faults; return what comes out, per call."""
    line = FaultLine(FaultPlan(faults, seed), SPOT, number)
    return [line.send(DEPTH, True, str(n).encode(), b"cut", 0.0) for n in range(count)]


def flat(calls):
    return [frame for call in calls for frame in call]


def test_without_faults_every_frame_passes():
    assert flat(pass_through(Faults(), 5)) == [b"0", b"1", b"2", b"3", b"4"]


def test_drop_loses_frames():
    out = flat(pass_through(Faults(drop=0.3), 1000))
    assert 600 < len(out) < 800
    assert out == sorted(out, key=int)


def test_duplicate_repeats_frames():
    out = flat(pass_through(Faults(duplicate=1.0), 3))
    assert out == [b"0", b"0", b"1", b"1", b"2", b"2"]


def test_reorder_swaps_neighbors():
    assert flat(pass_through(Faults(reorder=1.0), 4)) == [b"1", b"0", b"3", b"2"]


def test_corrupt_cuts_frames():
    assert flat(pass_through(Faults(corrupt=1.0), 2)) == [b"cut", b"cut"]


def test_holes_are_made_in_depth_streams_only():
    line = FaultLine(FaultPlan(Faults(hole=1.0)), SPOT, 1)
    assert line.send(DEPTH, True, b"a", b"", 0.0) == []
    assert line.send("btcusdt@trade", False, b"b", b"", 0.0) == [b"b"]


def test_a_counted_hole_swallows_exactly_so_many_messages():
    assert flat(pass_through(Faults(hole_next=2), 4)) == [b"2", b"3"]


def test_delayed_frames_come_in_order_and_not_too_early():
    line = FaultLine(FaultPlan(Faults(delay_ms=100.0)), SPOT, 1)
    assert line.send(DEPTH, True, b"a", b"", 10.0) == []
    assert line.send(DEPTH, True, b"b", b"", 10.05) == []
    assert line.due(10.09) == []
    assert line.due(10.11) == [b"a"]
    assert line.due(10.16) == [b"b"]


def test_faults_can_be_limited_to_a_venue_and_to_streams():
    plan = FaultPlan(Faults(venue=USDM, streams="*@depth*", drop=1.0))
    assert FaultLine(plan, SPOT, 1).send(DEPTH, True, b"a", b"", 0.0) == [b"a"]
    assert FaultLine(plan, USDM, 1).send("btcusdt@trade", False, b"a", b"", 0.0) == [b"a"]
    assert FaultLine(plan, USDM, 1).send(DEPTH, True, b"a", b"", 0.0) == []


def test_the_same_seed_and_connection_meet_the_same_faults():
    faults = Faults(drop=0.2, duplicate=0.2, reorder=0.2)
    assert pass_through(faults, 200) == pass_through(faults, 200)
    assert pass_through(faults, 200) != pass_through(faults, 200, number=2)


@pytest.mark.parametrize(
    "changes", [{"drop": 1.5}, {"nope": 1}, {"rest_error": 200}, {"silence": "x"}, {"drop": "x"}]
)
def test_faults_that_make_no_sense_are_refused(changes):
    async def use(venue, http):
        with pytest.raises(ConfigError):
            venue.set_faults(**changes)
        url = f"http://127.0.0.1:{venue.port}/control/faults"
        async with http.post(url, json=changes) as response:
            assert response.status == 400
            assert (await response.json())["error"]
        assert venue.plan.faults == Faults()

    against(use)


@pytest.mark.parametrize("name", [SPOT, USDM])
@pytest.mark.parametrize("fault", [{"hole_next": 1}, {"reorder": 1.0}])
def test_a_client_that_checks_the_ids_notices_a_broken_sequence(name, fault):
    async def use(venue, http):
        path = "/api/v3/depth" if name == SPOT else "/fapi/v1/depth"
        book = LocalBook(futures=name == USDM)
        async with http.ws_connect(venue.base(name, "ws") + f"/stream?streams={DEPTH}") as socket:
            await message(socket)
            _, _, body = await answer(http, venue.base(name) + path, symbol="BTCUSDT", limit=1000)
            book.snapshot(body)
            while not book.joined:
                book.event((await message(socket))["data"])
            venue.set_faults(**fault)
            events = [(await message(socket))["data"] for _ in range(5)]
            with pytest.raises(Gap):
                deque(map(book.event, events))

    against(use, rate=3000.0)


def test_a_client_that_ignores_repeated_events_ends_with_the_true_book():
    async def use(venue, http):
        book = LocalBook(futures=False)
        async with http.ws_connect(venue.base(SPOT, "ws") + f"/stream?streams={DEPTH}") as socket:
            await message(socket)
            url = venue.base(SPOT) + "/api/v3/depth"
            book.snapshot((await answer(http, url, symbol="BTCUSDT", limit=5000))[2])
            for _ in range(10):
                book.event((await message(socket))["data"])
            venue.pause()
            await settle(venue, socket, book, SPOT, "BTCUSDT")
        state = venue.state()["venues"][SPOT]["symbols"]["BTCUSDT"]
        assert book.levels()[0][0] == tuple(map(type(book.levels()[0][0][0]), state["bid"]))
        assert venue.plan.counts["duplicate"] >= 5

    against(use, rate=3000.0, faults=Faults(duplicate=1.0))


def test_messages_come_later_by_the_delay():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/btcusdt@bookTicker") as socket:
            await asyncio.sleep(0.02)
            venue.set_faults(delay_ms=150)
            before = time.monotonic()
            venue.step(300)
            await message(socket)
            assert time.monotonic() - before >= 0.15
            venue.plan.clear()
            venue.step(300)
            await message(socket)

    against(use)


def test_a_corrupt_message_is_not_json_but_the_connection_goes_on():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/btcusdt@bookTicker") as socket:
            await asyncio.sleep(0.02)
            venue.set_faults(corrupt=1.0)
            venue.step(300)
            cut = await text(socket)
            assert not cut.endswith("}")

    against(use)


@pytest.mark.parametrize("how", [True, "politely"])
def test_disconnect_ends_all_connections_at_once(how):
    async def use(venue, http):
        url = venue.base(SPOT, "ws") + "/ws/btcusdt@trade"
        async with http.ws_connect(url) as one, http.ws_connect(url) as two:
            venue.set_faults(disconnect=how)
            await ended(one)
            await ended(two)
            assert one.close_code == (1006 if how is True else 1001)
        assert venue.plan.counts["disconnect"] == 2
        async with http.ws_connect(url):
            pass

    against(use)


def test_a_silent_connection_stays_open_and_says_nothing():
    async def use(venue, http):
        async with http.ws_connect(venue.base(SPOT, "ws") + "/ws/!bookTicker") as socket:
            await asyncio.sleep(0.02)
            venue.set_faults(silence=0.3)
            venue.step(500)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(socket.receive(), 0.1)
            await asyncio.sleep(0.3)
            venue.step(500)
            await message(socket)
        assert venue.plan.counts["silence"] > 0

    against(use)


@pytest.mark.parametrize(("status", "code"), [(503, -1008), (429, -1003), (418, -1003)])
def test_rest_errors_strike_so_many_requests(status, code):
    async def use(venue, http):
        url = venue.base(SPOT) + "/api/v3/time"
        async with http.post(
            f"http://127.0.0.1:{venue.port}/control/faults",
            json={"rest_error": status, "rest_count": 2},
        ) as response:
            assert response.status == 200
        return [await answer(http, url) for _ in range(3)]

    first, second, third = against(use)
    assert (first[0], second[0], third[0]) == (status, status, 200)
    assert first[2]["code"] == code
    assert ("Retry-After" in first[1]) is (status in (418, 429))


def test_the_control_interface_shows_the_true_books_and_steps_the_market():
    async def use(venue, http):
        root = f"http://127.0.0.1:{venue.port}/control"
        async with http.post(f"{root}/step", json={"events": 100}) as response:
            assert await response.json() == {"steps": 100}
        _, _, state = await answer(http, f"{root}/state", levels=3)
        spot = state["venues"][SPOT]["symbols"]["BTCUSDT"]
        assert spot["bid"] == spot["bids"][0]
        assert len(spot["bids"]) == 3
        async with http.post(f"{root}/pause") as response:
            assert await response.json() == {"paused": True}
        assert venue.paused
        async with http.post(f"{root}/resume"):
            assert not venue.paused
        async with http.post(f"{root}/step", data=b"nonsense") as response:
            assert response.status == 400

    against(use)


def test_the_control_interface_answers_to_loopback_only(monkeypatch):
    async def use(venue, http):
        # A request cannot come from elsewhere on a build machine: its address is replaced.
        monkeypatch.setattr(aiohttp.web.Request, "remote", "192.0.2.1")
        async with http.get(f"http://127.0.0.1:{venue.port}/control/state") as response:
            assert response.status == 403

    against(use)


PATHS = {
    SPOT: ("/api/v3/ping", "/api/v3/account"),
    "okx": ("/api/v5/public/time", "/api/v5/account/balance"),
    "bybit": ("/v5/market/time", "/v5/account/info"),
}


@pytest.mark.parametrize("chosen", PATHS)
def test_faults_of_rest_strike_their_venue_only(chosen):
    async def use(venue, http):
        async def statuses():
            found = {}
            for name, paths in PATHS.items():
                found[name] = []
                for path in paths:
                    async with http.get(venue.base(name) + path) as response:
                        found[name].append(response.status)
            return found

        usual = await statuses()
        venue.set_faults(venue=chosen, rest_error=500, rest_count=100)
        broken = await statuses()
        venue.set_faults(rest_error=0, rest_delay_ms=60_000.0)
        others = [name for name in PATHS if name != chosen]
        for name in others:
            await asyncio.wait_for(http.get(venue.base(name) + PATHS[name][0]), 10.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.get(venue.base(chosen) + PATHS[chosen][0]), 0.2)
        return usual, broken

    usual, broken = against(use, venues=list(PATHS))
    assert broken == usual | {chosen: [500, 500]}
