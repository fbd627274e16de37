"""Rescue: declare dead each worker whose lease ran out, and take its jobs. Functions over a connection."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from haulier.domain.claim import Failure, Settlement
from haulier.domain.errors import DatabaseUnavailable, JobCutOff, JobRefused, Refusal, RefusedForNow
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.domain.worker import worker_name
from haulier.postgres.errors import sqlstate, translated
from haulier.postgres.halves import by_halves
from haulier.postgres.statements import Connection, Row, bounded, rows
from haulier.postgres.values import array
from haulier.queue.claims.settle import settle_each
from haulier.queue.rows import fence_of

# How many orphans are read at once; how many one statement takes, and of how many bytes, to end within a second.
ORPHANS_AT_ONCE, RESCUED_AT_ONCE, BYTES_AT_ONCE = 5_000, 500, 8 * 2**20
# How many jobs that were taken from a worker its row names, and how long it may take to write that.
MOST_NAMED, NOTE_SECONDS = 100, 0.5


class Dead(NamedTuple):
    """A worker that was declared dead."""

    id: UUID
    host: str
    pid: int

    def __str__(self) -> str:
        return worker_name(self.host, self.pid)


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a sweep found.

    `jobs` maps ids to the status they now have, taken_from to the worker that ran them; refused are the jobs that the
    database refused to settle; is_slow says that a statement waited for too long, and its jobs are left.
    """

    workers: list[Dead] = field(default_factory=list)
    jobs: dict[UUID, JobStatus] = field(default_factory=dict)
    taken_from: dict[UUID, UUID] = field(default_factory=dict)
    refused: list[JobRefused] = field(default_factory=list)
    is_slow: bool = False


class _Orphan(NamedTuple):
    settlement: Settlement
    bytes: int
    worker_id: UUID
    worker_name: str | None


def seconds_until_lapse(conn: Connection) -> float:
    """Return the seconds until the next lease of a worker runs out; infinite if none is left."""
    [row] = rows(conn, "next_lapse")
    return math.inf if row["seconds"] is None else float(row["seconds"])


def bury(conn: Connection, caller: UUID | None = None) -> list[Dead]:
    """Declare dead every worker whose lease ran out, and return them; a row that the database will not delete is left.

    Only for a worker whose own beats have succeeded for a whole lease: after an outage every lease has run out, and no
    worker is dead. `caller` is that worker: if its own last beat looks old, the clock has jumped, and none is dead.
    Other statements take the jobs of the dead: if the database refuses one of these, they must still be declared dead.

    Raises: Refusal if no worker could be declared dead; DatabaseUnavailable.
    """
    try:
        with translated():
            return list(_bury(conn, caller).values())
    except Refusal as error:
        lapsed = [row["id"] for row in rows(conn, "lapsed")]

        def bury_some(workers: Sequence[UUID]) -> list[Dead | None]:
            buried = _bury(conn, caller, workers)
            return [buried.get(each) for each in workers]

        dead = [each for each in by_halves(lapsed, bury_some) if isinstance(each, Dead)]
        if not dead:
            raise error
        return dead


def _bury(conn: Connection, caller: UUID | None, workers: Sequence[UUID] | None = None) -> dict[UUID, Dead]:
    buried = rows(conn, "bury", worker=caller, workers=None if workers is None else array(workers))
    return {row["id"]: Dead(row["id"], row["host"], row["pid"]) for row in buried}


def take_orphans(
    conn: Connection,
    *,
    buried: Collection[UUID] = (),
    names: Mapping[UUID, str] = MappingProxyType({}),
    workers: Collection[UUID] | None = None,
    passed_over: Collection[UUID] = (),
    most: int | None = None,
) -> Iterator[Rescued]:
    """Take the jobs whose worker has no row, of these workers or of all; yield what each statement took.

    A crash is an attempt: the job is due at once, as a suspect, or failed permanently when its budget is spent. A job
    that crashed beside others on its last attempt gets that back: it may not be the culprit, and runs alone next.
    The jobs are read without a lock: a worker whose row is gone never gets one again, and the fence says if somebody
    else was quicker.

    `buried` are the workers that the caller has just declared dead; names are the workers' names, as far as the caller
    knows them; `passed_over` are jobs to leave for now; most is how many jobs a statement takes.
    Raises: DatabaseUnavailable; JobCutOff if the connection was lost at one large job.
    """
    found = rows(
        conn,
        "orphans",
        workers=None if workers is None else array(workers),
        passed_over=array(passed_over),
        limit=ORPHANS_AT_ONCE,
    )
    large = {row["id"] for row in found if row["bytes"] > BYTES_AT_ONCE}
    orphans = [
        _Orphan(_crash_of(row, buried), row["bytes"], row["worker_id"], names.get(row["worker_id"])) for row in found
    ]
    ran_on = {orphan.settlement.fence.id: orphan.worker_id for orphan in orphans}
    for named, batch in _batches(orphans, most or RESCUED_AT_ONCE):
        try:
            settled = settle_each(conn, batch, worker_name=named)
            became = dict(zip((each.fence.id for each in batch), settled, strict=True))
        except RefusedForNow as error:
            # One job waits for a lock, or is too large to be moved in time: the other batches must not wait for it.
            refused = [_refused(batch[0].fence.id, error, large)] if len(batch) == 1 else []
            yield Rescued(refused=refused, is_slow=True)
            continue
        except DatabaseUnavailable as error:
            if len(batch) == 1 and batch[0].fence.id in large:
                raise JobCutOff(batch[0].fence.id) from error.__cause__ or error
            raise
        jobs = {job_id: status for job_id, status in became.items() if isinstance(status, JobStatus)}
        yield Rescued(
            jobs=jobs,
            taken_from={job_id: ran_on[job_id] for job_id in jobs},
            refused=[_refused(job_id, error, large) for job_id, error in became.items() if isinstance(error, Refusal)],
        )


def note_taken_over(conn: Connection, taken_from: Mapping[UUID, UUID]) -> None:
    """Note these jobs, with the worker that ran each, in the rows of these workers, for people to see.

    No job needs it: if it fails, the count is too low.
    """
    with (
        suppress(Refusal, DatabaseUnavailable),
        bounded(seconds=NOTE_SECONDS, lock_seconds=NOTE_SECONDS / 5),
        translated(),
    ):
        ids, workers = array(taken_from.keys()), array(taken_from.values())
        rows(conn, "note_taken_over", ids=ids, workers=workers, most=MOST_NAMED)


def _refused(job_id: UUID, error: Refusal, large: Collection[UUID]) -> JobRefused:
    is_too_large = job_id in large and isinstance(error.__cause__, (sqlstate.QueryCanceled, sqlstate.OutOfMemory))
    return JobRefused(job_id, error, is_too_large=is_too_large)


def end_without_payload(conn: Connection, job_id: UUID) -> Rescued:
    """Let an orphan fail permanently that cannot be moved to the history with its payload, which is lost.

    No job, if it is no orphan any more.
    Raises: DatabaseUnavailable.
    """
    try:
        with translated():
            ended = rows(conn, "end_without_payload", id=job_id)
    except Refusal as error:
        return Rescued(refused=[JobRefused(job_id, error)])
    return Rescued(jobs={row["id"]: JobStatus(row["status"]) for row in ended})


def _crash_of(orphan: Row, buried: Collection[UUID]) -> Settlement:
    error = _crash_error(orphan["crashes"] + 1)
    return Settlement(
        fence_of(orphan),
        Outcome(Verb.CRASH, error=error, delay=0.0),
        # A job left by an earlier sweep does not count as the only one: the others of its crash may be taken already.
        alone=orphan["crashes"] > 0 or (orphan["company"] == 1 and orphan["worker_id"] in buried),
        # One group, after the first crash as after the second.
        failure=Failure(fingerprint(orphan["kind"], _crash_error(2)), orphan["queue"], error),
    )


def _batches(orphans: Sequence[_Orphan], most: int) -> Iterator[tuple[str | None, list[Settlement]]]:
    """Yield the orphans in batches of one worker that one statement has the time for, each with the worker's name.

    Large jobs come last, each by itself.
    """
    batch: list[Settlement] = []
    size, name = 0, None
    for orphan in sorted(orphans, key=lambda each: (each.bytes > BYTES_AT_ONCE, each.worker_name or "")):
        if batch and (orphan.worker_name != name or len(batch) >= most or size + orphan.bytes > BYTES_AT_ONCE):
            yield name, batch
            batch, size = [], 0
        batch.append(orphan.settlement)
        size, name = size + orphan.bytes, orphan.worker_name
    if batch:
        yield name, batch


def _crash_error(crashes: int) -> str:
    times = "once" if crashes == 1 else f"{crashes} times"
    return f"the worker process running this job died or lost its lease ({times} so far)"
