"""The bound on queues: a name that is new is refused if there are too many, and nothing else is. It ..."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http import queue_names
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.queue import claims
from haulier.queue.upkeep import purge
from tests import queueing
from tests.conftest import PATIENCE, Sql
from tests.http.callers import MakeKey
from tests.web import EMAIL

PER_KEY, IN_ALL = 3, 5


@pytest.fixture
def client(make_app: Callable[..., Flask], config: Config) -> FlaskClient:
    """Give a client of an API that lets a key use 3 queues, and all together 5."""
    return make_app(replace(config, queues_per_key=PER_KEY, queues_in_all=IN_ALL)).test_client()


def in_queue(name: str, **more: Any) -> dict[str, Any]:
    return {**EMAIL, "queue": name, **more}


def in_queues(*names: str) -> list[dict[str, Any]]:
    return [in_queue(name) for name in names]


def post(client: FlaskClient, *names: str, headers: dict[str, str] | None = None) -> list[int]:
    return [client.post("/jobs", json=in_queue(name), headers=headers).status_code for name in names]


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = time.monotonic
    monkeypatch.setattr(queue_names, "monotonic", lambda: clock() + seconds)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who was refused is asked for again at once.
    monkeypatch.setattr(queue_names, "FULL_SECONDS", 0.0)


def test_refuses_a_new_name_beyond_the_bound_of_a_key_or_of_all(
    client: FlaskClient, make_key: MakeKey, sql: Sql, count_jobs: Callable[[], int]
) -> None:
    (_, one), (_, other) = make_key(Scope.ENQUEUE), make_key(Scope.ENQUEUE)
    # A plain INSERT needs no row, and has no bound.
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'mail', '{}', 'q' || n FROM generate_series(1, 9) AS n")
    assert post(client, "a", "b", "c", "default", headers=one) == [201] * 4

    answer = client.post("/jobs", json=in_queue("q1"), headers=one)

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert list(answer.json["details"]) == ["queue"]
    assert "3 queues" in answer.json["details"]["queue"][0]
    assert count_jobs() == 9 + 4
    assert post(client, "a", "c", "default", "d", headers=one) == [201, 201, 201, 422]
    # The names of another key do not count for this one, but for the bound on all.
    assert post(client, "a", "x", "y", "z", headers=other) == [201, 201, 201, 422]


def test_refuses_the_whole_of_a_batch_and_leaves_no_name_behind(
    client: FlaskClient, sql: Sql, count_jobs: Callable[[], int]
) -> None:
    post(client, "a")
    items = in_queues("a", "b", "c", "d")
    lines = "\n".join(map(json.dumps, items))

    for body, content_type in ((json.dumps(items), "application/json"), (lines, "application/x-ndjson")):
        answer = client.post("/jobs/batch", data=body, content_type=content_type)

        assert (answer.status_code, answer.json["error"]) == (422, "validation")
        assert {index: list(each) for index, each in answer.json["details"].items()} == {
            index: ["queue"] for index in ("1", "2", "3")
        }
        assert count_jobs() == 1
        assert sql("SELECT name FROM haulier.queue WHERE name <> 'default'") == [("a",)]
    assert client.post("/jobs/batch", json=in_queues("a", "b", "c", "b")).status_code == 201


def test_refuses_only_the_jobs_that_do_not_fit_if_not_atomic(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    post(client, "a")
    items = [in_queue("d"), {}, in_queue("b"), in_queue("a"), in_queue("c"), in_queue("d")]

    answer = client.post("/jobs/batch?atomic=false", json=items)

    assert [each["status"] for each in answer.json["items"]] == [201, 422, 201, 201, 422, 201]
    refused = answer.json["items"][4]
    assert (refused["error"], list(refused["details"])) == ("validation", ["queue"])
    assert count_jobs() == 5


def test_a_replay_needs_no_room_though_its_queue_was_forgotten(client: FlaskClient, sql: Sql) -> None:
    keyed = [in_queue("a", idempotency_key="k1"), in_queue("b", idempotency_key="k2")]
    client.post("/jobs/batch", json=keyed)
    sql("DELETE FROM haulier.queue")
    client.application.extensions["haulier_enqueuing"].queue_names._known.clear()
    assert post(client, "x", "y") == [201] * 2

    beside_new = client.post("/jobs/batch", json=[*keyed, in_queue("z")])
    single = client.post("/jobs", json=keyed[0])
    batch = client.post("/jobs/batch", json=keyed)
    mixed = client.post("/jobs/batch?atomic=false", json=[*keyed, in_queue("c", idempotency_key="k3")])

    assert (beside_new.status_code, beside_new.json["created"], beside_new.json["replayed"]) == (201, 1, 2)
    assert (single.status_code, batch.status_code, batch.json["replayed"]) == (200, 201, 2)
    assert [each["status"] for each in mixed.json["items"]] == [200, 200, 422]


def test_those_who_come_at_once_get_no_name_more(make_app: Callable[..., Flask], config: Config, sql: Sql) -> None:
    # As processes, each has an application and a connection of its own.
    apps = [make_app(replace(config, queues_per_key=PER_KEY)) for _ in range(8)]
    begin, statuses = threading.Barrier(len(apps)), []

    def enqueue(number: int, app: Flask) -> None:
        begin.wait(PATIENCE)
        batch = in_queues(*(f"q{number}.{n}" for n in range(PER_KEY)))
        statuses.append(app.test_client().post("/jobs/batch?atomic=false", json=batch).status_code)
        statuses.append(app.test_client().post("/jobs/batch", json=in_queues(f"r{number}")).status_code)
        app.extensions["haulier"].database.close()

    with ThreadPoolExecutor(len(apps)) as threads:
        list(threads.map(enqueue, range(len(apps)), apps))

    assert len(statuses) == 2 * len(apps)
    assert sql("SELECT count(*) FROM haulier.queue WHERE name <> 'default'") == [(PER_KEY,)]
    assert sql("SELECT count(DISTINCT queue) FROM haulier.job") == [(PER_KEY,)]


def test_a_name_in_use_is_noted_well_before_it_could_be_forgotten(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(client, "a")
    sql("UPDATE haulier.queue SET used_at = now() - interval '11 minutes'")
    pass_time(monkeypatch, 601)

    post(client, "a")

    assert 2 * queue_names.KNOWN_SECONDS < purge.IDLE_QUEUE_SECONDS
    assert sql("SELECT name FROM haulier.queue WHERE name = 'a' AND used_at > now() - interval '1 minute'") == [("a",)]


def test_who_is_refused_again_and_again_is_not_counted_each_time(
    client: FlaskClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_names, "FULL_SECONDS", 60.0)
    post(client, "a", "b", "c", "d")
    sql("DELETE FROM haulier.queue WHERE name = 'c'")

    meanwhile = post(client, "e", "a")
    pass_time(monkeypatch, 61)

    assert meanwhile == [422, 201]
    assert post(client, "e") == [201]


def test_a_name_with_a_live_job_is_never_forgotten(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    post(client, "a", "b")
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    changes = [
        "",
        "run_at = now() + interval '1 day'",
        "run_at = now(), crashes = 1, suspect = true",
        "crashes = 0, suspect = false",
    ]
    for change in changes:
        if change:
            sql(f"UPDATE haulier.job SET {change} WHERE queue = 'a'")
        sql("UPDATE haulier.queue SET used_at = now() - interval '2 hours'")
        if change == changes[-1]:
            assert queueing.claim(conn, worker_id=worker, claim_id=worker, queues=("a",))

        assert purge.purge_queues(conn) == 0, change

    sql("DELETE FROM haulier.job WHERE queue = 'b'")
    assert purge.purge_queues(conn) == 1
    assert sql("SELECT name FROM haulier.queue WHERE name <> 'default'") == [("a",)]


def test_a_name_makes_room_for_another_after_an_hour(
    client: FlaskClient, conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "QUEUES_AT_ONCE", 2)
    post(client, "a", "b", "c")
    sql("DELETE FROM haulier.job")
    sql("UPDATE haulier.queue SET used_at = now() - interval '59 minutes'")

    too_soon = purge.purge_queues(conn)
    sql("UPDATE haulier.queue SET used_at = now() - interval '61 minutes'")

    assert (too_soon, post(client, "d")) == (0, [422])
    assert purge.purge_queues(conn) == 3
    assert post(client, "d", "e", "f", "g") == [201, 201, 201, 422]
