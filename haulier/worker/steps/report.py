"""What is said of the runs that have ended: in the log, to Prometheus, and in the database's counts of errors."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from haulier.domain.claim import Failure, Settlement
from haulier.domain.errors import Refusal, reason
from haulier.domain.fingerprint import Fingerprint, fingerprint, other_errors
from haulier.domain.job import MAX_SNOOZES, WAITING_STATUSES, Job, JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.domain.worker import worker_name
from haulier.worker.metrics import counts
from haulier.worker.steps.execute import job_fields
from haulier.worker.steps.sparing_log import SparingLog
from haulier.worker.supply.buffer import Ended

# A kind may have this many new groups in an hour: messages that differ each time must not fill the table, and not hide
# the groups that were there before.
MOST_GROUPS, HOUR_SECONDS = 200, 3600.0
# If the database refuses to count failures, nothing is counted for a while, and for twice as long each time.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
# After this long without a refusal the next pause is the first one again.
FORGOTTEN_SECONDS = 300.0
# The outcomes that may be a failed attempt.
_MAY_FAIL = (Verb.FAIL, Verb.SNOOZE)

log = logging.getLogger(__name__)
sparing = SparingLog(log)


@dataclass(frozen=True, slots=True)
class Report:
    """Logs and counts how runs ended; `failures` are counted in the database.

    `success_level` is the level of the line for each success: DEBUG unless LOG_JOBS=on, because at full speed these
    lines cost a third of the rate.
    """

    tally: counts.Tally
    success_level: int
    failures: Failures

    def ended(self, settled: Sequence[tuple[Ended, JobStatus | None]]) -> None:
        """Log and count how runs ended; a status of None means that the claim was lost."""
        logs_success = log.isEnabledFor(self.success_level)
        for ended, status in settled:
            label = _label(ended.outcome, status)
            self.tally.ended(ended.running.label, label, ended.running.seconds)
            if logs_success or status is not JobStatus.SUCCEEDED:
                _log(ended, status, label, self.success_level)
        self.tally.flush()


def _log(ended: Ended, status: JobStatus | None, label: str, success_level: int) -> None:
    fields = job_fields(ended.running.job)
    if status is None:
        counts.LEASES_LOST.inc()
        sparing.warning("lost the claim: the outcome changed nothing", about=ended.running.job.kind, extra=fields)
    elif ended.outcome.verb is Verb.RELEASE and ended.outcome.error is not None:
        counts.UNKNOWN_KIND.inc()
        message = (
            "gave back a job with payload fields unknown here"
            if ended.running.is_known
            else "gave back a job of a kind unknown here"
        )
        sparing.warning(message, about=ended.running.job.kind, extra=fields)
    elif status is JobStatus.SUCCEEDED:
        log.log(success_level, "completed in %.3f s", ended.running.seconds, extra=fields)
    elif ended.outcome.error is not None:
        log.info("%s: %s", status, ended.outcome.error, extra=fields)
    elif ended.running.began_at is None:
        log.debug("given back unstarted", extra=fields)
    else:
        log.info("%s", label, extra=fields)


def _label(outcome: Outcome, status: JobStatus | None) -> str:
    if status is None:
        return "lost"
    if status in WAITING_STATUSES and outcome.verb is not Verb.FAIL:
        return {Verb.SNOOZE: "snoozed", Verb.RELEASE: "released"}.get(outcome.verb, str(status))
    return str(status)


class Failures:
    """Finds out whether a run is a failed attempt, and in which group of errors. Safe for all threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        # Stored with each failed attempt.
        self.worker_name = worker_name(socket.gethostname(), os.getpid())
        self._clock = clock
        self._lock = threading.Lock()
        # For each kind: the ids of its groups in this hour, how many of them are new, and the ids in the hour before.
        self._seen: dict[str, set[int]] = {}
        self._new: dict[str, int] = {}
        self._before: dict[str, set[int]] = {}
        self._hour_ends_at = float("-inf")
        self._paused_until = float("-inf")
        self._pause = FIRST_PAUSE_SECONDS / 2

    def settlements(self, ended: Sequence[Ended]) -> list[Settlement]:
        """Return the runs as the queue settles them."""
        return [
            Settlement(running.fence, outcome, failure=self.failure(running.job, outcome))
            if outcome.verb in _MAY_FAIL
            else Settlement(running.fence, outcome)
            for running, outcome in ended
        ]

    def failure(self, job: Job, outcome: Outcome) -> Failure | None:
        """Return what is counted of this outcome; None if it is no failed attempt, or if nothing is counted now."""
        if self._clock() < self._paused_until:
            return None
        error = outcome.error
        if outcome.verb is Verb.SNOOZE and job.snoozes >= MAX_SNOOZES:
            error = f"snoozed more than {MAX_SNOOZES} times"
        return None if error is None else Failure(self._group(job.kind, error), job.queue, error)

    def _group(self, kind: str, error: str) -> Fingerprint:
        group = fingerprint(kind, error)
        with self._lock:
            if self._clock() >= self._hour_ends_at:
                self._before, self._seen, self._new = self._seen, {}, {}
                self._hour_ends_at = self._clock() + HOUR_SECONDS
            seen = self._seen.setdefault(kind, set())
            if group.id not in seen and group.id not in self._before.get(kind, ()):
                if self._new.get(kind, 0) >= MOST_GROUPS:
                    return other_errors(kind)
                self._new[kind] = self._new.get(kind, 0) + 1
            seen.add(group.id)
            return group

    def refused(self, error: Refusal) -> None:
        """Note that the database refuses to count failures: none is counted for a while. Jobs end as usual."""
        with self._lock:
            now = self._clock()
            if now - self._paused_until > FORGOTTEN_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS / 2
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._paused_until = now + self._pause
            pause = self._pause
        log.warning("the database refuses to count failed attempts, trying again in %.0f s: %s", pause, reason(error))
