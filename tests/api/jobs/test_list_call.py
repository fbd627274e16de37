"""GET /jobs, in both of its orders, and GET /jobs/count: pages, and the filter that they share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.search import bounded_scan
from tests import queueing
from tests.conftest import Sql
from tests.http.answers import pages
from tests.http.callers import MakeKey
from tests.web.jobs import claim, enqueue


@pytest.fixture
def store(sql: Sql) -> Callable[..., None]:
    """Give a function that stores `count` jobs, a second apart, the last one the newest."""

    def store(count: int, kind: str = "mail", *, apart: str = "1 second") -> None:
        sql(
            "INSERT INTO haulier.job (kind, payload, created_at)"
            " SELECT %s, jsonb_build_object('n', n), timestamptz '2026-01-01 00:00Z' + n * %s::interval"
            " FROM generate_series(1, %s) AS n",
            *(kind, apart, count),
        )

    return store


def numbers(answer: Any) -> list[int]:
    return [job["payload"]["n"] for job in answer.json]


def next_path(answer: Any) -> str:
    return str(re.fullmatch(r'<(/jobs\?.*)>; rel="next"', answer.headers["Link"])[1])  # type: ignore[index]


def test_it_is_an_array_newest_first_of_fifty_or_the_clamped_limit(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(205)
    lengths = {"0": 1, "-5": 1, "1": 1, "007": 7, "200": 200, "201": 200, "9" * 5000: 200}

    assert numbers(client.get("/jobs")) == list(range(205, 155, -1))
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


def test_offset_skips_and_its_next_page_goes_on_by_cursor_whatever_comes(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(5)

    answer = client.get("/jobs?limit=2&offset=1")
    client.post("/jobs", json={"kind": "summarize_text", "payload": {"text": "Hi."}})

    path = next_path(answer)
    assert numbers(answer) == [4, 3]
    assert "offset" not in path
    assert numbers(client.get(path)) == [2, 1]
    # Both leave out their own instant.
    between = client.get("/jobs?created_after=2026-01-01T00:00:01Z&created_before=2026-01-01T01:00:05%2B01:00")
    assert numbers(between) == [4, 3, 2]


def test_a_search_or_count_that_ends_early_says_how_far_it_came(
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
    count = client.get("/jobs/count?kind=mail")
    assert (count.json["count"], count.json["is_exact"]) == (4, False)
    assert count.headers["Looked-Back-To"] == "2026-01-01T00:06:00.000000Z"
    assert [name for name in ("Looked-Back-To", "Next-Cursor", "Link") if name in third.headers] == []


def test_counts_what_the_list_holds(client: FlaskClient, store: Callable[..., None]) -> None:
    store(60, kind="mail")
    store(3, kind="other")

    answer = client.get("/jobs/count?kind=other")

    assert (answer.status_code, answer.json["count"], answer.json["is_exact"]) == (200, 3, True)
    assert (answer.json["at"][-1], "Looked-Back-To" in answer.headers) == ("Z", False)
    assert client.get("/jobs/count").json["count"] == 63


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


def test_lists_jobs_of_the_keys_queues_alone(
    closed: FlaskClient, make_key: MakeKey, conn: Connection, orders: None
) -> None:
    _, limited = make_key(Scope.READ, queues=["bulk"])
    mine, _ = enqueue(conn, queue="bulk", priority=9), enqueue(conn, queue="salmon")
    claim(conn, "bulk")
    claim(conn, "salmon")
    enqueue(conn, queue="salmon")
    own = ("payload.order.id=12", "queue=default&queue=bulk&status=queued", "tag=nightly&tag=vip")

    assert {query: kinds(closed, query, **limited) for query in own} == dict.fromkeys(own, ["report"])
    for others in ("payload.order.id=4711", "queue=default", "queue=salmon"):
        assert kinds(closed, others, **limited) == []
    assert ids_in_order(closed, "status=running&sort=started", limited) == [str(mine)]
    assert ids_in_order(closed, "status=running&sort=started&queue=salmon", limited) == []
    assert ids_in_order(closed, f"sort=due&queue=salmon&{WAITING}", limited) == []


LINES = [{"sku": "a-1"}, {"sku": "b.2"}]
ORDER = {"order": {"id": 4711, "lines": LINES}, "test": True, "note": "Zürich & co=1", "no": None}


@pytest.fixture
def orders(sql: Sql) -> None:
    """Store three jobs: two of the queue default, of which one has ended, and one of bulk."""
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, idempotency_key, tags) VALUES"
        " ('mail', %s, 'default', 'order-4711', ARRAY['vip', 'Größe & co=1']),"
        " ('report', '{\"order\": {\"id\": 12}}', 'bulk', NULL, ARRAY['nightly', 'vip'])",
        json.dumps(ORDER),
    )
    sql(
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
    "payload=order.id=4711": "image mail",
    "payload=order.id%3D4711&payload=test%3Dtrue": "mail",
    "payload=order.id%3D4711&payload.test=true": "mail",
    "payload=note%3DZ%C3%BCrich%20%26%20co%3D1&payload=note%3DZ%C3%BCrich%20%26%20co%3D1": "mail",
    "payload=never%3D": "",
}


def test_finds_jobs_by_each_condition_and_by_several(client: FlaskClient, orders: None) -> None:
    assert {query: " ".join(kinds(client, query)) for query in FOUND} == FOUND


def test_finds_what_a_worker_runs_or_ran_last_unless_it_gave_it_back(client: FlaskClient, conn: Connection) -> None:
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
        queueing.enqueue(conn, [NewJob(kind, {"of": "first"}, tags=("vip",))])
    jobs = queueing.claim(conn, worker_id=first, claim_id=uuid4(), queues=(), limit=len(outcomes))
    queueing.enqueue(conn, [NewJob("others", {"of": "second"}, idempotency_key="k")])
    queueing.claim(conn, worker_id=second, claim_id=uuid4(), queues=())
    by_kind = {job.kind: job for job in jobs}
    job_acts.cancel(conn, by_kind["stopped"].id)
    claims.settle(conn, [Settlement(Fence.of(by_kind[kind]), outcome) for kind, outcome in outcomes.items() if outcome])
    found = {
        f"worker={first}": ["done", "failed", "runs", "stopped"],
        f"worker={first}&status=succeeded": ["done"],
        f"worker={first}&status=retrying": [],
        f"worker={first}&status=running&tag=vip&attempts_min=1&payload.of=first": ["runs"],
        f"worker={first}&attempts_min=2": [],
        f"worker={first}&key=k": [],
        f"worker={second}": ["others"],
        f"worker={second}&status=queued": [],
        f"worker={second}&key=k": ["others"],
        f"worker={second}&tag=vip": [],
    }

    assert {query: kinds(client, query) for query in found} == found
    workers = {job["kind"]: job["worker_id"] for job in client.get("/jobs").json}
    lasting = {kind: None if kind in ("again", "back") else str(first) for kind in outcomes}
    assert workers == {**lasting, "others": str(second)}


def test_the_next_page_keeps_every_condition(client: FlaskClient, orders: None) -> None:
    query = "queue=default&queue=bulk&status=queued&status=failed_permanent&limit=1&payload.order.id=4711"
    query += "&tag=nightly&tag=Gr%C3%B6%C3%9Fe%20%26%20co%3D1"

    first = client.get(f"/jobs?{query}")
    second = client.get(first.headers["Link"].split(">")[0][1:])

    assert sorted(job["kind"] for job in first.json + second.json) == ["image", "mail"]
    assert "Link" not in second.headers


SECRET = ["token", "token.x", "login", "login.password", "logins", "logins.0.password", "logins.-1", "keys.one", "pin"]


def test_no_guess_at_a_secret_is_answered(secretive: FlaskClient, make_key: MakeKey) -> None:
    (_, reader), (_, admin) = make_key(Scope.READ), make_key(Scope.ADMIN)

    def status(query: str, headers: dict[str, str]) -> int:
        return secretive.get(f"/jobs?{query}", headers=headers).status_code

    assert [path for path in SECRET if status(f"payload.{path}=x", reader) != 422] == []
    assert [path for path in SECRET if status(f"payload={path}%3Dx", reader) != 422] == []
    assert status("payload.pin=7&kind=secretive&kind=mail", reader) == 422
    assert status("payload.pin=7&kind=summarize_text", reader) == 200
    assert status("payload.pin=7", admin) == 200
    assert status("payload.login.user=ann", reader) == 200
