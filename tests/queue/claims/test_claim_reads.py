"""What a claim and a settle read of the tables, and no more: it ..."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from haulier.domain.claim import ClaimRequest, Fence, Mark, Settlement
from haulier.domain.job import Job
from haulier.domain.outcome import Outcome
from haulier.postgres.prepared import as_prepared
from haulier.postgres.sql_files import SQL
from haulier.queue import claims
from haulier.queue.claims.claim import claim_parameters
from haulier.queue.claims.settle import completed_parameters, settle_parameters
from tests import queueing
from tests.queue.plans import buffers, copy_to_history, explain, parameters_of_claim, seen_by_an_old_snapshot

CROWDS = {
    "nobody": "SELECT 1",
    "deferred": "INSERT INTO haulier.job (kind, payload, run_at) SELECT 'mail', '{}', now() + interval '1 day'"
    " FROM generate_series(1, 20000)",
    "other queues": "INSERT INTO haulier.job (kind, payload, queue, run_at)"
    " SELECT 'mail', '{}', 'other', now() - interval '1 hour' FROM generate_series(1, 20000)",
    "lower priorities": "INSERT INTO haulier.job (kind, payload, priority, run_at)"
    " SELECT 'mail', '{}', -1 - mod(n, 5), now() - interval '1 hour' FROM generate_series(1, 20000) AS n",
    "ready": "INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000)",
    "suspects": "INSERT INTO haulier.job (kind, payload, crashes, suspect, run_at)"
    " SELECT 'mail', '{}', 1, true, now() - interval '1 hour' FROM generate_series(1, 20000)",
    # They end before the claims.
    "finished": "INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000)",
}


@pytest.mark.direct("a pool's connections keep nothing that is prepared")
@pytest.mark.parametrize("crowd", CROWDS)
def test_a_claim_reads_only_what_it_takes(conn, sql, crowd):
    # Planned for an empty table, and sent as it is.
    calls = [planned(conn), SQL["claim"]]
    sql(CROWDS[crowd])
    if crowd == "finished":
        copy_to_history(sql)
        sql("DELETE FROM haulier.job")
    sql(
        "INSERT INTO haulier.job (kind, payload, run_at) SELECT 'mail', '{}', now() - interval '1 minute'"
        " FROM generate_series(1, 300) RETURNING 1"
    )

    # Each claim is undone: to fill the tables takes longer than all eight.
    for call in calls:
        reads_only_what_it_takes(conn, call, 1)
        reads_only_what_it_takes(conn, call, 100)
    sql("VACUUM ANALYZE haulier.job")
    for call in calls:
        reads_only_what_it_takes(conn, call, 1)
        reads_only_what_it_takes(conn, call, 100)


def reads_only_what_it_takes(conn, call: str, batch: int) -> None:
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    lanes = [lane for lane in claims.lanes(conn, queues=("default",)) if lane.seconds <= 0]

    text, nodes = explain(conn, "claim", parameters_of_claim(worker, lanes, batch), call)

    assert "'job_claim'" in text
    scans = [node for node in nodes if node.get("Relation Name") == "job" and node["Actual Loops"]]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
    [locking, *_] = [node for node in nodes if node["Node Type"] == "LockRows"]
    assert locking["Actual Rows"] * locking["Actual Loops"] == batch
    assert buffers([locking]) <= 3 * batch + 100
    assert buffers(nodes) <= 16 * batch + 100


def test_a_claim_is_neither_planned_nor_compiled_anew_each_time(conn):
    with conn.cursor() as cursor:
        for setting, expected in (("jit", "off"), ("plan_cache_mode", "force_generic_plan")):
            cursor.execute("BEGIN; " + SQL["claim_by_index"] + f" SHOW {setting}", {"milliseconds": 5000})
            [[value]] = cursor.fetchall()
            cursor.execute("ROLLBACK")
            assert value == expected


SETTLES = {"settle": settle_parameters, "settle_completed": completed_parameters}


@pytest.mark.direct("a pool's connections keep nothing that is prepared")
@pytest.mark.parametrize("name", SETTLES)
def test_a_settle_planned_for_a_small_table_reads_only_what_it_settles(conn, sql, name):
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 10) RETURNING 1")
    sql("ANALYZE haulier.job")
    to_prepare, call = as_prepared(name)
    with conn.cursor() as cursor:
        cursor.execute(to_prepare)
    explain_settle(conn, [], name, call)
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000) RETURNING 1")
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=100)

    for count in (1, 100):
        nodes = explain_settle(conn, jobs[:count], name, call)
        [locking, *_] = [node for node in nodes if node["Node Type"] == "LockRows"]
        assert locking["Actual Rows"] * locking["Actual Loops"] == count
        scans = [node for node in nodes if node.get("Relation Name") == "job" and node["Actual Loops"]]
        assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
        assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
        assert buffers(nodes) <= 16 * count + 100


def explain_settle(conn, jobs: list[Job], name: str, call: str | None = None) -> list[dict[str, Any]]:
    """Settle these jobs by the call, with what goes before it in a message, and return the nodes of its plan."""
    settlements = [Settlement(Fence.of(job), Outcome.complete()) for job in jobs]
    return explain(conn, name, SETTLES[name](settlements), call)[1]


def planned(conn) -> str:
    to_prepare, call = as_prepared("claim")
    with conn.cursor() as cursor:
        cursor.execute(to_prepare)
    explain(conn, "claim", parameters_of_claim(uuid4(), [], 1), call)
    return call


def test_neither_claim_nor_settle_walks_over_dead_rows_of_a_held_snapshot(conn, sql, database):
    with seen_by_an_old_snapshot(sql, database):
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
        [lane] = claims.lanes(conn, queues=())
        for _ in range(40):
            jobs = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=450)
            claims.settle(conn, [Settlement(Fence.of(j), Outcome.complete()) for j in jobs])
        marked = Mark("default", 0, jobs[-1].run_at, jobs[-1].id)

        from_mark = claim_parameters(ClaimRequest(worker, uuid4(), [marked], 10, 10))
        _, short_way = explain(conn, "claim", from_mark)
        _, long_way = explain(conn, "claim", parameters_of_claim(worker, [lane], 10))
        last = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=10)
        settling = explain_settle(conn, last, "settle_completed")

    # Without this the test would prove nothing: the dead rows are there.
    assert buffers(long_way) > 2 * buffers(short_way)
    assert buffers(short_way) <= 16 * 10 + 100
    assert len(last) == 10
    assert buffers(settling) <= 30 * 10 + 100
