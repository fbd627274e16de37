"""A log that spares its readers: it ..."""

from __future__ import annotations

import logging

import pytest

from haulier.worker.steps.sparing_log import MOST_SUBJECTS, QUIET_SECONDS, SparingLog
from tests.conftest import eventually

LOG = logging.getLogger("haulier.test.sparing")


@pytest.fixture
def sparing(clock) -> SparingLog:
    """Give such a log, whose minute passes when the test says so."""
    return SparingLog(LOG, clock=clock)


@pytest.fixture
def warned(caplog):
    """Give a function that returns the warnings so far."""
    caplog.set_level(logging.DEBUG, LOG.name)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_logs_a_warning_once_a_minute_with_the_number_left_out(sparing, warned, clock):
    for _ in range(50_000):
        sparing.warning("lost", about="mail")
    clock.now += QUIET_SECONDS
    sparing.warning("lost", about="mail")
    clock.now += QUIET_SECONDS
    sparing.warning("lost", about="mail")

    assert warned() == ["lost", "lost (and 49999 more since this was last said)", "lost"]


def test_leaves_nothing_out_at_the_level_debug(sparing, warned, caplog):
    for number in range(3):
        sparing.warning("lost", about="mail", extra={"job_id": number})

    assert [(record.levelname, record.job_id) for record in caplog.records] == [
        ("WARNING", 0),
        ("DEBUG", 1),
        ("DEBUG", 2),
    ]


def test_logs_each_cause_and_each_subject(sparing, warned):
    for message, about in [("lost", "mail"), ("lost", "webhook"), ("given back", "mail"), ("lost", None)] * 3:
        sparing.warning(message, about=about)

    assert warned() == ["lost", "lost", "given back", "lost"]


def test_names_the_line_that_warned_and_not_itself(sparing, warned, caplog):
    sparing.warning("100 % lost")

    assert [(record.getMessage(), record.filename) for record in caplog.records] == [
        ("100 % lost", "test_sparing_log.py")
    ]


def test_logs_a_bounded_number_of_lines_about_subjects_that_clients_choose(sparing, warned, clock):
    for number in range(10 * MOST_SUBJECTS):
        sparing.warning("unknown", about=f"kind.{number}")
    once = len(warned())
    clock.now += QUIET_SECONDS
    for number in range(10 * MOST_SUBJECTS):
        sparing.warning("unknown", about=f"other.{number}")

    assert once == MOST_SUBJECTS + 1
    assert len(warned()) <= 2 * (MOST_SUBJECTS + 1)
    # And of what was never seen before it says so as soon as there is room.
    clock.now += QUIET_SECONDS
    sparing.warning("lost", about="mail")
    assert warned()[-1] == "lost"


def test_a_worker_warns_once_of_many_jobs_of_a_kind_that_it_does_not_know(spawn_worker, enqueue, free_port, metric):
    worker = spawn_worker(WORKER_METRICS_PORT=free_port, LOG_LEVEL="INFO")
    for kind in ("t.stranger", "t.other"):
        for _ in range(30):
            enqueue(kind)

    eventually(lambda: metric(free_port, "worker_jobs_of_unknown_kind_total") == 60)

    assert worker.log.count("gave back a job of a kind unknown here") == 2
