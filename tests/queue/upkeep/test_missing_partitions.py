"""What settles, cancels and rescues if the history has no partition for now: it ..."""

from __future__ import annotations

import logging
from functools import partial

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.upkeep.partitions import days_ahead, ensure_partitions
from tests import queueing
from tests.conftest import eventually
from tests.queue.upkeep.losses import every_loss
from tests.rivals import at_the_same_moment, connected


@every_loss
def test_settling_goes_on_without_a_partition_for_now(archive, lose, caplog):
    job = archive.running()
    lose(archive)

    with caplog.at_level(logging.WARNING):
        settled = claims.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete("done"))])

    assert settled == {job.id: JobStatus.SUCCEEDED}
    assert search.get(archive.conn, job.id).result == "done"
    assert "history had no partition" in caplog.text
    assert days_ahead(archive.conn) >= 7


def test_cancel_and_rescue_go_on_without_a_partition_for_now(archive):
    job = archive.running()
    [receipt] = queueing.enqueue(archive.conn, [NewJob("mail", {})])
    job_acts.cancel(archive.conn, job.id)
    archive.sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")

    archive.remove_partitions()
    cancelled = job_acts.cancel(archive.conn, receipt.job.id)
    archive.remove_partitions(keep=True)
    rescued = queueing.rescue(archive.conn)

    assert cancelled is True
    assert rescued.jobs == {job.id: JobStatus.CANCELLED}
    assert [str(dead) for dead in rescued.workers] == ["dock:7"]


@every_loss
def test_housekeeping_mends_history_before_a_job_has_to_settle(archive, lose):
    lose(archive)
    missing = days_ahead(archive.conn)

    ensure_partitions(archive.conn, retention_days=30)

    assert missing <= 0
    assert days_ahead(archive.conn) >= 7


def test_many_settle_at_once_without_a_partition(archive):
    jobs = [archive.running() for _ in range(6)]
    archive.remove_partitions()
    settled = {}

    def settle(job: Job, mine: Connection) -> None:
        def done() -> bool:
            try:
                settled.update(claims.settle(mine, [Settlement(Fence.of(job), Outcome.complete())]))
            except (DatabaseUnavailable, psycopg2.OperationalError):
                return False  # a worker asks again
            return True

        eventually(done)

    at_the_same_moment(*(connected(archive.url, partial(settle, job)) for job in jobs))

    assert settled == {job.id: JobStatus.SUCCEEDED for job in jobs}


def test_another_broken_check_is_not_taken_for_a_missing_partition(archive, caplog):
    job = archive.running()
    archive.sql("ALTER TABLE haulier.finished_job ADD CONSTRAINT nothing_succeeds CHECK (status <> 'succeeded')")

    with pytest.raises(psycopg2.errors.CheckViolation):
        claims.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete())])

    assert "partition" not in caplog.text
    assert search.get(archive.conn, job.id).read() == job
