"""Pauses and resumes queues."""

from __future__ import annotations

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast
from haulier.queue.numbers.stats import Queue, find_or_empty
from haulier.queue.queues.pauses import pause, resume
from haulier.requests.acts import PauseQueue
from haulier.requests.invalid import Invalid, load

from ..http.acting import check_queue_name
from ..http.auth import caller
from ..http.late_queues import with_lateness
from ..http.routes import needs
from ..http.service import connection
from .openapi.document import fails, takes
from .reading import Blueprint, optional_body
from .schemas.counted import QueueResponse

blp = Blueprint("queues", __name__, description="Pause and resume queues.")

PAUSE = PauseQueue()


@blp.route("/queues/<name>/pause")
class Pause(MethodView):
    """The pause of a queue."""

    @needs(Scope.OPERATE)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="pause_queue", requestBody=takes(PauseQueue, required=False))
    @blp.response(200, QueueResponse(), description="The queue as it is now.")
    def post(self, name: str) -> Queue:
        """Pause a queue, until a given time or until it is resumed.

        The body may be empty. Running jobs continue; at most a second after the answer no further job starts. If the
        queue is already paused, the end of the pause is replaced. 404 for an invalid queue name, 409 if 1,000 queues
        are paused.
        """
        check_queue_name(name)
        asked = load(PAUSE, optional_body())
        with connection() as conn:
            try:
                pause(conn, name, until=asked["until"], actor=caller().id, reason=asked["reason"])
            except PauseInThePast:
                raise Invalid({"until": ["Must be in the future."]}) from None
            return with_lateness(conn, [find_or_empty(conn, name)])[0]


@blp.route("/queues/<name>/resume")
class Resume(MethodView):
    """The end of a queue's pause."""

    @needs(Scope.OPERATE)
    @fails(blp, 404, 422, 503)
    @blp.doc(operationId="resume_queue")
    @blp.response(200, QueueResponse(), description="The queue as it is now.")
    def post(self, name: str) -> Queue:
        """Resume a queue at once.

        The body may be empty. Does nothing if the queue is not paused. 404 for an invalid queue name.
        """
        check_queue_name(name)
        with connection() as conn:
            resume(conn, name, actor=caller().id)
            return with_lateness(conn, [find_or_empty(conn, name)])[0]
