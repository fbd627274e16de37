"""A look for few jobs among many: it ..."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import pytest

from haulier.domain.job import JobStatus
from haulier.postgres.statements import transaction
from haulier.queue import produce
from haulier.queue.produce import arrivals, look, look_back
from haulier.queue.produce.arrivals import ALWAYS, NEVER
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look import Page
from haulier.queue.upkeep import depths
from tests.queue.produce.crowd import ENDED, FILTERS, HOUR, WAITING, matching, pages
from tests.queue.upkeep.histories import begin, count_all


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_finds_each_job_once_in_however_many_looks(crowd, monkeypatch, wanted):
    conn, many = crowd
    # With more than so many jobs the tags are common.
    for rows, seconds, limit, tagged in ((5, -1.0, 4, 50), (3, 0.003, 50, 3), (2, 60.0, 7, 2)):
        monkeypatch.setattr(look_back, "MOST_TAGGED", tagged)
        monkeypatch.setattr(look_back, "FIRST_ROWS", rows)
        monkeypatch.setattr(look_back, "MOST_ROWS", 8 * rows)
        monkeypatch.setattr(look_back, "LOOK_SECONDS", seconds)

        found = pages(conn, limit, wanted)

        assert [job.id for page in found for job in page.jobs] == [job.id for job in matching(many, wanted)]
        if seconds == 60.0:
            assert [page.looked_back_to for page in found if page.looked_back_to] == []


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("wanted", [{}, {"tags": ["few"]}, {"kinds": ["mail"]}], ids=str)
def test_an_offset_passes_over_so_many_by_whichever_statements_they_are_read(crowd, monkeypatch, wanted):
    conn, many = crowd
    monkeypatch.setattr(look_back, "FIRST_ROWS", 3)
    monkeypatch.setattr(look_back, "LOOK_SECONDS", 60.0)
    expected = [job.id for job in matching(many, wanted)]

    for offset in (0, 2, 5, len(expected) - 1, len(expected)):
        page = produce.list_jobs(conn, JobFilter(**wanted, limit=4, offset=offset))

        assert [job.id for job in page.jobs] == expected[offset : offset + 4]
        assert (page.after is None) == (offset + 4 >= len(expected))


@pytest.mark.parametrize("wanted", [{"kinds": ["never"]}, {"worker": UUID(int=7)}], ids=str)
def test_says_how_far_it_came(conn, many, monkeypatch, wanted):
    monkeypatch.setattr(look_back, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(look_back, "FIRST_ROWS", 10)

    page = produce.list_jobs(conn, JobFilter(**wanted, limit=5))

    assert page.jobs == []
    assert page.looked_back_to == page.after[0]
    newer = [job for job in many if job.created_at >= page.looked_back_to]
    assert 10 <= len(newer) < 60


def test_gives_up_a_statement_that_takes_long_and_goes_on_there(conn, many, monkeypatch):
    monkeypatch.setattr(look_back, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(look_back, "FIRST_ROWS", 10)
    monkeypatch.setattr(look_back, "PATIENCE", 0.0)
    wanted = {"attempts_min": 1}

    found = [job.id for page in pages(conn, 3, wanted) for job in page.jobs]
    count = produce.count_jobs(conn, JobFilter(**wanted))
    with transaction(conn):
        whole = produce.count_jobs(conn, JobFilter(**wanted))

    assert found == [job.id for job in matching(many, wanted)]
    assert not count.is_exact
    # A transaction of the caller has a limit of its own, and would not go on after a statement that was given up.
    assert (whole.jobs, whole.is_exact) == (len(found), True)


def test_says_nothing_where_it_came_to_the_end(conn, many):
    page = produce.list_jobs(conn, JobFilter(kinds=["never"]))

    assert page == Page([])


def test_passes_over_the_times_in_which_none_came(conn, sql, monkeypatch):
    ago = [20 * HOUR * n / 3000 for n in range(3000)]
    sql(
        ENDED,
        ["default"] * 3000,
        ["rare" if n in (1500, 2900) else "mail" for n in range(3000)],
        ["succeeded"] * 3000,
        ago,
    )
    monkeypatch.setattr(look_back, "FIRST_ROWS", 10)
    monkeypatch.setattr(look_back, "MOST_ROWS", 50)
    monkeypatch.setattr(look_back, "LOOK_SECONDS", 60.0)
    statements = []
    monkeypatch.setattr(look, "rows", lambda *given, **more: statements.append(given[1]) or rows(*given, **more))
    rows = arrivals.rows

    before = produce.list_jobs(conn, JobFilter(kinds=["rare"]))
    without = len(statements)
    count_all(conn, begin(conn))
    statements.clear()
    after = produce.list_jobs(conn, JobFilter(kinds=["rare"]))

    assert [job.id for job in before.jobs] == [job.id for job in after.jobs]
    assert len(after.jobs) == 2
    assert without > 40
    # All of the last two hours, which may be counted again.
    assert len(statements) < 20


@pytest.mark.parametrize("seed", range(3))
def test_knows_times_that_hold_all_jobs_of_a_kind_and_few_others(conn, sql, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(arrivals, "STEPS_AT_ONCE", chance.choice([1, 3, 500]))
    ago = [chance.uniform(0, 26 * HOUR) for _ in range(300)]
    kinds = [chance.choice(["mail"] * 30 + ["rare"]) for _ in ago]
    sql(WAITING, ["default"] * 300, kinds, ["queued"] * 300, ago)
    count_all(conn, begin(conn))
    [[recounted]] = sql("SELECT recounted FROM haulier.counting")

    for kind in ("mail", "rare", "never"):
        found = list(arrivals.windows(conn, kinds=[kind], queues=None, before=NEVER))

        assert found == sorted(found, reverse=True)
        assert all(earlier.ends_at <= later.begins_at for later, earlier in zip(found, found[1:], strict=False))
        assert found[-1].begins_at == ALWAYS
        came = [at for (at,) in sql("SELECT created_at FROM haulier.job WHERE kind = %s", kind)]
        assert all(any(window.begins_at <= at < window.ends_at for window in found) for at in came)
        # What is known to hold none.
        long = [window for window in found[1:-1] if window.ends_at - window.begins_at > timedelta(minutes=5)]
        assert kind == "mail" or long == []
        assert found[0].begins_at <= recounted


def test_may_find_a_job_of_the_row_of_all_others(conn, sql, monkeypatch):
    sql(WAITING, ["default"] * 2, ["mail", "rare"], ["queued"] * 2, [9 * HOUR, 5 * HOUR])
    count_all(conn, begin(conn))
    sql("UPDATE haulier.rollup SET queue = '*', kind = '*' WHERE kind = 'rare' RETURNING 1")
    monkeypatch.setattr(look_back, "FIRST_ROWS", 1)
    monkeypatch.setattr(look_back, "LOOK_SECONDS", 60.0)
    sql(WAITING, ["default"] * 3, ["mail"] * 3, ["queued"] * 3, [1.0] * 3)

    page = produce.list_jobs(conn, JobFilter(kinds=["rare"], limit=1))

    assert len(page.jobs) == 1


# --- Counts


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_counts_what_a_list_finds(crowd, monkeypatch, wanted):
    conn, many = crowd
    for rows, seconds, tagged in ((3, 60.0, 50), (20, 60.0, 3), (1000, -1.0, 1000)):
        monkeypatch.setattr(look_back, "MOST_TAGGED", tagged)
        monkeypatch.setattr(look_back, "FIRST_ROWS", rows)
        monkeypatch.setattr(look_back, "MOST_ROWS", 8 * rows)
        monkeypatch.setattr(look_back, "LOOK_SECONDS", seconds)

        count = produce.count_jobs(conn, JobFilter(**wanted))

        assert (count.jobs, count.is_exact) == (len(matching(many, wanted)), True)


def test_counts_down_to_where_it_ended(conn, many, monkeypatch):
    monkeypatch.setattr(look_back, "FIRST_ROWS", 10)
    monkeypatch.setattr(look_back, "LOOK_SECONDS", -1.0)

    count = produce.count_jobs(conn, JobFilter(kinds=["mail"]))

    mails = [job for job in many if job.kind == "mail"]
    newer = [job for job in mails if job.created_at > count.looked_back_to]
    at_least = [job for job in mails if job.created_at >= count.looked_back_to]
    assert not count.is_exact
    assert 0 < len(newer) <= count.jobs <= len(at_least) < len(mails)


LATELY = "UPDATE haulier.counting SET depth_at = now() - %s::interval RETURNING depth_at"


def test_takes_live_jobs_as_they_were_counted_lately(conn, many, sql, enqueue):
    begin(conn)
    depths.count_live(conn)
    enqueue()
    wanted = {"statuses": [JobStatus.QUEUED], "kinds": ["mail"]}
    before = len(matching(many, wanted))

    for ago, expected in (("50 s", before), ("70 s", before + 1)):
        [[counted_at]] = sql(LATELY, ago)

        count = produce.count_jobs(conn, JobFilter(**wanted))

        assert (count.jobs, count.is_exact) == (expected, True)
        assert (count.at == counted_at) is (expected == before)


@pytest.mark.parametrize("wanted", [{"kinds": ["mail"]}, {"queues": ["default"]}, {}], ids=str)
def test_counts_itself_where_some_were_counted_together(conn, sql, enqueue, wanted):
    begin(conn)
    enqueue()
    depths.count_live(conn)
    enqueue()
    sql("INSERT INTO haulier.depth (queue, kind, status, jobs, due) VALUES ('*', '*', 'queued', 5, 5) RETURNING 1")

    count = produce.count_jobs(conn, JobFilter(statuses=[JobStatus.QUEUED], **wanted))

    assert count.jobs == (2 if wanted else 6)


@pytest.mark.parametrize("asked", ["created_before", "error_id"])
def test_counts_nothing_of_a_time_or_an_error_by_what_was_counted_without_one(conn, enqueue, sql, asked):
    begin(conn)
    job = enqueue()
    sql("UPDATE haulier.job SET status = 'retrying', error_id = 7 RETURNING 1")
    depths.count_live(conn)

    wanted = {asked: {"created_before": job.created_at, "error_id": 8}[asked]}
    count = produce.count_jobs(conn, JobFilter(statuses=[JobStatus.RETRYING], **wanted))

    assert count.jobs == 0
