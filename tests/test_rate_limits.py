"""The rate limits that all processes of a machine share."""

import multiprocessing
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.segment import unlink_segment
from gateways.adapter import Cost, Limit
from gateways.limits import GUARD_SHARE, RateLimits

S = 1_000_000_000
START = 1_800_000_000 * S  # A whole minute.


def opened(instance, *limits, account="main", factor=1.0):
    return RateLimits(instance, "venue", account, limits, factor)


ALIGNED = Limit("weight", 10, 60.0, aligned=True, reserve=0.0)
ROLLING = Limit("orders", 3, 2.0, aligned=False, per="account", scoped=True, reserve=0.0)


def test_an_aligned_limit_is_whole_again_with_the_next_period(instance):
    limits = opened(instance, ALIGNED)

    assert limits.take([Cost("weight", 10)], False, START) == 0
    assert limits.take([Cost("weight")], False, START + 20 * S) == 40 * S
    assert limits.take([Cost("weight", 10)], False, START + 60 * S) == 0
    limits.close()


def test_near_the_end_of_a_period_the_next_one_is_charged_too(instance):
    limits = opened(instance, ALIGNED)

    assert limits.take([Cost("weight", 4)], False, START + 60 * S - 1000) == 0
    assert limits.used(Cost("weight"), START + 60 * S) == 4
    assert limits.take([Cost("weight", 7)], False, START + 60 * S) > 0
    limits.close()


def test_a_rolling_limit_frees_a_unit_a_period_and_its_guard_after_it_was_taken(instance):
    limits = opened(instance, ROLLING)
    order = [Cost("orders", 1, "BTC")]
    guard = round(2 * S * GUARD_SHARE)

    for tenth in range(3):
        assert limits.take(order, False, START + tenth * S // 10) == 0
    assert limits.take(order, False, START + S) == S + guard
    assert limits.take(order, False, START + 2 * S + guard) == 0
    assert limits.take(order, False, START + 2 * S + guard) == S // 10
    limits.close()


def test_scopes_are_counted_apart(instance):
    limits = opened(instance, ROLLING)

    for _ in range(3):
        assert limits.take([Cost("orders", 1, "BTC")], False, START) == 0
    assert limits.take([Cost("orders", 1, "BTC")], False, START) > 0
    assert limits.take([Cost("orders", 1, "ETH")], False, START) == 0
    limits.close()


def test_nothing_is_taken_unless_all_can_be(instance):
    limits = opened(instance, ALIGNED, ROLLING)
    both = [Cost("weight", 4), Cost("orders", 3, "BTC")]

    assert limits.take(both, False, START) == 0
    assert limits.take(both, False, START) >= 2 * S
    assert limits.used(Cost("weight"), START) == 4
    limits.close()


def test_a_request_larger_than_its_limit_never_goes(instance):
    limits = opened(instance, ROLLING)

    assert limits.take([Cost("orders", 4, "BTC")], False, START) > 10**6 * S
    limits.close()


@pytest.mark.parametrize("aligned", [True, False])
def test_the_reserve_is_for_urgent_requests_only(instance, aligned):
    limits = opened(instance, Limit("x", 10, 60.0, aligned=aligned, reserve=0.2))

    for _ in range(8):
        assert limits.take([Cost("x")], False, START) == 0
    assert limits.take([Cost("x")], False, START) > 0
    assert limits.take([Cost("x")], True, START) == 0
    assert limits.take([Cost("x")], True, START) == 0
    assert limits.take([Cost("x")], True, START) > 0
    limits.close()


@pytest.mark.parametrize("aligned", [True, False])
def test_the_venues_count_is_believed_where_it_is_higher(instance, aligned):
    limits = opened(instance, Limit("x", 10, 60.0, aligned=aligned, reserve=0.0))
    limits.take([Cost("x", 2)], False, START)

    limits.observe(Cost("x"), 9, START + S)
    limits.observe(Cost("x"), 5, START + S)

    assert limits.used(Cost("x"), START + S) == 9
    assert limits.take([Cost("x", 2)], True, START + S) > 0
    assert limits.take([Cost("x")], True, START + S) == 0
    limits.close()


def test_a_ban_holds_everything_back_and_a_block_one_limit(instance):
    limits = opened(instance, ALIGNED, ROLLING)
    order = [Cost("orders", 1, "BTC")]
    limits.take(order, False, START)

    limits.block("orders", START + 5 * S)
    assert limits.take(order, True, START + S) == 4 * S
    assert limits.take([Cost("weight")], True, START + S) == 0

    limits.block(None, START + 120 * S)
    limits.block(None, START + 60 * S)  # A shorter one does not shorten it.
    assert limits.take([Cost("weight")], True, START + 61 * S) == 59 * S
    limits.close()


def test_accounts_share_the_address_and_not_their_own_limits(instance):
    one = opened(instance, ALIGNED, ROLLING, account="one")
    two = opened(instance, ALIGNED, ROLLING, account="two")

    assert one.take([Cost("weight", 8), Cost("orders", 3, "BTC")], False, START) == 0

    assert two.take([Cost("orders", 3, "BTC")], False, START) == 0
    assert two.take([Cost("weight", 3)], False, START) > 0
    one.close()
    two.close()


def test_a_factor_below_one_leaves_the_rest_to_others(instance):
    limits = opened(instance, ALIGNED, factor=0.5)

    assert limits.take([Cost("weight", 5)], False, START) == 0
    assert limits.take([Cost("weight")], False, START) > 0
    limits.close()


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 900)), max_size=120),
)
def test_no_period_ever_holds_more_than_the_limit(aligned, most, requests):
    instance = f"limits{os.getpid()}"
    limits = opened(instance, Limit("x", most, 1.0, aligned=aligned, reserve=0.0))
    now, taken = START, []
    for units, later_ms in requests:
        now += later_ms * 1_000_000
        wait = limits.take([Cost("x", units)], False, now)
        if wait == 0:
            taken += [now] * units
        else:
            assert units > most or wait > 0
    limits.close()
    unlink_segment(instance, "gw.limits.venue")

    for at in taken:
        if aligned:
            assert sum(other // S == at // S for other in taken) <= most
        else:
            assert sum(0 <= other - at < S for other in taken) <= most


def _spend(instance, seed, results):
    limits = opened(instance, Limit("a", 500, 1.0, True, reserve=0.0), ROLLING_WIDE)
    rng, now, taken = random.Random(seed), START, []
    for _ in range(4000):
        now += rng.randint(0, 2_000_000)
        if limits.take([Cost("a"), Cost("r", 1, "BTC")], False, now) == 0:
            taken.append(now)
    limits.close()
    results.put(taken)


ROLLING_WIDE = Limit("r", 300, 1.0, aligned=False, reserve=0.0)


def test_processes_together_stay_within_a_limit(instance):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    workers = [context.Process(target=_spend, args=(instance, seed, results)) for seed in range(3)]
    for worker in workers:
        worker.start()
    taken = sorted(at for _ in workers for at in results.get())
    for worker in workers:
        worker.join()

    # Each process has a clock of its own here, so only the aligned count can be exact.
    assert taken
    for second in {at // S for at in taken}:
        assert sum(at // S == second for at in taken) <= 500


def test_a_figure_of_a_period_that_has_ended_is_not_believed(instance):
    limits = opened(instance, ALIGNED)

    limits.observe(Cost("weight"), 9, START + 60 * S, sent_ns=START + 59 * S)
    assert limits.used(Cost("weight"), START + 60 * S) == 0

    limits.observe(Cost("weight"), 9, START + 62 * S, sent_ns=START + 61 * S)
    assert limits.used(Cost("weight"), START + 62 * S) == 9
    limits.close()


@pytest.mark.parametrize("aligned", [True, False])
def test_shares_of_different_size_are_counted_together(instance, aligned):
    limit = Limit("x", 10, 60.0, aligned=aligned, reserve=0.0)
    small, large = opened(instance, limit, factor=0.5), opened(instance, limit)

    assert small.take([Cost("x", 5)], False, START) == 0
    assert small.take([Cost("x")], False, START) > 0
    assert large.take([Cost("x", 5)], False, START) == 0
    assert large.take([Cost("x")], False, START) > 0
    small.close()
    large.close()


def test_a_limit_beyond_all_need_takes_no_more_room_than_there_is(instance):
    wide = [Limit(f"x{n}", 3000, 1.0, aligned=False) for n in range(8)]
    limits = opened(instance, *wide, factor=1000.0)

    assert limits.take([Cost(each.name, 100) for each in wide], False, START) == 0
    limits.close()
