"""Requests of unknown fate, and what the answers to questions about them are worth."""

from gateways.inflight import Flight, Flights
from gateways.message import Instrument, Request, Update
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind
from tests.gateway_desk import until

K = ReportKind
ROW = Instrument(0, "AAA", "AAA/USD", "AAA", "USD", "", 1, 0, 0, 1, 1)


def request(number, action=Action.AMEND, client_id=7, **terms):
    return Request(action, number, client_id, ROW, **terms)


# -- who is meant ---------------------------------------------------------------------------------
def test_the_result_of_one_amendment_is_not_that_of_another():
    flights = Flights()
    first = Flight(request(1, price=11, quantity=5), "w1", 1, None)
    second = Flight(request(2, price=12, quantity=5), "w2", 2, None)
    flights.add(first)
    flights.add(second)

    flights.heard(Update(kind=K.AMENDED, client_id=7, price=11, quantity=5), False)

    assert (first.heard, second.heard) == (True, False)


def test_a_result_that_names_its_request_is_that_ones():
    flights = Flights()
    for number in (1, 2):
        flights.expect(request(number, price=11), number)

    flights.heard(Update(kind=K.AMEND_REJECTED, client_id=7, request_id=2), False)

    assert [each.request_id for each, _ in flights.unheard(10)] == [1]


def test_an_event_that_does_not_come_is_missed_whatever_else_is_waited_for():
    flights = Flights()
    repeated, other = request(1, Action.CANCEL), request(2, Action.CANCEL, client_id=8)
    flights.expect(repeated, 1)
    flights.expect(other, 2)
    flights.expect(repeated, 100)

    assert flights.unheard(50) == [(other, 2)]


def test_each_of_two_amendments_without_answer_gets_its_final_word(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.no_answer, venue.no_events = 2, True
        first = desk.client.amend(7, 0, price=11, quantity=5)
        second = desk.client.amend(7, 0, price=12, quantity=5)
        await desk.got(K.AMENDED, request_id=second)
        rejected = await desk.got(K.AMEND_REJECTED, request_id=first)
        assert rejected["reason"] == Reason.TIMEOUT

    play(scene)


def test_a_cancel_without_answer_of_an_order_that_has_ended_before_is_rejected(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        desk.client.cancel(7, 0)
        await desk.got(K.CANCELED, client_id=7)
        venue.swallow = 1
        again = desk.client.cancel(7, 0)
        rejected = await desk.got(K.CANCEL_REJECTED, request_id=again)
        assert rejected["reason"] == Reason.ALREADY_CLOSED

    play(scene)


# -- what an answer is worth ----------------------------------------------------------------------
def test_an_answer_that_is_older_than_an_event_does_not_undo_it(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.delay_queries_s = 0.2
        query = desk.client.query(7, 0)
        await until(lambda: "query" in venue.log)
        desk.client.amend(7, 0, price=12, quantity=6)
        await desk.got(K.AMENDED, client_id=7)
        status = await desk.got(K.STATUS, request_id=query)
        assert (status["price"], status["quantity"]) == (12, 6)
        order = desk.gateway.core.orders.get(7)
        assert (order.price, order.quantity) == (12, 6)

    play(scene)


def test_a_query_that_is_overtaken_by_the_orders_end_is_answered_by_that(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.delay_queries_s = 0.2
        query = desk.client.query(7, 0)
        await until(lambda: "query" in venue.log)
        desk.client.cancel(7, 0)
        await desk.got(K.CANCELED, client_id=7)
        status = await desk.got(K.STATUS, request_id=query)
        assert status["status"] == OrderStatus.CANCELED

    play(scene)


def test_the_answer_to_a_query_says_that_it_is_no_event(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        status = await desk.got(K.STATUS, request_id=desk.client.query(7, 0))
        assert status["flags"] & ReportFlag.RECONCILED

    play(scene)


def test_trades_that_an_answer_shows_to_be_missing_are_asked_for(play):
    async def scene(desk, venue):
        desk.buy(7)
        await desk.got(K.OPEN, client_id=7)
        venue.fill(venue.by_client(desk.text(7)).id, 5, silent=True)
        status = await desk.got(K.STATUS, request_id=desk.client.query(7, 0))
        assert status["status"] == OrderStatus.FILLED
        fill = await desk.got(K.FILL, client_id=7)
        assert fill["last_quantity"] == 5

    play(scene)
