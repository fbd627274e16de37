"""What a review of the groups of errors found of how much is read."""

from __future__ import annotations

from haulier.queue.upkeep import error_counts
from tests.queue.plans import buffers, explain
from tests.queue.test_error_reads import million  # noqa: F401  # fixture

# So many rows of error_count may one list read.
MOST_ROWS = 100_000
OLD_GROUPS = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'mail', 'no luck ' || n, repeat('x', 400), haulier.uuidv7(), 'default', now() - interval '40 days'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_bin('1 hour', now(), 'epoch') - make_interval(hours => 30), 'default', -3600, 2, 1
    FROM generate_series(1, 20000) AS n
"""


def test_a_fold_that_finds_nothing_old_reads_nothing(conn, million):  # noqa: F811
    told = dict(zip(("source", "step", "seconds"), error_counts.STEPS[0], strict=True))

    _, nodes = explain(conn, "fold_error_steps", {**told, "rows": error_counts.ROWS_AT_ONCE})

    assert buffers(nodes) < 100


def test_a_purge_of_groups_reads_no_more_than_so_many_at_once(conn, sql):
    sql(OLD_GROUPS)
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")

    _, nodes = explain(conn, "purge_error_groups", {"retention_days": 30, "limit": 100})

    assert sum(node["Actual Rows"] for node in nodes if node.get("Relation Name") == "error_group") < 1000


def test_a_list_reads_a_bounded_part_of_the_counts(conn, million):  # noqa: F811
    with conn.cursor() as cursor:
        cursor.execute("SELECT now() - interval '30 days'")
        [(month_ago,)] = cursor.fetchall()
    names = ("queue", "queues", "kind", "text", "after_at", "after_error")

    _, nodes = explain(conn, "list_errors", {**dict.fromkeys(names), "span_from": month_ago, "limit": 51})

    read = [node["Actual Rows"] * node["Actual Loops"] for node in nodes if node.get("Relation Name") == "error_count"]
    assert sum(read) < MOST_ROWS
