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


def test_claims_nothing_ahead_before_it_knows_anything():
    pace = ClaimSize(threads=16)

    assert pace.ahead() == 0
    assert not pace.is_quick("mail")
    # One for each free thread; that the rest is as quick is not known.
    assert pace.fitting([a_job("mail") for _ in range(40)], free=16) == 16 + 1


@pytest.mark.parametrize(("seconds", "ahead"), [(0.00002, MOST_AHEAD), (0.005, 160), (0.2, 0), (30.0, 0)])
def test_holds_as_many_jobs_as_the_threads_run_in_the_window(seconds, ahead):
    pace = ClaimSize(threads=16)

    learn(pace, "mail", seconds)

    assert pace.ahead() == pytest.approx(ahead, rel=0.02)
    assert pace.is_quick("mail") is (seconds < 0.001)


def test_is_hardly_moved_by_one_slow_job_among_many():
    pace = ClaimSize(threads=16)
    learn(pace, "mail", 0.005)

    learn(pace, "mail", 30.0, times=1)

    assert pace.ahead() > 80


def test_follows_a_kind_that_has_become_slow():
    pace = ClaimSize(threads=16)
    learn(pace, "mail", 0.005)

    learn(pace, "mail", 2.0, times=100)

    assert pace.ahead() == 0


def test_keeps_jobs_that_start_in_time_and_expects_the_same_mix():
    pace = ClaimSize(threads=4)
    learn(pace, "quick", 0.0001)
    learn(pace, "slow", 1.0, times=1)
    learn(pace, "quick", 0.0001)
    assert pace.ahead() > 100

    kept = pace.fitting([a_job("quick")] * 10 + [a_job("slow")] * 90, free=2)

    # A slow one more takes a thread longer than the window.
    assert kept == 10
    assert pace.ahead() < 10


def test_claims_no_more_of_a_mix_than_it_keeps():
    pace = ClaimSize(threads=8)
    learn(pace, "quick", 0.00002)
    learn(pace, "slow", 1.0, times=1)
    learn(pace, "quick", 0.00002)
    mix = ([a_job("quick")] * 19 + [a_job("slow")]) * 25
    assert pace.ahead() == MOST_AHEAD

    # Whoever crashes while it holds five hundred makes suspects of all, which then run one after the other.
    for _ in range(8):
        kept = pace.fitting(mix, free=0)

    assert kept == 19
    assert pace.ahead() <= 2 * kept


def test_claims_more_again_once_whole_claims_are_kept():
    pace = ClaimSize(threads=8)
    learn(pace, "quick", 0.00002)
    learn(pace, "slow", 1.0, times=1)
    for _ in range(6):
        pace.fitting([a_job("quick")] * 19 + [a_job("slow")] * 20, free=0)

    learn(pace, "quick", 0.00002, times=1)
    learn(pace, "quick", 0.00002, times=100)

    assert pace.ahead() == MOST_AHEAD


def test_gives_back_no_quick_job():
    pace = ClaimSize(threads=4)
    learn(pace, "quick", 0.0001)

    assert pace.fitting([a_job("quick")] * 500, free=0) == 500


# How much one call carries


@pytest.fixture
def size() -> CallSize:
    return CallSize()


def test_is_the_largest_claim_if_jobs_are_small(size):
    size.brought(1000, 200_000)

    assert size.jobs == MOST_AT_ONCE


def test_follows_the_size_of_recent_jobs(size):
    size.brought(8, 8 * 250_000)

    assert size.jobs == MOST_BYTES // 250_000


def test_is_one_job_at_least(size):
    size.brought(1, 200_000_000)

    assert size.jobs == 1


def test_grows_again_with_small_jobs(size):
    size.brought(8, 8 * 250_000)
    large = size.jobs
    for _ in range(12):
        size.brought(30, 30 * 200)

    assert large < 40
    assert size.jobs == MOST_AT_ONCE


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


def test_keeps_its_size_if_a_call_is_cut_off_at_once(size):
    size.failed(1000, 0.2)

    assert size.jobs == MOST_AT_ONCE


def test_goes_down_to_one_if_everything_is_refused(size):
    for _ in range(20):
        size.refused(size.jobs)

    assert size.jobs == 1
    assert size.is_halved
