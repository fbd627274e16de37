"""A log that nobody reads, which blocks a write for good: the process that writes it ..."""

from __future__ import annotations

import sys

import pytest

from haulier.domain.job import JobStatus
from tests.conftest import eventually
from tests.web import answers

pytestmark = [
    pytest.mark.direct("is about processes, and not about the way to the database"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can choose how much a pipe holds"),
]


@pytest.mark.slow
def test_works_on_replaces_and_stops_as_one_dyno(run_command, enqueue, finished):
    both = run_command("all")
    jobs = [enqueue("t.note") for _ in range(60)]
    assert {finished(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    eventually(lambda: answers(both.url))
    eventually(both.is_full)

    for name in ("gunicorn", "worker"):
        both.is_replaced(name)

    assert finished(enqueue("t.note")).status == JobStatus.SUCCEEDED
    eventually(lambda: answers(both.url))
    both.stop()


def test_works_on_replaces_and_stops_as_several_worker_processes_and_says_what_was_lost(run_command, enqueue, finished):
    parent = run_command("worker", WORKER_PROCESSES=2)
    jobs = [enqueue("t.note") for _ in range(60)]
    assert {finished(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    eventually(parent.is_full)

    parent.is_replaced("worker")

    parent.read_on()
    said = b"writes to this log were lost: the disk was full, or nobody read it"
    # By the one that has just started, at the latest: nothing of its start can be read.
    eventually(lambda: finished(enqueue("t.note")) and said in parent.log)
    parent.stop()


def test_answers_replaces_and_stops_as_the_api(run_command):
    api = run_command("web", WEB_CONCURRENCY=1)
    eventually(lambda: answers(api.url))
    eventually(lambda: answers(api.url) and api.is_full())

    api.is_replaced("gunicorn")

    eventually(lambda: answers(api.url))
    api.stop()
