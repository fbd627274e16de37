"""The counts of failed attempts as they grow old: upkeep ..."""

from __future__ import annotations

from haulier.postgres.sql_files import PARTS
from haulier.queue.failures import error_counts
from tests.queue.plans import buffers, explain

# In one statement, so that no minute ends between two rows.
INSERT = """
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT error_id, date_bin('1 minute', now(), 'epoch') - make_interval(mins => minutes), 'default', source, failed,
        retried
    FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[], %s::integer[])
        AS row (error_id, minutes, source, failed, retried)
"""
ROWS = "SELECT error_id, source, failed, retried FROM haulier.error_count ORDER BY error_id, source, failed"


def count(sql, *rows: tuple[int, int, int, int, int]) -> None:
    """Store counts: group, age in minutes, source, failed, retried."""
    sql(INSERT, *map(list, zip(*rows, strict=True)))


def test_sums_the_rows_of_all_processes_once_the_minute_is_over(conn, sql):
    count(sql, (1, 5, 11, 1, 10), (1, 5, 12, 2, 10), (1, 5, 0, 4, 10), (1, 0, 11, 8, 10))

    error_counts.fold(conn)

    assert sql(ROWS) == [(1, 0, 7, 30), (1, 11, 8, 10)]


def test_sums_them_into_longer_steps_as_they_grow_older(conn, sql):
    for hours, source, rows in ((0, 0, 60), (2, -300, 13), (8, -900, 5), (27, -3600, 2)):
        count(sql, *((1, 60 * hours + minutes, 0, 1, 10) for minutes in range(60)))

        error_counts.fold(conn)

        found, step = sql(ROWS), f"{max(60, -source)} s"
        assert {each for _, each, _, _ in found} == {source}
        off_step = "SELECT FROM haulier.error_count WHERE minute <> date_bin(%s::interval, minute, 'epoch')"
        assert sql(off_step, step) == []
        assert [sum(row[place] for row in found) for place in (2, 3)] == [60, 600]
        assert rows - 1 <= len(found) <= rows
        sql("DELETE FROM haulier.error_count")


def test_takes_a_bounded_number_of_rows_at_once_and_then_more(conn, sql, monkeypatch):
    monkeypatch.setattr(error_counts, "ROWS_AT_ONCE", 10)
    count(sql, *((1, 5, source, 1, 0) for source in range(1, 36)))

    error_counts.fold(conn)

    assert sql(ROWS) == [(1, 0, 35, 0)]


def test_reads_nothing_if_nothing_is_left_to_sum(conn, sql):
    # Those of old hours have the server think that old minutes are many, too.
    for source, step, first, last in ((0, "1 minute", 0, 65), (-3600, "1 hour", 27, 700)):
        sql(
            "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
            " SELECT n, date_bin(%s, now(), 'epoch') - m * %s::interval, 'default', %s, 2, 1"
            " FROM generate_series(1, 100) AS n, generate_series(%s, %s) AS m",
            step, step, source, first, last,
        )  # fmt: skip
    sql("VACUUM ANALYZE haulier.error_count")

    steps = [dict(zip(("source", "longer", "age"), step, strict=True)) for step in error_counts.STEPS]
    for name, given in [("fold_error_sources", {}), *(("fold_error_steps", step) for step in steps)]:
        _, nodes = explain(conn, name, {**given, "limit": 1000, "offset": 0})
        assert buffers(nodes) < 100, given


def test_rows_of_every_step_are_read():
    sources = [0, *(-longer for _, longer, _ in error_counts.STEPS)]

    assert f"source IN ({', '.join(map(str, sources))})" in PARTS["may_be_seen"]
