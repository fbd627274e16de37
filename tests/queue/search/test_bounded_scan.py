"""A look for few jobs among many, also by their tags: it ..."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any
from uuid import UUID

import pytest

from haulier.domain.job import WAITING_STATUSES, Job, JobStatus, NewJob
from haulier.postgres.statements import transaction
from haulier.queue import search
from haulier.queue.jobs.draft import Receipt
from haulier.queue.numbers import depths
from haulier.queue.numbers.counts import LIVE_PAUSE
from haulier.queue.search import arrivals, bounded_scan, job_list
from haulier.queue.search.arrivals import ALWAYS, NEVER
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Page
from tests import queueing
from tests.queue.search.crowd import ENDED, FILTERS, HOUR, LOOKS, WAITING, fill, matching, pages, set_look
from tests.queue.upkeep.histories import begin, count_all


@pytest.mark.parametrize("crowd_name", ["crowd", "counted_crowd"])
def test_finds_each_job_once_in_however_many_looks(request, monkeypatch, crowd_name):
    conn, many = request.getfixturevalue(crowd_name)
    between = {"created_after": many[100].created_at, "created_before": many[30].created_at}
    wrong = []
    # What was counted is by queue and kind.
    filters = [each for each in FILTERS if crowd_name == "crowd" or {"kinds", "queues"} & each.keys()]
    for rows, seconds, tagged, limit in LOOKS:
        set_look(monkeypatch, rows, seconds, tagged)
        for wanted in [*(filters if seconds == 60.0 else filters[::2]), between]:
            found = pages(conn, limit, wanted)
            ids = [job.id for page in found for job in page.jobs]
            ends_early = any(page.looked_back_to for page in found)
            if ids != [job.id for job in matching(many, wanted)] or (seconds == 60.0 and ends_early):
                wrong.append((wanted, rows))

    assert wrong == []


def test_skips_the_offset_whichever_statements_read_the_jobs(crowd, monkeypatch):
    conn, many = crowd
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 3)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 60.0)
    for wanted in ({}, {"tags": ["few"]}, {"kinds": ["mail"]}):
        expected = [job.id for job in matching(many, wanted)]
        for offset in (0, 2, 5, len(expected) - 1, len(expected)):
            page = search.list_jobs(conn, JobFilter(**wanted, limit=4, offset=offset))
            assert [job.id for job in page.jobs] == expected[offset : offset + 4]
            assert (page.after is None) == (offset + 4 >= len(expected))


def test_says_how_far_it_came(crowd, monkeypatch):
    conn, many = crowd
    set_look(monkeypatch, 10, -1.0, 1000)
    for wanted in ({"kinds": ["never"]}, {"worker": UUID(int=7)}):
        page = search.list_jobs(conn, JobFilter(**wanted, limit=5))
        assert page.jobs == []
        assert page.looked_back_to == page.after[0]
        newer = [job for job in many if job.created_at >= page.looked_back_to]
        assert 10 <= len(newer) < 60
    monkeypatch.undo()
    # At the end there is nothing to say.
    assert search.list_jobs(conn, JobFilter(kinds=["never"])) == Page([])


def test_gives_up_a_statement_that_takes_long_and_goes_on_there(crowd, monkeypatch):
    conn, many = crowd
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 10)
    monkeypatch.setattr(bounded_scan, "PATIENCE", 0.0)
    wanted = {"attempts_min": 1}

    found = [job.id for page in pages(conn, 3, wanted) for job in page.jobs]
    count = search.count_jobs(conn, JobFilter(**wanted))
    with transaction(conn):
        whole = search.count_jobs(conn, JobFilter(**wanted))

    assert found == [job.id for job in matching(many, wanted)]
    assert not count.is_exact
    # A transaction of the caller has a limit of its own, and would not go on after a statement that was given up.
    assert (whole.jobs, whole.is_exact) == (len(found), True)


def test_skips_the_times_in_which_none_came(conn, sql, monkeypatch):
    ago = [20 * HOUR * n / 3000 for n in range(3000)]
    sql(
        ENDED,
        ["default"] * 3000,
        ["rare" if n in (1500, 2900) else "mail" for n in range(3000)],
        ["succeeded"] * 3000,
        ago,
    )
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 10)
    monkeypatch.setattr(bounded_scan, "MOST_ROWS", 50)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 60.0)
    statements = []
    monkeypatch.setattr(job_list, "rows", lambda *given, **more: statements.append(given[1]) or rows(*given, **more))
    rows = arrivals.rows

    before = search.list_jobs(conn, JobFilter(kinds=["rare"]))
    without = len(statements)
    count_all(conn, begin(conn))
    statements.clear()
    after = search.list_jobs(conn, JobFilter(kinds=["rare"]))

    assert [job.id for job in before.jobs] == [job.id for job in after.jobs]
    assert len(after.jobs) == 2
    assert without > 40
    # All of the last two hours, which may be counted again.
    assert len(statements) < 20


def test_knows_times_that_hold_all_jobs_of_a_kind_and_few_others(conn, sql, monkeypatch):
    chance = random.Random(7)
    ago = [chance.uniform(0, 26 * HOUR) for _ in range(300)]
    kinds = [chance.choice(["mail"] * 30 + ["rare"]) for _ in ago]
    sql(WAITING, ["default"] * 300, kinds, ["queued"] * 300, ago)
    count_all(conn, begin(conn))
    [[recounted]] = sql("SELECT recounted FROM haulier.counting")

    for steps, kind in product((1, 3, 500), ("mail", "rare", "never")):
        monkeypatch.setattr(arrivals, "STEPS_AT_ONCE", steps)
        found = list(arrivals.windows(conn, kinds=[kind], queues=None, before=NEVER))

        assert found == sorted(found, reverse=True)
        assert all(earlier.ends_at <= later.begins_at for later, earlier in pairwise(found))
        assert found[-1].begins_at == ALWAYS
        came = [at for (at,) in sql("SELECT created_at FROM haulier.job WHERE kind = %s", kind)]
        assert all(any(window.begins_at <= at < window.ends_at for window in found) for at in came)
        # Times that are known to hold none are left out.
        long = [window for window in found[1:-1] if window.ends_at - window.begins_at > timedelta(minutes=5)]
        assert kind == "mail" or long == []
        assert found[0].begins_at <= recounted


def test_may_find_a_job_of_the_row_of_all_others(conn, sql, monkeypatch):
    sql(WAITING, ["default"] * 2, ["mail", "rare"], ["queued"] * 2, [9 * HOUR, 5 * HOUR])
    count_all(conn, begin(conn))
    sql("UPDATE haulier.rollup SET queue = '*', kind = '*' WHERE kind = 'rare' RETURNING 1")
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 1)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 60.0)
    sql(WAITING, ["default"] * 3, ["mail"] * 3, ["queued"] * 3, [1.0] * 3)

    page = search.list_jobs(conn, JobFilter(kinds=["rare"], limit=1))

    assert len(page.jobs) == 1


# --- Counts


def test_counts_what_a_list_finds(crowd, monkeypatch):
    conn, many = crowd
    wrong = []
    for rows, seconds, tagged in ((3, 60.0, 50), (20, 60.0, 3), (1000, -1.0, 1000)):
        set_look(monkeypatch, rows, seconds, tagged)
        for wanted in FILTERS:
            count = search.count_jobs(conn, JobFilter(**wanted))
            if (count.jobs, count.is_exact) != (len(matching(many, wanted)), True):
                wrong.append((wanted, rows, count))

    assert wrong == []


def test_counts_down_to_where_it_ended(crowd, monkeypatch):
    conn, many = crowd
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 10)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", -1.0)

    count = search.count_jobs(conn, JobFilter(kinds=["mail"]))

    mails = [job for job in many if job.kind == "mail"]
    newer = [job for job in mails if job.created_at > count.looked_back_to]
    at_least = [job for job in mails if job.created_at >= count.looked_back_to]
    assert not count.is_exact
    assert 0 < len(newer) <= count.jobs <= len(at_least) < len(mails)


LATELY = "UPDATE haulier.counting SET depth_at = now() - %s::interval, depth_took = %s RETURNING depth_at"


def test_takes_live_jobs_as_they_were_counted_lately(conn, many, sql, enqueue):
    begin(conn)
    depths.count_live(conn)
    enqueue()
    wanted = {"statuses": [JobStatus.QUEUED], "kinds": ["mail"]}
    before = len(matching(many, wanted))

    # The next count comes after a pause that is as many times as long.
    pause = 2.0 * LIVE_PAUSE
    for ago, took, expected in (
        (50, 0.0, before),
        (70, 0.0, before + 1),
        (50 + pause, 2.0, before),
        (70 + pause, 2.0, before + 1),
    ):
        [[counted_at]] = sql(LATELY, f"{ago} s", took)

        count = search.count_jobs(conn, JobFilter(**wanted))

        assert (count.jobs, count.is_exact) == (expected, True)
        assert (count.at == counted_at) is (expected == before)


def test_counts_at_least_the_live_jobs_behind_newer_ones_of_other_queues(conn, sql, monkeypatch):
    begin(conn)
    sql(WAITING, ["mail"] * 300 + ["other"] * 60, ["mail"] * 360, ["queued"] * 360, [9.0] * 300 + [1.0] * 60)
    depths.count_live(conn)
    set_look(monkeypatch, 10, -1.0, 1000)

    of_the_queue, waiting, older = (
        search.count_jobs(conn, JobFilter(queues=["mail"], **more))
        for more in ({}, {"statuses": WAITING_STATUSES}, {"created_before": datetime.now(UTC)})
    )

    assert (of_the_queue.jobs, of_the_queue.is_exact) == (300, False)
    assert (waiting.jobs, waiting.is_exact) == (300, True)
    assert (older.jobs, older.is_exact) == (0, False)


def test_counts_itself_if_some_were_counted_together(conn, sql, enqueue):
    begin(conn)
    enqueue()
    depths.count_live(conn)
    enqueue()
    sql("INSERT INTO haulier.depth (queue, kind, status, jobs, due) VALUES ('*', '*', 'queued', 5, 5) RETURNING 1")

    for wanted, expected in (({"kinds": ["mail"]}, 2), ({"queues": ["default"]}, 2), ({}, 6)):
        count = search.count_jobs(conn, JobFilter(statuses=[JobStatus.QUEUED], **wanted))
        assert count.jobs == expected


def test_counts_nothing_of_a_time_or_an_error_by_what_was_counted_without_one(conn, enqueue, sql):
    begin(conn)
    job = enqueue()
    sql("UPDATE haulier.job SET status = 'retrying', error_id = 7 RETURNING 1")
    depths.count_live(conn)

    for wanted in ({"created_before": job.created_at}, {"error_id": 8}):
        count = search.count_jobs(conn, JobFilter(statuses=[JobStatus.RETRYING], **wanted))
        assert count.jobs == 0


# --- Tags


TAGS = ["vip", "NULL", "a, b", '"{}"', "back\\slash\t\n", "\r\\N", "größe 😀", " ", "%s %(x)s 'q'"]


def test_stores_tags_as_they_are_by_each_way(conn):
    for key, number in product((None, "order"), (1, 3)):
        others = [NewJob("mail", {}, tags=[]), NewJob("mail", {})][: number - 1]
        new = NewJob("mail", {}, tags=TAGS, idempotency_key=key and f"{key}-{number}")
        [receipt, *rest] = queueing.enqueue(conn, [new, *others])
        assert receipt.job.tags == TAGS
        assert search.get(conn, receipt.job.id).read().tags == TAGS
        assert [each.job.tags for each in rest] == [()] * (number - 1)


def test_stores_nothing_for_no_tags(conn, sql):
    queueing.enqueue(conn, [NewJob("mail", {}, tags=[])])
    queueing.enqueue(conn, [NewJob("mail", {}, tags=())] * 2)

    assert sql("SELECT tags FROM haulier.job") == [(None,)] * 3


def test_calls_other_tags_under_a_known_key_a_mismatch(conn):
    first, same, other, none = (
        queueing.enqueue(conn, [NewJob("mail", {}, idempotency_key="order-7", tags=tags)])[0].receipt
        for tags in (["a", "b"], ["b", "a"], ["a"], [])
    )

    assert [first, same, other, none] == [Receipt.CREATED, Receipt.REPLAYED, Receipt.MISMATCH, Receipt.MISMATCH]


def test_reads_an_array_that_does_not_begin_at_1(conn, claim, sql):
    [[job_id]] = sql("INSERT INTO haulier.job (kind, payload, tags) VALUES ('mail', '{}', '[5:6]={a,b}') RETURNING id")

    assert search.get(conn, job_id).tags == ["a", "b"]
    assert claim().tags == ["a", "b"]


# --- Looks


@pytest.fixture
def asked(monkeypatch):
    """Give the names of the statements that are sent, and have the first look at few rows and end there."""
    statements: list[str] = []
    rows = job_list.rows
    monkeypatch.setattr(job_list, "rows", lambda *given, **more: statements.append(given[1]) or rows(*given, **more))
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", 5)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", -1.0)
    return statements


def test_finds_all_jobs_of_rare_tags_at_once(conn, many, asked):
    page, count = (read(conn, JobFilter(tags=["few", "never"])) for read in (search.list_jobs, search.count_jobs))
    nothing = search.list_jobs(conn, JobFilter(tags=["never"]))

    expected = [job.id for job in many if "few" in job.tags]
    assert [job.id for job in page.jobs] == expected
    assert (page.after, count.jobs, count.is_exact) == (None, len(expected), True)
    assert nothing == Page([])
    assert asked == ["list_jobs", "list_tagged", "count_jobs", "count_tagged", "list_jobs", "list_tagged"]


OTHERS: dict[str, Callable[[list[Job]], Any]] = {
    "statuses": lambda _: [JobStatus.RETRYING, JobStatus.SUCCEEDED, JobStatus.RUNNING],
    "kinds": lambda _: ["mail"],
    "queues": lambda _: ["bulk"],
    "error_id": lambda _: 0,
    "worker": lambda many: next(job.worker_id for job in many if job.worker_id),
    "idempotency_key": lambda _: "order-3",
    "attempts_min": lambda _: 1,
    "payload": lambda _: {"who.name": "ann"},
    "created_after": lambda many: many[100].created_at,
    "created_before": lambda many: many[50].created_at,
    "finished_after": lambda _: datetime(2020, 1, 1, tzinfo=UTC),
    "finished_before": lambda _: datetime(2100, 1, 1, tzinfo=UTC),
}


def test_applies_all_other_conditions_to_the_jobs_of_rare_tags(crowd, monkeypatch, asked):
    conn, many = crowd
    monkeypatch.setattr(job_list, "first_rows", lambda *_: 1)
    tagged, wrong = matching(many, {"tags": ["few", "most"]}), []
    for name, value_of in OTHERS.items():
        asked.clear()
        wanted = {"tags": ["few", "most"], name: value_of(many)}
        found = [job.id for page in pages(conn, 3, wanted) for job in page.jobs]
        count = search.count_jobs(conn, JobFilter(**wanted))

        expected = [job.id for job in matching(many, wanted)]
        # Of the four that run, which tags they have is left to chance.
        assert name == "worker" or 0 < len(expected) < len(tagged)
        is_by_tags = {"list_tagged", "count_tagged"} <= set(asked)
        if (found, count.jobs, count.is_exact, is_by_tags) != (expected, len(expected), True, True):
            wrong.append(name)

    assert wrong == []


def test_looks_back_for_common_tags(conn, many, monkeypatch, asked):
    monkeypatch.setattr(bounded_scan, "MOST_TAGGED", 5)

    page, count = (read(conn, JobFilter(tags=["few"])) for read in (search.list_jobs, search.count_jobs))

    assert page.looked_back_to == page.after[0]
    assert count.looked_back_to is not None
    assert asked == ["list_jobs", "list_tagged", "count_jobs", "count_tagged"]


def test_asks_no_index_for_a_page_that_the_newest_fill(conn, many, asked):
    page = search.list_jobs(conn, JobFilter(tags=["most"], limit=2))

    assert len(page.jobs) == 2
    assert asked == ["list_jobs"]


def test_a_page_of_rare_tags_ends_at_its_bytes(conn, enqueue, asked):
    large = [enqueue(payload={"text": "x" * 3_000_000}, tags=["few"]) for _ in range(4)]
    for _ in range(60):
        enqueue()

    found = pages(conn, 50, {"tags": ["few"]})

    assert [len(page.jobs) for page in found] == [3, 1]
    assert [job.id for page in found for job in page.jobs] == [job.id for job in reversed(large)]


SLOWLY = """
    CREATE OR REPLACE FUNCTION haulier.tagged(wanted text[], most bigint)
    RETURNS TABLE (id uuid, finished_at timestamptz) LANGUAGE sql STABLE
    AS $$ SELECT NULL::uuid, now() FROM pg_sleep(60) $$
"""


def test_goes_on_without_the_indexes_if_they_take_long(archive, monkeypatch, asked):
    conn, jobs = archive.conn, fill(archive.conn)
    archive.sql(SLOWLY)
    asked.clear()
    monkeypatch.setattr(bounded_scan, "TAGGED_SECONDS", 1.1)
    # Less than that: what the indexes took is not counted.
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 1.0)

    page, count = (read(conn, JobFilter(tags=["few"])) for read in (search.list_jobs, search.count_jobs))

    expected = matching(jobs, {"tags": ["few"]})
    assert [job.id for job in page.jobs] == [job.id for job in expected]
    assert (page.after, count.jobs, count.is_exact) == (None, len(expected), True)
    assert asked[:3] == ["list_jobs", "list_tagged", "list_jobs"]
