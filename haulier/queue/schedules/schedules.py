"""Schedules, as operators make, look at and change them; their ticks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.errors import (
    PauseInThePast,
    ScheduleBehind,
    ScheduleBusy,
    ScheduleNotFound,
    ScheduleOfFile,
)
from haulier.domain.job import JobStatus
from haulier.domain.schedules.schedule import InvalidSchedule, Overlap, Rule, Schedule, counts_from_after, decide
from haulier.postgres.statements import Connection, Row, rows, transaction
from haulier.postgres.values import array, utc
from haulier.queue.jobs.once import Made, made_once
from haulier.queue.schedules.fire import Room, live_jobs, schedule_of, write
from haulier.queue.search.job_list import PAGE_BYTES

# A schedule whose ticks could not be decided for long has this many batches decided before it is changed.
MOST_BATCHES = 20
# The last tick that fired is looked for among this many: while a schedule is paused, none does.
LOOKED_BACK = 500


@dataclass(frozen=True, slots=True)
class Shown:
    """A schedule as it is. `now` is the database's time; `next_at` is None if there is no further tick."""

    schedule: Schedule
    now: datetime
    next_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Pause:
    """Whether a schedule is to be paused, and until when. Until None: until it is resumed."""

    is_paused: bool
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """What became of a tick. `fired_at` and job_id are None unless it fired."""

    schedule_id: int
    scheduled_at: datetime
    outcome: str
    fired_at: datetime | None
    decided_at: datetime
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class Last:
    """The last tick of a schedule, and the last that fired; None if that is not among its newest LOOKED_BACK."""

    tick: Tick
    fired: Tick | None


def list_schedules(
    conn: Connection, *, after: str | None = None, limit: int = 50, queues: Sequence[str] | None = None
) -> tuple[list[Shown], bool]:
    """Return schedules whose jobs go to these queues, by name, and whether there are more behind them.

    A page of large jobs is shorter than the limit.
    """
    found = rows(
        conn, "list_schedules", after_name=after, limit=limit + 1, queues=_array(queues), most_bytes=PAGE_BYTES
    )
    page = [_shown(row) for row in found[:limit]]
    return page, bool(found) and found[0]["found"] > len(page)


def get_schedule(conn: Connection, name: str, *, queues: Sequence[str] | None = None) -> Shown:
    """Return the schedule. Raises: ScheduleNotFound."""
    return _one(rows(conn, "get_schedule", name=name, queues=_array(queues)), name)


def put_schedule(
    conn: Connection,
    name: str,
    rule: Rule,
    *,
    retention_days: int,
    pause: Pause | None = None,
    actor: str | None = None,
) -> bool:
    """Make the schedule, or let it do this from now on; return whether it is new. An equal rule changes nothing.

    Without a pause it stays paused, or not, as it is.

    Ticks of the old rule that are due fire by it, also those that wait for their jitter.

    Raises: ScheduleOfFile; ScheduleBehind; PauseInThePast.
    """
    for _ in range(MOST_BATCHES):
        with transaction(conn):
            found = rows(conn, "lock_schedule", name=name, queues=None)
            if replace(conn, found[0], rule, retention_days, actor) if found else make(conn, name, rule, actor):
                _pause(conn, name, pause, actor)
                return not found
    raise ScheduleBehind(name)


def _pause(conn: Connection, name: str, pause: Pause | None, actor: str | None) -> None:
    if pause is not None and pause.is_paused:
        pause_schedule(conn, name, until=pause.until, actor=actor)
    elif pause is not None:
        resume_schedule(conn, name, actor=actor)


def make(conn: Connection, name: str, rule: Rule, actor: str | None) -> bool:
    """Make the schedule, and return whether there was none of this name."""
    [row] = rows(conn, "schedule_time")
    now = utc(row["now"])
    made = Schedule(name, rule, counts_from=now.replace(microsecond=0), decided_to=now)
    return _put(conn, made, now, actor, is_new=True, noted=_changes(None, rule))


def replace(
    conn: Connection, row: Row, rule: Rule, retention_days: int, actor: str | None, source: str = "api"
) -> bool:
    """Let a locked schedule of this source do this; if too many ticks are due, only decide some of them.

    Return whether it does it now. Raises: ScheduleOfFile, if it came from elsewhere.
    """
    old, now = schedule_of(row), utc(row["now"])
    if old.source != source:
        raise ScheduleOfFile(old.name)
    noted = difference(conn, old, rule)
    if noted is None:
        return True
    if not _decided(conn, old, now, retention_days):
        return False
    changed = Schedule(
        old.name, rule, counts_from=counts_from_after(old, rule, now), decided_to=max(now, old.decided_to)
    )
    return _put(conn, changed, now, actor, is_new=False, noted=noted)


def difference(conn: Connection, old: Schedule, rule: Rule) -> dict[str, Any] | None:
    """Return each field that the rule would change, with its old and new value; None if it changes nothing.

    Of the job's payload only the fact that it differs is shown.
    """
    [same] = rows(conn, "is_same_job", name=old.name, rule=_text(rule))
    if same["is_same"] and _without_job(old.rule) == _without_job(rule):
        return None
    return _changes(old.rule, rule, is_same_job=same["is_same"])


def _decided(conn: Connection, old: Schedule, now: datetime, retention_days: int) -> bool:
    """Decide what is due, and return whether that was all of it."""
    busy = live_jobs(conn, [old.name])
    try:
        at_once = Room().ticks_of(len(_text(old.rule)))
        decision = decide(
            old, now, is_busy=bool(busy), keep=timedelta(days=retention_days), at_once=at_once, hurry=True
        )
    except InvalidSchedule:
        # Its zone is known no more. No worker can decide it either, and to change it is the way out.
        return True
    write(conn, old.name, decision)
    return not decision.has_more


def _put(
    conn: Connection, schedule: Schedule, now: datetime, actor: str | None, *, is_new: bool, noted: Mapping[str, Any]
) -> bool:
    first = next(schedule.upcoming(schedule.decided_to), None)
    [row] = rows(
        conn,
        "put_schedule",
        name=schedule.name,
        rule=_text(schedule.rule),
        counts_from=schedule.counts_from,
        next_at=first and first.at,
        # At once: if a tick waits for a job to end, it is looked at each second.
        look_at=now,
        is_new=is_new,
        noted=json.dumps({"changes": noted}),
        actor=actor,
    )
    return bool(row["is_put"])


def delete_schedule(conn: Connection, name: str, *, actor: str | None = None) -> None:
    """Delete the schedule; jobs that it has enqueued live on. Raises: ScheduleNotFound; ScheduleOfFile."""
    with transaction(conn):
        if _locked(conn, name, None).schedule.source != "api":
            raise ScheduleOfFile(name)
        rows(conn, "delete_schedule", name=name, actor=actor)


def pause_schedule(conn: Connection, name: str, *, until: datetime | None = None, actor: str | None = None) -> None:
    """Let the schedule's ticks pass until then, or until it is resumed. Raises: ScheduleNotFound; PauseInThePast."""
    [row] = rows(conn, "pause_schedule", name=name, until=until, actor=actor)
    if row["became"] == "past":
        raise PauseInThePast
    if row["became"] == "none":
        raise ScheduleNotFound(name)


def resume_schedule(conn: Connection, name: str, *, actor: str | None = None) -> None:
    """Let the schedule fire again, from now on. Raises: ScheduleNotFound."""
    [row] = rows(conn, "resume_schedule", name=name, actor=actor)
    if not row["is_there"]:
        raise ScheduleNotFound(name)


def run_schedule(conn: Connection, name: str, *, queues: Sequence[str] | None = None, actor: str | None = None) -> UUID:
    """Enqueue the schedule's job now, also while it is paused, and return the job's id.

    Raises: ScheduleNotFound; ScheduleBusy, if a job of it is live and another must not be.
    """
    with transaction(conn):
        schedule = _locked(conn, name, queues).schedule
        live = live_jobs(conn, [name])
        if live and schedule.rule.overlap is not Overlap.ALLOW:
            raise ScheduleBusy(name, live[name])
        [row] = rows(conn, "run_schedule", name=name, actor=actor)
        job_id: UUID = row["job_id"]
        return job_id


def run_schedule_once(
    conn: Connection, name: str, key: str, *, queues: Sequence[str] | None = None, actor: str | None = None
) -> Made:
    """Enqueue the schedule's job as `run_schedule` does, or return the one that was enqueued under this key before."""
    return made_once(conn, key, lambda: run_schedule(conn, name, queues=queues, actor=actor))


def list_ticks(
    conn: Connection, name: str, *, before: tuple[datetime, int] | None = None, limit: int = 50
) -> tuple[list[Tick], bool]:
    """Return what became of the schedule's ticks, newest first, and whether there are more behind them.

    Those of schedules of this name that were deleted follow.

    Args:
        before: The time and the schedule's id of the last tick that was seen already.
    """
    at, schedule_id = before or (None, None)
    found = rows(conn, "list_ticks", name=name, before=at, before_schedule=schedule_id, limit=limit + 1)
    return [_tick(row) for row in found[:limit]], len(found) > limit


def last_ticks(conn: Connection, names: Sequence[str]) -> dict[str, Last]:
    """Return what became of the last tick of each of these schedules, by its name; none if it has had none."""
    found: dict[str, list[Tick]] = {}
    for row in rows(conn, "last_ticks", names=list(names), most=LOOKED_BACK):
        found.setdefault(row["schedule"], []).append(_tick(row))
    return {name: Last(newest[0], newest[-1] if newest[-1].job_id else None) for name, newest in found.items()}


def states_of_fired(
    conn: Connection, ticks: Iterable[Tick], *, queues: Sequence[str] | None = None
) -> dict[UUID, JobStatus]:
    """Return how the jobs of these ticks are, by their ids; none of those that are gone.

    `queues` are those that the caller may see, None: every queue. A job that was moved out of them counts as gone.
    """
    fired = [tick for tick in ticks if tick.job_id is not None]
    if not fired:
        return {}
    ids, ats = array(tick.job_id for tick in fired), array(tick.decided_at for tick in fired)
    found = rows(conn, "states_of_fired", ids=ids, ats=ats, queues=_array(queues))
    return {row["id"]: JobStatus(row["status"]) for row in found}


def _tick(row: Row) -> Tick:
    times = {name: row[name] and utc(row[name]) for name in ("scheduled_at", "fired_at", "decided_at")}
    return Tick(row["schedule_id"], outcome=row["outcome"], job_id=row["job_id"], **times)


def _locked(conn: Connection, name: str, queues: Sequence[str] | None) -> Shown:
    return _one(rows(conn, "lock_schedule", name=name, queues=_array(queues)), name)


def _one(found: Sequence[Row], name: str) -> Shown:
    if not found:
        raise ScheduleNotFound(name)
    return _shown(found[0])


def _shown(row: Row) -> Shown:
    next_at = row["next_at"] and utc(row["next_at"])
    return Shown(schedule_of(row), utc(row["now"]), next_at, utc(row["created_at"]), utc(row["updated_at"]))


def _array(queues: Sequence[str] | None) -> str | None:
    return None if queues is None else array(queues)


def _without_job(rule: Rule) -> dict[str, Any]:
    return {name: value for name, value in asdict(rule).items() if name != "job"}


def _text(rule: Rule) -> str:
    return json.dumps(asdict(rule), ensure_ascii=False)


def _changes(old: Rule | None, new: Rule, *, is_same_job: bool = False) -> dict[str, Any]:
    """Return what differs, each field with its old and its new value. Of the job's payload nothing is shown."""
    before = {} if old is None else _flat(old)
    after = _flat(new)
    changes: dict[str, Any] = {
        name: {"old": before.get(name), "new": after.get(name)}
        for name in after.keys() | before.keys()
        if before.get(name) != after.get(name)
    }
    if not is_same_job and (old is None or _canonical(old) != _canonical(new)):
        changes["payload"] = {}
    return changes


def _flat(rule: Rule) -> dict[str, Any]:
    job = {name: value for name, value in rule.job.items() if name != "payload"}
    return {name: value for name, value in {**_without_job(rule), **job}.items() if value is not None}


def _canonical(rule: Rule) -> str:
    return json.dumps(rule.job.get("payload"), sort_keys=True)
