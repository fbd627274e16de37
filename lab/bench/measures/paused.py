"""Whether a queue is drained as fast beside paused queues full of due jobs as without them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from psycopg2.extensions import connection as Connection

from lab.bench.contenders.haulier import FILL, Haulier
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.report import figure, table, targets
from lab.bench.results import Result
from lab.servers import ask, connect
from lab.waiting import until

NAME = "paused"
TITLE = "Drain of 100,000 no-op jobs beside 100 paused queues of 10,000 due jobs each"

JOBS, QUEUES, JOBS_OF_A_QUEUE = 100_000, 100, 10_000
# The first of them warms up, and does not count.
TURNS = 5
DRAIN_SECONDS, EVERY_SECONDS = 600.0, 0.02
BESIDE = """
    INSERT INTO haulier.job (kind, payload, queue, run_at)
    SELECT 'noop', jsonb_build_object('n', n), 'beside-' || n %% %s, now() + %s::interval
    FROM generate_series(1, %s) AS n
"""
PAUSE = "SELECT haulier.pause_queue('beside-' || n, NULL, NULL) FROM generate_series(0, %s - 1) AS n"
# Each half by an index: a look at all jobs would take longer than the last claim.
ANY_LEFT = """
    SELECT 1
    WHERE EXISTS (
        SELECT FROM haulier.job WHERE status IN ('queued', 'retrying') AND NOT suspect AND queue = 'default'
    ) OR EXISTS (SELECT FROM haulier.job WHERE status = 'running')
"""
LEFT = "SELECT count(*) FROM haulier.job WHERE queue = 'default'"


def entries() -> list[Entry]:
    """Return what one of two drains has beside it: nothing either, and as many jobs that are not due, or are paused."""
    return [
        Entry("alone", "nothing either", partial(once, None)),
        Entry("deferred", "1,000,000 jobs of tomorrow", partial(once, "1 day")),
        Entry("paused", "1,000,000 due jobs of 100 paused queues", partial(once, "0")),
    ]


def once(due_in: str | None, bench: Bench) -> Figures:
    """Drain two databases at the same time, several times; one has nothing else in it, the other has these jobs beside.

    Drains one after another differ by a tenth and more in how fast the machine is just then. At the same time it is as
    fast for both: what tells is how much one has settled when the other has nothing left.
    """
    jobs = bench.jobs(JOBS, least=200)
    with ExitStack() as stack:
        both = [stack.enter_context(drained(bench, beside)) for beside in (None, due_in)]
        turns = [turn(both, jobs, number % 2) for number in range(TURNS)][1:]
    ratios = [beside / alone for alone, beside in turns if alone]
    return {
        "jobs": jobs,
        "settled_alone": statistics.median(alone for alone, _ in turns),
        "settled_beside": statistics.median(beside for _, beside in turns),
        "ratio": round(statistics.median(ratios), 4) if ratios else None,
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


def turn(both: Sequence[Connection], jobs: int, first: int) -> tuple[int, int]:
    """Return how many jobs of each have been settled when one of the two has none left; and wait for the other one."""
    order = [both[first], both[1 - first]]
    for statement, parameters in (("BEGIN", None), (FILL, ("noop", jobs)), ("COMMIT", None)):
        for conn in order:
            with conn.cursor() as cursor:
                cursor.execute(statement, parameters)
    done = until(
        lambda: next((conn for conn in order if is_drained(conn)), None),
        within=DRAIN_SECONDS, every=EVERY_SECONDS, what="one of two databases is drained",
    )  # fmt: skip
    alone, beside = (jobs if conn is done else jobs - ask(conn, LEFT) for conn in both)
    for conn in both:
        until(partial(is_drained, conn), within=DRAIN_SECONDS, every=EVERY_SECONDS, what="the other one is drained")
        with conn.cursor() as cursor:
            cursor.execute("VACUUM haulier.job")
    return alone, beside


def is_drained(conn: Connection) -> bool:
    """Tell whether no job of the queue `default` is left."""
    return ask(conn, ANY_LEFT) is None


def report(result: Result) -> str:
    """Return the table and the targets."""
    columns = [
        figure("jobs", "jobs"),
        figure("settled by the one alone", "settled_alone"),
        figure("by the one beside", "settled_beside"),
        figure("ratio", "ratio", 3),
    ]
    paused = result.row("paused")
    met = paused.spread("ratio") if paused else None
    return "\n\n".join([table(result.rows, columns), targets([("beside paused / alone", met, ">=", 0.97)])])
