"""How many threads of workers were busy, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from haulier.domain.text import count
from haulier.domain.vitals import MINUTES
from haulier.queue.health.worker_list import Worker

from ..kit.viewer import viewer
from ..words import charts
from ..words.charts import Chart, Series
from ..words.filters import clock

MINUTE = timedelta(minutes=1)


def busy_minutes(workers: Sequence[Worker]) -> list[float | None]:
    """Return the busy threads of all these workers per minute, oldest first; None: unknown.

    The minutes of each worker end at its last heartbeat, so those of two may be a minute apart.
    """
    each = [worker.vitals.busy_minutes[::-1] for worker in workers if worker.vitals]
    sums: list[float | None] = []
    for ago in range(min(MINUTES, max(map(len, each), default=0))):
        known = [minutes[ago] for minutes in each if ago < len(minutes)]
        sums.append(None if None in known else sum(value for value in known if value is not None))
    return sums[::-1]


def busy_chart(workers: Sequence[Worker]) -> tuple[Chart, str] | None:
    """Return a chart of the busy threads of these workers; None if nothing is known of them."""
    workers = [worker for worker in workers if worker.vitals]
    minutes = busy_minutes(workers)
    if not any(value is not None for value in minutes):
        return None
    threads, zone, now = sum(worker.threads for worker in workers), viewer().prefers.time_zone, viewer().now
    times = [clock(now - ago * MINUTE, zone)[:-3] for ago in range(len(minutes) - 1, -1, -1)]
    text = f"Busy threads per minute, of {count(threads, 'thread')}."
    series = [Series("Busy", "running", minutes, "area")]
    chart = Chart("Busy threads", f"average per minute, of {threads}", series, times, text, is_partial=True)
    return chart, charts.figure(chart, threads_said)


def threads_said(value: float) -> str:
    """Return a number of threads with one decimal, which matters when few threads are busy."""
    return f"{value:.1f}".removesuffix(".0")


def busy_spark(worker: Worker) -> str:
    """Return a small chart of a worker's busy threads; "" if they are unknown."""
    minutes = worker.vitals.busy_minutes if worker.vitals else ()
    if all(value is None for value in minutes):
        return ""
    # Of a young worker the earlier minutes are empty, so that the charts of a list have the same scale.
    values = [0.0] * (MINUTES - len(minutes)) + [value or 0.0 for value in minutes]
    text = f"Busy threads in the last hour, at most {threads_said(max(values))} of {worker.threads}"
    return charts.spark(values, "running", text, least=worker.threads)
