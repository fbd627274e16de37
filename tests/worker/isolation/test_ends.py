"""However a job of an isolated kind ends, its slot is free, the next job runs, and no process of the job is left."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from haulier.domain.job import Job, JobStatus
from haulier.queue import jobs as job_acts
from tests.conftest import eventually
from tests.worker.conftest import Entry, Ledger
from tests.worker.isolation.seen import children_of, exists, parent_of

KIND = "i.leaves"
LEAVES = ("nothing", "fork", "program", "daemon")
FAILED, DIED = JobStatus.FAILED_PERMANENT, "the process that ran this job "
# How a job ends: its status and its last error.
ENDS = {
    "returns": (JobStatus.SUCCEEDED, ""),
    "raises": (FAILED, "ValueError: no luck"),
    "exits": (FAILED, DIED + "left with exit code 7"),
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


def ready(ledger: Ledger, job: Job) -> Entry:
    """Return the entry that the job's handler wrote before its end; its pid is the handler's."""
    return eventually(lambda: ledger.entries("ready", job))[0]


def left_by(ledger: Ledger, job: Job) -> set[int]:
    """Return the processes that the job's handler has left behind."""
    events = [entry.event for entry in ledger.entries(job=job)]
    return {int(event.removeprefix("left:")) for event in events if event.startswith("left:")}


@contextmanager
def noted(problems: list[str], what: str) -> Iterator[None]:
    """Note what fails in the block, so that the other cells of a table are seen too."""
    try:
        yield
    except AssertionError as error:
        problems.append(f"{what}: {str(error).splitlines()[0]}")


@pytest.fixture
def no_process_left(ledger) -> Callable[..., None]:
    """Give a function that fails if a process of the job is left, and kills it; `kept` are children that stay."""

    def no_process_left(job: Job, *, within: float = 0.0, kept: bool = False) -> None:
        pids = left_by(ledger, job) | (set() if kept else {ready(ledger, job).pid})
        try:
            eventually(lambda: not any(exists(pid) for pid in pids), within=within)
        except AssertionError:
            left = [pid for pid in pids if exists(pid)]
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{len(left)} processes are left after {within} s") from None

    return no_process_left


@pytest.fixture
def problems_of(leaving, bring_about, finished, no_process_left) -> Callable[..., list[str]]:
    """Give a function that runs a job to this end, and returns what was wrong.

    With one slot, it can only run if the job before it has freed the slot.
    """

    def problems_of(end: str, leaves: str, *, within: float = 0.0) -> list[str]:
        problems: list[str] = []
        if end in TIMED:
            # Its process is there already: the start would take some of the job's second.
            finished(leaving("returns", "nothing"))
        job = leaving(end, leaves)
        bring_about(end, job)
        with noted(problems, f"{end}, leaves {leaves}: outcome"):
            ended = finished(job, within=SOON)
            assert (ended.status, ended.attempts, ended.crashes) == (ENDS[end][0], 1, 0)
            error = ended.last_error or ""
            assert error.startswith(ENDS[end][1])
            assert bool(error) == bool(ENDS[end][1])
        with noted(problems, f"{end}, leaves {leaves}: processes"):
            # The child is kept if the handler has ended by itself and left nothing.
            no_process_left(job, within=within, kept=leaves == "nothing" and end in ("returns", "raises", "stops"))
        return problems

    return problems_of


def test_each_end_of_a_job_frees_its_slot_and_leaves_no_process(start, problems_of, leaving, finished):
    worker = start(ISOLATED_PROCESSES=1)

    problems = [problem for end in ENDS for leaves in LEAVES for problem in problems_of(end, leaves)]

    assert not problems, "\n" + "\n".join(problems)
    assert finished(leaving("returns", "nothing")).status == JobStatus.SUCCEEDED
    assert worker.popen.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_jobs_that_end_at_once_leave_no_process(start, leaving, bring_about, finished, no_process_left):
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
                no_process_left(job, kept=leaves == "nothing" and end in ("returns", "raises", "stops"))

    assert len(children_of(worker.pid)) <= 4


def test_two_jobs_killed_at_once_free_both_slots_and_a_stop_is_quick(start, leaving, finished, ledger):
    worker = start(ISOLATED_PROCESSES=2, WORKER_THREADS=2, SHUTDOWN_SECONDS=25)

    def kill_two() -> list[Job]:
        jobs = [leaving("is killed", "fork") for _ in range(2)]
        for handler in [ready(ledger, job).pid for job in jobs]:
            os.kill(handler, signal.SIGKILL)
        return jobs

    for job in kill_two():
        assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
    for job in kill_two():
        assert finished(job, within=SOON).status == FAILED
    kill_two()
    worker.terminate()

    assert worker.wait(8) == 0


def test_a_death_is_noticed_though_another_process_holds_the_socket(start, leaving, finished, ledger, tmp_path):
    start(ISOLATED_PROCESSES=1)
    with socket.socket(socket.AF_UNIX) as borrower:
        borrower.bind(str(tmp_path / "borrower"))
        borrower.listen()
        job = leaving("is killed", "socket")
        with borrower.accept()[0] as lent:
            _, held, _, _ = socket.recv_fds(lent, 1, 8)
        try:
            os.kill(ready(ledger, job).pid, signal.SIGKILL)

            assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
            assert finished(leaving("returns", "nothing"), within=SOON).status == JobStatus.SUCCEEDED
        finally:
            for descriptor in held:
                os.close(descriptor)


def test_a_reaper_killed_is_a_failed_attempt_and_the_group_ends(start, leaving, finished, ledger, no_process_left):
    start(ISOLATED_PROCESSES=1)

    for leaves in ("nothing", "fork", "program"):
        job = leaving("never", leaves)
        os.kill(parent_of(ready(ledger, job).pid), signal.SIGKILL)

        assert finished(job, within=SOON).last_error == DIED + "was killed by SIGKILL"
        # The worker kills the group, but no one waits for its ends.
        no_process_left(job, within=SOON)
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
def test_ends_are_noticed_without_what_only_linux_has(
    start_changed, problems_of, leaving, ledger, no_process_left, ends
):
    worker = start_changed(LIKE_MACOS, ISOLATED_PROCESSES=1)

    # The signal to the group is the last act of the reaper: the kernel ends the processes a moment later.
    within = 5.0
    problems = [
        problem for end in ends for leaves in ("fork", "program") for problem in problems_of(end, leaves, within=within)
    ]

    assert not problems, "\n" + "\n".join(problems)
    last = leaving("never", "program")
    ready(ledger, last)
    worker.kill()
    no_process_left(last, within=within)


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_each_end_of_a_worker_leaves_no_process_of_its_jobs(start, leaving, finished, ledger, no_process_left, how):
    worker = start(ISOLATED_PROCESSES=4, WORKER_THREADS=4)
    jobs = [leaving("never", leaves, max_attempts=2) for leaves in LEAVES]
    for job in jobs:
        ready(ledger, job)
    problems: list[str] = []

    getattr(worker, how)()

    with noted(problems, "exit"):
        assert worker.wait(10) == (0 if how == "terminate" else -signal.SIGKILL)
    for leaves, job in zip(LEAVES, jobs, strict=True):
        with noted(problems, leaves):
            no_process_left(job, within=2.0)
    assert not problems, "\n" + "\n".join(problems)
    start(ISOLATED_PROCESSES=1)
    ends = [finished(job) for job in jobs]
    assert {(job.status, job.result) for job in ends} == {(JobStatus.SUCCEEDED, "the second time")}
    assert {job.attempts for job in ends} == {1 if how == "terminate" else 2}
