"""Whether the service answers, and whether its database does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from flask import Flask, current_app
from flask.views import MethodView

from haulier import worker_state
from haulier.domain.errors import ReadOnly, Refusal, StatementRefused
from haulier.domain.job import Json
from haulier.domain.text import count
from haulier.postgres.statements import Connection
from haulier.queue.health import overview
from haulier.queue.health.overview import WorkerHealth
from haulier.version import version

from ..http.routes import Entry, needs
from ..http.service import connection, number_of_cell
from .openapi.document import fails
from .reading import Blueprint
from .schemas.response_schemas import HealthResponse

# Routers ask often: the answers about unserved jobs, and about whether jobs can be enqueued, are kept for this long.
UNSERVED_LOOK_SECONDS, WRITES_LOOK_SECONDS = 10.0, 5.0

blp = Blueprint("ops", __name__, description="Health and metrics.")


class Writes:
    """Whether jobs can be enqueued, tried now and then. Safe for all threads."""

    def __init__(self) -> None:
        self._good_at = float("-inf")

    def check(self, conn: Connection) -> None:
        """Return if they can, or could a moment ago, and the database answers. Raises: DatabaseUnavailable."""
        began_at = time.monotonic()
        if began_at - self._good_at < WRITES_LOOK_SECONDS:
            overview.ping(conn)
            return
        self._good_at = float("-inf")
        try:
            overview.check_writes(conn)
        except StatementRefused as error:
            # A right is missing: some platforms take it away once a database is too large.
            raise ReadOnly from error
        self._good_at = began_at


class Unserved:
    """Whether due jobs wait in queues that no live worker serves, looked for now and then. Safe for all threads."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._found = False

    def found(self, conn: Connection) -> bool:
        """Tell what the last look has found, after another one if that is due."""
        if time.monotonic() - self._looked_at >= UNSERVED_LOOK_SECONDS and self._looking.acquire(blocking=False):
            try:
                self._looked_at = time.monotonic()
                self._found = overview.has_unserved(conn)
            except Refusal:
                # It has taken too long, for one: nothing is known, and that is no reason to be unwell.
                self._found = False
            finally:
                self._looking.release()
        return self._found


def register(app: Flask) -> None:
    """Keep what this application knows for its answers."""
    app.extensions["haulier_unserved"] = Unserved()
    app.extensions["haulier_writes"] = Writes()


def _warnings(conn: Connection, health: WorkerHealth) -> Iterator[str]:
    yield from _of_the_worker_beside(health)
    # No queue is named: anybody may ask.
    if health.without_scans:
        yield f"{count(health.without_scans, 'worker')} cannot look for new jobs: see the log"
    unserved: Unserved = current_app.extensions["haulier_unserved"]
    if not health.serve_every_queue and unserved.found(conn):
        yield (
            "due jobs wait in queues that no live worker serves: check WORKER_QUEUES and the metric"
            " haulier_due_jobs_unserved"
            if health.workers
            else "due jobs wait, and no worker is running"
        )


@blp.route("/health")
class Health(MethodView):
    """The service and its database."""

    @needs(Entry.ANYONE, quiet=True)
    @fails(blp, 503)
    @blp.doc(operationId="check_health")
    @blp.response(200, HealthResponse(), description="The service and its database respond.")
    def get(self) -> Json:
        """Check whether jobs can be enqueued.

        At most every 5 s it inserts a job and rolls back, which detects a full disk, a locked table and a read-only
        server. It also checks that history has a partition, without which jobs cannot end. `warnings` report workers
        that cannot look for new jobs, due jobs in queues that no live worker serves, and a missing worker of `haulier
        all`: such jobs are stored but start late.
        """
        with connection() as conn:
            current_app.extensions["haulier_writes"].check(conn)
            warnings = list(_warnings(conn, overview.worker_health(conn)))
        health: Json = {"status": "ok", "version": version(), **number_of_cell()}
        return health | {"warnings": warnings} if warnings else health


def _of_the_worker_beside(health: WorkerHealth) -> list[str]:
    runs = worker_state.runs()
    if runs is None:
        return []
    if not runs:
        return ["the worker of `haulier all` is not running: it is being restarted"]
    return [] if health.here else ["the worker of `haulier all` sends no heartbeat: see its log"]


@blp.route("/health/live")
class Live(MethodView):
    """Only the process."""

    @needs(Entry.ANYONE, quiet=True)
    @blp.doc(operationId="check_liveness")
    @blp.response(200, HealthResponse(), description="The process responds.")
    def get(self) -> Json:
        """Check whether the process responds.

        Does not check the database: a platform that restarts on failure would make an outage worse.
        """
        return {"status": "ok"}
