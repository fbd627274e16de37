"""The verbs of whoever does work: register, claim, settle, beat, rescue. Functions over a connection.

How a claim is settled is in settle.py, and how the jobs of the dead are taken in rescue.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from haulier.domain.errors import JobRefused, Refusal
from haulier.domain.job import Job, JobStatus
from haulier.queue.connection import STATEMENT_SECONDS, Connection, array, message, rows, transaction
from haulier.queue.errors import translated
from haulier.queue.lanes import Lane, LaneName, Mark, Stretch, fresh_lanes, heads, lanes, stretch
from haulier.queue.plans import plans
from haulier.queue.rescue import RESCUED_AT_ONCE, Dead, Rescued, bury, rescue, take_orphans
from haulier.queue.rows import ClaimedJob, claimed_job
from haulier.queue.settle import (
    SETTLE,
    Fence,
    Settlement,
    message_limits,
    settle,
    settle_each,
    settle_parameters,
    settled_earlier,
    statuses_of,
)

__all__ = [
    "MOST_BYTES",
    "RESCUED_AT_ONCE",
    "Claimed",
    "Dead",
    "Fence",
    "Held",
    "Lane",
    "LaneName",
    "Mark",
    "Rescued",
    "Settlement",
    "Stretch",
    "Wish",
    "beat",
    "bury",
    "cancelled",
    "claim",
    "claim_next",
    "deregister",
    "exchange",
    "fresh_lanes",
    "has_next",
    "has_turn",
    "heads",
    "held",
    "lanes",
    "new_claim",
    "register",
    "rescue",
    "seconds_until_due",
    "settle",
    "settle_each",
    "settled_earlier",
    "strays",
    "stretch",
    "take_orphans",
]


# What one claim brings, and what one settle sends, at most: of payloads, errors and results together.
MOST_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """A job that the database thinks a worker runs."""

    fence: Fence
    cancel_requested: bool


def register(
    conn: Connection, *, host: str, pid: int, threads: int, queues: Sequence[str], lease_seconds: float
) -> UUID:
    """Enter a worker process and return the id under which it claims and beats."""
    [row] = rows(
        conn, "register", host=host, pid=pid, threads=threads, queues=list(queues) or None, lease=lease_seconds
    )
    return UUID(str(row["id"]))


@dataclass(frozen=True, slots=True)
class Wish:
    """A claim: what a worker would like to have.

    Shape: `free` threads start what they get at once; passed_over are the jobs to leave, since they cannot be claimed.
    """

    worker_id: UUID
    claim_id: UUID
    marks: Sequence[Mark]
    limit: int
    free: int
    suspect: bool = False
    passed_over: Sequence[UUID] = ()


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
    if not marks:
        return []
    _, claimed = exchange(conn, [], Wish(worker_id, claim_id, marks, limit, limit, suspect))
    return [job.read() for job in claimed.jobs]


def new_claim() -> UUID:
    """Return an id for a claim (UUIDv7): those of one process grow with time.

    So what a worker has run lies in its index as it lies in the table. By random ids each entry would be a page of its
    own, and while somebody holds a snapshot the dead ones of hours are read.
    """
    bits = int.from_bytes(os.urandom(10))
    bits = bits & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return UUID(int=time.time_ns() // 1_000_000 << 80 | bits)


class Claimed(NamedTuple):
    """What a claim brought. Shape: size is how much text the jobs hold."""

    jobs: list[ClaimedJob]
    size: int

    def has_all(self, wish: Wish) -> bool:
        """Tell whether there was certainly no more to claim than this: not more than fits, nor more last attempts.

        Shape: false also where it is not certain. The server counts bytes, of which a letter has four at most.
        """
        if len(self.jobs) >= wish.limit or self.size >= MOST_BYTES // 4:
            return False
        return len(self.jobs) < wish.free or sum([job.is_last_attempt for job in self.jobs]) < wish.free


NOTHING = Claimed([], 0)


def exchange(
    conn: Connection, settlements: Sequence[Settlement], wish: Wish | None
) -> tuple[list[JobStatus | None], Claimed]:
    """Settle and then claim in one round trip and two transactions, each of them durable when this returns.

    In one transaction, or as one statement, they would deadlock: SKIP LOCKED does not skip a row that it must follow
    to its newer version. A claim that was settled by somebody else, and one whose row is locked just now, is left
    out: `settle` tells which it was.

    Shape:  the status that each settlement led to, None where it was left out; the jobs, best first.
    Raises: DatabaseUnavailable; what was settled and claimed is then unknown. Refusal: nothing was settled
            then, or all of it, and nothing was claimed that could be read: `settle_each` and `claim_next` go on.
    """
    names: list[str] = []
    parameters = message_limits()
    if settlements:
        names += SETTLE
        parameters.update(settle_parameters(settlements))
    if wish:
        names += ["read_committed", "claim_by_index", "claim"]
        parameters.update(_claim_parameters(wish))
    else:
        names += ["settled"]
    with translated():
        head, *claimed = plans.message(conn, names, seconds=2 * STATEMENT_SECONDS, **parameters)
    if wish is None:
        return statuses_of(head[0]), NOTHING
    return statuses_of(head[_SETTLED]) if settlements else [], _claimed(wish, head, claimed)


def claim_next(conn: Connection, wish: Wish) -> Claimed:
    """Claim the first job of a wish and no other; where it cannot be claimed, tell which it is.

    Its row is locked first, and the claim begins there: so it is certainly the one that the claim fails at.

    Raises: JobRefused; Refusal where a claim would be refused whatever the job; DatabaseUnavailable.
    """
    first: Mark | None = None
    try:
        with translated(), transaction(conn):
            first = _lock_next(conn, wish)
            if first is None:
                return NOTHING
            alone = replace(wish, marks=[first], limit=1, free=max(1, wish.free))
            head, *claimed = message(
                conn,
                ["claim_by_index", "claim"],
                seconds=STATEMENT_SECONDS,
                prepared={},
                **message_limits(),
                **_claim_parameters(alone),
            )
            return _claimed(wish, head, claimed)
    except Refusal as error:
        if first is None:
            raise
        refused = JobRefused(first.id, error, lane=first.lane)
    _check_claims(conn, wish)
    raise refused


def has_next(conn: Connection, wish: Wish) -> bool:
    """Tell whether there is a job that a claim of one would take."""
    return _lock_next(conn, wish) is not None


def _lock_next(conn: Connection, wish: Wish) -> Mark | None:
    parameters = _claim_parameters(wish)
    found = rows(conn, "lock_next", **{word: parameters[word] for word in _NEXT})
    return Mark(found[0]["queue"], found[0]["priority"], found[0]["run_at"], found[0]["id"]) if found else None


_NEXT = ("queues", "priorities", "marks", "mark_ids", "passed_over", "suspect")


def _check_claims(conn: Connection, wish: Wish) -> None:
    """Return where claims are not refused as such. Raises: Refusal; DatabaseUnavailable."""
    parameters = {**message_limits(), **_claim_parameters(replace(wish, marks=[]))}
    with translated():
        message(
            conn, ["read_committed", "claim_by_index", "claim"], seconds=STATEMENT_SECONDS, prepared={}, **parameters
        )


def _claimed(wish: Wish, head: tuple[Any, ...], claimed: list[tuple[Any, ...]]) -> Claimed:
    if not claimed:
        return NOTHING
    claimed.sort(key=itemgetter(_NUMBER))
    now = datetime.fromisoformat(head[_NOW])
    jobs = [claimed_job(row, worker_id=wish.worker_id, claim_id=wish.claim_id, started_at=now) for row in claimed]
    return Claimed(jobs, sum([job.text_size for job in jobs]))


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
        "passed_over": array(wish.passed_over),
        "limit": wish.limit,
        "most_bytes": MOST_BYTES,
        "free": wish.free,
        "suspect": wish.suspect,
    }


def seconds_until_due(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> float | None:
    """Return how long until a waiting job is due (negative: it is), or None when none waits."""
    return min((lane.seconds for lane in lanes(conn, queues=queues, suspect=suspect)), default=None)


def beat(conn: Connection, worker_id: UUID, *, scans_fail: bool = False) -> float | None:
    """Renew the worker's lease; None when it was declared dead, and its jobs are no longer its own.

    Shape: scans_fail is for all to see: this worker finds no jobs that are new to it.
    Units: seconds since the beat before, by the database's clock.
    """
    found = rows(conn, "beat", worker=worker_id, scans_fail=scans_fail)
    return float(found[0]["seconds"]) if found else None


def has_turn(conn: Connection, worker_id: UUID, *, slot_seconds: float) -> bool:
    """Tell whether it is this worker's turn to do what the workers of the same queues must not all do at once."""
    [row] = rows(conn, "has_turn", worker=worker_id, slot=slot_seconds)
    return bool(row["has_turn"])


def held(conn: Connection, worker_id: UUID, claims: Collection[UUID]) -> list[Held]:
    """Return the jobs that the database thinks this worker runs under these claims."""
    found = rows(conn, "held", worker=worker_id, claims=array(claims)) if claims else []
    return [Held(Fence(row["id"], row["attempt"], row["claim"]), row["cancel_requested"]) for row in found]


def strays(conn: Connection, worker_id: UUID, known: Collection[UUID]) -> list[Held]:
    """Return the jobs that the database thinks this worker runs under other claims than those."""
    found = rows(conn, "strays", worker=worker_id, claims=array(known))
    return [Held(Fence(row["id"], row["attempt"], row["claim"]), row["cancel_requested"]) for row in found]


def cancelled(conn: Connection, worker_id: UUID) -> list[Fence]:
    """Return which of the jobs that this worker runs are to stop."""
    return [Fence(row["id"], row["attempt"], row["claim"]) for row in rows(conn, "cancelled", worker=worker_id)]


def deregister(conn: Connection, worker_id: UUID) -> None:
    """Take the worker's row away, after its last job was settled; a job it still runs is rescued at once."""
    rows(conn, "deregister", worker=worker_id)
