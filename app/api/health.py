"""Whether the service answers, and whether its database does."""

from __future__ import annotations

from flask.views import MethodView

from haulier.domain.job import Json
from haulier.queue import produce

from ..http.routes import Entry, needs
from ..http.service import connection
from .openapi import fails
from .reading import Blueprint
from .schemas.response_schemas import HealthResponse

blp = Blueprint("ops", __name__, description="Health and metrics.")


@blp.route("/health")
class Health(MethodView):
    """The service and its database."""

    @needs(Entry.ANYONE, quiet=True)
    @fails(blp, 503)
    @blp.response(200, HealthResponse(), description="The service and its database answer.")
    def get(self) -> Json:
        """Ask whether jobs can be enqueued.

        Asks the database whether it takes writes. Where workers cannot look for new jobs, `warnings` say so: what is
        enqueued is kept, and starts late.
        """
        with connection() as conn:
            produce.ping(conn)
            failing = produce.workers_without_scans(conn)
        if not failing:
            return {"status": "ok"}
        return {"status": "ok", "warnings": [f"the looks for new jobs fail in {failing} workers: see their logs"]}


@blp.route("/health/live")
class Live(MethodView):
    """The process alone."""

    @needs(Entry.ANYONE, quiet=True)
    @blp.response(200, HealthResponse(), description="The process answers.")
    def get(self) -> Json:
        """Ask whether the process answers.

        Does not look at the database: a platform that restarts on a failure would only make an outage worse.
        """
        return {"status": "ok"}
