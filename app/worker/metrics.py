"""What a worker tells Prometheus; no label names a job or a worker."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

log = logging.getLogger(__name__)

DURATIONS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

COMPLETED = Counter("worker_jobs_completed", "Runs that ended, by the outcome that was settled", ["kind", "outcome"])
STARTED = Counter("worker_jobs_started", "Runs that began", ["kind"])
DURATION = Histogram("worker_job_duration_seconds", "Time a handler took", ["kind"], buckets=DURATIONS)
QUEUE_WAIT = Histogram(
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
RUNNING = Gauge("worker_jobs_running", "Jobs that this worker holds now")
THREADS = Gauge("worker_threads", "Threads that can run a job")
STUCK = Gauge("worker_stuck_threads", "Threads whose job went on past its timeout and grace")
BEAT_AGE = Gauge("worker_beat_age_seconds", "Time since the last heartbeat that succeeded")
LISTEN_AGE = Gauge("worker_listen_age_seconds", "Time since the listener last went round with a good connection")
HOUSEKEEPING_AGE = Gauge("worker_housekeeping_age_seconds", "Time since housekeeping last succeeded")
POLL_AGE = Gauge("worker_poll_age_seconds", "Time since a claim was last answered, or no thread was free to claim")


def serve(host: str, port: int) -> Callable[[], None] | None:
    """Serve the metrics, and return what stops that; None when the port is busy, which must not stop the jobs."""
    if port == 0:
        return None
    try:
        served: tuple[WSGIServer, threading.Thread] = start_http_server(port, host)
    except OSError as error:
        reason = "another process has it" if error.errno == errno.EADDRINUSE else error.strerror
        log.warning("no metrics at %s:%d: %s (WORKER_METRICS_PORT=0 turns them off)", host, port, reason)
        return None
    server, thread = served

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(2)

    return stop
