"""What operators did: the record."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.queue.access.audit_log import ActionFilter, find_actions
from haulier.requests.cursor import entry_cursor, entry_of
from haulier.requests.lists import ListAudit

from ..http.masking import details_as_shown
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import LOOKED_BACK_TO, NEXT_PAGE, fails
from .reading import Blueprint, ViewResult, looked_back_to, next_page
from .schemas.audit_entry import ActionResponse

blp = Blueprint("audit", __name__, description="The audit log: who did what.")


@blp.route("/audit")
class Audit(MethodView):
    """The record."""

    @needs(Scope.OPERATE, slow=True, every_queue="the record covers every queue")
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_audit")
    @blp.arguments(ListAudit(), location="query")
    @blp.response(
        200,
        ActionResponse(many=True),
        headers={**NEXT_PAGE, **LOOKED_BACK_TO},
        description="The actions, newest first.",
    )
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List what operators did (the audit log), newest first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`. Both headers
        are absent on the last page. A search for a rare actor, action or target stops after 10,000 entries. The page
        may then be short or empty, `Looked-Back-To` says how far the search got, and the next page continues from
        there.
        """
        wanted = ActionFilter(
            job_id=asked.get("job"),
            target=asked.get("target"),
            actor=asked.get("actor"),
            actions=asked.get("action"),
            at_after=asked.get("after"),
            at_before=asked.get("before"),
            after=entry_of(asked["cursor"]) if "cursor" in asked else None,
            limit=asked["limit"],
        )
        with connection() as conn:
            page = find_actions(conn, wanted)
        shown = [details_as_shown(each) for each in page.actions]
        if page.after is None:
            return shown, 200, {}
        return shown, 200, {**next_page(entry_cursor(*page.after)), **looked_back_to(page.looked_back_to)}
