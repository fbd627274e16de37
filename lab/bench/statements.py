"""Each call of worker and API that reads or writes live jobs, for `dead_rows`: a line each in CALLS.

They go through the program's own functions. What a call needs to find is put there before it, and is not timed.
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
from haulier.domain.progress import Progress
from haulier.postgres.statements import Connection
from haulier.queue import consume, produce
from haulier.queue.consume import wakeups
from haulier.queue.consume.lanes import fresh_lanes, heads
from haulier.queue.produce.look import JobFilter
from haulier.queue.upkeep import purge
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
WORKER = """
    INSERT INTO haulier.worker (id, host, pid, threads, lease, beat_at)
    VALUES (%s, 'bench', 1, 8, %s::interval, now() - %s::interval)
"""


@dataclass(frozen=True)
class Desk:
    """What a call has at hand: a connection of the program's own, and one to arrange things with.

    Shape: the worker has jobs that run, under the known claims; far is a job of the history.
    """

    conn: Connection
    admin: Connection
    worker_id: UUID
    known: list[UUID]
    far: UUID

    def run(self, statement: str, *parameters: object) -> list[UUID]:
        """Change something, and return the ids that it gives."""
        with self.admin.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return [UUID(job_id) for (job_id,) in cursor.fetchall()] if cursor.description else []

    def queued(self, jobs: int = 1) -> list[UUID]:
        """Return new jobs that wait."""
        return self.run(QUEUED, QUEUE, jobs)

    def running(self, jobs: int = 1, worker_id: UUID | None = None) -> list[Fence]:
        """Return new jobs that the worker, or another one, runs."""
        claim = uuid4()
        ids = self.run(RUNNING, QUEUE, str(worker_id or self.worker_id), str(claim), jobs)
        return [Fence(job_id, 1, claim) for job_id in ids]

    def wish(self, jobs: int) -> ClaimRequest:
        """Return a claim of new jobs, from the mark that a worker has after it has drained what was before them."""
        first = min(self.queued(jobs))
        due = ask(self.admin, "SELECT run_at FROM haulier.job WHERE id = %s", str(first))
        return ClaimRequest(self.worker_id, uuid4(), [Mark(QUEUE, 0, due, first)], jobs, jobs)

    def cancelled(self) -> UUID:
        """Return a job of the history that was cancelled."""
        [job_id] = self.run(CANCELLED)
        return job_id

    def dead_worker(self) -> UUID:
        """Return a worker that was declared dead, with jobs."""
        worker_id = uuid4()
        self.running(5, worker_id)
        return worker_id

    def leaving(self) -> UUID:
        """Return a worker that has no jobs."""
        worker_id = uuid4()
        self.run(WORKER, str(worker_id), "1 hour", "0")
        return worker_id


def nothing(desk: Desk) -> None:
    """Put nothing there."""


class Call(NamedTuple):
    """One call: its name on the page, the statements of the .sql files that it is there for, what it does.

    Shape: made is given what `before` has returned.
    """

    label: str
    covers: str
    made: Callable[[Desk, Any], object]
    before: Callable[[Desk], Any] = nothing


def timed(desk: Desk, call: Call, times: int) -> list[float]:
    """Return how long each of so many calls took; one that the server broke off counts as long as it was let go on.

    Units: milliseconds.
    """
    milliseconds = []
    for _ in range(times):
        found = call.before(desk)
        began = time.perf_counter()
        with suppress(QueryCanceled, DatabaseUnavailable):
            call.made(desk, found)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds


def done(fences: Iterable[Fence]) -> list[Settlement]:
    """Return that these jobs have succeeded."""
    return [Settlement(fence, Outcome.complete()) for fence in fences]


def draft(key: str | None = None) -> produce.Draft:
    """Return a job as the API asks for it."""
    return produce.draft(NewJob(kind="noop", payload={"n": 1}), idempotency_key=key)


def some_keyed() -> list[produce.Draft]:
    """Return a batch in which two jobs have keys, one of them known."""
    return [draft("known"), draft(uuid4().hex), *(draft() for _ in range(98))]


def listed(label: str, **wanted: Any) -> Call:
    """Return the call that lists such jobs."""
    return Call(label, "list_jobs", lambda desk, _: produce.list_jobs(desk.conn, JobFilter(**wanted)))


CLAIMED = "claim_by_index claim"
CALLS = {
    # The worker's
    "claim": Call(
        "claim of 100, from a mark",
        CLAIMED,
        lambda desk, wish: consume.settle_and_claim(desk.conn, [], wish),
        lambda desk: desk.wish(100),
    ),
    "claim_one": Call(
        "claim of one, from a mark",
        CLAIMED,
        lambda desk, wish: consume.settle_and_claim(desk.conn, [], wish),
        lambda desk: desk.wish(1),
    ),
    "settle": Call(
        "settle of 100",
        "settle settled",
        lambda desk, fences: consume.settle_and_claim(desk.conn, done(fences), None),
        lambda desk: desk.running(100),
    ),
    "settle_one": Call(
        "settle of one, its row locked first",
        "lock_held settle",
        lambda desk, fences: consume.settle(desk.conn, done(fences)),
        lambda desk: desk.running(),
    ),
    "settled_earlier": Call(
        "whether a settle took effect",
        "settled_earlier",
        lambda desk, fences: consume.settled_earlier(desk.conn, fences),
        lambda desk: desk.running(),
    ),
    "lanes": Call("lanes", "lanes", lambda desk, _: consume.lanes(desk.conn, queues=[])),
    "lanes_of_queues": Call(
        "lanes of two queues", "lanes_of", lambda desk, _: consume.lanes(desk.conn, queues=[QUEUE, "other"])
    ),
    "fresh_lanes": Call(
        "lanes of what came lately",
        "fresh_lanes",
        lambda desk, _: fresh_lanes(desk.conn, seconds=3, soon_seconds=300),
    ),
    "heads": Call("heads of two lanes", "heads", lambda desk, _: heads(desk.conn, [(QUEUE, 0), ("other", 0)])),
    "suspects": Call(
        "whether a suspect is due",
        "lanes",
        lambda desk, _: consume.seconds_until_due(desk.conn, queues=[], suspect=True),
    ),
    "claim_next": Call(
        "claim of the one job that a claim fails at",
        "lock_next claim",
        lambda desk, wish: consume.claim_next(desk.conn, wish),
        lambda desk: desk.wish(1),
    ),
    "cancelled": Call("cancels", "cancelled", lambda desk, _: consume.cancelled(desk.conn, desk.worker_id)),
    "held": Call(
        "what an unanswered claim has brought",
        "held",
        lambda desk, _: consume.held(desk.conn, desk.worker_id, desk.known[:1]),
    ),
    "strays": Call(
        "what else the worker runs", "strays", lambda desk, _: consume.strays(desk.conn, desk.worker_id, desk.known)
    ),
    "beat": Call("beat", "beat", lambda desk, _: consume.beat(desk.conn, desk.worker_id)),
    "has_turn": Call(
        "has_turn", "has_turn", lambda desk, _: consume.has_turn(desk.conn, desk.worker_id, slot_seconds=5)
    ),
    "bury": Call("bury: nobody died", "lapsed bury", lambda desk, _: consume.bury(desk.conn)),
    "orphans": Call("orphans of anybody", "orphans", lambda desk, _: list(consume.take_orphans(desk.conn))),
    "rescue": Call(
        "orphans of a worker of 5 jobs",
        "bury orphans settle",
        lambda desk, dead: list(consume.take_orphans(desk.conn, buried=[dead], workers=[dead])),
        lambda desk: desk.dead_worker(),
    ),
    "write_progress": Call(
        "progress of 5 jobs",
        "write_progress",
        lambda desk, fences: consume.write_progress(
            desk.conn, desk.worker_id, {fence: Progress(1, 2, None, time.monotonic()) for fence in fences}, seconds=5
        ),
        lambda desk: desk.running(5),
    ),
    "register": Call(
        "register",
        "register",
        lambda desk, _: consume.register(desk.conn, host="bench", pid=2, threads=8, queues=[], lease_seconds=3600),
    ),
    "deregister": Call(
        "deregister",
        "deregister",
        lambda desk, worker_id: consume.deregister(desk.conn, worker_id),
        lambda desk: desk.leaving(),
    ),
    "fall_asleep": Call("fall asleep", "fall_asleep", lambda desk, _: wakeups.fall_asleep(desk.conn, desk.worker_id)),
    "wake_another": Call(
        "wake another", "wake_another", lambda desk, _: wakeups.wake_another(desk.conn, desk.worker_id)
    ),
    "pass_on": Call("pass on", "pass_on get_up", lambda desk, _: wakeups.pass_on(desk.conn, desk.worker_id)),
    "purge_idempotency": Call(
        "forget keys", "purge_idempotency", lambda desk, _: purge.purge_idempotency(desk.conn, idempotency_days=30)
    ),
    "purge_progress": Call("forget progress", "purge_progress", lambda desk, _: purge.purge_progress(desk.conn)),
    "purge_queues": Call("forget queues", "purge_queues", lambda desk, _: purge.purge_queues(desk.conn)),
    # The API's
    "enqueue": Call("enqueue", "enqueue", lambda desk, _: produce.enqueue_one(desk.conn, draft())),
    "enqueue_keyed": Call(
        "enqueue with a key", "enqueue_keyed", lambda desk, _: produce.enqueue_one(desk.conn, draft(uuid4().hex))
    ),
    "enqueue_known": Call(
        "enqueue with a known key",
        "enqueue_keyed get_jobs",
        lambda desk, _: produce.enqueue_one(desk.conn, draft("known")),
        lambda desk: produce.enqueue_one(desk.conn, draft("known")),
    ),
    "enqueue_many": Call(
        "enqueue of 100",
        "copy_jobs which_jobs",
        lambda desk, _: produce.enqueue_all(desk.conn, some_keyed()),
        lambda desk: produce.enqueue_one(desk.conn, draft("known")),
    ),
    "get": Call(
        "get a live job", "get_jobs", lambda desk, ids: produce.get(desk.conn, ids[0]), lambda desk: desk.queued()
    ),
    "get_finished": Call("get a finished job", "get_jobs", lambda desk, _: produce.get(desk.conn, desk.far)),
    "list": listed("list"),
    "list_queued": listed("list, queued", status=JobStatus.QUEUED),
    "list_running": listed("list, running", status=JobStatus.RUNNING),
    "list_retrying": listed("list, retrying", status=JobStatus.RETRYING),
    "list_succeeded": listed("list, succeeded", status=JobStatus.SUCCEEDED),
    "list_failed": listed("list, failed", status=JobStatus.FAILED_PERMANENT),
    "list_kind": listed("list, of a kind", kind="noop"),
    "list_queue": listed("list, of a queue", queue="other"),
    "list_queues": listed("list, of what a key may see", queues=["other", "third"]),
    "list_many": listed("list, 200 of them", limit=200),
    "cancel": Call(
        "cancel a waiting job",
        "cancel",
        lambda desk, ids: produce.cancel(desk.conn, ids[0]),
        lambda desk: desk.queued(),
    ),
    "cancel_running": Call(
        "cancel a running job",
        "cancel",
        lambda desk, fences: produce.cancel(desk.conn, fences[0].id),
        lambda desk: desk.running(),
    ),
    "retry": Call(
        "retry", "retry", lambda desk, job_id: produce.retry(desk.conn, job_id), lambda desk: desk.cancelled()
    ),
    "has_unserved": Call("due jobs without a worker", "has_unserved", lambda desk, _: produce.has_unserved(desk.conn)),
    "overview": Call("depths and workers", "queue_depths worker_health", lambda desk, _: produce.overview(desk.conn)),
}
