"""GET /workers and GET /workers/{id}: how each worker is, and what it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from haulier.queue.access.audit_log import list_actions
from haulier.queue.health.worker_list import MOST_JOBS, list_workers
from haulier.version import version
from tests import queueing
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.web import EMAIL

Register = Callable[..., UUID]


@pytest.fixture
def register(conn: Connection) -> Register:
    def register(*queues: str, kinds: tuple[str, ...] | None = ("hook", "mail")) -> UUID:
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=queues, lease_seconds=60)
        if kinds is not None:
            claims.introduce(conn, worker, kinds=kinds)
        return worker

    return register


def claim(conn: Connection, worker: UUID, limit: int = 1) -> None:
    assert queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=limit)


def test_says_what_a_worker_is(client: FlaskClient, register: Register) -> None:
    worker = str(register("bulk", "mail"))
    # It has not stored yet what it is.
    workers = [worker, *(str(register(kinds=None)) for _ in range(4))]

    found = [each for page in pages(client, "/workers?limit=2") for each in page]

    assert [each["id"] for each in found] == sorted(workers, reverse=True)
    by_id = {each["id"]: each for each in found}
    assert [by_id[workers[1]][name] for name in ("version", "kinds", "queues")] == [None] * 3
    times = [by_id[worker].pop(name) for name in ("started_at", "beat_at", "lease_ends")]
    assert (times, times[2][-1]) == (sorted(times), "Z")
    assert by_id[worker] == {
        **{"id": worker, "host": "dock", "pid": 7, "version": version(), "threads": 8, "queues": ["bulk", "mail"]},
        **{"kinds": ["hook", "mail"], "state": "working", "scans_fail": False, "running": 0},
    }


def test_says_how_a_worker_is(client: FlaskClient, register: Register, sql: Sql) -> None:
    worker = register()
    for state, change in (
        ("working", "beat_at = now() - lease / 2"),
        ("quiet", "beat_at = now(), quiet = true"),
        ("stopping", "quiet = true, stopping = true"),
        ("silent", "stopping = true, beat_at = now() - 0.7 * lease"),
        ("silent", "stopping = false, quiet = false, beat_at = now() - 2 * lease"),
    ):
        sql(f"UPDATE haulier.worker SET {change}")
        assert client.get(f"/workers/{worker}").json["state"] == state, change


def test_says_what_a_worker_runs_and_names_no_more_than_a_hundred(
    client: FlaskClient, register: Register, conn: Connection
) -> None:
    first, second = register(), register()
    own = client.post("/jobs", json=EMAIL).json
    claim(conn, first)
    client.post("/jobs/batch", json=[EMAIL] * (MOST_JOBS + 5))
    claim(conn, second, limit=MOST_JOBS + 5)

    of_first, of_second = (client.get(f"/workers/{worker}").json for worker in (first, second))

    [job] = of_first["jobs"]
    assert (job["id"], job["kind"], job["queue"]) == (own["id"], "send_email", "default")
    assert job["since"] == client.get(f"/jobs/{own['id']}").json["started_at"]
    assert (of_first["running"], of_second["running"], len(of_second["jobs"])) == (1, MOST_JOBS + 5, MOST_JOBS)
    listed = client.get("/workers").json
    assert [(each["running"], "jobs" in each) for each in listed] == [(MOST_JOBS + 5, False), (1, False)]
    uncounted, _ = list_workers(conn, counts_jobs=False)
    assert [(each.id, each.running) for each in uncounted] == [(second, None), (first, None)]


@pytest.mark.parametrize(("how", "silent"), [("stopped", "1 s"), ("buried", "61 s")])
def test_shows_a_worker_that_has_ended_but_in_no_list(
    client: FlaskClient, register: Register, conn: Connection, sql: Sql, how: str, silent: str
) -> None:
    worker, alive = register("bulk", "mail"), register()
    sql("UPDATE haulier.worker SET beat_at = beat_at - %s::interval WHERE id = %s RETURNING 1", silent, worker)
    before = client.get(f"/workers/{worker}").json

    claims.bury(conn)
    claims.deregister(conn, worker)
    after = client.get(f"/workers/{worker}").json

    assert (before.pop("ended_at"), before.pop("ended_how")) == (None, None)
    assert after.pop("ended_how") == how
    assert after.pop("ended_at") > before["beat_at"]
    assert after == {**before, "state": "gone", "kinds": None}
    assert [each["id"] for each in client.get("/workers").json] == [str(alive)]
    assert client.patch(f"/workers/{worker}", json={"quiet": True}).status_code == 404


def test_a_key_of_one_queue_sees_that_queue_alone(
    closed: FlaskClient, make_key: MakeKey, register: Register, conn: Connection
) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.READ, queues=["mail"])
    of_all, of_both, of_another = register(), register("mail", "bulk"), register("bulk")
    for queue in ("mail", "bulk"):
        closed.post("/jobs", json={**EMAIL, "queue": queue}, headers=anyone)
    claim(conn, of_all, limit=2)

    def get(path: str) -> Any:
        return closed.get(path, headers=limited)

    listed = get("/workers").json
    one = get(f"/workers/{of_all}").json

    assert {each["id"]: (each["queues"], each["running"]) for each in listed} == {
        str(of_all): (None, 1),
        str(of_both): (["mail"], 0),
    }
    assert [job["queue"] for job in one["jobs"]] == ["mail"]
    assert get(f"/workers/{of_another}").status_code == 404
    for worker in (of_all, of_both, of_another):
        claims.deregister(conn, worker)
    gone = [get(f"/workers/{worker}") for worker in (of_all, of_both, of_another)]
    assert [answer.status_code for answer in gone] == [200, 200, 404]
    # The two jobs have not been rescued yet.
    assert [(answer.json["queues"], answer.json["running"]) for answer in gone[:2]] == [(None, 1), (["mail"], 0)]


def test_quiets_a_worker_and_lets_it_claim_again(
    closed: FlaskClient, make_key: MakeKey, register: Register, conn: Connection
) -> None:
    (key, operator), worker = make_key(Scope.OPERATE), register()
    closed.post("/jobs", json=EMAIL, headers=make_key(Scope.ENQUEUE)[1])

    quieted = closed.patch(f"/workers/{worker}", json={"quiet": True}, headers=operator)
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=1)
    again = closed.patch(f"/workers/{worker}", json={"quiet": True}, headers=operator)
    unquieted = closed.patch(f"/workers/{worker}", json={"quiet": False}, headers=operator)

    states = [answer.json["state"] for answer in (quieted, again, unquieted)]
    assert states == ["quiet", "quiet", "working"]
    assert claimed == []
    claim(conn, worker)
    done = [(each.actor, each.action, each.target) for each in list_actions(conn, limit=10) if each.target]
    assert done == [(key.id, "unquiet", str(worker)), (key.id, "quiet", str(worker))]


def test_refuses_a_change_that_does_not_say_whether_to_be_quiet(client: FlaskClient, register: Register) -> None:
    path = f"/workers/{register()}"
    rows: list[tuple[Any, str]] = [({"quiet": value}, "quiet") for value in (None, "true", 1)]

    assert not_refused(lambda body: client.patch(path, json=body), [*rows, ({}, "quiet"), ([], "_schema")]) == []
    assert client.get(path).json["state"] == "working"
