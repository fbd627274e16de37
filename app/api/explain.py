"""Why a job waits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import JobNotFound
from haulier.queue.stories.explain import Explanation, Run, explain

from ..http.auth import caller
from ..http.routes import needs
from ..http.service import connection, service
from .openapi.document import fails
from .reading import Blueprint
from .schemas.explain import ExplainResponse

blp = Blueprint("explain", __name__)


@blp.route("/jobs/<uuid:job_id>/explain", tags=["jobs"])
class Explain(MethodView):
    """Why one job waits."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 404, 503)
    @blp.doc(operationId="explain_job")
    @blp.response(200, ExplainResponse(), description="Why the job waits, or which worker runs it.")
    def get(self, job_id: UUID) -> dict[str, Any]:
        """Explain why a job waits.

        `reasons` lists everything that keeps the job from starting; once none is left, it starts. For a running job,
        `run` says which worker runs it.
        """
        timeouts = {kind.name: kind.timeout for kind in service().kinds.values()}
        with connection() as conn:
            found = explain(conn, job_id, timeouts=timeouts)
        if not caller().may_use(found.queue):
            raise JobNotFound(job_id)
        return _shown(found)


def _shown(found: Explanation) -> dict[str, Any]:
    reasons = found.waiting.reasons(whole=caller().queues is None) if found.waiting else []
    return {"status": found.status, "reasons": reasons, "run": found.run and _shown_run(found.run)}


def _shown_run(run: Run) -> dict[str, Any]:
    return {
        "worker_id": run.worker_id,
        "worker": run.worker,
        "lease_ends": run.lease_ends,
        "since": run.since,
        "deadline": run.deadline,
    }
