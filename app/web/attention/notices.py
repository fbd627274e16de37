"""What needs attention: from facts to notices, worst first. Each rule is one function without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from haulier.domain.checks import CheckState
from haulier.domain.text import count, duration, share
from haulier.domain.worker import WorkerState
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.numbers.stats import Queue

from ..lists.fleet import Fleet
from ..lists.queue_states import OLD, empty_in, is_fresh, is_unserved
from .known_facts import Facts
from .notice import MOST_NAMED, Action, Level, Line, Notice, few, magnitude, named
from .schedule_notices import schedules, skipping
from .worker_notices import isolated_ends, memory_growth, not_replaced

NEW_ERROR, MANY_FAILURES = timedelta(hours=1), 10
LEAST_DAYS_AHEAD = 3.0
# How long a lost worker is shown.
LOST_WORKER = timedelta(hours=1)
# So many within that time are shown even if others have come in their places.
MANY_LOST = 3
# What holds vacuum back is shown when it leaves too many dead rows, or has lasted very long. A session that does
# nothing within its transaction is always a mistake.
HOLDERS = ("transactions", "idle_transactions", "prepared_transactions", "slots")
# Until then, whoever paused a queue still knows about it.
LONG_PAUSE = timedelta(hours=1)
# A link to the jobs of more queues has only the first.
MOST_LED_TO = 20


def notices(facts: Facts) -> list[Notice]:
    """Return what needs attention, worst first; equal levels keep the order of the rules."""
    made = (replace(notice, rule=rule.__name__) for rule in RULES for notice in rule(facts))
    return sorted(made, key=lambda notice: notice.level)


def _jobs_of(*queues: str) -> Action:
    # A due job may be waiting to be retried.
    return Action("Look", "jobs.show", (("queue", queues[:MOST_LED_TO]), ("status", ("queued", "retrying"))))


def unserved(facts: Facts) -> Iterator[Notice]:
    """Jobs are due and no worker is running, or none serves their queue."""
    found = [queue for queue in facts.queues or () if is_unserved(queue, facts.known)]
    due = {queue.name: queue.live.due or 0 for queue in found if is_fresh(queue, facts.now)}
    names = sorted({*(queue.name for queue in found), *facts.unserved})
    if facts.fleet is not None and facts.fleet.is_silent:
        yield from _no_worker(facts, facts.fleet, names, due)
        return
    if not names:
        return
    jobs = _due(names, due)
    if facts.fleet is not None and facts.fleet.is_idle:
        more = "All running workers are quiet or stopping. Wake a quiet one or start another."
        acts, about = (Action("Workers", "workers.show"),), {"no worker": magnitude(sum(due.values()))}
        yield Notice(Level.BAD, f"{jobs} due, but no worker takes jobs", more, acts, about=about)
    else:
        where, them = (_in_queues(names), "it" if len(names) == 1 else "them")
        more = f"Start a worker that serves {them}: WORKER_QUEUES lists the queues of a worker."
        what, about = f"{jobs} due in {where}, but no worker serves {them}", _sizes(names, due)
        yield Notice(Level.BAD, what, more, (_jobs_of(*names),), about=about)


def _due(names: Sequence[str], due: Mapping[str, int]) -> str:
    # Queues found by reading the jobs have no counts.
    return count(sum(due.values()), "job is", "jobs are") if all(due.get(each) for each in names) else "Jobs are"


def _no_worker(facts: Facts, fleet: Fleet, names: Sequence[str], due: Mapping[str, int]) -> Iterator[Notice]:
    """No worker is left. Which are silent, and which were lost before, are lines of this notice."""
    lines = tuple(Line(each.what, each.actions) for each in (*_silent(facts), *_lost(facts)))
    if not names and not lines:
        return
    what = "no worker is running" if fleet.is_dead else "no worker responds"
    # Until the leases have run out, the last counts may be older than the jobs that wait now.
    what = f"{_due(names, due)} due, but {what}" if names else f"{what[:1].upper()}{what[1:]}"
    more = "Nothing is lost: jobs start when a worker does. Start one with `haulier worker`."
    look = (_jobs_of(*names),) if names else ()
    yield Notice(Level.BAD, what, more, look, lines, {"no worker": magnitude(sum(due.values()))})


def _sizes(names: Sequence[str], jobs: Mapping[str, float]) -> dict[str, int]:
    return {name: magnitude(jobs.get(name, 0)) for name in names}


def partitions(facts: Facts) -> Iterator[Notice]:
    """The history has no partitions for the next days."""
    if facts.days_ahead is not None and facts.days_ahead < LEAST_DAYS_AHEAD:
        what = f"The history has partitions for only {max(0.0, facts.days_ahead):.1f} more days"
        more = "Without a partition no job can end. Start a worker or run `haulier migrate` to create them."
        yield Notice(Level.BAD, what, more, about={"partitions": int(LEAST_DAYS_AHEAD - facts.days_ahead)})


def late(facts: Facts) -> Iterator[Notice]:
    """The jobs of queues wait too long, or will."""
    bad = [queue for queue in facts.queues or () if queue.is_late and not is_unserved(queue, facts.known)]
    bad.sort(key=lambda queue: -(queue.live.due or 0))
    if not bad:
        return
    due = count(sum(queue.live.due or 0 for queue in bad), "job is", "jobs are")
    oldest = duration(max(queue.live.oldest_due_seconds or 0.0 for queue in bad))
    names = [queue.name for queue in bad]
    if len(bad) == 1:
        until = empty_in(bad[0])
        when = until if until == "not draining" or until.startswith("growing") else f"empty in about {until}"
        what, look = f"Queue {names[0]} is late: {due} due, the oldest for {oldest}; {when}", _page_of(names[0])
    else:
        what = f"{len(bad)} queues are late: {named(names)}. {due} due, the oldest for {oldest}"
        look = Action("Queues", "queues.show")
    more = "Add threads or a worker, check which jobs take long, or cancel jobs that nobody needs."
    about = _sizes(names, {queue.name: queue.live.due or 0 for queue in bad})
    yield Notice(Level.WARN, what, more, (look, _jobs_of(*names)), about=about)


def failing(facts: Facts) -> Iterator[Notice]:
    """Many jobs of a queue failed recently, and nobody has retried or muted them."""
    frequent = [group for group in facts.errors or () if group.failed + group.retried >= MANY_FAILURES]
    # Failures count for ten minutes, unless all of them were retried or muted.
    seen_to = [group for group in frequent if not is_frequent(group, facts.now) or group.id in facts.mended]
    bad = _failing_queues(facts)
    lately = [each for queue in bad for each in facts.minutes[queue.name]]
    failed = sum(each.failed for each in lately)
    if not bad or (len(seen_to) == len(frequent) and failed <= sum(group.failed for group in seen_to)):
        return
    part = share(failed, failed + sum(each.succeeded for each in lately))
    names = [queue.name for queue in bad]
    where, them = _in_queues(names), "the queue" if len(bad) == 1 else "the queues"
    what = f"{count(failed, 'job')} in {where} failed in the last 10 minutes ({part})"
    acts = (_failures_of(names[0]), *_pause_of(bad[0])) if len(bad) == 1 else _LOOK_AT_ALL
    errors = [group for group in _new_errors(facts) if set(group.seen_in) & set(names)]
    more = f"Pause {them} to stop more jobs from failing."
    about = _sizes(names, {name: sum(each.failed for each in facts.minutes[name]) for name in names})
    about |= {group.name: 0 for group in errors}
    yield Notice(Level.BAD, what, more, (*acts, _retry_of(*names)), _lines_of(errors), about)


def _failing_queues(facts: Facts) -> list[Queue]:
    return [queue for queue in facts.queues or () if facts.known.fails(queue)]


_LOOK_AT_ALL = (Action("Look", "failures.show"), Action("Queues", "queues.show"))


def _retry_of(*queues: str) -> Action:
    given = (("queue", queues[:MOST_LED_TO]), ("status", "failed_permanent"), ("action", "retry"))
    return Action("Retry all…", "operations.new", given, act="operations.start")


def _failures_of(queue: str) -> Action:
    return Action("Look", "failures.show", (("queue", queue),))


def _page_of(queue: str) -> Action:
    return Action("Queue", "queues.one", (("name", queue),))


def _pause_of(queue: Queue) -> tuple[Action, ...]:
    given = (("name", queue.name), ("_anchor", "pause"))
    return () if queue.paused else (Action("Pause…", "queues.one", given, act="queues.pause"),)


def is_muted(group: ErrorGroup, now: datetime) -> bool:
    """Return whether a group is muted now."""
    return group.muted_until is not None and group.muted_until > now


def is_frequent(group: ErrorGroup, now: datetime) -> bool:
    """Return whether a group fails many jobs and is not muted. Its counts include jobs that succeeded since."""
    return not is_muted(group, now) and group.failed + group.retried >= MANY_FAILURES


def new_errors(facts: Facts) -> Iterator[Notice]:
    """Many attempts fail with errors that are new, other than in queues that fail."""
    failing_ = {queue.name for queue in _failing_queues(facts)}
    errors = [group for group in _new_errors(facts) if not failing_ & set(group.seen_in)]
    about = {group.name: magnitude(group.failed + group.retried) for group in errors}
    if len(errors) == 1:
        yield Notice(Level.WARN, _said_of(errors[0]), errors[0].text, (_page_of_error(errors[0]),), about=about)
    elif errors:
        kinds = named(sorted({group.kind for group in errors}))
        look = Action("Look", "failures.show")
        yield Notice(Level.WARN, f"{len(errors)} new errors in {kinds}", "", (look,), _lines_of(errors), about)


def _new_errors(facts: Facts) -> list[ErrorGroup]:
    """Return the groups that are new, fail often, and have jobs left; the most frequent first."""
    return [
        group
        for group in facts.errors or ()
        if facts.now - group.first_seen < NEW_ERROR and is_frequent(group, facts.now) and group.id not in facts.mended
    ]


def _lines_of(errors: Sequence[ErrorGroup]) -> tuple[Line, ...]:
    return few([Line(f"{_said_of(each)}. {each.text}", (_page_of_error(each),)) for each in errors])


def _page_of_error(group: ErrorGroup) -> Action:
    return Action("Look", "failures.one", (("error_id", group.name),))


def _said_of(group: ErrorGroup) -> str:
    jobs = f"{count(group.failed, 'job')} failed" if group.failed else ""
    attempts = f"{count(group.retried, 'attempt')} retried" if group.retried else ""
    return f"New error in {group.kind}: {', '.join(filter(None, (jobs, attempts)))}"


def stuck(facts: Facts) -> Iterator[Notice]:
    """Jobs run past their timeout and past STUCK_SECONDS."""
    if facts.stuck:
        kinds = ", ".join(sorted({job.kind for job in facts.stuck})[:MOST_NAMED])
        what = f"{count(len(facts.stuck), 'job is', 'jobs are')} past the timeout: {kinds}"
        more = "Their handlers block their threads, or a worker has claimed the jobs but not started them."
        about = {kind: magnitude(jobs) for kind, jobs in Counter(job.kind for job in facts.stuck).items()}
        yield Notice(Level.WARN, what, more, (Action("Look", "running.show"),), about=about)


def lost_workers(facts: Facts) -> Iterator[Notice]:
    """A worker let its lease run out, and others run."""
    if not _has_no_worker(facts):
        yield from _lost(facts)


def _has_no_worker(facts: Facts) -> bool:
    # Then one notice, of the rule `unserved`, names all workers.
    return facts.fleet is not None and facts.fleet.is_silent


def _lost(facts: Facts) -> Iterator[Notice]:
    lately = [each for each in facts.ended if each.ended_how == "buried" and facts.now - each.ended_at < LOST_WORKER]
    lost = lately if len(lately) >= MANY_LOST else not_replaced(lately, facts)
    if lost:
        names = named([each.name for each in lost])
        who = f"Worker {names}" if len(lost) == 1 else f"{len(lost)} workers"
        what = f"{who} stopped responding in the last hour{'' if len(lost) == 1 else f': {names}'}"
        jobs = sum(each.taken_over or 0 for each in lost)
        taken = count(jobs, "job") if jobs else "its jobs" if len(lost) == 1 else "their jobs"
        more = f"Killed, out of memory, or cut off from the database. Other workers took over {taken}."
        look = Action("Look", "workers.show")
        if len(lost) == 1 and jobs:
            given = (("worker_id", f"{lost[0].id}"), ("_anchor", "taken-over"))
            look = Action("Jobs taken over", "workers.one", given)
        about = {str(each.id): 0 for each in lost}
        yield Notice(Level.WARN, what, more, (look,), about=about)


def _in_queues(names: Sequence[str]) -> str:
    return f"{'queue' if len(names) == 1 else 'queues'} {named(names)}"


_LEVELS: Mapping[CheckState, Level] = {CheckState.BAD: Level.BAD, CheckState.WARN: Level.WARN}


def database(facts: Facts) -> Iterator[Notice]:
    """A check of the database warns. What holds vacuum back is named with the dead rows that it causes.

    Dead rows that nothing holds are no trouble until autovacuum has had the time to come.
    """
    warning = [check for check in facts.checks if check.state in _LEVELS]
    vacuum = next((check for check in warning if check.name == "vacuum"), None)
    holders = [check for check in warning if check.name in HOLDERS]
    look = (Action("What to do", "database.show"),)
    for check in warning:
        if check in holders and (vacuum or check.state is CheckState.BAD or check.name == "idle_transactions"):
            caused = f"{vacuum.message[:1].upper()}{vacuum.message[1:]}. " if vacuum else ""
            level = min(_LEVELS[check.state], _LEVELS[vacuum.state]) if vacuum else _LEVELS[check.state]
            about = {check.name: -level, **({vacuum.name: -level} if vacuum else {})}
            yield Notice(level, f"Database: {check.message}", f"{caused}{check.effect}", look, about=about)
        elif check not in holders and not (check is vacuum and (holders or facts.vacuum_is_due)):
            level = _LEVELS[check.state]
            yield Notice(level, f"Database: {check.message}", check.effect, look, about={check.name: -level})


def unread(facts: Facts) -> Iterator[Notice]:
    """Some facts could not be loaded."""
    if facts.unread:
        what = "Some checks could not be loaded. This list may be incomplete."
        why = "; ".join(dict.fromkeys(facts.unread[:MOST_NAMED]))
        yield Notice(Level.NOTE, what, f"{why[:1].upper()}{why[1:]}.", about=dict.fromkeys(facts.unread, 0))


def silent_workers(facts: Facts) -> Iterator[Notice]:
    """Workers have sent no heartbeat for most of their lease, and others have."""
    if not _has_no_worker(facts):
        yield from _silent(facts)


def _silent(facts: Facts) -> Iterator[Notice]:
    silent = [each for each in (facts.fleet.workers if facts.fleet else ()) if each.state is WorkerState.SILENT]
    if silent:
        names = named([each.name for each in silent])
        what = f"Worker {names} is silent" if len(silent) == 1 else f"{len(silent)} workers are silent: {names}"
        more = "When the lease of a worker runs out, other workers take over its jobs."
        if not any(each.lives for each in silent):
            more = "The lease has run out. The next worker that runs takes over the jobs."
        about = {str(each.id): 0 for each in silent}
        yield Notice(Level.WARN, what, more, (Action("Look", "workers.show"),), about=about)


def old_numbers(facts: Facts) -> Iterator[Notice]:
    """The figures are old, or no worker counts."""
    if not facts.is_counting:
        more = "With COUNTING=off, figures are unknown, and no notice says which queues grow or fail."
        yield Notice(Level.NOTE, "Counting is off", more, about={"off": 0})
    elif facts.stats is None:
        return
    elif facts.stats.as_of is None:
        more = "Start a worker with COUNTING=on."
        yield Notice(Level.NOTE, "Nothing has been counted yet", more, about={"none": 0})
    elif facts.now - facts.stats.as_of > OLD:
        old = duration((facts.now - facts.stats.as_of).total_seconds())
        more = "No worker with COUNTING=on is counting now."
        yield Notice(Level.NOTE, f"The figures are {old} old", more, about={"old": 0})


def paused(facts: Facts) -> Iterator[Notice]:
    """Queues with due jobs have been paused for long."""
    lines, about = [], {}
    for queue in facts.queues or ():
        paused_for = facts.now - queue.paused_since if queue.paused and queue.paused_since else timedelta()
        if queue.live.due and paused_for > LONG_PAUSE:
            about[f"{queue.name} since {queue.paused_since}"] = magnitude(queue.live.due)
            due = count(queue.live.due, "job is", "jobs are")
            text = f"Queue {queue.name} has been paused for {duration(paused_for.total_seconds())}; {due} due"
            resume = Action("Resume", "queues.resume", (("name", queue.name),), act="queues.resume", at_once=True)
            lines.append((queue.name, Line(text, (resume, _page_of(queue.name)))))
    if len(lines) == 1:
        [(name, line)] = lines
        yield Notice(Level.NOTE, line.text, actions=(*line.actions, _jobs_of(name)), about=about)
    elif lines:
        what = f"{len(lines)} queues have been paused for over {duration(LONG_PAUSE.total_seconds())}"
        look = (Action("Queues", "queues.show"),)
        yield Notice(Level.NOTE, what, "", look, few([line for _, line in lines]), about)


RULES: tuple[Callable[[Facts], Iterator[Notice]], ...] = (
    unserved,
    partitions,
    failing,
    late,
    new_errors,
    stuck,
    silent_workers,
    lost_workers,
    memory_growth,
    isolated_ends,
    schedules,
    skipping,
    database,
    old_numbers,
    unread,
    paused,
)
