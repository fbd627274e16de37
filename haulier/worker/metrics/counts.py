"""The metrics of a worker, for Prometheus; no label names a job or a worker.

Importing this module makes the metrics, which fixes where their values are kept: make `port.SharedCounts` before.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

DURATIONS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Distribution(Histogram):
    """A histogram that can observe many values at once."""

    def observe_all(self, values: Collection[float]) -> None:
        """Observe each of the values, at hardly more than the cost of one."""
        # prometheus_client has no call for this. `observe` adds to a bucket once for each value; this adds only once.
        ordered, below = sorted(values), 0
        for bucket, bound in enumerate(self._upper_bounds):
            up_to = bisect_right(ordered, bound)
            if up_to > below:
                self._buckets[bucket].inc(up_to - below)
            below = up_to
        self._sum.inc(sum(values))


COMPLETED = Counter("worker_jobs_completed", "Runs that ended, by stored outcome", ["kind", "outcome"])
STARTED = Counter("worker_jobs_started", "Runs that started", ["kind"])
DURATION = Distribution("worker_job_duration_seconds", "Duration of handlers", ["kind"], buckets=DURATIONS)
QUEUE_WAIT = Distribution(
    "worker_queue_wait_seconds", "Time from a job being due to its claim", ["kind"], buckets=DURATIONS
)
CLAIMS = Counter("worker_claims", "Claims sent to the database, including those that got no job")
CLAIM_SIZE = Distribution("worker_claim_size_jobs", "Jobs per claim", buckets=(0, 1, 2, 5, 10, 50, 100, 500))
LEASES_LOST = Counter(
    "worker_leases_lost", "Results that arrived after the worker had lost its claim; they changed nothing"
)
RESCUED = Counter("worker_jobs_rescued", "Jobs taken from dead workers")
UNKNOWN_KIND = Counter(
    "worker_jobs_of_unknown_kind", "Jobs given back because this worker does not know their kind or payload fields"
)
REFUSED = Counter(
    "worker_jobs_refused", "Times that the database refused to claim, settle or rescue a job", ["statement"]
)
TICKS = Counter("worker_ticks", "Decided ticks of schedules, by outcome", ["outcome"])
TICKS_LATE = Distribution(
    "worker_ticks_late_seconds", "Time from a tick being due to its firing", buckets=(*DURATIONS, 3600, 86_400)
)
STRANGERS = Counter("worker_jobs_given_back", "Jobs given back because the answer to their claim was lost")
ISOLATED_ENDED = Counter(
    "worker_isolated_processes_ended", "Isolated processes that died, or reached their memory limit", ["kind"]
)
# `_gauges` of haulier/worker/assembly.py has the function that returns the value of each gauge.
# Of several processes, numbers of jobs and threads are added up, and the highest age counts; dead ones count no more.
RUNNING = Gauge("worker_jobs_running", "Jobs that this worker holds", multiprocess_mode="livesum")
THREADS = Gauge("worker_threads", "Threads that can run a job", multiprocess_mode="livesum")
STUCK = Gauge(
    "worker_stuck_threads",
    "Threads whose job still runs after its timeout and grace period",
    multiprocess_mode="livesum",
)
BEAT_AGE = Gauge("worker_beat_age_seconds", "Time since the last successful heartbeat", multiprocess_mode="livemax")
POLLING = Gauge(
    "worker_polling",
    "0 while notifications wake this worker; 1 while it only polls",
    multiprocess_mode="livemax",
)
THROUGH_DIRECT_URL = Gauge(
    "worker_through_direct_url",
    "1 if this worker listens, or tries to, through DATABASE_DIRECT_URL; 0 if not",
    multiprocess_mode="livemax",
)
LISTEN_AGE = Gauge(
    "worker_listen_age_seconds",
    "Time since the listener last had a good connection",
    multiprocess_mode="livemax",
)
HOUSEKEEPING_AGE = Gauge(
    "worker_housekeeping_age_seconds", "Time since housekeeping last succeeded", multiprocess_mode="livemax"
)
SCANS_FAILING = Gauge(
    "worker_scans_failing_seconds",
    "How long looking for new jobs has failed; 0: the last try succeeded",
    multiprocess_mode="livemax",
)
MEMORY = Gauge(
    "worker_memory_bytes",
    "Resident memory of the worker, without its isolated processes",
    multiprocess_mode="livesum",
)
POLL_AGE = Gauge(
    "worker_poll_age_seconds",
    "Time since the last answered claim; 0 while no thread is free",
    multiprocess_mode="livemax",
)


Value = TypeVar("Value")


class Tally:
    """Counts every job and claim in plain Python, and passes the sums to Prometheus later. Safe for all threads.

    Source: measured, 100 jobs a flush: 0.4 us a job, in memory or in shared files. A call for each number: 6 and 9 us.
    """

    __slots__ = ("_claims", "_ended", "_flushing", "_started")

    def __init__(self) -> None:
        self._claims: list[int] = []
        self._started: dict[str, list[float | None]] = {}
        self._ended: dict[tuple[str, str], list[float | None]] = {}
        self._flushing = threading.Lock()

    def claimed(self, jobs: int) -> None:
        """Count a claim that was answered, and the jobs it brought."""
        self._claims.append(jobs)

    def started(self, kind: str, waited_seconds: float | None) -> None:
        """Count a run that began, and how long its job had been due; None if that is unknown."""
        self._started.setdefault(kind, []).append(waited_seconds)

    def ended(self, kind: str, outcome: str, seconds: float | None) -> None:
        """Count a run by the outcome that was settled, and how long it took; None if no handler ran."""
        self._ended.setdefault((kind, outcome), []).append(seconds)

    def flush(self) -> None:
        """Pass what was counted since the last flush to Prometheus."""
        with self._flushing:
            if sizes := _taken(self._claims):
                CLAIMS.inc(len(sizes))
                CLAIM_SIZE.observe_all(sizes)
            for kind, waits in list(self._started.items()):
                if taken := _taken(waits):
                    STARTED.labels(kind).inc(len(taken))
                    _observe(QUEUE_WAIT, kind, taken)
            for (kind, outcome), times in list(self._ended.items()):
                if taken := _taken(times):
                    COMPLETED.labels(kind, outcome).inc(len(taken))
                    _observe(DURATION, kind, taken)


def _taken(values: list[Value]) -> list[Value]:
    """Empty the list and return what was in it. The list itself stays: another thread may just be adding to it."""
    taken = values[:]
    del values[: len(taken)]
    return taken


def _observe(distribution: Distribution, kind: str, values: Collection[float | None]) -> None:
    if known := [value for value in values if value is not None]:
        distribution.labels(kind).observe_all(known)


class NoTally(Tally):
    """Counts nothing, for a worker without a port for metrics."""

    __slots__ = ()

    def claimed(self, jobs: int) -> None:
        """Count nothing."""

    def started(self, kind: str, waited_seconds: float | None) -> None:
        """Count nothing."""

    def ended(self, kind: str, outcome: str, seconds: float | None) -> None:
        """Count nothing."""


def tally(port: int) -> Tally:
    """Return a tally for a worker that serves its metrics at this port, and one that counts nothing for port 0."""
    return Tally() if port else NoTally()


# Each gauge with the function that returns its value.
Gauges = Mapping[Gauge, Callable[[], float]]


class Measures:
    """The numbers that are read now and then, instead of being counted as they change."""

    def __init__(self, tally: Tally, gauges: Gauges) -> None:
        self._tally = tally
        self._gauges = gauges

    def take(self) -> None:
        """Read all of them, and pass these and what was counted meanwhile to Prometheus."""
        # Pass on runs that began here too: otherwise they wait for the next call to the database, which may come only
        # at the end of the run.
        self._tally.flush()
        for gauge, value in self._gauges.items():
            gauge.set(value())
