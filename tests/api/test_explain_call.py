"""GET /jobs/{id}/explain: why a job waits, or who runs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from uuid import UUID, uuid4

from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.waiting import Code
from haulier.postgres.connection import connect
from haulier.queue import consume
from tests import queueing
from tests.docs.reading import section
from tests.http.callers import MakeKey, closed, make_key, public  # noqa: F401  # fixtures
from tests.roles import Roles
from tests.web import EMAIL


def register(conn: Connection) -> UUID:
    return consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)


def test_gives_each_reason_with_its_code_its_sentence_and_where_to_look(client: FlaskClient) -> None:
    job = client.post("/jobs", json={**EMAIL, "delay_seconds": 3600}).json

    answer = client.get(f"/jobs/{job['id']}/explain")

    assert answer.status_code == 200
    assert answer.json == {
        "status": "queued",
        "reasons": [
            {
                "code": "not_due",
                "message": "its time has not come",
                "since": None,
                "until": job["run_at"],
                "link": None,
            },
            {
                "code": "no_worker_for_queue",
                "message": "no worker lives",
                "since": None,
                "until": None,
                "link": "/workers",
            },
        ],
        "run": None,
    }


def test_says_who_runs_a_job_and_that_nobody_does_once_it_has_ended(client: FlaskClient, conn: Connection) -> None:
    path, worker = client.post("/jobs", json={**EMAIL, "timeout_seconds": 60}).headers["Location"], register(conn)
    queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())

    running = client.get(f"{path}/explain").json
    job = client.get(path).json

    assert (running["status"], running["reasons"]) == ("running", [])
    run = running["run"]
    assert (run["worker_id"], run["worker"], run["since"]) == (str(worker), "dock:7", job["started_at"])
    assert run["since"] < run["lease_ends"] < run["deadline"]


def test_a_job_that_is_not_there_is_404(client: FlaskClient) -> None:
    answer = client.get(f"/jobs/{uuid4()}/explain")

    assert (answer.status_code, answer.json["error"]) == (404, "not_found")


def test_tells_a_key_of_one_queue_nothing_of_other_queues(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    conn: Connection,
) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.READ, queues=["mail"])
    register(conn)
    for queue in ("mail", "bulk", "bulk"):
        closed.post("/jobs", json={**EMAIL, "queue": queue, "priority": 1}, headers=anyone)
    own = closed.post("/jobs", json={**EMAIL, "queue": "mail"}, headers=anyone).headers["Location"]

    told = [closed.get(f"{own}/explain", headers=who).json["reasons"][0]["message"] for who in (anyone, limited)]

    assert told == ["3 due jobs may start before it", "1 due job of its queue may start before it"]


def test_the_role_of_the_api_may_ask_all_of_it(roles: Roles) -> None:
    app: Flask = build(Config(database_url=roles.web))
    client = app.test_client()
    path = client.post("/jobs", json=EMAIL).headers["Location"]
    with closing(connect(roles.worker)) as worker:
        register(worker)

    assert client.get(f"{path}/explain").json["reasons"] == []
    with closing(connect(roles.worker)) as rival, rival.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        [reason] = client.get(f"{path}/explain").json["reasons"]
        assert reason["code"] == "locked"
    app.extensions["haulier"].database.close()


def test_the_pages_name_each_code_in_the_order_in_which_reasons_are_given() -> None:
    pages: list[Callable[[], str]] = [
        lambda: section("docs/why-waiting.md", "## What explain says"),
        lambda: section("docs/api.md", "### GET /jobs/{id}/explain"),
    ]

    for page in pages:
        rows = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
        assert [code for code in rows if code != "code"] == [str(code) for code in Code]
