"""What of a queue runs next, and its lanes: its jobs of one priority are a lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.domain.job import JobStatus
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc

# A client may make thousands of lanes: this many are looked at, by a scan of this long.
MOST_LANES, LOOK_SECONDS = 50, 0.1


@dataclass(frozen=True, slots=True)
class NextJob:
    """A job that waits."""

    id: UUID
    kind: str
    status: JobStatus
    priority: int
    run_at: datetime
    attempts: int
    max_attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The jobs that run next, in that order, and the first job of each lane, the highest priority first.

    Of more than MOST_LANES lanes, or if a look takes long, those of the highest priorities. Jobs that have crashed
    before are left out: they run alone, when nothing else does.
    """

    jobs: Sequence[NextJob]
    lanes: Sequence[NextJob]


def upcoming(conn: Connection, queue: str, *, limit: int = 20) -> Upcoming:
    """Return what of the queue runs next, unless it is paused or other jobs come."""
    found = rows(
        conn, "next_jobs", queue=queue, suspect=False, limit=limit, most=MOST_LANES, look=LOOK_SECONDS
    )  # fmt: skip
    lanes = [_job(row) for row in found if row["place"] == 1]
    jobs = [_job(row) for row in found if row["number"] <= limit]
    return Upcoming(jobs, sorted(lanes, key=lambda job: -job.priority))


def _job(row: Row) -> NextJob:
    return NextJob(
        row["id"],
        row["kind"],
        JobStatus(row["status"]),
        row["priority"],
        utc(row["run_at"]),
        row["attempts"],
        row["max_attempts"],
        utc(row["created_at"]),
    )
