"""Act on one job, which also records the act; or on many, as an operation says, which is on record itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from haulier.domain.errors import RowRefused
from haulier.postgres.errors import sqlstate
from haulier.postgres.prepared import Prepared
from haulier.postgres.statements import Connection, Row
from haulier.postgres.values import array

# Planned again, a retry takes ten times as long: it looks for the job in each partition of the history.
prepared = Prepared(
    ("cancel", "change", "retry", "copy", "delete", "cancel_all", "change_all", "retry_all", "delete_all")
)


# What the statements need besides for an operation, and what it is for one job.
_ALONE = {"operation": None, "spread": 0, "place": 0, "ended_from": None, "ended_to": None}


def acted(
    conn: Connection, job_id: UUID, names: Sequence[str], /, *, queues: Sequence[str] | None, **parameters: Any
) -> Row | None:
    """Run these statements, of which the last acts on a job in these queues, and return its row; None: it did nothing.

    A jsonb value is its text as UTF-8. queues is None for any.
    Raises: RowRefused if a trigger drops the job on its way.
    """
    allowed = None if queues is None else array(queues)
    try:
        done = prepared.rows(
            conn, ["one_plan_by_index", *names], ids=array([job_id]), queues=allowed, **_ALONE, **parameters
        )
    except sqlstate.CheckViolation as error:
        if error.diag.table_name != "audit" or error.diag.constraint_name != "done_to_one_thing":
            raise
        raise RowRefused(f"a trigger dropped job {job_id}") from error
    return done[0] if done else None


@dataclass(frozen=True, slots=True)
class Many:
    """Jobs on which an operation acts, and which are locked.

    `ids` are the text of an array. place is how many others came before them. ended_from and ended_to are when the
    first and the last of those that have ended did, if that is known.
    Units: spread_seconds is the time over which all of the operation become due.
    """

    ids: str
    operation: UUID
    place: int = 0
    spread_seconds: int = 0
    ended_from: datetime | None = None
    ended_to: datetime | None = None


def acted_on_all(conn: Connection, name: str, many: Many, **parameters: Any) -> int:
    """Run the statement that acts on these jobs, and return how many it has acted on.

    The transaction has begun with `one_plan_by_index`, after `prepared.get_ready`.
    """
    sent: dict[str, Any] = {
        "ids": many.ids,
        "operation": many.operation,
        "place": many.place,
        "spread": many.spread_seconds,
        "ended_from": many.ended_from,
        "ended_to": many.ended_to,
        "queues": None,
    }
    [acted_on] = prepared.rows(conn, [name], **sent, **parameters)
    return int(acted_on["done"])
