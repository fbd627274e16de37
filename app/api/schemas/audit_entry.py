"""The schemas of the record of what operators did."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.domain.act import Act
from haulier.requests.fields import ANY_FIELDS, time_text

from ...http.json_text import as_json
from .response_schemas import ResponseSchema, always, instant


class ActionResponse(ResponseSchema):
    """What somebody did to one thing."""

    id = fields.String(required=True)
    at = instant("When it was done.")
    actor = fields.String(
        **always(
            "The id of the API key; `env`: the key of the setting HAULIER_API_KEY; `cli`: `python -m haulier`; null: a"
            " caller who needed no key.",
            nullable=True,
        )
    )
    # Not an enum: a newer release beside this one may write others.
    action = fields.String(**always(f"One of {', '.join(f'`{act}`' for act in Act)}."))
    job_id = fields.UUID(**always("The job that it was done to; it may be gone from the history.", nullable=True))
    key_id = fields.String(**always("The API key that it was done to.", nullable=True))
    target = fields.String(
        **always(
            "What else it was done to: a group of errors, a worker or an operation by its id, a queue or a schedule by"
            " its name.",
            nullable=True,
        )
    )
    details = fields.Raw(
        **always(
            "With what changed; null if the action says all. `changes`: each changed field of the job, `old` and"
            " `new`; of a payload of over 16 KiB `old_bytes` or `new_bytes` in its place.",
            nullable=True,
            anyOf=[ANY_FIELDS, {"type": "null"}],
        )
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
