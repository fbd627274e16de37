"""Asks a handler to stop when its time is up, and gives up the claim if the handler does not stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from haulier.kinds import Kind, StopReason
from haulier.worker.metrics import counts
from haulier.worker.steps.execute import failed_attempt, job_fields
from haulier.worker.supply.buffer import Buffer, Ended
from haulier.worker.supply.held import HeldJob

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Timeouts:
    """Watches the jobs that `running` returns: for each runner the job that it runs, or ran last."""

    running: Callable[[], Iterable[HeldJob | None]]
    buffer: Buffer
    kinds: Mapping[str, Kind]
    stuck_seconds: float
    # How many threads are in a handler that cannot be stopped.
    stuck: int = field(default=0, init=False)

    def enforce(self) -> None:
        """Ask jobs whose time is up to stop, and give up jobs that were asked more than `stuck_seconds` ago."""
        now = time.monotonic()
        for running in self.running():
            if running is None or running.has_ended or running.began_at is None or running.timeout is None:
                continue
            if now - running.began_at <= running.timeout:
                continue
            if running.timed_out_at is None:
                running.timed_out_at = now
                running.context.stop(StopReason.TIMEOUT)
            elif now - running.timed_out_at > self.stuck_seconds:
                self._give_up(running)

    def _give_up(self, running: HeldJob) -> None:
        """Give up the claim of a job whose thread cannot be stopped; the fence makes that safe."""
        job, timeout = running.job, running.timeout
        error = f"timed out after {timeout} s and did not stop within another {self.stuck_seconds:g} s"
        running.has_ended = True
        self.buffer.add(Ended(running, failed_attempt(self.kinds[job.kind], job, error)))
        self.stuck += 1
        counts.STUCK.set(self.stuck)
        log.error("stuck: %s", error, extra=job_fields(job))
