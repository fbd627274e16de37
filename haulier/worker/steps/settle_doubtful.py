"""Settles the outcomes that did not settle with the others: together if possible, one by one, or later."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from haulier.domain.claim import Settlement
from haulier.domain.errors import DatabaseUnavailable, Locked, Refusal, RefusedForNow
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.database import Database
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.worker.lanes.refused import Refused
from haulier.worker.steps.report import Report
from haulier.worker.steps.settle_and_claim import mark_unsure
from haulier.worker.supply import Supply
from haulier.worker.supply.buffer import Ended
from haulier.worker.supply.sizes import MOST_AT_ONCE

# How long one outcome may wait for its row's lock while the others wait for it. A cancel holds it for a few ms.
ROW_SECONDS = 0.2
NOT_STORED = "the outcome of the run could not be stored; the worker's log has why"
# A failure with NOT_STORED may replace the outcome of a run. A release is not one.
MADE_BY_A_RUN = (Verb.COMPLETE, Verb.FAIL, Verb.SNOOZE)


@dataclass(slots=True, kw_only=True)
class SettleDoubtful:
    """Settles the outcomes that the buffer holds as doubtful. For the settler."""

    database: Database
    supply: Supply
    refused: Refused
    report: Report
    stopping: threading.Event
    # The outcomes that the database refuses for now.
    _held_back: list[Ended] = field(default_factory=list, init=False)
    # How many are settled at once: halved after a refusal for now, which a single outcome may have caused.
    _most: int = field(default=MOST_AT_ONCE, init=False)

    @property
    def has_held_back(self) -> bool:
        """Return whether any outcome is held back, due or not."""
        return bool(self._held_back)

    def has_due(self) -> bool:
        """Return whether any outcome that was held back is to be tried again now."""
        return any(map(self._is_due, self._held_back))

    def settle(self) -> None:
        """Settle the doubtful outcomes, and put back those that still do not settle.

        Raises: DatabaseUnavailable; Refusal.
        """
        batch = self._collect()
        try:
            if batch:
                self._settle_all(batch)
                self._most = min(MOST_AT_ONCE, 2 * self._most)
        except Locked:
            # The lock may be held for long: next time the others come first.
            batch.append(batch.pop(0))
        except DatabaseUnavailable as error:
            mark_unsure(batch)
            if not isinstance(error, RefusedForNow):
                raise
            # The statement has waited, perhaps for a single one of them: try half as many.
            self._most = max(1, len(batch) // 2)
            if len(batch) == 1:
                self._hold_back(batch.pop(), error)
        finally:
            self.supply.buffer.doubt(batch)

    def _collect(self) -> list[Ended]:
        """Return the outcomes to settle now, at most as many as are settled at once."""
        due = [ended for ended in self._held_back if self._is_due(ended)]
        self._held_back = [ended for ended in self._held_back if ended not in due]
        for ended in due:
            ended.running.is_held_back = False
        batch = [*self.supply.buffer.collect_doubtful(), *due]
        batch, rest = batch[: self._most], batch[self._most :]
        self.supply.buffer.doubt(rest)
        return batch

    def _settle_all(self, batch: list[Ended]) -> None:
        """Settle what one statement can, and the rest one by one; remove from the batch what is done."""
        with self.database.connection() as conn:
            batch[:] = self._settle_each(conn, batch)
            batch[:] = self._let_go_of_earlier(conn, batch)
            while batch:
                self._settle_alone(conn, batch[0])
                batch.pop(0)

    def _is_due(self, ended: Ended) -> bool:
        # A process that stops tries at once, and then leaves the job to other processes.
        return self.stopping.is_set() or not self.refused.is_waiting(ended.running.job.id)

    def _settle_each(self, conn: Connection, batch: Sequence[Ended]) -> list[Ended]:
        """Settle all that can be settled, and return the outcomes that were left out."""
        left = []
        failures = self.report.failures
        settled = claims.settle_each(
            conn, failures.settlements(batch), uncounted=failures.refused, worker_name=failures.worker_name
        )
        for ended, became in zip(batch, settled, strict=True):
            if became is None:
                left.append(ended)
            elif isinstance(became, Refusal):
                self._hold_back(ended, became)
            else:
                self._let_go(ended, became)
        return left

    def _let_go_of_earlier(self, conn: Connection, left: Sequence[Ended]) -> list[Ended]:
        """Let go of the runs that an earlier settle without an answer has settled, and return the others."""
        unsure = [ended.running.fence for ended in left if ended.running.is_unsure]
        earlier = claims.settled_earlier(conn, unsure) if unsure else {}
        for ended in left:
            if ended.running.fence in earlier:
                self._let_go(ended, earlier[ended.running.fence])
        return [ended for ended in left if ended.running.fence not in earlier]

    def _settle_alone(self, conn: Connection, ended: Ended) -> None:
        """Settle one run by itself, waiting for its row up to ROW_SECONDS. Raises: Locked; DatabaseUnavailable."""
        failures = self.report.failures
        [settlement] = failures.settlements([ended])
        try:
            try:
                status = _settled_alone(conn, settlement, failures.worker_name)
            except Refusal as error:
                # It waited for a lock on the job's row: a lock on the counts would have been refused in `settle_each`.
                if settlement.failure is None or isinstance(error, Locked):
                    raise
                status = _settled_alone(conn, settlement.uncounted, failures.worker_name)
                failures.refused(error)
        except Locked:
            raise
        except Refusal as error:
            self._hold_back(ended, error)
        else:
            self._let_go(ended, status)

    def _let_go(self, ended: Ended, status: JobStatus | None) -> None:
        self.refused.forget([ended.running.job.id])
        self.supply.held.drop([ended.running])
        self.report.ended([(ended, status)])

    def _hold_back(self, ended: Ended, error: Refusal) -> None:
        """Hold back an outcome that the database refuses for now; if it can never be stored, fail the job for good."""
        outcome = ended.outcome
        self.refused.add(ended.running.job.id, error)
        if error.is_lasting and outcome.verb in MADE_BY_A_RUN and outcome.error != NOT_STORED:
            self.supply.buffer.doubt([ended._replace(outcome=Outcome.fail_for_good(NOT_STORED))])
        elif self.stopping.is_set():
            # The job is given back with all other unfinished jobs, and runs again.
            self.supply.held.leave([ended.running])
        else:
            ended.running.is_held_back = True
            self._held_back.append(ended)


def _settled_alone(conn: Connection, settlement: Settlement, worker_name: str) -> JobStatus | None:
    # Translated here, because the caller handles a refusal and an outage differently.
    with translated():
        settled = claims.settle(conn, [settlement], lock_seconds=ROW_SECONDS, worker_name=worker_name)
        return settled.get(settlement.fence.id)
