"""Find queues, kinds and schedules by a part of their names, and jobs by their idempotency key. No list is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from haulier.postgres.statements import Connection, rows


class KnownName(NamedTuple):
    """A name. `what` is `queue`, `kind` or `schedule`."""

    what: str
    name: str


def names_containing(
    conn: Connection, text: str, *, queues: Sequence[str] | None = None, limit: int
) -> list[KnownName]:
    """Return the first names that contain the text, by what they name.

    `queues` are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else list(queues)
    return [KnownName(**row) for row in rows(conn, "names_containing", text=text, queues=shown, limit=limit)]


def jobs_of_key(conn: Connection, key: str, *, queues: Sequence[str] | None = None) -> list[UUID]:
    """Return the ids of the jobs of an idempotency key, at most one for each API key that has used it."""
    shown = None if queues is None else list(queues)
    return [row["id"] for row in rows(conn, "jobs_of_key", idempotency_key=key, queues=shown)]
