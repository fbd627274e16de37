"""The verbs of whoever does work: register, claim, settle, beat, rescue. Functions over a connection.

The fence: a claim is (id, attempt, claim), and only who shows all three can settle the job. `attempt` counts claims
and only grows; `claim` is new for each claim statement. What a zombie settles late changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from app.domain.job import KEPT_ERRORS, MAX_SNOOZES, Job, JobStatus
from app.domain.outcome import Outcome, Verb
from app.queue.connection import (
    IDLE_SECONDS,
    LOCK_SECONDS,
    STATEMENT_SECONDS,
    Connection,
    array,
    message,
    rows,
    transaction,
)
from app.queue.history import with_history
from app.queue.plans import plans
from app.queue.rows import claimed_job

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


class Mark(NamedTuple):
    """A place in a lane, from where on to read it: before this place no job is expected to wait."""

    queue: str
    priority: int
    run_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Lane:
    """The waiting jobs of one queue and priority; `head` is the place of the first.

    Units: seconds until the first is due; negative when it is.
    """

    head: Mark
    seconds: float


@dataclass(frozen=True, slots=True)
class Wish:
    """A claim: what a worker would like to have. Shape: `free` threads start what they get at once."""

    worker_id: UUID
    claim_id: UUID
    marks: Sequence[Mark]
    limit: int
    free: int
    suspect: bool = False


def lanes(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> list[Lane]:
    """Return the lanes that have waiting jobs, best first: highest priority, then longest due."""
    found = rows(conn, "lanes", queues=list(queues) or None, suspect=suspect)
    return [
        Lane(Mark(row["queue"], row["priority"], row["first_run_at"], row["first_id"]), row["seconds"]) for row in found
    ]


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
    marks = [lane.head for lane in lanes(conn, queues=queues, suspect=suspect) if lane.seconds <= 0]
    return exchange(conn, [], Wish(worker_id, claim_id, marks, limit, limit, suspect))[1] if marks else []


def exchange(
    conn: Connection, settlements: Sequence[Settlement], wish: Wish | None
) -> tuple[list[JobStatus | None], list[Job]]:
    """Settle and then claim in one round trip and two transactions, each of them durable when this returns.

    In one transaction, or as one statement, they would deadlock: SKIP LOCKED does not skip a row that it must follow
    to its newer version. A claim that was settled by somebody else, and one whose row is locked just now, is left
    out: `settle` tells which it was.

    Shape:  the status that each settlement led to, None where it was left out; the jobs, best first.
    Raises: DatabaseUnavailable; what was settled and claimed is then unknown. Other errors of psycopg2 where an
            outcome cannot be stored: nothing is settled then, or all of it, and nothing is claimed.
    """
    names: list[str] = []
    parameters: dict[str, Any] = {
        "milliseconds": int(STATEMENT_SECONDS * 1000),
        "lock_milliseconds": int(LOCK_SECONDS * 1000),
        "idle_milliseconds": int(IDLE_SECONDS * 1000),
    }
    if settlements:
        names += ["begin", "settle_by_index", "settle", "commit"]
        parameters.update(_settle_parameters(settlements))
    if wish:
        names += ["read_committed", "claim_by_index", "claim"]
        parameters.update(_claim_parameters(wish))
    else:
        names += ["settled"]
    with plans.of(conn) as prepared:
        head, *claimed = message(conn, names, seconds=2 * STATEMENT_SECONDS, prepared=prepared, **parameters)
    if wish is None:
        return _statuses(head[0]), []
    jobs: list[Job] = []
    if claimed:
        claimed.sort(key=itemgetter(_NUMBER))
        now = datetime.fromisoformat(head[_NOW])
        jobs = [claimed_job(row, worker_id=wish.worker_id, claim_id=wish.claim_id, started_at=now) for row in claimed]
    return _statuses(head[_SETTLED]) if settlements else [], jobs


# Columns of the statement `claim`, the last two of its first row.
_NUMBER, _SETTLED, _NOW = 0, 2, 5


def _claim_parameters(wish: Wish) -> dict[str, Any]:
    return {
        "worker": str(wish.worker_id),
        "claim": str(wish.claim_id),
        "queues": array([mark.queue for mark in wish.marks]),
        "priorities": array([mark.priority for mark in wish.marks]),
        "marks": array([mark.run_at for mark in wish.marks]),
        "mark_ids": array([mark.id for mark in wish.marks]),
        "limit": wish.limit,
        "free": wish.free,
        "suspect": wish.suspect,
    }


def seconds_until_due(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> float | None:
    """Return how long until a waiting job is due (negative: it is), or None when none waits."""
    return min((lane.seconds for lane in lanes(conn, queues=queues, suspect=suspect)), default=None)


def settle(
    conn: Connection, settlements: Sequence[Settlement], *, lock_seconds: float = LOCK_SECONDS
) -> dict[UUID, JobStatus]:
    """Let each job leave `running` as its outcome says, and return the status it has now.

    A row that somebody else has locked is waited for, or left out where lock_seconds is 0.

    Shape:  a job whose claim is no longer the current one is missing from the result, and unchanged.
    Raises: Locked, and nothing was settled; DatabaseUnavailable: whether they were settled is then unknown, and
            `settled_earlier` tells.
    """
    if not settlements:
        return {}
    return with_history(conn, lambda: _settle(conn, settlements, lock_seconds))


def _settle(
    conn: Connection, settlements: Sequence[Settlement], lock_seconds: float = LOCK_SECONDS
) -> dict[UUID, JobStatus]:
    parameters = _settle_parameters(settlements)
    with transaction(conn, lock_seconds=lock_seconds or LOCK_SECONDS):
        if lock_seconds:
            # Its own statement: the one that settles then sees each row as it was locked.
            rows(conn, "lock_held", **{name: parameters[name] for name in ("ids", "attempts", "claims")})
        [settled] = rows(conn, "settle", **parameters)
    statuses = _statuses(settled["settled"])
    found = zip(settlements, statuses, strict=True)
    return {settlement.fence.id: status for settlement, status in found if status is not None}


def _settle_parameters(settlements: Sequence[Settlement]) -> dict[str, Any]:
    fences = [settlement.fence for settlement in settlements]
    outcomes = [settlement.outcome for settlement in settlements]
    return {
        # No two are alike, which `array` is made for.
        "ids": "{" + ",".join([fence.id.hex for fence in fences]) + "}",
        "attempts": array([fence.attempt for fence in fences]),
        "claims": array([fence.claim for fence in fences]),
        "verbs": array([outcome.verb for outcome in outcomes]),
        "results": array([outcome.result for outcome in outcomes]),
        "errors": array([outcome.error for outcome in outcomes]),
        "delays": array([outcome.delay for outcome in outcomes]),
        "backoffs": array([outcome.backoff for outcome in outcomes]),
        "alone": array([settlement.alone for settlement in settlements]),
        "max_snoozes": MAX_SNOOZES,
        "kept_errors": KEPT_ERRORS,
    }


# As the statement `settle` abbreviates them.
_STATUS_OF = {status.value[0]: status for status in JobStatus if status is not JobStatus.RUNNING}


def _statuses(settled: str) -> list[JobStatus | None]:
    return [_STATUS_OF.get(letter) for letter in settled]


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


def held(conn: Connection, worker_id: UUID, *, known: Collection[UUID] = ()) -> list[Held]:
    """Return the jobs that the database thinks this worker runs.

    Shape: without those of known claims that are not to stop; a busy worker holds thousands.
    """
    return [
        Held(Fence(row["id"], row["attempt"], row["claim"]), row["cancel_requested"])
        for row in rows(conn, "held", worker=worker_id, known=array(known))
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
