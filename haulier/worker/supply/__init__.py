"""The jobs that this process holds, from their claim to their settle, and how many it claims."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from haulier.config import Config
from haulier.domain.claim import ClaimRequest
from haulier.domain.job import JobStatus
from haulier.kinds import Kind
from haulier.worker.link.sleeper import Bell
from haulier.worker.metrics.counts import Tally
from haulier.worker.supply.buffer import Buffer, Ended
from haulier.worker.supply.held import HeldJob, HeldJobs
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import CallSize, ClaimSize


class Supply:
    """What the threads share about the jobs of this process; `tally` counts them."""

    def __init__(self, config: Config, kinds: Mapping[str, Kind], bell: Bell, shutdown: Shutdown, tally: Tally) -> None:
        self.held = HeldJobs(kinds, config)
        self.call_size = CallSize()
        self.buffer = Buffer(ClaimSize(config.worker_threads), self.call_size, bell, shutdown)
        self.tally = tally

    def claim_answered(
        self, request: ClaimRequest, claimed: Sequence[HeldJob], size: int, *, is_short: bool, began_at: float
    ) -> Sequence[HeldJob]:
        """Take in the jobs of a claim, `size` bytes together; return those that are given back since they would wait.

        The claim was sent at `began_at`; `is_short`: there are no more jobs in the lanes that it read.
        """
        self.tally.claimed(len(claimed))
        self.call_size.succeeded(time.monotonic() - began_at)
        self.call_size.brought(len(claimed), size)
        surplus = self.buffer.fill(claimed, free=request.free, is_short=is_short, asked_at=began_at)
        return claimed[len(claimed) - surplus :]

    def settled(self, ended: Sequence[Ended], statuses: Sequence[JobStatus | None]) -> list[tuple[Ended, JobStatus]]:
        """Let go of the runs that were settled, and return them; leave those without a status to the settler."""
        both = list(zip(ended, statuses, strict=True))
        self.buffer.doubt([each for each, status in both if status is None])
        done = [(each, status) for each, status in both if status is not None]
        self.held.drop([each.running for each, _ in done])
        return done
