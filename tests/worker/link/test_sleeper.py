"""A worker's sleep: it ..."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice

import psycopg2
import pytest

from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.claims.wakeups import fall_asleep, knocks, listen
from haulier.worker.link.lease import Lease
from haulier.worker.link.sleeper import Sleeper
from tests.worker.conftest import Clock

POLL_SECONDS = 1.0


@pytest.fixture
def lease(conn) -> Lease:
    """Give the lease of a registered worker."""
    lease = Lease(30)
    register(conn, lease)
    return lease


def register(conn, lease: Lease) -> None:
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=("mail",), lease_seconds=30)
    lease.registered(worker, time.monotonic())


@pytest.fixture
def sleeper(lease, clock) -> Sleeper:
    """Give the sleep of a worker that listens."""
    sleeper = Sleeper(lease, poll_seconds=POLL_SECONDS, clock=clock)
    sleeper.hears()
    return sleeper


@pytest.fixture
def asleep(conn) -> Callable[[], list]:
    """Give a function that returns who sleeps, and in which transaction each fell asleep."""

    def asleep() -> list:
        with conn.cursor() as cursor:
            cursor.execute("SELECT worker_id, xmin::text FROM haulier.sleeper")
            return cursor.fetchall()

    return asleep


def knock(sleeper: Sleeper, clock: Clock, *, times: int, a_second: float) -> None:
    for _ in range(times):
        clock.now += 1 / a_second
        sleeper.knocked()


def test_asks_to_be_woken_when_there_is_nothing_to_do(sleeper, conn, lease, asleep):
    sleeper.fall_asleep(conn)

    [(worker, _)] = asleep()
    assert worker == lease.worker_id


def test_asks_once_however_often_it_finds_nothing(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    before = asleep()

    for _ in range(5):
        clock.now += POLL_SECONDS
        sleeper.fall_asleep(conn)

    assert asleep() == before


def test_looks_ever_more_rarely_after_falling_asleep(sleeper, conn, clock):
    looked = []
    sleeper.fall_asleep(conn)
    fell_asleep_at = clock.now

    for _ in range(6):
        clock.now += sleeper.next_pause()
        looked.append(round(clock.now - fell_asleep_at, 3))
        sleeper.fall_asleep(conn)

    assert looked == [0.005, 0.02, 0.08, 0.32, 1.32, 2.32]


def test_looks_no_more_rarely_than_it_polls(lease, conn, clock):
    sleeper = Sleeper(lease, poll_seconds=0.05, clock=clock)
    sleeper.hears()
    sleeper.fall_asleep(conn)

    pauses = []
    for _ in range(4):
        pauses.append(round(sleeper.next_pause(), 3))
        clock.now += pauses[-1]

    assert pauses == [0.005, 0.015, 0.05, 0.01]


def test_sleeps_on_through_a_job_now_and_then(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    before = asleep()

    for _ in range(20):
        sleeper.awake(conn)
        clock.now += 0.5
        sleeper.awake(conn)
        sleeper.fall_asleep(conn)

    assert asleep() == before
    assert sleeper.next_pause() == POLL_SECONDS


def test_asks_no_more_after_a_second_of_unbroken_work(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    sleeper.awake(conn)
    clock.now += 0.99
    sleeper.awake(conn)
    before = asleep()

    clock.now += 0.02
    sleeper.awake(conn)

    assert before
    assert asleep() == []


def test_looks_soon_again_each_time_it_falls_asleep(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    sleeper.awake(conn)
    clock.now += 6
    sleeper.awake(conn)

    sleeper.fall_asleep(conn)

    assert len(asleep()) == 1
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_writes_its_row_once_in_five_seconds_and_looks_all_the_time_in_between(sleeper, conn, asleep, clock):
    written, pauses = set(), set()

    for _ in range(200):
        sleeper.fall_asleep(conn)
        written |= set(asleep())
        pauses |= set() if asleep() else {sleeper.next_pause()}
        sleeper.awake(conn)
        clock.now += 1.1
        sleeper.awake(conn)

    assert 200 * 1.1 / 6.7 < len(written) <= 200 * 1.1 / 5
    assert pauses == {0.01}


def test_sends_nothing_while_it_works_and_does_not_sleep(sleeper, conn, clock):
    conn.close()

    for _ in range(5):
        clock.now += 1
        sleeper.awake(conn)


def test_does_not_sleep_while_no_connection_listens(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    before = asleep()
    sleeper.went_deaf()

    sleeper.fall_asleep(conn)
    deaf = asleep()
    clock.now += 6
    sleeper.hears()
    sleeper.fall_asleep(conn)

    assert before
    assert deaf == []
    assert len(asleep()) == 1


def test_a_worker_that_never_listens_polls(lease, conn, asleep, clock):
    sleeper = Sleeper(lease, poll_seconds=POLL_SECONDS, clock=clock)

    sleeper.fall_asleep(conn)

    assert asleep() == []
    assert sleeper.next_pause() == POLL_SECONDS


def test_asks_anew_when_it_listens_anew(sleeper, conn, asleep):
    sleeper.fall_asleep(conn)
    with conn.cursor() as cursor:
        cursor.execute("DELETE FROM haulier.sleeper")

    sleeper.hears()
    sleeper.fall_asleep(conn)

    assert len(asleep()) == 1


def test_asks_again_under_its_new_id_after_it_was_declared_dead(sleeper, conn, lease, asleep, clock):
    sleeper.fall_asleep(conn)
    clock.now += 60
    claims.deregister(conn, lease.registered_as)
    lease.lost()
    sleeper.fall_asleep(conn)
    dead = asleep()

    register(conn, lease)
    sleeper.fall_asleep(conn)

    assert dead == []
    [(worker, _)] = asleep()
    assert worker == lease.worker_id
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_a_call_that_failed_is_made_again(sleeper, conn, database, asleep, clock):
    broken = connect(database)
    broken.close()
    with pytest.raises(psycopg2.InterfaceError):
        sleeper.fall_asleep(broken)
    sleeper.fall_asleep(conn)
    after_the_first = asleep()
    sleeper.awake(conn)
    clock.now += 2
    with pytest.raises(psycopg2.InterfaceError):
        sleeper.awake(broken)

    sleeper.awake(conn)

    assert len(after_the_first) == 1
    assert asleep() == []


def test_gets_up_for_a_while_when_knocks_come_thick_and_fast(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    knock(sleeper, clock, times=50, a_second=400)

    sleeper.fall_asleep(conn)
    restless, pause = asleep(), sleeper.next_pause()
    clock.now += 6
    sleeper.fall_asleep(conn)

    assert restless == []
    assert pause == pytest.approx(0.01)
    assert len(asleep()) == 1
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_stays_up_for_a_second_after_the_last_of_many_knocks_however_long_it_has_slept(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    clock.now += 60
    knock(sleeper, clock, times=50, a_second=400)
    sleeper.fall_asleep(conn)

    clock.now += 0.9
    sleeper.fall_asleep(conn)
    restless = asleep()
    clock.now += 0.2
    sleeper.fall_asleep(conn)

    assert restless == []
    assert len(asleep()) == 1


def test_gets_up_when_knocks_come_thick_and_fast_while_each_brings_a_job(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    knock(sleeper, clock, times=50, a_second=400)

    sleeper.awake(conn)

    assert asleep() == []


def test_sleeps_on_through_a_hundred_knocks_a_second(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)
    before = asleep()

    knock(sleeper, clock, times=300, a_second=100)
    sleeper.fall_asleep(conn)

    assert asleep() == before


def test_gets_up_for_a_while_when_it_passes_a_knock_on(sleeper, conn, asleep, clock):
    sleeper.fall_asleep(conn)

    sleeper.pass_on(conn)
    passed_on = asleep()
    sleeper.fall_asleep(conn)
    restless = asleep()
    clock.now += 6
    sleeper.fall_asleep(conn)

    assert passed_on == restless == []
    assert len(asleep()) == 1


def test_wakes_others_now_and_then_while_it_has_more_than_it_can_take(sleeper, conn, database, direct, clock):
    others = [Lease(30), Lease(30)]
    for other in others:
        register(conn, other)
        fall_asleep(conn, other.registered_as)
    with conn.cursor() as cursor:
        cursor.execute("UPDATE haulier.worker SET beat_at = now()")
    with closing(connect(direct(database))) as listening:
        listen(listening)

        for _ in range(100):
            sleeper.share(conn)
            clock.now += 0.01

        woken = [knock for knock in islice(knocks(listening, wait=0.1, probe=10), 60) if knock]
    assert {knock.worker_id for knock in woken} == {other.registered_as for other in others}
    assert 15 <= len(woken) <= 21
