"""Many rows in one statement, and what a statement reads of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

from haulier.domain.claim import ClaimRequest, Lane
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import SQL
from haulier.queue.claims.claim import claim_parameters
from tests.conftest import Sql, sql_on
from tests.queue.parameters import wanted_by

ENDED = {
    **{"id": "haulier.uuidv7()", "status": "'succeeded'", "kind": "'mail'", "queue": "'default'", "payload": "'{}'"},
    **{"attempt": "1", "attempts": "1", "max_attempts": "3", "priority": "0", "crashes": "0", "snoozes": "0"},
    **{"cancel_requested": "false", "errors": "'[]'"},
    **dict.fromkeys(("run_at", "started_at", "created_at", "updated_at", "finished_at"), "now()"),
}


def ended(source: str, **columns: str) -> str:
    """Return a statement that stores an ended job for each row of the source. The columns are expressions of SQL."""
    values = ENDED | columns
    return f"INSERT INTO haulier.finished_job ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source}"


def copy_to_history(sql: Sql, status: str = "'succeeded'", *, new_id: str = "id") -> None:
    """Store an ended job like each live one. The status and the id are expressions of SQL."""
    columns = {name: name for name in ("kind", "queue", "priority", "run_at", "claim", "max_attempts", "payload")}
    columns |= {name: name for name in ("created_at", "error_id", "tags")}
    sql(ended("haulier.job", **columns, id=new_id, status=status))


@contextmanager
def seen_by_an_old_snapshot(sql: Sql, database: str) -> Iterator[None]:
    """Enqueue 20,000 jobs, and hold a snapshot that sees them during the block: their dead rows then stay."""
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 20000) RETURNING 1")
    # So that the planner believes that next to nothing runs.
    sql("VACUUM ANALYZE haulier.job")
    with closing(connect(database)) as reader:
        sql_on(reader)("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
        yield


def explain(
    conn, name: str, parameters: dict[str, Any], statement: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Run the statement, or a call of it, undo it, and return its plan as text and its nodes.

    Parameters that are not given are null.
    """
    parameters = {**dict.fromkeys(wanted_by(name) if name in SQL else ()), **parameters}
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        if name == "claim":
            cursor.execute(SQL["claim_by_index"], {"milliseconds": 5000})
        elif name == "find_jobs":
            cursor.execute(SQL["find_by_index"])
        elif name == "count_span":
            cursor.execute(SQL["count_by_index"])
        elif name in ("settle", "settle_completed") and statement is not None:
            cursor.execute(SQL["one_plan_by_index"])
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


def parameters_of_claim(worker: UUID, lanes: list[Lane], batch: int) -> dict[str, Any]:
    """Return the parameters of a claim of up to `batch` jobs from the heads of these lanes."""
    return claim_parameters(ClaimRequest(worker, uuid4(), [lane.head for lane in lanes], batch, batch))
