"""The way of requests to a toy venue: what waits, what is dropped, what is done again."""

import asyncio
import json
import time

import pytest

from gateways.adapter import Cost, Limit
from gateways.types import Action, OrderStatus, Reason, ReportKind, RequestFlag
from tests.gateway_desk import until
from tests.toy_venue import Toy, ToyVenue

K = ReportKind
URGENT = RequestFlag.URGENT


@pytest.fixture
def narrow(monkeypatch):
    """Let two orders a second through; cancels cost nothing."""
    limit = Limit("orders", 2, 1.0, aligned=False, per="account", reserve=0.0)
    monkeypatch.setattr(Toy, "limits", (limit,))
    monkeypatch.setattr(
        Toy, "costs", lambda self, request: (Cost("orders"),) * (request.action == Action.NEW)
    )


# -- orders that have not left us yet -------------------------------------------------------------
def test_a_cancel_drops_an_order_that_waits_for_a_limit(play, narrow):
    async def scene(desk, venue):
        for number in (1, 2, 3):
            desk.buy(number, flags=URGENT)
        cancel = desk.client.cancel(3, 0)
        not_sent = await desk.got(K.NOT_SENT, client_id=3)
        assert not_sent["reason"] == Reason.REQUESTED
        rejected = await desk.got(K.CANCEL_REJECTED, request_id=cancel)
        assert rejected["reason"] == Reason.ALREADY_CLOSED
        await desk.quiet(1.2)
        assert venue.placed == [desk.text(1), desk.text(2)]
        assert "cancel" not in venue.log

    play(scene)


def test_a_cancel_of_everything_drops_the_orders_that_wait(play, narrow):
    async def scene(desk, venue):
        for number in (1, 2, 3):
            desk.buy(number, flags=URGENT)
        await desk.got(K.DONE, request_id=desk.client.cancel_all())
        await desk.got(K.NOT_SENT, client_id=3)
        await desk.quiet(1.2)
        assert len(venue.placed) == 2

    play(scene)


def test_a_cancel_drops_an_order_that_waits_for_a_connection(play):
    async def scene(desk, venue):
        rest, never = desk.gateway.core.rest, asyncio.Event()
        send, rest.send = rest.send, lambda *call: never.wait()
        desk.buy(7, flags=RequestFlag.REST)
        await until(lambda: desk.counted("requests") == 1)
        desk.client.cancel(7, 0)
        await desk.got(K.NOT_SENT, client_id=7)
        rest.send = send
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)

    play(scene)


# -- cancels of everything ------------------------------------------------------------------------
def test_further_calls_of_a_request_count_for_the_limits(play, monkeypatch):
    calls = Toy.order_call

    def twice(self, request, wire_id, now_ms):
        made = calls(self, request, wire_id, now_ms)
        return [*made, *made] if request.action == Action.CANCEL_ALL else made

    call = Toy._call

    def priced(self, *terms):
        made = call(self, *terms)
        object.__setattr__(made, "costs", (Cost("orders"),))
        return made

    monkeypatch.setattr(Toy, "order_call", twice)
    monkeypatch.setattr(Toy, "_call", priced)

    async def scene(desk, venue):
        limits = desk.gateway.core.limits
        before = limits.used(Cost("orders"), time.time_ns())
        await desk.got(K.DONE, request_id=desk.client.cancel_all())
        assert limits.used(Cost("orders"), time.time_ns()) - before == 2
        assert venue.log.count("cancel_all") == 2

    limit = Limit("orders", 1000, 60.0, aligned=False, per="account")
    monkeypatch.setattr(Toy, "limits", (limit,))
    play(scene)


def test_a_cancel_of_everything_is_not_repeated_once_an_order_has_been_placed(play):
    async def scene(desk, venue):
        venue.refuse["cancel_all"] = 5
        request = desk.client.cancel_all()
        await until(lambda: "cancel_all" in venue.log)
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)
        await desk.got(K.FAILED, request_id=request)
        assert venue.by_client(desk.text(8)).status == "open"

    play(scene)


def test_a_stop_that_cancels_tries_until_nothing_is_open(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.refuse["cancel_all"] = 1
        await desk.stop()
        assert venue.by_client(desk.text(7)).status == "canceled"

    play(scene, cancel_on_stop=True)


class Deaf(ToyVenue):
    """Says that it has canceled everything, and has not."""

    def _queries(self, op, body):
        return {"code": 0} if op == "cancel_all" else super()._queries(op, body)


def test_a_stop_that_cannot_cancel_says_what_is_left(play, monkeypatch, caplog):
    monkeypatch.setattr("gateways.gateway.CANCEL_STOP_S", 0.3)

    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await desk.stop()
        assert "an order is left open" in caplog.text

    play(scene, venue=Deaf(), cancel_on_stop=True)


# -- queries --------------------------------------------------------------------------------------
def test_a_query_follows_an_order_to_what_it_has_become(play, monkeypatch):
    page = Toy.next_page

    def follow(self, call, body, now_ms):
        said = json.loads(body).get("said")
        if call.tag != "query" or not said or said[0]["order"] != "1":
            return page(self, call, body, now_ms)
        return self._call("query", {"client": "?", "order": "2"}, now_ms)

    monkeypatch.setattr(Toy, "next_page", follow)

    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        became = venue._new("", "AAA", "buy", 10, 5)
        became.status, became.filled = "filled", 5
        request = desk.client.query(7, 0)
        await desk.got(K.STATUS, request_id=request, status=OrderStatus.FILLED)

    play(scene)


# -- a venue that does not read -------------------------------------------------------------------
def stalled(monkeypatch, unsent):
    monkeypatch.setattr("gateways.socket.Socket.unsent", property(lambda socket: unsent))


def test_an_order_is_not_given_to_a_connection_that_the_venue_does_not_read(play, monkeypatch):
    async def scene(desk, venue):
        stalled(monkeypatch, 10_000)
        not_sent = await desk.got(K.NOT_SENT, request_id=desk.buy(7))
        assert not_sent["reason"] == Reason.BUSY
        assert venue.placed == []

    play(scene)


def test_a_cancel_does_not_wait_behind_what_the_venue_does_not_read(play, monkeypatch):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        stalled(monkeypatch, 10)
        before = desk.counted("rest_requests")
        desk.client.cancel(7, 0)
        await desk.got(K.CANCELED, client_id=7)
        assert desk.counted("rest_requests") == before + 1

    play(scene)


def test_a_cancel_stays_behind_its_order_where_that_waits_itself(play, monkeypatch):
    async def scene(desk, venue):
        venue.swallow = 1
        desk.buy(7)
        await until(lambda: venue.placed)
        stalled(monkeypatch, 10)
        before = desk.counted("rest_requests")
        request = desk.client.cancel(7, 0)
        await desk.got(K.SENT, request_id=request)
        assert desk.counted("rest_requests") == before

    play(scene, request_timeout_s=5.0)


# -- times ----------------------------------------------------------------------------------------
def test_a_deadline_reaches_the_venue_in_its_own_time(play, monkeypatch):
    seen = []
    encode = Toy.order_message

    def watch(self, request, wire_id, now_ms):
        seen.append(request.deadline_ns)
        return encode(self, request, wire_id, now_ms)

    monkeypatch.setattr(Toy, "order_message", watch)

    async def scene(desk, venue):
        deadline_ns = time.time_ns() + 5 * 10**9
        desk.buy(7, deadline_ns=deadline_ns)
        await desk.got(K.OPEN, client_id=7)
        (told,) = seen
        assert abs(deadline_ns - told - 3600 * 10**9) < 10**9

    play(scene, venue=ToyVenue(skew_ms=-3_600_000))
