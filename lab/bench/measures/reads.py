"""How soon each call that only looks is answered, beside many jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.domain.act import Act
from haulier.domain.job import JobStatus
from haulier.postgres.connection import connect as own_connection
from haulier.queue import search
from haulier.queue.access.audit_log import ActionFilter, find_actions
from haulier.queue.failures.error_groups import ErrorFilter, get_error, list_errors
from haulier.queue.health import worker_list
from haulier.queue.health.database_checks import check_database
from haulier.queue.health.overview import overview
from haulier.queue.numbers.depths import count_live
from haulier.queue.numbers.stats import Shown, get_queue, list_queues, stats
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.stories import explain
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.history import RARE, filled
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_most, figure_of, greatest

NAME = "reads"
TITLE = "Calls that look, beside 1 M live and 10 M finished jobs"

READS = 40
Call = Callable[[Connection], object]
NOW = datetime.now(UTC)
FILTERS: dict[str, dict[str, Any]] = {
    "": {},
    **{f"status={status}": {"statuses": [status]} for status in JobStatus},
    "kind=kind-1": {"kinds": ["kind-1"]},
    "kind=rare": {"kinds": [RARE]},
    "kind=absent": {"kinds": ["absent"]},
    "queue=queue-1": {"queues": ["queue-1"]},
    "queue=absent": {"queues": ["absent"]},
    "tag, of 7 jobs": {"tags": [RARE]},
    "tag, of 10,000 jobs": {"tags": ["some"]},
    "tag=absent": {"tags": ["absent"]},
    "error, of 1,000 jobs": {"error_id": 1},
    "error=absent": {"error_id": -1},
    "worker=absent": {"worker": UUID(int=0)},
    "key=absent": {"idempotency_key": "absent"},
    "attempts_min=1": {"attempts_min": 1},
    "attempts_min=9": {"attempts_min": 9},
    "created_after, of an hour": {"created_after": NOW - timedelta(hours=1)},
    "created_before, of 12 hours": {"created_before": NOW - timedelta(hours=12)},
    "finished_after, of an hour": {"finished_after": NOW - timedelta(hours=1)},
    "finished_before, of 12 hours": {"finished_before": NOW - timedelta(hours=12)},
    "finished_before, of 2 days": {"finished_before": NOW - timedelta(days=2)},
    "payload.order=4711": {"payload": {"order": "4711"}},
    "payload.order=absent": {"payload": {"order": "absent"}},
}


LISTS: dict[str, Call] = {
    f"/jobs {name}".strip(): partial(search.list_jobs, wanted=JobFilter(**wanted)) for name, wanted in FILTERS.items()
}
COUNTS: dict[str, Call] = {
    f"/jobs/count {name}".strip(): partial(search.count_jobs, wanted=JobFilter(**wanted))
    for name, wanted in FILTERS.items()
}


def _of_a_job(call: Callable[..., object], conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM haulier.job WHERE status IN ('queued', 'retrying') ORDER BY created_at, id LIMIT 1"
        )
        [job_id] = cursor.fetchone() or [None]
    call(conn, job_id)


OTHERS: dict[str, Call] = {
    "/jobs/{id}": partial(_of_a_job, search.get),
    "/jobs/{id}/explain": partial(_of_a_job, partial(explain.explain, timeouts={})),
    "/stats?span=7d": partial(stats, span="7d", shown=Shown()),
    "/queues": list_queues,
    "/queues/{name}": partial(get_queue, name="queue-1"),
    "/workers": partial(worker_list.list_workers, queues=None),
    "/database": partial(check_database, retention_days=30),
}
ERRORS: dict[str, Call] = {
    "/errors?span=24h": partial(list_errors, wanted=ErrorFilter("24h")),
    "/errors?span=7d": partial(list_errors, wanted=ErrorFilter("7d")),
    "/errors?kind=kind-1": partial(list_errors, wanted=ErrorFilter("24h", kind="kind-1")),
    "/errors?queue=queue-1": partial(list_errors, wanted=ErrorFilter("24h", queue="queue-1")),
    "/errors?text=absent": partial(list_errors, wanted=ErrorFilter("24h", text="absent")),
    "/errors/{id}": partial(get_error, error_id=1, wanted=ErrorFilter("24h")),
}
AUDIT: dict[str, Call] = {
    f"/audit {name}".strip(): partial(find_actions, wanted=wanted)
    for name, wanted in {
        "": ActionFilter(),
        "actor=absent": ActionFilter(actor="absent"),
        "action=mute": ActionFilter(actions=[Act.MUTE]),
        "job=absent": ActionFilter(job_id=UUID(int=0)),
        "before, of 12 hours": ActionFilter(at_before=NOW - timedelta(hours=12)),
    }.items()
}
METRICS: dict[str, Call] = {"/metrics": partial(overview, as_counted=True)}


def entries() -> list[Entry]:
    """Return each call, and the whole look for the jobs of a rare kind."""
    calls = {**LISTS, **COUNTS, **OTHERS, **ERRORS, **AUDIT, **METRICS}
    rows = [Entry(name, f"GET {name}", partial(read, call), at_most=1) for name, call in calls.items()]
    return [*rows, Entry("rare", f"all jobs of the kind {RARE}", followed, at_most=1)]


def read(call: Call, bench: Bench) -> Figures:
    """Time a call beside a large history and many live jobs."""
    times = []
    with closing(own_connection(filled(bench))) as conn:
        # As a worker does all the time; no worker runs here.
        count_live(conn)
        for _ in range(bench.turns(READS, least=5)):
            began = time.perf_counter()
            call(conn)
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return {"p50_ms": round(times[len(times) // 2], 2), "p95_ms": round(times[int(len(times) * 0.95)], 2)}


def followed(bench: Bench) -> Figures:
    """Follow the pages of a rare kind to their end."""
    pages, jobs, after = 0, 0, None
    with closing(own_connection(filled(bench))) as conn:
        while pages == 0 or after:
            page = search.list_jobs(conn, JobFilter(kinds=[RARE], after=after))
            pages, jobs, after = pages + 1, jobs + len(page.jobs), page.after
    return {"jobs": jobs, "pages": pages}


# The page shows some calls of each sort; the targets are about all of them.
SHOWN = (
    "/jobs",
    "/jobs kind=rare",
    "/jobs tag, of 10,000 jobs",
    "/jobs payload.order=4711",
    "/jobs/count",
    "/jobs/{id}/explain",
    "/errors?span=24h",
    "/metrics",
)
TABLES = [
    PageTable(
        figure("p50 ms", "p50_ms", 1),
        figure("p95 ms", "p95_ms", 1),
        rows=lambda result: [row for row in result.rows if row.name in SHOWN or not row.figures],
    )
]
TARGETS = [
    at_most("p95 ms of the slowest list", greatest("p95_ms", *LISTS), 150),
    at_most("p95 ms of the slowest count", greatest("p95_ms", *COUNTS), 150),
    at_most("p95 ms of the slowest other call", greatest("p95_ms", *OTHERS, *AUDIT), 150),
    at_most("p95 ms of the slowest call of errors", greatest("p95_ms", *ERRORS), 300),
    at_most("p95 ms of `GET /metrics`", figure_of("/metrics", "p95_ms"), 20),
    at_most("pages of the rare kind", figure_of("rare", "pages"), 10),
]
