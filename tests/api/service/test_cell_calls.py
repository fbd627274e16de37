"""The API of a cell: it shows its number, and takes ids of both versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from psycopg2.extensions import connection as Connection

from haulier import logs
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import sql_on
from tests.web import EMAIL

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('send_email', %s) RETURNING id::text"


@pytest.fixture
def numberless(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Give a connection to a database of the test's own."""
    monkeypatch.setattr(logs, "_of_process", {})
    with closing(connect(migrated_database)) as conn:
        yield conn


@pytest.fixture
def settings(migrated_database: str) -> Config:
    return Config(database_url=migrated_database)


def posted(client: FlaskClient) -> str:
    answer = client.post("/jobs", json=EMAIL)
    assert answer.status_code == 201
    return str(answer.json["id"])


def test_shows_its_number_everywhere_but_where_there_is_none(
    make_app: Callable[..., Flask], numberless: Connection, settings: Config
) -> None:
    plain = make_app(settings).test_client()
    before = [plain.get("/health").json, plain.get("/database").json, plain.get("/metrics").text]
    migrate(numberless, retention_days=30, cell=2)

    cell = make_app(settings).test_client()
    health, database, metrics = (cell.get(path) for path in ("/health", "/database", "/metrics"))

    assert ["cell" in each for each in before] == [False] * 3
    assert (health.json["cell"], database.json["cell"]) == (2, 2)
    families = text_string_to_metric_families(metrics.text)
    assert {sample.labels.get("cell") for family in families for sample in family.samples} == {"2"}
    assert logs.named_cell() == 2


def test_answers_nothing_if_the_database_is_another_cell(
    make_app: Callable[..., Flask], numberless: Connection, settings: Config
) -> None:
    for number in (None, 2):
        migrate(numberless, retention_days=30, cell=number)
        client = make_app(replace(settings, cell=3)).test_client()

        answers = [client.get("/health"), client.get("/jobs"), client.post("/jobs", json=EMAIL)]

        assert [answer.status_code for answer in answers] == [503] * 3
    assert sql_on(numberless)("SELECT count(*) FROM haulier.jobs") == [(0,)]
    assert make_app(replace(settings, cell=2)).test_client().get("/health").status_code == 200


def test_takes_ids_from_before_the_number_and_of_the_cell(
    make_app: Callable[..., Flask], numberless: Connection, settings: Config
) -> None:
    client = make_app(settings).test_client()
    [[plain]] = sql_on(numberless)(INSERT, '{"to": "a@b.c", "subject": "Hi", "body": "Hello."}')
    old = [plain, posted(client)]
    migrate(numberless, retention_days=30, cell=7)
    new = [str(client.post("/jobs/batch", json=[EMAIL]).json["jobs"][0]["id"]), posted(client)]

    assert [UUID(each).version for each in (*old, *new)] == [7, 7, 8, 8]
    assert [UUID(each).bytes[-1] for each in new] == [7, 7]
    assert [job["id"] for job in client.get("/jobs").json] == [*old, *new][::-1]
    for job in (*old, *new):
        answers = [
            client.get(f"/jobs/{job}"),
            client.get(f"/jobs/{job}/explain"),
            client.patch(f"/jobs/{job}", json={"priority": 1}),
            client.post(f"/jobs/{job}/cancel"),
            client.get(f"/jobs/{job}/timeline"),
            client.post(f"/jobs/{job}/copy", json={}),
            client.get(f"/audit?job={job}"),
            client.get(f"/jobs?worker={job}"),
            client.post(f"/jobs/{job}/retry"),
            client.post(f"/jobs/{job}/cancel"),
            client.delete(f"/jobs/{job}"),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 201, 200, 200, 200, 200, 204]
    preview = client.post("/operations", json={"action": "cancel", "filter": {"all": True}, "dry_run": True}).json
    started = client.post("/operations", json={"action": "cancel", "filter": {"all": True}, "as_of": preview["as_of"]})
    operation = started.json["id"]
    assert (UUID(operation).version, UUID(operation).bytes[-1]) == (8, 7)
    assert client.get(f"/operations/{operation}").json["id"] == operation
