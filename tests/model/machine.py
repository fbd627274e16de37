"""The queue's verbs in any order, on a real Postgres, beside the ledger; after each step the two are compared."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from haulier.domain.claim import Settlement
from haulier.domain.errors import InvalidTransition, JobNotFound
from haulier.domain.job import MAX_SNOOZES, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims as worker_claims
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.queues import pauses
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep import partitions, purge
from tests import queueing
from tests.model.choosing import (
    QUEUES,
    Ending,
    endings,
    fives,
    has,
    keyed,
    many_requests,
    one_of,
    requests,
    some_of,
    whiles,
)
from tests.model.ledger import A_DAY, UNIT, Entry
from tests.model.operating import Operating
from tests.model.parties import Claim, Worker
from tests.model.state import State, is_about, is_told

# No example has as many.
ALL = 500


class Queue(Operating):
    """The service, its workers, an application, an operator, and somebody who holds locks."""

    @initialize(jobs=many_requests)
    def start(self, jobs: list[NewJob]) -> None:
        self.world.begin()
        self.register(())
        self.enqueue(jobs, atomic=False)
        self.every_row_is_as_the_ledger_has_it()
        self.scan_and_exchange(self.workers[0], [], [], limit=2, free=2)

    # Enqueue

    @rule(jobs=requests, atomic=st.booleans())
    def enqueue(self, jobs: list[NewJob], atomic: bool) -> None:
        expected = self.ledger.receipts(jobs)

        answers = queueing.enqueue(self.conn, jobs, atomic=atomic)

        assert [str(answer.receipt) for answer in answers] == [receipt for receipt, _ in expected]
        is_refused = atomic and any(receipt in ("mismatch", "gone") for receipt, _ in expected)
        for asked, answer, (receipt, job_id) in zip(jobs, answers, expected, strict=True):
            if receipt == "created" and not is_refused:
                self._accept([self.ledger.accept(answer.job.id, asked)])
                is_told(answer.job, self.accepted[-1])
            elif receipt == "replayed" and not (is_refused and job_id is None):
                job_id = self.ledger.keys[asked.idempotency_key].job_id
                assert answer.job.id == job_id, "another job under the same key"
                is_told(answer.job, self.ledger.jobs[job_id])
            else:
                assert answer.job is None

    @rule(job=keyed)
    def enqueue_one_under_a_key(self, job: NewJob) -> None:
        self.enqueue([job], atomic=True)

    @rule(
        queue=st.sampled_from(QUEUES),
        late=st.integers(-3, 2),
        max_attempts=st.integers(1, 2),
        is_committed=st.booleans(),
    )
    def insert(self, queue: str, late: int, max_attempts: int, is_committed: bool) -> None:
        """Enqueue as an application does, also for a time that has passed; it may commit later."""
        due, by = late + 0.5, self.conn if is_committed else self.world.application
        job_id = self.world.insert(queue, due * UNIT, max_attempts, by=by)
        entry = Entry(job_id, queue, 0, max_attempts, None, self.ledger.clock + due)
        if is_committed:
            self._accept([entry])
        else:
            self.uncommitted.append(entry)

    @has(lambda self: self.uncommitted)
    @rule(is_committed=st.sampled_from([True, True, False]))
    def end_the_applications_transaction(self, is_committed: bool) -> None:
        entries, self.uncommitted = self.uncommitted, []
        if is_committed:
            self.world.application.commit()
            self._accept(entries)
        else:
            self.world.application.rollback()

    # Settle

    @has(State.some_claims)
    @rule(claims=some_of(State.some_claims), ends=fives, have_snoozed_often=st.booleans())
    def settle(self, claims: list[Claim], ends: list[Ending], have_snoozed_often: bool) -> None:
        """Settle claims, be they current, stale or settled already; some may have snoozed as often as they may."""
        claims = [claim for claim in claims if claim.job.id not in self.locked]
        if have_snoozed_often:
            for job in filter(None, [self.ledger.holder(claim.fence) for claim in claims]):
                job.snoozes = MAX_SNOOZES
                self.world.snoozed(job.id, MAX_SNOOZES)
        pairs = list(zip([claim.fence for claim in claims], ends, strict=False))
        expected = {fence.id: status for fence, ending in pairs if (status := self._end(fence, ending))}

        statuses = worker_claims.settle(self.conn, [Settlement(fence, ending.outcome) for fence, ending in pairs])

        assert statuses == expected
        for claim in claims:
            earlier = worker_claims.settled_earlier(self.conn, [claim.fence])
            assert earlier.get(claim.fence) == self.ledger.settled_earlier(claim.fence)

    @has(State.some_claims)
    @rule(claims=some_of(State.some_claims), ends=fives)
    def settle_again(self, claims: list[Claim], ends: list[Ending]) -> None:
        self.settle(claims, ends, have_snoozed_often=False)

    @has(lambda self: self.claims)
    @rule(claim=one_of(State.some_claims), changed=st.sampled_from(["id", "attempt", "claim"]), ending=endings)
    def settle_under_another_fence(self, claim: Claim, changed: str, ending: Ending) -> None:
        other = claim.fence.attempt - 1 if changed == "attempt" else uuid4()
        fence = claim.fence._replace(**{changed: other})

        statuses, _ = worker_claims.settle_and_claim(self.conn, [Settlement(fence, ending.outcome)], None)

        assert statuses == [None]

    # Cancel, change, retry, copy, delete

    @has(State.jobs_to_cancel)
    @rule(job=one_of(State.jobs_to_cancel))
    def cancel(self, job: Entry) -> None:
        expected: Any = self.ledger.cancel(job) if job.id in self.ledger.jobs else JobNotFound

        try:
            done: Any = job_acts.cancel(self.conn, job.id)
        except JobNotFound:
            done = JobNotFound
        except InvalidTransition:
            done = None

        assert done is expected

    @has(State.jobs_to_cancel)
    @rule(
        job=one_of(State.jobs_to_cancel),
        queue=st.sampled_from(QUEUES),
        priority=st.sampled_from([0, 1]),
        delay=st.none() | whiles | st.just(0.0),
    )
    def change(self, job: Entry, queue: str, priority: int, delay: float | None) -> None:
        is_there = job.id in self.ledger.jobs
        expected: Any = self.ledger.change(job, queue, priority, delay) if is_there else JobNotFound
        changes = job_acts.Changes.of(
            queue=queue, priority=priority, **({} if delay is None else {"delay_seconds": delay})
        )

        try:
            changed = job_acts.change(self.conn, job.id, changes)
        except JobNotFound:
            assert expected is JobNotFound
        except InvalidTransition:
            assert expected is False
        else:
            assert expected is True
            is_told(changed, job)

    @has(lambda self: self.accepted)
    @rule(job=one_of(lambda self: self.accepted))
    def copy(self, job: Entry) -> None:
        try:
            made = job_acts.copy(self.conn, job.id)
        except JobNotFound:
            assert job.id not in self.ledger.jobs
        else:
            assert job.id in self.ledger.jobs
            self._accept([self.ledger.copy(made.id, job)])
            is_told(made, self.accepted[-1])

    @has(State.jobs_to_delete)
    @rule(job=one_of(State.jobs_to_delete))
    def delete(self, job: Entry) -> None:
        expected: Any = self.ledger.delete(job) if job.id in self.ledger.jobs else JobNotFound

        try:
            job_acts.delete(self.conn, job.id)
        except JobNotFound:
            assert expected is JobNotFound
        except InvalidTransition:
            assert expected is False
        else:
            assert expected is True

    @has(State.jobs_to_retry)
    @rule(job=one_of(State.jobs_to_retry), queue=st.none() | st.sampled_from(QUEUES))
    def retry(self, job: Entry, queue: str | None) -> None:
        expected: Any = self.ledger.retry(job) if job.id in self.ledger.jobs else JobNotFound
        self.may_live_again = {job.id}
        changes = job_acts.Changes.of(**({} if queue is None else {"queue": queue}))
        if expected is True and queue is not None:
            job.queue = queue

        try:
            again = job_acts.retry(self.conn, job.id, changes)
        except JobNotFound:
            assert expected is JobNotFound
        except InvalidTransition:
            assert expected is False
        else:
            assert expected is True
            is_told(again, job)

    # Pause and resume

    @rule(queue=st.sampled_from(QUEUES), units=st.sampled_from([None, 0, 1, 3]))
    def pause(self, queue: str, units: int | None) -> None:
        """Pause a queue, for a while or until it is resumed; or change when the pause ends."""
        until = None if units is None else self.world.now() + (units + 0.5) * UNIT
        pauses.pause(self.conn, queue, until=until)
        self.ledger.pauses[queue] = None if units is None else self.ledger.clock + units + 0.5

    @rule(queue=st.sampled_from(QUEUES))
    def resume(self, queue: str) -> None:
        """Resume a queue, be it paused or not."""
        pauses.resume(self.conn, queue)
        self.ledger.pauses.pop(queue, None)

    # Beat and rescue

    @rule(worker=one_of(State.some_workers))
    def beat(self, worker: Worker) -> None:
        """Beat, and compare as the heartbeat does: a claim whose reply was lost goes back uncharged."""
        self._beat(worker)
        held = worker_claims.held(self.conn, worker.id, {job.claim for job in self.ledger.jobs.values() if job.claim})
        assert {each.fence.id: each.cancel_requested for each in held} == {
            job.id: job.cancel_requested
            for job in self.ledger.jobs.values()
            if job.status == "running" and job.worker == worker.id
        }
        lost = [each.fence for each in held if each.fence.claim in self.lost and each.fence.id not in self.locked]
        expected = {fence.id: self._end(fence, Ending(Outcome.release())) for fence in lost}
        assert worker_claims.settle(self.conn, [Settlement(fence, Outcome.release()) for fence in lost]) == expected

    def _beat(self, worker: Worker) -> None:
        seconds = worker_claims.beat(self.conn, worker.id)
        process = self.ledger.workers.get(worker.id)
        assert (seconds is None) == (process is None), "declared dead, or not"
        if process is not None and seconds is not None:
            assert is_about(seconds, self.ledger.clock - process.beat)
            process.beat = self.ledger.clock

    @rule(dying=some_of(lambda self: self.workers, most=2), leaving=st.booleans())
    def rescue(self, dying: list[Worker], leaving: bool) -> None:
        """Let workers say nothing for a lease, or leave with jobs that run, and have them found.

        What their threads say after that is late.
        """
        for worker in dying:
            if leaving:
                worker_claims.deregister(self.conn, worker.id)
                self.ledger.workers.pop(worker.id, None)
            elif worker.id in self.ledger.workers:
                self.ledger.workers[worker.id].beat = self.ledger.clock - 3
                self.world.silence(worker.id, 3 * UNIT)
        buried, statuses = self.ledger.rescue(self.locked)

        rescued = queueing.rescue(self.conn)

        assert len(rescued.workers) == len(buried)
        assert rescued.jobs == statuses
        self._bury()

    def _bury(self) -> None:
        # One of the dead goes on speaking now and then.
        dead = [worker for worker in self.workers if worker.id not in self.ledger.workers]
        self.workers = [worker for worker in self.workers if worker not in dead] + dead[-1:]
        if len(self.workers) == len(dead[-1:]):
            self.register(())

    # Time, locks, housekeeping

    @rule(units=st.integers(1, 4), are_beating=st.sampled_from([True, True, False]))
    def pass_time(self, units: int, are_beating: bool) -> None:
        self._unlock()
        time = units * UNIT
        ends = [job.finished_at for job in self.ledger.jobs.values() if job.finished_at is not None]
        self.world.pass_time(time, ends=ends, uncommitted=[entry.id for entry in self.uncommitted])
        self.ledger.pass_time(units)
        for worker in self.workers:
            worker.lanes.pass_time(time)
        if are_beating:
            for worker in self.workers:
                self._beat(worker)

    @rule(days=st.integers(1, 3), kept=st.integers(1, 3))
    def pass_days_and_purge(self, days: int, kept: int) -> None:
        """Forget the keys and drop the days that are old enough, and with them the jobs that ended then; no others."""
        self.pass_time(days * A_DAY, are_beating=True)
        assert purge.purge_idempotency(self.conn, idempotency_days=kept) == self.ledger.purge_idempotency(kept)
        [row] = self.world.sql("SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS today")

        partitions.drop_expired(self.world.url, retention_days=kept)

        self.world.days.clear()
        for job in list(self.ledger.jobs.values()):
            if job.finished_at is not None and job.finished_at < row["today"] - timedelta(days=kept):
                del self.ledger.jobs[job.id]

    @has(State.live)
    @rule(job=one_of(State.live))
    def lock(self, job: Entry) -> None:
        """Let somebody hold this row, and no other; its settle, claim and rescue pass it over."""
        self._unlock()
        self.world.lock(job.id)
        self.locked.add(job.id)

    # At the end

    def teardown(self) -> None:
        """Let everybody die, and have one worker do all that is left: each job must come to it, and end."""
        try:
            # Not after a failure, nor if hypothesis gives an example up.
            if sys.exc_info()[0] is None:
                self._drain()
        finally:
            self.world.end()

    def _drain(self) -> None:
        if self.uncommitted:
            self.end_the_applications_transaction(is_committed=True)
            self.every_row_is_as_the_ledger_has_it()
        self._end_operations()
        self.pass_time(10, are_beating=False)
        self.rescue([], leaving=False)
        self.every_row_is_as_the_ledger_has_it()
        for queue in QUEUES:
            self.resume(queue)
        self.register(())
        worker = self.workers[-1]
        for suspect in (False, True):
            while claims := self._claim(worker, limit=ALL, suspect=suspect):
                expected = [self._end(claim.fence, Ending(Outcome.complete())) for claim in claims]
                settlements = [Settlement(claim.fence, Outcome.complete()) for claim in claims]
                assert worker_claims.settle_and_claim(self.conn, settlements, None)[0] == expected
            assert queueing.seconds_until_due(self.conn, queues=(), suspect=suspect) is None
        self.every_row_is_as_the_ledger_has_it()
        self.the_overview_counts_what_the_ledger_has()
        assert {job.id for job in search.list_jobs(self.conn, JobFilter(limit=ALL)).jobs} == set(self.ledger.jobs)
        assert self.live() == [], "jobs that nobody can claim"
