"""Jobs, workers and rivals: what the tests of the verbs begin from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import claims
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.queue.operations.operating import done_by, failed, preview, start  # noqa: F401  # fixtures
from tests.queue.search.crowd import counted_crowd, crowd, many  # noqa: F401  # fixtures
from tests.queue.stories.yard import yard  # noqa: F401  # fixtures
from tests.queue.upkeep.conftest import archive  # noqa: F401  # fixture
from tests.rivals import at_the_same_moment


@pytest.fixture
def open_conn(database: str) -> Iterator[Callable[..., Connection]]:
    """Give a function that opens a further connection, closed after the test."""
    with ExitStack() as opened:

        def open_conn(*, autocommit: bool = True) -> Connection:
            conn = opened.enter_context(closing(connect(database, application_name="haulier test rival")))
            conn.autocommit = autocommit
            return conn

        yield open_conn


@pytest.fixture
def holding(open_conn: Callable[..., Connection]) -> Callable[..., Any]:
    """Give a context manager in which a rival holds the locks of a statement. It gives the rival's process."""

    @contextmanager
    def holding(statement: str, *parameters: object) -> Iterator[int]:
        rival = open_conn()
        sql_on(rival)(f"BEGIN; {statement}", *parameters)
        try:
            yield rival.info.backend_pid
        finally:
            sql_on(rival)("ROLLBACK")

    return holding


@pytest.fixture
def locked(holding: Callable[..., Any]) -> Callable[[Job], Any]:
    """Give a context manager in which a rival has locked the row of a job."""
    return lambda job: holding("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", job.id)


@pytest.fixture
def enqueue(conn: Connection) -> Callable[..., Job]:
    def enqueue(kind: str = "mail", payload: dict[str, Any] | None = None, **options: Any) -> Job:
        [receipt] = queueing.enqueue(conn, [NewJob(kind, payload or {}, **options)])
        assert receipt.job is not None
        return receipt.job

    return enqueue


@pytest.fixture
def register(conn: Connection) -> Callable[..., UUID]:
    def register(*, lease: float = 30.0, queues: tuple[str, ...] = ()) -> UUID:
        return claims.register(conn, host="dock", pid=7, threads=8, queues=queues, lease_seconds=lease)

    return register


@pytest.fixture
def worker(register: Callable[..., UUID]) -> UUID:
    return register()


@pytest.fixture
def claim(conn: Connection, worker: UUID) -> Callable[..., Job | None]:
    """Give a function that claims one job, for `worker` unless another is given."""

    def claim(by: UUID | None = None, *, queues: tuple[str, ...] = (), suspect: bool = False) -> Job | None:
        jobs = queueing.claim(conn, worker_id=by or worker, claim_id=uuid4(), queues=queues, suspect=suspect)
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    return claim


@pytest.fixture
def running(enqueue: Callable[..., Job], claim: Callable[..., Job | None]) -> Callable[..., Job]:
    def running(by: UUID | None = None, **options: Any) -> Job:
        enqueued = enqueue(**options)
        job = claim(by)
        assert job is not None
        assert job.id == enqueued.id
        return job

    return running


@pytest.fixture
def settle(conn: Connection) -> Callable[..., JobStatus | None]:
    """Give a function that settles one claimed job; it returns None if the claim is no longer the current one."""

    def settle(job: Job, outcome: Outcome) -> JobStatus | None:
        return claims.settle(conn, [Settlement(Fence.of(job), outcome)]).get(job.id)

    return settle


@pytest.fixture
def make_due(sql: Callable[..., list[tuple[Any, ...]]]) -> Callable[[Job], None]:
    def make_due(job: Job) -> None:
        changed = sql(
            "UPDATE haulier.job SET run_at = now() WHERE id = %s AND status <> 'running' RETURNING id", job.id
        )
        assert changed

    return make_due


@pytest.fixture
def let_lease_run_out(sql: Callable[..., list[tuple[Any, ...]]]) -> Callable[[UUID], None]:
    def let_lease_run_out(worker: UUID) -> None:
        assert sql(
            "UPDATE haulier.worker SET beat_at = now() - lease - interval '1 s' WHERE id = %s RETURNING id", worker
        )

    return let_lease_run_out


@pytest.fixture
def at_once(database: str) -> Callable[..., list[Any]]:
    """Give a function that calls another in many threads at the same moment, and returns what they did.

    Each call gets its number and a connection of its own; an exception it raises is in the list as a value.
    """

    def at_once(threads: int, call: Callable[[int, Connection], Any]) -> list[Any]:
        with ExitStack() as opened:
            conns = [opened.enter_context(closing(connect(database))) for _ in range(threads)]
            return at_the_same_moment(*(partial(call, *each) for each in enumerate(conns)))

    return at_once


@pytest.fixture
def until_somebody_waits(conn: Connection) -> Callable[..., None]:
    """Give a function that returns once this many calls in this database wait for a lock."""
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    def until_somebody_waits(calls: int = 1) -> None:
        eventually(lambda: len(sql_on(conn)(waiting)) >= calls)

    return until_somebody_waits
