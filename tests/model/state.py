"""Where the queue and the ledger stand, what may be chosen next, and what must be true after each step."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, invariant

from haulier.domain.claim import Fence
from haulier.domain.job import Job
from haulier.queue.health import overview as system_overview
from tests.model.choosing import Ending
from tests.model.ledger import FINAL, UNIT, Entry, Ledger
from tests.model.parties import Claim, Operated, Previewed, Worker
from tests.model.world import ALL_JOBS, KEYS_AND_WORKERS, RECORD, Row, World

# The columns that the ledger calls the same.
SAME = (
    "status", "queue", "priority", "attempt", "claim", "attempts", "max_attempts", "crashes", "snoozes",
    "backoff", "cancel_requested", "last_error", "result",
)  # fmt: skip
# What the passing of time moves in a row that nobody changes.
MOVING = ("now", "version", "run_at", "updated_at", "finished_at")


def is_about(seconds: float, units: float) -> bool:
    """Return whether a time that the database gave is this one of the ledger's."""
    return abs(seconds / UNIT.total_seconds() - units) < 0.25


def keeps_the_promises(was: Row | None, row: Row, *, may_live_again: bool) -> None:
    """Compare a row with what it was before the step, whatever the ledger says of it."""
    assert (row["place"] == "finished_job") == (row["status"] in FINAL)
    assert row["attempts"] <= row["max_attempts"], "more attempts than its budget has"
    if was is None:
        return
    assert row["attempt"] >= was["attempt"], "the fence went back"
    if was["status"] in FINAL and not may_live_again:
        assert _unmoved(was) == _unmoved(row), "changed after its end"
    if was["cancel_requested"] and was["status"] == "running":
        assert row["status"] in ("running", "cancelled"), "a cancel that was accepted has lost"


def _unmoved(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in MOVING}


def is_as_written(job: Entry, row: Row, *, clock: int) -> None:
    """Compare a row with the ledger's entry, and learn from it the moments that only the database knows."""
    for name in SAME:
        assert row[name] == getattr(job, name), name
    assert row["worker_id"] == job.worker
    assert row["idempotency_key"] == job.key
    assert row["suspect"] == job.is_suspect
    assert [(error["attempt"], error["error"]) for error in row["errors"]] == job.errors
    if job.place is None:
        assert is_about((row["run_at"] - row["now"]).total_seconds(), job.due - clock), "due at another time"
        job.place = row["run_at"]
    assert row["run_at"] == job.place, "another place in the queue"
    if job.finished_at is None and row["finished_at"] is not None:
        assert is_about((row["finished_at"] - row["now"]).total_seconds(), 0)
        job.finished_at = row["finished_at"]
    assert row["finished_at"] == job.finished_at


def is_told(job: Job, entry: Entry) -> None:
    """Compare with the ledger's entry what a verb has answered."""
    for name in ("status", "queue", "priority", "attempts", "max_attempts", "crashes", "snoozes", "backoff"):
        assert getattr(job, name) == getattr(entry, name), name
    assert (job.worker_id, job.last_error, job.idempotency_key) == (entry.worker, entry.last_error, entry.key)
    assert [(error["attempt"], error["error"]) for error in job.errors] == entry.errors


class State(RuleBasedStateMachine):
    """The service, its workers, an application, an operator, and somebody who holds locks: where they all stand."""

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
        self.may_live_again: set[UUID] = set()
        self.previews: list[Previewed] = []
        self.operations: list[Operated] = []
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

    def jobs_to_delete(self) -> list[Entry]:
        ended = [job for job in self.ledger.jobs.values() if job.status in FINAL]
        return ended + self.accepted[:3]

    # What several rules do

    def _accept(self, entries: list[Entry]) -> None:
        self.ledger.enter(entries)
        self.accepted += entries

    def _end(self, fence: Fence, ending: Ending) -> str | None:
        job = self.ledger.holder(fence)
        if job is None or job.id in self.locked:
            return None
        return self.ledger.settle(job, ending.outcome, ending.result)

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
            keeps_the_promises(self.seen.get(job_id), row, may_live_again=job_id in self.may_live_again)
            is_as_written(self.ledger.jobs[job_id], row, clock=self.ledger.clock)
        self.seen, self.may_live_again = found, set()

    @invariant()
    def keys_and_workers_are_as_the_ledger_has_them(self) -> None:
        rows = self.world.sql(KEYS_AND_WORKERS)
        keys = {key: held.job_id for key, held in self.ledger.keys.items()}
        assert {row["key"]: row["id"] for row in rows if row["key"] is not None} == keys
        assert {row["id"] for row in rows if row["key"] is None} == set(self.ledger.workers)

    @invariant()
    def what_operators_did_is_on_record(self) -> None:
        assert [(row["action"], row["target"]) for row in self.world.sql(RECORD)] == self.ledger.record

    @invariant()
    def the_overview_counts_what_the_ledger_has(self) -> None:
        overview, live = system_overview.overview(self.conn), self.live()
        assert {(depth.queue, depth.status): depth.jobs for depth in overview.depths} == Counter(
            (job.queue, job.status) for job in live
        )
        due = [self.ledger.clock - job.due for job in live if job.is_waiting and self.ledger.may_start(job)]
        oldest = max((depth.oldest_due_seconds or 0.0 for depth in overview.depths), default=0.0)
        assert is_about(oldest, max(due, default=0.0))
        assert {(depth.queue, depth.status): depth.unserved for depth in overview.depths if depth.unserved} == Counter(
            (job.queue, job.status)
            for job in live
            if job.is_waiting and self.ledger.may_start(job) and not self.ledger.is_served(job.queue)
        )
        assert overview.paused_queues == len(self.ledger.paused())
        assert overview.health.workers == sum(map(self.ledger.is_alive, self.ledger.workers))
        assert overview.history_days_ahead > 6
