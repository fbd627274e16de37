"""Programs and schemas of different versions: it ..."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import SchemaMismatch
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.upkeep.migrate import check_schema, migrate
from haulier.queue.upkeep.steps import SCHEMA, Schema
from tests import queueing
from tests.conftest import sql_on


@pytest.fixture
def versioned(migrated_database: str) -> Iterator[Callable[[int, int], Connection]]:
    """Give a function that returns a connection to a schema of that version, compatible from that one on."""
    with closing(connect(migrated_database)) as conn:

        def versioned(version: int, compatible_from: int) -> Connection:
            sql_on(conn)(
                "UPDATE haulier.schema_version SET version = %s, compatible_from = %s", version, compatible_from
            )
            return conn

        yield versioned


def test_a_program_starts_on_a_newer_schema_that_is_compatible(versioned):
    for newer in (0, 7):
        check_schema(versioned(SCHEMA.version + newer, SCHEMA.version))


def test_a_program_stops_on_an_older_schema_with_the_command_to_run(versioned):
    newer = Schema(SCHEMA.version + 1, SCHEMA.file, SCHEMA.migrations)

    with pytest.raises(SchemaMismatch, match="run `python -m haulier migrate`"):
        check_schema(versioned(SCHEMA.version, SCHEMA.version), newer)


def test_a_program_stops_on_a_schema_that_is_too_new_for_it(versioned):
    conn = versioned(SCHEMA.version + 2, SCHEMA.version + 1)

    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        check_schema(conn)
    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        migrate(conn, retention_days=30)


def test_a_program_stops_without_a_schema_or_a_version_with_the_command_to_run(fresh_database, versioned):
    interrupted = versioned(SCHEMA.version, SCHEMA.version)
    sql_on(interrupted)("DELETE FROM haulier.schema_version")

    with closing(connect(fresh_database)) as empty:
        for conn in (empty, interrupted):
            with pytest.raises(SchemaMismatch, match="run `python -m haulier migrate`"):
                check_schema(conn)
    migrate(interrupted, retention_days=30)

    check_schema(interrupted)


def test_migrate_of_an_older_program_leaves_a_newer_compatible_schema_as_it_is(versioned):
    conn = versioned(SCHEMA.version + 3, SCHEMA.version)
    sql_on(conn)(
        "CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )

    said = migrate(conn, retention_days=30)

    assert said == f"schema version {SCHEMA.version + 3} is up to date; 0 history partitions made"
    assert sql_on(conn)("SELECT version FROM haulier.schema_version") == [(SCHEMA.version + 3,)]
    assert sql_on(conn)("SELECT prosrc FROM pg_proc WHERE proname = 'knock'") == [("BEGIN RETURN NULL; END",)]


def test_a_program_reads_the_jobs_of_a_newer_schema_that_shows_more_of_each(versioned):
    conn = versioned(SCHEMA.version + 1, SCHEMA.version)
    sql_on(conn)(
        "ALTER VIEW haulier.jobs RENAME TO jobs_before;"
        " CREATE VIEW haulier.jobs AS SELECT jobs_before.*, 7 AS newer FROM haulier.jobs_before"
    )
    [enqueued] = queueing.enqueue(conn, [NewJob("mail", {"n": 1})])

    job = search.get(conn, enqueued.job.id)

    assert (job.kind, job.payload, job.progress) == ("mail", {"n": 1}, None)
    assert [each.id for each in search.list_jobs(conn, search.JobFilter()).jobs] == [job.id]


def run_migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "haulier", "migrate"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_says_in_a_line_that_a_right_is_missing(fresh_database, make_role):
    stranger = make_role(url=fresh_database)
    url = re.sub(r"//([^@/]*@)?", f"//{stranger.info.user}:swordfish@", fresh_database, count=1)

    done = run_migrate(url)

    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("haulier: ")
    assert "permission denied" in line
    assert "swordfish" not in line
