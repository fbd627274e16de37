"""`running_worker` of haulier.testing, and the page about testing: it ..."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from haulier.domain.errors import InvalidTransition
from haulier.domain.job import Job, JobStatus
from haulier.postgres.connection import connect
from haulier.testing import NotEnded, PayloadRefused, RunningWorker, UnknownKind, perform, running_worker
from tests.conftest import LASTING, PATIENCE, eventually
from tests.docs.reading import ROOT, blocks_in, section
from tests.testing import kinds_to_test
from tests.testing.kinds_to_test import apart, echoes, here, naps, ways


@pytest.fixture(scope="module")
def worker(postgres: str) -> Iterator[RunningWorker]:
    with running_worker({"STORAGE_URL": "memory://test"}, database_url=postgres) as worker:
        yield worker


def test_runs_a_job_and_gives_it_as_it_ended(worker):
    job = worker.run("test.ways", {"way": "returns"})
    failed = worker.run(ways, {"way": "raises"}, max_attempts=2)

    assert (job.status, job.attempts, job.result) == (JobStatus.SUCCEEDED, 1, {"attempts": 1})
    assert job.payload == {"way": "returns"}
    assert worker.get(job.id) == job
    assert (failed.status, failed.attempts) == (JobStatus.FAILED_PERMANENT, 2)
    assert [error["attempt"] for error in failed.errors] == [1, 2]
    assert (failed.last_error or "").startswith("ValueError: no luck")


STATUSES = {
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED_PERMANENT,
    "retried": JobStatus.RETRYING,
    "snoozed": JobStatus.QUEUED,
}


def test_ends_a_run_as_perform_says(worker):
    def after_one_run(way: str, max_attempts: int) -> Job:
        once = worker.enqueue(ways, {"way": way}, max_attempts=max_attempts)

        def ended() -> Job | None:
            job = worker.get(once)
            return job if job.attempt == 1 and job.status is not JobStatus.RUNNING else None

        return eventually(ended)

    handled = ("returns", "returns_what_is_not_json", "returns_too_much", "fails", "snoozes")
    for way in (*handled, "raises", "exits", "retries", "retries_soon"):
        for max_attempts in (1, 3):
            expected = perform(ways, {"way": way}, max_attempts=max_attempts)

            job = after_one_run(way, max_attempts)

            assert (way, job.status) == (way, STATUSES[expected.ending])
            assert (job.last_error, job.result) == (expected.error, expected.result)
            if expected.delay is not None:
                worker.cancel(job)


def test_cancels_a_job_that_runs_as_perform_says(worker):
    job = worker.enqueue("test.tidy")
    eventually(lambda: worker.get(job).status is JobStatus.RUNNING)

    worker.cancel(job)

    ended = worker.wait(job)
    expected = perform("test.tidy", cancel_after=1)
    assert (ended.status, ended.result, ended.last_error) == (JobStatus.CANCELLED, expected.result, expected.error)
    with pytest.raises(InvalidTransition):
        worker.cancel(job.id)


def test_runs_handlers_in_this_process_and_isolated_ones_in_their_own(worker):
    payload = {"value": (1, {2: "two"}, 1.5, None)}

    assert worker.run(here).result[0] == os.getpid()
    assert worker.run(apart, within=PATIENCE).result[0] != os.getpid()
    assert worker.run(echoes, payload).result == perform(echoes, payload).result


def test_runs_what_the_code_under_test_inserts(worker):
    with closing(connect(worker.database_url)) as conn, conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload)"
            """ SELECT 'test.naps', '{"seconds": [0.05]}' FROM generate_series(1, 3)"""
        )

    worker.wait_for_all()

    assert [job.result for job in worker.jobs("test.naps")[:3]] == [1, 1, 1]
    assert {job.kind for job in worker.jobs()} > {"test.naps"}


def test_takes_what_a_job_may_have_and_refuses_what_it_may_not(worker):
    job = worker.enqueue(
        naps, queue="slow", priority=7, delay_seconds=3600, timeout_seconds=5, max_attempts=9, tags=["a"]
    )

    assert job.tags == ["a"]
    assert (job.queue, job.priority, job.timeout_seconds, job.max_attempts) == ("slow", 7, 5, 9)
    assert (job.run_at - job.created_at).total_seconds() == 3600
    same = worker.enqueue(naps, run_at=job.run_at, tags=None)
    assert (same.run_at, same.tags) == (job.run_at, ())
    worker.cancel(same)
    worker.cancel(job)
    assert worker.get(job).status is JobStatus.CANCELLED
    # As the API does.
    with pytest.raises(PayloadRefused, match="the payload is invalid for test.ways: way: Missing data"):
        worker.run(ways)
    with pytest.raises(UnknownKind, match="there is no kind 'test.way'"):
        worker.enqueue("test.way")


def test_says_what_a_job_waits_for_that_does_not_end_in_time(worker):
    job = worker.enqueue(ways, {"way": "retries"}, delay_seconds=60)

    with pytest.raises(
        NotEnded, match=rf"not done within 0.1 s: the job {job.id} \(test.ways\) is queued, attempts: 0 of 3"
    ):
        worker.wait(job, within=0.1)
    with pytest.raises(NotEnded, match=rf"not done within 0.1 s: the job {job.id}"):
        worker.wait_for_all(within=0.1)
    worker.cancel(job)


def test_says_that_the_worker_has_ended(postgres):
    settings = {"STUCK_SECONDS": "0.1", "SHUTDOWN_SECONDS": "0"}
    kinds_to_test.enough.clear()

    with running_worker(settings, database_url=postgres) as worker:
        with pytest.raises(NotEnded, match="the worker has ended .see its log.; .* timed out after 1 s and did not"):
            worker.run("test.deaf")
        kinds_to_test.enough.set()


def test_waits_on_leaving_for_a_handler_that_is_slow_to_stop(postgres):
    threads = set(threading.enumerate())
    kinds_to_test.enough.clear()

    with running_worker({"SHUTDOWN_SECONDS": "0"}, database_url=postgres) as worker:
        job = worker.enqueue("test.deaf")
        eventually(lambda: worker.get(job).status is JobStatus.RUNNING)
        # What it waits for comes when everything else has ended.
        slow = threading.Timer(0.8, kinds_to_test.enough.set)
        slow.start()

    left = [each.name for each in set(threading.enumerate()) - threads if each.name.startswith("runner")]
    slow.join()
    assert left == []


def test_leaves_nothing_behind_in_the_process_or_on_the_server(postgres):
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.getswitchinterval())
    threads = set(threading.enumerate())

    with running_worker(database_url=postgres) as worker:
        worker.run(naps)
        inside = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.getswitchinterval())

    assert inside == before
    assert [each.name for each in set(threading.enumerate()) - threads if each.name not in LASTING] == []
    with closing(connect(postgres)) as conn, conn.cursor() as cursor:
        name = worker.database_url.partition("?")[0].rsplit("/", 1)[1]
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [name])
        assert cursor.fetchone() == (0,)


def test_does_not_end_the_process_after_it(postgres):
    program = (
        "import sys, threading\n"
        "from haulier.testing import running_worker\n"
        "from haulier.worker import process\n"
        "process.OVERTIME_SECONDS = 0.5\n"
        "with running_worker({'SHUTDOWN_SECONDS': '0'}, database_url=sys.argv[1]):\n"
        "    pass\n"
        "threading.Event().wait(1.0)\n"
        "print('still here')\n"
    )

    command, environ = [sys.executable, "-c", program, postgres], {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")


PAGE = "docs/kinds.md"


def test_every_test_of_the_page_passes(tmp_path, postgres):
    [kind, *_] = blocks_in(section(PAGE, "## A kind of your own"), "python")
    files = blocks_in(section(PAGE, "## Testing your kinds"), "python")
    (tmp_path / "example_kind.py").write_text(kind)
    for text in files:
        named = re.match(r"# (\w+\.py)\n", text)
        assert named, f"which file is this? {text}"
        (tmp_path / named[1]).write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": postgres},
        capture_output=True,
        text=True,
        timeout=100,
    )

    tests = sum(text.count("def test_") for text in files)
    assert tests == 6
    assert re.search(rf"^{tests} passed in", done.stdout, re.MULTILINE), done.stdout + done.stderr
