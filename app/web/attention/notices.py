"""What needs attention: facts in, notices out, the worst first. Each rule is one function without I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from haulier.domain.checks import Check, CheckState
from haulier.domain.text import count, duration, number, share
from haulier.domain.worker import WorkerState
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.health.worker_list import EndedWorker
from haulier.queue.numbers.recent import Minute
from haulier.queue.numbers.stats import Queue, Stats
from haulier.queue.schedules.schedule_health import Overdue
from haulier.queue.search.running import RunningJob

from ..lists.fleet import Fleet
from ..lists.queue_states import Known, is_fresh, is_growing, is_unserved, rise

NEW_ERROR, MANY_FAILURES = timedelta(hours=1), 10
LEAST_DAYS_AHEAD = 3.0
OLD_NUMBERS = timedelta(seconds=60)
# A worker that was lost is spoken of for so long.
LOST_WORKER = timedelta(hours=1)
# A worker that is replaced fires no schedule for less time than this; so many failures in a row are no accident.
OVERDUE_SECONDS, FAILURES_IN_A_ROW = 60.0, 3
# What keeps vacuum from its work is shown once that leaves too many dead rows behind, or has lasted for very long.
HOLDERS = ("transactions", "prepared_transactions", "slots")
# Somebody who has paused a queue knows that for so long.
LONG_PAUSE = timedelta(hours=1)
# At most this many workers or schedules are named; of more only the number is given.
MOST_NAMED = 3
# Of more queues a link to their jobs has only the first.
MOST_LED_TO = 20


class Level(IntEnum):
    """How bad it is."""

    BAD = 0
    WARN = 1
    NOTE = 2


@dataclass(frozen=True, slots=True)
class Action:
    """Where to look, or what to do about it: the endpoint of a page, and what its path is made of.

    `act` is the endpoint of what is done there; who may not use it is not led there.
    """

    label: str
    endpoint: str
    given: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    act: str = ""


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

    A part that was not to be had, or that the viewer may not see, is None or empty; no rule guesses. minutes are the
    last ones of each queue. stuck are jobs that should have been stopped by now. mended are the ids of groups of errors
    of which no job is left: each has been tried again since, or was deleted. failing_schedules are those whose last
    jobs failed, with how many in a row. unread are the reasons why some of it was not to be had just now. unserved are
    the queues of which a look at the jobs has found that nobody takes them. usual is which share of the jobs of a queue
    fails for good.
    """

    now: datetime
    queues: Sequence[Queue] | None = None
    fleet: Fleet | None = None
    errors: Sequence[ErrorGroup] | None = None
    stats: Stats | None = None
    days_ahead: float | None = None
    is_counting: bool = field(default=True)
    mended: Collection[int] = ()
    minutes: Mapping[str, Sequence[Minute]] = field(default_factory=dict)
    stuck: Sequence[RunningJob] = ()
    ended: Sequence[EndedWorker] = ()
    overdue: Overdue | None = None
    failing_schedules: Mapping[str, int] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    unread: Sequence[str] = ()
    unserved: Collection[str] = ()
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """Return what is known of queues beside what was counted of each."""
        return Known(self.now, self.fleet, self.minutes, self.unserved, self.usual)


def notices(facts: Facts) -> list[Notice]:
    """Return what needs attention, the worst first; among equals in the order of the rules."""
    return sorted((notice for rule in RULES for notice in rule(facts)), key=lambda notice: notice.level)


def _jobs_of(*queues: str) -> Action:
    # What is due may wait to be tried again.
    return Action("Look", "jobs.show", (("queue", queues[:MOST_LED_TO]), ("status", ("queued", "retrying"))))


def unserved(facts: Facts) -> Iterator[Notice]:
    """Jobs are due and no worker lives, or none serves their queue."""
    found = [queue for queue in facts.queues or () if is_unserved(queue, facts.known)]
    due = {queue.name: queue.live.due or 0 for queue in found if is_fresh(queue, facts.now)}
    names = sorted({*(queue.name for queue in found), *facts.unserved})
    if not names:
        return
    # Of what was found among the jobs nobody has counted how many there are.
    jobs = count(sum(due.values()), "job is", "jobs are") if all(due.get(each) for each in names) else "Jobs are"
    if facts.fleet is not None and facts.fleet.is_dead:
        more = "Nothing is lost: they start once a worker does. `haulier worker` starts one."
        yield Notice(Level.BAD, f"{jobs} due, and no worker lives", more, (_jobs_of(*names),))
    elif facts.fleet is not None and facts.fleet.is_idle:
        more = "Those that live are quiet or stopping. One that is quiet can be woken."
        yield Notice(Level.BAD, f"{jobs} due, and no worker takes any", more, (Action("The workers", "workers.show"),))
    else:
        where = (
            f"the {'queue' if len(names) == 1 else 'queues'} {_named(names)}, where {jobs[:1].lower()}{jobs[1:]} due"
        )
        more = "WORKER_QUEUES of the workers says what they serve."
        yield Notice(Level.BAD, f"No live worker serves {where}", more, (_jobs_of(*names),))


def partitions(facts: Facts) -> Iterator[Notice]:
    """The history has no partitions for the next days."""
    if facts.days_ahead is not None and facts.days_ahead < LEAST_DAYS_AHEAD:
        what = f"The history's partitions reach {max(0.0, facts.days_ahead):.1f} days ahead"
        yield Notice(Level.BAD, what, "Without one no job can end. A worker makes them, or `haulier migrate`.")


def growing(facts: Facts) -> Iterator[Notice]:
    """What is due of a queue rose in each of the last minutes, and the oldest has been due for a while."""
    for queue in facts.queues or ():
        minutes = facts.minutes.get(queue.name, ())
        if not queue.paused and is_growing(queue, minutes):
            by, late = number(rise(minutes)), duration(queue.live.oldest_due_seconds)
            what = f"The queue {queue.name} grows by {by} a minute; its oldest job has been due for {late}"
            more = "More threads or another worker would help, or a look at what runs so long."
            yield Notice(Level.WARN, what, more, (_page_of(queue.name), _jobs_of(queue.name)))


def failing(facts: Facts) -> Iterator[Notice]:
    """Much of what ended in a queue of late failed for good, and somebody has yet to see to it."""
    frequent = [group for group in facts.errors or () if group.failed + group.retried >= MANY_FAILURES]
    # What failed counts for ten minutes; once all of it was tried again, or muted, nobody needs to hear of it.
    seen_to = [group for group in frequent if not is_frequent(group, facts.now) or group.id in facts.mended]
    bad = [queue for queue in facts.queues or () if facts.known.fails(queue)]
    lately = [each for queue in bad for each in facts.minutes[queue.name]]
    failed = sum(each.failed for each in lately)
    if not bad or (len(seen_to) == len(frequent) and failed <= sum(group.failed for group in seen_to)):
        return
    part = share(failed, failed + sum(each.succeeded for each in lately))
    named = f"the {'queue' if len(bad) == 1 else 'queues'} {_named([queue.name for queue in bad])}"
    what = f"{count(failed, 'job')} in {named} failed for good in the last 10 minutes ({part})"
    # What several fail by is shown below, and is not to be pushed off the page.
    acts = (_failures_of(bad[0].name), *_pause_of(bad[0])) if len(bad) == 1 else _LOOK_AT_ALL
    yield Notice(Level.BAD, what, "A pause keeps the others from failing too.", acts)


_LOOK_AT_ALL = (Action("Look", "failures.show"), Action("The queues", "queues.show"))


def _failures_of(queue: str) -> Action:
    return Action("Look", "failures.show", (("queue", queue),))


def _page_of(queue: str) -> Action:
    return Action("The queue", "queues.one", (("name", queue),))


def _pause_of(queue: Queue) -> tuple[Action, ...]:
    given = (("name", queue.name), ("_anchor", "pause"))
    return () if queue.paused else (Action("Pause…", "queues.one", given, act="queues.pause"),)


def is_muted(group: ErrorGroup, now: datetime) -> bool:
    """Return whether somebody has muted a group, and that has not ended."""
    return group.muted_until is not None and group.muted_until > now


def is_frequent(group: ErrorGroup, now: datetime) -> bool:
    """Return whether a group fails many jobs and is not muted. Its counts include jobs that succeeded since."""
    return not is_muted(group, now) and group.failed + group.retried >= MANY_FAILURES


def new_errors(facts: Facts) -> Iterator[Notice]:
    """An error that was not seen before fails many jobs."""
    for group in facts.errors or ():
        is_new = facts.now - group.first_seen < NEW_ERROR
        if is_new and is_frequent(group, facts.now) and group.id not in facts.mended:
            failed = f"{count(group.failed, 'time')} for good, {number(group.retried)} to be retried"
            what = f"{group.kind} fails with a new error: {failed}"
            look = Action("Look", "failures.one", (("error_id", group.name),))
            yield Notice(Level.WARN, what, group.text, (look,))


def stuck(facts: Facts) -> Iterator[Notice]:
    """Jobs run past their timeout, and past the time in which they should have stopped."""
    if facts.stuck:
        kinds = ", ".join(sorted({job.kind for job in facts.stuck})[:MOST_NAMED])
        what = f"{count(len(facts.stuck), 'job runs', 'jobs run')} past the timeout: {kinds}"
        more = "Their handlers do not stop, and keep their threads; or their worker took them ahead and has not begun."
        yield Notice(Level.WARN, what, more, (Action("Look", "running.show"),))


def lost_workers(facts: Facts) -> Iterator[Notice]:
    """A worker let its lease run out."""
    lost = [each for each in facts.ended if each.ended_how == "buried" and facts.now - each.ended_at < LOST_WORKER]
    if lost:
        named = _named([each.name for each in lost])
        what = f"{count(len(lost), 'worker')} let the lease run out in the last hour: {named}"
        more = "Killed, out of memory, or cut off from the database. Others have taken over the jobs."
        yield Notice(Level.WARN, what, more, (Action("Look", "workers.show"),))


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def schedules(facts: Facts) -> Iterator[Notice]:
    """A schedule does not fire when it is due, or its last jobs failed one after the other."""
    look = (Action("Look", "schedules.show"),)
    found = facts.overdue
    if found and found.schedules and found.oldest_seconds >= OVERDUE_SECONDS:
        late = duration(found.oldest_seconds)
        what = f"{count(found.schedules, 'schedule does', 'schedules do')} not fire: the oldest tick is {late} late"
        more = "The workers' logs name them." if found.workers else "No worker lives that fires schedules: start one."
        if found.workers and found.refused:
            more = f"The database refuses the jobs of {number(found.refused)} of them: their pages say why."
        yield Notice(Level.WARN, what, more, look)
    failed = [name for name, times in facts.failing_schedules.items() if times >= FAILURES_IN_A_ROW]
    if failed:
        what = f"The last {FAILURES_IN_A_ROW} jobs or more failed of {count(len(failed), 'schedule')}: {_named(failed)}"
        actions = (Action("Look", "schedules.one", (("name", failed[0]),)),) if len(failed) == 1 else look
        yield Notice(Level.WARN, what, actions=actions)


_LEVELS: Mapping[CheckState, Level] = {CheckState.BAD: Level.BAD, CheckState.WARN: Level.WARN}


def database(facts: Facts) -> Iterator[Notice]:
    """The database is not well."""
    is_behind = any(each.name == "vacuum" and each.state in _LEVELS for each in facts.checks)
    for check in facts.checks:
        level = _LEVELS.get(check.state)
        if level is not None and (is_behind or level is Level.BAD or check.name not in HOLDERS):
            what = f"The database: {check.message}"
            yield Notice(level, what, check.effect, (Action("What to do", "database.show"),))


def unread(facts: Facts) -> Iterator[Notice]:
    """Some of what attention goes by could not be read."""
    if facts.unread:
        what = "Some checks could not be loaded. This list may be incomplete."
        why = "; ".join(dict.fromkeys(facts.unread[:MOST_NAMED]))
        yield Notice(Level.NOTE, what, f"{why[:1].upper()}{why[1:]}.")


def silent_workers(facts: Facts) -> Iterator[Notice]:
    """Workers have not beaten for most of their lease."""
    silent = [each for each in (facts.fleet.workers if facts.fleet else ()) if each.state is WorkerState.SILENT]
    if silent:
        names = _named([each.name for each in silent])
        what = f"The worker {names} is silent" if len(silent) == 1 else f"{len(silent)} workers are silent: {names}"
        more = "Once the lease of one has run out, others take over its jobs."
        if not any(each.lives for each in silent):
            more = "The lease has run out: another worker takes over the jobs as soon as one lives."
        yield Notice(Level.WARN, what, more, (Action("Look", "workers.show"),))


def old_numbers(facts: Facts) -> Iterator[Notice]:
    """What is shown was counted a while ago, or nobody counts."""
    if not facts.is_counting:
        more = "With COUNTING=off no figure is known, nor which queues grow or fail."
        yield Notice(Level.NOTE, "Counting is off", more)
    elif facts.stats is None:
        return
    elif facts.stats.as_of is None:
        yield Notice(Level.NOTE, "Nothing has been counted yet", "A worker with COUNTING=on counts.")
    elif facts.now - facts.stats.as_of > OLD_NUMBERS:
        old = duration((facts.now - facts.stats.as_of).total_seconds())
        yield Notice(Level.NOTE, f"The numbers are {old} old", "A worker with COUNTING=on counts: none does just now.")


def paused(facts: Facts) -> Iterator[Notice]:
    """A queue has been paused for a while, and jobs of it are due."""
    for queue in facts.queues or ():
        paused_for = facts.now - queue.paused_since if queue.paused and queue.paused_since else timedelta()
        if queue.live.due and paused_for > LONG_PAUSE:
            due = count(queue.live.due, "job of it is", "jobs of it are")
            what = f"The queue {queue.name} has been paused for {duration(paused_for.total_seconds())}, and {due} due"
            yield Notice(Level.NOTE, what, actions=(_page_of(queue.name), _jobs_of(queue.name)))


RULES: tuple[Callable[[Facts], Iterator[Notice]], ...] = (
    unserved,
    partitions,
    failing,
    growing,
    new_errors,
    stuck,
    silent_workers,
    lost_workers,
    schedules,
    database,
    old_numbers,
    unread,
    paused,
)
