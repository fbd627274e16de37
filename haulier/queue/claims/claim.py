"""Claim: give the best due jobs to a worker, also in one round trip with a settle. Functions over a connection."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from haulier.domain.claim import ClaimRequest, Mark, Settlement
from haulier.domain.errors import JobRefused, Refusal
from haulier.domain.job import JobStatus
from haulier.postgres.errors import translated
from haulier.postgres.statements import STATEMENT_SECONDS, Connection, message, rows, transaction
from haulier.postgres.values import array
from haulier.queue.claims.settle import message_limits, prepared, settling, statuses_of
from haulier.queue.rows import ClaimedJob, claimed_job

# The most bytes of payloads, errors and results that one claim returns, and that one settle sends.
MOST_BYTES = 8 * 2**20
# How long a claim may take to measure large jobs. It takes as long again to send them.
MEASURE_SECONDS = 0.1


def new_claim() -> UUID:
    """Return a new id for a claim: a UUIDv7, so that the ids of one process grow with time.

    The index `job_claimed` then lists what a worker has run in the order of the table. With random ids each entry
    would lead to another page of the table, and while somebody holds a snapshot the dead entries of hours are read.
    """
    bits = int.from_bytes(os.urandom(10))
    bits = bits & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return UUID(int=time.time_ns() // 1_000_000 << 80 | bits)


class Claimed(NamedTuple):
    """What a claim returned.

    `found` is how many jobs were due and not locked, up to the limit of the claim, those included that it left for its
    other limits.
    """

    jobs: list[ClaimedJob]
    found: int

    @property
    def size(self) -> int:
        """Return how many characters of JSON text the jobs hold."""
        return sum([job.text_size for job in self.jobs])

    def has_all(self, request: ClaimRequest) -> bool:
        """Return whether the claim took all due jobs, uncut by its limits of jobs, bytes, time and last attempts."""
        return len(self.jobs) == self.found < request.limit


NOTHING = Claimed([], 0)


def settle_and_claim(
    conn: Connection,
    settlements: Sequence[Settlement],
    request: ClaimRequest | None,
    *,
    worker_name: str | None = None,
) -> tuple[list[JobStatus | None], Claimed]:
    """Settle and then claim in one round trip and two transactions, each of them durable when this returns.

    In one transaction, or as one statement, workers would deadlock: SKIP LOCKED does not skip a row whose newer
    version it has to follow. A settlement is left out if somebody else has settled the claim, and if the row is
    locked just now; see `settle` for both, and for `worker_name`.

    Returns: the status that each settlement led to, None if it was left out; the jobs, best first: by priority, then
            by how long they are due. Their attempt is counted already; the id of the claim must be new for each call.
    Raises: DatabaseUnavailable: what was settled and claimed is then unknown; see `held`. Refusal: either nothing or
            everything was settled, and nothing was claimed: continue with `settle_each` and `claim_next`.
    Source: PostgreSQL manual, SELECT, "The Locking Clause" (SKIP LOCKED).
    """
    names: list[str] = []
    parameters = message_limits()
    if settlements:
        settle, values = settling(settlements, worker_name)
        names += settle
        parameters.update(values)
    if request:
        names += ["read_committed", "claim_by_index", "claim"]
        parameters.update(claim_parameters(request))
    else:
        names += ["settled"]
    with translated(), prepared.on(conn) as calls:
        head, *claimed = message(conn, names, seconds=2 * STATEMENT_SECONDS, prepared=calls, **parameters)
    if request is None:
        return statuses_of(head[0]), NOTHING
    return statuses_of(head[_SETTLED]) if settlements else [], _claimed(request, head, claimed)


def claim_next(conn: Connection, request: ClaimRequest) -> Claimed:
    """Claim the first job of a request and no other; if the database refuses that, name the job.

    The job's row is locked first and the claim begins at its place, so that a refusal is certainly about this job.

    Raises: JobRefused; Refusal if the database refuses claims whatever the job; DatabaseUnavailable.
    """
    first: Mark | None = None
    try:
        with translated(), transaction(conn):
            first = _lock_next(conn, request)
            if first is None:
                return NOTHING
            alone = replace(request, marks=[first], limit=1, free=max(1, request.free))
            head, *claimed = message(
                conn,
                ["claim_by_index", "claim"],
                seconds=STATEMENT_SECONDS,
                prepared={},
                **message_limits(),
                **claim_parameters(alone),
            )
            return _claimed(request, head, claimed)
    except Refusal as error:
        if first is None:
            raise
        refused = JobRefused(first.id, error, lane=first.lane)
    _check_claims(conn, request)
    raise refused


def has_next(conn: Connection, request: ClaimRequest) -> bool:
    """Return whether there is a job that a claim of one would take."""
    return _lock_next(conn, request) is not None


def _lock_next(conn: Connection, request: ClaimRequest) -> Mark | None:
    parameters = claim_parameters(request)
    found = rows(conn, "lock_next", **{word: parameters[word] for word in _NEXT})
    return Mark(found[0]["queue"], found[0]["priority"], found[0]["run_at"], found[0]["id"]) if found else None


_NEXT = ("queues", "priorities", "marks", "mark_ids", "passed_over", "suspect")


def _check_claims(conn: Connection, request: ClaimRequest) -> None:
    """Claim from no lane, to see whether claims are refused whatever the job. Raises: Refusal; DatabaseUnavailable."""
    parameters = {**message_limits(), **claim_parameters(replace(request, marks=[]))}
    with translated():
        message(
            conn, ["read_committed", "claim_by_index", "claim"], seconds=STATEMENT_SECONDS, prepared={}, **parameters
        )


def _claimed(request: ClaimRequest, head: tuple[Any, ...], claimed: list[tuple[Any, ...]]) -> Claimed:
    claimed.sort(key=itemgetter(_NUMBER))
    now = datetime.fromisoformat(head[_NOW])
    jobs = [claimed_job(row, worker_id=request.worker_id, claim_id=request.claim_id, started_at=now) for row in claimed]
    return Claimed(jobs, head[_NUMBER])


# Columns of the statement `claim`; the last two are set in its first row only. The number in the first row is how many
# jobs were locked.
_NUMBER, _SETTLED, _NOW = 0, 1, 2


def claim_parameters(request: ClaimRequest) -> dict[str, Any]:
    """Return the parameters of the statement `claim`."""
    return {
        "worker": str(request.worker_id),
        "claim": str(request.claim_id),
        "queues": array([mark.queue for mark in request.marks]),
        "priorities": array([mark.priority for mark in request.marks]),
        "marks": array([mark.run_at for mark in request.marks]),
        "mark_ids": array([mark.id for mark in request.marks]),
        "passed_over": array(request.passed_over),
        "limit": request.limit,
        "most_bytes": MOST_BYTES,
        "measure": MEASURE_SECONDS,
        "free": request.free,
        "suspect": request.suspect,
    }
