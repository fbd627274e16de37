"""What a review of the groups of errors found of how much is read."""

from __future__ import annotations

from tests.queue.plans import explain
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


def test_a_purge_of_groups_reads_no_more_than_so_many_at_once(conn, sql):
    sql(OLD_GROUPS)
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")

    _, nodes = explain(conn, "purge_error_groups", {"retention_days": 30, "limit": 100})

    assert sum(node["Actual Rows"] for node in nodes if node.get("Relation Name") == "error_group") < 1000
