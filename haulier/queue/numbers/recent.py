"""What a worker has counted recently: some queues by the minute, each kind in an hour, and what ended in a week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haulier.domain.histogram import unpacked
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc
from haulier.queue.numbers.stats import Figures, Live, Shown, percentiles

MINUTES_SECONDS, HOUR_SECONDS, WEEK_SECONDS = 600, 3600, 604_800
# Of fewer jobs no share is usual.
LEAST_ENDED = 20


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in a minute of a queue."""

    at: datetime
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class KindFigures:
    """A kind: its live jobs, and what came and ended in the last hour that has been counted."""

    kind: str
    live: Live
    last_hour: Figures


@dataclass(frozen=True, slots=True)
class Ends:
    """How many jobs succeeded, and how many failed permanently."""

    succeeded: int
    failed: int


def recent_minutes(conn: Connection, queues: Sequence[str]) -> Mapping[str, Sequence[Minute]]:
    """Return the last ten minutes of each of these queues, in order. One without figures is absent."""
    found: dict[str, list[Minute]] = {}
    for row in rows(conn, "recent_minutes", names=list(queues), span_seconds=MINUTES_SECONDS):
        found.setdefault(row["queue"], []).append(Minute(utc(row["minute"]), row["succeeded"], row["failed"]))
    return found


def recent_backlogs(conn: Connection, queues: Sequence[str]) -> Mapping[str, Sequence[int | None]]:
    """Return the most due jobs of these queues in each minute of the last hour that has been counted, in order.

    None: nothing was due, or nobody counted. A queue in which nothing was due is absent.
    """
    found: dict[str, list[int | None]] = {}
    for row in rows(conn, "recent_backlogs", names=list(queues), span_seconds=HOUR_SECONDS, series_seconds=60):
        minutes = found.setdefault(row["queue"], [None] * (HOUR_SECONDS // 60))
        minutes[min(row["place"], len(minutes) - 1)] = row["due"]
    return found


def usual_shares(conn: Connection, queues: Sequence[str]) -> Mapping[str, float]:
    """Return which share of the jobs of these queues failed permanently in the last week, but for the last day.

    0 to 1; a queue in which fewer than LEAST_ENDED ended is absent.
    """
    found = rows(conn, "usual_ends", names=list(queues), span_seconds=WEEK_SECONDS)
    ends = {row["queue"]: (row["failed"], row["failed"] + row["succeeded"]) for row in found}
    return {queue: failed / ended for queue, (failed, ended) in ends.items() if ended >= LEAST_ENDED}


def recent_kinds(
    conn: Connection, *, queues: Sequence[str] | None = None, after: str = "", limit: int = 200
) -> tuple[list[KindFigures], bool]:
    """Return the kinds after this name that have live jobs, or jobs of the last hour, by name; and whether more follow.

    `queues` are those that the caller may see; None: every queue.
    """
    found = _kinds(conn, queues, None, after, limit + 1)
    return found[:limit], len(found) > limit


def recent_kind(conn: Connection, kind: str, *, queues: Sequence[str] | None = None) -> KindFigures | None:
    """Return the kind; None if it has neither live jobs nor jobs of the last hour. `queues` as above."""
    found = _kinds(conn, queues, kind, "", 1)
    return found[0] if found else None


def _kinds(
    conn: Connection, queues: Sequence[str] | None, kind: str | None, after: str, limit: int
) -> list[KindFigures]:
    shown = None if queues is None else list(queues)
    given: dict[str, Any] = {"queues": shown, "kind": kind, "after_kind": after, "limit": limit}
    return [
        KindFigures(
            row["kind"],
            Live(row["waiting"], row["due"], row["running"], row["oldest_due_seconds"]),
            Figures(
                **{name: row[name] for name in ("arrived", "succeeded", "failed", "cancelled", "attempts")},
                wait_seconds=percentiles(unpacked(row["waited"])),
                run_seconds=percentiles(unpacked(row["ran"])),
            ),
        )
        for row in rows(conn, "recent_kinds", span_seconds=HOUR_SECONDS, **given)
    ]


def recent_ends(conn: Connection, shown: Shown) -> Ends:
    """Return how the jobs ended in the last seven days that have been counted, but for the last day."""
    [row] = rows(conn, "recent_ends", span_seconds=WEEK_SECONDS, **shown.parameters())
    return Ends(row["succeeded"], row["failed"])
