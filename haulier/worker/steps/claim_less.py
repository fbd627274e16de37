"""Finds the job that cannot be claimed, after the database has refused a claim."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from haulier.domain.claim import ClaimRequest
from haulier.domain.errors import JobRefused, Refusal
from haulier.queue import claims
from haulier.worker.steps.settle_and_claim import Calls
from haulier.worker.supply.held import HeldJob

# How long to look for jobs that cannot be claimed, one after the other; meanwhile this process claims nothing else.
SEARCH_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SmallerClaims:
    """Claims fewer at once, so that one job that cannot be claimed does not hold up the others.

    Only the thread that has the buffer's place may call it.
    """

    calls: Calls
    stopping: threading.Event

    def claim_less(self, request: ClaimRequest) -> list[HeldJob] | None:
        """Claim half as many, again and again, down to the job that cannot be claimed, which later claims skip.

        Return what was claimed; None if the database is away, or refuses the statement for every job.
        """
        limit, until = request.limit, time.monotonic() + SEARCH_SECONDS
        try:
            while limit > 1:
                self.calls.supply.call_size.refused(limit)
                limit //= 2
                try:
                    return self.calls.claim([], replace(request, claim_id=claims.new_claim(), limit=limit))
                except Refusal as error:
                    log.debug("the database refuses a claim of %d jobs, claiming fewer: %s", limit, error)
                    # Each of these claims has waited for something; there is no time for another.
                    if time.monotonic() > until or self.stopping.is_set():
                        raise
            return self._claim_one(request, until)
        # Not a JobRefused: the database refuses the statement for every job.
        except Refusal as error:
            self.calls.link.outage.failed(error)
            return None

    def claim_one(self, request: ClaimRequest) -> list[HeldJob] | None:
        """Claim one job and return it in a list, empty if there is none; None if the database is away.

        Jobs that cannot be claimed are skipped; if there are many, their lanes are skipped for a while.
        Raises: Refusal, if the database refuses the statement for every job.
        """
        if not request.marks:
            return []
        try:
            # One round trip; the search takes four.
            return self.calls.claim([], replace(request, passed_over=self.calls.lanes.refused_claims.waiting()))
        except Refusal:
            return self._claim_one(request, time.monotonic() + SEARCH_SECONDS)

    def _claim_one(self, request: ClaimRequest, until: float) -> list[HeldJob] | None:
        marks, lanes = list(request.marks), self.calls.lanes
        refused_jobs = lanes.refused_claims
        while marks and not self.stopping.is_set() and not refused_jobs.is_full:
            passed_over = refused_jobs.waiting()
            try:
                single = replace(request, claim_id=claims.new_claim(), limit=1, marks=marks, passed_over=passed_over)
                return self.calls.claim([], single, alone=True)
            except JobRefused as refused:
                refused_jobs.add(refused.job_id, refused)
                if time.monotonic() > until and refused.lane is not None:
                    lanes.refused_lanes.add(refused.lane)
                    marks = [mark for mark in marks if mark.lane != refused.lane]
        return []
