"""Tells the log and Prometheus of claims and of the runs that have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.job import WAITING_STATUSES, JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.worker.metrics import counts
from haulier.worker.steps.execute import job_fields
from haulier.worker.steps.failures import Failures
from haulier.worker.steps.sparing_log import SparingLog
from haulier.worker.supply.buffer import Ended

log = logging.getLogger(__name__)
sparing = SparingLog(log)


@dataclass(frozen=True, slots=True)
class Report:
    """Counts what was claimed, and logs and counts how runs ended; `failures` are counted in the database.

    Shape: success_level is that of a line for each success: DEBUG unless LOG_JOBS=on, since at full speed these lines
           cost a third of the rate.
    """

    tally: counts.Tally
    success_level: int
    failures: Failures

    def claimed(self, jobs: int) -> None:
        """Count a claim that was answered, and the jobs it brought."""
        self.tally.claimed(jobs)

    def ended(self, settled: Sequence[tuple[Ended, JobStatus | None]]) -> None:
        """Log and count how runs ended; a status of None means that the claim was lost."""
        is_told = log.isEnabledFor(self.success_level)
        for ended, status in settled:
            label = _label(ended.outcome, status)
            self.tally.ended(ended.running.label, label, ended.running.seconds)
            if is_told or status is not JobStatus.SUCCEEDED:
                _log(ended, status, label, self.success_level)
        self.tally.flush()


def _log(ended: Ended, status: JobStatus | None, label: str, success_level: int) -> None:
    fields = job_fields(ended.running.job)
    if status is None:
        counts.LEASES_LOST.inc()
        sparing.warning("lost the claim: the outcome changed nothing", about=ended.running.job.kind, extra=fields)
    elif not ended.running.is_known and ended.running.began_at is not None:
        counts.UNKNOWN_KIND.inc()
        sparing.warning("gave back a job of a kind unknown here", about=ended.running.job.kind, extra=fields)
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
