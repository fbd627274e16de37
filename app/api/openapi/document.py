"""The OpenAPI document: adds what flask-smorest cannot find in the views, such as the kinds and shared schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response
from flask_smorest import Api as SmorestApi
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException

from haulier.domain.job import LEAST_INTEGER, MOST_INTEGER, NAME_PATTERN, JobStatus, Json
from haulier.kinds import Kind
from haulier.kinds.sdk.payload import TEXT
from haulier.requests.job_request import CreateJobRequest
from haulier.version import version

from ...http.payload_schema import OPENAPI_VERSION, write_only
from ...http.routes import Entry, Route, Routes
from .. import error_responses
from ..schemas.job import JobError, JobProgress
from ..schemas.response_schemas import ErrorBody, ResponseSchema
from .generators import simplify

View = TypeVar("View")

JSON_TYPE = "application/json"

LOCATION = {"Location": {"description": "Path of the job.", "schema": {"type": "string", "format": "uri-reference"}}}
REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true`: the idempotency key is known, so this is the existing job and nothing was enqueued.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "string"}}}
NEXT_LINK = {"Link": {"description": '`<…>; rel="next"`; absent on the last page.', "schema": {"type": "string"}}}
LOOKED_BACK_TO = {
    "Looked-Back-To": {
        "description": "Set if the search stopped early: older items than this were not searched.",
        "schema": {"type": "string", "format": "date-time"},
    }
}
NEXT_CURSOR = {
    "Next-Cursor": {
        "description": "The `cursor` of the next page; absent on the last page.",
        "schema": {"type": "string"},
    }
}
NEXT_PAGE = {**NEXT_LINK, **NEXT_CURSOR}
REQUEST_ID = {
    "X-Request-Id": {"description": "The id that the client sent, or a generated one.", "schema": {"type": "string"}}
}

WWW_AUTHENTICATE = {
    "WWW-Authenticate": {
        "description": "`Bearer`, and the reason why the key was refused.",
        "schema": {"type": "string"},
    }
}
# The headers of error answers, by status.
HEADERS = {401: WWW_AUTHENTICATE, 429: RETRY_AFTER, 503: RETRY_AFTER}

# The statuses with which every call that needs a key may answer.
AUTH_STATUSES = (401, 403, 429)
SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: `hlr_…`, or the value of `HAULIER_API_KEY`. On the machine itself, no key is needed"
    " until the first one exists.",
}

JOB_REQUEST = {"$ref": "#/components/schemas/CreateJobRequest"}
CREATE_JOB_BODY = {"required": True, "content": {JSON_TYPE: {"schema": JOB_REQUEST}}}

# Any JSON that strict_json accepts. Each keyword concerns values of one type, and ignores all others. They stand
# under `then` because openapi-python-client drops a schema whose items are itself: so it sees a schema of anything.
ANY_JSON: dict[str, Json] = {
    "description": "Any JSON: integers of at most 64 bits, no NUL in strings.",
    "if": True,
    "then": {
        "minimum": LEAST_INTEGER,
        "maximum": MOST_INTEGER,
        "pattern": TEXT,
        "items": {"$ref": "#/components/schemas/AnyJson"},
        "propertyNames": {"pattern": TEXT},
        "additionalProperties": {"$ref": "#/components/schemas/AnyJson"},
    },
}

# Matches a request with both a time and a delay, which is refused; null counts as absent.
BOTH_TIMES = {
    "required": ["run_at", "delay_seconds"],
    "properties": {"run_at": {"type": "string"}, "delay_seconds": {"type": "number"}},
}

DESCRIPTION = """\
Durable background jobs over HTTP, on the Postgres you already run.

`201` means that the job is committed. It then runs **at least once**, so make handlers idempotent. In optional fields
of a request, `null` means absent. Unknown fields are refused.
"""

_JOB = "job 0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
_MISSING = "Missing data for required field."
_VIOLATES = 'new row for relation "job" violates check constraint "order_has_a_customer"'
# Status, name, message and, for 422, details of an example for each error.
ERROR_EXAMPLES: list[tuple[int, str, str, Json]] = [
    (400, "malformed", "the body is not JSON: Expecting value, at line 1, column 10", None),
    (401, "unauthorized", "this call needs an API key: send it as Authorization: Bearer <key>", None),
    (403, "forbidden", "this API key lacks the scope operate", None),
    (404, "not_found", f"{_JOB} not found", None),
    (405, "method_not_allowed", "method not allowed", None),
    (409, "conflict", f"cannot cancel {_JOB}: its status is succeeded", None),
    (413, "too_large", "the body is too long: at most 1048576 bytes are allowed", None),
    (415, "unsupported_media_type", f"the body's Content-Type must be {JSON_TYPE}, in UTF-8 and not compressed", None),
    (422, "validation", f"the request is invalid: payload.to: {_MISSING}", {"payload": {"to": [_MISSING]}}),
    (422, "idempotency_mismatch", "The idempotency key was used for a different request.", error_responses.MISMATCHED),
    (422, "refused_by_database", _VIOLATES, {"_schema": [_VIOLATES]}),
    (429, "rate_limited", "this API key has reached its rate limit", None),
    (500, "internal", "internal server error", None),
    (503, "unavailable", "The database cannot be reached.", None),
]


class Api(SmorestApi):  # type: ignore[misc]
    """flask-smorest, with our errors."""

    ERROR_SCHEMA = ErrorBody
    DEFAULT_ERROR_RESPONSE_NAME = None

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer in the shape of every error."""
        return error_responses.answer_http(error)

    def _register_etag_headers(self) -> None:
        """Document nothing: this API has no ETags."""

    def _register_pagination_header(self) -> None:
        """Document nothing: this API pages by cursor."""

    def _register_responses(self) -> None:
        for status in sorted({status for status, *_ in ERROR_EXAMPLES}):
            shown = [example for example in ERROR_EXAMPLES if example[0] == status]
            slugs = " or ".join(f"`{slug}`" for _, slug, _, _ in shown)
            response: dict[str, Json] = {
                "description": f"{HTTPStatus(status).phrase}: {slugs}.",
                "content": {
                    JSON_TYPE: {
                        "schema": {"$ref": "#/components/schemas/ErrorBody"},
                        "examples": {slug: {"value": _error_body(slug, *rest)} for _, slug, *rest in shown},
                    }
                },
            }
            if status in HEADERS:
                response["headers"] = dict(HEADERS[status])
            self.spec.components.response(HTTPStatus(status).name, response, lazy=status not in AUTH_STATUSES)


def _error_body(slug: str, message: str, details: Json) -> Json:
    body = {"error": slug, "message": message, "request_id": "2f1c6c1e8b7d4e0f9a3b5c7d9e1f3a5b"}
    return body if details is None else {**body, "details": details}


def takes(schema: type[Schema], *, required: bool = True) -> dict[str, Json]:
    """Return how to document the JSON body of a call that the view reads itself."""
    return {"required": required, "content": {JSON_TYPE: {"schema": schema}}}


def fails(blp: Any, *statuses: int) -> Callable[[View], View]:
    """Document that a view may answer with these errors, and with 500."""
    # Not alt_response: each call of it would wrap the view again.
    documented: Callable[[View], View] = blp.doc(
        responses={status: HTTPStatus(status).name for status in (*statuses, 500)}
    )
    return documented


def make_api(app: Flask, kinds: Mapping[str, Kind], create_job: CreateJobRequest) -> Api:
    """Return the application's API, with the parts of its document that depend on the kinds."""
    app.config.update(API_TITLE="Haulier", API_VERSION=version(), OPENAPI_VERSION=OPENAPI_VERSION)
    plugin = MarshmallowPlugin(schema_name_resolver=_resolver(kinds))
    api = Api(app, spec_kwargs={"marshmallow_plugin": plugin, "info": {"description": DESCRIPTION}})
    assert plugin.converter is not None
    plugin.converter.add_attribute_function(_component)  # type: ignore[no-untyped-call]
    plugin.converter.add_attribute_function(write_only)  # type: ignore[no-untyped-call]
    schemas = api.spec.components.schema
    schemas("AnyJson", ANY_JSON)
    schemas(
        "JobId",
        {
            "type": "string",
            "format": "uuid",
            "description": "A UUID that the database generates, and that sorts by time: of version 7, or of version 8"
            " if the database is a cell, whose number is the last byte.",
        },
    )
    schemas(
        "JobKind",
        {
            "type": "string",
            "pattern": NAME_PATTERN,
            "description": "Known here: " + ", ".join(f"`{name}`" for name in kinds) + ".",
        },
    )
    schemas("JobStatus", {"type": "string", "enum": [str(status) for status in JobStatus]})
    schemas("ErrorBody", schema=ErrorBody)
    schemas("JobError", schema=JobError)
    schemas("JobProgress", schema=JobProgress)
    mapping = {}
    for kind, schema in create_job.by_kind.items():
        name = _unused(api, type(schema).__name__)
        schemas(name, schema=schema)
        mapping[kind] = f"#/components/schemas/{name}"
    schemas(
        "CreateJobRequest",
        {
            "oneOf": [{"$ref": reference} for reference in mapping.values()],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
            "not": BOTH_TIMES,
        },
    )
    return api


def document(api: Api, kinds: Mapping[str, Kind], routes: Routes) -> bytes:
    """Return the OpenAPI document as JSON; its content depends only on the kinds."""
    spec: dict[str, Any] = json.loads(json.dumps(api.spec.to_dict()))
    body = spec["paths"]["/jobs"]["post"]["requestBody"]["content"][JSON_TYPE]
    body["examples"] = examples(kinds)
    spec["components"]["schemas"]["JobChanges"]["not"] = BOTH_TIMES
    _open_filter(spec["components"]["schemas"]["OperationFilter"])
    simplify(spec["components"]["schemas"])
    spec["components"]["securitySchemes"] = {"apiKey": SECURITY_SCHEME}
    # flask-smorest makes a tag of each blueprint, even of one whose calls are tagged as another's.
    spec["tags"] = [tag for tag in spec["tags"] if tag["description"]]
    spec["paths"] = {_with_id(path): _with_id_in(calls) for path, calls in spec["paths"].items()}
    by_path = {(method, documented_path(rule)): route for (method, rule), route in routes.items()}
    answers = list(spec["components"]["responses"].values())
    for path, calls in spec["paths"].items():
        for method, operation in ((name, each) for name, each in calls.items() if name != "parameters"):
            _secure(operation, by_path[method.upper(), path])
            answers += [answer for answer in operation["responses"].values() if "$ref" not in answer]
    for answer in answers:
        answer.setdefault("headers", {}).update(REQUEST_ID)
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":")).encode()


def documented_path(rule: str) -> str:
    """Return the path of a rule of Flask as the document names it: `/jobs/{id}` of `/jobs/<uuid:job_id>`."""
    return _with_id(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule))


def _with_id(path: str) -> str:
    # A view's argument says whose id it is; the path says so by itself.
    return re.sub(r"{\w+_id}", "{id}", path)


def _with_id_in(calls: dict[str, Any]) -> dict[str, Any]:
    for parameter in calls.get("parameters", []):
        parameter["name"] = re.sub(r"^\w+_id$", "id", parameter["name"])
    return calls


def _open_filter(schema: dict[str, Any]) -> None:
    """Document what marshmallow cannot say of a filter: payload paths stand beside it; a list may be one value."""
    names = "|".join(schema["properties"])
    schema["propertyNames"] = {"pattern": rf"^({names}|payload(\.[^.\u0000]{{1,30}}){{1,5}})$"}
    # Not `type: string`: TypeScript would then allow no named field to be a list.
    schema["additionalProperties"] = True
    schema["description"] = (
        "Only jobs that match every field. A field `payload.<path>` has the string at this path of the payload, at most"
        " 1000 characters; up to five such fields."
    )
    schema["minProperties"] = 1
    for field in schema["properties"].values():
        if field.get("type") == "array":
            about, values = field.pop("description"), {**field, "minItems": 1}
            field.clear()
            field.update(description=about, anyOf=[values["items"], values])


def _secure(operation: dict[str, Json], route: Route) -> None:
    """Document which scope the call needs, and how it answers a caller without it."""
    if route.needs is Entry.ANYONE:
        operation["security"] = []
        return
    operation["security"] = [{"apiKey": [str(scope) for scope in route.scopes]}]
    for status in AUTH_STATUSES:
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{HTTPStatus(status).name}"}


def examples(kinds: Mapping[str, Kind]) -> dict[str, Json]:
    """Return a named request for each kind whose payload's required fields have examples, and one with options."""
    found: dict[str, Json] = {}
    for kind in kinds.values():
        payload = _example_payload(kind.schema)
        if payload is not None:
            found[kind.name] = {"summary": f"A {kind.name} job", "value": {"kind": kind.name, "payload": payload}}
    if first := next(iter(found.values()), None):
        options = {"queue": "nightly", "priority": 10, "delay_seconds": 60, "max_attempts": 5, "timeout_seconds": 30}
        found["with_options"] = {"summary": "Every option", "value": {**first["value"], **options}}
    return found


def _example_payload(schema: Schema) -> Json:
    payload = {}
    for name, field in schema.fields.items():
        if field.required:
            if not field.metadata.get("examples"):
                return None
            payload[field.data_key or name] = field.metadata["examples"][0]
    return payload


def _resolver(kinds: Mapping[str, Kind]) -> Callable[[Any], str]:
    """Name the schemas: a payload after its kind, any other after its class."""
    names: dict[type, str] = {}
    for kind in kinds.values():
        name = "".join(word.capitalize() for word in re.split(r"[_.-]", kind.name)) + "Payload"
        # Two kinds may differ only in the character between their words.
        while name in names.values():
            name += "_"
        names.setdefault(type(kind.schema), name)

    def resolve(schema: Any) -> str:
        owner = schema if isinstance(schema, type) else type(schema)
        return names.get(owner, owner.__name__)

    return resolve


def _unused(api: Api, name: str) -> str:
    while name in api.spec.components.schemas:
        name += "_"
    return name


def _component(_: Any, field: Any, ret: dict[str, Json]) -> dict[str, Json]:
    """Refer to a shared component if a field names one."""
    name = field.metadata.get("x-component")
    # Requests may hold only AnyJson; answers may also hold values that strict_json would refuse, from handlers and
    # plain INSERTs.
    if (
        name is None
        and type(field) is fields.Raw
        and "type" not in ret
        and not isinstance(field.parent, ResponseSchema)
    ):
        name = "AnyJson"
    if name is None:
        return {}
    kept: dict[str, Json] = {key: ret[key] for key in ("description", "examples") if key in ret}
    ret.clear()
    return kept | {"$ref": f"#/components/schemas/{name}"}
