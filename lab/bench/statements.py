"""The calls of the measure `dead_rows`: what workers and clients do with live jobs most often, one entry each in CALLS.

The calls use the program's own functions. The rows that a call needs are inserted before it, and are not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from psycopg2.errors import QueryCanceled

from haulier.domain.claim import ClaimRequest, Fence, Mark, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.statements import Connection
from haulier.queue import consume, produce
from haulier.queue.consume.lanes import heads
from haulier.queue.produce.job_filter import JobFilter
from lab.servers import ask

QUEUE = "default"
QUEUED = """
    INSERT INTO haulier.job (kind, payload, queue) SELECT 'noop', '{"n": 1}', %s FROM generate_series(1, %s)
    RETURNING id::text
"""
RUNNING = """
    INSERT INTO haulier.job (kind, payload, queue, status, worker_id, claim, attempt, attempts, started_at)
    SELECT 'noop', '{"n": 1}', %s, 'running', %s, %s, 1, 1, now() FROM generate_series(1, %s)
    RETURNING id::text
"""
CANCELLED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
        payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'cancelled', 'noop', 'default', 0, now(), 0, 0, 3, 0, 0, true, '{"n": 1}', '[]', now(),
        now(), now()
    RETURNING id::text
"""


@dataclass(frozen=True)
class Fixture:
    """What a call may use: a connection of the program, and one to prepare rows with.

    Shape: the worker has running jobs, under the known claims; far is a job of the history.
    """

    conn: Connection
    admin: Connection
    worker_id: UUID
    known: list[UUID]
    far: UUID

    def run(self, statement: str, *parameters: object) -> list[UUID]:
        """Run a statement, and return the ids in its result."""
        with self.admin.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return [UUID(job_id) for (job_id,) in cursor.fetchall()]

    def queued(self, jobs: int = 1) -> list[UUID]:
        """Insert waiting jobs and return their ids."""
        return self.run(QUEUED, QUEUE, jobs)

    def running(self, jobs: int = 1, worker_id: UUID | None = None) -> list[Fence]:
        """Insert jobs that the worker, or another one, runs, and return their fences."""
        claim = uuid4()
        ids = self.run(RUNNING, QUEUE, str(worker_id or self.worker_id), str(claim), jobs)
        return [Fence(job_id, 1, claim) for job_id in ids]

    def claim_request(self, jobs: int) -> ClaimRequest:
        """Insert jobs and return a claim of them, with the mark of a worker that has drained all jobs before them."""
        first = min(self.queued(jobs))
        due = ask(self.admin, "SELECT run_at FROM haulier.job WHERE id = %s", str(first))
        return ClaimRequest(self.worker_id, uuid4(), [Mark(QUEUE, 0, due, first)], jobs, jobs)

    def cancelled(self) -> UUID:
        """Insert a cancelled job into the history and return its id."""
        [job_id] = self.run(CANCELLED)
        return job_id

    def dead_worker(self) -> UUID:
        """Insert jobs of a worker that was declared dead, and return the worker's id."""
        worker_id = uuid4()
        self.running(5, worker_id)
        return worker_id

    def known_key(self) -> None:
        """Enqueue a job with the key `known`."""
        produce.enqueue_one(self.conn, draft("known"))


def nothing(fixture: Fixture) -> None:
    """Prepare nothing."""


class Call(NamedTuple):
    """One call: its name on the page, and the call itself. Shape: made gets the return value of `before`."""

    label: str
    made: Callable[[Fixture, Any], object]
    before: Callable[[Fixture], Any] = nothing


def timed(fixture: Fixture, call: Call, times: int) -> list[float]:
    """Return how long each of this many calls took; one that the server cancelled counts with its time until then.

    Units: milliseconds.
    """
    milliseconds = []
    for _ in range(times):
        prepared = call.before(fixture)
        began = time.perf_counter()
        with suppress(QueryCanceled, DatabaseUnavailable):
            call.made(fixture, prepared)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds


def draft(key: str | None = None) -> produce.Draft:
    """Return a draft of a job, as the API makes one."""
    return produce.draft(NewJob(kind="noop", payload={"n": 1}), idempotency_key=key)


def batch() -> list[produce.Draft]:
    """Return 100 drafts, of which two have keys, one of them known."""
    return [draft("known"), draft(uuid4().hex), *(draft() for _ in range(98))]


def done(fences: Iterable[Fence]) -> list[Settlement]:
    """Return settlements by which these jobs have succeeded."""
    return [Settlement(fence, Outcome.complete()) for fence in fences]


def claim(label: str, jobs: int) -> Call:
    """Return the call that claims this many jobs."""
    return Call(
        label,
        lambda it, request: consume.settle_and_claim(it.conn, [], request),
        lambda it: it.claim_request(jobs),
    )


def listed(label: str, **wanted: Any) -> Call:
    """Return the call that lists jobs by this filter."""
    return Call(label, lambda it, _: produce.list_jobs(it.conn, JobFilter(**wanted)))


CALLS = {
    # Of a worker
    "claim": claim("claim of 100, from a mark", 100),
    "claim_one": claim("claim of one, from a mark", 1),
    "settle": Call(
        "settle of 100",
        lambda it, fences: consume.settle_and_claim(it.conn, done(fences), None),
        lambda it: it.running(100),
    ),
    "settle_one": Call(
        "settle of one, its row locked first",
        lambda it, fences: consume.settle(it.conn, done(fences)),
        lambda it: it.running(),
    ),
    "lanes": Call("lanes", lambda it, _: consume.lanes(it.conn, queues=[])),
    "heads": Call("heads of two lanes", lambda it, _: heads(it.conn, [(QUEUE, 0), ("other", 0)])),
    "cancelled": Call("cancels", lambda it, _: consume.cancelled(it.conn, it.worker_id)),
    "strays": Call("what else the worker runs", lambda it, _: consume.strays(it.conn, it.worker_id, it.known)),
    "beat": Call("beat", lambda it, _: consume.beat(it.conn, it.worker_id)),
    "orphans": Call("orphans of anybody", lambda it, _: list(consume.take_orphans(it.conn))),
    "rescue": Call(
        "orphans of a worker of 5 jobs",
        lambda it, dead: list(consume.take_orphans(it.conn, buried=[dead], workers=[dead])),
        lambda it: it.dead_worker(),
    ),
    # Of the API
    "enqueue": Call("enqueue", lambda it, _: produce.enqueue_one(it.conn, draft())),
    "enqueue_keyed": Call("enqueue with a key", lambda it, _: produce.enqueue_one(it.conn, draft(uuid4().hex))),
    "enqueue_many": Call(
        "enqueue of 100", lambda it, _: produce.enqueue_all(it.conn, batch()), lambda it: it.known_key()
    ),
    "get": Call("get a live job", lambda it, ids: produce.get(it.conn, ids[0]), lambda it: it.queued()),
    "get_finished": Call("get a finished job", lambda it, _: produce.get(it.conn, it.far)),
    "list": listed("list"),
    "list_queued": listed("list, queued", statuses=[JobStatus.QUEUED]),
    "list_running": listed("list, running", statuses=[JobStatus.RUNNING]),
    "list_retrying": listed("list, retrying", statuses=[JobStatus.RETRYING]),
    "list_succeeded": listed("list, succeeded", statuses=[JobStatus.SUCCEEDED]),
    "list_failed": listed("list, failed", statuses=[JobStatus.FAILED_PERMANENT]),
    "list_kind": listed("list, of a kind", kinds=["noop"]),
    "list_queue": listed("list, of a queue", queues=["other"]),
    "list_queues": listed("list, of what a key may see", queues=["other", "third"]),
    "list_many": listed("list, 200 of them", limit=200),
    "cancel": Call("cancel a waiting job", lambda it, ids: produce.cancel(it.conn, ids[0]), lambda it: it.queued()),
    "cancel_running": Call(
        "cancel a running job", lambda it, fences: produce.cancel(it.conn, fences[0].id), lambda it: it.running()
    ),
    "retry": Call("retry", lambda it, job: produce.retry(it.conn, job), lambda it: it.cancelled()),
    "overview": Call("depths, workers and schedules", lambda it, _: produce.overview(it.conn)),
}
