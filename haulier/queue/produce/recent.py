"""What a worker has counted lately: of some queues by the minute, of each kind in an hour, and what ended in a week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from haulier.domain.histogram import unpacked
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import utc
from haulier.queue.produce.stats import Figures, Live, Shown, percentiles

MINUTES_SECONDS, HOUR_SECONDS, WEEK_SECONDS = 600, 3600, 7 * 86_400


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in a minute of a queue, and what was due when last counted within it; None: it was not counted."""

    at: datetime
    succeeded: int
    failed: int
    due: int | None


@dataclass(frozen=True, slots=True)
class KindFigures:
    """A kind: its live jobs, and what came and ended in the last hour that has been counted."""

    kind: str
    live: Live
    last_hour: Figures


@dataclass(frozen=True, slots=True)
class Ends:
    """How many jobs succeeded, and how many failed for good."""

    succeeded: int
    failed: int


def recent_minutes(conn: Connection, queues: Sequence[str]) -> Mapping[str, Sequence[Minute]]:
    """Return the last ten minutes of each of these queues, in order. Shape: one without figures is absent."""
    found: dict[str, list[Minute]] = {}
    for row in rows(conn, "recent_minutes", names=list(queues), span_seconds=MINUTES_SECONDS):
        due = None if row["due"] is None else int(row["due"])
        found.setdefault(row["queue"], []).append(Minute(utc(row["minute"]), row["succeeded"], row["failed"], due))
    return found


def recent_kinds(conn: Connection, *, queues: Sequence[str] | None = None, limit: int = 200) -> list[KindFigures]:
    """Return the kinds that have live jobs, or jobs of the last hour, by name.

    Shape: queues are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else list(queues)
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
        for row in rows(conn, "recent_kinds", queues=shown, span_seconds=HOUR_SECONDS, limit=limit)
    ]


def recent_ends(conn: Connection, shown: Shown) -> Ends:
    """Return how the jobs ended in the last seven days that have been counted."""
    [row] = rows(conn, "recent_ends", span_seconds=WEEK_SECONDS, **shown.parameters())
    return Ends(row["succeeded"], row["failed"])
