"""`python -m lab.bench [MEASURE …]` takes measures and draws docs/benchmarks.md; `--draw` only draws."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.bench import harness, report, results
from lab.bench.measures import ALL
from lab.servers import postgres


def main() -> None:
    """Read the command line and do what it says."""
    options = arguments()
    measures = harness.chosen(ALL, options.measures)
    if not options.draw:
        take(measures, options)
    if not options.no_draw:
        report.draw(ALL)


def take(measures: Sequence[harness.Measure], options: argparse.Namespace) -> None:
    """Take the measures on one server, and save each as soon as it has been taken."""
    began = time.monotonic()
    with postgres() as server, tempfile.TemporaryDirectory(prefix="haulier-bench-") as folder:
        bench = harness.Bench(server, Path(folder), options.scale)
        for measure in measures:
            result = harness.run(measure, bench, repetitions=options.repetitions, contenders=options.contenders)
            path = result.save(options.results)
            harness.say(f"{measure.NAME}: {path.name} after {time.monotonic() - began:.0f} s")
            harness.say(report.section(measure, result))


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(each.NAME for each in ALL))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of jobs")
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=[], help="names, with commas")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="the folder to write to")
    parser.add_argument("--draw", action="store_true", help="only draw what was taken earlier")
    parser.add_argument("--no-draw", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    main()
