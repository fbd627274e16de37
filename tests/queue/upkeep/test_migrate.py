"""`migrate`, from an older version of the schema, interrupted, repeated and at once: it ..."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import Locked
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database
from haulier.queue import produce
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.steps import SCHEMA_VERSION
from tests.catalogue import shape
from tests.conftest import eventually, sql_on
from tests.queue.upkeep.published import CLAIM, INSERT, PUBLISHED, STEPS, TAKE_KEY, publish, take, version_of
from tests.servers import oldest_server

OF_VERSION = {version: list(steps) for version, steps in groupby(STEPS, lambda step: step.version)}


# --- What becomes of an old version


def test_an_old_version_becomes_in_place_what_a_new_database_has(old_version, new):
    said = migrate(old_version, retention_days=30)

    assert said == f"applied schema version {SCHEMA_VERSION}; 8 history partitions made"
    assert shape(sql_on(old_version)) == new
    assert len(produce.list_jobs(old_version, produce.JobFilter()).jobs) == 2


def test_the_steps_of_each_version_lead_to_that_version_as_it_was_published(first_version, old_version):
    version = version_of(old_version)

    take(first_version, [step for step in STEPS if step.version <= version])

    assert shape(sql_on(first_version)) == shape(sql_on(old_version))


@pytest.mark.direct("has a server of its own")
def test_an_old_version_becomes_so_on_an_older_server_too(old_server):
    with scratch_database(old_server, "haulier_new") as dsn, closing(connect(dsn)) as conn:
        migrate(conn, retention_days=30)
        wanted = shape(sql_on(conn))

    for version in PUBLISHED:
        with scratch_database(old_server, f"haulier_of_{version}") as dsn, closing(connect(dsn)) as conn:
            migrate(publish(conn, version), retention_days=30)
            assert shape(sql_on(conn)) == wanted, version


@pytest.fixture(scope="module")
def old_server(postgres: str) -> Iterator[str]:
    """Give the DSN of the oldest server at hand."""
    with oldest_server(postgres) as dsn:
        yield dsn


def test_a_program_of_an_old_version_goes_on_in_the_new_schema(first_or_last):
    sql = sql_on(first_or_last)
    [[worker]] = sql("SELECT id FROM haulier.worker")
    migrate(first_or_last, retention_days=30)

    claimed = sql(CLAIM, worker, worker)

    assert len(claimed) == 2
    assert sql("SELECT compatible_from FROM haulier.schema_version") == [(1,)]
    assert len(sql(TAKE_KEY, "order-8", b"")) == 1
    assert sql(TAKE_KEY, "order-7", b"") == []


def test_keys_of_an_old_version_go_on_for_callers_without_an_api_key_alone(first_or_last):
    migrate(first_or_last, retention_days=30)
    asked = NewJob("mail", {"n": 7}, idempotency_key="order-7")

    again = produce.enqueue_one(first_or_last, produce.draft(asked))
    keyed = produce.enqueue_one(first_or_last, produce.draft(asked, scope="abc"))

    assert (again.receipt, keyed.receipt) == (produce.Receipt.REPLAYED, produce.Receipt.CREATED)
    assert sql_on(first_or_last)("SELECT key FROM haulier.idempotency ORDER BY key") == [("abc order-7",), ("order-7",)]


def test_migrates_an_old_version_while_applications_insert(first_or_last, fresh_database):
    over, problems = threading.Event(), []

    def insert() -> None:
        with closing(connect(fresh_database)) as mine:
            try:
                while not over.is_set():
                    sql_on(mine)(INSERT)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=insert) for _ in range(3)]
    for thread in threads:
        thread.start()
    migrate(first_or_last, retention_days=30)
    over.set()
    for thread in threads:
        thread.join(20)

    assert problems == []


# --- Interrupted, repeated, at once


@pytest.mark.parametrize(
    "taken",
    [pytest.param(taken, marks=pytest.mark.slow if taken % 3 else ()) for taken in range(len(STEPS) + 1)],
)
def test_goes_on_from_wherever_it_was_interrupted(first_version, new, taken):
    take(first_version, STEPS[:taken])
    between = version_of(first_version)

    migrate(first_version, retention_days=30)

    complete = [version for version, steps in OF_VERSION.items() if steps[-1] in STEPS[:taken]]
    assert between == max([1, *complete])
    assert shape(sql_on(first_version)) == new


def test_a_program_of_the_first_version_goes_on_after_every_step(first_version):
    sql = sql_on(first_version)
    [[worker]] = sql("SELECT id FROM haulier.worker")
    sql(CLAIM, worker, worker)

    for number, step in enumerate(STEPS):
        take(first_version, [step])
        sql(INSERT)
        assert sql(TAKE_KEY, "order-7", b"") == []
        assert len(sql(TAKE_KEY, f"order of step {number}", b"")) == 1
        assert sql("SELECT queue FROM haulier.lane") == [("default",)]
        assert len(sql(CLAIM, worker, worker)) == 2
        assert sql("SELECT compatible_from FROM haulier.schema_version") == [(1,)]


def test_another_may_repeat_each_step_of_a_version_before_its_last(first_version, new):
    for steps in OF_VERSION.values():
        take(first_version, [*steps[:-1], *steps])

    assert shape(sql_on(first_version)) == new


def test_takes_all_steps_again_in_a_schema_that_has_them(fresh_database, new):
    with closing(connect(fresh_database)) as conn:
        migrate(conn, retention_days=30)
        sql_on(conn)("UPDATE haulier.schema_version SET version = 1")

        migrate(conn, retention_days=30)

        assert shape(sql_on(conn)) == new


def test_several_at_once_take_turns(first_version, database_of_version_1, new):
    barrier, said = threading.Barrier(4), []

    def run() -> None:
        with closing(connect(database_of_version_1)) as conn:
            barrier.wait(10)
            try:
                said.append(migrate(conn, retention_days=30))
            except Exception as error:
                said.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {re.sub(r"\d+ history", "history", each) for each in said} <= {
        f"applied schema version {SCHEMA_VERSION}; history partitions made",
        f"schema version {SCHEMA_VERSION} was up to date; history partitions made",
    }
    assert len(said) == 4
    assert shape(sql_on(first_version)) == new


def test_takes_no_step_that_another_has_taken_while_it_waited_for_its_turn(first_version, database_of_version_1, new):
    said: list[str] = []

    def run() -> None:
        with closing(connect(database_of_version_1, application_name="second")) as conn:
            said.append(migrate(conn, retention_days=30))

    second = threading.Thread(target=run)
    with closing(connect(database_of_version_1)) as other:
        sql_on(other)("BEGIN; LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE")
        second.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock'"
        eventually(lambda: sql_on(first_version)(waits))
        for step in STEPS:
            sql_on(other)(step.text)
        sql_on(other)("COMMIT")
        second.join(20)

    assert said == [f"schema version {SCHEMA_VERSION} was up to date; 8 history partitions made"]
    assert shape(sql_on(first_version)) == new


@contextmanager
def reading(dsn: str, table: str) -> Iterator[Connection]:
    """Hold a transaction open that has read the table."""
    with closing(connect(dsn)) as reader:
        sql_on(reader)(f"BEGIN; SELECT FROM haulier.{table}")
        yield reader


def test_gives_up_soon_where_somebody_holds_a_table_and_goes_on_later(fresh_database, new):
    with closing(connect(fresh_database)) as conn:
        publish(conn, 2)
        with reading(fresh_database, "job") as reader:
            [(pid,)] = sql_on(reader)("SELECT pg_backend_pid()")
            [(before,)] = sql_on(conn)("SELECT clock_timestamp()")
            with pytest.raises(Locked) as raised:
                migrate(conn, retention_days=30)
            [(seconds,)] = sql_on(conn)("SELECT extract(epoch FROM clock_timestamp() - %s)::float", before)

        assert str(raised.value) == (
            f"003_3_checks.sql did not get a lock in time: process {pid} has used haulier.job for longest."
            " What came before it stays done: run `python -m haulier migrate` again"
        )
        assert 4 < seconds < 9
        assert version_of(conn) == 2
        assert sql_on(conn)("SELECT count(*) FROM haulier.api_key") == [(0,)]
        migrate(conn, retention_days=30)
        assert shape(sql_on(conn)) == new


@pytest.mark.parametrize("table", ["finished_job", "audit", "rollup"])
def test_holds_up_nobody_who_inserts_while_it_waits_for_another_table(fresh_database, table):
    def run() -> None:
        with closing(connect(fresh_database, application_name="waiting")) as mine:
            migrate(mine, retention_days=30)

    waiting = threading.Thread(target=run)
    with closing(connect(fresh_database)) as conn:
        sql = sql_on(publish(conn, 10))
        with reading(fresh_database, table):
            waiting.start()
            waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'waiting' AND wait_event_type = 'Lock'"
            eventually(lambda: sql(waits))

            sql("SET lock_timeout = '1s'")
            sql(INSERT)
        waiting.join(20)

        assert version_of(conn) == SCHEMA_VERSION


def test_goes_on_where_its_session_was_ended_in_the_midst_of_a_step(first_version, database_of_version_1, new):
    died: list[BaseException] = []

    def run() -> None:
        with closing(connect(database_of_version_1, application_name="doomed")) as conn:
            try:
                migrate(conn, retention_days=30)
            except psycopg2.Error as error:
                died.append(error)

    doomed = threading.Thread(target=run)
    with reading(database_of_version_1, "worker"):
        doomed.start()
        # Version 7 is the first that takes the readers of workers away.
        eventually(
            lambda: sql_on(first_version)(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'doomed' AND wait_event_type = 'Lock'"
            )
        )
        doomed.join(10)
    between = version_of(first_version)
    migrate(first_version, retention_days=30)

    assert len(died) == 1
    assert between == 6
    assert shape(sql_on(first_version)) == new
