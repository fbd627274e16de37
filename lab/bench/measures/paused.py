"""Whether a queue is drained as fast beside paused queues full of due jobs as without them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from psycopg2.extensions import connection as Connection

from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.tables import PageTable, figure
from lab.bench.targets import at_least, figure_of
from lab.bench.two_drains import drain
from lab.servers import connect

NAME = "paused"
TITLE = "Drain of 400,000 no-op jobs beside 100 paused queues of 10,000 due jobs each"

JOBS, QUEUES, JOBS_OF_A_QUEUE = 400_000, 100, 10_000
BESIDE = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', jsonb_build_object('n', n), 'beside-' || n %% %s, now() + %s::interval
    FROM generate_series(1, %s) AS n
"""
PAUSE = "SELECT haulier.pause_queue('beside-' || n, NULL, NULL) FROM generate_series(0, %s - 1) AS n"
# Of each row: which of the two databases comes first, in turns.
_turns: dict[str | None, Iterator[int]] = defaultdict(itertools.count)


def entries() -> list[Entry]:
    """Return what one of two drains has beside it: nothing either, and as many jobs that are not due, or are paused."""
    return [
        Entry("alone", "nothing either", partial(once, None)),
        Entry("deferred", "1,000,000 jobs of tomorrow", partial(once, "1 day")),
        Entry("paused", "1,000,000 due jobs of 100 paused queues", partial(once, "0")),
    ]


def once(due_in: str | None, bench: Bench) -> Figures:
    """Drain two databases at the same time; one has nothing else in it, the other has these jobs beside."""
    jobs = bench.jobs(JOBS, least=2000)
    with ExitStack() as stack:
        both = [stack.enter_context(drained(bench, beside)) for beside in (None, due_in)]
        order = [0, 1] if next(_turns[due_in]) % 2 == 0 else [1, 0]
        alone, beside = drain(bench, both, jobs, order)
    return {
        "jobs": jobs,
        "jobs_per_second_alone": round(alone),
        "jobs_per_second": round(beside),
        "ratio": round(beside / alone, 4) if alone else None,
    }


@contextmanager
def drained(bench: Bench, due_in: str | None) -> Iterator[Connection]:
    """Yield a connection to a database whose worker takes what is put into the queue `default`."""
    worker = Haulier(processes=1)
    with worker.home(bench.server) as url, closing(connect(url)) as conn:
        with conn.cursor() as cursor:
            if due_in is not None:
                cursor.execute(BESIDE, (QUEUES, due_in, QUEUES * bench.jobs(JOBS_OF_A_QUEUE, least=10)))
            if due_in == "0":
                cursor.execute(PAUSE, (QUEUES,))
        bench.server.settle(url)
        with worker.working(url):
            yield conn


TABLES = [
    PageTable(
        figure("jobs", "jobs"),
        figure("jobs/s of the one alone", "jobs_per_second_alone"),
        figure("of the one beside", "jobs_per_second"),
        figure("ratio", "ratio", 3),
    )
]
TARGETS = [at_least("beside paused / alone", figure_of("paused", "ratio"), 0.97)]
