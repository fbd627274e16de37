"""What a review of the groups of errors found of the migration to version 11."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress

import pytest
from psycopg2 import errors

from haulier.domain.errors import Locked
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.partitions import ensure_partitions
from tests.conftest import sql_on
from tests.queue.upkeep.published import INSERT, publish

BUILD = "CREATE INDEX CONCURRENTLY {0}_error_id_created_at_id_idx ON haulier.{0} (error_id) WHERE false"
ENTRIES = "INSERT INTO haulier.audit (action, key_id) SELECT 'rotate_key', 'a' FROM generate_series(1, 3000000)"


def test_an_index_whose_concurrent_build_failed_is_built_anew(fresh_database):
    with closing(connect(fresh_database)) as conn, closing(connect(fresh_database)) as holder:
        sql = sql_on(publish(conn, 10))
        ensure_partitions(conn, retention_days=30)
        [(part,)] = sql("SELECT min(relname) FROM pg_class WHERE relname LIKE 'finished_job_2%' AND relkind = 'r'")
        sql("ALTER TABLE haulier.finished_job ADD COLUMN error_id bigint")
        sql_on(holder)(f"BEGIN; LOCK TABLE haulier.{part} IN ROW EXCLUSIVE MODE")
        sql("SET lock_timeout = '300ms'")
        with pytest.raises(errors.LockNotAvailable):
            sql(BUILD.format(part))
        sql_on(holder)("ROLLBACK")

        migrate(conn, retention_days=30)

        assert sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []


def longest_insert_while_migrating(dsn: str, conn) -> float:
    """Return how long an application waited that goes on inserting meanwhile. Units: seconds."""
    over, longest = threading.Event(), [0.0]

    def insert() -> None:
        with closing(connect(dsn)) as mine:
            while not over.is_set():
                began_at = time.monotonic()
                sql_on(mine)(INSERT)
                longest[0] = max(longest[0], time.monotonic() - began_at)

    thread = threading.Thread(target=insert)
    thread.start()
    with suppress(Locked):
        migrate(conn, retention_days=30)
    over.set()
    thread.join(20)
    return longest[0]


@pytest.mark.parametrize("table", ["audit", "finished_job"])
def test_who_reads_another_table_holds_up_no_insert(fresh_database, table):
    with closing(connect(fresh_database)) as conn, closing(connect(fresh_database)) as reader:
        publish(conn, 10)
        sql_on(reader)(f"BEGIN; SELECT FROM haulier.{table}")

        assert longest_insert_while_migrating(fresh_database, conn) < 2.0


def test_a_long_record_holds_up_no_insert(fresh_database):
    with closing(connect(fresh_database)) as conn:
        sql_on(publish(conn, 10))(ENTRIES)

        assert longest_insert_while_migrating(fresh_database, conn) < 0.5
