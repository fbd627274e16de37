"""Pause or resume many schedules at once: the selected ones, which at first are all that fire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import DatabaseUnavailable, PauseInThePast, Refusal, ScheduleNotFound, reason
from haulier.domain.text import count
from haulier.postgres.statements import Connection
from haulier.queue.schedules.schedules import list_schedules, pause_schedule, resume_schedule
from haulier.requests.invalid import Invalid

from ....http.auth import caller
from ....http.service import connection
from ...forms.pausing import NoTime, PauseForm
from ...kit.flash import done
from ...kit.page import Page
from ...kit.reading import part
from ...kit.section import Section
from ...kit.viewer import viewer
from .schedules import visible

# The most schedules on the page, and seconds for all of them; the page says which were not reached.
MOST, MOST_SECONDS = 500, 10.0

section = Section("schedule_pauses", __name__, within="schedules")


@section.page("/schedule-pauses", Scope.OPERATE, for_acting=True)
def show() -> Page:
    """Return the schedules; those that fire are selected."""
    return _page(PauseForm())


def _page(form: PauseForm, ticked: Sequence[str] | None = None, status: int = 200) -> Page:
    found = part(lambda conn: list_schedules(conn, limit=MOST, queues=caller().queues))
    schedules, more = found.value or ([], False)
    names = [each.schedule.name for each in schedules if not each.schedule.is_paused(each.now)]
    return Page(
        "schedule_pauses.html",
        "Pause schedules",
        status=status,
        found=found,
        schedules=schedules,
        more=more,
        ticked=names if ticked is None else ticked,
        form=form,
    )


def _names() -> list[str]:
    """Return the names of the selected schedules, each once. Raises: Invalid."""
    found = list(dict.fromkeys(request.form.getlist("name")))
    if len(found) > MOST:
        raise Invalid({"name": [f"At most {MOST} schedules at once."]})
    return found


@dataclass(eq=False, slots=True)
class _Results:
    """The results so far. `stopped` says where it stopped and why, if not all were reached."""

    done: int = 0
    gone: int = 0
    refused: list[str] = field(default_factory=list)
    stopped: str = ""

    def sentences(self, what: str, names: Sequence[str]) -> Iterator[str]:
        """Yield the sentences for these names."""
        yield f"{what} {count(self.done, 'schedule')}." if names else "No schedule was selected."
        if self.gone:
            yield f"{count(self.gone, 'was', 'were')} already deleted."
        if self.refused:
            yield f"{count(len(self.refused), 'was refused', 'were refused')}, e.g. {self.refused[0]}."
        if self.stopped:
            yield f"Stopped at {self.stopped.rstrip('.')}."
        if late := len(names) - self.done - self.gone - len(self.refused) - bool(self.stopped):
            yield f"{count(late, 'was not reached', 'were not reached')}."


def _each(names: Sequence[str], act: Callable[[Connection, str], None], what: str) -> Response:
    """Act on each schedule and report the counts, also if not all were reached."""
    until, results = time.monotonic() + MOST_SECONDS, _Results()
    for name in names:
        if time.monotonic() > until or results.stopped:
            break
        try:
            _one(name, act, results)
        except (PauseInThePast, DatabaseUnavailable) as error:
            # Nothing was done yet, so there is nothing to report.
            if not results.done:
                raise
            is_known = isinstance(error, PauseInThePast)
            results.stopped = f"{name}{'' if is_known else ' (unknown whether it took effect)'}: {reason(error)}"
    return done(" ".join(results.sentences(what, names)), url_for("ui.schedules.show"))


def _one(name: str, act: Callable[[Connection, str], None], results: _Results) -> None:
    """Act on one schedule. Raises: PauseInThePast; DatabaseUnavailable: the act may or may not have taken effect."""
    try:
        visible(name)
        with connection() as conn:
            act(conn, name)
        results.done += 1
    except ScheduleNotFound:
        results.gone += 1
    except Refusal as error:
        results.refused.append(f"{name}: {reason(error)}")


@section.act("/schedule-pauses/pause", Scope.OPERATE)
def pause() -> Response | Page:
    """Pause the selected schedules for a while, until a time, or until resumed."""
    form, names = PauseForm.of(request.form), _names()
    try:
        act = partial(pause_schedule, until=form.end(viewer()), actor=caller().id)
        return _each(names, act, "Paused")
    except (PauseInThePast, NoTime) as error:
        return _page(form.with_fault(error), names, 422)


@section.act("/schedule-pauses/resume", Scope.OPERATE)
def resume() -> Response:
    """Resume the selected schedules."""
    return _each(_names(), partial(resume_schedule, actor=caller().id), "Resumed")
