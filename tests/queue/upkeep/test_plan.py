"""What `migrate --plan` says: it ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import SchemaMismatch
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate, plan
from haulier.queue.upkeep.partitions import ensure_partitions
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.made_up import version_1 as text_of_version_1


@pytest.fixture
def empty(fresh_database: str) -> Iterator[Connection]:
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
        "    locks no table that is there",
    ]


def test_of_an_empty_database_says_that_all_is_built(empty):
    said = plan(empty, retention_days=30).splitlines()

    assert said[:3] == [
        "found no Haulier schema",
        "would run schema.sql: Builds all of it.",
        "    locks no table that is there",
    ]
    assert len(planned("\n".join(said[3:]))) == len(said[3:]) == 8


def test_of_a_schema_that_fits_says_that_there_is_nothing_to_do(archive):
    for version in (1, 3):
        archive.sql("UPDATE haulier.schema_version SET version = %s", version)
        said = plan(archive.conn, retention_days=30)
        assert said == f"found schema version {version}; this program has 1\nnothing to do"


def test_refuses_what_migrate_refuses(archive):
    archive.sql("UPDATE haulier.schema_version SET version = version + 2, compatible_from = version + 1")

    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        plan(archive.conn, retention_days=30)


EVERYTHING = "SELECT oid, relname, xmin::text FROM pg_class ORDER BY oid"


def test_changes_nothing_in_an_empty_database(empty, schema):
    before = sql_on(empty)(EVERYTHING)

    plan(empty, retention_days=30, schema=schema)

    assert sql_on(empty)(EVERYTHING) == before


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


def test_beside_a_default_partition_names_the_same(archive):
    archive.sql("CREATE TABLE haulier.rest PARTITION OF haulier.finished_job DEFAULT")
    newest = archive.partitions()
    archive.sql(f"DROP TABLE haulier.{max(name for name in newest if name.startswith('finished_job_2'))}")

    said = plan(archive.conn, retention_days=30)

    assert planned(said) == ensure_partitions(archive.conn, retention_days=30) != []


def test_leaves_the_schema_that_migrate_makes_as_it_is(archive):
    before = shape(archive.sql)

    plan(archive.conn, retention_days=30)

    assert shape(archive.sql) == before
