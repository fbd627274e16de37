"""The form that creates or changes a schedule, with a preview of its next times."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import RowRefused, ScheduleNotFound, ScheduleOfFile
from haulier.domain.job import NAME_PATTERN, Json
from haulier.domain.schedules.preview import Preview, preview
from haulier.domain.schedules.schedule import Rule
from haulier.queue.schedules.schedules import get_schedule, put_schedule
from haulier.requests.invalid import Invalid, TooLarge
from haulier.requests.schedule_request import PutSchedule, TimetableRequest, read_preview, timetable_of

from ....http.auth import caller
from ....http.enqueuing import AskedSchedule, enqueuing
from ....http.request_errors import Forbidden
from ....http.service import connection, service
from ...forms.job_form import JOB, Form, faults_of, job_of, typed, values_of, written
from ...kit.flash import done
from ...kit.page import Page
from ...kit.reading import read
from ...kit.section import Section
from ...kit.viewer import viewer
from .schedules import WHY, visible

MOST_NEXT = 5
TIMETABLE = tuple(TimetableRequest().fields)
_FIELDS = PutSchedule().fields
# A schedule is paused on its own page.
RULE = tuple(name for name in _FIELDS if name not in ("job", "paused", "paused_until"))
NAMES = ("name", *RULE, *JOB)
OVERLAPS: Mapping[str, str] = {
    "allow": "Fire anyway.",
    "skip": "Skip the tick.",
    "queue_one": "Keep one tick waiting until that job has ended.",
}
MISSES: Mapping[str, str] = {
    "skip": "Skip them.",
    "last": "Fire only the last one when a worker runs again.",
    "all": "Fire all of them, within the limits below.",
}

# Fields that few schedules need are folded.
RARE_TIMES = ("overlap", "missed", "missed_max", "missed_within_seconds", "jitter_seconds")
RARE_SETTINGS = tuple(name for name in JOB if name not in ("kind", "payload", "queue"))

section = Section("schedule_form", __name__, within="schedules")


EMPTY = {"time_zone": "UTC", "overlap": "allow", "missed": "last", "payload": "{}"}


@section.page("/schedules/new", Scope.ADMIN, every_queue=WHY, for_acting=True)
def show() -> Page:
    """Return the form for a new schedule."""
    kind = request.args.get("kind", "")[:64]
    return _page(Form({**EMPTY, "time_zone": viewer().prefers.zone, "kind": kind}))


def _page(
    form: Form, name: str = "", seen: str = "", coming: Sequence[Preview] | None = None, status: int = 200
) -> Page:
    kinds = sorted({*service().kinds, *([form.value("kind")] if form.value("kind") else [])})
    title = f"Change schedule {name}" if name else "New schedule"
    return Page(
        "schedule_form.html",
        title,
        status=status,
        name=name,
        seen=seen,
        form=form,
        kinds=kinds,
        overlaps=OVERLAPS,
        misses=MISSES,
        coming=coming,
        rare_times=RARE_TIMES,
        rare_settings=RARE_SETTINGS,
        opens=partial(_opens, form),
    )


def _opens(form: Form, names: Sequence[str]) -> bool:
    """Return whether a field is wrong or has another value than in an empty form, so that it must not be folded."""
    return any(form.faults.get(name) or form.value(name) not in ("", EMPTY.get(name, "")) for name in names)


@section.act("/schedules/new", Scope.ADMIN, every_queue=WHY)
def create() -> Page | Response:
    """Create the schedule, or preview its next times."""
    values = values_of(request.form, NAMES)
    if request.form.get("do") == "preview":
        return _previewed(values)
    try:
        name = _new_name(values["name"])
        _put(name, enqueuing().schedule(name, _asked(values)))
    except (Invalid, Forbidden, TooLarge) as error:
        return _page(Form(values, _faults(error)), status=422)
    except RowRefused as error:
        return _page(Form(values, _refused(error)), status=422)
    return done(f"Created {name}.", url_for("ui.schedules.one", name=name))


def _new_name(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid({"name": ["Must begin with a letter a-z, then up to 63 of a-z, 0-9, '_', '.', '-'."]})
    try:
        read(lambda conn: get_schedule(conn, name))
    except ScheduleNotFound:
        return name
    raise Invalid({"name": ["A schedule with this name exists. Change that one, or choose another name."]})


@section.page("/schedules/<name>/edit", Scope.ADMIN, every_queue=WHY, for_acting=True)
def edit(name: str) -> Page:
    """Return the form that changes a schedule."""
    found = visible(name)
    if found.schedule.source != "api":
        raise ScheduleOfFile(name)
    return _page(Form(_values(found.schedule.rule)), name, found.updated_at.isoformat())


@section.act("/schedules/<name>/edit", Scope.ADMIN, every_queue=WHY)
def change(name: str) -> Page | Response:
    """Change the schedule, or preview its next times."""
    values = values_of(request.form, NAMES)
    found, seen = visible(name), request.form.get("seen", "")[:60]
    if request.form.get("do") == "preview":
        return _previewed(values, name, seen)
    if seen != found.updated_at.isoformat():
        faults = {"": "Somebody else changed the schedule. The form now shows its current values."}
        return _page(Form(_values(found.schedule.rule), faults), name, found.updated_at.isoformat(), status=409)
    try:
        _put(name, enqueuing().schedule(name, _asked(values)))
    except (Invalid, Forbidden, TooLarge) as error:
        return _page(Form(values, _faults(error)), name, seen, status=422)
    except RowRefused as error:
        return _page(Form(values, _refused(error)), name, seen, status=422)
    return done(f"Changed {name}.", url_for("ui.schedules.one", name=name))


def _previewed(values: Mapping[str, str], name: str = "", seen: str = "") -> Page:
    after: datetime = viewer().now.replace(microsecond=0)
    try:
        coming = preview(timetable_of(read_preview(_timetable(values)), counts_from=after), after, MOST_NEXT)
    except Invalid as error:
        return _page(Form(values, _faults(error)), name, seen, status=422)
    return _page(Form(values), name, seen, coming)


def _put(name: str, asked: AskedSchedule) -> None:
    with connection() as conn:
        service().queue_names.check(conn, asked.draft)
        put_schedule(conn, name, asked.rule, retention_days=service().config.retention_days, actor=caller().id)


def _faults(error: Invalid | Forbidden | TooLarge) -> dict[str, str]:
    if isinstance(error, Invalid):
        return faults_of(error, NAMES)
    return {"queue" if isinstance(error, Forbidden) else "payload": f"{error}."}


def _refused(error: RowRefused) -> dict[str, str]:
    return {"": f"The database refused this: {error}."}


def _timetable(values: Mapping[str, str]) -> dict[str, Json]:
    return _typed(values, TIMETABLE)


def _typed(values: Mapping[str, str], names: Sequence[str]) -> dict[str, Json]:
    return {name: typed(values[name], _FIELDS[name]) for name in names if values[name]}


def _asked(values: Mapping[str, str]) -> dict[str, Json]:
    """Return what a client of PUT /schedules/{name} would send. Raises: Invalid."""
    # Fields that belong to another choice count as empty.
    left_out = () if values["missed"] == "all" else ("missed_max", "missed_within_seconds")
    return {**_typed(values, [name for name in RULE if name not in left_out]), "job": job_of(values)}


def _values(rule: Rule) -> dict[str, str]:
    """Return the values of the form for this rule."""
    job = rule.job
    values: dict[str, Any] = {name: getattr(rule, name) for name in NAMES if hasattr(rule, name)}
    values |= {name: job.get(name) for name in JOB}
    values["payload"] = json.dumps(job.get("payload"), ensure_ascii=False, indent=2)
    values["jitter_seconds"] = rule.jitter_seconds or None
    return {name: written(value) for name, value in values.items()}
