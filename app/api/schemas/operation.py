"""The schemas of operations: what is done to all jobs of a filter."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.domain.operation import MatchedIs, OperationAction, OperationStatus
from haulier.requests.fields import ANY_FIELDS, time_text

from ...http.json_text import as_json
from .job import JobResponse
from .response_schemas import ResponseSchema, always, instant

# Of more kinds a preview names the most frequent.
MOST_KINDS = 100


def _matched() -> fields.Integer:
    return fields.Integer(**always("Number of matching jobs."))


def _matched_is() -> fields.Enum[MatchedIs]:
    return fields.Enum(
        MatchedIs,
        by_value=True,
        **always(
            "`exact`; `about`: the last count of a worker; `more_than`: counting took too long and stopped early."
        ),
    )


class PreviewResponse(ResponseSchema):
    """What an operation would act on."""

    matched = _matched()
    matched_is = _matched_is()
    as_of = instant("Time of the preview. An operation started with this `as_of` within a day acts only on these jobs.")
    by_kind = fields.Dict(
        keys=fields.String(), values=fields.Integer(), **always("Number of matching jobs of each kind.")
    )
    first = fields.List(fields.Nested(JobResponse), **always("The newest matching jobs, at most five."))
    open_operations = fields.List(
        fields.UUID(),
        **always(
            "Waiting or running operations that may act on jobs of the same queues and kinds, newest first, at most"
            " 50. Jobs that one of them changes are skipped."
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
    filter = fields.Raw(**always("The filter as it was sent; a single value is a list of one.", **ANY_FIELDS))
    changes = fields.Raw(**always("The changes as they were sent; {} if there are none.", **ANY_FIELDS))
    queues = fields.List(
        fields.String(),
        **always(
            "The queues in which the operation acts: those of the API key that started it; null: all queues.",
            nullable=True,
        ),
    )
    spread_seconds = fields.Integer(required=True)
    actor = fields.String(**always("Who started it, as `actor` in `GET /audit`.", nullable=True))
    status = fields.Enum(OperationStatus, by_value=True, required=True)
    as_of = instant("The operation skips jobs that have changed since this time.")
    matched = _matched()
    matched_is = _matched_is()
    done = fields.Integer(**always("Number of jobs changed."))
    skipped = fields.Integer(
        **always("Number of jobs skipped: they changed after `as_of`, or were locked for too long.")
    )
    failed = fields.Integer(**always("Number of jobs that the database refused to change."))
    created_at = instant("When the operation was requested.")
    starts_at = instant("When the operation may start.")
    started_at = instant("When the operation started.", nullable=True)
    finished_at = instant("When the operation ended: done, cancelled or failed.", nullable=True)
    error = fields.String(**always("Why the operation, or its last try, failed; null: no error.", nullable=True))

    def printed(self, shown: Any) -> bytes:
        """Return an Operation, or many, as JSON."""
        return as_json([_plain(each) for each in shown] if self.many else _plain(shown)).encode()


def _plain(operation: Any) -> dict[str, Any]:
    given = {field: getattr(operation, field) for field in OperationResponse._declared_fields}
    times = ("as_of", "created_at", "starts_at", "started_at", "finished_at")
    return given | {"id": str(operation.id), **{field: given[field] and time_text(given[field]) for field in times}}
