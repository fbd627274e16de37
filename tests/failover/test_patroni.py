"""Under the recipe of docs/high-availability.md, when the machine of the primary dies, ..."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from haulier.postgres.connection import connect
from tests.conftest import eventually, sql_on
from tests.failover.load import Book, begun_since, ends, load, service
from tests.failover.machines import Cluster, Machine, cluster
from tests.worker.conftest import Ledger

# `make failover KILLS=5` kills more machines, one after the other.
KILLS = int(os.environ.get("FAILOVER_KILLS", "1"))
# Of jobs that are acknowledged before and after each loss.
MANY = 500
# A job after this is the worker's fault, not Patroni's.
SOON_SECONDS = 2.0


@dataclass(frozen=True)
class Failover:
    """What one loss cost. Units: seconds; the last two after the new primary took writes."""

    primary: float
    acknowledged: float
    job: float


def lose(machine: Machine, machines: Cluster, book: Book, ledger: Ledger) -> Failover:
    """Kill the machine, and return what that cost."""
    others = [each for each in machines.machines if each is not machine]
    with ExitStack() as stack:
        asks = [sql_on(stack.enter_context(closing(connect(machines.admin_url(each))))) for each in others]
        machine.kill()
        killed_at = time.monotonic()
        eventually(lambda: any(ask("SELECT pg_is_in_recovery()") == [(False,)] for ask in asks))
        up_at = time.monotonic()
    job_at = eventually(lambda: begun_since(ledger, up_at))
    [acknowledged_at, *_] = eventually(lambda: book.since(up_at))
    return Failover(up_at - killed_at, acknowledged_at - up_at, job_at - up_at)


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * KILLS)
def test_the_machine_of_the_primary_dies_and_no_acknowledged_job_is_lost(tmp_path):
    ledger, failovers = Ledger(tmp_path / "ledger"), []
    with cluster() as machines, service(machines.url, ledger, tmp_path) as server:
        with load(server, pause=0.02) as book:
            for _ in range(KILLS):
                primary = machines.primary()
                book.wait_for(MANY)
                failovers.append(lose(primary, machines, book, ledger))
                book.wait_for(MANY)
                primary.start()
        eventually(lambda: set(ends(machines.url).values()) == {"succeeded"})
        stored, starts = ends(machines.url), ledger.counts("start")

    for each in failovers:
        print(
            f"new primary after {each.primary:.1f} s; then a job was acknowledged after {each.acknowledged:.2f} s, and"
            f" a job began after {each.job:.2f} s"
        )
    print(f"{len(book.acknowledged)} jobs acknowledged, {len(stored)} stored; answers: {dict(book.statuses)}")
    assert book.acknowledged.keys() - stored.keys() == set()
    # A worker keeps its runs over the outage, which is shorter than its lease.
    assert [job for job, count in starts.items() if count > 1] == []
    assert starts.keys() == stored.keys()
    assert book.statuses.keys() <= {0, 200, 201, 503}
    assert max(each.job for each in failovers) < SOON_SECONDS
