"""Counting many jobs at once gives Prometheus the same as counting each: the tally ..."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from haulier.worker.metrics.counts import DURATIONS, Distribution, NoTally, Tally, tally
from tests.conftest import PATIENCE, eventually
from tests.rivals import at_the_same_moment
from tests.worker.waiting import let_pass


@pytest.fixture
def kind() -> str:
    """Give the name of a kind that nobody else counts: the metrics are those of the whole process."""
    return f"t.{uuid.uuid4().hex[:12]}"


@pytest.fixture
def counted(kind: str) -> Callable[..., float]:
    return lambda name, **labels: REGISTRY.get_sample_value(name, {"kind": kind, **labels}) or 0.0


def test_counting_all_values_at_once_is_as_observing_each():
    def lines(registry: CollectorRegistry) -> list[str]:
        return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]

    on_both_sides_of_bounds = [0.0, 0.0005, 0.001, 0.0010001, 0.4, 0.5, 0.51, 2, 1800, 1801, 1e9]
    for values in ([], [0.001], on_both_sides_of_bounds, [-0.5, 0.1, float("inf")]):
        each, all_at_once = CollectorRegistry(), CollectorRegistry()
        observed = Histogram("h", "h", ["kind"], buckets=DURATIONS, registry=each).labels("a")
        for value in values:
            observed.observe(value)

        Distribution("h", "h", ["kind"], buckets=DURATIONS, registry=all_at_once).labels("a").observe_all(values)

        assert len(lines(each)) > 10
        assert lines(all_at_once) == lines(each)


def test_counts_jobs_by_kind_and_outcome_once(kind, counted):
    jobs = Tally()

    for waited in (0.2, 3.0, None):
        jobs.started(kind, waited)
    for outcome, seconds in (("succeeded", 0.01), ("succeeded", 0.3), ("retrying", 7.0), ("released", None)):
        jobs.ended(kind, outcome, seconds)
    nothing_yet = counted("worker_jobs_started_total")
    for _ in range(2):
        jobs.flush()

    assert (nothing_yet, counted("worker_jobs_started_total")) == (0, 3)
    assert counted("worker_queue_wait_seconds_count") == 2
    assert counted("worker_queue_wait_seconds_sum") == pytest.approx(3.2)
    for outcome, number in (("succeeded", 2), ("retrying", 1), ("released", 1)):
        assert (outcome, counted("worker_jobs_completed_total", outcome=outcome)) == (outcome, number)
    assert counted("worker_job_duration_seconds_count") == 3
    assert counted("worker_job_duration_seconds_bucket", le="0.5") == 2


def test_counts_claims_and_what_they_brought():
    jobs, names = Tally(), ("worker_claims_total", "worker_claim_size_jobs_count", "worker_claim_size_jobs_sum")
    before = [REGISTRY.get_sample_value(name) for name in names]

    for brought in (0, 7, 1000):
        jobs.claimed(brought)
    jobs.flush()

    now = [REGISTRY.get_sample_value(name) for name in names]
    assert [new - old for old, new in zip(before, now, strict=True)] == [3, 3, 1007]


def test_loses_nothing_if_threads_count_and_flush_at_once(kind, counted):
    jobs, threads, each = Tally(), 8, 3000

    def count() -> None:
        for number in range(each):
            jobs.started(kind, 0.1)
            jobs.ended(kind, "succeeded", 0.1)
            if number % 7 == 0:
                jobs.flush()

    at_the_same_moment(*[count] * threads)
    jobs.flush()

    assert counted("worker_jobs_started_total") == threads * each
    assert counted("worker_jobs_completed_total", outcome="succeeded") == threads * each
    assert counted("worker_queue_wait_seconds_count") == counted("worker_job_duration_seconds_count") == threads * each


def test_counts_nothing_if_nobody_can_read_it(kind, counted):
    jobs = tally(0)

    jobs.started(kind, 0.1)
    jobs.ended(kind, "succeeded", 0.1)
    jobs.flush()

    assert isinstance(jobs, NoTally)
    assert type(tally(9091)) is Tally
    assert counted("worker_jobs_started_total") == 0


# In a process of its own, since it settles if all its metrics are kept.
HALF_MADE = """
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, generate_latest

from haulier.worker.metrics.port import SharedCounts

counts = SharedCounts()
Counter("jobs", "jobs", registry=None).inc(2)
[made] = Path(counts.folder).glob("counter_*.db")
half_made = Path(counts.folder, "counter_7.db")
half_made.touch()
threading.Timer(0.05, lambda: half_made.write_bytes(made.read_bytes())).start()
registry = CollectorRegistry()
registry.register(counts)
print(generate_latest(registry).decode())
counts.remove()
"""


def test_waits_for_a_process_that_is_just_making_its_file():
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": "."}
    root, python = Path(__file__).parents[3], [sys.executable, "-c", HALF_MADE]

    done = subprocess.run(python, cwd=root, env=environ, capture_output=True, text=True, timeout=PATIENCE)

    assert (done.stderr, "jobs_total 4.0\n" in done.stdout) == ("", True)


def test_counts_a_run_while_it_lasts_and_looks_alive(spawn_worker, enqueue, ledger, metric, tmp_path, free_port):
    worker = spawn_worker(WORKER_METRICS_PORT=free_port, WORKER_THREADS=1, POLL_SECONDS=0.1)
    let_pass(1.2)
    eventually(lambda: metric(free_port, "worker_poll_age_seconds") < 1)

    enqueue("t.deaf", {"file": str(tmp_path / "go")})
    eventually(lambda: ledger.entries("start"))

    eventually(lambda: metric(free_port, 'worker_jobs_started_total{kind="t.deaf"}') == 1)
    worker.kill()
