"""`python -m lab.bench.cells`: what a job costs in one cell, and in several that share this machine.

Each cell is a server with a database and a worker. All get their jobs at the same time. One cell gets as many worker
processes as there are cores, so that it uses the whole machine as well.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from haulier.postgres.connection import connect as own_connection
from haulier.queue.upkeep.migrate import migrate
from lab.bench.contenders.haulier import FILL, Haulier, next_job
from lab.descendants import descendants
from lab.servers import Connection, Postgres, ask, connect, postgres
from lab.waiting import until

CELLS, TURNS, JOBS = 4, 5, 400_000
WITHIN = {"within": 600.0, "every": 0.1}


class Drain(NamedTuple):
    """What a drain took. Units: microseconds are of processor time, of workers and servers."""

    per_second: float
    microseconds: float


def main() -> None:
    """Read the command line, drain one cell and several by turns, and print each turn and the medians."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.cells", description=__doc__)
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--processes", type=int, default=2, help="of the worker of one cell")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--jobs", type=int, default=JOBS, help="of a drain, of all cells together")
    options = parser.parse_args()
    drains: dict[int, list[Drain]] = {1: [], options.cells: []}
    with ExitStack() as stack:
        servers = [stack.enter_context(postgres()) for _ in range(options.cells)]
        for turn in range(options.turns):
            # Which comes first changes, for a machine that becomes slower or faster meanwhile.
            for cells in sorted(drains, reverse=turn % 2 == 1):
                processes = options.processes if cells == 1 else 1
                drains[cells].append(drained(servers[:cells], options.jobs // cells, processes))
                print(f"{cells} cells: {_line([drains[cells][-1]])}", flush=True)
    for cells, found in drains.items():
        print(f"median of {cells} cells: {_line(found)}")
    several, one = (statistics.median(each.microseconds for each in drains[cells]) for cells in (options.cells, 1))
    print(f"processor time for each job, {options.cells} cells / one: {several / one:.3f}")


def _line(found: Sequence[Drain]) -> str:
    rate, cost = (statistics.median(values) for values in zip(*found, strict=True))
    return f"{rate:9,.0f} jobs/s {cost:6.1f} µs of processor time for each job"


def drained(servers: Sequence[Postgres], jobs: int, processes: int) -> Drain:
    """Drain this many jobs from a fresh cell on each of the servers."""
    with ExitStack() as stack:
        conns = []
        for number, server in enumerate(servers, start=1):
            url = stack.enter_context(server.fresh(f"cell {number}", partial(_prepare, number)))
            server.settle(url)
            conns.append(stack.enter_context(closing(connect(url))))
            stack.enter_context(Haulier(processes=processes).working(url))
        for conn in conns:
            until(
                partial(ask, conn, "SELECT count(*) >= %s FROM haulier.worker", processes), **WITHIN, what="they work"
            )
        # The workers see no job before the commits, which come at about the same time.
        for statement, parameters in (("BEGIN", ()), (FILL, ("noop", jobs))):
            for conn in conns:
                with conn.cursor() as cursor:
                    cursor.execute(statement, parameters)
        began, spent = time.perf_counter(), processor_seconds()
        for conn in conns:
            with conn.cursor() as cursor:
                cursor.execute("COMMIT")
        for conn in conns:
            until(partial(_is_drained, conn), **WITHIN, what="all jobs are taken")
        seconds, spent = time.perf_counter() - began, processor_seconds() - spent
    return Drain(jobs * len(servers) / seconds, spent / (jobs * len(servers)) * 1e6)


def _is_drained(conn: Connection) -> bool:
    return next_job(conn) == 0


def _prepare(number: int, url: str) -> None:
    with closing(own_connection(url)) as conn:
        migrate(conn, retention_days=30, cell=number)


def processor_seconds() -> float:
    """Return the processor time of all that this process has started, and of their ended children."""
    ticks = 0
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
