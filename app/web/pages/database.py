"""The database: the checks with state, effect on jobs and the fix to paste; and the tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from haulier.domain.api_key import Scope
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.domain.text import duration, number, size
from haulier.queue.health.database_checks import Checkup, check_database
from haulier.queue.health.tables import LOOK_SECONDS, Table, list_tables

from ...http.service import service
from ..kit.menu import MenuEntry
from ..kit.page import Page
from ..kit.reading import Part, kept, part, searched
from ..kit.section import Section

KEPT_SECONDS = 30.0
WHY = "the database page covers every queue"
# The start of the command in the text of a fix.
_COMMAND = re.compile(
    r"(?:(?<=: )|^|(?<=then ))((?:SELECT|VACUUM|ANALYZE|ALTER|ROLLBACK|REINDEX|DROP|GRANT)\b.*)", re.DOTALL
)

TITLES: Mapping[str, str] = {
    "transactions": "Oldest transaction",
    "idle_transactions": "Idle transactions",
    "prepared_transactions": "Prepared transactions",
    "slots": "Replication slots",
    "standbys": "Snapshots of standbys",
    "vacuum": "Dead rows",
    "bloat": "Bloat",
    "partitions_ahead": "Partitions ahead",
    "partitions_behind": "Partitions behind",
    "size": "Size",
    "connections": "Connections",
    "wraparound": "Age of transaction ids",
    "locks": "Waits for locks",
    "wake_ups": "Wake-ups",
    "statistics": "Statistics",
    "numbers": "Figures",
    "schedules": "Schedules",
}
# Worst first.
ORDER = (CheckState.BAD, CheckState.WARN, CheckState.UNKNOWN, CheckState.OK)
_SAID: Mapping[str, Callable[[float], str]] = {
    "seconds": duration,
    "bytes": size,
    "percent": lambda value: f"{value:.0f} %",
    "days": lambda value: f"{value:.1f} days",
    "times": lambda value: f"{value:.1f} ×",
    "partitions": lambda value: f"{value:.1f}",
}

section = Section("database", __name__, MenuEntry("System", 20, "Database", "database", "d"))


@section.page("/database", Scope.OPERATE, every=30, every_queue=WHY)
def show() -> Page:
    """Return the checks and the tables, at most 30 s old."""
    found = kept("database", (), _checked, seconds=KEPT_SECONDS)
    checks = found.value.checks if found.value else ()
    return Page(
        "database.html",
        "Database",
        found=found,
        cell=service().database.cell,
        checks=worst_first(checks),
        states=states_of(checks),
        title_of=title_of,
        number_of=lambda check: "–" if check.number is None else _number(check.threshold, check.number),
        limits_of=limits_of,
        fix_of=fix_of,
        tables=kept("tables", (), _tables, seconds=KEPT_SECONDS),
    )


def _tables() -> Part[Sequence[Table]]:
    return part(list_tables, seconds=LOOK_SECONDS)


def _checked() -> Part[Checkup]:
    days = service().config.retention_days
    return searched(lambda conn: check_database(conn, retention_days=days))


def worst_first(checks: Sequence[Check]) -> list[Check]:
    """Return the checks, worst first."""
    return sorted(checks, key=lambda each: ORDER.index(each.state))


def states_of(checks: Sequence[Check]) -> str:
    """Return how many checks are OK, need attention, and are unknown."""
    states = Counter(each.state for each in checks)
    named = {
        "OK": states[CheckState.OK],
        "not OK": states[CheckState.BAD] + states[CheckState.WARN],
        "unknown": states[CheckState.UNKNOWN],
    }
    return ", ".join(f"{count} {name}" for name, count in named.items() if count or name == "OK")


def title_of(check: Check) -> str:
    """Return the title of a check."""
    return TITLES.get(check.name, check.name.replace("_", " ").capitalize())


def _number(threshold: Threshold, value: float) -> str:
    return _SAID.get(threshold.unit, number)(value)


def limits_of(threshold: Threshold) -> str:
    """Return the thresholds of a check in words."""
    named = (("warning from", threshold.warn), ("bad from", threshold.bad))
    return ", ".join(f"{word} {_number(threshold, value)}" for word, value in named if value is not None)


def fix_of(fix: str) -> tuple[str, str]:
    """Return the text of a fix, and the command to paste."""
    found = _COMMAND.search(fix)
    if found is None:
        return fix, ""
    return fix[: found.start(1)].rstrip(), found[1]
