"""The schemas of the record of what operators did."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.domain.act import Act
from haulier.requests.fields import ANY_FIELDS, time_text

from ...http.json_text import as_json
from .response_schemas import ResponseSchema, always, instant


class ActionResponse(ResponseSchema):
    """One action on one target."""

    id = fields.String(required=True)
    at = instant("When the action happened.")
    actor = fields.String(
        **always(
            "The id of an API key; `env`: the key in the setting HAULIER_API_KEY; `cli`: `python -m haulier`; null:"
            " a caller without a key.",
            nullable=True,
        )
    )
    # Not an enum: a newer release beside this one may write others.
    action = fields.String(**always(f"One of {', '.join(f'`{act}`' for act in Act)}."))
    job_id = fields.UUID(**always("The job acted on. It may no longer be kept.", nullable=True))
    key_id = fields.String(**always("The API key acted on.", nullable=True))
    target = fields.String(
        **always(
            "Any other target: the id of an error group, worker or operation, or the name of a queue or schedule.",
            nullable=True,
        )
    )
    details = fields.Raw(
        **always(
            "Details of the action; null: none. `changes` has `old` and `new` of each changed field of the job. A"
            " payload over 16 KiB has its length as `old_bytes` or `new_bytes`, and only fields that differ.",
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
