"""The API and a worker under the rights of grants.sql, neither the owner: what they do, and what they may not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.errors import RaiseException
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.claims import wakeups
from haulier.queue.health.acknowledgements import acknowledge, forget, list_acknowledged, show_again
from haulier.queue.upkeep import partitions, purge
from tests import queueing
from tests.conftest import PATIENCE
from tests.roles import GRANTS, Roles, apply_grants
from tests.schema.permitted import EMAIL, ask

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

ROOT = Path(__file__).parents[2]


def path_of(answer: Any) -> str:
    return str(answer.headers["Location"])


def test_keys_and_their_rates_work_under_the_role_of_the_api(client, roles):
    with closing(connect(roles.owner)) as conn:
        _, token = api_keys.create(conn, NewKey("test", frozenset([Scope.ENQUEUE]), rate_limit=2), actor="cli")

    answers = [
        client.post("/jobs", json=EMAIL, headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(4)
    ]

    assert answers[:2] == [201, 201]
    assert answers[-1] == 429
    assert client.post("/jobs", json=EMAIL).status_code == 401


KIND = """
from marshmallow import Schema
from haulier.kinds import Fail, Retry, RetryPolicy, Snooze, kind

class Nothing(Schema):
    pass

@kind("t.good", schema=Nothing)
def good(context, payload):
    return 1

@kind("t.bad", schema=Nothing)
def bad(context, payload):
    raise Fail("no")

@kind("t.again", schema=Nothing, retry=RetryPolicy(base=0.05, cap=0.1))
def again(context, payload):
    if context.job.attempts == 1:
        raise Retry("once more")

@kind("t.later", schema=Nothing)
def later(context, payload):
    if not context.job.snoozes:
        raise Snooze(0.05)

@kind("t.wait", schema=Nothing)
def wait(context, payload):
    context.wait(30)
"""
ENDS = {"t.good": "succeeded", "t.bad": "failed_permanent", "t.again": "succeeded", "t.later": "succeeded"}


def test_a_worker_does_all_its_work_under_its_own_role(roles, super_conn, client, tmp_path, eventually):
    (tmp_path / "kinds_under_a_role.py").write_text(KIND)
    spoil_history(super_conn, roles)
    receipts = queueing.enqueue(super_conn, [NewJob(kind, {}) for kind in (*ENDS, "t.wait")])
    job_ids = [receipt.job.id for receipt in receipts if receipt.job is not None]
    log = tmp_path / "log"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "DATABASE_URL": roles.worker,
        "HAULIER_KINDS": "kinds_under_a_role",
        "WORKER_METRICS_PORT": "0",
        "LEASE_SECONDS": "2",
    }

    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "worker.py"], cwd=ROOT, env=environ, stdout=out, stderr=out)
    try:
        ended = "SELECT kind, status FROM haulier.finished_job WHERE kind LIKE 't.%'"
        eventually(lambda: dict(ask(super_conn, ended)) == ENDS)
        assert client.post(f"/jobs/{job_ids[-1]}/cancel").status_code == 202
        eventually(lambda: dict(ask(super_conn, ended)) == {**ENDS, "t.wait": "cancelled"})
        eventually(lambda: "housekeeping: " in log.read_text())
    finally:
        process.terminate()
        process.wait(PATIENCE)

    assert process.returncode == 0
    assert "permission denied" not in log.read_text()
    assert " ERROR " not in log.read_text()
    assert owners(super_conn) == {roles.names["owner"]}
    assert ask(super_conn, "SELECT to_regclass('haulier.finished_job_old')") == [(None,)]
    assert partitions.days_ahead(super_conn) > 6


def test_without_a_partition_the_api_waits_for_a_worker_to_make_one(roles, super_conn, client):
    job = path_of(client.post("/jobs", json=EMAIL))
    spoil_history(super_conn, roles)

    before = client.post(f"{job}/cancel")
    with closing(connect(roles.worker)) as conn:
        partitions.ensure_partitions(conn, retention_days=30)
    after = client.post(f"{job}/cancel")

    assert (before.status_code, before.json["error"]) == (503, "unavailable")
    assert after.status_code == 200


def spoil_history(conn: Connection, roles: Roles) -> None:
    """Leave no partition but one that has expired."""
    for (name,) in ask(
        conn, "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
    ):
        ask(conn, f"DROP TABLE {name}")
    with closing(connect(roles.owner)) as owning:
        ask(
            owning,
            "CREATE TABLE haulier.finished_job_old PARTITION OF haulier.finished_job"
            " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')",
        )


def owners(conn: Connection) -> set[str]:
    """Return who owns the tables of the schema, partitions included."""
    return {name for (name,) in ask(conn, "SELECT tableowner FROM pg_tables WHERE schemaname = 'haulier'")}


def test_a_worker_rescues_and_forgets_under_its_own_role(roles, super_conn):
    with closing(connect(roles.worker)) as conn:
        dead = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        ask(super_conn, "INSERT INTO haulier.job (kind, payload) VALUES ('t.good', '{}')")
        ask(
            super_conn,
            "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = gen_random_uuid(), started_at = now(),"
            " attempt = 1, attempts = 1",
            str(dead),
        )
        ask(super_conn, "UPDATE haulier.worker SET beat_at = now() - interval '1 day'")
        ask(
            super_conn, "INSERT INTO haulier.idempotency VALUES ('k', '', haulier.uuidv7(), now() - interval '99 days')"
        )
        ask(
            super_conn,
            "INSERT INTO haulier.audit (at, action, job_id)"
            " VALUES (now() - interval '99 days', 'cancel', haulier.uuidv7())",
        )

        queueing.rescue(conn)
        idle = claims.register(conn, host="dock", pid=8, threads=1, queues=(), lease_seconds=30)
        wakeups.fall_asleep(conn, idle)
        wakeups.get_up(conn, idle)

        assert ask(super_conn, "SELECT status, crashes FROM haulier.job") == [("retrying", 1)]
        assert purge.purge_idempotency(conn, idempotency_days=30) == 1
        assert purge.purge_audit(conn, retention_days=30) == 1
        ended = "SELECT id::text, ended_how FROM haulier.worker_past"
        assert ask(super_conn, ended) == [(str(dead), "buried")]
        ask(super_conn, "UPDATE haulier.worker_past SET ended_at = now() - interval '99 days'")
        assert purge.purge_workers(conn, retention_days=30) == 1
        ask(super_conn, "INSERT INTO haulier.queue (name, used_at) VALUES ('q', now() - interval '1 day')")
        assert purge.purge_queues(conn) == 1


def test_an_id_that_the_role_of_the_api_reuses_makes_a_retry_a_conflict(roles, client):
    job = path_of(client.post("/jobs", json=EMAIL))
    client.post(f"{job}/cancel")

    with closing(connect(roles.web)) as conn:
        ask(conn, "INSERT INTO haulier.job (id, kind, payload) VALUES (%s, 'mine', '{}')", job.rpartition("/")[2])
    answer = client.post(f"{job}/retry")

    assert (answer.status_code, answer.json["error"]) == (409, "conflict")
    assert "another job has the same id" in answer.json["message"]


def test_a_superusers_schema_is_refused(conn):
    ask(conn, "CREATE ROLE haulier_test_lonely LOGIN")
    try:
        with pytest.raises(RaiseException, match="belongs to the superuser postgres"):
            apply_grants(conn, "haulier_test_lonely", "haulier_test_lonely")
        ask(conn, "ROLLBACK")
    finally:
        ask(conn, "DROP ROLE haulier_test_lonely")


def test_names_every_table_to_grant_it_or_leave_it_out(roles, super_conn):
    found = ask(
        super_conn,
        "SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'v', 'p')"
        " AND NOT relispartition",
    )
    named = set(re.findall(r"haulier\.(\w+)", re.sub(r"--.*", "", GRANTS.read_text())))

    assert {name for (name,) in found} - named == set()


def test_the_rights_are_enough_if_no_role_may_call_new_functions(roles, super_conn, client):
    # As the owner's ALTER DEFAULT PRIVILEGES would have done before; migrate itself grants what a CHECK calls.
    with super_conn.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA haulier FROM PUBLIC")
        cursor.execute("GRANT EXECUTE ON FUNCTION haulier.are_tags(text[]) TO PUBLIC")
    apply_grants(super_conn, roles.names["web"], roles.names["worker"])

    made = [client.post("/jobs", json={**EMAIL, "tags": ["a"]}) for _ in range(2)]
    paths = [
        made[0].headers["Location"],
        "/jobs",
        "/jobs?tag=a",
        "/jobs?status=running",
        "/workers",
        "/metrics",
        "/health",
    ]
    answers = [*made, *(client.get(path) for path in paths), client.post(f"{made[1].headers['Location']}/copy")]
    operation = {"action": "cancel", "filter": {"kind": ["none"]}}
    with closing(connect(roles.worker)) as conn:
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
        claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        partitions.ensure_partitions(conn, retention_days=30)
    partitions.drop_expired(roles.worker, retention_days=30)

    assert [answer.status_code for answer in answers] == [201] * 2 + [200] * 7 + [201]
    assert client.post("/operations", json=operation).status_code == 202
    assert len(claimed) == 1


def test_the_api_acknowledges_notices_and_shows_them_again(roles, super_conn):
    about, who = {"mail": 1, "hooks": 2}, {"queues": None, "actor": "env"}
    with closing(connect(roles.web)) as conn:
        for _ in range(2):
            acknowledge(conn, "late", about, "2 queues are late", **who)
        show_again(conn, "late", ["mail"], "2 queues are late", **who)
        ask(super_conn, "UPDATE haulier.acknowledged SET at = now() - interval '1 hour'")
        left = [each.thing for each in list_acknowledged(conn, queues=None)]
        forget(conn, [("late", "hooks")], queues=None)
        none = list_acknowledged(conn, queues=None)

    assert (left, none) == (["hooks"], [])
