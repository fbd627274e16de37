"""Which outcomes are failed attempts, and of which group: it ..."""

from __future__ import annotations

from uuid import uuid4

import pytest

from haulier.domain.errors import StatementRefused
from haulier.domain.fingerprint import fingerprint, other_errors
from haulier.domain.job import MAX_SNOOZES, Job, JobStatus
from haulier.domain.outcome import Outcome
from haulier.worker.steps.report import HOUR_SECONDS, LONGEST_PAUSE_SECONDS, MOST_GROUPS, Failures


@pytest.fixture
def failures(clock) -> Failures:
    return Failures(clock=clock)


def job_of(kind: str = "mail", snoozes: int = 0) -> Job:
    values = dict.fromkeys(Job._fields)
    return Job(
        **{**values, "id": uuid4(), "kind": kind, "queue": "bulk", "status": JobStatus.RUNNING, "snoozes": snoozes}
    )


def test_counts_failures_and_no_other_ends(failures):
    found = failures.failure(job_of(), Outcome.fail("no luck 7", delay=1))

    assert found == (fingerprint("mail", "no luck 8"), "bulk", "no luck 7")
    assert failures.failure(job_of(), Outcome.complete()) is None
    assert failures.failure(job_of(snoozes=MAX_SNOOZES - 1), Outcome.snooze(1)) is None


def test_a_snooze_too_many_is_a_failure(failures):
    found = failures.failure(job_of(snoozes=MAX_SNOOZES), Outcome.snooze(1))

    assert found.error == "snoozed more than 100 times"


def test_counts_a_bounded_number_of_new_groups_each_hour(failures, clock):
    def group(kind: str, word: str):
        return failures.failure(job_of(kind), Outcome.fail_for_good(word)).group

    words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(MOST_GROUPS + 1)]
    found = [group("mail", word) for word in words]

    assert found == [*(fingerprint("mail", word) for word in words[:-1]), other_errors("mail")]
    assert group("mail", words[0]) == found[0]
    assert group("hook", words[-1]) == fingerprint("hook", words[-1])
    clock.now += HOUR_SECONDS
    assert group("mail", words[-1]) == fingerprint("mail", words[-1])


def test_texts_that_differ_each_time_hide_no_group_of_the_hour_before(failures, clock):
    def group(word: str):
        return failures.failure(job_of(), Outcome.fail_for_good(word)).group

    group("the disk is gone")
    clock.now += HOUR_SECONDS
    for number in range(MOST_GROUPS):
        group("x" * (number + 1))

    assert group("one more") == other_errors("mail")
    assert group("the disk is gone") == fingerprint("mail", "the disk is gone")


def test_after_a_refusal_counts_nothing_for_a_while_and_longer_each_time(failures, clock):
    def is_counting() -> bool:
        return failures.failure(job_of(), Outcome.fail_for_good("no luck")) is not None

    pauses = []
    for _ in range(8):
        failures.refused(StatementRefused("no such table"))
        began_at = clock.now
        while not is_counting():
            clock.now += 1
        pauses.append(clock.now - began_at)

    assert pauses == [2, 4, 8, 16, 32, *[LONGEST_PAUSE_SECONDS] * 3]
    clock.now += 1000
    failures.refused(StatementRefused("no such table"))
    clock.now += 2
    assert is_counting()
