"""What is done to all jobs of a filter, for a caller: within its rights, and shown as it may see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from haulier.domain.api_key import Scope
from haulier.domain.job import Json
from haulier.domain.operation import OperationAction
from haulier.postgres.statements import Connection
from haulier.queue.operations import operations as ops
from haulier.queue.operations.operations import Operation, Order, Preview
from haulier.queue.operations.stored_filter import as_stored
from haulier.queue.operations.work_off import Worker, work_off
from haulier.requests.invalid import Invalid

from .auth import caller
from .masking import as_shown, filter_as_shown
from .service import service

# If no worker is running, each look at an operation does this many jobs. If its process dies, another look continues
# soon.
WATCHED_JOBS, WATCHED_SECONDS = 250, 5.0


def check_action(action: OperationAction) -> None:
    """Return if the caller may have this done to jobs. Raises: Forbidden."""
    if action is OperationAction.DELETE:
        caller().check_scope(Scope.ADMIN)


def check_order(order: Order) -> None:
    """Return if there may be jobs that the order means. Raises: Invalid."""
    if order.meant.possible_statuses == []:
        raise Invalid({"filter": [f"No job that matches can be acted on by {order.action}."]})


def preview(conn: Connection, order: Order) -> Preview:
    """Return what the order would act on now."""
    found = ops.preview(conn, order)
    return replace(found, first=[as_shown(job) for job in found.first])


def start(conn: Connection, order: Order, *, as_of: datetime | None) -> Operation:
    """Have the order carried out, bound to the preview of that instant; None: to what is there now.

    Raises: Forbidden and Invalid if jobs would come to a queue that the caller may not use; PreviewNotKept;
            TooManyOperations.
    """
    shown = _checked(conn, order)
    return operation_as_shown(ops.start(conn, order, as_of=as_of, actor=caller().id, shown=shown))


def start_once(conn: Connection, order: Order, *, as_of: datetime) -> tuple[Operation, bool]:
    """Have the order carried out, and return that it is new; or return what was started from this preview before.

    Raises: as `start`.
    """
    shown = _checked(conn, order)
    started, is_new = ops.start_once(conn, order, as_of=as_of, actor=caller().id, shown=shown)
    return operation_as_shown(started), is_new


def _checked(conn: Connection, order: Order) -> dict[str, Json]:
    """Return the filter as the audit is to keep it, if the caller may have the order carried out."""
    queue = order.changes.get("queue")
    if isinstance(queue, str):
        caller().check_queue(queue)
        # A name that is new counts as one that a job is enqueued with.
        service().queue_names.check_name(conn, queue, key_id=caller().id)
    return dict(filter_as_shown(as_stored(order.filter), may_see_secrets=False))


def find(conn: Connection, operation_id: UUID) -> Operation:
    """Return the operation. Raises: OperationNotFound, also if it is bound to queues that are not the caller's."""
    return operation_as_shown(ops.get_operation(conn, operation_id, queues=caller().queues))


def cancel(conn: Connection, operation_id: UUID) -> Operation:
    """End the operation. Raises: OperationNotFound; OperationConflict."""
    find(conn, operation_id)
    return operation_as_shown(ops.cancel_operation(conn, operation_id, actor=caller().id))


def resume(conn: Connection, operation_id: UUID) -> Operation:
    """Have the operation continue. Raises: OperationNotFound; Forbidden; OperationConflict."""
    check_action(find(conn, operation_id).action)
    return operation_as_shown(ops.resume_operation(conn, operation_id, actor=caller().id))


def advance(conn: Connection, operation_id: UUID) -> Operation:
    """Do some more of the operation, unless it is not due or a worker is at it.

    Raises: OperationNotFound; Forbidden.
    """
    check_action(find(conn, operation_id).action)
    work_off(conn, Worker(uuid4(), WATCHED_SECONDS, 0.0), most_jobs=WATCHED_JOBS, only=operation_id)
    return find(conn, operation_id)


def operation_as_shown(operation: Operation) -> Operation:
    """Return the operation as the caller may see it."""
    return replace(operation, filter=filter_as_shown(operation.filter, may_see_secrets=caller().may_see_secrets))
