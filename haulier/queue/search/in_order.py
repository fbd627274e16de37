"""The first jobs of a list in another order than the usual one, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.job import JobOrder
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import array
from haulier.queue.rows import StoredJob, job_of
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import PAGE_BYTES
from haulier.queue.search.running import list_running
from haulier.queue.stories.upcoming import upcoming


def list_in_order(conn: Connection, wanted: JobFilter, order: JobOrder) -> list[StoredJob]:
    """Return the first jobs, at most `limit` and PAGE_BYTES of them, and at least one if there is one.

    `wanted` is a filter that the order fits. Jobs that have started, ended or moved since the look began are left out,
    and so is what `upcoming` leaves out.
    """
    ids = _due(conn, wanted) if order is JobOrder.DUE else _longest(conn, wanted)
    asked = {name: wanted.conditions[name] for name in ("statuses", "kinds", "queues", "worker")}
    # The statement takes one job less: of a list one more says whether there are more.
    room = {"limit": wanted.limit + 1, "most_bytes": PAGE_BYTES}
    found = rows(conn, "list_in_order", json_as_text=True, ids=array(ids), **asked, **room)
    return [job_of(row) for row in found if row["id"] is not None]


def _due(conn: Connection, wanted: JobFilter) -> Sequence[UUID]:
    # Of one queue, or of none if the caller may not see it.
    return [job.id for queue in wanted.queues or () for job in upcoming(conn, queue, limit=wanted.limit).jobs]


def _longest(conn: Connection, wanted: JobFilter) -> Sequence[UUID]:
    found, _ = list_running(
        conn, queues=wanted.queues, kinds=wanted.kinds, worker=wanted.worker, limit=wanted.limit
    )  # fmt: skip
    return [job.id for job in found]
