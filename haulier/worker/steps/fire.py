"""Fires the ticks of schedules that are due: see haulier/queue/firing.py."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from haulier.domain.errors import DatabaseUnavailable, Locked, Refusal, RefusedForNow, reason
from haulier.postgres.database import Database
from haulier.queue import firing
from haulier.queue.firing import Fired
from haulier.worker.metrics import counts
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.sparing_log import SparingLog

# The longest wait: a schedule may have been made or changed meanwhile.
LOOK_SECONDS = 1.0
# The wait for a process that decides all that is due. It may have died, and its locks last until the server knows.
LOCKED_SECONDS = 0.05
# For a schedule that cannot be decided, or whose job the database refuses; and where that may pass by itself.
RETRY_SECONDS, RETRY_SOON_SECONDS = 60.0, 5.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Firing:
    """Fires what is due, whenever it is called."""

    database: Database
    outage: Outage
    retention_days: int
    # Until when each schedule that failed is passed over, by the monotonic clock.
    _failing: dict[str, float] = field(init=False, default_factory=dict)
    # Whether something is due by now, as far as the last turn has seen: it need not be asked once more.
    _is_due: bool = field(init=False, default=False)
    _log: SparingLog = field(init=False, default_factory=lambda: SparingLog(log))

    def turn(self) -> float | None:
        """Fire what is due, and return after how many seconds to call again; None where there are no schedules."""
        now = time.monotonic()
        self._failing = {name: until for name, until in self._failing.items() if until > now}
        try:
            seconds = self._turn()
        except (DatabaseUnavailable, Refusal) as error:
            self._is_due = False
            self.outage.failed(error)
            return LOOK_SECONDS
        if seconds is None:
            return LOOK_SECONDS if self._failing else None
        return min(seconds, LOOK_SECONDS)

    def _turn(self) -> float | None:
        """Fire once what is due, and return after how many seconds something is."""
        if not self._is_due and ((seconds := self._seconds()) is None or seconds > 0):
            return self._due_in(seconds)
        self._is_due = False
        fired = self._fire()
        if fired.has_more:
            return self._due_in(0.0)
        seconds = self._seconds()
        if seconds is not None and seconds <= 0 and not fired.decided:
            # All that is due is locked: another process decides it just now.
            return LOCKED_SECONDS
        return self._due_in(seconds)

    def _due_in(self, seconds: float | None) -> float | None:
        self._is_due = seconds is not None and seconds < LOOK_SECONDS
        return None if seconds is None else max(0.0, seconds)

    def _seconds(self) -> float | None:
        with self.database.connection() as conn:
            return firing.next_look(conn, passed_over=self._failing)

    def _fire(self) -> Fired:
        """Fire what is due."""
        try:
            with self.database.connection() as conn:
                fired = firing.fire_due(conn, retention_days=self.retention_days, passed_over=self._failing)
        except Locked:
            # A table is locked, as by a migration: each schedule alone would wait as long, and then be passed over.
            raise
        except Refusal as error:
            log.debug("the schedules that are due are fired one by one: %s", reason(error))
            return self._fire_one_by_one()
        self._count(fired)
        return fired

    def _fire_one_by_one(self) -> Fired:
        with self.database.connection() as conn:
            names = firing.due_names(conn, passed_over=self._failing)
        decided = 0
        for name in names:
            try:
                with self.database.connection() as conn:
                    fired = firing.fire_due(conn, retention_days=self.retention_days, only=name)
            except Locked:
                raise
            except Refusal as error:
                may_pass = isinstance(error, RefusedForNow)
                self._note({name: reason(error)}, RETRY_SOON_SECONDS if may_pass else RETRY_SECONDS)
            else:
                self._count(fired)
                decided += fired.decided
        return Fired(decided, 0, {})

    def _count(self, fired: Fired) -> None:
        for outcome, ticks in Counter(fired.outcomes).items():
            counts.TICKS.labels(outcome).inc(ticks)
        if fired.late:
            counts.TICKS_LATE.observe_all(fired.late)
        self._note(fired.failed)

    def _note(self, failed: Mapping[str, str], retry_seconds: float = RETRY_SECONDS) -> None:
        for name, why in failed.items():
            self._failing[name] = time.monotonic() + retry_seconds
            message = f"the schedule {name} cannot fire, which is tried again in {retry_seconds:.0f} s: {why}"
            self._log.warning(message, about=name)
