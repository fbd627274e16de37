"""The schemas of API keys."""

from __future__ import annotations

from marshmallow import fields

from .response_schemas import ResponseSchema, always, instant


class KeyResponse(ResponseSchema):
    """An API key, without its secret."""

    id = fields.String(**always("The `<id>` in `hlr_<id>_<secret>`."))
    name = fields.String(required=True)
    scopes = fields.List(fields.String(), required=True)
    queues = fields.List(fields.String(), **always("The queues that the key may use; null: all queues.", nullable=True))
    rate_limit = fields.Float(**always("Requests per second; null: no limit.", nullable=True))
    created_at = instant("When it was created.")
    expires_at = instant("When the key expires; null: never.", nullable=True)
    last_used_at = instant("When the key was last used, to the minute; null: never.", nullable=True)
    revoked_at = instant(
        "When the key was revoked; web processes refuse it within 5 s. Null: it was not.", nullable=True
    )
    rotated_until = instant("Until when the old secret is valid, too; null: it is not.", nullable=True)
    moved_to = fields.Integer(**always("Cell that takes the key's new jobs; null: this one.", nullable=True))


class NewKeyResponse(KeyResponse):
    """An API key with a new secret."""

    key = fields.String(**always("The key itself. It is shown only this once and is not stored."))
