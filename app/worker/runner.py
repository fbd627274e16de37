"""The thread that does the work: claim, run, settle, with an Outcome between the last two."""

from __future__ import annotations

import logging
import threading
import time
from uuid import uuid4

from app.domain.errors import DatabaseUnavailable
from app.domain.job import Job, JobStatus
from app.domain.outcome import Outcome, Verb
from app.kinds import JobContext
from app.queue import consume
from app.worker import metrics
from app.worker.execute import job_fields, run_one
from app.worker.holdings import Running
from app.worker.station import Station

# When a due job could not be had (somebody is just claiming it), the next look follows at once, then ever later.
FIRST_PAUSE_SECONDS = 0.02
# After a failed call: the database comes back within a second of its return.
AWAY_PAUSE_SECONDS = 0.5
# A run of suspects ends after this long, so that the other jobs get their turn.
SUSPECTS_SECONDS = 5.0

log = logging.getLogger(__name__)


class Runner(threading.Thread):
    """Claims one job at a time, runs it, settles it, until the process stops."""

    def __init__(self, station: Station, number: int) -> None:
        super().__init__(name=f"runner-{number}", daemon=True)
        self._station = station
        self._pause = FIRST_PAUSE_SECONDS
        self._is_cut_off = False

    def run(self) -> None:
        """Work until the process stops claiming."""
        station = self._station
        try:
            while not station.stopping.is_set():
                with station.lookout.turn() as ours:
                    if not ours:
                        return
                    if station.suspects_due.is_set():
                        self._run_suspects()
                    running = self._look()
                if running is not None:
                    self.work(running)
                elif self._is_cut_off:
                    # Outside of the lookout's place: another thread's connection may be good.
                    self._is_cut_off = False
                    station.stopping.wait(AWAY_PAUSE_SECONDS)
                    station.outage.wait_until_over(AWAY_PAUSE_SECONDS, station.config.worker_threads)
        finally:
            station.database.close()

    def _look(self) -> Running | None:
        """Claim a job, waiting for one; None when there is something else to see to first."""
        station = self._station
        station.lookout.heed()
        running = self._claim()
        if running is not None:
            self._pause = FIRST_PAUSE_SECONDS
            return running
        if not (self._is_cut_off or station.stopping.is_set() or station.suspects_due.is_set()):
            station.lookout.wait(self._idle_seconds())
        return None

    def _claim(self, *, suspect: bool = False) -> Running | None:
        station = self._station
        worker_id = station.lease.worker_id
        if worker_id is None or station.stopping.is_set():
            return None
        claim_id = uuid4()
        claimed: list[Running] = []
        station.holdings.begin_claim(claim_id)
        try:
            with station.database.connection() as conn:
                jobs = consume.claim(
                    conn,
                    worker_id=worker_id,
                    claim_id=claim_id,
                    queues=station.config.worker_queues,
                    suspect=suspect,
                )
            claimed = [self._take_up(job) for job in jobs]
        except DatabaseUnavailable as error:
            station.outage.failed(error)
            # Whether the claim was committed is unknown: the pulse looks, and gives back what nobody holds.
            station.pulse_wanted.set()
            self._is_cut_off = True
            return None
        finally:
            station.holdings.end_claim(claim_id, claimed)
        station.outage.succeeded()
        station.lookout.answered()
        metrics.CLAIMS.inc()
        metrics.CLAIM_SIZE.observe(len(claimed))
        return claimed[0] if claimed else None

    def _take_up(self, job: Job) -> Running:
        kind = self._station.kinds.get(job.kind)
        timeout = job.timeout_seconds or (kind.timeout if kind else None)
        return Running(job, JobContext(job, self._station.config), timeout)

    def _idle_seconds(self) -> float:
        """Return how long to wait before the next look when nothing could be claimed."""
        station = self._station
        longest = station.config.poll_seconds
        if station.lease.worker_id is None:
            return min(longest, AWAY_PAUSE_SECONDS)
        try:
            with station.database.connection() as conn:
                due = consume.seconds_until_due(conn, queues=station.config.worker_queues)
        except DatabaseUnavailable as error:
            station.outage.failed(error)
            self._is_cut_off = True
            return 0
        if due is None or due > longest:
            self._pause = FIRST_PAUSE_SECONDS
            return longest
        if due > 0:
            return due
        pause, self._pause = self._pause, min(longest, 2 * self._pause)
        return pause

    def _run_suspects(self) -> None:
        """Run the jobs that have crashed before, each with nothing else in the process.

        The caller has the lookout's place, so that nobody claims meanwhile; the others finish what they run. Where
        that takes too long the place is given up for a while, and next time more patience is shown.
        """
        station = self._station
        station.suspects_due.clear()
        if not station.patience.is_ready():
            return
        station.lookout.is_reserved = True
        try:
            if self._wait_until_alone(station.patience.seconds):
                station.patience.rewarded()
                until = time.monotonic() + SUSPECTS_SECONDS
                while time.monotonic() < until and (running := self._claim(suspect=True)):
                    self.work(running)
        finally:
            station.lookout.is_reserved = False

    def _wait_until_alone(self, seconds: float) -> bool:
        station, until = self._station, time.monotonic() + seconds
        while not station.stopping.is_set():
            if station.holdings.wait_until_empty(min(0.25, max(0.0, until - time.monotonic()))):
                return True
            if time.monotonic() >= until:
                station.patience.exhausted()
                return False
        return False

    def work(self, running: Running) -> None:
        """Run a claimed job and settle it."""
        station, job = self._station, running.job
        # Not our own any more, too, when this process was declared dead since the claim, and has registered anew.
        if station.stopping.is_set() or station.lease.worker_id != job.worker_id:
            outcome = Outcome.release()
        else:
            kind = station.kinds.get(job.kind)
            label = job.kind if kind else "unknown"
            metrics.STARTED.labels(label).inc()
            if job.started_at is not None:
                metrics.QUEUE_WAIT.labels(label).observe(max(0.0, (job.started_at - job.run_at).total_seconds()))
            began_at = running.began_at = time.monotonic()
            outcome = run_one(kind, running.context)
            metrics.DURATION.labels(label).observe(time.monotonic() - began_at)
        self.settle(running, outcome)

    def settle(self, running: Running, outcome: Outcome) -> None:
        """Settle the job, however often the database has to be asked; then let go of it."""
        running.has_ended = True
        try:
            status = self._settle(running, outcome)
        # Whatever the database will not store, the job must not stay running for ever.
        except Exception:
            log.exception("an outcome could not be settled", extra=job_fields(running.job))
            outcome = Outcome.fail_for_good("the outcome of the run could not be stored; the worker's log has why")
            status = self._settle(running, outcome)
        finally:
            self._station.holdings.drop(running)
        report(running, outcome, status)

    def _settle(self, running: Running, outcome: Outcome) -> JobStatus | None:
        station, unsure = self._station, False
        while True:
            try:
                with station.database.connection() as conn:
                    settled = consume.settle(conn, [consume.Settlement(running.fence, outcome)])
                    status = settled.get(running.job.id)
                    if status is None and unsure:
                        status = consume.settled_earlier(conn, running.fence)
            except DatabaseUnavailable as error:
                station.outage.failed(error)
                unsure = True
                if station.closing.wait(AWAY_PAUSE_SECONDS):
                    return None
            else:
                station.outage.succeeded()
                return status


def report(running: Running, outcome: Outcome, status: JobStatus | None) -> None:
    """Log and count how a run ended. Success is DEBUG: at full speed a line a job costs a third of the rate."""
    fields = job_fields(running.job)
    known = "unknown" if outcome.verb is Verb.RELEASE and outcome.delay else running.job.kind
    if status is None:
        metrics.LEASES_LOST.inc()
        metrics.COMPLETED.labels(known, "lost").inc()
        log.warning("lost the claim: the outcome changed nothing", extra=fields)
        return
    metrics.COMPLETED.labels(known, _label(outcome, status)).inc()
    if known == "unknown":
        metrics.UNKNOWN_KIND.inc()
        log.warning("gave back a job of a kind unknown here", extra=fields)
    elif status is JobStatus.SUCCEEDED:
        log.debug("completed", extra=fields)
    elif outcome.error is not None:
        log.info("%s: %s", status, outcome.error, extra=fields)
    else:
        log.info("%s", _label(outcome, status), extra=fields)


def _label(outcome: Outcome, status: JobStatus) -> str:
    if status in (JobStatus.QUEUED, JobStatus.RETRYING) and outcome.verb is not Verb.FAIL:
        return {Verb.SNOOZE: "snoozed", Verb.RELEASE: "released"}.get(outcome.verb, str(status))
    return str(status)
