"""What a test names, a kind, a payload and settings, taken as the API and the worker would take it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from marshmallow import ValidationError

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.domain.job import Json
from haulier.kinds import Handler, Kind
from haulier.kinds.sdk.payload import explain
from haulier.kinds.sdk.registry import known

# A handler that connects to it fails by that name, and never reaches the database of whoever runs the test.
NOWHERE = "postgresql://not-set.invalid/"


class UnknownKind(HaulierError):
    """No registered kind has this name or this handler."""


class PayloadRefused(HaulierError):
    """The payload does not match the schema: the API would answer 422. The message names the field."""


def config_of(settings: Mapping[str, str] | None, **suitable: str) -> Config:
    """Return these settings, named as in the environment, over those that suit; the environment itself is not read."""
    return Config.from_env({"DATABASE_URL": NOWHERE, **suitable, **(settings or {})})


def find_kind(kind: str | Handler, kinds: Mapping[str, Kind]) -> Kind:
    """Return the kind of this name, or the one whose handler this is. Raises: UnknownKind."""
    if isinstance(kind, str):
        if kind not in kinds:
            raise UnknownKind(
                f"there is no kind {kind!r}: import the module that defines it, or name that in"
                f" settings={{'HAULIER_KINDS': …}}; known kinds are {', '.join(kinds)}"
            )
        return kinds[kind]
    names = [name for name, each in known().items() if each.run is kind]
    if len(names) != 1:
        what = (
            f"is the handler of several kinds: pass one of the names {' or '.join(names)}"
            if names
            else ("is not decorated with @kind")
        )
        raise UnknownKind(f"{getattr(kind, '__name__', kind)} {what}")
    return kinds[names[0]]


def as_stored(kind: Kind, payload: Mapping[str, Json] | None) -> dict[str, Json]:
    """Return the payload as it comes out of the database: of tuples lists, of all keys text. Raises: PayloadRefused."""
    given = dict(payload or {})
    stored = {}
    for name, value in given.items():
        try:
            stored.update(json.loads(json.dumps({name: value}, allow_nan=False)))
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadRefused(f"the payload is invalid for {kind.name}: {name}: {error}") from error
    try:
        kind.load(stored)
    except ValidationError as error:
        raise PayloadRefused(f"the payload is invalid for {kind.name}: {explain(error.messages)}") from error
    return stored
