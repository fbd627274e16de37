"""How much is claimed at once, and how much one call carries: it ..."""

from __future__ import annotations

import pytest

from haulier.queue.claims.claim import MOST_BYTES
from haulier.worker.supply.sizes import (
    MOST_AHEAD,
    MOST_AT_ONCE,
    QUICK_CALL_SECONDS,
    SLOW_CALL_SECONDS,
    CallSize,
    ClaimSize,
)
from tests.worker.jobs import a_job, learn


@pytest.fixture
def pace() -> ClaimSize:
    return ClaimSize(threads=16)


def test_claims_nothing_ahead_before_it_knows_anything(pace):
    assert pace.ahead() == 0
    assert not pace.is_quick("mail")
    # One for each free thread; that the rest is as quick is not known.
    assert pace.fitting([a_job("mail") for _ in range(40)], free=16) == 16 + 1


@pytest.mark.parametrize(("seconds", "ahead"), [(0.00002, MOST_AHEAD), (0.005, 160), (0.2, 0)])
def test_holds_as_many_jobs_as_the_threads_run_in_the_window(pace, seconds, ahead):
    learn(pace, "mail", seconds)

    assert pace.ahead() == pytest.approx(ahead, rel=0.02)
    assert pace.is_quick("mail") is (seconds < 0.001)


def test_holds_also_what_runs_while_the_claims_of_a_far_database_are_under_way(pace):
    learn(pace, "mail", 0.02)
    pace.answered(0.001)
    near = pace.ahead()

    for _ in range(20):
        pace.answered(0.05)
    far = pace.ahead()
    pace.answered(0.002)
    # A single claim may be slow for any reason.
    for _ in range(5):
        pace.answered(3.0)

    assert near == pytest.approx(40, abs=1)
    assert far == pytest.approx(80, abs=1)
    assert pace.ahead() == pytest.approx(41, abs=1)
    for _ in range(20):
        pace.answered(60.0)
    assert pace.ahead() == pytest.approx(240, abs=1)


def test_follows_a_kind_that_has_become_slow_but_not_one_slow_job(pace):
    learn(pace, "mail", 0.005)

    learn(pace, "mail", 30.0, times=1)
    after_one = pace.ahead()
    learn(pace, "mail", 2.0, times=100)

    assert after_one > 80
    assert pace.ahead() == 0


def learn_a_mix(pace: ClaimSize, quick: float) -> None:
    learn(pace, "quick", quick)
    learn(pace, "slow", 1.0, times=1)
    learn(pace, "quick", quick)


def test_keeps_jobs_that_start_in_time_and_expects_the_same_mix():
    pace = ClaimSize(threads=4)
    learn_a_mix(pace, 0.0001)
    assert pace.ahead() > 100
    # Quick ones are all kept.
    assert pace.fitting([a_job("quick")] * 500, free=0) == 500

    kept = pace.fitting([a_job("quick")] * 10 + [a_job("slow")] * 90, free=2)

    # A slow one more takes a thread longer than the window.
    assert kept == 10
    assert pace.ahead() < 10


def test_claims_no_more_of_a_mix_than_it_keeps():
    pace = ClaimSize(threads=8)
    learn_a_mix(pace, 0.00002)
    mix = ([a_job("quick")] * 19 + [a_job("slow")]) * 25
    assert pace.ahead() == MOST_AHEAD

    # Whoever crashes while it holds five hundred makes suspects of all, which then run one after the other.
    for _ in range(8):
        kept = pace.fitting(mix, free=0)

    assert kept == 19
    assert pace.ahead() <= 2 * kept
    learn(pace, "quick", 0.00002, times=101)
    assert pace.ahead() == MOST_AHEAD


# How much one call carries


@pytest.fixture
def size() -> CallSize:
    return CallSize()


def test_carries_what_fits_of_recent_jobs_and_one_job_at_least(size):
    carried = []
    for jobs, size_of_each in ((1000, 200), (8, 250_000), (1, 200_000_000), *[(30, 200)] * 24):
        size.brought(jobs, jobs * size_of_each)
        carried.append(size.jobs)

    assert carried[:3] == [MOST_AT_ONCE, MOST_BYTES // 250_000, 1]
    # It grows again with small ones, step by step.
    assert carried[3] == 1
    assert carried[-1] == MOST_AT_ONCE


def test_halves_after_a_call_without_answer_and_doubles_after_quick_ones(size):
    size.failed(33, SLOW_CALL_SECONDS)
    halved = size.jobs
    size.succeeded(QUICK_CALL_SECONDS + 0.1)
    slow = size.jobs
    size.succeeded(QUICK_CALL_SECONDS / 2)

    assert (halved, slow, size.jobs) == (16, 16, 32)
    for _ in range(10):
        size.succeeded(0.01)
    assert size.jobs == MOST_AT_ONCE
    assert not size.is_halved


def test_shrinks_if_calls_are_refused_but_not_if_one_is_cut_off(size):
    size.failed(1000, 0.2)
    kept = size.jobs
    for _ in range(20):
        size.refused(size.jobs)

    assert (kept, size.jobs, size.is_halved) == (MOST_AT_ONCE, 1, True)
