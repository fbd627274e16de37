"""`migrate` from version 1 by made-up steps: complete, interrupted, repeated, by several, and refused. It ..."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import Locked, SchemaMismatch
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database, url_of
from haulier.queue import claims, search
from haulier.queue.upkeep.migrate import check_schema, migrate, plan
from haulier.queue.upkeep.steps import SCHEMA, Schema
from tests import queueing
from tests.catalogue import shape
from tests.conftest import eventually, sql_on
from tests.queue.upkeep.made_up import build_version_1, contents, fill, made_up_schema, register, take, version_of
from tests.queue.upkeep.made_up import version_1 as text_of_version_1
from tests.rivals import at_the_same_moment, beside, connected
from tests.servers import oldest_server

APPLIED = "applied schema version 3; history partitions made"
UP_TO_DATE = "schema version 3 is up to date; history partitions made"
INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{\"n\": 1}')"
WAITS = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"


def migrated(conn: Connection, schema: Schema) -> str:
    """Migrate, and return what is said, without the number of partitions."""
    return re.sub(r"\d+ history", "history", migrate(conn, retention_days=30, schema=schema))


# --- What becomes of an old version


def test_version_1_and_the_steps_have_the_catalogue_of_schema_sql_and_all_data(version_1, schema, new):
    before = contents(version_1, but={"label"})

    said = migrated(version_1, schema)

    after = contents(version_1, but={"label"})
    assert said == APPLIED
    assert shape(sql_on(version_1)) == new
    assert [table for table, rows in before.items() if not rows] == []
    assert after == {**before, "depot": []}


def test_version_1_and_the_real_steps_have_the_catalogue_of_schema_sql(fresh_database, archive):
    with closing(connect(fresh_database)) as conn:
        sql_on(conn)(f"BEGIN; {text_of_version_1()}; COMMIT")
        fill(conn)

        migrate(conn, retention_days=30)

        assert shape(sql_on(conn)) == shape(archive.sql)


@pytest.mark.direct("has a server of its own")
def test_migrates_on_the_oldest_server_too(postgres, schema):
    with (
        oldest_server(postgres) as server,
        scratch_database(server, "haulier_new") as dsn,
        scratch_database(server, "haulier_old") as old_dsn,
        closing(connect(dsn)) as conn,
        closing(connect(old_dsn)) as old,
    ):
        migrated(conn, schema)
        migrated(build_version_1(old), schema)

        assert shape(sql_on(old)) == shape(sql_on(conn))


def test_programs_of_version_1_go_on_after_every_step(version_1, steps):
    def work() -> str:
        """Do what a program does in its life, and return the status of its job."""
        check_schema(version_1, SCHEMA)
        worker = register(version_1)
        [enqueued] = queueing.enqueue(version_1, [NewJob("mail", {}, idempotency_key=str(uuid4()), priority=100)])
        [job] = queueing.claim(version_1, worker_id=worker, claim_id=uuid4(), queues=())
        claims.settle(version_1, [Settlement(Fence.of(job), Outcome.complete())])
        assert job.id == enqueued.job.id
        return str(search.get(version_1, job.id).status)

    for step in steps:
        take(version_1, [step])
        assert work() == "succeeded", step.name


def test_migrates_while_applications_insert(version_1, fresh_database, schema):
    over = threading.Event()

    def insert(mine: Connection) -> None:
        while not over.is_set():
            sql_on(mine)(INSERT)

    with beside(*[connected(fresh_database, insert)] * 3) as results:
        try:
            migrated(version_1, schema)
        finally:
            over.set()

    assert results == [None] * 3


# --- Interrupted, repeated, at once


@pytest.mark.parametrize("taken", range(5))
def test_goes_on_from_wherever_it_was_interrupted(version_1, schema, steps, new, taken):
    take(version_1, steps[:taken])
    between = version_of(version_1)

    migrated(version_1, schema)

    assert between == (1, 1, 1, 2, 3)[taken]
    assert shape(sql_on(version_1)) == new


def test_another_may_repeat_each_step_of_a_version_before_its_last(version_1, steps, new):
    for _, group in groupby(steps, lambda step: step.version):
        files = list(group)
        take(version_1, [*files[:-1], *files])

    assert shape(sql_on(version_1)) == new


def test_several_at_once_take_turns(version_1, fresh_database, schema, new):
    said = at_the_same_moment(*[connected(fresh_database, partial(migrated, schema=schema))] * 4)

    assert {*said} <= {APPLIED, UP_TO_DATE}
    assert shape(sql_on(version_1)) == new


def test_takes_no_step_that_another_took_while_it_waited_for_its_turn(version_1, fresh_database, schema, steps, new):
    second = connected(fresh_database, partial(migrated, schema=schema), name="second")
    with closing(connect(fresh_database)) as other:
        sql_on(other)("BEGIN; LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE")
        with beside(second) as said:
            eventually(lambda: sql_on(version_1)(WAITS, "second"))
            for step in steps:
                sql_on(other)(step.text)
            sql_on(other)("COMMIT")

    assert said == [UP_TO_DATE]
    assert shape(sql_on(version_1)) == new


@contextmanager
def reading(dsn: str, table: str) -> Iterator[Connection]:
    with closing(connect(dsn)) as reader:
        sql_on(reader)(f"BEGIN; SELECT FROM haulier.{table}")
        yield reader


@pytest.mark.direct("a pool gives its clients process ids of its own")
def test_gives_up_soon_if_a_table_is_in_use_and_goes_on_later(version_1, fresh_database, new, tmp_path):
    schema = made_up_schema(tmp_path, lock_timeout="300ms")
    with reading(fresh_database, "job") as reader, pytest.raises(Locked) as raised:
        pid = reader.info.backend_pid
        migrated(version_1, schema)

    assert str(raised.value) == (
        f"002_1_label.sql did not get a lock in time: server process {pid} has used haulier.job longest."
        " The steps before it are done. Run `python -m haulier migrate` again"
    )
    assert version_of(version_1) == 1
    migrated(version_1, schema)
    assert shape(sql_on(version_1)) == new


def test_goes_on_if_its_session_was_ended_during_a_step(version_1, fresh_database, schema, steps, new):
    take(version_1, steps[:1])
    doomed = connected(fresh_database, partial(migrated, schema=schema), name="doomed")
    with reading(fresh_database, "job"), beside(doomed) as died:
        eventually(lambda: sql_on(version_1)(WAITS.replace("SELECT 1", "SELECT pg_terminate_backend(pid)"), "doomed"))
    between = version_of(version_1)
    migrated(version_1, schema)

    assert isinstance(died[0], psycopg2.Error)
    assert between == 1
    assert shape(sql_on(version_1)) == new


# --- Development builds


OTHER_BUILDS = {
    "from before version 1": "ALTER TABLE haulier.schema_version DROP COLUMN fingerprint;"
    " UPDATE haulier.schema_version SET version = 14",
    "of other statements": "UPDATE haulier.schema_version SET fingerprint = '1 other'",
}


@pytest.mark.parametrize("other", OTHER_BUILDS)
def test_refuses_the_database_of_another_development_build(archive, other):
    archive.sql(OTHER_BUILDS[other])
    before = shape(archive.sql)

    for program in (migrate, plan):
        with pytest.raises(SchemaMismatch, match=r"development build .*DROP SCHEMA haulier CASCADE"):
            program(archive.conn, retention_days=30)
    with pytest.raises(SchemaMismatch, match="development build"):
        check_schema(archive.conn)

    assert shape(archive.sql) == before


def test_takes_a_schema_that_psql_applied_as_its_own(fresh_database):
    with closing(connect(fresh_database)) as conn:
        sql_on(conn)(f"BEGIN; {SCHEMA.text}; COMMIT")

        check_schema(conn)

        assert migrate(conn, retention_days=30).startswith("schema version 1 is up to date;")


def test_comments_and_spaces_change_no_fingerprint(tmp_path):
    other = tmp_path / "schema.sql"
    other.write_text("-- Another comment.\n" + SCHEMA.text.replace("\n\n", "\n\n\n").replace("-- ", "--  "))

    changed = tmp_path / "changed.sql"
    changed.write_text(
        SCHEMA.text.replace("CREATE SCHEMA", "CREATE  SCHEMA").replace("BETWEEN 1 AND 100", "BETWEEN 1 AND 101")
    )

    assert Schema(1, other, tmp_path).fingerprint == SCHEMA.fingerprint
    assert Schema(1, changed, tmp_path).fingerprint != SCHEMA.fingerprint


# --- Encodings


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_database(request, postgres, direct):
    """Give the DSN of an empty database with another encoding."""
    name = f"haulier_test_{uuid4().hex[:12]}"
    with closing(psycopg2.connect(direct(postgres))) as server, server.cursor() as cursor:
        server.autocommit = True
        # From 15 on the template may have another provider of locales, which knows no such encoding.
        libc = "LOCALE_PROVIDER libc" if server.server_version >= 150000 else ""
        cursor.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' {libc} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        try:
            yield url_of(direct(postgres), name)
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.direct("it is about the database's own encoding")
def test_is_refused_by_migrate_and_by_every_process(other_database):
    with closing(connect(other_database)) as conn, conn.cursor() as cursor:
        for refused in (lambda: migrate(conn, retention_days=30), lambda: check_schema(conn)):
            with pytest.raises(SchemaMismatch, match="Haulier needs UTF8"):
                refused()

        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'haulier'")
        assert cursor.fetchone() == (0,)
