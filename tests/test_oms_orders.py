"""The table of states, and where orders stand: slots, numbers, lists."""

import random

import numpy as np
import pytest

from engine.common import Side
from gateways.types import Action, OrderStatus, ReportFlag, ReportKind
from oms.matrix import LATE, LIVE_AGAIN, MATRIX, STAY, Event, describe, next_state
from oms.reducer import _event_of_status
from oms.slots import SLOT_MASK
from oms.state import C_FRESH, SLOT_BITS, SLOTS
from oms.types import Alarm, OrderFlag, OrderState, Pending, UpdateKind
from tests.oms_invariants import INVERSE, PERPETUAL, SPOT, CheckedDesk, Tables, ended, plain, value

K, S = ReportKind, OrderState


@pytest.fixture
def desk():
    return CheckedDesk()


# -- the table -------------------------------------------------------------------------------------
COLUMNS = (
    Event.ACK,
    Event.OPEN,
    Event.FILL_PART,
    Event.FILL_ALL,
    Event.CANCELED,
    Event.EXPIRED,
    Event.REJECT,
    Event.UNKNOWN,
    Event.ABSENT,
)
ROWS = {
    S.SENT: "ACKED OPEN PARTIAL FILLED CANCELED EXPIRED REJECTED UNKNOWN REJECTED",
    S.UNKNOWN: "ACKED OPEN PARTIAL FILLED CANCELED EXPIRED REJECTED = REJECTED",
    S.ACKED: "= OPEN PARTIAL FILLED CANCELED EXPIRED REJECTED = LOST",
    S.OPEN: "= = PARTIAL FILLED CANCELED EXPIRED REJECTED! = LOST",
    S.PARTIAL: "= = PARTIAL FILLED CANCELED EXPIRED REJECTED! = LOST",
    S.CANCELED: "= = CANCELED! FILLED! = = = = =",
    S.EXPIRED: "= = EXPIRED! FILLED! = = = = =",
    S.FILLED: "= = FILLED FILLED = = = = =",
    S.REJECTED: "OPEN! OPEN! PARTIAL! FILLED! CANCELED EXPIRED = = =",
    S.LOST: "OPEN OPEN PARTIAL FILLED CANCELED EXPIRED REJECTED = =",
}
"""The order model's table; "=" stays, "!" raises an alarm. "No such order" is told once the horizon
is over: then SENT is an end too. An end that is told of an order believed not to exist is its end;
what has been filled of it, or is yet, brings it back to life otherwise."""


@pytest.mark.parametrize("state", list(ROWS), ids=lambda state: state.name.lower())
def test_each_row_of_the_table_is_that_of_the_order_model(state):
    for event, cell in zip(COLUMNS, ROWS[state].split(), strict=True):
        code = int(MATRIX[state, event])
        marked = code != STAY and bool(code & (LATE | LIVE_AGAIN))
        wanted = state if cell == "=" else S[cell.rstrip("!")]
        assert (S(next_state(state, event)), marked) == (wanted, cell.endswith("!")), event


def test_denied_and_free_orders_do_not_change():
    assert (MATRIX[[S.FREE, S.DENIED]] == STAY).all()


def test_no_event_brings_a_filled_order_back():
    assert all(next_state(S.FILLED, event) == S.FILLED for event in Event)


def test_whatever_the_state_a_whole_fill_ends_the_order():
    states = [state for state in S if state not in (S.FREE, S.DENIED)]
    assert all(next_state(state, Event.FILL_ALL) == S.FILLED for state in states)


def test_only_a_refusal_that_nothing_contradicts_and_lives_again_is_marked_so():
    living = np.argwhere((MATRIX != STAY) & (MATRIX & LIVE_AGAIN > 0))
    assert {S(int(state)) for state, _ in living} == {S.REJECTED}


def test_the_table_that_is_shown_has_every_state_and_event():
    head, *rows = describe()
    assert head[1:] == [event.name.lower() for event in Event]
    assert [row[0] for row in rows] == [s.name for s in S if s not in (S.FREE, S.DENIED)]
    assert dict(zip(head, rows[-1], strict=True))["open"] == "OPEN"


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (OrderStatus.NONE, -1),
        (OrderStatus.ACCEPTED, Event.ACK),
        (OrderStatus.OPEN, Event.OPEN),
        (OrderStatus.PARTIALLY_FILLED, Event.OPEN),
        (OrderStatus.UNTRIGGERED, Event.OPEN),
        (OrderStatus.FILLED, Event.FILL_ALL),
        (OrderStatus.CANCELED, Event.CANCELED),
        (OrderStatus.EXPIRED, Event.EXPIRED),
        (OrderStatus.REJECTED, Event.REJECT),
    ],
)
def test_each_status_of_a_venue_is_one_event(status, event):
    assert plain(_event_of_status)(int(status)) == event


# -- an order's life -------------------------------------------------------------------------------
@pytest.mark.parametrize("instrument", [SPOT, PERPETUAL, INVERSE])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL], ids=("buy", "sell"))
def test_an_order_that_is_filled_in_two_trades_leaves_its_position_and_nothing_else(
    desk, instrument, side
):
    desk.working(1, instrument=instrument, side=side)
    desk.trade(4, 11, at=2, price=50_000_00)
    assert S(int(desk.order(1)["state"])) is S.PARTIAL
    desk.trade(6, 12, at=3, price=50_000_10)
    order, row = desk.order(1), desk.position(instrument)
    assert S(int(order["state"])) is S.FILLED
    paid = value(instrument, 50_000_00, 4) + value(instrument, 50_000_10, 6)
    assert (order["value"], row["cost"]) == (paid, paid)
    assert row["quantity"] == 10 * side
    assert (row["open_buy"], row["open_sell"], row["orders"]) == (0, 0, 0)
    assert desk.scope()["open_money"] == 0


def test_an_order_that_waits_for_its_trigger_is_open_and_then_triggered(desk):
    desk.new(1, price=50_100_00, stop_price=50_050_00, order_type=4)
    desk.tell(K.SENT, of=Action.NEW)
    desk.tell(K.STATUS, at=1, status=OrderStatus.UNTRIGGERED)
    assert S(int(desk.order(1)["state"])) is S.OPEN
    desk.tell(K.TRIGGERED, at=2)
    assert S(int(desk.order(1)["state"])) is S.TRIGGERED
    desk.tell(K.OPEN, at=3)
    assert S(int(desk.order(1)["state"])) is S.OPEN


def test_cancel_and_amendment_are_pending_beside_the_state(desk):
    desk.working()
    desk.trade(4, 11, at=2)
    desk.amend(1, quantity=20)
    desk.cancel(1)
    order = desk.order(1)
    assert S(int(order["state"])) is S.PARTIAL
    assert order["pending"] == Pending.CANCEL | Pending.AMEND


def test_a_fill_is_told_with_the_state_that_it_makes(desk):
    desk.working()
    for quantity, trade, state in ((4, 11, S.PARTIAL), (6, 12, S.FILLED)):
        (update,) = desk.trade(quantity, trade, at=trade)
        assert update["kind"] == UpdateKind.FILL
        assert S(int(update["state"])) is state
        assert (update["last_quantity"], update["trade_id"]) == (quantity, trade)


def test_cancel_all_takes_what_was_placed_before_it_and_not_what_comes_after(desk):
    for number in (1, 2, 3):
        desk.working(number, quantity=number)
    desk.intent(4, 0, instrument=-1)
    desk.new(4, quantity=4)
    pending = [bool(desk.order(number)["pending"]) for number in (1, 2, 3, 4)]
    assert pending == [True, True, True, False]


# -- slots and numbers -----------------------------------------------------------------------------
def slot(desk, number):
    return int(desk.order(number)["client_id"]) & SLOT_MASK


def test_an_order_is_found_by_its_client_id_in_its_slot(desk):
    for number in range(1, 20):
        desk.new(number, quantity=number)
    assert [slot(desk, number) for number in range(1, 20)] == list(range(19))


def test_client_ids_rise(desk):
    for number in range(1, 20):
        desk.new(number, quantity=number)
    ids = [int(desk.order(number)["client_id"]) >> SLOT_BITS for number in range(1, 20)]
    assert ids == sorted(set(ids))


def almost_full(desk, left):
    """Let only so many slots be fresh: the first ones, as after a wrap."""
    desk.state.control[C_FRESH] = SLOTS - left


def test_the_slot_that_ended_first_is_used_again_first(desk):
    for number in (1, 2, 3):
        desk.working(number, quantity=number)
    for number in (2, 1):
        desk.tell(K.CANCELED, number, at=9)
    second, first = slot(desk, 2), slot(desk, 1)
    almost_full(desk, 0)
    desk.new(4, quantity=4)
    desk.new(5, quantity=5)
    assert (slot(desk, 4), slot(desk, 5)) == (second, first)
    (denied,) = desk.new(6, quantity=6)
    assert denied["kind"] == UpdateKind.DENIED


def test_the_slot_of_an_order_that_came_back_to_life_is_not_used_again(desk):
    for number in (1, 2):
        desk.new(number, quantity=number)
        desk.tell(K.REJECTED, number, at=1, of=Action.NEW)
    desk.tell(K.OPEN, 1, at=2)
    assert desk.alarmed() == [Alarm.RESURRECTED]
    second = slot(desk, 2)
    almost_full(desk, 0)
    desk.new(3, quantity=3)
    assert slot(desk, 3) == second
    assert S(int(desk.order(1)["state"])) is S.OPEN
    (denied,) = desk.new(4, quantity=4)
    assert denied["kind"] == UpdateKind.DENIED


def test_a_slot_that_is_used_again_knows_nothing_of_its_last_order(desk):
    desk.working(1, flags=0)
    desk.trade(4, 11, at=2)
    desk.tell(K.CANCELED, at=3, filled=4)
    almost_full(desk, 0)
    desk.new(2, quantity=7)
    order = desk.order(2)
    assert (order["filled"], order["traded"], order["fills"], order["value"]) == (0, 0, 0, 0)
    assert order["exchange_ns"] == 0
    assert not order["flags"] & OrderFlag.FREED


def test_what_comes_late_for_a_slots_last_order_is_nobodys(desk):
    desk.working(1)
    client = int(desk.order(1)["client_id"])
    desk.tell(K.CANCELED, at=3)
    almost_full(desk, 0)
    desk.new(2, quantity=7)
    desk.foreign(
        K.FILL, client_id=client, at=2, quantity=10, last_quantity=4, last_price=1, trade_id=5
    )
    assert desk.order(2)["traded"] == 0
    assert desk.order(client, strategy=0)["traded"] == 4
    assert desk.position(strategy=0)["quantity"] == 4


@pytest.mark.parametrize("seed", range(4))
def test_lists_and_numbers_hold_what_is_there_through_random_lives(seed):
    desk, chance = CheckedDesk(), random.Random(seed)
    almost_full(desk, 12)
    numbers, trades = 0, 0
    for _ in range(150):
        orders = Tables(desk.state).orders.values()
        live = [int(each["number"]) for each in orders if not ended(each) and each["strategy"]]
        if len(live) < 8 and chance.random() < 0.5:
            numbers += 1
            side = chance.choice((Side.BUY, Side.SELL))
            price = 50_000_00 - side * chance.randint(1, 50) * 1_000
            instrument = chance.choice((SPOT, PERPETUAL, INVERSE))
            desk.new(numbers, side=side, price=price, quantity=8, instrument=instrument)
        elif chance.random() < 0.1:
            flags = ReportFlag.EXTERNAL
            desk.foreign(K.OPEN, -chance.randint(1, 9), price=49_000_00, quantity=5, flags=flags)
        elif live:
            number, trades = chance.choice(live), trades + 1
            event = chance.randrange(5)
            if event == 0:
                desk.tell(K.CANCELED, number, at=trades)
            elif event == 1:
                desk.tell(K.NOT_FOUND, number, action=Action.NEW, flags=ReportFlag.RECONCILED)
            elif event == 2:
                desk.amend(number, price=48_000_00 + 10 * chance.randint(0, 100))
                desk.tell(K.AMENDED, number, trades, price=48_000_00)
            else:
                desk.trade(chance.randint(1, 8), trades, number, at=trades)
    assert numbers > 12
