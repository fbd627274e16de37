"""Decorrelated jitter: it ..."""

from __future__ import annotations

import random

from haulier.domain.retry import RetryPolicy


def highest(low: float, high: float) -> float:
    assert low <= high
    return high


def lowest(low: float, high: float) -> float:
    assert low <= high
    return low


def test_sleeps_from_base_to_three_times_the_previous_sleep_within_base_and_cap():
    policy = RetryPolicy(base=2.0, cap=60.0)
    # An older policy may have left a sleep below the base on the row.
    bounds = {
        None: (2.0, 6.0),
        7.0: (2.0, 21.0),
        59.0: (2.0, 60.0),
        0.9: (2.0, 2.7),
        0.001: (2.0, 2.0),
        0.0: (2.0, 6.0),
    }

    assert {
        previous: (policy.next_sleep(previous, lowest), round(policy.next_sleep(previous, highest), 6))
        for previous in bounds
    } == bounds


def test_grows_towards_the_cap_and_stays_within_its_bounds():
    policy, rng = RetryPolicy(), random.Random(4)

    sleeps = [policy.next_sleep(None, rng.uniform)]
    for _ in range(2000):
        sleeps.append(policy.next_sleep(sleeps[-1], rng.uniform))

    assert all(1.0 <= sleep <= 60.0 for sleep in sleeps)
    assert all(after <= 3 * before for before, after in zip(sleeps, sleeps[1:], strict=False))
    assert max(sleeps) == 60.0
    assert len({round(sleep, 6) for sleep in sleeps}) > 1000


def test_draws_a_fresh_sleep_each_time():
    policy = RetryPolicy()

    sleeps = {policy.next_sleep(20.0) for _ in range(50)}

    assert len(sleeps) > 40
    assert all(1.0 <= sleep <= 60.0 for sleep in sleeps)
