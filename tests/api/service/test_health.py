"""GET /health: whether jobs can be enqueued and can end, and whether workers serve them. GET /database says more."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import health
from app.site import build
from haulier.config import Config
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import SQL
from haulier.queue import claims
from haulier.queue.health import overview
from haulier.queue.health.database_checks import THRESHOLDS
from haulier.queue.upkeep.partitions import ensure_partitions
from haulier.version import version
from tests.conftest import Sql, sql_on
from tests.isolation.rows import refusing
from tests.queue.schedules.schedules import plant
from tests.roles import Roles
from tests.web import EMAIL
from tests.web.calls import calls_of, filled
from tests.web.world import make_world

DUE = "INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES ('a', '{}', 'slow', now() - interval '1 minute')"
WELL = {"status": "ok", "version": version()}
UNSERVED = (
    "due jobs wait in queues that no live worker serves: check WORKER_QUEUES and the metric haulier_due_jobs_unserved"
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try each time, not wait for long, and look for unserved queues as long as a busy machine needs."""
    monkeypatch.setattr(health, "WRITES_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(overview, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(overview, "LOOK_SECONDS", 10.0)


def asked(client: FlaskClient, *, again: bool = True) -> Any:
    """Return the answer; with another look for unserved queues, if it is due `again`."""
    if again:
        client.application.extensions["haulier_unserved"]._looked_at = float("-inf")
    answer = client.get("/health")
    assert answer.status_code == 200
    return answer.json


def worker(conn: Connection, *queues: str) -> None:
    claims.register(conn, host="dock", pid=7, threads=1, queues=queues, lease_seconds=30.0)


def test_is_well_if_nothing_is_due_or_a_worker_serves_it(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    without_jobs = asked(client)
    # Clients compare the first.
    assert list(without_jobs) == ["status", "version"]
    assert client.get("/health/live").json == {"status": "ok"}
    sql(DUE)
    worker(conn, "slow")
    named = asked(client)
    sql("DELETE FROM haulier.worker")
    worker(conn)

    assert [without_jobs, named, asked(client)] == [WELL] * 3


def test_warns_of_due_jobs_that_no_live_worker_serves_when_it_looks(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    before = asked(client)
    sql(DUE)
    meanwhile = asked(client, again=False)
    worker(conn, "other")
    unserved = asked(client)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 minute'")

    assert before == meanwhile == WELL
    assert unserved == {**WELL, "warnings": [UNSERVED]}
    assert "slow" not in UNSERVED
    assert asked(client) == {**WELL, "warnings": ["due jobs wait, and no worker is running"]}


def test_is_well_if_the_look_takes_too_long_or_is_refused(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LOOK_SECONDS", 0.1)
    sql(DUE)
    for look in ("SELECT pg_sleep(60), true AS has_unserved", "SELECT true AS has_unserved FROM haulier.elsewhere"):
        monkeypatch.setitem(SQL, "has_unserved", look)

        assert [asked(client), asked(client, again=False)] == [WELL] * 2


TODAY = "SELECT format('%I.%I', schema, name) FROM haulier.history_partitions() WHERE now() >= lower AND now() < upper"


def status_and_slug(client: FlaskClient) -> tuple[int, str | None]:
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


@pytest.mark.direct("no notification comes through a pool")
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
    monkeypatch.setattr(health, "WRITES_LOOK_SECONDS", 600.0)
    assert status_and_slug(client) == FINE

    with refusing(conn, "job", "INSERT", "true", "53100"):
        assert status_and_slug(client) == FINE
        monkeypatch.setattr(health, "WRITES_LOOK_SECONDS", 0.0)
        assert status_and_slug(client) == UNWELL
        # An error is not kept: the next call tries again.
        monkeypatch.setattr(health, "WRITES_LOOK_SECONDS", 600.0)
        assert status_and_slug(client) == UNWELL


OF_A_TABLE = {
    *("name", "partitions", "rows", "dead_rows", "table_bytes", "index_bytes", "bloat", "vacuumed_at", "analyzed_at"),
}


def test_reports_each_check_and_of_the_tables_the_largest_first(client: FlaskClient) -> None:
    answer = client.get("/database").json

    assert answer.keys() == {"at", "version", "checks", "tables", "tables_message"}
    assert [check["name"] for check in answer["checks"]] == list(THRESHOLDS)
    tables = {each["name"]: each for each in answer["tables"]}
    assert all(each.keys() == OF_A_TABLE for each in tables.values())
    assert {"job", "finished_job", "audit", "worker"} <= tables.keys()
    # Of which none is by itself.
    assert [name for name in tables if name.startswith("finished_job_2")] == []
    assert (tables["finished_job"]["partitions"] > 1, tables["job"]["partitions"]) == (True, 0)
    sizes = [each["table_bytes"] + each["index_bytes"] for each in answer["tables"]]
    assert sizes == sorted(sizes, reverse=True)
    assert answer["tables_message"] is None


def test_reports_the_checks_if_the_tables_cannot_be_read(client: FlaskClient, conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.tick IN ACCESS EXCLUSIVE MODE")
        try:
            answer = client.get("/database")
        finally:
            cursor.execute("ROLLBACK")

    assert answer.status_code == 200
    assert len(answer.json["checks"]) == len(THRESHOLDS)
    assert answer.json["tables"] is None
    assert answer.json["tables_message"] == "could not be read: canceling statement due to lock timeout"


of_roles = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


@of_roles
def test_the_role_of_the_api_may_do_all_that_its_calls_need(roles: Roles, super_conn: Connection) -> None:
    world = make_world(super_conn, "mail")
    # It is due: why it does not fire is looked for.
    plant(sql_on(super_conn), "due", seconds_ago=3)
    world.names["schedule"] = "due"
    app = build(Config(database_url=roles.web, auth="off"))
    client = app.test_client()

    answers = {
        (call.method, call.rule): client.open(
            world.filled(call.path), method=call.method, json=filled(call.body, world), buffered=True
        )
        for call in calls_of(app)
        if not call.is_of_pages
    }

    refused = {at: answer.status_code for at, answer in answers.items() if answer.status_code >= 400}
    keys = [("POST", path) for path in ("/keys", "/keys/<key_id>/rotate", "/keys/<key_id>/revoke")]
    # No worker has counted the queue, and keys are made by the command unless grants.sql says otherwise.
    assert refused == {("GET", "/queues/<name>"): 404, **dict.fromkeys(keys, 403)}
    database = answers["GET", "/database"].json
    assert "job" in [table["name"] for table in database["tables"]]
    assert "schedules" not in [check["name"] for check in database["checks"] if check["state"] == "unknown"]
    assert "haulier_overdue_schedules" in answers["GET", "/metrics"].text
    app.extensions["haulier"].database.close()


@of_roles
def test_the_role_of_the_api_sees_that_another_transaction_holds_a_job(roles: Roles) -> None:
    app = build(Config(database_url=roles.web))
    client = app.test_client()
    path = client.post("/jobs", json=EMAIL).headers["Location"]

    with closing(connect(roles.worker)) as rival, rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        reasons = client.get(f"{path}/explain").json["reasons"]

    assert "locked" in [reason["code"] for reason in reasons]
    app.extensions["haulier"].database.close()
