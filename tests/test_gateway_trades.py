"""Trades by query at a toy venue that can be asked for one instrument at a time only."""

import asyncio
from dataclasses import replace

import pytest

from gateways.adapter import Query
from gateways.types import ReportFlag, ReportKind
from tests.gateway_desk import restart_toy, toy_desk, until
from tests.toy_venue import Toy, ToyVenue

K = ReportKind


class Narrow(ToyVenue):
    """Tells trades by symbol, and without our names for orders."""

    def _all(self, op, body):
        found = super()._all(op, body)
        if op != "fills":
            return found
        self.log.append(f"fills {body['symbol']}")
        return [each | {"client": ""} for each in found if each["symbol"] == body["symbol"]]


@pytest.fixture
def play(instance, monkeypatch):
    """Return what runs a scene with a desk at such a venue, the gateway up."""
    monkeypatch.setattr(Toy, "dialect", replace(Toy.dialect, trades_by_instrument=True))
    calls = Toy.query_calls

    def by_symbol(self, query, instruments, since_ms, now_ms):
        if query != Query.FILLS:
            return calls(self, query, instruments, since_ms, now_ms)
        return [
            self._call(str(query), {"since": since_ms, "page": 0, "symbol": each.native}, now_ms)
            for each in instruments
        ]

    monkeypatch.setattr(Toy, "query_calls", by_symbol)

    def run(scene, **settings):
        async def whole():
            async with toy_desk(instance, monkeypatch, venue=Narrow(), **settings) as (desk, venue):
                await scene(desk, venue)

        asyncio.run(whole())

    return run


def test_instruments_without_orders_or_changes_are_not_asked_for_their_trades(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await desk.got(K.SYNC_END, request_id=desk.client.reconcile())
        asked = {each for each in venue.log if each.startswith("fills ")}
        assert asked == {"fills AAA"}

    play(scene)


def test_an_instrument_whose_position_has_changed_is_asked_for_its_trades(play):
    async def scene(desk, venue):
        order = venue.place("stranger", symbol="BBB")
        await desk.got(K.OPEN)
        venue.end(order)
        venue.fill(order, 1)
        await desk.got(K.FILL)
        for _ in range(2):
            await desk.got(K.SYNC_END, request_id=desk.client.reconcile())
        other = venue._new("other", "BBB", "buy", 10, 2)
        venue.fill(other.id, 2, silent=True)
        await desk.got(K.SYNC_END, request_id=desk.client.reconcile())
        fill = await desk.got(K.FILL, 2)
        assert fill["last_quantity"] == 2

    play(scene)


def test_after_a_gap_the_others_are_asked_once_all_is_up(play, monkeypatch):
    monkeypatch.setattr("gateways.reconcile.SWEEP_EVERY_S", 0.2)

    async def scene(desk, venue):
        venue.no_events = True
        await venue.disconnect("private")
        stranger = venue._new("stranger", "BBB", "buy", 10, 5)
        venue.fill(stranger.id, 5)
        venue.positions.clear()
        await desk.got(K.UP, 2)
        assert not desk.of(K.FILL)
        fill = await desk.got(K.FILL)
        assert (fill["last_quantity"], fill["instrument"]) == (5, 1)
        await until(lambda: not desk.gateway.reconciler.backlog)

    play(scene)


def test_a_successor_asks_all_instruments_in_the_end(play, monkeypatch):
    monkeypatch.setattr("gateways.reconcile.SWEEP_EVERY_S", 0.1)

    async def scene(desk, venue):
        await desk.kill()
        stranger = venue._new("stranger", "BBB", "buy", 10, 5)
        venue.fill(stranger.id, 5)
        venue.positions.clear()
        await restart_toy(desk)
        assert (await desk.got(K.FILL))["instrument"] == 1

    play(scene)


def test_a_trade_without_our_name_is_not_taken_for_somebody_elses(play):
    async def scene(desk, venue):
        venue.no_answer, venue.no_events = 1, True
        desk.buy(7)
        await until(lambda: venue.placed)
        venue.fill(venue.by_client(desk.text(7)).id, 5)
        desk.client.reconcile()
        fill = await desk.got(K.FILL)
        assert fill["client_id"] == 7
        assert not fill["flags"] & ReportFlag.EXTERNAL

    play(scene, request_timeout_s=30.0)
