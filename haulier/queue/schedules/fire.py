"""Firing: what becomes of the ticks that are due is decided and written, and the jobs of those that fire are enqueued.

A schedule's row is locked until all of it is committed, so that no two processes decide the same tick. The key of the
ticks is a second guard.

The database may refuse a schedule's job, by a constraint or a trigger of the owner's, and then refuses the whole
transaction. Such a schedule must not hold up the others: those that are due are then fired apart from each other, and
those that cannot fire are put off. That is kept in their rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from haulier.domain.schedules.schedule import (
    Decided,
    Decision,
    InvalidSchedule,
    Missed,
    Overlap,
    Refused,
    Rule,
    Schedule,
    TickOutcome,
    decide,
)
from haulier.postgres.statements import LOCK_SECONDS, Connection, Row, end_with, rows, transaction_of
from haulier.postgres.values import array, utc

# This many schedules are decided in one transaction. It costs 3 ms beside what each of them does, while the first of
# them waits for the last. Chosen by when the jobs are there of 1,000 schedules that are due at once, at the median:
# with 300 it is later under three workers, although `fired_at` is earlier; with 100 it is later only under a worker.
AT_ONCE = 200
# And this many of their ticks, or fewer if their jobs have this size together: a job may have 256 KiB, and the server
# has to write all of them within the time of a statement.
TICKS_AT_ONCE = 1000
BYTES_AT_ONCE = 16 << 20
# This many schedules are tried at a time if one of them is refused: with 3 % refused that takes the shortest time.
APART = 6
# Then a trigger that waits for a lock must not use up the time of the schedules behind it. Units: seconds.
LOCK_SECONDS_APART = 0.2


@dataclass(frozen=True, slots=True)
class Fired:
    """What a turn has done.

    `fired` counts the ticks that fire, also one that somebody had written already, for which no job was enqueued.
    Schedules that cannot fire are in failed, each with the reason, and are put off; those of them in stuck are not,
    because their rows cannot be changed. late has a number for each tick that fired, but for those that waited for a
    job to end. `has_more` is true if more may be due by now.
    Units: late is seconds since the tick was due, its jitter being over.
    """

    decided: int
    fired: int
    failed: Mapping[str, str]
    stuck: Collection[str] = ()
    outcomes: Sequence[TickOutcome] = ()
    late: Sequence[float] = ()
    has_more: bool = False


def any_schedule(conn: Connection) -> bool:
    """Return whether there is any schedule."""
    [found] = rows(conn, "any_schedule")
    return bool(found["is_there"])


def fire_due(
    conn: Connection,
    *,
    retention_days: int,
    passed_over: Collection[str] = (),
    only: str | None = None,
    apart: int | None = None,
) -> Fired:
    """Decide the ticks that are due, of some schedules or of a single one, and enqueue the jobs of those that fire.

    Args:
        apart: Try this many schedules at a time; if the database refuses one, each by itself; and put off those that it
            refuses. Without it all are tried at once, unless one of them was refused the last time.

    Ticks older than retention_days get no row.
    Raises: Refusal, if the database refuses one of them. With apart only if it would refuse each of them, or if one of
        several has taken too long.
    """
    asked: Row = {"passed_over": array(passed_over), "only_name": only, "limit": AT_ONCE}
    lock_seconds = LOCK_SECONDS_APART if apart else LOCK_SECONDS
    with transaction_of(conn, "due_schedules", lock_seconds=lock_seconds, **asked) as begun:
        due = begun.rows
        if not due:
            return Fired(0, 0, {})
        busy = live_jobs(conn, [row["name"] for row in due if _hangs_on_jobs(row)])
        now = utc(due[0]["now"])
        made = _decide_all(due, busy, now, timedelta(days=retention_days))
        if made.failed:
            _put_off(conn, made)
        if apart or any(row["refusals"] for row in due):
            _fire_apart(conn, made, apart or APART)
        elif made.alike:
            end_with(begun, "move_and_fire", **_as_parameters(made.alike))
    # When nothing is locked any more.
    found, decided = sum(len(row["names"]) for row in due), sum(len(each.names) for each in made.alike)
    outcomes = [tick.outcome for each in made.alike for tick in each.decision.ticks * len(each.names)]
    left = decided + len(made.failed) < found or any(each.decision.has_more for each in made.alike)
    return Fired(
        decided,
        outcomes.count(TickOutcome.FIRED),
        made.failed,
        made.stuck,
        outcomes=outcomes,
        late=[seconds for each in made.alike for seconds in _late(each, now) * len(each.names)],
        has_more=left or found == AT_ONCE,
    )


@dataclass(slots=True)
class Alike:
    """Schedules that are alike, and what was decided of each of them. `row` is one of `due_schedules`."""

    names: list[str]
    decision: Decision
    row: Row = field(default_factory=dict)


@dataclass(slots=True)
class _Made:
    """What was decided of all, and why some cannot fire. `stuck` are the failed schedules that cannot be put off."""

    alike: list[Alike] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)


def _decide_all(due: Sequence[Row], busy: Collection[str], now: datetime, keep: timedelta) -> _Made:
    """Return what becomes of the ticks of these schedules.

    It lacks those that have no room in one transaction: they stay due, and are the first of the next turn.
    """
    room, made = Room(), _Made()
    for row in due:
        decision: Decision | None = None
        for name in row["names"]:
            at_once = room.ticks_of(row["job_bytes"])
            if not at_once:
                return made
            if decision is None or decision.has_more or len(decision.ticks) > at_once:
                try:
                    decision = decide(schedule_of(row), now, is_busy=name in busy, keep=keep, at_once=at_once)
                except InvalidSchedule as error:
                    made.failed |= dict.fromkeys(row["names"], f"{error.field}: {error}")
                    break
                made.alike.append(Alike([], decision, row))
            made.alike[-1].names.append(name)
            room.take(decision, row["job_bytes"])
    return made


def _put_off(conn: Connection, made: _Made) -> None:
    """Put off those whose ticks could not be computed."""
    tried = rows(conn, "put_off", names=array(made.failed), reasons=array(made.failed.values()))
    made.stuck |= {row["name"] for row in tried if not row["is_put_off"]}


def _fire_apart(conn: Connection, made: _Made, apart: int) -> None:
    """Write what was decided, put off schedules that cannot fire, and leave in `made` what was written."""
    tried = rows(conn, "decide_apart", **_as_parameters(made.alike), apart=apart) if made.alike else []
    became = {row["name"]: row["became"] for row in tried}
    made.failed |= {row["name"]: row["why"] for row in tried if row["became"] in ("put_off", "stuck")}
    made.stuck |= {name for name, each in became.items() if each == "stuck"}
    written = ((alike, [name for name in alike.names if became.get(name) == "fired"]) for alike in made.alike)
    made.alike = [replace(alike, names=names) for alike, names in written if names]


def _late(alike: Alike, now: datetime) -> list[float]:
    """Return how late each tick of one of them fired, in seconds."""
    row, ticks = alike.row, alike.decision.ticks
    fired = [tick for tick in ticks if tick.outcome is TickOutcome.FIRED and tick.at != row["pending_at"]]
    return [(now - _due_at(row, tick)).total_seconds() for tick in fired]


def _due_at(row: Row, tick: Decided) -> datetime:
    if not row["jitter_seconds"]:
        return tick.at
    return next(schedule_of(row).upcoming(tick.at - timedelta(microseconds=1))).fires_at


class Room:
    """How much one transaction may still write: ticks, and bytes of their jobs."""

    def __init__(self) -> None:
        self._ticks, self._bytes = TICKS_AT_ONCE, BYTES_AT_ONCE

    def ticks_of(self, job_bytes: int) -> int:
        """Return how many ticks of jobs of this size fit in: at least one while nothing was taken."""
        if self._ticks == TICKS_AT_ONCE:
            return min(self._ticks, max(1, self._bytes // job_bytes))
        return max(0, min(self._ticks, self._bytes // job_bytes))

    def take(self, decision: Decision, job_bytes: int) -> None:
        """Note what was decided of a schedule whose jobs have this size."""
        self._ticks -= len(decision.ticks)
        self._bytes -= job_bytes * sum(tick.outcome is TickOutcome.FIRED for tick in decision.ticks)


def _hangs_on_jobs(row: Row) -> bool:
    return row["overlap"] != Overlap.ALLOW or row["pending_at"] is not None


def live_jobs(conn: Connection, names: Sequence[str]) -> dict[str, UUID]:
    """Return a live job's id for each of these schedules that has one."""
    if not names:
        return {}
    return {row["name"]: row["id"] for row in rows(conn, "live_of_schedules", names=array(names))}


def write(conn: Connection, name: str, decision: Decision) -> None:
    """Write what was decided of a schedule that is locked, and enqueue the jobs of its ticks that fire.

    Ticks whose jobs the database refuses are skipped.
    """
    [tried] = rows(conn, "decide_apart", **_as_parameters([Alike([name], decision)]), apart=APART)
    if tried["became"] != "fired":
        ticks = [
            tick._replace(outcome=TickOutcome.SKIPPED_REFUSED) if tick.outcome is TickOutcome.FIRED else tick
            for tick in decision.ticks
        ]
        rows(conn, "move_and_fire", **_as_parameters([Alike([name], replace(decision, ticks=ticks))]))


def _as_parameters(alike: Sequence[Alike]) -> Row:
    """Return what `move_and_fire` and `decide_apart` take. They count the decisions from 1."""
    made = [each.decision for each in alike]
    ticks = [(number, tick) for number, decision in enumerate(made, 1) for tick in decision.ticks]
    return {
        "names": array(name for each in alike for name in each.names),
        "decisions": array(number for number, each in enumerate(alike, 1) for _ in each.names),
        "decided_tos": array(each.decided_to for each in made),
        "pendings": array(each.pending_at for each in made),
        "nexts": array(each.next_at for each in made),
        "looks": array(each.look_at for each in made),
        "of_decisions": array(number for number, _ in ticks),
        "ats": array(tick.at for _, tick in ticks),
        "outcomes": array(tick.outcome for _, tick in ticks),
    }


def next_look(conn: Connection, *, passed_over: Collection[str] = ()) -> float | None:
    """Return in how many seconds the next schedule is due; None if there is none but the skipped ones."""
    found = rows(conn, "next_look", passed_over=array(passed_over))
    return found[0]["seconds"] if found else None


def schedule_of(row: Row) -> Schedule:
    """Return the schedule of a row with the columns of `schedule_columns`."""

    def time(name: str) -> datetime | None:
        return None if row[name] is None else utc(row[name])

    return Schedule(
        name=row["name"],
        rule=Rule(
            job=row["job"] or {},
            cron=row["cron"],
            every_seconds=row["every_seconds"],
            time_zone=row["time_zone"],
            overlap=Overlap(row["overlap"]),
            missed=Missed(row["missed"]),
            missed_max=row["missed_max"],
            missed_within_seconds=row["missed_within_seconds"],
            jitter_seconds=row["jitter_seconds"],
        ),
        counts_from=utc(row["counts_from"]),
        decided_to=utc(row["decided_to"]),
        pending_at=time("pending_at"),
        paused_since=time("paused_since"),
        paused_until=time("paused_until"),
        source=row["source"],
        refused=_refused(row),
    )


def _refused(row: Row) -> Refused | None:
    if row["refused_since"] is None:
        return None
    return Refused(utc(row["refused_since"]), row["refusals"], row["refusal"], until=utc(row["look_at"]))
