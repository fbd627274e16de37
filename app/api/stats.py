"""What has been counted: the figures of a span of time, and the queues."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.queue.numbers.stats import Queue, Shown, Stats, get_queue, list_queues, stats
from haulier.requests.lists import AskStats, ListQueues

from ..http.acting import check_queue_name
from ..http.auth import caller
from ..http.late_queues import with_lateness
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import NEXT_PAGE, fails
from .reading import Blueprint, ViewResult, next_page
from .schemas.counted import QueueResponse, StatsResponse

blp = Blueprint("stats", __name__, description="Statistics and queues, as counted by a worker.")


@blp.route("/stats")
class StatsView(MethodView):
    """The figures of a span."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 422, 503)
    @blp.doc(operationId="get_stats")
    @blp.arguments(AskStats(), location="query")
    @blp.response(200, StatsResponse(), description="The statistics, 5 to 15 s old.")
    def get(self, asked: dict[str, Any]) -> Stats:
        """Get statistics of a span: jobs that arrived and ended, their outcomes, wait times and run times.

        A worker with `COUNTING=on` counts them; `as_of` is the time of the last count. The call reads no jobs.
        """
        shown = Shown(asked.get("queue"), asked.get("kind"), caller().queues)
        with connection() as conn:
            return stats(conn, asked["span"], shown)


@blp.route("/queues")
class Queues(MethodView):
    """All queues."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_queues")
    @blp.arguments(ListQueues(), location="query")
    @blp.response(200, QueueResponse(many=True), headers=NEXT_PAGE, description="The queues, by name.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List the queues that have live jobs, are paused or were used recently, by name.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`.
        """
        with connection() as conn:
            found, has_more = list_queues(
                conn, after=asked.get("cursor", ""), limit=asked["limit"], queues=caller().queues
            )  # fmt: skip
            found = with_lateness(conn, found)
        return found, 200, next_page(found[-1].name) if has_more else {}


@blp.route("/queues/<name>")
class OneQueue(MethodView):
    """One queue."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_queue")
    @blp.response(200, QueueResponse(), description="The queue.")
    def get(self, name: str) -> Queue:
        """Get a queue."""
        check_queue_name(name)
        with connection() as conn:
            return with_lateness(conn, [get_queue(conn, name)])[0]
