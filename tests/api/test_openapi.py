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
from tests.api.document import operations
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


def test_it_names_every_call(document: dict[str, Any]) -> None:
    assert set(operations(document)) == {
        "POST /jobs",
        "GET /jobs",
        "POST /jobs/batch",
        "GET /jobs/{job_id}",
        "GET /jobs/{job_id}/explain",
        "GET /jobs/{job_id}/timeline",
        "POST /jobs/{job_id}/cancel",
        "POST /jobs/{job_id}/retry",
        "POST /jobs/{job_id}/copy",
        "PATCH /jobs/{job_id}",
        "GET /keys",
        "POST /keys",
        "POST /keys/{key_id}/rotate",
        "POST /keys/{key_id}/revoke",
        "DELETE /jobs/{job_id}",
        "GET /jobs/count",
        "GET /stats",
        "GET /queues",
        "GET /queues/{name}",
        "POST /queues/{name}/pause",
        "POST /queues/{name}/resume",
        "GET /schedules",
        "POST /schedules/preview",
        "GET /schedules/{name}",
        "PUT /schedules/{name}",
        "DELETE /schedules/{name}",
        "POST /schedules/{name}/run",
        "POST /schedules/{name}/pause",
        "POST /schedules/{name}/resume",
        "GET /schedules/{name}/explain",
        "GET /schedules/{name}/ticks",
        "GET /database",
        "GET /audit",
        "POST /operations",
        "GET /operations",
        "GET /operations/{operation_id}",
        "POST /operations/{operation_id}/cancel",
        "POST /operations/{operation_id}/resume",
        "POST /operations/{operation_id}/advance",
        "GET /workers",
        "GET /workers/{worker_id}",
        "GET /errors",
        "GET /errors/{error_id}",
        "PATCH /errors/{error_id}",
        "PATCH /workers/{worker_id}",
        "GET /kinds",
        "GET /health",
        "GET /health/live",
        "GET /metrics",
    }


def test_it_has_the_names_that_clients_know(document: dict[str, Any]) -> None:
    names = {"CreateJobRequest", "JobResponse", "CancelResponse", "HealthResponse", "ErrorBody"}
    names |= {"JobKind", "JobStatus", "JobId"}

    assert names <= set(document["components"]["schemas"])


def test_a_request_is_one_of_the_kinds_told_apart_by_kind(document: dict[str, Any]) -> None:
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


def test_every_call_names_its_errors_each_in_the_one_shape(document: dict[str, Any]) -> None:
    refused = {"401", "403", "429"}
    expected = {
        "POST /jobs": {"200", "201", "400", "409", "413", "415", "422", "500", "503"} | refused,
        "GET /jobs": {"200", "422", "500", "503"} | refused,
        "POST /jobs/batch": {"200", "201", "400", "409", "413", "415", "422", "500", "503"} | refused,
        "GET /jobs/{job_id}": {"200", "404", "500", "503"} | refused,
        "GET /jobs/{job_id}/explain": {"200", "404", "500", "503"} | refused,
        "GET /jobs/{job_id}/timeline": {"200", "404", "500", "503"} | refused,
        "POST /jobs/{job_id}/cancel": {"200", "202", "404", "409", "422", "500", "503"} | refused,
        "POST /jobs/{job_id}/retry": {"200", "400", "404", "409", "413", "415", "422", "500", "503"} | refused,
        "POST /jobs/{job_id}/copy": {"201", "400", "404", "409", "413", "415", "422", "500", "503"} | refused,
        "PATCH /jobs/{job_id}": {"200", "400", "404", "409", "413", "415", "422", "500", "503"} | refused,
        "GET /keys": {"200", "422", "500", "503"} | refused,
        "POST /keys": {"201", "400", "413", "415", "422", "500", "503"} | refused,
        "POST /keys/{key_id}/rotate": {"200", "400", "404", "413", "415", "422", "500", "503"} | refused,
        "POST /keys/{key_id}/revoke": {"200", "404", "422", "500", "503"} | refused,
        "DELETE /jobs/{job_id}": {"204", "404", "409", "422", "500", "503"} | refused,
        "GET /jobs/count": {"200", "422", "500", "503"} | refused,
        "GET /stats": {"200", "422", "500", "503"} | refused,
        "GET /queues": {"200", "422", "500", "503"} | refused,
        "GET /queues/{name}": {"200", "404", "500", "503"} | refused,
        "POST /queues/{name}/pause": {"200", "400", "404", "409", "413", "415", "422", "500", "503"} | refused,
        "POST /queues/{name}/resume": {"200", "404", "422", "500", "503"} | refused,
        "GET /schedules": {"200", "422", "500", "503"} | refused,
        "POST /schedules/preview": {"200", "400", "413", "415", "422", "500", "503"} | refused,
        "GET /schedules/{name}": {"200", "404", "500", "503"} | refused,
        "PUT /schedules/{name}": {"200", "201", "400", "404", "409", "413", "415", "422", "500", "503"} | refused,
        "DELETE /schedules/{name}": {"204", "404", "409", "422", "500", "503"} | refused,
        "POST /schedules/{name}/run": {"201", "404", "409", "422", "500", "503"} | refused,
        "POST /schedules/{name}/pause": {"200", "400", "404", "413", "415", "422", "500", "503"} | refused,
        "POST /schedules/{name}/resume": {"200", "404", "422", "500", "503"} | refused,
        "GET /schedules/{name}/explain": {"200", "404", "500", "503"} | refused,
        "GET /schedules/{name}/ticks": {"200", "404", "422", "500", "503"} | refused,
        "GET /database": {"200", "500", "503"} | refused,
        "GET /audit": {"200", "422", "500", "503"} | refused,
        "POST /operations": {"200", "202", "400", "409", "413", "415", "422", "500", "503"} | refused,
        "GET /operations": {"200", "422", "500", "503"} | refused,
        "GET /operations/{operation_id}": {"200", "404", "500", "503"} | refused,
        "POST /operations/{operation_id}/cancel": {"200", "404", "409", "422", "500", "503"} | refused,
        "POST /operations/{operation_id}/resume": {"200", "404", "409", "422", "500", "503"} | refused,
        "POST /operations/{operation_id}/advance": {"200", "404", "422", "500", "503"} | refused,
        "GET /workers": {"200", "422", "500", "503"} | refused,
        "GET /workers/{worker_id}": {"200", "404", "500", "503"} | refused,
        "GET /errors": {"200", "422", "500", "503"} | refused,
        "GET /errors/{error_id}": {"200", "404", "422", "500", "503"} | refused,
        "PATCH /workers/{worker_id}": {"200", "400", "404", "413", "415", "422", "500", "503"} | refused,
        "PATCH /errors/{error_id}": {"200", "400", "404", "413", "415", "422", "500", "503"} | refused,
        "GET /kinds": {"200"} | refused,
        "GET /metrics": {"200", "500"} | refused,
        "GET /health": {"200", "500", "503"},
        "GET /health/live": {"200"},
    }
    found = operations(document)

    assert {call: set(found[call]["responses"]) for call in expected} == expected
    for response in document["components"]["responses"].values():
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
        assert content["examples"]
        assert "X-Request-Id" in response["headers"]


def test_every_call_names_the_scope_that_it_needs(document: dict[str, Any]) -> None:
    [(name, scheme)] = document["components"]["securitySchemes"].items()

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert {call: operation["security"] for call, operation in operations(document).items()} == {
        "POST /jobs": [{name: ["enqueue"]}],
        "GET /jobs": [{name: ["read"]}],
        "POST /jobs/batch": [{name: ["enqueue"]}],
        "GET /jobs/{job_id}": [{name: ["read"]}],
        "GET /jobs/{job_id}/explain": [{name: ["read"]}],
        "GET /jobs/{job_id}/timeline": [{name: ["read"]}],
        "POST /jobs/{job_id}/cancel": [{name: ["operate"]}],
        "POST /jobs/{job_id}/retry": [{name: ["operate"]}],
        "POST /jobs/{job_id}/copy": [{name: ["operate", "enqueue"]}],
        "PATCH /jobs/{job_id}": [{name: ["operate"]}],
        "DELETE /jobs/{job_id}": [{name: ["admin"]}],
        "GET /keys": [{name: ["admin"]}],
        "POST /keys": [{name: ["admin"]}],
        "POST /keys/{key_id}/rotate": [{name: ["admin"]}],
        "POST /keys/{key_id}/revoke": [{name: ["admin"]}],
        "GET /jobs/count": [{name: ["read"]}],
        "GET /stats": [{name: ["read"]}],
        "GET /queues": [{name: ["read"]}],
        "GET /queues/{name}": [{name: ["read"]}],
        "POST /queues/{name}/pause": [{name: ["operate"]}],
        "POST /queues/{name}/resume": [{name: ["operate"]}],
        "GET /schedules": [{name: ["read"]}],
        "POST /schedules/preview": [{name: ["read"]}],
        "GET /schedules/{name}": [{name: ["read"]}],
        "PUT /schedules/{name}": [{name: ["admin"]}],
        "DELETE /schedules/{name}": [{name: ["admin"]}],
        "POST /schedules/{name}/run": [{name: ["operate"]}],
        "POST /schedules/{name}/pause": [{name: ["operate"]}],
        "POST /schedules/{name}/resume": [{name: ["operate"]}],
        "GET /schedules/{name}/explain": [{name: ["read"]}],
        "GET /schedules/{name}/ticks": [{name: ["read"]}],
        "GET /database": [{name: ["operate"]}],
        "GET /audit": [{name: ["operate"]}],
        "POST /operations": [{name: ["operate"]}],
        "GET /operations": [{name: ["operate"]}],
        "GET /operations/{operation_id}": [{name: ["operate"]}],
        "POST /operations/{operation_id}/cancel": [{name: ["operate"]}],
        "POST /operations/{operation_id}/resume": [{name: ["operate"]}],
        "POST /operations/{operation_id}/advance": [{name: ["operate"]}],
        "GET /workers": [{name: ["read"]}],
        "GET /workers/{worker_id}": [{name: ["read"]}],
        "GET /errors": [{name: ["read"]}],
        "GET /errors/{error_id}": [{name: ["read"]}],
        "PATCH /errors/{error_id}": [{name: ["operate"]}],
        "PATCH /workers/{worker_id}": [{name: ["operate"]}],
        "GET /kinds": [{name: []}],
        "GET /metrics": [{name: ["read"]}],
        "GET /health": [],
        "GET /health/live": [],
    }


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


def test_every_tag_is_described_and_has_a_call_and_every_call_has_a_tag(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    used = [operation["tags"] for operation in operations(document).values()]

    assert {tag for tags in used for tag in tags} == described
    assert len(document["tags"]) == len(described)
    assert all(used)


def test_only_the_page_of_the_api_says_where_it_differs_from_the_system_it_follows(document: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    _, _, table = page.partition("\n## Where this differs on purpose from the system it follows\n")

    assert len([line for line in table.splitlines() if line.startswith("|")]) == 10
    assert "differs" not in document["info"]["description"]
    assert "|" not in document["info"]["description"]


def test_the_page_of_the_api_names_every_call_and_slug(document: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    slugs = {
        name for response in document["components"]["responses"].values()
        for name in response["content"]["application/json"]["examples"]
    }  # fmt: skip

    calls = [re.sub("{(job|worker|error|key|operation)_id}", "{id}", call) for call in operations(document)]
    assert [call for call in calls if call not in page] == []
    assert [slug for slug in slugs if f"`{slug}`" not in page] == []
