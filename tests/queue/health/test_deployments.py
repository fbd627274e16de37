"""Which release came when: it ..."""

from __future__ import annotations

from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.queue import claims
from haulier.queue.health.deployments import list_deployments, note_deployment


@pytest.fixture
def start(conn: Connection, monkeypatch):
    """Start a worker of this release."""

    def start(release: str) -> UUID:
        monkeypatch.setattr("haulier.queue.claims.workers.version", lambda: release)
        monkeypatch.setattr("haulier.queue.health.deployments.version", lambda: release)
        worker = claims.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=60)
        claims.introduce(conn, worker, kinds=["mail"])
        note_deployment(conn, worker=worker)
        return worker

    return start


def noted(conn: Connection) -> list[str]:
    """Return the deployments, the first one first."""
    return [f"{each.process} {each.release}" for each in reversed(list_deployments(conn))]


def test_notes_each_new_release_and_no_restart(conn: Connection, start) -> None:
    old = [start("1.0") for _ in range(3)]
    claims.deregister(conn, old[0])
    start("2.0")
    # An old worker restarts while the new release is rolled out.
    claims.deregister(conn, old[1])
    start("1.0")
    for release in ("1.0", "1.0", "2.0"):
        note_deployment(conn, release)

    assert noted(conn) == ["worker 2.0", "web 2.0"]


def test_notes_the_release_that_a_rollback_brings_back(conn: Connection, start) -> None:
    good = start("1.0")
    claims.deregister(conn, good)
    bad = start("2.0")
    claims.deregister(conn, bad)
    start("1.0")

    assert noted(conn) == ["worker 2.0", "worker 1.0"]


def test_notes_a_release_once_if_two_processes_bring_it(conn: Connection, sql) -> None:
    sql("INSERT INTO haulier.deployment VALUES ('web', '0.9', now() - interval '1 hour')")
    # Neither saw the other's row.
    twice = "SELECT 'web', '1.0', now() - n * interval '1 ms' FROM generate_series(0, 1) AS n"
    sql(f"INSERT INTO haulier.deployment {twice}")

    assert noted(conn) == ["web 1.0"]


def test_forgets_old_releases_but_for_the_last_of_each_process(conn: Connection, sql) -> None:
    for release in ("1.0", "2.0"):
        note_deployment(conn, release)
    sql("UPDATE haulier.deployment SET at = at - interval '40 days'")

    note_deployment(conn, "2.0")
    kept = sql("SELECT release FROM haulier.deployment")
    for _ in range(2):
        note_deployment(conn, "3.0")

    assert kept == [("2.0",)]
    assert noted(conn) == ["web 3.0"]
