"""Workers that claim and end jobs when a test says so, as processes do."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import Job, NewJob
from haulier.domain.outcome import Outcome
from haulier.domain.waiting import UNKNOWN_KIND, Code, Reason
from haulier.queue import claims
from haulier.queue.stories.explain import explain
from tests import queueing
from tests.conftest import sql_on


@dataclass
class Party:
    """A worker: it claims what its threads can take, and jobs that have crashed while it runs nothing."""

    id: UUID
    queues: tuple[str, ...]
    threads: int
    runs: list[Job] = field(default_factory=list)


@dataclass
class Yard:
    """Workers, jobs, and what may be done to them."""

    conn: Connection
    parties: list[Party] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return sql_on(self.conn)(statement, *parameters)

    def worker(self, *queues: str, threads: int = 2, kinds: tuple[str, ...] | None = ("mail",)) -> Party:
        """Enter a worker; with kinds None it has not stored yet which kinds it knows."""
        worker = claims.register(self.conn, host="dock", pid=7, threads=threads, queues=queues, lease_seconds=60)
        if kinds is not None:
            claims.introduce(self.conn, worker, kinds=kinds)
        self.parties.append(Party(worker, queues, threads))
        return self.parties[-1]

    def job(self, kind: str = "mail", *, crashed: bool = False, **options: Any) -> Job:
        [receipt] = queueing.enqueue(self.conn, [NewJob(kind, {}, **options)])
        assert receipt.job is not None
        if crashed:
            self.sql("UPDATE haulier.job SET crashes = 1, suspect = true WHERE id = %s", receipt.job.id)
        return receipt.job

    def reasons(self, job: Job) -> list[Reason]:
        explained = explain(self.conn, job.id, timeouts={})
        return explained.waiting.reasons() if explained.waiting else []

    def codes(self, job: Job) -> list[Code]:
        return [reason.code for reason in self.reasons(job)]

    def says(self, job: Job) -> list[tuple[Code, str]]:
        return [(reason.code, reason.message) for reason in self.reasons(job)]

    def claim(self, party: Party) -> list[Job]:
        """Let a worker claim once, as a process does: for its free threads, or one suspect if it runs nothing."""
        [(stays_away,)] = self.sql(
            "SELECT stopping OR beat_at < now() - lease FROM haulier.worker WHERE id = %s", party.id
        )
        if stays_away:
            return []
        free, claimed = party.threads - len(party.runs), []
        if free:
            asked = {"worker_id": party.id, "claim_id": uuid4(), "queues": party.queues}
            claimed = queueing.claim(self.conn, **asked, limit=free)
        if not claimed and not party.runs:
            claimed = queueing.claim(self.conn, **{**asked, "claim_id": uuid4()}, suspect=True)
        party.runs += claimed
        self._give_back(party)
        return claimed

    def _give_back(self, party: Party) -> None:
        [(kinds,)] = self.sql("SELECT kinds FROM haulier.worker WHERE id = %s", party.id)
        unknown = [job for job in party.runs if kinds is not None and job.kind not in kinds]
        party.runs = [job for job in party.runs if job not in unknown]
        self.settle(unknown, Outcome.release(60.0, why=UNKNOWN_KIND.format("x", 60)))

    def settle(self, jobs: list[Job], outcome: Outcome) -> None:
        claims.settle(self.conn, [Settlement(Fence.of(job), outcome) for job in jobs])

    def end(self, party: Party) -> None:
        self.settle(party.runs, Outcome.complete(None))
        party.runs = []

    def starts(self, job: Job) -> bool:
        """Let each worker claim once; return whether the job runs."""
        for party in self.chance.sample(self.parties, len(self.parties)):
            self.claim(party)
        return any(job.id == each.id for party in self.parties for each in party.runs)


@pytest.fixture
def yard(conn: Connection) -> Yard:
    return Yard(conn)
