"""The failed attempts of this process, as they are counted: each with its group of errors."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

from haulier.domain.claim import Failure, Settlement
from haulier.domain.errors import Refusal, reason
from haulier.domain.fingerprint import Fingerprint, fingerprint, other_errors
from haulier.domain.job import MAX_SNOOZES, Job
from haulier.domain.outcome import Outcome, Verb
from haulier.domain.worker import worker_name
from haulier.worker.supply.buffer import Ended

# So many new groups a kind and hour are told apart: a message that differs each time must not fill the table, and not
# hide the groups that were there before.
MOST_GROUPS, HOUR_SECONDS = 200, 3600.0
# Where the database refuses to count failures, nothing is counted for so long, and twice as long each time.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
# A refusal so long after the last pause is a new one.
FORGOTTEN_SECONDS = 300.0
# The outcomes that may be a failed attempt.
_MAY_FAIL = (Verb.FAIL, Verb.SNOOZE)

log = logging.getLogger(__name__)


class Failures:
    """Tells of each run that has ended whether it is a failed attempt, and of which group. Safe for all threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        # What they are noted with in their jobs.
        self.worker_name = worker_name(socket.gethostname(), os.getpid())
        self._clock = clock
        self._lock = threading.Lock()
        # The ids that each kind was given in this hour, those of them that are new, and those of the hour before.
        self._given: dict[str, set[int]] = {}
        self._new: dict[str, int] = {}
        self._before: dict[str, set[int]] = {}
        self._hour_ends_at = float("-inf")
        self._paused_until = float("-inf")
        self._pause = FIRST_PAUSE_SECONDS / 2

    def settlements(self, ended: Sequence[Ended]) -> list[Settlement]:
        """Return the runs as the queue settles them."""
        return [
            Settlement(each.running.fence, each.outcome, failure=self.failure(each.running.job, each.outcome))
            if each.outcome.verb in _MAY_FAIL
            else Settlement(each.running.fence, each.outcome)
            for each in ended
        ]

    def failure(self, job: Job, outcome: Outcome) -> Failure | None:
        """Return what is counted of this outcome; None where it is no failed attempt, or nothing is counted now."""
        if self._clock() < self._paused_until:
            return None
        error = outcome.error
        if outcome.verb is Verb.SNOOZE and job.snoozes >= MAX_SNOOZES:
            error = f"snoozed more than {MAX_SNOOZES} times"
        return None if error is None else Failure(self._group(job.kind, error), job.queue, error)

    def _group(self, kind: str, error: str) -> Fingerprint:
        found = fingerprint(kind, error)
        with self._lock:
            if self._clock() >= self._hour_ends_at:
                self._before, self._given, self._new = self._given, {}, {}
                self._hour_ends_at = self._clock() + HOUR_SECONDS
            given = self._given.setdefault(kind, set())
            if found.id not in given and found.id not in self._before.get(kind, ()):
                if self._new.get(kind, 0) >= MOST_GROUPS:
                    return other_errors(kind)
                self._new[kind] = self._new.get(kind, 0) + 1
            given.add(found.id)
            return found

    def refused(self, error: Refusal) -> None:
        """Note that the database refuses to count failures: nothing is counted for a while. Jobs end as they do."""
        with self._lock:
            now = self._clock()
            if now - self._paused_until > FORGOTTEN_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS / 2
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._paused_until = now + self._pause
            pause = self._pause
        log.warning(
            "the database refuses to count failed attempts, which is tried again in %.0f s: %s", pause, reason(error)
        )
