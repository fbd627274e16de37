"""What the API says of a schedule whose job the database refuses, and of one that was made again. Each ..."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.logs import MASK
from haulier.queue.firing import fire_due
from haulier.queue.produce.schedule_health import overdue
from tests.http.callers import MakeKey, make_key  # noqa: F401  # a fixture
from tests.queue.schedules import REFUSED, Sql, plant, refused

PATH = "/schedules/nightly"


def refuse_once(conn: Connection, sql: Sql, **columns: Any) -> None:
    """Let a schedule be due, and the database refuse its job."""
    plant(sql, seconds_ago=20, every_seconds=20, **{**REFUSED, **columns})
    fire_due(conn, retention_days=30, apart=1)


def test_says_why_and_until_when_a_refused_schedule_waits(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    with refused(sql):
        refuse_once(conn, sql)
        shown, [listed] = client.get(PATH).json, client.get("/schedules").json
        reasons = client.get(f"{PATH}/explain").json["reasons"]

    assert (shown["refused"]["message"], shown["refused"]["times"]) == ("no such customer", 1)
    assert shown["refused"]["since"] < shown["refused"]["until"]
    assert shown["refused"] == listed["refused"]
    assert [reason["code"] for reason in reasons] == ["refused", "no_worker"]
    assert reasons[0]["message"].endswith("1 time in a row, and it is tried again: no such customer")
    assert (reasons[0]["since"], reasons[0]["until"]) == (shown["refused"]["since"], shown["refused"]["until"])
    assert client.post(f"{PATH}/run").status_code == 201
    assert client.get(PATH).json["refused"] is None


def test_counts_a_refused_schedule_as_overdue_while_it_waits(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    with refused(sql):
        refuse_once(conn, sql)
    sql("UPDATE haulier.schedule SET refused_since = now() - interval '70 s', look_at = now() + interval '300 s'")

    [check] = [each for each in client.get("/database").json["checks"] if each["name"] == "schedules"]
    metrics = client.get("/metrics").text
    client.post(f"{PATH}/pause")
    paused = overdue(conn)

    assert check["message"].startswith("1 schedule has overdue ticks, the oldest for 70 s; the database refuses")
    assert "haulier_overdue_schedules 1.0" in metrics
    assert (paused.schedules, paused.refused) == (0, 0)


def test_shows_a_secret_that_a_trigger_has_quoted_to_admins_only(
    secretive: FlaskClient,
    make_key: MakeKey,  # noqa: F811
    conn: Connection,
    sql: Sql,
) -> None:
    payload = {"how": "raise", "token": "swordfish", "refused": True}
    with refused(sql):
        sql(
            "CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE 'no such token: %', NEW.payload ->> 'token'; END $$"
        )
        refuse_once(conn, sql, job={"kind": "secretive", "payload": payload})
    for scope, said in ((Scope.READ, MASK), (Scope.ADMIN, "swordfish")):
        _, key = make_key(scope)
        shown = secretive.get(PATH, headers=key).json["refused"]["message"]
        explained = secretive.get(f"{PATH}/explain", headers=key).json["reasons"][0]["message"]

        assert shown == f"no such token: {said}"
        assert explained.endswith(shown)


def test_pages_through_the_ticks_of_a_schedule_and_of_the_one_before(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    for _ in range(2):
        sql("DELETE FROM haulier.schedule")
        plant(sql, seconds_ago=60, every_seconds=20)
        fire_due(conn, retention_days=30)
    ids = [str(job) for (job,) in sql("SELECT job_id FROM haulier.tick ORDER BY schedule_id DESC, scheduled_at DESC")]

    seen, page = [], client.get(f"{PATH}/ticks?limit=1")
    while True:
        seen += [tick["job_id"] for tick in page.json]
        if "Next-Cursor" not in page.headers:
            break
        page = client.get(f"{PATH}/ticks?limit=1&cursor={page.headers['Next-Cursor']}")

    assert seen == ids
    assert len(seen) >= 6
    assert client.get(f"{PATH}/ticks?cursor=2026-01-01T00:00:00Z").status_code == 422
