"""Whether a queue is drained as fast beside paused queues full of due jobs as without them."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from lab.bench.contenders.haulier import FILL, Haulier, next_job
from lab.bench.harness import Bench, Entry, Figures
from lab.bench.report import figure, table, targets
from lab.bench.results import Result
from lab.servers import connect
from lab.waiting import pause, until

NAME = "paused"
TITLE = "Drain of 400,000 no-op jobs beside 100 paused queues of 10,000 due jobs each"

JOBS, QUEUES, JOBS_OF_A_QUEUE = 400_000, 100, 10_000
WARM_UP = 0.05
# A look costs some milliseconds.
EVERY_SECONDS, DRAIN_SECONDS = 1.0, 600.0
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
    """Drain two databases at the same time; one has nothing else in it, the other has these jobs beside.

    Drains one after another differ by a tenth and more in how fast the machine is just then. At the same time it is as
    fast for both: what tells is how many jobs of each are taken from soon after the first until one has no more.
    """
    jobs = bench.jobs(JOBS, least=2000)
    with ExitStack() as stack:
        both = [stack.enter_context(drained(bench, beside)) for beside in (None, due_in)]
        order = [0, 1] if next(_turns[due_in]) % 2 == 0 else [1, 0]
        fill([both[place] for place in order], jobs)
        alone, beside = taken(partial(_looks, both, order), jobs, bench.seconds(EVERY_SECONDS))
        for conn in both:
            until(partial(_is_drained, conn), within=DRAIN_SECONDS, what="the other one is drained")
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


def fill(both: Sequence[Connection], jobs: int) -> None:
    """Give both their jobs at about the same time."""
    for statement, parameters in (("BEGIN", None), (FILL, ("noop", jobs)), ("COMMIT", None)):
        for conn in both:
            with conn.cursor() as cursor:
                cursor.execute(statement, parameters)


class Look(NamedTuple):
    """The number of a database's next job, 0 where none is left, and when it was asked for."""

    number: int
    time: float


def taken(look: Callable[[], Sequence[Look]], jobs: int, every: float) -> tuple[float, float]:
    """Return how many jobs a second each takes, from soon after the first until one has no more. Units: seconds."""
    until(
        lambda: all(not at.number or at.number > jobs * WARM_UP for at in look()),
        within=DRAIN_SECONDS, every=every / 10, what="both take jobs",
    )  # fmt: skip
    first = now = look()
    while True:
        last = now
        pause(max(0.0, last[0].time + every - time.perf_counter()))
        now = look()
        if not all(at.number for at in now):
            break
    alone, beside = (
        (b.number - a.number) / (b.time - a.time) if b.time > a.time else 0.0 for a, b in zip(first, last, strict=True)
    )
    return alone, beside


def _looks(both: Sequence[Connection], order: Sequence[int]) -> list[Look]:
    found = {place: Look(next_job(both[place]), time.perf_counter()) for place in order}
    return [found[place] for place in range(2)]


def _is_drained(conn: Connection) -> bool:
    return next_job(conn) == 0


def report(result: Result) -> str:
    """Return the table and the targets."""
    columns = [
        figure("jobs", "jobs"),
        figure("jobs/s of the one alone", "jobs_per_second_alone"),
        figure("of the one beside", "jobs_per_second"),
        figure("ratio", "ratio", 3),
    ]
    paused = result.row("paused")
    met = paused.spread("ratio") if paused else None
    return "\n\n".join([table(result.rows, columns), targets([("beside paused / alone", met, ">=", 0.97)])])
