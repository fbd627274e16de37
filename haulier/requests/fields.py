"""Fields for what clients send. Those of marshmallow accept too much, and print times in another form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from marshmallow import ValidationError, fields, validate

from haulier.domain.fingerprint import read_id
from haulier.domain.job import BAD_NAME, BAD_TAG, MAX_TAGS, NAME_PATTERN, TAG_PATTERN, Json
from haulier.kinds.sdk.payload import TEXT, Field, List, Pattern
from haulier.requests.cursor import CURSOR_PATTERN, read_cursor

IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,255}$"
# The year 9999 is refused: with an offset the time could lie beyond the last that Python can hold.
TIME_PATTERN = (
    r"^(?!9999)[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
    r"[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)

# An object with any fields; without the second keyword openapi-typescript takes it for one that has none.
ANY_FIELDS: dict[str, Json] = {"type": "object", "additionalProperties": True}

BAD_IDEMPOTENCY_KEY = "Must be 1 to 255 visible ASCII characters."
DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class Time(Field[datetime]):
    """A time: read as RFC 3339 with an offset, printed in UTC ending in Z."""

    default_error_messages = {
        "invalid": "Must be an RFC 3339 time with an offset, such as 2026-11-24T09:30:00Z.",
        "query": "Must be an RFC 3339 time with an offset, such as 2026-11-24T09:30:00Z; in a URL, write + as %2B.",
    }

    def _serialize(self, value: datetime | None, attr: str | None, obj: object, **_: object) -> str | None:
        return None if value is None else time_text(value)

    def _deserialize(self, value: object, attr: str | None, data: object, **_: object) -> datetime:
        if not isinstance(value, str) or not re.fullmatch(TIME_PATTERN, value):
            raise self.make_error("query" if isinstance(value, str) and " " in value else "invalid")
        # Python has no leap seconds: a leap second counts as the next second.
        leap = value[17:19] == "60"
        try:
            given = datetime.fromisoformat((value[:17] + "59" + value[19:] if leap else value).upper())
        except ValueError:
            raise self.make_error("invalid") from None
        return given.astimezone(UTC) + timedelta(seconds=leap)


def time_text(instant: datetime) -> str:
    """Return the instant as responses print it: RFC 3339, UTC, ending in Z."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}Z"


class Number(fields.Float):
    """A JSON number; not "5" and not true."""

    def _validated(self, value: Any) -> float:
        if not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Flag(fields.Boolean):
    """JSON's true or false; not 1 and not "yes"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class IdempotencyKey(fields.String):
    """An idempotency key from a header, without the quotes that the IETF draft puts around it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, attr, data, **kwargs)
        return key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key


class Cursor(Field[tuple[datetime, UUID]]):
    """Where a page of a list ended; loads as (created_at, id) of its last job."""

    default_error_messages = {"invalid": "Must be the value of Next-Cursor, unchanged."}

    def _deserialize(self, value: str, attr: str | None, data: object, **_: object) -> tuple[datetime, UUID]:
        try:
            return read_cursor(value)
        except ValueError:
            raise self.make_error("invalid") from None


class ErrorId(Field[int]):
    """The id of an error group, 16 hex digits; loads as a number."""

    default_error_messages = {"invalid": "Must be the id of an error group: 16 hex digits."}

    def _deserialize(self, value: str, attr: str | None, data: object, **_: object) -> int:
        try:
            return read_id(value)
        except ValueError:
            raise self.make_error("invalid") from None


class Several(List[Any]):
    """A query parameter that may be repeated; loads as a list of values, without duplicates."""

    def __init__(self, inner: fields.Field[Any], most: int, **kwargs: Any) -> None:
        # For the published schema; `_deserialize` counts before duplicates are removed.
        super().__init__(inner, validate=validate.Length(max=most), **kwargs)
        self.most = most

    def _deserialize(self, value: list[str], attr: str | None, data: object, **_: object) -> list[Any]:
        if len(value) > self.most:
            raise ValidationError(f"Given more than {self.most} times.")
        # A fault of one value is reported as a fault of the parameter, as if it were given once.
        return list(dict.fromkeys(self.inner.deserialize(each, attr) for each in value))


class Tags(List[Any]):
    """The tags of a job; duplicates are refused."""

    def __init__(self, **kwargs: Any) -> None:
        # For the published schema; `_deserialize` counts before it checks each tag.
        super().__init__(tag(), validate=validate.Length(max=MAX_TAGS), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > MAX_TAGS:
            raise ValidationError(f"Must have at most {MAX_TAGS} tags.")
        tags = super()._deserialize(value, attr, data, **kwargs)
        again = {place: ["Duplicate tag."] for place, each in enumerate(tags) if each in tags[:place]}
        if again:
            raise ValidationError(again)
        return tags


class QueryInteger(Field[int]):
    """A whole number in a query; if `clamped`, a number outside the range counts as the nearest one in it."""

    default_error_messages = {"invalid": "Must be a whole number.", "range": "Must be from {least} to {most}."}

    def __init__(self, least: int, most: int, description: str, *, clamped: bool = False, **kwargs: Any) -> None:
        self.least, self.most, self.clamped = least, most, clamped
        bounds = {} if clamped else {"minimum": least, "maximum": most}
        super().__init__(metadata=about(description, type="integer", **bounds), **kwargs)

    def in_json(self) -> fields.Integer:
        """Return the field for a JSON body, in which numbers are not text."""
        return whole(self.least, self.most, self.metadata["description"])

    def _deserialize(self, value: str, attr: str | None, data: object, **_: object) -> int:
        if not re.fullmatch(r"-?[0-9]+", value):
            raise self.make_error("invalid")
        # The length first: Python refuses to read numbers of more than 4,300 digits.
        digits = value.lstrip("-").lstrip("0")
        number = int(digits or "0") if len(digits) <= 18 else 10**18
        number = -number if value.startswith("-") else number
        if not self.clamped and not self.least <= number <= self.most:
            raise self.make_error("range", least=self.least, most=self.most)
        return min(max(number, self.least), self.most)


def whole(least: int, most: int, description: str, **options: Any) -> fields.Integer:
    """Return a field for a whole number."""
    return fields.Integer(strict=True, validate=validate.Range(least, most), metadata=about(description), **options)


def name(**kwargs: Any) -> fields.String:
    """Return a field for the name of a kind or a queue."""
    return fields.String(validate=Pattern(NAME_PATTERN, BAD_NAME), **kwargs)


def tag() -> fields.String:
    """Return a field for a tag."""
    return fields.String(validate=Pattern(TAG_PATTERN, BAD_TAG))


def short_text(most: int, description: str, **options: Any) -> fields.String:
    """Return a field for a text of at most `most` characters."""
    fits = Pattern(TEXT, f"Must be a string of at most {most} characters, without NUL.")
    return fields.String(validate=[validate.Length(min=1, max=most), fits], metadata=about(description), **options)


def moment(description: str, **options: Any) -> Time:
    """Return a field of a request for a time."""
    described = about(description, type="string", format="date-time", pattern=TIME_PATTERN)
    return Time(metadata=described, **options)


def about(description: str, **more: Json) -> dict[str, Json]:
    """Return metadata for the OpenAPI document."""
    return {"description": description, **more}


def page_limit() -> QueryInteger:
    """Return the field for the length of a page."""
    return QueryInteger(
        1,
        MAX_LIMIT,
        f"Page size, 1 to {MAX_LIMIT}. A value outside this range counts as the nearest limit.",
        clamped=True,
        load_default=DEFAULT_LIMIT,
    )


def page_cursor(more: str = "") -> Cursor:
    """Return the field for the place where a page begins, in a list by time."""
    described = about(
        f"The value of the header Next-Cursor of the previous page.{more}", type="string", pattern=CURSOR_PATTERN
    )
    return Cursor(metadata=described)


def name_cursor(pattern: str) -> fields.String:
    """Return the field for the place where a page begins, in a list by names or ids of this pattern."""
    return fields.String(
        validate=Pattern(pattern, "Must be the value of Next-Cursor, unchanged."),
        metadata=about("The value of the header Next-Cursor of the previous page."),
    )


UUID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def read_uuid(text: str) -> UUID | None:
    """Return the UUID in a text, in lower or upper case; None if the text has any other form.

    UUID() also accepts braces, `urn:uuid:`, dashes anywhere and digits of any script; no path of this service has them.
    """
    return UUID(text) if re.fullmatch(UUID_PATTERN, text.lower()) else None
