"""How much one call carries: it ..."""

from __future__ import annotations

import pytest

from haulier.queue.consume.claim import MOST_BYTES
from haulier.worker.supply.sizes import MOST_AT_ONCE, QUICK_CALL_SECONDS, SLOW_CALL_SECONDS, CallSize


@pytest.fixture
def size() -> CallSize:
    return CallSize()


def test_is_as_many_jobs_as_pay_where_they_are_small(size):
    size.brought(1000, 200_000)

    assert size.jobs == MOST_AT_ONCE


def test_is_no_more_than_fits_of_what_was_seen_lately(size):
    size.brought(8, 8 * 250_000)

    assert size.jobs == MOST_BYTES // 250_000


def test_is_one_job_at_least(size):
    size.brought(1, 200_000_000)

    assert size.jobs == 1


def test_believes_in_small_jobs_again_by_and_by(size):
    size.brought(8, 8 * 250_000)
    large = size.jobs
    for _ in range(12):
        size.brought(30, 30 * 200)

    assert large < 40
    assert size.jobs == MOST_AT_ONCE


def test_is_half_of_what_was_sent_where_no_answer_came_in_time_and_grows_when_calls_are_quick_again(size):
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


def test_stays_as_it_is_where_a_call_was_cut_off_at_once(size):
    size.failed(1000, 0.2)

    assert size.jobs == MOST_AT_ONCE


def test_goes_down_to_one_where_all_is_refused(size):
    for _ in range(20):
        size.refused(size.jobs)

    assert size.jobs == 1
    assert size.is_halved
