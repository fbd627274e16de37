"""The schemas of API keys."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from haulier.domain.api_key import MAX_DAYS, MAX_HOURS, MAX_RATE, MIN_DAYS, MIN_RATE, NAME_OF_KEY, Scope
from haulier.kinds import PayloadSchema
from haulier.kinds.sdk.payload import Pattern

from .fields import Number, about, instant
from .fields import name as name_field
from .request_schemas import page_limit
from .response_schemas import ResponseSchema

# Programs make ids of 12; rows of other lengths may have been inserted.
KEY_ID_PATTERN = r"^[a-z0-9]{1,32}$"
MAX_QUEUES = 1000
DEFAULT_HOURS = 24


class ListKeys(Schema):
    """Which keys to list."""

    limit = page_limit()
    cursor = fields.String(
        validate=Pattern(KEY_ID_PATTERN, "Must be what Next-Cursor said, unchanged."),
        metadata=about("The header Next-Cursor of the page before."),
    )


class CreateKey(PayloadSchema):
    """A key that somebody asks for; null counts as absent."""

    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True,
        validate=Pattern(NAME_OF_KEY, "Must be 1 to 100 characters on one line."),
        metadata=about("Whose it is, for people."),
    )
    scopes = fields.List(
        fields.String(validate=validate.OneOf([str(scope) for scope in Scope])),
        required=True,
        validate=validate.Length(min=1, max=len(Scope)),
        metadata=about("What it may do; `admin`: all."),
    )
    queues = fields.List(
        name_field(),
        validate=validate.Length(min=1, max=MAX_QUEUES),
        metadata=about("The queues whose jobs it may touch; absent: every one."),
    )
    rate_limit = Number(
        validate=validate.Range(MIN_RATE, MAX_RATE),
        metadata=about("How many requests a second it may make; absent: any number."),
    )
    days = Number(
        validate=validate.Range(MIN_DAYS, MAX_DAYS), metadata=about("For how long it is good; absent: for ever.")
    )


class RotateKey(PayloadSchema):
    """For how long the old secret stays good; null counts as absent."""

    class Meta:
        unknown = RAISE

    hours = Number(
        load_default=DEFAULT_HOURS,
        validate=validate.Range(0, MAX_HOURS),
        metadata=about("For how long the old secret is good."),
    )


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
