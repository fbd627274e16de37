"""What wakes an idle worker: its sleep, and the bell for which the thread that looks for work waits. It ..."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.claims import wakeups
from haulier.queue.claims.wakeups import fall_asleep
from haulier.worker.link.sleeper import Bell, Sleeper
from tests.conftest import PATIENCE
from tests.rivals import beside
from tests.worker.jobs import a_worker

POLL_SECONDS = 1.0


@pytest.fixture
def sleeper(lease, clock) -> Sleeper:
    sleeper = Sleeper(lease, poll_seconds=POLL_SECONDS, clock=clock)
    sleeper.hears()
    return sleeper


@pytest.fixture
def asleep(sql) -> Callable[[], list]:
    """Give a function that returns who sleeps, and in which transaction each fell asleep."""
    return lambda: sql("SELECT worker_id, xmin::text FROM haulier.sleeper")


@pytest.fixture
def sleep(sleeper, conn, asleep, clock) -> Callable[..., list]:
    """Give a function that has the worker find nothing to do, so many seconds later, and returns who sleeps then."""

    def sleep(later: float = 0.0) -> list:
        clock.now += later
        sleeper.fall_asleep(conn)
        return asleep()

    return sleep


@pytest.fixture
def work(sleeper, conn, asleep, clock) -> Callable[[float], list]:
    """Give a function that has the worker work for so long without a break, and returns who sleeps then."""

    def work(seconds: float) -> list:
        sleeper.awake(conn)
        clock.now += seconds
        sleeper.awake(conn)
        return asleep()

    return work


@pytest.fixture
def knock(sleeper, clock) -> Callable[..., None]:
    def knock(*, times: int, a_second: float) -> None:
        for _ in range(times):
            clock.now += 1 / a_second
            sleeper.knocked()

    return knock


def test_asks_once_to_be_woken_however_often_it_finds_nothing(sleep, lease):
    before = sleep()

    assert [sleep(POLL_SECONDS) for _ in range(5)] == [before] * 5
    assert [worker for worker, _ in before] == [lease.worker_id]


def test_looks_ever_more_rarely_after_falling_asleep(sleeper, sleep, clock):
    looked = []
    sleep()
    fell_asleep_at = clock.now

    for _ in range(6):
        clock.now += sleeper.next_pause()
        looked.append(round(clock.now - fell_asleep_at, 3))
        sleep()

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


def test_sleeps_on_through_a_job_or_a_knock_now_and_then(sleeper, sleep, asleep, work, knock):
    before = sleep()

    for _ in range(20):
        work(0.5)
        sleep()
    pause = sleeper.next_pause()
    knock(times=300, a_second=100)

    assert sleep() == before
    assert pause == POLL_SECONDS


def test_asks_no_more_after_a_second_of_work(sleeper, sleep, work):
    sleep()
    sleepers = [len(work(0.99)), len(work(0.02)), len(work(6)), len(sleep())]

    assert sleepers == [1, 0, 0, 1]
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_writes_its_row_once_in_five_seconds_and_looks_all_the_time_in_between(sleeper, sleep, work):
    written, pauses = set(), set()

    for _ in range(200):
        rows = sleep()
        written |= set(rows)
        pauses |= set() if rows else {sleeper.next_pause()}
        work(1.1)

    assert 200 * 1.1 / 6.7 < len(written) <= 200 * 1.1 / 5
    assert pauses == {0.01}


def test_sends_nothing_while_it_works_and_does_not_sleep(sleeper, conn, clock):
    conn.close()

    for _ in range(5):
        clock.now += 1
        sleeper.awake(conn)


def test_does_not_sleep_while_no_connection_listens(sleeper, sleep):
    sleepers = [len(sleep())]
    sleeper.went_deaf()
    sleepers.append(len(sleep()))
    sleeper.hears()
    sleepers.append(len(sleep(later=6)))

    assert sleepers == [1, 0, 1]


def test_a_worker_that_never_listens_polls(lease, conn, asleep, clock):
    sleeper = Sleeper(lease, poll_seconds=POLL_SECONDS, clock=clock)

    sleeper.fall_asleep(conn)

    assert asleep() == []
    assert sleeper.next_pause() == POLL_SECONDS


def test_asks_anew_when_it_listens_anew(sleeper, sleep, sql):
    sleep()
    sql("DELETE FROM haulier.sleeper")

    sleeper.hears()

    assert len(sleep()) == 1


def test_asks_again_under_its_new_id_after_it_was_declared_dead(sleeper, sleep, conn, lease):
    sleep()
    claims.deregister(conn, lease.registered_as)
    lease.lost()
    dead = sleep(later=60)

    lease.registered(a_worker(conn), time.monotonic())

    assert (dead, [worker for worker, _ in sleep()]) == ([], [lease.worker_id])
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_a_call_that_failed_is_made_again(sleeper, sleep, asleep, conn, database, clock):
    broken = connect(database)
    broken.close()
    with pytest.raises(psycopg2.InterfaceError):
        sleeper.fall_asleep(broken)
    after_the_first = sleep()
    sleeper.awake(conn)
    clock.now += 2
    with pytest.raises(psycopg2.InterfaceError):
        sleeper.awake(broken)

    sleeper.awake(conn)

    assert (len(after_the_first), asleep()) == (1, [])


@pytest.mark.parametrize("slept", [0, 60])
def test_gets_up_for_a_second_after_many_knocks(sleeper, sleep, knock, clock, slept):
    sleep()
    clock.now += slept
    knock(times=50, a_second=400)

    at_once, pause, restless = sleep(), sleeper.next_pause(), sleep(later=0.9)

    assert (at_once, pause, restless) == ([], pytest.approx(0.01), [])
    # The row is written at most once in five seconds.
    assert len(sleep(later=0.2 if slept else 5)) == 1
    assert sleeper.next_pause() == pytest.approx(0.005)


def test_gets_up_after_many_knocks_also_while_each_brings_a_job(sleeper, sleep, knock, asleep, conn):
    sleep()
    knock(times=50, a_second=400)

    sleeper.awake(conn)

    assert asleep() == []


def test_gets_up_for_a_while_when_it_passes_a_knock_on(sleeper, sleep, asleep, conn):
    sleep()

    sleeper.pass_on(conn)

    assert asleep() == sleep() == []
    assert len(sleep(later=6)) == 1


def test_wakes_others_now_and_then_while_it_has_more_than_it_can_take(sleeper, conn, sql, clock, heard):
    others = {a_worker(conn) for _ in range(2)}
    for other in others:
        fall_asleep(conn, other)
    sql("UPDATE haulier.worker SET beat_at = now()")

    for _ in range(100):
        sleeper.share(conn)
        clock.now += 0.01

    woken = heard()
    assert {knock.worker_id for knock in woken} == others
    assert 15 <= len(woken) <= 21


def test_wakes_others_for_a_tenth_of_its_time_if_each_call_takes_long(lease, conn, clock, heard):
    def later() -> float:
        clock.now += 0.05
        return clock.now

    fall_asleep(conn, a_worker(conn))
    # The clock goes on by 50 ms whenever the sleeper reads it: before each call, and after.
    far = Sleeper(lease, poll_seconds=POLL_SECONDS, clock=later)
    far.hears()

    for _ in range(60):
        far.share(conn)

    assert 6 <= len(heard()) <= 7


def test_one_slow_call_keeps_others_asleep_for_a_second_at_most(sleeper, conn, clock, heard, monkeypatch):
    fall_asleep(conn, a_worker(conn))
    wake_another = wakeups.wake_another

    def slowly(*arguments: object) -> None:
        wake_another(*arguments)
        clock.now += 5.0

    with monkeypatch.context() as patch:
        patch.setattr(wakeups, "wake_another", slowly)
        sleeper.share(conn)
    woken = [len(heard())]
    for seconds in (0.9, 0.11):
        clock.now += seconds
        sleeper.share(conn)
        woken.append(len(heard()))

    assert woken == [1, 0, 1]


@pytest.fixture
def bell() -> Bell:
    return Bell()


def waited(bell: Bell, seconds: float) -> float:
    began_at = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - began_at


def test_waits_for_the_time_unless_the_bell_has_rung(bell):
    assert waited(bell, 0.05) >= 0.05
    assert waited(bell, -1.0) < 5

    bell.ring()
    assert waited(bell, 10) < 5
    assert waited(bell, 10) < 5

    bell.clear()
    bell.clear()
    assert waited(bell, 0.05) >= 0.05


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Let threads take turns far more often than they do by themselves."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_many_threads_may_ring_at_once_and_no_ring_is_lost(bell, hasty_switches):
    ringers, rounds, longest = 6, 5000, 0.0
    barrier = threading.Barrier(ringers + 1)

    def ring() -> None:
        for _ in range(rounds):
            barrier.wait(PATIENCE)
            bell.ring()

    with beside(*[ring] * ringers) as errors:
        for _ in range(rounds):
            bell.clear()
            barrier.wait(PATIENCE)
            longest = max(longest, waited(bell, 30))

    assert errors == [None] * ringers
    assert longest < 25
