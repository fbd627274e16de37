"""The state of the whole system: the depth of its queues, and the health of its workers."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from haulier.domain.errors import ReadOnly
from haulier.domain.job import JobStatus
from haulier.postgres.statements import Connection, rows
from haulier.queue.upkeep.partitions import days_ahead

# An overview names at most so many queues, and reads at most so many pages of jobs: 128 MB, half a million small jobs.
MOST_QUEUES, MOST_PAGES = 100, 16_384


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many live jobs of a queue have a status, and how long the oldest of them has been due."""

    queue: str
    status: JobStatus
    jobs: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What /metrics says of the whole system."""

    depths: list[QueueDepth] = field(default_factory=list)
    workers: int = 0
    workers_without_scans: int = 0
    oldest_beat_seconds: float | None = None
    history_days_ahead: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The workers that live, those of them on this machine, and those that find no jobs in lanes that are new to them.

    Units: oldest_beat_seconds in seconds; None without a worker.
    """

    workers: int
    here: int
    without_scans: int
    oldest_beat_seconds: float | None


def overview(conn: Connection) -> Overview:
    """Return the depth of the largest queues and of all others together, and the health of the workers.

    Shape: the others have the name `other`, and include a queue of that name. Where the jobs take more than MOST_PAGES
           pages, the figures of waiting jobs are estimates, from a sample of so many pages.
    """
    depths = [
        QueueDepth(row["queue"], JobStatus(row["status"]), row["jobs"], row["oldest_due_seconds"])
        for row in rows(conn, "queue_depths", most=MOST_QUEUES, most_pages=MOST_PAGES)
    ]
    health = worker_health(conn)
    return Overview(depths, health.workers, health.without_scans, health.oldest_beat_seconds, days_ahead(conn))


def ping(conn: Connection) -> None:
    """Make one round trip. Raises: DatabaseUnavailable; ReadOnly where no job can be enqueued."""
    [row] = rows(conn, "ping")
    if row["is_read_only"]:
        raise ReadOnly


def worker_health(conn: Connection) -> WorkerHealth:
    """Return how many workers have renewed their lease in time, and in what state they are."""
    [row] = rows(conn, "worker_health", host=socket.gethostname())
    return WorkerHealth(row["workers"], row["workers_here"], row["workers_without_scans"], row["oldest_beat_seconds"])
