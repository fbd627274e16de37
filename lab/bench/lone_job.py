"""`python -m lab.bench.lone_job`: how long a lone job waits for its start in a database with many other lanes.

Each point measures two idle workers by turns. The database of one has nothing but the lone jobs, the database of the
other also has so many other lanes. A wait begins when the INSERT is committed, or when the job is due if that is later.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lab.bench import notes
from lab.bench.by_fours import whose_turn
from lab.bench.contenders.haulier import Haulier
from lab.bench.harness import Bench
from lab.bench.measures.latency import WARM_UP, paced, summary
from lab.servers import Connection, ask, connect, postgres
from lab.waiting import ROOT, pause, until

LANES = (0, 60, 64, 65, 200, 1000, 5000)
JOBS = 150
# A worker that was busy, as after the warm-up, asks to be woken again only after five seconds.
QUIET_SECONDS = 8.0
# How long before its time a job is enqueued that is due later.
LATER_SECONDS = 1.0

# What the other lanes hold: one job each, in a queue of its own.
OTHERS = {
    "paused": "VALUES (now(), false, 'queued')",
    "deferred": "VALUES (now() + interval '1 day', false, 'queued')",
    "suspect": "VALUES (now() + interval '1 day', true, 'retrying')",
    "emptied": "VALUES (now(), false, 'queued')",
}
FILL = """
    INSERT INTO haulier.job (kind, payload, queue, run_at, crashes, attempts, attempt, status)
    SELECT 'noop', jsonb_build_object('n', n), 'other-' || n, run_at, suspect::integer, suspect::integer,
        suspect::integer, status
    FROM generate_series(1, %s) AS n, ({values}) AS what (run_at, suspect, status)
"""
PAUSE = "SELECT haulier.pause_queue('other-' || n, NULL, NULL) FROM generate_series(1, %s) AS n"
# Where the lone jobs come to: the lane of the last one, a lane that has had none, or the first at a later time.
LONE = {
    "known": "INSERT INTO haulier.job (kind, payload) VALUES ('started', jsonb_build_object('n', %s))",
    "new": (
        "INSERT INTO haulier.job (kind, payload, queue)"
        " SELECT 'started', jsonb_build_object('n', n), 'new-' || n FROM (VALUES (%s)) AS the (n)"
    ),
    "later": (
        "INSERT INTO haulier.job (kind, payload, queue, run_at) SELECT 'started', jsonb_build_object('n', n),"
        f" 'later-' || n, now() + interval '{LATER_SECONDS} s' FROM (VALUES (%s)) AS the (n)"
    ),
}


@dataclass(frozen=True)
class Point:
    """What is measured together: the other lanes, how many, and the lane of the lone jobs."""

    others: str
    lanes: int
    lone: str

    def fill(self, conn: Connection) -> None:
        """Make the other lanes, of which those to be emptied are left to a worker."""
        with conn.cursor() as cursor:
            cursor.execute(FILL.format(values=OTHERS[self.others]), (self.lanes,))
            if self.others == "paused":
                cursor.execute(PAUSE, (self.lanes,))


def main() -> None:
    """Read the command line, measure, and print a line for each point."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.lone_job", description=__doc__)
    parser.add_argument("--others", nargs="+", choices=list(OTHERS), default=list(OTHERS))
    parser.add_argument("--lanes", nargs="+", type=int, default=list(LANES))
    parser.add_argument("--lone", nargs="+", choices=list(LONE), default=["known"])
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose worker is measured")
    options = parser.parse_args()
    worker = Haulier("lone job", checkout=options.checkout.resolve())
    points = [Point(each, lanes, lone) for each in options.others for lone in options.lone for lanes in options.lanes]
    print("the job  the others  lanes    alone: p50, p90, max ms      beside: p50, p90, max ms    p50 ratio")
    with postgres() as server, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        for point in points:
            alone, beside = measured(Bench(server, Path(folder)), worker, point, options.jobs)
            print(f"{point.lone:8} {point.others:10} {point.lanes:6}  {_told(alone)}  {_told(beside)}", end="")
            print(f"  {beside['p50_ms'] / alone['p50_ms']:8.2f}" if alone["p50_ms"] else "", flush=True)


def measured(bench: Bench, worker: Haulier, point: Point, jobs: int) -> list[dict[str, float]]:
    """Return the percentiles of the waits, in the database without other lanes and in the one with them."""
    with ExitStack() as stack:
        both = [_Side(stack, bench, worker, each) for each in (replace(point, lanes=0), point)]
        for side in both:
            for n in range(WARM_UP):
                side.enqueue(LONE["known"], n)
        for side in both:
            until(partial(side.has_run, WARM_UP), within=60, what="the first jobs have run")
        pause(bench.seconds(QUIET_SECONDS))
        committed = paced(
            lambda n: both[whose_turn(n[0])].enqueue(LONE[point.lone], n[0]), range(WARM_UP, WARM_UP + 2 * jobs)
        )
        late = LATER_SECONDS if point.lone == "later" else 0.0
        for side in both:
            until(partial(side.has_run, WARM_UP + jobs), within=60, what="every job has run")
        return [
            side.waits({n: at + late for n, at in committed.items() if whose_turn(n) == place})
            for place, side in enumerate(both)
        ]


class _Side:
    """A database with an idle worker, whose jobs leave notes."""

    def __init__(self, stack: ExitStack, bench: Bench, worker: Haulier, point: Point) -> None:
        url = stack.enter_context(worker.home(bench.server))
        self._conn = stack.enter_context(closing(connect(url)))
        self._notes = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)), "notes")
        point.fill(self._conn)
        bench.server.settle(url)
        stack.enter_context(worker.working(url, notes=self._notes))
        if point.others == "emptied":
            until(
                lambda: not ask(self._conn, "SELECT count(*) FROM haulier.job"), within=60, what="the lanes are empty"
            )

    def enqueue(self, statement: str, n: int) -> None:
        with self._conn.cursor() as cursor:
            cursor.execute(statement, (n,))

    def has_run(self, jobs: int) -> bool:
        return len(notes.read(self._notes)) >= jobs

    def waits(self, due: dict[int, float]) -> dict[str, float]:
        begun = {note.n: note.at for note in notes.read(self._notes)}
        return summary([begun[n] - at for n, at in due.items()])


def _told(waits: dict[str, float]) -> str:
    return "".join(f"{waits[name]:10.2f}" for name in ("p50_ms", "p90_ms", "max_ms"))


if __name__ == "__main__":
    main()
