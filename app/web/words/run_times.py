"""How long the jobs of a span ran, as a chart: each column is a range of durations."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from haulier.domain.histogram import begins_at
from haulier.domain.text import count, duration, number
from haulier.queue.numbers.stats import Stats

from .charts import Chart, Series, described

# Empty columns at each end, so that a few do not fill the chart.
BESIDE = 2


def run_times(found: Stats) -> Sequence[tuple[Chart, Markup]]:
    """Return the chart and its figure; nothing if no job has ended."""
    if not found.ran:
        return []
    buckets = range(min(found.ran) - BESIDE, max(found.ran) + 1 + BESIDE)
    jobs = Series("Jobs", "running", [found.ran.get(bucket, 0) for bucket in buckets], "columns")
    # An axis shortens what has a space to the day before it.
    lasts = [duration(begins_at(bucket)).replace(" ", "\N{NO-BREAK SPACE}") for bucket in buckets]
    run = found.totals.run_seconds
    text = (
        f"{count(sum(found.ran.values()), 'job')}: half ran for up to {duration(run.p50)},"
        f" 95 % up to {duration(run.p95)}, 99 % up to {duration(run.p99)}."
    )
    chart = Chart("Run time", "jobs by how long their last run took, each column from this on", [jobs], lasts, text)
    return [(chart, described(chart, number))]
