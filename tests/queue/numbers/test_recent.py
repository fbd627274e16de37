"""What a worker has counted of the live jobs, by the minute and in a series: it ..."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.queue.numbers.recent import recent_minutes
from haulier.queue.numbers.stats import Shown, stats

COUNTING = """
    INSERT INTO haulier.counting (through, folded, recounted, depth_at)
    SELECT at, at - interval '2 minutes', at - interval '2 minutes', at
    FROM date_bin('1 minute', now(), 'epoch'::timestamptz) AS at
    RETURNING through
"""
COUNTED = """
    INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed, due, running, oldest)
    SELECT %s, through - %s * interval '1 second', %s, %s, %s, 1, %s, %s, %s
    FROM haulier.counting
"""
# Step, seconds ago, queue, kind, succeeded, and what was due, running and oldest when the live jobs were counted.
MAIL, HOOKS = "mail", "hooks"
ROWS = [
    # One minute that is summed, in which nothing was counted of hooks.
    (60, 180, MAIL, "letter", 10, 2, 1, 30.0),
    (60, 180, MAIL, "card", 20, 3, 1, 40.0),
    (60, 180, HOOKS, "call", 40, None, None, None),
    # Another, whose live jobs were counted three times: the cards were gone by the second.
    (10, 60, MAIL, "letter", 1, 5, 2, 50.0),
    (10, 60, MAIL, "card", 2, 7, 2, 60.0),
    (10, 50, MAIL, "letter", 4, 3, 3, 10.0),
    (10, 50, MAIL, "card", 8, 0, 0, None),
    (10, 40, MAIL, "letter", 16, 4, 1, 20.0),
    (10, 40, HOOKS, "call", 0, 9, 9, 5.0),
    (10, 30, MAIL, "letter", 32, None, None, None),
]


@pytest.fixture
def through(sql: Any) -> Any:
    """Give how far counting has come, with such rows."""
    [(at,)] = sql(COUNTING)
    for row in ROWS:
        sql(COUNTED, *row)
    return at


def test_says_of_each_minute_what_was_due_when_last_counted(conn: Connection, through: Any) -> None:
    found = recent_minutes(conn, [MAIL, HOOKS, "absent"])

    counts = {
        queue: [((through - each.at).total_seconds(), each.succeeded, each.failed, each.due) for each in minutes]
        for queue, minutes in found.items()
    }
    assert counts == {MAIL: [(180, 30, 2, 5), (60, 63, 6, 4)], HOOKS: [(180, 40, 1, None), (60, 0, 1, 9)]}
    assert recent_minutes(conn, [HOOKS]).keys() == {HOOKS}


SERIES = [
    (Shown(), (70, 5, 2, 40.0), (63, 13, 10, 20.0)),
    (Shown(queues=[MAIL]), (30, 5, 2, 40.0), (63, 4, 1, 20.0)),
    (Shown(queue=MAIL, kind="card"), (20, 3, 1, 40.0), (10, 0, 0, None)),
    (Shown(kind="call"), (40, None, None, None), (0, 9, 9, 5.0)),
    (Shown(queue="absent"), (0, None, None, None), (0, None, None, None)),
]


def test_says_of_each_step_of_a_series_what_was_due_when_last_counted(conn: Connection, through: Any) -> None:
    for shown, first, last in SERIES:
        steps = {each.at: each for each in stats(conn, "1h", shown).series}
        for ago, expected in ((180, first), (60, last)):
            step = steps[through - timedelta(seconds=ago)]
            assert (step.succeeded, step.due, step.running, step.oldest_due_seconds) == expected, shown
