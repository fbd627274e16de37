"""What the reads of failed attempts cost after a million of them: it ..."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from haulier.queue.failures import error_counts
from haulier.queue.failures.error_groups import (
    ErrorFilter,
    errors_at_once,
    failed_attempts,
    frequent_errors,
    get_error,
    list_errors,
)
from tests.queue.plans import explain

# A million failures in 200 groups: by minutes for a day, and by hours for the month before.
MAKE = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'mail', 'no luck ' || n, 'no luck ' || n, haulier.uuidv7(), 'default', now() - interval '30 days'
    FROM generate_series(1, 200) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_bin('1 minute', now(), 'epoch') - make_interval(mins => m), 'default', 0, 2, 1
    FROM generate_series(1, 200) AS n, generate_series(0, 1440) AS m;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT n, date_bin('1 hour', now(), 'epoch') - make_interval(hours => 26 + h), 'default', -3600, 2, 1
    FROM generate_series(1, 200) AS n, generate_series(0, 690) AS h
    RETURNING 1
"""
# Of each of the two calls.
MOST_SECONDS = 0.3


@pytest.fixture
def million(sql):
    """Give a database in which a million attempts have failed."""
    sql(MAKE)
    sql("VACUUM ANALYZE haulier.error_count, haulier.error_group")


def test_a_group_and_the_newest_of_a_list_are_found_by_index(conn, million):
    wanted = {
        "queue": None,
        "queues": None,
        "kind": None,
        "text": None,
        "after_at": None,
        "after_error": None,
        "masked_kinds": [],
        "is_muted": None,
    }
    with conn.cursor() as cursor:
        cursor.execute("SELECT now() - interval '1 hour'")
        [(hour_ago,)] = cursor.fetchall()

    for name, parameters in {
        "list_errors": {
            **wanted, "series_seconds": 60, "span_seconds": 3600, "most_first": False, "limit": 51, "offset": 25,
        },
        "errors_at_once": {
            "queue": None, "queues": None, "series_seconds": 60, "span_seconds": 3600, "limit": 25, "drawn": 5,
        },
        "get_error": {"queue": None, "queues": None, "series_seconds": 60, "span_seconds": 3600, "error_id": 7},
        "failed_attempts": {"queue": None, "queues": None, "series_seconds": 60, "span_seconds": 3600},
        "queues_of_error": {
            "queue": None, "queues": None, "series_seconds": 60, "span_from": hour_ago, "error_id": 7, "limit": 10,
        },
        "series_of_errors": {
            "queue": None, "queues": None, "series_seconds": 60, "span_from": hour_ago, "failed_ids": [7, 8, 9],
        },
        "fold_error_sources": {"limit": error_counts.ROWS_AT_ONCE, "offset": 0},
    }.items():  # fmt: skip
        _, nodes = explain(conn, name, parameters)
        scans = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
        assert "error_count" not in scans, name


def test_groups_and_attempts_read_at_once_are_those_read_one_by_one(conn, sql):
    sql(
        "INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)"
        " SELECT n, 'mail', n, n, haulier.uuidv7(), 'mail', now() FROM generate_series(1, 9) AS n RETURNING 1"
    )
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
        assert groups == [replace(each, series=each.series if place < 4 else []) for place, each in enumerate(alone)]
        assert attempts == failed_attempts(conn, wanted)
        assert sum(step.retried for step in attempts) > 0


def test_a_page_and_a_group_come_in_time(conn, million):
    for span in ("1h", "24h", "30d"):
        took = []
        for _ in range(3):
            began_at = time.monotonic()
            page, more = list_errors(conn, ErrorFilter(span))
            group = get_error(conn, 7, ErrorFilter(span))
            took.append(time.monotonic() - began_at)

        assert len(page) == 50
        assert more is not None
        assert group.failed > 0
        assert min(took) < 2 * MOST_SECONDS, span
