"""GET /schedules/{name}/explain, and what a job tells of its tick. Each ..."""

from __future__ import annotations

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.queue.firing import fire_due
from tests.conftest import sql_on
from tests.http.callers import MakeKey, closed, make_key, public  # noqa: F401  # fixtures
from tests.queue.schedules import Sql, plant
from tests.roles import Roles

PATH = "/schedules/nightly/explain"


def test_says_why_it_does_not_fire(client: FlaskClient, sql: Sql) -> None:
    plant(sql, seconds_ago=3)

    [reason] = client.get(PATH).json["reasons"]

    assert (reason["code"], reason["until"], reason["link"]) == ("no_worker", None, "/workers")
    assert reason["since"].endswith("Z")
    assert [client.get(f"/schedules/{name}/explain").status_code for name in ("other", "Nightly", "a%00b")] == [404] * 3


def test_is_404_to_a_key_of_other_queues(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    sql: Sql,
) -> None:
    plant(sql, job={"kind": "mail", "payload": {}, "queue": "bulk"})
    _, bulk = make_key(Scope.READ, queues=("bulk",))
    _, other = make_key(Scope.READ, queues=("other",))

    assert [closed.get(PATH, headers=key).status_code for key in (bulk, other)] == [200, 404]


def test_a_jobs_timeline_says_its_tick_and_how_late_it_was(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=30, every_seconds=20)
    fire_due(conn, retention_days=30)
    [job] = client.get("/jobs").json
    by_hand = client.post("/schedules/nightly/run").json["job_id"]

    first, hand = (client.get(f"/jobs/{job_id}/timeline").json["steps"][0] for job_id in (job["id"], by_hand))

    assert (first["what"], first["schedule"], first["scheduled_for"]) == ("enqueued", "nightly", job["scheduled_for"])
    assert 10 <= first["late_seconds"] < 20
    assert (hand["schedule"], hand["late_seconds"]) == ("nightly", 0)


def test_the_role_of_the_api_may_ask(roles: Roles, super_conn: Connection) -> None:
    plant(sql_on(super_conn), seconds_ago=3)
    client = build(Config(database_url=roles.web)).test_client()

    assert [each["code"] for each in client.get(PATH).json["reasons"]] == ["no_worker"]
    assert "haulier_overdue_schedules 0.0" in client.get("/metrics").text
    [check] = [each for each in client.get("/database").json["checks"] if each["name"] == "schedules"]
    assert check["state"] == "ok"
