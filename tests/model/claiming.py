"""The worker's round trip in any order: look, settle, claim, give back; and a suspect by itself."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import claims as worker_claims
from haulier.queue import search
from tests import queueing
from tests.model.choosing import Ending, fives, has, limits, one_of, some_of, threads
from tests.model.ledger import LEASE, UNIT, Process
from tests.model.parties import AgeingMarks, Claim, Worker
from tests.model.state import State, is_told


class Claiming(State):
    """Workers that claim, and settle in the same round trip."""

    @has(lambda self: self.workers[3:] == [])
    @rule(queues=st.sampled_from([(), (), ("bulk",)]))
    def register(self, queues: tuple[str, ...]) -> None:
        lease = LEASE * UNIT.total_seconds()
        worker_id = worker_claims.register(self.conn, host="dock", pid=7, threads=4, queues=queues, lease_seconds=lease)
        self.ledger.workers[worker_id] = Process(queues, self.ledger.clock)
        self.registered += 1
        self.workers.append(Worker(self.registered, worker_id, queues, AgeingMarks(clock=self._tick)))

    def _tick(self) -> float:
        self.ticks += 1
        return self.ticks

    # Twice, as most of what can go wrong needs jobs that run.
    @rule(worker=one_of(State.some_workers), claims=some_of(State.some_claims), ends=fives, limit=limits, free=threads)
    def scan_and_exchange_again(
        self, worker: Worker, claims: list[Claim], ends: list[Ending], limit: int, free: int
    ) -> None:
        self.scan_and_exchange(worker, claims, ends, limit, free)

    def _scan(self, worker: Worker) -> None:
        lanes = worker_claims.lanes(self.conn, queues=worker.queues)
        waiting = self.ledger.lanes(worker.queues, suspect=False)
        assert {lane.head[:2]: (lane.head[2:], lane.seconds <= 0) for lane in lanes} == {
            lane: (jobs[0].order, self.ledger.may_start(jobs[0])) for lane, jobs in waiting.items()
        }
        worker.lanes.scanned(lanes, began_at=0.0)
        request = ClaimRequest(worker.id, uuid4(), worker.lanes.marks(), 0, 0)
        due = self.ledger.due(request, from_mark=False, locked=())
        assert due == self.ledger.due(request, from_mark=True, locked=()), "hidden before a mark"

    @rule(
        worker=one_of(State.some_workers),
        claims=some_of(State.some_claims),
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

    @rule(worker=one_of(State.some_workers), claims=some_of(State.some_claims), ends=fives, limit=limits, free=threads)
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
        statuses, claimed = worker_claims.settle_and_claim(self.conn, settlements, request if marks else None)
        jobs = [job.read() for job in claimed.jobs]

        assert statuses == expected
        assert [Fence.of(job) for job in jobs] == fences
        for job in jobs:
            is_told(job, self.ledger.jobs[job.id])
        if not is_answered:
            self.lost.add(request.claim_id)
            return []
        worker.lanes.claimed(claimed.jobs, is_short=len(jobs) < limit, read=marks)
        return self._know(fences)

    def _expect(self, request: ClaimRequest, *, from_mark: bool) -> list[Fence]:
        return self.ledger.claim(self.ledger.due(request, from_mark=from_mark, locked=self.locked), request)

    def _know(self, fences: Sequence[Fence]) -> list[Claim]:
        known = [
            Claim(number, fence, self.ledger.jobs[fence.id]) for number, fence in enumerate(fences, len(self.claims))
        ]
        self.claims += known
        return known

    @rule(worker=one_of(State.some_workers), limit=limits, kept=st.integers(0, 2))
    def claim_and_give_back_what_would_wait(self, worker: Worker, limit: int, kept: int) -> None:
        """Claim more than can be started: what goes back is to be claimed next, without another scan."""
        self._scan(worker)
        surplus = [claim.fence for claim in self._exchange(worker, [], limit, limit, from_mark=False)[kept:]]
        if not surplus:
            return
        jobs = [search.get(self.conn, fence.id) for fence in surplus]
        expected = [self._end(fence, Ending(Outcome.give_back())) for fence in surplus]

        statuses, _ = worker_claims.settle_and_claim(
            self.conn, [Settlement(fence, Outcome.give_back()) for fence in surplus], None
        )
        worker.lanes.given_back(jobs)

        assert statuses == expected
        self.every_row_is_as_the_ledger_has_it()
        again = self.ledger.due(
            ClaimRequest(worker.id, uuid4(), worker.lanes.marks(), 0, 0), from_mark=True, locked=self.locked
        )
        assert {fence.id for fence in surplus} <= {job.id for job in again}

    @has(State.suspects)
    @rule(worker=one_of(State.some_workers))
    def claim_a_suspect(self, worker: Worker) -> None:
        self._claim(worker, limit=1, suspect=True)

    def _claim(self, worker: Worker, *, limit: int, suspect: bool) -> list[Claim]:
        lanes = worker_claims.lanes(self.conn, queues=worker.queues, suspect=suspect)
        marks = [lane.head for lane in lanes]
        assert {mark[:2] for mark in marks} == set(self.ledger.lanes(worker.queues, suspect=suspect))
        request = ClaimRequest(worker.id, uuid4(), marks, limit, limit, suspect)
        fences = self._expect(request, from_mark=False)

        jobs = queueing.claim(
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
