"""Pauses: queues of which no job starts. Every claim reads them, so that no worker has to hear of one first."""

from __future__ import annotations

from datetime import datetime

from haulier.domain.errors import PauseInThePast, TooManyPauses
from haulier.postgres.statements import Connection, rows


def pause(
    conn: Connection,
    queue: str,
    *,
    until: datetime | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> None:
    """Let no job of the queue start before then, or before it is resumed; what runs continues.

    If it is paused already, only the end and the reason change. `actor` and the reason, of at most 200 characters, go
    into the audit, unless nothing changes.

    Raises: PauseInThePast; TooManyPauses.
    """
    [row] = rows(conn, "pause_queue", queue=queue, until=until, actor=actor, reason=reason or None)
    if row["became"] == "past":
        raise PauseInThePast
    if row["became"] == "full":
        raise TooManyPauses


def resume(conn: Connection, queue: str, *, actor: str | None = None) -> None:
    """Let the jobs of the queue start again; `actor` goes into the audit if it was paused."""
    rows(conn, "resume_queue", queue=queue, actor=actor)
