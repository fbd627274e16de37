"""However a job of an isolated kind ends, its slot is free, the next job runs, and no process of the job is left."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from haulier.domain.job import Job, JobStatus
from haulier.queue import jobs as job_acts
from tests.conftest import eventually
from tests.worker.conftest import Entry, Ledger, children_of, exists, parent_of

KIND = "i.leaves"
LEAVES = ("nothing", "fork", "program", "daemon")
FAILED, DIED = JobStatus.FAILED_PERMANENT, "the process that ran this job "
# How a job ends: its status and its last error.
ENDS = {
    "returns": (JobStatus.SUCCEEDED, ""),
    "raises": (FAILED, "ValueError: no luck"),
    "exits": (FAILED, DIED + "exited with code 7"),
    "crashes": (FAILED, DIED + "was killed by SIGSEGV"),
    "is killed": (FAILED, DIED + "was killed by SIGKILL"),
    "times out": (FAILED, "timed out after 1 s"),
    "stops": (FAILED, "timed out after 1 s"),
    "is cancelled": (JobStatus.CANCELLED, ""),
}
TIMED = ("times out", "stops")
# From the handler's last line to the job's end. Promised are 1 s after a death, and half a second more than the timeout
# for a handler that does not stop; without the promise the job would never end. The rest is for a machine with other
# work. Units: seconds.
SOON = 10.0


@pytest.fixture
def start(spawn_worker):
    """Give a function that starts a worker which gives handlers half a second to stop."""
    settings = {"HAULIER_KINDS": "kinds_of_tests,isolated_kinds", "STUCK_SECONDS": 1, "SHUTDOWN_SECONDS": 4}
    return lambda **more: spawn_worker(**{**settings, **more})


@pytest.fixture
def leaving(enqueue) -> Callable[..., Job]:
    """Give a function that enqueues a job which ends in this way and leaves this behind."""

    def leaving(end: str, leaves: str, *, timeout: int = 1, max_attempts: int = 1) -> Job:
        seconds = timeout if end in TIMED else None
        return enqueue(KIND, {"end": end, "leaves": leaves}, timeout_seconds=seconds, max_attempts=max_attempts)

    return leaving


@pytest.fixture
def bring_about(ledger, conn) -> Callable[[str, Job], None]:
    """Give a function that waits until the job's handler runs, and does to it what its end needs."""

    def bring_about(end: str, job: Job) -> None:
        handler = ready(ledger, job).pid
        if end == "is killed":
            os.kill(handler, signal.SIGKILL)
        if end == "is cancelled":
            job_acts.cancel(conn, job.id)

    return bring_about


def is_kept(end: str, leaves: str) -> bool:
    """Return whether the child is kept: if the handler has ended by itself and left nothing."""
    return leaves == "nothing" and end in ("returns", "raises", "stops")


def ready(ledger: Ledger, job: Job) -> Entry:
    """Return the entry that the job's handler wrote before its end; its pid is the handler's."""
    return eventually(lambda: ledger.entries("ready", job))[0]


def left_by(ledger: Ledger, job: Job) -> set[int]:
    events = [entry.event for entry in ledger.entries(job=job)]
    return {int(event.removeprefix("left:")) for event in events if event.startswith("left:")}


@pytest.fixture
def left_of(ledger) -> Callable[..., int]:
    """Give a function that returns how many processes of the job are left, and kills them; `kept`: its child stays."""

    def left_of(job: Job, *, within: float = 0.0, kept: bool = False) -> int:
        pids = left_by(ledger, job) | (set() if kept else {ready(ledger, job).pid})
        with suppress(AssertionError):
            eventually(lambda: not any(exists(pid) for pid in pids), within=within)
        left = [pid for pid in pids if exists(pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(left)

    return left_of


@pytest.fixture
def ends_of(leaving, bring_about, finished, left_of) -> Callable[..., dict[tuple[str, str], tuple[object, ...]]]:
    """Give a function that runs jobs to these ends, and returns how each ended, and how many of its processes are left.

    With one slot, a job can only run if the one before it has freed the slot.
    """

    def end_of(end: str, leaves: str, within: float) -> tuple[object, ...]:
        if end in TIMED:
            # Its process is there already: the start would take some of the job's second.
            finished(leaving("returns", "nothing"))
        job = leaving(end, leaves)
        bring_about(end, job)
        ended = finished(job, within=SOON)
        error = (ended.last_error or "")[: len(ENDS[end][1]) or None]
        left = left_of(job, within=within, kept=is_kept(end, leaves))
        return ended.status, error, ended.attempts, ended.crashes, left

    return lambda cells, within=0.0: {cell: end_of(*cell, within) for cell in cells}


def as_told(cells: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return how jobs should end: in one attempt, and with no process left."""
    return {(end, leaves): (*ENDS[end], 1, 0, 0) for end, leaves in cells}


def test_each_end_of_a_job_frees_its_slot_and_leaves_no_process(start, ends_of, leaving, finished):
    worker = start(ISOLATED_PROCESSES=1)
    # The slow test below has them all.
    cells = [(end, leaves) for end in ("returns", "is killed") for leaves in LEAVES]
    cells += [
        *((end, "daemon") for end in ENDS if (end, "daemon") not in cells),
        ("raises", "nothing"),
        ("stops", "nothing"),
    ]

    assert ends_of(cells) == as_told(cells)
    assert finished(leaving("returns", "nothing")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_jobs_that_end_at_once_leave_no_process(start, leaving, bring_about, finished, left_of):
    worker = start(ISOLATED_PROCESSES=4, WORKER_THREADS=8)
    table = [(end, leaves) for end in ENDS for leaves in LEAVES] * 2
    random.Random(7).shuffle(table)

    with ThreadPoolExecutor(4) as hands:
        for cells in [table[n : n + 4] for n in range(0, len(table), 4)]:
            # Four children start at a time, which may take more than a second.
            jobs = [(leaving(end, leaves, timeout=4), end, leaves) for end, leaves in cells]
            for done in [hands.submit(bring_about, end, job) for job, end, _ in jobs]:
                done.result()
            for job, end, leaves in jobs:
                ended = finished(job)
                assert (end, ended.status, ended.attempts) == (end, ENDS[end][0], 1)
                assert left_of(job, kept=is_kept(end, leaves)) == 0

    assert len(children_of(worker.pid)) <= 4


def test_two_jobs_killed_at_once_free_both_slots_and_a_stop_is_quick(start, leaving, finished, ledger):
    worker = start(ISOLATED_PROCESSES=2, WORKER_THREADS=2, SHUTDOWN_SECONDS=25)

    def kill_two() -> list[Job]:
        jobs = [leaving("is killed", "fork") for _ in range(2)]
        for handler in [ready(ledger, job).pid for job in jobs]:
            os.kill(handler, signal.SIGKILL)
        return jobs

    for _ in range(2):
        for job in kill_two():
            assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
    kill_two()
    worker.terminate()

    assert worker.wait(8) == 0


def test_a_death_is_noticed_though_another_process_holds_the_socket(start, leaving, finished, ledger, tmp_path):
    start(ISOLATED_PROCESSES=1)
    with socket.socket(socket.AF_UNIX) as borrower, ExitStack() as held:
        borrower.bind(str(tmp_path / "borrower"))
        borrower.listen()
        job = leaving("is killed", "socket")
        with borrower.accept()[0] as lent:
            _, descriptors, _, _ = socket.recv_fds(lent, 1, 8)
        for descriptor in descriptors:
            held.callback(os.close, descriptor)
        os.kill(ready(ledger, job).pid, signal.SIGKILL)

        assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
        assert finished(leaving("returns", "nothing"), within=SOON).status == JobStatus.SUCCEEDED


def test_a_reaper_killed_is_a_failed_attempt_and_the_group_ends(start, leaving, finished, ledger, left_of):
    start(ISOLATED_PROCESSES=1)

    for leaves in ("nothing", "fork", "program"):
        job = leaving("never", leaves)
        os.kill(parent_of(ready(ledger, job).pid), signal.SIGKILL)

        assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
        # The worker kills the group, but no one waits for its ends.
        assert left_of(job, within=SOON) == 0
    assert finished(leaving("returns", "nothing"), within=SOON).status == JobStatus.SUCCEEDED


def test_signals_to_stop_that_reach_every_process_let_the_job_finish(start, enqueue, finished, ledger):
    worker = start()
    job = enqueue("i.note", {"seconds": 1}, max_attempts=1)
    [entry] = eventually(lambda: ledger.entries("start", job))

    worker.terminate()
    for pid in (entry.pid, parent_of(entry.pid)):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)

    assert worker.wait() == 0
    assert finished(job).status == JobStatus.SUCCEEDED
    eventually(lambda: not exists(entry.pid))


# What Python runs at its start if PYTHONPATH leads to it.
NO_FORK = """
import errno, os, sys
if "haulier.worker.isolation.reaper" in sys.orig_argv and not os.path.exists({path!r}):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    os.fork = refuse
"""
# Take away what macOS lacks.
LIKE_MACOS = """
import ctypes, os
del os.waitid
def none(name):
    raise OSError("no prctl")
ctypes.CDLL = none
"""


@pytest.fixture
def start_changed(start, tmp_path):
    """Give a function that starts a worker in whose processes Python runs this code first."""

    def start_changed(code: str, **settings: object):
        (tmp_path / "changed").mkdir()
        (tmp_path / "changed" / "sitecustomize.py").write_text(code)
        folders = (tmp_path / "changed", Path(__file__).parents[1])
        return start(PYTHONPATH=os.pathsep.join(map(str, folders)), **settings)

    return start_changed


def test_a_job_for_which_no_process_can_be_forked_costs_no_attempt(start_changed, leaving, finished, tmp_path):
    worker = start_changed(NO_FORK.format(path=str(tmp_path / "allowed")))
    job = leaving("returns", "nothing")
    eventually(lambda: "cannot start a process for i.leaves" in worker.log)

    (tmp_path / "allowed").touch()

    ended = finished(job)
    assert (ended.status, ended.attempts) == (JobStatus.SUCCEEDED, 1)


@pytest.mark.parametrize("ends", [("exits", "times out"), pytest.param(tuple(ENDS), marks=pytest.mark.slow)])
def test_ends_are_noticed_as_on_macos(start_changed, ends_of, leaving, ledger, left_of, ends):
    worker = start_changed(LIKE_MACOS, ISOLATED_PROCESSES=1)
    cells = [(end, leaves) for end in ends for leaves in ("fork", "program")]

    # The signal to the group is the last act of the reaper: the kernel ends the processes a moment later.
    assert ends_of(cells, within=5.0) == as_told(cells)
    last = leaving("never", "program")
    ready(ledger, last)
    worker.kill()
    assert left_of(last, within=5.0) == 0


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_each_end_of_a_worker_leaves_no_process_of_its_jobs(start, leaving, finished, ledger, left_of, how):
    worker = start(ISOLATED_PROCESSES=4, WORKER_THREADS=4)
    jobs = [leaving("never", leaves, max_attempts=2) for leaves in LEAVES]
    for job in jobs:
        ready(ledger, job)

    getattr(worker, how)()

    assert worker.wait(10) == (0 if how == "terminate" else -signal.SIGKILL)
    assert [left_of(job, within=2.0) for job in jobs] == [0] * len(LEAVES)
    start(ISOLATED_PROCESSES=1)
    ends = [finished(job) for job in jobs]
    assert {(job.status, job.result) for job in ends} == {(JobStatus.SUCCEEDED, "the second time")}
    assert {job.attempts for job in ends} == {1 if how == "terminate" else 2}
