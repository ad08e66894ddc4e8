"""Several connections to the same channels: the first arrival wins, a hole is filled by another."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.frames import FrameKind
from feeds.sync import GRACE_NS
from feeds.types import BookState
from tests.desk import DeltaBook, desk, instrument, segments_of
from tests.market import Market, frame

USDM, SPOT = "binance_usdm", "binance_spot"
BTC = instrument("BTCUSDT", 0, 0)


def trade(number):
    message = {"e": "trade", "E": 1700000000123, "s": "BTCUSDT", "t": number, "p": "100"}
    return frame(message | {"q": "5", "T": 1700000000120, "m": True, "X": "MARKET"})


@pytest.fixture(params=[USDM, SPOT])
def made(instance, request):
    with desk(instance, {request.param: [BTC]}) as made:
        made.venue = request.param
        made.market = Market(1, request.param == USDM)
        yield made


def join(made, lines=(0, 1)):
    """Bring the book to LIVE with an update that each line has delivered."""
    message = made.market.update()
    for line in lines:
        made.feed(made.venue, frame(message), line=line)
    body = frame(made.market.snapshot())
    made.feed(made.venue, body, FrameKind.REST_DEPTH, 0)
    message = made.market.update()
    for line in lines:
        made.feed(made.venue, frame(message), line=line)
    assert made.state() == BookState.LIVE


def put(made, message, line, after_ns=1000):
    made.feed(made.venue, frame(message), line=line, after_ns=after_ns)


def expect_truth(made):
    deltas = DeltaBook()
    deltas.apply(made.poll("book"))
    want = [sorted(side, reverse=not index) for index, side in enumerate(made.market.truth())]
    assert [*deltas.best(10**6)] == want
    assert (made.state(), made.image()["gaps"]) == (BookState.LIVE, 0)


def test_the_first_arrival_of_an_update_wins_and_the_lines_are_counted(made):
    join(made)
    won, late = made.count("line.0.won"), made.count("line.1.late")
    for winner in (0, 0, 1):
        message = made.market.update()
        put(made, message, winner)
        put(made, message, 1 - winner)
    assert made.count("line.0.won") - won == 2
    assert made.count("line.1.late") - late == 2
    assert made.count("line.1.won") == 1
    expect_truth(made)


def test_a_hole_on_one_line_is_filled_from_the_other(made):
    join(made)
    lost, after = made.market.update(), made.market.update()
    put(made, after, 0)
    assert made.state() == BookState.LIVE
    put(made, lost, 1)
    put(made, after, 1)
    assert (made.count("holes_held"), made.count("holes_filled")) == (1, 1)
    expect_truth(made)


def test_holes_on_both_lines_are_filled_from_each_other(made):
    join(made)
    messages = [made.market.update() for _ in range(6)]
    for i in (1, 2, 4, 5):
        put(made, messages[i], 0)
    for i in (0, 2, 3, 5):
        put(made, messages[i], 1)
    expect_truth(made)


def test_what_no_line_has_is_a_gap_as_soon_as_all_have_passed_it(made):
    join(made)
    made.market.update()
    after = made.market.update()
    put(made, after, 0)
    assert made.state() == BookState.LIVE
    put(made, after, 1)
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)


def test_a_hole_that_nothing_fills_in_time_is_a_gap(made):
    join(made)
    made.market.update()
    put(made, made.market.update(), 0)
    put(made, made.market.update(), 0, after_ns=GRACE_NS - 1)
    assert made.state() == BookState.LIVE
    put(made, made.market.update(), 0, after_ns=2)
    assert (made.state(), made.count("gaps")) == (BookState.GAP, 1)


def test_a_hole_of_the_only_line_is_a_gap_at_once(made):
    join(made, lines=(0,))
    made.market.update()
    put(made, made.market.update(), 0)
    assert made.state() == BookState.GAP


def test_a_line_that_is_disconnected_is_not_waited_for(made):
    join(made)
    made.feed(made.venue, b"url", FrameKind.DISCONNECTED, line=1)
    made.market.update()
    put(made, made.market.update(), 0)
    assert made.state() == BookState.GAP


def test_a_new_connection_that_leads_the_old_one_in_a_rotation_makes_no_gap(made):
    join(made, lines=(0,))
    messages = [made.market.update() for _ in range(5)]
    made.feed(made.venue, b"url", FrameKind.CONNECTED, line=1)
    put(made, messages[2], 1)  # It begins in the middle, ahead of the old one.
    put(made, messages[0], 0)
    put(made, messages[3], 1)
    put(made, messages[1], 0)
    put(made, messages[2], 0)
    made.feed(made.venue, b"url", FrameKind.DISCONNECTED, line=0)
    put(made, messages[4], 1)
    expect_truth(made)


def test_trades_of_two_lines_are_published_once_and_none_is_lost(made):
    for number, line in ((1, 0), (1, 1), (3, 0), (2, 1), (3, 1), (4, 1), (4, 0), (5, 0)):
        made.feed(made.venue, trade(number), line=line)
    assert made.poll("trades")["trade_id"].tolist() == [1, 3, 2, 4, 5]
    assert made.count("duplicates_trade") == 3


@pytest.mark.slow
@pytest.mark.parametrize("futures", [True, False])
@given(
    seed=st.integers(0, 10**6),
    skew=st.integers(0, 5),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    both=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_two_lossy_lines_give_the_truth_whenever_the_book_is_live(
    futures, seed, skew, loss, both
):
    name, venue = f"lines{os.getpid()}", USDM if futures else SPOT
    dice = random.Random(seed)
    sizes = {"window": 64, "frames": 64, "bytes_": 1 << 19}
    with segments_of(name), desk(name, {venue: [BTC]}, **sizes) as made:
        made.venue, made.market = venue, Market(seed, futures)
        join(made)
        deltas, truths = DeltaBook(), {}
        deltas.apply(made.poll("book"))
        truths[made.market.last] = made.market.truth()
        messages = []
        for _ in range(40):
            messages.append(made.market.update())
            truths[made.market.last] = made.market.truth()
        lost = {i: dice.choice((0, 1)) for i in range(40) if dice.random() < loss}
        if both and lost:  # One message is missing on both: a gap, and nothing wrong before it.
            lost[min(lost)] = 2
        for i in range(40 + skew):
            for line, place in ((0, i), (1, i - skew)):
                if 0 <= place < 40 and lost.get(place) not in (line, 2):
                    put(made, messages[place], line)
                    deltas.apply(made.poll("book"))
                    image = made.image()
                    if image["state"] == BookState.LIVE:
                        assert deltas.best(10**6) == truths[int(image["update_id"])]
        if both and lost and min(lost) < 39:
            assert made.state() == BookState.GAP
        elif not lost or not both:
            assert made.image()["gaps"] == 0
            assert made.state() == BookState.LIVE
