"""Forms for a job: from typed texts to the JSON that an API client would send, and its faults by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import fields

from haulier.domain.job import DEFAULT_MAX_ATTEMPTS, DEFAULT_QUEUE, Json
from haulier.domain.schedules.schedule import NOT_OF_A_SCHEDULE
from haulier.kinds.sdk.payload import explain
from haulier.requests.invalid import Invalid, Malformed
from haulier.requests.job_request import JobOptions
from haulier.requests.strict_json import parse

from ..kit.ages import new_once

# Labels and hints of settings whose name and description are not enough.
WORDS = {
    "queue": ("Queue", f"Empty: {DEFAULT_QUEUE}."),
    "priority": ("Priority", "−100 to 100; higher runs first. Empty: 0."),
    "max_attempts": ("Max attempts", f"Empty: {DEFAULT_MAX_ATTEMPTS}."),
    "timeout_seconds": ("Timeout (seconds)", "Empty: default of the kind."),
    "tags": ("Tags", "Comma-separated."),
}
_FIELDS = JobOptions().fields
# All settings of a job with label and hint. Time and idempotency key have separate fields in the forms.
SETTINGS: Mapping[str, tuple[str, str]] = WORDS | {
    name: (name.replace("_", " ").capitalize(), described.metadata["description"])
    for name, described in _FIELDS.items()
    if name not in (*WORDS, *NOT_OF_A_SCHEDULE)
}
JOB = ("kind", "payload", *SETTINGS)
MOST_CHARACTERS = 400_000
# The token of a form that makes sending it twice act once.
ONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it is shown: the texts of its fields and their faults. The fault "" is about the whole form."""

    values: Mapping[str, str]
    faults: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Return the text of a field."""
        return self.values.get(name, "")

    @property
    def settings(self) -> Mapping[str, tuple[str, str]]:
        """Return label and hint of each setting of a job, by field name."""
        return SETTINGS


def once_of(given: Mapping[str, str]) -> str:
    """Return the token of the form; a new one if it was sent without."""
    once = given.get("once", "")
    return once if ONCE.fullmatch(once) else new_once()


def values_of(given: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return the texts of these fields."""
    return {name: given.get(name, "").strip()[:MOST_CHARACTERS] for name in names}


def number_of(text: str) -> Json:
    """Return the typed number; other texts stay unchanged for the schema to refuse."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def tags_of(text: str) -> list[str]:
    """Return the comma-separated tags."""
    return [each.strip() for each in text.split(",") if each.strip()]


def typed(text: str, described: fields.Field[Any] | None) -> Json:
    """Return the typed text as the JSON that a client would send in this field."""
    if isinstance(described, fields.Integer):
        return number_of(text)
    return tags_of(text) if isinstance(described, fields.List) else text


def written(value: Json) -> str:
    """Return the text of a field that has this value."""
    if value is None:
        return ""
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def job_of(values: Mapping[str, str]) -> dict[str, Json]:
    """Return the job as a client would send it, without empty fields. Raises: Invalid."""
    settings = {name: typed(values[name], _FIELDS.get(name)) for name in ("kind", *SETTINGS) if values.get(name)}
    # A text of only commas has no tag.
    job: dict[str, Json] = {name: value for name, value in settings.items() if value != []}
    job["payload"] = json_of(values.get("payload", ""), "payload")
    return job


def json_of(text: str, name: str) -> Json:
    """Return the JSON typed into a field. Raises: Invalid."""
    if not text:
        return {}
    try:
        return parse(text.encode())
    except Malformed as error:
        raise Invalid({name: [f"{str(error)[:1].upper()}{str(error)[1:]}."]}) from error


def faults_of(error: Invalid, names: tuple[str, ...]) -> dict[str, str]:
    """Return the faults by field of the form. Faults of other fields are under ""."""
    details = dict(error.details)
    job = details.pop("job", None)
    if isinstance(job, Mapping):
        details.update(job)
    elif job is not None:
        details["payload"] = job
    found: dict[str, str] = {}
    for name, messages in details.items():
        if name in names:
            found[name] = explain(messages)
        else:
            text = explain({name: messages})
            found[""] = f"{found['']} {text}" if "" in found else text
    return found
