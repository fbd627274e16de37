"""What a review of the groups of errors found of how much is read."""

from __future__ import annotations

from tests.queue.plans import explain
from tests.queue.test_error_reads import million  # noqa: F401  # fixture

# So many rows of error_count may one list read.
MOST_ROWS = 100_000


def test_a_list_reads_a_bounded_part_of_the_counts(conn, million):  # noqa: F811
    with conn.cursor() as cursor:
        cursor.execute("SELECT now() - interval '30 days'")
        [(month_ago,)] = cursor.fetchall()
    names = ("queue", "queues", "kind", "text", "after_at", "after_error")

    _, nodes = explain(conn, "list_errors", {**dict.fromkeys(names), "span_from": month_ago, "limit": 51})

    read = [node["Actual Rows"] * node["Actual Loops"] for node in nodes if node.get("Relation Name") == "error_count"]
    assert sum(read) < MOST_ROWS
