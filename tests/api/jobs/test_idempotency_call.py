"""The idempotency key: one request, one job, however often and from however many it comes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from tests.http.answers import not_refused
from tests.web import Server

Json = dict[str, Any]


def post(client: FlaskClient, request: Json, key: str | None = None) -> Any:
    return client.post("/jobs", json=request, headers={} if key is None else {"Idempotency-Key": key})


def test_the_same_key_and_request_give_the_first_job(
    client: FlaskClient, email: Json, count_jobs: Callable[[], int]
) -> None:
    first = post(client, email, "k")

    again = post(client, email, "k")

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert count_jobs() == 1


def test_requests_are_compared_after_defaults(client: FlaskClient) -> None:
    equal: list[tuple[Json, Json]] = [
        ({}, {"max_attempts": 3}),
        ({"queue": None}, {"queue": "default", "priority": 0}),
        ({"payload": {"text": "Hi."}}, {"payload": {"text": "Hi.", "sentences": 3}}),
        ({"payload": {"text": "Hi.", "language": None}}, {"payload": {"text": "Hi."}}),
        ({"run_at": "2031-01-01T00:00:00Z"}, {"run_at": "2031-01-01T02:00:00.000+02:00"}),
        ({"priority": 2}, {"priority": 2.0}),
        ({"tags": []}, {"tags": None}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
    ]
    text = {"kind": "summarize_text", "payload": {"text": "Hi."}}
    for number, pair in enumerate(equal):
        answers = [post(client, {**text, **more}, f"k{number}") for more in pair]

        assert [answer.status_code for answer in answers] == [201, 200], pair


def test_the_same_key_for_another_request_is_422(
    client: FlaskClient, email: Json, count_jobs: Callable[[], int]
) -> None:
    others: list[Json] = [
        {"priority": 1},
        {"max_attempts": 4},
        {"queue": "other"},
        {"timeout_seconds": 5},
        {"tags": ["vip"]},
        {"delay_seconds": 5},
        {"run_at": "2031-01-01T00:00:00Z"},
        {"payload": {"to": "a@b.c", "subject": "Hi", "body": "Goodbye."}},
        {"kind": "summarize_text", "payload": {"text": "Hi."}},
    ]
    post(client, email, "k")

    rows = [({**email, **other}, "idempotency_key") for other in others]

    assert not_refused(lambda request: post(client, request, "k"), rows, (422, "idempotency_mismatch")) == []
    assert count_jobs() == 1


def test_header_and_body_share_one_space_and_the_header_goes_first(client: FlaskClient, email: Json) -> None:
    first = post(client, {**email, "idempotency_key": "body"}, "header")

    by_header, by_body = post(client, email, "header"), post(client, {**email, "idempotency_key": "body"})

    assert first.json["idempotency_key"] == "header"
    assert by_header.json["id"] == first.json["id"]
    assert by_body.status_code == 201


def test_one_pair_of_quotes_is_not_part_of_a_header_key(client: FlaskClient, email: Json) -> None:
    first = post(client, email, '"abc"')

    answers = [post(client, email, "abc"), post(client, email, '""abc""')]

    assert first.json["idempotency_key"] == "abc"
    assert [answer.status_code for answer in answers] == [200, 201]
    assert answers[1].json["idempotency_key"] == '"abc"'


def test_a_replay_gives_the_job_as_it_is_now(client: FlaskClient, email: Json) -> None:
    first = post(client, email, "k")
    client.post(f"/jobs/{first.json['id']}/cancel")

    again = post(client, email, "k")

    assert (again.status_code, again.json["status"]) == (200, "cancelled")


def test_a_key_whose_job_was_purged_is_409(client: FlaskClient, conn: Connection, email: Json) -> None:
    post(client, email, "k")
    with conn.cursor() as cursor:
        cursor.execute("DELETE FROM haulier.job")

    answer = post(client, email, "k")

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")


def test_a_request_that_does_not_fit_takes_no_key(client: FlaskClient, email: Json) -> None:
    post(client, {**email, "priority": "x"}, "k")

    answer = post(client, email, "k")

    assert answer.status_code == 201


def test_without_a_key_every_request_is_a_job_of_its_own(
    client: FlaskClient, email: Json, count_jobs: Callable[[], int]
) -> None:
    answers = [post(client, email) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert count_jobs() == 2


def test_fifty_posts_at_once_with_one_key_make_one_job(
    server: Server, email: Json, count_jobs: Callable[[], int]
) -> None:
    start, answers = threading.Barrier(50), []

    def post_once() -> None:
        start.wait()
        answers.append(requests.post(f"{server.url}/jobs", json=email, headers={"Idempotency-Key": "k"}, timeout=30))

    threads = [threading.Thread(target=post_once) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count_jobs() == 1
