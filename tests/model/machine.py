"""The queue's verbs in any order, on a real Postgres, beside the ledger; after each step the two are compared."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.errors import InvalidTransition, JobNotFound
from haulier.domain.job import MAX_SNOOZES, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import consume, produce
from haulier.queue.produce.look import JobFilter
from haulier.queue.upkeep import partitions, purge
from haulier.worker.shared.marks import Marks
from tests.model.choosing import (
    QUEUES,
    Ending,
    endings,
    fives,
    has,
    keyed,
    limits,
    many_requests,
    one_of,
    requests,
    some_of,
    threads,
)
from tests.model.comparing import is_about, is_as_written, is_told, keeps_the_promises
from tests.model.ledger import A_DAY, FINAL, LEASE, UNIT, Entry, Ledger, Process
from tests.model.world import ALL_JOBS, KEYS_AND_WORKERS, Row, World

# No example has as many.
ALL = 500


class AgeingMarks(Marks):
    """Marks that stay where they are when all rows become older."""

    def pass_time(self, time: timedelta) -> None:
        """Move the marks with the rows that they are of."""
        self._marks = {lane: mark._replace(run_at=mark.run_at - time) for lane, mark in self._marks.items()}


@dataclass(eq=False)
class Worker:
    """A worker process, and from where it reads the lanes."""

    number: int
    id: UUID
    queues: tuple[str, ...]
    lanes: AgeingMarks

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<worker {self.number}>")


@dataclass(eq=False)
class Claim:
    """A claim that a worker knows of, current or not."""

    number: int
    fence: Fence
    job: Entry

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<claim {self.number}, of job {self.job.number}>")


class Queue(RuleBasedStateMachine):
    """The service, its workers, an application, an operator, and somebody who holds locks."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.conn = world, world.conn
        self.ledger = Ledger()
        self.accepted: list[Entry] = []
        self.uncommitted: list[Entry] = []
        self.workers: list[Worker] = []
        self.claims: list[Claim] = []
        # Those whose reply never came.
        self.lost: set[UUID] = set()
        self.locked: set[UUID] = set()
        self.seen: dict[UUID, Row] = {}
        self.may_live_again: UUID | None = None
        self.registered, self.ticks = 0, 0.0

    # What is chosen from: mostly what can still be changed

    def some_claims(self) -> list[Claim]:
        current = [claim for claim in self.claims if self.ledger.holder(claim.fence)]
        return current * 3 + self.claims[-12:]

    def some_workers(self) -> list[Worker]:
        return [worker for worker in self.workers if self.ledger.is_alive(worker.id)] * 4 + self.workers

    def suspects(self) -> list[Entry]:
        return [job for job in self.ledger.jobs.values() if job.is_waiting and job.is_suspect]

    def live(self) -> list[Entry]:
        return [job for job in self.ledger.jobs.values() if job.status not in FINAL]

    def jobs_to_cancel(self) -> list[Entry]:
        running = [job for job in self.live() if job.status == "running"]
        return [job for job in running * 4 + self.live() + self.accepted if job.id not in self.locked]

    def jobs_to_retry(self) -> list[Entry]:
        return [job for job in self.accepted if job.status in ("failed_permanent", "cancelled")] * 3 + self.accepted

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

        answers = produce.enqueue(self.conn, jobs, atomic=atomic)

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

    def _accept(self, entries: list[Entry]) -> None:
        self.ledger.enter(entries)
        self.accepted += entries

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

    # Claim

    @has(lambda self: self.workers[3:] == [])
    @rule(queues=st.sampled_from([(), (), ("bulk",)]))
    def register(self, queues: tuple[str, ...]) -> None:
        lease = LEASE * UNIT.total_seconds()
        worker_id = consume.register(self.conn, host="dock", pid=7, threads=4, queues=queues, lease_seconds=lease)
        self.ledger.workers[worker_id] = Process(queues, self.ledger.clock)
        self.registered += 1
        self.workers.append(Worker(self.registered, worker_id, queues, AgeingMarks(clock=self._tick)))

    def _tick(self) -> float:
        self.ticks += 1
        return self.ticks

    # Twice, as most of what can go wrong needs jobs that run.
    @rule(worker=one_of(some_workers), claims=some_of(some_claims), ends=fives, limit=limits, free=threads)
    def scan_and_exchange_again(
        self, worker: Worker, claims: list[Claim], ends: list[Ending], limit: int, free: int
    ) -> None:
        self.scan_and_exchange(worker, claims, ends, limit, free)

    def _scan(self, worker: Worker) -> None:
        lanes = consume.lanes(self.conn, queues=worker.queues)
        waiting = self.ledger.lanes(worker.queues, suspect=False)
        assert {lane.head[:2]: (lane.head[2:], lane.seconds <= 0) for lane in lanes} == {
            lane: (jobs[0].order, jobs[0].due <= self.ledger.clock) for lane, jobs in waiting.items()
        }
        worker.lanes.scanned(lanes, began_at=0.0)
        request = ClaimRequest(worker.id, uuid4(), worker.lanes.marks(), 0, 0)
        due = self.ledger.due(request, from_mark=False, locked=())
        assert due == self.ledger.due(request, from_mark=True, locked=()), "hidden before a mark"

    @rule(
        worker=one_of(some_workers),
        claims=some_of(some_claims),
        ends=fives,
        limit=limits,
        free=threads,
        reply=st.sampled_from(["comes", "comes", "comes", "is lost"]),
    )
    def exchange(
        self, worker: Worker, claims: list[Claim], ends: list[Ending], limit: int, free: int, reply: str
    ) -> None:
        """Settle and claim in one round trip, from the worker's marks on."""
        pairs = list(zip([claim.fence for claim in claims], ends, strict=False))
        self._exchange(worker, pairs, limit, free, is_answered=reply == "comes")

    @rule(worker=one_of(some_workers), claims=some_of(some_claims), ends=fives, limit=limits, free=threads)
    def scan_and_exchange(self, worker: Worker, claims: list[Claim], ends: list[Ending], limit: int, free: int) -> None:
        """Do so after a look at all lanes from their start: nothing that is due may hide before a mark."""
        self._scan(worker)
        pairs = list(zip([claim.fence for claim in claims], ends, strict=False))
        # What is settled in between comes after the look.
        self._exchange(worker, pairs, limit, free, from_mark=bool(pairs))

    def _exchange(
        self,
        worker: Worker,
        ends: Sequence[tuple[Fence, Ending]],
        limit: int,
        free: int,
        *,
        from_mark: bool = True,
        is_answered: bool = True,
    ) -> list[Claim]:
        marks = worker.lanes.marks()
        if not ends and not marks:
            return []
        request = ClaimRequest(worker.id, uuid4(), marks, limit, free)
        expected = [self._end(fence, ending) for fence, ending in ends]
        self.ledger.guess_places(self.world.now())
        fences = self._expect(request, from_mark=from_mark)

        settlements = [Settlement(fence, ending.outcome) for fence, ending in ends]
        statuses, claimed = consume.settle_and_claim(self.conn, settlements, request if marks else None)
        jobs = [job.read() for job in claimed.jobs]

        assert statuses == expected
        assert [Fence.of(job) for job in jobs] == fences
        for job in jobs:
            is_told(job, self.ledger.jobs[job.id])
        if not is_answered:
            self.lost.add(request.claim_id)
            return []
        worker.lanes.claimed(jobs, is_short=len(jobs) < limit)
        return self._know(fences)

    def _expect(self, request: ClaimRequest, *, from_mark: bool) -> list[Fence]:
        return self.ledger.claim(self.ledger.due(request, from_mark=from_mark, locked=self.locked), request)

    def _know(self, fences: Sequence[Fence]) -> list[Claim]:
        known = [
            Claim(number, fence, self.ledger.jobs[fence.id]) for number, fence in enumerate(fences, len(self.claims))
        ]
        self.claims += known
        return known

    @rule(worker=one_of(some_workers), limit=limits, kept=st.integers(0, 2))
    def claim_and_give_back_what_would_wait(self, worker: Worker, limit: int, kept: int) -> None:
        """Claim more than can be started: what goes back is to be claimed next, without another scan."""
        self._scan(worker)
        surplus = [claim.fence for claim in self._exchange(worker, [], limit, limit, from_mark=False)[kept:]]
        if not surplus:
            return
        jobs = [produce.get(self.conn, fence.id) for fence in surplus]
        expected = [self._end(fence, Ending(Outcome.give_back())) for fence in surplus]

        statuses, _ = consume.settle_and_claim(
            self.conn, [Settlement(fence, Outcome.give_back()) for fence in surplus], None
        )
        worker.lanes.given_back(jobs)

        assert statuses == expected
        self.every_row_is_as_the_ledger_has_it()
        again = self.ledger.due(
            ClaimRequest(worker.id, uuid4(), worker.lanes.marks(), 0, 0), from_mark=True, locked=self.locked
        )
        assert {fence.id for fence in surplus} <= {job.id for job in again}

    @has(suspects)
    @rule(worker=one_of(some_workers))
    def claim_a_suspect(self, worker: Worker) -> None:
        self._claim(worker, limit=1, suspect=True)

    def _claim(self, worker: Worker, *, limit: int, suspect: bool) -> list[Claim]:
        lanes = consume.lanes(self.conn, queues=worker.queues, suspect=suspect)
        marks = [lane.head for lane in lanes]
        assert {mark[:2] for mark in marks} == set(self.ledger.lanes(worker.queues, suspect=suspect))
        request = ClaimRequest(worker.id, uuid4(), marks, limit, limit, suspect)
        fences = self._expect(request, from_mark=False)

        jobs = consume.claim(
            self.conn,
            worker_id=worker.id,
            claim_id=request.claim_id,
            queues=worker.queues,
            limit=limit,
            suspect=suspect,
        )

        assert [Fence.of(job) for job in jobs] == fences
        for job in jobs:
            is_told(job, self.ledger.jobs[job.id])
        return self._know(fences)

    # Settle

    @has(some_claims)
    @rule(claims=some_of(some_claims), ends=fives, have_snoozed_often=st.booleans())
    def settle(self, claims: list[Claim], ends: list[Ending], have_snoozed_often: bool) -> None:
        """Settle claims, be they current, stale or settled already; some may have snoozed as often as they may."""
        claims = [claim for claim in claims if claim.job.id not in self.locked]
        if have_snoozed_often:
            for job in filter(None, [self.ledger.holder(claim.fence) for claim in claims]):
                job.snoozes = MAX_SNOOZES
                self.world.snoozed(job.id, MAX_SNOOZES)
        pairs = list(zip([claim.fence for claim in claims], ends, strict=False))
        expected = {fence.id: status for fence, ending in pairs if (status := self._end(fence, ending))}

        statuses = consume.settle(self.conn, [Settlement(fence, ending.outcome) for fence, ending in pairs])

        assert statuses == expected
        for claim in claims:
            earlier = consume.settled_earlier(self.conn, [claim.fence])
            assert earlier.get(claim.fence) == self.ledger.settled_earlier(claim.fence)

    @has(some_claims)
    @rule(claims=some_of(some_claims), ends=fives)
    def settle_again(self, claims: list[Claim], ends: list[Ending]) -> None:
        self.settle(claims, ends, have_snoozed_often=False)

    def _end(self, fence: Fence, ending: Ending) -> str | None:
        job = self.ledger.holder(fence)
        if job is None or job.id in self.locked:
            return None
        return self.ledger.settle(job, ending.outcome, ending.result)

    @has(lambda self: self.claims)
    @rule(claim=one_of(some_claims), changed=st.sampled_from(["id", "attempt", "claim"]), ending=endings)
    def settle_under_another_fence(self, claim: Claim, changed: str, ending: Ending) -> None:
        other = claim.fence.attempt - 1 if changed == "attempt" else uuid4()
        fence = claim.fence._replace(**{changed: other})

        statuses, _ = consume.settle_and_claim(self.conn, [Settlement(fence, ending.outcome)], None)

        assert statuses == [None]

    # Cancel and retry

    @has(jobs_to_cancel)
    @rule(job=one_of(jobs_to_cancel))
    def cancel(self, job: Entry) -> None:
        expected: Any = self.ledger.cancel(job) if job.id in self.ledger.jobs else JobNotFound

        try:
            done: Any = produce.cancel(self.conn, job.id)
        except JobNotFound:
            done = JobNotFound
        except InvalidTransition:
            done = None

        assert done is expected

    @has(jobs_to_retry)
    @rule(job=one_of(jobs_to_retry))
    def retry(self, job: Entry) -> None:
        expected: Any = self.ledger.retry(job) if job.id in self.ledger.jobs else JobNotFound
        self.may_live_again = job.id

        try:
            again = produce.retry(self.conn, job.id)
        except JobNotFound:
            assert expected is JobNotFound
        except InvalidTransition:
            assert expected is False
        else:
            assert expected is True
            is_told(again, job)

    # Beat and rescue

    @rule(worker=one_of(some_workers))
    def beat(self, worker: Worker) -> None:
        """Beat, and compare as the heartbeat does: a claim whose reply was lost goes back uncharged."""
        self._beat(worker)
        held = consume.held(self.conn, worker.id, {job.claim for job in self.ledger.jobs.values() if job.claim})
        assert {each.fence.id: each.cancel_requested for each in held} == {
            job.id: job.cancel_requested for job in self.ledger.jobs.values() if job.worker == worker.id
        }
        lost = [each.fence for each in held if each.fence.claim in self.lost and each.fence.id not in self.locked]
        expected = {fence.id: self._end(fence, Ending(Outcome.release())) for fence in lost}
        assert consume.settle(self.conn, [Settlement(fence, Outcome.release()) for fence in lost]) == expected

    def _beat(self, worker: Worker) -> None:
        seconds = consume.beat(self.conn, worker.id)
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
                consume.deregister(self.conn, worker.id)
                self.ledger.workers.pop(worker.id, None)
            elif worker.id in self.ledger.workers:
                self.ledger.workers[worker.id].beat = self.ledger.clock - 3
                self.world.silence(worker.id, 3 * UNIT)
        buried, statuses = self.ledger.rescue(self.locked)

        rescued = consume.rescue(self.conn)

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

    @has(live)
    @rule(job=one_of(live))
    def lock(self, job: Entry) -> None:
        """Let somebody hold this row, and no other; its settle, claim and rescue pass it over."""
        self._unlock()
        self.world.lock(job.id)
        self.locked.add(job.id)

    def _unlock(self) -> None:
        self.world.rival.rollback()
        self.locked.clear()

    # What must be true after each step

    @invariant()
    def every_row_is_as_the_ledger_has_it(self) -> None:
        rows = self.world.sql(ALL_JOBS)
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows), "a job in both tables"
        assert set(found) == set(self.ledger.jobs), "a job in neither table, or one that nobody has accepted"
        for job_id, row in found.items():
            keeps_the_promises(self.seen.get(job_id), row, may_live_again=job_id == self.may_live_again)
            is_as_written(self.ledger.jobs[job_id], row, clock=self.ledger.clock)
        self.seen, self.may_live_again = found, None

    @invariant()
    def keys_and_workers_are_as_the_ledger_has_them(self) -> None:
        rows = self.world.sql(KEYS_AND_WORKERS)
        keys = {key: held.job_id for key, held in self.ledger.keys.items()}
        assert {row["key"]: row["id"] for row in rows if row["key"] is not None} == keys
        assert {row["id"] for row in rows if row["key"] is None} == set(self.ledger.workers)

    @invariant()
    def the_overview_counts_what_the_ledger_has(self) -> None:
        overview, live = produce.overview(self.conn), self.live()
        assert {(depth.queue, depth.status): depth.jobs for depth in overview.depths} == Counter(
            (job.queue, job.status) for job in live
        )
        due = [self.ledger.clock - job.due for job in live if job.is_waiting and job.due <= self.ledger.clock]
        oldest = max((depth.oldest_due_seconds or 0.0 for depth in overview.depths), default=0.0)
        assert is_about(oldest, max(due, default=0.0))
        assert {(depth.queue, depth.status): depth.unserved for depth in overview.depths if depth.unserved} == Counter(
            (job.queue, job.status)
            for job in live
            if job.is_waiting and job.due <= self.ledger.clock and not self.ledger.is_served(job.queue)
        )
        assert overview.health.workers == sum(map(self.ledger.is_alive, self.ledger.workers))
        assert overview.history_days_ahead > 6

    # At the end

    def teardown(self) -> None:
        """Let everybody die, and have one worker do all that is left: each job must come to it, and end."""
        try:
            # Not after a failure, nor where hypothesis gives an example up.
            if sys.exc_info()[0] is None:
                self._drain()
        finally:
            self.world.end()

    def _drain(self) -> None:
        if self.uncommitted:
            self.end_the_applications_transaction(is_committed=True)
            self.every_row_is_as_the_ledger_has_it()
        self.pass_time(10, are_beating=False)
        self.rescue([], leaving=False)
        self.every_row_is_as_the_ledger_has_it()
        self.register(())
        worker = self.workers[-1]
        for suspect in (False, True):
            while claims := self._claim(worker, limit=ALL, suspect=suspect):
                expected = [self._end(claim.fence, Ending(Outcome.complete())) for claim in claims]
                settlements = [Settlement(claim.fence, Outcome.complete()) for claim in claims]
                assert consume.settle_and_claim(self.conn, settlements, None)[0] == expected
            assert consume.seconds_until_due(self.conn, queues=(), suspect=suspect) is None
        self.every_row_is_as_the_ledger_has_it()
        self.the_overview_counts_what_the_ledger_has()
        assert {job.id for job in produce.list_jobs(self.conn, JobFilter(limit=ALL)).jobs} == set(self.ledger.jobs)
        assert self.live() == [], "jobs that nobody can claim"
