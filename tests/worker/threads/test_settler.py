"""The settler: it ..."""

from __future__ import annotations

from contextlib import closing

from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect, server_process
from haulier.queue import search
from tests.conftest import eventually


def waiting_for(conn, holder) -> set:
    """Return when the transactions began that wait for this connection's lock."""
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT xact_start FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", [server_process(holder)]
        )
        return {began_at for [began_at] in cursor.fetchall()}


def test_settles_the_others_while_somebody_has_locked_one_of_the_rows_for_long(
    spawn_worker, enqueue, finished, ledger, conn, database, tmp_path
):
    worker, first, then = spawn_worker(LEASE_SECONDS=30), tmp_path / "first", tmp_path / "then"
    with closing(connect(database)) as for_long, closing(connect(database)) as for_short:
        for_long.autocommit = for_short.autocommit = False
        others = [enqueue("t.deaf", {"file": str(first)}) for _ in range(3)]
        locked = enqueue("t.deaf", {"file": str(then)})
        eventually(lambda: len(ledger.entries("start")) == 4)
        with for_long.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [locked.id])
        with for_short.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id <> %s FOR UPDATE", [locked.id])
        first.touch()
        eventually(lambda: len(ledger.entries("end")) == 3)
        then.touch()
        # The others stand in line behind it.
        eventually(lambda: waiting_for(conn, for_long))

        for_short.rollback()

        for job in others:
            assert finished(job).status is JobStatus.SUCCEEDED
        assert search.get(conn, locked.id).status is JobStatus.RUNNING
        for_long.rollback()
        assert finished(locked).status is JobStatus.SUCCEEDED
    assert "database is away" not in worker.log
    worker.kill()


def test_stores_how_a_run_ended_however_long_somebody_has_locked_its_row(
    spawn_worker, enqueue, finished, ledger, conn, database, tmp_path
):
    worker = spawn_worker(LEASE_SECONDS=30)
    with closing(connect(database)) as rival:
        rival.autocommit = False
        job, tries = enqueue("t.deaf", {"file": str(tmp_path / "go")}), set()
        eventually(lambda: ledger.entries("start"))
        with rival.cursor() as cursor:
            cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", [job.id])
        (tmp_path / "go").touch()

        # The second time could be for another outcome than the first.
        eventually(lambda: tries.update(waiting_for(conn, rival)) or len(tries) >= 2)
        rival.rollback()

        job = finished(job)
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "done")
    assert len(ledger.entries("start")) == 1
    worker.kill()
