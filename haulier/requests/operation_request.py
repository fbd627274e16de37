"""What clients send to start an operation: an act, and a filter for the jobs to act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from haulier.domain.job import MAX_DELAY_SECONDS, Json
from haulier.domain.operation import OperationAction
from haulier.requests.fields import Flag, Number, about, moment, name, whole
from haulier.requests.invalid import Invalid, load
from haulier.requests.job_conditions import OperationFilter, without_payload
from haulier.requests.job_request import JobChanges

DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS = 10, 86_400
MAX_SPREAD_SECONDS = 604_800


class OperationChanges(Schema):
    """What a change does to each job."""

    class Meta:
        unknown = RAISE

    queue = name(metadata=about("The queue that they then wait in."))
    priority = JobChanges._declared_fields["priority"]
    run_at = moment("They become due then; a time that has passed counts as now. Not beside `delay_seconds`.")
    delay_seconds = Number(
        validate=validate.Range(0, MAX_DELAY_SECONDS),
        metadata=about("They become due so many seconds after their turn has come; 0: now. Not beside `run_at`."),
    )


class StartOperation(Schema):
    """What is to be done to which jobs."""

    class Meta:
        unknown = RAISE

    action = fields.Enum(OperationAction, by_value=True, required=True)
    filter = fields.Nested(OperationFilter, required=True)
    as_of = moment(
        "That of a preview of this action and filter: only jobs that it counted, and that are as they were then."
    )
    dry_run = Flag(load_default=False, metadata=about("Only say which jobs those are."))
    changes = fields.Nested(OperationChanges, metadata=about("For `change` alone, which needs them."))
    spread_seconds = whole(
        0,
        MAX_SPREAD_SECONDS,
        "The jobs become due evenly over so long; for `retry`, and a `change` of when they are due.",
        load_default=0,
    )
    starts_in_seconds = Number(
        load_default=DEFAULT_WAIT_SECONDS,
        validate=validate.Range(0, MAX_WAIT_SECONDS),
        metadata=about("Until then nothing is done, and it can be cancelled."),
    )

    @validates_schema
    def _fits(self, data: Mapping[str, Any], **_: object) -> None:
        action, changes = data["action"], data.get("changes") or {}
        if (action is OperationAction.CHANGE) != bool(changes):
            raise ValidationError("A change needs some, and nothing else has any.", "changes")
        if "run_at" in changes and "delay_seconds" in changes:
            raise ValidationError({"changes": {"delay_seconds": ["Give run_at or delay_seconds, not both."]}})
        when = {"run_at", "delay_seconds"} & set(changes)
        if data["spread_seconds"] and action is not OperationAction.RETRY and not when:
            raise ValidationError("Only a retry, or a change of when jobs are due, can be spread.", "spread_seconds")
        if data["dry_run"] and "as_of" in data:
            raise ValidationError("A preview is of now.", "as_of")


_START = StartOperation()


def read_operation(data: Json) -> tuple[dict[str, Any], dict[str, Json]]:
    """Return the operation of a request, and the conditions of its filter on payloads. Raises: Invalid."""
    if not isinstance(data, dict):
        raise Invalid({"_schema": ["Must be a JSON object."]})
    given = {field: value for field, value in data.items() if value is not None}
    payload: dict[str, Json] = {}
    if isinstance(given.get("filter"), dict):
        try:
            given["filter"], payload = without_payload(given["filter"])
        except Invalid as error:
            raise Invalid({"filter": error.details}) from None
    asked = load(_START, given)
    conditions = asked["filter"]
    if not conditions and not payload:
        raise Invalid({"filter": ['Must say which jobs are meant; {"all": true} says: every one.']})
    if conditions.pop("all", None) and payload:
        raise Invalid({"filter": {"all": ["Must stand alone."]}})
    return asked, payload
