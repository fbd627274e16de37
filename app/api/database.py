"""The health of the database."""

from __future__ import annotations

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.queue.produce.checks import Checkup, check_database

from ..http.routes import needs
from ..http.service import connection, service
from .openapi import fails
from .reading import Blueprint
from .schemas.database import DatabaseResponse

blp = Blueprint("database", __name__)


@blp.route("/database", tags=["ops"])
class DatabaseView(MethodView):
    """The database."""

    @needs(Scope.OPERATE, every_queue="the database is that of every queue")
    @fails(blp, 503)
    @blp.doc(operationId="check_database")
    @blp.response(200, DatabaseResponse(), description="All checks.")
    def get(self) -> Checkup:
        """Check the health of the database.

        Each check has its state and number, what such trouble does to jobs, and the fix. What the role of the API may
        not see is `unknown`, and the message says so.
        """
        with connection() as conn:
            return check_database(conn, retention_days=service().config.retention_days)
