"""What a worker tells Prometheus; no label names a job or a worker.

Importing this makes the metrics, and so decides where their values are kept: `exposition.share` has to come before.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Collection
from itertools import repeat

from prometheus_client import Counter, Gauge, Histogram

DURATIONS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Distribution(Histogram):
    """A histogram that takes many values at once."""

    def observe_all(self, values: Collection[float]) -> None:
        """Observe each of the values, for hardly more than the price of one."""
        # prometheus_client offers no call for this: what it does for one value, done once for each bucket in use.
        for bucket, count in Counts(map(bisect_left, repeat(self._upper_bounds), values)).items():
            self._buckets[bucket].inc(count)
        self._sum.inc(sum(values))


COMPLETED = Counter("worker_jobs_completed", "Runs that ended, by the outcome that was settled", ["kind", "outcome"])
STARTED = Counter("worker_jobs_started", "Runs that began", ["kind"])
DURATION = Distribution("worker_job_duration_seconds", "Time a handler took", ["kind"], buckets=DURATIONS)
QUEUE_WAIT = Distribution(
    "worker_queue_wait_seconds", "Time from a job being due to its claim", ["kind"], buckets=DURATIONS
)
CLAIMS = Counter("worker_claims", "Claims sent to the database, with or without a job in the answer")
CLAIM_SIZE = Histogram("worker_claim_size_jobs", "Jobs that a claim brought", buckets=(0, 1, 2, 5, 10, 50, 100, 500))
LEASES_LOST = Counter(
    "worker_leases_lost", "Results that came after the claim was no longer ours; they changed nothing"
)
RESCUED = Counter("worker_jobs_rescued", "Jobs taken from dead workers")
UNKNOWN_KIND = Counter("worker_jobs_of_unknown_kind", "Jobs given back because this worker does not know their kind")
STRANGERS = Counter("worker_jobs_given_back", "Jobs in this worker's name that it did not hold, given back")
# Where several processes work, what they hold is added up, and of their ages the worst is told; the dead do not count.
RUNNING = Gauge("worker_jobs_running", "Jobs that this worker holds now", multiprocess_mode="livesum")
THREADS = Gauge("worker_threads", "Threads that can run a job", multiprocess_mode="livesum")
STUCK = Gauge(
    "worker_stuck_threads", "Threads whose job went on past its timeout and grace", multiprocess_mode="livesum"
)
BEAT_AGE = Gauge("worker_beat_age_seconds", "Time since the last heartbeat that succeeded", multiprocess_mode="livemax")
POLLING = Gauge(
    "worker_polling",
    "0 while notifications wake this worker; 1 while it finds work by looking alone",
    multiprocess_mode="livemax",
)
THROUGH_DIRECT_URL = Gauge(
    "worker_through_direct_url",
    "1 where it is DATABASE_DIRECT_URL by way of which this worker is woken, or tries to be; 0 where it is not",
    multiprocess_mode="livemax",
)
LISTEN_AGE = Gauge(
    "worker_listen_age_seconds",
    "Time since the listener last went round with a good connection",
    multiprocess_mode="livemax",
)
HOUSEKEEPING_AGE = Gauge(
    "worker_housekeeping_age_seconds", "Time since housekeeping last succeeded", multiprocess_mode="livemax"
)
POLL_AGE = Gauge(
    "worker_poll_age_seconds",
    "Time since a claim was last answered, or no thread was free to claim",
    multiprocess_mode="livemax",
)


class Tally:
    """What is counted for every job, in plain Python, and told to Prometheus once a batch. Safe for all threads.

    Source: measured, 100 jobs a flush: 0.7 us a job, in memory or in shared files. One call for each number: 6 and 9.
    """

    __slots__ = ("_ended", "_flushing", "_started")

    def __init__(self) -> None:
        # Deques, because one thread may append while another takes away.
        self._started: deque[tuple[str, float | None]] = deque()
        self._ended: deque[tuple[str, str, float | None]] = deque()
        self._flushing = threading.Lock()

    def started(self, kind: str, waited_seconds: float | None) -> None:
        """Count a run that began, and how long its job had been due; None where that is not known."""
        self._started.append((kind, waited_seconds))

    def ended(self, kind: str, outcome: str, seconds: float | None) -> None:
        """Count a run by the outcome that was settled, and how long it took; None where no handler ran."""
        self._ended.append((kind, outcome, seconds))

    def flush(self) -> None:
        """Tell Prometheus what was counted since the last time."""
        with self._flushing:
            self._flush_started()
            self._flush_ended()

    def _flush_started(self) -> None:
        began: defaultdict[str, int] = defaultdict(int)
        waits: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(len(self._started)):
            kind, waited = self._started.popleft()
            began[kind] += 1
            if waited is not None:
                waits[kind].append(waited)
        for kind, count in began.items():
            STARTED.labels(kind).inc(count)
        for kind, values in waits.items():
            QUEUE_WAIT.labels(kind).observe_all(values)

    def _flush_ended(self) -> None:
        ends: defaultdict[tuple[str, str], int] = defaultdict(int)
        times: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(len(self._ended)):
            kind, outcome, seconds = self._ended.popleft()
            ends[kind, outcome] += 1
            if seconds is not None:
                times[kind].append(seconds)
        for (kind, outcome), count in ends.items():
            COMPLETED.labels(kind, outcome).inc(count)
        for kind, values in times.items():
            DURATION.labels(kind).observe_all(values)


class NoTally(Tally):
    """Counts nothing, for a worker whose metrics nobody can read."""

    __slots__ = ()

    def started(self, kind: str, waited_seconds: float | None) -> None:
        """Count nothing."""

    def ended(self, kind: str, outcome: str, seconds: float | None) -> None:
        """Count nothing."""


def tally(port: int) -> Tally:
    """Return a tally for a worker that serves its metrics at this port; 0 is none."""
    return Tally() if port else NoTally()
