"""Claim: it ..."""

from __future__ import annotations

import random
import string
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from uuid import RFC_4122, uuid4

import pytest

from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.errors import JobRefused, StatementRefused
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.claims.claim import MOST_BYTES
from haulier.queue.health import overview
from tests import queueing

HOUR = timedelta(hours=1)


def test_takes_the_highest_priority_first_whatever_its_queue(claim, enqueue):
    low, middle, high = enqueue(priority=-100), enqueue(queue="zebra"), enqueue(priority=100, queue="mail")

    claimed = [claim().id for _ in range(3)]

    assert claimed == [high.id, middle.id, low.id]


def test_takes_the_longest_due_first_whatever_its_queue_within_a_priority(claim, enqueue, sql):
    for n in (3, 1, 5, 0, 2, 4):
        job = enqueue(queue="busy" if n % 2 else "calm", payload={"n": n})
        sql("UPDATE haulier.job SET run_at = now() - make_interval(mins => %s) WHERE id = %s", 60 - n, job.id)

    claimed = [claim().payload["n"] for _ in range(6)]

    assert claimed == [0, 1, 2, 3, 4, 5]


def test_takes_only_from_the_named_queues(claim, enqueue):
    enqueue(queue="bulk", priority=50)
    mail, image = enqueue(queue="mail"), enqueue(queue="image")

    claimed = [claim(queues=("mail", "image")), claim(queues=("image", "mail")), claim(queues=("mail", "image"))]

    assert [job and job.id for job in claimed] == [mail.id, image.id, None]


def test_takes_several_up_to_the_limit_the_best_ones(conn, worker, enqueue):
    for n in range(10):
        enqueue(priority=n, queue=f"q{n % 3}", payload={"n": n})

    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=4)

    assert sorted(job.payload["n"] for job in jobs) == [6, 7, 8, 9]
    assert len({job.claim for job in jobs}) == 1


def test_skips_locked_jobs_without_waiting(claim, enqueue, locked):
    first, second = enqueue(), enqueue()

    with locked(first):
        claimed, nothing = claim(), claim()
    rest = claim()

    assert claimed.id == second.id
    assert nothing is None
    assert rest.id == first.id


def test_gives_nothing_to_a_worker_that_was_declared_dead(claim, enqueue, worker, conn):
    enqueue()
    claims.deregister(conn, worker)

    dead, stranger = claim(), claim(uuid4())

    assert (dead, stranger) == (None, None)


def test_gives_a_job_that_has_crashed_only_to_claims_for_suspects(claim, enqueue, sql):
    suspect, good, urgent_suspect, _early = enqueue(), enqueue(), enqueue(priority=100), enqueue(delay=HOUR)
    sql("UPDATE haulier.job SET crashes = 1, suspect = true WHERE id = ANY(%s)", [suspect.id, urgent_suspect.id])

    ordinary = [claim(), claim()]
    suspects = [claim(suspect=True) for _ in range(3)]

    assert [job and job.id for job in ordinary] == [good.id, None]
    assert [job and job.id for job in suspects] == [urgent_suspect.id, suspect.id, None]


def test_gives_each_job_once_to_many_workers(at_once, conn, register, sql):
    queueing.enqueue(conn, [NewJob("mail", {}, queue=f"q{n % 3}", priority=n % 2) for n in range(300)])
    workers = [register() for _ in range(4)]

    def work(number: int, mine) -> list:
        ids, asked = [], {"worker_id": workers[number % 4], "queues": (), "limit": 1 + number}
        while jobs := queueing.claim(mine, claim_id=uuid4(), **asked):
            ids += [job.id for job in jobs]
        return ids

    claimed = [job_id for ids in at_once(8, work) for job_id in ids]

    assert len(claimed) == len(set(claimed)) == 300
    assert sql("SELECT DISTINCT attempt, attempts, status FROM haulier.job") == [(1, 1, "running")]


def test_claims_go_on_beside_settles_without_a_deadlock_or_a_second_run(at_once, conn, register):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(300)])
    workers = [register() for _ in range(6)]

    def work(number: int, mine) -> list:
        ran = []
        while jobs := queueing.claim(mine, worker_id=workers[number], claim_id=uuid4(), queues=(), limit=3):
            done = [Settlement(Fence.of(job), Outcome.complete()) for job in reversed(jobs)]
            assert len(claims.settle(mine, done)) == len(jobs)
            ran.extend(job.id for job in jobs)
        return ran

    ran = at_once(6, work)

    everything = [job_id for ids in ran for job_id in ids]
    assert len(everything) == len(set(everything)) == 300
    assert overview.overview(conn).depths == []


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_gives_each_job_once_whatever_level_the_database_defaults_to(at_once, conn, register):
    queueing.enqueue(conn, [NewJob("mail", {}) for _ in range(2000)])

    def take_all(number, mine):
        level = "serializable" if number % 2 else "repeatable read"
        with mine.cursor() as cursor:
            cursor.execute(f"SET default_transaction_isolation = '{level}'")
        by, taken = register(), []
        while jobs := queueing.claim(mine, worker_id=by, claim_id=uuid4(), queues=(), limit=10):
            taken += [job.id for job in jobs]
        return taken

    taken = at_once(4, take_all)

    assert not [error for error in taken if isinstance(error, Exception)]
    assert Counter(Counter(id_ for ids in taken for id_ in ids).values()) == {1: 2000}


def test_the_ids_of_claims_grow_with_time_and_are_all_different():
    ids = [claims.new_claim() for _ in range(2000)]

    assert len(set(ids)) == len(ids)
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    instants = [each.int >> 80 for each in ids]
    assert instants == sorted(instants)
    assert abs(instants[-1] / 1000 - time.time()) < 60


# --- No more than fits, and which job it fails at


def wish_for(conn, worker, limit: int, **given) -> ClaimRequest:
    """Return a claim of up to `limit` jobs, from the start of all lanes."""
    marks = [lane.head for lane in claims.lanes(conn, queues=()) if lane.seconds <= 0]
    return ClaimRequest(worker, uuid4(), marks, limit, limit, **given)


# How many jobs with which text there are, and the least and the most of them that one claim takes.
TOO_LARGE = {
    "at random": ("".join(random.Random(7).choices(string.ascii_letters, k=250_000)), 60, 32, 34),
    "one letter": ("a" * 250_000, 60, 32, 34),
    "larger than any claim": ("a" * 2 * MOST_BYTES, 2, 1, 1),
    "letters of four bytes": ("\U0001f600" * 60_000, 40, 1, 39),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_takes_a_bounded_number_of_bytes_but_always_one_job(conn, worker, name):
    text, jobs, least, most = TOO_LARGE[name]
    queueing.enqueue(conn, [NewJob("mail", {"text": text})] * jobs)

    wish = wish_for(conn, worker, 100)
    _, claimed = claims.settle_and_claim(conn, [], wish)

    assert least <= len(claimed.jobs) <= most
    assert not claimed.has_all(wish)
    assert most == 1 or claimed.size < MOST_BYTES + 300_000
    while rest := claims.settle_and_claim(conn, [], wish_for(conn, worker, 100))[1].jobs:
        jobs -= len(rest)
    assert jobs == len(claimed.jobs)


def test_counts_numbers_by_their_length_as_text(conn, sql, worker):
    sql(
        "INSERT INTO haulier.job (kind, payload)"
        " SELECT 'mail', jsonb_build_object('n', (SELECT jsonb_agg(1e300) FROM generate_series(1, 20000)))"
        " FROM generate_series(1, 4)"
    )

    wish = wish_for(conn, worker, 8)
    _, claimed = claims.settle_and_claim(conn, [], wish)

    assert (len(claimed.jobs), claimed.has_all(wish)) == (2, False)


def test_knows_when_last_attempts_were_left(conn, worker, enqueue, sql):
    for lasts, free, is_certain in ((2, 3, True), (3, 3, True), (5, 3, False)):
        for _ in range(lasts):
            enqueue(max_attempts=1)
        enqueue()
        wish = replace(wish_for(conn, worker, 10), free=free)
        _, claimed = claims.settle_and_claim(conn, [], wish)

        assert len(claimed.jobs) == min(lasts, free) + 1
        assert claimed.has_all(wish) is is_certain
        sql("DELETE FROM haulier.job")


def test_takes_no_more_than_it_can_measure_in_time(conn, worker, monkeypatch):
    queueing.enqueue(conn, [NewJob("mail", {"text": "a" * 3000})] * 3 + [NewJob("mail", {})] * 3)
    wish = wish_for(conn, worker, 10)
    # As if the time were up before the first job: how many a machine can measure in time differs from run to run.
    monkeypatch.setattr("haulier.queue.claims.claim.MEASURE_SECONDS", -1.0)

    taken = [claims.settle_and_claim(conn, [], wish)[1] for _ in range(3)]

    assert [len(claimed.jobs) for claimed in taken] == [1, 1, 1]
    assert not any(claimed.has_all(wish) for claimed in taken)
    _, rest = claims.settle_and_claim(conn, [], wish)
    assert (len(rest.jobs), rest.has_all(wish)) == (3, True)


def test_skips_the_jobs_that_it_is_given_to_skip(conn, worker, enqueue):
    jobs = [enqueue() for _ in range(3)]

    _, claimed = claims.settle_and_claim(conn, [], wish_for(conn, worker, 10, passed_over=[jobs[1].id]))

    assert [job.id for job in claimed.jobs] == [jobs[0].id, jobs[2].id]


@pytest.fixture
def forbid(sql):
    """Give a function that lets no row of a kind be written any more, whatever stands there already."""
    yield lambda kind: sql(f"ALTER TABLE haulier.job ADD CONSTRAINT forbidden CHECK (kind <> '{kind}') NOT VALID")
    sql("ALTER TABLE haulier.job DROP CONSTRAINT IF EXISTS forbidden")


def test_a_claim_of_one_says_which_job_cannot_be_claimed(conn, worker, enqueue, forbid):
    good, bad, other = enqueue(), enqueue("odd"), enqueue()
    forbid("odd")

    with pytest.raises(StatementRefused):
        claims.settle_and_claim(conn, [], wish_for(conn, worker, 10))
    first = claims.claim_next(conn, wish_for(conn, worker, 10))
    with pytest.raises(JobRefused, match='violates check constraint "forbidden"$') as refused:
        claims.claim_next(conn, wish_for(conn, worker, 10))
    last = claims.claim_next(conn, wish_for(conn, worker, 10, passed_over=[bad.id]))

    assert [job.id for job in first.jobs + last.jobs] == [good.id, other.id]
    assert refused.value.job_id == bad.id
    assert search.get(conn, bad.id) == bad
    assert claims.claim_next(conn, wish_for(conn, worker, 10, passed_over=[bad.id])).jobs == []


def test_a_claim_of_one_distinguishes_a_refused_statement_from_a_refused_job(conn, worker, enqueue, sql):
    enqueue()
    wish = wish_for(conn, worker, 10)
    # Whatever is claimed: the table that says who may has gone.
    sql("ALTER TABLE haulier.worker RENAME COLUMN id TO other")
    try:
        with pytest.raises(StatementRefused) as refused:
            claims.claim_next(conn, wish)
    finally:
        sql("ALTER TABLE haulier.worker RENAME COLUMN other TO id")

    assert not isinstance(refused.value, JobRefused)
