"""The venue's countdown, at a toy venue: armed while orders are open, whatever happens."""

import asyncio
from dataclasses import replace

import pytest

from engine.flow import FlowWriter
from gateways.client import GATEWAY_READER, REQUESTS_CAPACITY, requests_ring
from gateways.types import REQUEST, ReportKind
from tests.gateway_desk import ACCOUNT, until
from tests.toy_venue import Toy, ToyVenue

K = ReportKind


@pytest.fixture
def by_symbol(monkeypatch):
    """Let the countdown be one of each instrument."""
    monkeypatch.setattr(Toy, "dialect", replace(Toy.dialect, dead_man="symbol"))

    def calls(self, timeout_s, instruments, now_ms):
        return [
            self._call("countdown", {"seconds": timeout_s, "symbol": each.native}, now_ms)
            for each in instruments
        ]

    monkeypatch.setattr(Toy, "dead_man_calls", calls)


class Counting(ToyVenue):
    """Remembers each countdown; refuses those in ``bad``, and may take its time to disarm."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.countdowns, self.bad = [], {}
        self.go = asyncio.Event()
        self.go.set()

    def _queries(self, op, body):
        if op == "countdown":
            self.countdowns.append((body.get("symbol"), body["seconds"]))
            if code := self.bad.get(body.get("symbol")):
                return {"code": code}
        return super()._queries(op, body)

    async def _post(self, request):
        reply = await super()._post(request)
        if request.match_info["op"] == "countdown":
            await self.go.wait()
        return reply


def test_an_order_that_is_sent_while_the_countdown_is_ended_has_it_armed_again(play):
    async def scene(desk, venue):
        desk.buy(7)
        await until(lambda: venue.countdown == 9.0)
        await desk.quiet()
        venue.go.clear()
        desk.client.cancel(7, 0)
        await until(lambda: venue.countdown == 0)
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)
        venue.go.set()
        await until(lambda: venue.countdown == 9.0, 1.0)

    play(scene, venue=Counting(), dead_man_s=9.0)


def test_a_countdown_that_fails_does_not_keep_the_others_from_being_armed(play, by_symbol):
    async def scene(desk, venue):
        venue.bad = {"AAA": 6}
        desk.buy(7)
        desk.client.new(8, 1, 1, 5, 10)
        await until(lambda: ("BBB", 3.0) in venue.countdowns, 2.0)

    play(scene, venue=Counting(), dead_man_s=3.0)


def test_a_venue_that_refuses_the_countdown_is_asked_once(play, monkeypatch, caplog):
    monkeypatch.setattr("gateways.deadman.AGAIN_S", 0.05)

    async def scene(desk, venue):
        venue.bad = {None: 1}
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await desk.quiet(0.5)
        assert len(venue.countdowns) == 1
        assert caplog.text.count("dead-man switch") == 1

    play(scene, venue=Counting(), dead_man_s=3.0)


def test_when_whoever_asks_is_dead_for_too_long_everything_is_cancelled(play):
    async def scene(desk, venue):
        desk.buy(7)
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)
        desk.client._requests.close()
        await desk.got(K.CANCELED, client_id=7)
        await desk.got(K.CANCELED, client_id=8)

    play(scene, orphan_s=0.3)


def test_an_asker_that_comes_back_in_time_keeps_its_orders(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        desk.client._requests.close()
        await asyncio.sleep(0.2)
        requests = FlowWriter.open(
            desk.instance, requests_ring(ACCOUNT), REQUEST, REQUESTS_CAPACITY, (GATEWAY_READER,)
        )
        await asyncio.sleep(0.8)
        requests.close()
        assert desk.gateway.core.orders.open == 1

    play(scene, orphan_s=0.5)
