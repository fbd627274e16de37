"""Calls about single jobs: enqueue, get, list, change, cancel, retry, copy, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request
from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.job import JobOrder
from haulier.queue import jobs, search
from haulier.queue.jobs.draft import Enqueued, Receipt
from haulier.queue.rows import StoredJob
from haulier.queue.search.in_order import list_in_order
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Page, visible
from haulier.requests.cursor import write_cursor
from haulier.requests.invalid import Invalid, load
from haulier.requests.job_conditions import BESIDE, JobQuery, ListJobs
from haulier.requests.job_request import IdempotencyHeader

from ..http.auth import caller
from ..http.enqueuing import enqueuing
from ..http.filtering import job_filter
from ..http.masking import as_shown
from ..http.own_path import own_path
from ..http.routes import needs
from ..http.service import connection
from .changing import OPTIONAL_BODY, REQUIRED_BODY, acted
from .error_responses import IdempotencyGone, IdempotencyMismatch
from .openapi.document import CREATE_JOB_BODY, LOCATION, LOOKED_BACK_TO, NEXT_PAGE, REPLAYED, RETRY_AFTER, fails
from .reading import Blueprint, ViewResult, json_body, looked_back_to, next_page
from .schemas.job import JobResponse
from .schemas.response_schemas import CancelResponse, CountResponse

blp = Blueprint("jobs", __name__, description="Enqueue, read, change, cancel, retry, copy and delete jobs.")

IDEMPOTENCY_HEADER = IdempotencyHeader()


def _is_search() -> bool:
    """Return whether the jobs of the list have to be looked for: it is not simply a page of all."""
    return not set(request.args) <= {"limit", "cursor", "offset"}


@blp.route("/jobs")
class Jobs(MethodView):
    """All jobs."""

    @needs(Scope.ENQUEUE)
    @fails(blp, 400, 409, 413, 415, 422, 503)
    # Documented here but read by the view: webargs would add a tenth to the time of a request.
    @blp.doc(
        operationId="enqueue_job",
        parameters=[{"in": "header", "schema": IDEMPOTENCY_HEADER}],
        requestBody=CREATE_JOB_BODY,
    )
    @blp.alt_response(
        200,
        schema=JobResponse(),
        headers={**LOCATION, **REPLAYED},
        description="The idempotency key is known: this is the job as it is now; if another cell has it, as it was when"
        " it was accepted.",
    )
    @blp.response(201, JobResponse(), headers=LOCATION, description="The job is stored and will run.")
    def post(self) -> ViewResult:
        """Enqueue a job.

        201 means that the job is committed to the database. It then runs at least once, so make handlers idempotent.
        Send an `Idempotency-Key` to make this call safe to repeat.
        """
        key, checks = _idempotency_key(), enqueuing()
        draft = checks.draft(json_body(), key)
        with connection() as conn:
            checks.queue_names.check(conn, draft)
            return answer_to(jobs.enqueue_one(conn, draft))

    @needs(Scope.READ, slow=_is_search)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_jobs")
    @blp.arguments(ListJobs(), location="query")
    @blp.response(
        200, JobResponse(many=True), headers={**NEXT_PAGE, **LOOKED_BACK_TO}, description="The jobs, newest first."
    )
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List jobs, newest first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`. Both headers
        are absent on the last page. A page may be shorter than `limit`: it ends after about 8 MB, and a search that
        few jobs match stops early. `Looked-Back-To` then says how far the search got, and the next page continues from
        there. Beside `payload`, parameters named `payload.<path>` work, up to five together. With `sort` there is only
        one page.
        """
        wanted = job_filter(asked, after=asked.get("cursor"), limit=asked["limit"], offset=asked.get("offset", 0))
        if "sort" in asked:
            return _in_order(wanted, JobOrder(asked["sort"])), 200, {}
        with connection() as conn:
            page = search.list_jobs(conn, wanted)
        return [as_shown(job) for job in page.jobs], 200, _next_page(page)


def _in_order(wanted: JobFilter, order: JobOrder) -> list[StoredJob]:
    if wanted.payload:
        raise Invalid({"sort": [BESIDE[order]]})
    with connection() as conn:
        return [as_shown(job) for job in list_in_order(conn, wanted, order)]


def _idempotency_key() -> str | None:
    given = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    return None if given is None else str(load(IDEMPOTENCY_HEADER, {"Idempotency-Key": given})["idempotency_key"])


def answer_to(enqueued: Enqueued) -> ViewResult:
    """Return the answer to one enqueued job. Raises: IdempotencyMismatch; IdempotencyGone."""
    if enqueued.receipt is Receipt.MISMATCH:
        raise IdempotencyMismatch
    if enqueued.job is None:
        raise IdempotencyGone
    headers = {"Location": location_of(enqueued.job.id)}
    if enqueued.receipt is Receipt.CREATED:
        return as_shown(enqueued.job), 201, headers
    return as_shown(enqueued.job), 200, {**headers, "Idempotent-Replayed": "true"}


def location_of(job_id: UUID) -> str:
    """Return the job's path."""
    return own_path(f"/jobs/{job_id}")


def _next_page(page: Page) -> dict[str, str]:
    if page.after is None:
        return {}
    return {**next_page(write_cursor(*page.after)), **looked_back_to(page.looked_back_to)}


@blp.route("/jobs/count")
class JobCount(MethodView):
    """How many jobs there are."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 422, 503)
    @blp.doc(operationId="count_jobs")
    @blp.arguments(JobQuery(), location="query")
    @blp.response(200, CountResponse(), headers=LOOKED_BACK_TO, description="How many jobs there are.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """Count jobs.

        For waiting and running jobs of a queue or kind, this is the last count of a worker, of the time `at`. Other
        jobs are counted now, newest first. If that takes too long, counting stops: `is_exact` is false and
        `Looked-Back-To` says how far it got.
        """
        with connection() as conn:
            count = search.count_jobs(conn, job_filter(asked))
        return count, 200, looked_back_to(count.looked_back_to)


@blp.route("/jobs/<uuid:job_id>")
class OneJob(MethodView):
    """One job."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_job")
    @blp.response(200, JobResponse(), description="The job, whether live or finished.")
    def get(self, job_id: UUID) -> StoredJob:
        """Get a job."""
        with connection() as conn:
            return as_shown(visible(conn, job_id, caller().queues))

    @needs(Scope.OPERATE)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="change_job", requestBody=REQUIRED_BODY)
    @blp.response(200, JobResponse(), description="The job as it is now.")
    def patch(self, job_id: UUID) -> StoredJob:
        """Change a waiting job.

        Fields that are absent or null stay unchanged. 409 if the job is running or has ended. `max_attempts` must be
        more than `attempts`. The payload is checked against the kind's schema. The audit log keeps the old values.
        """
        return acted(jobs.change, job_id, is_required=True)

    @needs(Scope.ADMIN)
    @fails(blp, 404, 409, 422, 503)
    @blp.doc(operationId="delete_job")
    @blp.response(204, description="The job is deleted.")
    def delete(self, job_id: UUID) -> None:
        """Delete a finished job.

        409 while the job is live: cancel it first. Its idempotency key stays, so repeating its original request gets
        409.
        """
        with connection() as conn:
            jobs.delete(conn, job_id, actor=caller().id, queues=caller().queues)


@blp.route("/jobs/<uuid:job_id>/cancel")
class Cancel(MethodView):
    """One job's cancellation."""

    @needs(Scope.OPERATE)
    @fails(blp, 404, 409, 422, 503)
    @blp.doc(operationId="cancel_job")
    @blp.alt_response(
        202,
        schema=CancelResponse(),
        headers={**LOCATION, **RETRY_AFTER},
        description="The job is running and was asked to stop. It ends as `cancelled`, whatever its handler returns.",
    )
    @blp.response(200, CancelResponse(), description="The job was waiting and will not run.")
    def post(self, job_id: UUID) -> ViewResult:
        """Cancel a job.

        The body may be empty. 409 if the job has ended.
        """
        with connection() as conn:
            cancelled = jobs.cancel(conn, job_id, actor=caller().id, queues=caller().queues)
        if cancelled:
            return {"status": "cancelled", "job_id": job_id}, 200, {}
        return {"status": "pending", "job_id": job_id}, 202, {"Location": location_of(job_id), "Retry-After": "1"}


@blp.route("/jobs/<uuid:job_id>/retry")
class Retry(MethodView):
    """One job's retry."""

    @needs(Scope.OPERATE)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="retry_job", requestBody=OPTIONAL_BODY)
    @blp.response(200, JobResponse(), description="The job, queued again with all its attempts.")
    def post(self, job_id: UUID) -> StoredJob:
        """Queue a failed or cancelled job again.

        The body may be empty, or have changes to make. `attempts` restarts at 0; `last_error` and `errors` are kept.
        409 if the job is in another state.
        """
        return acted(jobs.retry, job_id)


@blp.route("/jobs/<uuid:job_id>/copy")
class Copy(MethodView):
    """Copies of one job."""

    @needs(Scope.OPERATE, also=Scope.ENQUEUE)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="copy_job", requestBody=OPTIONAL_BODY)
    @blp.response(201, JobResponse(), headers=LOCATION, description="The new job.")
    def post(self, job_id: UUID) -> ViewResult:
        """Enqueue a copy of a job in any state.

        The body may be empty, or have changes to make. The copy has the kind, payload, queue, priority,
        `max_attempts`, `timeout_seconds` and tags of the original. Everything else is as for a new job; it has no
        idempotency key.
        """
        made = acted(jobs.copy, job_id, enqueues=True)
        return made, 201, {"Location": location_of(made.id)}
