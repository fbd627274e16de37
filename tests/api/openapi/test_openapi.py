"""The OpenAPI document: valid, true, and fit for generators and Schemathesis; and Swagger UI's page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api import build
from app.api.openapi.generators import schemas_within, simplify
from haulier.config import Config
from tests.docs.reading import DSN
from tests.http.api_calls import ANYONE, CALLS, TO_KEYS
from tests.web import ROOT, Server


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


KINDS = {
    "resize_image": "ResizeImage",
    "send_email": "SendEmail",
    "summarize_text": "SummarizeText",
    "webhook_delivery": "WebhookDelivery",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build(Config(DSN)).extensions["haulier_openapi"])
    return found


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())

    assert document["openapi"] == "3.1.0"
    assert errors == []


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


def test_it_is_the_same_from_every_process() -> None:
    assert len({build(Config(DSN)).extensions["haulier_openapi"] for _ in range(2)}) == 1


def test_a_teams_own_kind_is_in_it_and_can_be_enqueued(secretive: FlaskClient) -> None:
    schemas = secretive.get("/api-docs/openapi.json").json["components"]["schemas"]
    mapping = schemas["CreateJobRequest"]["discriminator"]["mapping"]
    [listed] = [each for each in secretive.get("/kinds").json if each["kind"] == "secretive.isolated"]
    payloads = [{"how": "raise", "token": token} for token in ("7", 7)]
    answers = [secretive.post("/jobs", json={"kind": "secretive.isolated", "payload": each}) for each in payloads]

    assert mapping["secretive.isolated"].rpartition("/")[2] == "CreateSecretiveIsolatedJob" in schemas
    assert (listed["timeout_seconds"], listed["payload_schema"]["required"]) == (10, ["how", "token"])
    assert [answer.status_code for answer in answers] == [201, 422]


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


def test_the_paths_of_other_frameworks_redirect_to_the_documentation_without_a_key(closed: FlaskClient) -> None:
    for path, target in {
        "/docs/": "/docs",
        "/openapi.json": "/api-docs/openapi.json",
        "/swagger.json": "/api-docs/openapi.json",
    }.items():
        answer = closed.get(path)
        mounted = closed.get(path, environ_overrides={"SCRIPT_NAME": "/haulier"})

        assert (answer.status_code, answer.headers["Location"]) == (302, target)
        assert mounted.headers["Location"] == f"/haulier{target}"
        assert closed.get(target).status_code == 200
        assert closed.get(f"{target.rstrip('/')}/x").status_code == 401


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


FIELDS = {"properties", "additionalProperties"}


def test_an_object_with_any_fields_says_so(document: dict[str, Any]) -> None:
    within = [part for schema in document["components"]["schemas"].values() for part in schemas_within(schema)]
    bare = [part for part in within if part.get("type") == "object" and not FIELDS & part.keys()]

    assert bare == []


def test_a_filter_takes_one_value_or_a_list_in_the_document_too(document: dict[str, Any]) -> None:
    validator = Draft202012Validator({"$ref": "#/components/schemas/OperationFilter", **document})
    queued: list[Any] = [
        {"status": "queued"},
        {"status": ["queued", "retrying"]},
        {"tag": "a", "payload.order.id": "7"},
    ]
    unfit: list[Any] = [{}, {"status": "done"}, {"status": []}, {"kind": [["mail"]]}, {"payload": "a"}, {"kinds": "a"}]

    assert [value for value in queued if not validator.is_valid(value)] == []
    assert [value for value in unfit if validator.is_valid(value)] == []


def test_an_enum_has_a_type_and_is_no_part_of_any_json(document: dict[str, Any]) -> None:
    enums = [each for each in objects(document) if isinstance(each.get("enum"), list)]

    assert len(enums) > 20
    assert [each for each in enums if each.get("type") not in ("string", "boolean") or "allOf" in each] == []


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
            "type": {"$ref": "#/components/schemas/AnyJson", "enum": [1, 2]},
            "allOf": {"anyOf": [{"$ref": "#/components/schemas/AnyJson"}, {"type": "null"}], "enum": ["a", None]},
        },
        "additionalProperties": False,
    }
    schemas: dict[str, Any] = {
        "LabelPayload": label,
        "Size": {"enum": ["s", "m"]},
        "LabelEnum": {"const": 1},
        "AnyJson": {},
    }
    values: list[Any] = [None, "a", "s", "l", 1, 2, 3, 7, 1.5, {"a": 1}, {"b": 1}, [], [1], ["a"]]

    def judged() -> dict[str, list[bool]]:
        root = {"$ref": "#/components/schemas/LabelPayload", "components": {"schemas": schemas}}
        validator = Draft202012Validator(root)
        return {name: [validator.is_valid({name: value}) for value in values] for name in label["properties"]}

    before = judged()
    simplify(schemas)

    assert judged() == before
    fields = schemas["LabelPayload"]["properties"]
    assert fields["default"] == {"type": ["string", "null"], "description": 'Which. Default: "a".'}
    assert fields["enum"]["anyOf"] == [{"$ref": "#/components/schemas/LabelEnum_"}, {"type": "null"}]
    assert fields["type"] == {"type": "integer", "enum": [1, 2]}
    assert (fields["allOf"]["anyOf"][0], schemas["LabelAllOf"]["type"]) == (
        {"$ref": "#/components/schemas/LabelAllOf"},
        "string",
    )
    assert fields["$ref"] == {"description": "How large.", "allOf": [{"$ref": "#/components/schemas/Size"}]}


# At most for each operation; SCHEMATHESIS_EXAMPLES=500, the long run, makes some 4,800 requests in two minutes.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "20")
# Without the coverage of every boundary of the document, which is 2,000 requests.
SHORT = ["--max-examples", "2", "--phases", "examples,fuzzing,stateful"]
KEY = "0123456789abcdef" * 2
Run = Callable[..., AbstractContextManager[Server]]
# The short run makes the same requests each time; SCHEMATHESIS_SEED makes others.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SHORT, id="few"),
        pytest.param(["--max-examples", EXAMPLES], id="many", marks=pytest.mark.slow),
    ],
)
def test_schemathesis_with_all_checks_finds_nothing(
    run_gunicorn: Run, database: str, tmp_path: Path, options: list[str]
) -> None:
    config = ROOT / "tests/api/openapi/schemathesis.toml"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        "--checks",
        "all",
        *options,
    ]
    # The one header that is required is then given to every request; that it is asked for is a check of its own.
    command += ["--header", f"Authorization: Bearer {KEY}", "--exclude-checks", "missing_required_header"]
    command += ["--seed", SEED, "--no-color"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    # With keys on, since one of the checks is that nothing is answered without.
    with run_gunicorn(database, WEB_CONCURRENCY="1", HAULIER_API_KEY=KEY) as server:
        command.append(f"{server.url}/api-docs/openapi.json")
        run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        log = server.log.read_text()

    # How many requests it were, for who asks with -s.
    print(run.stdout[-1_000:])
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert "Traceback" not in log
    assert KEY not in log
