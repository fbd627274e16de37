"""Kinds in a process of their own: whatever a handler does there, the worker goes on, and the job ends as it should."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import search
from tests.conftest import eventually, sql_on
from tests.kinds.hostile_images import picture
from tests.worker.conftest import children_of, exists

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
    "raise": (JobStatus.RETRYING, 1, "ValueError: no luck \ufffd this time (kinds_of_tests.py:"),
    "exit": (JobStatus.RETRYING, 1, "SystemExit: 3"),
}


def test_a_handler_ends_in_each_way_as_ever(worker):
    for which, (status, attempts, says) in ENDS.items():
        job_id = worker.enqueue("i.ends", {"which": which}).id

        eventually(lambda job_id=job_id, status=status: search.get(worker.conn, job_id).status == status)
        job = search.get(worker.conn, job_id)
        assert (which, job.attempts) == (which, attempts)
        assert says in job.last_error if says else job.last_error is None
        assert status != JobStatus.SUCCEEDED or job.result == {"umlaut": "ä\n☃"}.get(which, which)
        # The kind's back-off is long.
        assert status != JobStatus.RETRYING or job.run_at - job.updated_at > timedelta(seconds=40)


def test_a_payload_that_does_not_fit_is_final(worker):
    job = worker.run("i.ends", {"which": 1})

    assert (job.status, job.attempts) == (JobStatus.FAILED_PERMANENT, 1)
    assert job.last_error.startswith("the payload is invalid for i.ends: ")


def test_a_payload_with_an_unknown_field_is_given_back(worker):
    job_id = worker.enqueue("i.ends", {"which": "raise", "lang": "de"}).id

    job = eventually(lambda: (job := search.get(worker.conn, job_id)).last_error and job)
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 0)
    assert job.last_error.startswith("no worker that claimed it knows these payload fields: lang; ")
    assert job.run_at - job.created_at > timedelta(seconds=50)


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


def test_a_process_that_dies_is_a_failed_attempt(worker):
    # How else a process may end is in test_ends.py.
    for which, says, most in (("SIGABRT", "was killed by SIGABRT", 2), ("closes", "the process that ran this job ", 1)):
        job = worker.run("i.dies", {"which": which}, max_attempts=most)

        assert (which, job.status, job.attempts, job.crashes) == (which, JobStatus.FAILED_PERMANENT, most, 0)
        assert says in job.last_error
        assert len(worker.ledger.entries("start", job)) == most
        assert worker.run("i.note").status == JobStatus.SUCCEEDED


def test_a_process_killed_before_it_has_read_its_job_costs_no_attempt(worker):
    pids = [worker.run("i.note").result["pid"]]

    os.kill(pids[0], signal.SIGKILL)
    eventually(lambda: not exists(pids[0]))
    second = worker.run("i.note", max_attempts=1)
    pids.append(second.result["pid"])
    # It takes nothing from its socket from now on, as one does that is being killed and has not ended.
    os.kill(pids[1], signal.SIGSTOP)
    job = worker.enqueue("i.note", max_attempts=1)
    eventually(lambda: search.get(worker.conn, job.id).status == JobStatus.RUNNING)
    os.kill(pids[1], signal.SIGKILL)

    third = worker.finished(job)
    assert (second.status, third.status) == (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED)
    assert third.result["pid"] not in pids


def test_a_cancel_reaches_the_handler(worker):
    job, _ = worker.start("i.note", {"seconds": 600})

    assert worker.cancel(job).status == JobStatus.CANCELLED
    assert len(worker.ledger.entries("stop:cancelled", job)) == 1


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


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_quick_jobs_each_run_once_in_few_processes(start, sql, count):
    worker = start(WORKER_THREADS=8, LOG_LEVEL="INFO")
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'i.quick', '{}' FROM generate_series(1, %s)", count)

    ends = "SELECT status, count(*), max(attempts) FROM haulier.jobs GROUP BY 1"
    eventually(lambda: sql(ends) == [("succeeded", count, 1)], within=90)
    assert 1 <= len(children_of(worker.pid)) <= 2


def test_jobs_that_find_no_process_free_come_back_uncharged(start, enqueue, finished, ledger, conn):
    worker = start(WORKER_THREADS=3, ISOLATED_PROCESSES=1)
    busy = [enqueue("i.note", {"seconds": 600}, max_attempts=1) for _ in range(4)]
    eventually(lambda: ledger.entries("start"))

    other = finished(enqueue("t.note"))

    assert other.status == JobStatus.SUCCEEDED
    eventually(lambda: "given back unstarted" in worker.log)
    assert {search.get(conn, job.id).attempts for job in busy} == {0, 1}


def test_a_stop_gives_back_what_does_not_finish_and_leaves_no_process(start, enqueue, conn, ledger):
    worker = start(SHUTDOWN_SECONDS=4, ISOLATED_PROCESSES=2)
    jobs = [enqueue(kind, {"seconds": 60}) for kind in ("i.note", "i.holds")]
    eventually(lambda: len(ledger.entries("start")) == 2)

    worker.terminate()

    assert worker.wait() == 0
    for job in (search.get(conn, job.id) for job in jobs):
        assert (job.status, job.attempts, job.crashes) == (JobStatus.QUEUED, 0, 0)
    eventually(lambda: not any(exists(entry.pid) for entry in ledger.entries()))


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


@pytest.fixture
def end(tmp_path) -> Path:
    return tmp_path / "end"


def test_shows_what_a_running_handler_said_last_and_nothing_once_it_has_ended(worker, end):
    words = [{"done": n, "total": 100, "note": f"page {n}"} for n in range(51)]
    sql = sql_on(worker.conn)
    [[before]] = sql("SELECT now()")

    job = worker.enqueue("t.tells", {"words": words, "file": str(end)})

    shown = eventually(lambda: search.get(worker.conn, job.id).progress)
    assert {name: shown[name] for name in ("done", "total", "note")} == {"done": 50, "total": 100, "note": "page 50"}
    assert sql("SELECT %s::timestamptz BETWEEN %s AND now()", shown["at"], before) == [(True,)]
    end.touch()
    ended = worker.finished(job)
    assert (ended.status, ended.progress) == (JobStatus.SUCCEEDED, None)
    eventually(lambda: sql("SELECT count(*) FROM haulier.progress") == [(0,)])


def test_progress_that_makes_no_sense_is_the_handlers_own_error(worker):
    for kind in ("t.tells", "i.tells"):
        job = worker.run(kind, {"words": [{"done": 1, "total": "many"}]}, max_attempts=1)

        assert job.status is JobStatus.FAILED_PERMANENT
        assert job.last_error.startswith("TypeError: progress: total must be a number, not str (")


def test_a_child_process_passes_on_what_its_handler_says(worker, end):
    words = [{"done": n, "total": 4, "note": f"page {n} ä"} for n in range(5)]
    # A second job in the same child, whose predecessor has spoken.
    for seconds, fewest in ((1.0, 3), (0.1, 1)):
        job, seen = worker.enqueue("i.tells", {"words": words, "seconds": seconds, "file": str(end)}), []

        def last_word(job=job, seen=seen) -> bool:
            shown = search.get(worker.conn, job.id).progress
            if shown is not None and shown["done"] not in seen:
                seen.append(shown["done"])
            return shown is not None and (shown["done"], shown["total"], shown["note"]) == (4, 4, "page 4 ä")

        eventually(last_word)
        end.touch()
        assert worker.finished(job).status is JobStatus.SUCCEEDED
        assert len(seen) >= fewest
        end.unlink()


def test_jobs_of_a_child_process_that_speak_and_end_at_once_end_as_they_should(worker):
    words = [{"done": n} for n in range(100)]

    jobs = [worker.enqueue("i.tells", {"words": words}) for _ in range(100)]

    ended = [worker.finished(job) for job in jobs]
    assert {(job.status, job.attempts) for job in ended} == {(JobStatus.SUCCEEDED, 1)}


def resident(pid: int) -> int:
    """Return the most memory that the process has had. Units: megabytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("jpeg", "jpeg"),
        pytest.param("png", "jpeg", marks=pytest.mark.slow),
        pytest.param("png", "png", marks=pytest.mark.slow),
    ],
)
def test_a_photograph_of_fifty_million_pixels_fits_into_the_default_limit(
    spawn_worker, enqueue, finished, tmp_path, source, made
):
    (tmp_path / "photograph").write_bytes(picture(source.upper(), 8_192, 6_144))
    process = spawn_worker(STORAGE_URL=tmp_path.as_uri())
    finished(enqueue("t.note"))
    before = resident(process.pid)

    job = finished(enqueue("resize_image", {"source": "file:photograph", "format": made}))

    assert (job.status, job.last_error) == (JobStatus.SUCCEEDED, None)
    assert Path(unquote(urlsplit(job.result["location"]).path)).stat().st_size == job.result["bytes"]
    # The worker itself never holds an image.
    assert resident(process.pid) - before < 15


def test_middleware_wraps_runs_in_the_worker_and_in_children_but_no_image(
    spawn_worker, tmp_path, ledger, enqueue, finished
):
    (tmp_path / "photograph").write_bytes(picture("JPEG"))
    # Its note needs a variable that the kind of the image does not read.
    process = spawn_worker(**KINDS, HAULIER_MIDDLEWARE="isolated_kinds:noted", STORAGE_URL=tmp_path.as_uri())
    resized, *jobs = (enqueue("resize_image", {"source": "file:photograph"}), enqueue("i.note"), enqueue("t.forks"))

    assert {finished(job).status for job in (resized, *jobs)} == {JobStatus.SUCCEEDED}
    isolated, forked = (ledger.entries(job=job) for job in jobs)
    assert [entry.event for entry in isolated] == ["enter", "start", "end", "leave"]
    assert len({entry.pid for entry in isolated} - {process.pid}) == 1
    # The fork has not left what its parent had entered.
    assert [entry.event for entry in forked] == ["enter", "start", "leave"]
    assert {entry.pid for entry in forked} == {process.pid}
