"""What open tabs of the dashboard take from a drain, from POSTs, from lone INSERTs and from how soon a job starts.

Of two servers one is as much slower than the other as any tabs could make it: so each goes by turns on one server.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from psycopg2.extensions import connection as Connection

from lab.bench import load, notes
from lab.bench.by_fours import ORDER, by_fours, means
from lab.bench.contenders.haulier import Haulier, next_job
from lab.bench.harness import Bench, Figures
from lab.bench.measures.enqueue import serving
from lab.bench.measures.latency import ENQUEUE, WARM_UP, paced, summary
from lab.bench.measures.post import BODY, CONNECTIONS, SECONDS, WARM_UP_SECONDS
from lab.bench.open_tabs import TABS, watched
from lab.servers import connect
from lab.waiting import alive, pause, until

# Ten times as many as other drains have, so that there are several spells without tabs, and beside them.
DRAINED, SPELL_SECONDS, LEAST_SECONDS = 1_000_000, 1.5, 0.15
# So many times four turns.
FOURS, FOURS_OF_LATENCY = 6, 3
STARTED = 100
NOOP = "INSERT INTO haulier.job (kind, payload) VALUES ('noop', '{}')"


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
    """Return how many jobs a second are taken during so many; None where the last one was."""
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
            return _rates(*_by_turns(tabs, bench, FOURS, lambda: send(seconds=seconds)["per_second"]))


def insert(bench: Bench) -> Figures:
    """INSERT one job after the other, each in a transaction of its own, which an idle worker takes."""
    seconds = bench.seconds(SPELL_SECONDS, least=LEAST_SECONDS)
    with _idle(bench) as (conn, tabs, _):
        return _rates(*_by_turns(tabs, bench, FOURS, partial(_inserted_a_second, conn, seconds)))


def _inserted_a_second(conn: Connection, seconds: float) -> float:
    began, jobs = time.perf_counter(), 0
    with conn.cursor() as cursor:
        while time.perf_counter() - began < seconds:
            cursor.execute(NOOP)
            jobs += 1
    return jobs / (time.perf_counter() - began)


def latency(bench: Bench) -> Figures:
    """Enqueue jobs at an even pace, and tell how long after its commit the median one starts."""
    with _idle(bench) as (conn, tabs, path), conn.cursor() as cursor:
        jobs = bench.turns(STARTED, least=10)
        ran = [0]

        def waited(jobs: int) -> float:
            numbers = range(ran[0], ran[0] + jobs)
            committed = paced(partial(cursor.execute, ENQUEUE["haulier"]), numbers)
            ran[0] += jobs
            until(lambda: len(notes.read(path)) >= ran[0], within=60, what="every job has run")
            begun = {note.n: note.at for note in notes.read(path)}
            return summary([begun[n] - at for n, at in committed.items()])["p50_ms"]

        waited(WARM_UP)
        alone, beside = _by_turns(tabs, bench, FOURS_OF_LATENCY, partial(waited, jobs))
    return {
        "wait_ms": round(statistics.mean(beside), 3),
        "wait_ms_alone": round(statistics.mean(alone), 3),
        "of_alone": median_ratio(alone, beside),
    }


@contextmanager
def _idle(bench: Bench) -> Iterator[tuple[Connection, threading.Event, Path]]:
    """Give a connection to a database whose worker has nothing to do, its open tabs, and where its jobs leave notes."""
    worker = Haulier()
    with ExitStack() as stack:
        url = stack.enter_context(worker.home(bench.server))
        bench.server.settle(url)
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="haulier-bench-")), "notes")
        port = stack.enter_context(serving(url))
        tabs = stack.enter_context(watched(port, TABS))
        stack.enter_context(worker.working(url, notes=path))
        yield stack.enter_context(closing(connect(url))), tabs, path


def _by_turns(
    tabs: threading.Event, bench: Bench, fours: int, measure: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return what is measured while nobody asks for news, and while tabs do."""

    def once(asking: int) -> float:
        _let_ask(tabs, asking)
        return measure()

    return by_fours(once, bench.turns(fours))


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
