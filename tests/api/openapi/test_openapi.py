"""The OpenAPI document: valid, whole, and true; and Swagger UI's page over it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from haulier.config import Config
from haulier.kinds.sdk import registry
from tests.api.openapi.document import operations
from tests.http.api_calls import ANYONE, CALLS, TO_KEYS
from tests.web import ROOT

KINDS = {
    "resize_image": "ResizeImage",
    "send_email": "SendEmail",
    "summarize_text": "SummarizeText",
    "webhook_delivery": "WebhookDelivery",
}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    """Give the document."""
    found: dict[str, Any] = client.get("/api-docs/openapi.json").get_json()
    return found


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())

    assert document["openapi"] == "3.1.0"
    assert errors == []


def test_it_has_the_names_that_clients_know(document: dict[str, Any]) -> None:
    names = {"CreateJobRequest", "JobResponse", "CancelResponse", "HealthResponse", "ErrorBody"}
    names |= {"JobKind", "JobStatus", "JobId"}

    assert names <= set(document["components"]["schemas"])


def test_a_request_is_one_of_the_kinds_distinguished_by_kind(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    request = schemas["CreateJobRequest"]

    mapping = {kind: f"#/components/schemas/Create{words}Job" for kind, words in KINDS.items()}
    assert request["discriminator"] == {"propertyName": "kind", "mapping": mapping}
    assert request["oneOf"] == [{"$ref": reference} for reference in mapping.values()]
    for kind, words in KINDS.items():
        own = schemas[f"Create{words}Job"]
        assert own["properties"]["kind"]["enum"] == [kind]
        assert own["properties"]["payload"] == {"$ref": f"#/components/schemas/{words}Payload"}
        assert own["required"] == ["kind", "payload"]
        assert own["additionalProperties"] is False


def test_names_every_call_with_its_statuses_and_the_scopes_that_it_needs(document: dict[str, Any]) -> None:
    [(name, scheme)] = document["components"]["securitySchemes"].items()
    expected = {
        call: (
            {*promised.statuses.split(), *(TO_KEYS.split() if promised.needs is not ANYONE else ())},
            [] if promised.needs is ANYONE else [{name: list(promised.scopes)}],
        )
        for call, promised in CALLS.items()
    }

    found = {call: (set(said["responses"]), said["security"]) for call, said in operations(document).items()}

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert found == expected


def test_gives_each_error_in_the_one_shape_with_examples(document: dict[str, Any]) -> None:
    for response in document["components"]["responses"].values():
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
        assert content["examples"]
        assert "X-Request-Id" in response["headers"]


def test_every_named_example_passes(client: FlaskClient, document: dict[str, Any]) -> None:
    examples = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]

    answers = {name: client.post("/jobs", json=example["value"]) for name, example in examples.items()}

    assert set(answers) == {*KINDS, "with_options"}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 201)


def test_it_is_the_same_from_every_process(make_app: Callable[..., Flask]) -> None:
    documents = {make_app().extensions["haulier_openapi"] for _ in range(2)}

    assert len(documents) == 1


def test_a_teams_own_kind_is_in_it_and_can_be_enqueued(
    make_app: Callable[..., Flask], config: Config, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_documented_kind.py").write_text(
        "from marshmallow import fields\n"
        "from haulier.kinds import PayloadSchema, kind\n"
        "class Label(PayloadSchema):\n"
        "    parcel = fields.Integer(required=True, strict=True, metadata={'examples': [7]})\n"
        "@kind('print.label-1', schema=Label, timeout=5)\n"
        "def print_label(context, payload):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        client = make_app(dataclasses.replace(config, kinds=("our_documented_kind",))).test_client()
        document = client.get("/api-docs/openapi.json").get_json()
        listed = client.get("/kinds").get_json()
        created = client.post("/jobs", json={"kind": "print.label-1", "payload": {"parcel": 7}})
        refused = client.post("/jobs", json={"kind": "print.label-1", "payload": {"parcel": "7"}})
    finally:
        registry._kinds.pop("print.label-1")

    assert "PrintLabel1Payload" in document["components"]["schemas"]
    assert "print.label-1" in document["components"]["schemas"]["CreateJobRequest"]["discriminator"]["mapping"]
    [label] = [each for each in listed if each["kind"] == "print.label-1"]
    assert (label["timeout_seconds"], label["payload_schema"]["required"]) == (5, ["parcel"])
    assert (created.status_code, refused.status_code) == (201, 422)


def test_kinds_lists_each_with_a_schema_that_refers_to_nothing_else(client: FlaskClient) -> None:
    answer = client.get("/kinds")

    assert [each["kind"] for each in answer.json] == list(KINDS)
    for each in answer.json:
        assert each["retry"] == {"base_seconds": 1.0, "cap_seconds": 60.0}
        assert each["payload_schema"]["type"] == "object"
    assert "$ref" not in answer.text


def test_the_page_loads_only_what_this_service_has(client: FlaskClient) -> None:
    page = client.get("/docs")

    paths = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(paths) == 4
    assert [client.get(path, buffered=True).status_code for path in paths] == [200] * 4
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"https?://", page.text + client.get("/docs/docs.js").text)
    assert client.get("/docs/assets/../docs.html").status_code == 404
    assert client.get("/docs/assets/no-such-file.js").status_code == 404


def test_every_tag_has_a_description_and_a_call_and_vice_versa(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    used = [operation["tags"] for operation in operations(document).values()]

    assert {tag for tags in used for tag in tags} == described
    assert len(document["tags"]) == len(described)
    assert all(used)


def test_only_the_page_of_the_api_says_where_it_differs_on_purpose(document: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    _, _, table = page.partition("\n## Where this differs on purpose from the system it follows\n")

    assert len([line for line in table.splitlines() if line.startswith("|")]) == 10
    assert "differs" not in document["info"]["description"]
    assert "|" not in document["info"]["description"]
