"""Kinds in a process of their own: whatever a handler does there, the worker goes on, and the job ends as it should."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import jobs as job_acts
from haulier.queue import search
from tests.conftest import eventually
from tests.worker.isolation.seen import children_of, exists

KINDS = {"HAULIER_KINDS": "kinds_of_tests,isolated_kinds"}
SECRETS = {
    "HAULIER_API_KEY": "an-api-key-of-hunter2-and-thirty-two-characters",
    "METRICS_TOKEN": "a-token-of-hunter2",
    "SMTP_URL": "smtp://bob:hunter2@127.0.0.1",
    "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "PGPASSWORD": "hunter2",
    "OTHERS_SECRET": "hunter2",
}


@pytest.fixture
def start(spawn_worker):
    """Give a function that starts a worker which knows the isolated kinds."""
    return lambda **settings: spawn_worker(**{**KINDS, **settings})


@pytest.fixture(scope="module")
def shared(share_worker):
    # One process, so that each test knows which one runs its jobs; 4 threads that may want it.
    return share_worker(
        **KINDS, WORKER_THREADS=4, ISOLATED_PROCESSES=1, ISOLATED_MEMORY_MB=300, STUCK_SECONDS=1, LEASE_SECONDS=30
    )


def test_runs_in_a_process_of_its_own_that_is_kept_for_the_next_job(worker):
    jobs = [worker.run("i.note") for _ in range(5)]

    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
    [reaper] = children_of(worker.process.pid)
    assert {job.result["pid"] for job in jobs} == set(children_of(reaper))
    assert len({job.result["pid"] for job in jobs}) == 1


# By what the handler does: the job's status and attempts, and what its last error says.
ENDS = {
    "fail": (JobStatus.FAILED_PERMANENT, 1, "it is hopeless"),
    "retry": (JobStatus.SUCCEEDED, 2, "come back"),
    "snooze": (JobStatus.SUCCEEDED, 1, ""),
    "not_json": (JobStatus.FAILED_PERMANENT, 1, "the handler's result is not JSON"),
    "long": (JobStatus.FAILED_PERMANENT, 1, "70002 bytes long"),
    "umlaut": (JobStatus.SUCCEEDED, 1, ""),
}


def test_a_handler_ends_in_each_way_as_ever(worker):
    for which, (status, attempts, says) in ENDS.items():
        job = worker.run("i.ends", {"which": which})

        assert (which, job.status, job.attempts) == (which, status, attempts)
        assert says in job.last_error if says else job.last_error is None
        assert status != JobStatus.SUCCEEDED or job.result == {"umlaut": "ä\n☃"}.get(which, which)


def test_an_error_is_a_failed_attempt_after_which_the_kinds_back_off_comes(worker):
    for which, says in {
        "raise": "ValueError: no luck \ufffd this time (isolated_kinds.py:",
        "exit": "SystemExit: 3",
    }.items():
        job_id = worker.enqueue("i.ends", {"which": which}).id

        eventually(lambda job_id=job_id: search.get(worker.conn, job_id).status == JobStatus.RETRYING)
        job = search.get(worker.conn, job_id)
        assert says in job.last_error
        assert job.run_at - job.updated_at > timedelta(seconds=40)


def test_a_payload_that_does_not_fit_is_final(worker):
    job = worker.run("i.ends", {"what": 1})

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert job.last_error.startswith("the payload does not fit i.ends: ")


def test_what_a_handler_logs_carries_its_job(worker):
    job = worker.run("i.ends", {"which": "log"})

    [line] = [line for line in worker.process.log.splitlines() if "said by the handler" in line]
    assert f"job_id={job.id} kind=i.ends attempt=1" in line


def test_sees_no_secret_but_what_its_kind_names(start, enqueue, finished):
    given = {"STORAGE_URL": "s3://key:storage@bucket/images", "AWS_SECRET_ACCESS_KEY": "cloud", "MAIL_FROM": "a@b.c"}
    start(ISOLATED_MEMORY_MB=200, **SECRETS, **given)

    seen = finished(enqueue("i.sees")).result

    assert seen["environ"]["AWS_SECRET_ACCESS_KEY"] == "cloud"
    assert given["STORAGE_URL"] in seen["settings"]
    assert "a@b.c" in seen["settings"]
    told = f"{seen['environ']} {seen['settings']}"
    assert [name for name, value in SECRETS.items() if value in told] == []
    assert "postgres" not in told
    assert not {"DATABASE_URL", "STORAGE_URL", *SECRETS} & seen["environ"].keys()
    assert seen["limit"] == str(200 * 1024 * 1024)
    assert seen["modules"] == []


DEATHS = {
    "SIGKILL": "was killed by SIGKILL",
    "SIGSEGV": "was killed by SIGSEGV",
    "SIGABRT": "was killed by SIGABRT",
    "segfault": "was killed by SIGSEGV",
    "exit": "left with exit code 3",
    "closes": "the process that ran this job ",
}


def test_a_process_that_dies_is_a_failed_attempt_and_no_crash_of_the_worker(worker):
    for which, says in DEATHS.items():
        job = worker.run("i.dies", {"which": which}, max_attempts=2)

        assert (which, job.status, job.attempts, job.crashes) == (which, JobStatus.FAILED_PERMANENT, 2, 0)
        assert says in job.last_error
        assert len(worker.ledger.entries("start", job)) == 2
        assert worker.run("i.note").status == JobStatus.SUCCEEDED


def test_a_process_killed_from_outside_while_it_waits_costs_no_attempt(worker):
    first = worker.run("i.note")

    os.kill(first.result["pid"], signal.SIGKILL)
    eventually(lambda: not exists(first.result["pid"]))

    assert worker.run("i.note", max_attempts=1).status == JobStatus.SUCCEEDED


def test_a_process_killed_before_it_has_read_its_job_costs_no_attempt(worker):
    first = worker.run("i.note")
    # It takes nothing from its socket from now on, as one does that is being killed and has not ended.
    os.kill(first.result["pid"], signal.SIGSTOP)
    job = worker.enqueue("i.note", max_attempts=1)
    eventually(lambda: search.get(worker.conn, job.id).status == JobStatus.RUNNING)

    os.kill(first.result["pid"], signal.SIGKILL)

    second = worker.finished(job)
    assert second.status == JobStatus.SUCCEEDED
    assert second.result["pid"] != first.result["pid"]


def test_a_cancel_reaches_the_handler(worker):
    job, _ = worker.start("i.note", {"seconds": 600})

    assert worker.cancel(job).status == JobStatus.CANCELLED
    assert len(worker.ledger.entries("stop:cancelled", job)) == 1


def test_a_cancel_ends_a_handler_that_never_looks(worker):
    job, started = worker.start("i.holds", {"seconds": 600})

    assert worker.cancel(job).status == JobStatus.CANCELLED
    assert not exists(started.pid)


def test_a_handler_that_never_looks_is_killed_at_its_timeout_and_the_worker_goes_on(worker):
    job = worker.run("i.holds", {"seconds": 60}, timeout_seconds=1, max_attempts=2)

    assert (job.status, job.attempts, job.last_error) == (JobStatus.FAILED_PERMANENT, 2, "timed out after 1 s")
    assert not any(exists(entry.pid) for entry in worker.ledger.entries("start", job))
    assert "stuck" not in worker.process.log


def test_a_handler_that_looks_stops_at_its_timeout(worker):
    # The process is there already: its start would take some of the time.
    worker.run("i.note")

    job = worker.run("i.note", {"seconds": 60}, timeout_seconds=1, max_attempts=1)

    assert (job.status, job.last_error) == (JobStatus.FAILED_PERMANENT, "timed out after 1 s")
    [stopped] = worker.ledger.entries("stop:timeout", job)
    assert exists(stopped.pid)  # and is kept


def test_what_a_handler_has_started_ends_with_it(worker):
    job = worker.enqueue("i.starts", max_attempts=1)
    [entry] = eventually(lambda: worker.ledger.entries(job=job))

    assert worker.cancel(job).status == JobStatus.CANCELLED

    eventually(lambda: not exists(int(entry.event.removeprefix("child:"))))


def test_memory_beyond_the_limit_is_final(worker):
    job = worker.run("i.takes", {"megabytes": 400}, max_attempts=5)

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert job.last_error == "it needs more memory than ISOLATED_MEMORY_MB allows (300 MB)"
    assert len(worker.ledger.entries("start", job)) == 1


def test_what_earlier_jobs_have_leaked_is_not_the_fault_of_the_next(worker):
    leaky = worker.run("i.takes", {"megabytes": 100, "kept": True})

    big = worker.run("i.takes", {"megabytes": 180}, max_attempts=1)

    assert (big.status, big.attempts) == (JobStatus.SUCCEEDED, 1)
    assert big.result["pid"] != leaky.result["pid"]


def test_a_process_that_leaks_is_replaced(worker):
    jobs = [worker.run("i.takes", {"megabytes": 60, "kept": True}) for _ in range(8)]

    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
    assert 2 <= len({job.result["pid"] for job in jobs}) <= 4


def test_a_process_of_another_kind_makes_room(worker):
    first = worker.run("i.note")

    assert worker.run("i.ends", {"which": "umlaut"}).status == JobStatus.SUCCEEDED
    assert not exists(first.result["pid"])
    assert len(children_of(worker.process.pid)) == 1


def test_the_interpreter_held_for_twice_the_lease_holds_up_no_heartbeat(start, enqueue, finished, ledger):
    for _ in range(2):
        start(LEASE_SECONDS=1.5)

    job = finished(enqueue("i.holds", {"seconds": 3.2}, max_attempts=1))

    assert (job.status, job.result, job.crashes) == (JobStatus.SUCCEEDED, "held", 0)
    assert len(ledger.entries("start", job)) == 1


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_quick_jobs_each_run_once_in_few_processes(start, enqueue, finished, conn, count):
    worker = start(WORKER_THREADS=8, LOG_LEVEL="INFO")
    with conn.cursor() as cursor:
        quick = "INSERT INTO haulier.job (kind, payload) SELECT 'i.quick', '{}' FROM generate_series(1, %s)"
        cursor.execute(quick, [count])

    def counts() -> dict[str, int]:
        with conn.cursor() as cursor:
            cursor.execute("SELECT status, count(*), max(attempts) FROM haulier.jobs GROUP BY 1")
            return {status: (count, most) for status, count, most in cursor.fetchall()}

    eventually(lambda: counts() == {"succeeded": (count, 1)}, within=90)
    assert 1 <= len(children_of(worker.pid)) <= 2


def test_jobs_that_find_no_process_free_come_back_uncharged_and_hold_up_no_other_kind(
    start, enqueue, finished, ledger, conn
):
    worker = start(WORKER_THREADS=3, ISOLATED_PROCESSES=1)
    busy = [enqueue("i.note", {"seconds": 600}, max_attempts=1) for _ in range(4)]
    eventually(lambda: ledger.entries("start"))

    other = finished(enqueue("t.note"))

    assert other.status == JobStatus.SUCCEEDED
    eventually(lambda: "given back unstarted" in worker.log)
    assert {search.get(conn, job.id).attempts for job in busy} == {0, 1}
    for job in busy:
        job_acts.cancel(conn, job.id)
    for job in busy:
        finished(job)


def test_a_stop_lets_them_finish(start, enqueue, finished, ledger):
    worker = start()
    job = enqueue("i.note", {"seconds": 1}, max_attempts=1)
    [entry] = eventually(lambda: ledger.entries("start", job))

    worker.terminate()
    os.kill(entry.pid, signal.SIGTERM)  # as platforms do
    os.kill(entry.pid, signal.SIGINT)

    assert worker.wait() == 0
    assert finished(job).status == JobStatus.SUCCEEDED
    eventually(lambda: not exists(entry.pid))


def test_a_stop_gives_back_what_does_not_finish_and_leaves_no_process(start, enqueue, conn, ledger):
    worker = start(SHUTDOWN_SECONDS=4, ISOLATED_PROCESSES=2)
    jobs = [enqueue(kind, {"seconds": 60}) for kind in ("i.note", "i.holds")]
    eventually(lambda: len(ledger.entries("start")) == 2)

    worker.terminate()

    assert worker.wait() == 0
    for job in (search.get(conn, job.id) for job in jobs):
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    eventually(lambda: not any(exists(entry.pid) for entry in ledger.entries()))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_killed_leaves_no_process(start, enqueue, finished, conn, ledger, processes):
    worker = start(WORKER_PROCESSES=processes, WORKER_THREADS=4, ISOLATED_PROCESSES=4)
    idle = finished(enqueue("i.note")).result["pid"]
    jobs = [enqueue(kind, {"seconds": 60}) for kind in ("i.note", "i.holds")]
    eventually(lambda: len(ledger.entries("start")) == 3)
    workers = [worker.pid] if processes == 1 else children_of(worker.pid)

    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    eventually(lambda: not any(map(exists, (idle, *(entry.pid for entry in ledger.entries("start"))))))
    for job in jobs:
        job_acts.cancel(conn, job.id)


def test_a_kind_whose_module_cannot_be_imported_there_says_why(start, enqueue, finished, tmp_path):
    # It is imported by the worker, which has the setting.
    (tmp_path / "choosy.py").write_text(
        "import os\nfrom marshmallow import Schema\nfrom haulier.kinds import kind\n"
        "KEY = os.environ['CHOOSY_KEY']\n"
        "kind('choosy', schema=Schema, isolated=True)(lambda context, payload: None)\n"
    )
    path = f"{Path(__file__).parents[1]}{os.pathsep}{tmp_path}"
    start(HAULIER_KINDS="choosy,kinds_of_tests", CHOOSY_KEY="1", PYTHONPATH=path)

    job = finished(enqueue("choosy", max_attempts=1))

    assert job.status == JobStatus.FAILED_PERMANENT
    assert "cannot run choosy: ConfigError: choosy: choosy cannot be imported: KeyError: 'CHOOSY_KEY'" in job.last_error
