"""Listening, and sleeping workers: an INSERT, or a worker that has more than it can take, ..."""

from __future__ import annotations

import time
from collections import Counter
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
from haulier.queue import claims, jobs
from haulier.queue.claims.wakeups import Knock, fall_asleep, get_up, knocks, listen, pass_on, wake_another
from haulier.queue.queues.pauses import pause, resume
from lab.proxy import proxy_to
from tests import queueing
from tests.conftest import eventually

pytestmark = pytest.mark.direct("a session has to be its own to listen")

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')"


@pytest.fixture
def ear(open_conn):
    """Give the knocks as a listener hears them, from before the test begins."""
    conn = open_conn()
    listen(conn)
    return knocks(conn, wait=0.05, probe=10)


@pytest.fixture
def heard(ear):
    """Give a function that returns the knocks until there is silence, and at least one."""

    def heard() -> list[Knock]:
        found: list[Knock] = []
        while any(said := list(islice(ear, 3))) or not found:
            found += [knock for knock in said if knock]
        return found

    return heard


@pytest.fixture
def silence(ear):
    """Give a function that returns whether nothing is heard for a while."""
    return lambda: set(islice(ear, 4)) == {None}


@pytest.fixture
def sleeper(register, conn):
    """Give a function that enters one more worker, which sleeps."""

    def sleeper(*queues: str) -> UUID:
        worker = register(queues=queues)
        fall_asleep(conn, worker)
        return worker

    return sleeper


@pytest.fixture
def asleep(sql):
    return lambda: {worker for [worker] in sql("SELECT worker_id FROM haulier.sleeper")}


# --- What is heard


def test_hears_which_worker_there_is_work_for_by_the_api_or_a_plain_insert(heard, sleeper, enqueue, sql):
    worker = sleeper()
    enqueue()
    first = heard()

    sql(INSERT)

    assert (first, heard()) == ([Knock(worker, is_for_work=True)],) * 2


def test_hears_which_queues_are_paused_and_resumed(heard, conn):
    # A name that could be a worker's id.
    name = "ffffffff-ffff-ffff-ffff-ffffffffffff"

    for change in (pause, pause, resume, resume):
        change(conn, name)

    assert heard() == [Knock(queue=name)] * 2


def test_hears_of_work_for_everybody_as_the_first_trigger_said_it(heard, sql):
    sql("NOTIFY haulier_job")

    assert heard() == [Knock(None, is_for_work=True)]


def test_hears_which_worker_runs_a_job_that_was_cancelled(heard, running, conn, worker):
    jobs.cancel(conn, running().id)

    assert heard() == [Knock(worker, is_for_work=False)]


def test_hears_nothing_of_claims_and_settles(running, settle, sleeper, heard, silence):
    sleeper()
    job = running()
    heard()

    settle(job, Outcome.complete())

    assert silence()


def test_ignores_what_a_stranger_says_on_the_channels(heard, silence, sleeper, sql, enqueue):
    worker = sleeper()
    sql("NOTIFY haulier_cancel, 'nonsense'")
    sql("NOTIFY haulier_cancel")
    sql("NOTIFY haulier_job, 'nonsense'")
    nothing = silence()

    enqueue()

    assert nothing
    assert heard() == [Knock(worker)]


def test_hears_what_came_while_its_connection_was_used_for_something_else(open_conn, sleeper, enqueue):
    worker, conn = sleeper(), open_conn()
    listen(conn)
    ear = knocks(conn, wait=60, probe=60)
    enqueue()
    next(ear)
    enqueue()

    with conn.cursor() as cursor:
        eventually(lambda: cursor.execute("SELECT 1") or conn.notifies)
    began = time.monotonic()

    assert next(ear) == Knock(worker)
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


# --- Who is woken


def test_sends_nothing_while_no_worker_sleeps(silence, register, sleeper, conn, sql):
    register()
    get_up(conn, sleeper())

    sql(INSERT)
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(50)])

    assert silence()


def test_wakes_the_one_whose_beat_is_the_freshest(heard, sleeper, conn, sql):
    three = [sleeper("default") for _ in range(3)]
    for worker in (three[2], three[0], three[1]):
        claims.beat(conn, worker)

    for _ in range(10):
        sql(INSERT)
    wake_another(conn, three[2])
    wake_another(conn, three[1])
    pass_on(conn, three[1])

    assert [knock.worker_id for knock in heard()] == [three[1]] * 11 + [three[0]] * 2


def test_spreads_wake_ups_over_workers_that_beat_at_the_same_time(heard, sleeper, sql):
    three = {sleeper() for _ in range(3)}
    sql("UPDATE haulier.worker SET beat_at = now() RETURNING id")

    for _ in range(60):
        sql(INSERT)

    woken = Counter(knock.worker_id for knock in heard())
    assert woken.keys() == three
    assert woken.total() == 60
    assert max(woken.values()) < 45


def test_wakes_one_worker_for_each_set_of_queues_that_has_the_jobs(heard, sleeper, sql):
    everything = {sleeper(), sleeper()}
    default = {sleeper("default"), sleeper("default")}
    both = {sleeper("mail", "default")}
    sleeper("mail")

    sql(INSERT)

    woken = {knock.worker_id for knock in heard()}
    assert len(woken) == 3
    assert all(woken & alike for alike in (everything, default, both))


def test_wakes_for_every_queue_that_the_statement_brings_jobs_of(heard, sleeper, conn):
    mail, _, bulk = sleeper("mail"), sleeper("slow"), sleeper("bulk")

    queueing.enqueue(conn, [NewJob("mail", {}, queue=queue) for queue in ("mail", "bulk", "mail")])

    assert {knock.worker_id for knock in heard()} == {mail, bulk}


def test_wakes_no_worker_for_a_statement_that_brings_no_job(silence, sleeper, sql):
    sleeper("default")

    sql(INSERT.replace("VALUES ('mail', '{}')", "SELECT 'mail', '{}' WHERE false"))

    assert silence()


def test_falling_asleep_twice_is_sleeping_once(sleeper, conn, asleep, sql, heard):
    worker = sleeper()

    fall_asleep(conn, worker)

    assert asleep() == {worker}
    sql(INSERT)
    assert heard() == [Knock(worker)]


def test_a_worker_that_left_or_was_declared_dead_sleeps_no_more(sleeper, asleep, let_lease_run_out, conn):
    left, dead, alive = sleeper(), sleeper(), sleeper()
    let_lease_run_out(dead)

    claims.deregister(conn, left)
    queueing.rescue(conn)

    assert asleep() == {alive}


def test_falling_asleep_waits_for_a_burial_under_way_and_then_does_nothing(
    register, open_conn, at_once, until_somebody_waits, asleep, sql
):
    worker, grave = register(), open_conn(autocommit=False)
    grave.cursor().execute("DELETE FROM haulier.worker WHERE id = %s", [worker])

    def bury(number: int, mine: Connection) -> None:
        if number == 0:
            fall_asleep(mine, worker)
        else:
            until_somebody_waits()
            grave.commit()

    problems = at_once(2, bury)

    assert problems == [None, None]
    assert asleep() == set()


def test_an_insert_that_looked_before_is_found_by_a_look_after_falling_asleep(
    silence, register, open_conn, conn, sql, claim
):
    worker, application = register(), open_conn(autocommit=False)
    application.cursor().execute(INSERT)
    assert claim(by=worker) is None
    fall_asleep(conn, worker)

    application.commit()

    assert silence()
    assert claim(by=worker) is not None


def test_an_application_in_repeatable_read_wakes_only_earlier_sleepers(heard, sleeper, open_conn):
    early, application = sleeper("default"), open_conn()
    application.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    application.cursor().execute("SELECT 1")
    sleeper()

    application.cursor().execute(INSERT)
    application.commit()

    assert heard() == [Knock(early)]


def test_a_worker_wakes_another_of_its_queues(silence, heard, register, sleeper, conn):
    of_all, of_mail = register(), register(queues=("mail",))
    sleeper("bulk")
    without = wake_another(conn, of_all), wake_another(conn, of_mail), silence()
    other, mail = sleeper(), sleeper("mail")

    woken = wake_another(conn, of_all), wake_another(conn, of_mail)

    assert without == (False, False, True)
    assert woken == (True, True)
    assert heard() == [Knock(other), Knock(mail)]


def test_a_knock_is_passed_on_at_most_once_per_sleeper(heard, sleeper, conn, asleep):
    three = {sleeper() for _ in range(3)}

    passed = [pass_on(conn, worker) for worker in three]

    assert passed == [True, True, False]
    assert len(heard()) == 2
    assert asleep() == set()
