"""Every call of worker and API that reads or writes live jobs, for the measure `dead_rows`: one entry each in CALLS.

The calls use the program's own functions. The rows that a call needs are inserted before it, and are not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from psycopg2.errors import QueryCanceled

from haulier.domain.claim import ClaimRequest, Fence, Mark
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import JobOrder, JobStatus
from haulier.domain.progress import Progress
from haulier.postgres.statements import Connection
from haulier.queue import consume, produce
from haulier.queue.consume import wakeups
from haulier.queue.consume.lanes import fresh_lanes, heads
from haulier.queue.firing import live_jobs
from haulier.queue.produce import errors, workers
from haulier.queue.produce.checks import check_database
from haulier.queue.produce.explain import explain
from haulier.queue.produce.id_prefix import jobs_by_prefix
from haulier.queue.produce.in_order import list_in_order
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.overview import unserved_queues
from haulier.queue.produce.running import list_running
from haulier.queue.produce.timeline import trace
from haulier.queue.produce.upcoming import upcoming
from haulier.queue.upkeep import numbers, purge
from lab.bench.drafts import draft, some_keyed
from lab.bench.operations import CANCELLED as CANCELLED_JOBS
from lab.bench.operations import TAGGED, previewed, started, suspects_of, worked_off
from lab.bench.planted import CANCELLED, COUNTED, QUEUED, RUNNING, WORKER
from lab.bench.settlements import done, failed
from lab.bench.ticks import fired, read_states, read_unfired, scheduled
from lab.servers import ask

QUEUE = "default"
RUNS = JobFilter(statuses=[JobStatus.RUNNING])


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
            return [UUID(job_id) for (job_id,) in cursor.fetchall()] if cursor.description else []

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

    def leaving(self) -> UUID:
        """Insert a worker without jobs and return its id."""
        worker_id = uuid4()
        self.run(WORKER, str(worker_id), "1 hour", "0")
        return worker_id

    def ended(self) -> UUID:
        """Let a worker without jobs end and return its id."""
        worker_id = self.leaving()
        self.run("DELETE FROM haulier.worker WHERE id = %s", str(worker_id))
        return worker_id


def introduced(fixture: Fixture, worker_id: UUID) -> None:
    """Say what a worker knows, and that it stops."""
    consume.introduce(fixture.conn, worker_id, kinds=["noop"])
    consume.say_stopping(fixture.conn, worker_id)


def nothing(fixture: Fixture) -> None:
    """Prepare nothing."""


class Call(NamedTuple):
    """One call: its name on the page, the statements of the .sql files that it measures, the call itself.

    Shape: made gets the return value of `before`.
    """

    label: str
    covers: str
    made: Callable[[Fixture, Any], object]
    before: Callable[[Fixture], Any] = nothing


def timed(fixture: Fixture, call: Call, times: int) -> list[float]:
    """Return how long each of this many calls took; one that the server cancelled counts with its time until then.

    Units: milliseconds.
    """
    milliseconds = []
    for _ in range(times):
        found = call.before(fixture)
        began = time.perf_counter()
        with suppress(QueryCanceled, DatabaseUnavailable):
            call.made(fixture, found)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds


def listed(label: str, covers: str = "list_jobs", **wanted: Any) -> Call:
    """Return the call that lists jobs by this filter."""
    return Call(label, covers, lambda fixture, _: produce.list_jobs(fixture.conn, JobFilter(**wanted)))


FIRST = produce.Changes.of(priority=1)
CLAIMED = "claim_by_index claim"


def due_to_count(fixture: Fixture) -> UUID:
    """Let half a minute be uncounted, and return the id of whoever counts it."""
    numbers.counting_ends_in(fixture.conn)
    with fixture.conn.cursor() as cursor:
        cursor.execute(COUNTED)
    return uuid4()


CALLS = {
    # The worker's
    "claim": Call(
        "claim of 100, from a mark",
        CLAIMED,
        lambda fixture, request: consume.settle_and_claim(fixture.conn, [], request),
        lambda fixture: fixture.claim_request(100),
    ),
    "claim_one": Call(
        "claim of one, from a mark",
        CLAIMED,
        lambda fixture, request: consume.settle_and_claim(fixture.conn, [], request),
        lambda fixture: fixture.claim_request(1),
    ),
    "settle": Call(
        "settle of 100",
        "settle settled",
        lambda fixture, fences: consume.settle_and_claim(fixture.conn, done(fences), None),
        lambda fixture: fixture.running(100),
    ),
    "settle_failed": Call(
        "settle of 100 that have failed",
        "settle_noting note_soon note_errors settled",
        lambda fixture, fences: consume.settle_and_claim(fixture.conn, failed(fences), None),
        lambda fixture: fixture.running(100),
    ),
    "settle_one": Call(
        "settle of one, its row locked first",
        "lock_held settle",
        lambda fixture, fences: consume.settle(fixture.conn, done(fences)),
        lambda fixture: fixture.running(),
    ),
    "settled_earlier": Call(
        "whether a settle took effect",
        "settled_earlier",
        lambda fixture, fences: consume.settled_earlier(fixture.conn, fences),
        lambda fixture: fixture.running(),
    ),
    "lanes": Call("lanes", "lanes", lambda fixture, _: consume.lanes(fixture.conn, queues=[])),
    "lanes_of": Call("lanes of two queues", "lanes_of", lambda it, _: consume.lanes(it.conn, queues=[QUEUE, "other"])),
    "fresh_lanes": Call(
        "lanes of what came lately",
        "fresh_lanes",
        lambda fixture, _: fresh_lanes(fixture.conn, seconds=3, soon_seconds=300),
    ),
    "heads": Call("heads of two lanes", "heads", lambda fixture, _: heads(fixture.conn, [(QUEUE, 0), ("other", 0)])),
    "suspects": Call("whether a suspect, or an operation, is due", "lanes_and_operations", suspects_of()),
    "suspects_of_queues": Call("the same of two queues", "lanes_of_and_operations", suspects_of(QUEUE, "other")),
    "claim_next": Call(
        "claim of the one job that a claim fails at",
        "lock_next claim",
        lambda fixture, request: consume.claim_next(fixture.conn, request),
        lambda fixture: fixture.claim_request(1),
    ),
    "cancelled": Call("cancels", "cancelled", lambda fixture, _: consume.cancelled(fixture.conn, fixture.worker_id)),
    "held": Call(
        "what an unanswered claim has brought",
        "held",
        lambda fixture, _: consume.held(fixture.conn, fixture.worker_id, fixture.known[:1]),
    ),
    "strays": Call(
        "what else the worker runs",
        "strays",
        lambda fixture, _: consume.strays(fixture.conn, fixture.worker_id, fixture.known),
    ),
    "beat": Call("beat", "beat", lambda fixture, _: consume.beat(fixture.conn, fixture.worker_id)),
    "has_turn": Call("has_turn", "has_turn", lambda it, _: consume.has_turn(it.conn, it.worker_id, slot_seconds=5)),
    "bury": Call("bury: nobody died", "lapsed bury", lambda fixture, _: consume.bury(fixture.conn)),
    "orphans": Call("orphans of anybody", "orphans", lambda fixture, _: list(consume.take_orphans(fixture.conn))),
    "rescue": Call(
        "orphans of a worker of 5 jobs",
        "bury orphans settle",
        lambda fixture, dead: list(consume.take_orphans(fixture.conn, buried=[dead], workers=[dead])),
        lambda fixture: fixture.dead_worker(),
    ),
    "write_progress": Call(
        "progress of 5 jobs",
        "write_progress",
        lambda fixture, fences: consume.write_progress(
            fixture.conn,
            fixture.worker_id,
            {fence: Progress(1, 2, None, time.monotonic()) for fence in fences},
            seconds=5,
        ),
        lambda fixture: fixture.running(5),
    ),
    "register": Call(
        "register",
        "register",
        lambda fixture, _: consume.register(
            fixture.conn, host="bench", pid=2, threads=8, queues=[], lease_seconds=3600
        ),
    ),
    "deregister": Call(
        "deregister",
        "deregister",
        lambda fixture, worker_id: consume.deregister(fixture.conn, worker_id),
        lambda fixture: fixture.leaving(),
    ),
    "fall_asleep": Call("fall asleep", "fall_asleep", lambda it, _: wakeups.fall_asleep(it.conn, it.worker_id)),
    "wake_another": Call("wake another", "wake_another", lambda it, _: wakeups.wake_another(it.conn, it.worker_id)),
    "pass_on": Call("pass on", "pass_on get_up", lambda fixture, _: wakeups.pass_on(fixture.conn, fixture.worker_id)),
    "purge_idempotency": Call(
        "forget keys",
        "purge_idempotency",
        lambda fixture, _: purge.purge_idempotency(fixture.conn, idempotency_days=30),
    ),
    "purge_workers": Call(
        "forget workers", "purge_workers", lambda fixture, _: purge.purge_workers(fixture.conn, retention_days=30)
    ),
    "purge_progress": Call("forget progress", "purge_progress", lambda fixture, _: purge.purge_progress(fixture.conn)),
    "purge_queues": Call("forget queues", "purge_queues", lambda fixture, _: purge.purge_queues(fixture.conn)),
    "live_of_schedules": Call("of a schedule", "live_of_schedules", lambda fixture, _: live_jobs(fixture.conn, ["a"])),
    # The API's
    "enqueue": Call("enqueue", "enqueue", lambda fixture, _: produce.enqueue_one(fixture.conn, draft())),
    "enqueue_keyed": Call(
        "enqueue with a key", "enqueue_keyed", lambda fixture, _: produce.enqueue_one(fixture.conn, draft(uuid4().hex))
    ),
    "enqueue_known": Call(
        "enqueue with a known key",
        "enqueue_keyed get_jobs",
        lambda fixture, _: produce.enqueue_one(fixture.conn, draft("known")),
        lambda fixture: produce.enqueue_one(fixture.conn, draft("known")),
    ),
    "enqueue_many": Call(
        "enqueue of 100",
        "copy_jobs which_jobs",
        lambda fixture, _: produce.enqueue_all(fixture.conn, some_keyed()),
        lambda fixture: produce.enqueue_one(fixture.conn, draft("known")),
    ),
    "get": Call(
        "get a live job",
        "get_jobs",
        lambda fixture, ids: produce.get(fixture.conn, ids[0]),
        lambda fixture: fixture.queued(),
    ),
    "get_finished": Call("get a finished job", "get_jobs", lambda fixture, _: produce.get(fixture.conn, fixture.far)),
    "list": listed("list"),
    "count_jobs": Call("count jobs", "count_jobs", lambda fixture, _: produce.count_jobs(fixture.conn, JobFilter())),
    "list_queued": listed("list, queued", statuses=[JobStatus.QUEUED]),
    "list_running": listed("list, running", statuses=[JobStatus.RUNNING]),
    "list_retrying": listed("list, retrying", statuses=[JobStatus.RETRYING]),
    "list_succeeded": listed("list, succeeded", statuses=[JobStatus.SUCCEEDED]),
    "list_failed": listed("list, failed", statuses=[JobStatus.FAILED_PERMANENT]),
    "list_kind": listed("list, of a kind", kinds=["noop"]),
    "list_queue": listed("list, of a queue", queues=["other"]),
    "list_queues": listed("list, of what a key may see", queues=["other", "third"]),
    "list_payload": listed("list, by a field of the payload", payload={"n": "1"}),
    "list_error": listed("list, of a group of errors", error_id=fingerprint("noop", "no luck").id),
    "list_tagged": listed("list, of a tag", "list_jobs list_tagged", tags=["a"]),
    "count_tagged": Call(
        "count, of a tag", "count_jobs count_tagged", lambda it, _: produce.count_jobs(it.conn, JobFilter(tags=["a"]))
    ),
    "jobs_in_id_range": Call(
        "jobs whose ids begin alike",
        "jobs_in_id_range",
        lambda it, ids: jobs_by_prefix(it.conn, (UUID(int=ids[0].int >> 96 << 96), ids[0]), limit=50),
        lambda it: it.queued(),
    ),
    "list_started": Call(
        "longest first", "list_in_order", lambda it, _: list_in_order(it.conn, RUNS, JobOrder.STARTED)
    ),
    "list_many": listed("list, 200 of them", limit=200),
    "cancel": Call(
        "cancel a waiting job", "cancel", lambda it, ids: produce.cancel(it.conn, ids[0]), lambda it: it.queued()
    ),
    "cancel_running": Call(
        "cancel a running job",
        "cancel",
        lambda fixture, fences: produce.cancel(fixture.conn, fences[0].id),
        lambda fixture: fixture.running(),
    ),
    "retry": Call("retry", "retry", lambda it, job: produce.retry(it.conn, job), lambda it: it.cancelled()),
    "change": Call("change", "change", lambda it, ids: produce.change(it.conn, ids[0], FIRST), lambda it: it.queued()),
    "copy": Call("copy", "copy", lambda fixture, ids: produce.copy(fixture.conn, ids[0]), lambda it: it.queued()),
    "delete": Call("delete", "delete", lambda it, job: produce.delete(it.conn, job), lambda it: it.cancelled()),
    "count": Call("what came and ended", "count_span", lambda it, of: numbers.count(it.conn, counter=of), due_to_count),
    "count_live": Call("count what lives", "count_live", lambda fixture, _: numbers.count_live(fixture.conn)),
    "errors": Call("jobs of errors", "failed_of_errors", lambda it, _: errors.failed_of(it.conn, [7], most=9)),
    "error": Call("jobs of an error", "jobs_of_error", lambda it, _: errors.jobs_of_error(it.conn, 7)),
    "mended": Call("errors without a job", "mended_errors", lambda it, _: errors.mended(it.conn, [7])),
    "explain": Call(
        "why a job waits",
        "explained_job explain_waiting due_queues",
        lambda fixture, ids: explain(fixture.conn, ids[0], timeouts={}),
        lambda fixture: fixture.queued(),
    ),
    "explain_schedule": Call("why a schedule does not fire", "explain_schedule", read_unfired, scheduled),
    "states_of_fired": Call("jobs of 40 ticks", "states_of_fired", read_states, fired),
    "timeline": Call("a job's past", "read_timeline", lambda it, ids: trace(it.conn, ids[0]), lambda it: it.queued()),
    "preview": Call("preview of an operation", "count_by_kind", previewed(CANCELLED_JOBS)),
    "preview_tagged": Call("the same by tags", "count_tagged_by_kind", previewed(TAGGED)),
    "work_off": Call("a chunk of an operation", "find_jobs", worked_off, started(CANCELLED_JOBS)),
    "work_off_tagged": Call("the same by tags", "find_tagged", worked_off, started(TAGGED)),
    "list_workers": Call("workers", "list_workers", lambda fixture, _: workers.list_workers(fixture.conn)),
    "get_worker": Call(
        "a worker and its jobs", "list_workers jobs_of_worker", lambda it, _: workers.get_worker(it.conn, it.worker_id)
    ),
    "list_ended_workers": Call(
        "workers that have ended", "list_ended_workers", lambda it, _: workers.list_ended(it.conn, limit=5)
    ),
    "running_jobs": Call("jobs that run", "list_running", lambda fixture, _: list_running(fixture.conn)),
    "next_jobs": Call("jobs that run next", "next_jobs", lambda fixture, _: upcoming(fixture.conn, QUEUE)),
    "get_ended_worker": Call(
        "a worker that has ended",
        "list_workers ended_worker jobs_of_worker",
        lambda fixture, worker_id: workers.get_worker(fixture.conn, worker_id),
        lambda fixture: fixture.ended(),
    ),
    "introduce": Call(
        "what a worker says of itself",
        "introduce say_stopping",
        lambda fixture, worker_id: introduced(fixture, worker_id),
        lambda fixture: fixture.leaving(),
    ),
    "checks": Call(
        "checks of the database",
        "bloat unheard_sleepers age_of_statistics age_of_numbers",
        lambda fixture, _: check_database(fixture.conn, retention_days=30),
    ),
    "has_unserved": Call("due jobs without a worker", "has_unserved", lambda it, _: produce.has_unserved(it.conn)),
    "unserved_queues": Call("queues without one", "unserved_queues", lambda it, _: unserved_queues(it.conn)),
    "overview_counted": Call(
        "depths as counted, workers and schedules",
        "counted_depths worker_health overdue_schedules",
        lambda fixture, _: produce.overview(fixture.conn, as_counted=True),
    ),
    "overview": Call(
        "depths, workers and schedules",
        "queue_depths worker_health overdue_schedules",
        lambda fixture, _: produce.overview(fixture.conn),
    ),
}
