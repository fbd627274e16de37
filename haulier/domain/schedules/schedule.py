"""Schedules: when each fires, and what becomes of each of its ticks.

All is decided from a schedule's row and the database's time: whichever process decides comes to the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count, islice, pairwise, takewhile
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from haulier.domain.schedules.cron import Cron, InvalidCron, parse_cron
from haulier.domain.schedules.time_zone import UnknownZone, zone

MAX_EVERY_SECONDS = 31_536_000
MAX_JITTER_SECONDS = 86_400
MAX_MISSED, MAX_MISSED_WITHIN_SECONDS = 1000, 31_536_000
DEFAULT_MISSED_MAX, DEFAULT_MISSED_WITHIN_SECONDS = 100, 86_400
MAX_ZONE = 64
# No schedule has these names: they are the paths of another call of the API, and of a page.
TAKEN_NAMES = ("preview", "new")
# Of its job: a tick decides when it runs, and has no need of a key.
NOT_OF_A_SCHEDULE = ("run_at", "delay_seconds", "idempotency_key")
# A tick that is no later than this fires, whatever the schedule says of missed ones.
LATE = timedelta(seconds=60)
# This many ticks are decided in one transaction.
AT_ONCE = 1000
# And this many more are read at most, to see which are the newest.
MOST_READ = 5000
# Each schedule is looked at this often although none of its ticks is due: a new release of tzdata may have moved them.
LOOK = timedelta(hours=1)
# And this often while a tick waits for a job to end.
LOOK_AT_PENDING = timedelta(seconds=1)
# The dates of clients and of the server end there.
LAST_YEAR = 9900


class Overlap(StrEnum):
    """What becomes of a tick while a job of the same schedule is live."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"


class Missed(StrEnum):
    """Which of the ticks that nobody fired in time fire later: none, the last one if nothing is due since, or more."""

    SKIP = "skip"
    LAST = "last"
    ALL = "all"


class TickOutcome(StrEnum):
    """What became of a tick."""

    FIRED = "fired"
    SKIPPED_OVERLAP = "skipped_overlap"
    SKIPPED_MISSED = "skipped_missed"
    SKIPPED_PAUSED = "skipped_paused"
    SKIPPED_REFUSED = "skipped_refused"


class InvalidSchedule(ValueError):
    """A value of a schedule cannot be used. `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule fires: by a cron expression in a zone, or every so often, counted from an instant."""

    where: ZoneInfo
    cron: Cron | None = None
    every: timedelta | None = None
    counts_from: datetime | None = None

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Return the ticks later than this instant, in order."""
        return takewhile(lambda at: at.year < LAST_YEAR, self._all(after.astimezone(UTC)))

    def _all(self, after: datetime) -> Iterator[datetime]:
        if after.year >= LAST_YEAR:
            return iter(())
        if self.cron is not None:
            return self.cron.ticks(after, self.where)
        assert self.every is not None
        assert self.counts_from is not None
        start, every = self.counts_from.astimezone(UTC), self.every
        first = max(0, (after - start) // every) + 1
        return (start + number * every for number in count(first))


def timetable(
    *, cron: str | None, every_seconds: int | None, time_zone: str, counts_from: datetime | None = None
) -> Timetable:
    """Return when such a schedule fires. Raises: InvalidSchedule.

    `counts_from` is for every_seconds, which counts from there.
    """
    try:
        where = zone(time_zone)
    except UnknownZone:
        raise InvalidSchedule("time_zone", "Must be the name of a time zone, such as Europe/Berlin.") from None
    if (cron is None) == (every_seconds is None):
        raise InvalidSchedule("cron", "Give either cron or every_seconds.")
    if cron is not None:
        try:
            return Timetable(where, cron=parse_cron(cron))
        except InvalidCron as error:
            raise InvalidSchedule("cron", str(error)) from None
    return Timetable(where, every=timedelta(seconds=every_seconds or 0), counts_from=counts_from)


@dataclass(frozen=True, slots=True)
class Rule:
    """What somebody wants to happen: what to enqueue, when, and what becomes of ticks that cannot fire in time.

    `job` is as a client asks for one; missed_max and missed_within_seconds are there where missed is all.
    """

    job: dict[str, Any]
    cron: str | None = None
    every_seconds: int | None = None
    time_zone: str = "UTC"
    overlap: Overlap = Overlap.ALLOW
    missed: Missed = Missed.LAST
    missed_max: int | None = None
    missed_within_seconds: int | None = None
    jitter_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a schedule cannot fire: the database refuses its job, or its time zone is gone.

    Args:
        since: The first of the refusals.
        times: How many there were, one after the other.
        message: The last one's text.
        until: Workers try again then.
    """

    since: datetime
    times: int
    message: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as the database keeps it.

    Every tick up to decided_to has its row, or is pending_at, which waits for a job to end; counts_from is where
    every_seconds counts from; paused_since and paused_until are of the last pause, without end where only the former is
    there; source is api or file; refused is None if it can fire.
    """

    name: str
    rule: Rule
    counts_from: datetime
    decided_to: datetime
    pending_at: datetime | None = None
    paused_since: datetime | None = None
    paused_until: datetime | None = None
    source: str = "api"
    refused: Refused | None = None

    @property
    def timetable(self) -> Timetable:
        """Return when it fires. Raises: InvalidSchedule, if a zone is known no more."""
        return timetable(
            cron=self.rule.cron,
            every_seconds=self.rule.every_seconds,
            time_zone=self.rule.time_zone,
            counts_from=self.counts_from,
        )

    def is_paused(self, at: datetime) -> bool:
        """Return whether the last pause includes this instant."""
        if self.paused_since is None or at < self.paused_since:
            return False
        return self.paused_until is None or at < self.paused_until

    def upcoming(self, after: datetime) -> Iterator[Due]:
        """Return the ticks later than this instant, each with when it is to fire."""
        ticks = self.timetable.ticks(after)
        if not self.rule.jitter_seconds:
            # Without a look at the tick behind each, which can take longer than all else.
            yield from (Due(at, at) for at in ticks)
            return
        # The last of a timetable that ends has no tick behind it.
        for at, following in pairwise(_and_none(ticks)):
            if at is not None:
                yield Due(at, at + self._jitter(at, following))

    def _jitter(self, at: datetime, following: datetime | None) -> timedelta:
        most = timedelta(seconds=self.rule.jitter_seconds)
        if following is not None:
            most = min(most, following - at)
        milliseconds = most // timedelta(milliseconds=1)
        if not milliseconds:
            return timedelta()
        seed = hashlib.sha256(f"{self.name} {at.astimezone(UTC).isoformat()}".encode()).digest()
        return timedelta(milliseconds=int.from_bytes(seed) % milliseconds)


def _and_none(ticks: Iterator[datetime]) -> Iterator[datetime | None]:
    yield from ticks
    yield None


class Due(NamedTuple):
    """A tick, and when it is to fire: later by its jitter."""

    at: datetime
    fires_at: datetime


class Decided(NamedTuple):
    """What became of a tick."""

    at: datetime
    outcome: TickOutcome


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written about a schedule: ticks, and its own new state.

    `look_at` is when to look at it again; `has_more` is true if more ticks are due than fit into one decision.
    """

    ticks: list[Decided]
    decided_to: datetime
    pending_at: datetime | None
    next_at: datetime | None
    look_at: datetime
    has_more: bool


@dataclass(slots=True)
class _Fate:
    """Decides one tick after the other."""

    schedule: Schedule
    now: datetime
    is_busy: bool
    pending_at: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        self.pending_at = self.schedule.pending_at

    def of_pending(self) -> list[Decided]:
        """Decide the tick that waits, if it has waited long enough."""
        at = self.pending_at
        if at is None or (self.is_busy and not self.schedule.is_paused(self.now)):
            return []
        self.pending_at = None
        if self.schedule.is_paused(self.now):
            return [Decided(at, TickOutcome.SKIPPED_PAUSED)]
        self.is_busy = True
        return [Decided(at, TickOutcome.FIRED)]

    def of(self, due: Due, *, is_missed: bool) -> list[Decided]:
        """Decide a tick that is due."""
        if _is_paused(self.schedule, due, self.now):
            return [Decided(due.at, TickOutcome.SKIPPED_PAUSED)]
        if is_missed:
            return [Decided(due.at, self._outcome_of_missed(due))]
        overlap = self.schedule.rule.overlap
        if overlap is not Overlap.ALLOW and (self.is_busy or self.pending_at is not None):
            if overlap is Overlap.QUEUE_ONE and self.pending_at is None:
                self.pending_at = due.at
                return []
            return [Decided(due.at, TickOutcome.SKIPPED_OVERLAP)]
        self.is_busy = True
        return [Decided(due.at, TickOutcome.FIRED)]

    def _outcome_of_missed(self, due: Due) -> TickOutcome:
        refused = self.schedule.refused
        # In time, if the database had let it.
        is_refused = refused is not None and refused.since - due.fires_at <= LATE
        return TickOutcome.SKIPPED_REFUSED if is_refused else TickOutcome.SKIPPED_MISSED


def decide(
    schedule: Schedule, now: datetime, *, is_busy: bool, keep: timedelta, at_once: int = AT_ONCE, hurry: bool = False
) -> Decision:
    """Decide what becomes of the ticks that are due. Raises: InvalidSchedule.

    `is_busy` is true if a job of the schedule is live; ticks older than keep get no row; with hurry those fire too that
    wait for their jitter.
    """
    due, following, is_known = _due(
        schedule, now, schedule.upcoming(max(schedule.decided_to, now - keep)), at_once, hurry
    )
    has_more = len(due) > at_once
    fire_late = _late_ones(schedule, due, now) if is_known else set()
    fate = _Fate(schedule, now, is_busy)
    ticks = fate.of_pending()
    for tick in due[:at_once]:
        ticks += fate.of(tick, is_missed=now - tick.fires_at > LATE and tick.at not in fire_late)
    upcoming_at = due[at_once] if has_more else following
    return Decision(
        ticks=ticks,
        decided_to=due[min(len(due), at_once) - 1].at if due else schedule.decided_to,
        pending_at=fate.pending_at,
        next_at=upcoming_at and upcoming_at.at,
        # Not the time of the next tick if that is past: schedules that are due first go first.
        look_at=now if has_more else _look_at(upcoming_at, fate.pending_at, now),
        has_more=has_more,
    )


def _due(
    schedule: Schedule, now: datetime, upcoming: Iterator[Due], at_once: int, hurry: bool
) -> tuple[list[Due], Due | None, bool]:
    """Return the ticks that are due, and the one behind them.

    If there are more than at_once, so many that none of the first is among those that fire although missed; False: that
    is not known, since too many would have to be read.
    """
    due: list[Due] = []
    enough = schedule.rule.missed_max or 1
    for tick in upcoming:
        if (tick.at if hurry else tick.fires_at) > now:
            return due, tick, True
        due.append(tick)
        if len(due) > at_once:
            enough -= _is_missed(schedule, tick, now)
            if enough < 0 or len(due) > at_once + MOST_READ:
                return due, None, enough < 0
    return due, None, True


def _is_missed(schedule: Schedule, due: Due, now: datetime) -> bool:
    return now - due.fires_at > LATE and not _is_paused(schedule, due, now)


def _is_paused(schedule: Schedule, due: Due, now: datetime) -> bool:
    # Nothing fires while it is paused, however long ago it was due; nor does later what fell into a pause, by its time
    # or when it had waited for its jitter.
    return any(map(schedule.is_paused, (due.at, min(due.fires_at, now), now)))


def _late_ones(schedule: Schedule, due: list[Due], now: datetime) -> set[datetime]:
    """Return which of the missed ticks fire nevertheless."""
    rule = schedule.rule
    if rule.missed is Missed.SKIP or not due:
        return set()
    if rule.missed is Missed.LAST:
        return {due[-1].at}
    missed = [tick.at for tick in due if _is_missed(schedule, tick, now)]
    since = now - timedelta(seconds=rule.missed_within_seconds or 0)
    return {at for at in missed[-(rule.missed_max or 1) :] if at >= since}


def _look_at(following: Due | None, pending_at: datetime | None, now: datetime) -> datetime:
    latest = now + (LOOK if pending_at is None else LOOK_AT_PENDING)
    return latest if following is None else min(following.fires_at, latest)


def counts_from_after(old: Schedule, rule: Rule, now: datetime) -> datetime:
    """Return where every_seconds of the new rule counts from: its next tick is as far from the last one as it says.

    If that has passed, the next tick is the next whole second.
    """
    if rule.every_seconds is None or old.rule.every_seconds is None:
        return now.replace(microsecond=0)
    if rule.every_seconds == old.rule.every_seconds:
        return old.counts_from
    every, before = timedelta(seconds=rule.every_seconds), timedelta(seconds=old.rule.every_seconds)
    last = old.counts_from + max(0, (now - old.counts_from) // before) * before
    return last if last + every > now else now.replace(microsecond=0) + timedelta(seconds=1) - every


def next_ticks(schedule: Schedule, after: datetime, most: int) -> list[datetime]:
    """Return the next ticks after this instant, at most this many."""
    return list(islice(schedule.timetable.ticks(after), most))
