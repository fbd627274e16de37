"""GET /jobs?sort=…: the first jobs in another order than newest first. It ..."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.conftest import Sql
from tests.http.callers import MakeKey, closed, make_key, public  # noqa: F401  # fixtures
from tests.web.jobs import claim, enqueue

WAITING = "status=queued&status=retrying"


def ids(client: FlaskClient, query: str, headers: dict[str, str] | None = None) -> list[str]:
    answer = client.get(f"/jobs?{query}", headers=headers)
    assert answer.status_code == 200, answer.json
    # There is no way on from it, also where it is not all.
    assert not {"Link", "Next-Cursor", "Looked-Back-To"} & set(answer.headers.keys())
    return [job["id"] for job in answer.json]


def test_lists_what_of_a_queue_runs_next_first(client: FlaskClient, conn: Connection) -> None:
    low = enqueue(conn, queue="mail")
    later = enqueue(conn, queue="mail", priority=9, delay=timedelta(hours=1))
    high = enqueue(conn, queue="mail", priority=5)
    enqueue(conn, queue="other", priority=9)

    found = client.get(f"/jobs?{WAITING}&queue=mail&sort=due").json

    assert [job["id"] for job in found] == [str(high), str(low), str(later)]
    assert found == [client.get(f"/jobs/{job['id']}").json for job in found]
    assert ids(client, f"sort=due&queue=mail&{WAITING}&limit=2") == [str(high), str(low)]
    assert ids(client, f"sort=due&queue=empty&{WAITING}") == []


def test_lists_what_has_run_longest_first(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    jobs = [str(enqueue(conn, queue=queue)) for queue in ("mail", "other", "third")]
    workers = [claim(conn, queue)[0] for queue in ("mail", "other", "third")]
    for job, minutes in zip(jobs, (2, 9, 5), strict=True):
        sql("UPDATE haulier.job SET started_at = now() - make_interval(mins => %s) WHERE id = %s", minutes, job)
    enqueue(conn, queue="mail")
    first, second, third = jobs[1], jobs[2], jobs[0]

    assert ids(client, "status=running&sort=started") == [first, second, third]
    assert ids(client, "status=running&sort=started&limit=1") == [first]
    assert ids(client, "status=running&sort=started&queue=mail&queue=third&kind=send_email") == [second, third]
    assert ids(client, f"status=running&sort=started&worker={workers[0]}") == [third]


def test_lists_jobs_of_the_keys_queues_alone(
    closed: FlaskClient,  # noqa: F811
    make_key: MakeKey,  # noqa: F811
    conn: Connection,
) -> None:
    _, limited = make_key(Scope.READ, queues=["mail"])
    mine, _ = enqueue(conn, queue="mail"), enqueue(conn, queue="salmon")
    claim(conn, "mail")
    claim(conn, "salmon")
    enqueue(conn, queue="salmon")

    assert ids(closed, "status=running&sort=started", limited) == [str(mine)]
    assert ids(closed, "status=running&sort=started&queue=salmon", limited) == []
    assert ids(closed, f"sort=due&queue=salmon&{WAITING}", limited) == []


def test_masks_what_a_kind_keeps_secret(secretive: FlaskClient, make_key: MakeKey) -> None:  # noqa: F811
    (_, reader), (_, admin) = make_key(Scope.READ), make_key(Scope.ADMIN)
    given = {"kind": "secretive", "payload": {"how": "return", "token": "tok-hunter2"}}
    assert secretive.post("/jobs", json=given, headers=admin).status_code == 201

    answers = [
        secretive.get(f"/jobs?sort=due&queue=default&{WAITING}", headers=headers).text for headers in (reader, admin)
    ]

    assert ["tok-hunter2" in text for text in answers] == [False, True]


@pytest.mark.parametrize(
    "query",
    [
        "sort=",
        "sort=DUE",
        "sort=newest",
        "sort=due",
        "sort=started",
        "sort=due&queue=mail",
        f"sort=due&{WAITING}",
        "sort=due&queue=mail&status=queued",
        f"sort=due&queue=mail&queue=bulk&{WAITING}",
        f"sort=due&queue=mail&{WAITING}&status=running",
        f"sort=due&queue=mail&{WAITING}&kind=mail",
        f"sort=due&queue=mail&{WAITING}&payload.a=1",
        f"sort=due&queue=mail&{WAITING}&offset=0",
        f"sort=due&queue=mail&{WAITING}&cursor=A{'A' * 31}",
        f"sort=due&queue=mail&{WAITING}&sort=due",
        "sort=started&status=queued",
        "sort=started&status=running&status=queued",
        "sort=started&status=running&tag=night",
        "sort=started&status=running&created_after=2026-01-01T00:00:00Z",
        "sort=started&status=running&payload.a=1",
    ],
)
def test_refuses_what_the_order_is_not_of_and_names_it(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/jobs?{query}")

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert answer.json["details"].keys() == {"sort"}


@pytest.mark.parametrize("path", ["/jobs/count", "/errors", "/workers"])
def test_is_of_the_list_of_jobs_alone(client: FlaskClient, path: str) -> None:
    answer = client.get(f"{path}?sort=started&status=running")

    assert answer.status_code == 422
    assert "sort" in answer.json["details"]
