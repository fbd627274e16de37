"""What is said of runs that have ended: which are failed attempts, and of which group; and in the log. It ..."""

from __future__ import annotations

import logging

import pytest

from haulier.domain.errors import StatementRefused
from haulier.domain.fingerprint import fingerprint, other_errors
from haulier.domain.job import MAX_SNOOZES, Job
from haulier.domain.outcome import Outcome
from haulier.worker.steps.report import HOUR_SECONDS, LONGEST_PAUSE_SECONDS, MOST_GROUPS, Failures
from haulier.worker.steps.sparing_log import MOST_SUBJECTS, QUIET_SECONDS, SparingLog
from tests.conftest import eventually
from tests.worker.jobs import a_job


@pytest.fixture
def failures(clock) -> Failures:
    return Failures(clock=clock)


def job_of(kind: str = "mail", snoozes: int = 0) -> Job:
    return a_job(kind)._replace(queue="bulk", snoozes=snoozes)


@pytest.fixture
def group(failures):
    return lambda word, kind="mail": failures.failure(job_of(kind), Outcome.fail_for_good(word)).group


def test_counts_failures_and_no_other_ends(failures):
    failure = failures.failure(job_of(), Outcome.fail("no luck 7", delay=1))
    a_snooze_too_many = failures.failure(job_of(snoozes=MAX_SNOOZES), Outcome.snooze(1))

    assert failure == (fingerprint("mail", "no luck 8"), "bulk", "no luck 7")
    assert a_snooze_too_many.error == "snoozed more than 100 times"
    assert failures.failure(job_of(), Outcome.complete()) is None
    assert failures.failure(job_of(snoozes=MAX_SNOOZES - 1), Outcome.snooze(1)) is None


def test_counts_a_bounded_number_of_new_groups_each_hour(group, clock):
    words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(MOST_GROUPS + 1)]
    groups = [group(word) for word in words]

    assert groups == [*(fingerprint("mail", word) for word in words[:-1]), other_errors("mail")]
    assert group(words[0]) == groups[0]
    assert group(words[-1], "hook") == fingerprint("hook", words[-1])
    clock.now += HOUR_SECONDS
    assert group(words[-1]) == fingerprint("mail", words[-1])


def test_texts_that_differ_each_time_hide_no_group_of_the_hour_before(group, clock):
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


LOG = logging.getLogger("haulier.test.sparing")


@pytest.fixture
def sparing(clock) -> SparingLog:
    return SparingLog(LOG, clock=clock)


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.DEBUG, LOG.name)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_logs_a_warning_once_a_minute_with_the_number_left_out(sparing, warned, clock):
    for times in (50_000, 1, 1):
        for _ in range(times):
            sparing.warning("lost", about="mail")
        clock.now += QUIET_SECONDS

    assert warned() == ["lost", "lost (and 49999 more since this was last logged)", "lost"]


def test_leaves_nothing_out_at_debug_and_names_the_line_that_warned(sparing, warned, caplog):
    for number in range(3):
        sparing.warning("100 % lost", about="mail", extra={"job_id": number})

    records = [(record.levelname, record.job_id, record.getMessage(), record.filename) for record in caplog.records]
    levels = ("WARNING", "DEBUG", "DEBUG")
    assert records == [(level, n, "100 % lost", "test_report.py") for n, level in enumerate(levels)]


def test_logs_a_bounded_number_of_lines_about_subjects_that_clients_choose(sparing, warned, clock):
    lines = []
    for kind in ("kind", "other"):
        for number in range(10 * MOST_SUBJECTS):
            sparing.warning("unknown", about=f"{kind}.{number}")
        lines.append(len(warned()))
        clock.now += QUIET_SECONDS

    assert lines[0] == MOST_SUBJECTS + 1
    assert lines[1] <= 2 * (MOST_SUBJECTS + 1)
    # And of what was never seen before it says so as soon as there is room.
    sparing.warning("lost", about="mail")
    assert warned()[-1] == "lost"


def test_a_worker_warns_once_of_many_jobs_of_a_kind_or_with_fields_that_it_does_not_know(
    spawn_worker, enqueue, free_port, metric
):
    worker = spawn_worker(WORKER_METRICS_PORT=free_port, LOG_LEVEL="INFO")
    for kind in ("t.stranger", "t.other"):
        for _ in range(30):
            enqueue(kind)
    for _ in range(30):
        enqueue("t.note", {"lang": "de"})

    eventually(lambda: metric(free_port, "worker_jobs_of_unknown_kind_total") == 90)

    assert worker.log.count("gave back a job with payload fields unknown here") == 1
    assert worker.log.count("gave back a job of a kind unknown here") == 2
