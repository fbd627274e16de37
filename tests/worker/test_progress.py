"""What running handlers say of how far they have come, in real worker processes. It ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier.domain.job import JobStatus
from haulier.queue import produce
from tests.conftest import eventually


@pytest.fixture
def end(tmp_path) -> Path:
    """Give the file at which jobs end."""
    return tmp_path / "end"


def test_shows_what_a_running_handler_said_last_and_nothing_once_it_has_ended(
    spawn_worker, enqueue, finished, conn, sql, end
):
    words = [{"done": n, "total": 100, "note": f"page {n}"} for n in range(51)]
    spawn_worker()
    before = sql("SELECT now()")

    job = enqueue("t.tells", {"words": words, "file": str(end)})

    shown = eventually(lambda: produce.get(conn, job.id).progress)
    assert {name: shown[name] for name in ("done", "total", "note")} == {"done": 50, "total": 100, "note": "page 50"}
    assert sql("SELECT %s::timestamptz BETWEEN %s AND now()", shown["at"], before[0][0]) == [(True,)]
    end.touch()
    ended = finished(job)
    assert (ended.status, ended.progress) == (JobStatus.SUCCEEDED, None)
    eventually(lambda: sql("SELECT count(*) FROM haulier.progress") == [(0,)])


@pytest.mark.parametrize("kind", ["t.tells", "i.tells"])
def test_a_word_that_makes_no_sense_is_the_handlers_own_error(spawn_worker, enqueue, finished, kind):
    spawn_worker(HAULIER_KINDS="kinds_of_tests,isolated_kinds")

    job = finished(enqueue(kind, {"words": [{"done": 1, "total": "many"}]}, max_attempts=1))

    assert job.status is JobStatus.FAILED_PERMANENT
    assert job.last_error.startswith("TypeError: progress: total must be a number, not str (")


def test_a_child_process_passes_on_what_its_handler_says(spawn_worker, enqueue, finished, conn, end):
    spawn_worker(HAULIER_KINDS="kinds_of_tests,isolated_kinds", WORKER_THREADS=2)
    words = [{"done": n, "total": 4, "note": f"page {n} ä"} for n in range(5)]
    seen = []

    def last_word() -> bool:
        shown = produce.get(conn, job.id).progress
        if shown is not None and shown["done"] not in seen:
            seen.append(shown["done"])
        return shown is not None and (shown["done"], shown["total"], shown["note"]) == (4, 4, "page 4 ä")

    # A second job in the same child, whose predecessor has spoken.
    for _ in range(2):
        job, seen[:] = enqueue("i.tells", {"words": words, "seconds": 1.0, "file": str(end)}), []
        eventually(last_word)
        end.touch()
        assert finished(job).status is JobStatus.SUCCEEDED
        assert len(seen) >= 3
        end.unlink()


def test_jobs_of_a_child_process_that_speak_and_end_at_once_end_as_they_should(spawn_worker, enqueue, finished):
    spawn_worker(HAULIER_KINDS="kinds_of_tests,isolated_kinds", WORKER_THREADS=2)
    words = [{"done": n} for n in range(100)]

    jobs = [enqueue("i.tells", {"words": words}) for _ in range(100)]

    assert {(finished(job).status, finished(job).attempts) for job in jobs} == {(JobStatus.SUCCEEDED, 1)}
