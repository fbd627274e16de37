"""The OpenAPI document's schemas, as generators of clients read them; `make test-clients` runs the generators."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from app.api import build
from app.api.openapi.generators import schemas_within, simplify
from haulier.config import Config
from tests.api.openapi.document import operations
from tests.docs.reading import DSN

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Give the document."""
    found: dict[str, Any] = json.loads(build(Config(DSN)).extensions["haulier_openapi"])
    return found


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within the value, but for those that are examples."""
    if isinstance(value, dict):
        yield value
        value = [each for key, each in value.items() if key not in ("example", "examples")]
    if isinstance(value, list):
        for each in value:
            yield from objects(each)


def test_every_operation_has_an_id_that_makes_a_method_name(document: dict[str, Any]) -> None:
    ids = {call: operation.get("operationId", "") for call, operation in operations(document).items()}

    of_jobs = "enqueue|list|count|get|explain|change|cancel|retry|copy|delete"
    verbs = f"{of_jobs}|create|rotate|revoke|mute|quiet|pause|resume|start|advance|put|preview|run|check"
    assert {call: name for call, name in ids.items() if not re.fullmatch(rf"({verbs})(_[a-z]+)+", name)} == {}
    assert [name for name, times in Counter(ids.values()).items() if times > 1] == []


def test_nothing_stands_beside_a_reference(document: dict[str, Any]) -> None:
    assert [each for each in objects(document) if "$ref" in each and len(each) > 1] == []


def test_no_schema_is_a_part_of_itself_in_what_generators_read(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    # They take a schema that says what it is under `then` alone for one of anything.
    parts = {
        name: {
            each["$ref"].rpartition("/")[2]
            for each in objects({key: part for key, part in schema.items() if key != "then"})
            if "$ref" in each
        }
        for name, schema in schemas.items()
    }

    def reached(name: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        for part in parts[name] - seen:
            seen = reached(part, seen | {part})
        return seen

    assert parts["CreateWebhookDeliveryJob"] == {"WebhookDeliveryPayload"}
    assert [name for name in schemas if name in reached(name)] == []


def test_no_field_of_a_body_has_a_default_that_clients_would_send(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    description = schemas["CreateSendEmailJob"]["properties"]["max_attempts"]["description"]
    parameters = [each for call in operations(document).values() for each in call.get("parameters", [])]

    assert [name for name, each in schemas.items() if any("default" in part for part in schemas_within(each))] == []
    assert description.endswith(" Default: 3.")
    assert all(not each["required"] for each in parameters if "default" in each["schema"])


def test_an_enum_that_may_be_null_is_one_with_a_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["ResizeImageFit"] == {"type": "string", "enum": ["contain", "cover", "stretch"]}
    assert schemas["ResizeImagePayload"]["properties"]["fit"]["anyOf"] == [
        {"$ref": "#/components/schemas/ResizeImageFit"},
        {"type": "null"},
    ]
    assert [each for each in objects(document) if None in each.get("enum", [])] == []


def test_an_object_with_any_fields_says_so(document: dict[str, Any]) -> None:
    bare = [
        each
        for schema in document["components"]["schemas"].values()
        for each in schemas_within(schema)
        if each.get("type") == "object" and not {"properties", "additionalProperties"} & each.keys()
    ]

    assert bare == []


def test_every_component_is_used(document: dict[str, Any]) -> None:
    used = {each["$ref"] for each in objects(document) if "$ref" in each}
    names = {f"#/components/{room}/{name}" for room, those in document["components"].items() for name in those}

    assert names - used - {"#/components/securitySchemes/apiKey"} == set()


def test_any_json_is_what_the_service_accepts(document: dict[str, Any]) -> None:
    validator = Draft202012Validator({"$ref": "#/components/schemas/AnyJson", **document})
    fit = [None, True, 1.5, [[{"a": ["b", 1]}]], -(2**63)]
    unfit = [2**64, "a\0", [{"a": ["b\0"]}], {"a": [{"b\0": 1}]}, [[-(2**63) - 1]]]

    assert [value for value in fit if not validator.is_valid(value)] == []
    assert [value for value in unfit if validator.is_valid(value)] == []


def test_a_simplified_schema_accepts_what_it_accepted() -> None:
    label = {
        "type": "object",
        "properties": {
            # Fields may have the names of keywords.
            "default": {"type": ["string", "null"], "default": "a", "description": "Which."},
            "enum": {"type": ["integer", "null"], "enum": [1, 2, None], "default": 1},
            "the-size": {"enum": ["s", 7, None]},
            "$ref": {"$ref": "#/components/schemas/Size", "description": "How large."},
            "anyOf": {"type": "object", "anyOf": [{"propertyNames": {"pattern": "^a"}}]},
            "items": {"type": "array", "items": {"type": "integer", "default": 2}},
        },
        "additionalProperties": False,
    }
    schemas: dict[str, Schema] = {"LabelPayload": label, "Size": {"enum": ["s", "m"]}, "LabelEnum": {"const": 1}}
    before = copy.deepcopy(schemas)
    values: list[Any] = [None, "a", "s", "l", 1, 2, 3, 7, 1.5, {"a": 1}, {"b": 1}, [], [1], ["a"]]

    simplify(schemas)

    def judged(schemas: dict[str, Schema]) -> dict[str, list[bool]]:
        root = {"$ref": "#/components/schemas/LabelPayload", "components": {"schemas": schemas}}
        validator = Draft202012Validator(root)
        return {name: [validator.is_valid({name: value}) for value in values] for name in label["properties"]}

    fields = schemas["LabelPayload"]["properties"]
    assert judged(schemas) == judged(before)
    assert fields["default"] == {"type": ["string", "null"], "description": 'Which. Default: "a".'}
    assert fields["enum"]["anyOf"] == [{"$ref": "#/components/schemas/LabelEnum_"}, {"type": "null"}]
    assert fields["enum"]["description"] == "Default: 1."
    assert schemas["LabelEnum_"] == {"type": "integer", "enum": [1, 2]}
    assert schemas["LabelTheSize"] == {"enum": ["s", 7]}
    assert fields["$ref"] == {"description": "How large.", "allOf": [{"$ref": "#/components/schemas/Size"}]}
    assert fields["anyOf"] == {"type": "object", "propertyNames": {"pattern": "^a"}}
    assert fields["items"]["items"] == {"type": "integer", "description": "Default: 2."}
