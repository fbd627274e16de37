"""GET /jobs, in both of its orders, and GET /jobs/count."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.search import bounded_scan
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.web.jobs import claim, enqueue


@pytest.fixture
def store(conn: Connection) -> Callable[..., None]:
    """Give a function that stores `count` jobs, a second apart, the last one the newest."""

    def store(count: int, kind: str = "mail", queue: str = "default", *, apart: str = "1 second") -> None:
        with conn.cursor() as cursor:
            cursor.execute(
                "INSERT INTO haulier.job (kind, payload, queue, created_at)"
                " SELECT %s, jsonb_build_object('n', n), %s, timestamptz '2026-01-01 00:00Z' + n * %s::interval"
                " FROM generate_series(1, %s) AS n",
                (kind, queue, apart, count),
            )

    return store


def numbers(answer: Any) -> list[int]:
    return [job["payload"]["n"] for job in answer.json]


def next_path(answer: Any) -> str:
    return str(re.fullmatch(r'<(/jobs\?.*)>; rel="next"', answer.headers["Link"])[1])  # type: ignore[index]


def test_it_is_an_array_newest_first_of_fifty(client: FlaskClient, store: Callable[..., None]) -> None:
    store(60)

    answer = client.get("/jobs")

    assert answer.status_code == 200
    assert numbers(answer) == list(range(60, 10, -1))


def test_a_limit_is_clamped(client: FlaskClient, store: Callable[..., None]) -> None:
    store(205)
    lengths = {"0": 1, "-5": 1, "1": 1, "007": 7, "200": 200, "201": 200, "9" * 5000: 200}

    assert {limit: len(client.get(f"/jobs?limit={limit}").json) for limit in lengths} == lengths


def test_pages_cover_every_job_once_also_if_times_are_equal(client: FlaskClient, store: Callable[..., None]) -> None:
    store(20, apart="0 seconds")

    first = client.get("/jobs?limit=10&status=queued")
    found = pages(client, "/jobs?limit=10&status=queued")

    # A full last page has no next one.
    assert [len(page) for page in found] == [10, 10]
    assert len({job["id"] for page in found for job in page}) == 20
    assert parse_qs(urlsplit(next_path(first)).query) == {
        "limit": ["10"], "status": ["queued"], "cursor": [first.headers["Next-Cursor"]]
    }  # fmt: skip


def test_new_jobs_do_not_make_a_cursors_page_slip(client: FlaskClient, store: Callable[..., None]) -> None:
    store(4)
    first = client.get("/jobs?limit=2")
    client.post("/jobs", json={"kind": "summarize_text", "payload": {"text": "Hi."}})

    second = client.get(f"/jobs?limit=2&cursor={first.headers['Next-Cursor']}")

    assert numbers(second) == [2, 1]


def test_offset_skips_and_its_next_page_goes_on_by_cursor(client: FlaskClient, store: Callable[..., None]) -> None:
    store(5)

    answer = client.get("/jobs?limit=2&offset=1")

    path = next_path(answer)
    assert numbers(answer) == [4, 3]
    assert "offset" not in path
    assert numbers(client.get(path)) == [2, 1]


def test_a_search_that_ends_early_says_how_far_it_came(
    client: FlaskClient, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 4)
    store(1, kind="rare")
    store(9, kind="mail", apart="1 minute")

    first = client.get("/jobs?kind=rare&limit=2")
    second = client.get(next_path(first))
    third = client.get(next_path(second))

    assert [numbers(answer) for answer in (first, second, third)] == [[], [], [1]]
    assert first.headers["Looked-Back-To"] == "2026-01-01T00:06:00.000000Z"
    assert "Looked-Back-To" in second.headers
    assert [name for name in ("Looked-Back-To", "Next-Cursor", "Link") if name in third.headers] == []


def test_created_after_and_before_leave_out_their_own_instant(client: FlaskClient, store: Callable[..., None]) -> None:
    store(5)

    answer = client.get("/jobs?created_after=2026-01-01T00:00:01Z&created_before=2026-01-01T01:00:05%2B01:00")

    assert numbers(answer) == [4, 3, 2]


def test_a_finished_job_is_listed_and_got(client: FlaskClient, email: dict[str, Any]) -> None:
    job = client.post("/jobs", json=email).json
    client.post(f"/jobs/{job['id']}/cancel")

    got = client.get(f"/jobs/{job['id']}").json

    assert got["status"] == "cancelled"
    assert got["finished_at"].endswith("Z")
    assert client.get("/jobs?status=cancelled").json == [got]


# Counts


def test_counts_what_the_list_holds(client: FlaskClient, store: Callable[..., None]) -> None:
    store(60, kind="mail")
    store(3, kind="other", queue="slow")

    answer = client.get("/jobs/count?kind=other")

    assert answer.status_code == 200
    assert (answer.json["count"], answer.json["is_exact"]) == (3, True)
    assert answer.json["at"].endswith("Z")
    assert "Looked-Back-To" not in answer.headers
    assert client.get("/jobs/count").json["count"] == 63
    assert client.get("/jobs/count?queue=slow&status=succeeded").json["count"] == 0
    assert client.get("/jobs/count?created_after=2026-01-01T00:00:58Z").json["count"] == 2


def test_a_count_that_ends_early_says_so(
    client: FlaskClient, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 4)
    store(9)

    answer = client.get("/jobs/count?kind=mail")

    assert (answer.json["count"], answer.json["is_exact"]) == (4, False)
    assert answer.headers["Looked-Back-To"] == "2026-01-01T00:00:06.000000Z"


WAITING = "status=queued&status=retrying"


def ids_in_order(client: FlaskClient, query: str, headers: dict[str, str] | None = None) -> list[str]:
    answer = client.get(f"/jobs?{query}", headers=headers)
    assert answer.status_code == 200, answer.json
    # There is no way on from it, also if it is not all.
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
    assert ids_in_order(client, f"sort=due&queue=mail&{WAITING}&limit=2") == [str(high), str(low)]
    assert ids_in_order(client, f"sort=due&queue=empty&{WAITING}") == []


def test_lists_what_has_run_longest_first(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    jobs = [str(enqueue(conn, queue=queue)) for queue in ("mail", "other", "third")]
    workers = [claim(conn, queue)[0] for queue in ("mail", "other", "third")]
    for job, minutes in zip(jobs, (2, 9, 5), strict=True):
        sql("UPDATE haulier.job SET started_at = now() - make_interval(mins => %s) WHERE id = %s", minutes, job)
    enqueue(conn, queue="mail")
    first, second, third = jobs[1], jobs[2], jobs[0]

    assert ids_in_order(client, "status=running&sort=started") == [first, second, third]
    assert ids_in_order(client, "status=running&sort=started&limit=1") == [first]
    assert ids_in_order(client, "status=running&sort=started&queue=mail&queue=third&kind=send_email") == [second, third]
    assert ids_in_order(client, f"status=running&sort=started&worker={workers[0]}") == [third]


def test_lists_jobs_of_the_keys_queues_alone(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    _, limited = make_key(Scope.READ, queues=["mail"])
    mine, _ = enqueue(conn, queue="mail"), enqueue(conn, queue="salmon")
    claim(conn, "mail")
    claim(conn, "salmon")
    enqueue(conn, queue="salmon")

    assert ids_in_order(closed, "status=running&sort=started", limited) == [str(mine)]
    assert ids_in_order(closed, "status=running&sort=started&queue=salmon", limited) == []
    assert ids_in_order(closed, f"sort=due&queue=salmon&{WAITING}", limited) == []


def test_masks_what_a_kind_keeps_secret(secretive: FlaskClient, make_key: MakeKey) -> None:
    (_, reader), (_, admin) = make_key(Scope.READ), make_key(Scope.ADMIN)
    given = {"kind": "secretive", "payload": {"how": "return", "token": "tok-hunter2"}}
    assert secretive.post("/jobs", json=given, headers=admin).status_code == 201

    answers = [
        secretive.get(f"/jobs?sort=due&queue=default&{WAITING}", headers=headers).text for headers in (reader, admin)
    ]

    assert ["tok-hunter2" in text for text in answers] == [False, True]


def test_refuses_filters_that_the_order_does_not_take(client: FlaskClient) -> None:
    of_mail = f"sort=due&queue=mail&{WAITING}"
    queries = ["sort=", "sort=DUE", "sort=newest", "sort=due", "sort=started", "sort=due&queue=mail"]
    queries += [f"sort=due&{WAITING}", "sort=due&queue=mail&status=queued", f"{of_mail}&queue=bulk"]
    more = ["status=running", "kind=mail", "payload.a=1", "offset=0", f"cursor=A{'A' * 31}", "sort=due"]
    queries += [f"{of_mail}&{each}" for each in more]
    queries += ["sort=started&status=queued"]
    more = ["status=queued", "tag=night", "created_after=2026-01-01T00:00:00Z", "payload.a=1"]
    queries += [f"sort=started&status=running&{each}" for each in more]

    assert not_refused(lambda query: client.get(f"/jobs?{query}"), [(query, "sort") for query in queries]) == []


def test_is_of_the_list_of_jobs_alone(client: FlaskClient) -> None:
    answers = [client.get(f"{path}?sort=started&status=running") for path in ("/jobs/count", "/errors", "/workers")]

    assert [(answer.status_code, "sort" in answer.json["details"]) for answer in answers] == [(422, True)] * 3
