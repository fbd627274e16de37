"""The steps from an older version of the schema, and schema.sql beside one: each ..."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg2 import errors

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.partitions import drop_expired, ensure_partitions
from haulier.queue.upkeep.steps import SCHEMA_FILE
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.published import PUBLISHED, STEPS, publish, take

LARGE = ("job", "finished_job", "idempotency", "audit")

# --- What each step locks


LOCKS = """
    SELECT relname, mode
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = relation
    WHERE pid = pg_backend_pid() AND relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v')
        AND NOT (mode = 'AccessShareLock' OR relname = 'schema_version' AND mode = 'RowExclusiveLock')
"""
READ = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'haulier' AND seq_scan > 0"
TIMES = {"read once": 1, "read twice": 2}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
@pytest.mark.direct("is about one session")
def test_locks_the_tables_that_it_says_in_the_mode_that_it_says(first_version, step):
    sql = sql_on(first_version)
    take(first_version, STEPS[: STEPS.index(step)])
    there = {name for (name,) in sql("SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace")}

    sql(f"BEGIN; {step.text}")
    locks = sql(LOCKS)
    sql("ROLLBACK")

    # The database of version 1 has no partition.
    modes = {
        table: how.partition(",")[0].title().replace(" ", "") + "Lock"
        for table, how in step.locks.items()
        if table in step.tables
    }
    assert {table: mode for table, mode in strongest(locks).items() if table in there} == modes


def test_waits_for_no_table_while_it_holds_another():
    # The steps to the versions before were published as they are.
    assert [step.name for step in STEPS if step.version > 10 and len(step.locks) > 1] == []


def strongest(locks: list[tuple[Any, ...]]) -> dict[str, str]:
    weakest_first = ["ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "AccessExclusiveLock"]
    return dict(sorted(locks, key=lambda lock: weakest_first.index(lock[1])))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
@pytest.mark.direct("is about one session")
def test_reads_no_large_table_that_it_locks_for_a_moment_and_others_as_often_as_it_says(
    first_version, database_of_version_1, step
):
    take(first_version, STEPS[: STEPS.index(step)])
    large = [
        table for table in LARGE if sql_on(first_version)("SELECT to_regclass(%s)", f"haulier.{table}") != [(None,)]
    ]

    # A session of its own: what it has counted before would be among it.
    with closing(connect(database_of_version_1)) as conn:
        sql_on(conn)(f"BEGIN; {step.text}")
        read = dict(sql_on(conn)(READ))

    said = {
        table: next((count for words, count in TIMES.items() if words in how), 0) for table, how in step.locks.items()
    }
    assert {table: read.get(table, 0) for table in large} == {table: said.get(table, 0) for table in large}


INDEXES = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relname ~ '^finished_job_2.*finished_at_idx$'"


def test_keeps_an_index_of_a_partition_that_an_operator_built_before(fresh_database):
    with closing(connect(fresh_database)) as conn:
        sql = sql_on(publish(conn, 8))
        ensure_partitions(conn, retention_days=30)
        [(first,), *_] = sql(
            "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
        )
        sql(
            f"CREATE INDEX CONCURRENTLY {first.partition('.')[2]}_finished_at_idx ON {first}"
            " USING brin (finished_at) WITH (pages_per_range = 16)"
        )
        before = sql(INDEXES)

        migrate(conn, retention_days=30)

        assert len(before) == 1 < len(after := sql(INDEXES))
        assert set(before) < set(after)
        assert sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


@pytest.mark.parametrize(
    ("version", "column", "name", "index"),
    [
        (
            10,
            "error_id bigint",
            "error_id_created_at_id",
            "(error_id, created_at, id) WHERE status = 'failed_permanent'",
        ),
        (11, "tags text[]", "tags", "USING gin (tags) WITH (fastupdate = off) WHERE tags IS NOT NULL"),
    ],
)
def test_builds_anew_an_index_of_a_partition_whose_concurrent_build_failed(
    fresh_database, version, column, name, index
):
    with closing(connect(fresh_database)) as conn, closing(connect(fresh_database)) as holder:
        sql = sql_on(publish(conn, version))
        ensure_partitions(conn, retention_days=30)
        [(part,)] = sql("SELECT min(relname) FROM pg_class WHERE relname LIKE 'finished_job_2%' AND relkind = 'r'")
        sql(f"ALTER TABLE haulier.finished_job ADD COLUMN {column}")
        sql_on(holder)(f"BEGIN; LOCK TABLE haulier.{part} IN ROW EXCLUSIVE MODE")
        sql("SET lock_timeout = '300ms'")
        with pytest.raises(errors.LockNotAvailable):
            sql(f"CREATE INDEX CONCURRENTLY {part}_{name}_idx ON haulier.{part} {index}")
        sql_on(holder)("ROLLBACK")

        migrate(conn, retention_days=30)

        assert sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []
        assert sql("SELECT count(*) FROM pg_class WHERE relname = %s", f"{part}_{name}_idx") == [(1,)]


def test_has_a_lock_timeout_of_its_own_and_names_nothing_that_is_not_postgresqls():
    for step in STEPS:
        assert "\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '5s';\n" in step.text
        assert len(step.text.splitlines()) <= 400


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.direct("CONCURRENTLY needs a session of its own")
def test_finishes_a_detach_that_was_interrupted_since_its_partition_would_lack_the_new_columns(fresh_database, version):
    with closing(connect(fresh_database)) as conn, closing(connect(fresh_database)) as reader:
        sql = sql_on(publish(conn, version))
        for name, days in (("of_old", 60), ("of_then", 59)):
            first = datetime.now(UTC).date() - timedelta(days=days)
            sql(
                f"CREATE TABLE haulier.finished_job_{name} PARTITION OF haulier.finished_job"
                f" FOR VALUES FROM ('{first}') TO ('{first + timedelta(days=1)}')"
            )
        sql_on(reader)("BEGIN; SELECT count(*) FROM haulier.finished_job")
        # It waits for whoever reads, and is left half done.
        sql("SET lock_timeout = '100ms'")
        with pytest.raises(errors.LockNotAvailable):
            sql("ALTER TABLE haulier.finished_job DETACH PARTITION haulier.finished_job_of_old CONCURRENTLY")
        sql("RESET lock_timeout")
        assert sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(1,)]
        sql_on(reader)("ROLLBACK")

        migrate(conn, retention_days=30)
        ensure_partitions(conn, retention_days=30)

        assert sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(0,)]
        drop_expired(fresh_database, retention_days=30)
        old = "SELECT relname FROM pg_class WHERE relname ~ '^finished_job_of_' AND relkind = 'r'"
        assert sql(old) in ([], [("finished_job_of_old",)])


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("011_7_failed_by_error.sql", "finished_job_failed_by_error"),
        ("012_4_history_by_tag.sql", "finished_job_by_tag"),
    ],
)
@pytest.mark.direct("is about two sessions")
def test_waits_not_for_the_whole_history_while_it_holds_partitions_of_it(fresh_database, name, index):
    with closing(connect(fresh_database)) as conn, closing(connect(fresh_database)) as retrying:
        sql = sql_on(publish(conn, 10))
        ensure_partitions(conn, retention_days=30)
        take(conn, [step for step in STEPS if step.version > 10 and step.name < name])
        [step] = [step for step in STEPS if step.name == name]
        # As a retry does, which locks the history and then its partitions: the two would wait for each other.
        sql_on(retrying)("BEGIN; LOCK TABLE ONLY haulier.finished_job IN ROW EXCLUSIVE MODE")

        take(conn, [step])

        sql_on(retrying)("ROLLBACK")
        assert sql("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", f"haulier.{index}") == [(True,)]


# --- schema.sql by hand


def test_a_trigger_that_was_turned_off_stays_so_until_schema_sql_is_applied_by_hand(fresh_database):
    with closing(connect(fresh_database)) as conn:
        own, states = sql_on(publish(conn, 2)), []
        own("ALTER TABLE haulier.job DISABLE TRIGGER knock")

        migrate(conn, retention_days=30)
        states += own("SELECT tgenabled FROM pg_trigger WHERE tgname = 'knock'")
        own(f"BEGIN; {SCHEMA_FILE.read_text()}; COMMIT")
        states += own("SELECT tgenabled FROM pg_trigger WHERE tgname = 'knock'")

    assert states == [("D",), ("O",)]


@pytest.mark.parametrize(
    ("version", "hint"),
    [(1, "Run `haulier migrate`."), (9, "Run `haulier migrate`."), (15, "A newer release made it.")],
)
def test_schema_sql_changes_nothing_where_there_is_another_version(fresh_database, sql, version, hint):
    with closing(connect(fresh_database)) as conn:
        own: Callable[..., Any] = sql_on(conn)
        if version in PUBLISHED:
            publish(conn, version)
        else:
            migrate(conn, retention_days=30)
            own("UPDATE haulier.schema_version SET version = %s", version)
        before = shape(own)

        with pytest.raises(errors.RaiseException) as raised:
            own(f"BEGIN; {SCHEMA_FILE.read_text()}; COMMIT")
        own("ROLLBACK")

        said = raised.value.diag
        assert said.message_primary == f"the database has schema version {version}, and this file is version 14"
        assert said.message_hint == hint
        assert shape(own) == before
