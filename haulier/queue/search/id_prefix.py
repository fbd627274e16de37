"""Jobs by the beginning of their ids, as people copy them from a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from haulier.domain.job import JobStatus
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc

# An id has this many hex digits; with fewer digits a prefix matches too many jobs.
DIGITS, LEAST_DIGITS = 32, 8
# This many jobs are looked at.
MOST_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class NamedJob:
    """What distinguishes a job from others."""

    id: UUID
    kind: str
    status: JobStatus
    queue: str
    created_at: datetime


def id_range(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begin so, with dashes where ids have them or without any; else None."""
    digits = text.lower().replace("-", "")
    if not LEAST_DIGITS <= len(digits) <= DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    first, last = UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f"))
    return (first, last) if text.lower() in (digits, str(first)[: len(text)]) else None


def jobs_by_prefix(
    conn: Connection, prefix: tuple[UUID, UUID], *, queues: Sequence[str] | None = None, limit: int
) -> list[NamedJob]:
    """Return the first jobs within a range of ids, in the order of these.

    `queues` are those that the caller may see; None: every queue. MOST_ROWS jobs are looked at: if more begin so, those
    after them are not found.
    """
    first, last = prefix
    found = rows(
        conn,
        "jobs_in_id_range",
        first_id=first,
        last_id=last,
        queues=None if queues is None else list(queues),
        most_rows=MOST_ROWS,
        limit=limit,
    )
    return [
        NamedJob(each["id"], each["kind"], JobStatus(each["status"]), each["queue"], utc(each["created_at"]))
        for each in found
    ]
