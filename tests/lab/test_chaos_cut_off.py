"""The verdict on hosts that were cut off: a job ..."""

from __future__ import annotations

from uuid import UUID, uuid4

from lab.chaos.cut_off import is_met, judge
from lab.chaos.ledger import Event, Record


def run(job: str, claim: str, attempt: int = 1) -> Record:
    return Record(UUID(job), UUID(claim), attempt, 1, Event.START, float(attempt))


def broken(*args: object) -> set[str]:
    """Return the promises that the verdict calls broken."""
    return {name for name, times in judge(*args).items() if times}


def test_that_was_taken_over_once_and_ended_breaks_no_promise():
    job, first, second = (str(uuid4()) for _ in range(3))
    ended = [(job, second, second, "succeeded", 1)]

    assert broken([job], ended, set(), [run(job, first), run(job, second, 2)]) == set()


def test_that_breaks_a_promise_is_counted_under_it():
    job, first, second = (str(uuid4()) for _ in range(3))
    end, start = (job, first, first, "succeeded", 0), run(job, first)

    assert broken([job], [], set(), []) == {"lost"}
    assert broken([job], [], {job}, [start]) == {"stuck"}
    assert broken([job], [end, end], set(), [start]) == {"finished_twice"}
    assert broken([job], [(job, second, first, "succeeded", 1)], set(), [start]) == {"settled_by_a_stale_claim"}
    assert broken([job], [end], set(), [start, start]) == {"started_twice_under_one_claim"}
    assert broken([job], [(job, first, first, "failed_permanent", 0)], set(), [start]) == {"ended_wrongly"}
    assert broken([job], [end], set(), [start, run(job, second, 2)]) == {"unexplained"}


def test_that_nobody_had_to_rescue_shows_nothing():
    dead = {"declared_dead_seconds": 30.9, "restarted_jobs": 1}

    assert is_met({"lost": 0}, dead, 30)
    assert not is_met({"lost": 1}, dead, 30)
    assert not is_met({"lost": 0}, {**dead, "restarted_jobs": 0}, 30)
    assert not is_met({"lost": 0}, {**dead, "declared_dead_seconds": 31.1}, 30)
