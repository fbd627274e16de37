"""GET /health tells whether jobs can be enqueued and can end. It ..."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue import consume
from haulier.queue.upkeep.partitions import ensure_partitions
from tests.conftest import Sql
from tests.isolation.rows import refusing
from tests.web import EMAIL

TODAY = "SELECT format('%I.%I', schema, name) FROM haulier.history_partitions() WHERE now() >= lower AND now() < upper"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try each time, and not wait for long."""
    monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(import_module("haulier.queue.produce.overview"), "PROBE_SECONDS", 0.5)


def asked(client: FlaskClient) -> tuple[int, str | None]:
    """Return the status, and the slug of an error."""
    answer = client.get("/health")
    assert ("Retry-After" in answer.headers) is (answer.status_code == 503)
    return answer.status_code, answer.json.get("error")


WELL, UNWELL = (200, None), (503, "unavailable")


def test_is_unwell_while_the_disk_is_full_as_every_enqueue_is(client: FlaskClient, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "true", "53100"):
        assert asked(client) == UNWELL
        assert client.post("/jobs", json=EMAIL).status_code == 503

    assert asked(client) == WELL


def test_is_unwell_while_somebody_holds_a_lock_on_the_jobs(client: FlaskClient, database: str) -> None:
    with closing(connect(database)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.job IN SHARE MODE")
        assert asked(client) == UNWELL
        cursor.execute("ROLLBACK")

    assert asked(client) == WELL


def test_is_unwell_while_no_job_can_end_for_want_of_a_partition(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    [[today]] = sql(TODAY)
    sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION {today}")
    sql(f"DROP TABLE {today}")
    try:
        answer = client.get("/health")
    finally:
        ensure_partitions(conn, retention_days=30)

    assert (answer.status_code, answer.json["error"]) == UNWELL
    assert "no partition" in answer.json["message"]
    assert asked(client) == WELL


def test_is_well_though_a_trigger_refuses_kinds_that_it_does_not_know(client: FlaskClient, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "NEW.kind <> 'send_email'", "MY001"):
        assert asked(client) == WELL
        assert client.post("/jobs", json=EMAIL).status_code == 201


def test_leaves_no_job_and_wakes_nobody(client: FlaskClient, database: str, conn: Connection, sql: Sql) -> None:
    worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30.0)
    sql("INSERT INTO haulier.sleeper (worker_id) VALUES (%s)", worker)
    with closing(connect(database)) as listener, listener.cursor() as cursor:
        cursor.execute("LISTEN haulier_job")
        asked(client)
        cursor.execute("SELECT")
        before = list(listener.notifies)
        client.post("/jobs", json=EMAIL)
        cursor.execute("SELECT")

        assert (len(before), len(listener.notifies)) == (0, 1)
    assert sql("SELECT kind FROM haulier.job") == [("send_email",)]


def test_tries_it_now_and_then_and_after_each_failure(client: FlaskClient, conn: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 600.0)
    assert asked(client) == WELL

    with refusing(conn, "job", "INSERT", "true", "53100"):
        assert asked(client) == WELL
        monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 0.0)
        assert asked(client) == UNWELL
        # An error is not kept: the next call tries again.
        monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 600.0)
        assert asked(client) == UNWELL
