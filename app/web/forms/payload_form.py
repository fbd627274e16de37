"""The fields of a kind's payload as a form: from its JSON Schema to fields, and from typed texts to a payload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haulier.domain.job import Json
from haulier.requests.invalid import Invalid

from .job_form import json_of

# The prefix of payload fields in the form.
PREFIX = "p."
MOST_FIELDS = 40
# A text that may be longer than this gets several lines.
LINE = 300


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the payload. `look` is line, lines, number, choice or json; only a choice has `choices`."""

    name: str
    look: str
    is_required: bool
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()

    @property
    def key(self) -> str:
        """Return its name in the form."""
        return f"{PREFIX}{self.name}"

    @property
    def label(self) -> str:
        """Return its name, with an asterisk if it is required."""
        return f"{self.name} *" if self.is_required else self.name


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """Return the fields; none if the schema has no properties or more than MOST_FIELDS."""
    properties = schema.get("properties") or {}
    if len(properties) > MOST_FIELDS:
        return []
    required = schema.get("required") or ()
    return [_field(name, each, name in required) for name, each in properties.items()]


def _field(name: str, schema: Mapping[str, Any], is_required: bool) -> Field:
    hint = str(schema.get("description", ""))
    types = schema.get("type")
    kinds = {each for each in (types if isinstance(types, list) else [types]) if each not in ("null", None)}
    values = schema.get("enum")
    if values and all(isinstance(each, str) for each in values if each is not None):
        choices = [("", "–"), *((each, each) for each in values if each)]
        return Field(name, "choice", is_required, hint, choices)
    if kinds == {"boolean"}:
        return Field(name, "choice", is_required, hint, [("", "–"), ("true", "true"), ("false", "false")])
    if kinds in ({"integer"}, {"number"}):
        return Field(name, "number", is_required, hint)
    if kinds == {"string"}:
        return Field(name, "line" if _is_line(schema) else "lines", is_required, hint)
    return Field(name, "json", is_required, f"{hint} As JSON.".strip())


def _is_line(schema: Mapping[str, Any]) -> bool:
    if schema.get("format") is not None or (schema.get("maxLength") or LINE + 1) <= LINE:
        return True
    try:
        return re.search(str(schema.get("pattern", "")), "a\nb") is None
    except re.error:
        # A dialect that Python does not know.
        return False


def payload_of(fields: Sequence[Field], values: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Json]:
    """Return the typed payload, without empty fields unless they are required.

    Raises: Invalid.
    """
    payload: dict[str, Json] = {}
    for each in fields:
        text = values.get(each.key, "")
        if text or (each.is_required and each.look in ("line", "lines")):
            payload[each.name] = _value(each, text, schema["properties"][each.name])
    return payload


def _value(each: Field, text: str, schema: Mapping[str, Any]) -> Json:
    if each.look == "number":
        return _number(text)
    if each.look == "json":
        try:
            return json_of(text, each.name)
        except Invalid as error:
            raise Invalid({"payload": error.details}) from error
    if each.look == "choice" and "enum" not in schema:
        return text == "true"
    return text


def _number(text: str) -> Json:
    if re.fullmatch(r"-?[0-9]+\.[0-9]{1,15}", text) and len(text) < 30:
        return float(text)
    return int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else text


def values_of_payload(fields: Sequence[Field], payload: Mapping[str, Json]) -> dict[str, str]:
    """Return the texts of the form fields for this payload."""
    return {each.key: _text(each, payload[each.name]) for each in fields if payload.get(each.name) is not None}


def _text(each: Field, value: Json) -> str:
    is_plain = isinstance(value, str) and each.look != "json"
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False, indent=2)


def fits(fields: Sequence[Field], payload: Mapping[str, Json]) -> bool:
    """Return whether the form can show all of the payload."""
    return payload.keys() <= {each.name for each in fields}
