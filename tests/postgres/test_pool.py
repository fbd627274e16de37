"""The connections that threads share: they ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn

from haulier.domain.errors import DatabaseUnavailable, StatementRefused, TooManyConnections
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.pool import BoundedPool, Pool
from haulier.postgres.statements import rows
from lab.proxy import proxy_to
from tests import queueing
from tests.conftest import eventually

pytestmark = pytest.mark.direct("is about the server's limit and its own connections")

LIMIT = 2
WAIT_SECONDS = 2.0


@pytest.fixture
def url(database: str, sql: Callable[..., object]) -> Iterator[str]:
    """Give the DSN of a role that may have LIMIT connections."""
    role = f"haulier_test_{uuid4().hex[:12]}"
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'swordfish' CONNECTION LIMIT {LIMIT}")
    yield make_dsn(database, user=role, password="swordfish")
    eventually(lambda: not sql("SELECT FROM pg_stat_activity WHERE usename = %s", role))
    sql(f"DROP ROLE {role}")


@pytest.fixture
def pool(url: str) -> Iterator[Pool]:
    made = Pool(url, wait_seconds=WAIT_SECONDS)
    yield made
    made.close()


@contextmanager
def all_taken(url: str, *, but: int = 0) -> Iterator[list[Connection]]:
    """Take the role's connections for somebody else."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(connect(url))) for _ in range(LIMIT - but)]


def use(pool: Pool) -> Connection:
    with pool.connection() as conn:
        rows(conn, "ping")
        return conn


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def refused(pool: Pool) -> float:
    """Return how long it took until the pool said that there are too many."""

    def refuse() -> None:
        with pytest.raises(TooManyConnections):
            use(pool)

    return seconds_of(refuse)


def test_serve_one_thread_after_the_other(pool):
    with ThreadPoolExecutor(1) as other:
        assert other.submit(use, pool).result() is use(pool)


def test_are_as_many_as_are_in_use_at_a_time(pool):
    with pool.connection() as first:
        second = use(pool)

    assert first is not second
    assert use(pool) in (first, second)


def test_go_from_the_thread_that_is_done_to_one_that_waits_if_no_further_is_to_be_had(url, pool):
    with all_taken(url, but=1), ThreadPoolExecutor(1) as other:
        with pool.connection() as conn:
            waiting = other.submit(use, pool)
            assert eventually(lambda: pool._waiting)
        assert waiting.result() is conn


def test_are_not_kept_from_those_that_wait_by_a_thread_that_comes_again_and_again(url):
    # Long: a wait for the machine's processors must not look like one for a connection.
    pool, done = Pool(url, wait_seconds=5.0), threading.Event()

    def come_again() -> None:
        while not done.is_set():
            use(pool)

    with all_taken(url, but=1), ThreadPoolExecutor(1) as other:
        use(pool)
        busy = other.submit(come_again)
        try:
            # Raises if it waits in vain.
            for _ in range(100):
                use(pool)
        finally:
            done.set()
        busy.result()
    pool.close()


def test_are_waited_for_until_somebody_else_leaves(url, pool):
    with all_taken(url) as others, ThreadPoolExecutor(1) as other:
        waiting = other.submit(use, pool)
        assert eventually(lambda: pool._waiting)
        others[0].close()
        waiting.result()


def test_are_waited_for_no_longer_than_is_said_and_then_by_nobody(url, pool):
    with all_taken(url):
        first, second = refused(pool), refused(pool)

    assert WAIT_SECONDS <= first < WAIT_SECONDS + 5
    assert second < WAIT_SECONDS


def test_do_not_pile_up_those_that_wait(url, pool):
    with all_taken(url), ThreadPoolExecutor(3) as threads:
        took = seconds_of(lambda: list(threads.map(lambda _: refused(pool), range(60))))

    # One after the other, each thread's twenty would wait for 12 s.
    assert took < 10 * WAIT_SECONDS


def test_are_there_again_as_soon_as_somebody_leaves(url, pool):
    with all_taken(url):
        refused(pool)

    def works() -> bool:
        try:
            return bool(use(pool))
        except TooManyConnections:
            return False

    assert eventually(works)
    # It is waited for again: one has been had meanwhile.
    with all_taken(url, but=1), pool.connection():
        assert refused(pool) >= WAIT_SECONDS


def test_are_never_more_than_a_bounded_pool_may_have(database: str, sql: Callable[..., list[tuple[int]]]) -> None:
    pool = BoundedPool(database, 2, application_name="bounded", wait_seconds=0.1)

    with pool.connection(), pool.connection():
        refused(pool)
    # A place is free again, however a use has ended.
    for _ in range(3):
        with pytest.raises(StatementRefused), pool.connection() as conn:
            queueing.enqueue(conn, [NewJob("Not A Name", {})])
    with pool.connection(), pool.connection():
        refused(pool)

    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bounded'") == [(2,)]
    pool.close()


def test_are_opened_anew_once_one_has_broken(database):
    with proxy_to(database) as proxy:
        pool = Pool(proxy.url)
        with pool.connection() as first:
            use(pool)
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), pool.connection() as conn:
            rows(conn, "ping", seconds=0.0)
        proxy.silent = False

        assert use(pool) is not first
        pool.close()


def test_are_kept_if_a_statement_is_refused(database):
    pool, used = Pool(database), []

    def refuse() -> None:
        with pool.connection() as conn:
            used.append(conn)
            queueing.enqueue(conn, [NewJob("Not A Name", {})])

    with pytest.raises(StatementRefused):
        refuse()

    assert use(pool) is used[0]
    pool.close()
