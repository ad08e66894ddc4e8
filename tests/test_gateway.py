"""The gateway against a toy venue: what it does whatever the venue."""

import asyncio
import logging
import time

import pytest

from engine.agent import AgentContext
from engine.common import OrderType, Side
from engine.config import Config
from engine.counters import CountersReader, CountersWriter
from engine.errors import ConfigError
from engine.segment import unlink_segment
from gateways.client import OrderClient
from gateways.gateway import Gateway
from gateways.types import (
    Action,
    OrderStatus,
    PositionSide,
    Reason,
    ReportFlag,
    ReportKind,
    RequestFlag,
    SelfTrade,
    Trigger,
)
from tests import toy_venue
from tests.gateway_desk import ACCOUNT, restart_toy, toy_desk, until

K = ReportKind
UNKNOWN_ORDER = Reason.UNKNOWN_ORDER


def venue_id(desk, venue, client_id):
    return venue.by_client(desk.text(client_id)).id


# -- the way of an order --------------------------------------------------------------------------
def test_an_order_is_sent_accepted_opened_and_filled(play):
    async def scene(desk, venue):
        request = desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.fill(venue_id(desk, venue, 7), 5)
        fill = await desk.got(K.FILL, client_id=7)
        assert (fill["last_price"], fill["last_quantity"], fill["filled"]) == (10, 5, 5)
        assert fill["side"] == Side.BUY
        assert fill["status"] == OrderStatus.FILLED
        sent = await desk.got(K.SENT, client_id=7)
        accepted = await desk.got(K.ACCEPTED, client_id=7)
        assert sent["request_id"] == accepted["request_id"] == request

    play(scene)


def test_an_order_is_amended_and_canceled(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        desk.client.amend(7, 0, price=11, quantity=6)
        amended = await desk.got(K.AMENDED, client_id=7)
        assert (amended["price"], amended["quantity"]) == (11, 6)
        request = desk.client.cancel(7, 0)
        canceled = await desk.got(K.CANCELED, client_id=7)
        assert canceled["status"] == OrderStatus.CANCELED
        await desk.got(K.CANCEL_ACCEPTED, request_id=request)
        assert venue.log[:3] == ["open_orders", "fills", "balances"]
        assert [each for each in venue.log if each in ("new", "amend", "cancel")] == [
            "new",
            "amend",
            "cancel",
        ]

    play(scene)


def test_an_amendment_of_the_price_alone_keeps_the_quantity(play):
    async def scene(desk, venue):
        desk.buy(7, quantity=9)
        await desk.got(K.OPEN, client_id=7)
        desk.client.amend(7, 0, price=12, quantity=0)
        amended = await desk.got(K.AMENDED, client_id=7)
        assert (amended["price"], amended["quantity"]) == (12, 9)

    play(scene)


def test_a_refused_order_is_rejected_with_the_venues_code(play):
    async def scene(desk, venue):
        venue.refuse["new"] = 1
        request = desk.buy(7)
        rejected = await desk.got(K.REJECTED, request_id=request)
        assert (rejected["reason"], rejected["venue_code"]) == (Reason.BALANCE, 1)
        assert rejected["status"] == OrderStatus.REJECTED

    play(scene)


def test_an_order_type_that_the_venue_has_not_is_refused_unsent(play):
    async def scene(desk, venue):
        request = desk.buy(7, order_type=OrderType.STOP_LIMIT)
        rejected = await desk.got(K.REJECTED, request_id=request)
        assert rejected["reason"] == Reason.UNSUPPORTED
        assert venue.placed == []

    play(scene)


def test_a_request_that_waited_too_long_is_not_sent(play):
    async def scene(desk, venue):
        request = desk.buy(7, deadline_ns=time.time_ns() - 1)
        not_sent = await desk.got(K.NOT_SENT, request_id=request)
        assert not_sent["reason"] == Reason.EXPIRED_REQUEST
        assert venue.placed == []

    play(scene)


def test_an_order_number_is_used_once(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        again = desk.buy(7)
        not_sent = await desk.got(K.NOT_SENT, request_id=again)
        assert not_sent["reason"] == Reason.DUPLICATE_ID
        assert len(venue.placed) == 1

    play(scene)


def test_a_request_that_breaks_us_is_told_as_not_sent(play, monkeypatch):
    async def scene(desk, venue):
        with monkeypatch.context() as broken:
            broken.setattr(desk.gateway.sender, "_encode", lambda *request: 1 // 0)
            desk.buy(7)
            not_sent = await desk.got(K.NOT_SENT, client_id=7)
            assert not_sent["reason"] == Reason.OTHER
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)

    play(scene)


def test_an_order_number_that_goes_by_rest_is_used_once_too(play):
    async def scene(desk, venue):
        flags = RequestFlag.REST
        desk.buy(7, flags=flags)
        again = desk.buy(7, flags=flags)
        not_sent = await desk.got(K.NOT_SENT, request_id=again)
        assert not_sent["reason"] == Reason.DUPLICATE_ID
        await desk.got(K.OPEN, client_id=7)
        assert len(venue.placed) == 1

    play(scene)


def test_a_record_that_makes_no_sense_is_refused_and_the_next_one_is_handled(play):
    async def scene(desk, venue):
        first = desk.ask_raw(Action.NEW, client_id=7, instrument=99)
        terms = (1, 2, 1, PositionSide.NET, 99, Trigger.LAST, SelfTrade.NONE)
        second = desk.ask_raw(Action.NEW, client_id=8, instrument=0, terms=terms)
        desk.buy(9)
        for request in (first, second):
            rejected = await desk.got(K.REJECTED, request_id=request)
            assert rejected["reason"] == Reason.PARAMETER
        await desk.got(K.OPEN, client_id=9)

    play(scene)


def test_a_cancel_of_an_order_that_nobody_knows_is_rejected_and_the_order_not_found(play):
    async def scene(desk, venue):
        request = desk.client.cancel(7, 0)
        rejected = await desk.got(K.CANCEL_REJECTED, request_id=request)
        assert rejected["reason"] == UNKNOWN_ORDER
        await desk.got(K.NOT_FOUND, client_id=7)

    play(scene)


def test_a_query_is_answered_by_the_orders_state(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        request = desk.client.query(7, 0)
        status = await desk.got(K.STATUS, request_id=request)
        assert status["status"] == OrderStatus.OPEN
        missing = desk.client.query(8, 0)
        await desk.got(K.NOT_FOUND, request_id=missing)

    play(scene)


def test_cancel_all_ends_every_order_of_the_account(play):
    async def scene(desk, venue):
        for number in (7, 8, 9):
            desk.buy(number)
            await desk.got(K.OPEN, client_id=number)
        request = desk.client.cancel_all()
        await desk.got(K.DONE, request_id=request)
        for number in (7, 8, 9):
            await desk.got(K.CANCELED, client_id=number)

    play(scene)


def test_leverage_is_set_by_rest_and_told_as_done(play):
    async def scene(desk, venue):
        done = desk.client.set_leverage(0, 5)
        await desk.got(K.DONE, request_id=done)
        venue.refuse["leverage"] = 1
        failed = desk.client.set_leverage(0, 50)
        assert (await desk.got(K.FAILED, request_id=failed))["reason"] == Reason.BALANCE

    play(scene)


def test_requests_go_out_in_the_order_in_which_they_were_asked_for(play):
    async def scene(desk, venue):
        for number in range(1, 201):
            desk.buy(number)
        await desk.got(K.OPEN, 200)
        assert venue.placed == [desk.text(number) for number in range(1, 201)]

    play(scene, spin=True)


# -- unknown fates --------------------------------------------------------------------------------
def test_an_order_without_answer_is_unknown_and_then_found(play):
    async def scene(desk, venue):
        venue.no_answer, venue.no_events = 1, True
        desk.buy(7)
        unknown = await desk.got(K.UNKNOWN, client_id=7)
        assert unknown["reason"] == Reason.TIMEOUT
        status = await desk.got(K.STATUS, client_id=7)
        assert status["status"] == OrderStatus.OPEN
        assert status["flags"] & ReportFlag.RECONCILED
        assert len(venue.placed) == 1
        await until(lambda: not len(desk.gateway.doubts))

    play(scene)


def test_an_order_that_never_arrived_is_not_found_only_after_the_horizon_and_never_resent(play):
    async def scene(desk, venue):
        venue.swallow = 1
        began = time.monotonic()
        desk.buy(7)
        await desk.got(K.UNKNOWN, client_id=7)
        await desk.got(K.NOT_FOUND, client_id=7)
        assert time.monotonic() - began > toy_venue.Toy.dialect.not_found_after_s
        assert len(venue.placed) == 1
        assert venue.log.count("query") >= 3

    play(scene)


def test_an_order_that_a_lagging_replica_does_not_show_is_found_later(play):
    async def scene(desk, venue):
        venue.no_answer, venue.no_events, venue.lag_s = 1, True, 1.2
        desk.buy(7)
        await desk.got(K.STATUS, client_id=7)
        assert not desk.of(K.NOT_FOUND)

    play(scene)


def test_an_event_settles_an_order_without_answer(play):
    async def scene(desk, venue):
        venue.no_answer = 1
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await desk.quiet(0.6)
        assert not desk.of(K.UNKNOWN)
        assert "query" not in venue.log

    play(scene)


def test_a_late_answer_is_heard(play):
    async def scene(desk, venue):
        venue.no_events, venue.late_s = True, 0.45
        desk.buy(7)
        await desk.got(K.UNKNOWN, client_id=7)
        await desk.got(K.ACCEPTED, client_id=7)

    play(scene)


def test_an_acceptance_without_an_event_is_asked_for(play):
    async def scene(desk, venue):
        venue.no_events = True
        desk.buy(7)
        await desk.got(K.ACCEPTED, client_id=7)
        await desk.got(K.STATUS, client_id=7)
        assert desk.counted("unheard") == 1

    play(scene)


def test_a_duplicate_refusal_is_proof_that_the_order_exists(play):
    async def scene(desk, venue):
        venue.no_events = True
        venue.place(desk.text(7))
        desk.buy(7)
        unknown = await desk.got(K.UNKNOWN, client_id=7)
        assert unknown["reason"] == Reason.DUPLICATE_ID
        await desk.got(K.STATUS, client_id=7)
        assert not desk.of(K.REJECTED)

    play(scene)


def test_what_a_lost_connection_carried_is_unknown_at_once(play):
    async def scene(desk, venue):
        venue.no_answer, venue.no_events = 1, True
        desk.buy(7)
        await until(lambda: venue.placed)
        await venue.disconnect("orders")
        unknown = await desk.got(K.UNKNOWN, client_id=7)
        assert unknown["reason"] == Reason.DISCONNECTED
        await desk.got(K.STATUS, client_id=7)

    play(scene, request_timeout_s=30.0)


def test_a_cancel_without_answer_is_settled_by_asking(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.no_answer, venue.no_events = 1, True
        desk.client.cancel(7, 0)
        await desk.got(K.UNKNOWN, client_id=7, action=Action.CANCEL)
        status = await desk.got(K.STATUS, client_id=7)
        assert status["status"] == OrderStatus.CANCELED

    play(scene)


def test_a_cancel_that_never_arrived_is_rejected_after_the_horizon(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.swallow = 1
        request = desk.client.cancel(7, 0)
        rejected = await desk.got(K.CANCEL_REJECTED, request_id=request)
        assert rejected["reason"] == Reason.TIMEOUT
        assert venue.by_client(desk.text(7)).status == "open"

    play(scene)


def test_an_amendment_without_answer_is_settled_by_asking(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.no_answer, venue.no_events = 1, True
        request = desk.client.amend(7, 0, price=12, quantity=5)
        await desk.got(K.UNKNOWN, request_id=request)
        amended = await desk.got(K.AMENDED, request_id=request)
        assert amended["price"] == 12

    play(scene)


def test_a_venue_that_says_that_it_does_not_know_is_asked(play):
    async def scene(desk, venue):
        venue.refuse["new"] = 5
        desk.buy(7)
        unknown = await desk.got(K.UNKNOWN, client_id=7)
        assert unknown["reason"] == Reason.VENUE_UNSURE
        await desk.got(K.NOT_FOUND, client_id=7)

    play(scene)


# -- routes ---------------------------------------------------------------------------------------
def test_while_the_order_route_is_down_orders_are_not_sent_and_cancels_go_by_rest(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await venue.disconnect("orders")
        down = await desk.got(K.DOWN)
        assert down["reason"] == Reason.DISCONNECTED
        request = desk.buy(8)
        desk.client.cancel(7, 0)
        by_rest = desk.buy(9, flags=RequestFlag.REST | RequestFlag.URGENT)
        not_sent = await desk.got(K.NOT_SENT, request_id=request)
        assert not_sent["reason"] == Reason.DISCONNECTED
        await desk.got(K.CANCELED, client_id=7)
        await desk.got(K.ACCEPTED, request_id=by_rest)

    play(scene, backoff_s=5.0)


def test_a_number_that_was_not_sent_can_be_used_again(play):
    async def scene(desk, venue):
        await venue.disconnect("orders")
        await desk.got(K.DOWN)
        desk.buy(8)
        await desk.got(K.NOT_SENT, client_id=8)
        await desk.got(K.UP, 2)
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)

    play(scene, backoff_s=0.3)


def test_what_happened_while_the_private_stream_was_down_is_told_as_differences(play):
    async def scene(desk, venue):
        for number in (7, 8):
            desk.buy(number)
            await desk.got(K.OPEN, client_id=number)
        venue.no_events = True
        await venue.disconnect("private")
        venue.fill(venue_id(desk, venue, 7), 2)
        venue.end(venue_id(desk, venue, 8))
        stranger = venue.place("stranger")
        venue.no_events = False
        await desk.got(K.UP, 2)
        fill = await desk.got(K.FILL, client_id=7)
        assert fill["flags"] & ReportFlag.RECONCILED
        assert fill["last_quantity"] == 2
        ended = await desk.got(K.STATUS, client_id=8)
        assert ended["status"] == OrderStatus.CANCELED
        (foreign,) = desk.of(K.STATUS, venue_id=stranger)[:1]
        assert foreign["client_id"] < 0
        assert foreign["flags"] & ReportFlag.EXTERNAL
        assert foreign["text"] == "stranger"
        reasons = {each["reason"] for each in desk.of(K.DIFFERENCE)}
        assert {Reason.MISSED_FILL, Reason.MISSED_END, Reason.MISSED_ORDER} <= reasons
        await desk.quiet(0.3)
        assert len(desk.of(K.FILL)) == 1

    play(scene)


def test_a_login_that_is_refused_is_tried_again(play, instance, monkeypatch):
    async def scene():
        venue = toy_venue.ToyVenue(refuse_login=True)

        async def relent():
            await until(lambda: venue.logins_refused > 0)
            venue.refuse_login = False

        task = asyncio.create_task(relent())
        async with toy_desk(instance, monkeypatch, venue=venue) as (desk, _):
            await task
            assert desk.counted("connect_failures") >= 1
            desk.buy(7)
            await desk.got(K.OPEN, client_id=7)

    asyncio.run(scene())


def test_rotation_makes_before_it_breaks_and_nothing_is_told_twice(play):
    async def scene(desk, venue):
        desk.buy(7, quantity=1000)
        await desk.got(K.OPEN, client_id=7)
        for _ in range(100):
            venue.fill(venue_id(desk, venue, 7), 1)
            await asyncio.sleep(0.01)
        await until(lambda: desk.counted("rotations") >= 2)
        await desk.got(K.FILL, 100)
        await desk.quiet(0.3)
        assert len(desk.of(K.FILL)) == 100
        assert not desk.of(K.DOWN)
        assert desk.counted("disconnects") == 0

    play(scene, rotate_after_s=0.3, overlap_s=0.1)


def test_a_notice_of_the_end_has_the_connection_replaced(play):
    async def scene(desk, venue):
        venue._send("orders", {"notice": "ending"})
        await until(lambda: desk.counted("rotations") == 1)
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        assert not desk.of(K.DOWN)

    play(scene, overlap_s=0.05)


# -- events ---------------------------------------------------------------------------------------
def test_events_that_come_twice_are_told_once(play):
    async def scene(desk, venue):
        venue.twice = True
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.fill(venue_id(desk, venue, 7), 2)
        venue.end(venue_id(desk, venue, 7))
        await desk.got(K.CANCELED, client_id=7)
        await desk.quiet()
        for kind in (K.OPEN, K.FILL, K.CANCELED):
            assert len(desk.of(kind, client_id=7)) == 1

    play(scene)


def test_a_fill_after_the_end_is_told(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.end(venue_id(desk, venue, 7))
        venue.fill(venue_id(desk, venue, 7), 2)
        fill = await desk.got(K.FILL, client_id=7)
        assert fill["last_quantity"] == 2

    play(scene)


def test_more_fills_than_were_asked_for_are_told(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.fill(venue_id(desk, venue, 7), 5)
        venue.fill(venue_id(desk, venue, 7), 2)
        fill = await desk.got(K.FILL, 2, client_id=7)
        assert fill["filled"] == 7

    play(scene)


def test_a_stale_open_after_the_end_is_not_told(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        order = venue.by_client(desk.text(7))
        venue.end(order.id)
        order.status, order.filled = "open", 0
        venue.tell(order, "open")
        venue.tell(order, "amended")
        await desk.got(K.CANCELED, client_id=7)
        await desk.quiet()
        assert desk.kinds(7)[-1] == K.CANCELED
        assert desk.gateway.core.orders.open == 0

    play(scene)


def test_orders_of_others_have_the_same_negative_number_each_time(play, instance, monkeypatch):
    async def scene():
        venue = toy_venue.ToyVenue()
        numbers = []
        async with toy_desk(instance, monkeypatch, venue=venue) as (desk, _):
            order = venue.place("stranger")
            numbers.append((await desk.got(K.OPEN, venue_id=order))["client_id"])
            await desk.stop()
            settings = desk.gateway.settings
            urls = {name: getattr(settings, name) for name in ("rest_url", "orders_url")}
            desk.reports.clear()
            await desk.start(toy_venue.Toy, private_url=settings.private_url, **urls)
            await desk.up()
            numbers.append((await desk.got(K.STATUS, venue_id=order))["client_id"])
        assert numbers[0] == numbers[1] < 0

    asyncio.run(scene())


def test_a_filled_quantity_without_trades_has_the_trades_asked_for(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        order = venue.by_client(desk.text(7))
        venue.fill(order.id, 2, silent=True)
        venue.tell(order, "status")
        fill = await desk.got(K.FILL, client_id=7)
        assert fill["last_quantity"] == 2
        assert not fill["flags"] & ReportFlag.INFERRED

    play(scene)


def test_a_fill_is_inferred_only_when_the_venue_gives_no_trades_and_replaced_by_the_true_one(
    play, monkeypatch
):
    monkeypatch.setattr("gateways.reconcile.GAP_AT_S", (0.05, 0.1))

    async def scene(desk, venue):
        venue.no_trades = True
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        order = venue.by_client(desk.text(7))
        venue.fill(order.id, 2, silent=True)
        venue.tell(order, "status")
        fill = await desk.got(K.FILL, client_id=7)
        assert fill["flags"] & ReportFlag.INFERRED
        assert fill["last_quantity"] == 2
        venue.say(venue.trades[-1])
        venue.no_trades = False
        desk.client.reconcile()
        await desk.quiet(0.3)
        made_up, true = desk.of(K.FILL)
        assert not true["flags"] & ReportFlag.INFERRED
        assert true["last_quantity"] == made_up["last_quantity"] == 2
        assert desk.gateway.core.orders.get(7).traded == 2

    play(scene)


# -- reconciliation -------------------------------------------------------------------------------
def test_at_the_first_start_what_the_venue_has_is_told_and_is_no_difference(instance, monkeypatch):
    async def scene():
        venue = toy_venue.ToyVenue()
        order = venue._new("stranger", "AAA", "buy", 10, 5)
        async with toy_desk(instance, monkeypatch, venue=venue) as (desk, _):
            kinds = [report.kind for report in desk.reports]
            begin, end = kinds.index(K.SYNC_BEGIN), kinds.index(K.SYNC_END)
            assert {K.BALANCE, K.STATUS} <= set(kinds[begin:end])
            assert K.DIFFERENCE not in kinds
            (balance,) = desk.of(K.BALANCE)
            assert (balance["asset"], balance["quantity"], balance["decimals"]) == ("USD", 10005, 1)
            assert desk.of(K.STATUS)[0]["venue_id"] == order.id

    asyncio.run(scene())


def test_reconciliation_on_request_tells_all_open_orders_between_its_marks(play):
    async def scene(desk, venue):
        for number in (7, 8, 9):
            desk.buy(number)
            await desk.got(K.OPEN, client_id=number)
        request = desk.client.reconcile()
        await desk.got(K.SYNC_END, request_id=request)
        begin = desk.reports.index(desk.of(K.SYNC_BEGIN, request_id=request)[0])
        end = desk.reports.index(desk.of(K.SYNC_END, request_id=request)[0])
        told = {each["client_id"] for each in desk.reports[begin:end] if each.kind == K.STATUS}
        assert told == {7, 8, 9}
        assert not desk.of(K.DIFFERENCE)

    play(scene)


def test_events_during_reconciliation_are_neither_doubled_nor_lost(play):
    async def scene(desk, venue):
        for number in (7, 8):
            desk.buy(number)
            await desk.got(K.OPEN, client_id=number)
        venue.delay_queries_s = 0.1
        request = desk.client.reconcile()
        await asyncio.sleep(0.15)
        venue.fill(venue_id(desk, venue, 7), 2)
        venue.end(venue_id(desk, venue, 8))
        await desk.got(K.SYNC_END, request_id=request)
        begin = desk.reports.index(desk.of(K.SYNC_BEGIN, request_id=request)[0])
        told = {each["client_id"]: each for each in desk.reports[begin:] if each.kind == K.STATUS}
        assert list(told) == [7]
        assert told[7]["filled"] == 2
        assert len(desk.of(K.FILL)) == 1
        assert len(desk.of(K.CANCELED)) == 1
        assert not desk.of(K.DIFFERENCE)

    play(scene)


def test_long_answers_are_read_page_by_page(play):
    async def scene(desk, venue):
        venue.page_size = 3
        for number in range(1, 11):
            desk.buy(number)
        await desk.got(K.OPEN, 10)
        request = desk.client.reconcile()
        await desk.got(K.SYNC_END, request_id=request)
        assert {each["client_id"] for each in desk.of(K.STATUS)} == set(range(1, 11))

    play(scene)


def test_a_balance_that_no_event_told_is_a_difference(play):
    async def scene(desk, venue):
        venue.balances["USD"] = "7"
        desk.client.reconcile()
        difference = await desk.got(K.DIFFERENCE)
        assert difference["reason"] == Reason.MISSED_BALANCE
        balance = await desk.got(K.BALANCE, 2)
        assert balance["quantity"] == 7

    play(scene)


# -- limits ---------------------------------------------------------------------------------------
def test_beyond_the_local_limit_orders_are_not_sent_and_cancels_are(play, monkeypatch):
    limit = toy_venue.Limit("orders", 10, 60.0, aligned=False, per="account", reserve=0.5)
    monkeypatch.setattr(toy_venue.Toy, "limits", (limit,))

    async def scene(desk, venue):
        for number in range(1, 10):
            desk.buy(number)
        not_sent = await desk.got(K.NOT_SENT)
        assert not_sent["reason"] == Reason.LOCAL_LIMIT
        await desk.got(K.OPEN, client_id=5)
        assert len(venue.placed) == 5
        desk.client.cancel(1, 0)
        await desk.got(K.CANCELED, client_id=1)

    play(scene)


def test_a_venue_that_limits_us_is_left_alone_and_a_cancel_goes_out_afterwards(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.refuse["new"] = 4
        request = desk.buy(8)
        assert (await desk.got(K.REJECTED, request_id=request))["reason"] == Reason.RATE_LIMIT
        refused = desk.buy(9)
        desk.client.cancel(7, 0)
        assert (await desk.got(K.NOT_SENT, request_id=refused))["reason"] == Reason.LOCAL_LIMIT
        await desk.got(K.CANCELED, client_id=7)

    play(scene)


def test_a_cancel_that_the_venue_was_too_busy_for_is_sent_again(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.refuse["cancel"] = 6
        desk.client.cancel(7, 0)
        await desk.got(K.CANCELED, client_id=7)
        assert not desk.of(K.CANCEL_REJECTED)

    play(scene)


# -- the clock ------------------------------------------------------------------------------------
def test_requests_carry_the_venues_time(instance, monkeypatch):
    async def scene():
        venue = toy_venue.ToyVenue(skew_ms=-3_600_000, strict_time=True)
        async with toy_desk(instance, monkeypatch, venue=venue) as (desk, _):
            desk.buy(7)
            await desk.got(K.OPEN, client_id=7)

    asyncio.run(scene())


def test_a_refusal_because_of_the_time_has_the_clock_measured_again(play):
    async def scene(desk, venue):
        venue.strict_time, venue.skew_ms = True, 5000
        first = desk.buy(7)
        assert (await desk.got(K.REJECTED, request_id=first))["reason"] == Reason.TIMESTAMP
        await until(lambda: desk.gateway.core.clock.offset_ns > 4e9)
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)

    play(scene)


# -- the dead-man switch --------------------------------------------------------------------------
def test_the_dead_man_switch_is_armed_while_orders_are_open(play):
    async def scene(desk, venue):
        desk.buy(7)
        await until(lambda: venue.countdown == 3.0)
        desk.client.cancel(7, 0)
        await until(lambda: venue.countdown == 0)
        assert venue.log.count("countdown") >= 2

    play(scene, dead_man_s=3.0)


# -- processes ------------------------------------------------------------------------------------
def test_a_successor_tells_what_was_missed_and_books_nothing_twice(play):
    async def scene(desk, venue):
        for number in (7, 8):
            desk.buy(number)
            await desk.got(K.OPEN, client_id=number)
        venue.fill(venue_id(desk, venue, 7), 1)
        await desk.got(K.FILL, client_id=7)
        await desk.kill()
        venue.fill(venue_id(desk, venue, 7), 2)
        venue.end(venue_id(desk, venue, 8))
        await restart_toy(desk)
        (fill,) = desk.of(K.FILL)
        assert (fill["client_id"], fill["last_quantity"], fill["filled"]) == (7, 2, 3)
        (ended,) = desk.of(K.STATUS, client_id=8)
        assert ended["status"] == OrderStatus.CANCELED
        assert [each["client_id"] for each in desk.of(K.DIFFERENCE)] == [7, 8]

    play(scene)


def test_a_successor_asks_what_became_of_requests_without_an_answer(play):
    async def scene(desk, venue):
        venue.no_answer, venue.no_events = 1, True
        desk.buy(7)
        venue.swallow = 0
        await until(lambda: venue.placed)
        venue.swallow = 1
        desk.buy(8)
        await until(lambda: len(venue.placed) == 2)
        await desk.kill()
        await restart_toy(desk)
        await desk.got(K.STATUS, client_id=7)
        await desk.got(K.NOT_FOUND, client_id=8)
        assert len(venue.placed) == 2

    play(scene, request_timeout_s=30.0)


def test_a_successor_whose_predecessors_first_words_are_gone_makes_up_no_fills(play, monkeypatch):
    monkeypatch.setattr("gateways.reconcile.GAP_AT_S", (0.05, 0.1))

    async def scene(desk, venue):
        for number in (7, 8):
            desk.buy(number, quantity=1000)
            await desk.got(K.OPEN, client_id=number)
        for _ in range(3):
            venue.fill(venue_id(desk, venue, 7), 1)
        await desk.got(K.FILL, 3, client_id=7)
        for _ in range(100):
            venue.fill(venue_id(desk, venue, 8), 1)
            await asyncio.sleep(0.001)
        await desk.got(K.FILL, 100, client_id=8)
        await asyncio.sleep(0.1)
        desk.client.reconcile()
        await desk.got(K.SYNC_END, 2)
        await desk.kill()
        await restart_toy(desk)
        for number in (7, 8):
            venue.fill(venue_id(desk, venue, number), 1)
            fill = await desk.got(K.FILL, client_id=number)
            assert fill["last_quantity"] == 1
        await desk.quiet(0.5)
        assert len(desk.of(K.FILL)) == 2

    play(scene, ring=64)


def test_a_clean_stop_leaves_orders_open_unless_told_otherwise(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        await desk.stop()
        assert venue.by_client(desk.text(7)).status == "open"
        await restart_toy(desk, cancel_on_stop=True)
        await desk.stop()
        assert venue.by_client(desk.text(7)).status == "canceled"
        assert desk.of(K.DOWN)

    play(scene)


def test_the_ring_of_requests_may_be_removed_and_made_anew(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        desk._reader.cancel()
        desk.client.close()
        unlink_segment(desk.instance, f"gw.{ACCOUNT}.requests")
        desk.client = OrderClient.open(desk.instance, ACCOUNT)
        desk._reader = asyncio.create_task(desk._read())
        desk.buy(8)
        await desk.got(K.OPEN, client_id=8)

    play(scene)


def test_what_nobody_reads_waits_and_new_orders_are_refused(play, monkeypatch):
    monkeypatch.setattr("gateways.reports.FULL_RECORDS", 10)

    async def scene(desk, venue):
        desk._reader.cancel()
        order = venue.place("stranger", quantity=1000)
        for _ in range(40):
            venue.fill(order, 1)
        await until(lambda: desk.gateway.core.reports.congested)
        request = desk.buy(7)
        await asyncio.sleep(0.1)
        desk._reader = asyncio.create_task(desk._read())
        await desk.got(K.FILL, 40)
        not_sent = await desk.got(K.NOT_SENT, request_id=request)
        assert not_sent["reason"] == Reason.BUSY

    play(scene, ring=64)


def test_figures_are_counted(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        counters = CountersReader.attach(desk.instance, "gateway")
        await until(lambda: counters.counters()[f"{ACCOUNT}.open_orders"] == 1)
        assert counters.counters()[f"{ACCOUNT}.up"] == 1
        assert counters.histograms()[f"{ACCOUNT}.request_to_socket"].count == 1
        assert counters.histograms()[f"{ACCOUNT}.event_to_report"].count >= 1
        counters.close()

    play(scene)


def test_a_gateway_without_secrets_says_which_are_missing(instance, monkeypatch):
    counters = CountersWriter.open(instance, "gateway")
    settings = {"account": "poor", "venue": "toy", "rest_url": "http://x", "orders_url": "ws://x"}
    context = AgentContext(
        instance, "gateway", settings, Config(), counters, logging.getLogger("gateway")
    )
    with pytest.raises(ConfigError, match="TRADE_INFRA_SECRET_POOR_KEY"):
        Gateway(context, toy_venue.Toy)
    counters.close()


def test_a_venue_that_is_not_installed_is_named(instance):
    counters = CountersWriter.open(instance, "gateway")
    settings = {"account": "main", "venue": "nowhere"}
    context = AgentContext(
        instance, "gateway", settings, Config(), counters, logging.getLogger("gateway")
    )
    with pytest.raises(ConfigError, match="nowhere"):
        Gateway(context)
    counters.close()


def test_no_secret_is_in_a_log_line(play, caplog):
    async def scene(desk, venue):
        venue.refuse["new"] = 1
        desk.buy(7)
        await desk.got(K.REJECTED)
        await venue.disconnect()
        await desk.got(K.UP, 2)
        assert toy_venue.SECRET not in caplog.text

    caplog.set_level("DEBUG")
    play(scene)


def test_a_spinning_gateway_goes_on_when_its_rehearsal_fails(play, monkeypatch):
    encode = toy_venue.Toy.order_message

    def failing(self, request, wire_id, now_ms):
        if wire_id == "rehearsal":
            raise RuntimeError("cannot be rehearsed")
        return encode(self, request, wire_id, now_ms)

    monkeypatch.setattr(toy_venue.Toy, "order_message", failing)

    async def scene(desk, venue):
        await desk.quiet()
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)

    play(scene, spin=True)
