"""The history's partitions after an operator has changed them: it ..."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2
import pytest

from haulier.domain.errors import DatabaseUnavailable, Locked, StatementRefused
from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.upkeep import migrate
from haulier.queue.upkeep.partitions import DAYS_AHEAD, HistoryBlocked, days_ahead, drop_expired, ensure_partitions
from tests.conftest import eventually, sql_on
from tests.queue.upkeep.archive import Archive
from tests.rivals import beside

# By this lock processes take turns while the database has no schema yet. Anybody who may connect can hold it.
ADVISORY_LOCK = "SELECT pg_advisory_lock(7236837241)"

without_a_pool = pytest.mark.direct("CONCURRENTLY, and a lock of the session, need a session of one's own")


# --- Another schema


def test_drops_an_expired_partition_from_another_schema_and_nobody_elses_table(archive):
    archive.add_old("finished_job_old", 40, 39)
    archive.sql("CREATE SCHEMA archive; ALTER TABLE haulier.finished_job_old SET SCHEMA archive")
    archive.sql("CREATE TABLE haulier.finished_job_old (mine integer)")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == ["archive.finished_job_old"]
    assert archive.sql("SELECT to_regclass('archive.finished_job_old')") == [(None,)]
    assert archive.sql("SELECT obj_description('haulier.finished_job_old'::regclass)") == [(None,)]


def test_drops_no_table_that_never_was_a_partition_whatever_its_comment(archive):
    archive.sql("CREATE TABLE haulier.permits (); COMMENT ON TABLE haulier.permits IS 'expired'")

    assert drop_expired(archive.url, retention_days=30) == []
    assert archive.sql("SELECT count(*) FROM haulier.permits") == [(0,)]


@without_a_pool
def test_one_that_cannot_be_dropped_keeps_no_other_from_it(archive):
    for number in range(3):
        archive.add_old(f"finished_job_old{number}", 40 + number, 39 + number)
    archive.sql("CREATE VIEW haulier.of_mine AS SELECT id FROM haulier.finished_job_old0")

    with pytest.raises(StatementRefused, match="other objects depend on it"):
        drop_expired(archive.url, retention_days=30)

    assert {name for name in archive.tables() if "old" in name} == {"finished_job_old0"}


# --- A DEFAULT partition


def test_a_default_partition_counts_for_no_days_ahead(archive):
    before = days_ahead(archive.conn)
    archive.sql("CREATE TABLE haulier.rest PARTITION OF haulier.finished_job DEFAULT")

    beside = days_ahead(archive.conn)
    archive.remove_partitions()
    archive.sql("CREATE TABLE haulier.rest PARTITION OF haulier.finished_job DEFAULT")

    assert beside == pytest.approx(before, abs=0.1)
    assert days_ahead(archive.conn) == 0


def test_partitions_are_made_and_dropped_beside_an_empty_default_one(archive, caplog):
    archive.add_old("finished_job_old", 40, 39)
    archive.sql("CREATE TABLE haulier.rest PARTITION OF haulier.finished_job DEFAULT")
    newest = max(name for name in archive.partitions() if name.startswith("finished_job_2"))
    archive.sql(f"DROP TABLE haulier.{newest}")

    made = ensure_partitions(archive.conn, retention_days=30)
    with caplog.at_level(logging.WARNING):
        dropped = drop_expired(archive.url, retention_days=30)

    assert made == [newest]
    assert dropped == ["finished_job_old"]
    assert "has a DEFAULT partition, haulier.rest" in caplog.text


def test_a_default_partition_with_todays_jobs_is_reported_with_the_remedy_and_jobs_go_on(archive):
    job, another = archive.running(), archive.running()
    archive.remove_partitions()
    archive.sql("CREATE TABLE haulier.rest PARTITION OF haulier.finished_job DEFAULT")

    settled = archive.settle(job)
    with pytest.raises(HistoryBlocked, match='DEFAULT partition.*see docs/database.md, "Days ahead"'):
        ensure_partitions(archive.conn, retention_days=30)

    assert settled == {job.id: JobStatus.SUCCEEDED}
    assert archive.settle(another) == {another.id: JobStatus.SUCCEEDED}


# --- A detach that is pending


@contextmanager
def detaching(archive: Archive, name: str) -> Iterator[int]:
    """Have an operator detach the partition, which waits for a reader; give the reader's process id."""
    reader, operator = archive.open_reader(), archive.open()
    pending = "SELECT 1 FROM pg_inherits WHERE inhdetachpending"

    def detach() -> None:
        # Whoever finishes it may be quicker.
        with suppress(psycopg2.Error):
            sql_on(operator)(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name} CONCURRENTLY")

    with beside(detach):
        try:
            eventually(lambda: archive.sql(pending))
            yield reader.get_backend_pid()
        finally:
            reader.rollback()


def today(archive: Archive) -> str:
    [[name]] = archive.sql("SELECT 'finished_job_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '_000000'")
    return name


@without_a_pool
def test_what_cannot_be_settled_for_a_pending_detach_is_an_outage_that_says_who_reads(archive):
    job = archive.running()

    with detaching(archive, today(archive)) as reader:
        with pytest.raises(DatabaseUnavailable) as raised:
            archive.settle(job)
        still = search.get(archive.conn, job.id).status

    assert f"haulier.{today(archive)} still waits for process {reader}" in str(raised.value)
    assert still is JobStatus.RUNNING
    assert archive.settle(job) == {job.id: JobStatus.SUCCEEDED}


@without_a_pool
def test_other_days_get_their_partitions_beside_a_pending_detach(archive):
    newest = archive.partitions()[-1]
    archive.sql(f"DROP TABLE haulier.{newest}")

    with detaching(archive, today(archive)):
        made = ensure_partitions(archive.conn, retention_days=30)
        ahead = days_ahead(archive.conn)

    assert made == [newest]
    assert ahead == 0


@without_a_pool
def test_finishes_a_detach_of_today_that_was_interrupted_and_settles(archive):
    job, name, reader = archive.running(), today(archive), archive.open_reader()
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        archive.sql("SET lock_timeout = '50ms'")
        archive.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name} CONCURRENTLY")
    reader.rollback()

    assert archive.settle(job) == {job.id: JobStatus.SUCCEEDED}
    assert days_ahead(archive.conn) >= DAYS_AHEAD
    assert archive.sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(0,)]


# --- Other failures


def test_a_trigger_that_breaks_a_check_is_not_taken_for_a_missing_partition(archive, caplog):
    job = archive.running()
    archive.sql(
        "CREATE FUNCTION haulier.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON haulier.finished_job FOR EACH ROW EXECUTE FUNCTION haulier.refuse()"
    )

    with pytest.raises(psycopg2.errors.CheckViolation, match="not this one"):
        archive.settle(job)

    assert "partition" not in caplog.text


def test_what_keeps_a_partition_from_being_made_is_no_failure_of_the_job(archive):
    job = archive.running()
    archive.remove_partitions()
    archive.sql(
        "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no tables today' USING ERRCODE = 'data_exception'; END $$;"
        " CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION public.refuse()"
    )

    with pytest.raises(DatabaseUnavailable, match="making one failed"):
        archive.settle(job)
    archive.sql("DROP EVENT TRIGGER refuse")

    assert archive.settle(job) == {job.id: JobStatus.SUCCEEDED}


# --- Turns


@without_a_pool
def test_neither_partitions_nor_migrate_wait_for_a_lock_that_anybody_can_take(archive, schema):
    stranger = archive.open()
    sql_on(stranger)(ADVISORY_LOCK)
    newest = archive.partitions()[-1]
    archive.sql(f"DROP TABLE haulier.{newest}")

    said = migrate.migrate(archive.conn, retention_days=30, schema=schema)

    assert said == "applied schema version 3; 1 history partitions made"
    assert archive.partitions()[-1] == newest


@without_a_pool
def test_the_first_migrate_names_who_holds_its_lock(fresh_database, monkeypatch):
    monkeypatch.setattr(migrate, "MIGRATE_LOCK_SECONDS", 0.3)
    with closing(connect(fresh_database)) as stranger, closing(connect(fresh_database)) as conn:
        sql_on(stranger)(ADVISORY_LOCK)

        with pytest.raises(Locked, match=f"process {stranger.get_backend_pid()} .*pg_terminate_backend"):
            migrate.migrate(conn, retention_days=30)
