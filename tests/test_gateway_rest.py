"""Requests by REST: what left us and what did not, whatever breaks."""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from engine.secrets import Secret
from gateways.adapter import Call, Cost, Identity, Limit
from gateways.limits import RateLimits
from gateways.rest import RestClient, RestFailed, VenueClock
from gateways.types import Reason, ReportKind, RequestFlag
from tests.gateway_desk import until
from tests.toy_venue import Toy

K = ReportKind
REST = RequestFlag.REST


class Moody:
    """A server that answers the first request of a connection and hangs up at the second."""

    def __init__(self):
        self.heard = []

    async def serve(self, reader, writer):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heard.append(head.split(b" ", 1)[0].decode())
            if len(self.heard) != 2:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
            else:
                break
        writer.close()


@asynccontextmanager
async def client_of(instance, port):
    limits = RateLimits(instance, "toy", "main", Toy.limits)
    adapter = Toy(Identity(Secret("k"), lambda payload: "s"))
    log = logging.getLogger("rest")
    async with RestClient(adapter, f"http://127.0.0.1:{port}", limits, VenueClock(), log) as client:
        yield client
    limits.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_request_over_a_connection_that_drops_is_sent_once(instance, method):
    async def scene():
        moody = Moody()
        server = await asyncio.start_server(moody.serve, "127.0.0.1", 0)
        async with server, client_of(instance, server.sockets[0].getsockname()[1]) as client:
            await client.send(Call("GET", "/"))
            with pytest.raises(RestFailed) as failed:
                await client.send(Call(method, "/order"))
            assert failed.value.sent
            assert moody.heard == ["GET", method]

    asyncio.run(scene())


def test_a_call_that_finds_nobody_was_not_sent(instance):
    async def scene():
        async with client_of(instance, 1) as client:
            with pytest.raises(RestFailed) as failed:
                await client.send(Call("POST", "/order"))
            assert not failed.value.sent

    asyncio.run(scene())


def test_an_order_by_rest_is_told_as_sent_only_when_it_is_written(play):
    async def scene(desk, venue):
        desk.gateway.core.rest._base = "http://127.0.0.1:1"
        request = desk.buy(7, flags=REST)
        not_sent = await desk.got(K.NOT_SENT, request_id=request)
        assert not_sent["reason"] == Reason.DISCONNECTED
        assert not desk.of(K.SENT)

    play(scene)


def test_an_answer_that_cannot_be_read_leaves_an_order_of_unknown_fate(play, monkeypatch):
    read = Toy.read_answer

    def failing(self, call, *rest):
        if call.tag == "new":
            raise KeyError("code")
        return read(self, call, *rest)

    monkeypatch.setattr(Toy, "read_answer", failing)

    async def scene(desk, venue):
        venue.no_events = True
        desk.buy(7, flags=REST)
        await desk.got(K.UNKNOWN, client_id=7)
        await desk.got(K.STATUS, client_id=7)

    play(scene)


def test_a_request_that_breaks_us_before_it_leaves_by_rest_was_not_sent(play, monkeypatch):
    async def scene(desk, venue):
        with monkeypatch.context() as broken:
            broken.setattr(Toy, "order_call", lambda *request: 1 // 0)
            request = desk.buy(7, flags=REST)
            not_sent = await desk.got(K.NOT_SENT, request_id=request)
        assert not_sent["reason"] == Reason.OTHER

    play(scene)


def test_a_spinning_gateway_that_breaks_ends(play):
    async def scene(desk, venue):
        desk.gateway._drain = lambda reader: 1 // 0
        await until(lambda: desk._task.done())
        with pytest.raises(ZeroDivisionError):
            desk._task.result()
        desk._task = None

    play(scene, spin=True)


# -- bans -----------------------------------------------------------------------------------------
LIMITS = (
    Limit("orders", 100, 1.0, aligned=False, per="account"),
    Limit("calls", 100, 1.0, aligned=False),
)


class Forbidding:
    """A server that has banned the address."""

    def __init__(self):
        self.asked = 0

    async def serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("named", "blocked"), [(None, [False, True]), (("orders",), [True, False])]
)
def test_a_ban_stops_rest_and_the_limits_that_it_counts_for(instance, monkeypatch, named, blocked):
    monkeypatch.setattr(Toy, "limits", LIMITS)
    monkeypatch.setattr(Toy, "dialect", replace(Toy.dialect, ban_limits=named))

    async def scene():
        forbidding = Forbidding()
        server = await asyncio.start_server(forbidding.serve, "127.0.0.1", 0)
        async with server, client_of(instance, server.sockets[0].getsockname()[1]) as client:
            await client.send(Call("GET", "/"))
            now = time.time_ns()
            waits = [client._limits.take([Cost(each.name)], True, now) > 0 for each in LIMITS]
            assert waits == blocked
            with pytest.raises(RestFailed) as failed:
                await client.send(Call("GET", "/"))
            assert not failed.value.sent
            assert forbidding.asked == 1

    asyncio.run(scene())
