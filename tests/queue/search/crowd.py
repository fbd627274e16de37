"""Jobs of all statuses among which tests look for few, and filters with what a job must be to match them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.job import Job, JobStatus, NewJob
from haulier.postgres.connection import connect
from haulier.queue import claims, search
from haulier.queue.search import bounded_scan
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.search.job_list import Page
from tests import queueing
from tests.conftest import sql_on
from tests.queue.plans import ended
from tests.queue.upkeep.histories import begin, count_all

ENDED = ended(
    "unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (queue, kind, status, ago)",
    **{name: name for name in ("queue", "kind", "status")},
    id="gen_random_uuid()",
    created_at="now() - make_interval(secs => ago)",
)
WAITING = """
    INSERT INTO haulier.job (queue, kind, status, payload, created_at)
    SELECT queue, kind, status, '{}', now() - make_interval(secs => ago)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::float[]) AS job (queue, kind, status, ago)
    RETURNING 1
"""
# Payloads, keys and errors that some of the jobs share.
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
    {"tags": ["few"], "error_id": -1},
    {"tags": ["most"], "error_id": 1, "payload": {"who.name": "ann"}},
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
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)

    def drawn(*statuses: str) -> tuple[str, str, str, float]:
        kind, queue = chance.choice(["mail"] * 12 + ["rare"]), chance.choice(["default"] * 8 + ["bulk"])
        return queue, kind, chance.choice(statuses), HOUR * chance.randrange(20) / 2

    for hours in (1, 3, 3, 7):
        queueing.enqueue(conn, [NewJob("mail", {}, queue="bulk")])
        [running] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        sql(
            "UPDATE haulier.job SET created_at = now() - make_interval(hours => %s) WHERE id = %s RETURNING 1",
            hours,
            running.id,
        )
    sql(ENDED, *map(list, zip(*(drawn("succeeded", "failed_permanent", "cancelled") for _ in range(100)), strict=True)))
    sql(WAITING, *map(list, zip(*(drawn("queued", "retrying") for _ in range(46)), strict=True)))
    sql(GIVEN)
    jobs = [search.get(conn, job_id) for (job_id,) in sql("SELECT id FROM haulier.jobs")]
    return sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)


# How a look goes about it: rows of its first statement, seconds, the most jobs of rare tags, and a page's limit. The
# first looks end at once, the second ones after a while, and the last ones never.
LOOKS = ((5, -1.0, 50, 4), (3, 0.003, 3, 50), (2, 60.0, 2, 7))


def set_look(monkeypatch: pytest.MonkeyPatch, rows: int, seconds: float, tagged: int) -> None:
    """Let looks begin with this many rows, start no statement after this time, and take more tagged jobs for common."""
    monkeypatch.setattr(bounded_scan, "FIRST_ROWS", rows)
    monkeypatch.setattr(bounded_scan, "MOST_ROWS", 8 * rows)
    monkeypatch.setattr(bounded_scan, "LOOK_SECONDS", seconds)
    monkeypatch.setattr(bounded_scan, "MOST_TAGGED", tagged)


FAILED = (JobStatus.FAILED_PERMANENT, JobStatus.RETRYING)


@pytest.fixture
def many(conn):
    return fill(conn)


@pytest.fixture(scope="module")
def crowd(_make_migrated_database):
    """Give a connection to a database with such jobs, for tests that only read, and the jobs."""
    with closing(connect(_make_migrated_database())) as conn:
        yield conn, fill(conn)


@pytest.fixture(scope="module")
def counted_crowd(_make_migrated_database):
    """Give the same of a database whose jobs are counted."""
    with closing(connect(_make_migrated_database())) as conn:
        jobs = fill(conn)
        count_all(conn, begin(conn))
        yield conn, jobs


CONDITIONS: dict[str, Callable[[Job, Any], bool]] = {
    "kinds": lambda job, kinds: job.kind in kinds,
    "queues": lambda job, queues: job.queue in queues,
    "statuses": lambda job, statuses: job.status in statuses,
    "attempts_min": lambda job, least: job.attempts >= least,
    "error_id": lambda job, error_id: job.status in FAILED and job.last_error == str(error_id),
    "idempotency_key": lambda job, key: job.idempotency_key == key,
    "worker": lambda job, worker: job.worker_id == worker,
    "tags": lambda job, tags: not set(tags).isdisjoint(job.tags),
    "payload": lambda job, asked: all(text_at(job.payload, path.split(".")) == text for path, text in asked.items()),
    "created_after": lambda job, instant: job.created_at > instant,
    "created_before": lambda job, instant: job.created_at < instant,
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
    found = [search.list_jobs(conn, JobFilter(limit=limit, **wanted))]
    while (after := found[-1].after) and len(found) < 200:
        found.append(search.list_jobs(conn, JobFilter(limit=limit, after=after, **wanted)))
    return found
