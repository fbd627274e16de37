"""The filter that GET /jobs and GET /jobs/count share."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.domain.text import cut
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.requests.invalid import MAX_NAME
from tests import queueing
from tests.http.answers import not_refused
from tests.http.callers import MakeKey

ORDER = {
    "order": {"id": 4711, "lines": [{"sku": "a-1"}, {"sku": "b.2"}]},
    "test": True,
    "note": "Zürich & co=1",
    "no": None,
}


@pytest.fixture
def orders(conn: Connection) -> None:
    """Store three jobs: two of the queue default, of which one has ended, and one of bulk that runs."""
    with conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload, queue, idempotency_key, tags) VALUES"
            " ('mail', %s, 'default', 'order-4711', ARRAY['vip', 'Größe & co=1']),"
            " ('report', '{\"order\": {\"id\": 12}}', 'bulk', NULL, ARRAY['nightly', 'vip'])",
            (json.dumps(ORDER),),
        )
        cursor.execute(
            "INSERT INTO haulier.finished_job (id, status, kind, queue, priority, run_at, attempt, started_at,"
            " attempts, max_attempts, crashes, snoozes, cancel_requested, payload, errors, created_at, updated_at,"
            " finished_at, error_id, tags)"
            " VALUES (gen_random_uuid(), 'failed_permanent', 'image', 'default', 0, now(), 3, now(), 3, 3, 0, 0, false,"
            " '{\"order\": {\"id\": \"4711\"}}', '[]', now(), now(), now(), -1, '{nightly}')"
        )


def kinds(client: FlaskClient, query: str, **headers: str) -> list[str]:
    listed = client.get(f"/jobs?{query}", headers=headers)
    counted = client.get(f"/jobs/count?{query}", headers=headers)
    assert (listed.status_code, counted.status_code) == (200, 200), listed.json
    assert counted.json["count"] == len(listed.json)
    return sorted(job["kind"] for job in listed.json)


# Each with the kinds of the orders that it finds.
FOUND = {
    "kind=mail&kind=image&kind=mail": "image mail",
    "queue=bulk&queue=default": "image mail report",
    "status=queued&status=failed_permanent&queue=default": "image mail",
    "key=order-4711": "mail",
    "key=order-471": "",
    "tag=vip": "mail report",
    "tag=nightly&tag=Gr%C3%B6%C3%9Fe%20%26%20co%3D1": "image mail report",
    "tag=vip&tag=vip&queue=bulk": "report",
    "tag=nightly&status=failed_permanent&error=ffffffffffffffff": "image",
    "tag=Vip": "",
    "tag=vip&payload.order.id=12": "report",
    "error=ffffffffffffffff": "image",
    "error=ffffffffffffffff&kind=image&status=failed_permanent&payload.order.id=4711": "image",
    "error=ffffffffffffffff&kind=mail": "",
    "error=ffffffffffffffff&status=queued": "",
    "error=0000000000000001": "",
    "attempts_min=3": "image",
    "attempts_min=4": "",
    "attempts_min=0": "image mail report",
    "finished_after=2020-01-01T00:00:00Z": "image",
    "finished_before=2020-01-01T00:00:00Z": "",
    "finished_after=2020-01-01T00:00:00Z&status=queued": "",
    "worker=0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11": "",
    "payload.order.id=4711": "image mail",
    "payload.order.id=4711&kind=mail": "mail",
    "payload.order.lines.1.sku=b.2": "mail",
    "payload.order.lines.-1.sku=b.2": "mail",
    "payload.test=true": "mail",
    "payload.note=Z%C3%BCrich%20%26%20co%3D1": "mail",
    "payload.no=null": "",
    "payload.never=": "",
    "payload.order.id=12&payload.test=true": "",
    "payload.%7Border%7D=1": "",
    "payload.a%22b%5C.c%27=%22%5C%27": "",
}


def test_finds_jobs_by_each_condition_and_by_several(client: FlaskClient, orders: None) -> None:
    assert {query: " ".join(kinds(client, query)) for query in FOUND} == FOUND


def test_finds_what_a_worker_runs(client: FlaskClient, conn: Connection, orders: None) -> None:
    worker, other = uuid4(), uuid4()
    with conn.cursor() as cursor:
        cursor.execute(
            "UPDATE haulier.job SET status = 'running', worker_id = CASE kind WHEN 'mail' THEN %s ELSE %s END,"
            " attempts = 1, attempt = 1, claim = gen_random_uuid(), started_at = now()",
            (worker, other),
        )

    assert kinds(client, f"worker={worker}") == ["mail"]
    assert kinds(client, f"worker={worker}&status=queued") == []
    assert kinds(client, "tag=vip") == ["mail", "report"]
    assert kinds(client, f"worker={worker}&tag=vip") == ["mail"]
    assert kinds(client, f"worker={worker}&attempts_min=1&payload.order.id=4711") == ["mail"]
    assert kinds(client, f"worker={worker}&attempts_min=2") == []
    assert kinds(client, f"worker={other}&key=order-4711") == []


def test_finds_what_a_worker_ran_last_and_not_what_it_gave_back(client: FlaskClient, conn: Connection) -> None:
    first, second = (
        claims.register(conn, host="dock", pid=pid, threads=8, queues=(), lease_seconds=60) for pid in (1, 2)
    )
    outcomes = {
        "done": Outcome.complete(),
        "failed": Outcome.fail_for_good("no luck"),
        "again": Outcome.fail("no luck", delay=3600),
        "back": Outcome.snooze(3600),
        "stopped": Outcome.complete(),
        "runs": None,
    }
    for kind in outcomes:
        queueing.enqueue(conn, [NewJob(kind, {})])
    jobs = queueing.claim(conn, worker_id=first, claim_id=uuid4(), queues=(), limit=len(outcomes))
    by_kind = {job.kind: job for job in jobs}
    job_acts.cancel(conn, by_kind["stopped"].id)
    claims.settle(conn, [Settlement(Fence.of(by_kind[kind]), outcome) for kind, outcome in outcomes.items() if outcome])

    assert kinds(client, f"worker={first}") == ["done", "failed", "runs", "stopped"]
    assert kinds(client, f"worker={first}&status=succeeded") == ["done"]
    assert kinds(client, f"worker={first}&status=retrying") == []
    assert kinds(client, f"worker={second}") == []
    workers = {job["kind"]: job["worker_id"] for job in client.get("/jobs").json}
    assert workers == {kind: None if kind in ("again", "back") else str(first) for kind in outcomes}


REFUSED = [
    # Of the list alone: a count has no page.
    *((f"limit={value}", "limit") for value in ("ten", "", "2.5", "%D9%A3")),
    ("limit=5&limit=5", "limit"),
    *((f"offset={value}", "offset") for value in (-1, 10001, 2147483647, "9" * 5000)),
    *((f"cursor={value}", "cursor") for value in ("garbage", "", "%ff" * 32, "_" * 32)),
    ("offset=0&cursor=A" + "0" * 31, "cursor"),
]
REFUSED_CONDITIONS = [
    *((f"status={value}", "status") for value in ("done", "", "queued&status=lost")),
    *((f"kind={value}", "kind") for value in ("Send", "", "a%0a", "mail&kind=X")),
    *((f"queue={value}", "queue") for value in ("%00", "%ff", "&".join(f"queue=q{n}" for n in range(21)))),
    *((f"tag={value}", "tag") for value in ("", "a&tag=" + "x" * 65, "a%00", "&".join(f"tag=a{n}" for n in range(21)))),
    ("worker=me", "worker"),
    *((f"error={value}", "error") for value in ("", "F" * 16, "f" * 15, "ffffffffffffffff&error=0000000000000001")),
    *((f"key={value}", "key") for value in ("", "a%20b", "a&key=b")),
    *((f"attempts_min={value}", "attempts_min") for value in (-1, 1001)),
    ("created_after=2026-01-01", "created_after"),
    *((f"created_before={value}", "created_before") for value in ("2026-01-01T00:00:00", "9999-12-31T23:59:59-12:00")),
    ("finished_after=yesterday", "finished_after"),
    ("payload.a=1&payload.a=2", "payload.a"),
    ("payload.=1", "payload."),
    ("payload.a..b=1", "payload.a..b"),
    ("payload.a%00=1", "payload.a\0"),
    ("payload.a=%00", "payload.a"),
    ("payload.a=" + "x" * 1001, "payload.a"),
    ("payload." + "x" * 201 + "=1", cut("payload." + "x" * 201, MAX_NAME)),
    ("&".join(f"payload.a{n}=1" for n in range(6)), "_schema"),
    # Names that there are not.
    *((f"{name}=1", name) for name in ("payload", "kinds", "tags", "limitt", "LIMIT")),
]


def test_refuses_a_query_that_does_not_fit_and_names_the_parameter(client: FlaskClient) -> None:
    no_page = [(query, name) for query, name in (("limit=5", "limit"), ("offset=1", "offset"), ("cursor=x", "cursor"))]
    rows = {"/jobs": [*REFUSED, *REFUSED_CONDITIONS], "/jobs/count": [*no_page, *REFUSED_CONDITIONS]}

    wrong = {path: not_refused(lambda query: client.get(f"{path}?{query}"), rows[path]) for path in rows}  # noqa: B023

    assert wrong == {"/jobs": [], "/jobs/count": []}


def test_the_next_page_keeps_every_condition(client: FlaskClient, orders: None) -> None:
    query = "queue=default&queue=bulk&status=queued&status=failed_permanent&limit=1&payload.order.id=4711"
    query += "&tag=nightly&tag=Gr%C3%B6%C3%9Fe%20%26%20co%3D1"

    first = client.get(f"/jobs?{query}")
    second = client.get(first.headers["Link"].split(">")[0][1:])

    assert sorted(job["kind"] for job in first.json + second.json) == ["image", "mail"]
    assert "Link" not in second.headers


def test_a_key_of_one_queue_finds_nothing_of_others(closed: FlaskClient, make_key: MakeKey, orders: None) -> None:
    _, headers = make_key(Scope.READ, queues=["bulk"])
    own = {"payload.order.id=12": ["report"], "queue=default&queue=bulk": ["report"], "tag=nightly&tag=vip": ["report"]}
    others = {"payload.order.id=4711": [], "queue=default": []}

    assert {query: kinds(closed, query, **headers) for query in {**own, **others}} == {**own, **others}


SECRET = ["token", "token.x", "login", "login.password", "logins", "logins.0.password", "logins.-1", "keys.one", "pin"]


def test_no_guess_at_a_secret_is_answered(secretive: FlaskClient, make_key: MakeKey) -> None:
    (_, reader), (_, admin) = make_key(Scope.READ), make_key(Scope.ADMIN)

    def status(query: str, headers: dict[str, str]) -> int:
        return secretive.get(f"/jobs?{query}", headers=headers).status_code

    assert [path for path in SECRET if status(f"payload.{path}=x", reader) != 422] == []
    assert status("payload.pin=7&kind=secretive&kind=mail", reader) == 422
    assert status("payload.pin=7&kind=summarize_text", reader) == 200
    assert status("payload.pin=7", admin) == 200
    assert status("payload.login.user=ann", reader) == 200
