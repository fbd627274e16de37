"""A worker's host that is cut off from the database. Its jobs ..."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from haulier.domain.job import JobStatus, NewJob
from tests import queueing
from tests.conftest import eventually
from tests.hosts.conftest import Far, far_away

pytestmark = pytest.mark.slow

LEASE_SECONDS = 3.0
ALL = "SELECT count(*) FROM haulier.job"
# What a worker says when it has registered again.
GIVES_UP = "this worker was declared dead and gives up its"


@pytest.fixture
def far(network, server, tmp_path) -> Iterator[Far]:
    with far_away(network, server, tmp_path, 0.05) as far:
        yield far


def test_are_rescued_within_a_lease_and_its_late_results_change_nothing(far, tmp_path):
    cut = far.spawn(0, WORKER_THREADS=2, LEASE_SECONDS=LEASE_SECONDS)
    file = tmp_path / "done"
    jobs = [far.enqueue("t.deaf", {"file": str(file)}) for _ in range(2)]
    eventually(lambda: len(far.ledger.entries("start")) == 2)
    other = far.spawn(1, WORKER_THREADS=2, LEASE_SECONDS=LEASE_SECONDS)
    # Nobody takes over jobs before it has beaten for a lease.
    eventually(lambda: far.sql("SELECT max(now() - started_at) > max(lease) FROM haulier.worker") == [(True,)])

    far.network.cut(0)
    # Both end while the host is cut off; the other worker has not begun them.
    file.touch()
    ended = [far.finished(job) for job in jobs]

    assert {(job.status, job.attempts, job.crashes) for job in ended} == {(JobStatus.SUCCEEDED, 2, 1)}
    starts = [(entry.pid, entry.attempt) for job in jobs for entry in far.ledger.entries("start", job)]
    assert sorted(starts) == sorted([(cut.pid, 1), (other.pid, 2)] * 2)
    [(dead_after,)] = far.sql("SELECT extract(epoch FROM ended_at - beat_at)::float FROM haulier.worker_past")
    print(f"declared dead {dead_after:.1f} s after its last beat")
    # The second of the promise, and time for a busy machine.
    assert dead_after < LEASE_SECONDS + 1 + 2

    before = far.sql("SELECT * FROM haulier.finished_job ORDER BY id")
    far.network.heal()
    eventually(lambda: GIVES_UP in cut.log)
    # It works again, without a restart, beside the other one.
    queueing.enqueue(far.conn, [NewJob("t.note", {"seconds": 0.2}) for _ in range(40)])
    eventually(lambda: far.sql(ALL) == [(0,)])
    assert {entry.pid for entry in far.ledger.entries("start") if entry.attempt == 1} == {cut.pid, other.pid}
    assert far.sql("SELECT * FROM haulier.finished_job WHERE id = ANY(%s) ORDER BY id", [j.id for j in jobs]) == before
    assert cut.popen.poll() is None


def test_start_nowhere_once_its_lease_has_run_out(far):
    cut = far.spawn(0, WORKER_THREADS=1, LEASE_SECONDS=LEASE_SECONDS)
    # Of jobs this short many are claimed ahead.
    queueing.enqueue(far.conn, [NewJob("t.note", {"seconds": 0.01}) for _ in range(2000)])
    eventually(lambda: len(far.ledger.entries("start")) > 50)

    far.network.cut(0)
    cut_at = time.monotonic()
    eventually(lambda: time.monotonic() > cut_at + 2 * LEASE_SECONDS)

    assert [entry for entry in far.ledger.entries("start") if entry.at > cut_at + LEASE_SECONDS] == []
    far.network.heal()
    begun = len(far.ledger.entries("start"))
    eventually(lambda: len(far.ledger.entries("start")) > begun + 50)
    assert cut.popen.poll() is None


def test_are_not_locked_by_a_claim_whose_answer_finds_nobody(far):
    # The answer to a claim is larger than the buffer of a socket, and is sent before the claim commits.
    large = "x" * 200_000
    far.spawn(0, WORKER_THREADS=8)
    far.network.cut_at(large[:100])
    queueing.enqueue(far.conn, [NewJob("t.note", {"file": large}) for _ in range(8)])
    eventually(lambda: far.network.is_cut(0))

    other = far.spawn(1, WORKER_THREADS=8)

    eventually(lambda: far.sql(ALL) == [(0,)])
    assert [entry.pid for entry in far.ledger.entries("start")] == [other.pid] * 8
