"""What a venue's queries may leave out for a while: each venue's way to find an order all the same.

The names begin with the number of the race in the order model's catalogue.
"""

import asyncio
from contextlib import contextmanager
from decimal import Decimal

import pytest

from gateways.simulator.bybit import queries
from gateways.types import MarginMode, OrderStatus, Reason, ReportKind
from tests.gateway_desk import SYMBOLS, order_id, simulated_desk, until

K = ReportKind


@pytest.fixture
def play(instance, monkeypatch):
    """Return what runs a scene with a desk at a venue."""

    def run(venue, scene, limit_s=12.0, **settings):
        async def whole():
            async with simulated_desk(instance, monkeypatch, venue, **settings) as desk:
                async with asyncio.timeout(limit_s):
                    await scene(desk)

        asyncio.run(whole())

    return run


@contextmanager
def behind(desk):
    """Let the venue answer queries from a replica that knows no order yet."""
    account = desk.account
    orders, clients = account.orders, account.clients
    account.orders, account.clients = type(orders)(), type(clients)()
    try:
        yield
    finally:
        account.orders, account.clients = orders, clients


@pytest.mark.parametrize("venue", SYMBOLS)
def test_r21_an_order_that_a_lagging_replica_does_not_show_is_found_later(venue, play):
    async def scene(desk):
        desk.fault(ack_drop=1.0, streams="*private*", drop=1.0)
        number = order_id()
        desk.bid(number)
        await until(lambda: desk.orders_there(number))
        with behind(desk):
            await desk.got(K.UNKNOWN, client_id=number)
            before = desk.counted("rest_requests")
            await until(lambda: desk.counted("rest_requests") > before, 0.9)
            await desk.quiet(0.1)
            assert not desk.of(K.NOT_FOUND, K.STATUS, client_id=number)
        found = await desk.got(K.STATUS, client_id=number)
        assert found["status"] == OrderStatus.OPEN
        assert not desk.of(K.NOT_FOUND)
        desk.well()
        desk.cancel(number)
        await desk.settled()

    play(venue, scene, dialect={"not_found_after_s": 3.0})


@pytest.mark.parametrize("venue", ["bybit", "bybit_spot"])
def test_r37_an_end_that_the_venue_knows_only_as_history_is_found(venue, play, monkeypatch):
    async def scene(desk):
        filled, canceled = order_id(), order_id() + 1
        await desk.open(filled)
        await desk.open(canceled, below=50)
        desk.fault(streams="*", drop=1.0)
        desk.sells(desk.lots)
        (order,) = desk.orders_there(canceled)
        desk.trading.cancel(order, desk.now_ms())
        # The venue comes back from a restart with its connections gone, and its ended orders.
        monkeypatch.setattr(queries, "CLOSED_KEPT", 0)
        desk.well()
        desk.server.disconnect()
        fill = await desk.got(K.FILL, client_id=filled)
        assert fill["status"] == OrderStatus.FILLED
        ended = await desk.got(K.STATUS, client_id=canceled, status=OrderStatus.CANCELED)
        assert ended["filled"] == 0
        await desk.got(K.UP)
        assert not desk.of(K.NOT_FOUND)
        await desk.settled()

    play(venue, scene)


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit"])
def test_a_margin_mode_is_set_with_its_leverage(venue, play):
    async def scene(desk):
        request = desk.client.set_margin_mode(0, MarginMode.ISOLATED, 7)
        await desk.got(K.DONE, request_id=request)
        if venue == "okx":
            assert desk.account.leverage[desk.native] == 7

    play(venue, scene)


def test_a_margin_mode_without_a_leverage_is_refused_where_the_venue_wants_one(play):
    async def scene(desk):
        request = desk.client.set_margin_mode(0, MarginMode.ISOLATED)
        told = await desk.got(K.FAILED, request_id=request)
        assert "leverage" in told["text"]

    play("okx", scene)


@pytest.mark.parametrize("venue", ["okx", "bybit"])
def test_r32_funding_that_no_event_told_is_told_once_by_reconciliation(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.sells(desk.lots)
        await desk.got(K.FILL, client_id=number)
        await desk.quiet(0.1)
        desk.fault(streams="*", drop=1.0)
        desk.trading.pay_funding(desk.native, desk.now_ms())
        await desk.quiet(0.1)
        desk.well()
        assert not desk.of(K.FUNDING)
        for _ in range(3):
            request = desk.client.reconcile()
            await desk.got(K.SYNC_END, request_id=request)
        (paid,) = desk.of(K.FUNDING)
        (payment,) = desk.account.funding
        assert Decimal(paid["fee"]).scaleb(-paid["decimals"]) == payment.paid
        assert len(desk.of(K.FILL)) == 1
        assert not [each for each in desk.of(K.DIFFERENCE) if each["reason"] == Reason.MISSED_FILL]

    play(venue, scene)
