"""Sleeping workers: an INSERT, or a worker that has more than it can take, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.claims.wakeups import Knock, fall_asleep, get_up, knocks, listen, pass_on, wake_another
from tests import queueing

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')"


@pytest.fixture
def heard(database: str, direct: Callable[[str], str]) -> Iterator[Callable[[], list[Knock]]]:
    """Give a function that returns what was said since it was last called, after a moment of silence."""
    with closing(connect(direct(database))) as conn:
        listen(conn)
        ear = knocks(conn, wait=0.05, probe=10)

        def heard() -> list[Knock]:
            found: list[Knock] = []
            while any(said := list(islice(ear, 3))):
                found += [knock for knock in said if knock]
            return found

        yield heard


@pytest.fixture
def sleeper(register: Callable[..., UUID], conn: Connection) -> Callable[..., UUID]:
    """Give a function that enters one more worker, which sleeps."""

    def sleeper(*queues: str) -> UUID:
        worker = register(queues=queues)
        fall_asleep(conn, worker)
        return worker

    return sleeper


@pytest.fixture
def asleep(sql: Callable[..., list[tuple[UUID]]]) -> Callable[[], set[UUID]]:
    """Give a function that returns who sleeps."""
    return lambda: {worker for [worker] in sql("SELECT worker_id FROM haulier.sleeper")}


def test_sends_nothing_while_no_worker_sleeps(heard, register, sleeper, conn, sql):
    register()
    get_up(conn, sleeper())

    sql(INSERT)
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(50)])

    assert heard() == []


def test_wakes_one_of_three_sleepers_of_the_same_queues(heard, sleeper, sql):
    three = {sleeper("mail", "default") for _ in range(3)}

    sql(INSERT)

    [knock] = heard()
    assert knock.worker_id in three


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


def test_wakes_no_worker_for_a_statement_that_brings_no_job(heard, sleeper, sql):
    sleeper("default")

    sql(INSERT.replace("VALUES ('mail', '{}')", "SELECT 'mail', '{}' WHERE false"))

    assert heard() == []


def test_wakes_no_worker_that_has_got_up(heard, sleeper, conn, sql):
    awake, asleep = sleeper(), sleeper()
    get_up(conn, awake)

    for _ in range(10):
        sql(INSERT)

    # Alike ones of one transaction are sent once; these are of ten.
    assert heard() == [Knock(asleep)] * 10


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


def test_a_worker_that_has_no_row_cannot_fall_asleep(register, conn, asleep):
    worker = register()
    claims.deregister(conn, worker)

    fall_asleep(conn, worker)

    assert asleep() == set()


def test_falling_asleep_waits_for_a_burial_under_way_and_then_does_nothing(
    register, open_conn, at_once, until_somebody_waits, asleep, sql
):
    worker, grave = register(), open_conn()
    grave.autocommit = False
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
    heard, register, open_conn, conn, sql, claim
):
    worker, application = register(), open_conn()
    application.autocommit = False
    application.cursor().execute(INSERT)
    assert claim(by=worker) is None
    fall_asleep(conn, worker)

    application.commit()

    assert heard() == []
    assert claim(by=worker) is not None


def test_an_application_in_repeatable_read_wakes_only_earlier_sleepers(heard, sleeper, open_conn):
    early, application = sleeper("default"), open_conn()
    application.set_session(isolation_level="REPEATABLE READ", autocommit=False)
    application.cursor().execute("SELECT 1")
    sleeper()

    application.cursor().execute(INSERT)
    application.commit()

    assert heard() == [Knock(early)]


def test_a_worker_wakes_another_of_its_queues(heard, register, sleeper, conn):
    of_all, of_mail = register(), register(queues=("mail",))
    sleeper("bulk")
    without = wake_another(conn, of_all), wake_another(conn, of_mail), heard()
    other, mail = sleeper(), sleeper("mail")

    woken = wake_another(conn, of_all), wake_another(conn, of_mail)

    assert without == (False, False, [])
    assert woken == (True, True)
    assert heard() == [Knock(other), Knock(mail)]


def test_a_worker_that_passes_a_knock_on_gets_up(heard, sleeper, conn, asleep):
    worker, other = sleeper("mail"), sleeper("mail")

    passed = pass_on(conn, worker)

    assert passed
    assert heard() == [Knock(other)]
    assert asleep() == {other}


def test_a_knock_is_passed_on_at_most_once_per_sleeper(heard, sleeper, conn, asleep):
    three = {sleeper() for _ in range(3)}

    passed = [pass_on(conn, worker) for worker in three]

    assert passed == [True, True, False]
    assert len(heard()) == 2
    assert asleep() == set()
