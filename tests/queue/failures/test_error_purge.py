"""The purge of the groups of errors and of their counts: it ..."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database
from haulier.queue.upkeep import purge
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.purge import purge_errors
from tests.conftest import eventually, sql_on
from tests.queue.plans import buffers, explain
from tests.rivals import beside
from tests.servers import oldest_server

GROUPS = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen, muted_until)
    SELECT id, 'mail', 'no luck', repeat('x', 400), haulier.uuidv7(), 'default', now() - %s::interval,
        now() + %s::interval
    FROM unnest(%s::bigint[]) AS id
"""
COUNTS = """
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT id, date_bin('1 hour', now(), 'epoch') - make_interval(hours => %s + hour), 'default', source, 2, 1
    FROM unnest(%s::bigint[]) AS id, unnest(%s::integer[]) AS source, generate_series(1, %s) AS hour
"""
LEFT = "SELECT id FROM haulier.error_group ORDER BY id"


def add(sql, *ids: int, age: str = "40 days", muted_for: str | None = None) -> None:
    """Store groups that were first seen this long ago."""
    sql(GROUPS, age, muted_for, list(ids))


def count(sql, *ids: int, days: float, sources: tuple[int, ...] = (-3600,), hours: int = 1) -> None:
    """Store, for each group and source, a count in each of `hours` hours, the last of which was `days` days ago."""
    sql(COUNTS, int(days * 24), list(ids), list(sources), hours)


def test_forgets_counts_as_the_history_and_then_groups_without_any(conn, sql):
    for days in (1, 30):
        for error_id, age in ((1, days - 0.5), (2, days + 0.5)):
            add(sql, error_id, age=f"{age} days")
            count(sql, error_id, days=age)
        add(sql, 3, age=f"{days + 9} days")
        count(sql, 3, days=0, sources=(7,))
        add(sql, 4, age="1 minute")

        done = purge_errors(conn, retention_days=days)

        assert done == (1, None)
        assert sql(LEFT) == [(1,), (3,), (4,)]
        sql("DELETE FROM haulier.error_group; DELETE FROM haulier.error_count")


def test_forgets_old_counts_of_every_source(conn, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 4)
    count(sql, 1, 2, days=31, sources=(-3600, 0, 7, 11), hours=3)
    count(sql, 1, days=29, sources=(-3600, 0, 11))

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
    count(sql, 3, days=1)
    turns = [purge_errors(conn, retention_days=30)]

    while (after := turns[-1].after) is not None:
        turns.append(purge_errors(conn, retention_days=30, after=after))

    assert turns == [(2, -5), (1, 4), (1, None)]
    assert sql(LEFT) == [(3,)]


def test_looks_at_every_group_in_one_turn_if_there_is_time(conn, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 2)
    add(sql, *range(1, 8))
    count(sql, 2, 4, 6, days=1)

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
    count(sql, *range(1, 20_001), days=1, hours=5)
    sql("DELETE FROM haulier.error_count WHERE error_id % 10 = 0")
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")

    for after in (None, 10_000):
        _, nodes = explain(
            conn, "purge_error_groups", {"retention_days": 30, "after_error": after, "limit": 5000, "offset": 0}
        )

        # The groups that it deletes are read again.
        read = looked_at(nodes)
        assert read["error_group"] == 5500
        assert read["error_count"] <= 5000


def find_what_is_old(conn: Connection) -> None:
    """Have the purge look for old counts among many, of which there are none, and then among some."""
    sql = sql_on(conn)
    count(sql, *range(1, 201), days=0, sources=(-3600, 0, 7), hours=200)
    sql("VACUUM ANALYZE haulier.error_count")
    parameters = {"retention_days": 30, "limit": 100, "offset": 0}

    _, nodes = explain(conn, "purge_error_counts", parameters)
    assert buffers(nodes) < 100

    count(sql, 1, 2, days=31, sources=(-3600, 7), hours=20)
    _, nodes = explain(conn, "purge_error_counts", parameters)
    assert looked_at(nodes)["error_count"] < 300


def test_finds_old_counts_by_index(conn):
    find_what_is_old(conn)


@pytest.mark.direct("has a server of its own")
def test_finds_old_counts_by_index_on_an_older_server_too(postgres):
    with (
        oldest_server(postgres) as server,
        scratch_database(server, "haulier_purge") as dsn,
        closing(connect(dsn)) as conn,
    ):
        migrate(conn, retention_days=30)
        find_what_is_old(conn)
