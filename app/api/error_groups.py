"""The groups of failed attempts."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.span import DEFAULT_SPAN
from haulier.queue.failures.error_groups import ErrorFilter, ErrorGroup, get_error, id_in, list_errors, mute
from haulier.requests.acts import MuteErrors
from haulier.requests.cursor import cursor_after, read_after
from haulier.requests.invalid import load
from haulier.requests.lists import AskError, ListErrors

from ..http.auth import caller
from ..http.masking import error_as_shown, errors_as_shown, masked_kinds
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import NEXT_PAGE, fails, takes
from .reading import Blueprint, ViewResult, json_body, next_page
from .schemas.error_groups import ErrorGroupResponse, OneErrorResponse

blp = Blueprint("errors", __name__, description="Failed attempts, grouped by similar errors.")

MUTE = MuteErrors()


@blp.route("/errors")
class Errors(MethodView):
    """All groups."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_errors")
    @blp.arguments(ListErrors(), location="query")
    @blp.response(
        200,
        ErrorGroupResponse(many=True),
        headers=NEXT_PAGE,
        description="The groups seen in the span, last seen first.",
    )
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List the error groups seen in a span, last seen first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`.
        """
        after = read_after(asked.pop("cursor")) if "cursor" in asked else None
        with connection() as conn:
            wanted = ErrorFilter(**asked, queues=caller().queues, after=after, masked_kinds=masked_kinds())
            found, more = list_errors(conn, wanted)
            shown = errors_as_shown(conn, found)
        return shown, 200, next_page(cursor_after(*more)) if more else {}


@blp.route("/errors/<error_id>")
class OneError(MethodView):
    """One group."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 404, 422, 503)
    @blp.doc(operationId="get_error")
    @blp.arguments(AskError(), location="query")
    @blp.response(200, OneErrorResponse(), description="The group.")
    def get(self, asked: dict[str, Any], error_id: str) -> ErrorGroup:
        """Get an error group."""
        number = id_in(error_id)
        with connection() as conn:
            found = get_error(conn, number, ErrorFilter(asked["span"], queues=caller().queues))
            return error_as_shown(conn, found)

    @needs(Scope.OPERATE, every_queue="an error group covers every queue")
    @fails(blp, 400, 404, 413, 415, 422, 503)
    @blp.doc(operationId="mute_error", requestBody=takes(MuteErrors))
    @blp.response(200, OneErrorResponse(), description="The group, with the counts of the last 24 hours.")
    def patch(self, error_id: str) -> ErrorGroup:
        """Mute or unmute an error group. Its attempts are still counted."""
        number = id_in(error_id)
        asked = load(MUTE, json_body())
        with connection() as conn:
            mute(conn, number, asked["muted_until"], actor=caller().id)
            return error_as_shown(conn, get_error(conn, number, ErrorFilter(DEFAULT_SPAN)))
