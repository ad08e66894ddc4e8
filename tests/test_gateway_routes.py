"""The gateway's connections to a toy venue: how they end, and what is known of it."""

import asyncio

import pytest

from gateways.sessions import Route
from gateways.socket import ConnectFailed
from gateways.types import ReportKind
from tests.gateway_desk import until
from tests.toy_venue import Toy

K = ReportKind


@pytest.fixture
def slow_connects(monkeypatch):
    """Return what makes connections be made only when it is called, and fail if told so."""
    gate, connect = asyncio.Event(), Route._connect
    faults = {"fail": 0}

    async def slow(self):
        await gate.wait()
        if faults["fail"]:
            faults["fail"] -= 1
            raise ConnectFailed("not now")
        return await connect(self)

    monkeypatch.setattr(Route, "_connect", slow)
    return gate, faults


def test_a_connection_that_dies_while_it_is_replaced_leaves_a_gap(play, slow_connects):
    gate, _ = slow_connects
    gate.set()

    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        gate.clear()
        venue._send("private", {"notice": "ending"})
        await until(lambda: desk.counted("rotations") == 1)
        venue.no_events = True
        await venue.disconnect("private")
        await desk.got(K.DOWN)
        venue.fill(venue.by_client(desk.text(7)).id, 2)
        venue.no_events = False
        gate.set()
        await desk.got(K.UP, 2)
        assert len(desk.of(K.FILL)) == 1

    play(scene)


def test_a_connection_that_dies_while_its_replacement_is_put_off_is_told_at_once(
    play, slow_connects
):
    gate, faults = slow_connects
    gate.set()

    async def scene(desk, venue):
        faults["fail"] = 1
        next(route for route in desk.gateway.routes if route.private)._failures = 8
        venue._send("private", {"notice": "ending"})
        await until(lambda: desk.counted("rotations") == 1)
        await venue.disconnect("private")
        await desk.got(K.DOWN, seconds=1.0)

    play(scene, backoff_s=2.0, backoff_max_s=3.0)


def test_a_stream_key_is_asked_for_at_each_connection(play, monkeypatch):
    def calls(self, stream_key, now_ms):
        return (self._call("key", {"page": 0}, now_ms),), 3600.0

    monkeypatch.setattr(Toy, "stream_key_calls", calls)
    monkeypatch.setattr(Toy, "parse_stream_key", lambda self, body: "a key")

    async def scene(desk, venue):
        assert venue.log.count("key") == 1
        await venue.disconnect("private")
        await desk.got(K.UP, 2)
        assert venue.log.count("key") == 2

    play(scene)
