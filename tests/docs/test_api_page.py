"""docs/api.md is true: its calls, statuses, errors and fields are those of the application; all states are drawn."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.api import build
from app.api.error_responses import ANSWERS
from app.api.schemas.counted import Counts, Figures, Percentiles, QueueResponse, StatsResponse, StatsStep
from app.api.schemas.database_report import CheckThreshold, DatabaseCheck, DatabaseResponse
from app.api.schemas.error_groups import ErrorGroupResponse, ErrorStepResponse
from app.api.schemas.explain import ExplainResponse, JobRun, ScheduleReason, WaitReason
from app.api.schemas.job import JobResponse
from app.api.schemas.response_schemas import CountResponse
from app.api.schemas.timeline_step import TimelineResponse, TimelineStep
from app.api.schemas.worker import OneWorkerResponse, WorkerJob
from haulier.config import Config
from haulier.domain.job import JobStatus
from haulier.domain.schedules.schedule_waiting import ScheduleCode
from haulier.requests.acts import MuteErrors
from haulier.requests.job_conditions import ListJobs
from haulier.requests.job_request import JobOptions
from haulier.requests.lists import AskError, AskStats, ListErrors, ListWorkers
from tests.docs.reading import DSN, names_in, section, tables, text_of


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """Give the OpenAPI document."""
    app = build(Config(DSN))
    document: dict[str, Any] = json.loads(app.extensions["haulier_openapi"])
    return document


def test_every_call_is_documented() -> None:
    app, page = build(Config(DSN)), text_of("docs/api.md")

    # Without the files of the page /docs, which no client calls.
    rules = [rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/docs/")]
    # The id of a job, a worker, an error, a key or an operation stands as {id}, any other variable by its name.
    paths = [
        (rule, re.sub("<(?:[^>]*:)?(?:job_|worker_|error_|key_|operation_)?([^>]*)>", r"{\1}", rule.rule))
        for rule in rules
    ]
    expected = {f"{method} {path}" for rule, path in paths for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}

    def is_there(call: str) -> bool:
        # A GET may stand as a path without its method.
        return f"`{call}`" in page or (call.startswith("GET ") and f"`{call[4:]}`" in page)

    assert len(expected) > 10
    assert [call for call in sorted(expected) if not is_there(call)] == []


def test_every_status_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    answers = {
        code
        for path in openapi["paths"].values()
        for call in path.values()
        if isinstance(call, dict)
        for code in call["responses"]
    }
    answers |= {str(int(answer.status)) for answer in ANSWERS.values()} | {"405"}

    assert {"201", "202", "503"} <= answers
    assert [code for code in sorted(answers) if not re.search(rf"\b{code}\b", page)] == []


def test_every_error_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    slugs = {answer.slug for answer in ANSWERS.values()} | {"method_not_allowed"}
    for response in openapi["components"]["responses"].values():
        for content in response["content"].values():
            slugs |= {example["value"]["error"] for example in content["examples"].values()}

    assert "idempotency_mismatch" in slugs
    assert [slug for slug in sorted(slugs) if f"`{slug}`" not in page] == []


ON_THE_PAGE = [JobResponse, JobOptions, ListJobs, AskStats, AskError, MuteErrors]
SCHEMAS = [*ON_THE_PAGE, StatsResponse, StatsStep, Figures, Counts, Percentiles]
SCHEMAS += [
    CountResponse,
    QueueResponse,
    ExplainResponse,
    WaitReason,
    ScheduleReason,
    JobRun,
    TimelineResponse,
    TimelineStep,
]
SCHEMAS += [ListErrors, ErrorGroupResponse, ErrorStepResponse]
SCHEMAS += [ListWorkers, OneWorkerResponse, WorkerJob, DatabaseResponse, DatabaseCheck, CheckThreshold]


def test_every_field_is_documented_on_the_page_or_in_the_openapi_document() -> None:
    page = text_of("docs/api.md")

    fields = {(schema, name): field for schema in SCHEMAS for name, field in schema().fields.items()}
    absent = {(schema, name): field for (schema, name), field in fields.items() if f"`{name}`" not in page}

    assert [f"{schema.__name__}.{name}" for schema, name in absent if schema in ON_THE_PAGE] == []
    assert [
        f"{schema.__name__}.{name}" for (schema, name), field in absent.items() if not field.metadata.get("description")
    ] == []


def test_every_reason_for_which_a_schedule_does_not_fire_is_documented_in_its_order() -> None:
    rows = [names_in(row[0])[0] for row in tables(section("docs/api.md", "## Schedules")) if len(row) == 2]

    assert rows == list(ScheduleCode)


def test_every_state_is_drawn() -> None:
    drawn = section("docs/promises.md", "## States")

    assert [status for status in JobStatus if status not in drawn] == []
