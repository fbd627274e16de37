"""The numbers, held against the tables from which they are counted: they ..."""

from __future__ import annotations

import itertools
import math
import random
from contextlib import closing
from datetime import timedelta
from uuid import uuid4

import pytest

from haulier.domain.histogram import percentile, unpacked
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.statements import rows, transaction
from haulier.queue import jobs as job_acts
from haulier.queue.numbers import counts
from haulier.queue.search.arrivals import NEVER, windows
from tests.conftest import sql_on
from tests.queue.plans import ended, explain
from tests.queue.upkeep.histories import (
    DAY,
    Made,
    begin,
    count_all,
    drawn,
    in_numbers,
    in_tables,
    store,
)

SEEDS = range(3)
TODAY = "date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"


@pytest.fixture(autouse=True)
def _nothing_is_late(monkeypatch):
    """Let all that has been committed be old enough to be counted."""
    monkeypatch.setattr(counts, "LATE_SECONDS", -20.0)


@pytest.fixture
def past(archive):
    """Give a connection to a database whose history reaches back."""
    # All of it fits into this partition, whatever the hour.
    archive.add("finished_job_of_the_past", "now() - interval '60 days'", TODAY)
    return archive.conn


def lapse(conn) -> None:
    """Let the turn of whoever counts end, as if it had died."""
    sql_on(conn)("UPDATE haulier.counting SET counted_until = now()")


# --- Exact


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_the_tables_however_they_are_counted_and_summed(past, archive, monkeypatch, seed):
    chance = random.Random(seed)
    most_ago = 2300.0
    counters = [begin(past), uuid4()]
    archive.sql("UPDATE haulier.counting SET through = at, folded = at, recounted = at FROM " + FORTY_MINUTES_AGO)
    monkeypatch.setattr(counts, "_RECOUNTED_AFTER", timedelta(minutes=5))
    monkeypatch.setattr(counts, "_MINUTES_KEPT", timedelta(minutes=10))
    monkeypatch.setattr(counts, "_FIVES_KEPT", timedelta(minutes=18))
    store(past, [drawn(chance, most_ago) for _ in range(200)])

    # As if time went on: each time less is too late to be counted yet, or so much that counting was behind.
    for late in (1800.0, 1500.0, 1100.0, 500.0, 490.0, 60.0, -20.0):
        monkeypatch.setattr(counts, "LATE_SECONDS", late)
        for _ in range(5):
            lapse(past)
            counts.count(past, counter=chance.choice(counters), most_seconds=chance.choice([10, 60, 600]))
            if chance.random() < 0.3:
                counts.recount_next(past)
            if chance.random() < 0.3:
                counts.fold(past, retention_days=30)
            store(past, [drawn(chance, most_ago) for _ in range(3)])
    lapse(past)
    count_all(past, counters[0])
    before = in_numbers(past)
    counts.fold(past, retention_days=30)
    assert in_numbers(past) == before

    counts.recount(past)
    # What came late, and is in no row of a minute yet: all of 10 s that are not summed yet, counted once more.
    monkeypatch.setattr(counts, "AGAIN_SECONDS", 1200.0)
    lapse(past)
    counts.count(past, counter=counters[0])
    assert in_numbers(past) == in_tables(past)
    archive.sql("UPDATE haulier.counting SET recounted = through")
    for queue, kind in itertools.product(("default", "mail", "bulk"), ("mail", "hook")):
        came = archive.sql("SELECT created_at FROM haulier.jobs WHERE queue = %s AND kind = %s", queue, kind)
        known = list(windows(past, kinds=[kind], queues=[queue], before=NEVER))
        assert [at for (at,) in came if not any(window.begins_at <= at < window.ends_at for window in known)] == []


FORTY_MINUTES_AGO = "(SELECT date_bin('1 minute', now() - interval '40 minutes', 'epoch')) AS begin (at)"


def test_are_counted_once_by_many_at_once(past, at_once, archive):
    store(past, [drawn(random.Random(7)) for _ in range(300)])
    begin(past)

    def count(_: int, __: object) -> None:
        with closing(connect(archive.url)) as mine:
            for _ in range(30):
                lapse(mine)
                counts.count(mine, counter=uuid4())
                counts.fold(mine, retention_days=30)

    problems = at_once(4, count)
    lapse(past)
    count_all(past, uuid4())

    assert problems == [None] * 4
    assert in_numbers(past) == in_tables(past)


@pytest.mark.parametrize("does", ["take", "count"])
def test_lose_nothing_by_the_death_of_whoever_counts(past, archive, does):
    store(past, [Made("default", "mail", status, 90, 1, 1) for status in ("queued", "succeeded", "cancelled")])
    counter = begin(past)
    count_all(past, counter)
    store(past, [Made("default", "mail", "succeeded", 0.5, 0.1, 0.1)])

    with closing(connect(archive.url)) as dying, pytest.raises(ConnectionAbortedError), transaction(dying):
        times = {"lease": 30.0, "late": -20.0, "again": 10.0, "live_pause": counts.LIVE_PAUSE}
        taken = rows(dying, "take_counting", counter=counter, most_seconds=3600, **times)
        if does == "count":
            counts._count_taken(dying, taken[0])
        dying.close()
        raise ConnectionAbortedError
    lapse(past)
    count_all(past, uuid4())

    assert in_numbers(past) == in_tables(past)


def test_keep_the_ends_of_jobs_that_are_queued_again(conn, enqueue, running, settle):
    counter = begin(conn)
    failed, cancelled = running(), running(queue="bulk")
    settle(failed, Outcome.fail_for_good("no luck"))
    job_acts.cancel(conn, cancelled.id, actor=None)
    settle(cancelled, Outcome.complete())
    count_all(conn, counter)

    for job in (failed, cancelled):
        job_acts.retry(conn, job.id, actor=None)
        # Another one changes the row of the same 10 s.
        enqueue(queue=job.queue)
    count_all(conn, counter)

    assert in_numbers(conn) == {("default", "mail", 2, 0, 1, 0, 1), ("bulk", "mail", 2, 0, 0, 1, 1)}


def test_count_each_end_of_a_job_that_is_retried_and_ends_again(conn, sql, running, settle, claim):
    counter = begin(conn)
    job = running()
    settle(job, Outcome.fail_for_good("no luck"))
    count_all(conn, counter)

    # As if an hour went by.
    sql("UPDATE haulier.rollup SET at = at - interval '1 hour' RETURNING 1")
    job_acts.retry(conn, job.id, actor=None)
    sql("UPDATE haulier.job SET created_at = created_at - interval '1 hour' RETURNING 1")
    settle(claim(), Outcome.complete())
    count_all(conn, counter)

    assert in_numbers(conn) == {("default", "mail", 1, 1, 1, 0, 2)}


def test_keep_what_has_left_the_history(past, archive):
    store(past, [Made("default", "mail", "succeeded", ago, 1, 1) for ago in (90, 7000)])
    count_all(past, begin(past))
    before = in_numbers(past)

    archive.sql("DROP TABLE haulier.finished_job_of_the_past")
    archive.sql("TRUNCATE haulier.finished_job")
    counts.recount(past)
    counts.fold(past, retention_days=30)

    assert in_numbers(past) == before == {("default", "mail", 2, 2, 0, 0, 2)}


def test_are_forgotten_when_they_are_older_than_the_history(past, archive):
    count_all(past, begin(past))
    archive.sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, arrived) SELECT 21600,"
        " date_bin('6 hours', now() - make_interval(days => days), 'epoch'), 'default', 'mail', days"
        " FROM unnest('{1,29,31,40}'::integer[]) AS days"
    )

    counts.fold(past, retention_days=30)

    assert in_numbers(past) == {("default", "mail", 30, 0, 0, 0, 0)}


# --- Late


@pytest.mark.parametrize(
    ("ago", "found_by"), [(30, "count"), (1800, "recount_next"), (5 * 3600, "recount"), (23 * 3600, "recount")]
)
def test_find_what_is_committed_late(past, archive, monkeypatch, ago, found_by):
    monkeypatch.setattr(counts, "AGAIN_SECONDS", 60.0)
    counter = begin(past)
    count_all(past, counter)
    # As if counting went on without a pause; an hour later is now.
    counts.fold(past, retention_days=30)
    archive.sql("UPDATE haulier.counting SET recounted = date_bin('1 minute', now() - interval '2 hours', 'epoch')")
    monkeypatch.setattr(counts, "_RECOUNTED_AFTER", timedelta(minutes=10))
    store(past, [Made("default", "mail", "succeeded", ago, 1, 1)])
    assert in_numbers(past) == set()

    if found_by == "count":
        count_all(past, counter)
    elif found_by == "recount":
        late = counts.recount(past)
        assert late == (1, 1)
    else:
        found = [counts.recount_next(past) for _ in range(30)]
        assert (sum(late.arrived for late in found), sum(late.ended for late in found)) == (1, 1)

    assert in_numbers(past) == in_tables(past)


def test_are_counted_up_to_some_seconds_ago(conn, sql, monkeypatch):
    monkeypatch.setattr(counts, "LATE_SECONDS", 5.0)
    counter = begin(conn)
    count_all(conn, counter)

    [[before]] = sql("SELECT now()")
    counted = counts.count(conn, counter=counter)
    [[after]] = sql("SELECT now()")

    assert before - timedelta(seconds=15) <= counted.through <= after - timedelta(seconds=5)
    assert counted.through.timestamp() % 10 == 0
    assert 0 < counted.next_in <= 10


# --- Bounded


def test_have_a_row_for_the_first_pairs_and_one_for_the_others(past, archive, monkeypatch):
    monkeypatch.setattr(counts, "MOST_PAIRS", 3)
    monkeypatch.setattr(counts, "AGAIN_SECONDS", 300.0)
    counter = begin(past)
    # A whole minute that is over.
    [[begins, now]] = archive.sql("SELECT date_bin('1 minute', now() - interval '3 minutes', 'epoch'), now()")
    archive.sql("UPDATE haulier.counting SET through = %s, folded = %s, recounted = %s", begins, begins, begins)
    early, late = ((now - begins).total_seconds() - second for second in (5, 45))

    for _ in range(3):
        # In each 10 s, and each time, other queues are the largest.
        store(past, [Made(f"queue-{n}", "mail", "succeeded", early, 0.1, 0.1) for n in range(8) for _ in range(n)])
        store(past, [Made(f"queue-{n}", "mail", "succeeded", late, 0.1, 0.1) for n in range(8) for _ in range(20 - n)])
        lapse(past)
        count_all(past, counter)
        [[most]] = archive.sql("SELECT max(n) FROM (SELECT count(*) AS n FROM haulier.rollup GROUP BY step, at) AS row")
        assert most <= 3 + 1
    counts.fold(past, retention_days=30)
    counts.recount(past)

    totals = [sum(row[place] for row in in_numbers(past)) for place in (2, 3)]
    assert totals == [sum(row[place] for row in in_tables(past)) for place in (2, 3)]


# Of a quarter of an hour that began about so long ago: longer steps begin before it and end after it.
EIGHTH_MINUTE = "date_bin('15 minutes', now() - %s::interval, 'epoch') + interval '7 minutes'"


def test_are_summed_into_longer_steps_as_they_grow_older(conn, sql):
    begin(conn)
    sql("UPDATE haulier.counting SET through = now(), folded = now(), recounted = now()")
    ages = {"30 min": 60, "3 h": 300, "9 h": 900, "25 h": 900, "27 h": 3600, "7 days": 3600, "9 days": 21600}
    for age in ages:
        sql(
            "INSERT INTO haulier.rollup (step, at, queue, kind, arrived, waited, ran)"
            " SELECT 60, at, 'default', 'mail', 1, 3, 2000000000005"
            f" FROM (SELECT {EIGHTH_MINUTE} AS at) AS minute",
            age,
        )

    counts.fold(conn, retention_days=30)

    found = sql(
        "SELECT step, arrived, waited, ran, at = date_bin(step * interval '1 s', at, 'epoch') FROM haulier.rollup"
    )
    assert sorted(step for step, *_ in found) == sorted(ages.values())
    assert {tuple(map(str, row)) for _, *row in found} == {("1", "3", "2000000000005", "True")}
    # The one that came is still known to the minute.
    sql("UPDATE haulier.counting SET recounted = through, folded = through")
    [_, *known, _] = windows(conn, kinds=["mail"], queues=None, before=NEVER)
    minutes = [sql(f"SELECT {EIGHTH_MINUTE}", age)[0][0] for age in ages]
    assert known == [(minute, minute + timedelta(minutes=1)) for minute in minutes[:-1]]


def test_know_no_part_of_a_step_of_which_some_were_counted_as_a_whole(conn, sql):
    begin(conn)
    sql("UPDATE haulier.counting SET through = now(), folded = now() - interval '1 day', recounted = now()")
    for step, seconds in ((60, 0), (10, 20)):
        sql(
            "INSERT INTO haulier.rollup (step, at, queue, kind, arrived)"
            f" SELECT %s, at + %s * interval '1 s', 'default', 'mail', 1 FROM (SELECT {EIGHTH_MINUTE} AS at) AS minute",
            step,
            seconds,
            "30 minutes",
        )

    counts.fold(conn, retention_days=30)

    assert sql("SELECT step, arrived, came_from, came_to FROM haulier.rollup") == [(60, 2, None, None)]


@pytest.mark.parametrize("is_analyzed", [True, False])
@pytest.mark.direct("is about plans")
def test_are_read_by_indexes_and_not_from_partitions_of_the_past(past, archive, is_analyzed):
    store(past, [Made("default", "mail", "succeeded", 1e6 + number, 1, 1) for number in range(5_000)])
    # Eleven hours of today, whatever the hour.
    columns = ("run_at", "started_at", "created_at", "updated_at", "finished_at")
    at = dict.fromkeys(columns, f"{TODAY} + n * interval '1 s'")
    archive.sql(ended("generate_series(1, 40000) AS n", **at))
    if is_analyzed:
        archive.sql("ANALYZE haulier.finished_job")
    [[begins]] = archive.sql(f"SELECT {TODAY} + interval '2 hours'")

    span = {"count_from": begins, "count_to": begins + timedelta(seconds=20)}
    plan, nodes = explain(past, "count_span", {"step_seconds": 10, "most_pairs": 500, "only_whole": False, **span})

    scans = [node for node in nodes if node.get("Relation Name", "").startswith("finished_job")]
    assert scans
    assert [node for node in scans if "past" in node["Relation Name"]] == []
    assert {node["Node Type"] for node in scans} == {"Bitmap Heap Scan"}
    assert [node for node in nodes if "finished_job" in (name := node.get("Index Name", "")) and "pkey" in name] == []
    assert any(node.get("Index Name", "").endswith("finished_at_idx") for node in nodes), plan
    # Sorted, the jobs of a busy minute would not fit the memory for it.
    groups = {node["Subplan Name"]: node["Strategy"] for node in nodes if "Strategy" in node and "Subplan Name" in node}
    assert (groups["CTE ended"], groups["CTE arrived"]) == ("Hashed", "Hashed")


# --- Histograms


@pytest.mark.parametrize("seed", SEEDS)
def test_give_percentiles_within_12_percent(past, archive, seed):
    chance = random.Random(seed)
    middle, width = chance.uniform(-3, 2), chance.uniform(0, 2)

    def duration() -> float:
        return min(max(10 ** chance.gauss(middle, width), 0.0001), 3000)

    ends = ["succeeded", "failed_permanent"]
    jobs = [
        Made("default", "mail", chance.choice(ends), chance.uniform(0, 0.8 * DAY), duration(), duration())
        for _ in range(500)
    ]
    store(past, [*jobs, Made("default", "mail", "cancelled", 60, 7, 7)])
    count_all(past, begin(past))
    archive.sql("UPDATE haulier.counting SET recounted = folded")
    for _ in range(2):
        counts.fold(past, retention_days=30)

    for what in ("waited", "ran"):
        [[histogram]] = archive.sql(f"SELECT sum({what})::text FROM haulier.rollup")
        buckets = unpacked(histogram)
        exact = sorted(getattr(job, what) for job in jobs)
        assert sum(buckets.values()) == len(jobs)
        for share in (0.5, 0.95, 0.99):
            true = exact[math.ceil(share * len(exact)) - 1]
            # The tables hold microseconds.
            assert percentile(buckets, share) == pytest.approx(true, rel=0.12, abs=2e-6)
