"""Running a statement to see how, and how much of the tables it reads."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from haulier.domain.claim import ClaimRequest, Lane
from haulier.postgres.sql_files import SQL
from haulier.queue.claims.claim import claim_parameters


def explain(
    conn, name: str, parameters: dict[str, Any], statement: str | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Run the statement, or a call of it, undo it, and return its plan as text and its nodes."""
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        if name == "claim":
            cursor.execute(SQL["claim_by_index"], {"milliseconds": 5000})
        elif name == "count_span":
            cursor.execute(SQL["count_by_index"])
        elif name == "settle" and statement is not None:
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
