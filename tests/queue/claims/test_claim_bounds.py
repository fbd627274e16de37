"""A claim takes no more than fits, and says which job it fails at. It ..."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from haulier.domain.claim import ClaimRequest
from haulier.domain.errors import JobRefused, StatementRefused
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.claims.claim import MOST_BYTES
from tests import queueing


def wish_for(conn, worker, limit: int, **given) -> ClaimRequest:
    """Return a claim of up to `limit` jobs, from the start of all lanes."""
    marks = [lane.head for lane in claims.lanes(conn, queues=()) if lane.seconds <= 0]
    return ClaimRequest(worker, uuid4(), marks, limit, limit, **given)


@pytest.mark.parametrize("letters", [string.ascii_letters, "a"], ids=["at random", "one letter"])
def test_takes_a_bounded_number_of_bytes_however_well_they_are_compressed(conn, worker, letters):
    payload = "".join(random.Random(7).choices(letters, k=250_000))
    queueing.enqueue(conn, [NewJob("mail", {"text": payload})] * 60)

    wish = wish_for(conn, worker, 50)
    _, claimed = claims.settle_and_claim(conn, [], wish)
    _, rest = claims.settle_and_claim(conn, [], wish_for(conn, worker, 50))

    assert len(claimed.jobs) + len(rest.jobs) == 60
    assert MOST_BYTES <= claimed.size < MOST_BYTES + 300_000
    assert not claimed.has_all(wish)


def test_counts_numbers_by_their_length_as_text(conn, worker):
    with conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload)"
            " SELECT 'mail', jsonb_build_object('n', (SELECT jsonb_agg(1e300) FROM generate_series(1, 20000)))"
            " FROM generate_series(1, 4)"
        )

    wish = wish_for(conn, worker, 8)
    _, claimed = claims.settle_and_claim(conn, [], wish)

    assert (len(claimed.jobs), claimed.has_all(wish)) == (2, False)


def test_takes_one_job_however_large_it_is(conn, worker):
    queueing.enqueue(conn, [NewJob("mail", {"text": "a" * 2 * MOST_BYTES})] * 2)

    wish = wish_for(conn, worker, 10)
    _, claimed = claims.settle_and_claim(conn, [], wish)

    assert (len(claimed.jobs), claimed.has_all(wish)) == (1, False)


def test_knows_when_letters_of_four_bytes_were_too_many(conn, worker):
    queueing.enqueue(conn, [NewJob("mail", {"text": "\U0001f600" * 60_000})] * 40)

    wish = wish_for(conn, worker, 100)
    _, claimed = claims.settle_and_claim(conn, [], wish)

    assert len(claimed.jobs) < 40
    assert not claimed.has_all(wish)


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
def forbid(sql) -> Iterator[Callable[[str], None]]:
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


def test_reads_payload_and_errors_when_they_are_asked_for(conn, worker, enqueue, running, settle, make_due):
    job = running(payload={"n": [1, {"m": None}]})
    settle(job, Outcome.fail("no luck", delay=0))

    _, claimed = claims.settle_and_claim(conn, [], wish_for(conn, worker, 1))

    [again] = claimed.jobs
    assert again.payload == {"n": [1, {"m": None}]}
    assert [error["error"] for error in again.errors] == ["no luck"]
    assert again.read() == search.get(conn, job.id).read()
