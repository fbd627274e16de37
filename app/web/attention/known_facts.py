"""The facts that notices are made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from haulier.domain.checks import Check
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.health.ended_workers import EndedWorker
from haulier.queue.numbers.recent import Minute
from haulier.queue.numbers.stats import Queue, Stats
from haulier.queue.schedules.schedule_health import Overdue, Skips
from haulier.queue.search.running import RunningJob

from ..lists.fleet import Fleet
from ..lists.queue_states import Known


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    A part that could not be loaded, or that the viewer may not see, is None or empty; no rule guesses. `minutes` are
    the last ones of each queue. `stuck` are jobs that should have been stopped by now. `mended` are the ids of error
    groups without jobs left: all were retried or deleted. `failing_schedules` maps a schedule to how many of its jobs
    failed in a row; `skipping` are schedules that skip ticks. `unread` are the reasons why some facts could not be
    loaded. `unserved` are queues with due jobs that no worker takes, found by reading the jobs. `usual` is the usual
    share of failed jobs per queue. vacuum_is_due: many rows are dead, but autovacuum had no time to come yet.
    """

    now: datetime
    queues: Sequence[Queue] | None = None
    fleet: Fleet | None = None
    errors: Sequence[ErrorGroup] | None = None
    stats: Stats | None = None
    days_ahead: float | None = None
    is_counting: bool = field(default=True)
    mended: Collection[int] = ()
    minutes: Mapping[str, Sequence[Minute]] = field(default_factory=dict)
    stuck: Sequence[RunningJob] = ()
    ended: Sequence[EndedWorker] = ()
    overdue: Overdue | None = None
    failing_schedules: Mapping[str, int] = field(default_factory=dict)
    skipping: Sequence[Skips] = ()
    checks: Sequence[Check] = ()
    vacuum_is_due: bool = False
    unread: Sequence[str] = ()
    unserved: Collection[str] = ()
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """Return what is known about queues besides their counts."""
        return Known(self.now, self.fleet, self.minutes, self.unserved, self.usual)
