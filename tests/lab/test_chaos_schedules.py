"""The verdict of the chaos suite on schedules: it ..."""

from __future__ import annotations

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


def test_finds_nothing_if_each_tick_has_its_row_and_its_job():
    assert found(planted(), BOTH, JOBS) == {}
    assert found(planted(pending_at=102.0, overlap="queue_one"), BOTH[:1], JOBS[:1]) == {}


def test_finds_what_is_not_accounted_for_once():
    skipped = [tick(outcome=MISSED, late=70), tick(102.0)]
    cases = {
        "no row": (BOTH[:1], JOBS[:1], "tick_unaccounted"),
        "no job": (BOTH, JOBS[:1], "tick_unaccounted"),
        "two jobs": (BOTH, [*JOBS, job()], "tick_fired_twice"),
        "a job without a tick": (BOTH, [*JOBS, job(101.5)], "tick_fired_twice"),
        "no such tick": ([*BOTH, tick(101.5, MISSED, 70)], JOBS, "tick_against_its_rule"),
        "skipped, and a job": (skipped, JOBS, "tick_fired_twice"),
    }

    judged = {name: found(planted(), ticks, jobs) for name, (ticks, jobs, _) in cases.items()}

    assert judged == {name: {breach: 1} for name, (_, _, breach) in cases.items()}


def test_finds_an_outcome_that_the_rule_does_not_give():
    right = [
        (planted(), tick(102.0, MISSED, 61)),
        (planted(), tick(102.0, "skipped_refused", 61)),
        (planted(missed="skip"), tick(102.0, FIRED, 60)),
        (planted("skip"), tick(102.0, OVERLAPPED)),
    ]
    wrong = [
        (planted(), tick(102.0, MISSED, 59)),
        (planted(), tick(102.0, "skipped_refused", 59)),
        (planted(missed="all"), tick(102.0, MISSED, 61)),
        (planted(missed="skip"), tick(102.0, FIRED, 62)),
        (planted(), tick(102.0, PASSED)),
        (planted(), tick(102.0, OVERLAPPED)),
        (planted("skip"), tick(102.0, OVERLAPPED, 30)),
    ]

    def judged(schedule: Planted, second: Tick) -> dict[str, int]:
        return found(schedule, [tick(), second], JOBS if second.outcome == FIRED else JOBS[:1])

    assert [each for each in right if judged(*each)] == []
    assert [each for each in wrong if judged(*each) != {"tick_against_its_rule": 1}] == []


def test_finds_what_fired_while_it_was_paused_or_beside_a_live_job():
    passed = [tick(outcome=PASSED), tick(102.0, PASSED)]

    assert found(planted(is_paused=True), passed, []) == {}
    assert found(planted(is_paused=True), [passed[0], tick(102.0)], JOBS[1:]) == {"tick_against_its_rule": 1}
    assert found(planted("skip"), BOTH, JOBS, beside=[("s", 102.0)]) == {"tick_against_its_rule": 1}


def test_counts_the_outcomes():
    evidence = Evidence(1.0, schedules=Accounts([planted()], [tick(), tick(102.0, MISSED, 61)], JOBS[:1]))

    assert verdict.judge(evidence)["ticks"] == {FIRED: 1, MISSED: 1}
