"""The workers, how each is and what it runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.queue.health.worker_list import Worker, get_worker, list_workers, quiet
from haulier.requests.acts import QuietWorker
from haulier.requests.invalid import load
from haulier.requests.lists import ListWorkers

from ..http.auth import caller
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import NEXT_PAGE, fails, takes
from .reading import Blueprint, ViewResult, json_body, next_page
from .schemas.worker import OneWorkerResponse, WorkerResponse

blp = Blueprint("workers", __name__, description="Workers, the processes that run jobs.")

QUIET = QuietWorker()


@blp.route("/workers")
class Workers(MethodView):
    """All workers."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_workers")
    @blp.arguments(ListWorkers(), location="query")
    @blp.response(200, WorkerResponse(many=True), headers=NEXT_PAGE, description="The workers, newest first.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List the workers, newest first.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`.
        """
        before = UUID(asked["cursor"]) if "cursor" in asked else None
        with connection() as conn:
            found, has_more = list_workers(conn, before=before, limit=asked["limit"], queues=caller().queues)
        return found, 200, next_page(str(found[-1].id)) if has_more else {}


@blp.route("/workers/<uuid:worker_id>")
class OneWorker(MethodView):
    """One worker."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_worker")
    @blp.response(200, OneWorkerResponse(), description="The worker and the jobs that it has claimed.")
    def get(self, worker_id: UUID) -> Worker:
        """Get a worker, or what is kept about one that has ended."""
        with connection() as conn:
            return get_worker(conn, worker_id, queues=caller().queues)

    @needs(Scope.OPERATE, every_queue="a worker may serve every queue")
    @fails(blp, 400, 404, 413, 415, 422, 503)
    @blp.doc(operationId="quiet_worker", requestBody=takes(QuietWorker))
    @blp.response(200, OneWorkerResponse(), description="The worker as it is now.")
    def patch(self, worker_id: UUID) -> Worker:
        """Stop a worker from claiming jobs, or let it claim again.

        Running jobs continue. A restarted worker claims jobs again.
        """
        asked = load(QUIET, json_body())
        with connection() as conn:
            quiet(conn, worker_id, asked["quiet"], actor=caller().id)
            return get_worker(conn, worker_id)
