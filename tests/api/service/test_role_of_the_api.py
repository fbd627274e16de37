"""The API under the role that grants.sql gives it. It ..."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from app.site import build
from haulier.config import Config
from haulier.postgres.connection import connect
from tests.conftest import sql_on
from tests.queue.schedules.schedules import plant
from tests.roles import Roles
from tests.web.calls import calls_of, filled
from tests.web.world import make_world

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


def test_may_do_all_that_its_calls_need(roles: Roles, super_conn: Connection) -> None:
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


def test_may_see_that_another_transaction_holds_a_job(roles: Roles) -> None:
    app = build(Config(database_url=roles.web))
    client = app.test_client()
    email = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}
    path = client.post("/jobs", json=email).headers["Location"]

    with closing(connect(roles.worker)) as rival, rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        reasons = client.get(f"{path}/explain").json["reasons"]

    assert "locked" in [reason["code"] for reason in reasons]
    app.extensions["haulier"].database.close()
