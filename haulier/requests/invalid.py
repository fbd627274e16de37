"""The errors of requests, and `load`, which raises them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from haulier.domain.errors import HaulierError
from haulier.domain.job import Json
from haulier.domain.text import cut
from haulier.kinds.sdk.payload import explain
from haulier.requests.fault_limit import MAX_FAULTS, shown

MAX_MESSAGE = 1000


class Malformed(HaulierError):
    """The body is not JSON that this API takes."""


class TooLarge(HaulierError):
    """The request is longer than this API takes."""


class Invalid(HaulierError):
    """The request does not match its description.

    `details` mirrors the input, with a list of sentences at each fault; left_out counts the faults not in it.
    """

    def __init__(
        self, details: Mapping[str, Json], message: str | None = None, *, most: int = MAX_FAULTS, left_out: int = 0
    ) -> None:
        self.details, more = shown(details, most)
        self.left_out = left_out + more
        said = cut(message or f"the request does not fit: {explain(self.details)}", MAX_MESSAGE)
        super().__init__(f"{said} ({self.left_out} more faults are not shown)" if self.left_out else said)

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
