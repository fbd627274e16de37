"""When each schedule is due next, corrected: this release's tzdata may have moved it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haulier.domain.schedules.schedule import Due, InvalidSchedule, Schedule
from haulier.postgres.statements import Connection, rows, transaction
from haulier.postgres.values import array
from haulier.queue.schedules.fire import schedule_of

AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Which schedules were corrected. Those that cannot be computed are in failed, each with the reason."""

    corrected: list[str]
    failed: Mapping[str, str]


def recompute(conn: Connection) -> Recomputed:
    """Correct when each schedule is due next, and return which were wrong.

    Workers do so by themselves within an hour, in which a tick that has become an earlier one would be late.
    """
    corrected: list[str] = []
    failed: dict[str, str] = {}
    after: str | None = None
    while (last := _some(conn, after, corrected, failed)) is not None:
        after = last
    return Recomputed(corrected, failed)


def _some(conn: Connection, after: str | None, corrected: list[str], failed: dict[str, str]) -> str | None:
    """Correct the schedules behind this one, as many as fit into a short transaction; return the last one's name."""
    with transaction(conn):
        found = rows(conn, "schedules_to_recompute", after_name=after, limit=AT_ONCE)
        nexts: dict[str, Due | None] = {}
        for schedule in map(schedule_of, found):
            try:
                nexts[schedule.name] = _next(schedule)
            except InvalidSchedule as error:
                failed[schedule.name] = f"{error.field}: {error}"
        if nexts:
            changed = rows(
                conn,
                "correct_schedules",
                names=array(nexts),
                nexts=array(due and due.at for due in nexts.values()),
                looks=array(due and due.fires_at for due in nexts.values()),
            )
            corrected += [row["name"] for row in changed]
    return found[-1]["name"] if found else None


def _next(schedule: Schedule) -> Due | None:
    return next(schedule.upcoming(schedule.decided_to), None)
