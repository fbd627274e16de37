"""The kinds of job that can be enqueued here."""

from __future__ import annotations

from flask.views import MethodView

from haulier.domain.job import Json

from ..http.payload_schema import payload_schema
from ..http.routes import Entry, needs
from ..http.service import service
from .reading import Blueprint
from .schemas.response_schemas import KindResponse

blp = Blueprint("kinds", __name__, description="The kinds of jobs.")


@blp.route("/kinds")
class Kinds(MethodView):
    """Every registered kind."""

    @needs(Entry.ANY_KEY)
    @blp.doc(operationId="list_kinds")
    @blp.response(200, KindResponse(many=True), description="All kinds, by name.")
    def get(self) -> list[Json]:
        """List the kinds with the JSON schemas of their payloads."""
        return [
            {
                "kind": kind.name,
                "payload_schema": payload_schema(kind),
                "timeout_seconds": kind.timeout,
                "retry": {"base_seconds": kind.retry.base, "cap_seconds": kind.retry.cap},
            }
            for kind in service().kinds.values()
        ]
