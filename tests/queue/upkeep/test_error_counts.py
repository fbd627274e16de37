"""The counts of failed attempts as they grow old: upkeep ..."""

from __future__ import annotations

import pytest

from haulier.queue.upkeep import error_counts, purge

# In one statement, so that no minute ends between two rows.
INSERT = """
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT error_id, date_bin('1 minute', now(), 'epoch') - make_interval(mins => minutes), 'default', source, failed,
        retried
    FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[], %s::integer[])
        AS row (error_id, minutes, source, failed, retried)
"""
ROWS = "SELECT error_id, source, failed, retried FROM haulier.error_count ORDER BY error_id, source, failed"
GROUP = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    VALUES (%s, 'mail', 'no luck', 'no luck', haulier.uuidv7(), 'default', now() - %s::interval)
"""


def count(sql, *rows: tuple[int, int, int, int, int]) -> None:
    """Store counts: group, age in minutes, source, failed, retried."""
    sql(INSERT, *map(list, zip(*rows, strict=True)))


def test_sums_the_rows_of_all_processes_once_the_minute_is_over(conn, sql):
    count(sql, (1, 5, 11, 1, 10), (1, 5, 12, 2, 10), (1, 5, 0, 4, 10), (1, 0, 11, 8, 10))

    error_counts.fold(conn)

    assert sql(ROWS) == [(1, 0, 7, 30), (1, 11, 8, 10)]


@pytest.mark.parametrize(("hours", "source", "rows"), [(0, 0, 60), (2, -300, 13), (8, -900, 5), (27, -3600, 2)])
def test_sums_them_into_longer_steps_as_they_grow_older(conn, sql, hours, source, rows):
    count(sql, *((1, 60 * hours + minutes, 0, 1, 10) for minutes in range(60)))

    error_counts.fold(conn)

    found, step = sql(ROWS), f"{max(60, -source)} s"
    assert {each for _, each, _, _ in found} == {source}
    assert sql("SELECT FROM haulier.error_count WHERE minute <> date_bin(%s::interval, minute, 'epoch')", step) == []
    assert [sum(row[place] for row in found) for place in (2, 3)] == [60, 600]
    assert rows - 1 <= len(found) <= rows


def test_takes_so_many_rows_at_once_and_then_more(conn, sql, monkeypatch):
    monkeypatch.setattr(error_counts, "ROWS_AT_ONCE", 10)
    count(sql, *((1, 5, source, 1, 0) for source in range(1, 36)))

    error_counts.fold(conn)

    assert sql(ROWS) == [(1, 0, 35, 0)]


@pytest.mark.parametrize("days", [1, 30])
def test_forgets_counts_as_the_history_and_then_groups_without_any(conn, sql, days):
    for error_id, age in ((1, days - 0.5), (2, days + 0.5)):
        sql(GROUP, error_id, f"{age} days")
        count(sql, (error_id, int(age * 24 * 60), -3600, 1, 0))
    sql(GROUP, 3, f"{days + 9} days")
    count(sql, (3, 1, 7, 1, 0))
    sql(GROUP, 4, "1 minute")

    forgotten = purge.purge_errors(conn, retention_days=days)

    assert forgotten == 1
    assert sql("SELECT id FROM haulier.error_group ORDER BY id") == [(1,), (3,), (4,)]
