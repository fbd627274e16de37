"""Writes the OpenAPI document's schemas so that generators of clients, with their own defaults, read them right.

None of this changes what a schema accepts.
Source: openapi-typescript 7 takes a field with a default for one that is always sent. openapi-python-client 0.29 drops
what is beside a $ref, and makes several classes of an enum that may be null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from haulier.domain.job import Json

Schema = dict[str, Any]

ANY = {"$ref": "#/components/schemas/AnyJson"}
TYPES = {str: "string", int: "integer"}

_ONE, _MANY = ("items", "additionalProperties", "propertyNames", "not", "then"), ("anyOf", "oneOf", "allOf")


def schemas_within(schema: Json) -> Iterator[Schema]:
    """Yield the schema and all that it is made of, the innermost first; what a $ref stands for is not in it."""
    if not isinstance(schema, dict):
        return
    inner = [schema.get(key) for key in _ONE]
    inner += [each for key in _MANY for each in schema.get(key, [])]
    inner += schema.get("properties", {}).values()
    for each in inner:
        yield from schemas_within(each)
    yield schema


def simplify(schemas: dict[str, Schema]) -> None:
    """Write the components in the way that generators read."""
    for name, component in list(schemas.items()):
        for schema in list(schemas_within(component)):
            _merge_single(schema)
            _tell_type(schema)
            _tell_default(schema)
            _wrap_reference(schema)
        for field, schema in component.get("properties", {}).items():
            if None in schema.get("enum", []):
                _name_enum(schemas, _component_name(schemas, name, field), schema)


def _merge_single(schema: Schema) -> None:
    """Take the only member of an anyOf for a part of the schema: a field's metadata can say some keywords only so."""
    members = schema.get("anyOf", [])
    if len(members) == 1 and not schema.keys() & members[0].keys():
        schema.update(schema.pop("anyOf")[0])


def _tell_type(schema: Schema) -> None:
    """Say of an enum of strings or integers that it is one; apispec says that it may be any JSON."""
    values = schema.get("enum", [])
    types = {type(value) for value in values} - {type(None)}
    if "type" in schema or len(types) != 1 or not types & TYPES.keys():
        return
    name = TYPES[types.pop()]
    schema["type"] = [name, "null"] if None in values else name
    if ANY in schema.get("anyOf", []):
        del schema["anyOf"]
    if schema.get("$ref") == ANY["$ref"]:
        del schema["$ref"]


def _tell_default(schema: Schema) -> None:
    if "default" in schema:
        default = json.dumps(schema.pop("default"), ensure_ascii=False)
        schema["description"] = f"{schema.get('description', '')} Default: {default}.".strip()


def _wrap_reference(schema: Schema) -> None:
    if "$ref" in schema and len(schema) > 1:
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]


def _name_enum(schemas: dict[str, Schema], name: str, schema: Schema) -> None:
    values = [value for value in schema.pop("enum") if value is not None]
    types = schema.pop("type", None)
    kept = [each for each in types if each != "null"] if isinstance(types, list) else []
    schemas[name] = {**({"type": kept[0]} if len(kept) == 1 else {}), "enum": values}
    schema["anyOf"] = [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]


def _component_name(schemas: dict[str, Schema], owner: str, field: str) -> str:
    words = re.split(r"[^A-Za-z0-9]+", field)
    name = owner.removesuffix("Payload") + "".join(word[:1].upper() + word[1:] for word in words)
    while name in schemas:
        name += "_"
    return name
