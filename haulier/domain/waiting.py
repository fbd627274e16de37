"""Why a job waits: from what is known of it and of the workers to the reasons, each under a code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from haulier.domain.text import count, number

# A job that is due is claimed within a second if a thread is free. One that is not after this long waits for
# something that the database does not know. Units: seconds.
STUCK_SECONDS = 10.0
# What a worker says of a job that its code does not know, when it gives the job back; and how each begins.
UNKNOWN_KIND = "no worker that claimed it knows the kind '{}'; workers try again every {:g} s"
UNKNOWN_FIELDS = "no worker that claimed it knows these payload fields: {}; workers try again every {:g} s"
GIVEN_BACK = "no worker that claimed it knows "
# How many fields are named, and how much of each.
MOST_FIELDS, MOST_CHARACTERS = 5, 64


def unknown_fields(names: Sequence[str], seconds: float) -> str:
    """Return what a worker says of a job with payload fields that its code does not know."""
    some = [name[:MOST_CHARACTERS] for name in names[:MOST_FIELDS]]
    more = [f"{len(names) - MOST_FIELDS} more"] if len(names) > MOST_FIELDS else []
    return UNKNOWN_FIELDS.format(", ".join(some + more), seconds)


class Code(StrEnum):
    """The reasons, in the order in which they are given."""

    NOT_DUE = "not_due"
    QUEUE_PAUSED = "queue_paused"
    NO_WORKER_FOR_QUEUE = "no_worker_for_queue"
    NO_WORKER_KNOWS_KIND = "no_worker_knows_kind"
    LOCKED = "locked"
    ALONE = "alone"
    BEHIND = "behind"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for which a job waits, or a schedule does. `link` is the path of a call that shows more."""

    code: StrEnum
    message: str
    since: datetime | None = None
    until: datetime | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers, as a job sees them.

    `live` are those within their lease; of these, taking are neither quiet nor stopping; serving serve the job's queue,
    fit know its kind too. free is how many threads of the fit run nothing; idle is true if one of the fit has no job at
    all, and would take none before one that runs alone; known is true if some taking worker knows the kind, or has not
    stored yet which kinds it knows.
    """

    live: int = 0
    taking: int = 0
    live_serving: int = 0
    serving: int = 0
    fit: int = 0
    free: int = 0
    idle: bool = False
    known: bool = False
    without_scans: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is known of a waiting job.

    `ahead` are due jobs that may start before it, at most `most` of them, here those in its own queue; `has_room` is
    true if a fit worker has more free threads than jobs ahead. `paused_since` is None unless its queue is paused,
    paused_until if that has no end. `locked_by` is a process of the server, 0 for a prepared transaction.
    `given_back` is what a worker said that does not know its kind or a field of its payload; None: none gave it back.
    `per_minute` is how many jobs of its queue ended in the last minute; None: not counted.
    Units: due_seconds since it was due or last given back, negative before it is due.
    """

    kind: str
    queue: str
    is_retrying: bool
    is_suspect: bool
    given_back: str | None
    run_at: datetime
    due_seconds: float
    workers: Workers
    ahead: int = 0
    ahead_here: int = 0
    most: int = 0
    has_room: bool = False
    paused_since: datetime | None = None
    paused_until: datetime | None = None
    locked_by: int | None = None
    per_minute: int | None = None

    @property
    def is_due(self) -> bool:
        """Return whether its time has come."""
        return self.due_seconds >= 0

    def reasons(self, *, whole: bool = True) -> list[Reason]:
        """Return all reasons; none if it is about to start.

        Not whole for a caller who may see only some queues: then only jobs of this queue are counted.
        """
        found = [*self._before_it_is_claimed(), *self._of_its_turn(whole)]
        return found or list(self._unknown())

    def _before_it_is_claimed(self) -> Iterator[Reason]:
        workers = self.workers
        if not self.is_due:
            yield Reason(Code.NOT_DUE, f"it is not due yet{self._why_later()}", until=self.run_at)
        if self._is_held_by_its_pause:
            end = "until then" if self.paused_until else "until it is resumed"
            message = f"an operator has paused the queue {self.queue}: its jobs do not start {end}"
            link = f"/queues/{self.queue}"
            yield Reason(Code.QUEUE_PAUSED, message, self.paused_since, self.paused_until, link)
        if not workers.serving:
            yield Reason(Code.NO_WORKER_FOR_QUEUE, self._nobody_serves(), link="/workers")
        if workers.taking and not (workers.fit if workers.serving else workers.known):
            who = "no worker that serves its queue" if workers.serving else "no worker"
            yield Reason(Code.NO_WORKER_KNOWS_KIND, f"{who} knows the kind {self.kind}", link="/workers")
        if self.locked_by is not None:
            holder = f"process {self.locked_by} of the server" if self.locked_by else "a prepared transaction"
            message = f"an open transaction has locked its row, so workers skip it: {holder}"
            yield Reason(Code.LOCKED, message)

    @property
    def _is_held_by_its_pause(self) -> bool:
        # A pause that ends before its time comes does not hold it up.
        return self.paused_since is not None and (self.paused_until is None or self.paused_until > self.run_at)

    def _why_later(self) -> str:
        if self.given_back:
            _, colon, fields = self.given_back.rpartition(";")[0].partition(": ")
            what = "these payload fields" if fields else f"the kind {self.kind}"
            return f": a worker that does not know {what} gave it back{colon}{fields}"
        return ": it waits for its next attempt" if self.is_retrying else ""

    def _nobody_serves(self) -> str:
        workers = self.workers
        if not workers.live:
            return "no worker is running"
        if workers.live_serving:
            return f"all workers that serve the queue {self.queue} are quiet or stopping"
        return f"no live worker serves the queue {self.queue}"

    def _of_its_turn(self, whole: bool) -> Iterator[Reason]:
        if self.is_suspect and not self.workers.idle:
            message = (
                "its worker process died while running it, so it must run alone: it waits until a worker that serves"
                " its queue runs nothing else"
            )
            yield Reason(Code.ALONE, message, link="/workers")
        if self.is_due and self.workers.fit and self._is_behind():
            yield Reason(Code.BEHIND, self._behind(whole), since=self.run_at, link=f"/queues/{self.queue}")

    def _is_behind(self) -> bool:
        if self.is_suspect:
            return self.ahead > 0
        # Threads that are free for long do not wait for the jobs ahead either.
        is_stuck = self.workers.free > 0 and self.due_seconds >= STUCK_SECONDS and not self.per_minute
        return not self.has_room and not is_stuck

    def _behind(self, whole: bool) -> str:
        ahead = self.ahead if whole else self.ahead_here
        is_more = ahead >= self.most
        jobs = f"more than {number(self.most - 1)} due jobs" if is_more else count(ahead, "due job")
        is_busy = not self.is_suspect and not self.workers.free
        threads = "all threads of the workers that serve its queue are busy; " if is_busy else ""
        ended = "" if self.per_minute is None else count(self.per_minute, "job")
        rate = f"; {ended} of its queue ended in the last minute" if ended else ""
        return f"{threads}{jobs}{'' if whole else ' of its queue'} may start first{rate}"

    def _unknown(self) -> Iterator[Reason]:
        if self.due_seconds < STUCK_SECONDS:
            return
        failing = self.workers.without_scans
        scans = f"; {count(failing, 'worker')} cannot look for new jobs" if failing else ""
        message = f"it is due, a thread is free, and the database shows no reason{scans}"
        yield Reason(Code.UNKNOWN, f"{message}: see the workers' logs", since=self.run_at, link="/workers")
