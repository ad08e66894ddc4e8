"""An hour of three processes that together use up what a venue allows, as the venue counts it."""

import multiprocessing
import random
import time

import pytest

from gateways.adapter import Cost, Limit
from gateways.limits import RateLimits
from gateways.simulator.limits import SlidingLimit

pytestmark = [pytest.mark.slow, pytest.mark.processes]

HOUR_S = 3600
SPEED = 120
"""Seconds of the venue's clock in one of ours."""
S = 1_000_000_000
START = 1_800_000_000 * S
PROCESSES = 3
DELAY_NS = 15_000_000
"""A request takes up to so long to arrive."""

WEIGHT = Limit("weight", 2400, 60.0, aligned=True, reserve=0.03)
PLACE = Limit("place", 60, 2.0, aligned=False, per="account", scoped=True, reserve=0.0)
CANCEL = Limit("cancel", 60, 2.0, aligned=False, per="account", scoped=True, reserve=0.0)
CANCEL_EVERY_S = 2.0
"""Of each process: one unit of weight a time, all in all 3.75 % of the budget."""


def trade(instance, seed, ready, begin, results):
    """Send as many orders as may be sent, and cancels by the clock; report what was sent when."""
    limits = RateLimits(instance, "venue", "main", (WEIGHT, PLACE, CANCEL))
    rng, sent, held_back = random.Random(seed), [], 0
    order = [Cost("weight"), Cost("place", 1, "BTC")]
    other = [Cost("weight"), Cost("place", 1, "ETH")]
    cancel = [Cost("weight"), Cost("cancel", 1, "BTC")]
    next_cancel = START + rng.randrange(S)
    ready.wait()
    while (began := begin.value) == 0 or time.time_ns() < began:
        time.sleep(0.001)
    while True:
        now = START + int((time.time_ns() - began) * SPEED)
        if now - START > HOUR_S * S:
            break
        while next_cancel <= now:
            held_back += limits.take(cancel, True, now) > 0
            sent.append((now + rng.randrange(DELAY_NS), "cancel BTC"))
            next_cancel += int(CANCEL_EVERY_S * S)
        for costs, name in ((order, "place BTC"), (other, "place ETH")):
            if limits.take(costs, False, now) == 0:
                sent.append((now + rng.randrange(DELAY_NS), name))
        time.sleep(0.0001)
    limits.close()
    results.put((sent, held_back))


def test_an_hour_at_the_budget_is_never_refused_and_cancels_never_wait(instance):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    ready, begin = context.Barrier(PROCESSES + 1), context.Value("q", 0)
    workers = [
        context.Process(target=trade, args=(instance, seed, ready, begin, results))
        for seed in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    begin.value = time.time_ns() + S // 10
    answers = [results.get() for _ in workers]
    for worker in workers:
        worker.join()

    # The venue's side: what arrives, in the order in which it does.
    rolling = {name: SlidingLimit(60, 2.0) for name in ("place BTC", "place ETH", "cancel BTC")}
    minutes, refused = {}, 0
    for at, name in sorted(entry for sent, _ in answers for entry in sent):
        refused += not rolling[name].allow(at / S)
        minutes[at // (60 * S)] = minutes.get(at // (60 * S), 0) + 1
    assert refused == 0
    assert max(minutes.values()) <= WEIGHT.most
    assert sum(held_back for _, held_back in answers) == 0
    whole = sorted(minutes)[1:-1]
    assert len(whole) == 58
    assert sum(minutes[minute] for minute in whole) / (len(whole) * WEIGHT.most) >= 0.98
