"""Why a schedule does not fire just now: from its row, its live job and the workers to reasons, each under a code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from haulier.domain.schedules.schedule import Due, InvalidSchedule, Overlap, Schedule
from haulier.domain.text import count
from haulier.domain.waiting import STUCK_SECONDS, Reason

# A worker may have decided a tick after this was asked, and before the answer.
CLOCK_DIFFERENCE = timedelta(seconds=1)


class ScheduleCode(StrEnum):
    """The reasons, in the order in which they are given."""

    UNUSABLE = "unusable"
    ENDED = "ended"
    REFUSED = "refused"
    CLOCK_SET_BACK = "clock_set_back"
    NOT_DUE = "not_due"
    PAUSED = "paused"
    OVERLAP = "overlap"
    NO_WORKER = "no_worker"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Unfired:
    """What is known of a schedule, from which follows why it does not fire just now.

    `now` is the database's time; `looked_for` is when a worker was last to look at it, or is to do so next; `live_job`
    is a job of the schedule that has not ended; workers counts the live ones that are not stopping, since those fire
    schedules; ticks older than keep count no more.
    """

    schedule: Schedule
    now: datetime
    looked_for: datetime
    live_job: UUID | None
    workers: int
    keep: timedelta

    def reasons(self) -> list[Reason]:
        """Return all reasons; none if it is about to fire."""
        schedule = self.schedule
        try:
            following = next(schedule.upcoming(max(schedule.decided_to, self.now - self.keep)), None)
        except InvalidSchedule as error:
            return [Reason(ScheduleCode.UNUSABLE, f"it cannot fire: {error.field}: {error}")]
        if following is None and schedule.pending_at is None:
            return [Reason(ScheduleCode.ENDED, "it has no further tick")]
        parts = (self._of_refusals, self._of_time, self._of_state, self._of_workers)
        return [reason for part in parts for reason in part(following)]

    def _of_refusals(self, following: Due | None) -> Iterator[Reason]:
        refused = self.schedule.refused
        if refused is not None and not self._passes(following):
            times = count(refused.times, "time")
            message = f"the database refused its job {times} in a row and workers will try again: {refused.message}"
            yield Reason(ScheduleCode.REFUSED, message, since=refused.since, until=refused.until)

    def _of_time(self, following: Due | None) -> Iterator[Reason]:
        if self.schedule.decided_to - self.now > CLOCK_DIFFERENCE:
            message = (
                "the clock of the database was ahead and has been set back: ticks up to that time are already decided"
                " and do not fire again. To fire earlier, delete the schedule and create it again"
            )
            yield Reason(ScheduleCode.CLOCK_SET_BACK, message, until=self.schedule.decided_to)
        if following is not None and following.fires_at > self.now:
            jitter = "; its jitter delays it" if following.fires_at > following.at else ""
            yield Reason(ScheduleCode.NOT_DUE, f"its next tick is not due yet{jitter}", until=following.fires_at)

    def _of_state(self, following: Due | None) -> Iterator[Reason]:
        schedule = self.schedule
        if self._passes(following):
            message = "an operator has paused it: ticks during the pause are skipped"
            yield Reason(ScheduleCode.PAUSED, message, schedule.paused_since, schedule.paused_until)
        if self.live_job is None:
            return
        link = f"/jobs/{self.live_job}"
        if schedule.pending_at is not None:
            message = f"a tick waits until the job {self.live_job} ends; later ticks are skipped meanwhile"
            yield Reason(ScheduleCode.OVERLAP, message, since=schedule.pending_at, link=link)
        elif schedule.rule.overlap is not Overlap.ALLOW:
            becomes = "waits" if schedule.rule.overlap is Overlap.QUEUE_ONE else "is skipped"
            yield Reason(ScheduleCode.OVERLAP, f"a tick {becomes} while the job {self.live_job} is live", link=link)

    def _passes(self, following: Due | None) -> bool:
        """Return whether a pause holds what comes next, by the instants that firing goes by."""
        schedule = self.schedule
        if schedule.pending_at is not None and schedule.is_paused(self.now):
            return True
        return following is not None and any(map(schedule.is_paused, (*following, max(following.fires_at, self.now))))

    def _of_workers(self, following: Due | None) -> Iterator[Reason]:
        since = self._due_since(following)
        if since is None:
            return
        if not self.workers:
            message = "no worker is running that could fire it: start one"
            yield Reason(ScheduleCode.NO_WORKER, message, since=since, link="/workers")
        elif (self.now - max(since, self.looked_for)).total_seconds() >= STUCK_SECONDS:
            message = "it is due, workers are running, and the database shows no reason: see the workers' logs"
            yield Reason(ScheduleCode.UNKNOWN, message, since=since, link="/workers")

    def _due_since(self, following: Due | None) -> datetime | None:
        """Return since when a worker could decide something; None if nothing is due."""
        schedule = self.schedule
        if schedule.pending_at is not None and (self.live_job is None or schedule.is_paused(self.now)):
            return schedule.pending_at
        if following is not None and following.fires_at <= self.now:
            return following.fires_at
        return None
