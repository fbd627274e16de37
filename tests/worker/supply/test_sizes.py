"""The claim size: it ..."""

from __future__ import annotations

import pytest

from haulier.worker.supply.sizes import MOST_AHEAD, ClaimSize
from tests.worker.jobs import a_job, learn


def test_claims_nothing_ahead_before_it_knows_anything():
    pace = ClaimSize(threads=16)

    assert pace.ahead() == 0
    assert not pace.is_quick("mail")
    # One for each free thread; that the rest is as quick is not known.
    assert pace.fitting([a_job("mail") for _ in range(40)], free=16) == 16 + 1


@pytest.mark.parametrize(("seconds", "ahead"), [(0.00002, MOST_AHEAD), (0.005, 160), (0.2, 0), (30.0, 0)])
def test_holds_as_many_jobs_as_the_threads_do_in_the_window(seconds, ahead):
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


def test_keeps_of_a_claim_what_starts_in_time_and_expects_the_same_mix_next():
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


def test_claims_ever_more_once_all_of_it_is_kept():
    pace = ClaimSize(threads=8)
    learn(pace, "quick", 0.00002)
    learn(pace, "slow", 1.0, times=1)
    for _ in range(6):
        pace.fitting([a_job("quick")] * 19 + [a_job("slow")] * 20, free=0)

    learn(pace, "quick", 0.00002, times=1)
    learn(pace, "quick", 0.00002, times=100)

    assert pace.ahead() == MOST_AHEAD


def test_gives_back_none_of_the_quick_ones():
    pace = ClaimSize(threads=4)
    learn(pace, "quick", 0.0001)

    assert pace.fitting([a_job("quick")] * 500, free=0) == 500
