"""The notices about schedules."""

from __future__ import annotations

from collections.abc import Iterator

from haulier.domain.text import count, duration, number
from haulier.queue.schedules.schedule_health import Skips

from .known_facts import Facts
from .notice import Action, Level, Line, Notice, few, magnitude, named

# Replacing a worker stops schedules for less time than this. So many failures in a row are no accident.
OVERDUE_SECONDS, FAILURES_IN_A_ROW = 60.0, 3


def schedules(facts: Facts) -> Iterator[Notice]:
    """A schedule does not fire when it is due, or its last jobs all failed."""
    look = (Action("Look", "schedules.show"),)
    found = facts.overdue
    if found and found.schedules and found.oldest_seconds >= OVERDUE_SECONDS:
        late = duration(found.oldest_seconds)
        what = f"{count(found.schedules, 'schedule is', 'schedules are')} not firing: the oldest tick is {late} late"
        more = "See the workers' logs for their names." if found.workers else "Start a worker that fires schedules."
        if found.workers and found.refused:
            more = f"The database refuses the jobs of {number(found.refused)} of them. See their pages for the reason."
        yield Notice(Level.WARN, what, more, look, about={"not firing": magnitude(found.schedules)})
    failed = [name for name, times in facts.failing_schedules.items() if times >= FAILURES_IN_A_ROW]
    if failed:
        whose = f"schedule {failed[0]}" if len(failed) == 1 else f"{len(failed)} schedules"
        what = f"The last {FAILURES_IN_A_ROW} jobs of {whose} failed{'' if len(failed) == 1 else f': {named(failed)}'}"
        actions = (Action("Look", "schedules.one", (("name", failed[0]),)),) if len(failed) == 1 else look
        yield Notice(Level.WARN, what, actions=actions, about=dict.fromkeys(failed, 0))


def skipping(facts: Facts) -> Iterator[Notice]:
    """A schedule skips ticks in a row because its previous run is still going."""
    if len(facts.skipping) == 1:
        [only] = facts.skipping
        what = f"Schedule {only.name} {_skipped(only)}: the previous run was still going"
        more = "Its jobs take longer than the time between ticks: fire it less often, let runs overlap, or look why."
        yield Notice(Level.WARN, what, more, _acts_on_schedule(only), about={only.name: 0})
    elif facts.skipping:
        what = f"{len(facts.skipping)} schedules skip ticks: their previous runs are still going"
        lines = [Line(f"{each.name} {_skipped(each)}", _acts_on_schedule(each)) for each in facts.skipping]
        about = {each.name: 0 for each in facts.skipping}
        yield Notice(Level.WARN, what, "", (Action("Schedules", "schedules.show"),), few(lines), about)


def _skipped(schedule: Skips) -> str:
    return f"skipped {schedule.skipped} of its last {count(schedule.ticks, 'tick')}"


def _acts_on_schedule(schedule: Skips) -> tuple[Action, ...]:
    named, change = ("name", schedule.name), "schedule_form.edit"
    changing = () if schedule.is_of_file else (Action("Change…", change, (named,), act=change),)
    pause = Action("Pause…", "schedules.one", (named, ("_anchor", "pause")), act="schedules.pause")
    return Action("Look", "schedules.one", (named,)), *changing, pause
