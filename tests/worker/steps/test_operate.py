"""Working operations off: it ..."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.pool import Database
from haulier.postgres.statements import STATEMENT_SECONDS
from haulier.worker.link.outage import AWAY_PAUSE_SECONDS, Outage
from haulier.worker.steps import operate
from haulier.worker.steps.operate import (
    FIRST_JOBS,
    LEASE_SECONDS,
    LEAST_JOBS,
    LEAST_REST_SECONDS,
    MOST_REST_SECONDS,
    RESTS,
    STEPS,
    NextOperation,
    Operating,
)
from tests.rivals import beside


class Stopping(threading.Event):
    """Notes for how long somebody would have waited; if it comes in a rest, the first one is that."""

    def __init__(self):
        super().__init__()
        self.rests = []
        self.comes_in_a_rest = False

    def wait(self, timeout=None):
        self.rests.append(timeout)
        if self.comes_in_a_rest:
            self.set()
        return self.is_set()


@pytest.fixture
def operating(database, monkeypatch):
    """Give it with chunks of a look and a step, of which the step ends as the test says, after so many seconds.

    None if the database is gone by then.
    """
    ends, sizes, clock, stopping = [], [], [0.0], Stopping()

    def work_off(conn, by, *, most_jobs, pace):
        sizes.append((most_jobs, pace.step))
        if not ends:
            return None
        clock[0] += LOOK_SECONDS
        if pace.rest():
            is_done, seconds = ends.pop(0)
            if is_done is None:
                raise DatabaseUnavailable("gone")
            clock[0] += seconds
            return is_done
        return True

    monkeypatch.setattr(operate, "work_off", work_off)
    monkeypatch.setattr(operate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    made = Operating(Database(database), Outage(stopping, threads=1), stopping, stopping)
    yield made, ends, sizes
    made.database.close()


LOOK_SECONDS = 0.07


def test_takes_more_jobs_at_once_while_that_is_quick(operating):
    made, ends, sizes = operating
    ends += [(True, 0.002)] * 4 + [(True, 0.014), (True, 0.3), (True, 0.021), (False, 0.002)]

    made.work()

    steps = [step for _, step in sizes]
    assert steps == [FIRST_JOBS, 80, 160, 250, 250, 250, 125, 62, 31]
    assert [most_jobs for most_jobs, _ in sizes] == [STEPS * step for step in steps]
    sizes.clear()
    ends += [(False, 0.0)] * 9
    made.work()
    assert sizes[-1] == (STEPS * LEAST_JOBS, LEAST_JOBS)


def test_rests_after_each_look_and_each_step_several_times_as_long_as_these_took(operating):
    made, ends, _ = operating
    ends += [(True, 0.03), (True, 0.0001), (True, 3.0)]

    made.work()

    after_a_look = RESTS * LOOK_SECONDS
    assert made.stopping.rests == pytest.approx(
        [after_a_look, RESTS * 0.03, after_a_look, LEAST_REST_SECONDS, after_a_look, MOST_REST_SECONDS]
    )


def test_acts_on_nothing_more_once_the_process_stops(operating, monkeypatch):
    made, ends, sizes = operating
    ends += [(True, 0.03)]
    left = []
    # As `work_off` above: nothing here has an operation. What leaving does, tests of operations try on real ones.
    monkeypatch.setattr(operate, "leave", lambda conn, by: left.append(by))
    made.stopping.comes_in_a_rest = True

    made.work()

    assert (len(sizes), len(ends), left) == (1, 1, [made._by])
    # Else several processes on a slow database would each lose it before their first step.
    assert LEASE_SECONDS > STATEMENT_SECONDS + MOST_REST_SECONDS


def test_goes_on_with_what_it_holds_once_the_database_is_back(operating):
    made, ends, sizes = operating
    ends += [(None, 0.0), (None, 0.0), (True, 0.002)]

    made.work()

    # The last one finds nothing to do.
    assert (len(sizes), len(ends)) == (4, 0)
    assert made.stopping.rests.count(AWAY_PAUSE_SECONDS) == 2


def test_an_error_of_any_sort_ends_the_turn_and_not_the_thread(operating, monkeypatch, caplog):
    made, _, _ = operating
    monkeypatch.setattr(operate, "BUG_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(operate, "work_off", lambda *_, **__: 1 / 0)

    made.work()

    assert "operations cannot be carried out" in caplog.text


def test_the_next_one_is_forgotten_once_it_was_due():
    due = NextOperation()
    due.seen(0.05)
    began = time.monotonic()

    assert due.wait()
    assert time.monotonic() - began >= 0.05
    due.close()
    assert not due.wait()


@pytest.mark.parametrize("seconds", [None, 3600.0])
def test_a_sooner_one_or_the_close_ends_the_wait(seconds):
    due = NextOperation()
    due.seen(seconds)

    with beside(lambda: [due.wait(), due.wait()]) as heard:
        due.seen(-1.0)
        due.close()

    assert heard in ([[True, False]], [[False, False]])
