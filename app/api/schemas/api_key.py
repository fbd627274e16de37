"""The schemas of API keys."""

from __future__ import annotations

from marshmallow import fields

from .response_schemas import ResponseSchema, always, instant


class KeyResponse(ResponseSchema):
    """An API key, without its secret."""

    id = fields.String(**always("As in `hlr_<id>_<secret>`."))
    name = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True)
    queues = fields.List(fields.String(), **always("Null: every queue.", nullable=True))
    rate_limit = fields.Float(**always("Requests a second; null: no limit.", nullable=True))
    created_at = instant("When it was made.")
    expires_at = instant("Until when it is good; null: for ever.", nullable=True)
    last_used_at = instant("To the minute; null: never.", nullable=True)
    revoked_at = instant("When it was revoked; web processes stop taking it within 5 s.", nullable=True)
    rotated_until = instant("Until when its old secret is good as well; null: it is not.", nullable=True)


class NewKeyResponse(KeyResponse):
    """An API key with a new secret."""

    key = fields.String(**always("The key itself, which is shown this once and kept nowhere."))
