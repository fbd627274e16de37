"""The verbs of whoever does work: register, claim, settle, beat, rescue. Functions over a connection.

The fence: a claim is (id, attempt, claim), and only who shows all three can settle the job. `attempt` counts claims
and only grows; `claim` is new for each claim statement. What a zombie settles late changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from app.domain.job import KEPT_ERRORS, MAX_SNOOZES, Job, JobStatus
from app.domain.outcome import Outcome, Verb
from app.queue.connection import Connection, rows, transaction
from app.queue.history import with_history
from app.queue.rows import job_of

RESCUED_AT_ONCE = 500


class Fence(NamedTuple):
    """One claim of one job."""

    id: UUID
    attempt: int
    claim: UUID

    @classmethod
    def of(cls, job: Job) -> Fence:
        """Return the fence under which this job was claimed."""
        assert job.claim is not None
        return cls(job.id, job.attempt, job.claim)


class Settlement(NamedTuple):
    """One claim and how it ends. `alone` tells of a crash that no other job can be blamed for."""

    fence: Fence
    outcome: Outcome
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """A job that the database thinks a worker runs."""

    fence: Fence
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a sweep found. Shape: workers are "host:pid"; jobs map ids to the status they now have."""

    workers: list[str]
    jobs: dict[UUID, JobStatus]


def register(
    conn: Connection, *, host: str, pid: int, threads: int, queues: Sequence[str], lease_seconds: float
) -> UUID:
    """Enter a worker process and return the id under which it claims and beats."""
    [row] = rows(
        conn, "register", host=host, pid=pid, threads=threads, queues=list(queues) or None, lease=lease_seconds
    )
    return UUID(str(row["id"]))


def claim(
    conn: Connection, *, worker_id: UUID, claim_id: UUID, queues: Sequence[str], limit: int = 1, suspect: bool = False
) -> list[Job]:
    """Hand the best due jobs to this worker, none when nothing is due or the worker was declared dead.

    Best is highest priority, then longest due. Jobs that have crashed before are claimed only as suspects: whoever
    does so runs them with nothing else in the process.

    Shape:  Jobs in state running, with this attempt already counted; claim_id must be new for each call.
    Raises: DatabaseUnavailable; whether jobs were claimed is then unknown, and `held` tells.
    Source: PostgreSQL manual, SELECT, "The Locking Clause" (SKIP LOCKED).
    """
    claimed = rows(
        conn, "claim", worker=worker_id, claim=claim_id, queues=list(queues) or None, limit=limit, suspect=suspect
    )
    return [job_of(row) for row in claimed]


def seconds_until_due(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> float | None:
    """Return how long until a waiting job is due (negative: it is), or None when none waits."""
    [row] = rows(conn, "next_due", queues=list(queues) or None, suspect=suspect)
    seconds: float | None = row["seconds"]
    return seconds


def settle(conn: Connection, settlements: Sequence[Settlement]) -> dict[UUID, JobStatus]:
    """Let each job leave `running` as its outcome says, and return the status it has now.

    Shape:  a job whose claim is no longer the current one is missing from the result, and unchanged.
    Raises: DatabaseUnavailable; whether they were settled is then unknown, and `settled_earlier` tells.
    """
    if not settlements:
        return {}
    return with_history(conn, lambda: _settle(conn, settlements))


def _settle(conn: Connection, settlements: Sequence[Settlement]) -> dict[UUID, JobStatus]:
    fences: dict[str, Any] = {
        "ids": [settlement.fence.id for settlement in settlements],
        "attempts": [settlement.fence.attempt for settlement in settlements],
        "claims": [settlement.fence.claim for settlement in settlements],
    }
    outcomes = [settlement.outcome for settlement in settlements]
    with transaction(conn):
        rows(conn, "lock_held", **fences)
        settled = rows(
            conn,
            "settle",
            **fences,
            verbs=[outcome.verb.value for outcome in outcomes],
            results=[outcome.result for outcome in outcomes],
            errors=[outcome.error for outcome in outcomes],
            delays=[outcome.delay for outcome in outcomes],
            backoffs=[outcome.backoff for outcome in outcomes],
            alone=[settlement.alone for settlement in settlements],
            max_snoozes=MAX_SNOOZES,
            kept_errors=KEPT_ERRORS,
        )
    return {row["id"]: JobStatus(row["status"]) for row in settled}


def settled_earlier(conn: Connection, fence: Fence) -> JobStatus | None:
    """Return the status that a settle under this fence left, when its reply was lost; None when there was none."""
    found = rows(conn, "settled_earlier", id=fence.id, attempt=fence.attempt, claim=fence.claim)
    return JobStatus(found[0]["status"]) if found else None


def beat(conn: Connection, worker_id: UUID) -> float | None:
    """Renew the worker's lease; None when it was declared dead, and its jobs are no longer its own.

    Units: seconds since the beat before, by the database's clock.
    """
    found = rows(conn, "beat", worker=worker_id)
    return float(found[0]["seconds"]) if found else None


def has_turn(conn: Connection, worker_id: UUID, *, slot_seconds: float) -> bool:
    """Tell whether it is this worker's turn to do what the workers of the same queues must not all do at once."""
    [row] = rows(conn, "has_turn", worker=worker_id, slot=slot_seconds)
    return bool(row["has_turn"])


def held(conn: Connection, worker_id: UUID) -> list[Held]:
    """Return the jobs that the database thinks this worker runs."""
    return [
        Held(Fence(row["id"], row["attempt"], row["claim"]), row["cancel_requested"])
        for row in rows(conn, "held", worker=worker_id)
    ]


def deregister(conn: Connection, worker_id: UUID) -> None:
    """Take the worker's row away, after its last job was settled; a job it still runs is rescued at once."""
    rows(conn, "deregister", worker=worker_id)


def rescue(conn: Connection) -> Rescued:
    """Declare dead every worker whose lease ran out, and take the jobs whose worker has no row.

    A crash is an attempt: the job is due at once, as a suspect, or failed for good when its budget is spent. A job
    that went down in company on its last attempt is given back: it is not known to be the culprit, and runs alone.

    To be called only by a worker whose own beats have succeeded for a whole lease: after an outage everybody's lease
    has run out, and nobody is dead.
    """
    return with_history(conn, lambda: _rescue(conn))


def _rescue(conn: Connection) -> Rescued:
    with transaction(conn):
        buried = rows(conn, "bury")
        orphans = rows(conn, "lock_orphans", limit=RESCUED_AT_ONCE)
        # Who is left over from an earlier sweep, or was locked in it, had company that is counted no more.
        buried_now = {row["id"] for row in buried}
        settlements = [
            Settlement(
                Fence(orphan["id"], orphan["attempt"], orphan["claim"]),
                Outcome(Verb.CRASH, error=_crash_error(orphan["crashes"] + 1), delay=0.0),
                alone=orphan["crashes"] > 0 or (orphan["company"] == 1 and orphan["worker_id"] in buried_now),
            )
            for orphan in orphans
        ]
        # The rows are locked already; settling locks them once more, which costs nothing.
        jobs = _settle(conn, settlements) if settlements else {}
    return Rescued([f"{row['host']}:{row['pid']}" for row in buried], jobs)


def _crash_error(crashes: int) -> str:
    times = "once" if crashes == 1 else f"{crashes} times"
    return f"the worker process running this job died or lost its lease ({times} so far)"
