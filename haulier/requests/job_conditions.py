"""The filter for jobs that a list, a count and an operation share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from haulier.domain.fingerprint import ID_PATTERN
from haulier.domain.job import MAX_MAX_ATTEMPTS, JobOrder, JobStatus, Json
from haulier.kinds.sdk.payload import Pattern
from haulier.requests.fields import (
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_PATTERN,
    ErrorId,
    Flag,
    QueryInteger,
    Several,
    about,
    moment,
    name,
    page_cursor,
    page_limit,
    tag,
)
from haulier.requests.invalid import Invalid

# A parameter that begins with it is about a place in the payload.
PREFIX = "payload."
MAX_PATHS, MAX_PATH, MAX_TEXT = 5, 200, 1_000
# A filter may name this many statuses, kinds, queues and tags.
MAX_NAMES = 20
# The database reads the jobs that are skipped. To skip more, clients use `cursor`, which does not.
MAX_OFFSET = 10_000
# Which filters each order of a list needs and allows.
BESIDE = {
    JobOrder.DUE: "Is an order of one queue's waiting jobs: give one queue, status=queued and status=retrying alone.",
    JobOrder.STARTED: "Is an order of running jobs: give status=running, and at most kind, queue and worker.",
}


class JobConditions(Schema):
    """Which jobs are meant. Parameters whose names begin with `payload.` stand beside it: see `payload_conditions`."""

    open_prefix = PREFIX

    status = Several(
        fields.Enum(JobStatus, by_value=True, metadata={"x-component": "JobStatus"}),
        MAX_NAMES,
        metadata=about("Only jobs in this state; given more than once: in any of these."),
    )
    kind = Several(name(), MAX_NAMES, metadata=about(f"Only jobs of this kind, or any of up to {MAX_NAMES}."))
    queue = Several(name(), MAX_NAMES, metadata=about(f"Only jobs of this queue, or any of up to {MAX_NAMES}."))
    tag = Several(
        tag(), MAX_NAMES, metadata=about(f"Only jobs with this tag, or any of up to {MAX_NAMES}; case matters.")
    )
    error = ErrorId(
        metadata=about(
            "Only jobs that have failed for good with this group of errors, or are to be tried again after it.",
            type="string",
            pattern=ID_PATTERN,
        )
    )
    worker = fields.UUID(
        metadata=about(
            "Only jobs that this worker runs, or that ended with an attempt of its.", **{"x-component": "JobId"}
        )
    )
    key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("Only jobs with this idempotency key, whichever API key sent them."),
    )
    attempts_min = QueryInteger(0, MAX_MAX_ATTEMPTS, "Only jobs of which so many attempts were charged.")
    finished_after = moment("Only jobs that ended later than this.")
    finished_before = moment("Only jobs that ended before this.")
    created_after = moment("Only jobs created later than this.")
    created_before = moment("Only jobs created before this.")


class ListJobs(JobConditions):
    """Which jobs to list."""

    limit = page_limit()
    offset = QueryInteger(
        0,
        MAX_OFFSET,
        "How many to skip; `cursor` is faster, does not slip and has no end.",
        error_messages={
            "range": "Must be from {least} to {most}; further on, give as cursor what Next-Cursor of a page says."
        },
    )
    cursor = page_cursor(" Not beside `offset`.")

    sort = fields.String(
        validate=validate.OneOf([str(order) for order in JobOrder]),
        metadata=about(
            "The first jobs in another order than newest first; no page follows. `due`: as workers take them, beside"
            " one `queue` and both `status=queued` and `status=retrying`, and nothing else. `started`: what has run"
            " longest first, beside `status=running`, and perhaps `kind`, `queue` and `worker`."
        ),
    )

    @validates_schema
    def _one_way(self, data: Mapping[str, Any], **_: object) -> None:
        if "offset" in data and "cursor" in data:
            raise ValidationError("Give offset or cursor, not both.", "cursor")

    @validates_schema
    def _in_order(self, data: Mapping[str, Any], **_: object) -> None:
        if "sort" not in data:
            return
        order, names = JobOrder(data["sort"]), data.keys() - {"sort", "limit"}
        if not order.fits(names, data.get("status", ()), data.get("queue", ())):
            raise ValidationError(BESIDE[order], "sort")


def _in_json() -> dict[str, Any]:
    """Return the fields that differ in a body, because in a query everything is text."""
    declared: Mapping[str, Any] = JobConditions._declared_fields
    return {field: each.in_json() for field, each in declared.items() if isinstance(each, QueryInteger)}


class OperationFilter(JobConditions.from_dict(_in_json(), name="JsonConditions")):  # type: ignore[misc]
    """Which jobs are meant. Fields whose names begin with `payload.` stand beside: see `payload_conditions`."""

    class Meta:
        unknown = RAISE

    all = Flag(
        validate=validate.Equal(True), metadata=about("Every job, said on purpose; nothing else may stand beside it.")
    )

    @validates_schema
    def _all_alone(self, data: Mapping[str, Any], **_: object) -> None:
        empty = [field for field, value in data.items() if value == []]
        if empty:
            raise ValidationError({field: ["Must name one at least."] for field in empty})
        if "all" in data and len(data) > 1:
            raise ValidationError("Must stand alone.", "all")


# In a query these are lists or texts by themselves; in JSON there may be anything in their place.
_LISTS = {field for field, each in JobConditions._declared_fields.items() if isinstance(each, Several)}
_TEXTS = {
    field
    for field, each in JobConditions._declared_fields.items()
    if isinstance(each, ErrorId | fields.UUID | fields.String)
}


def without_payload(asked: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return the conditions of a filter in JSON: the named ones, and those on payloads. Null counts as absent.

    Raises: Invalid.
    """
    given = {field: value for field, value in asked.items() if value is not None}
    payload = {field: given.pop(field) for field in list(given) if field.startswith(PREFIX)}
    odd = {field: ["Must be a list."] for field in _LISTS & given.keys() if not isinstance(given[field], list)}
    odd |= {field: ["Must be a text."] for field in _TEXTS & given.keys() if not isinstance(given[field], str)}
    if odd:
        raise Invalid(odd)
    return given, payload


def payload_conditions(given: Iterable[tuple[str, list[Json]]]) -> dict[str, str]:
    """Return the text that each place of a payload must have, by its path. Raises: Invalid."""
    conditions = {field: values for field, values in given if field.startswith(PREFIX)}
    if len(conditions) > MAX_PATHS:
        raise Invalid({"_schema": [f"At most {MAX_PATHS} places of the payload may be asked about."]})
    faults = {field: [fault] for field, values in conditions.items() if (fault := _fault(field, values))}
    if faults:
        raise Invalid(faults)
    return {field.removeprefix(PREFIX): text for field, [text] in conditions.items()}


def _fault(field: str, values: list[Json]) -> str | None:
    path = field.removeprefix(PREFIX)
    if len(values) > 1:
        return "Given more than once."
    if not isinstance(values[0], str):
        return "Must be a text."
    if not all(path.split(".")) or len(path) > MAX_PATH or "\0" in path:
        return f"After payload. must stand the names of fields, with dots between them, at most {MAX_PATH} characters."
    if len(values[0]) > MAX_TEXT or "\0" in values[0]:
        return f"Must be a text of at most {MAX_TEXT} characters, without NUL."
    return None
