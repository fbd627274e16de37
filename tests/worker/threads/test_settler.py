"""The settler: it ..."""

from __future__ import annotations

from contextlib import closing

from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect, server_process
from haulier.queue import produce
from tests.conftest import eventually


def waiting_for(conn, holder) -> set:
    """Return when the transactions began that wait for this connection's lock."""
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT xact_start FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", [server_process(holder)]
        )
        return {began_at for [began_at] in cursor.fetchall()}


def test_settles_the_others_while_somebody_has_locked_one_of_the_rows_for_long(
    spawn_worker, enqueue, finished, ledger, conn, database
):
    worker = spawn_worker(LEASE_SECONDS=30)
    with closing(connect(database)) as for_long, closing(connect(database)) as for_short:
        for_long.autocommit = for_short.autocommit = False
        others, locked = [enqueue("t.note", {"seconds": 0.6}) for _ in range(3)], enqueue("t.note", {"seconds": 1.0})
        eventually(lambda: len(ledger.entries("start")) == 4)
        with for_long.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [locked.id])
        with for_short.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id <> %s FOR UPDATE", [locked.id])
        eventually(lambda: len(ledger.entries("end")) == 4)
        # The others stand in line behind it.
        eventually(lambda: waiting_for(conn, for_long), within=10)

        for_short.rollback()

        for job in others:
            assert finished(job, within=10).status is JobStatus.SUCCEEDED
        assert produce.get(conn, locked.id).status is JobStatus.RUNNING
        for_long.rollback()
        assert finished(locked).status is JobStatus.SUCCEEDED
    assert "database is away" not in worker.log
    worker.kill()


def test_stores_how_a_run_ended_however_long_somebody_has_locked_its_row(
    spawn_worker, enqueue, finished, ledger, conn, database
):
    worker = spawn_worker(LEASE_SECONDS=30)
    with closing(connect(database)) as rival:
        rival.autocommit = False
        job, tries = enqueue("t.note", {"seconds": 0.3}), set()
        eventually(lambda: ledger.entries("start"))
        with rival.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [job.id])

        # The second time could be for another outcome than the first.
        eventually(lambda: tries.update(waiting_for(conn, rival)) or len(tries) >= 2, within=10)
        rival.rollback()

        job = finished(job)
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, {"attempt": 1})
    assert len(ledger.entries("start")) == 1
    worker.kill()
