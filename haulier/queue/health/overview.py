"""The state of the whole system: the depth of its queues, and the health of its workers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from haulier.domain.errors import DatabaseUnavailable, ReadOnly, RowRefused
from haulier.domain.job import JobStatus
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection, rows, transaction_of
from haulier.queue.lane_scan import scan
from haulier.queue.schedules.schedule_health import Overdue, overdue
from haulier.queue.upkeep.partitions import days_ahead

# An overview names at most this many queues, and reads at most this many pages of jobs: 128 MB, half a million small
# jobs.
MOST_QUEUES, MOST_PAGES = 100, 16_384
# What was counted longer ago is not used: a worker counts every 10 s, and more rarely only beyond 600,000 live jobs.
COUNTED_SECONDS = 60.0
# A worker that is replaced in order is away for some seconds; a look for what nobody serves may take this long.
UNSERVED_SECONDS, LOOK_SECONDS = 10.0, 0.1
# What `check_writes` may take, and wait for a lock: a migration holds one for less.
PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many live jobs of a queue have a status, and how long the oldest of them has been due.

    `oldest_due_seconds` is None also if the queue is paused; unserved are those that are due, if no live worker serves
    the queue and it is not paused.
    """

    queue: str
    status: JobStatus
    jobs: int
    oldest_due_seconds: float | None
    unserved: int = 0


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How the live workers are.

    `here` are those on this machine; `without_scans` are those that find no jobs in lanes that are new to them, because
    their scans fail; `serve_every_queue` is true if some worker does.
    """

    workers: int = 0
    here: int = 0
    without_scans: int = 0
    serve_every_queue: bool = False
    oldest_beat_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unserved:
    """Queues with due jobs that no live worker takes. `is_whole`: no others were left out for want of time."""

    queues: Sequence[str]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """What /metrics says of the whole system."""

    depths: list[QueueDepth] = field(default_factory=list)
    health: WorkerHealth = field(default_factory=WorkerHealth)
    paused_queues: int = 0
    history_days_ahead: float = 0.0
    overdue: Overdue = field(default_factory=Overdue)


def overview(conn: Connection, *, as_counted: bool = False) -> Overview:
    """Return the depth of the largest queues and of all others together, and the health of the workers.

    The others have the name `other`, and include a queue of that name. With as_counted the depths are those that a
    worker has counted, COUNTED_SECONDS ago at most, if one has. Else, if the jobs take more than MOST_PAGES pages, the
    figures of waiting jobs are estimates, from a sample of this many pages.
    """
    if as_counted and rows(conn, "depths_counted_since", lately=COUNTED_SECONDS)[0]["is_so"]:
        found = rows(conn, "counted_depths", most=MOST_QUEUES)
    else:
        found = rows(conn, "queue_depths", most=MOST_QUEUES, most_pages=MOST_PAGES)
    depths = [
        QueueDepth(row["queue"], JobStatus(row["status"]), row["jobs"], row["oldest_due_seconds"], row["unserved"])
        for row in found
    ]
    [paused] = rows(conn, "count_paused")
    return Overview(depths, worker_health(conn), paused["queues"], days_ahead(conn), overdue(conn))


def ping(conn: Connection) -> None:
    """Make one round trip. Raises: DatabaseUnavailable; ReadOnly if no job can be enqueued."""
    [row] = rows(conn, "ping")
    if row["is_read_only"]:
        raise ReadOnly


def check_writes(conn: Connection) -> None:
    """Return if jobs can be enqueued and can end. It inserts a job and rolls that back.

    Raises: DatabaseUnavailable, such as ReadOnly or Locked; StatementRefused if a right is missing.
    """
    # A trigger of the owner's may refuse this job, and accept others.
    limits = {"seconds": PROBE_SECONDS, "lock_seconds": PROBE_SECONDS}
    with suppress(_Undone, RowRefused), translated(), transaction_of(conn, "try_to_enqueue", **limits):
        raise _Undone
    if days_ahead(conn) <= 0:
        raise DatabaseUnavailable(
            "History has no partition for the current time, so jobs cannot end. Start a"
            " worker or run `haulier migrate`."
        )


class _Undone(Exception):
    pass


def worker_health(conn: Connection) -> WorkerHealth:
    """Return how the live workers are."""
    [row] = rows(conn, "worker_health", host=socket.gethostname())
    return WorkerHealth(
        row["workers"],
        row["workers_here"],
        row["workers_without_scans"],
        row["serve_every_queue"],
        row["oldest_beat_seconds"],
    )


def unserved_queues(conn: Connection, *, queues: Sequence[str] | None = None) -> Unserved:
    """Return the queues for which `has_unserved` is true, the first MOST_QUEUES by name.

    `queues` are those that the caller may see; None: every queue.
    """
    [row] = rows(
        conn,
        "unserved_queues",
        due_for=UNSERVED_SECONDS,
        queues=None if queues is None else list(queues),
        most=MOST_QUEUES,
        **scan(suspect=False, seconds=LOOK_SECONDS),
    )
    return Unserved(row["names"] or (), row["is_whole"])


def has_unserved(conn: Connection) -> bool:
    """Return whether a job has been due for a while in a queue that no live worker serves and that is not paused.

    False also if a short look finds none, among very many queues.
    Raises: Refusal; DatabaseUnavailable.
    """
    with translated():
        [row] = rows(
            conn,
            "has_unserved",
            seconds=5 * LOOK_SECONDS,
            due_for=UNSERVED_SECONDS,
            **scan(suspect=False, seconds=LOOK_SECONDS),
        )
    return bool(row["has_unserved"])
