"""What needs attention: data in, notices out, the worst first. One function a rule; nothing is asked for here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from haulier.domain.worker import WorkerState
from haulier.queue.produce.errors import ErrorGroup
from haulier.queue.produce.stats import Queue, Stats
from haulier.queue.produce.workers import Worker

from .shown import count, duration, number

NEW_ERROR, MANY_FAILURES = timedelta(hours=1), 10
GROWING_STEPS, LATE_SECONDS = 3, 60.0
LEAST_DAYS_AHEAD = 3.0
OLD_NUMBERS = timedelta(seconds=60)


class Level(IntEnum):
    """How bad it is."""

    BAD = 0
    WARN = 1
    NOTE = 2


@dataclass(frozen=True, slots=True)
class Action:
    """Where to look, or what to do about it: the endpoint of a page, and what its path is made of."""

    label: str
    endpoint: str
    given: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that needs somebody."""

    level: Level
    what: str
    more: str = ""
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    Shape: a part that was not to be had, or that the viewer may not see, is None; no rule guesses. mended are the
           ids of groups of errors of which no job is left: each has been tried again since, or was deleted.
    """

    now: datetime
    queues: Sequence[Queue] | None = None
    workers: Sequence[Worker] | None = None
    errors: Sequence[ErrorGroup] | None = None
    stats: Stats | None = None
    days_ahead: float | None = None
    is_counting: bool = field(default=True)
    mended: Collection[int] = ()


def notices(facts: Facts) -> list[Notice]:
    """Return what needs attention, the worst first; among equals in the order of the rules."""
    return sorted((notice for rule in RULES for notice in rule(facts)), key=lambda notice: notice.level)


def _jobs_of(queue: str) -> Action:
    return Action("Look", "jobs.show", (("queue", queue), ("status", "queued")))


def unserved(facts: Facts) -> Iterator[Notice]:
    """Jobs are due and no worker lives, or none serves their queue."""
    if facts.workers is None or facts.queues is None:
        return
    taking = [each for each in facts.workers if each.state is not WorkerState.GONE]
    due = [queue for queue in facts.queues if queue.live.due and not queue.paused]
    if due and not taking:
        jobs = sum(queue.live.due or 0 for queue in due)
        more = "Nothing is lost: they start once a worker does. `haulier worker` starts one."
        yield Notice(Level.BAD, f"{count(jobs, 'job is', 'jobs are')} due, and no worker lives", more)
        return
    for queue in due:
        if not any(each.queues is None or queue.name in each.queues for each in taking):
            due_there = count(queue.live.due or 0, "job is", "jobs are")
            what = f"No live worker serves the queue {queue.name}, where {due_there} due"
            yield Notice(Level.BAD, what, "WORKER_QUEUES of the workers says what they serve.", (_jobs_of(queue.name),))


def partitions(facts: Facts) -> Iterator[Notice]:
    """The history has no partitions for the next days."""
    if facts.days_ahead is not None and facts.days_ahead < LEAST_DAYS_AHEAD:
        what = f"The history's partitions reach {max(0.0, facts.days_ahead):.1f} days ahead"
        yield Notice(Level.BAD, what, "Without one no job can end. A worker makes them, or `haulier migrate`.")


def growing(facts: Facts) -> Iterator[Notice]:
    """What is due rose in each of the last minutes, and the oldest has been due for a while."""
    if facts.stats is None or facts.stats.step_seconds != 60:
        return
    known = [step.due for step in facts.stats.series if step.due is not None][-GROWING_STEPS - 1 :]
    oldest = facts.stats.live.oldest_due_seconds
    if len(known) <= GROWING_STEPS or oldest is None or oldest <= LATE_SECONDS:
        return
    rises = [after - before for before, after in zip(known, known[1:], strict=False)]
    if min(rises) > 0:
        rise = number(sorted(rises)[1])
        what = f"The backlog grows by {rise} a minute; the oldest job has been due for {duration(oldest)}"
        yield Notice(Level.WARN, what, "More threads or another worker would help, or a look at what runs so long.")


def is_new_and_frequent(group: ErrorGroup, now: datetime) -> bool:
    """Tell whether a group needs somebody, as far as its counts tell: they also hold what has ended well since."""
    is_muted = group.muted_until is not None and group.muted_until > now
    return not is_muted and now - group.first_seen < NEW_ERROR and group.failed + group.retried >= MANY_FAILURES


def new_errors(facts: Facts) -> Iterator[Notice]:
    """An error that was not seen before fails many jobs."""
    for group in facts.errors or ():
        if is_new_and_frequent(group, facts.now) and group.id not in facts.mended:
            failed = f"{count(group.failed, 'time')} for good, {number(group.retried)} to be retried"
            what = f"{group.kind} fails with a new error: {failed}"
            look = Action("Look", "failures.one", (("error_id", group.name),))
            yield Notice(Level.WARN, what, group.text, (look,))


def silent_workers(facts: Facts) -> Iterator[Notice]:
    """A worker has not beaten for most of its lease."""
    for worker in facts.workers or ():
        if worker.state is WorkerState.SILENT:
            what = f"The worker {worker.host}:{worker.pid} is silent"
            yield Notice(Level.WARN, what, "Once its lease has run out, others take over its jobs.")


def old_numbers(facts: Facts) -> Iterator[Notice]:
    """What is shown was counted a while ago."""
    if facts.stats is None or not facts.is_counting:
        return
    if facts.stats.as_of is None:
        yield Notice(Level.NOTE, "Nothing has been counted yet", "A worker with COUNTING=on counts.")
    elif facts.now - facts.stats.as_of > OLD_NUMBERS:
        old = duration((facts.now - facts.stats.as_of).total_seconds())
        yield Notice(Level.NOTE, f"The numbers are {old} old", "A worker with COUNTING=on counts: none does just now.")


def paused(facts: Facts) -> Iterator[Notice]:
    """A queue is paused while jobs of it are due."""
    for queue in facts.queues or ():
        if queue.paused and queue.live.due:
            what = (
                f"The queue {queue.name} is paused, and {count(queue.live.due, 'job of it is', 'jobs of it are')} due"
            )
            yield Notice(Level.NOTE, what, actions=(_jobs_of(queue.name),))


RULES: tuple[Callable[[Facts], Iterator[Notice]], ...] = (
    unserved,
    partitions,
    growing,
    new_errors,
    silent_workers,
    old_numbers,
    paused,
)
