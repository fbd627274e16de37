"""Schedules that fire beside the faults, each second, and what became of their ticks that their rules do not say."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from haulier.domain.schedules.schedule import LATE, TickOutcome
from lab.chaos.stage import Stage
from lab.waiting import pause

# A schedule that the database refused for now is tried again within 5 s.
DECIDED_WITHIN_SECONDS = 90.0
JITTER_SECONDS = 1
# The end of a job has the time at which its transaction began, and no transaction of a worker is longer than this.
SETTLED_WITHIN_SECONDS = 12.5
LATE_SECONDS = LATE.total_seconds()
FIRED, MISSED, REFUSED, PASSED, OVERLAPPED = (
    str(each)
    for each in (
        TickOutcome.FIRED,
        TickOutcome.SKIPPED_MISSED,
        TickOutcome.SKIPPED_REFUSED,
        TickOutcome.SKIPPED_PAUSED,
        TickOutcome.SKIPPED_OVERLAP,
    )
)
# Without bounds that the outages of a run could come to.
ALL = {"missed": "all", "missed_max": 1000, "missed_within_seconds": 86_400}
# Of jobs that take longer than the second between two ticks, so that these overlap.
RULES: dict[str, dict[str, Any]] = {
    "allow": {"overlap": "allow", **ALL},
    "jitter": {"overlap": "allow", "missed": "last", "jitter_seconds": JITTER_SECONDS},
    "skip": {"overlap": "skip", "missed": "skip"},
    "queue_one": {"overlap": "queue_one", "missed": "last"},
    "paused": {"overlap": "allow", "missed": "last"},
}
JOB = {"kind": "c.works", "payload": {"n": -1, "ms": 1200}, "max_attempts": 20}
PLANT = """
    INSERT INTO haulier.schedule (
        name, every_seconds, time_zone, job, overlap, missed, missed_max, missed_within_seconds, jitter_seconds,
        counts_from, decided_to, look_at, paused_since)
    SELECT %(name)s, 1, 'UTC', %(job)s::jsonb, %(overlap)s, %(missed)s, %(missed_max)s, %(missed_within_seconds)s,
        %(jitter_seconds)s, at, at, at, CASE WHEN %(name)s = 'paused' THEN at END
    FROM date_trunc('second', now()) AS at
"""
UNDECIDED = "SELECT 1 FROM haulier.schedule WHERE decided_to < to_timestamp(%s) LIMIT 1"
# Waits for a worker that fires one just now, and returns how far it came.
TAKE_AWAY = """
    DELETE FROM haulier.schedule
    RETURNING name, overlap, missed, paused_since IS NOT NULL, extract(epoch FROM counts_from)::float,
        extract(epoch FROM decided_to)::float, extract(epoch FROM pending_at)::float
"""
TICKS = """
    SELECT schedule, extract(epoch FROM scheduled_at)::float, extract(epoch FROM decided_at)::float, outcome,
        job_id::text
    FROM haulier.tick
"""
JOBS = """
    SELECT id::text, schedule, extract(epoch FROM scheduled_for)::float, extract(epoch FROM finished_at)::float
    FROM haulier.jobs
    WHERE schedule IS NOT NULL
"""
BESIDE = "SELECT schedule, extract(epoch FROM scheduled_at)::float FROM chaos.fired_beside"


class Planted(NamedTuple):
    """A schedule, with a tick each second from behind `since` to `until`. Units: times are in seconds, as epochs."""

    name: str
    overlap: str
    missed: str
    is_paused: bool
    since: float
    until: float
    pending_at: float | None = None


class Tick(NamedTuple):
    """A tick's row."""

    schedule: str
    at: float
    decided_at: float
    outcome: str
    job: str | None


class Scheduled(NamedTuple):
    """A job that says of which tick it is. `finished_at` is None while it is live."""

    id: str
    schedule: str
    at: float
    finished_at: float | None


@dataclass
class Accounts:
    """All that is known of the schedules at the end.

    `beside` are ticks that fired while a job of their schedule was live that allows none beside it.
    """

    planted: Sequence[Planted] = ()
    ticks: Sequence[Tick] = ()
    jobs: Sequence[Scheduled] = ()
    beside: Sequence[tuple[str, float]] = ()
    outcomes: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = Counter(tick.outcome for tick in self.ticks)


def plant(stage: Stage) -> None:
    """Make the schedules, which fire from then on."""
    absent = {"missed_max": None, "missed_within_seconds": None, "jitter_seconds": 0}
    with closing(stage.connect()) as conn, conn.cursor() as cursor:
        for name, rule in RULES.items():
            cursor.execute(PLANT, {"name": name, "job": json.dumps(JOB), **absent, **rule})


def take_away(stage: Stage) -> list[Planted]:
    """Wait until each tick up to now is decided, and delete the schedules; return how far each should have come."""
    [(now,)] = stage.run("SELECT extract(epoch FROM now())::float")
    began_at = time.monotonic()
    while stage.run(UNDECIDED, int(now)) and time.monotonic() - began_at < DECIDED_WITHIN_SECONDS:
        pause(0.2)
    found = [Planted(*each) for each in stage.run(TAKE_AWAY)]
    return [each._replace(until=max(each.until, float(int(now)))) for each in found]


def gather(stage: Stage, planted: Sequence[Planted]) -> Accounts:
    """Return what is known of them once their jobs have ended."""
    return Accounts(
        planted,
        [Tick(*each) for each in stage.run(TICKS)],
        [Scheduled(*each) for each in stage.run(JOBS)],
        [(name, at) for name, at in stage.run(BESIDE)],
    )


def breaches(accounts: Accounts) -> Iterator[tuple[str, str]]:
    """Yield each breach of what schedules promise, as its name and what happened."""
    for schedule in accounts.planted:
        ticks = {tick.at: tick for tick in accounts.ticks if tick.schedule == schedule.name}
        jobs = [job for job in accounts.jobs if job.schedule == schedule.name]
        expected = {schedule.since + number for number in range(1, int(schedule.until - schedule.since) + 1)}
        for at in sorted(expected - {schedule.pending_at} - ticks.keys()):
            yield "tick_unaccounted", f"{schedule.name} at {at:.0f}: no row"
        for at in sorted(ticks.keys() - expected):
            yield "tick_against_its_rule", f"{schedule.name} at {at:.3f}: it has no such tick"
        yield from _of_jobs(schedule, ticks, jobs)
        for tick in ticks.values():
            if why := _why_wrong(schedule, tick, jobs):
                yield "tick_against_its_rule", f"{schedule.name} at {tick.at:.0f}: {tick.outcome}, {why}"
    for name, at in accounts.beside:
        yield "tick_against_its_rule", f"{name} at {at:.0f}: fired beside a live job"


def _of_jobs(schedule: Planted, ticks: dict[float, Tick], jobs: Sequence[Scheduled]) -> Iterator[tuple[str, str]]:
    enqueued = Counter(job.at for job in jobs)
    for at, tick in ticks.items():
        if tick.outcome == FIRED and not any(job.id == tick.job and job.at == at for job in jobs):
            yield "tick_unaccounted", f"{schedule.name} at {at:.0f}: fired, and its job {tick.job} is not there"
    for at, number in enqueued.items():
        fired = at in ticks and ticks[at].outcome == FIRED
        if number > 1 or not fired:
            yield "tick_fired_twice", f"{schedule.name} at {at:.0f}: {number} jobs, {'' if fired else 'and not '}fired"


def _why_wrong(schedule: Planted, tick: Tick, jobs: Sequence[Scheduled]) -> str | None:
    """Return what the schedule says instead; None if the outcome is right."""
    late = tick.decided_at - tick.at
    if schedule.is_paused or tick.outcome == PASSED:
        return None if schedule.is_paused and tick.outcome == PASSED else f"paused: {schedule.is_paused}"
    if tick.outcome in (MISSED, REFUSED):
        return None if late > LATE_SECONDS and schedule.missed != "all" else f"{late:.1f} s late"
    if tick.outcome == OVERLAPPED:
        return None if schedule.overlap != "allow" and _was_live(tick, jobs) else "no job of it was live"
    is_too_late = schedule.missed == "skip" and late > LATE_SECONDS + JITTER_SECONDS
    return f"{late:.1f} s late" if is_too_late else None


def _was_live(tick: Tick, jobs: Sequence[Scheduled]) -> bool:
    since = tick.decided_at - SETTLED_WITHIN_SECONDS
    return any(job.at < tick.at and (job.finished_at is None or job.finished_at >= since) for job in jobs)
