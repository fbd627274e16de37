"""A database in a bad night: a flood, a bad deploy, a forgotten pause, idle kinds, and then no worker is left."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims
from tests import queueing
from tests.browser.errors import BAD
from tests.browser.filled import count
from tests.conftest import sql_on

FLOODED, FLOOD = "tenant-globex", 297_297
FAILED = 3000
NEW = """
    INSERT INTO haulier.job (kind, payload, queue, tags, created_at, run_at)
    SELECT kinds[1 + n %% cardinality(kinds)], '{"order": 4711}', %s, %s::text[], created_at, now() - late
    FROM (SELECT %s::text[] AS kinds, %s::interval AS late) AS asked, generate_series(1, %s) AS n,
        -- So that they are still counted as enqueued.
        (SELECT through + interval '1 ms' AS created_at FROM haulier.counting) AS counted
"""
# All workers were killed; the queue has been paused for days.
AGED = """
    UPDATE haulier.worker SET beat_at = now() - interval '1 day' - lease;
    UPDATE haulier.pause SET since = now() - interval '2 days'
"""


def spoil(dsn: str) -> None:
    """Have all of it happen in a database that `fill` has filled."""
    with closing(connect(dsn)) as conn:
        sql = sql_on(conn)
        worker = claims.register(conn, host="dock", pid=4123, threads=8, queues=("orders",), lease_seconds=86_400)
        # The last two were used once, and not since.
        claims.introduce(conn, worker, kinds=[*BAD, "export_row", "send_email", "yearly_report"])
        sql(NEW, "orders", [], list(BAD), "1 minute", FAILED)
        while claimed := queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=("orders",), limit=500):
            settled = []
            for job in claimed:
                text = BAD[job.kind].format(n=job.id.int % 1000)
                failure = Failure(fingerprint(job.kind, text), job.queue, text)
                settled.append(Settlement(Fence.of(job), Outcome.fail_for_good(text), failure=failure))
            claims.settle(conn, settled)
        sql(NEW, FLOODED, ["tenant:globex"], ["export_row"], "9 minutes", FLOOD)
        sql(AGED)
        sql("ANALYZE haulier.job")


def count_again(dsn: str) -> None:
    """Count all jobs: what was counted a minute ago is not shown."""
    with closing(connect(dsn)) as conn:
        count(conn)
