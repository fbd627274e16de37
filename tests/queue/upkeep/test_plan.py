"""What `migrate --plan` says: it ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import SchemaMismatch
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.partitions import ensure_partitions
from haulier.queue.upkeep.plan import plan
from haulier.queue.upkeep.steps import SCHEMA_VERSION, steps_from
from tests.catalogue import shape
from tests.conftest import sql_on
from tests.queue.upkeep.published import publish


@pytest.fixture
def empty(fresh_database: str) -> Iterator[Connection]:
    with closing(connect(fresh_database)) as conn:
        yield conn


def planned(said: str) -> list[str]:
    return re.findall(r"^would make the history partition (\S+)$", said, re.MULTILINE)


def test_names_the_steps_from_an_old_version_and_what_they_lock_and_nothing_else(empty):
    publish(empty, 5)

    said = plan(empty, retention_days=30).splitlines()

    steps = steps_from(5)
    assert [step.name for step in steps] == [
        "006_1_indexes_of_what_runs.sql", "006_2_names.sql", "007_functions_of_the_owner.sql", "008_progress.sql",
        "009_1_history_by_end.sql", "009_2_numbers.sql", "010_workers.sql", "011_1_job.sql",
        "011_2_history.sql", "011_3_view.sql", "011_4_audit.sql", "011_5_errors.sql", "011_6_rollup.sql",
        "011_7_failed_by_error.sql", "011_8_retrying_by_error.sql", "011_9_validate.sql",
        "012_1_history.sql", "012_2_job.sql", "012_3_view.sql", "012_4_history_by_tag.sql", "012_5_waiting_by_tag.sql",
        "012_6_audit_by_job.sql", "012_7_validate.sql",
        "013_1_history.sql", "013_2_job.sql", "013_3_view.sql", "013_4_audit.sql",
        "013_5_workers_of_the_past.sql", "013_6_pauses.sql", "013_7_operations.sql", "013_7_work_off.sql",
        "013_8_acts.sql", "013_8_keys.sql", "013_8a_scheduled_history.sql", "013_8b_scheduled_job.sql",
        "013_8c_scheduled_view.sql", "013_8d_by_schedule.sql", "013_8e_schedules.sql", "013_8f_names_of_jobs.sql",
        "013_8g_validate_names.sql", "013_8s_sessions.sql", "013_9_validate.sql",
        "014_1_checks_of_jobs.sql", "014_2_validate.sql",
    ]  # fmt: skip
    assert said[:89] == [
        f"found schema version 5; this program has {SCHEMA_VERSION}",
        f"would run 006_1_indexes_of_what_runs.sql: {steps[0].does}",
        "    locks job: SHARE, while all of it is read twice: nothing can be enqueued, claimed or settled",
        f"would run 006_2_names.sql: {steps[1].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 007_functions_of_the_owner.sql: {steps[2].does}",
        "    locks worker: ACCESS EXCLUSIVE, for a moment",
        f"would run 008_progress.sql: {steps[3].does}",
        "    locks jobs: ACCESS EXCLUSIVE, for a moment",
        f"would run 009_1_history_by_end.sql: {steps[4].does}",
        "    locks finished_job: SHARE, while what ended today is read: nothing can be settled",
        f"would run 009_2_numbers.sql: {steps[5].does}",
        "    locks no table that is there",
        f"would run 010_workers.sql: {steps[6].does}",
        "    locks worker: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_1_job.sql: {steps[7].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_2_history.sql: {steps[8].does}",
        "    locks finished_job: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_3_view.sql: {steps[9].does}",
        "    locks jobs: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_4_audit.sql: {steps[10].does}",
        "    locks audit: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_5_errors.sql: {steps[11].does}",
        "    locks no table that is there",
        f"would run 011_6_rollup.sql: {steps[12].does}",
        "    locks rollup: ACCESS EXCLUSIVE, for a moment",
        f"would run 011_7_failed_by_error.sql: {steps[13].does}",
        "    locks partitions of finished_job: SHARE, until all are read, today's last: retries wait, then settles",
        f"would run 011_8_retrying_by_error.sql: {steps[14].does}",
        "    locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled",
        f"would run 011_9_validate.sql: {steps[15].does}",
        "    locks audit: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
        f"would run 012_1_history.sql: {steps[16].does}",
        "    locks finished_job: ACCESS EXCLUSIVE, for a moment",
        f"would run 012_2_job.sql: {steps[17].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 012_3_view.sql: {steps[18].does}",
        "    locks jobs: ACCESS EXCLUSIVE, for a moment",
        f"would run 012_4_history_by_tag.sql: {steps[19].does}",
        "    locks partitions of finished_job: SHARE, until all are read, today's last: retries wait, then settles",
        f"would run 012_5_waiting_by_tag.sql: {steps[20].does}",
        "    locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled",
        f"would run 012_6_audit_by_job.sql: {steps[21].does}",
        "    locks audit: SHARE, while it is read once: nothing can be cancelled, retried, muted or quieted",
        f"would run 012_7_validate.sql: {steps[22].does}",
        "    locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
        f"would run 013_1_history.sql: {steps[23].does}",
        "    locks finished_job: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_2_job.sql: {steps[24].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_3_view.sql: {steps[25].does}",
        "    locks jobs: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_4_audit.sql: {steps[26].does}",
        "    locks audit: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_5_workers_of_the_past.sql: {steps[27].does}",
        "    locks worker: SHARE ROW EXCLUSIVE, for a moment",
        f"would run 013_6_pauses.sql: {steps[28].does}",
        "    locks no table that is there",
        f"would run 013_7_operations.sql: {steps[29].does}",
        "    locks no table that is there",
        f"would run 013_7_work_off.sql: {steps[30].does}",
        "    locks no table that is there",
        f"would run 013_8_acts.sql: {steps[31].does}",
        "    locks no table that is there",
        f"would run 013_8_keys.sql: {steps[32].does}",
        "    locks no table that is there",
        f"would run 013_8a_scheduled_history.sql: {steps[33].does}",
        "    locks finished_job: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_8b_scheduled_job.sql: {steps[34].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_8c_scheduled_view.sql: {steps[35].does}",
        "    locks jobs: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_8d_by_schedule.sql: {steps[36].does}",
        "    locks job: SHARE, while all of it is read once: nothing can be enqueued, claimed or settled",
        f"would run 013_8e_schedules.sql: {steps[37].does}",
        "    locks no table that is there",
        f"would run 013_8f_names_of_jobs.sql: {steps[38].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 013_8g_validate_names.sql: {steps[39].does}",
        "    locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
        f"would run 013_8s_sessions.sql: {steps[40].does}",
        "    locks no table that is there",
        f"would run 013_9_validate.sql: {steps[41].does}",
        "    locks audit: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
        f"would run 014_1_checks_of_jobs.sql: {steps[42].does}",
        "    locks job: ACCESS EXCLUSIVE, for a moment",
        f"would run 014_2_validate.sql: {steps[43].does}",
        "    locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on",
    ]
    assert len(planned("\n".join(said[89:]))) == len(said[89:]) == 8


def test_says_of_each_step_what_it_does_in_one_line_that_begins_and_ends_as_a_sentence():
    assert [step.name for step in steps_from(1) if not re.fullmatch(r"[A-Z][^\n]{30,250}\.", step.does)] == []


def test_of_an_empty_database_says_that_all_is_built(empty):
    said = plan(empty, retention_days=30).splitlines()

    assert said[:3] == [
        "found no Haulier schema",
        "would run schema.sql: Builds all of it.",
        "    locks no table that is there",
    ]
    assert len(planned("\n".join(said[3:]))) == len(said[3:]) == 8


@pytest.mark.parametrize("newer", [0, 2])
def test_of_a_schema_that_fits_says_that_there_is_nothing_to_do(archive, newer):
    archive.sql(f"UPDATE haulier.schema_version SET version = version + {newer}")

    said = plan(archive.conn, retention_days=30)

    found = SCHEMA_VERSION + newer
    assert said == f"found schema version {found}; this program has {SCHEMA_VERSION}\nnothing to do"


def test_refuses_what_migrate_refuses(archive):
    archive.sql("UPDATE haulier.schema_version SET version = version + 2, compatible_from = version + 1")

    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        plan(archive.conn, retention_days=30)


@pytest.mark.parametrize("version", [None, 1, 6])
def test_changes_nothing(empty, version):
    if version:
        publish(empty, version)
    everything = "SELECT oid, relname, xmin::text FROM pg_class ORDER BY oid"
    before = sql_on(empty)(everything)

    plan(empty, retention_days=30)

    assert sql_on(empty)(everything) == before


@pytest.mark.parametrize("version", [1, 6])
def test_waits_for_no_lock_on_a_table(empty, fresh_database, version):
    publish(empty, version)
    with closing(connect(fresh_database)) as other:
        tables = "haulier.job, haulier.finished_job, haulier.worker, haulier.idempotency"
        sql_on(other)(f"BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        # What others hold while they migrate.
        sql_on(other)("LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE")

        said = plan(empty, retention_days=30)

    assert said.startswith(f"found schema version {version};")


@pytest.mark.parametrize("days", [30, 100, 1000])
@pytest.mark.parametrize("version", [None, 3])
def test_names_the_partitions_that_migrate_then_makes(empty, version, days):
    if version:
        publish(empty, version)

    said = plan(empty, retention_days=days)
    done = migrate(empty, retention_days=days)

    assert done.endswith(f"; {len(planned(said))} history partitions made")
    assert partitions(empty) == planned(said) != []


def partitions(conn: Connection) -> list[str]:
    found = sql_on(conn)(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'haulier.finished_job'::regclass ORDER BY relname"
    )
    return [name for (name,) in found]


@pytest.mark.parametrize("days", [30, 100, 1000])
@pytest.mark.parametrize("dropped", [[0], [2, 3], [1, 4, 7], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_names_those_that_are_missing_between_others(archive, dropped, days):
    present = archive.partitions()
    archive.sql("DROP TABLE " + ", ".join(f"haulier.{present[number]}" for number in dropped))
    archive.sql("ALTER DATABASE " + archive.conn.info.dbname + " SET timezone = 'Asia/Kolkata'")

    with closing(connect(archive.url)) as conn:
        said = plan(conn, retention_days=days)

    assert planned(said) == ensure_partitions(archive.conn, retention_days=days) != []


def test_names_one_whose_name_a_detached_one_has_by_another(archive):
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
