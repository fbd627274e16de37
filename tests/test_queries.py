"""queries.sql: each statement is valid, is used, and reads no more than it must. It ..."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql as composed

from app.domain.job import NewJob
from app.queue import consume, produce
from app.queue.queries import SQL, load

QUEUE = Path(__file__).parents[1] / "app" / "queue"
NOW, ID = datetime.now(UTC), uuid4()

PARAMETERS: dict[str, Any] = {
    "milliseconds": 5000,
    "lock_milliseconds": 1000,
    "idle_milliseconds": 1000,
    "keys": ["order-7", None],
    "fingerprints": [b"\x00", b"\x01"],
    "ids": [ID, uuid4()],
    "kinds": ["mail", "mail"],
    "payloads": ["{}", '{"n": 1}'],
    "queues": ["default", "bulk"],
    "priorities": [0, 1],
    "max_attempts": [3, 4],
    "run_ats": [None, NOW],
    "delays": [1.5, None],
    "timeouts": [None, 60],
    "status": "queued",
    "kind": "mail",
    "queue": "default",
    "created_after": NOW,
    "created_before": NOW,
    "after_at": NOW,
    "after_id": ID,
    "limit": 50,
    "offset": 0,
    "suspect": False,
    "worker": ID,
    "claim": ID,
    "attempts": [1, 2],
    "claims": [ID, ID],
    "verbs": ["complete", "fail"],
    "results": ["1", None],
    "errors": [None, "no luck"],
    "backoffs": [None, 1.0],
    "alone": [True, False],
    "max_snoozes": 100,
    "kept_errors": 20,
    "id": ID,
    "attempt": 1,
    "host": "dock",
    "pid": 7,
    "threads": 8,
    "lease": 30.0,
    "slot": 10.0,
    "lowers": [None, NOW],
    "uppers": [NOW, None],
    "lower": NOW,
    "upper": NOW,
    "step": "day",
    "days_ahead": 7,
    "names": ["finished_job_1", "finished_job_2"],
    "retention_days": 30,
    "idempotency_days": 30,
}
# Their queues are one list of names, which may be absent; the same word means a column of them in `enqueue`.
ABSENT = ("queues", "status", "kind", "queue", "created_after", "created_before", "after_at", "after_id")

EXPLAINABLE = [name for name, text in SQL.items() if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text)]
OTHERS = sorted(SQL.keys() - set(EXPLAINABLE))


def wanted_by(name: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", SQL[name]))


@pytest.mark.parametrize("name", EXPLAINABLE)
def test_postgres_can_plan_the_statement(conn, name):
    statement = SQL[name]

    with conn.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement, {word: PARAMETERS[word] for word in wanted_by(name)})
        plan = cursor.fetchall()

    assert plan


@pytest.mark.parametrize("name", [name for name in EXPLAINABLE if wanted_by(name) & set(ABSENT) and name != "enqueue"])
def test_postgres_can_plan_the_statement_where_what_is_optional_is_absent(conn, name):
    statement = SQL[name]
    given = {word: None if word in ABSENT else PARAMETERS[word] for word in wanted_by(name)}

    with conn.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement, given)
        plan = cursor.fetchall()

    assert plan


def test_the_other_statements_are_commands_that_the_tests_of_the_verbs_run():
    assert OTHERS == [
        "add_partition",
        "begin",
        "bounded",
        "commit",
        "create_database",
        "detach_partition",
        "drop_database",
        "drop_partition",
        "drop_unused_database",
        "finish_detach",
        "listen",
        "mark_expired",
        "rollback",
        "session_lock_timeout",
    ]


def names_used() -> set[str]:
    """Return the names that the room's code runs: rows(conn, "name", …) and SQL["name"]."""
    nodes = [node for path in QUEUE.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 1]
    named = [node.args[1] for node in calls if ast.unparse(node.func) in ("rows", "ddl", "_ddl_unless_gone")]
    named += [node.slice for node in nodes if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "SQL"]
    return {node.value for node in named if isinstance(node, ast.Constant)}


def test_every_statement_is_used_and_every_name_used_is_a_statement():
    assert names_used() == SQL.keys()


def test_no_statement_takes_a_parameter_that_the_time_limit_overwrites():
    takers = {name for name in SQL if "milliseconds" in wanted_by(name)}

    assert takers == {"begin", "bounded"}


def test_load_leaves_comments_out_and_keeps_the_rest():
    one = "-- name: one\n-- why 100 % of {these}\nSELECT 1 -- and this\n    AS x;\n"
    text = f"-- heading\n\n{one}\n-- name: two\nSELECT 2;\n"

    statements = load(text)

    assert statements == {"one": "SELECT 1\n    AS x;", "two": "SELECT 2;"}


def test_no_statement_has_two_names_alike():
    text = (QUEUE / "queries.sql").read_text()

    names = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)

    assert len(names) == len(set(names)) == len(SQL)


@pytest.mark.parametrize("name", [name for name in SQL if "{" in SQL[name]])
def test_braces_hold_one_name(conn, name):
    statement = composed.SQL(SQL[name]).format(name=composed.Identifier('we"ird'))

    assert '"we""ird"' in statement.as_string(conn)


def explain(conn, name: str, parameters: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Run the statement, undo it, and return its plan as text and its nodes."""
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + SQL[name], parameters)
        [[[plan]]] = cursor.fetchall()
        cursor.execute("ROLLBACK")
    nodes, todo = [], [plan["Plan"]]
    while todo:
        node = todo.pop()
        nodes.append(node)
        todo.extend(node.get("Plans", []))
    return str(plan), nodes


def buffers(nodes: list[dict[str, Any]]) -> int:
    return nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"]


@pytest.fixture
def crowd(conn, sql):
    """Give a database with 50,000 jobs that are not due, 50,000 of other queues, and a few that are due."""

    def crowd(analyzed: bool) -> UUID:
        sql(
            "INSERT INTO haulier.job (kind, payload, queue, run_at, priority)"
            " SELECT 'mail', '{}'::jsonb, 'mail', now() + interval '1 day', mod(n, 3)"
            " FROM generate_series(1, 50000) AS n"
            " UNION ALL"
            " SELECT 'mail', '{}', 'other', now() - interval '1 hour', 50 FROM generate_series(1, 50000) AS n"
            " UNION ALL"
            " SELECT 'mail', '{}', 'mail', now() - interval '1 minute', 1 FROM generate_series(1, 20) AS n"
        )
        sql("VACUUM ANALYZE haulier.job" if analyzed else "SELECT 1")
        return consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)

    return crowd


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
def test_the_claim_reads_neither_jobs_that_are_not_due_nor_those_of_other_queues(conn, crowd, analyzed):
    worker = crowd(analyzed)
    parameters = {"worker": worker, "claim": uuid4(), "queues": ["mail"], "suspect": False}

    plans = {limit: explain(conn, "claim", {**parameters, "limit": limit}) for limit in (1, 10)}

    for limit, (text, nodes) in plans.items():
        assert "'job_claim'" in text
        assert nodes[0]["Actual Rows"] == limit
        scans = [node for node in nodes if node.get("Relation Name") == "job"]
        assert not [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Loops"]]
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= limit + 10
        assert sum(node.get("Rows Removed by Filter", 0) for node in scans) <= 10
        assert buffers(nodes) < 150 + 40 * limit


def test_an_idle_claim_reads_next_to_nothing(conn, crowd, sql):
    worker = crowd(True)
    sql("DELETE FROM haulier.job WHERE queue = 'mail' AND run_at < now()")
    parameters = {"worker": worker, "claim": uuid4(), "queues": ["mail"], "suspect": False, "limit": 1}

    _, claim_nodes = explain(conn, "claim", parameters)
    _, due_nodes = explain(conn, "next_due", {"queues": ["mail"], "suspect": False})

    assert claim_nodes[0]["Actual Rows"] == 0
    assert buffers(claim_nodes) < 150
    assert buffers(due_nodes) < 150


def test_the_list_page_uses_the_newest_indexes(conn, crowd, sql):
    worker = crowd(True)
    jobs = [job for _ in range(4) for job in produce.enqueue(conn, [NewJob("image", {})] * 500)]
    claimed = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=("default",), limit=len(jobs))
    consume.settle(conn, [consume.Settlement(consume.Fence.of(j), consume.Outcome.complete()) for j in claimed])
    sql("VACUUM ANALYZE haulier.job")
    sql("VACUUM ANALYZE haulier.finished_job")
    [*_, last] = produce.list_jobs(conn, produce.JobFilter(limit=200))
    nothing = dict.fromkeys(wanted_by("list_jobs"))

    first_page = explain(conn, "list_jobs", {**nothing, "limit": 50, "offset": 0})
    later_page = explain(
        conn, "list_jobs", {**nothing, "limit": 50, "offset": 0, "after_at": last.created_at, "after_id": last.id}
    )

    for text, nodes in (first_page, later_page):
        assert "'job_newest'" in text
        assert nodes[0]["Actual Rows"] == 50
        scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
        assert not [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 0]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) < 200
        assert buffers(nodes) < 400


def test_a_look_up_by_id_reads_a_few_pages_whatever_the_history(conn, crowd, enqueue_one):
    crowd(analyzed=False)
    job = enqueue_one()

    _, nodes = explain(conn, "get_jobs", {"ids": [job.id]})

    assert nodes[0]["Actual Rows"] == 1
    assert buffers(nodes) < 60


@pytest.fixture
def enqueue_one(conn):
    """Give a function that enqueues one job."""
    return lambda: produce.enqueue(conn, [NewJob("mail", {})])[0].job


@pytest.fixture
def sql(conn):
    """Give a function that runs any statement on `conn` and returns its rows."""

    def sql(statement: str, *parameters: object):
        with conn.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    return sql
