"""Listening: it ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from app.domain.errors import DatabaseUnavailable
from app.domain.job import NewJob
from app.domain.outcome import Outcome
from app.queue import produce
from app.queue.connection import connect
from app.queue.listen import Knock, knocks, listen
from tests.conftest import eventually
from tests.proxy import proxy_to

Ear = Iterator[Knock | None]


@pytest.fixture
def ear(open_conn: Callable[[], Connection]) -> Ear:
    """Give the knocks as a listener hears them."""
    conn = open_conn()
    listen(conn)
    return knocks(conn, wait=0.05, probe=10)


def heard(ear: Ear) -> list[Knock]:
    """Return the knocks until there is silence."""
    found = []
    while (knock := next(ear)) is not None or not found:
        if knock is not None:
            found.append(knock)
    return found


def silence(ear: Ear) -> bool:
    """Tell whether nothing is heard for a while."""
    return set(islice(ear, 4)) == {None}


def test_hears_that_there_is_work(ear, enqueue):
    enqueue()

    [knock] = heard(ear)

    assert knock.is_for_work


def test_hears_a_plain_insert(ear, sql):
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")

    [knock] = heard(ear)

    assert knock.is_for_work


def test_hears_one_knock_for_many_jobs(ear, conn):
    produce.enqueue(conn, [NewJob("mail", {}) for _ in range(500)])

    knocked = heard(ear)

    assert knocked == [Knock()]


def test_hears_nothing_before_the_commit_and_nothing_after_a_rollback(ear, open_conn):
    application = open_conn()
    application.autocommit = False
    produce.enqueue(application, [NewJob("mail", {})])

    before = silence(ear)
    application.rollback()
    after_rollback = silence(ear)
    produce.enqueue(application, [NewJob("mail", {})])
    application.commit()

    assert before
    assert after_rollback
    assert heard(ear) == [Knock()]


def test_hears_that_a_retried_job_is_work(ear, enqueue, conn):
    job = enqueue()
    produce.cancel(conn, job.id)
    heard(ear)

    produce.retry(conn, job.id)

    assert heard(ear) == [Knock()]


def test_hears_which_worker_runs_a_job_that_was_cancelled(ear, running, conn, worker):
    job = running()
    heard(ear)

    produce.cancel(conn, job.id)

    [knock] = heard(ear)
    assert knock == Knock(worker)
    assert not knock.is_for_work


def test_hears_nothing_of_claims_and_settles(running, settle, open_conn, ear):
    job = running()
    heard(ear)

    settle(job, Outcome.complete())

    assert silence(ear)


def test_does_not_mind_what_a_stranger_says_on_the_channel(ear, sql, enqueue):
    sql("NOTIFY haulier_cancel, 'nonsense'")
    sql("NOTIFY haulier_cancel")
    nothing = silence(ear)

    enqueue()

    assert nothing
    assert heard(ear) == [Knock()]


def test_gives_none_after_each_wait_of_silence(ear):
    began = time.monotonic()

    given = list(islice(ear, 3))

    assert given == [None, None, None]
    assert 0.14 < time.monotonic() - began < 2


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

        with pytest.raises(DatabaseUnavailable):
            eventually(lambda: next(ear), within=20)

        with pytest.raises(psycopg2.Error):
            conn.cursor().execute("SELECT 1")
        conn.close()
