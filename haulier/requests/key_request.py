"""What clients send to make an API key, or to give one a new secret."""

from __future__ import annotations

from datetime import timedelta

from marshmallow import RAISE, fields, validate

from haulier.domain.api_key import MAX_DAYS, MAX_HOURS, MAX_RATE, MIN_DAYS, MIN_RATE, NAME_OF_KEY, Scope
from haulier.domain.job import Json
from haulier.kinds import PayloadSchema
from haulier.kinds.sdk.payload import Pattern
from haulier.queue.access.api_keys import NewKey
from haulier.requests.fields import Number, about
from haulier.requests.fields import name as name_field
from haulier.requests.invalid import load

MAX_QUEUES = 1000
DEFAULT_HOURS = 24


class CreateKey(PayloadSchema):
    """A new API key; null counts as absent."""

    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True,
        validate=Pattern(NAME_OF_KEY, "Must be 1 to 100 characters on one line."),
        metadata=about("A name that says who uses the key."),
    )
    scopes = fields.List(
        fields.String(validate=validate.OneOf([str(scope) for scope in Scope])),
        required=True,
        validate=validate.Length(min=1, max=len(Scope)),
        metadata=about("What the key may do. `admin` includes all scopes."),
    )
    queues = fields.List(
        name_field(),
        validate=validate.Length(min=1, max=MAX_QUEUES),
        metadata=about("Queues that the key may use. Absent: all queues."),
    )
    rate_limit = Number(
        validate=validate.Range(MIN_RATE, MAX_RATE),
        metadata=about("Requests per second. Absent: no limit."),
    )
    days = Number(
        validate=validate.Range(MIN_DAYS, MAX_DAYS), metadata=about("Days until the key expires. Absent: never.")
    )


class RotateKey(PayloadSchema):
    """For how long the old secret stays good; null counts as absent."""

    class Meta:
        unknown = RAISE

    hours = Number(
        load_default=DEFAULT_HOURS,
        validate=validate.Range(0, MAX_HOURS),
        metadata=about("Hours for which the old secret stays valid."),
    )


_CREATE, _ROTATE = CreateKey(), RotateKey()


def read_key(data: Json) -> NewKey:
    """Return the API key of a request. Raises: Invalid."""
    asked = load(_CREATE, data)
    days = asked.pop("days", None)
    scopes = [Scope(scope) for scope in dict.fromkeys(asked.pop("scopes"))]
    queues = asked.pop("queues", None)
    return NewKey(
        **asked,
        scopes=scopes,
        queues=None if queues is None else set(queues),
        lifetime=None if days is None else timedelta(days=days),
    )


def read_overlap(data: Json) -> timedelta:
    """Return for how long the old secret is good after a rotation. Raises: Invalid."""
    return timedelta(hours=load(_ROTATE, data)["hours"])
