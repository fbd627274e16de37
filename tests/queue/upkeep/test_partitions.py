"""The history's partitions: making and dropping them, and what goes on without one for now. It ..."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, jobs, search
from haulier.queue import jobs as job_acts
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.partitions import days_ahead, drop_expired, ensure_partitions
from tests import queueing
from tests.conftest import eventually
from tests.queue.upkeep.archive import Archive
from tests.rivals import at_the_same_moment, beside, connected


def test_migrate_makes_partitions_days_ahead_without_a_gap(archive):
    bounds = archive.bounds()

    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
    assert all(upper - lower == timedelta(days=1) and lower.hour == 0 for lower, upper in bounds)
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert 7 <= days_ahead(archive.conn) <= 8
    assert ensure_partitions(archive.conn, retention_days=30) == []


def test_a_partition_is_so_long_that_about_sixty_hold_the_history():
    steps = {1: "day", 30: "day", 31: "day", 32: "week", 370: "week", 371: "month", 3650: "month"}

    assert {days: partitions.step(days) for days in steps} == steps


def test_makes_longer_partitions_for_a_longer_retention(archive):
    for retention_days, longest in ((90, timedelta(days=7)), (400, timedelta(days=31))):
        archive.remove_partitions()
        ensure_partitions(archive.conn, retention_days=retention_days)

        bounds = archive.bounds()
        assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
        assert bounds[0][0] <= datetime.now(UTC)
        assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
        assert all(timedelta(0) < upper - lower <= longest for lower, upper in bounds)
        assert len(bounds) <= 3


def test_goes_on_from_days_to_weeks_if_the_retention_grows(archive):
    before = archive.bounds()
    for name in archive.partitions()[-3:]:
        archive.sql(f"DROP TABLE haulier.{name}")

    ensure_partitions(archive.conn, retention_days=90)

    bounds = archive.bounds()
    assert bounds[: len(before) - 3] == before[:-3]
    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
    assert bounds[-1][1].weekday() == 0


def test_fills_a_hole_up_to_the_next_partition_whatever_the_step(archive):
    before = archive.bounds()
    archive.detach(archive.partitions()[0])

    ensure_partitions(archive.conn, retention_days=90)

    assert archive.bounds() == before


def test_several_make_them_at_once_and_each_is_made_once(archive):
    archive.remove_partitions()

    made = at_the_same_moment(*[connected(archive.url, partial(ensure_partitions, retention_days=30))] * 5)

    bounds = archive.bounds()
    # One whose patience ran out leaves the work to the others.
    done = [each for each in made if not isinstance(each, DatabaseUnavailable)]
    assert done
    assert sorted(name for names in done for name in names) == archive.partitions()
    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))


# --- Without a partition for now


LOSSES: dict[str, Callable[[Archive], object]] = {
    "no partition": lambda archive: archive.remove_partitions(),
    "bound moved to now": lambda archive: (
        archive.remove_partitions(),
        archive.add("finished_job_moved", "now() - interval '1 day'", "now()"),
    ),
    "detached and kept": lambda archive: archive.remove_partitions(keep=True),
    "a hole where today was": lambda archive: archive.detach(archive.partitions()[0]),
    "a hole at today's rest": lambda archive: (
        archive.detach(archive.partitions()[0]),
        archive.add("finished_job_moved", "now() - interval '9 days'", "now()"),
    ),
}
every_loss = pytest.mark.parametrize("lose", LOSSES)


@every_loss
def test_settling_goes_on_without_a_partition_for_now(archive, lose, caplog):
    job = archive.running()
    LOSSES[lose](archive)

    with caplog.at_level(logging.WARNING):
        settled = archive.settle(job, "done")

    assert settled == {job.id: JobStatus.SUCCEEDED}
    assert search.get(archive.conn, job.id).result == "done"
    assert "history has no partition" in caplog.text
    assert days_ahead(archive.conn) >= 7


def test_cancel_and_rescue_go_on_without_a_partition_for_now(archive):
    job = archive.running()
    [receipt] = queueing.enqueue(archive.conn, [NewJob("mail", {})])
    job_acts.cancel(archive.conn, job.id)
    archive.sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")

    archive.remove_partitions()
    cancelled = job_acts.cancel(archive.conn, receipt.job.id)
    archive.remove_partitions(keep=True)
    rescued = queueing.rescue(archive.conn)

    assert cancelled is True
    assert rescued.jobs == {job.id: JobStatus.CANCELLED}
    assert [str(dead) for dead in rescued.workers] == ["dock:7"]


@every_loss
def test_housekeeping_mends_history_before_a_job_has_to_settle(archive, lose):
    LOSSES[lose](archive)
    missing = days_ahead(archive.conn)

    ensure_partitions(archive.conn, retention_days=30)

    assert missing <= 0
    assert days_ahead(archive.conn) >= 7


def test_many_settle_at_once_without_a_partition(archive):
    jobs = [archive.running() for _ in range(6)]
    archive.remove_partitions()
    settled = {}

    def settle(job: Job, mine: Connection) -> None:
        def done() -> bool:
            try:
                settled.update(claims.settle(mine, [Settlement(Fence.of(job), Outcome.complete())]))
            except (DatabaseUnavailable, psycopg2.OperationalError):
                return False  # a worker asks again
            return True

        eventually(done)

    at_the_same_moment(*(connected(archive.url, partial(settle, job)) for job in jobs))

    assert settled == {job.id: JobStatus.SUCCEEDED for job in jobs}


# --- Dropping


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


def test_leaves_a_partition_that_an_operator_detached_alone(archive):
    archive.add_old("finished_job_kept", 40, 39)
    archive.detach("finished_job_kept")

    dropped = drop_expired(archive.url, retention_days=30)

    assert dropped == []
    assert archive.sql("SELECT count(*) FROM haulier.finished_job_kept") == [(1,)]


@pytest.mark.direct("CONCURRENTLY needs a session of its own; tests/worker/test_pgbouncer.py says what a pool does")
def test_gives_up_behind_an_open_reader_without_blocking_anybody_else(archive):
    archive.add_old("finished_job_old", 40, 39)
    job, reader, mine = archive.running(), archive.open_reader(), archive.open()
    over, rounds, waits = threading.Event(), [], 0
    pid = mine.get_backend_pid()

    def keep_working() -> None:
        while not over.is_set():
            [receipt] = queueing.enqueue(mine, [NewJob("image", {})])
            jobs.cancel(mine, receipt.job.id)
            rounds.append(search.list_jobs(mine, search.JobFilter(limit=1)).jobs)

    def drop() -> None:
        try:
            drop_expired(archive.url, retention_days=30)
        finally:
            over.set()

    with beside(keep_working, drop) as results:
        while not over.wait(0.02):
            [[waiting]] = archive.sql("SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid)
            waits += waiting

    assert results[0] is None
    assert isinstance(results[1], DatabaseUnavailable)
    assert waits == 0
    assert len(rounds) > 5
    assert archive.settle(job)
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


def test_several_drop_at_once_and_nothing_is_left(archive):
    for number in range(4):
        archive.add_old(f"finished_job_old{number}", 40 + number, 39 + number)

    results = at_the_same_moment(*[partial(drop_expired, archive.url, retention_days=30)] * 4)
    drop_expired(archive.url, retention_days=30)

    # One that another has locked out tries again later.
    assert [each for each in results if isinstance(each, Exception) and not isinstance(each, DatabaseUnavailable)] == []
    assert not [name for name in archive.tables() if "old" in name]


def test_leaves_no_connection_behind_even_if_it_gives_up(archive):
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
