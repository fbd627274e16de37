"""Schedules: their times and history; pausing, running and deleting one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from flask import request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast, ScheduleBusy, ScheduleNotFound, ScheduleOfFile
from haulier.domain.job import NAME_PATTERN, JobStatus
from haulier.domain.schedules.preview import Preview, preview
from haulier.domain.schedules.schedule import InvalidSchedule, Rule
from haulier.domain.text import count
from haulier.postgres.statements import Connection
from haulier.queue.schedules.schedule_health import newest_outcomes
from haulier.queue.schedules.schedules import (
    Last,
    Tick,
    delete_schedule,
    get_schedule,
    last_ticks,
    list_schedules,
    list_ticks,
    pause_schedule,
    resume_schedule,
    run_schedule_once,
    states_of_fired,
)
from haulier.queue.schedules.schedules import Shown as Found
from haulier.requests.cursor import entry_cursor, read_entry_cursor

from ....http.auth import caller
from ....http.json_text import as_json
from ....http.masking import schedule_as_shown
from ....http.service import connection, service
from ...forms.job_form import once_of
from ...forms.pausing import NoTime, PauseForm
from ...kit.flash import Undo, done
from ...kit.menu import MenuEntry
from ...kit.page import Page
from ...kit.reading import Part, kept, part, read
from ...kit.section import Section
from ...kit.viewer import viewer
from ...words import charts
from ...words.pretty_json import printed
from ...words.schedule_words import OUTCOMES, words_of

WHY = "schedules belong to every queue"
MOST, MOST_TICKS, MOST_NEXT = 40, 50, 5

section = Section("schedules", __name__, MenuEntry("Work", 55, "Schedules", "schedules", "s"))


@section.page("/schedules", Scope.READ, every=15)
def show() -> Page:
    """Return the schedules by name."""
    after = request.args.get("after", "")[:64]
    found = kept("schedules", (after,), partial(_rows, after))
    rows, has_more = found.value or ([], False)
    return Page(
        "schedules.html",
        "Schedules",
        found=found,
        rows=rows,
        words_of=_words_of,
        more=url_for("ui.schedules.show", after=rows[-1][0].schedule.name) if has_more else None,
        is_first=not after,
        paused=sum(found.schedule.is_paused(found.now) for found, *_ in rows),
    )


# A schedule, its last ticks, the status of the job of the last tick that fired (None if that job is gone), and the
# newest ticks as dots.
Row = tuple[Found, Last | None, JobStatus | None, Markup | str]


def _rows(after: str) -> Part[tuple[list[Row], bool]]:
    """Return schedules by name, and whether more follow."""

    def look(conn: Connection) -> tuple[list[Row], bool]:
        found, has_more = list_schedules(conn, after=after or None, limit=MOST, queues=caller().queues)
        last = last_ticks(conn, [each.schedule.name for each in found])
        fired = {name: each.fired for name, each in last.items() if each.fired}
        states = states_of_fired(conn, fired.values(), queues=caller().queues)
        jobs = {name: _state(tick, states) for name, tick in fired.items()}
        newest = {name: _dots(each) for name, each in newest_outcomes(conn, list(last)).items()}
        return [_row(each, last, jobs, newest) for each in found], has_more

    return part(look)


def _dots(outcomes: Sequence[str]) -> Markup:
    """Return the newest ticks as dots, the last one on the right. In: newest first."""
    looks = [OUTCOMES.get(outcome, ("queued", outcome)) for outcome in reversed(outcomes)]
    # The look of a job that failed permanently.
    marks = [("failed" if look == "failed_permanent" else look, word) for look, word in looks]
    return charts.dots(marks, f"Last {count(len(outcomes), 'tick')}")


def _row(
    found: Found, last: Mapping[str, Last], jobs: Mapping[str, JobStatus | None], newest: Mapping[str, Markup]
) -> Row:
    name = found.schedule.name
    return _without_payload(found), last.get(name), jobs.get(name), newest.get(name, "")


def _as_shown(found: Found) -> Found:
    return replace(found, schedule=schedule_as_shown(found.schedule))


def _without_payload(found: Found) -> Found:
    """Return the schedule without its payload: the payloads of a whole list may have megabytes."""
    schedule = schedule_as_shown(found.schedule)
    job = {name: schedule.rule.job.get(name) for name in ("kind", "queue")}
    return replace(found, schedule=replace(schedule, rule=replace(schedule.rule, job=job)))


def _words_of(rule: Rule) -> str:
    """Return when a schedule with a cron expression fires, in words; "" if that would take many."""
    return words_of(rule.cron, rule.every_seconds) if rule.cron else ""


@section.page("/schedules/<name>", Scope.READ, every=15)
def one(name: str) -> Page:
    """Return the page of a schedule."""
    return _page(name)


def _page(name: str, form: PauseForm | None = None, *, fault: str = "", status: int = 200) -> Page:
    found = _as_shown(visible(name))
    schedule, rule = found.schedule, found.schedule.rule
    shows_hidden = request.args.get("show") == "hidden"
    return Page(
        "schedule.html",
        f"Schedule {name}",
        status=status,
        found=found,
        schedule=schedule,
        is_paused=schedule.is_paused(found.now),
        words=_words_of(rule),
        payload=printed(
            as_json(rule.job.get("payload")).encode(),
            hides=() if shows_hidden else service().config.hide_fields,
            is_whole=request.args.get("whole") == "1",
        ),
        coming=_coming(found),
        outcomes=OUTCOMES,
        ticks=_ticks(name),
        newest=url_for("ui.schedules.one", name=name) if _before() else None,
        form=form or PauseForm(),
        shows_hidden=shows_hidden,
        fault=fault,
    )


def visible(name: str) -> Found:
    """Return the schedule. Raises: ScheduleNotFound."""
    # An invalid name may hold a NUL, which cannot be sent to the database.
    if not re.fullmatch(NAME_PATTERN, name):
        raise ScheduleNotFound(name[:100])
    return read(lambda conn: get_schedule(conn, name, queues=caller().queues))


def _coming(found: Found) -> list[Preview] | None:
    try:
        return preview(found.schedule.timetable, max(found.schedule.decided_to, found.now), MOST_NEXT)
    except InvalidSchedule:
        return None


def _ticks(name: str) -> Part[tuple[list[tuple[Tick, JobStatus | None]], str | None]]:
    """Return ticks, newest first, each with the status of its job, and the URL of older ticks.

    The status is None if the tick has not fired, or its job is gone.
    """

    def look(conn: Connection) -> tuple[list[tuple[Tick, JobStatus | None]], str | None]:
        found, has_more = list_ticks(conn, name, before=_before(), limit=MOST_TICKS)
        last = entry_cursor(found[-1].scheduled_at, found[-1].schedule_id) if has_more else None
        states = states_of_fired(conn, found, queues=caller().queues)
        older = url_for("ui.schedules.one", name=name, older=last) if last else None
        return [(tick, _state(tick, states)) for tick in found], older

    return part(look)


def _before() -> tuple[datetime, int] | None:
    try:
        return read_entry_cursor(request.args["older"]) if request.args.get("older") else None
    except ValueError:
        return None


def _state(tick: Tick, states: Mapping[UUID, JobStatus]) -> JobStatus | None:
    return None if tick.job_id is None else states.get(tick.job_id)


def _acted(name: str, act: Callable[[Connection], Response]) -> Response | Page:
    """Return the response of an act; if it is refused, the page of the schedule, with the reason."""
    visible(name)
    try:
        with connection() as conn:
            return act(conn)
    except (ScheduleBusy, ScheduleOfFile) as error:
        return _page(name, fault=str(error), status=409)


@section.act("/schedules/<name>/run", Scope.OPERATE, enqueues=True)
def run(name: str) -> Response | Page:
    """Enqueue the schedule's job now; once, however often the form is sent."""
    by = caller()
    key = by.scoped(f"run-{name}-{once_of(request.form)}")

    def act(conn: Connection) -> Response:
        made = run_schedule_once(conn, name, key, queues=by.queues, actor=by.id)
        sentence = (
            f"Enqueued by {name}. This is the job." if made.is_new else f"Already enqueued by {name}. This is the job."
        )
        return done(sentence, url_for("ui.job.show", job_id=made.job_id))

    return _acted(name, act)


@section.act("/schedules/<name>/pause", Scope.OPERATE)
def pause(name: str) -> Response | Page:
    """Pause the schedule for a while, until a time, or until resumed: its ticks are skipped."""
    form = PauseForm.of(request.form)

    def act(conn: Connection) -> Response:
        pause_schedule(conn, name, until=form.end(viewer()), actor=caller().id)
        undo = Undo("Resume", "schedules.resume", {"name": name})
        return done(f"Paused {name}. Its ticks are skipped and do not fire later.", _place(name), undo)

    try:
        return _acted(name, act)
    except (PauseInThePast, NoTime) as error:
        return _page(name, form.with_fault(error), status=422)


@section.act("/schedules/<name>/resume", Scope.OPERATE)
def resume(name: str) -> Response | Page:
    """Resume the schedule."""

    def act(conn: Connection) -> Response:
        resume_schedule(conn, name, actor=caller().id)
        return done(f"Resumed {name}.", _place(name))

    return _acted(name, act)


@section.act("/schedules/<name>/delete", Scope.ADMIN, every_queue=WHY)
def delete(name: str) -> Response | Page:
    """Delete the schedule if its name was typed."""
    if request.form.get("confirm", "").strip() != name:
        return _page(name, fault="Type its name to delete it.", status=422)

    def act(conn: Connection) -> Response:
        delete_schedule(conn, name, actor=caller().id)
        return done(f"Deleted {name}.", url_for("ui.schedules.show"))

    return _acted(name, act)


def _place(name: str) -> str:
    """Return where the form leads: to the schedule, or to the list of schedules."""
    wanted = request.form.get("next", "")
    return wanted if wanted.startswith(url_for("ui.schedules.show")) else url_for("ui.schedules.one", name=name)
