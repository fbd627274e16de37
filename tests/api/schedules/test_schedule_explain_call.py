"""GET /schedules/{name}/explain: why a schedule does not fire, and what is refused. Each ..."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.logs import MASK
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.schedule_health import overdue
from tests.http.callers import MakeKey
from tests.queue.schedules.schedules import REFUSED, Sql, plant, refused

EXPLAIN = "/schedules/nightly/explain"


def test_says_why_it_does_not_fire(client: FlaskClient, sql: Sql) -> None:
    plant(sql, seconds_ago=3)

    [reason] = client.get(EXPLAIN).json["reasons"]

    assert (reason["code"], reason["until"], reason["link"]) == ("no_worker", None, "/workers")
    assert reason["since"].endswith("Z")
    assert [client.get(f"/schedules/{name}/explain").status_code for name in ("other", "Nightly", "a%00b")] == [404] * 3


def test_is_404_to_a_key_of_other_queues(closed: FlaskClient, make_key: MakeKey, sql: Sql) -> None:
    plant(sql, job={"kind": "mail", "payload": {}, "queue": "bulk"})
    _, bulk = make_key(Scope.READ, queues=("bulk",))
    _, other = make_key(Scope.READ, queues=("other",))

    assert [closed.get(EXPLAIN, headers=key).status_code for key in (bulk, other)] == [200, 404]


def test_a_jobs_timeline_says_its_tick_and_how_late_it_was(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=30, every_seconds=20)
    fire_due(conn, retention_days=30)
    [job] = client.get("/jobs").json
    by_hand = client.post("/schedules/nightly/run").json["job_id"]

    first, hand = (client.get(f"/jobs/{job_id}/timeline").json["steps"][0] for job_id in (job["id"], by_hand))

    assert (first["what"], first["schedule"], first["scheduled_for"]) == ("enqueued", "nightly", job["scheduled_for"])
    assert 10 <= first["late_seconds"] < 20
    assert (hand["schedule"], hand["late_seconds"]) == ("nightly", 0)


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
    secretive: FlaskClient, make_key: MakeKey, conn: Connection, sql: Sql
) -> None:
    payload = {"how": "raise", "token": "swordfish", "refused": True}
    with refused(sql, does="BEGIN RAISE 'no such token: %', NEW.payload ->> 'token'; END"):
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
