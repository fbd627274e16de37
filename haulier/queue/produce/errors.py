"""The groups of failed attempts: how often each was seen, when, and an example; and muting one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.errors import ErrorGroupNotFound
from haulier.domain.fingerprint import id_text, read_id
from haulier.domain.span import DEFAULT_SPAN, SPANS
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, utc

Seen = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class ErrorStep:
    """How many attempts failed in a step of a series: for good, and to be tried again."""

    at: datetime
    failed: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """A group of failed attempts, and how many there were in a span.

    Shape: example and example_job are None where the caller may not see that job's queue. last_seen is to the minute,
           and in the course of a day less exact, up to an hour.
    """

    id: int
    kind: str
    text: str
    example: str | None
    example_job: UUID | None
    first_seen: datetime
    last_seen: datetime
    failed: int
    retried: int
    muted_until: datetime | None
    series: Sequence[ErrorStep] = ()

    @property
    def name(self) -> str:
        """Return the id as clients get it."""
        return id_text(self.id)


@dataclass(frozen=True, slots=True)
class ErrorFilter:
    """Which groups are meant: those seen in a span of SPANS, last seen first.

    Shape: text is a part of their text, in any case. queues are those that the caller may see; None: every queue. after
           is when the last group already seen was seen, and its id.
    """

    span: str = DEFAULT_SPAN
    kind: str | None = None
    queue: str | None = None
    text: str | None = None
    queues: Sequence[str] | None = None
    after: Seen | None = None
    limit: int = 50


def id_in(name: str) -> int:
    """Return the id of a group that clients call by this name. Raises: ErrorGroupNotFound where none can have it."""
    try:
        return read_id(name)
    except ValueError:
        raise ErrorGroupNotFound(name[:100]) from None


def list_errors(conn: Connection, wanted: ErrorFilter) -> tuple[list[ErrorGroup], Seen | None]:
    """Return the groups, and where the next page begins; None on the last."""
    span = _Span(conn, wanted)
    after_at, after_error = wanted.after or (None, None)
    found = rows(
        conn,
        "list_errors",
        **span.asked,
        span_from=span.begins_at,
        kind=wanted.kind,
        text=wanted.text,
        after_at=after_at,
        after_error=after_error,
        limit=wanted.limit + 1,
    )
    page = found[: wanted.limit]
    more = (utc(page[-1]["last_seen"]), page[-1]["id"]) if len(found) > wanted.limit else None
    return span.with_series([_group(row) for row in page]), more


def get_error(conn: Connection, error_id: int, wanted: ErrorFilter) -> ErrorGroup:
    """Return the group, with its counts in the span of the filter. Raises: ErrorGroupNotFound."""
    span = _Span(conn, wanted)
    found = rows(conn, "get_error", **span.asked, span_from=span.begins_at, error_id=error_id)
    if not found:
        raise ErrorGroupNotFound(id_text(error_id))
    [group] = span.with_series([_group(found[0])])
    return group


def mute(conn: Connection, error_id: int, until: datetime | None, *, actor: str | None = None) -> None:
    """Mute the group until then, or no longer; `actor` goes into the audit. Raises: ErrorGroupNotFound."""
    [muted] = rows(conn, "mute_errors", error_id=error_id, until=until, actor=actor)
    if not muted["is_there"]:
        raise ErrorGroupNotFound(id_text(error_id))


class _Span:
    """A span that ends with the step that is under way."""

    def __init__(self, conn: Connection, wanted: ErrorFilter) -> None:
        self._conn = conn
        self._seconds, self._step = SPANS[wanted.span]
        queues = None if wanted.queues is None else list(wanted.queues)
        self.asked: dict[str, Any] = {"queue": wanted.queue, "queues": queues}
        [reach] = rows(conn, "span_of_errors", series_seconds=self._step)
        self._ends_at: datetime = utc(reach["span_to"])

    @property
    def begins_at(self) -> datetime:
        """Return when the first step began."""
        return self._ends_at - timedelta(seconds=self._seconds)

    def with_series(self, groups: Sequence[ErrorGroup]) -> list[ErrorGroup]:
        """Return the groups with the series of each."""
        if not groups:
            return []
        found = rows(
            self._conn,
            "series_of_errors",
            **self.asked,
            series_seconds=self._step,
            span_from=self.begins_at,
            failed_ids=array([group.id for group in groups]),
        )
        counted = {
            (row["error_id"], utc(row["at"])): ErrorStep(utc(row["at"]), row["failed"], row["retried"]) for row in found
        }
        steps = [self.begins_at + timedelta(seconds=at) for at in range(0, self._seconds, self._step)]
        return [
            replace(group, series=[counted.get((group.id, at)) or ErrorStep(at) for at in steps]) for group in groups
        ]


def _group(row: Row) -> ErrorGroup:
    first, last = utc(row["first_seen"]), utc(row["last_seen"])
    # A minute of counts begins before the first of them.
    times = {"first_seen": first, "last_seen": max(first, last)}
    muted_until = row["muted_until"] and utc(row["muted_until"])
    return ErrorGroup(**{**row, **times, "muted_until": muted_until})
