"""`python -m lab.bench.beside CHECKOUT [CHECKOUT]`: compares the speed of a checkout with another one.

The second checkout is this one by default. Both run on one server, each on a database of its own, at the same time or
by short turns: of two runs one after the other one is as much slower as the machine happens to be just then, a fifth.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from lab.bench import load, notes
from lab.bench.by_fours import by_fours, whose_turn
from lab.bench.contenders.haulier import FILL, Haulier, next_job
from lab.bench.harness import Bench
from lab.bench.measures import insert, post
from lab.bench.measures.enqueue import LINES, send, serving
from lab.bench.measures.latency import ENQUEUE, WARM_UP, paced, summary
from lab.servers import connect, postgres
from lab.waiting import ROOT, pause, until

TURNS = 6
DRAINED, STARTED = 400_000, 500
POSTS_SECONDS, INSERTS_SECONDS = 2.0, 3.0
# So many times four of these in each turn.
FOURS, FOURS_OF_BATCHES = 2, 6
# A look costs some milliseconds.
EVERY_SECONDS, DRAIN_SECONDS = 1.0, 600.0
# Both drains are measured from the time when this share of their jobs is taken.
TAKEN_FIRST = 0.05
# A worker that was busy, as after the warm-up, asks to be woken again only after five seconds.
QUIET_SECONDS = 8.0

Two = tuple[float, float]


def main() -> None:
    """Read the command line, measure, and print a line for each turn of each measure, and then one for all turns."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.beside", description=__doc__)
    parser.add_argument("checkout", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of jobs, for a short look")
    options = parser.parse_args()
    paths = [path.resolve() for path in [*options.checkout, ROOT][:2]]
    with postgres() as server, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        bench = Bench(server, Path(folder), scale=options.scale)
        found = compared(bench, paths, options.only, options.turns)
    print(f"\n{paths[1].name} is so many times as fast as {paths[0].name}:")
    for name, ratios in found.items():
        print(f"{name:8} {statistics.median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})")


def compared(bench: Bench, paths: Sequence[Path], names: Sequence[str], turns: int) -> dict[str, list[float]]:
    """Return how many times as fast as the first checkout the second is, by measure, for each turn."""
    sides = [Haulier(f"checkout {place}", checkout=path) for place, path in enumerate(paths)]
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        for name, found in ratios.items():
            measure = MEASURES[name]
            # The two swap places after each turn.
            if turn % 2 == 0:
                first, second = measure.take(bench, sides)
            else:
                second, first = measure.take(bench, sides[::-1])
            found.append(measure.faster(first, second))
            print(f"{name:8} {first:12,.2f} {second:12,.2f} {measure.unit:10} {found[-1]:.3f}", flush=True)
    return ratios


def drained(bench: Bench, sides: Sequence[Haulier]) -> Two:
    """Drain both at the same time, each by two processes."""
    with ExitStack() as stack:
        both = []
        for side in sides:
            url = stack.enter_context(_settled(bench, side))
            stack.enter_context(replace(side, processes=2).working(url))
            both.append(stack.enter_context(closing(connect(url))))
        return drain_both(bench, both, bench.jobs(DRAINED, least=20_000))


class Look(NamedTuple):
    """The number of a database's next job, 0 if none is left, and when it was read."""

    number: int
    time: float


def drain_both(bench: Bench, both: Sequence[Connection], jobs: int) -> Two:
    """Drain two databases at the same time, and return how many jobs a second are taken from each.

    Of two drains one after the other, one may be a tenth faster only because the machine is. At the same time the
    machine is equally fast for both.
    """
    _fill(both, jobs)
    first, second = taken(lambda: [_look(conn) for conn in both], jobs, bench.seconds(EVERY_SECONDS))
    for conn in both:
        until(partial(_is_drained, conn), within=DRAIN_SECONDS, what="the other one is drained")
    return first, second


def _fill(both: Sequence[Connection], jobs: int) -> None:
    """Give both their jobs at about the same time."""
    for statement, parameters in (("BEGIN", None), (FILL, ("noop", jobs)), ("COMMIT", None)):
        for conn in both:
            with conn.cursor() as cursor:
                cursor.execute(statement, parameters)


def taken(look: Callable[[], Sequence[Look]], jobs: int, every: float) -> Two:
    """Return how many jobs a second each takes, from soon after the first until one has no more. Units: seconds."""
    until(
        lambda: all(not at.number or at.number > jobs * TAKEN_FIRST for at in look()),
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


def _look(conn: Connection) -> Look:
    return Look(next_job(conn), time.perf_counter())


def _is_drained(conn: Connection) -> bool:
    return next_job(conn) == 0


def posted(bench: Bench, sides: Sequence[Haulier]) -> Two:
    """POST single jobs on several connections, by turns."""
    with _both_serving(bench, sides) as ports:

        def once(place: int, seconds: float = max(1.0, bench.seconds(POSTS_SECONDS))) -> float:
            sent = load.post(ports[place], "/jobs", post.BODY, connections=post.CONNECTIONS, seconds=seconds)
            return sent["per_second"]

        for place in (0, 1):
            once(place, post.WARM_UP_SECONDS)
        return _means(once, bench.turns(FOURS))


def sent_in_batches(bench: Bench, sides: Sequence[Haulier]) -> Two:
    """POST batches of NDJSON, by turns."""
    jobs = bench.jobs(LINES, least=100)
    body = "\n".join(json.dumps({"kind": "noop", "payload": {"n": n}}) for n in range(jobs)).encode()
    with _both_serving(bench, sides) as ports:

        def once(place: int) -> float:
            return jobs / send(ports[place], [body])

        for place in (0, 1):
            once(place)
        return _means(once, bench.turns(FOURS_OF_BATCHES))


def inserted(bench: Bench, sides: Sequence[Haulier]) -> Two:
    """INSERT single jobs by 16 clients, by turns, while each side's workers have no free thread."""
    with ExitStack() as stack:
        urls = []
        for side in sides:
            urls.append(stack.enter_context(_settled(bench, side)))
            stack.enter_context(insert.working(urls[-1], busy=True, checkout=side.checkout))
        seconds = bench.seconds(INSERTS_SECONDS)
        return _means(lambda place: insert.inserts_per_second(urls[place], seconds), bench.turns(FOURS))


def started(bench: Bench, sides: Sequence[Haulier]) -> Two:
    """Enqueue for one and for the other at an even pace, and return the median waits for their handlers."""
    jobs = max(20, int(STARTED * bench.scale))
    with ExitStack() as stack:
        both = [_idle(bench, side, stack) for side in sides]
        for cursor, path in both:
            for n in range(WARM_UP):
                cursor.execute(ENQUEUE["haulier"], (n,))
            until(partial(_has, path, WARM_UP), within=60, what="the first jobs have run")
        pause(bench.seconds(QUIET_SECONDS))
        numbers = range(WARM_UP, WARM_UP + 2 * jobs)
        # Neither side always comes right after the other.
        committed = paced(lambda n: both[whose_turn(n[0])][0].execute(ENQUEUE["haulier"], n), numbers)
        found = []
        for place, (_, path) in enumerate(both):
            until(partial(_has, path, WARM_UP + jobs), within=60, what="every job has run")
            begun = {note.n: note.at for note in notes.read(path)}
            waits = [begun[n] - at for n, at in committed.items() if whose_turn(n) == place]
            found.append(summary(waits)["p50_ms"])
    return found[0], found[1]


class Compared(NamedTuple):
    """What a turn measures of both."""

    take: Callable[[Bench, Sequence[Haulier]], Two]
    unit: str
    is_a_wait: bool = False

    def faster(self, first: float, second: float) -> float:
        """Return how many times as fast as the first the second is; infinite if the divisor is 0."""
        above, below = (first, second) if self.is_a_wait else (second, first)
        return above / below if below else math.inf


MEASURES = {
    "drain": Compared(drained, "jobs/s"),
    "post": Compared(posted, "requests/s"),
    "batch": Compared(sent_in_batches, "jobs/s"),
    "insert": Compared(inserted, "INSERTs/s"),
    "start": Compared(started, "ms p50", is_a_wait=True),
}


def _means(once: Callable[[int], float], fours: int) -> Two:
    first, second = by_fours(once, fours)
    return statistics.mean(first), statistics.mean(second)


@contextmanager
def _settled(bench: Bench, side: Haulier) -> Iterator[str]:
    with side.home(bench.server) as url:
        bench.server.settle(url)
        yield url


@contextmanager
def _both_serving(bench: Bench, sides: Sequence[Haulier]) -> Iterator[list[int]]:
    with ExitStack() as stack:
        urls = [stack.enter_context(_settled(bench, side)) for side in sides]
        yield [stack.enter_context(serving(url, checkout=side.checkout)) for url, side in zip(urls, sides, strict=True)]


def _idle(bench: Bench, side: Haulier, stack: ExitStack) -> tuple[Cursor, Path]:
    """Return a cursor on the database of an idle worker, and the file of its jobs' notes."""
    url = stack.enter_context(_settled(bench, side))
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)), "notes")
    stack.enter_context(side.working(url, notes=path))
    return stack.enter_context(closing(connect(url))).cursor(), path


def _has(path: Path, jobs: int) -> bool:
    return len(notes.read(path)) >= jobs


if __name__ == "__main__":
    main()
