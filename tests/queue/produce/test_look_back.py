"""A look for few jobs among many: it ..."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, JobStatus, NewJob
from haulier.postgres.connection import connect
from haulier.queue import consume, produce
from haulier.queue.produce import arrivals, look
from haulier.queue.produce.arrivals import ALWAYS, NEVER
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.look import Page
from haulier.queue.upkeep import numbers
from tests.conftest import sql_on
from tests.queue.upkeep.histories import begin, count_all

ENDED = """
    INSERT INTO haulier.finished_job (id, status, kind, queue, priority, run_at, attempt, started_at, attempts,
        max_attempts, crashes, snoozes, cancel_requested, payload, errors, created_at, updated_at, finished_at)
    SELECT gen_random_uuid(), status, kind, queue, 0, now(), 1, now(), 1, 3, 0, 0, false, '{}', '[]',
        now() - make_interval(secs => ago), now(), now()
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (queue, kind, status, ago)
    RETURNING 1
"""
WAITING = """
    INSERT INTO haulier.job (queue, kind, status, payload, created_at)
    SELECT queue, kind, status, '{}', now() - make_interval(secs => ago)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (queue, kind, status, ago)
    RETURNING 1
"""
# Payloads, keys and errors, which tell some of the jobs apart.
GIVEN = """
    WITH numbered AS (SELECT id, row_number() OVER (ORDER BY created_at, id) AS n FROM haulier.jobs),
    given AS (
        SELECT id, n % 3 - 1 AS error_id, 'order-' || n % 20 AS key,
            CASE n % 10 WHEN 0 THEN ARRAY['few', 'a b'] WHEN 1 THEN '{}' WHEN 2 THEN NULL ELSE '{most}' END AS tags,
            CASE n % 3 WHEN 0 THEN '{}'::jsonb ELSE jsonb_build_object(
            'n', n % 7, 'who', jsonb_build_object('name', CASE n % 2 WHEN 0 THEN 'ann' ELSE 'bob' END)) END AS payload
        FROM numbered
    ),
    live AS (
        UPDATE haulier.job SET payload = given.payload, idempotency_key = given.key, tags = given.tags,
            error_id = given.error_id, last_error = given.error_id
        FROM given WHERE given.id = job.id RETURNING job.id
    ),
    ended AS (
        UPDATE haulier.finished_job AS job SET payload = given.payload, idempotency_key = given.key, tags = given.tags,
            error_id = given.error_id, last_error = given.error_id
        FROM given WHERE given.id = job.id RETURNING job.id
    )
    SELECT count(*) FROM (SELECT FROM live UNION ALL SELECT FROM ended) AS changed
"""
HOUR = 3600.0
FILTERS: list[dict[str, Any]] = [
    {},
    {"kinds": ["rare"]},
    {"kinds": ["never"]},
    {"kinds": ["rare", "never"]},
    {"queues": ["bulk"]},
    {"queues": ["bulk", "other"]},
    {"queues": []},
    {"queues": ["bulk"], "kinds": ["mail"]},
    {"statuses": [JobStatus.CANCELLED], "kinds": ["rare"]},
    {"statuses": [JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.RUNNING]},
    *({"statuses": [status]} for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLED)),
    {"attempts_min": 1},
    {"attempts_min": 1, "kinds": ["image"]},
    {"payload": {"n": "3"}},
    {"payload": {"n": "3", "who.name": "ann"}},
    {"payload": {"who.name": "bob"}, "statuses": [JobStatus.RUNNING]},
    {"idempotency_key": "order-3"},
    *({"tags": tags} for tags in (["few"], ["most"], ["never"], ["never", "few"], ["most", "few"], [])),
    {"tags": ["few"], "kinds": ["mail"], "attempts_min": 1},
    {"tags": ["most"], "queues": ["bulk"]},
    *({"tags": ["few", "most"], "statuses": [status]} for status in (JobStatus.RUNNING, JobStatus.RETRYING)),
    {"tags": ["few"], "finished_after": datetime(2020, 1, 1, tzinfo=UTC)},
    {"error_id": -1},
    {"error_id": 7},
    {"error_id": 0, "kinds": ["mail"], "attempts_min": 1},
    {"error_id": 1, "queues": ["default"]},
    {"error_id": 1, "statuses": [JobStatus.RETRYING, JobStatus.RUNNING]},
    {"error_id": 1, "statuses": [JobStatus.RUNNING]},
    {"error_id": 1, "statuses": [JobStatus.FAILED_PERMANENT], "payload": {"who.name": "ann"}},
    {"finished_after": datetime(2020, 1, 1, tzinfo=UTC), "finished_before": datetime(2100, 1, 1, tzinfo=UTC)},
    {"finished_before": datetime(2020, 1, 1, tzinfo=UTC)},
]


def fill(conn: Connection) -> list[Job]:
    """Store 150 jobs of the last 20 hours, of all statuses, some of the same instant, and return the newest first."""
    chance, sql = random.Random(7), sql_on(conn)
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)

    def drawn(*statuses: str) -> tuple[str, str, str, float]:
        kind, queue = chance.choice(["mail"] * 12 + ["rare"]), chance.choice(["default"] * 8 + ["bulk"])
        return queue, kind, chance.choice(statuses), HOUR * chance.randrange(20) / 2

    for hours in (1, 3, 3, 7):
        produce.enqueue(conn, [NewJob("mail", {}, queue="bulk")])
        [running] = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        sql(
            "UPDATE haulier.job SET created_at = now() - make_interval(hours => %s) WHERE id = %s RETURNING 1",
            hours,
            running.id,
        )
    sql(ENDED, *map(list, zip(*(drawn("succeeded", "failed_permanent", "cancelled") for _ in range(100)), strict=True)))
    sql(WAITING, *map(list, zip(*(drawn("queued", "retrying") for _ in range(46)), strict=True)))
    sql(GIVEN)
    jobs = [produce.get(conn, job_id) for (job_id,) in sql("SELECT id FROM haulier.jobs")]
    return sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)


FAILED = (JobStatus.FAILED_PERMANENT, JobStatus.RETRYING)


@pytest.fixture
def many(conn):
    """Give such jobs in the test's database."""
    return fill(conn)


@pytest.fixture(scope="module", params=[False, True], ids=["not counted", "counted"])
def crowd(request, _make_migrated_database):
    """Give a connection to a database with such jobs, counted or not, for those who only read, and the jobs."""
    with closing(connect(_make_migrated_database())) as conn:
        jobs = fill(conn)
        if request.param:
            count_all(conn, begin(conn))
        yield conn, jobs


CONDITIONS: dict[str, Callable[[Job, Any], bool]] = {
    "kinds": lambda job, kinds: job.kind in kinds,
    "queues": lambda job, queues: job.queue in queues,
    "statuses": lambda job, statuses: job.status in statuses,
    "attempts_min": lambda job, least: job.attempts >= least,
    "error_id": lambda job, error_id: job.status in FAILED and job.last_error == str(error_id),
    "idempotency_key": lambda job, key: job.idempotency_key == key,
    "tags": lambda job, tags: not set(tags).isdisjoint(job.tags),
    "payload": lambda job, asked: all(text_at(job.payload, path.split(".")) == text for path, text in asked.items()),
    "finished_after": lambda job, instant: job.finished_at is not None and job.finished_at > instant,
    "finished_before": lambda job, instant: job.finished_at is not None and job.finished_at < instant,
}


def text_at(value: Any, path: list[str]) -> str | None:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return None if value is None else str(value)


def matching(jobs: list[Job], wanted: dict[str, Any]) -> list[Job]:
    return [job for job in jobs if all(CONDITIONS[name](job, value) for name, value in wanted.items())]


def pages(conn, limit: int, wanted: dict[str, Any]) -> list[Page]:
    """Return all pages of the list."""
    found = [produce.list_jobs(conn, JobFilter(limit=limit, **wanted))]
    while (after := found[-1].after) and len(found) < 200:
        found.append(produce.list_jobs(conn, JobFilter(limit=limit, after=after, **wanted)))
    return found


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_finds_each_job_once_in_however_many_looks(crowd, monkeypatch, wanted):
    conn, many = crowd
    # With more than so many jobs the tags are common, and so they are with one such job among the newest so many.
    for rows, seconds, limit, tagged, sampled in (
        (5, -1.0, 4, 50, 9999),
        (3, 0.003, 50, 3, 9999),
        (2, 60.0, 7, 999, 5),
    ):
        monkeypatch.setattr(look, "MOST_TAGGED", tagged)
        monkeypatch.setattr(look, "SAMPLED", sampled)
        monkeypatch.setattr(look, "FIRST_ROWS", rows)
        monkeypatch.setattr(look, "MOST_ROWS", 8 * rows)
        monkeypatch.setattr(look, "LOOK_SECONDS", seconds)

        found = pages(conn, limit, wanted)

        assert [job.id for page in found for job in page.jobs] == [job.id for job in matching(many, wanted)]
        if seconds == 60.0:
            assert [page.looked_back_to for page in found if page.looked_back_to] == []


def test_says_how_far_it_came(conn, many, monkeypatch):
    monkeypatch.setattr(look, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(look, "FIRST_ROWS", 10)

    page = produce.list_jobs(conn, JobFilter(kinds=["never"], limit=5))

    assert page.jobs == []
    assert page.looked_back_to == page.after[0]
    newer = [job for job in many if job.created_at >= page.looked_back_to]
    assert 10 <= len(newer) < 60


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
    monkeypatch.setattr(look, "FIRST_ROWS", 10)
    monkeypatch.setattr(look, "MOST_ROWS", 50)
    monkeypatch.setattr(look, "LOOK_SECONDS", 60.0)
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
    monkeypatch.setattr(look, "FIRST_ROWS", 1)
    monkeypatch.setattr(look, "LOOK_SECONDS", 60.0)
    sql(WAITING, ["default"] * 3, ["mail"] * 3, ["queued"] * 3, [1.0] * 3)

    page = produce.list_jobs(conn, JobFilter(kinds=["rare"], limit=1))

    assert len(page.jobs) == 1


# --- Tags


@pytest.fixture
def asked(monkeypatch):
    """Give the names of the statements that are sent, and have the first look at few rows and end there."""
    statements: list[str] = []
    rows = look.rows
    monkeypatch.setattr(look, "rows", lambda *given, **more: statements.append(given[1]) or rows(*given, **more))
    monkeypatch.setattr(look, "FIRST_ROWS", 5)
    monkeypatch.setattr(look, "LOOK_SECONDS", -1.0)
    return statements


def test_finds_all_jobs_of_rare_tags_at_once(conn, many, monkeypatch, asked):
    monkeypatch.setattr(look, "SAMPLED", 9999)

    page, count = (read(conn, JobFilter(tags=["few", "never"])) for read in (produce.list_jobs, produce.count_jobs))
    nothing = produce.list_jobs(conn, JobFilter(tags=["never"]))

    expected = [job.id for job in many if "few" in job.tags]
    assert [job.id for job in page.jobs] == expected
    assert (page.after, count.jobs, count.is_exact) == (None, len(expected), True)
    assert nothing == Page([])
    assert asked == ["list_jobs", "list_tagged", "count_jobs", "count_tagged", "list_jobs", "list_tagged"]


@pytest.mark.parametrize(("most", "sampled"), [(5, 9999), (1000, 20)], ids=["too many", "many of the newest"])
def test_looks_back_for_common_tags(conn, many, monkeypatch, asked, most, sampled):
    monkeypatch.setattr(look, "MOST_TAGGED", most)
    monkeypatch.setattr(look, "SAMPLED", sampled)

    page, count = (read(conn, JobFilter(tags=["few"])) for read in (produce.list_jobs, produce.count_jobs))

    assert page.looked_back_to == page.after[0]
    assert count.looked_back_to is not None
    assert asked == ["list_jobs", "list_tagged", "count_jobs", "count_tagged"]


def test_asks_no_index_for_a_page_that_the_newest_fill(conn, many, asked):
    page = produce.list_jobs(conn, JobFilter(tags=["most"], limit=2))

    assert len(page.jobs) == 2
    assert asked == ["list_jobs"]


def test_a_page_of_rare_tags_ends_at_its_bytes(conn, enqueue, monkeypatch, asked):
    large = [enqueue(payload={"text": "x" * 3_000_000}, tags=["few"]) for _ in range(4)]
    for _ in range(60):
        enqueue()
    monkeypatch.setattr(look, "SAMPLED", 9999)

    found = pages(conn, 50, {"tags": ["few"]})

    assert [len(page.jobs) for page in found] == [3, 1]
    assert [job.id for page in found for job in page.jobs] == [job.id for job in reversed(large)]


# --- Counts


@pytest.mark.parametrize("crowd", [False], ids=["not counted"], indirect=True)
@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_counts_what_a_list_finds(crowd, monkeypatch, wanted):
    conn, many = crowd
    for rows, seconds, tagged, sampled in ((3, 60.0, 50, 9999), (20, 60.0, 3, 5), (1000, -1.0, 1000, 1000)):
        monkeypatch.setattr(look, "MOST_TAGGED", tagged)
        monkeypatch.setattr(look, "SAMPLED", sampled)
        monkeypatch.setattr(look, "FIRST_ROWS", rows)
        monkeypatch.setattr(look, "MOST_ROWS", 8 * rows)
        monkeypatch.setattr(look, "LOOK_SECONDS", seconds)

        count = produce.count_jobs(conn, JobFilter(**wanted))

        assert (count.jobs, count.is_exact) == (len(matching(many, wanted)), True)


def test_counts_down_to_where_it_ended(conn, many, monkeypatch):
    monkeypatch.setattr(look, "FIRST_ROWS", 10)
    monkeypatch.setattr(look, "LOOK_SECONDS", -1.0)

    count = produce.count_jobs(conn, JobFilter(kinds=["mail"]))

    mails = [job for job in many if job.kind == "mail"]
    newer = [job for job in mails if job.created_at > count.looked_back_to]
    at_least = [job for job in mails if job.created_at >= count.looked_back_to]
    assert not count.is_exact
    assert 0 < len(newer) <= count.jobs <= len(at_least) < len(mails)


LATELY = "UPDATE haulier.counting SET depth_at = now() - %s::interval RETURNING depth_at"


def test_takes_live_jobs_as_they_were_counted_lately(conn, many, sql, enqueue):
    begin(conn)
    numbers.count_live(conn)
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
    numbers.count_live(conn)
    enqueue()
    sql("INSERT INTO haulier.depth (queue, kind, status, jobs, due) VALUES ('*', '*', 'queued', 5, 5) RETURNING 1")

    count = produce.count_jobs(conn, JobFilter(statuses=[JobStatus.QUEUED], **wanted))

    assert count.jobs == (2 if wanted else 6)


@pytest.mark.parametrize("asked", ["created_before", "error_id"])
def test_counts_nothing_of_a_time_or_an_error_by_what_was_counted_without_one(conn, enqueue, sql, asked):
    begin(conn)
    job = enqueue()
    sql("UPDATE haulier.job SET status = 'retrying', error_id = 7 RETURNING 1")
    numbers.count_live(conn)

    wanted = {asked: {"created_before": job.created_at, "error_id": 8}[asked]}
    count = produce.count_jobs(conn, JobFilter(statuses=[JobStatus.RETRYING], **wanted))

    assert count.jobs == 0
