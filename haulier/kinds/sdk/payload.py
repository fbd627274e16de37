"""The base class of the kinds' payload schemas, some fields for them, and the checks that every payload has to pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from marshmallow import RAISE, Schema, ValidationError, fields, missing, pre_load, validate
from marshmallow.decorators import POST_LOAD, PRE_LOAD, VALIDATES, VALIDATES_SCHEMA

from haulier.domain.job import Json

if TYPE_CHECKING:
    from marshmallow.fields import Field as Field
    from marshmallow.fields import List as List
    from marshmallow.types import UnknownOption
else:
    # marshmallow 3 takes no type of a field's values, as in Field[int].

    class Field(fields.Field):
        """marshmallow's, whatever its version."""

        def __class_getitem__(cls, _: object) -> type:
            return cls

    class List(fields.List):
        """marshmallow's, whatever its version."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


# Text that Postgres can store; a pattern in the published schema, so that clients and their generators know.
TEXT = r"^[^\x00]*$"
# One line of a header or a subject: no control character, and none of Unicode's own line breaks.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
HTTP_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f-\xa0\\/?#]+([/?#][^\x00-\x20\x7f-\xa0\\]*)?$"
MAX_URL = 2048
# At most this many unknown fields are named in an error; a payload may hold nothing else.
MAX_UNKNOWN = 100

# Whether a schema reports every fault of a payload, or stops at the first one.
_explains: ContextVar[bool] = ContextVar("explains", default=True)


@contextmanager
def unexplained() -> Iterator[None]:
    """Have schemas report only the first fault, which takes a tenth of the time."""
    token = _explains.set(False)
    try:
        yield
    finally:
        _explains.reset(token)


class PayloadSchema(Schema):
    """The base of a kind's payload schema, for marshmallow's fields.

    It refuses unknown fields, unless its Meta says `unknown = EXCLUDE`, and reads null in an optional field as absent.
    """

    # Each payload is checked when it arrives and again when its job runs, and most are valid. So if a schema checks
    # each field by itself, `load` calls the fields directly. Marshmallow's own way takes two to three times as long;
    # only an invalid payload goes through it, to list all of its errors.

    class Meta:
        """The option is set here, and not only when loading, so that the published schema has it too."""

        unknown = RAISE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Let the published schema say that an optional field may be null."""
        if not field_obj.required:
            field_obj.allow_none = True

    def _init_fields(self) -> None:
        super()._init_fields()
        self._straight = _straight(self)

    def load(
        self, data: Any, *, many: bool | None = None, partial: Any = None, unknown: UnknownOption | None = None
    ) -> Any:
        """Return the data, checked and with its defaults. Raises: ValidationError."""
        if self._straight is not None and type(data) is dict and many is None and partial is None and unknown is None:
            try:
                return self._load_straight(data, self._straight)
            except ValidationError:
                if not _explains.get():
                    raise
        refuses = (unknown or self.unknown) == RAISE
        some, more = self._with_few_unknown(data) if refuses else (data, 0)
        try:
            return super().load(some, many=many, partial=partial, unknown=unknown)
        except ValidationError as error:
            # marshmallow keeps the error in a variable of a frame of the traceback: until the next round of the garbage
            # collector, that cycle would keep all frames below it, and with them the whole request.
            error.__traceback__ = None
            if not more:
                raise
            messages = {**error.normalized_messages(), "_schema": [f"{more} more unknown fields."]}  # type: ignore[no-untyped-call]
        raise ValidationError(messages)

    def _with_few_unknown(self, data: Any) -> tuple[Any, int]:
        """Return the data with at most MAX_UNKNOWN unknown fields, and how many were dropped: each makes a message."""
        if not isinstance(data, Mapping) or len(data) <= MAX_UNKNOWN:
            return data, 0
        known = {name if field.data_key is None else field.data_key for name, field in self.load_fields.items()}
        unknown = [name for name in data if name not in known]
        more = unknown[MAX_UNKNOWN:]
        dropped = set(more)
        return {name: value for name, value in data.items() if name not in dropped}, len(more)

    def _load_straight(self, data: dict[str, Json], straight: _Straight) -> dict[str, Any]:
        if None in data.values():
            data = self.drop_nulls(data)
        if not data.keys() <= straight.defaults.keys():
            raise ValidationError("Unknown field.")
        if not data.keys() >= straight.required:
            raise ValidationError("Missing data for required field.")
        # Copied, so that the fields have the order in which marshmallow would give them.
        loaded = straight.defaults.copy()
        for name, make in straight.made_defaults:
            loaded[name] = missing if name in data else make()
        for name, value in data.items():
            loaded[name] = straight.deserializers[name](value, name, data)
        return {name: value for name, value in loaded.items() if value is not missing}

    @pre_load
    def drop_nulls(self, data: Json, **_: object) -> Json:
        """Take an optional field that is null as absent, so that its default holds."""
        if not isinstance(data, Mapping):
            return data
        optional = {name for name, known in self.fields.items() if not known.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}


class _Straight(NamedTuple):
    """What `load` needs to know of a schema that checks each field by itself. By the names of the fields."""

    deserializers: dict[str, Callable[..., Any]]
    defaults: dict[str, Any]
    made_defaults: list[tuple[str, Callable[[], Any]]]
    required: set[str]


def _straight(schema: PayloadSchema) -> _Straight | None:
    """Return the fields of a schema that checks each field by itself; None if it does anything else."""
    renamed = [each for each in schema.load_fields.values() if each.data_key is not None or each.attribute is not None]
    is_plain = (
        _hooks(schema) == ["drop_nulls"]
        and type(schema).drop_nulls is PayloadSchema.drop_nulls
        and schema.unknown == RAISE
        and schema.dict_class is dict
        and not renamed
        and not schema.many
        and schema.partial is None
    )
    if not is_plain:
        return None
    known = schema.load_fields
    return _Straight(
        {name: _deserializer(field) for name, field in known.items()},
        {name: missing if callable(field.load_default) else field.load_default for name, field in known.items()},
        [(name, field.load_default) for name, field in known.items() if callable(field.load_default)],
        {name for name, field in known.items() if field.required},
    )


def _hooks(schema: PayloadSchema) -> list[str]:
    """Return the names of the methods that loading calls, besides those of the fields."""
    names: list[str] = []
    # The oldest marshmallow has (tag, whether for many) as keys, and only names.
    hooks: Mapping[Any, list[Any]] = schema._hooks
    for tag, entries in hooks.items():
        if (tag if isinstance(tag, str) else tag[0]) in (PRE_LOAD, VALIDATES, VALIDATES_SCHEMA, POST_LOAD):
            names += [each if isinstance(each, str) else each[0] for each in entries]
    return names


# What marshmallow's `deserialize` calls besides, and itself: a field may have its own.
_CALLED = ("deserialize", "_validate_missing", "_validate", "_validate_all")


def _deserializer(field: fields.Field[Any]) -> Callable[..., Any]:
    """Return a function that does what the field's `deserialize` does, in half the time.

    marshmallow makes an object of all validators for each value, to collect their messages. Here the first that refuses
    a value is enough.
    """
    own = [name for name in _CALLED if getattr(type(field), name) is not getattr(fields.Field, name)]
    # marshmallow 4.0 has no such functions of a field.
    if own or getattr(field, "pre_load", None) or getattr(field, "post_load", None):
        return field.deserialize
    read, validators = field._deserialize, field.validators

    def deserialize(value: Any, name: str, data: Mapping[str, Any]) -> Any:
        if value is None:
            return field.deserialize(value, name, data)
        output = read(value, name, data)
        for check in validators:
            check(output)
        return output

    return deserialize


class Pattern(validate.Regexp):
    """A pattern that a value must match as a whole: a bare `$` would let a trailing line feed through."""

    def __init__(self, pattern: str, message: str) -> None:
        super().__init__(pattern, error=message)

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises: ValidationError."""
        if not self.regex.fullmatch(value):
            raise ValidationError(self.error)
        return value


class Whole(fields.Integer):
    """A whole number; 5.0 is one, as in JSON Schema and as some languages write it; text and booleans are not."""

    def __init__(self, least: int, most: int, description: str, **options: Any) -> None:
        about = {"description": description, **({"examples": [options.pop("example")]} if "example" in options else {})}
        super().__init__(strict=True, validate=validate.Range(least, most), metadata=about, **options)

    def _validated(self, value: Any) -> int:
        return super()._validated(int(value) if isinstance(value, float) and value.is_integer() else value)


def free_text(description: str, *, required: bool = False, least: int = 0, example: str | None = None) -> fields.String:
    """Return a field for text of any length that Postgres can store."""
    about = {"description": description, **({"examples": [example]} if example else {})}
    checks: list[Any] = [Pattern(TEXT, "Must not contain a NUL character.")]
    if least:
        checks.append(validate.Length(min=least))
    return fields.String(required=required, validate=checks, metadata=about)


def http_url(description: str, *, required: bool = False, example: str | None = None) -> fields.String:
    """Return a field for an http(s) URL; whether a job may reach its address is decided when the job runs."""
    return fields.String(
        required=required,
        validate=[
            Pattern(HTTP_URL, "Must be an http:// or https:// URL without spaces."),
            validate.Length(max=MAX_URL),
        ],
        metadata={"description": description, **({"examples": [example]} if example else {})},
    )


# Made once: json.dumps would make an encoder for each call that has options.
_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def check_storable(payload: Json) -> None:
    """Return if the payload can be written as JSON in UTF-8; one that came by a plain INSERT may not be.

    Raises: ValidationError, naming the field.
    """
    if _is_plain(payload):
        return
    try:
        written = _write(payload)
        written.encode()
    except RecursionError:
        raise ValidationError("Is nested too deeply.") from None
    except UnicodeEncodeError:
        raise ValidationError({_where(payload): ["Must not contain half of a surrogate pair."]}) from None
    except (TypeError, ValueError):
        raise ValidationError("Must be JSON.") from None
    if r"\u0000" in written and (field := _where(payload)) is not None:
        raise ValidationError({field: ["Must not contain a NUL character."]})


def _is_plain(payload: Json) -> bool:
    """Tell, in a tenth of the time, whether the payload surely can be written, as most can: a few short values."""
    if not isinstance(payload, dict):
        return False
    for item in payload.items():
        for part in item:
            if isinstance(part, str):
                if not part.isascii() or "\0" in part:
                    return False
            elif part is not None and not (isinstance(part, int) and -(2**63) <= part < 2**63):
                return False
    return True


def explain(messages: Json) -> str:
    """Return marshmallow's messages as one line: `to: Not a valid string. width: Must be …`."""
    return " ".join(f"{path}: {message}" if path else message for path, message in faults(messages))


def faults(messages: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each of marshmallow's messages with the path to the field that it is about, below this one."""
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            name = "" if key == "_schema" else str(key)
            yield from faults(value, f"{path}.{name}" if path and name else path or name)
    elif isinstance(messages, list):
        for item in messages:
            yield from faults(item, path)
    else:
        yield path, str(messages)


def unknown_fields(schema: Schema, messages: Json) -> list[str]:
    """Return the paths of the fields that marshmallow's messages call unknown."""
    # A team may have words of its own.
    texts = (Schema._default_error_messages["unknown"], schema.error_messages["unknown"])
    return [path for path, message in faults(messages) if message in texts]


def _where(payload: Json) -> str | None:
    """Return the first field with text that cannot be stored, or None if there is none."""
    if not isinstance(payload, Mapping):
        return "_schema" if _bad(payload) else None
    names = (str(key) for key, value in payload.items() if _bad((key, value)))
    return next((name.encode("ascii", "replace").decode() for name in names), None)


def _bad(value: Json) -> bool:
    if isinstance(value, str):
        return re.search("[\x00\ud800-\udfff]", value) is not None
    if isinstance(value, Mapping):
        return any(_bad(item) for item in value.items())
    return isinstance(value, list | tuple) and any(_bad(item) for item in value)
