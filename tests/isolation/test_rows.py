"""One row that the database refuses, in a batch of a hundred, for each class of error. It ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from haulier.domain.job import Job
from haulier.queue import claims
from tests.conftest import eventually
from tests.isolation.conftest import named, refused_jobs, unhurt, until
from tests.isolation.wire import REFUSALS, Refusal

# A batch with one culprit for each class of error.
BATCH = 100
# The pauses begin at a second and double.
RETRIED_WITHIN = 2.5


def culprits_among(jobs: list[Job]) -> dict[UUID, Refusal]:
    """Return the middle job of each batch, with what is to be refused of it."""
    return {jobs[BATCH * place + BATCH // 2].id: refusal for place, refusal in enumerate(REFUSALS)}


@pytest.mark.parametrize(
    ("moment", "first_deferred"),
    [
        ("claim", 1),
        *(pytest.param(moment, 0, marks=pytest.mark.slow) for moment in ("claim", "result", "leave", "return")),
        *(pytest.param(moment, 1, marks=pytest.mark.slow) for moment in ("result", "leave", "return")),
    ],
)
def test_one_refused_row_in_a_hundred_holds_up_no_other(
    moment, first_deferred, worker, rows, enqueue_many, ended, beats, ledger, free_port, record, conn
):
    kind = "t.snoozes" if moment == "return" else "t.note"
    jobs = enqueue_many(BATCH * len(REFUSALS), kind)
    culprits = culprits_among(jobs)
    good = {job.id for job in jobs} - culprits.keys()
    # Every other at the commit.
    rows.refuse(moment, culprits.items(), deferred=[*culprits][first_deferred::2])
    process = worker(WORKER_METRICS_PORT=free_port)
    watched = beats()

    with unhurt(process, at_most=4 * len(culprits)):
        in_time = until(lambda: watched.look() and good <= ended().keys())
        until(lambda: watched.look() and len(named(process)) == len(culprits))
        # Each was tried again meanwhile, and is named again if that is done.
        until(lambda: watched.look() and max(named(process).values(), default=0) > 1, within=RETRIED_WITHIN)

        done, names = ended(), named(process)
        assert in_time, f"{len(good - done.keys())} of {len(good)} good jobs were held up"
        assert {state for id, state in done.items() if id in good} == {("succeeded", 1)}
        # A trigger may raise anything, also what looks like a value that can never be stored; and some day no more.
        assert {id: done[id] for id in done.keys() - good} == {}
        assert names == {str(id): 1 for id in culprits}
        assert watched.go_on(lease_seconds=2)
        refused_at = "claim" if moment == "claim" else "settle"
        assert refused_jobs(free_port, refused_at) >= len(culprits)

        rows.heal()

        eventually(lambda: len(ended()) == len(jobs))
    now = ended()
    assert {id: now[id] for id in culprits if now[id] != ("succeeded", 1)} == {}
    runs = 3 if moment == "return" else 1
    starts = ledger.counts("start")
    assert {starts[str(id)] for id in now} == {runs}
    record(
        f"one row: {moment}",
        f"{len(culprits)} jobs refused at this, one in {BATCH}, each with another SQLSTATE: the other {len(good):,}"
        " ended, each culprit was named once; healed, all of them succeeded",
    )


@pytest.fixture
def dead_worker(conn) -> Callable[..., UUID]:
    """Give a function that enters a worker whose lease has run out."""

    def dead_worker() -> UUID:
        worker_id = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=2)
        with conn.cursor() as cursor:
            cursor.execute("UPDATE haulier.worker SET beat_at = now() - interval '1 minute' WHERE id = %s", [worker_id])
        return worker_id

    return dead_worker


@pytest.fixture
def orphan(conn) -> Callable[..., None]:
    """Give a function that makes jobs running ones of this worker."""

    def orphan(jobs: list[Job], worker_id: UUID) -> None:
        with conn.cursor() as cursor:
            cursor.execute(
                "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, started_at = now(),"
                " attempt = 1, attempts = 1 WHERE id = ANY(%s::uuid[])",
                [worker_id, uuid4(), [job.id for job in jobs]],
            )

    return orphan


def test_one_refused_orphan_in_a_hundred_holds_up_no_other_rescue(
    worker, rows, enqueue_many, dead_worker, orphan, beats, free_port, record, conn
):
    jobs = enqueue_many(BATCH)
    dead, other_dead = dead_worker(), dead_worker()
    orphan(jobs, dead)
    culprits = {jobs[BATCH // (len(REFUSALS) + 1) * place].id: refusal for place, refusal in enumerate(REFUSALS, 1)}
    good = {job.id for job in jobs} - culprits.keys()
    rows.refuse("settle", culprits.items(), deferred=[*culprits][::2])
    process = worker(WORKER_METRICS_PORT=free_port)
    watched = beats()

    with unhurt(process, at_most=BATCH + 4 * len(culprits)):
        in_time = until(lambda: watched.look() and good <= rescued(conn))
        until(lambda: watched.look() and len(named(process)) == len(culprits))
        until(lambda: watched.look() and max(named(process).values(), default=0) > 1, within=RETRIED_WITHIN)
        names = named(process)

        assert in_time, f"{len(good - rescued(conn))} of {len(good)} good orphans were not rescued"
        assert not {dead, other_dead} & workers(conn), "a dead worker was not buried"
        assert rescued(conn) == good
        assert names == {str(id): 1 for id in culprits}
        assert watched.go_on(lease_seconds=2)
        assert refused_jobs(free_port, "rescue") >= len(culprits)

        rows.heal()

        # Each runs alone in its process, one after the other.
        eventually(lambda: len(rescued(conn)) == BATCH)
    record(
        "one row: rescue",
        f"{len(culprits)} orphans refused, each with another SQLSTATE: the other {len(good)} were rescued and both dead"
        " workers buried; healed, the culprits were rescued too",
    )


def rescued(conn: Any) -> set[UUID]:
    """Return the jobs that were taken from the dead, whatever has become of them since."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM haulier.jobs WHERE crashes = 1")
        return {id for (id,) in cursor.fetchall()}


def workers(conn: Any) -> set[UUID]:
    """Return who has a row."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM haulier.worker")
        return {id for (id,) in cursor.fetchall()}


def test_one_worker_that_cannot_be_buried_keeps_no_other_from_it(
    worker, rows, enqueue_many, dead_worker, orphan, conn, record
):
    refused, dead = dead_worker(), dead_worker()
    jobs = enqueue_many(10)
    orphan(jobs, dead)
    rows.refuse("bury", [(refused, Refusal("42501"))], deferred=[refused])
    process = worker()

    with unhurt(process, at_most=40):
        in_time = until(lambda: len(rescued(conn)) == len(jobs))

        assert in_time, "the orphans of another dead worker were not rescued"
        assert workers(conn) >= {refused}
        assert dead not in workers(conn)

        rows.heal()

        eventually(lambda: refused not in workers(conn))
    record("bury", "one of two dead workers cannot be buried: the other was, and its 10 orphans rescued")


def test_leaves_in_time_while_outcomes_are_refused_and_loses_none_of_them(
    worker, rows, enqueue_many, ended, ledger, record
):
    jobs = enqueue_many(20 * BATCH)
    culprits = {jobs[place].id for place in (700, 1400)}
    rows.refuse("leave", [(id, Refusal("P0001")) for id in culprits])
    process = worker()
    good = {job.id for job in jobs} - culprits
    in_time = until(lambda: good <= ended().keys())
    assert in_time, f"{len(good - ended().keys())} of {len(good)} good jobs were held up"

    process.terminate()

    assert process.wait(6) == 0
    rows.heal()
    worker()
    eventually(lambda: len(ended()) == len(jobs))
    assert {status for status, _ in ended().values()} == {"succeeded"}
    again = {id for id, count in ledger.counts("start").items() if count > 1}
    assert again <= {str(id) for id in culprits}
    record(
        "outcome",
        f"2 of {len(jobs):,} refused by a trigger on `finished_job`: the other {len(good):,} ended; SIGTERM was obeyed"
        f" within 6 s; after the refusal {len(again)} ran again elsewhere, and all had succeeded",
    )
