"""The history's partitions: it ..."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import consume, produce
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.partitions import days_ahead, drop_expired, ensure_partitions
from tests.conftest import eventually


class Archive:
    """A database of the test's own, whose partitions it may spoil."""

    def __init__(self, url: str, opened: ExitStack) -> None:
        self.url = url
        self._opened = opened
        self.conn = self.open()

    def open(self) -> Connection:
        """Return a further connection."""
        return self._opened.enter_context(closing(connect(self.url, application_name="haulier test")))

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run any statement and return its rows."""
        with self.conn.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def bounds(self) -> list[tuple[datetime, datetime]]:
        """Return each attached partition's bounds in UTC, oldest first."""
        found = self.sql(
            r"SELECT (regexp_match(bound, 'FROM \(''(.*?)''\)'))[1]::timestamptz,"
            r" (regexp_match(bound, 'TO \(''(.*?)''\)'))[1]::timestamptz"
            " FROM (SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class"
            "       JOIN pg_inherits ON inhrelid = oid AND inhparent = 'haulier.finished_job'::regclass) AS child"
            " ORDER BY 1"
        )
        return [(lower.astimezone(UTC), upper.astimezone(UTC)) for lower, upper in found]

    def partitions(self) -> list[str]:
        """Return the attached partitions' names."""
        return [
            row[0]
            for row in self.sql(
                "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = oid"
                " WHERE inhparent = 'haulier.finished_job'::regclass ORDER BY 1"
            )
        ]

    def tables(self) -> set[str]:
        """Return the history's tables, attached or not."""
        return {row[0] for row in self.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'finished_job\\_%'")}

    def remove_partitions(self, keep: bool = False) -> None:
        """Detach every partition as an operator might; drop it unless told to keep it."""
        for name in self.partitions():
            self.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{name}")
            if not keep:
                self.sql(f"DROP TABLE haulier.{name}")

    def add_old(self, name: str, days_from: int, days_to: int) -> UUID:
        """Add a partition of so many days ago, and return the id of a job that finished within it."""
        self.sql(
            f"DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.{name} PARTITION OF haulier.finished_job"
            f" FOR VALUES FROM (%L) TO (%L)', date_trunc('day', now()) - interval '{days_from} days',"
            f" date_trunc('day', now()) - interval '{days_to} days'); END $$"
        )
        job = self.running()
        consume.settle(self.conn, [Settlement(Fence.of(job), Outcome.complete())])
        self.sql(
            "UPDATE haulier.finished_job SET"
            " created_at = date_trunc('day', now()) - make_interval(days => %s, secs => 1),"
            " finished_at = date_trunc('day', now()) - make_interval(days => %s, secs => 1) WHERE id = %s",
            days_to,
            days_to,
            job.id,
        )
        return job.id

    def running(self) -> Job:
        """Return a job that has been claimed."""
        produce.enqueue(self.conn, [NewJob("mail", {})])
        worker = consume.register(self.conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        [job] = consume.claim(self.conn, worker_id=worker, claim_id=uuid4(), queues=())
        return job

    def open_reader(self) -> Connection:
        """Return a connection in whose open transaction the history has been read."""
        reader = self.open()
        reader.autocommit = False
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM haulier.jobs")
        return reader


@pytest.fixture
def archive(fresh_database: str) -> Iterator[Archive]:
    with ExitStack() as opened:
        made = Archive(fresh_database, opened)
        migrate(made.conn, retention_days=30)
        yield made


def no_partition(archive: Archive) -> None:
    archive.remove_partitions()


def bound_moved_to_now(archive: Archive) -> None:
    archive.remove_partitions()
    archive.sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_moved PARTITION OF haulier.finished_job"
        " FOR VALUES FROM (%L) TO (%L)', now() - interval '1 day', now()); END $$"
    )


def detached_and_kept(archive: Archive) -> None:
    archive.remove_partitions(keep=True)


def a_hole_where_today_was(archive: Archive) -> None:
    today = archive.partitions()[0]
    archive.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{today}")


def a_hole_at_todays_rest(archive: Archive) -> None:
    a_hole_where_today_was(archive)
    archive.sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_moved PARTITION OF haulier.finished_job"
        " FOR VALUES FROM (%L) TO (%L)', now() - interval '9 days', now()); END $$"
    )


every_loss = pytest.mark.parametrize(
    "lose", [no_partition, bound_moved_to_now, detached_and_kept, a_hole_where_today_was, a_hole_at_todays_rest]
)


def test_migrate_makes_partitions_days_ahead_without_a_gap(archive):
    bounds = archive.bounds()

    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert all(upper - lower == timedelta(days=1) and lower.hour == 0 for lower, upper in bounds)
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert 7 <= days_ahead(archive.conn) <= 8


def test_makes_nothing_where_history_reaches_far_enough(archive):
    made = ensure_partitions(archive.conn, retention_days=30)

    assert made == []


@pytest.mark.parametrize(
    ("retention_days", "step"),
    [(1, "day"), (30, "day"), (31, "day"), (32, "week"), (370, "week"), (371, "month"), (3650, "month")],
)
def test_a_partition_is_so_long_that_about_sixty_hold_the_history(retention_days, step):
    assert partitions.step(retention_days) == step


@pytest.mark.parametrize(("retention_days", "longest"), [(90, timedelta(days=7)), (400, timedelta(days=31))])
def test_makes_longer_partitions_for_a_longer_retention(archive, retention_days, longest):
    archive.remove_partitions()

    ensure_partitions(archive.conn, retention_days=retention_days)

    bounds = archive.bounds()
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert all(timedelta(0) < upper - lower <= longest for lower, upper in bounds)
    assert len(bounds) <= 3


def test_goes_on_from_days_to_weeks_where_the_retention_grows(archive):
    before = archive.bounds()
    for name in archive.partitions()[-3:]:
        archive.sql(f"DROP TABLE haulier.{name}")

    ensure_partitions(archive.conn, retention_days=90)

    bounds = archive.bounds()
    assert bounds[: len(before) - 3] == before[:-3]
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert bounds[-1][1].weekday() == 0


def test_fills_a_hole_up_to_the_next_partition_whatever_the_step(archive):
    before = archive.bounds()
    a_hole_where_today_was(archive)

    ensure_partitions(archive.conn, retention_days=90)

    assert archive.bounds() == before


def test_several_make_them_at_once_and_each_is_made_once(archive):
    archive.remove_partitions()
    barrier, made, errors = threading.Barrier(5), [], []

    def make() -> None:
        with closing(connect(archive.url)) as mine:
            barrier.wait(10)
            try:
                made.extend(ensure_partitions(mine, retention_days=30))
            except DatabaseUnavailable as error:  # patience ran out: allowed, the others do the work
                errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    bounds = archive.bounds()
    assert len(errors) < 5
    assert sorted(made) == archive.partitions()
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))


@every_loss
def test_settling_goes_on_where_history_has_no_partition_for_now(archive, lose, caplog):
    job = archive.running()
    lose(archive)

    with caplog.at_level(logging.WARNING):
        settled = consume.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete("done"))])

    assert settled == {job.id: JobStatus.SUCCEEDED}
    assert produce.get(archive.conn, job.id).result == "done"
    assert "history had no partition" in caplog.text
    assert days_ahead(archive.conn) >= 7


@every_loss
def test_cancel_goes_on_where_history_has_no_partition_for_now(archive, lose):
    [receipt] = produce.enqueue(archive.conn, [NewJob("mail", {})])
    lose(archive)

    cancelled = produce.cancel(archive.conn, receipt.job.id)

    assert cancelled is True
    assert produce.get(archive.conn, receipt.job.id).status is JobStatus.CANCELLED


@every_loss
def test_rescue_goes_on_where_history_has_no_partition_for_now(archive, lose):
    job = archive.running()
    produce.cancel(archive.conn, job.id)
    archive.sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    lose(archive)

    rescued = consume.rescue(archive.conn)

    assert rescued.jobs == {job.id: JobStatus.CANCELLED}
    assert [str(dead) for dead in rescued.workers] == ["dock:7"]


@every_loss
def test_housekeeping_mends_history_before_anybody_has_to_settle(archive, lose):
    lose(archive)
    missing = days_ahead(archive.conn)

    ensure_partitions(archive.conn, retention_days=30)

    assert missing <= 0
    assert days_ahead(archive.conn) >= 7


def test_many_settle_at_once_where_history_has_no_partition(archive):
    jobs = [archive.running() for _ in range(6)]
    archive.remove_partitions()
    barrier, settled = threading.Barrier(6), {}

    def settle(job: Job) -> None:
        with closing(connect(archive.url)) as mine:
            barrier.wait(10)

            def done() -> bool:
                try:
                    settled.update(consume.settle(mine, [Settlement(Fence.of(job), Outcome.complete())]))
                except (DatabaseUnavailable, psycopg2.OperationalError):
                    return False  # a worker asks again
                return True

            eventually(done, within=20)

    threads = [threading.Thread(target=settle, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert settled == {job.id: JobStatus.SUCCEEDED for job in jobs}


def test_another_broken_check_is_not_taken_for_a_missing_partition(archive, caplog):
    job = archive.running()
    archive.sql("ALTER TABLE haulier.finished_job ADD CONSTRAINT nothing_succeeds CHECK (status <> 'succeeded')")

    with pytest.raises(psycopg2.errors.CheckViolation):
        consume.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete())])

    assert "partition" not in caplog.text
    assert produce.get(archive.conn, job.id).read() == job


def test_drops_only_the_partitions_in_which_every_job_is_old_enough(archive):
    old = archive.add_old("finished_job_old", 40, 39)
    just = archive.add_old("finished_job_just_old", 33, 31)
    straddles = archive.add_old("finished_job_straddles", 31, 29)

    dropped = drop_expired(archive.url, retention_days=30)

    assert sorted(dropped) == ["finished_job_just_old", "finished_job_old"]
    left = {row[0] for row in archive.sql("SELECT id FROM haulier.jobs")}
    assert left == {straddles}
    assert not left & {old, just}
    assert archive.tables() == set(archive.partitions())


def test_drops_nothing_where_nothing_is_old(archive):
    before = archive.partitions()

    dropped = drop_expired(archive.url, retention_days=1)

    assert dropped == []
    assert archive.partitions() == before


def test_leaves_a_partition_that_an_operator_detached_alone(archive):
    archive.add_old("finished_job_kept", 40, 39)
    archive.sql("ALTER TABLE haulier.finished_job DETACH PARTITION haulier.finished_job_kept")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == []
    assert archive.sql("SELECT count(*) FROM haulier.finished_job_kept") == [(1,)]


@pytest.mark.direct("CONCURRENTLY needs a session of its own; tests/worker/test_pgbouncer.py says what a pool does")
def test_behind_an_open_reader_it_gives_up_and_nobody_queues_up_behind_it(archive):
    archive.add_old("finished_job_old", 40, 39)
    job, reader, mine = archive.running(), archive.open_reader(), archive.open()
    over, rounds, outcome = threading.Event(), [], []

    def keep_working() -> None:
        while not over.is_set():
            [receipt] = produce.enqueue(mine, [NewJob("image", {})])
            produce.cancel(mine, receipt.job.id)
            rounds.append(produce.list_jobs(mine, produce.JobFilter(limit=1)).jobs)

    def drop() -> None:
        try:
            outcome.append(drop_expired(archive.url, retention_days=30))
        except DatabaseUnavailable as error:
            outcome.append(error)

    pid, waits = mine.get_backend_pid(), 0
    working, dropping = threading.Thread(target=keep_working), threading.Thread(target=drop)
    working.start()
    dropping.start()
    while dropping.is_alive():
        [[waiting]] = archive.sql("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid)
        waits += waiting
        dropping.join(0.02)
    over.set()
    working.join(20)

    assert isinstance(outcome[0], DatabaseUnavailable)
    assert waits == 0
    assert len(rounds) > 5
    assert consume.settle(archive.conn, [Settlement(Fence.of(job), Outcome.complete())])
    reader.rollback()


@pytest.mark.direct("CONCURRENTLY needs a session of its own")
def test_finishes_a_detach_that_was_interrupted(archive):
    archive.add_old("finished_job_old", 40, 39)
    reader = archive.open_reader()
    with pytest.raises(DatabaseUnavailable):
        drop_expired(archive.url, retention_days=30)
    pending = archive.sql("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")
    reader.rollback()

    dropped = drop_expired(archive.url, retention_days=30)

    assert pending == [(1,)]
    assert dropped == ["finished_job_old"]
    assert "finished_job_old" not in archive.tables()


def test_finishes_a_drop_that_was_interrupted(archive):
    archive.add_old("finished_job_old", 40, 39)
    archive.sql("COMMENT ON TABLE haulier.finished_job_old IS 'expired'")
    archive.sql("ALTER TABLE haulier.finished_job DETACH PARTITION haulier.finished_job_old CONCURRENTLY")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == ["finished_job_old"]


def test_partitions_go_on_being_made_beside_a_detach_that_was_interrupted(archive):
    archive.add_old("finished_job_1999", 40, 39)
    reader = archive.open_reader()
    with pytest.raises(DatabaseUnavailable):
        drop_expired(archive.url, retention_days=30)
    reader.rollback()
    newest = archive.partitions()[-1]
    archive.sql(f"DROP TABLE haulier.{newest}")

    made = ensure_partitions(archive.conn, retention_days=30)

    assert made == [newest]
    assert days_ahead(archive.conn) >= 7


def test_several_drop_at_once_and_nothing_is_left(archive):
    for number in range(4):
        archive.add_old(f"finished_job_old{number}", 40 + number, 39 + number)
    barrier, problems = threading.Barrier(4), []

    def drop() -> None:
        barrier.wait(10)
        try:
            drop_expired(archive.url, retention_days=30)
        except DatabaseUnavailable:
            pass  # somebody else is at it: tried again later
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    drop_expired(archive.url, retention_days=30)

    assert problems == []
    assert not [name for name in archive.tables() if "old" in name]


def test_leaves_no_connection_behind_also_where_it_gives_up(archive):
    archive.add_old("finished_job_old", 40, 39)
    reader = archive.open_reader()

    # The error is kept, and with it all that lived in the frames it came through.
    with pytest.raises(DatabaseUnavailable) as kept:
        drop_expired(archive.url, retention_days=30)

    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'haulier housekeeping' AND datname = current_database()"
    )
    assert eventually(lambda: archive.sql(left) == [(0,)])
    assert kept.tb is not None
    reader.rollback()
