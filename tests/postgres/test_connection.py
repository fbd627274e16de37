"""A connection: it ..."""

from __future__ import annotations

import gc
import os
import resource
import threading
from contextlib import ExitStack, closing
from uuid import uuid4

import pytest
from psycopg2.extensions import make_dsn

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import ConfigError, DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect, is_broken
from haulier.postgres.pool import Database
from haulier.postgres.statements import rows
from haulier.queue import claims, search
from lab.proxy import proxy_to
from tests import queueing
from tests.conftest import PATIENCE, eventually


@pytest.mark.direct("looks at the server's own connections")
def test_is_one_for_each_thread_and_kept_for_its_next_use(subject, backends):
    with subject.connection() as first:
        pass
    with subject.connection() as second:
        pass
    others = []

    def use() -> None:
        with subject.connection() as conn:
            others.append(conn)
        subject.close()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert first is second
    assert others[0] is not first
    assert eventually(lambda: len(backends()) == 1)


@pytest.mark.direct("looks at the server's own connections")
def test_a_connection_that_the_server_has_closed_is_opened_anew(subject, backends, sql):
    with subject.connection() as first:
        [before] = backends()
    sql("SELECT pg_terminate_backend(%s)", before)
    assert eventually(lambda: is_broken(first))

    with subject.connection() as second:
        answer = rows(second, "ping")

    assert answer
    assert second is not first
    assert before not in backends()


def test_a_dsn_that_cannot_be_read_is_named_without_its_password():
    for url in ("postgres://u:swordfish@[::1/x", "postgres://u:swordfish@h/d?nonsense=1", "postgres://%zz"):
        with pytest.raises(ConfigError, match="DATABASE_URL") as raised:
            connect(url)

        assert "swordfish" not in str(raised.value)
        # Causes are logged, and what libpq says may quote any part of the string.
        assert raised.value.__cause__ is None


def test_a_connection_left_in_a_transaction_is_not_used_again(subject):
    with subject.connection() as first, first.cursor() as cursor:
        cursor.execute("BEGIN")

    with subject.connection() as second:
        answer = rows(second, "ping")

    assert answer
    assert second is not first
    assert first.closed


@pytest.mark.direct("looks at the server's own connections")
def test_nothing_leaks_from_threads_that_come_and_go(subject, backends):
    subject.close()

    def use() -> None:
        with subject.connection() as conn:
            rows(conn, "ping")

    for _ in range(10):
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.collect()

    assert eventually(lambda: backends() == [])


@pytest.mark.direct("looks at the server's own connections")
def test_nothing_leaks_from_calls_that_fail(subject, backends, end_backends):
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None

    def lose_it() -> None:
        with subject.connection() as conn:
            end_backends()
            rows(conn, "ping")

    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            lose_it()

    assert backends() == []
    assert descriptors is None or len(os.listdir("/proc/self/fd")) <= descriptors


def test_works_with_descriptors_above_1024(database):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this machine allows no process so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        with ExitStack() as opened:
            while opened.enter_context(open(os.devnull)).fileno() < 1100:
                pass
            subject = Database(database)
            with subject.connection() as first:
                rows(first, "ping")
            with subject.connection() as second:
                answer = rows(second, "ping")
                descriptor = second.fileno()
            subject.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert descriptor > 1024
    assert answer
    assert second is first


def test_a_connection_that_breaks_makes_the_other_threads_open_theirs_anew(database):
    with proxy_to(database) as proxy:
        subject, seen, step = Database(proxy.url), [], threading.Barrier(2)

        def other() -> None:
            for _ in range(2):
                with subject.connection() as conn:
                    seen.append(conn)
                    rows(conn, "ping")
                step.wait(PATIENCE)
                step.wait(PATIENCE)
            subject.close()

        thread = threading.Thread(target=other)
        thread.start()
        step.wait(PATIENCE)
        with subject.connection():
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
            rows(conn, "ping", seconds=0.0)
        proxy.silent = False
        for _ in range(3):
            step.wait(PATIENCE)
        thread.join(PATIENCE)

    first, second = seen
    assert second is not first


def test_is_one_for_all_threads_that_take_turns_beside_each_threads_own(subject):
    in_turns, seen = subject.in_turns(), []

    def use() -> None:
        with in_turns.connection() as conn:
            seen.append(conn)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(PATIENCE)
    use()
    with subject.connection() as own:
        assert seen[0] is seen[1] is not own
    in_turns.close()
    subject.close()


@pytest.mark.parametrize("breaks", ["a thread's own", "the one for all"])
def test_breaks_for_those_that_take_turns_and_for_the_others_together(database, breaks):
    with proxy_to(database) as proxy:
        own = Database(proxy.url)
        in_turns = own.in_turns()
        broken, other = (own, in_turns) if breaks == "a thread's own" else (in_turns, own)
        with broken.connection(), other.connection() as before:
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), broken.connection() as conn:
            rows(conn, "ping", seconds=0.0)
        proxy.silent = False

        with other.connection() as after:
            assert after is not before

        own.close()
        in_turns.close()


def test_speaks_utf_8_whatever_the_role_defaults_to(conn, database):
    text = "日本 € Ünïcode 🚢"
    for encoding in ("latin1", "sql_ascii", "euc_jp"):
        # As ALTER ROLE … SET client_encoding does, without changing the role of every other test.
        url = make_dsn(database, options=f"-c client_encoding={encoding}")
        with closing(connect(url)) as mine:
            worker = claims.register(mine, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
            queueing.enqueue(mine, [NewJob("mail", {"text": text})])
            queueing.enqueue(mine, [NewJob("mail", {"text": text}) for _ in range(2)])

            jobs = queueing.claim(mine, worker_id=worker, claim_id=uuid4(), queues=(), limit=9)
            claims.settle(mine, [Settlement(Fence.of(job), Outcome.fail_for_good(text)) for job in jobs])

            assert [job.payload for job in jobs] == [{"text": text}] * 3
            assert {search.get(mine, job.id).last_error for job in jobs} == {text}
