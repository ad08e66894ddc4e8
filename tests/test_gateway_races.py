"""The races of an order's life, each on the simulated venue, at every venue where it can happen.

The names begin with the number of the race in the order model's catalogue.
"""

import asyncio
import random
import time

import orjson
import pytest

from engine.common import OrderType, Side, TimeInForce
from gateways.adapter import Amend
from gateways.types import (
    Action,
    OrderStatus,
    Reason,
    ReportFlag,
    ReportKind,
    RequestFlag,
    SelfTrade,
)
from tests.gateway_desk import SYMBOLS, order_id, simulated_desk, until

K = ReportKind
VENUES = tuple(SYMBOLS)
CONTRACTS = ("binance_usdm", "okx", "bybit")
ENDED = (OrderStatus.CANCELED, OrderStatus.EXPIRED)


@pytest.fixture(params=VENUES)
def venue(request):
    return request.param


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


def ends(desk, client_id):
    """Return the reports that say that an order has ended, with and without fills."""
    kinds = (K.CANCELED, K.EXPIRED, K.REJECTED, K.STATUS)
    return [
        each
        for each in desk.of(*kinds, client_id=client_id)
        if each["status"] in (*ENDED, OrderStatus.REJECTED)
    ]


def test_r1_a_fill_before_the_acknowledgement_is_told_at_once(venue, play):
    async def scene(desk):
        desk.fault(ack_delay_ms=200)
        desk.sells(desk.lots // 2, rest=True)
        number = order_id()
        desk.bid(number)
        fill = await desk.got(K.FILL, client_id=number)
        assert not desk.of(K.ACCEPTED, client_id=number)
        assert fill["last_quantity"] == desk.quantity(desk.lots // 2)
        await desk.settled()
        assert not desk.of(K.UNKNOWN)

    play(venue, scene)


def test_r2_a_whole_fill_before_the_acknowledgement_ends_the_order(venue, play):
    async def scene(desk):
        desk.fault(ack_delay_ms=200)
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number)
        fill = await desk.got(K.FILL, client_id=number)
        assert fill["status"] == OrderStatus.FILLED
        await desk.settled()
        assert len(desk.of(K.FILL)) == 1

    play(venue, scene)


def test_r3_an_end_before_the_acknowledgement_is_the_end(venue, play):
    async def scene(desk):
        desk.fault(ack_delay_ms=100)
        number = order_id()
        desk.bid(number, time_in_force=TimeInForce.IOC)
        await until(lambda: ends(desk, number))
        await desk.settled()
        assert not desk.of(K.FILL)
        assert not desk.of(K.UNKNOWN)

    play(venue, scene)


def test_r3_a_post_only_order_that_would_take_does_not_live(venue, play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number, time_in_force=TimeInForce.POST_ONLY)
        await until(lambda: ends(desk, number))
        assert {each["reason"] for each in ends(desk, number)} == {Reason.POST_ONLY}
        await desk.settled()

    play(venue, scene)


def test_r4_an_acknowledgement_after_the_end_changes_nothing(venue, play):
    async def scene(desk):
        desk.fault(ack_delay_ms=200)
        desk.sells(desk.lots, rest=True)
        number = order_id()
        request = desk.bid(number)
        await desk.got(K.FILL, client_id=number)
        await desk.quiet(0.3)
        assert desk.of(K.ACCEPTED, K.OPEN, K.STATUS, request_id=request)
        assert desk.gateway.core.orders.get(number).status == OrderStatus.FILLED
        await desk.settled()

    play(venue, scene)


def test_r5_a_cancel_that_a_fill_was_quicker_than_is_rejected(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", delay_ms=200)
        desk.sells(desk.lots)
        request = desk.cancel(number)
        rejected = await desk.got(K.CANCEL_REJECTED, request_id=request)
        known = (Reason.UNKNOWN_ORDER, Reason.ALREADY_FILLED, Reason.ALREADY_CLOSED)
        assert rejected["reason"] in known
        desk.well()
        fill = await desk.got(K.FILL, client_id=number)
        assert fill["last_quantity"] == desk.quantity(desk.lots)
        await desk.settled()

    play(venue, scene)


def test_r6_a_cancel_after_a_partial_fill_ends_the_rest(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.sells(desk.lots // 4)
        desk.cancel(number)
        await until(lambda: ends(desk, number))
        assert ends(desk, number)[-1]["filled"] == desk.quantity(desk.lots // 4)
        await desk.settled()
        assert len(desk.of(K.FILL)) == 1

    play(venue, scene)


def test_r7_fills_that_come_after_the_end_are_told(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", reorder=1.0)
        desk.sells(desk.lots // 4)
        desk.cancel(number)
        await desk.quiet(0.2)
        desk.well()
        await desk.got(K.FILL, client_id=number)
        await desk.settled()
        assert len(desk.of(K.FILL)) == 1

    play(venue, scene)


def test_r8_a_cancel_whose_answer_is_lost_ends_with_the_event(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(ack_drop=1.0)
        desk.cancel(number)
        await desk.got(K.CANCELED, client_id=number)
        await desk.quiet(0.6)
        assert not desk.of(K.UNKNOWN)
        await desk.settled()

    play(venue, scene)


def test_r8_a_cancel_whose_answer_and_event_are_lost_is_asked_for(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(ack_drop=1.0, streams="private.*", drop=1.0)
        desk.cancel(number)
        await desk.got(K.UNKNOWN, client_id=number, action=Action.CANCEL)
        await until(lambda: ends(desk, number))
        desk.well()
        await desk.settled()

    play(venue, scene)


def test_r9_an_end_that_comes_twice_is_told_once(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", duplicate=1.0)
        request = desk.cancel(number)
        await desk.got(K.CANCELED, client_id=number)
        await desk.settled()
        assert len([each for each in ends(desk, number) if each["request_id"] == 0]) <= 1
        assert len(desk.of(request_id=request)) >= 2

    play(venue, scene)


def test_r10_an_order_of_unknown_fate_is_canceled_by_its_client_id(venue, play):
    async def scene(desk):
        desk.fault(ack_drop=1.0, streams="private.*", drop=1.0)
        number = order_id()
        desk.bid(number)
        await desk.got(K.UNKNOWN, client_id=number)
        desk.well()
        desk.cancel(number)
        await until(lambda: ends(desk, number))
        (order,) = desk.orders_there(number)
        assert not order.status.live
        await desk.settled()

    play(venue, scene)


def test_r11_an_amendment_below_what_is_filled_does_what_the_venue_does(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.sells(desk.lots // 2)
        await desk.got(K.FILL, client_id=number)
        request = desk.amend(number, below=10, lots=desk.lots // 4)
        await until(lambda: desk.of(request_id=request))
        await desk.quiet(0.1)
        await desk.settled()
        order = desk.gateway.core.orders.get(number)
        rule = desk.gateway.adapter.dialect.amend_below_filled
        if rule is Amend.REFUSED:
            assert desk.of(K.AMEND_REJECTED, request_id=request)
            assert order.live
        else:
            assert order.ended
        assert len(desk.of(K.FILL)) == 1

    play(venue, scene)


def test_r13_an_amendment_and_a_cancel_at_once_end_in_the_cancel(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        amend = desk.amend(number, below=12)
        cancel = desk.cancel(number)
        await until(lambda: ends(desk, number))
        await desk.settled()
        for request in (amend, cancel):
            assert len(desk.of(request_id=request)) >= 2
        assert desk.gateway.core.orders.open == 0

    play(venue, scene)


def test_r14_of_two_amendments_in_flight_the_second_stays(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.amend(number, below=12)
        desk.amend(number, below=14)
        wanted = desk.price(desk.middle - 14)
        await desk.got(K.AMENDED, client_id=number, price=wanted)
        await desk.settled()
        assert desk.gateway.core.orders.get(number).price == wanted

    play(venue, scene)


def test_r15_a_replacement_whose_new_half_fails_leaves_no_order(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        request = desk.client.amend(
            number, 0, price=desk.price(desk.middle - 12), quantity=desk.quantity(10**9)
        )
        await desk.got(K.AMEND_REJECTED, request_id=request)
        await desk.settled()

    play("binance_spot", scene)


def test_r16_a_replaced_order_lives_on_under_its_number_with_another_venue_id(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        first = desk.gateway.core.orders.get(number).venue_id
        desk.fault(streams="private.*", duplicate=1.0)
        desk.amend(number, below=12)
        await desk.got(K.AMENDED, client_id=number)
        await desk.quiet(0.1)
        order = desk.gateway.core.orders.get(number)
        assert order.live
        assert order.venue_id != first
        desk.sells(desk.lots // 2, below=12)
        await desk.got(K.FILL, client_id=number)
        desk.cancel(number)
        await desk.got(K.CANCELED, client_id=number)
        await desk.settled()

    play("binance_spot", scene)


def test_r17_fills_that_come_twice_are_told_once(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", duplicate=1.0)
        for _ in range(4):
            desk.sells(desk.lots // 4)
        await desk.got(K.FILL, 4, client_id=number)
        desk.client.reconcile()
        await desk.got(K.SYNC_END, 2)
        await desk.settled()
        assert len(desk.of(K.FILL)) == 4

    play(venue, scene)


def test_r18_a_trade_that_no_event_told_is_asked_for_and_told_once(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", drop=1.0)
        desk.sells(desk.lots // 4)
        await desk.quiet(0.1)
        desk.well()
        desk.cancel(number)
        fill = await desk.got(K.FILL, client_id=number)
        assert fill["flags"] & ReportFlag.RECONCILED
        assert not fill["flags"] & ReportFlag.INFERRED
        await desk.settled()

    play(venue, scene)


def test_r20_an_order_whose_answer_is_lost_and_event_late_is_not_sent_again(venue, play):
    async def scene(desk):
        desk.fault(ack_drop=1.0, streams="private.*", delay_ms=800)
        number = order_id()
        desk.bid(number)
        await desk.got(K.UNKNOWN, client_id=number)
        await until(lambda: desk.of(K.OPEN, K.STATUS, client_id=number))
        await desk.quiet(0.6)
        desk.well()
        await desk.settled()
        assert len(desk.orders_there(number)) == 1

    play(venue, scene)


def test_r20_an_order_that_never_arrived_is_not_found_and_not_sent_again(venue, play):
    async def scene(desk):
        desk.fault(request_drop=1.0)
        number = order_id()
        desk.bid(number)
        await desk.got(K.UNKNOWN, client_id=number)
        desk.well()
        await desk.got(K.NOT_FOUND, client_id=number)
        assert desk.orders_there(number) == []
        await desk.settled()

    play(venue, scene)


@pytest.mark.parametrize("effect", [False, True], ids=["without_effect", "with_effect"])
def test_r20_an_error_of_the_venue_is_settled_by_asking(venue, play, effect):
    async def scene(desk):
        desk.fault(order_error=503, order_effect=effect)
        number = order_id()
        desk.bid(number)
        await until(lambda: set(desk.kinds(number)) - {K.SENT})
        desk.well()
        await desk.settled()
        order = desk.gateway.core.orders.get(number)
        assert (order.live, len(desk.orders_there(number))) == (effect, int(effect))

    play(venue, scene)


def test_r22_a_duplicate_refusal_is_no_rejection(venue, play):
    async def scene(desk):
        number = order_id()
        # Sent by an earlier run of ours, of which nothing is left.
        await desk.open(number)
        desk.gateway.core.orders._orders.pop(number)
        desk.gateway.core.orders.open -= 1
        desk.bid(number)
        await desk.got(K.UNKNOWN, client_id=number)
        await desk.got(K.STATUS, client_id=number)
        assert not desk.of(K.REJECTED)
        await desk.settled()
        assert len(desk.orders_there(number)) == 1

    play(venue, scene)


def test_r23_a_stream_key_that_is_gone_is_replaced_and_nothing_lost(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.server.venues[desk.venue].expire_keys()
        desk.sells(desk.lots // 4)
        await until(lambda: desk.counted("connects") >= 3)
        await desk.got(K.FILL, client_id=number)
        desk.sells(desk.lots // 4)
        await desk.got(K.FILL, 2, client_id=number)
        await desk.settled()

    play("binance_usdm", scene)


def test_r24_a_stream_that_says_nothing_is_noticed(venue, play):
    async def scene(desk):
        desk.fault(streams="private.*", drop=1.0)
        number = order_id()
        desk.bid(number)
        await until(lambda: desk.of(K.ACCEPTED, K.OPEN, client_id=number))
        desk.sells(desk.lots // 4)
        await desk.quiet(0.1)
        desk.client.reconcile()
        await desk.got(K.FILL, client_id=number)
        assert desk.of(K.DIFFERENCE, reason=Reason.MISSED_FILL)
        desk.well()
        await until(lambda: desk.counted("rotations") >= 1)
        await desk.settled()

    play(venue, scene)


def test_r25_fills_during_a_reconnection_are_told_once(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.server.disconnect()
        for _ in range(3):
            desk.sells(desk.lots // 8)
            await asyncio.sleep(0.02)
        await desk.got(K.UP, 2)
        desk.sells(desk.lots // 8)
        await desk.got(K.FILL, 4, client_id=number)
        await desk.settled()
        assert len(desk.of(K.FILL)) == 4

    play(venue, scene)


def test_r26_a_restart_books_nothing_twice(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.sells(desk.lots // 4)
        await desk.got(K.FILL, client_id=number)
        await desk.kill()
        desk.sells(desk.lots // 4)
        await desk.restart()
        await desk.quiet(0.2)
        (fill,) = desk.of(K.FILL)
        assert fill["filled"] == desk.quantity(desk.lots // 4) * 2
        assert desk.of(K.DIFFERENCE, reason=Reason.MISSED_FILL)

    play(venue, scene)


@pytest.mark.parametrize("venue", CONTRACTS)
def test_r27_a_position_without_fills_is_adopted_at_the_first_start(venue, play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number)
        await desk.got(K.FILL, client_id=number)
        await desk.stop()
        await desk.forget()
        await desk.restart()
        positions = [each for each in desk.of(K.POSITION) if each["flags"]]
        assert positions[0]["quantity"] == desk.quantity(desk.lots)
        assert positions[0]["flags"] & ReportFlag.ABSOLUTE
        assert not desk.of(K.FILL, K.DIFFERENCE)

    play(venue, scene)


def test_r29_an_order_of_somebody_else_has_the_same_number_for_every_gateway(venue, play):
    async def scene(desk):
        await desk.open(order_id())
        numbers = []
        for prefix in ("x", "y"):
            await desk.stop()
            await desk.forget()
            desk.settings["prefix"] = prefix
            await desk.restart()
            (stranger,) = desk.of(K.STATUS)
            assert stranger["flags"] & ReportFlag.EXTERNAL
            numbers.append(stranger["client_id"])
        assert numbers[0] == numbers[1] < 0
        request = desk.cancel(numbers[0])
        await until(lambda: ends(desk, numbers[0]))
        assert desk.of(request_id=request)
        assert not desk.account.orders

    play(venue, scene)


def test_r30_events_in_another_order_end_in_the_same_state(venue, play):
    async def scene(desk):
        desk.fault(streams="private.*", reorder=0.5)
        first = order_id()
        for number in range(first, first + 6):
            desk.bid(number)
        await until(lambda: len(desk.account.orders) == 6)
        for number in range(first, first + 3):
            desk.cancel(number)
        desk.sells(desk.lots)
        await desk.quiet(0.3)
        desk.well()
        await desk.settled()

    play(venue, scene)


@pytest.mark.parametrize("venue", CONTRACTS)
def test_r31_a_liquidation_that_we_never_sent_is_told_with_its_fills(venue, play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number)
        await desk.got(K.FILL, client_id=number)
        desk.buys(desk.lots, rest=True)
        desk.trading.liquidate(desk.account, desk.native, desk.now_ms())
        await until(lambda: len(desk.of(K.FILL)) >= 2)
        forced = [each for each in desk.of(K.FILL) if each["client_id"] != number]
        assert forced[0]["client_id"] < 0
        assert forced[0]["flags"] & ReportFlag.EXTERNAL
        assert any(each["flags"] & ReportFlag.FORCED for each in desk.reports)
        await desk.settled()

    play(venue, scene)


@pytest.mark.parametrize("venue", CONTRACTS)
def test_r32_funding_is_told_as_funding_and_not_as_a_fill(venue, play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number)
        await desk.got(K.FILL, client_id=number)
        await desk.quiet(0.1)
        desk.trading.pay_funding(desk.native, desk.now_ms())
        await desk.got(K.FUNDING)
        await desk.quiet(0.3)
        assert len(desk.of(K.FILL)) == len(desk.of(K.FUNDING)) == 1

    play(venue, scene)


def test_r33_self_trade_prevention_ends_an_order_with_its_reason(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        other = order_id()
        quantity, price = desk.quantity(desk.lots), desk.price(desk.middle - 10)
        prevention = SelfTrade.CANCEL_MAKER
        desk.client.new(other, 0, Side.SELL, quantity, price, self_trade=prevention)
        await until(lambda: ends(desk, number) or ends(desk, other))
        reasons = {each["reason"] for each in ends(desk, number) + ends(desk, other)}
        assert Reason.SELF_TRADE in reasons
        assert not desk.of(K.FILL)
        await desk.settled()

    play(venue, scene)


@pytest.mark.parametrize("venue", ["binance_usdm", "okx"])
def test_r34_the_dead_man_switch_and_a_cancel_at_once_end_an_order_once(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        scope = desk.native if venue == "binance_usdm" else ""
        desk.trading.arm(desk.account, scope, 1, desk.now_ms() - 10)
        desk.trading.tick(desk.now_ms())
        desk.cancel(number)
        await until(lambda: ends(desk, number))
        await desk.settled()
        assert len([each for each in ends(desk, number) if not each["request_id"]]) == 1

    play(venue, scene)


@pytest.mark.parametrize("venue", ["binance_usdm", "okx", "bybit"])
def test_r34_the_dead_man_switch_ends_the_orders_of_a_dead_gateway(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        await until(lambda: desk.gateway.dead_man.armed)
        await desk.kill()
        desk.trading.tick(desk.now_ms() + 200_000)
        assert not desk.account.orders
        await desk.restart()
        await until(lambda: ends(desk, number))

    play(venue, scene, dead_man_s=20.0)


@pytest.mark.parametrize("step_ms", [-60_000, 60_000], ids=["back", "forward"])
def test_r35_a_step_of_the_clock_costs_at_most_a_refusal(venue, play, step_ms):
    async def scene(desk):
        desk.fault(clock_skew_ms=step_ms)
        first = order_id()
        request = desk.bid(first)
        await until(lambda: len(desk.of(request_id=request)) >= 2 or desk.of(K.OPEN))
        refused = desk.of(K.REJECTED, client_id=first)
        if refused:
            assert refused[0]["reason"] in (Reason.TIMESTAMP, Reason.TIME)
        await until(lambda: abs(desk.gateway.core.clock.offset_ns - step_ms * 1e6) < 1e9, 5)
        second = order_id()
        await desk.open(second)
        await desk.settled()

    play(venue, scene, clock_s=2.0)


def test_r36_while_the_venue_limits_us_a_cancel_still_goes_out(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(order_error=429, order_count=1)
        request = desk.bid(order_id())
        rejected = await desk.got(K.REJECTED, request_id=request, seconds=5)
        assert rejected["reason"] == Reason.RATE_LIMIT
        desk.well()
        desk.cancel(number)
        await until(lambda: ends(desk, number))
        await desk.settled()

    play(venue, scene, urgent_wait_s=15.0)


def test_r38_a_market_that_is_halted_takes_cancels_and_no_orders(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.server.change_instrument(venue, desk.native, listing="halted")
        request = desk.bid(order_id())
        rejected = await desk.got(K.REJECTED, request_id=request)
        assert rejected["reason"] == Reason.MARKET_CLOSED
        desk.cancel(number)
        await until(lambda: ends(desk, number))
        await desk.settled()

    play(venue, scene)


def test_r40_an_order_that_ended_before_the_stream_was_there_is_told(venue, play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.server.disconnect()
        order = desk.orders_there(number)[0]
        desk.trading.cancel(order, desk.now_ms())
        await desk.got(K.UP, 2)
        await until(lambda: ends(desk, number))
        await desk.settled()
        assert desk.gateway.core.orders.open == 0

    play(venue, scene)


def okx_push(desk, number, **fields):
    """Deliver a push of OKX's orders channel as the venue would write it."""
    order = desk.orders_there(number)[0]
    row = {
        "instType": "SWAP",
        "instId": desk.native,
        "ordId": str(order.id),
        "clOrdId": order.client_id,
        "px": str(desk.trading.price_units(desk.market, order.price)),
        "sz": str(desk.trading.quantity_units(desk.market, order.quantity)),
        "ordType": "limit",
        "side": "buy",
        "posSide": "net",
        "tdMode": "cross",
        "fillSz": "0",
        "fillPx": "",
        "tradeId": "",
        "accFillSz": "0",
        "avgPx": "",
        "state": "live",
        "cancelSource": "",
        "category": "normal",
        "amendResult": "",
        "reqId": "",
        "code": "0",
        "msg": "",
        "uTime": str(desk.now_ms()),
        "cTime": str(desk.now_ms()),
    }
    message = {"arg": {"channel": "orders", "instType": "ANY"}, "data": [row | fields]}
    route = desk.gateway.routes[0]
    route._message(route.current, orjson.dumps(message), time.time_ns())


def test_r12_an_amendment_that_fails_after_it_was_accepted_is_rejected(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        okx_push(desk, number, amendResult="-1", code="51008", msg="no")
        rejected = await desk.got(K.AMEND_REJECTED, client_id=number)
        assert rejected["price"] == desk.price(desk.middle - 10)
        assert desk.gateway.core.orders.get(number).live

    play("okx", scene)


def test_r39_a_market_order_that_is_filled_by_a_push_without_trade_has_them_asked_for(play):
    async def scene(desk):
        number = order_id()
        await desk.open(number)
        desk.fault(streams="private.*", drop=1.0)
        desk.sells(desk.lots)
        await desk.quiet(0.1)
        whole = str(desk.trading.quantity_units(desk.market, desk.lots))
        okx_push(desk, number, ordType="market", state="filled", accFillSz=whole)
        desk.well()
        fill = await desk.got(K.FILL, client_id=number)
        assert not fill["flags"] & ReportFlag.INFERRED
        await desk.settled()

    play("okx", scene)


def test_r28_a_position_that_is_turned_over_is_one_fill(play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.bid(number)
        await desk.got(K.FILL, client_id=number)
        desk.buys(3 * desk.lots, rest=True)
        other = order_id()
        quantity, price = desk.quantity(2 * desk.lots), desk.price(desk.middle - 10)
        desk.client.new(other, 0, Side.SELL, quantity, price)
        fill = await desk.got(K.FILL, client_id=other)
        assert fill["last_quantity"] == quantity
        await until(lambda: desk.of(K.POSITION, quantity=-desk.quantity(desk.lots)))
        await desk.settled()

    play("binance_usdm", scene)


def test_a_market_order_is_filled_and_ends(venue, play):
    async def scene(desk):
        desk.sells(desk.lots, rest=True)
        number = order_id()
        desk.buy(
            number,
            price=0,
            quantity=desk.quantity(desk.lots),
            order_type=OrderType.MARKET,
            time_in_force=TimeInForce.IOC,
        )
        fill = await desk.got(K.FILL, client_id=number)
        assert fill["last_quantity"] == desk.quantity(desk.lots)
        await desk.settled()

    play(venue, scene)


def test_the_other_path_works_too(venue, play):
    async def scene(desk):
        number = order_id()
        desk.bid(number, flags=RequestFlag.REST)
        await until(lambda: desk.of(K.ACCEPTED, K.OPEN, client_id=number))
        desk.client.amend(
            number,
            0,
            price=desk.price(desk.middle - 12),
            quantity=desk.quantity(desk.lots),
            flags=RequestFlag.REST,
        )
        await desk.got(K.AMENDED, client_id=number)
        desk.client.cancel(number, 0, flags=RequestFlag.REST)
        await until(lambda: ends(desk, number))
        await desk.settled()

    play(venue, scene)


def test_all_orders_of_the_account_are_canceled_on_request(venue, play):
    async def scene(desk):
        first = order_id()
        for number in range(first, first + 3):
            await desk.open(number)
        request = desk.client.cancel_all()
        await desk.got(K.DONE, request_id=request)
        await until(lambda: not desk.account.orders)
        for number in range(first, first + 3):
            await until(lambda number=number: ends(desk, number))
        assert len(desk.of(K.DONE)) == 1
        await desk.settled()

    play(venue, scene)


MISCHIEF = (
    {"ack_drop": 0.05, "request_drop": 0.05},
    {"streams": "private.*", "drop": 0.05, "duplicate": 0.1, "reorder": 0.1},
    {"ack_delay_ms": 50},
    {"streams": "private.*", "delay_ms": 100},
    {"disconnect": True},
    {"ack_drop": 0.2, "disconnect": True},
)


@pytest.mark.slow
def test_random_orders_under_random_faults_leave_nothing_unknown_and_nothing_doubled(venue, play):
    async def scene(desk):
        draw = random.Random(1)
        first, open_ones = order_id(), []
        for i in range(150):
            if i % 15 == 0:
                desk.well()
                desk.fault(**draw.choice(MISCHIEF))
            number, share = first + i, draw.random()
            desk.bid(number, below=draw.choice((5, 10, 15)))
            open_ones.append(number)
            if share < 0.3:
                desk.sells(desk.lots // draw.choice((1, 2, 3)), below=25)
            elif share < 0.5:
                desk.amend(draw.choice(open_ones), below=draw.choice((5, 10, 15)))
            else:
                desk.cancel(open_ones.pop(draw.randrange(len(open_ones))))
            await asyncio.sleep(0.1 if venue.startswith("bybit") else 0.05)
        desk.well()
        await desk.settled(25)
        placed = [order.client_id for order in desk.account.history if not order.amendments]
        # A replacement is another order under the same number.
        assert venue == "binance_spot" or len(placed) == len(set(placed))

    play(venue, scene, event_timeout_s=1.0, reconcile_s=5.0, limit_s=60.0)
