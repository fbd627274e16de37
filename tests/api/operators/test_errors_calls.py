"""GET and PATCH /errors and /workers: the groups of failed attempts, how each worker is, and what it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.domain.vitals import IsolatedEnds, IsolatedProcess, Vitals
from haulier.queue import claims
from haulier.queue.access.audit_log import list_actions
from haulier.queue.health.worker_list import MOST_JOBS, list_workers
from haulier.version import version
from tests import queueing
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.http.answers import not_refused, pages
from tests.http.callers import MakeKey
from tests.web import EMAIL


def ago(sql: Sql, error: str, interval: str, kind: str = "mail") -> None:
    number = fingerprint(kind, error).id
    sql("UPDATE haulier.error_count SET minute = minute - %s::interval WHERE error_id = %s", interval, number)
    sql("UPDATE haulier.error_group SET first_seen = first_seen - %s::interval WHERE id = %s", interval, number)


def texts(client: FlaskClient, query: str = "", **options: Any) -> list[str]:
    answer = client.get(f"/errors{query}", **options)
    assert answer.status_code == 200, answer.json
    return [group["text"] for group in answer.json]


def test_says_of_a_group_how_often_and_when_it_was_seen(client: FlaskClient, fail: Fail) -> None:
    first = fail("no luck 1")
    fail("no luck 2", for_good=False)
    fail("no luck 3", queue="bulk")

    [shown] = client.get("/errors?span=1h").json

    times, series = [shown.pop(name) for name in ("first_seen", "last_seen")], shown.pop("series")
    assert shown == {
        "id": id_text(fingerprint("mail", "no luck 1").id),
        "kind": "mail",
        "text": "no luck …",
        "example": "no luck 1",
        "example_job": str(first.id),
        "failed": 2,
        "retried": 1,
        "muted_until": None,
    }
    assert times == sorted(times)
    assert len(series) == 60
    assert [(step["failed"], step["retried"]) for step in series if step["failed"]] == [(2, 1)]
    assert client.get(f"/errors/{shown['id']}?span=1h").json == {
        **shown, "first_seen": times[0], "last_seen": times[1], "series": series,
        "queues": [
            {"queue": "default", "failed": 1, "retried": 1}, {"queue": "bulk", "failed": 1, "retried": 0}
        ],
    }  # fmt: skip


def test_lists_those_seen_in_the_span_last_seen_first(client: FlaskClient, fail: Fail, sql: Sql) -> None:
    for text in ("new", "old", "older"):
        fail(text)
    ago(sql, "old", "2 hours")
    ago(sql, "older", "3 days")

    assert texts(client, "?span=1h") == ["new"]
    assert texts(client) == texts(client, "?span=24h") == ["new", "old"]
    assert texts(client, "?span=7d") == ["new", "old", "older"]


def test_finds_by_kind_queue_and_text_page_by_page(client: FlaskClient, fail: Fail) -> None:
    fail("Refused: by a"), fail("timed out", kind="hook"), fail("lost", queue="bulk")

    assert texts(client, "?kind=hook") == ["timed out"]
    assert texts(client, "?queue=bulk") == ["lost"]
    assert texts(client, "?text=REFUSED") == ["Refused: by a"]
    assert texts(client, "?text=%25") == texts(client, "?kind=other") == []
    found = [[group["text"] for group in page] for page in pages(client, "/errors?limit=1&kind=mail")]
    assert found == [[text] for text in texts(client, "?kind=mail")]
    assert len(found) == 2


def test_a_key_of_some_queues_sees_only_their_counts(closed: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    fail("shared 1", queue="bulk"), fail("shared 2", queue="mail"), fail("hidden", queue="bulk")
    own = fail("own", queue="mail")
    _, headers = make_key(Scope.READ, queues=["mail"])

    found = {group["text"]: group for group in closed.get("/errors", headers=headers).json}

    assert found.keys() == {"shared …", "own"}
    shared = found["shared …"]
    assert (shared["failed"], shared["example"], shared["example_job"]) == (1, None, None)
    assert (found["own"]["example"], found["own"]["example_job"]) == ("own", str(own.id))
    hidden = id_text(fingerprint("mail", "hidden").id)
    assert closed.get(f"/errors/{hidden}", headers=headers).status_code == 404
    assert closed.get(f"/errors/{found['own']['id']}", headers=headers).json["failed"] == 1


def test_mutes_and_unmutes_and_records_who_did(closed: FlaskClient, make_key: MakeKey, fail: Fail, sql: Sql) -> None:
    fail("no luck")
    error_id = id_text(fingerprint("mail", "no luck").id)
    key, headers = make_key(Scope.OPERATE)
    until = "2027-01-02T03:04:05.000000Z"

    muted = closed.patch(f"/errors/{error_id}", json={"muted_until": until}, headers=headers)
    by = sql("SELECT muted_by FROM haulier.error_group")
    loud = closed.patch(f"/errors/{error_id}", json={"muted_until": None}, headers=headers)

    assert (muted.status_code, muted.json["muted_until"], muted.json["failed"]) == (200, until, 1)
    assert (by, loud.json["muted_until"]) == ([(key.id,)], None)
    acts = sql("SELECT actor, action, target FROM haulier.audit WHERE target = %s ORDER BY id", error_id)
    assert acts == [(key.id, "mute", error_id), (key.id, "unmute", error_id)]


def test_shows_little_once_the_job_that_names_the_secrets_is_gone(
    secretive: FlaskClient, make_key: MakeKey, fail: Fail, sql: Sql
) -> None:
    fail("Denied: refused token tok-hunter2", kind="secretive", payload={"how": "raise", "token": "tok-hunter2"})
    sql("DELETE FROM haulier.finished_job")
    _, reader = make_key(Scope.READ)

    [listed] = secretive.get("/errors", headers=reader).json
    got = secretive.get(f"/errors/{listed['id']}", headers=reader).json

    assert [(group["text"], group["example"]) for group in (listed, got)] == [("Denied: …", None)] * 2


def test_finds_no_group_by_a_secret_in_its_example(secretive: FlaskClient, make_key: MakeKey, fail: Fail) -> None:
    fail("Denied: 47114711", kind="secretive", payload={"how": "raise", "token": "47114711"})

    found = [
        secretive.get("/errors?text=47114711", headers=make_key(each)[1]).json for each in (Scope.READ, Scope.ADMIN)
    ]

    assert [len(groups) for groups in found] == [0, 1]


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
        **{"release": None, "vitals": None},
    }


def test_says_what_the_last_heartbeat_of_a_worker_said(
    client: FlaskClient, register: Register, conn: Connection
) -> None:
    worker = register()
    vitals = Vitals(
        **{"memory": 70, "usual_memory": 44, "is_growing": True, "grew_with": ["mail"], "cpu": 0.5, "busy": 1.5},
        busy_minutes=[None, 1.5],
        isolated=[IsolatedProcess("pdf", 9, 60)],
        isolated_ended=3,
        ends=[IsolatedEnds("pdf", "was killed by SIGKILL", 2)],
    )

    claims.beat(conn, worker, vitals=vitals)

    assert client.get(f"/workers/{worker}").json["vitals"] == {
        **{"memory_bytes": 70, "usual_memory_bytes": 44, "memory_grows": True, "cpu_cores": 0.5},
        **{"busy_threads": 1.5, "busy_minutes": [None, 1.5], "isolated_ended": 3},
        "isolated": [{"kind": "pdf", "pid": 9, "memory_bytes": 60, "cpu_cores": None}],
        "isolated_ends": [{"kind": "pdf", "how": "was killed by SIGKILL", "times": 2}],
    }
    assert [each.vitals for each in list_workers(conn)[0]] == [vitals]
    # They count jobs of every queue.
    assert [each.vitals for each in list_workers(conn, queues=["mail"])[0]] == [None]


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
