"""Groups of errors and their counts: how they grow old, are forgotten, and are read. It ..."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database
from haulier.postgres.sql_files import PARTS
from haulier.queue.failures import error_counts
from haulier.queue.failures.error_groups import (
    ErrorFilter,
    errors_at_once,
    failed_attempts,
    frequent_errors,
)
from haulier.queue.upkeep import purge
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.purge import purge_errors
from tests.conftest import eventually, sql_on
from tests.queue.plans import buffers, explain
from tests.rivals import beside
from tests.servers import oldest_server

# --- Folding


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


# --- Purging


GROUPS = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen, muted_until)
    SELECT id, 'mail', 'no luck', repeat('x', 400), haulier.uuidv7(), 'default', now() - %s::interval,
        now() + %s::interval
    FROM unnest(%s::bigint[]) AS id
"""
OLD_COUNTS = """
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT id, date_bin('1 hour', now(), 'epoch') - make_interval(hours => %s + hour), 'default', source, 2, 1
    FROM unnest(%s::bigint[]) AS id, unnest(%s::integer[]) AS source, generate_series(1, %s) AS hour
"""
LEFT = "SELECT id FROM haulier.error_group ORDER BY id"


def add(sql, *ids: int, age: str = "40 days", muted_for: str | None = None) -> None:
    """Store groups that were first seen this long ago."""
    sql(GROUPS, age, muted_for, list(ids))


def count_hours(sql, *ids: int, days: float, sources: tuple[int, ...] = (-3600,), hours: int = 1) -> None:
    """Store, for each group and source, a count in each of `hours` hours, the last of which was `days` days ago."""
    sql(OLD_COUNTS, int(days * 24), list(ids), list(sources), hours)


def test_forgets_counts_as_the_history_and_then_groups_without_any(conn, sql):
    for days in (1, 30):
        for error_id, age in ((1, days - 0.5), (2, days + 0.5)):
            add(sql, error_id, age=f"{age} days")
            count_hours(sql, error_id, days=age)
        add(sql, 3, age=f"{days + 9} days")
        count_hours(sql, 3, days=0, sources=(7,))
        add(sql, 4, age="1 minute")

        done = purge_errors(conn, retention_days=days)

        assert done == (1, None)
        assert sql(LEFT) == [(1,), (3,), (4,)]
        sql("DELETE FROM haulier.error_group; DELETE FROM haulier.error_count")


def test_forgets_old_counts_of_every_source(conn, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 4)
    count_hours(sql, 1, 2, days=31, sources=(-3600, 0, 7, 11), hours=3)
    count_hours(sql, 1, days=29, sources=(-3600, 0, 11))

    purge_errors(conn, retention_days=30)

    assert sql("SELECT error_id, source FROM haulier.error_count ORDER BY source") == [(1, -3600), (1, 0), (1, 11)]


def test_keeps_a_group_until_its_mute_ends(conn, sql):
    add(sql, 1, muted_for="1 hour")
    add(sql, 2, muted_for="-1 hour")
    add(sql, 3, muted_for="1000 years")

    done = purge_errors(conn, retention_days=30)

    assert done.forgotten == 1
    assert sql(LEFT) == [(1,), (3,)]


def test_keeps_a_group_that_is_muted_meanwhile(conn, sql, database):
    add(sql, 1, 2)
    with closing(connect(database)) as operator, closing(connect(database, application_name="purging")) as purging:
        mine = sql_on(operator)
        mine("BEGIN")
        mine("SELECT haulier.mute_errors(2, now() + interval '1 day', 'Ann')")
        with beside(lambda: purge_errors(purging, retention_days=30)):
            waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'purging' AND wait_event_type = 'Lock'"
            eventually(lambda: sql(waits))
            mine("COMMIT")

    assert sql(LEFT) == [(2,)]


def test_ends_its_turn_in_time_and_goes_on_from_there(conn, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 2)
    monkeypatch.setattr(purge, "ERRORS_SECONDS", 0.0)
    add(sql, -(2**63), -5, 3, 4, 2**63 - 1)
    count_hours(sql, 3, days=1)
    turns = [purge_errors(conn, retention_days=30)]

    while (after := turns[-1].after) is not None:
        turns.append(purge_errors(conn, retention_days=30, after=after))

    assert turns == [(2, -5), (1, 4), (1, None)]
    assert sql(LEFT) == [(3,)]


def test_looks_at_every_group_in_one_turn_if_there_is_time(conn, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 2)
    add(sql, *range(1, 8))
    count_hours(sql, 2, 4, 6, days=1)

    assert purge_errors(conn, retention_days=30) == (4, None)
    assert sql(LEFT) == [(2,), (4,), (6,)]


# --- How much it reads


def looked_at(nodes) -> dict[str, int]:
    """Return how many rows of each table were read."""
    found: dict[str, int] = {}
    for node in nodes:
        if (table := node.get("Relation Name")) and node["Node Type"] != "ModifyTable":
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            found[table] = found.get(table, 0) + rows * node["Actual Loops"]
    return found


def test_reads_of_the_groups_no_more_than_it_looks_at(conn, sql):
    add(sql, *range(1, 20_001))
    count_hours(sql, *range(1, 20_001), days=1, hours=5)
    sql("DELETE FROM haulier.error_count WHERE error_id % 10 = 0")
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")

    for after in (None, 10_000):
        given = {"retention_days": 30, "after_error": after, "limit": 5000, "offset": 0}
        _, nodes = explain(conn, "purge_error_groups", given)

        # The groups that it deletes are read again.
        read = looked_at(nodes)
        assert read["error_group"] == 5500
        assert read["error_count"] <= 5000


def find_what_is_old(conn: Connection) -> None:
    """Have the purge look for old counts among many, of which there are none, and then among some."""
    sql = sql_on(conn)
    count_hours(sql, *range(1, 201), days=0, sources=(-3600, 0, 7), hours=200)
    sql("VACUUM ANALYZE haulier.error_count")
    parameters = {"retention_days": 30, "limit": 100, "offset": 0}

    _, nodes = explain(conn, "purge_error_counts", parameters)
    assert buffers(nodes) < 100

    count_hours(sql, 1, 2, days=31, sources=(-3600, 7), hours=20)
    _, nodes = explain(conn, "purge_error_counts", parameters)
    assert looked_at(nodes)["error_count"] < 300


def test_finds_old_counts_by_index(conn):
    find_what_is_old(conn)


@pytest.mark.slow
@pytest.mark.direct("has a server of its own")
def test_finds_old_counts_by_index_on_an_older_server_too(postgres):
    with (
        oldest_server(postgres) as server,
        scratch_database(server, "haulier_purge") as dsn,
        closing(connect(dsn)) as conn,
    ):
        migrate(conn, retention_days=30)
        find_what_is_old(conn)


# --- Reading


def test_a_group_and_the_newest_of_a_list_are_found_by_index(conn, sql):
    add(sql, *range(1, 201))
    count_hours(sql, *range(1, 201), days=0, sources=(-3600, 0), hours=400)
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")
    [(hour_ago,)] = sql("SELECT now() - interval '1 hour'")
    values = {"series_seconds": 60, "span_seconds": 3600, "span_from": hour_ago, "error_id": 7, "failed_ids": [7, 8, 9]}
    values |= {"limit": 25, "offset": 25, "drawn": 5, "masked_kinds": [], "most_first": False}
    reads = ("list_errors", "errors_at_once", "get_error", "failed_attempts", "queues_of_error", "series_of_errors")

    for name in (*reads, "fold_error_sources"):
        _, nodes = explain(conn, name, values)
        scans = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
        assert "error_count" not in scans, name


def test_groups_and_attempts_read_at_once_are_those_read_one_by_one(conn, sql):
    add(sql, *range(1, 10), age="0 s")
    # The tenth has no group: it is not listed, but counts among all attempts.
    sql(
        "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
        " SELECT n, date_bin('1 minute', now(), 'epoch') - make_interval(mins => m), queue, source, n * m % 7, n"
        " FROM generate_series(1, 10) AS n, generate_series(0, 70, 7) AS m, unnest(ARRAY['mail', 'bulk']) AS queue,"
        " unnest(ARRAY[0, 77]) AS source RETURNING 1"
    )
    for queue in (None, "mail"):
        wanted = ErrorFilter("1h", queue=queue, limit=6)
        groups, attempts = errors_at_once(conn, wanted, drawn=4)

        alone = frequent_errors(conn, wanted).groups
        alike = [replace(each, series=each.series if place < 4 else []) for place, each in enumerate(alone)]
        assert [replace(group, seen_in=()) for group in groups] == alike
        shown = {*(wanted.queues or ()), *([wanted.queue] if wanted.queue else ())}
        assert all(set(group.seen_in) <= shown or not shown for group in groups)
        assert any(group.seen_in for group in groups)
        assert attempts == failed_attempts(conn, wanted)
        assert sum(step.retried for step in attempts) > 0
