"""What it costs to count what comes and ends, and how quickly the counts are read."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from uuid import uuid4

from haulier.domain.span import SPANS
from haulier.postgres.connection import connect as own_connection
from haulier.queue.produce.stats import Shown, list_queues, stats
from haulier.queue.upkeep import error_counts, numbers
from lab.bench.contenders.haulier import Haulier, prepare
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.measures.drain import once as drained
from lab.bench.measures.insert import SECONDS, inserts_per_second, working
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, at_most, figure_of, ratio
from lab.servers import connect, tool

NAME = "numbers"
TITLE = "What the numbers cost a job, and how quickly they are read beside 1 M live and 10 M finished jobs"

LIVE, FINISHED, OVER_SECONDS = 1_000_000, 10_000_000, 86_400
PAIRS, GROUPS, READS, COUNTED = 20, 200, 100, 200_000
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


def entries() -> list[Entry]:
    """Return drains and INSERTs with and without counting, in turns, the count alone, and each call that reads."""
    missing = None if tool("pgbench") else "pgbench is not installed"
    rows = [
        Entry(f"drain-{how}", f"drain, COUNTING={how}", partial(drained, _worker(how)), settings={"COUNTING": how})
        for how in ("on", "off")
    ]
    rows += [
        Entry(f"insert-{how}", f"INSERTs by 16 clients, COUNTING={how}", partial(insert, how), missing)
        for how in ("on", "off")
    ]
    rows.append(Entry("count", "counting alone, in spans of 20 s", count))
    reads: dict[str, Callable[..., object]] = {
        f"/stats?span={span}": partial(stats, span=span, shown=Shown()) for span in SPANS
    }
    reads |= {"/queues": list_queues, "count of the live jobs": numbers.count_live}
    return rows + [Entry(name, name, partial(read, call), at_most=1) for name, call in reads.items()]


def _worker(counting: str) -> Haulier:
    return Haulier("haulier", "Haulier", processes=2, settings={"COUNTING": counting})


def insert(counting: str, bench: Bench) -> Figures:
    """INSERT for some seconds, beside busy workers."""
    with Haulier().home(bench.server) as url, working(url, busy=True, settings={"COUNTING": counting}):
        bench.server.settle(url)
        # Long enough for at least one count.
        return {"per_second": inserts_per_second(url, max(1.0, 5 * SECONDS * bench.scale))}


def count(bench: Bench) -> Figures:
    """Count jobs that ended within a minute, as often as a worker does."""
    jobs = bench.jobs(COUNTED)
    with Haulier().home(bench.server) as url:
        _fill(url, jobs, 60, 0)
        with closing(own_connection(url)) as conn:
            while not numbers.summarize(conn):
                pass
            counter = uuid4()
            numbers.counting_ends_in(conn)
            while (counted := numbers.count(conn, counter=counter)) and counted.is_behind:
                pass
            with conn.cursor() as cursor:
                cursor.execute(
                    "TRUNCATE haulier.rollup; UPDATE haulier.counting SET through = through - interval '70 s',"
                    " folded = date_bin('1 minute', through - interval '2 minutes', 'epoch')"
                )
            began = time.perf_counter()
            numbers.count(conn, counter=counter)
            seconds = time.perf_counter() - began
    # Of each job its arrival and its end are counted, each twice by a worker, and once more an hour later.
    return {"us_a_job": round(3e6 * seconds / jobs, 2)}


def read(call: Callable[..., object], bench: Bench, *, reads: int = READS) -> Figures:
    """Time a call beside a large history and many live jobs."""
    times = []
    with closing(own_connection(filled(bench))) as conn:
        # As a worker does all the time, of which there is none here.
        numbers.count_live(conn)
        for _ in range(max(5, int(reads * min(1.0, bench.scale * 10)))):
            began = time.perf_counter()
            call(conn)
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return {"p50_ms": round(times[len(times) // 2], 2), "p95_ms": round(times[int(len(times) * 0.95)], 2)}


def filled(bench: Bench) -> str:
    """Return the URL of a database with many jobs that were counted, made once for all who read it."""
    return bench.server.kept(f"numbers {bench.scale:g}", partial(_prepare_to_read, bench))


def _prepare_to_read(bench: Bench, url: str) -> None:
    prepare(url)
    _fill(url, bench.jobs(FINISHED), OVER_SECONDS, bench.jobs(LIVE))
    # While a vacuum of its own accord is under way, the index of what ended learns nothing.
    bench.server.settle(url)
    with closing(own_connection(url)) as conn:
        while not numbers.summarize(conn):
            pass
        counter = uuid4()
        numbers.counting_ends_in(conn)
        # In smaller spans than at a first start, each of which has 5 s.
        while (counted := numbers.count(conn, counter=counter, most_seconds=600)) and counted.is_behind:
            pass
        numbers.count_live(conn)
        with conn.cursor() as cursor:
            # As if it had been counted again as it went, an hour later.
            cursor.execute("UPDATE haulier.counting SET recounted = folded - interval '1 hour'")
        for _ in range(10):
            numbers.fold(conn, retention_days=30)
            error_counts.fold(conn)
    bench.server.settle(url)


def _fill(url: str, finished: int, over_seconds: float, live: int) -> None:
    with closing(connect(url)) as conn, conn.cursor() as cursor:
        cursor.execute(HISTORY)
        told = {"over": over_seconds, "groups": GROUPS}
        cursor.execute(FILL_FINISHED, {**told, "jobs": finished})
        cursor.execute(FILL_LIVE, {**told, "jobs": live})
        cursor.execute(FILL_ERRORS, {**told, "jobs": live})
        cursor.execute(FILL_AUDIT, {**told, "jobs": live})


TABLES = [
    PageTable(
        figure("jobs/s", "jobs_per_second"),
        figure("INSERTs/s", "per_second"),
        figure("µs a job", "us_a_job", 1),
        figure("p50 ms", "p50_ms", 1),
        figure("p95 ms", "p95_ms", 1),
    )
]
TARGETS = [
    at_least("drain, with / without", ratio("jobs_per_second", "drain-on", "drain-off"), 0.95),
    at_least("INSERTs, with / without", ratio("per_second", "insert-on", "insert-off"), 0.95),
    *(
        at_most(f"p95 ms of `GET {name}`", figure_of(name, "p95_ms"), 150)
        for name in [*(f"/stats?span={span}" for span in SPANS), "/queues"]
    ),
]
