"""The marks in the lanes of paused queues: a worker ..."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from haulier.domain.claim import Lane, Mark
from haulier.worker.lanes.marks import MOST_LANES, Marks
from tests.worker.jobs import a_claimed_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lanes(clock) -> Marks:
    return Marks(clock=clock)


def lane(seconds: float, *, queue: str = "default", due_in: float = -1.0) -> Lane:
    return Lane(Mark(queue, 0, NOW + timedelta(seconds=seconds), UUID(int=1)), due_in)


def test_waits_for_no_job_of_a_lane_that_is_paused_without_an_end(lanes, clock):
    lanes.scanned([lane(0, due_in=math.inf)], began_at=clock.now)
    alone = lanes.seconds_until_due(), lanes.has_due
    lanes.scanned([lane(0, due_in=math.inf), lane(0, queue="mail", due_in=7.0)], began_at=clock.now)

    assert alone == (None, False)
    assert (lanes.seconds_until_due(), lanes.has_due) == (7.0, False)


def test_of_many_lanes_keeps_none_that_is_paused(lanes, clock):
    paused = [lane(n, queue=f"q{n}", due_in=math.inf) for n in range(MOST_LANES)]

    lanes.scanned([lane(0), *paused], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["default"]


def test_scans_at_once_where_it_is_asked_to_but_for_half_of_the_time_at_most(lanes, clock):
    began_at = clock.now
    clock.now += 0.01
    lanes.scanned([lane(0)], began_at=began_at)
    lanes.claimed([a_claimed_job(queue="default", priority=0)], is_short=False)

    lanes.want_scan()
    too_soon = lanes.is_scan_due()
    clock.now += 0.021
    assert (too_soon, lanes.is_scan_due()) == (False, True)
    lanes.scan_begins()
    lanes.scanned([lane(0)], began_at=clock.now)
    assert not lanes.is_scan_due()


def test_a_scan_that_is_asked_for_while_one_is_under_way_comes_after_it(lanes, clock):
    lanes.scan_begins()
    lanes.want_scan()
    lanes.scanned([lane(0)], began_at=clock.now)

    assert lanes.is_scan_due()
