"""What happened to a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import JobNotFound
from haulier.domain.timeline import Step, timeline
from haulier.queue.stories.timeline import trace

from ..http.auth import caller
from ..http.masking import as_shown
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import fails
from .reading import Blueprint
from .schemas.timeline_step import TimelineResponse

blp = Blueprint("timeline", __name__)


@blp.route("/jobs/<uuid:job_id>/timeline", tags=["jobs"])
class Timeline(MethodView):
    """What happened to one job."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_timeline")
    @blp.response(200, TimelineResponse(), description="The steps that are kept, oldest first.")
    def get(self, job_id: UUID) -> dict[str, Any]:
        """Get the timeline of a job, step by step.

        The last 20 failed runs and the last run are kept; a step says how many are not. `by` is shown only to API keys
        with the scope `operate`.
        """
        with connection() as conn:
            found = trace(conn, job_id)
        if not caller().may_use(found.job.queue):
            raise JobNotFound(job_id)
        steps = timeline(found._replace(job=as_shown(found.job)).facts)
        return {"status": found.job.status, "steps": [_shown(step) for step in steps]}


def _shown(step: Step) -> Step:
    return step if caller().may_see_actors else replace(step, by=None)
