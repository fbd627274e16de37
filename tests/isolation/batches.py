"""Every statement that writes many rows at once: with a hundred rows for it, of which the database can refuse some."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
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
from tests.worker.jobs import a_worker, held

ROWS = 100
# Rows are distinguished by the number in a text: the name of a queue, an idempotency key, an actor.
CULPRIT = "q50"


@dataclass(frozen=True)
class Batch:
    """A batch, and where the database refuses rows of it: `column` has CULPRIT for one of them.

    left counts the rows that were not dealt with.
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


def inserting(into: str, values: str) -> Callable[[Connection], None]:
    """Return what inserts these values of a hundred numbers into a table."""
    return lambda conn: run(conn, f"INSERT INTO haulier.{into} SELECT {values} FROM EACH")


def jobs(conn: Connection) -> None:
    """Store a waiting job in each of a hundred queues."""
    inserting("job (kind, queue, payload)", "'t.note', 'q' || n, '{}'")(conn)


def running_jobs(conn: Connection) -> None:
    """Let a worker run them."""
    jobs(conn)
    marks = "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, attempt = 1, attempts = 1,"
    run(conn, f"{marks} started_at = now()", a_worker(conn), uuid4())


def orphans(conn: Connection) -> None:
    running_jobs(conn)
    run(conn, "DELETE FROM haulier.worker")


def failed_jobs(conn: Connection) -> None:
    running_jobs(conn)
    claims.settle_each(conn, _settlements(conn, Outcome.fail_for_good("no luck")))


def _settlements(conn: Connection, outcome: Outcome) -> list[Settlement]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT id, attempt, claim FROM haulier.job WHERE status = 'running' ORDER BY id")
        return [Settlement(Fence(*row), outcome) for row in cursor.fetchall()]


def settling(outcome: Outcome) -> Callable[[Connection], object]:
    return lambda conn: claims.settle_each(conn, _settlements(conn, outcome))


def rescuing(conn: Connection) -> None:
    for _ in claims.take_orphans(conn):
        pass


# Whose leases have run out.
dead_workers = inserting(
    "worker (host, pid, threads, lease, beat_at)", "'q' || n, 7, 8, interval '1 s', now() - interval '1 minute'"
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


def telling(conn: Connection) -> None:
    """Write the progress of all that runs."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT id, worker_id FROM haulier.job WHERE status = 'running'")
        found = cursor.fetchall()
    lease, running = Lease(60.0), []
    lease.registered(found[0][1], time.monotonic())
    for stored in job_list.get_jobs(conn, [id for id, _ in found]):
        running.append(held(stored.read(), began_at=time.monotonic()))
        running[-1].context.progress(1, note=running[-1].job.queue)
    ProgressWriter(lease, lambda: running, 1.0).write(conn)


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
RUNNING = f"{COUNT}job WHERE status = 'running'"
LEFT = f"SELECT {ROWS} - count(*) FROM haulier."
OLD = "now() - interval '99 days'"
# A time in the first hour that is counted.
COUNTED = "date_bin('1 hour', now() - interval '24 hours', 'epoch') + interval '10 minutes'"


def purging(name: str, column: str, into: str, values: str, act: Callable[[Connection], object]) -> Batch:
    """Return the batch that deletes all that it has inserted."""
    table = into.partition(" ")[0]
    return Batch(name, table, "DELETE", column, inserting(into, values), act, f"{COUNT}{table}")


BATCHES = [
    Batch("settle", "finished_job", "INSERT", "queue", running_jobs, settling(Outcome.complete()), RUNNING),
    Batch("give back", "job", "UPDATE", "queue", running_jobs, settling(Outcome.release()), RUNNING),
    Batch("rescue", "job", "UPDATE", "queue", orphans, rescuing, RUNNING),
    Batch("bury", "worker", "DELETE", "host", dead_workers, claims.bury, f"{COUNT}worker"),
    Batch("note the dead", "worker_past", "INSERT", "host", dead_workers, claims.bury, f"{COUNT}worker"),
    Batch("enqueue", "job", "INSERT", "queue", lambda conn: None, enqueuing, f"{LEFT}job"),
    Batch("cancel", "finished_job", "INSERT", "queue", jobs, operating("cancel"), f"{COUNT}job"),
    Batch(
        "stop", "job", "UPDATE", "queue", running_jobs, operating("cancel"), f"{COUNT}job WHERE NOT cancel_requested",
    ),
    Batch("retry", "job", "INSERT", "queue", failed_jobs, operating("retry"), f"{COUNT}finished_job"),
    Batch("change", "job", "UPDATE", "queue", jobs, operating("change", priority=7), f"{COUNT}job WHERE priority = 0"),
    Batch("delete", "finished_job", "DELETE", "queue", failed_jobs, operating("delete"), f"{COUNT}finished_job"),
    purging(
        "purge keys", "key", "idempotency (key, fingerprint, job_id, created_at)",
        f"'q' || n, '', gen_random_uuid(), {OLD}", partial(purge.purge_idempotency, idempotency_days=30),
    ),
    purging(
        "purge audit", "actor", "audit (at, actor, action, target)",
        f"{OLD}, 'q' || n, 'pause', 'mail'", partial(purge.purge_audit, retention_days=30),
    ),
    purging(
        "purge workers", "host",
        "worker_past (id, host, pid, threads, started_at, beat_at, lease_ends, ended_at, ended_how)",
        f"gen_random_uuid(), 'q' || n, 7, 8, now(), now(), now(), {OLD}, 'stopped'",
        partial(purge.purge_workers, retention_days=30),
    ),
    purging(
        "purge ticks", "schedule", "tick (schedule, schedule_id, scheduled_at, outcome, decided_at)",
        f"'q' || n, 0, {OLD}, 'skipped_missed', {OLD}", partial(purge.purge_ticks, retention_days=30),
    ),
    purging(
        "purge queues", "name", "queue (name, used_at)", "'q' || n, now() - interval '9 days'", purge.purge_queues,
    ),
    purging(
        "purge progress", "note", "progress (job_id, claim, done, note, at, first_done, first_at)",
        "gen_random_uuid(), gen_random_uuid(), 1, 'q' || n, now(), 1, now()", purge.purge_progress,
    ),
    purging(
        "purge sessions", "key_id", "session (hash, key_id, key_hash, expires_at)",
        "sha256(n::text::bytea), 'q' || n, sha256(''), now() - interval '1 day'", purge.purge_sessions,
    ),
    purging(
        "purge counts", "queue", "error_count (error_id, minute, queue, source, failed, retried)",
        f"n, {OLD}, 'q' || n, -3600, 1, 0", partial(purge.purge_errors, retention_days=30),
    ),
    purging(
        "purge groups", "text", "error_group (id, kind, text, example, example_job, example_queue, first_seen)",
        f"n, 't.note', 'q' || n, '', gen_random_uuid(), 'mail', {OLD}", partial(purge.purge_errors, retention_days=30),
    ),
    Batch(
        "purge rollups", "rollup", "DELETE", "queue",
        inserting("rollup (step, at, queue, kind)", f"21600, {OLD}, 'q' || n, 't.note'"), folding,
        f"{COUNT}rollup WHERE step = 21600",
    ),
    Batch("tell progress", "progress", "INSERT", "note", running_jobs, telling, f"{LEFT}progress"),
    Batch(
        "count", "rollup", "INSERT", "queue",
        inserting("job (kind, queue, payload, created_at)", f"'t.note', 'q' || n, '{{}}', {COUNTED}"), counting,
        f"SELECT {ROWS} - count(DISTINCT queue) FROM haulier.rollup",
    ),
    Batch("count live", "depth", "INSERT", "queue", jobs, depths.count_live, f"{LEFT}depth"),
    Batch(
        "fold", "rollup", "DELETE", "queue",
        inserting(
            "rollup (step, at, queue, kind, arrived)",
            "10, date_bin('10 s', now() - interval '30 minutes', 'epoch'), 'q' || n, 't.note', 1",
        ),
        folding, f"{COUNT}rollup WHERE step = 10",
    ),
    Batch(
        "fold errors", "error_count", "DELETE", "queue",
        inserting(
            "error_count (error_id, minute, queue, source, failed, retried)",
            "n, date_bin('1 minute', now() - interval '5 minutes', 'epoch'), 'q' || n, 7, 1, 0",
        ),
        error_counts.fold, f"{COUNT}error_count WHERE source = 7",
    ),
]  # fmt: skip
