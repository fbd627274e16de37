"""The database: each check with its state, what such trouble does to jobs, and the fix to paste; and the tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from haulier.domain.api_key import Scope
from haulier.domain.checks import Check, CheckState, Threshold
from haulier.domain.text import duration, number, size
from haulier.queue.produce.checks import Checkup, check_database
from haulier.queue.produce.tables import LOOK_SECONDS, Table, list_tables

from ...http.service import service
from ..answering import Page
from ..rail import Rail
from ..reading import Part, kept, part, searched
from ..section import Section

KEPT_SECONDS = 30.0
WHY = "the database is that of every queue"
# Where in a fix what can be pasted begins.
_COMMAND = re.compile(
    r"(?:(?<=: )|^|(?<=then ))((?:SELECT|VACUUM|ANALYZE|ALTER|ROLLBACK|REINDEX|DROP|GRANT)\b.*)", re.DOTALL
)

TITLES: Mapping[str, str] = {
    "transactions": "Oldest transaction",
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
# The worst first; what is well last.
ORDER = (CheckState.BAD, CheckState.WARN, CheckState.UNKNOWN, CheckState.OK)
_SAID: Mapping[str, Callable[[float], str]] = {
    "seconds": duration,
    "bytes": size,
    "percent": lambda value: f"{value:.0f} %",
    "days": lambda value: f"{value:.1f} days",
    "times": lambda value: f"{value:.1f} ×",
    "partitions": lambda value: f"{value:.1f}",
}

section = Section("database", __name__, Rail("System", 20, "Database", "database", "d"))


@dataclass(frozen=True, slots=True)
class Row:
    """A check as the page shows it. Shape: command is what of the fix can be pasted, or ""."""

    name: str
    title: str
    state: CheckState
    number: str
    threshold: str
    message: str
    effect: str
    fix: str
    command: str


@dataclass(frozen=True, slots=True)
class Checked:
    """All checks, the worst first. Shape: look_at are those that are not well and not unknown."""

    at: datetime
    version: str
    rows: Sequence[Row]
    well: int
    look_at: int
    unknown: int


@section.page("/database", Scope.OPERATE, every=30, every_queue=WHY)
def show() -> Page:
    """Return the checks and the tables, at most 30 s old."""
    found = kept("database", (), _checked, seconds=KEPT_SECONDS)
    return Page("database.html", "Database", found=found, tables=kept("tables", (), _tables, seconds=KEPT_SECONDS))


def _tables() -> Part[Sequence[Table]]:
    return part(list_tables, seconds=LOOK_SECONDS)


def _checked() -> Part[Checked]:
    days = service().config.retention_days
    return searched(lambda conn: checked(check_database(conn, retention_days=days)))


def checked(found: Checkup) -> Checked:
    """Return the checks as the page shows them."""
    states = [each.state for each in found.checks]
    rows = [_row(each) for each in sorted(found.checks, key=lambda each: ORDER.index(each.state))]
    well, unknown = states.count(CheckState.OK), states.count(CheckState.UNKNOWN)
    return Checked(found.at, found.version, rows, well, len(states) - well - unknown, unknown)


def _row(check: Check) -> Row:
    words, command = fix_of(check.fix or "")
    said = "–" if check.number is None else _number(check.threshold, check.number)
    return Row(
        check.name,
        TITLES.get(check.name, check.name.replace("_", " ").capitalize()),
        check.state,
        said,
        _limits(check.threshold),
        check.message,
        check.effect,
        words,
        command,
    )


def _number(threshold: Threshold, value: float) -> str:
    return _SAID.get(threshold.unit, number)(value)


def _limits(threshold: Threshold) -> str:
    named = (("look from", threshold.warn), ("bad from", threshold.bad))
    return ", ".join(f"{word} {_number(threshold, value)}" for word, value in named if value is not None)


def fix_of(fix: str) -> tuple[str, str]:
    """Return what a fix says in words, and what of it can be pasted."""
    found = _COMMAND.search(fix)
    if found is None:
        return fix, ""
    return fix[: found.start(1)].rstrip(), found[1]
