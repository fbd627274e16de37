"""GET /jobs/{id}/explain, why a job waits or who runs it, and /timeline, what happened to it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import Job
from haulier.domain.outcome import Outcome
from haulier.domain.waiting import Code
from haulier.queue import claims, jobs
from haulier.queue.stories import timeline
from tests import queueing
from tests.api.conftest import Fail
from tests.conftest import Sql
from tests.docs.reading import section
from tests.http.callers import SECRET, MakeApp, MakeKey, bearer
from tests.queue.plans import explain
from tests.web import EMAIL


def register(conn: Connection) -> UUID:
    return claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)


def test_gives_each_reason_with_its_code_its_sentence_and_where_to_look(client: FlaskClient) -> None:
    job = client.post("/jobs", json={**EMAIL, "delay_seconds": 3600}).json

    answer = client.get(f"/jobs/{job['id']}/explain")

    assert answer.status_code == 200
    nothing = {"since": None, "until": None, "link": None}
    not_due = {"code": "not_due", "message": "it is not due yet", "until": job["run_at"]}
    unserved = {"code": "no_worker_for_queue", "message": "no worker is running", "link": "/workers"}
    assert answer.json == {
        "status": "queued", "reasons": [{**nothing, **not_due}, {**nothing, **unserved}], "run": None
    }  # fmt: skip


def test_counts_only_the_jobs_of_the_keys_queues(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    (_, anyone), (_, limited) = make_key(), make_key(Scope.READ, queues=["mail"])
    register(conn)
    for queue in ("mail", "bulk", "bulk"):
        closed.post("/jobs", json={**EMAIL, "queue": queue, "priority": 1}, headers=anyone)
    own = closed.post("/jobs", json={**EMAIL, "queue": "mail"}, headers=anyone).headers["Location"]

    first = [closed.get(f"{own}/explain", headers=who).json["reasons"][0]["message"] for who in (anyone, limited)]

    assert first == ["3 due jobs may start first", "1 due job of its queue may start first"]


def test_the_pages_name_each_code_in_the_order_of_reasons() -> None:
    for page in (("docs/why-waiting.md", "## What explain says"), ("docs/api.md", "### GET /jobs/{id}/explain")):
        rows = [line.split("`")[1] for line in section(*page).splitlines() if line.startswith("| `")]
        assert [code for code in rows if code != "code"] == [str(code) for code in Code]


FIELDS = {"at", "what", "why", "by", "worker", "attempt", "error", "seconds", "due_at", "count"}
FIELDS |= {"schedule", "scheduled_for", "late_seconds"}


def run(conn: Connection, outcome: Outcome) -> Job:
    """Let a worker claim a job, settle it so, and leave."""
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    assert claims.settle(conn, [Settlement(Fence.of(job), outcome)], worker_name="dock:7")
    claims.deregister(conn, worker)
    return job


def test_says_who_did_what_and_who_ran_it(closed: FlaskClient, make_key: MakeKey, conn: Connection) -> None:
    (shop, enqueuing), (anna, operating) = make_key(Scope.ENQUEUE), make_key(Scope.OPERATE, Scope.READ)
    _, reading = make_key(Scope.READ)
    named = {**enqueuing, "Idempotency-Key": "order-7"}
    path = closed.post("/jobs", json=EMAIL, headers=named).headers["Location"]
    run(conn, Outcome.fail_for_good("no luck"))
    closed.post(f"{path}/retry", headers=operating)
    run(conn, Outcome.complete())

    whole, part = (closed.get(f"{path}/timeline", headers=headers).json for headers in (operating, reading))
    job = closed.get(path, headers=reading).json

    assert whole["status"] == "succeeded"
    steps = whole["steps"]
    assert {frozenset(step) for step in steps} == {frozenset(FIELDS)}
    assert [
        (step["what"], step["by"], step["worker"], step["error"]) for step in steps if step["what"] != "waited"
    ] == [
        ("enqueued", shop.id, None, None),
        ("began", None, "dock:7", None),
        ("failed", None, "dock:7", "no luck"),
        ("retried", anna.id, None, None),
        ("began", None, "dock:7", None),
        ("succeeded", None, "dock:7", None),
    ]
    assert (steps[0]["at"], steps[-1]["at"]) == (job["created_at"], job["finished_at"])
    assert [step["why"] for step in steps if step["what"] == "waited"] == ["turn", "turn"]
    assert part == {**whole, "steps": [{**step, "by": None} for step in steps]}


def test_names_the_first_key_and_nothing_without_an_idempotency_key(
    make_app: MakeApp, config: Config, sql: Sql
) -> None:
    client, headers = make_app(replace(config, haulier_api_key=SECRET)).test_client(), bearer(SECRET)
    keyed, plain = (
        client.post("/jobs", json=EMAIL, headers={**headers, **more}).headers["Location"]
        for more in ({"Idempotency-Key": "order-7"}, {})
    )
    sql("INSERT INTO haulier.job (kind, payload, idempotency_key) VALUES ('a', '{}', 'order-7')")
    [[inserted]] = sql("SELECT id FROM haulier.job WHERE kind = 'a'")

    paths = (keyed, plain, f"/jobs/{inserted}")
    by = [client.get(f"{path}/timeline", headers=headers).json["steps"][0]["by"] for path in paths]

    assert by == ["env", None, None]


def test_leaves_out_the_oldest_of_many_acts_and_says_so(
    client: FlaskClient, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_DONE", 3)
    path = client.post("/jobs", json=EMAIL).headers["Location"]
    seen = []
    for verb in ("cancel", "retry", "cancel", "retry"):
        client.post(f"{path}/{verb}")
        steps = client.get(f"{path}/timeline").json["steps"]
        seen.append([step["what"] for step in steps if step["what"] not in ("waited", "enqueued")])

    assert seen[2] == ["cancelled", "retried", "cancelled"]
    assert seen[3] == ["acts_not_kept", "retried", "cancelled", "retried"]


def test_shows_what_an_operation_did_and_for_whom(
    closed: FlaskClient, make_key: MakeKey, fail: Fail, conn: Connection
) -> None:
    anna, headers = make_key(Scope.OPERATE, Scope.READ)
    job = fail("no luck")
    waits = fail("no luck", kind="other")
    jobs.retry(conn, waits.id)

    def operate(action: str, kind: str) -> list[tuple[str, str | None]]:
        body = {"action": action, "filter": {"kind": [kind]}, "starts_in_seconds": 0}
        started = closed.post("/operations", json=body, headers=headers).json
        assert closed.post(f"/operations/{started['id']}/advance", headers=headers).json["done"] == 1
        path = f"/jobs/{job.id if kind == job.kind else waits.id}/timeline"
        steps = closed.get(path, headers=headers).json["steps"]
        return [(step["what"], step["why"], step["by"]) for step in steps[3:]]

    assert operate("retry", job.kind) == [
        ("failed", None, None),
        ("retried", None, anna.id),
        ("waited", "turn", None),
    ]
    assert operate("cancel", "other")[-3:] == [
        ("retried", None, None),
        ("waited", "turn", None),
        ("cancelled", None, anna.id),
    ]


def test_reads_a_few_rows_however_many_keys_acts_and_workers_there_are(
    client: FlaskClient, conn: Connection, sql: Sql
) -> None:
    job = client.post("/jobs", json=EMAIL, headers={"Idempotency-Key": "order-7"}).json
    some = "FROM generate_series(1, 20000) AS n RETURNING 1"
    sql(f"INSERT INTO haulier.idempotency SELECT 'k' || n, '', gen_random_uuid() {some}")
    sql(f"INSERT INTO haulier.audit (action, job_id) SELECT 'cancel', gen_random_uuid() {some}")
    sql(
        "INSERT INTO haulier.worker_past (id, host, pid, threads, started_at, beat_at, lease_ends, ended_how)"
        f" SELECT gen_random_uuid(), 'dock', 7, 1, now(), now(), now(), 'stopped' {some}"
    )
    for analyzed in (False, True):
        if analyzed:
            sql("ANALYZE haulier.idempotency, haulier.audit, haulier.worker_past")
        _, nodes = explain(conn, "read_timeline", {"id": job["id"], "limit": timeline.MOST_DONE + 1})

        read_whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        assert read_whole & {"idempotency", "audit", "worker_past"} == set()
