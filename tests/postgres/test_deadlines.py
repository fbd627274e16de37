"""A call to the database ends: in time, or as an outage that is said to be one. It ..."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext

import pytest
from psycopg2 import errors

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres import statements
from haulier.postgres.connection import connect
from haulier.postgres.errors import translated
from haulier.postgres.pool import Database
from haulier.postgres.sql_files import SQL
from haulier.postgres.statements import bounded, rows, transaction, transaction_of
from haulier.postgres.watchdog import watchdog
from haulier.queue import jobs
from haulier.queue.health import overview
from lab.proxy import proxy_to
from tests.conftest import PATIENCE, eventually

NOBODYS = {"operation": None, "actor": None, "queues": None}


@contextmanager
def an_outage_soon() -> Iterator[None]:
    """Have the block raise DatabaseUnavailable after the 0.2 s that its caller set."""
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        yield
    assert 0.15 < time.monotonic() - began < 2.9


def test_a_statement_that_takes_too_long_is_database_unavailable(subject, locked):
    with an_outage_soon(), subject.connection() as conn:
        rows(conn, "cancel", ids=[locked.id], **NOBODYS, seconds=0.2)


def test_a_transaction_bounds_each_of_its_statements_and_their_waits_for_locks(subject, locked):
    for limit in ("seconds", "lock_seconds"):
        with an_outage_soon(), subject.connection() as conn, transaction(conn, **{limit: 0.2}):
            rows(conn, "ping")
            rows(conn, "cancel", ids=[locked.id], **NOBODYS)


def test_a_transaction_bounds_the_statement_that_is_sent_with_its_beginning(subject, locked):
    with (
        an_outage_soon(),
        subject.connection() as conn,
        transaction_of(conn, "cancel", ids=[locked.id], **NOBODYS, lock_seconds=0.2),
    ):
        pytest.fail("it waits for the lock")

    with subject.connection() as after:
        assert after is conn
        assert rows(after, "ping")


@pytest.mark.parametrize("is_within", [False, True], ids=["alone", "in a transaction that begins within"])
def test_bounds_each_statement_of_a_block(subject, locked, is_within):
    for seconds, lock_seconds in ((0.2, 9.0), (9.0, 0.2)):
        with (
            an_outage_soon(),
            subject.connection() as conn,
            bounded(seconds=seconds, lock_seconds=lock_seconds),
            transaction(conn) if is_within else nullcontext(),
        ):
            rows(conn, "cancel", ids=[locked.id], **NOBODYS)


def test_bounds_end_with_the_block_and_are_this_threads_alone(conn):
    limits = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    found = []

    def look() -> None:
        with transaction(conn), conn.cursor() as cursor:
            cursor.execute(limits)
            found.extend(cursor.fetchall())

    with bounded(seconds=0.3, lock_seconds=0.2):
        look()
        other = threading.Thread(target=look)
        other.start()
        other.join()
    look()

    assert found == [("300ms", "200ms"), ("5s", "3s"), ("5s", "3s")]


def test_leaves_no_timeout_behind_in_the_session(subject):
    with subject.connection() as conn, conn.cursor() as cursor:
        rows(conn, "ping", seconds=1)
        with transaction(conn, seconds=1, lock_seconds=1):
            rows(conn, "ping")
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        left = cursor.fetchone()

    assert left == ("0", "0")


def test_gives_up_by_itself_on_a_server_that_stops_answering(database):
    with proxy_to(database) as proxy:
        subject = Database(proxy.url)
        with subject.connection() as conn:
            rows(conn, "ping")
        proxy.silent = True
        began = time.monotonic()

        with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
            rows(conn, "ping", seconds=0.2)

        assert 2.0 < time.monotonic() - began < 20
        proxy.silent = False
        with subject.connection() as conn:
            assert rows(conn, "ping")
        subject.close()


def test_the_deadline_of_one_call_does_not_cut_off_another_thread(database, subject, enqueue, open_conn):
    job, rival, answers = enqueue(), open_conn(), []
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (job.id,))

    def wait_for_the_lock() -> None:
        with subject.connection() as conn:
            answers.append(rows(conn, "cancel", ids=[job.id], **NOBODYS, seconds=30))
        subject.close()

    patient = threading.Thread(target=wait_for_the_lock)
    patient.start()
    with proxy_to(database) as proxy:
        hasty = Database(proxy.url)
        with hasty.connection():
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), hasty.connection() as conn:
            rows(conn, "ping", seconds=0.0)
    rival.rollback()
    patient.join(PATIENCE)

    assert answers == [[{"is_running": False, "notified": None}]]


def test_a_connection_that_was_watched_is_not_kept_alive(locked, database):
    conn = connect(database)
    gone = weakref.ref(conn)

    # Long enough for the watchdog to have looked at it once.
    with pytest.raises(DatabaseUnavailable), translated():
        rows(conn, "cancel", ids=[locked.id], **NOBODYS, seconds=0.8)
    del conn
    # The error's traceback is a cycle, and holds the connection as well until it is collected.
    gc.collect()

    assert eventually(lambda: gone() is None)


def test_a_transaction_that_its_process_forgot_does_not_hold_its_locks_for_ever(
    subject, backends, enqueue, monkeypatch
):
    monkeypatch.setattr(statements, "IDLE_SECONDS", 0.1)
    job = enqueue()

    def forget() -> None:
        with subject.connection() as conn, transaction(conn):
            rows(conn, "cancel", ids=[job.id], **NOBODYS)
            assert eventually(lambda: not backends())
            rows(conn, "ping")

    with pytest.raises(DatabaseUnavailable):
        forget()

    with subject.connection() as conn:
        assert jobs.cancel(conn, job.id) is True


def test_works_in_a_child_that_was_forked_while_another_thread_was_at_the_watchdog(database: str) -> None:
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with watchdog._lock:
            held.set()
            forked.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest's would go on with the tests, in the child
        signal.alarm(5)
        with closing(connect(database)) as conn:
            overview.ping(conn)
        os._exit(0)
    forked.set()
    holder.join()

    [_, status] = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


# --- The limit of the statement before


def test_does_not_end_the_statement_after_the_one_that_it_was_for(open_conn, monkeypatch):
    # If a statement ends just as its time is up, PostgreSQL has sent itself the signal, and heeds it afterwards.
    conn, size, ended = open_conn(), 8000.0, 0
    monkeypatch.setitem(SQL, "one", "SELECT 1 AS one")

    for _ in range(1000):
        monkeypatch.setitem(SQL, "counted", f"SELECT count(*) FROM generate_series(1, {size:.0f})")
        try:
            rows(conn, "counted", seconds=0.002)
            size *= 1.002
        except errors.QueryCanceled:
            size, ended = size * 0.998, ended + 1
        assert rows(conn, "one") == [{"one": 1}]

    # So it was at that edge.
    assert 0 < ended < 1000


@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_ends_the_statement_that_it_was_for(open_conn, monkeypatch, is_in_transaction):
    monkeypatch.setitem(SQL, "nap", "SELECT pg_sleep(60)")
    conn = open_conn()
    conn.autocommit = not is_in_transaction
    with conn.cursor() as cursor:
        cursor.execute("SET statement_timeout = 200")

    with pytest.raises(errors.QueryCanceled):
        rows(conn, "nap", seconds=0.2)
