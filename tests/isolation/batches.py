"""Every statement that writes many rows at once: with a hundred rows for it, of which the database can refuse some."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.kinds import JobContext
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.failures import error_counts
from haulier.queue.numbers import counts, depths
from haulier.queue.operations.operations import Order, start
from haulier.queue.operations.work_off import Worker, work_off
from haulier.queue.search import job_list
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep import purge
from haulier.worker.link.lease import Lease
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.supply.held import HeldJob

ROWS = 100
# Rows are distinguished by the number in a text: the name of a queue, an idempotency key, an actor.
CULPRIT = "q50"


@dataclass(frozen=True)
class Batch:
    """A batch, and where the database refuses rows of it.

    Shape: column has CULPRIT for one of the rows, in OLD for a DELETE, else in NEW. left counts the rows that were not
           dealt with.
    """

    name: str
    table: str
    event: str
    column: str
    prepare: Callable[[Connection], None]
    act: Callable[[Connection], object]
    left: str

    def condition(self, *, is_all: bool) -> str:
        """Return which rows are refused: all, or one."""
        row = "OLD" if self.event == "DELETE" else "NEW"
        return "true" if is_all else f"{row}.{self.column} = '{CULPRIT}'"


def run(conn: Connection, statement: str, *parameters: object) -> None:
    """Run a statement with `n` of 1 to 100, named `each.n`."""
    with conn.cursor() as cursor:
        cursor.execute(statement.replace("EACH", f"generate_series(1, {ROWS}) AS each (n)"), parameters)


def jobs(conn: Connection) -> None:
    """Store a waiting job in each of a hundred queues."""
    run(conn, "INSERT INTO haulier.job (kind, queue, payload) SELECT 't.note', 'q' || n, '{}' FROM EACH")


def _worker(conn: Connection) -> UUID:
    return claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)


def running_jobs(conn: Connection) -> None:
    """Let a worker run them."""
    jobs(conn)
    marks = "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, attempt = 1, attempts = 1,"
    run(conn, f"{marks} started_at = now()", _worker(conn), uuid4())


def orphans(conn: Connection) -> None:
    """Let their worker have no row."""
    running_jobs(conn)
    run(conn, "DELETE FROM haulier.worker")


def failed_jobs(conn: Connection) -> None:
    """Let them have failed for good."""
    running_jobs(conn)
    claims.settle_each(conn, _settlements(conn, Outcome.fail_for_good("no luck")))


def _settlements(conn: Connection, outcome: Outcome) -> list[Settlement]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT id, attempt, claim FROM haulier.job WHERE status = 'running' ORDER BY id")
        return [Settlement(Fence(*row), outcome) for row in cursor.fetchall()]


def settling(outcome: Outcome) -> Callable[[Connection], object]:
    """Return what settles all that runs."""
    return lambda conn: claims.settle_each(conn, _settlements(conn, outcome))


def rescuing(conn: Connection) -> None:
    """Take all orphans."""
    for _ in claims.take_orphans(conn):
        pass


def dead_workers(conn: Connection) -> None:
    """Let the leases of a hundred workers have run out."""
    run(
        conn,
        "INSERT INTO haulier.worker (host, pid, threads, lease, beat_at)"
        " SELECT 'q' || n, 7, 8, interval '1 s', now() - interval '1 minute' FROM EACH",
    )


def enqueuing(conn: Connection) -> None:
    """Enqueue a job in each queue, but for those that have one."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT queue FROM haulier.job")
        there = {queue for (queue,) in cursor.fetchall()}
    names = [f"q{n}" for n in range(1, ROWS + 1)]
    drafts = [job_acts.draft(NewJob("t.note", {}, queue=name)) for name in names if name not in there]
    job_acts.enqueue_each(conn, drafts)


def operating(action: str, **changes: int) -> Callable[[Connection], object]:
    """Return what does an operation on all jobs."""

    def operate(conn: Connection) -> None:
        order = Order(OperationAction(action), JobFilter(), changes=changes)
        start(conn, order, as_of=None, actor=None)
        by = Worker(uuid4(), 15.0, 15.0)
        while work_off(conn, by):
            pass
        # What waits goes on with the next call.
        run(conn, "UPDATE haulier.operation SET next_at = now(), walked_at = now() - interval '1 hour'")
        while work_off(conn, by):
            pass

    return operate


def inserting(statement: str) -> Callable[[Connection], None]:
    """Return what runs a statement with a hundred numbers."""
    return lambda conn: run(conn, statement)


def telling(conn: Connection) -> None:
    """Write the progress of all that runs."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT id, worker_id FROM haulier.job WHERE status = 'running'")
        found = cursor.fetchall()
    lease, held = Lease(60.0), []
    lease.registered(found[0][1], time.monotonic())
    for stored in job_list.get_jobs(conn, [id for id, _ in found]):
        job = stored.read()
        held.append(HeldJob(job, JobContext(job, Config("")), None, began_at=time.monotonic()))
        held[-1].context.progress(1, note=job.queue)
    ProgressWriter(lease, lambda: held, 1.0).write(conn)


def counting(conn: Connection) -> None:
    """Count what came and ended, from a day ago on."""
    run(conn, "DELETE FROM haulier.counting")
    counts.counting_ends_in(conn)
    counts.count(conn, counter=uuid4())


def folding(conn: Connection) -> None:
    """Sum the counts of a day ago."""
    run(conn, "DELETE FROM haulier.counting")
    counts.counting_ends_in(conn)
    run(conn, "UPDATE haulier.counting SET through = now(), folded = now() - interval '1 hour'")
    counts.fold(conn, retention_days=30)


COUNT = "SELECT count(*) FROM haulier."
LEFT = f"SELECT {ROWS} - count(*) FROM haulier."
# In the first hour that is counted.
OLD_JOBS = (
    "INSERT INTO haulier.job (kind, queue, payload, created_at) SELECT 't.note', 'q' || n, '{}',"
    " date_bin('1 hour', now() - interval '24 hours', 'epoch') + interval '10 minutes' FROM EACH"
)
BATCHES = [
    Batch(
        "settle", "finished_job", "INSERT", "queue", running_jobs, settling(Outcome.complete()),
        f"{COUNT}job WHERE status = 'running'",
    ),
    Batch(
        "give back", "job", "UPDATE", "queue", running_jobs, settling(Outcome.release()),
        f"{COUNT}job WHERE status = 'running'",
    ),
    Batch("rescue", "job", "UPDATE", "queue", orphans, rescuing, f"{COUNT}job WHERE status = 'running'"),
    Batch("bury", "worker", "DELETE", "host", dead_workers, claims.bury, f"{COUNT}worker"),
    Batch("note the dead", "worker_past", "INSERT", "host", dead_workers, claims.bury, f"{COUNT}worker"),
    Batch("enqueue", "job", "INSERT", "queue", lambda conn: None, enqueuing, f"{LEFT}job"),
    Batch("cancel", "finished_job", "INSERT", "queue", jobs, operating("cancel"), f"{COUNT}job"),
    Batch(
        "stop", "job", "UPDATE", "queue", running_jobs, operating("cancel"), f"{COUNT}job WHERE NOT cancel_requested",
    ),
    Batch("retry", "job", "INSERT", "queue", failed_jobs, operating("retry"), f"{COUNT}finished_job"),
    Batch(
        "change", "job", "UPDATE", "queue", jobs, operating("change", priority=7), f"{COUNT}job WHERE priority = 0",
    ),
    Batch("delete", "finished_job", "DELETE", "queue", failed_jobs, operating("delete"), f"{COUNT}finished_job"),
    Batch(
        "purge keys", "idempotency", "DELETE", "key",
        inserting(
            "INSERT INTO haulier.idempotency (key, fingerprint, job_id, created_at)"
            " SELECT 'q' || n, '', gen_random_uuid(), now() - interval '99 days' FROM EACH"
        ),
        lambda conn: purge.purge_idempotency(conn, idempotency_days=30),
        f"{COUNT}idempotency",
    ),
    Batch(
        "purge audit", "audit", "DELETE", "actor",
        inserting(
            "INSERT INTO haulier.audit (at, actor, action, target)"
            " SELECT now() - interval '99 days', 'q' || n, 'pause', 'mail' FROM EACH"
        ),
        lambda conn: purge.purge_audit(conn, retention_days=30),
        f"{COUNT}audit",
    ),
    Batch(
        "purge workers", "worker_past", "DELETE", "host",
        inserting(
            "INSERT INTO haulier.worker_past"
            " (id, host, pid, threads, started_at, beat_at, lease_ends, ended_at, ended_how)"
            " SELECT gen_random_uuid(), 'q' || n, 7, 8, now(), now(), now(), now() - interval '99 days', 'stopped'"
            " FROM EACH"
        ),
        lambda conn: purge.purge_workers(conn, retention_days=30),
        f"{COUNT}worker_past",
    ),
    Batch(
        "purge ticks", "tick", "DELETE", "schedule",
        inserting(
            "INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, decided_at)"
            " SELECT 'q' || n, 0, now() - interval '99 days', 'skipped_missed', now() - interval '99 days' FROM EACH"
        ),
        lambda conn: purge.purge_ticks(conn, retention_days=30),
        f"{COUNT}tick",
    ),
    Batch(
        "purge queues", "queue", "DELETE", "name",
        inserting("INSERT INTO haulier.queue (name, used_at) SELECT 'q' || n, now() - interval '9 days' FROM EACH"),
        purge.purge_queues,
        f"{COUNT}queue",
    ),
    Batch(
        "purge progress", "progress", "DELETE", "note",
        inserting(
            "INSERT INTO haulier.progress (job_id, claim, done, note, at)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 1, 'q' || n, now() FROM EACH"
        ),
        purge.purge_progress,
        f"{COUNT}progress",
    ),
    Batch(
        "purge sessions", "session", "DELETE", "key_id",
        inserting(
            "INSERT INTO haulier.session (hash, key_id, key_hash, expires_at)"
            " SELECT sha256(n::text::bytea), 'q' || n, sha256(''), now() - interval '1 day' FROM EACH"
        ),
        purge.purge_sessions,
        f"{COUNT}session",
    ),
    Batch(
        "purge counts", "error_count", "DELETE", "queue",
        inserting(
            "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
            " SELECT n, now() - interval '99 days', 'q' || n, -3600, 1, 0 FROM EACH"
        ),
        lambda conn: purge.purge_errors(conn, retention_days=30),
        f"{COUNT}error_count",
    ),
    Batch(
        "purge groups", "error_group", "DELETE", "text",
        inserting(
            "INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)"
            " SELECT n, 't.note', 'q' || n, '', gen_random_uuid(), 'mail', now() - interval '99 days' FROM EACH"
        ),
        lambda conn: purge.purge_errors(conn, retention_days=30),
        f"{COUNT}error_group",
    ),
    Batch(
        "purge rollups", "rollup", "DELETE", "queue",
        inserting(
            "INSERT INTO haulier.rollup (step, at, queue, kind)"
            " SELECT 21600, now() - interval '99 days', 'q' || n, 't.note' FROM EACH"
        ),
        folding,
        f"{COUNT}rollup WHERE step = 21600",
    ),
    Batch("tell progress", "progress", "INSERT", "note", running_jobs, telling, f"{LEFT}progress"),
    Batch(
        "count", "rollup", "INSERT", "queue", inserting(OLD_JOBS), counting,
        f"SELECT {ROWS} - count(DISTINCT queue) FROM haulier.rollup",
    ),
    Batch("count live", "depth", "INSERT", "queue", jobs, depths.count_live, f"{LEFT}depth"),
    Batch(
        "fold", "rollup", "DELETE", "queue",
        inserting(
            "INSERT INTO haulier.rollup (step, at, queue, kind, arrived)"
            " SELECT 10, date_bin('10 s', now() - interval '30 minutes', 'epoch'), 'q' || n, 't.note', 1 FROM EACH"
        ),
        folding,
        f"{COUNT}rollup WHERE step = 10",
    ),
    Batch(
        "fold errors", "error_count", "DELETE", "queue",
        inserting(
            "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
            " SELECT n, date_bin('1 minute', now() - interval '5 minutes', 'epoch'), 'q' || n, 7, 1, 0 FROM EACH"
        ),
        error_counts.fold,
        f"{COUNT}error_count WHERE source = 7",
    ),
]  # fmt: skip
