"""Explain cannot lie: what it says keeps a job keeps it, and nothing else does."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job
from haulier.domain.waiting import Code
from haulier.queue.queues.pauses import pause, resume
from tests.conftest import Sql
from tests.queue.stories.yard import Yard

SEEDS = range(40)
EMPTY = "; ".join(f"DELETE FROM haulier.{table}" for table in ("job", "finished_job", "worker", "pause", "audit"))


def test_a_job_without_reasons_starts_and_so_does_one_whose_reasons_are_removed(
    conn: Connection, sql: Sql, locked: Callable[[Job], Any]
) -> None:
    lies = {}
    for seed in SEEDS:
        try:
            check(Yard(conn), random.Random(seed), locked)
        except AssertionError as error:
            lies[seed] = str(error)
        sql(EMPTY)

    assert lies == {}


def check(yard: Yard, chance: random.Random, locked: Callable[[Job], Any]) -> None:
    job = set_up(yard, chance)
    with ExitStack() as holding:
        if chance.random() < 0.2:
            holding.enter_context(locked(job))
        codes = yard.codes(job)
        if set(codes) - {Code.BEHIND}:
            assert not yard.starts(job), codes
            codes = yard.codes(job)
    remove(yard, job, codes, chance)
    left = yard.codes(job)
    # Others have to end before it is alone or has its turn.
    assert set(left) <= {Code.BEHIND, *({Code.ALONE} & set(codes))}, (codes, left)
    if not left and not yard.starts(job):
        # A worker that serves the queue and does not know the kind was quicker.
        assert "gave it back" in yard.reasons(job)[0].message, codes
    assert comes_to_run(yard, job), (codes, left)


def comes_to_run(yard: Yard, job: Job) -> bool:
    """Let all that runs end, and all that waits be claimed, until the job is."""
    for _ in range(60):
        yard.sql("UPDATE haulier.job SET run_at = now() WHERE id = %s AND worker_id IS NULL", job.id)
        if any(job.id == each.id for party in yard.parties for each in party.runs) or yard.starts(job):
            return True
        for party in yard.parties:
            yard.end(party)
    return False


def set_up(yard: Yard, chance: random.Random) -> Job:
    """Make workers and jobs of all sorts, and return one job more."""
    queues, kinds = ["mail", "bulk", "slow"], ["mail", "hook"]
    for _ in range(chance.randint(0, 3)):
        known = None if chance.random() < 0.2 else tuple(chance.sample(kinds, chance.randint(1, 2)))
        party = yard.worker(*chance.sample(queues, chance.randint(0, 2)), threads=chance.randint(1, 3), kinds=known)
        if chance.random() < 0.2:
            how = chance.choice(["quiet = true", "stopping = true", "beat_at = now() - lease - interval '1 s'"])
            yard.sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", party.id)

    def job() -> Job:
        return yard.job(
            chance.choice(kinds),
            crashed=chance.random() < 0.2,
            queue=chance.choice(queues),
            priority=chance.choice([0, 0, 1]),
            delay=timedelta(hours=1) if chance.random() < 0.2 else None,
            max_attempts=chance.choice([1, 3]),
        )

    for _ in range(chance.randint(0, 8)):
        job()
    for queue in queues:
        if chance.random() < 0.2:
            [(until,)] = yard.sql("SELECT now() + interval '1 h' * %s", chance.choice([None, 0.5, 2]))
            pause(yard.conn, queue, until=until)
    for party in yard.parties:
        if chance.random() < 0.5:
            yard.claim(party)
    for _ in range(chance.randint(0, 4)):
        job()
    return job()


def remove(yard: Yard, job: Job, codes: list[Code], chance: random.Random) -> None:
    """Take away what the codes name, and nothing else."""
    if Code.NOT_DUE in codes:
        # The time until then passes for pauses as well.
        passing = "UPDATE haulier.pause SET until = until - (SELECT run_at - now() FROM haulier.job WHERE id = %s)"
        yard.sql(passing, job.id)
        yard.sql("UPDATE haulier.job SET run_at = now() WHERE id = %s", job.id)
    if Code.QUEUE_PAUSED in codes:
        resume(yard.conn, job.queue)
    if Code.NO_WORKER_FOR_QUEUE in codes:
        # It knows what the live ones know, unless that is a reason of its own.
        [(kinds,)] = yard.sql(
            "SELECT min(kinds) FROM haulier.worker WHERE beat_at > now() - lease AND NOT quiet AND NOT stopping"
            " AND %s = ANY(kinds)",
            job.kind,
        )
        yard.worker(job.queue, kinds=[job.kind] if Code.NO_WORKER_KNOWS_KIND in codes else kinds)
    elif Code.NO_WORKER_KNOWS_KIND in codes:
        yard.sql("UPDATE haulier.worker SET kinds = array_append(kinds, %s)", job.kind)
