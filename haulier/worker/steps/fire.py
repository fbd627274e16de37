"""Fires the ticks of schedules that are due: see haulier/queue/schedules/fire.py."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from haulier.domain.errors import DatabaseUnavailable, Refusal, RefusedForNow, reason
from haulier.postgres.pool import Database
from haulier.queue.schedules import fire
from haulier.queue.schedules.fire import APART, Fired
from haulier.worker.link.outage import Outage
from haulier.worker.metrics import counts
from haulier.worker.steps.sparing_log import SparingLog

# The longest wait: a schedule may have been made or changed meanwhile.
LOOK_SECONDS = 1.0
# The wait for another process that decides all due schedules. If it has died, its locks last until the server notices.
LOCKED_SECONDS = 0.05
# The wait for a schedule that cannot be put off, because the database refuses to change its row.
STUCK_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Firing:
    """Fires the schedules that are due, whenever it is called."""

    database: Database
    outage: Outage
    retention_days: int
    # Until when each stuck schedule is skipped, by the monotonic clock.
    _stuck: dict[str, float] = field(init=False, default_factory=dict)
    # Whether the last turn has seen that a schedule is due by now: then this turn need not ask.
    _is_due: bool = field(init=False, default=False)
    # How many are tried at a time, after a turn met one that cannot fire. None: all that are due.
    _apart: int | None = field(init=False, default=None)
    _log: SparingLog = field(init=False, default_factory=lambda: SparingLog(log))

    def turn(self) -> float | None:
        """Fire what is due, and return after how many seconds to call again; None if there are no schedules."""
        now = time.monotonic()
        self._stuck = {name: until for name, until in self._stuck.items() if until > now}
        try:
            seconds = self._turn()
        except (DatabaseUnavailable, Refusal) as error:
            self._is_due = False
            self.outage.failed(error)
            return LOOK_SECONDS
        if seconds is None:
            return LOOK_SECONDS if self._stuck else None
        return min(seconds, LOOK_SECONDS)

    def _turn(self) -> float | None:
        """Fire once what is due, and return in how many seconds the next schedule is."""
        if not self._is_due and ((seconds := self._seconds()) is None or seconds > 0):
            return self._due_in(seconds)
        self._is_due = False
        fired = self._fire()
        if fired.has_more:
            return self._due_in(0.0)
        seconds = self._seconds()
        if seconds is not None and seconds <= 0 and not fired.decided:
            # Another process has locked all that is due, and decides it just now.
            return LOCKED_SECONDS
        return self._due_in(seconds)

    def _due_in(self, seconds: float | None) -> float | None:
        self._is_due = seconds is not None and seconds < LOOK_SECONDS
        return None if seconds is None else max(0.0, seconds)

    def _seconds(self) -> float | None:
        with self.database.connection() as conn:
            return fire.next_look(conn, passed_over=self._stuck)

    def _fire(self) -> Fired:
        """Fire what is due: all at once, or apart from each other if the database refuses one."""
        while True:
            try:
                with self.database.connection() as conn:
                    fired = fire.fire_due(
                        conn, retention_days=self.retention_days, passed_over=self._stuck, apart=self._apart
                    )
                break
            except Refusal as error:
                if self._apart == 1:
                    raise
                log.debug("firing due schedules one by one because of an error: %s", reason(error))
                # Perhaps one of them takes all the time of a statement, or waits for a lock.
                self._apart = 1 if self._apart or isinstance(error, RefusedForNow) else APART
        if not fired.failed and not fired.has_more:
            self._apart = None
        self._count(fired)
        return fired

    def _count(self, fired: Fired) -> None:
        for outcome, ticks in Counter(fired.outcomes).items():
            counts.TICKS.labels(outcome).inc(ticks)
        if fired.late:
            counts.TICKS_LATE.observe_all(fired.late)
        self._stuck |= dict.fromkeys(fired.stuck, time.monotonic() + STUCK_SECONDS)
        for name, why in fired.failed.items():
            # Not when it is retried: then the message would differ, and be logged more than once a minute.
            self._log.warning(f"the schedule {name} cannot fire and will be retried: {why}", about=name)
