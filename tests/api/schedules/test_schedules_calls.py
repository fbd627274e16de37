"""The calls about schedules: what operators make, see and change of them. Each ..."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.queue.schedules.fire import fire_due
from tests.conftest import PATIENCE
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.queue.schedules.schedules import Sql, plant, set_time, ticks
from tests.web import EMAIL

BODY = {"cron": "0 2 * * *", "time_zone": "Europe/Berlin", "job": EMAIL}
PATH = "/schedules/nightly"
SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def put(client: FlaskClient, **body: Any) -> Any:
    return client.put(PATH, json={**BODY, **body})


def fire(conn: Connection) -> int:
    return fire_due(conn, retention_days=30).fired


@pytest.fixture
def time(sql: Sql) -> Iterator[Callable[[str], None]]:
    """Give a function that moves the time by which schedules go."""
    yield lambda expression: set_time(sql, expression)
    set_time(sql)


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
    put(client, cron=" 0 2 *  * * ", jitter_seconds=60)
    before = sql("SELECT ctid, xmin FROM haulier.schedule")

    again = put(client, jitter_seconds=60, missed_max=None)

    assert again.status_code == 200
    assert sql("SELECT ctid, xmin FROM haulier.schedule") == before != []
    assert sql("SELECT action, target FROM haulier.audit") == [("put_schedule", "nightly")]
    assert sql("SELECT decided_to = created_at FROM haulier.schedule") == [(True,)]


def test_true_is_not_1_if_a_job_is_changed(client: FlaskClient, sql: Sql) -> None:
    hook = {"kind": "webhook_delivery", "payload": {"url": "https://a.example/", "body": {"n": 1}}}
    put(client, job=hook)

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
    assert sql("SELECT FROM haulier.schedule") == sql("SELECT FROM haulier.audit") == []


def test_a_bad_name_is_404_and_preview_is_refused(client: FlaskClient) -> None:
    for name in ("Nightly", "a%00b", "1st", "x" * 65, "a b"):
        answers = [client.put(f"/schedules/{name}", json=BODY), client.get(f"/schedules/{name}")]

        assert [answer.status_code for answer in answers] == [404, 404]
    assert client.put("/schedules/preview", json=BODY).status_code == 422
    assert client.options("/schedules/preview").allow.as_set() == {"post", "options"}
    assert client.get("/schedules/preview").status_code == 404


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


def test_thousands_of_undecided_ticks_are_accounted_for_before_a_change(client: FlaskClient, sql: Sql) -> None:
    plant(sql, seconds_ago=2500, missed="skip")

    assert put(client).status_code == 200

    assert 2500 <= len(ticks(sql)) <= 2510
    assert sql("SELECT cron FROM haulier.schedule") == [("0 2 * * *",)]


def test_many_that_put_one_name_at_once_make_one(client: FlaskClient, database: str, sql: Sql) -> None:
    app, answers = build(Config(database_url=database)), []

    def put_one(number: int) -> None:
        answers.append(app.test_client().put(PATH, json={**BODY, "jitter_seconds": number}).status_code)

    threads = [threading.Thread(target=put_one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(answers) == [200, 200, 200, 200, 200, 201]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'put_schedule'") == [(6,)]


def test_a_schedule_of_the_file_is_409_to_change_and_to_delete(client: FlaskClient, sql: Sql) -> None:
    plant(sql, source="file")

    assert [put(client).status_code, client.delete(PATH).status_code] == [409, 409]
    assert client.post(f"{PATH}/pause").status_code == 200


def test_a_pause_lets_ticks_pass_and_a_resume_leaves_no_backlog(
    client: FlaskClient, conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, every_seconds=60)
    paused = client.post(f"{PATH}/pause")
    time("now() + interval '3 minutes 1 second'")
    # Nobody decides anything meanwhile.
    resumed = client.post(f"{PATH}/resume")
    time("now() + interval '4 minutes 2 seconds'")
    fire(conn)

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


def test_pages_lead_to_the_last_schedule_and_to_the_oldest_tick(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    for number in range(5):
        plant(sql, f"s{number}", seconds_ago=5)
    fire(conn)

    names = [each["name"] for page in pages(client, "/schedules?limit=2") for each in page]
    times = [each["scheduled_at"] for page in pages(client, "/schedules/s0/ticks?limit=2") for each in page]

    assert names == [f"s{number}" for number in range(5)]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times) == 5


def test_a_page_of_large_jobs_is_short_and_leads_on(client: FlaskClient, sql: Sql) -> None:
    for number in range(5):
        plant(sql, f"s{number}", job={"kind": "mail", "payload": {"text": "x" * 3_000_000}})

    page = client.get("/schedules")
    rest = client.get(f"/schedules?cursor={page.headers['Next-Cursor']}")

    assert [each["name"] for each in page.json] == ["s0", "s1", "s2"]
    assert [each["name"] for each in rest.json] == ["s3", "s4"]
    assert "Next-Cursor" not in rest.headers


def test_shows_and_changes_a_schedule_whose_zone_is_no_longer_known(client: FlaskClient, sql: Sql) -> None:
    plant(sql, seconds_ago=9, time_zone="Mars/Olympus")

    assert client.get(PATH).json["next_ticks"] == []
    assert put(client).status_code == 200
    assert len(client.get(PATH).json["next_ticks"]) == 10


def test_a_preview_shows_what_clocks_do_and_stores_nothing(client: FlaskClient, sql: Sql) -> None:
    asked = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "from": "2026-03-28T12:00:00Z", "count": 1}
    spring = client.post("/schedules/preview", json=asked).json
    autumn = client.post("/schedules/preview", json={**asked, "from": "2026-10-24T12:00:00Z", "count": 2}).json
    every = client.post("/schedules/preview", json={"every_seconds": 90, "from": "2026-01-01T00:00:00Z"}).json

    assert spring == [
        {
            "scheduled_at": "2026-03-29T01:00:00.000000Z",
            "local": "2026-03-29T03:00:00+02:00",
            "note": "Clocks skip the time that is meant: it fires when they go on.",
        }
    ]
    assert [(each["local"], each["note"]) for each in autumn] == [
        ("2026-10-25T02:30:00+02:00", "Clocks show this time twice: the first time."),
        ("2026-10-26T02:30:00+01:00", None),
    ]
    assert [each["scheduled_at"] for each in every[:2]] == [
        "2026-01-01T00:01:30.000000Z",
        "2026-01-01T00:03:00.000000Z",
    ]
    assert len(every) == 10
    hourly = {**asked, "cron": "0 * * * *", "from": "2026-10-25T00:30:00Z", "count": 2}
    notes = [each["note"] for each in client.post("/schedules/preview", json=hourly).json]
    assert notes == ["Clocks show this time twice: the second time.", None]
    assert client.post("/schedules/preview", json={"cron": "x"}).status_code == 422
    assert client.post("/schedules/preview", json={**asked, "from": "9998-12-31T00:00:00Z"}).json == []
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

    assert [each["action"] for each in record] == [
        "put_schedule", "put_schedule", "pause_schedule", "resume_schedule", "run_schedule", "delete_schedule",
    ]  # fmt: skip
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
    assert closed.put("/schedules/new", json=BODY, headers=limited).status_code == 403
    assert closed.delete("/schedules/of-mail", headers=limited).status_code == 403


def test_only_admins_see_secrets_of_the_job(secretive: FlaskClient, make_key: MakeKey) -> None:
    (_, admin), (_, reader) = make_key(Scope.ADMIN), make_key(Scope.READ)
    body = {"every_seconds": 60, "job": {"kind": "secretive", "payload": {"how": "a", "token": "swordfish"}}}
    made = secretive.put(PATH, json=body, headers=admin)

    shown, listed = secretive.get(PATH, headers=reader), secretive.get("/schedules", headers=reader)

    assert "swordfish" in made.text
    assert "swordfish" not in shown.text + listed.text
