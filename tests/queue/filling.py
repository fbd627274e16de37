"""Many rows in one statement, for tests that look at what statements read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from haulier.postgres.connection import connect
from tests.conftest import Sql

END = """
    INSERT INTO haulier.finished_job (id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts,
        max_attempts, crashes, snoozes, cancel_requested, payload, errors, created_at, updated_at, finished_at,
        error_id, tags)
    SELECT {new_id}, {status}, kind, queue, priority, run_at, 1, claim, now(), 1,
        max_attempts, 0, 0, false, payload, '[]', created_at, now(), now(),
        error_id, tags
    FROM haulier.job
"""


def copy_to_history(sql: Sql, status: str = "'succeeded'", *, new_id: str = "id") -> None:
    """Store an ended job like each live one. The status and the id are expressions of SQL."""
    sql(END.format(status=status, new_id=new_id))


@contextmanager
def seen_by_an_old_snapshot(sql: Sql, database: str) -> Iterator[None]:
    """Enqueue 20,000 jobs, and hold a snapshot that sees them during the block: their dead rows then stay."""
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000) RETURNING 1")
    # So that the planner believes that next to nothing runs.
    sql("VACUUM ANALYZE haulier.job")
    with closing(connect(database)) as reader, reader.cursor() as cursor:
        reader.autocommit = False
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
        yield
