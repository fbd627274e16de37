"""What must be true of the queue, in plain Python: the promises and tables of docs/promises.md, without SQL and clock.

Time is counted in units that are long beside a run of the machine. What takes time takes a half more, so that no
answer hangs on the moment at which it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from haulier.domain.claim import ClaimRequest, Fence
from haulier.domain.job import KEPT_ERRORS, MAX_SNOOZES, Json, NewJob
from haulier.domain.outcome import Outcome

UNIT = timedelta(minutes=10)
A_DAY = timedelta(days=1) // UNIT
LEASE = 2.5

FINAL = ("succeeded", "failed_permanent", "cancelled")


@dataclass(eq=False)
class Entry:
    """One accepted job. Units: due is of the ledger's clock; place is its exact run_at, None until it is seen."""

    id: UUID
    queue: str
    priority: int
    max_attempts: int
    key: str | None
    due: float
    place: datetime | None = None
    guess: datetime | None = None
    status: str = "queued"
    worker: UUID | None = None
    attempt: int = 0
    claim: UUID | None = None
    attempts: int = 0
    crashes: int = 0
    snoozes: int = 0
    backoff: float | None = None
    cancel_requested: bool = False
    last_error: str | None = None
    errors: list[tuple[int, str]] = field(default_factory=list)
    result: Json = None
    finished_at: datetime | None = None
    number: int = 0

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<job {self.number}>")

    @property
    def is_waiting(self) -> bool:
        return self.status in ("queued", "retrying")

    @property
    def is_suspect(self) -> bool:
        return self.crashes > 0

    @property
    def order(self) -> tuple[datetime, UUID]:
        place = self.place or self.guess
        assert place is not None
        return place, self.id

    def waits_from(self, due: float) -> None:
        """Give it another place in the queue, which is seen when next looked at."""
        self.due, self.place = due, None


@dataclass
class Key:
    """An idempotency key, what was asked for under it, and when."""

    asked: NewJob
    job_id: UUID
    at: int


@dataclass
class Process:
    """A worker's row."""

    queues: tuple[str, ...]
    beat: int


class Ledger:
    """Every job that was accepted, and what may have become of it."""

    def __init__(self) -> None:
        self.clock = self.entered = 0
        self.jobs: dict[UUID, Entry] = {}
        self.keys: dict[str, Key] = {}
        self.workers: dict[UUID, Process] = {}
        # When each pause ends; None: when the queue is resumed.
        self.pauses: dict[str, float | None] = {}
        # What operators did, and to what.
        self.record: list[tuple[str, str]] = []

    # Enqueue

    def accept(self, job_id: UUID, asked: NewJob) -> Entry:
        """Return the entry of a job that was asked for just now, and enter its key."""
        if asked.idempotency_key is not None:
            self.keys[asked.idempotency_key] = Key(asked, job_id, self.clock)
        due = self.clock + (asked.delay / UNIT if asked.delay else 0)
        return Entry(job_id, asked.queue, asked.priority, asked.max_attempts, asked.idempotency_key, due)

    def enter(self, entries: Iterable[Entry]) -> None:
        """Enter jobs that have been committed."""
        for entry in entries:
            entry.number = self.entered = self.entered + 1
            self.jobs[entry.id] = entry

    def receipts(self, asked: Sequence[NewJob]) -> list[tuple[str, UUID | None]]:
        """Return what is to become of each, and the job that a replay has to give, None if there is none yet."""
        keys = {key: (held.asked, held.job_id) for key, held in self.keys.items()}
        return [self._receipt(job, keys) for job in asked]

    def _receipt(self, job: NewJob, keys: dict[str, tuple[NewJob, UUID | None]]) -> tuple[str, UUID | None]:
        if job.idempotency_key is None:
            return "created", None
        if job.idempotency_key not in keys:
            keys[job.idempotency_key] = job, None
            return "created", None
        first, job_id = keys[job.idempotency_key]
        if first != job:
            return "mismatch", None
        return ("replayed", job_id) if job_id is None or job_id in self.jobs else ("gone", None)

    # Claim

    def lanes(self, queues: Collection[str], *, suspect: bool) -> dict[tuple[str, int], list[Entry]]:
        """Return the waiting jobs by queue and priority, each lane in its order."""
        waiting = [
            job
            for job in self.jobs.values()
            if job.is_waiting and job.is_suspect == suspect and (not queues or job.queue in queues)
        ]
        waiting.sort(key=lambda job: (job.queue, job.priority, *job.order))
        return {lane: list(jobs) for lane, jobs in groupby(waiting, key=lambda job: (job.queue, job.priority))}

    def due(self, request: ClaimRequest, *, from_mark: bool, locked: Collection[UUID]) -> list[Entry]:
        """Return what is due in the lanes of a claim, in order: all of it, or what does not lie before the marks."""
        waiting = self.lanes((), suspect=request.suspect)
        return [
            job
            for mark in request.marks
            for job in waiting.get((mark.queue, mark.priority), [])
            if self.may_start(job) and job.id not in locked and (not from_mark or job.order >= (mark.run_at, mark.id))
        ]

    def paused(self) -> set[str]:
        """Return the queues that are paused now."""
        return {queue for queue, until in self.pauses.items() if until is None or until > self.clock}

    def may_start(self, job: Entry) -> bool:
        """Return whether a waiting job is due and its queue is not paused."""
        return job.due <= self.clock and job.queue not in self.paused()

    def guess_places(self, now: datetime) -> None:
        """Place those that have been settled and not seen since: behind all that have been due for longer."""
        for job in self.jobs.values():
            if job.place is None:
                job.guess = now + (job.due - self.clock) * UNIT

    def claim(self, due: Sequence[Entry], request: ClaimRequest) -> list[Fence]:
        """Let the worker run what it gets of these: jobs on their last attempt only for as many threads as are free."""
        if request.worker_id not in self.workers:
            return []
        fences, lasts = [], 0
        for job in due[: request.limit]:
            is_last = job.attempts + 1 >= job.max_attempts
            lasts += is_last
            if not is_last or lasts <= request.free:
                job.status, job.worker, job.claim = "running", request.worker_id, request.claim_id
                job.attempt += 1
                job.attempts += 1
                fences.append(Fence(job.id, job.attempt, request.claim_id))
        return fences

    # Settle

    def holder(self, fence: Fence) -> Entry | None:
        """Return the job that may be settled under this fence, None if it is no longer the current one."""
        job = self.jobs.get(fence.id)
        fits = job is not None and job.status == "running" and (job.attempt, job.claim) == fence[1:]
        return job if fits else None

    def settle(self, job: Entry, outcome: Outcome, result: Json = None) -> str:
        """Let the job leave `running` as docs/promises.md says; return the status it now has."""
        verb, error, charged = str(outcome.verb), outcome.error, job.attempts
        is_last_snooze = verb == "snooze" and job.snoozes >= MAX_SNOOZES
        if job.cancel_requested:
            status = "cancelled"
        elif verb == "complete":
            status, job.result = "succeeded", result
        elif verb == "fail":
            status = "failed_permanent" if outcome.delay is None or charged >= job.max_attempts else "retrying"
        elif is_last_snooze:
            status, error = "failed_permanent", f"snoozed more than {MAX_SNOOZES} times"
        else:
            job.attempts -= 1
            job.snoozes += verb == "snooze"
            status = "retrying" if job.attempts else "queued"
        self._leave(job, status, charged, error, has_failed=verb != "release")
        if job.is_waiting:
            job.backoff = outcome.backoff or job.backoff
            if outcome.delay is not None:
                job.waits_from(self.clock + outcome.delay / UNIT.total_seconds())
        return status

    def crash(self, job: Entry, *, alone: bool) -> str:
        """Let the job leave `running` because its worker is dead; return the status it now has."""
        is_spent, charged = job.attempts >= job.max_attempts, job.attempts
        job.crashes += 1
        times = "once" if job.crashes == 1 else f"{job.crashes} times"
        if job.cancel_requested:
            status = "cancelled"
        elif is_spent and alone:
            status = "failed_permanent"
        else:
            status = "retrying"
            job.attempts -= is_spent
            job.waits_from(self.clock)
        self._leave(
            job, status, charged, f"the worker process running this job died or lost its lease ({times} so far)"
        )
        return status

    @staticmethod
    def _leave(job: Entry, status: str, charged: int, error: str | None, *, has_failed: bool = True) -> None:
        job.status = status
        if status in FINAL:
            job.backoff = None
        else:
            # The history keeps who ran it last.
            job.worker = None
        if error is not None:
            job.last_error = error
        if error is not None and has_failed:
            job.errors = [*job.errors, (charged, error)][-KEPT_ERRORS:]

    def settled_earlier(self, fence: Fence) -> str | None:
        """Return what a settle under this fence has left, None if there was none or another claim came after it."""
        job = self.jobs.get(fence.id)
        fits = job is not None and (job.attempt, job.claim) == fence[1:] and job.status != "running"
        return job.status if job is not None and fits else None

    # Cancel and retry; if an operation does it, what is done to each job is not on record

    def cancel(self, job: Entry, *, on_record: bool = True) -> bool | None:
        """Cancel the job: True when it is cancelled, False when it will be, None when it has ended."""
        if job.status in FINAL:
            return None
        self._note("cancel", job, on_record)
        job.cancel_requested = True
        if job.status == "running":
            return False
        job.status, job.backoff = "cancelled", None
        return True

    def _note(self, action: str, job: Entry, on_record: bool) -> None:
        if on_record:
            self.record.append((action, str(job.id)))

    def retry(self, job: Entry, *, on_record: bool = True) -> bool:
        """Bring the job back with a full budget; False when its status does not allow that."""
        if job.status not in ("failed_permanent", "cancelled"):
            return False
        self._note("retry", job, on_record)
        job.status, job.attempts, job.snoozes = "queued", 0, 0
        job.cancel_requested, job.finished_at, job.worker = False, None, None
        job.waits_from(self.clock)
        return True

    # Change, copy and delete

    def change(self, job: Entry, queue: str, priority: int, delay: float | None, *, on_record: bool = True) -> bool:
        """Give a waiting job another place; False when its status does not allow that. Units: delay is seconds."""
        if not job.is_waiting:
            return False
        # What changes nothing is not on record.
        self._note("change", job, on_record and ((job.queue, job.priority) != (queue, priority) or delay is not None))
        job.queue, job.priority = queue, priority
        if delay is not None:
            job.waits_from(self.clock + delay / UNIT.total_seconds())
        return True

    def copy(self, job_id: UUID, job: Entry) -> Entry:
        """Return the entry of a copy that was made just now."""
        self._note("copy", job, True)
        return Entry(job_id, job.queue, job.priority, job.max_attempts, None, self.clock)

    def delete(self, job: Entry, *, on_record: bool = True) -> bool:
        """Forget the job, but not its key; False when its status does not allow that."""
        if job.status not in FINAL:
            return False
        self._note("delete", job, on_record)
        del self.jobs[job.id]
        return True

    # Beat and rescue

    def is_alive(self, worker: UUID) -> bool:
        """Return whether its lease still runs."""
        return worker in self.workers and self.clock - self.workers[worker].beat <= LEASE

    def is_served(self, queue: str) -> bool:
        """Return whether a worker whose lease runs serves the queue."""
        alive = [process.queues for worker, process in self.workers.items() if self.is_alive(worker)]
        return any(not queues or queue in queues for queues in alive)

    def rescue(self, locked: Collection[UUID]) -> tuple[set[UUID], dict[UUID, str]]:
        """Bury the dead and take their jobs; return those buried now, and the status that each job has."""
        dead = {worker for worker in self.workers if not self.is_alive(worker)}
        for worker in dead:
            del self.workers[worker]
        orphans = [job for job in self.jobs.values() if job.status == "running" and job.worker not in self.workers]
        company = Counter(job.worker for job in orphans)
        blamed = {
            job.id: job.is_suspect or (company[job.worker] == 1 and job.worker in dead)
            for job in orphans
            if job.id not in locked
        }
        return dead, {job_id: self.crash(self.jobs[job_id], alone=alone) for job_id, alone in blamed.items()}

    # Time

    def pass_time(self, units: int) -> None:
        """Let the time pass: everything that was is as much longer ago."""
        self.clock += units
        for job in self.jobs.values():
            if job.place is not None:
                job.place -= units * UNIT
            if job.finished_at is not None:
                job.finished_at -= units * UNIT

    def purge_idempotency(self, days: int) -> int:
        """Forget the keys that are old enough and whose job has ended; return how many."""
        old = [
            key
            for key, held in self.keys.items()
            if self.clock - held.at >= days * A_DAY
            and (held.job_id not in self.jobs or self.jobs[held.job_id].status in FINAL)
        ]
        for key in old:
            del self.keys[key]
        return len(old)
