"""What the other statements read of large tables and dead rows: it ..."""

from __future__ import annotations

from itertools import product
from uuid import UUID, uuid4

import pytest

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.search.job_filter import JobFilter
from tests import queueing
from tests.queue.parameters import ID
from tests.queue.plans import buffers, copy_to_history, ended, explain, parameters_of_claim, seen_by_an_old_snapshot

CROWD = """
    INSERT INTO haulier.job (kind, payload, queue, run_at, priority)
    SELECT 'mail', '{}'::jsonb, 'mail', now() + interval '1 day', mod(n, 3) FROM generate_series(1, 20000) AS n
    UNION ALL
    SELECT 'mail', '{}', 'other', now() - interval '1 hour', 50 FROM generate_series(1, 20000) AS n
    UNION ALL
    SELECT 'mail', '{}', 'mail', now() - interval '1 minute', 1 FROM generate_series(1, 20) AS n
"""


@pytest.fixture
def crowd(conn, sql):
    """Give a worker beside 20,000 jobs that are not due, 20,000 of other queues, and a few that are due."""
    sql(CROWD)
    sql("VACUUM ANALYZE haulier.job")
    return claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)


@pytest.fixture
def dead_rows(conn, sql, database):
    """Give the worker that ran 20,000 jobs since somebody took a snapshot, a job that waits, and one that it runs."""
    with seen_by_an_old_snapshot(sql, database):
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
        # As real claims and settles leave them, but for the time that these take.
        sql(
            "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = gen_random_uuid(), attempt = 1,"
            " started_at = now() RETURNING 1",
            worker,
        )
        copy_to_history(sql)
        sql("DELETE FROM haulier.job RETURNING 1")
        waiting, running = queueing.enqueue(conn, [NewJob("mail", {}), NewJob("mail", {})])
        sql(
            "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, started_at = now() WHERE id = %s"
            " RETURNING 1",
            worker,
            ID,
            running.job.id,
        )
        sql("ANALYZE haulier.job")
        yield worker, waiting.job.id, running.job.id


def test_what_asks_for_a_few_jobs_walks_over_no_dead_rows(conn, sql, dead_rows):
    worker, waiting, running = dead_rows
    [[ended]] = sql(
        "UPDATE haulier.finished_job SET status = 'cancelled'"
        " WHERE id = (SELECT id FROM haulier.finished_job LIMIT 1) RETURNING id"
    )
    act = {"changes": "{}", "spread": 0, "place": 0}
    calls = {
        "strays": {"worker": worker, "claims": [ID]},
        "cancelled": {"worker": worker},
        "held": {"worker": worker, "claims": [ID]},
        "cancel": act | {"ids": [running]},
        "cancel of one that waits": act | {"ids": [waiting]},
        "change": act | {"ids": [waiting], "changes": '{"queue": "bulk", "delay_seconds": 9}'},
        "copy": act | {"ids": [running]},
        "retry": act | {"ids": [ended]},
        "delete": act | {"ids": [ended]},
        "cancel_all": act | {"ids": [waiting, running]},
        "change_all": act | {"ids": [waiting], "changes": '{"queue": "bulk", "delay_seconds": 9}'},
        "retry_all": act | {"ids": [ended]},
        "delete_all": act | {"ids": [ended]},
        "get_jobs": {"ids": [running]},
        "beat": {"worker": worker, "scans_fail": False},
        "bury": {},
        "lock_held": {"ids": [running], "attempts": [0], "claims": [ID]},
    }

    # Once for what a session reads of the catalogue when it first calls a function.
    for _ in range(2):
        read = {name: buffers(explain(conn, name.split()[0], parameters)[1]) for name, parameters in calls.items()}

    # Without this the test would prove nothing: the dead rows are there.
    assert read.pop("strays") > 300
    assert {name: pages for name, pages in read.items() if pages > 150} == {}


def test_what_asks_for_all_that_runs_reads_each_page_once(conn, dead_rows, sql):
    worker, *_ = dead_rows
    # Of many workers each has had some of each page.
    sql(
        "UPDATE haulier.job SET worker_id = haulier.uuidv7(), attempt = attempt + 1 WHERE worker_id = %s RETURNING 1",
        worker,
    )
    sql("DELETE FROM haulier.worker RETURNING 1")
    # One that may be forgotten, unless it has something that runs.
    sql("INSERT INTO haulier.queue (name, used_at) VALUES ('old', '2020-01-01') RETURNING 1")
    [(pages,)] = sql("SELECT (pg_relation_size('haulier.job') + pg_relation_size('haulier.job_claimed')) / 8192")
    parameters = {"limit": 51, "offset": 0, "most_rows": 2000, "most_bytes": 8_000_000, "least_id": UUID(int=0)}
    parameters |= {"statuses": ["running"], "most": 100, "most_pages": 10, "idle": 60, "passed_over": []}

    read = {}
    for name in ("list_jobs", "orphans", "queue_depths", "purge_queues"):
        _, nodes = explain(conn, name, parameters)
        read[name] = buffers(nodes)

    assert {name: number for name, number in read.items() if not 300 < number < 2 * pages} == {}


ALL_JOBS = {"offset": 0, "least_id": UUID(int=0), "most_bytes": 8_000_000}


def test_a_page_of_jobs_walks_over_no_dead_rows_of_jobs_that_waited(conn, dead_rows):
    text, nodes = explain(conn, "list_jobs", {**ALL_JOBS, "limit": 51, "most_rows": 51})

    scans = [node for node in nodes if node.get("Index Name") == "job_waiting_newest"]
    assert scans
    assert all(buffers([node]) < 1000 for node in scans)
    assert nodes[0]["Actual Rows"] == 50


def test_an_idle_claim_reads_next_to_nothing(conn, crowd, sql):
    lanes = claims.lanes(conn, queues=("mail",))
    sql("DELETE FROM haulier.job WHERE queue = 'mail' AND run_at < now()")

    _, claim_nodes = explain(conn, "claim", parameters_of_claim(crowd, lanes, 1))
    first_lanes = {"suspect": False, "after_queue": "", "after_priority": 0, "limit": 20_000}
    _, lane_nodes = explain(conn, "lanes_of", {"queues": ["mail"], **first_lanes})

    assert buffers(claim_nodes) < 150
    assert buffers(lane_nodes) < 150


def test_the_list_page_uses_the_newest_indexes(conn, crowd, sql):
    jobs = [job for _ in range(4) for job in queueing.enqueue(conn, [NewJob("image", {})] * 500)]
    claimed = queueing.claim(conn, worker_id=crowd, claim_id=uuid4(), queues=("default",), limit=len(jobs))
    claims.settle(conn, [Settlement(Fence.of(j), Outcome.complete()) for j in claimed])
    sql("VACUUM ANALYZE haulier.job")
    sql("VACUUM ANALYZE haulier.finished_job")
    [*_, last] = search.list_jobs(conn, search.JobFilter(limit=200)).jobs
    page = {**ALL_JOBS, "limit": 51, "most_rows": 51}

    first_page = explain(conn, "list_jobs", page)
    later_page = explain(conn, "list_jobs", {**page, "after_at": last.created_at, "after_id": last.id})

    for text, nodes in (first_page, later_page):
        assert "'job_waiting_newest'" in text
        assert nodes[0]["Actual Rows"] == 50
        scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
        assert not [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 0]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 200
        assert buffers(nodes) < 400


def test_the_list_page_reads_little_of_a_day_that_is_not_analyzed_yet(conn, sql):
    sql(ended("generate_series(1, 100000)"))

    _, nodes = explain(conn, "list_jobs", {**ALL_JOBS, "limit": 51, "most_rows": 5000})

    scans = [node for node in nodes if node.get("Relation Name", "").startswith("finished_job")]
    assert nodes[0]["Actual Rows"] == 50
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 200


def test_why_a_job_waits_is_read_from_no_more_jobs_than_it_counts(conn, crowd, sql):
    [(waiting,)] = sql("SELECT max(id::text)::uuid FROM haulier.job WHERE queue = 'mail' AND run_at < now()")
    asked = {"id": waiting, "suspect": False, "passed_over": [], "given_back": "x", "look": 1.0, "most": 1001}
    asked |= {"busy": [], "after_queue": "", "after_priority": 0}

    _, nodes = explain(conn, "explain_waiting", asked)

    scans = [node for node in nodes if node.get("Relation Name") == "job"]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 1100
    assert buffers(nodes) < 1500


ABSENT = [
    {"kinds": ["never"]},
    {"queues": ["never"]},
    {"statuses": ["retrying"]},
    {"statuses": ["cancelled"]},
    {"attempts_min": 5},
    {"idempotency_key": "never"},
    {"worker": ID},
    {"worker": ID, "statuses": ["running", "succeeded", "failed_permanent", "cancelled"]},
    {"paths": ["order.id"], "texts": ["never"]},
    {"finished_after": "2020-01-01", "kinds": ["never"], "statuses": ["cancelled", "failed_permanent"]},
]


def test_a_list_looks_at_no_more_jobs_than_it_may(conn, sql, crowd):
    copy_to_history(sql, "'failed_permanent'", new_id="haulier.uuidv7()")
    sql("VACUUM ANALYZE haulier.finished_job")
    wrong = []
    for absent in ABSENT:
        _, nodes = explain(conn, "list_jobs", {**ALL_JOBS, **absent, "limit": 51, "most_rows": 2000})
        scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
        rows = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
        if not 2000 <= rows <= 4100 or buffers(nodes) >= 2000:
            wrong.append((absent, rows, buffers(nodes)))

    assert wrong == []


OF_A_GROUP = [
    ({"error_id": 1}, 51, 50),
    ({"error_id": 2}, 51, 50),
    ({"error_id": 2, "queues": ["default"], "statuses": [JobStatus.RETRYING]}, 51, 50),
    ({"error_id": 404}, 51, 0),
    ({"error_id": 404, "kinds": ["mail"]}, 2000, 0),
]


def test_the_jobs_of_a_group_of_errors_are_read_by_its_indexes(conn, sql):
    # 20,000 jobs that have failed and 20,000 to be tried again, the newer with error 1, the older with 2.
    sql(
        "INSERT INTO haulier.job (kind, payload, status, created_at, error_id)"
        " SELECT 'mail', '{}', CASE n % 2 WHEN 0 THEN 'retrying' ELSE 'queued' END, now() - make_interval(secs => n),"
        " CASE n % 2 WHEN 0 THEN 1 + n / 20001 END FROM generate_series(1, 40000) AS n RETURNING 1"
    )
    copy_to_history(sql, "CASE status WHEN 'retrying' THEN 'failed_permanent' ELSE 'succeeded' END")
    sql("VACUUM ANALYZE haulier.job, haulier.finished_job")
    for wanted, limit, found in OF_A_GROUP:
        sent = {**ALL_JOBS, **JobFilter(**wanted).conditions, "most_rows": limit}
        _, listing = explain(conn, "list_jobs", {**sent, "limit": 51})
        _, counting = explain(conn, "count_jobs", sent)

        for plan in (listing, counting):
            read = [node for node in plan if "Scan" in node["Node Type"] and node["Actual Rows"] * node["Actual Loops"]]
            tables = [node for node in read if "job" in node.get("Relation Name", "")]
            # The jobs of a page are looked up by their ids.
            looked_at = [node for node in tables if "(id = " not in node.get("Index Cond", "")]
            assert [node for node in looked_at if "error" not in node["Index Name"]] == [], wanted
            assert sum(node["Actual Rows"] * node["Actual Loops"] for node in looked_at) <= 2 * limit, wanted
            assert bool(tables) is bool(found), wanted
            assert "running" not in {node.get("Function Name") for node in plan if node["Actual Loops"]}, wanted
            assert buffers(plan) < 400, wanted
        assert len(search.list_jobs(conn, JobFilter(**wanted)).jobs) == found


# --- Tags


WAITING = """
    INSERT INTO haulier.job (kind, payload, created_at, tags)
    SELECT 'mail', '{}', now() - make_interval(secs => n), '{many}' FROM generate_series(1, 50000) AS n
    RETURNING 1
"""
TAGGED = """
    UPDATE haulier.{} SET tags = NULL RETURNING 1;
    UPDATE haulier.{} SET tags = '{{few,a}}'
    WHERE created_at <= (SELECT min(created_at) + interval '29 s' FROM haulier.{}) RETURNING 1
"""


def sent(tag):
    limits = {"offset": 0, "limit": 51, "most_bytes": 8_000_000, "most_tagged": 1000, "is_part_enough": False}
    return {**JobFilter(tags=[tag]).conditions, **limits}


def test_the_jobs_of_a_rare_tag_are_read_by_its_indexes(conn, sql):
    sql(WAITING)
    copy_to_history(sql)
    # The planner believes that all of them have the tag `many`; the oldest 30 have the tag `few`.
    sql("VACUUM ANALYZE haulier.job, haulier.finished_job")
    for table in ("job", "finished_job"):
        sql(TAGGED.format(table, table, table))
        sql(f"VACUUM haulier.{table}")
    for name, (tag, found) in product(("list_tagged", "count_tagged"), (("few", 60), ("never", 0))):
        _, nodes = explain(conn, name, sent(tag))

        [function] = [node for node in nodes if node.get("Function Name") == "tagged"]
        assert function["Actual Rows"] == found
        assert buffers([function]) < 300
        assert buffers(nodes) < 600
        scans = [node for node in nodes if "Scan" in node["Node Type"] and "job" in node.get("Relation Name", "")]
        assert [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Rows"]] == []
        assert search.count_jobs(conn, JobFilter(tags=[tag])).jobs == found


def test_the_index_is_read_only_until_there_are_too_many_jobs(conn, sql):
    sql(WAITING)
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 2000) RETURNING 1")
    sql("VACUUM ANALYZE haulier.job")

    _, nodes = explain(conn, "count_tagged", sent("many"))

    [function] = [node for node in nodes if node.get("Function Name") == "tagged"]
    assert function["Actual Rows"] == 1001
    assert buffers(nodes) < 1000


def test_jobs_without_tags_write_nothing_into_the_indexes_of_tags(sql):
    sizes = """
        SELECT * FROM (SELECT indexrelid::regclass::text AS name, pg_relation_size(indexrelid) FROM pg_index) AS index
        WHERE name ~ 'tag' ORDER BY name
    """
    before = sql(sizes)

    sql(WAITING.replace("'{many}'", "NULL"))
    copy_to_history(sql)

    assert sql(sizes) == before
    assert len(before) > 5


def test_a_claim_of_a_tagged_job_writes_nothing_into_the_index(enqueue, claim, conn, sql):
    for _ in range(20):
        enqueue(tags=["vip"])

    def entries() -> int:
        statement = "SELECT FROM haulier.job WHERE status IN ('queued', 'retrying') AND tags && '{vip}'"
        # `explain` ends the transaction.
        sql("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        _, nodes = explain(conn, "entries of a tag", {}, statement)
        return next(node["Actual Rows"] for node in nodes if node.get("Index Name") == "job_waiting_by_tag")

    before = entries()
    for _ in range(20):
        claim()

    # Those of the versions before the claims, until VACUUM comes.
    assert entries() == before == 20
