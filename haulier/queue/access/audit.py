"""The audit: what operators did. Each entry is written in the transaction of the act; for an act on a job, by the same
statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did to a job, an API key or, as target, something else: a group of errors, or a worker, by its id.

    Shape: actor is None where callers need not say who they are.
    """

    id: int
    at: datetime
    actor: str | None
    action: str
    job_id: UUID | None
    key_id: str | None
    target: str | None = None


def note(conn: Connection, action: str, *, actor: str | None, key_id: str) -> None:
    """Record that this was done to an API key."""
    rows(conn, "note_action", action=action, actor=actor, key_id=key_id)


def list_actions(conn: Connection, *, limit: int, before: int | None = None) -> list[Action]:
    """Return what was done, newest first; before is the id of the last one already seen."""
    found = rows(conn, "list_audit", limit=limit, before=before)
    return [Action(**{**row, "at": utc(row["at"])}) for row in found]
