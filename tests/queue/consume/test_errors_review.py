"""What a review of the groups of errors found of how failed attempts are counted."""

from __future__ import annotations

from uuid import uuid4

from haulier.domain.claim import Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome
from haulier.queue import consume, produce
from haulier.queue.produce.job_filter import JobFilter
from tests.queue.consume.test_errors import failed


def test_a_job_that_failed_anew_uncounted_is_not_in_the_group_of_its_failure_before(running, conn, make_due, claim):
    job = running(max_attempts=9)
    consume.settle(conn, [failed(job, Outcome.fail("no luck", delay=0))])
    make_due(job)

    # As in the pause after a refusal, and as a worker of version 10 does.
    consume.settle(conn, [Settlement(Fence.of(claim()), Outcome.fail("the disk is gone", delay=3600))])

    found = produce.list_jobs(conn, JobFilter(error_id=fingerprint("mail", "no luck").id)).jobs
    assert [each.last_error for each in found] == []


def test_the_example_is_of_an_attempt_that_was_counted(running, conn, sql):
    lost, counted = running(queue="bulk"), running()
    stale = failed(lost, Outcome.fail("no luck 1", delay=9))
    stale = stale._replace(fence=stale.fence._replace(claim=uuid4()))

    consume.settle(conn, [stale, failed(counted, Outcome.fail("no luck 2", delay=9))])

    assert sql("SELECT example, example_job, example_queue FROM haulier.error_group") == [
        ("no luck 2", counted.id, "default")
    ]
