"""The jobs that the database refuses: a worker ..."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from uuid import UUID

import pytest

from haulier.domain.claim import Lane, Mark
from haulier.worker.lanes import Lanes
from haulier.worker.lanes.refused import (
    FIRST_PAUSE_SECONDS,
    LANE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_LOGGED,
    MOST_REFUSED,
    RefusalLog,
    Refused,
    RefusedLanes,
)

JOB, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def refused(clock) -> Refused:
    return Refused("claim", RefusalLog(clock=clock), clock=clock)


@pytest.fixture
def refuse(refused):
    def refuse(*job_ids: UUID) -> None:
        for job_id in job_ids:
            refused.add(job_id, ValueError("not today"))

    return refuse


def test_skips_a_job_for_a_pause_that_doubles_up_to_a_bound(refused, refuse, clock):
    def pause() -> float:
        refuse(JOB)
        began = clock.now
        while refused.is_waiting(JOB):
            clock.now += 0.5
        return clock.now - began

    pauses = [pause() for _ in range(12)]

    assert pauses[:4] == [FIRST_PAUSE_SECONDS * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    refused.forget([JOB, OTHER])
    assert pause() == FIRST_PAUSE_SECONDS


def test_skips_only_jobs_whose_time_has_not_come(refused, refuse, clock):
    refuse(JOB)
    clock.now += FIRST_PAUSE_SECONDS
    refuse(OTHER)

    assert (refused.waiting(), refused.due()) == ([OTHER], {JOB})
    assert (refused.is_waiting(JOB), refused.is_waiting(OTHER)) == (False, True)


def test_names_each_once_a_minute_at_most(refuse, clock, caplog):
    for _ in range(60):
        refuse(JOB)
        clock.now += 1

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(JOB) in caplog.text
    assert "not today" in caplog.text
    refuse(JOB)
    assert len(caplog.records) == 2


def test_names_each_once_a_minute_whichever_statement_refuses_it_and_also_anew(clock, caplog):
    told = RefusalLog(clock=clock)
    to_rescue, to_settle = (Refused(statement, told, clock=clock) for statement in ("rescue", "settle"))

    to_rescue.add(JOB, ValueError("no"))
    to_rescue.forget([JOB])
    to_settle.add(JOB, ValueError("no"))
    to_settle.add(OTHER, ValueError("no"))

    assert [record.job_id for record in caplog.records] == [str(JOB), str(OTHER)]


def test_names_only_a_few_if_everything_is_refused(refuse, caplog):
    refuse(*(UUID(int=n) for n in range(MOST_REFUSED - 1)))

    assert len(caplog.records) == MOST_LOGGED


def test_is_full_at_a_bound_until_the_jobs_are_due_again(refused, refuse, clock):
    refuse(*(UUID(int=n) for n in range(MOST_REFUSED - 1)))
    full = [refused.is_full]

    refuse(UUID(int=MOST_REFUSED))
    full.append(refused.is_full)
    clock.now += LONGEST_PAUSE_SECONDS

    assert [*full, refused.is_full] == [False, True, False]


def test_tries_many_again_after_longer(refused, refuse, clock):
    refuse(*(UUID(int=n) for n in range(400)))

    clock.now += 10

    assert refused.is_waiting(UUID(int=399))


def test_skips_a_lane_for_a_while(clock):
    lanes = RefusedLanes(clock=clock)
    marks = [Mark(queue, 0, datetime(2026, 1, 1, tzinfo=UTC), JOB) for queue in ("bad", "good")]
    before = lanes.leave_out(marks)
    lanes.add(("bad", 0))
    meanwhile = lanes.leave_out(marks)
    clock.now += LANE_SECONDS

    assert (before, meanwhile, lanes.leave_out(marks)) == (marks, marks[1:], marks)


def test_forgets_one_that_was_not_refused_again_for_long(refused, refuse, clock):
    refuse(JOB)
    held = []
    for seconds in (LONGEST_PAUSE_SECONDS + FIRST_PAUSE_SECONDS, 1):
        clock.now += seconds
        refused.waiting()
        held.append(len(refused))

    assert held == [1, 0]


def test_claims_nothing_while_too_many_claims_or_outcomes_are_refused():
    mark = Mark("mail", 0, datetime(2026, 1, 1, tzinfo=UTC), JOB)
    seen = []
    for statement in ("refused_claims", "refused_settles", "refused_rescues"):
        lanes = Lanes()
        lanes.marks.scanned([Lane(mark, -1.0)], began_at=0.0)
        for n in range(MOST_REFUSED):
            getattr(lanes, statement).add(UUID(int=n), ValueError("no"))
        seen.append(lanes.to_claim())

    assert seen == [[], [], [mark]]
