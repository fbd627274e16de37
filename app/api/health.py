"""Whether the service answers, and whether its database does."""

from __future__ import annotations

from flask.views import MethodView

from haulier import beside
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
    @blp.doc(operationId="check_health")
    @blp.response(200, HealthResponse(), description="The service and its database answer.")
    def get(self) -> Json:
        """Ask whether jobs can be enqueued.

        Asks the database whether it takes writes. Where workers cannot look for new jobs, or the one that `haulier all`
        runs beside this API is away, `warnings` say so: what is enqueued is kept, and starts late.
        """
        with connection() as conn:
            produce.ping(conn)
            health = produce.worker_health(conn)
        warnings = [*_of_the_worker_beside(health), *_of_looks(health)]
        return {"status": "ok", **({"warnings": warnings} if warnings else {})}


def _of_looks(health: produce.WorkerHealth) -> list[str]:
    failing = health.without_scans
    return [f"the looks for new jobs fail in {failing} workers: see their logs"] if failing else []


def _of_the_worker_beside(health: produce.WorkerHealth) -> list[str]:
    runs = beside.runs()
    if runs is None:
        return []
    if not runs:
        return ["the worker of `haulier all` is not running: it is being started again"]
    return [] if health.here else ["the worker of `haulier all` does not beat: see its log"]


@blp.route("/health/live")
class Live(MethodView):
    """The process alone."""

    @needs(Entry.ANYONE, quiet=True)
    @blp.doc(operationId="check_liveness")
    @blp.response(200, HealthResponse(), description="The process answers.")
    def get(self) -> Json:
        """Ask whether the process answers.

        Does not look at the database: a platform that restarts on a failure would only make an outage worse.
        """
        return {"status": "ok"}
