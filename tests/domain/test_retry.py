"""Decorrelated jitter: it ..."""

from __future__ import annotations

import random

import pytest

from haulier.domain.retry import RetryPolicy


def highest(low: float, high: float) -> float:
    assert low <= high
    return high


def lowest(low: float, high: float) -> float:
    assert low <= high
    return low


def test_sleeps_from_base_to_three_times_base_before_the_second_attempt():
    policy = RetryPolicy(base=2.0, cap=60.0)

    shortest, longest = policy.next_sleep(None, lowest), policy.next_sleep(None, highest)

    assert (shortest, longest) == (2.0, 6.0)


def test_sleeps_up_to_three_times_the_previous_sleep():
    policy = RetryPolicy(base=1.0, cap=60.0)

    shortest, longest = policy.next_sleep(7.0, lowest), policy.next_sleep(7.0, highest)

    assert (shortest, longest) == (1.0, 21.0)


def test_never_sleeps_longer_than_the_cap():
    policy = RetryPolicy(base=1.0, cap=60.0)

    longest = policy.next_sleep(59.0, highest)

    assert longest == 60.0


@pytest.mark.parametrize("previous", [0.0, 0.001, 0.3])
def test_never_sleeps_shorter_than_base_whatever_an_older_policy_left_on_the_row(previous):
    policy = RetryPolicy(base=5.0, cap=60.0)

    shortest = policy.next_sleep(previous, lowest)

    assert shortest == 5.0


def test_grows_towards_the_cap_and_stays_within_its_bounds():
    policy, rng = RetryPolicy(), random.Random(4)

    sleeps = [policy.next_sleep(None, rng.uniform)]
    for _ in range(2000):
        sleeps.append(policy.next_sleep(sleeps[-1], rng.uniform))

    assert all(1.0 <= sleep <= 60.0 for sleep in sleeps)
    assert all(after <= 3 * before for before, after in zip(sleeps, sleeps[1:], strict=False))
    assert max(sleeps) == 60.0
    assert len({round(sleep, 6) for sleep in sleeps}) > 1000


def test_draws_a_fresh_sleep_each_time_without_being_told_how():
    policy = RetryPolicy()

    sleeps = {policy.next_sleep(20.0) for _ in range(50)}

    assert len(sleeps) > 40
    assert all(1.0 <= sleep <= 60.0 for sleep in sleeps)
