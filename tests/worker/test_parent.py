"""Several worker processes under one parent share the work, and come and go in order. The parent ..."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from haulier.queue.health import overview
from tests.conftest import eventually
from tests.local.conftest import processes
from tests.worker.conftest import Process, assert_all_beat
from tests.worker.waiting import AT_ONCE


def is_alive(pid: int) -> bool:
    """Return whether the process runs; one that is dead and that nobody has waited for yet does not."""
    # Its pid may have become somebody else's.
    return any(process.pid == pid and "worker.py" in process.command for process in processes())


def born(parent: Process) -> list[int]:
    return [int(pid) for pid in re.findall(r"started worker process \d+ \(pid (\d+)\)", parent.log)]


def replaced(parent: Process, count: int) -> list[int]:
    """Wait until there have been so many children, all registered, and return their pids."""
    eventually(lambda: len(born(parent)) == count and parent.log.count("registered as") >= count)
    return born(parent)


@pytest.fixture
def spawn_family(spawn_worker, tmp_path) -> Iterator[Callable[..., Process]]:
    """Give a function that starts a parent with two children, and waits until both work; nobody is left behind."""
    families: list[Process] = []

    def spawn(*, wait: bool = True, **settings: object) -> Process:
        defaults = {"WORKER_PROCESSES": 2, "WORKER_THREADS": 2, "TMPDIR": tmp_path}
        families.append(spawn_worker(**{**defaults, **settings}, wait=False))
        if wait:
            replaced(families[-1], 2)
        return families[-1]

    yield spawn
    for parent in families:
        # First, or it would replace them.
        parent.kill()
        for pid in born(parent):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_two_processes_share_work_until_both_are_stopped(spawn_family, start_jobs, enqueue, succeed, ledger, conn):
    parent = spawn_family()

    succeed(*[enqueue("t.note", {"seconds": 0.5}) for _ in range(8)])
    stopping, other = born(parent)
    assert {entry.pid for entry in ledger.entries("start")} == {stopping, other}
    assert set(ledger.counts("start").values()) == {1}
    assert overview.overview(conn).health.workers == 2

    # A process that was asked to stop itself is not replaced.
    jobs = start_jobs(4, "t.note", {"seconds": 1})
    os.kill(stopping, signal.SIGTERM)
    eventually(lambda: f"(pid {stopping}) was told to stop and is not replaced" in parent.log)
    succeed(*jobs, enqueue("t.note"))
    assert (born(parent), is_alive(other), parent.popen.poll()) == ([stopping, other], True, None)

    os.kill(other, signal.SIGTERM)
    assert parent.wait() == 0
    assert born(parent) == [stopping, other]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_replaces_a_killed_process_and_opens_no_connection_of_its_own(spawn_family, start_jobs, finished, free_port):
    parent = spawn_family(WORKER_METRICS_PORT=free_port)
    jobs = start_jobs(4, "t.note", {"seconds": 2})
    victim, other = born(parent)

    os.kill(victim, signal.SIGKILL)

    successor = replaced(parent, 3)[2]
    assert sorted(finished(job).attempts for job in jobs) == [1, 1, 2, 2]
    assert parent.popen.poll() is None
    assert [is_alive(pid) for pid in (victim, other, successor)] == [False, True, True]
    assert f"(pid {victim}) was killed by SIGKILL" in parent.log

    def sockets(pid: int) -> set[str]:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        return {link for link in links if link.startswith("socket:")}

    # The port of the metrics, which all share.
    [shared] = sockets(parent.pid)

    def own() -> list[set[str]]:
        return [sockets(pid) - {shared} for pid in (other, successor)]

    # Its calls, and notifications.
    eventually(lambda: all(len(each) >= 2 for each in own()))
    first, second = own()
    assert not first & second
    assert "\nThreads:\t1\n" in Path(f"/proc/{parent.pid}/status").read_text()


def test_replaces_a_process_with_a_stuck_thread(spawn_family, start_job, ledger, tmp_path):
    parent = spawn_family(STUCK_SECONDS=0.2, SHUTDOWN_SECONDS=2)
    job = start_job("t.deaf", {"file": str(tmp_path / "never")}, timeout_seconds=1, max_attempts=1)

    eventually(lambda: "exited with code 1" in parent.log)

    [entry] = ledger.entries("start", job)
    assert entry.pid not in replaced(parent, 3)[2:]
    assert parent.popen.poll() is None


def test_passes_a_signal_on_and_leaves_with_0_after_any_number(spawn_family, start_jobs, succeed, conn):
    parent = spawn_family()
    jobs = start_jobs(4, "t.note", {"seconds": 1})

    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        os.kill(parent.pid, number)
        eventually(lambda: parent.log.count("stopping: ") == 2)

    assert parent.wait() == 0
    succeed(*jobs)
    assert not any(is_alive(pid) for pid in born(parent))
    assert overview.overview(conn).health.workers == 0


def test_takes_a_ctrl_c_that_reaches_the_whole_group_for_one(spawn_family, start_jobs, succeed):
    parent = spawn_family(own_group=True)
    jobs = start_jobs(4, "t.note", {"seconds": 1})

    # As a terminal does.
    os.killpg(parent.pid, signal.SIGINT)

    assert parent.wait() == 0
    succeed(*jobs)
    assert len(born(parent)) == 2


def test_leaves_at_once_at_a_second_ctrl_c(spawn_family, start_jobs, tmp_path):
    parent = spawn_family()
    start_jobs(4, "t.deaf", {"file": str(tmp_path / "never")})

    os.kill(parent.pid, signal.SIGINT)
    eventually(lambda: parent.log.count("stopping: ") == 2)
    os.kill(parent.pid, signal.SIGINT)

    assert parent.wait(AT_ONCE) == 130
    eventually(lambda: not any(is_alive(pid) for pid in born(parent)))


def test_kills_a_process_that_cannot_stop(spawn_family):
    parent = spawn_family(SHUTDOWN_SECONDS=1)
    frozen = born(parent)[0]
    os.kill(frozen, signal.SIGSTOP)

    parent.terminate()

    assert parent.wait() == 1
    assert not is_alive(frozen)


def test_leaves_nothing_behind_when_it_is_killed(spawn_family, start_jobs, succeed, conn, free_port, tmp_path):
    parent = spawn_family(WORKER_METRICS_PORT=free_port)
    jobs = start_jobs(4, "t.note", {"seconds": 1})

    parent.kill()

    eventually(lambda: not any(is_alive(pid) for pid in born(parent)))
    succeed(*jobs)
    assert overview.overview(conn).health.workers == 0
    assert list(tmp_path.glob("haulier-metrics-*")) == []


def test_takes_a_signal_to_a_process_just_born_for_that_process_alone(spawn_family):
    parent = spawn_family(wait=False, TEST_DIES_AT_ONCE="SIGTERM")

    assert parent.wait() == 0
    assert parent.log.count("was told to stop and is not replaced") == 2
    assert "stopping 2 worker processes" not in parent.log


def test_starts_a_process_that_dies_at_once_ever_later_and_says_so_in_one_line(spawn_family, conn):
    parent = spawn_family(WORKER_PROCESSES=2, wait=False, TEST_DIES_AT_ONCE="SIGKILL")

    began = time.monotonic()
    eventually(lambda: parent.log.count("it is replaced in 4 s") == 2)

    assert time.monotonic() - began > 2
    lines = [line.split(" ", 3)[-1] for line in parent.log.splitlines() if "was killed by SIGKILL" in line]
    pauses = Counter(re.sub(r"^.* after \d\.\d s; it is replaced", "", line) for line in lines)
    assert pauses == {" in 1 s": 2, " in 2 s": 2, " in 4 s": 2}
    # Also while there is nobody to pass it on to.
    parent.terminate()
    assert parent.wait() == 0
    assert len(born(parent)) == 6


def test_leaves_with_1_if_the_schema_does_not_fit(spawn_family, fresh_database):
    parent = spawn_family(DATABASE_URL=fresh_database, wait=False)

    assert parent.wait() == 1
    assert "CRITICAL haulier.worker.parent: the database has no Haulier schema" in parent.log
    assert len(born(parent)) == 2


COUNTS = (
    'worker_jobs_started_total{kind="t.note"}',
    'worker_jobs_completed_total{kind="t.note",outcome="succeeded"}',
    'worker_job_duration_seconds_count{kind="t.note"}',
    'worker_queue_wait_seconds_bucket{kind="t.note",le="+Inf"}',
)


def test_adds_up_the_metrics_of_its_processes_also_of_the_dead(
    spawn_family, enqueue, succeed, free_port, metric, ledger, tmp_path
):
    parent = spawn_family(WORKER_METRICS_PORT=free_port, LEASE_SECONDS=2)
    [folder] = tmp_path.glob("haulier-metrics-*")
    assert folder.stat().st_mode & 0o077 == 0

    def counted(number: int) -> bool:
        return all(metric(free_port, name) == number for name in COUNTS)

    succeed(*[enqueue("t.note", {"seconds": 0.5}) for _ in range(8)])
    eventually(lambda: counted(8))
    assert metric(free_port, "worker_claim_size_jobs_sum") >= 8
    assert len({entry.pid for entry in ledger.entries("start")}) == 2
    assert metric(free_port, "worker_threads") == 4

    for pid in born(parent):
        os.kill(pid, signal.SIGKILL)
    replaced(parent, 4)

    eventually(lambda: metric(free_port, "worker_threads") == 4)
    assert counted(8)
    succeed(*[enqueue("t.note", {"seconds": 0.5}) for _ in range(8)])
    eventually(lambda: counted(16))
    text = requests.get(f"http://127.0.0.1:{free_port}/metrics", timeout=5).text
    assert "pid=" not in text
    assert_all_beat(text)

    os.kill(born(parent)[2], signal.SIGTERM)
    eventually(lambda: "is not replaced" in parent.log)
    assert metric(free_port, "worker_threads") == 2
    parent.terminate()
    assert parent.wait() == 0
    assert not folder.exists()


def test_says_what_the_connection_limit_leaves_and_which_threads_the_kinds_started(spawn_family):
    limited = {"WORKER_PROCESSES": 3, "DB_CONNECTION_LIMIT": 12, "WORKER_THREADS": 8}
    parent = spawn_family(**limited, TEST_THREAD_AT_IMPORT=1, wait=False)
    replaced(parent, 2)

    assert "WORKER_PROCESSES reduced to 2 because of DB_CONNECTION_LIMIT" in parent.log
    assert "starting 2 worker processes, with up to 10 database connections in total" in parent.log
    assert (
        "importing the kinds started threads, which do not exist in the worker processes: ['of-a-kind']" in parent.log
    )
