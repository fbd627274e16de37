"""What running handlers say of how far they have come, in real worker processes. It ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import search
from tests.conftest import eventually, sql_on


@pytest.fixture(scope="module")
def shared(share_worker):
    return share_worker(HAULIER_KINDS="kinds_of_tests,isolated_kinds", WORKER_THREADS=2)


@pytest.fixture
def end(tmp_path) -> Path:
    """Give the file at which jobs end."""
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


def test_a_word_that_makes_no_sense_is_the_handlers_own_error(worker):
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
