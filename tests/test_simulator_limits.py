"""The budgets that the simulated venue enforces."""

from gateways.simulator.limits import SlidingLimit, WeightBudget


def test_weight_is_counted_anew_each_minute_of_the_clock():
    budget = WeightBudget(100)
    assert budget.spend(100, 59.0) == 0
    assert budget.spend(1, 59.5) == 429
    assert budget.retry_after(59.5) == 1
    assert budget.spend(100, 60.0) == 0
    assert budget.used == 100


def test_who_does_not_heed_refusals_is_banned_for_a_while():
    budget = WeightBudget(1, patience=2, ban_s=120)
    assert [budget.spend(1, 0.0) for _ in range(4)] == [0, 429, 429, 418]
    assert budget.spend(1, 119.0) == 418
    assert budget.retry_after(100.0) == 20
    assert budget.spend(1, 121.0) == 0


def test_a_sliding_limit_allows_so_many_events_in_any_period():
    limit = SlidingLimit(2, 1.0)
    assert [limit.allow(now) for now in (0.0, 0.5, 0.9, 1.1)] == [True, True, False, True]
