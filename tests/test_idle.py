"""Idle strategies: what they do with their turns, not how long it takes."""

import pytest

from engine import idle


class Bell:
    """Notes what a parking strategy does with it."""

    def __init__(self):
        self.calls = []

    def prepare(self):
        self.calls.append("prepare")
        return 7

    def wait(self, token, timeout_s):
        assert timeout_s == idle.BELL_WAIT_S
        self.calls.append(token)


def turns(strategy, *works):
    for work in works:
        strategy.idle(work)


@pytest.mark.parametrize("wait", ["spin", "yield", "park"])
def test_each_strategy_returns_with_and_without_work(wait):
    turns(idle.strategy(wait), 1, 0, 0, 1, *[0] * 10)


def test_parking_announces_itself_one_turn_before_it_waits():
    bell = Bell()
    turns(idle.strategy("park", bell), *[0] * (idle.YIELDS + 1))
    assert bell.calls == ["prepare"]


def test_parking_waits_with_the_token_of_its_announcement():
    bell = Bell()
    turns(idle.strategy("park", bell), *[0] * (idle.YIELDS + 4))
    assert bell.calls == ["prepare", 7, "prepare", 7]


def test_work_after_the_announcement_calls_the_wait_off():
    bell = Bell()
    turns(idle.strategy("park", bell), *[0] * (idle.YIELDS + 1), 1, *[0] * idle.YIELDS)
    assert bell.calls == ["prepare"]


def test_sleeps_without_a_bell_double_up_to_their_bound(monkeypatch):
    slept = []
    monkeypatch.setattr(idle.time, "sleep", slept.append)
    turns(idle.strategy("park"), *[0] * (idle.YIELDS + 8))
    assert slept[:3] == [idle.SLEEP_MIN_S, 2 * idle.SLEEP_MIN_S, 4 * idle.SLEEP_MIN_S]
    assert slept[-1] == idle.SLEEP_MAX_S


def test_sleeps_start_short_again_after_work(monkeypatch):
    slept = []
    monkeypatch.setattr(idle.time, "sleep", slept.append)
    turns(idle.strategy("park"), *[0] * (idle.YIELDS + 5), 1, *[0] * (idle.YIELDS + 1))
    assert slept[-1] == idle.SLEEP_MIN_S


def test_spinning_ignores_a_bell():
    bell = Bell()
    turns(idle.strategy("spin", bell), *[0] * 20)
    assert not bell.calls
