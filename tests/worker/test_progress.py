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
