"""The races of an order's life, as far as the OMS sees them: what reports make of an order.

The names begin with the number of the race in the order model's catalogue. Each is played in the
orders in which its reports can come, with each told once and twice; all invariants
(``tests.oms_invariants``) are checked after every one of them.

Not here, because the gateway keeps them from the OMS (``tests/test_gateway_races.py`` and the
tests of each venue's orders): R15's two halves are one amendment here; R16 (the venue's own
ids), R23 (stream keys), R24 (silent streams), R35 (clocks) and R36 (the venue's limits).
"""

import random

import pytest

from engine.common import Side, TimeInForce
from feeds.types import Status
from gateways.types import Action, OrderStatus, Reason, ReportFlag, ReportKind
from oms.state import A_SYNC, C_FOREIGN, FOREIGN, I_STATUS, INSTRUMENT_WORDS
from oms.types import (
    Alarm,
    CommandKind,
    Deny,
    OrderFlag,
    OrderState,
    ScopeKind,
    UpdateKind,
)
from tests.oms_invariants import (
    PERPETUAL,
    SPOT,
    UNIT,
    CheckedDesk,
    arrangements,
    check,
    in_orders,
    play,
    value,
)

K, S = ReportKind, OrderState
ASKED = ReportFlag.RECONCILED


@pytest.fixture(params=(False, True), ids=("once", "twice"))
def twice(request):
    return request.param


@pytest.fixture
def desk():
    return CheckedDesk()


def some_orders(letters, count, seed):
    """Return a choice of a long scene's orders, always the same one."""
    every = arrangements(letters)
    return pytest.mark.parametrize("order", random.Random(seed).sample(every, count))


def stands(desk, state, traded, filled=None, quantity=10):
    order = desk.order(1)
    assert S(int(order["state"])) is state
    assert order["traded"] == traded
    assert order["filled"] == (traded if filled is None else filled)
    assert order["quantity"] == quantity
    position = traded * int(order["side"])
    assert desk.position()["quantity"] == desk.position(strategy=0)["quantity"] == position


def nothing_left(desk):
    """Assert that nothing is open anywhere, and no exposure kept."""
    firm = desk.scope()
    assert (firm["open_orders"], firm["open_money"], firm["unknowns"]) == (0, 0, 0)


# -- before and after the acknowledgement ----------------------------------------------------------
@in_orders("SAOF")
def test_r01_a_fill_before_the_acknowledgement_counts_at_once(desk, order, twice):
    desk.new(1)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "O": lambda: desk.tell(K.OPEN, at=1),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.PARTIAL, 4)
    assert desk.order(1)["reserved_quantity"] == 6
    assert not desk.alarms


@in_orders("SAOF")
def test_r02_a_whole_fill_before_the_acknowledgement_is_the_end(desk, order, twice):
    desk.new(1)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "O": lambda: desk.tell(K.OPEN, at=1),
        "F": lambda: desk.trade(10, 11, at=2, filled=10),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    assert not desk.alarms
    nothing_left(desk)


@pytest.mark.parametrize(
    ("kind", "time", "reason"),
    [
        (K.EXPIRED, TimeInForce.IOC, Reason.IMMEDIATE),
        (K.EXPIRED, TimeInForce.FOK, Reason.FILL_OR_KILL),
        (K.CANCELED, TimeInForce.GTC, Reason.POST_ONLY),
    ],
)
@in_orders("SAE")
def test_r03_an_end_before_the_acknowledgement_is_the_end(desk, order, twice, kind, time, reason):
    desk.new(1, time_in_force=time)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "E": lambda: desk.tell(kind, at=1, reason=reason),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED if kind == K.CANCELED else S.EXPIRED, 0)
    assert not desk.alarms
    nothing_left(desk)


@pytest.mark.parametrize("end", ["fill", "cancel"])
@in_orders("AO")
def test_r04_an_acknowledgement_after_the_end_changes_nothing(desk, order, twice, end):
    desk.new(1)
    desk.tell(K.SENT, of=Action.NEW)
    if end == "fill":
        desk.trade(10, 11, at=2, filled=10)
    else:
        desk.tell(K.CANCELED, at=2)
    before = desk.order(1)
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "O": lambda: desk.tell(K.OPEN, at=1, quantity=10),
    }
    play(desk, scene, order, twice)
    assert desk.order(1)["state"] == before["state"]
    assert not desk.alarms
    nothing_left(desk)


def test_an_order_that_is_said_to_be_open_after_its_end_raises_an_alarm(desk):
    desk.working()
    desk.tell(K.CANCELED, at=2)
    desk.tell(K.STATUS, at=3, status=OrderStatus.OPEN, flags=ASKED)
    stands(desk, S.CANCELED, 0)
    assert desk.alarmed() == [Alarm.RESURRECTED]


# -- cancellations ---------------------------------------------------------------------------------
def test_r05_a_cancel_rejected_as_filled_keeps_the_exposure_until_the_fill(desk, twice):
    desk.working().cancel(1)
    scene = {
        "X": lambda: desk.tell(K.CANCEL_REJECTED, of=Action.CANCEL, reason=Reason.ALREADY_FILLED),
        "F": lambda: desk.trade(10, 11, at=2, filled=10),
    }
    play(desk, scene, "X", twice)
    assert desk.order(1)["pending"] == 0
    assert desk.order(1)["reserved_quantity"] == 10
    play(desk, scene, "F", twice)
    stands(desk, S.FILLED, 10)
    assert not desk.alarms


@in_orders("PFC")
def test_r06_a_cancel_and_a_partial_fill_end_in_both(desk, order, twice):
    desk.working().cancel(1)
    scene = {
        "P": lambda: desk.tell(K.CANCEL_ACCEPTED, of=Action.CANCEL),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "C": lambda: desk.tell(K.CANCELED, at=3, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 4)
    nothing_left(desk)


def test_r07_a_fill_after_the_cancel_is_booked_and_leaves_the_order_canceled(desk, twice):
    desk.working()
    scene = {
        "C": lambda: desk.tell(K.CANCELED, at=3),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
    }
    play(desk, scene, "CF", twice)
    stands(desk, S.CANCELED, 4)
    assert desk.alarmed() == [Alarm.FILL_AFTER_END]
    nothing_left(desk)


@pytest.mark.parametrize("end", [K.CANCELED, K.EXPIRED])
@in_orders("FG")
def test_r07_fills_of_all_of_it_after_the_end_make_it_filled(desk, order, twice, end):
    desk.working()
    desk.tell(end, at=4)
    scene = {
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "G": lambda: desk.trade(6, 12, at=3, filled=10),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    nothing_left(desk)


def test_r07_an_end_that_says_more_than_the_trades_keeps_what_is_missing(desk):
    desk.working()
    desk.tell(K.CANCELED, at=3, filled=4)
    stands(desk, S.CANCELED, 0, 4)
    assert desk.position()["open_buy"] == 4
    desk.trade(4, 11, at=2, filled=4)
    stands(desk, S.CANCELED, 4)
    nothing_left(desk)


def test_r07_the_slot_of_an_order_of_which_fills_are_still_missing_is_not_free(desk):
    desk.working()
    desk.tell(K.CANCELED, at=3)
    assert desk.order(1)["flags"] & OrderFlag.FREED
    desk.tell(K.STATUS, at=4, status=OrderStatus.CANCELED, filled=4, flags=ASKED)
    assert not desk.order(1)["flags"] & OrderFlag.FREED
    desk.trade(4, 11, at=2, filled=4)
    assert desk.order(1)["flags"] & OrderFlag.FREED


@pytest.mark.parametrize("end", ["event", "query"])
def test_r08_a_cancel_whose_answer_is_lost_stays_pending_until_the_end(desk, twice, end):
    desk.working().cancel(1)
    scene = {
        "U": lambda: desk.tell(K.UNKNOWN, of=Action.CANCEL, reason=Reason.TIMEOUT),
        "event": lambda: desk.tell(K.CANCELED, at=3),
        "query": lambda: desk.tell(
            K.STATUS, at=3, status=OrderStatus.CANCELED, flags=ASKED, quantity=10
        ),
    }
    play(desk, scene, "U", twice)
    assert S(int(desk.order(1)["state"])) is S.OPEN
    assert desk.order(1)["pending"]
    play(desk, scene, [end], twice)
    stands(desk, S.CANCELED, 0)
    nothing_left(desk)


def test_r08_a_cancel_that_never_arrived_may_be_asked_for_again(desk, twice):
    desk.working().cancel(1)
    scene = {
        "U": lambda: desk.tell(K.UNKNOWN, of=Action.CANCEL, reason=Reason.TIMEOUT),
        "X": lambda: desk.tell(K.CANCEL_REJECTED, of=Action.CANCEL, reason=Reason.TIMEOUT),
    }
    play(desk, scene, "UX", twice)
    stands(desk, S.OPEN, 0)
    assert desk.order(1)["pending"] == 0
    desk.cancel(1)
    assert len(desk.requests_of(1, Action.CANCEL)) == 2


def test_r09_an_end_that_comes_again_is_told_once(desk):
    desk.working()
    for at in (3, 3, 4):
        desk.tell(K.CANCELED, at=at)
    ends = [each for each in desk.of_kind(UpdateKind.STATE) if each["state"] == S.CANCELED]
    assert len(ends) == 1
    stands(desk, S.CANCELED, 0)


@pytest.mark.parametrize("end", ["canceled", "never there", "filled"])
def test_r10_an_order_of_unknown_fate_can_be_canceled(desk, twice, end):
    desk.new(1)
    desk.tell(K.SENT, of=Action.NEW)
    desk.tell(K.UNKNOWN, of=Action.NEW, reason=Reason.TIMEOUT)
    desk.cancel(1)
    assert len(desk.requests_of(1, Action.CANCEL)) == 1
    assert len(desk.requests_of(1, Action.NEW)) == 1
    assert desk.scope()["unknowns"] == 1
    scene = {
        "canceled": lambda: desk.tell(K.CANCELED, at=3),
        "never there": lambda: desk.tell(K.NOT_FOUND, of=Action.NEW, flags=ASKED),
        "filled": lambda: desk.trade(10, 11, at=3, filled=10),
    }
    play(desk, scene, [end], twice)
    states = {"canceled": S.CANCELED, "never there": S.REJECTED, "filled": S.FILLED}
    stands(desk, states[end], 10 if end == "filled" else 0)
    assert desk.order(1)["pending"] == 0
    nothing_left(desk)


# -- amendments ------------------------------------------------------------------------------------
@in_orders("FC")
def test_r11_an_amendment_to_what_is_filled_or_less_cancels_at_one_venue(desk, order, twice):
    desk.working().amend(1, quantity=5)
    scene = {
        "F": lambda: desk.trade(6, 11, at=2, quantity=10, filled=6),
        "C": lambda: desk.tell(K.CANCELED, at=3, reason=Reason.AMENDED_AWAY, filled=6),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 6)
    nothing_left(desk)


@in_orders("FQ")
def test_r11_an_amendment_to_what_is_filled_or_less_fills_at_another(desk, order, twice):
    desk.working().amend(1, quantity=5)
    scene = {
        "F": lambda: desk.trade(6, 11, at=2, quantity=10, filled=6),
        "Q": lambda: desk.tell(
            K.STATUS, at=3, status=OrderStatus.FILLED, quantity=5, filled=6, flags=ASKED
        ),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 6, quantity=6)
    assert Alarm.OVERFILL not in desk.alarmed()
    nothing_left(desk)


@in_orders("FR")
def test_r11_an_amendment_to_what_is_filled_or_less_is_rejected_at_a_third(desk, order, twice):
    desk.working().amend(1, quantity=5)
    scene = {
        "F": lambda: desk.trade(6, 11, at=2, quantity=10, filled=6),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.QUANTITY),
    }
    play(desk, scene, order, twice)
    stands(desk, S.PARTIAL, 6)
    assert desk.order(1)["reserved_quantity"] == 4


def test_r12_an_amendment_that_fails_after_it_was_accepted_leaves_the_order_as_it_was(desk, twice):
    desk.working().amend(1, quantity=20, price=51_000_00)
    scene = {
        "A": lambda: desk.tell(K.ACCEPTED, of=Action.AMEND),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.OTHER),
    }
    play(desk, scene, "A", twice)
    assert desk.order(1)["reserved_quantity"] == 20
    play(desk, scene, "R", twice)
    stands(desk, S.OPEN, 0)
    assert (desk.order(1)["price"], desk.order(1)["worst_price"]) == (50_000_00, 50_000_00)


@in_orders("MC")
def test_r13_an_amendment_and_a_cancel_that_cross_end_in_the_cancel(desk, order, twice):
    desk.working().amend(1, quantity=20)
    desk.cancel(1)
    scene = {
        "M": lambda: desk.tell(K.AMENDED, at=2, of=Action.AMEND, quantity=20),
        "C": lambda: desk.tell(K.CANCELED, at=3),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 0, quantity=20)
    assert not desk.alarms
    nothing_left(desk)


@in_orders("CR")
def test_r13_an_amendment_that_the_cancel_was_quicker_than_is_rejected(desk, order, twice):
    desk.working().amend(1, quantity=20)
    desk.cancel(1)
    scene = {
        "C": lambda: desk.tell(K.CANCELED, at=3),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.ALREADY_CLOSED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 0)
    nothing_left(desk)


@in_orders("MNF")
def test_r14_of_two_amendments_in_flight_the_second_stays_in_any_order(desk, order, twice):
    desk.working().amend(1, quantity=20)
    desk.amend(1, quantity=8)
    assert desk.order(1)["reserved_quantity"] == 20
    scene = {
        "M": lambda: desk.tell(K.AMENDED, at=2, of=(Action.AMEND, 0), quantity=20),
        "N": lambda: desk.tell(K.AMENDED, at=3, of=(Action.AMEND, 1), quantity=8),
        "F": lambda: desk.trade(4, 11, at=4, quantity=8, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.PARTIAL, 4, quantity=8)
    assert desk.order(1)["reserved_quantity"] == 4
    assert not desk.alarms


def test_r14_a_late_word_of_the_terms_before_does_not_bring_them_back(desk):
    desk.working().amend(1, quantity=8, price=49_000_00)
    desk.tell(K.AMENDED, at=3, of=Action.AMEND, quantity=8, price=49_000_00)
    desk.tell(K.OPEN, at=1, quantity=10, price=50_000_00)
    desk.trade(4, 11, at=2, quantity=10, filled=4)
    assert desk.order(1)["price"] == 49_000_00
    stands(desk, S.PARTIAL, 4, quantity=8)


@in_orders("CR")
def test_r15_a_replacement_whose_new_half_fails_ends_the_order(desk, order, twice):
    desk.working().amend(1, price=49_000_00)
    scene = {
        "C": lambda: desk.tell(K.CANCELED, at=3),
        "R": lambda: desk.tell(K.AMEND_REJECTED, of=Action.AMEND, reason=Reason.BALANCE),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 0)
    nothing_left(desk)


def test_an_amendment_that_was_not_sent_changes_nothing(desk, twice):
    desk.working().amend(1, quantity=20)
    scene = {"N": lambda: desk.tell(K.NOT_SENT, of=Action.AMEND, reason=Reason.LOCAL_LIMIT)}
    play(desk, scene, "N", twice)
    stands(desk, S.OPEN, 0)
    assert desk.order(1)["reserved_quantity"] == 10


# -- trades ----------------------------------------------------------------------------------------
def test_r17_a_trade_that_two_channels_tell_is_booked_once(desk):
    desk.working()
    desk.trade(4, 11, at=2)
    desk.trade(4, 11, at=2, filled=4, fee=100, decimals=8, asset=b"USDT")
    desk.trade(4, 11, at=5, filled=4, flags=ASKED)
    stands(desk, S.PARTIAL, 4)
    assert len(desk.fills) == 1
    assert desk.scope()["fills"] == 1


def test_r17_the_two_sides_of_a_trade_with_ourselves_are_two_trades(desk):
    desk.working()
    desk.new(2, side=Side.SELL, price=60_000_00)
    desk.trade(4, 11, at=2, side=Side.BUY)
    desk.trade(4, 11, number=2, at=2, side=Side.SELL)
    assert desk.position()["quantity"] == 0
    assert desk.position()["fills"] == 2


def test_r18_a_jump_of_the_filled_quantity_keeps_its_exposure_until_the_trade(desk, twice):
    desk.working()
    scene = {
        "Q": lambda: desk.tell(
            K.STATUS, at=3, status=OrderStatus.PARTIALLY_FILLED, filled=4, flags=ASKED
        ),
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
    }
    play(desk, scene, "Q", twice)
    stands(desk, S.PARTIAL, 0, 4)
    assert desk.position()["open_buy"] == 10
    play(desk, scene, "F", twice)
    stands(desk, S.PARTIAL, 4)
    assert desk.position()["open_buy"] == 6


INFERRED = ReportFlag.INFERRED | ReportFlag.RECONCILED


@pytest.mark.parametrize("price", [50_000_00, 50_500_00, 49_000_10])
@pytest.mark.parametrize("parts", [(4,), (1, 3), (3, 1), (4, 6), (6,)])
def test_r18_a_made_up_fill_is_replaced_by_the_true_ones(desk, twice, price, parts):
    desk.working()
    scene = {"I": lambda: desk.trade(4, 900, at=3, filled=4, flags=INFERRED)}
    for number, quantity in enumerate(parts):
        scene[number] = lambda number=number, quantity=quantity: desk.trade(
            quantity, 11 + number, at=2, price=price
        )
    play(desk, scene, ["I", *range(len(parts))], twice)
    traded = sum(parts)
    stands(desk, S.FILLED if traded == 10 else S.PARTIAL, traded)
    order, position = desk.order(1), desk.position()
    assert order["inferred"] == 0
    assert order["fills"] == position["fills"] == desk.scope()["fills"] == len(parts)
    assert (position["bought"], position["sold"]) == (traded, 0)
    assert order["value"] == value(PERPETUAL, price, traded)
    flow = -value(PERPETUAL, price, traded) + value(PERPETUAL, position["mark_price"], traded)
    assert position["realized"] + position["unrealized"] == flow


def test_r18_two_made_up_fills_at_different_prices_leave_nothing_behind(desk):
    desk.working()
    desk.trade(3, 900, at=3, price=50_000_00, filled=3, flags=INFERRED)
    desk.trade(4, 901, at=4, price=50_100_00, filled=7, flags=INFERRED)
    desk.trade(7, 11, at=2, price=50_050_00, filled=7)
    stands(desk, S.PARTIAL, 7)
    order, position = desk.order(1), desk.position()
    assert order["inferred"] == 0
    assert order["value"] == value(PERPETUAL, 50_050_00, 7)
    assert order["fills"] == position["fills"] == 1


def test_r18_the_fee_of_a_trade_that_was_made_up_before_is_paid_once(desk):
    desk.working(instrument=SPOT)
    before = desk.held_balance(b"USDT")["changed"]
    desk.trade(4, 900, at=3, filled=4, flags=INFERRED)
    desk.trade(4, 11, at=2, fee=500, decimals=8, asset=b"USDT")
    cost = value(SPOT, 50_000_00, 4)
    assert desk.held_balance(b"USDT")["changed"] == before - cost - 500
    assert desk.position(SPOT)["fees"] == 500


@in_orders("FGH")
def test_r19_more_than_was_ordered_is_booked_and_raises_an_alarm(desk, order, twice):
    desk.working()
    scene = {
        "F": lambda: desk.trade(6, 11, at=2),
        "G": lambda: desk.trade(4, 12, at=3),
        "H": lambda: desk.trade(2, 13, at=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 12)
    assert desk.alarmed() == [Alarm.OVERFILL]
    nothing_left(desk)


def test_r19_a_filled_quantity_above_what_was_ordered_raises_an_alarm(desk, twice):
    desk.working()
    desk.trade(10, 11, at=2)
    scene = {
        "Q": lambda: desk.tell(
            K.STATUS, at=3, status=OrderStatus.FILLED, quantity=10, filled=12, flags=ASKED
        )
    }
    play(desk, scene, "Q", twice)
    stands(desk, S.FILLED, 10, 12)
    assert desk.alarmed() == [Alarm.OVERFILL]
    assert desk.position()["open_buy"] == 2


# -- orders of unknown fate ------------------------------------------------------------------------
@pytest.mark.parametrize("event", ["open", "part", "all", "canceled", "expired", "accepted"])
@in_orders("UE")
def test_r20_an_event_settles_what_a_timeout_left_open(desk, order, twice, event):
    desk.new(1)
    desk.tell(K.SENT, of=Action.NEW)
    events = {
        "open": (lambda: desk.tell(K.OPEN, at=1), S.OPEN, 0),
        "part": (lambda: desk.trade(4, 11, at=1), S.PARTIAL, 4),
        "all": (lambda: desk.trade(10, 11, at=1), S.FILLED, 10),
        "canceled": (lambda: desk.tell(K.CANCELED, at=1), S.CANCELED, 0),
        "expired": (lambda: desk.tell(K.EXPIRED, at=1), S.EXPIRED, 0),
        "accepted": (lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW), S.ACKED, 0),
    }
    happens, state, traded = events[event]
    scene = {
        "U": lambda: desk.tell(K.UNKNOWN, of=Action.NEW, reason=Reason.TIMEOUT),
        "E": happens,
    }
    play(desk, scene, order, twice)
    stands(desk, state, traded)
    assert desk.scope()["unknowns"] == 0
    assert len(desk.requests_of(1, Action.NEW)) == 1
    assert not desk.alarms


def test_r20_an_order_of_unknown_fate_keeps_its_exposure(desk, twice):
    desk.new(1)
    scene = {"U": lambda: desk.tell(K.UNKNOWN, of=Action.NEW, reason=Reason.TIMEOUT)}
    play(desk, scene, "U", twice)
    stands(desk, S.UNKNOWN, 0)
    assert desk.position()["open_buy"] == 10
    assert desk.scope()["unknowns"] == 1


@pytest.mark.parametrize("event", ["open", "part", "all", "status"])
def test_r21_an_order_that_was_not_found_lives_if_it_appears(desk, twice, event):
    desk.new(1)
    desk.tell(K.SENT, of=Action.NEW)
    desk.tell(K.UNKNOWN, of=Action.NEW, reason=Reason.TIMEOUT)
    desk.tell(K.NOT_FOUND, of=Action.NEW, flags=ASKED, reason=Reason.UNKNOWN_ORDER)
    stands(desk, S.REJECTED, 0)
    nothing_left(desk)
    scene = {
        "open": lambda: desk.tell(K.OPEN, at=9),
        "part": lambda: desk.trade(4, 11, at=9),
        "all": lambda: desk.trade(10, 11, at=9),
        "status": lambda: desk.tell(K.STATUS, at=9, status=OrderStatus.OPEN, flags=ASKED),
    }
    play(desk, scene, [event], twice)
    traded = {"part": 4, "all": 10}.get(event, 0)
    stands(desk, {"part": S.PARTIAL, "all": S.FILLED}.get(event, S.OPEN), traded)
    assert desk.alarmed() == [Alarm.RESURRECTED]
    assert desk.position()["open_buy"] == 10 - traded


def test_r22_the_refusal_of_a_second_request_under_its_number_is_not_of_the_order(desk):
    desk.working()
    request = int(desk.order(1)["request_id"])
    desk.tell(K.REJECTED, action=Action.NEW, request_id=request + 1, reason=Reason.DUPLICATE_ID)
    stands(desk, S.OPEN, 0)
    assert not desk.alarms


def test_r22_a_duplicate_refusal_is_proof_that_the_order_exists(desk):
    """The gateway tells it as UNKNOWN, and asks."""
    desk.new(1)
    desk.tell(K.UNKNOWN, of=Action.NEW, reason=Reason.DUPLICATE_ID)
    stands(desk, S.UNKNOWN, 0)
    desk.tell(K.STATUS, at=1, status=OrderStatus.OPEN, flags=ASKED)
    stands(desk, S.OPEN, 0)


@pytest.mark.parametrize("kind", [K.NOT_SENT, K.REJECTED])
@pytest.mark.parametrize("reason", [Reason.EXPIRED_REQUEST, Reason.LOCAL_LIMIT])
def test_an_order_that_was_not_sent_is_gone_without_a_trace(desk, twice, kind, reason):
    desk.new(1)
    scene = {"N": lambda: desk.tell(kind, of=Action.NEW, reason=reason)}
    play(desk, scene, "N", twice)
    stands(desk, S.REJECTED, 0)
    assert desk.scope()["rejects"] == int(kind == K.REJECTED)
    nothing_left(desk)


@in_orders("RF")
def test_an_order_that_was_rejected_and_filled_is_booked(desk, order, twice):
    desk.new(1)
    scene = {
        "R": lambda: desk.tell(K.REJECTED, at=1, of=Action.NEW, reason=Reason.OTHER),
        "F": lambda: desk.trade(10, 11, at=2, filled=10),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    assert (Alarm.RESURRECTED in desk.alarmed()) == (order == "RF")
    nothing_left(desk)


# -- reconnection, reconciliation, restart ---------------------------------------------------------
@in_orders("FQ")
def test_r25_a_snapshot_that_is_older_than_an_event_takes_nothing_back(desk, order, twice):
    desk.working()
    scene = {
        "F": lambda: desk.trade(4, 11, at=3, filled=4),
        "Q": lambda: desk.tell(K.STATUS, at=2, status=OrderStatus.OPEN, quantity=10, flags=ASKED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.PARTIAL, 4)


@in_orders("CQ")
def test_r25_a_snapshot_that_is_older_than_the_end_does_not_open_the_order_again(desk, order):
    desk.working()
    scene = {
        "C": lambda: desk.tell(K.CANCELED, at=3),
        "Q": lambda: desk.tell(K.STATUS, at=2, status=OrderStatus.OPEN, flags=ASKED),
    }
    play(desk, scene, order)
    stands(desk, S.CANCELED, 0)
    assert not desk.alarms


@pytest.mark.parametrize("seed", range(8))
def test_r26_a_restart_at_any_time_makes_the_same_state(seed):
    desk, chance = CheckedDesk(), random.Random(seed)
    for number in range(1, 13):
        instrument = chance.choice((SPOT, PERPETUAL))
        side = chance.choice((Side.BUY, Side.SELL))
        price = 49_000_00 if side > 0 else 51_000_00
        desk.new(number, side=side, price=price, quantity=20, instrument=instrument)
    live = list(range(1, 13))
    for step in range(60):
        number, at = chance.choice(live), step
        event = chance.randrange(9)
        if event == 0:
            desk.tell(K.OPEN, number, at)
        elif event <= 3:
            desk.trade(chance.randint(1, 6), chance.randint(1, 40), number, at)
        elif event == 4:
            desk.cancel(number)
        elif event == 5:
            desk.amend(number, quantity=chance.randint(10, 40))
        elif event == 6:
            desk.tell(chance.choice((K.CANCELED, K.EXPIRED)), number, at)
        elif event == 7:
            desk.tell(K.UNKNOWN, number, of=Action.NEW)
        else:
            desk.tell(K.STATUS, number, at, status=OrderStatus.OPEN, filled=chance.randint(0, 9))
        if step % 20 == 19:
            desk.restarted()


def test_r26_what_comes_again_after_a_restart_is_not_booked_again(desk):
    desk.working()
    desk.trade(4, 11, at=2, filled=4)
    desk.trade(2, 12, at=3, filled=6)
    other = desk.restarted()
    client, repeated = desk.order(1)["client_id"], ReportKind.FILL
    for trade, quantity in ((11, 4), (12, 2)):
        other.report(
            repeated,
            client_id=client,
            instrument=PERPETUAL,
            last_quantity=quantity,
            last_price=50_000_00,
            trade_id=trade,
            side=Side.BUY,
        )
    assert other.position()["quantity"] == 6
    assert other.order(1)["traded"] == 6


def test_r27_a_position_that_was_there_before_us_is_taken_over():
    desk = CheckedDesk(ready=False)
    desk.adopted_by[0, PERPETUAL] = 0
    desk.report(K.SYNC_BEGIN)
    desk.report(K.POSITION, instrument=PERPETUAL, quantity=-30, average_price=49_000_00 * 10**6)
    assert desk.position(strategy=0)["quantity"] == 0
    desk.adopted_by[0, PERPETUAL] = -30
    desk.report(K.SYNC_END)
    row = desk.position(strategy=0)
    assert row["quantity"] == -30
    assert row["cost"] == value(PERPETUAL, 49_000_00, 30)
    desk.report(K.SYNC_BEGIN)
    desk.report(K.POSITION, instrument=PERPETUAL, quantity=-30, average_price=49_000_00 * 10**6)
    desk.report(K.SYNC_END)
    assert desk.position(strategy=0)["quantity"] == -30


def test_r28_a_trade_that_turns_a_position_over_is_one_trade(desk, twice):
    desk.working()
    desk.trade(10, 11, at=2, price=50_000_00)
    desk.working(2, side=Side.SELL, price=50_100_00, quantity=15)
    scene = {"F": lambda: desk.trade(15, 12, 2, at=4, price=50_100_00)}
    play(desk, scene, "F", twice)
    row = desk.position()
    assert (row["quantity"], row["fills"]) == (-5, 2)
    assert row["realized"] == value(PERPETUAL, 100_00, 10)
    assert row["cost"] == value(PERPETUAL, 50_100_00, 5)


@some_orders("SAOFGHC", 40, 30)
def test_r30_a_batch_in_any_order_ends_in_the_same_state(desk, order, twice):
    desk.new(1)
    scene = {
        "S": lambda: desk.tell(K.SENT, of=Action.NEW),
        "A": lambda: desk.tell(K.ACCEPTED, at=1, of=Action.NEW),
        "O": lambda: desk.tell(K.OPEN, at=1, quantity=10),
        "F": lambda: desk.trade(1, 11, at=2, filled=1),
        "G": lambda: desk.trade(2, 12, at=3, filled=3),
        "H": lambda: desk.trade(4, 13, at=4, filled=7),
        "C": lambda: desk.tell(K.CANCELED, at=5, filled=7),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 7)
    nothing_left(desk)


def test_r37_an_order_that_vanished_is_asked_for_and_its_exposure_kept(desk):
    desk.working()
    desk.asked()
    desk.report(K.SYNC_BEGIN)
    desk.report(K.SYNC_END)
    assert [each["action"] for each in desk.asked()] == [Action.QUERY]
    desk.tell(K.NOT_FOUND, action=Action.QUERY, flags=ASKED)
    stands(desk, S.LOST, 0)
    assert desk.alarmed() == [Alarm.LOST_ORDER]
    assert desk.position()["open_buy"] == 10
    assert desk.scope()["unknowns"] == 1


def test_r37_an_order_that_is_only_history_ends(desk, twice):
    desk.working()
    desk.trade(4, 11, at=2)
    desk.report(K.SYNC_BEGIN)
    desk.report(K.SYNC_END)
    scene = {
        "Q": lambda: desk.tell(K.STATUS, at=3, status=OrderStatus.CANCELED, filled=4, flags=ASKED)
    }
    play(desk, scene, "Q", twice)
    stands(desk, S.CANCELED, 4)
    nothing_left(desk)


@in_orders("FQ")
def test_r40_an_order_that_ended_before_the_stream_was_there_is_settled(desk, order, twice):
    desk.new(1)
    desk.tell(K.SENT, of=Action.NEW)
    desk.tell(K.ACCEPTED, at=1, of=Action.NEW)
    desk.report(K.DOWN)
    desk.report(K.UP)
    scene = {
        "F": lambda: desk.trade(10, 11, at=2, filled=10, flags=ASKED),
        "Q": lambda: desk.tell(K.STATUS, at=2, status=OrderStatus.FILLED, filled=10, flags=ASKED),
    }
    play(desk, scene, order, twice)
    stands(desk, S.FILLED, 10)
    nothing_left(desk)


# -- lost, and resolved ----------------------------------------------------------------------------
def lost(desk, filled=0):
    desk.working()
    if filled:
        desk.trade(filled, 11, at=2)
    desk.tell(K.NOT_FOUND, action=Action.QUERY, flags=ASKED)
    return desk


@pytest.mark.parametrize(
    ("event", "state"),
    [
        ("open", S.OPEN),
        ("accepted", S.OPEN),
        ("part", S.PARTIAL),
        ("all", S.FILLED),
        ("canceled", S.CANCELED),
        ("expired", S.EXPIRED),
    ],
)
def test_a_lost_order_that_is_heard_of_is_no_longer_lost(desk, twice, event, state):
    lost(desk)
    scene = {
        "open": lambda: desk.tell(K.OPEN, at=3),
        "accepted": lambda: desk.tell(K.ACCEPTED, at=3, action=Action.NEW),
        "part": lambda: desk.trade(4, 11, at=3),
        "all": lambda: desk.trade(10, 11, at=3),
        "canceled": lambda: desk.tell(K.CANCELED, at=3),
        "expired": lambda: desk.tell(K.EXPIRED, at=3),
    }
    play(desk, scene, [event], twice)
    stands(desk, state, {"part": 4, "all": 10}.get(event, 0))
    assert desk.scope()["unknowns"] == 0


def test_an_order_lost_with_fills_is_partial_when_it_is_accepted(desk):
    lost(desk, 4)
    desk.tell(K.ACCEPTED, at=3, action=Action.NEW)
    stands(desk, S.PARTIAL, 4)


def test_a_lost_order_stays_lost_when_it_is_not_found_again(desk):
    lost(desk)
    desk.tell(K.NOT_FOUND, action=Action.QUERY, flags=ASKED)
    stands(desk, S.LOST, 0)
    assert desk.alarmed() == [Alarm.LOST_ORDER]


@pytest.mark.parametrize("how", ["lost", "unknown"])
def test_an_operator_can_take_an_order_as_ended(desk, how):
    if how == "lost":
        lost(desk, 4)
    else:
        desk.new(1)
        desk.tell(K.UNKNOWN, of=Action.NEW)
    desk.command(CommandKind.RESOLVE, client_id=desk.order(1)["client_id"])
    stands(desk, S.CANCELED, 4 if how == "lost" else 0)
    nothing_left(desk)
    desk.restarted()


def test_a_fill_of_an_order_that_an_operator_took_as_ended_is_booked(desk):
    lost(desk)
    desk.command(CommandKind.RESOLVE, client_id=desk.order(1)["client_id"])
    desk.trade(4, 11, at=3)
    stands(desk, S.CANCELED, 4)
    assert desk.alarmed()[-1] is Alarm.FILL_AFTER_END


def test_an_order_that_is_open_is_not_resolved_by_a_command(desk):
    desk.working()
    desk.command(CommandKind.RESOLVE, client_id=desk.order(1)["client_id"])
    stands(desk, S.OPEN, 0)


# -- what the venue does of its own ----------------------------------------------------------------
def test_r29_an_order_of_others_that_is_told_again_is_one_order(desk):
    for _ in range(2):
        desk.foreign(K.OPEN, price=49_000_00, quantity=8, flags=ReportFlag.EXTERNAL)
    desk.foreign(K.FILL, at=1, last_quantity=3, last_price=49_000_00, trade_id=5, filled=3)
    firm = desk.scope()
    assert (firm["open_orders"], firm["fills"]) == (1, 1)
    assert desk.position(strategy=0)["quantity"] == 3
    assert desk.position()["quantity"] == 0
    desk.foreign(K.CANCELED, at=2, filled=3)
    nothing_left(desk)


@pytest.mark.parametrize("reason", [Reason.LIQUIDATION, Reason.DELEVERAGING, Reason.SETTLEMENT])
@in_orders("OFE")
def test_r31_an_order_of_the_venues_own_is_adopted_with_its_fills(desk, order, twice, reason):
    desk.working()
    desk.trade(10, 11, at=1)
    flags = ReportFlag.EXTERNAL | ReportFlag.FORCED
    terms = {"side": Side.SELL, "quantity": 10, "price": 48_000_00, "flags": flags}
    scene = {
        "O": lambda: desk.foreign(K.OPEN, at=2, **terms),
        "F": lambda: desk.foreign(
            K.FILL, at=3, trade_id=12, last_quantity=10, last_price=48_000_00, filled=10, **terms
        ),
        "E": lambda: desk.foreign(
            K.STATUS, at=4, status=OrderStatus.FILLED, filled=10, reason=reason, **terms
        ),
    }
    play(desk, scene, order, twice)
    assert desk.position(strategy=0)["quantity"] == 0
    assert desk.position()["quantity"] == 10
    forced = desk.order(-7, strategy=0)
    assert forced["flags"] & OrderFlag.FORCED
    assert forced["flags"] & OrderFlag.EXTERNAL
    nothing_left(desk)


def test_r31_an_order_that_was_filled_before_we_heard_of_it_brings_only_what_is_new(desk):
    desk.foreign(K.FILL, quantity=10, filled=7, last_quantity=2, last_price=49_000_00, trade_id=1)
    order = desk.order(-7, strategy=0)
    assert (order["filled"], order["traded"]) == (7, 7)
    assert desk.position(strategy=0)["quantity"] == 2
    assert desk.position(strategy=0)["open_buy"] == 3


@pytest.mark.parametrize(
    "kind", [K.CANCELED, K.NOT_FOUND, K.REJECTED, K.CANCEL_ACCEPTED, K.CANCEL_REJECTED, K.SENT]
)
def test_r31_the_end_of_an_order_that_we_never_knew_makes_none(desk, kind):
    desk.foreign(kind, price=49_000_00, quantity=8)
    assert not desk.state.numbers.any()


def test_an_order_of_ours_that_nothing_is_known_of_is_nobodys(desk):
    desk.foreign(K.OPEN, client_id=77 << 17 | 5, price=49_000_00, quantity=8)
    assert desk.order(77 << 17 | 5, strategy=0)["state"] == S.OPEN
    assert desk.position(strategy=0)["open_buy"] == 8


def test_when_all_places_for_orders_of_others_are_open_the_oldest_leaves_every_ledger(desk):
    desk.checking = False
    for number in range(1, FOREIGN + 3):
        desk.foreign(K.OPEN, client_id=-number, price=49_000_00, quantity=8)
    desk.checking = True
    check(desk)
    assert desk.state.control[C_FOREIGN] > FOREIGN
    assert desk.scope()["open_orders"] == FOREIGN
    assert desk.position(strategy=0)["open_buy"] == 8 * FOREIGN


def test_an_order_of_others_that_was_told_before_the_balance_reserves_it():
    desk = CheckedDesk(ready=False)
    desk.foreign(K.OPEN, instrument=SPOT, price=49_000_00, quantity=8)
    desk.balance(b"USDT", 1000)
    assert desk.held_balance(b"USDT")["reserved"] == value(SPOT, 49_000_00, 8)
    desk.foreign(K.CANCELED, instrument=SPOT, at=2)
    assert desk.held_balance(b"USDT")["reserved"] == 0


def test_r32_funding_is_no_fill(desk):
    desk.working()
    desk.trade(10, 11, at=1)
    funding = {"instrument": PERPETUAL, "fee": 250, "decimals": 2, "asset": b"USDT"}
    desk.report(K.FUNDING, **funding)
    row = desk.position(strategy=0)
    assert (row["quantity"], row["fills"]) == (10, 1)
    assert row["funding"] == 250 * UNIT // 100
    assert desk.position()["funding"] == 0
    desk.restarted()


@in_orders("FE")
def test_r33_self_trade_prevention_ends_the_order_with_its_reason(desk, order, twice):
    desk.working()
    scene = {
        "F": lambda: desk.trade(4, 11, at=2, filled=4),
        "E": lambda: desk.tell(K.EXPIRED, at=2, reason=Reason.SELF_TRADE, filled=4),
    }
    play(desk, scene, order, twice)
    stands(desk, S.EXPIRED, 4)
    nothing_left(desk)


@in_orders("CX")
def test_r34_the_dead_man_switch_and_a_cancel_at_once_end_the_order_once(desk, order, twice):
    desk.working().cancel(1)
    scene = {
        "C": lambda: desk.tell(K.CANCELED, at=3, reason=Reason.DEAD_MAN),
        "X": lambda: desk.tell(K.CANCEL_REJECTED, of=Action.CANCEL, reason=Reason.UNKNOWN_ORDER),
    }
    play(desk, scene, order, twice)
    stands(desk, S.CANCELED, 0)
    assert desk.order(1)["pending"] == 0
    nothing_left(desk)


def test_r38_a_halted_market_takes_cancels_only(desk):
    desk.working()
    desk.state.instruments[PERPETUAL * INSTRUMENT_WORDS + I_STATUS] = Status.HALTED
    (denied,) = desk.amend(1, price=49_000_00)
    assert denied["reason"] == Deny.NOT_TRADING
    (denied,) = desk.new(2)
    assert denied["reason"] == Deny.NOT_TRADING
    desk.cancel(1)
    desk.tell(K.CANCELED, at=2)
    stands(desk, S.CANCELED, 0)
    nothing_left(desk)


@in_orders("QF")
def test_r39_a_market_order_that_is_filled_without_a_trade_waits_for_it(desk, order, twice):
    desk.new(1, price=0)
    desk.tell(K.SENT, of=Action.NEW)
    scene = {
        "Q": lambda: desk.tell(K.STATUS, at=1, status=OrderStatus.FILLED, filled=10),
        "F": lambda: desk.trade(10, 11, at=1, filled=10),
    }
    play(desk, scene, order[0], twice)
    if order == "QF":
        stands(desk, S.FILLED, 0, 10)
        assert desk.position()["open_buy"] == 10
    play(desk, scene, order[1], twice)
    stands(desk, S.FILLED, 10)
    nothing_left(desk)


# -- what is counted -------------------------------------------------------------------------------
def test_refusals_in_a_row_are_counted_once_each_and_for_the_firm_too(desk):
    for number in (1, 2):
        desk.new(number, quantity=number)
        for _ in range(2):
            desk.tell(K.REJECTED, number, at=number, of=Action.NEW, reason=Reason.BALANCE)
    assert desk.scope()["rejects"] == 2
    assert desk.scope(ScopeKind.ACCOUNT, account=0)["rejects"] == 2
    desk.working(3, quantity=3)
    assert desk.scope()["rejects"] == 0


def test_what_a_report_says_again_is_not_told_again(desk):
    desk.working()
    desk.trade(4, 11, at=2, filled=4)
    desk.tell(K.CANCELED, at=3, filled=4)
    told = len(desk.kept)
    desk.tell(K.OPEN, at=1)
    desk.trade(4, 11, at=2, filled=4)
    desk.tell(K.CANCELED, at=3, filled=4)
    assert len(desk.kept) == told


def test_each_reconciliation_counts_once(desk):
    before = desk.state.accounts[A_SYNC]
    desk.report(K.SYNC_BEGIN)
    desk.report(K.SYNC_END)
    desk.report(K.SYNC_END)
    assert desk.state.accounts[A_SYNC] == before + 1
