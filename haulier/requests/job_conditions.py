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
# A path and a value in one text.
_PLACE = rf"^[^=.\x00]+(\.[^=.\x00]+)*=[^\x00]{{0,{MAX_TEXT}}}$"
_BAD_PLACE = (
    f"Must be <path>=<value>, such as order.id=4711: the value with at most {MAX_TEXT} characters, without NUL."
)
# A filter may name this many statuses, kinds, queues and tags.
MAX_NAMES = 20
# The database reads the jobs that are skipped. To skip more, clients use `cursor`, which does not.
MAX_OFFSET = 10_000
# Which filters each order of a list needs and allows.
BESIDE = {
    JobOrder.DUE: "Sorts the waiting jobs of one queue: give one queue and both status=queued and status=retrying,"
    " nothing else.",
    JobOrder.STARTED: "Sorts running jobs: give status=running and, if needed, kind, queue and worker, nothing else.",
}


class JobConditions(Schema):
    """Which jobs are meant. Parameters whose names begin with `payload.` stand beside it: see `payload_conditions`."""

    open_prefix = PREFIX

    status = Several(
        fields.Enum(JobStatus, by_value=True, metadata={"x-component": "JobStatus"}),
        MAX_NAMES,
        metadata=about("Only jobs in one of these states."),
    )
    kind = Several(
        name(),
        MAX_NAMES,
        metadata=about(f"Only jobs of one of these kinds, at most {MAX_NAMES}."),
    )
    queue = Several(
        name(),
        MAX_NAMES,
        metadata=about(f"Only jobs of one of these queues, at most {MAX_NAMES}."),
    )
    tag = Several(
        tag(),
        MAX_NAMES,
        metadata=about(f"Only jobs with one of these tags, at most {MAX_NAMES}. Case-sensitive."),
    )
    error = ErrorId(
        metadata=about(
            "Only jobs that failed permanently with an error of this group, or will be retried after one.",
            type="string",
            pattern=ID_PATTERN,
        )
    )
    worker = fields.UUID(
        metadata=about("Only jobs that this worker runs, or whose last attempt it ran.", **{"x-component": "JobId"})
    )
    key = fields.String(
        validate=Pattern(IDEMPOTENCY_KEY_PATTERN, BAD_IDEMPOTENCY_KEY),
        metadata=about("Only jobs with this idempotency key, sent with any API key."),
    )
    attempts_min = QueryInteger(0, MAX_MAX_ATTEMPTS, "Only jobs with at least this many charged attempts.")
    finished_after = moment("Only jobs that ended after this time.")
    finished_before = moment("Only jobs that ended before this time.")
    created_after = moment("Only jobs created after this time.")
    created_before = moment("Only jobs created before this time.")


class JobQuery(JobConditions):
    """Which jobs are meant, in a query."""

    # The same as `payload.<path>`, for generated clients: they send only parameters with a fixed name. It is a list
    # because all generators send lists alike, while each sends an object (deepObject) in another form.
    payload = Several(
        fields.String(validate=Pattern(_PLACE, _BAD_PLACE)),
        MAX_PATHS,
        metadata=about(
            f"Only jobs with all these values in the payload, at most {MAX_PATHS}. Each is `<path>=<value>`:"
            " `order.id=4711` means the same as the parameter `payload.order.id` with the value `4711`."
        ),
    )


class ListJobs(JobQuery):
    """Which jobs to list."""

    limit = page_limit()
    offset = QueryInteger(
        0,
        MAX_OFFSET,
        "Number of jobs to skip. Prefer `cursor`: it is faster, has no upper limit, and skips or repeats no job when"
        " new jobs arrive.",
        error_messages={
            "range": "Must be from {least} to {most}. To read further, set cursor to the Next-Cursor of a page."
        },
    )
    cursor = page_cursor(" Cannot be combined with `offset`.")

    sort = fields.String(
        validate=validate.OneOf([str(order) for order in JobOrder]),
        metadata=about(
            "Another order than newest first, for one page only. `due`: the order in which workers claim jobs;"
            " requires one `queue`, `status=queued` and `status=retrying`, and allows no other filter. `started`:"
            " longest running first; requires `status=running` and allows `kind`, `queue` and `worker`."
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

    all = Flag(validate=validate.Equal(True), metadata=about("Every job. Cannot be combined with other conditions."))

    @validates_schema
    def _all_alone(self, data: Mapping[str, Any], **_: object) -> None:
        empty = [field for field, value in data.items() if value == []]
        if empty:
            raise ValidationError({field: ["Must have at least one value."] for field in empty})
        if "all" in data and len(data) > 1:
            raise ValidationError("Cannot be combined with other conditions.", "all")


# In a query these are lists or texts by themselves; in JSON there may be anything else, and one value needs no list.
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
    given |= {field: [given[field]] for field in _LISTS & given.keys() if isinstance(given[field], str)}
    no_lists = [field for field in _LISTS & given.keys() if not isinstance(given[field], list)]
    odd = {field: ["Must be a string or a list of strings."] for field in no_lists}
    odd |= {field: ["Must be a string."] for field in _TEXTS & given.keys() if not isinstance(given[field], str)}
    if odd:
        raise Invalid(odd)
    return given, payload


def payload_conditions(given: Iterable[tuple[str, list[Json]]]) -> dict[str, str]:
    """Return the text that each place of a payload must have, by its path. Raises: Invalid."""
    conditions = {field: values for field, values in given if field.startswith(PREFIX)}
    if len(conditions) > MAX_PATHS:
        raise Invalid({"_schema": [f"At most {MAX_PATHS} conditions on the payload are allowed."]})
    faults = {field: [fault] for field, values in conditions.items() if (fault := _fault(field, values))}
    if faults:
        raise Invalid(faults)
    return {field.removeprefix(PREFIX): text for field, [text] in conditions.items()}


def _fault(field: str, values: list[Json]) -> str | None:
    path = field.removeprefix(PREFIX)
    if len(values) > 1:
        return "Must be given only once."
    if not isinstance(values[0], str):
        return "Must be a string."
    if not all(path.split(".")) or len(path) > MAX_PATH or "\0" in path:
        return f"Must be payload. and a path of field names separated by dots, at most {MAX_PATH} characters."
    if len(values[0]) > MAX_TEXT or "\0" in values[0]:
        return f"Must be a string of at most {MAX_TEXT} characters, without NUL."
    return None
