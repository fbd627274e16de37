"""Work operations off, a chunk of jobs at a time: a worker does, or whoever watches where none lives.

Several may try at once: one chunk is under way at a time. Its jobs are looked for, and then done in steps. A step is
one transaction, in which the operation's cursor and counts go on; whoever dies before its end has done nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.domain.errors import DatabaseUnavailable, Refusal, reason
from haulier.domain.operation import OperationAction
from haulier.postgres.errors import translated
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


class _Step(NamedTuple):
    """Some jobs of an operation.

    Shape: ended holds when the finished ones ended, as far as that is known. cursor is where the walk has come to; it
           stays there at the end of the walk.
    """

    ids: Sequence[UUID]
    ended: Sequence[datetime]
    cursor: Position | None
    is_walked: bool


def work_off(
    conn: Connection, by: Worker, *, most_jobs: int = MOST_JOBS, only: UUID | None = None, pace: Pace = AT_ONCE
) -> bool | None:
    """Do a chunk of the operation whose turn it is, or of this one.

    Shape: None where there is nothing to do now, or somebody else does it. False where the database refused a step,
           which the operation then notes; it is tried again later, and after the fifth time it has failed.
    """
    for taken in rows(conn, "take_operation", by_whom=by.id, lease=by.lease_seconds, only=only, limit=most_jobs):
        try:
            with translated():
                _do(conn, by, taken, most_jobs, pace)
        except Refusal as error:
            rows(conn, "delay_operation", id=taken["id"], by_whom=by.id, text=reason(error))
            return False
        except DatabaseUnavailable:
            raise
        except Exception as error:
            # A bug, or a filter that no program of ours has written: it must not keep all other operations waiting.
            rows(
                conn, "delay_operation", id=taken["id"], by_whom=by.id, text=f"{type(error).__name__}: {reason(error)}"
            )
            raise
        return True
    return None


def leave(conn: Connection, by: Worker) -> None:
    """Let another go on at once with what this one has taken."""
    rows(conn, "leave_operations", by_whom=by.id)


def _do(conn: Connection, by: Worker, taken: Row, most_jobs: int, pace: Pace) -> None:
    begun = (utc(taken["cursor_at"]), taken["cursor_id"]) if taken["cursor_id"] else None
    for step in _steps(conn, taken, begun, most_jobs, pace):
        if not pace.rest() or not _is_done(conn, by, taken["id"], begun, step):
            return
        begun = step.cursor


def _is_done(conn: Connection, by: Worker, operation_id: UUID, begun: Position | None, step: _Step) -> bool:
    """Do a step, unless the operation is somebody else's by now, or over."""
    begun_at, begun_id = begun or (None, None)
    come_to, come_to_id = step.cursor or (None, None)

    def write() -> bool:
        with transaction(conn, lock_seconds=LOCK_SECONDS):
            done = rows(
                conn,
                "work_off",
                id=operation_id,
                by_whom=by.id,
                lease=by.kept_seconds,
                ids=array(step.ids),
                ended_from=min(step.ended, default=None),
                ended_to=max(step.ended, default=None),
                begun_at=begun_at,
                begun_id=begun_id,
                come_to=come_to,
                come_to_id=come_to_id,
                is_walked=step.is_walked,
            )
            return bool(done)

    return with_history(conn, write)


def _steps(conn: Connection, taken: Row, begun: Position | None, most_jobs: int, pace: Pace) -> Iterator[_Step]:
    if taken["is_walked"]:
        # What was locked, in one step: after that nobody holds the operation, whose next turn is a second later.
        yield _Step(taken["later"], (), begun, is_walked=True)
        return
    action = OperationAction(taken["action"])
    wanted = from_stored(taken["filter"], action, taken["queues"], after=begun, limit=most_jobs)
    yield from _steps_of(find_jobs(conn, wanted, most_bytes=MOST_BYTES), begun, pace.step)


def _steps_of(found: Found, begun: Position | None, most_jobs: int) -> Iterator[_Step]:
    parts = [found.jobs[at : at + most_jobs] for at in range(0, len(found.jobs), most_jobs)] or [()]
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        come_to = found.after if is_last else (part[-1].created_at, part[-1].id)
        begun = come_to or begun
        ended = [job.finished_at for job in part if job.finished_at]
        yield _Step([job.id for job in part], ended, begun, is_walked=come_to is None)
