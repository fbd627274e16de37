"""The lanes that this process claims from: where each claim begins, which is next, which jobs the database refuses."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from haulier.domain.claim import ClaimRequest, Mark
from haulier.queue.rows import ClaimedJob
from haulier.worker.lanes.marks import Marks
from haulier.worker.lanes.refused import RefusalLog, Refused, RefusedLanes


class Lanes:
    """The marks of one process, and the jobs that the database refuses it for each of three statements."""

    def __init__(self) -> None:
        log = RefusalLog()
        self.marks = Marks()
        self.refused_lanes = RefusedLanes()
        self.refused_claims = Refused("claim", log)
        self.refused_settles = Refused("settle", log)
        self.refused_rescues = Refused("rescue", log)
        # Set while suspects are to be run, of whichever lane.
        self.suspects_due = threading.Event()

    def to_claim(self) -> list[Mark]:
        """Return the marks to claim from, best first; none while the database refuses too many claims or outcomes."""
        if self.refused_claims.is_full or self.refused_settles.is_full:
            return []
        return self.refused_lanes.leave_out(self.marks.marks())

    def claim_answered(self, request: ClaimRequest, jobs: Sequence[ClaimedJob], *, is_short: bool) -> None:
        """Note the jobs that a claim brought; `is_short`: the lanes that it read have no more."""
        self.refused_claims.forget(job.id for job in jobs)
        self.marks.claimed(jobs, is_short=is_short, read=request.marks)
