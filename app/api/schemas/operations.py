"""The schemas of operations: what is done to all jobs of a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from haulier.domain.job import MAX_DELAY_SECONDS, MAX_MAX_ATTEMPTS, MAX_PRIORITY, MIN_PRIORITY
from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus

from ...http.cursor import CURSOR_PATTERN
from ...http.json_text import as_json
from .fields import ANY_FIELDS, Cursor, Flag, Number, Several, about, instant, moment, name, time_text
from .job import JobResponse
from .request_schemas import JobConditions, page_limit
from .response_schemas import ResponseSchema

DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS = 10, 86_400
MAX_SPREAD_SECONDS = 604_800
# Of more kinds a preview names the most frequent.
MOST_KINDS = 100

# Requests --------------------------------------------------------------------------------------------------------


class OperationFilter(JobConditions):
    """Which jobs are meant. Fields whose names begin with `payload.` stand beside these: see `filtering`."""

    class Meta:
        unknown = RAISE

    # In a query all is text.
    attempts_min = fields.Integer(  # type: ignore[assignment]
        strict=True,
        validate=validate.Range(0, MAX_MAX_ATTEMPTS),
        metadata=about("Only jobs of which so many attempts were charged."),
    )
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


class OperationChanges(Schema):
    """What a change does to each job."""

    class Meta:
        unknown = RAISE

    queue = name(metadata=about("The queue that they then wait in."))
    priority = fields.Integer(
        strict=True, validate=validate.Range(MIN_PRIORITY, MAX_PRIORITY), metadata=about("Higher runs first.")
    )
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
    spread_seconds = fields.Integer(
        strict=True,
        load_default=0,
        validate=validate.Range(0, MAX_SPREAD_SECONDS),
        metadata=about("The jobs become due evenly over so long; for `retry`, and a `change` of when they are due."),
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


class ListOperations(Schema):
    """Which operations to list."""

    status = Several(
        fields.Enum(OperationStatus, by_value=fields.String),
        len(OperationStatus),
        metadata=about("Only those in this state; given more than once: in any of these."),
    )
    limit = page_limit()
    cursor = Cursor(metadata=about("The header Next-Cursor of the page before.", type="string", pattern=CURSOR_PATTERN))


# Answers ---------------------------------------------------------------------------------------------------------


def _matched() -> fields.Integer:
    return fields.Integer(required=True, metadata=about("How many jobs it is about."))


def _matched_is() -> fields.Enum[MatchedIs]:
    return fields.Enum(
        MatchedIs,
        by_value=True,
        required=True,
        metadata=about(
            "`exact`; `about`: as a worker has counted them lately; `more_than`: a look that took too long ended before"
            " it had counted all."
        ),
    )


class PreviewResponse(ResponseSchema):
    """What an operation would act on."""

    matched = _matched()
    matched_is = _matched_is()
    as_of = instant("When this was so. An operation with this `as_of`, within a day, acts on no other job.")
    by_kind = fields.Dict(
        keys=fields.String(), values=fields.Integer(), required=True, metadata=about("How many were counted of each.")
    )
    first = fields.List(fields.Nested(JobResponse), required=True, metadata=about("The newest of them, up to five."))
    open_operations = fields.List(
        fields.UUID(),
        required=True,
        metadata=about(
            "Operations that are waiting or running and may act on jobs of the same queues and kinds, newest first, up"
            " to 50. A job that one of them changes is skipped."
        ),
    )

    def printed(self, shown: Any) -> bytes:
        """Return a Preview as JSON."""
        head = as_json(
            {
                "matched": shown.matched,
                "matched_is": str(shown.matched_is),
                "as_of": time_text(shown.as_of),
                "by_kind": dict(sorted(shown.by_kind.items(), key=lambda each: -each[1])[:MOST_KINDS]),
                "open_operations": [str(each) for each in shown.open_operations],
            }
        )
        return b"".join([head[:-1].encode(), b',"first":', JobResponse(many=True).printed(shown.first), b"}"])


class OperationResponse(ResponseSchema):
    """An operation, and how far it is."""

    id = fields.UUID(required=True)
    action = fields.Enum(OperationAction, by_value=True, required=True)
    filter = fields.Raw(required=True, metadata=about("As it was given.", **ANY_FIELDS))
    changes = fields.Raw(required=True, metadata=about("As they were given; {} where there are none.", **ANY_FIELDS))
    queues = fields.List(
        fields.String(),
        required=True,
        allow_none=True,
        metadata=about("Those of the API key that started it, in which alone it acts; null: every queue."),
    )
    spread_seconds = fields.Integer(required=True)
    actor = fields.String(
        required=True, allow_none=True, metadata=about("Who started it: as in the record (`GET /audit`).")
    )
    status = fields.Enum(OperationStatus, by_value=True, required=True)
    as_of = instant("When the jobs were as they have to be.")
    matched = _matched()
    matched_is = _matched_is()
    done = fields.Integer(required=True, metadata=about("To so many jobs it was done."))
    skipped = fields.Integer(
        required=True, metadata=about("So many have changed since `as_of`, or stayed locked; they were left alone.")
    )
    failed = fields.Integer(required=True, metadata=about("Of so many the database refused it."))
    created_at = instant("When it was asked for.")
    starts_at = instant("When it may begin.")
    started_at = instant("When it began.", nullable=True)
    finished_at = instant("When it ended: done, cancelled or failed.", nullable=True)
    error = fields.String(
        required=True, allow_none=True, metadata=about("Why it has failed, or its last try; null: nothing is wrong.")
    )

    def printed(self, shown: Any) -> bytes:
        """Return an Operation, or many, as JSON."""
        return as_json([_plain(each) for each in shown] if self.many else _plain(shown)).encode()


def _plain(operation: Any) -> dict[str, Any]:
    given = {field: getattr(operation, field) for field in OperationResponse._declared_fields}
    times = ("as_of", "created_at", "starts_at", "started_at", "finished_at")
    return given | {
        "id": str(operation.id),
        **{field: given[field] and time_text(given[field]) for field in times},
    }
