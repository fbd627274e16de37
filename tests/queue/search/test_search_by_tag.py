"""A look for the jobs of some tags: it ..."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from haulier.domain.job import Job, JobStatus
from haulier.postgres.connection import connect
from haulier.queue import search
from haulier.queue.search import bounded_scan, job_list
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Page
from tests.conftest import sql_on
from tests.queue.search.crowd import fill, matching, pages


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


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
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


@pytest.fixture
def slow(_make_migrated_database):
    """Give a connection to a database whose indexes of tags take a minute, and its jobs."""
    with closing(connect(_make_migrated_database())) as conn:
        jobs = fill(conn)
        sql_on(conn)(SLOWLY)
        yield conn, jobs


def test_goes_on_without_the_indexes_if_they_take_long(slow, monkeypatch, asked):
    conn, jobs = slow
    monkeypatch.setattr(bounded_scan, "TAGGED_SECONDS", 2.1)
    # Less than that: what the indexes took is not counted.
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", 2.0)

    page, count = (read(conn, JobFilter(tags=["few"])) for read in (search.list_jobs, search.count_jobs))

    expected = matching(jobs, {"tags": ["few"]})
    assert [job.id for job in page.jobs] == [job.id for job in expected]
    assert (page.after, count.jobs, count.is_exact) == (None, len(expected), True)
    assert asked[:3] == ["list_jobs", "list_tagged", "list_jobs"]
