"""A constraint or a trigger of the owner's that refuses a job. The API ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.queue import search
from tests.conftest import Sql
from tests.isolation.rows import refusing
from tests.web import EMAIL
from tests.web.jobs import in_all_states

SLUG = "refused_by_database"
# For one job the SQLSTATE may be any: a right that the trigger's own tables lack, or a class of the owner's.
SQLSTATES = ("P0001", "22023", "23514", "42501", "MY001")
ORDER = {"kind": "summarize_text", "payload": {"text": "An order."}, "queue": "orders"}
IS_ORDER = "NEW.queue = 'orders'"


def test_answers_422_with_the_message_and_no_row_whatever_is_raised(client: FlaskClient, conn: Connection) -> None:
    answers = []
    for sqlstate in SQLSTATES:
        for is_deferred in (False, True):
            with refusing(conn, "job", "INSERT", IS_ORDER, sqlstate, is_deferred=is_deferred):
                answers.append(client.post("/jobs", json=ORDER))
                assert client.post("/jobs", json=EMAIL).status_code == 201

    assert {answer.status_code for answer in answers} == {422}
    said = [{name: answer.json[name] for name in ("error", "message", "details")} for answer in answers]
    assert said == [{"error": SLUG, "message": "not this one", "details": {"_schema": ["not this one"]}}] * len(answers)


def test_answers_422_with_the_constraint_and_quotes_no_row(client: FlaskClient, sql: Sql, caplog: Any) -> None:
    sql("ALTER TABLE haulier.job ADD CONSTRAINT short CHECK (octet_length(payload::text) < 40)")
    try:
        answer = client.post("/jobs", json={**EMAIL, "payload": {**EMAIL["payload"], "body": "a secret" * 9}})
    finally:
        sql("ALTER TABLE haulier.job DROP CONSTRAINT short")

    assert (answer.status_code, answer.json["error"]) == (422, SLUG)
    assert answer.json["message"] == 'new row for relation "job" violates check constraint "short"'
    assert "a secret" not in answer.text + caplog.text


def test_answers_503_if_a_trigger_raises_what_passes(client: FlaskClient, conn: Connection) -> None:
    for sqlstate in ("08001", "25006", "53100", "55P03", "57P03"):
        with refusing(conn, "job", "INSERT", IS_ORDER, sqlstate):
            answer = client.post("/jobs", json=ORDER)

        assert (answer.status_code, answer.json["error"]) == (503, "unavailable"), sqlstate
        assert "Retry-After" in answer.headers
        assert "secret" not in answer.text


def test_names_the_refused_jobs_of_a_batch_and_stores_none(
    client: FlaskClient, conn: Connection, count_jobs: Callable[[], int]
) -> None:
    items = [EMAIL, ORDER, {**EMAIL, "idempotency_key": "k"}, ORDER, EMAIL]

    for is_deferred in (False, True):
        with refusing(conn, "job", "INSERT", IS_ORDER, "MY001", is_deferred=is_deferred):
            answer = client.post("/jobs/batch", json=items)

        assert (answer.status_code, answer.json["error"]) == (422, SLUG)
        assert answer.json["details"] == {"1": ["not this one"], "3": ["not this one"]}
        assert answer.json["message"] == "the database refuses 2 of 5 jobs, so none was stored: not this one"
        assert count_jobs() == 0
    assert client.post("/jobs/batch", json=items).status_code == 201


def test_stores_the_others_of_a_batch_that_is_not_atomic(
    client: FlaskClient, conn: Connection, count_jobs: Callable[[], int]
) -> None:
    outcomes = [("MY001", 422, SLUG), ("55000", 503, "unavailable")]
    for number, (sqlstate, status, error) in enumerate(outcomes * 2):
        keyed = {**EMAIL, "idempotency_key": f"k{number}"}
        items, before = [EMAIL, ORDER, keyed, keyed, *[EMAIL] * 95, ORDER], count_jobs()

        with refusing(conn, "job", "INSERT", IS_ORDER, sqlstate, is_deferred=number > 1):
            answer = client.post("/jobs/batch?atomic=false", json=items)

        assert answer.status_code == 200
        found = answer.json["items"]
        assert [each["status"] for each in found] == [201, status, 201, 200, *[201] * 95, status]
        assert {each["error"] for each in found if "error" in each} == {error}
        assert count_jobs() == before + 97


def test_answers_422_to_whatever_is_done_to_a_job_or_a_schedule(client: FlaskClient, conn: Connection) -> None:
    jobs = in_all_states(conn)
    schedule = {"job": {**ORDER}, "cron": "0 4 * * *"}
    assert client.put("/schedules/nightly", json=schedule).status_code == 201
    calls = [
        ("job", "UPDATE", "PATCH", f"/jobs/{jobs['queued']}", {"priority": 3}),
        ("finished_job", "INSERT", "POST", f"/jobs/{jobs['queued']}/cancel", None),
        ("job", "UPDATE", "POST", f"/jobs/{jobs['running']}/cancel", None),
        ("job", "INSERT", "POST", f"/jobs/{jobs['failed_permanent']}/retry", None),
        ("job", "INSERT", "POST", f"/jobs/{jobs['succeeded']}/copy", None),
        ("finished_job", "DELETE", "DELETE", f"/jobs/{jobs['succeeded']}", None),
        ("job", "INSERT", "POST", "/schedules/nightly/run", None),
    ]
    before = {name: search.get(conn, job) for name, job in jobs.items()}

    for table, event, method, path, body in calls:
        for is_deferred in (False, True):
            with refusing(conn, table, event, "true", "MY001", is_deferred=is_deferred):
                answer = client.open(path, method=method, json=body)

            assert (answer.status_code, answer.json["error"]) == (422, SLUG), (path, answer.json)
            assert answer.json["message"] == "not this one"

    assert {name: search.get(conn, job) for name, job in jobs.items()} == before
