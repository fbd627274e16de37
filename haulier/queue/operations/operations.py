"""Operations: preview what a filter matches, have it done to all of that, look at how far it is, cancel, resume.

An operation is worked off elsewhere: haulier/queue/operations/work_off.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from haulier.domain.errors import OperationConflict, OperationNotFound, PreviewNotKept, TooManyOperations
from haulier.domain.job import Json
from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import utc
from haulier.queue.operations.stored_filter import as_stored, from_stored
from haulier.queue.rows import StoredJob
from haulier.queue.search.find_ids import CountByKind, count_by_kind
from haulier.queue.search.job_filter import JobFilter, Position
from haulier.queue.search.job_list import count_by_depths, list_jobs

# A preview counts for this long, and shows this many jobs.
COUNT_SECONDS, FIRST_JOBS = 0.5, 5
# A preview reads all jobs of tags that no more jobs have, if a list would look back: a person acts on its answer.
MOST_TAGGED = 10_000
# An operation's own rate is known after this long: its first steps are small.
LEAST_SECONDS = 1.0
# Of the operations that are not over, a preview looks at this many of the newest.
MOST_OPEN = 50


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done to which jobs.

    `queues` are the caller's; None: every queue. changes: queue, priority, and run_at or delay_seconds; for a
    retry max_attempts, timeout_seconds and tags too.
    """

    action: OperationAction
    filter: JobFilter
    queues: Sequence[str] | None = None
    changes: Mapping[str, Json] = field(default_factory=dict)
    spread_seconds: int = 0
    starts_in_seconds: float = 0.0

    @property
    def meant(self) -> JobFilter:
        """Return the filter of the jobs that can be acted on."""
        return from_stored(as_stored(self.filter), self.action, self.queues)


@dataclass(frozen=True, slots=True)
class Preview:
    """What an order would act on.

    `id` names what was seen then; first are the newest of the jobs; open_operations are not over and may change jobs of
    the same queues and kinds, which this one then skips.
    """

    id: UUID
    as_of: datetime
    matched: int
    matched_is: MatchedIs
    by_kind: Mapping[str, int]
    first: Sequence[StoredJob]
    open_operations: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, and how far it is. `filter` and changes are objects, as they are stored."""

    id: UUID
    action: OperationAction
    filter: Mapping[str, Json]
    changes: Mapping[str, Json]
    queues: Sequence[str] | None
    spread_seconds: int
    actor: str | None
    status: OperationStatus
    as_of: datetime
    matched: int
    matched_is: MatchedIs
    done: int
    skipped: int
    failed: int
    created_at: datetime
    starts_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    timed_since: datetime | None
    timed_from: int

    @property
    def walked(self) -> int:
        """Return how many jobs the operation is done with."""
        return self.done + self.skipped + self.failed

    @property
    def share(self) -> float | None:
        """Return how much of the operation is done, from 0 to 1; None if the number of its jobs is not known."""
        # There can be more than were counted, unless the count was exact.
        if self.matched_is is MatchedIs.MORE_THAN or not self.matched or self.walked > self.matched:
            return None
        return self.walked / self.matched

    def rate(self, now: datetime) -> float | None:
        """Return how many jobs a second it has walked past in the last seconds; None if that is not yet known."""
        seconds = (now - self.timed_since).total_seconds() if self.timed_since else 0.0
        walked = self.walked - self.timed_from
        return walked / seconds if walked and seconds >= LEAST_SECONDS else None


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs a second an operation walks past, or did. `finished_at` is None if it is not over."""

    action: OperationAction
    finished_at: datetime | None
    per_second: float


def preview(conn: Connection, order: Order) -> Preview:
    """Return what the order would act on now; an operation can be bound to that for a day."""
    wanted = order.meant
    [begun] = rows(conn, "begin_preview", **_sent(order))
    counted = count_by_kind(conn, wanted, seconds=COUNT_SECONDS, most_tagged=MOST_TAGGED)
    first = list_jobs(conn, replace(wanted, limit=FIRST_JOBS), MOST_TAGGED).jobs
    matched, matched_is = _matched(conn, wanted, counted)
    rows(conn, "end_preview", id=begun["id"], matched=matched, matched_is=str(matched_is))
    unfinished = _open_beside(conn, order)
    return Preview(begun["id"], utc(begun["as_of"]), matched, matched_is, counted.jobs, first, unfinished)


def _open_beside(conn: Connection, order: Order) -> list[UUID]:
    statuses = [OperationStatus.WAITING, OperationStatus.RUNNING]
    unfinished, _ = list_operations(conn, queues=order.queues, statuses=statuses, limit=MOST_OPEN)
    return [
        each.id
        for each in unfinished
        if _may_share_jobs(order.meant, from_stored(each.filter, each.action, each.queues))
    ]


def _may_share_jobs(one: JobFilter, other: JobFilter) -> bool:
    """Return whether the queues and kinds of two filters leave jobs that both mean."""
    pairs = ((one.queues, other.queues), (one.kinds, other.kinds))
    return all(left is None or right is None or set(left) & set(right) for left, right in pairs)


def _matched(conn: Connection, wanted: JobFilter, counted: CountByKind) -> tuple[int, MatchedIs]:
    found = counted.jobs.total()
    if counted.is_whole:
        return found, MatchedIs.EXACT
    if wanted.is_answered_by_depths and (live := count_by_depths(conn, wanted)) and live.jobs > found:
        return live.jobs, MatchedIs.ABOUT
    return found, MatchedIs.MORE_THAN


def start(
    conn: Connection,
    order: Order,
    *,
    as_of: datetime | None,
    actor: str | None,
    shown: Mapping[str, Json] | None = None,
) -> Operation:
    """Have the order carried out, bound to the preview of that instant; None: to what is there now.

    `shown` is the filter as the audit is to keep it.
    Raises: PreviewNotKept; TooManyOperations.
    """
    bound = preview(conn, order).id if as_of is None else _find_preview(conn, order, as_of)
    made = rows(
        conn,
        "start_operation",
        id=bound,
        changes=json.dumps(dict(order.changes)),
        spread=order.spread_seconds,
        starts_in=order.starts_in_seconds,
        actor=actor,
        shown_filter=json.dumps(dict(as_stored(order.filter) if shown is None else shown)),
    )
    if not made:
        raise TooManyOperations
    return operation_of(made[0])


def start_once(
    conn: Connection, order: Order, *, as_of: datetime, actor: str | None, shown: Mapping[str, Json] | None = None
) -> tuple[Operation, bool]:
    """Have the order carried out as `start` does, and return that it is new; or return what was started from the
    preview.

    What was started before may have other changes, and may be over.
    Raises: PreviewNotKept; TooManyOperations.
    """
    with transaction(conn):
        # Of two who come at once the second waits here, and finds the operation of the first.
        if not rows(conn, "lock_preview", id=_find_preview(conn, order, as_of)):
            raise PreviewNotKept
        for found in rows(conn, "find_started", as_of=as_of, **_sent(order)):
            return operation_of(found), False
        return start(conn, order, as_of=as_of, actor=actor, shown=shown), True


def _find_preview(conn: Connection, order: Order, as_of: datetime) -> UUID:
    found = rows(conn, "find_preview", as_of=as_of, **_sent(order))
    if not found:
        raise PreviewNotKept
    made: UUID = found[0]["id"]
    return made


def get_operation(conn: Connection, operation_id: UUID, *, queues: Sequence[str] | None = None) -> Operation:
    """Return the operation, if it is bound to some of these queues; None: to any. Raises: OperationNotFound."""
    found = rows(conn, "get_operation", id=operation_id, queues=_listed(queues))
    if not found:
        raise OperationNotFound(operation_id)
    return operation_of(found[0])


def list_operations(
    conn: Connection,
    *,
    queues: Sequence[str] | None = None,
    statuses: Sequence[OperationStatus] | None = None,
    after: Position | None = None,
    limit: int = 50,
) -> tuple[list[Operation], bool]:
    """Return the operations after this place, newest first, and whether more follow; for queues see `get_operation`."""
    after_at, after_id = after or (None, None)
    found = rows(
        conn,
        "list_operations",
        queues=_listed(queues),
        statuses=None if statuses is None else [str(each) for each in statuses],
        after_at=after_at,
        after_id=after_id,
        limit=limit + 1,
    )
    return [operation_of(row) for row in found[:limit]], len(found) > limit


def last_rate(conn: Connection, action: OperationAction, *, queues: Sequence[str] | None = None) -> Rate | None:
    """Return the rate of the last operation of this action, else of another; None if none ran in the last 7 days.

    For queues see `get_operation`.
    """
    for row in rows(conn, "last_rate", action=str(action), queues=_listed(queues)):
        ended = row["finished_at"]
        return Rate(OperationAction(row["action"]), ended and utc(ended), row["per_second"])
    return None


def cancel_operation(conn: Connection, operation_id: UUID, *, actor: str | None = None) -> Operation:
    """End an operation that is not over, after the chunk under way; what it has done stays done.

    Raises: OperationNotFound; OperationConflict if it is over.
    """
    for ended in rows(conn, "cancel_operation", id=operation_id, actor=actor):
        return operation_of(ended)
    raise OperationConflict(operation_id, get_operation(conn, operation_id).status, "cancel")


def resume_operation(conn: Connection, operation_id: UUID, *, actor: str | None = None) -> Operation:
    """Have an operation that was cancelled or has failed continue from where it had come to.

    Raises: OperationNotFound; OperationConflict if it is neither.
    """
    for resumed in rows(conn, "resume_operation", id=operation_id, actor=actor):
        return operation_of(resumed)
    raise OperationConflict(operation_id, get_operation(conn, operation_id).status, "resume")


def operation_of(row: Row) -> Operation:
    """Return the operation of a row."""
    given: dict[str, Any] = {each.name: row[each.name] for each in fields(Operation)}
    times = {name: utc(value) for name, value in given.items() if isinstance(value, datetime)}
    return Operation(
        **given
        | times
        | {
            "action": OperationAction(given["action"]),
            "status": OperationStatus(given["status"]),
            "matched_is": MatchedIs(given["matched_is"]),
        }
    )


def _sent(order: Order) -> dict[str, Any]:
    return {
        "action": str(order.action),
        "filter": json.dumps(as_stored(order.filter)),
        "queues": _listed(order.queues),
    }


def _listed(queues: Sequence[str] | None) -> list[str] | None:
    return None if queues is None else sorted(queues)
