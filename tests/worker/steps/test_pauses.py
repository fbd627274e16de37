"""Queues are paused and resumed under real worker processes. It ..."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest

from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.queue.queues.pauses import pause, resume
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.worker.conftest import RARELY, WOKEN_WITHIN
from tests.worker.waiting import AT_ONCE, let_pass

# Nothing starts later than a second after the answer; on a busy machine a handler may need a moment more to say that it
# has started. What a test waits for in vain, it waits for longer.
PAUSED_WITHIN, LONG_ENOUGH = 1.0 + 0.25, 1.75
STATEMENTS = (
    "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE 'haulier worker%'"
)


def enqueue_many(conn, count: int, **payload: object) -> None:
    for _ in range(0, count, 5_000):
        queueing.enqueue(conn, [NewJob("t.note", payload, queue="bulk") for _ in range(min(count, 5_000))])


@pytest.fixture
def starts(ledger) -> Callable[..., list[float]]:
    """Give a function that returns when jobs have started, in order, or only those after a time."""

    def starts(after: float = 0.0) -> list[float]:
        return sorted(entry.at for entry in ledger.entries("start") if entry.at > after)

    return starts


@pytest.fixture
def resume_and_pause(conn, ledger, starts) -> Callable[[], tuple[float, float]]:
    """Give a function that does so, and returns how long after which the first and the last job started."""

    def size() -> int:
        return ledger.path.stat().st_size if ledger.path.exists() else 0

    def resume_and_pause() -> tuple[float, float]:
        asked_at, held = time.monotonic(), size()
        resume(conn, "bulk")
        resumed_at = time.monotonic()
        eventually(lambda: size() > held)
        pause(conn, "bulk")
        paused_at = time.monotonic()
        let_pass(LONG_ENOUGH)
        return min(starts(asked_at)) - resumed_at, max(starts()) - paused_at

    return resume_and_pause


@pytest.mark.parametrize(
    ("count", "times", "first_within", "settings"),
    [
        (20_000, 3, WOKEN_WITHIN, {"POLL_SECONDS": RARELY, "WORKER_THREADS": 2}),
        pytest.param(100_000, 5, AT_ONCE, {}, marks=pytest.mark.slow),
    ],
)
def test_starts_nothing_of_a_paused_queue_a_second_after_the_answer_and_goes_on_at_once(
    spawn_worker, conn, resume_and_pause, starts, count, times, first_within, settings
):
    pause(conn, "bulk")
    enqueue_many(conn, count)
    for _ in range(4):
        spawn_worker(LOG_LEVEL="INFO", **settings)

    took = [resume_and_pause() for _ in range(times)]

    assert len(starts()) < count, "there was nothing left to start"
    if count > 20_000:
        resume(conn, "bulk")
        eventually(lambda: len(starts()) == count, within=120)
    assert max(last for _, last in took) < PAUSED_WITHIN, took
    assert statistics.median(first for first, _ in took) < 0.5, took
    assert max(first for first, _ in took) < first_within, took


def test_gives_back_what_was_claimed_ahead_of_jobs_that_turned_out_slow(spawn_worker, conn, sql, starts):
    enqueue_many(conn, 2_000)
    # No notification comes.
    spawn_worker(WAKE_UPS="off", WORKER_THREADS=1, LOG_LEVEL="INFO")
    eventually(lambda: len(starts()) == 2_000)
    # Each is over before those claimed ahead would be given back for standing still, but together they take a minute.
    enqueue_many(conn, 1_000, seconds=0.06)
    eventually(lambda: len(starts()) > 2_000)

    pause(conn, "bulk")
    paused_at = time.monotonic()
    let_pass(2 * LONG_ENOUGH)

    assert [at for at in starts(paused_at) if at > paused_at + PAUSED_WITHIN] == []
    assert sql("SELECT max(attempts) FROM haulier.job WHERE status <> 'running'") == [(0,)]


def test_holds_also_if_no_notification_comes(spawn_worker, conn, starts):
    enqueue_many(conn, 5_000)
    spawn_worker(WAKE_UPS="off", WORKER_THREADS=2, POLL_SECONDS=0.2, LOG_LEVEL="INFO")
    eventually(starts)

    pause(conn, "bulk")
    paused_at = time.monotonic()
    let_pass(LONG_ENOUGH)
    asked_at = time.monotonic()
    resume(conn, "bulk")
    eventually(lambda: starts(asked_at))

    assert [at for at in starts(paused_at) if paused_at + PAUSED_WITHIN < at < asked_at] == []
    assert min(starts(asked_at)) - asked_at < AT_ONCE


def test_what_runs_goes_on_when_its_queue_is_paused_and_other_queues_do(
    spawn_worker, conn, start_job, finished, enqueue, latency
):
    for number in range(100):
        enqueue("t.note", queue=f"q{number}")
        pause(conn, f"q{number}")
    spawn_worker(POLL_SECONDS=RARELY)
    job = start_job("t.note", {"seconds": 1.0}, queue="bulk")

    pause(conn, "bulk")

    assert max(latency() for _ in range(5)) < WOKEN_WITHIN
    assert finished(job).status == "succeeded"


def test_a_sleeping_worker_starts_what_waits_when_a_pause_ends(
    spawn_worker, conn, sql, enqueue, latency, starts, ledger, sleepers
):
    for number in range(100):
        enqueue("t.note", queue=f"q{number}")
        pause(conn, f"q{number}")
    by_itself, cut_short = [enqueue("t.note", queue=queue) for queue in ("bulk", "mail")]
    [(until,)] = sql("SELECT now() + interval '6 s'")
    pause(conn, "bulk", until=until)
    ends_at = time.monotonic() + 6
    pause(conn, "mail")
    spawn_worker(POLL_SECONDS=RARELY)
    eventually(lambda: sleepers() == 1)
    assert starts() == []

    [(until,)] = sql("SELECT now() + interval '1 s'")
    pause(conn, "mail", until=until)
    asked_at = time.monotonic()

    [start] = eventually(lambda: ledger.entries("start", cut_short))
    assert 0.9 < start.at - asked_at < WOKEN_WITHIN
    [start] = eventually(lambda: ledger.entries("start", by_itself))
    assert -0.1 < start.at - ends_at < WOKEN_WITHIN
    # Beside the others, which are still paused.
    assert max(latency() for _ in range(10)) < WOKEN_WITHIN
    assert len(starts()) == 12


def test_an_idle_worker_beside_a_paused_queue_sends_hardly_a_statement(spawn_worker, conn, database, direct, sleepers):
    enqueue_many(conn, 100)
    pause(conn, "bulk")
    spawn_worker(POLL_SECONDS=RARELY, LEASE_SECONDS=30, COUNTING="off")
    eventually(lambda: sleepers() == 1)
    # It looks for a last time 0.32 s after it fell asleep.
    let_pass(1.0)

    seen, until = set(), time.monotonic() + 3
    with closing(connect(direct(database))) as watching:
        while time.monotonic() < until:
            seen |= set(sql_on(watching)(STATEMENTS))
            let_pass(0.02)

    # The heartbeat looks for suspects every 2 s.
    assert len(seen) < 12, seen


def test_a_resume_reaches_a_worker_that_has_other_work(spawn_worker, conn, enqueue, ledger):
    for number in range(100):
        enqueue("t.note", queue=f"q{number}", delay=timedelta(hours=1))
    queueing.enqueue(conn, [NewJob("t.note", {"seconds": 0.01}) for _ in range(5_000)])
    # Without being told it would look four times a second: here it does so once a minute.
    spawn_worker(POLL_SECONDS=RARELY, WORKER_THREADS=2, LOG_LEVEL="INFO", TEST_FULL_SCAN_SECONDS=RARELY)
    eventually(lambda: len(ledger.entries("start")) > 100)
    took = []

    for number in range(3):
        pause(conn, f"q{number}")
        job = enqueue("t.note", queue=f"q{number}")
        # Until a scan has seen that it is paused.
        let_pass(0.3)
        resume(conn, f"q{number}")
        resumed_at = time.monotonic()
        [start] = eventually(lambda job=job: ledger.entries("start", job))
        took.append(start.at - resumed_at)

    assert len(ledger.entries("start")) < 5_000, "it had no other work"
    assert max(took) < WOKEN_WITHIN, took
