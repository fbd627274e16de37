"""The audit: what operators did. Each entry is written in the transaction that performs the act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, as_sent, utc

# When something was done, and the id of its entry: the order of the list.
Position = tuple[datetime, int]

# This many entries are looked at for those of an actor, an action or a target, which no index leads to.
LOOK_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did to a job, an API key or, as target, something else: a group of errors, or a worker, by its id.

    `actor` is None if callers need not say who they are. action is an Act, or one of a newer release. details is a JSON
    object in UTF-8, None if there are no details: as objects a page could take 200 MB.
    """

    id: int
    at: datetime
    actor: str | None
    action: str
    job_id: UUID | None
    key_id: str | None
    target: str | None = None
    details: bytes | None = None

    @property
    def details_text(self) -> bytes:
        """Return the details as the JSON text that clients get."""
        return as_sent(self.details or b"null")


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """Which entries are meant.

    `target` is what was acted on if that is no job, such as an API key's id or the name of a queue. after is the
    position of the last entry already seen.
    """

    job_id: UUID | None = None
    target: str | None = None
    actor: str | None = None
    actions: Sequence[str] | None = None
    at_after: datetime | None = None
    at_before: datetime | None = None
    after: Position | None = None
    limit: int = 50


class Page(NamedTuple):
    """Some entries of the record.

    `after` is where the next page begins; None on the last. `looked_back_to` is given if the look ended before the
    page was full: older entries may match too.
    """

    actions: list[Action]
    after: Position | None = None
    looked_back_to: datetime | None = None


def list_actions(conn: Connection, *, limit: int) -> list[Action]:
    """Return what was done last, newest first."""
    return find_actions(conn, ActionFilter(limit=limit)).actions


def find_actions(conn: Connection, wanted: ActionFilter) -> Page:
    """Return what was done, newest first, in a look that ends after LOOK_ROWS entries within the times and of the job.

    There may be a page after one that is not full, or is empty.
    """
    most_rows = max(LOOK_ROWS, wanted.limit + 1)
    after_at, after_entry = wanted.after or (None, None)
    found = rows(
        conn,
        "list_audit",
        json_as_text=True,
        job=wanted.job_id,
        target=wanted.target,
        actor=wanted.actor,
        acts=None if wanted.actions is None else array(wanted.actions),
        at_after=wanted.at_after,
        at_before=wanted.at_before,
        after_at=after_at,
        after_entry=after_entry,
        most_rows=most_rows,
        limit=wanted.limit + 1,
    )
    matching = [row for row in found if row["is_wanted"]]
    page = [_action(row) for row in matching[: wanted.limit]]
    if len(matching) > wanted.limit:
        return Page(page, (page[-1].at, page[-1].id))
    if found and found[-1]["place"] == most_rows:
        last = _action(found[-1])
        return Page(page, (last.at, last.id), last.at)
    return Page(page)


def _action(row: Row) -> Action:
    return Action(**{field.name: row[field.name] for field in fields(Action)} | {"at": utc(row["at"])})
