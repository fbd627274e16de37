"""Cancel: it ..."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable, InvalidTransition, RowRefused
from haulier.domain.job import FINAL_STATUSES, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.errors import translated
from haulier.postgres.statements import transaction
from haulier.queue import claims, jobs, search
from haulier.queue.health import overview
from tests import queueing
from tests.conftest import PATIENCE, eventually
from tests.rivals import beside, connected


def test_notifies_nobody_of_a_job_that_waited(enqueue, conn, sql):
    job = enqueue()
    sql("LISTEN haulier_cancel")

    jobs.cancel(conn, job.id)

    conn.poll()
    assert conn.notifies == []


@pytest.mark.parametrize("act", ["cancel", "retry"])
def test_loses_no_job_that_a_trigger_drops_on_its_way(enqueue, conn, sql, act):
    job = enqueue()
    if act == "retry":
        jobs.cancel(conn, job.id)
    before = search.get(conn, job.id)
    into = {"cancel": "finished_job", "retry": "job"}[act]
    sql("CREATE FUNCTION public.drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    sql(f"CREATE TRIGGER drop_it BEFORE INSERT ON haulier.{into} FOR EACH ROW EXECUTE FUNCTION public.drop_it()")
    try:
        with pytest.raises(RowRefused, match=f"a trigger drops job {job.id}"):
            getattr(jobs, act)(conn, job.id)
    finally:
        sql("DROP FUNCTION public.drop_it CASCADE")

    assert search.get(conn, job.id) == before


def test_asks_a_running_job_to_stop_and_changes_nothing_when_repeated(running, conn):
    job = running()

    first = jobs.cancel(conn, job.id)
    requested = search.get(conn, job.id)
    again = jobs.cancel(conn, job.id)

    assert (first, again) == (False, False)
    assert (requested.status, requested.cancel_requested) == (JobStatus.RUNNING, True)
    assert requested.worker_id == job.worker_id
    assert requested.updated_at > job.updated_at
    assert search.get(conn, job.id) == requested


def test_lets_the_worker_know_what_to_stop(running, conn, worker):
    stopping, going_on = running(), running()

    jobs.cancel(conn, stopping.id)

    assert claims.cancelled(conn, worker) == [Fence.of(stopping)]
    held = claims.held(conn, worker, [stopping.claim, going_on.claim])
    assert {each.fence: each.cancel_requested for each in held} == {
        Fence.of(stopping): True,
        Fence.of(going_on): False,
    }


def test_refuses_a_job_that_has_ended(running, settle, conn):
    for status in FINAL_STATUSES:
        job = running()
        if status is JobStatus.CANCELLED:
            jobs.cancel(conn, job.id)
        settle(job, Outcome.fail_for_good("no") if status is JobStatus.FAILED_PERMANENT else Outcome.complete(1))
        ended = search.get(conn, job.id)

        with pytest.raises(InvalidTransition, match=f"cannot cancel when status={status}"):
            jobs.cancel(conn, job.id)

        assert ended.status is status
        assert search.get(conn, job.id) == ended


def test_waits_for_a_settle_under_way_and_then_sees_where_the_job_went(
    running, open_conn, at_once, until_somebody_waits
):
    job, settling = running(), open_conn()
    settling.autocommit = False
    claims.settle(settling, [Settlement(Fence.of(job), Outcome.complete())])

    def cancel_or_commit(number: int, mine) -> object:
        if number == 0:
            return jobs.cancel(mine, job.id)
        until_somebody_waits()
        return settling.commit()

    refused, _ = at_once(2, cancel_or_commit)

    assert isinstance(refused, InvalidTransition)
    assert "succeeded" in str(refused)


def test_gives_up_if_the_row_stays_locked(enqueue, open_conn, conn):
    job, rival = enqueue(), open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (job.id,))

    # In a transaction of ours with a shorter patience, because the usual one is 3 s.
    with pytest.raises(DatabaseUnavailable), translated(), transaction(conn, lock_seconds=0.05):
        jobs.cancel(conn, job.id)
    rival.rollback()

    assert jobs.cancel(conn, job.id) is True


def test_is_part_of_the_callers_own_transaction(enqueue, open_conn, conn):
    job, mine = enqueue(), open_conn()
    mine.autocommit = False

    done = jobs.cancel(mine, job.id)
    mine.rollback()

    assert done is True
    assert search.get(conn, job.id).status is JobStatus.QUEUED


class Race:
    """Some jobs, and the roles that threads play with them until it is over."""

    def __init__(self, ids: list[UUID], workers: list[UUID]) -> None:
        self.ids, self.workers = ids, workers
        self.over = threading.Event()
        self.accepted: set[UUID] = set()
        self.problems: list[object] = []

    def work(self, number: int, conn: Connection) -> None:
        """Claim and settle, in no order and with every outcome."""
        rng = random.Random(number)
        while not self.over.is_set():
            claimed = queueing.claim(conn, worker_id=self.workers[number], claim_id=uuid4(), queues=(), limit=7)
            rng.shuffle(claimed)
            ends = [Outcome.complete(1), Outcome.fail("no luck", delay=0), Outcome.release(), Outcome.snooze(0)]
            claims.settle(conn, [Settlement(Fence.of(job), rng.choice(ends)) for job in claimed])

    def cancel(self, number: int, conn: Connection) -> None:
        """Cancel two thirds of the jobs, in no order."""
        for job_id in random.Random(number).sample(self.ids, len(self.ids) * 2 // 3):
            with suppress(InvalidTransition):
                jobs.cancel(conn, job_id)
                self.accepted.add(job_id)

    def read(self, number: int, conn: Connection) -> None:
        """Look whether each job is always there, and once."""
        expected = (len(self.ids), len(self.ids))
        while not self.over.is_set():
            with conn.cursor() as cursor:
                cursor.execute("SELECT count(*), count(DISTINCT id) FROM haulier.jobs WHERE id = ANY(%s)", (self.ids,))
                seen = cursor.fetchone()
            if seen != expected:
                self.problems.append(seen)


def test_races_with_settles_leave_each_job_one_end_and_readers_always_see_it_once(database, conn, register):
    ids = [r.job.id for r in queueing.enqueue(conn, [NewJob("mail", {}, max_attempts=1000) for _ in range(120)])]
    race, barrier = Race(ids, [register() for _ in range(4)]), threading.Barrier(9)

    def run(role: Callable[[int, Connection], None], number: int, mine: Connection) -> None:
        barrier.wait(PATIENCE)
        try:
            role(number, mine)
        except Exception as error:
            race.problems.append(error)

    roles = [(role, n) for role, count in ((race.work, 4), (race.cancel, 3), (race.read, 2)) for n in range(count)]
    with beside(*(connected(database, partial(run, *each)) for each in roles)):
        try:
            eventually(lambda: race.problems or overview.overview(conn).depths == [])
        finally:
            race.over.set()

    assert race.problems == []
    ended = {job_id: search.get(conn, job_id) for job_id in ids}
    assert all(job.status.is_final for job in ended.values())
    # A cancel that was accepted has won, and no other job was cancelled.
    assert {job_id for job_id, job in ended.items() if job.status is JobStatus.CANCELLED} == race.accepted
    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM haulier.finished_job")
        assert Counter(row[0] for row in cursor.fetchall()) == Counter(ids)
