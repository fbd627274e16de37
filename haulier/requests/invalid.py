"""The errors of requests, and `load`, which raises them.

The list of faults is shortened: a request of 1 MiB may have half a million of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from haulier.domain.errors import HaulierError
from haulier.domain.job import Json
from haulier.domain.text import cut
from haulier.kinds.sdk.payload import explain

# At most this many faults are shown of a request, and of each job of a batch.
MAX_FAULTS, MAX_ITEM_FAULTS = 100, 10
# Names and sentences are cut at this length, because clients can make up names of any length.
MAX_NAME, MAX_SENTENCE = 100, 300


def shown(details: Mapping[str, Json], most: int = MAX_FAULTS) -> tuple[dict[str, Json], int]:
    """Return the first messages of marshmallow, each under its field, and how many were left out.

    Returns: A message about a nested value as a whole is at the value's place, not under `_schema` there. Messages
        about the whole request are under `_schema`, and are never left out.
    """
    picked = _Picked(most)
    return picked.mapping(details), picked.left_out


class _Picked:
    def __init__(self, most: int) -> None:
        self._room = most
        self.left_out = 0

    def mapping(self, details: Mapping[Any, Json]) -> dict[str, Json]:
        kept: dict[str, Json] = {}
        for key, each in details.items():
            name = cut(str(key), MAX_NAME)
            if (self._room or key == "_schema") and name not in kept:
                kept[name] = self._value(each)
            else:
                self.left_out += _count(each)
        return kept

    def _value(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            return self._value(value["_schema"]) if set(value) == {"_schema"} else self.mapping(value)
        if isinstance(value, list):
            return [self._value(each) for each in self._some(value)]
        self._room = max(0, self._room - 1)
        return cut(str(value), MAX_SENTENCE)

    def _some(self, sentences: list[Json]) -> list[Json]:
        some = sentences[: max(1, self._room)]
        self.left_out += sum(map(_count, sentences[len(some) :]))
        return some


def _count(value: Json) -> int:
    if isinstance(value, Mapping):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1


MAX_MESSAGE = 1000


class Malformed(HaulierError):
    """The body is not JSON that this API accepts."""


class TooLarge(HaulierError):
    """The request is larger than this API accepts."""


class Invalid(HaulierError):
    """The request does not match its description.

    `details` mirrors the input, with a list of sentences at each fault; left_out counts the faults not in it.
    """

    def __init__(
        self, details: Mapping[str, Json], message: str | None = None, *, most: int = MAX_FAULTS, left_out: int = 0
    ) -> None:
        self.details, more = shown(details, most)
        self.left_out = left_out + more
        said = cut(message or f"the request is invalid: {explain(self.details)}", MAX_MESSAGE)
        super().__init__(f"{said} ({self.left_out} more errors are not shown)" if self.left_out else said)

    def shortened(self, most: int) -> Invalid:
        """Return the same error with fewer faults."""
        return Invalid(self.details, most=most, left_out=self.left_out)


def load(schema: Schema, data: Json) -> dict[str, Any]:
    """Return the data as the schema loads it. Raises: Invalid."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        raise invalid(error) from None
    return loaded


def invalid(error: ValidationError) -> Invalid:
    """Return marshmallow's error as one of ours."""
    return Invalid(messages_of(error))


def messages_of(error: ValidationError) -> dict[str, Json]:
    """Return the messages by field; those about no field are under `_schema`."""
    # Else the error keeps the whole request alive, for the reason in PayloadSchema.load.
    error.__traceback__ = None
    messages: dict[str, Json] = error.normalized_messages()  # type: ignore[no-untyped-call]
    return messages
