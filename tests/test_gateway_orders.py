"""The table of orders: which order a message is about, and what of it is new."""

import time

import pytest

from engine.common import OrderType, Side
from gateways.ids import ClientIds
from gateways.message import Instrument, Request, Update
from gateways.orders import OrderTable
from gateways.types import Action, OrderStatus, ReportFlag, ReportKind, RequestFlag

K, S = ReportKind, OrderStatus
ROW = Instrument(0, "AAA", "AAA/USD", "AAA", "USD", "", 1, 2, 0, 1, 1)
NUMBER = 7
MS = 1_000_000


@pytest.fixture
def table():
    return OrderTable(ClientIds())


def sent(table, **terms):
    """Enter an order of 10 for 100 that has left us."""
    text = ClientIds().text(NUMBER)
    request = Request(Action.NEW, 1, NUMBER, ROW, client_text=text, price=100, quantity=10)
    return table.sent(request._replace(**terms), time.time_ns())


def tell(table, kind, number=NUMBER, **fields):
    """Tell the table an event of an order; return whether it is to be reported."""
    text = ClientIds().text(number) if number > 0 else ""
    update = Update(kind=kind, client_text=text, instrument=0, side=1, **fields)
    return table.admit(update, time.time_ns())


def fill(table, trade, last, **fields):
    return tell(table, K.FILL, trade_id=trade, last_quantity=last, last_price=100, **fields)


def test_a_fill_that_carries_the_amended_quantity_does_not_end_the_order(table):
    order = sent(table)
    tell(table, K.OPEN, quantity=10)

    fill(table, 1, 10, quantity=20, filled=10)

    assert order.status == S.PARTIALLY_FILLED
    assert order.live


def test_an_amendment_that_comes_after_the_fill_that_it_allowed_reopens_the_order(table):
    order = sent(table)
    tell(table, K.OPEN, quantity=10)
    fill(table, 1, 10)
    assert order.status == S.FILLED

    told = tell(table, K.AMENDED, quantity=20, filled=10, status=S.PARTIALLY_FILLED)

    assert told
    assert order.live
    assert order in table.active()
    assert table.open == 1


def test_a_quantity_that_is_filled_does_not_reopen_an_order(table):
    order = sent(table)
    fill(table, 1, 10)

    told = tell(table, K.OPEN, quantity=10, filled=0)

    assert not told
    assert order.status == S.FILLED


def test_an_order_that_reopens_is_looked_at(table):
    seen = []
    table.revived = seen.append
    order = sent(table)
    fill(table, 1, 10)

    tell(table, K.STATUS, quantity=20, filled=10, status=S.PARTIALLY_FILLED)

    assert seen == [order]


def test_the_venues_end_of_an_order_that_was_thought_to_be_filled_is_told(table):
    order = sent(table)
    fill(table, 1, 10)

    told = tell(table, K.CANCELED, quantity=20, filled=10, status=S.CANCELED)

    assert told
    assert order.status == S.CANCELED


def test_an_order_that_the_venue_has_ended_never_comes_back(table):
    order = sent(table)
    tell(table, K.CANCELED, status=S.CANCELED)

    assert not tell(table, K.OPEN, quantity=20)
    assert order.status == S.CANCELED


def test_an_order_whose_refusal_was_wrong_comes_back_to_life(table):
    order = sent(table)
    tell(table, K.REJECTED, request_id=1, status=S.REJECTED)
    assert order.ended

    assert tell(table, K.OPEN, quantity=10)

    assert order.live


def test_an_order_that_the_venue_itself_rejects_stays_rejected(table):
    order = sent(table)
    tell(table, K.REJECTED, status=S.REJECTED)

    assert not tell(table, K.OPEN, quantity=10)
    assert order.status == S.REJECTED


def test_a_quantity_in_the_quote_currency_is_not_compared_with_fills(table):
    order = sent(table, order_type=OrderType.MARKET, flags=int(RequestFlag.QUOTE_QUANTITY))
    assert order.quantity == 0

    fill(table, 1, 15)
    assert order.live

    tell(table, K.STATUS, status=S.FILLED, filled=15)
    assert order.status == S.FILLED


def test_an_old_trade_from_a_query_does_not_take_an_amendment_back(table):
    order = sent(table)
    tell(table, K.AMENDED, quantity=20)

    fill(table, 1, 10, quantity=10, flags=int(ReportFlag.RECONCILED))

    assert order.quantity == 20
    assert order.live


def test_what_was_filled_before_an_order_was_first_heard_of_is_not_missing(table):
    told = fill(table, 2, 5, number=-1, venue_id="9", filled=12, exchange_ns=50 * MS)

    (order,) = table.active()
    assert told
    assert (order.filled, order.missing) == (12, 0)


def test_a_trade_from_before_an_order_was_first_heard_of_is_counted_once(table):
    tell(table, K.STATUS, number=-1, venue_id="9", quantity=20, filled=7, exchange_ns=50 * MS)

    old = fill(table, 1, 7, number=-1, venue_id="9", exchange_ns=50 * MS)
    (order,) = table.active()
    assert old
    assert (order.filled, order.traded) == (7, 7)

    fill(table, 2, 5, number=-1, venue_id="9", exchange_ns=51 * MS)
    assert (order.filled, order.traded) == (12, 12)


def test_only_the_last_ids_of_an_order_that_is_replaced_are_kept(table):
    order = sent(table)
    for number in range(100):
        tell(table, K.AMENDED, venue_id=str(number), price=number + 1)

    assert len(table._by_venue) == 1 + len(order.replaced) < 10


def test_funding_is_told_once_by_its_number_or_its_time(table):
    def paid(**fields):
        return table.admit_funding(Update(kind=K.FUNDING, instrument=0, asset="USD", **fields))

    assert paid(trade_id=5)
    assert not paid(trade_id=5, exchange_ns=3)
    assert paid(exchange_ns=4)
    assert not paid(exchange_ns=4)
    assert paid(exchange_ns=5)


def test_funding_of_several_instruments_at_once_is_told_of_each(table):
    def paid(fee):
        return table.admit_funding(Update(kind=K.FUNDING, asset="USD", exchange_ns=4, fee=fee))

    assert paid(3)
    assert paid(5)
    assert not paid(3)


def test_a_side_of_a_trade_with_oneself_is_a_trade_of_its_own(table):
    sent(table)
    assert fill(table, 1, 2)
    update = Update(kind=K.FILL, venue_id="8", instrument=0, side=int(Side.SELL), trade_id=1)
    update.last_quantity = 2
    assert table.admit(update, 1)
