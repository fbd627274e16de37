"""Who counts the numbers, the count of the live jobs, and series of it. It ..."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from haulier.domain.outcome import Outcome
from haulier.queue.numbers import counts, depths
from haulier.queue.numbers.recent import recent_minutes
from haulier.queue.numbers.stats import Shown, stats
from tests.queue.upkeep.histories import Made, begin, count_all, in_numbers, store

DEPTH = "SELECT queue, kind, status, jobs, due FROM haulier.depth ORDER BY 1, 2, 3"
GAUGES = "SELECT queue, kind, due, running FROM haulier.rollup WHERE due IS NOT NULL ORDER BY at DESC, queue, kind"


# --- Whose turn it is


def test_is_done_by_one_process_until_its_turn_ends_or_it_leaves(conn, sql):
    first, second = begin(conn), uuid4()
    assert counts.count(conn, counter=first)

    assert counts.count(conn, counter=second) is None
    assert 0 < counts.counting_ends_in(conn) <= 30
    sql("UPDATE haulier.counting SET counted_until = now() - interval '1 s'")
    assert counts.count(conn, counter=second)
    assert counts.count(conn, counter=first) is None
    # One whose turn it is not leaves in vain.
    counts.leave(conn, counter=first)
    assert counts.count(conn, counter=first) is None
    counts.leave(conn, counter=second)
    assert counts.count(conn, counter=first)


def test_does_not_wait_for_a_process_that_is_counting(conn, sql, holding):
    counts.count(conn, counter=begin(conn))
    sql("UPDATE haulier.counting SET counted_until = now() - interval '1 s'")

    with holding("SELECT FROM haulier.counting FOR UPDATE"):
        assert counts.count(conn, counter=uuid4()) is None


def test_begins_a_day_ago_and_only_once(conn, sql):
    assert counts.count(conn, counter=uuid4()) is None
    assert counts.counting_ends_in(conn) == counts.counting_ends_in(conn) == 0

    [[ago]] = sql("SELECT now() - through FROM haulier.counting")

    assert timedelta(hours=24) <= ago <= timedelta(hours=25, minutes=1)


def test_begins_anew_from_now_after_the_clock_was_set_back(conn, sql, enqueue, monkeypatch):
    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)
    counter = begin(conn)
    for number, ahead in enumerate(("1 minute", "1 hour", "1 year"), start=1):
        count_all(conn, counter)
        sql(
            "UPDATE haulier.counting SET through = through + %s::interval, folded = folded + %s::interval,"
            " recounted = recounted + %s::interval",
            *[ahead] * 3,
        )

        counts.count(conn, counter=counter)
        enqueue()
        count_all(conn, counter)

        assert in_numbers(conn) == {("default", "mail", number, 0, 0, 0, 0)}


def test_recounts_nothing_if_nothing_was_ever_counted(conn):
    assert counts.recount(conn) is None


# --- What lives


def test_counts_the_live_jobs_by_queue_kind_and_status(conn, sql, enqueue, running, settle):
    begin(conn)
    running()
    settle(running(queue="bulk"), Outcome.fail("no luck", delay=3600.0))
    enqueue()
    enqueue()
    enqueue(delay=timedelta(days=1))

    depths.count_live(conn)

    assert sql(DEPTH) == [
        ("bulk", "mail", "retrying", 1, 0),
        ("default", "mail", "queued", 3, 2),
        ("default", "mail", "running", 1, 0),
    ]
    assert sql(GAUGES) == [("bulk", "mail", 0, 0), ("default", "mail", 2, 1)]
    [[first]] = sql("SELECT first_run_at FROM haulier.depth WHERE queue = 'default' AND status = 'queued'")
    assert [(first,)] == sql("SELECT min(run_at) FROM haulier.job WHERE queue = 'default' AND status = 'queued'")


def test_forgets_what_no_longer_lives_and_notes_that_it_is_none(conn, sql, running, settle):
    begin(conn)
    job = running()
    depths.count_live(conn)
    settle(job, Outcome.complete())

    depths.count_live(conn)

    assert sql(DEPTH) == []
    assert sql(GAUGES)[0] == ("default", "mail", 0, 0)


def test_counts_all_beyond_the_first_pairs_together(conn, sql, enqueue, monkeypatch):
    monkeypatch.setattr(depths, "MOST_DEPTHS", 2)
    monkeypatch.setattr(depths, "MOST_PAIRS", 1)
    begin(conn)
    for queue, jobs in {"bulk": 1, "default": 3, "mail": 2, "rest": 1}.items():
        for _ in range(jobs):
            enqueue(queue=queue)

    depths.count_live(conn)

    assert sql(DEPTH) == [
        ("*", "*", "queued", 2, 2),
        ("default", "mail", "queued", 3, 3),
        ("mail", "mail", "queued", 2, 2),
    ]
    assert sql(GAUGES) == [("*", "*", 4, 0), ("default", "mail", 3, 0)]


def test_writes_nothing_while_another_counts(conn, sql, open_conn, enqueue, at_once, until_somebody_waits):
    begin(conn)
    enqueue()
    depths.count_live(conn)
    enqueue()
    with open_conn().cursor() as counting:
        counting.execute("BEGIN; SELECT FROM haulier.counting FOR UPDATE")

        def look_or_count(number, mine):
            if number == 0:
                return depths.count_live(mine)
            until_somebody_waits()
            found = sql("SELECT jobs FROM haulier.depth FOR UPDATE NOWAIT")
            counting.execute("ROLLBACK")
            return found

        done = at_once(2, look_or_count)

    assert done == [None, [(1,)]]
    assert sql(DEPTH) == [("default", "mail", "queued", 2, 2)]


def test_is_wanted_again_when_it_took_less_than_a_hundredth_of_the_time(conn, sql):
    counter = begin(conn)
    count_all(conn, counter)
    for took, ago, is_wanted in ((None, None, True), (1, "50 s", False), (1, "200 s", True), (0.001, "1 s", True)):
        sql("UPDATE haulier.counting SET depth_took = %s, depth_at = now() - %s::interval", took, ago)

        assert counts.count(conn, counter=counter).is_live_wanted is is_wanted


# --- The index of what ended

UNKNOWN = """
    SELECT sum(brin_summarize_new_values(inhrelid::regclass))
    FROM pg_inherits WHERE inhparent = 'haulier.finished_job_ended'::regclass
"""


def test_learns_of_many_pages_in_several_calls(conn, sql):
    store(conn, [Made("default", "mail", "succeeded", ago=0.5)] * 40_000)
    milliseconds, calls = 1, 0

    # As long as it takes to know some, but not all.
    while not counts.summarize(conn, seconds=milliseconds / 1000):
        calls += 1
        milliseconds += 1 if calls % 5 == 0 else 0

    assert calls > 0
    assert sql(UNKNOWN) == [(0,)]


# --- By the minute


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
def through(sql):
    """Give how far counting has come, with such rows."""
    [(at,)] = sql(COUNTING)
    for row in ROWS:
        sql(COUNTED, *row)
    return at


def test_says_of_each_minute_how_the_jobs_of_a_queue_ended(conn, through):
    found = recent_minutes(conn, [MAIL, HOOKS, "absent"])

    counts = {
        queue: [((through - each.at).total_seconds(), each.succeeded, each.failed) for each in minutes]
        for queue, minutes in found.items()
    }
    assert counts == {MAIL: [(180, 30, 2), (60, 63, 6)], HOOKS: [(180, 40, 1), (60, 0, 1)]}
    assert recent_minutes(conn, [HOOKS]).keys() == {HOOKS}


SERIES = [
    (Shown(), (70, 5, 2, 40.0), (63, 13, 10, 60.0)),
    (Shown(queues=[MAIL]), (30, 5, 2, 40.0), (63, 12, 1, 60.0)),
    (Shown(queue=MAIL, kind="card"), (20, 3, 1, 40.0), (10, 7, 0, 60.0)),
    (Shown(kind="call"), (40, None, None, None), (0, 9, 9, 5.0)),
    (Shown(queue="absent"), (0, None, None, None), (0, None, None, None)),
]


def test_says_of_each_step_of_a_series_how_many_were_due_at_most(conn, through):
    for shown, first, last in SERIES:
        steps = {each.at: each for each in stats(conn, "1h", shown).series}
        for ago, expected in ((180, first), (60, last)):
            step = steps[through - timedelta(seconds=ago)]
            assert (step.succeeded, step.due, step.running, step.oldest_due_seconds) == expected, shown


def test_keeps_the_largest_backlog_in_longer_steps(conn, sql):
    begin(conn)
    sql("UPDATE haulier.counting SET through = now(), folded = now() - interval '1 day', recounted = now()")
    # A flood that was gone when the minute ended.
    for seconds, due, running in ((0, 5, 2), (20, 297_359, 8), (40, 7, 3)):
        sql(
            "INSERT INTO haulier.rollup (step, at, queue, kind, due, running, oldest)"
            " SELECT 10, at + %s * interval '1 s', 'default', 'mail', %s, %s, %s"
            " FROM (SELECT date_bin('15 minutes', now() - %s::interval, 'epoch') AS at) AS minute",
            seconds,
            due,
            running,
            due / 1000,
            "30 minutes",
        )

    counts.fold(conn, retention_days=30)

    assert sql("SELECT step, due, running, round(oldest::numeric, 3)::text FROM haulier.rollup") == [
        (60, 297_359, 3, "297.359")
    ]
    day = stats(conn, "24h", Shown())
    assert [(step.due, step.running) for step in day.series if step.due is not None] == [(297_359, 3)]
