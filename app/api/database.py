"""The health of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import Refusal, reason
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection, transaction
from haulier.queue.health.database_checks import check_database
from haulier.queue.health.tables import LOOK_SECONDS, Table, list_tables

from ..http.routes import needs
from ..http.service import connection, number_of_cell, service
from .openapi.document import fails
from .reading import Blueprint
from .schemas.database_report import DatabaseResponse

blp = Blueprint("database", __name__)

# What the look at the tables waits for a lock.
LOCK_SECONDS = 0.2


@blp.route("/database", tags=["ops"])
class DatabaseView(MethodView):
    """The database."""

    @needs(Scope.OPERATE, slow=True, every_queue="the database covers every queue")
    @fails(blp, 503)
    @blp.doc(operationId="check_database")
    @blp.response(200, DatabaseResponse(), description="The checks and the tables.")
    def get(self) -> dict[str, Any]:
        """Check the health of the database.

        Each check has a state, a number, its effect on jobs, and the fix. A check is `unknown` if the role of the API
        may not read it; its message says so. Tables are sorted by size, largest first. If they could not be read,
        `tables` is null and `tables_message` says why.
        """
        with connection() as conn:
            found = check_database(conn, retention_days=service().config.retention_days)
            tables, message = _tables(conn)
        checked = {"at": found.at, "version": found.version, **number_of_cell(), "checks": found.checks}
        return {**checked, "tables": tables, "tables_message": message}


def _tables(conn: Connection) -> tuple[Sequence[Table] | None, str | None]:
    """Return the tables; or None, and why."""
    try:
        with translated(), transaction(conn, seconds=LOOK_SECONDS, lock_seconds=LOCK_SECONDS):
            return list_tables(conn), None
    except Refusal as error:
        return None, f"could not be read: {reason(error)}"
