"""A database with a large history and many live jobs, all counted; `reads` and `dashboard` measure beside it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from uuid import uuid4

from haulier.postgres.connection import connect as own_connection
from haulier.queue.failures import error_counts
from haulier.queue.numbers import counts, depths
from lab.bench.contenders.haulier import prepare
from lab.bench.harness import Bench
from lab.servers import connect

LIVE, FINISHED, OVER_SECONDS, GROUPS = 1_000_000, 10_000_000, 86_400, 200
# A kind, and a tag, of which seven jobs have ended.
RARE = "rare"
HISTORY = """
    DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_of_the_bench PARTITION OF haulier.finished_job
        FOR VALUES FROM (%L) TO (%L)', now() - interval '3 days',
        date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'); END $$
"""
# In the order in which they ended, with payloads of their usual size.
FILL_FINISHED = """
    INSERT INTO haulier.finished_job (
        id, status, kind, queue, priority, run_at, attempt, claim, started_at, attempts, max_attempts, crashes, snoozes,
        cancel_requested, payload, errors, created_at, updated_at, finished_at, error_id, tags)
    SELECT haulier.uuidv7(), CASE WHEN n %% 50 = 0 THEN 'failed_permanent' ELSE 'succeeded' END,
        CASE WHEN n %% greatest(1, %(jobs)s / 7) = 3 THEN 'rare' ELSE 'kind-' || n %% 5 END,
        'queue-' || n %% 4, 0, at - interval '2 s', 1, gen_random_uuid(), at - ran, 1, 3, 0, 0, false,
        '{"to": "ann@example.com", "order": 4711}', '[]', at - interval '2 s', at, at,
        CASE WHEN n %% 50 = 0 THEN n / 50 %% %(groups)s END,
        CASE WHEN n %% greatest(1, %(jobs)s / 7) = 3 THEN '{rare}'::text[] WHEN n %% 1000 = 0 THEN '{some}' END
    FROM generate_series(1, %(jobs)s) AS n
    CROSS JOIN LATERAL (
        SELECT now() - %(over)s * interval '1 s' * (1 - n / %(jobs)s::double precision) AS at,
            interval '1 ms' * exp(7 * random()) AS ran
    ) AS instant
    ORDER BY n
"""
FILL_LIVE = """
    INSERT INTO haulier.job (kind, queue, payload, run_at, created_at)
    SELECT 'kind-' || n %% 5, 'queue-' || n %% 4, '{"to": "ann@example.com"}',
        now() + interval '1 s' * (n %% 7200 - 3600),
        now() - %(over)s * interval '1 s' * (1 - n / %(jobs)s::double precision)
    FROM generate_series(1, %(jobs)s) AS n
"""
# As many failed attempts as there are live jobs, each at random in one of the groups and queues; in the order of time,
# as workers write them.
FILL_ERRORS = """
    INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)
    SELECT n, 'kind-' || n %% 5, 'ValueError: no such order …', 'ValueError: no such order 4711', gen_random_uuid(),
        'queue-' || n %% 4, now() - %(over)s * interval '1 s'
    FROM generate_series(0, %(groups)s - 1) AS n;
    INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)
    SELECT error_id, minute, queue, 0, 0, count(*)
    FROM (
        SELECT floor(random() * %(groups)s) AS error_id, 'queue-' || floor(random() * 4) AS queue,
            date_trunc('minute', now() - random() * %(over)s * interval '1 s') AS minute
        FROM generate_series(1, %(jobs)s)
    ) AS failure
    GROUP BY error_id, minute, queue
    ORDER BY minute
"""
# As many entries of the record, of which seven are of a rare action and actor.
FILL_AUDIT = """
    INSERT INTO haulier.audit (at, actor, action, job_id, target)
    SELECT now() - %(over)s * interval '1 s' * (1 - n / %(jobs)s::double precision),
        CASE WHEN is_rare THEN 'rare' ELSE 'key' || n %% 20 END, CASE WHEN is_rare THEN 'mute' ELSE 'retry' END,
        CASE WHEN NOT is_rare THEN gen_random_uuid() END, CASE WHEN is_rare THEN '0000000000000001' END
    FROM generate_series(1, %(jobs)s) AS n
    CROSS JOIN LATERAL (SELECT n %% greatest(1, %(jobs)s / 7) = 3 AS is_rare) AS entry
"""


def filled(bench: Bench) -> str:
    """Return the URL of a database with many jobs that were counted, made once for all who read it."""
    return bench.server.kept(f"history {bench.scale:g}", partial(_prepare, bench))


def _prepare(bench: Bench, url: str) -> None:
    prepare(url)
    _fill(url, bench.jobs(FINISHED), bench.jobs(LIVE))
    # While a vacuum of its own accord is under way, the index of what ended learns nothing.
    bench.server.settle(url)
    with closing(own_connection(url)) as conn:
        while not counts.summarize(conn):
            pass
        counter = uuid4()
        counts.counting_ends_in(conn)
        # In smaller spans than at a first start, each of which has 5 s.
        while (counted := counts.count(conn, counter=counter, most_seconds=600)) and counted.is_behind:
            pass
        depths.count_live(conn)
        with conn.cursor() as cursor:
            # As if it had been counted again as it went, an hour later.
            cursor.execute("UPDATE haulier.counting SET recounted = folded - interval '1 hour'")
        for _ in range(10):
            counts.fold(conn, retention_days=30)
            error_counts.fold(conn)
    bench.server.settle(url)


def _fill(url: str, finished: int, live: int) -> None:
    shared = {"over": OVER_SECONDS, "groups": GROUPS}
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute(HISTORY)
        for statement, jobs in ((FILL_FINISHED, finished), (FILL_LIVE, live), (FILL_ERRORS, live), (FILL_AUDIT, live)):
            cursor.execute(statement, {**shared, "jobs": jobs})
