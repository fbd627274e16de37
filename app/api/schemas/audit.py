"""The schemas of the record of what operators did."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from haulier.domain.act import Act

from ...http.cursor import CURSOR_PATTERN
from ...http.json_text import as_json
from .fields import ANY_FIELDS, Cursor, Several, about, instant, moment, searched, time_text
from .request_schemas import page_limit
from .response_schemas import ResponseSchema

MAX_ACTOR = MAX_TARGET = 200


class ListAudit(Schema):
    """Which entries to list."""

    job = fields.UUID(metadata=about("Only what was done to this job.", **{"x-component": "JobId"}))
    actor = searched(MAX_ACTOR, "Only what was done with the API key of this id; or by `env`, or `cli`.")
    action = Several(
        fields.String(validate=validate.OneOf([str(act) for act in Act])),
        len(Act),
        metadata=about("Only such acts; given more than once: any of these."),
    )
    target = searched(
        MAX_TARGET,
        "Only what was done to this: an API key, a group of errors, a worker or an operation by its id, a queue or a"
        " schedule by its name.",
    )
    after = moment("Only what was done later than this.")
    before = moment("Only what was done before this.")
    limit = page_limit()
    cursor = Cursor(metadata=about("The header Next-Cursor of the page before.", type="string", pattern=CURSOR_PATTERN))


class ActionResponse(ResponseSchema):
    """What somebody did to one thing."""

    id = fields.String(required=True)
    at = instant("When it was done.")
    actor = fields.String(
        required=True,
        allow_none=True,
        metadata=about(
            "The id of the API key; `env`: the key of the setting HAULIER_API_KEY; `cli`: `python -m haulier`; null: a"
            " caller who needed no key."
        ),
    )
    # Not an enum: a newer release beside this one may write others.
    action = fields.String(required=True, metadata=about(f"One of {', '.join(f'`{act}`' for act in Act)}."))
    job_id = fields.UUID(
        required=True, allow_none=True, metadata=about("The job that it was done to; it may be gone from the history.")
    )
    key_id = fields.String(required=True, allow_none=True, metadata=about("The API key that it was done to."))
    target = fields.String(
        required=True,
        allow_none=True,
        metadata=about(
            "What else it was done to: a group of errors, a worker or an operation by its id, a queue or a schedule by"
            " its name."
        ),
    )
    details = fields.Raw(
        required=True,
        allow_none=True,
        metadata=about(
            "With what changed; null where the action tells all. `changes`: each changed field of the job, `old` and"
            " `new`; of a payload of over 16 KiB `old_bytes` or `new_bytes` in its place.",
            anyOf=[ANY_FIELDS, {"type": "null"}],
        ),
    )

    def printed(self, shown: Any) -> bytes:
        """Return many entries as JSON; the details are JSON already."""
        return b"[" + b",".join(map(_piece, shown)) + b"]"


def _piece(action: Any) -> bytes:
    head = as_json(
        {
            "id": str(action.id),
            "at": time_text(action.at),
            "actor": action.actor,
            "action": action.action,
            "job_id": action.job_id and str(action.job_id),
            "key_id": action.key_id,
            "target": action.target,
        }
    )
    details: bytes = action.details_text
    return f'{head[:-1]},"details":'.encode() + details + b"}"
