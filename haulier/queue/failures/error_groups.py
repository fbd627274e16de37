"""The groups of failed attempts: how often each was seen, when, and an example; and muting one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.errors import ErrorGroupNotFound
from haulier.domain.fingerprint import id_text, read_id
from haulier.domain.span import DEFAULT_SPAN, SPANS
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import array, utc

Seen = tuple[datetime, int]

MOST_QUEUES, MOST_COUNTED = 20, 50_001


@dataclass(frozen=True, slots=True)
class ErrorStep:
    """How many attempts failed in a step of a series: permanently, and to be retried."""

    at: datetime
    failed: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class ErrorsOfQueue:
    """How many attempts of a group failed in one queue. The series has the steps of the group's own."""

    queue: str
    failed: int
    retried: int
    series: Sequence[ErrorStep] = ()


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """A group of failed attempts, and how many there were in a span.

    `example` and example_job are None if the caller may not see that job's queue. `last_seen` is to the minute, and
    in the course of a day less exact, up to an hour. queues are those in which most failed in the span, MOST_QUEUES
    at most; None in a list. `seen_in` names some of them in the list of a short span.
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
    queues: Sequence[ErrorsOfQueue] | None = None
    seen_in: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Return the id as clients get it."""
        return id_text(self.id)


@dataclass(frozen=True, slots=True)
class ErrorFilter:
    """Which groups are meant: those seen in a span of SPANS, last seen first.

    `text` is a part of their text, or of their example, in any case; of masked_kinds, whose examples the caller sees
    masked, it is looked for only in the text. queues are those that the caller may see; None: every queue. after is
    when the last group already seen was seen, and its id.
    """

    span: str = DEFAULT_SPAN
    kind: str | None = None
    queue: str | None = None
    text: str | None = None
    queues: Sequence[str] | None = None
    after: Seen | None = None
    limit: int = 50
    masked_kinds: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Frequent:
    """Groups, the most frequent first. `count`, failed and retried are of all that match."""

    groups: Sequence[ErrorGroup]
    count: int
    failed: int
    retried: int


def id_in(name: str) -> int:
    """Return the id of a group that clients call by this name. Raises: ErrorGroupNotFound if none can have it."""
    try:
        return read_id(name)
    except ValueError:
        raise ErrorGroupNotFound(name[:100]) from None


def list_errors(conn: Connection, wanted: ErrorFilter) -> tuple[list[ErrorGroup], Seen | None]:
    """Return the groups, and where the next page begins; None on the last."""
    found = _page(conn, replace(wanted, limit=wanted.limit + 1), most_first=False)
    page = _of_groups(found)[: wanted.limit]
    more = (utc(page[-1]["last_seen"]), page[-1]["id"]) if len(found) > wanted.limit else None
    return _groups(conn, wanted, page), more


_OF_ALL = ("all_groups", "all_failed", "all_retried")


def frequent_errors(
    conn: Connection, wanted: ErrorFilter, *, is_muted: bool | None = None, offset: int = 0
) -> Frequent:
    """Return the groups, the most frequent first.

    `after` of the filter does not matter; offset groups are skipped. is_muted: those that are muted, or those that are
    not; None: both.
    """
    found = _page(conn, replace(wanted, after=None), most_first=True, is_muted=is_muted, offset=offset)
    return Frequent(_groups(conn, wanted, _of_groups(found)), *(found[0][name] for name in _OF_ALL))


def _page(
    conn: Connection, wanted: ErrorFilter, *, most_first: bool, is_muted: bool | None = None, offset: int = 0
) -> list[Row]:
    after_at, after_error = wanted.after or (None, None)
    return rows(
        conn,
        "list_errors",
        **_span(wanted),
        kind=wanted.kind,
        text=wanted.text,
        masked_kinds=array(wanted.masked_kinds),
        is_muted=is_muted,
        most_first=most_first,
        after_at=after_at,
        after_error=after_error,
        limit=wanted.limit,
        offset=offset,
    )


def _of_groups(page: Sequence[Row]) -> list[Row]:
    """Return the rows of groups, without what is of all pages."""
    return [{name: row[name] for name in row if name not in _OF_ALL} for row in page if row["id"] is not None]


def errors_at_once(conn: Connection, wanted: ErrorFilter, *, drawn: int) -> tuple[list[ErrorGroup], list[ErrorStep]]:
    """Return the groups of a short span, the most frequent first, and how many attempts failed in each step of it.

    Of the filter span, queue, queues and limit matter. The first `drawn` groups have their series.
    """
    found = rows(conn, "errors_at_once", **_span(wanted), limit=wanted.limit, drawn=drawn, most_queues=MOST_QUEUES)
    times = _times(wanted, utc(found[0]["span_from"]))
    of_all = _series(_read(found[0]["series_of_all"]), times)
    groups = []
    for row in found:
        series, _ = row.pop("series"), row.pop("series_of_all")
        if row["id"] is not None:
            groups.append(_group(row, _series(_read(series), times) if series else []))
    return groups, of_all


def _read(steps: Sequence[tuple[float, int, int]] | None) -> Iterator[ErrorStep]:
    return (ErrorStep(datetime.fromtimestamp(at, UTC), failed, retried) for at, failed, retried in steps or ())


def get_error(conn: Connection, error_id: int, wanted: ErrorFilter) -> ErrorGroup:
    """Return the group, with its counts in the span of the filter, by queue too. Raises: ErrorGroupNotFound."""
    found = rows(conn, "get_error", **_span(wanted), error_id=error_id)
    if not found:
        raise ErrorGroupNotFound(id_text(error_id))
    [group] = _groups(conn, wanted, found)
    times = [step.at for step in group.series]
    of_queues = rows(
        conn,
        "queues_of_error",
        **_seen_in(wanted),
        error_id=error_id,
        series_seconds=SPANS[wanted.span][1],
        span_from=times[0],
        limit=MOST_QUEUES,
    )
    return replace(group, queues=[_of_queue(row, times) for row in of_queues])


def _of_queue(row: Row, times: Sequence[datetime]) -> ErrorsOfQueue:
    steps = zip(map(utc, row["ats"]), row["failed_at"], row["retried_at"], strict=True)
    series = _series((ErrorStep(*step) for step in steps), times)
    return ErrorsOfQueue(row["queue"], row["failed"], row["retried"], series)


@dataclass(frozen=True, slots=True)
class ErrorJobs:
    """The jobs of a group: MOST_COUNTED are that many or more. `is_first_kept`: that of the example is there."""

    failed: int
    retrying: int
    is_first_kept: bool


def errors_by_id(
    conn: Connection, error_ids: Iterable[int], *, queues: Sequence[str] | None = None
) -> list[ErrorGroup]:
    """Return those of these groups that were seen in the queues; None: any. Without counts, in any order."""
    seen_in = _seen_in(ErrorFilter(queues=queues))
    return [_group(row, ()) for row in rows(conn, "errors_by_id", **seen_in, failed_ids=array(error_ids))]


def jobs_of_error(conn: Connection, error_id: int, *, queues: Sequence[str] | None = None) -> ErrorJobs:
    """Return how many jobs have failed permanently with it, and how many are to be retried.

    `queues` are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else list(queues)
    [row] = rows(conn, "jobs_of_error", error_id=error_id, queues=shown, most=MOST_COUNTED)
    return ErrorJobs(**row)


def failed_attempts(conn: Connection, wanted: ErrorFilter) -> list[ErrorStep]:
    """Return how many attempts failed in each step of the span, in all groups. Of the filter queues matter."""
    found = rows(conn, "failed_attempts", **_span(wanted))
    return _series((_step(row) for row in found if row["at"]), _times(wanted, utc(found[0]["span_from"])))


def mended(conn: Connection, error_ids: Iterable[int], *, queues: Sequence[str] | None = None) -> set[int]:
    """Return those of these groups of which no job is left that has failed permanently or is to be retried.

    `queues` are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else list(queues)
    return {row["error_id"] for row in rows(conn, "mended_errors", failed_ids=array(error_ids), queues=shown, most=1)}


def failed_of(
    conn: Connection, error_ids: Iterable[int], *, most: int, queues: Sequence[str] | None = None
) -> dict[int, int]:
    """Return how many jobs of each of these groups have failed permanently; this many, or more, count as `most`.

    `queues` are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else list(queues)
    found = rows(conn, "failed_of_errors", failed_ids=array(error_ids), queues=shown, most=most)
    return {row["error_id"]: row["failed"] for row in found}


def mute(conn: Connection, error_id: int, until: datetime | None, *, actor: str | None = None) -> None:
    """Mute the group until then, or no longer; `actor` goes into the audit. Raises: ErrorGroupNotFound."""
    [muted] = rows(conn, "mute_errors", error_id=error_id, until=until, actor=actor)
    if not muted["is_there"]:
        raise ErrorGroupNotFound(id_text(error_id))


def _span(wanted: ErrorFilter) -> dict[str, Any]:
    seconds, step = SPANS[wanted.span]
    return {"series_seconds": step, "span_seconds": seconds, **_seen_in(wanted)}


def _seen_in(wanted: ErrorFilter) -> dict[str, Any]:
    return {"queue": wanted.queue, "queues": None if wanted.queues is None else list(wanted.queues)}


def _groups(conn: Connection, wanted: ErrorFilter, found: Sequence[Row]) -> list[ErrorGroup]:
    """Return the groups with the series of each, over the span in which they were found."""
    if not found:
        return []
    begins_at = utc(found[0]["span_from"])
    counted: dict[int, list[ErrorStep]] = {row["id"]: [] for row in found}
    for row in rows(
        conn,
        "series_of_errors",
        **_seen_in(wanted),
        series_seconds=SPANS[wanted.span][1],
        span_from=begins_at,
        failed_ids=array(counted),
    ):
        counted[row["error_id"]].append(_step(row))
    times = _times(wanted, begins_at)
    return [_group(row, _series(counted[row["id"]], times)) for row in found]


def _step(row: Row) -> ErrorStep:
    return ErrorStep(utc(row["at"]), row["failed"], row["retried"])


def _series(counted: Iterable[ErrorStep], times: Sequence[datetime]) -> list[ErrorStep]:
    """Return a step for each of these times: the one that was counted, or an empty one."""
    steps = {step.at: step for step in counted}
    return [steps.get(at) or ErrorStep(at) for at in times]


def _times(wanted: ErrorFilter, begins_at: datetime) -> list[datetime]:
    seconds, step = SPANS[wanted.span]
    return [begins_at + timedelta(seconds=at) for at in range(0, seconds, step)]


def _group(row: Row, series: Sequence[ErrorStep]) -> ErrorGroup:
    first, last = utc(row["first_seen"]), utc(row["last_seen"])
    columns = {name: value for name, value in row.items() if name != "span_from"}
    # A minute of counts begins before the first of them.
    times = {"first_seen": first, "last_seen": max(first, last)}
    muted_until = row["muted_until"] and utc(row["muted_until"])
    return ErrorGroup(**{**columns, **times, "muted_until": muted_until, "series": series})
