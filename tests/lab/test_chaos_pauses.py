"""The verdict of the chaos suite on pauses: it ..."""

from __future__ import annotations

from uuid import UUID

from lab.chaos import verdict
from lab.chaos.evidence import Evidence
from lab.chaos.faults import Injected
from lab.chaos.ledger import Event, Record

JOB, CLAIM = UUID(int=7), UUID(int=8)
PAUSE = Injected("queue_paused", 40.0, 44.0, ("workers",))


def found(at: float, *injected: Injected, **known: object) -> dict[str, int]:
    """Return the breaches if process 300 started a job at this time."""
    records = [Record(JOB, CLAIM, 1, 300, Event.START, at)]
    evidence = Evidence(1.0, records=records, injected=[PAUSE, *injected], **known)
    verdicts = verdict.judge(evidence)["verdicts"]
    return {name: verdicts[name] for name in ("claimed_while_paused", "started_while_paused") if verdicts[name]}


def test_finds_what_started_a_second_after_the_pause_and_before_its_end():
    starts = {39.0: 0, 40.9: 0, 41.1: 1, 43.9: 1, 44.1: 0}

    assert {at: found(at).get("started_while_paused", 0) for at in starts} == starts


def test_finds_what_was_claimed_meanwhile():
    assert found(39.0, claimed_while_paused=[str(JOB)]) == {"claimed_while_paused": 1}


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

    assert [each for each in held_up if found(42.0, each)] == []
    assert [each for each in free if found(42.0, each) != {"started_while_paused": 1}] == []
    # The machine stood still.
    assert found(42.0, stalls=[(40.5, 42.0)]) == {}
