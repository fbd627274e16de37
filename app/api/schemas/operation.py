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
    return fields.Integer(**always("How many jobs it is about."))


def _matched_is() -> fields.Enum[MatchedIs]:
    return fields.Enum(
        MatchedIs,
        by_value=True,
        **always(
            "`exact`; `about`: as a worker has counted them lately; `more_than`: a look that took too long ended before"
            " it had counted all."
        ),
    )


class PreviewResponse(ResponseSchema):
    """What an operation would act on."""

    matched = _matched()
    matched_is = _matched_is()
    as_of = instant("When this was so. An operation with this `as_of`, within a day, acts on no other job.")
    by_kind = fields.Dict(keys=fields.String(), values=fields.Integer(), **always("How many were counted of each."))
    first = fields.List(fields.Nested(JobResponse), **always("The newest of them, up to five."))
    open_operations = fields.List(
        fields.UUID(),
        **always(
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
    filter = fields.Raw(**always("As it was given.", **ANY_FIELDS))
    changes = fields.Raw(**always("As they were given; {} where there are none.", **ANY_FIELDS))
    queues = fields.List(
        fields.String(),
        **always("Those of the API key that started it, in which alone it acts; null: every queue.", nullable=True),
    )
    spread_seconds = fields.Integer(required=True)
    actor = fields.String(**always("Who started it: as in the record (`GET /audit`).", nullable=True))
    status = fields.Enum(OperationStatus, by_value=True, required=True)
    as_of = instant("When the jobs were as they have to be.")
    matched = _matched()
    matched_is = _matched_is()
    done = fields.Integer(**always("How many jobs it was done to."))
    skipped = fields.Integer(**always("How many were skipped: changed since `as_of`, or locked for too long."))
    failed = fields.Integer(**always("How many the database refused to change."))
    created_at = instant("When it was asked for.")
    starts_at = instant("When it may begin.")
    started_at = instant("When it began.", nullable=True)
    finished_at = instant("When it ended: done, cancelled or failed.", nullable=True)
    error = fields.String(**always("Why it has failed, or its last try; null: nothing is wrong.", nullable=True))

    def printed(self, shown: Any) -> bytes:
        """Return an Operation, or many, as JSON."""
        return as_json([_plain(each) for each in shown] if self.many else _plain(shown)).encode()


def _plain(operation: Any) -> dict[str, Any]:
    given = {field: getattr(operation, field) for field in OperationResponse._declared_fields}
    times = ("as_of", "created_at", "starts_at", "started_at", "finished_at")
    return given | {"id": str(operation.id), **{field: given[field] and time_text(given[field]) for field in times}}
