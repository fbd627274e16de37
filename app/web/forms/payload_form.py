"""The fields of a kind's payload as a form: from its JSON Schema to fields, and from typed texts to a payload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haulier.domain.job import Json
from haulier.kinds.sdk.payload import explain
from haulier.requests.invalid import Invalid, TooLarge

from ...http.payload_schema import payload_schema
from ...http.request_errors import Forbidden
from ...http.service import service
from .job_form import faults_of, json_of

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


def fields_of_kind(kind_name: str) -> tuple[list[Field], Mapping[str, Any]]:
    """Return the fields of a kind's payload and its schema; no fields if the kind is not known here."""
    kind = service().kinds.get(kind_name)
    schema: Mapping[str, Any] = {} if kind is None else payload_schema(kind)
    return fields_of(schema), schema


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
        # Any other text is what the payload had, such as "yes".
        return {"true": True, "false": False}.get(text, text)
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


def typed_texts(given: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of the payload's fields as they were typed, with the line ends of JSON."""
    return {name: text.replace("\r\n", "\n") for name, text in given.items() if name.startswith(PREFIX)}


def edited(
    payload: Mapping[str, Json], fields: Sequence[Field], values: Mapping[str, str], schema: Mapping[str, Any]
) -> dict[str, Json]:
    """Return the payload with the fields whose text differs from the text that the form shows of it.

    Raises: Invalid.
    """
    shown = values_of_payload(fields, payload)
    changed = [each for each in fields if values.get(each.key) not in (None, _as_sent(shown.get(each.key, "")))]
    kept = {name: value for name, value in payload.items() if name not in {each.name for each in changed}}
    found = {**kept, **payload_of(changed, values, schema)}
    # In the order of the payload, with new fields at the end.
    return {name: found[name] for name in (*payload, *found) if name in found}


def _as_sent(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text)


def payload_faults(
    error: Invalid | Forbidden | TooLarge, names: tuple[str, ...], kind: str, *, is_json: bool
) -> dict[str, str]:
    """Return the faults of a form with a payload, by field: `payload`, or each of its fields unless it `is_json`."""
    if not isinstance(error, Invalid):
        return {"queue" if isinstance(error, Forbidden) else "payload": f"{str(error)[:1].upper()}{str(error)[1:]}."}
    found = faults_of(error, names)
    of_payload = error.details.get("payload")
    if isinstance(of_payload, Mapping) and not is_json:
        found.update({f"{PREFIX}{name}": explain(each) for name, each in of_payload.items()})
        if of_payload.keys() <= {each.name for each in fields_of_kind(kind)[0]}:
            del found["payload"]
    return found
