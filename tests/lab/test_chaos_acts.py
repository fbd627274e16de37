"""The verdict of the chaos suite on what operators did: it ..."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from lab.chaos import acts, verdict
from lab.chaos.evidence import Evidence, Row, WayBack
from lab.chaos.ledger import Event, Record
from lab.chaos.load import Accepted, Answer
from lab.chaos.operators import Act, place_of
from lab.chaos.witness import Operation, Recorded, Witness, Written

JOB, COPY, OTHER = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2, 3))
PREVIEWED = Operation("op", "cancel", {"tag": ["group-1"]}, "done", 2, 1, 1, 0, None, 20, 25, [22], [30])


def wrote(tx: int, what: str, status: str = "queued", *, job: str = JOB, **other: Any) -> Written:
    return Written(tx, what, job, None, status, "default", 0, None, "group-1")._replace(**other)


def marked(tx: int, what: str, mark: int, **other: Any) -> Written:
    queue, priority = place_of(mark)
    return wrote(tx, what, mark=mark, queue=queue, priority=priority, **other)


def good() -> Witness:
    """Return the evidence of an operation that cancelled a job, and of single calls that did all else to it."""
    return Witness(
        [
            wrote(10, "enqueue"),
            marked(11, "change", 1),
            marked(12, "copy", 2, job=COPY, copy_of=JOB),
            wrote(30, "cancel", "cancelled"),
            wrote(31, "gone", "cancelled"),
            marked(31, "retry", 3),
            wrote(32, "cancel", "running"),
            wrote(33, "end", "cancelled"),
            wrote(34, "gone", "cancelled"),
        ],
        [PREVIEWED],
        [
            Recorded(11, "change", JOB, 1),
            Recorded(12, "copy", JOB, 2),
            Recorded(31, "retry", JOB, 3),
            Recorded(32, "cancel", JOB, None),
            Recorded(34, "delete", JOB, None),
            Recorded(29, "operate", "op", None),
        ],
    )


ACTS = [
    Act("change", JOB, 1, 200),
    Act("copy", JOB, 2, 201),
    Act("retry", JOB, 3, 0),
    Act("change", JOB, 4, 503),
    Act("cancel", JOB, None, 202),
    Act("delete", JOB, None, 409),
    Act("delete", JOB, None, 204),
    Act("operate", "op", None, 202),
]


def found(witness: Witness, answers: list[Act] = ACTS) -> set[str]:
    return {promise for promise, _ in acts.breaches(witness, answers)}


def with_operation(**other: Any) -> Witness:
    return replace(good(), operations=[PREVIEWED._replace(**other)])


def with_written(*more: Written, less: int = -1) -> Witness:
    return replace(good(), written=[*[each for n, each in enumerate(good().written) if n != less], *more])


def test_finds_nothing_if_each_was_done_once_or_in_part_before_a_cancel():
    assert found(good()) == found(with_operation(status="cancelled", skipped=0)) == set()


def test_finds_an_operation_that_did_other_than_it_says_or_was_previewed():
    cases: dict[str, list[dict[str, Any]]] = {
        "operation_did_not_end": [{"status": "running"}, {"status": "failed"}],
        "operation_miscounted": [{"skipped": 0}, {"done": 2, "skipped": 0}, {"skipped": 0, "failed": 1}],
        "operation_acted_on_others": [
            {"xmin": 10, "open": [11]},
            {"xmin": 5, "xmax": 11},
            {"filter": {"tag": ["group-2"]}},
            {"filter": {"queue": ["default"]}},
            {"filter": {"status": ["retrying"]}},
            {"action": "retry"},
        ],
    }

    missed = [
        other for promise, others in cases.items() for other in others if promise not in found(with_operation(**other))
    ]

    assert missed == []


def test_finds_a_job_on_which_an_operation_acted_twice():
    twice = with_written(wrote(35, "cancel", "cancelled"))

    assert found(replace(twice, operations=[PREVIEWED._replace(done=2, skipped=0, chunks=[30, 35])])) == {
        "operation_acted_twice",
        "operation_acted_on_others",
    }


def test_finds_an_act_that_was_not_done_once_and_wholly_or_is_not_on_record():
    recorded = good().recorded
    cases = {
        "act_not_done_once": [
            with_written(less=1),
            with_written(marked(40, "change", 1)),
            with_written(marked(40, "change", 4), marked(41, "change", 4)),
            with_written(marked(40, "change", 5)),
            with_written(wrote(11, "change", mark=1, queue="default", priority=1), less=1),
            with_written(wrote(40, "gone", "cancelled", job=COPY)),
            replace(good(), operations=[]),
        ],
        "act_not_on_record": [
            with_written(marked(40, "change", 4)),
            replace(good(), recorded=recorded[1:]),
            replace(good(), recorded=[*recorded, recorded[0]]),
            replace(good(), recorded=[*recorded, Recorded(40, "cancel", JOB, None)]),
            replace(good(), recorded=recorded[:-1]),
            replace(good(), recorded=[*recorded, Recorded(40, "operate", "op", None)]),
        ],
    }

    missed = {
        promise: numbers
        for promise, witnesses in cases.items()
        if (numbers := [number for number, each in enumerate(witnesses) if promise not in found(each)])
    }

    assert missed == {}


def test_compares_the_record_of_acts_on_operations_with_the_answers():
    # The status that was answered, and how often the act is on record.
    breaches = {(200, 0): True, (200, 1): False, (0, 1): False, (409, 1): True}

    def is_breach(status: int, times: int) -> bool:
        recorded = [*good().recorded, *[Recorded(40, "cancel_operation", "op", None)] * times]
        answers = [*ACTS, Act("cancel_operation", "op", None, status)]
        return "act_not_on_record" in found(replace(good(), recorded=recorded), answers)

    assert {case: is_breach(*case) for case in breaches} == breaches


# What they did explains what else is seen ----------------------------------------------------------------------------


def known(*written: Written, **other: Any) -> dict[str, Any]:
    """Return the verdict on a job of c.acted that ran twice, beside these writes."""
    row = Row(JOB, "c.acted", "succeeded", 2, 1, 20, None, None, {"claim": None, "attempt": 2}, 1, 15.2, 0)
    record = Record(UUID(JOB), UUID(OTHER), 1, 7, Event.START, 11.0)
    evidence = Evidence(
        1.0,
        accepted={JOB: Accepted(1, "single", "c.acted", 1000, 2, 10.0)},
        records=[
            record,
            record._replace(attempt=2, at=15.0),
            record._replace(attempt=2, at=15.1, event=Event.END),
        ],
        rows=[row._replace(**other)],
        ways_back=[WayBack(JOB, each.mark or 1, "", "retry", 14.0) for each in written if each.what == "retry"],
        witness=Witness(written),
    )
    return verdict.judge(evidence)


def test_a_retry_explains_the_start_after_it_and_nothing_else_does():
    retried = known(wrote(10, "enqueue"), wrote(11, "end", "failed_permanent"), wrote(12, "retry"))

    assert retried["starts"]["why"] == {"an operator retried it": 1}
    assert retried["verdicts"]["unexplained"] == 0
    assert known(wrote(10, "enqueue"))["verdicts"]["unexplained"] == 1


def test_a_job_ends_as_what_was_last_done_to_it_says():
    breaches = {
        ("enqueue", "succeeded", 0): 0,
        ("enqueue", "cancelled", 0): 1,
        ("enqueue", "failed_permanent", 1000): 0,
        ("retry", "succeeded", 0): 0,
        ("retry", "cancelled", 0): 1,
        ("cancel", "cancelled", 1000): 0,
        ("cancel", "succeeded", 0): 1,
    }

    judged = {
        (last, status, times): known(wrote(10, "enqueue"), wrote(11, last), status=status, times=times)["verdicts"]
        for last, status, times in breaches
    }

    assert {case: verdicts["ended_wrongly"] for case, verdicts in judged.items()} == breaches


def test_an_act_may_come_too_late_and_nothing_else_is_refused():
    breaches = {
        ("delete", 409): 0,
        ("change", 404): 0,
        ("cancel_operation", 409): 0,
        ("change", 422): 1,
        ("operate", 409): 1,
        ("list", 404): 1,
        ("enqueue", 409): 1,
    }

    def judged(call: str, status: int) -> int:
        evidence = Evidence(1.0, answers=[Answer(call, 9.9, 10.0, status, False, "", 9.0)])
        return verdict.judge(evidence)["verdicts"]["answered_wrongly"]

    assert {case: judged(*case) for case in breaches} == breaches
