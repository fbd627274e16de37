"""GET /health: it ..."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.postgres.sql_files import SQL
from haulier.queue import consume
from haulier.version import version
from tests.conftest import Sql

DUE = "INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES ('a', '{}', 'slow', now() - interval '1 minute')"
WELL = {"status": "ok", "version": version()}
UNSERVED = "due jobs wait in queues that no live worker serves: see WORKER_QUEUES, and haulier_due_jobs_unserved"


def asked(client: FlaskClient, *, again: bool = True) -> Any:
    """Return the answer, where another look for what nobody serves is due."""
    if again:
        client.application.extensions["haulier_unserved"]._looked_at = float("-inf")
    answer = client.get("/health")
    assert answer.status_code == 200
    return answer.json


@pytest.fixture
def long_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look for what nobody serves take as long as a busy machine needs."""
    monkeypatch.setattr(import_module("haulier.queue.produce.overview"), "LOOK_SECONDS", 10.0)


def test_begins_with_the_status_that_clients_compare(client: FlaskClient) -> None:
    assert list(asked(client)) == ["status", "version"]
    assert client.get("/health/live").json == {"status": "ok"}


def worker(conn: Connection, *queues: str) -> None:
    consume.register(conn, host="dock", pid=7, threads=1, queues=queues, lease_seconds=30.0)


def test_is_well_where_nothing_is_due_or_somebody_serves_it(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    without_jobs = asked(client)
    sql(DUE)
    worker(conn, "slow")
    named = asked(client)
    sql("DELETE FROM haulier.worker")
    worker(conn)

    assert [without_jobs, named, asked(client)] == [WELL] * 3


@pytest.mark.usefixtures("long_look")
def test_warns_where_due_jobs_wait_and_no_worker_lives(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    sql(DUE)
    worker(conn)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 minute'")

    assert asked(client) == {**WELL, "warnings": ["due jobs wait, and no worker lives"]}


@pytest.mark.usefixtures("long_look")
def test_warns_where_no_live_worker_serves_the_queue_and_names_it_to_nobody(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    sql(DUE)
    worker(conn, "other")

    assert asked(client) == {**WELL, "warnings": [UNSERVED]}
    assert "slow" not in UNSERVED


@pytest.mark.usefixtures("long_look")
def test_looks_for_what_nobody_serves_now_and_then(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    before = asked(client)
    sql(DUE)

    meanwhile = asked(client, again=False)

    assert before == meanwhile == WELL
    assert asked(client)["warnings"]


@pytest.mark.parametrize(
    "look", ["SELECT pg_sleep(60), true AS has_unserved", "SELECT true AS has_unserved FROM haulier.elsewhere"]
)
def test_is_well_where_the_look_takes_too_long_or_is_refused(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    sql(DUE)
    monkeypatch.setitem(SQL, "has_unserved", look)

    assert asked(client) == WELL
    assert asked(client, again=False) == WELL
