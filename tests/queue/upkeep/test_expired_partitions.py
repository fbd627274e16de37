"""Dropping the history's partitions that are old enough: it ..."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, jobs, search
from haulier.queue.upkeep.partitions import days_ahead, drop_expired, ensure_partitions
from tests import queueing
from tests.conftest import eventually
from tests.rivals import at_the_same_moment, beside


def test_drops_only_the_partitions_in_which_every_job_is_old_enough(archive):
    old = archive.add_old("finished_job_old", 40, 39)
    just = archive.add_old("finished_job_just_old", 33, 31)
    straddles = archive.add_old("finished_job_straddles", 31, 29)

    dropped = drop_expired(archive.url, retention_days=30)

    assert sorted(dropped) == ["finished_job_just_old", "finished_job_old"]
    left = {row[0] for row in archive.sql("SELECT id FROM haulier.jobs")}
    assert left == {straddles}
    assert not left & {old, just}
    assert archive.tables() == set(archive.partitions())


def test_leaves_a_partition_that_an_operator_detached_alone(archive):
    archive.add_old("finished_job_kept", 40, 39)
    archive.sql("ALTER TABLE haulier.finished_job DETACH PARTITION haulier.finished_job_kept")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == []
    assert archive.sql("SELECT count(*) FROM haulier.finished_job_kept") == [(1,)]


@pytest.mark.direct("CONCURRENTLY needs a session of its own; tests/worker/test_pgbouncer.py says what a pool does")
def test_gives_up_behind_an_open_reader_without_blocking_anybody_else(archive):
    archive.add_old("finished_job_old", 40, 39)
    job, reader, mine = archive.running(), archive.open_reader(), archive.open()
    over, rounds, waits = threading.Event(), [], 0
    pid = mine.get_backend_pid()

    def keep_working() -> None:
        while not over.is_set():
            [receipt] = queueing.enqueue(mine, [NewJob("image", {})])
            jobs.cancel(mine, receipt.job.id)
            rounds.append(search.list_jobs(mine, search.JobFilter(limit=1)).jobs)

    def drop() -> None:
        try:
            drop_expired(archive.url, retention_days=30)
        finally:
            over.set()

    with beside(keep_working, drop) as results:
        while not over.wait(0.02):
            [[waiting]] = archive.sql("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid)
            waits += waiting

    assert results[0] is None
    assert isinstance(results[1], DatabaseUnavailable)
    assert waits == 0
    assert len(rounds) > 5
    assert claims.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete())])
    reader.rollback()


@pytest.mark.direct("CONCURRENTLY needs a session of its own")
def test_finishes_a_detach_that_was_interrupted(archive):
    archive.add_old("finished_job_old", 40, 39)
    reader = archive.open_reader()
    with pytest.raises(DatabaseUnavailable):
        drop_expired(archive.url, retention_days=30)
    pending = archive.sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")
    reader.rollback()

    dropped = drop_expired(archive.url, retention_days=30)

    assert pending == [(1,)]
    assert dropped == ["finished_job_old"]
    assert "finished_job_old" not in archive.tables()


def test_finishes_a_drop_that_was_interrupted(archive):
    archive.add_old("finished_job_old", 40, 39)
    archive.sql("COMMENT ON TABLE haulier.finished_job_old IS 'expired'")
    archive.sql("ALTER TABLE haulier.finished_job DETACH PARTITION haulier.finished_job_old CONCURRENTLY")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == ["finished_job_old"]


def test_partitions_go_on_being_made_beside_a_detach_that_was_interrupted(archive):
    archive.add_old("finished_job_1999", 40, 39)
    reader = archive.open_reader()
    with pytest.raises(DatabaseUnavailable):
        drop_expired(archive.url, retention_days=30)
    reader.rollback()
    newest = archive.partitions()[-1]
    archive.sql(f"DROP TABLE haulier.{newest}")

    made = ensure_partitions(archive.conn, retention_days=30)

    assert made == [newest]
    assert days_ahead(archive.conn) >= 7


def test_several_drop_at_once_and_nothing_is_left(archive):
    for number in range(4):
        archive.add_old(f"finished_job_old{number}", 40 + number, 39 + number)

    results = at_the_same_moment(*[partial(drop_expired, archive.url, retention_days=30)] * 4)
    drop_expired(archive.url, retention_days=30)

    # One that another has locked out tries again later.
    assert [each for each in results if isinstance(each, Exception) and not isinstance(each, DatabaseUnavailable)] == []
    assert not [name for name in archive.tables() if "old" in name]


def test_leaves_no_connection_behind_even_if_it_gives_up(archive):
    archive.add_old("finished_job_old", 40, 39)
    reader = archive.open_reader()

    # The error is kept, and with it all that lived in the frames it came through.
    with pytest.raises(DatabaseUnavailable) as kept:
        drop_expired(archive.url, retention_days=30)

    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'haulier housekeeping' AND datname = current_database()"
    )
    assert eventually(lambda: archive.sql(left) == [(0,)])
    assert kept.tb is not None
    reader.rollback()
