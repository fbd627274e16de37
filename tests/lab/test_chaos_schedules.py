"""The verdict of the chaos suite on schedules, on pauses and on a whole run: it ..."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from lab.chaos import one_dyno, soak, verdict
from lab.chaos.__main__ import is_good, kept_its_promises
from lab.chaos.evidence import Evidence
from lab.chaos.faults import Injected
from lab.chaos.ledger import Event, Record
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


# --- Pauses


JOB, CLAIM = UUID(int=7), UUID(int=8)
PAUSE = Injected("queue_paused", 40.0, 44.0, ("workers",))


def found_at(at: float, *injected: Injected, **known: object) -> dict[str, int]:
    """Return the breaches if process 300 started a job at this time."""
    records = [Record(JOB, CLAIM, 1, 300, Event.START, at)]
    evidence = Evidence(1.0, records=records, injected=[PAUSE, *injected], **known)
    verdicts = verdict.judge(evidence)["verdicts"]
    return {name: verdicts[name] for name in ("claimed_while_paused", "started_while_paused") if verdicts[name]}


def test_finds_what_was_claimed_in_a_pause_or_started_a_second_after_its_beginning():
    starts = {39.0: 0, 40.9: 0, 41.1: 1, 43.9: 1, 44.1: 0}

    assert {at: found_at(at).get("started_while_paused", 0) for at in starts} == starts
    assert found_at(39.0, claimed_while_paused=[str(JOB)]) == {"claimed_while_paused": 1}


def test_blames_no_start_of_a_process_that_was_held_up():
    held_up = [
        Injected("database_slow", 30.0, 35.0, ("workers",)),
        Injected("worker_paused", 40.0, 40.9, (), (300,)),
    ]
    free = [
        Injected("database_slow", 10.0, 15.0, ("workers",)),
        Injected("worker_paused", 40.0, 40.9, (), (400,)),
        Injected("web_killed", 40.0, 40.0, ("web",)),
    ]

    assert [each for each in held_up if found_at(42.0, each)] == []
    assert [each for each in free if found_at(42.0, each) != {"started_while_paused": 1}] == []
    # The machine stood still.
    assert found_at(42.0, stalls=[(40.5, 42.0)]) == {}


# --- A whole run


def test_a_run_is_good_only_if_its_promises_held_and_its_targets_of_time_were_met():
    result = {
        "verdicts": {"lost": 0},
        "could_not_be_done": [],
        "targets": {"crash_to_restart_p99": {"met": True}, "database_back_to_api": {"met": True}},
    }
    broken: list[dict[str, Any]] = [{"verdicts": {"lost": 1}}, {"could_not_be_done": ["disk_full"]}]
    late = {"targets": {"crash_to_restart_p99": {"met": False}}}

    assert is_good(result)
    assert [wrong for wrong in [*broken, late] if is_good({**result, **wrong})] == []
    assert [kept_its_promises({**result, **wrong}) for wrong in [*broken, late]] == [False, False, True]


def test_a_soak_is_good_only_if_all_of_it_is():
    result: dict[str, Any] = {"asked_rate": 500.0, "rate": 499.0, "flat": True}
    result |= {"lost": 0, "stuck": 0, "not_answered": 0}
    result["peaks"] = one_dyno.peaks([{"dyno_rss_bytes": 536e6, "connections": 20}])
    too_many = [{"dyno_rss_bytes": 1e6, "connections": 21}, {"dyno_rss_bytes": 1e6, "connections": 3}]
    too_large = [{"dyno_rss_bytes": 540e6, "connections": 2}]
    wrong: list[dict[str, Any]] = [
        {"rate": 480.0},
        {"flat": False},
        {"lost": 1},
        {"stuck": 1},
        {"not_answered": 1},
        {"peaks": one_dyno.peaks(too_many)},
        {"peaks": one_dyno.peaks(too_large)},
    ]

    assert soak.is_good(result)
    assert [each for each in wrong if soak.is_good({**result, **each})] == []
