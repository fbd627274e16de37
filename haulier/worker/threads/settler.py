"""The thread that settles late outcomes and those that did not settle with the others, and gives back waiting jobs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.errors import DatabaseUnavailable, Locked, Refusal, RefusedForNow
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome, Verb
from haulier.postgres.database import Database
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.buffer import Buffer, Ended
from haulier.worker.shared.claim_size import MOST_AT_ONCE, WINDOW_SECONDS
from haulier.worker.shared.held import HeldJobs
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.refused import Refused
from haulier.worker.shared.shutdown import Shutdown
from haulier.worker.steps.report import Report
from haulier.worker.steps.settle_and_claim import Calls, settlements

TICK_SECONDS = WINDOW_SECONDS / 2
# Jobs claimed ahead go back when none of them has started for this long: the jobs before them have turned out slow.
STANDSTILL_SECONDS = 2 * WINDOW_SECONDS
IDLE_SECONDS = 0.25
# After an unexpected error, which may well come again.
BUG_PAUSE_SECONDS = 2.0
# How long one outcome may wait for its row's lock while the others wait for it. A cancel holds it for a few ms.
ROW_SECONDS = 0.2
NOT_STORED = "the outcome of the run could not be stored; the worker's log has why"
# The outcomes that a failure with NOT_STORED may replace: those of a run. A release is not one.
MADE_BY_A_RUN = (Verb.COMPLETE, Verb.FAIL, Verb.SNOOZE)

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False, kw_only=True)
class Settler(threading.Thread):
    """Ensures that no outcome waits here for longer than WINDOW_SECONDS, as far as it can be settled at all."""

    buffer: Buffer
    marks: Marks
    calls: Calls
    database: Database
    held: HeldJobs
    refused: Refused
    report: Report
    outage: Outage
    shutdown: Shutdown

    def __post_init__(self) -> None:
        super().__init__(name="settler", daemon=True)
        # The outcomes that the database refuses for now.
        self._held_back: list[Ended] = []
        # How many are settled at once: halved after a refusal for now, which a single one of them may have caused.
        self._most = MOST_AT_ONCE

    def run(self) -> None:
        """Settle and give back whenever there is something, until the process closes."""
        stirred, closing = self.buffer.stirred, self.shutdown.closing
        try:
            while not closing.is_set():
                if not (stirred.wait(IDLE_SECONDS) or self._held_back):
                    continue
                stirred.clear()
                while self._has_any() and not closing.wait(TICK_SECONDS):
                    self._tidy()
        finally:
            self.database.close()

    def _has_any(self) -> bool:
        return self.buffer.has_any() or any(map(self._is_due, self._held_back))

    def _tidy(self) -> None:
        buffer = self.buffer
        try:
            if buffer.stands_still(STANDSTILL_SECONDS) and buffer.take_place():
                self._make_round_trip(giving_back=True)
            elif buffer.is_overdue() and buffer.take_place():
                self._make_round_trip(giving_back=False)
            self._settle_doubtful()
        except (DatabaseUnavailable, Refusal) as error:
            self.outage.failed(error)
            self.outage.pause()
        except Exception:
            log.exception("the settler's round failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
            self.shutdown.closing.wait(BUG_PAUSE_SECONDS)

    def _make_round_trip(self, *, giving_back: bool) -> None:
        try:
            if giving_back:
                self.marks.given_back([running.job for running in self.buffer.empty()])
            if self.calls.settle_ended() is None:
                self.outage.pause()
        finally:
            self.buffer.done(leaving=True)

    def _settle_doubtful(self) -> None:
        """Settle the outcomes that did not settle with the others, and put back those that still do not."""
        batch = self._collect()
        try:
            if batch:
                self._settle_all(batch)
                self._most = min(MOST_AT_ONCE, 2 * self._most)
        except Locked:
            # That lock may be held for long: next time the others come first.
            batch.append(batch.pop(0))
        except DatabaseUnavailable as error:
            for ended in batch:
                ended.running.is_unsure = True
            if not isinstance(error, RefusedForNow):
                raise
            # The statement has waited, perhaps because of a single one of them: try half as many.
            self._most = max(1, len(batch) // 2)
            if len(batch) == 1:
                self._hold_back(batch.pop(), error)
        finally:
            self.buffer.doubt(batch)

    def _collect(self) -> list[Ended]:
        """Return the outcomes to settle now, at most as many as are settled at once."""
        due = [ended for ended in self._held_back if self._is_due(ended)]
        self._held_back = [ended for ended in self._held_back if ended not in due]
        for ended in due:
            ended.running.is_held_back = False
        batch = [*self.buffer.collect_doubtful(), *due]
        batch, rest = batch[: self._most], batch[self._most :]
        self.buffer.doubt(rest)
        return batch

    def _settle_all(self, batch: list[Ended]) -> None:
        """Settle all that one statement can, and the rest one by one; each that is dealt with leaves the batch."""
        with self.database.connection() as conn:
            batch[:] = self._settle_each(conn, batch)
            batch[:] = self._let_go_of_earlier(conn, batch)
            while batch:
                self._settle_alone(conn, batch[0])
                batch.pop(0)

    def _is_due(self, ended: Ended) -> bool:
        # A process that stops tries once more at once, and then leaves the job to others.
        return self.shutdown.stopping.is_set() or not self.refused.is_waiting(ended.running.job.id)

    def _settle_each(self, conn: Connection, batch: Sequence[Ended]) -> list[Ended]:
        """Settle all that can be settled, and return the outcomes that were left out."""
        left = []
        for ended, became in zip(batch, consume.settle_each(conn, settlements(batch)), strict=True):
            if became is None:
                left.append(ended)
            elif isinstance(became, Refusal):
                self._hold_back(ended, became)
            else:
                self._let_go(ended, became)
        return left

    def _let_go_of_earlier(self, conn: Connection, left: Sequence[Ended]) -> list[Ended]:
        """Let go of those that an earlier settle without an answer has settled, and return the others."""
        unsure = [ended.running.fence for ended in left if ended.running.is_unsure]
        earlier = consume.settled_earlier(conn, unsure) if unsure else {}
        for ended in left:
            if ended.running.fence in earlier:
                self._let_go(ended, earlier[ended.running.fence])
        return [ended for ended in left if ended.running.fence not in earlier]

    def _settle_alone(self, conn: Connection, ended: Ended) -> None:
        """Settle one run by itself, waiting for its row up to ROW_SECONDS. Raises: Locked; DatabaseUnavailable."""
        fence = ended.running.fence
        try:
            # Inside the try, so that a refusal is told apart from an outage.
            with translated():
                settled = consume.settle(conn, settlements([ended]), lock_seconds=ROW_SECONDS)
        except Locked:
            raise
        except Refusal as error:
            self._hold_back(ended, error)
        else:
            self._let_go(ended, settled.get(fence.id))

    def _let_go(self, ended: Ended, status: JobStatus | None) -> None:
        self.refused.forget([ended.running.job.id])
        self.held.drop([ended.running])
        self.report.ended([(ended, status)])

    def _hold_back(self, ended: Ended, error: Refusal) -> None:
        """Hold back an outcome that the database refuses for now; one that can never be stored fails for good."""
        outcome = ended.outcome
        self.refused.add(ended.running.job.id, error, may_pass=isinstance(error, RefusedForNow))
        if error.is_lasting and outcome.verb in MADE_BY_A_RUN and outcome.error != NOT_STORED:
            self.buffer.doubt([ended._replace(outcome=Outcome.fail_for_good(NOT_STORED))])
        elif self.shutdown.stopping.is_set():
            # The job is given back with all others that are unfinished, and runs again.
            self.held.leave([ended.running])
        else:
            ended.running.is_held_back = True
            self._held_back.append(ended)
