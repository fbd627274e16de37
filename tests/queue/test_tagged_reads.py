"""What the look for the jobs of some tags reads of large tables: it ..."""

from __future__ import annotations

from contextlib import closing
from itertools import product

import pytest

from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.search.job_filter import JobFilter
from tests.conftest import sql_on
from tests.queue.filling import copy_to_history
from tests.queue.parameters import wanted_by
from tests.queue.plans import buffers, explain

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


@pytest.fixture(scope="module")
def tagged(_make_migrated_database):
    """Give a connection to a database with 50,000 jobs that wait and as many ended, the oldest 30 of each tagged `few`.

    The planner believes that all of them have the tag `many`.
    """
    with closing(connect(_make_migrated_database())) as conn:
        sql = sql_on(conn)
        sql(WAITING)
        copy_to_history(sql)
        sql("VACUUM ANALYZE haulier.job, haulier.finished_job")
        for table in ("job", "finished_job"):
            sql(TAGGED.format(table, table, table))
            sql(f"VACUUM haulier.{table}")
        yield conn


def sent(name, **wanted):
    asked = {**dict.fromkeys(wanted_by(name)), **JobFilter(**wanted).conditions}
    asked |= {"offset": 0, "limit": 51, "most_bytes": 8_000_000, "most_tagged": 1000, "is_part_enough": False}
    return {each: asked[each] for each in wanted_by(name)}


def test_the_jobs_of_a_rare_tag_are_read_by_its_indexes(tagged):
    for name, (tag, found) in product(("list_tagged", "count_tagged"), (("few", 60), ("never", 0))):
        _, nodes = explain(tagged, name, sent(name, tags=[tag]))

        [function] = [node for node in nodes if node.get("Function Name") == "tagged"]
        assert function["Actual Rows"] == found
        assert buffers([function]) < 300
        assert buffers(nodes) < 600
        scans = [node for node in nodes if "Scan" in node["Node Type"] and "job" in node.get("Relation Name", "")]
        assert [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Rows"]] == []
        assert search.count_jobs(tagged, JobFilter(tags=[tag])).jobs == found


def test_the_index_is_read_only_until_there_are_too_many_jobs(conn, sql):
    sql(WAITING)
    sql("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 2000) RETURNING 1")
    sql("VACUUM ANALYZE haulier.job")

    _, nodes = explain(conn, "count_tagged", sent("count_tagged", tags=["many"]))

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
