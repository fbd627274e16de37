"""Jobs in all states, for pages to show."""

from __future__ import annotations

from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.domain.job import Json, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.numbers import counts, depths
from tests import queueing

EMAIL = {"to": "a@b.c", "subject": "Hi", "body": "Hello."}


def enqueue(conn: Connection, payload: dict[str, Json] | None = None, **options: Json) -> UUID:
    """Return the id of a new job."""
    [made] = queueing.enqueue(conn, [NewJob(options.pop("kind", "send_email"), payload or dict(EMAIL), **options)])
    assert made.job is not None
    return made.job.id


def claim(conn: Connection, queue: str = "default", host: str = "dock") -> tuple[UUID, list[Fence]]:
    """Return a worker, and the fences of the due jobs that it has claimed."""
    # No test of a page may take longer than the lease: the page would say that the worker is lost.
    worker = claims.register(conn, host=host, pid=7, threads=4, queues=(queue,), lease_seconds=600)
    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(queue,))
    return worker, [Fence.of(job) for job in jobs]


def end(
    conn: Connection, fence: Fence, outcome: Outcome, failed: Failure | None = None, worker: str | None = None
) -> None:
    """Settle a job as a worker of this name, and count the failure if there is one."""
    claims.settle(conn, [Settlement(fence, outcome, failure=failed)], worker_name=worker)


def in_all_states(conn: Connection) -> dict[str, UUID]:
    """Return the ids of jobs, by their status."""
    made: dict[str, UUID] = {}
    for status in ("succeeded", "failed_permanent", "retrying", "cancelled", "running"):
        queue = status.replace("_", "-")
        made[status] = enqueue(conn, queue=queue, idempotency_key=f"key-{status}", tags=["night"])
        if status == "cancelled":
            job_acts.cancel(conn, made[status], actor="ops-anna")
            continue
        _, [fence] = claim(conn, queue)
        if status == "succeeded":
            end(conn, fence, Outcome.complete({"sent": True}))
        elif status != "running":
            outcome = Outcome.fail_for_good("no luck") if status != "retrying" else Outcome.fail("no luck", delay=60.0)
            end(conn, fence, outcome, Failure(fingerprint("send_email", "no luck"), queue, "no luck"))
    made["queued"] = enqueue(conn, queue="mail")
    return made


def counted(conn: Connection) -> None:
    """Count what there is by now, as the worker does that counts; what ended in the last 10 s is not among it."""
    counts.counting_ends_in(conn)
    counts.count(conn, counter=uuid4())
    depths.count_live(conn)


def fail(
    conn: Connection,
    error: str,
    *,
    queue: str = "default",
    times: int = 1,
    delay: float | None = None,
    worker: str | None = None,
) -> str:
    """Have jobs fail, for good or to be retried after `delay`; return the name of the group."""
    for _ in range(times):
        enqueue(conn, queue=queue)
    group = fingerprint("send_email", error)
    outcome = Outcome.fail_for_good(error) if delay is None else Outcome.fail(error, delay=delay)
    for _ in range(times):
        _, [fence] = claim(conn, queue)
        end(conn, fence, outcome, Failure(group, queue, error), worker)
    return id_text(group.id)


def register(conn: Connection, *queues: str, host: str = "dock") -> str:
    """Return the id of a new worker of these queues, or of all."""
    return str(claims.register(conn, host=host, pid=7, threads=4, queues=queues, lease_seconds=600))
