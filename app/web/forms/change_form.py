"""The form that changes a waiting job: from typed texts to changes, or to the faults of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from marshmallow import ValidationError, validate

from haulier.domain.job import Job, Json
from haulier.queue.jobs.change import Changes
from haulier.requests.job_request import JobChanges

from ..words.filters import read_duration, read_time
from .job_form import Form, typed, written

# All fields except `due`, which is a time or a delay.
SETTINGS = ("queue", "priority", "max_attempts", "timeout_seconds")
NAMES = (*SETTINGS, "due")
CHANGED = "Somebody else changed this field. This is its current value."
_FIELDS = JobChanges().fields


@dataclass(frozen=True, slots=True)
class Changed:
    """The changes. `queue` is the new queue, if any."""

    changes: Changes
    queue: str | None


class Unread(Exception):
    """The typed values are not valid. `form` shows them again with the faults."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form


class Clash(Unread):
    """Somebody else changed the same fields. `form` has the current values of the job."""


def form_of(job: Job) -> Form:
    """Return the form of a job: its values, and an empty time.

    Fields with the prefix `was_` hold the values that the form has shown.
    """
    values = {name: written(getattr(job, name)) for name in SETTINGS}
    shown = {f"was_{name}": text for name, text in values.items()}
    return Form({**values, "due": "", **shown, "was_due": job.run_at.isoformat()})


def read_form(given: Mapping[str, str], job: Job, zone: tzinfo) -> Changed:
    """Return the changes to the job. Fields that are empty or unchanged in the form stay as they are.

    Raises: Unread; Clash if a field to change has neither the value that the form has shown nor the new one.
    """
    now = form_of(job)
    values = {name: given.get(name, "").strip()[:200] for name in NAMES}
    was = {name: given.get(f"was_{name}", now.value(f"was_{name}"))[:200] for name in NAMES}
    asked = {name: text for name, text in values.items() if text and text != was[name]}
    changed, faults = read_changes(asked, zone)
    if faults:
        raise Unread(Form({**values, **{f"was_{name}": text for name, text in was.items()}}, faults))
    clashes = [name for name in asked if now.value(f"was_{name}") not in (was[name], asked[name])]
    if clashes:
        raise Clash(Form(now.values, {name: CHANGED for name in clashes}))
    return Changed(Changes.of(**changed), changed.get("queue"))


def read_changes(values: Mapping[str, str], zone: tzinfo) -> tuple[dict[str, Json], dict[str, str]]:
    """Return the changes of the fields that are filled in, and the faults of invalid ones."""
    changed: dict[str, Json] = {}
    faults: dict[str, str] = {}
    for name, text in values.items():
        found = _read(name, text, zone) if text else {}
        if isinstance(found, _Fault):
            faults[name] = found.text
        else:
            changed.update(found)
    return changed, faults


@dataclass(frozen=True, slots=True)
class _Fault:
    text: str


def _read(name: str, text: str, zone: tzinfo) -> dict[str, Json] | _Fault:
    if name == "due":
        return _due(text, zone)
    try:
        return {name: _FIELDS[name].deserialize(typed(text, _FIELDS[name]))}
    except ValidationError:
        return _Fault(_needed(name))


def _needed(name: str) -> str:
    """Return the message that says what a field takes."""
    [check] = _FIELDS[name].validators
    if isinstance(check, validate.Range):
        return f"Must be a whole number from {check.min} to {check.max}."
    return "This is not a valid queue name."


def _due(text: str, zone: tzinfo) -> dict[str, Json] | _Fault:
    if text == "now":
        return {"delay_seconds": 0}
    duration = read_duration(text)
    if duration is not None:
        return {"delay_seconds": int(duration.total_seconds())}
    at: datetime | None = read_time(text, zone)
    return _Fault("Must be now, 10m, 2h, 1d or 2026-11-26T12:00.") if at is None else {"run_at": at.isoformat()}
