"""The synchronisation rules: what is dropped, applied, buffered, or a hole."""

import numpy as np
import pytest

from feeds.binance import BINANCE_SPOT, BINANCE_USDM
from feeds.sync import (
    ATTEMPTS,
    BRIDGING,
    EPOCH,
    FLOOR,
    GAP,
    HELD_ROWS,
    LAST_ID,
    LIVE,
    NEXT_NS,
    OLD_RETRY_NS,
    P_ASKS,
    P_BIDS,
    P_FIRST,
    P_LAST,
    P_PREVIOUS,
    P_START,
    PENDING,
    PENDING_CELLS,
    QUIET_NS,
    RESET_NS,
    RETRY_NS,
    SKIP,
    STALE,
    STATE,
    SYNCING,
    WANTED,
    Action,
    Bridge,
    Chain,
    SyncRule,
    buffer_update,
    decide_snapshot,
    decide_update,
    due_requests,
    joined,
    lose,
    new_pending,
    new_sync,
    refuse_snapshot,
    requested,
)

SPOT, USDM = BINANCE_SPOT.sync_rule, BINANCE_USDM.sync_rule
OKX = SyncRule(Chain.PREVIOUS, 1, Bridge.PREVIOUS_BELOW, 0, reset=1, in_band=1)
BYBIT = SyncRule(Chain.FIRST, 1, Bridge.FIRST, 1, in_band=1, snapshot_id=1)


class Book:
    """One book's state and buffer."""

    def __init__(self, rule, messages=8, levels=16):
        self.rule = rule.cells()
        self.sync = new_sync(1)
        self.pending, self.held = new_pending(1, messages, levels)
        lose(self.sync, 0, SYNCING)

    def live(self, last, bridging=False, state=LIVE):
        joined(self.sync, 0, last, bridging)
        self.sync[0, STATE] = state
        return self

    def decide(self, first, last, previous=-1, received_ns=0):
        return Action(decide_update(self.sync, 0, self.rule, first, last, previous, received_ns))

    def buffer(self, first, last, previous=-1, levels=1):
        message = np.zeros(PENDING_CELLS, np.int64)
        message[P_FIRST], message[P_LAST], message[P_PREVIOUS] = first, last, previous
        message[P_BIDS] = levels
        rows = np.full((levels, 2), last, np.int64)
        return buffer_update(self.sync, self.pending, self.held, 0, message, rows, 0, 0)

    def snapshot(self, last, streamed=False):
        return decide_snapshot(self.sync, self.pending, 0, self.rule, last, streamed)

    def ids(self):
        return self.pending[0, : self.sync[0, PENDING], P_LAST].tolist()


@pytest.mark.parametrize("state", [LIVE, STALE])
@pytest.mark.parametrize(
    ("rule", "ids", "action"),
    [
        (SPOT, (101, 105), Action.APPLY),
        (SPOT, (98, 105), Action.APPLY),  # Overlaps: only U > last + 1 is a hole.
        (SPOT, (102, 105), Action.HOLE),
        (SPOT, (95, 100), Action.DROP),
        (SPOT, (90, 95), Action.DROP),
        (USDM, (150, 160, 100), Action.APPLY),
        (USDM, (101, 160, 99), Action.HOLE),
        (USDM, (101, 160, 140), Action.HOLE),
        (USDM, (95, 100, 90), Action.DROP),
        (OKX, (101, 101, 100), Action.APPLY),
        (OKX, (100, 100, 100), Action.APPLY),  # Keep-alive.
        (OKX, (7, 7, 100), Action.APPLY),  # Maintenance reset.
        (OKX, (102, 102, 101), Action.HOLE),
        (OKX, (100, 100, 99), Action.DROP),
        (BYBIT, (101, 101), Action.APPLY),
        (BYBIT, (102, 102), Action.HOLE),
        (BYBIT, (100, 100), Action.DROP),
        (BYBIT, (1, 1), Action.SNAPSHOT),
    ],
)
def test_an_update_of_a_running_book_is_judged_by_the_venue_rule(rule, ids, action, state):
    assert Book(rule).live(100, state=state).decide(*ids) == action


@pytest.mark.parametrize(
    ("rule", "ids", "action"),
    [
        (SPOT, (95, 100), Action.DROP),
        (SPOT, (95, 101), Action.APPLY),
        (SPOT, (101, 101), Action.APPLY),
        (SPOT, (102, 103), Action.HOLE),
        (USDM, (95, 99, 90), Action.DROP),
        (USDM, (95, 100, 90), Action.APPLY),  # u == lastUpdateId, recorded live.
        (USDM, (95, 105, 90), Action.APPLY),
        (USDM, (103, 105, 100), Action.APPLY),  # pu == lastUpdateId, seen live.
        (USDM, (103, 105, 101), Action.HOLE),
        (OKX, (105, 105, 98), Action.APPLY),
        (OKX, (105, 105, 101), Action.HOLE),
        (OKX, (100, 100, 98), Action.DROP),
    ],
)
def test_the_first_update_after_a_snapshot_has_to_bridge_it(rule, ids, action):
    assert Book(rule).live(100, bridging=True).decide(*ids) == action


def test_an_update_without_a_book_is_buffered():
    book = Book(SPOT)
    assert book.decide(5, 9) == Action.BUFFER
    book.buffer(5, 9)
    assert book.decide(10, 12) == Action.BUFFER
    assert book.decide(5, 9) == Action.DROP
    assert book.decide(11, 12) == Action.HOLE


def test_a_snapshot_joins_the_buffer_behind_what_it_has_seen():
    book = Book(SPOT)
    for first, last in ((5, 9), (10, 12), (13, 20)):
        book.buffer(first, last)
    assert [book.snapshot(last) for last in (3, 4, 9, 10, 20, 30)] == [
        Action.OLD,
        Action.JOIN,
        Action.JOIN + SKIP,
        Action.JOIN + SKIP,
        Action.JOIN + 3 * SKIP,
        Action.JOIN + 3 * SKIP,
    ]


def test_a_futures_snapshot_between_two_messages_is_refused():
    book = Book(USDM)
    book.buffer(5, 9, 4)
    book.buffer(20, 25, 9)
    assert [book.snapshot(last) for last in (9, 15, 20, 25)] == [
        Action.JOIN,
        Action.OLD,
        Action.JOIN + SKIP,
        Action.JOIN + SKIP,
    ]


def test_a_second_rest_snapshot_is_ignored_and_one_in_the_stream_replaces_the_book():
    assert Book(SPOT).live(100).snapshot(105) == Action.DROP
    assert Book(BYBIT).live(100).snapshot(7, streamed=True) == Action.JOIN


def test_a_full_buffer_drops_its_oldest_messages_and_asks_for_a_newer_snapshot():
    book = Book(SPOT, messages=4)
    assert [book.buffer(i, i) for i in range(1, 7)] == [0, 0, 0, 0, 1, 0 + 1]
    assert book.ids() == [3, 4, 5, 6]
    assert book.sync[0, FLOOR] == 2
    assert book.snapshot(1) == Action.OLD
    assert book.snapshot(2) == Action.JOIN


def test_the_levels_of_what_stays_in_the_buffer_stay_with_it():
    book = Book(SPOT, messages=8, levels=10)
    for i in range(1, 8):
        book.buffer(i, i, levels=3)
        for k in range(book.sync[0, PENDING]):
            start, last = book.pending[0, k, P_START], book.pending[0, k, P_LAST]
            assert book.pending[0, k, P_ASKS] == 0
            assert book.held[0, start : start + 3, 0].tolist() == [last] * 3
    assert book.sync[0, HELD_ROWS] == 9


def test_a_message_too_large_for_the_buffer_has_to_be_in_the_snapshot():
    book = Book(SPOT, levels=10)
    book.buffer(1, 1)
    assert book.buffer(2, 5, levels=11) == 2
    assert book.ids() == []
    assert book.snapshot(4) == Action.OLD
    assert book.snapshot(5) == Action.JOIN


def test_a_venue_that_counts_anew_is_a_hole_after_a_while():
    book = Book(SPOT).live(1_000_000)
    assert book.decide(5, 9, received_ns=RESET_NS - 1) == Action.DROP
    assert book.decide(5, 9, received_ns=RESET_NS) == Action.HOLE


def test_a_lost_book_has_a_new_epoch_and_an_empty_buffer():
    book = Book(SPOT)
    book.buffer(1, 1)
    epoch = book.sync[0, EPOCH]
    lose(book.sync, 0, GAP)
    assert book.sync[0, EPOCH] == epoch + 1
    assert book.sync[0, [STATE, WANTED, PENDING, BRIDGING]].tolist() == [GAP, GAP, 0, 0]


def test_a_snapshot_is_asked_for_when_the_stream_flows():
    book = Book(SPOT)
    assert due_requests(book.sync, 1000).tolist() == []
    book.buffer(1, 1)
    assert due_requests(book.sync, 1000).tolist() == [0]


def test_a_quiet_book_gets_its_snapshot_after_a_while():
    book = Book(SPOT)
    assert due_requests(book.sync, 1000).tolist() == []
    assert due_requests(book.sync, 999 + QUIET_NS).tolist() == []
    assert due_requests(book.sync, 1000 + QUIET_NS).tolist() == [0]


def test_a_snapshot_that_does_not_come_is_asked_for_again_and_later_each_time():
    book = Book(SPOT)
    book.buffer(1, 1)
    now, waits = 1000, []
    for _ in range(4):
        assert due_requests(book.sync, now).tolist() == [0]
        requested(book.sync, 0, now)
        waits.append(int(book.sync[0, NEXT_NS]) - now)
        assert due_requests(book.sync, now + waits[-1] - 1).tolist() == []
        now += waits[-1]
    assert waits == [RETRY_NS << n for n in range(4)]


def test_a_snapshot_that_was_too_old_is_asked_for_again_soon():
    book = Book(SPOT)
    book.buffer(10, 10)
    requested(book.sync, 0, 1000)
    refuse_snapshot(book.sync, 0, 2000)
    assert due_requests(book.sync, 2000).tolist() == []
    assert due_requests(book.sync, 2000 + 2 * OLD_RETRY_NS).tolist() == [0]


def test_a_joined_book_wants_nothing():
    book = Book(SPOT)
    book.buffer(1, 1)
    requested(book.sync, 0, 1000)
    book.live(5)
    assert due_requests(book.sync, 10**15).tolist() == []
    assert book.sync[0, [ATTEMPTS, PENDING, LAST_ID]].tolist() == [0, 0, 5]
