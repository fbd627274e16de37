"""GET /health says whether jobs can be enqueued and can end, and whether workers serve them. It ..."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.postgres.sql_files import SQL
from haulier.queue import claims
from haulier.queue.upkeep.partitions import ensure_partitions
from haulier.version import version
from tests.conftest import Sql
from tests.isolation.rows import refusing
from tests.web import EMAIL

DUE = "INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES ('a', '{}', 'slow', now() - interval '1 minute')"
WELL = {"status": "ok", "version": version()}
UNSERVED = "due jobs wait in queues that no live worker serves: see WORKER_QUEUES, and haulier_due_jobs_unserved"


def asked(client: FlaskClient, *, again: bool = True) -> Any:
    """Return the answer; with another look for unserved queues, if it is due `again`."""
    if again:
        client.application.extensions["haulier_unserved"]._looked_at = float("-inf")
    answer = client.get("/health")
    assert answer.status_code == 200
    return answer.json


@pytest.fixture
def long_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look for unserved queues take as long as a busy machine needs."""
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "LOOK_SECONDS", 10.0)


def test_begins_with_the_status_that_clients_compare(client: FlaskClient) -> None:
    assert list(asked(client)) == ["status", "version"]
    assert client.get("/health/live").json == {"status": "ok"}


def worker(conn: Connection, *queues: str) -> None:
    claims.register(conn, host="dock", pid=7, threads=1, queues=queues, lease_seconds=30.0)


def test_is_well_if_nothing_is_due_or_a_worker_serves_it(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    without_jobs = asked(client)
    sql(DUE)
    worker(conn, "slow")
    named = asked(client)
    sql("DELETE FROM haulier.worker")
    worker(conn)

    assert [without_jobs, named, asked(client)] == [WELL] * 3


@pytest.mark.usefixtures("long_look")
def test_warns_if_due_jobs_wait_and_no_worker_lives(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    sql(DUE)
    worker(conn)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 minute'")

    assert asked(client) == {**WELL, "warnings": ["due jobs wait, and no worker lives"]}


@pytest.mark.usefixtures("long_look")
def test_warns_of_an_unserved_queue_without_naming_it(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    sql(DUE)
    worker(conn, "other")

    assert asked(client) == {**WELL, "warnings": [UNSERVED]}
    assert "slow" not in UNSERVED


@pytest.mark.usefixtures("long_look")
def test_looks_for_unserved_queues_now_and_then(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    before = asked(client)
    sql(DUE)

    meanwhile = asked(client, again=False)

    assert before == meanwhile == WELL
    assert asked(client)["warnings"]


def test_is_well_if_the_look_takes_too_long_or_is_refused(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(DUE)
    for look in ("SELECT pg_sleep(60), true AS has_unserved", "SELECT true AS has_unserved FROM haulier.elsewhere"):
        monkeypatch.setitem(SQL, "has_unserved", look)

        assert [asked(client), asked(client, again=False)] == [WELL] * 2


TODAY = "SELECT format('%I.%I', schema, name) FROM haulier.history_partitions() WHERE now() >= lower AND now() < upper"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try each time, and not wait for long."""
    monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "PROBE_SECONDS", 0.5)


def status_and_slug(client: FlaskClient) -> tuple[int, str | None]:
    """Return the status, and the slug of an error."""
    answer = client.get("/health")
    assert ("Retry-After" in answer.headers) is (answer.status_code == 503)
    return answer.status_code, answer.json.get("error")


FINE, UNWELL = (200, None), (503, "unavailable")


def test_is_unwell_while_the_disk_is_full_as_every_enqueue_is(client: FlaskClient, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "true", "53100"):
        assert status_and_slug(client) == UNWELL
        assert client.post("/jobs", json=EMAIL).status_code == 503

    assert status_and_slug(client) == FINE


def test_is_unwell_while_a_transaction_locks_the_jobs(client: FlaskClient, database: str) -> None:
    with closing(connect(database)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.job IN SHARE MODE")
        assert status_and_slug(client) == UNWELL
        cursor.execute("ROLLBACK")

    assert status_and_slug(client) == FINE


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
    assert status_and_slug(client) == FINE


def test_is_well_though_a_trigger_refuses_kinds_that_it_does_not_know(client: FlaskClient, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "NEW.kind <> 'send_email'", "MY001"):
        assert status_and_slug(client) == FINE
        assert client.post("/jobs", json=EMAIL).status_code == 201


def test_leaves_no_job_and_wakes_no_worker(client: FlaskClient, database: str, conn: Connection, sql: Sql) -> None:
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30.0)
    sql("INSERT INTO haulier.sleeper (worker_id) VALUES (%s)", worker)
    with closing(connect(database)) as listener, listener.cursor() as cursor:
        cursor.execute("LISTEN haulier_job")
        status_and_slug(client)
        cursor.execute("SELECT")
        before = list(listener.notifies)
        client.post("/jobs", json=EMAIL)
        cursor.execute("SELECT")

        assert (len(before), len(listener.notifies)) == (0, 1)
    assert sql("SELECT kind FROM haulier.job") == [("send_email",)]


def test_tries_it_now_and_then_and_after_each_failure(client: FlaskClient, conn: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 600.0)
    assert status_and_slug(client) == FINE

    with refusing(conn, "job", "INSERT", "true", "53100"):
        assert status_and_slug(client) == FINE
        monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 0.0)
        assert status_and_slug(client) == UNWELL
        # An error is not kept: the next call tries again.
        monkeypatch.setattr(import_module("app.api.health"), "WRITES_LOOK_SECONDS", 600.0)
        assert status_and_slug(client) == UNWELL
