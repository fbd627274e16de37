"""The calls about schedules: what operators make, see and change of them, and why one does not fire."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.logs import MASK
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.schedule_health import overdue
from tests.conftest import PATIENCE
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.queue.schedules.schedules import REFUSED as REFUSED_JOB
from tests.queue.schedules.schedules import Sql, plant, refused, set_time, ticks
from tests.web import EMAIL

BODY = {"cron": "0 2 * * *", "time_zone": "Europe/Berlin", "job": EMAIL}
PATH = "/schedules/nightly"
SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def put(client: FlaskClient, **body: Any) -> Any:
    return client.put(PATH, json={**BODY, **body})


def fire(conn: Connection) -> int:
    return fire_due(conn, retention_days=30).fired


def test_a_schedule_is_made_shown_changed_and_deleted(client: FlaskClient) -> None:
    made = put(client)
    shown = client.get(PATH)
    changed = put(client, overlap="skip", job={**EMAIL, "queue": "bulk", "tags": ["a"]})
    listed = client.get("/schedules").json
    gone = client.delete(PATH)

    assert (made.status_code, changed.status_code, gone.status_code) == (201, 200, 204)
    assert made.json == shown.json
    job = {"kind": "send_email", "payload": EMAIL["payload"], "queue": "default", "priority": 0, "max_attempts": 3}
    assert made.json["job"] == job
    assert len(made.json["next_ticks"]) == 10
    assert made.json["next_at"] == made.json["next_ticks"][0]
    assert (made.json["paused"], made.json["missed"], made.json["source"]) == (False, "last", "api")
    assert made.json["last_ticks"] == []
    assert changed.json["overlap"] == "skip"
    assert changed.json["job"] == {**job, "queue": "bulk", "tags": ["a"]}
    assert [each["name"] for each in listed] == ["nightly"]
    assert client.get(PATH).status_code == client.delete(PATH).status_code == 404


def test_an_equal_one_changes_nothing_and_is_not_on_record(client: FlaskClient, sql: Sql) -> None:
    hook = {"kind": "webhook_delivery", "payload": {"url": "https://a.example/", "body": {"n": 1}}}
    put(client, cron=" 0 2 *  * * ", jitter_seconds=60, job=hook)
    before = sql("SELECT ctid, xmin FROM haulier.schedule")

    again = put(client, jitter_seconds=60, missed_max=None, job=hook)

    assert again.status_code == 200
    assert sql("SELECT ctid, xmin FROM haulier.schedule") == before != []
    assert sql("SELECT action, target FROM haulier.audit") == [("put_schedule", "nightly")]
    assert sql("SELECT decided_to = created_at FROM haulier.schedule") == [(True,)]
    # True is not 1.
    put(client, job={**hook, "payload": {**hook["payload"], "body": {"n": True}}})
    assert client.get(PATH).json["job"]["payload"]["body"]["n"] is True


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cron": None}, "cron"),
    ({"every_seconds": 5}, "cron"),
    ({"cron": "0 0 31 2 *"}, "cron"),
    ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ({"job": {**EMAIL, "run_at": SOON}}, "job.run_at"),
    *(({"job": job}, "job") for job in ({**EMAIL, "payload": {}}, {"kind": "nope", "payload": {}})),
    ({"missed_max": 5}, "missed_max"),
    ({"paused_until": SOON}, "paused_until"),
    ({"paused": True, "paused_until": "2020-01-01T00:00:00Z"}, "paused_until"),
    ({"overlap": "never"}, "overlap"),
    ({"jitter_seconds": 90_000}, "jitter_seconds"),
    ({"hourly": True}, "hourly"),
]


def test_what_cannot_be_a_schedule_is_422_and_stores_nothing(client: FlaskClient, sql: Sql) -> None:
    assert not_refused(lambda body: put(client, **body), REFUSED) == []
    # The name of a call.
    assert client.put("/schedules/preview", json=BODY).status_code == 422
    assert client.get("/schedules/preview").status_code == 404
    assert client.options("/schedules/preview").allow.as_set() == {"post", "options"}
    assert sql("SELECT FROM haulier.schedule") == sql("SELECT FROM haulier.audit") == []


def test_a_change_fires_due_ticks_by_the_old_rule_first(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    # A tick each hour that waits up to an hour for its jitter: the last one is due, and has surely not fired.
    plant(sql, seconds_ago=3600, every_seconds=3600, jitter_seconds=3600, job={"kind": "old", "payload": {}})
    sql("UPDATE haulier.schedule SET look_at = now() + interval '50 minutes' RETURNING 1")

    put(client, cron=None, every_seconds=7200)

    assert sql("SELECT kind FROM haulier.job") == [("old",)]
    assert [outcome for outcome, _ in ticks(sql)] == ["fired"]
    [(first, next_at)] = sql("SELECT (SELECT scheduled_at FROM haulier.tick), next_at FROM haulier.schedule")
    # As far from the last tick as the new rule says.
    assert next_at - first == timedelta(hours=2)
    assert fire(conn) == 0


def test_a_change_leaves_a_waiting_tick_waiting(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=40, every_seconds=20, overlap="queue_one")
    fire(conn)
    [(pending,)] = sql("SELECT pending_at FROM haulier.schedule")

    put(client, overlap="queue_one")

    assert client.get(PATH).json["waiting_at"] is not None
    assert sql("SELECT pending_at FROM haulier.schedule") == [(pending,)]


def test_many_that_put_one_name_at_once_make_one(client: FlaskClient, database: str, sql: Sql) -> None:
    app, start = build(Config(database_url=database)), threading.Barrier(6)

    def put_one(number: int) -> int:
        start.wait(PATIENCE)
        return app.test_client().put(PATH, json={**BODY, "jitter_seconds": number}).status_code

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(put_one, range(6)))

    assert sorted(answers) == [200, 200, 200, 200, 200, 201]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'put_schedule'") == [(6,)]


def test_a_pause_lets_ticks_pass_and_a_resume_leaves_no_backlog(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    plant(sql, every_seconds=60)
    paused = client.post(f"{PATH}/pause")
    try:
        set_time(sql, "now() + interval '3 minutes 1 second'")
        # Nothing is decided meanwhile.
        resumed = client.post(f"{PATH}/resume")
        set_time(sql, "now() + interval '4 minutes 2 seconds'")
        fire(conn)
    finally:
        set_time(sql)

    assert (paused.json["paused"], paused.json["paused_until"], resumed.json["paused"]) == (True, None, False)
    assert [outcome for outcome, _ in ticks(sql)] == ["skipped_paused"] * 3 + ["fired"]
    assert [each["outcome"] for each in client.get(PATH).json["last_ticks"]][:2] == ["fired", "skipped_paused"]


def test_a_pause_may_end_by_itself_and_may_come_with_the_schedule(client: FlaskClient) -> None:
    made = put(client, paused=True, paused_until=SOON)
    kept = put(client, overlap="skip")
    ended = put(client, overlap="skip", paused=False)
    again = client.post(f"{PATH}/pause", json={"until": SOON})
    past = client.post(f"{PATH}/pause", json={"until": "2020-01-01T00:00:00Z"})

    assert [each.json["paused"] for each in (made, kept, ended, again)] == [True, True, False, True]
    assert made.json["paused_until"] == kept.json["paused_until"] == again.json["paused_until"]
    assert (past.status_code, past.json["details"]) == (422, {"until": ["Must be in the future."]})


def test_a_run_enqueues_while_paused_and_is_409_beside_another(client: FlaskClient, sql: Sql) -> None:
    put(client, overlap="skip", paused=True)

    first, second = client.post(f"{PATH}/run"), client.post(f"{PATH}/run")

    assert (first.status_code, second.status_code) == (201, 409)
    assert first.json["job_id"] in second.json["message"]
    job = client.get(first.headers["Location"]).json
    assert (job["schedule"], job["kind"]) == ("nightly", "send_email")
    listed = client.get(f"{PATH}/ticks").json
    assert [(each["outcome"], each["job_id"], each["scheduled_at"]) for each in listed] == [
        ("fired", first.json["job_id"], job["scheduled_for"])
    ]


def test_pages_lead_on_and_are_short_if_jobs_are_large(client: FlaskClient, sql: Sql) -> None:
    for number in range(5):
        plant(sql, f"s{number}", job={"kind": "mail", "payload": {"text": "x" * 3_000_000}})

    names = [[each["name"] for each in page] for page in pages(client, "/schedules")]

    assert names == [["s0", "s1", "s2"], ["s3", "s4"]]
    assert [len(page) for page in pages(client, "/schedules?limit=2")] == [2, 2, 1]


def test_changes_a_schedule_of_an_unknown_zone_and_none_of_the_file(client: FlaskClient, sql: Sql) -> None:
    plant(sql, seconds_ago=9, time_zone="Mars/Olympus")
    plant(sql, "of-file", source="file")
    of_file = "/schedules/of-file"

    assert [client.put(of_file, json=BODY).status_code, client.delete(of_file).status_code] == [409, 409]
    assert client.post(f"{of_file}/pause").status_code == 200
    assert client.get(PATH).json["next_ticks"] == []
    assert put(client).status_code == 200
    assert len(client.get(PATH).json["next_ticks"]) == 10


def test_a_preview_shows_what_clocks_do_and_stores_nothing(client: FlaskClient, sql: Sql) -> None:
    berlin = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "from": "2026-03-28T12:00:00Z", "count": 1}

    def preview(**asked: Any) -> Any:
        return client.post("/schedules/preview", json={**berlin, **asked}).json

    assert preview() == [
        {
            "scheduled_at": "2026-03-29T01:00:00.000000Z",
            "local": "2026-03-29T03:00:00+02:00",
            "note": "The clocks skip this time: the tick fires right after the gap.",
        }
    ]
    every = preview(cron=None, every_seconds=90, count=2)
    assert [each["scheduled_at"][11:19] for each in every] == ["12:01:30", "12:03:00"]
    assert preview(**{"from": "9998-12-31T00:00:00Z"}) == []
    assert len(client.post("/schedules/preview", json={"cron": "@daily"}).json) == 10
    assert client.post("/schedules/preview", json={"cron": "x"}).status_code == 422
    assert sql("SELECT FROM haulier.schedule") == []


def test_the_record_says_what_was_changed_and_nothing_of_the_payload(client: FlaskClient, sql: Sql) -> None:
    put(client)
    put(client, cron="0 3 * * *", job={**EMAIL, "payload": {**EMAIL["payload"], "subject": "geheim"}, "priority": 5})
    client.post(f"{PATH}/pause", json={"until": SOON})
    client.post(f"{PATH}/resume")
    client.post(f"{PATH}/resume")
    ran = client.post(f"{PATH}/run").json["job_id"]
    client.delete(PATH)

    record = client.get("/audit").json[::-1]

    acts = ["put_schedule", "put_schedule", "pause_schedule", "resume_schedule", "run_schedule", "delete_schedule"]
    assert [each["action"] for each in record] == acts
    assert {each["target"] for each in record} == {"nightly"}
    assert record[1]["details"] == {
        "changes": {
            "cron": {"old": "0 2 * * *", "new": "0 3 * * *"},
            "priority": {"old": 0, "new": 5},
            "payload": {},
        }
    }
    assert record[4]["details"] == {"job": ran}
    assert "geheim" not in str(record)


def test_a_key_of_some_queues_sees_only_their_schedules(closed: FlaskClient, make_key: MakeKey, sql: Sql) -> None:
    (_, admin), (_, limited) = make_key(Scope.ADMIN), make_key(Scope.ADMIN, queues=["mail"])
    closed.put("/schedules/of-mail", json={**BODY, "job": {**EMAIL, "queue": "mail"}}, headers=admin)
    closed.put("/schedules/other", json=BODY, headers=admin)

    assert [each["name"] for each in closed.get("/schedules", headers=limited).json] == ["of-mail"]
    for verb in ("run", "pause", "resume"):
        answers = [closed.post(f"/schedules/{name}/{verb}", headers=limited) for name in ("of-mail", "other")]
        assert [answer.status_code for answer in answers] == [201 if verb == "run" else 200, 404]
    assert closed.get("/schedules/other/ticks", headers=limited).status_code == 404


def refuse_once(conn: Connection, sql: Sql, **columns: Any) -> None:
    """Let a schedule be due, and the database refuse its job."""
    plant(sql, seconds_ago=20, every_seconds=20, **{**REFUSED_JOB, **columns})
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
    assert reasons[0]["message"].endswith("1 time in a row and workers will try again: no such customer")
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

    assert check["message"].startswith("1 schedule has overdue ticks, the oldest by 70 s; the database refuses")
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
        fire(conn)
    ids = [str(job) for (job,) in sql("SELECT job_id FROM haulier.tick ORDER BY schedule_id DESC, scheduled_at DESC")]

    assert [tick["job_id"] for page in pages(client, f"{PATH}/ticks?limit=1") for tick in page] == ids
    assert len(ids) >= 6
    assert client.get(f"{PATH}/ticks?cursor=2026-01-01T00:00:00Z").status_code == 422
