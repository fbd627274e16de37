"""What open tabs of the dashboard take from a drain, from POSTs and from INSERTs.

Of two servers one is as much slower than the other as any tabs could make it: so each goes by turns on one server.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import closing
from functools import partial

from psycopg2.extensions import connection as Connection

from lab.bench import load
from lab.bench.by_fours import ORDER, by_fours, means
from lab.bench.contenders.haulier import Haulier, next_job
from lab.bench.harness import Bench, Figures
from lab.bench.measures.enqueue import serving
from lab.bench.measures.insert import inserts_per_second, working
from lab.bench.measures.post import BODY, CONNECTIONS, SECONDS, WARM_UP_SECONDS
from lab.bench.open_tabs import TABS, watched
from lab.servers import connect
from lab.waiting import alive, pause, until

# Ten times as many as other drains have, so that there are several spells without tabs, and beside them.
DRAINED, SPELL_SECONDS, LEAST_SECONDS = 1_000_000, 1.5, 0.15
# Each turn of INSERTs lasts as long as the tabs take to ask once each.
INSERT_SECONDS = 5.0
# How many times four turns are measured.
FOURS = 6


def drain(bench: Bench) -> Figures:
    """Drain a database."""
    jobs = bench.jobs(DRAINED, least=60_000)
    worker = Haulier(processes=2)
    found: list[float] = []
    with worker.home(bench.server) as url, closing(connect(url)) as conn:
        worker.fill(url, jobs)
        bench.server.settle(url)
        with serving(url) as port, watched(port, TABS) as tabs, worker.working(url) as started:
            until(alive(started, lambda: next_job(conn) > 1), within=60, every=0.01, what="the first job is taken")
            seconds = bench.seconds(SPELL_SECONDS, least=LEAST_SECONDS)
            tabs.clear()
            # The first spell warms up.
            _taken_a_second(conn, seconds)
            while (taken := _taken_a_second(conn, seconds)) is not None:
                found.append(taken)
                _let_ask(tabs, ORDER[len(found) % len(ORDER)])
    return {"jobs": jobs, **_rates(*means(found))}


def _taken_a_second(conn: Connection, seconds: float) -> float | None:
    """Return how many jobs a second are taken meanwhile; None once the last one is taken."""
    at, first = time.perf_counter(), next_job(conn)
    pause(seconds)
    last = next_job(conn)
    took = time.perf_counter() - at
    return (last - first) / took if last else None


def post(bench: Bench) -> Figures:
    """POST jobs on several connections."""
    with Haulier().home(bench.server) as url:
        bench.server.settle(url)
        with serving(url) as port, watched(port, TABS) as tabs:
            send = partial(load.post, port, "/jobs", BODY, connections=CONNECTIONS)
            send(seconds=WARM_UP_SECONDS)
            seconds = max(1, SECONDS * bench.scale / 2)

            def once(asking: int) -> float:
                _let_ask(tabs, asking)
                return send(seconds=seconds)["per_second"]

            return _rates(*by_fours(once, bench.turns(FOURS)))


def insert(bench: Bench) -> Figures:
    """INSERT jobs from several clients, while every thread of the workers is busy."""
    with Haulier().home(bench.server) as url, working(url, busy=True):
        bench.server.settle(url)
        with serving(url) as port, watched(port, TABS) as tabs:
            seconds = max(1.0, INSERT_SECONDS * bench.scale)

            def once(asking: int) -> float:
                _let_ask(tabs, asking)
                return inserts_per_second(url, seconds)

            return _rates(*by_fours(once, bench.turns(FOURS)))


def _let_ask(tabs: threading.Event, asking: int) -> None:
    """Have tabs ask for news, or not."""
    (tabs.set if asking else tabs.clear)()


def _rates(alone: list[float], beside: list[float]) -> Figures:
    """Return the means without and beside tabs, and the median of the ratios."""
    return {
        "per_second": round(statistics.mean(beside), 1),
        "per_second_alone": round(statistics.mean(alone), 1),
        "of_alone": median_ratio(beside, alone),
    }


def median_ratio(dividends: list[float], divisors: list[float]) -> float | None:
    """Return the median ratio; None if there is none: a short turn on a busy machine may measure 0."""
    ratios = [a / b for a, b in zip(dividends, divisors, strict=True) if b]
    return round(statistics.median(ratios), 4) if ratios else None
