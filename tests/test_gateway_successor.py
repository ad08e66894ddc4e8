"""A gateway that takes over from one that was killed: every request gets its final word."""

import asyncio

from engine.common import OrderType
from gateways.types import (
    Action,
    OrderStatus,
    PositionSide,
    Reason,
    ReportKind,
    RequestFlag,
)
from tests.gateway_desk import restart_toy, until
from tests.toy_venue import ToyVenue

K = ReportKind


class Mute(ToyVenue):
    """Does not answer REST requests while ``mute`` holds; they have no effect."""

    mute = False

    async def _post(self, request):
        if self.mute:
            self.log.append(f"mute {request.match_info['op']}")
            await asyncio.sleep(60)
        return await super()._post(request)


async def killed_while(desk, venue, op, ask):
    """Ask for something that gets no answer, and kill the gateway; return the request."""
    venue.mute = True
    request = ask()
    await until(lambda: f"mute {op}" in venue.log)
    await desk.kill()
    venue.mute = False
    return request


def test_a_cancel_of_everything_that_got_no_answer_is_done_again(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        request = await killed_while(desk, venue, "cancel_all", desk.client.cancel_all)
        await restart_toy(desk)
        await desk.got(K.DONE, request_id=request)
        assert venue.by_client(desk.text(7)).status == "canceled"

    play(scene, venue=Mute(), request_timeout_s=30.0)


def test_a_cancel_of_everything_after_which_orders_were_placed_is_not_done_again(play):
    async def scene(desk, venue):
        def ask():
            request = desk.client.cancel_all()
            desk.buy(7)
            return request

        request = await killed_while(desk, venue, "cancel_all", ask)
        await until(lambda: venue.placed)
        await restart_toy(desk)
        failed = await desk.got(K.FAILED, request_id=request)
        assert failed["reason"] == Reason.DISCONNECTED
        await desk.got(K.STATUS, client_id=7)
        assert venue.by_client(desk.text(7)).status == "open"

    play(scene, venue=Mute(), request_timeout_s=30.0)


def test_a_leverage_that_got_no_answer_has_failed(play):
    async def scene(desk, venue):
        request = await killed_while(
            desk, venue, "leverage", lambda: desk.client.set_leverage(0, 5)
        )
        await restart_toy(desk)
        failed = await desk.got(K.FAILED, request_id=request)
        assert (failed["reason"], failed["action"]) == (Reason.DISCONNECTED, Action.LEVERAGE)

    play(scene, venue=Mute(), request_timeout_s=30.0)


def test_a_reconciliation_that_was_not_done_is_done_by_the_successor(play):
    async def scene(desk, venue):
        request = await killed_while(desk, venue, "open_orders", desk.client.reconcile)
        await restart_toy(desk)
        await desk.got(K.SYNC_END, request_id=request)

    play(scene, venue=Mute())


def test_an_amendment_of_which_only_the_receipt_was_told_is_asked_for(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.no_events = True
        request = desk.client.amend(7, 0, price=12, quantity=5)
        await desk.got(K.ACCEPTED, request_id=request)
        await desk.kill()
        await restart_toy(desk)
        amended = await desk.got(K.AMENDED, request_id=request)
        assert amended["price"] == 12

    play(scene, event_timeout_s=30.0)


def test_an_amendment_whose_event_was_told_is_not_asked_for(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        desk.client.amend(7, 0, price=12, quantity=5)
        await desk.got(K.AMENDED, client_id=7)
        await desk.kill()
        await restart_toy(desk)
        assert not desk.of(K.UNKNOWN)

    play(scene)


def test_the_terms_of_an_order_outlive_its_gateway(play):
    async def scene(desk, venue):
        desk.buy(
            7,
            order_type=OrderType.MARKET,
            position_side=PositionSide.LONG,
            flags=RequestFlag.QUOTE_QUANTITY,
        )
        await desk.got(K.OPEN, client_id=7)
        await desk.kill()
        await restart_toy(desk)
        order = desk.gateway.core.orders.get(7)
        assert order.in_quote
        assert order.position_side == PositionSide.LONG
        assert order.order_type == OrderType.MARKET
        assert order.status == OrderStatus.OPEN

    play(scene)


def test_an_order_that_was_thought_to_be_filled_reopens_after_a_restart_too(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        order = venue.by_client(desk.text(7))
        venue.fill(order.id, 5)
        await desk.got(K.FILL, client_id=7, status=OrderStatus.FILLED)
        await desk.kill()
        order.quantity, order.status = 9, "open"
        await restart_toy(desk)
        status = await desk.got(K.STATUS, client_id=7)
        assert status["status"] == OrderStatus.PARTIALLY_FILLED
        assert desk.gateway.core.orders.open == 1

    play(scene)
