"""The first table of docs/benchmarks.md: the main figures of all measures, each beside a peer or a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.bench.results import Result


@dataclass(frozen=True)
class Line:
    """One line: a figure of two rows of a measure. `target` names the target whose ratio is shown, if there is one."""

    label: str
    measure: str
    figure: str
    ours: str
    theirs: str
    peer: str
    target: str | None = None
    digits: int = 0


DRAIN, ENQUEUE, LATENCY = ("drain", "jobs_per_second"), ("enqueue", "jobs_per_second"), "latency"
GRAPHILE = "graphile-worker"
LINES = (
    Line("drain, jobs/s", *DRAIN, "haulier-2", GRAPHILE, GRAPHILE, "2 processes / graphile-worker"),
    Line("drain by one process", *DRAIN, "haulier-1", GRAPHILE, GRAPHILE, "1 process / graphile-worker"),
    Line("drain", *DRAIN, "haulier-2", "raw", "the same SQL by pgbench"),
    Line("drain", *DRAIN, "haulier-2", "bullmq", "BullMQ"),
    Line("drain", *DRAIN, "haulier-2", "celery", "Celery"),
    Line(
        "drain beside a long transaction",
        "snapshot",
        "second_half_per_second",
        "haulier-held",
        f"{GRAPHILE}-held",
        GRAPHILE,
    ),
    Line("enqueue over HTTP, jobs/s", *ENQUEUE, "haulier-http", GRAPHILE, GRAPHILE, "HTTP / graphile-worker's addJobs"),
    Line("enqueue by SQL", *ENQUEUE, "haulier-insert", "raw-copy", "COPY"),
    Line(
        "single POST, requests/s",
        "post",
        "per_second",
        "haulier",
        "raw-view",
        "a bare Flask view",
        "Haulier / bare view",
    ),
    Line("start of a lone job, p50 ms", LATENCY, "p50_ms", "haulier", GRAPHILE, GRAPHILE, "p50 / graphile-worker's", 2),
    Line("start of a lone job, p99 ms", LATENCY, "p99_ms", "haulier", GRAPHILE, GRAPHILE, "p99 / graphile-worker's", 2),
    Line("WAL a job of 20 kB, kB", "costs", "wal_kb", "haulier-20-kb", f"{GRAPHILE}-20-kb", GRAPHILE, digits=1),
)


def summary(results: Mapping[str, Result]) -> str:
    """Return the table; a figure that was not measured is a dash."""
    lines = ["| measure | Haulier | peer | its figure | ratio |", "|---|---:|---|---:|---:|"]
    for line in LINES:
        result = results[line.measure]
        ours, theirs = (_median(result, row, line.figure) for row in (line.ours, line.theirs))
        shown = [_text(value, line.digits) for value in (ours, theirs)]
        lines.append(f"| {line.label} | {shown[0]} | {line.peer} | {shown[1]} | {_ratio(line, result, ours, theirs)} |")
    return "\n".join(lines)


def _median(result: Result, row: str, figure: str) -> float | None:
    spreads = [each.figures[figure] for each in result.rows if each.name == row and figure in each.figures]
    return spreads[0].median if spreads else None


def _ratio(line: Line, result: Result, ours: float | None, theirs: float | None) -> str:
    if line.target is not None and line.target in result.targets:
        return f"{result.targets[line.target].median:.2f}"
    return f"{ours / theirs:.2f}" if ours is not None and theirs else "–"


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
