"""Reads what is to be different in a job from the body of a request, and has it done."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from uuid import UUID

from haulier.domain.errors import JobChanged
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_list import visible
from haulier.requests.job_request import JobChanges, read_changes
from haulier.requests.strict_json import parse

from ..http.acting import Act, done
from ..http.auth import caller
from ..http.job_changes import changes_of
from ..http.service import connection
from .openapi.document import JSON_TYPE, takes
from .reading import body, body_type

REQUIRED_BODY = takes(JobChanges)
OPTIONAL_BODY = takes(JobChanges, required=False)

# How often a job is read again if another call changes it meanwhile.
TIMES = 5


def acted(act: Act, job_id: UUID, *, is_required: bool = False, enqueues: bool = False) -> StoredJob:
    """Return the job after an act with the changes that the request's body has, if any, as the caller may see it.

    `enqueues`: the act makes a new job, so that its queue has to be one that may be used, changed or not.
    Raises: Invalid; Forbidden; and what the act raises.
    """
    raw = body()
    if raw or is_required:
        body_type(JSON_TYPE)
    once = partial(_read_and_done, act, job_id, raw, enqueues=enqueues)
    if not raw and not is_required and not enqueues:
        once = partial(done, act, job_id)
    for _ in range(TIMES - 1):
        with suppress(JobChanged):
            return once()
    return once()


def _read_and_done(act: Act, job_id: UUID, raw: bytes, *, enqueues: bool) -> StoredJob:
    with connection() as conn:
        job = visible(conn, job_id, caller().queues)
    asked = read_changes(parse(raw)) if raw else {}
    changes = changes_of(asked, job)
    queue = asked.get("queue") or job.queue
    return done(act, job_id, changes, queue=queue if enqueues or queue != job.queue else None)
