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


class OperationChanges(JobChanges):
    """What a change or a retry sets in each job."""

    class Meta(JobChanges.Meta):
        exclude = ("payload",)

    queue = name(metadata=about("New queue of the jobs."))
    run_at = moment("When the jobs become due. A past time counts as now. Cannot be combined with `delay_seconds`.")
    delay_seconds = Number(
        validate=validate.Range(0, MAX_DELAY_SECONDS),
        metadata=about(
            "Seconds until a job becomes due, counted from when the operation changes it. 0: at once."
            " Cannot be combined with `run_at`."
        ),
    )


# A waiting job has used some of its attempts, and its budget may be too small for others: only a retry starts again.
OF_A_RETRY = sorted(OperationChanges().fields.keys() - {"queue", "priority", "run_at", "delay_seconds"})


class StartOperation(Schema):
    """What is to be done to which jobs."""

    class Meta:
        unknown = RAISE

    action = fields.Enum(OperationAction, by_value=True, required=True)
    filter = fields.Nested(OperationFilter, required=True)
    as_of = moment(
        "`as_of` of a preview with the same action and filter. The operation then acts only on jobs that the preview"
        " counted and that have not changed since."
    )
    dry_run = Flag(load_default=False, metadata=about("Only report which jobs match."))
    changes = fields.Nested(
        OperationChanges,
        metadata=about(
            "Required for `change`, possible for `retry`, not allowed otherwise. Only a retry takes `max_attempts`,"
            " `timeout_seconds` and `tags`."
        ),
    )
    spread_seconds = whole(
        0,
        MAX_SPREAD_SECONDS,
        "Spread the due times of the jobs evenly over this many seconds. Only for `retry`, and for a `change` of the"
        " due time.",
        load_default=0,
    )
    starts_in_seconds = Number(
        load_default=DEFAULT_WAIT_SECONDS,
        validate=validate.Range(0, MAX_WAIT_SECONDS),
        metadata=about("Seconds until the operation starts. It can be cancelled before it has changed anything."),
    )

    @validates_schema
    def _fits(self, data: Mapping[str, Any], **_: object) -> None:
        action, changes = data["action"], data.get("changes") or {}
        _check_changes(action, changes)
        if "run_at" in changes and "delay_seconds" in changes:
            raise ValidationError({"changes": {"delay_seconds": ["Give run_at or delay_seconds, not both."]}})
        when = {"run_at", "delay_seconds"} & set(changes)
        if data["spread_seconds"] and action is not OperationAction.RETRY and not when:
            raise ValidationError(
                "Only allowed for retry, or for a change of run_at or delay_seconds.", "spread_seconds"
            )
        if data["dry_run"] and "as_of" in data:
            raise ValidationError("Cannot be combined with dry_run: a preview always shows the current state.", "as_of")


def _check_changes(action: OperationAction, changes: Mapping[str, Any]) -> None:
    if action is OperationAction.CHANGE and not changes:
        raise ValidationError("Required if action is change.", "changes")
    if changes and action not in (OperationAction.CHANGE, OperationAction.RETRY):
        raise ValidationError("Only allowed if action is change or retry.", "changes")
    if action is OperationAction.CHANGE and (only := [name for name in OF_A_RETRY if name in changes]):
        raise ValidationError({"changes": {name: ["Only allowed if action is retry."] for name in only}})


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
        raise Invalid({"filter": ['Must have at least one condition; {"all": true} means every job.']})
    if conditions.pop("all", None) and payload:
        raise Invalid({"filter": {"all": ["Cannot be combined with other conditions."]}})
    return asked, payload
