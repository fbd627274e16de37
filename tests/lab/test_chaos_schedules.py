"""The verdict of the chaos suite on schedules: it ..."""

from __future__ import annotations

import pytest

from lab.chaos import verdict
from lab.chaos.evidence import Evidence
from lab.chaos.schedules import Accounts, Planted, Scheduled, Tick

FIRED, MISSED, PASSED, OVERLAPPED = "fired", "skipped_missed", "skipped_paused", "skipped_overlap"


def planted(overlap: str = "allow", missed: str = "last", **known: object) -> Planted:
    """Return a schedule with ticks at 101 and 102."""
    return Planted("s", overlap, missed, is_paused=False, since=100.0, until=102.0)._replace(**known)


def tick(at: float = 101.0, outcome: str = FIRED, late: float = 0.02) -> Tick:
    return Tick("s", at, at + late, outcome, f"job {at:.0f}" if outcome == FIRED else None)


def job(at: float = 101.0, finished_at: float | None = 101.5) -> Scheduled:
    return Scheduled(f"job {at:.0f}", "s", at, finished_at)


def found(schedule: Planted, ticks: list[Tick], jobs: list[Scheduled], **known: object) -> dict[str, int]:
    """Return the breaches of what schedules promise."""
    verdicts = verdict.judge(Evidence(1.0, schedules=Accounts([schedule], ticks, jobs, **known)))["verdicts"]
    return {name: number for name, number in verdicts.items() if number}


BOTH, JOBS = [tick(), tick(102.0)], [job(), job(102.0)]


def test_finds_nothing_where_each_tick_has_its_row_and_its_job():
    assert found(planted(), BOTH, JOBS) == {}
    assert found(planted(pending_at=102.0, overlap="queue_one"), BOTH[:1], JOBS[:1]) == {}


@pytest.mark.parametrize(
    ("ticks", "jobs", "breaches"),
    [
        (BOTH[:1], JOBS[:1], {"tick_unaccounted": 1}),
        (BOTH, JOBS[:1], {"tick_unaccounted": 1}),
        (BOTH, [*JOBS, job()], {"tick_fired_twice": 1}),
        (BOTH, [*JOBS, job(101.5)], {"tick_fired_twice": 1}),
        ([*BOTH, tick(101.5, MISSED, 70)], JOBS, {"tick_against_its_rule": 1}),
        ([tick(outcome=MISSED, late=70), tick(102.0)], JOBS, {"tick_fired_twice": 1}),
    ],
    ids=["no row", "no job", "two jobs", "a job without a tick", "no such tick", "skipped, and a job"],
)
def test_finds_what_is_not_accounted_for_once(ticks: list[Tick], jobs: list[Scheduled], breaches: dict[str, int]):
    assert found(planted(), ticks, jobs) == breaches


@pytest.mark.parametrize(
    ("schedule", "second", "is_breach"),
    [
        (planted(), tick(102.0, MISSED, 61), False),
        (planted(), tick(102.0, MISSED, 59), True),
        (planted(), tick(102.0, "skipped_refused", 61), False),
        (planted(), tick(102.0, "skipped_refused", 59), True),
        (planted(missed="all"), tick(102.0, MISSED, 61), True),
        (planted(missed="skip"), tick(102.0, FIRED, 60), False),
        (planted(missed="skip"), tick(102.0, FIRED, 62), True),
        (planted(), tick(102.0, PASSED), True),
        (planted(), tick(102.0, OVERLAPPED), True),
        (planted("skip"), tick(102.0, OVERLAPPED), False),
        (planted("skip"), tick(102.0, OVERLAPPED, 30), True),
    ],
    ids=str,
)
def test_finds_an_outcome_that_the_rule_does_not_give(schedule: Planted, second: Tick, is_breach: bool):
    jobs = JOBS if second.outcome == FIRED else JOBS[:1]

    assert found(schedule, [tick(), second], jobs) == ({"tick_against_its_rule": 1} if is_breach else {})


def test_finds_what_fired_while_it_was_paused_or_beside_a_live_job():
    passed = [tick(outcome=PASSED), tick(102.0, PASSED)]

    assert found(planted(is_paused=True), passed, []) == {}
    assert found(planted(is_paused=True), [passed[0], tick(102.0)], JOBS[1:]) == {"tick_against_its_rule": 1}
    assert found(planted("skip"), BOTH, JOBS, beside=[("s", 102.0)]) == {"tick_against_its_rule": 1}


def test_counts_the_outcomes():
    evidence = Evidence(1.0, schedules=Accounts([planted()], [tick(), tick(102.0, MISSED, 61)], JOBS[:1]))

    assert verdict.judge(evidence)["ticks"] == {FIRED: 1, MISSED: 1}
