"""The JSON schema of a kind's payload: GET /kinds shows it, and the dashboard makes a form of it."""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from haulier.domain.job import Json
from haulier.kinds import Kind

OPENAPI_VERSION = "3.1.0"


def payload_schema(kind: Kind) -> dict[str, Json]:
    """Return the JSON schema of the kind's payload, without references to anything outside it."""
    plugin = MarshmallowPlugin(schema_name_resolver=lambda _: "")
    APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    assert plugin.converter is not None
    plugin.converter.add_attribute_function(write_only)  # type: ignore[no-untyped-call]
    found: dict[str, Json] = plugin.converter.schema2jsonschema(kind.schema)  # type: ignore[no-untyped-call]
    return found


def write_only(_: Any, field: Any, ret: dict[str, Json]) -> dict[str, Json]:
    """Say of a secret field that it is sent and not read."""
    return {"writeOnly": True} if field.metadata.get("secret") else {}
