"""`python -m lab.bench.beside CHECKOUT [CHECKOUT]`: compares how soon a lone job starts in two checkouts.

The workers of both run at once, and get jobs alternately: on a machine whose clock frequency changes, two runs one
after the other differ by a fifth. The second checkout is this one by default. The two swap places after each turn.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from lab.bench import notes
from lab.bench.contenders.haulier import PYTHON
from lab.bench.measures.latency import ENQUEUE, WARM_UP, paced, summary
from lab.servers import Postgres, connect, free_port, postgres
from lab.waiting import ROOT, environment, pause, processes, until

# A worker that was busy, as after the warm-up, asks to be woken again only after five seconds.
QUIET_SECONDS = 8.0


def main() -> None:
    """Read the command line, measure, and print a line for each side of each turn."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench.beside", description=__doc__)
    parser.add_argument("checkout", type=Path, nargs="+")
    parser.add_argument("--jobs", type=int, default=1500, help="for each side, in each turn")
    parser.add_argument("--turns", type=int, default=4)
    options = parser.parse_args()
    first, second = [path.resolve() for path in [*options.checkout, ROOT][:2]]
    ratios = []
    for turn in range(options.turns):
        pair = [first, second] if turn % 2 == 0 else [second, first]
        with postgres() as server:
            found = dict(zip(pair, side_by_side(server, pair, options.jobs), strict=True))
        for path in (first, second):
            print(f"{path.name:20} {found[path]}", flush=True)
        ratios.append(found[first]["p50_ms"] / found[second]["p50_ms"])
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})"
    print(f"p50 of {first.name} / p50 of {second.name}: {spread}")


def side_by_side(server: Postgres, checkouts: Sequence[Path], jobs: int) -> list[dict[str, float]]:
    """Return a summary of the waits of each checkout's jobs."""
    with tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder, ExitStack() as stack:
        sides = [_start(server, path, Path(folder, str(place)), stack) for place, path in enumerate(checkouts)]
        for cursor, path in sides:
            for n in range(WARM_UP):
                cursor.execute(ENQUEUE["haulier"], (n,))
            until(partial(_has, path, WARM_UP), within=60, what="the first jobs have run")
        pause(QUIET_SECONDS)
        numbers = range(WARM_UP, WARM_UP + 2 * jobs)
        committed = paced(lambda n: sides[_turn(n[0])][0].execute(ENQUEUE["haulier"], n), numbers)
        found = []
        for place, (_, path) in enumerate(sides):
            mine = {n: at for n, at in committed.items() if _turn(n) == place}
            until(partial(_has, path, WARM_UP + jobs), within=60, what="every job has run")
            begun = {note.n: note.at for note in notes.read(path)}
            found.append(summary([begun[n] - at for n, at in mine.items()]))
        return found


def _has(path: Path, jobs: int) -> bool:
    return len(notes.read(path)) >= jobs


def _turn(n: int) -> int:
    # 0, 1, 1, 0: neither side always comes right after the other.
    return (n % 2) ^ (n // 2 % 2)


def _start(server: Postgres, checkout: Path, notes_path: Path, stack: ExitStack) -> tuple[Cursor, Path]:
    def prepare(url: str) -> None:
        env = {**environment(), "DATABASE_URL": url}
        # `-m app` and not `-m haulier`: older checkouts know only this name.
        subprocess.run([PYTHON, "-m", "app", "migrate"], cwd=checkout, env=env, check=True, capture_output=True)

    url = stack.enter_context(server.fresh(f"beside {notes_path.name}", prepare))
    # A checkout from before lab/ existed has bench/ at its top.
    kinds = "lab.bench.kinds" if (checkout / "lab").is_dir() else "bench.kinds"
    env = {
        "DATABASE_URL": url, "HAULIER_KINDS": kinds, "PYTHONPATH": str(checkout), "WORKER_THREADS": "16",
        "WORKER_PROCESSES": "1", "WORKER_METRICS_PORT": str(free_port()), "BENCH_NOTES": str(notes_path),
    }  # fmt: skip
    stack.enter_context(processes([[PYTHON, "worker.py"]], env, cwd=checkout))
    return connect(url).cursor(), notes_path


if __name__ == "__main__":
    main()
