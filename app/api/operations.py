"""Operations: what is done to all jobs of a filter."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, current_app
from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import PreviewNotKept
from haulier.domain.job import Json
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order, Preview
from haulier.queue.search.job_filter import JobFilter
from haulier.requests.cursor import write_cursor
from haulier.requests.fields import time_text
from haulier.requests.invalid import Invalid
from haulier.requests.lists import ListOperations
from haulier.requests.operation_request import StartOperation, read_operation

from ..http import ordering
from ..http.auth import caller
from ..http.filtering import filter_in_body
from ..http.own_path import own_path
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import NEXT_PAGE, fails, takes
from .reading import JSON_TYPE, Blueprint, ViewResult, json_body, next_page
from .schemas.operation import OperationResponse, PreviewResponse

blp = Blueprint(
    "operations", __name__, description="Actions on all jobs that match a filter: preview, start, watch, stop."
)

PREVIEW = PreviewResponse()
LOCATION = {
    "Location": {"description": "Path of the operation.", "schema": {"type": "string", "format": "uri-reference"}}
}


@blp.route("/operations")
class Operations(MethodView):
    """All operations."""

    @needs(Scope.OPERATE, slow=True)
    @fails(blp, 400, 403, 409, 413, 415, 422, 503)
    @blp.doc(operationId="start_operation", requestBody=takes(StartOperation))
    @blp.alt_response(
        200, schema=PREVIEW, description="With `dry_run`: the jobs that the operation would act on. Nothing is changed."
    )
    @blp.response(
        202, OperationResponse(), headers=LOCATION, description="The operation is stored; workers will carry it out."
    )
    def post(self) -> ViewResult | Response:
        """Act on all jobs that match a filter.

        With `dry_run`, only report which jobs match. An operation started with the `as_of` of that preview acts only
        on those jobs, and skips jobs that have changed since: the set can shrink, never grow. Workers carry the
        operation out, starting after `starts_in_seconds`. Deleting needs the scope `admin`.
        """
        order, as_of, is_preview = _order(json_body())
        with connection() as conn:
            if is_preview:
                return _previewed(ordering.preview(conn, order))
            try:
                started = ordering.start(conn, order, as_of=as_of)
            except PreviewNotKept as error:
                raise Invalid({"as_of": [f"{error} Preview again."]}) from None
        return started, 202, {"Location": own_path(f"/operations/{started.id}")}

    @needs(Scope.OPERATE)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_operations")
    @blp.arguments(ListOperations(), location="query")
    @blp.response(200, OperationResponse(many=True), headers=NEXT_PAGE, description="The operations, newest first.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List operations, newest first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`. A key that
        is limited to some queues sees only operations that were started with such keys.
        """
        with connection() as conn:
            found, has_more = ops.list_operations(
                conn,
                queues=caller().queues,
                statuses=asked.get("status"),
                after=asked.get("cursor"),
                limit=asked["limit"],
            )
        more = next_page(write_cursor(found[-1].created_at, found[-1].id)) if has_more else {}
        return [ordering.operation_as_shown(each) for each in found], 200, more


@blp.route("/operations/<uuid:operation_id>")
class OneOperation(MethodView):
    """One operation."""

    @needs(Scope.OPERATE)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_operation")
    @blp.response(200, OperationResponse(), description="The operation and its progress.")
    def get(self, operation_id: UUID) -> Operation:
        """Get an operation."""
        with connection() as conn:
            return ordering.find(conn, operation_id)


@blp.route("/operations/<uuid:operation_id>/cancel")
class Cancel(MethodView):
    """One operation's cancellation."""

    @needs(Scope.OPERATE)
    @fails(blp, 404, 409, 422, 503)
    @blp.doc(operationId="cancel_operation")
    @blp.response(200, OperationResponse(), description="The cancelled operation.")
    def post(self, operation_id: UUID) -> Operation:
        """Cancel an operation.

        The body may be empty. Jobs already changed stay changed; a batch of jobs in progress is finished first. 409 if
        the operation has ended.
        """
        with connection() as conn:
            return ordering.cancel(conn, operation_id)


@blp.route("/operations/<uuid:operation_id>/resume")
class Resume(MethodView):
    """One operation's resumption."""

    @needs(Scope.OPERATE)
    @fails(blp, 403, 404, 409, 422, 503)
    @blp.doc(operationId="resume_operation")
    @blp.response(200, OperationResponse(), description="The operation, which continues at once.")
    def post(self, operation_id: UUID) -> Operation:
        """Continue a cancelled or failed operation where it stopped.

        The body may be empty. 409 if the operation is in another state.
        """
        with connection() as conn:
            return ordering.resume(conn, operation_id)


@blp.route("/operations/<uuid:operation_id>/advance")
class Advance(MethodView):
    """The next jobs of one operation."""

    @needs(Scope.OPERATE, slow=True)
    @fails(blp, 403, 404, 422, 503)
    @blp.doc(operationId="advance_operation")
    @blp.response(200, OperationResponse(), description="The operation and its progress.")
    def post(self, operation_id: UUID) -> Operation:
        """Carry out the next part of an operation while no worker is running.

        Programs that watch an operation call this. The body may be empty. Does nothing if the operation is not due or
        a worker is working on it.
        """
        with connection() as conn:
            return ordering.advance(conn, operation_id)


def _previewed(preview: Preview) -> Response:
    return current_app.response_class(PREVIEW.printed(preview) + b"\n", 200, content_type=JSON_TYPE)


def _order(data: Json) -> tuple[Order, datetime | None, bool]:
    """Return the order, the instant to which it is bound, and whether it is only previewed. Raises: Invalid."""
    asked, payload = read_operation(data)
    ordering.check_action(asked["action"])
    changes = dict(asked.get("changes") or {})
    if "run_at" in changes:
        changes["run_at"] = time_text(changes["run_at"])
    order = Order(
        asked["action"],
        _filter(asked["filter"], payload),
        caller().queues,
        changes,
        asked["spread_seconds"],
        asked["starts_in_seconds"],
    )
    ordering.check_order(order)
    return order, asked.get("as_of"), asked["dry_run"]


def _filter(conditions: dict[str, Any], payload: dict[str, Json]) -> JobFilter:
    try:
        return filter_in_body(conditions, payload)
    except Invalid as error:
        raise Invalid({"filter": error.details}) from None
