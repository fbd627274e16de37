"""GET /jobs and GET /jobs/{id}."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.queue.produce import look_back


@pytest.fixture
def store(conn: Connection) -> Callable[..., None]:
    """Give a function that stores so many jobs, a second apart, the last one the newest."""

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


def next_path(answer: Any) -> str | None:
    link = answer.headers.get("Link")
    return re.fullmatch(r'<(/jobs\?.*)>; rel="next"', link)[1] if link else None


def test_it_is_an_array_newest_first_of_fifty(client: FlaskClient, store: Callable[..., None]) -> None:
    store(60)

    answer = client.get("/jobs")

    assert answer.status_code == 200
    assert numbers(answer) == list(range(60, 10, -1))


@pytest.mark.parametrize(
    ("limit", "length"), [("0", 1), ("-5", 1), ("1", 1), ("200", 200), ("201", 200), ("9" * 5000, 200), ("007", 7)]
)
def test_limit_is_clamped(client: FlaskClient, store: Callable[..., None], limit: str, length: int) -> None:
    store(205)

    answer = client.get(f"/jobs?limit={limit}")

    assert len(answer.json) == length


def test_pages_by_cursor_cover_every_job_once_also_where_times_are_equal(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(25, apart="0 seconds")
    path: str | None = "/jobs?limit=10&status=queued"
    seen: list[list[str]] = []

    while path:
        answer = client.get(path)
        seen.append([job["id"] for job in answer.json])
        cursor = answer.headers.get("Next-Cursor")
        path = next_path(answer)
        assert (cursor is None) == (path is None)
        if path:
            assert parse_qs(urlsplit(path).query) == {"limit": ["10"], "status": ["queued"], "cursor": [cursor]}

    assert [len(page) for page in seen] == [10, 10, 5]
    assert len({job for page in seen for job in page}) == 25


def test_a_full_last_page_has_no_next(client: FlaskClient, store: Callable[..., None]) -> None:
    store(10)

    answer = client.get("/jobs?limit=10")

    assert "Link" not in answer.headers
    assert "Next-Cursor" not in answer.headers


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
    assert path is not None
    assert "offset" not in path
    assert numbers(client.get(path)) == [2, 1]


def test_filters_narrow_the_list(client: FlaskClient, store: Callable[..., None]) -> None:
    store(2, kind="mail")
    store(3, kind="other", queue="slow")

    assert len(client.get("/jobs?kind=mail").json) == 2
    assert len(client.get("/jobs?queue=slow").json) == 3
    assert len(client.get("/jobs?status=queued").json) == 5
    assert client.get("/jobs?status=succeeded").json == []
    assert client.get("/jobs?kind=never.heard-of").json == []


def test_a_look_that_ends_early_says_how_far_it_came_and_the_next_goes_on(
    client: FlaskClient, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_back, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(look_back, "FIRST_ROWS", 4)
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


def test_a_job_that_is_not_there_is_404(client: FlaskClient) -> None:
    answer = client.get("/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")

    assert (answer.status_code, answer.json["error"]) == (404, "not_found")
    assert answer.json["message"] == "job 0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11 not found"


def test_an_offset_beyond_ten_thousand_is_refused_and_points_to_the_cursor(client: FlaskClient) -> None:
    taken, refused = client.get("/jobs?offset=10000"), client.get("/jobs?offset=10001")

    assert (taken.status_code, taken.json) == (200, [])
    assert (refused.status_code, refused.json["error"]) == (422, "validation")
    [said] = refused.json["details"]["offset"]
    assert "0 to 10000" in said
    assert "cursor" in said
    assert "Next-Cursor" in said


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
    monkeypatch.setattr(look_back, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(look_back, "FIRST_ROWS", 4)
    store(9)

    answer = client.get("/jobs/count?kind=mail")

    assert (answer.json["count"], answer.json["is_exact"]) == (4, False)
    assert answer.headers["Looked-Back-To"] == "2026-01-01T00:00:06.000000Z"


@pytest.mark.parametrize("query", ["limit=5", "offset=1", "cursor=x", "status=x", "kind=X"])
def test_a_count_takes_no_page(client: FlaskClient, query: str) -> None:
    assert client.get(f"/jobs/count?{query}").status_code == 422
