"""Work operations off, a chunk of jobs at a time: a worker does, or whoever watches where none lives.

Several may try at once: one chunk is under way at a time. Its jobs are looked for, and then done in steps. A step is
one transaction, in which the operation's cursor and counts go on; whoever dies before its end has done nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable, Refusal, reason
from haulier.domain.operation import OperationAction
from haulier.postgres.errors import sqlstate, translated
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import array, utc
from haulier.queue.produce.job_filter import Position
from haulier.queue.produce.matching import Found, find_jobs
from haulier.queue.produce.stored_filter import from_stored
from haulier.queue.upkeep.partitions import with_history

# A chunk is at most so many jobs, and not much more than so many bytes of payloads.
MOST_JOBS, MOST_BYTES = 1_000, 4 * 2**20
# A chunk that waits longer for a lock is tried again. (Rows that are locked it passes over.)
LOCK_SECONDS = 1.0
# An outage is waited for as long as it lasts. After so long one job at a time is done, and one that takes more time or
# memory than a statement may is skipped: a job of 200 MB must not keep all others waiting.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Worker:
    """Who works an operation off. Units: lease_seconds is for how long nobody else does, should this one die."""

    id: UUID
    lease_seconds: float
    # After the chunk; less where it is the only one.
    kept_seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How a chunk is done. Shape: `rest` comes before each step, and tells whether to go on."""

    step: int
    rest: Callable[[], bool]


AT_ONCE = Pace(MOST_JOBS, lambda: True)
# What a statement is refused with if a job is too large for it.
TOO_MUCH = (sqlstate.QueryCanceled, sqlstate.OutOfMemory)
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class _Step(NamedTuple):
    """Some jobs of an operation.

    Shape: ended_from and ended_to are when the first and the last finished one ended, as far as that is known. cursor
           is where the walk has come to; it stays there at the end of the walk.
    """

    ids: Sequence[UUID]
    ended_from: datetime | None
    ended_to: datetime | None
    cursor: Position | None
    is_walked: bool


def work_off(
    conn: Connection, by: Worker, *, most_jobs: int = MOST_JOBS, only: UUID | None = None, pace: Pace = AT_ONCE
) -> bool | None:
    """Do a chunk of the operation whose turn it is, or of this one.

    Shape: None where there is nothing to do now, or somebody else does it. False where the database refused a step,
           which the operation then notes; it is tried again later. After the fifth time it has failed, but for refusals
           that may pass: these it waits for.
    """
    for taken in _take(conn, by, most_jobs, only):
        try:
            with translated():
                _do(conn, by, taken, most_jobs, pace)
        except Refusal as error:
            _delay(conn, by, taken, reason(error), may_pass=error.may_pass)
            return False
        except DatabaseUnavailable:
            raise
        except Exception as error:
            # A bug, or a filter that no program of ours has written: it must not keep all other operations waiting.
            _delay(conn, by, taken, f"{type(error).__name__}: {reason(error)}", may_pass=False)
            raise
        return True
    return None


def _take(conn: Connection, by: Worker, most_jobs: int, only: UUID | None) -> list[Row]:
    return rows(
        conn,
        "take_operation",
        by_whom=by.id,
        lease=by.lease_seconds,
        only=only,
        limit=most_jobs,
        patience=PATIENCE_SECONDS,
    )


def _delay(conn: Connection, by: Worker, taken: Row, why: str, *, may_pass: bool) -> None:
    rows(conn, "delay_operation", id=taken["id"], by_whom=by.id, text=why, may_pass=may_pass)


def leave(conn: Connection, by: Worker) -> None:
    """Let another go on at once with what this one has taken."""
    rows(conn, "leave_operations", by_whom=by.id)


def _do(conn: Connection, by: Worker, taken: Row, most_jobs: int, pace: Pace) -> None:
    begun = (utc(taken["cursor_at"]), taken["cursor_id"]) if taken["cursor_id"] else None
    for step in _steps(conn, taken, begun, most_jobs, pace):
        if not pace.rest() or not _is_done_or_skipped(conn, by, taken, begun, step):
            return
        begun = step.cursor


def _is_done_or_skipped(conn: Connection, by: Worker, taken: Row, begun: Position | None, step: _Step) -> bool:
    """Do a step; skip its only job if that has taken too much for too long. Shape: as `_is_done`."""
    try:
        return _is_done(conn, by, taken, begun, step)
    except TOO_MUCH:
        if not taken["is_late"] or len(step.ids) != 1:
            raise
        # No job has ended in this time, and no live one is acted on with it.
        return _is_done(conn, by, taken, begun, step._replace(ended_from=LATEST, ended_to=EARLIEST))


def _is_done(conn: Connection, by: Worker, taken: Row, begun: Position | None, step: _Step) -> bool:
    """Do a step, unless the operation is somebody else's by now, or over."""
    begun_at, begun_id = begun or (None, None)
    come_to, come_to_id = step.cursor or (None, None)

    def write() -> bool:
        with transaction(conn, lock_seconds=LOCK_SECONDS):
            done = rows(
                conn,
                "work_off",
                id=taken["id"],
                by_whom=by.id,
                lease=by.kept_seconds,
                ids=array(step.ids),
                ended_from=step.ended_from,
                ended_to=step.ended_to,
                begun_at=begun_at,
                begun_id=begun_id,
                come_to=come_to,
                come_to_id=come_to_id,
                is_walked=step.is_walked,
                is_late=taken["is_late"],
            )
            return bool(done)

    return with_history(conn, write)


def _steps(conn: Connection, taken: Row, begun: Position | None, most_jobs: int, pace: Pace) -> Iterator[_Step]:
    if taken["is_walked"]:
        # What was locked, in one step: after that nobody holds the operation, whose next turn is a second later.
        yield _Step(taken["later"], None, None, begun, is_walked=True)
        return
    action = OperationAction(taken["action"])
    wanted = from_stored(taken["filter"], action, taken["queues"], after=begun, limit=most_jobs)
    at_once = 1 if taken["is_late"] else pace.step
    yield from _steps_of(find_jobs(conn, wanted, most_bytes=MOST_BYTES), begun, at_once)


def _steps_of(found: Found, begun: Position | None, most_jobs: int) -> Iterator[_Step]:
    parts = [found.jobs[at : at + most_jobs] for at in range(0, len(found.jobs), most_jobs)] or [()]
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        come_to = found.after if is_last else (part[-1].created_at, part[-1].id)
        begun = come_to or begun
        ended = [job.finished_at for job in part if job.finished_at]
        first, last = min(ended, default=None), max(ended, default=None)
        yield _Step([job.id for job in part], first, last, begun, is_walked=come_to is None)
