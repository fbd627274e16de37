"""The marks in the lanes: a worker ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.domain.job import Job
from app.queue.consume import Lane, Mark
from app.worker.lanes import FULL_SCAN_SECONDS, MANY_LANES, MOST_LANES, SCAN_SECONDS, Lanes
from tests.worker.test_pace import a_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def lanes(clock) -> Lanes:
    return Lanes(clock=clock)


def at(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1) -> Job:
    """Return a claimed job at this place of its lane."""
    run_at = NOW + timedelta(seconds=seconds)
    return a_job("mail")._replace(queue=queue, priority=priority, run_at=run_at, id=UUID(int=n))


def lane(seconds: float, *, queue: str = "default", priority: int = 0, n: int = 1, due_in: float = -1.0) -> Lane:
    return Lane(Mark(queue, priority, NOW + timedelta(seconds=seconds), UUID(int=n)), due_in)


def test_scans_before_its_first_claim(lanes):
    assert lanes.marks() == []
    assert lanes.is_scan_due()


def test_begins_at_the_head_that_a_scan_saw_and_then_where_it_last_claimed(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    head = lanes.marks()

    lanes.claimed([at(1, n=5), at(2, n=9), at(3, n=1), at(3, n=2)], is_short=False)

    assert head == [Mark("default", 0, NOW, UUID(int=1))]
    assert lanes.marks() == [Mark("default", 0, NOW + timedelta(seconds=3), UUID(int=2))]


def test_moves_its_mark_back_to_what_it_gave_back_and_to_what_a_scan_saw(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(9, n=2)], is_short=False)

    lanes.given_back([at(5, n=7)])
    given_back = lanes.marks()
    lanes.scanned([lane(4)], began_at=clock.now)

    assert given_back == [Mark("default", 0, NOW + timedelta(seconds=5), UUID(int=7))]
    assert lanes.marks() == [Mark("default", 0, NOW + timedelta(seconds=4), UUID(int=1))]


def test_takes_the_highest_priority_first_then_the_longest_due(lanes, clock):
    lanes.scanned([lane(5), lane(9, priority=3), lane(1, queue="mail")], began_at=clock.now)

    assert [(mark.queue, mark.priority) for mark in lanes.marks()] == [("default", 3), ("mail", 0), ("default", 0)]


def test_knows_a_lane_that_is_empty_for_its_next_job(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(1)], is_short=True)

    lanes.scanned([], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["default"]


def test_reads_no_more_lanes_at_once_than_a_claim_should(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(1000)], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == [f"q{n}" for n in range(MANY_LANES)]


def test_scans_again_at_once_after_an_empty_claim_and_now_and_then_after_others(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    idle = lanes.seconds_until_scan()
    lanes.claimed([at(1)], is_short=False)
    full = lanes.seconds_until_scan()
    lanes.claimed([at(2)], is_short=True)
    short = lanes.seconds_until_scan()

    lanes.claimed([], is_short=True)

    assert idle == pytest.approx(SCAN_SECONDS)
    assert full == pytest.approx(FULL_SCAN_SECONDS)
    assert short == pytest.approx(SCAN_SECONDS)
    assert lanes.is_scan_due()


def test_lets_the_first_job_after_an_idle_while_start_before_it_scans(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([], is_short=True)
    clock.now += 60

    lanes.claimed([at(1)], is_short=True)
    first = lanes.is_scan_due()
    lanes.claimed([at(2)], is_short=True)

    assert not first
    assert lanes.is_scan_due()


@pytest.mark.parametrize("is_short", [True, False])
def test_a_scan_changes_nothing_of_what_the_last_claim_told(lanes, clock, is_short):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(1)], is_short=is_short)

    lanes.scanned([lane(2)], began_at=clock.now)

    assert lanes.is_short is is_short


def test_stays_where_it_is_when_a_scan_sees_nothing_before_it(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(0, n=5)], is_short=False)

    # Of the same instant, as all jobs of one INSERT are.
    lanes.scanned([lane(0, n=6)], began_at=clock.now)

    assert lanes.marks() == [Mark("default", 0, NOW, UUID(int=6))]


@pytest.mark.parametrize("is_short", [True, False])
def test_gives_scans_a_twentieth_of_the_time_at_most(lanes, clock, is_short):
    clock.now += 0.05
    lanes.scanned([lane(0)], began_at=clock.now - 0.05)
    lanes.claimed([], is_short=is_short)

    assert lanes.seconds_until_scan() == pytest.approx(1.0)


def test_tells_when_the_next_is_due(lanes, clock):
    lanes.scanned([lane(0, due_in=5.0), lane(0, queue="mail", due_in=3.0)], began_at=clock.now)
    clock.now += 2

    assert lanes.seconds_until_due() == pytest.approx(1.0)
    assert not lanes.has_due
    clock.now += 1
    assert lanes.has_due


@pytest.mark.parametrize("deferred", [MOST_LANES, 3 * MOST_LANES])
def test_are_not_hidden_by_any_number_of_better_ones_that_are_not_due(lanes, clock, deferred):
    better = [lane(3600, queue=f"q{n}", priority=9, due_in=3600) for n in range(deferred)]

    for _ in range(2):
        lanes.scanned([*better, lane(0)], began_at=clock.now)

        assert Mark("default", 0, NOW, UUID(int=1)) in lanes.marks()
        assert len(lanes.marks()) <= MOST_LANES


def test_are_not_hidden_by_any_number_of_better_ones_that_have_become_empty(lanes, clock):
    lanes.scanned([lane(0, queue=f"q{n}", priority=9) for n in range(MOST_LANES)], began_at=clock.now)

    lanes.scanned([lane(0)], began_at=clock.now)

    assert Mark("default", 0, NOW, UUID(int=1)) in lanes.marks()


def test_forgets_a_lane_that_has_nothing_more_where_there_are_others_that_were_not_read(lanes, clock):
    count = 2 * MANY_LANES + 5
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(count)], began_at=clock.now)
    read = []
    while len(read) < count:
        marks = lanes.marks()
        read += [mark.queue for mark in marks]
        lanes.claimed([at(0, queue=mark.queue) for mark in marks], is_short=True, read=marks)

    assert read == [f"q{n}" for n in range(count)]
    assert lanes.is_short


def test_looks_at_no_lane_from_its_start_before_each_was_read(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(2 * MANY_LANES)], began_at=clock.now)

    lanes.claimed([], is_short=True, read=lanes.marks())
    with_others = lanes.seconds_until_scan()
    lanes.claimed([], is_short=True, read=lanes.marks())

    assert with_others == FULL_SCAN_SECONDS
    assert lanes.seconds_until_scan() == 0


def test_keeps_the_lanes_of_a_claim_that_has_left_some_of_what_there_was(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(2 * MANY_LANES)], began_at=clock.now)
    marks = lanes.marks()

    lanes.claimed([at(0, queue=mark.queue) for mark in marks], is_short=False, read=marks)

    assert {mark.queue for mark in lanes.marks()} == {mark.queue for mark in marks}
