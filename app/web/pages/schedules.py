"""Schedules: what there is, when each fires and what became of its ticks; letting one pass, fire now, or go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import urlencode
from uuid import UUID

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast, ScheduleBusy, ScheduleNotFound, ScheduleOfFile
from haulier.domain.job import NAME_PATTERN, JobStatus
from haulier.domain.preview import Preview, preview
from haulier.domain.schedule import InvalidSchedule, Refused
from haulier.postgres.statements import Connection
from haulier.queue.produce.schedules import (
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
from haulier.queue.produce.schedules import Shown as Found

from ...http.cursor import entry_cursor, read_entry_cursor
from ...http.door import caller
from ...http.json_text import as_json
from ...http.masking import schedule_as_shown
from ...http.service import connection, service
from ..answering import Page
from ..asking import once_of
from ..pausing import NoTime, PauseForm
from ..printed import printed
from ..rail import Rail
from ..reading import Part, kept, part, read
from ..saying import Undo, done
from ..schedule_words import words_of
from ..section import Section
from ..viewer import viewer

WHY = "a schedule's name is that of every queue"
MOST, MOST_TICKS, MOST_NEXT = 40, 50, 5

section = Section("schedules", __name__, Rail("Work", 55, "Schedules", "schedules", "s"))


@dataclass(frozen=True, slots=True)
class Row:
    """A schedule as the list shows it.

    Shape: job is how the job of the last tick that fired is; None where it is gone. paused_until is None also where the
           pause has no end.
    """

    name: str
    kind: str
    queue: str
    when: str
    zone: str
    words: str
    last: Last | None
    job: JobStatus | None
    next_at: datetime | None
    is_paused: bool
    paused_until: datetime | None
    is_of_file: bool
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Ticks:
    """Some ticks of a schedule, newest first, each with how its job is, and the page of those before.

    Shape: of a tick that has not fired, or whose job is gone, None.
    """

    rows: Sequence[tuple[Tick, JobStatus | None]]
    older: str | None
    newest: str | None


@section.page("/schedules", Scope.READ, every=15)
def show() -> Page:
    """Return the schedules, by name."""
    after = request.args.get("after", "")[:64]
    found = kept("schedules", (after,), partial(_rows, after))
    rows, has_more = found.value or ([], False)
    more = url_for("ui.schedules.show", after=rows[-1].name) if has_more else None
    shown: Part[Sequence[Row]] = Part(None, found.late) if found.value is None else Part(rows)
    paused = sum(each.is_paused for each in rows)
    return Page("schedules.html", "Schedules", rows=shown, more=more, is_first=not after, paused=paused)


def _rows(after: str) -> Part[tuple[list[Row], bool]]:
    def read_rows(conn: Connection) -> tuple[list[Row], bool]:
        found, has_more = list_schedules(conn, after=after or None, limit=MOST, queues=caller().queues)
        last = last_ticks(conn, [each.schedule.name for each in found])
        fired = {name: each.fired for name, each in last.items() if each.fired}
        states = states_of_fired(conn, fired.values(), queues=caller().queues)
        jobs = {name: _state(tick, states) for name, tick in fired.items()}
        return [_row(each, last.get(each.schedule.name), jobs.get(each.schedule.name)) for each in found], has_more

    return part(read_rows)


def _row(found: Found, last: Last | None = None, job: JobStatus | None = None) -> Row:
    schedule = schedule_as_shown(found.schedule)
    rule, is_paused = schedule.rule, schedule.is_paused(found.now)
    return Row(
        schedule.name,
        str(rule.job.get("kind", "")),
        str(rule.job.get("queue", "")),
        rule.cron or f"every {rule.every_seconds:,} s",
        rule.time_zone if rule.cron else "",
        words_of(rule.cron, rule.every_seconds),
        last,
        job,
        found.next_at,
        is_paused,
        schedule.paused_until if is_paused else None,
        schedule.source != "api",
        schedule.refused,
    )


@section.page("/schedules/<name>", Scope.READ, every=15)
def one(name: str) -> Page:
    """Return the page of a schedule."""
    return _page(name)


def _page(name: str, form: PauseForm | None = None, *, fault: str = "", status: int = 200) -> Page:
    found = visible(name)
    rule = schedule_as_shown(found.schedule).rule
    shows_hidden = request.args.get("show") == "hidden"
    return Page(
        "schedule.html",
        f"Schedule {name}",
        status=status,
        row=_row(found),
        rule=rule,
        waiting_at=found.schedule.pending_at,
        created_at=found.created_at,
        updated_at=found.updated_at,
        payload=printed(
            as_json(rule.job.get("payload")).encode(),
            hides=() if shows_hidden else service().config.hide_fields,
            is_whole=request.args.get("whole") == "1",
        ),
        coming=_coming(found),
        ticks=_ticks(name),
        form=form or PauseForm(),
        shows_hidden=shows_hidden,
        fault=fault,
    )


def visible(name: str) -> Found:
    """Return the schedule. Raises: ScheduleNotFound."""
    # A name that is none cannot be sent to the database: it may hold a NUL.
    if not re.fullmatch(NAME_PATTERN, name):
        raise ScheduleNotFound(name[:100])
    return read(lambda conn: get_schedule(conn, name, queues=caller().queues))


def _coming(found: Found) -> list[Preview] | None:
    try:
        return preview(found.schedule.timetable, max(found.schedule.decided_to, found.now), MOST_NEXT)
    except InvalidSchedule:
        return None


def _ticks(name: str) -> Part[Ticks]:
    before = _before()
    here = url_for("ui.schedules.one", name=name)

    def read_ticks(conn: Connection) -> Ticks:
        found, has_more = list_ticks(conn, name, before=before, limit=MOST_TICKS)
        last = entry_cursor(found[-1].scheduled_at, found[-1].schedule_id) if has_more else ""
        older = f"{here}?{urlencode({'older': last})}" if last else None
        states = states_of_fired(conn, found, queues=caller().queues)
        return Ticks([(tick, _state(tick, states)) for tick in found], older, here if before else None)

    return part(read_ticks)


def _before() -> tuple[datetime, int] | None:
    try:
        return read_entry_cursor(request.args["older"]) if request.args.get("older") else None
    except ValueError:
        return None


def _state(tick: Tick, states: Mapping[UUID, JobStatus]) -> JobStatus | None:
    return None if tick.job_id is None else states.get(tick.job_id)


def _acted(name: str, act: Callable[[Connection], Response]) -> Response | Page:
    """Return what the act answers; where it cannot be done, the schedule's page, with why."""
    visible(name)
    try:
        with connection() as conn:
            return act(conn)
    except (ScheduleBusy, ScheduleOfFile) as error:
        return _page(name, fault=str(error), status=409)


@section.act("/schedules/<name>/run", Scope.OPERATE)
def run(name: str) -> Response | Page:
    """Enqueue its job now, once, however often the form is sent."""
    by = caller()
    key = by.scoped(f"run-{name}-{once_of(request.form)}")

    def act(conn: Connection) -> Response:
        made = run_schedule_once(conn, name, key, queues=by.queues, actor=by.id)
        sentence = f"Enqueued by {name}. This is the job." if made.is_new else f"It was enqueued by {name} before."
        return done(sentence, url_for("ui.job.show", job_id=made.job_id))

    return _acted(name, act)


@section.act("/schedules/<name>/pause", Scope.OPERATE)
def pause(name: str) -> Response | Page:
    """Let its ticks pass, for so long, until a time, or until it is resumed."""
    form = PauseForm.of(request.form)

    def act(conn: Connection) -> Response:
        pause_schedule(conn, name, until=form.end(viewer()), actor=caller().id)
        undo = Undo("Resume it", "schedules.resume", {"name": name})
        return done(f"Paused {name}. Its ticks pass, and none of them fires later.", _place(name), undo)

    try:
        return _acted(name, act)
    except (PauseInThePast, NoTime) as error:
        return _page(name, form.with_fault(error), status=422)


@section.act("/schedules/<name>/resume", Scope.OPERATE)
def resume(name: str) -> Response | Page:
    """Let it fire again."""

    def act(conn: Connection) -> Response:
        resume_schedule(conn, name, actor=caller().id)
        return done(f"Resumed {name}.", _place(name))

    return _acted(name, act)


@section.act("/schedules/<name>/delete", Scope.ADMIN, every_queue=WHY)
def delete(name: str) -> Response | Page:
    """Delete it, where its name was typed."""
    if request.form.get("confirm", "").strip() != name:
        return _page(name, fault="Type its name to delete it.", status=422)

    def act(conn: Connection) -> Response:
        delete_schedule(conn, name, actor=caller().id)
        return done(f"Deleted {name}.", url_for("ui.schedules.show"))

    return _acted(name, act)


def _place(name: str) -> str:
    """Return where the form wants to lead: to the schedule, or to the list of them."""
    wanted = request.form.get("next", "")
    return wanted if wanted.startswith("/ui/schedules") else url_for("ui.schedules.one", name=name)
