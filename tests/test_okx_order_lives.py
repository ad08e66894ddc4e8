"""The lives of orders on the simulated OKX that other venues have not: by code, stops, funding."""

import asyncio
from decimal import Decimal

import pytest

from engine.common import OrderType, Side
from gateways.okx import requests
from gateways.simulator.rest import ApiError
from gateways.types import OrderStatus, Reason, ReportKind
from tests.gateway_desk import order_id, simulated_desk, until

K = ReportKind


@pytest.fixture
def play(instance, monkeypatch):
    """Return what runs a scene with a desk at OKX, which wants instruments named by code."""

    def run(scene, limit_s=12.0, **settings):
        async def whole():
            async with simulated_desk(instance, monkeypatch, "okx", **settings) as desk:
                async with asyncio.timeout(limit_s):
                    await scene(desk)

        asyncio.run(whole())

    return run


def stop(desk, number, *, lots=0, above=10, order_type=OrderType.STOP_MARKET):
    """Ask for a buy order that waits until the last price is so many ticks above the middle."""
    trigger = desk.price(desk.middle + above)
    return desk.client.new(
        number,
        0,
        Side.BUY,
        desk.quantity(lots or desk.lots),
        0 if order_type is OrderType.STOP_MARKET else trigger,
        order_type=order_type,
        stop_price=trigger,
    )


def trade_at(desk, above):
    """Let the crowd trade with itself so many ticks above the middle."""
    desk.sells(1, below=-above, rest=True)
    desk.buys(1, below=-above)


def test_orders_go_by_websocket_once_the_codes_are_known(play):
    async def scene(desk):
        assert set(desk.gateway.adapter._rest.codes) >= {"BTC-USDT", "BTC-USDT-SWAP"}
        number, sent = order_id(), desk.counted("rest_requests")
        await desk.open(number)
        desk.amend(number, below=12)
        await desk.got(K.AMENDED, client_id=number)
        desk.cancel(number)
        await desk.got(K.CANCELED, client_id=number)
        assert desk.counted("rest_requests") == sent
        assert not desk.of(K.REJECTED)

    play(scene)


def test_an_order_without_a_code_goes_by_rest(play):
    async def scene(desk):
        desk.gateway.adapter._rest.codes.clear()
        number, sent = order_id(), desk.counted("rest_requests")
        await desk.open(number)
        assert desk.counted("rest_requests") == sent + 1

    play(scene)


def test_a_stop_order_that_fails_at_its_trigger_is_heard_of(play):
    async def scene(desk):
        number = order_id()
        stop(desk, number, order_type=OrderType.STOP_LIMIT)
        await desk.got(K.OPEN, client_id=number)
        # The money is gone when the order would need it.
        desk.account.balances["USDT"].free = Decimal(0)
        trade_at(desk, 10)
        failed = await desk.got(K.REJECTED, seconds=2.0, client_id=number)
        assert (failed["reason"], failed["venue_code"]) == (Reason.BALANCE, 51008)
        await desk.settled()

    play(scene)


def test_a_stop_order_that_is_canceled_by_hand_is_heard_of(play):
    async def scene(desk):
        number = order_id()
        stop(desk, number)
        await desk.got(K.OPEN, client_id=number)
        (order,) = desk.orders_there(number)
        desk.trading.cancel(order, desk.now_ms())
        ended = await desk.got(K.CANCELED, seconds=2.0, client_id=number)
        assert ended["status"] == OrderStatus.CANCELED
        await desk.settled()

    play(scene)


@pytest.mark.parametrize("order_type", [OrderType.STOP_MARKET, OrderType.STOP_LIMIT])
def test_a_stop_order_is_triggered_once_and_filled(play, order_type):
    async def scene(desk):
        number = order_id()
        stop(desk, number, order_type=order_type)
        await desk.got(K.OPEN, client_id=number)
        desk.sells(desk.lots + 1, below=-10, rest=True)
        desk.buys(1, below=-10)
        fill = await desk.got(K.FILL, client_id=number)
        assert fill["status"] == OrderStatus.FILLED
        await desk.quiet(0.2)
        assert len(desk.of(K.TRIGGERED, client_id=number)) == 1
        assert len(desk.of(K.FILL)) == 1
        await desk.settled()

    play(scene)


def test_a_stop_order_that_was_triggered_and_filled_unheard_is_told_as_filled(play):
    async def scene(desk):
        number = order_id()
        stop(desk, number)
        await desk.got(K.OPEN, client_id=number)
        desk.fault(streams="*", drop=1.0)
        desk.sells(desk.lots + 1, below=-10, rest=True)
        desk.buys(1, below=-10)
        await desk.quiet(0.1)
        desk.well()
        desk.client.query(number, 0)
        told = await desk.got(K.STATUS, client_id=number, status=OrderStatus.FILLED)
        assert told["filled"] == desk.quantity(desk.lots)
        await desk.got(K.FILL, client_id=number)
        await desk.settled()

    play(scene)


def test_without_the_route_of_stop_orders_the_gateway_is_down_and_comes_back(play):
    async def scene(desk):
        route = next(each for each in desk.gateway.routes if each.name == "business")
        route.current.socket.abort("cut by the test")
        await desk.got(K.DOWN)
        await desk.got(K.UP)
        await until(lambda: route.up)

    play(scene)


def test_connections_are_made_no_faster_than_the_venue_allows(play):
    async def scene(desk):
        for _ in range(3):
            desk.server.disconnect()
            await until(lambda: not desk.gateway.up)
            await until(lambda: desk.gateway.up)
        assert desk.counted("connects") == 8
        assert desk.counted("connect_failures") == 0

    play(scene)


def test_funding_is_told_within_seconds_and_once(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.sells(desk.lots)
        await desk.got(K.FILL, client_id=number)
        desk.trading.pay_funding(desk.native, desk.now_ms())
        paid = await desk.got(K.FUNDING, seconds=3.0)
        assert (paid["instrument"], paid["asset"]) == (0, "USDT")
        (payment,) = desk.account.funding
        assert Decimal(paid["fee"]).scaleb(-paid["decimals"]) == payment.paid
        desk.client.reconcile()
        await desk.got(K.SYNC_END, 2)
        await desk.quiet()
        assert len(desk.of(K.FUNDING)) == 1

    play(scene)


def test_one_order_that_cannot_be_canceled_does_not_save_the_others(play, monkeypatch):
    async def scene(desk):
        monkeypatch.setattr(requests, "BATCH", 2)
        numbers = [order_id() + i for i in range(10)]
        for number in numbers:
            desk.bid(number, lots=10)
        await until(lambda: len(desk.account.orders) == len(numbers))
        # The newest one, which is in the first batch.
        (stuck,) = desk.orders_there(numbers[-1])
        cancel = desk.trading.cancel

        def refuse(order, now_ms):
            if order is stuck:
                raise ApiError(51404, "Cancellation is not allowed now.")
            return cancel(order, now_ms)

        monkeypatch.setattr(desk.trading, "cancel", refuse)
        request = desk.client.cancel_all()
        await desk.got(K.FAILED, request_id=request)
        assert [*desk.account.orders.values()] == [stuck]
        monkeypatch.undo()
        await desk.got(K.DONE, request_id=desk.client.cancel_all())
        await until(lambda: not desk.account.orders)

    play(scene)


def test_an_amendment_of_a_stop_order_is_told_without_asking(play):
    async def scene(desk):
        number = order_id()
        stop(desk, number)
        await desk.got(K.OPEN, client_id=number)
        trigger = desk.price(desk.middle + 20)
        request = desk.client.amend(
            number, 0, price=0, quantity=desk.quantity(2 * desk.lots), stop_price=trigger
        )
        done = await desk.got(K.AMENDED, client_id=number)
        assert (done["request_id"], done["status"]) == (request, OrderStatus.UNTRIGGERED)
        assert (done["stop_price"], done["quantity"]) == (trigger, desk.quantity(2 * desk.lots))
        await desk.settled()

    play(scene)
