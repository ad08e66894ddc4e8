"""The order state changes of FIX 4.4, appendix D, as a gateway would report them.

D1 to D17 by number, then what the appendix lists behind them. Each is played in every order in
which its events can come, and with each event told once and twice.
"""

import pytest

from engine.common import TimeInForce
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind
from oms.types import Alarm, OrderState, UpdateKind
from tests.oms_invariants import CheckedDesk, in_orders, play

K, S = ReportKind, OrderState


@pytest.fixture(params=(False, True), ids=("once", "twice"))
def twice(request):
    return request.param


@pytest.fixture
def desk():
    return CheckedDesk()


def stands(desk, state, traded, quantity=10):
    """Assert how order 1 stands, that nothing is pending, and what the position is."""
    order = desk.order(1)
    assert S(int(order["state"])) is state
    assert (order["traded"], order["filled"], order["quantity"]) == (traded, traded, quantity)
    assert order["pending"] == 0
    assert order["worst_quantity"] == quantity
    assert desk.position()["quantity"] == desk.position(strategy=0)["quantity"] == traded


@in_orders("SOFG")
def test_d1_an_order_is_filled(desk, order, twice):
    desk.new(1)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "O": lambda: desk.tell(K.OPEN, at=1),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "G": lambda: desk.trade(6, 12, at=3, filled=10),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    assert desk.order(1)["fills"] == 2
    assert not desk.alarms


@in_orders("OFE")
def test_d2_an_order_filled_in_part_is_done_for_the_day(desk, order, twice):
    desk.new(1)
    scene = {
        "O": lambda: desk.tell(K.OPEN, at=1),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "E": lambda: desk.tell(K.EXPIRED, at=3, reason=Reason.TIME, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.EXPIRED, 4)


@in_orders("PC")
def test_d3_an_order_without_fills_is_canceled(desk, order, twice):
    desk.working().cancel(1)
    scene = {
        "P": lambda: desk.tell(K.CANCEL_ACCEPTED, of=Action.CANCEL),
        "C": lambda: desk.tell(K.CANCELED, at=3, reason=Reason.REQUESTED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 0)
    assert not desk.alarms


@in_orders("PFGC")
def test_d4_an_order_is_canceled_with_executions_meanwhile(desk, order, twice):
    desk.working().cancel(1)
    scene = {
        "P": lambda: desk.tell(K.CANCEL_ACCEPTED, of=Action.CANCEL),
        "F": lambda: desk.trade(2, 11, at=2, filled=2),
        "G": lambda: desk.trade(3, 12, at=3, filled=5),
        "C": lambda: desk.tell(K.CANCELED, at=4, filled=5),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 5)


@in_orders("FGX")
def test_d5_an_order_is_filled_before_its_cancel_is_accepted(desk, order, twice):
    desk.working().cancel(1)
    scene = {
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "G": lambda: desk.trade(6, 12, at=3, filled=10),
        "X": lambda: desk.tell(K.CANCEL_REJECTED, of=Action.CANCEL, reason=Reason.ALREADY_FILLED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    assert desk.of_kind(UpdateKind.CANCEL_REJECTED)
    assert not desk.alarms


@in_orders("AMF")
def test_d6_an_order_without_fills_is_replaced_by_a_larger_one(desk, order, twice):
    desk.working().amend(1, quantity=20)
    assert desk.order(1)["reserved_quantity"] == 20
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, of=Action.AMEND),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=20),
        "F": lambda: desk.trade(20, 11, at=4, quantity=20, filled=20),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 20, 20)
    assert not desk.alarms


@in_orders("FMG")
def test_d7_an_order_filled_in_part_is_replaced_by_a_larger_one(desk, order, twice):
    desk.working().amend(1, quantity=20)
    scene = {
        "F": lambda: desk.trade(4, 11, at=2, quantity=10, filled=4),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=20, filled=4),
        "G": lambda: desk.trade(16, 12, at=4, quantity=20, filled=20),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 20, 20)
    assert not desk.alarms


@in_orders("FM")
def test_d8_a_filled_order_that_is_replaced_by_a_larger_one_is_open_again(desk, order, twice):
    desk.working().amend(1, quantity=20)
    scene = {
        "F": lambda: desk.trade(10, 11, at=2, quantity=10, filled=10),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=20, filled=10),
    }
    play(desk, scene, order, twice)
    stands(desk, S.PARTIAL, 10, 20)
    assert desk.position()["open_buy"] == 10


@in_orders("FMG")
def test_d8_the_larger_order_is_filled_too(desk, order, twice):
    desk.working().amend(1, quantity=20)
    scene = {
        "F": lambda: desk.trade(10, 11, at=2, quantity=10, filled=10),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=20, filled=10),
        "G": lambda: desk.trade(10, 12, at=4, quantity=20, filled=20),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 20, 20)


@in_orders("FR")
def test_d9_a_replacement_is_rejected_because_the_order_is_filled(desk, order, twice):
    desk.working().amend(1, quantity=20)
    scene = {
        "F": lambda: desk.trade(10, 11, at=2, filled=10),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.ALREADY_FILLED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    assert desk.of_kind(UpdateKind.AMEND_REJECTED)


@in_orders("FMG")
def test_d10_an_order_is_replaced_by_a_smaller_one_above_its_fills(desk, order, twice):
    desk.working().amend(1, quantity=6)
    assert desk.order(1)["reserved_quantity"] == 10
    scene = {
        "F": lambda: desk.trade(4, 11, at=2, quantity=10, filled=4),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=6, filled=4),
        "G": lambda: desk.trade(2, 12, at=4, quantity=6, filled=6),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 6, 6)


@in_orders("FM")
def test_d11_an_order_is_replaced_by_one_of_what_is_filled(desk, order, twice):
    desk.working().amend(1, quantity=6)
    scene = {
        "F": lambda: desk.trade(6, 11, at=2, quantity=10, filled=6),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=6, filled=6),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 6, 6)


@pytest.mark.parametrize("said", [5, 7], ids=("the smaller total", "the filled quantity"))
@in_orders("FM")
def test_d12_an_order_is_replaced_by_one_below_what_is_filled(desk, order, twice, said):
    desk.working().amend(1, quantity=5)
    scene = {
        "F": lambda: desk.trade(7, 11, at=2, quantity=10, filled=7),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=said, filled=7),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 7, 7)
    assert not desk.alarms


@in_orders("AM")
def test_d13_two_replacements_after_each_other_are_accepted(desk, order, twice):
    desk.working()
    for at, quantity in ((2, 12), (3, 15)):
        desk.amend(1, quantity=quantity)
        scene = {
            "A": lambda: desk.tell(K.ACCEPTED, of=Action.AMEND),
            "M": lambda at=at, quantity=quantity: desk.tell(
                K.AMENDED, at=at, of=Action.AMEND, quantity=quantity
            ),
        }
        play(desk, scene, order, twice)
        stands(desk, S.OPEN, 0, quantity)


def test_d14_a_replacement_after_one_that_was_rejected_at_once_is_accepted(desk, twice):
    desk.working().amend(1, quantity=12)
    scene = {
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.QUANTITY),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=15),
    }
    play(desk, scene, "R", twice)
    stands(desk, S.OPEN, 0)
    desk.amend(1, quantity=15)
    play(desk, scene, "M", twice)
    stands(desk, S.OPEN, 0, 15)


def test_d15_a_replacement_after_one_that_was_accepted_and_failed_is_accepted(desk, twice):
    desk.working().amend(1, quantity=12)
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, of=Action.AMEND),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.BALANCE),
        "M": lambda: desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=15),
    }
    play(desk, scene, "AR", twice)
    stands(desk, S.OPEN, 0)
    desk.amend(1, quantity=15)
    play(desk, scene, "AM", twice)
    stands(desk, S.OPEN, 0, 15)


@pytest.mark.parametrize("named", [True, False], ids=("named", "not named"))
@in_orders("MN")
def test_d16_of_two_replacements_at_once_the_second_stays(desk, order, twice, named):
    desk.working().amend(1, quantity=12, price=49_000_00)
    desk.amend(1, quantity=15, price=49_500_00)
    assert desk.order(1)["reserved_quantity"] == 15
    first, second = desk.requests_of(1, Action.AMEND) if named else (0, 0)
    scene = {
        "M": lambda: desk.tell(K.AMENDED, at=2, quantity=12, price=49_000_00, request_id=first),
        "N": lambda: desk.tell(K.AMENDED, at=3, quantity=15, price=49_500_00, request_id=second),
    }
    play(desk, scene, order, twice)
    stands(desk, S.OPEN, 0, 15)
    assert desk.order(1)["price"] == 49_500_00


@in_orders("MR")
def test_d17_the_second_of_two_replacements_is_rejected_while_one_is_pending(desk, order, twice):
    desk.working().amend(1, quantity=12)
    desk.amend(1, quantity=15)
    scene = {
        "M": lambda: desk.tell(K.AMENDED, at=2, of=(Action.AMEND, 0), quantity=12),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=(Action.AMEND, 1), reason=Reason.BUSY),
    }
    play(desk, scene, order, twice)
    stands(desk, S.OPEN, 0, 12)


# -- what the appendix lists besides ---------------------------------------------------------------
@in_orders("OFC")
def test_an_unsolicited_cancel_ends_the_order(desk, order, twice):
    desk.new(1)
    scene = {
        "O": lambda: desk.tell(K.OPEN, at=1),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "C": lambda: desk.tell(K.CANCELED, at=3, reason=Reason.SYSTEM, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 4)


@in_orders("SR")
def test_a_rejected_order_takes_nothing(desk, order, twice):
    desk.new(1)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "R": lambda: desk.tell(K.REJECTED, at=1, of=Action.NEW, reason=Reason.BALANCE),
    }
    play(desk, scene, order, twice)
    stands(desk, S.REJECTED, 0)
    assert desk.order(1)["reason"] == Reason.BALANCE
    assert desk.scope()["rejects"] == 1


def test_a_status_request_of_an_open_order_changes_nothing(desk, twice):
    desk.working()
    desk.trade(4, 11, at=2)
    before = desk.order(1)
    scene = {
        "Q": lambda: desk.tell(
            K.STATUS,
            at=2,
            status=OrderStatus.PARTIALLY_FILLED,
            flags=ReportFlag.RECONCILED,
            quantity=10,
            filled=4,
        )
    }
    play(desk, scene, "Q", twice)
    names = ("state", "pending", "filled", "traded", "quantity", "price")
    assert all(desk.order(1)[name] == before[name] for name in names)


@in_orders("AFE")
def test_what_an_ioc_order_cannot_fill_expires(desk, order, twice):
    desk.new(1, time_in_force=TimeInForce.IOC)
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "E": lambda: desk.tell(K.EXPIRED, at=2, reason=Reason.IMMEDIATE, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.EXPIRED, 4)


@in_orders("AE")
def test_a_fok_order_that_is_killed_takes_nothing(desk, order, twice):
    desk.new(1, time_in_force=TimeInForce.FOK)
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "E": lambda: desk.tell(K.EXPIRED, at=1, reason=Reason.FILL_OR_KILL),
    }
    play(desk, scene, order, twice)
    stands(desk, S.EXPIRED, 0)
    assert not desk.alarms


@pytest.mark.parametrize("kind", [K.CANCELED, K.EXPIRED])
@in_orders("FE")
def test_an_order_that_is_filled_as_a_whole_is_filled_however_it_was_closed(desk, order, kind):
    desk.working()
    scene = {
        "F": lambda: desk.trade(10, 11, at=2, filled=10),
        "E": lambda: desk.tell(kind, at=2, filled=10),
    }
    play(desk, scene, order)
    stands(desk, S.FILLED, 10)
    assert Alarm.OVERFILL not in desk.alarmed()
