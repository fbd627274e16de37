"""The schemas of API keys."""

from __future__ import annotations

from marshmallow import fields

from haulier.requests.fields import about

from .response_schemas import ResponseSchema, instant


class KeyResponse(ResponseSchema):
    """An API key, without its secret."""

    id = fields.String(required=True, metadata=about("As in `hlr_<id>_<secret>`."))
    name = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True)
    queues = fields.List(fields.String(), required=True, allow_none=True, metadata=about("Null: every queue."))
    rate_limit = fields.Float(required=True, allow_none=True, metadata=about("Requests a second; null: no limit."))
    created_at = instant("When it was made.")
    expires_at = instant("Until when it is good; null: for ever.", nullable=True)
    last_used_at = instant("To the minute; null: never.", nullable=True)
    revoked_at = instant("When it was revoked; web processes stop taking it within 5 s.", nullable=True)
    rotated_until = instant("Until when its old secret is good as well; null: it is not.", nullable=True)


class NewKeyResponse(KeyResponse):
    """An API key with a new secret."""

    key = fields.String(required=True, metadata=about("The key itself, which is shown this once and kept nowhere."))
