"""What every migration step keeps to, what `migrate --plan` says, and schema.sql by hand. It ..."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate, plan
from haulier.queue.upkeep.partitions import ensure_partitions
from haulier.queue.upkeep.steps import SCHEMA
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.made_up import build_version_1, take
from tests.queue.upkeep.made_up import version_1 as text_of_version_1

LOCKS = """
    SELECT relname, mode
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = relation
    WHERE pid = pg_backend_pid() AND relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v')
        AND NOT (mode = 'AccessShareLock' OR relname = 'schema_version' AND mode = 'RowExclusiveLock')
"""
WEAKEST_FIRST = ["ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "AccessExclusiveLock"]
READ = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'haulier' AND seq_scan > 0"
TIMES = {"read once": 1, "read twice": 2}
# Reading them in full takes long.
LARGE = {"job", "finished_job", "idempotency", "audit"}

EVERYTHING = "SELECT oid, relname, xmin::text FROM pg_class ORDER BY oid"


@pytest.fixture(params=["made up", "real"])
def all_steps(request, schema):
    return (schema if request.param == "made up" else SCHEMA).steps_from(1)


@pytest.mark.direct("is about one session")
def test_a_step_locks_and_reads_what_its_head_says(fresh_database, all_steps):
    with closing(connect(fresh_database)) as conn:
        build_version_1(conn)
        for step in all_steps:
            names = "SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace"
            there = {name for (name,) in sql_on(conn)(names)}
            # A session of its own: what it has counted before would be among it.
            with closing(connect(fresh_database)) as taking:
                sql_on(taking)(f"BEGIN; {step.text}")
                locks = dict(sorted(sql_on(taking)(LOCKS), key=lambda lock: WEAKEST_FIRST.index(lock[1])))
                read = dict(sql_on(taking)(READ))
                sql_on(taking)("ROLLBACK")

            modes = {
                table: how.partition(",")[0].title().replace(" ", "") + "Lock"
                for table, how in step.locks.items()
                if table in step.tables
            }
            assert {table: mode for table, mode in locks.items() if table in there} == modes, step.name
            times = {
                table: next((count for words, count in TIMES.items() if words in how), 0)
                for table, how in step.locks.items()
            }
            assert {table: read.get(table, 0) for table in LARGE} == {table: times.get(table, 0) for table in LARGE}
            take(conn, [step])


def test_a_step_is_short_waits_briefly_and_locks_one_table_at_a_time(all_steps):
    for step in all_steps:
        assert "\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '5s';\n" in step.text
        assert len(step.text.splitlines()) <= 300, step.name
        # While it waits for a second one, or reads it, nobody could use the first.
        assert len(step.locks) <= 1, step.name
        assert re.fullmatch(r"[A-Z][^\n]{30,250}\.", step.does), step.name


# --- schema.sql by hand


def test_a_trigger_that_was_turned_off_stays_so_until_schema_sql_is_applied_by_hand(version_1, schema):
    own, state = sql_on(version_1), "SELECT tgenabled FROM pg_trigger WHERE tgname = 'knock'"
    own("ALTER TABLE haulier.job DISABLE TRIGGER knock")

    migrate(version_1, retention_days=30, schema=schema)
    states = own(state)
    own(f"BEGIN; {schema.text}; COMMIT")
    states += own(state)

    assert states == [("D",), ("O",)]


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            "UPDATE haulier.schema_version SET version = 2",
            "the database has schema version 2, but this file has version 3",
            "Run `haulier migrate`.",
        ),
        (
            "UPDATE haulier.schema_version SET version = 4",
            "the database has schema version 4, but this file has version 3",
            "A newer release made it.",
        ),
        (
            "ALTER TABLE haulier.schema_version DROP COLUMN fingerprint",
            "this schema was made by a development build before version 1",
            "Create it again after DROP SCHEMA haulier CASCADE, which deletes all jobs.",
        ),
    ],
)
def test_schema_sql_changes_nothing_if_the_schema_is_another(fresh_database, schema, change, message, hint):
    with closing(connect(fresh_database)) as conn:
        own = sql_on(conn)
        own(f"BEGIN; {text_of_version_1()}; COMMIT; {change}")
        before = shape(own)

        with pytest.raises(errors.RaiseException) as raised:
            own(f"BEGIN; {schema.text}; COMMIT")
        own("ROLLBACK")

        assert (raised.value.diag.message_primary, raised.value.diag.message_hint) == (message, hint)
        assert shape(own) == before


# --- The plan


@pytest.fixture
def empty(fresh_database):
    with closing(connect(fresh_database)) as conn:
        yield conn


def planned(said: str) -> list[str]:
    return re.findall(r"^would make the history partition (\S+)$", said, re.MULTILINE)


def test_names_the_steps_from_an_old_version_and_what_they_lock(version_1, schema):
    said = plan(version_1, retention_days=30, schema=schema).splitlines()

    assert said == [
        "found schema version 1; this program has 3",
        "would run 002_1_label.sql: Adds a label to the jobs that are still to end.",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        "would run 002_2_label_is_short.sql: Checks the labels of new jobs; the next step checks all.",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        "would run 002_3_validate.sql: Checks the labels of all jobs, and sets version 2.",
        "    locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
        "would run 003_depot.sql: Makes a table of depots, and sets version 3.",
        "    locks no existing table",
    ]


def test_of_an_empty_database_says_that_all_is_built_and_builds_nothing(empty):
    before = sql_on(empty)(EVERYTHING)

    said = plan(empty, retention_days=30).splitlines()

    assert said[:3] == [
        "found no Haulier schema",
        "would run schema.sql: Builds all of it.",
        "    locks no existing table",
    ]
    assert len(planned("\n".join(said[3:]))) == len(said[3:]) == 8
    assert sql_on(empty)(EVERYTHING) == before


def test_of_a_schema_that_fits_says_that_there_is_nothing_to_do(archive):
    for version in (1, 3):
        archive.sql("UPDATE haulier.schema_version SET version = %s", version)
        said = plan(archive.conn, retention_days=30)
        assert said == f"found schema version {version}; this program has 1\nnothing to do"


def test_changes_nothing_and_waits_for_no_lock_on_a_table(version_1, fresh_database, schema):
    before = sql_on(version_1)(EVERYTHING)
    with closing(connect(fresh_database)) as other:
        # Not the partitions: PostgreSQL itself locks one for a moment to read its bounds.
        tables = "haulier.job, ONLY haulier.finished_job, haulier.worker, haulier.idempotency"
        sql_on(other)(f"BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        # What others hold while they migrate.
        sql_on(other)("LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE")

        said = plan(version_1, retention_days=30, schema=schema)

    assert said.startswith("found schema version 1; this program has 3\n")
    assert sql_on(version_1)(EVERYTHING) == before


@pytest.mark.parametrize(("is_new", "days"), [(True, 30), (True, 1000), (False, 100)])
def test_names_the_partitions_that_migrate_then_makes(empty, schema, is_new, days):
    if not is_new:
        sql_on(empty)(f"BEGIN; {text_of_version_1()}; COMMIT")

    said = plan(empty, retention_days=days, schema=schema)
    done = migrate(empty, retention_days=days, schema=schema)

    assert done.endswith(f"; {len(planned(said))} history partitions made")
    assert partitions(empty) == planned(said) != []


def partitions(conn: Connection) -> list[str]:
    found = sql_on(conn)(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'haulier.finished_job'::regclass ORDER BY relname"
    )
    return [name for (name,) in found]


@pytest.mark.parametrize(("days", "dropped"), [(30, [0]), (30, [1, 4, 7]), (100, [2, 3]), (1000, [*range(8)])], ids=str)
def test_names_those_that_are_missing_between_others(archive, dropped, days):
    present = archive.partitions()
    archive.sql("DROP TABLE " + ", ".join(f"haulier.{present[number]}" for number in dropped))
    archive.sql("ALTER DATABASE " + archive.conn.info.dbname + " SET timezone = 'Asia/Kolkata'")

    with closing(connect(archive.url)) as conn:
        said = plan(conn, retention_days=days)

    assert planned(said) == ensure_partitions(archive.conn, retention_days=days) != []


def test_names_a_partition_anew_if_a_detached_one_has_its_name(archive):
    newest = archive.partitions()[-1]
    archive.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{newest}")

    [name] = planned(plan(archive.conn, retention_days=30))
    [made] = ensure_partitions(archive.conn, retention_days=30)

    assert name == f"{newest}_again_…"
    assert made.startswith(name.removesuffix("…"))
