"""Enqueue, claim and rescue, each in one call, by the functions that the product calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import ClaimRequest
from haulier.domain.job import Job, NewJob
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.claims import Rescued
from haulier.queue.jobs.draft import Enqueued
from haulier.queue.search.job_list import get_jobs


def enqueue(conn: Connection, jobs: Sequence[NewJob], *, atomic: bool = True) -> list[Enqueued]:
    """Store the jobs as `enqueue_one` or `enqueue_all` does, and return them as they are now, in the order given."""
    drafts = [job_acts.draft(job) for job in jobs]
    if len(drafts) == 1:
        return [job_acts.enqueue_one(conn, drafts[0])]
    stored = job_acts.enqueue_all(conn, drafts, atomic=atomic)
    ids = [each.job_id for each in stored if each.job_id is not None]
    jobs_by_id = {str(job.id): job for job in get_jobs(conn, ids)} if ids else {}
    return [Enqueued(each.receipt, jobs_by_id.get(each.job_id or "")) for each in stored]


def claim(
    conn: Connection, *, worker_id: UUID, claim_id: UUID, queues: Sequence[str], limit: int = 1, suspect: bool = False
) -> list[Job]:
    """Give the best due jobs to this worker, from the lanes that it would see now."""
    marks = [lane.head for lane in claims.lanes(conn, queues=queues, suspect=suspect) if lane.seconds <= 0]
    if not marks:
        return []
    request = ClaimRequest(worker_id, claim_id, marks, limit, limit, suspect)
    _, claimed = claims.settle_and_claim(conn, [], request)
    return [job.read() for job in claimed.jobs]


def seconds_until_due(conn: Connection, *, queues: Sequence[str], suspect: bool = False) -> float | None:
    """Return the seconds until a claim may take a waiting job: negative if it may already, None if there is none."""
    seconds = min((lane.seconds for lane in claims.lanes(conn, queues=queues, suspect=suspect)), default=math.inf)
    return None if seconds == math.inf else seconds


def rescue(conn: Connection) -> Rescued:
    """Declare dead every worker whose lease ran out, and take every job whose worker has no row."""
    dead = claims.bury(conn)
    rescued = Rescued(dead)
    names = {each.id: str(each) for each in dead}
    for part in claims.take_orphans(conn, buried=list(names), names=names):
        rescued.jobs.update(part.jobs)
        rescued.refused.extend(part.refused)
    return rescued
