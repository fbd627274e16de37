"""The .sql files: each statement is valid, is used, and reads no more than it must. It ..."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql as composed

from haulier.domain.claim import ClaimRequest, Fence, Lane, Mark, Settlement
from haulier.domain.job import Job, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.prepared import as_prepared
from haulier.postgres.sql_files import FILES, SQL, load
from haulier.queue import consume, produce
from haulier.queue.consume.claim import claim_parameters
from haulier.queue.consume.settle import SETTLE, settle_parameters

HAULIER = Path(__file__).parents[1] / "haulier"
NOW, ID = datetime.now(UTC), uuid4()

PARAMETERS: dict[str, Any] = {
    "milliseconds": 5000,
    "lock_milliseconds": 1000,
    "idle_milliseconds": 1000,
    "keys": ["order-7", None],
    "fingerprints": [b"\x00", b"\x01"],
    "ids": [ID, uuid4()],
    "payload": "{}",
    "priority": 1,
    "run_at": NOW,
    "delay": timedelta(seconds=1.5),
    "timeout_seconds": 60,
    "idempotency_key": "order-7",
    "fingerprint": b"\x00",
    "count": 2,
    "queues": ["default", "bulk"],
    "priorities": [0, 1],
    "max_attempts": 3,
    "delays": [1.5, None],
    "status": "queued",
    "kind": "mail",
    "queue": "default",
    "created_after": NOW,
    "created_before": NOW,
    "after_at": NOW,
    "after_id": ID,
    "least_id": UUID(int=0),
    "limit": 50,
    "offset": 0,
    "suspect": False,
    "marks": [NOW, NOW],
    "mark_ids": [ID, ID],
    "free": 8,
    "passed_over": [ID],
    "most_bytes": 8_000_000,
    "workers": [ID],
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
    "step": "day",
    "days_ahead": 7,
    "table": 1259,
    "tables": [1259, 1260],
    "retention_days": 30,
    "idempotency_days": 30,
    "scoped_key": "abc order-7",
    "actor": "abc",
    "action": "revoke_key",
    "key_id": "abc",
    "name": "Ann",
    "hash": b"\x00" * 32,
    "scopes": ["read"],
    "rate_limit": 5.0,
    "lifetime": timedelta(days=1),
    "overlap": timedelta(days=1),
    "rate": 5.0,
    "asked": 2,
    "unused": 1,
    "before": 7,
    "names": ["mail", "bulk"],
    "per_key": 1000,
    "in_all": 10_000,
    "is_whole": True,
    "most": 100,
    "most_pages": 16_384,
    "scans_fail": False,
    "after_queue": "",
    "after_priority": 0,
    "look": 0.2,
    "lately": 10.0,
    "idle": 3600.0,
    "soon": 300.0,
    "newest": 50_000,
}
ABSENT = (
    "workers",
    "queues",
    "rate_limit",
    "lifetime",
    "before",
    "actor",
    "status",
    "kind",
    "queue",
    "created_after",
    "created_before",
    "after_at",
    "after_id",
)

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


@pytest.mark.parametrize("name", [name for name in EXPLAINABLE if wanted_by(name) & set(ABSENT)])
def test_postgres_can_plan_the_statement_where_what_is_optional_is_absent(conn, name):
    statement = SQL[name]
    given = {word: None if word in ABSENT else PARAMETERS[word] for word in wanted_by(name)}

    with conn.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement, given)
        plan = cursor.fetchall()

    assert plan


def test_the_other_statements_are_commands_that_the_tests_of_the_verbs_run():
    assert OTHERS == [
        "begin",
        "bounded",
        "commit",
        "copy_jobs",
        "create_database",
        "detach_partition_in_session",
        "drop_database",
        "drop_unused_database",
        "listen",
        "lock_schema",
        "read_committed",
        "rollback",
        "session_lock_timeout",
        "settle_by_index",
        "unlisten",
    ]


def names_used() -> set[str]:
    """Return the names that the room's code runs: rows(conn, "name", …), names += ["name"], and SQL["name"]."""
    nodes = [
        node
        for room in ("postgres", "queue")
        for path in (HAULIER / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    calls = [node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 1]
    named = [node.args[1] for node in calls if ast.unparse(node.func) in ("rows", "copy", "ddl", "_change")]
    messages = [node.args[1] for node in calls if ast.unparse(node.func) == "message"]
    named += [name for each in messages if isinstance(each, ast.List) for name in each.elts]
    named += [ast.Constant(name) for name in SETTLE]
    named += [node.slice for node in nodes if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "SQL"]
    lists = [node.value for node in nodes if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "names"]
    named += [name for each in lists if isinstance(each, ast.List) for name in each.elts]
    return {node.value for node in named if isinstance(node, ast.Constant)}


def test_every_statement_is_used_and_every_name_used_is_a_statement():
    assert names_used() == SQL.keys()


def test_no_statement_takes_a_parameter_that_the_time_limit_overwrites():
    takers = {name for name in SQL if "milliseconds" in wanted_by(name)}

    assert takers == {"begin", "bounded", "claim_by_index"}


def test_load_leaves_comments_out_and_keeps_the_rest():
    one = "-- name: one\n-- why 100 % of {these}\nSELECT 1 -- and this\n    AS x;\n"
    text = f"-- heading\n\n{one}\n-- name: two\nSELECT 2;\n"

    statements, _ = load([text])

    assert statements == {"one": "SELECT 1\n    AS x;", "two": "SELECT 2;"}


def test_load_fills_in_the_parts_that_several_have_in_common():
    parts, uses = "-- part: mine\n-- why\na = 1\nAND b = 2\n", "-- name: one\nSELECT 1 WHERE <<mine>> AND c;"

    statements, _ = load([uses, parts])

    assert statements == {"one": "SELECT 1 WHERE a = 1\nAND b = 2 AND c;"}


def test_load_refuses_a_name_that_stands_twice_and_a_part_that_is_not_there():
    one = "-- name: one\nSELECT 1;"

    with pytest.raises(ValueError, match="one stands twice"):
        load([one, one])
    with pytest.raises(KeyError, match="mine"):
        load(["-- name: one\nSELECT <<mine>>;"])


COLUMNS_FILE = HAULIER / "queue" / "columns.sql"


def test_each_list_of_columns_is_for_some_statement():
    others = "".join(path.read_text() for path in FILES if path != COLUMNS_FILE)
    statements, parts = load([COLUMNS_FILE.read_text()])

    assert [part for part in parts if f"<<{part}>>" not in others] == []
    assert statements == {}


@pytest.mark.parametrize("path", [path for path in FILES if path != COLUMNS_FILE], ids=lambda path: path.name)
def test_each_statement_stands_beside_the_module_that_sends_it_and_each_part_is_part_of_one(path):
    text = path.read_text()
    names, parts = (re.findall(rf"^-- {sort}: (\w+)$", text, re.MULTILINE) for sort in ("name", "part"))

    code = path.with_suffix(".py").read_text()

    assert [name for name in names if f'"{name}"' not in code] == []
    assert [part for part in parts if f"<<{part}>>" not in text] == []
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("name", [name for name in SQL if "{" in SQL[name]])
def test_braces_hold_one_name(conn, name):
    statement = composed.SQL(SQL[name]).format(name=composed.Identifier('we"ird'))

    assert '"we""ird"' in statement.as_string(conn)


def explain(
    conn, name: str, parameters: dict[str, Any], statement: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Run the statement, or a call of it, undo it, and return its plan as text and its nodes."""
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        if name == "claim":
            cursor.execute(SQL["claim_by_index"], {"milliseconds": 5000})
        elif name == "settle" and statement is not None:
            cursor.execute(SQL["settle_by_index"])
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + (statement or SQL[name]), parameters)
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


CROWDS = {
    "nobody": "SELECT 1",
    "deferred": "INSERT INTO haulier.job (kind, payload, run_at) SELECT 'mail', '{}', now() + interval '1 day'"
    " FROM generate_series(1, 50000)",
    "other queues": "INSERT INTO haulier.job (kind, payload, queue, run_at)"
    " SELECT 'mail', '{}', 'other', now() - interval '1 hour' FROM generate_series(1, 50000)",
    "lower priorities": "INSERT INTO haulier.job (kind, payload, priority, run_at)"
    " SELECT 'mail', '{}', -1 - mod(n, 5), now() - interval '1 hour' FROM generate_series(1, 50000) AS n",
    "ready": "INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 50000)",
    "suspects": "INSERT INTO haulier.job (kind, payload, crashes, run_at)"
    " SELECT 'mail', '{}', 1, now() - interval '1 hour' FROM generate_series(1, 50000)",
    "finished": "WITH gone AS (INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}'"
    " FROM generate_series(1, 20000) RETURNING *) INSERT INTO haulier.finished_job (id, status, kind, queue, priority,"
    " run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested, payload, errors, created_at,"
    " updated_at, finished_at) SELECT id, 'succeeded', kind, queue, priority, run_at, 1, 1, 3, 0, 0, false, payload,"
    " errors, created_at, now(), now() FROM gone",
}


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "not analyzed"])
@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize(
    "is_prepared",
    [
        pytest.param(False, id="sent as it is"),
        pytest.param(
            True,
            id="planned for an empty table",
            marks=pytest.mark.direct("a pool's connections keep nothing that is prepared"),
        ),
    ],
)
def test_a_claim_reads_only_what_it_takes(conn, sql, crowd, analyzed, batch, is_prepared):
    call = planned(conn) if is_prepared else SQL["claim"]
    sql(CROWDS[crowd] + (" RETURNING 1" if "INSERT" in CROWDS[crowd] else ""))
    if crowd == "finished":
        sql("DELETE FROM haulier.job RETURNING 1")
    sql(
        "INSERT INTO haulier.job (kind, payload, run_at) SELECT 'mail', '{}', now() - interval '1 minute'"
        " FROM generate_series(1, 300) RETURNING 1"
    )
    if analyzed:
        sql("VACUUM ANALYZE haulier.job")
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    lanes = [lane for lane in consume.lanes(conn, queues=("default",)) if lane.seconds <= 0]

    text, nodes = explain(conn, "claim", parameters_of_claim(worker, lanes, batch), call)

    assert "'job_claim'" in text
    scans = [node for node in nodes if node.get("Relation Name") == "job" and node["Actual Loops"]]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
    [locking, *_] = [node for node in nodes if node["Node Type"] == "LockRows"]
    assert locking["Actual Rows"] * locking["Actual Loops"] == batch
    assert buffers([locking]) <= 3 * batch + 100
    assert buffers(nodes) <= 16 * batch + 100


@pytest.mark.parametrize(("setting", "value"), [("jit", "off"), ("plan_cache_mode", "force_generic_plan")])
def test_a_claim_is_neither_planned_nor_compiled_anew_each_time(conn, setting, value):
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; " + SQL["claim_by_index"] + f" SHOW {setting}", {"milliseconds": 5000})
        [[found]] = cursor.fetchall()
        cursor.execute("ROLLBACK")

    assert found == value


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.direct("a pool's connections keep nothing that is prepared")
def test_a_settle_that_was_planned_for_a_small_table_reads_only_what_it_settles_in_a_large_one(conn, sql, count):
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 10) RETURNING 1")
    sql("ANALYZE haulier.job")
    to_prepare, call = as_prepared("settle")
    with conn.cursor() as cursor:
        cursor.execute(to_prepare)
    explain_settle(conn, [], call)
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 50000) RETURNING 1")
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    jobs = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=count)

    nodes = explain_settle(conn, jobs, call)

    [locking, *_] = [node for node in nodes if node["Node Type"] == "LockRows"]
    assert locking["Actual Rows"] * locking["Actual Loops"] == count
    scans = [node for node in nodes if node.get("Relation Name") == "job" and node["Actual Loops"]]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert sum(node.get("Rows Removed by Filter", 0) for node in scans) == 0
    assert buffers(nodes) <= 16 * count + 100


def explain_settle(conn, jobs: list[Job], call: str) -> list[dict[str, Any]]:
    """Settle these jobs by the call, with what goes before it in a message, and return the nodes of its plan."""
    settlements = [Settlement(Fence.of(job), Outcome.complete()) for job in jobs]
    return explain(conn, "settle", settle_parameters(settlements), call)[1]


def planned(conn) -> str:
    """Prepare the claim and make its plan, and return the call of it."""
    to_prepare, call = as_prepared("claim")
    with conn.cursor() as cursor:
        cursor.execute(to_prepare)
    explain(conn, "claim", parameters_of_claim(uuid4(), [], 1), call)
    return call


def parameters_of_claim(worker: UUID, lanes: list[Lane], batch: int) -> dict[str, Any]:
    """Return what a claim of so many jobs from the head of these lanes is sent with."""
    return claim_parameters(ClaimRequest(worker, uuid4(), [lane.head for lane in lanes], batch, batch))


def test_neither_claim_nor_settle_walks_over_what_earlier_ones_left_under_a_held_snapshot(conn, sql, database):
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000) RETURNING 1")
    # So that the planner believes that next to nothing runs.
    sql("VACUUM ANALYZE haulier.job")
    reader = connect(database)
    reader.autocommit = False
    with reader.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    [lane] = consume.lanes(conn, queues=())
    for _ in range(40):
        jobs = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=450)
        consume.settle(conn, [Settlement(Fence.of(j), Outcome.complete()) for j in jobs])
    marked = Mark("default", 0, jobs[-1].run_at, jobs[-1].id)

    from_mark = claim_parameters(ClaimRequest(worker, uuid4(), [marked], 10, 10))
    _, short_way = explain(conn, "claim", from_mark)
    _, long_way = explain(conn, "claim", parameters_of_claim(worker, [lane], 10))
    last = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=10)
    outcomes = [Settlement(Fence.of(job), Outcome.complete()) for job in last]
    _, settling = explain(conn, "settle", settle_parameters(outcomes))
    reader.close()

    # Without this the test would prove nothing: the dead rows are there.
    assert buffers(long_way) > 2 * buffers(short_way)
    assert buffers(short_way) <= 16 * 10 + 100
    assert len(last) == 10
    assert buffers(settling) <= 30 * 10 + 100


@pytest.fixture
def dead_rows(conn, sql, database):
    """Give the worker that ran 20,000 jobs since somebody took a snapshot, a job that waits, and one that it runs."""
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000) RETURNING 1")
    # So that the planner believes that next to nothing runs.
    sql("VACUUM ANALYZE haulier.job")
    reader = connect(database)
    reader.autocommit = False
    with reader.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    # As real claims and settles leave them, but for the time that these take.
    sql(
        "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = gen_random_uuid(), attempt = 1,"
        " started_at = now() RETURNING 1",
        worker,
    )
    sql(
        "INSERT INTO haulier.finished_job SELECT id, 'succeeded', kind, queue, priority, run_at, attempt, claim,"
        " started_at, 1, max_attempts, 0, 0, NULL, false, payload, NULL, NULL, '[]', created_at, now(), now(), NULL"
        " FROM haulier.job RETURNING 1"
    )
    sql("DELETE FROM haulier.job RETURNING 1")
    waiting, running = produce.enqueue(conn, [NewJob("mail", {}), NewJob("mail", {})])
    sql(
        "UPDATE haulier.job SET status = 'running', worker_id = %s, claim = %s, started_at = now() WHERE id = %s"
        " RETURNING 1",
        worker,
        ID,
        running.job.id,
    )
    sql("ANALYZE haulier.job")
    yield worker, waiting.job.id, running.job.id
    reader.close()


def test_what_asks_for_a_few_jobs_walks_over_no_dead_rows(conn, dead_rows):
    worker, waiting, running = dead_rows
    calls = {
        "strays": {"worker": worker, "claims": [ID]},
        "cancelled": {"worker": worker},
        "held": {"worker": worker, "claims": [ID]},
        "cancel": {"id": running, "actor": None},
        "cancel of one that waits": {"id": waiting, "actor": None},
        "get_jobs": {"ids": [running]},
        "beat": {"worker": worker, "scans_fail": False},
        "bury": {"workers": None},
        "lock_held": {"ids": [running], "attempts": [0], "claims": [ID]},
    }

    # Once for what a session reads of the catalogue when it first calls a function.
    for _ in range(2):
        read = {name: buffers(explain(conn, name.split()[0], parameters)[1]) for name, parameters in calls.items()}

    # Without this the test would prove nothing: the dead rows are there.
    assert read.pop("strays") > 300
    assert {name: pages for name, pages in read.items() if pages > 150} == {}


@pytest.mark.parametrize("name", ["list_jobs", "orphans", "queue_depths", "purge_queues"])
def test_what_asks_for_all_that_runs_reads_each_page_once(conn, dead_rows, sql, name):
    worker, *_ = dead_rows
    # Of many workers each has had some of each page.
    sql(
        "UPDATE haulier.job SET worker_id = haulier.uuidv7(), attempt = attempt + 1 WHERE worker_id = %s RETURNING 1",
        worker,
    )
    sql("DELETE FROM haulier.worker RETURNING 1")
    wanted = dict.fromkeys(wanted_by(name))
    wanted |= {"limit": 51, "offset": 0, "most_bytes": 8_000_000, "least_id": UUID(int=0), "passed_over": []}
    wanted |= {"status": "running", "most": 100, "most_pages": 10, "idle": 60}
    # One that may be forgotten, unless it has something that runs.
    sql("INSERT INTO haulier.queue (name, used_at) VALUES ('old', '2020-01-01') RETURNING 1")
    [(pages,)] = sql("SELECT (pg_relation_size('haulier.job') + pg_relation_size('haulier.job_claimed')) / 8192")

    _, nodes = explain(conn, name, {each: wanted[each] for each in wanted_by(name)})

    assert 300 < buffers(nodes) < 2 * pages


def test_a_page_of_jobs_walks_over_no_dead_rows_of_jobs_that_waited(conn, dead_rows):
    nothing = {**dict.fromkeys(wanted_by("list_jobs")), "least_id": UUID(int=0), "most_bytes": 8_000_000}

    text, nodes = explain(conn, "list_jobs", {**nothing, "limit": 51, "offset": 0})

    scans = [node for node in nodes if node.get("Index Name") == "job_waiting_newest"]
    assert scans
    assert all(buffers([node]) < 1000 for node in scans)
    assert nodes[0]["Actual Rows"] == 50


def test_an_idle_claim_reads_next_to_nothing(conn, crowd, sql):
    worker = crowd(True)
    lanes = consume.lanes(conn, queues=("mail",))
    sql("DELETE FROM haulier.job WHERE queue = 'mail' AND run_at < now()")

    _, claim_nodes = explain(conn, "claim", parameters_of_claim(worker, lanes, 1))
    _, lane_nodes = explain(
        conn,
        "lanes_of",
        {"queues": ["mail"], "suspect": False, "after_queue": "", "after_priority": 0, "limit": 20_000},
    )

    assert buffers(claim_nodes) < 150
    assert buffers(lane_nodes) < 150


def test_the_list_page_uses_the_newest_indexes(conn, crowd, sql):
    worker = crowd(True)
    jobs = [job for _ in range(4) for job in produce.enqueue(conn, [NewJob("image", {})] * 500)]
    claimed = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=("default",), limit=len(jobs))
    consume.settle(conn, [Settlement(Fence.of(j), Outcome.complete()) for j in claimed])
    sql("VACUUM ANALYZE haulier.job")
    sql("VACUUM ANALYZE haulier.finished_job")
    [*_, last] = produce.list_jobs(conn, produce.JobFilter(limit=200)).jobs
    nothing = {**dict.fromkeys(wanted_by("list_jobs")), "least_id": UUID(int=0), "most_bytes": 8_000_000}

    first_page = explain(conn, "list_jobs", {**nothing, "limit": 51, "offset": 0})
    later_page = explain(
        conn, "list_jobs", {**nothing, "limit": 51, "offset": 0, "after_at": last.created_at, "after_id": last.id}
    )

    for text, nodes in (first_page, later_page):
        assert "'job_waiting_newest'" in text
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
