"""Listening: it ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from uuid import UUID

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.statements import bounded
from haulier.queue import jobs
from haulier.queue.claims.wakeups import Knock, fall_asleep, knocks, listen
from haulier.queue.queues.pauses import pause, resume
from lab.proxy import proxy_to
from tests import queueing
from tests.conftest import eventually

pytestmark = pytest.mark.direct("a session has to be its own to listen")

Ear = Iterator[Knock | None]


@pytest.fixture
def ear(open_conn: Callable[[], Connection]) -> Ear:
    """Give the knocks as a listener hears them."""
    conn = open_conn()
    listen(conn)
    return knocks(conn, wait=0.05, probe=10)


@pytest.fixture
def sleeper(conn: Connection, worker: UUID) -> UUID:
    """Give the id of a worker that sleeps."""
    fall_asleep(conn, worker)
    return worker


def heard(ear: Ear) -> list[Knock]:
    """Return the knocks until there is silence."""
    found = []
    while (knock := next(ear)) is not None or not found:
        if knock is not None:
            found.append(knock)
    return found


def silence(ear: Ear) -> bool:
    """Return whether nothing is heard for a while."""
    return set(islice(ear, 4)) == {None}


def test_hears_which_worker_there_is_work_for_by_the_api_or_a_plain_insert(ear, sleeper, enqueue, sql):
    enqueue()
    first = heard(ear)

    sql("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")

    assert (first, heard(ear)) == ([Knock(sleeper, is_for_work=True)],) * 2


def test_hears_which_queues_are_paused_and_resumed(ear, conn):
    # A name that could be a worker's id.
    name = "ffffffff-ffff-ffff-ffff-ffffffffffff"

    for change in (pause, pause, resume, resume):
        change(conn, name)

    assert heard(ear) == [Knock(queue=name)] * 2


def test_hears_one_knock_for_many_jobs(ear, sleeper, conn):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(500)])

    assert heard(ear) == [Knock(sleeper, is_for_work=True)]


def test_hears_of_work_for_everybody_as_the_first_trigger_said_it(ear, sql):
    sql("NOTIFY haulier_job")

    assert heard(ear) == [Knock(None, is_for_work=True)]


def test_hears_nothing_before_the_commit_and_nothing_after_a_rollback(ear, sleeper, open_conn):
    application = open_conn()
    application.autocommit = False
    queueing.enqueue(application, [NewJob("mail", {})])

    before = silence(ear)
    application.rollback()
    after_rollback = silence(ear)
    queueing.enqueue(application, [NewJob("mail", {})])
    application.commit()

    assert before
    assert after_rollback
    assert heard(ear) == [Knock(sleeper)]


def test_hears_that_a_retried_job_is_work(ear, sleeper, enqueue, conn):
    job = enqueue()
    jobs.cancel(conn, job.id)
    heard(ear)

    jobs.retry(conn, job.id)

    assert heard(ear) == [Knock(sleeper)]


def test_hears_which_worker_runs_a_job_that_was_cancelled(ear, running, conn, worker):
    job = running()

    jobs.cancel(conn, job.id)

    assert heard(ear) == [Knock(worker, is_for_work=False)]


def test_hears_nothing_of_claims_and_settles(running, settle, sleeper, ear):
    job = running()
    heard(ear)

    settle(job, Outcome.complete())

    assert silence(ear)


def test_ignores_what_a_stranger_says_on_the_channels(ear, sleeper, sql, enqueue):
    sql("NOTIFY haulier_cancel, 'nonsense'")
    sql("NOTIFY haulier_cancel")
    sql("NOTIFY haulier_job, 'nonsense'")
    nothing = silence(ear)

    enqueue()

    assert nothing
    assert heard(ear) == [Knock(sleeper)]


def test_hears_what_came_while_its_connection_was_used_for_something_else(open_conn, sleeper, enqueue):
    conn = open_conn()
    listen(conn)
    ear = knocks(conn, wait=60, probe=60)
    enqueue()
    next(ear)
    enqueue()

    with conn.cursor() as cursor:
        eventually(lambda: cursor.execute("SELECT 1") or conn.notifies)
    began = time.monotonic()

    assert next(ear) == Knock(sleeper)
    assert time.monotonic() - began < 30


def test_gives_none_after_each_wait_of_silence(ear):
    began = time.monotonic()

    given = list(islice(ear, 3))

    assert given == [None, None, None]
    assert 0.14 < time.monotonic() - began < 30


def test_says_so_when_the_server_ends_the_connection(open_conn, sql):
    conn = open_conn()
    listen(conn)
    ear = knocks(conn, wait=0.05, probe=10)
    next(ear)
    sql("SELECT pg_terminate_backend(%s)", conn.get_backend_pid())

    with pytest.raises(DatabaseUnavailable):
        eventually(lambda: next(ear))


def test_asks_a_silent_connection_whether_it_still_lives(database, sql):
    with proxy_to(database) as proxy:
        conn = connect(proxy.url)
        listen(conn)
        ear = knocks(conn, wait=0.02, probe=0.1)
        list(islice(ear, 10))
        proxy.silent = True

        with bounded(seconds=0.2, lock_seconds=0.2), pytest.raises(DatabaseUnavailable):
            eventually(lambda: next(ear))

        with pytest.raises(psycopg2.Error):
            conn.cursor().execute("SELECT 1")
        conn.close()
