"""Work operations off, a chunk of jobs at a time: a worker does, or whoever watches where none lives.

Several may try at once: one chunk is under way at a time. A chunk is one transaction, in which the operation's cursor
and counts go on; whoever dies before its end has done nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from haulier.queue.produce.matching import find_jobs
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


class _Chunk(NamedTuple):
    """Some jobs of an operation.

    Shape: ended holds when the finished ones ended, as far as that is known. cursor is where the walk has come to; it
           stays there at the end of the walk.
    """

    ids: Sequence[UUID]
    ended: Sequence[datetime]
    cursor: Position | None
    is_walked: bool


def work_off(conn: Connection, by: Worker, *, most_jobs: int = MOST_JOBS, only: UUID | None = None) -> bool | None:
    """Do a chunk of the operation whose turn it is, or of this one.

    Shape: None where there is nothing to do now, or somebody else does it. False where the database refused the chunk,
           which the operation then notes; it is tried again later, and after the fifth time it has failed.
    """
    for taken in rows(conn, "take_operation", by_whom=by.id, lease=by.lease_seconds, only=only, limit=most_jobs):
        try:
            with translated():
                _do(conn, by, taken, most_jobs)
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


def _do(conn: Connection, by: Worker, taken: Row, most_jobs: int) -> None:
    begun = (utc(taken["cursor_at"]), taken["cursor_id"]) if taken["cursor_id"] else None
    chunk = _next(conn, taken, begun, most_jobs)
    begun_at, begun_id = begun or (None, None)
    come_to, come_to_id = chunk.cursor or (None, None)

    def write() -> None:
        with transaction(conn, lock_seconds=LOCK_SECONDS):
            rows(
                conn,
                "work_off",
                id=taken["id"],
                by_whom=by.id,
                lease=by.kept_seconds,
                ids=array(chunk.ids),
                ended_from=min(chunk.ended, default=None),
                ended_to=max(chunk.ended, default=None),
                begun_at=begun_at,
                begun_id=begun_id,
                come_to=come_to,
                come_to_id=come_to_id,
                is_walked=chunk.is_walked,
            )

    with_history(conn, write)


def _next(conn: Connection, taken: Row, begun: Position | None, most_jobs: int) -> _Chunk:
    if taken["is_walked"]:
        return _Chunk(taken["later"], (), begun, is_walked=True)
    action = OperationAction(taken["action"])
    wanted = from_stored(taken["filter"], action, taken["queues"], after=begun, limit=most_jobs)
    found = find_jobs(conn, wanted, most_bytes=MOST_BYTES)
    ended = [job.finished_at for job in found.jobs if job.finished_at]
    return _Chunk([job.id for job in found.jobs], ended, found.after or begun, is_walked=found.after is None)
