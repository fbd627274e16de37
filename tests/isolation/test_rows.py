"""One row that the database refuses, in a batch of a hundred, for each class of error. It ..."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID, uuid4

import pytest

from tests.conftest import eventually
from tests.isolation.conftest import Beats, named, unhurt, until
from tests.isolation.wire import REFUSALS, Refusal
from tests.worker.conftest import Process
from tests.worker.jobs import a_worker

# A batch with one culprit for each class of error.
BATCH = 100
REFUSED = 'worker_jobs_refused_total{{statement="{}"}}'
# The pauses begin at a second and double.
RETRIED_WITHIN = 2.5


def hold_up_no_other(
    process: Process, watched: Beats, *, culprits: Collection[UUID], good: set[UUID], done: Callable[[], set[UUID]]
) -> None:
    """Wait until all good rows are done, while each culprit is tried again and again, and named once."""
    in_time = until(lambda: watched.look() and good <= done())
    until(lambda: watched.look() and len(named(process)) == len(culprits))
    # Each was tried again meanwhile, and is named again if that is done.
    until(lambda: watched.look() and max(named(process).values(), default=0) > 1, within=RETRIED_WITHIN)
    names = named(process)

    assert in_time, f"{len(good - done())} of {len(good)} good jobs were held up"
    assert names == {str(id): 1 for id in culprits}
    # A trigger may raise anything, also what looks like a value that can never be stored; and some day no more.
    assert done() == good
    assert watched.go_on(lease_seconds=2)


@pytest.mark.parametrize(
    ("moment", "first_deferred"),
    [
        ("claim", 1),
        *(pytest.param(moment, 0, marks=pytest.mark.slow) for moment in ("claim", "result", "leave", "return")),
        *(pytest.param(moment, 1, marks=pytest.mark.slow) for moment in ("result", "leave", "return")),
    ],
)
def test_one_refused_row_in_a_hundred_holds_up_no_other(
    moment, first_deferred, worker, rows, enqueue_many, ended, beats, ledger, free_port, metric, record
):
    kind, payload, runs = ("t.ends", {"which": "snooze"}, 3) if moment == "return" else ("t.note", {}, 1)
    jobs = enqueue_many(BATCH * len(REFUSALS), kind, payload)
    culprits = {jobs[BATCH * place + BATCH // 2].id: refusal for place, refusal in enumerate(REFUSALS)}
    good = {job.id for job in jobs} - culprits.keys()
    # Every other at the commit.
    rows.refuse(moment, culprits.items(), deferred=[*culprits][first_deferred::2])
    process = worker(WORKER_METRICS_PORT=free_port)
    watched = beats()

    with unhurt(process, at_most=4 * len(culprits)):
        hold_up_no_other(process, watched, culprits=culprits, good=good, done=lambda: set(ended()))
        refused_at = "claim" if moment == "claim" else "settle"
        assert metric(free_port, REFUSED.format(refused_at)) >= len(culprits)

        rows.heal()

        eventually(lambda: len(ended()) == len(jobs))
    assert set(ended().values()) == {("succeeded", 1)}
    assert ledger.counts("start") == {str(job.id): runs for job in jobs}
    record(
        f"one row: {moment}",
        f"{len(good):,} others ended, and the {len(culprits)} refused ones afterwards",
    )


@pytest.fixture
def dead_worker(conn, sql) -> Callable[[], UUID]:
    """Give a function that enters a worker whose lease has run out."""

    def dead_worker() -> UUID:
        worker_id = a_worker(conn, lease_seconds=2)
        sql("UPDATE haulier.worker SET beat_at = now() - interval '1 minute' WHERE id = %s", worker_id)
        return worker_id

    return dead_worker


@pytest.fixture
def orphan(sql) -> Callable[..., None]:
    """Give a function that makes jobs running ones of this worker."""
    orphan = (
        "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, started_at = now(),"
        " attempt = 1, attempts = 1 WHERE id = ANY(%s::uuid[])"
    )
    return lambda jobs, worker_id: sql(orphan, worker_id, uuid4(), [job.id for job in jobs])


@pytest.fixture
def ids(sql) -> Callable[[str], set[UUID]]:
    """Give a function that returns the ids of these rows."""
    return lambda rows: {id for (id,) in sql(f"SELECT id FROM haulier.{rows}")}


# The jobs that were taken from the dead, whatever has become of them since.
RESCUED = "jobs WHERE crashes = 1"


def test_one_refused_orphan_in_a_hundred_holds_up_no_other_rescue(
    worker, rows, enqueue_many, dead_worker, orphan, ids, beats, free_port, metric, record
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
        hold_up_no_other(process, watched, culprits=culprits, good=good, done=lambda: ids(RESCUED))
        assert not {dead, other_dead} & ids("worker"), "a dead worker was not buried"
        assert metric(free_port, REFUSED.format("rescue")) >= len(culprits)

        rows.heal()

        # Each runs alone in its process, one after the other.
        eventually(lambda: len(ids(RESCUED)) == BATCH)
    record(
        "one row: rescue",
        f"{len(good)} others were taken over, and the {len(culprits)} refused ones afterwards",
    )


def test_a_worker_that_cannot_be_buried_keeps_no_other_from_it(
    worker, rows, enqueue_many, dead_worker, orphan, ids, record
):
    refused, dead = dead_worker(), dead_worker()
    jobs = enqueue_many(10)
    orphan(jobs, dead)
    rows.refuse("bury", [(refused, Refusal("42501"))], deferred=[refused])
    process = worker()

    with unhurt(process, at_most=40):
        in_time = until(lambda: len(ids(RESCUED)) == len(jobs))

        assert in_time, "the orphans of another dead worker were not rescued"
        assert ids("worker") & {refused, dead} == {refused}

        rows.heal()

        eventually(lambda: refused not in ids("worker"))
    record("bury", "the 10 jobs of another dead worker were taken over")


def test_leaves_in_time_and_loses_no_outcome_that_was_refused(worker, rows, enqueue_many, ended, ledger, record):
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
        f"{len(good):,} others ended, SIGTERM was obeyed within 6 s, and the {len(culprits)} succeeded afterwards",
    )
