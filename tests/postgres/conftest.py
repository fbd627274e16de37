"""The tests of what carries the verbs begin from the same jobs and workers, and from a Database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from haulier.postgres.pool import Database
from tests.conftest import eventually
from tests.queue.conftest import (  # noqa: F401  # fixtures
    at_once,
    claim,
    enqueue,
    let_lease_run_out,
    make_due,
    open_conn,
    register,
    running,
    settle,
    until_somebody_waits,
    worker,
)


@pytest.fixture
def name() -> str:
    """Give the subject's application_name, which is no other test's: a pool keeps what is left of those."""
    return f"haulier test {uuid4().hex[:12]}"


@pytest.fixture
def subject(database: str, name: str) -> Iterator[Database]:
    """Give the Database under test; its connections are found by their application_name."""
    made = Database(database, application_name=name)
    with made.connection():
        pass
    yield made
    made.close()


@pytest.fixture
def backends(sql, name):
    """Give a function that returns the server processes behind the subject's connections."""
    mine = "FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    return lambda: [row[0] for row in sql(f"SELECT pid {mine}", name)]


@pytest.fixture
def end_backends(sql, backends):
    """Give a function that ends those processes, and returns when they have."""

    def end_backends() -> None:
        for pid in backends():
            sql("SELECT pg_terminate_backend(%s)", pid)
        assert eventually(lambda: not backends())

    return end_backends


@pytest.fixture
def locked(enqueue, open_conn):  # noqa: F811
    """Give a job whose row somebody else has locked, for as long as the test runs."""
    job, rival = enqueue(), open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (job.id,))
    yield job
    rival.rollback()
