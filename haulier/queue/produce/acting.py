"""Act on one job: in one round trip, which also records the act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from haulier.domain.errors import RowRefused
from haulier.postgres.errors import sqlstate
from haulier.postgres.prepared import Prepared
from haulier.postgres.statements import Connection, Row
from haulier.postgres.values import array

# Planned anew, a retry takes ten times as long: it looks for the job in each partition of the history.
prepared = Prepared(("cancel", "change", "retry", "copy", "delete"))


def acted(
    conn: Connection, job_id: UUID, names: Sequence[str], /, *, queues: Sequence[str] | None, **parameters: Any
) -> Row | None:
    """Run these statements, of which the last acts on a job in these queues, and return its row; None: it did nothing.

    Shape: a jsonb value is its text as UTF-8. queues is None for any.
    Raises: RowRefused where a trigger drops the job on its way.
    """
    allowed = None if queues is None else array(queues)
    try:
        done = prepared.rows(
            conn, ["act_by_index", *names], ids=array([job_id]), queues=allowed, operation=None, **parameters
        )
    except sqlstate.CheckViolation as error:
        if error.diag.table_name != "audit" or error.diag.constraint_name != "done_to_one_thing":
            raise
        raise RowRefused(f"a trigger drops job {job_id}") from error
    return done[0] if done else None
