"""Working operations off: it ..."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from haulier.postgres.database import Database
from haulier.worker.shared.outage import Outage
from haulier.worker.steps import operate
from haulier.worker.steps.operate import FIRST_JOBS, LEAST_JOBS, LEAST_REST_SECONDS, Operating


@pytest.fixture
def operating(database, monkeypatch):
    """Give it with chunks that end as the test says, after so many seconds, and the sizes that were asked for."""
    ends, sizes, clock = [], [], [0.0]

    def work_off(conn, by, *, most_jobs):
        sizes.append(most_jobs)
        is_done, seconds = ends.pop(0) if ends else (None, 0.0)
        clock[0] += seconds
        return is_done

    monkeypatch.setattr(operate, "work_off", work_off)
    monkeypatch.setattr(operate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    stopping = threading.Event()
    made = Operating(Database(database), Outage(stopping, threads=1), stopping, stopping)
    yield made, ends, sizes
    made.database.close()


def test_takes_more_jobs_at_once_while_that_is_quick_and_fewer_where_it_is_slow_or_refused(operating):
    made, ends, sizes = operating
    ends += [(True, 0.01)] * 5 + [(True, 0.04), (True, 0.3), (True, 0.06), (False, 0.01)]

    rests = []
    while (rest := made._chunk()) is not None:
        rests.append(rest)

    assert sizes == [100, 200, 400, 800, 1000, 1000, 1000, 500, 250, 125]
    assert rests == pytest.approx([LEAST_REST_SECONDS] * 5 + [0.04, 0.3, 0.06, LEAST_REST_SECONDS])
    assert sizes[0] == FIRST_JOBS
    ends += [(False, 0.0)] * 9
    while made._chunk() is not None:
        pass
    assert sizes[-1] == LEAST_JOBS


def test_an_error_of_any_sort_ends_the_turn_and_not_the_thread(operating, monkeypatch, caplog):
    made, _, _ = operating
    monkeypatch.setattr(operate, "BUG_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(operate, "work_off", lambda *_, **__: 1 / 0)

    made.work()

    assert "operations cannot be worked off" in caplog.text
