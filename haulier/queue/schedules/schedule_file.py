"""Schedules as schedules.toml has them: what applying the file would do, and doing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from haulier.domain.errors import Locked, ScheduleBehind, ScheduleOfApi
from haulier.domain.schedules.schedule import Rule
from haulier.postgres.errors import sqlstate
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import array
from haulier.queue.schedules.fire import fire_due, schedule_of
from haulier.queue.schedules.schedules import MOST_BATCHES, difference, make, replace
from haulier.queue.upkeep.migrate import MIGRATE_LOCK_SECONDS, MIGRATE_SECONDS, check_schema, naming_rights

# The source of these schedules, and who has changed them, as the record names it.
FILE = "file"
# This often it begins again if too many ticks of a schedule are due; and this many turns these are fired in between.
MOST_TRIES, MOST_TURNS = 5, 5000


class Action(StrEnum):
    """What the file does to a schedule."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Step:
    """What the file does to one schedule. `changes` has the old and new value of each field, as on record."""

    name: str
    action: Action
    changes: Mapping[str, Any] = field(default_factory=dict)


@naming_rights()
def plan_file(conn: Connection, wanted: Mapping[str, Rule]) -> list[Step]:
    """Return what applying the file would do, by name; nothing is changed, and nobody has to wait.

    Raises: SchemaMismatch; ScheduleOfApi.
    """
    check_schema(conn)
    found = rows(conn, "schedules_of_file", names=array(wanted), seconds=MIGRATE_SECONDS)
    return _steps(conn, wanted, found)


@naming_rights()
def apply_file(conn: Connection, wanted: Mapping[str, Rule], *, retention_days: int) -> list[Step]:
    """Make, change and remove schedules until those of the file are as it says; return what was done, by name.

    One transaction, in turns with others that do so or migrate: all of the file holds, or nothing of it. Schedules that
    the API has made are left alone. What is due by an old rule fires by it first, as when the API changes one.

    Raises: SchemaMismatch; ScheduleOfApi; ScheduleBehind; Locked; DatabaseUnavailable.
    """
    for _ in range(MOST_TRIES - 1):
        try:
            return _apply(conn, wanted, retention_days)
        except ScheduleBehind as behind:
            # After a long outage. Not within the transaction, which may be rolled back and do it all again.
            _catch_up(conn, behind.schedule, retention_days)
    return _apply(conn, wanted, retention_days)


def _apply(conn: Connection, wanted: Mapping[str, Rule], retention_days: int) -> list[Step]:
    try:
        with transaction(conn, seconds=MIGRATE_SECONDS, lock_seconds=MIGRATE_LOCK_SECONDS):
            rows(conn, "lock_schema", seconds=MIGRATE_SECONDS)
            # Whoever had the lock before may have migrated.
            check_schema(conn)
            found = rows(conn, "lock_schedules_of_file", names=array(wanted), seconds=MIGRATE_SECONDS)
            steps = _steps(conn, wanted, found)
            for step in steps:
                _take(conn, step, wanted, retention_days)
            made = [step.name for step in steps if step.action is Action.CREATE]
            rows(conn, "mark_schedules_of_file", names=array(made))
            return steps
    except sqlstate.LockNotAvailable:
        raise Locked(
            "another process migrates, applies a file or holds a lock on a schedule for more than"
            f" {MIGRATE_LOCK_SECONDS:.0f} s; nothing was changed: run the command again"
        ) from None


def _steps(conn: Connection, wanted: Mapping[str, Rule], found: list[Row]) -> list[Step]:
    sources: dict[str, str] = {row["name"]: row["source"] for row in found}
    if taken := sorted(name for name in wanted if sources.get(name, FILE) != FILE):
        raise ScheduleOfApi(taken)
    return [_step(conn, name, wanted, is_there=name in sources) for name in sorted(sources.keys() | wanted.keys())]


def _step(conn: Connection, name: str, wanted: Mapping[str, Rule], *, is_there: bool) -> Step:
    if name not in wanted:
        return Step(name, Action.REMOVE)
    # One after the other: their jobs may be large.
    found = rows(conn, "get_schedule", name=name, queues=None) if is_there else []
    if not found:
        return Step(name, Action.CREATE)
    changes = difference(conn, schedule_of(found[0]), wanted[name])
    return Step(name, Action.LEAVE) if changes is None else Step(name, Action.CHANGE, changes)


def _take(conn: Connection, step: Step, wanted: Mapping[str, Rule], retention_days: int) -> None:
    if step.action is Action.REMOVE:
        rows(conn, "delete_schedule", name=step.name, actor=FILE)
    elif step.action is Action.CHANGE:
        _change(conn, step.name, wanted[step.name], retention_days)
    elif step.action is Action.CREATE and not make(conn, step.name, wanted[step.name], FILE):
        # The API has made it since the others were locked.
        raise ScheduleOfApi([step.name])


def _change(conn: Connection, name: str, rule: Rule, retention_days: int) -> None:
    for _ in range(MOST_BATCHES):
        [row] = rows(conn, "lock_schedule", name=name, queues=None)
        if replace(conn, row, rule, retention_days, FILE, FILE):
            return
    raise ScheduleBehind(name)


def _catch_up(conn: Connection, name: str, retention_days: int) -> None:
    """Fire what is due of the schedule, as a worker would."""
    for _ in range(MOST_TURNS):
        if not fire_due(conn, retention_days=retention_days, only=name, apart=1).decided:
            return
